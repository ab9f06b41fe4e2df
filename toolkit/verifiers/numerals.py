"""Numbers in English words."""

import re

_ONES = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
]
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()  # noqa: SIM905
SMALL = {word: value for value, word in enumerate(_ONES)}
SMALL |= {word: 10 * value for value, word in enumerate(_TENS, 2)}
_SCALES = {"thousand": 10**3, "million": 10**6, "billion": 10**9}
_WORDS = re.compile(r"[a-z]+(?:[ -]+[a-z]+)*")


def spelled_number(text: str) -> int | None:
    """`forty-two` and `One hundred and five` as numbers; None for anything else."""
    text = text.strip().rstrip(".").lower()
    if not _WORDS.fullmatch(text):
        return None
    words = [word for word in re.split("[ -]+", text) if word != "and"]
    negative = bool(words) and words[0] in ("negative", "minus")
    value = _value(["one" if word == "a" and len(words) > 1 else word for word in words[negative:]])
    return None if value is None else -value if negative else value


def _value(words: list[str]) -> int | None:
    total = part = 0
    for word in words:
        if word in SMALL and _fits(part, SMALL[word]):
            part += SMALL[word]
        elif word == "hundred" and 0 < part < 100:
            part *= 100
        elif word in _SCALES and 0 < part < 1000:
            total, part = total + part * _SCALES[word], 0
        else:
            return None
    return total + part if words else None


def _fits(part: int, more: int) -> bool:
    """Whether a number below a hundred may follow: forty two, a hundred five; not three five."""
    return part % 100 == 0 or (part % 10 == 0 and part % 100 >= 20 and more < 10)
