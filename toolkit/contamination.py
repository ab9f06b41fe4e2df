"""Overlap with test sets, and near-duplicates: what must not be trained on, with the evidence.

A text is contaminated by a test question if the two are equal after normalisation, or if it repeats enough
of it: at least two of the question's n-grams of `N` words, and at least `SHARE` of all it has. Known ways
for such checks to go wrong, and what is done about each:

* Phrases of the field ("how many ... are there in total", identities in LaTeX, drawing code) hit anything:
  marks, drawings and punctuation are no words, n-grams that occur in more than `COMMON` questions of the
  test sets or of our own are ignored, and a single hit is never enough.
* Short questions have no n-gram, and would never be found: they are compared as a whole.
* Case, spacing, punctuation or a dialect of LaTeX hide a copy: they are normalised away first.
* A removal that nobody can check: every hit names the test set, the question, the share and the words.

Elsewhere any single n-gram counts, of 8 words (open-r1), 12 (datatrove) or 13 (s1).
"""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, repeat
from typing import Literal

import numpy as np
from numpy.typing import NDArray

N = 8  # words in an n-gram
SHARE = 0.5  # of the question's n-grams that a text must repeat
LEAST = 2  # n-grams that a text must repeat
COMMON = 3  # questions that may share an n-gram before it is a phrase of the field
SHINGLE = 3  # words in an n-gram when two solutions are compared, which are short
CHUNK = 4096  # texts hashed at a time

_DRAWING = re.compile(r"\[asy\].*?\[/asy\]", re.DOTALL)
_FRACTION = re.compile(r"\\[dtc]frac(?![a-z])")
_FORMATTING = re.compile(
    r"\\(?:left|right|displaystyle|text(?:bf|it|rm)?|math(?:rm|bf|it)|[bB]igg?[lr]?)(?![a-z])"
)
_THOUSANDS = re.compile(r"(?<=\d),(?:\\!)?(?=\d{3}(?!\d))")
_WORD = re.compile(r"\d+(?:\.\d+)?|[^\W\d_]+")
_WORD_OR_SIGN = re.compile(r"\d+(?:\.\d+)?|[^\W\d_]+|[-+*/^<>=!|%]")

Hashes = NDArray[np.uint64]
Places = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Question:
    """A question that must not be trained on."""

    source: str  # the test set, as the user named it
    id: str
    text: str


@dataclass(frozen=True, slots=True)
class Hit:
    """A text repeats a test question."""

    source: str
    id: str
    how: Literal["exact", "n-grams"]
    share: float  # of the question's n-grams that the text repeats; 1 where they are equal
    words: str  # the first n-gram both have, or the beginning of both


def words(text: str) -> list[str]:
    """The text's words and numbers in lower case, without punctuation, drawings and marks of LaTeX."""
    return _WORD.findall(_plain(text))


def _plain(text: str) -> str:
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    if "\\" in text or "[asy]" in text:
        text = _FORMATTING.sub(" ", _FRACTION.sub(r"\\frac", _DRAWING.sub(" ", text)))
    return _THOUSANDS.sub("", text).lower()


def _whole(text: str) -> str:
    """What is equal for texts that ask the same: signs of arithmetic count here, they may be all that differs."""
    return " ".join(_WORD_OR_SIGN.findall(_plain(text)))


