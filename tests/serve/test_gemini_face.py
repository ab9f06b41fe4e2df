"""The simulator's Gemini face: one world and one account behind both formats, errors in Google's shape."""

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from toolkit.serve.openai_format import Tally
from toolkit.serve.simulate import create_app
from toolkit.serve.world import World, WorldSpec
from toolkit.types import Message, Problem, Request

Serve = Callable[[Any], str]
APPLES = Problem("a", "Kim has 12 apples and buys 30 more. How many has she?", "42")
FLASH = "gemini-2.5-flash"
URL = f"/v1beta/models/{FLASH}:generateContent"


def world(**changes: Any) -> World:
    model = {
        "ability": {"a": 1000, "b": 0.001},
        "tokens": {"mean": 50, "sd": 5},
        "thinking": {"mean": 30},
        "price": {"input": "0.1", "output": "0.3"},
        **changes.pop("model", {}),
    }
    models = {FLASH: model, "gemini-3-flash": model | {"max_n": 1}}
    return World(WorldSpec.model_validate({"name": "w", "models": models, **changes}), [APPLES])


def client(simulated: World, tally: Tally | None = None, key: str | None = None) -> httpx.AsyncClient:
    app = create_app(simulated, tally or Tally(), clock=lambda: 0.0)
    headers = {"x-goog-api-key": key} if key else {}
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://sim", headers=headers)


def body(**config: Any) -> dict[str, Any]:
    contents = [{"role": "user", "parts": [{"text": APPLES.question}]}]
    return {"contents": contents, "generationConfig": {"seed": 7, **config}}


def asked(**changes: Any) -> Request:
    return Request(FLASH, messages=(Message("user", APPLES.question),), seed=7, **changes)


async def test_the_answer_is_the_worlds_and_both_formats_share_one_account() -> None:
    tally = Tally()
    turn = world().turn(asked(n=3, max_tokens=400))
    async with client(world(), tally) as http:
        got = (await http.post(URL, json=body(candidateCount=3, maxOutputTokens=400))).json()
        chat = {"model": FLASH, "messages": [{"role": "user", "content": APPLES.question}], "seed": 7}
        await http.post("/v1/chat/completions", json=chat)
    texts = ["".join(p["text"] for p in c["content"]["parts"]) for c in got["candidates"]]
    assert texts == [choice.text for choice in turn.reply.choices]
    assert [c["finishReason"] for c in got["candidates"]] == ["STOP"] * 3
    used = turn.reply.usage
    assert used is not None
    assert got["usageMetadata"] == {
        "promptTokenCount": used.prompt,
        "candidatesTokenCount": used.output,
        "thoughtsTokenCount": 90,
        "totalTokenCount": used.prompt + used.output + 90,
    }
    assert (got["modelVersion"], bool(got["responseId"])) == (FLASH, True)
    account = tally.as_json()
    assert (account["requests"], account["draws"]) == (2, 4)
    assert account["pico"] > turn.pico


async def test_snake_case_is_understood_as_camel_case_is() -> None:
    camel = {
        **body(candidateCount=2, topK=40.0, thinkingConfig={"thinkingBudget": 9, "includeThoughts": True}),
        "systemInstruction": {"parts": [{"text": "Be brief."}]},
    }
    snake = {
        "contents": camel["contents"],
        "generation_config": {
            "seed": 7,
            "candidate_count": 2,
            "top_k": 40.0,
            "thinking_config": {"thinking_budget": 9, "include_thoughts": True},
        },
        "system_instruction": {"parts": {"text": "Be brief."}},
    }
    async with client(world()) as http:
        one, two = [(await http.post(URL, json=sent)).json() for sent in (camel, snake)]
    assert one["candidates"] == two["candidates"]
    assert one["usageMetadata"] == two["usageMetadata"]
    assert one["usageMetadata"]["thoughtsTokenCount"] == 18


@pytest.mark.parametrize(
    ("thinking", "shown"),
    [({}, False), ({"includeThoughts": True}, True), ({"includeThoughts": True, "thinkingBudget": 0}, False)],
)
async def test_thoughts_are_shown_where_they_are_asked_for_and_there_are_some(
    thinking: dict[str, Any], shown: bool
) -> None:
    async with client(world()) as http:
        got = (await http.post(URL, json=body(thinkingConfig=thinking))).json()
    parts = got["candidates"][0]["content"]["parts"]
    assert [bool(part.get("thought")) for part in parts] == ([True, False] if shown else [False])


async def test_a_truncated_candidate_says_max_tokens_and_may_have_no_parts() -> None:
    async with client(world()) as http:
        got = (await http.post(URL, json=body(maxOutputTokens=30))).json()["candidates"][0]
    assert (got["finishReason"], got["content"]) == ("MAX_TOKENS", {"role": "model"})


async def test_a_stop_sequence_ends_the_text_before_it() -> None:
    async with client(world()) as http:
        got = (await http.post(URL, json=body(stopSequences=["The answer"]))).json()["candidates"][0]
    assert "The answer" not in got["content"]["parts"][-1]["text"]


