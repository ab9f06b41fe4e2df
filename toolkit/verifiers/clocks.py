"""Times of day."""

import re

from toolkit.verifiers.forms import NODES, Based, Clock, Form, Number, Ratio, Row, Words

_SPACE = r"(?:\s|~|\\[,;: ])*"
_WRITTEN = re.compile(
    rf"(?:at )?(\d{{1,2}})(?:(?:\{{:\}}|:)(\d\d)(?::(\d\d))?)?{_SPACE}(?:\\(?:text|textrm|mathrm|mbox|rm)\s*\{{)?"
    rf"{_SPACE}(?:([aApP])\.?\s*[mM]\b\.?|(noon|midnight)){_SPACE}\}}?\.?"
)
_TEXT = re.compile(r"\\(?:text|mbox|textrm|mathrm)\s*\{([^{}]*)\}")


def clock(text: str) -> Clock | None:
    """`3:30 PM`, `10 a.m.`, `12 noon`; None for what is not a time, or leaves its half open."""
    found = _WRITTEN.fullmatch(_TEXT.sub(r"\1", text))
    if found is None:
        return None
    hour, minute, second = (int(part or 0) for part in found.groups()[:3])
    if not (1 <= hour <= 12 and minute < 60 and second < 60):
        return None
    late = (found[4] or "").lower() == "p" or found[5] == "noon"
    return Clock(hour % 12 + 12 * late, minute, second)


def same_time(gold: Form, answer: Form) -> bool | None:
    """Morning is not evening; a time that leaves its half open may be either."""
    match gold, answer:
        case (Clock(), Clock()):
            return gold == answer
        case (Clock() as time, Ratio(parts)) | (Ratio(parts), Clock() as time):
            values = [part.value if isinstance(part, Number) else None for part in parts]
            wanted = [time.minute, time.second] if len(values) == 3 else [time.minute]
            return values[1:] == wanted and values[0] in (time.hour, (time.hour - 1) % 12 + 1)
        case (Clock(hour, 0, 0), Number(value)) | (Number(value), Clock(hour, 0, 0)):
            return value in (hour, (hour - 1) % 12 + 1)
    other = answer if isinstance(gold, Clock) else gold
    return False if isinstance(other, (Row, Words, Based, *NODES)) else None
