"""Final answers and identities of solutions, read from text alone.

One extractor serves the training filter, coverage and the test, so that none of them sees another's
answer. It is deterministic: the same text has the same answer everywhere.
"""

import hashlib
import re

LONGEST = 300  # characters of a final answer; longer ones are not answers, and numbers that long only stall

MOST_BETWEEN = 40  # characters between boxes that belong together

_NEW_PROBLEM = re.compile(r"\n[ \t]*(?:\*\*|#+ )?(?:Q|Problem|Question)(?: ?\d+)?:")
_NEW_TURN = re.compile(
    r"\n[ \t]*<?(?:human|user|Human|User|model|assistant)>?:|<\|(?:im_start|im_end|eot_id|endoftext|user)\|>"
)
_BOXED = re.compile(r"\\(?:boxed|fbox)(?![a-zA-Z])\s*")
_ANSWER_IS = re.compile(r"(?i)\banswer\s*(?:is|:)[\s*]*:?[\s*]*")
_FINAL = re.compile(r"(?i)\bfinal answer is:?\s*(?=[$\\\\\d(\[+-])")
_FILLING = r"(?:[^\w\\]|\\[,;:! $()\[\]]|\\q?quad|\\text)*"
_BETWEEN_BOXES = re.compile(
    rf"{_FILLING}(?:(?:[\w()]+ +){{0,4}}(?:and|or)\b)?{_FILLING}(?:[\w{{}}]{{1,8}} *= *)?\\?"
)
_HASHED = re.compile(r"[-+]?[$£€]?[-+]?\d[\d,]*(?:[./]\d+)?%?(?: \w+){0,3}\.?")  # not a heading "#### Step 1"
_HOPE = re.compile(r"(?i)I hope (?:it|this) is correct\b.*", re.DOTALL)
_SENTENCE_END = re.compile(r"\.(?=\s|\*|$)|\n")
_PERIOD = re.compile(r"(?<!\.)[.;]$")
_LAST_LINE = re.compile(r"(?:\A|\n)A: *(\S+(?: \S+){0,3})\Z")
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(?:,\d{3})+(?:\.\d+)?")
_REFUSAL = re.compile(
    r"(?i)(?:\\text\{)?\s*(?:no[_ ]solution|no[_ ]answer|n/?a|unknown|\?+|i (?:do not|don't) know.*"
    r"|(?:it |this |the answer )?(?:cannot|can ?not|can't) be (?:determined|computed|calculated|found|solved).*"
    r"|(?:there is )?(?:not enough|insufficient) (?:information|data).*)\}?"
)
_NO_SPACE = re.compile(r"\\!\s*")
_SPACED_COMMA = re.compile(r"\s*\{, *\}\s*")
_SIZES = re.compile(r"\\(?:left|right|[bB]igg?[lr]?)(?![a-zA-Z])\.?|\\[()\[\]]")
_FRACTIONS = re.compile(r"\\[dt]frac(?![a-zA-Z])")
_LATEX_SPACES = re.compile(r"\\(?:[,;:! ]|q?quad(?![a-zA-Z]))|~")
_LOOSE_SPACES = re.compile(r" (?:(?=[^\w])|(?<=[^\w ] ))")  # beside a sign: "2 + 3" is "2+3"
_BARE = re.compile(r"-?\d+(?:\.\d+)?|[a-zA-Z]\b")
_BRACE = re.compile(r"\\?[{}]")
_CURRENCY = re.compile(r"([+-]?) ?[$£€] ?(?=[+-]?[\d.])")
_FORMULA = re.compile(r"\$\$(.+?)\$\$|\$((?:[^$\\]|\\.)+)\$|\\\((.+?)\\\)|\\\[(.+?)\\\]", re.DOTALL)
_LAST_NUMBER = re.compile(
    r"(?<![\^_])(?<![\^_]\{)[-+]?[$£€]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:[.,]\d+)?(?:/\d+|:\d+)?%?(?!\w*\d)"
)
_UNSURE = re.compile(  # what names alternatives, or changes the number beside it
    r"(?i)(?<![\\\w])(?:or|either|if|unless|except|cannot|times|pi|sqrt|root|percent|base|mod|half|score"
    r"|(?:quarter|third|hundred|thousand|million|billion|trillion|dozen)s?)\b"
)
_PAIRS = (
    ('\\"', '\\"'),
    ('"', '"'),
    ("$$", "$$"),
    ("$", "$"),
    (r"\(", r"\)"),
    (r"\[", r"\]"),
    ("**", "**"),
    ("*", "*"),
    ("`", "`"),
)


def own_solution(text: str) -> str:
    """The solution alone: base models go on to a new problem of their own, which is cut off."""
    text = text.strip()
    starts = [at.start() for at in (_NEW_PROBLEM.search(text), _NEW_TURN.search(text)) if at]
    return text[: min(starts)].rstrip() if starts else text


def final_answer(text: str) -> str | None:
    """The final answer a solution states, or None: there is none, it is a refusal, or it is too long.

    Looked for in this order: the last balanced `\\boxed{}`, unless "final answer is" follows it; a number after
    the last `####`; the last "the answer is"; a last line `A: X` or `#### X`.
    """
    found = _find(own_solution(text))
    return None if found is None else _accept(found)


