"""What a run's draws show per arm: coverage, diversity, cost per correct solution, with 95 % intervals.

Everything is computed per problem first and averaged over problems. A k for which some problem has too
few draws is refused with a reason, for all problems: leaving those problems out would change the question.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from toolkit import estimators
from toolkit.errors import InputError
from toolkit.estimators import Floats, Ints
from toolkit.ledger import Reader
from toolkit.types import PICO, Estimate, Outcome

Json = dict[str, Any]
UNVERIFIED = "unverified"

DEFINITIONS = {
    "coverage": "mean over problems of 1 - C(M-c,k)/C(M,k): M judged draws of a problem, c of them correct",
    "per_problem": "correct draws among k, mean over all problems: mean of k*c/M",
    "per_solved": "per_problem / coverage (a ratio of means): the diversity the paper's figures plot",
    "unique_per_problem": "distinct correct solutions among k after normalisation, mean over all problems",
    "unique_per_solved": "unique_per_problem / coverage",
    "unsettled": "timeout and error count as not correct; unverified draws are not counted at all",
}


@dataclass(frozen=True, slots=True)
class ArmDraws:
    """An arm's judged draws, counted per problem (arrays in the order of the problems measured)."""

    judged: Ints  # draws with a verdict, whatever it says
    correct: Ints
    distinct_of: Ints  # for each distinct correct solution: whose it is, an index into the problems
    multiplicity: Ints  # and how often it was drawn
    outcomes: Mapping[str, int]
    truncated: int  # draws cut at max_tokens

    @property
    def draws(self) -> int:
        return sum(self.outcomes.values())


@dataclass(frozen=True, slots=True)
class ArmCost:
    """What an arm's answered sampling requests cost, per problem."""

    requests: int
    tokens: Mapping[str, int]  # thinking is apart from output
    pico: Ints | None  # None where any request is unpriced
    generated: Ints | None  # output + thinking tokens; None where any request's usage is unknown


def measure(
    reader: Reader,
    arms: Mapping[str, int],
    problems: Sequence[int],
    *,
    planned: Mapping[str, int],
    ks: Sequence[int],
    verifier: tuple[str, str],
    flops_per_token: Mapping[str, int | None],
    resamples: int,
    seed: int,
) -> Json:
    """The content of metrics.json.

    `arms` and `problems` are ledger row ids; give only problems that have a gold. `planned` is the draws
    per problem each arm was to get; `verifier` is (name, version); `flops_per_token` is 2 x active
    parameters, or None where unknown. FLOPs count generated tokens only, as the paper does.
    """
    if not problems:
        raise InputError("no problem with a gold answer to measure: give problems with answers")
    drawn = {name: read_draws(reader, arm, problems, verifier) for name, arm in arms.items()}
    models = {
        name: _measure_arm(
            drawn[name],
            read_cost(reader, arm, problems),
            wanted={1, *ks, planned[name]},
            offered=_shared_grid(planned),
            flops_per_token=flops_per_token.get(name),
            resamples=resamples,
            seed=seed,  # the same for every arm: all see the same resamples of problems
        )
        for name, arm in arms.items()
    }
    return {
        "models": models,
        "differences": _differences(drawn, planned, resamples, seed),
        "verifier": {"name": verifier[0], "version": verifier[1]},
        "intervals": f"95 %, bootstrap over problems, {resamples} resamples, seed {seed}",
        "definitions": DEFINITIONS,
    }


def read_draws(reader: Reader, arm: int, problems: Sequence[int], verifier: tuple[str, str]) -> ArmDraws:
    """An arm's draws of these problems, counted."""
    place = {problem: i for i, problem in enumerate(problems)}
    judged, correct = np.zeros(len(problems), np.int64), np.zeros(len(problems), np.int64)
    outcomes: Counter[str] = Counter(dict.fromkeys((*(o.value for o in Outcome), UNVERIFIED), 0))
    distinct: list[tuple[int, int]] = []
    truncated = 0
    for problem, outcome, count, cut in reader.rows(
        "SELECT d.problem, COALESCE(v.outcome, 'unverified'), COUNT(*), SUM(d.finish='length') FROM draw d "
        "LEFT JOIN verdict v ON v.draw=d.id AND v.verifier=? AND v.version=? WHERE d.arm=? "
        "GROUP BY d.problem, v.outcome, CASE v.outcome WHEN 'correct' THEN v.norm_sha END",
        (*verifier, arm),
    ):
        if (i := place.get(problem)) is None:
            continue
        outcomes[outcome] += count
        truncated += cut
        judged[i] += count if outcome != UNVERIFIED else 0
        if outcome == Outcome.CORRECT:
            correct[i] += count
            distinct.append((i, count))
    of, multiplicity = np.array(distinct, np.int64).reshape(-1, 2).T
    return ArmDraws(judged, correct, of, multiplicity, dict(outcomes), truncated)


def read_cost(reader: Reader, arm: int, problems: Sequence[int]) -> ArmCost:
    """What an arm's draws of these problems cost."""
    place = {problem: i for i, problem in enumerate(problems)}
    columns = ("requests", "pico", "unpriced", "unknown", "prompt", "cached", "output", "thinking")
    sums = np.zeros((len(problems), len(columns)), np.int64)
    for problem, *row in reader.rows(
        "SELECT problem, COUNT(*), SUM(cost_pico), SUM(cost_pico IS NULL), SUM(output IS NULL), SUM(prompt), "
        "SUM(cached), SUM(output), SUM(thinking) FROM attempt "
        "WHERE arm=? AND state='settled' AND purpose IN ('sample','pilot') GROUP BY problem",
        (arm,),
    ):
        if (i := place.get(problem)) is not None:
            sums[i] = [value or 0 for value in row]
    by = dict(zip(columns, sums.T, strict=True))
    return ArmCost(
        requests=int(by["requests"].sum()),
        tokens={kind: int(by[kind].sum()) for kind in ("prompt", "cached", "output", "thinking")},
        pico=None if by["unpriced"].any() else by["pico"],
        generated=None if by["unknown"].any() else by["output"] + by["thinking"],
    )


