"""A student: whether it fits this device, how it is loaded, how it is saved.

The heavy libraries are imported inside the functions.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolkit import spec
from toolkit.errors import InputError
from toolkit.finetune import devices, memory, usable
from toolkit.finetune.memory import Device, Layout, Shape


@dataclass(frozen=True, slots=True)
class Machine:
    """What a training runs on and how it is laid out there, known from config.json alone."""

    device: Device
    shape: Shape
    attention: str
    layout: Layout
    stored: str  # the type of the student's weights as they lie on disk


def machine(student: str, spec: spec.Finetune) -> Machine:
    """Raises InputError where the student cannot be read, or does not fit this device."""
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(student)
    except (OSError, ValueError) as error:
        raise _unreadable(student, error) from error
    device, shape = devices.here(spec.processes), memory.shape(config.to_dict())
    attention = devices.attention(config.model_type, spec.attention)
    layout = memory.layout(student, shape, spec, device, attention)
    stored = str(getattr(config.get_text_config(), "dtype", None) or config.dtype or "float32")
    return Machine(device, shape, attention, layout, stored.removeprefix("torch."))


def load(student: str, spec: spec.Finetune, machine: Machine, *, chat: bool = True) -> tuple[Any, Any]:
    """The tokenizer and the model.

    Weights that learn are float32: at 1e-6 a bfloat16 weight would swallow its updates. Frozen ones may be short.
    """
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM, AutoTokenizer

    short = spec.dtype == "bfloat16" or (spec.lora is not None and machine.device.half)
    try:
        tokenizer = AutoTokenizer.from_pretrained(student)
        if chat and not tokenizer.chat_template:
            raise usable.no_template(student)
        model = AutoModelForCausalLM.from_pretrained(
            student,
            dtype=torch.bfloat16 if short else torch.float32,
            attn_implementation=machine.attention,
        )
    except (OSError, ValueError, ImportError, SafetensorError) as error:
        raise _unreadable(student, error) from error
    return tokenizer, model


def _unreadable(student: str, error: Exception) -> InputError:
    reason = str(error).strip().split("\n")[0]
    return InputError(f"students: {student}: cannot be loaded: {reason}")


def keep(trainer: Any, tokenizer: Any, chosen: Path, base: str, stored: str, out: Path) -> None:
    """Save the chosen checkpoint as a model of its own: adapters merged, weights in the type the base has on disk."""
    import torch
    from transformers import AutoModelForCausalLM

    dtype = getattr(torch, stored)
    if (chosen / "adapter_config.json").is_file():
        from peft import PeftModel

        whole = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
        model = PeftModel.from_pretrained(whole, chosen).merge_and_unload().to(dtype)
    else:
        model = AutoModelForCausalLM.from_pretrained(chosen, dtype=dtype)
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
