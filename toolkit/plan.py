"""From a budget to draws per problem: Eq. 1 of arXiv 2408.16737, generalised to any currency.

The paper matches FLOPs: S_WC = (P_SE / P_WC) x S_SE. Here each arm gets the same amount of the matched
currency and as many draws per problem as that buys, floored to integers; what flooring leaves unspent
is reported, never rounded up into one arm's favour.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from toolkit import catalog, cost
from toolkit.arms import ASSUMED_OUTPUT
from toolkit.errors import InputError
from toolkit.gpu import Flops
from toolkit.spec import Budget, Match
from toolkit.types import PICO

CLOSE = 0.9  # of its share an arm should be able to use
UNITS: dict[Match, str] = {"price": "usd", "flops": "flops", "samples": "draws"}


@dataclass(frozen=True, slots=True)
class Candidate:
    """One arm, or one model's part of it, before planning. Tokens are means per draw; the prompt is per request."""

    name: str
    key: str  # of its model in the run file
    model: str
    price: cost.Price | None
    compute: Flops | None
    prompt_tokens: float
    output_tokens: float
    thinking_tokens: float = 0.0
    max_n: int = 1
    expect_source: str = "assumed"
    of: str = ""  # the arm it is a part of
    weight: float = 1.0  # its part of the arm's share
    gpu: bool = False  # its dollars are GPU time
    free: bool = False  # a policy lays its draws out, not equal shares per problem

    @property
    def whole(self) -> str:
        return self.of or self.name

    def usd_pico(self, k: int, rounds: int) -> Fraction | None:
        """Expected picodollars of k draws to one problem, the prompt billed once per request."""
        if self.price is None:
            return None
        output, thinking = k * Fraction(self.output_tokens), k * Fraction(self.thinking_tokens)
        return self.price.expected(
            self.prompt_tokens, output, thinking, requests(k, rounds, self.max_n) if k else 0
        )

    def flops(self, k: int, rounds: int) -> Fraction | None:
        if self.compute is None:
            return None
        draw = self.compute.draw(self.prompt_tokens, self.output_tokens + self.thinking_tokens)
        prompt = self.compute.prompt(self.prompt_tokens)
        return k * Fraction(draw) + (requests(k, rounds, self.max_n) * Fraction(prompt) if prompt else 0)


@dataclass(frozen=True, slots=True)
class ArmPlan:
    """What one candidate is to draw. Expected money and FLOPs are over all problems."""

    candidate: Candidate
    draws_per_problem: int  # the most of any problem, where `targets` differ
    draws_per_request: int
    usd_pico: Fraction | None
    flops: Fraction | None
    targets: tuple[int, ...] | None = None  # draws of each problem, where they differ
    expected_draws: float | None = None  # over all problems, where outcomes will decide; else it is known

    def draws(self, problems: int) -> float:
        """Draws in all, as far as they can be told."""
        if self.expected_draws is not None:
            return self.expected_draws
        return self.draws_per_problem * problems if self.targets is None else sum(self.targets)


