"""A process that can harm nobody: Python in bubblewrap, watched from outside.

Inside there is `/usr` read-only, an empty `/tmp` of limited size, a user without rights, no network, no
environment, and only its own processes. What it is given and what it says go through two descriptors of
their own, so that nothing a program finds open leads to them.

bubblewrap starts with an empty environment and, where we are root, as the user nobody: `--clearenv` alone
leaves the caller's keys in `/proc/1/environ`, and root escapes the limit on processes. It gets a session of
its own from us, not by `--new-session`: one process group holds it all from the first moment, and one kill
ends it, also while it is being set up and not yet bound to us by `--die-with-parent`. The interpreter is
the first process in its namespace (`--as-pid-1`): when it ends, the kernel ends all others there.
"""

import contextlib
import io
import os
import platform
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from toolkit.errors import InputError

NOBODY = 65534
STARTUP = 60.0  # seconds until the program in the sandbox says it is ready, on a busy machine
OLDEST = (3, 9)  # Python inside
_PLAIN = ("-s", "-S", "-B")  # no site-packages: a verdict must not depend on what is installed
_TEMPORARY = 64 * 2**20  # bytes in /tmp, all files together
_UNSAFE = "or set verify.unsafe: true to run programs unprotected, with all your rights"
_PROBE = "import ast, ctypes, hashlib, json, resource, sys; print('.'.join(map(str, sys.version_info[:2])))"


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a Python is started."""

    command: tuple[str, ...]  # the interpreter last
    protected: bool
    user: int | None = None  # to become first; None stays who we are
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run ended, and what it said."""

    output: bytes
    started: bool  # it said it is ready
    overdue: bool = False  # killed: it took longer than it was given
    flooded: bool = False  # killed: it said more than it may


@dataclass(frozen=True, slots=True)
class Patience:
    seconds: float  # wall clock, from its readiness on
    output: int = 2**20  # bytes, at most
    startup: float = STARTUP


@cache
def isolated() -> Recipe:
    """The recipe for this machine. Raises InputError in one line where nothing can be isolated."""
    return find(sys.platform, shutil.which("bwrap"), _first_lines)


def find(system: str, bwrap: str | None, look: Callable[[Recipe], tuple[str, str]]) -> Recipe:
    """The first interpreter that runs in bubblewrap; `look` runs the probe and gives its output and errors."""
    if system != "linux":
        name = platform.system() if system == sys.platform else system
        raise InputError(
            f"verify.verifier: code needs bubblewrap, which {name} does not have: "
            f"run `pricematch verify` on Linux (a container or virtual machine will do), {_UNSAFE}"
        )
    if bwrap is None:
        raise InputError(
            "verify.verifier: code runs programs in bubblewrap, which is not installed: "
            f"`apt-get install bubblewrap` (dnf and pacman call it the same), {_UNSAFE}"
        )
    complaint = "no interpreter found"
    for recipe in _recipes(bwrap):
        version, errors = look(recipe)
        if version and tuple(map(int, version.split("."))) >= OLDEST:
            return recipe
        complaint = errors or complaint
    raise InputError(
        f"verify.verifier: bubblewrap cannot isolate programs here ({complaint}): allow user namespaces "
        "(docker run --security-opt seccomp=unconfined --security-opt systempaths=unconfined; Ubuntu: sysctl "
        f"kernel.apparmor_restrict_unprivileged_userns=0) and have a Python >= 3.9 in /usr/bin, {_UNSAFE}"
    )


def unprotected() -> Recipe:
    """Our own interpreter, with our own rights: only limits on resources and a clock."""
    return Recipe((sys.executable, *_PLAIN), protected=False, environment={"PYTHONHASHSEED": "0"})


def _recipes(bwrap: str) -> Iterator[Recipe]:
    """This interpreter, wherever it lives, then the system's."""
    user = NOBODY if os.geteuid() == 0 else None
    own = Path(sys.base_prefix)
    inside = f"python{sys.version_info.major}.{sys.version_info.minor}"
    if own.is_relative_to("/usr"):
        yield Recipe((*_walls(bwrap), str(own / "bin" / inside), *_PLAIN), True, user)
    elif not Path.home().is_relative_to(own):  # never the whole home
        bound = ("--ro-bind", str(own), str(own))
        yield Recipe((*_walls(bwrap, bound), str(own / "bin" / inside), *_PLAIN), True, user)
    yield Recipe((*_walls(bwrap), "/usr/bin/python3", *_PLAIN), True, user)


def _walls(bwrap: str, more: Sequence[str] = ()) -> tuple[str, ...]:
    nested = ("--disable-userns",) if "--disable-userns" in _options(bwrap) else ()  # since 0.8
    return (
        *(bwrap, "--unshare-all", "--unshare-user", *nested, "--die-with-parent", "--as-pid-1"),
        *("--ro-bind", "/usr", "/usr", *_system_folders(), *more),
        *("--ro-bind-try", "/etc/ld.so.cache", "/etc/ld.so.cache", "--proc", "/proc", "--dev", "/dev"),
        *("--size", str(_TEMPORARY), "--tmpfs", "/tmp", "--size", "65536", "--tmpfs", "/dev/shm"),
        *("--remount-ro", "/dev", "--remount-ro", "/", "--chdir", "/tmp"),
        *("--setenv", "PYTHONHASHSEED", "0"),  # the order of a set must not decide a verdict
        "--",
    )


@cache
def _options(bwrap: str) -> str:
    return subprocess.run([bwrap, "--help"], capture_output=True, text=True, check=False, env={}).stdout


