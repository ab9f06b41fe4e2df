"""Play a policy before paying: what it is expected to reach, under every truth the pilot leaves open.

The same loop that would spend the money is run against simulated abilities, drawn from the posterior of each
problem. It is the only way to value a policy that reacts to outcomes, and it values the others alike.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from toolkit.forecast.ability import CHANCES, Floats, Ints, likelihood
from toolkit.policies.book import Book
from toolkit.policies.joint import FACTOR_WEIGHTS, Joint
from toolkit.policies.nouns import Goal, Known, State, Targets, price_of
from toolkit.policies.rules import Policy
from toolkit.types import Estimate

_ROUNDS = 200  # more than any policy takes
_SAMPLE = 400  # problems played per truth; the spread this adds is taken out again
_T95 = 2.04  # Student's t at 31 degrees of freedom: the truths are 32
DISTINCT = Goal(4)


class World(Protocol):
    """What answers draws: a simulation here, a record of real draws elsewhere."""

    def draw(self, member: int, more: Ints, known: Known) -> tuple[Ints, Ints]:
        """Correct and new distinct correct ones among `more` draws of each problem."""
        ...


@dataclass(frozen=True, slots=True)
class Outlook:
    """What a policy is expected to reach on the whole set, pilot included. 95 % intervals include the luck of
    the draws."""

    coverage: Estimate
    distinct: Estimate  # correct distinct draws per problem, at most DISTINCT.cap counted
    cost: Estimate  # between the least and the most under any truth
    draws: dict[str, float]  # expected in all, per member


@dataclass(frozen=True, slots=True)
class Played:
    known: Known
    spent: float
    rounds: int


def play(policy: Policy, book: Book, state: State, world: World, *, most_rounds: int = _ROUNDS) -> Played:
    """Follow a policy to its end."""
    return _follow(policy, book, state, (world, policy.next_targets(book, state), most_rounds))


def _follow(policy: Policy, book: Book, state: State, course: tuple[World, Targets | None, int]) -> Played:
    world, targets, most_rounds = course
    start = state.left
    while targets is not None and state.round < most_rounds:
        known = state.known
        spent = price_of(book.members, known, targets)
        new = [world.draw(j, targets[j] - known.draws[j], known) for j in range(len(targets))]
        correct, distinct = (np.stack([pair[i] for pair in new]) for i in (0, 1))
        state = state.after(Known(targets, known.correct + correct, known.distinct + distinct), spent)
        targets = policy.next_targets(book, state)
    return Played(state.known, start - state.left, state.round)


@dataclass(frozen=True, slots=True)
class Imagined:
    """A world of known chances, whose duplicates follow the members' models."""

    chances: Floats  # members x problems
    theta: tuple[float, ...]  # per member
    rng: np.random.Generator

    def draw(self, member: int, more: Ints, known: Known) -> tuple[Ints, Ints]:
        correct = self.rng.binomial(more, self.chances[member])
        distinct = np.zeros_like(correct)
        for i in range(int(correct.max(initial=0))):
            here = np.flatnonzero(correct > i)
            theta = self.theta[member]
            new = theta / (theta + known.correct[member, here] + i)
            distinct[here] += self.rng.random(len(here)) < new
        return correct, distinct


def expected(policy: Policy, book: Book, state: State, *, seed: int = 0) -> Outlook:
    """Forecast a policy by playing it under each truth of the book, on a sample of the problems with its
    share of the money. Equal seeds play all policies on the same problems of the same chances."""
    everything = state.known.problems
    sample = _sample(state.known, min(everything, _SAMPLE), np.random.default_rng(seed))
    known, scale = state.known.of(sample), everything / len(sample)
    begin = State(known, state.left / scale, state.round)
    first = policy.next_targets(book, begin)  # the same under every truth
    before, there = _reached(known), _reached(state.known).mean(axis=1, keepdims=True)
    values, spent, draws = [], [], []
    for i, truth in enumerate(book.truths):
        world = _imagine(book, truth, known, (i, np.random.default_rng((seed, i))))
        played = _follow(policy, book, begin, (world, first, _ROUNDS))
        values.append(there + _reached(played.known) - before)  # only what is still to come is uncertain
        spent.append(played.spent * scale)
        draws.append(played.known.draws.sum(axis=1) * scale)
    found = np.array(values, dtype=np.float64)  # truths x 2 x problems
    return Outlook(
        _estimate(found[:, 0], 1.0),
        _estimate(found[:, 1], float(DISTINCT.cap)),
        Estimate(float(np.mean(spent)), float(np.min(spent)), float(np.max(spent))),
        {m.name: float(d) for m, d in zip(book.members, np.mean(draws, axis=0), strict=True)},
    )


def _reached(known: Known) -> Floats:
    """(2 x problems): solved, and distinct correct draws that count."""
    return np.stack([known.solved, known.counted(DISTINCT)]).astype(np.float64)


def _estimate(values: Floats, most: float) -> Estimate:
    """From truths x problems. The truths' means spread by what is not known and by the luck of the problems
    played, which is no less than that of the whole set."""
    means = values.mean(axis=1)
    mean, half = float(means.mean()), _T95 * float(means.std(ddof=1))
    return Estimate(mean, max(0.0, mean - half), min(most, mean + half))


def _sample(known: Known, size: int, rng: np.random.Generator) -> Ints:
    """Problems to play, those of the pilot in their share."""
    order = np.argsort(known.draws.sum(axis=0) + rng.random(known.problems), kind="stable")
    return np.sort(order[np.linspace(0, known.problems - 1, size).astype(np.int64)])


def _imagine(book: Book, truth: Joint, known: Known, luck: tuple[int, np.random.Generator]) -> Imagined:
    """Chances of every problem, drawn from what its record leaves open under one truth."""
    turn, rng = luck
    likely = [likelihood(*counts) for counts in zip(known.draws, known.correct, strict=True)]
    hard = np.tile(FACTOR_WEIGHTS, (known.problems, 1))
    for one, given in zip(likely, truth.given, strict=True):
        hard = hard * (one @ given.T)
    factor = _drawn(hard, rng)
    chances = [
        CHANCES[_drawn(one * given[factor], rng)] for one, given in zip(likely, truth.given, strict=True)
    ]
    theta = tuple(m.duplicates.theta[turn % len(m.duplicates.theta)] for m in book.members)
    return Imagined(np.stack(chances), theta, rng)


def _drawn(weights: Floats, rng: np.random.Generator) -> Ints:
    """One column per row, by its weight."""
    below = np.cumsum(weights, axis=1)
    return np.asarray((below < rng.random(len(weights))[:, None] * below[:, -1:]).sum(axis=1))
