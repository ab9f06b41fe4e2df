"""Whole answers that are written in a special way, rewritten for the reader.

A rule of `_ONLY` knows what the answer is; one of `_ALSO` adds a reading to the one as it stands.
"""

import re
from collections.abc import Callable
from fractions import Fraction
from typing import TypeAlias

from toolkit.verifiers.numerals import spelled_number

_Rule: TypeAlias = Callable[[str], str | None]

_THOUSANDS = re.compile(r"(?<![\d.,])\d{1,3}(?:,\d{3})+(?![\d,])")
_SPACED_THOUSANDS = re.compile(r"[-+]?\d{1,3}(?: \d{3})+(?:\.\d+)?")
_DECIMAL_COMMA = re.compile(r"([-+]?\d+),(\d{1,2})|([-+]?0),(\d+)")
_ROWS = re.compile(r"\[\s*((?:[^\[\];,]+[\s,]+)*[^\[\];]+(?:;[^\[\];]+)+)\]")
_ROUND_ROWS = re.compile(r"\(((?:[^()\[\];]*[^()\[\];\s,][\s,]+[^()\[\];\s,]+[^()\[\];]*;?)+)\)")
_MATRIX_NAME = re.compile(r"^(?:\\math(?:bf|rm)\{[A-Z]\}|[A-Z])\s*=\s*")
_MIXED_WORDS = re.compile(r"(\d+) and (\d+)/(\d+)(?: [a-z]{2,}.*)?")
_ANGLES = re.compile(r"<([^<>]+,[^<>]+)>")
_SCALES = {"hundred": 2, "thousand": 3, "million": 6, "billion": 9, "trillion": 12}
_SCALED = re.compile(
    rf"([-+]?)\$?(\d[\d,]*(?:\.\d+)?)\s*(?:\\text\s*\{{\s*)?({'|'.join(_SCALES)})\b\s*(.*?)\}}?"
)
_CHOICE = re.compile(
    r"(?:\\(?:text(?:bf|rm)?|mathrm|mathbf|mbox)\{)?(?:\(([A-J])\)|([A-J])(?:[.:)](?=\s)|(?= [A-Z][a-z])))"
    r"\s*(?:\}|\\ )?\s*(?=[^\s}])(.*)",
    re.DOTALL,
)
_OPTION = re.compile(r"(?:[Oo]ption|[Cc]hoice) *(?:\(([A-J])\)|([A-J]))(?![A-Za-z])[.:]? *(.*)")
_MONEY = re.compile(r"(?:USD|US\$?|Rs\.?|INR|EUR|GBP|CAD|AUD|HK\$)\s*(?=[-\d.])(.*)")
_SYMBOL = (
    r"(?:[kcdmnuµμ]?m|[kmuµμ]?g|[mk]?[lL]|[mnuµμ]?s|hrs?|h|min|sec|ft|in|yd|mi|oz|lbs?|[kM]?[JNWVA]|[kM]?Pa"
    r"|[kMG]?Hz|mol|mph|kph|rpm|kW ?h|ha|cc)"
)
_POWER = r"(?:\s*\^\s*(?:\{\s*-?\d\s*\}|-?\d))?"
_UNITS = rf"{_SYMBOL}{_POWER}(?:\s*(?:[/·*.⋅-]|\\cdot)\s*{_SYMBOL}{_POWER})*"
_SPACE = r"(?:\s|~|\\[,;:! ]|\\q?quad)"
_MEASURED = re.compile(
    rf"(?P<value>.*(?:[\d)}}%$]|\\pi))(?:{_SPACE}+{_UNITS}"
    rf"|{_SPACE}*\\(?:text|mathrm|mbox|textrm|textnormal|rm)\s*\{{{_SPACE}*{_UNITS}[\s.]*\}}{_POWER})\.?"
)
_GLUED = re.compile(
    rf"([-+]?[\d.,]*\d)(?:(?:[cmk]m|kg|mL|ft|lbs?|oz|mph|hrs?){_POWER}|m\s*\^\s*(?:[23]|\{{[23]\}}))"
)
_SCALE = re.compile(  # of a thermometer
    r"(.*\d\s*(?:\^\s*(?:\{\s*\\circ\s*\}|\\circ)|\\degree|°))\s*(?:\\[,; ])?\s*"
    r"(?:\\(?:text|mathrm|mbox)\s*\{\s*)?[CFK]\s*\}?"
)
_LABEL = re.compile(
    r"(?:\\text(?:bf|it|rm)?\s*\{(?=[^{}]*[a-z]{3})[^{}\d=]*?(?:(?P<said>[=:]|\bis)\s*\}|\}\s*(?:[=:]|is\b))"
    r"|(?=[A-Za-z ]*[a-z]{3})[A-Z]?[a-z]*(?: [A-Za-z]+)*\s*[=:])\s*(?P<rest>\S.*)",
    re.DOTALL,
)
_SENTENCE = re.compile(
    r"(?s)(?=[A-Za-z$\\])(?P<head>.*)\b(?:is|are|equals)\b:?\s+(?:(?:an?|the)\s+)?(?P<rest>\S.*)"
)
_MATHEMATICS = re.compile(r"[$\\\d]")
_NEGATED = re.compile(r"(?i)\b(?:not|no|never|neither|if|unless)\b|n't\b")
_CONDITION = re.compile(
    r"(?P<rest>.*?\S),?\s*(?:\\q?quad|\\[,; ])*\s*(?:\\text\s*\{\s*)?\b(?:for\s*\}?\s*(?:all|any|every|each"
    r"|\$?\\?[a-zA-Z]+\s*(?:\\(?:in|ge|le|ne|geq|leq|neq|gt|lt)\b|[<>≥≤≠∈]))|where\b).*",
    re.DOTALL,
)
_EXCEPT = re.compile(
    r"(?i)(?:.*\b)?all (?:real (?:numbers|values)|reals|values)(?: of \$?[a-z]\$?)?,? "
    r"(?:except|excluding|other than|but)(?: for)?(?: when| where)? (?P<points>.+)"
)
_POINT_NAME = re.compile(r"\$|\b[a-z](?:\([a-z]\))?\s*(?:=|\\neq?\b|≠|!=)")
_NAMED_POINT = re.compile(r"[A-Z](?:_\{?\w+\}?|')?\s*(?:\\left\s*)?(\(.*,.*\))")
_ASIDE = re.compile(
    r"(?i)\bor,? (?:(?:simply|just|equivalently|alternatively|simplified(?: as| to)?)"
    r"|(?:as|in|written as) an? (?:mixed number|(?:simplified |improper |reduced )?fraction)"
    r"|in (?:simplest|lowest|reduced|simplified)[a-z ]*)[,:]?\s+"
)
_AS_DECIMAL = re.compile(r"(?i)\bor,? (?:as|in|written as) (?:a )?decimal(?: form| notation)?[,:]?\s+")


