"""A foreign command that ends with whoever started it, even by kill -9.

It runs below a small keeper process in a process group of its own. The keeper's stdin is a pipe from us:
when that ends, for whatever reason, the keeper ends the whole group, workers of the command included.
"""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

GRACE = 15.0  # seconds between asking the group to end and killing it
ENDED = "the command ended:"  # the keeper's last line in the log


@contextlib.asynccontextmanager
async def kept(
    command: Sequence[str], *, log: Path, env: Mapping[str, str]
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run the command while the context is open; `log` receives all it says. Gives its keeper."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as said:
        # By its path: as a module it would import the whole package first, and be slow to stop with us.
        keeper = await asyncio.create_subprocess_exec(
            sys.executable,
            __file__,
            *command,
            stdin=subprocess.PIPE,
            stdout=said,
            stderr=said,
            env=dict(env),
            start_new_session=True,  # Ctrl-C is for the run, and the group for the keeper to end
        )
    try:
        yield keeper
    finally:
        assert keeper.stdin is not None
        keeper.stdin.close()
        await asyncio.shield(keeper.wait())


def keep(command: Sequence[str]) -> int:
    """The keeper's life: the command's exit code, or the end of the group once stdin ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # sent to the whole group below; the keeper stays to see
    try:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, preexec_fn=_default_signals)
    except OSError as error:
        print(f"{command[0]}: {error.strerror}", file=sys.stderr)
        return 127
    threading.Thread(target=_end_at_eof, args=(child,), daemon=True).start()
    code = child.wait()
    print(f"{ENDED} {signal.Signals(-code).name if code < 0 else f'exit {code}'}", flush=True)
    # Workers may outlive a command that died. The keeper is of the group: this is its end too.
    os.killpg(0, signal.SIGKILL)
    return code


def _default_signals() -> None:
    """An ignored signal stays ignored in a child: the command must hear them."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _end_at_eof(child: subprocess.Popen[bytes]) -> None:
    while os.read(0, 4096):
        pass
    os.killpg(0, signal.SIGTERM)
    try:
        child.wait(GRACE)
    except subprocess.TimeoutExpired:
        os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(keep(sys.argv[1:]))
