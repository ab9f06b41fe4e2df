"""Answers cut into tokens: LaTeX, and mathematics as people type it.

A token is (kind, text). Kinds: `number`, `name`, `function`, `word` (English, a unit), `and` (between
answers), `begin` and `end` of a matrix, and `sign` for everything else, written one way (`<=`, `*`, `sqrt`).
"""

import re
from typing import NamedTuple

from toolkit.verifiers.forms import Unreadable


class Token(NamedTuple):
    kind: str
    text: str
    spaced: bool = False  # white space stood before it


LONGEST = 300  # characters: nothing longer is read, and no number of that length is ever converted

FUNCTIONS = frozenset(
    "sin cos tan cot sec csc arcsin arccos arctan sinh cosh tanh ln log lg exp".split()  # noqa: SIM905
)
UNITS = frozenset(
    "cm mm km dm nm in ft mi yd kg mg lb oz hr hrs min sec ms mph kph km/h lbs pts sq cu ml pct "  # noqa: SIM905
    "usd units unit".split()
)
_SPELLED = {
    **dict.fromkeys(["le", "leq", "leqslant"], "<="),
    **dict.fromkeys(["ge", "geq", "geqslant"], ">="),
    **dict.fromkeys(["ne", "neq"], "!="),
    **dict.fromkeys(["cdot", "times", "ast"], "*"),
    **dict.fromkeys(["frac", "dfrac", "tfrac", "cfrac"], "frac"),
    **dict.fromkeys(["binom", "dbinom", "tbinom"], "binom"),
    **dict.fromkeys(["vert", "mid", "lvert", "rvert"], "|"),
    **dict.fromkeys(["circ", "degree"], "deg"),
    **dict.fromkeys(["emptyset", "varnothing"], "empty"),
    **dict.fromkeys(["approx", "simeq", "thickapprox"], "~"),
    **dict.fromkeys(["dots", "ldots", "cdots"], "..."),
    "lt": "<",
    "gt": ">",
    "in": "in",
    "div": "/",
    "pm": "pm",
    "mp": "mp",
    "cup": "cup",
    "sqrt": "sqrt",
    "infty": "inf",
    "lfloor": "lfloor",
    "rfloor": "rfloor",
    "lceil": "lceil",
    "rceil": "rceil",
    "langle": "(",
    "rangle": ")",
    "lbrace": "\\{",
    "rbrace": "\\}",
    "colon": ":",
    "overline": "overline",
    "R": "reals",
    "equiv": "=",
    "setminus": "setminus",
    "backslash": "setminus",
}
_GREEK = frozenset(
    "alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta iota kappa lambda mu nu xi rho sigma "  # noqa: SIM905
    "tau upsilon phi varphi chi psi omega Gamma Delta Theta Lambda Xi Pi Sigma Phi Psi Omega ell".split()
)
_REALS = re.compile(r"\\mathbb\s*(?:\{R\}|R)|ℝ")
_APPLIED_PART = re.compile(r"(sin|cos|tan|cot|sec|csc|ln|log|sqrt)([a-z]?)")
_APPLIED = re.compile(rf"(?:{_APPLIED_PART.pattern}){{1,4}}")
_SHORT_WORDS = frozenset("of to by be is in at on as we it so an".split())  # noqa: SIM905
_TYPED = {
    "sqrt": "sqrt",
    "infinity": "inf",
    "infty": "inf",
    "inf": "inf",
    "oo": "inf",
    "union": "cup",
    "U": "cup",
}
_UNICODE = {
    "√": r"\sqrt ",
    "∛": r"\sqrt[3]",
    "π": r"\pi ",
    "θ": r"\theta ",
    "∞": r"\infty ",
    "°": r"^\circ ",
    "º": r"^\circ ",
    "×": "*",
    "·": "*",
    "⋅": "*",
    "∗": "*",
    "÷": "/",
    "−": "-",
    "–": "-",
    "—": "-",
    "≤": "<=",
    "≥": ">=",
    "≠": "!=",
    "≈": r"\approx ",
    "±": r"\pm ",
    "∪": r"\cup ",
    "∈": r"\in ",
    "∅": r"\emptyset ",
    "²": "^2",
    "³": "^3",
    "½": r"\frac{1}{2}",
    "¼": r"\frac{1}{4}",
    "¾": r"\frac{3}{4}",
    "\N{NO-BREAK SPACE}": " ",
    "≡": r"\equiv ",
    "€": "",
    "£": "",
}
_TABLE = str.maketrans(_UNICODE)

_DROPPED = re.compile(
    r"\\(?:left|right|[bB]igg?[lr]?|displaystyle|textstyle|limits|boxed|fbox|mathstrut|angle|triangle|mathbf|mathrm|mathit|text)(?![a-zA-Z])\.?"
    r"|(?<!\\)\\[()\[\]$]|\$|\*\*(?=[^\w\s(\\{-]|$)"
)
_SPACES = re.compile(
    r"(?<!\\)\\[,;:!> ]|\\q?quad|\\(?:thinspace|enspace|hspace\{[^{}]*\}|phantom\{[^{}]*\})(?![a-zA-Z])|~|\s+"
)
_THIN = re.compile(r"(?<=\d),?\\!\s*(?=\d{3})|(?<=\d)\{,\}(?=\d)|(?<=\d)\\,(?=\d{3}(?!\d))")
_ESCAPED_TWICE = re.compile(r"\\\\(?=[a-zA-Z])")
_COLON = re.compile(r"\{:\}")
_TEXT = re.compile(
    r"\\(?P<font>text|textbf|textit|textnormal|textrm|mbox|mathrm|mathbf|mathit|operatorname|rm|bf)\s*"
    r"\{(?P<inside>[^{}]*)\}"
)
_TOKEN = re.compile(
    r"(?P<space>\s+)"
    r"|(?P<number>\d*\.(?=\s*\\overline)|(?:\d+(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d{1,3}(?![\d.]))?)"
    r"|\\(?P<begin>begin|end)\s*\{(?P<env>[a-z]*matrix|array)\}(?:\{[lcr| ]*\})?"
    r"|\\(?P<command>[a-zA-Z]+)"
    r"|(?P<letters>[a-zA-Z]+(?:'s\b)?)"
    r"|(?P<sign>\\\\|\\[{}%&#|*]|\*\*|\+/?-|<=|>=|!=|==|\.{3}|[-+*/^_=<>~!%&|:;,()\[\]{}'.\"])"
)
_JOINING = frozenset({"and", "or", "&", ","})


