"""Worlds with a known truth, for the benchmarks of forecasts and policies: none is made by the model that is fitted."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from toolkit.policies import Known

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
KINDS = ("beta", "bimodal", "mixture", "logit-normal")
SOLUTIONS = 24  # different correct solutions a problem has at most


def abilities(kind: str, rng: np.random.Generator) -> Callable[[int], Floats]:
    """A sampler of chances of a correct draw, its shape drawn at random within the kind."""
    if kind == "beta":
        mean, size = rng.uniform(0.1, 0.85), np.exp(rng.uniform(np.log(0.5), np.log(6)))
        return lambda n: rng.beta(mean * size, (1 - mean) * size, n)
    if kind == "bimodal":
        low, high, share, size = rng.uniform((0.01, 0.6, 0.2, 10), (0.15, 0.95, 0.8, 40))
        mean = lambda n: np.where(rng.random(n) < share, low, high)  # noqa: E731
        return lambda n: (lambda m: rng.beta(m * size, (1 - m) * size))(mean(n))
    if kind == "mixture":  # out of reach, nearly sure, and anything between
        never, easy, a, b = rng.uniform((0, 0, 0.5, 0.5), (0.3, 0.3, 3, 3))
        return lambda n: np.select(
            [(u := rng.random(n)) < never, u < never + easy],
            [np.zeros(n), rng.uniform(0.9, 1, n)],
            rng.beta(a, b, n),
        )
    middle, width = rng.uniform((-3, 0.7), (2, 3))
    return lambda n: 1 / (1 + np.exp(-(middle + width * rng.standard_normal(n))))


@dataclass(frozen=True, slots=True)
class Truth:
    """Models on the same problems. `play` against it with `at(seed)`; it remembers solutions already drawn."""

    chances: Floats  # models x problems
    shares: Floats  # models x solutions: how a problem's correct draws fall on its solutions
    seen: NDArray[np.bool_]  # models x problems x solutions
    rng: np.random.Generator

    def at(self, seed: int) -> "Truth":
        return replace(self, seen=self.seen.copy(), rng=np.random.default_rng(seed))

    def draw(self, member: int, more: Ints, known: Known) -> tuple[Ints, Ints]:
        correct = self.rng.binomial(more, self.chances[member])
        new = np.zeros_like(correct)
        some = np.flatnonzero(correct)
        drawn = self.rng.multinomial(correct[some], self.shares[member]) > 0
        new[some] = (drawn & ~self.seen[member, some]).sum(axis=1)
        self.seen[member, some] |= drawn
        return correct, new

    def coverage(self, member: int, k: int) -> float:
        return float(np.mean(1 - (1 - self.chances[member]) ** k))


def truth(models: int, problems: int, rng: np.random.Generator) -> Truth:
    """Each model's abilities of a random kind, ordered alike to a random degree; in some worlds a share of the
    problems is out of everyone's reach. Solutions follow a Zipf law, not the model of duplicates fitted."""
    hard, chances = rng.standard_normal(problems), []
    for _ in range(models):
        sample = np.sort(abilities(str(rng.choice(KINDS)), rng)(problems))
        tie = rng.uniform(0.4, 0.98)
        order = np.argsort(np.argsort(tie * hard + np.sqrt(1 - tie**2) * rng.standard_normal(problems)))
        chances.append(sample[order])
    chances.sort(key=lambda p: float(p.mean()))
    table = np.stack(chances)
    if rng.random() < 0.3:
        table[:, hard < np.quantile(hard, rng.uniform(0, 0.2))] = 0.0
    ranks = np.arange(1, SOLUTIONS + 1)
    shares = np.stack([ranks ** -rng.uniform(0.0, 1.6) for _ in range(models)])
    shares /= shares.sum(axis=1, keepdims=True)
    return Truth(table, shares, np.zeros((models, problems, SOLUTIONS), dtype=bool), rng)


def pilot(world: Truth, draws: int, problems: int) -> Known:
    """So many draws by every model of the first problems, which are in random order."""
    models, everything = world.chances.shape
    known = Known(*(np.zeros((models, everything), dtype=np.int64) for _ in range(3)))
    targets = known.draws.copy()
    targets[:, :problems] = draws
    found = [world.draw(j, targets[j], known) for j in range(models)]
    return Known(targets, np.stack([f[0] for f in found]), np.stack([f[1] for f in found]))
