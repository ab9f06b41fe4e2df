"""The gate, on a clock that only waiting moves."""

import asyncio
import contextlib
import random
from bisect import bisect_left
from collections.abc import Callable, Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from toolkit.errors import Kind, ProviderError
from toolkit.limits import Limiter, Load, spend_window
from toolkit.limits.adaptive import START
from toolkit.limits.windows import BURST, GRAINS, MARGIN, Window
from toolkit.spec import Limits
from toolkit.types import PICO, Usage


class Clock:
    """Time passes when the only one who waits is the timer. It starts late, where floats are coarse."""

    def __init__(self) -> None:
        self.now = 1e6
        self.waits = 0

    def __call__(self) -> float:
        return self.now

    def later(self, seconds: float, call: Callable[[], None]) -> asyncio.Handle:
        self.waits += 1
        assert self.waits < 50_000, "waits for ever"
        due = self.now + seconds

        def fire() -> None:
            self.now = max(self.now, due)
            call()

        return asyncio.get_running_loop().call_soon(fire)


def limiter(clock: Clock, **limits: object) -> Limiter:
    return Limiter(Limits.model_validate(limits), clock, clock, clock.later)


ONE = Load(input=1)


async def admitted(limited: Limiter, clock: Clock, loads: Sequence[Load]) -> list[float]:
    """Seconds after the start at which each was admitted, all asked at once, in order."""
    start, times = clock(), dict[int, float]()

    async def one(index: int, load: Load) -> None:
        async with limited.slot(load):
            times[index] = clock() - start

    await asyncio.gather(*(one(i, load) for i, load in enumerate(loads)))
    return [times[i] for i in range(len(loads))]


def tokens(*sizes: float) -> list[Load]:
    return [Load(output=size) for size in sizes]


def busiest(times: Sequence[float], seconds: float, weight: float = 1.0) -> float:
    """The most that any window of so many seconds holds."""
    return max(bisect_left(times, t + seconds) - i for i, t in enumerate(times)) * weight


async def fail(limited: Limiter, kind: Kind = Kind.RATE_LIMIT, **data: object) -> None:
    with contextlib.suppress(ProviderError):
        async with limited.slot(ONE):
            await asyncio.sleep(0)
            raise ProviderError(kind, "no", retryable=True, billed="no", **data)  # type: ignore[arg-type]


async def succeed(limited: Limiter, times: int = 1, *, together: int = 1) -> None:
    """So many requests, so many at a time."""

    async def one() -> None:
        async with limited.slot(ONE) as slot:
            await asyncio.sleep(0)
            slot.settle(Usage(1, 0))

    for _ in range(times):
        await asyncio.gather(*(one() for _ in range(together)))


# -- one window


@pytest.mark.parametrize("limit", [90, 600, 3000])
async def test_no_minute_holds_more_than_the_limit_and_nearly_all_of_it_is_used(limit: int) -> None:
    clock = Clock()
    times = await admitted(limiter(clock, requests_per_minute=limit), clock, [ONE] * (4 * limit))
    assert busiest(times, 60) <= limit
    used = sum(60 <= t < 180 for t in times) / (2 * limit)
    assert used >= 1 - MARGIN - 2 / GRAINS - 1 / limit


async def test_no_second_holds_more_than_its_share_and_a_burst() -> None:
    clock = Clock()
    times = await admitted(limiter(clock, requests_per_minute=600), clock, [ONE] * 1500)
    assert busiest(times, 1) <= 10 * (1 + BURST) + 1


async def test_a_stated_second_is_kept_exactly() -> None:
    clock = Clock()
    times = await admitted(limiter(clock, requests_per_second=5, requests_per_minute=600), clock, [ONE] * 100)
    assert busiest(times, 1) == 5


