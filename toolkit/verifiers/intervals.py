"""Intervals, and what describes them: inequalities in one variable, sets without some points."""

from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise

from toolkit.verifiers.forms import (
    INFINITY,
    NODES,
    Call,
    Form,
    Group,
    Name,
    Node,
    Relation,
    Row,
    Union,
    Unreadable,
    names,
)
from toolkit.verifiers.numeric import Undefined, as_float, evaluate

_LESS, _MORE = ("<", "<="), (">", ">=")
_FLIPPED = {">": "<", ">=": "<=", "!=": "!="}
_BELOW: Node = Call("neg", (INFINITY,))


def as_intervals(form: Form) -> Form | None:
    """The interval, or the union, that inequalities in one variable with fixed bounds describe; else None."""
    match form:
        case Relation(sides, signs):
            return _interval(sides, signs)
        case Group(items) if len(items) > 1 and not form.braced:
            parts = [as_intervals(item) if isinstance(item, Relation) else None for item in items]
            found = tuple(part for part in parts if part is not None)
            if (points := _left_out(items)) is not None:
                return without(Row((_BELOW, INFINITY), "(", ")"), points)
            if len(found) < len(items):
                return None
            return _both(found) or Union(found)
    return None


def _left_out(items: Sequence[Form]) -> Group | None:
    """The points of `x != 1, x != 2` and of `x != 1, 2`; None for other lists."""
    first, *rest = items
    if not (isinstance(first, Relation) and first.signs == ("!=",) and _variable(first.sides[0])):
        return None
    points = [
        item.sides[1] if isinstance(item, Relation) and item.signs == ("!=",) else item for item in rest
    ]
    return Group((first.sides[1], *points)) if all(map(_bound, points)) else None


def without(line: Form, points: Form) -> Form:
    """All real numbers but some: the intervals between them."""
    items = points.items if isinstance(points, Group) else (points,)
    found = [item for item in items if isinstance(item, NODES) and not names(item)]
    if len(found) < len(items) or not found or not isinstance(line, Row):
        raise Unreadable("a set without points that are no numbers")
    ordered = sorted(found, key=_size)
    edges: list[Form] = [line.items[0], *ordered, line.items[1]]
    return Union(tuple(Row((a, b), "(", ")") for a, b in pairwise(edges)))


def _size(node: Node) -> float:
    try:
        return float(as_float(evaluate(node, {})))
    except (TypeError, OverflowError, Undefined) as error:
        raise Unreadable("a bound without a size") from error


def _both(parts: Sequence[Form]) -> Form | None:
    """Two rays that meet, as in x >= 1 and x <= 3, are what they share; nobody says all numbers that way."""
    match parts:
        case (Row((low, Call("inf")), opening, _), Row((Call("neg", (Call("inf"),)), high), _, closing)) | (
            Row((Call("neg", (Call("inf"),)), high), _, closing),
            Row((low, Call("inf")), opening, _),
        ) if isinstance(low, NODES) and isinstance(high, NODES) and _size(low) < _size(high):
            return Row((low, high), opening, closing)
    return None


def _interval(sides: Sequence[Form], signs: Sequence[str]) -> Form | None:
    if len(signs) == 1 and signs[0] == "in":
        return sides[1] if isinstance(sides[1], Row | Union) else None
    if set(signs) <= set(_MORE):
        sides, signs = sides[::-1], [_FLIPPED[sign] for sign in signs[::-1]]
    match list(sides), list(signs):
        case [middle, point], ["!="] if _variable(middle) and _bound(point):
            return without(Row((_BELOW, INFINITY), "(", ")"), point)
    if not signs or not set(signs) <= set(_LESS):
        return None
    match list(sides):
        case [low, middle, high] if _variable(middle) and _bound(low) and _bound(high):
            return Row((low, high), "[" if signs[0] == "<=" else "(", "]" if signs[1] == "<=" else ")")
        case [middle, high] if _variable(middle) and _bound(high):
            return Row((_BELOW, high), "(", "]" if signs[0] == "<=" else ")")
        case [low, middle] if _variable(middle) and _bound(low):
            return Row((low, INFINITY), "[" if signs[0] == "<=" else "(", ")")
        case [low, Call("abs", (Name(),)), high] if (
            _positive(low) and _bound(high) and isinstance(high, NODES)
        ):
            inner, outer = _outside(low, signs[0] == "<="), "[]" if signs[1] == "<=" else "()"
            return _between(inner, high, outer)
        case [Call("abs", (Name(),)), high] if _positive(high):
            return _around(high, signs[0] == "<=")
        case [low, Call("abs", (Name(),))] if _positive(low):
            return _outside(low, signs[0] == "<=")
    return None


def _around(bound: Form, closed: bool) -> Row:
    """|x| < 5."""
    assert isinstance(bound, NODES)
    return Row((Call("neg", (bound,)), bound), *("[]" if closed else "()"))


def _outside(bound: Form, closed: bool) -> Union:
    """|x| > 5."""
    inner = _around(bound, closed)
    return Union(
        (
            Row((_BELOW, inner.items[0]), "(", inner.closing),
            Row((inner.items[1], INFINITY), inner.opening, ")"),
        )
    )


def _between(outside: Union, bound: Node, brackets: str) -> Union:
    """1 < |x| < 5: what is outside, cut at the bound."""
    left, right = outside.parts
    assert isinstance(left, Row)
    assert isinstance(right, Row)
    return Union(
        (
            Row((Call("neg", (bound,)), left.items[1]), brackets[0], left.closing),
            Row((right.items[0], bound), right.opening, brackets[1]),
        )
    )


def _positive(form: Form) -> bool:
    if not (isinstance(form, NODES) and not names(form)):
        return False
    value = evaluate(form, {})
    return isinstance(value, Fraction) and value > 0


def _variable(form: Form) -> bool:
    match form:
        case Name():
            return bool(names(form))
        case Call("*", (Name(), Name())):
            return True  # f(x)
    return False


def _bound(form: Form) -> bool:
    return isinstance(form, NODES) and not names(form)
