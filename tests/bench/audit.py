"""Simulated audits with known truth and an imperfect judge: bias and interval coverage of the false positive rate.

    python tests/bench/audit.py [--repeats 2000] [--seed 0]

Each audit has its own solutions: problems on five levels, easy ones with many correct draws, more flaws on
the hard levels. People label a stratified sample without error; the judge labels more draws with a given
sensitivity and specificity. What is estimated is the share of flawed ones among all retained solutions.
Beside our estimates stand plain counting in a sample that draws solutions alike, and the judge at its word.
The last line printed is one JSON object.
"""

import argparse
import json
import math
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolkit.audit import Key, conclude
from toolkit.audit.sample import Solved, draw_sample
from toolkit.estimators import wilson
from toolkit.false_positives import difference

FLAWS = (0.4, 0.7, 1.0, 1.4, 2.0)  # flawed solutions of a level, relative to the arm's rate
SOLVED = (120, 110, 90, 70, 40)  # solved problems of each level
EASE = (20.0, 14.0, 9.0, 5.0, 2.0)  # correct draws of a solved problem, on average
CASES = ((50, 0, 0.24), (100, 0, 0.1), (200, 0, 0.035), (100, 500, 0.1), (200, 500, 0.2), (200, 500, 0.05))
JUDGES = ((0.8, 0.9), (0.6, 0.97))


@dataclass(frozen=True, slots=True)
class World:
    """One arm's retained solutions."""

    levels: dict[str, list[Solved]]
    flawed: NDArray[np.bool_]  # of each draw, the truth

    @property
    def truth(self) -> float:
        return float(self.flawed.mean())


def make(rng: np.random.Generator, rate: float) -> World:
    """Problems differ in how prone to flaws their solutions are, so draws of one problem go together."""
    mean = np.repeat(np.minimum(rate * np.array(FLAWS), 0.95), SOLVED)
    prone = rng.beta(2 * mean, 2 * (1 - mean))
    have = 1 + rng.poisson(np.repeat(np.array(EASE) - 1, SOLVED))
    ends = np.cumsum(have)
    solved = [Solved(i, range(end - n, end)) for i, (n, end) in enumerate(zip(have, ends, strict=True))]
    edges = np.cumsum([0, *SOLVED])
    levels = {f"level {i + 1}": solved[a:b] for i, (a, b) in enumerate(pairwise(edges))}
    return World(levels, rng.random(ends[-1]) < np.repeat(prone, have))


def audit(
    rng: np.random.Generator, world: World, people: int, judged: int, skill: tuple[float, float]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """One audit: the arm's conclusion, and what simpler ways would have said."""
    key = Key(("math", "bench"), 0, *draw_sample({"arm": world.levels}, max(people, judged), rng))
    drawn = [i.draw for i in key.items]
    looked = rng.choice(drawn, size=min(people, len(drawn)), replace=False)
    human = {int(d): not world.flawed[d] for d in looked}
    judge = {}
    if judged:
        called = np.where(world.flawed[drawn], skill[0], 1 - skill[1])  # chance to be called flawed
        judge = dict(zip(drawn, (rng.random(len(drawn)) >= called).tolist(), strict=True))
    arm = conclude(key, human, judge)["models"]["arm"]
    alike = rng.choice(len(world.flawed), size=people, replace=False)
    plain = wilson(int(world.flawed[alike].sum()), people)
    return arm, {"plain": plain.as_json(), "judge": arm["judge"]["rate"]}


def case(
    rng: np.random.Generator, people: int, judged: int, rate: float, skill: tuple[float, float], repeats: int
) -> dict[str, Any]:
    errors: dict[str, list[float]] = {"ours": [], "corrected": [], "human": [], "plain": [], "judge": []}
    held = dict.fromkeys(errors, 0)
    width: dict[str, list[float]] = {name: [] for name in errors}
    truths, undefined = [], 0
    for _ in range(repeats):
        world = make(rng, rate)
        arm, others = audit(rng, world, people, judged, skill)
        found = {"ours": arm["false_positive_rate"], "human": arm["human"]["rate"]} | others
        found["corrected"] = arm["judge"]["corrected"]
        truth = world.truth
        truths.append(truth)
        undefined += judged > 0 and arm["judge"]["corrected"] is None
        for name, x in found.items():
            width[name].append(np.nan if x is None else x["high"] - x["low"])
        for name, x in found.items():
            if x is not None:
                errors[name].append(x["value"] - truth)
                held[name] += x["low"] <= truth <= x["high"]
    row: dict[str, Any] = {"people": people, "judged": judged, "rate": round(float(np.mean(truths)), 4)}
    if judged:
        row |= {
            "sensitivity": skill[0],
            "specificity": skill[1],
            "not_corrected": round(undefined / repeats, 4),
        }
    for name in errors:
        if errors[name]:
            of = np.array(errors[name])
            row[name] = {
                "bias": round(float(of.mean()), 4),
                "bias_error": round(float(of.std()) / math.sqrt(len(of)), 4),
                "coverage": round(held[name] / len(of), 4),
                "width": round(float(np.nanmean(width[name])), 3),
            }
    return row


def two_models(
    rng: np.random.Generator, labels: int, rates: tuple[float, float], repeats: int
) -> dict[str, Any]:
    """How often a difference is said to be there."""
    shown = 0
    for _ in range(repeats):
        a, b = (wilson(int(rng.binomial(labels, rate)), labels) for rate in rates)
        shown += difference(a, b, labels).shown
    return {"labels": labels, "rates": rates, "shown": round(shown / repeats, 4)}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rng = np.random.default_rng(args.seed)
    rows = []
    for people, judged, rate in CASES:
        for skill in JUDGES if judged else JUDGES[:1]:
            rows.append(case(rng, people, judged, rate, skill, args.repeats))
            print(rows[-1], flush=True)
    paper = difference(wilson(12, 50), wilson(8.5, 50), 50)
    pairs = [(50, (0.24, 0.17)), (50, (0.2, 0.2)), (paper.needed or 0, (0.24, 0.17)), (500, (0.243, 0.185))]
    differences = [two_models(rng, labels, rates, args.repeats) for labels, rates in pairs]
    print(
        json.dumps(
            {
                "repeats": args.repeats,
                "audits": rows,
                "coverage_lowest": min(row["ours"]["coverage"] for row in rows),
                "coverage_highest": max(row["ours"]["coverage"] for row in rows),
                "largest_bias": max((row["ours"]["bias"] for row in rows), key=abs),
                "17_vs_24_at_50": {"shown": paper.shown, "needed": paper.needed},
                "differences": differences,
                "processbench": processbench(),
            }
        )
    )


def processbench() -> dict[str, Any] | None:
    """The human labels of ProcessBench's GSM8K part as one audit of all its right answers; None where absent."""
    path = Path(__file__).resolve().parents[3] / "shared/data/false_positives/processbench_gsm8k.json"
    if not path.is_file():
        return None
    rows = [r for r in json.loads(path.read_text()) if r["final_answer_correct"]]
    solved: dict[str, list[int]] = {}
    for draw, r in enumerate(rows):
        solved.setdefault(r["problem"], []).append(draw)
    levels = {"all": [Solved(i, draws) for i, draws in enumerate(solved.values())]}
    key = Key(
        ("human", "processbench"), 0, *draw_sample({"all": levels}, len(rows), np.random.default_rng(0))
    )
    got = conclude(key, {draw: r["label"] == -1 for draw, r in enumerate(rows)})["models"]["all"]
    return got["human"] | {"false_positive_rate": got["false_positive_rate"]}


if __name__ == "__main__":
    main()
