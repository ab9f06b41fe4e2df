"""The wire against real sockets: what comes back, and what each failure says about the bill."""

import asyncio
import gzip
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from toolkit.errors import Kind, ProviderError
from toolkit.types import HttpCall, HttpReply
from toolkit.wire import Wire

Handler = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]


class Server:
    """A scripted HTTP server: reads a whole request, then lets the handler do with the connection as it likes."""

    def __init__(self, handler: Handler) -> None:
        self.handler = handler
        self.requests = 0
        self.url = ""

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = next(
                    (
                        int(line.split(b":")[1])
                        for line in head.split(b"\r\n")
                        if line.lower().startswith(b"content-length")
                    ),
                    0,
                )
                body = await reader.readexactly(length)
                self.requests += 1
                await self.handler(head + body, writer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[Server]:
    server = Server(handler)
    listening = await asyncio.start_server(server.accept, "127.0.0.1", 0, backlog=512)
    server.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/v1"
    try:
        yield server
    finally:
        listening.close()


def answer(status: int, body: bytes, *headers: bytes, length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    lines = [b"HTTP/1.1 %d Said" % status, b"Content-Length: %d" % size, *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


async def send(url: str, body: bytes = b"{}", patience: float = 20.0) -> HttpReply:
    async with Wire(timeout=patience) as wire:
        return await wire.send(HttpCall(url, {"Authorization": "Bearer k"}, body))


async def failure(url: str, patience: float = 20.0) -> ProviderError:
    with pytest.raises(ProviderError) as error:
        await send(url, patience=patience)
    assert "\n" not in str(error.value)
    return error.value


@pytest.mark.parametrize("status", [200, 400, 429, 500])
async def test_every_status_is_a_reply(status: int) -> None:
    async def handler(request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(answer(status, b"said"))

    async with serving(handler) as server:
        reply = await send(server.url)
    assert (reply.status, reply.body) == (status, b"said")


async def test_the_call_arrives_as_it_was_written() -> None:
    seen = []

    async def handler(request: bytes, writer: asyncio.StreamWriter) -> None:
        seen.append(request)
        writer.write(answer(200, b""))

    async with serving(handler) as server:
        await send(f"{server.url}/chat?x=1", body='{"q": "é"}'.encode())
    head, _, body = seen[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /v1/chat?x=1 HTTP/1.1")
    assert b"authorization: bearer k" in head.lower()
    assert body == '{"q": "é"}'.encode()


async def test_header_names_come_back_in_lower_case() -> None:
    async def handler(request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(answer(200, b"", b"X-Request-ID: AbC"))

    async with serving(handler) as server:
        assert (await send(server.url)).headers["x-request-id"] == "AbC"


async def test_compressed_answers_are_unpacked() -> None:
    async def handler(request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(answer(200, gzip.compress(b"said"), b"Content-Encoding: gzip"))

    async with serving(handler) as server:
        assert (await send(server.url)).body == b"said"


async def test_five_megabytes_go_there_and_back() -> None:
    async def handler(request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(answer(200, request.partition(b"\r\n\r\n")[2]))

    large = bytes(range(256)) * 20_480
    async with serving(handler) as server:
        assert (await send(server.url, large)).body == large


async def test_two_hundred_at_once_are_all_in_flight_and_each_gets_its_own_answer() -> None:
    everyone = asyncio.Barrier(200)

    async def handler(request: bytes, writer: asyncio.StreamWriter) -> None:
        await everyone.wait()
        writer.write(answer(200, request.partition(b"\r\n\r\n")[2]))

    async with serving(handler) as server, Wire(timeout=30) as wire:
        calls = [HttpCall(server.url, {}, b"%d" % i) for i in range(200)]
        replies = await asyncio.gather(*(wire.send(call) for call in calls))
    assert [reply.body for reply in replies] == [call.body for call in calls]


async def test_a_refused_connection_is_not_billed() -> None:
    with socket.socket() as bound:  # bound, not listening: nobody answers there
        bound.bind(("127.0.0.1", 0))
        error = await failure(f"http://127.0.0.1:{bound.getsockname()[1]}/v1")
    assert (error.kind, error.billed, error.scope) == (Kind.UNREACHABLE, "no", "account")
    assert error.retryable


@pytest.mark.parametrize("url", ["http://nowhere.invalid/v1", "ftp://127.0.0.1/v1", "127.0.0.1:80/v1"])
async def test_an_address_that_leads_nowhere_is_not_billed(url: str) -> None:
    error = await failure(url)
    assert (error.kind, error.billed) == (Kind.UNREACHABLE, "no")
    assert url in str(error)


async def _hang_up(request: bytes, writer: asyncio.StreamWriter) -> None:
    writer.close()


async def _reset(request: bytes, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


async def _stop_in_the_middle(request: bytes, writer: asyncio.StreamWriter) -> None:
    writer.write(answer(200, b'{"choices": [', length=500))
    writer.close()


async def _speak_something_else(request: bytes, writer: asyncio.StreamWriter) -> None:
    writer.write(b"220 mail.example ESMTP\r\n\r\n")
    writer.close()


async def _break_the_compression(request: bytes, writer: asyncio.StreamWriter) -> None:
    writer.write(answer(200, b"not gzip", b"Content-Encoding: gzip"))


@pytest.mark.parametrize(
    "handler", [_hang_up, _reset, _stop_in_the_middle, _speak_something_else, _break_the_compression]
)
async def test_a_connection_that_breaks_after_the_request_left_may_be_billed(handler: Handler) -> None:
    async with serving(handler) as server:
        error = await failure(server.url)
    assert (error.kind, error.billed, error.retryable) == (Kind.CONNECTION, "unknown", True)
    assert server.requests == 1


async def test_a_broken_connection_is_not_asked_again_behind_the_ledgers_back() -> None:
    async def handler(request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(answer(200, b"kept")) if server.requests == 1 else writer.close()

    async with serving(handler) as server, Wire() as wire:
        call = HttpCall(server.url, {}, b"{}")
        assert (await wire.send(call)).body == b"kept"
        with pytest.raises(ProviderError):
            await wire.send(call)  # on the connection that was kept open
    assert server.requests == 2


async def test_no_answer_in_time_may_be_billed() -> None:
    silence = asyncio.Event()

    async def handler(request: bytes, writer: asyncio.StreamWriter) -> None:
        await silence.wait()

    async with serving(handler) as server:
        error = await failure(server.url, patience=0.05)
        silence.set()
    assert (error.kind, error.billed, error.retryable) == (Kind.TIMEOUT, "unknown", True)
    assert "0.05 s" in str(error)


async def test_an_answer_that_trickles_for_ever_is_cut_and_may_be_billed() -> None:
    async def handler(request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(answer(200, b"", length=10**9))
        while not writer.is_closing():
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.01)  # the trickle itself, far more often than the limit

    async with serving(handler) as server:
        async with asyncio.timeout(10):
            error = await failure(server.url, patience=0.2)
    assert (error.kind, error.billed, error.retryable) == (Kind.TIMEOUT, "unknown", True)


async def test_after_a_timeout_the_connection_is_not_used_again() -> None:
    silence, late = asyncio.Event(), b"late"

    async def handler(request: bytes, writer: asyncio.StreamWriter) -> None:
        if b"slow" in request:
            await silence.wait()
            writer.write(answer(200, late))
        else:
            writer.write(answer(200, b"prompt"))

    async with serving(handler) as server, Wire(timeout=0.2) as wire:
        with pytest.raises(ProviderError):
            await wire.send(HttpCall(server.url, {}, b"slow"))
        silence.set()
        assert (await wire.send(HttpCall(server.url, {}, b"quick"))).body == b"prompt"


@pytest.mark.parametrize("handler", [_hang_up, _stop_in_the_middle, _speak_something_else])
async def test_no_message_shows_the_query_where_some_vendors_carry_keys(handler: Handler) -> None:
    async with serving(handler) as server:
        error = await failure(f"{server.url}/generate?key=verysecret")
    assert f"{server.url}/generate" in str(error)
    assert "verysecret" not in str(error)


async def test_redirects_are_not_followed() -> None:
    async def handler(request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(answer(307, b"", b"Location: /elsewhere"))

    async with serving(handler) as server:
        assert (await send(server.url)).status == 307
    assert server.requests == 1
