"""Whether two forms say the same: yes, no, or None where this module cannot tell.

A no is held to the evidence of a yes: both sides were read whole and are of kinds that can be compared.
Formulas are compared by their values, exactly or to sixty digits; with free variables at two points, and
at a third with negative values, where a root or an absolute value may part ways.
"""

import re
from collections.abc import Sequence
from fractions import Fraction

from toolkit.verifiers import relations
from toolkit.verifiers.bases import same_digits
from toolkit.verifiers.clocks import same_time
from toolkit.verifiers.forms import (
    NODES,
    Based,
    Call,
    Clock,
    Form,
    Group,
    Matrix,
    Name,
    Node,
    Number,
    Ratio,
    Relation,
    Row,
    Union,
    Unreadable,
    Words,
)
from toolkit.verifiers.intervals import as_intervals
from toolkit.verifiers.numeric import Undefined
from toolkit.verifiers.signs import expanded
from toolkit.verifiers.statements import as_rows, ending, indexed, labelled
from toolkit.verifiers.values import infinite, same_nodes, same_values

_PLAIN = (Row, Words, Based, Ratio, Clock, *NODES)
_PREDICATE = re.compile(
    r" (?:has|have|had|is|are|was|were|will|would|can|does|did|should|wins|won|gets|got) (?!.*\b(?:not|no|never)\b)"
)
MOST = 150  # items of a list: matching them is quadratic


def same(gold: Form, answer: Form) -> bool | None:
    """Whether the answer says what the gold says."""
    try:
        return _same(expanded(gold), expanded(answer))
    except (Unreadable, Undefined, RecursionError):
        return None


def _same(gold: Form, answer: Form) -> bool | None:
    match gold, answer:
        case (Relation(), Relation()):
            return relations.match(gold, answer, _same)
        case (Group(), _) | (_, Group()):
            return _groups(gold, answer)
        case (Relation(), _):
            return relations.named(gold, answer, _same)
        case (_, Relation()):
            return relations.stated(gold, answer, _same)
        case (Union(), _) | (_, Union()):
            return _unions(gold, answer)
        case (Matrix(), _) | (_, Matrix()):
            return _matrices(gold, answer)
        case (Row(), _) | (_, Row()):
            return _rows(gold, answer)
        case (Words(), _) | (_, Words()):
            return _words(gold, answer)
        case (Clock(), _) | (_, Clock()):
            return same_time(gold, answer)
        case (Based(), _) | (_, Based()):
            return same_digits(gold, answer)
        case (Ratio(), _) | (_, Ratio()):
            return _ratios(gold, answer)
    assert isinstance(gold, NODES)
    assert isinstance(answer, NODES)
    return same_nodes(gold, answer)


def _all(verdicts: Sequence[bool | None]) -> bool | None:
    if False in verdicts:
        return False
    return None if None in verdicts else True


def _in_order(gold: Sequence[Form], answer: Sequence[Form]) -> bool | None:
    if len(gold) != len(answer):
        return False
    return _all([_same(left, right) for left, right in zip(gold, answer, strict=True)])


def _in_any_order(gold: Sequence[Form], answer: Sequence[Form]) -> bool | None:
    """Whether every item has its own partner. Equality is transitive, so the first partner will do."""
    if len(gold) > MOST or len(answer) > MOST:
        return None
    if len(gold) != len(answer):
        return False if _distinct(gold) and _distinct(answer) else None
    left, unsure = list(answer), False
    for item in gold:
        verdicts = [_same(item, other) for other in left]
        if True in verdicts:
            left.pop(verdicts.index(True))
        elif None in verdicts:
            unsure = True
        else:
            return False
    return None if unsure else True


def _distinct(items: Sequence[Form]) -> bool:
    """Whether no two items can be the same."""
    return all(_same(a, b) is False for i, a in enumerate(items) for b in items[:i])


def _unique(items: Sequence[Form]) -> tuple[Form, ...]:
    if len(items) > MOST:
        return tuple(items)
    kept: list[Form] = []
    for item in items:
        if not any(_same(item, other) for other in kept):
            kept.append(item)
    return tuple(kept)


