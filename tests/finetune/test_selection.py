"""Learning rate and checkpoint are chosen on validation problems, for every dataset in the same way."""

import json
from pathlib import Path
from string import Template
from typing import Any

import pytest

from tests.finetune.conftest import rows
from toolkit import finetune
from toolkit.errors import InputError
from toolkit.finetune import search, validation
from toolkit.spec import SEARCH_SEED, Finetune, Lora, Problems, Verify
from toolkit.types import Problem

GRID = Finetune(
    steps=12, batch_size=8, max_length=128, learning_rates=(1e-4, 1e-2), checkpoints=3, select_by="loss",
    validation=Problems(split="validation"), seed=5,
)  # fmt: skip


@pytest.fixture
def problems(tmp_path: Path) -> Path:
    asked = [
        Problem(str(n), r["prompt"][0]["content"], str(2 * n), r["completion"][0]["content"])
        for n, r in enumerate(rows(6))
    ]
    made = validation.make(asked, Template("$question"), 8, Verify())
    return validation.save(made, tmp_path / "validation.json")


def job(
    student: Path, dataset: Path, out: Path, problems: Path | None, settings: Finetune = GRID
) -> finetune.Job:
    return finetune.Job(str(student), dataset, out, settings, "tiny", problems)


def record(rate: float, score: float | None, *, diverged: bool = False) -> dict[str, Any]:
    chosen = {"step": 6, "loss": score}
    return {"learning_rate": rate, "seed": 9, "select_by": "loss", "diverged": diverged, "chosen": chosen}


def test_every_dataset_is_searched_with_the_same_grid_on_a_seed_that_is_not_reported(tmp_path: Path) -> None:
    jobs = [job(tmp_path, tmp_path / name, tmp_path / "out", None) for name in ("cheap", "strong")]
    grids = [finetune.trials(j, tmp_path / j.dataset.name) for j in jobs]
    first, second = (
        [(t.spec.learning_rate, t.spec.seed, t.spec.checkpoints) for t in grid] for grid in grids
    )
    assert first == second == [(1e-4, 5 + SEARCH_SEED, 3), (1e-2, 5 + SEARCH_SEED, 3)]
    reported = {finetune.settled(jobs[0], tmp_path, seed).spec.seed for seed in range(1000)}
    assert 5 + SEARCH_SEED not in reported


def test_a_rate_found_on_one_dataset_is_not_used_for_another(tmp_path: Path) -> None:
    cheap, strong = (job(tmp_path, tmp_path / name, tmp_path / "out", None) for name in ("cheap", "strong"))
    for one, losses, rate in ((cheap, (2.0, 1.0), 1e-2), (strong, (1.0, 2.0), 1e-4)):
        tried = [record(r, loss) for r, loss in zip(GRID.learning_rates, losses, strict=True)]
        settled = finetune.settled(one, tmp_path, 0, tried)
        assert settled.spec.learning_rate == rate
        assert settled.search is not None
        assert [t["loss"] for t in settled.search["trials"]] == list(losses)


def test_of_equal_rates_the_smaller_wins_and_a_diverged_one_never() -> None:
    tried = [record(1e-2, 1.0), record(1e-3, 1.0), record(1e-4, 0.1, diverged=True), record(1e-5, None)]
    told = search.outcome(tried)
    assert told is not None
    assert told["learning_rate"] == 1e-3
    assert search.outcome([{"skipped": "no row"}]) is None


@pytest.mark.parametrize("by", ["loss", "pass@1"])
def test_gone_on_from_a_scored_checkpoint_every_step_tells_the_loss_it_would_have_told(
    by: str, student: Path, dataset: Path, tmp_path: Path, problems: Path
) -> None:
    settings = GRID.model_copy(update={"learning_rates": (), "learning_rate": 1e-2, "select_by": by})
    whole, stopped = (
        job(student, dataset, tmp_path / name, problems, settings) for name in ("whole", "stopped")
    )

    def stop(step: int, steps: int, loss: float) -> None:
        if step == 10:  # scored checkpoints are at 4, 8 and 12
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        finetune.train(stopped, stop)
    told = finetune.train(stopped)
    assert told["resumed_from"] == 8
    assert told["losses"] == finetune.train(whole)["losses"]
    assert len(told["losses"]) == 12


def test_the_checkpoint_that_did_best_on_validation_is_kept(
    student: Path, dataset: Path, tmp_path: Path, problems: Path
) -> None:
    # A rate so high that the first checkpoint is better than the last.
    wild = GRID.model_copy(update={"learning_rates": (), "learning_rate": 0.4})
    told = finetune.train(job(student, dataset, tmp_path / "out", problems, wild))
    scores = {c["step"]: c["loss"] for c in told["candidates"]}
    assert list(scores) == [4, 8, 12]
    best = min(scores, key=lambda step: (scores[step], step))
    assert told["chosen"] == {"step": best, "loss": scores[best]}
    assert kept_loss(tmp_path / "out", student, problems) == pytest.approx(scores[best], rel=1e-4)
    assert max(scores.values()) > 1.01 * min(scores.values())


