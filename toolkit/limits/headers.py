"""What a server says of its limits in response headers.

`x-ratelimit-{limit,remaining,reset}-*` as OpenAI, Groq, Together and others write them
(platform.openai.com/docs/guides/rate-limits), `anthropic-ratelimit-*-{limit,remaining,reset}`
(docs.anthropic.com/en/api/rate-limits).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

QUANTITIES = ("requests", "tokens", "input-tokens", "output-tokens")
PREFIXES = ("x-ratelimit-", "anthropic-ratelimit-")
# (quantity, its limit, what remains, when it resets), as either kind of vendor names them
_NAMES = tuple(
    (quantity, *(pattern.format(word) for word in ("limit", "remaining", "reset")))
    for quantity in QUANTITIES
    for pattern in (f"x-ratelimit-{{0}}-{quantity}", f"anthropic-ratelimit-{quantity}-{{0}}")
)
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_PART = re.compile(r"([0-9.]+)(ms|s|m|h|d)")


@dataclass(frozen=True, slots=True)
class Stated:
    """One quantity's limit, what is left of it, and seconds until nothing of it is used."""

    limit: float
    remaining: float | None
    reset: float | None


def stated(headers: Mapping[str, str], wall: float) -> dict[str, Stated]:
    """The limits by quantity; `wall` is now, in seconds since the epoch."""
    found = {}
    for quantity, limit, remaining, reset in _NAMES:
        if limit in headers and (most := _number(headers[limit])):
            left = _number(headers.get(remaining))
            found[quantity] = Stated(most, left, seconds(headers.get(reset, ""), wall))
    return found


def seconds(text: str, wall: float) -> float | None:
    """'6m0s', '59.5s', '20ms', a bare number of seconds, or a date such as 2026-11-21T10:00:00Z."""
    if (plain := _number(text)) is not None:
        return plain
    parts = _PART.findall(text)
    if parts and "".join(number + unit for number, unit in parts) == text:
        return sum(float(number) * _SECONDS[unit] for number, unit in parts)
    try:
        return max(0.0, datetime.fromisoformat(text).timestamp() - wall)
    except ValueError:
        return None


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if 0 <= value < float("inf") else None
