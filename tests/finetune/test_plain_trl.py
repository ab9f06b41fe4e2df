"""A dataset made here trains with nothing but TRL: the command printed on its card."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.finetune.conftest import rows
from toolkit.dataset.card import TRAIN, sft_config

pytest.importorskip("trl", reason="finetuning needs the extra: install pricematch[train]")


@pytest.mark.slow
def test_the_command_on_the_card_trains_a_student(student: Path, tmp_path: Path) -> None:
    import torch
    from datasets import Dataset

    folder = tmp_path / "dataset" / "cheap"
    folder.mkdir(parents=True)
    made = [row | {"problem": f"p{n}", "draw": n} for n, row in enumerate(rows(16))]
    Dataset.from_list(made).to_parquet(str(folder / "data.parquet"))
    (folder / "sft.yaml").write_text(sft_config())
    printed = TRAIN.replace("MODEL", str(student)).replace("STUDENT", str(tmp_path / "tuned"))
    trl, *arguments = shlex.split(printed)
    few = ["--max_steps", "2", "--per_device_train_batch_size", "4"]
    if not torch.cuda.is_available():  # TRL's default, bf16, is refused without a GPU
        few += ["--use_cpu", "true", "--bf16", "false"]
    command = [str(Path(sys.executable).parent / trl), *arguments, *few]
    env = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "train_loss" in done.stdout
    assert (tmp_path / "tuned" / "model.safetensors").is_file()
