"""A dataset's rows on disk: for `datasets.load_from_disk`, as Parquet and as JSONL; never all in memory."""

import contextlib
import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import prompts
from toolkit.dataset.material import Material
from toolkit.dataset.pool import PAGE, texts
from toolkit.dataset.select import HUMAN, Candidates, Ints
from toolkit.spec import GOLD

NUMBERS = (
    "draw",
    "idx",
    "price_id",
    "attempt",
    "copy",
)  # int64; null where a human wrote, or nothing was priced
WORDS = ("problem", "arm", "verdict", "model")
LABELS = {"judged": "sound", "majority": "majority"}  # a row's verdict by the filter that let it in


@dataclass(frozen=True, slots=True)
class Table:
    """What is to be written: the rows, and how often each."""

    rows: Candidates
    copies: Ints
    name: str  # of the dataset, which rows of human solutions bear as their arm


def write(material: Material, table: Table, out: Path) -> None:
    """Fill the folder. The same ledger and settings give the same bytes."""
    from datasets import Dataset, Features, Value
    from datasets.arrow_writer import ArrowWriter

    text = Value("string")
    messages = [{"role": text, "content": text}]
    features = Features(
        {"prompt": messages, "completion": messages}
        | {name: Value("int64") for name in NUMBERS}
        | dict.fromkeys(WORDS, text)
    )
    with _no_progress_bars(), tempfile.TemporaryDirectory(dir=out) as draft:
        arrow = str(Path(draft) / "rows.arrow")
        with (
            (out / "data.jsonl").open("w", encoding="utf-8") as lines,
            ArrowWriter(path=arrow, features=features, writer_batch_size=PAGE) as writer,
        ):
            for row in _rows(material, table):
                writer.write(row)
                lines.write(json.dumps(row, ensure_ascii=False) + "\n")
            writer.finalize()
        stored = Dataset.from_file(arrow)  # mapped, not read
        stored.save_to_disk(str(out))
        stored.to_parquet(str(out / "data.parquet"))


def _rows(material: Material, table: Table) -> Iterator[dict[str, Any]]:
    """The rows in order of problem and index, copies beside each other."""
    asked: dict[int, str] = {}
    for start in range(0, len(table.rows), PAGE):
        page = table.rows.where(np.arange(start, min(start + PAGE, len(table.rows))))
        origin = _origins(material, page)
        for position, text in texts(material, page):
            key, draw = int(page.problem[position]), int(page.draw[position])
            if key not in asked:
                asked = {key: prompts.render(material.prompt, question=material.problems[key].question)}
            row = {
                "prompt": [{"role": "user", "content": asked[key]}],
                "completion": [{"role": "assistant", "content": text}],
                "problem": material.problems[key].id,
                **(_human(table.name) if draw == HUMAN else origin[draw]),
            }
            for copy in range(int(table.copies[start + position])):
                yield row | {"copy": copy}


def _human(name: str) -> dict[str, Any]:
    nothing = dict.fromkeys(("draw", "idx", "price_id", "attempt"))
    return {**nothing, "arm": name, "verdict": GOLD, "model": "human"}


def _origins(material: Material, page: Candidates) -> dict[int, dict[str, Any]]:
    """Where each draw came from, by its id."""
    ids = page.draw[page.draw != HUMAN].tolist()
    found = material.reader.rows(
        "SELECT d.id, d.idx, a.price_id, a.id, r.name, r.model, v.outcome FROM draw d "
        "JOIN attempt a ON a.id=d.attempt JOIN arm r ON r.id=d.arm "
        "LEFT JOIN verdict v ON v.draw=d.id AND v.verifier=? AND v.version=? "
        f"WHERE d.id IN ({','.join('?' * len(ids))})",
        (*material.verifier, *ids),
    )
    label = LABELS.get(material.spec.filter)
    return {
        draw: {
            "draw": draw,
            "idx": idx,
            "price_id": price,
            "attempt": attempt,
            "arm": arm,
            "verdict": label or outcome or "unverified",
            "model": model,
        }
        for draw, idx, price, attempt, arm, model, outcome in found
    }


def measure(material: Material, rows: Candidates) -> Ints:
    """The length of every solution in the unit of `dataset.tokens`; of the solution alone, as the loss is."""
    unit = material.spec.tokens
    if unit == "characters":
        lengths = (len(text) for _, text in texts(material, rows))
    elif unit == "words":
        lengths = (len(text.split()) for _, text in texts(material, rows))
    else:
        tokenizer = _tokenizer(unit)
        lengths = (
            len(tokenizer(text, add_special_tokens=False)["input_ids"]) for _, text in texts(material, rows)
        )
    return np.fromiter(lengths, np.int64, len(rows))


def _tokenizer(name: str) -> Any:
    from toolkit.errors import InputError

    try:
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(name)
    except ImportError:
        raise InputError(
            f"dataset.tokens: {name}: a tokenizer needs transformers: install pricematch[train], or count characters"
        ) from None
    except (OSError, ValueError) as error:
        reason = str(error).strip().split("\n")[0]
        raise InputError(
            f"dataset.tokens: {name}: no tokenizer there ({reason}): write characters, words, a folder or a hub id"
        ) from None


@contextlib.contextmanager
def _no_progress_bars() -> Iterator[None]:
    from datasets.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    if are_progress_bars_disabled():
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()
