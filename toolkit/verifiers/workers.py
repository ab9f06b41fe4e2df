"""Processes that can be killed: for comparisons that may never end.

Symbolic comparison has no timeout that can be trusted from inside: signals need the main thread, and a
factorial in C holds the interpreter. So each comparison runs in a child with a deadline on the wall
clock; a child that misses it is killed and replaced, and only that comparison is lost.

A child is a plain subprocess speaking JSON lines. Unlike `multiprocessing` it does not import the
caller's main module again, and it may be started from any thread. It ends with its parent: its input
closes, and a timer of the kernel's ends a comparison whose parent was killed.
"""

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from toolkit.errors import PricematchError
from toolkit.types import Outcome

Pair = tuple[str, str]  # gold, answer

STARTUP = 120.0  # seconds: importing sympy on a busy machine
MEMORY = 4 * 2**30  # bytes of address space of one child

_ROOT = str(Path(__file__).resolve().parents[2])
_BOOT = "import sys; sys.path.append(sys.argv[1]); from importlib import import_module; "


@dataclass(eq=False, slots=True)
class _Child:
    """One process, and the comparison it is at."""

    process: subprocess.Popen[bytes]
    deadline: float
    ready: bool = False
    task: int | None = None
    buffer: bytearray = field(default_factory=bytearray)

    @property
    def output(self) -> int:
        assert self.process.stdout is not None
        return self.process.stdout.fileno()

    def give(self, task: int, pair: Pair, timeout: float) -> None:
        assert self.process.stdin is not None
        self.task, self.deadline = task, time.monotonic() + timeout
        with contextlib.suppress(BrokenPipeError):  # a dead child is noticed when its output ends
            self.process.stdin.write(json.dumps(pair).encode() + b"\n")
            self.process.stdin.flush()

    def read(self) -> list[str] | None:
        """The lines that have arrived; None once the child has ended."""
        block = os.read(self.output, 65536)
        if not block:
            return None
        self.buffer += block
        *lines, rest = bytes(self.buffer).split(b"\n")
        self.buffer = bytearray(rest)
        return [line.decode() for line in lines]

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            with contextlib.suppress(OSError):
                pipe.close()


class Workers:
    """A few children that compare pairs. They start at the first pair and live until `close`.

    `judge` names the child's function as "module:function"; it takes gold and answer and returns an
    Outcome. One caller at a time.
    """

    def __init__(self, judge: str, *, count: int, timeout: float) -> None:
        self.judge, self.count, self.timeout = judge, count, timeout
        self._children: list[_Child] = []

    def close(self) -> None:
        while self._children:
            self._children.pop().kill()

    def compare(self, pairs: Sequence[Pair]) -> list[Outcome]:
        """One outcome per pair, in order. A pair past its time is TIMEOUT, one that kills its child ERROR."""
        outcomes: dict[int, Outcome] = {}
        todo = deque(range(len(pairs)))
        try:
            while len(outcomes) < len(pairs):
                self._feed(todo, pairs)
                outcomes.update(self._wait())
        except BaseException:
            self.close()  # what is in flight would answer the next call
            raise
        return [outcomes[task] for task in range(len(pairs))]

    def _feed(self, todo: deque[int], pairs: Sequence[Pair]) -> None:
        self._drop_dead()
        for child in self._children:
            if todo and child.ready and child.task is None:
                task = todo.popleft()
                child.give(task, pairs[task], self.timeout)
        starting = sum(not child.ready for child in self._children)
        for _ in range(min(self.count - len(self._children), len(todo) - starting)):
            self._children.append(_start(self.judge, self.timeout))

    def _drop_dead(self) -> None:
        """Forget idle children that something else has killed."""
        dead = [c for c in self._children if c.ready and c.task is None and c.process.poll() is not None]
        for child in dead:
            self._children.remove(child)
            child.kill()

    def _wait(self) -> Iterator[tuple[int, Outcome]]:
        """What the children concluded until the first of them had something to say or ran out of time."""
        with selectors.DefaultSelector() as selector:
            waiting = [child for child in self._children if child.task is not None or not child.ready]
            for child in waiting:
                selector.register(child.output, selectors.EVENT_READ, child)
            first = min(child.deadline for child in waiting)
            spoke = [key.data for key, _ in selector.select(max(0.0, first - time.monotonic()))]
        for child in spoke:
            yield from self._hear(child)
        now = time.monotonic()
        for child in waiting:
            if child not in spoke and child.deadline <= now:
                yield from self._lose(child, Outcome.TIMEOUT)

    def _hear(self, child: _Child) -> Iterator[tuple[int, Outcome]]:
        lines = child.read()
        if lines is None:
            yield from self._lose(child, Outcome.ERROR)
            return
        for line in lines:
            if not child.ready:
                child.ready = True
            elif child.task is not None:
                task, child.task = child.task, None
                yield task, Outcome(line)

    def _lose(self, child: _Child, outcome: Outcome) -> Iterator[tuple[int, Outcome]]:
        self._children.remove(child)
        child.kill()
        if not child.ready:
            raise PricematchError(
                f"a verifier process did not start (exit status {child.process.returncode}): "
                f"`{sys.executable} -c 'import math_verify'` says why"
            )
        if child.task is not None:
            overdue = child.process.returncode == -signal.SIGALRM  # its own timer was first
            yield child.task, Outcome.TIMEOUT if overdue else outcome


def _start(judge: str, timeout: float) -> _Child:
    code = _BOOT + f"import_module({__name__!r}).serve(sys.argv[2], float(sys.argv[3]))"
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", code, _ROOT, judge, str(timeout)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    return _Child(process, deadline=time.monotonic() + STARTUP)


def serve(judge: str, timeout: float) -> None:
    """The child's life: say when ready, then answer each line, until the input ends."""
    import importlib
    import resource

    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # a library that prints must not speak for us
    module, _, name = judge.partition(":")
    function = getattr(importlib.import_module(module), name)
    function("x+1", "1+x")  # the first call imports and compiles: not on a pair's time
    print("ready", file=replies, flush=True)
    for line in sys.stdin.buffer:
        # The kernel ends this process even while C code holds the interpreter and the parent is gone.
        signal.setitimer(signal.ITIMER_REAL, 2 * timeout + 1)
        print(function(*json.loads(line)).value, file=replies, flush=True)
        signal.setitimer(signal.ITIMER_REAL, 0)