async def test_tokens_are_counted_and_not_billed() -> None:
    tally = Tally()
    async with client(world(), tally) as http:
        got = await http.post(
            URL.replace("generateContent", "countTokens"), json={"contents": body()["contents"]}
        )
    assert got.json() == {"totalTokens": -(-len(APPLES.question) // 4)}
    assert tally.as_json()["requests"] == 0


async def test_models_are_listed_as_google_lists_them() -> None:
    async with client(world()) as http:
        listed = (await http.get("/v1beta/models")).json()["models"]
    assert [m["name"] for m in listed] == [f"models/{FLASH}", "models/gemini-3-flash"]


# --- refusals ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "sent", "status", "state", "said"),
    [
        ("gpt", body(), 404, "NOT_FOUND", "gpt"),
        (FLASH, body(candidateCount=9), 400, "INVALID_ARGUMENT", "candidateCount"),
        (
            "gemini-3-flash",
            body(candidateCount=2),
            400,
            "INVALID_ARGUMENT",
            "Multiple candidates is not enabled",
        ),
        (FLASH, body(frequencyPenalty=1), 400, "INVALID_ARGUMENT", "frequencyPenalty"),
        (FLASH, body() | {"tools": []}, 400, "INVALID_ARGUMENT", "tools"),
        (FLASH, body(topK=1.5), 400, "INVALID_ARGUMENT", "topK"),
        (FLASH, body(temperature=3), 400, "INVALID_ARGUMENT", "temperature"),
        (FLASH, body(stopSequences=list("abcdef")), 400, "INVALID_ARGUMENT", "stopSequences"),
        (FLASH, {"contents": []}, 400, "INVALID_ARGUMENT", "contents"),
        (
            FLASH,
            {"contents": [{"role": "system", "parts": [{"text": "x"}]}]},
            400,
            "INVALID_ARGUMENT",
            "role",
        ),
        (FLASH, {"contents": [{"parts": [{"inlineData": {}}]}]}, 400, "INVALID_ARGUMENT", "text parts"),
    ],
    ids=str,
)
async def test_what_cannot_be_served_is_refused_in_googles_shape_and_not_billed(
    model: str, sent: dict[str, Any], status: int, state: str, said: str
) -> None:
    tally = Tally()
    async with client(world(), tally) as http:
        answer = await http.post(URL.replace(FLASH, model), json=sent)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["status"]) == (status, status, state)
    assert said in error["message"]
    assert answer.headers["x-request-id"]
    assert tally.as_json()["requests"] == 0


@pytest.mark.parametrize("raw", [b"{", b"[]", b"\xff"])
async def test_a_body_that_is_no_object_is_refused(raw: bytes) -> None:
    async with client(world()) as http:
        answer = await http.post(URL, content=raw)
    assert (answer.status_code, answer.json()["error"]["status"]) == (400, "INVALID_ARGUMENT")


@pytest.mark.parametrize(("key", "status"), [("right", 200), ("wrong", 400), (None, 400)])
async def test_only_the_right_key_is_served(key: str | None, status: int) -> None:
    async with client(world(key="right"), key=key) as http:
        answers = [await http.post(URL, json=body()), await http.get("/v1beta/models")]
    assert [a.status_code for a in answers] == [status, status]
    if status == 400:
        assert answers[0].json()["error"]["details"][0]["reason"] == "API_KEY_INVALID"


@pytest.mark.parametrize(
    ("hint", "delay", "header"),
    [(None, "2.5s", None), ("retry_delay", "2.5s", None), ("header", None, "3"), ("none", None, None)],
)
async def test_a_429_says_when_to_come_back_where_it_is_told_to(
    hint: str | None, delay: str | None, header: str | None
) -> None:
    faults = {"rate_limit": 1, "rate_limit_hint": hint, "retry_after": 2.5}
    async with client(world(faults=faults)) as http:
        answer = await http.post(URL, json=body())
    error = answer.json()["error"]
    assert (answer.status_code, error["status"]) == (429, "RESOURCE_EXHAUSTED")
    assert [d["retryDelay"] for d in error["details"] if "retryDelay" in d] == ([delay] if delay else [])
    assert answer.headers.get("retry-after") == header


async def test_an_overloaded_server_says_unavailable() -> None:
    async with client(world(faults={"overloaded": 1})) as http:
        answer = await http.post(URL, json=body())
    assert (answer.status_code, answer.json()["error"]["status"]) == (503, "UNAVAILABLE")


async def test_a_minutes_limit_is_shared_by_both_formats() -> None:
    tally = Tally()
    async with client(world(model={"limits": {"requests_per_minute": 1}}), tally) as http:
        chat = {"model": FLASH, "messages": [{"role": "user", "content": APPLES.question}]}
        first = await http.post("/v1/chat/completions", json=chat)
        second = await http.post(URL, json=body())
        account = (await http.get("/sim/stats")).json()
    assert (first.status_code, second.status_code) == (200, 429)
    assert second.json()["error"]["details"][-1]["retryDelay"] == "60s"
    assert account["models"][FLASH]["rejected"] == account["rejected"] == 1


async def test_googles_own_client_is_served(serve: Serve) -> None:
    genai = pytest.importorskip("google.genai", reason="needs google-genai, which is not installed")
    url = serve(create_app(world(key="right"), Tally()))
    options = {"base_url": url, "api_version": "v1beta"}
    google = genai.Client(api_key="right", http_options=options)
    thinking = {"include_thoughts": True, "thinking_budget": 12}
    config = {"candidate_count": 2, "seed": 7, "top_k": 40, "thinking_config": thinking}
    got = google.models.generate_content(model=FLASH, contents=APPLES.question, config=config)
    expected = world().answer(asked(n=2, thinking=12))
    assert [c.content.parts[-1].text for c in got.candidates] == [c.text for c in expected.choices]
    assert got.usage_metadata.thoughts_token_count == 24
    assert json.loads(got.model_dump_json())["model_version"] == FLASH
