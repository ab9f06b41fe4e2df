"""Majority votes, against counting every choice of draws one by one."""

from itertools import combinations

import pytest

from toolkit.evaluate.votes import Ballot, ballot, majority_at
from toolkit.types import Outcome

RIGHT, WRONG, NONE = Outcome.CORRECT, Outcome.INCORRECT, Outcome.UNPARSABLE


def counted(answers: list[str | None], k: int) -> float:
    """The mean over all choices of k answers: is "right" the most common, ties shared?"""
    total, choices = 0.0, list(combinations(answers, k))
    for choice in choices:
        votes = {a: choice.count(a) for a in choice if a is not None}
        top = [a for a, n in votes.items() if n == max(votes.values())]
        total += ("right" in top) / len(top) if top else 0.0
    return total / len(choices)


@pytest.mark.parametrize("k", [1, 2, 3, 4, 5, 7, 8])
@pytest.mark.parametrize(
    "answers",
    [
        ["right"] * 3 + ["a"] * 3 + ["b"] * 2,
        ["right"] * 2 + ["a"] * 2 + ["b"] * 2 + [None] * 2,
        ["right", "a", "b", "c", "d", "d", None, None],
        ["a"] * 5 + [None] * 3,
        ["right"] * 8,
        [None] * 8,
        ["right"] + [None] * 7,
    ],
)
def test_a_majority_is_expected_over_every_choice_of_draws(answers: list[str | None], k: int) -> None:
    rivals = sorted((answers.count(a) for a in {*answers} - {"right", None}), reverse=True)
    found = Ballot(answers.count("right"), tuple(rivals), answers.count(None))
    assert majority_at(found, k) == pytest.approx(counted(answers, k))


def test_a_majority_of_one_is_pass_at_1() -> None:
    assert majority_at(Ballot(3, (4, 2), 7), 1) == pytest.approx(3 / 16)


def test_a_majority_of_more_draws_than_there_are_is_refused() -> None:
    with pytest.raises(ValueError, match="maj@8 needs at least 8 draws"):
        majority_at(Ballot(2, (), 2), 8)


def test_equal_answers_vote_together_however_they_are_written() -> None:
    draws = [(RIGHT, "1/2"), (RIGHT, "0.5"), (WRONG, "3"), (WRONG, "3.0"), (WRONG, "4"), (NONE, None)]
    assert ballot(draws) == Ballot(2, (2, 1), 1)


def test_a_wrong_majority_beats_a_right_minority() -> None:
    draws = [(RIGHT, "5")] * 3 + [(WRONG, "6")] * 5
    assert majority_at(ballot(draws), 8) == 0
    assert majority_at(ballot(draws), 1) == 3 / 8
