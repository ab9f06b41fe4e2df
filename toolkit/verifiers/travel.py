"""Values between two processes that do not trust each other: plain data as JSON, objects as numbers.

The reader never runs the writer's code: no pickle, no class of the writer's. A subclass of a plain type
travels as the plain type, so an object whose `__eq__` always says yes arrives as its bare content, or as a
number that equals nothing. Runs inside the sandbox on whatever Python is there: 3.9 or newer, stdlib only.
"""

from __future__ import annotations

import math
import sys
from collections import deque
from collections.abc import Callable, ItemsView, Iterator, KeysView, ValuesView
from importlib import import_module
from itertools import islice

TYPE_CHECKING = False  # importing `typing` would take longer than most programs run
if TYPE_CHECKING:
    from typing import Any

ITEMS = 100_000  # of an iterator: one that yields more stays where it is

_SMALL = 2**63  # integers beyond travel as hexadecimal, which has no limit of digits
_SEQUENCES: tuple[tuple[Any, str], ...] = (
    (list, "list"),
    (tuple, "tuple"),
    (set, "set"),
    (frozenset, "frozenset"),
    (deque, "deque"),
    (KeysView, "keys"),
    (ValuesView, "values"),
)
_REBUILD: dict[str, Callable[[Any], Any]] = {
    "list": list,
    "tuple": tuple,
    "set": set,
    "frozenset": frozenset,
    "deque": deque,
    "iterator": iter,
    "keys": lambda items: dict.fromkeys(items).keys(),
    "values": lambda items: dict(enumerate(items)).values(),
    "dict": dict,
    "items": lambda items: dict(items).items(),
    "range": lambda parts: range(*parts),
    "complex": lambda parts: complex(*parts),
    "bytes": bytes,
    "bytearray": bytearray,
}
# Values of modules that are imported only where a program has: how they are taken apart, in this order.
_TAKE_APART: tuple[tuple[str, str, Callable[[Any], tuple[Any, ...]]], ...] = (
    ("decimal", "Decimal", lambda value: (str(value),)),
    ("fractions", "Fraction", lambda value: (value.numerator, value.denominator)),
    ("datetime", "timedelta", lambda value: (value.days, value.seconds, value.microseconds)),
    (
        "datetime",
        "datetime",
        lambda v: (v.year, v.month, v.day, v.hour, v.minute, v.second, v.microsecond),
    ),
    ("datetime", "date", lambda value: (value.year, value.month, value.day)),
    ("datetime", "time", lambda value: (value.hour, value.minute, value.second, value.microsecond)),
)
_TYPES: dict[str, type] = {
    kind.__name__: kind
    for kind in (int, float, str, bool, list, tuple, dict, set, frozenset, complex, bytes, bytearray, range)
}


class Malformed(BaseException):
    """What arrived is no value. No `Exception`: tests that catch everything must not swallow it."""


def encode(value: Any, opaque: Callable[[Any], int]) -> Any:
    """JSON for a value; `opaque` gives the number of an object that is no plain data, or raises."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int(value) if -_SMALL < value < _SMALL else ["int", hex(value)]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else ["float", repr(float(value))]
    items = _items(value)
    if items is not None:
        return [items[0], [encode(item, opaque) for item in items[1]]]
    if isinstance(value, type) and _TYPES.get(value.__name__) is value:
        return ["type", value.__name__]
    for module, name, parts in _TAKE_APART:
        kind = getattr(sys.modules.get(module), name, None)
        if kind is not None and isinstance(value, kind) and getattr(value, "tzinfo", None) is None:
            return ["made", module, name, [encode(part, opaque) for part in parts(value)]]
    return ["object", opaque(value)]


def _items(value: Any) -> tuple[str, list[Any]] | None:
    """The tag and the parts of what consists of parts."""
    for kind, tag in _SEQUENCES:
        if isinstance(value, kind):
            return tag, [*value]
    if isinstance(value, dict):
        return "dict", list(value.items())
    if isinstance(value, ItemsView):
        return "items", list(value)
    if isinstance(value, complex):
        return "complex", [value.real, value.imag]
    if isinstance(value, range):
        return "range", [value.start, value.stop, value.step]
    if isinstance(value, (bytes, bytearray)):
        return ("bytes" if isinstance(value, bytes) else "bytearray"), list(value)
    if isinstance(value, Iterator):
        items = list(islice(value, ITEMS + 1))
        return ("iterator", items) if len(items) <= ITEMS else None
    return None


def decode(data: Any, remote: Callable[[int], Any]) -> Any:
    """The value of some JSON; `remote` makes the stand-in of an object by its number. Raises Malformed."""
    try:
        return _decode(data, remote)
    except Exception as error:
        raise Malformed(f"{type(error).__name__}: {error}") from None


def _decode(data: Any, remote: Callable[[int], Any]) -> Any:
    if isinstance(data, dict):
        raise ValueError("a JSON object is no value")
    if not isinstance(data, list):
        return data
    tag, *rest = data
    if tag in _REBUILD:
        return _REBUILD[tag]([_decode(item, remote) for item in rest[0]])
    if tag == "made":
        return _made(*rest[:2])(*[_decode(part, remote) for part in rest[2]])
    if tag == "int":
        return int(rest[0], 16)
    simple: dict[str, Callable[[Any], Any]] = {"float": float, "type": _TYPES.__getitem__, "object": remote}
    return simple[tag](rest[0])


def _made(module: str, name: str) -> Any:
    """One of the few classes that may be made: what arrives cannot name another."""
    if all((module, name) != known[:2] for known in _TAKE_APART):
        raise ValueError(f"{module}.{name}")
    return getattr(import_module(module), name)
