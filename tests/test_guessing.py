from itertools import pairwise, permutations

import numpy as np
import pytest

from toolkit.metrics.guessing import Guesser


def by_hand(golds: list[str], k: int) -> list[float]:
    """Each problem against the other problems' answers, all orders of equal counts tried."""
    shares = []
    for i, gold in enumerate(golds):
        others = [g for j, g in enumerate(golds) if j != i]
        answers = sorted(set(others))
        orders = [
            order
            for order in permutations(answers)
            if all(others.count(a) >= others.count(b) for a, b in pairwise(order))
        ]
        shares.append(sum(gold in order[:k] for order in orders) / len(orders))
    return shares


@pytest.mark.parametrize("golds", [list("aaabbc"), list("abcd"), list("aabbccd"), list("aaaa"), ["a"]])
@pytest.mark.parametrize("k", [1, 2, 3])
def test_the_guesser_tries_the_other_problems_answers_most_common_first(golds: list[str], k: int) -> None:
    assert Guesser(golds).covers(k) == pytest.approx(by_hand(golds, k))


def test_a_problems_own_answer_never_helps_the_guesser() -> None:
    assert not Guesser([str(i) for i in range(100)]).covers(50).any()


def test_small_answer_spaces_are_covered_by_guessing_alone() -> None:
    golds = [str(x) for x in np.random.default_rng(0).integers(0, 4, 400)]
    assert Guesser(golds).covers(4).mean() == 1
    assert 0.2 < Guesser(golds).covers(1).mean() < 0.4


def test_answers_are_compared_as_tidied_text() -> None:
    assert Guesser(["$1,000$", "1000", "1000."]).covers(1).tolist() == [1, 1, 1]
