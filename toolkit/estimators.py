"""Unbiased estimators over problems, and their 95 % intervals. Pure functions of arrays.

The unit of chance is the problem: draws of one problem are not independent, so intervals resample
problems, never draws.
"""

import functools
import math
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from toolkit.types import Estimate

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

Z95 = 1.959963984540054
_UNSEEN = 2.0  # problems added to a variance
_BLOCK = 128  # resamples drawn at once: 128 x 7,500 problems of weights are 8 MB


def coverage(draws: Ints, correct: Ints, k: int) -> Floats:
    """Per problem, the chance of a correct one among k of its draws: 1 - C(M-c, k) / C(M, k).

    `draws` (M) and `correct` (c) are per problem. The estimator of pass@k of Chen et al. 2021,
    arXiv 2107.03374. Raises ValueError where a problem has fewer than k draws.
    """
    return chance_of_any(draws, correct, k)


def chance_of_any(draws: Ints, marked: Ints, k: int) -> Floats:
    """Elementwise: the chance that k draws out of `draws`, without putting back, hold one of `marked`."""
    if k < 1:
        _refuse(k)
    return 1.0 - chance_of_none(draws, marked, k)


def chance_of_none(draws: Ints, marked: Ints, k: int) -> Floats:
    """Elementwise: the chance that k draws out of `draws`, without putting back, hold none of `marked`.

    Chances of independent sources multiply: a mixture misses where each of its parts does. k may be 0.
    """
    if k < 0 or (len(draws) and int(draws.min()) < k):
        _refuse(k)
    sizes, which = np.unique(draws, return_inverse=True)
    tables = [_missed(int(m), k) for m in sizes]
    starts = np.cumsum([0, *(len(table) for table in tables)])[:-1]
    chances = np.concatenate(tables) if tables else np.empty(0)
    return chances[starts[which] + marked] if len(draws) else np.empty(0)


def _refuse(k: int) -> None:
    raise ValueError(f"k={k} needs at least {max(k, 1)} draws of every problem")


def _missed(m: int, k: int) -> Floats:
    """C(m-c, k) / C(m, k) for c = 0..m, by the ratio of neighbours: no factorials, no overflow."""
    c = np.arange(m)
    steps = np.maximum(m - k - c, 0) / (m - c)
    return np.concatenate(([1.0], np.cumprod(steps)))


def expected_correct(draws: Ints, correct: Ints, k: int) -> Floats:
    """Per problem, how many of k draws are correct: k c / M."""
    if k < 1 or (len(draws) and int(draws.min()) < k):
        _refuse(k)
    return k * correct / draws


def expected_distinct(
    draws: Ints, problem: Ints, multiplicity: Ints, k: int, count: Ints | None = None
) -> Floats:
    """Per problem, how many different correct solutions k draws hold.

    `problem` and `multiplicity` list the distinct correct solutions: whose it is (an index into `draws`)
    and how often it was drawn. With `count`, an entry stands for that many such solutions.
    """
    if k < 1 or (len(draws) and int(draws.min()) < k):
        _refuse(k)
    found = chance_of_any(draws[problem], multiplicity, k)
    return _summed(found, problem, count, len(draws))


def mixed_coverage(draws: Sequence[Ints], correct: Sequence[Ints], ks: Sequence[int]) -> Floats:
    """Per problem, the chance of a correct one among k_j draws of each part j: 1 - prod_j C(M_j-c_j,k_j)/C(M_j,k_j).

    Unbiased, as the parts are drawn independently given the problem.
    """
    return 1.0 - _product(chance_of_none(m, c, k) for m, c, k in zip(draws, correct, ks, strict=True))


def mixed_distinct(
    draws: Sequence[Ints], problem: Ints, multiplicity: Ints, ks: Sequence[int], count: Ints | None = None
) -> Floats:
    """Per problem, how many different correct solutions k_j draws of each part j hold together.

    `multiplicity` is (solutions x parts): how often each part drew a solution.
    """
    missed = _product(
        chance_of_none(m[problem], times, k) for m, times, k in zip(draws, multiplicity.T, ks, strict=True)
    )
    return _summed(1.0 - missed, problem, count, len(draws[0]))


def _product(factors: Iterable[Floats]) -> Floats:
    return functools.reduce(np.multiply, factors)


def _summed(found: Floats, problem: Ints, count: Ints | None, problems: int) -> Floats:
    weights = found if count is None else found * count
    return np.bincount(problem, weights=weights, minlength=problems).astype(np.float64)


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


def bounded_mean(values: Floats, largest: float = 1.0) -> Estimate:
    """The mean of per-problem values in [0, largest], with a score interval.

    Wilson's interval at the number of yes-or-no problems that would vary as much as these values do: exactly
    Wilson's for values that are 0 or `largest`, never outside the range, and never a point. The percentile
    bootstrap, whose standard error is the same, falls below 93 % near the ends of the range.
    """
    shares = values / largest
    value = float(shares.mean())
    bound = score_interval(value, effective_size(shares))
    return Estimate(largest * value, largest * bound.low, largest * bound.high)


def effective_size(shares: Floats) -> float:
    """How many yes-or-no problems would vary as much as these shares in [0, 1].

    The variance is taken with two further problems that are as uncertain as the mean allows: near 0 and 1 a
    sample often holds none of the few problems that make the difference, and shows too little variance.
    """
    n, value = len(shares), float(shares.mean())
    if not 0.0 < value < 1.0:
        return float(n)
    shrunk = (n * value + Z95 * Z95 / 2) / (n + Z95 * Z95)  # Agresti and Coull 1998
    variance = (n * float(shares.var()) + _UNSEEN * shrunk * (1 - shrunk)) / (n + _UNSEEN)
    return max(float(n), n * value * (1 - value) / variance)  # nothing in [0, 1] varies more than yes and no


def score_interval(value: float, n: float) -> Estimate:
    """A proportion of n equal trials (n may be fractional) with the Wilson score interval (Wilson 1927)."""
    z2 = Z95 * Z95
    centre = (value + z2 / (2 * n)) / (1 + z2 / n)
    half = Z95 * math.sqrt(value * (1 - value) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    return Estimate(value, max(0.0, min(value, centre - half)), min(1.0, max(value, centre + half)))


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
    """A proportion with the Wilson score interval."""
    if n <= 0:
        raise ValueError("a proportion of nothing: n must be positive")
    return score_interval(successes / n, n)


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
