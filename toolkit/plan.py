"""From a budget to draws per problem: Eq. 1 of arXiv 2408.16737, generalised to any currency.

The paper matches FLOPs: S_WC = (P_SE / P_WC) x S_SE. Here each arm gets the same amount of the matched
currency and as many draws per problem as that buys, floored to integers; what flooring leaves unspent
is reported, never rounded up into one arm's favour.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from toolkit import cost
from toolkit.arms import ASSUMED_OUTPUT
from toolkit.errors import InputError
from toolkit.spec import Budget, Match
from toolkit.types import PICO

CLOSE = 0.9  # of its share an arm should be able to use
UNITS: dict[Match, str] = {"price": "usd", "flops": "flops", "samples": "draws"}


@dataclass(frozen=True, slots=True)
class Candidate:
    """One arm before planning. Tokens are means per draw; the prompt is per request."""

    name: str
    key: str  # of its model in the run file
    model: str
    price: cost.Price | None
    active_params: int | None
    prompt_tokens: float
    output_tokens: float
    thinking_tokens: float = 0.0
    max_n: int = 1
    expect_source: str = "assumed"

    def usd_pico(self, k: int, rounds: int) -> Fraction | None:
        """Expected picodollars of k draws to one problem, the prompt billed once per request."""
        if self.price is None:
            return None
        out = (
            Fraction(self.output_tokens) * self.price.output
            + Fraction(self.thinking_tokens) * self.price.thinking
        )
        return k * out + requests(k, rounds, self.max_n) * Fraction(self.prompt_tokens) * self.price.input

    def flops(self, k: int) -> Fraction | None:
        if self.active_params is None:
            return None
        return k * 2 * self.active_params * (Fraction(self.output_tokens) + Fraction(self.thinking_tokens))


@dataclass(frozen=True, slots=True)
class ArmPlan:
    candidate: Candidate
    draws_per_problem: int
    draws_per_request: int
    usd_pico: Fraction | None  # expected, over all problems
    flops: Fraction | None


@dataclass(frozen=True, slots=True)
class Plan:
    match: Match
    problems: int
    budget: Mapping[str, float]
    arms: dict[str, ArmPlan]
    worst_case_pico: int | None
    residual: float  # of the matched currency, over all arms and problems: what flooring left unspent
    notes: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        return {
            "match": self.match,
            "budget": dict(self.budget),
            "problems": self.problems,
            "models": {name: _arm_json(arm, self.problems) for name, arm in self.arms.items()},
            "worst_case_usd": cost.to_usd(self.worst_case_pico),
            "residual": {"amount": self.residual, "unit": UNITS[self.match]},
            "notes": self.notes,
        }


def requests(k: int, rounds: int, max_n: int) -> int:
    """Requests for k draws of one problem."""
    return -(-k // per_request(k, rounds, max_n)) if k else 0


def per_request(k: int, rounds: int, max_n: int) -> int:
    """Draws in one request: the plan is walked in `rounds` passes, as far as the model's n allows."""
    return max(1, min(max_n, -(-k // rounds)))


def make(
    candidates: Sequence[Candidate],
    problems: int,
    budget: Budget,
    *,
    rounds: int = 4,
) -> Plan:
    """The matched plan. Raises InputError where the currency is not known, or the budget buys no draw."""
    _refuse_unknown_currency(candidates, budget)
    share = _share(candidates, problems, budget, rounds)
    arms = {}
    for c in candidates:
        k = _draws(c, share, budget, rounds)
        if k == 0:
            raise InputError(
                f"budget: {c.name} cannot afford one draw per problem: {_shortfall(c, share, problems, budget, rounds)}"
            )
        usd, flops = c.usd_pico(k, rounds), c.flops(k)
        arms[c.name] = ArmPlan(
            c,
            k,
            per_request(k, rounds, c.max_n),
            None if usd is None else usd * problems,
            None if flops is None else flops * problems,
        )
    left = sum(
        (share - _amount(a.candidate, a.draws_per_problem, budget.match, rounds)) * problems
        for a in arms.values()
    )
    unit = PICO if budget.match == "price" else 1
    plan = Plan(budget.match, problems, _budget_json(budget), arms, None, float(left / unit))
    plan.notes.extend(_assumptions(candidates))
    plan.notes.extend(_loose_matches(plan, share, rounds))
    return plan


def _refuse_unknown_currency(candidates: Sequence[Candidate], budget: Budget) -> None:
    for c in candidates:
        if c.price is None and (budget.match == "price" or budget.usd is not None):
            why = "match: price" if budget.match == "price" else "a budget in usd"
            raise InputError(
                f"models.{c.key}.price is missing: {why} needs the price of every model, in dollars per million tokens"
            )
        if not c.active_params and (budget.match == "flops" or budget.flops is not None):
            raise InputError(
                f"models.{c.key}.params is missing: FLOPs need the number of parameters (active ones, if they differ)"
            )


def _share(candidates: Sequence[Candidate], problems: int, budget: Budget, rounds: int) -> Fraction:
    """How much of the matched currency each arm may spend on one problem."""
    if budget.draws is not None:
        return max(_amount(c, budget.draws, budget.match, rounds) for c in candidates)
    total = Fraction(str(budget.usd)) * PICO if budget.usd is not None else Fraction(budget.flops or 0)
    spent_in: Match = "price" if budget.usd is not None else "flops"
    if spent_in == budget.match:
        return total / len(candidates) / problems
    return _largest_share(candidates, total / problems, budget.match, spent_in, rounds)


def _largest_share(
    candidates: Sequence[Candidate], total: Fraction, match: Match, spent_in: Match, rounds: int
) -> Fraction:
    """The largest equal share of one currency whose draws stay within a total of another."""

    def spends(share: Fraction) -> Fraction:
        return sum(
            (_amount(c, _affordable(c, share, match, rounds), spent_in, rounds) for c in candidates),
            Fraction(0),
        )

    dearest = max(_amount(c, 1, match, rounds) for c in candidates)
    low, high = Fraction(0), dearest
    while high and spends(high) <= total and high < dearest * 2**40:
        low, high = high, high * 2
    for _ in range(64):
        middle = (low + high) / 2
        low, high = (middle, high) if spends(middle) <= total else (low, middle)
    return low


def _amount(c: Candidate, k: int, match: Match, rounds: int) -> Fraction:
    """What k draws to one problem cost in the matched currency."""
    if match == "samples":
        return Fraction(k)
    amount = c.usd_pico(k, rounds) if match == "price" else c.flops(k)
    assert amount is not None
    return amount


def _draws(c: Candidate, share: Fraction, budget: Budget, rounds: int) -> int:
    """Draws per problem of an arm. The arm that sets the share of `budget.draws` draws just that many, even
    where one more would save a prompt and so cost no more."""
    if budget.draws is not None and _amount(c, budget.draws, budget.match, rounds) == share:
        return budget.draws
    return _affordable(c, share, budget.match, rounds)


def _affordable(c: Candidate, share: Fraction, match: Match, rounds: int) -> int:
    """The most draws per problem a share buys. Not a plain division: the prompt is billed per request."""
    marginal = _marginal(c, match)
    if marginal == 0:
        raise InputError(
            f"models.{c.key}: a draw costs nothing in {UNITS[match]}, so nothing can be matched to it: match samples or flops"
        )
    k = int(share / marginal)
    while k and _amount(c, k, match, rounds) > share:
        over = _amount(c, k, match, rounds) - share
        k -= max(1, int(over / (marginal + _prompt(c, match))))
    return max(k, 0)


def _marginal(c: Candidate, match: Match) -> Fraction:
    """What one more draw in a request costs."""
    if match == "samples":
        return Fraction(1)
    return _amount(c, 1, match, 1) - _prompt(c, match)


def _prompt(c: Candidate, match: Match) -> Fraction:
    if match != "price" or c.price is None:
        return Fraction(0)
    return Fraction(c.prompt_tokens) * c.price.input


def _shortfall(c: Candidate, share: Fraction, problems: int, budget: Budget, rounds: int) -> str:
    one, unit = _amount(c, 1, budget.match, rounds) * problems, UNITS[budget.match]
    scale = PICO if unit == "usd" else 1
    return f"its share is {float(share * problems / scale):.3g} {unit}, one draw per problem costs {float(one / scale):.3g}: raise the budget or set problems.limit"


def _loose_matches(plan: Plan, share: Fraction, rounds: int) -> list[str]:
    """Arms whose whole draws leave much of their share unspent: the match is only as good as that."""
    notes = []
    for name, arm in plan.arms.items():
        used = float(_amount(arm.candidate, arm.draws_per_problem, plan.match, rounds) / share)
        if used < CLOSE:
            notes.append(
                f"{name} can use only {used:.0%} of its share in whole draws ({arm.draws_per_problem} per problem): "
                f"a budget {1 / used:.2f} times smaller would waste none of it, or change problems.limit"
            )
    return notes


def _assumptions(candidates: Sequence[Candidate]) -> list[str]:
    assumed = [c.name for c in candidates if c.expect_source == "assumed"]
    if not assumed:
        return []
    return [
        f"tokens per draw of {', '.join(assumed)} are assumed ({ASSUMED_OUTPUT:g} output tokens, the same for every model, "
        "as the paper does): set models.NAME.expect to what yours write"
    ]


def _budget_json(budget: Budget) -> dict[str, float]:
    given = {k: getattr(budget, k) for k in ("usd", "flops", "draws")}
    return {k: float(v) for k, v in given.items() if v is not None}


def _arm_json(arm: ArmPlan, problems: int) -> dict[str, Any]:
    draws = arm.draws_per_problem * problems
    usd = None if arm.usd_pico is None else float(arm.usd_pico / PICO)
    flops = None if arm.flops is None else float(arm.flops)
    return {
        "model": arm.candidate.model,
        "draws_per_problem": arm.draws_per_problem,
        "draws_per_request": arm.draws_per_request,
        "usd": None if usd is None else round(usd, 9),
        "flops": flops,
        "usd_per_draw": None if usd is None else round(usd / draws, 12),
        "flops_per_draw": None if flops is None else flops / draws,
        "prompt_tokens": arm.candidate.prompt_tokens,
        "output_tokens": arm.candidate.output_tokens,
        "thinking_tokens": arm.candidate.thinking_tokens,
        "expect_source": arm.candidate.expect_source,
    }
