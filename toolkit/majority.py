"""Majority vote: the answer that most draws of a problem agree on, for problems without a gold answer.

Two answers are one where the caller's `same` says so; the vote itself knows nothing of mathematics.
More draws mean more votes, but a wrong answer may still win: a majority is no proof (for what unverified
samples do to training see arXiv 2408.16737, the experiments without gold answers).
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

Same = Callable[[str, str], bool]


@dataclass(frozen=True, slots=True)
class Vote:
    """What a problem's draws agree on."""

    answer: str | None  # as the first of its voters wrote it; None: nobody answered, or a tie
    votes: int  # for that answer, or for each of those that tie
    of: int  # draws, those without an answer included
    agree: tuple[bool, ...]  # for every draw, in order: did it vote for the winner?


def classes(answers: Sequence[str | None], same: Same) -> list[int | None]:
    """For every answer the position of the first answer equal to it; None where there is no answer.

    An answer joins the first class whose first member it equals, so the order is part of the result
    where `same` is not transitive. Equal strings are compared once.
    """
    heads: list[tuple[str, int]] = []
    known: dict[str, int] = {}
    for position, answer in enumerate(answers):
        if answer is None or answer in known:
            continue
        head = next((first for text, first in heads if same(text, answer)), None)
        if head is None:
            head = position
            heads.append((answer, position))
        known[answer] = head
    return [None if answer is None else known[answer] for answer in answers]


def winner(of: Sequence[int | None]) -> int | None:
    """The class with the most members, or None: there is none, or two have as many."""
    ranking = Counter(c for c in of if c is not None).most_common(2)
    if not ranking or (len(ranking) == 2 and ranking[0][1] == ranking[1][1]):
        return None
    return ranking[0][0]


def vote(answers: Sequence[str | None], same: Same) -> Vote:
    """The vote of one problem's draws. A draw without an answer votes for nobody; a tie has no winner."""
    of = classes(answers, same)
    won = winner(of)
    most = max(Counter(c for c in of if c is not None).values(), default=0)
    agree = tuple(won is not None and c == won for c in of)
    return Vote(None if won is None else answers[won], most, len(answers), agree)
