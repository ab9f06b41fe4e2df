"""Generations you already have: JSONL rows become draws of an arm, unpriced.

A row names its problem by id (`problem_id`, `id`, `idx`) or by text (`question`, `problem`), and carries
one answer text (`response`, `completion`, `output`, `text`) or a list of them; `usage` in OpenAI's form
if known. Rows of one problem are its draws in file order, so importing a file twice adds nothing.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from toolkit import problems as questions
from toolkit.errors import InputError
from toolkit.job import Job
from toolkit.spec import Model
from toolkit.types import Usage

ID_KEYS = ("problem_id", "id", "idx")
TEXT_KEYS = ("response", "completion", "output", "text", "solution")


@dataclass(frozen=True, slots=True)
class Brought:
    new: int
    known: int  # already in the ledger
    problems: int  # with a draw in this file
    unmatched: int  # rows of no problem of the run


def new_run(file: Path, arm: str, source: str | None) -> dict[str, Any]:
    """A run for imported generations alone."""
    if source is None:
        raise InputError(
            "import: a new run needs its problems: give --problems SOURCE, or --run RUN to add to one"
        )
    return {
        "name": file.name.split(".")[0],
        "problems": {"source": source},
        "models": {arm: {"provider": "imported", "model": arm}},
        "budget": {"draws": 1, "match": "samples"},
    }


def with_arm(job: Job, arm: str) -> Job:
    """The job with the arm among its arms."""
    run = job.run
    if arm in run.arm_models():
        if run.models[run.arm_models()[arm]].provider != "imported":
            raise InputError(
                f"--arm {arm}: that arm is sampled from {run.models[run.arm_models()[arm]].model}: give imported draws another name"
            )
        return job
    members = {name: (model,) for name, model in run.arm_models().items()} | {arm: (arm,)}
    models = run.models | {arm: Model(provider="imported", model=arm)}
    return replace(job, run=run.model_copy(update={"models": models, "arms": members}))


def bring_in(job: Job, file: Path, arm: str) -> Brought:
    """Read the file into the run's ledger. Raises InputError naming the line."""
    by_id = {p.id: i for i, p in enumerate(job.problems)}
    by_text = {p.question.strip(): i for i, p in enumerate(job.problems)}
    (one,) = (a for a in job.arms() if a.name == arm)
    counted: Counter[int] = Counter()
    answers: list[tuple[int, int, str, Usage | None]] = []
    unmatched = 0
    with job.open() as ledger:
        ids = ledger.add_problems(job.problems)
        row_id = ledger.add_arm(arm, one.model.model, "imported", {}, one.payload_sha)
        for place, row in questions.file_rows(file):
            position = _position(row, by_id, by_text)
            if position is None:
                unmatched += 1
                continue
            for text in _texts(place, row):
                answers.append((ids[position], counted[position], text, _usage(row)))
                counted[position] += 1
        if not answers:
            raise InputError(
                f"{file}: no row matches a problem of {job.run.problems.source}: rows need {', '.join(ID_KEYS)}, or the question's text"
            )
        new = ledger.import_draws(row_id, answers)
    return Brought(new, len(answers) - new, len(counted), unmatched)


def _position(row: Mapping[str, Any], by_id: Mapping[str, int], by_text: Mapping[str, int]) -> int | None:
    for key in ID_KEYS:
        if row.get(key) is not None and str(row[key]) in by_id:
            return by_id[str(row[key])]
    text = next((row[k] for k in questions.QUESTION_KEYS if isinstance(row.get(k), str)), None)
    return None if text is None else by_text.get(text.strip())


def _texts(place: str, row: Mapping[str, Any]) -> Iterator[str]:
    found = next((row[k] for k in TEXT_KEYS if row.get(k) is not None), None)
    texts = [found] if isinstance(found, str) else found
    if not isinstance(texts, list) or not all(isinstance(t, str) for t in texts):
        raise InputError(
            f"{place}: no answer text: give one of {', '.join(TEXT_KEYS)} as a text or a list of texts"
        )
    yield from texts


def _usage(row: Mapping[str, Any]) -> Usage | None:
    usage = row.get("usage")
    if not isinstance(usage, dict) or not isinstance(usage.get("completion_tokens"), int):
        return None
    return Usage(int(usage.get("prompt_tokens") or 0), usage["completion_tokens"])
