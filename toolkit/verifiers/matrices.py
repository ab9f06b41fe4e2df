"""Arithmetic of matrices whose entries are formulas."""

from fractions import Fraction

from toolkit.verifiers.forms import Call, Form, Matrix, Number, Unreadable
from toolkit.verifiers.stream import node


def plus(left: Matrix, sign: str, right: Form) -> Matrix:
    """The sum of two matrices of one size."""
    if not isinstance(right, Matrix) or sign not in "+-" or _size(left) != _size(right):
        raise Unreadable("a sum with a matrix")
    second = right if sign == "+" else times(Number(Fraction(-1)), right)
    assert isinstance(second, Matrix)
    pairs = [zip(one, other, strict=True) for one, other in zip(left.rows, second.rows, strict=True)]
    return Matrix(tuple(tuple(Call("+", (node(a), node(b))) for a, b in row) for row in pairs))


def _product(left: Matrix, right: Matrix) -> Matrix:
    if _size(left)[1] != _size(right)[0]:
        raise Unreadable("a product of matrices")
    columns = list(zip(*right.rows, strict=True))
    return Matrix(tuple(tuple(_inner(row, column) for column in columns) for row in left.rows))


def _inner(row: tuple[Form, ...], column: tuple[Form, ...]) -> Form:
    return Call("+", tuple(Call("*", (node(a), node(b))) for a, b in zip(row, column, strict=True)))


def _size(matrix: Matrix) -> tuple[int, int]:
    return len(matrix.rows), len(matrix.rows[0])


def times(left: Form, right: Form) -> Form:
    if isinstance(left, Matrix) and isinstance(right, Matrix):
        return _product(left, right)
    if isinstance(right, Matrix):
        factor = node(left)
        return Matrix(tuple(tuple(Call("*", (factor, node(cell))) for cell in row) for row in right.rows))
    return Call("*", (node(left), node(right)))
