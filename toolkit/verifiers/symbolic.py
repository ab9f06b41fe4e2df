"""The slow comparison, by Math-Verify and sympy. Imported only by the processes of `workers`."""

from math_verify import parse, verify

from toolkit.types import Outcome
from toolkit.verifiers.notation import as_latex


def compare(gold: str, answer: str) -> Outcome:
    """Whether two expressions are equal. May run for ever: only for a process that can be killed."""
    want = parse(_wrap(gold), parsing_timeout=None)
    have = parse(_wrap(answer), parsing_timeout=None)
    if not want:
        return Outcome.ERROR
    if not have:
        return Outcome.UNPARSABLE
    return Outcome.CORRECT if verify(want, have, timeout_seconds=None) else Outcome.INCORRECT


def _wrap(answer: str) -> str:
    return rf"\boxed{{{as_latex(answer)}}}"
