"""Which known question does a prompt end with? Any prompt format, many thousands of questions."""

from collections.abc import Iterator, Sequence

LONGEST_HEAD = 16  # characters of a question that are looked up; the rest is compared


class Known:
    """An index of questions by their first characters. Of equal questions the first counts."""

    def __init__(self, questions: Sequence[str]) -> None:
        self._texts = [q.strip() for q in questions]
        self._head = min([LONGEST_HEAD, *(len(t) for t in self._texts if t)])
        self._heads: dict[str, list[int]] = {}
        first = {text: index for index, text in reversed(list(enumerate(self._texts))) if text}
        for text, index in sorted(first.items(), key=lambda item: -len(item[0])):
            self._heads.setdefault(text[: self._head], []).append(index)
        self._reach = self._inside()

    def last_in(self, prompt: str) -> int | None:
        """The index of the last known question in the prompt; one inside a longer one does not count."""
        for start in range(len(prompt) - self._head, -1, -1):
            for index in self._at(prompt, start):
                return self._outermost(prompt, start, index)
        return None

    def _at(self, text: str, start: int) -> Iterator[int]:
        """Questions that stand at this place, the longest first."""
        for index in self._heads.get(text[start : start + self._head], ()):
            if text.startswith(self._texts[index], start):
                yield index

    def _outermost(self, prompt: str, start: int, index: int) -> int:
        end = start + len(self._texts[index])
        for earlier in range(start - 1, max(-1, start - 1 - self._reach.get(index, 0)), -1):
            for outer in self._at(prompt, earlier):
                if earlier + len(self._texts[outer]) >= end:
                    return self._outermost(prompt, earlier, outer)
        return index

    def _inside(self) -> dict[int, int]:
        """For each question that another one contains: how far from the other's start, at most."""
        reach: dict[int, int] = {}
        for text in self._texts:
            for start in range(1, len(text) - self._head + 1):
                if text[start : start + self._head] in self._heads:
                    for index in self._at(text, start):
                        reach[index] = max(reach.get(index, 0), start)
        return reach
