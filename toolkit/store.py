"""One SQLite file with one writer: a thread that commits in groups, a lock, migrations.

`synchronous=FULL`, so what was committed survives a power cut; WAL, so that others read meanwhile.
"""

import asyncio
import contextlib
import fcntl
import os
import queue
import sqlite3
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from toolkit.disks import file_system, mounts, pragmas
from toolkit.errors import InputError, PricematchError, Unfinished

T = TypeVar("T")
GROUP = 512  # operations in one transaction, at most


def lock(path: Path) -> int:
    """An exclusive lock that dies with the process."""
    handle = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(handle)
        if isinstance(error, BlockingIOError | PermissionError):  # some systems deny what they could block
            said = "another pricematch is writing to this run: wait for it or stop it"
        else:
            said = (
                f"its file system cannot lock files ({error.strerror}): give --out a folder on a local disk"
            )
        raise InputError(f"{path}: {said}") from None
    return handle


def trouble(path: Path, error: sqlite3.Error) -> PricematchError:
    """What a person can do about an error of the file's, not of an operation's."""
    if isinstance(error, sqlite3.OperationalError):
        return Unfinished(
            f"{path}: cannot use the ledger ({error}): free space or mend the disk, then rerun; "
            "what was committed is kept"
        )
    return InputError(
        f"{path}: not a ledger, or a damaged one ({error}): put a copy of it back, or give another --out"
    )


@dataclass(slots=True)
class _Op:
    run: Callable[[sqlite3.Connection], Any]
    loop: asyncio.AbstractEventLoop | None  # None: `future` is a concurrent one
    future: Any
    result: Any = None
    error: BaseException | None = None

    def deliver(self) -> None:
        if self.future.done():  # the asker was cancelled; what was written stays written
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.result)


class Writer:
    """One thread, one connection; all operations that wait at the same time are one transaction."""

    def __init__(self, path: Path, migrations: Sequence[str]) -> None:
        """`migrations`: each moves the file one version up; `PRAGMA user_version` counts them."""
        self.path = path
        self.save: Callable[[], Any] = lambda: None  # what a rollback must bring back, beside the file
        self.restore: Callable[[Any], None] = lambda _: None
        self._queue: queue.SimpleQueue[_Op | None] = queue.SimpleQueue()
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        try:
            for pragma in pragmas(file_system(path, mounts(sys.platform)), sys.platform):
                self._db.execute(f"PRAGMA {pragma}")
            _migrate(self._db, path, migrations)
        except sqlite3.Error as error:
            raise trouble(path, error) from error
        self._thread = threading.Thread(target=self._work, name="ledger", daemon=True)
        self._thread.start()

    def now(self, run: Callable[[sqlite3.Connection], T]) -> T:
        """The operation's result, once committed."""
        future: Future[T] = Future()
        self._queue.put(_Op(run, None, future))
        return future.result()

    async def soon(self, run: Callable[[sqlite3.Connection], T]) -> T:
        """The operation's result, once committed, without blocking the loop."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._queue.put(_Op(run, loop, future))
        return await future

    def close(self) -> None:
        self._queue.put(None)
        self._thread.join()
        self._db.close()

    def _work(self) -> None:
        while (first := self._queue.get()) is not None:
            group, last = [first], False
            while len(group) < GROUP and not self._queue.empty():
                op = self._queue.get()
                if op is None:
                    last = True
                    break
                group.append(op)
            self._commit(group)
            _deliver(group)
            if last:
                return

    def _commit(self, group: list[_Op]) -> None:
        """All in one transaction; if one of them fails, once more with each standing alone."""
        before = self.save()
        try:
            try:
                self._transaction(group, self._run)
            except sqlite3.OperationalError:
                raise  # the disk, not an operation
            except Exception:
                self._undo(before)
                self._transaction(group, self._run_alone)
        except sqlite3.Error as error:
            self._undo(before)
            for op in group:
                op.error = trouble(self.path, error)

    def _transaction(self, group: list[_Op], run: Callable[[_Op], None]) -> None:
        self._db.execute("BEGIN IMMEDIATE")
        for op in group:
            run(op)
        self._db.execute("COMMIT")

    def _undo(self, before: Any) -> None:
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")
        self.restore(before)

    def _run(self, op: _Op) -> None:
        op.result = op.run(self._db)

    def _run_alone(self, op: _Op) -> None:
        """One operation; if it fails, it alone is undone."""
        self._db.execute("SAVEPOINT op")
        try:
            self._run(op)
        except sqlite3.OperationalError:
            raise
        except Exception as error:
            op.error = error
            self._db.execute("ROLLBACK TO op")
        self._db.execute("RELEASE op")


def _deliver(group: list[_Op]) -> None:
    """Wake the askers, one wake-up per event loop."""
    by_loop: dict[asyncio.AbstractEventLoop, list[_Op]] = {}
    for op in group:
        if op.loop is None:
            op.deliver()
        else:
            by_loop.setdefault(op.loop, []).append(op)
    for loop, ops in by_loop.items():
        with contextlib.suppress(RuntimeError):  # the loop has closed: nobody is waiting
            loop.call_soon_threadsafe(_deliver_all, ops)


def _deliver_all(ops: list[_Op]) -> None:
    for op in ops:
        op.deliver()


def _migrate(db: sqlite3.Connection, path: Path, migrations: Sequence[str]) -> None:
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if version > len(migrations):
        raise InputError(f"{path}: written by a newer pricematch (version {version}): upgrade pricematch")
    for number, script in enumerate(migrations[version:], version + 1):
        db.executescript(f"BEGIN; {script} PRAGMA user_version={number}; COMMIT;")
