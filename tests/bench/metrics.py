"""Metrics of many draws: seconds and peak memory of `metrics.measure`, beside the straightforward loop.

    python tests/bench/metrics.py [--problems 10000] [--draws 500] [--keep LEDGER]

A ledger of two arms with problems x draws synthetic draws each (10,000,000 by default) is written with its
verdicts; normal forms are computed when draws are verified, so they are there. The loop is what one would
write first: for each problem one query, then numpy over its rows. It makes coverage and the three levels of
diversity at the same k and no intervals; `measure` makes everything that stands in metrics.json. Each runs
in a process of its own. The last line printed is one JSON object.
"""

import argparse
import contextlib
import json
import os
import re
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from toolkit import metrics
from toolkit.gpu import Flops
from toolkit.ledger import Ledger, Reader

VERIFIER = ("math", "bench")
ARMS = {
    "cheap": (0.302, 0.832),
    "strong": (0.318, 0.659),
}  # Beta abilities fitted to the paper's pass@k curves
SHAS = ("exact_sha", "norm_sha", "equations_sha")
Row = tuple[Any, ...]


def build(path: Path, problems: int, draws: int) -> None:
    """A ledger as sampling leaves it: draw-index-major over problems, arms in turn."""
    Ledger(path).close()
    rng = np.random.default_rng(0)
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        db.execute("PRAGMA synchronous=OFF")
        db.execute("PRAGMA cache_size=-2000000")
        numbers = range(1, problems + 1)
        db.executemany(
            "INSERT INTO problem VALUES (?,?,?,?,?)",
            ((i, f"p{i}", f"{i:016x}", f"Level {i % 5 + 1}", f"subject {i % 7}") for i in numbers),
        )
        for arm, name in enumerate(ARMS, 1):
            db.execute("INSERT INTO arm VALUES (?,?,'m','p','{}',?)", (arm, name, name))
            db.executemany(
                "INSERT INTO attempt(arm, problem, purpose, first_index, n, state, cost_pico, prompt, cached, "
                "output, thinking, created) VALUES (?,?,'sample',0,?,'settled',?,100,0,?,0,0)",
                ((arm, i, draws, 10**6 * draws * arm, 200 * draws) for i in numbers),
            )
        ability = [rng.beta(a, b, problems) for a, b in ARMS.values()]
        for idx in range(draws):
            for arm in range(len(ARMS)):
                first = (idx * len(ARMS) + arm) * problems + 1
                right = rng.random(problems) < ability[arm]
                rows = list(_rows(rng, first, right))
                db.executemany(
                    "INSERT INTO draw VALUES (?,1,?,?,?,'stop')",
                    ((first + i, arm + 1, i + 1, idx) for i in range(problems)),
                )
                db.executemany("INSERT INTO verdict VALUES (?,'math','bench',?,?,?,?,?,?)", rows)


def _rows(rng: np.random.Generator, first: int, right: Any) -> Iterator[Row]:
    """Verdicts of one draw of every problem; few solutions are common and many are rare."""
    variants = np.minimum(rng.zipf(1.4, len(right)), 10**6).tolist()
    for i, (correct, variant) in enumerate(zip(right.tolist(), variants, strict=True)):
        seed = (i * 1_000_003 + variant) if correct else -(first + i)
        norm = f"{seed * 0x9E3779B97F4A7C15 % 2**64:016x}"
        outcome = "correct" if correct else "incorrect"
        yield first + i, str(i % 50), outcome, str(i % 50), norm, norm[::-1], norm


def ours(path: Path, problems: int, draws: int) -> dict[str, Any]:
    arms = {name: [metrics.Part(arm, draws, Flops(9))] for arm, name in enumerate(ARMS, 1)}
    with Reader(path) as reader:
        return metrics.measure(
            reader, arms, range(1, problems + 1), ks=(), verifier=VERIFIER, resamples=1000, seed=0
        )


