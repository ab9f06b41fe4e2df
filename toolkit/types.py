"""The nouns everyone may import: problems, requests, replies, verdicts, estimates."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

PICO = 10**12  # picodollars per dollar: a price of x $/Mtok is x * 10**6 picodollars per token, exactly


@dataclass(frozen=True, slots=True)
class Problem:
    """One question. `answer` is the gold final answer alone; None when there is no gold."""

    id: str
    question: str
    answer: str | None = None
    solution: str | None = None  # worked solution by a human or the generator
    level: str | None = None
    subject: str | None = None

    @property
    def sha(self) -> str:
        """Identity of what a model is asked. The gold is left out: mending it must not buy new draws."""
        return hashlib.sha256(self.question.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Message:
    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked of a model, before any wire format. Exactly one of `messages` and `prompt`.

    None means "not sent": the server's default holds. A field a provider cannot honour is refused
    by its adapter, never dropped.
    """

    model: str
    messages: tuple[Message, ...] = ()
    prompt: str | None = None  # raw completion of a base checkpoint
    n: int = 1
    max_tokens: int | None = None  # per choice, thinking included
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    thinking: int | None = None  # budget in tokens; 0 switches it off
    extra: Mapping[str, Any] = field(default_factory=dict)

    def asking(self, n: int, seed: int | None) -> "Request":
        """The same request for n choices under a seed. Once per request: `replace` takes four times as long."""
        return Request(
            self.model,
            self.messages,
            self.prompt,
            n,
            self.max_tokens,
            self.temperature,
            self.top_p,
            self.top_k,
            self.stop,
            seed,
            self.thinking,
            self.extra,
        )


class Finish(StrEnum):
    STOP = "stop"
    LENGTH = "length"  # truncated: paid for, and a draw like any other
    FILTER = "content_filter"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one attempt, over all its choices."""

    prompt: int  # all input tokens, cached ones included
    output: int  # visible output tokens, thinking excluded
    cached: int = 0  # part of `prompt`, billed at the cached price
    thinking: int = 0  # billed as output, not part of `output`
    source: Literal["server", "tokenizer", "estimate"] = "server"


@dataclass(frozen=True, slots=True)
class Choice:
    text: str
    finish: Finish
    reasoning: str = ""


@dataclass(frozen=True, slots=True)
class Reply:
    choices: tuple[Choice, ...]
    usage: Usage | None  # None where the server reported none
    model_version: str = ""
    request_id: str = ""
    effective: Mapping[str, Any] = field(default_factory=dict)  # decoding as the server says it applied it
    limits: Mapping[str, str] = field(default_factory=dict)  # rate-limit headers, lower-case names


class Outcome(StrEnum):
    CORRECT = "correct"
    INCORRECT = "incorrect"
    UNPARSABLE = "unparsable"  # no final answer could be extracted, or the solution was a refusal
    TIMEOUT = "timeout"  # the comparison did not end in time: unknown, never "incorrect"
    ERROR = "error"  # the comparison itself failed


@dataclass(frozen=True, slots=True)
class Verdict:
    outcome: Outcome
    extracted: str | None  # the final answer as extracted from the text
    norm_sha: str  # identity of the whole solution after normalisation: equal means "the same solution"
    equations_sha: str = ""  # identity of the ordered list of its calculations; "" where none was looked for
    exact_sha: str = ""  # identity of the text exactly as it was served; "": the ledger takes it


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with its 95 % interval."""

    value: float
    low: float
    high: float

    def as_json(self) -> dict[str, float]:
        return {"value": self.value, "low": self.low, "high": self.high}


@dataclass(frozen=True, slots=True)
class HttpCall:
    """One HTTP request, ready to send. `url` is absolute."""

    url: str
    headers: Mapping[str, str]
    body: bytes
    method: str = "POST"


@dataclass(frozen=True, slots=True)
class HttpReply:
    """One HTTP answer, read to its end."""

    status: int
    headers: Mapping[str, str]  # names in lower case
    body: bytes
