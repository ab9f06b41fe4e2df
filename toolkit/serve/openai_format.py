"""The OpenAI wire format from the server's side: bodies in, bodies and errors out, and the bill.

Format as documented at platform.openai.com/docs/api-reference (chat, completions), with vLLM's `top_k`.
A parameter that is not honoured is refused by name; nothing is ignored.
"""

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from starlette.responses import JSONResponse

from toolkit.types import PICO, Message, Reply, Request, Usage

SAMPLING = frozenset({"n", "temperature", "top_k", "top_p", "stop", "max_tokens", "seed"})
ROLES = ("system", "user", "assistant")
HARMLESS = {"stream": False, "logprobs": False, "user": None, "echo": False}  # accepted at these values only


class BadParameter(Exception):
    """The body asks for something this server does not do; `param` names it."""

    def __init__(self, param: str, message: str, status: int = 400, code: str | None = None) -> None:
        super().__init__(message)
        self.param, self.status, self.code = param, status, code

    def response(self) -> JSONResponse:
        return error(self.status, str(self), param=self.param, code=self.code)


def error(
    status: int,
    message: str,
    *,
    kind: str = "invalid_request_error",
    param: str | None = None,
    code: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    body = {"error": {"message": message, "type": kind, "param": param, "code": code}}
    return JSONResponse(body, status, headers=headers)


def parse(raw: bytes, *, chat: bool, honoured: frozenset[str] = SAMPLING, max_n: int = 128) -> Request:
    """The request in a body of `/v1/chat/completions` (chat) or `/v1/completions`."""
    try:
        body = json.loads(raw)
    except ValueError:
        raise BadParameter("body", "the body is not JSON") from None
    if not isinstance(body, dict):
        raise BadParameter("body", "the body is not a JSON object")
    asked = {key: value for key, value in body.items() if value is not None}
    if "max_completion_tokens" in asked:
        asked["max_tokens"] = asked.pop("max_completion_tokens")
    _refuse_unknown(asked, honoured | {"model", "messages" if chat else "prompt"})
    return Request(
        model=_typed(asked, "model", str, ""),
        messages=_messages(asked.get("messages")) if chat else (),
        prompt=None if chat else _typed(asked, "prompt", str, ""),
        n=_bounded(asked, "n", int, 1, 1, max_n) or 1,
        max_tokens=_bounded(asked, "max_tokens", int, None, 1, 1_000_000),
        temperature=_bounded(asked, "temperature", float, None, 0, 2),
        top_p=_bounded(asked, "top_p", float, None, 0, 1),
        top_k=_bounded(asked, "top_k", int, None, -1, 1_000_000),
        stop=_stop(asked.get("stop", [])),
        seed=_bounded(asked, "seed", int, None, -(2**63), 2**64 - 1),
    )


def completion(request: Request, reply: Reply, *, chat: bool) -> dict[str, Any]:
    """The body of a successful answer."""
    choices = []
    for index, choice in enumerate(reply.choices):
        said: dict[str, Any] = {"index": index, "finish_reason": choice.finish.value, "logprobs": None}
        if chat:
            said["message"] = {"role": "assistant", "content": choice.text}
            if choice.reasoning:
                said["message"]["reasoning_content"] = choice.reasoning
        else:
            said["text"] = choice.text
        choices.append(said)
    assert reply.usage is not None
    return {
        "id": reply.request_id,
        "object": "chat.completion" if chat else "text_completion",
        "created": int(time.time()),
        "model": reply.model_version or request.model,
        "choices": choices,
        "usage": usage_body(reply.usage),
    }


def usage_body(usage: Usage) -> dict[str, Any]:
    """`completion_tokens` includes the thinking, as OpenAI counts it."""
    completion_tokens = usage.output + usage.thinking
    return {
        "prompt_tokens": usage.prompt,
        "completion_tokens": completion_tokens,
        "total_tokens": usage.prompt + completion_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached},
        "completion_tokens_details": {"reasoning_tokens": usage.thinking},
    }


@dataclass(slots=True)
class Served:
    """What one model served and billed."""

    requests: int = 0
    draws: int = 0
    prompt: int = 0
    cached: int = 0
    output: int = 0
    thinking: int = 0
    pico: int = 0
    unmatched: int = 0

    def add(self, other: "Served") -> None:
        for f in fields(self):
            setattr(self, f.name, getattr(self, f.name) + getattr(other, f.name))

    def as_json(self) -> dict[str, Any]:
        tokens = {k: getattr(self, k) for k in ("prompt", "cached", "output", "thinking")}
        return {
            "requests": self.requests,
            "draws": self.draws,
            "tokens": tokens,
            "usd": self.pico / PICO,
            "pico": self.pico,
            "unmatched": self.unmatched,
        }


