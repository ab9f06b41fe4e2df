"""The policies: who is asked next, how often, given what is known and the money left.

One interface: `next_targets(book, state)` gives draws in all per member and problem, or None when the policy
is done. Static ones answer once; adaptive ones answer round by round. All keep to the money left, and all
are deterministic. Draws that depend on outcomes bias plain estimators: see `toolkit.policies.honest`.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from toolkit.forecast.ability import Floats, Ints
from toolkit.policies.allocate import allocate
from toolkit.policies.book import Book
from toolkit.policies.groups import group
from toolkit.policies.nouns import Member, State, Targets, price_of, within
from toolkit.policies.tables import Tables, tables

_LOOKS = 4  # at outcomes on the way of a cascade's stage: more save draws, and cost rounds
_MOST = 1 << 20  # draws per problem nobody wants to pass


class Policy(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def adaptive(self) -> bool:
        """Whether draws depend on outcomes of earlier ones, the pilot's aside."""
        ...

    def next_targets(self, book: Book, state: State) -> Targets | None: ...


@dataclass(frozen=True, slots=True)
class Uniform:
    """The same number of draws for every problem, as many as the money buys: the paper's policy."""

    member: str
    name: str = "uniform"
    adaptive: bool = False

    def next_targets(self, book: Book, state: State) -> Targets | None:
        if state.round:
            return None
        j = book.index(self.member)
        return _checked(book, state, _level(state, j, _uniform_draws(book.members[j], state, j)))


def _level(state: State, j: int, k: int) -> Targets:
    targets = state.known.draws.copy()
    targets[j] = np.maximum(targets[j], k)
    return targets


def _uniform_draws(member: Member, state: State, j: int) -> int:
    """The most draws every problem can be brought to; floored, never rounded up."""
    counts, problems = np.unique(state.known.draws[j], return_counts=True)

    def cost(k: int) -> float:
        return float(member.cost(np.maximum(k - counts, 0)) @ problems)

    low, high = 0, 1
    while high < _MOST and cost(high) <= state.left:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if cost(middle) <= state.left else (low, middle)
    return low


@dataclass(frozen=True, slots=True)
class UntilCorrect:
    """Ask until `enough` correct draws or `most` trials, at the trial counts of `checks`."""

    member: str
    enough: int = 1
    most: int = 64
    name: str = "until_correct"
    adaptive: bool = True

    def next_targets(self, book: Book, state: State) -> Targets | None:
        j = book.index(self.member)
        wanting = (state.known.correct[j] < self.enough) & (state.known.draws[j] < self.most)
        targets = state.known.draws.copy()
        targets[j, wanting] = _next_check(targets[j, wanting], checks(self.enough, self.most))
        return _checked(book, state, targets)


