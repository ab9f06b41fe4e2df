"""Batches that are out: found again, looked after, their answers settled."""

import asyncio
from collections.abc import Awaitable
from dataclasses import replace

from toolkit.arms import Stream
from toolkit.batch.session import Lane, Live, Session, name_of
from toolkit.errors import Kind, PricematchError, ProviderError, Refused
from toolkit.ledger import BatchPart, Fate, Settlement
from toolkit.provider import RemoteBatch
from toolkit.sample import GIVE_UP_AFTER, overbilled
from toolkit.types import HttpReply

TOGETHER = 500  # answers settled in one go, so that they share a commit


class Collector:
    """Looks after the live batches of one session."""

    def __init__(self, session: Session) -> None:
        self.session, self.ledger, self.progress = session, session.ledger, session.progress

    async def recall(self) -> None:
        """The batches an earlier process left behind."""
        lanes = {lane.stream.arm: lane for lane in self.session.lanes}
        if stranded := await self.ledger.strand_batches(lanes):
            self.session.notes.append(
                f"{stranded} batches belong to arms as they stood before: what they may cost counts as spent until "
                "an arm is put back to collect its own, or you resolve it: status RUN --uncertain paid|unpaid"
            )
        for row in self.ledger.live_batches():
            parts = self.ledger.batch_parts(row.id)
            if not parts:  # the process died after the last answer was stored
                await self.ledger.close_batch(row.id, "done", "uncertain", "no part was left")
                continue
            lane = lanes[parts[0].arm]
            self.session.live[row.id] = Live(
                row.id, row.intent_key, lane, row.remote_id, self.session.clock()
            )

    async def look(self) -> None:
        """Once at each batch that is out."""
        for live in list(self.session.live.values()):
            if not self.session.stopping:
                await self.guarded(live, self._advance(live))

    async def _advance(self, live: Live) -> None:
        if live.remote is None and not await self._found(live):
            return
        assert live.remote is not None
        remote = await self.session.drive(live.lane.batcher.poll(live.remote))
        if remote.state == "failed":
            await self.given_back(live, f"the batch failed: {remote.message}")
        elif remote.state == "ended":
            await self._collect(live, remote)

    async def _found(self, live: Live) -> bool:
        """Adopt the batch if the provider has it; release it once that can no longer be."""
        remote = await self.session.drive(live.lane.batcher.find(live.intent))
        if remote is not None:
            await self.submitted(live, remote)
            return True
        if self.session.clock() - live.unseen >= self.session.pace.settling:
            await self.ledger.close_batch(live.id, "abandoned", "released", "never reached the provider")
            del self.session.live[live.id]
        return False

    async def submitted(self, live: Live, remote: RemoteBatch) -> None:
        """The provider has it."""
        await self.ledger.batch_submitted(live.id, remote.id)
        live.remote = remote.id

    async def given_back(self, live: Live, cause: str) -> None:
        """Nothing of the batch was served: its draws are asked again."""
        self.session.count_failures(self.ledger.batch_parts(live.id))
        await self.ledger.close_batch(live.id, "abandoned", "released", cause)
        self.session.notes.append(f"{live.lane.stream.name}: {cause}")
        del self.session.live[live.id]

    async def _collect(self, live: Live, remote: RemoteBatch) -> None:
        """Settle every part that has an answer; the rest is unpaid, or unknown where all should have one."""
        answers = await self.session.drive(live.lane.batcher.results(remote))
        parts = self.ledger.batch_parts(live.id)
        for start in range(0, len(parts), TOGETHER):
            await asyncio.gather(
                *(self._conclude(live.lane, p, answers) for p in parts[start : start + TOGETHER])
            )
        self.session.count_failures(self.ledger.batch_parts(live.id))
        if remote.complete:
            await self.ledger.close_batch(live.id, "done", "uncertain", "the results lack it")
        else:
            await self.ledger.close_batch(live.id, "done", "released", f"not served: {remote.message}")
        del self.session.live[live.id]

    async def _conclude(self, lane: Lane, part: BatchPart, answers: dict[str, HttpReply | None]) -> None:
        name = name_of(part.problem, part.first_index)
        if name not in answers:
            return
        answer, stream = answers[name], lane.stream
        if answer is None:
            self.session.count_failure(part)
            await self.ledger.fail(part.attempt, "released", "it expired in its batch")
            return
        request = replace(stream.requests[self.session.position.get(part.problem, 0)], n=part.n)
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
        self.progress.came(stream.name, min(len(reply.choices), part.n))
        self.progress.truncated[stream.name] += sum(c.finish == "length" for c in reply.choices)
        if cost is not None and part.reserved_pico is not None and cost > part.reserved_pico:
            self.session.halted.add(stream.name)
            self.session.notes.append(overbilled(stream.name, part.attempt, cost, part.reserved_pico))

    async def _refused(self, stream: Stream, part: BatchPart, error: ProviderError) -> None:
        """One part failed: only itself, or everything that would be asked the same way?"""
        state: Fate = "failed" if error.billed == "no" else "uncertain"
        await self.ledger.fail(part.attempt, state, f"{error.kind}: {error}", error.status)
        self.progress.retries[error.kind.value] += 1
        if error.retryable:
            self.session.count_failure(part)
        elif error.scope != "request":
            self.session.fatal = self.session.fatal or Refused(f"{stream.name}: {error}")
        else:
            self.session.count_failure(part, self.session.pace.attempts)

    async def guarded(self, live: Live, step: Awaitable[None]) -> None:
        """A step whose failure is met again at the next look, unless it would be the same for ever."""
        try:
            await step
        except ProviderError as error:
            self.progress.retries[error.kind.value] += 1
            self.session.troubles += 1
            if error.status == 404 and live.remote is not None and live.id in self.session.live:
                await self._lost(live)
            elif self._hopeless(error):
                self.session.fatal = self.session.fatal or Refused(f"{live.lane.stream.name}: {error}")
        except PricematchError as error:  # the ledger cannot be written
            self.session.fatal = self.session.fatal or error

    def _hopeless(self, error: ProviderError) -> bool:
        absent = error.kind is Kind.UNREACHABLE and not self.session.reached
        return absent or not error.retryable or self.session.troubles >= GIVE_UP_AFTER

    async def _lost(self, live: Live) -> None:
        """The provider took the batch and no longer knows it: it may have billed it."""
        cause = f"the provider no longer knows batch {live.remote}"
        await self.ledger.close_batch(live.id, "done", "uncertain", cause)
        self.session.notes.append(
            f"{live.lane.stream.name}: {cause}: its draws count as spent until you resolve them"
        )
        del self.session.live[live.id]
