"""What every adapter promises, asked of each over real HTTP on loopback, against the simulated provider."""

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse
from starlette.routing import Route

from providers.gemini import Gemini
from providers.gemini_legacy import GeminiLegacy
from providers.litellm_sdk import LiteLLM
from providers.openai_compatible import OpenAICompatible
from toolkit import sample
from toolkit.cost import Price
from toolkit.errors import Kind, ProviderError
from toolkit.provider import Asker, Provider
from toolkit.serve.openai_format import Tally
from toolkit.serve.simulate import create_app
from toolkit.serve.world import World, WorldSpec
from toolkit.types import Finish, Message, Problem, Reply, Request
from toolkit.wire import Wire

Serve = Callable[[Any], str]
KEY = "a-key-of-no-known-shape"
QUESTION = "Kim has 12 apples and buys 30 more. How many has she?"
APPLES = Problem("a", QUESTION, "42", "12 + 30 = 42 apples.")
MODEL, SINGLE = (
    "gemini-2.5-flash",
    "gemini-3-pro-preview",
)  # names every adapter can speak of; SINGLE has n = 1
PATIENCE = 20.0  # seconds
OPTIONAL = {  # what a foreign SDK needs to be tested: its package
    "litellm": "litellm",
    "gemini-legacy": "google.generativeai",
}


def _litellm(url: str, key: str, patience: float) -> Provider:
    return LiteLLM(f"{url}/v1", key, patience)


def _gemini_legacy(url: str, key: str, patience: float) -> Provider:
    return GeminiLegacy(f"{url}/v1beta", key, patience)


@dataclass(frozen=True, slots=True)
class Adapter:
    """One adapter and what its wire format has no room for."""

    name: str
    make: Callable[[str, str, float], Provider]
    raw: bool = False  # asks with a prompt instead of messages
    shows_reasoning: bool = True
    counts_thinking: bool = True
    names_requests: bool = True
    hints: tuple[str, ...] = ("header",)  # ways of saying when to come back that reach the adapter
    prefix: str = ""  # of model names

    def request(self, **changes: Any) -> Request:
        asked = Request(self.prefix + changes.pop("model", MODEL), max_tokens=400, **self.question(QUESTION))
        return replace(asked, **changes)

    def question(self, text: str) -> dict[str, Any]:
        return {"prompt": text} if self.raw else {"messages": (Message("user", text),)}


ADAPTERS = (
    Adapter("openai-chat", lambda url, key, _: OpenAICompatible(f"{url}/v1", key)),
    Adapter(
        "openai-completions",
        lambda url, key, _: OpenAICompatible(f"{url}/v1", key),
        raw=True,
        shows_reasoning=False,
    ),
    Adapter("gemini", lambda url, key, _: Gemini(f"{url}/v1beta", key), hints=("header", "retry_delay")),
    Adapter("litellm", _litellm, prefix="openai/"),
    Adapter(
        "gemini-legacy",
        _gemini_legacy,
        shows_reasoning=False,
        counts_thinking=False,
        names_requests=False,
        hints=("header", "retry_delay"),
    ),
)


@pytest.fixture(params=ADAPTERS, ids=lambda adapter: adapter.name)
def adapter(request: pytest.FixtureRequest) -> Adapter:
    chosen: Adapter = request.param
    package = OPTIONAL.get(chosen.name)
    if package and not _installed(package):
        pytest.skip(f"needs {package}, an extra that is not installed")
    return chosen


def _installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:  # not even the package around it
        return False


@dataclass(frozen=True, slots=True)
class Server:
    """A simulated provider that runs, and its account."""

    url: str
    tally: Tally

    async def ask(
        self, adapter: Adapter, request: Request, *, key: str = KEY, patience: float = PATIENCE
    ) -> Reply:
        provider = adapter.make(self.url, key, patience)
        async with Wire(timeout=patience) as wire:
            return await sample.asker(provider, wire.send)(request)

    async def refuse(self, adapter: Adapter, request: Request, **options: Any) -> ProviderError:
        with pytest.raises(ProviderError) as refused:
            await self.ask(adapter, request, **options)
        message = str(refused.value)
        assert "\n" not in message
        assert options.get("key", KEY) not in message
        return refused.value


@pytest.fixture
def server(serve: Serve) -> Callable[..., Server]:
    """`server(**world)` starts a world with one key and two models; faults and the like go into the world."""

    def start(**changes: Any) -> Server:
        model = {
            "ability": {"a": 3, "b": 1},
            "tokens": {"mean": 60, "sd": 9},
            "thinking": {"mean": 30, "sd": 4},
            "price": {"input": "0.1", "output": "0.3"},
            **changes.pop("model", {}),
        }
        models = {MODEL: model, SINGLE: model | {"max_n": 1}}
        spec = WorldSpec.model_validate({"name": "w", "key": KEY, "models": models, **changes})
        tally = Tally()
        return Server(serve(create_app(World(spec, [APPLES]), tally)), tally)

    return start


Start = Callable[..., Server]


