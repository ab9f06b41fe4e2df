"""One supervised finetuning with TRL's SFTTrainer: its parts, which alone know torch and TRL.

The heavy libraries are imported inside the functions.
"""

import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from types import MethodType
from typing import Any

import yaml

from toolkit import spec
from toolkit.errors import InputError
from toolkit.finetune.student import Machine

SMALL = 10_000_000  # parameters; below it a second thread costs more than it brings
LINEAR = (
    "q_proj",
    "k_proj",
    "v_proj",
    "o_proj",
    "gate_proj",
    "up_proj",
    "down_proj",
)  # of Gemma, Llama, Qwen

OnStep = Callable[[int, int, float], None]  # step, steps, loss
OnNote = Callable[[str], None]


def quieten() -> None:
    """Silence the libraries' progress bars and warnings in this process."""
    import datasets
    from transformers.utils import logging as chatter

    datasets.disable_progress_bars()
    chatter.set_verbosity_error()
    chatter.disable_progress_bar()
    for library in ("trl", "accelerate"):
        logging.getLogger(library).setLevel(logging.ERROR)
    warnings.simplefilter("ignore")


def trainer(
    model: Any, tokenizer: Any, rows: Any, validation: Any, spec: spec.Finetune, machine: Machine, out: Path
) -> Any:
    """An SFTTrainer: float32 on a CPU, bfloat16 autocast on a GPU, loss on the completion, saving nothing by itself.

    `validation` are rows to measure the loss on, or None.
    """
    import torch
    from transformers import Trainer
    from transformers.trainer_callback import PrinterCallback
    from trl import SFTTrainer
    from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

    small = machine.device.kind == "cpu" and machine.shape.parameters < SMALL
    if small:
        torch.set_num_threads(1)
    try:
        trainer = SFTTrainer(
            model=model,
            args=arguments(model, spec, machine, out),
            train_dataset=rows,
            eval_dataset=validation,
            processing_class=tokenizer,
            peft_config=_adapters(spec),
        )
    except ValueError as error:
        raise InputError(f"finetune: {str(error).strip().splitlines()[0]}") from error
    trainer.remove_callback(PrinterCallback)
    if small:  # TRL computes the same loss in tiles, to save memory: 1.6 times the CPU time of a small step
        trainer.compute_loss = MethodType(Trainer.compute_loss, trainer)
    if packs(spec, machine):
        # TRL's own packing makes blocks of several rows, so that a batch would hold more rows of a dataset
        # with short solutions. Here the rows of a batch stay the same and only lie end to end.
        trainer.data_collator = DataCollatorForLanguageModeling(
            pad_token_id=tokenizer.pad_token_id, padding_free=True
        )
    return trainer


def packs(spec: spec.Finetune, machine: Machine) -> bool:
    """Whether rows of a batch lie end to end. Every attention keeps them apart, only flash saves work by it."""
    return machine.attention.startswith("flash") if spec.packing is None else spec.packing


def arguments(model: Any, spec: spec.Finetune, machine: Machine, out: Path) -> Any:
    """The SFTConfig of a training."""
    from trl import SFTConfig

    cuda, half = machine.device.kind == "cuda", machine.device.half
    context = getattr(model.config.get_text_config(), "max_position_embeddings", None) or spec.max_length
    # Transformers' "constant" ignores the warm-up.
    schedule = "constant_with_warmup" if spec.schedule == "constant" and spec.warmup_steps else spec.schedule
    sharded = _sharding(spec, machine)
    return SFTConfig(
        output_dir=str(out),
        max_steps=spec.steps,
        per_device_train_batch_size=machine.layout.micro,
        per_device_eval_batch_size=machine.layout.micro,
        gradient_accumulation_steps=spec.batch_size // spec.processes // machine.layout.micro,
        learning_rate=spec.learning_rate,
        lr_scheduler_type=schedule,
        warmup_steps=spec.warmup_steps,
        weight_decay=spec.weight_decay,
        max_grad_norm=spec.max_grad_norm,
        max_length=min(spec.max_length, context),
        completion_only_loss=True,
        seed=spec.seed,
        bf16=half and spec.dtype != "bfloat16",
        tf32=True if half else None,
        use_cpu=not cuda,
        gradient_checkpointing=machine.layout.recompute and not sharded,
        dataloader_num_workers=0,
        dataloader_pin_memory=cuda,
        save_strategy="no",
        report_to=list(spec.report_to) or "none",
        disable_tqdm=True,
        logging_steps=1,
        logging_nan_inf_filter=False,  # it would hide a divergence
        **sharded,
    )


def _sharding(spec: spec.Finetune, machine: Machine) -> dict[str, Any]:
    """What an accelerate config file says about FSDP, as transformers takes it."""
    if spec.accelerate is None:
        return {}
    path = Path(spec.accelerate)
    try:
        config = dict((yaml.safe_load(path.read_text(encoding="utf-8")) or {})["fsdp_config"])
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"finetune.accelerate: {path}: no fsdp_config in it ({type(error).__name__}): give an accelerate config "
            "file such as examples/accelerate/fsdp2.yaml"
        ) from None
    return {"fsdp": True, "fsdp_config": config | {"fsdp_activation_checkpointing": machine.layout.recompute}}


def _adapters(spec: spec.Finetune) -> Any:
    if spec.lora is None:
        return None
    from peft import LoraConfig

    return LoraConfig(
        r=spec.lora.r,
        lora_alpha=spec.lora.alpha,
        lora_dropout=spec.lora.dropout,
        target_modules=list(spec.lora.targets or LINEAR),
        exclude_modules=r".*vision_tower.*",
        task_type="CAUSAL_LM",
    )


def fit(trainer: Any, resume: Path | None = None) -> None:
    """Train to the last step, from a checkpoint if there is one. Raises InputError where the memory is too small."""
    import torch

    try:
        trainer.train(resume_from_checkpoint=str(resume) if resume else None)
    except torch.OutOfMemoryError as error:
        raise InputError("finetune: the GPU's memory is too small: lower finetune.micro_batch") from error


def losses(trainer: Any) -> list[float]:
    """Every step's loss, those before a resumption included."""
    return [float(entry["loss"]) for entry in trainer.state.log_history if "loss" in entry]


def listener(on_step: OnStep) -> Any:
    """A callback that passes every step's loss on."""
    from transformers import TrainerCallback

    class Listener(TrainerCallback):  # type: ignore[misc]
        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            if logs and "loss" in logs and state.is_world_process_zero:
                on_step(state.global_step, state.max_steps, float(logs["loss"]))

    return Listener()
