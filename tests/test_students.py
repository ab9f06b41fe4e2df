"""A run's students: what they are trained, chosen and tested on, and what their scores say of themselves."""

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any, cast

import pytest

from toolkit import evaluate, finetune, students
from toolkit.errors import InputError
from toolkit.job import Job
from toolkit.pipeline import teaching
from toolkit.sample import Progress, Result
from toolkit.spec import Run
from toolkit.types import Outcome, Verdict

TINY = Path(__file__).parents[1] / "examples" / "tiny-gemma" / "student"
BUILTIN = "builtin:word-problems"


def run(**changes: Any) -> Run:
    return Run.model_validate(
        {
            "name": "r",
            "problems": {"source": BUILTIN, "limit": 12},
            "models": {name: {"provider": "imported", "model": name} for name in ("cheap", "strong")},
            "budget": {"draws": 1, "match": "samples"},
            "dataset": {"controls": {"human": {"from": "gold"}}},
            "students": {"tiny": {"model": str(TINY), "setup": "se"}},
            "finetune": {
                "steps": 4, "batch_size": 4, "learning_rates": [1e-3, 1e-2], "seed": 7,
                "validation": {"source": "same", "split": "validation", "limit": 6},
            },
            "evaluate": {"problems": {"source": "same", "split": "test", "limit": 6}, "seeds": 2},
        }
        | changes
    )  # fmt: skip


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[finetune.Job]:
    """The jobs that a run trains, each answered at once: a larger rate is better on cheap, a smaller on the others."""
    done: list[finetune.Job] = []

    def train_many(jobs: Any, **_: Any) -> list[dict[str, Any]]:
        done.extend(jobs)
        return [
            {
                "learning_rate": j.spec.learning_rate, "seed": j.spec.seed, "select_by": "pass@1", "diverged": False,
                "chosen": {"step": 4, "pass@1": j.spec.learning_rate * (1 if j.dataset.name == "cheap" else -1)},
            }
            for j in jobs
        ]  # fmt: skip

    monkeypatch.setattr(finetune, "train_many", train_many)
    return done


def job(tmp_path: Path, **changes: Any) -> Job:
    made = Job(run(**changes), tmp_path)
    for name in made.run.datasets():
        (tmp_path / "dataset" / name).mkdir(parents=True, exist_ok=True)
    return made


def test_rates_are_searched_per_dataset_and_every_seed_is_trained_with_the_best(
    tmp_path: Path, trained: list[finetune.Job]
) -> None:
    students.train(job(tmp_path))
    trials, finals = trained[:6], trained[6:]
    assert {(j.dataset.name, j.spec.learning_rate, j.spec.seed) for j in trials} == {
        (d, rate, 10_007) for d in ("cheap", "strong", "human") for rate in (1e-3, 1e-2)
    }
    assert [(j.dataset.name, j.spec.learning_rate, j.spec.seed) for j in finals] == [
        (d, rate, seed) for d, rate in (("cheap", 1e-2), ("strong", 1e-3), ("human", 1e-3)) for seed in (7, 8)
    ]


def test_every_training_starts_from_the_same_untouched_checkpoint(
    tmp_path: Path, trained: list[finetune.Job]
) -> None:
    """Weak-to-strong improvement means nothing if the strong model has seen its own data before."""
    students.train(job(tmp_path))
    assert {j.student for j in trained} == {str(TINY)}
    assert not any(tmp_path in Path(j.student).parents for j in trained)
    arms = evaluate.contestants(run(), tmp_path, job(tmp_path).template)
    assert [(a.name, a.model.model) for a in arms] == [("evaluate/tiny/base", str(TINY))]


def test_seeds_and_datasets_have_folders_of_their_own(tmp_path: Path, trained: list[finetune.Job]) -> None:
    students.train(job(tmp_path))
    folders = [str(j.directory.relative_to(tmp_path)) for j in trained if j.keep]
    assert folders[:2] == ["finetune/tiny/cheap", "finetune/tiny/seed-1/cheap"]
    assert len(set(folders)) == 6
    taken = job(tmp_path, arms={"seed-1": ["cheap"]})
    with pytest.raises(InputError, match="'seed-1' is the name of a finetuning seed's folder"):
        students.train(taken)


