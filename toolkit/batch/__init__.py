"""Sampling through batch APIs: cheaper, within a day, and never submitted twice.

A batch and its reservations are on disk before it leaves, and its mark travels with it. Where the process
dies in between, the next one looks for the mark among the provider's batches: found, it is adopted; not
found, its reservations are released. Stopping leaves batches with their provider; a rerun collects them.
"""

from toolkit.batch.driver import run
from toolkit.batch.session import Lane, Pace

__all__ = ["Lane", "Pace", "run"]
