"""A run's students: which trainings they need, what they are chosen and tested by, and their scores.

The order of the paper (arXiv 2408.16737 section 5): the learning rate is searched once per student and dataset,
then every reported seed is trained with it, each time from the same base checkpoint. Under `finetune/`:

    STUDENT/DATASET/             the student finetuned on a dataset, and training.json
    STUDENT/seed-N/DATASET/      the same with a further seed: finetune.seed + N
    .search/STUDENT/DATASET/     training.json of each rate that was tried
    validation.json              the problems that rate and checkpoint were chosen on
"""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from toolkit import evaluate, finetune, problems, spec
from toolkit.arms import Arm
from toolkit.errors import InputError
from toolkit.evaluate import Evaluation, TestSet
from toolkit.finetune import validation as choosing
from toolkit.job import Job
from toolkit.ledger import Reader
from toolkit.spec import SAME, Problems
from toolkit.types import Problem

SERVED = 16  # small checkpoints served at once
SMALL = 10_000_000  # parameters
VALIDATION = "validation.json"  # under finetune/
Told = Callable[[str, int, int, float], None]  # what is training, step, steps, loss
Note = Callable[[str], None]


# -- problems


def own(job: Job, asked: Problems) -> Problems:
    """Problems of the run file, `source: same` filled in."""
    return asked.model_copy(update={"source": job.run.problems.source}) if asked.source == SAME else asked


def tests(job: Job) -> dict[str, TestSet]:
    """The test sets by name, evaluate.problems first. Raises InputError where one was trained or chosen on."""
    assert job.run.evaluate is not None
    asked = {evaluate.TEST: job.run.evaluate.problems, **job.run.evaluate.transfer}
    sources = {name: own(job, problems) for name, problems in asked.items()}
    found = {name: TestSet(s, problems.load(s).problems) for name, s in sources.items()}
    keys = {
        name: "evaluate.problems" if name == evaluate.TEST else f"evaluate.transfer.{name}" for name in found
    }
    chosen_on = validation(job)
    for name, one in found.items():
        _disjoint("problems", job.problems, keys[name], one.problems)
        _disjoint("finetune.validation", chosen_on, keys[name], one.problems)
    return found


def tested(job: Job) -> list[Problem]:
    """Every problem of every test set, once."""
    return list({p.sha: p for one in tests(job).values() for p in one.problems}.values())


def validation(job: Job) -> list[Problem]:
    """The problems that learning rate and checkpoint are chosen on. Raises InputError where one is trained on."""
    asked = job.run.finetune.validation if job.run.finetune else None
    if asked is None:
        return []
    found = problems.load(own(job, asked)).problems
    _disjoint("problems", job.problems, "finetune.validation", found)
    return found


def _disjoint(name: str, ours: Sequence[Problem], key: str, theirs: Sequence[Problem]) -> None:
    """Raises InputError where a question stands in both, however it is spaced (trap: a test that was trained on)."""
    known = {_bare(p) for p in ours}
    if shared := [p.id for p in theirs if _bare(p) in known]:
        raise InputError(
            f"{key}: {len(shared)} problems are also in {name} ({shared[0]!r} first): take another split or stretch"
        )


def _bare(problem: Problem) -> str:
    return " ".join(problem.question.split()).casefold()


# -- training


def check(job: Job) -> None:
    """Whether this run's students can be trained, chosen and tested as asked: before a draw is paid for.

    Raises InputError for a checkpoint that cannot be finetuned here, and for problems that overlap.
    """
    if job.run.finetune is not None:
        validation(job)
        for name, student in job.run.students.items():
            finetune.check(student.model, _settings(job, name), chat=student.api == "chat")
    if job.run.evaluate is not None and job.run.students:
        tests(job)


def train(job: Job, on_step: Told | None = None, on_note: Note | None = None) -> list[dict[str, Any]]:
    """Every student finetuned on every dataset that has rows, once per seed: their records, in that order.

    `on_note` is told of each student, before its first step, what memory and time a training will take.
    """
    settings = job.run.finetune
    if settings is None or not job.run.students:
        return []
    wanted = _jobs(job)
    absent = [j.dataset for _, j in wanted if not j.dataset.is_dir()]
    if absent:
        raise InputError(f"{absent[0]}: no dataset here: run `pricematch dataset` first")
    if job.run.evaluate is not None:
        tests(job)  # refuses what overlaps before anything is trained
    grids = [finetune.trials(j, _search(job, name, j.dataset.name)) for name, j in wanted]
    records = iter(_many([trial for grid in grids for trial in grid], on_step, on_note))
    tried = [[next(records) for _ in grid] for grid in grids]
    return _many(
        [
            finetune.settled(j, evaluate.checkpoint(job.directory, name, j.dataset.name, seed), seed, trials)
            for (name, j), trials in zip(wanted, tried, strict=True)
            for seed in range(evaluate.seeds(job.run))
        ],
        on_step,
        on_note,
    )


