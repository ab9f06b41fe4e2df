"""What a person sees while work goes on: a live line in a terminal, plain lines elsewhere. All on stderr."""

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

from toolkit.sample import Progress

console = Console(stderr=True, highlight=False, soft_wrap=True)
EVERY = 5.0  # seconds between plain lines
REFRESH = 0.2

Told = Callable[..., None]


def say(line: str) -> None:
    """One line, kept."""
    console.print(line, markup=False)


@contextlib.contextmanager
def steps(name: str) -> Iterator[Told]:
    """Progress of a stage that reports (done, total, detail)."""
    with _line(name) as show:
        yield lambda done, total, detail="": show(done, total, detail)


@contextlib.contextmanager
def draws(name: str, progress: Progress) -> Iterator[None]:
    """Progress of sampling, read from a shared object by a thread of its own."""
    ended = threading.Event()

    def watch(show: Told) -> None:
        while not ended.wait(REFRESH):
            show(progress.done.total(), sum(progress.planned.values()), _detail(progress))
        show(progress.done.total(), sum(progress.planned.values()), _detail(progress))

    with _line(name) as show:
        watcher = threading.Thread(target=watch, args=(show,), daemon=True)
        watcher.start()
        try:
            yield
        finally:
            ended.set()
            watcher.join()


def _detail(progress: Progress) -> str:
    arms = " · ".join(
        f"{arm.removeprefix('evaluate/')} {progress.done[arm]}/{n}" for arm, n in progress.planned.items()
    )
    retries = ", ".join(f"{n} {kind}" for kind, n in progress.retries.items())
    return arms + (f" · retried: {retries}" if retries else "")


@contextlib.contextmanager
def _line(name: str) -> Iterator[Told]:
    if console.is_terminal:
        with _live(name) as show:
            yield show
    else:
        yield _plain(name)


@contextlib.contextmanager
def _live(name: str) -> Iterator[Told]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[detail]}"),
    )
    with Bars(*columns, console=console, transient=True) as bars:
        bar = bars.add_task(name, total=None, detail="starting")

        def show(done: int, total: int, detail: str = "") -> None:
            bars.update(bar, completed=done, total=total or None, detail=detail)

        yield show


def _plain(name: str) -> Told:
    """A line now and then; the first after a moment, so that quick stages stay quiet."""
    last = time.monotonic()

    def show(done: int, total: int, detail: str = "") -> None:
        nonlocal last
        if time.monotonic() - last >= EVERY:
            last = time.monotonic()
            print(
                f"{name}: {done}/{total} {detail}" if total else f"{name}: starting",
                file=sys.stderr,
                flush=True,
            )

    return show