def tokens(answer: str) -> list[Token]:
    """The answer's tokens, or `Unreadable`."""
    if len(answer) > LONGEST:
        raise Unreadable("too long")
    if "begin" not in answer:
        answer = _ESCAPED_TWICE.sub(r"\\", answer)
    text = _COLON.sub(":", _THIN.sub("", _REALS.sub(r"\\R ", answer.translate(_TABLE))))
    found: list[Token] = []
    place = 0
    for inner in _TEXT.finditer(text):
        found += _cut(text[place : inner.start()])
        found += _prose(inner, found)
        place = inner.end()
    found += _cut(text[place:])
    return found


def _cut(text: str) -> list[Token]:
    text = _SPACES.sub(" ", _DROPPED.sub(" ", text))
    found: list[Token] = []
    place, spaced = 0, False
    while place < len(text):
        at = _TOKEN.match(text, place)
        if at is None:
            raise Unreadable(text[place])
        place = at.end()
        kind = at.lastgroup
        if kind == "space":
            spaced = True
            continue
        if kind == "number":
            found.append(Token("number", at[0], spaced))
        elif kind == "letters":
            found += _letters(at[0], spaced, found[-1] if found else None)
        elif kind == "command":
            found.append(_command(at["command"], spaced))
        elif kind == "env":
            found.append(Token(at["begin"], at["env"], spaced))
        else:
            found.append(Token("sign", _sign(at[0]), spaced))
        spaced = False
    return found


def _sign(text: str) -> str:
    return {
        "**": "^",
        "\\*": "*",
        "+-": "pm",
        "+/-": "pm",
        "==": "=",
        "\\%": "%",
        "\\|": "|",
        "\\&": "&",
    }.get(text, text)


def _command(name: str, spaced: bool) -> Token:
    if name in FUNCTIONS:
        return Token("function", name, spaced)
    if name in _SPELLED:
        return Token("sign", _SPELLED[name], spaced)
    if name == "pi" or name in _GREEK:
        return Token("name", name, spaced)
    raise Unreadable("\\" + name)


def _letters(run: str, spaced: bool, before: Token | None) -> list[Token]:
    """A run of letters: a function, a constant, a word, or variables side by side."""
    if run in _TYPED and not (run == "U" and before is not None and before.text not in ")]}"):
        return [Token("sign", _TYPED[run], spaced)]
    if run in FUNCTIONS:
        return [Token("function", run, spaced)]
    if _APPLIED.fullmatch(run):
        return _cut(_APPLIED_PART.sub(r" \\\1 \2", run))
    if run == "pi":
        return [Token("name", "pi", spaced)]
    if run.lower() in ("approximately", "approx", "about"):
        return [Token("sign", "~", spaced)]
    if run.lower() in ("if", "of", "is") or (
        run.lower() in _SHORT_WORDS and (spaced or (before is not None and before.text == "("))
    ):
        return [Token("word", run, spaced)]
    if run.lower() in _JOINING:
        return [Token("and", run, spaced)]
    if run.lower() in UNITS and before is not None and (spaced or len(run) > 2):
        return [Token("word", run, spaced)]
    if run.startswith(("pi", "sqrt")) or (len(run) > 2 and not _product(run)):
        return _glued(run, spaced)
    return [Token("name", letter, spaced and i == 0) for i, letter in enumerate(run)]


def _glued(run: str, spaced: bool) -> list[Token]:
    """`pir` is pi and r; anything else is a word."""
    if run.startswith("pi") and len(run) == 3:
        return [Token("name", "pi", spaced), Token("name", run[2])]
    return [Token("word", run, spaced)]


def _product(run: str) -> bool:
    """Variables side by side come in the order of the alphabet, as in `abc` and `xyz`, or in capitals."""
    return len(run) <= 4 and (list(run) == sorted(set(run)) or run.isupper())


def _prose(wrapped: re.Match[str], before: list[Token]) -> list[Token]:
    """What stands in `\\text{}`: a joining word, a letter, something to read as mathematics, or words."""
    bare = wrapped["inside"].strip()
    if bare.lower().strip(" ,;") in _JOINING:
        return [Token("and", "and", True)]
    if re.fullmatch("[a-z]", bare) and before and wrapped["font"] in ("text", "mbox"):
        return [Token("word", bare, True)]  # 5 m: a letter that is a unit
    if not re.search(r"[A-Za-z]{2,}", bare):
        return _cut(bare)
    parts = re.split(r"\s*(\band\b|\bor\b|[,;])\s*|\s+", bare)
    return [Token("and" if p in ("and", "or", ",", ";") else "word", p, True) for p in parts if p]
