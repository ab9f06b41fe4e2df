"""The OpenAI chat and completions format, as OpenAI, vLLM, Together, Groq, OpenRouter and others speak it.

platform.openai.com/docs/api-reference/chat and /completions; docs.vllm.ai "OpenAI-Compatible Server"
for `top_k` (both read 2026-11-21).
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import lru_cache
from time import time
from typing import Any
from urllib.parse import urlsplit

from toolkit.errors import Kind, ProviderError, redact
from toolkit.provider import Capabilities
from toolkit.types import Choice, Finish, HttpCall, HttpReply, Reply, Request, Usage

HONOURED = frozenset({"n", "max_tokens", "temperature", "top_p", "top_k", "stop", "seed", "extra"})
# Hosts that refuse or ignore a parameter of ours: refused here by name before anything is sent.
NOT_HONOURED = {
    "api.openai.com": frozenset({"top_k"}),
    "api.groq.com": frozenset({"top_k", "n"}),
    "generativelanguage.googleapis.com": frozenset({"top_k", "seed"}),
}
FINISHES = {
    "stop": Finish.STOP,
    "eos": Finish.STOP,  # Together's word
    "length": Finish.LENGTH,
    "content_filter": Finish.FILTER,
}
# What some servers say of an answer: the settings are those they applied.
TOLD = frozenset({"system_fingerprint", "service_tier", "temperature", "top_p", "top_k", "seed"})
LOCKED = frozenset({"unsupported_value", "unsupported_parameter"})  # OpenAI's words, of its reasoning models
_NUMBER = re.compile(r"[0-9]+(\.[0-9]+)?")
UNKNOWN_FATE = frozenset({504, 524})  # a gateway gave up waiting; the model behind it may have answered


@dataclass(frozen=True, slots=True)
class OpenAICompatible:
    """One base URL (ending in /v1 or the vendor's equivalent) and its key."""

    base_url: str
    key: str | None = None

    def capabilities(self, model: str) -> Capabilities:
        return _abilities(self._host)

    def encode(self, request: Request) -> HttpCall:
        self._refuse_unsupported(request)
        raw = request.prompt is not None
        body: dict[str, Any] = {"model": request.model}
        body |= {"prompt": request.prompt} if raw else {"messages": _messages(request)}
        body |= {"n": request.n} if request.n > 1 else {}
        body |= _given(request, "temperature", "top_p", "top_k", "seed")
        if request.max_tokens is not None:
            body["max_tokens" if raw else self._length_key] = request.max_tokens
        if request.stop:
            body["stop"] = list(request.stop)
        body |= request.extra
        path = "completions" if raw else "chat/completions"
        headers = {"content-type": "application/json", "accept": "application/json"}
        if self.key:
            headers["authorization"] = f"Bearer {self.key}"
        return HttpCall(f"{self.base_url.rstrip('/')}/{path}", headers, json.dumps(body).encode())

    def decode(self, request: Request, reply: HttpReply) -> Reply:
        body = _json(reply)
        if reply.status != 200 or body.get("error"):  # some servers send `error: null` with an answer
            raise _refusal(request, reply, body, self.key)
        try:
            choices = tuple(_choice(c) for c in body["choices"])
            usage = _usage(body.get("usage"))
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ProviderError(
                Kind.BAD_BODY, f"the answer lacks {error}", retryable=True, status=reply.status
            ) from error
        effective = {name: body[name] for name in TOLD & body.keys() if body[name] is not None}
        limits = _limits(reply.headers)
        request_id = reply.headers.get("x-request-id") or body.get("id") or ""
        return Reply(choices, usage, body.get("model") or "", request_id, effective, limits)

    @property
    def _host(self) -> str:
        return _hostname(self.base_url)

    @property
    def _length_key(self) -> str:
        """OpenAI's reasoning models refuse the older name in chats; other servers know only that."""
        return "max_completion_tokens" if self._host == "api.openai.com" else "max_tokens"

    def _refuse_unsupported(self, request: Request) -> None:
        honours = self.capabilities(request.model).honours
        asked = {
            name
            for name in ("temperature", "top_p", "top_k", "seed", "thinking")
            if getattr(request, name) is not None
        }
        asked |= {"n"} if request.n > 1 else set()
        asked |= {"stop"} if request.stop else set()
        for name in sorted(asked - honours):
            raise ProviderError(
                Kind.UNSUPPORTED,
                f"{request.model}: {name} is not honoured by {self._host}: leave it out of this model's decoding",
                scope="model",
                billed="no",
            )


@lru_cache
def _hostname(base_url: str) -> str:
    return urlsplit(base_url).hostname or ""


@lru_cache
def _abilities(host: str) -> Capabilities:
    honours = HONOURED - NOT_HONOURED.get(host, frozenset())
    return Capabilities(max_n=128 if "n" in honours else 1, honours=honours, completions=True)


def _messages(request: Request) -> list[dict[str, str]]:
    return [{"role": m.role, "content": m.content} for m in request.messages]


def _given(request: Request, *names: str) -> dict[str, Any]:
    return {name: value for name in names if (value := getattr(request, name)) is not None}


def _json(reply: HttpReply) -> dict[str, Any]:
    try:
        body = json.loads(reply.body)
    except ValueError:
        if reply.status != 200:
            return {}  # a proxy's HTML page: the status says enough
        raise ProviderError(Kind.BAD_BODY, "the answer is not JSON", retryable=True, status=200) from None
    if reply.status != 200:  # Google wraps its refusals in a list
        body = body[0] if isinstance(body, list) and body else body
        return body if isinstance(body, dict) else {}
    if not isinstance(body, dict):
        raise ProviderError(Kind.BAD_BODY, "the answer is not a JSON object", retryable=True, status=200)
    return body


def _choice(raw: Mapping[str, Any]) -> Choice:
    finish = FINISHES.get(raw.get("finish_reason") or "", Finish.OTHER)
    if "message" not in raw:
        return Choice(raw["text"] or "", finish)
    message = raw["message"]
    reasoning = message.get("reasoning_content") or message.get("reasoning") or ""
    return Choice(message.get("content") or "", finish, reasoning)


def _usage(raw: Mapping[str, Any] | None) -> Usage | None:
    if not raw or raw.get("prompt_tokens") is None:
        return None
    thinking = int((raw.get("completion_tokens_details") or {}).get("reasoning_tokens") or 0)
    cached = int((raw.get("prompt_tokens_details") or {}).get("cached_tokens") or 0)
    prompt, completion = int(raw["prompt_tokens"]), int(raw.get("completion_tokens") or 0)
    if raw.get("completion_tokens") is None and raw.get("total_tokens") is None:
        return None  # half an account would settle the answer as free
    # Some vendors (Google, xAI) leave thoughts out of completion_tokens; the total has them, and the bill.
    apart = int(raw.get("total_tokens") or 0) - prompt - completion
    if apart > 0:
        return Usage(prompt, completion, cached, apart)
    return Usage(prompt, max(completion - thinking, 0), cached, thinking)


def _refusal(request: Request, reply: HttpReply, body: Mapping[str, Any], key: str | None) -> ProviderError:
    """The error in an answer, with what to do about it as data."""
    detail = body.get("error")
    said = (
        detail
        if isinstance(detail, dict)
        else {"message": detail or body.get("message") or body.get("detail")}
    )
    status, code = reply.status, str(said.get("code") or said.get("type") or "")
    reason = " ".join(str(said.get("message") or "no message").split())
    message = redact(f"{request.model}: {reason} (HTTP {status})", (key or "",))  # some servers repeat it

    def error(kind: Kind, **data: Any) -> ProviderError:
        limits = _limits(reply.headers)
        return ProviderError(kind, message, status=status, limits=limits, **({"billed": "no"} | data))

    if status == 401 or (status == 403 and "model" not in code):
        return error(Kind.KEY, scope="account")
    if status == 402 or code == "insufficient_quota":
        return error(Kind.CREDIT, scope="account")
    if status in (403, 404):
        return error(Kind.MODEL, scope="model")
    if status == 429:
        return error(Kind.RATE_LIMIT, retryable=True, retry_after=_retry_after(reply.headers))
    if code in LOCKED:
        return error(Kind.UNSUPPORTED, scope="model")
    if status == 413 or code == "context_length_exceeded" or _overlong(status, reason):
        return error(Kind.CONTEXT_OVERFLOW)
    if code == "content_filter":
        return error(Kind.CONTENT_FILTER)
    if status >= 500 or status in (408, 409, 425):
        billed = "unknown" if status in UNKNOWN_FATE else "no"
        return error(Kind.OVERLOADED, retryable=True, retry_after=_retry_after(reply.headers), billed=billed)
    if status == 200:
        return error(Kind.OVERLOADED, retryable=True, billed="unknown")
    return error(Kind.BAD_REQUEST, scope="model")


def _limits(headers: Mapping[str, str]) -> dict[str, str]:
    return {k: v for k, v in headers.items() if k.startswith(("x-ratelimit-", "anthropic-ratelimit-"))}


def _overlong(status: int, reason: str) -> bool:
    """vLLM has no code for it: one prompt is too long, which is no fault of the model's other requests."""
    return status == 400 and "context length" in reason.lower()


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds the server asks for: a number, or a date (RFC 9110 section 10.2.3)."""
    value = headers.get("retry-after", "")
    for text, per_second in ((headers.get("retry-after-ms", ""), 1000), (value, 1)):
        if _NUMBER.fullmatch(text):
            return float(text) / per_second
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time())
    except ValueError:
        return None