def _groups(gold: Form, answer: Form) -> bool | None:
    """Sets and lists, in any order; a list without brackets is also a tuple, a set is not."""
    if _lined_up(gold, answer):
        return True
    gold, answer = _collapsed(gold), _collapsed(answer)
    match gold, answer:
        case (Group(left), Group(right)):
            return _lists(left, right)
        case (Group(left, braced), Row(right)) | (Row(right), Group(left, braced)):
            if braced:
                return False
            if (verdict := _regions(gold, answer)) or (isinstance(gold, Row) and _interval_like(gold)):
                return verdict
            return _in_order(_plain(left), _plain(right))
        case (Relation(sides, signs), Group(items, False)) if len(sides) > 2 and set(signs) in ({"<"}, {">"}):
            return _in_order(sides, items)  # an order that was asked for
        case (Group(items, False), Matrix() as column) | (Matrix() as column, Group(items, False)):
            return _matrices(Row(items, "(", ")"), column)
        case (Union(parts), Group(items, False)) if all(isinstance(item, Row) for item in items):
            return _in_any_order(parts, items)
        case (Group(), Union() | Matrix()) | (Union() | Matrix(), Group()):
            return _regions(gold, answer)
        case (Group(), Relation()):
            value = as_intervals(answer) or ending(answer)
            return _same(gold, value) if value is not None else None
        case (Relation(), Group()):
            value = ending(gold)
            return (
                _same(value, answer) if isinstance(value, (Group, Row)) else None if value is None else False
            )
        case (Group(items), _):
            return False if len(items) != 1 else _same(items[0], answer)
        case (_, Group(items)):
            return False if len(items) != 1 else _same(gold, items[0])
    return _same(gold, answer)


def _lined_up(gold: Form, answer: Form) -> bool:
    """Whether items stand one for one as they were written, repetitions included."""
    match gold, answer:
        case (Group(left, ours), Group(right, theirs)) if ours == theirs and len(left) == len(right):
            return _in_order(_plain(left), _plain(right)) is True and (
                labelled(left) == labelled(right) or None in (labelled(left), labelled(right))
            )
        case (Group(left, False), Row(right)) | (Row(right), Group(left, False)):
            bracketed = isinstance(gold, Row) and _interval_like(gold)
            return not bracketed and _in_order(_plain(left), _plain(right)) is True
    return False


def _regions(gold: Form, answer: Form) -> bool | None:
    """A list of inequalities against an interval or a union; a list of numbers is none."""
    group, other = (gold, answer) if isinstance(gold, Group) else (answer, gold)
    assert isinstance(group, Group)
    if (both := as_intervals(group)) is not None:
        return _same(both, other)
    return False if all(isinstance(item, NODES) for item in group.items) else None


def _collapsed(form: Form) -> Form:
    """A list that says one thing in several ways is that thing."""
    if not isinstance(form, Group):
        return form
    items = _unique(as_rows(form.items))
    return items[0] if len(items) == 1 and not form.braced else Group(items, form.braced)


def _lists(gold: Sequence[Form], answer: Sequence[Form]) -> bool | None:
    """Labels count where both have them. Different labels on one side put its values in order."""
    ours, theirs = labelled(gold), labelled(answer)
    if (ours is None) == (theirs is None):
        return _in_any_order(gold, answer)
    labels = ours or theirs or ()
    if indexed(labels):
        return _in_any_order(_plain(gold), _plain(answer))
    left, right = _plain(gold), _plain(answer)
    if len(set(labels)) == 1 or len(set(labels)) < len(labels):
        return _in_any_order(left, right)
    return _in_order(left, right)


def _plain(items: Sequence[Form]) -> list[Form]:
    """The items without their labels."""
    return [ending(item) or item for item in items]


def _rows(gold: Form, answer: Form) -> bool | None:
    match gold, answer:
        case (Row(left), Row(right)):
            if len(left) != len(right):
                return False
            brackets = _brackets(gold) == _brackets(answer)
            if not brackets and (len(left) == 2 or _half_open(gold) or _half_open(answer)):
                return False  # (0, 1) is not [0, 1]
            return _in_order(_plain(left), _plain(right))
    return False if isinstance(gold, _PLAIN) and isinstance(answer, _PLAIN) else None


def _brackets(row: Row) -> tuple[str, str]:
    """The brackets, round ones at infinity."""
    first, last = row.items[0], row.items[-1]
    opening = "(" if isinstance(first, NODES) and infinite(first) else row.opening
    return opening, ")" if isinstance(last, NODES) and infinite(last) else row.closing


