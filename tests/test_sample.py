"""Sampling: matched order, the cap, retries, and what an answer, a refusal or a silence costs."""

import asyncio
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from toolkit import sample
from toolkit.arms import Stream
from toolkit.cost import Price
from toolkit.errors import Kind, ProviderError, Refused, Unfinished
from toolkit.ledger import Ledger
from toolkit.limits import Limiter
from toolkit.sample import Progress, Result
from toolkit.spec import Limits
from toolkit.types import Choice, Finish, Message, Problem, Reply, Request, Usage

PRICE = Price(input=1, output=2, cached=1, thinking=2)
PROBLEMS = [Problem(f"p{i}", f"What is {i} + {i}?", str(2 * i)) for i in range(4)]

Answer = Callable[[Request], Reply]


def reply(request: Request, *, n: int | None = None, output: int = 5) -> Reply:
    count = request.n if n is None else n
    return Reply(tuple(Choice(f"draw {i}", Finish.STOP) for i in range(count)), Usage(10, output * count))


@dataclass
class Fake:
    """A provider at the seam: scripted answers, and a record of what was asked."""

    script: list[Answer | ProviderError] = field(default_factory=list)  # first come first; then plain answers
    asked: list[Request] = field(default_factory=list)
    in_flight: int = 0
    most: int = 0
    turns: int = 1  # of the event loop, before answering

    async def ask(self, request: Request) -> Reply:
        self.asked.append(request)
        self.in_flight += 1
        self.most = max(self.most, self.in_flight)
        try:
            for _ in range(self.turns):
                await asyncio.sleep(0)
            step = self.script.pop(0) if self.script else reply
            if isinstance(step, ProviderError):
                raise step
            return step(request)
        finally:
            self.in_flight -= 1


@dataclass
class Bench:
    """A ledger, and the arms to sample into it."""

    ledger: Ledger
    slept: list[float] = field(default_factory=list)

    def stream(
        self,
        fake: Fake,
        *,
        name: str = "cheap",
        k: int = 2,
        n: int = 1,
        price: Price | None = PRICE,
        concurrency: int = 8,
        seeds: bool = True,
        limits: Limits | None = None,
    ) -> Stream:
        arm = self.ledger.add_arm(name, "m", "simulated", {}, "sha")
        requests = [Request("m", (Message("user", p.question),), max_tokens=20) for p in PROBLEMS]
        limiter = Limiter(limits or Limits(concurrency=concurrency))
        return Stream(name, arm, k, n, fake.ask, requests, limiter, price, seeds=seeds)

    async def run(
        self,
        *streams: Stream,
        stop: asyncio.Event | None = None,
        attempts: int = 4,
        progress: Progress | None = None,
    ) -> Result:
        async def sleep(seconds: float) -> None:
            self.slept.append(seconds)
            await asyncio.sleep(0)

        ids = self.ledger.add_problems(PROBLEMS)
        return await sample.run(
            streams,
            ids,
            self.ledger,
            keys=[p.id for p in PROBLEMS],
            attempts=attempts,
            stop=stop,
            progress=progress,
            sleep=sleep,
        )


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        yield Bench(ledger)


def error(kind: Kind, **data: object) -> ProviderError:
    return ProviderError(kind, f"said {kind}", **data)  # type: ignore[arg-type]


def drawn(ledger: Ledger) -> list[tuple[int, int, int]]:
    return sorted(ledger.rows("SELECT arm, problem, idx FROM draw"))


# -- order and resume


async def test_every_planned_draw_is_asked_once(bench: Bench) -> None:
    fake = Fake()
    result = await bench.run(bench.stream(fake, k=3, n=2))
    assert result.missing == {"cheap": 0}
    assert drawn(bench.ledger) == [(1, p, i) for p in range(1, 5) for i in range(3)]
    assert sorted(r.n for r in fake.asked) == [1] * 4 + [2] * 4


