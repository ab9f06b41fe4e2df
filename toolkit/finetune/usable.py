"""Whether a student can be finetuned here, as far as files and free memory tell: before torch is imported or a draw is paid for."""

import importlib.util
import json
import platform
from pathlib import Path
from typing import Any

from toolkit import spec
from toolkit.errors import InputError
from toolkit.finetune import devices, memory

EXTRA = ("accelerate", "datasets", "torch", "transformers", "trl")
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model")
TEMPLATE_FILES = ("chat_template.jinja", "chat_template.json")  # beside tokenizer_config.json's own


def check(student: str, settings: spec.Finetune, *, chat: bool = True) -> None:
    """Raises InputError, in one line, for a checkpoint or a machine with which no training can begin.

    A hub id and a GPU's memory are looked at when the training starts.
    """
    extra = (*EXTRA, "peft") if settings.lora else EXTRA
    missing = [package for package in extra if importlib.util.find_spec(package) is None]
    if missing:
        raise InputError(f"finetune needs {', '.join(missing)}: install pricematch[train]")
    folder = Path(student)
    if not folder.is_dir():
        if student.count("/") > 1 or student.startswith((".", "~", "/")):
            raise InputError(f"students: {student}: no such checkpoint folder: mend the path")
        return
    if not any((folder / file).is_file() for file in TOKENIZER_FILES):
        raise InputError(f"students: {student}: no tokenizer (tokenizer.json) beside the weights: add it")
    if chat and not _has_template(folder):
        raise no_template(student)
    _check_memory(student, settings, _json(folder / "config.json"))


def no_template(student: str) -> InputError:
    return InputError(
        f"students: {student}: its tokenizer has no chat template: use an instruction-tuned checkpoint, "
        "or set api: completions"
    )


def _has_template(folder: Path) -> bool:
    if any((folder / file).is_file() for file in TEMPLATE_FILES):
        return True
    settings = folder / "tokenizer_config.json"
    return settings.is_file() and bool(_json(settings).get("chat_template"))


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise InputError(f"students: {path.parent}: no {path.name}: not a checkpoint folder")
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except ValueError as error:
        raise InputError(f"students: {path}: not JSON ({error}): mend the file") from None


def _check_memory(student: str, settings: spec.Finetune, config: dict[str, Any]) -> None:
    """Where there is no GPU. At the least: what flash attention would need."""
    try:
        shape = memory.shape(config)
    except InputError:  # a config.json may leave out what its class knows: transformers reads it later
        return
    if not devices.gpus():
        name = f"this machine ({platform.machine()} CPU)"
        machine = memory.Device("cpu", name, devices.free_memory() // settings.processes)
        memory.layout(student, shape, settings, machine, settings.attention)
