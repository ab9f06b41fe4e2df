"""What a section of the page is made of: words and numbers ready to be shown. The template gives each kind its form."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from toolkit.report.charts import Chart
from toolkit.report.forest import Forest

Graph = Chart | Forest
Cell = str | float | int | None


@dataclass(frozen=True, slots=True)
class Row:
    label: str
    cells: Sequence[str]
    note: str = ""  # small, under the label
    main: bool = False  # what the verdict rests on


@dataclass(frozen=True, slots=True)
class Table:
    """`head` names the row labels and every column of cells."""

    kind: ClassVar[str] = "table"
    caption: str
    head: Sequence[str]
    rows: Sequence[Row]
    words: frozenset[int] = frozenset()  # cells that hold sentences: to the left, and wrapped
    folded: str = ""  # the line that opens it; empty: it is open


@dataclass(frozen=True, slots=True)
class Note:
    kind: ClassVar[str] = "note"
    text: str


@dataclass(frozen=True, slots=True)
class Listing:
    kind: ClassVar[str] = "listing"
    items: Sequence[str]


@dataclass(frozen=True, slots=True)
class Absent:
    """Something the run has not made yet, and the verb that makes it."""

    kind: ClassVar[str] = "absent"
    what: str
    verb: str


@dataclass(frozen=True, slots=True)
class Figure:
    """A picture for wide and for narrow screens, and the numbers behind it."""

    kind: ClassVar[str] = "figure"
    name: str  # of its files
    title: str
    caption: str
    x_title: str
    wide: Graph
    narrow: Graph
    columns: Sequence[str]
    numbers: Sequence[Sequence[Cell]]


Block = Table | Note | Listing | Absent | Figure


@dataclass(frozen=True, slots=True)
class Section:
    id: str
    title: str
    blocks: Sequence[Block]

    @property
    def figures(self) -> list[Figure]:
        return [block for block in self.blocks if isinstance(block, Figure)]
