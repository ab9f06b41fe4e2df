"""Which questions are asked."""

from typing import Annotated

from pydantic import Field

from toolkit.spec.section import Section

SAME = "same"  # as an evaluation's source: the run's own


class Problems(Section):
    """Where the questions come from: a path to JSONL, a hub id, or builtin:word-problems."""

    source: str = "builtin:word-problems"
    split: str = "train"
    config: str | None = None  # hub configuration; "main" for openai/gsm8k unless given
    offset: Annotated[int, Field(ge=0)] = 0  # problems passed over before the first
    limit: Annotated[int, Field(gt=0)] | None = None  # the first N after those
    seed: int = 0  # of the builtin generator
