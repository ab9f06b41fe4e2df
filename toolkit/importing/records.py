"""One generation as any file tells it, and the finding of its problem."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from toolkit.types import Problem, Usage


@dataclass(frozen=True, slots=True)
class Record:
    """The answers to one problem that a row holds, and every hint at which problem that is."""

    place: str  # file and line, for messages
    texts: tuple[str, ...]
    usage: Usage | None = None  # of all texts together
    ids: tuple[str, ...] = ()  # of the problem, the surest first
    question: str | None = None
    position: str | None = None  # in the file's own list of problems: counts only if `asked` has the question
    asked: str | None = None  # the whole prompt
    model: str | None = None  # that wrote it, as the row says
    failed: bool = False  # a row about a request that brought no answer


class Finder:
    """Finds the problem of a record by id, by the question's text, or by a position that the prompt confirms."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self._by_id = {p.id: i for i, p in enumerate(problems)}
        self._by_text = {_plain(p.question): i for i, p in enumerate(problems)}
        self._questions = [_plain(p.question) for p in problems]

    def position(self, record: Record) -> int | None:
        """The problem's position in the run, or None."""
        known = [self._by_id[i] for i in record.ids if i in self._by_id]
        if known:
            return known[0]
        if record.question is not None and (found := self._by_text.get(_plain(record.question))) is not None:
            return found
        place = None if record.position is None else self._by_id.get(record.position)
        if place is None or record.asked is None or self._questions[place] not in _plain(record.asked):
            return None
        return place


def shares(usage: Usage | None, count: int) -> list[Usage | None]:
    """A row's usage over its texts, so that the sum is the row's: the prompt was read once."""
    if usage is None or count == 0:
        return [None] * count
    parts = zip(_split(usage.output, count), _split(usage.thinking, count), strict=True)
    return [
        Usage(usage.prompt if i == 0 else 0, output, usage.cached if i == 0 else 0, thinking)
        for i, (output, thinking) in enumerate(parts)
    ]


def openai_usage(usage: Any) -> Usage | None:
    """Usage in OpenAI's form (`prompt_tokens`, or `input_tokens` of the Responses API); None where it is not."""
    if not isinstance(usage, Mapping):
        return None
    prompt = usage.get("prompt_tokens", usage.get("input_tokens"))
    output = usage.get("completion_tokens", usage.get("output_tokens"))
    if not isinstance(output, int):
        return None
    thinking = _detail(usage, ("completion_tokens_details", "output_tokens_details"), "reasoning_tokens")
    cached = _detail(usage, ("prompt_tokens_details", "input_tokens_details"), "cached_tokens")
    return Usage(int(prompt or 0), max(0, output - thinking), cached, thinking)


def first(row: Mapping[str, Any], keys: Iterable[str]) -> Any:
    """The value under the first of these keys that has one."""
    return next((row[key] for key in keys if row.get(key) is not None), None)


def _detail(usage: Mapping[str, Any], places: Iterable[str], key: str) -> int:
    details = first(usage, places)
    found = details.get(key) if isinstance(details, Mapping) else None
    return found if isinstance(found, int) else 0


def _split(total: int, count: int) -> list[int]:
    whole, rest = divmod(total, count)
    return [whole + (i < rest) for i in range(count)]


def _plain(text: str) -> str:
    return " ".join(text.split())
