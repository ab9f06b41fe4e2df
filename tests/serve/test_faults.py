"""Scripted faults and sliding limits: what strikes whom, what the client sees, what was billed by then."""

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from pydantic import ValidationError

from toolkit.errors import Kind, ProviderError
from toolkit.serve.faults import Script
from toolkit.serve.openai_format import Tally
from toolkit.serve.simulate import create_app
from toolkit.serve.window import Window
from toolkit.serve.world import World, WorldSpec
from toolkit.serve.world_file import Fault, Faults, ServerLimits
from toolkit.types import HttpCall, HttpReply, Problem, Usage
from toolkit.wire import Wire

Serve = Callable[[Any], str]
APPLES = Problem("a", "Kim has 12 apples and buys 30 more. How many has she?", "42")
BODY = {"model": "m", "messages": [{"role": "user", "content": APPLES.question}], "seed": 7, "n": 4}


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def world(faults: dict[str, Any] | None = None, limits: dict[str, Any] | None = None) -> World:
    model = {
        "ability": {"a": 2, "b": 1},
        "tokens": {"mean": 50},
        "price": {"input": "0.1", "output": "0.3"},
        "limits": limits or {},
    }
    return World(
        WorldSpec.model_validate({"name": "w", "models": {"m": model}, "faults": faults or {}}), [APPLES]
    )


async def nap(seconds: float) -> None:
    await asyncio.sleep(0)


# --- the script ----------------------------------------------------------------------------------


def strikes(count: int = 4000, **faults: Any) -> list[Fault | None]:
    script = Script(Faults(**faults))
    return [script.next() for _ in range(count)]


def test_each_fault_strikes_its_share_of_the_requests() -> None:
    struck = Counter(strikes(rate_limit=0.1, reset_before=0.05, straggler={"share": 0.2}))
    assert struck[Fault.RATE_LIMIT] / 4000 == pytest.approx(0.1, abs=0.015)
    assert struck[Fault.RESET_BEFORE] / 4000 == pytest.approx(0.05, abs=0.012)
    assert struck[Fault.STRAGGLER] / 4000 == pytest.approx(0.2, abs=0.02)
    assert struck[None] / 4000 == pytest.approx(0.65, abs=0.025)


def test_the_same_seed_strikes_the_same_requests_and_another_seed_others() -> None:
    assert strikes(100, overloaded=0.5, seed=1) == strikes(100, overloaded=0.5, seed=1)
    assert strikes(100, overloaded=0.5, seed=1) != strikes(100, overloaded=0.5, seed=2)


def test_shares_of_more_than_all_requests_are_refused() -> None:
    with pytest.raises(ValidationError, match="more than 1"):
        Faults(rate_limit=0.6, overloaded=0.5)


def test_what_is_served_is_billed_and_the_world_file_may_say_otherwise() -> None:
    default = Script(Faults())
    other = Script(Faults(bill_on_fault={Fault.RESET_BEFORE: True, Fault.TRUNCATED_JSON: False}))
    assert [f.value for f in Fault if not default.bills(f)] == ["rate_limit", "overloaded", "reset_before"]
    assert other.bills(Fault.RESET_BEFORE)
    assert not other.bills(Fault.TRUNCATED_JSON)
    assert other.bills(None)


# --- over HTTP -----------------------------------------------------------------------------------


async def send(url: str, patience: float = 10) -> HttpReply:
    call = HttpCall(
        f"{url}/v1/chat/completions", {"content-type": "application/json"}, json.dumps(BODY).encode()
    )
    async with Wire(timeout=patience) as wire:
        return await wire.send(call)


def stats(url: str) -> dict[str, Any]:
    answer: dict[str, Any] = httpx.get(f"{url}/sim/stats").json()
    return answer


@pytest.mark.parametrize(("fault", "requests"), [("reset_before", 0), ("reset_mid_body", 1)])
async def test_a_reset_reaches_the_client_as_a_broken_connection(
    serve: Serve, fault: str, requests: int
) -> None:
    url = serve(create_app(world({fault: 1}), Tally()))
    with pytest.raises(ProviderError) as broken:
        await send(url)
    assert (broken.value.kind, broken.value.billed) == (Kind.CONNECTION, "unknown")
    assert stats(url)["requests"] == requests


