"""What the requests of one call of `run` share: what they are drawn for, and the reasons to stop."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from toolkit.arms import Stream
from toolkit.errors import Kind, PricematchError, ProviderError, Refused
from toolkit.ledger import Ledger
from toolkit.limits import Limiter
from toolkit.sample.progress import Progress, Result
from toolkit.sample.tasks import Task, seed_of
from toolkit.types import Request

GIVE_UP_AFTER = 8  # requests in a row that used up all their attempts: the provider is down


class Endings:
    """Attempts that ended, for those who wait for the room they leave under the cap."""

    def __init__(self) -> None:
        self.count = 0
        self._waiting: list[asyncio.Future[None]] = []

    def announce(self) -> None:
        self.count += 1
        waiting, self._waiting = self._waiting, []
        for ended in waiting:
            if not ended.done():
                ended.set_result(None)

    async def another(self) -> None:
        ended = asyncio.get_running_loop().create_future()
        self._waiting.append(ended)
        await ended


@dataclass(slots=True)
class Session:
    streams: Sequence[Stream]
    problems: Sequence[int]  # ledger ids
    ledger: Ledger
    keys: Sequence[str]  # the problems' own ids
    seed: int
    attempts: int  # tries of one request, at most
    stop: asyncio.Event
    progress: Progress
    sleep: Callable[[float], Awaitable[None]]
    fatal: PricematchError | None = None
    capped: bool = False
    notes: list[str] = field(default_factory=list)
    halted: set[str] = field(default_factory=set)  # arms whose bill passed a reservation
    reached: set[str] = field(default_factory=set)  # arms that have had an answer
    given_up: int = 0  # requests, in a row
    endings: Endings = field(default_factory=Endings)

    @property
    def stopping(self) -> bool:
        return self.stop.is_set() or self.capped or self.fatal is not None

    def limiters(self) -> list[Limiter]:
        """Each once: arms of one account and model share theirs."""
        return list({id(s.limiter): s.limiter for s in self.streams}.values())

    def request(self, task: Task) -> Request:
        stream = task.stream
        seed = seed_of(self.seed, stream.name, self.keys[task.position], task.first) if stream.seeds else None
        return stream.requests[task.position].asking(task.n, seed)

    def missing(self) -> dict[str, list[Sequence[int]]]:
        """For each arm and problem the draw indices that are not there."""
        return {s.name: self.ledger.missing(s.arm, self.problems, s.wanted) for s in self.streams}

    def begin(self, todo: dict[str, list[Sequence[int]]]) -> None:
        """Tell the progress what is planned, and what of it is there."""
        shown = self.progress
        for s in self.streams:
            wanted = s.k * len(self.problems) if s.targets is None else sum(s.targets)
            shown.planned[s.name] = wanted
            shown.done[s.name] = wanted - sum(map(len, todo[s.name]))
            shown.gates[s.name] = s.limiter
        shown.spend, shown.cap_pico = lambda: self.ledger.spent, self.ledger.cap_pico

    def result(self) -> Result:
        """How it ended. Raises what made it impossible to go on."""
        if self.fatal is not None:
            raise self.fatal
        missing = {name: sum(map(len, lacking)) for name, lacking in self.missing().items()}
        return Result(missing, self.capped, self.stop.is_set(), self.notes)

    def worth_retrying(self, stream: Stream, error: BaseException) -> bool:
        return (
            isinstance(error, ProviderError)
            and error.retryable
            and not self.stopping
            and not self._never_reached(stream, error)
        )

    def conclude(self, task: Task, error: ProviderError) -> None:
        """A request failed for good: only itself, or everything?"""
        whole = (error.scope != "request" and not error.retryable) or self._never_reached(task.stream, error)
        self.given_up += error.retryable
        if whole or self.given_up >= GIVE_UP_AFTER:
            self.fatal = self.fatal or Refused(f"{task.stream.name}: {error}")
        else:
            self.notes.append(
                f"{task.stream.name}: {task.label} of {self.keys[task.position]} failed: {error}"
            )

    def _never_reached(self, stream: Stream, error: ProviderError) -> bool:
        """Where no server ever answered there is none: waiting would hide a wrong address."""
        nowhere = error.kind is Kind.UNREACHABLE and not stream.limiter.servers.answer
        return nowhere and not self.reached
