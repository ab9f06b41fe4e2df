"""Problems of which the same is known are alike: a plan for a million problems is one for a few hundred groups."""

from dataclasses import dataclass

import numpy as np

from toolkit.forecast.ability import Floats, Ints
from toolkit.policies.nouns import Goal, Known

_MOST_GROUPS = 6000  # beyond, counts are rounded until fewer remain


@dataclass(frozen=True, slots=True)
class Groups:
    of: Ints  # per problem, its group
    sizes: Ints
    draws: Ints  # members x groups
    correct: Ints
    have: Ints  # distinct correct draws, at most the cap


def group(known: Known, goal: Goal, *, finished: bool = True) -> Groups:
    """Problems by what is known of them; with `finished`, those at the cap are one group, whatever else."""
    have = known.counted(goal)
    draws, correct = known.draws, known.correct
    if finished:
        done = have >= goal.cap
        draws, correct = np.where(done, 0, draws), np.where(done, 0, correct)
    coarse = 0.0
    while True:
        found = _group(*_rounded(draws, correct, coarse), have)
        if len(found.sizes) <= _MOST_GROUPS:
            return found
        coarse += 0.5


def _rounded(draws: Ints, correct: Ints, coarse: float) -> tuple[Ints, Ints]:
    """Counts to steps of a factor of 2**coarse. A problem with a correct draw keeps one."""
    if not coarse:
        return draws, correct
    fewer = np.where(draws > 0, np.floor(2 ** (coarse * np.floor(_log2(draws) / coarse))), 0).astype(np.int64)
    share = np.round(correct * fewer / np.maximum(draws, 1)).astype(np.int64)
    on_steps = np.where(share > 1, np.floor(2 ** (coarse * np.floor(_log2(share) / coarse))), share)
    return fewer, np.maximum(on_steps.astype(np.int64), np.minimum(correct, 1))


def _log2(counts: Ints) -> Floats:
    return np.asarray(np.log2(np.maximum(counts, 1)) + 1e-9)


def _group(draws: Ints, correct: Ints, have: Ints) -> Groups:
    code = have.astype(np.int64)
    for counts in (*draws, *correct):
        code = code * (int(counts.max(initial=0)) + 1) + counts
        if len(code) and code.max() > 2**40:  # renumber before the next factor could overflow
            code = np.unique(code, return_inverse=True)[1].astype(np.int64)
    _, first, of, sizes = np.unique(code, return_index=True, return_inverse=True, return_counts=True)
    return Groups(of, sizes, draws[:, first], correct[:, first], have[first])
