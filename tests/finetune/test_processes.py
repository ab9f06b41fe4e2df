"""One training shared by several processes."""

import json
import os
from pathlib import Path

import pytest
import yaml

from toolkit import finetune
from toolkit.errors import InputError
from toolkit.finetune import many, memory, sft, torchrun
from toolkit.finetune.student import Machine
from toolkit.spec import Finetune

EXAMPLES = Path(__file__).parents[2] / "examples"
SETTINGS = Finetune(steps=4, batch_size=8, learning_rate=1e-2, max_length=128)


def test_torchrun_is_told_how_many_processes_and_what_to_run(tmp_path: Path) -> None:
    command = torchrun.command(8, tmp_path / "message.json")
    assert command[1:3] == ["-m", "torch.distributed.run"]
    assert command[command.index("--nproc_per_node") + 1] == "8"
    assert command[-3:] == ["-m", "toolkit.finetune.torchrun", str(tmp_path / "message.json")]


def test_each_training_gets_gpus_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    gpus = [str(i) for i in range(8)]
    assert [p.gpus for p in many._places(1, None, gpus)] == [(g,) for g in gpus]
    assert [p.gpus for p in many._places(4, None, gpus)] == [("0", "1", "2", "3"), ("4", "5", "6", "7")]
    assert [p.gpus for p in many._places(8, None, gpus)] == [tuple(gpus)]
    assert [p.gpus for p in many._places(1, None, [])] == [(), ()]


def test_small_students_share_a_process_and_large_ones_do_not(student: Path, tmp_path: Path) -> None:
    small = [finetune.Job(str(student), tmp_path, tmp_path / str(n), SETTINGS) for n in range(5)]
    large = finetune.Job("google/gemma-2-9b", tmp_path, tmp_path / "large", SETTINGS)
    batches = many._batches([*small, large], 2)
    assert [len(batch) for batch in batches] == [3, 2, 1]
    assert batches[-1] == [large]


@pytest.mark.parametrize("name", ["fsdp2.yaml", "fsdp2-offload.yaml"])
def test_the_shipped_config_files_shard_a_training(name: str) -> None:
    pytest.importorskip("transformers")
    path = EXAMPLES / "accelerate" / name
    shape = memory.shape(json.loads((EXAMPLES / "tiny-gemma" / "student" / "config.json").read_text()))
    device = memory.Device("cuda", "a GPU", 80 << 30, half=True)
    settings = SETTINGS.model_copy(update={"processes": 8, "accelerate": str(path)})
    layout = memory.layout("tiny", shape, settings, device, "eager")
    told = sft._sharding(settings, Machine(device, shape, "eager", layout, "float32"))
    assert told["fsdp"] is True
    assert told["fsdp_config"]["fsdp_version"] == 2
    assert told["fsdp_config"]["fsdp_activation_checkpointing"] is False
    assert told["fsdp_config"]["fsdp_offload_params"] is ("offload" in name)
    assert yaml.safe_load(path.read_text())["distributed_type"] == "FSDP"


def test_a_config_file_without_fsdp_is_one_line(student: Path, dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "ddp.yaml").write_text("distributed_type: MULTI_GPU\n")
    settings = SETTINGS.model_copy(update={"accelerate": str(tmp_path / "ddp.yaml")})
    with pytest.raises(InputError, match="no fsdp_config in it") as caught:
        finetune.train(finetune.Job(str(student), dataset, tmp_path / "out", settings))
    assert "\n" not in str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize("accelerate", [None, str(EXAMPLES / "accelerate" / "fsdp2.yaml")])
def test_two_processes_learn_from_the_same_rows_as_one(
    student: Path, dataset: Path, tmp_path: Path, accelerate: str | None
) -> None:
    """Gloo on the CPU, whole or sharded: the same rows in every step, so the same losses up to rounding."""
    one = finetune.Job(str(student), dataset, tmp_path / "one", SETTINGS, "tiny")
    shared = SETTINGS.model_copy(update={"processes": 2, "accelerate": accelerate})
    two = finetune.Job(str(student), dataset, tmp_path / "two", shared, "tiny")
    steps: list[int] = []
    (told,) = finetune.train_many([two], on_step=lambda job, step, *_: steps.append(step))
    assert told["processes"] == 2
    assert steps == [1, 2, 3, 4]
    assert (told["examples"], told["tokens"]) == (32, finetune.train(one)["tokens"])
    assert (two.directory / "model.safetensors").stat().st_size == (
        one.directory / "model.safetensors"
    ).stat().st_size
    assert told["losses"] == pytest.approx(finetune.record(one.directory)["losses"], rel=1e-3)  # type: ignore[index]


def test_what_a_shared_training_refuses_is_one_line(student: Path, tmp_path: Path) -> None:
    job = finetune.Job(str(student), tmp_path / "no-dataset", tmp_path / "two", SETTINGS)
    message = {"entry": many.ENTRY, "processes": 2, "jobs": [job.as_json()]}
    said: list[object] = []
    with pytest.raises(InputError, match="no dataset with rows here") as caught:
        torchrun.launch(message, said.append)
    assert "\n" not in str(caught.value)
    assert said == []


def test_a_refusal_is_heard_whichever_process_makes_it_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torchrun ends all processes as soon as one has ended, the first one too, before it can say anything."""
    (tmp_path / "only_the_second.py").write_text(
        "import os, time\n"
        "from toolkit.errors import InputError\n"
        "def train(message, say):\n"
        "    if os.environ['RANK'] == '0':\n"
        "        time.sleep(600)\n"
        "    raise InputError('said by the second')\n"
    )
    places = [str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(places))
    with pytest.raises(InputError, match="said by the second"):
        torchrun.launch({"entry": "only_the_second:train", "processes": 2}, print)
