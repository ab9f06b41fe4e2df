"""An arm's identity, its requests, and what the sampler gets of it."""

import asyncio
import dataclasses
import json
import time
from pathlib import Path
from string import Template
from typing import Any

import pytest

from toolkit import arms
from toolkit.arms import Arm
from toolkit.errors import InputError
from toolkit.ledger import Intent, Ledger
from toolkit.limits import Load
from toolkit.provider import Capabilities
from toolkit.spec import Decoding, Model
from toolkit.types import Message, Problem, Reply, Request

TINY = Path(__file__).parents[1] / "examples" / "tiny-gemma"
PROBLEMS = [Problem("a", "What is 1 + 1?", "2"), Problem("b", "Costs $5 {x} $question?", "5")]


def arm(decoding: dict[str, Any] | None = None, prompt: str = "Q: $question\nA:", **model: Any) -> Arm:
    known = {"provider": "openai_compatible", "model": "m", "base_url": "http://a/v1"}
    settings = {"temperature": 0.7, "max_tokens": 64} if decoding is None else decoding
    return Arm("cheap", Model.model_validate(known | model), Decoding(**settings), Template(prompt))


# --- identity ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"decoding": {"temperature": 0.8, "max_tokens": 64}},
        {"decoding": {"temperature": 0.7, "max_tokens": 65}},
        {"decoding": {"temperature": 0.7, "max_tokens": 64, "stop": ("\n",)}},
        {"prompt": "Question: $question\nA:"},
        {"model": "other"},
        {"base_url": "http://b/v1"},
        {"api": "completions"},
        {"extra": {"reasoning_effort": "low"}},
    ],
    ids=str,
)
def test_what_changes_the_question_makes_another_arm(change: dict[str, Any]) -> None:
    assert arm(**change).payload_sha != arm().payload_sha


@pytest.mark.parametrize(
    "change",
    [
        {"key_env": "KEY"},
        {"limits": {"concurrency": 3}},
        {"price": {"input": 1, "output": 2}},
        {"params": 5},
        {"expect": {"output": 9}},
        {"draws_per_request": 4},
        {"decoding": {"temperature": 0.7, "max_tokens": 64, "top_k": None}},
    ],
    ids=str,
)
def test_what_leaves_the_question_as_it_is_tops_up_the_same_arm(change: dict[str, Any]) -> None:
    assert arm(**change).payload_sha == arm().payload_sha


def test_another_budget_of_thinking_tokens_makes_another_arm() -> None:
    known = {"provider": "gemini", "model": "gemini-2.5-flash", "base_url": None}
    shas = {arm(**known, thinking=tokens).payload_sha for tokens in (None, 0, 512)}
    assert len(shas) == 3


def test_a_simulated_arm_is_another_when_its_world_changes(tmp_path: Path) -> None:
    world = tmp_path / "w.yaml"
    world.write_text("name: w")
    simulated = arm(provider="simulated", base_url=None, world=str(world))
    before = simulated.payload_sha
    assert simulated.payload_sha == before
    world.write_text("name: v")
    assert simulated.payload_sha != before


def test_a_checkpoint_is_its_weights_wherever_they_lie(tmp_path: Path) -> None:
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.safetensors").write_bytes(b"weights")
    one, two = (arm(provider="checkpoint", base_url=None, model=str(tmp_path / n)) for n in ("here", "there"))
    assert one.payload_sha == two.payload_sha
    (tmp_path / "there" / "model.safetensors").write_bytes(b"weightz")
    assert one.payload_sha != two.payload_sha


