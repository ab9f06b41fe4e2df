"""What is missing and not out, as batches: cut to size, written down, handed over."""

import heapq
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from toolkit.batch.collect import Collector
from toolkit.batch.session import Lane, Live, Session, name_of
from toolkit.errors import ProviderError, Refused
from toolkit.ledger import Intent
from toolkit.sample import Task, tasks
from toolkit.types import Request


@dataclass(frozen=True, slots=True)
class _Part:
    task: Task
    bound: int | None
    line: bytes
    request: Request


class Submitter:
    """Hands over what one session lacks."""

    def __init__(self, session: Session, collector: Collector) -> None:
        self.session, self.collector, self.ledger = session, collector, session.ledger

    async def submit_missing(self) -> bool:
        """Batches of everything that is missing and not out, as the cap has room for: was there anything?

        While batches are out, a remainder that does not fit waits for what they free, rather than
        trickling out in crumbs.
        """
        if self.session.stopping:
            return False
        room = None if self.ledger.cap_pico is None else self.ledger.cap_pico - self.ledger.spent.committed
        admitted: dict[str, list[tuple[Task, int | None]]] = {
            lane.stream.name: [] for lane in self.session.lanes
        }
        for task in self._tasks():
            bound = task.stream.price.bound(self.session.request(task)) if task.stream.price else None
            if room is not None and (room := room - (bound or 0)) < 0:
                if self.session.live:
                    return False
                self.session.capped = not any(admitted.values())
                break
            admitted[task.stream.name].append((task, bound))
        for lane in self.session.lanes:
            for parts in self._cut(lane, admitted[lane.stream.name]):
                if not self.session.stopping:
                    await self._launch(lane, parts)
        return any(admitted.values())

    def _tasks(self) -> Iterator[Task]:
        """What is to be asked, in the order in which a run may stop anywhere and still be matched."""
        covered = {
            (part.arm, part.problem, part.first_index + i)
            for live in self.session.live.values()
            for part in self.ledger.batch_parts(live.id)
            for i in range(part.n)
        }

        def open_(lane: Lane) -> list[list[int]]:
            arm = lane.stream.arm
            return [
                [
                    i
                    for i in indices
                    if (arm, p, i) not in covered
                    and self.session.failed[arm, p, i] < self.session.pace.attempts
                ]
                for p, indices in zip(self.session.problems, self.session.lacking(lane), strict=True)
            ]

        lanes = [lane for lane in self.session.lanes if lane.stream.name not in self.session.halted]
        return heapq.merge(*(tasks(lane.stream, open_(lane)) for lane in lanes), key=lambda t: t.progress)

    def _cut(self, lane: Lane, admitted: Sequence[tuple[Task, int | None]]) -> Iterator[list[_Part]]:
        """Parts of one batch each: within its number of requests and its bytes."""
        parts: list[_Part] = []
        size, most = 0, min(self.session.pace.requests, lane.batcher.max_parts)
        for task, bound in admitted:
            request = self.session.request(task)
            try:
                line = lane.batcher.line(name_of(self.session.problems[task.position], task.first), request)
            except ProviderError as error:
                self.session.fatal = Refused(f"{lane.stream.name}: {error}")
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
        live = self.session.live[batch] = Live(batch, intent, lane)
        await self.collector.guarded(live, self._submit(live, parts))

    async def _submit(self, live: Live, parts: Sequence[_Part]) -> None:
        steps = live.lane.batcher.submit(live.intent, parts[0].request, [p.line for p in parts])
        try:
            remote = await self.session.drive(steps)
        except ProviderError as error:
            if error.billed == "no":
                await self.collector.given_back(live, f"the batch was not taken: {error}")
            live.unseen = self.session.clock()  # it may have arrived: it is looked for before anything else
            raise
        await self.collector.submitted(live, remote)

    def _intent(self, part: _Part) -> Intent:
        stream, task = part.task.stream, part.task
        return Intent(
            stream.arm,
            self.session.problems[task.position],
            task.first,
            task.n,
            part.bound,
            stream.price_id,
            stream.purpose,
            None,
            stream.endpoint,
        )
