"""Several servers behind one gate: who is asked next, who is passed over, and when one takes no more."""

import asyncio
import contextlib
from collections import Counter

import pytest

from tests.test_limits import ONE, Clock
from toolkit.errors import Kind, ProviderError
from toolkit.limits import Limiter, Slot
from toolkit.limits.adaptive import START
from toolkit.limits.servers import FIRST_REST, IN_A_ROW, LONG
from toolkit.spec import Limits


def gate(clock: Clock, addresses: int = 2, **limits: object) -> Limiter:
    return Limiter(Limits.model_validate(limits), clock, clock, clock.later, addresses)


async def asked(limited: Limiter, *, avoid: int | None = None) -> int:
    """The server that answered one request."""
    async with limited.slot(ONE, avoid=avoid) as slot:
        await asyncio.sleep(0)
        return slot.server.number


async def answers(limited: Limiter, requests: int, *, together: int = 1) -> Counter[int]:
    """How many requests each server answered, so many in flight at a time."""
    served: Counter[int] = Counter()
    for _ in range(requests // together):
        served.update(await asyncio.gather(*(asked(limited) for _ in range(together))))
    return served


async def fails(limited: Limiter, server: int, kind: Kind) -> None:
    """A request fails at this server."""
    with contextlib.suppress(ProviderError):
        async with limited.slot(ONE, avoid=1 - server) as slot:
            assert slot.server.number == server
            raise ProviderError(kind, "no", retryable=True, billed="no")


# -- who is next


@pytest.mark.parametrize("addresses", [2, 3])
async def test_equally_full_servers_are_asked_in_turn(addresses: int) -> None:
    served = await answers(gate(Clock(), addresses), 30)
    assert served == dict.fromkeys(range(addresses), 30 // addresses)


async def test_the_server_with_the_fewest_in_flight_is_next() -> None:
    limited = gate(Clock())
    held: list[Slot] = []
    for _ in range(6):
        slot = limited.slot(ONE)
        await limited.enter(slot)
        held.append(slot)
    for slot in [s for s in held if s.server.number == 1]:
        limited.leave(slot, None)
    assert [s.in_flight for s in limited.servers.all] == [3, 0]
    assert await asked(limited) == 1


async def test_each_server_has_a_concurrency_of_its_own() -> None:
    limited = gate(Clock())
    await answers(limited, 4 * START, together=2 * START)
    assert [s.controller.limit for s in limited.servers.all] == [2 * START, 2 * START]
    await fails(limited, 0, Kind.OVERLOADED)
    cut, kept = (s.controller.limit for s in limited.servers.all)
    assert cut < START < kept


async def test_a_stated_concurrency_is_each_servers() -> None:
    limited = gate(Clock(), concurrency=3)
    assert (limited.concurrency, limited.ceiling) == (6, 6)


async def test_the_accounts_rate_is_shared_by_its_servers() -> None:
    clock = Clock()
    limited, start = gate(clock, requests_per_minute=60), clock()
    await answers(limited, 61)
    assert clock() - start > 59


# -- who is passed over


async def test_a_retry_goes_to_another_server() -> None:
    limited = gate(Clock())
    assert {await asked(limited, avoid=0) for _ in range(5)} == {1}
    assert {await asked(limited, avoid=1) for _ in range(5)} == {0}


async def test_an_unreachable_server_is_passed_over_and_then_tried_with_one_request() -> None:
    clock = Clock()
    limited = gate(clock)
    await fails(limited, 0, Kind.UNREACHABLE)
    assert await answers(limited, 20, together=4) == {1: 20}
    clock.now += FIRST_REST
    assert await answers(limited, 4, together=4) == {0: 1, 1: 3}
    assert await answers(limited, 4, together=4) == {0: 2, 1: 2}


async def test_each_rest_in_a_row_is_longer() -> None:
    clock = Clock()
    limited = gate(clock)
    for rest in (FIRST_REST, 2 * FIRST_REST, 4 * FIRST_REST):
        await fails(limited, 0, Kind.UNREACHABLE)
        clock.now += rest - 0.01
        assert await answers(limited, 4, together=4) == {1: 4}
        clock.now += 0.01


@pytest.mark.parametrize("kind", [Kind.OVERLOADED, Kind.TIMEOUT, Kind.CONNECTION])
async def test_a_server_that_fails_now_and_then_is_not_passed_over(kind: Kind) -> None:
    limited = gate(Clock(), concurrency=8)
    for _ in range(IN_A_ROW - 1):
        await fails(limited, 0, kind)
    assert await answers(limited, 8, together=8) == {0: 4, 1: 4}
    for _ in range(IN_A_ROW):
        await fails(limited, 0, kind)
    assert await answers(limited, 8, together=8) == {1: 8}


async def test_a_burst_of_failures_is_one_rest() -> None:
    clock = Clock()
    limited = gate(clock, concurrency=32)

    async def fail() -> None:
        async with limited.slot(ONE, avoid=1):
            await asyncio.sleep(0)
            raise ProviderError(Kind.CONNECTION, "reset", retryable=True)

    await asyncio.gather(*(fail() for _ in range(32)), return_exceptions=True)
    clock.now += FIRST_REST
    assert (await answers(limited, 4, together=4))[0] == 1


@pytest.mark.parametrize("kind", [Kind.RATE_LIMIT, Kind.BAD_BODY, Kind.CONTEXT_OVERFLOW])
async def test_a_server_that_refuses_is_there(kind: Kind) -> None:
    limited = gate(Clock(), concurrency=8)
    for _ in range(2 * IN_A_ROW):
        await fails(limited, 0, kind)
    assert await answers(limited, 8, together=8) == {0: 4, 1: 4}


async def test_where_no_server_answers_the_one_that_rested_longest_is_asked() -> None:
    clock = Clock()
    limited = gate(clock)
    await fails(limited, 0, Kind.UNREACHABLE)
    assert limited.servers.answer
    clock.now += 0.5
    await fails(limited, 1, Kind.UNREACHABLE)
    assert not limited.servers.answer
    assert await asked(limited) == 0


# -- a server that says that it is full


async def test_while_requests_queue_at_the_server_no_more_are_sent_at_a_time() -> None:
    limited, queue = gate(Clock(), 1), [True]
    limited.hold_while(lambda: queue[0])
    await answers(limited, 20 * START, together=START)
    assert limited.concurrency == START
    queue[0] = False
    await answers(limited, 2 * START, together=START)
    assert limited.concurrency > START


async def test_a_long_queue_is_one_cut_and_the_next_queue_is_another() -> None:
    clock = Clock()
    limited, queue = gate(clock, 1), [False]
    limited.hold_while(lambda: queue[0])
    await answers(limited, 24, together=START)
    before, cuts = limited.concurrency, []
    for now in (True, False, True):
        queue[0] = now
        for _ in range(30):
            clock.now += LONG / 10
            await answers(limited, before, together=before)
            if limited.concurrency < before:
                cuts.append(before - limited.concurrency)
            before = limited.concurrency
    assert len(cuts) == 2


async def test_only_the_server_that_is_full_is_held() -> None:
    limited = gate(Clock())
    limited.hold_while(lambda: True, 1)
    await answers(limited, 8 * START, together=2 * START)
    free, held = (s.controller.limit for s in limited.servers.all)
    assert (free > START, held) == (True, START)


async def test_a_stated_concurrency_is_not_cut_by_a_queue() -> None:
    clock = Clock()
    limited = gate(clock, 1, concurrency=5)
    limited.hold_while(lambda: True)
    for _ in range(30):
        clock.now += LONG / 10
        await answers(limited, 5, together=5)
    assert limited.concurrency == 5
