"""The ways to be silently wrong about what is right (arXiv 2408.16737 and what came after), each with the figure it spoils.

Here a run is measured from its files to metrics.json, its dataset and its scores. The same traps have tests
nearer to the code: prices and tiers in test_price_traps, active parameters in test_plan, extraction in
test_answers, denominators in test_audit, what labels can show in test_false_positives, the judge in
test_judging, guessing in test_guessing, runs without gold in test_dataset_controls, resampling in
test_estimators.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from toolkit import config, endpoints, evaluate, importing, pipeline, students
from toolkit.errors import InputError
from toolkit.gpu import Flops
from toolkit.job import Job

STUDENT = Path(__file__).parents[1] / "examples/tiny-gemma/student"
Answers = Sequence[tuple[str, Sequence[str]]]  # per problem its gold and the texts that were drawn


def brought_in(folder: Path, answers: Answers, usage: dict[str, int] | None = None, **changes: Any) -> Job:
    """A run of one model whose draws were made elsewhere, judged."""
    write(folder / "problems.jsonl", answers)
    rows = [
        {"id": f"p{i}", "response": text} | ({"usage": usage} if usage else {})
        for i, (_, texts) in enumerate(answers)
        for text in texts
    ]
    (folder / "answers.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    run = {
        "name": "traps",
        "problems": {"source": str(folder / "problems.jsonl")},
        "models": {"mine": {"provider": "imported", "model": "mine"}},
        "budget": {"draws": 1, "match": "samples"},
    }
    job = Job(endpoints.resolve(config.validated(folder / "run.yaml", run | changes)), folder / "out")
    importing.bring_in(job, folder / "answers.jsonl", "mine")
    pipeline.judge(job)
    return job


def write(path: Path, answers: Answers) -> None:
    rows = [
        {"id": f"p{i}", "question": f"{path.stem} {i}: what is it?", "answer": gold}
        for i, (gold, _) in enumerate(answers)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def measured(job: Job) -> dict[str, Any]:
    found: dict[str, Any] = pipeline.measure(job)["models"]["mine"]
    return found


# --- 11: what a token computes -------------------------------------------------------------------

EXPERTS = {"total": "47e9", "active": "13e9", "layers": 32, "width": 4096}
USAGE = {"prompt_tokens": 900, "completion_tokens": 250}


def with_terms(folder: Path, params: dict[str, Any], *terms: str) -> Job:
    return brought_in(
        folder,
        [("7", ["The answer is 7."]), ("8", ["The answer is 9."])],
        USAGE,
        models={"mine": {"provider": "imported", "model": "mine", "params": params}},
        budget={"draws": 1, "match": "samples", "flops_terms": list(terms)},
    )


def test_measured_flops_are_of_active_parameters_and_of_the_terms_the_run_asks_for(tmp_path: Path) -> None:
    got = {}
    for terms in ((), ("prefill",), ("prefill", "attention")):
        folder = tmp_path / "-".join(("with", *terms))
        folder.mkdir()
        got[terms] = measured(with_terms(folder, EXPERTS, *terms))["flops"]
    assert got[()] == 2 * (2 * 13e9 * 250)
    assert got["prefill",] == 2 * (2 * 13e9 * (900 + 250))
    all_terms = Flops(13 * 10**9, prefill=True, attention=32 * 4096)
    assert got["prefill", "attention"] == pytest.approx(
        2 * (all_terms.prompt(900) + all_terms.draw(900, 250))
    )


def test_attention_of_a_model_whose_shape_is_not_given_is_one_line(tmp_path: Path) -> None:
    job = with_terms(tmp_path, {"total": "47e9", "active": "13e9"}, "attention")
    with pytest.raises(InputError, match=r"models\.mine\.params needs layers and width"):
        pipeline.measure(job)


# --- 13, 14: one extractor, and only the solution that was asked for -----------------------------

NEXT = "\n\nProblem: what is 3 + 4?\nSolution: The answer is 7."
EXTRACTED = (  # gold, text, whether it is right
    ("12", r"First \boxed{3}, so in the end \boxed{12}.", True),
    ("12", r"It looks like \boxed{12}, but it is \boxed{3}.", False),
    ("1/2", r"The answer is $\frac{1}{2}$.", True),
    ("1/2", "The answer is 0.5.", True),
    ("1234", "The answer is 1,234.", True),
    ("(1, 2)", "The answer is (2, 1).", False),
    ("7", "It can be seen easily.", False),
    ("7", f"The answer is 8.{NEXT}", False),  # the right number, of a problem nobody asked
    ("8", f"The answer is 8.{NEXT}", True),
)


def test_filter_coverage_and_test_read_every_answer_alike(tmp_path: Path) -> None:
    answers = [(gold, [text]) for gold, text, _ in EXTRACTED]
    write(tmp_path / "tests.jsonl", answers)
    job = brought_in(
        tmp_path,
        answers,
        students={"tiny": {"model": str(STUDENT)}},
        evaluate={"problems": {"source": str(tmp_path / "tests.jsonl")}, "draws": 1},
    )
    tested = endpoints.resolve(job.run)
    with job.open() as ledger:
        (base,) = evaluate.contestants(tested, job.directory, job.template)
        row = ledger.add_arm(base.name, base.model.shown, "checkpoint", {}, base.payload_sha)
        known = ledger.add_problems(students.tested(job))
        ledger.import_draws(
            row, [(p, 0, texts[0], None) for p, (_, texts) in zip(known, answers, strict=True)]
        )
    pipeline.judge(job)

    right = [i for i, (_, _, is_right) in enumerate(EXTRACTED) if is_right]
    share = pytest.approx(len(right) / len(EXTRACTED))
    assert measured(job)["coverage"]["1"]["value"] == share
    pipeline.export(job)
    rows = [json.loads(line) for line in (job.directory / "dataset/mine/data.jsonl").open()]
    assert [row["problem"] for row in rows] == [f"p{i}" for i in right]
    assert pipeline.score(job)["students"]["tiny"]["base"]["value"] == share


def test_what_a_model_goes_on_to_write_is_neither_kept_nor_a_different_solution(tmp_path: Path) -> None:
    job = brought_in(tmp_path, [("8", ["4 + 4 = 8. The answer is 8.", f"4 + 4 = 8. The answer is 8.{NEXT}"])])
    two = measured(job)["diversity"]["2"]
    assert (two["per_problem"]["value"], two["unique_per_problem"]["value"]) == (2, 1)
    pipeline.export(job)
    assert "3 + 4" not in (job.directory / "dataset/mine/data.jsonl").read_text()


# --- 17: luck ------------------------------------------------------------------------------------


def test_coverage_of_a_model_that_only_guesses_is_nothing_once_adjusted(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    golds = rng.choice(["1", "2", "3", "4"], size=120)
    guesses = rng.choice(["1", "2", "3", "4"], size=(120, 8))
    drawn = [(str(g), [f"The answer is {x}." for x in row]) for g, row in zip(golds, guesses, strict=True)]
    got = measured(brought_in(tmp_path, drawn))
    assert got["coverage"]["8"]["value"] > 0.85  # it looks able
    adjusted = got["guess_baseline"]["1"]["adjusted"]
    assert adjusted["low"] < 0.02  # a guesser who knows the commonest answer does as well
    assert adjusted["value"] < 0.05
    assert got["guess_baseline"]["4"]["baseline"]["value"] == 1
    assert got["guess_baseline"]["8"]["adjusted"] is None  # nothing is left to be able at


def test_coverage_of_a_model_that_knows_is_kept_where_answers_are_all_different(tmp_path: Path) -> None:
    drawn = [(str(10 + i), [f"The answer is {10 + i if i % 2 else 0}."]) for i in range(40)]
    got = measured(brought_in(tmp_path, drawn))
    assert got["guess_baseline"]["1"]["adjusted"]["value"] == got["coverage"]["1"]["value"] == 0.5


# --- 26: problems are the unit of chance ---------------------------------------------------------


def test_more_draws_of_the_same_problems_do_not_narrow_the_intervals_as_more_problems_do(
    tmp_path: Path,
) -> None:
    def width(problems: int, draws: int) -> float:
        folder = tmp_path / f"{problems}-{draws}"
        folder.mkdir()
        right, wrong = ["The answer is 7."] * draws, ["The answer is 9."] * draws
        got = measured(brought_in(folder, [("7", right), ("7", wrong)] * (problems // 2)))["coverage"]["1"]
        assert got["value"] == 0.5
        return float(got["high"] - got["low"])

    one = width(40, 1)
    assert width(40, 25) == pytest.approx(one)
    assert width(160, 1) == pytest.approx(one / 2, rel=0.05)
