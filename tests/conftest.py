"""What tests share: real servers on loopback, and the shared data where there is any."""

import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from toolkit.serve.process import listening

SHARED = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture
def shared() -> Path:
    """The folder of real data beside the checkout."""
    if not SHARED.is_dir():
        pytest.skip("needs the real data sets in ../shared/data, which are not here")
    return SHARED


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()


@pytest.fixture
def serve() -> Iterator[Callable[[Any], str]]:
    """`serve(app)` runs an ASGI app on a free loopback port until the test ends, and gives its address."""
    running: list[tuple[_Server, threading.Thread]] = []

    def start(app: Any) -> str:
        listens = listening("127.0.0.1", 0)
        server = _Server(uvicorn.Config(app, log_level="error", lifespan="off", access_log=False))
        thread = threading.Thread(target=server.run, args=([listens],), daemon=True)
        thread.start()
        running.append((server, thread))
        assert server.ready.wait(10), "the server did not start in 10 s"
        return f"http://127.0.0.1:{listens.getsockname()[1]}"

    yield start
    for server, _ in running:
        server.should_exit = True
        server.force_exit = True
    for _, thread in running:
        thread.join(10)
