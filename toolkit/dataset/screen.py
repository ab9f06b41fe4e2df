"""What must not be trained on: held-out problems, overlap with test sets, near-duplicates; each with its evidence."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from toolkit import contamination, problems
from toolkit.contamination import Hit, Index, Question
from toolkit.dataset.material import Material
from toolkit.dataset.pool import by_problem, texts
from toolkit.dataset.select import HUMAN, Candidates, Mask
from toolkit.errors import InputError
from toolkit.spec import Problems

ASKED_UNDER = ("question", "problem", "prompt", "text", "input")  # keys of a test set's question
PAGE = 4096  # solutions looked through at once

Removed = dict[str, Any]  # a line of removed.jsonl


class Screen:
    """Looks through the candidates of one dataset after the other; every solution is looked up once."""

    def __init__(self, material: Material) -> None:
        self._material = material
        self._held_out = dict(_held_out(material))
        self._index = _index(material)
        self._asked = self._contaminated_problems()
        self._hits: dict[int, Hit] = {}  # by draw
        self._seen = np.empty(0, np.int64)  # draws looked up, in order

    def clean(self, rows: Candidates) -> tuple[Mask, list[Removed]]:
        """Which rows stay, and why the others do not: one line per problem or solution."""
        lines = [self._problem_line(key, rows) for key in np.unique(rows.problem).tolist() if self._bars(key)]
        barred = np.array([self._bars(key) for key in rows.problem.tolist()], bool)
        if self._index is not None:
            rest = np.flatnonzero(~barred)
            for position, hit in self._contaminated(rows.where(rest)):
                barred[rest[position]] = True
                lines.append(self._row_line(rows, int(rest[position]), "contaminated", asdict(hit)))
        return ~barred, lines

    def apart(self, rows: Candidates, threshold: float) -> tuple[Mask, list[Removed]]:
        """Which rows stay when of nearly equal solutions to a problem only the first does."""
        kept, lines = np.ones(len(rows), bool), []
        for positions, solutions in by_problem(self._material, rows):
            near = contamination.near_duplicates(solutions, threshold)
            for position, found in zip(positions, near, strict=True):
                if found is not None:
                    kept[position] = False
                    told = {"of": int(rows.draw[positions[found.of]]), "jaccard": round(found.jaccard, 4)}
                    lines.append(self._row_line(rows, position, "near duplicate", told))
        return kept, lines

    def _bars(self, key: int) -> bool:
        return key in self._held_out or key in self._asked

    def _contaminated_problems(self) -> dict[int, Hit]:
        if self._index is None:
            return {}
        asked = self._material.problems
        hits = self._index.check([p.question for p in asked.values()])
        return {key: hit for key, hit in zip(asked, hits, strict=True) if hit is not None}

    def _contaminated(self, rows: Candidates) -> Iterator[tuple[int, Hit]]:
        """(position, hit) of solutions that repeat a test question."""
        assert self._index is not None
        new = np.flatnonzero((rows.draw == HUMAN) | ~np.isin(rows.draw, self._seen))
        for start in range(0, len(new), PAGE):
            page = rows.where(new[start : start + PAGE])
            hits = self._index.check([text for _, text in texts(self._material, page)])
            for position, hit in zip(new[start : start + PAGE].tolist(), hits, strict=True):
                if hit is not None and rows.draw[position] == HUMAN:
                    yield position, hit
                elif hit is not None:
                    self._hits[int(rows.draw[position])] = hit
        self._seen = np.union1d(self._seen, rows.draw[rows.draw != HUMAN])
        for position, draw in enumerate(rows.draw.tolist()):
            if draw in self._hits:
                yield position, self._hits[draw]

    def _problem_line(self, key: int, rows: Candidates) -> Removed:
        count = int(np.sum(rows.problem == key))
        told = {"problem": self._material.problems[key].id, "draw": None, "rows": count}
        if key in self._held_out:
            return told | {"why": "held out", "source": self._held_out[key]}
        return told | {"why": "contaminated", **asdict(self._asked[key])}

    def _row_line(self, rows: Candidates, position: int, why: str, told: Mapping[str, Any]) -> Removed:
        draw = int(rows.draw[position])
        problem = self._material.problems[int(rows.problem[position])].id
        return {"problem": problem, "draw": None if draw == HUMAN else draw, "rows": 1, "why": why, **told}


def _held_out(material: Material) -> Iterator[tuple[int, str]]:
    for key, problem in material.problems.items():
        for name, shas in (material.held_out or {}).items():
            if problem.sha in shas:
                yield key, name


def _index(material: Material) -> Index | None:
    if not material.spec.decontaminate:
        return None
    asked = [q for source in material.spec.decontaminate for q in questions(source)]
    return Index(asked, [p.question for p in material.problems.values()])


def questions(source: str) -> Iterable[Question]:
    """The questions of a test set: path.jsonl, or hub id[:split] (test, unless given)."""
    if source.endswith((".jsonl", ".json")) or Path(source).is_file():
        return _of_file(source)
    name, colon, split = source.rpartition(":")
    if not colon or "/" in split or name == "builtin":
        name, split = source, "test"
    loaded = problems.load(Problems(source=name, split=split))
    return [Question(source, p.id, p.question) for p in loaded.problems]


def named(source: str) -> str:
    """A test set as a reader elsewhere should know it: of a path on this machine the folder and the file."""
    return "/".join(Path(source).parts[-2:]) if Path(source).is_absolute() else source


def _of_file(source: str) -> list[Question]:
    found = []
    for number, (place, row) in enumerate(problems.file_rows(Path(source)), 1):
        text = next((row[key] for key in ASKED_UNDER if isinstance(row.get(key), str)), None)
        if text is None:
            raise InputError(
                f"dataset.decontaminate: {place}: no question: a test set's rows need one of {', '.join(ASKED_UNDER)}"
            )
        given = next(
            (row[key] for key in ("id", "idx", "unique_id", "task_id") if row.get(key) is not None), number
        )
        found.append(Question(named(source), str(given), text))
    if not found:
        raise InputError(f"dataset.decontaminate: {source}: no rows in it: name a test set, or leave it out")
    return found
