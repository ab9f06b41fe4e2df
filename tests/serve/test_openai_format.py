"""The OpenAI format from the server's side: bodies in, errors by name, and a bill that survives a crash."""

import json
from pathlib import Path
from typing import Any

import pytest

from toolkit.serve.openai_format import BadParameter, Tally, completion, parse
from toolkit.types import Choice, Finish, Message, Reply, Request, Usage

USAGE = Usage(prompt=10, output=20, cached=3, thinking=5)


def chat(**fields: Any) -> bytes:
    return json.dumps({"model": "m", "messages": [{"role": "user", "content": "Why?"}], **fields}).encode()


def raw(**fields: Any) -> bytes:
    return json.dumps({"model": "m", "prompt": "Q: Why?", **fields}).encode()


# --- bodies --------------------------------------------------------------------------------------


def test_a_chat_is_read_whole() -> None:
    fields = {
        "n": 3,
        "temperature": 1,
        "top_p": 0.9,
        "top_k": 5,
        "max_tokens": 7,
        "seed": 0,
        "stop": ["a", "b"],
    }
    assert parse(chat(**fields), chat=True) == Request(
        "m",
        messages=(Message("user", "Why?"),),
        n=3,
        max_tokens=7,
        temperature=1,
        top_p=0.9,
        top_k=5,
        stop=("a", "b"),
        seed=0,
    )


def test_a_raw_prompt_is_read_whole() -> None:
    assert parse(raw(stop="\n"), chat=False) == Request("m", prompt="Q: Why?", stop=("\n",))


def test_null_is_not_given() -> None:
    nulls = dict.fromkeys(["n", "stop", "seed", "temperature", "max_tokens", "logit_bias", "user"])
    assert parse(chat(**nulls), chat=True) == parse(chat(), chat=True)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"max_completion_tokens": 9}, 9),
        ({"max_completion_tokens": 9, "max_tokens": 5}, 9),
        ({"max_completion_tokens": None, "max_tokens": 5}, 5),
    ],
)
def test_the_newer_name_of_max_tokens_counts_where_it_is_given(fields: dict[str, Any], expected: int) -> None:
    assert parse(chat(**fields), chat=True).max_tokens == expected


def test_text_parts_are_one_text() -> None:
    parts = [{"type": "text", "text": "Why "}, {"type": "text", "text": "not?"}]
    request = parse(chat(messages=[{"role": "user", "content": parts}]), chat=True)
    assert request.messages == (Message("user", "Why not?"),)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"stop": 5}, "stop"),
        ({"stop": ["a", 5]}, "stop"),
        ({"stop": {"a": 1}}, "stop"),
        ({"messages": "Why?"}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": None}, "messages"),
        ({"messages": ["Why?"]}, "messages"),
        ({"messages": [{"role": "user"}]}, "messages"),
        ({"messages": [{"content": "Why?"}]}, "messages"),
        ({"messages": [{"role": "robot", "content": "Why?"}]}, "messages"),
        ({"messages": [{"role": ["user"], "content": "Why?"}]}, "messages"),
        ({"messages": [{"role": "user", "content": None}]}, "messages"),
        ({"messages": [{"role": "user", "content": 7}]}, "messages"),
        ({"messages": [{"role": "user", "content": []}]}, "messages"),
        ({"messages": [{"role": "user", "content": ["Why?"]}]}, "messages"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages"),
        ({"model": 3}, "model"),
        ({"n": 0}, "n"),
        ({"n": 129}, "n"),
        ({"n": True}, "n"),
        ({"n": 1.5}, "n"),
        ({"n": "3"}, "n"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"temperature": 2.1}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"top_p": "high"}, "top_p"),
        ({"seed": 2**65}, "seed"),
        ({"stream": True}, "stream"),
        ({"logprobs": True}, "logprobs"),
        ({"tools": []}, "tools"),
    ],
    ids=str,
)
def test_what_cannot_be_served_is_a_400_that_names_the_parameter(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(BadParameter) as bad:
        parse(chat(**fields), chat=True)
    assert (bad.value.param, bad.value.status) == (param, 400)
    assert param in str(bad.value)
    answer = bad.value.response()
    assert answer.status_code == 400
    assert json.loads(bytes(answer.body))["error"]["param"] == param


@pytest.mark.parametrize("prompt", [["a", "b"], [1, 2], 5])
def test_a_prompt_that_is_no_text_is_refused(prompt: Any) -> None:
    with pytest.raises(BadParameter, match="'prompt' must be a str"):
        parse(raw(prompt=prompt), chat=False)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"3", b"\xff", b"null"])
