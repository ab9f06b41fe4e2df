import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.finetune.conftest import ROWS, rows
from toolkit import finetune, spec
from toolkit.errors import InputError
from toolkit.finetune import training
from toolkit.finetune.student import machine

pytest.importorskip("trl", reason="finetuning needs the extra: install pricematch[train]")

SETTINGS = spec.Finetune(steps=12, batch_size=8, learning_rate=1e-2, warmup_steps=2, max_length=128, seed=3)


class Trained:
    """The same job trained twice: in a process of its own, and in this one."""

    def __init__(self, student: Path, dataset: Path, out: Path) -> None:
        self.steps: list[int] = []
        self.notes: list[str] = []
        self.job = finetune.Job(str(student), dataset, out / "child", SETTINGS, "tiny")
        (self.record,) = self.train_many()
        self.here = out / "here"
        finetune.train(replace(self.job, directory=self.here))

    def train_many(self) -> list[dict[str, Any]]:
        return finetune.train_many(
            [self.job],
            on_step=lambda job, step, *_: self.steps.append(step),
            on_note=lambda job, note: self.notes.append(note),
        )


@pytest.fixture(scope="module")
def trained(student: Path, dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return Trained(student, dataset, tmp_path_factory.mktemp("finetune"))


def test_training_lowers_the_loss_and_reports_every_step(trained: Trained) -> None:
    told = trained.record
    assert told["loss_last"] < told["loss_first"] - 0.5
    assert len(told["losses"]) == told["steps"] == 12
    assert trained.steps == list(range(1, 13))


def test_memory_and_time_are_told_before_the_first_step(trained: Trained) -> None:
    (note,) = trained.notes
    assert note.startswith(f"12 steps on {ROWS} rows: about 1.")
    assert "GiB free on this machine" in note
    assert trained.record["estimate"]["bytes"] > 1 << 30


def test_the_record_says_what_was_trained_on_what(trained: Trained) -> None:
    told = trained.record
    assert told == json.loads((trained.job.directory / "training.json").read_text())
    assert (told["student"], told["arm"], told["skipped"]) == ("tiny", "cheap", None)
    assert (told["rows"], told["examples"], told["epochs"]) == (ROWS, 96, 96 / ROWS)
    assert told["spec"] == SETTINGS.model_dump(mode="json")


def test_the_checkpoint_loads_with_its_chat_template(trained: Trained) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = trained.job.directory
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    chat = [{"role": "user", "content": "What is 1 + 1?"}]
    text = tokenizer.apply_chat_template(
        chat, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    assert model.generate(**text, max_new_tokens=3).shape[1] > text["input_ids"].shape[1]


def test_equal_seeds_give_equal_weights(trained: Trained) -> None:
    folders = trained.job.directory, trained.here
    first, second = ((folder / "model.safetensors").read_bytes() for folder in folders)
    assert first == second


def test_nothing_is_left_beside_checkpoint_and_dataset(trained: Trained, dataset: Path) -> None:
    assert sorted(p.name for p in trained.job.directory.parent.iterdir()) == ["child", "here"]
    assert not list(dataset.glob("cache-*"))


def test_a_finished_training_is_not_repeated(trained: Trained) -> None:
    before = list(trained.steps)
    weights = trained.job.directory / "model.safetensors"
    stamp = weights.stat().st_mtime_ns
    assert trained.train_many() == [trained.record]
    assert (trained.steps, weights.stat().st_mtime_ns) == (before, stamp)


def test_other_settings_rows_or_weights_are_another_training(
    trained: Trained, student: Path, dataset: Path, tmp_path: Path
) -> None:
    from datasets import Dataset

    assert finetune.done(trained.job)
    Dataset.from_list(rows(ROWS + 1)).save_to_disk(str(tmp_path / "more"))
    other = shutil.copytree(student, tmp_path / "student")
    (other / "model.safetensors").write_bytes(b"other")
    assert not any(
        finetune.done(replace(trained.job, **changed))
        for changed in (
            {"spec": SETTINGS.model_copy(update={"seed": 4})},
            {"dataset": tmp_path / "more"},
            {"student": str(other)},
        )
    )


def trainer(student: Path, dataset: Path, out: Path, settings: spec.Finetune = SETTINGS) -> Any:
    job = finetune.Job(str(student), dataset, out, settings)
    return training.prepare(job, machine(str(student), settings)).trainer


def test_the_loss_is_on_the_completion_and_its_end_of_turn_alone(
    student: Path, dataset: Path, tmp_path: Path
) -> None:
    ready = trainer(student, dataset, tmp_path)
    tokenizer = ready.processing_class
    for row in ready.train_dataset.select(range(5)):
        asked, _, told = tokenizer.decode(row["input_ids"]).partition("<start_of_turn>model\n")
        learned = tokenizer.decode([token for token in row["labels"] if token != -100])
        assert "What is" in asked
        assert learned.strip() == told.strip()
        assert learned.strip().endswith("<end_of_turn>")


def test_a_constant_schedule_still_warms_up(student: Path, dataset: Path, tmp_path: Path) -> None:
    ready = trainer(student, dataset, tmp_path)
    schedule = ready.create_scheduler(SETTINGS.steps, ready.create_optimizer())
    rates = []
    for _ in range(4):
        rates.append(schedule.get_last_lr()[0])
        ready.optimizer.step()
        schedule.step()
    assert rates == pytest.approx([0.0, 0.005, 0.01, 0.01])


def one_line(student: str | Path, dataset: Path, out: Path, settings: spec.Finetune = SETTINGS) -> str:
    with pytest.raises(InputError) as caught:
        finetune.train(finetune.Job(str(student), dataset, out / "new", settings))
    assert not (out / "new").exists()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_missing_checkpoint_folder_is_one_line(dataset: Path, tmp_path: Path) -> None:
    assert "no such checkpoint folder" in one_line("./nowhere", dataset, tmp_path)


def test_a_folder_without_tokenizer_is_one_line(student: Path, dataset: Path, tmp_path: Path) -> None:
    bare = shutil.copytree(student, tmp_path / "bare", ignore=shutil.ignore_patterns("tokenizer*"))
    assert "no tokenizer" in one_line(bare, dataset, tmp_path)


def test_a_missing_chat_template_is_one_line(student: Path, dataset: Path, tmp_path: Path) -> None:
    base = shutil.copytree(student, tmp_path / "base", ignore=shutil.ignore_patterns("chat_template*"))
    assert "no chat template" in one_line(base, dataset, tmp_path)


def test_broken_weights_are_one_line(student: Path, dataset: Path, tmp_path: Path) -> None:
    broken = shutil.copytree(student, tmp_path / "broken")
    (broken / "model.safetensors").write_bytes(b"x")
    assert "cannot be loaded" in one_line(broken, dataset, tmp_path)


def test_an_empty_or_missing_dataset_is_one_line(student: Path, dataset: Path, tmp_path: Path) -> None:
    from datasets import load_from_disk

    load_from_disk(str(dataset)).select([]).save_to_disk(str(tmp_path / "empty"))
    assert "no correct draw" in one_line(student, tmp_path / "empty", tmp_path)
    assert "run `pricematch dataset` first" in one_line(student, tmp_path / "none", tmp_path)


def test_prompts_that_leave_no_room_for_a_completion_are_one_line(
    student: Path, dataset: Path, tmp_path: Path
) -> None:
    short = SETTINGS.model_copy(update={"max_length": 8})
    assert "finetune.max_length" in one_line(student, dataset, tmp_path, short)


def test_a_diverging_training_is_one_line_and_leaves_nothing(
    student: Path, dataset: Path, tmp_path: Path
) -> None:
    wild = SETTINGS.model_copy(update={"learning_rate": 1e30, "warmup_steps": 0})
    assert "lower finetune.learning_rate" in one_line(student, dataset, tmp_path, wild)


def test_a_missing_extra_is_named(
    student: Path, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "trl", None)
    assert one_line(student, dataset, tmp_path) == "finetune needs trl: install pricematch[train]"


def test_an_arm_without_rows_is_recorded_as_skipped(student: Path, tmp_path: Path) -> None:
    arm = tmp_path / "dataset" / "strong"
    arm.mkdir(parents=True)
    (arm / "summary.json").write_text('{"arm": "strong", "rows": 0, "skipped": "no correct draw"}')
    job = finetune.Job(str(student), arm, tmp_path / "out", SETTINGS, "tiny")
    (told,) = finetune.train_many([job])
    assert (told["student"], told["arm"], told["skipped"]) == ("tiny", "strong", "no correct draw")
    assert finetune.record(tmp_path / "out") == told


def test_importing_the_package_imports_no_heavy_library() -> None:
    code = "import sys, toolkit.dataset, toolkit.finetune; print({'torch', 'datasets', 'trl'} & set(sys.modules))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "set()"
