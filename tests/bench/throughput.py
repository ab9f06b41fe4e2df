"""How much a request costs us, beside a bare aiohttp loop, the openai SDK and other tools, in one run.

Ours is the whole of sampling: rendered requests, limits, a committed reservation before each request and
a committed settlement with the answer's text after it, one draw per request. The yardsticks send and count.

    python tests/bench/throughput.py --peers FOLDER   # of scripts that print {"samples_per_s", "cpu_ms_per_sample"}
    python tests/bench/throughput.py --peers FOLDER --curator PYTHON --litellm PYTHON --distilabel PYTHON

Prints medians over interleaved rounds and, last, one JSON line. A tool without an interpreter is null.
"""

import argparse
import asyncio
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from string import Template
from typing import Any

from providers.openai_compatible import OpenAICompatible
from toolkit import arms, sample
from toolkit.arms import Arm
from toolkit.ledger import Ledger
from toolkit.spec import Decoding, Limits, Model, Price
from toolkit.types import Problem
from toolkit.wire import Wire

PEER_OPTIONS = {"curator": ("--model", "gpt-4o-mini")}  # it crashes on a name it has no price for
HERE = Path(__file__).resolve()
TASK = Template("$question Think step by step and put the final answer in \\boxed{}.")


def cpu() -> float:
    me = resource.getrusage(resource.RUSAGE_SELF)
    return me.ru_utime + me.ru_stime


async def draw(url: str, requests: int, concurrency: int, directory: Path) -> int:
    """Sample one draw of each of `requests` problems through the real engine; how many came."""
    problems = [
        Problem(f"p{i}", f"Problem {i}: what is {i} * 7 + 3?", str(i * 7 + 3)) for i in range(requests)
    ]
    model = Model(
        provider="openai_compatible",
        model="mock",
        base_url=url,
        limits=Limits(concurrency=concurrency),
        price=Price(input=1, output=1),
    )
    arm = Arm("mock", model, Decoding(temperature=1.0, max_tokens=512), TASK)
    provider = OpenAICompatible(url, "sk-local")
    with Ledger(directory / "ledger.sqlite", cap_pico=10**15) as ledger:
        ids = ledger.add_problems(problems)
        async with Wire() as wire:
            stream = arms.stream(
                arm,
                ledger,
                problems,
                sample.asker(provider, wire.send),
                provider.capabilities("mock"),
                k=1,
                n=1,
            )
            await sample.run([stream], ids, ledger, keys=[p.id for p in problems])
        return ledger.count_draws()


