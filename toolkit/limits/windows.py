"""What was used lately, and when more fits: sliding windows, and days that end at midnight somewhere.

A server counts what arrives in any minute by its own clock. A sliding log of what was sent keeps to that
exactly, except for the time a request spends on its way: windows are held open `margin` seconds longer.
"""

from collections import deque
from collections.abc import Callable
from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo

MARGIN = 0.0075  # of a window, added to it against jitter on the way: the share of a limit left unused
MARGIN_SECONDS = (0.02, 0.45)  # at least, at most
BURST = 0.5  # seconds' worth that may leave at once: vendors also count in parts of a minute
GRAINS = 2000  # entries of a log at most; older neighbours are merged, and expire with the younger
ROUNDING = 1e-9  # of an amount: a shortfall this small is the arithmetic's
INSTANT = 1e-6  # seconds no timer resolves
RECHECK = 600.0  # seconds: wall clocks are set, so a long wait for one is looked at again


class Entry:
    """Something taken at a time; its amount may still be settled."""

    __slots__ = ("amount", "at", "live", "since")

    def __init__(self, amount: float, now: float) -> None:
        self.amount, self.at, self.since, self.live = amount, now, now, True


class Window:
    """At most `limit` in any `period` seconds. Without a limit it only remembers.

    `paced` spreads the limit evenly over the period. An amount above the limit waits for an empty window.
    """

    def __init__(self, unit: str, period: float, limit: float | None = None, *, paced: bool = False) -> None:
        self.unit, self.period, self.limit, self.paced = unit, period, limit, paced
        self.used = 0.0  # in the window
        low, high = MARGIN_SECONDS
        self._span = period + min(high, max(low, MARGIN * period))
        self._log: deque[Entry] = deque()
        self._level, self._level_at = self._capacity, float("-inf")

    def wait(self, amount: float, now: float, spare: float = 0.0) -> float:
        """Seconds until this much more fits, with `spare` left for what may turn out larger."""
        if self.limit is None:
            return 0.0
        self._expire(now)
        over = self.used + min(amount + spare, self.limit) - self.limit
        full = self._until_freed(over, now) if over > ROUNDING * self.limit else 0.0
        pause = max(full, self._pace(amount, now)) if self.paced else full
        return pause if pause > INSTANT else 0.0

    def take(self, amount: float, now: float, *, ours: bool = True) -> Entry:
        """Use so much now; what others used fills the window and leaves our own pace alone."""
        self._expire(now)
        self.used += amount
        if ours:
            self._spend(amount, now)
        last = self._log[-1] if self._log else None
        if last is not None and now - last.since < self.period / GRAINS:
            last.amount, last.at = last.amount + amount, max(last.at, now)
            return last
        entry = Entry(amount, now)
        self._log.append(entry)
        return entry

    def recall(self, amount: float, age: float, now: float) -> None:
        """So much was used `age` seconds ago; to be called oldest first, before anything is taken."""
        if age < self._span:
            self.take(amount, now - age, ours=False)

    def sent(self, entry: Entry, now: float) -> None:
        """It left only now: it stays in the window that much longer."""
        entry.at = max(entry.at, now)

    def settle(self, entry: Entry, change: float, now: float) -> None:
        """The amount turned out larger or, below zero, smaller."""
        if entry.live:
            entry.amount += change
            self.used += change
            self._spend(change, now)

    def restrict(self, limit: float | None, now: float) -> None:
        """From now on this limit holds; what is in the log counts."""
        if limit == self.limit:
            return
        if self.limit is None:
            self._level, self._level_at = 0.0, now
        else:
            self._refill(now)
        self.limit = limit
        self._level = min(self._level, self._capacity)

    def in_window(self, now: float) -> float:
        self._expire(now)
        return self.used

    @property
    def _rate(self) -> float:
        return (self.limit or 0.0) / self._span

    @property
    def _capacity(self) -> float:
        return max(1.0, BURST * self._rate)

    def _expire(self, now: float) -> None:
        log, horizon = self._log, now - self._span + INSTANT
        while log and log[0].at <= horizon:
            gone = log.popleft()
            gone.live = False
            self.used -= gone.amount
        if not log:
            self.used = 0.0  # and with it the rounding of a long run

    def _until_freed(self, amount: float, now: float) -> float:
        freed = 0.0
        for entry in self._log:
            freed += entry.amount
            if freed >= amount * (1 - ROUNDING):
                return entry.at + self._span - now
        return self._log[-1].at + self._span - now if self._log else 0.0

    def _pace(self, amount: float, now: float) -> float:
        self._refill(now)
        wanted = min(amount, self._capacity)
        short = wanted - self._level
        return short / self._rate if short > ROUNDING * wanted else 0.0

    def _spend(self, amount: float, now: float) -> None:
        """The pace may go into debt; giving back never fills it beyond a burst."""
        if self.paced and self.limit is not None:
            self._refill(now)
            self._level = min(self._capacity, self._level - amount)

    def _refill(self, now: float) -> None:
        if self.limit is not None:
            earned = (now - self._level_at) * self._rate
            self._level, self._level_at = min(self._capacity, self._level + earned), now


class Day(Window):
    """At most `limit` from one midnight to the next in a time zone, by the wall clock."""

    def __init__(self, unit: str, limit: float, zone: str, wall: Callable[[], float]) -> None:
        super().__init__(unit, 86_400.0, limit)
        self._zone, self._wall = ZoneInfo(zone), wall
        self._ends = self._midnight()

    def recall(self, amount: float, age: float, now: float) -> None:
        today = datetime.fromtimestamp(self._wall(), self._zone).date()
        if datetime.fromtimestamp(self._wall() - age, self._zone).date() == today:
            self.take(amount, now - age, ours=False)

    def wait(self, amount: float, now: float, spare: float = 0.0) -> float:
        self._expire(now)
        assert self.limit is not None
        if self.used + amount <= max(self.limit, amount):
            return 0.0
        return min(self._ends - self._wall(), RECHECK) + INSTANT

    def _expire(self, now: float) -> None:
        if self._wall() >= self._ends:
            for entry in self._log:
                entry.live = False
            self._log.clear()
            self.used, self._ends = 0.0, self._midnight()

    def _midnight(self) -> float:
        """The next one, seconds since the epoch; days are 23 to 25 hours long."""
        today = datetime.fromtimestamp(self._wall(), self._zone).date()
        return datetime.combine(today + timedelta(days=1), time(), self._zone).timestamp()