def _half_open(row: Row) -> bool:
    return (row.opening, row.closing) not in (("(", ")"), ("[", "]"))


def _interval_like(row: Row) -> bool:
    return len(row.items) == 2 and (row.opening, row.closing) != ("(", ")")


def _unions(gold: Form, answer: Form) -> bool | None:
    match gold, answer:
        case (Union(left), Union(right)):
            verdict = _in_any_order(left, right)
            return verdict if verdict or len(left) == len(right) else None
        case (Union(parts), Row()) | (Row(), Union(parts)):
            return None if any(_touching(a, b) for a in parts for b in parts) else False
    return False if isinstance(gold, _PLAIN) or isinstance(answer, _PLAIN) else None


def _touching(left: Form, right: Form) -> bool:
    """Whether two different parts of a union may be one interval: one starts where the other ends, and one is closed."""
    match left, right:
        case (Row((_, end), _, closing), Row((start, _), opening, _)):
            return (closing == "]" or opening == "[") and _same(end, start) is not False
    return not (isinstance(left, Row) and isinstance(right, Row))


def _matrices(gold: Form, answer: Form) -> bool | None:
    """A column equals the tuple of its entries."""
    left_side, right_side = _as_matrix(gold), _as_matrix(answer)
    match left_side, right_side:
        case (Matrix(left), Matrix(right)):
            if len(left) != len(right) or len(left[0]) != len(right[0]):
                return False
            return _all([_in_order(a, b) for a, b in zip(left, right, strict=True)])
        case (Matrix(rows), Row() as other) | (Row() as other, Matrix(rows)):
            if _half_open(other) or (len(rows[0]) != 1 and len(rows) != 1):
                return False
            return _in_order([cell for row in rows for cell in row], other.items)
        case (Matrix(((cell,),)), _):
            return _same(cell, answer)
    rest = right_side if isinstance(left_side, Matrix) else left_side
    return False if isinstance(rest, (Words, Row, Union, *NODES)) else None


def _as_matrix(form: Form) -> Form:
    """A row of rows is a matrix."""
    match form:
        case Row(items) if items and all(isinstance(item, Row) for item in items):
            rows = tuple(item.items for item in items if isinstance(item, Row))
            return Matrix(rows) if len({len(row) for row in rows}) == 1 else form
    return form


def _words(gold: Form, answer: Form) -> bool | None:
    match gold, answer:
        case (Words(left), Words(right)):
            return left == right or _predicated(left, right)
        case (Words(text), Name() | Call() as node) | (Name() | Call() as node, Words(text)) if (
            spelled := _spelled(node)
        ):
            return spelled == text
        case (Words(text), Call("inf")) | (Call("inf"), Words(text)):
            return None if "infinit" in text else False
    return False if isinstance(gold, _PLAIN) and isinstance(answer, _PLAIN) else None


def _predicated(name: str, sentence: str) -> bool:
    """Whether the sentence names this and goes on to say something of it: Evelyn has the greatest speed."""
    return sentence.startswith(f"{name} ") and _PREDICATE.match(sentence, len(name)) is not None


def _spelled(node: Node) -> str:
    """The word that letters side by side spell; empty where they are more than letters."""
    match node:
        case Name(text):
            return text.lower()
        case Call("*", args):
            parts = [_spelled(arg) for arg in args]
            return "".join(parts) if all(parts) else ""
    return ""


def _ratios(gold: Form, answer: Form) -> bool | None:
    """Proportional parts; a ratio of two is also their quotient."""
    match gold, answer:
        case (Ratio(left), Ratio(right)):
            if len(left) != len(right):
                return False
            if any(part == Number(Fraction(0)) for part in (*left, *right)):
                return _in_order(left, right)  # a time of day
            crossed = [
                same_values(Call("*", (a, right[0])), Call("*", (b, left[0])))
                for a, b in zip(left[1:], right[1:], strict=True)
            ]
            return _all(crossed)
        case (Ratio((top, bottom)), _) if isinstance(answer, NODES):
            return same_nodes(Call("/", (top, bottom)), answer)
        case (_, Ratio((top, bottom))) if isinstance(gold, NODES):
            return same_nodes(gold, Call("/", (top, bottom)))
    return None
