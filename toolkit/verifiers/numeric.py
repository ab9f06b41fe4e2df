"""Values of formulas: exact fractions where they stay exact, else sixty digits.

Everything that could grow without end (powers, factorials, the arguments of functions) is capped, and
what passes a cap is `Unreadable`: only a process that can be killed may try it.
"""

import math
import zlib
from collections.abc import Callable, Mapping
from fractions import Fraction
from functools import cache
from typing import Any, TypeAlias

from toolkit.verifiers.forms import CONSTANTS, Call, Name, Node, Number, Unreadable

DIGITS = 60  # worked with
BITS = 2**17  # of an exact number: 1/2004! has 19,000
LARGEST = 2**40  # in magnitude, of an exponent or the argument of a function that grows
FACTORIAL = 10_000

Value: TypeAlias = Any  # Fraction, mpmath mpf or mpc; mpmath has no types
Point: TypeAlias = Mapping[str, Fraction]


class Undefined(Exception):
    """No value at this point: a division by zero, the logarithm of zero."""


def evaluate(node: Node, at: Point) -> Value:
    """The value with every free name replaced; raises `Undefined` or `Unreadable`."""
    match node:
        case Number(value):
            return value
        case Name(text):
            return constant(text) if text in CONSTANTS else at[text]
        case Call(op, args):
            if op in _TRIGONOMETRIC:
                args = tuple(_in_radians(arg) for arg in args)
            return _apply(op, [evaluate(arg, at) for arg in args])


def point(names: frozenset[str], trial: int) -> dict[str, Fraction]:
    """A value for every name: the same for the same name and trial, positive but for trial 2."""
    made = {}
    for name in names:
        drawn = zlib.crc32(f"{trial}:{name}".encode())
        value = Fraction(drawn % 65521 + 20011, 32749)  # 0.6 to 2.6
        made[name] = -value if trial == 2 else value
    return made


@cache
def constant(name: str) -> Value:
    mp = context()
    return {"pi": +mp.pi, "e": +mp.e, "i": mp.mpc(0, 1)}[name]


@cache
def context() -> Any:
    """A context of our own: its precision is never changed, so any thread may use it."""
    from mpmath.ctx_mp import MPContext  # type: ignore[import-untyped]

    made = MPContext()
    made.dps = DIGITS
    return made


@cache
def power_of_ten(exponent: int) -> Value:
    return context().mpf(10) ** exponent


def as_float(value: Value) -> Value:
    if isinstance(value, Fraction):
        return context().mpf(value.numerator) / value.denominator
    return value


def _in_radians(node: Node) -> Node:
    match node:
        case Call("deg", (inner,)):
            return Call("/", (Call("*", (inner, Name("pi"))), Number(Fraction(180))))
    return node


def _apply(op: str, args: list[Value]) -> Value:
    made = _OPERATIONS.get(op)
    if made is not None:
        return made(*args)
    if op in _GROWING:
        return _function(op, args)
    raise Unreadable(op)


def _add(*terms: Value) -> Value:
    total: Value = Fraction(0)
    for term in terms:
        total = (
            total + term
            if isinstance(total, Fraction) and isinstance(term, Fraction)
            else as_float(total) + as_float(term)
        )
    return total


def _multiply(left: Value, right: Value) -> Value:
    if isinstance(left, Fraction) and isinstance(right, Fraction):
        return _small(left * right)
    return as_float(left) * as_float(right)


def _divide(left: Value, right: Value) -> Value:
    if right == 0:
        raise Undefined("division by zero")
    if isinstance(left, Fraction) and isinstance(right, Fraction):
        return _small(left / right)
    return as_float(left) / as_float(right)


def _small(value: Fraction) -> Fraction:
    if value.numerator.bit_length() + value.denominator.bit_length() > BITS:
        raise Unreadable("a number too long")
    return value


def _power(base: Value, exponent: Value) -> Value:
    if isinstance(exponent, Fraction):
        if exponent.denominator == 1 and isinstance(base, Fraction):
            return _whole_power(base, exponent.numerator)
        if exponent.denominator > 1 and isinstance(base, Fraction) and base < 0:
            raise Unreadable("a fractional power of a negative number")
    if base == 0:
        raise Undefined("a power of zero")
    mp = context()
    base, exponent = as_float(base), as_float(exponent)
    if abs(exponent) > LARGEST or abs(exponent) * (abs(mp.log(abs(base))) + 4) > LARGEST:
        raise Unreadable("a power too high")
    return base**exponent