def loop(path: Path, problems: int, draws: int) -> dict[str, Any]:
    """Per problem one query and numpy over its rows."""
    ks = sorted({2**i for i in range(draws.bit_length())} | {draws})
    models: dict[str, Any] = {}
    with contextlib.closing(sqlite3.connect(path)) as db:
        for arm, name in enumerate(ARMS, 1):
            sums = {k: np.zeros(4) for k in ks}
            for problem in range(1, problems + 1):
                rows = db.execute(
                    f"SELECT v.outcome, {', '.join(f'v.{sha}' for sha in SHAS)} FROM draw d JOIN verdict v ON v.draw=d.id "
                    "AND v.verifier=? AND v.version=? WHERE d.arm=? AND d.problem=?",
                    (*VERIFIER, arm, problem),
                ).fetchall()
                table = np.array(rows)
                right = table[table[:, 0] == "correct"]
                levels = [np.unique(right[:, 1 + i], return_counts=True)[1] for i in range(3)]
                for k in ks:
                    covered = _chance(len(table), np.array([len(right)]), k).sum()
                    sums[k] += [covered, *(_chance(len(table), times, k).sum() for times in levels)]
            models[name] = {
                "coverage": {str(k): sums[k][0] / problems for k in ks},
                "exact": {str(k): sums[k][1] / problems for k in ks},
                "unique": {str(k): sums[k][2] / problems for k in ks},
            }
    return {"models": models}


def _chance(n: int, marked: Any, k: int) -> Any:
    """1 - C(n-c, k) / C(n, k) for the numbers c in `marked`, by the ratio of neighbours."""
    c = np.arange(n)
    missed = np.concatenate(([1.0], np.cumprod(np.maximum(n - k - c, 0) / (n - c))))
    return 1.0 - missed[marked]


def agree(a: dict[str, Any], b: dict[str, Any]) -> float:
    """The largest difference between our values and the loop's."""
    worst = 0.0
    for name, theirs in b["models"].items():
        mine = a["models"][name]
        for k, value in theirs["coverage"].items():
            worst = max(worst, abs(mine["coverage"][k]["value"] - value))
        for level in ("exact", "unique"):
            for k, value in theirs[level].items():
                worst = max(worst, abs(mine["diversity"][k][f"{level}_per_problem"]["value"] - value))
    return worst


def apart(what: str, path: Path, args: argparse.Namespace) -> dict[str, Any]:
    """One way of measuring in a process of its own: result, seconds, peak memory."""
    command = [sys.executable, __file__, "--only", what, "--keep", str(path)]
    command += ["--problems", str(args.problems), "--draws", str(args.draws)]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print({"what": what} | {k: v for k, v in result.items() if k != "result"}, flush=True)
    return result


def only(what: str, path: Path, args: argparse.Namespace) -> dict[str, Any]:
    started, used = time.perf_counter(), time.process_time()
    result = (ours if what == "ours" else loop)(path, args.problems, args.draws)
    return {
        "result": result,
        "seconds": round(time.perf_counter() - started, 2),
        "cpu_seconds": round(time.process_time() - used, 2),
        "peak_mb": _peak_mb(),
    }


def _peak_mb() -> int:
    """Of this program alone: getrusage also knows the peak of what started it."""
    (kilobytes,) = re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return round(int(kilobytes) / 1024)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--problems", type=int, default=10_000)
    parser.add_argument("--draws", type=int, default=500, help="per problem and arm")
    parser.add_argument("--keep", type=Path, help="the ledger: made if absent, and kept")
    parser.add_argument("--only", choices=("ours", "loop"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.only:
        print(json.dumps(only(args.only, args.keep, args)))
        return
    with tempfile.TemporaryDirectory() as folder:
        path = args.keep or Path(folder) / "ledger.sqlite"
        if not path.is_file():
            build(path, args.problems, args.draws)
        mine, theirs = apart("ours", path, args), apart("loop", path, args)
        size = path.stat().st_size
    difference = agree(mine.pop("result"), theirs.pop("result"))
    print(
        json.dumps(
            {
                "draws": args.problems * args.draws * len(ARMS),
                "ledger_mb": size // 10**6,
                "measure": mine,
                "loop": theirs,
                "speedup_cpu": round(theirs["cpu_seconds"] / mine["cpu_seconds"], 1),
                "speedup_wall": round(theirs["seconds"] / mine["seconds"], 1),
                "largest_difference": difference,
            }
        )
    )


if __name__ == "__main__":
    main()