@pytest.mark.parametrize(
    ("key", "load"),
    [
        ("tokens_per_minute", Load(input=30, output=20)),
        ("input_tokens_per_minute", Load(input=50, output=500)),
        ("output_tokens_per_minute", Load(input=500, output=50)),
    ],
)
async def test_tokens_are_counted_in_total_and_by_kind(key: str, load: Load) -> None:
    clock = Clock()
    times = await admitted(limiter(clock, **{key: 6000}), clock, [load] * 400)
    assert 50 * busiest(times, 60) <= 6000
    assert 50 * sum(60 <= t < 180 for t in times) >= 0.98 * 12_000


async def test_all_limits_hold_together() -> None:
    clock = Clock()
    limited = limiter(clock, requests_per_minute=120, tokens_per_minute=6000, requests_per_second=3)
    times = await admitted(limited, clock, tokens(*[40] * 400))
    assert busiest(times, 60) <= 120
    assert busiest(times, 1) <= 3
    large = await admitted(limited, clock, tokens(*[400] * 50))
    assert 400 * busiest(large, 60) <= 6000


async def test_spend_of_ten_minutes_is_reserved_at_worst_and_settled() -> None:
    clock = Clock()
    limited = limiter(clock, usd_per_10_minutes=1)
    dime = Load(pico=10**11)
    for _ in range(30):
        async with limited.slot(dime) as slot:
            slot.settle(None, 2 * 10**10)
    assert clock.waits == 0
    times = await admitted(limited, clock, [dime] * 15)
    assert times[3] == 0
    assert times[4] == pytest.approx(600, rel=0.001)
    assert busiest(times, 600) <= 10


# -- days


async def test_a_rolling_day_frees_a_request_24_hours_after_it_was_used() -> None:
    clock = Clock()
    times = await admitted(limiter(clock, requests_per_day=3), clock, [ONE] * 7)
    assert times == pytest.approx([0, 0, 0, 86_400, 86_400, 86_400, 172_800], rel=1e-4)


@pytest.mark.parametrize("day", ["2026-03-07T22:00", "2026-10-31T22:00", "2026-11-20T22:00"])
async def test_geminis_day_ends_at_midnight_in_california_also_when_clocks_change(day: str) -> None:
    clock, zone = Clock(), ZoneInfo("America/Los_Angeles")
    clock.now = datetime.fromisoformat(day).replace(tzinfo=zone).timestamp()
    limited = limiter(clock, requests_per_day=2, day_resets="midnight_pacific")
    start, times = clock(), await admitted(limited, clock, [ONE] * 5)
    at = [datetime.fromtimestamp(start + t, zone) for t in times]
    assert [(t.hour, t.minute) for t in at] == [(22, 0), (22, 0), (0, 0), (0, 0), (0, 0)]
    assert (at[4].date() - at[0].date()).days == 2


@pytest.mark.parametrize(("ago", "left"), [(1, 0), (3, 2)])
async def test_a_restarted_run_remembers_what_it_used_today_in_california(ago: int, left: int) -> None:
    clock, zone = Clock(), ZoneInfo("America/Los_Angeles")
    clock.now = datetime(2026, 11, 20, 2, tzinfo=zone).timestamp()
    limited = limiter(clock, requests_per_day=2, day_resets="midnight_pacific")
    limited.recall([(ago * 3600.0, ONE)] * 2)
    times = await admitted(limited, clock, [ONE] * 2)
    assert sum(t == 0 for t in times) == left


async def test_a_restarted_run_remembers_its_last_minute_and_only_once() -> None:
    clock = Clock()
    limited = limiter(clock, requests_per_minute=600)
    for _ in range(2):
        limited.recall([(40.0, ONE)] * 300 + [(10.0, ONE)] * 300)
    times = await admitted(limited, clock, [ONE] * 400)
    assert times[0] == pytest.approx(20, abs=1)
    assert sum(t < 49 for t in times) <= 300


# -- estimates


@pytest.mark.parametrize(("used", "waits"), [(10, False), (100, True)])
async def test_what_a_request_really_used_settles_its_estimate(used: int, waits: bool) -> None:
    clock = Clock()
    limited = limiter(clock, tokens_per_minute=100)
    async with limited.slot(Load(output=100)) as slot:
        slot.settle(Usage(0, used))
    clock.now += 10
    (at,) = await admitted(limited, clock, [Load(input=90)])
    assert (at > 0) is waits


