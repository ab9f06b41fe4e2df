"""Students on held-out problems: who takes part, what their answers are worth, and what one dataset gains over another."""

from toolkit.evaluate.contestants import BASE, checkpoint, contestants, seeds
from toolkit.evaluate.score import TEST, Evaluation, TestSet, matching, score

__all__ = ["BASE", "TEST", "Evaluation", "TestSet", "checkpoint", "contestants", "matching", "score", "seeds"]
