"""How many answer-correct solutions are wrong in their reasoning: estimates from labels, with 95 % intervals.

The share is always one of retained solutions, those whose answer is right. Labels come from a sample that
weighs each solution; the unit of chance is the problem. Pure functions of arrays.
"""

import math
from dataclasses import dataclass

import numpy as np

from toolkit.estimators import Z95, Floats, Ints, score_interval
from toolkit.types import Estimate

POWER80 = 0.8416212335729143  # standard normal quantile: a real difference is shown 8 times in 10
UNSEEN = 2.0  # problems added to a variance, as uncertain as the mean allows


@dataclass(frozen=True, slots=True)
class Share:
    """A weighted share, and of how many equal independent labels it has the precision."""

    value: float
    n: float

    @property
    def estimate(self) -> Estimate:
        return score_interval(self.value, self.n)


@dataclass(frozen=True, slots=True)
class Difference:
    """Two shares compared."""

    points: Estimate  # a - b
    shown: bool  # the interval leaves out 0
    needed: (
        int | None
    )  # labels of each for the difference seen to be shown 8 times in 10; None: no difference seen


def share(flawed: Floats, weight: Floats, problem: Ints) -> Share:
    """The weighted share of flawed ones (1 flawed, 0 sound, raters averaged); draws of a problem are one cluster.

    The precision is that of the linearised ratio, problems drawn with replacement, so it is a little on the
    safe side. Raises ValueError where there are no labels.
    """
    if not len(flawed):
        raise ValueError("a share of nothing: give at least one label")
    total = float(weight.sum())
    value = float(flawed @ weight) / total
    _, cluster = np.unique(problem, return_inverse=True)
    size = np.bincount(cluster, weights=weight) / total
    n, equal = len(size), 1.0 / float(size @ size)  # Kish: as many equal clusters
    if n == 1 or not 0.0 < value < 1.0:
        return Share(value, equal)
    residual = np.bincount(cluster, weights=weight * (flawed - value)) / total
    seen = n / (n - 1) * float(residual @ residual)
    shrunk = (equal * value + Z95**2 / 2) / (equal + Z95**2)
    variance = (n * seen + UNSEEN * shrunk * (1 - shrunk) / equal) / (n + UNSEEN)
    return Share(value, value * (1 - value) / variance)


def corrected(apparent: Share, sensitivity: Share, specificity: Share) -> Estimate | None:
    """The true share behind a judge's, by what the judge gets right on labels known to be true.

    Value by Rogan and Gladen 1978; interval by Lang and Reiczigel 2014 (Prev. Vet. Med. 113), which carries
    the sampling error of all three. Sensitivity is the share of flawed ones the judge calls flawed,
    specificity of sound ones it calls sound. None where the judge does no better than chance.
    """
    if sensitivity.value + specificity.value <= 1:
        return None
    raw = (apparent.value + specificity.value - 1) / (sensitivity.value + specificity.value - 1)
    value = min(max(raw, 0.0), 1.0)
    z2 = Z95 * Z95
    se, n_se = _padded(sensitivity, 1.0)
    sp, n_sp = _padded(specificity, 1.0)
    seen, n = _padded(apparent, z2 / 2)
    if se + sp <= 1:
        return Estimate(value, 0.0, 1.0)
    centre = (seen + sp - 1) / (se + sp - 1)
    of_se, of_sp = se * (1 - se) / n_se, sp * (1 - sp) / n_sp
    shift = 2 * z2 * (centre * of_se - (1 - centre) * of_sp)
    variance = seen * (1 - seen) / n + centre**2 * of_se + (1 - centre) ** 2 * of_sp
    half = Z95 * math.sqrt(variance) / (se + sp - 1)
    low, high = max(centre + shift - half, 0.0), min(centre + shift + half, 1.0)
    return Estimate(value, min(low, value), max(high, value))


def _padded(given: Share, extra: float) -> tuple[float, float]:
    """The share with that many successes and failures added (Agresti and Coull 1998)."""
    n = given.n + 2 * extra
    return (given.value * given.n + extra) / n, n


def combined(human: Share, apparent: Share, called: Share, not_called: Share) -> Share:
    """People's share made sharper by a judge who saw more draws, of which people saw a random part.

    `apparent` is the judge's share; `called` and `not_called` are the shares of truly flawed among the draws
    that people labelled and the judge called flawed, or sound. Double sampling of Tenenbein 1970 (JASA 65): it
    inverts the judge's sensitivity and specificity at this arm's own rate, so it is never less precise than
    people alone, which the correction by `corrected` is unless people labelled hundreds.
    """
    value = apparent.value * called.value + (1 - apparent.value) * not_called.value
    if not 0.0 < value < 1.0:
        return Share(value, human.n)
    (p, n_p), (q, n_q) = _padded(called, 1.0), _padded(not_called, 1.0)
    within = apparent.value**2 * p * (1 - p) / n_p + (1 - apparent.value) ** 2 * q * (1 - q) / n_q
    between = (called.value - not_called.value) ** 2 * apparent.value * (1 - apparent.value) / apparent.n
    n = value * (1 - value) / (within + between)
    return Share(value, min(max(n, human.n), max(apparent.n, human.n)))


def difference(a: Estimate, b: Estimate, labels: int) -> Difference:
    """a - b of two independent estimates, each from about `labels` labels.

    The interval combines the two (Newcombe 1998, method 10; Zou and Donner 2008). `needed` scales the labels
    by the error there is now.
    """
    gap = a.value - b.value
    low = gap - math.hypot(a.value - a.low, b.high - b.value)
    high = gap + math.hypot(a.high - a.value, b.value - b.low)
    shown = not low <= 0 <= high
    if gap == 0:
        return Difference(Estimate(gap, low, high), shown, None)
    error = (high - low) / (2 * Z95)
    needed = math.ceil(labels * (error * (Z95 + POWER80) / gap) ** 2)
    return Difference(Estimate(gap, low, high), shown, max(needed, 1))


def sentence(names: tuple[str, str], found: Difference) -> str:
    """What may be said of the difference between two arms."""
    a, b = names
    x = found.points
    said = f"{a} minus {b}: {100 * x.value:+.1f} points [{100 * x.low:+.1f}, {100 * x.high:+.1f}]"
    if found.shown:
        return f"{said}: {a if x.value > 0 else b} has more false positives"
    if found.needed is None:
        return f"{said}: cannot tell them apart"
    return f"{said}: cannot tell; about {found.needed:,} labels per arm would be needed to show such a difference"