def _whole_power(base: Fraction, exponent: int) -> Value:
    if base == 0:
        if exponent <= 0:
            raise Undefined("zero to a power that is not positive")
        return base
    bits = base.numerator.bit_length() + base.denominator.bit_length()
    if abs(base) == 1 or bits * abs(exponent) <= BITS:
        return base ** (exponent if abs(base) != 1 else exponent % 2)
    if bits * abs(exponent) > LARGEST:
        raise Unreadable("a power too high")
    return as_float(base) ** exponent


def _root(value: Value, degree: Value) -> Value:
    if not isinstance(degree, Fraction) or degree.denominator != 1 or not 2 <= degree <= 1000:
        raise Unreadable("the degree of a root")
    n = degree.numerator
    if isinstance(value, Fraction):
        if value < 0 and n % 2:
            return -_root(-value, degree)
        if value >= 0 and n == 2 and (exact := _exact_root(value)) is not None:
            return exact
    mp = context()
    inside = as_float(value)
    if n % 2 and mp.im(inside) == 0 and mp.re(inside) < 0:
        return -mp.root(-inside, n)
    return mp.sqrt(inside) if n == 2 else mp.root(inside, n)


def _exact_root(value: Fraction) -> Fraction | None:
    top, bottom = math.isqrt(value.numerator), math.isqrt(value.denominator)
    exact = Fraction(top, bottom)
    return exact if exact * exact == value else None


def _real(value: Value) -> Value:
    value = value if isinstance(value, Fraction) else as_float(value)
    if not isinstance(value, Fraction) and context().im(value) != 0:
        raise Unreadable("a complex number where a real one belongs")
    return value


def _whole(round_: Callable[[Any], int]) -> Callable[[Value], Value]:
    def apply(value: Value) -> Value:
        value = _real(value)
        if isinstance(value, Fraction):
            return Fraction(round_(value))
        nearest = context().nint(value)
        if abs(value - nearest) < power_of_ten(-25) or abs(value) > LARGEST:
            raise Unreadable("a step too close to call")
        return Fraction(int(context().floor(value) if round_ is math.floor else context().ceil(value)))

    return apply


def _factorial(value: Value) -> Value:
    if not isinstance(value, Fraction) or value.denominator != 1 or not 0 <= value <= FACTORIAL:
        raise Unreadable("a factorial")
    return Fraction(math.factorial(value.numerator))


def _binomial(n: Value, k: Value) -> Value:
    if not (isinstance(n, Fraction) and isinstance(k, Fraction) and n.denominator == k.denominator == 1):
        raise Unreadable("a binomial")
    if not (0 <= n <= FACTORIAL and k >= 0):
        raise Unreadable("a binomial")
    return Fraction(math.comb(n.numerator, k.numerator))


def _function(name: str, args: list[Value]) -> Value:
    mp = context()
    values = [as_float(arg) for arg in args]
    if any(abs(value) > LARGEST for value in values) and name not in ("ln", "lg"):
        raise Unreadable("an argument too large")
    try:
        if name in ("ln", "lg"):
            return _logarithm(name, values)
        return getattr(mp, _LIBRARY.get(name, name))(*values)
    except (ValueError, ZeroDivisionError, OverflowError) as error:
        raise Undefined(name) from error


def _logarithm(name: str, values: list[Value]) -> Value:
    mp = context()
    if values[0] == 0:
        raise Undefined("the logarithm of zero")
    return mp.log10(values[0]) if name == "lg" else mp.log(values[0])


_TRIGONOMETRIC = frozenset({"sin", "cos", "tan", "cot", "sec", "csc"})
_LIBRARY = {"arcsin": "asin", "arccos": "acos", "arctan": "atan"}
_GROWING = _TRIGONOMETRIC | {*_LIBRARY, "sinh", "cosh", "tanh", "exp", "ln", "lg"}
_OPERATIONS: dict[str, Callable[..., Value]] = {
    "+": _add,
    "neg": lambda value: -value,
    "*": _multiply,
    "/": _divide,
    "^": _power,
    "root": _root,
    "abs": abs,
    "floor": _whole(math.floor),
    "ceil": _whole(math.ceil),
    "!": _factorial,
    "binom": _binomial,
    "%": lambda value: _divide(value, Fraction(100)),
    "deg": lambda value: _divide(_multiply(value, constant("pi")), Fraction(180)),
}
