"""The OpenAI format from the client's side: what is sent, what is read, and what each refusal means."""

import json
from collections.abc import Callable
from email.utils import formatdate
from time import time
from typing import Any

import pytest

from providers.openai_compatible import OpenAICompatible
from toolkit import cost
from toolkit.errors import Kind, ProviderError
from toolkit.serve.openai_format import Tally
from toolkit.serve.simulate import create_app
from toolkit.serve.world import World, WorldSpec
from toolkit.types import Finish, HttpReply, Message, Problem, Reply, Request, Usage
from toolkit.wire import Wire

Serve = Callable[[Any], str]
LOCAL = OpenAICompatible("http://127.0.0.1:8000/v1", "sk-verysecret")
OPENAI = OpenAICompatible("https://api.openai.com/v1", "sk-verysecret")
CHAT = Request("m", messages=(Message("system", "Be brief."), Message("user", "Why é?")))
RAW = Request("m", prompt="Q: Why?\nA:")


def body(request: Request, adapter: OpenAICompatible = LOCAL) -> dict[str, Any]:
    sent: dict[str, Any] = json.loads(adapter.encode(request).body)
    return sent


def asked(**changes: Any) -> Request:
    return Request("m", messages=(Message("user", "Why?"),), **changes)


# --- requests ------------------------------------------------------------------------------------


def test_a_chat_goes_to_chat_completions_with_its_messages() -> None:
    assert LOCAL.encode(CHAT).url == "http://127.0.0.1:8000/v1/chat/completions"
    assert body(CHAT)["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Why é?"},
    ]


def test_a_raw_prompt_goes_to_completions_and_has_no_messages() -> None:
    assert LOCAL.encode(RAW).url == "http://127.0.0.1:8000/v1/completions"
    assert body(RAW) == {"model": "m", "prompt": "Q: Why?\nA:"}


def test_what_is_not_given_is_not_sent() -> None:
    assert set(body(CHAT)) == {"model", "messages"}


def test_everything_given_is_sent_under_its_name() -> None:
    request = asked(
        n=4,
        max_tokens=64,
        temperature=0.0,
        top_p=0.9,
        top_k=3,
        stop=("\n", "Q:"),
        seed=0,
        extra={"min_p": 0.1},
    )
    sent = body(request)
    del sent["messages"]
    assert sent == {
        "model": "m",
        "n": 4,
        "max_tokens": 64,
        "temperature": 0.0,
        "top_p": 0.9,
        "top_k": 3,
        "stop": ["\n", "Q:"],
        "seed": 0,
        "min_p": 0.1,
    }


def test_a_slash_at_the_end_of_the_base_url_changes_nothing() -> None:
    assert OpenAICompatible("http://a/v1/").encode(RAW).url == "http://a/v1/completions"


def test_openai_gets_the_newer_name_of_max_tokens_in_chats_alone() -> None:
    chat = body(asked(max_tokens=5), OPENAI)
    raw = body(Request("m", prompt="Q", max_tokens=5), OPENAI)
    assert (chat["max_completion_tokens"], "max_tokens" in chat) == (5, False)
    assert (raw["max_tokens"], "max_completion_tokens" in raw) == (5, False)


@pytest.mark.parametrize(
    ("base_url", "change", "name"),
    [
        ("https://api.openai.com/v1", {"top_k": 3}, "top_k"),
        ("https://api.groq.com/openai/v1", {"n": 2}, "n"),
        ("https://generativelanguage.googleapis.com/v1beta/openai", {"seed": 1}, "seed"),
        ("http://127.0.0.1:8000/v1", {"thinking": 0}, "thinking"),
    ],
)
def test_what_a_vendor_does_not_honour_is_refused_by_name_before_it_is_sent(
    base_url: str, change: dict[str, Any], name: str
) -> None:
    adapter = OpenAICompatible(base_url)
    with pytest.raises(ProviderError, match=rf"m: {name} is not honoured by .*leave it out") as refused:
        adapter.encode(asked(**change))
    error = refused.value
    assert (error.kind, error.billed, error.retryable, error.scope) == (
        Kind.UNSUPPORTED,
        "no",
        False,
        "model",
    )
    assert name not in adapter.capabilities("m").honours


