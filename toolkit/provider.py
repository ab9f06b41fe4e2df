"""The port every provider stands behind: pure translation, or one awaitable for SDK adapters.

A translator never waits, retries, prices or stores. Request out, status to error, reply in.
"""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeVar, runtime_checkable

from toolkit.types import HttpCall, HttpReply, Reply, Request

T = TypeVar("T")
Steps = Generator[HttpCall, HttpReply, T]  # calls out, answers in, and what they amount to


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a model behind a provider honours; anything else must be refused, not dropped."""

    max_n: int = 1  # choices in one request
    honours: frozenset[str] = frozenset()  # names of `Request` fields
    completions: bool = False  # raw prompts through /completions
    batch: bool = False

    @property
    def seeds(self) -> bool:
        return "seed" in self.honours


@runtime_checkable
class Translator(Protocol):
    """A provider spoken to over the shared wire."""

    def capabilities(self, model: str) -> Capabilities: ...

    def encode(self, request: Request) -> HttpCall:
        """The HTTP call for a request. Raises ProviderError(UNSUPPORTED) naming the parameter."""

    def decode(self, request: Request, reply: HttpReply) -> Reply:
        """The reply in an HTTP answer. Raises ProviderError for anything but a usable answer."""


@runtime_checkable
class Asker(Protocol):
    """A provider spoken to through its own SDK."""

    def capabilities(self, model: str) -> Capabilities: ...

    async def ask(self, request: Request) -> Reply:
        """The reply to a request, or ProviderError."""


Provider = Translator | Asker


@dataclass(frozen=True, slots=True)
class RemoteBatch:
    """A batch as its provider reports it."""

    id: str
    state: Literal["running", "ended", "failed"]  # failed: refused as a whole, nothing was served
    complete: bool = False  # ended with every part answered; otherwise the rest was neither served nor billed
    message: str = ""
    body: Mapping[str, Any] = field(default_factory=dict)  # the provider's own words, for `results`


@runtime_checkable
class Batcher(Protocol):
    """A provider's batch API: translations of several calls, which somebody else sends."""

    @property
    def max_parts(self) -> int: ...

    @property
    def max_bytes(self) -> int:
        """Of all lines of one batch together."""

    def line(self, key: str, request: Request) -> bytes:
        """One part, ready to be submitted. Raises ProviderError(UNSUPPORTED) naming the parameter."""

    def submit(self, intent: str, request: Request, lines: Sequence[bytes]) -> Steps[RemoteBatch]:
        """Hand the lines over, marked with `intent`; `request` is any one of them."""

    def find(self, intent: str) -> Steps[RemoteBatch | None]:
        """The batch that carries this mark, if the provider has one."""

    def poll(self, remote_id: str) -> Steps[RemoteBatch]:
        """How a batch stands."""

    def results(self, batch: RemoteBatch) -> Steps[dict[str, HttpReply | None]]:
        """The answers of an ended batch by key; None for a part that was neither served nor billed."""

    def decode(self, request: Request, reply: HttpReply) -> Reply:
        """The reply in one part's answer, as a translator decodes it."""
