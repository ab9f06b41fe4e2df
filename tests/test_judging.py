"""A judge asked about solutions over real HTTP, and the audit it shares with people."""

import asyncio
import csv
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from toolkit import auditing, config, endpoints, importing, judging, pipeline, planning, stages
from toolkit.errors import InputError
from toolkit.job import Job
from toolkit.judging import LABELS, Panel, majority, read
from toolkit.sample import Progress, Result
from toolkit.types import PICO

REASONING = LABELS["reasoning"]
Serve = Callable[[Any], str]


# --- parsing -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("All steps hold.\nVERDICT: SOUND", "SOUND"),
        ("Step 2 is wrong.\n**VERDICT: FLAWED**\n", "FLAWED"),
        ("VERDICT: SOUND\nno wait", None),
        ("VERDICT: SOUND or FLAWED", None),
        ("VERDICT: MAYBE", None),
        ("It is SOUND.", None),
        ("", None),
    ],
)
def test_only_a_last_line_that_is_a_verdict_and_nothing_else_counts(text: str, verdict: str | None) -> None:
    assert read(text, REASONING) == verdict


@pytest.mark.parametrize(
    ("votes", "winner"),
    [(["A", "A", "B"], "A"), (["A", "B"], None), ([None, None, "B"], "B"), ([None], None), ([], None)],
)
def test_a_vote_needs_more_than_half_of_those_that_can_be_read(
    votes: list[str | None], winner: str | None
) -> None:
    assert majority(votes) == winner


# --- a run with a judge --------------------------------------------------------------------------


def judge_app(flawed_if: str = "WRONG STEP", contrary: bool = False) -> tuple[Starlette, list[str]]:
    """Calls a solution flawed that says so; `contrary`: always names the first of the two verdicts it was told."""
    asked: list[str] = []

    async def answer(request: Request) -> JSONResponse:
        body = await request.json()
        text = body["messages"][0]["content"]
        asked.append(text)
        said = text.rsplit("VERDICT: ", 2)[1].split("\n")[0] if contrary else "SOUND"
        if not contrary and flawed_if in text:
            said = "FLAWED"
        choice = {
            "message": {"role": "assistant", "content": f"I looked.\nVERDICT: {said}"},
            "finish_reason": "stop",
        }
        usage = {"prompt_tokens": 300, "completion_tokens": 8}
        return JSONResponse(
            {
                "id": "x",
                "model": "j",
                "choices": [choice | {"index": i} for i in range(body.get("n") or 1)],
                "usage": usage,
            }
        )

    return Starlette(routes=[Route("/v1/chat/completions", answer, methods=["POST"])]), asked


def run_with(folder: Path, root: str, dataset: dict[str, Any] | None = None, **judge: Any) -> Job:
    """Twelve problems with an imported right solution each; those of every third have a wrong step."""
    questions, answers = folder / "q.jsonl", folder / "a.jsonl"
    rows = [{"id": f"p{i}", "question": f"{i}+{i}?", "answer": str(2 * i)} for i in range(12)]
    questions.write_text("".join(json.dumps(r) + "\n" for r in rows))
    said = [
        {"id": f"p{i}", "response": ("WRONG STEP. " if i % 3 == 0 else "") + f"The answer is {2 * i}."}
        for i in range(12)
    ]
    answers.write_text("".join(json.dumps(r) + "\n" for r in said))
    model = {
        "provider": "openai_compatible",
        "model": "j",
        "base_url": f"{root}/v1",
        "price": {"input": 1, "output": 2},
    }
    run = {
        "name": "judged",
        "problems": {"source": str(questions)},
        "models": {"mine": {"provider": "imported", "model": "mine"}},
        "budget": {"draws": 1, "match": "samples", "cap_usd": 1},
        "judge": {"model": model, **judge},
        "dataset": dataset or {},
    }
    job = Job(endpoints.resolve(config.validated(folder / "run.yaml", run)), folder / "out")
    importing.bring_in(job, answers, "mine")
    pipeline.judge(job)
    return job


