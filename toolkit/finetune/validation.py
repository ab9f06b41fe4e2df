"""Validation problems, on which learning rate and checkpoint are chosen; no test set is ever used for that.

They are handed to a training as one JSON file. A model is scored by its mean loss on worked solutions, or by
the share of greedy answers that verify (pass@1), the same problems and the same way for every dataset.
"""

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from string import Template
from typing import Any

import prompts
from toolkit import spec
from toolkit.errors import InputError
from toolkit.finetune.rows import as_text
from toolkit.types import Outcome, Problem
from toolkit.verifiers.math import MathVerifier

MAX_TOKENS = 512  # of an answer where the run's decoding names no number
Grade = Callable[[Sequence[tuple[str, str]]], int]  # how many of (gold, text) are correct
TOGETHER = 64  # problems answered at once


@dataclass(frozen=True, slots=True)
class Validation:
    """Problems as a model is asked them, each with its gold answer and, where there is one, a worked solution."""

    prompts: list[str]
    answers: list[str]
    solutions: list[str | None]
    max_tokens: int
    verify: dict[str, Any]  # the run's settings of the verifier

    @property
    def sha(self) -> str:
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:16]


def make(
    problems: Sequence[Problem], template: Template, max_tokens: int | None, verify: spec.Verify
) -> Validation:
    return Validation(
        [prompts.render(template, question=p.question) for p in problems],
        [p.answer or "" for p in problems],
        [p.solution for p in problems],
        max_tokens or MAX_TOKENS,
        verify.model_dump(mode="json"),
    )


def save(validation: Validation, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(asdict(validation)), encoding="utf-8")
    return path


def load(path: Path) -> Validation:
    return Validation(**json.loads(path.read_text(encoding="utf-8")))


@dataclass(frozen=True, slots=True)
class Scorer:
    """Scores a model on the validation problems, by loss or by greedy answers."""

    validation: Validation
    by: str
    grade: Grade

    def rows(self, *, chat: bool) -> Any:
        """Prompt and worked solution as training rows. Raises InputError where no problem has a solution."""
        from datasets import Dataset

        pairs = zip(self.validation.prompts, self.validation.solutions, strict=True)
        found = [_row(prompt, solution) for prompt, solution in pairs if solution]
        if not found:
            raise InputError(
                "finetune.select_by: loss: no validation problem has a worked solution: use pass@1"
            )
        return Dataset.from_list(found if chat else [as_text(row) for row in found])

    def score(self, trainer: Any, tokenizer: Any, *, chat: bool) -> Callable[[], float]:
        """The score of the trainer's model as it is when called."""
        if self.by == "loss":
            return lambda: float(trainer.evaluate()["eval_loss"])
        return lambda: pass_at_1(trainer.model, tokenizer, self.validation, self.grade, chat=chat)


def _row(prompt: str, solution: str) -> dict[str, Any]:
    completion = [{"role": "assistant", "content": solution.strip()}]
    return {"prompt": [{"role": "user", "content": prompt}], "completion": completion}


@contextlib.contextmanager
def scorer(path: Path | None, by: str) -> Iterator[Scorer | None]:
    """Scores by the problems in a file; None where there is none."""
    if path is None:
        yield None
        return
    found = load(path)
    settings = spec.Verify(**found.verify)
    if by == "pass@1" and settings.verifier != "math":
        raise InputError(
            f"finetune.select_by: pass@1 cannot use verifier {settings.verifier} yet: write loss"
        )
    with MathVerifier(timeout=settings.timeout, workers=settings.workers) as verifier:
        yield Scorer(
            found, by, lambda pairs: sum(v.outcome is Outcome.CORRECT for v in verifier.judge(pairs))
        )


def pass_at_1(model: Any, tokenizer: Any, validation: Validation, grade: Grade, *, chat: bool) -> float:
    """The share of problems whose greedy answer is correct; processes of one training share the problems."""
    import torch

    shared = torch.distributed.is_available() and torch.distributed.is_initialized()
    rank, world = (torch.distributed.get_rank(), torch.distributed.get_world_size()) if shared else (0, 1)
    asked = [_ids(tokenizer, prompt, chat) for prompt in validation.prompts]
    order = sorted(range(len(asked)), key=lambda i: len(asked[i]))[rank::world]
    model.eval()
    right = 0
    for start in range(0, _most(len(asked), world), TOGETHER):
        some = order[start : start + TOGETHER] or [0]  # every process takes part in every call
        texts = _answers(
            model, tokenizer, [asked[i] for i in some], validation.max_tokens, together=world > 1
        )
        if start < len(order):
            right += grade([(validation.answers[i], text) for i, text in zip(some, texts, strict=True)])
    if shared:
        total = torch.tensor(right, device=model.device)
        torch.distributed.all_reduce(total)
        right = int(total)
    return right / len(asked)


def _most(problems: int, world: int) -> int:
    """Problems of the process that has most."""
    return -(-problems // world)


def _ids(tokenizer: Any, prompt: str, chat: bool) -> list[int]:
    if not chat:
        return list(tokenizer(prompt).input_ids)
    turns = [{"role": "user", "content": prompt}]
    text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    return list(tokenizer(text, add_special_tokens=False).input_ids)


def _answers(
    model: Any, tokenizer: Any, asked: list[list[int]], max_tokens: int, *, together: bool
) -> list[str]:
    import torch

    width = max(map(len, asked))
    pad = tokenizer.pad_token_id or 0
    ids = torch.tensor([[pad] * (width - len(a)) + a for a in asked], device=model.device)
    mask = torch.tensor([[0] * (width - len(a)) + [1] * len(a) for a in asked], device=model.device)
    context = getattr(model.config.get_text_config(), "max_position_embeddings", None) or width + max_tokens
    half = torch.autocast(model.device.type, torch.bfloat16, enabled=model.device.type == "cuda")
    with torch.no_grad(), half:
        out = model.generate(
            input_ids=ids,
            attention_mask=mask,
            do_sample=False,
            temperature=None,
            top_p=None,
            top_k=None,
            max_new_tokens=max(1, min(max_tokens, context - width)),
            pad_token_id=pad,
            synced_gpus=together,
        )
    return list(tokenizer.batch_decode(out[:, width:], skip_special_tokens=True))