def honours(adapter: Adapter, name: str, model: str = MODEL) -> bool:
    abilities = adapter.make("http://127.0.0.1:9", KEY, 1).capabilities(adapter.prefix + model)
    return name in abilities.honours


def most(adapter: Adapter, model: str = MODEL) -> int:
    return adapter.make("http://127.0.0.1:9", KEY, 1).capabilities(adapter.prefix + model).max_n


# --- answers -------------------------------------------------------------------------------------


async def test_every_choice_asked_for_comes_back_with_text(adapter: Adapter, server: Start) -> None:
    n = min(4, most(adapter))
    got = await server().ask(adapter, adapter.request(n=n))
    assert len(got.choices) == n
    assert all(choice.text and choice.finish is Finish.STOP for choice in got.choices)
    assert got.model_version.endswith(MODEL)
    assert bool(got.request_id) is adapter.names_requests


async def test_a_model_without_many_choices_is_asked_for_one(adapter: Adapter, server: Start) -> None:
    if adapter.name == "gemini":
        assert most(adapter, SINGLE) == 1
    got = await server().ask(adapter, adapter.request(model=SINGLE))
    assert len(got.choices) == 1


async def test_usage_is_the_servers_account_to_the_token(adapter: Adapter, server: Start) -> None:
    running = server()
    got = await running.ask(adapter, adapter.request(n=min(4, most(adapter))))
    billed = running.tally.as_json()
    assert got.usage is not None
    assert got.usage.source == "server"
    assert (got.usage.prompt, got.usage.output, got.usage.cached) == (
        billed["tokens"]["prompt"],
        billed["tokens"]["output"],
        0,
    )
    if adapter.counts_thinking:
        assert got.usage.thinking == billed["tokens"]["thinking"] > 0
        assert Price(100_000, 300_000, 100_000, 300_000).cost(got.usage) == billed["pico"]


async def test_reasoning_is_kept_beside_the_answer(adapter: Adapter, server: Start) -> None:
    if not adapter.shows_reasoning:
        pytest.skip("this wire format has no room for reasoning")
    choice = (await server().ask(adapter, adapter.request())).choices[0]
    assert "thought" in choice.reasoning
    assert "thought" not in choice.text


async def test_a_truncated_draw_is_a_draw(adapter: Adapter, server: Start) -> None:
    running = server(model={"thinking": {"mean": 0}})
    got = await running.ask(adapter, adapter.request(max_tokens=20))
    assert got.choices[0].finish is Finish.LENGTH
    assert got.usage is not None
    assert got.usage.output == 20


async def test_a_seed_repeats_the_draws_where_it_is_honoured(adapter: Adapter, server: Start) -> None:
    running = server()
    if not honours(adapter, "seed"):
        refused = await running.refuse(adapter, adapter.request(seed=7))
        assert refused.kind is Kind.UNSUPPORTED
        return
    one, two, other = [await running.ask(adapter, adapter.request(seed=seed)) for seed in (7, 7, 8)]
    assert one.choices == two.choices
    assert one.choices != other.choices


SETTINGS = {
    "temperature": 0.7,
    "top_p": 0.9,
    "top_k": 3,
    "stop": ("The answer",),
    "seed": 7,
    "thinking": 12,
    "n": 2,
}


@pytest.mark.parametrize("model", [MODEL, SINGLE])
@pytest.mark.parametrize("name", SETTINGS)
async def test_a_setting_is_honoured_or_refused_by_its_name_before_it_is_sent(
    adapter: Adapter, server: Start, name: str, model: str
) -> None:
    running = server()
    request = adapter.request(model=model, **{name: SETTINGS[name]})
    if honours(adapter, name, model):
        if name == "n" and model == SINGLE:
            return  # a server's limit on n is not this adapter's to know
        got = await running.ask(adapter, request)
        if name == "stop":
            assert all("The answer" not in choice.text for choice in got.choices)
        if name == "thinking" and got.usage:
            assert got.usage.thinking == 12
        return
    refused = await running.refuse(adapter, request)
    assert (refused.kind, refused.billed, refused.retryable) == (Kind.UNSUPPORTED, "no", False)
    assert name in str(refused)
    assert running.tally.as_json()["requests"] == 0


async def test_fewer_candidates_than_asked_are_taken_as_they_are(adapter: Adapter, server: Start) -> None:
    if most(adapter) < 4:
        pytest.skip("this adapter asks for one choice at a time")
    running = server(faults={"fewer_candidates": 1})
    got = await running.ask(adapter, adapter.request(n=4))
    assert len(got.choices) == 2
    assert got.usage is not None
    assert got.usage.output == running.tally.as_json()["tokens"]["output"]


async def test_a_trickling_answer_arrives_whole(adapter: Adapter, server: Start) -> None:
    running = server(faults={"slow_trickle": 1, "trickle_seconds": 0.05})
    got = await running.ask(adapter, adapter.request(n=min(3, most(adapter))))
    assert len(got.choices) == min(3, most(adapter))


# --- refusals ------------------------------------------------------------------------------------