async def test_later_estimates_follow_what_was_really_used() -> None:
    clock = Clock()
    limited = limiter(clock, tokens_per_minute=6000, concurrency=1)
    for _ in range(20):
        async with limited.slot(Load(input=10, output=1000)) as slot:
            slot.settle(Usage(10, 30, 0, 20))
    times = await admitted(limited, clock, [Load(input=10, output=1000)] * 300)
    assert sum(t < 60 for t in times) > 80  # 100 fit by use, 6 by the first estimate


async def test_a_request_larger_than_the_limit_is_admitted_alone_and_the_next_ones_wait_for_it() -> None:
    clock = Clock()
    times = await admitted(limiter(clock, tokens_per_minute=6000), clock, tokens(10_000, 1, 1, 20_000))
    assert times[0] == 0
    assert 59 < times[1] <= times[2] < 200
    assert 59 < times[3] - times[2] < 200


@pytest.mark.parametrize("limit", [0.5, 0.01])
async def test_a_limit_below_one_a_minute_still_serves(limit: float) -> None:
    clock = Clock()
    times = await admitted(limiter(clock, requests_per_minute=limit), clock, [ONE] * 3)
    assert times == pytest.approx([0, 60 / limit, 120 / limit], rel=2 * MARGIN)


async def test_a_request_that_was_not_sent_uses_nothing() -> None:
    clock = Clock()
    limited = limiter(clock, requests_per_minute=1)
    for _ in range(5):
        async with limited.slot(ONE) as slot:
            slot.give_back()
    assert clock.waits == 0


async def test_a_request_counts_from_the_moment_it_was_sent() -> None:
    clock = Clock()
    limited = limiter(clock, requests_per_minute=1)
    async with limited.slot(ONE) as slot:
        clock.now += 30
        slot.sent()
    (at,) = await admitted(limited, clock, [ONE])
    assert at >= 60


async def test_a_window_remembers_no_more_than_its_grains() -> None:
    window = Window("x", 60.0, 10**9)
    for i in range(100_000):
        window.take(1.0, i / 1000)
    assert len(window._log) <= GRAINS * (1 + MARGIN) + 2
    assert window.in_window(100.0) == pytest.approx(60_000 * (1 + MARGIN), rel=0.002)


async def test_requests_that_run_long_do_not_pass_a_token_limit() -> None:
    """The server counts real tokens on arrival; what is in flight is only estimated here."""
    clock, served = Clock(), list[tuple[float, int]]()
    limited, sizes = limiter(clock, tokens_per_minute=9000), random.Random(0)
    gate = asyncio.Semaphore(8)

    async def one() -> None:
        async with gate, limited.slot(Load(output=100)) as slot:
            used = sizes.randint(20, 180)
            served.append((clock(), used))
            for _ in range(8):
                await asyncio.sleep(0)
            slot.settle(Usage(0, used))

    await asyncio.gather(*(one() for _ in range(800)))
    sums = [sum(u for at, u in served if start <= at < start + 60) for start, _ in served]
    over = [s for s in sums if s > 9000]
    assert len(over) < 0.01 * len(sums)
    assert max(sums) > 0.95 * 9000


# -- the gate


async def test_no_more_are_in_flight_than_allowed_and_a_failed_one_frees_its_place() -> None:
    limited, most = limiter(Clock(), concurrency=3), 0

    async def one() -> None:
        nonlocal most
        async with limited.slot(ONE):
            most = max(most, limited.in_flight)
            for _ in range(5):
                await asyncio.sleep(0)
            raise RuntimeError

    done = await asyncio.gather(*(one() for _ in range(20)), return_exceptions=True)
    assert (most, len(done), limited.in_flight, limited.waiting) == (3, 20, 0, 0)


