"""A function in a process of its own: one JSON message in, JSON messages out.

For work whose imports or memory the caller must not carry. A child that dies raises one line here, and a
child never outlives its parent: it ends when its stdin does.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from toolkit.errors import InputError, PricematchError

Say = Callable[[Mapping[str, Any]], None]


class Children:
    """The children alive now, so that an interrupt can end them all. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._alive: set[subprocess.Popen[str]] = set()
        self._ended = False

    def run(
        self,
        entry: str,
        message: Mapping[str, Any],
        log: Path,
        env: Mapping[str, str],
        hear: Callable[[dict[str, Any]], None],
    ) -> None:
        """Call `module:function` in a child, with `message` and a way to answer; `hear` gets its answers.

        An InputError raised there is raised here. `log` receives what the child prints, and stays only
        when the child fails for another reason, which raises PricematchError naming it.
        """
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("w", encoding="utf-8") as errors, self._start(entry, errors, env) as child:
            assert child.stdin is not None
            assert child.stdout is not None
            with contextlib.suppress(BrokenPipeError):  # it died at once: said below
                child.stdin.write(json.dumps(message) + "\n")
                child.stdin.flush()  # kept open: its end tells the child that we are gone
            for line in child.stdout:
                answer = json.loads(line)
                if answer.keys() == {"refused"}:
                    log.unlink(missing_ok=True)
                    raise InputError(answer["refused"])
                hear(answer)
            code = child.wait()
        if code and not self._ended:
            raise PricematchError(_last_words(code, log))
        log.unlink(missing_ok=True)
        if code:
            raise PricematchError("interrupted")

    def end(self) -> None:
        """Kill those alive and start no more."""
        with self._lock:
            self._ended = True
            for child in self._alive:
                child.kill()

    @contextlib.contextmanager
    def _start(self, entry: str, errors: IO[str], env: Mapping[str, str]) -> Iterator[subprocess.Popen[str]]:
        code = "import sys; from toolkit.children import serve; serve(sys.argv[1])"
        with self._lock:
            if self._ended:
                raise PricematchError("interrupted")
            child = subprocess.Popen(
                [sys.executable, "-c", code, entry],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env=dict(env),
            )
            self._alive.add(child)
        try:
            yield child
        finally:
            child.kill()
            with contextlib.suppress(BrokenPipeError):
                child.communicate()
            with self._lock:
                self._alive.discard(child)


def serve(entry: str) -> None:
    """The child's side of `Children.run`."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)  # what libraries print must not look like an answer
    message = json.loads(sys.stdin.readline())
    end_with_parent()

    def say(answer: Mapping[str, Any]) -> None:
        answers.write(json.dumps(answer) + "\n")

    module, _, name = entry.partition(":")
    function = getattr(__import__(module, fromlist=[name]), name)
    try:
        function(message, say)
    except InputError as error:
        say({"refused": str(error)})
    answers.flush()
    os._exit(0)  # torch takes a while to tidy up, for nothing


def end_with_parent() -> None:
    """From now on this process ends when its stdin does. Call it before anything slow is imported."""
    threading.Thread(target=_leave_at_eof, daemon=True).start()


def _leave_at_eof() -> None:
    while os.read(0, 4096):
        pass
    os._exit(1)


def _last_words(code: int, log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")
    how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit {code}"
    return f"a child process died ({how}): {last}: see {log}"
