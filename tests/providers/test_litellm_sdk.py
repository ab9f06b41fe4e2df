"""litellm as a translator: nothing dropped, nothing retried, every refusal told apart; over HTTP on loopback."""

import os
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import pytest
import pytest_asyncio
from starlette.applications import Starlette
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

pytest.importorskip("litellm", reason="the extra litellm is not installed")

from providers.litellm_sdk import LiteLLM, close, sdk
from toolkit.errors import Kind, ProviderError
from toolkit.serve.openai_format import Tally
from toolkit.serve.simulate import create_app
from toolkit.serve.world import World, WorldSpec
from toolkit.types import Message, Problem, Reply, Request

Serve = Callable[[Any], str]
APPLES = Problem("a", "Kim has 12 apples and buys 30 more. How many has she?", "42")
KEY = "sk-right-and-secret"
CHAT = Request("hosted_vllm/m", messages=(Message("user", APPLES.question),), max_tokens=400)


@pytest_asyncio.fixture(autouse=True)
async def closed() -> AsyncIterator[None]:
    yield
    await close()


def world() -> World:
    model = {
        "ability": {"a": 1000, "b": 0.001},
        "tokens": {"mean": 50, "sd": 5},
        "thinking": {"mean": 30},
        "price": {"input": "0.1", "output": "0.3"},
    }
    return World(WorldSpec.model_validate({"name": "w", "key": KEY, "models": {"m": model}}), [APPLES])


def simulated(serve: Serve, tally: Tally) -> LiteLLM:
    return LiteLLM(f"{serve(create_app(world(), tally))}/v1", KEY, timeout=20)


async def test_every_draw_comes_with_the_servers_account(serve: Serve) -> None:
    tally = Tally()
    request = replace(CHAT, n=3, seed=7, top_k=3)
    got = await simulated(serve, tally).ask(request)
    expected = world().turn(replace(request, model="m"))
    assert [c.text for c in got.choices] == [c.text for c in expected.reply.choices]
    assert got.usage == expected.reply.usage
    assert got.usage is not None
    assert got.usage.thinking == 90
    billed = tally.as_json()
    assert (billed["requests"], billed["draws"], billed["pico"]) == (1, 3, expected.pico)


async def test_raw_prompts_are_completed(serve: Serve) -> None:
    request = Request("hosted_vllm/m", prompt=f"Q: {APPLES.question}\nA:", max_tokens=400, seed=7)
    got = await simulated(serve, Tally()).ask(request)
    assert "42" in got.choices[0].text


async def refused(
    serve: Serve, answer: Response, request: Request = CHAT, **changes: Any
) -> tuple[ProviderError, int]:
    """The error an answer becomes, and how often the server was asked."""
    asked = 0

    async def face(_: Any) -> Response:
        nonlocal asked
        asked += 1
        return answer

    app = Starlette(routes=[Route("/v1/chat/completions", face, methods=["POST"])])
    with pytest.raises(ProviderError) as error:
        await LiteLLM(f"{serve(app)}/v1", KEY, **changes).ask(request)
    assert "\n" not in str(error.value)
    assert KEY not in str(error.value)
    return error.value, asked


def said(status: int, message: str = "said so", code: str = "", **headers: str) -> Response:
    body = {"error": {"message": message, "type": code, "code": code}}
    return JSONResponse(body, status, headers={k.replace("_", "-"): v for k, v in headers.items()})


@pytest.mark.parametrize("model", ["hosted_vllm/m", "openai/m"])
@pytest.mark.parametrize(
    ("status", "message", "code", "kind", "retryable", "scope", "billed"),
    [
        (401, f"Incorrect API key provided: {KEY}", "invalid_api_key", Kind.KEY, False, "account", "no"),
        (404, "The model `m` does not exist", "model_not_found", Kind.MODEL, False, "model", "no"),
        (429, "slow down", "rate_limit_exceeded", Kind.RATE_LIMIT, True, "request", "no"),
        (429, "insufficient_quota", "insufficient_quota", Kind.CREDIT, False, "account", "no"),
        (
            400,
            "This model's maximum context length is 9 tokens",
            "",
            Kind.CONTEXT_OVERFLOW,
            False,
            "request",
            "no",
        ),
        (400, "unknown parameter", "", Kind.BAD_REQUEST, False, "model", "no"),
        (500, "said so", "", Kind.OVERLOADED, True, "request", "no"),
        (503, "said so", "", Kind.OVERLOADED, True, "request", "no"),
    ],
)
async def test_a_refusal_says_what_to_do_as_data_and_is_not_asked_again(
    serve: Serve,
    model: str,
    status: int,
    message: str,
    code: str,
    kind: Kind,
    retryable: bool,
    scope: str,
    billed: str,
) -> None:
    request = Request(model, messages=CHAT.messages)
    error, asked = await refused(serve, said(status, message, code), request)
    assert (error.kind, error.retryable, error.scope, error.billed) == (kind, retryable, scope, billed)
    assert asked == 1


