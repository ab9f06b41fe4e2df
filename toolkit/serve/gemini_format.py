"""Gemini's `generateContent` from the server's side: bodies in, bodies and errors out.

Format as documented at ai.google.dev/api/generate-content (v1beta). Names are taken in camelCase and in
snake_case, as Google's server takes them. A parameter that is not honoured is refused by name.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.responses import JSONResponse

from toolkit.serve.openai_format import BadParameter
from toolkit.types import Choice, Finish, Message, Reply, Request, Usage

MOST_CANDIDATES = 8
GOOGLE = "type.googleapis.com/google.rpc."
FINISHES = {Finish.STOP: "STOP", Finish.LENGTH: "MAX_TOKENS", Finish.FILTER: "SAFETY", Finish.OTHER: "OTHER"}
STATUSES = {
    400: "INVALID_ARGUMENT",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
BODY = frozenset({"contents", "systemInstruction", "generationConfig", "safetySettings", "model"})
CONFIG = frozenset(
    {
        "candidateCount",
        "maxOutputTokens",
        "temperature",
        "topP",
        "topK",
        "stopSequences",
        "seed",
        "thinkingConfig",
        "responseMimeType",
    }
)
THINKING = frozenset({"thinkingBudget", "includeThoughts"})
THOUGHTS = "includeThoughts"  # in a request's `extra`: the answer shows the thoughts
_SNAKE = re.compile(r"_([a-z])")


def parse(raw: bytes, model: str, *, max_n: int = MOST_CANDIDATES) -> Request:
    """The request in a body of `models/MODEL:generateContent`."""
    try:
        body = json.loads(raw)
    except ValueError:
        raise BadParameter("body", "Invalid JSON payload received.") from None
    asked = _known(body, BODY, "body")
    config = _known(asked.get("generationConfig", {}), CONFIG, "generation_config")
    thinking = _known(config.get("thinkingConfig", {}), THINKING, "thinking_config")
    if config.get("responseMimeType", "text/plain") != "text/plain":
        raise BadParameter("responseMimeType", "only text/plain is served here")
    system = _text(asked["systemInstruction"]) if "systemInstruction" in asked else None
    return Request(
        model=model,
        messages=(() if system is None else (Message("system", system),)) + _messages(asked.get("contents")),
        n=_candidates(config, max_n),
        max_tokens=_whole(config, "maxOutputTokens", 1, 1_000_000),
        temperature=_number(config, "temperature", 0, 2),
        top_p=_number(config, "topP", 0, 1),
        top_k=_whole(config, "topK", 1, 1_000_000),
        stop=_stops(config.get("stopSequences", [])),
        seed=_whole(config, "seed", -(2**31), 2**31 - 1),
        thinking=_whole(thinking, "thinkingBudget", 0, 1_000_000),
        extra={THOUGHTS: bool(thinking.get("includeThoughts", False))},
    )


def answer(request: Request, reply: Reply) -> dict[str, Any]:
    """The body of a successful answer. Thoughts are shown where `includeThoughts` asked for them."""
    shown = bool(request.extra.get(THOUGHTS))
    assert reply.usage is not None
    return {
        "candidates": [_candidate(i, choice, shown) for i, choice in enumerate(reply.choices)],
        "usageMetadata": usage_body(reply.usage),
        "modelVersion": reply.model_version or request.model,
        "responseId": reply.request_id,
    }


def usage_body(usage: Usage) -> dict[str, int]:
    """Thoughts stand apart from the candidates' tokens; a count of zero is left out, as protobuf does."""
    counts = {
        "promptTokenCount": usage.prompt,
        "cachedContentTokenCount": usage.cached,
        "candidatesTokenCount": usage.output,
        "thoughtsTokenCount": usage.thinking,
        "totalTokenCount": usage.prompt + usage.output + usage.thinking,
    }
    return {name: count for name, count in counts.items() if count}


