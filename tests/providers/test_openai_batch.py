"""OpenAI's batch API, call by call: what is sent, and what is read from answers as the vendor documents them."""

import json
from email.parser import BytesParser
from typing import Any

import pytest

from providers.openai_batch import OpenAIBatch
from providers.openai_compatible import OpenAICompatible
from toolkit.errors import Kind, ProviderError
from toolkit.provider import Batcher, RemoteBatch, Steps
from toolkit.types import HttpCall, HttpReply, Message, Request

BATCHER = OpenAIBatch(OpenAICompatible("https://api.openai.com/v1/", "sk-secret-key"))
ASKED = Request("gpt-4.1-mini", (Message("user", "2 + 2?"),), n=2, max_tokens=9, seed=5)


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


def ended(**facts: Any) -> RemoteBatch:
    batch, _ = through(BATCHER.poll("b"), answered({"id": "b", "status": "completed", **facts}))
    assert isinstance(batch, RemoteBatch)
    return batch


def test_it_is_a_batcher() -> None:
    assert isinstance(BATCHER, Batcher)


def test_a_line_holds_the_request_as_it_would_be_sent_alone() -> None:
    line = json.loads(BATCHER.line("7-0", ASKED))
    assert line.pop("body") == json.loads(BATCHER.plain.encode(ASKED).body)
    assert line == {"custom_id": "7-0", "method": "POST", "url": "/v1/chat/completions"}


def test_submitting_uploads_a_file_and_names_it_in_a_marked_batch() -> None:
    lines = [BATCHER.line(str(i), ASKED) for i in range(3)]
    made, (upload, create) = through(
        BATCHER.submit("our-mark", ASKED, lines),
        answered({"id": "file-1"}),
        answered({"id": "batch_1", "status": "validating", "metadata": {}}),
    )
    assert (upload.method, upload.url) == ("POST", "https://api.openai.com/v1/files")
    form = BytesParser().parsebytes(
        b"content-type: " + upload.headers["content-type"].encode() + b"\r\n\r\n" + upload.body
    )
    purpose, file = (part.get_payload(decode=True) for part in list(form.walk())[1:])
    assert purpose == b"batch"
    assert isinstance(file, bytes)
    assert file.splitlines() == lines
    assert create.url == "https://api.openai.com/v1/batches"
    assert json.loads(create.body) == {
        "input_file_id": "file-1",
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
        "metadata": {"pricematch_intent": "our-mark"},
    }
    assert {c.headers["authorization"] for c in (upload, create)} == {"Bearer sk-secret-key"}
    assert (made.id, made.state) == ("batch_1", "running")


def test_raw_completions_go_to_their_own_endpoint() -> None:
    raw = Request("davinci", prompt="2 + 2 =", max_tokens=4)
    assert json.loads(BATCHER.line("1", raw))["url"] == "/v1/completions"


@pytest.mark.parametrize(
    ("status", "state", "complete"),
    [
        ("validating", "running", False),
        ("in_progress", "running", False),
        ("finalizing", "running", False),
        ("cancelling", "running", False),
        ("completed", "ended", True),
        ("expired", "ended", False),
        ("cancelled", "ended", False),
        ("failed", "failed", False),
        ("something new", "running", False),
    ],
)
def test_every_documented_status_is_understood(status: str, state: str, complete: bool) -> None:
    batch = ended(status=status)
    assert (batch.state, batch.complete) == (state, complete)


def test_a_failed_batch_says_why() -> None:
    batch = ended(status="failed", errors={"data": [{"message": "token limit exceeded", "line": 1}]})
    assert batch.message == "failed: token limit exceeded"


def test_the_mark_is_looked_for_page_by_page() -> None:
    first = {"data": [{"id": "b1", "metadata": None}, {"id": "b2"}], "has_more": True}
    mine = {"id": "b3", "status": "completed", "metadata": {"pricematch_intent": "m"}}
    found, calls = through(BATCHER.find("m"), answered(first), answered({"data": [mine], "has_more": False}))
    assert found.id == "b3"
    assert calls[1].url.endswith("batches?limit=100&after=b2")
    absent, _ = through(BATCHER.find("other"), answered({"data": [mine], "has_more": False}))
    assert absent is None


def test_answers_refusals_and_expired_parts_are_told_apart() -> None:
    said = {"choices": [{"message": {"content": "4"}, "finish_reason": "stop"}], "model": "gpt-4.1-mini"}
    output = {
        "custom_id": "1",
        "response": {"status_code": 200, "request_id": "r1", "body": said},
        "error": None,
    }
    wrong = {"error": {"message": "too long", "code": "context_length_exceeded"}}
    errors = [
        {"custom_id": "2", "response": {"status_code": 400, "request_id": "r2", "body": wrong}},
        {"custom_id": "3", "response": None, "error": {"code": "batch_expired", "message": "too late"}},
    ]
    batch = ended(output_file_id="o", error_file_id="e")
    answers, calls = through(
        BATCHER.results(batch),
        answered(json.dumps(output).encode() + b"\n"),
        answered("\n".join(json.dumps(e) for e in errors).encode()),
    )
    assert [c.url.rpartition("v1/")[2] for c in calls] == ["files/o/content", "files/e/content"]
    reply = BATCHER.decode(ASKED, answers["1"])
    assert (reply.choices[0].text, reply.request_id) == ("4", "r1")
    with pytest.raises(ProviderError) as caught:
        BATCHER.decode(ASKED, answers["2"])
    assert (caught.value.kind, caught.value.billed) == (Kind.CONTEXT_OVERFLOW, "no")
    assert answers["3"] is None


@pytest.mark.parametrize(
    ("status", "kind"), [(401, Kind.KEY), (429, Kind.RATE_LIMIT), (503, Kind.OVERLOADED), (404, Kind.MODEL)]
)
def test_a_refusal_is_what_it_would_be_for_a_plain_request(status: int, kind: Kind) -> None:
    steps = BATCHER.poll("b")
    next(steps)
    with pytest.raises(ProviderError) as caught:
        steps.send(answered({"error": {"message": "no"}}, status))
    assert caught.value.kind is kind


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"object": "batch"}'])
def test_an_answer_that_is_no_batch_is_a_bad_body(body: bytes) -> None:
    steps = BATCHER.poll("b")
    next(steps)
    with pytest.raises(ProviderError) as caught:
        steps.send(answered(body))
    assert (caught.value.kind, caught.value.retryable) == (Kind.BAD_BODY, True)
