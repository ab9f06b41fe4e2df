"""Which candidates become rows: pure choices over columns of numbers, no text and no ledger.

Everything is decided by one order within each problem, so that fewer rows are always a part of more: first
every distinct solution once, then the repeats; within those, spread evenly over the draws' indices, from a
place that the seed decides.
"""

from collections.abc import Iterable
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Keys = NDArray[np.uint64]
Mask = NDArray[np.bool_]

HUMAN = -1  # in place of a draw: the human solution that came with the problem
_GOLDEN = 0x9E3779B97F4A7C15


@dataclass(frozen=True, slots=True)
class Candidates:
    """Solutions that may become rows, by problem, index and part: columns of one length."""

    draw: Ints  # ledger id, or HUMAN
    problem: Ints  # ledger id
    idx: Ints  # the draw's index within its problem and part, or HUMAN
    part: Ints  # position of its ledger row among those asked for, or HUMAN
    key: Keys  # equal within a problem: the same solution

    def __len__(self) -> int:
        return len(self.draw)

    def where(self, chosen: Mask | Ints) -> "Candidates":
        """Those under the mask, or at these positions."""
        return Candidates(**{f.name: getattr(self, f.name)[chosen] for f in fields(self)})


def joined(pieces: Iterable[Candidates]) -> Candidates:
    """All of them, in order of problem, index and part."""
    pieces = list(pieces)
    columns = {f.name: [getattr(piece, f.name) for piece in pieces] for f in fields(Candidates)}
    empty = {"key": np.empty(0, np.uint64)}
    whole = Candidates(
        **{
            name: np.concatenate([empty.get(name, np.empty(0, np.int64)), *parts])
            for name, parts in columns.items()
        }
    )
    return whole.where(np.lexsort((whole.part, whole.idx, whole.problem)))


def ordinals(*groups: NDArray[np.int64] | Keys) -> tuple[Ints, Ints]:
    """For every row its place among the rows of its group, in their order, and the size of that group.

    Rows are of one group where all `groups` agree.
    """
    rows = len(groups[0])
    order = np.lexsort(groups)  # stable: within a group the rows keep their order
    first = np.ones(rows, bool)
    first[1:] = np.any([g[order][1:] != g[order][:-1] for g in groups], axis=0) if rows else first[1:]
    starts = np.flatnonzero(first)
    sizes = np.diff(np.append(starts, rows))
    place, size = np.empty(rows, np.int64), np.empty(rows, np.int64)
    place[order] = np.arange(rows) - np.repeat(starts, sizes)
    size[order] = np.repeat(sizes, sizes)
    return place, size


def first_of_equals(candidates: Candidates) -> Mask:
    """One of every solution of a problem: that of the smallest index."""
    place, _ = ordinals(candidates.key, candidates.problem)
    return np.equal(place, 0)


def preference(candidates: Candidates, seed: int) -> Ints:
    """For every row its rank within its problem: the first N ranks are the N rows to keep."""
    repeat, _ = ordinals(candidates.key, candidates.problem)
    place, size = ordinals(repeat, candidates.problem)
    start = (_mixed(candidates.problem, seed) % size.astype(np.uint64)).astype(np.int64)
    spread = _reversed_bits((place + start) % size)
    order = np.lexsort((spread, repeat, candidates.problem))
    rank = np.empty(len(candidates), np.int64)
    rank[order] = ordinals(candidates.problem[order])[0]
    return rank


def fair(problem: Ints, rank: Ints, weight: Ints, wanted: int, seed: int) -> Mask:
    """Rows whose weights sum to `wanted`, or as near to it as whole rows come.

    Rows leave from the problems that have most of them, so no problem is lost while another has two; only
    below one row per problem are problems lost, by the seed.
    """
    order = np.lexsort((_mixed(problem, seed), rank))
    sums = np.concatenate([[0], np.cumsum(weight[order])])
    kept = np.zeros(len(problem), bool)
    kept[order[: int(np.argmin(np.abs(sums - wanted)))]] = True
    return kept


def copies(problem: Ints, rank: Ints) -> Ints:
    """How often each row is repeated, at least once, so that every problem has as many as the largest now has."""
    if not len(problem):
        return np.empty(0, np.int64)
    _, size = ordinals(problem)
    return int(size.max()) // size + (rank < int(size.max()) % size)


def _mixed(values: Ints, seed: int) -> Keys:
    """A well-mixed hash of each value under the seed (splitmix64, Steele et al. 2014)."""
    mixed = values.astype(np.uint64) + np.uint64(_GOLDEN * (seed + 1) % 2**64)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return mixed ^ (mixed >> np.uint64(31))


def _reversed_bits(values: Ints) -> Ints:
    """The lowest 32 bits of each value in reverse: counting so lands far from where one was (van der Corput)."""
    bits, turned = values.astype(np.int64), np.zeros(len(values), np.int64)
    for _ in range(32):
        bits, turned = bits >> 1, (turned << 1) | (bits & 1)
    return turned
