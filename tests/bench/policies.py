"""Allocation policies in simulated worlds with a known truth: is the chosen plan near the best, and what does it save?

    python tests/bench/policies.py [--worlds 200] [--part all|choice|dollars|size]

Each world draws models, abilities, prices, prompt lengths and a budget at random. The pilot is the one that
`pricematch plan --pilot 4` makes: 4 draws of every model on at most 200 problems (--pilot) and no more than its
share of the budget buys, but on 20 at least, as by a user who insists. Then every policy is forecast, the one with the best forecast is chosen, and all are played against
the truth under the same cap. `regret` is the distance from an oracle that knows every chance: a bound, as its
money buys expected successes in order of price. `dollars` is what a policy needs for the coverage the best
uniform plan reaches, the pilot's cost counted on its side alone. The last line printed is one JSON object.
"""

import argparse
import json
import resource
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from typing import Any, TypeVar

import numpy as np
from simulated_worlds import Floats, Truth, pilot, truth

from toolkit import forecast
from toolkit.pipeline import piloting
from toolkit.policies import (
    Book,
    Cascade,
    Difficulty,
    Goal,
    Known,
    Member,
    Mix,
    Policy,
    State,
    Uniform,
    UntilCorrect,
    book,
    expected,
    nothing_known,
    play,
    price_of,
)
from toolkit.spec import Pilot
from toolkit.types import Estimate

T = TypeVar("T")
FIRST_SEED = 20_000
DRAWS = 4  # of the pilot, by every model
GOALS = {"coverage": Goal(1), "distinct": Goal(4)}
PLAYS = 2  # of every policy, --plays: the truth of a plan is their mean
REACH = 0.98


@dataclass(frozen=True, slots=True)
class World:
    truth: Truth
    known: Known  # after the pilot
    members: tuple[Member, ...]
    money: float  # left after the pilot


def make_world(seed: int, most: int, share: float) -> World:
    """Models whose pilot on a few problems would eat half of the budget are left out, the dearest first."""
    rng = np.random.default_rng(FIRST_SEED + seed)
    models, problems = int(rng.integers(2, 5)), int(rng.integers(400, 1201))
    true = truth(models, problems, rng)
    draw = np.cumprod(np.exp(rng.uniform(np.log(1.2), np.log(8), models)))  # abler models cost more
    draw *= np.exp(rng.normal(0, 0.3, models))  # and write longer or shorter answers
    prompt = draw * rng.choice([0.0, rng.uniform(0.05, 0.8)])
    total = problems * float(draw[0]) * float(np.exp(rng.uniform(np.log(4), np.log(64))))
    each = np.cumsum(DRAWS * (draw + prompt))  # the pilot on one problem, by the models it has
    total = max(total, 2 * piloting.LEAST * float(each[1]))
    models = int(np.sum(piloting.LEAST * each <= total / 2))
    piloted = int(piloting.FILLED * Fraction(share) * Fraction(total / each[models - 1]))
    piloted = max(piloting.LEAST, min(most, piloted))
    true = replace(true, chances=true.chances[:models], shares=true.shares[:models], seen=true.seen[:models])
    known = pilot(true, DRAWS, piloted)
    members = tuple(
        Member(
            f"m{j}",
            forecast.fit(known.draws[j, :piloted], known.correct[j, :piloted]),
            float(draw[j]),
            float(prompt[j]),
            int(rng.choice([1, 4, 8])),
            forecast.fit_duplicates(known.correct[j, :piloted], known.distinct[j, :piloted]),
        )
        for j in range(models)
    )
    return World(
        true, known, members, total - price_of(members, nothing_known(models, problems), known.draws)
    )


def candidates(members: tuple[Member, ...], goal: Goal) -> dict[str, Policy]:
    """Every policy a user could choose; cascades from the cheapest model to each of the others."""
    names = [m.name for m in members]
    found: dict[str, Policy] = {"mix": Mix(1), "mix in rounds": Mix(8)}
    for name in names:
        found[f"uniform {name}"] = Uniform(name)
        found[f"difficulty {name}"] = Difficulty(name)
        found[f"until_correct {name}"] = UntilCorrect(name, goal.cap, 128)
    for strong in names[1:]:
        found[f"cascade {names[0]} {strong}"] = Cascade(names[0], strong)
    return found


def reached(policy: Policy, world: World, plan: Book, money: float, plays: int = PLAYS) -> float:
    """Of the goal, on the whole set, pilot included: the mean of several plays against the truth."""
    values = []
    for turn in range(plays):
        played = play(policy, plan, State(world.known, money), world.truth.at(turn))
        assert played.spent <= money * (1 + 1e-9), f"{policy.name} spent {played.spent} of {money}"
        values.append(float(played.known.counted(plan.goal).mean()))
    return float(np.mean(values))


def oracle(world: World, goal: Goal) -> float:
    """No policy can expect more of the money left."""
    have = world.known.counted(goal)
    bought = int(np.searchsorted(np.cumsum(_least(world, goal)), world.money))
    return float((have.sum() + bought) / len(have))


