"""Several runs on one page, figures as files, and what the sections say of spend, forecasts, datasets and controls."""

import asyncio
import csv
import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from tests.test_report import (
    EVALUATION,
    METRICS,
    PLAN,
    RUN,
    arm_metrics,
    fill_ledger,
    page,
    problems,
    put,
    two,
    x,
)
from toolkit import report
from toolkit.errors import InputError
from toolkit.ledger import Intent, Ledger, Settlement
from toolkit.report import browse
from toolkit.report.facts import Facts
from toolkit.types import PICO, Choice, Finish, Problem, Usage


def run_of(directory: Path, run: dict[str, Any] = RUN, **files: Any) -> Path:
    for name, content in {"plan": PLAN, "metrics": METRICS, **files}.items():
        put(directory, f"{name}.json", content)
    put(directory, "run.yaml", run)
    return directory


# -- several runs


def test_runs_stand_side_by_side_with_their_curves_over_each_other(tmp_path: Path) -> None:
    runs = [run_of(tmp_path / name) for name in ("one", "two")]
    for run in runs:
        fill_ledger(run, problems(3))
    text = report.compare(runs, tmp_path / "out").read_text(encoding="utf-8")
    assert text.count("At equal price (10 vs 4 draws per problem)") == 2
    assert "one: cheap" in text
    assert 'href="../two/report.html"' in text
    assert "like for like" not in text
    assert "Different" not in text
    with (tmp_path / "out/figures/coverage.csv").open(encoding="utf-8") as lines:
        assert {row["arm"] for row in csv.DictReader(lines)} == {
            f"{r}: {a}" for r in ("one", "two") for a in ("cheap", "strong")
        }


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"prompt": "gsm8k"}, "Different prompt (one: word-problems; two: gsm8k)."),
        ({"problems": {"source": "other.jsonl"}}, "Different problems ("),
        ({"decoding": {"temperature": 1.0}}, "Different decoding ("),
    ],
)
def test_what_makes_runs_unlike_is_said_before_any_figure(
    tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    runs = [run_of(tmp_path / "one"), run_of(tmp_path / "two", {**RUN, **change})]
    text = report.compare(runs, tmp_path).read_text(encoding="utf-8")
    assert text.index(said) < text.index("At equal price")


def test_other_questions_and_another_verifier_are_not_like_for_like(tmp_path: Path) -> None:
    one = run_of(tmp_path / "one", metrics=METRICS | {"verifier": {"name": "math", "version": "1"}})
    two_ = run_of(tmp_path / "two", metrics=METRICS | {"verifier": {"name": "math", "version": "2"}})
    fill_ledger(one, problems(3))
    fill_ledger(two_, problems(5))
    text = report.compare([one, two_], tmp_path).read_text(encoding="utf-8")
    assert "one 3 and two 5; 3 in common" in text
    assert "Different verifier (one: name math, version 1; two: name math, version 2)." in text


def test_a_run_twice_or_unmeasured_is_refused_in_a_line(tmp_path: Path) -> None:
    one = run_of(tmp_path / "one")
    with pytest.raises(InputError, match="given twice"):
        report.compare([one, tmp_path / "." / "one"], tmp_path)
    put(tmp_path / "bare", "run.yaml", RUN)
    with pytest.raises(InputError, match="pricematch measure bare"):
        report.compare([one, tmp_path / "bare"], tmp_path)


# -- files beside the page


def test_every_figure_is_an_svg_that_stands_alone_and_a_csv_of_its_numbers(tmp_path: Path) -> None:
    page(run_of(tmp_path / "demo", evaluation=EVALUATION))
    folder = tmp_path / "demo/report/figures"
    drawn = sorted(folder.glob("*.svg"))
    assert {f.stem for f in drawn} >= {"coverage", "diversity"}
    for file in drawn:
        root = ET.parse(file).getroot()
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert not [e for e in root.iter() if e.tag.endswith("script")]
        assert file.with_suffix(".csv").is_file()
    with (folder / "coverage.csv").open(encoding="utf-8") as lines:
        rows = [row for row in csv.DictReader(lines) if row["arm"] == "strong"]
    assert [(row["k"], float(row["coverage"])) for row in rows] == [("1", 0.45), ("2", 0.55), ("4", 0.62)]


def test_shelves_are_scripts_of_one_call_that_hold_no_markup(tmp_path: Path) -> None:
    directory = run_of(tmp_path / "demo")
    fill_ledger(directory, problems(3), "</script><b>\u2028")
    page(directory, problems(3))
    for file in (directory / "report/browse").glob("*.js"):
        text = file.read_bytes().decode("ascii")
        assert not {"<", ">"} & set(text)
        assert text.startswith('pricematch("')
        assert text.endswith(");\n")
        json.loads(text[text.index(",") + 1 : -3])


def test_of_more_draws_than_asked_for_whole_problems_spread_over_the_run_are_shown(tmp_path: Path) -> None:
    directory = run_of(tmp_path / "demo", {**RUN, "report": {"browse": 20}})
    fill_ledger(directory, problems(20))  # 80 draws
    _, parsed = page(directory, problems(20))
    assert "Browse 20 solutions to 5 problems" in parsed.words
    text = (directory / "report/browse/index.js").read_text(encoding="ascii")
    index = json.loads(text[text.index(",") + 1 : -3])
    assert [p[0] for p in index["problems"]] == [f"train-{i:05}" for i in (2, 6, 10, 14, 18)]
    assert index["problems"][0][5] == [[0, "ab"], [1, "ab"]]


def test_no_browser_is_written_where_the_run_file_asks_for_none(tmp_path: Path) -> None:
    directory = run_of(tmp_path / "demo", {**RUN, "report": {"browse": 0}})
    fill_ledger(directory, problems(3))
    _, parsed = page(directory)
    assert not (directory / "report" / browse.PAGE).exists()
    assert "Browse" not in parsed.words


# -- what the sections say


async def test_spend_is_told_by_cause_and_purpose(tmp_path: Path) -> None:
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        (row,) = ledger.add_problems([Problem("p", "?")])
        arm = ledger.add_arm("cheap", "m", "simulated", {}, "sha")
        first = await ledger.reserve(Intent(arm, row, 0, 1, PICO))
        await ledger.fail(first, "failed", "HTTP 500")
        again = await ledger.reserve(Intent(arm, row, 0, 1, PICO, parent=first))
        await ledger.settle(again, Settlement([Choice("one", Finish.LENGTH)], Usage(10, 20), PICO // 4))
        pilot = await ledger.reserve(Intent(arm, row, 1, 2, PICO, purpose="pilot"))
        told = [Choice("two", Finish.STOP), Choice("three", Finish.LENGTH)]
        await ledger.settle(pilot, Settlement(told, Usage(10, 40), 3 * PICO // 4))
    told_page = _spaced_page(tmp_path)
    for said in (
        "Answered at once 1 $0.75 75.0 %",
        "Answered after a failed attempt, or a part of the draws later 1 $0.25 25.0 %",
        "Failed 1 $0 0.0 %",
        "Cut at max_tokens: 2 draws",
        "pilot 1 10 0 40 $0.75 75.0 %",
        "cheap, sample 2 10 0 20 $0.25 25.0 %",
    ):
        assert said in told_page, said


def _spaced(directory: Path) -> str:
    """The page's words with a space between any two cells."""

    text = (directory / "report.html").read_text(encoding="utf-8")
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", text))


def test_a_forecast_stands_beside_what_came(tmp_path: Path) -> None:
    bought = {"policy": "uniform", "coverage": x(0.72, 0.02), "distinct": x(2.0), "usd": 1.49}
    above = bought | {"coverage": x(0.55, 0.02)}
    plan = PLAN | {"forecast": {"arms": {"cheap": bought, "strong": above}}}
    page(run_of(tmp_path / "demo", plan=plan))
    said = _spaced(tmp_path / "demo")
    assert "72.0 % [70.0, 74.0] 70.7 % [67.7, 73.7] inside" in said
    assert "55.0 % [53.0, 57.0] 62.0 % [59.0, 65.0] above" in said


def test_controls_are_labelled_by_their_matching_and_stand_apart_in_the_verdict(tmp_path: Path) -> None:
    student = EVALUATION["students"]["tiny"]  # type: ignore[index]
    scores = {**student["arms"], "human": x(0.5, 0.02)}
    directory = run_of(tmp_path / "demo", evaluation={"students": {"tiny": {**student, "arms": scores}}})
    for name, matching, control in (
        ("cheap", "cost: equal money spent", False), ("strong", "cost: equal money spent", False),
        ("human", "nothing: all that was kept of gold", True),
    ):  # fmt: skip
        summary = {
            "rows": 10,
            "problems": 5,
            "skipped": None,
            "control": control,
            "arms": [],
            "matching": matching,
        }
        put(directory, f"dataset/{name}/summary.json", summary)
    said = page(directory)[1].words
    assert "Controls, which were not matched by price: 50.0 % [48.0, 52.0] on human’s data." in said
    assert "nothing: all that was kept of gold" in said
    assert "control, from human solutions" in said


def test_what_decontamination_removed_is_shown_with_its_evidence(tmp_path: Path) -> None:
    directory = run_of(tmp_path / "demo")
    put(directory, "dataset/cheap/summary.json", {"rows": 1, "problems": 1, "dropped": {"contaminated": 7}})
    lines = [
        {"problem": f"p-{i}", "why": "contaminated", "rows": 3, "overlap": "<i>six apples</i>"}
        for i in range(5)
    ]
    (directory / "dataset/cheap/removed.jsonl").write_text("\n".join(map(json.dumps, lines)))
    said = page(directory)[1].words
    assert "cheap, contaminated: 5 lines in removed.jsonl, 15 rows" in said
    assert "problem p-2, rows 3, overlap <i>six apples</i>" in said
    assert "p-3" not in said


def test_decoding_is_told_as_asked_and_as_the_server_applied_it(tmp_path: Path) -> None:
    directory = run_of(tmp_path / "demo")
    with Ledger(directory / "ledger.sqlite") as ledger:
        (row,) = ledger.add_problems([Problem("p", "?")])
        arm = ledger.add_arm("cheap", "m", "simulated", {"temperature": 0.7}, "identity-1")
        asyncio.run(_answered(ledger, arm, row, {"temperature": 1.0}))
    said = _spaced_page(directory)
    assert "decoding, as asked temperature 0.7" in said
    assert "decoding, as applied temperature 1.0 the server does not say" in said
    assert "m-2026-11" in said
    assert "identity-1" in said


async def _answered(ledger: Ledger, arm: int, row: int, effective: dict[str, Any]) -> None:
    attempt = await ledger.reserve(Intent(arm, row, 0, 1, PICO))
    answer = Settlement(
        [Choice("one", Finish.STOP)], Usage(1, 1), 1, model_version="m-2026-11", effective=effective
    )
    await ledger.settle(attempt, answer)


def _spaced_page(directory: Path) -> str:
    page(directory)
    return _spaced(directory)


def test_of_many_arms_the_best_is_named_with_the_closest_other() -> None:
    models = {
        name: arm_metrics({"4": x(value)})
        for name, value in (("a", 0.6), ("b", 0.5), ("c", 0.51), ("d", 0.3))
    }
    said = report.verdict(Facts("demo", None, {"match": "samples"}, {"models": models}))
    assert "a is ahead of each of the 3 others, least of c: a covers 9.0 points more" in said
    models["c"] = arm_metrics({"4": x(0.595)})
    said = report.verdict(Facts("demo", None, {"match": "samples"}, {"models": models}))
    assert "a is highest, but not shown to be ahead of c; of the others it is ahead, least of b" in said


def test_an_arm_whose_draws_depend_on_outcomes_is_compared_by_what_it_solved() -> None:
    facts = two(x(0.7), x(0.4))
    facts.measured["strong"].update(adaptive=True, solved=x(0.9))  # type: ignore[attr-defined]
    said = report.verdict(facts)
    assert "strong solves 90.0 %" in said
    assert "40.0 %" not in said


def test_prices_of_another_day_stand_beside_those_paid(tmp_path: Path) -> None:
    cheaper = {
        "models": {"cheap": arm_metrics({"10": x(0.7)}, 0.75)},
        "repriced": {"by": "the catalog on 2026-01-01"},
    }
    directory = run_of(tmp_path / "demo")
    put(directory, "metrics.repriced.json", cheaper)
    page(directory)
    assert "cheap $1.50 $0.75" in _spaced(directory)
