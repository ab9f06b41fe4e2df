"""Whether two formulas have the same value: exactly, to sixty digits, or as a long decimal's rounding."""

from fractions import Fraction

from toolkit.verifiers.forms import UNKNOWN_BASE, Call, Name, Node, Number, Unreadable, names
from toolkit.verifiers.numeric import Undefined, Value, as_float, context, evaluate, point, power_of_ten

EQUAL, UNEQUAL = 40, 25  # digits: what agrees to so many is equal; what does not to so many is not
LONG_DECIMAL = 10  # significant digits from which a decimal may be the rounding of a value that goes on


def same_nodes(gold: Node, answer: Node) -> bool | None:
    """Formulas, with a mark of degrees or percent at their end read both ways."""
    if gold == answer:
        return True
    endless = infinite(gold), infinite(answer)
    if any(endless):
        return endless[0] == endless[1]
    verdicts = [same_values(left, right) for left, right in _marked(gold, answer)]
    if True in verdicts:
        return True
    return None if None in verdicts else False


def _marked(gold: Node, answer: Node) -> list[tuple[Node, Node]]:
    """The pairs to compare: 50% is 50 and a half, 60 degrees are 60 and a third of pi, unless both are marked."""
    match gold, answer:
        case (Call("%", (left,)), Call("%", (right,))) | (Call("deg", (left,)), Call("deg", (right,))):
            return [(left, right)]
        case (Call("%" | "deg", (left,)), _):
            return [(left, answer), (gold, answer)]
        case (_, Call("%" | "deg", (right,))):
            return [(gold, right), (gold, answer)]
    return [(gold, answer)]


def infinite(node: Node) -> int:
    match node:
        case Call("inf"):
            return 1
        case Call("neg", (inner,)):
            return -infinite(inner)
    return 0


def same_values(gold: Node, answer: Node) -> bool | None:
    free = names(gold) | names(answer)
    if (UNKNOWN_BASE in names(gold)) != (UNKNOWN_BASE in names(answer)):
        gold, answer = _with_base_ten(gold), _with_base_ten(answer)
        free = names(gold) | names(answer)
    if not free:
        return _constants(gold, answer)
    for trial in range(2):
        verdict = _at(gold, answer, free, trial)
        if not verdict:
            return verdict
    try:
        return True if _at(gold, answer, free, 2) else None
    except (Undefined, Unreadable):
        return True  # a formula of positive numbers


def _with_base_ten(node: Node) -> Node:
    match node:
        case Name(text) if text == UNKNOWN_BASE:
            return Call("ln", (Number(Fraction(10)),))
        case Call(op, args):
            return Call(op, tuple(_with_base_ten(arg) for arg in args))
    return node


def _at(gold: Node, answer: Node, free: frozenset[str], trial: int) -> bool | None:
    where = point(free, trial)
    return compare(evaluate(gold, where), evaluate(answer, where))


def _constants(gold: Node, answer: Node) -> bool | None:
    left = evaluate(gold, {})
    try:
        right = evaluate(answer, {})
    except Undefined:
        return False  # 1/0 is no value, so not this one
    verdict = compare(left, right)
    if verdict is False:
        return _rounded(gold, right) or _rounded(answer, left)
    return verdict


def _rounded(node: Node, value: Value) -> bool:
    """Whether the node is a long decimal that ends where the value goes on."""
    match node:
        case Call("neg", (inner,)):
            return _rounded(inner, -value)
        case Call("%", (inner,)):
            return _rounded(inner, 100 * value)
        case Number(_, digits) if digits >= LONG_DECIMAL:
            return not _ends(value, digits) and near(node, value)
    return False


def _ends(value: Value, digits: int) -> bool:
    """Whether the value is itself a decimal of no more digits: then every digit counts."""
    if not isinstance(value, Fraction):
        return False
    bottom = value.denominator
    for prime in (2, 5):
        while bottom % prime == 0:
            bottom //= prime
    return bottom == 1 and len(str(value.numerator)) <= digits


def compare(left: Value, right: Value) -> bool | None:
    """Whether two values are equal; None where sixty digits do not tell."""
    if isinstance(left, Fraction) and isinstance(right, Fraction):
        return left == right
    mp = context()
    left, right = as_float(left), as_float(right)
    if not (mp.isfinite(left) and mp.isfinite(right)):
        return bool(left == right)
    apart, size = abs(left - right), max(abs(left), abs(right))
    if apart <= size * power_of_ten(-EQUAL):
        return True
    if apart > size * power_of_ten(-UNEQUAL):
        # Zero has no size of its own: what sixty digits leave of a sum that cancels is not told from it.
        return None if size < power_of_ten(-EQUAL) and (left == 0 or right == 0) else False
    return None


def near(decimal: Number, value: Value) -> bool:
    """Whether a long decimal is the value, rounded or cut off where it ends, or as floating point prints it."""
    mp = context()
    exact = as_float(value)
    if mp.im(exact) != 0:
        return False
    step = as_float(_last_place(decimal))
    apart = abs(as_float(decimal.value) - exact)
    return bool(apart <= step or apart <= abs(exact) * power_of_ten(-14))


def _last_place(decimal: Number) -> Fraction:
    """One unit of the last digit that was written."""
    value = abs(decimal.value)
    if value == 0:
        return Fraction(0)
    size = len(str(value.numerator // value.denominator)) if value >= 1 else 0
    while size <= 0 and value * 10 ** (1 - size) < 1:
        size -= 1
    return Fraction(10) ** (size - decimal.digits)
