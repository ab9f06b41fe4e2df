"""The simulated provider's batch endpoints, as a client sees them."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from toolkit import cost
from toolkit.serve.openai_format import Tally
from toolkit.serve.simulate import create_app
from toolkit.serve.world import World, WorldSpec
from toolkit.spec import Price
from toolkit.types import Problem

PRICE = {"input": "0.123457", "output": "0.3"}
PROBLEMS = (Problem("apples", "Kim has 12 apples and buys 30 more. How many has she?", "42"),)

Client = Callable[..., httpx.Client]


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def client(serve: Callable[[Any], str], clock: Clock) -> Iterator[Client]:
    """`client(...)` starts a simulated provider whose batches fare so, and speaks to it."""
    opened: list[httpx.Client] = []

    def start(*, key: str | None = None, share: str | None = "0.5", **batch: Any) -> httpx.Client:
        price = PRICE if share is None else {**PRICE, "batch": share}
        model = {"ability": {"a": 1, "b": 1}, "tokens": {"mean": 40, "sd": 9}, "price": price}
        spec = WorldSpec.model_validate({"name": "t", "key": key, "models": {"m": model}, "batch": batch})
        app = create_app(World(spec, PROBLEMS), Tally(), clock=clock)
        opened.append(httpx.Client(base_url=serve(app)))
        return opened[-1]

    yield start
    for http in opened:
        http.close()


def body(**changes: Any) -> dict[str, Any]:
    return {
        "model": "m",
        "messages": [{"role": "user", "content": PROBLEMS[0].question}],
        "seed": 1,
    } | changes


def submitted(http: Any, *bodies: dict[str, Any], metadata: Any = None) -> dict[str, Any]:
    lines = [
        json.dumps({"custom_id": f"part-{i}", "method": "POST", "url": "/v1/chat/completions", "body": b})
        for i, b in enumerate(bodies)
    ]
    # httpx's own encoder writes the form: what our hand-written one must be equal to in meaning.
    form = httpx.Request(
        "POST", "http://x/v1/files", data={"purpose": "batch"}, files={"file": ("a.jsonl", "\n".join(lines))}
    )
    file = http.post("/v1/files", content=form.read(), headers={"content-type": form.headers["content-type"]})
    asked = {
        "input_file_id": file.json()["id"],
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
        "metadata": metadata,
    }
    answer: dict[str, Any] = http.post("/v1/batches", json=asked).json()
    return answer


def lines(http: Any, file: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in http.get(f"/v1/files/{file}/content").text.splitlines()]


def test_a_batch_is_shown_once_its_time_has_come(client: Client, clock: Clock) -> None:
    http = client(processing=60)
    made = submitted(http, body(), body(seed=2))
    assert http.get(f"/v1/batches/{made['id']}").json()["status"] == "in_progress"
    clock.now = 60
    done = http.get(f"/v1/batches/{made['id']}").json()
    assert done["status"] == "completed"
    assert [line["custom_id"] for line in lines(http, done["output_file_id"])] == ["part-0", "part-1"]


def test_a_part_is_answered_as_the_same_request_alone_would_be(client: Client) -> None:
    http = client()
    done = submitted(http, body())
    (line,) = lines(http, done["output_file_id"])
    alone = http.post("/v1/chat/completions", json=body()).json()
    assert line["response"]["body"]["choices"] == alone["choices"]


def test_a_batch_is_billed_half_rounded_up_to_a_picodollar_per_token(client: Client) -> None:
    http = client()
    submitted(http, body())
    stats = http.get("/sim/stats").json()
    half = cost.price(cost.in_batches(Price.model_validate({**PRICE, "batch": "0.5"})))
    assert (half.input, half.output) == (61_729, 150_000)
    assert stats["pico"] == stats["tokens"]["prompt"] * 61_729 + stats["tokens"]["output"] * 150_000


def test_what_expires_or_fails_is_listed_apart_and_not_billed(client: Client) -> None:
    http = client(expired=0.5, failed=0.5)
    done = submitted(http, *(body(seed=i) for i in range(20)))
    assert done["status"] == "expired"
    assert "output_file_id" not in done
    found = lines(http, done["error_file_id"])
    assert {(line["error"] or {}).get("code") for line in found} == {None, "batch_expired"}
    assert http.get("/sim/stats").json()["draws"] == 0


def test_a_bad_line_fails_alone(client: Client) -> None:
    http = client()
    done = submitted(http, body(), body(colour="blue"), body(model="nobody"))
    assert done["status"] == "completed"
    assert len(lines(http, done["output_file_id"])) == 1
    refused = lines(http, done["error_file_id"])
    assert [line["response"]["status_code"] for line in refused] == [400, 404]
    assert "colour" in refused[0]["response"]["body"]["error"]["message"]


def test_a_model_without_a_batch_price_serves_no_batches(client: Client) -> None:
    http = client(share=None)
    done = submitted(http, body())
    (line,) = lines(http, done["error_file_id"])
    assert "batch price" in line["response"]["body"]["error"]["message"]
    assert http.get("/sim/stats").json()["pico"] == 0


def test_the_listing_is_newest_first_in_pages_with_the_metadata(client: Client) -> None:
    http = client()
    for i in range(5):
        submitted(http, body(), metadata={"mark": str(i)})
    seen, after = [], ""
    while True:
        page = http.get(f"/v1/batches?limit=2{after}").json()
        seen += [b["metadata"]["mark"] for b in page["data"]]
        if not page["has_more"]:
            break
        after = f"&after={page['data'][-1]['id']}"
    assert seen == ["4", "3", "2", "1", "0"]


@pytest.mark.parametrize("path", ["/v1/batches", "/v1/batches/x", "/v1/files/x/content", "/v1beta/batches"])
def test_without_the_key_nothing_is_said(client: Client, path: str) -> None:
    assert client(key="secret").get(path).status_code == 401


@pytest.mark.parametrize("path", ["/v1/batches/x", "/v1/files/x/content", "/v1beta/batches/x"])
def test_what_is_unknown_is_404(client: Client, path: str) -> None:
    assert client().get(path).status_code == 404


def test_gemini_answers_inlined_requests_under_their_keys(client: Client, clock: Clock) -> None:
    http = client(processing=60)
    contents = [{"role": "user", "parts": [{"text": PROBLEMS[0].question}]}]
    parts = [{"request": {"contents": contents}, "metadata": {"key": f"k{i}"}} for i in range(2)]
    asked = {"batch": {"displayName": "mine", "inputConfig": {"requests": {"requests": parts}}}}
    made = http.post("/v1beta/models/m:batchGenerateContent", json=asked).json()
    assert made["metadata"]["state"] == "BATCH_STATE_RUNNING"
    clock.now = 60
    (done,) = http.get("/v1beta/batches").json()["operations"]
    assert (done["name"], done["metadata"]["displayName"], done["done"]) == (made["name"], "mine", True)
    answers = done["response"]["inlinedResponses"]["inlinedResponses"]
    assert [a["metadata"]["key"] for a in answers] == ["k0", "k1"]
    assert all(a["response"]["candidates"] for a in answers)
    assert http.get("/sim/stats").json()["draws"] == 2


def test_with_a_journal_batches_outlive_the_server(tmp_path: Path, serve: Callable[[Any], str]) -> None:
    model = {"ability": {"a": 1, "b": 1}, "tokens": {"mean": 40, "sd": 9}, "price": {**PRICE, "batch": "0.5"}}
    spec = WorldSpec.model_validate({"name": "t", "models": {"m": model}, "batch": {"processing": 3600}})

    def started() -> httpx.Client:
        tally = Tally(tmp_path / "served.jsonl")
        return httpx.Client(base_url=serve(create_app(World(spec, PROBLEMS), tally)))

    with started() as http:
        first = submitted(http, body(), metadata={"mark": "a"})
    with started() as http:
        (kept,) = http.get("/v1/batches").json()["data"]
        assert (kept["id"], kept["metadata"], kept["status"]) == (first["id"], {"mark": "a"}, "completed")
        assert len(lines(http, kept["output_file_id"])) == 1
        assert http.get("/sim/stats").json()["draws"] == 1
        assert submitted(http, body())["id"] != first["id"]
