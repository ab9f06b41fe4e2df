"""Auditing the reasoning of correct draws: a blind sheet for people, and what its labels say."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from toolkit.answers import own_solution
from toolkit.audit.conclude import conclude
from toolkit.audit.sample import Item, Key, sample
from toolkit.audit.sheet import Entry, read_labels, write_csv, write_page
from toolkit.ledger import Reader
from toolkit.types import Problem

__all__ = ["Entry", "Item", "Key", "conclude", "entries", "export", "read_labels", "sample"]


def entries(reader: Reader, key: Key, problems: Mapping[int, Problem]) -> list[Entry]:
    """What the labeller sees, in the order of the key: question and solution, no arm, no gold, no verdict."""
    found = []
    for item in key.items:
        (text,) = next(reader.rows("SELECT text FROM draw_text WHERE draw=?", (item.draw,)))
        found.append(Entry(item.id, problems[item.problem].question, own_solution(text)))
    return found


def export(sheet: Path, key: Key, shown: Sequence[Entry], title: str) -> tuple[Path, Path]:
    """Write the sheet, the page beside it and the key: the paths of page and key."""
    page, secret = sheet.with_suffix(".html"), sheet.with_suffix(".key.json")
    write_csv(sheet, shown)
    write_page(page, shown, title)
    key.save(secret)
    return page, secret
