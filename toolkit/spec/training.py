"""Which students are trained on the datasets, and how."""

import difflib
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from toolkit.spec.problems import Problems
from toolkit.spec.section import Section

Attention = Literal["auto", "eager", "sdpa", "flash_attention_2", "flex_attention"]
SEARCH_SEED = 10_000  # added to finetune.seed for what chooses a learning rate: a seed that is never reported


class Lora(Section):
    """Low-rank adapters instead of all weights (Hu et al. 2021, arXiv 2106.09685); merged into the saved student."""

    r: Annotated[int, Field(gt=0)] = 16
    alpha: Annotated[float, Field(gt=0)] = 32.0  # an adapter counts alpha / r times
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    targets: tuple[str, ...] = ()  # names of modules; empty: every linear layer but the head


class Finetune(Section):
    """Supervised finetuning with TRL, the same for every dataset: steps, epochs or tokens are held equal.

    `learning_rates` are tried once per student and dataset on a seed of their own; the best on `validation`
    is used. `checkpoints` are equally spaced; the best on `validation` is kept.
    """

    match: Literal["steps", "epochs", "tokens"] = "steps"  # what is held equal between datasets
    steps: Annotated[int, Field(gt=0)] = 600  # for match: steps
    epochs: Annotated[float, Field(gt=0)] | None = None  # passes over a dataset's rows, for match: epochs
    tokens: Annotated[int, Field(gt=0)] | None = None  # of completions learned from, for match: tokens
    batch_size: Annotated[int, Field(gt=0)] = 32  # rows per step, over all processes
    learning_rate: Annotated[float, Field(gt=0)] = 1e-6
    learning_rates: tuple[
        Annotated[float, Field(gt=0)], ...
    ] = ()  # a grid to choose from; learning_rate is then unused
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    max_grad_norm: Annotated[float, Field(gt=0)] = 1.0
    max_length: Annotated[int, Field(gt=0)] = 1024  # tokens, prompt and completion
    seed: Annotated[int, Field(ge=0)] = 0
    lora: Lora | None = None  # None: all weights
    checkpoints: Annotated[int, Field(gt=0)] = 1  # candidates, equally spaced; 1 is the last step alone
    save_steps: Annotated[int, Field(gt=0)] | None = None  # further places to resume from after a kill
    validation: Problems | None = (
        None  # what learning rate and checkpoint are chosen on; `source: same` as in evaluate
    )
    select_by: Literal["loss", "pass@1"] = "pass@1"  # loss on worked solutions, or greedy answers
    packing: bool | None = (
        None  # rows of a batch end to end instead of padded; None: where the attention is flash
    )
    attention: Attention = "auto"
    dtype: Literal["auto", "float32", "bfloat16"] = (
        "auto"  # of trained weights; auto: float32, a GPU computes in bfloat16
    )
    micro_batch: Annotated[int, Field(gt=0)] | None = (
        None  # rows at once on a device; None: what its memory holds
    )
    processes: Annotated[int, Field(gt=0)] = 1  # devices of this machine that share one training, by torchrun
    accelerate: str | None = (
        None  # an accelerate config file with an fsdp_config; None: each device holds all
    )
    report_to: tuple[str, ...] = ()  # trackers that transformers knows, such as wandb or tensorboard

    @model_validator(mode="after")
    def _can_choose(self) -> Self:
        if len(self.learning_rates) == 1:
            raise ValueError(
                f"learning_rates: a grid of one is no search: write learning_rate: {self.learning_rates[0]:g}"
            )
        if len(set(self.learning_rates)) < len(self.learning_rates):
            raise ValueError("learning_rates names a rate twice: name each once")
        wants = "learning_rates" if self.learning_rates else "checkpoints" if self.checkpoints > 1 else None
        if wants and self.validation is None:
            raise ValueError(
                f"{wants} needs validation: name problems to choose on, neither trained nor tested on"
            )
        return self

    @model_validator(mode="after")
    def _has_a_length(self) -> Self:
        if self.match != "steps" and getattr(self, self.match) is None:
            raise ValueError(f"match: {self.match} needs {self.match}: say how many")
        if self.batch_size % self.processes:
            raise ValueError(f"batch_size {self.batch_size} does not divide over {self.processes} processes")
        share = self.batch_size // self.processes
        if self.micro_batch and share % self.micro_batch:
            raise ValueError(
                f"micro_batch {self.micro_batch} does not divide a device's share of a batch, {share}"
            )
        return self


class Student(Section):
    """A base model that is finetuned once per dataset and seed, each time from the same checkpoint."""

    model: str  # folder or hub id of a checkpoint
    setup: Literal["student", "wc", "se"] | None = (
        None  # the paper's: a third model, or one of the pair itself
    )
    api: Literal["chat", "completions"] = "chat"  # completions: a base checkpoint without a chat template
    finetune: dict[
        str, Any
    ] = {}  # settings of finetune that are others for this student, such as its batch_size

    @model_validator(mode="after")
    def _known_settings(self) -> Self:
        for key in self.finetune:
            if key not in Finetune.model_fields:
                near = difflib.get_close_matches(key, Finetune.model_fields, n=1)
                raise ValueError(
                    f"finetune: unknown key {key!r}" + (f": did you mean {near[0]!r}?" if near else "")
                )
        return self

    def settings(self, common: Finetune) -> Finetune:
        """The run's settings with this student's own. Raises pydantic's ValidationError."""
        return Finetune.model_validate(common.model_dump() | self.finetune) if self.finetune else common
