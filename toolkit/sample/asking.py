"""How a provider is asked: over the shared wire, or through its own SDK."""

from collections.abc import Awaitable, Callable

from toolkit.arms import Ask
from toolkit.provider import Asker, Provider
from toolkit.types import HttpCall, HttpReply, Reply, Request

Send = Callable[[HttpCall], Awaitable[HttpReply]]


def asker(provider: Provider, send: Send) -> Ask:
    """One awaitable from request to reply, whichever way the provider is spoken to."""
    if isinstance(provider, Asker):
        return provider.ask

    async def ask(request: Request) -> Reply:
        return provider.decode(request, await send(provider.encode(request)))

    return ask
