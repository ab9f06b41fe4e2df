"""Which rows a student sees, in which order, and how often: what is held equal between datasets."""

from types import SimpleNamespace

import pytest

from toolkit.finetune import rows as learning
from toolkit.spec import Finetune

pytest.importorskip("datasets")
FEW, MANY = [3] * 40, [3] * 100  # completion tokens of each row of two datasets


def test_equal_steps_repeat_the_rows_of_the_smaller_dataset_more_often() -> None:
    spec = Finetune(steps=50, batch_size=8)
    orders = [learning.order(lengths, spec, len(lengths)) for lengths in (FEW, MANY)]
    assert [len(order) for order in orders] == [400, 400]
    assert [len(order) / len(lengths) for order, lengths in zip(orders, (FEW, MANY), strict=True)] == [10, 4]


def test_equal_epochs_give_the_larger_dataset_more_steps() -> None:
    spec = Finetune(match="epochs", epochs=4, batch_size=8)
    steps = [len(learning.order(lengths, spec, len(lengths))) // 8 for lengths in (FEW, MANY)]
    assert steps == [20, 50]


def test_equal_tokens_give_short_solutions_more_steps() -> None:
    spec = Finetune(match="tokens", tokens=2400, batch_size=8)
    seen = {}
    for length in (3, 12):
        order = learning.order([length] * 40, spec, 40)
        seen[length] = (len(order) // 8, len(order) * length)
    assert seen == {3: (100, 2400), 12: (25, 2400)}


def test_tokens_are_counted_over_uneven_rows_to_within_half_a_batch() -> None:
    lengths = [1 + i % 13 for i in range(57)]
    spec = Finetune(match="tokens", tokens=5000, batch_size=4, seed=3)
    order = learning.order(lengths, spec, len(lengths))
    assert abs(sum(lengths[row] for row in order) - 5000) <= 4 * 13


def test_few_rows_still_fill_every_batch_each_seen_equally_often() -> None:
    order = learning.order([2] * 5, Finetune(steps=5, batch_size=4), 5)
    assert [sorted(order[at : at + 5]) for at in range(0, 20, 5)] == [list(range(5))] * 4


def test_training_is_fed_in_that_order() -> None:
    from datasets import Dataset

    fed = SimpleNamespace(train_dataset=Dataset.from_dict({"n": list(range(5))}))
    learning.feed(fed, [4, 0, 0, 2])
    assert fed.train_dataset["n"] == [4, 0, 0, 2]
    assert list(fed._get_train_sampler()) == [0, 1, 2, 3]


def test_of_many_rows_only_those_that_will_be_seen_are_prepared() -> None:
    from datasets import Dataset

    many = Dataset.from_dict({"n": list(range(1000))})
    seen = learning.seen(many, Finetune(steps=3, batch_size=4))["n"]
    assert len(set(seen)) == 12
    assert seen == learning.seen(many, Finetune(steps=3, batch_size=4))["n"]


@pytest.mark.parametrize(
    ("prompt", "text"), [("Q: 1+1?\nA:", "Q: 1+1?\nA: 2"), ("1+1?", "1+1?\n2"), ("1+1?\n", "1+1?\n2")]
)
def test_a_row_for_a_base_checkpoint_is_prompt_and_completion_as_text(prompt: str, text: str) -> None:
    row = {
        "prompt": [{"role": "user", "content": prompt}],
        "completion": [{"role": "assistant", "content": "2"}],
    }
    told = learning.as_text(row)
    assert told["prompt"] + told["completion"] == text