def ours(url: str, requests: int, concurrency: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        started, used = time.perf_counter(), cpu()
        came = asyncio.run(draw(url, requests, concurrency, Path(folder)))
        wall, used = time.perf_counter() - started, cpu() - used
    print(
        json.dumps(
            {
                "samples_ok": came,
                "samples_per_s": came / wall,
                "cpu_ms_per_sample": 1000 * used / came,
                "max_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            }
        )
    )


def run(command: list[str], timeout: float = 600) -> dict[str, Any] | None:
    """The last JSON line a program prints, or None where it fails."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=timeout, check=True, env=_environment(command[0])
        )
        return dict(json.loads(done.stdout.strip().splitlines()[-1]))
    except (OSError, subprocess.SubprocessError, ValueError, IndexError) as error:
        print(f"{command[1:3]}: {error}", file=sys.stderr)
        return None


def _environment(python: str) -> dict[str, str]:
    """What the peers need to run without a network: litellm's own tables, and no telemetry."""
    tables = sorted(
        Path(python).parent.parent.glob("lib/python*/site-packages/litellm/litellm_core_utils/tokenizers")
    )
    offline = {"TIKTOKEN_CACHE_DIR": str(tables[0])} if tables else {}
    return os.environ | {"TELEMETRY_ENABLED": "false", "LITELLM_LOCAL_MODEL_COST_MAP": "True"} | offline


def contestants(args: argparse.Namespace, url: str) -> dict[str, list[str]]:
    load = ["--base-url", url, "--n-prompts", str(args.requests), "--concurrency", str(args.concurrency)]
    raw = [args.python, str(args.peers / "raw_openai_bench.py"), *load, "--transport"]
    found = {
        "ours": [
            sys.executable,
            str(HERE),
            "--child",
            url,
            "--requests",
            str(args.requests),
            "--concurrency",
            str(args.concurrency),
        ],
        "aiohttp": [*raw, "aiohttp"],
        "openai_sdk": [*raw, "openai-httpx"],
    }
    for name in ("curator", "litellm", "distilabel"):
        if python := getattr(args, name):
            found[name] = [python, str(args.peers / f"{name}_bench.py"), *load, *PEER_OPTIONS.get(name, ())]
    return found


def compare(args: argparse.Namespace) -> dict[str, Any]:
    command = [
        sys.executable,
        str(args.peers / "mock_server.py"),
        "--port",
        str(args.port),
        "--latency",
        str(args.latency),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        server.stdout.readline()
        try:
            programs = contestants(args, f"http://127.0.0.1:{args.port}/v1")
            rounds: dict[str, list[dict[str, Any]]] = {name: [] for name in programs}
            for number in range(args.rounds):
                for name, program in programs.items():
                    if (name in ("ours", "aiohttp") or number < args.slow_rounds) and (got := run(program)):
                        rounds[name].append(got)
        finally:
            server.terminate()
    return summary(rounds)


def summary(rounds: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    def median(name: str, key: str) -> float | None:
        values = [r[key] for r in rounds.get(name, ()) if r.get(key)]
        return statistics.median(values) if values else None

    def ratio(a: float | None, b: float | None) -> float | None:
        return None if a is None or b is None else round(a / b, 3)

    pairs = [
        a["cpu_ms_per_sample"] / b["cpu_ms_per_sample"]
        for a, b in zip(rounds["ours"], rounds["aiohttp"], strict=False)
    ]
    rps = median("ours", "samples_per_s")
    table = {
        name: {
            "samples_per_s": median(name, "samples_per_s"),
            "cpu_ms_per_sample": median(name, "cpu_ms_per_sample"),
            "max_rss_mb": median(name, "max_rss_mb"),
        }
        for name in rounds
    }
    for name, row in table.items():
        print(f"{name:12s}", {k: None if v is None else round(v, 3) for k, v in row.items()})
    return {
        "cpu_ratio_to_aiohttp": round(statistics.median(pairs), 3) if pairs else None,
        "cpu_ratio_pairs": [round(p, 3) for p in pairs],
        "rps_ratio_to_openai_sdk": ratio(rps, median("openai_sdk", "samples_per_s")),
        "rps_ratio_to_curator": ratio(rps, median("curator", "samples_per_s")),
        "rps_ratio_to_litellm": ratio(rps, median("litellm", "samples_per_s")),
        "rps_ratio_to_distilabel": ratio(rps, median("distilabel", "samples_per_s")),
        "medians": table,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peers", type=Path, default=HERE.parents[2].parent / "shared" / "bench_peers")
    parser.add_argument("--python", default=sys.executable, help="interpreter with openai and aiohttp")
    parser.add_argument("--curator", help="interpreter with bespokelabs-curator")
    parser.add_argument("--litellm", help="interpreter with litellm")
    parser.add_argument("--distilabel", help="interpreter with distilabel")
    parser.add_argument("--requests", type=int, default=4000)
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--latency", type=float, default=0.05)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--slow-rounds", type=int, default=1, help="rounds of everything but ours and aiohttp"
    )
    parser.add_argument("--port", type=int, default=8189)
    parser.add_argument("--child", metavar="URL", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        ours(args.child, args.requests, args.concurrency)
        return
    if not args.peers.is_dir():
        sys.exit(
            f"{args.peers}: not there: give --peers a folder with mock_server.py and raw_openai_bench.py"
        )
    print(json.dumps(compare(args)))


if __name__ == "__main__":
    main()
