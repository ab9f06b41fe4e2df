"""Answers as people type them, rewritten as the LaTeX that a parser expects."""

import re

_SIGNS = str.maketrans(
    {
        "\N{MINUS SIGN}": "-",
        "\N{EN DASH}": "-",
        "\N{MULTIPLICATION SIGN}": r"\times ",
        "\N{MIDDLE DOT}": r"\cdot ",
        "\N{DEGREE SIGN}": r"^\circ ",
        "\N{GREEK SMALL LETTER PI}": r"\pi ",
        "\N{INFINITY}": r"\infty ",
        "\N{LESS-THAN OR EQUAL TO}": r"\le ",
        "\N{GREATER-THAN OR EQUAL TO}": r"\ge ",
        "\N{UNION}": r"\cup ",
    }
)
_WRAPPED = re.compile(r"\\(?:text|textbf|textit|mbox|mathrm|mathbf)\{([^{}]*)\}")
_ROOT = re.compile(r"(?:\\?sqrt ?|√ ?)(?:\(([^()]*)\)|\[([^\[\]]*)\](?!\{)|\{([^{}]*)\}|(\d+))")
_MIXED = re.compile(r"(?<![\d.)])(\d+) (\d+)/(\d+)(?![\d.])")
_PI = re.compile(r"(?<![A-Za-z\\])pi(?![A-Za-z])|(?<=\d)pi(?![A-Za-z])")
_SPACE = re.compile(r"\\[,;:! ]|\\left(?![a-z])|\\right(?![a-z])|(?<!\d) | (?!\d)")
_FRACTION = re.compile(r"\\[dt]frac(?![a-z])")


def as_latex(answer: str) -> str:
    """The answer with unicode signs, `sqrt(x)`, `pi` and mixed numbers written in LaTeX."""
    answer = answer.translate(_SIGNS)
    answer = _ROOT.sub(lambda m: rf"\sqrt{{{next(g for g in m.groups() if g is not None)}}}", answer)
    answer = _PI.sub(r"\\pi ", answer)
    return _MIXED.sub(r"\1\\frac{\2}{\3}", answer)


def skeleton(answer: str) -> str:
    """The answer's characters alone: equal skeletons are equal answers. Spaces between digits stay."""
    if (whole := _WRAPPED.fullmatch(answer.strip())) is not None:
        answer = whole[1].strip()
    return _SPACE.sub("", _FRACTION.sub(r"\\frac", answer.strip()))
