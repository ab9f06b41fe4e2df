"""The paper in miniature: its two run files, and the table they end with."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from toolkit import config
from toolkit.spec import Run

FOLDER = Path(__file__).parents[1] / "examples" / "paper-mini"
BUDGETS = ("low", "high")


def load(budget: str) -> Run:
    return config.load(FOLDER / f"{budget}.yaml")[0]


@pytest.fixture(scope="module")
def compare() -> ModuleType:
    spec = importlib.util.spec_from_file_location("paper_mini_compare", FOLDER / "compare.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("budget", BUDGETS)
def test_three_setups_three_sources_three_rates_three_checkpoints_three_seeds(budget: str) -> None:
    run = load(budget)
    assert [student.setup for student in run.students.values()] == ["student", "wc", "se"]
    assert [run.students[s].model for s in ("wc-lm", "se-lm")] == [run.models[m].model for m in ("wc", "se")]
    assert run.datasets()[:3] == ["wc", "se", "human"]
    assert run.finetune is not None
    assert len(run.finetune.learning_rates) == run.finetune.checkpoints == 3
    assert run.evaluate is not None
    assert run.evaluate.seeds == 3
    assert run.evaluate.maj_k == (1, 4, 8, 16)


def test_the_budgets_differ_in_draws_steps_seed_and_the_control_that_the_paper_has_at_the_low_one_alone() -> (
    None
):
    low, high = (load(budget).model_dump() for budget in BUDGETS)
    assert low["budget"].pop("draws") * 4 == high["budget"].pop("draws")
    assert low["finetune"].pop("steps") * 3 == high["finetune"].pop("steps")
    assert low["dataset"]["controls"].pop("wc-number-matched")["rows_of"] == "se"
    for run in (low, high):
        run.pop("name")
    assert low.pop("seed") != high.pop("seed")
    assert low == high


def x(value: float, low: float, high: float) -> dict[str, float]:
    return {"value": value, "low": low, "high": high}


def gain(a: str, b: str, points: dict[str, float]) -> dict[str, Any]:
    return {"metric": "pass@1", "a": a, "b": b, "points": points, "relative": x(0.1, 0.0, 0.2)}


@pytest.fixture
def run(compare: ModuleType) -> Any:
    models = {
        arm: {
            "planned": k,
            "flops": 7e9,
            "coverage": {str(k): x(0.6, 0.5, 0.7)},
            "diversity": {str(k): {"unique_per_solved": x(2, 1.5, 2.5)}},
        }
        for arm, k in (("wc", 8), ("se", 3))
    }
    metrics = {"models": models, "differences": [{"a": "wc", "b": "se", "points": x(0.1, 0.05, 0.15)}]}
    scores = {
        m: dict.fromkeys(("base", "wc", "se", "human", "wc-number-matched"), x(0.3, 0.2, 0.4))
        for m in compare.METRICS
    }
    gains = [
        gain("wc", "se", x(-0.1, -0.2, -0.01)),
        gain("wc", "human", x(0.1, -0.1, 0.3)),
        gain("se", "wc-number-matched", x(0.1, 0.01, 0.3)),
        gain("human", "wc-number-matched", x(0.1, 0.01, 0.3)),
    ]
    evaluation = {
        "problems": 150,
        "draws": 16,
        "seeds": 3,
        "students": {"student-lm": {"differences": gains, "sets": {"test": scores}}},
    }
    flaws = [("a", True), ("a", True), ("b", False), ("c", False)]
    share = compare.share(flaws)
    return compare.Run(
        Path("runs/paper-mini-low"), metrics, evaluation, {"wc": share, "se": share}, {"wc": 4, "se": 4}
    )


def test_only_an_interval_that_leaves_out_zero_agrees_or_disagrees_with_the_paper(
    compare: ModuleType, run: Any
) -> None:
    verdicts = {claim.what: claim.verdict for claim in compare.claims(run)}
    assert verdicts == {
        "coverage of wc over se": "as in the paper",
        "flawed among correct, wc over se": "open",
        "wc over se, matched by cost": "the other way round",
        "wc over human, against worked solutions": "open",
        "se over wc-number-matched, matched by number": "as in the paper",
    }


def test_every_figure_of_the_table_stands_with_its_interval(compare: ModuleType, run: Any) -> None:
    written = compare.text([run])
    assert "| low | wc | 8 | 7 GFLOPs | 60.0 % [50.0, 70.0] | 2.00 [1.50, 2.50] | 50.0 % [" in written
    assert (
        "| low | student-lm | wc over se, matched by cost | −10.0 [−20.0, −1.0] | 10.0 % [0.0, 20.0] | the other way round |"
        in written
    )
    assert "Of 3 comparisons of students 1 as in the paper, 1 open, 1 the other way round." in written


def test_draws_of_one_problem_count_as_one_witness(compare: ModuleType) -> None:
    many = compare.share([(key, key == "a") for key in "ab" for _ in range(50)])
    assert many.value == 0.5
    assert many.high - many.low > 0.6
