"""Verdicts for every draw that has none."""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager

from toolkit import evaluate, students, verify
from toolkit.arms import Arm
from toolkit.job import Job
from toolkit.ledger import Ledger
from toolkit.spec import Run
from toolkit.types import Outcome, Problem
from toolkit.verifiers.code import VERSION as CODE_VERSION
from toolkit.verifiers.code import CodeVerifier
from toolkit.verifiers.math import MathVerifier


def judge_only(job: Job, names: Collection[str]) -> Counter[Outcome]:
    """A verdict for every draw of these arms that has none."""
    with job.open() as ledger, _verifier(job) as verifier:
        return _judge(ledger, [a for a in job.arms() if a.name in names], job.problems, verifier, None)


def judge(job: Job, on_progress: Callable[[int, int], None] | None = None) -> Counter[Outcome]:
    """A verdict for every draw that has none: the run's arms, and the students' where evaluated."""
    with job.open() as ledger, _verifier(job) as verifier:
        outcomes = _judge(ledger, job.arms(), job.problems, verifier, on_progress)
        if job.run.evaluate is not None:
            outcomes += _judge(
                ledger,
                evaluate.contestants(job.run, job.directory, job.template),
                students.tested(job),
                verifier,
                on_progress,
            )
    return outcomes


def _judge(
    ledger: Ledger,
    judged: Sequence[Arm],
    questions: Sequence[Problem],
    verifier: verify.Verifier,
    on_progress: Callable[[int, int], None] | None,
) -> Counter[Outcome]:
    rows = [row for a in judged if (row := ledger.arm_id(a.name, a.payload_sha)) is not None]
    golds = {
        i: q.answer for i, q in zip(ledger.problem_ids(questions), questions, strict=True) if i is not None
    }
    return verify.run(ledger, rows, golds, verifier, on_progress) if rows else Counter()


@contextmanager
def _verifier(job: Job) -> Iterator[verify.Verifier]:
    spec = job.run.verify
    if spec.verifier == "code":
        with CodeVerifier(timeout=spec.timeout, workers=spec.workers, unsafe=spec.unsafe) as code:
            yield code
    else:
        with MathVerifier(timeout=spec.timeout, workers=spec.workers) as math:
            yield math


def verifier_of(run: Run) -> tuple[str, str]:
    """(name, version) of the verdicts that count for a run."""
    if run.verify.verifier == "code":
        return CodeVerifier.name, CODE_VERSION + ("+unsafe" if run.verify.unsafe else "")
    return MathVerifier.name, MathVerifier.version
