"""The calculations of a solution, as a measure of how it was solved.

Two solutions that calculate the same in the same order are one way of reasoning, however they are worded
(the "equation list" by which Yuan et al., arXiv 2308.01825, tell rejection samples apart).
"""

import hashlib
import re

from toolkit.answers import own_solution

_MARKS = str.maketrans(
    {"×": "*", "·": "*", "⋅": "*", "÷": "/", "−": "-", "–": "-", "$": " ", "£": " ", "€": " "}
)
_LATEX = (
    (re.compile(r"\\(?:times|cdot|ast)(?![a-zA-Z])"), "*"),
    (re.compile(r"\\div(?![a-zA-Z])"), "/"),
    (re.compile(r"\\[dt]?frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}"), r"(\1)/(\2)"),
    (re.compile(r"\\(?:left|right|boxed|text|mbox)(?![a-zA-Z])|\\[(),;:!\[\]$% ]"), " "),
)
_CALCULATOR = re.compile(r"<<[^<>]*>>")  # GSM8K's marks repeat the calculation beside them
_BOLD = re.compile(r"&|\*\*")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_ENDED = re.compile(
    r"\.(?=\s|$)|(?<=[\d)])[^\S\n]*\n\s*(?=[\d(])"
)  # one calculation, before the next begins: a full stop is no point
_ENDLESS = re.compile(r"[-\d\s.()*/+^%]{400,}")  # no calculation, and slow to look for one in
_SIDE = r"[-+(\s]{0,8}\d[\d\s.()*/+^%-]{0,120}"
_CHAIN = re.compile(rf"{_SIDE}(?:={_SIDE})+")
_OPERATION = re.compile(r"[\d)]\s*[-+*/^]\s*[-(]*\d")
_TRAILING = re.compile(r"[\s.(+*/^-]+$")
_NUMBER = re.compile(r"\d+(?:\.\d+)?|\.\d+")
_PLAIN_BRACKETS = re.compile(r"\((\d+(?:\.\d+)?)\)")


def equations(text: str) -> list[str]:
    """The calculations a solution carries out, in order and written one way: `3*5=15`.

    A chain is cut into steps: `2*(3+4) = 2*7 = 14` is `2*(3+4)=14` and `2*7=14`. What only states a value
    (`x = 5`) or holds letters is no calculation.
    """
    if "=" not in text:
        return []
    text = _CALCULATOR.sub(" ", own_solution(text).translate(_MARKS))
    if "\\" in text:
        for pattern, written in _LATEX:
            text = pattern.sub(written, text)
    text = _ENDED.sub(";", _THOUSANDS.sub("", _BOLD.sub(" ", text)))
    text = _ENDLESS.sub(" ", text)
    return [step for chain in _CHAIN.finditer(text) for step in _steps(chain.group())]


def equations_sha(text: str) -> str:
    """Identity of the calculations, 16 hex digits; empty where the solution holds none."""
    found = equations(text)
    return hashlib.sha256("\n".join(found).encode()).hexdigest()[:16] if found else ""


def _steps(chain: str) -> list[str]:
    sides = [_side(side) for side in chain.split("=")]
    result = sides[-1]
    return [f"{side}={result}" for side in sides[:-1] if side and result and _OPERATION.search(side)]


def _side(side: str) -> str:
    """One side without spaces, needless brackets and zeros: `( 3.50 )` is `3.5`."""
    side = _TRAILING.sub("", side)
    side = "".join(side.split()) if not re.search(r"\d\s+\d", side) else side.split()[-1]
    return _NUMBER.sub(_number, _PLAIN_BRACKETS.sub(r"\1", side))


def _number(found: re.Match[str]) -> str:
    whole, _, places = found.group().partition(".")
    places = places.rstrip("0")
    return f"{whole.lstrip('0') or '0'}{'.' if places else ''}{places}"
