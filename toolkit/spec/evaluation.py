"""What the students are tested on."""

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from toolkit.spec.models import Decoding
from toolkit.spec.problems import SAME, Problems
from toolkit.spec.section import Section
from toolkit.spec.training import SEARCH_SEED


def _by_source(value: Any) -> Any:
    """`[a.jsonl, b.jsonl]` is short for {a: {source: a.jsonl}, b: {source: b.jsonl}}."""
    if not isinstance(value, list | tuple):
        return value
    return {str(v).rpartition("/")[2].partition(".")[0]: {"source": v, "split": "test"} for v in value}


class Evaluate(Section):
    """pass@1 and majority votes of the base and of each student on problems no dataset has seen.

    `problems.source: same` is the run's own source, with another split or another stretch of the file.
    """

    problems: Problems = Problems(source=SAME, split="test", limit=500)
    draws: Annotated[int, Field(gt=0)] = 1  # sampled answers per problem; at least the largest of maj_k
    decoding: Decoding | None = None  # of the sampled answers; None: the run's
    greedy: bool = False  # also one answer at temperature 0
    maj_k: tuple[Annotated[int, Field(gt=0)], ...] = ()  # majority votes; the paper's are 1, 4, 8, 16
    seeds: Annotated[int, Field(gt=0, le=SEARCH_SEED)] = 1  # finetunings of a student on a dataset
    transfer: Annotated[dict[str, Problems], BeforeValidator(_by_source)] = {}  # further test sets, by name
    provider: Literal["checkpoint", "vllm"] = "checkpoint"  # what serves the students
    serve_args: tuple[Annotated[str, BeforeValidator(str)], ...] = ()  # of `vllm serve`

    @property
    def sampled(self) -> int:
        """Sampled answers per problem."""
        return max(self.draws, *self.maj_k, 1)

    @model_validator(mode="after")
    def _names_are_free(self) -> Self:
        if "test" in self.transfer:
            raise ValueError("transfer: the name 'test' is taken by evaluate.problems: give another")
        return self