class Index:
    """Test questions, ready to be looked for in any number of texts."""

    def __init__(self, questions: Iterable[Question], ours: Iterable[str] = ()) -> None:
        """`ours`: the questions that were sampled, from which phrases of the field are learnt too."""
        self._questions = list(questions)
        split = [words(q.text) for q in self._questions]
        self._exact = {_whole(q.text): q for q in reversed(self._questions)}
        self._alike = set(map(tuple, split))  # a cheap look before the exact one
        self._numbers = {word: i for i, word in enumerate(sorted(set(chain.from_iterable(split))), 1)}
        self._codes = np.random.default_rng(0).integers(1, 2**63, len(self._numbers) + 1, dtype=np.uint64)
        grams, of = _distinct(*self._hashed(split)[:2])
        rare = ~np.isin(grams, np.concatenate([_frequent(grams), self._frequent_in(list(ours), grams)]))
        order = np.argsort(grams[rare], kind="stable")
        self._grams, self._of = grams[rare][order], of[rare][order]
        self._size = np.bincount(self._of, minlength=len(split))

    def check(self, texts: Sequence[str]) -> list[Hit | None]:
        """For every text the question it repeats most of, where it repeats enough of one."""
        return list(
            chain.from_iterable(
                self._check(texts[start : start + CHUNK]) for start in range(0, len(texts), CHUNK)
            )
        )

    def _check(self, texts: Sequence[str]) -> list[Hit | None]:
        split = [words(text) for text in texts]
        repeated = self._repeated(split)
        return [
            self._equal(text, tokens) or repeated.get(place)
            for place, (text, tokens) in enumerate(zip(texts, split, strict=True))
        ]

    def _equal(self, text: str, tokens: list[str]) -> Hit | None:
        if tuple(tokens) not in self._alike or (same := self._exact.get(_whole(text))) is None:
            return None
        return Hit(same.source, same.id, "exact", 1.0, " ".join(tokens[:N]))

    def _repeated(self, split: Sequence[list[str]]) -> dict[int, Hit]:
        """Hits by n-grams, by position in `split`."""
        grams, of, starts = self._hashed(split)
        known = np.flatnonzero(np.isin(grams, self._grams))
        shared: defaultdict[int, dict[int, int]] = defaultdict(dict)  # text -> n-gram -> its first word
        for gram, text, start in zip(
            grams[known].tolist(), of[known].tolist(), starts[known].tolist(), strict=True
        ):
            shared[text].setdefault(gram, start)
        return {
            text: hit for text, found in shared.items() if (hit := self._best(found, split[text])) is not None
        }

    def _best(self, found: dict[int, int], tokens: list[str]) -> Hit | None:
        """The question of which these n-grams are the largest share, if they are enough of it."""
        counted: Counter[int] = Counter()
        first: dict[int, int] = {}
        for gram, start in found.items():
            left, right = (
                np.searchsorted(self._grams, np.uint64(gram), "left"),
                np.searchsorted(self._grams, np.uint64(gram), "right"),
            )
            for question in self._of[left:right].tolist():
                counted[question] += 1
                first.setdefault(question, start)
        question, hits = max(counted.items(), key=lambda pair: pair[1] / self._size[pair[0]])
        share = hits / int(self._size[question])
        if hits < LEAST or share < SHARE:
            return None
        shown = " ".join(tokens[first[question] : first[question] + N])
        return Hit(self._questions[question].source, self._questions[question].id, "n-grams", share, shown)

    def _hashed(self, split: Sequence[list[str]]) -> tuple[Hashes, Places, Places]:
        """Every n-gram of known words: its hash, its text, and where in the text it starts."""
        lengths = np.fromiter(map(len, split), np.int64, len(split))
        known = map(self._numbers.get, chain.from_iterable(split), repeat(0))
        numbers = np.fromiter(known, np.int64, int(lengths.sum()))
        return _windows(numbers, self._codes[numbers], lengths, N)

    def _frequent_in(self, ours: Sequence[str], grams: Hashes) -> Hashes:
        parts = []
        for start in range(0, len(ours), CHUNK):
            hashed, of, _ = self._hashed([words(text) for text in ours[start : start + CHUNK]])
            known = np.isin(hashed, grams)
            parts.append(_distinct(hashed[known], of[known])[0])
        return _frequent(np.concatenate(parts)) if parts else np.empty(0, np.uint64)


def _windows(numbers: Places, codes: Hashes, lengths: Places, n: int) -> tuple[Hashes, Places, Places]:
    """Rolling hashes of n words, none across the end of a text, none with an unknown word (number 0)."""
    of = np.repeat(np.arange(len(lengths)), lengths)
    count = max(0, len(numbers) - n + 1)
    hashed = np.zeros(count, np.uint64)
    usable = of[:count] == of[n - 1 :] if count else np.zeros(0, bool)
    for j in range(n):
        part = slice(j, j + count)
        hashed = hashed * np.uint64(0x9E3779B97F4A7C15) + codes[part]  # wraps around, as meant
        usable &= numbers[part] > 0
    starts = np.arange(len(numbers)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return hashed[usable], of[:count][usable], starts[:count][usable]


def _distinct(grams: Hashes, of: Places) -> tuple[Hashes, Places]:
    """Each n-gram of a text once."""
    order = np.lexsort((grams, of))
    grams, of = grams[order], of[order]
    new = np.ones(len(grams), bool)
    new[1:] = (grams[1:] != grams[:-1]) | (of[1:] != of[:-1])
    return grams[new], of[new]


def _frequent(grams: Hashes) -> Hashes:
    """Those that stand in more than `COMMON` texts."""
    found, texts = np.unique(grams, return_counts=True)
    return found[texts > COMMON]


# -- within a problem


@dataclass(frozen=True, slots=True)
class Near:
    """A text that is nearly an earlier one."""

    of: int  # position of the earlier text, which is kept
    jaccard: float


def near_duplicates(texts: Sequence[str], threshold: float) -> list[Near | None]:
    """For every text, in order, the kept earlier one it nearly repeats: at least `threshold` of their n-grams
    of three words in common (Jaccard). Exact, not sampled: two sets that alike must share one of the few
    smallest members of each (prefix filtering, Bayardo et al. 2007), so few pairs are ever compared.
    """
    shingled = [_shingles(text) for text in texts]
    by_member: defaultdict[int, list[int]] = defaultdict(list)
    found: list[Near | None] = []
    for position, own in enumerate(shingled):
        prefix = sorted(own)[: len(own) - _least(len(own), threshold) + 1]
        others = sorted({other for member in prefix for other in by_member[member]})
        near = next((n for o in others if (n := _near(o, shingled[o], own)).jaccard >= threshold), None)
        found.append(near)
        if near is None:
            for member in prefix:
                by_member[member].append(position)
    return found


def _near(position: int, other: frozenset[int], own: frozenset[int]) -> Near:
    both = len(other & own)
    return Near(position, both / (len(other) + len(own) - both))


def _least(size: int, threshold: float) -> int:
    """Members that a set of this size must share with another to be that near; float error errs to fewer."""
    return max(1, int(np.ceil(size * threshold - 1e-9)))


def _shingles(text: str) -> frozenset[int]:
    tokens = _WORD_OR_SIGN.findall(_plain(text))
    if len(tokens) <= SHINGLE:
        return frozenset({hash(tuple(tokens))})
    return frozenset(map(hash, zip(tokens, tokens[1:], tokens[2:], strict=False)))
