"""Arithmetic as it is written: sums, products with and without a sign, mixed numbers, powers."""

from fractions import Fraction

from toolkit.verifiers.atoms import DEEPEST, Atoms
from toolkit.verifiers.forms import REALS, Based, Call, Form, Matrix, Name, Node, Number, Unreadable
from toolkit.verifiers.lexer import Token
from toolkit.verifiers.matrices import plus, times
from toolkit.verifiers.stream import node, number


class Formulas(Atoms):
    """Reads formulas, and shapes that arithmetic passes through."""

    def _sum(self) -> Form:
        self._depth += 1
        if self._depth > DEEPEST:
            raise Unreadable("nested too deep")
        form = self._signed()
        terms: list[Node] = []
        while self._at("+", "-", "pm", "mp") and form != REALS:
            if isinstance(form, Matrix):
                form = plus(form, self._take().text, self._term())
                continue
            terms = terms or [node(form)]
            sign, term = self._take().text, node(self._term())
            terms.append(term if sign == "+" else Call({"-": "neg"}.get(sign, sign), (term,)))
        self._depth -= 1
        return Call("+", tuple(terms)) if terms else form

    def _signed(self) -> Form:
        if self._at("+", "-", "pm", "mp"):
            sign = self._take().text
            inner = self._term()
            if sign == "+":
                return inner
            if sign == "-" and isinstance(inner, Based):
                return Based("-" + inner.digits, inner.base)
            if sign == "-" and isinstance(inner, Matrix):
                return times(Number(Fraction(-1)), inner)
            return Call({"-": "neg"}.get(sign, sign), (node(inner),))
        return self._term()

    def _term(self) -> Form:
        form = self._factor()
        while True:
            if self._skip("*"):
                form = times(form, self._signed_factor())
            elif self._at("/") and not self._unit_after_slash():
                self._take()
                form = Call("/", (node(form), node(self._signed_factor())))
            elif self._factor_follows():
                form = self._implied(form)
            else:
                return form

    def _unit_after_slash(self) -> bool:
        after = self._place + 1
        return after < len(self._tokens) and self._tokens[after].kind == "word"

    def _signed_factor(self) -> Form:
        if self._skip("-"):
            return Call("neg", (node(self._factor()),))
        return self._factor()

    def _factor_follows(self) -> bool:
        token = self._next
        if token.kind in ("number", "name", "function", "begin"):
            return True
        if token.kind != "sign":
            return False
        if token.text == "|":
            return self._pipes == 0
        if token.text == "(" and self._tokens[self._place + 1 : self._place + 2]:
            after = self._tokens[self._place + 1]
            if after.kind == "word" or (after.kind == "and" and after.text == "or"):
                return False
        return token.text in ("(", "[", "{", "frac", "sqrt", "binom", "lfloor", "lceil", "inf", "overline")

    def _implied(self, left: Form) -> Form:
        """A product without a sign, or a mixed number: `6\\frac{1}{5}`, `6 1/5`."""
        if isinstance(left, Number) and left.digits == 0 and self._tokens[self._place - 1].kind == "number":
            if self._at("frac"):
                right = self._factor()
                match right:
                    case Call("/", (Number(top, 0), Number(bottom, 0))) if 0 < top < bottom:
                        return Call("+", (left, right))
                    case Call("%" | "deg" as mark, (Call("/", (Number(), Number())) as part,)):
                        return Call(mark, (Call("+", (left, part)),))
                return times(left, right)
            if self._next.kind == "number":
                return self._mixed(left)
        return times(left, self._factor())

    def _mixed(self, whole: Number) -> Form:
        top = self._take()
        if not (self._skip("/") and self._next.kind == "number"):
            raise Unreadable("two numbers side by side")
        part = Call("/", (number(top.text), number(self._take().text)))
        return Call("+", (whole, part))

    def _factor(self) -> Form:
        base = self._postfix(self._atom())
        while self._at("^"):
            self._take()
            base = self._powered(base)
            base = self._postfix(base)
        return base

    def _powered(self, base: Form) -> Form:
        if self._skip("deg"):
            return Call("deg", (node(base),))
        if self._at("{") and self._tokens[self._place + 1 : self._place + 2] == [Token("sign", "deg")]:
            self._place += 2
            self._expect("}")
            return Call("deg", (node(base),))
        return Call("^", (node(base), self._exponent()))

    def _exponent(self) -> Node:
        """A tower is read from the right: 2^3^2 is 2^9."""
        if self._skip("-"):
            return Call("neg", (node(self._group_or_atom()),))
        base = node(self._group_or_atom())
        return Call("^", (base, self._exponent())) if self._skip("^") else base

    def _postfix(self, base: Form) -> Form:
        while True:
            if self._skip("!"):
                base = Call("!", (node(base),))
            elif self._skip("%"):
                base = Call("%", (node(base),))
            elif self._skip("deg"):
                base = Call("deg", (node(base),))
            elif self._next.kind == "word" and self._next.text.lower() in ("percent", "percentage", "pct"):
                self._take()
                base = Call("%", (node(base),))
            elif self._at("'") and isinstance(base, Name):
                self._take()
                base = Name(base.text + "'")
            else:
                return base
