"""A picture: a chart drawn for wide and for narrow screens, with what is written around it and its numbers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from toolkit.report import charts, forest
from toolkit.report.blocks import Cell, Figure
from toolkit.report.charts import Axes, Point, Series
from toolkit.report.facts import Json
from toolkit.report.figures import known
from toolkit.report.forest import Entry

SIZES = ((690, 390), (350, 310))  # pixels: wide and narrow screens
Numbers = Sequence[Sequence[Cell]]
VALUE = ("value", "low", "high")


@dataclass(frozen=True, slots=True)
class Picture:
    """What is written around a chart."""

    name: str
    title: str
    caption: str
    x_title: str


def curved(
    picture: Picture, series: Sequence[Series], axes: Axes, table: tuple[Sequence[str], Numbers]
) -> Figure:
    wide, narrow = (charts.chart(series, *size, axes) for size in SIZES)
    titled = picture.x_title + (", logarithmic" if wide.log else "")
    return Figure(picture.name, picture.title, picture.caption, titled, wide, narrow, *table)


def forested(
    picture: Picture,
    entries: Sequence[Entry],
    text: Callable[[float], str],
    table: tuple[Sequence[str], Numbers],
) -> Figure | None:
    if all(entry.value is None for entry in entries):
        return None
    wide, narrow = (forest.forest(entries, width, text) for width, _ in SIZES)
    return Figure(picture.name, picture.title, picture.caption, picture.x_title, wide, narrow, *table)


def entry(label: str, x: Json, series: int) -> Entry:
    return Entry(label, x["value"], x.get("low"), x.get("high"), series)


def point(x: float, y: Json) -> Point:
    return Point(x, y["value"], y["low"], y["high"])


def banded(x: Json | None) -> bool:
    return x is not None and known(x) and x.get("low") is not None and x.get("high") is not None


def ends(x: Json | None) -> list[float | None]:
    return [(x or {}).get(part) for part in VALUE]


def share_mark(y: float) -> str:
    return f"{round(100 * y, 1):g} %"
