"""What formulas are made of: numbers, names, functions, roots, brackets, matrices."""

from abc import ABC, abstractmethod
from fractions import Fraction

from toolkit.verifiers.forms import (
    CONSTANTS,
    INFINITY,
    REALS,
    UNKNOWN_BASE,
    Based,
    Call,
    Form,
    Group,
    Matrix,
    Name,
    Node,
    Number,
    Relation,
    Row,
    Unreadable,
)
from toolkit.verifiers.lexer import Token
from toolkit.verifiers.matrices import times
from toolkit.verifiers.numerals import SMALL
from toolkit.verifiers.stream import Stream, node, number

DEEPEST = 40  # nested brackets
_CLOSING = {"(": ")]", "[": "])", "\\{": ("\\}",), "{": "}"}


class Atoms(Stream, ABC):
    """Reads one factor, without its powers."""

    @abstractmethod
    def _answers(self) -> Form:
        """What stands in brackets."""

    @abstractmethod
    def _sum(self) -> Form: ...

    @abstractmethod
    def _factor(self) -> Form: ...

    @abstractmethod
    def _exponent(self) -> Node: ...

    def _group_or_atom(self) -> Form:
        """The argument of a command: a brace, or the one token that stands there."""
        if self._at("{"):
            return self._bracket()
        return self._atom()

    def _digit_or_group(self) -> Form:
        """LaTeX takes one digit: `\\frac12` is a half."""
        token = self._next
        if token.kind == "number" and len(token.text) > 1 and token.text.isdigit():
            self._tokens[self._place] = Token("number", token.text[1:])
            return number(token.text[0])
        return self._group_or_atom()

    def _atom(self) -> Form:
        token = self._take()
        if token.kind == "number":
            return self._numeral(token.text)
        if token.kind == "name":
            return Name(token.text + self._subscript())
        if token.kind == "function":
            return self._function(token.text)
        if token.kind == "begin":
            return self._matrix(token.text)
        if token.kind != "sign":
            raise Unreadable(token.text)
        self._place -= 1
        return self._signed_atom(token.text)

    def _signed_atom(self, sign: str) -> Form:
        if sign in _CLOSING:
            return self._bracket()
        self._take()
        if sign == "frac":
            top = node(self._digit_or_group())
            return Call("/", (top, node(self._digit_or_group())))
        if sign == "binom":
            top = node(self._digit_or_group())
            return Call("binom", (top, node(self._digit_or_group())))
        if sign == "sqrt":
            return self._root()
        if sign == "inf":
            return INFINITY
        if sign == "reals":
            return REALS
        if sign == "overline" and self._at("{"):
            return self._bracket()
        if sign == "empty":
            return Group((), braced=True)
        if sign in ("lfloor", "lceil"):
            inside = node(self._sum())
            self._expect("r" + sign[1:])
            return Call(sign[1:], (inside,))
        if sign == "|":
            return self._absolute()
        raise Unreadable(sign)

    def _absolute(self) -> Form:
        self._pipes += 1
        inside = node(self._sum())
        self._pipes -= 1
        self._expect("|")
        return Call("abs", (inside,))

    def _numeral(self, text: str) -> Form:
        if self._at("_"):
            return self._based(text)
        if "." in text and self._at("overline"):
            return self._repeating(text)
        if text.endswith(".") or self._at("..."):
            raise Unreadable("...")
        return number(text)

    def _based(self, digits: str) -> Form:
        self._take()
        braced = self._skip("{")
        token = self._take()
        base = SMALL.get(token.text.lower()) if token.kind == "word" else None
        if token.kind == "number" and token.text.isdigit() and len(token.text) <= 2:
            base = int(token.text)
        if base is None:
            raise Unreadable("base")
        if braced:
            self._expect("}")
        return Based(digits, base)

    def _repeating(self, text: str) -> Form:
        self._take()
        self._expect("{")
        token = self._take()
        self._expect("}")
        if token.kind != "number" or not token.text.isdigit():
            raise Unreadable("overline")
        places = len(text.partition(".")[2])
        tail = Fraction(int(token.text), (10 ** len(token.text) - 1) * 10**places)
        return Number(Fraction(f"{text}0") + tail)

    def _subscript(self) -> str:
        if not self._skip("_"):
            return ""
        braced, found = self._skip("{"), []
        while self._next.kind in ("number", "name", "word"):
            found.append(self._take().text)
            if not braced:
                break
        if braced:
            self._expect("}")
        if not found:
            raise Unreadable("_")
        return "_" + "".join(found)

    def _root(self) -> Form:
        degree: Node = Number(Fraction(2))
        if self._at("["):
            start = self._place
            self._take()
            inside = node(self._sum())
            self._expect("]")
            if not (self._at("{", "(", "sqrt") or self._next.kind in ("number", "name")):
                self._place = start  # sqrt[13]: the bracket is the argument
                return Call("root", (node(self._bracket()), degree))
            degree = inside
        return Call("root", (node(self._root_argument()), degree))

    def _root_argument(self) -> Form:
        token = self._next
        typed = self._tokens[self._place - 1].text == "sqrt" and not token.spaced
        if token.kind == "number" and not typed:
            return self._digit_or_group() if not token.spaced else number(self._take().text)
        return self._group_or_atom()

    def _function(self, name: str) -> Form:
        base: Node | None = None
        power: Node | None = None
        if name == "log" and self._skip("_"):
            base = node(self._digit_or_group())
        if self._skip("^"):
            power = self._exponent()
        argument = node(self._argument())
        made: Node = Call(name, (argument,))
        if name == "log":  # of an unknown base, where none is written
            made = Call("/", (Call("ln", (argument,)), Call("ln", (base,)) if base else Name(UNKNOWN_BASE)))
        if power == Call("neg", (Number(Fraction(1)),)):
            return Call("arc" + name, (argument,)) if name in ("sin", "cos", "tan") else _refuse(name)
        return made if power is None else Call("^", (made, power))

    def _argument(self) -> Form:
        """What a function is applied to: a bracket, or the product up to a sign or another function."""
        if self._at("(", "{", "|"):
            return self._bracket() if not self._at("|") else self._atom()
        form = self._factor()
        while self._next.kind in ("number", "name") or self._at("frac", "sqrt"):
            form = times(form, self._factor())
        if self._at("/"):
            raise Unreadable("where does the argument end?")
        return form

    def _bracket(self) -> Form:
        opening = self._take().text
        self._depth += 1
        pipes, self._pipes = self._pipes, 0
        if self._depth > DEEPEST:
            raise Unreadable("nested too deep")
        if opening == "\\{" and self._skip("\\}"):
            self._depth -= 1
            return Group((), braced=True)
        if opening == "\\{" and self._condition_follows():
            self._take_until_condition()
        inside = self._answers()
        closing = self._expect(*_CLOSING[opening])
        self._depth -= 1
        self._pipes = pipes
        return (
            inside
            if opening == "\\{" and isinstance(inside, Relation)
            else _enclosed(opening, inside, closing)
        )

    def _condition_follows(self) -> bool:
        """Whether this is a set by its condition, `{x | x > 0}` or `{x in R : x > 0}`."""
        texts = [token.text for token in self._tokens[self._place : self._place + 4]]
        named = self._next.kind == "name" and self._next.text not in CONSTANTS
        return named and (
            texts[1:2] in (["|"], [":"]) or texts[1:4] in (["in", "reals", "|"], ["in", "reals", ":"])
        )

    def _take_until_condition(self) -> None:
        while self._take().text not in ("|", ":"):
            pass

    def _matrix(self, name: str) -> Form:
        if name == "vmatrix":
            raise Unreadable("a determinant")
        rows: list[tuple[Form, ...]] = []
        cells: list[Form] = []
        while self._next.kind != "end":
            cells.append(self._sum())
            if self._skip("&"):
                continue
            rows.append(tuple(cells))
            cells = []
            if self._next.kind != "end":
                self._expect("\\\\")
        self._take()
        if not rows or len({len(row) for row in rows}) != 1:
            raise Unreadable("a ragged matrix")
        return Matrix(tuple(rows))


def _enclosed(opening: str, inside: Form, closing: str) -> Form:
    several = isinstance(inside, Group) and not inside.braced
    items = inside.items if several and isinstance(inside, Group) else (inside,)
    if opening == "\\{":
        return Group(items, braced=True)
    if opening == "{":
        return inside
    if several:
        return Row(items, opening, closing)
    if (opening, closing) not in (("(", ")"), ("[", "]")):
        raise Unreadable(opening + closing)
    return inside


def _refuse(name: str) -> Form:
    raise Unreadable(name)
