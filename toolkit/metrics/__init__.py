"""What a run's draws show per arm: coverage, diversity, cost per correct solution, with 95 % intervals."""

from toolkit.metrics.arm import Part
from toolkit.metrics.summary import measure

__all__ = ["Part", "measure"]
