"""Choices over columns of numbers: caps, matching, weights."""

import numpy as np
import pytest

from toolkit.dataset import select
from toolkit.dataset.select import Candidates


def candidates(counts: dict[int, int], keys: dict[int, list[int]] | None = None) -> Candidates:
    """`counts[problem]` draws of each problem, all distinct unless `keys` says otherwise."""
    problem = np.repeat(np.array(list(counts), np.int64), list(counts.values()))
    idx = np.concatenate([np.arange(n) for n in counts.values()])
    key = np.concatenate([(keys or {}).get(p, list(range(n))) for p, n in counts.items()])
    return Candidates(
        np.arange(len(problem)), problem, idx, np.zeros(len(problem), np.int64), key.astype(np.uint64)
    )


def test_the_first_ranks_are_distinct_solutions_before_any_repeat() -> None:
    rows = candidates({1: 8}, {1: [5, 5, 5, 5, 5, 6, 7, 7]})
    rank = select.preference(rows, seed=3)
    assert {int(k) for k in rows.key[rank < 3]} == {5, 6, 7}
    assert sorted(rank) == list(range(8))


def test_fewer_rows_are_always_a_part_of_more() -> None:
    rows = candidates({1: 30, 2: 7, 3: 1})
    rank = select.preference(rows, seed=0)
    for cap in range(1, 30):
        kept = rows.where(rank < cap)
        assert set(kept.draw) <= set(rows.where(rank < cap + 1).draw)
        assert [int(np.sum(kept.problem == p)) for p in (1, 2, 3)] == [min(cap, 30), min(cap, 7), 1]


@pytest.mark.parametrize("n", [5, 16, 30, 100])
def test_what_is_kept_is_spread_over_the_draws_indices(n: int) -> None:
    rows = candidates(dict.fromkeys(range(50), n))
    rank = select.preference(rows, seed=1)
    kept = rows.where(rank < 4)
    gaps = [np.diff([*sorted(i), min(i) + n]).max() for p in range(50) for i in [kept.idx[kept.problem == p]]]
    assert max(gaps) <= n / 2 + 1  # a random choice of four leaves gaps of up to n - 3


def test_the_seed_decides_where_the_choice_begins_and_no_index_is_favoured() -> None:
    rows = candidates(dict.fromkeys(range(2000), 10))
    firsts = rows.idx[select.preference(rows, seed=7) == 0]
    assert np.bincount(firsts, minlength=10).min() > 2000 / 10 * 0.7
    again = rows.idx[select.preference(rows, seed=7) == 0]
    other = rows.idx[select.preference(rows, seed=8) == 0]
    assert np.array_equal(firsts, again)
    assert not np.array_equal(firsts, other)


def test_downsampling_takes_from_the_problems_with_most_rows_and_keeps_coverage() -> None:
    rows = candidates({1: 30, 2: 10, 3: 1, 4: 2})
    rank = select.preference(rows, seed=0)
    ones = np.ones(len(rows), np.int64)
    kept = rows.where(select.fair(rows.problem, rank, ones, 12, seed=0))
    assert sorted(np.bincount(kept.problem)[1:].tolist()) == [1, 2, 4, 5]
    for wanted in range(4, 44):
        mask = select.fair(rows.problem, rank, ones, wanted, seed=0)
        assert mask.sum() == wanted
        assert set(rows.problem[mask]) == {1, 2, 3, 4}
    assert len(set(rows.problem[select.fair(rows.problem, rank, ones, 3, seed=0)])) == 3


def test_matching_tokens_comes_within_one_row_of_the_other_dataset() -> None:
    rng = np.random.default_rng(0)
    rows = candidates(dict.fromkeys(range(40), 10))
    rank, tokens = select.preference(rows, seed=0), rng.integers(20, 300, len(rows))
    for wanted in (9_000, 20_000, 40_000):
        mask = select.fair(rows.problem, rank, tokens, wanted, seed=0)
        assert abs(int(tokens[mask].sum()) - wanted) <= 150
        assert len(set(rows.problem[mask])) == 40


def test_repeating_rows_makes_every_solved_problem_weigh_the_same() -> None:
    rows = candidates({1: 7, 2: 3, 3: 1, 4: 5})
    times = select.copies(rows.problem, select.preference(rows, seed=0))
    assert np.bincount(rows.problem, weights=times)[1:].tolist() == [7, 7, 7, 7]
    assert times.min() == 1
    for p in (1, 2, 3, 4):  # as even as whole copies come
        assert np.ptp(times[rows.problem == p]) <= 1


def test_no_rows_are_no_trouble() -> None:
    none = candidates({1: 1}).where(np.zeros(1, bool))
    assert len(select.preference(none, 0)) == len(select.copies(none.problem, none.idx)) == 0
    assert select.fair(none.problem, none.idx, none.idx, 5, 0).sum() == 0
    assert len(select.first_of_equals(none)) == 0
