"""`sample --batch` as a run does it: planned and priced as a batch, and never beside plain sampling."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from toolkit import batching, config, cost, endpoints, pipeline, planning
from toolkit.errors import InputError, Refused
from toolkit.job import Job
from toolkit.ledger import Ledger
from toolkit.plan import Plan
from toolkit.sample import Progress, Result
from toolkit.serve.openai_format import Tally
from toolkit.serve.simulate import create_app
from toolkit.serve.world import World, WorldSpec
from toolkit.spec import Price
from toolkit.types import Problem

PROBLEMS = [Problem(f"p{i}", f"What is {i} + {i}?", str(2 * i)) for i in range(4)]
PRICE = {"input": "0.5", "output": "1.5", "batch": "0.5"}
Serve = Callable[[Any], str]


def provider(**batches: Any) -> Any:
    model = {"ability": {"a": 1, "b": 1}, "tokens": {"mean": 40, "sd": 10}, "price": PRICE}
    spec = WorldSpec.model_validate({"name": "t", "models": {"m": model}, "batch": batches})
    return create_app(World(spec, PROBLEMS), Tally())


def job(folder: Path, root: str, *, price: dict[str, str] = PRICE, **changes: Any) -> Job:
    questions = folder / "questions.jsonl"
    questions.write_text(
        "".join(f'{{"id": "{p.id}", "question": "{p.question}", "answer": "{p.answer}"}}\n' for p in PROBLEMS)
    )
    model = {
        "provider": "openai_compatible",
        "model": "m",
        "base_url": f"{root}/v1",
        "price": price,
        "expect": {"output": 40},
    }
    run = {
        "name": "batched",
        "problems": {"source": str(questions)},
        "decoding": {"max_tokens": 60},
        "models": {"m": model},
        "budget": {"draws": 2, "match": "samples", "cap_usd": 1},
        "sampling": {"batch": True, "batch_poll": 0.05},
        **changes,
    }
    return Job(endpoints.resolve(config.validated(folder / "run.yaml", run)), folder / "out")


def stats(root: str) -> dict[str, Any]:
    account: dict[str, Any] = httpx.get(f"{root}/sim/stats").json()
    return account


async def sampled(
    job: Job, stage: Callable[..., Any] = batching.draw, *, stop: asyncio.Event | None = None
) -> Result:
    connect = endpoints.Connections(job.directory)
    result = await stage(job, connect, stop=stop or asyncio.Event(), progress=Progress())
    assert isinstance(result, Result)
    return result


def test_a_batch_price_is_the_share_rounded_up_and_a_cache_hit_is_no_cheaper_there() -> None:
    quoted = Price(
        input=Decimal("0.123457"), output=Decimal(3), cached_input=Decimal("0.1"), batch=Decimal("0.5")
    )
    price = cost.price(cost.in_batches(quoted))
    assert (price.input, price.output, price.thinking) == (61_729, 1_500_000, 1_500_000)
    assert price.cached == price.input
    cheap = quoted.model_copy(update={"cached_input": Decimal("0.01")})
    assert cost.price(cost.in_batches(cheap)).cached == 10_000
    assert "batches at 0.5" in price.source


async def test_a_run_in_batches_is_paid_at_the_batch_price(tmp_path: Path, serve: Serve) -> None:
    root = serve(provider())
    assert (await sampled(job(tmp_path, root))).missing == {"m": 0}
    billed = stats(root)["pico"]
    with Ledger(tmp_path / "out" / "ledger.sqlite") as ledger:
        assert (ledger.count_draws(), ledger.spend().committed) == (8, billed)


def test_the_same_dollars_plan_twice_the_draws_in_batches(tmp_path: Path) -> None:
    budget = {"usd": "0.01", "match": "price"}
    one = job(tmp_path, "http://x", budget=budget, sampling={"batch": False})
    two = job(tmp_path, "http://x", budget=budget, sampling={"batch": True})
    plain, batched = (planning.make_plan(j).parts["m"].draws_per_problem for j in (one, two))
    assert batched == pytest.approx(2 * plain, abs=1)


def test_a_model_without_a_batch_price_is_refused_with_a_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no batch price of m is known: set price\.batch"):
        planning.make_plan(job(tmp_path, "http://x", price={"input": "0.5", "output": "1.5"}))


async def stop_once_a_batch_is_out(root: str, stop: asyncio.Event) -> None:
    async with httpx.AsyncClient() as client:
        for _ in range(1000):
            if (await client.get(f"{root}/v1/batches")).json()["data"]:
                break
            await asyncio.sleep(0.01)  # it is submitted by itself
    stop.set()


async def test_plain_sampling_goes_on_where_only_an_earlier_arms_batch_is_out(
    tmp_path: Path, serve: Serve
) -> None:
    root, stop = serve(provider(processing=3600)), asyncio.Event()
    stopping = asyncio.ensure_future(stop_once_a_batch_is_out(root, stop))
    await sampled(job(tmp_path, root), stop=stop)
    await stopping
    changed = job(tmp_path, root, sampling={}, decoding={"max_tokens": 61})
    assert (await sampled(changed, pipeline.draw)).missing == {"m": 0}
    with changed.open() as ledger:
        assert ledger.spent.uncertain > 0
        assert ledger.resolve("unpaid") == 8
        assert ledger.spent.uncertain == 0


async def test_plain_sampling_is_refused_while_a_batch_is_out(tmp_path: Path, serve: Serve) -> None:
    """Its draws would be bought twice."""
    root, stop = serve(provider(processing=3600)), asyncio.Event()
    stopping = asyncio.ensure_future(stop_once_a_batch_is_out(root, stop))
    assert (await sampled(job(tmp_path, root), stop=stop)).interrupted
    await stopping
    with pytest.raises(InputError, match="still out: collect them with `pricematch sample --batch`"):
        await sampled(job(tmp_path, root, sampling={}), pipeline.draw)
    assert stats(root)["draws"] == 8


async def test_a_provider_without_a_batch_api_is_refused_with_a_line(tmp_path: Path, serve: Serve) -> None:
    with pytest.raises(Refused, match="HTTP 404"):
        await sampled(job(tmp_path, serve(Starlette())))


async def test_a_policy_that_looks_at_outcomes_is_refused_in_batches(tmp_path: Path, serve: Serve) -> None:
    root = serve(provider())
    asked = job(tmp_path, root, budget={"usd": "0.01", "policy": "until_correct"})
    with pytest.raises(InputError, match=r"sampling\.batch: m: its policy looks at outcomes"):
        await sampled(asked)
    assert stats(root)["requests"] == 0


async def test_each_problem_gets_its_own_number_of_draws_in_batches(
    tmp_path: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a policy that has laid out the draws beforehand plans them."""
    root = serve(provider())
    plan = planning.save_plan

    def uneven(job: Job) -> Plan:
        made = plan(job)
        parts = {n: replace(p, draws_per_problem=5, targets=(5, 0, 2, 1)) for n, p in made.parts.items()}
        return replace(made, parts=parts)

    monkeypatch.setattr(planning, "save_plan", uneven)
    assert (await sampled(job(tmp_path, root))).missing == {"m": 0}
    with Ledger(tmp_path / "out" / "ledger.sqlite") as ledger:
        drawn = dict(ledger.rows("SELECT problem, COUNT(*) FROM draw GROUP BY problem"))
    assert drawn == {1: 5, 3: 2, 4: 1}
