"""One attempt: its bound is reserved, it is sent, its answer is settled or its fate written down."""

import asyncio
from collections.abc import Mapping
from typing import Any

from toolkit.errors import Kind, PricematchError, ProviderError
from toolkit.ledger import Fate, Intent, Settlement
from toolkit.limits import Load, Slot
from toolkit.sample.session import Session
from toolkit.sample.tasks import Task
from toolkit.types import Reply, Request, Usage

DECODING = frozenset({"temperature", "top_p", "top_k", "seed"})  # settings a server may say it applied


class Attempts:
    """Makes the attempts of one session."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self._unlike: set[tuple[str, str]] = set()  # settings that a server did not apply as asked

    async def once(self, task: Task) -> tuple[int, int | None]:
        """(draws that came, attempt id). Its place in the limiter is held only while it is out.

        Raises ProviderError where there is no answer, AtCap where there is no room to ask.
        """
        session, stream = self.session, task.stream
        request = session.request(task)
        bound = stream.price.bound(request) if stream.price else None
        load = Load(stream.prompt_tokens, stream.tokens_per_draw * task.n, bound or 0)
        async with stream.limiter.slot(load, retry=task.parent is not None, avoid=task.avoid) as slot:
            if session.stopping:  # the reason to stop may have come while this one waited for its place
                slot.give_back()
                return 0, None
            attempt = await self._reserve(self._intent(task, bound, slot), slot)
            session.progress.in_flight += 1
            try:
                reply = await self._ask(task, request, attempt, slot)
            finally:
                session.progress.in_flight -= 1
            slot.settle(reply.usage, stream.price.cost(reply.usage) if stream.price and reply.usage else None)
            stream.limiter.learn(reply.limits)
        if reply.effective:
            self._compare(stream.name, request, reply.effective)
        await self._settle(task, attempt, reply, bound)
        return min(len(reply.choices), task.n), attempt

    def _intent(self, task: Task, bound: int | None, slot: Slot) -> Intent:
        stream = task.stream
        return Intent(
            stream.arm,
            self.session.problems[task.position],
            task.first,
            task.n,
            bound,
            stream.price_id,
            stream.purpose,
            task.parent,
            stream.replica(slot.server.number)[1],
        )

    async def _reserve(self, intent: Intent, slot: Slot) -> int:
        try:
            attempt = await self.session.ledger.reserve(intent)
        except PricematchError:  # no room under the cap: it is not sent now
            slot.give_back()
            raise
        slot.sent()
        return attempt

    async def _ask(self, task: Task, request: Request, attempt: int, slot: Slot) -> Reply:
        ask, _ = task.stream.replica(slot.server.number)
        ledger = self.session.ledger
        try:
            return await ask(request)
        except ProviderError as error:
            error.attempt, error.server = attempt, slot.server.number
            state: Fate = "failed" if error.billed == "no" else "uncertain"
            state = "released" if error.kind is Kind.UNREACHABLE else state
            await ledger.fail(attempt, state, f"{error.kind}: {error}", error.status)
            self.session.endings.announce()
            raise
        except asyncio.CancelledError:
            await asyncio.shield(ledger.fail(attempt, "uncertain", "interrupted while in flight"))
            raise

    def _compare(self, arm: str, asked: Request, effective: Mapping[str, Any]) -> None:
        """Say once what a server made of a setting: it makes the comparison another one."""
        for name in DECODING & effective.keys():
            wanted = getattr(asked, name)
            if wanted is not None and wanted != effective[name] and (arm, name) not in self._unlike:
                self._unlike.add((arm, name))
                self.session.notes.append(
                    f"{arm}: asked for {name} {wanted}, the server says it applied {effective[name]}"
                )

    async def _settle(self, task: Task, attempt: int, reply: Reply, bound: int | None) -> None:
        session, stream = self.session, task.stream
        usage = reply.usage or _estimated(task, reply)
        cost = stream.price.cost(usage) if stream.price and reply.usage else bound
        await session.ledger.settle(
            attempt,
            Settlement(
                reply.choices,
                usage,
                cost,
                200,
                reply.request_id,
                reply.model_version,
                reply.effective or None,
            ),
        )
        session.endings.announce()
        session.reached.add(stream.name)
        session.given_up = 0
        session.progress.came(stream.name, min(len(reply.choices), task.n))
        session.progress.truncated[stream.name] += sum(c.finish == "length" for c in reply.choices)
        if cost is not None and bound is not None and cost > bound:
            session.halted.add(stream.name)
            session.notes.append(overbilled(stream.name, attempt, cost, bound))


def overbilled(arm: str, attempt: int, cost: int, bound: int) -> str:
    """What is said where a bill passes its reservation."""
    return (
        f"{arm}: the server billed more than the upper bound of attempt {attempt} "
        f"({cost} > {bound} picodollars): the arm was stopped; check its price and max_tokens"
    )


def _estimated(task: Task, reply: Reply) -> Usage:
    """Tokens by characters / 4, marked as an estimate: the server reported none."""
    request = task.stream.requests[task.position]
    asked = len(request.prompt or "") + sum(len(m.content) for m in request.messages)
    said = sum(len(c.text) for c in reply.choices)
    thought = sum(len(c.reasoning) for c in reply.choices)
    return Usage(-(-asked // 4), -(-said // 4), 0, -(-thought // 4), "estimate")
