"""What relations amount to: the value they end in, the labels they carry, the function they define."""

import re
from collections.abc import Sequence

from toolkit.verifiers.forms import (
    CONSTANTS,
    NODES,
    Call,
    Form,
    Name,
    Node,
    Number,
    Ratio,
    Relation,
    Row,
    Unreadable,
    names,
)
from toolkit.verifiers.numeric import Undefined, evaluate
from toolkit.verifiers.values import compare, near


def ending(form: Form) -> Form | None:
    """The value a chain of equalities ends in; None where it ends in none or contradicts itself."""
    if not isinstance(form, Relation):
        return None
    if form.signs == ("in",):
        return form.sides[1]
    sides, signs = form.sides, form.signs
    if "~" in signs:
        exact = signs.index("~")
        sides, signs = (sides[: exact + 1], signs[:exact]) if exact else (sides, ("=", *signs[1:]))
        if "~" in signs:
            sides, signs = sides[:2], signs[:1]
    if set(signs) - {"="}:
        return None
    known = [s for s in sides if isinstance(s, NODES) and not names(s)]
    if not known:
        return sides[-1]
    value = _agreed(known)
    if value is None:
        return None
    if isinstance(sides[-1], NODES) and not names(sides[-1]):
        return value
    return value if len(sides) == 2 and isinstance(sides[1], Name) else sides[-1]


def _agreed(known: Sequence[Node]) -> Node | None:
    """The one value that all of these have, a rounded decimal giving way; None where they differ."""
    exact = [n for n in known if not _decimal(n)] or list(known)
    value = exact[-1]
    try:
        first = evaluate(_unmarked(value), {})
        for other in known:
            now = evaluate(_unmarked(other), {})
            if compare(first, now) is not True and not (_decimal(other) and _rounds(other, first)):
                return None
    except (Undefined, Unreadable):
        return None
    return value


def _unmarked(node: Node) -> Node:
    """The node without a mark of degrees at its end: 180 - 132 = 48 degrees is no contradiction."""
    return node.args[0] if isinstance(node, Call) and node.op == "deg" else node


def _decimal(node: Node) -> bool:
    match node:
        case Call("neg" | "%", (inner,)):
            return _decimal(inner)
        case Number(_, digits):
            return digits > 0
    return False


def _rounds(node: Node, value: object) -> bool:
    """Whether a decimal is within one unit of its last digit of the value."""
    match node:
        case Call("neg", (Number() as inner,)):
            return _rounds(inner, -value)  # type: ignore[operator]
        case Call("%", (Number() as inner,)):
            return _rounds(inner, 100 * value)  # type: ignore[operator]
        case Number():
            return near(node, value)
    return False


def name_like(form: Form) -> bool:
    """Whether a left side only names what is on the right: `x`, `f(x)`, `AB`, `|z|`, `(p, q)`; not `2x + z`."""
    match form:
        case Name(text):
            return text not in CONSTANTS
        case Call("+" | "neg" | "pm" | "mp"):
            return False
        case Call("*", args):
            return all(not isinstance(arg, Number) for arg in args) and bool(names(form))
        case Call() | Ratio():
            return bool(names(form))
        case Row(items):
            return all(isinstance(item, Name) for item in items)
        case Relation():
            return False
    return False


def labelled(items: Sequence[Form]) -> tuple[Form, ...] | None:
    """The left sides of items that are all equalities; None where one is not."""
    made = [
        item.sides[0] for item in items if isinstance(item, Relation) and set(item.signs) <= {"=", "~", "in"}
    ]
    return tuple(made) if items and len(made) == len(items) else None


def indexed(labels: Sequence[Form]) -> bool:
    """Whether labels differ in their number alone, as the roots x_1 and x_2 do."""
    return all(isinstance(label, Name) for label in labels) and (
        len({re.sub(r"_\d+$", "_", label.text) for label in labels if isinstance(label, Name)}) == 1
    )


def as_rows(items: Sequence[Form]) -> tuple[Form, ...]:
    """Labels that come round again stand for tuples: p=5, q=2, p=7, q=2 is (5,2), (7,2).

    A label on the first item alone is a label on all of them: a=4, -8, -10.
    """
    first = items[0] if items else None
    if isinstance(first, Relation) and not any(isinstance(item, Relation) for item in items[1:]):
        value = ending(first)
        return (value, *items[1:]) if value is not None and name_like(first.sides[0]) else tuple(items)
    labels = labelled(items)
    size = len(set(labels)) if labels else 0
    if labels is None or size < 2 or len(items) <= size or len(items) % size:
        return tuple(items)
    if any(label != labels[i % size] for i, label in enumerate(labels)):
        return tuple(items)
    values = [ending(item) or item for item in items]
    return tuple(Row(tuple(values[i : i + size]), "(", ")") for i in range(0, len(values), size))


def defined(relation: Relation) -> Node | None:
    """The formula by which `f(x) = ...` or `y = ...` defines a function of what stands in it; else None."""
    match relation:
        case Relation((Call("*", (Name(), Name(argument))), right), ("=",)) if isinstance(right, NODES):
            return right if names(right) <= {argument} else None
        case Relation((Name(text), right), ("=",)) if isinstance(right, NODES) and names(right):
            return right if text not in names(right) else None
    return None


def same_argument(gold: Relation, answer: Relation) -> Form | None:
    """The right side of f(z) = z with the gold's argument in place of its own; None for other relations."""
    match gold, answer:
        case (
            Relation((Call("*", (Name(), Name(mine))), _), ("=",)),
            Relation((Call("*", (Name(), Name(yours))), right), ("=",)),
        ):
            return right if mine == yours else _renamed(right, yours, mine)
    return None


def _renamed(form: Form, old: str, new: str) -> Form | None:
    match form:
        case Name(text):
            return Name(new) if text == old else form
        case Number():
            return form
        case Call(op, args):
            made = [_renamed(arg, old, new) for arg in args]
            return Call(op, tuple(m for m in made if isinstance(m, NODES)))
    return None


def degree(node: Node) -> int | None:
    """The total degree of a polynomial as it is written; None for what is not visibly one."""
    if not names(node):
        return 0
    match node:
        case Name():
            return 1
        case Call("+" | "neg", args):
            found = [degree(arg) for arg in args]
            return None if None in found else max(d for d in found if d is not None)
        case Call("*", (left, right)):
            one, two = degree(left), degree(right)
            return None if one is None or two is None else one + two
        case Call("/", (top, bottom)) if not names(bottom):
            return degree(top)
        case Call("^", (base, Number(power, 0))) if power > 0:
            inner = degree(base)
            return None if inner is None else inner * int(power)
    return None