async def judged(job: Job) -> Result:
    connect = endpoints.Connections(job.directory)
    return await auditing.judge(job, connect, stop=asyncio.Event(), progress=Progress())


async def test_a_judge_is_paid_from_the_ledger_and_asked_once(tmp_path: Path, serve: Serve) -> None:
    app, asked = judge_app()
    job = run_with(tmp_path, serve(app))
    assert not any((await judged(job)).missing.values())
    assert len(asked) == 12
    with job.reader() as reader:
        assert reader.spend().settled == 12 * (300 * 10**6 + 8 * 2 * 10**6)
    await judged(job)
    assert len(asked) == 12


async def test_the_judge_sees_question_and_solution_and_never_the_gold(tmp_path: Path, serve: Serve) -> None:
    app, asked = judge_app()
    await judged(run_with(tmp_path, serve(app)))
    assert all("+" in text and "VERDICT: SOUND\nVERDICT: FLAWED" in text for text in asked)
    assert sum("WRONG STEP" in text for text in asked) == 4


async def test_what_the_judge_said_is_the_rate_the_audit_reports_beside_its_labels(
    tmp_path: Path, serve: Serve
) -> None:
    app, _ = judge_app()
    job = run_with(tmp_path, serve(app))
    await judged(job)
    concluded = auditing.conclude(job)
    assert concluded is not None
    row = concluded["models"]["mine"]
    assert (row["judge"]["flawed"], row["judge"]["labels"]) == (4, 12)
    assert row["judge"]["rate"]["value"] == pytest.approx(1 / 3)
    assert row["false_positive_rate"] is None  # uncorrected: nobody knows how good this judge is
    assert "not independent" in concluded["warning"]


async def test_a_judge_that_follows_the_order_of_the_verdicts_decides_nothing(
    tmp_path: Path, serve: Serve
) -> None:
    app, asked = judge_app(contrary=True)
    job = run_with(tmp_path, serve(app), both_orders=True)
    await judged(job)
    assert len(asked) == 24
    assert job.run.judge is not None
    with job.reader() as reader:
        assert set(judging.judged(reader, Panel.of(job.run.judge).verifier).values()) == {None}


def label(sheet: Path) -> list[str]:
    """Fill in the verdicts of a sheet as a careful person would: the ids it had."""
    with sheet.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        row["verdict"] = "0" if "WRONG STEP" in row["solution"] else "1"
    with sheet.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    return [row["id"] for row in rows]


def test_a_larger_sheet_asks_only_for_labels_there_are_not_yet_and_none_is_lost(tmp_path: Path) -> None:
    job = run_with(tmp_path, "http://nobody.invalid")
    small, large = tmp_path / "small.csv", tmp_path / "large.csv"
    auditing.export(job, small, 5)
    auditing.export(job, large, 7)  # made before the first came back: it holds those too
    begun = label(small)
    assert set(begun) < set(label(large))
    assert auditing.bring_in(job, small) == 5
    auditing.export(job, large, 12)
    assert not set(begun) & set(label(large))
    assert auditing.bring_in(job, large) == 7
    concluded = auditing.conclude(job)
    assert concluded is not None
    row = concluded["models"]["mine"]
    assert (row["human"]["labels"], row["false_positive_rate"]["value"]) == (12, pytest.approx(1 / 3))
    with pytest.raises(InputError, match="labelled: give a larger --size"):
        auditing.export(job, large, 12)


