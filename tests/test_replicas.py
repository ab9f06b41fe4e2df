"""One model behind several servers, over real HTTP: balanced, outliving one of them, and never counted twice."""

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from string import Template
from typing import Any

import pytest
import yaml

from toolkit import arms, endpoints, sample
from toolkit.arms import Arm
from toolkit.errors import InputError, Refused
from toolkit.ledger import Ledger
from toolkit.sample import Send
from toolkit.serve.openai_format import Tally
from toolkit.serve.simulate import create_app
from toolkit.serve.world import World, WorldSpec
from toolkit.spec import Decoding, Limits, Model, Problems
from toolkit.types import HttpCall, HttpReply, Problem
from toolkit.wire import Wire

Serve = Callable[[Any], str]
QUESTIONS = [
    Problem(f"p{i}", f"Kim has {i} apples and buys 30 more. How many?", str(i + 30)) for i in range(50)
]
WORLD = {
    "name": "twins",
    "models": {
        "m": {
            "ability": {"a": 1, "b": 1},
            "tokens": {"mean": 40, "sd": 5},
            "price": {"input": "0.1", "output": "0.3"},
            "latency": {"mean": 0.01},
        }
    },
}
DEAD = "http://127.0.0.1:9/v1"  # the discard port: nobody listens there


def model(*urls: str, provider: str = "openai_compatible", **more: Any) -> Model:
    given = {
        "price": {"input": "0.1", "output": "0.3"},
        "limits": {"concurrency": 4},
        "base_url": list(urls),
    }
    return Model.model_validate({"provider": provider, "model": "m", **given, **more})


async def sampled(
    ledger: Ledger, asked: Model, folder: Path, *, k: int, through: Callable[[Send], Send]
) -> int:
    """Draw k of every question through the model's servers; how many are missing."""
    arm = Arm("cheap", asked, Decoding(max_tokens=100), Template("$question"))
    ids = ledger.add_problems(QUESTIONS)
    async with endpoints.Connections(folder)({"cheap": asked}, Problems()) as opened, Wire() as wire:
        endpoint, send = opened["cheap"], through(wire.send)
        stream = arms.stream(
            arm,
            ledger,
            QUESTIONS,
            sample.asker(endpoint.provider, send),
            endpoint.provider.capabilities("m"),
            k=k,
            n=1,
            endpoint=endpoint.address,
            others=endpoint.replicas(send),
            limiter=endpoint.gate(arms.make_limiter(asked)),
        )
        result = await sample.run([stream], ids, ledger, keys=[q.id for q in QUESTIONS])
    return result.missing["cheap"]


def unchanged(send: Send) -> Send:
    return send


def settled(ledger: Ledger) -> dict[str, int]:
    """Answered attempts by the address the ledger says was asked."""
    rows = ledger.rows("SELECT endpoint, COUNT(*) FROM attempt WHERE state='settled' GROUP BY endpoint")
    return dict(rows)


def served(url: str) -> int:
    """Requests a simulator answered, by its own account."""
    with urllib.request.urlopen(url.removesuffix("/v1") + "/sim/stats", timeout=10) as said:
        return int(json.load(said)["requests"])


def draws(ledger: Ledger) -> list[tuple[int, int]]:
    return sorted(ledger.rows("SELECT problem, idx FROM draw"))


def twins(serve: Serve, count: int = 2) -> dict[str, Tally]:
    """Simulators of one world, each with its own account, by base URL."""
    made = [Tally() for _ in range(count)]
    spec = WorldSpec.model_validate(WORLD)
    return {f"{serve(create_app(World(spec, QUESTIONS), tally))}/v1": tally for tally in made}


@pytest.mark.parametrize("provider", ["openai_compatible", "vllm"])
async def test_servers_of_one_model_share_its_requests_evenly(
    tmp_path: Path, serve: Serve, provider: str
) -> None:
    servers = twins(serve, 3)
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        missing = await sampled(ledger, model(*servers, provider=provider), tmp_path, k=6, through=unchanged)
        by_address = settled(ledger)
        assert (missing, len(draws(ledger))) == (0, 300)
    assert by_address == {url: tally.models["m"].requests for url, tally in servers.items()}
    assert max(by_address.values()) - min(by_address.values()) <= 0.05 * 300


@pytest.fixture
def simulators(tmp_path: Path) -> Iterator[dict[str, subprocess.Popen[str]]]:
    """Two simulators of one world in processes of their own, by base URL."""
    world = tmp_path / "world.yaml"
    world.write_text(yaml.safe_dump(WORLD | {"problems": {"source": str(tmp_path / "problems.jsonl")}}))
    lines = (json.dumps({"id": q.id, "question": q.question, "answer": q.answer}) for q in QUESTIONS)
    (tmp_path / "problems.jsonl").write_text("\n".join(lines))
    command = [sys.executable, "-m", "toolkit", "serve", "--simulate", str(world), "--port", "0"]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ) for _ in range(2)]
    try:
        yield {p.stdout.readline().split()[-1]: p for p in running if p.stdout}
    finally:
        for process in running:
            process.kill()
            process.communicate()