def _least(world: World, goal: Goal) -> Floats:
    """Ascending: the next distinct correct draw of a problem costs at least its price over its chance."""
    price = np.array([m.cost_per_draw + m.cost_per_request / m.per_request for m in world.members])
    have = world.known.counted(goal)
    with np.errstate(divide="ignore"):
        one = (price[:, None] / world.truth.chances).min(axis=0)
    return np.sort(np.concatenate([one[have <= i] for i in range(goal.cap)]))


# -- is the chosen plan near the best?


def choose(world: World, goal: Goal, plays: int) -> dict[str, Any]:
    plan = book(world.members, world.known, goal)
    state = State(world.known, world.money)
    true: dict[str, float] = {}
    forecasts = {}
    for name, policy in candidates(world.members, goal).items():
        outlook = expected(policy, plan, state)
        forecasts[name] = outlook.coverage if goal.cap == 1 else outlook.distinct
        true[name] = reached(policy, world, plan, world.money, plays)
    chosen = max(forecasts, key=lambda name: forecasts[name].value)
    best = max(true, key=true.__getitem__)
    bound = oracle(world, goal)
    kinds: defaultdict[str, list[float]] = defaultdict(list)
    for name, value in true.items():
        kinds[_kind(name)].append(value)
    return {
        "chosen": chosen,
        "best": best,
        "near": true[chosen] >= REACH * true[best],
        "of_best": true[chosen] / true[best],
        "regret": {kind: bound - max(values) for kind, values in kinds.items()}
        | {"chosen": bound - true[chosen]},
        "forecasts": [
            (_kind(name), _holds(f, true[name]), f.value - true[name], f.high - f.low)
            for name, f in forecasts.items()
        ],
    }


def _holds(forecast: Estimate, value: float) -> bool:
    """Where no draw can be bought the forecast is the pilot's own record, the same but for its last bit."""
    return forecast.low - 1e-9 <= value <= forecast.high + 1e-9


def _kind(name: str) -> str:
    return name if name.startswith("mix") else name.split()[0]


def _judged(found: list[tuple[str, bool, float, float]]) -> dict[str, dict[str, float]]:
    """By kind of policy: how often the 95 % interval held the truth, mean error, mean width."""
    kinds = {kind: np.array([f[1:] for f in found if f[0] == kind], float) for kind in {f[0] for f in found}}
    kinds["all"] = np.array([f[1:] for f in found], float)
    return {
        kind: dict(zip(("holds", "bias", "width"), rows.mean(axis=0).round(3).tolist(), strict=True))
        | {"error": round(float(np.abs(rows[:, 1]).mean()), 3)}
        for kind, rows in sorted(kinds.items())
    }


def both_goals(world: World, goals: dict[str, Goal], plays: int) -> dict[str, dict[str, Any]]:
    return {label: choose(world, goal, plays) for label, goal in goals.items()}


