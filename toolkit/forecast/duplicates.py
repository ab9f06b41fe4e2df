"""How often a correct draw repeats a solution already seen: Ewens' model of new kinds.

After c correct draws of one problem by one model, the next correct one is a new solution with chance
theta / (theta + c). One number per model; theta -> infinity means no two draws are ever equal. It is fitted
to the pilot's correct and distinct counts (Ewens 1972). Solutions of different models count as different.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from toolkit.forecast.ability import Floats, Ints

_LOG_THETA = np.linspace(np.log(0.02), np.log(2000.0), 121)
_PRIOR = (np.log(20.0), 2.5)  # centre and width of log theta: sampled solutions of reasoning rarely repeat
_KEPT = 9  # equally likely values that stand for the posterior


@dataclass(frozen=True, slots=True)
class Duplicates:
    """Equally likely values of theta."""

    theta: tuple[float, ...]

    def new(self, seen: Floats) -> Floats:
        """The chance that a correct draw is new, after `seen` correct ones."""
        theta = np.asarray(self.theta)
        return np.asarray(np.mean(theta / (theta + np.asarray(seen)[..., None]), axis=-1))


def fit_duplicates(correct: Ints, distinct: Ints) -> Duplicates:
    """From correct and distinct correct draws per problem. Two correct draws of one problem are the least
    that says anything; without any, the prior remains. Raises ValueError on impossible counts."""
    if np.any(distinct > correct) or np.any((correct > 0) & (distinct < 1)):
        raise ValueError(
            "distinct correct draws must lie between 1 and the correct ones, where there are any"
        )
    log_posterior = -0.5 * ((_LOG_THETA - _PRIOR[0]) / _PRIOR[1]) ** 2
    counts, problems = np.unique(correct, return_counts=True)
    log_posterior = log_posterior + _LOG_THETA * float(distinct.sum())
    theta = np.exp(_LOG_THETA)
    rising = np.cumsum(np.log(theta[:, None] + np.arange(int(counts.max(initial=0)))), axis=1)
    for c, n in zip(counts, problems, strict=True):
        if c:
            log_posterior = log_posterior - n * rising[:, c - 1]
    below = np.cumsum(np.exp(log_posterior - log_posterior.max()))
    places = np.searchsorted(below, below[-1] * (np.arange(_KEPT) + 0.5) / _KEPT)
    return Duplicates(tuple(float(t) for t in theta[places]))


def no_duplicates() -> Duplicates:
    return Duplicates((float("1e12"),))


@lru_cache(maxsize=1024)
def new_kinds(duplicates: Duplicates, seen: int, further: int, cap: int) -> Floats:
    """(further + 1 x cap + 1): the distribution of new distinct solutions after 0..further more correct
    draws, where `seen` correct ones came before; all from `cap` on is its last column."""
    theta = np.asarray(duplicates.theta)[:, None]
    now = np.zeros((len(theta), cap + 1))
    now[:, 0] = 1.0
    reached = np.empty((further + 1, cap + 1))
    reached[0] = now[0]
    for j in range(further):
        moved = now[:, :-1] * (theta / (theta + seen + j))
        now[:, :-1] -= moved
        now[:, 1:] += moved
        reached[j + 1] = now.mean(axis=0)
    reached.setflags(write=False)
    return reached
