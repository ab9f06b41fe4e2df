"""google-generativeai as a translator, over HTTP on loopback: what it sends, reads, refuses, and never repeats."""

import socket
from collections.abc import Callable
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

pytest.importorskip(
    "google.generativeai",
    reason="the extra gemini-legacy is not installed; it needs an environment of its own",
    exc_type=ImportError,
)

from providers.gemini_legacy import GeminiLegacy
from toolkit.errors import Kind, ProviderError
from toolkit.serve.openai_format import Tally
from toolkit.serve.simulate import create_app
from toolkit.serve.world import World, WorldSpec
from toolkit.types import Finish, Message, Problem, Reply, Request, Usage

Serve = Callable[[Any], str]
KEY = "AIzaSecretSecret"
MODEL = "gemini-2.5-flash"
CHAT = Request(MODEL, messages=(Message("system", "Be brief."), Message("user", "Why?")))
ANSWER = {
    "candidates": [
        {"content": {"role": "model", "parts": [{"text": "4"}, {"text": "2"}]}, "finishReason": "STOP"},
        {"content": {"role": "model", "parts": [{"text": "so"}]}, "finishReason": "MAX_TOKENS"},
        {"finishReason": "SAFETY"},
    ],
    "usageMetadata": {
        "promptTokenCount": 9,
        "cachedContentTokenCount": 4,
        "candidatesTokenCount": 5,
        "thoughtsTokenCount": 70,
        "totalTokenCount": 84,
    },
    "modelVersion": "gemini-2.5-flash-001",
}


class Face:
    """Google's endpoint with one answer; keeps what it was asked."""

    def __init__(self, answer: Response) -> None:
        self.answer = answer
        self.asked: list[tuple[str, dict[str, Any], str]] = []

    async def __call__(self, http: HttpRequest) -> Response:
        self.asked.append((http.url.path, await http.json(), http.headers.get("x-goog-api-key", "")))
        return self.answer

    def app(self) -> Starlette:
        return Starlette(routes=[Route("/{rest:path}", self.take, methods=["POST"])])

    async def take(self, http: HttpRequest) -> Response:
        return await self(http)


async def ask(serve: Serve, answer: Any = ANSWER, request: Request = CHAT) -> tuple[Reply, Face]:
    face = Face(JSONResponse(answer))
    return await GeminiLegacy(f"{serve(face.app())}/v1beta", KEY, timeout=20).ask(request), face


async def refused(serve: Serve, answer: Response) -> ProviderError:
    face = Face(answer)
    with pytest.raises(ProviderError) as error:
        await GeminiLegacy(f"{serve(face.app())}/v1beta", KEY, timeout=20).ask(CHAT)
    assert len(face.asked) == 1  # the SDK's own retries are off
    assert KEY not in str(error.value)
    assert "\n" not in str(error.value)
    return error.value


async def test_everything_given_is_sent_and_the_key_stands_in_a_header(serve: Serve) -> None:
    given = Request(
        MODEL, CHAT.messages, n=3, max_tokens=64, temperature=0.5, top_p=0.75, top_k=3, stop=("Q:",)
    )
    _, face = await ask(serve, request=given)
    ((path, body, key),) = face.asked
    assert (path, key) == (f"/v1beta/models/{MODEL}:generateContent", KEY)
    assert body["contents"] == [{"role": "user", "parts": [{"text": "Why?"}]}]
    assert body["systemInstruction"]["parts"] == [{"text": "Be brief."}]
    assert body["generationConfig"] == {
        "candidateCount": 3,
        "maxOutputTokens": 64,
        "temperature": 0.5,
        "topP": 0.75,
        "topK": 3,
        "stopSequences": ["Q:"],
    }


async def test_what_is_not_given_is_not_sent(serve: Serve) -> None:
    _, face = await ask(serve)
    assert not face.asked[0][1].get("generationConfig")


async def test_every_candidate_is_read_and_thinking_is_not_in_its_usage(serve: Serve) -> None:
    got, _ = await ask(serve)
    assert [(c.text, c.finish) for c in got.choices] == [
        ("42", Finish.STOP),
        ("so", Finish.LENGTH),
        ("", Finish.FILTER),
    ]
    assert got.usage == Usage(prompt=9, output=5, cached=4)
    assert got.model_version == "gemini-2.5-flash-001"


async def test_usage_that_is_not_reported_is_none_and_not_zero(serve: Serve) -> None:
    assert (await ask(serve, {"candidates": ANSWER["candidates"]}))[0].usage is None


@pytest.mark.parametrize(
    ("change", "name"),
    [({"seed": 1}, "seed"), ({"thinking": 0}, "thinking"), ({"extra": {"a": 1}}, "extra"), ({"n": 9}, "n")],
)
async def test_what_the_sdk_does_not_know_is_refused_by_name(change: dict[str, Any], name: str) -> None:
    with pytest.raises(ProviderError, match=rf": {name} is not honoured by google-generativeai") as error:
        await GeminiLegacy("http://127.0.0.1:9", KEY).ask(Request(MODEL, CHAT.messages, **change))
    assert (error.value.kind, error.value.billed, error.value.scope) == (Kind.UNSUPPORTED, "no", "model")


