"""Memory and time of a training, from config.json alone."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from toolkit import finetune
from toolkit.errors import InputError
from toolkit.finetune import devices, memory
from toolkit.spec import Finetune, Lora

GEMMA2 = {"model_type": "gemma2", "vocab_size": 256000, "head_dim": 256}
SHAPES: dict[str, dict[str, Any]] = {
    "gemma-2-2b": GEMMA2
    | {"hidden_size": 2304, "intermediate_size": 9216, "num_hidden_layers": 26, "num_attention_heads": 8}
    | {"num_key_value_heads": 4},
    "gemma-2-9b": GEMMA2
    | {"hidden_size": 3584, "intermediate_size": 14336, "num_hidden_layers": 42, "num_attention_heads": 16}
    | {"num_key_value_heads": 8},
    "gemma-2-27b": GEMMA2
    | {"hidden_size": 4608, "intermediate_size": 36864, "num_hidden_layers": 46, "num_attention_heads": 32}
    | {"num_key_value_heads": 16, "head_dim": 128},
    "gemma-7b": GEMMA2
    | {"model_type": "gemma", "hidden_size": 3072, "intermediate_size": 24576, "num_hidden_layers": 28}
    | {"num_attention_heads": 16, "num_key_value_heads": 16},
    "gemma-3-1b": GEMMA2
    | {"model_type": "gemma3_text", "vocab_size": 262144, "hidden_size": 1152, "intermediate_size": 6912}
    | {"num_hidden_layers": 26, "num_attention_heads": 4, "num_key_value_heads": 1},
    "llama-3-8b": {
        "model_type": "llama",
        "vocab_size": 128256,
        "hidden_size": 4096,
        "intermediate_size": 14336,
    }
    | {"num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8},
}
H200 = memory.Device("cuda", "NVIDIA H200", 139 << 30, 9e14, half=True)
LAPTOP = memory.Device("cpu", "this machine (x86_64 CPU)", 22 << 30)


@pytest.mark.parametrize("name", SHAPES)
def test_parameters_are_those_of_the_real_model(name: str) -> None:
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    config = transformers.AutoConfig.for_model(**SHAPES[name])
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(config)
    assert memory.shape(SHAPES[name]).parameters == sum(p.numel() for p in model.parameters())


def test_adam_in_float32_holds_sixteen_bytes_a_parameter_and_lora_far_fewer() -> None:
    shape = memory.shape(SHAPES["gemma-2-2b"])
    full = memory.need(shape, Finetune(), LAPTOP, "eager", (1, True))
    assert full.weights + full.gradients + full.optimizer == 16 * shape.parameters
    adapters = memory.need(shape, Finetune(lora=Lora()), H200, "eager", (1, True))
    assert adapters.weights + adapters.gradients + adapters.optimizer < 3 * shape.parameters


def test_sharding_divides_what_belongs_to_the_weights() -> None:
    shape = memory.shape(SHAPES["gemma-2-27b"])
    alone = memory.need(shape, Finetune(processes=8), H200, "eager", (1, True))
    shared = memory.need(shape, Finetune(processes=8, accelerate="fsdp2.yaml"), H200, "eager", (1, True))
    assert alone.optimizer == 8 * shared.optimizer
    assert alone.activations == shared.activations


def test_activations_are_recomputed_only_where_they_must_be() -> None:
    shape = memory.shape(SHAPES["gemma-2-2b"])
    roomy = memory.layout("gemma", shape, Finetune(), H200, "flash_attention_2")
    assert not roomy.recompute
    tight = replace(H200, free=memory.need(shape, Finetune(), H200, "eager", (1, True)).total * 10 // 9 + 1)
    assert memory.layout("gemma", shape, Finetune(), tight, "eager").recompute


def test_rows_at_once_divide_a_devices_share_of_the_batch() -> None:
    shape = memory.shape(SHAPES["gemma-2-2b"])
    layout = memory.layout("gemma", shape, Finetune(batch_size=32, processes=2), H200, "eager")
    assert 16 % layout.micro == 0
    assert layout.need.total <= memory.USABLE * H200.free
    asked = Finetune(batch_size=32, processes=2, micro_batch=2)
    assert memory.layout("gemma", shape, asked, H200, "eager").micro == 2


def a_27b_student(folder: Path) -> str:
    """Without weights: whoever tries to load them fails otherwise than by an estimate."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(SHAPES["gemma-2-27b"]))
    (folder / "tokenizer.json").write_text("{}")
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    return str(folder)


