"""The sheet a person labels: a CSV file and one page for the keyboard, blind to arm, gold answer and verdict.

What models wrote is untrusted: the page shows it as text only, and cells that a spreadsheet would run as a
formula get an apostrophe in front.
"""

import csv
import hashlib
import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from toolkit.audit.sample import Key
from toolkit.errors import InputError

COLUMNS = ("id", "problem", "solution", "verdict")
SOUND = {"1": True, "sound": True, "0": False, "flawed": False}
FORMULA = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True, slots=True)
class Entry:
    """What the labeller sees of one draw."""

    id: str
    problem: str
    solution: str


def write_csv(path: Path, entries: Sequence[Entry]) -> None:
    """One row per draw, the verdict to be filled in: 1 sound, 0 flawed, empty for not sure."""
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(COLUMNS)
        rows.writerows([e.id, _inert(e.problem), _inert(e.solution), ""] for e in entries)


def write_page(path: Path, entries: Sequence[Entry], title: str) -> None:
    """A page that needs nothing else: j and k move, 1 is sound, 0 is flawed, and it exports the CSV."""
    data = json.dumps([[e.id, e.problem, e.solution] for e in entries], ensure_ascii=True)
    data = data.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    name = hashlib.sha256(data.encode()).hexdigest()[:16]  # labels of another sheet are not taken for these
    page = files("toolkit.audit").joinpath("page.html").read_text(encoding="utf-8")
    for mark, text in (("@TITLE@", html.escape(title)), ("@SHEET@", name), ("@ENTRIES@", data)):
        page = page.replace(mark, text)
    path.write_text(page, encoding="utf-8")


def read_labels(path: Path, key: Key) -> dict[int, bool]:
    """Draw -> whether its reasoning is sound, of the rows that have a verdict.

    Raises InputError, one line, for a file that is no such sheet, an unknown id, a bad or a second verdict.
    """
    draws = {item.id: item.draw for item in key.items}
    labels: dict[int, bool] = {}
    for line, row in _rows(path):
        given, verdict = row["id"].strip(), row["verdict"].strip().lower()
        if given not in draws:
            raise InputError(
                f"{path}:{line}: id {given!r} is not of this audit: use the sheet made with its key"
            )
        if not verdict:
            continue
        if verdict not in SOUND:
            raise InputError(
                f"{path}:{line}: verdict {row['verdict'].strip()!r}: write 1 (sound), 0 (flawed) or leave it empty"
            )
        if labels.setdefault(draws[given], SOUND[verdict]) != SOUND[verdict]:
            raise InputError(f"{path}:{line}: id {given!r} has two different verdicts: keep one of its rows")
    if not labels:
        raise InputError(f"{path}: no verdict filled in: write 1 (sound) or 0 (flawed) in column verdict")
    return labels


def _rows(path: Path) -> list[tuple[int, Mapping[str, str]]]:
    """Rows with their line numbers, whichever separator the spreadsheet saved them with."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file: give the labelled sheet") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: not UTF-8 text: save the sheet as CSV in UTF-8") from None
    header = text.partition("\n")[0]
    separator = max(",;\t", key=header.count)
    csv.field_size_limit(2**31 - 1)  # a solution may be longer than the 128 KB that are allowed at first
    reader = csv.DictReader(text.splitlines(keepends=True), delimiter=separator, restval="")
    absent = [name for name in ("id", "verdict") if name not in (reader.fieldnames or ())]
    if absent:
        raise InputError(f"{path}: no column {absent[0]!r}: the sheet has the columns {', '.join(COLUMNS)}")
    return [(reader.line_num, row) for row in reader]


def _inert(text: str) -> str:
    return f"'{text}" if text.startswith(FORMULA) else text
