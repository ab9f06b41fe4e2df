"""Who takes part in an evaluation: the base of every student and each of its finetuned versions."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from string import Template

from toolkit.arms import Arm, parameters
from toolkit.errors import InputError
from toolkit.spec import Decoding, Evaluate, Limits, Model, Run, Student

BASE = "base"
CONCURRENCY = 64  # requests in flight to our own server


def checkpoint(directory: Path, student: str, dataset: str, seed: int = 0) -> Path:
    """Where a finetuned student lies: finetune/STUDENT/DATASET, and for further seeds finetune/STUDENT/seed-N/DATASET."""
    home = directory / "finetune" / student
    return (home / f"seed-{seed}" if seed else home) / dataset


@dataclass(frozen=True, slots=True)
class Contestant:
    """A version of a student and how it answers."""

    student: str
    version: str  # BASE, or the dataset it was finetuned on
    seed: int
    greedy: bool
    arm: Arm


def seeds(run: Run) -> int:
    """Finetunings of every student on every dataset."""
    return run.evaluate.seeds if run.evaluate else 1


def found(run: Run, directory: Path, template: Template) -> list[Contestant]:
    """Every version that exists, the base first, once sampled and once greedy where the run asks for it."""
    assert run.evaluate is not None
    decoding = run.evaluate.decoding or run.decoding
    ways = {False: decoding} | ({True: greedily(decoding)} if run.evaluate.greedy else {})
    return [
        Contestant(
            name,
            version,
            seed,
            greedy,
            _arm(run.evaluate, student, name, folder, (version, seed, greedy), way, template),
        )
        for name, student in run.students.items()
        for version, seed, folder in _versions(run, directory, name, student)
        for greedy, way in ways.items()
    ]


def contestants(run: Run, directory: Path, template: Template) -> list[Arm]:
    """The arms of every contestant: what is asked, and what its draws are called in the ledger."""
    return [one.arm for one in found(run, directory, template)]


def _versions(run: Run, directory: Path, name: str, student: Student) -> Iterator[tuple[str, int, str]]:
    assert run.evaluate is not None
    if not Path(student.model).is_dir() and run.evaluate.provider == "checkpoint":
        raise InputError(
            f"students.{name}.model: {student.model}: no such folder: the embedded server serves local checkpoints: "
            "give a folder, or set evaluate.provider to vllm"
        )
    yield BASE, 0, student.model
    for dataset in run.datasets():
        for seed in range(seeds(run)):
            folder = checkpoint(directory, name, dataset, seed)
            if (folder / "config.json").is_file():
                yield dataset, seed, str(folder)


def greedily(decoding: Decoding) -> Decoding:
    """The same with one answer, the most likely at every token."""
    return decoding.model_copy(update={"temperature": 0.0, "top_k": None, "top_p": None})


def _arm(
    evaluate: Evaluate,
    student: Student,
    name: str,
    folder: str,
    which: tuple[str, int, bool],
    decoding: Decoding,
    template: Template,
) -> Arm:
    version, seed, greedy = which
    model = Model(
        provider=evaluate.provider,
        model=folder,
        api=student.api,
        limits=Limits(concurrency=CONCURRENCY),
        params=parameters(Path(folder)) if Path(folder).is_dir() else None,
        serve_args=evaluate.serve_args,
    )
    parts = ["evaluate", name, version, *([f"seed-{seed}"] if seed else []), *(["greedy"] if greedy else [])]
    return Arm("/".join(parts), model, decoding, template)
