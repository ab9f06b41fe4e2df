"""A model's verdict on solutions: on the reasoning of correct ones, or on answers that have no gold.

A judged draw is asked about like any other problem: through the same port, limited, reserved, priced and
kept in the ledger, under an arm of its own. A judge of the family it judges is not independent, and judges
are mistaken: `false_positives` corrects their shares by what people said about the same draws.
"""

import asyncio
import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from string import Template

import prompts
from toolkit.answers import norm_sha
from toolkit.arms import Arm
from toolkit.errors import InputError
from toolkit.job import Connect, Job
from toolkit.ledger import Reader
from toolkit.pipeline import ask
from toolkit.sample import Progress, Result
from toolkit.spec import Judge, Problems
from toolkit.types import Outcome, Problem, Verdict

NAME = "judge"  # of the arm
LABELS = {"reasoning": ("SOUND", "FLAWED"), "answers": ("RIGHT", "WRONG")}
PROMPTS = {"reasoning": "judge", "answers": "judge-answer"}
_LAST_LINE = re.compile(r"\**VERDICT: ([A-Z]+)\**\s*\Z")
_ASKED = Template("$question")  # what is asked is rendered before it becomes a problem


@dataclass(frozen=True, slots=True)
class Case:
    """One draw to be judged."""

    draw: int  # ledger id
    problem: Problem
    text: str


@dataclass(frozen=True, slots=True)
class Panel:
    """The judge of a run and what it is asked."""

    spec: Judge
    rubric: Template

    @classmethod
    def of(cls, spec: Judge) -> "Panel":
        try:
            rubric = prompts.load(spec.prompt or PROMPTS[spec.of])
        except LookupError as error:
            raise InputError(f"judge.prompt: {error.args[0]}") from None
        return cls(spec, rubric)

    @property
    def arm(self) -> Arm:
        return Arm(NAME, self.spec.model, self.spec.model.decoding.over(self.spec.decoding), _ASKED)

    @property
    def verifier(self) -> tuple[str, str]:
        """(name, version) of its verdicts: another model, rubric or number of votes is another judge."""
        asked = f"{self.arm.payload_sha}|{self.rubric.template}|{self.spec.votes}|{self.spec.both_orders}"
        return NAME, f"{self.spec.model.shown}+{hashlib.sha256(asked.encode()).hexdigest()[:8]}"

    def questions(self, case: Case) -> list[Problem]:
        """What is asked about one draw: once, or once with the verdicts named in either order."""
        first, second = LABELS[self.spec.of]
        orders = [(first, second), (second, first)][: 2 if self.spec.both_orders else 1]
        return [self._question(case, order, i) for i, order in enumerate(orders)]

    def _question(self, case: Case, order: tuple[str, str], i: int) -> Problem:
        text = prompts.render(
            self.rubric,
            question=case.problem.question,
            solution=case.text,
            first=order[0],
            second=order[1],
        )
        return Problem(f"judge/{case.draw}/{i}", text)

    def verdict(self, case: Case, said: Sequence[Sequence[str]]) -> Verdict:
        """The verdict of all answers about a draw, by order: the majority of each, and both must agree."""
        good, _ = LABELS[self.spec.of]
        votes = [majority(read(text, LABELS[self.spec.of]) for text in answers) for answers in said]
        agreed = votes[0] if len(set(votes)) == 1 else None
        outcome = Outcome.UNPARSABLE
        if agreed is not None:
            outcome = Outcome.CORRECT if agreed == good else Outcome.INCORRECT
        return Verdict(outcome, agreed, norm_sha(case.text))


def read(text: str, labels: tuple[str, str]) -> str | None:
    """The verdict on an answer's last line; None where it is anything else."""
    found = _LAST_LINE.search(text.rstrip())
    return found[1] if found and found[1] in labels else None


def majority(votes: Iterable[str | None]) -> str | None:
    """What more than half of the votes that could be read say; None without such a half."""
    counted = Counter(v for v in votes if v is not None)
    if not counted:
        return None
    winner, count = counted.most_common(1)[0]
    return winner if 2 * count > counted.total() else None


Choose = Callable[[Reader], Sequence[Case]]


async def judge(
    job: Job, connect: Connect, *, choose: Choose, stop: asyncio.Event, progress: Progress
) -> Result:
    """Ask about every chosen draw that this judge has not judged, and keep the verdicts that came."""
    assert job.run.judge is not None
    panel = Panel.of(job.run.judge)
    with job.reader() as reader:
        known = judged(reader, panel.verifier)
        cases = [c for c in choose(reader) if c.draw not in known]
    asked = [q for case in cases for q in panel.questions(case)]
    if not asked:
        return Result({NAME: 0}, False, False, [])
    result = await ask(
        job,
        connect,
        [panel.arm],
        Problems(source=job.run.problems.source),
        asked,
        k={NAME: panel.spec.votes},
        n={NAME: panel.spec.votes},
        purpose="judge",
        stop=stop,
        progress=progress,
    )
    keep(job, panel, cases)
    return result


def keep(job: Job, panel: Panel, cases: Sequence[Case]) -> int:
    """Verdicts of the draws about which every answer is there; how many those are."""
    with job.open() as ledger:
        row = ledger.arm_id(NAME, panel.arm.payload_sha)
        if row is None:
            return 0
        verdicts = []
        for case in cases:
            questions = panel.questions(case)
            ids = [i for i in ledger.problem_ids(questions) if i is not None]
            said = [_answers(ledger, row, i) for i in ids]
            if len(said) == len(questions) and all(len(s) == panel.spec.votes for s in said):
                verdicts.append((case.draw, None, panel.verdict(case, said)))
        ledger.add_verdicts(*panel.verifier, verdicts)
    return len(verdicts)


def _answers(reader: Reader, row: int, problem: int) -> list[str]:
    sql = "SELECT t.text FROM draw d JOIN draw_text t ON t.draw=d.id WHERE d.arm=? AND d.problem=? ORDER BY d.idx"
    return [text for (text,) in reader.rows(sql, (row, problem))]


def judged(reader: Reader, verifier: tuple[str, str]) -> dict[int, bool | None]:
    """Draw -> sound (or right), flawed (or wrong), or None where the judge could not say."""
    rows = reader.rows("SELECT draw, outcome FROM verdict WHERE verifier=? AND version=?", verifier)
    said: Mapping[str, bool] = {Outcome.CORRECT: True, Outcome.INCORRECT: False}
    return {draw: said.get(outcome) for draw, outcome in rows}
