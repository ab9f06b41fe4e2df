"""A real vLLM on the CPU serving a tiny Gemma: `make test-vllm`. Nothing else says what vLLM really does."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import yaml

from providers.vllm import COMMAND, VLLM, Saturation, saturation, started
from toolkit.errors import Kind, ProviderError, Refused
from toolkit.ledger import Reader
from toolkit.types import Finish, Message, Reply, Request
from toolkit.wire import Wire

ROOT = Path(__file__).parents[2]
MODEL = str(ROOT / "examples" / "tiny-gemma" / "wc")
SERVE_ARGS = ("--dtype", "float32", "--max-model-len", "1024", "--enforce-eager")
QUESTION = "Kim has 2 apples and buys 3 more. How many apples has Kim?"
TURN = "<start_of_turn>user\n{}<end_of_turn>\n<start_of_turn>model\n"
CHAT = Request(MODEL, messages=(Message("user", QUESTION),), max_tokens=100, temperature=0.7, top_k=3)
RAW = Request(MODEL, prompt=TURN.format(QUESTION), max_tokens=100, temperature=0.7, top_k=3)

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(COMMAND not in os.environ, reason=f"{COMMAND} names no vllm: run `make test-vllm`"),
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[VLLM]:
    """One server for all tests; after them nothing of it may be left."""
    log = tmp_path_factory.mktemp("vllm") / "log"
    async with started(MODEL, SERVE_ARGS, log=log) as url:
        group = _group(url.split(":")[2].removesuffix("/v1"))
        assert len(_members(group)) >= 3  # keeper, front end, engine
        yield VLLM(url)
    assert _members(group) == []


def _processes() -> list[tuple[str, str, str]]:
    listed = subprocess.run(["ps", "-wweo", "pgid=,stat=,args="], capture_output=True, text=True, check=True)
    rows = [line.split(None, 2) for line in listed.stdout.splitlines()]
    return [(row[0], row[1], row[2]) for row in rows if len(row) == 3 and not row[1].startswith("Z")]


def _group(port: str) -> str:
    return next(g for g, _, args in _processes() if "guard.py" in args and f"--port {port}" in args)


def _members(group: str) -> list[str]:
    return [args for g, _, args in _processes() if g == group]


async def ask(server: VLLM, request: Request) -> Reply:
    async with Wire(timeout=120) as wire:
        return server.decode(request, await wire.send(server.encode(request)))


async def refusal(server: VLLM, request: Request) -> ProviderError:
    with pytest.raises(ProviderError) as refused:
        await ask(server, request)
    return refused.value


@pytest.mark.parametrize("request_", [CHAT, RAW], ids=["chat", "completions"])
async def test_every_draw_asked_for_comes_with_one_account_of_them(server: VLLM, request_: Request) -> None:
    got = await ask(server, replace(request_, n=8, seed=1))
    assert len(got.choices) == 8
    assert len({c.text for c in got.choices}) > 1
    assert all(c.text for c in got.choices)
    assert got.usage is not None
    assert (got.usage.prompt, got.usage.source) == (31, "server")  # the prompt once, not once a draw
    assert 8 * 10 < got.usage.output <= 8 * 100
    assert got.model_version == MODEL


async def test_a_chat_and_its_raw_prompt_are_the_same_question(server: VLLM) -> None:
    greedy = [await ask(server, replace(r, temperature=0.0, top_k=None)) for r in (CHAT, RAW)]
    assert greedy[0].choices[0].text == greedy[1].choices[0].text
    assert greedy[0].choices[0].text.endswith("132.")  # as transformers answers it; right it is not


async def test_a_seed_repeats_its_draws_and_another_does_not(server: VLLM) -> None:
    first, again, other = [
        [c.text for c in (await ask(server, replace(CHAT, n=4, seed=seed, temperature=1.0))).choices]
        for seed in (7, 7, 8)
    ]
    assert first == again
    assert first != other


async def test_top_k_is_applied(server: VLLM) -> None:
    only = await ask(server, replace(CHAT, n=6, top_k=1, temperature=2.0, seed=3))
    free = await ask(server, replace(CHAT, n=6, top_k=None, temperature=2.0, seed=3))
    assert len({c.text for c in only.choices}) == 1
    assert len({c.text for c in free.choices}) == 6


async def test_a_stop_text_ends_a_draw_and_a_short_limit_truncates_it(server: VLLM) -> None:
    stopped = (await ask(server, replace(CHAT, stop=("\n",), temperature=0.0, top_k=None))).choices[0]
    short = (await ask(server, replace(CHAT, max_tokens=3))).choices[0]
    assert (stopped.finish, "\n" in stopped.text) == (Finish.STOP, False)
    assert short.finish is Finish.LENGTH


async def test_an_overlong_prompt_is_the_fault_of_its_own_request(server: VLLM) -> None:
    error = await refusal(server, replace(RAW, prompt="1" * 3000))
    assert (error.kind, error.scope, error.retryable) == (Kind.CONTEXT_OVERFLOW, "request", False)


async def test_a_prompt_that_fits_leaves_its_answer_the_rest_of_the_window(server: VLLM) -> None:
    got = await ask(server, replace(RAW, prompt="1" * 1000, extra={"ignore_eos": True}))
    assert got.usage is not None
    assert got.usage.prompt + got.usage.output == 1024  # max_tokens of 100 is cut to the room there is
    assert got.choices[0].finish is Finish.LENGTH


async def test_an_unknown_model_is_the_models_fault(server: VLLM) -> None:
    error = await refusal(server, replace(CHAT, model="google/gemma-9-9b"))
    assert (error.kind, error.scope) == (Kind.MODEL, "model")


async def test_its_metrics_are_read_idle_and_at_work(server: VLLM) -> None:
    readings: list[Saturation] = []
    async with Wire(timeout=120) as wire:
        busy = replace(CHAT, n=64, max_tokens=800, temperature=2.0, top_k=None, extra={"ignore_eos": True})
        work = asyncio.create_task(wire.send(server.encode(busy)))
        while not work.done():
            readings.append(saturation((await wire.send(server.metrics())).body.decode()))
        idle = saturation((await wire.send(server.metrics())).body.decode())
    assert work.result().status == 200
    top = max(readings, key=lambda seen: seen.running)
    assert 8 <= top.running <= 64
    assert 0 < max(seen.cache for seen in readings) <= 1
    assert (idle.running, idle.waiting) == (0, 0)


async def test_a_model_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="no such model") as refused:
        async with started(str(tmp_path / "nothing"), SERVE_ARGS, log=tmp_path / "log"):
            pass
    assert "\n" not in str(refused.value)


async def test_a_run_file_samples_through_a_server_of_its_own(tmp_path: Path) -> None:
    model: dict[str, Any] = {"provider": "vllm", "model": MODEL, "serve_args": list(SERVE_ARGS)}
    run = {
        "name": "tiny",
        "problems": {"source": "builtin:word-problems", "limit": 6},
        "decoding": {"temperature": 0.7, "top_k": 3, "max_tokens": 120},
        "models": {"wc": model},
        "budget": {"draws": 4, "match": "samples"},
    }
    file = tmp_path / "run.yaml"
    file.write_text(yaml.safe_dump(run))
    before = len([1 for _, _, args in _processes() if "VLLM::" in args])
    command = [sys.executable, "-m", "toolkit", "sample", str(file), "--out", str(tmp_path / "out")]
    done = await asyncio.to_thread(
        subprocess.run, command, cwd=ROOT, capture_output=True, text=True, timeout=400, check=False
    )
    assert done.returncode == 0, done.stderr
    assert len([1 for _, _, args in _processes() if "VLLM::" in args]) == before
    with Reader(tmp_path / "out" / "ledger.sqlite") as ledger:
        (draws,) = next(ledger.rows("SELECT COUNT(*) FROM draw_text WHERE text <> ''", ()))
        settled = [row[0] for row in ledger.rows("SELECT DISTINCT state FROM attempt", ())]
    assert (draws, settled) == (24, ["settled"])