def test_a_vendor_that_does_not_honour_n_is_asked_for_one_draw_at_a_time() -> None:
    assert OpenAICompatible("https://api.groq.com/openai/v1").capabilities("m").max_n == 1
    assert OPENAI.capabilities("m").max_n == 128


def test_the_key_stands_in_the_header_and_nowhere_else() -> None:
    call = LOCAL.encode(CHAT)
    assert call.headers["authorization"] == "Bearer sk-verysecret"
    assert "verysecret" not in call.url + call.body.decode()
    assert "authorization" not in OpenAICompatible("http://a/v1").encode(CHAT).headers


# --- answers -------------------------------------------------------------------------------------


def reply(content: Any, status: int = 200, **headers: str) -> HttpReply:
    raw = content if isinstance(content, bytes) else json.dumps(content).encode()
    return HttpReply(status, {k.replace("_", "-"): v for k, v in headers.items()}, raw)


def answer(*choices: dict[str, Any], **fields: Any) -> dict[str, Any]:
    usage = {"prompt_tokens": 10, "completion_tokens": 7, "total_tokens": 17}
    return {"id": "c-1", "model": "m-2026", "choices": list(choices), "usage": usage, **fields}


def said(text: str | None = "42", finish: str | None = "stop", **message: Any) -> dict[str, Any]:
    return {"finish_reason": finish, "message": {"role": "assistant", "content": text, **message}}


def read(content: Any, request: Request = CHAT, **headers: str) -> Reply:
    return LOCAL.decode(request, reply(content, **headers))


def test_every_choice_is_read_with_the_servers_account() -> None:
    got = read(
        answer(said("a"), said("b", "length"), system_fingerprint="fp"),
        x_request_id="req-9",
        x_ratelimit_remaining_requests="3",
    )
    assert [(c.text, c.finish) for c in got.choices] == [("a", Finish.STOP), ("b", Finish.LENGTH)]
    assert got.usage == Usage(prompt=10, output=7)
    assert (got.request_id, got.model_version) == ("req-9", "m-2026")
    assert got.effective == {"system_fingerprint": "fp"}
    assert got.limits == {"x-ratelimit-remaining-requests": "3"}


def test_without_a_header_the_bodys_id_is_the_requests() -> None:
    assert read(answer(said())).request_id == "c-1"


def test_raw_completions_have_text() -> None:
    got = read(answer({"text": " 42", "finish_reason": "stop"}), RAW)
    assert [(c.text, c.finish) for c in got.choices] == [(" 42", Finish.STOP)]


@pytest.mark.parametrize(
    ("word", "finish"),
    [
        ("stop", Finish.STOP),
        ("eos", Finish.STOP),
        ("length", Finish.LENGTH),
        ("content_filter", Finish.FILTER),
        ("tool_calls", Finish.OTHER),
        (None, Finish.OTHER),
    ],
)
def test_finish_reasons(word: str | None, finish: Finish) -> None:
    assert read(answer(said("x", word))).choices[0].finish is finish


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_reasoning_is_kept_apart_from_the_text(field: str) -> None:
    choice = read(answer(said("42", **{field: "Let me see."}))).choices[0]
    assert (choice.text, choice.reasoning) == ("42", "Let me see.")


def test_a_null_content_is_an_empty_text() -> None:
    assert read(answer(said(None, "content_filter"))).choices[0].text == ""


def test_thoughts_are_part_of_completion_tokens_and_are_told_apart() -> None:
    usage = {
        "prompt_tokens": 100,
        "completion_tokens": 500,
        "total_tokens": 600,
        "prompt_tokens_details": {"cached_tokens": 64},
        "completion_tokens_details": {"reasoning_tokens": 420},
    }
    assert read(answer(said(), usage=usage)).usage == Usage(prompt=100, output=80, cached=64, thinking=420)


