"""What runs inside the sandbox: the tests in one process, the program under test in another.

The two share no interpreter. The program's process never holds the tests, the nonce or a way to the
verdict; the tests' process holds stand-ins that ask the other for the value of each call (`travel`). So a
program can only answer, wrongly or rightly. The tests' process is closed to the debugger's system calls,
with which a process of the same user could write into its memory. In the sandbox it is also the first
process of its namespace, which nothing inside can kill or stop, and whose end ends all others.

Standard library of Python 3.9 or newer; it is handed to that Python as text and imports nothing of ours
but `travel` and `guest`. The order in `main` is what keeps the secrets: fork, then read the job, then load
the program.
"""

from __future__ import annotations

import builtins
import contextlib
import ctypes
import json
import os
import signal
import types

from toolkit.verifiers.guest import host, limit
from toolkit.verifiers.travel import Malformed, decode, encode

TYPE_CHECKING = False  # see `travel`
if TYPE_CHECKING:
    from typing import Any

LINE = 16 * 2**20  # bytes of one message between the two
NOT_DUMPABLE = (4, 0)  # prctl(PR_SET_DUMPABLE, 0): no ptrace, no /proc/PID/mem, fd or environ for its equals


class Gone(BaseException):
    """The other process has ended, or says what cannot be read. No `Exception`: see `Malformed`."""


class Stays(BaseException):
    """The tests hand the program something that cannot travel, such as a function."""


class Channel:
    """JSON lines to and from the other process. Once broken it stays so, whatever a test may swallow."""

    def __init__(self, incoming: int, outgoing: int) -> None:
        self._in, self._out = os.fdopen(incoming, "rb"), os.fdopen(outgoing, "wb")
        self.broken: BaseException | None = None

    def send(self, message: Any) -> None:
        self._out.write(json.dumps(message).encode() + b"\n")
        self._out.flush()

    def receive(self) -> Any:
        line = self._in.readline(LINE)
        if not line.endswith(b"\n"):
            raise Gone("the program ended early" if len(line) < LINE else "an answer too long")
        return json.loads(line)

    def ask(self, *message: Any) -> Any:
        if self.broken is None:
            try:
                self.send(message)
                return self.receive()
            except (OSError, ValueError, RecursionError, MemoryError, Gone) as error:
                self.broken = error if isinstance(error, Gone) else Gone(str(error))
        raise self.broken

    def value(self, *message: Any) -> Any:
        """What an operation in the other process gives; what it raises there is raised here."""
        answer = self.ask(*message)
        try:
            if not isinstance(answer, dict):
                raise Malformed("no answer")
            if "ok" in answer:
                return decode(answer["ok"], lambda number: Remote(self, number))
        except Malformed as error:
            self.broken = error
            raise
        raise _exception(answer.get("raised"), answer.get("message"))


def _exception(name: Any, message: Any) -> Exception:
    kind = getattr(builtins, str(name), None)
    if isinstance(kind, type) and issubclass(kind, Exception):
        with contextlib.suppress(TypeError):
            return kind(str(message))
    return RuntimeError(f"{name}: {message}")


class Remote:
    """Stands for an object in the program's process. It equals nothing but itself: equality is ours to say."""

    __slots__ = ("_channel", "_number")

    def __init__(self, channel: Channel, number: int) -> None:
        object.__setattr__(self, "_channel", channel)
        object.__setattr__(self, "_number", number)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return _do(self, "call", args, kwargs)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # copy and pickle look for these: the object stays where it is
            raise AttributeError(name)
        return _do(self, "get", name)

    def __setattr__(self, name: str, value: Any) -> None:
        _do(self, "set", name, value)

    def __getitem__(self, key: Any) -> Any:
        return _do(self, "item", key)

    def __iter__(self) -> Any:
        return iter(_do(self, "list"))

    def __len__(self) -> int:
        return int(_do(self, "len"))

    def __bool__(self) -> bool:
        return bool(_do(self, "bool"))

    def __str__(self) -> str:
        return str(_do(self, "str"))

    __repr__ = __str__


def _do(target: Remote, operation: str, *arguments: Any) -> Any:
    return target._channel.value(operation, target._number, encode(arguments, _number_of))


