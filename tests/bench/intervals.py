"""How often a 95 % interval of coverage holds the truth, by simulation.

    python tests/bench/intervals.py [--repeats 4000] [--seed 0]

Worlds of n problems with known truth: one draw each (coverage is a plain proportion), and several draws of
problems with Beta abilities, where coverage at k is the mean of values between 0 and 1. Beside the score
interval that metrics.json reports stand the percentile bootstrap and the normal interval on the same
worlds. Of a plain proportion the coverage is also computed, as the sum of the binomial chances of all counts
whose interval holds the truth: it has no noise, and stands as `exact`. Paired differences between two arms of
correlated ability are held to the same. The target is 93 to 97 % in every row. The last line printed is one
JSON object.
"""

import argparse
import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from toolkit.estimators import (
    Z95,
    bounded_mean,
    coverage,
    interval,
    paired_difference,
    resampled_means,
    score_interval,
)

SIZES = (200, 7500)
COVERAGES = (0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.95, 0.97)
DRAWS = ((1, 1), (4, 1), (10, 3), (30, 10), (30, 30))  # M, k
SPREAD = 1.0  # a + b of the Beta abilities: most problems are nearly always or hardly ever solved
BOOTSTRAPS = 200  # worlds on which the bootstrap is tried beside the others: it is slow
RESAMPLES = 1000
World = Callable[[np.random.Generator, int], Any]


def coverage_of(mean: float, k: int) -> float:
    """E[1 - (1-p)^k] for p of Beta(mean, 1 - mean) abilities."""
    a, b = SPREAD * mean, SPREAD * (1 - mean)
    return 1 - math.prod((b + i) / (a + b + i) for i in range(k))


def mean_for(target: float, k: int) -> float:
    """The mean ability at which coverage at k is the target."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if coverage_of(middle, k) < target else (low, middle)
    return (low + high) / 2


def world(target: float, draws: int, k: int) -> World:
    """Per-problem values of a world: how many problems have c correct draws is one multinomial draw."""
    if draws == 1:
        chances = np.array([1 - target, target])
    else:
        mean = mean_for(target, k)
        chances = np.array(
            [beta_binomial(c, draws, SPREAD * mean, SPREAD * (1 - mean)) for c in range(draws + 1)]
        )
    table = coverage(np.full(draws + 1, draws), np.arange(draws + 1), k)

    def values(rng: np.random.Generator, n: int) -> Any:
        return np.repeat(table, rng.multinomial(n, chances / chances.sum()))

    return values


def beta_binomial(c: int, draws: int, a: float, b: float) -> float:
    """The chance of c correct draws of a problem whose ability is Beta(a, b)."""
    logs = math.lgamma(c + a) + math.lgamma(draws - c + b) - math.lgamma(draws + a + b)
    return math.comb(draws, c) * math.exp(logs + math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b))


def one(
    rng: np.random.Generator, n: int, target: float, shape: tuple[int, int], repeats: int
) -> dict[str, Any]:
    made = world(target, *shape)
    held = dict.fromkeys(("score", "normal", "bootstrap"), 0)
    for repeat in range(repeats):
        values = made(rng, n)
        got = bounded_mean(values)
        half = Z95 * float(values.std(ddof=1)) / math.sqrt(n)
        held["score"] += got.low <= target <= got.high
        held["normal"] += abs(got.value - target) <= half
        if repeat < min(BOOTSTRAPS, repeats) and n == min(SIZES):
            low, high = interval(resampled_means(values[:, None], RESAMPLES, repeat)[:, 0])
            held["bootstrap"] += low <= target <= high
    row: dict[str, Any] = {"n": n, "p": target, "draws": shape[0], "k": shape[1]}
    row |= {name: round(held[name] / repeats, 4) for name in ("score", "normal")}
    row["exact"] = round(exact(n, target), 4) if shape == (1, 1) else None
    row["bootstrap"] = round(held["bootstrap"] / min(BOOTSTRAPS, repeats), 3) if n == min(SIZES) else None
    return row


def exact(n: int, p: float) -> float:
    """The chance that the interval of a count out of n holds p."""
    held = 0.0
    for c in range(n + 1):
        log = math.lgamma(n + 1) - math.lgamma(c + 1) - math.lgamma(n - c + 1)
        bound = score_interval(c / n, n)
        if bound.low <= p <= bound.high:
            held += math.exp(log + c * math.log(p) + (n - c) * math.log(1 - p))
    return held


def paired(rng: np.random.Generator, n: int, target: float, repeats: int) -> dict[str, Any]:
    """Two arms of one draw on the same problems, 3 points apart, abilities shared."""
    other, held = target - 0.03, 0
    for repeat in range(repeats):
        luck = rng.random(n)
        again = np.where(rng.random(n) < 0.7, luck, rng.random(n))  # most problems are as hard for both
        got = paired_difference(
            (luck < target).astype(float), (again < other).astype(float), resamples=400, seed=repeat
        )
        held += got.low <= 0.03 <= got.high
    return {"n": n, "p": target, "paired": round(held / repeats, 4)}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rng = np.random.default_rng(args.seed)
    rows = []
    for n in SIZES:
        for shape in DRAWS:
            for target in COVERAGES:
                rows.append(one(rng, n, target, shape, args.repeats))
                print(rows[-1], flush=True)
    differences = [paired(rng, 200, p, args.repeats) for p in COVERAGES]
    for row in differences:
        print(row, flush=True)
    score = [row["score"] for row in rows]
    proportions = [row["exact"] for row in rows if row["exact"] is not None]
    print(
        json.dumps(
            {
                "repeats": args.repeats,
                "rows": len(rows),
                "outside": [row for row in rows if not 0.93 <= (row["exact"] or row["score"]) <= 0.97],
                "outside_with_noise": [row for row in rows if not 0.93 <= row["score"] <= 0.97],
                "score": {
                    "lowest": min(score),
                    "highest": max(score),
                    "mean": round(float(np.mean(score)), 4),
                },
                "proportions_exact": {"lowest": min(proportions), "highest": max(proportions)},
                "normal_lowest": min(row["normal"] for row in rows),
                "bootstrap_lowest": min(row["bootstrap"] for row in rows if row["bootstrap"] is not None),
                "paired": {
                    "lowest": min(row["paired"] for row in differences),
                    "highest": max(row["paired"] for row in differences),
                },
            }
        )
    )


if __name__ == "__main__":
    main()