def _shared_grid(planned: Mapping[str, int]) -> set[int]:
    """The k every arm is reported at if it has the draws: powers of two and all arms' plans."""
    largest = max(planned.values(), default=1)
    return {2**i for i in range(largest.bit_length())} | set(planned.values())


def _measure_arm(
    drawn: ArmDraws,
    cost: ArmCost,
    *,
    wanted: set[int],
    offered: set[int],
    flops_per_token: int | None,
    resamples: int,
    seed: int,
) -> Json:
    fewest = int(drawn.judged.min())
    ks = sorted(k for k in wanted | offered if 1 <= k <= fewest)
    flops = None
    if cost.generated is not None and flops_per_token is not None:
        flops = cost.generated.astype(np.float64) * flops_per_token
    usd = None if cost.pico is None else cost.pico.astype(np.float64) / PICO
    columns = _Columns.of(drawn, ks, {"usd": usd, "flops": flops}, resamples, seed)
    return {
        "problems": len(drawn.judged),
        "draws": drawn.draws,
        "draws_per_problem": {"min": fewest, "max": int(drawn.judged.max())},
        "requests": cost.requests,
        "tokens": dict(cost.tokens),
        "usd": None if cost.pico is None else int(cost.pico.sum()) / PICO,
        "flops": None if flops is None else float(flops.sum()),
        "coverage": {str(k): _json(columns.mean(f"coverage@{k}", 1)) for k in ks},
        "diversity": {str(k): columns.diversity(k) for k in ks},
        "outcomes": dict(drawn.outcomes),
        "false_positive_rate": None,
        "usd_per_correct": None if usd is None else _json(columns.ratio("usd", "correct")),
        "flops_per_correct": None if flops is None else _json(columns.ratio("flops", "correct")),
        "truncated": drawn.truncated / drawn.draws if drawn.draws else None,
        "not_estimated": {str(k): _too_few(drawn.judged, k) for k in sorted(wanted) if k not in ks},
    }


def _too_few(judged: Ints, k: int) -> str:
    return f"{int((judged < k).sum())} of {len(judged)} problems have fewer than {k} judged draws"


@dataclass(frozen=True, slots=True)
class _Columns:
    """Named per-problem values and their means in the same bootstrap resamples."""

    values: Mapping[str, Floats]
    resampled: Mapping[str, Floats]

    @classmethod
    def of(
        cls, drawn: ArmDraws, ks: Sequence[int], costs: Mapping[str, Floats | None], resamples: int, seed: int
    ) -> "_Columns":
        values = {name: value for name, value in costs.items() if value is not None}
        values["correct"] = drawn.correct.astype(np.float64)
        m, c = drawn.judged, drawn.correct
        for k in ks:
            values[f"coverage@{k}"] = estimators.coverage(m, c, k)
            values[f"raw@{k}"] = estimators.expected_correct(m, c, k)
            values[f"unique@{k}"] = estimators.expected_distinct(m, drawn.distinct_of, drawn.multiplicity, k)
        means = estimators.resampled_means(np.column_stack(list(values.values())), resamples, seed)
        return cls(values, dict(zip(values, means.T, strict=True)))

    def mean(self, name: str, largest: float) -> Estimate:
        return estimators.mean_estimate(self.values[name], self.resampled[name], largest)

    def ratio(self, above: str, below: str) -> Estimate | None:
        values = (float(self.values[above].mean()), float(self.values[below].mean()))
        return estimators.ratio_estimate(values, (self.resampled[above], self.resampled[below]))

    def diversity(self, k: int) -> Json:
        solved = f"coverage@{k}"
        return {
            "per_problem": _json(self.mean(f"raw@{k}", k)),
            "per_solved": _json(self.ratio(f"raw@{k}", solved)),
            "unique_per_problem": _json(self.mean(f"unique@{k}", k)),
            "unique_per_solved": _json(self.ratio(f"unique@{k}", solved)),
        }


def _differences(
    drawn: Mapping[str, ArmDraws], planned: Mapping[str, int], resamples: int, seed: int
) -> list[Json]:
    """For each two arms, the difference in coverage at their own planned k: equal spend, paired by problem."""
    rows: list[Json] = []
    for a, b in combinations(drawn, 2):
        enough = all(int(drawn[arm].judged.min()) >= planned[arm] >= 1 for arm in (a, b))
        sides = [estimators.coverage(drawn[x].judged, drawn[x].correct, planned[x]) for x in (a, b) if enough]
        difference = estimators.paired_difference(*sides, resamples=resamples, seed=seed) if enough else None
        rows.append({"a": a, "b": b, "k_a": planned[a], "k_b": planned[b], "points": _json(difference)})
    return rows


def _json(estimate: Estimate | None) -> dict[str, float | None] | None:
    """An estimate as JSON has it, without floating-point noise; an infinite or undefined bound is null."""
    if estimate is None:
        return None
    return {
        key: float(f"{value:.12g}") if math.isfinite(value) else None
        for key, value in estimate.as_json().items()
    }
