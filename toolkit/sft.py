"""One supervised finetuning with TRL's SFTTrainer: its parts, which alone know torch and TRL.

The heavy libraries are imported inside the functions.
"""

import logging
import random
import warnings
from collections.abc import Callable
from pathlib import Path
from types import MethodType
from typing import Any

from toolkit import spec
from toolkit.errors import InputError

SMALL = 10_000_000  # parameters; below it a second thread costs more than it brings
LARGE = 1_000_000_000  # parameters; above it activations are recomputed to fit the memory

OnStep = Callable[[int, int, float], None]  # step, steps, loss


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


def load(student: str) -> tuple[Any, Any]:
    """The tokenizer and the model, in float32: at 1e-6 a bfloat16 weight would swallow its updates."""
    import torch
    from safetensors import SafetensorError
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(student)
        if not tokenizer.chat_template:
            raise InputError(
                f"students: {student}: its tokenizer has no chat template: use an instruction-tuned checkpoint"
            )
        kind = AutoConfig.from_pretrained(student).model_type
        # Gemma 2 caps its attention scores, which the fused kernels leave out.
        attention = "eager" if kind == "gemma2" else "sdpa"
        model = AutoModelForCausalLM.from_pretrained(
            student, dtype=torch.float32, attn_implementation=attention
        )
    except (OSError, ValueError, SafetensorError) as error:
        reason = str(error).strip().split("\n")[0]
        raise InputError(f"students: {student}: cannot be loaded: {reason}") from error
    return tokenizer, model


def rows(dataset: Path) -> Any:
    """Prompt and completion alone, in memory: rows mapped from a file leave caches beside it."""
    from datasets import load_from_disk

    try:
        rows = load_from_disk(str(dataset), keep_in_memory=True)
    except IndexError:  # what datasets 5 says of a folder saved without rows
        rows = []
    if not len(rows):
        raise InputError(f"{dataset}: the dataset is empty: no correct draw to learn from")
    return rows.select_columns(["prompt", "completion"])


def seen(rows: Any, spec: spec.Finetune) -> Any:
    """The rows that training will see: all, or a seeded choice where there are more than its examples."""
    examples = spec.steps * spec.batch_size
    if len(rows) <= examples:
        return rows
    chosen = random.Random(spec.seed).sample(range(len(rows)), examples)
    return rows.select(chosen, keep_in_memory=True)


def trainer(model: Any, tokenizer: Any, rows: Any, spec: spec.Finetune, out: Path) -> Any:
    """An SFTTrainer: float32 on a CPU, bfloat16 autocast on a GPU, loss on the completion, no checkpoints."""
    import torch
    from transformers import Trainer
    from transformers.trainer_callback import PrinterCallback
    from trl import SFTConfig, SFTTrainer

    cuda = torch.cuda.is_available()
    small = not cuda and model.num_parameters() < SMALL
    if small:
        torch.set_num_threads(1)
    context = getattr(model.config.get_text_config(), "max_position_embeddings", None) or spec.max_length
    # Transformers' "constant" ignores the warm-up.
    schedule = "constant_with_warmup" if spec.schedule == "constant" and spec.warmup_steps else spec.schedule
    arguments = SFTConfig(
        output_dir=str(out),
        max_steps=spec.steps,
        per_device_train_batch_size=spec.batch_size,
        learning_rate=spec.learning_rate,
        lr_scheduler_type=schedule,
        warmup_steps=spec.warmup_steps,
        max_length=min(spec.max_length, context),
        completion_only_loss=True,
        seed=spec.seed,
        bf16=cuda and torch.cuda.is_bf16_supported(),
        use_cpu=not cuda,
        gradient_checkpointing=model.num_parameters() > LARGE,
        dataloader_num_workers=0,
        dataloader_pin_memory=cuda,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        logging_steps=1,
        logging_nan_inf_filter=False,  # it would hide a divergence
    )
    trainer = SFTTrainer(model=model, args=arguments, train_dataset=rows, processing_class=tokenizer)
    trainer.remove_callback(PrinterCallback)
    if small:  # TRL computes the same loss in tiles, to save memory: 1.6 times the CPU time of a small step
        trainer.compute_loss = MethodType(Trainer.compute_loss, trainer)
    return trainer


def feed(trainer: Any, spec: spec.Finetune) -> None:
    """Let training see steps x batch_size examples in full batches, whatever the number of rows.

    A Trainer left alone ends each pass over the rows with a smaller batch, so arms with few rows would
    learn from fewer examples. Here one shuffled pass follows the other without a seam.
    """
    from torch.utils.data import SequentialSampler

    rows, shuffle = len(trainer.train_dataset), random.Random(spec.seed)
    order: list[int] = []
    while len(order) < spec.steps * spec.batch_size:
        order += shuffle.sample(range(rows), rows)
    chosen = order[: spec.steps * spec.batch_size]
    trainer.train_dataset = trainer.train_dataset.select(chosen, keep_in_memory=True)
    trainer._get_train_sampler = lambda *_: SequentialSampler(trainer.train_dataset)


def fit(trainer: Any) -> None:
    """Train to the last step. Raises InputError where the memory is too small."""
    import torch

    try:
        trainer.train()
    except torch.OutOfMemoryError as error:
        raise InputError("finetune: the GPU's memory is too small: lower finetune.batch_size") from error


def listener(losses: list[float], steps: int, on_step: OnStep | None) -> Any:
    """A callback that collects every step's loss and passes it on."""
    from transformers import TrainerCallback

    class Listener(TrainerCallback):  # type: ignore[misc]
        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            if logs and "loss" in logs:
                losses.append(float(logs["loss"]))
                if on_step is not None:
                    on_step(state.global_step, steps, losses[-1])

    return Listener()