def loose_answer(text: str) -> str | None:
    """The answer in prose that follows no format: its last formula, else its last number.

    A guess, for comparing whole sentences; never for solutions, which must state their answer. None where
    the text refuses, or names alternatives.
    """
    solution = own_solution(text)
    found = _find(solution)
    if found is not None:
        return _accept(found)
    formulas, numbers = list(_FORMULA.finditer(solution)), list(_LAST_NUMBER.finditer(solution))
    if not formulas and not numbers:
        return None
    last = (
        formulas[-1]
        if formulas and (not numbers or numbers[-1].start() < formulas[-1].end())
        else numbers[-1]
    )
    sentence = max((at.end() for at in _SENTENCE_END.finditer(solution, 0, last.start())), default=0)
    if _UNSURE.search(solution, sentence):
        return None
    return _accept(next((group for group in last.groups() if group is not None), last.group()))


def gold_answer(solution: str) -> str | None:
    """The gold answer in a data set's worked solution: `#### N` (GSM8K) or the last `\\boxed{}` (MATH)."""
    return _after_hashes(solution) or tidy(last_boxed(solution) or "") or None


def tidy(answer: str) -> str:
    """The answer without enclosing marks, currency, a final period and thousands commas."""
    if "\\" in answer:
        answer = _NO_SPACE.sub("", answer.replace(r"\$", ""))
    answer = _SPACED_COMMA.sub(",", answer)
    before = None
    while answer != before:
        before = answer
        answer = _unwrap(answer.strip())
        answer = _unwrap(_PERIOD.sub("", answer.removesuffix("**")).removesuffix("\\").rstrip())
    if answer.count("$") <= 1:  # one dollar is money, two are mathematics
        answer = _CURRENCY.sub(r"\1", answer, count=1) if _CURRENCY.match(answer) else answer
    return answer.replace(",", "") if _THOUSANDS.fullmatch(answer) else answer


def refuses(answer: str) -> bool:
    """Whether an answer declines to answer: it is never correct."""
    return _REFUSAL.fullmatch(answer) is not None


def last_boxed(text: str) -> str | None:
    """What stands in the last balanced `\\boxed{...}` or `\\fbox{...}`, or after a `\\boxed` without braces."""
    boxes = _boxes(text)
    return boxes[-1][2] if boxes else None


def joined_boxes(text: str) -> str | None:
    """The last boxes as a list, where only "and", "or" or a comma is between them; None where it is one box.

    Some solutions mean all of them; by MATH's convention only the last one counts.
    """
    text = own_solution(text)
    boxes = _boxes(text) if text.count("boxed") > 1 else []
    joined = [boxes[-1][2]] if boxes else []
    for (_, end, inner), (start, _, _) in zip(boxes[-2::-1], boxes[:0:-1], strict=True):
        if start - end > MOST_BETWEEN or not _BETWEEN_BOXES.fullmatch(text, end, start):
            break
        joined.append(inner)
    return _accept(", ".join(reversed(joined))) if len(joined) > 1 else None


def _boxes(text: str) -> list[tuple[int, int, str]]:
    """Every balanced box: where it starts and ends, and what is in it."""
    found: list[tuple[int, int, str]] = []
    for match in _BOXED.finditer(text):
        braced = _braced(text, match.end())
        if braced is not None and (not found or found[-1][1] <= match.start()):
            found.append((match.start(), braced[1], braced[0].strip()))
    return found


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


def _find(solution: str) -> str | None:
    """The answer as it is written, by the first format that the solution follows; None: it follows none."""
    boxed = last_boxed(solution) if "boxed" in solution or "fbox" in solution else None
    said = [match.end() for match in _ANSWER_IS.finditer(solution)]
    final = _FINAL.search(solution, max((box[1] for box in _boxes(solution)), default=0)) if boxed else None
    if boxed is not None and final is None:
        return boxed
    hashed = _after_hashes(solution) or ""
    if not boxed and _HASHED.fullmatch(hashed):
        return hashed
    if said:
        return _sentence(solution[said[-1] :])
    line = _LAST_LINE.search(solution)
    if line:
        return line.group(1)
    return hashed if "####" in solution.rpartition("\n")[2] else None


def _accept(found: str) -> str | None:
    answer = tidy(found)
    if not answer or len(answer) > LONGEST or refuses(answer):
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


def _braced(text: str, start: int) -> tuple[str, int] | None:
    """What the brace at `start` encloses, or the one token there, and where that ends; None if unbalanced."""
    if not text.startswith("{", start):
        bare = _BARE.match(text, start)
        return (bare.group(), bare.end()) if bare else None
    depth = 0
    for brace in _BRACE.finditer(text, start):
        if brace.group() == "{":
            depth += 1
        elif brace.group() == "}":
            depth -= 1
        if depth == 0:
            return text[start + 1 : brace.start()], brace.end()
    return None


def _unwrap(answer: str) -> str:
    for opening, closing in _PAIRS:
        inner = answer[len(opening) : -len(closing)]
        if answer.startswith(opening) and answer.endswith(closing) and inner and closing not in inner:
            return inner
    return answer
