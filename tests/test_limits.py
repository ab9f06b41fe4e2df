"""Rate limits on a clock that only sleeping moves."""

import asyncio
from collections.abc import Sequence

import pytest

from toolkit.limits import Bucket, Limiter
from toolkit.spec import Limits


class Clock:
    """Time passes when someone sleeps. It starts late, where floats are coarse."""

    def __init__(self) -> None:
        self.now = 1e6
        self.sleeps = 0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.sleeps += 1
        assert self.sleeps < 20_000, "waits for ever"
        self.now += seconds
        await asyncio.sleep(0)


def limiter(clock: Clock, **limits: float) -> Limiter:
    return Limiter(Limits.model_validate(limits), clock, clock.sleep)


async def admitted(limited: Limiter, clock: Clock, sizes: Sequence[float]) -> list[float]:
    """Seconds after the start at which each request was admitted, all asked at once, in order."""
    start, times = clock(), dict[int, float]()

    async def one(index: int, tokens: float) -> None:
        async with limited.slot(tokens):
            times[index] = clock() - start

    await asyncio.gather(*(one(i, size) for i, size in enumerate(sizes)))
    return [times[i] for i in range(len(sizes))]


async def test_sixty_requests_per_minute_are_one_a_second() -> None:
    clock = Clock()
    times = await admitted(limiter(clock, requests_per_minute=60), clock, [0] * 5)
    assert times == pytest.approx([0, 1, 2, 3, 4], abs=1e-6)


async def test_tokens_are_admitted_at_their_rate() -> None:
    clock = Clock()
    times = await admitted(limiter(clock, tokens_per_minute=6000), clock, [50] * 6)
    assert times == pytest.approx([0, 0, 0.5, 1, 1.5, 2], abs=1e-6)


async def test_the_tighter_of_two_limits_rules() -> None:
    clock = Clock()
    limited = limiter(clock, requests_per_minute=60, tokens_per_minute=600)
    assert await admitted(limited, clock, [1, 10, 40, 1]) == pytest.approx([0, 1, 2, 5.1], abs=1e-6)


@pytest.mark.parametrize(("used", "next_at"), [(10.0, 0.0), (100.0, 1.0), (300.0, 3.0), (None, 1.0)])
async def test_what_a_request_really_used_settles_its_estimate(used: float | None, next_at: float) -> None:
    clock = Clock()
    limited = limiter(clock, tokens_per_minute=6000)  # 100 a second, and a full second's worth at most
    async with limited.slot(100) as slot:
        slot.used = used
    start = clock()
    async with limited.slot(90 if used == 10.0 else 100):
        assert clock() - start == pytest.approx(next_at, abs=1e-6)


async def test_giving_back_never_fills_a_bucket_beyond_its_size() -> None:
    clock = Clock()
    limited = limiter(clock, tokens_per_minute=6000)
    async with limited.slot(100) as slot:
        clock.now += 1  # it has refilled meanwhile
        slot.used = 0.0
    assert await admitted(limited, clock, [100, 100]) == pytest.approx([0, 1], abs=1e-6)


async def test_a_request_larger_than_the_bucket_is_admitted_and_the_next_ones_wait_for_it() -> None:
    clock = Clock()
    times = await admitted(limiter(clock, tokens_per_minute=6000), clock, [1000, 1, 1])
    assert times == pytest.approx([0, 9.01, 9.02], abs=1e-6)


async def test_a_limit_below_one_a_minute_still_serves() -> None:
    clock = Clock()
    times = await admitted(limiter(clock, requests_per_minute=0.5), clock, [0] * 3)
    assert times == pytest.approx([0, 120, 240], abs=1e-4)


async def test_no_more_are_in_flight_than_allowed() -> None:
    limited, most, finished = limiter(Clock(), concurrency=3), 0, 0

    async def one() -> None:
        nonlocal most, finished
        async with limited.slot(1):
            most = max(most, limited.in_flight)
            for _ in range(5):
                await asyncio.sleep(0)
            finished += 1

    await asyncio.gather(*(one() for _ in range(20)))
    assert (most, finished, limited.in_flight) == (3, 20, 0)


async def test_a_failed_request_frees_its_place() -> None:
    limited = limiter(Clock(), concurrency=1)
    for _ in range(3):
        with pytest.raises(RuntimeError):
            async with limited.slot(1):
                raise RuntimeError
    assert limited.in_flight == 0
    async with asyncio.timeout(1), limited.slot(1):
        assert limited.in_flight == 1


async def test_one_who_gives_up_waiting_does_not_block_the_others() -> None:
    clock = Clock()
    limited = limiter(clock, concurrency=1)
    async with limited.slot(1):
        waiting = asyncio.create_task(admitted(limited, clock, [1]))
        await asyncio.sleep(0)
        waiting.cancel()
    async with asyncio.timeout(1), limited.slot(1):
        assert limited.in_flight == 1


async def test_first_come_is_first_served_even_if_large() -> None:
    clock = Clock()
    order: list[int] = []
    limited = limiter(clock, tokens_per_minute=60)

    async def one(index: int, tokens: float) -> None:
        async with limited.slot(tokens):
            order.append(index)

    sizes = [1.0, 500.0, *[1.0] * 20]
    await asyncio.gather(*(one(i, size) for i, size in enumerate(sizes)))
    assert order == list(range(len(sizes)))


@pytest.mark.parametrize(
    ("limits", "size"), [({"requests_per_minute": 120}, 0.0), ({"tokens_per_minute": 6000}, 50.0)]
)
async def test_no_minute_holds_more_than_the_limit_and_a_second(
    limits: dict[str, float], size: float
) -> None:
    clock = Clock()
    times = await admitted(limiter(clock, **limits), clock, [size] * 500)
    limit = next(iter(limits.values())) / (size or 1)  # requests
    busiest = max(sum(t <= u < t + 60 for u in times) for t in times)
    assert busiest <= limit + limit / 60
    assert busiest >= limit - 1  # and the limit is used to the full
    assert times[-1] == pytest.approx((500 - limit / 60) * 60 / limit, rel=0.01)


def test_a_shortfall_of_rounding_needs_no_wait() -> None:
    clock = Clock()
    bucket = Bucket(rate=1 / 3, capacity=1.0, clock=clock)
    bucket.take(1.0)
    clock.now += bucket.wait(1.0)
    assert bucket.wait(1.0) == 0


async def test_without_limits_nobody_waits() -> None:
    clock = Clock()
    await admitted(limiter(clock), clock, [10**9] * 50)
    assert clock.sleeps == 0
