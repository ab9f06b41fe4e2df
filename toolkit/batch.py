"""Sampling through batch APIs: cheaper, within a day, and never submitted twice.

A batch and its reservations are on disk before it leaves, and its mark travels with it. Where the process
dies in between, the next one looks for the mark among the provider's batches: found, it is adopted; not
found, its reservations are released. Stopping leaves batches with their provider; a rerun collects them.
"""

import asyncio
import heapq
import time
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from toolkit.arms import Stream
from toolkit.errors import Kind, PricematchError, ProviderError, Refused
from toolkit.ledger import BatchPart, Fate, Intent, Ledger, LiveBatch, Settlement
from toolkit.provider import Batcher, RemoteBatch, Steps
from toolkit.sample import GIVE_UP_AFTER, Progress, Result, Send, Task, seed_of, tasks
from toolkit.types import HttpReply, Request

T = TypeVar("T")
TOGETHER = 500  # answers settled in one go, so that they share a commit


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
class _Live:
    """A batch of ours that may be with its provider."""

    id: int
    intent: str
    lane: Lane
    remote: str | None = None
    unseen: float = 0.0  # when its submit was last known to be possibly under way


@dataclass(frozen=True, slots=True)
class _Part:
    task: Task
    bound: int | None
    line: bytes
    request: Request


