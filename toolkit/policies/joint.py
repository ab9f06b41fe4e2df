"""The abilities of several models on the same problems: marginals from their fits, one common factor.

Problems hard for one model are hard for the others. A Gaussian copula with one factor ("how hard") and one
loading for all models says by how much; the loading is weighed against the pilot's problems that more than
one model drew. Given the factor, models are independent, so a few nodes of it carry all sums.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from toolkit.forecast.ability import Floats, likelihood
from toolkit.policies.groups import group
from toolkit.policies.nouns import Goal, Known, Member

LOADINGS = (0.0, 0.3, 0.5, 0.65, 0.75, 0.85, 0.92, 0.97, 0.99)
_NORMAL = NormalDist()
_FACTOR = np.linspace(-2.5, 2.5, 11)
FACTOR_WEIGHTS: Floats = np.exp(-0.5 * _FACTOR**2) / np.exp(-0.5 * _FACTOR**2).sum()


@dataclass(frozen=True, slots=True)
class Joint:
    """One possible truth: per member (factor x grid), the ability given how hard the problem is."""

    given: tuple[Floats, ...]


def joint(rows: Sequence[Floats], loading: float) -> Joint:
    """From one distribution per member over the grid."""
    return Joint(tuple(_given_factor(row, loading) for row in rows))


def _given_factor(row: Floats, loading: float) -> Floats:
    """Cells of the copula, balanced so that the factor's weights give back the row exactly."""
    edges = np.clip(np.cumsum(row)[:-1], 1e-12, 1 - 1e-12)
    z = np.array([_NORMAL.inv_cdf(float(e)) for e in edges])
    at = (z[None, :] - loading * _FACTOR[:, None]) / np.sqrt(1 - loading**2)
    below = np.pad(_normal_cdf(at), ((0, 0), (1, 1)), constant_values=((0, 0), (0, 1)))
    cells = np.maximum(np.diff(below, axis=1), 1e-300)
    for _ in range(8):
        cells *= row / np.maximum(FACTOR_WEIGHTS @ cells, 1e-300)
        cells /= cells.sum(axis=1, keepdims=True)
    return np.asarray(cells)


_TABLE_X = np.linspace(-8.0, 8.0, 3201)
_TABLE_Y = np.array([_NORMAL.cdf(float(x)) for x in _TABLE_X])


def _normal_cdf(x: Floats) -> Floats:
    """By a table: errors below 1e-6, which the balancing takes up."""
    return np.asarray(np.interp(x, _TABLE_X, _TABLE_Y))


def loading_weights(members: Sequence[Member], known: Known) -> Floats:
    """How likely each of LOADINGS is, given the problems that more than one member drew."""
    shared = np.flatnonzero((known.draws > 0).sum(axis=0) > 1)
    if len(members) < 2 or not len(shared):
        return np.full(len(LOADINGS), 1 / len(LOADINGS))
    groups = group(known.of(shared), Goal(1), finished=False)
    log = np.empty(len(LOADINGS))
    for i, loading in enumerate(LOADINGS):
        truth = joint([m.fit.mean for m in members], loading)
        evidence = np.tile(FACTOR_WEIGHTS, (len(groups.sizes), 1))
        for j, given in enumerate(truth.given):
            evidence = evidence * (likelihood(groups.draws[j], groups.correct[j]) @ given.T)
        log[i] = np.log(np.maximum(evidence.sum(axis=1), 1e-300)) @ groups.sizes
    weight = np.exp(log - log.max())
    return np.asarray(weight / weight.sum())