async def test_first_come_is_first_served_even_if_large_and_a_retry_goes_first() -> None:
    clock = Clock()
    order: list[int] = []
    limited = limiter(clock, tokens_per_minute=60)

    async def one(index: int, size: float, *, retry: bool = False) -> None:
        async with limited.slot(Load(output=size), retry=retry):
            order.append(index)

    sizes = [1.0, 50.0, *[1.0] * 20]
    asked = [one(i, size) for i, size in enumerate(sizes)]
    await asyncio.gather(*asked, one(99, 1, retry=True))
    assert order == [0, 99, *range(1, len(sizes))]


@pytest.mark.parametrize("granted", [False, True])
async def test_one_who_gives_up_waiting_does_not_block_the_others(granted: bool) -> None:
    clock = Clock()
    limited = limiter(clock, concurrency=1)
    async with limited.slot(ONE):
        waiting = asyncio.create_task(admitted(limited, clock, [ONE]))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        if not granted:
            waiting.cancel()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    async with asyncio.timeout(1), limited.slot(ONE):
        assert limited.in_flight == 1


async def test_when_all_is_to_stop_those_who_wait_are_let_go_unadmitted() -> None:
    limited, let_go = limiter(Clock(), concurrency=1), 0

    async def one() -> None:
        nonlocal let_go
        async with limited.slot(ONE) as slot:
            let_go += not slot.admitted

    async with limited.slot(ONE):
        waiting = [asyncio.create_task(one()) for _ in range(5)]
        await asyncio.sleep(0)
        limited.turn_away()
        await asyncio.gather(*waiting)
    assert (let_go, limited.in_flight) == (5, 0)


async def test_the_gate_says_what_binds() -> None:
    clock = Clock()
    said: list[str] = []

    async def beside(limited: Limiter, load: Load) -> None:
        async with limited.slot(load):
            task = asyncio.create_task(admitted(limited, clock, [load]))
            for _ in range(2):
                await asyncio.sleep(0)
            said.append(limited.binding())
        await task

    await beside(limiter(clock, concurrency=1), ONE)
    clock.later = lambda seconds, call: asyncio.get_running_loop().call_later(0.01, lambda: None)  # type: ignore[method-assign]
    for key, load in (("requests_per_minute", ONE), ("usd_per_10_minutes", Load(pico=10**12))):
        limited = limiter(clock, **{key: 1})
        async with limited.slot(load):
            task = asyncio.create_task(admitted(limited, clock, [load]))
            for _ in range(2):
                await asyncio.sleep(0)
            said.append(limited.binding())
            task.cancel()
    assert said == ["1 in flight", "1 requests/min", "$1/10 min"]
    assert limiter(clock).binding() == ""


# -- limits that are learned

HEADERS = {
    "x-ratelimit-limit-requests": "600",
    "x-ratelimit-limit-tokens": "90000",
    "x-ratelimit-remaining-requests": "599",
    "x-ratelimit-remaining-tokens": "89000",
    "x-ratelimit-reset-requests": "100ms",
    "x-ratelimit-reset-tokens": "1s",
}
ANTHROPIC = {
    "anthropic-ratelimit-requests-limit": "600",
    "anthropic-ratelimit-requests-remaining": "600",
    "anthropic-ratelimit-requests-reset": "1970-01-12T13:46:41Z",
}


@pytest.mark.parametrize("said", [HEADERS, ANTHROPIC])
async def test_a_limit_is_learned_where_none_is_stated_and_counts_what_was_sent_before(
    said: dict[str, str],
) -> None:
    clock = Clock()
    limited = limiter(clock)
    await succeed(limited, 50)
    limited.learn(said)
    times = await admitted(limited, clock, [ONE] * 2500)
    assert sum(t < 60 for t in times) <= 552  # the server's minute lets go of the first of the 50
    assert 590 <= busiest(times, 60) <= 600


