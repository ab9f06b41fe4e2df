"""The port every provider stands behind: pure translation, or one awaitable for SDK adapters.

A translator never waits, retries, prices or stores. Request out, status to error, reply in.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from toolkit.types import HttpCall, HttpReply, Reply, Request


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
