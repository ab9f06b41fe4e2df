"""Verdicts on programs: a solution's code against the tests of its problem, run in a sandbox.

The tests run in a process of their own and ask the program's process for values (`harness`), each pair in
a sandbox of its own (`sandbox`). Outcomes: `correct` when the tests run to their end; `incorrect` when they
do not, whether the program answers wrongly, raises, leaves or dies; `unparsable` when no code in the text
parses and defines what the tests call; `timeout` for wall clock or processor time; `error` when the tests
themselves cannot be run, or the sandbox ended without a verdict.

| a program that ...                                           | achieves                                      |
|--------------------------------------------------------------|-----------------------------------------------|
| leaves (`sys.exit`, `os._exit`, `atexit`), prints a verdict   | incorrect: leaving is no answer, nobody reads |
| returns what equals everything, or lies about its class      | incorrect: its bare content is compared       |
| patches builtins, unittest, json, frames, the harness        | incorrect: the tests run elsewhere            |
| replaces `check`, leaves modules for the tests to import      | incorrect: they have their own                |
| looks for tests, nonce, verdict (frames, /proc, ptrace)      | finds none: not in its process, not readable  |
| loops, sleeps                                                 | timeout                                       |
| forks, starts threads, takes memory, fills /tmp, prints much  | stopped at the limits below; prints to nobody |
| uses the network, reads home, keys or /etc, writes, deletes   | there is no network, home, key or right       |
| leaves a daemon, kills everything                             | ends with its namespace, ends itself          |
| repeats the answers of tests that its question showed         | CORRECT: nothing can tell; use other tests    |
| returns an object where a test only wants something true      | CORRECT: so it is to any Python               |
| takes memory in many processes or files at once               | up to PROCESSES x (1 GiB + 64 x 16 MiB)       |
| breaks out through a hole in the kernel                       | NOT STOPPED: use a virtual machine            |
| with `unsafe: true`: network, files, keys, daemons            | ALL OPEN; the verdict stands apart, except    |
|                                                               | from a program that runs as root              |

What the process border costs: tests see copies, so a function that changes its argument in place is not
seen to; they cannot hand a function to the program (`error`); objects of the program's own classes can be
called, read, set, indexed and counted but equal nothing, since equality would be their own word. Only the
standard library is there. Hash seeds are fixed, so a verdict does not change with the order of a set.
"""

import json
import math
import secrets
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from typing import Any, Self

from toolkit.answers import norm_sha
from toolkit.errors import PricematchError
from toolkit.programs import Option, Suite, options
from toolkit.types import Outcome, Verdict
from toolkit.verifiers import sandbox
from toolkit.verifiers.sandbox import Ended, Patience, Recipe, Runs

Draw = tuple[str, str]  # gold (the test program), text of the solution

VERSION = "1"
LIMITS = {  # of the program and what it starts, each process
    "RLIMIT_AS": 2**30,  # bytes of memory
    "RLIMIT_FSIZE": 2**24,  # bytes of one file
    "RLIMIT_NOFILE": 64,
    "RLIMIT_CORE": 0,
}
GRACE = 2.0  # seconds after which the clock outside ends what the one inside did not
PROCESSES = 32  # at once in one sandbox, threads included
_OWN_LIMITS = {"RLIMIT_AS": 2**31, "RLIMIT_CORE": 0}  # of the tests' process: answers it holds may be large

_MODULES = ("travel", "guest", "harness")  # in the order of their imports; handed over as text
BOOT = """
import sys, types
sys.path[:] = filter(None, sys.path)
*sources, job_in, verdict_out = sys.argv[1:]
for name, source in zip(("travel", "guest", "harness"), sources):
    module = sys.modules["toolkit.verifiers." + name] = types.ModuleType(name)
    exec(compile(source, name, "exec"), module.__dict__)
module.main(int(job_in), int(verdict_out))
"""


class CodeVerifier:
    """Judges solutions by running them; a context manager, because it holds threads and processes.

    Safe to call from any thread. At most `workers` programs run at once, each in a sandbox of its own.
    """

    name = "code"

    def __init__(
        self,
        *,
        timeout: float = 10.0,
        workers: int = 2,
        unsafe: bool = False,
        isolated: Callable[[], Recipe] = sandbox.isolated,
    ) -> None:
        """`timeout`: seconds of wall clock for one program with its tests, its start not counted.

        Raises InputError, in one line, where nothing can be isolated and `unsafe` is not said. Unsafe
        verdicts have a version of their own.
        """
        recipe = sandbox.unprotected() if unsafe else isolated()
        self.version = VERSION if recipe.protected else f"{VERSION}+unsafe"
        self._limits = LIMITS | {"RLIMIT_CPU": math.ceil(timeout) + 1}
        if recipe.protected:  # elsewhere all the user's processes count, not only the program's
            self._limits["RLIMIT_NPROC"] = PROCESSES
        self._timeout = timeout
        sources = [files("toolkit.verifiers").joinpath(f"{name}.py").read_text("utf-8") for name in _MODULES]
        self._runs = Runs(recipe, ("-c", BOOT, *sources))
        self._pool = ThreadPoolExecutor(workers, "sandbox")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Kill what runs and end the threads."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._runs.close()
        self._pool.shutdown()

    def judge(self, draws: Sequence[Draw]) -> list[Verdict]:
        """One verdict per (gold, text), in order. Equal draws run once."""
        running = {draw: self._pool.submit(self._judge, *draw) for draw in dict.fromkeys(draws)}
        try:
            return [running[draw].result() for draw in draws]
        finally:  # after an interrupt, nobody waits for the rest
            for future in running.values():
                future.cancel()

    def _judge(self, gold: str, text: str) -> Verdict:
        try:
            suite = Suite.parse(gold)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return Verdict(Outcome.ERROR, None, norm_sha(text))
        readings, nonce = options(text, suite), secrets.token_hex(16)
        job = {
            "nonce": nonce,
            "tests": suite.source,
            "names": suite.names,
            "texts": [(reading.before, reading.code, reading.cut) for reading in readings],
            "seconds": self._timeout,
            "limits": self._limits,
            "own_limits": _OWN_LIMITS,
        }
        ended = self._runs.run(json.dumps(job).encode(), Patience(self._timeout + GRACE))
        return _verdict(_said(ended, nonce), readings, text)


def _said(ended: Ended, nonce: str) -> dict[str, Any]:
    """What the tests' process concluded, or what is known without it."""
    if not ended.started:
        raise PricematchError("a sandbox did not start: the machine may be out of memory or processes")
    _, found, line = ended.output.partition(nonce.encode())
    if not found:
        return {"outcome": Outcome.TIMEOUT if ended.overdue else Outcome.ERROR}
    said: dict[str, Any] = json.loads(line)
    return said


def _verdict(said: dict[str, Any], readings: Sequence[Option], text: str) -> Verdict:
    outcome = Outcome(said["outcome"])
    if not said.get("chosen"):
        return Verdict(outcome, None, norm_sha(text))
    position, length, identity = said["chosen"]
    reading = readings[position]
    return Verdict(outcome, reading.code[: length - len(reading.before)], identity)
