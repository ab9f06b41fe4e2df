"""Where checkpoints are taken, which is kept, and where a killed training goes on."""

import json
from pathlib import Path

import pytest

from toolkit.finetune import checkpoints
from toolkit.finetune.checkpoints import Candidate


@pytest.mark.parametrize(
    ("steps", "count", "marks"),
    [(600, 10, list(range(60, 601, 60))), (20, 3, [6, 13, 20]), (2, 5, [1, 2]), (7, 1, [7])],
)
def test_checkpoints_are_equally_spaced_and_end_with_the_last_step(
    steps: int, count: int, marks: list[int]
) -> None:
    assert checkpoints.marks(steps, count) == marks


def test_the_best_is_the_highest_pass_at_1_or_the_lowest_loss_and_the_earliest_of_equals() -> None:
    found = [Candidate(10, 0.2), Candidate(20, 0.4), Candidate(30, 0.4)]
    assert checkpoints.best(found, "pass@1") == Candidate(20, 0.4)
    assert checkpoints.best(found, "loss") == Candidate(10, 0.2)
    assert checkpoints.best([Candidate(10, float("nan")), Candidate(20, 9.0)], "loss").step == 20


def saved(work: Path, step: int, clock: str | None) -> Path:
    path = checkpoints.place(work, step)
    path.mkdir(parents=True)
    if clock is not None:
        (path / "clock.json").write_text(clock)
    return path


def test_a_checkpoint_that_was_being_written_is_passed_over(tmp_path: Path) -> None:
    assert checkpoints.latest(tmp_path) is None
    whole = saved(tmp_path, 9, json.dumps({"seconds": 1.5}))
    saved(tmp_path, 10, None)
    saved(tmp_path, 11, '{"seco')
    assert checkpoints.latest(tmp_path) == whole
    assert checkpoints.seconds(whole) == 1.5


def test_checkpoints_of_another_training_are_removed(tmp_path: Path) -> None:
    work = checkpoints.workplace(tmp_path / "cheap")
    checkpoints.claim(work, "one")
    saved(work, 5, json.dumps({"seconds": 1}))
    checkpoints.claim(work, "one")
    assert checkpoints.latest(work) is not None
    checkpoints.claim(work, "other")
    assert checkpoints.latest(work) is None