async def test_one_server_dies_and_the_other_answers_for_both(
    tmp_path: Path, simulators: dict[str, subprocess.Popen[str]]
) -> None:
    (dying, process), (living, _) = simulators.items()
    sent = 0

    def killing(send: Send) -> Send:
        async def watched(call: HttpCall) -> HttpReply:
            nonlocal sent
            sent += 1
            if sent == 60:
                process.kill()
                process.wait()
            return await send(call)

        return watched

    with Ledger(tmp_path / "ledger.sqlite", cap_pico=10**12) as ledger:
        missing = await sampled(ledger, model(dying, living), tmp_path, k=4, through=killing)
        by_address, attempts = settled(ledger), ledger.attempts()
        assert (missing, len(draws(ledger))) == (0, 200)
        lost = list(ledger.rows("SELECT DISTINCT endpoint FROM attempt WHERE state<>'settled'"))
    assert by_address[living] == served(living)
    assert sum(by_address.values()) == 200
    assert by_address[dying] >= 20
    assert lost == [(dying,)]
    assert attempts.get("released", 0) + attempts.get("uncertain", 0) <= 4 + 12  # in flight, and tried later


async def test_a_server_that_was_never_there_costs_nothing_and_hides_no_other(
    tmp_path: Path, serve: Serve
) -> None:
    (url,) = twins(serve, 1)
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        assert await sampled(ledger, model(DEAD, url), tmp_path, k=1, through=unchanged) == 0
        assert settled(ledger) == {url: 50}
        assert ledger.spent.uncertain == 0


async def test_where_no_server_is_there_the_run_is_refused_at_once(tmp_path: Path) -> None:
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        with pytest.raises(Refused, match="cannot connect"):
            await sampled(ledger, model(DEAD, DEAD.replace("1:9", "2:9")), tmp_path, k=1, through=unchanged)
        assert sum(ledger.attempts().values()) <= 8


# -- what a list of servers is, and is not


def sha(asked: Model) -> str:
    return Arm("cheap", asked, Decoding(max_tokens=100), Template("$question")).payload_sha


def test_the_order_and_number_of_servers_make_no_other_model() -> None:
    a, b, c = (f"http://{h}/v1" for h in "abc")
    assert sha(model(a, b)) == sha(model(b, a)) == sha(model(a, b, c)) == sha(model(c))
    assert sha(model(a, b)) != sha(model(a).model_copy(update={"base_url": a}))


async def test_a_second_server_keeps_the_draws_of_the_first(tmp_path: Path, serve: Serve) -> None:
    one, two = twins(serve)
    alone, both = model(one).model_copy(update={"base_url": one}), model(one, two)
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        await sampled(ledger, alone, tmp_path, k=2, through=unchanged)
        await sampled(ledger, both, tmp_path, k=3, through=unchanged)
        assert (sum(ledger.attempts().values()), len(draws(ledger))) == (150, 150)
        assert [row[3] for row in ledger.arms()] == [sha(both)]


async def test_servers_that_honour_different_parameters_are_no_one_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = model("https://api.openai.com/v1", "https://api.groq.com/openai/v1")
    with pytest.raises(InputError, match=r"models\.cheap\.base_url: .* do not honour the same parameters"):
        async with endpoints.Connections(tmp_path)({"cheap": asked}, Problems()):
            pass


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"base_url": []}, "empty list|missing"),
        ({"base_url": [], "provider": "vllm"}, "empty list"),
        ({"base_url": ["http://a/v1", "b/v1"]}, "'b/v1' has no scheme"),
        ({"base_url": ["http://a/v1", "http://a/v1"]}, "a server twice"),
        ({"base_url": ["http://a"], "provider": "gemini"}, "openai_compatible and vllm"),
    ],
)
def test_a_list_that_names_no_servers_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        model(**({"provider": "openai_compatible"} | changes))


def test_arms_of_the_same_servers_share_one_gate_whatever_the_order() -> None:
    one, two = model("http://a/v1", "http://b/v1"), model("http://b/v1", "http://a/v1")
    assert arms.account(one) == arms.account(two)
    assert one.urls == two.urls


def test_a_stated_concurrency_holds_at_each_server() -> None:
    limited = arms.make_limiter(model("http://a/v1", "http://b/v1", limits=Limits(concurrency=4)))
    assert limited.ceiling == 8
