"""How draws are asked for, judged, measured and shown."""

from typing import Annotated, Literal

from pydantic import Field

from toolkit.spec.models import Decoding, Model
from toolkit.spec.section import Section


class Sampling(Section):
    timeout: Annotated[float, Field(gt=0)] = 600.0  # seconds, one request
    attempts: Annotated[int, Field(gt=0)] = 6  # tries of one request before its draws stay missing
    rounds: Annotated[int, Field(gt=0)] = (
        4  # passes over the problems: more stop more evenly, fewer bill the prompt less
    )
    batch: bool = False  # through the provider's batch API: cheaper, within a day
    batch_requests: Annotated[int, Field(gt=0)] = 10_000  # in one batch, at most
    batch_poll: Annotated[float, Field(gt=0)] = 60.0  # seconds between looks at a batch


class Verify(Section):
    """How an answer is judged against the gold."""

    verifier: Literal["math", "code"] = "math"  # code: the gold is a test program, run in a sandbox
    timeout: Annotated[float, Field(gt=0)] = 5.0  # seconds of wall clock per hard comparison, or per program
    workers: Annotated[int, Field(gt=0)] = 2
    unsafe: bool = False  # code: run programs without a sandbox where there is none; verdicts say so


class Judge(Section):
    """A model that looks at solutions: at the reasoning of correct ones, or at answers that have no gold."""

    model: Model
    of: Literal["reasoning", "answers"] = "reasoning"
    prompt: str | None = None  # None: prompts/judge.md, or judge-answer.md
    sample: Annotated[int, Field(gt=0)] | None = 500  # draws per arm, stratified by level; None judges all
    votes: Annotated[int, Field(gt=0)] = 1  # of each draw and order; the majority counts
    both_orders: bool = False  # also with the two verdicts named the other way round; they must agree
    decoding: Decoding = Decoding(max_tokens=2048)


class Metrics(Section):
    """Which k are reported besides 1 and the planned number of draws."""

    k: tuple[Annotated[int, Field(gt=0)], ...] = ()
    resamples: Annotated[int, Field(ge=100)] = 1000  # bootstrap over problems


class Report(Section):
    samples: Annotated[int, Field(ge=0)] = 24  # solutions shown on the page
    browse: Annotated[int, Field(ge=0)] = (
        100_000  # draws in the sample browser beside it; of more, problems spread evenly
    )
