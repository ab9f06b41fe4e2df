"""From text to forms: the readings of a final answer.

Numbers, fractions, roots, powers, functions, tuples, sets, intervals, matrices, relations and words are
read; the rest is left alone instead of being guessed at: what is returned was understood whole.
"""

import re
from fractions import Fraction
from functools import lru_cache

from toolkit.verifiers.bases import in_base
from toolkit.verifiers.clocks import clock
from toolkit.verifiers.forms import (
    NODES,
    REALS,
    UNSAID,
    Call,
    Form,
    Group,
    Number,
    Ratio,
    Relation,
    Union,
    Unreadable,
    Words,
)
from toolkit.verifiers.formulas import Formulas
from toolkit.verifiers.intervals import without
from toolkit.verifiers.lexer import UNITS, Token, tokens
from toolkit.verifiers.numerals import spelled_number
from toolkit.verifiers.stream import END, node
from toolkit.verifiers.variants import variants

_RELATIONS = frozenset({"=", "<", ">", "<=", ">=", "!=", "~", "in"})
_NOT_UNITS = re.compile(
    r"(?i)\b(?:(?:hundred|thousand|million|billion|trillion|dozen|half|quarter|third|fourth|fifth)s?|score|halves"
    r"|not|no|none|if|base|mod|modulo|times|plus|minus|over|except|than|between|am|pm)\b"
)
_ALL = frozenset(
    {"all real numbers", "real numbers", "all reals", "reals", "all real values", "any real number"}
)


@lru_cache(maxsize=65536)
def readings(answer: str) -> tuple[Form, ...]:
    """The ways to read an answer, the likeliest first; empty where it cannot be read whole.

    There is more than one where commas may be thousands, decimals, or between answers.
    """
    found: list[Form] = []
    for text in variants(answer.strip()):
        try:
            form = clock(text) or in_base(text) or Reader(tokens(text)).whole()
        except (Unreadable, RecursionError):
            continue
        if form not in found:
            found.append(form)
    return tuple(found)


class Reader(Formulas):
    """Reads one answer: its items, relations, units."""

    def whole(self) -> Form:
        if self._plain():
            return _words(self._tokens)
        self._skip("~")
        form = self._answers()
        self._skip(".")
        if self._next is not END:
            raise Unreadable(self._next.text)
        return form

    def _plain(self) -> bool:
        """Whether the answer is in words alone."""
        found = self._tokens
        if not any(t.kind == "word" for t in found) or found[0].text == "pi":
            return False
        if found[0].kind == "name" and all(t.text.lower() in UNITS or t.text == "square" for t in found[1:]):
            return False
        return all(t.kind in ("word", "name", "and") or t == Token("sign", ",") for t in found)

    def _answers(self) -> Form:
        """Answers with commas, semicolons or words between them."""
        items = [self._relation()]
        while True:
            joined = False
            while self._skip(",", ";") or self._next.kind == "and":
                joined = True
                if self._next.kind == "and":
                    self._take()
            if not joined and self._aside_follows():
                items.append(self._aside())
            if not joined or self._next is END or self._at(")", "]", "\\}", "}", "."):
                break
            if self._skip("~"):  # "or approximately 2.03"
                self._relation()
            else:
                items.append(self._relation())
        return items[0] if len(items) == 1 else Group(tuple(items))

    def _aside_follows(self) -> bool:
        return self._at("(") and self._tokens[self._place + 1 : self._place + 2] == [Token("and", "or")]

    def _aside(self) -> Form:
        """The same said again in brackets: 16/3 (or 5 1/3)."""
        self._place += 2
        form = self._relation()
        self._expect(")")
        return form

    def _relation(self) -> Form:
        sides, signs = [self._left_side()], []
        while self._at(*_RELATIONS):
            signs.append(self._take().text)
            sides.append(self._union())
        if self._next.text.lower() in ("degree", "degrees") and isinstance(sides[-1], NODES):
            sides[-1] = Call("deg", (sides[-1],))
        self._unit()
        if not signs:
            return sides[0]
        return Relation(tuple(sides), tuple(signs))

    def _left_side(self) -> Form:
        """What stands before a sign; where nothing does, as in `>= 3`, a name of its own."""
        return UNSAID if self._at(*_RELATIONS - {"~"}) else self._union()

    def _union(self) -> Form:
        parts = [self._less()]
        while self._skip("cup"):
            parts.append(self._less())
        return parts[0] if len(parts) == 1 else Union(tuple(parts))

    def _less(self) -> Form:
        """A set without some points: `R \\setminus \\{1, 2\\}`, and with a minus sign."""
        form = self._ratio()
        if self._skip("setminus") or (form == REALS and self._at("-") and self._take()):
            taken = self._ratio()
            form = without(form, taken) if form == REALS else _refuse()
        return form

    def _ratio(self) -> Form:
        first = self._sum()
        if not self._at(":"):
            return first
        parts = [node(first)]
        while self._skip(":"):
            parts.append(node(self._sum()))
        return Ratio(tuple(parts))

    def _unit(self) -> None:
        """Skip the unit after an answer: words, with their powers, `per` and slashes; or a remark in brackets."""
        start = self._place
        while self._next.kind == "word":
            self._take()
            if self._skip("^"):
                self._group_or_atom()
            if self._at("/", "*", ".", "'", "-") and self._word_follows():
                self._take()
            if self._next == Token("name", "a", True) and self._word_follows():
                self._take()
        passed = " ".join(t.text for t in self._tokens[start : self._place])
        if _NOT_UNITS.search(passed):
            raise Unreadable(passed)
        if self._at("(") and (
            self._word_follows() or self._tokens[self._place + 1 :][:1] == [Token("sign", "~")]
        ):
            while not self._at(")"):
                if self._next is END:
                    raise Unreadable("(")
                self._take()
            self._take()


def _refuse() -> Form:
    raise Unreadable("a set difference")


def _words(found: list[Token]) -> Form:
    """Plain words, or several of them with `and` between."""
    items: list[list[str]] = [[]]
    for token in found:
        if (token.kind == "and" and items[-1]) or token.kind == "sign":
            items.append([])
        elif token.kind != "and":
            items[-1].append(token.text.lower())
    made = tuple(_phrase([w for w in item if w not in ("a", "an", "the")]) for item in items if item)
    return made[0] if len(made) == 1 else Group(made)


def _phrase(words: list[str]) -> Form:
    if (value := spelled_number(" ".join(words))) is not None:
        return Number(Fraction(value))
    return REALS if " ".join(words) in _ALL else Words(" ".join(words))
