"""The math verifier beside Math-Verify 0.9.0 and a string normaliser: what each gets right, and how fast.

    python tests/bench/verify.py [--data ../shared/data] [--pairs N] [--out disagreements.jsonl]

Accuracy on labelled pairs; speed on the replayed answers of six models to 2,500 MATH problems. The two graders
take turns on the same core, chunk by chunk, so that whatever else the machine does slows both. The last line is
one JSON object; every pair the two judge differently goes to `--out` with who is right, as read by hand
(`verify_reviewed.json`, by the hash of the pair) or "not reviewed".
"""

import argparse
import gzip
import hashlib
import json
import logging
import os
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from toolkit.answers import final_answer  # noqa: E402
from toolkit.types import Outcome  # noqa: E402
from toolkit.verifiers import math  # noqa: E402
from toolkit.verifiers.math import MathVerifier, quick  # noqa: E402
from toolkit.verifiers.reader import readings  # noqa: E402

CHUNK = 400  # pairs before the other grader's turn
REVIEWED = Path(__file__).with_name("verify_reviewed.json")
Pair = tuple[str, str]
Judge = Callable[[str, str], bool]

# Rows of the public suites that contradict each other or the stated policies; counted apart.
LEFT_OUT = {
    "u31 u32 u309 u310": "a line break inside $...$ or \\(...\\) is said to hide the answer, inside $$...$$ it is said not to",
    "u98 u100 u114 u115 u367 u369": "a chain that contradicts itself (7 = 11) is said to be right",
    "u35 u313": "the same: 1/2 = 10/9 is said to state 10/9",
    "u101 u370": "the same: 5+5+1 = 1/3",
    "u109": "the same: 1 = x = 0 is said to be the gold 0",
    "u133 u139 u391 u397": "a rounding to two digits is said to be exact (0.33 for 1/3, 2.6667 for 8/3)",
    "u186 u187": "one pair, labelled right and wrong by an option of the library",
    "u252 u253": "one pair, labelled right and wrong by an option of the library",
    "u263": "1 - 1/e and 1 + 1/e are said to be equal",
}


@dataclass
class Tally:
    """Seconds and verdicts of one grader on the replay."""

    seconds: float = 0.0
    each: list[float] = field(default_factory=list)
    verdicts: list[bool | None] = field(default_factory=list)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument(
        "--pairs", type=int, help="time about so many unique pairs, evenly spread (default: all)"
    )
    parser.add_argument("--out", type=Path, default=Path("verify_disagreements.jsonl"))
    asked = parser.parse_args()
    if not asked.data.is_dir():
        print(json.dumps({"skipped": f"no data at {asked.data}: give --data"}))
        return
    logging.disable(logging.CRITICAL)
    one_core()
    result: dict[str, Any] = {"math_verify": "0.9.0", "verifier": MathVerifier.version}
    with MathVerifier(timeout=20, workers=1) as ours:
        ours.check_many([("m!", "m!+0")])  # the process starts, and math-verify is imported, on nobody's time
        result |= labelled(asked.data, ours)
        result["unit_pairs"] = unit_pairs(asked.data, ours)
        result["gsm8k_labels_missed"] = gsm8k(asked.data, ours)
        result["math_golds_unequal_to_themselves"] = golds(asked.data, ours)
    result |= replay(asked.data, asked.pairs, asked.out)
    print(json.dumps(result))