def test_weights_that_differ_at_either_end_or_in_size_differ(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    seen = set()
    middle = bytes(2 * arms.EDGE)
    for content in (middle, b"x" + middle[1:], middle[1:] + b"x", middle + b"\0"):
        file.write_bytes(content)
        seen.add(arms.weights_sha(tmp_path))
    assert len(seen) == 4


def test_a_folder_without_weights_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no \*\.safetensors in it"):
        arms.weights_sha(tmp_path)


def test_parameters_are_counted_over_all_tensors_and_files(tmp_path: Path) -> None:
    for number, shapes in enumerate(([[3, 4], [5]], [[2, 2, 2]])):
        header = {str(i): {"dtype": "F32", "shape": shape} for i, shape in enumerate(shapes)}
        text = json.dumps({"__metadata__": {"format": "pt"}, **header}).encode()
        (tmp_path / f"{number}.safetensors").write_bytes(len(text).to_bytes(8, "little") + text)
    assert arms.parameters(tmp_path) == 12 + 5 + 8


def test_the_shipped_checkpoints_have_the_parameters_their_prices_stand_for() -> None:
    assert (arms.parameters(TINY / "wc"), arms.parameters(TINY / "se")) == (43_296, 119_000)


# --- requests ------------------------------------------------------------------------------------


def test_a_chat_asks_each_question_in_one_users_message() -> None:
    requests = arm({"temperature": 0.7, "top_k": 3, "max_tokens": 64, "stop": ["\n\n"]}).requests(PROBLEMS)
    assert requests[0] == Request(
        "m",
        messages=(Message("user", "Q: What is 1 + 1?\nA:"),),
        max_tokens=64,
        temperature=0.7,
        top_k=3,
        stop=("\n\n",),
    )
    assert requests[1].messages[0].content == "Q: Costs $5 {x} $question?\nA:"  # taken as it is


def test_a_base_checkpoint_gets_the_raw_prompt() -> None:
    request = arm(api="completions").requests(PROBLEMS)[0]
    assert (request.prompt, request.messages) == ("Q: What is 1 + 1?\nA:", ())


def test_a_checkpoint_is_asked_for_by_its_folders_name() -> None:
    request = arm(provider="checkpoint", base_url=None, model="/some/where/wc").requests(PROBLEMS)[0]
    assert request.model == "wc"


# --- streams -------------------------------------------------------------------------------------


async def _never(request: Request) -> Reply:
    raise AssertionError("nothing is asked here")


def stream(ledger: Ledger, one: Arm, n: int = 8, max_n: int = 4) -> arms.Stream:
    return arms.stream(one, ledger, PROBLEMS, _never, Capabilities(max_n, frozenset({"seed"})), k=16, n=n)


def test_a_stream_has_the_arms_price_limits_and_expectations(tmp_path: Path) -> None:
    priced = arm(
        price={"input": 1, "output": 2},
        limits={"concurrency": 3},
        expect={"output": 200, "thinking": 50},
    )
    with Ledger(tmp_path / "l.sqlite") as ledger:
        made = stream(ledger, priced)
        again = stream(ledger, priced)
        other = stream(ledger, arm({"temperature": 0.1, "max_tokens": 64}))
    assert (made.k, made.n, made.seeds, made.tokens_per_draw) == (16, 4, True, 250)
    assert made.price is not None
    assert made.price.output == 2_000_000
    assert made.limiter.limits.concurrency == 3
    assert (again.arm, again.price_id) == (made.arm, made.price_id)
    assert other.arm != made.arm
    assert (other.price, other.price_id) == (None, None)


def test_a_priced_arm_without_max_tokens_is_refused_by_name(tmp_path: Path) -> None:
    unbounded = arm({"temperature": 0.7}, price={"input": 1, "output": 2})
    with (
        Ledger(tmp_path / "l.sqlite") as ledger,
        pytest.raises(InputError, match=r"decoding\.max_tokens is missing for cheap"),
    ):
        stream(ledger, unbounded)


# --- limits --------------------------------------------------------------------------------------


def test_streams_of_one_account_and_model_share_what_they_may_use(tmp_path: Path) -> None:
    same, other = arm(), arm(model="another")
    assert arms.account(same.model) == arms.account(arm({"temperature": 0.1}).model)
    assert arms.account(same.model) != arms.account(other.model)
    assert arms.account(same.model) != arms.account(arm(key_env="ANOTHER_KEY").model)
    with Ledger(tmp_path / "l.sqlite") as ledger:
        gate = arms.make_limiter(same.model)
        made = arms.stream(same, ledger, PROBLEMS, _never, Capabilities(), k=1, n=1, limiter=gate)
    assert made.limiter is gate


def test_a_days_requests_end_at_midnight_in_california_for_gemini_alone() -> None:
    def resets(provider: str, **limits: Any) -> str | None:
        made = Model(provider=provider, model="m", base_url="http://h/v1", limits=limits)  # type: ignore[arg-type]
        return arms.make_limiter(made).limits.day_resets

    assert resets("gemini", requests_per_day=9) == "midnight_pacific"
    assert resets("gemini", requests_per_day=9, day_resets="rolling") == "rolling"
    assert resets("openai_compatible", requests_per_day=9) == "rolling"


def test_a_restarted_run_knows_what_it_used_in_the_last_minute(tmp_path: Path) -> None:
    with Ledger(tmp_path / "l.sqlite") as ledger:
        (problem, *_) = ledger.add_problems(PROBLEMS)
        before = stream(ledger, arm(limits={"requests_per_minute": 2}))
        for first in range(2):
            asyncio.run(ledger.reserve(Intent(before.arm, problem, first, 1, None)))
        after = stream(ledger, arm(limits={"requests_per_minute": 2}))
        arms.recall(ledger, [after])
        waits = after.limiter.gauges.wait(Load().amounts, 0, time.monotonic())
    assert 55 < waits < 62


def test_asking_changes_n_and_seed_and_nothing_else() -> None:
    whole = Request("m", (Message("user", "hi"),), None, 1, 9, 0.5, 0.9, 3, ("x",), None, 7, {"a": 1})
    assert whole.asking(4, 11) == dataclasses.replace(whole, n=4, seed=11)
    assert len(dataclasses.fields(Request)) == 12  # a new field must be carried over, too
