"""Estimates that stay unbiased when draws depended on outcomes.

Stopping at the first success makes c / M too large and coverage@k from M and c wrong. Three ways out: use only
the draws every problem got whatever came out (`prefix`); where a problem's draws depended on its own outcomes
alone, by a known rule, count paths (`coverage_when_stopped`); or report what was reached, which is no
estimate of coverage@k but a fact: `Known.solved`.
"""

import numpy as np
from numpy.typing import NDArray

from toolkit.forecast.ability import Floats, Ints


def prefix(
    problem: Ints, index: Ints, correct: NDArray[np.bool_], *, first: int, problems: int
) -> tuple[Ints, Ints]:
    """Draws and correct ones per problem among indices below `first`: as many as every problem was given
    regardless of outcomes. One entry of `problem`, `index`, `correct` per draw.

    That is the pilot's draws on the pilot's problems, all draws of `Uniform`, the first `enough` of
    `UntilCorrect`. Problems with fewer than `first` (not in the pilot, failed requests) are to be left out.
    """
    here = index < first
    draws = np.bincount(problem[here], minlength=problems)
    right = np.bincount(problem[here], weights=correct[here], minlength=problems)
    return draws.astype(np.int64), right.astype(np.int64)


def coverage_when_stopped(draws: Ints, correct: Ints, k: int, *, totals: Ints, enough: int) -> Floats:
    """Per problem, an unbiased estimate of the chance of a correct one among k draws, where asking stopped at
    the first of `totals` (ascending trial counts) with `enough` correct, or at the last of them.

    1 - (paths to where it stopped that begin with k wrong draws) / (all such paths): Girshick, Mosteller and
    Savage 1946. Unbiased for k up to the last of `totals`, if the money did not end before the rule did.
    Raises ValueError for larger k and for counts at which the rule does not stop.
    """
    if k > int(totals[-1]):
        raise ValueError(f"k={k} is beyond the {int(totals[-1])} trials a problem gets at most")
    every = _paths(totals, enough, 0)
    late = _paths(totals, enough, k)
    width = int(totals[-1]) + 1
    codes, place = np.unique(draws * width + correct, return_inverse=True)
    found = np.empty(len(codes))
    for i, code in enumerate(codes):
        at = (int(code) // width, int(code) % width)
        if every.get(at, 0.0) == 0.0:
            raise ValueError(f"{at[1]} correct of {at[0]} draws: the rule would not have stopped there")
        found[i] = 1.0 - late.get(at, 0.0) / every[at]
    return np.asarray(found[place])


def _paths(totals: Ints, enough: int, wrong_first: int) -> dict[tuple[int, int], float]:
    """Paths to each stopping point, in units of 2**-draws, that begin with so many wrong draws. Weighed by
    halves no number overflows, and ratios of one point are those of counts."""
    looks, stopped = {int(t) for t in totals}, {}
    alive = {0: 1.0}  # by correct draws
    for draw in range(1, int(totals[-1]) + 1):
        moved: dict[int, float] = {}
        for c, weight in alive.items():
            moved[c] = moved.get(c, 0.0) + weight / 2
            if draw > wrong_first:
                moved[c + 1] = moved.get(c + 1, 0.0) + weight / 2
        alive = moved
        if draw in looks:
            for c in [c for c in alive if c >= enough or draw == int(totals[-1])]:
                stopped[draw, c] = alive.pop(c)
    return stopped
