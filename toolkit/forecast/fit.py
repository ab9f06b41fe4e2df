"""What a pilot says about a model's ability, as equally likely distributions.

The family is two Betas and a share of problems out of reach. A single Beta is a special case, and too sure of
itself where abilities are not Beta. Four draws per problem fix only the first four moments of the
distribution: what k = 32 needs beyond them comes from the prior, and the width of the intervals says so.
tests/bench/forecast.py measures how often they hold.
"""

from dataclasses import dataclass

import numpy as np

from toolkit.forecast.ability import CHANCES, Beta, Floats, Ints, covered, likelihood, mixtures

# Centre and width of a normal prior on each parameter, in the order of `mixtures`.
_PRIOR = np.array(
    [(0.0, 2.0), (np.log(20), 2.0), (-1.0, 2.5), (np.log(20), 2.0), (0.0, 2.0), (-4.5, 3.0)], dtype=np.float64
)
_PARTICLES, _MOVES, KEPT = 512, 3, 128


@dataclass(frozen=True, slots=True)
class Counts:
    """Problems with the same draws and correct draws are alike: (draws, correct) and how many there are."""

    draws: Ints
    correct: Ints
    problems: Floats  # may be weights


@dataclass(frozen=True, slots=True)
class Fit:
    """Ability of one model: `rows` are equally likely distributions over the grid of chances."""

    rows: Floats  # KEPT x grid
    counts: Counts  # of the pilot

    @property
    def mean(self) -> Floats:
        """The predictive distribution of the ability of a new problem."""
        return np.asarray(self.rows.mean(axis=0))

    @property
    def problems(self) -> float:
        return float(self.counts.problems.sum())

    def coverage(self, k: float) -> float:
        """Expected over the posterior, of new problems; a smooth curve, for `break_even`."""
        return float(self.mean @ covered(k))

    def beta(self) -> Beta:
        """The Beta with the same mean and spread: a summary for people, not what forecasts use."""
        mean = float(self.mean @ CHANCES)
        spread = max(float(self.mean @ CHANCES**2) - mean**2, 1e-9)
        size = max(mean * (1 - mean) / spread - 1, 1e-3)
        return Beta(mean * size, (1 - mean) * size)


def count(draws: Ints, correct: Ints, weights: Floats | None = None) -> Counts:
    """Raises ValueError unless 0 <= correct <= draws, per problem."""
    if len(draws) != len(correct) or np.any(correct < 0) or np.any(correct > draws):
        raise ValueError("each problem needs 0 <= correct <= draws")
    width = int(draws.max(initial=0)) + 1
    codes, place = np.unique(draws.astype(np.int64) * width + correct, return_inverse=True)
    problems = np.bincount(place, weights=weights, minlength=len(codes)).astype(np.float64)
    return Counts(codes // width, codes % width, problems)


def fit(draws: Ints, correct: Ints, weights: Floats | None = None, *, seed: int = 0) -> Fit:
    """From draws and correct draws per problem, the same length; problems without draws say nothing. Draws given
    because of earlier outcomes of the same problem do no harm here: a likelihood does not ask why one stopped.

    Tempered sequential Monte Carlo (Del Moral, Doucet, Jasra 2006): from the prior to the posterior in steps
    that each keep half of the particles effective. The same input gives the same fit.
    """
    counts = count(draws, correct, weights)
    rng = np.random.default_rng(seed)
    likely = likelihood(counts.draws, counts.correct).T
    centre, width = _PRIOR.T

    def log_likelihood(at: Floats) -> Floats:
        return np.asarray(np.log(np.maximum(mixtures(at) @ likely, 1e-300)) @ counts.problems)

    def log_prior(at: Floats) -> Floats:
        return np.asarray(-0.5 * (((at - centre) / width) ** 2).sum(axis=1))

    at = centre + width * rng.standard_normal((_PARTICLES, len(_PRIOR)))
    said, heat = log_likelihood(at), 0.0
    while heat < 1.0:
        step = _next_heat(said, heat)
        weight = np.exp((step - heat) * (said - said.max()))
        heat = step
        chosen = np.searchsorted(np.cumsum(weight), weight.sum() * _strata(rng)).clip(0, _PARTICLES - 1)
        at, said = at[chosen], said[chosen]
        believed = log_prior(at)
        shape = np.linalg.cholesky(np.cov(at.T) + 1e-9 * np.eye(len(_PRIOR)))
        for _ in range(_MOVES if heat < 1.0 else 2 * _MOVES):
            reach = rng.choice([1.0, 0.4]) * 2.38 / np.sqrt(len(_PRIOR))
            there = at + reach * rng.standard_normal(at.shape) @ shape.T
            says, believes = log_likelihood(there), log_prior(there)
            go = np.log(rng.random(_PARTICLES)) < heat * (says - said) + believes - believed
            at[go], said[go], believed[go] = there[go], says[go], believes[go]
    kept = rng.permutation(_PARTICLES)[:KEPT]
    return Fit(mixtures(at[kept]), counts)


def _strata(rng: np.random.Generator) -> Floats:
    return np.asarray((np.arange(_PARTICLES) + rng.random()) / _PARTICLES)


def _next_heat(said: Floats, heat: float) -> float:
    """The largest step after which half of the particles still count."""

    def effective(to: float) -> float:
        weight = np.exp((to - heat) * (said - said.max()))
        return float(weight.sum() ** 2 / (weight * weight).sum())

    if effective(1.0) >= _PARTICLES / 2:
        return 1.0
    low, high = heat, 1.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if effective(middle) > _PARTICLES / 2 else (low, middle)
    return max(low, heat + 1e-9)


def abilities(fits: Fit, draws: Ints, correct: Ints) -> Floats:
    """Per problem, the expected chance of a correct draw given its own draws and all others'."""
    counts = count(draws, correct)
    posterior = fits.mean * likelihood(counts.draws, counts.correct)
    means = posterior @ CHANCES / posterior.sum(axis=1)
    width = int(draws.max(initial=0)) + 1
    place = np.searchsorted(counts.draws * width + counts.correct, draws.astype(np.int64) * width + correct)
    return np.asarray(means[place])


def fit_levels(draws: Ints, correct: Ints, level: Ints, *, least: int = 30) -> dict[int, Fit]:
    """A fit per level; levels with fewer than `least` problems share the distributions of all."""
    everything = fit(draws, correct)
    found = {}
    for value in np.unique(level):
        here = level == value
        if here.sum() >= least:
            found[int(value)] = fit(draws[here], correct[here])
        else:
            found[int(value)] = Fit(everything.rows, count(draws[here], correct[here]))
    return found