async def test_a_reset_breaks_one_connection_and_not_the_server(serve: Serve) -> None:
    url = serve(create_app(world({"reset_before": 0.5}), Tally()))
    answers = await asyncio.gather(*(send(url) for _ in range(24)), return_exceptions=True)
    served = [a for a in answers if isinstance(a, HttpReply) and a.status == 200]
    assert 0 < len(served) < 24
    assert stats(url)["requests"] == len(served)


async def test_truncated_json_arrives_whole_as_far_as_http_can_tell(serve: Serve) -> None:
    url = serve(create_app(world({"truncated_json": 1}), Tally()))
    reply = await send(url)
    assert (reply.status, reply.headers["content-type"]) == (200, "application/json")
    assert int(reply.headers["content-length"]) == len(reply.body) > 100
    with pytest.raises(ValueError):
        json.loads(reply.body)
    assert stats(url)["draws"] == 4


async def test_a_page_of_html_takes_the_place_of_a_billed_answer(serve: Serve) -> None:
    url = serve(create_app(world({"wrong_content_type": 1}), Tally()))
    reply = await send(url)
    assert (reply.status, reply.headers["content-type"].split(";")[0]) == (200, "text/html")
    assert stats(url)["requests"] == 1


async def test_a_trickling_answer_is_the_same_answer(serve: Serve) -> None:
    naps: list[float] = []

    async def note(seconds: float) -> None:
        naps.append(seconds)

    plain = await send(serve(create_app(world(), Tally())))
    url = serve(create_app(world({"slow_trickle": 1, "trickle_seconds": 4}), Tally(), sleep=note))
    assert json.loads((await send(url)).body)["choices"] == json.loads(plain.body)["choices"]
    assert sum(naps) == pytest.approx(4, rel=0.15)  # the last piece is the shorter one


async def test_fewer_candidates_are_the_first_ones_and_only_they_are_billed(serve: Serve) -> None:
    whole = json.loads((await send(serve(create_app(world(), Tally())))).body)
    url = serve(create_app(world({"fewer_candidates": 1}), Tally()))
    fewer = json.loads((await send(url)).body)
    assert fewer["choices"] == whole["choices"][:2]
    assert stats(url)["draws"] == 2
    assert stats(url)["tokens"]["output"] == fewer["usage"]["completion_tokens"]


async def test_a_straggler_is_billed_while_its_client_has_long_given_up(serve: Serve) -> None:
    url = serve(create_app(world({"straggler": {"share": 1, "seconds": 60}}), Tally()))
    with pytest.raises(ProviderError) as late:
        await send(url, patience=0.2)
    assert (late.value.kind, late.value.billed) == (Kind.TIMEOUT, "unknown")
    assert stats(url)["requests"] == 1


async def test_a_refusal_that_bills_all_the_same_can_be_scripted(serve: Serve) -> None:
    tally = Tally()
    url = serve(create_app(world({"overloaded": 1, "bill_on_fault": {"overloaded": True}}), tally))
    assert (await send(url)).status == 503
    assert tally.as_json()["requests"] == 1


@pytest.mark.parametrize(("hint", "header"), [(None, "3"), ("header", "3"), ("none", None)])
async def test_a_scripted_429_hints_as_told_and_is_counted_as_rejected(
    hint: str | None, header: str | None
) -> None:
    tally = Tally()
    app = create_app(world({"rate_limit": 1, "rate_limit_hint": hint, "retry_after": 2.5}), tally)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://sim") as http:
        answer = await http.post("/v1/chat/completions", json=BODY)
        account = (await http.get("/sim/stats")).json()
    assert (answer.status_code, answer.headers.get("retry-after")) == (429, header)
    assert (account["requests"], account["rejected"], account["models"]["m"]["rejected"]) == (0, 1, 1)