def error(
    status: int,
    message: str,
    *,
    details: Sequence[Mapping[str, Any]] = (),
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    said: dict[str, Any] = {"code": status, "message": message, "status": STATUSES.get(status, "UNKNOWN")}
    if details:
        said["details"] = [dict(detail) for detail in details]
    return JSONResponse({"error": said}, status, headers=headers)


def wrong_key() -> JSONResponse:
    reason = {"@type": GOOGLE + "ErrorInfo", "reason": "API_KEY_INVALID", "domain": "googleapis.com"}
    return error(400, "API key not valid. Please pass a valid API key.", details=[reason])


def bad(parameter: BadParameter) -> JSONResponse:
    return error(parameter.status, str(parameter))


def too_many(message: str, retry_delay: float | None, headers: Mapping[str, str] | None) -> JSONResponse:
    """A per-minute refusal, with the wait in the details as Google gives it: "45.8s"."""
    violation = {"quotaId": "GenerateRequestsPerMinutePerProjectPerModel"}
    details: list[dict[str, Any]] = [{"@type": GOOGLE + "QuotaFailure", "violations": [violation]}]
    if retry_delay is not None:
        details.append({"@type": GOOGLE + "RetryInfo", "retryDelay": f"{retry_delay:.9g}s"})
    return error(429, message, details=details, headers=headers)


def _known(value: Any, names: frozenset[str], where: str) -> dict[str, Any]:
    """The object with its names in camelCase, nulls left out. Unknown names are refused as Google does."""
    if not isinstance(value, dict):
        raise BadParameter(where, f"Invalid value at '{where}': an object is expected")
    found = {_SNAKE.sub(lambda m: m[1].upper(), key): v for key, v in value.items() if v is not None}
    for key in found:
        if key not in names:
            raise BadParameter(
                key, f"Invalid JSON payload received. Unknown name \"{key}\" at '{where}': Cannot find field."
            )
    return found


def _candidate(index: int, choice: Choice, shown: bool) -> dict[str, Any]:
    parts: list[dict[str, Any]] = []
    if shown and choice.reasoning:
        parts.append({"text": choice.reasoning, "thought": True})
    if choice.text:
        parts.append({"text": choice.text})
    content: dict[str, Any] = {"role": "model"} | ({"parts": parts} if parts else {})
    return {"content": content, "finishReason": FINISHES[choice.finish], "index": index}


def _messages(contents: Any) -> tuple[Message, ...]:
    if not isinstance(contents, list) or not contents:
        raise BadParameter("contents", "* GenerateContentRequest.contents: contents is not specified")
    return tuple(_message(content) for content in contents)


def _message(content: Any) -> Message:
    role = content.get("role", "user") if isinstance(content, dict) else None
    if role not in ("user", "model"):
        raise BadParameter("contents", "Please use a valid role: user, model.")
    return Message("user" if role == "user" else "assistant", _text(content))


def _text(content: Any) -> str:
    """The texts of a content's parts, joined."""
    parts = content.get("parts") if isinstance(content, dict) else None
    parts = [parts] if isinstance(parts, dict) else parts
    if not isinstance(parts, list) or not parts:
        raise BadParameter("contents", "contents.parts must not be empty.")
    if not all(isinstance(part, dict) and isinstance(part.get("text"), str) for part in parts):
        raise BadParameter("contents", "only text parts are served here")
    return "".join(part["text"] for part in parts)


def _candidates(config: Mapping[str, Any], max_n: int) -> int:
    count = _whole(config, "candidateCount", 1, MOST_CANDIDATES) or 1
    if count > max_n == 1:
        raise BadParameter("candidateCount", "Multiple candidates is not enabled for this model")
    if count > max_n:
        raise BadParameter("candidateCount", f"candidateCount must be between 1 and {max_n}, not {count}")
    return count


def _stops(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or len(value) > 5 or not all(isinstance(text, str) for text in value):
        raise BadParameter("stopSequences", "stopSequences must be a list of up to 5 strings")
    return tuple(value)


def _number(config: Mapping[str, Any], key: str, low: float, high: float) -> float | None:
    value = config.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise BadParameter(key, f"{key} must be a number between {low:g} and {high:g}")
    return float(value)


def _whole(config: Mapping[str, Any], key: str, low: int, high: int) -> int | None:
    """An integer, also where it is written 40.0, as Google's own client writes topK."""
    value = _number(config, key, low, high)
    if value is not None and value != int(value):
        raise BadParameter(key, f"{key} must be an integer")
    return None if value is None else int(value)