def _system_folders() -> Iterator[str]:
    """/bin, /lib and the like: links into /usr, or folders of their own on older systems."""
    for path in map(Path, ("/bin", "/lib", "/lib32", "/lib64")):
        if path.is_symlink():
            yield from ("--symlink", os.readlink(path), str(path))
        elif path.is_dir():
            yield from ("--ro-bind", str(path), str(path))


def _first_lines(recipe: Recipe) -> tuple[str, str]:
    """The first line each that the probe prints and complains, by this recipe."""
    try:
        done = subprocess.run(
            [*recipe.command, "-c", _PROBE],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=STARTUP,
            check=False,
            stdin=subprocess.DEVNULL,
            cwd="/",
            env=dict(recipe.environment),
            **_identity(recipe),
        )
    except (OSError, subprocess.SubprocessError) as error:
        return "", str(error).splitlines()[0]
    said, complained = (text.strip().splitlines()[:1] for text in (done.stdout, done.stderr))
    return ("".join(said) if done.returncode == 0 else ""), "".join(complained)


def _identity(recipe: Recipe) -> dict[str, Any]:
    if recipe.user is None:
        return {}
    return {"user": recipe.user, "group": recipe.user, "extra_groups": []}


class Runs:
    """Runs of a recipe, each a process of its own; any number at once, from any thread."""

    def __init__(self, recipe: Recipe, arguments: Sequence[str]) -> None:
        """`arguments` of the interpreter; the numbers of the two descriptors follow them."""
        self.recipe, self._arguments = recipe, tuple(arguments)
        self._lock = threading.Lock()
        self._alive: set[subprocess.Popen[bytes]] = set()

    def close(self) -> None:
        """Kill what runs; its callers see it end."""
        with self._lock:
            for process in self._alive:
                _kill(process)

    def run(self, given: bytes, patience: Patience) -> Ended:
        """Start one, hand it `given`, and hear it out: a first line that says it is ready, then the rest.

        Nothing of it runs when this returns. (Unprotected, what has left its process group does.)
        """
        with contextlib.ExitStack() as stack:
            folder = "/" if self.recipe.protected else stack.enter_context(_folder())
            theirs_in, ours_out = _pipe(stack)
            ours_in, theirs_out = _pipe(stack)
            process = self._start(folder, (theirs_in.fileno(), theirs_out.fileno()))
            stack.callback(self._end, process)
            theirs_in.close()
            theirs_out.close()
            return _converse(process, ours_in, ours_out, given, patience)

    def _start(self, folder: str, descriptors: Sequence[int]) -> "subprocess.Popen[bytes]":
        process = subprocess.Popen(
            [*self.recipe.command, *self._arguments, *map(str, descriptors)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=descriptors,
            cwd=folder,
            env=dict(self.recipe.environment),
            start_new_session=True,
            **_identity(self.recipe),
        )
        with self._lock:
            self._alive.add(process)
        return process

    def _end(self, process: "subprocess.Popen[bytes]") -> None:
        with self._lock:  # not reaped before it is forgotten: its number may be another's then
            _kill(process)
            self._alive.discard(process)
        process.wait()


def _kill(process: "subprocess.Popen[bytes]") -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _folder() -> "tempfile.TemporaryDirectory[str]":
    return tempfile.TemporaryDirectory(prefix="pricematch-", ignore_cleanup_errors=True)


def _pipe(stack: contextlib.ExitStack) -> tuple[io.FileIO, io.FileIO]:
    """Both ends, unbuffered, closed with the stack. Not inherited unless passed."""
    reads, writes = os.pipe()
    return stack.enter_context(io.FileIO(reads, "rb")), stack.enter_context(io.FileIO(writes, "wb"))


def _converse(
    process: "subprocess.Popen[bytes]", source: io.FileIO, sink: io.FileIO, given: bytes, patience: Patience
) -> Ended:
    """Until the process has ended, it is given `given` and listened to."""
    deadline, started, output = time.monotonic() + patience.startup, False, bytearray()
    with _selector(process, source, sink) as selector:
        while ready := selector.select(max(0.0, deadline - time.monotonic())):
            spoken = [key.data for key, _ in ready]
            if sink in spoken and not (given := _write(sink, given)):
                selector.unregister(sink)
                sink.close()
            block = source.read(65536)  # None: nothing just now
            output += block or b""
            if not started and b"\n" in output:
                deadline, started = time.monotonic() + patience.seconds, True
            if len(output) > patience.output:
                return Ended(bytes(output), started, flooded=True)
            if not block and "ended" in spoken:
                return Ended(bytes(output), started)
            if block == b"":
                if not _HAS_PIDFD:
                    return Ended(bytes(output), started)
                if source in spoken:
                    selector.unregister(source)
    return Ended(bytes(output), started, overdue=True)


_HAS_PIDFD = hasattr(os, "pidfd_open")  # Linux


@contextlib.contextmanager
def _selector(
    process: "subprocess.Popen[bytes]", source: io.FileIO, sink: io.FileIO
) -> Iterator[selectors.BaseSelector]:
    """Told of what can be read and written, and of the end of the process as "ended"."""
    with contextlib.ExitStack() as stack:
        selector = stack.enter_context(selectors.DefaultSelector())
        for end, event in ((source, selectors.EVENT_READ), (sink, selectors.EVENT_WRITE)):
            os.set_blocking(end.fileno(), False)
            selector.register(end, event, end)
        if _HAS_PIDFD:
            ended = os.pidfd_open(process.pid)
            stack.callback(os.close, ended)
            selector.register(ended, selectors.EVENT_READ, "ended")
        yield selector


def _write(sink: io.FileIO, given: bytes) -> bytes:
    """What is left to write; nothing where nobody reads."""
    try:
        return given[sink.write(given) or 0 :]
    except BrokenPipeError:
        return b""