def one_core() -> None:
    """Both graders and their processes on the same core."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def read(path: Path) -> list[dict[str, Any]]:
    text = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return [json.loads(line) for line in text.splitlines()]


# -- the other graders


def math_verify(gold: str, answer: str) -> bool:
    """As its users call it, with its own timeouts; what it raises is a no."""
    from math_verify import parse, verify

    try:
        return bool(verify(parse(gold), parse(answer)))
    except Exception:
        return False


def math_verify_boxed(gold: str, answer: str) -> bool:
    """For answers that were extracted: without a box or dollars it does not see them as mathematics."""
    return math_verify(rf"\boxed{{{gold}}}", rf"\boxed{{{answer}}}")


def string_equal(gold: str, answer: str) -> bool:
    """In the way of the MATH data set's own grader: strings after a normalisation of LaTeX's variants."""
    return _normal(gold) == _normal(answer)


def _normal(text: str) -> str:
    text = text.strip().strip("$").replace("\n", "").replace("\\!", "").replace("\\\\", "\\")
    text = text.replace("tfrac", "frac").replace("dfrac", "frac").replace("\\left", "").replace("\\right", "")
    text = (
        text.replace("^{\\circ}", "")
        .replace("^\\circ", "")
        .replace("\\$", "")
        .replace("\\%", "")
        .replace("%", "")
    )
    text = re.sub(r"\\text\{ .*$", "", text)
    text = re.sub(r"^0(?=\.)| (?=\.)", "", re.sub(r"^\.", "0.", text)) if text.startswith(".") else text
    text = text.split("=")[-1] if text.count("=") == 1 and len(text.split("=")[0].strip()) <= 2 else text
    text = re.sub(r"\\sqrt(\w)", r"\\sqrt{\1}", text).replace(" ", "")
    text = re.sub(r"\\frac(\d)(\d)", r"\\frac{\1}{\2}", text)
    text = r"\frac{1}{2}" if text == "0.5" else text
    return re.sub(r"^(\d+)/(\d+)$", r"\\frac{\1}{\2}", text)


# -- labelled pairs


def labelled(data: Path, ours: MathVerifier) -> dict[str, Any]:
    """Equal pairs rejected and unequal pairs accepted, by every grader."""
    made: dict[str, Any] = {"missed": {}, "wrongly_accepted": {}}
    for name in ("adjudicated", "hardverify"):
        rows = read(data / "equivalence" / f"{name}.jsonl")
        pairs = [(row["gold"], row["pred"]) for row in rows]
        verdicts = {
            "ours": [outcome is Outcome.CORRECT for outcome in ours.check_many(pairs)],
            "math_verify": [math_verify_boxed(*pair) for pair in pairs],
            "math_verify_whole_text": [math_verify(*pair) for pair in pairs],
            "string": [string_equal(*pair) for pair in pairs],
        }
        suffix = "" if name == "adjudicated" else f"_{name}"
        for kind, label in (("missed", True), ("wrongly_accepted", False)):
            made[kind + suffix] = {
                grader: sum(
                    row["label"] is label and found is not label
                    for row, found in zip(rows, said, strict=True)
                )
                for grader, said in verdicts.items()
            }
    return made


def unit_pairs(data: Path, ours: MathVerifier) -> dict[str, Any]:
    """Right verdicts per source, both graders given the whole texts."""
    rows = read(data / "equivalence" / "unit_pairs.jsonl")
    reasons = {name: why for names, why in LEFT_OUT.items() for name in names.split()}
    pairs = [(str(row["gold"]), str(row["pred"])) for row in rows]
    said = [outcome is Outcome.CORRECT for outcome in ours.check_many(pairs)]
    right: dict[str, Counter[str]] = {}
    for row, pair, found in zip(rows, pairs, said, strict=True):
        counted = right.setdefault(row["source"], Counter(rows=0, left_out=0, ours=0, math_verify=0))
        if row["id"] in reasons:
            counted["left_out"] += 1
            continue
        counted["rows"] += 1
        counted["ours"] += found == bool(row["expected"])
        counted["math_verify"] += math_verify(*pair) == bool(row["expected"])
    return {"sources": {source: dict(counted) for source, counted in right.items()}, "left_out": LEFT_OUT}


def gsm8k(data: Path, ours: MathVerifier) -> int:
    rows = read(data / "gsm8k" / "solutions_6b.jsonl")
    wrong = 0
    for model in ("6b_finetuning", "6b_verification"):
        golds = [final_answer(row["ground_truth"]) or "" for row in rows]
        verdicts = ours.judge([(gold, row[model]["solution"]) for gold, row in zip(golds, rows, strict=True)])
        wrong += sum(
            (verdict.outcome is Outcome.CORRECT) != row[model]["is_correct"]
            for verdict, row in zip(verdicts, rows, strict=True)
        )
    return wrong


def golds(data: Path, ours: MathVerifier) -> int:
    answers = [
        row["answer"] for name in ("train", "test_even") for row in read(data / "math" / f"{name}.jsonl")
    ]
    return sum(
        outcome is not Outcome.CORRECT for outcome in ours.check_many(zip(answers, answers, strict=True))
    )


# -- speed


def replay(data: Path, limit: int | None, out: Path) -> dict[str, Any]:
    instances = replayed(data)
    unique = list(dict.fromkeys(instances))
    unique = unique[:: max(1, len(unique) // limit)] if limit else unique
    ours, theirs = Tally(), Tally()
    forget()
    with MathVerifier(timeout=20, workers=1) as verifier:
        verifier.check_many([("m!", "m!+0")])
        for turn, chunk in enumerate(chunks(unique)):
            steps = [lambda c=chunk: ours_on(c, verifier, ours), lambda c=chunk: theirs_on(c, theirs)]
            for step in steps if turn % 2 == 0 else steps[::-1]:
                step()
    repeated = Counter(instances)
    told = {"unique": len(unique), "instances": sum(repeated[pair] for pair in unique)}
    every_time = sum(repeated[pair] * seconds for pair, seconds in zip(unique, theirs.each, strict=True))
    uncached, cached = ours_without_cache(instances if limit is None else unique), ours_with_cache(instances)
    count = len(instances) if limit is None else len(unique)
    return {
        "replay": told,
        "speed_ratio_cold": round(theirs.seconds / ours.seconds, 2),
        "pairs_per_second_cold": {
            "ours": round(len(unique) / ours.seconds),
            "math_verify": round(len(unique) / theirs.seconds),
        },
        "pairs_per_second_without_cache": {
            "ours": round(count / uncached),
            "math_verify": round(told["instances"] / every_time),
        },
        "pairs_per_second_with_cache": {"ours": round(len(instances) / cached)},
        "needed_algebra": sum(quick(*pair) is None for pair in unique),
        "outcomes": dict(Counter(str(v) for v in ours.verdicts)),
        "disagreements": disagreements(unique, ours, theirs, out),
    }


def replayed(data: Path) -> list[Pair]:
    """(gold, answer) of every response that states an answer, in order."""
    golds = {row["idx"]: row["answer"] for row in read(data / "math" / "test_even.jsonl")}
    found = (
        (golds[row["idx"]], final_answer(row["response"]))
        for row in read(data / "replay" / "math_test_even.jsonl.gz")
    )
    return [(gold, answer) for gold, answer in found if answer is not None]


def chunks(pairs: Sequence[Pair]) -> Iterable[Sequence[Pair]]:
    return (pairs[start : start + CHUNK] for start in range(0, len(pairs), CHUNK))


def ours_on(chunk: Sequence[Pair], verifier: MathVerifier, tally: Tally) -> None:
    start = time.perf_counter()
    outcomes = verifier.check_many(chunk)
    tally.seconds += time.perf_counter() - start
    tally.verdicts += [
        None if outcome in (Outcome.TIMEOUT, Outcome.ERROR) else outcome is Outcome.CORRECT
        for outcome in outcomes
    ]


def theirs_on(chunk: Sequence[Pair], tally: Tally) -> None:
    for pair in chunk:
        start = time.perf_counter()
        tally.verdicts.append(math_verify_boxed(*pair))
        tally.each.append(time.perf_counter() - start)
    tally.seconds = sum(tally.each)


def forget() -> None:
    for cache in (math._decide, math._read, math._stated, readings):
        cache.cache_clear()


def ours_without_cache(pairs: Sequence[Pair]) -> float:
    """Seconds for every answer on its own, as if no other had been seen."""
    with MathVerifier(timeout=20, workers=1) as verifier:
        verifier.check_many([("m!", "m!+0")])
        start = time.perf_counter()
        for pair in pairs:
            forget()
            verifier._known.clear()
            verifier.check_many([pair])
        return time.perf_counter() - start


def ours_with_cache(pairs: Sequence[Pair]) -> float:
    """Seconds for all answers in order, as a run's ledger holds them."""
    forget()
    with MathVerifier(timeout=20, workers=1) as verifier:
        verifier.check_many([("m!", "m!+0")])
        start = time.perf_counter()
        for chunk in chunks(pairs):
            verifier.check_many(chunk)
        return time.perf_counter() - start


def disagreements(unique: Sequence[Pair], ours: Tally, theirs: Tally, out: Path) -> dict[str, int]:
    """What the two judge differently, written to `out`, counted by who is right."""
    reviewed = json.loads(REVIEWED.read_text()) if REVIEWED.is_file() else {}
    counted: Counter[str] = Counter()
    with out.open("w", encoding="utf-8") as lines:
        for pair, mine, other in zip(unique, ours.verdicts, theirs.verdicts, strict=True):
            if mine == other:
                continue
            key = hashlib.sha256("\0".join(pair).encode()).hexdigest()[:12]
            right = reviewed.get(key, "not reviewed")
            counted[right] += 1
            row = {
                "id": key,
                "gold": pair[0],
                "answer": pair[1],
                "ours": mine,
                "math_verify": other,
                "right": right,
            }
            print(json.dumps(row, ensure_ascii=False), file=lines)
    return dict(counted)


if __name__ == "__main__":
    main()
