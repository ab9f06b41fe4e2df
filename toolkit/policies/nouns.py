"""What every policy speaks of: members, goals, what is known of each problem, and the money left."""

import math
from dataclasses import dataclass, field, replace

import numpy as np

from toolkit.forecast import Duplicates, Fit, no_duplicates
from toolkit.forecast.ability import Floats, Ints


@dataclass(frozen=True, slots=True)
class Member:
    """One model with its decoding. Amounts are of one currency, the same for all members and for the cap:
    expected ones, or upper bounds where the cap is to hold whatever is drawn."""

    name: str
    fit: Fit
    cost_per_draw: float  # output and thinking tokens
    cost_per_request: float = 0.0  # the prompt, billed once per request
    per_request: int = 1  # draws in one request
    duplicates: Duplicates = field(default_factory=no_duplicates)

    def __post_init__(self) -> None:
        amounts = (self.cost_per_draw, self.cost_per_request)
        if self.per_request < 1 or not all(math.isfinite(a) and a >= 0 for a in amounts) or sum(amounts) <= 0:
            raise ValueError(
                f"{self.name}: a draw needs a positive, finite cost and a request at least one draw"
            )

    def cost(self, draws: Floats | Ints) -> Floats:
        """Of that many more draws of one problem, elementwise."""
        requests = -(-np.asarray(draws) // self.per_request)
        return np.asarray(draws * self.cost_per_draw + requests * self.cost_per_request, dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Goal:
    """Distinct correct draws per problem, at most `cap` counted. Cap 1 is coverage: solved or not."""

    cap: int = 1

    def __post_init__(self) -> None:
        if self.cap < 1:
            raise ValueError("a goal counts at least one correct draw per problem")


COVERAGE = Goal(1)


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of each problem, all members x problems. Draws of unknown outcome are left out."""

    draws: Ints
    correct: Ints
    distinct: Ints  # distinct correct draws of that member

    @property
    def problems(self) -> int:
        return int(self.draws.shape[1])

    @property
    def solved(self) -> Ints:
        """Per problem: 1 where any member has a correct draw."""
        return self.counted(COVERAGE)

    def counted(self, goal: Goal) -> Ints:
        """Per problem: distinct correct draws, at most the goal's cap."""
        return np.asarray(np.minimum(self.distinct.sum(axis=0), goal.cap), dtype=np.int64)

    def of(self, problems: Ints) -> "Known":
        return Known(self.draws[:, problems], self.correct[:, problems], self.distinct[:, problems])


def nothing_known(members: int, problems: int) -> Known:
    return Known(*(np.zeros((members, problems), dtype=np.int64) for _ in range(3)))


@dataclass(frozen=True, slots=True)
class State:
    """Between two rounds."""

    known: Known
    left: float  # of the cap, in the members' currency
    round: int = 0  # rounds already done; the pilot is none of them

    def after(self, known: Known, spent: float) -> "State":
        return replace(self, known=known, left=self.left - spent, round=self.round + 1)


Targets = Ints  # members x problems: draws in all, those already there included


def price_of(members: tuple[Member, ...], known: Known, targets: Targets) -> float:
    """What is still to be paid to reach the targets."""
    more = np.maximum(targets - known.draws, 0)
    return float(sum(m.cost(extra).sum() for m, extra in zip(members, more, strict=True)))


def within(members: tuple[Member, ...], state: State, targets: Targets) -> Targets:
    """The targets, cut where the money ends: requests are kept in the order of the members, then of the
    problems, and one that does not fit is left out whole. Never more than asked, never over the cap."""
    kept, left = np.maximum(targets, state.known.draws), state.left
    for j, member in enumerate(members):
        more = kept[j] - state.known.draws[j]
        running = np.cumsum(member.cost(more))
        if len(running) and running[-1] > left:
            kept[j] = np.where(running <= left, kept[j], state.known.draws[j])
            running = np.cumsum(member.cost(kept[j] - state.known.draws[j]))
        left -= float(running[-1]) if len(running) else 0.0
    return kept
