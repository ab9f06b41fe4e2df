"""Datasets of many rows: seconds and peak memory of building one, with and without its checks.

A synthetic ledger of N correct draws, 50 to a problem, 60 words each, is written first and not counted. The
test set of the contamination check is the folder of real data's MATH test, where there is one, else synthetic.
CPU seconds are what to compare; wall seconds depend on who else is at work. `peak_mb` counts the pages of
mapped files, such as the Arrow file's, which the system may take back; `own_mb` are those it may not, looked at
ten times a second.

    python tests/bench/dataset.py [--rows 100000] [--only plain checked]
"""

import argparse
import contextlib
import hashlib
import json
import random
import re
import resource
import sqlite3
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from string import Template
from typing import Any

from toolkit import contamination, dataset, spec
from toolkit.contamination import Index, Question
from toolkit.ledger import Ledger, Reader
from toolkit.types import Problem

PER_PROBLEM = 50
WORDS = 60
BLOCK = 50_000
REAL = Path(__file__).parents[3] / "shared" / "data" / "math" / "test_even.jsonl"
PARTS = ("plain", "checked", "decontaminated", "contamination")
CHECKS = {"dedup": "normalised", "near_duplicates": 0.9, "per_problem": 10, "weighting": "problems"}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--only", nargs="*", choices=PARTS, default=PARTS)
    asked = parser.parse_args()
    rows = asked.rows
    with tempfile.TemporaryDirectory() as folder:
        problems = fill(Path(folder), rows)
        test = REAL if REAL.is_file() else synthetic_test(Path(folder))
        told: dict[str, Any] = {"rows": rows, "before_mb": peak_mb(), "test_set": test.name}
        settings: dict[str, dict[str, Any]] = {
            "plain": {},
            "checked": CHECKS,
            "decontaminated": {"decontaminate": [str(test)]},
        }
        for name in asked.only:
            if name in settings:
                told[name] = build(Path(folder), problems, settings[name])
            else:
                told[name] = check(Path(folder), problems, test)
    print(json.dumps(told))


def fill(folder: Path, rows: int) -> list[Problem]:
    """A ledger with one arm whose draws are all correct."""
    problems = [Problem(f"p{i}", f"What is {i} plus {i}?", str(2 * i)) for i in range(rows // PER_PROBLEM)]
    with Ledger(folder / "ledger.sqlite") as ledger:
        ledger.add_problems(problems)
        ledger.add_arm("arm", "model", "imported", {}, "sha")
    rng, words = random.Random(0), [f"word{i}" for i in range(2000)]
    with sqlite3.connect(folder / "ledger.sqlite") as db:
        for start in range(0, rows, BLOCK):
            block = range(start, min(start + BLOCK, rows))
            texts = [" ".join(rng.choices(words, k=WORDS)) for _ in block]
            db.executemany(
                "INSERT INTO attempt(id, arm, problem, purpose, first_index, n, state, created) "
                "VALUES (?,1,?,'sample',?,1,'settled',0)",
                [(k + 1, k // PER_PROBLEM + 1, k % PER_PROBLEM) for k in block],
            )
            db.executemany(
                "INSERT INTO draw(id, attempt, arm, problem, idx, finish) VALUES (?,?,1,?,?,'stop')",
                [(k + 1, k + 1, k // PER_PROBLEM + 1, k % PER_PROBLEM) for k in block],
            )
            db.executemany(
                "INSERT INTO draw_text(draw, text) VALUES (?,?)",
                [(k + 1, t) for k, t in zip(block, texts, strict=True)],
            )
            db.executemany(
                "INSERT INTO verdict(draw, verifier, version, outcome, norm_sha) VALUES (?,'math','1','correct',?)",
                [
                    (k + 1, hashlib.sha256(t.encode()).hexdigest()[:16])
                    for k, t in zip(block, texts, strict=True)
                ],
            )
    return problems


def synthetic_test(folder: Path) -> Path:
    rng = random.Random(1)
    rows = [" ".join(f"word{rng.randrange(2000)}" for _ in range(30)) for _ in range(2500)]
    (folder / "test.jsonl").write_text("".join(json.dumps({"question": r}) + "\n" for r in rows))
    return folder / "test.jsonl"


def build(folder: Path, problems: list[Problem], settings: dict[str, Any]) -> dict[str, Any]:
    with Reader(folder / "ledger.sqlite") as reader:
        known = {i: p for i, p in zip(reader.problem_ids(problems), problems, strict=True) if i is not None}
        material = dataset.Material(
            reader, known, Template("$question"), ("math", "1"), spec.Dataset.model_validate(settings)
        )
        wall, cpu = time.monotonic(), time.process_time()
        with watched() as own:
            (made,) = dataset.build(material, {"arm": [dataset.Drawn(1)]}, folder / "dataset", lambda _: {})
    seconds = {"cpu_s": round(time.process_time() - cpu, 1), "wall_s": round(time.monotonic() - wall, 1)}
    return {"settings": settings, "rows": made.rows, **seconds, "peak_mb": peak_mb(), "own_mb": max(own)}


def check(folder: Path, problems: list[Problem], test: Path) -> dict[str, Any]:
    """The contamination check alone, on texts in memory."""
    with Reader(folder / "ledger.sqlite") as reader:
        texts = [text for (text,) in reader.rows("SELECT text FROM draw_text")]
    with test.open() as lines:
        asked = [json.loads(line) for line in lines]
    questions = [Question(test.name, str(i), r.get("problem") or r["question"]) for i, r in enumerate(asked)]
    cpu = time.process_time()
    index = Index(questions, [p.question for p in problems])
    built = time.process_time() - cpu
    hits = sum(hit is not None for hit in index.check(texts))
    total = time.process_time() - cpu
    return {
        "n": contamination.N,
        "questions": len(questions),
        "index_cpu_s": round(built, 2),
        "cpu_s": round(total, 2),
        "texts_per_cpu_s": round(len(texts) / (total - built)),
        "hits": hits,
    }


@contextlib.contextmanager
def watched() -> Iterator[list[int]]:
    """Memory of this process that belongs to no file, in MB, as it was while the block ran."""
    seen, done = [own_mb()], threading.Event()

    def look() -> None:
        while not done.wait(0.1):
            seen.append(own_mb())

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield seen
    finally:
        done.set()
        watcher.join()


def own_mb() -> int:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(re.search(r"RssAnon:\s+(\d+)", status)[1]) // 1024  # type: ignore[index]


def peak_mb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


if __name__ == "__main__":
    main()