async def test_a_wrong_key_is_the_accounts_fault_and_is_not_shown(adapter: Adapter, server: Start) -> None:
    running = server()
    refused = await running.refuse(adapter, adapter.request(), key="another-key-of-no-known-shape")
    assert (refused.kind, refused.scope, refused.retryable, refused.billed) == (
        Kind.KEY,
        "account",
        False,
        "no",
    )
    assert running.tally.as_json()["requests"] == 0


async def test_an_unknown_model_is_the_models_fault(adapter: Adapter, server: Start) -> None:
    refused = await server().refuse(adapter, adapter.request(model="gemini-2.5-unheard-of"))
    assert (refused.kind, refused.scope, refused.retryable, refused.billed) == (
        Kind.MODEL,
        "model",
        False,
        "no",
    )


@pytest.mark.parametrize("hint", ["header", "retry_delay", "none"])
async def test_a_429_is_a_rate_limit_with_the_wait_the_server_asks_for(
    adapter: Adapter, server: Start, hint: str
) -> None:
    running = server(faults={"rate_limit": 1, "rate_limit_hint": hint, "retry_after": 7})
    refused = await running.refuse(adapter, adapter.request())
    assert (refused.kind, refused.retryable, refused.billed) == (Kind.RATE_LIMIT, True, "no")
    assert refused.retry_after == (7.0 if hint in adapter.hints else None)


async def test_a_minutes_limit_is_a_rate_limit(adapter: Adapter, server: Start) -> None:
    running = server(model={"limits": {"requests_per_minute": 1, "rate_limit_hint": "header"}})
    await running.ask(adapter, adapter.request())
    refused = await running.refuse(adapter, adapter.request())
    assert refused.kind is Kind.RATE_LIMIT
    assert refused.retry_after is not None
    assert 50 < refused.retry_after <= 60
    assert running.tally.as_json()["requests"] == 1


async def test_a_503_is_an_overloaded_server(adapter: Adapter, server: Start) -> None:
    refused = await server(faults={"overloaded": 1}).refuse(adapter, adapter.request())
    assert (refused.kind, refused.retryable, refused.billed) == (Kind.OVERLOADED, True, "no")


# --- faults on the way ---------------------------------------------------------------------------


@pytest.mark.parametrize(("fault", "served"), [("reset_before", 0), ("reset_mid_body", 1)])
async def test_after_a_reset_nobody_knows_what_was_billed(
    adapter: Adapter, server: Start, fault: str, served: int
) -> None:
    running = server(faults={fault: 1})
    refused = await running.refuse(adapter, adapter.request())
    assert (refused.kind, refused.retryable, refused.billed) == (Kind.CONNECTION, True, "unknown")
    requests = running.tally.as_json()["requests"]
    # An SDK with retries of its own would have been served, and billed, more than once.
    assert requests == served


@pytest.mark.parametrize("fault", ["truncated_json", "wrong_content_type"])
async def test_what_is_no_answer_is_a_bad_body_that_may_have_been_billed(
    adapter: Adapter, server: Start, fault: str
) -> None:
    running = server(faults={fault: 1})
    refused = await running.refuse(adapter, adapter.request())
    allowed = {Kind.BAD_BODY, Kind.CONNECTION} if isinstance_asker(adapter) else {Kind.BAD_BODY}
    assert refused.kind in allowed
    assert (refused.retryable, refused.billed) == (True, "unknown")
    assert running.tally.as_json()["requests"] == 1


async def test_a_straggler_past_the_timeout_is_of_unknown_fate(adapter: Adapter, server: Start) -> None:
    running = server(faults={"straggler": {"share": 1, "seconds": 60}})
    refused = await running.refuse(adapter, adapter.request(), patience=0.3)
    assert (refused.kind, refused.retryable, refused.billed) == (Kind.TIMEOUT, True, "unknown")
    assert running.tally.as_json()["requests"] == 1


async def test_an_answer_that_trickles_past_the_timeout_is_cut(adapter: Adapter, server: Start) -> None:
    """Each read is in time; the whole is not."""
    running = server(faults={"slow_trickle": 1, "trickle_seconds": 4})
    refused = await running.refuse(adapter, adapter.request(), patience=1.2)
    assert (refused.kind, refused.retryable, refused.billed) == (Kind.TIMEOUT, True, "unknown")
    assert running.tally.as_json()["requests"] == 1


@pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 500, 503])
async def test_a_key_that_the_server_repeats_reaches_no_message(
    adapter: Adapter, serve: Serve, status: int
) -> None:
    async def echo(http: HttpRequest) -> JSONResponse:
        said = f"Incorrect API key provided: {KEY}. You sent {dict(http.headers)}"
        return JSONResponse({"error": {"code": status, "message": said}}, status)

    app = Starlette(routes=[Route("/{path:path}", echo, methods=["POST", "GET"])])
    refused = await Server(serve(app), Tally()).refuse(adapter, adapter.request())
    assert refused.kind in set(Kind)


def isinstance_asker(adapter: Adapter) -> bool:
    return isinstance(adapter.make("http://127.0.0.1:9", KEY, 1), Asker)