def kept_loss(folder: Path, student: Path, problems: Path) -> float:
    """The validation loss of the saved student, measured by training it for one step at no rate."""
    from datasets import Dataset

    data = folder.parent / "again"
    Dataset.from_list(rows(6)).save_to_disk(str(data))
    settings = GRID.model_copy(
        update={"learning_rates": (), "learning_rate": 1e-12, "steps": 1, "checkpoints": 1}
    )
    told = finetune.train(job(folder, data, folder.parent / "measured", problems, settings))
    return float(told["chosen"]["loss"])


def test_pass_at_1_counts_greedy_answers_that_verify(
    student: Path, dataset: Path, tmp_path: Path, problems: Path
) -> None:
    settings = GRID.model_copy(
        update={
            "learning_rates": (),
            "learning_rate": 2e-2,
            "select_by": "pass@1",
            "steps": 150,
            "checkpoints": 2,
        }
    )
    told = finetune.train(job(student, dataset, tmp_path / "out", problems, settings))
    found = validation.load(problems)
    assert {c["pass@1"] * len(found.answers) % 1 for c in told["candidates"]} == {0}
    assert told["chosen"]["pass@1"] == max(c["pass@1"] for c in told["candidates"])
    assert answered(tmp_path / "out", found) == told["chosen"]["pass@1"]


def answered(folder: Path, found: validation.Validation) -> float:
    """pass@1 of a saved student, asked one problem at a time."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    right = 0
    for prompt, gold in zip(found.prompts, found.answers, strict=True):
        turns = [{"role": "user", "content": prompt}]
        asked = tokenizer.apply_chat_template(
            turns, add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        told = model.generate(**asked, do_sample=False, max_new_tokens=found.max_tokens)
        with validation.scorer(None, "loss"), validation.MathVerifier() as verifier:
            text = tokenizer.decode(told[0, asked["input_ids"].shape[1] :], skip_special_tokens=True)
            right += verifier.judge([(gold, text)])[0].outcome == "correct"
    return right / len(found.prompts)


def test_a_trial_leaves_its_record_alone(
    student: Path, dataset: Path, tmp_path: Path, problems: Path
) -> None:
    trial = finetune.trials(job(student, dataset, tmp_path / "out", problems), tmp_path / "search")[0]
    told = finetune.train(trial)
    assert told["trained_parameters"] == told["parameters"]
    assert [p.name for p in trial.directory.iterdir()] == ["training.json"]
    assert [p.name for p in trial.directory.parent.iterdir()] == [trial.directory.name]


def test_a_diverging_trial_is_recorded_not_fatal(
    student: Path, dataset: Path, tmp_path: Path, problems: Path
) -> None:
    grid = GRID.model_copy(update={"learning_rates": (1e-3, 1e30)})
    trials = finetune.trials(job(student, dataset, tmp_path / "out", problems, grid), tmp_path / "search")
    told = [finetune.train(trial) for trial in trials]
    assert [t["diverged"] for t in told] == [False, True]
    json.loads((trials[1].directory / "training.json").read_text(), parse_constant=pytest.fail)
    found = search.outcome(told)
    assert found is not None
    assert found["learning_rate"] == 1e-3


def test_lora_trains_adapters_and_saves_a_student_that_stands_alone(
    student: Path, dataset: Path, tmp_path: Path
) -> None:
    pytest.importorskip("peft")
    from transformers import AutoModelForCausalLM

    settings = Finetune(steps=20, batch_size=8, learning_rate=5e-2, max_length=128, lora=Lora(r=4))
    told = finetune.train(job(student, dataset, tmp_path / "out", None, settings))
    assert told["loss_last"] < told["loss_first"] - 0.03  # the embeddings of a random student stay random
    assert told["trained_parameters"] < told["parameters"] / 2
    with (tmp_path / "out" / "model.safetensors").open("rb") as file:
        assert not any(
            "lora" in name for name in json.loads(file.read(int.from_bytes(file.read(8), "little")))
        )
    base, tuned = (AutoModelForCausalLM.from_pretrained(f).state_dict() for f in (student, tmp_path / "out"))
    changed = {name for name in base if not base[name].equal(tuned[name])}
    assert changed == {name for name in base if "proj" in name}


def test_solutions_are_needed_to_choose_by_loss(student: Path, dataset: Path, tmp_path: Path) -> None:
    bare = validation.make([Problem("1", "1+1?", "2")], Template("$question"), 8, Verify())
    path = validation.save(bare, tmp_path / "validation.json")
    with pytest.raises(InputError, match="no validation problem has a worked solution"):
        finetune.train(job(student, dataset, tmp_path / "out", path))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            {"learning_rates": [1e-6], "validation": {}},
            "a grid of one is no search: write learning_rate: 1e-06",
        ),
        ({"learning_rates": [1e-6, 1e-6], "validation": {}}, "names a rate twice"),
        ({"learning_rates": [1e-6, 1e-7]}, "learning_rates needs validation"),
        ({"checkpoints": 10}, "checkpoints needs validation"),
        ({"match": "epochs"}, "match: epochs needs epochs"),
        ({"match": "tokens"}, "match: tokens needs tokens"),
        ({"batch_size": 32, "processes": 3}, "does not divide over 3 processes"),
        ({"batch_size": 8, "micro_batch": 3}, "micro_batch 3 does not divide"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Finetune.model_validate(settings)
