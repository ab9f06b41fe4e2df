"""metrics.json: what each arm's draws show, with 95 % intervals, and how the arms differ.

Everything is computed per problem first and averaged over problems. A k for which some problem has too
few draws is refused with a reason, for all problems: leaving those problems out would change the question.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np

from toolkit import estimators
from toolkit.errors import InputError
from toolkit.estimators import Floats, Ints
from toolkit.ledger import Reader
from toolkit.metrics import accounts, tally
from toolkit.metrics.accounts import Cost, Labels
from toolkit.metrics.arm import Arm, Part
from toolkit.metrics.guessing import Guesser
from toolkit.metrics.tally import Distinct
from toolkit.types import Estimate

Json = dict[str, Any]
KEYS = {
    "exact": "exact",
    "normalised": "unique",
    "equations": "equations",
}  # level -> its keys in `diversity`

DEFINITIONS = {
    "coverage": "mean over problems of 1 - C(M-c,k)/C(M,k): M judged draws of a problem, c of them correct; of an arm "
    "of several parts 1 - prod_j C(M_j-c_j,k_j)/C(M_j,k_j), with the k_j in the proportion of the plan",
    "per_problem": "correct draws among k, mean over all problems: mean of k*c/M",
    "per_solved": "per_problem / coverage (a ratio of means): the diversity the paper's figures plot",
    "exact_per_problem": "distinct correct solutions among k, compared as served, mean over all problems",
    "unique_per_problem": "distinct correct solutions among k after normalisation, mean over all problems",
    "equations_per_problem": "distinct lists of calculations among the correct solutions in k draws, mean over all problems",
    "*_per_solved": "the same over coverage",
    "outcomes": "draws by verdict, wherever they were cut: unparsable is without a final answer that can be read (refusals "
    "among them), timeout and error are the verifier's own, unverified has no verdict yet; they sum to draws",
    "unsettled": "timeout and error count as not correct; unverified draws are not counted at all",
    "solved": "share of problems with a correct draw among all that were drawn, whatever their number",
    "non-adaptive prefix": "an arm whose draws depended on outcomes is estimated from the draws that every problem was "
    "given whatever came out; estimates from all its draws would be biased",
    "curve": "coverage and distinct correct solutions (unique_per_problem) at what k draws of a problem cost on average",
    "guess_baseline": "coverage of the k most common answers of the other problems (arXiv 2410.15466); adjusted is "
    "(coverage - baseline) / (1 - baseline), 0 for an arm that only guesses",
    "flops": "2 x active parameters per generated token, thinking included; with the flops_terms of a part also prefill, "
    "2 x active parameters per prompt token that no cache held, and attention, 4 x layers x width per pair of a token "
    "and one before it, the draws of a request taken as equally long",
    "usd_per_distinct": "dollars over distinct correct solutions after normalisation, of all draws",
}


NO_IDENTITY = (
    "some correct draws were judged before this identity was kept: judge them again with `pricematch verify`"
)


@dataclass(frozen=True, slots=True)
class Settings:
    ks: Sequence[int]  # reported besides 1 and the plan
    resamples: int
    seed: int  # the same for every arm: all see the same resamples of problems


def measure(
    reader: Reader,
    arms: Mapping[str, Sequence[Part]],
    problems: Sequence[int],
    *,
    ks: Sequence[int],
    verifier: tuple[str, str],
    resamples: int,
    seed: int,
    pico: Mapping[int, Ints | None] | None = None,
) -> Json:
    """The content of metrics.json.

    `problems` are ledger row ids; give only problems that have a gold. `verifier` is (name, version). `pico`
    gives for a ledger row other picodollars per problem than the ledger's, in the order of `problems`.
    """
    if not problems:
        raise InputError("no problem with a gold answer to measure: give problems with answers")
    parts = [part for members in arms.values() for part in members]
    counted = tally.count(reader, {p.row: p.prefix for p in parts}, problems, verifier)
    costs = {p.row: _repriced(accounts.cost(reader, p.row, problems), p.row, pico or {}) for p in parts}
    known = accounts.labels(reader, [p.row for p in parts], problems, verifier)
    drawn = {
        name: Arm(tuple(members), [counted[p.row] for p in members], [costs[p.row] for p in members])
        for name, members in arms.items()
    }
    golds = known.golds()
    guesser = None if golds is None else Guesser(golds)
    settings = Settings(ks, resamples, seed)
    offered = _shared_grid(drawn.values())
    return {
        "models": {name: _measure_arm(arm, known, guesser, offered, settings) for name, arm in drawn.items()},
        "differences": _differences(drawn, settings),
        "verifier": {"name": verifier[0], "version": verifier[1]},
        "intervals": "95 %, over problems: score intervals of means; of ratios and differences the bootstrap "
        f"over problems, {resamples} resamples, seed {seed}",
        "definitions": DEFINITIONS,
    }


def _repriced(cost: Cost, row: int, pico: Mapping[int, Ints | None]) -> Cost:
    return replace(cost, pico=pico[row]) if row in pico else cost


def _shared_grid(arms: Iterable[Arm]) -> set[int]:
    """The k every arm is reported at if it has the draws: powers of two, all arms' plans and whole mixtures."""
    plans = [arm.planned for arm in arms]
    largest = max(plans, default=1)
    return {2**i for i in range(largest.bit_length())} | set(plans)


