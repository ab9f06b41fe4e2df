"""Sampling: what is missing is asked for, under rate limits and a hard cap, into the ledger.

The order is draw-index-major over problems with the arms interleaved in proportion to their plan, so
that wherever a run stops it is a smaller, still matched design.
"""

from toolkit.sample.asking import Send, asker
from toolkit.sample.attempt import overbilled
from toolkit.sample.progress import Progress, Result
from toolkit.sample.sampler import run
from toolkit.sample.session import GIVE_UP_AFTER
from toolkit.sample.tasks import Task, seed_of, tasks

__all__ = [
    "GIVE_UP_AFTER",
    "Progress",
    "Result",
    "Send",
    "Task",
    "asker",
    "overbilled",
    "run",
    "seed_of",
    "tasks",
]