async def test_resume_pays_only_for_what_is_missing(bench: Bench) -> None:
    await bench.run(bench.stream(Fake(), k=2))
    again, more = Fake(), Fake()
    await bench.run(bench.stream(again, k=2))
    await bench.run(bench.stream(more, k=3))
    assert again.asked == []
    assert len(more.asked) == len(PROBLEMS)


def test_wherever_a_run_stops_the_arms_are_in_proportion_and_k_is_equal(bench: Bench) -> None:
    streams = [bench.stream(Fake(), name="cheap", k=30, n=3), bench.stream(Fake(), name="strong", k=10, n=1)]
    todo = {s.name: [list(range(s.k)) for _ in PROBLEMS] for s in streams}
    ordered = sorted((t for s in streams for t in sample.tasks(s, todo[s.name])), key=lambda t: t.progress)
    counts = {s.name: [0] * len(PROBLEMS) for s in streams}
    for task in ordered:
        counts[task.stream.name][task.position] += task.n
        done = {s.name: sum(counts[s.name]) / (s.k * len(PROBLEMS)) for s in streams}
        assert abs(done["cheap"] - done["strong"]) <= 1 / 40 + 1e-9  # one request of either arm
        for s in streams:
            assert max(counts[s.name]) - min(counts[s.name]) <= s.n
    assert counts == {"cheap": [30] * 4, "strong": [10] * 4}


def test_tasks_of_a_resumed_run_never_cover_a_draw_that_is_there(bench: Bench) -> None:
    missing = [[0, 1, 2, 5], [], [4], [0, 2, 4]]
    asked = [
        (t.position, list(range(t.first, t.first + t.n)))
        for t in sample.tasks(bench.stream(Fake(), k=6, n=3), missing)
    ]
    covered: list[list[int]] = [[], [], [], []]
    for position, indices in asked:
        covered[position] += indices
    assert [sorted(c) for c in covered] == missing


async def test_seeds_differ_between_requests_and_stay_the_same_on_a_rerun(bench: Bench) -> None:
    fake = Fake()
    await bench.run(bench.stream(fake, k=2), bench.stream(fake, name="strong", k=2))
    seeds = [r.seed for r in fake.asked]
    assert len(set(seeds)) == len(seeds)
    assert sample.seed_of(0, "cheap", "p0", 0) in seeds


async def test_a_seed_is_not_sent_where_it_is_not_honoured(bench: Bench) -> None:
    fake = Fake()
    await bench.run(bench.stream(fake, seeds=False))
    assert {r.seed for r in fake.asked} == {None}


async def test_no_more_requests_are_in_flight_than_the_limit_allows(bench: Bench) -> None:
    fake = Fake(turns=5)
    await bench.run(bench.stream(fake, k=8, concurrency=3))
    assert fake.most == 3


# -- answers that fall short


async def test_fewer_choices_than_asked_are_kept_and_only_the_rest_is_asked_again(bench: Bench) -> None:
    fake = Fake([lambda r: reply(r, n=1)])
    await bench.run(bench.stream(fake, k=4, n=4, concurrency=1))
    assert drawn(bench.ledger) == [(1, p, i) for p in range(1, 5) for i in range(4)]
    parents = [p for (p,) in bench.ledger.rows("SELECT parent FROM attempt WHERE parent IS NOT NULL")]
    assert parents == [1]


async def test_a_truncated_draw_is_a_draw_and_is_not_bought_again(bench: Bench) -> None:
    cut: Answer = lambda r: Reply((Choice("half a sol", Finish.LENGTH),), Usage(10, 20))  # noqa: E731
    fake = Fake([cut] * 8)
    progress = Progress()
    result = await bench.run(bench.stream(fake, k=2), progress=progress)
    assert (result.missing, len(fake.asked), progress.truncated["cheap"]) == ({"cheap": 0}, 8, 8)