@dataclass(frozen=True, slots=True)
class Plan:
    match: Match
    problems: int
    budget: Mapping[str, float]
    parts: dict[str, ArmPlan]  # by the name they are drawn under: an arm, or a model's part of a mixture
    share: Fraction  # of the matched currency, for one arm and one problem
    worst_case_pico: int | None
    residual: float  # of the matched currency, over all arms and problems: what flooring left unspent
    reserve_pico: int = 0  # kept back from the arms' shares: pilot draws the plan has no use for, judging
    notes: list[str] = field(default_factory=list)
    forecast: Mapping[str, Any] | None = None  # what the pilot lets expect of it

    def whole(self) -> dict[str, list[ArmPlan]]:
        """Arm -> its parts."""
        arms: dict[str, list[ArmPlan]] = {}
        for part in self.parts.values():
            arms.setdefault(part.candidate.whole, []).append(part)
        return arms

    def as_json(self) -> dict[str, Any]:
        return {
            "match": self.match,
            "budget": dict(self.budget),
            "problems": self.problems,
            "models": {arm: _arm_json(parts, self.problems) for arm, parts in self.whole().items()},
            "worst_case_usd": cost.to_usd(self.worst_case_pico),
            "residual": {"amount": self.residual, "unit": UNITS[self.match]},
            "reserved_usd": cost.to_usd(self.reserve_pico),
            "notes": self.notes,
            "forecast": self.forecast,
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
    reserve_pico: int = 0,
) -> Plan:
    """The matched plan. Raises InputError where the currency is not known, or the budget buys no draw.

    `reserve_pico` is kept back from a budget in dollars before it is split over the arms.
    """
    _refuse_unknown_currency(candidates, budget)
    share = _share(candidates, problems, budget, rounds, reserve_pico)
    parts = {c.name: _part(c, share, problems, budget, rounds) for c in candidates}
    left = sum(
        (
            share * Fraction(p.candidate.weight)
            - _amount(p.candidate, p.draws_per_problem, budget.match, rounds)
        )
        * problems
        for p in parts.values()
        if not p.candidate.free
    )
    unit = PICO if budget.match == "price" else 1
    plan = Plan(
        budget.match, problems, _budget_json(budget), parts, share, None, float(left / unit), reserve_pico
    )
    plan.notes.extend(_assumptions(candidates))
    plan.notes.extend(_loose_matches(plan, rounds))
    return plan


def _part(c: Candidate, share: Fraction, problems: int, budget: Budget, rounds: int) -> ArmPlan:
    own = share * Fraction(c.weight)
    if c.free:
        return ArmPlan(c, 0, c.max_n, own * problems, None)
    k = _draws(c, own, budget, rounds)
    if k == 0:
        raise InputError(
            f"budget: {c.name} cannot afford one draw per problem: {_shortfall(c, own, problems, budget, rounds)}"
        )
    usd, flops = c.usd_pico(k, rounds), c.flops(k, rounds)
    return ArmPlan(
        c,
        k,
        per_request(k, rounds, c.max_n),
        None if usd is None else usd * problems,
        None if flops is None else flops * problems,
    )


def _refuse_unknown_currency(candidates: Sequence[Candidate], budget: Budget) -> None:
    for c in candidates:
        if c.price is None and (budget.match == "price" or budget.usd is not None):
            why = "match: price" if budget.match == "price" else "a budget in usd"
            raise InputError(
                f"models.{c.key}.price is missing: {why} needs the price of every model, in dollars per million tokens"
                f"{catalog.told_nearest(c.model)}"
            )
        if c.compute is None and (budget.match == "flops" or budget.flops is not None):
            raise InputError(
                f"models.{c.key}.params is missing: FLOPs need the number of parameters (active ones, if they differ)"
            )


def _share(
    candidates: Sequence[Candidate], problems: int, budget: Budget, rounds: int, reserve_pico: int
) -> Fraction:
    """How much of the matched currency each arm may spend on one problem."""
    if budget.draws is not None:
        return max(_amount(c, budget.draws, budget.match, rounds) for c in candidates)
    total = Fraction(budget.flops or 0)
    if budget.usd is not None:
        total = Fraction(str(budget.usd)) * PICO - reserve_pico
    if total <= 0:
        raise InputError(
            f"budget.usd: ${budget.usd} leaves nothing for the arms after ${reserve_pico / PICO:.3g} of pilot and "
            "judging: raise it, or make the pilot smaller"
        )
    spent_in: Match = "price" if budget.usd is not None else "flops"
    if spent_in == budget.match:
        return total / len({c.whole for c in candidates}) / problems
    return _largest_share(candidates, total / problems, budget.match, spent_in, rounds)


