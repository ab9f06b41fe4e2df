"""The loop: look at what is out, submit what is missing, wait."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence

from toolkit.batch.collect import Collector
from toolkit.batch.session import Lane, Pace, Session
from toolkit.batch.submit import Submitter
from toolkit.ledger import Ledger
from toolkit.sample import Progress, Result, Send


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
    session = Session(
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
    collector = Collector(session)
    submitter = Submitter(session, collector)
    await collector.recall()
    session.begin()
    while True:
        await collector.look()
        tried = await submitter.submit_missing()
        _show(session)
        if session.fatal is not None:
            raise session.fatal
        if session.stopping or not (session.live or tried):
            return session.result()
        await _pause(session)


def _show(session: Session) -> None:
    session.progress.in_flight = sum(len(session.ledger.batch_parts(b)) for b in session.live)


async def _pause(session: Session) -> None:
    """Until the next look, or until told to stop."""
    waiting = {
        asyncio.ensure_future(session.sleep(session.pace.poll)),
        asyncio.ensure_future(session.stop.wait()),
    }
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for one in waiting:
            one.cancel()
