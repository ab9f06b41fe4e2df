"""Pilots and policies against a real server: what is measured, what is asked next, what it may cost."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from toolkit import config, endpoints, outlook, pipeline, planning, rounds, stages
from toolkit.errors import InputError
from toolkit.job import PILOT, Job
from toolkit.sample import Progress, Result
from toolkit.serve.openai_format import Tally
from toolkit.serve.simulate import create_app
from toolkit.serve.world import World, WorldSpec
from toolkit.types import PICO, Problem

PROBLEMS = [Problem(f"p{i}", f"What is {i} + {i}?", str(2 * i)) for i in range(40)]
PRICES = {"weak": {"input": "0", "output": "1"}, "strong": {"input": "0", "output": "5"}}
ABILITY = {"weak": {"a": 0.3, "b": 1.5}, "strong": {"a": 2.0, "b": 0.5}}
Serve = Callable[[Any], str]


def world() -> Any:
    models = {
        name: {"ability": ABILITY[name], "tokens": {"mean": 40, "sd": 8}, "price": PRICES[name]}
        for name in PRICES
    }
    return create_app(World(WorldSpec.model_validate({"name": "t", "models": models}), PROBLEMS), Tally())


def job(folder: Path, root: str, arms: dict[str, Any], *, known: bool = False, **budget: Any) -> Job:
    questions = folder / "questions.jsonl"
    rows = [{"id": p.id, "question": p.question, "answer": p.answer} for p in PROBLEMS]
    questions.write_text("".join(json.dumps(row) + "\n" for row in rows))
    models = {
        name: {
            "provider": "openai_compatible",
            "model": name,
            "base_url": f"{root}/v1",
            "price": price,
            "draws_per_request": 4,
            **({"expect": {"output": 40}} if known else {}),
        }
        for name, price in PRICES.items()
    }
    run = {
        "name": "rounds",
        "problems": {"source": str(questions)},
        "decoding": {"max_tokens": 80},
        "models": models,
        "arms": arms,
        "budget": {"usd": 0.2, "match": "price", "pilot": {"draws": 2, "problems": 20, "share": 0.5}}
        | budget,
    }
    return Job(endpoints.resolve(config.validated(folder / "run.yaml", run)), folder / "out")


def stats(root: str) -> dict[str, Any]:
    account: dict[str, Any] = httpx.get(f"{root}/sim/stats").json()
    return account


async def done(stage: Callable[..., Any], job: Job) -> Result:
    connect = endpoints.Connections(job.directory)
    result = await stage(job, connect, stop=asyncio.Event(), progress=Progress())
    assert isinstance(result, Result)
    return result


async def piloted(job: Job) -> Job:
    await done(pipeline.pilot, job)
    pipeline.judge_only(job, set(job.run.parts()))
    pipeline.keep_pilot(job)
    return job


def asked(job: Job, part: str) -> dict[str, tuple[int, int]]:
    """Problem -> (draws, correct ones) of one part."""
    sql = (
        "SELECT p.key, COUNT(*), SUM(v.outcome='correct') FROM draw d JOIN problem p ON p.id=d.problem "
        "JOIN verdict v ON v.draw=d.id JOIN arm a ON a.id=d.arm WHERE a.name=? GROUP BY p.key"
    )
    with job.reader() as reader:
        return {key: (n, right) for key, n, right in reader.rows(sql, (part,))}


# --- pilot ---------------------------------------------------------------------------------------


async def test_a_pilots_draws_are_draws_of_the_run_and_are_not_bought_again(
    tmp_path: Path, serve: Serve
) -> None:
    root = serve(world())
    run = await piloted(job(tmp_path, root, {"weak": ["weak"], "strong": ["strong"]}))
    assert stats(root)["draws"] == 2 * 20 * 2
    made = planning.make_plan(run)
    planned = sum(p.draws_per_problem for p in made.parts.values()) * len(PROBLEMS)
    assert (await done(rounds.draw, run)).missing == {"weak": 0, "strong": 0}
    assert stats(root)["draws"] == planned


async def test_the_plan_after_a_pilot_uses_what_it_measured_and_says_so(tmp_path: Path, serve: Serve) -> None:
    run = job(tmp_path, serve(world()), {"weak": ["weak"], "strong": ["strong"]})
    before, after = planning.make_plan(run), planning.make_plan(await piloted(run))
    assert {p.candidate.expect_source for p in before.parts.values()} == {"assumed"}
    assert {p.candidate.expect_source for p in after.parts.values()} == {"pilot"}
    for part in after.parts.values():
        assert 35 < part.candidate.output_tokens < 45  # the world's mean is 40
    assert after.parts["weak"].draws_per_problem > before.parts["weak"].draws_per_problem  # 256 were assumed


async def test_a_pilot_draws_on_as_many_problems_as_its_share_of_the_budget_buys(
    tmp_path: Path, serve: Serve
) -> None:
    root = serve(world())
    wanted = {"draws": 4, "problems": 40, "share": 0.5}
    arms = {"weak": ["weak"], "strong": ["strong"]}
    run = pipeline.fitted(job(tmp_path, root, arms, known=True, usd=0.06, pilot=wanted))
    fits = run.run.budget.pilot
    assert fits is not None
    each = sum(c.usd_pico(4, 1) or 0 for c in planning.candidates(run))
    assert fits.problems * each <= 0.9 * 0.5 * 0.06 * PICO < (fits.problems + 1) * each
    assert 20 <= fits.problems < 40
    run = await piloted(run)
    assert stats(root)["draws"] == fits.problems * 4 * 2
    content = run.read(PILOT)
    assert content is not None
    assert content["problems"] == fits.problems
    assert pipeline.fitted(run).run == run.run  # it fits now


async def test_a_pilot_of_a_handful_of_problems_is_refused(tmp_path: Path, serve: Serve) -> None:
    run = job(
        tmp_path, serve(world()), {"weak": ["weak"]}, pilot={"draws": 30, "problems": 40, "share": 0.01}
    )
    with pytest.raises(InputError, match=r"30 draws .* to 20 problems .* share of the budget \(1%\)"):
        pipeline.fitted(run)


async def test_unused_pilot_draws_are_paid_from_the_budget_before_it_is_split(
    tmp_path: Path, serve: Serve
) -> None:
    """Six draws of the strong model were piloted, its share buys fewer: they are paid all the same."""
    arms = {"weak": ["weak"], "strong": ["strong"]}
    pilot = {"draws": 6, "problems": 40, "share": 1.0}
    run = job(tmp_path, serve(world()), arms, known=True, usd=0.06, pilot=pilot)
    made = planning.make_plan(await piloted(run))
    strong = made.parts["strong"]
    assert strong.draws_per_problem < 6
    unused = (6 - strong.draws_per_problem) * 40 * (strong.usd_pico or 0) / strong.draws(40)
    assert made.reserve_pico == pytest.approx(float(unused), rel=0.01)
    assert made.share * 2 * 40 + made.reserve_pico == pytest.approx(0.06 * PICO)


# --- policies ------------------------------------------------------------------------------------


async def test_a_cascade_asks_the_second_model_only_where_the_first_failed(
    tmp_path: Path, serve: Serve
) -> None:
    arms = {"both": {"models": ["weak", "strong"], "policy": "cascade"}}
    run = await piloted(job(tmp_path, serve(world()), arms, known=True, usd=0.06))
    pilots = {f"p{i}" for i in range(20)}
    await done(rounds.draw, run)
    weak, strong = asked(run, "both/weak"), asked(run, "both/strong")
    assert set(weak) == {p.id for p in PROBLEMS}
    beyond = {p for p, (n, _) in strong.items() if p not in pilots or n > 2}
    assert beyond  # it was needed
    assert all(weak[p][1] == 0 for p in beyond)


async def test_until_correct_stops_at_its_draws_or_its_trials(tmp_path: Path, serve: Serve) -> None:
    policy = {"name": "until_correct", "correct": 2, "max_draws": 8}
    run = job(tmp_path, serve(world()), {"weak": {"models": ["weak"], "policy": policy}}, usd=1, pilot=None)
    assert not any((await done(rounds.draw, run)).missing.values())
    drawn = asked(run, "weak")
    assert set(drawn) == {p.id for p in PROBLEMS}
    assert all(right >= 2 or n == 8 for n, right in drawn.values())
    assert any(n < 8 for n, _ in drawn.values())


async def test_every_policy_keeps_to_its_arms_share(tmp_path: Path, serve: Serve) -> None:
    root = serve(world())
    arms = {
        "cascade": {"models": ["weak", "strong"], "policy": "cascade"},
        "mix": {"models": ["weak", "strong"], "policy": "mix"},
        "hard": {"models": ["weak"], "policy": {"name": "difficulty", "goal": "distinct"}},
    }
    run = await piloted(job(tmp_path, root, arms, known=True, usd=0.06))
    await done(rounds.draw, run)
    share = float(planning.make_plan(run).share * len(PROBLEMS))
    with run.reader() as reader:
        spent = {
            arm: sum(reader.committed(row) for row, name, _, _ in reader.arms() if name.split("/")[0] == arm)
            for arm in arms
        }
    assert all(0.7 * share < s < 1.1 * share for s in spent.values()), (spent, share)  # lengths vary
    assert stats(root)["pico"] == sum(spent.values())


async def test_a_policy_that_was_stopped_goes_on_from_what_it_knows(tmp_path: Path, serve: Serve) -> None:
    root = serve(world())
    run = job(
        tmp_path,
        root,
        {"weak": {"models": ["weak"], "policy": {"name": "until_correct", "max_draws": 8}}},
        usd=1,
    )
    run = await piloted(run)
    stop = asyncio.Event()
    asyncio.get_running_loop().call_later(0.15, stop.set)
    connect = endpoints.Connections(run.directory)
    await rounds.draw(run, connect, stop=stop, progress=Progress())
    before = stats(root)["draws"]
    await done(rounds.draw, run)
    after = stats(root)["draws"]
    await done(rounds.draw, run)
    assert before <= after == stats(root)["draws"]
    assert all(right or n == 8 for n, right in asked(run, "weak").values())


async def test_adaptive_draws_report_what_they_solved_and_coverage_of_their_prefix_alone(
    tmp_path: Path, serve: Serve
) -> None:
    policy = {"name": "until_correct", "max_draws": 8}
    run = job(tmp_path, serve(world()), {"weak": {"models": ["weak"], "policy": policy}}, usd=1)
    await done(rounds.draw, await piloted(run))
    measured = pipeline.measure(run)["models"]["weak"]
    assert (measured["adaptive"], measured["estimator"]) == (True, "non-adaptive prefix")
    assert set(measured["coverage"]) == {"1"}  # the first look is after one draw
    solved = [right > 0 for _, right in asked(run, "weak").values()]
    assert measured["solved"]["value"] == pytest.approx(sum(solved) / len(solved))


async def test_problems_without_gold_are_refused_by_policies(tmp_path: Path, serve: Serve) -> None:
    policy = {"name": "until_correct", "max_draws": 8}
    run = job(tmp_path, serve(world()), {"weak": {"models": ["weak"], "policy": policy}})
    run.problems[3] = Problem("p3", "What?", None)
    with pytest.raises(InputError, match="1 problems have no gold answer"):
        planning.make_plan(run)


# --- mixtures ------------------------------------------------------------------------------------


async def test_a_mixture_is_sampled_in_parts_and_measured_as_one_arm(tmp_path: Path, serve: Serve) -> None:
    run = job(tmp_path, serve(world()), {"both": ["weak", "strong"], "weak": ["weak"]}, usd=1, pilot=None)
    assert not any((await done(rounds.draw, run)).missing.values())
    pipeline.judge(run)
    both = pipeline.measure(run)["models"]["both"]
    made = planning.make_plan(run).as_json()["models"]["both"]
    assert both["draws"] == made["draws"] == sum(m["draws"] for m in made["members"].values())
    parts = [asked(run, f"both/{m}") for m in ("weak", "strong")]
    solved = [any(part[p.id][1] for part in parts) for p in PROBLEMS]
    k = str(made["draws_per_problem"])
    assert both["coverage"][k]["value"] == pytest.approx(sum(solved) / len(solved))
    assert stages.status(run)["missing"] == 0


# --- answers -------------------------------------------------------------------------------------


async def test_a_piloted_plan_forecasts_its_arms_and_where_the_verdict_flips(
    tmp_path: Path, serve: Serve
) -> None:
    run = await piloted(job(tmp_path, serve(world()), {"weak": ["weak"], "strong": ["strong"]}))
    found = outlook.answers(run, planning.make_plan(run))
    assert found is not None
    assert set(found["arms"]) == {"weak", "strong"}
    (flip,) = found["break_even"]
    assert (flip["weaker"], flip["stronger"]) == ("weak", "strong")
    assert flip["now"] == pytest.approx(5, rel=0.15)
    assert [row["times"] for row in found["budgets"]] == [0.25, 0.5, 1.0, 2.0, 4.0]
    assert {b["policy"].split()[0] for b in found["alternatives"]} == {
        "until_correct",
        "difficulty",
        "cascade",
        "mix",
    }
    for bought in (*found["arms"].values(), *found["alternatives"]):
        c = bought["coverage"]
        assert 0 <= c["low"] <= c["value"] <= c["high"] <= 1


def test_without_a_pilot_nothing_is_forecast(tmp_path: Path) -> None:
    run = job(tmp_path, "http://nowhere", {"weak": ["weak"], "strong": ["strong"]}, pilot=None)
    assert outlook.answers(run, planning.make_plan(run)) is None
