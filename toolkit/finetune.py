"""Supervised finetuning of a student on one arm's dataset, with TRL's SFTTrainer.

Every arm gets the same number of steps, batch size and schedule; the loss is on the completion only.
Each training runs in a process of its own, so the caller never imports torch, several arms can train at
once, and a child that dies costs one line. A finished training is not repeated.
"""

import hashlib
import importlib.util
import json
import math
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from toolkit import publish, sft, spec
from toolkit.children import Children, Say
from toolkit.errors import InputError
from toolkit.sft import SMALL, OnStep

RECORD = "training.json"
EXTRA = ("accelerate", "datasets", "torch", "transformers", "trl")
STUDENT_FILES = (".safetensors", ".bin", ".json", ".jinja", ".model")
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model")


@dataclass(frozen=True, slots=True)
class Job:
    """One student to be trained on one arm."""

    student: str  # folder or hub id of the checkpoint
    dataset: Path
    directory: Path  # where the finetuned checkpoint goes
    spec: spec.Finetune
    name: str = ""  # the student's name in the run file


# -- what identifies a training


def fingerprint(student: str, dataset: Path, spec: spec.Finetune) -> str:
    """Identity of a training: the student's files (or hub id), the dataset's rows, the settings."""
    folder = Path(student)
    parts = {
        "student": _sha(folder, STUDENT_FILES) if folder.is_dir() else student,
        "dataset": _sha(dataset, (".arrow",)),
        "spec": spec.model_dump(mode="json"),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def _sha(folder: Path, suffixes: tuple[str, ...]) -> str:
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.iterdir() if p.suffix in suffixes):
        with path.open("rb") as file:
            digest.update(f"{path.name}\0{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return digest.hexdigest()


def record(directory: Path) -> dict[str, Any] | None:
    """What training.json says, or None where there is none."""
    try:
        found: dict[str, Any] = json.loads((directory / RECORD).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return found


def done(directory: Path, fingerprint: str) -> bool:
    """Whether this very training has already finished here."""
    found = record(directory)
    return found is not None and found.get("fingerprint") == fingerprint


# -- many trainings, each in its own process


def train_many(
    jobs: Sequence[Job], *, parallel: int = 1, on_step: Callable[[Job, int, int, float], None] | None = None
) -> list[dict[str, Any]]:
    """The training.json of every job, in order; at most `parallel` train at once.

    Finished jobs are not trained again; an arm without rows is recorded as skipped. After a failure no
    further job starts, those under way finish, and the first error is raised. `on_step` is called from
    worker threads, one call at a time.
    """
    turn, children = threading.Lock(), Children()

    def one(job: Job) -> dict[str, Any]:
        def told(step: int, steps: int, loss: float) -> None:
            if on_step is not None:
                with turn:
                    on_step(job, step, steps, loss)

        return _already(job) or _in_child(job, told, children, max(1, (os.cpu_count() or 1) // parallel))

    with ThreadPoolExecutor(max_workers=parallel) as pool:
        futures = [pool.submit(one, job) for job in jobs]
        try:
            return [future.result() for future in futures]
        except Exception:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
        except BaseException:  # interrupted: nobody waits for these any more
            pool.shutdown(wait=False, cancel_futures=True)
            children.end()
            raise


def _already(job: Job) -> dict[str, Any] | None:
    """The record of a job that needs no training: finished before, or without rows to learn from."""
    reason = _dataset_summary(job.dataset).get("skipped")
    if reason:
        skipped = {**_who(job.student, job.dataset, job.name), "skipped": reason}
        with publish.folder(job.directory) as out:
            _write_record(out, skipped)
        return skipped
    _check(job.student, job.dataset)
    if done(job.directory, fingerprint(job.student, job.dataset, job.spec)):
        return record(job.directory)
    return None


def _in_child(job: Job, told: OnStep, children: Children, threads: int) -> dict[str, Any]:
    def hear(answer: dict[str, Any]) -> None:
        told(answer["step"], answer["steps"], answer["loss"])

    message = {
        "student": job.student,
        "dataset": str(job.dataset),
        "directory": str(job.directory),
        "spec": job.spec.model_dump(mode="json", exclude_unset=True),
        "name": job.name,
    }
    log = job.directory.with_name(f"{job.directory.name}.log")
    children.run("toolkit.finetune:child", message, log, _environment(job.student, threads), hear)
    return record(job.directory) or {}


def child(message: Mapping[str, Any], say: Say) -> None:
    """One job of `train_many`, as its process runs it."""
    train(
        message["student"],
        Path(message["dataset"]),
        Path(message["directory"]),
        spec.Finetune(**message["spec"]),
        lambda step, steps, loss: say({"step": step, "steps": steps, "loss": loss}),
        name=message["name"],
    )


def _environment(student: str, threads: int) -> dict[str, str]:
    local = Path(student).is_dir()
    small = local and _weight_bytes(Path(student)) < SMALL * 4
    defaults = {
        "OMP_NUM_THREADS": str(1 if small else threads),
        "CUDA_VISIBLE_DEVICES": "0",  # TRL refuses to spread one process over several GPUs
    }
    quiet = {
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
    offline = {"HF_HUB_OFFLINE": "1"} if local else {}
    return {**defaults, **os.environ, **quiet, **offline}


def _weight_bytes(folder: Path) -> int:
    return sum(p.stat().st_size for p in folder.iterdir() if p.suffix in (".safetensors", ".bin"))


# -- one training, in this process


def train(
    student: str,
    dataset: Path,
    directory: Path,
    spec: spec.Finetune,
    on_step: OnStep | None = None,
    *,
    name: str = "",
) -> dict[str, Any]:
    """Finetune a checkpoint on a dataset into `directory` (model, tokenizer, training.json), whole or not at all.

    Imports torch and quietens the libraries' logging in this process. `loss_first` and `loss_last` are
    means over the first and last twentieth of the steps.
    """
    _check(student, dataset)
    sft.quieten()
    began = time.monotonic()
    identity = fingerprint(student, dataset, spec)
    tokenizer, model = sft.load(student)
    rows = sft.rows(dataset)
    seen = sft.seen(rows, spec)
    losses: list[float] = []
    with publish.folder(directory) as out:
        trainer = sft.trainer(model, tokenizer, seen, spec, out)
        usable = len(trainer.train_dataset)
        if not usable:
            raise InputError(
                f"{dataset}: every prompt fills finetune.max_length ({spec.max_length}): raise it"
            )
        lengths = [len(ids) for ids in trainer.train_dataset["input_ids"]]
        sft.feed(trainer, spec)
        trainer.add_callback(sft.listener(losses, spec.steps, on_step))
        sft.fit(trainer)
        if not all(map(math.isfinite, losses)):
            raise InputError(f"{student}: the loss is not finite: lower finetune.learning_rate")
        model.save_pretrained(out)
        tokenizer.save_pretrained(out)
        window, examples = max(1, spec.steps // 20), spec.steps * spec.batch_size
        told = {
            **_who(student, dataset, name),
            "skipped": None,
            "steps": spec.steps,
            "rows": len(rows),
            "examples": examples,
            "epochs": examples / len(rows),
            "dropped": len(seen) - usable,  # prompt alone fills max_length
            "at_max_length": sum(n >= trainer.args.max_length for n in lengths),  # possibly cut there
            "loss_first": sum(losses[:window]) / window,
            "loss_last": sum(losses[-window:]) / window,
            "losses": [round(x, 5) for x in losses],
            "seconds": round(time.monotonic() - began, 2),
            "parameters": model.num_parameters(),
            "device": str(model.device),
            "spec": spec.model_dump(mode="json"),
            "versions": {package: version(package) for package in EXTRA},
            "fingerprint": identity,
        }
        _write_record(out, told)
    return told


def _who(student: str, dataset: Path, name: str) -> dict[str, Any]:
    arm = _dataset_summary(dataset).get("arm", dataset.name)
    return {"student": name or student, "checkpoint": student, "arm": arm}


def _write_record(out: Path, told: Mapping[str, Any]) -> None:
    (out / RECORD).write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


def _dataset_summary(dataset: Path) -> dict[str, Any]:
    path = dataset / "summary.json"
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}


def _check(student: str, dataset: Path) -> None:
    """What can be known without torch. Raises InputError."""
    missing = [package for package in EXTRA if importlib.util.find_spec(package) is None]
    if missing:
        raise InputError(f"finetune needs {', '.join(missing)}: install pricematch[train]")
    if not (dataset / "dataset_info.json").is_file():
        raise InputError(f"{dataset}: no dataset with rows here: run `pricematch dataset` first")
    folder = Path(student)
    if not folder.is_dir():
        if student.count("/") > 1 or student.startswith((".", "~", "/")):
            raise InputError(f"students: {student}: no such checkpoint folder: mend the path")
        return
    if not (folder / "config.json").is_file():
        raise InputError(f"students: {student}: no config.json: not a checkpoint folder")
    if not any((folder / file).is_file() for file in TOKENIZER_FILES):
        raise InputError(f"students: {student}: no tokenizer (tokenizer.json) beside the weights: add it")
