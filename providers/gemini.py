"""Gemini's native `generateContent`, version v1beta.

ai.google.dev/api/generate-content, /gemini-api/docs/thinking and /docs/troubleshooting (read 2026-11-21).
Billing of what is not an answer: refusals (400, 429, 5xx) are free; a prompt that was blocked comes with
status 200 and may be charged, so it counts as spent (`billed` yes with a usage, unknown without one).
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import lru_cache
from time import time
from typing import Any

from toolkit.errors import Kind, ProviderError, redact
from toolkit.provider import Capabilities
from toolkit.types import Choice, Finish, HttpCall, HttpReply, Reply, Request, Usage

BASE_URL = "https://generativelanguage.googleapis.com/v1beta"
KEY_ENV = "GEMINI_API_KEY"
MOST_CANDIDATES = 8  # 2.5 and older; newer models refuse more than one (googleapis/js-genai#1609)
MOST_STOPS = 5
THINKING_SOURCE = "ai.google.dev/gemini-api/docs/thinking, read 2026-11-21"
NOTHING_CAN_BE_OFF = (128, 32_768)  # thinking tokens of 2.5 Pro: it cannot be told not to think
BUDGETS = {  # least and most thinking tokens; 0 switches thinking off where `least` is not pro's
    "pro": NOTHING_CAN_BE_OFF,
    "flash": (1, 24_576),
    "flash-lite": (512, 24_576),
}
SAMPLED = frozenset(
    {"temperature", "top_p", "top_k"}
)  # ignored by 3.5 Flash-Lite and later, as its page says
FINISHES = {
    "STOP": Finish.STOP,
    "MAX_TOKENS": Finish.LENGTH,
    "SAFETY": Finish.FILTER,
    "RECITATION": Finish.FILTER,
    "BLOCKLIST": Finish.FILTER,
    "PROHIBITED_CONTENT": Finish.FILTER,
    "SPII": Finish.FILTER,
}
CONFIG = {
    "max_tokens": "maxOutputTokens",
    "temperature": "temperature",
    "top_p": "topP",
    "top_k": "topK",
    "seed": "seed",
}
_VERSION = re.compile(r"gemini-(\d+)(?:\.(\d+))?-(pro|flash-lite|flash)?")
_SECONDS = re.compile(r"([0-9]+(?:\.[0-9]+)?)s?")
_OVERLONG = re.compile(
    r"token count.*exceeds|exceeds the maximum number of (?:input )?tokens|context is too long", re.I
)
# Any exceeded quota says "check your plan and billing details": that alone is no empty account.
_UNPAID = re.compile(r"prepay|credits? (?:is|are|have been) (?:depleted|exhausted)|enable billing", re.I)


@dataclass(frozen=True, slots=True)
class Gemini:
    """The Gemini API behind one key."""

    base_url: str = BASE_URL
    key: str | None = None

    def capabilities(self, model: str) -> Capabilities:
        return _abilities(_bare(model))

    def encode(self, request: Request) -> HttpCall:
        model = _bare(request.model)
        _refuse_unsupported(request, self.capabilities(model))
        body: dict[str, Any] = {"contents": _contents(request)}
        system = [{"text": m.content} for m in request.messages if m.role == "system"]
        if system:
            body["systemInstruction"] = {"parts": system}
        config = _config(request, model)
        if config:
            body["generationConfig"] = config
        body = _merged(body, request.extra)
        headers = {"content-type": "application/json", "accept": "application/json"}
        if self.key:
            headers["x-goog-api-key"] = self.key
        url = f"{self.base_url.rstrip('/')}/models/{model}:generateContent"
        return HttpCall(url, headers, json.dumps(body).encode())

    def decode(self, request: Request, reply: HttpReply) -> Reply:
        body = _json(reply)
        if reply.status != 200 or body.get("error"):
            raise _refusal(request, reply, body, self.key)
        try:
            usage = _usage(body.get("usageMetadata"))
            candidates = body.get("candidates") or []
            if not candidates:
                raise _nothing(request, body, usage)
            choices = tuple(_choice(candidate) for candidate in candidates)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ProviderError(
                Kind.BAD_BODY, f"the answer lacks {error}", retryable=True, status=reply.status
            ) from error
        limits = _limits(reply.headers)
        request_id = body.get("responseId") or reply.headers.get("x-request-id") or ""
        return Reply(choices, usage, body.get("modelVersion") or "", request_id, _effective(body), limits)


@lru_cache
def _abilities(model: str) -> Capabilities:
    """What the name tells. Aliases ("gemini-flash-latest") point at ever newer models: the least is taken."""
    version = _version(model)
    honours = {"max_tokens", "temperature", "top_p", "top_k", "stop", "seed", "extra"}
    if version >= (3, 5):
        honours -= SAMPLED
    if _budget(model):
        honours.add("thinking")
    if (0, 0) < version < (3, 0):
        return Capabilities(max_n=MOST_CANDIDATES, honours=frozenset(honours | {"n"}))
    return Capabilities(max_n=1, honours=frozenset(honours))


def _bare(model: str) -> str:
    return model.removeprefix("models/")


def _version(model: str) -> tuple[int, int]:
    """(2, 5) of gemini-2.5-flash; (0, 0) where the name does not say."""
    found = _VERSION.match(model)
    return (int(found[1]), int(found[2] or 0)) if found else (0, 0)


def _budget(model: str) -> tuple[int, int] | None:
    """Least and most thinking tokens one may ask for; None where a number of tokens is not how one asks."""
    found = _VERSION.match(model)
    return BUDGETS.get(found[3] or "") if found and _version(model) == (2, 5) else None


def _refuse_unsupported(request: Request, able: Capabilities) -> None:
    asked = {
        name: value
        for name in ("temperature", "top_p", "top_k", "seed", "thinking", "prompt")
        if (value := getattr(request, name)) is not None
    }
    asked |= {"n": request.n} if request.n > 1 else {}
    asked |= {"stop": request.stop} if request.stop else {}
    for name in sorted(asked):
        if why := _unsupported(request, name, able):
            said = f"{request.model}: {name} is not honoured by Gemini: {why}"
            raise ProviderError(Kind.UNSUPPORTED, said, scope="model", billed="no")


def _unsupported(request: Request, name: str, able: Capabilities) -> str:
    """Why a parameter that was given cannot be honoured, with the mend; empty if it can."""
    if name == "prompt":
        return "it has no raw completions: leave api out"
    if name == "thinking":
        return unthinkable(request.model, request.thinking or 0)
    if name == "stop" and len(request.stop) > MOST_STOPS:
        return f"it takes {MOST_STOPS} stop strings, not {len(request.stop)}"
    if name == "n" and request.n > able.max_n:
        return f"this model gives {able.max_n} at most: set draws_per_request"
    return "" if name in able.honours else "leave it out of this model's decoding"


def unthinkable(model: str, tokens: int) -> str:
    """Why a model cannot be given this thinking budget (0: told not to think), with the mend; empty if it can."""
    model = _bare(model)
    budget = _budget(model)
    if budget is None and _version(model) >= (3, 0):
        return "it takes a level: extra: {generationConfig: {thinkingConfig: {thinkingLevel: low}}}"
    if budget is None:
        return "a budget of thinking tokens is known for the 2.5 models alone: leave it out"
    least, most = budget
    if budget == NOTHING_CAN_BE_OFF and tokens < least:
        return f"this model cannot stop thinking: give {least} to {most} tokens, or leave it out"
    if tokens and not least <= tokens <= most:
        return f"this model takes 0 or {least} to {most} tokens"
    return ""


def _contents(request: Request) -> list[dict[str, Any]]:
    roles = {"user": "user", "assistant": "model"}
    said = [m for m in request.messages if m.role in roles]
    return [{"role": roles[m.role], "parts": [{"text": m.content}]} for m in said]


def _config(request: Request, model: str) -> dict[str, Any]:
    given = {
        theirs: value for ours, theirs in CONFIG.items() if (value := getattr(request, ours)) is not None
    }
    if request.n > 1:
        given["candidateCount"] = request.n
    if request.stop:
        given["stopSequences"] = list(request.stop)
    thinking = _thinking(request, model)
    return given | ({"thinkingConfig": thinking} if thinking else {})


def _thinking(request: Request, model: str) -> dict[str, Any]:
    """The budget, and a wish to see the thoughts wherever the model has some: asking others is refused."""
    asked = {} if request.thinking is None else {"thinkingBudget": request.thinking}
    by_default = _version(model) >= (2, 5) and not model.startswith("gemini-2.5-flash-lite")
    thinks = request.thinking > 0 if request.thinking is not None else by_default
    return asked | ({"includeThoughts": True} if thinks else {})


def _merged(body: Mapping[str, Any], extra: Mapping[str, Any]) -> dict[str, Any]:
    """`extra` over the body, object by object: it may add one key to generationConfig."""
    merged = dict(body)
    for key, value in extra.items():
        mine = merged.get(key)
        both = isinstance(mine, Mapping) and isinstance(value, Mapping)
        merged[key] = _merged(mine, value) if both else value  # type: ignore[arg-type]
    return merged


def _json(reply: HttpReply) -> dict[str, Any]:
    try:
        body = json.loads(reply.body)
    except ValueError:
        if reply.status != 200:
            return {}  # a proxy's HTML page: the status says enough
        raise ProviderError(Kind.BAD_BODY, "the answer is not JSON", retryable=True, status=200) from None
    body = body[0] if isinstance(body, list) and body else body  # refusals may come in a list
    if isinstance(body, dict):
        return body
    if reply.status != 200:
        return {}
    raise ProviderError(Kind.BAD_BODY, "the answer is not a JSON object", retryable=True, status=200)


def _choice(raw: Mapping[str, Any]) -> Choice:
    """One candidate. Without parts (all tokens went into thoughts, or it was filtered) its text is empty."""
    parts = (raw.get("content") or {}).get("parts") or []
    text = "".join(part.get("text") or "" for part in parts if not part.get("thought"))
    thoughts = "".join(part.get("text") or "" for part in parts if part.get("thought"))
    return Choice(text, FINISHES.get(raw.get("finishReason") or "", Finish.OTHER), thoughts)


def _usage(raw: Mapping[str, Any] | None) -> Usage | None:
    """`promptTokenCount` includes what was cached, `candidatesTokenCount` leaves the thoughts out."""
    if not raw or raw.get("promptTokenCount") is None:
        return None

    def count(name: str) -> int:
        return int(raw.get(name) or 0)

    return Usage(
        prompt=count("promptTokenCount") + count("toolUsePromptTokenCount"),
        output=count("candidatesTokenCount"),
        cached=count("cachedContentTokenCount"),
        thinking=count("thoughtsTokenCount"),
    )


def _effective(body: Mapping[str, Any]) -> dict[str, Any]:
    tier = (body.get("usageMetadata") or {}).get("serviceTier") or body.get("serviceTier")
    return {"service_tier": tier} if tier else {}


def _nothing(request: Request, body: Mapping[str, Any], usage: Usage | None) -> ProviderError:
    """An answer without a candidate: the prompt was blocked, or something is amiss."""
    reason = (body.get("promptFeedback") or {}).get("blockReason")
    if not reason:
        return ProviderError(Kind.BAD_BODY, "the answer has no candidates", retryable=True, status=200)
    said = f"{request.model}: the prompt was blocked ({reason})"
    return ProviderError(Kind.CONTENT_FILTER, said, billed="yes" if usage else "unknown", status=200)


def _refusal(request: Request, reply: HttpReply, body: Mapping[str, Any], key: str | None) -> ProviderError:
    """The error in an answer, with what to do about it as data."""
    detail = body.get("error")
    said: Mapping[str, Any] = detail if isinstance(detail, dict) else {"message": detail}
    details = [d for d in said.get("details") or () if isinstance(d, dict)]
    status, reason = reply.status, " ".join(str(said.get("message") or "no message").split())
    state = str(said.get("status") or "")
    message = redact(f"{request.model}: {reason} (HTTP {status})", (key or "",))

    def error(kind: Kind, **data: Any) -> ProviderError:
        limits = _limits(reply.headers)
        return ProviderError(kind, message, status=status, limits=limits, **({"billed": "no"} | data))

    reasons = {str(d.get("reason", "")) for d in details}
    if status == 402 or "BILLING_DISABLED" in reasons or (400 <= status < 500 and _UNPAID.search(reason)):
        return error(Kind.CREDIT, scope="account")
    if status in (401, 403) or any(r.startswith("API_KEY") for r in reasons):
        return error(Kind.KEY, scope="account")
    if status == 404:
        return error(Kind.MODEL, scope="model")
    if status == 429:
        if any(map(_lasting, _violations(details))):
            return error(Kind.QUOTA, scope="account")
        return error(Kind.RATE_LIMIT, retryable=True, retry_after=_wait(details, reply.headers))
    if status == 413 or (status in (400, 500) and _OVERLONG.search(reason)):
        return error(Kind.CONTEXT_OVERFLOW)
    if status >= 500 or status in (408, 409, 425, 499):
        billed = "unknown" if status in (499, 504) else "no"
        wait = _wait(details, reply.headers)
        return error(Kind.OVERLOADED, retryable=True, retry_after=wait, billed=billed)
    if status == 200:
        return error(Kind.OVERLOADED, retryable=True, billed="unknown")
    if state == "FAILED_PRECONDITION":  # the region, or the account, may not use the API
        return error(Kind.KEY, scope="account")
    return error(Kind.BAD_REQUEST, scope="model")


def _limits(headers: Mapping[str, str]) -> dict[str, str]:
    """Google sends none; a gateway before it may."""
    return {name: value for name, value in headers.items() if name.startswith("x-ratelimit-")}


def _violations(details: list[dict[str, Any]]) -> Iterator[Mapping[str, Any]]:
    for detail in details:
        yield from (v for v in detail.get("violations") or () if isinstance(v, dict))


def _lasting(violation: Mapping[str, Any]) -> bool:
    """A quota that waiting minutes will not refill: one per day, or one of nothing at all."""
    return "perday" in str(violation.get("quotaId", "")).lower() or str(violation.get("quotaValue")) == "0"


def _wait(details: list[dict[str, Any]], headers: Mapping[str, str]) -> float | None:
    """Seconds the server asks for: RetryInfo's "45.8s", or a Retry-After that a proxy added."""
    for detail in details:
        if found := _SECONDS.fullmatch(str(detail.get("retryDelay", ""))):
            return float(found[1])
    value = headers.get("retry-after", "")
    if found := _SECONDS.fullmatch(value):
        return float(found[1])
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time())
    except ValueError:
        return None