def choices(both: Sequence[dict[str, dict[str, Any]]], goals: dict[str, Goal]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for label in goals:
        rows = [found[label] for found in both]
        picked: defaultdict[str, int] = defaultdict(int)
        for row in rows:
            picked[_kind(row["chosen"])] += 1
        of_best = np.array([row["of_best"] for row in rows])
        out[label] = {
            "worlds": len(rows),
            "share_within_98_percent_of_best": round(float(np.mean([row["near"] for row in rows])), 3),
            "of_best_quantiles_1_5_25_50": np.quantile(of_best, [0.01, 0.05, 0.25, 0.5]).round(4).tolist(),
            "median_regret": {
                kind: round(float(np.median([row["regret"][kind] for row in rows])), 4)
                for kind in rows[0]["regret"]
            },
            "forecast": _judged([f for row in rows for f in row["forecasts"]]),
            "chosen": dict(picked),
        }
        print(label, json.dumps(out[label]), flush=True)
    return out


# -- what does it save?


def uniform_coverage(world: World, name: str) -> tuple[float, float]:
    """What the whole budget, pilot's cost included, buys a uniform plan without a pilot: coverage and its cost."""
    nothing = nothing_known(len(world.members), world.known.problems)
    total = world.money + pilot_cost(world)
    j = [m.name for m in world.members].index(name)
    plan = book(world.members, nothing)
    targets = Uniform(name).next_targets(plan, State(nothing, total))
    if targets is None:
        return 0.0, total
    return world.truth.coverage(j, int(targets[j].max())), price_of(world.members, nothing, targets)


def pilot_cost(world: World) -> float:
    nothing = nothing_known(len(world.members), world.known.problems)
    return price_of(world.members, nothing, world.known.draws)


def dollars(world: World) -> dict[str, float]:
    """Share of the best uniform plan's spend with which each policy reaches its coverage, pilot included."""
    plan = book(world.members, world.known)
    aim, spend = max((uniform_coverage(world, m.name) for m in world.members), key=lambda found: found[0])
    names = [m.name for m in world.members]
    shares = {}
    policies: dict[str, Policy] = {
        "mix": Mix(1),
        "mix in rounds": Mix(8),
        "cascade": Cascade(names[0], names[-1]),
    }
    for label, policy in policies.items():
        low, high = 0.0, 4 * spend
        for _ in range(10):
            middle = (low + high) / 2
            low, high = (low, middle) if reached(policy, world, plan, middle) >= aim else (middle, high)
        shares[label] = (high + pilot_cost(world)) / spend
        shares[f"{label}, pilot apart"] = high / spend
    solved = world.known.counted(GOALS["coverage"])
    lacking = max(0, int(np.ceil(aim * len(solved) - solved.sum())))
    shares["pilot"] = pilot_cost(world) / (pilot_cost(world) + world.money)
    shares["oracle, pilot apart"] = float(_least(world, GOALS["coverage"])[:lacking].sum()) / spend
    return shares


def savings(rows: Sequence[dict[str, float]]) -> dict[str, Any]:
    pilots = [row.pop("pilot") for row in rows]
    out: dict[str, Any] = {"worlds": len(rows)}
    out["pilots_share_quartiles"] = np.quantile(pilots, [0.25, 0.5, 0.75]).round(3).tolist()
    for label in rows[0]:
        shares = np.array([row[label] for row in rows])
        out[label] = {
            "quantiles_5_25_50_75_95": np.quantile(shares, [0.05, 0.25, 0.5, 0.75, 0.95]).round(3).tolist(),
            "share_of_worlds_at_half_or_less": round(float(np.mean(shares <= 0.5)), 3),
        }
    print("dollars", json.dumps(out), flush=True)
    return out


# -- how large a set?


def size(problems: int = 1_000_000, models: int = 4) -> dict[str, Any]:
    """Planning alone, from a pilot that drew a fifth of the problems: seconds and what memory grew by."""
    rng = np.random.default_rng(0)
    hard = rng.standard_normal(problems)
    draws = np.zeros((models, problems), dtype=np.int64)
    draws[:, : problems // 5] = 4
    chances: Floats = 1 / (1 + np.exp(-(hard[None] + np.linspace(-2, 1, models)[:, None])))
    correct = rng.binomial(draws, chances)
    known = Known(draws, correct, np.minimum(correct, 3))
    del chances, hard
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found: dict[str, Any] = {"problems": problems, "models": models}
    start = time.monotonic()
    members = [
        Member(
            f"m{j}",
            forecast.fit(draws[j], correct[j]),
            3.0**j,
            duplicates=forecast.fit_duplicates(correct[j], known.distinct[j]),
        )
        for j in range(models)
    ]
    found["fit_seconds"] = round(time.monotonic() - start, 2)
    for label, goal in GOALS.items():
        start = time.monotonic()
        plan = book(members, known, goal)
        Mix(1).next_targets(plan, State(known, 16.0 * problems))
        found[f"mix_{label}_seconds"] = round(time.monotonic() - start, 2)
    start = time.monotonic()
    expected(Mix(1), plan, State(known, 16.0 * problems))
    found["outlook_seconds"] = round(time.monotonic() - start, 2)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found |= {"peak_mb": round(after / 1024), "peak_mb_beyond_the_counts": round((after - before) / 1024)}
    print("size", json.dumps(found), flush=True)
    return found


def in_time(options: argparse.Namespace, play_one: Callable[[World], T]) -> list[T]:
    """What every world gives, until there were enough or the time is over."""
    start, found = time.monotonic(), []
    with ProcessPoolExecutor(options.workers) as pool:
        for one in pool.map(partial(_world, options, play_one), range(options.worlds)):
            found.append(one)
            if time.monotonic() - start > 60 * options.minutes:
                pool.shutdown(cancel_futures=True)
                break
    return found


def _world(options: argparse.Namespace, play_one: Callable[[World], T], seed: int) -> T:
    return play_one(make_world(seed, options.pilot, options.share))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--worlds", type=int, default=200)
    parser.add_argument("--pilot", type=int, default=200, help="problems each model draws first")
    parser.add_argument("--share", type=float, default=Pilot().share, help="of the budget, for the pilot")
    parser.add_argument("--minutes", type=float, default=1e9, help="of each part: fewer worlds if time ends")
    parser.add_argument("--plays", type=int, default=PLAYS, help="of every policy: more leave less to luck")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--goal", default="both", choices=["both", *GOALS])
    parser.add_argument("--part", default="all", choices=["all", "choice", "dollars", "size"])
    options = parser.parse_args()
    start = time.monotonic()
    found: dict[str, Any] = {}
    if options.part in ("all", "size"):  # first, while the process is small
        found["size"] = size()
    if options.part in ("all", "choice"):
        goals = {g: GOALS[g] for g in GOALS if options.goal in (g, "both")}
        found["choice"] = choices(
            in_time(options, partial(both_goals, goals=goals, plays=options.plays)), goals
        )
    if options.part in ("all", "dollars"):
        found["dollars"] = savings(in_time(options, dollars))
    found["seconds"] = round(time.monotonic() - start, 1)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