def _largest_share(
    candidates: Sequence[Candidate], total: Fraction, match: Match, spent_in: Match, rounds: int
) -> Fraction:
    """The largest equal share of one currency whose draws stay within a total of another."""

    def spends(share: Fraction) -> Fraction:
        return sum(
            (
                _amount(c, _affordable(c, share * Fraction(c.weight), match, rounds), spent_in, rounds)
                for c in candidates
            ),
            Fraction(0),
        )

    dearest = max(_amount(c, 1, match, rounds) / Fraction(c.weight) for c in candidates)
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
    amount = c.usd_pico(k, rounds) if match == "price" else c.flops(k, rounds)
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
    """What the prompt of one request costs."""
    if match == "flops" and c.compute is not None:
        return Fraction(c.compute.prompt(c.prompt_tokens))
    if match == "price" and c.price is not None:
        return c.price.expected(c.prompt_tokens, 0, 0)
    return Fraction(0)


def _shortfall(c: Candidate, share: Fraction, problems: int, budget: Budget, rounds: int) -> str:
    one, unit = _amount(c, 1, budget.match, rounds) * problems, UNITS[budget.match]
    scale = PICO if unit == "usd" else 1
    return f"its share is {float(share * problems / scale):.3g} {unit}, one draw per problem costs {float(one / scale):.3g}: raise the budget or set problems.limit"


def _loose_matches(plan: Plan, rounds: int) -> list[str]:
    """Arms whose whole draws leave much of their share unspent: the match is only as good as that."""
    notes = []
    for name, part in plan.parts.items():
        if part.candidate.free:
            continue
        share = plan.share * Fraction(part.candidate.weight)
        used = float(_amount(part.candidate, part.draws_per_problem, plan.match, rounds) / share)
        if used < CLOSE:
            notes.append(
                f"{name} can use only {used:.0%} of its share in whole draws ({part.draws_per_problem} per problem): "
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


def _arm_json(parts: Sequence[ArmPlan], problems: int) -> dict[str, Any]:
    """An arm's row: of its only part, or the sum of its parts with each beside it."""
    rows = [_part_json(part, problems) for part in parts]
    if len(parts) == 1:
        return rows[0]
    draws = sum(part.draws(problems) for part in parts)
    usd, flops = (_sum(row[key] for row in rows) for key in ("usd", "flops"))
    return {
        "model": " + ".join(part.candidate.model for part in parts),
        "draws_per_problem": sum(row["draws_per_problem"] for row in rows),
        "draws": _sum(row["draws"] for row in rows),
        "draws_per_request": None,
        "usd": usd,
        "gpu_usd": _sum(row["gpu_usd"] for row in rows if row["gpu_usd"] is not None),
        "flops": flops,
        "usd_per_draw": None if usd is None else round(usd / draws, 12),
        "flops_per_draw": None if flops is None else flops / draws,
        "members": {part.candidate.key: row for part, row in zip(parts, rows, strict=True)},
    }


def _sum(values: Iterable[float | None]) -> float | None:
    """The sum; None where any is unknown, or there is none."""
    found = list(values)
    return None if not found or None in found else float(sum(v for v in found if v is not None))


def _part_json(part: ArmPlan, problems: int) -> dict[str, Any]:
    c, draws = part.candidate, part.draws(problems)
    uneven = part.targets is not None or part.expected_draws is not None
    usd = None if part.usd_pico is None else float(part.usd_pico / PICO)
    flops = None if part.flops is None else float(part.flops)
    return {
        "model": c.model,
        "draws_per_problem": round(draws / problems, 3) if uneven else part.draws_per_problem,
        "draws": None if part.expected_draws is not None else int(draws),  # None: outcomes will decide
        "draws_per_request": part.draws_per_request,
        "usd": None if usd is None else round(usd, 9),
        "gpu_usd": round(usd, 9) if usd is not None and c.gpu else None,  # the part of usd that is GPU time
        "flops": flops,
        "usd_per_draw": None if usd is None or not draws else round(usd / draws, 12),
        "flops_per_draw": None if flops is None or not draws else flops / draws,
        "prompt_tokens": c.prompt_tokens,
        "output_tokens": c.output_tokens,
        "thinking_tokens": c.thinking_tokens,
        "expect_source": c.expect_source,
    }
