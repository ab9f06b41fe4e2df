"""One training, in this process: a student on one dataset, its best checkpoint saved with its record.

Every dataset gets the same number of steps (or epochs, or tokens), batch size and schedule; the loss is on
the completion only. A killed training goes on from its last checkpoint, as if it had not been killed.
"""

import gc
import math
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from toolkit import publish
from toolkit.children import Say
from toolkit.errors import InputError
from toolkit.finetune import checkpoints, memory, sft, student, usable, validation
from toolkit.finetune import rows as learning
from toolkit.finetune.checkpoints import Candidate
from toolkit.finetune.jobs import Job, fingerprint, who, write_record
from toolkit.finetune.sft import OnNote, OnStep
from toolkit.finetune.student import Machine


def child(message: Mapping[str, Any], say: Say) -> None:
    """Jobs of `train_many`, one after the other, as their process runs them."""
    for number, found in enumerate(message["jobs"]):

        def told(step: int, steps: int, loss: float, job: int = number) -> None:
            say({"job": job, "step": step, "steps": steps, "loss": loss})

        def noted(note: str, job: int = number) -> None:
            say({"job": job, "note": note})

        train(Job.from_json(found), told, noted)
        gc.collect()  # the model goes before the next one comes


@dataclass(frozen=True, slots=True)
class Ready:
    """A trainer with everything it needs, before its first step."""

    trainer: Any
    tokenizer: Any
    machine: Machine
    facts: dict[str, Any]  # for the record: rows, steps, tokens, estimates


def train(job: Job, on_step: OnStep | None = None, on_note: OnNote | None = None) -> dict[str, Any]:
    """Finetune a checkpoint on a dataset into the job's folder (model, tokenizer, training.json), whole or not at all.

    Returns the content of training.json. Raises InputError, in one line, for whatever the user can mend.
    `on_note` is told, before the first step, what memory and time it will take.
    """
    check(job)
    sft.quieten()
    work = checkpoints.workplace(job.directory)
    try:
        return _trained(job, work, on_step, on_note)
    except InputError:
        checkpoints.give_up(work)
        raise


def _trained(job: Job, work: Path, on_step: OnStep | None, on_note: OnNote | None) -> dict[str, Any]:
    began, identity = time.monotonic(), fingerprint(job)
    machine = student.machine(job.student, job.spec)
    with validation.scorer(job.validation, job.spec.select_by) as problems:
        ready = prepare(job, machine, problems)
        trainer = ready.trainer
        with trainer.accelerator.main_process_first():
            checkpoints.claim(work, identity)
        resume = checkpoints.latest(work)
        plan = checkpoints.Plan(
            checkpoints.marks(trainer.args.max_steps, job.spec.checkpoints),
            job.spec.save_steps,
            job.spec.select_by,
            problems.score(trainer, ready.tokenizer, chat=job.chat) if problems else None,
            checkpoints.seconds(resume),
        )
        trainer.add_callback(checkpoints.keeper(plan, trainer))
        if on_step is not None:
            trainer.add_callback(sft.listener(on_step))
        if on_note is not None:
            on_note(_forecast(ready))
        sft.fit(trainer, resume)
    facts = ready.facts | _learned(job, trainer) | {"resumed_from": _step(resume), "fingerprint": identity}
    facts["seconds"] = round(plan.before + time.monotonic() - began, 2)
    return _publish(job, ready, work, facts)


def _forecast(ready: Ready) -> str:
    """What the training will take."""
    told, machine = ready.facts["estimate"], ready.machine
    took = "" if told["seconds"] is None else f", {told['seconds']:,.0f} s or more"
    return (
        f"{ready.facts['steps']:,} steps on {ready.facts['rows']:,} rows: about {told['bytes'] / memory.GIB:.1f} of "
        f"{machine.device.free / memory.GIB:.1f} GiB free on {machine.device.name}{took}"
    )


def _step(checkpoint: Path | None) -> int | None:
    return int(checkpoint.name.rpartition("-")[2]) if checkpoint else None