def variants(text: str) -> list[str]:
    """The texts to read for this answer, the likeliest first."""
    for only in _ONLY:
        if (made := only(text)) is not None:
            return [made]
    found = [made for rule in _ALSO if (made := rule(text)) is not None]
    for unwrap in _UNWRAPPING:
        if (inner := unwrap(text)) is not None and inner.count("$") % 2 == 0:
            found += variants(inner)
    return [*dict.fromkeys((*found, text))]


def is_list(gold: str) -> bool:
    """Whether a gold like 1,2 is two numbers: only 1,22 and 0,5 are decimals there."""
    found = _DECIMAL_COMMA.fullmatch(gold)
    return found is not None and len(found[2] or "") == 1


def decimal_comma(text: str) -> str | None:
    """27,93 as 27.93, where the whole answer is such a number."""
    found = _DECIMAL_COMMA.fullmatch(text) if len(text) < 60 else None
    return ".".join(part for part in found.groups() if part is not None) if found else None


# -- what is the only reading


def _mixed(text: str) -> str | None:
    found = _MIXED_WORDS.fullmatch(text)
    return rf"{found[1]}\frac{{{found[2]}}}{{{found[3]}}}" if found else None


def _vector(text: str) -> str | None:
    found = _ANGLES.fullmatch(text)
    return f"({found[1]})" if found else None


def _rows(text: str) -> str | None:
    if ";" not in text:
        return None
    text = _MATRIX_NAME.sub("", text)
    if not (_ROWS.fullmatch(text) or _ROUND_ROWS.fullmatch(text)):
        return None
    rows = [re.sub(r"[\s,]+", " & ", row.strip()) for row in text.strip("[]()").split(";")]
    return r"\begin{matrix}" + r"\\".join(rows) + r"\end{matrix}"


