"""What may be spent, on which arms, and how it is laid out."""

from decimal import Decimal
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from toolkit.spec.section import Section

Match = Literal["price", "flops", "samples"]
PolicyName = Literal["uniform", "until_correct", "difficulty", "cascade", "mix"]
ADAPTIVE = frozenset({"until_correct", "cascade"})  # they look at outcomes while they draw


def _by_name(value: Any) -> Any:
    """`policy: cascade` is short for {name: cascade}."""
    return {"name": value} if isinstance(value, str) else value


def _by_draws(value: Any) -> Any:
    """`pilot: 4` is short for {draws: 4}."""
    return {"draws": value} if isinstance(value, int) else value


class Policy(Section):
    """How an arm's share of the budget is laid out over problems and models.

    uniform: every problem gets equally many draws (the paper). until_correct: each until it has `correct`
    correct draws. difficulty: more for harder problems, by the pilot. cascade: the first model, and the
    second only where the first failed. mix: as many of each model as buy most, by the pilot.
    """

    name: PolicyName = "uniform"
    correct: Annotated[int, Field(gt=0)] = 1  # until_correct: correct draws wanted of each problem
    max_draws: Annotated[int, Field(gt=0)] = 64  # adaptive policies: of one model on one problem, at most
    rounds: Annotated[int, Field(gt=0)] = 8  # difficulty and mix: above 1 they look at outcomes in between
    goal: Literal["coverage", "distinct"] = "coverage"  # what difficulty, cascade and mix buy most of
    per_problem: Annotated[int, Field(gt=0)] = (
        4  # distinct correct draws of a problem that count for the goal
    )

    @property
    def adaptive(self) -> bool:
        return self.name in ADAPTIVE or (self.name in ("difficulty", "mix") and self.rounds > 1)


class Pilot(Section):
    """A few draws of every model before the plan is made; they count as draws of the run."""

    draws: Annotated[int, Field(gt=0)] = 4  # per problem and model
    problems: Annotated[int, Field(gt=0)] = 200  # the first ones, at most; fewer where they would cost
    share: Annotated[float, Field(gt=0, le=1)] = 0.2  # more than this part of a budget in dollars


class Mixture(Section):
    """An arm of several models that share its budget."""

    models: Annotated[tuple[str, ...], Field(min_length=1)]
    weights: tuple[Annotated[float, Field(gt=0)], ...] = ()  # shares of the arm's budget; equal unless given
    policy: Annotated[Policy, BeforeValidator(_by_name)] | None = None  # None: budget.policy

    @model_validator(mode="after")
    def _one_weight_each(self) -> Self:
        if self.weights and len(self.weights) != len(self.models):
            raise ValueError(f"{len(self.weights)} weights for {len(self.models)} models: give one for each")
        if len(set(self.models)) != len(self.models):
            raise ValueError(
                "a model stands twice: give it another entry under models to draw it differently"
            )
        return self


def _members(value: Any) -> Any:
    """`[cheap, strong]` is short for {models: [cheap, strong]}."""
    return {"models": value} if isinstance(value, list | tuple) else value


Members = Annotated[Mixture, BeforeValidator(_members)]


class Budget(Section):
    """What may be spent, and what is held equal between arms. Exactly one of usd, flops and draws.

    usd and flops are totals of the run, split equally over arms. draws is per problem: what the dearest
    arm draws; the others get as many as the same cost buys.
    """

    usd: Annotated[Decimal, Field(gt=0)] | None = None
    flops: Annotated[float, Field(gt=0)] | None = None
    draws: Annotated[int, Field(gt=0)] | None = None
    match: Match = "price"
    cap_usd: Annotated[Decimal, Field(gt=0)] | None = None  # hard; defaults to usd
    policy: Annotated[Policy, BeforeValidator(_by_name)] = Policy()  # of arms that name none of their own
    pilot: Annotated[Pilot, BeforeValidator(_by_draws)] | None = None
    flops_terms: tuple[Literal["prefill", "attention"], ...] = ()  # counted besides the paper's 2PT

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        given = [k for k in ("usd", "flops", "draws") if getattr(self, k) is not None]
        if len(given) != 1:
            found = " and ".join(given) if given else "none of them"
            raise ValueError(f"give exactly one of usd, flops and draws, not {found}")
        return self

    @property
    def cap(self) -> Decimal | None:
        return self.cap_usd if self.cap_usd is not None else self.usd
