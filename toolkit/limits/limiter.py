"""The gate before one model of one account: every limit enforced together, first come, first served.

New work and retries pass the same gate. Estimates are reserved on admission and settled with what was
really used. Limits are configured, learned from what the server says, or found out from its refusals.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Protocol, Self

from toolkit.errors import Kind, ProviderError
from toolkit.limits.adaptive import START, Concurrency, RateGuess
from toolkit.limits.gauges import MINUTE, REQUESTS, SPEND, Amounts, Gauges, Load
from toolkit.limits.servers import Server, Servers
from toolkit.limits.windows import Entry, Window
from toolkit.spec import Limits
from toolkit.types import Usage

FOR_EVER = float("inf")
GLANCE = 1.0  # seconds between looks at a window that others use too
TOO_MUCH = frozenset({Kind.RATE_LIMIT, Kind.OVERLOADED})


class Handle(Protocol):
    def cancel(self) -> None: ...


Clock = Callable[[], float]
Later = Callable[[float, Callable[[], None]], Handle]


class Slot:
    """One request's way through the gate; its place is free again when its block ends."""

    __slots__ = (
        "_limiter",
        "admitted",
        "amounts",
        "avoid",
        "cuts",
        "entries",
        "load",
        "rests",
        "retry",
        "server",
        "unused",
    )

    def __init__(self, limiter: "Limiter", load: Load, retry: bool, avoid: int | None) -> None:
        self._limiter, self.load, self.retry, self.avoid = limiter, load, retry, avoid
        self.admitted = self.unused = False
        self.amounts: Amounts = ()
        self.entries: list[Entry] = []
        self.server = limiter.servers.all[0]  # whom to ask, once admitted
        self.cuts = self.rests = 0  # of that server, when this one was admitted

    async def __aenter__(self) -> Self:
        await self._limiter.enter(self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._limiter.leave(self, error)

    def sent(self) -> None:
        """It leaves now, some time after its admission."""
        self._limiter.gauges.sent(self.entries, self._limiter.clock())

    def settle(self, usage: Usage | None, pico: int | None = None) -> None:
        """What it really used; None leaves the estimate."""
        amounts = self.amounts
        if usage is not None:
            used = Load(float(usage.prompt), float(usage.output + usage.thinking))
            self._limiter.gauges.follow(self.load, used)
            amounts = (*used.amounts[:SPEND], amounts[SPEND])
        if pico is not None:
            amounts = (*amounts[:SPEND], float(pico))
        self.adjust(amounts)

    def adjust(self, amounts: Amounts) -> None:
        """It used these amounts instead of what it had reserved."""
        self._limiter.gauges.adjust(self.entries, self.amounts, amounts, self._limiter.clock())
        self.amounts = amounts

    def give_back(self) -> None:
        """It was not sent after all."""
        self.unused = True
        if self.admitted:
            self.adjust((0.0,) * len(self.amounts))


def _later(seconds: float, call: Callable[[], None]) -> Handle:
    return asyncio.get_running_loop().call_later(seconds, call)


@dataclass(slots=True)
class Limiter:
    """Admission for one model of one account. Concurrency is each server's own; the rest is the account's."""

    limits: Limits
    clock: Clock = time.monotonic
    wall: Clock = time.time
    later: Later = _later
    addresses: int = 1  # servers behind the model
    spend: Window | None = None  # the account's dollars, where its other models spend from the same
    in_flight: int = field(init=False, default=0)
    gauges: Gauges = field(init=False)
    servers: Servers = field(init=False)
    _guess: RateGuess = field(init=False, default_factory=RateGuess)
    _answered: Window = field(init=False)
    _queue: deque[tuple[Slot, asyncio.Future[None]]] = field(init=False, default_factory=deque)
    _timer: Handle | None = field(init=False, default=None)
    _begun: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        said = self.limits
        self.gauges = Gauges(said, self.wall, self.spend)
        self._answered = Window("answers/min", MINUTE)
        ceiling = said.concurrency or said.max_concurrency
        start = said.concurrency or (ceiling if self.gauges.stated else START)
        fixed = said.concurrency is not None
        self.servers = Servers([Concurrency(start, ceiling, fixed=fixed) for _ in range(self.addresses)])

    def slot(self, load: Load, *, retry: bool = False, avoid: int | None = None) -> Slot:
        """`async with` it: waits for admission and says which server to ask.

        A retry, which has waited already, goes to the front, and to another server than `avoid`.
        """
        return Slot(self, load, retry, avoid)

    @property
    def concurrency(self) -> int:
        """How many may be in flight now."""
        return sum(server.controller.limit for server in self.servers.all)

    @property
    def ceiling(self) -> int:
        """How many may ever be in flight."""
        return sum(server.controller.ceiling for server in self.servers.all)

    def hold_while(self, full: Callable[[], bool], server: int = 0) -> None:
        """While `full` says that requests queue at this server, no more are sent there at a time."""
        self.servers.all[server].full = full

    @property
    def waiting(self) -> int:
        return len(self._queue)

    def binding(self) -> str:
        """Why the next request waits, such as '600 requests/min'; empty when none does."""
        if not self._queue:
            return ""
        if self.servers.next(None, self.clock()) is None:
            return f"{self.concurrency} in flight"
        return self.gauges.binding(self.gauges.expected(self._queue[0][0].load), self.clock())

    def learn(self, said: Mapping[str, str]) -> None:
        """Limits from response headers: they fill absent limits and tighten stated ones."""
        if said and self.gauges.learn(said, self.in_flight, self.clock()):
            self._guess.forget()
            self._pump()

    def recall(self, uses: Iterable[tuple[float, Load]]) -> None:
        """What an earlier process used still counts: (seconds ago, load), oldest first. Once, at the start."""
        if not self._begun:
            self._begun = True
            self.gauges.recall(uses, self.clock())

    def turn_away(self) -> None:
        """Everyone who waits is let go without admission: nothing more is to be sent."""
        while self._queue:
            _, place = self._queue.popleft()
            if not place.done():
                place.set_result(None)
        self._pump()

    # -- in and out

    async def enter(self, slot: Slot) -> None:
        if not self._queue and self._admit(slot) <= 0:
            return
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        (self._queue.appendleft if slot.retry else self._queue.append)((slot, place))
        self._pump()
        try:
            await place
        except asyncio.CancelledError:
            slot.give_back()  # it may have been admitted in this same turn of the loop
            self.leave(slot, None)
            raise

    def leave(self, slot: Slot, error: BaseException | None) -> None:
        if slot.admitted:
            self.in_flight -= 1
            slot.server.in_flight -= 1
            slot.admitted = False
            if isinstance(error, ProviderError):
                self._failed(slot, error)
            elif error is None and not slot.unused:
                self._succeeded(slot)
        self._pump()

    def _admit(self, slot: Slot) -> float:
        """Seconds until it may be admitted; 0: it is."""
        now = self.clock()
        server = self.servers.next(slot.avoid, now)
        if server is None:
            return FOR_EVER  # until somebody leaves
        amounts = self.gauges.expected(slot.load)
        if (pause := self.gauges.wait(amounts, self.in_flight, now)) > 0:
            return pause
        slot.amounts, slot.entries = amounts, self.gauges.take(amounts, now)
        slot.server, slot.cuts, slot.rests = server, server.controller.cuts, server.rests
        slot.admitted = self._begun = True
        self.in_flight += 1
        self.servers.admitted(server)
        return 0.0

    def _pump(self) -> None:
        """Admit who may go now, and come back when the next one may."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._queue:
            slot, place = self._queue[0]
            if not place.done():
                if (pause := self._admit(slot)) > 0:
                    self._come_back(pause)
                    return
                place.set_result(None)
            self._queue.popleft()

    def _come_back(self, pause: float) -> None:
        if pause < FOR_EVER:
            self._guess.pressed = True
            # What another gate gives back is not heard of here.
            self._timer = self.later(min(pause, GLANCE) if self.spend else pause, self._pump)

    # -- what answers and refusals teach

    def _succeeded(self, slot: Slot) -> None:
        now, server = self.clock(), slot.server
        self._guess.answered()
        self._answered.take(1.0, now)
        server.answered_since_cut |= slot.cuts == server.controller.cuts
        server.succeeded(now, counts=not slot.retry)
        if limit := self._guess.succeeded(now):
            self.gauges.restrict_requests(limit, now)

    def _failed(self, slot: Slot, error: ProviderError) -> None:
        self.learn(error.limits)
        slot.server.failed(error.kind, slot.rests, self.clock())
        if error.billed == "no":  # a refused request may still count as a request
            kept = 0.0 if error.kind is Kind.UNREACHABLE else slot.amounts[REQUESTS]
            slot.adjust((kept, *(0.0,) * (len(slot.amounts) - 1)))
        if error.kind is Kind.RATE_LIMIT:
            self._guess.refused()
        if error.kind in TOO_MUCH:
            self._refused(slot, slot.server, by_rate=error.kind is Kind.RATE_LIMIT)

    def _refused(self, slot: Slot, server: Server, *, by_rate: bool) -> None:
        guessing = by_rate and self._guess.limit is not None
        if by_rate and self.gauges.stated and not guessing:
            return  # the windows keep to the rate; fewer in flight would not help
        if not server.controller.rejected(server.in_flight + 1, slot.cuts, shrink=not guessing):
            return
        # Refused with fewer in flight, and nothing answered since: it is no matter of how many at once.
        if by_rate and (guessing or (slot.cuts and not server.answered_since_cut)):
            now = self.clock()
            guess = self._guess.rejected(self._answered.in_window(now), now)
            self.gauges.restrict_requests(guess, now)
        server.answered_since_cut = False