def test_a_student_may_have_settings_of_its_own(tmp_path: Path, trained: list[finetune.Job]) -> None:
    own = {"model": str(TINY), "finetune": {"batch_size": 2, "steps": 8}}
    students.train(job(tmp_path, students={"tiny": {"model": str(TINY)}, "small": own}))
    found = {(j.name, j.spec.batch_size, j.spec.steps) for j in trained}
    assert found == {("tiny", 4, 4), ("small", 2, 8)}
    wrong = job(tmp_path, students={"small": own | {"finetune": {"batch_size": -2}}})
    with pytest.raises(InputError, match=r"students\.small\.finetune: Input should be greater than 0"):
        students.train(wrong)


OVERLAPS = [
    (
        {"evaluate": {"problems": {"source": "same", "split": "train", "limit": 3}}},
        "evaluate.problems: 3 .* in problems",
    ),
    (
        {"evaluate": {"problems": {"source": "same", "split": "validation", "offset": 4, "limit": 6}}},
        r"evaluate.problems: 2 .* in finetune.validation",
    ),
    (
        {"evaluate": {"transfer": {"far": {"source": BUILTIN, "split": "validation", "limit": 1}}}},
        r"evaluate.transfer.far: 1 .* in finetune.validation",
    ),
    (
        {"finetune": {"checkpoints": 2, "validation": {"source": "same", "split": "train", "offset": 11}}},
        r"finetune.validation: 1 .* in problems",
    ),
]


