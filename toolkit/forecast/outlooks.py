"""What a fit forecasts: coverage, correct and distinct correct draws at any k, with 95 % intervals."""

from statistics import NormalDist

import numpy as np

from toolkit.forecast.ability import CHANCES, Floats, binomials, covered, likelihood
from toolkit.forecast.duplicates import Duplicates, new_kinds
from toolkit.forecast.fit import KEPT, Fit
from toolkit.types import Estimate

_Z = np.array([NormalDist().inv_cdf((i + 0.5) / 20) for i in range(20)])
_FURTHER = 64  # correct draws of one problem followed one by one; beyond, the number of kinds stands still


def coverage(fits: Fit, k: float, *, problems: int | None = None) -> Estimate:
    """Coverage of k fresh draws per problem, with its 95 % interval.

    `problems` says of which set: None, the endless set the pilot's problems were drawn from; N, these N, of
    which the pilot's problems are a random part (N = the pilot's size: the pilot's problems themselves).
    """
    return expected_value(fits, covered(k), problems=problems)


def expected_correct(fits: Fit, k: float, *, problems: int | None = None) -> Estimate:
    """Correct draws per problem among k."""
    return expected_value(fits, k * CHANCES, problems=problems)


def expected_distinct(
    fits: Fit, duplicates: Duplicates, k: int, *, cap: int | None = None, problems: int | None = None
) -> Estimate:
    """Distinct correct draws per problem among k, at most `cap` of each problem counted. Of the uncertainty
    of the duplicates only the mean enters."""
    return expected_value(fits, distinct_values(duplicates, k, cap), problems=problems)


def distinct_values(duplicates: Duplicates, k: int, cap: int | None) -> Floats:
    """At each chance of the grid: expected distinct correct draws among k."""
    if cap is None:
        found = np.concatenate(([0.0], np.cumsum(duplicates.new(np.arange(k, dtype=np.float64)))))
        return np.asarray(binomials(k, k) @ found)
    further = min(k, _FURTHER)
    kinds = new_kinds(duplicates, 0, further, cap)
    return np.asarray(binomials(k, further) @ (kinds @ np.arange(cap + 1.0)))


def expected_value(fits: Fit, values: Floats, *, problems: int | None = None) -> Estimate:
    """The mean over problems of any function of a problem's chance, given on the grid."""
    if problems is None:
        means = fits.rows @ values
        low, high = np.quantile(means, [0.025, 0.975])
        return Estimate(float(means.mean()), float(low), float(high))
    if problems < fits.problems - 1e-9:
        raise ValueError(f"a set of {problems} problems cannot hold the pilot's {fits.problems:g}")
    return pooled([(fits, problems)], values)


def pooled(parts: list[tuple[Fit, int]], values: Floats) -> Estimate:
    """As `expected_value`, over several groups (levels), each with its own fit and its number of problems.

    Per equally likely distribution, the mean over the set is nearly normal: the pilot's problems follow their
    own posterior, the others the distribution. The interval is that of the mixture of these normals.
    """
    total = sum(problems for _, problems in parts)
    mean, variance = np.zeros(KEPT), np.zeros(KEPT)
    for fits, problems in parts:
        m, v = _sums(fits, problems, values)
        mean, variance = mean + m, variance + v
    mean, variance = mean / total, variance / total**2
    spread = (mean[:, None] + np.sqrt(np.maximum(variance, 0.0))[:, None] * _Z).ravel()
    low, high = np.quantile(spread, [0.025, 0.975])
    bounds = values.min(), values.max()
    return Estimate(float(mean.mean()), float(np.clip(low, *bounds)), float(np.clip(high, *bounds)))


def _sums(fits: Fit, problems: int, values: Floats) -> tuple[Floats, Floats]:
    """Mean and variance of the sum over a set's problems, per distribution."""
    seen = fits.counts.problems
    likely = likelihood(fits.counts.draws, fits.counts.correct).T
    evidence = fits.rows @ likely
    first = (fits.rows * values) @ likely / evidence
    second = (fits.rows * values**2) @ likely / evidence
    unseen = problems - float(seen.sum())
    new_first, new_second = fits.rows @ values, fits.rows @ values**2
    mean = first @ seen + unseen * new_first
    return mean, (second - first**2) @ seen + unseen * (new_second - new_first**2)
