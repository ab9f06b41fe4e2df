"""Rows laid end to end learn what padded rows learn: each attention keeps them apart."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from toolkit import finetune
from toolkit.finetune import training
from toolkit.finetune.student import machine
from toolkit.spec import Finetune

pytest.importorskip("trl", reason="finetuning needs the extra: install pricematch[train]")

TINY = {
    "vocab_size": 300, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
    "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16, "pad_token_id": 0,
}  # fmt: skip
GEMMA3 = {"sliding_window": 64, "layer_types": ["sliding_attention", "full_attention"]}


@pytest.mark.parametrize(
    ("kind", "more", "attention"),
    [("gemma", {}, "sdpa"), ("gemma2", {}, "eager"), ("gemma3_text", GEMMA3, "sdpa")],
)
def test_a_row_is_not_changed_by_the_one_before_it(
    kind: str, more: Mapping[str, Any], attention: str
) -> None:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, **TINY, **more)
    model = AutoModelForCausalLM.from_config(config, attn_implementation=attention).eval()
    one, other, row = (torch.randint(5, 300, (1, n)) for n in (9, 9, 7))
    positions = torch.cat([torch.arange(9), torch.arange(7)])[None]

    def after(before: Any) -> Any:
        packed = torch.cat([before, row], 1)
        return model(input_ids=packed, position_ids=positions, use_cache=False).logits[:, 9:]

    with torch.no_grad():
        alone = model(input_ids=row, use_cache=False).logits
        assert torch.equal(after(one), after(other))
        assert torch.allclose(after(one), alone, atol=1e-4)


def test_a_packed_batch_holds_the_same_rows_and_has_the_same_loss(
    student: Path, dataset: Path, tmp_path: Path
) -> None:
    losses = {}
    for packing in (False, True):
        settings = Finetune(steps=2, batch_size=8, learning_rate=1e-3, max_length=128, packing=packing)
        job = finetune.Job(str(student), dataset, tmp_path / str(packing), settings)
        losses[packing] = training.train(job)["losses"]
    assert losses[True] == pytest.approx(losses[False], rel=1e-3)


def test_packed_rows_lie_in_one_sequence_without_padding(
    student: Path, dataset: Path, tmp_path: Path
) -> None:
    settings = Finetune(steps=1, batch_size=4, max_length=128, packing=True)
    job = finetune.Job(str(student), dataset, tmp_path / "out", settings)
    trainer = training.prepare(job, machine(str(student), settings)).trainer
    batch = next(iter(trainer.get_train_dataloader()))
    lengths = [len(row) for row in trainer.train_dataset["input_ids"]]
    assert batch["input_ids"].shape == (1, sum(lengths))
    assert (batch["position_ids"] == 0).sum() == len(lengths) == 4