def _measure_arm(
    arm: Arm, known: Labels, guesser: Guesser | None, offered: set[int], settings: Settings
) -> Json:
    wanted = {1, *settings.ks, arm.planned}
    refused = {k: arm.refusal(k) for k in wanted | offered | set(arm.whole_mixtures()) if k >= 1}
    ks = sorted(k for k, reason in refused.items() if reason is None)
    found = {level: tally.distinct(arm.tallies, level) for level in tally.LEVELS}
    columns = _Columns.of(arm, ks, found, guesser, settings)
    outcomes = arm.outcomes()
    draws = sum(outcomes.values())
    judged = arm.judged()
    coverage = {str(k): _json(columns.mean(f"coverage@{k}")) for k in ks}
    diversity = {str(k): columns.diversity(k) for k in ks}
    usd, flops = arm.usd(), arm.flops()
    return {
        "problems": arm.problems,
        "draws": draws,
        "draws_per_problem": {"min": int(judged.min()), "max": int(judged.max())},
        "planned": arm.planned,
        "parts": [_part(p) for p in arm.parts],
        "adaptive": arm.adaptive,
        "estimator": "non-adaptive prefix" if arm.adaptive else "all draws",
        "requests": arm.requests(),
        "tokens": arm.tokens(),
        "usd": arm.total_usd(),
        "flops": None if flops is None else float(flops.sum()),
        "coverage": coverage,
        "solved": _json(estimators.bounded_mean(arm.solved())),
        "diversity": diversity,
        "guess_baseline": columns.baseline(),
        "curve": [_point(arm, k, coverage[str(k)], diversity[str(k)]["unique_per_problem"]) for k in ks],
        "by_level": columns.by(known.level),
        "by_subject": columns.by(known.subject),
        "outcomes": outcomes,
        "false_positive_rate": None,
        "usd_per_correct": None if usd is None else _json(columns.ratio("usd", "correct")),
        "flops_per_correct": None if flops is None else _json(columns.ratio("flops", "correct")),
        "usd_per_distinct": None if usd is None else _json(columns.ratio("usd", "distinct")),
        "flops_per_distinct": None if flops is None else _json(columns.ratio("flops", "distinct")),
        "truncated": arm.truncated() / draws if draws else None,
        "not_estimated": {str(k): refused[k] for k in sorted(wanted) if refused.get(k)},
        "not_computed": {level: NO_IDENTITY for level, distinct in found.items() if distinct is None},
    }


def _part(part: Part) -> Json:
    terms = None if part.compute is None else list(part.compute.terms)
    return {"planned": part.planned, "prefix": part.prefix, "flops_terms": terms}


def _point(arm: Arm, k: int, coverage: Json | None, diversity: Json | None) -> Json:
    usd, flops = arm.average(k)
    return {
        "k": k,
        "usd": _rounded(usd),
        "flops": _rounded(flops),
        "coverage": coverage,
        "diversity": diversity,
    }


