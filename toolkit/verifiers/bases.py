"""Numbers written in another base than ten."""

import re
from fractions import Fraction

from toolkit.verifiers.forms import NODES, Based, Call, Form, Number, names
from toolkit.verifiers.numerals import SMALL
from toolkit.verifiers.numeric import evaluate

_DIGITS = r"(-?)(?:\(([0-9A-F]+)\)|([0-9A-F]*[0-9][0-9A-F]*))"
_SUBSCRIPT = r"_\s*(?:\{\s*\(?(?:\\text\s*\{)?\s*(?:base )?(\w+)\s*\}?\)?\s*\}|(\d+))"
_NAMED = r"\s*(?:\\[,; ])?\s*\(?(?:\\text\s*\{)?\s*\(?base[ -](\w+)\)?\s*\}?\)?"
_WRITTEN = re.compile(rf"{_DIGITS}(?:{_SUBSCRIPT}|{_NAMED})")


def in_base(text: str) -> Based | None:
    """`1101_2`, `(1101)_{two}`, `1101 base 2`, `2B_{16}`; None for anything else."""
    found = _WRITTEN.fullmatch(text)
    if found is None:
        return None
    sign, *groups = found.groups()
    digits, base = (next(group for group in part if group) for part in (groups[:2], groups[2:]))
    size = int(base) if base.isdigit() and len(base) <= 2 else SMALL.get(base.lower(), 0)
    return Based(sign + digits, size) if 2 <= size <= 36 and _below(digits, size) else None


def _below(digits: str, base: int) -> bool:
    return digits.isdigit() or all(int(digit, 36) < base for digit in digits)


def same_digits(gold: Form, answer: Form) -> bool | None:
    """Digits and base count. A base that is left out is the gold's."""
    match gold, answer:
        case (Based(), Based()):
            return gold == answer
        case (Based(digits), Number(value)):
            return not digits.isupper() and Fraction(digits) == value
        case (Based(digits), Call("neg", (Number(value),))):
            return not digits.isupper() and Fraction(digits) == -value
        case (_, Based(digits, base)) if isinstance(gold, NODES) and not names(gold):
            try:
                return bool(evaluate(gold, {}) == int(digits, base))
            except ValueError:
                return None
    return False if isinstance(gold, (Based, *NODES)) and isinstance(answer, (Based, *NODES)) else None
