"""The one place that touches the network: an HttpCall goes out, an HttpReply comes back.

httpx's types over the aiohttp transport, called directly: a fifth of the CPU of httpx's own client at
64 requests in flight. Every failure says whether the request can have been billed.
"""

import ssl
from types import TracebackType
from typing import Self

import httpx
from httpx_aiohttp import AiohttpTransport

from toolkit.errors import Kind, ProviderError
from toolkit.types import HttpCall, HttpReply


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
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise ProviderError(
                Kind.UNREACHABLE,
                f"{_place(call)}: cannot connect ({_reason(error)})",
                retryable=True,
                scope="account",
                billed="no",
            ) from error
        except httpx.TimeoutException as error:
            raise ProviderError(
                Kind.TIMEOUT, f"{_place(call)}: no answer in {self._timeout['read']:g} s", retryable=True
            ) from error
        except (httpx.TransportError, httpx.StreamError) as error:
            raise ProviderError(
                Kind.CONNECTION, f"{_place(call)}: the connection broke ({_reason(error)})", retryable=True
            ) from error
        return HttpReply(response.status_code, {k.lower(): v for k, v in response.headers.items()}, body)


def _place(call: HttpCall) -> str:
    """Where the call went, without query: some vendors carry keys there."""
    return call.url.split("?")[0]


def _reason(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