async def test_without_server_usage_a_priced_answer_is_settled_at_its_upper_bound(bench: Bench) -> None:
    fake = Fake([lambda r: Reply((Choice("2", Finish.STOP),), None)] * 4)
    await bench.run(bench.stream(fake, k=1))
    rows = list(bench.ledger.rows("SELECT cost_pico = reserved_pico, usage_source FROM attempt"))
    assert rows == [(1, "estimate")] * 4


async def test_a_bill_above_the_bound_is_recorded_stops_the_arm_and_is_said(bench: Bench) -> None:
    fake = Fake([lambda r: reply(r, output=10_000)])
    result = await bench.run(bench.stream(fake, k=5, concurrency=1))
    assert any("more than the upper bound" in note for note in result.notes)
    assert bench.ledger.spent.settled >= 20_000
    assert len(fake.asked) < 20


async def test_a_setting_the_server_did_not_apply_is_recorded_and_said_once(bench: Bench) -> None:
    def locked(request: Request) -> Reply:
        answer = reply(request)
        return Reply(answer.choices, answer.usage, effective={"temperature": 1.0, "system_fingerprint": "f"})

    fake = Fake([locked] * 8)
    stream = bench.stream(fake, k=2)
    warm = replace(stream, requests=[replace(r, temperature=0.7) for r in stream.requests])
    result = await bench.run(warm)
    assert result.notes == ["cheap: asked for temperature 0.7, the server says it applied 1.0"]
    recorded = {
        json.loads(said)["temperature"] for (said,) in bench.ledger.rows("SELECT effective_json FROM attempt")
    }
    assert recorded == {1.0}


async def test_a_setting_applied_as_asked_needs_no_word(bench: Bench) -> None:
    def honest(request: Request) -> Reply:
        answer = reply(request)
        return Reply(answer.choices, answer.usage, effective={"temperature": None, "seed": request.seed})

    result = await bench.run(bench.stream(Fake([honest] * 8), k=2))
    assert result.notes == []


# -- refusals and retries


@pytest.mark.parametrize(
    "kind", [Kind.RATE_LIMIT, Kind.OVERLOADED, Kind.TIMEOUT, Kind.CONNECTION, Kind.BAD_BODY]
)
async def test_a_retryable_error_is_retried_and_loses_no_draw(bench: Bench, kind: Kind) -> None:
    fake = Fake([error(kind, retryable=True, billed="no"), error(kind, retryable=True, billed="no")])
    result = await bench.run(bench.stream(fake, k=1))
    assert result.missing == {"cheap": 0}
    assert len(bench.slept) == 2
    assert bench.ledger.attempts() == {"failed": 2, "settled": 4}


async def test_a_retry_is_a_new_attempt_that_names_the_one_before(bench: Bench) -> None:
    fake = Fake([error(Kind.OVERLOADED, retryable=True, billed="no")] * 2)
    await bench.run(bench.stream(fake, k=1, concurrency=1))
    rows = list(bench.ledger.rows("SELECT id, parent FROM attempt WHERE problem=1 ORDER BY id"))
    assert [parent for _, parent in rows] == [None, rows[0][0], rows[1][0]] or rows[1][1] == rows[0][0]


async def test_the_servers_wish_for_a_pause_is_kept(bench: Bench) -> None:
    fake = Fake([error(Kind.RATE_LIMIT, retryable=True, retry_after=45.8, billed="no")])
    await bench.run(bench.stream(fake, k=1))
    assert bench.slept == [45.8]


async def test_an_attempt_of_unknown_fate_counts_against_the_cap_and_its_draws_are_asked_again(
    bench: Bench,
) -> None:
    fake = Fake([error(Kind.TIMEOUT, retryable=True)])
    result = await bench.run(bench.stream(fake, k=1))
    assert result.missing == {"cheap": 0}
    assert bench.ledger.attempts() == {"uncertain": 1, "settled": 4}
    assert bench.ledger.spent.uncertain > 0


