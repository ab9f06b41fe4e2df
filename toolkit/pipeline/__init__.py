"""The stages of a run, each re-runnable alone on its directory: plan, sample, verify, measure, and on.

Each stage reads what lies to its left (the ledger, JSON files) and writes what lies to its right.
"""

from toolkit.pipeline.environment import versions
from toolkit.pipeline.exporting import export
from toolkit.pipeline.measuring import measure, measured_parts
from toolkit.pipeline.piloting import fitted, keep_pilot, pilot, piloted
from toolkit.pipeline.sampling import ask, draw
from toolkit.pipeline.teaching import examine, score, train
from toolkit.pipeline.verifying import judge, judge_only, verifier_of

__all__ = [
    "ask",
    "draw",
    "examine",
    "export",
    "fitted",
    "judge",
    "judge_only",
    "keep_pilot",
    "measure",
    "measured_parts",
    "pilot",
    "piloted",
    "score",
    "train",
    "verifier_of",
    "versions",
]
