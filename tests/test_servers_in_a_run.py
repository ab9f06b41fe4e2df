"""One model behind several servers, as a whole run samples it: plan, cap, ledger and the servers' own accounts."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from toolkit import config, endpoints, pipeline
from toolkit.job import Job
from toolkit.ledger import Reader
from toolkit.sample import Progress, Result
from toolkit.serve.openai_format import Tally
from toolkit.serve.simulate import create_app
from toolkit.serve.world import World, WorldSpec
from toolkit.types import Problem

Serve = Callable[[Any], str]
PROBLEMS = [Problem(f"p{i}", f"What is {i} + {i}?", str(2 * i)) for i in range(20)]
PRICE = {"input": "0.1", "output": "0.3"}
DRAWS = 6
ALL = len(PROBLEMS) * DRAWS


def server(serve: Serve, *, latency: float = 0.01, **faults: Any) -> str:
    """The address of a simulator of the world that all servers of a test share, but for its manners."""
    model = {
        "ability": {"a": 1, "b": 1},
        "tokens": {"mean": 40, "sd": 5},
        "price": PRICE,
        "latency": {"mean": latency},
    }
    spec = WorldSpec.model_validate({"name": "w", "models": {"m": model}, "faults": faults})
    return f"{serve(create_app(World(spec, PROBLEMS), Tally()))}/v1"


def job(folder: Path, *urls: str, cap_usd: str = "1") -> Job:
    lines = (json.dumps({"id": p.id, "question": p.question, "answer": p.answer}) for p in PROBLEMS)
    (folder / "questions.jsonl").write_text("\n".join(lines))
    run = {
        "name": "servers",
        "problems": {"source": str(folder / "questions.jsonl")},
        "decoding": {"max_tokens": 60},
        "models": {
            "m": {
                "provider": "openai_compatible",
                "model": "m",
                "base_url": list(urls),
                "price": PRICE,
                "expect": {"output": 40},
                "limits": {"concurrency": 4},
                "draws_per_request": 1,
            }
        },
        "budget": {"draws": DRAWS, "match": "samples", "cap_usd": cap_usd},
    }
    return Job(endpoints.resolve(config.validated(folder / "run.yaml", run)), folder / "out")


async def sampled(job: Job) -> Result:
    connect = endpoints.Connections(job.directory)
    return await pipeline.draw(job, connect, stop=asyncio.Event(), progress=Progress())


def account(url: str) -> dict[str, Any]:
    """What a server says it served."""
    said: dict[str, Any] = httpx.get(url.removesuffix("/v1") + "/sim/stats").json()
    return said


def settled(reader: Reader) -> dict[str, int]:
    return dict(reader.rows("SELECT endpoint, COUNT(*) FROM attempt WHERE state='settled' GROUP BY endpoint"))


def holds(reader: Reader, urls: tuple[str, ...], cap_pico: int) -> None:
    """Every draw once, and what the servers billed together within what the ledger counts."""
    drawn = list(reader.rows("SELECT problem, idx FROM draw"))
    assert len(set(drawn)) == len(drawn)
    billed, spend = sum(account(u)["pico"] for u in urls), reader.spend()
    assert spend.reserved == 0
    assert billed <= spend.settled + spend.uncertain <= cap_pico


async def test_two_equal_servers_bring_every_draw_and_half_of_them_each(tmp_path: Path, serve: Serve) -> None:
    urls = server(serve), server(serve)
    run = job(tmp_path, *urls)
    assert (await sampled(run)).missing == {"m": 0}
    with run.reader() as reader:
        holds(reader, urls, 10**12)
        by_server = settled(reader)
        assert reader.count_draws() == ALL
        assert by_server == {u: account(u)["requests"] for u in urls}
    assert abs(by_server[urls[0]] - by_server[urls[1]]) <= 0.1 * ALL


async def test_a_slow_server_gets_less_and_holds_up_nothing(tmp_path: Path, serve: Serve) -> None:
    slow, quick = server(serve, latency=0.4), server(serve)
    run = job(tmp_path, slow, quick)
    assert (await sampled(run)).missing == {"m": 0}
    with run.reader() as reader:
        holds(reader, (slow, quick), 10**12)
        by_server = settled(reader)
    assert sum(by_server.values()) == ALL
    assert 0 < by_server[slow] < by_server[quick] / 2


@pytest.mark.parametrize("fault", ["overloaded", "reset_before", "reset_mid_body", "truncated_json"])
async def test_what_one_server_fails_the_other_answers(tmp_path: Path, serve: Serve, fault: str) -> None:
    poor, sound = server(serve, seed=3, **{fault: 0.5}), server(serve)
    run = job(tmp_path, poor, sound)
    assert (await sampled(run)).missing == {"m": 0}
    with run.reader() as reader:
        holds(reader, (poor, sound), 10**12)
        failed = list(reader.rows("SELECT DISTINCT endpoint FROM attempt WHERE state<>'settled'"))
        retried = reader.rows(
            "SELECT a.endpoint FROM attempt a JOIN attempt b ON a.parent=b.id WHERE b.endpoint=?", (poor,)
        )
        assert (reader.count_draws(), failed) == (ALL, [(poor,)])
        assert {endpoint for (endpoint,) in retried} == {sound}


async def test_servers_share_one_cap_and_a_rerun_asks_only_for_the_rest(tmp_path: Path, serve: Serve) -> None:
    urls = server(serve), server(serve, overloaded=0.3)
    run = job(tmp_path, *urls, cap_usd="0.0008")
    short = await sampled(run)
    assert short.capped
    with run.reader() as reader:
        holds(reader, urls, 800_000_000)
        there = reader.count_draws()
        assert 0 < there == ALL - short.missing["m"]
    run = job(tmp_path, *urls)
    assert (await sampled(run)).missing == {"m": 0}
    with run.reader() as reader:
        holds(reader, urls, 10**12)
        assert (reader.count_draws(), sum(settled(reader).values())) == (ALL, ALL)
