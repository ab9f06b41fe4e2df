"""Answers without what is only typing: unicode look-alikes, styling, ordinals' endings, spelled-out signs.

What an answer says is not touched: this runs on both sides before anything is compared, and on what goes to
algebra too.
"""

import re
import unicodedata

_AS_IT_IS = re.compile(r"(?:[a-z] ?= ?)?[-+0-9.,/]{0,40}(?<!\.)")  # most answers: a number, `x=5`
_LOOK_ALIKES = str.maketrans(
    {
        **dict.fromkeys("\u200b\u200c\u200d\u2060\ufeff✓✔✅", ""),
        **dict.fromkeys("¥₹₩₽", "$"),
        **dict.fromkeys("◦º˚", "°"),
        **dict.fromkeys("⩽≦", "≤"),
        **dict.fromkeys("⩾≧", "≥"),
        "¢": " cents",
        "⁄": "/",
        "∕": "/",
        "。": ".",
        "、": ",",
        "ℝ": r"\mathbb{R}",
        "⋃": r"\cup ",
        "∖": r"\setminus ",
    }
)
_RAISED = re.compile("[⁻⁺]?[⁰¹²³⁴⁵⁶⁷⁸⁹]+|⁻?ⁿ")
_LOWERED = re.compile("[₀₁₂₃₄₅₆₇₈₉]+")
_LEVEL = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺ⁿ₀₁₂₃₄₅₆₇₈₉", "0123456789-+n0123456789")
_STYLES = re.compile(
    r"\\(?:text)?color\s*(?:\[[^\]]*\])?\s*\{[^{}]*\}"
    r"|\\(?:tiny|small|normalsize|large|Large|LARGE|huge|Huge|underline|hline|checkmark|blacksquare|therefore)"
    r"(?![a-zA-Z])"
)
_ROW_SPACE = re.compile(r"\\\\\s*\[[-\d.]+ ?(?:pt|ex|em|mm|cm)\]")
_LOST_ROW = re.compile(r"(?<!\\)\\(?=[-\d])")
_FRACTION = re.compile(r"\\(?:s|nice|flat)frac(?![a-zA-Z])")
_DOTTED = re.compile(r"\\dot\s*\{?(\d)\}?(\d*)\\dot\s*\{?(\d)\}?")
_BARRED = re.compile(r"(?<=[\d.])\\(?:bar|dot|overbar)\s*(?:\{(\d+)\}|(\d))")
_ELLIPSIS = re.compile(r"(\d*\.\d*?)(?:(\d)\2{2,}|(\d{2,}?)\3+)(?:\.{3,}|\\[lc]?dots(?![a-zA-Z]))")
_BRACKETED = re.compile(r"([-+]?\d*\.\d*)\((\d+)\)")
_ORDINAL = re.compile(
    r"(?<=\d)(?:\s*\^?\s*\{?\s*\\(?:text|textrm|mathrm|mbox)\s*\{\s*(?:st|nd|rd|th)\s*\}\s*\}?"
    r"|\^\{(?:st|nd|rd|th)\}|\^?(?:st|nd|rd|th)\b)"
)
_TIMES_TEN = re.compile(r"(?<=\d)\s*[xX]\s*(?=10\s*\^)")
_SPELLED_ROOT = re.compile(r"(?:the )?square root of (?:(\d+)|\(([^()]*)\))")
_SPELLED_TIMES = re.compile(r"(?<=[\w)}]) times (?=[\\\d(√π]|pi\b|sqrt)")
_CUBE_ROOT = re.compile(r"\bcbrt\b")


def plain(text: str) -> str:
    """The answer as a careful typist would have written it."""
    if _AS_IT_IS.fullmatch(text):
        return text
    if not text.isascii():
        text = _in_ascii(text)
    if "\\" in text:
        text = _unstyled(text)
    if "..." in text or "dots" in text:
        text = _ELLIPSIS.sub(lambda m: rf"{m[1]}\overline{{{m[2] or m[3]}}}", text)
    if (repeated := _BRACKETED.fullmatch(text)) is not None:
        return rf"{repeated[1]}\overline{{{repeated[2]}}}"
    text = _TIMES_TEN.sub(r"\\times ", _ORDINAL.sub("", text))
    text = _SPELLED_ROOT.sub(lambda m: rf"\sqrt{{{m[1] or m[2]}}}", text)
    text = _CUBE_ROOT.sub(r"\\sqrt[3]", _SPELLED_TIMES.sub("*", text))
    return text.rstrip(")") if ")" in text and not re.search(r"[(\[]", text) else text


def _in_ascii(text: str) -> str:
    """Look-alikes, raised and lowered digits, fractions of one character, wide and styled letters."""
    text = _RAISED.sub(lambda m: f"^{{{m[0].translate(_LEVEL)}}}", text.translate(_LOOK_ALIKES))
    text = _LOWERED.sub(lambda m: f"_{{{m[0].translate(_LEVEL)}}}", text)
    text = "".join(_one_character_fraction(c) if not c.isascii() else c for c in text)
    return unicodedata.normalize("NFKC", text)


def _one_character_fraction(character: str) -> str:
    kind, *codes = unicodedata.decomposition(character).split() or [""]
    if kind != "<fraction>":
        return character
    top, _, bottom = "".join(chr(int(code, 16)) for code in codes).partition("\N{FRACTION SLASH}")
    return rf"\frac{{{top}}}{{{bottom}}}"


def _unstyled(text: str) -> str:
    text = _ROW_SPACE.sub(r"\\\\", _STYLES.sub(" ", text))
    if "matrix" in text:
        text = _LOST_ROW.sub(r"\\\\", text)
    text = _DOTTED.sub(r"\\overline{\1\2\3}", _FRACTION.sub(r"\\frac", text))
    return _BARRED.sub(lambda m: rf"\overline{{{m[1] or m[2]}}}", text)