@dataclass(slots=True)
class Tally:
    """The server's own account, the outside truth of `GET /sim/stats`.

    With a journal it survives the server: each answer is appended (one JSON line) before it leaves,
    so nothing can have been billed that the journal does not show. A torn line is an answer that never left.
    """

    journal: Path | None = None
    models: dict[str, Served] = field(default_factory=dict)
    _file: int | None = None

    def __post_init__(self) -> None:
        if self.journal is None:
            return
        written = self.journal.read_bytes() if self.journal.exists() else b""
        for line in written.split(b"\n"):
            if served := _journal_line(line):
                self._count(*served)
        self._file = os.open(self.journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        if written and not written.endswith(b"\n"):
            os.write(self._file, b"\n")  # so that the next line stands alone

    def bill(self, model: str, usage: Usage, draws: int, pico: int, *, unmatched: int = 0) -> None:
        served = Served(1, draws, usage.prompt, usage.cached, usage.output, usage.thinking, pico, unmatched)
        if self._file is not None:
            line = {"model": model, **{f.name: getattr(served, f.name) for f in fields(served)}}
            os.write(self._file, (json.dumps(line) + "\n").encode())
        self._count(model, served)

    def as_json(self) -> dict[str, Any]:
        total = Served()
        for served in self.models.values():
            total.add(served)
        return total.as_json() | {"models": {name: s.as_json() for name, s in self.models.items()}}

    def _count(self, model: str, served: Served) -> None:
        self.models.setdefault(model, Served()).add(served)


def _journal_line(line: bytes) -> tuple[str, Served] | None:
    """Model and bill, or None for a line whose writer was killed."""
    try:
        values = json.loads(line)
        return values.pop("model"), Served(**values)
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def _refuse_unknown(asked: Mapping[str, Any], known: frozenset[str]) -> None:
    for key, value in asked.items():
        if key in known or (key in HARMLESS and value in (HARMLESS[key], None)):
            continue
        if key == "user":
            continue
        raise BadParameter(key, f"unsupported parameter: {key!r} is not honoured by this server")


def _messages(value: Any) -> tuple[Message, ...]:
    if not isinstance(value, list) or not value:
        raise BadParameter("messages", "'messages' must be a list with at least one message")
    return tuple(_message(m) for m in value)


def _message(value: Any) -> Message:
    if not isinstance(value, dict) or "role" not in value or "content" not in value:
        raise BadParameter("messages", "'messages': each message needs 'role' and 'content'")
    role = value["role"]
    if role not in ROLES:
        raise BadParameter("messages", f"'messages': the role of a message must be one of {', '.join(ROLES)}")
    return Message(role, _text(value["content"]))


def _text(content: Any) -> str:
    """A text, or OpenAI's list of text parts, joined."""
    if isinstance(content, str):
        return content
    parts: list[Any] = content if isinstance(content, list) and content else [None]
    if not all(
        isinstance(p, dict) and p.get("type") == "text" and isinstance(p.get("text"), str) for p in parts
    ):
        raise BadParameter(
            "messages", "'messages': the content of a message must be a string or a list of text parts"
        )
    return "".join(p["text"] for p in parts)


def _stop(value: Any) -> tuple[str, ...]:
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise BadParameter("stop", "'stop' must be a string or a list of strings")
    return tuple(texts)


def _typed(asked: Mapping[str, Any], key: str, kind: type, default: Any) -> Any:
    value = asked.get(key, default)
    if not isinstance(value, kind):
        raise BadParameter(key, f"{key!r} must be a {kind.__name__}")
    return value


def _bounded(asked: Mapping[str, Any], key: str, kind: type, default: Any, low: float, high: float) -> Any:
    value = asked.get(key, default)
    if value is None:
        return None
    whole = isinstance(value, int) and not isinstance(value, bool)
    if not (whole or (kind is float and isinstance(value, float))) or not low <= value <= high:
        raise BadParameter(key, f"{key!r} must be a {kind.__name__} between {low} and {high}")
    return value
