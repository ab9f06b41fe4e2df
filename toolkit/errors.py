"""The error tree. An error carries the decision as data: retry or not, whose fault, was it billed.

PricematchError
├── InputError            exit 2   the user's input: file, key and mend in one line
├── Unfinished            exit 3   draws are missing, or the cap was reached
├── Refused               exit 4   the provider refused: key, credit, model, unreachable
└── ProviderError                  one attempt failed; the sampler decides by its fields
    └── (kinds are data, not classes)
"""

import re
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Literal


class PricematchError(Exception):
    """Something a person can act on. The message is one line; the command line prints nothing else."""

    exit_code = 1


class InputError(PricematchError):
    """The user's input is wrong: the message names file, key and mend."""

    exit_code = 2


class Unfinished(PricematchError):
    """The run stopped short: draws are missing, or the cap was reached. What was paid for is kept."""

    exit_code = 3


class Refused(PricematchError):
    """The provider will not serve this run: bad key, no credit, unknown model, unreachable."""

    exit_code = 4


class Kind(StrEnum):
    RATE_LIMIT = "rate_limit"
    OVERLOADED = "overloaded"  # 5xx
    TIMEOUT = "timeout"
    CONNECTION = "connection"  # reset or closed after the request left
    UNREACHABLE = "unreachable"  # never connected
    BAD_BODY = "bad_body"  # truncated, not JSON, not of the promised shape
    BAD_REQUEST = "bad_request"
    CONTEXT_OVERFLOW = "context_overflow"
    CONTENT_FILTER = "content_filter"
    KEY = "key"
    CREDIT = "credit"
    QUOTA = "quota"  # per-day quota: waiting minutes will not help
    MODEL = "model"  # unknown model
    UNSUPPORTED = "unsupported"  # a parameter this provider does not honour


class ProviderError(PricematchError):
    """One attempt failed. `scope` says what else would fail the same way."""

    def __init__(
        self,
        kind: Kind,
        message: str,
        *,
        retryable: bool = False,
        retry_after: float | None = None,  # seconds, as the server asked
        scope: Literal["request", "model", "account"] = "request",
        billed: Literal["no", "unknown", "yes"] = "unknown",
        status: int | None = None,
        limits: Mapping[str, str] | None = None,  # rate-limit headers, lower-case names
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.retryable = retryable
        self.retry_after = retry_after
        self.scope = scope
        self.billed = billed
        self.status = status
        self.limits = limits or {}
        self.attempt: int | None = None  # ledger id, once the attempt is recorded
        self.server: int | None = None  # which of the model's servers was asked


_SECRET = re.compile(r"(?i)\b(?:sk-|gsk_|AIza|hf_|xai-|Bearer\s+|key=)[\w\-./+=]{4,}")


def redact(text: str, secrets: Sequence[str] = ()) -> str:
    """The text without these secrets and without anything that looks like a key: servers echo them."""
    for secret in secrets:
        if secret:
            text = text.replace(secret, "[key]")
    return _SECRET.sub("[key]", text)
