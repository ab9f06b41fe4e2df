"""The book a plan is made from: the members, the goal, and what is believed of all abilities together."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from toolkit.forecast.ability import Floats
from toolkit.forecast.fit import KEPT
from toolkit.policies.joint import LOADINGS, Joint, joint, loading_weights
from toolkit.policies.nouns import COVERAGE, Goal, Known, Member

_TRUTHS = 32  # equally likely joint truths a policy is rehearsed under


@dataclass(frozen=True, slots=True)
class Book:
    members: tuple[Member, ...]
    goal: Goal
    expected: Joint  # what is planned with: the predictive distributions at the likeliest loading
    truths: tuple[Joint, ...]  # equally likely ones, for intervals
    memory: dict[tuple[int, ...], Floats] = field(default_factory=dict, repr=False, compare=False)

    def index(self, name: str) -> int:
        """Raises ValueError for a name that no member has."""
        names = [m.name for m in self.members]
        if name not in names:
            raise ValueError(f"no member {name}: there are {', '.join(names)}")
        return names.index(name)


def book(members: Sequence[Member], known: Known, goal: Goal = COVERAGE) -> Book:
    """From members, each fitted to its pilot, and what is known of the problems they share."""
    if len(members) != len(known.draws):
        raise ValueError(f"{len(members)} members, but counts of {len(known.draws)}")
    weights = loading_weights(members, known)
    likeliest = LOADINGS[int(np.argmax(weights))]
    expected = joint([m.fit.mean for m in members], likeliest)
    places = (np.arange(_TRUTHS) + 0.5) / _TRUTHS
    loadings = np.searchsorted(np.cumsum(weights), places).clip(0, len(LOADINGS) - 1)
    rows = np.linspace(0, KEPT - 1, _TRUTHS).astype(int)
    order = np.random.default_rng(0).permutation(_TRUTHS)  # a loading says nothing about a row
    truths = tuple(
        joint([m.fit.rows[row] for m in members], LOADINGS[int(loadings[i])])
        for row, i in zip(rows, order, strict=True)
    )
    return Book(tuple(members), goal, expected, truths)