def checks(enough: int, most: int) -> Ints:
    """The trial counts at which outcomes are looked at: `enough`, then about a third more each time. Fewer
    rounds than one trial at a time, at the price of at most that third too many."""
    totals = [min(enough, most)]
    while totals[-1] < most:
        totals.append(min(most, totals[-1] + max(1, totals[-1] // 3)))
    return np.array(totals, dtype=np.int64)


def _next_check(draws: Ints, totals: Ints) -> Ints:
    return np.asarray(totals[np.searchsorted(totals, draws, side="right").clip(0, len(totals) - 1)])


@dataclass(frozen=True, slots=True)
class Difficulty:
    """One model, each problem as many draws as its own record makes worth while: more for hard ones, none for
    those done. With `rounds` above 1 the money is spent in parts and outcomes are looked at in between."""

    member: str
    rounds: int = 1
    name: str = "difficulty"

    @property
    def adaptive(self) -> bool:
        return self.rounds > 1

    def next_targets(self, book: Book, state: State) -> Targets | None:
        return _greedy(book, state, self.rounds, frozenset({book.index(self.member)}))


@dataclass(frozen=True, slots=True)
class Mix:
    """All members, models or temperatures: each purchase is the draw with the most expected gain per money."""

    rounds: int = 1
    name: str = "mix"

    @property
    def adaptive(self) -> bool:
        return self.rounds > 1

    def next_targets(self, book: Book, state: State) -> Targets | None:
        return _greedy(book, state, self.rounds, frozenset(range(len(book.members))))


def _greedy(book: Book, state: State, rounds: int, only: frozenset[int]) -> Targets | None:
    if state.round >= rounds:
        return None
    part = state.left / (rounds - state.round)
    targets = allocate(book, state, part, only)
    if price_of(book.members, state.known, targets) == 0 and part < state.left:
        targets = allocate(book, state, state.left, only)  # a part that buys no draw is not the end
    return _checked(book, state, targets)


@dataclass(frozen=True, slots=True)
class Cascade:
    """The weak member first, the strong one only where the weak one failed; how far to go with each is chosen
    before every round to reach most with the money left."""

    weak: str
    strong: str
    most: int = 256
    name: str = "cascade"
    adaptive: bool = True

    def next_targets(self, book: Book, state: State) -> Targets | None:
        pair = book.index(self.weak), book.index(self.strong)
        wanting = state.known.counted(book.goal) < book.goal.cap
        if not wanting.any():
            return None
        far = _how_far(book, state, pair, self.most)
        j = pair[0] if far[0] else pair[1]
        targets = state.known.draws.copy()
        targets[j, wanting] += max(1, -(-(far[0] or far[1]) // _LOOKS))
        return _checked(book, state, targets)


def _how_far(book: Book, state: State, pair: tuple[int, int], most: int) -> tuple[int, int]:
    """More draws of the weak, then of the strong member, that are expected to finish most problems for the
    money left, each problem stopping once it is done."""
    totals = np.concatenate(([0], checks(1, most)))
    groups = group(state.known, book.goal)
    table = tables(book, groups, totals)
    unfinished = _unfinished(table, groups.sizes, pair)
    first, second = (np.diff(book.members[j].cost(totals)) for j in pair)
    zero = np.zeros(1)
    weak_cost = np.concatenate((zero, np.cumsum(first * unfinished[:-1, 0])))
    strong_cost = np.concatenate(
        (np.zeros((len(totals), 1)), np.cumsum(second * unfinished[:, :-1], axis=1)), axis=1
    )
    affordable = weak_cost[:, None] + strong_cost <= state.left
    value = np.where(affordable, unfinished, np.inf)
    i, k = np.unravel_index(int(np.argmin(value)), value.shape)
    if i == k == 0:  # not one draw for each: the last money goes where it finishes most
        slopes = (unfinished[0, 0] - unfinished[[1, 0], [0, 1]]) / np.array([first[0], second[0]])
        return (1, 0) if slopes[0] >= slopes[1] else (0, 1)
    return int(totals[i]), int(totals[k])


def _unfinished(table: Tables, sizes: Ints, pair: tuple[int, int]) -> Floats:
    """(steps x steps): expected problems below the cap after so many more draws of either member."""
    cap = table.brings[0].shape[-1] - 1
    one, other = (table.brings[j][table.cell[j]] for j in pair)  # groups x factor x steps x cap + 1
    short = np.zeros_like(other)
    at_most = np.cumsum(other, axis=-1)
    for q, have in enumerate(table.have):
        for new in range(cap - int(have)):
            short[q, ..., new] = at_most[q, ..., cap - int(have) - new - 1]
    weights = table.weights * sizes[:, None]
    return np.asarray(np.einsum("qk,qkid,qkjd->ij", weights, one, short, optimize=True))


def _checked(book: Book, state: State, targets: Targets) -> Targets | None:
    """What the money left allows of it; None where that is nothing."""
    kept = within(book.members, state, targets)
    return kept if np.any(kept > state.known.draws) else None
