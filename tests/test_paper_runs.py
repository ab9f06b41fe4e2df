"""The shipped run files of the paper: its pair, its students, its settings (arXiv 2408.16737, sections 4 and 5)."""

import sys
from pathlib import Path

import pytest

from toolkit import cli, config
from toolkit.finetune import checkpoints, memory
from toolkit.spec import Run

FOLDER = Path(__file__).parents[1] / "examples" / "paper"
FILES = [f"{task}-{budget}.yaml" for task in ("gsm8k", "math") for budget in ("low", "high")]
STUDENTS = {"student-lm": "student", "wc-lm": "wc", "se-lm": "se"}


def load(name: str) -> Run:
    return config.load(FOLDER / name)[0]


def test_every_run_file_of_the_folder_is_known_here() -> None:
    assert sorted(p.name for p in FOLDER.glob("*.yaml")) == sorted(FILES)


@pytest.mark.parametrize("name", FILES)
def test_it_is_a_valid_run(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["pricematch", "run", str(FOLDER / name), "--dry-run"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 0
    assert f"name: {name.removesuffix('.yaml')}" in capsys.readouterr().out


@pytest.mark.parametrize("name", FILES)
def test_the_three_setups_see_as_many_rows_as_in_the_paper(name: str) -> None:
    run = load(name)
    assert run.finetune is not None
    assert {key: student.setup for key, student in run.students.items()} == STUDENTS
    steps = {key: student.settings(run.finetune) for key, student in run.students.items()}
    rows = 19_200 if "low" in name else 192_000
    assert {key: s.steps * s.batch_size for key, s in steps.items()} == dict.fromkeys(STUDENTS, rows)
    assert {key: s.batch_size for key, s in steps.items()} == {"student-lm": 8, "wc-lm": 32, "se-lm": 32}


@pytest.mark.parametrize("name", FILES)
def test_rates_and_checkpoints_are_the_papers_and_the_same_for_every_dataset(name: str) -> None:
    run = load(name)
    assert run.finetune is not None
    assert run.finetune.learning_rates == (1e-7, 5e-7, 1e-6)
    assert len(checkpoints.marks(run.finetune.steps, run.finetune.checkpoints)) == 10
    assert run.datasets() == ["wc", "se", "human", "wc-number-matched"]
    assert run.evaluate is not None
    assert run.evaluate.maj_k == (1, 4, 8, 16)
    assert run.evaluate.sampled == 16


@pytest.mark.parametrize("name", FILES)
def test_three_cheap_draws_cost_what_one_dear_draw_costs(name: str) -> None:
    run = load(name)
    wc, se = (run.models[key].active_params for key in ("wc", "se"))
    assert wc is not None
    assert se == 3 * wc
    assert (run.budget.match, run.budget.draws) == ("flops", 1 if "low" in name else 10)


@pytest.mark.parametrize("name", FILES)
def test_validation_comes_from_another_stretch_than_training_and_test(name: str) -> None:
    run = load(name)
    assert run.finetune is not None
    assert run.held_out is not None
    assert run.finetune.validation is not None
    trained, chosen, tested = run.problems, run.finetune.validation, run.held_out
    splits = {trained.split, chosen.split, tested.split}
    assert len(splits) == 3 or chosen.offset == trained.limit


@pytest.mark.parametrize("name", FILES)
def test_the_27b_student_fits_the_eight_gpus_it_was_meant_for(name: str) -> None:
    run = load(name)
    assert run.finetune is not None
    shape = memory.Shape("gemma2", 4608, 46, 32, 16, 128, 36864, 256000, True)
    gpu = memory.Device("cuda", "an 80 GB GPU", 79 << 30, half=True)
    settings = run.students["se-lm"].settings(run.finetune)
    assert memory.layout("se-lm", shape, settings, gpu, "flash_attention_2").need.total < gpu.free
    assert (FOLDER / (run.finetune.accelerate or "")).is_file()
