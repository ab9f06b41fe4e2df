"""pricematch: which model's solutions teach most for the same money?

The command line is the main door (`pricematch --help`). From Python, a run directory reads like this:

    from toolkit import open_run, measure, Reader

    job = open_run("runs/quickstart")
    print(measure(job)["models"]["cheap"]["coverage"])
    with Reader(job.directory / "ledger.sqlite") as ledger:
        print(ledger.spend())

and the estimators stand alone:

    >>> from toolkit import coverage
    >>> import numpy as np
    >>> coverage(np.array([10, 10]), np.array([1, 5]), k=2).round(3).tolist()
    [0.2, 0.778]
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOME = {  # where each public name lives; loaded when first used, so that importing toolkit costs nothing
    "Estimate": "types",
    "MathVerifier": "verifiers.math",
    "Problem": "types",
    "Reader": "ledger",
    "Reply": "types",
    "Request": "types",
    "Usage": "types",
    "coverage": "estimators",
    "final_answer": "answers",
    "make_plan": "planning",
    "measure": "pipeline",
    "open_run": "stages",
    "paired_difference": "estimators",
    "wilson": "estimators",
}

__all__ = [
    "Estimate",
    "MathVerifier",
    "Problem",
    "Reader",
    "Reply",
    "Request",
    "Usage",
    "coverage",
    "final_answer",
    "make_plan",
    "measure",
    "open_run",
    "paired_difference",
    "wilson",
]

if TYPE_CHECKING:
    from toolkit.answers import final_answer
    from toolkit.estimators import coverage, paired_difference, wilson
    from toolkit.ledger import Reader
    from toolkit.pipeline import measure
    from toolkit.planning import make_plan
    from toolkit.stages import open_run
    from toolkit.types import Estimate, Problem, Reply, Request, Usage
    from toolkit.verifiers.math import MathVerifier


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'toolkit' has no attribute {name!r}")
    return getattr(import_module(f"toolkit.{_HOME[name]}"), name)
