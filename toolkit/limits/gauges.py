"""All windows of one limiter: what is used, what is expected, and what the server says."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt

from toolkit.limits.headers import Stated, stated
from toolkit.limits.windows import Day, Entry, Window
from toolkit.spec import Limits
from toolkit.types import PICO

MINUTE, TEN_MINUTES, DAY = 60.0, 600.0, 86_400.0  # seconds
PACIFIC = "America/Los_Angeles"  # Gemini's days end at midnight there
MEMORY = 50  # settled requests over which an estimate follows what is really used
CAUTION = 2.5  # standard deviations by which requests in flight may exceed their estimates
OTHERS = 0.02  # of a limit: use by others below it is not told from requests still on their way

Amounts = tuple[float, ...]
REQUESTS, TOKENS, INPUT, OUTPUT, SPEND = range(5)  # places in `Amounts`
COUNTED_IN_TOKENS = (TOKENS, INPUT, OUTPUT)


@dataclass(frozen=True, slots=True)
class Load:
    """What one request is expected to use: tokens, and picodollars at worst."""

    input: float = 0.0
    output: float = 0.0  # thinking included
    pico: int = 0

    @property
    def amounts(self) -> Amounts:
        return (1.0, self.input + self.output, self.input, self.output, float(self.pico))


class Gauges:
    """The windows of one account and model, taken from and settled together."""

    def __init__(self, limits: Limits, wall: Callable[[], float], spend: Window | None = None) -> None:
        self._limits, self._wall = limits, wall
        self._minutes = {
            "requests": Window("requests/min", MINUTE, limits.requests_per_minute, paced=True),
            "tokens": Window("tokens/min", MINUTE, limits.tokens_per_minute, paced=True),
            "input-tokens": Window("input tokens/min", MINUTE, limits.input_tokens_per_minute, paced=True),
            "output-tokens": Window("output tokens/min", MINUTE, limits.output_tokens_per_minute, paced=True),
        }
        places = (REQUESTS, TOKENS, INPUT, OUTPUT)
        others = _others(limits, wall)
        if spend := spend or spend_window(limits):
            others["usd_per_10_minutes"] = (spend, SPEND)
        self._rules = [*zip(self._minutes.values(), places, strict=True), *others.values()]
        self._keys = [*map(_key, self._minutes), *others]  # of `Limits`, one per rule
        self._ratio = {INPUT: 1.0, OUTPUT: 1.0}  # really used / estimated
        self._settled = 0
        self._variance = 0.0  # of a request's tokens around their estimate

    @property
    def stated(self) -> bool:
        """Is a rate known, configured or learned? Dollars, and requests per day, say nothing of a minute's."""
        return any(window.limit is not None and window.period <= MINUTE for window, _ in self._rules)

    @property
    def horizon(self) -> float:
        """Seconds for which use still counts: a minute at least, since a minute's limit may be learned."""
        return max([MINUTE, *(window.period for window, _ in self._rules if window.limit is not None)])

    def recall(self, uses: Iterable[tuple[float, Load]], now: float) -> None:
        """(seconds ago, what was used), oldest first."""
        for age, load in uses:
            for window, place in self._rules:
                window.recall(load.amounts[place], age, now)

    def expected(self, load: Load) -> Amounts:
        """The load as requests before it turned out."""
        read, written = load.input * self._ratio[INPUT], load.output * self._ratio[OUTPUT]
        return 1.0, read + written, read, written, float(load.pico)

    def wait(self, amounts: Amounts, in_flight: int, now: float) -> float:
        """Seconds until every window has room, for what is out now and this one even if they run long."""
        longest = 0.0
        for window, place in self._rules:
            if window.limit is not None:
                counted = place in COUNTED_IN_TOKENS
                spare = CAUTION * sqrt(self._variance * (in_flight + 1)) if counted else 0.0
                longest = max(longest, window.wait(amounts[place], now, spare))
        return longest

    def binding(self, amounts: Amounts, now: float) -> str:
        """The limit for which these amounts wait longest."""
        return _shown(*max(self._rules, key=lambda rule: rule[0].wait(amounts[rule[1]], now)))

    def holding(self) -> Iterator[tuple[str, str, bool]]:
        """Every limit that holds now: its key in `Limits`, such as '600 requests/min', was it learned?"""
        for key, (window, place) in zip(self._keys, self._rules, strict=True):
            if window.limit is not None:
                learned = place != SPEND and window.limit != getattr(self._limits, key)
                yield key, _shown(window, place), learned

    def take(self, amounts: Amounts, now: float) -> list[Entry]:
        return [window.take(amounts[place], now) for window, place in self._rules]

    def sent(self, entries: Sequence[Entry], now: float) -> None:
        for (window, _), entry in zip(self._rules, entries, strict=True):
            window.sent(entry, now)

    def adjust(self, entries: Sequence[Entry], old: Amounts, new: Amounts, now: float) -> None:
        for (window, place), entry in zip(self._rules, entries, strict=True):
            if change := new[place] - old[place]:
                window.settle(entry, change, now)

    def follow(self, expected: Load, used: Load) -> None:
        """Later estimates are scaled by what the last requests used of theirs."""
        self._settled += 1
        weight = 1 / min(self._settled, MEMORY)
        if self._settled > 1:  # the first says how wrong the estimate was, not how much requests differ
            surprise = used.amounts[TOKENS] - self.expected(expected)[TOKENS]
            self._variance += weight * (surprise**2 - self._variance)
        for place, was, now in ((INPUT, expected.input, used.input), (OUTPUT, expected.output, used.output)):
            if was:
                self._ratio[place] += weight * (now / was - self._ratio[place])

    def restrict_requests(self, limit: float | None, now: float) -> None:
        """So many requests a minute, until something else is said."""
        self._minutes["requests"].restrict(limit, now)

    def learn(self, said: Mapping[str, str], in_flight: int, now: float) -> bool:
        """Limits from response headers fill absent limits and tighten stated ones; was there any?"""
        found = stated(said, self._wall())
        for quantity, facts in found.items():
            own: float | None = getattr(self._limits, _key(quantity))
            window = self._minutes[quantity]
            window.restrict(facts.limit if own is None else min(own, facts.limit), now)
            self._leave_to_others(window, facts, in_flight, now)
        return bool(found)

    def _leave_to_others(self, window: Window, facts: Stated, in_flight: int, now: float) -> None:
        """What the server counts beyond our log was used by others, or by this run before a restart."""
        if facts.remaining is None or facts.reset is None or facts.reset > MINUTE:
            return  # not a minute's limit: some vendors state a day's under the same name
        used = window.in_window(now)
        unseen = facts.limit - facts.remaining - used
        on_their_way = in_flight * used / max(1.0, self._minutes["requests"].in_window(now))
        if unseen > OTHERS * facts.limit + on_their_way:
            window.take(unseen, now, ours=False)


