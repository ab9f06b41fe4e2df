"""A training that was killed goes on from its last checkpoint as if nothing had happened."""

import json
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from toolkit import finetune
from toolkit.finetune import checkpoints
from toolkit.spec import Finetune, Lora

pytest.importorskip("trl", reason="finetuning needs the extra: install pricematch[train]")

SETTINGS = Finetune(
    steps=14,
    batch_size=8,
    learning_rate=1e-2,
    warmup_steps=3,
    schedule="cosine",
    max_length=128,
    save_steps=4,
)
KILLED = 10  # after the checkpoint of step 8

KILL = """
import json, os, signal, sys
from toolkit.finetune import Job, train

def on_step(step, steps, loss):
    if step == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)

train(Job.from_json(json.loads(sys.argv[1])), on_step)
"""


class Stopped(BaseException):
    """What a test raises in the middle of a training."""


def weights(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


def test_training_killed_in_the_middle_ends_with_the_weights_of_one_that_was_not(
    student: Path, dataset: Path, tmp_path: Path
) -> None:
    whole = finetune.Job(str(student), dataset, tmp_path / "whole", SETTINGS)
    killed = replace(whole, directory=tmp_path / "killed")
    command = [sys.executable, "-c", KILL, json.dumps(killed.as_json()), str(KILLED)]
    assert subprocess.run(command, capture_output=True).returncode == -signal.SIGKILL
    assert not killed.directory.exists()
    work = checkpoints.workplace(killed.directory)
    assert checkpoints.latest(work) == checkpoints.place(work, 8)
    steps: list[int] = []
    told = finetune.train(killed, lambda step, *_: steps.append(step))
    assert (told["resumed_from"], steps) == (8, list(range(9, 15)))
    expected = finetune.train(whole)
    assert expected["resumed_from"] is None
    assert told["losses"] == expected["losses"]
    assert len(told["losses"]) == 14
    assert weights(killed.directory) == weights(whole.directory)
    assert not work.exists()


def test_dropout_goes_on_with_the_noise_it_would_have_had(
    student: Path, dataset: Path, tmp_path: Path
) -> None:
    pytest.importorskip("peft")
    settings = SETTINGS.model_copy(update={"lora": Lora(r=4, dropout=0.3)})
    whole = finetune.Job(str(student), dataset, tmp_path / "whole", settings)
    stopped = replace(whole, directory=tmp_path / "stopped")

    def stop(step: int, steps: int, loss: float) -> None:
        if step == KILLED:
            raise Stopped

    with pytest.raises(Stopped):
        finetune.train(stopped, stop)
    told = finetune.train(stopped)
    assert told["resumed_from"] == 8
    assert told["losses"] == finetune.train(whole)["losses"]
    assert weights(stopped.directory) == weights(whole.directory)
