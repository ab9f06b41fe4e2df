"""Generations you already have become draws of an arm, unpriced: our own JSONL, and what other tools write.

The problem of a row is found by its id, or by the question's text; a mere position in somebody else's list
counts only where the prompt confirms it. Rows of one problem are its draws in file order, so importing a file
twice adds nothing. A file with a mistake in it brings in nothing.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

from toolkit.errors import InputError
from toolkit.importing.formats import FITS, records
from toolkit.importing.readers import ID_KEYS
from toolkit.importing.records import Finder, Record, shares
from toolkit.job import Job
from toolkit.spec import Mixture, Model
from toolkit.types import Usage

FORMATS = tuple(FITS)
CHUNK = 5000  # draws in memory at once

Answer = tuple[int, int, str, Usage | None]  # problem, index, text, usage


@dataclass(slots=True)
class Seen:
    """What a reading of the file came across besides answers."""

    failed: int = 0  # rows
    unmatched: int = 0  # rows
    models: set[str | None] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Brought:
    new: int
    known: int  # already in the ledger
    problems: int  # with a draw in this file
    unmatched: int  # rows of no problem of the run
    failed: int = 0  # rows about requests that brought no answer
    models: int = 0  # that rows of our own form name

    def told(self, source: str) -> str:
        """In words; `source` is where the run's problems are from."""
        rest = {
            f"{self.known} were already there": self.known,
            f"{self.unmatched} rows match no problem of {source}": self.unmatched,
            f"{self.failed} rows tell of a request that failed": self.failed,
        }
        found = f"{self.new} new draws to {self.problems} problems, unpriced"
        if self.models > 1:
            found += f", of {self.models} models together: --where model=NAME takes those of one"
        return "; ".join([found, *(words for words, count in rest.items() if count)])


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
    if arm in run.members():
        if run.models[run.members()[arm][0]].provider != "imported":
            raise InputError(
                f"--arm {arm}: that arm is sampled from {run.models[run.members()[arm][0]].model}: give imported draws another name"
            )
        return job
    members = {name: run.arms.get(name, Mixture(models=models)) for name, models in run.members().items()}
    members[arm] = Mixture(models=(arm,))
    models = run.models | {arm: Model(provider="imported", model=arm)}
    return replace(job, run=run.model_copy(update={"models": models, "arms": members}))


def conditions(given: Iterable[str]) -> dict[str, str]:
    """Conditions as they are typed, KEY=VALUE. Raises InputError."""
    for condition in given:
        if "=" not in condition:
            raise InputError(f"--where {condition}: no condition: write KEY=VALUE, such as model=gemma-7b")
    return {key: value for key, _, value in (condition.partition("=") for condition in given)}


def bring_in(
    job: Job,
    file: Path,
    arm: str,
    *,
    format: str | None = None,
    where: Mapping[str, str] | None = None,
) -> Brought:
    """Read the file into the run's ledger. Raises InputError naming the line.

    `format` is one of FORMATS, None where the content shall tell. `where` takes only the rows that have these
    values under these keys, such as {"model": "gemma-7b"}.
    """
    finder, seen = Finder(job.problems), Seen()
    (one,) = (a for a in job.arms() if a.name == arm)

    def read(seen: Seen) -> Iterator[Answer]:
        return _answers(records(file, format, where or {}), finder, seen)

    drawn = Counter(position for position, *_ in read(seen))  # all of it, before any is kept
    if not drawn:
        raise InputError(f"{file}: {_nothing(seen, job.run.problems.source)}")
    with job.open() as ledger:
        ids = ledger.add_problems(job.problems)
        row_id = ledger.add_arm(arm, one.model.model, "imported", {}, one.payload_sha)
        answers, new = read(Seen()), 0
        while chunk := [(ids[at], idx, text, usage) for at, idx, text, usage in islice(answers, CHUNK)]:
            new += ledger.import_draws(row_id, chunk)
    return Brought(new, drawn.total() - new, len(drawn), seen.unmatched, seen.failed, len(seen.models))


def _answers(rows: Iterable[Record], finder: Finder, seen: Seen) -> Iterator[Answer]:
    """Every answer with the position of its problem; `seen` learns of the rest."""
    drawn: Counter[int] = Counter()
    for record in rows:
        if record.failed:
            seen.failed += 1
            continue
        position = finder.position(record)
        if position is None:
            seen.unmatched += 1
            continue
        seen.models |= {record.model} - {None}
        for text, usage in zip(record.texts, shares(record.usage, len(record.texts)), strict=True):
            yield position, drawn[position], text, usage
            drawn[position] += 1


def _nothing(seen: Seen, source: str) -> str:
    if seen.failed and not seen.unmatched:
        return f"all {seen.failed} rows tell of requests that failed: nothing to import"
    return f"no row matches a problem of {source}: rows need {', '.join(ID_KEYS[:3])}, or the question's text"
