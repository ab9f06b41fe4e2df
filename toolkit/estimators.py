"""Unbiased estimators over problems, and their 95 % intervals. Pure functions of arrays.

The unit of chance is the problem: draws of one problem are not independent, so intervals resample
problems, never draws.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from toolkit.types import Estimate

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

Z95 = 1.959963984540054
_BLOCK = 128  # resamples drawn at once: 128 x 7,500 problems of weights are 8 MB


def coverage(draws: Ints, correct: Ints, k: int) -> Floats:
    """Per problem, the chance of a correct one among k of its draws: 1 - C(M-c, k) / C(M, k).

    `draws` (M) and `correct` (c) are per problem. The estimator of pass@k of Chen et al. 2021,
    arXiv 2107.03374. Raises ValueError where a problem has fewer than k draws.
    """
    return chance_of_any(draws, correct, k)


def chance_of_any(draws: Ints, marked: Ints, k: int) -> Floats:
    """Elementwise: the chance that k draws out of `draws`, without putting back, hold one of `marked`."""
    if k < 1 or (len(draws) and int(draws.min()) < k):
        raise ValueError(f"k={k} needs at least {max(k, 1)} draws of every problem")
    chance = np.empty(len(draws))
    for m in np.unique(draws):
        here = draws == m
        chance[here] = 1.0 - _missed(int(m), k)[marked[here]]
    return chance


def _missed(m: int, k: int) -> Floats:
    """C(m-c, k) / C(m, k) for c = 0..m, by the ratio of neighbours: no factorials, no overflow."""
    c = np.arange(m)
    steps = np.maximum(m - k - c, 0) / (m - c)
    return np.concatenate(([1.0], np.cumprod(steps)))


def expected_correct(draws: Ints, correct: Ints, k: int) -> Floats:
    """Per problem, how many of k draws are correct: k c / M."""
    chance_of_any(draws, correct, k)  # the same condition on k
    return k * correct / draws


def expected_distinct(draws: Ints, problem: Ints, multiplicity: Ints, k: int) -> Floats:
    """Per problem, how many different correct solutions k draws hold.

    `problem` and `multiplicity` list the distinct correct solutions: whose it is (an index into `draws`)
    and how often it was drawn.
    """
    chance_of_any(draws, np.zeros_like(draws), k)
    found = chance_of_any(draws[problem], multiplicity, k)
    return np.bincount(problem, weights=found, minlength=len(draws)).astype(np.float64)


def resampled_means(values: Floats, resamples: int, seed: int) -> Floats:
    """Bootstrap over rows: (resamples x columns) means of rows drawn with replacement.

    All columns see the same resamples, so ratios and differences of columns keep their correlation.
    """
    rng = np.random.default_rng(seed)
    n = len(values)
    means = []
    for start in range(0, resamples, _BLOCK):
        count = min(_BLOCK, resamples - start)
        rows = rng.integers(0, n, size=(count, n)) + n * np.arange(count)[:, None]
        weights = np.bincount(rows.ravel(), minlength=count * n).reshape(count, n)
        means.append(weights.astype(np.float64) @ values / n)
    return np.concatenate(means)


def interval(resampled: Floats) -> tuple[float, float]:
    """The central 95 % of resampled values. Undefined ones (0/0) are left out; infinite ones count."""
    defined = np.sort(resampled[~np.isnan(resampled)])
    if not len(defined):
        return math.nan, math.nan
    last = len(defined) - 1
    return float(defined[math.floor(0.025 * last)]), float(defined[math.ceil(0.975 * last)])


def mean_estimate(values: Floats, resampled: Floats, largest: float = 1.0) -> Estimate:
    """The mean of per-problem values in [0, largest], with its interval.

    Where every value is 0, or every one the largest, the bootstrap cannot vary; the Wilson interval of
    that many equal trials stands in.
    """
    value = float(values.mean())
    for extreme, successes in ((0.0, 0), (float(largest), len(values))):
        if np.all(values == extreme):
            bound = wilson(successes, len(values))
            return Estimate(extreme, largest * bound.low, largest * bound.high)
    return Estimate(value, *interval(resampled))


def ratio_estimate(value_over: tuple[float, float], resampled_over: tuple[Floats, Floats]) -> Estimate | None:
    """A ratio of two means with its bootstrap interval; None where the denominator is 0."""
    above, below = value_over
    if below == 0:
        return None
    with np.errstate(divide="ignore", invalid="ignore"):
        return Estimate(above / below, *interval(resampled_over[0] / resampled_over[1]))


def wilson(successes: float, n: int) -> Estimate:
    """A proportion with the Wilson score interval (Wilson 1927)."""
    if n <= 0:
        raise ValueError("a proportion of nothing: n must be positive")
    p, z2 = successes / n, Z95 * Z95
    centre = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = Z95 * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    return Estimate(p, max(0.0, min(p, centre - half)), min(1.0, max(p, centre + half)))


def paired_difference(
    a: Sequence[float] | Floats, b: Sequence[float] | Floats, *, resamples: int = 1000, seed: int = 0
) -> Estimate:
    """Mean of a - b over the same problems in the same order, problems resampled in pairs.

    Values are proportions. Where no problem differs, the bound is that of never having seen a difference
    in that many problems.
    """
    if len(a) != len(b) or not len(a):
        raise ValueError(
            f"a paired difference needs the same problems on both sides, not {len(a)} and {len(b)}"
        )
    difference = np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64)
    if not difference.any():
        bound = wilson(0, len(difference)).high
        return Estimate(0.0, -bound, bound)
    resampled = resampled_means(difference[:, None], resamples, seed)[:, 0]
    return Estimate(float(difference.mean()), *interval(resampled))
