"""The servers behind one model: how many requests each takes at once, which is next, which is passed over.

The one with the fewest requests in flight is next, equal ones in turn. A server that does not answer is
passed over for a while as long as another does, and then tried with a single request. A server that says
that requests queue there is not sent more at a time, and fewer once it has said so for long.
"""

from collections.abc import Callable, Sequence

from toolkit.errors import Kind
from toolkit.limits.adaptive import Concurrency

NO_ANSWER = frozenset({Kind.UNREACHABLE, Kind.OVERLOADED, Kind.TIMEOUT, Kind.CONNECTION})
IN_A_ROW = 3  # failures without an answer between them: now and then one fails at a busy server
FIRST_REST, LONGEST_REST = 1.0, 60.0  # seconds; each rest in a row is twice as long as the one before
LONG = 10.0  # seconds with a queue before fewer requests are sent at a time


class Server:
    """One server: what is in flight there, how many may be, and whether it answers."""

    __slots__ = (
        "_eased",
        "_failures",
        "_full_since",
        "_in_a_row",
        "answered_since_cut",
        "controller",
        "full",
        "in_flight",
        "number",
        "rests",
        "until",
    )

    def __init__(self, number: int, controller: Concurrency) -> None:
        self.number, self.controller = number, controller
        self.in_flight = 0
        self.answered_since_cut = False
        self.full: Callable[[], bool] | None = None  # do requests queue there now?
        self.rests = 0  # so far: a failure of a request sent before the last one is no news
        self.until = 0.0  # when the last rest ends
        self._in_a_row = 0  # rests without an answer between them
        self._failures = 0  # since the last answer or rest
        self._full_since: float | None = None
        self._eased = False  # fewer are sent because of the queue that is there now

    @property
    def has_room(self) -> bool:
        return self.in_flight < self.controller.limit

    @property
    def answers(self) -> bool:
        """As far as is known."""
        return self._in_a_row == 0

    def may_be_asked(self, now: float) -> bool:
        """It answers, or its rest is over and nobody tries it yet."""
        return self._in_a_row == 0 or (now >= self.until and self.in_flight == 0)

    def succeeded(self, now: float, *, counts: bool) -> None:
        """A request was answered; a retried one does not count for growth."""
        self._in_a_row = self._failures = 0
        if self.full is not None and self._queues(self.full(), now):
            self.controller.begin_round()
        elif counts:
            self.controller.succeeded()

    def failed(self, kind: Kind, rests: int, now: float) -> None:
        """A request admitted after so many rests has failed."""
        if kind not in NO_ANSWER:  # a refusal is an answer
            self._in_a_row = self._failures = 0
        elif rests == self.rests:
            self._failures += 1
            if kind is Kind.UNREACHABLE or self._in_a_row or self._failures >= IN_A_ROW:
                self._rest(now)

    def _rest(self, now: float) -> None:
        self.until = now + min(LONGEST_REST, FIRST_REST * 2**self._in_a_row)
        self.rests, self._in_a_row, self._failures = self.rests + 1, self._in_a_row + 1, 0

    def _queues(self, full: bool, now: float) -> bool:
        """Whether it does; one queue, however long it lasts, is one cut."""
        if not full:
            self._full_since, self._eased = None, False
        elif self._full_since is None:
            self._full_since = now
        elif not self._eased and now - self._full_since >= LONG:
            self._eased = True
            self.controller.cut(self.in_flight)
        return full


class Servers:
    """All servers of one model."""

    def __init__(self, controllers: Sequence[Concurrency]) -> None:
        self.all = [Server(number, controller) for number, controller in enumerate(controllers)]
        self._last = 0  # who was asked last

    @property
    def answer(self) -> bool:
        """Does any, as far as is known?"""
        return any(server.answers for server in self.all)

    def next(self, avoid: int | None, now: float) -> Server | None:
        """Whom to ask; not `avoid`, where this request failed, if another answers. None: nobody has room."""
        if len(self.all) == 1:
            return self.all[0] if self.all[0].has_room else None
        up = [s for s in self.all if s.may_be_asked(now)] or [min(self.all, key=lambda s: s.until)]
        wanted = [s for s in up if s.number != avoid] or up
        free = [s for s in wanted if s.has_room]
        return min(free, key=self._rank) if free else None

    def _rank(self, server: Server) -> tuple[int, int]:
        """Fewest in flight first, then whose turn it is."""
        return server.in_flight, (server.number - self._last - 1) % len(self.all)

    def admitted(self, server: Server) -> None:
        self._last = server.number
        server.in_flight += 1
        server.controller.admitted(server.in_flight)
