"""What an answer says, once read: numbers and formulas, and the shapes that hold them."""

from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Number:
    value: Fraction
    digits: int = 0  # significant digits, where it was written as a decimal; 0: an integer


@dataclass(frozen=True, slots=True)
class Name:
    """A variable, a constant (`pi`, `e`, `i`), or the letter of a choice."""

    text: str


@dataclass(frozen=True, slots=True)
class Call:
    """An operation: `+ * / ^ neg root abs floor ceil ! binom deg % pm mp inf`, or a function's name."""

    op: str
    args: "tuple[Node, ...]"


@dataclass(frozen=True, slots=True)
class Based:
    """Digits with their base, as `1011_2`."""

    digits: str
    base: int


@dataclass(frozen=True, slots=True)
class Row:
    """Items in order between brackets: a point, a vector, an interval."""

    items: "tuple[Form, ...]"
    opening: str
    closing: str


@dataclass(frozen=True, slots=True)
class Group:
    """Several answers: a set in braces, or items with commas or words between them."""

    items: "tuple[Form, ...]"
    braced: bool = False


@dataclass(frozen=True, slots=True)
class Union:
    """Intervals and sets taken together."""

    parts: "tuple[Form, ...]"


@dataclass(frozen=True, slots=True)
class Matrix:
    rows: "tuple[tuple[Form, ...], ...]"


@dataclass(frozen=True, slots=True)
class Ratio:
    """Parts with colons between them; also a time of day."""

    parts: "tuple[Node, ...]"


@dataclass(frozen=True, slots=True)
class Clock:
    """A time of day that says which half of it, as `3:30 PM`; hours from 0 to 23."""

    hour: int
    minute: int
    second: int


@dataclass(frozen=True, slots=True)
class Relation:
    """Sides with signs between them: `= < > <= >= != ~ in`."""

    sides: "tuple[Form, ...]"
    signs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Words:
    """An answer in plain words, in lower case."""

    text: str


Node: TypeAlias = Number | Name | Call
Form: TypeAlias = Node | Based | Row | Group | Union | Matrix | Ratio | Clock | Relation | Words

NODES = (Number, Name, Call)

CONSTANTS = {"pi", "e", "i"}
INFINITY = Call("inf", ())
UNKNOWN_BASE = "log's base"
UNSAID = Name("what is asked for")
REALS = Row((Call("neg", (INFINITY,)), INFINITY), "(", ")")


class Unreadable(Exception):
    """This text, or this value, is beyond the quick reader: algebra has to look at it."""


def names(form: Form) -> frozenset[str]:
    """The free variables of a form; `pi`, `e` and `i` are none."""
    match form:
        case Name(text):
            return frozenset() if text in CONSTANTS else frozenset({text})
        case Call(_, parts) | Row(parts) | Group(parts) | Union(parts) | Ratio(parts) | Relation(parts):
            return frozenset().union(*map(names, parts))
        case Matrix(rows):
            return frozenset().union(*(names(cell) for row in rows for cell in row))
    return frozenset()
