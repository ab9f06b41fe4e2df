"""Majority votes: what the most common of k answers is worth, expected over every choice of k draws.

maj@k is the chance that the plurality answer of k of a problem's M draws, drawn without putting back, is
correct. Answers are one where the verifier holds them equal; draws without an answer do not vote, and answers
with equally many votes share the win. maj@1 is pass@1. Exact, so there is no luck of resampling in it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import comb

from toolkit import majority
from toolkit.types import Outcome
from toolkit.verifiers.math import quick


@dataclass(frozen=True, slots=True)
class Ballot:
    """One problem's draws, counted: a function of these numbers alone is the same for any order of draws."""

    correct: int
    rivals: tuple[int, ...]  # draws of each wrong answer, most common first
    silent: int  # draws without an answer

    @property
    def draws(self) -> int:
        return self.correct + sum(self.rivals) + self.silent


def ballot(draws: Sequence[tuple[Outcome, str | None]]) -> Ballot:
    """The ballot of (outcome, extracted answer) pairs: what verified is one answer, wrong ones are compared."""
    correct = sum(outcome is Outcome.CORRECT for outcome, _ in draws)
    wrong = [answer for outcome, answer in draws if outcome is not Outcome.CORRECT and answer is not None]
    of = majority.classes(wrong, _same)
    rivals = sorted((of.count(c) for c in set(of)), reverse=True)
    return Ballot(correct, tuple(rivals), len(draws) - correct - len(wrong))


def _same(a: str, b: str) -> bool:
    return a == b or quick(a, b) is Outcome.CORRECT


@lru_cache(maxsize=65536)
def majority_at(ballot: Ballot, k: int) -> float:
    """The chance that the plurality of k draws is the correct answer. Raises ValueError for more draws than there are."""
    if not 1 <= k <= ballot.draws:
        raise ValueError(f"maj@{k} needs at least {k} draws of every problem, not {ballot.draws}")
    won = sum(
        comb(ballot.correct, votes) * _ways(ballot, votes, k - votes)
        for votes in range(1, min(ballot.correct, k) + 1)
    )
    return won / comb(ballot.draws, k)


def _ways(ballot: Ballot, votes: int, rest: int) -> float:
    """Choices of the other `rest` draws in which no rival has more than `votes`; one with t equals counts 1 / (1 + t)."""
    table = {(0, 0): 1}  # (draws taken, rivals with equally many votes) -> choices
    for rival in ballot.rivals:
        grown: dict[tuple[int, int], int] = {}
        for (taken, equal), ways in table.items():
            for n in range(min(rival, votes, rest - taken) + 1):
                key = (taken + n, equal + (n == votes))
                grown[key] = grown.get(key, 0) + ways * comb(rival, n)
        table = grown
    return sum(
        ways * comb(ballot.silent, rest - taken) / (1 + equal) for (taken, equal), ways in table.items()
    )