async def test_the_wait_a_server_asks_for_is_kept(serve: Serve) -> None:
    error, _ = await refused(serve, said(429, "slow down", retry_after="7"))
    assert error.retry_after == 7.0


@pytest.mark.parametrize("text", ['{"choices": [', "<html>"])
async def test_a_body_that_is_no_answer_may_have_been_billed(serve: Serve, text: str) -> None:
    error, asked = await refused(serve, PlainTextResponse(text, media_type="application/json"))
    assert error.kind in (Kind.BAD_BODY, Kind.CONNECTION, Kind.OVERLOADED)
    assert (error.retryable, error.billed, asked) == (True, "unknown", 1)


async def test_a_server_that_is_not_there_billed_nothing() -> None:
    with pytest.raises(ProviderError) as error:
        await LiteLLM("http://127.0.0.1:9/v1", KEY).ask(CHAT)
    assert (error.value.kind, error.value.billed, error.value.scope) == (Kind.UNREACHABLE, "no", "account")


async def test_silence_is_a_timeout_of_unknown_fate() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections and never answers
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/v1"
        with pytest.raises(ProviderError) as error:
            await LiteLLM(url, KEY, timeout=0.3).ask(CHAT)
    assert (error.value.kind, error.value.billed) == (Kind.TIMEOUT, "unknown")


def test_abilities_are_the_vendors() -> None:
    claude = LiteLLM().capabilities("anthropic/claude-sonnet-4-5")
    flash = LiteLLM().capabilities("gemini/gemini-2.5-flash")
    assert (claude.max_n, claude.seeds, "thinking" in claude.honours) == (1, False, True)
    assert (flash.max_n > 1, flash.seeds, "thinking" in flash.honours) == (True, True, True)


async def test_what_a_vendor_does_not_honour_is_refused_by_name_and_never_dropped() -> None:
    with pytest.raises(ProviderError, match="seed is not honoured") as error:
        await LiteLLM(key=KEY).ask(Request("anthropic/claude-sonnet-4-5", messages=CHAT.messages, seed=1))
    assert (error.value.kind, error.value.billed, error.value.scope) == (Kind.UNSUPPORTED, "no", "model")


async def test_an_unknown_vendor_is_the_models_fault() -> None:
    with pytest.raises(ProviderError) as error:
        await LiteLLM(key=KEY).ask(Request("nonsense", messages=CHAT.messages))
    assert (error.value.kind, error.value.scope) == (Kind.MODEL, "model")


def test_prices_are_never_fetched_from_the_network() -> None:
    sdk()
    assert os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] == "True"


async def test_reasoning_is_kept_beside_the_answer(serve: Serve) -> None:
    async def face(_: Any) -> Response:
        message = {"role": "assistant", "content": "42", "reasoning_content": "12 + 30"}
        usage = {"prompt_tokens": 9, "completion_tokens": 5, "total_tokens": 14}
        usage |= {"prompt_tokens_details": {"cached_tokens": 4}}
        choice = {"index": 0, "finish_reason": "length", "message": message}
        return JSONResponse(
            {
                "id": "c",
                "object": "chat.completion",
                "created": 1,
                "model": "m-7",
                "choices": [choice],
                "usage": usage,
            }
        )

    url = serve(Starlette(routes=[Route("/v1/chat/completions", face, methods=["POST"])]))
    got: Reply = await LiteLLM(f"{url}/v1", KEY).ask(CHAT)
    assert (got.choices[0].text, got.choices[0].reasoning, got.choices[0].finish) == (
        "42",
        "12 + 30",
        "length",
    )
    assert got.usage is not None
    assert (got.usage.prompt, got.usage.cached, got.usage.output) == (9, 4, 5)
    assert "m-7" in got.model_version
