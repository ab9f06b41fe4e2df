"""Code verdicts: reference solutions that pass, attempts and cheats that fail, programs per second.

    python tests/bench/sandbox.py                 # needs bubblewrap and the real data in ../shared/data
    python tests/bench/sandbox.py --limit 50      # of each benchmark

Speed is measured on HumanEval's reference solutions: in the sandbox, unprotected, and, as a yardstick, each
in a bare `python3 -c` with its tests behind it, which protects nothing. Prints one JSON line last.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "tests" / "verifiers"))

from sandbox_probes import CHEATS, FOILED  # noqa: E402

from toolkit import problems  # noqa: E402
from toolkit.programs import Suite  # noqa: E402
from toolkit.spec import Problems  # noqa: E402
from toolkit.types import Outcome, Problem  # noqa: E402
from toolkit.verifiers.code import CodeVerifier  # noqa: E402

DATA = ROOT.parent / "shared" / "data"
BENCHMARKS = {"humaneval": "humaneval/HumanEval.jsonl.gz", "mbpp": "mbpp/mbpp.jsonl"}
PROBED = Suite("assert probe() is True\n", ("probe",)).as_gold()
SQUARE = Suite("assert f(3) == 9\nassert f(0) == 0\n", ("f",)).as_gold()


def reference(verifier: CodeVerifier, rows: Sequence[Problem]) -> dict[str, Any]:
    """How many reference solutions are correct, and which are not."""
    verdicts = verifier.judge([(str(row.answer), str(row.solution)) for row in rows])
    failed = {
        row.id: v.outcome for row, v in zip(rows, verdicts, strict=True) if v.outcome != Outcome.CORRECT
    }
    return {"correct": len(rows) - len(failed), "of": len(rows), "others": failed}


def attempts(verifier: CodeVerifier) -> dict[str, Any]:
    """What hostile programs achieved: nothing, where the lists are empty."""
    os.environ["PRICEMATCH_BENCH_KEY"] = marker = "a-key-of-the-caller"
    with socket.create_server(("127.0.0.1", 0)) as server:
        given = {"host": str(ROOT), "port": server.getsockname()[1], "marker": marker}
        foiled = verifier.judge([(PROBED, program.format(**given)) for program in FOILED.values()])
    cheated = verifier.judge([(SQUARE, program) for program in CHEATS.values()])
    return {
        "attempts": len(FOILED),
        "attempts_not_foiled": [n for n, v in zip(FOILED, foiled, strict=True) if v.outcome != "correct"],
        "cheats": len(CHEATS),
        "cheats_called_correct": [n for n, v in zip(CHEATS, cheated, strict=True) if v.outcome == "correct"],
    }


def speed(rows: Sequence[Problem], workers: int) -> dict[str, float]:
    """Programs per second of the wall clock."""
    draws = [(str(row.answer), str(row.solution)) for row in rows]
    seconds = {}
    for name in ("sandbox", "unsafe"):
        with CodeVerifier(workers=workers, unsafe=name == "unsafe") as verifier:
            began = time.perf_counter()
            verifier.judge(draws)
            seconds[name] = time.perf_counter() - began
    with ThreadPoolExecutor(workers) as pool:
        began = time.perf_counter()
        list(pool.map(lambda draw: _bare(*draw), draws))
        seconds["bare_python"] = time.perf_counter() - began
    return {name: round(len(draws) / taken, 1) for name, taken in seconds.items()}


def _bare(gold: str, text: str) -> None:
    subprocess.run(
        ["/usr/bin/python3", "-I", "-c", f"{text}\n{Suite.parse(gold).source}"], check=True, env={}
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--limit", type=int, help="problems of each benchmark")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--timeout", type=float, default=10.0)
    given = parser.parse_args()
    rows = {
        name: problems.load(Problems(source=str(DATA / path), limit=given.limit)).problems
        for name, path in BENCHMARKS.items()
    }
    with CodeVerifier(timeout=given.timeout, workers=given.workers) as verifier:
        result: dict[str, Any] = {name: reference(verifier, some) for name, some in rows.items()}
        result |= attempts(verifier)
    result["programs_per_s"] = speed(rows["humaneval"], given.workers)
    result |= {"workers": given.workers, "timeout_s": given.timeout, "load": os.getloadavg()[0]}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