def _scaled(text: str) -> str | None:
    """1.8 million is 1800000, with its unit."""
    found = _SCALED.fullmatch(text)
    if found is None:
        return None
    value = Fraction(found[2].replace(",", "")) * 10 ** _SCALES[found[3]]
    rest = f" {found[4].strip()}" if found[4].strip() else ""
    return f"{found[1]}{value.numerator}{rest}" if value.denominator == 1 else None


def _spelled(text: str) -> str | None:
    value = spelled_number(re.sub(r"\\text\s*\{([^{}]*)\}", r"\1", text))
    return None if value is None else str(value)


def _option(text: str) -> str | None:
    found = _OPTION.fullmatch(text)
    return (found[1] or found[2]) if found else None


def _money(text: str) -> str | None:
    found = _MONEY.fullmatch(text)
    return found[1] if found else None


# -- what is one reading more


def _choice(text: str) -> str | None:
    found = _CHOICE.fullmatch(text)
    return (found[1] or found[2]) if found else None


def _chosen(text: str) -> str | None:
    """What the letter of a choice stands for: (A) 42 is 42, too."""
    found = _CHOICE.fullmatch(text)
    return found[3] if found else None


def _measured(text: str) -> str | None:
    """A number before the symbols of a unit, which might also be letters: 9.8 m/s^2."""
    found = _MEASURED.fullmatch(text)
    if found and not re.search("[a-zA-Z]", re.sub(r"\\[a-zA-Z]+|sqrt|pi", "", found["value"])):
        return found["value"]
    found = _GLUED.fullmatch(text) or _SCALE.fullmatch(text)
    return found[1] if found else None


def _unlabelled(text: str) -> str | None:
    found = _LABEL.fullmatch(text)
    return found["rest"] if found and not _NEGATED.search(text, 0, found.start("rest")) else None


def _said(text: str) -> str | None:
    """What a sentence says that something is."""
    found = _SENTENCE.fullmatch(text) if " " in text else None
    if found is None or _NEGATED.search(text):
        return None
    elsewhere = _MATHEMATICS.search(found["head"]) and not _MATHEMATICS.search(found["rest"])
    return None if elsewhere else found["rest"]  # "x > 5 is the solution" says it before


def _unconditional(text: str) -> str | None:
    found = _CONDITION.fullmatch(text)
    return found["rest"] if found and not _NEGATED.search(text) else None


def _excepted(text: str) -> str | None:
    found = _EXCEPT.fullmatch(text)
    if found is None:
        return None
    points = re.sub(r",?\s*\b(?:and|or)\b", ",", _POINT_NAME.sub(" ", found["points"]))
    return rf"\mathbb{{R}} \setminus \{{{points}\}}"


def _point(text: str) -> str | None:
    found = _NAMED_POINT.fullmatch(text)
    return found[1] if found else None


def _aside(text: str) -> str | None:
    """The same value said twice: 218/300 or simplified as 109/150."""
    made = _AS_DECIMAL.sub("or approximately ", _ASIDE.sub("or ", text))
    return made if made != text else None


def _ungrouped(text: str) -> str | None:
    if _SPACED_THOUSANDS.fullmatch(text):
        return text.replace(" ", "")
    made = _THOUSANDS.sub(_joined, text)
    return made if made != text else None


def _joined(number: re.Match[str]) -> str:
    """A number without its commas, unless it stands in brackets: there they are between items."""
    before = number.string[: number.start()]
    depth = sum(before.count(c) for c in "([") + before.count(r"\{")
    depth -= sum(before.count(c) for c in ")]") + before.count(r"\}")
    return number[0] if depth > 0 else number[0].replace(",", "")


_ONLY: tuple[_Rule, ...] = (_mixed, _vector, _rows, _scaled, _spelled, _option, _money)
_ALSO: tuple[_Rule, ...] = (
    _choice,
    _chosen,
    decimal_comma,
    _ungrouped,
    _excepted,
    _point,
)
_UNWRAPPING: tuple[_Rule, ...] = (
    _measured,
    _unlabelled,
    _said,
    _unconditional,
    _aside,
)  # each leaves less to unwrap