@dataclass(frozen=True, slots=True)
class _Columns:
    """Named per-problem values, and the means of those needed for ratios in the same bootstrap resamples."""

    values: Mapping[str, Floats]
    resampled: Mapping[str, Floats]
    ks: Sequence[int]
    planned: int

    @classmethod
    def of(
        cls,
        arm: Arm,
        ks: Sequence[int],
        found: Mapping[str, Distinct | None],
        guesser: Guesser | None,
        settings: Settings,
    ) -> "_Columns":
        spent = {"usd": arm.usd(), "flops": arm.flops(), "distinct": arm.distinct_of_all(found["normalised"])}
        values = {name: value for name, value in spent.items() if value is not None}
        values["correct"] = arm.all_correct()
        for k in ks:
            values[f"coverage@{k}"] = arm.coverage(k)
            values[f"raw@{k}"] = arm.correct(k)
            for level, distinct in found.items():
                if distinct is not None:
                    values[f"{KEYS[level]}@{k}"] = arm.distinct(distinct, k)
            if guesser is not None:
                values[f"guessed@{k}"] = guesser.covers(k)
        means = estimators.resampled_means(
            np.column_stack(list(values.values())), settings.resamples, settings.seed
        )
        return cls(values, dict(zip(values, means.T, strict=True)), ks, arm.planned)

    def mean(self, name: str, largest: float = 1.0) -> Estimate | None:
        return estimators.bounded_mean(self.values[name], largest) if name in self.values else None

    def ratio(self, above: str, below: str) -> Estimate | None:
        if above not in self.values:
            return None
        values = (float(self.values[above].mean()), float(self.values[below].mean()))
        return estimators.ratio_estimate(values, (self.resampled[above], self.resampled[below]))

    def diversity(self, k: int) -> Json:
        keys = {"": f"raw@{k}"} | {f"{key}_": f"{key}@{k}" for key in ("unique", "exact", "equations")}
        row: Json = {}
        for prefix, column in keys.items():
            row[f"{prefix}per_problem"] = _json(self.mean(column, k))
            row[f"{prefix}per_solved"] = _json(self.ratio(column, f"coverage@{k}"))
        return row

    def baseline(self) -> Json | None:
        """Per k, what a guesser covers, and coverage with that taken out."""
        rows: Json = {}
        for k in self.ks:
            if f"guessed@{k}" not in self.values:
                return None
            covered, guessed = f"coverage@{k}", f"guessed@{k}"
            over = (self._mean(covered) - self._mean(guessed), 1 - self._mean(guessed))
            resampled = (self.resampled[covered] - self.resampled[guessed], 1 - self.resampled[guessed])
            rows[str(k)] = {
                "baseline": _json(self.mean(guessed)),
                "adjusted": _json(estimators.ratio_estimate(over, resampled)),
            }
        return rows

    def _mean(self, name: str) -> float:
        return float(self.values[name].mean())

    def by(self, groups: Sequence[str | None]) -> Json:
        """Coverage and distinct correct solutions per group, at the plan or the largest k below it."""
        k = max((k for k in self.ks if k <= self.planned), default=None)
        names = np.array(["" if g is None else g for g in groups])
        rows: Json = {}
        for name in sorted({g for g in groups if g is not None}):
            here = names == name
            rows[name] = {"problems": int(here.sum()), "k": k, "coverage": None, "unique_per_problem": None}
            for key, column in (("coverage", "coverage"), ("unique_per_problem", "unique")):
                if k is not None and f"{column}@{k}" in self.values:
                    largest = 1.0 if column == "coverage" else float(k)
                    value = estimators.bounded_mean(self.values[f"{column}@{k}"][here], largest)
                    rows[name][key] = _json(value)
        return rows


def _differences(arms: Mapping[str, Arm], settings: Settings) -> list[Json]:
    """For each two arms, the difference in coverage at their own plans: equal spend, paired by problem.

    An adaptive arm stands with the share of problems it really solved: that is what its spend bought.
    """
    rows: list[Json] = []
    for a, b in combinations(arms, 2):
        sides = [_at_plan(arms[name]) for name in (a, b)]
        enough = [side for side in sides if side is not None]
        difference = None
        if len(enough) == 2:
            difference = estimators.paired_difference(
                *enough, resamples=settings.resamples, seed=settings.seed
            )
        rows.append(
            {"a": a, "b": b} | _basis("a", arms[a]) | _basis("b", arms[b]) | {"points": _json(difference)}
        )
    return rows


def _at_plan(arm: Arm) -> Floats | None:
    if arm.adaptive:
        return arm.solved()
    return arm.coverage(arm.planned) if arm.planned >= 1 and arm.refusal(arm.planned) is None else None


def _basis(side: str, arm: Arm) -> Json:
    return {
        f"k_{side}": None if arm.adaptive else arm.planned,
        f"basis_{side}": "solved" if arm.adaptive else "coverage",
    }


def _json(estimate: Estimate | None) -> Json | None:
    """An estimate as JSON has it, without floating-point noise; an infinite or undefined bound is null."""
    return None if estimate is None else {key: _rounded(value) for key, value in estimate.as_json().items()}


def _rounded(value: float | None) -> float | None:
    return float(f"{value:.12g}") if value is not None and math.isfinite(value) else None
