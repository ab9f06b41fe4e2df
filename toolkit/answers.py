"""Final answers and identities of solutions, read from text alone.

One extractor serves the training filter, coverage and the test, so that none of them sees another's
answer. It is deterministic: the same text has the same answer everywhere.
"""

import hashlib
import re

LONGEST = 300  # characters of a final answer; longer ones are not answers, and numbers that long only stall

_NEW_PROBLEM = re.compile(r"\n[ \t]*(?:\*\*|#+ )?(?:Q|Problem|Question)(?: ?\d+)?:")
_BOXED = re.compile(r"\\(?:boxed|fbox)(?![a-zA-Z])\s*")
_ANSWER_IS = re.compile(r"(?i)\banswer\s*(?:is|:)[\s*]*:?[\s*]*")
_HASHED = re.compile(r"[-+]?[$£€]?[-+]?\d[\d,]*(?:[./]\d+)?%?(?: \w+){0,3}\.?")  # not a heading "#### Step 1"
_HOPE = re.compile(r"(?i)I hope (?:it|this) is correct\b.*", re.DOTALL)
_SENTENCE_END = re.compile(r"\.(?=\s|\*|$)|\n")
_LAST_LINE = re.compile(r"(?:\A|\n)A: *(\S+(?: \S+){0,3})\Z")
_THOUSANDS = re.compile(r"[+-]?\d{1,3}(?:,\d{3})+(?:\.\d+)?")
_REFUSAL = re.compile(
    r"(?i)(?:\\text\{)?\s*(?:no[_ ]solution|no[_ ]answer|n/?a|unknown|\?+|i (?:do not|don't) know.*"
    r"|(?:it |this |the answer )?(?:cannot|can ?not|can't) be (?:determined|computed|calculated|found|solved).*"
    r"|(?:there is )?(?:not enough|insufficient) (?:information|data).*)\}?"
)
_SIZES = re.compile(r"\\(?:left|right|[bB]igg?[lr]?)(?![a-zA-Z])\.?|\\[()\[\]]")
_FRACTIONS = re.compile(r"\\[dt]frac(?![a-zA-Z])")
_LATEX_SPACES = re.compile(r"\\(?:[,;:! ]|q?quad(?![a-zA-Z]))|~")
_LOOSE_SPACES = re.compile(r" (?:(?=[^\w])|(?<=[^\w ] ))")  # beside a sign: "2 + 3" is "2+3"
_BARE = re.compile(r"-?\d+(?:\.\d+)?|[a-zA-Z]\b")
_BRACE = re.compile(r"\\?[{}]")
_CURRENCY = re.compile(r"([+-]?) ?[$£€] ?(?=[+-]?[\d.])")
_PAIRS = (("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]"), ("**", "**"))


def own_solution(text: str) -> str:
    """The solution alone: base models go on to a new problem of their own, which is cut off."""
    text = text.strip()
    started = _NEW_PROBLEM.search(text)
    return text[: started.start()].rstrip() if started else text


def final_answer(text: str) -> str | None:
    """The final answer a solution states, or None: there is none, it is a refusal, or it is too long.

    Looked for in this order: the last balanced `\\boxed{}`, a number after the last `####`, the last "the
    answer is", a last line `A: X` or `#### X`.
    """
    return _read_answer(own_solution(text))


def gold_answer(solution: str) -> str | None:
    """The gold answer in a data set's worked solution: `#### N` (GSM8K) or the last `\\boxed{}` (MATH)."""
    return _after_hashes(solution) or tidy(last_boxed(solution) or "") or None


def tidy(answer: str) -> str:
    """The answer without enclosing marks, currency, a final period and thousands commas."""
    if "\\" in answer:
        answer = answer.replace(r"\$", "").replace(r"\!", "")
    answer = answer.replace("{,}", ",")
    before = None
    while answer != before:
        before = answer
        answer = _unwrap(answer.strip().removesuffix("**").rstrip("."))
    if answer.count("$") <= 1:  # one dollar is money, two are mathematics
        answer = _CURRENCY.sub(r"\1", answer, count=1) if _CURRENCY.match(answer) else answer
    return answer.replace(",", "") if _THOUSANDS.fullmatch(answer) else answer


def last_boxed(text: str) -> str | None:
    """What stands in the last balanced `\\boxed{...}` or `\\fbox{...}`, or after a `\\boxed` without braces."""
    for match in reversed(list(_BOXED.finditer(text))):
        inner = _braced(text, match.end())
        if inner is not None:
            return inner.strip()
    return None


def normalise_solution(text: str) -> str:
    """The solution without what does not change its meaning: spacing, `$`, LaTeX sizes. Case is kept."""
    text = own_solution(text).replace("\\$", "").replace("$", "")
    if "\\" in text:
        text = _SIZES.sub("", text)
        text = _FRACTIONS.sub(r"\\frac", text)
        text = _LATEX_SPACES.sub(" ", text)
    return _LOOSE_SPACES.sub("", " ".join(text.split()))


def norm_sha(text: str) -> str:
    """Identity of a solution, 16 hex digits: equal means the same solution after normalisation."""
    return hashlib.sha256(normalise_solution(text).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _read_answer(solution: str) -> str | None:
    boxed = last_boxed(solution) if "boxed" in solution or "fbox" in solution else None
    if boxed is not None:
        return _accept(boxed)
    hashed = _after_hashes(solution) or ""
    if _HASHED.fullmatch(hashed):
        return _accept(hashed)
    said = [match.end() for match in _ANSWER_IS.finditer(solution)]
    if said:
        return _accept(_sentence(solution[said[-1] :]))
    line = _LAST_LINE.search(solution)
    if line:
        return _accept(line.group(1))
    return _accept(hashed) if "####" in solution.rpartition("\n")[2] else None


def _accept(found: str) -> str | None:
    answer = tidy(found)
    if not answer or len(answer) > LONGEST or _REFUSAL.fullmatch(answer):
        return None
    return answer


def _after_hashes(text: str) -> str | None:
    _, marker, after = text.rpartition("####")
    lines = after.strip().splitlines() if marker else []
    return tidy(lines[0]) if lines else None


def _sentence(rest: str) -> str:
    """The rest up to the end of its sentence; a display formula counts as a whole."""
    rest = _HOPE.sub("", rest)
    for opening, closing in (("$$", "$$"), (r"\[", r"\]")):
        if rest.startswith(opening):
            inner, found, _ = rest[2:].partition(closing)
            return inner if found else rest
    end = _SENTENCE_END.search(rest)
    return rest[: end.start()] if end else rest


def _braced(text: str, start: int) -> str | None:
    """What the brace at `start` encloses; the one token there if it is not a brace; None if unbalanced."""
    if not text.startswith("{", start):
        bare = _BARE.match(text, start)
        return bare.group() if bare else None
    depth = 0
    for brace in _BRACE.finditer(text, start):
        if brace.group() == "{":
            depth += 1
        elif brace.group() == "}":
            depth -= 1
        if depth == 0:
            return text[start + 1 : brace.start()]
    return None


def _unwrap(answer: str) -> str:
    for opening, closing in _PAIRS:
        inner = answer[len(opening) : -len(closing)]
        if answer.startswith(opening) and answer.endswith(closing) and inner and closing not in inner:
            return inner
    return answer
