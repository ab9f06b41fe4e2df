"""Students: trained, asked the test problems, scored."""

import asyncio
from collections.abc import Callable
from typing import Any

from toolkit import students
from toolkit.job import EVALUATION, Connect, Job
from toolkit.pipeline.sampling import ask
from toolkit.pipeline.verifying import verifier_of
from toolkit.sample import Progress, Result


def train(
    job: Job,
    on_step: Callable[[str, int, int, float], None] | None = None,
    on_note: Callable[[str], None] | None = None,
) -> list[dict[str, Any]]:
    """Every student finetuned on every dataset that has rows, once per seed, all in the same way."""
    return students.train(job, on_step, on_note)


async def examine(job: Job, connect: Connect, *, stop: asyncio.Event, progress: Progress) -> Result:
    """Ask the base and every finetuned student the test problems, through the same port, a few at a time."""
    source, questions = job.run.held_out, students.tested(job)
    assert source is not None
    whole = Result({}, False, False, [])
    groups = list(students.groups(job))
    progress.planned |= {a.name: len(questions) * students.draws(job, a) for some in groups for a in some}
    for some in groups:
        draws = {a.name: students.draws(job, a) for a in some}
        part = await ask(
            job,
            connect,
            some,
            source,
            questions,
            k=draws,
            n=draws,
            purpose="evaluate",
            stop=stop,
            progress=progress,
        )
        missing, notes = whole.missing | part.missing, [*whole.notes, *part.notes]
        whole = Result(missing, part.capped, part.interrupted, notes)
        if part.interrupted or part.capped:
            break
    return whole


def score(job: Job) -> dict[str, Any]:
    """evaluation.json from the students' verdicts."""
    with job.reader() as reader:
        scored = students.score(job, reader, verifier_of(job.run))
    job.write(EVALUATION, scored)
    return scored
