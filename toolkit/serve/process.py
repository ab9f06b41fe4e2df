"""Our own servers as processes: run one in the foreground, or start one beside a run and stop it after.

A started server ends with whoever started it, also when that one is killed: its stdin reaches its end.
"""

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

import uvicorn
from starlette.applications import Starlette

from toolkit.errors import InputError, Refused

READY = "serving "  # the line on stdout that says where
START_TIMEOUT = 600.0  # seconds; importing torch takes minutes where many others compute


def run(app: Starlette, *, host: str = "127.0.0.1", port: int = 8000) -> None:
    """Serve until interrupted. Port 0 takes a free one."""
    with listening(host, port) as sock:
        print(f"{READY}http://{host}:{sock.getsockname()[1]}/v1", flush=True)
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False))
        server.run(sockets=[sock])


@contextlib.asynccontextmanager
async def started(
    arguments: Sequence[str], *, log: Path, env: Mapping[str, str] | None = None
) -> AsyncIterator[str]:
    """Start `pricematch serve ARGUMENTS`; gives its base URL. Raises Refused with its last words if it dies."""
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "toolkit", "serve", *arguments, "--port", "0", "--until-eof"]
    with log.open("ab") as errors:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=os.environ | (env or {}),
            start_new_session=True,
        )  # Ctrl-C is for the run, not for its server
    try:
        yield await _base_url(process, log)
    finally:
        await _stop(process)


async def _base_url(process: asyncio.subprocess.Process, log: Path) -> str:
    assert process.stdout is not None
    try:
        async with asyncio.timeout(START_TIMEOUT):
            async for line in process.stdout:
                if line.decode().startswith(READY):
                    return line.decode().removeprefix(READY).strip()
    except TimeoutError:
        raise Refused(f"the local server did not start in {START_TIMEOUT:g} s: see {log}") from None
    words = [w for w in log.read_text(errors="replace").splitlines() if w.strip()]
    raise Refused(f"the local server did not start: {words[-1] if words else 'no message'} (see {log})")


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.stdin is not None:
        process.stdin.close()
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        await asyncio.wait_for(process.wait(), 10)
    except TimeoutError:
        process.kill()
        await process.wait()


def listening(host: str, port: int) -> socket.socket:
    """A socket whose connections answer at once.

    Nagle's algorithm waits with the end of an answer for the client's acknowledgement, which comes 40 ms
    late; asyncio switches it off only on sockets that were made with their protocol named.
    """
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.bind((host, port))
        sock.listen(1024)
    except OSError as error:
        sock.close()
        raise InputError(
            f"--port {port}: cannot listen there ({error.strerror}): give another port, or 0 for a free one"
        ) from None
    return sock
