"""Scripted faults: what goes wrong between a model and its client, seeded and billed by rule.

Whether a faulty request was billed is decided before its fault strikes, and is in the account by then.
"""

import asyncio
import contextlib
import random
import socket
import struct
from collections.abc import Awaitable, Callable
from itertools import count
from typing import Any

from starlette.responses import HTMLResponse, Response
from starlette.types import Receive, Scope, Send

from toolkit.serve.world_file import Fault, Faults

RAW_SEND = "pricematch.raw_send"  # in a scope: the server's own `send`, before any middleware wraps it
SERVED = frozenset(set(Fault) - {Fault.RATE_LIMIT, Fault.OVERLOADED, Fault.RESET_BEFORE})
PIECES = 8  # of a body that trickles
PAGE = "<html><head><title>Sign in</title></head><body>This network asks you to sign in.</body></html>"
RESET_AT_ONCE = struct.pack("ii", 1, 0)  # SO_LINGER: close with a reset, whatever is still unsent

Sleep = Callable[[float], Awaitable[None]]


class Script:
    """Which request meets which fault: a function of (seed, count of requests), nothing else."""

    def __init__(self, faults: Faults) -> None:
        self.faults = faults
        self._shares = faults.shares()
        self._counter = count()

    def next(self) -> Fault | None:
        """The next request's fault."""
        if not self._shares:
            return None
        chance = random.Random(f"{self.faults.seed}/{next(self._counter)}").random()
        for fault, share in self._shares.items():
            if chance < share:
                return fault
            chance -= share
        return None

    def bills(self, fault: Fault | None) -> bool:
        """Is a request with this fault billed? What was served is, unless the world file says otherwise."""
        return self.faults.bill_on_fault.get(fault, fault in SERVED) if fault else True


def spoiled(response: Response, fault: Fault | None, faults: Faults, sleep: Sleep) -> Response:
    """The response as the fault lets it through."""
    body, headers = bytes(response.body), _without_length(response)
    match fault:
        case Fault.RESET_BEFORE:
            return Broken()
        case Fault.RESET_MID_BODY:
            return Broken(body, headers)
        case Fault.TRUNCATED_JSON:
            return Response(body[: len(body) // 2], headers=headers)
        case Fault.WRONG_CONTENT_TYPE:
            return HTMLResponse(PAGE)
        case Fault.SLOW_TRICKLE:
            return Trickle(body, headers, faults.trickle_seconds, sleep)
    return response


class Broken(Response):
    """A connection reset: before any answer, or after half of a body of the promised length."""

    def __init__(self, promised: bytes | None = None, headers: dict[str, str] | None = None) -> None:
        super().__init__(promised, headers=headers)  # content-length: that of the whole body
        self._promised = promised

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._promised is not None:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            half = self._promised[: len(self._promised) // 2]
            await send({"type": "http.response.body", "body": half, "more_body": True})
        transport = _transport(scope)
        if transport is None:
            raise ConnectionResetError("a scripted fault, and no connection to reset")
        if self._promised is None:  # what was sent before a mid-body reset should arrive
            with contextlib.suppress(OSError, AttributeError):
                connection = transport.get_extra_info("socket")
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_AT_ONCE)
        transport.abort()
        await asyncio.sleep(0)  # the server hears of it before the response ends
        await asyncio.sleep(0)


class Trickle(Response):
    """A whole answer in pieces, with a pause before each."""

    def __init__(self, body: bytes, headers: dict[str, str], seconds: float, sleep: Sleep) -> None:
        super().__init__(body, headers=headers)
        self._seconds, self._sleep = seconds, sleep

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        body = bytes(self.body)
        step = max(1, len(body) // PIECES)
        for start in range(0, len(body), step):
            await self._sleep(self._seconds * step / len(body))
            piece = body[start : start + step]
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def _without_length(response: Response) -> dict[str, str]:
    return {name: value for name, value in response.headers.items() if name != "content-length"}


def _transport(scope: Scope) -> Any:
    """The connection below uvicorn's `send`, which ASGI itself does not show; None without one."""
    return getattr(getattr(scope.get(RAW_SEND), "__self__", None), "transport", None)
