"""Whether the written calculations of a solution hold: a check of reasoning that needs no judge.

It is for word problems that give all their numbers. What it finds is surely flawed; what it cannot see, true
sums of the wrong things among the right numbers, it calls sound. So it gives a lower bound of the share of
flawed solutions.
"""

import ast
import operator
import re
from fractions import Fraction

from toolkit.equations import equations

WORDS = {"half": 2, "double": 2, "doubles": 2, "twice": 2, "triple": 3, "triples": 3, "thrice": 3}
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_OPERATIONS = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


def flaw(question: str, solution: str, answer: str) -> str | None:
    """What is wrong with a solution whose answer is right, in a word: None where nothing is.

    Sound is a solution whose every equation is true, whose every number is given by the question or is an
    earlier result, and whose answer is the result of one of its equations.
    """
    found = equations(solution)
    if not found:
        return "no calculation"
    known = given(question)
    results = set[Fraction]()
    for equation in found:
        left, _, right = equation.rpartition("=")
        value, result = evaluate(left), evaluate(right)
        if value is None or value != result:
            return "untrue"
        if not set(map(Fraction, _NUMBER.findall(left))) <= known | results:
            return "a number from nowhere"
        results.add(value)
    reached = evaluate(answer.replace(",", ""))
    return None if reached in results else "another answer"


def given(question: str) -> set[Fraction]:
    """The numbers of a question, those in words for two and three among them."""
    numbers = map(Fraction, _NUMBER.findall(_THOUSANDS.sub("", question)))
    words = (WORDS[w] for w in re.findall(r"[a-z]+", question.lower()) if w in WORDS)
    return {*numbers, *map(Fraction, words)}


def evaluate(written: str) -> Fraction | None:
    """The exact value of a sum of plain numbers; None where it is none, or divides by zero."""
    plain = re.sub(r"\b0+(?=\d)", "", written)
    try:
        return _value(ast.parse(plain, mode="eval").body)
    except (SyntaxError, ZeroDivisionError, ValueError, RecursionError, MemoryError):
        return None


def _value(node: ast.AST) -> Fraction:
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return Fraction(str(node.value))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_value(node.operand)
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATIONS:
        return Fraction(_OPERATIONS[type(node.op)](_value(node.left), _value(node.right)))
    raise ValueError("not a sum of numbers")
