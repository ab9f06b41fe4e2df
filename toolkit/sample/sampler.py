"""The loop: every missing draw through one gate, tried again where that can help, until there is reason to stop."""

import asyncio
import gc
import heapq
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import chain, islice

from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception,
    stop_after_attempt,
    wait_random_exponential,
)

from toolkit.arms import Stream
from toolkit.errors import PricematchError, ProviderError
from toolkit.ledger import AtCap, Ledger
from toolkit.sample.attempt import Attempts
from toolkit.sample.progress import Progress, Result
from toolkit.sample.session import Session
from toolkit.sample.tasks import Task, tasks

BETWEEN_COLLECTIONS = 20_000  # objects made and not yet freed


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
    session = Session(
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
    with _rarely_collected():
        return await _Sampler(session).run()


@contextmanager
def _rarely_collected() -> Iterator[None]:
    """Python looks for cycles after every 700 new objects and, now and then, through all questions of a run: a
    tenth of a request's CPU. Sampling makes few cycles, so it is done less often, and past what is there now."""
    often = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(max(BETWEEN_COLLECTIONS, often[0]), *often[1:])
    try:
        yield
    finally:
        gc.set_threshold(*often)
        gc.unfreeze()


class _Sampler:
    def __init__(self, session: Session) -> None:
        self.session = session
        self._attempts = Attempts(session)

    async def run(self) -> Result:
        session = self.session
        todo = session.missing()
        session.begin(todo)
        stopped = asyncio.ensure_future(session.stop.wait())
        stopped.add_done_callback(lambda _: self._turn_away())
        try:
            streams = (tasks(s, todo[s.name]) for s in session.streams)
            await self._admit(heapq.merge(*streams, key=lambda task: task.progress))
        finally:
            stopped.cancel()
        return session.result()

    async def _admit(self, ordered: Iterator[Task]) -> None:
        """Begin tasks in this order, twice as many at a time as can be in flight, and wait for their ends."""
        at_once = 2 * sum(limiter.ceiling for limiter in self.session.limiters()) or 1
        async with asyncio.TaskGroup() as workers:
            for task in islice(ordered, at_once):
                workers.create_task(self._work(chain((task,), ordered)))

    async def _work(self, ordered: Iterable[Task]) -> None:
        """One task after the other, from what all workers share."""
        for task in ordered:
            await self._draw(task)
            if self.session.stopping:
                self._turn_away()
                return

    def _turn_away(self) -> None:
        """Whoever waits, for a limit or for room under the cap, has nothing to wait for."""
        self.session.endings.announce()
        for limiter in self.session.limiters():
            limiter.turn_away()

    async def _draw(self, task: Task) -> None:
        """Ask until the task's draws are there, or its attempts are used up."""
        session = self.session
        while task.n > 0 and not session.stopping and task.stream.name not in session.halted:
            try:
                got, attempt = await self._with_retries(task)
            except ProviderError as error:
                session.conclude(task, error)
                return
            except PricematchError as error:  # the ledger cannot be written
                session.fatal = error
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
        async for trial in self._retrying(task.stream):
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

    def _retrying(self, stream: Stream) -> AsyncRetrying:
        return AsyncRetrying(
            stop=stop_after_attempt(self.session.attempts),
            wait=_pause,
            retry=retry_if_exception(partial(self.session.worth_retrying, stream)),
            sleep=self.session.sleep,
            reraise=True,
            before_sleep=self._note_retry,
        )

    def _note_retry(self, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        if isinstance(error, ProviderError):
            self.session.progress.retries[error.kind.value] += 1

    async def _once_there_is_room(self, task: Task) -> tuple[int, int | None]:
        """One attempt, as soon as the cap leaves room for it: attempts that end may make some."""
        session = self.session
        while not session.stopping:
            seen = session.endings.count
            try:
                return await self._attempts.once(task)
            except AtCap as at_cap:
                if not at_cap.open_pico:
                    session.capped = True
                    break
            while session.endings.count == seen and not session.stopping:
                await session.endings.another()
        return 0, None


_backoff = wait_random_exponential(multiplier=0.5, max=60)


def _pause(state: RetryCallState) -> float:
    """What the server asked for, else exponential with full jitter."""
    error = state.outcome.exception() if state.outcome else None
    asked = error.retry_after if isinstance(error, ProviderError) else None
    return asked if asked is not None else _backoff(state)
