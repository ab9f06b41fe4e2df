"""What a guesser without a model covers: the k most common answers, tried on every problem.

Where answers come from a small set, repeated sampling looks better than it is. The baseline of Yona et al.
2024, "Keep Guessing?" (arXiv 2410.15466, TRAINCOUNTS), with each problem's own answer left out of the counts.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from toolkit.answers import tidy
from toolkit.estimators import Floats


class Guesser:
    """The golds of a run's problems, counted. Answers are compared as tidied text."""

    def __init__(self, golds: Sequence[str]) -> None:
        answers = [tidy(gold) for gold in golds]
        times = Counter(answers)
        self._times = np.array([times[answer] for answer in answers])
        self._with_count = Counter(times.values())  # how many answers occur that often

    def covers(self, k: int) -> Floats:
        """Per problem, the chance that its answer is among the k most common answers of the other problems.

        Ties are broken at random, so a chance may lie between 0 and 1.
        """
        chance = np.zeros(max(self._with_count, default=0) + 1)
        for n in self._with_count:
            chance[n] = self._among_first(n, k)
        covered: Floats = chance[self._times]
        return covered

    def _among_first(self, n: int, k: int) -> float:
        """For an answer given n times: its chance once its own problem is left out, which makes it n - 1 times."""
        if n == 1:
            return 0.0  # no other problem has it: a guesser does not know it
        ahead = sum(answers for times, answers in self._with_count.items() if times >= n) - 1
        tied = self._with_count[n - 1] + 1
        return min(max((k - ahead) / tied, 0.0), 1.0)