@pytest.mark.parametrize("kind", [Kind.KEY, Kind.CREDIT, Kind.MODEL, Kind.BAD_REQUEST])
async def test_a_fatal_refusal_stops_at_the_first_answer(bench: Bench, kind: Kind) -> None:
    fake = Fake([error(kind, scope="account", billed="no")] * 100)
    with pytest.raises(Refused, match=f"said {kind}"):
        await bench.run(bench.stream(fake, k=20, concurrency=1))
    assert len(fake.asked) == 1
    assert bench.ledger.spent.committed == 0


async def test_an_unreachable_server_is_refused_at_once_and_nothing_counts_as_spent(bench: Bench) -> None:
    gone = error(Kind.UNREACHABLE, retryable=True, scope="account", billed="no")
    with pytest.raises(Refused):
        await bench.run(bench.stream(Fake([gone] * 100), k=20, concurrency=1))
    assert bench.ledger.spent.committed == 0
    assert bench.ledger.attempts() == {"released": 1}
    assert bench.slept == []


async def test_a_server_that_was_there_before_is_waited_for(bench: Bench) -> None:
    gone = error(Kind.UNREACHABLE, retryable=True, scope="account", billed="no")
    result = await bench.run(bench.stream(Fake([reply, gone, gone]), k=1, concurrency=1))
    assert result.missing == {"cheap": 0}


async def test_one_refused_request_never_costs_its_neighbours(bench: Bench) -> None:
    fake = Fake([error(Kind.CONTENT_FILTER, billed="no")])
    result = await bench.run(bench.stream(fake, k=1))
    assert result.missing == {"cheap": 1}
    assert len(result.notes) == 1
    assert len(drawn(bench.ledger)) == 3


async def test_a_provider_that_only_fails_is_given_up_with_one_line(bench: Bench) -> None:
    down = [error(Kind.OVERLOADED, retryable=True, billed="no")] * 1000
    fake = Fake(list(down))
    with pytest.raises(Refused):
        await bench.run(bench.stream(fake, k=20, concurrency=2), attempts=2)
    assert len(fake.asked) < 40


# -- limits


async def test_a_retry_waits_outside_the_gate_and_others_use_its_place(bench: Bench) -> None:
    fake = Fake([error(Kind.OVERLOADED, retryable=True, billed="no")])
    stream = bench.stream(fake, k=1, concurrency=1)
    await bench.run(stream)
    assert fake.asked[0].seed != fake.asked[1].seed


async def test_limits_are_learned_from_answers(bench: Bench) -> None:
    said = {"x-ratelimit-limit-requests": "600"}

    def stating(request: Request) -> Reply:
        answer = reply(request)
        return Reply(answer.choices, answer.usage, limits=said)

    stream = bench.stream(Fake([stating]), k=1)
    await bench.run(stream)
    assert stream.limiter.gauges.stated


async def test_stop_does_not_wait_for_a_limit(bench: Bench) -> None:
    stop = asyncio.Event()

    def stopping(request: Request) -> Reply:
        stop.set()
        return reply(request)

    stream = bench.stream(Fake([stopping]), k=10, limits=Limits(requests_per_day=1))
    async with asyncio.timeout(5):
        result = await bench.run(stream, stop=stop)
    assert (result.interrupted, result.missing) == (True, {"cheap": 39})
    assert bench.ledger.attempts() == {"settled": 1}


async def test_what_a_request_really_cost_settles_the_spend_of_its_window(bench: Bench) -> None:
    usd = 3 * bound() / 10**12  # three requests at worst, and eight at what they really cost
    stream = bench.stream(Fake(), k=2, limits=Limits(usd_per_10_minutes=usd, concurrency=1))
    async with asyncio.timeout(5):
        result = await bench.run(stream)
    assert result.missing == {"cheap": 0}


# -- the cap


def bound() -> int:
    return PRICE.bound(Request("m", (Message("user", PROBLEMS[0].question),), max_tokens=20))