def prepare(job: Job, machine: Machine, problems: validation.Scorer | None = None) -> Ready:
    """Everything up to the first step: the student loaded, its rows prepared and put in order."""
    settings, work = job.spec, checkpoints.workplace(job.directory)
    tokenizer, model = student.load(job.student, settings, machine, chat=job.chat)
    rows = learning.rows(job.dataset, chat=job.chat)
    seen = learning.seen(rows, settings)
    measured = problems.rows(chat=job.chat) if problems and settings.select_by == "loss" else None
    trainer = sft.trainer(model, tokenizer, seen, measured, settings, machine, work)
    if not len(trainer.train_dataset):
        raise InputError(
            f"{job.dataset}: every prompt fills finetune.max_length ({settings.max_length}): raise it"
        )
    lengths = [len(ids) for ids in trainer.train_dataset["input_ids"]]
    learned = learning.completion_lengths(trainer.train_dataset)
    order = learning.order(learned, settings, len(rows))
    steps, tokens = len(order) // settings.batch_size, sum(lengths[row] for row in order)
    trainer.args.max_steps = steps
    learning.feed(trainer, order)
    guess = memory.seconds(
        machine.shape, settings, machine.device, tokens, recompute=machine.layout.recompute
    )
    facts = {
        "match": settings.match,
        "steps": steps,
        "rows": len(rows),
        "examples": len(order),
        "epochs": len(order) / len(rows),
        "tokens": tokens,  # prompts and completions, seen in training
        "completion_tokens": sum(learned[row] for row in order),  # learned from
        "dropped": len(seen) - len(lengths),  # prompt alone fills max_length
        "at_max_length": sum(n >= trainer.args.max_length for n in lengths),  # possibly cut there
        "estimate": {
            "bytes": machine.layout.need.total,
            "seconds": None if guess is None else round(guess, 1),
        },
    }
    return Ready(trainer, tokenizer, machine, facts)


def _learned(job: Job, trainer: Any) -> dict[str, Any]:
    """What the training came to: its losses, and the checkpoint that was chosen."""
    settings = job.spec
    losses = sft.losses(trainer)
    diverged = not all(map(math.isfinite, losses))
    if diverged and job.keep:
        raise InputError(f"{job.student}: the loss is not finite: lower finetune.learning_rate")
    window = max(1, len(losses) // 20)
    found = checkpoints.candidates(trainer.state.log_history, settings.select_by)
    chosen = checkpoints.best(found, settings.select_by) if found else None
    return {
        "loss_first": _number(sum(losses[:window]) / window),
        "loss_last": _number(sum(losses[-window:]) / window),
        "losses": [_number(round(x, 5)) for x in losses],
        "diverged": diverged,
        "learning_rate": settings.learning_rate,
        "seed": settings.seed,
        "search": job.search,
        "select_by": settings.select_by if found else None,
        "candidates": [_candidate(c, settings.select_by) for c in found],
        "chosen": _candidate(chosen, settings.select_by) if chosen else {"step": trainer.args.max_steps},
    }


def _candidate(candidate: Candidate, by: str) -> dict[str, Any]:
    return {"step": candidate.step, by: _number(candidate.score)}


def _number(x: float) -> float | None:
    """JSON knows no other than finite numbers."""
    return x if math.isfinite(x) else None


def _publish(job: Job, ready: Ready, work: Path, facts: Mapping[str, Any]) -> dict[str, Any]:
    """The chosen weights and the record, by the first process; the checkpoints go."""
    trainer, machine = ready.trainer, ready.machine
    chosen = checkpoints.place(work, facts["chosen"]["step"])
    if job.keep and not facts["candidates"]:
        chosen = work / checkpoints.LAST
        trainer.save_model(str(chosen))  # by all processes: each may hold a part of the weights
    if not trainer.is_world_process_zero():
        return {}
    told = {
        **who(job),
        "skipped": None,
        **facts,
        "parameters": machine.shape.parameters,
        "trained_parameters": memory.trained(machine.shape, job.spec),
        "device": machine.device.name if machine.device.kind == "cuda" else "cpu",
        "processes": job.spec.processes,
        "attention": machine.attention,
        "packing": sft.packs(job.spec, machine),
        "micro_batch": machine.layout.micro,
        "recompute": machine.layout.recompute,
        "spec": job.spec.model_dump(mode="json"),
        "versions": {package: version(package) for package in usable.EXTRA},
    }
    with publish.folder(job.directory) as out:
        if job.keep:
            student.keep(trainer, ready.tokenizer, chosen, job.student, machine.stored, out)
        write_record(out, told)
    shutil.rmtree(work, ignore_errors=True)
    return told


def check(job: Job) -> None:
    """What can be known without torch. Raises InputError."""
    if not (job.dataset / "dataset_info.json").is_file():
        raise InputError(f"{job.dataset}: no dataset with rows here: run `pricematch dataset` first")
    usable.check(job.student, job.spec, chat=job.chat)
