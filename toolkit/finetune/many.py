"""Many trainings, in processes of their own.

The caller never imports torch, several can train at once, and a child that dies costs one line. A finished
training is not repeated.
"""

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import Queue
from typing import Any

from toolkit import publish
from toolkit.children import Children
from toolkit.finetune import devices
from toolkit.finetune.jobs import Job, dataset_summary, done, record, who, write_record
from toolkit.finetune.sft import SMALL
from toolkit.finetune.training import check

ENTRY = "toolkit.finetune.training:child"
SIDE_BY_SIDE = 2  # trainings at once where there is no GPU


def train_many(
    jobs: Sequence[Job],
    *,
    parallel: int | None = None,
    on_step: Callable[[Job, int, int, float], None] | None = None,
    on_note: Callable[[Job, str], None] | None = None,
) -> list[dict[str, Any]]:
    """The training.json of every job, in order; `parallel` at once: None is one per GPU, or two without any.

    Finished jobs are not trained again; a dataset without rows is recorded as skipped. After a failure no
    further job starts, those under way finish, and the first error is raised. `on_step` and `on_note` are
    called from worker threads, one call at a time.
    """
    todo = [job for job in jobs if _already(job) is None]
    turn, children = threading.Lock(), Children()
    places = _places(max((j.spec.processes for j in jobs), default=1), parallel)
    free: Queue[Place] = Queue()
    for place in places:
        free.put(place)

    def told(job: Job, answer: Mapping[str, Any]) -> None:
        with turn:
            if "note" in answer and on_note is not None:
                on_note(job, answer["note"])
            elif "step" in answer and on_step is not None:
                on_step(job, answer["step"], answer["steps"], answer["loss"])

    def several(batch: Sequence[Job]) -> None:
        place = free.get()
        try:
            _in_child(batch, told, children, place)
        finally:
            free.put(place)

    with ThreadPoolExecutor(max_workers=len(places)) as pool:
        futures = [pool.submit(several, batch) for batch in _batches(todo, len(places))]
        try:
            for future in futures:
                future.result()
        except Exception:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
        except BaseException:  # interrupted: nobody waits for these any more
            pool.shutdown(wait=False, cancel_futures=True)
            children.end()
            raise
    return [record(job.directory) or {} for job in jobs]


def _batches(jobs: Sequence[Job], places: int) -> list[list[Job]]:
    """What trains in one process, one after the other: a large student alone, small ones dealt over the places.

    Importing the libraries takes some ten seconds, more than a small student's whole training.
    """
    small = [job for job in jobs if _is_small(job)]
    dealt = [small[place::places] for place in range(places)]
    return [batch for batch in dealt if batch] + [[job] for job in jobs if not _is_small(job)]


def _is_small(job: Job) -> bool:
    folder = Path(job.student)
    return job.spec.processes == 1 and folder.is_dir() and _weight_bytes(folder) < SMALL * 4


@dataclass(frozen=True, slots=True)
class Place:
    """Where one training runs: a share of the cores, and some GPUs of its own."""

    threads: int
    gpus: tuple[str, ...] = ()


def _places(processes: int, parallel: int | None, gpus: Sequence[str] | None = None) -> list[Place]:
    gpus = devices.gpus() if gpus is None else gpus
    most = max(1, len(gpus) // processes) if gpus else SIDE_BY_SIDE if processes == 1 else 1
    count = parallel or most
    threads = max(1, (os.cpu_count() or 1) // count)
    if not gpus:
        return [Place(threads)] * count
    starts = [i % most * processes for i in range(count)]  # more trainings than GPUs share them
    return [Place(threads, tuple(gpus[start : start + processes])) for start in starts]


def _already(job: Job) -> dict[str, Any] | None:
    """The record of a job that needs no training: finished before, or without rows to learn from."""
    reason = dataset_summary(job.dataset).get("skipped")
    if reason:
        skipped = {**who(job), "skipped": reason}
        with publish.folder(job.directory) as out:
            write_record(out, skipped)
        return skipped
    check(job)
    return record(job.directory) if done(job) else None


def _in_child(
    jobs: Sequence[Job],
    told: Callable[[Job, Mapping[str, Any]], None],
    children: Children,
    place: Place,
) -> None:
    def hear(answer: dict[str, Any]) -> None:
        told(jobs[answer["job"]], answer)

    first = jobs[0]
    entry = "toolkit.finetune.torchrun:launch" if first.spec.processes > 1 else ENTRY
    message = {
        "entry": ENTRY,
        "processes": first.spec.processes,
        "jobs": [job.as_json() for job in jobs],
    }
    log = first.directory.with_name(f"{first.directory.name}.log")
    children.run(entry, message, log, _environment(first, place), hear)


def _environment(job: Job, place: Place) -> dict[str, str]:
    local = Path(job.student).is_dir()
    defaults = {"OMP_NUM_THREADS": str(1 if _is_small(job) else max(1, place.threads // job.spec.processes))}
    # TRL refuses to spread one process over several GPUs.
    own = {"CUDA_VISIBLE_DEVICES": ",".join(place.gpus)} if place.gpus else {}
    quiet = {
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
    offline = {"HF_HUB_OFFLINE": "1"} if local else {}
    return {**defaults, **os.environ, **own, **quiet, **offline}


def _weight_bytes(folder: Path) -> int:
    return sum(p.stat().st_size for p in folder.iterdir() if p.suffix in (".safetensors", ".bin"))
