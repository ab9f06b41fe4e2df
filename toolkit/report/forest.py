"""Geometry of a chart with a line per estimate: its value as a dot, its 95 % interval as a bar.

Nothing here makes markup, so nothing here needs escaping.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from toolkit.report.charts import Frame, Tick, apart, linear

STEP = 25  # pixels from a line to the next
TOP, BOTTOM = 8, 46
LETTER = 7.8  # pixels of a letter at the page's size, about


@dataclass(frozen=True, slots=True)
class Entry:
    """An estimate and what it is of; without a value it is a heading over those that follow."""

    label: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    series: int = 0  # colour and marker, the same as in the curves


@dataclass(frozen=True, slots=True)
class Line:
    """One entry in pixels; `x` is None for a heading."""

    label: str
    y: float
    x: float | None
    low: float
    high: float
    series: int


@dataclass(frozen=True, slots=True)
class Forest(Frame):
    kind: ClassVar[str] = "forest"
    lines: tuple[Line, ...]
    zero: float | None  # where 0 lies, if it is inside


def forest(entries: Sequence[Entry], width: int, text: Callable[[float], str]) -> Forest:
    """Estimates below each other on one scale; at least one of them has a value."""
    ends = [e for entry in entries for e in (entry.value, entry.low, entry.high) if e is not None]
    longest = max(len(entry.label) for entry in entries)
    left, right = min(longest * LETTER + 20, width * 0.42), float(width - 12)
    marks = linear(min(ends), max(ends))
    low, high = marks[0], marks[-1]

    def to_x(x: float) -> float:
        return round(left + (x - low) / (high - low) * (right - left), 1)

    bottom = float(TOP + STEP * len(entries) + 4)
    keep = int((width * 0.42 - 20) / LETTER)
    lines = tuple(_line(entry, TOP + STEP * (i + 0.5), to_x, keep) for i, entry in enumerate(entries))
    return Forest(
        width, int(bottom) + BOTTOM, left, right, float(TOP), bottom,
        apart([Tick(to_x(x), text(x)) for x in marks]), lines, to_x(0.0) if low < 0 < high else None,
    )  # fmt: skip


def _line(entry: Entry, y: float, to_x: Callable[[float], float], keep: int) -> Line:
    if entry.value is None:
        return Line(entry.label, y, None, 0, 0, entry.series)
    label = entry.label if len(entry.label) <= keep else entry.label[: keep - 1] + "…"
    low, high = (entry.value if end is None else end for end in (entry.low, entry.high))
    return Line(label, y, to_x(entry.value), to_x(low), to_x(high), entry.series)
