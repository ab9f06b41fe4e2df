"""What the budget will buy, before it is spent: each arm's forecast, what would flip the verdict, and the
policies that the same money could follow instead. Everything rests on the pilot.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from itertools import combinations
from typing import Any

import numpy as np

from toolkit import allocation, forecast, plan, planning, spec
from toolkit.allocation import BUDGETS, Layout
from toolkit.errors import InputError
from toolkit.estimators import Z95
from toolkit.job import Job
from toolkit.plan import ArmPlan, Plan
from toolkit.policies import Member
from toolkit.policies.rehearse import DISTINCT
from toolkit.types import PICO, Estimate

Json = dict[str, Any]
MANY = 3  # models; beyond, trying every other policy on all of them takes too long


@dataclass(frozen=True, slots=True)
class Bought:
    """What some draws are expected to reach on the run's problems, the pilot's included."""

    policy: str
    coverage: Estimate
    distinct: Estimate  # correct draws per problem, at most `per_problem` of each counted
    draws: dict[str, float] = field(default_factory=dict)  # per problem, by model
    usd: float | None = None
    by_level: dict[str, Estimate] = field(default_factory=dict)  # coverage, where problems have levels

    def as_json(self) -> Json:
        levels = {level: found.as_json() for level, found in self.by_level.items()}
        return {
            "policy": self.policy,
            "coverage": self.coverage.as_json(),
            "distinct": self.distinct.as_json(),
            "draws_per_problem": {name: round(k, 2) for name, k in self.draws.items()},
            "usd": self.usd,
            "by_level": levels or None,
        }


def answers(job: Job, made: Plan) -> Json | None:
    """The forecasts of a piloted plan; None where nothing was piloted or a model has no price."""
    members = planning.members(job, made)
    if not job.piloted or len(members) < len(made.parts):
        return None
    layouts = planning.layouts(job, made)
    arms = {arm: _arm(job, made, parts, members, layouts) for arm, parts in made.whole().items()}
    return {
        "arms": {arm: bought.as_json() for arm, bought in arms.items()},
        "break_even": _break_evens(made, members),
        "budgets": _budgets(job, made, members, layouts),
        "alternatives": [other.as_json() for other in _alternatives(job, made, members)],
        "definitions": {
            "coverage": "share of the run's problems with a correct draw, 95 % interval, luck of the draws included",
            "distinct": f"distinct correct draws per problem, at most {DISTINCT.cap} of each counted",
            "break_even": "the draws of the stronger model may be at most `flips_at` times as dear as the weaker's "
            "before the weaker covers more; `now` is what they are",
            "usd": "expected, for all problems",
        },
    }


def _arm(
    job: Job,
    made: Plan,
    parts: Sequence[ArmPlan],
    members: dict[str, Member],
    layouts: dict[str, Layout],
) -> Bought:
    arm = parts[0].candidate.whole
    usd = float(sum(p.usd_pico or 0 for p in parts) / PICO)
    per = {p.candidate.key: float(p.draws(made.problems)) / made.problems for p in parts}
    if arm in layouts:
        found = layouts[arm].outlook()
        return Bought(layouts[arm].spec.name, found.coverage, found.distinct, per, usd)
    own = [members[p.candidate.name] for p in parts]
    reached = allocation.uniform(own, [p.draws_per_problem for p in parts], made.problems, DISTINCT.cap)
    return Bought("uniform", *reached, per, usd, _by_level(job, parts))


def _by_level(job: Job, parts: Sequence[ArmPlan]) -> dict[str, Estimate]:
    """Coverage of the problems of each level; levels with few piloted problems borrow from all."""
    levels = [p.level for p in job.problems]
    (measured,) = planning.own_pilot(job, [parts[0].candidate.name])
    if len(parts) > 1 or measured is None or None in levels:
        return {}
    names = sorted({level for level in levels if level is not None})
    codes = np.array([names.index(level) for level in levels if level is not None])
    piloted = slice(0, len(measured.draws))
    fits = forecast.fit_levels(np.array(measured.draws), np.array(measured.correct), codes[piloted])
    return {
        names[code]: forecast.coverage(fit, parts[0].draws_per_problem, problems=int((codes == code).sum()))
        for code, fit in fits.items()
    }


# -- where the verdict flips


def _break_evens(made: Plan, members: dict[str, Member]) -> list[Json]:
    """For each two arms of one model: how much dearer the stronger's draws must be for the weaker to win."""
    single = [p[0] for p in made.whole().values() if len(p) == 1 and not p[0].candidate.free]
    return [_break_even(made, *_by_strength(a, b, members), members) for a, b in combinations(single, 2)]


def _per_draw(pico: float, made: Plan) -> float:
    """Dollars of one draw, from picodollars of one over all problems."""
    return pico / made.problems / PICO


