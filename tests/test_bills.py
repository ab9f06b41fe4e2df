"""Repricing in SQL is the same arithmetic as pricing one request at a time."""

import random
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from toolkit import cost
from toolkit.bills import repriced_pico
from toolkit.errors import InputError
from toolkit.ledger import Ledger, Reader
from toolkit.spec import Price
from toolkit.types import Problem, Usage

COLUMNS = "arm, problem, purpose, first_index, n, state, batch, prompt, cached, output, thinking, created"
Attempts = list[dict[str, Any]]
Written = Callable[[Attempts], Reader]


@pytest.fixture
def written(tmp_path: Path) -> Iterator[Written]:
    """A reader of a ledger of two arms, four problems and these attempts."""
    path = tmp_path / "ledger.sqlite"
    with Ledger(path) as ledger:
        for name in ("cheap", "strong"):
            ledger.add_arm(name, "m", "simulated", {}, name)
        ledger.add_problems([Problem(str(i), f"{i}?", "1") for i in range(4)])
    opened: list[Reader] = []

    def write(attempts: Attempts) -> Reader:
        base = {"arm": 1, "problem": 1, "purpose": "sample", "first_index": 0, "n": 1, "state": "settled"}
        base |= {"batch": None, "prompt": 10, "cached": 0, "output": 5, "thinking": 0, "created": 0.0}
        with sqlite3.connect(path) as db:
            db.execute("INSERT OR IGNORE INTO batch VALUES (1, 'key', 'remote', 'done')")
            db.executemany(
                f"INSERT INTO attempt({COLUMNS}) VALUES ({','.join(':' + c for c in COLUMNS.split(', '))})",
                [base | a for a in attempts],
            )
        opened.append(Reader(path))
        return opened[-1]

    yield write
    for reader in opened:
        reader.close()


def quoted(**facts: Any) -> Price:
    return Price.model_validate({"input": 1, "output": 4, **facts})


RICH = quoted(
    cached_input="0.1",
    thinking=5,
    above={300: {"input": 2, "output": 8}, 600: {"input": 3, "output": "8.5", "cached_input": "0.7"}},
    per_request="0.001",
    batch="0.5",
)


def test_any_ledger_costs_what_its_requests_cost_one_by_one(written: Written) -> None:
    rng = random.Random(0)
    attempts = []
    for _ in range(3000):
        prompt = rng.choice([300, 301, 600, 601, rng.randrange(900)])
        tokens = {"prompt": prompt, "cached": rng.randrange(prompt + 1)}
        tokens |= {"output": rng.randrange(500), "thinking": rng.choice([0, rng.randrange(500)])}
        attempts.append(tokens | {"problem": rng.randrange(1, 5), "batch": rng.choice([None, None, 1])})
    prices = {None: cost.price(RICH), 1: cost.price(cost.in_batches(RICH))}
    expected = dict.fromkeys(range(1, 5), 0)
    for a in attempts:
        usage = Usage(a["prompt"], a["output"], a["cached"], a["thinking"])
        expected[a["problem"]] += prices[a["batch"]].cost(usage)
    got = repriced_pico(written(attempts), 1, [1, 2, 3, 4], RICH)
    assert got is not None
    assert got.tolist() == list(expected.values())


def test_money_comes_in_the_order_asked_and_is_zero_where_nothing_was_drawn(written: Written) -> None:
    reader = written([{"problem": 2}, {"problem": 4, "output": 6}])
    got = repriced_pico(reader, 1, [4, 3, 2, 99], quoted())
    assert got is not None
    assert got.tolist() == [34 * 10**6, 0, 30 * 10**6, 0]


def test_only_answered_draws_of_this_arm_count_and_the_pilots_are_among_them(written: Written) -> None:
    others: Attempts = [{"arm": 2}, {"purpose": "evaluate"}, {"purpose": "check"}, {"state": "failed"}]
    reader = written([{}, {"purpose": "pilot"}, *others, {"state": "uncertain"}])
    got = repriced_pico(reader, 1, [1], quoted())
    assert got is not None
    assert got.tolist() == [2 * 30 * 10**6]


def test_a_ledger_without_draws_costs_nothing(written: Written) -> None:
    got = repriced_pico(written([]), 1, [1, 2], quoted())
    assert got is not None
    assert got.tolist() == [0, 0]


def test_money_of_unknown_tokens_is_unknown_not_free(written: Written) -> None:
    reader = written([{}, {"problem": 2, "output": None}])
    assert repriced_pico(reader, 1, [1, 2], quoted()) is None
    assert repriced_pico(reader, 1, [1], quoted()) is not None


def test_what_went_through_a_batch_needs_a_price_with_a_share(written: Written) -> None:
    reader = written([{"batch": 1}])
    with pytest.raises(InputError, match=r"no batch share.*set batch"):
        repriced_pico(reader, 1, [1], quoted())
    half = repriced_pico(reader, 1, [1], quoted(batch="0.5"))
    assert half is not None
    assert half.tolist() == [15 * 10**6]
