"""Geometry of the page's charts: numbers in, pixel positions out. The template draws them as SVG.

Nothing here makes markup, so nothing here needs escaping.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

DASHES = ("none", "7 4", "2 3", "10 3 2 3", "14 4", "4 2 1 2")
MARKERS = ("circle", "square", "diamond", "triangle", "cross", "ring")
TOP, BOTTOM, LEFT = 12, 46, 48
LINE = 17  # pixels between two labels


@dataclass(frozen=True, slots=True)
class Point:
    x: float
    y: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Series:
    label: str
    points: Sequence[Point]


def _percent(y: float) -> str:
    return f"{round(100 * y, 1):g} %"


@dataclass(frozen=True, slots=True)
class Axes:
    """How the marks of both axes read; `log` None: logarithmic where x spans more than a factor of 5."""

    x_text: Callable[[float], str]
    y_text: Callable[[float], str] = _percent
    log: bool | None = None


@dataclass(frozen=True, slots=True)
class Tick:
    at: float  # pixels
    text: str


@dataclass(frozen=True, slots=True)
class Curve:
    """One series in pixels. `band` is the outline of its interval."""

    label: str
    line: str
    band: str
    dots: tuple[tuple[float, float], ...]
    dash: str
    marker: str
    label_x: float
    label_y: float


@dataclass(frozen=True, slots=True)
class Frame:
    """A drawing's size, the box its marks lie in, and the ticks below it; in pixels."""

    width: int
    height: int
    left: float
    right: float
    top: float
    bottom: float
    x_ticks: tuple[Tick, ...]


@dataclass(frozen=True, slots=True)
class Chart(Frame):
    kind: ClassVar[str] = "curves"
    y_ticks: tuple[Tick, ...]
    curves: tuple[Curve, ...]
    log: bool


def chart(series: Sequence[Series], width: int, height: int, axes: Axes) -> Chart:
    """Curves over a positive amount (x), each with the band of its interval."""
    xs = [p.x for s in series for p in s.points]
    wide = max(xs) > 5 * min(xs) > 0 if axes.log is None else axes.log
    label_room = min(max(len(short(s.label)) for s in series) * 8.4 + 16, width * 0.3)
    left, right, top, bottom = float(LEFT), width - label_room, float(TOP), float(height - BOTTOM)
    y_marks = linear(
        min(p.low for s in series for p in s.points), max(p.high for s in series for p in s.points)
    )
    x_low, x_high = (min(xs), max(xs)) if wide else (0.0, max(xs))

    def to_x(x: float) -> float:
        if wide:
            part = math.log(x / x_low) / (math.log(x_high / x_low) or 1)
        else:
            part = (x - x_low) / ((x_high - x_low) or 1)
        return round(left + 8 + part * (right - left - 16), 1)

    def to_y(y: float) -> float:
        part = (y - y_marks[0]) / (y_marks[-1] - y_marks[0])
        return round(bottom - part * (bottom - top), 1)

    marks = _decades(x_low, x_high) if wide else linear(x_low, x_high, cut=True)
    return Chart(
        width, height, left, right, top, bottom,
        apart([Tick(to_x(x), axes.x_text(x)) for x in marks]),
        tuple(Tick(to_y(y), axes.y_text(y)) for y in y_marks),
        _spread([_curve(s, i, to_x, to_y) for i, s in enumerate(series)], top, bottom),
        wide,
    )  # fmt: skip


def short(label: str) -> str:
    return label if len(label) <= 14 else label[:13] + "…"


def _curve(s: Series, number: int, to_x: Callable[[float], float], to_y: Callable[[float], float]) -> Curve:
    dots = tuple((to_x(p.x), to_y(p.y)) for p in s.points)
    upper = [(to_x(p.x), to_y(p.high)) for p in s.points]
    lower = [(to_x(p.x), to_y(p.low)) for p in s.points]
    return Curve(
        short(s.label),
        _path(dots),
        _path([*upper, *reversed(lower)]),
        dots,
        DASHES[(number + number // len(DASHES)) % len(DASHES)],  # past the sixth, other pairs of the same
        MARKERS[number % len(MARKERS)],
        dots[-1][0] + 12,
        dots[-1][1],
    )


def _path(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:g},{y:g}" for x, y in points)


def _spread(curves: list[Curve], top: float, bottom: float) -> tuple[Curve, ...]:
    """Labels moved down where two would touch, then the whole stack up where it would leave the frame."""
    order = sorted(range(len(curves)), key=lambda i: curves[i].label_y)
    at: dict[int, float] = {}
    floor = top
    for i in order:
        at[i] = max(curves[i].label_y, floor)
        floor = at[i] + LINE
    ceiling = bottom
    for i in reversed(order):
        at[i] = min(at[i], ceiling)
        ceiling = at[i] - LINE
    return tuple(
        Curve(c.label, c.line, c.band, c.dots, c.dash, c.marker, c.label_x, at[i])
        for i, c in enumerate(curves)
    )


def linear(low: float, high: float, cut: bool = False) -> list[float]:
    """Round marks at 1, 2 or 5 times a power of ten that enclose the range (`cut`: that lie inside it)."""
    span = (high - low) or abs(high) or 1.0
    rough = span / 4
    unit = 10 ** math.floor(math.log10(rough))
    step = next(m * unit for m in (1, 2, 5, 10) if m * unit >= rough * 0.999)
    first = math.ceil(low / step - 1e-9) if cut else math.floor(low / step + 1e-9)
    last = math.floor(high / step + 1e-9) if cut else math.ceil(high / step - 1e-9)
    return [i * step for i in range(first, max(last, first + (0 if cut else 1)) + 1)]


def _decades(low: float, high: float) -> list[float]:
    """1, 2, 5, 10, ... inside the range."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    marks = [m * 10.0**p for p in powers for m in (1, 2, 5)]
    return [m for m in marks if low * 0.999 <= m <= high * 1.001]


def apart(ticks: list[Tick]) -> tuple[Tick, ...]:
    """Every tick whose text does not touch the one before it."""
    kept: list[Tick] = []
    for tick in ticks:
        if not kept or tick.at - kept[-1].at > 3.8 * (len(tick.text) + len(kept[-1].text)) + 10:
            kept.append(tick)
    return tuple(kept)