def _key(quantity: str) -> str:
    """The field of `Limits` for a quantity as headers name it."""
    return f"{quantity.replace('-', '_')}_per_minute"


def _shown(window: Window, place: int) -> str:
    limit = window.limit or 0.0
    return f"${limit / PICO:g}/{window.unit}" if place == SPEND else f"{limit:,g} {window.unit}"


def spend_window(limits: Limits) -> Window | None:
    """The dollars of any 10 minutes, for one gate or for all gates of an account."""
    dollars = limits.usd_per_10_minutes
    return Window("10 min", TEN_MINUTES, dollars * PICO) if dollars else None


def _others(limits: Limits, wall: Callable[[], float]) -> dict[str, tuple[Window, int]]:
    """The windows that only a run file sets up, by its key."""
    second, day = limits.requests_per_second, limits.requests_per_day
    found: dict[str, tuple[Window, int]] = {}
    if second:
        found["requests_per_second"] = (Window("requests/s", 1.0, second), REQUESTS)
    if day and limits.day_resets == "midnight_pacific":
        found["requests_per_day"] = (Day("requests/day (Pacific)", day, PACIFIC, wall), REQUESTS)
    elif day:
        found["requests_per_day"] = (Window("requests/24 h", DAY, day), REQUESTS)
    return found
