"""The one place that touches the network: an HttpCall goes out, an HttpReply comes back.

httpx's types over the aiohttp transport, called directly: a fifth of the CPU of httpx's own client at
64 requests in flight. Every failure says whether the request can have been billed.
"""

import asyncio
import re
import ssl
from functools import lru_cache
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
    """A pool of connections. Use as an async context manager.

    `timeout` seconds are for a whole exchange, from the wait for a connection to the answer's last byte:
    a limit on each read alone would never end an answer that trickles.
    """

    def __init__(
        self, *, timeout: float = 600.0, connect_timeout: float = 10.0, connections: int = 1024
    ) -> None:
        self._timeout = timeout
        self._extensions = {"timeout": {"connect": connect_timeout}}
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
            _url(call.url),
            headers=_sent_headers(tuple(call.headers.items())),
            stream=httpx.ByteStream(call.body),  # `content=` would add headers that aiohttp adds anyway
            extensions=self._extensions,
        )
        request.read()  # so that it is sent whole, with its length
        request.headers.encoding = "utf-8"  # else it is guessed anew from every name and value
        try:
            async with asyncio.timeout(self._timeout):
                response = await self._transport.handle_async_request(request)
                headers = _headers(response)
                try:
                    body = await _read(response, packed="content-encoding" in headers)
                except BaseException:  # read to its end, it has given its connection back
                    await response.aclose()
                    raise
        except (TimeoutError, httpx.RequestError, httpx.StreamError, aiohttp.ClientError) as error:
            raise self._failure(call, error) from error
        return HttpReply(response.status_code, headers, body)

    def _failure(self, call: HttpCall, error: Exception) -> ProviderError:
        cause = error.__cause__ or error  # aiohttp's own error
        place = _place(call)
        if isinstance(cause, NEVER_CONNECTED) or isinstance(error, httpx.UnsupportedProtocol):
            said = f"{place}: cannot connect ({_reason(error)})"
            return ProviderError(Kind.UNREACHABLE, said, retryable=True, scope="account", billed="no")
        if isinstance(error, TimeoutError) or isinstance(cause, TimeoutError | httpx.TimeoutException):
            said = f"{place}: no answer in {self._timeout:g} s"
            return ProviderError(Kind.TIMEOUT, said, retryable=True)
        said = f"{place}: the connection broke ({_reason(error)})"
        return ProviderError(Kind.CONNECTION, said, retryable=True)


@lru_cache(maxsize=1024)
def _url(text: str) -> httpx.URL:
    """A parsed address; parsing the same one again was a tenth of a request's CPU."""
    return httpx.URL(text)


@lru_cache(maxsize=1024)
def _sent_headers(given: tuple[tuple[str, str], ...]) -> httpx.Headers:
    """Encoded once for all requests that carry the same ones; httpx copies them into each."""
    return httpx.Headers(given)


async def _read(response: httpx.Response, *, packed: bool) -> bytes:
    """The body to its end. A plain one, the usual case, skips httpx's decoders."""
    if packed or not isinstance(response.stream, httpx.AsyncByteStream):
        return await response.aread()
    return b"".join([part async for part in response.stream])


def _headers(response: httpx.Response) -> dict[str, str]:
    """Names in lower case, the last of repeated ones; without httpx's guess at an encoding for each."""
    return {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in response.headers.raw}


def _place(call: HttpCall) -> str:
    """Where the call went, without query: some vendors carry keys there."""
    return call.url.split("?")[0]


def _reason(error: Exception) -> str:
    """The error's first line; aiohttp writes the whole address into some."""
    said = str(error).splitlines()[0] if str(error) else type(error).__name__
    return re.sub(r"\?[^\s'\")]+", "", said)
