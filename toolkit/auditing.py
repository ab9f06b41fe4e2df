"""The audit of a run: which correct draws are looked at, by people and by a judge, and what their labels say.

One sample serves both, so that the judge can be corrected by what people said of the same draws. It lies in
`audit/` of the run directory with the labels people gave; the conclusion is `audit.json`.
"""

import asyncio
import json
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from toolkit import audit, judging, pipeline
from toolkit.audit import Key
from toolkit.errors import InputError
from toolkit.job import AUDIT, Connect, Job
from toolkit.judging import Case, Panel
from toolkit.ledger import Reader
from toolkit.sample import Progress, Result

SIZE = 50  # draws of each arm on a sheet: what the paper looked at (arXiv 2408.16737 section 4)


def export(job: Job, sheet: Path, size: int = SIZE) -> tuple[Path, Path]:
    """Write a sheet that brings each arm to `size` labelled draws: the paths of its page and its key.

    Raises InputError where no draw is left to be labelled.
    """
    with job.reader() as reader:
        key = _key(job, reader, size)
        part = replace(key, items=_to_label(key, _human(job), size))
        if not part.items:
            raise InputError(
                f"{sheet}: {size} draws of every arm, or all its correct ones, are labelled: give a larger --size"
            )
        shown = audit.entries(reader, part, _problems(job, reader))
    sheet.parent.mkdir(parents=True, exist_ok=True)
    return audit.export(sheet, part, shown, f"{job.run.name}: is the reasoning sound?")


def bring_in(job: Job, sheet: Path) -> int:
    """Keep the labels of a sheet, beside those of earlier ones; how many it had."""
    labels = audit.read_labels(sheet, Key.load(_folder(job) / "key.json"))
    known = _human(job) | labels
    _write(_folder(job) / "labels.json", {str(draw): sound for draw, sound in known.items()})
    return len(labels)


async def judge(job: Job, connect: Connect, *, stop: asyncio.Event, progress: Progress) -> Result:
    """Ask the run's judge about its sample of correct draws, or about every answer where it judges those."""
    spec = job.run.judge
    if spec is None:
        raise InputError("judge: the run names no judge: add judge: {model: {provider: ..., model: ...}}")
    choose = _answers if spec.of == "answers" else _sampled
    return await judging.judge(
        job, connect, choose=lambda reader: choose(job, reader), stop=stop, progress=progress
    )


def conclude(job: Job) -> dict[str, Any] | None:
    """audit.json from all labels there are; None without any."""
    path = _folder(job) / "key.json"
    if not path.is_file():
        return None
    key, human, judged = Key.load(path), _human(job), _judged(job)
    if key.verifier != pipeline.verifier_of(job.run):
        raise InputError(
            f"{path}: made from verdicts of {' '.join(key.verifier)}, the run has newer ones: make a new sheet"
        )
    if not human and not judged:
        return None
    concluded = audit.conclude(key, human, judged or None)
    if job.run.judge is not None and judged:
        concluded["judge_version"] = " ".join(Panel.of(job.run.judge).verifier)
        concluded["warning"] = (
            "a judge of the family it judges is not independent of it (arXiv 2408.16737 used such a one)"
        )
    job.write(AUDIT, concluded)
    return concluded


# -- the sample


def _key(job: Job, reader: Reader, size: int) -> Key:
    """The run's sample, large enough for sheet and judge; a larger one holds the smaller it replaces."""
    path, verifier = _folder(job) / "key.json", pipeline.verifier_of(job.run)
    rows = {arm: [p.row for p in parts] for arm, parts in pipeline.measured_parts(job, reader).items()}
    if path.is_file():
        known = Key.load(path)
        enough = all(
            sum(i.arm == arm for i in known.items) >= min(size, _correct(known, arm)) for arm in rows
        )
        if known.verifier == verifier and enough:
            return known
    ids = [i for i in reader.problem_ids(job.problems) if i is not None]
    wanted = max(size, (job.run.judge.sample or 0) if job.run.judge else 0)
    made = audit.sample(reader, rows, ids, verifier=verifier, size=wanted, seed=job.run.seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    made.save(path)
    return made


def _correct(key: Key, arm: str) -> int:
    return sum(key.strata.get(arm, {}).values())


def _to_label(key: Key, labelled: Collection[int], size: int) -> tuple[audit.Item, ...]:
    """What each arm lacks of `size` labels. Items are shuffled: the first of an arm are a sample of its sample."""
    lacks = {arm: size - sum(i.arm == arm and i.draw in labelled for i in key.items) for arm in key.strata}
    chosen = []
    for item in key.items:
        if item.draw not in labelled and lacks[item.arm] > 0:
            lacks[item.arm] -= 1
            chosen.append(item)
    return tuple(chosen)


def _sampled(job: Job, reader: Reader) -> Sequence[Case]:
    """The sample's draws, with their texts."""
    assert job.run.judge is not None
    key, problems = _key(job, reader, job.run.judge.sample or 10**9), _problems(job, reader)
    entries = audit.entries(reader, key, problems)
    return [
        Case(item.draw, problems[item.problem], entry.solution)
        for item, entry in zip(key.items, entries, strict=True)
    ]


def _answers(job: Job, reader: Reader) -> Sequence[Case]:
    """Every draw of a problem without gold."""
    problems = _problems(job, reader)
    rows = [part.row for parts in pipeline.measured_parts(job, reader).values() for part in parts]
    return [
        Case(draw.id, problems[draw.problem], draw.text)
        for draw in reader.draws(rows)
        if draw.problem in problems and problems[draw.problem].answer is None
    ]


# -- what is kept


def _folder(job: Job) -> Path:
    return job.directory / "audit"


def _problems(job: Job, reader: Reader) -> dict[int, Any]:
    pairs = zip(reader.problem_ids(job.problems), job.problems, strict=True)
    return {i: problem for i, problem in pairs if i is not None}


def _human(job: Job) -> dict[int, bool]:
    path = _folder(job) / "labels.json"
    if not path.is_file():
        return {}
    return {int(draw): bool(sound) for draw, sound in json.loads(path.read_text(encoding="utf-8")).items()}


def _judged(job: Job) -> dict[int, bool]:
    """What the judge could say of the reasoning of correct draws."""
    if job.run.judge is None or job.run.judge.of != "reasoning":
        return {}
    with job.reader() as reader:
        said = judging.judged(reader, Panel.of(job.run.judge).verifier)
    return {draw: sound for draw, sound in said.items() if sound is not None}


def _write(path: Path, content: Any) -> None:
    draft = path.with_name(f".{path.name}.tmp")
    draft.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    draft.replace(path)
