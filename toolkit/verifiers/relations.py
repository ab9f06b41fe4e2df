"""Equations, inequalities and named values: what they state, and whether two of them say the same.

Their sides can be of any shape, so the comparison of shapes comes in as `same`.
"""

from collections.abc import Callable
from fractions import Fraction
from typing import TypeAlias

from toolkit.verifiers.forms import (
    NODES,
    Call,
    Form,
    Name,
    Node,
    Number,
    Relation,
    Unreadable,
    names,
)
from toolkit.verifiers.intervals import as_intervals
from toolkit.verifiers.numeric import Undefined, evaluate, point
from toolkit.verifiers.statements import defined, degree, ending, name_like, same_argument
from toolkit.verifiers.values import compare, same_nodes

Same: TypeAlias = Callable[[Form, Form], bool | None]

_FLIPPED = {"<": ">", ">": "<", "<=": ">=", ">=": "<=", "=": "=", "!=": "!=", "~": "~", "in": "in"}


def stated(gold: Form, answer: Relation, same: Same) -> bool | None:
    """An answer that says what the value is the value of: `x = 5`, `a + b = 4`, `2 + 2 = 4`, `x >= 5`."""
    if (region := as_intervals(answer)) is not None:
        return same(gold, region)
    value = ending(answer)
    if value is None:
        return False if _contradicts(answer) else None
    match answer.sides[0], value:
        case (Call("+") as left, Number(nothing)) if nothing == 0 and names(left):
            return False  # an equation set to zero names no value
    return same(gold, value)


def named(gold: Relation, answer: Form, same: Same) -> bool | None:
    """A gold that names its value is met by the value; one that is an equation is not."""
    if (region := as_intervals(gold)) is not None:
        return same(region, answer)
    value = ending(gold)
    if value is None:
        return False if isinstance(answer, NODES) else None
    if not name_like(gold.sides[0]) and (names(gold.sides[0]) or names(value)):
        return False
    return same(value, answer)


def _contradicts(relation: Relation) -> bool:
    """Whether numbers that differ are set equal, as in `4 = 5`."""
    known = [s for s in relation.sides if isinstance(s, NODES) and not names(s)]
    return set(relation.signs) == {"="} and any(same_nodes(known[0], other) is False for other in known[1:])


def match(gold: Relation, answer: Relation, same: Same) -> bool | None:
    if gold == answer or _side_by_side(gold, answer, same):
        return True
    if _contradicts(answer):
        return False
    if (ours := as_intervals(gold)) is not None and (theirs := as_intervals(answer)) is not None:
        return same(ours, theirs) if names(gold) == names(answer) else None
    return _equations(gold, answer, same)


def _side_by_side(gold: Relation, answer: Relation, same: Same) -> bool | None:
    """The same chain, from either end."""
    for sides, signs in (
        (answer.sides, answer.signs),
        (answer.sides[::-1], tuple(_FLIPPED[sign] for sign in answer.signs[::-1])),
    ):
        if signs == gold.signs and "in" not in signs and all(map(same, gold.sides, sides)):
            return True
    return None


def _equations(gold: Relation, answer: Relation, same: Same) -> bool | None:
    if (renamed := same_argument(gold, answer)) is not None:
        return same(gold.sides[-1], renamed)
    if (ours := defined(gold)) is not None and (theirs := defined(answer)) is not None:
        left_name, right_name = gold.sides[0], answer.sides[0]
        if left_name == right_name or not (isinstance(left_name, Name) and isinstance(right_name, Name)):
            return same(ours, theirs)  # f(x) = 2x and y = 2x are one function
    left, right = _difference(gold), _difference(answer)
    kinds = [tuple(_FLIPPED[s] if s.startswith(">") else s for s in r.signs) for r in (gold, answer)]
    if left is not None and right is not None and kinds[0] == kinds[1]:
        verdict = _multiples(left, right, kinds[0][0])
        if verdict is not None:
            return verdict
    last, other = ending(gold), ending(answer)
    if last is None or other is None:
        return None
    match gold.sides[0], answer.sides[0]:
        case (Name(mine), Name(yours)):
            return same(last, other) if mine == yours else None
    known = not names(last) and not names(other) and name_like(gold.sides[0]) and name_like(answer.sides[0])
    return same(last, other) if known else None


def _multiples(left: Node, right: Node, sign: str) -> bool | None:
    """Whether two differences are zero, or positive, together."""
    verdict = _proportional(left, right, sign)
    if verdict is None and sign == "=" and degree(left) == degree(right) is not None:
        return False  # of one degree, and no multiples: repeated factors aside, they have other zeros
    return verdict


def _difference(relation: Relation) -> Node | None:
    """The left side less the right, of a relation of two formulas; the greater side less the smaller."""
    match relation:
        case Relation((left, right), (sign,)) if isinstance(left, NODES) and isinstance(right, NODES):
            if sign.startswith("<"):
                left, right = right, left
            return Call("+", (left, Call("neg", (right,))))
    return None


def _proportional(left: Node, right: Node, sign: str) -> bool | None:
    """Whether one is a constant times the other, at three points; for an inequality the constant is positive."""
    free = names(left) | names(right)
    if names(left) != names(right) or not free:
        return None
    quotient = Call("/", (left, right))
    try:
        ratios = [evaluate(quotient, point(free, trial)) for trial in range(3)]
    except (Undefined, Unreadable):
        return None
    if not all(compare(ratios[0], ratio) for ratio in ratios[1:]):
        return None
    if sign in ("=", "!="):
        return True
    return bool(ratios[0] > 0) if isinstance(ratios[0], Fraction) else None
