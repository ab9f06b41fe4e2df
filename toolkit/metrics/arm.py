"""An arm as its draws stand in the ledger, and what may be estimated of it without bias."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from toolkit import estimators
from toolkit.estimators import Floats, Ints
from toolkit.gpu import Flops
from toolkit.metrics import tally
from toolkit.metrics.accounts import Cost
from toolkit.metrics.tally import Counted, Distinct, Tally
from toolkit.types import PICO


@dataclass(frozen=True, slots=True)
class Part:
    """One ledger row of an arm: a model with its decoding."""

    row: int
    planned: int  # draws per problem it was to get; at most, where they depend on outcomes
    compute: Flops | None = None  # how its FLOPs are counted; None where its parameters are unknown
    prefix: int | None = None  # draws every problem was given whatever came out; None: all of them


@dataclass(frozen=True, slots=True)
class Arm:
    """An arm's parts with their draws and costs, in the same order."""

    parts: tuple[Part, ...]
    counted: Sequence[Counted]
    costs: Sequence[Cost]

    @property
    def adaptive(self) -> bool:
        return any(p.prefix is not None for p in self.parts)

    @property
    def plan(self) -> tuple[int, ...]:
        """Draws of each part in the largest design that can be estimated without bias."""
        return tuple(p.planned if p.prefix is None else min(p.prefix, p.planned) for p in self.parts)

    @property
    def planned(self) -> int:
        return sum(self.plan)

    @property
    def tallies(self) -> list[Tally]:
        """What estimates are made from."""
        return [c.prefix for c in self.counted]

    @property
    def problems(self) -> int:
        return len(self.counted[0].all.judged)

    def split(self, k: int) -> tuple[int, ...] | None:
        """k draws in the proportion of the plan; None where that is no whole number of each part's."""
        if len(self.parts) == 1:
            return (k,)
        shares = tuple(k * planned // max(self.planned, 1) for planned in self.plan)
        return shares if sum(shares) == k else None

    def refusal(self, k: int) -> str | None:
        """Why coverage at k cannot be estimated; None where it can."""
        shares = self.split(k)
        if self.adaptive and k > self.planned:
            return f"only the first {self.planned} draws of a problem were given whatever came out"
        if shares is None:
            return f"{k} draws cannot be split {':'.join(map(str, self.plan))} over the arm's parts"
        short = np.zeros(self.problems, bool)
        for counted, share in zip(self.tallies, shares, strict=True):
            short |= counted.judged < share
        if not short.any():
            return None
        return f"{int(short.sum())} of {self.problems} problems have fewer than {k} judged draws"

    def coverage(self, k: int) -> Floats:
        """Per problem."""
        tallies = self.tallies
        return estimators.mixed_coverage(
            [t.judged for t in tallies], [t.correct for t in tallies], self._at(k)
        )

    def correct(self, k: int) -> Floats:
        """Per problem, how many of k draws are correct."""
        expected = np.zeros(self.problems)
        for counted, share in zip(self.tallies, self._at(k), strict=True):
            if share:
                expected += estimators.expected_correct(counted.judged, counted.correct, share)
        return expected

    def distinct(self, found: Distinct, k: int) -> Floats:
        """Per problem, how many different correct solutions are among k draws."""
        judged = [t.judged for t in self.tallies]
        return estimators.mixed_distinct(judged, found.of, found.multiplicity, self._at(k), found.count)

    def whole_mixtures(self) -> list[int]:
        """Some k at which every part has its exact share: the smallest, doubled up to the plan."""
        if len(self.parts) == 1 or not self.planned:
            return []
        smallest = self.planned // math.gcd(*self.plan)
        return [smallest * 2**i for i in range((self.planned // smallest).bit_length())]

    def _at(self, k: int) -> tuple[int, ...]:
        shares = self.split(k)
        assert shares is not None
        return shares

    # -- all that was drawn

    def all_correct(self) -> Floats:
        """Per problem."""
        return sum((c.all.correct for c in self.counted), np.zeros(self.problems, np.int64)).astype(
            np.float64
        )

    def solved(self) -> Floats:
        """Per problem, 1 where any draw is correct."""
        return (self.all_correct() > 0).astype(np.float64)

    def distinct_of_all(self, known: Distinct | None) -> Floats:
        """Per problem, the different correct solutions after normalisation; `known` are those of `tallies`."""
        found = tally.distinct([c.all for c in self.counted], "normalised") if self.adaptive else known
        assert found is not None  # every verdict has this identity
        return found.per_problem(self.problems).astype(np.float64)

    def judged(self) -> Ints:
        return sum((c.all.judged for c in self.counted), np.zeros(self.problems, np.int64))

    def outcomes(self) -> dict[str, int]:
        return _summed([c.all.outcomes for c in self.counted])

    def truncated(self) -> int:
        return sum(c.all.truncated for c in self.counted)

    # -- money and compute

    def requests(self) -> int:
        return sum(c.requests for c in self.costs)

    def tokens(self) -> dict[str, int]:
        return _summed([c.tokens for c in self.costs])

    def total_usd(self) -> float | None:
        known = [c.pico for c in self.costs if c.pico is not None]
        return sum(int(p.sum()) for p in known) / PICO if len(known) == len(self.costs) else None

    def usd(self) -> Floats | None:
        """Per problem; None where any request is unpriced."""
        return _total([c.usd for c in self.costs])

    def flops(self) -> Floats | None:
        """Per problem; None where a usage or a parameter count is unknown."""
        return _total(self._flops())

    def average(self, k: int) -> tuple[float | None, float | None]:
        """Dollars and FLOPs of k draws of one problem, at each part's mean cost per draw."""
        drawn = [max(int(c.all.drawn.sum()), 1) for c in self.counted]
        shares = [share / n for share, n in zip(self._at(k), drawn, strict=True)]
        return _weighted(shares, [c.usd for c in self.costs]), _weighted(shares, self._flops())

    def _flops(self) -> list[Floats | None]:
        return [c.flops(p.compute) for p, c in zip(self.parts, self.costs, strict=True)]


def _weighted(shares: Sequence[float], spent: Sequence[Floats | None]) -> float | None:
    known = [share * float(s.sum()) for share, s in zip(shares, spent, strict=True) if s is not None]
    return sum(known) if len(known) == len(spent) else None


def _total(spent: Sequence[Floats | None]) -> Floats | None:
    known = [s for s in spent if s is not None]
    return sum(known[1:], known[0]) if len(known) == len(spent) else None


def _summed(counts: Sequence[Mapping[str, int]]) -> dict[str, int]:
    return {key: sum(each[key] for each in counts) for key in counts[0]}