async def run(
    lanes: Sequence[Lane],
    problems: Sequence[int],
    ledger: Ledger,
    *,
    keys: Sequence[str],
    send: Send,
    seed: int = 0,
    pace: Pace | None = None,
    stop: asyncio.Event | None = None,
    progress: Progress | None = None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> Result:
    """Collect the batches that are out, submit what is missing, and wait for it.

    `problems` are ledger ids, `keys` the problems' own ids (they seed the requests). Setting `stop` returns
    soon and leaves batches with their provider. Raises Refused when the provider will not serve.
    """
    driver = _Driver(
        lanes,
        problems,
        ledger,
        keys,
        send,
        seed,
        pace or Pace(),
        stop or asyncio.Event(),
        progress or Progress(),
        clock,
        sleep,
    )
    return await driver.run()


class _Driver:
    """One call of `run`: the batches that are out, and the reasons to stop."""

    def __init__(
        self,
        lanes: Sequence[Lane],
        problems: Sequence[int],
        ledger: Ledger,
        keys: Sequence[str],
        send: Send,
        seed: int,
        pace: Pace,
        stop: asyncio.Event,
        progress: Progress,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self.lanes, self.problems, self.ledger, self.keys = lanes, problems, ledger, keys
        self.send, self.seed, self.pace, self.stop, self.progress = send, seed, pace, stop, progress
        self.clock, self.sleep = clock, sleep
        self.fatal: PricematchError | None = None
        self.capped = False
        self.notes: list[str] = []
        self._live: dict[int, _Live] = {}
        self._position = {row: at for at, row in enumerate(problems)}
        self._failed: Counter[tuple[int, int, int]] = Counter()  # by arm, problem, draw index
        self._halted: set[str] = set()  # arms whose bill passed a reservation
        self._reached = False  # the provider has answered something
        self._troubles = 0  # calls in a row that failed

    async def run(self) -> Result:
        await self._recall()
        for lane in self.lanes:
            name, planned = lane.stream.name, lane.stream.k * len(self.problems)
            self.progress.planned[name] = planned
            self.progress.done[name] = planned - sum(map(len, self._lacking(lane)))
        while True:
            for live in list(self._live.values()):
                if not self.stopping:
                    await self._guarded(live, self._advance(live))
            tried = await self._submit_missing()
            self._show()
            if self.fatal is not None:
                raise self.fatal
            if self.stopping or not (self._live or tried):
                break
            await self._pause()
        if self._live:
            self.notes.append(
                f"{len(self._live)} batches are still with the provider: the same command collects them"
            )
        missing = {lane.stream.name: sum(map(len, self._lacking(lane))) for lane in self.lanes}
        return Result(missing, self.capped, self.stop.is_set(), self.notes)

    @property
    def stopping(self) -> bool:
        return self.stop.is_set() or self.fatal is not None

    # -- batches that are out

    async def _recall(self) -> None:
        """The batches an earlier process left behind."""
        lanes = {lane.stream.arm: lane for lane in self.lanes}
        if stranded := await self.ledger.strand_batches(lanes):
            self.notes.append(
                f"{stranded} batches belong to arms as they stood before: what they may cost counts as spent until "
                "an arm is put back to collect its own, or you resolve it: status RUN --uncertain paid|unpaid"
            )
        for row in self.ledger.live_batches():
            parts = self.ledger.batch_parts(row.id)
            if not parts:  # the process died after the last answer was stored
                await self.ledger.close_batch(row.id, "done", "uncertain", "no part was left")
                continue
            self._live[row.id] = self._recalled(row, lanes[parts[0].arm])

    def _recalled(self, row: LiveBatch, lane: Lane) -> _Live:
        return _Live(row.id, row.intent_key, lane, row.remote_id, self.clock())

    async def _advance(self, live: _Live) -> None:
        if live.remote is None and not await self._found(live):
            return
        assert live.remote is not None
        remote = await self._drive(live.lane.batcher.poll(live.remote))
        if remote.state == "failed":
            await self._given_back(live, f"the batch failed: {remote.message}")
        elif remote.state == "ended":
            await self._collect(live, remote)

    async def _found(self, live: _Live) -> bool:
        """Adopt the batch if the provider has it; release it once that can no longer be."""
        remote = await self._drive(live.lane.batcher.find(live.intent))
        if remote is not None:
            await self._submitted(live, remote)
            return True
        if self.clock() - live.unseen >= self.pace.settling:
            await self.ledger.close_batch(live.id, "abandoned", "released", "never reached the provider")
            del self._live[live.id]
        return False

    async def _submitted(self, live: _Live, remote: RemoteBatch) -> None:
        await self.ledger.batch_submitted(live.id, remote.id)
        live.remote = remote.id

    async def _given_back(self, live: _Live, cause: str) -> None:
        """Nothing of the batch was served: its draws are asked again."""
        self._count_failure(live, self.ledger.batch_parts(live.id))
        await self.ledger.close_batch(live.id, "abandoned", "released", cause)
        self.notes.append(f"{live.lane.stream.name}: {cause}")
        del self._live[live.id]

    async def _collect(self, live: _Live, remote: RemoteBatch) -> None:
        """Settle every part that has an answer; the rest is unpaid, or unknown where all should have one."""
        answers = await self._drive(live.lane.batcher.results(remote))
        parts = self.ledger.batch_parts(live.id)
        for start in range(0, len(parts), TOGETHER):
            await asyncio.gather(
                *(self._conclude(live.lane, p, answers) for p in parts[start : start + TOGETHER])
            )
        self._count_failure(live, self.ledger.batch_parts(live.id))
        if remote.complete:
            await self.ledger.close_batch(live.id, "done", "uncertain", "the results lack it")
        else:
            await self.ledger.close_batch(live.id, "done", "released", f"not served: {remote.message}")
        del self._live[live.id]

    async def _conclude(self, lane: Lane, part: BatchPart, answers: dict[str, HttpReply | None]) -> None:
        name = _name(part.problem, part.first_index)
        if name not in answers:
            return
        answer, stream = answers[name], lane.stream
        if answer is None:
            self._count_failure_of(part)
            await self.ledger.fail(part.attempt, "released", "it expired in its batch")
            return
        request = replace(stream.requests[self._position.get(part.problem, 0)], n=part.n)
        try:
            reply = lane.batcher.decode(request, answer)
        except ProviderError as error:
            await self._refused(stream, part, error)
            return
        cost = stream.price.cost(reply.usage) if stream.price and reply.usage else part.reserved_pico
        await self.ledger.settle(
            part.attempt,
            Settlement(
                reply.choices,
                reply.usage,
                cost,
                answer.status,
                reply.request_id,
                reply.model_version,
                reply.effective or None,
            ),
        )
        self.progress.done[stream.name] += min(len(reply.choices), part.n)
        self.progress.truncated[stream.name] += sum(c.finish == "length" for c in reply.choices)
        if cost is not None and part.reserved_pico is not None and cost > part.reserved_pico:
            self._halted.add(stream.name)
            self.notes.append(
                f"{stream.name}: the server billed more than the upper bound of attempt {part.attempt} "
                f"({cost} > {part.reserved_pico} picodollars): the arm was stopped; check its price and max_tokens"
            )

    async def _refused(self, stream: Stream, part: BatchPart, error: ProviderError) -> None:
        """One part failed: only itself, or everything that would be asked the same way?"""
        state: Fate = "failed" if error.billed == "no" else "uncertain"
        await self.ledger.fail(part.attempt, state, f"{error.kind}: {error}", error.status)
        self.progress.retries[error.kind.value] += 1
        if error.retryable:
            self._count_failure_of(part)
        elif error.scope != "request":
            self.fatal = self.fatal or Refused(f"{stream.name}: {error}")
        else:
            self._count_failure_of(part, self.pace.attempts)

    # -- what is missing

    async def _submit_missing(self) -> bool:
        """Batches of everything that is missing and not out, as the cap has room for: was there anything?

        While batches are out, a remainder that does not fit waits for what they free, rather than
        trickling out in crumbs.
        """
        if self.stopping:
            return False
        room = None if self.ledger.cap_pico is None else self.ledger.cap_pico - self.ledger.spent.committed
        admitted: dict[str, list[tuple[Task, int | None]]] = {lane.stream.name: [] for lane in self.lanes}
        for task in self._tasks():
            bound = task.stream.price.bound(self._request(task)) if task.stream.price else None
            if room is not None and (room := room - (bound or 0)) < 0:
                if self._live:
                    return False
                self.capped = not any(admitted.values())
                break
            admitted[task.stream.name].append((task, bound))
        for lane in self.lanes:
            for parts in self._cut(lane, admitted[lane.stream.name]):
                if not self.stopping:
                    await self._launch(lane, parts)
        return any(admitted.values())

    def _tasks(self) -> Iterator[Task]:
        """What is to be asked, in the order in which a run may stop anywhere and still be matched."""
        covered = {
            (part.arm, part.problem, part.first_index + i)
            for live in self._live.values()
            for part in self.ledger.batch_parts(live.id)
            for i in range(part.n)
        }

        def open_(lane: Lane) -> list[list[int]]:
            arm = lane.stream.arm
            return [
                [
                    i
                    for i in indices
                    if (arm, p, i) not in covered and self._failed[arm, p, i] < self.pace.attempts
                ]
                for p, indices in zip(self.problems, self._lacking(lane), strict=True)
            ]

        lanes = [lane for lane in self.lanes if lane.stream.name not in self._halted]
        return heapq.merge(*(tasks(lane.stream, open_(lane)) for lane in lanes), key=lambda t: t.progress)

    def _cut(self, lane: Lane, admitted: Sequence[tuple[Task, int | None]]) -> Iterator[list[_Part]]:
        """Parts of one batch each: within its number of requests and its bytes."""
        parts: list[_Part] = []
        size, most = 0, min(self.pace.requests, lane.batcher.max_parts)
        for task, bound in admitted:
            request = self._request(task)
            try:
                line = lane.batcher.line(_name(self.problems[task.position], task.first), request)
            except ProviderError as error:
                self.fatal = Refused(f"{lane.stream.name}: {error}")
                return
            if parts and (len(parts) == most or size + len(line) + 1 > lane.batcher.max_bytes):
                yield parts
                parts, size = [], 0
            parts.append(_Part(task, bound, line, request))
            size += len(line) + 1
        if parts:
            yield parts

    async def _launch(self, lane: Lane, parts: Sequence[_Part]) -> None:
        """Write down what is about to be asked, then ask."""
        intent = f"pricematch-{uuid.uuid4().hex}"
        batch = await self.ledger.add_batch(intent, [self._intent(p) for p in parts])
        live = self._live[batch] = _Live(batch, intent, lane)
        await self._guarded(live, self._submit(live, parts))

    async def _submit(self, live: _Live, parts: Sequence[_Part]) -> None:
        steps = live.lane.batcher.submit(live.intent, parts[0].request, [p.line for p in parts])
        try:
            remote = await self._drive(steps)
        except ProviderError as error:
            if error.billed == "no":
                await self._given_back(live, f"the batch was not taken: {error}")
            live.unseen = self.clock()  # it may have arrived: it is looked for before anything else
            raise
        await self._submitted(live, remote)

    def _intent(self, part: _Part) -> Intent:
        stream, task = part.task.stream, part.task
        return Intent(
            stream.arm,
            self.problems[task.position],
            task.first,
            task.n,
            part.bound,
            stream.price_id,
            stream.purpose,
            None,
            stream.endpoint,
        )

    def _request(self, task: Task) -> Request:
        stream = task.stream
        seed = seed_of(self.seed, stream.name, self.keys[task.position], task.first) if stream.seeds else None
        return replace(stream.requests[task.position], n=task.n, seed=seed)

    def _lacking(self, lane: Lane) -> list[Sequence[int]]:
        return self.ledger.missing(lane.stream.arm, self.problems, lane.stream.k)

    # -- calls, failures, waiting

    async def _drive(self, steps: Steps[T]) -> T:
        """Send a translation's calls one after the other."""
        try:
            call = next(steps)
            while True:
                reply = await self.send(call)
                self._reached = True
                call = steps.send(reply)
        except StopIteration as done:
            self._troubles = 0
            return done.value  # type: ignore[no-any-return]

    async def _guarded(self, live: _Live, step: Awaitable[None]) -> None:
        """A step whose failure is met again at the next look, unless it would be the same for ever."""
        try:
            await step
        except ProviderError as error:
            self.progress.retries[error.kind.value] += 1
            self._troubles += 1
            if error.status == 404 and live.remote is not None and live.id in self._live:
                await self._lost(live)
            elif self._hopeless(error):
                self.fatal = self.fatal or Refused(f"{live.lane.stream.name}: {error}")
        except PricematchError as error:  # the ledger cannot be written
            self.fatal = self.fatal or error

    def _hopeless(self, error: ProviderError) -> bool:
        absent = error.kind is Kind.UNREACHABLE and not self._reached
        return absent or not error.retryable or self._troubles >= GIVE_UP_AFTER

    async def _lost(self, live: _Live) -> None:
        """The provider took the batch and no longer knows it: it may have billed it."""
        cause = f"the provider no longer knows batch {live.remote}"
        await self.ledger.close_batch(live.id, "done", "uncertain", cause)
        self.notes.append(
            f"{live.lane.stream.name}: {cause}: its draws count as spent until you resolve them"
        )
        del self._live[live.id]

    def _count_failure(self, live: _Live, parts: Sequence[BatchPart]) -> None:
        for part in parts:
            self._count_failure_of(part)
        if parts:
            self.progress.retries["batch"] += 1

    def _count_failure_of(self, part: BatchPart, times: int = 1) -> None:
        for index in range(part.first_index, part.first_index + part.n):
            self._failed[part.arm, part.problem, index] += times

    def _show(self) -> None:
        self.progress.in_flight = sum(len(self.ledger.batch_parts(b)) for b in self._live)

    async def _pause(self) -> None:
        """Until the next look, or until told to stop."""
        waiting = {asyncio.ensure_future(self.sleep(self.pace.poll)), asyncio.ensure_future(self.stop.wait())}
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in waiting:
                one.cancel()


def _name(problem: int, first: int) -> str:
    """A part's key: nothing else in its batch has it."""
    return f"{problem}-{first}"
