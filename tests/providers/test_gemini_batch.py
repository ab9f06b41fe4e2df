"""Gemini's batch API, call by call: what is sent, and what is read from operations as Google documents them."""

import json
from typing import Any

import pytest

from providers.gemini import Gemini
from providers.gemini_batch import GeminiBatch
from toolkit.errors import Kind, ProviderError
from toolkit.provider import Batcher, RemoteBatch, Steps
from toolkit.types import HttpCall, HttpReply, Message, Request

BASE = "https://generativelanguage.googleapis.com/v1beta"
BATCHER = GeminiBatch(Gemini(BASE, "AIza-secret"), BASE, "AIza-secret")
ASKED = Request("gemini-2.5-flash", (Message("user", "2 + 2?"),), n=2, max_tokens=9)


def answered(body: Any, status: int = 200) -> HttpReply:
    return HttpReply(status, {}, body if isinstance(body, bytes) else json.dumps(body).encode())


def through(steps: Steps[Any], *answers: HttpReply) -> tuple[Any, list[HttpCall]]:
    """What a translation amounts to under these answers, and the calls it made."""
    calls = [next(steps)]
    for answer in answers:
        try:
            calls.append(steps.send(answer))
        except StopIteration as done:
            return done.value, calls
    raise AssertionError("the translation wants more answers")


def operation(state: str, **more: Any) -> dict[str, Any]:
    return {"name": "batches/7", "metadata": {"state": state, "displayName": "m"}, **more}


def polled(body: dict[str, Any]) -> RemoteBatch:
    batch, (call,) = through(BATCHER.poll("batches/7"), answered(body))
    assert (call.method, call.url, call.headers["x-goog-api-key"]) == (
        "GET",
        f"{BASE}/batches/7",
        "AIza-secret",
    )
    assert isinstance(batch, RemoteBatch)
    return batch


def answers_of(*parts: dict[str, Any]) -> dict[str, HttpReply | None]:
    held = {"inlinedResponses": {"inlinedResponses": list(parts)}}
    steps = BATCHER.results(polled(operation("BATCH_STATE_SUCCEEDED", done=True, response=held)))
    with pytest.raises(StopIteration) as done:
        next(steps)
    found: dict[str, HttpReply | None] = done.value.value
    return found


def test_it_is_a_batcher() -> None:
    assert isinstance(BATCHER, Batcher)


def test_submitting_inlines_the_requests_as_they_would_be_sent_alone() -> None:
    lines = [BATCHER.line(str(i), ASKED) for i in range(2)]
    made, (call,) = through(
        BATCHER.submit("our-mark", ASKED, lines), answered(operation("BATCH_STATE_PENDING"))
    )
    assert (call.method, call.url) == ("POST", f"{BASE}/models/gemini-2.5-flash:batchGenerateContent")
    alone = json.loads(BATCHER.plain.encode(ASKED).body)
    assert json.loads(call.body) == {
        "batch": {
            "displayName": "our-mark",
            "inputConfig": {
                "requests": {
                    "requests": [
                        {"request": alone, "metadata": {"key": "0"}},
                        {"request": alone, "metadata": {"key": "1"}},
                    ]
                }
            },
        }
    }
    assert (made.id, made.state) == ("batches/7", "running")


@pytest.mark.parametrize(
    ("status", "state", "complete"),
    [
        ("PENDING", "running", False),
        ("RUNNING", "running", False),
        ("SUCCEEDED", "ended", True),
        ("EXPIRED", "ended", False),
        ("CANCELLED", "ended", False),
        ("FAILED", "failed", False),
        ("UNSPECIFIED", "running", False),
    ],
)
@pytest.mark.parametrize("prefix", ["BATCH_STATE_", "JOB_STATE_"])
def test_every_documented_state_is_understood(prefix: str, status: str, state: str, complete: bool) -> None:
    batch = polled(operation(prefix + status))
    assert (batch.state, batch.complete) == (state, complete)


def test_an_operation_that_failed_says_why() -> None:
    batch = polled(operation("BATCH_STATE_FAILED", done=True, error={"code": 3, "message": "bad input"}))
    assert batch.message == "failed: bad input"


def test_the_mark_is_looked_for_page_by_page() -> None:
    first = {
        "operations": [{"name": "batches/1", "metadata": {"displayName": "other"}}],
        "nextPageToken": "t",
    }
    second = {"operations": [operation("BATCH_STATE_RUNNING")]}
    found, calls = through(BATCHER.find("m"), answered(first), answered(second))
    assert found.id == "batches/7"
    assert calls[1].url == f"{BASE}/batches?pageSize=100&pageToken=t"
    absent, _ = through(BATCHER.find("m"), answered({}))
    assert absent is None


def test_thoughts_count_as_they_do_for_a_plain_request() -> None:
    response = {
        "candidates": [{"content": {"parts": [{"text": "4"}]}, "finishReason": "STOP"}],
        "usageMetadata": {"promptTokenCount": 11, "candidatesTokenCount": 7, "thoughtsTokenCount": 5},
    }
    answer = answers_of({"metadata": {"key": "1"}, "response": response})["1"]
    assert answer is not None
    usage = BATCHER.decode(ASKED, answer).usage
    assert usage is not None
    assert (usage.prompt, usage.output, usage.thinking) == (11, 7, 5)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (3, Kind.BAD_REQUEST),
        (8, Kind.RATE_LIMIT),
        (13, Kind.OVERLOADED),
        (14, Kind.OVERLOADED),
        (400, Kind.BAD_REQUEST),
    ],
)
def test_a_part_that_failed_is_unpaid_and_says_what_to_do(code: int, kind: Kind) -> None:
    answer = answers_of({"metadata": {"key": "1"}, "error": {"code": code, "message": "no"}})["1"]
    assert answer is not None
    with pytest.raises(ProviderError) as caught:
        BATCHER.decode(ASKED, answer)
    assert (caught.value.kind, caught.value.billed) == (kind, "no")


@pytest.mark.parametrize("code", [1, 4])
def test_a_part_that_nobody_worked_on_is_none(code: int) -> None:
    assert answers_of({"metadata": {"key": "1"}, "error": {"code": code, "message": "late"}}) == {"1": None}


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"metadata": {}}'])
def test_an_answer_that_is_no_operation_is_a_bad_body(body: bytes) -> None:
    steps = BATCHER.poll("batches/7")
    next(steps)
    with pytest.raises(ProviderError) as caught:
        steps.send(answered(body))
    assert (caught.value.kind, caught.value.retryable) == (Kind.BAD_BODY, True)