@pytest.mark.parametrize(("own", "held"), [(300, 300), (1200, 600)])
async def test_what_is_learned_only_tightens_what_is_stated(own: int, held: int) -> None:
    clock = Clock()
    limited = limiter(clock, requests_per_minute=own)
    limited.learn(HEADERS)
    times = await admitted(limited, clock, [ONE] * 1500)
    assert 0.98 * held <= busiest(times, 60) <= held


async def test_what_others_use_of_the_account_is_left_to_them() -> None:
    clock = Clock()
    limited = limiter(clock)
    used = {"x-ratelimit-remaining-requests": "200", "x-ratelimit-reset-requests": "59.5s"}
    limited.learn(HEADERS | used)
    times = await admitted(limited, clock, [ONE] * 300)
    assert sum(t < 60 for t in times) == 200


async def test_a_days_remainder_under_the_same_name_does_not_stop_the_minute() -> None:
    clock = Clock()
    limited = limiter(clock)
    limited.learn(HEADERS | {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "7h12m0s"})
    (at,) = await admitted(limited, clock, [ONE])
    assert at < 1


@pytest.mark.parametrize(
    "said", [{}, {"x-ratelimit-limit-requests": "many"}, {"x-ratelimit-limit-tokens": "0"}]
)
async def test_headers_that_say_nothing_change_nothing(said: dict[str, str]) -> None:
    clock = Clock()
    limited = limiter(clock)
    limited.learn(said)
    await succeed(limited, 1000)
    assert clock.waits == 0


async def test_a_refusals_headers_are_learned_too() -> None:
    clock = Clock()
    limited = limiter(clock)
    await fail(limited, limits=HEADERS)
    times = await admitted(limited, clock, [ONE] * 1000)
    assert busiest(times, 60) <= 600


# -- concurrency that adapts


async def test_it_grows_only_while_it_is_really_used() -> None:
    limited = limiter(Clock())
    await succeed(limited, 500)
    assert limited.concurrency == START
    await succeed(limited, 1, together=START)
    assert limited.concurrency == 2 * START
    await succeed(limited, 30, together=600)
    assert limited.concurrency == 512


async def test_it_keeps_to_its_ceiling_and_its_floor() -> None:
    limited = limiter(Clock(), max_concurrency=20)
    await succeed(limited, 30, together=40)
    assert limited.concurrency == 20
    for _ in range(50):
        await fail(limited, Kind.OVERLOADED)
    assert limited.concurrency == 1
    await succeed(limited, 400, together=20)
    assert limited.concurrency == 20


async def test_one_burst_of_refusals_is_one_cut() -> None:
    limited = limiter(Clock())
    await succeed(limited, 10, together=64)
    before = limited.concurrency
    await asyncio.gather(*(fail(limited, retry_after=60) for _ in range(before)))
    assert limited.concurrency == int(0.7 * before)


async def test_a_retried_success_is_neutral() -> None:
    limited = limiter(Clock())

    async def one() -> None:
        async with limited.slot(ONE, retry=True):
            await asyncio.sleep(0)

    for _ in range(20):
        await asyncio.gather(*(one() for _ in range(START)))
    assert limited.concurrency == START


async def test_steady_refusals_with_retry_after_never_freeze_growth() -> None:
    """One in 50 refused with a wish for a pause, as under another user's load: it still grows again."""
    limited = limiter(Clock(), max_concurrency=64)
    for _ in range(20):
        await fail(limited, Kind.OVERLOADED, retry_after=60)
    low = limited.concurrency
    for _ in range(40):
        await succeed(limited, 3, together=64)
        await fail(limited, Kind.TIMEOUT, retry_after=60)
    assert low == 1
    assert limited.concurrency == 64


async def test_a_known_rate_is_not_answered_with_fewer_in_flight() -> None:
    limited = limiter(Clock(), requests_per_minute=600)
    await fail(limited)
    assert limited.concurrency == 512


async def test_a_stated_concurrency_never_moves() -> None:
    limited = limiter(Clock(), concurrency=5)
    await succeed(limited, 100, together=10)
    await fail(limited)
    assert limited.concurrency == 5