def test_a_27b_student_on_a_small_machine_is_refused_before_anything_is_loaded(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "gpus", list)
    monkeypatch.setattr(devices, "free_memory", lambda: LAPTOP.free)
    student = a_27b_student(tmp_path / "gemma-2-27b")
    with pytest.raises(InputError, match=r"27\.2 billion parameters needs about 4\d\d GiB") as caught:
        finetune.train(finetune.Job(student, dataset, tmp_path / "out", Finetune()))
    said = str(caught.value)
    assert "\n" not in said
    assert "22 GiB free" in said
    assert "finetune.lora" in said
    assert not list(tmp_path.glob(".out*"))


def test_a_gpu_that_is_too_small_is_refused_before_anything_is_loaded(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "gpus", lambda: ["0"])
    monkeypatch.setattr(devices, "here", lambda processes=1: replace(H200, name="a GPU", free=80 << 30))
    student = a_27b_student(tmp_path / "gemma-2-27b")
    with pytest.raises(InputError, match=r"a GPU has 80 GiB free: set finetune\.lora"):
        finetune.train(finetune.Job(student, dataset, tmp_path / "out", Finetune()))
    assert not list(tmp_path.glob(".out*"))


def test_a_config_file_that_leaves_out_what_its_class_knows_is_not_refused_unread(
    student: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    terse = shutil.copytree(student, tmp_path / "terse")
    (terse / "config.json").write_text('{"model_type": "gemma3_text", "hidden_size": 16}')
    monkeypatch.setattr(devices, "gpus", list)
    monkeypatch.setattr(devices, "free_memory", lambda: 0)
    finetune.check(str(terse), Finetune())
    with pytest.raises(InputError, match="has 0 GiB free"):
        finetune.check(str(student), Finetune())


def test_a_config_that_is_no_transformer_is_one_line() -> None:
    with pytest.raises(InputError, match="not a decoder-only transformer"):
        memory.shape({"model_type": "resnet", "hidden_sizes": [64]})


def test_a_containers_limit_counts_as_the_machines_memory(tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 32000000 kB\nMemAvailable: 20000000 kB\n")
    assert devices.free_memory(meminfo, tmp_path) == 20000000 * 1024
    (tmp_path / "memory.max").write_text("8000000000\n")
    (tmp_path / "memory.current").write_text("1000000000\n")
    assert devices.free_memory(meminfo, tmp_path) == 7000000000
    (tmp_path / "memory.max").write_text("max\n")
    assert devices.free_memory(meminfo, tmp_path) == 20000000 * 1024


def test_time_follows_from_tokens_parameters_and_speed() -> None:
    shape = memory.shape(SHAPES["gemma-2-2b"])
    seconds = memory.seconds(shape, Finetune(), H200, 1e6, recompute=False)
    assert seconds == pytest.approx(6 * shape.parameters * 1e6 / (memory.EFFICIENCY * 9e14))
    assert memory.seconds(shape, Finetune(), LAPTOP, 1e6, recompute=False) is None


def test_gemma_2_is_never_given_a_kernel_that_drops_its_score_cap(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    monkeypatch.setattr(devices, "flash", lambda: False)
    assert [devices.attention(kind) for kind in ("gemma", "gemma2", "gemma3_text")] == [
        "sdpa",
        "eager",
        "sdpa",
    ]
    monkeypatch.setattr(devices, "flash", lambda: True)
    assert devices.attention("gemma2") == "flash_attention_2"
    assert devices.attention("gemma2", "flex_attention") == "flex_attention"