@pytest.mark.parametrize(("changes", "words"), OVERLAPS)
def test_what_is_tested_is_neither_trained_nor_chosen_on(
    tmp_path: Path, trained: list[finetune.Job], changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(InputError, match=words) as caught:
        students.train(job(tmp_path, **changes))
    assert "\n" not in str(caught.value)
    assert trained == []


@pytest.mark.parametrize(("changes", "words"), OVERLAPS)
def test_overlaps_are_found_before_a_draw_is_paid_for(
    tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        students.check(job(tmp_path, **changes))
    students.check(job(tmp_path))


def test_a_student_that_cannot_be_finetuned_is_found_before_a_draw_is_paid_for(tmp_path: Path) -> None:
    bare = shutil.copytree(TINY, tmp_path / "bare", ignore=shutil.ignore_patterns("chat_template*"))
    base = {"model": str(bare)}
    with pytest.raises(InputError, match=r"no chat template: .* or set api: completions"):
        students.check(job(tmp_path, students={"tiny": base}))
    students.check(job(tmp_path, students={"tiny": base | {"api": "completions"}}))
    (bare / "tokenizer.json").unlink()
    (bare / "tokenizer_config.json").unlink()
    with pytest.raises(InputError, match="no tokenizer"):
        students.check(job(tmp_path, students={"tiny": base}))


def test_each_student_says_once_what_memory_and_time_it_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def train_many(jobs: list[finetune.Job], on_step: Any, on_note: Any) -> list[dict[str, Any]]:
        for one in jobs:
            on_note(one, "about 1.0 of 9.0 GiB")
            on_step(one, 1, 4, 0.5)
        return [{"skipped": "none"} for _ in jobs]

    monkeypatch.setattr(finetune, "train_many", train_many)
    notes: list[str] = []
    steps: list[str] = []
    students.train(job(tmp_path), lambda title, *_: steps.append(title), notes.append)
    assert notes == [
        "tiny on cheap, seed 10007, rate 0.001: about 1.0 of 9.0 GiB",
        "tiny on cheap, seed 7: about 1.0 of 9.0 GiB",
    ]
    assert steps[0] == "1/6 tiny on cheap, seed 10007, rate 0.001"
    assert steps[-1] == "6/6 tiny on human, seed 8"


def test_a_question_spaced_otherwise_is_the_same_question(
    tmp_path: Path, trained: list[finetune.Job]
) -> None:
    first = job(tmp_path).problems[0]
    file = tmp_path / "test.jsonl"
    file.write_text(
        json.dumps({"question": "  " + first.question.replace(" ", "\n ").upper(), "answer": "1"}) + "\n"
    )
    with pytest.raises(InputError, match="1 problems are also in problems"):
        students.train(job(tmp_path, evaluate={"problems": {"source": str(file), "split": "test"}}))


# -- scores


VERIFIER = ("math", "1")
KINDS = {"c": (Outcome.CORRECT, "1"), "w": (Outcome.INCORRECT, "2"), "v": (Outcome.INCORRECT, "3")}


def evaluated(tmp_path: Path, answers: dict[str, str], **changes: Any) -> tuple[Job, dict[str, Any]]:
    """evaluation.json of a run in which each contestant answered every problem so: c(orrect), w(rong), v(ery wrong)."""
    made = job(tmp_path, **changes)
    for name in answers:
        folder = tmp_path / "finetune" / "tiny" / name.removeprefix("evaluate/tiny/").removesuffix("/greedy")
        if "seed-" in str(folder):
            folder = folder.parent.parent / folder.name / folder.parent.name
        if not name.startswith("evaluate/tiny/base"):
            folder.mkdir(parents=True, exist_ok=True)
            for file in ("config.json", "model.safetensors"):
                (folder / file).write_bytes((TINY / file).read_bytes())
    with made.open() as ledger:
        ids = ledger.add_problems(students.tested(made))
        for arm in evaluate.contestants(made.run, tmp_path, made.template):
            row = ledger.add_arm(arm.name, arm.model.shown, "checkpoint", {}, arm.payload_sha)
            told = answers.get(arm.name, "w" * 4)
            ledger.import_draws(row, [(p, i, letter, None) for p in ids for i, letter in enumerate(told)])
            drawn = list(
                ledger.rows(
                    "SELECT d.id, t.text FROM draw d JOIN draw_text t ON t.draw=d.id WHERE d.arm=?", (row,)
                )
            )
            verdicts = [(draw, "1", Verdict(*KINDS[text], "sha")) for draw, text in drawn]
            ledger.add_verdicts(*VERIFIER, verdicts)
    with made.reader() as reader:
        return made, students.score(made, reader, VERIFIER)


EVALUATE = {
    "problems": {"source": "same", "split": "test", "limit": 6}, "seeds": 2, "draws": 4, "maj_k": [1, 3], "greedy": True,
    "transfer": {"far": {"source": BUILTIN, "split": "test", "offset": 50, "limit": 3}},
}  # fmt: skip
ANSWERS = {
    "evaluate/tiny/base": "wwwc", "evaluate/tiny/base/greedy": "w",
    "evaluate/tiny/cheap": "cccw", "evaluate/tiny/cheap/greedy": "c",
    "evaluate/tiny/cheap/seed-1": "ccww", "evaluate/tiny/cheap/seed-1/greedy": "w",
    "evaluate/tiny/strong": "cvww", "evaluate/tiny/strong/greedy": "w",
    "evaluate/tiny/strong/seed-1": "ccvw", "evaluate/tiny/strong/seed-1/greedy": "c",
}  # fmt: skip


def test_scores_are_means_over_problems_and_seeds(tmp_path: Path) -> None:
    _, told = evaluated(tmp_path, ANSWERS, evaluate=EVALUATE)
    tiny = told["students"]["tiny"]
    assert tiny["base"]["value"] == 0.25
    assert {arm: x["value"] for arm, x in tiny["arms"].items()} == {"cheap": 0.625, "strong": 0.375}
    assert tiny["seeds"] == {"cheap": [0, 1], "strong": [0, 1]}
    for name in ("test", "far"):
        on = tiny["sets"][name]
        assert on["greedy pass@1"]["cheap"]["value"] == 0.5
        assert on["maj@1"]["cheap"] == on["pass@1"]["cheap"]
        # ccc w: a majority of any three; cc ww: 2 of 4 triples have two c
        assert on["maj@3"]["cheap"]["value"] == pytest.approx((1 + 0.5) / 2)


def test_every_gain_is_absolute_and_relative_and_says_what_was_matched(tmp_path: Path) -> None:
    (tmp_path / "dataset" / "cheap").mkdir(parents=True)
    (tmp_path / "dataset" / "cheap" / "summary.json").write_text('{"matching": "number of rows, to strong"}')
    _, told = evaluated(tmp_path, ANSWERS, evaluate=EVALUATE)
    tiny = told["students"]["tiny"]
    (gain,) = tiny["differences"]
    assert (gain["a"], gain["b"], gain["metric"]) == ("cheap", "strong", "pass@1")
    assert gain["points"]["value"] == pytest.approx(0.25)
    assert gain["relative"]["value"] == pytest.approx(0.625 / 0.375 - 1)
    every = [g for on in tiny["sets"].values() for g in on["gains"]]
    assert len(every) == 2 * 4
    for g in every:
        assert {"points", "relative"} <= g.keys()
        assert (g["matching"]["draws"], g["matching"]["training"]) == ("samples", "steps")
        assert g["matching"]["datasets"] == {"cheap": "number of rows, to strong"}
    json.loads(json.dumps(told), parse_constant=pytest.fail)


def test_no_gain_is_given_at_a_budget_that_was_not_run(tmp_path: Path) -> None:
    """The paper's gain is nil at a high budget: what was measured at one budget is not carried to another."""
    _, told = evaluated(tmp_path, ANSWERS, evaluate=EVALUATE)
    measured = set(ANSWERS) | {"evaluate/tiny/human"}
    for on in told["students"]["tiny"]["sets"].values():
        for g in on["gains"]:
            assert {f"evaluate/tiny/{g['a']}", f"evaluate/tiny/{g['b']}"} <= measured
            assert g["matching"]["budget"] == {"draws": 1}


def test_a_dataset_that_was_not_trained_on_is_named_not_scored(tmp_path: Path) -> None:
    _, told = evaluated(tmp_path, ANSWERS, evaluate=EVALUATE)
    tiny = told["students"]["tiny"]
    assert "human" not in tiny["arms"]
    assert any(note.startswith("human: not finetuned") for note in tiny["notes"])


def test_one_seed_says_that_its_interval_lacks_the_spread_of_training(tmp_path: Path) -> None:
    _, told = evaluated(tmp_path, ANSWERS, evaluate=EVALUATE | {"seeds": 1})
    assert any("not over training seeds" in note for note in told["students"]["tiny"]["notes"])
    assert told["students"]["tiny"]["seeds"] == {"cheap": [0], "strong": [0]}


def test_missing_answers_are_one_line(tmp_path: Path) -> None:
    made, _ = evaluated(tmp_path, ANSWERS, evaluate=EVALUATE)
    more = Job(run(evaluate=EVALUATE | {"maj_k": [1, 3, 8]}), tmp_path)
    with (
        made.reader() as reader,
        pytest.raises(InputError, match="6 problems have no answer of evaluate/tiny/base yet"),
    ):
        students.score(more, reader, VERIFIER)


def test_contestants_are_asked_a_few_checkpoints_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(students, "SERVED", 4)
    made, _ = evaluated(tmp_path, ANSWERS, evaluate=EVALUATE)
    groups = list(students.groups(made))
    assert [len({arm.model.model for arm in group}) for group in groups] == [4, 1]
    assert {arm.name for group in groups for arm in group} == set(ANSWERS)
    asked = {arm.name: students.draws(made, arm) for group in groups for arm in group}
    assert {name: n for name, n in asked.items() if name.endswith("greedy")} == {
        n: 1 for n in asked if "greedy" in n
    }
    assert {n for name, n in asked.items() if not name.endswith("greedy")} == {4}


async def test_all_that_will_be_asked_is_known_before_the_first_question(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(students, "SERVED", 2)
    made, _ = evaluated(tmp_path, ANSWERS, evaluate=EVALUATE)
    planned: list[int] = []

    async def ask(_job: Job, _connect: Any, some: Any, *_: Any, progress: Progress, **__: Any) -> Result:
        planned.append(sum(progress.planned.values()))
        return Result({arm.name: 0 for arm in some}, False, False, [])

    monkeypatch.setattr(teaching, "ask", ask)
    told = await teaching.examine(made, cast("Any", None), stop=asyncio.Event(), progress=Progress())
    assert (
        planned == [5 * 9 * (4 + 1)] * 3
    )  # base and two seeds of two datasets, 9 problems, 4 sampled and 1 greedy
    assert told.missing == dict.fromkeys(ANSWERS, 0)


async def test_what_is_there_already_is_counted_once(tmp_path: Path) -> None:
    made, _ = evaluated(tmp_path, ANSWERS, evaluate=EVALUATE)
    progress = Progress()
    await teaching.examine(made, cast("Any", None), stop=asyncio.Event(), progress=progress)
    assert progress.done.total() == sum(progress.planned.values()) == 5 * 9 * (4 + 1)


def test_large_checkpoints_are_served_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(students, "SMALL", 1000)
    made, _ = evaluated(tmp_path, ANSWERS, evaluate=EVALUATE)
    groups = list(students.groups(made))
    assert [len({arm.model.model for arm in group}) for group in groups] == [1] * 5
    assert sorted(arm.name for group in groups for arm in group) == sorted(ANSWERS)


def test_a_hub_student_is_served_by_vllm_not_by_the_embedded_server(tmp_path: Path) -> None:
    hub = {"students": {"g": {"model": "google/gemma-2-9b"}}}
    with pytest.raises(InputError, match=r"set evaluate.provider to vllm"):
        evaluate.contestants(run(**hub), tmp_path, job(tmp_path).template)
    served = run(**hub, evaluate={"provider": "vllm", "serve_args": ["--dtype", "bfloat16"]})
    (arm,) = evaluate.contestants(served, tmp_path, job(tmp_path).template)
    assert (arm.model.provider, arm.model.model) == ("vllm", "google/gemma-2-9b")