@pytest.mark.parametrize("longer", [{"usd_per_10_minutes": 10}, {"requests_per_day": 10_000}])
async def test_dollars_and_days_say_nothing_of_the_rate_so_refusals_still_count(
    longer: dict[str, float],
) -> None:
    limited = limiter(Clock(), **longer)
    assert limited.concurrency == START
    await fail(limited)
    assert limited.concurrency < START


# -- dollars that several models spend


async def test_models_of_one_account_spend_the_same_dollars() -> None:
    clock = Clock()
    limits = Limits(usd_per_10_minutes=10)
    purse = spend_window(limits)
    cheap, strong = (Limiter(limits, clock, clock, clock.later, spend=purse) for _ in range(2))
    loads = [Load(pico=int(2.5 * PICO))] * 4
    first, second = await asyncio.gather(admitted(cheap, clock, loads), admitted(strong, clock, loads))
    assert sum(at < 600 for at in first + second) == 4
    assert max(first + second) < 610


async def test_what_another_model_gives_back_is_noticed_within_seconds() -> None:
    clock = Clock()
    limits = Limits(usd_per_10_minutes=10)
    purse = spend_window(limits)
    cheap, strong = (Limiter(limits, clock, clock, clock.later, spend=purse) for _ in range(2))
    start = clock()
    async with cheap.slot(Load(pico=10 * PICO)) as slot:
        waiting = asyncio.ensure_future(admitted(strong, clock, [Load(pico=PICO)]))
        for _ in range(10):  # looks of the one that waits
            await asyncio.sleep(0)
        given_back = clock() - start
        slot.settle(None, PICO)
        (at,) = await waiting
    assert 0 < given_back <= at <= given_back + 2


# -- what holds


async def test_every_limit_that_holds_is_told_with_where_it_comes_from() -> None:
    limited = limiter(Clock(), requests_per_minute=600, usd_per_10_minutes=10)
    limited.learn({"x-ratelimit-limit-tokens": "150000", "x-ratelimit-limit-requests": "900"})
    assert list(limited.gauges.holding()) == [
        ("requests_per_minute", "600 requests/min", False),
        ("tokens_per_minute", "150,000 tokens/min", True),
        ("usd_per_10_minutes", "$10/10 min", False),
    ]


# -- a rate nobody states


async def test_a_rate_is_guessed_from_refusals_alone_and_used_to_the_full() -> None:
    clock = Clock()
    limited, served, refused = limiter(clock), list[float](), list[float]()

    async def one() -> None:
        while True:
            try:
                async with limited.slot(ONE) as slot:
                    at = clock()
                    for _ in range(3):
                        await asyncio.sleep(0)
                    clock.now += 0.001
                    if len(served) - bisect_left(served, at - 60) >= 300:
                        refused.append(at)
                        raise ProviderError(Kind.RATE_LIMIT, "no", retryable=True, billed="no")
                    served.append(at)
                    served.sort()
                    slot.settle(Usage(1, 0))
                    return
            except ProviderError:
                clock.now += 0.1

    start = clock()
    await asyncio.gather(*(one() for _ in range(3000)))
    late = [t - start for t in served if 60 <= t - start < 360]
    assert len(late) >= 0.95 * 300 * 5
    assert sum(60 <= t - start < 360 for t in refused) < 0.02 * len(late)


async def test_a_refusal_now_and_then_is_no_rate_limit() -> None:
    """One request in twenty is refused whatever the rate: nothing is guessed, and work goes on."""
    clock = Clock()
    limited = limiter(clock)
    for asked in range(1, 2016):
        try:
            async with limited.slot(ONE):
                clock.now += 0.02
                if asked % 20 == 0:
                    raise ProviderError(Kind.RATE_LIMIT, "no", retryable=True, billed="no")
        except ProviderError:
            pass
    assert limited.gauges.wait(limited.gauges.expected(ONE), 0, clock()) <= 0
    assert limited.concurrency >= 2