def _number_of(value: Any) -> int:
    if isinstance(value, Remote):
        return int(value._number)
    raise Stays(f"a {type(value).__name__} cannot be handed to the program: only plain data can")


class Judge:
    """One job and the way its verdict goes out: once, behind the nonce."""

    def __init__(self, job: dict[str, Any], channel: Channel, program: int, out: int) -> None:
        self.job, self.channel, self.program, self.out = job, channel, program, out
        self.chosen: list[Any] | None = None  # a reading's position, its length, its identity

    def run(self) -> None:
        """Say "ready", and within the job's seconds the verdict."""
        signal.signal(signal.SIGALRM, lambda *_: self.conclude("timeout", "out of time"))
        signal.setitimer(signal.ITIMER_REAL, self.job["seconds"])
        os.write(self.out, b"ready\n")
        self.conclude(*self.outcome())

    def conclude(self, outcome: str, why: str) -> None:
        """Never returns: neither a test nor the program may have the last word."""
        signal.setitimer(signal.ITIMER_REAL, 0)
        verdict = {"outcome": outcome, "why": why[:300], "chosen": self.chosen}
        os.write(self.out, f"{self.job['nonce']}{json.dumps(verdict)}\n".encode())
        self.end_program()  # without a sandbox it would go on
        os._exit(0)

    def end_program(self) -> bool:
        """Kill the program's process, once. Whether the kernel had ended it before, for its processor time."""
        if not self.program:
            return False  # its number may be another's by now
        os.kill(self.program, signal.SIGKILL)  # changes nothing for one that has ended: its status is settled
        _, status = os.waitpid(self.program, 0)
        self.program = 0
        return os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGXCPU

    def outcome(self) -> tuple[str, str]:
        job = self.job
        try:
            tests = compile(job["tests"], "tests.py", "exec")
        except (SyntaxError, ValueError) as error:
            return "error", f"the tests are no Python: {error}"
        try:
            self.chosen = self.channel.ask("load", job["texts"], job["names"], job["limits"])
        except Gone as gone:
            return "unparsable", str(gone)  # the parser died of it
        if self.chosen is None:
            return "unparsable", "no code that defines what the tests call"
        outcome, why = _run(tests, job["names"], self.channel)
        if outcome == "incorrect" and isinstance(self.channel.broken, Gone) and self.end_program():
            return "timeout", "out of processor time"
        return outcome, why


def _run(tests: types.CodeType, names: list[str], channel: Channel) -> tuple[str, str]:
    try:
        channel.value("run")
        scope = {name: channel.value("name", name) for name in names}
        exec(tests, {"__name__": "tests", **scope})
    except Stays as error:
        return "error", str(error)
    except SystemExit:
        return "error", "the tests left before their end"
    except BaseException as error:
        return "incorrect", f"{type(error).__name__}: {error}"
    if channel.broken is not None:  # a test that catches everything has swallowed it
        return "incorrect", str(channel.broken)
    return "correct", ""


def _split() -> tuple[int, Channel]:
    """Fork the program's process; its number and the channel to it. Returns in the parent only."""
    there_in, here_out = os.pipe()
    here_in, there_out = os.pipe()
    program = os.fork()
    if program:
        os.close(there_in)
        os.close(there_out)
        return program, Channel(here_in, here_out)
    try:
        _keep_open(there_in, there_out)
        host(Channel(there_in, there_out))
    finally:
        os._exit(0)


def _keep_open(*kept: int) -> None:
    """Close what else is open, the job and the verdict's way above all; nothing to read, nobody listens."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nowhere, standard)
    for number in range(3, 256):
        if number not in kept:
            with contextlib.suppress(OSError):
                os.close(number)


def main(job_in: int, verdict_out: int) -> None:
    """Read a job from one descriptor, say "ready", and write the verdict behind its nonce to the other."""
    with contextlib.suppress(OSError, AttributeError):  # another kernel than Linux has no prctl
        ctypes.CDLL(None).prctl(*NOT_DUMPABLE, 0, 0, 0)
    program, channel = _split()
    with os.fdopen(job_in, "rb") as file:
        job = json.loads(file.read())
    for name, most in job["own_limits"].items():
        limit(name, most)
    Judge(job, channel, program, verdict_out).run()
