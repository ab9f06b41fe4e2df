"""Sampling: what is missing is asked for, under rate limits and a hard cap, into the ledger.

The order is draw-index-major over problems with the arms interleaved in proportion to their plan, so
that wherever a run stops it is a smaller, still matched design.
"""

import asyncio
import hashlib
import heapq
from bisect import bisect_left
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import groupby
from typing import Any

from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception,
    stop_after_attempt,
    wait_random_exponential,
)

from toolkit.arms import Ask, Stream
from toolkit.errors import Kind, PricematchError, ProviderError, Refused
from toolkit.ledger import AtCap, Fate, Intent, Ledger, Settlement, Spend
from toolkit.limits import Limiter, Load, Slot
from toolkit.provider import Asker, Provider
from toolkit.types import HttpCall, HttpReply, Reply, Request, Usage

Send = Callable[[HttpCall], Awaitable[HttpReply]]
DECODING = frozenset({"temperature", "top_p", "top_k", "seed"})  # settings a server may say it applied
GIVE_UP_AFTER = 8  # requests in a row that used up all their attempts: the provider is down


@dataclass(frozen=True, slots=True)
class Task:
    """Consecutive draws of one problem, to be asked in one request."""

    stream: Stream
    position: int  # of the problem
    first: int
    n: int
    parent: int | None = None
    avoid: int | None = None  # the server where it failed last

    @property
    def progress(self) -> float:
        """How far into its arm's plan this task lies, 0 to 1: the merge key between arms."""
        rounds, problems = -(-self.stream.k // self.stream.n), len(self.stream.requests)
        return (self.first // self.stream.n * problems + self.position + 0.5) / (rounds * problems)


@dataclass(slots=True)
class Progress:
    """What a progress line shows; one object, updated in place."""

    planned: dict[str, int] = field(default_factory=dict)  # draws, by arm
    done: Counter[str] = field(default_factory=Counter)
    truncated: Counter[str] = field(default_factory=Counter)
    retries: Counter[str] = field(default_factory=Counter)  # by kind of error
    in_flight: int = 0
    begun: int = 0  # draws that were there when this process began
    gates: dict[str, Limiter] = field(default_factory=dict)  # by arm
    spend: Callable[[], Spend] | None = None  # so far, of the whole ledger
    cap_pico: int | None = None


@dataclass(frozen=True, slots=True)
class Result:
    missing: dict[str, int]  # draws, by arm
    capped: bool
    interrupted: bool
    notes: list[str]


def asker(provider: Provider, send: Send) -> Ask:
    """How to ask this provider: over the shared wire, or through its own SDK."""
    if isinstance(provider, Asker):
        return provider.ask

    async def ask(request: Request) -> Reply:
        return provider.decode(request, await send(provider.encode(request)))

    return ask


def seed_of(run_seed: int, arm: str, problem: str, first: int) -> int:
    """The seed of one request: 31 bits that nothing else shares."""
    digest = hashlib.sha256(f"{run_seed}|{arm}|{problem}|{first}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


async def run(
    streams: Sequence[Stream],
    problems: Sequence[int],
    ledger: Ledger,
    *,
    keys: Sequence[str],
    seed: int = 0,
    attempts: int = 6,
    stop: asyncio.Event | None = None,
    progress: Progress | None = None,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> Result:
    """Ask for every missing draw of every stream, once.

    `problems` are ledger ids, `keys` the problems' own ids (they seed the requests). Setting `stop` ends
    admission; what is in flight is finished and kept. Raises Refused when the provider will not serve.
    """
    sampler = _Sampler(
        streams,
        problems,
        ledger,
        keys,
        seed,
        attempts,
        stop or asyncio.Event(),
        progress or Progress(),
        sleep,
    )
    return await sampler.run()


def tasks(stream: Stream, missing: Sequence[Sequence[int]]) -> Iterator[Task]:
    """The stream's missing draws as requests, draw-index-major. Nothing is built ahead."""
    for start in range(0, stream.k, stream.n):
        for position, indices in enumerate(missing):
            for first, n in _runs(_between(indices, start, start + stream.n)):
                yield Task(stream, position, first, n)


def _between(indices: Sequence[int], low: int, high: int) -> Sequence[int]:
    """The ascending indices in [low, high)."""
    return indices[bisect_left(indices, low) : bisect_left(indices, high)]


def _runs(indices: Sequence[int]) -> Iterator[tuple[int, int]]:
    """(first, length) of each stretch of consecutive indices."""
    if not indices:
        return
    if indices[-1] - indices[0] == len(indices) - 1:  # one stretch: the common case
        yield indices[0], len(indices)
        return
    for _, group in groupby(enumerate(indices), key=lambda pair: pair[1] - pair[0]):
        stretch = [index for _, index in group]
        yield stretch[0], len(stretch)


class _Sampler:
    """One call of `run`: the gate, the retries and the reasons to stop."""

    def __init__(
        self,
        streams: Sequence[Stream],
        problems: Sequence[int],
        ledger: Ledger,
        keys: Sequence[str],
        seed: int,
        attempts: int,
        stop: asyncio.Event,
        progress: Progress,
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self.streams, self.problems, self.ledger, self.keys = streams, problems, ledger, keys
        self.seed, self.attempts, self.stop, self.progress, self.sleep = seed, attempts, stop, progress, sleep
        self.fatal: PricematchError | None = None
        self.capped = False
        self.notes: list[str] = []
        self._halted: set[str] = set()  # arms whose bill passed a reservation
        self._reached: set[str] = set()  # arms that have had an answer
        self._unlike: set[tuple[str, str]] = set()  # settings that a server did not apply as asked
        self._given_up = 0  # in a row
        self._waiting: list[asyncio.Future[None]] = []  # tasks for which the cap leaves no room now
        self._endings = 0

    async def run(self) -> Result:
        todo = {s.name: self.ledger.missing(s.arm, self.problems, s.wanted) for s in self.streams}
        for s in self.streams:
            wanted = s.k * len(self.problems) if s.targets is None else sum(s.targets)
            self.progress.planned[s.name] = wanted
            self.progress.done[s.name] = wanted - sum(map(len, todo[s.name]))
            self.progress.gates[s.name] = s.limiter
        self.progress.begun = self.progress.done.total()
        self.progress.spend, self.progress.cap_pico = lambda: self.ledger.spent, self.ledger.cap_pico
        ordered = heapq.merge(*(tasks(s, todo[s.name]) for s in self.streams), key=lambda t: t.progress)
        room = asyncio.Semaphore(2 * sum(limiter.ceiling for limiter in self._limiters()) or 1)
        stopped = asyncio.ensure_future(self.stop.wait())
        stopped.add_done_callback(lambda _: self._turn_away())
        try:
            async with asyncio.TaskGroup() as group:
                for task in ordered:
                    await room.acquire()
                    if self.stopping:
                        break
                    group.create_task(self._draw(task)).add_done_callback(lambda _: self._ended(room))
        finally:
            stopped.cancel()
        if self.fatal is not None:
            raise self.fatal
        missing = {
            s.name: sum(map(len, self.ledger.missing(s.arm, self.problems, s.wanted))) for s in self.streams
        }
        return Result(missing, self.capped, self.stop.is_set(), self.notes)

    def _ended(self, room: asyncio.Semaphore) -> None:
        room.release()
        if self.stopping:
            self._turn_away()

    def _limiters(self) -> list[Limiter]:
        """Each once: arms of one account and model share theirs."""
        return list({id(s.limiter): s.limiter for s in self.streams}.values())

    def _turn_away(self) -> None:
        for limiter in self._limiters():
            limiter.turn_away()

    @property
    def stopping(self) -> bool:
        return self.stop.is_set() or self.capped or self.fatal is not None

    async def _draw(self, task: Task) -> None:
        """Ask until the task's draws are there, or its attempts are used up."""
        while task.n > 0 and not self.stopping and task.stream.name not in self._halted:
            try:
                got, attempt = await self._with_retries(task)
            except ProviderError as error:
                self._conclude(task, error)
                return
            except PricematchError as error:  # the ledger cannot be written
                self.fatal = error
                return
            if not got or got == task.n:
                return
            task = replace(task, first=task.first + got, n=task.n - got, parent=attempt)

    async def _with_retries(self, task: Task) -> tuple[int, int | None]:
        """(draws that came, attempt id); (0, None) when admission has stopped.

        The first try stands before tenacity, which would cost every request a fifth of its CPU; a
        failure is handed to it as the first of its attempts.
        """
        try:
            return await self._once_there_is_room(task)
        except ProviderError as error:
            failure: ProviderError | None = error
        retrying = AsyncRetrying(
            stop=stop_after_attempt(self.attempts),
            wait=_pause,
            retry=retry_if_exception(partial(self._worth_retrying, task.stream)),
            sleep=self.sleep,
            reraise=True,
            before_sleep=self._note_retry,
        )
        async for trial in retrying:
            with trial:
                try:
                    if failure is not None:
                        raise failure
                    return await self._once_there_is_room(task)
                except ProviderError as error:
                    task = replace(task, parent=error.attempt or task.parent, avoid=error.server)
                    failure = None
                    raise
        raise AssertionError("tenacity ends by returning or raising")

    async def _once_there_is_room(self, task: Task) -> tuple[int, int | None]:
        while not self.stopping:
            seen = self._endings
            try:
                return await self._once(task)
            except AtCap as at_cap:
                if not at_cap.open_pico:
                    self.capped = True
                    break
            await self._another_ending(seen)
        return 0, None

    async def _once(self, task: Task) -> tuple[int, int | None]:
        """One attempt: reserve, send, settle. Its place in the limiter is held only while it is out."""
        stream, request = task.stream, self._request(task)
        bound = stream.price.bound(request) if stream.price else None
        load = Load(stream.prompt_tokens, stream.tokens_per_draw * task.n, bound or 0)
        async with stream.limiter.slot(load, retry=task.parent is not None, avoid=task.avoid) as slot:
            if self.stopping:  # the reason to stop may have come while this one waited for its place
                slot.give_back()
                return 0, None
            attempt = await self._reserve(self._intent(task, bound, slot), slot)
            self.progress.in_flight += 1
            try:
                reply = await self._ask(stream, request, attempt, slot)
            finally:
                self.progress.in_flight -= 1
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
            self.problems[task.position],
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
            attempt = await self.ledger.reserve(intent)
        except PricematchError:  # no room under the cap: it is not sent now
            slot.give_back()
            raise
        slot.sent()
        return attempt

    async def _ask(self, stream: Stream, request: Request, attempt: int, slot: Slot) -> Reply:
        ask, _ = stream.replica(slot.server.number)
        try:
            return await ask(request)
        except ProviderError as error:
            error.attempt, error.server = attempt, slot.server.number
            state: Fate = "failed" if error.billed == "no" else "uncertain"
            state = "released" if error.kind is Kind.UNREACHABLE else state
            await self.ledger.fail(attempt, state, f"{error.kind}: {error}", error.status)
            self._announce_ending()
            raise
        except asyncio.CancelledError:
            await asyncio.shield(self.ledger.fail(attempt, "uncertain", "interrupted while in flight"))
            raise

    def _compare(self, arm: str, asked: Request, effective: Mapping[str, Any]) -> None:
        """Say once what a server made of a setting: it makes the comparison another one."""
        for name in DECODING & effective.keys():
            wanted = getattr(asked, name)
            if wanted is not None and wanted != effective[name] and (arm, name) not in self._unlike:
                self._unlike.add((arm, name))
                self.notes.append(
                    f"{arm}: asked for {name} {wanted}, the server says it applied {effective[name]}"
                )

    async def _settle(self, task: Task, attempt: int, reply: Reply, bound: int | None) -> None:
        stream = task.stream
        usage = reply.usage or _estimated(task, reply)
        cost = stream.price.cost(usage) if stream.price and reply.usage else bound
        await self.ledger.settle(
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
        self._announce_ending()
        self._reached.add(stream.name)
        self._given_up = 0
        self.progress.done[stream.name] += min(len(reply.choices), task.n)
        self.progress.truncated[stream.name] += sum(c.finish == "length" for c in reply.choices)
        if cost is not None and bound is not None and cost > bound:
            self._halted.add(stream.name)
            self.notes.append(
                f"{stream.name}: the server billed more than the upper bound of attempt {attempt} "
                f"({cost} > {bound} picodollars): the arm was stopped; check its price and max_tokens"
            )

    def _request(self, task: Task) -> Request:
        stream = task.stream
        seed = seed_of(self.seed, stream.name, self.keys[task.position], task.first) if stream.seeds else None
        return stream.requests[task.position].asking(task.n, seed)

    def _worth_retrying(self, stream: Stream, error: BaseException) -> bool:
        return (
            isinstance(error, ProviderError)
            and error.retryable
            and not self.stopping
            and not self._never_reached(stream, error)
        )

    def _never_reached(self, stream: Stream, error: ProviderError) -> bool:
        """Where no server ever answered there is none: waiting would hide a wrong address."""
        nowhere = error.kind is Kind.UNREACHABLE and not stream.limiter.servers.answer
        return nowhere and not self._reached

    def _conclude(self, task: Task, error: ProviderError) -> None:
        """A request failed for good: only itself, or everything?"""
        whole = (error.scope != "request" and not error.retryable) or self._never_reached(task.stream, error)
        self._given_up += error.retryable
        if whole or self._given_up >= GIVE_UP_AFTER:
            self.fatal = self.fatal or Refused(f"{task.stream.name}: {error}")
        else:
            self.notes.append(
                f"{task.stream.name}: draws {task.first} to {task.first + task.n - 1} of {self.keys[task.position]} failed: {error}"
            )

    def _note_retry(self, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        if isinstance(error, ProviderError):
            self.progress.retries[error.kind.value] += 1

    async def _another_ending(self, seen: int) -> None:
        """Wait until an attempt ends that had not when `seen` was read."""
        while self._endings == seen and not self.stopping:
            ended = asyncio.get_running_loop().create_future()
            self._waiting.append(ended)
            await ended

    def _announce_ending(self) -> None:
        self._endings += 1
        waiting, self._waiting = self._waiting, []
        for ended in waiting:
            if not ended.done():
                ended.set_result(None)


_backoff = wait_random_exponential(multiplier=0.5, max=60)


def _pause(state: RetryCallState) -> float:
    """What the server asked for, else exponential with full jitter."""
    error = state.outcome.exception() if state.outcome else None
    asked = error.retry_after if isinstance(error, ProviderError) else None
    return asked if asked is not None else _backoff(state)


def _estimated(task: Task, reply: Reply) -> Usage:
    """Tokens by characters / 4, marked as an estimate: the server reported none."""
    request = task.stream.requests[task.position]
    asked = len(request.prompt or "") + sum(len(m.content) for m in request.messages)
    said = sum(len(c.text) for c in reply.choices)
    thought = sum(len(c.reasoning) for c in reply.choices)
    return Usage(-(-asked // 4), -(-said // 4), 0, -(-thought // 4), "estimate")
