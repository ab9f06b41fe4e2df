"""Means over problems and finetuning seeds, and gains between datasets, each with its interval.

Two things are a matter of chance: which problems are tested, and which seed a student was finetuned with.
Problems are resampled in pairs (every contestant meets the same ones), seeds for each dataset on its own, one
fewer than there are, with replacement, which makes the spread of their mean right (Rao and Wu 1988,
JASA 83:231); as many as there are would make it too small by (S - 1) / S. One seed shows no spread over seeds:
its interval holds the problems' alone.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolkit.estimators import interval, mean_estimate, resampled_means, wilson
from toolkit.types import Estimate

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Resampled:
    """One metric of several contestants on the same problems."""

    values: Mapping[str, Floats]  # contestant -> seeds x problems, proportions
    means: Mapping[str, Floats]  # contestant -> its mean in each resample

    def estimate(self, name: str) -> Estimate:
        """The mean over seeds and problems."""
        return mean_estimate(self.values[name].mean(0), self.means[name])

    def points(self, a: str, b: str) -> Estimate:
        """How many points a is ahead of b (0.01 is one point); absolute."""
        difference = float(self.values[a].mean() - self.values[b].mean())
        if np.array_equal(
            self.values[a], self.values[b]
        ):  # never having seen a difference in that many problems
            bound = wilson(0, self.values[a].shape[1]).high
            return Estimate(0.0, -bound, bound)
        return Estimate(difference, *interval(self.means[a] - self.means[b]))

    def relative(self, a: str, b: str) -> Estimate | None:
        """a's gain as a share of b (0.06 is +6 %, as the paper prints its gains); None where b is 0."""
        below = float(self.values[b].mean())
        if below == 0:
            return None
        with np.errstate(divide="ignore", invalid="ignore"):
            resampled = self.means[a] / self.means[b] - 1
        return Estimate(float(self.values[a].mean()) / below - 1, *interval(resampled))

    def gain(self, a: str, b: str) -> dict[str, Any]:
        """Both gains of a over b; which is which is in their names."""
        relative = self.relative(a, b)
        return {
            "a": a,
            "b": b,
            "points": self.points(a, b).as_json(),
            "relative": _finite(relative) if relative else None,
        }


def _finite(x: Estimate) -> dict[str, float | None]:
    """A bound that is infinite, because b scored nothing in that resample, is None: JSON knows no infinity."""
    return {part: value if math.isfinite(value) else None for part, value in x.as_json().items()}


def resample(values: Mapping[str, Sequence[Floats]], resamples: int, seed: int) -> Resampled:
    """Two-level resamples of every contestant: its per-problem values, one array for each finetuning seed."""
    stacked = {name: np.array(seeds, dtype=np.float64) for name, seeds in values.items()}
    columns = np.concatenate(list(stacked.values())).T
    means = resampled_means(columns, resamples, seed)
    rng = np.random.default_rng([seed, 1])
    found, start = {}, 0
    for name, own in stacked.items():
        seeds = len(own)
        found[name] = (means[:, start : start + seeds] * _weights(seeds, resamples, rng)).sum(1)
        start += seeds
    return Resampled(stacked, found)


def _weights(seeds: int, resamples: int, rng: np.random.Generator) -> Floats:
    """How much each seed counts in each resample: (resamples x seeds), rows sum to 1."""
    if seeds == 1:
        return np.ones((resamples, 1))
    drawn = rng.multinomial(seeds - 1, np.full(seeds, 1 / seeds), size=resamples)
    return np.asarray(drawn, dtype=np.float64) / (seeds - 1)