def _by_strength(a: ArmPlan, b: ArmPlan, members: dict[str, Member]) -> tuple[ArmPlan, ArmPlan]:
    """(weaker, stronger) by the chance of one draw."""
    first, second = (members[p.candidate.name].fit.coverage(1) for p in (a, b))
    return (a, b) if first <= second else (b, a)


def _break_even(made: Plan, weak: ArmPlan, strong: ArmPlan, members: dict[str, Member]) -> Json:
    one, other = (members[p.candidate.name] for p in (weak, strong))
    k = strong.draws_per_problem
    flips = forecast.break_even(one.fit.coverage, other.fit.coverage, k)
    costs = [float((p.usd_pico or 0) / p.draws_per_problem) for p in (weak, strong)]
    return {
        "weaker": weak.candidate.name,
        "stronger": strong.candidate.name,
        "stronger_draws": k,
        "flips_at": flips if math.isfinite(flips) else None,
        "now": costs[1] / costs[0] if costs[0] else None,
        "weaker_usd_per_draw": _per_draw(costs[0], made),
        "weaker_usd_per_draw_at_flip": _per_draw(costs[1] / flips, made) if math.isfinite(flips) else None,
    }


def _budgets(job: Job, made: Plan, members: dict[str, Member], layouts: dict[str, Layout]) -> list[Json]:
    """The arms' expected coverage at other budgets, and which covers more."""
    rows = []
    for factor in BUDGETS:
        reached = {
            arm: _at_budget(job, made, parts, members, layouts.get(arm), factor)
            for arm, parts in made.whole().items()
        }
        known = {arm: c for arm, c in reached.items() if c is not None}
        rows.append(
            {
                "times": factor,
                "coverage": {arm: None if c is None else c.as_json() for arm, c in reached.items()},
                "verdict": _verdict(known),
            }
        )
    return rows


def _at_budget(
    job: Job,
    made: Plan,
    parts: Sequence[ArmPlan],
    members: dict[str, Member],
    found: Layout | None,
    factor: float,
) -> Estimate | None:
    if found is not None:
        return found.outlook(factor).coverage
    budget = spec.Budget(usd=Decimal(str(float(made.share * made.problems / PICO) * factor)) or None)
    candidates = [p.candidate for p in parts]
    try:
        scaled = plan.make(candidates, made.problems, budget, rounds=job.run.sampling.rounds)
    except InputError:  # it buys less than a draw per problem
        return None
    draws = [p.draws_per_problem for p in scaled.parts.values()]
    return allocation.uniform([members[c.name] for c in candidates], draws, made.problems, 1)[0]


def _verdict(reached: dict[str, Estimate]) -> str | None:
    """The arm that covers most, if the others' intervals leave no doubt (taken as independent); else None."""
    if len(reached) < 2:
        return None
    best, *others = sorted(reached, key=lambda arm: -reached[arm].value)
    a, b = reached[best], reached[others[0]]
    spread = math.hypot(*((e.high - e.low) / (2 * Z95) for e in (a, b)))
    return best if a.value - b.value > Z95 * spread else None


# -- what else the same money could do


def _alternatives(job: Job, made: Plan, members: dict[str, Member]) -> list[Bought]:
    """One arm's share under every other policy, best coverage first."""
    by_model: dict[str, ArmPlan] = {}
    for part in made.parts.values():
        by_model.setdefault(part.candidate.key, part)
    if len(by_model) > MANY:
        return []
    share = float(made.share * made.problems)
    if made.match != "price":
        return []
    models = sorted(by_model, key=lambda key: members[by_model[key].candidate.name].cost_per_draw)
    tried = [
        _try(job, made, [by_model[m] for m in group], members, policy, share)
        for group, policy in _combinations(models, job.run.budget.policy)
    ]
    return sorted(tried, key=lambda bought: -bought.coverage.value)


def _combinations(models: Sequence[str], base: spec.Policy) -> list[tuple[tuple[str, ...], spec.Policy]]:
    single = [
        ((m,), base.model_copy(update={"name": name}))
        for m in models
        for name in ("until_correct", "difficulty")
    ]
    pairs = [
        (pair, base.model_copy(update={"name": name}))
        for pair in combinations(models, 2)
        for name in ("cascade", "mix")
    ]
    return [*single, *pairs]


def _try(
    job: Job,
    made: Plan,
    parts: Sequence[ArmPlan],
    members: dict[str, Member],
    policy: spec.Policy,
    share: float,
) -> Bought:
    own = [replace(members[p.candidate.name], name=p.candidate.key) for p in parts]
    piloted = planning.own_pilot(job, [p.candidate.name for p in parts])
    found = allocation.layout(
        policy.name, policy, own, piloted, problems=made.problems, share=share
    ).outlook()
    per = {name: draws / made.problems for name, draws in found.draws.items()}
    label = f"{policy.name} ({' then '.join(per) if policy.name == 'cascade' else ' + '.join(per)})"
    return Bought(label, found.coverage, found.distinct, per, float(found.cost.value / PICO))