def test_a_body_that_is_no_object_is_refused(body: bytes) -> None:
    with pytest.raises(BadParameter, match="the body is not"):
        parse(body, chat=True)


def test_a_parameter_this_server_honours_not_is_refused_and_not_ignored() -> None:
    with pytest.raises(BadParameter, match="top_k"):
        parse(chat(top_k=3), chat=True, honoured=frozenset({"n"}))


@pytest.mark.parametrize("is_chat", [True, False])
def test_an_answer_counts_thoughts_as_openai_does(is_chat: bool) -> None:
    reply = Reply((Choice("42", Finish.LENGTH, "Hm."),), USAGE, "m-1", "id-1")
    body = completion(Request("m"), reply, chat=is_chat)
    choice = body["choices"][0]
    assert body["usage"]["completion_tokens"] == 25
    assert body["usage"]["total_tokens"] == 35
    assert body["usage"]["completion_tokens_details"] == {"reasoning_tokens": 5}
    assert body["usage"]["prompt_tokens_details"] == {"cached_tokens": 3}
    assert (body["id"], body["model"], choice["finish_reason"]) == ("id-1", "m-1", "length")
    if is_chat:
        assert choice["message"] == {"role": "assistant", "content": "42", "reasoning_content": "Hm."}
    else:
        assert choice["text"] == "42"


# --- the bill ------------------------------------------------------------------------------------


def billed(journal: Path | None, answers: int = 1) -> Tally:
    tally = Tally(journal)
    for _ in range(answers):
        tally.bill("m", USAGE, draws=4, pico=700)
    return tally


def test_the_bill_is_per_model_and_in_total() -> None:
    tally = billed(None, 2)
    tally.bill("other", USAGE, draws=1, pico=10**12, unmatched=1)
    account = tally.as_json()
    assert (account["requests"], account["draws"], account["unmatched"]) == (3, 9, 1)
    assert account["tokens"] == {"prompt": 30, "cached": 9, "output": 60, "thinking": 15}
    assert (account["models"]["m"]["pico"], account["models"]["other"]["usd"]) == (1400, 1.0)


def test_a_journal_survives_the_server(tmp_path: Path) -> None:
    journal = tmp_path / "served.jsonl"
    before = billed(journal, 3)
    again = Tally(journal)
    assert again.as_json() == before.as_json()
    again.bill("other", USAGE, draws=1, pico=1)
    assert Tally(journal).as_json() == again.as_json()


def test_two_servers_can_share_a_journal(tmp_path: Path) -> None:
    journal = tmp_path / "served.jsonl"
    one, two = Tally(journal), Tally(journal)
    one.bill("a", USAGE, draws=1, pico=1)
    two.bill("b", USAGE, draws=1, pico=1)
    assert set(Tally(journal).models) == {"a", "b"}


@pytest.mark.parametrize("kept", [1, 10, -2])
def test_a_server_killed_while_writing_starts_again_without_the_torn_line(tmp_path: Path, kept: int) -> None:
    """The answer of a torn line never left, so its user was not billed."""
    journal = tmp_path / "served.jsonl"
    billed(journal, 3)
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:2]) + lines[2][:kept])
    again = Tally(journal)
    assert again.as_json()["requests"] == 2
    again.bill("m", USAGE, draws=4, pico=700)
    assert Tally(journal).as_json() == again.as_json()
    assert again.as_json()["requests"] == 3


def test_a_line_that_lacks_only_its_end_is_counted_once(tmp_path: Path) -> None:
    journal = tmp_path / "served.jsonl"
    billed(journal, 2)
    journal.write_bytes(journal.read_bytes()[:-1])
    assert billed(journal).as_json()["requests"] == Tally(journal).as_json()["requests"] == 3
