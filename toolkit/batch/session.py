"""What the batches of one call of `run` share: whom they are for, what is out, and the reasons to stop."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from toolkit.arms import Stream
from toolkit.errors import PricematchError
from toolkit.ledger import BatchPart, Ledger
from toolkit.provider import Batcher, Steps
from toolkit.sample import Progress, Result, Send, Task, seed_of
from toolkit.types import Request

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Lane:
    """An arm, priced as a batch is, and the batch API it goes through."""

    stream: Stream
    batcher: Batcher


@dataclass(frozen=True, slots=True)
class Pace:
    """How a batch is cut and looked after. Times in seconds."""

    requests: int = 10_000  # in one batch, at most
    attempts: int = 6  # batches one draw may fail in before it stays missing
    poll: float = 60.0  # between looks at a batch
    settling: float = 60.0  # how long a submit of unknown fate may take to show up among the batches


@dataclass(slots=True)
class Live:
    """A batch of ours that may be with its provider."""

    id: int
    intent: str
    lane: Lane
    remote: str | None = None
    unseen: float = 0.0  # when its submit was last known to be possibly under way


@dataclass(slots=True)
class Session:
    lanes: Sequence[Lane]
    problems: Sequence[int]  # ledger ids
    ledger: Ledger
    keys: Sequence[str]  # the problems' own ids
    send: Send
    seed: int
    pace: Pace
    stop: asyncio.Event
    progress: Progress
    clock: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]]
    fatal: PricematchError | None = None
    capped: bool = False
    notes: list[str] = field(default_factory=list)
    live: dict[int, Live] = field(default_factory=dict)
    failed: Counter[tuple[int, int, int]] = field(default_factory=Counter)  # by arm, problem, draw index
    halted: set[str] = field(default_factory=set)  # arms whose bill passed a reservation
    reached: bool = False  # the provider has answered something
    troubles: int = 0  # calls in a row that failed
    position: Mapping[int, int] = field(init=False)  # of a problem, by its ledger id

    def __post_init__(self) -> None:
        self.position = {row: at for at, row in enumerate(self.problems)}

    @property
    def stopping(self) -> bool:
        return self.stop.is_set() or self.fatal is not None

    def lacking(self, lane: Lane) -> list[Sequence[int]]:
        """For each problem the draw indices that are not there."""
        return self.ledger.missing(lane.stream.arm, self.problems, lane.stream.wanted)

    def request(self, task: Task) -> Request:
        stream = task.stream
        seed = seed_of(self.seed, stream.name, self.keys[task.position], task.first) if stream.seeds else None
        return replace(stream.requests[task.position], n=task.n, seed=seed)

    async def drive(self, steps: Steps[T]) -> T:
        """Send a translation's calls one after the other."""
        try:
            call = next(steps)
            while True:
                reply = await self.send(call)
                self.reached = True
                call = steps.send(reply)
        except StopIteration as done:
            self.troubles = 0
            return done.value  # type: ignore[no-any-return]

    def count_failures(self, parts: Sequence[BatchPart]) -> None:
        """Parts of one batch came back without an answer."""
        for part in parts:
            self.count_failure(part)
        if parts:
            self.progress.retries["batch"] += 1

    def count_failure(self, part: BatchPart, times: int = 1) -> None:
        for index in range(part.first_index, part.first_index + part.n):
            self.failed[part.arm, part.problem, index] += times

    def begin(self) -> None:
        """Tell the progress what is planned, and what of it is there."""
        for lane in self.lanes:
            stream = lane.stream
            wanted = stream.k * len(self.problems) if stream.targets is None else sum(stream.targets)
            self.progress.planned[stream.name] = wanted
            self.progress.done[stream.name] = wanted - sum(map(len, self.lacking(lane)))
        self.progress.spend, self.progress.cap_pico = lambda: self.ledger.spent, self.ledger.cap_pico

    def result(self) -> Result:
        if self.live:
            self.notes.append(
                f"{len(self.live)} batches are still with the provider: the same command collects them"
            )
        missing = {lane.stream.name: sum(map(len, self.lacking(lane))) for lane in self.lanes}
        return Result(missing, self.capped, self.stop.is_set(), self.notes)


def name_of(problem: int, first: int) -> str:
    """A part's key: nothing else in its batch has it."""
    return f"{problem}-{first}"