def google(status: int, message: str = "said so", *details: dict[str, Any]) -> Response:
    error = {"code": status, "message": message, "status": "X", "details": list(details)}
    return JSONResponse({"error": error}, status)


INFO = "type.googleapis.com/google.rpc.ErrorInfo"
RETRY = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "45.8s"}
DAILY = {
    "@type": "type.googleapis.com/google.rpc.QuotaFailure",
    "violations": [{"quotaId": "GenerateRequestsPerDayPerProjectPerModel"}],
}


@pytest.mark.parametrize(
    ("answer", "kind", "retryable", "scope", "billed"),
    [
        (
            google(400, f"API key not valid: {KEY}", {"@type": INFO, "reason": "API_KEY_INVALID"}),
            Kind.KEY,
            False,
            "account",
            "no",
        ),
        (google(403), Kind.KEY, False, "account", "no"),
        (google(404), Kind.MODEL, False, "model", "no"),
        (google(429, "slow down", RETRY), Kind.RATE_LIMIT, True, "request", "no"),
        (google(429, "slow down", DAILY), Kind.QUOTA, False, "account", "no"),
        (
            google(400, "The input token count (9) exceeds the maximum (8)"),
            Kind.CONTEXT_OVERFLOW,
            False,
            "request",
            "no",
        ),
        (google(400, "no such field"), Kind.BAD_REQUEST, False, "model", "no"),
        (google(500), Kind.OVERLOADED, True, "request", "no"),
        (google(503), Kind.OVERLOADED, True, "request", "no"),
        (google(504), Kind.OVERLOADED, True, "request", "unknown"),
        (PlainTextResponse("<html>Bad Gateway</html>", 502), Kind.OVERLOADED, True, "request", "no"),
        (PlainTextResponse('{"candidates": ['), Kind.BAD_BODY, True, "request", "unknown"),
        (PlainTextResponse("<html>"), Kind.BAD_BODY, True, "request", "unknown"),
        (JSONResponse({"usageMetadata": {"promptTokenCount": 3}}), Kind.BAD_BODY, True, "request", "unknown"),
        (
            JSONResponse({"promptFeedback": {"blockReason": "SAFETY"}}),
            Kind.CONTENT_FILTER,
            False,
            "request",
            "unknown",
        ),
    ],
    ids=str,
)
async def test_a_refusal_says_what_to_do_as_data_and_is_not_asked_again(
    serve: Serve, answer: Response, kind: Kind, retryable: bool, scope: str, billed: str
) -> None:
    error = await refused(serve, answer)
    assert (error.kind, error.retryable, error.scope, error.billed) == (kind, retryable, scope, billed)


async def test_the_wait_google_asks_for_is_kept(serve: Serve) -> None:
    assert (await refused(serve, google(429, "slow down", RETRY))).retry_after == 45.8


async def test_a_server_that_is_not_there_billed_nothing() -> None:
    with pytest.raises(ProviderError) as error:
        await GeminiLegacy("http://127.0.0.1:9", KEY).ask(CHAT)
    assert (error.value.kind, error.value.billed) == (Kind.UNREACHABLE, "no")


async def test_silence_is_a_timeout_of_unknown_fate() -> None:
    # It takes connections and never answers.
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(ProviderError) as error:
        await GeminiLegacy(f"http://127.0.0.1:{silent.getsockname()[1]}", KEY, timeout=0.3).ask(CHAT)
    assert (error.value.kind, error.value.billed) == (Kind.TIMEOUT, "unknown")


async def test_two_keys_in_one_process_stay_apart(serve: Serve) -> None:
    faces = [Face(JSONResponse(ANSWER)), Face(JSONResponse(ANSWER))]
    for number, face in enumerate(faces):
        await GeminiLegacy(serve(face.app()), f"key-{number}").ask(CHAT)
    assert [face.asked[0][2] for face in faces] == ["key-0", "key-1"]


APPLES = Problem("a", "Kim has 12 apples and buys 30 more. How many has she?", "42")


async def test_the_simulated_face_serves_it_and_bills_what_it_reads(serve: Serve) -> None:
    model = {
        "ability": {"a": 1000, "b": 0.001},
        "tokens": {"mean": 50, "sd": 5},
        "price": {"input": "0.1", "output": "0.3"},
    }
    spec = WorldSpec.model_validate({"name": "w", "key": KEY, "models": {MODEL: model}})
    tally = Tally()
    adapter = GeminiLegacy(f"{serve(create_app(World(spec, [APPLES]), tally))}/v1beta", KEY, timeout=20)
    got = await adapter.ask(
        Request(MODEL, (Message("user", APPLES.question),), n=4, max_tokens=400, temperature=0.7)
    )
    billed = tally.as_json()
    assert len(got.choices) == 4
    assert all("42" in c.text for c in got.choices)
    assert got.usage is not None
    assert (got.usage.prompt, got.usage.output) == (billed["tokens"]["prompt"], billed["tokens"]["output"])