@pytest.mark.parametrize("details", [{}, {"completion_tokens_details": {"reasoning_tokens": 420}}])
def test_thoughts_left_out_of_completion_tokens_are_found_in_the_total(details: dict[str, Any]) -> None:
    usage = {"prompt_tokens": 100, "completion_tokens": 80, "total_tokens": 600, **details}
    assert read(answer(said(), usage=usage)).usage == Usage(prompt=100, output=80, thinking=420)


def test_details_may_be_null() -> None:
    usage = {
        "prompt_tokens": 3,
        "completion_tokens": 4,
        "prompt_tokens_details": None,
        "completion_tokens_details": None,
    }
    assert read(answer(said(), usage=usage)).usage == Usage(prompt=3, output=4)


@pytest.mark.parametrize("usage", [None, {}, {"prompt_tokens": None}])
def test_usage_that_is_not_reported_is_none_and_not_zero(usage: Any) -> None:
    assert read(answer(said(), usage=usage)).usage is None


def test_a_null_error_beside_an_answer_is_no_error() -> None:
    assert read(answer(said("42"), error=None)).choices[0].text == "42"


# --- refusals ------------------------------------------------------------------------------------


def test_settings_that_a_server_says_it_applied_are_kept() -> None:
    got = read(answer(said(), temperature=1.0, top_p=0.95, service_tier=None))
    assert got.effective == {"temperature": 1.0, "top_p": 0.95}


def test_a_temperature_that_is_locked_is_refused_by_name_and_costs_nothing() -> None:
    """As OpenAI's reasoning models refuse it (platform.openai.com/docs/guides/reasoning)."""
    said = {
        "message": "Unsupported value: 'temperature' does not support 0.7 with this model. Only the default (1) value is supported.",
        "type": "invalid_request_error",
        "param": "temperature",
        "code": "unsupported_value",
    }
    error = refused(400, {"error": said})
    assert (error.kind, error.retryable, error.scope, error.billed) == (
        Kind.UNSUPPORTED,
        False,
        "model",
        "no",
    )
    assert "temperature" in str(error)


def refused(status: int, content: Any = None, **headers: str) -> ProviderError:
    content = {"error": {"message": "said so"}} if content is None else content
    with pytest.raises(ProviderError) as error:
        LOCAL.decode(CHAT, reply(content, status, **headers))
    assert error.value.status == status
    assert "\n" not in str(error.value)
    return error.value


def coded(code: str, **fields: Any) -> dict[str, Any]:
    return {"error": {"message": "said so", "type": "x", "code": code, **fields}}


