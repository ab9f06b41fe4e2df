"""The one place that touches the network: an HttpCall goes out, an HttpReply comes back.

httpx's types over the aiohttp transport, called directly: a fifth of the CPU of httpx's own client at
64 requests in flight. Every failure says whether the request can have been billed.
"""

import re
import ssl
from types import TracebackType
from typing import Self

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport

from toolkit.errors import Kind, ProviderError
from toolkit.types import HttpCall, HttpReply

# The only failures after which nothing can have reached the server: no connection ever stood. httpx's
# mapping of aiohttp's errors calls a server that hung up on a sent request a connect timeout.
NEVER_CONNECTED = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.InvalidURL)


class Wire:
    """A pool of connections. Use as an async context manager."""

    def __init__(
        self, *, timeout: float = 600.0, connect_timeout: float = 10.0, connections: int = 1024
    ) -> None:
        self._timeout = {"connect": connect_timeout, "read": timeout, "write": timeout, "pool": timeout}
        self._transport = AiohttpTransport(
            verify=ssl.create_default_context(),
            limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections),
        )

    async def __aenter__(self) -> Self:
        await self._transport.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._transport.__aexit__(kind, error, trace)

    async def send(self, call: HttpCall) -> HttpReply:
        """The answer, whatever its status, read to its end. Raises ProviderError if there is none."""
        request = httpx.Request(
            call.method,
            call.url,
            headers=dict(call.headers),
            content=call.body,
            extensions={"timeout": self._timeout},
        )
        try:
            response = await self._transport.handle_async_request(request)
            try:
                body = await response.aread()
            finally:
                await response.aclose()
        except (httpx.RequestError, httpx.StreamError, aiohttp.ClientError) as error:
            raise self._failure(call, error) from error
        return HttpReply(response.status_code, {k.lower(): v for k, v in response.headers.items()}, body)

    def _failure(self, call: HttpCall, error: Exception) -> ProviderError:
        cause = error.__cause__ or error  # aiohttp's own error
        place = _place(call)
        if isinstance(cause, NEVER_CONNECTED) or isinstance(error, httpx.UnsupportedProtocol):
            said = f"{place}: cannot connect ({_reason(error)})"
            return ProviderError(Kind.UNREACHABLE, said, retryable=True, scope="account", billed="no")
        if isinstance(cause, TimeoutError | httpx.TimeoutException):
            said = f"{place}: no answer in {self._timeout['read']:g} s"
            return ProviderError(Kind.TIMEOUT, said, retryable=True)
        said = f"{place}: the connection broke ({_reason(error)})"
        return ProviderError(Kind.CONNECTION, said, retryable=True)


def _place(call: HttpCall) -> str:
    """Where the call went, without query: some vendors carry keys there."""
    return call.url.split("?")[0]


def _reason(error: Exception) -> str:
    """The error's first line; aiohttp writes the whole address into some."""
    said = str(error).splitlines()[0] if str(error) else type(error).__name__
    return re.sub(r"\?[^\s'\")]+", "", said)
