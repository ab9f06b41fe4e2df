"""What a person sees while work goes on: a live line in a terminal, plain lines elsewhere. All on stderr."""

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator

from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from toolkit.report import figures
from toolkit.sample import Progress
from toolkit.types import PICO

console = Console(stderr=True, highlight=False, soft_wrap=True)
EVERY = 5.0  # seconds between plain lines
REFRESH = 0.2
MOST = 12  # arms shown at once

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
    """Progress of sampling: a table that follows along in a terminal, a line now and then elsewhere.

    When it has ended, however that came, one line stays that says what this process has brought.
    """
    started = time.monotonic()
    try:
        with _followed(name, progress, started):
            yield
    finally:
        if ended := _ending(progress, time.monotonic() - started):
            say(f"{name}: {ended}")


@contextlib.contextmanager
def _followed(name: str, progress: Progress, started: float) -> Iterator[None]:
    if console.is_terminal:
        with Live(
            get_renderable=lambda: _table(name, progress, started),
            console=console,
            transient=True,
            refresh_per_second=5,
        ):
            yield
        return
    ended = threading.Event()
    show = _plain(name)

    def watch() -> None:
        while not ended.wait(REFRESH):
            show(progress.done.total(), sum(progress.planned.values()), _detail(progress, started))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()


def _table(name: str, progress: Progress, started: float) -> Group:
    """Per arm what is done, what is out and why it goes no faster; below it money, retries and time."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in (name, "draws", "", "in flight", "limit", "truncated"):
        table.add_column(column, justify="right" if column == "draws" else "left")
    shown, more = _shown(progress)
    for arm, planned in shown.items():
        gate, done = progress.gates.get(arm), progress.done[arm]
        table.add_row(
            arm.removeprefix("evaluate/"),
            f"{done}/{planned}",
            ProgressBar(total=max(planned, 1), completed=done, width=24),
            "" if gate is None else str(gate.in_flight),
            "" if gate is None else (gate.binding() or f"up to {gate.concurrency} in flight"),
            str(progress.truncated[arm]),
        )
    return Group(table, Text(" · ".join(filter(None, (more, _footer(progress, started))))))


def _shown(progress: Progress) -> tuple[dict[str, int], str]:
    """The arms to show with what is planned of each, and what to say of the others: of many, the first not done."""
    if len(progress.planned) <= MOST:
        return progress.planned, ""
    going = {arm: n for arm, n in progress.planned.items() if progress.done[arm] < n}
    ended = len(progress.planned) - len(going)
    waiting = max(0, len(going) - MOST)
    more = [f"{ended} done" if ended else "", f"{waiting} wait" if waiting else ""]
    return dict(list(going.items())[:MOST]), ", ".join(filter(None, more))


def _ending(progress: Progress, seconds: float) -> str:
    """What came in these seconds, and where that leaves the run; empty where nothing came."""
    shown, more = _shown(progress)
    told = (
        f"{progress.here:,} draws in {_span(seconds)}",
        _arms(progress, shown),
        more,
        _money(progress),
        _retried(progress),
    )
    return " · ".join(filter(None, told)) if progress.here else ""


def _arms(progress: Progress, shown: Iterable[str]) -> str:
    return " · ".join(
        f"{arm.removeprefix('evaluate/')} {progress.done[arm]}/{progress.planned[arm]}" for arm in shown
    )


def _detail(progress: Progress, started: float) -> str:
    shown, more = _shown(progress)
    binding = " · ".join(
        f"{arm.removeprefix('evaluate/')} waits for {why}"
        for arm, gate in progress.gates.items()
        if arm in shown and (why := gate.binding())
    )
    return " · ".join(filter(None, (_arms(progress, shown), more, binding, _footer(progress, started))))


def _footer(progress: Progress, started: float) -> str:
    return " · ".join(filter(None, (_money(progress), _retried(progress), _left(progress, started))))


def _retried(progress: Progress) -> str:
    causes = ", ".join(f"{n} {kind}" for kind, n in progress.retries.items())
    return causes and f"retried: {causes}"


def _money(progress: Progress) -> str:
    """Spent, and what may still come of it, against the cap."""
    if progress.spend is None:
        return ""
    spend = progress.spend()
    if not spend.committed and progress.cap_pico is None:
        return ""
    parts = [f"spent {figures.usd(spend.settled / PICO)}"]
    parts += [f"{figures.usd(spend.uncertain / PICO)} uncertain"] if spend.uncertain else []
    parts += [f"cap {figures.usd(progress.cap_pico / PICO)}"] if progress.cap_pico is not None else []
    return ", ".join(parts)


def _left(progress: Progress, started: float) -> str:
    """Time left at the pace since the start of this process; what was there before does not count."""
    planned, done = sum(progress.planned.values()), progress.done.total()
    if not progress.here or done >= planned:
        return ""
    return f"about {_span((planned - done) * (time.monotonic() - started) / progress.here)} left"


def _span(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"


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
