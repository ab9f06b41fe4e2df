"""Rate limits of one model: requests in flight, requests per minute, tokens per minute.

Buckets refill continuously and hold one second's worth, so no 60-second window sees more than the limit
and a second's burst. A request larger than its bucket takes the bucket into debt instead of waiting for ever.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from toolkit.spec import Limits

Clock = Callable[[], float]
Sleep = Callable[[float], Awaitable[None]]
ROUNDING = 1e-9  # of an amount; a shortfall this small is the arithmetic's, and no clock could wait it out


class Bucket:
    """A token bucket that may go into debt. `rate` is per second."""

    def __init__(self, rate: float, capacity: float, clock: Clock) -> None:
        self.rate, self.capacity, self._clock = rate, capacity, clock
        self._level, self._at = capacity, clock()

    def wait(self, amount: float) -> float:
        """Seconds until `amount` may be taken: the bucket holds it, or is full."""
        self._refill()
        wanted = min(amount, self.capacity)
        short = wanted - self._level
        return short / self.rate if short > ROUNDING * wanted else 0.0

    def take(self, amount: float) -> None:
        """Take it; a negative amount gives back."""
        self._refill()
        self._level = min(self.capacity, self._level - amount)

    def _refill(self) -> None:
        now = self._clock()
        self._level = min(self.capacity, self._level + (now - self._at) * self.rate)
        self._at = now


@dataclass(slots=True)
class Slot:
    """One admitted request; `used` settles its token estimate."""

    estimate: float
    used: float | None = None


@dataclass(slots=True)
class Limiter:
    """Admission for one model."""

    limits: Limits
    clock: Clock = time.monotonic
    sleep: Sleep = asyncio.sleep
    in_flight: int = 0
    _requests: Bucket | None = field(init=False)
    _tokens: Bucket | None = field(init=False)
    _free: asyncio.Semaphore = field(init=False)
    _gate: asyncio.Lock = field(init=False)

    def __post_init__(self) -> None:
        self._requests = _per_minute(self.limits.requests_per_minute, self.clock)
        self._tokens = _per_minute(self.limits.tokens_per_minute, self.clock)
        self._free = asyncio.Semaphore(self.limits.concurrency)
        self._gate = asyncio.Lock()  # first come, first served: a large request is not starved

    @asynccontextmanager
    async def slot(self, tokens: float) -> AsyncIterator[Slot]:
        """Wait for admission of a request of about this many tokens; free the place on leaving."""
        async with self._free:
            await self._admit(tokens)
            slot = Slot(tokens)
            self.in_flight += 1
            try:
                yield slot
            finally:
                self.in_flight -= 1
                if self._tokens and slot.used is not None:
                    self._tokens.take(slot.used - slot.estimate)

    async def _admit(self, tokens: float) -> None:
        wanted = [(b, a) for b, a in ((self._requests, 1.0), (self._tokens, tokens)) if b is not None]
        if not wanted:
            return
        async with self._gate:
            while (pause := max(bucket.wait(amount) for bucket, amount in wanted)) > 0:
                await self.sleep(pause)
            for bucket, amount in wanted:
                bucket.take(amount)


def _per_minute(limit: float | None, clock: Clock) -> Bucket | None:
    return None if limit is None else Bucket(limit / 60, max(1.0, limit / 60), clock)
