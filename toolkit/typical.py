"""Stand-ins for questions that are not at hand, so that a budget can be estimated before anything is downloaded."""

from dataclasses import dataclass

from toolkit.errors import InputError
from toolkit.problems import Loaded
from toolkit.spec import Problems
from toolkit.types import Problem

_TEXT = (
    "A baker sells 12 loaves a day for 3 dollars each and keeps the rest. How much does she make in a week? "
)


@dataclass(frozen=True, slots=True)
class Size:
    """Of one split: how many problems, and how long a question is on average."""

    problems: int
    characters: int


# Lengths, and the rows of GSM8K, MATH train and HumanEval, counted on 2026-11-21 in the files their authors publish
# (MATH test: in half of it; MBPP with its tests in the question). The other rows as the papers split them: MATH
# arXiv 2103.03874, its 500 arXiv 2305.20050, MBPP arXiv 2108.07732.
SIZES = {
    "openai/gsm8k": {"train": Size(7473, 235), "test": Size(1319, 240)},
    "zwhe99/MATH": {
        "train": Size(7500, 210),
        "test": Size(5000, 188),
        "math500": Size(500, 188),
        "math4500": Size(4500, 188),
    },
    "HuggingFaceH4/MATH-500": {"test": Size(500, 188)},
    "google-research-datasets/mbpp": {
        "train": Size(374, 267),
        "test": Size(500, 276),
        "validation": Size(90, 263),
        "prompt": Size(10, 269),
    },
    "openai/openai_humaneval": {"test": Size(164, 448)},
}
USUAL = 240  # characters of a question of a data set that is not listed


def questions(spec: Problems) -> Loaded:
    """As many problems as the run file asks of a hub data set, each of its typical length.

    Raises InputError where nothing says how many there are: neither this table nor the run file's `limit`.
    """
    size = None if spec.config == "sanitized" else SIZES.get(spec.source, {}).get(spec.split)
    left = None if size is None else max(0, size.problems - spec.offset)
    count = min((n for n in (left, spec.limit) if n is not None), default=0)
    if not count:
        raise InputError(
            f"problems.limit: how many problems {spec.source} {spec.split} has from {spec.offset} on is not known "
            "without downloading it: say with --set problems.limit=N"
        )
    characters = size.characters if size else USUAL
    text = (_TEXT * (characters // len(_TEXT) + 1))[:characters]
    note = f"{spec.source} was not read: {count:,} questions of about {characters} characters were assumed"
    return Loaded([Problem(f"{spec.split}-{i:05d}", text, "0") for i in range(count)], [note])