async def test_people_label_a_blind_sheet_and_their_labels_correct_the_judge(
    tmp_path: Path, serve: Serve
) -> None:
    app, _ = judge_app()
    job = run_with(tmp_path, serve(app))
    await judged(job)
    sheet = tmp_path / "sheet.csv"
    page, _ = auditing.export(job, sheet, 12)
    assert "mine" not in sheet.read_text() + page.read_text()  # blind to the arm
    label(sheet)
    assert auditing.bring_in(job, sheet) == 12
    concluded = auditing.conclude(job)
    assert concluded is not None
    row = concluded["models"]["mine"]
    assert row["false_positive_rate"]["value"] == pytest.approx(1 / 3)
    assert pipeline.measure(job)["models"]["mine"]["false_positive_rate"]["value"] == pytest.approx(1 / 3)
    stages.keep(job)
    shown = re.sub(r"<[^>]+>|\s+", " ", stages.report(job).read_text())
    assert (
        "False positive rate: share of retained solutions (right final answer) whose reasoning is wrong"
        in shown
    )
    assert "33.3" in shown.split("False positive rate:")[1]


async def test_a_judge_without_a_verdict_is_said_to_label_nothing(
    tmp_path: Path, serve: Serve, capsys: pytest.CaptureFixture[str]
) -> None:
    job = run_with(tmp_path, serve(judge_app()[0]), prompt="word-problems")  # asks for no verdict
    auditing.conclude(job)
    stages.audit(job, None, None, None)
    assert "no answer of the judge ends in a verdict" in capsys.readouterr().err


async def test_another_rubric_or_number_of_votes_is_another_judge(tmp_path: Path, serve: Serve) -> None:
    root = serve(judge_app()[0])
    job = run_with(tmp_path, root)
    assert job.run.judge is not None
    one = Panel.of(job.run.judge).verifier
    assert Panel.of(job.run.judge.model_copy(update={"votes": 3})).verifier != one
    assert Panel.of(job.run.judge.model_copy(update={"prompt": "judge-answer"})).verifier != one


async def test_a_judge_asked_for_but_not_named_is_one_line(tmp_path: Path, serve: Serve) -> None:
    job = run_with(tmp_path, serve(judge_app()[0]))
    bare = Job(job.run.model_copy(update={"judge": None}), job.directory)
    with pytest.raises(InputError, match="the run names no judge"):
        await judged(bare)


def test_the_judges_expected_cost_is_kept_back_from_the_arms(tmp_path: Path) -> None:
    questions = tmp_path / "q.jsonl"
    questions.write_text(json.dumps({"id": "a", "question": "1+1?", "answer": "2"}) + "\n")
    model = {
        "provider": "openai_compatible",
        "model": "m",
        "base_url": "http://x/v1",
        "price": {"input": 1, "output": 1},
    }
    known = model | {"expect": {"prompt": 1000, "output": 100}}
    run = {
        "name": "r",
        "problems": {"source": str(questions)},
        "decoding": {"max_tokens": 50},
        "models": {"m": model},
        "budget": {"usd": 1},
    }
    jobs = [
        Job(endpoints.resolve(config.validated(tmp_path / "r.yaml", run | extra)), tmp_path)
        for extra in ({}, {"judge": {"model": known, "sample": 100}})
    ]
    plain, with_judge = (planning.make_plan(j) for j in jobs)
    assert plain.share - with_judge.share == 100 * 1100 * 10**6
    assert with_judge.reserve_pico == 100 * 1100 * 10**6 < PICO


async def test_a_dataset_of_judged_draws_leaves_out_what_the_judge_of_this_run_calls_flawed(
    tmp_path: Path, serve: Serve
) -> None:
    app, _ = judge_app()
    job = run_with(tmp_path, serve(app), sample=None)
    await judged(job)
    only = job.run.dataset.model_copy(update={"filter": "judged"})
    stages.dataset(replace(job, run=job.run.model_copy(update={"dataset": only})))
    rows = (job.directory / "dataset/mine/data.jsonl").read_text()
    assert len(rows.splitlines()) == 8
    assert "WRONG STEP" not in rows


def test_a_judge_who_filters_may_not_see_only_a_sample(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"set judge\.sample to null"):
        run_with(tmp_path, "http://127.0.0.1:9", dataset={"filter": "judged"})
