"""Questions with gold answers, from JSONL, a hub dataset or the built-in generator.

Conventions understood: GSM8K (`question`, `answer` ending in `#### N`) and MATH (`problem`, `solution`
with a last `\\boxed{}`, optional `answer`). A row whose gold is empty (MATH train has two with `\\boxed{}`)
is left out and said: its draws could not be verified, so they would be money for nothing.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from toolkit import word_problems
from toolkit.answers import gold_answer
from toolkit.errors import InputError
from toolkit.spec import Problems
from toolkit.types import Problem

BUILTIN = "builtin:word-problems"
QUESTION_KEYS = ("question", "problem")
ID_KEYS = ("id", "idx", "unique_id")
DEFAULT_LIMIT = 200  # of the generator, which has no end
HUB_CONFIG = {"openai/gsm8k": "main"}


@dataclass(slots=True)
class Loaded:
    problems: list[Problem]
    notes: list[str] = field(default_factory=list)  # what a reader of the results should know


def load(spec: Problems) -> Loaded:
    """The problems of a run, in file order, with unique ids. Raises InputError naming file and line."""
    if spec.source == BUILTIN:
        return _generated(spec)
    rows = file_rows(Path(spec.source)) if _is_file(spec.source) else _hub_rows(spec)
    return _collect(rows, spec)


def _is_file(source: str) -> bool:
    return source.endswith((".jsonl", ".json")) or Path(source).is_file()


def _generated(spec: Problems) -> Loaded:
    if spec.split not in word_problems.SPLITS:
        raise InputError(
            f"problems.split: {BUILTIN} has no split {spec.split!r}: give one of {', '.join(word_problems.SPLITS)}"
        )
    wanted = spec.offset + (spec.limit or DEFAULT_LIMIT)
    return Loaded(word_problems.generate(spec.split, limit=wanted, seed=spec.seed)[spec.offset :])


def _collect(rows: Iterable[tuple[str, Mapping[str, Any]]], spec: Problems) -> Loaded:
    loaded, seen, goldless = Loaded([]), dict[str, str](), 0
    for place, row in rows:
        problem = _problem(place, row, spec.split, len(seen))
        if problem.id in seen:
            raise InputError(
                f"{place}: problem id {problem.id!r} was already used at {seen[problem.id]}: ids must differ"
            )
        seen[problem.id] = place
        if len(seen) <= spec.offset:
            continue
        if not problem.answer:
            goldless += 1
            continue
        loaded.problems.append(problem)
        if spec.limit and len(loaded.problems) == spec.limit:
            break
    if not loaded.problems:
        raise InputError(
            f"{spec.source}: no problem with a gold answer in it: give JSONL rows with question and answer"
        )
    if goldless:
        loaded.notes.append(f"{goldless} problems of {spec.source} have no gold answer and were left out")
    return loaded


def _problem(place: str, row: Mapping[str, Any], split: str, number: int) -> Problem:
    question = _first(row, QUESTION_KEYS)
    if not isinstance(question, str) or not question.strip():
        raise InputError(f"{place}: no text under {' or '.join(QUESTION_KEYS)}: every row needs its question")
    given_id = _first(row, ID_KEYS)
    answer, solution = _gold(row)
    level = str(row.get("level") or "").removeprefix("Level ").strip()
    return Problem(
        id=str(given_id) if given_id is not None else f"{split}-{number:05d}",
        question=question,
        answer=answer,
        solution=solution,
        level=level if level not in ("", "?") else None,
        subject=row.get("subject") or row.get("type") or None,
    )


def _gold(row: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """The final answer and the worked solution, by whichever convention the row follows."""
    answer, solution = row.get("answer"), row.get("solution")
    if isinstance(answer, str) and "####" in answer:
        return gold_answer(answer), answer
    if answer is not None and str(answer).strip():
        return str(answer).strip(), solution
    return (gold_answer(solution) if isinstance(solution, str) else None), solution


def _first(row: Mapping[str, Any], keys: Iterable[str]) -> Any:
    return next((row[key] for key in keys if row.get(key) is not None), None)


def file_rows(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(place, row) of a JSONL file."""
    if not path.is_file():
        raise InputError(f"{path}: no such file: problems.source is a JSONL file, a hub id or {BUILTIN}")
    with path.open(encoding="utf-8-sig", errors="replace") as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                yield f"{path} line {number}", _row(f"{path} line {number}", line)


def _row(place: str, line: str) -> Mapping[str, Any]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise InputError(f"{place}: not JSON ({error}): each line must be one JSON object") from None
    if not isinstance(row, dict):
        raise InputError(
            f"{place}: a JSON {type(row).__name__}, not an object: each line must be one JSON object"
        )
    return row


def _hub_rows(spec: Problems) -> Iterator[tuple[str, Mapping[str, Any]]]:
    import datasets

    config = spec.config or HUB_CONFIG.get(spec.source)
    try:
        rows = datasets.load_dataset(spec.source, config, split=spec.split)
    except Exception as error:  # every failure of the hub client means the same to the user
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"problems.source {spec.source!r}: neither a file nor loadable from the hub ({reason}): "
            "give a path with --set problems.source=FILE.jsonl"
        ) from None
    for number, row in enumerate(rows, 1):
        yield f"{spec.source} {spec.split} row {number}", row
