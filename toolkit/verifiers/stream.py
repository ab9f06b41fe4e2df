"""A cursor over the tokens of one answer, and the small pieces that every reader of them needs."""

from fractions import Fraction

from toolkit.verifiers.forms import NODES, Form, Node, Number, Unreadable
from toolkit.verifiers.lexer import Token

END = Token("end of text", "")


class Stream:
    """Where the reading is. One pass, no way back but `_place`."""

    def __init__(self, tokens: list[Token]) -> None:
        self._tokens, self._place, self._depth = tokens, 0, 0
        self._pipes = 0  # open absolute values: the next bar closes

    @property
    def _next(self) -> Token:
        return self._tokens[self._place] if self._place < len(self._tokens) else END

    def _at(self, *texts: str) -> bool:
        token = self._next
        return token.kind == "sign" and token.text in texts

    def _take(self) -> Token:
        token = self._next
        self._place += 1
        return token

    def _skip(self, *texts: str) -> bool:
        if self._at(*texts):
            self._place += 1
            return True
        return False

    def _expect(self, *texts: str) -> str:
        if not self._at(*texts):
            raise Unreadable(f"{self._next.text!r} for {texts}")
        return self._take().text

    def _word_follows(self) -> bool:
        after = self._place + 1
        if after >= len(self._tokens):
            return False
        token = self._tokens[after]
        return token.kind == "word" or (token.kind == "name" and self._next.text in ("/", "."))


def number(text: str) -> Number:
    mantissa = text.lower().partition("e")[0]
    return Number(Fraction(text), len(mantissa.replace(".", "").lstrip("0")) if "." in mantissa else 0)


def node(form: Form) -> Node:
    """The form as part of a formula."""
    if not isinstance(form, NODES):
        raise Unreadable(type(form).__name__)
    return form
