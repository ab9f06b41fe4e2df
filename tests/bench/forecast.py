"""Forecasts of coverage from a small pilot against known truths and against held-out real answers.

    python tests/bench/forecast.py [--worlds 400] [--pilot 200] [--draws 4] [--k 32]

Simulated worlds, most of them not Beta; beside the forecast stand a single Beta fitted by likelihood and two
yardsticks: per-problem rates plugged in, and the power law of "Large Language Monkeys" (arXiv 2407.21787,
log coverage = a k^b) fitted to the pilot's unbiased coverage. Also the ratios of the paper's prices, the
break-even ratios of its fitted curves, and calibration on real answers where ../shared/data is there. The
last line printed is one JSON object.
"""

import argparse
import gzip
import json
import re
import time
from collections import defaultdict
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from simulated_worlds import KINDS, Floats, Ints, abilities

from toolkit import estimators, forecast
from toolkit.forecast import Beta

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
PAPER = {  # Beta fits of the pass@k curves of arXiv 2408.16737, Fig. 14: weak, strong, expected ratios
    "math": (Beta(0.302, 0.832), Beta(0.318, 0.659), {1: 1.49, 10: 1.65, 100: 1.86}),
    "gsm8k": (Beta(0.847, 0.435), Beta(0.893, 0.272), {1: 1.76, 10: 1.95, 100: 2.21}),
}
FIRST_SEED = 10_000
SET = 20_000  # problems that stand for an endless set


# -- yardsticks


def plug_in(draws: Ints, correct: Ints, k: int) -> float:
    return float(np.mean(1 - (1 - correct / draws) ** k))


def power_law(draws: Ints, correct: Ints, k: int) -> float:
    """log coverage = a k^b, a < 0, b <= 0, least squares in the log over the pilot's k."""
    seen = np.arange(1, int(draws.min()) + 1)
    cover = np.array([estimators.coverage(draws, correct, int(i)).mean() for i in seen])
    if cover[0] == 0 or cover[-1] == 1:
        return float(cover[-1])
    target = np.log(cover)
    best = (np.inf, 0.0)
    for b in np.linspace(-3, 0, 301):
        basis = seen**b
        a = min(0.0, float(basis @ target / (basis @ basis)))
        error = float(((a * basis - target) ** 2).sum())
        best = min(best, (error, float(np.exp(a * k**b))))
    return best[1]


def single_beta(draws: Ints, correct: Ints, k: int) -> float:
    """Beta-binomial by maximum likelihood over a grid of mean and a + b."""
    mean, size = np.meshgrid(np.linspace(0.005, 0.995, 100), np.exp(np.linspace(-3, 5, 60)))
    a, b = (mean * size).ravel(), ((1 - mean) * size).ravel()
    log = np.zeros_like(a)
    pairs, problems = np.unique(np.stack([draws, correct]), axis=1, return_counts=True)
    for (m, c), n in zip(pairs.T, problems, strict=True):
        log += n * (_rising(a, c) + _rising(b, m - c) - _rising(a + b, m))
    at = int(np.argmax(log))
    return Beta(float(a[at]), float(b[at])).coverage(k)


def _rising(x: Floats, n: int) -> Floats:
    return np.log(x[:, None] + np.arange(n)).sum(axis=1)


# -- simulated worlds


def one_world(seed: int, options: argparse.Namespace) -> tuple[str, dict[str, float]]:
    rng = np.random.default_rng(FIRST_SEED + seed)
    kind = KINDS[seed % len(KINDS)]
    chances = abilities(kind, rng)(SET)
    n, k = options.pilot, options.k
    draws = np.full(n, options.draws)
    correct = rng.binomial(draws, chances[:n])
    truths = {"set": chances[:n], "mixed": chances[: 5 * n], "endless": chances}
    sizes: dict[str, int | None] = {"set": n, "mixed": 5 * n, "endless": None}
    fitted = forecast.fit(draws, correct)
    row: dict[str, float] = {}
    for name, p in truths.items():
        true, found = float(np.mean(1 - (1 - p) ** k)), forecast.coverage(fitted, k, problems=sizes[name])
        row |= {f"{name}_hit": found.low <= true <= found.high, f"{name}_width": found.high - found.low}
        row[f"{name}_error"] = abs(found.value - true)
    true = float(np.mean(1 - (1 - chances[:n]) ** k))
    for yardstick in (plug_in, power_law, single_beta):
        row[f"{yardstick.__name__}_error"] = abs(yardstick(draws, correct, k) - true)
    return kind, row


def simulated(options: argparse.Namespace) -> dict[str, Any]:
    rows: defaultdict[str, list[dict[str, float]]] = defaultdict(list)
    for seed in range(options.worlds):
        kind, row = one_world(seed, options)
        rows[kind].append(row)
    rows["all"] = [row for kind in KINDS for row in rows[kind]]
    return {
        kind: {key: round(float(np.mean([r[key] for r in found])), 4) for key in found[0]}
        | {"worlds": len(found)}
        for kind, found in rows.items()
        if found
    }


