"""How able a model is: the distribution of its chance of a correct draw over problems.

A distribution is a row of weights on one fixed grid of chances, spaced evenly in the logit: everything a
forecast needs is then linear in the row, and the sharp ends, where large k is decided, are resolved.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Curve = Callable[[float], float]  # coverage at k draws; k may be fractional

_LOGITS = np.linspace(-14.0, 14.0, 113)
_STEP = float(_LOGITS[1] - _LOGITS[0])
LOG_RIGHT: Floats = -np.logaddexp(0.0, -_LOGITS)
LOG_WRONG: Floats = -np.logaddexp(0.0, _LOGITS)
CHANCES: Floats = np.exp(LOG_RIGHT)  # the grid: 8e-7 to 1 - 8e-7
_SEARCH = 200  # halvings of a bracket: far below any rounding


@dataclass(frozen=True, slots=True)
class Beta:
    """Chances that follow Beta(a, b): the fits of the paper's curves, and what people read."""

    a: float
    b: float

    @property
    def mean(self) -> float:
        return self.a / (self.a + self.b)

    def coverage(self, k: float) -> float:
        """Of an endless set of problems, k draws each: 1 - B(a, b + k) / B(a, b)."""
        missed = (
            math.lgamma(self.b + k)
            - math.lgamma(self.b)
            - math.lgamma(self.a + self.b + k)
            + math.lgamma(self.a + self.b)
        )
        return -math.expm1(missed)


def break_even(weak: Curve, strong: Curve, k: float) -> float:
    """How many times cheaper a draw of the weak model must be for equal coverage at k strong draws.

    A price ratio above it favours the weak model. Infinite where no number of weak draws reaches the
    strong model's coverage.
    """
    aim = strong(k)
    low, high = 0.0, 1.0
    while weak(high) < aim:
        low, high = high, 2 * high
        if high > 1e12:
            return math.inf
    for _ in range(_SEARCH):
        middle = (low + high) / 2
        low, high = (middle, high) if weak(middle) < aim else (low, middle)
    return high / k


def covered(k: float) -> Floats:
    """At each chance of the grid: a correct one among k draws."""
    return -np.expm1(k * LOG_WRONG)


@lru_cache(maxsize=256)
def binomials(k: int, most: int) -> Floats:
    """(grid x most + 1): the chance of j correct among k draws, all above `most` in the last column."""
    log_factorial = np.concatenate(([0.0], np.cumsum(np.log(np.arange(1, k + 1)))))
    j = np.arange(min(most, k) + 1)
    log_ways = log_factorial[k] - log_factorial[j] - log_factorial[k - j]
    chance = np.exp(log_ways + np.multiply.outer(LOG_RIGHT, j) + np.multiply.outer(LOG_WRONG, k - j))
    if most < k:
        chance[:, -1] = np.maximum(1.0 - chance[:, :-1].sum(axis=1), 0.0)
    out = np.zeros((len(chance), most + 1))
    out[:, : chance.shape[1]] = chance
    out.setflags(write=False)
    return out


def likelihood(draws: Ints, correct: Ints) -> Floats:
    """(counts x grid): how likely so many correct ones among so many draws are, the likeliest chance being 1."""
    log = np.multiply.outer(correct, LOG_RIGHT) + np.multiply.outer(draws - correct, LOG_WRONG)
    return np.asarray(np.exp(log - log.max(axis=1, keepdims=True)))


def mixtures(parameters: Floats) -> Floats:
    """(rows x grid) distributions: two Betas and a share of problems that are out of reach.

    Columns of `parameters`: logit of the mean and log of a + b of the one, of the other, logit of the
    other's share, logit of the share out of reach.
    """
    one, other = _beta_rows(parameters[:, 0:2]), _beta_rows(parameters[:, 2:4])
    share, hopeless = (_logistic(parameters[:, column])[:, None] for column in (4, 5))
    rows = (1 - hopeless) * ((1 - share) * one + share * other)
    rows[:, 0] += hopeless[:, 0]
    return np.asarray(rows, dtype=np.float64)


def _beta_rows(parameters: Floats) -> Floats:
    """In the logit a Beta is smooth, p^a (1-p)^b, so sums stand for integrals; its two exponential tails
    beyond the grid are added to the ends."""
    size = np.exp(parameters[:, 1])
    a = _logistic(parameters[:, 0]) * size
    b = size - a
    log_density = np.multiply.outer(a, LOG_RIGHT) + np.multiply.outer(b, LOG_WRONG)
    rows = _STEP * np.exp(log_density - log_density.max(axis=1, keepdims=True))
    rows[:, 0] *= 0.5 + 1 / (_STEP * a)
    rows[:, -1] *= 0.5 + 1 / (_STEP * b)
    return np.asarray(rows / rows.sum(axis=1, keepdims=True), dtype=np.float64)


def _logistic(x: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-np.clip(x, -30.0, 30.0))), dtype=np.float64)
