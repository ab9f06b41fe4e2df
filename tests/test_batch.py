"""Sampling in batches, over HTTP against the simulated provider: nothing lost, nothing paid twice."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from providers.gemini import Gemini
from providers.gemini_batch import GeminiBatch
from providers.openai_batch import OpenAIBatch
from providers.openai_compatible import OpenAICompatible
from toolkit import batch, cost
from toolkit.arms import Stream
from toolkit.batch import Lane, Pace
from toolkit.errors import Kind, ProviderError, Refused
from toolkit.ledger import Ledger
from toolkit.limits import Limiter
from toolkit.provider import Batcher
from toolkit.sample import Progress, Result
from toolkit.serve.openai_format import Tally
from toolkit.serve.simulate import create_app
from toolkit.serve.world import World, WorldSpec
from toolkit.spec import Limits, Price
from toolkit.types import HttpCall, HttpReply, Message, Problem, Request
from toolkit.wire import Wire

QUOTED = Price(input="0.5", output="1.5", batch="0.5")  # type: ignore[arg-type]
PRICE = cost.price(cost.in_batches(QUOTED))
PROBLEMS = [Problem(f"p{i}", f"What is {i} + {i}?", str(2 * i)) for i in range(6)]
REQUESTS = [Request("m", (Message("user", p.question),), max_tokens=60) for p in PROBLEMS]
BOUND = max(PRICE.bound(r) for r in REQUESTS)
SUBMITS = ("/batches", ":batchGenerateContent")

Serve = Callable[[Any], str]


class Killed(BaseException):
    """Stands for the end of the process."""


def app(**batches: Any) -> Any:
    model = {
        "ability": {"a": 1, "b": 1},
        "tokens": {"mean": 40, "sd": 10},
        "price": QUOTED.model_dump(mode="json", exclude_none=True),
    }
    spec = WorldSpec.model_validate(
        {"name": "t", "models": {"m": model, "gemini-2.5-flash": model}, "batch": batches}
    )
    return create_app(World(spec, PROBLEMS), Tally())


@dataclass
class Bench:
    """A ledger on disk, a simulated provider, and one arm that is sampled in batches."""

    path: Path
    root: str
    face: str = "openai"
    slept: list[float] = field(default_factory=list)
    on_sleep: Callable[[], None] = lambda: None
    before: Callable[[HttpCall], None] = lambda call: None
    after: Callable[[HttpCall], None] = lambda call: None
    now: float = 0.0
    calls: list[HttpCall] = field(default_factory=list)

    @property
    def batcher(self) -> Batcher:
        if self.face == "gemini":
            base = f"{self.root}/v1beta"
            return GeminiBatch(Gemini(base), base)
        return OpenAIBatch(OpenAICompatible(f"{self.root}/v1"))

    def lane(self, ledger: Ledger, *, name: str = "cheap", k: int = 2, n: int = 1) -> Lane:
        model = "gemini-2.5-flash" if self.face == "gemini" else "m"
        arm = ledger.add_arm(name, model, "simulated", {}, "sha")
        requests = [replace(r, model=model) for r in REQUESTS]
        limiter = Limiter(Limits())

        async def alone(request: Request) -> Any:
            raise AssertionError("nothing leaves alone")

        return Lane(Stream(name, arm, k, n, alone, requests, limiter, PRICE, seeds=True), self.batcher)

    async def sample(
        self,
        *,
        k: int = 2,
        n: int = 1,
        cap: int | None = None,
        names: tuple[str, ...] = ("cheap",),
        stop: asyncio.Event | None = None,
        **pace: Any,
    ) -> Result:
        """One process: opens the ledger, samples, closes it."""

        async def sleep(seconds: float) -> None:
            self.slept.append(seconds)
            self.now += seconds
            await asyncio.sleep(0)
            self.on_sleep()

        async with Wire(timeout=10) as wire:

            async def send(call: HttpCall) -> HttpReply:
                self.calls.append(call)
                self.before(call)
                reply = await wire.send(call)
                self.after(call)
                return reply

            with Ledger(self.path, cap_pico=cap) as ledger:
                ids = ledger.add_problems(PROBLEMS)
                return await batch.run(
                    [self.lane(ledger, name=name, k=k, n=n) for name in names],
                    ids,
                    ledger,
                    keys=[p.id for p in PROBLEMS],
                    send=send,
                    pace=Pace(**pace),
                    stop=stop,
                    progress=Progress(),
                    clock=lambda: self.now,
                    sleep=sleep,
                )

    def submits(self) -> int:
        return sum(is_submit(call) for call in self.calls)

    def drawn(self) -> list[tuple[int, int, int]]:
        with Ledger(self.path) as ledger:
            return sorted(ledger.rows("SELECT arm, problem, idx FROM draw"))

    def billed(self) -> dict[str, Any]:
        stats: dict[str, Any] = httpx.get(f"{self.root}/sim/stats").json()
        return stats

    def spent(self, cap: int | None = None) -> tuple[int, int, int]:
        """(settled, reserved, uncertain), having checked what holds whatever happens."""
        with Ledger(self.path) as ledger:
            spend = ledger.spend()
        assert self.billed()["pico"] <= spend.settled + spend.uncertain + spend.reserved
        assert cap is None or spend.committed <= cap
        return spend.settled, spend.reserved, spend.uncertain


def is_submit(call: HttpCall) -> bool:
    return call.method == "POST" and call.url.endswith(SUBMITS)


def dies(call: HttpCall) -> None:
    if is_submit(call):
        raise Killed


def all_of(k: int) -> list[tuple[int, int, int]]:
    return [(1, p, i) for p in range(1, len(PROBLEMS) + 1) for i in range(k)]


@pytest.fixture(params=["openai", "gemini"])
def bench(request: pytest.FixtureRequest, tmp_path: Path, serve: Serve) -> Bench:
    return Bench(tmp_path / "ledger.sqlite", serve(app()), request.param)


# -- the plain way


async def test_every_draw_comes_once_and_is_billed_at_half_the_price(bench: Bench) -> None:
    result = await bench.sample(k=3, n=2)
    assert result.missing == {"cheap": 0}
    assert bench.drawn() == all_of(3)
    stats, full = bench.billed(), cost.price(QUOTED)
    tokens = stats["tokens"]
    assert 2 * stats["pico"] == tokens["prompt"] * full.input + tokens["output"] * full.output
    assert bench.spent() == (stats["pico"], 0, 0)
    assert bench.submits() == 1


async def test_a_complete_run_submits_nothing(bench: Bench) -> None:
    await bench.sample()
    calls = len(bench.calls)
    assert (await bench.sample()).missing == {"cheap": 0}
    assert len(bench.calls) == calls


async def test_a_batch_holds_no_more_requests_than_it_may(bench: Bench) -> None:
    await bench.sample(k=2, requests=5)
    assert bench.submits() == 3  # 12 requests
    assert bench.drawn() == all_of(2)


async def test_a_batch_holds_no_more_bytes_than_it_may(bench: Bench, monkeypatch: Any) -> None:
    one = max(len(bench.batcher.line("1-0", replace(r, seed=2**31))) for r in REQUESTS) + 40
    original = bench.batcher
    monkeypatch.setattr(Bench, "batcher", replace(original, max_bytes=4 * one))  # type: ignore[type-var]
    await bench.sample(k=1)
    assert bench.submits() == 2
    assert bench.drawn() == all_of(1)


async def test_each_arm_has_batches_of_its_own(bench: Bench) -> None:
    result = await bench.sample(k=1, names=("cheap", "strong"))
    assert result.missing == {"cheap": 0, "strong": 0}
    assert bench.submits() == 2
    assert len(bench.drawn()) == 2 * len(PROBLEMS)


async def test_a_batch_is_looked_at_once_per_poll_until_it_is_there(tmp_path: Path, serve: Serve) -> None:
    bench = Bench(tmp_path / "ledger.sqlite", serve(app(processing=150)))
    stop = asyncio.Event()
    bench.on_sleep = lambda: stop.set() if len(bench.slept) == 3 else None
    result = await bench.sample(stop=stop, poll=60)
    assert bench.slept == [60, 60, 60]
    assert result.interrupted
    assert sum("/batches/" in call.url for call in bench.calls) == 2


# -- dying


async def test_killed_before_the_submit_the_next_run_submits_and_pays_once(bench: Bench) -> None:
    bench.before = dies
    with pytest.raises(Killed):
        await bench.sample()
    _, reserved, _ = bench.spent()
    assert reserved > 0, "the intent is on disk before anything leaves"
    bench.before = lambda call: None
    assert (await bench.sample(settling=60, poll=60)).missing == {"cheap": 0}
    assert bench.slept, "a submit that may still arrive is waited for"
    assert bench.drawn() == all_of(2)
    assert bench.billed()["draws"] == 12
    assert bench.spent()[1:] == (0, 0)


async def test_killed_between_submit_and_save_the_batch_is_found_and_paid_once(bench: Bench) -> None:
    bench.after = dies
    with pytest.raises(Killed):
        await bench.sample()
    assert bench.billed()["draws"] == 12
    bench.after = lambda call: None
    assert (await bench.sample()).missing == {"cheap": 0}
    assert bench.submits() == 1
    assert bench.drawn() == all_of(2)
    assert bench.billed()["draws"] == 12
    assert bench.spent() == (bench.billed()["pico"], 0, 0)


async def test_killed_while_collecting_the_rest_is_collected_and_nothing_twice(
    bench: Bench, monkeypatch: Any
) -> None:
    monkeypatch.setattr("toolkit.batch.collect.TOGETHER", 3)
    settle = Ledger.settle
    settled: list[Any] = []

    async def settling(self: Ledger, *args: Any) -> None:
        if len(settled) == 6:
            raise Killed
        settled.append(args)
        await settle(self, *args)

    monkeypatch.setattr(Ledger, "settle", settling)
    with pytest.raises((Killed, BaseExceptionGroup)):
        await bench.sample()
    assert len(bench.drawn()) == 6
    monkeypatch.setattr(Ledger, "settle", settle)
    assert (await bench.sample()).missing == {"cheap": 0}
    assert bench.submits() == 1
    assert bench.spent() == (bench.billed()["pico"], 0, 0)


async def test_a_lost_batch_is_found_on_a_later_page(bench: Bench, monkeypatch: Any) -> None:
    monkeypatch.setattr(f"providers.{bench.face}_batch.LISTED", 5)
    bench.after = dies
    with pytest.raises(Killed):
        await bench.sample()
    bench.after = lambda call: None
    await others(bench, 12)
    assert (await bench.sample()).missing == {"cheap": 0}
    assert bench.billed()["draws"] == 12 + 12


async def others(bench: Bench, count: int) -> None:
    """Batches of somebody else on the same account."""
    request = replace(REQUESTS[0], model="gemini-2.5-flash" if bench.face == "gemini" else "m")
    async with Wire(timeout=10) as wire:
        for i in range(count):
            steps = bench.batcher.submit(f"other-{i}", request, [bench.batcher.line("1", request)])
            call = next(steps)
            try:
                while True:
                    call = steps.send(await wire.send(call))
            except StopIteration:
                continue


async def test_a_submit_of_unknown_fate_is_looked_for_before_anything_is_submitted_again(
    bench: Bench,
) -> None:
    def silent(call: HttpCall) -> None:
        if is_submit(call) and bench.submits() == 1:
            raise ProviderError(Kind.TIMEOUT, "no answer", retryable=True)

    bench.after = silent
    assert (await bench.sample()).missing == {"cheap": 0}
    assert bench.submits() == 1
    assert bench.billed()["draws"] == 12


async def test_a_submit_that_was_turned_away_is_made_again_after_a_pause(bench: Bench) -> None:
    def crowded(call: HttpCall) -> None:
        if is_submit(call) and bench.submits() <= 2:
            raise ProviderError(Kind.RATE_LIMIT, "too many", retryable=True, billed="no", status=429)

    bench.before = crowded
    assert (await bench.sample()).missing == {"cheap": 0}
    assert bench.submits() == 3
    assert len(bench.slept) >= 2
    assert bench.spent() == (bench.billed()["pico"], 0, 0)


async def test_opening_the_ledger_leaves_what_a_batch_holds_reserved(bench: Bench) -> None:
    bench.after = dies
    with pytest.raises(Killed):
        await bench.sample()
    with Ledger(bench.path) as ledger:
        assert ledger.attempts() == {"reserved": 12}
        assert [row.state for row in ledger.live_batches()] == ["intent"]


async def test_stopping_leaves_the_batch_and_a_later_run_collects_it(tmp_path: Path, serve: Serve) -> None:
    bench = Bench(tmp_path / "ledger.sqlite", serve(app(processing=0.3)))
    stop = asyncio.Event()
    bench.on_sleep = stop.set
    result = await bench.sample(stop=stop)
    assert result.interrupted
    assert result.missing == {"cheap": 12}
    assert "still with the provider" in result.notes[0]
    bench.on_sleep = lambda: None
    await asyncio.sleep(0.3)  # the simulated provider works on it
    assert (await bench.sample()).missing == {"cheap": 0}
    assert bench.submits() == 1


# -- an arm that changed while its batch was out


async def left_behind(tmp_path: Path, serve: Serve) -> Bench:
    """A batch is out, and the run file names another arm now."""
    bench = Bench(tmp_path / "ledger.sqlite", serve(app(processing=0.3)))
    stop = asyncio.Event()
    bench.on_sleep = stop.set
    await bench.sample(stop=stop)
    bench.on_sleep = lambda: None
    await asyncio.sleep(0.3)  # the simulated provider works on it
    return bench


async def test_a_batch_no_arm_can_collect_counts_as_spent_until_it_is_resolved(
    tmp_path: Path, serve: Serve
) -> None:
    bench = await left_behind(tmp_path, serve)
    result = await bench.sample(names=("another",))
    assert result.missing == {"another": 0}
    assert "status RUN --uncertain paid|unpaid" in result.notes[0]
    settled, reserved, uncertain = bench.spent()
    assert reserved == 0
    assert uncertain == pytest.approx(12 * BOUND, rel=0.1)
    with Ledger(bench.path) as ledger:
        assert ledger.resolve("unpaid") == 12
        assert ledger.spent.committed == settled


@pytest.mark.parametrize("verdicts", [0, 1])
async def test_an_arm_that_is_put_back_collects_its_batch_and_pays_once(
    tmp_path: Path, serve: Serve, verdicts: int
) -> None:
    bench = await left_behind(tmp_path, serve)
    await bench.sample(names=("another",))
    with Ledger(bench.path) as ledger:
        for (attempt,) in list(ledger.rows("SELECT id FROM attempt WHERE state='uncertain'"))[:verdicts]:
            ledger.resolve("paid", attempt)  # and is not collected, since its fate is settled
    before = bench.submits()
    result = await bench.sample()
    assert result.missing == {"cheap": 0}
    assert bench.submits() - before == verdicts
    assert bench.spent()[1:] == (0, 0)


async def test_the_spend_in_memory_follows_a_batch_that_is_left_and_taken_up(
    tmp_path: Path, serve: Serve
) -> None:
    bench = await left_behind(tmp_path, serve)
    with Ledger(bench.path) as ledger:
        (arm,) = (row[0] for row in ledger.arms())
        for arms, stranded in (([], 1), ([arm], 0), ([None], 1), ([arm], 0)):
            assert await ledger.strand_batches(arms) == stranded
            assert ledger.spent == ledger.spend()
            assert bool(ledger.live_batches()) is not bool(stranded)


# -- parts and batches that fail


async def test_expired_parts_are_not_paid_and_are_asked_again(
    tmp_path: Path, serve: Serve, face: str
) -> None:
    bench = Bench(tmp_path / "ledger.sqlite", serve(app(expired=0.4)), face)
    result = await bench.sample(k=4, attempts=30)
    assert result.missing == {"cheap": 0}
    assert bench.drawn() == all_of(4)
    assert bench.submits() > 1
    assert bench.billed()["draws"] == 24
    assert bench.spent() == (bench.billed()["pico"], 0, 0)
    with Ledger(bench.path) as ledger:
        assert ledger.attempts()["released"] > 0


async def test_failed_parts_are_asked_again(tmp_path: Path, serve: Serve, face: str) -> None:
    bench = Bench(tmp_path / "ledger.sqlite", serve(app(failed=0.4)), face)
    assert (await bench.sample(k=4, attempts=30)).missing == {"cheap": 0}
    assert bench.billed()["draws"] == 24
    assert bench.spent() == (bench.billed()["pico"], 0, 0)


async def test_parts_that_always_fail_stay_missing_and_nothing_waits_for_ever(
    tmp_path: Path, serve: Serve, face: str
) -> None:
    bench = Bench(tmp_path / "ledger.sqlite", serve(app(expired=1)), face)
    result = await bench.sample(k=1, attempts=3)
    assert result.missing == {"cheap": 6}
    assert bench.submits() == 3
    assert bench.spent() == (0, 0, 0)


async def test_a_batch_refused_as_a_whole_is_submitted_again(tmp_path: Path, serve: Serve, face: str) -> None:
    bench = Bench(tmp_path / "ledger.sqlite", serve(app(refused=2)), face)
    result = await bench.sample()
    assert result.missing == {"cheap": 0}
    assert "Enqueued token limit" in result.notes[0]
    assert bench.submits() == 3
    assert bench.billed()["draws"] == 12


async def test_a_batch_the_provider_forgot_counts_as_spent(bench: Bench, serve: Serve) -> None:
    stop = asyncio.Event()
    stopping: Callable[[HttpCall], None] = lambda call: stop.set() if is_submit(call) else None  # noqa: E731
    bench.after = stopping
    await bench.sample(stop=stop)
    bench.after, bench.root = (lambda call: None), serve(app())
    result = await bench.sample()
    assert "no longer knows" in result.notes[0]
    assert result.missing == {"cheap": 0}
    settled, reserved, uncertain = bench.spent()
    assert uncertain > 0
    assert (settled, reserved) == (bench.billed()["pico"], 0)


async def test_an_absent_provider_is_refused_at_once_and_nothing_stays_reserved(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "ledger.sqlite", "http://127.0.0.1:9")
    with pytest.raises(Refused):
        await bench.sample()
    assert bench.slept == []
    with Ledger(bench.path) as ledger:
        assert ledger.spend().committed == 0


async def test_a_parameter_that_is_not_honoured_is_refused_before_anything_is_reserved(bench: Bench) -> None:
    REFUSED = replace(REQUESTS[0], thinking=7 if bench.face == "openai" else 99_999)
    model = "gemini-2.5-flash" if bench.face == "gemini" else "m"
    with pytest.raises(ProviderError, match="thinking"):
        bench.batcher.line("1", replace(REFUSED, model=model))


# -- the cap


async def test_what_the_cap_has_no_room_for_waits_for_what_batches_free(bench: Bench) -> None:
    cap = 9 * BOUND  # twelve requests cost less, their upper bounds more
    result = await bench.sample(k=2, cap=cap)
    assert result.missing == {"cheap": 0}
    assert 1 < bench.submits() <= 3
    assert bench.drawn() == all_of(2)
    bench.spent(cap)


async def test_at_the_cap_the_run_stops_and_keeps_what_it_has(bench: Bench) -> None:
    cap = 2 * BOUND
    result = await bench.sample(k=40, cap=cap)
    assert result.capped
    assert 0 < len(bench.drawn()) < 240
    settled, reserved, uncertain = bench.spent(cap)
    assert reserved == uncertain == 0
    assert settled > cap - BOUND


async def test_an_upper_bound_is_on_disk_before_the_batch_leaves(bench: Bench) -> None:
    import sqlite3

    seen = []

    def look(call: HttpCall) -> None:
        if is_submit(call):
            db = sqlite3.connect(bench.path)
            seen.append(db.execute("SELECT COUNT(*), MIN(reserved_pico) FROM attempt").fetchone())
            db.close()

    bench.before = look
    await bench.sample()
    assert seen[0][0] == 12
    assert seen[0][1] > 0


@pytest.fixture(params=["openai", "gemini"])
def face(request: pytest.FixtureRequest) -> str:
    return str(request.param)


# -- the command, killed for real


class Killer:
    """The simulated provider, which kills whoever submits a batch: after taking it, before saying so."""

    def __init__(self, inner: Any, victims: Path, kills: int) -> None:
        self.inner, self.victims, self.kills = inner, victims, kills

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        submits = scope["type"] == "http" and scope["method"] == "POST" and scope["path"] == "/v1/batches"

        async def deadly(message: Any) -> None:
            if submits and self.kills and message["type"] == "http.response.start":
                self.kills -= 1
                os.kill(int(self.victims.read_text()), signal.SIGKILL)
            await send(message)

        await self.inner(scope, receive, deadly)


def test_the_command_killed_between_submit_and_save_pays_once(tmp_path: Path, serve: Serve) -> None:
    questions = tmp_path / "questions.jsonl"
    questions.write_text(
        "".join(f'{{"id": "{p.id}", "question": "{p.question}", "answer": "{p.answer}"}}\n' for p in PROBLEMS)
    )
    victims = tmp_path / "pid"
    root = serve(Killer(app(), victims, kills=1))
    run = {
        "name": "batched",
        "problems": {"source": str(questions)},
        "decoding": {"max_tokens": 60},
        "models": {
            "m": {
                "provider": "openai_compatible",
                "model": "m",
                "base_url": f"{root}/v1",
                "price": QUOTED.model_dump(mode="json", exclude_none=True),
            }
        },
        "budget": {"draws": 4, "match": "samples", "cap_usd": 1},
        "sampling": {"batch_poll": 0.1},
    }
    file = tmp_path / "run.yaml"
    file.write_text(yaml.safe_dump(run))
    command = [
        sys.executable,
        "-m",
        "toolkit",
        "sample",
        str(file),
        "--batch",
        "--out",
        str(tmp_path / "out"),
    ]

    def once() -> int:
        process = subprocess.Popen(["sh", "-c", f'echo $$ > {victims}; exec "$@"', "sh", *command])
        return process.wait(60)

    assert once() == -signal.SIGKILL
    assert once() == 0
    stats = httpx.get(f"{root}/sim/stats").json()
    with Ledger(tmp_path / "out" / "ledger.sqlite") as ledger:
        assert ledger.count_draws() == stats["draws"] == 24
        assert (ledger.spend().settled, ledger.spend().committed) == (stats["pico"], stats["pico"])
