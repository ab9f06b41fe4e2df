"""A finetuning job: what is trained on what, what identifies it, and what its record says."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolkit import spec
from toolkit.finetune import validation

RECORD = "training.json"
STUDENT_FILES = (".safetensors", ".bin", ".json", ".jinja", ".model")
HARMLESS = {
    "report_to",
    "save_steps",
    "validation",
    "learning_rates",
}  # settings that do not change what is learned


@dataclass(frozen=True, slots=True)
class Job:
    """One student to be trained on one dataset."""

    student: str  # folder or hub id of the checkpoint
    dataset: Path
    directory: Path  # where the finetuned checkpoint goes
    spec: spec.Finetune
    name: str = ""  # the student's name in the run file
    validation: Path | None = None  # problems to choose on, as `validation.save` writes them
    chat: bool = True  # False: a checkpoint without a chat template
    keep: bool = True  # False: only the record is wanted, as of a trial
    search: Mapping[str, Any] | None = None  # how its learning rate was found, for the record

    def as_json(self) -> dict[str, Any]:
        return {
            "student": self.student,
            "dataset": str(self.dataset),
            "directory": str(self.directory),
            "spec": self.spec.model_dump(mode="json", exclude_unset=True),
            "name": self.name,
            "validation": str(self.validation) if self.validation else None,
            "chat": self.chat,
            "keep": self.keep,
            "search": self.search,
        }

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> "Job":
        return cls(
            found["student"],
            Path(found["dataset"]),
            Path(found["directory"]),
            spec.Finetune(**found["spec"]),
            found["name"],
            Path(found["validation"]) if found["validation"] else None,
            found["chat"],
            found["keep"],
            found["search"],
        )


# -- what identifies a training


def fingerprint(job: Job) -> str:
    """Identity of a training: the student's files (or hub id), the dataset's rows, the settings, the validation."""
    parts = {
        "student": base(job.student),
        "dataset": _sha(job.dataset, (".arrow",)),
        "spec": job.spec.model_dump(mode="json", exclude=HARMLESS),
        "validation": validation.load(job.validation).sha if job.validation else None,
        "chat": job.chat,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def base(student: str) -> str:
    """Identity of the checkpoint a training starts from: its files, or its hub id."""
    folder = Path(student)
    return _sha(folder, STUDENT_FILES) if folder.is_dir() else student


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


def done(job: Job) -> bool:
    """Whether this very training has already finished here."""
    found = record(job.directory)
    return found is not None and found.get("fingerprint") == fingerprint(job)


def who(job: Job) -> dict[str, Any]:
    arm = dataset_summary(job.dataset).get("arm", job.dataset.name)
    return {
        "student": job.name or job.student,
        "checkpoint": job.student,
        "base": base(job.student),
        "arm": arm,
    }


def write_record(out: Path, told: Mapping[str, Any]) -> None:
    (out / RECORD).write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


def dataset_summary(dataset: Path) -> dict[str, Any]:
    path = dataset / "summary.json"
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}