@pytest.mark.parametrize(
    ("status", "content", "kind", "retryable", "scope", "billed"),
    [
        (401, coded("invalid_api_key"), Kind.KEY, False, "account", "no"),
        (403, coded("unsupported_country"), Kind.KEY, False, "account", "no"),
        (403, coded("model_not_allowed"), Kind.MODEL, False, "model", "no"),
        (402, coded("no_credit"), Kind.CREDIT, False, "account", "no"),
        (429, coded("insufficient_quota"), Kind.CREDIT, False, "account", "no"),
        (429, coded("", type="insufficient_quota"), Kind.CREDIT, False, "account", "no"),
        (404, coded("model_not_found"), Kind.MODEL, False, "model", "no"),
        (429, coded("rate_limit_exceeded"), Kind.RATE_LIMIT, True, "request", "no"),
        (408, None, Kind.OVERLOADED, True, "request", "no"),
        (413, None, Kind.CONTEXT_OVERFLOW, False, "request", "no"),
        (400, coded("context_length_exceeded"), Kind.CONTEXT_OVERFLOW, False, "request", "no"),
        (400, coded("content_filter"), Kind.CONTENT_FILTER, False, "request", "no"),
        (400, coded("unknown_parameter"), Kind.BAD_REQUEST, False, "model", "no"),
        (422, {"detail": [{"msg": "wrong"}]}, Kind.BAD_REQUEST, False, "model", "no"),
        (500, None, Kind.OVERLOADED, True, "request", "no"),
        (502, b"<html>Bad Gateway</html>", Kind.OVERLOADED, True, "request", "no"),
        (503, b"", Kind.OVERLOADED, True, "request", "no"),
        (504, b"<html>Timeout</html>", Kind.OVERLOADED, True, "request", "unknown"),
        (524, b"", Kind.OVERLOADED, True, "request", "unknown"),
        (529, coded("overloaded"), Kind.OVERLOADED, True, "request", "no"),
        (200, coded("server_error"), Kind.OVERLOADED, True, "request", "unknown"),
        (200, b"<html>", Kind.BAD_BODY, True, "request", "unknown"),
        (200, b'{"choices": [', Kind.BAD_BODY, True, "request", "unknown"),
        (200, b"\xff\xfe", Kind.BAD_BODY, True, "request", "unknown"),
        (200, [answer(said())], Kind.BAD_BODY, True, "request", "unknown"),
        (200, {"id": "x"}, Kind.BAD_BODY, True, "request", "unknown"),
        (200, {"choices": None}, Kind.BAD_BODY, True, "request", "unknown"),
        (200, {"choices": [{"finish_reason": "stop"}]}, Kind.BAD_BODY, True, "request", "unknown"),
        (200, {"choices": [{"message": None}]}, Kind.BAD_BODY, True, "request", "unknown"),
        (200, answer(said(), usage={"prompt_tokens": "many"}), Kind.BAD_BODY, True, "request", "unknown"),
    ],
    ids=str,
)
def test_a_refusal_says_what_to_do_as_data(
    status: int, content: Any, kind: Kind, retryable: bool, scope: str, billed: str
) -> None:
    error = refused(status, content)
    assert (error.kind, error.retryable, error.scope, error.billed) == (kind, retryable, scope, billed)


@pytest.mark.parametrize(
    "content",
    [
        {"error": {"message": "This model's maximum context length is 64 tokens.", "code": 400}},
        {"object": "error", "message": "This model's maximum context length is 64 tokens.", "code": 400},
    ],
)
def test_vllm_says_only_in_words_that_one_prompt_is_too_long(content: dict[str, Any]) -> None:
    error = refused(400, content)
    assert (error.kind, error.scope) == (Kind.CONTEXT_OVERFLOW, "request")


@pytest.mark.parametrize(
    "content",
    [
        {"error": {"message": "said\n  so"}},
        {"error": "said so"},
        {"message": "said so"},
        {"detail": "said so"},
        [{"error": {"code": 429, "message": "said so", "status": "RESOURCE_EXHAUSTED"}}],
    ],
)
def test_the_servers_words_reach_the_user_whatever_their_shape(content: Any) -> None:
    error = refused(429, content)
    assert str(error) == "m: said so (HTTP 429)"
    assert error.kind is Kind.RATE_LIMIT