async def test_at_the_cap_admission_stops_and_what_was_paid_is_kept(tmp_path: Path) -> None:
    cap = 5 * bound()
    with Ledger(tmp_path / "ledger.sqlite", cap_pico=cap) as ledger:
        bench = Bench(ledger)
        result = await bench.run(bench.stream(Fake(), k=50))
        assert result.capped
        assert result.missing["cheap"] == 200 - len(drawn(ledger))
        assert ledger.spent.committed <= cap
        cost_of_one = 10 * 1 + 5 * 2
        assert (
            len(drawn(ledger)) * cost_of_one > cap - bound()
        )  # settlements freed room until a bound no longer fitted
        assert ledger.spent.reserved == 0


async def test_at_the_cap_both_arms_stop_in_proportion(tmp_path: Path) -> None:
    with Ledger(tmp_path / "ledger.sqlite", cap_pico=40 * bound()) as ledger:
        bench = Bench(ledger)
        await bench.run(
            bench.stream(Fake(), name="cheap", k=90, concurrency=1),
            bench.stream(Fake(), name="strong", k=30, concurrency=1),
        )
        done = dict(ledger.rows("SELECT a.name, COUNT(*) FROM draw d JOIN arm a ON a.id=d.arm GROUP BY 1"))
        assert done["cheap"] == pytest.approx(3 * done["strong"], abs=6)


async def test_who_waits_for_room_under_the_cap_is_sent_home_when_the_ledger_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer that should free the room cannot be stored, so no attempt ever ends."""

    async def full(*_: object) -> None:
        raise Unfinished("cannot write the ledger (disk is full)")

    monkeypatch.setattr(Ledger, "settle", full)
    with Ledger(tmp_path / "ledger.sqlite", cap_pico=bound()) as ledger:
        bench = Bench(ledger)
        async with asyncio.timeout(5):
            with pytest.raises(Unfinished, match="disk is full"):
                await bench.run(bench.stream(Fake(turns=5), k=1, concurrency=2))
        assert ledger.spent.reserved == bound()


async def test_unpriced_runs_have_no_cap_to_reach(bench: Bench) -> None:
    result = await bench.run(bench.stream(Fake(), price=None))
    assert not result.capped
    assert list(bench.ledger.rows("SELECT DISTINCT reserved_pico, cost_pico FROM attempt")) == [(None, None)]


async def test_no_request_leaves_before_its_bound_is_on_disk(bench: Bench) -> None:
    """The provider looks into the file, through another connection, while it is being asked."""
    import sqlite3

    seen: list[int] = []

    def look(request: Request) -> Reply:
        with sqlite3.connect(bench.ledger.path) as db:
            seen.append(
                db.execute(
                    "SELECT COUNT(*) FROM attempt WHERE state='reserved' AND reserved_pico > 0"
                ).fetchone()[0]
            )
        db.close()
        return reply(request)

    await bench.run(bench.stream(Fake([look] * 8), k=2, concurrency=1))
    assert seen == [1] * 8


# -- stopping


async def test_stop_ends_admission_and_keeps_what_is_in_flight(bench: Bench) -> None:
    stop = asyncio.Event()

    def stopping(request: Request) -> Reply:
        stop.set()
        return reply(request)

    fake = Fake([reply, stopping])
    result = await bench.run(bench.stream(fake, k=50, concurrency=2), stop=stop)
    assert result.interrupted
    assert len(drawn(bench.ledger)) == len(fake.asked) < 200
    assert bench.ledger.attempts() == {"settled": len(fake.asked)}


async def test_cancelling_leaves_uncertain_attempts_never_lost_ones(bench: Bench) -> None:
    started = asyncio.Event()

    async def never(request: Request) -> Reply:
        started.set()
        await asyncio.Event().wait()
        raise AssertionError

    fake = Fake()
    fake.ask = never  # type: ignore[method-assign]
    running = asyncio.ensure_future(bench.run(bench.stream(fake, k=1, concurrency=2)))
    await started.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    states = bench.ledger.attempts()
    assert states.get("reserved", 0) == 0
    assert states["uncertain"] >= 1
