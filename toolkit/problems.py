"""Questions with gold answers, from JSONL, a hub dataset or the built-in generator.

Conventions understood: GSM8K (`question`, `answer` ending in `#### N`) and MATH (`problem`, `solution`
with a last `\\boxed{}`, optional `answer`). For programs MBPP (`text` or `prompt`, `code`, `test_list`),
HumanEval (`prompt`, `entry_point`, `test`), and rows with a `question` and a `test_program`: their gold is
a program of tests (`toolkit.programs`). A row whose gold is empty (MATH train has two with `\\boxed{}`) is
left out and said: its draws could not be verified, so they would be money for nothing.

MBPP asks with its tests in the question, as its paper does (arXiv 2108.07732): they say what the function
is called. A program may then repeat their answers; `challenge_test_list`, where a row has one, is neither
shown nor run, so that shares stay comparable with published ones.
"""

import gzip
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from toolkit import word_problems
from toolkit.answers import gold_answer
from toolkit.errors import InputError
from toolkit.programs import Suite, entry_names, preamble
from toolkit.spec import Problems
from toolkit.types import Problem

BUILTIN = "builtin:word-problems"
QUESTION_KEYS = ("question", "problem")
ID_KEYS = ("id", "idx", "unique_id", "task_id")
TESTS = "test_program"  # the gold of any code problem, also in rows of one's own
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


def from_hub(spec: Problems) -> bool:
    """Would it have to be downloaded?"""
    return spec.source != BUILTIN and not _is_file(spec.source)


def _is_file(source: str) -> bool:
    return source.endswith((".jsonl", ".json", ".jsonl.gz")) or Path(source).is_file()


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
    row = _as_question(place, row)
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


def _as_question(place: str, row: Mapping[str, Any]) -> Mapping[str, Any]:
    """A row of MBPP or HumanEval as one with `question`, `test_program` and `solution`; others as they are."""
    try:
        if "entry_point" in row and "test" in row:
            return {"task_id": row.get("task_id"), **_humaneval(row)}
        if "test_list" in row:
            return {"task_id": row.get("task_id"), **_mbpp(row)}
    except (SyntaxError, TypeError, KeyError) as error:
        raise InputError(
            f"{place}: its tests cannot be used ({type(error).__name__}: {error}): "
            "give the fields of MBPP or HumanEval as they are published"
        ) from None
    return row


def _mbpp(row: Mapping[str, Any]) -> dict[str, Any]:
    """The setup stands behind the candidate, whose classes it uses. "Sanitized" rows have `prompt`, `test_imports`."""
    tests, solution = row["test_list"], row.get("code") or ""
    before = [*(row.get("test_imports") or ()), row.get("test_setup_code") or ""]
    source = "\n".join([*filter(None, before), *tests, ""])
    asked = _first(row, ("text", "prompt"))
    return {
        "question": f"{asked}\nTests:\n" + "\n".join(map(str.strip, tests)) if asked else None,
        TESTS: Suite(source, entry_names(source, solution)).as_gold() if tests else "",
        "solution": solution or None,
    }


def _humaneval(row: Mapping[str, Any]) -> dict[str, Any]:
    """The prompt's imports and helpers are part of the tests; the function itself is the candidate's."""
    prompt, entry, solution = row["prompt"], row["entry_point"], row.get("canonical_solution")
    source = f"{preamble(prompt, [entry])}\n{row['test']}\n\ncheck({entry})\n"
    return {
        "question": prompt.strip("\n"),
        TESTS: Suite(source, (entry,), prompt).as_gold(),
        "solution": prompt + solution if solution else None,
    }


def _gold(row: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """The final answer and the worked solution, by whichever convention the row follows."""
    answer, solution = row.get("answer"), row.get("solution")
    if TESTS in row:  # a program: as it is, whatever it contains
        return row[TESTS] or None, solution
    if isinstance(answer, str) and "####" in answer:
        return gold_answer(answer), answer
    if answer is not None and str(answer).strip():
        return str(answer).strip(), solution
    return (gold_answer(solution) if isinstance(solution, str) else None), solution


def _first(row: Mapping[str, Any], keys: Iterable[str]) -> Any:
    return next((row[key] for key in keys if row.get(key) is not None), None)


def file_rows(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(place, row) of a JSONL file, gzipped where its name ends in .gz."""
    if not path.is_file():
        raise InputError(f"{path}: no such file: problems.source is a JSONL file, a hub id or {BUILTIN}")
    with _open(path) as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                yield f"{path} line {number}", _row(f"{path} line {number}", line)


def _open(path: Path) -> IO[str]:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig", errors="replace")
    return path.open(encoding="utf-8-sig", errors="replace")


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
