"""The rows a student learns from, and the order in which it sees them."""

import random
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from toolkit import spec
from toolkit.errors import InputError


def rows(dataset: Path, *, chat: bool = True) -> Any:
    """Prompt and completion alone, in memory: rows mapped from a file leave caches beside it."""
    from datasets import load_from_disk

    try:
        rows = load_from_disk(str(dataset), keep_in_memory=True)
    except IndexError:  # what datasets 5 says of a folder saved without rows
        rows = []
    if not len(rows):
        raise InputError(f"{dataset}: the dataset is empty: no correct draw to learn from")
    rows = rows.select_columns(["prompt", "completion"])
    return rows if chat else rows.map(as_text, keep_in_memory=True, features=_texts())


def as_text(row: dict[str, Any]) -> dict[str, str]:
    """A row for a checkpoint without chat template: its completion follows the prompt on a new line or after a space."""
    prompt, completion = row["prompt"][0]["content"], row["completion"][0]["content"]
    gap = "" if prompt[-1:].isspace() else " " if prompt.endswith(":") else "\n"
    return {"prompt": prompt, "completion": gap + completion}


def _texts() -> Any:
    from datasets import Features, Value

    return Features({"prompt": Value("string"), "completion": Value("string")})


def seen(rows: Any, spec: spec.Finetune) -> Any:
    """The rows that training will see: all, or a seeded choice where there are more than its examples."""
    examples = spec.steps * spec.batch_size
    if spec.match != "steps" or len(rows) <= examples:
        return rows
    chosen = random.Random(spec.seed).sample(range(len(rows)), examples)
    return rows.select(chosen, keep_in_memory=True)


def order(lengths: Sequence[int], spec: spec.Finetune, rows: int) -> list[int]:
    """Which row is seen when: shuffled passes one after the other without a seam, in full batches.

    `lengths` are the completion tokens of the rows that can be used, out of `rows`. As many steps as
    `spec.match` holds equal. A Trainer left alone ends each pass with a smaller batch, so datasets with few
    rows would learn from fewer examples.
    """
    if spec.match == "steps":
        steps = spec.steps
    elif spec.match == "epochs":
        assert spec.epochs is not None
        steps = max(1, round(spec.epochs * rows / spec.batch_size))
    else:
        steps = max(1, round(_examples_of(spec.tokens or 0, lengths, spec) / spec.batch_size))
    return list(islice(_passes(len(lengths), spec.seed), steps * spec.batch_size))


def _examples_of(tokens: int, lengths: Sequence[int], spec: spec.Finetune) -> int:
    """After how many examples this many tokens of completions were seen."""
    whole, left = divmod(tokens, max(1, sum(lengths)))
    examples = whole * len(lengths)
    for row in islice(_passes(len(lengths), spec.seed), examples, None):
        if left <= 0:
            break
        left -= lengths[row]
        examples += 1
    return examples


def _passes(rows: int, seed: int) -> Iterator[int]:
    shuffle = random.Random(seed)
    while True:
        yield from shuffle.sample(range(rows), rows)


def feed(trainer: Any, order: Sequence[int]) -> None:
    """Let training see the rows in this order."""
    from torch.utils.data import SequentialSampler

    trainer.train_dataset = trainer.train_dataset.select(order, keep_in_memory=True)
    trainer._get_train_sampler = lambda *_: SequentialSampler(trainer.train_dataset)


def completion_lengths(rows: Any) -> list[int]:
    """Tokens of each prepared row that are learned from."""
    return [sum(label != -100 for label in labels) for labels in rows["labels"]]