def _search(job: Job, student: str, dataset: str) -> Path:
    """Where the records of a search lie: beside the students, under a name no student can have."""
    return job.directory / "finetune" / ".search" / student / dataset


def _jobs(job: Job) -> list[tuple[str, finetune.Job]]:
    """(student, training) for every student and dataset, before learning rate, seed and place are settled."""
    run = job.run
    assert run.finetune is not None
    if taken := [d for d in run.datasets() if re.fullmatch(r"seed-\d+", d)]:
        raise InputError(f"arms: {taken[0]!r} is the name of a finetuning seed's folder: call it otherwise")
    chosen_on = _write_validation(job)
    return [
        (
            name,
            finetune.Job(
                student.model,
                job.directory / "dataset" / dataset,
                evaluate.checkpoint(job.directory, name, dataset),
                _settings(job, name),
                name,
                chosen_on,
                student.api == "chat",
            ),
        )
        for name, student in run.students.items()
        for dataset in run.datasets()
    ]


def _settings(job: Job, student: str) -> spec.Finetune:
    assert job.run.finetune is not None
    try:
        return job.run.students[student].settings(job.run.finetune)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]["msg"].removeprefix("Value error, ")
        raise InputError(f"students.{student}.finetune: {first}") from None


def _write_validation(job: Job) -> Path | None:
    found, run = validation(job), job.run
    if not found:
        return None
    decoding = (run.evaluate.decoding if run.evaluate else None) or run.decoding
    made = choosing.make(found, job.template, decoding.max_tokens, run.verify)
    return choosing.save(made, job.directory / "finetune" / VALIDATION)


def _many(jobs: Sequence[finetune.Job], on_step: Told | None, on_note: Note | None) -> list[dict[str, Any]]:
    places = {done.directory: place for place, done in enumerate(jobs, 1)}
    noted = set[str]()

    def told(done: finetune.Job, step: int, steps: int, loss: float) -> None:
        if on_step:
            on_step(f"{places[done.directory]}/{len(jobs)} {_title(done)}", step, steps, loss)

    def note(done: finetune.Job, what: str) -> None:
        if on_note and done.name not in noted:  # its other trainings need as much
            noted.add(done.name)
            on_note(f"{_title(done)}: {what}")

    return finetune.train_many(jobs, on_step=told, on_note=note)


def _title(job: finetune.Job) -> str:
    what = "" if job.keep else f", rate {job.spec.learning_rate:g}"
    return f"{job.name} on {job.dataset.name}, seed {job.spec.seed}{what}"


# -- testing


def groups(job: Job) -> Iterator[list[Arm]]:
    """The contestants, several small checkpoints at a time, and large ones one by one."""
    assert job.run.evaluate is not None
    arms = evaluate.contestants(job.run, job.directory, job.template)
    folders = {arm.model.model: arm.model.active_params or SMALL for arm in arms}
    small = [folder for folder, size in folders.items() if size < SMALL]
    if job.run.evaluate.provider != "checkpoint":
        small = []
    served = [set(small[start : start + SERVED]) for start in range(0, len(small), SERVED)]
    for some in [*served, *({folder} for folder in folders if folder not in small)]:
        yield [arm for arm in arms if arm.model.model in some]


def draws(job: Job, arm: Arm) -> int:
    """Answers per problem asked of a contestant: greedy ones are all the same."""
    assert job.run.evaluate is not None
    return 1 if arm.decoding.temperature == 0 else job.run.evaluate.sampled


def score(job: Job, reader: Reader, verifier: tuple[str, str]) -> dict[str, Any]:
    """The content of evaluation.json."""
    asked = Evaluation(reader, job.run, tests(job), verifier, _matching(job))
    return evaluate.score(asked, job.directory, job.template)


def _matching(job: Job) -> dict[str, str]:
    """What each dataset says it was matched by."""
    found = {}
    for name in job.run.datasets():
        path = job.directory / "dataset" / name / "summary.json"
        told = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        if told.get("matching"):
            found[name] = str(told["matching"])
    return found