# --- sliding limits ------------------------------------------------------------------------------


def window(clock: Clock, **limits: Any) -> Window:
    return Window(ServerLimits(**limits), clock)


ONE = Usage(prompt=10, output=20, thinking=5)


def test_no_sixty_seconds_hold_more_requests_than_the_limit() -> None:
    clock = Clock()
    limit = window(clock, requests_per_minute=5)
    allowed = []
    for tenth in range(0, 3000, 7):
        clock.now = tenth / 10
        if limit.wait(ONE) == 0:
            allowed.append(clock.now)
    assert len(allowed) == 25
    assert all(later - earlier >= 60 for earlier, later in zip(allowed, allowed[5:], strict=False))


def test_the_wait_is_exactly_until_the_window_has_room() -> None:
    clock = Clock()
    limit = window(clock, requests_per_minute=2)
    assert limit.wait(ONE) == 0
    clock.now += 20
    assert limit.wait(ONE) == 0
    clock.now += 5
    assert limit.wait(ONE) == pytest.approx(35)
    clock.now += 35
    assert limit.wait(ONE) == 0
    assert limit.wait(ONE) == pytest.approx(20)


@pytest.mark.parametrize(
    ("limits", "fit"), [({"tokens_per_minute": 100}, 2), ({"input_tokens_per_minute": 100}, 10)]
)
def test_tokens_count_as_the_limit_says(limits: dict[str, float], fit: int) -> None:
    clock = Clock()
    limit = window(clock, **limits)
    assert [limit.wait(ONE) == 0 for _ in range(fit + 1)] == [True] * fit + [False]


def test_a_request_larger_than_the_limit_is_served_once_the_window_is_empty() -> None:
    clock = Clock()
    limit = window(clock, tokens_per_minute=20)
    assert limit.wait(ONE) == 0
    assert limit.wait(ONE) == pytest.approx(60)
    clock.now += 60
    assert limit.wait(ONE) == 0


def test_a_rejected_request_takes_nothing() -> None:
    clock = Clock()
    limit = window(clock, requests_per_minute=10, tokens_per_minute=40)
    assert limit.wait(ONE) == 0
    assert limit.wait(ONE) == pytest.approx(60)
    assert limit.wait(Usage(prompt=5, output=0)) == 0


async def test_limits_are_enforced_over_http_with_headers_and_hint() -> None:
    clock, tally = Clock(), Tally()
    limits = {"requests_per_minute": 2, "tokens_per_minute": 10_000, "rate_limit_headers": True}
    app = create_app(world(limits=limits), tally, clock=clock, sleep=nap)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://sim") as http:
        answers = []
        for _ in range(3):
            answers.append(await http.post("/v1/chat/completions", json=BODY))
            clock.now += 0.25
        clock.now += 60
        answers.append(await http.post("/v1/chat/completions", json=BODY))
        account = (await http.get("/sim/stats")).json()
    assert [a.status_code for a in answers] == [200, 200, 429, 200]
    assert [a.headers["x-ratelimit-remaining-requests"] for a in answers] == ["1", "0", "0", "1"]
    assert answers[0].headers["x-ratelimit-limit-tokens"] == "10000"
    assert answers[1].headers["x-ratelimit-reset-requests"] == "60.000s"
    assert answers[2].headers["retry-after"] == "60"
    assert answers[2].json()["error"]["code"] == "rate_limit_exceeded"
    assert (account["requests"], account["models"]["m"]["rejected"]) == (3, 1)


async def test_one_models_limit_is_no_others() -> None:
    base = world(limits={"requests_per_minute": 1}).spec.model_dump()
    base["models"]["other"] = {**base["models"]["m"], "limits": {}}
    app = create_app(World(WorldSpec.model_validate(base), [APPLES]), Tally(), clock=Clock())
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://sim") as http:
        said = [
            (await http.post("/v1/chat/completions", json={**BODY, "model": m})).status_code
            for m in ("m", "m", "other", "other")
        ]
    assert said == [200, 429, 200, 200]
