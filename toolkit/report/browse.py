"""The sample browser: a page that looks through every solution of a run, in files beside it that it loads as needed.

A page opened from a disk may not fetch, but may load scripts: so the data are scripts of one call each, an index
of all problems and their draws' outcomes, and shelves of solutions of a few hundred kilobytes. They are written
problem by problem, so that memory stays small however many draws there are. Texts are what models wrote: they are
JSON strings in ASCII, and the page shows them as text only.
"""

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO, cast

from toolkit.ledger import Reader
from toolkit.report import forms, samples
from toolkit.report.facts import Facts
from toolkit.types import Outcome, Problem

PAGE, FOLDER = "browse.html", "browse"
DRAWS = 100_000  # shown unless the run file says otherwise
SHELF = 300_000  # characters of a file of solutions, about
LONGEST = 20_000  # characters of one solution
EVALUATED = "evaluate/"  # what ledger arms of students are called
UNVERIFIED = "unverified"
CODES = {outcome: chr(ord("a") + i) for i, outcome in enumerate((*Outcome, UNVERIFIED))}  # a letter per draw


@dataclass(frozen=True, slots=True)
class Size:
    """What the browser holds."""

    draws: int
    problems: int
    whole: bool  # all there are


def write(folder: Path, ledger: Path, facts: Facts, problems: Mapping[str, Problem]) -> Size | None:
    """The page and its files; None where the ledger has no draw to show, or the run file asks for none.

    Of more draws than `report.browse` it shows those of problems spread evenly over the run.
    """
    most = int(((facts.run or {}).get("report") or {}).get("browse", DRAWS))
    if not ledger.is_file() or most <= 0:
        return None
    with Reader(ledger) as reader:
        arms = _arms(reader, facts)
        counts = _counts(reader, list(arms.values()))
        chosen = _spread(counts, most)
        if not chosen:
            return None
        (folder / FOLDER).mkdir(parents=True, exist_ok=True)
        stock = _Stock(reader, arms, _verifier(reader, facts), problems)
        index = {
            "arms": list(arms),
            "outcomes": list(CODES),
            "longest": LONGEST,
            "problems": list(_shelve(folder / FOLDER, stock, chosen)),
        }
    (folder / FOLDER / "index.js").write_text(_call("index", index), encoding="ascii")
    size = Size(sum(counts[row] for row in chosen), len(chosen), len(chosen) == len(counts))
    script = forms.source("browse.js")
    title = str((facts.run or {}).get("name") or facts.name)
    page = forms.render("browse.html.j2", title=title, size=size, script=script, sha=_sha(script))
    forms.save(folder / PAGE, page)
    return size


def _arms(reader: Reader, facts: Facts) -> dict[str, int]:
    """The run's arms, then its students as they were evaluated: name -> ledger row."""
    students = {name: row for row, name, _, _ in reader.arms() if name.startswith(EVALUATED)}
    return samples.shown(reader, facts) | students


def _counts(reader: Reader, arms: Sequence[int]) -> dict[int, int]:
    """Draws of each problem, in the problems' order."""
    marks = ",".join("?" * len(arms))
    sql = f"SELECT problem, COUNT(*) FROM draw WHERE arm IN ({marks}) GROUP BY problem ORDER BY problem"
    return dict(reader.rows(sql, arms))


def _spread(counts: Mapping[int, int], most: int) -> list[int]:
    """Problems with at most so many draws in all, evenly spread."""
    rows, total = list(counts), sum(counts.values())
    if total <= most:
        return rows
    number = max(1, len(rows) * most // total)
    return [rows[(2 * i + 1) * len(rows) // (2 * number)] for i in range(number)]


def _verifier(reader: Reader, facts: Facts) -> tuple[str, str]:
    """The one that was measured by, or else the newest."""
    used = (facts.metrics or {}).get("verifier")
    if used:
        return used["name"], used["version"]
    sql = "SELECT verifier, version FROM verdict WHERE verifier <> 'judge' GROUP BY 1, 2 ORDER BY 2 DESC"
    return next(reader.rows(sql), ("", ""))


@dataclass(frozen=True, slots=True)
class _Stock:
    """Where problems and draws are looked up, one problem at a time."""

    reader: Reader
    arms: Mapping[str, int]
    verifier: tuple[str, str]
    problems: Mapping[str, Problem]

    def problem(self, row: int) -> tuple[str, str | None, Problem | None]:
        """Its id, its level, and the problem itself where the caller has it."""
        sql = "SELECT key, sha, level FROM problem WHERE id=?"
        key, sha, level = next(self.reader.rows(sql, (row,)))
        return key, level, samples.asked(self.problems, key, sha)

    def draws(self, row: int) -> Iterator[tuple[int, list[tuple[Any, ...]]]]:
        """(number of the arm, its draws) of those that drew this problem."""
        sql = (
            "SELECT d.idx, COALESCE(v.outcome, ?), d.finish, v.extracted, v.gold, SUBSTR(t.text, 1, ?), LENGTH(t.text) "
            "FROM draw d JOIN draw_text t ON t.draw=d.id LEFT JOIN verdict v ON v.draw=d.id AND v.verifier=? "
            "AND v.version=? WHERE d.arm=? AND d.problem=? ORDER BY d.idx"
        )
        for number, arm in enumerate(self.arms.values()):
            found = list(self.reader.rows(sql, (UNVERIFIED, LONGEST, *self.verifier, arm, row)))
            if found:
                yield number, found


def _shelve(folder: Path, stock: _Stock, rows: Sequence[int]) -> Iterator[list[Any]]:
    """Write the shelves; the index line of each problem: id, level, shelf, question's start, outcomes per arm."""
    shelf = _Shelf(folder)
    for row in rows:
        key, level, problem = stock.problem(row)
        drawn = list(stock.draws(row))
        gold = next((d[4] for _, draws in drawn for d in draws if d[4] is not None), None)
        shelf.put(
            [
                problem.question[:LONGEST] if problem else None,
                gold or (problem.answer if problem else None),
                [[[idx, finish, cut(extracted), text, length] for idx, _, finish, extracted, _, text, length in draws]
                 for _, draws in drawn],
            ]
        )  # fmt: skip
        outcomes = [[number, "".join(CODES[draw[1]] for draw in draws)] for number, draws in drawn]
        yield [key, level, shelf.number, shelf.place, problem.question[:100] if problem else "", outcomes]
    shelf.close()


def cut(extracted: str | None) -> str | None:
    return None if extracted is None else extracted[:200]


class _Shelf:
    """The file of solutions that is being filled."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._out = folder, cast("TextIO", None)  # until the first is put
        self.number, self.place, self._written = -1, -1, SHELF

    def put(self, entry: list[Any]) -> None:
        """The entry at `place` of shelf `number`."""
        if self._written >= SHELF:
            self.close()
            self.number, self.place, self._written = self.number + 1, -1, 0
            self._out = (self._folder / f"{self.number}.js").open("w", encoding="ascii")
            self._out.write(f'pricematch("shelf",[{self.number},[')
        text = _json(entry)
        self.place += 1
        self._written += self._out.write(f",\n{text}" if self.place else text)

    def close(self) -> None:
        if self.number >= 0:
            self._out.write("]]);\n")
            self._out.close()


def _json(content: Any) -> str:
    """JSON that is a JavaScript literal and holds no markup: ASCII, no angle bracket."""
    text = json.dumps(content, ensure_ascii=True, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e")


def _call(name: str, content: Any) -> str:
    return f'pricematch("{name}",{_json(content)});\n'


def _sha(script: str) -> str:
    """What a content security policy knows the page's one script by."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