# -- real answers


def real_tables() -> dict[str, list[list[bool]]]:
    """Per data set, problems x answers. The answers of several models and prompts to one problem stand in for
    draws: what is tested is the forecast over real, very uneven problems."""
    tables: dict[str, list[list[bool]]] = {}
    replay = DATA / "replay" / "math_test_even.jsonl.gz"
    if replay.exists():
        gold = {
            row["idx"]: row["answer"] for row in map(json.loads, (DATA / "math/test_even.jsonl").open("rb"))
        }
        answers: defaultdict[int, list[bool]] = defaultdict(list)
        with gzip.open(replay, "rt", encoding="utf-8") as lines:
            for row in map(json.loads, lines):
                given = re.search(r"The answer is:?\s*(.*)", row["response"])
                answers[row["idx"]].append(bool(given) and _plain(given[1]) == _plain(gold[row["idx"]]))
        most = max(map(len, answers.values()))
        tables["math replay"] = [a for a in answers.values() if len(a) == most]
    return tables


def _plain(answer: str) -> str:
    """Good enough to tell right from wrong on most answers; both sides of the test use the same."""
    return re.sub(r"[\s$.]|\\boxed|\\left|\\right|\\!|\\,|[{}]", "", answer.replace("dfrac", "frac"))


def held_out(answers: list[list[bool]], splits: int, size: int) -> dict[str, float]:
    """From a third of the answers of `size` problems, coverage at as many as the rest, on the rest."""
    table = np.array(answers)
    rows = []
    for seed in range(splits):
        rng = np.random.default_rng(seed)
        picked = table[rng.permutation(len(table))[:size]]
        picked = rng.permuted(picked, axis=1)
        first = max(2, picked.shape[1] // 3)
        draws, correct = np.full(size, first), picked[:, :first].sum(axis=1)
        rest = picked[:, first:]
        found = forecast.coverage(forecast.fit(draws, correct), rest.shape[1], problems=size)
        true = float(rest.any(axis=1).mean())
        luck = 1.96 * np.sqrt(true * (1 - true) / size)  # the truth is one realisation
        rows.append(
            {
                "error": abs(found.value - true),
                "hit": found.low - luck <= true <= found.high + luck,
                "hit_without_luck": found.low <= true <= found.high,
                "width": found.high - found.low,
                "plug_in_error": abs(plug_in(draws, correct, rest.shape[1]) - true),
                "power_law_error": abs(power_law(draws, correct, rest.shape[1]) - true),
            }
        )
    return {key: round(float(np.mean([r[key] for r in rows])), 4) for key in rows[0]} | {
        "splits": splits,
        "pilot_draws": first,
        "k": table.shape[1] - first,
    }


# -- ratios


def ratios() -> dict[str, Any]:
    prices = {"weak": (Fraction("0.075"), Fraction("0.30")), "strong": (Fraction("3.50"), Fraction("10.50"))}

    def ratio(prompt: int, answer: int) -> float:
        weak, strong = (prompt * i + answer * o for i, o in (prices["weak"], prices["strong"]))
        return float(strong / weak)

    return {
        "output_only": ratio(0, 250),
        "with_prompt_700_in_250_out": round(ratio(700, 250), 2),
        "break_even": {
            name: {str(k): round(forecast.break_even(weak.coverage, strong.coverage, k), 3) for k in expected}
            for name, (weak, strong, expected) in PAPER.items()
        },
        "break_even_within_0.01": all(
            abs(forecast.break_even(weak.coverage, strong.coverage, k) - wanted) <= 0.01
            for weak, strong, expected in PAPER.values()
            for k, wanted in expected.items()
        ),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--worlds", type=int, default=400)
    parser.add_argument("--pilot", type=int, default=200, help="problems")
    parser.add_argument("--draws", type=int, default=4, help="per problem of the pilot")
    parser.add_argument("--k", type=int, default=32)
    options = parser.parse_args()
    start = time.monotonic()
    found: dict[str, Any] = {"ratios": ratios(), "simulated": simulated(options)}
    for kind, row in found["simulated"].items():
        print(
            f"{kind:>13}: error {row['set_error']:.3f}, 95 % interval holds {row['set_hit']:.3f} (width {row['set_width']:.3f});"
            f" endless set {row['endless_hit']:.3f}; errors of a single Beta {row['single_beta_error']:.3f},"
            f" plug-in {row['plug_in_error']:.3f}, power law {row['power_law_error']:.3f}"
        )
    tables = real_tables()
    found["real"] = {
        name: held_out(answers, min(options.worlds, 200), options.pilot) for name, answers in tables.items()
    } or "skipped: ../shared/data is not here"
    found["seconds"] = round(time.monotonic() - start, 1)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
