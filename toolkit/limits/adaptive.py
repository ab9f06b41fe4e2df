"""How many requests may be in flight at a server that does not say: more while it keeps up, fewer once it does not.

It grows only by rounds in which the limit was really used. One burst of refusals is one cut: refusals of
requests admitted before the cut say nothing new. What a server asks of one request (Retry-After) delays
that request and never this controller, which would otherwise freeze under steady refusals.
"""

from collections import deque

START = 8
CUT = 0.7  # of what was in flight
STEP = 0.05  # of the limit, at least 1, per round after the first cut; before it a round doubles
SURE = 0.99  # of what was answered in the minute before a refusal: a rate that is certainly allowed
TRIAL, SETTLED = 10.0, 30.0  # seconds without refusal before a guess doubles; before it grows a little
LITTLE = 1.01
LATELY = 12  # answers and refusals that say whether a server has shut
NEAR = 0.9  # of the guess: below it a refusal has another cause


class Concurrency:
    """The number of requests that may be in flight. A fixed one never moves."""

    def __init__(self, start: int, ceiling: int, *, fixed: bool = False) -> None:
        self.limit, self.ceiling, self.fixed = min(start, ceiling), ceiling, fixed
        self.cuts = 0
        self._round = 0  # successes so far in this round
        self._reached = False  # the limit, during this round

    def admitted(self, in_flight: int) -> None:
        """A request was admitted and `in_flight` now are."""
        if in_flight >= self.limit:
            self._reached = True

    def succeeded(self) -> None:
        """A request was answered at its first try."""
        self._round += 1
        if self.fixed or self._round < self.limit:
            return
        if self._reached:
            step = max(1, int(self.limit * STEP)) if self.cuts else self.limit
            self.limit = min(self.ceiling, self.limit + step)
        self.begin_round()

    def begin_round(self) -> None:
        """What was answered so far says nothing about whether more would do."""
        self._round, self._reached = 0, False

    def rejected(self, in_flight: int, cuts: int, *, shrink: bool = True) -> bool:
        """A request admitted after `cuts` cuts was refused while `in_flight` were out; was it news?"""
        if cuts < self.cuts:
            return False
        self.cut(in_flight if shrink else None)
        return True

    def cut(self, in_flight: int | None) -> None:
        """From now on fewer than are in flight; None begins anew with as many."""
        self.cuts += 1
        self.begin_round()
        if in_flight is not None and not self.fixed:
            self.limit = max(1, int(CUT * min(self.limit, in_flight)))


class RateGuess:
    """Requests per minute at a server that refuses by rate and never says which.

    A refusal now and then is no rate limit: a guess needs a server that has shut (most of what it said
    lately was no), and so does a lower one, unless the refusal came at the guessed rate. A first guess may be far too low
    (an earlier process used up the minute), so it doubles until the next refusal; from then on it probes in
    small steps, and only while it was really used.
    """

    def __init__(self) -> None:
        self.limit: float | None = None
        self.pressed = False  # somebody had to wait for it
        self._lately: deque[bool] = deque(maxlen=LATELY)  # refused?
        self._refusals = 0
        self._since = 0.0

    def forget(self) -> None:
        """The server has said its limit."""
        self.limit, self._refusals = None, 0

    def answered(self) -> None:
        self._lately.append(False)

    def refused(self) -> None:
        self._lately.append(True)

    def rejected(self, answered: float, now: float) -> float | None:
        """The guess after a refusal at this many answers within a minute; None where it teaches nothing."""
        shut = len(self._lately) == LATELY and 2 * sum(self._lately) >= LATELY
        near = self.limit is not None and answered >= NEAR * self.limit
        probing = self._refusals == 1  # the guess was just doubled: of course it is refused
        if not (shut or near or probing):
            return None
        self.limit, self._since, self.pressed = max(1.0, SURE * answered), now, False
        self._refusals += 1
        return self.limit

    def succeeded(self, now: float) -> float | None:
        """The larger guess, once it is time for one."""
        first = self._refusals == 1
        if self.limit is None or not self.pressed or now - self._since < (TRIAL if first else SETTLED):
            return None
        self.limit, self._since, self.pressed = self.limit * (2 if first else LITTLE), now, False
        return self.limit