@pytest.mark.parametrize("content", [[], [1], "text", None, 3])
def test_a_refusal_of_no_known_shape_still_has_its_status(content: Any) -> None:
    with pytest.raises(ProviderError) as error:
        LOCAL.decode(CHAT, reply(content, 429))
    assert error.value.kind is Kind.RATE_LIMIT


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry_after": "7"}, 7.0),
        ({"retry_after": "1.5"}, 1.5),
        ({"retry_after_ms": "250"}, 0.25),
        ({"retry_after_ms": "250", "retry_after": "9"}, 0.25),
        ({"retry_after_ms": "soon", "retry_after": "9"}, 9.0),
        ({"retry_after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
        ({"retry_after": "soon"}, None),
        ({"retry_after": "-3"}, None),
        ({"retry_after": "²"}, None),
        ({}, None),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
def test_the_wait_a_server_asks_for(headers: dict[str, str], seconds: float | None, status: int) -> None:
    assert refused(status, **headers).retry_after == seconds


def test_a_wait_may_be_a_date() -> None:
    asked_for = refused(429, retry_after=formatdate(time() + 30, usegmt=True)).retry_after
    assert asked_for == pytest.approx(30, abs=2)


# --- against a real server -----------------------------------------------------------------------

APPLES = Problem("a", "Kim has 12 apples and buys 30 more. How many has she?", "42")


def world(key: str | None = None) -> World:
    model = {
        "ability": {"a": 1000, "b": 0.001},
        "tokens": {"mean": 50, "sd": 5},
        "thinking": {"mean": 30},
        "price": {"input": "0.1", "output": "0.3"},
    }
    return World(WorldSpec.model_validate({"name": "w", "key": key, "models": {"m": model}}), [APPLES])


async def ask(url: str, request: Request, key: str | None = None) -> Reply:
    adapter = OpenAICompatible(f"{url}/v1", key)
    async with Wire(timeout=10) as wire:
        return adapter.decode(request, await wire.send(adapter.encode(request)))


@pytest.mark.parametrize("raw", [False, True], ids=["chat", "completions"])
async def test_over_http_the_answers_and_the_bill_are_the_servers(serve: Serve, raw: bool) -> None:
    question = f"Q: {APPLES.question}\nA:"
    prompt: dict[str, Any] = {"prompt": question} if raw else {"messages": (Message("user", question),)}
    request = Request("m", **prompt, n=5, max_tokens=400, temperature=0.7, top_k=3, seed=7)
    expected, tally = world().turn(request), Tally()
    got = await ask(serve(create_app(world("right"), tally)), request, "right")
    assert [c.text for c in got.choices] == [c.text for c in expected.reply.choices]
    assert got.usage == expected.reply.usage
    assert got.usage is not None
    assert got.usage.thinking == 150
    price = cost.Price(100_000, 300_000, 100_000, 300_000)
    assert tally.as_json()["pico"] == expected.pico == price.cost(got.usage)
    assert got.request_id


async def test_over_http_a_wrong_key_and_an_unknown_model_are_told_apart(serve: Serve) -> None:
    tally = Tally()
    url = serve(create_app(world("right"), tally))
    with pytest.raises(ProviderError) as wrong_key:
        await ask(url, asked(), "wrong")
    with pytest.raises(ProviderError) as wrong_model:
        await ask(url, Request("gpt", prompt="Q"), "right")
    assert (wrong_key.value.kind, wrong_model.value.kind) == (Kind.KEY, Kind.MODEL)
    assert tally.as_json()["requests"] == 0


async def test_openais_own_client_is_served(serve: Serve) -> None:
    from openai import AsyncOpenAI, NotFoundError

    tally = Tally()
    url = serve(create_app(world("right"), tally))
    async with AsyncOpenAI(base_url=f"{url}/v1", api_key="right", max_retries=0) as client:
        got = await client.chat.completions.create(
            model="m",
            messages=[{"role": "user", "content": [{"type": "text", "text": APPLES.question}]}],
            n=3,
            max_completion_tokens=400,
            temperature=0.7,
            seed=7,
            stop=["\n\n\n"],
        )
        with pytest.raises(NotFoundError):
            await client.completions.create(model="gpt", prompt="Q")
    expected = world().answer(
        Request("m", messages=(Message("user", APPLES.question),), n=3, max_tokens=400, seed=7)
    )
    assert [c.message.content for c in got.choices] == [c.text for c in expected.choices]
    assert got.usage is not None
    assert got.usage.completion_tokens_details is not None
    assert got.usage.completion_tokens_details.reasoning_tokens == 90
    billed = tally.as_json()
    assert (billed["requests"], billed["draws"]) == (1, 3)
    assert billed["tokens"]["output"] + billed["tokens"]["thinking"] == got.usage.completion_tokens
    assert billed["tokens"]["prompt"] == got.usage.prompt_tokens


def test_a_refusal_carries_the_limits_the_server_states() -> None:
    said = refused(429, x_ratelimit_limit_requests="600", anthropic_ratelimit_tokens_limit="9", x_other="1")
    assert said.limits == {"x-ratelimit-limit-requests": "600", "anthropic-ratelimit-tokens-limit": "9"}
