"""Filters, caps, weights and matched controls, from a ledger to rows on disk."""

import json
import re
import sqlite3
from collections import Counter
from pathlib import Path
from string import Template
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from toolkit import dataset, spec
from toolkit.answers import norm_sha
from toolkit.config import dump, validated
from toolkit.equations import equations_sha
from toolkit.errors import InputError
from toolkit.ledger import Ledger
from toolkit.types import Outcome, Problem, Verdict

MATH = ("math", "3")
PROBLEMS = 12


def text(problem: int, idx: int, answer: int, arm: str) -> str:
    return f"{arm} way {idx // 2}: {problem} and {problem}.\nThe answer is {answer}."


class Book:
    """Two arms over twelve problems: the weak one's draws 0 to 5 are right where idx % 6 >= problem % 6,
    the strong one's two draws on the first nine problems. Draws 2i and 2i + 1 have the same text."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "dataset"
        self.ledger = Ledger(folder / "ledger.sqlite")
        listed = [
            Problem(
                f"p{i:02}", f"What is {i} + {i}?", str(2 * i), f"Human: {i} + {i} = {2 * i}.\n#### {2 * i}"
            )
            for i in range(PROBLEMS)
        ]
        self.problems = dict(zip(self.ledger.add_problems(listed), listed, strict=True))
        self.keys = list(self.problems)
        self.arms = {"weak": [self.arm("weak", 6)], "strong": [self.arm("strong", 2)]}

    def arm(self, name: str, k: int) -> dataset.Part:
        row = self.ledger.add_arm(name, f"{name}-model", "imported", {}, name)
        answers = [
            (self.keys[p], i, text(p, i, 2 * p if self.right(name, p, i) else 999 + i % 2, name), None)
            for p in range(PROBLEMS)
            for i in range(k)
        ]
        self.ledger.import_draws(row, answers)
        self.judge(row, MATH, lambda p, i: self.right(name, p, i))
        return dataset.Drawn(row, k)

    @staticmethod
    def right(arm: str, problem: int, idx: int) -> bool:
        return problem < 9 if arm == "strong" else idx >= problem % 6

    def judge(self, row: int, who: tuple[str, str], right: Any, only: Any = lambda p: True) -> None:
        drawn = self.ledger.rows(
            "SELECT d.id, d.problem, d.idx, t.text FROM draw d JOIN draw_text t ON t.draw=d.id WHERE d.arm=?",
            (row,),
        )
        outcome = {True: Outcome.CORRECT, False: Outcome.INCORRECT}
        verdicts = [
            (
                draw,
                None,
                Verdict(outcome[bool(right(self.keys.index(p), i))], None, norm_sha(t), equations_sha(t)),
            )
            for draw, p, i, t in list(drawn)
            if only(self.keys.index(p))
        ]
        self.ledger.add_verdicts(*who, verdicts)

    def build(self, arms: Any = None, **settings: Any) -> dict[str, dataset.Summary]:
        fields = {
            key: settings.pop(key) for key in ("held_out", "problems", "seed", "verifier") if key in settings
        }
        known = {"problems": self.problems, "verifier": MATH}
        material = dataset.Material(
            reader=self.ledger,
            prompt=Template("$question"),
            spec=spec.Dataset(**settings),
            **(known | fields),
        )
        built = dataset.build(material, arms or self.arms, self.root, lambda _: {"match": "price"})
        return {s.arm: s for s in built}

    def rows(self, name: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.root / name / "data.jsonl").open()]

    def card(self, name: str) -> str:
        return (self.root / name / "README.md").read_text()

    def per_problem(self, name: str) -> dict[str, int]:
        return dict(Counter(row["problem"] for row in self.rows(name)))


@pytest.fixture
def book(tmp_path: Path) -> Book:
    return Book(tmp_path)


# -- caps, duplicates, weights


def test_a_cap_keeps_distinct_solutions_first_and_loses_no_problem(book: Book) -> None:
    def distinct() -> dict[str, int]:
        ways = {(row["problem"], row["completion"][0]["content"]) for row in book.rows("weak")}
        return dict(Counter(problem for problem, _ in ways))

    book.build()
    available, ways = book.per_problem("weak"), distinct()
    assert max(ways.values()) == 3 < max(available.values())
    for cap in (1, 2, 3, 5):
        book.build(per_problem=cap)
        assert book.per_problem("weak") == {p: min(n, cap) for p, n in available.items()}
        assert distinct() == {p: min(n, cap) for p, n in ways.items()}


def test_the_choice_under_a_cap_is_the_seeds(book: Book) -> None:
    def chosen(seed: int) -> list[int]:
        book.build(per_problem=1, seed=seed)
        return [row["draw"] for row in book.rows("weak")]

    assert chosen(1) == chosen(1)
    assert len({tuple(chosen(seed)) for seed in range(5)}) > 1


def test_exact_duplicates_are_equal_to_the_letter_and_normalised_ones_but_for_spacing(book: Book) -> None:
    row = book.ledger.add_arm("spaced", "m", "imported", {}, "spaced")
    ways = ["1 + 1 = 2", "1 + 1 = 2", "1+1  =  2", "1 * 2 = 2"]
    book.ledger.import_draws(
        row, [(book.keys[1], i, f"{w}. The answer is 2.", None) for i, w in enumerate(ways)]
    )
    book.judge(row, MATH, lambda p, i: True)
    sizes = {
        level: book.build({"spaced": [dataset.Drawn(row)]}, dedup=level)["spaced"].rows
        for level in ("none", "exact", "normalised")
    }
    assert sizes == {"none": 4, "exact": 3, "normalised": 2}


def test_equal_lists_of_calculations_are_duplicates(book: Book) -> None:
    row = book.ledger.add_arm("worded", "m", "imported", {}, "worded")
    ways = ["First 1 + 1 = 2", "So 1+1=2", "Twice: 1 * 2 = 2", "Obvious", "Plain to see"]
    texts = [f"{way}. The answer is two." for way in ways]
    book.ledger.import_draws(row, [(book.keys[1], i, t, None) for i, t in enumerate(texts)])
    book.judge(row, MATH, lambda p, i: True)
    book.build({"worded": [dataset.Drawn(row)]}, dedup="equations")
    assert [r["idx"] for r in book.rows("worded")] == [0, 2, 3, 4]  # without a calculation, the words count


def test_a_ledger_judged_before_calculations_were_listed_is_told_to_verify_again(book: Book) -> None:
    with sqlite3.connect(book.ledger.path) as db:
        db.execute("UPDATE verdict SET equations_sha=NULL")
    with pytest.raises(InputError, match=r"dedup: equations: .*rerun `pricematch verify`"):
        book.build(dedup="equations")
    assert book.build(dedup="normalised")["weak"].rows > 0


def test_keeping_every_row_weighs_problems_by_their_pass_rate_and_equal_weights_do_not(book: Book) -> None:
    """Trap 20: easy questions have most rows."""
    skewed = book.build()["weak"]
    assert len(set(book.per_problem("weak").values())) == 6
    even = book.build(weighting="problems")["weak"]
    assert set(book.per_problem("weak").values()) == {6}
    assert (skewed.copies, even.copies) == (None, {"per_problem": 6, "least": 1, "most": 6})
    assert (even.distinct, even.rows, even.problems) == (skewed.rows, 6 * 12, skewed.problems)
    assert {row["copy"] for row in book.rows("weak")} == set(range(6))
    assert "repeated 1 to 6 times" in book.card("weak")


def test_rows_are_matched_before_they_are_repeated_and_the_label_says_so(book: Book) -> None:
    built = book.build(weighting="problems", controls={"few": {"from": "weak", "rows_of": "strong"}})
    assert built["few"].distinct == built["strong"].distinct == 18
    assert built["few"].matching == "distinct rows: as many as strong (18 against 18)"
    assert len(set(book.per_problem("few").values())) == 1


def test_human_solutions_can_be_added_and_are_told_apart(book: Book) -> None:
    summary = book.build(include_gold=True, per_problem=1)["strong"]
    human = [row for row in book.rows("strong") if row["verdict"] == "gold"]
    assert (summary.human, len(human), summary.rows) == (12, 12, 12 + 9)
    assert human[0]["completion"][0]["content"] == "Human: 0 + 0 = 0.\n#### 0"
    assert (human[0]["draw"], human[0]["model"]) == (None, "human")
    assert "12 of the rows are the human solutions" in book.card("strong")


# -- filters


def test_without_gold_the_answer_most_draws_agree_on_is_kept_and_the_card_warns(book: Book) -> None:
    """Trap 24. Gold answers are not looked at: a wrong majority is kept, a tie is not."""
    goldless = {k: Problem(p.id, p.question) for k, p in book.problems.items()}
    book.build(filter="majority", problems=goldless)
    kept = {
        p: {r["completion"][0]["content"].split()[-1] for r in book.rows("weak") if r["problem"] == p}
        for p in book.per_problem("weak")
    }
    assert all(len(answers) == 1 for answers in kept.values())
    assert kept["p02"] == {"4."}  # four right draws of six
    assert "p04" not in kept  # two right, and two of each wrong answer
    assert kept["p05"] == {"999."}  # one right, three of one wrong answer and two of another
    assert {row["verdict"] for row in book.rows("weak")} == {"majority"}
    assert "No gold answer was used" in book.card("weak")


def test_without_any_filter_far_fewer_rows_than_draws_are_kept_unless_the_user_says_so(book: Book) -> None:
    """Trap 24: where nothing is verified, more samples can teach worse; the default is not all of them."""
    summary = book.build(filter="none")["weak"]
    assert summary.considered == 72
    assert set(book.per_problem("weak").values()) == {spec.UNVERIFIED_ROWS}
    assert "Nothing was verified" in book.card("weak")
    assert {row["verdict"] for row in book.rows("weak")} == {"correct", "incorrect"}
    assert book.build(filter="none", per_problem=6)["weak"].rows == 72


def test_judged_rows_are_correct_and_found_sound(book: Book) -> None:
    with pytest.raises(InputError, match="no judge has judged these draws"):
        book.build(filter="judged")
    for part in (*book.arms["weak"], *book.arms["strong"]):
        book.judge(part.row, ("judge", "j1"), lambda p, i: i % 2 == 0)
    book.build(filter="judged")
    assert {(r["problem"], r["idx"]) for r in book.rows("weak")} == {
        (f"p{p:02}", i) for p in range(12) for i in (0, 2, 4) if i >= p % 6
    }
    assert {row["verdict"] for row in book.rows("weak")} == {"sound"}
    for part in book.arms["weak"]:
        book.judge(part.row, ("judge", "j2"), lambda p, i: True)
    with pytest.raises(InputError, match=r"2 judges have judged these draws \(j1, j2\)"):
        book.build(filter="judged")


def test_without_gold_a_judges_word_suffices_but_an_unjudged_draw_is_never_taken_for_correct(
    book: Book,
) -> None:
    row = book.ledger.add_arm("new", "m", "imported", {}, "new")
    book.ledger.import_draws(row, [(k, 0, "So be it. The answer is 1.", None) for k in book.keys])
    book.judge(row, ("judge", "j1"), lambda p, i: True)
    book.judge(row, MATH, lambda p, i: True, only=lambda p: p < 4)
    some = {
        k: Problem(p.id, p.question, None if i >= 8 else p.answer)
        for i, (k, p) in enumerate(book.problems.items())
    }
    book.build({"new": [dataset.Drawn(row)]}, filter="judged", problems=some)
    assert sorted(book.per_problem("new")) == ["p00", "p01", "p02", "p03", "p08", "p09", "p10", "p11"]


def test_filtering_by_gold_without_any_gold_is_one_line(book: Book) -> None:
    goldless = {k: Problem(p.id, p.question) for k, p in book.problems.items()}
    with pytest.raises(
        InputError, match=r"^dataset.filter: verified: no problem of this run has a gold answer"
    ):
        book.build(problems=goldless)


# -- controls


def test_a_number_matched_control_has_as_many_rows_and_keeps_every_problem(book: Book) -> None:
    built = book.build(controls={"few": {"from": "weak", "rows_of": "strong"}})
    assert built["few"].rows == built["strong"].rows == 18
    assert built["few"].problems == built["weak"].problems == 12
    assert {row["draw"] for row in book.rows("few")} <= {row["draw"] for row in book.rows("weak")}
    assert {row["arm"] for row in book.rows("few")} == {"weak"}


def test_a_token_matched_control_comes_within_a_row_and_says_what_was_counted(book: Book) -> None:
    for unit, length in (("characters", len), ("words", lambda text: len(text.split()))):
        built = book.build(tokens=unit, controls={"few": {"from": "weak", "tokens_of": "strong"}})

        def total(name: str, length: Any = length) -> int:
            return sum(length(row["completion"][0]["content"]) for row in book.rows(name))

        (matched,) = built["few"].matched
        assert (matched["by"], matched["wanted"], matched["got"]) == (unit, total("strong"), total("few"))
        assert abs(total("few") - total("strong")) <= 40


def test_tokens_can_be_those_of_a_tokenizer_and_one_that_is_not_there_is_one_line(book: Book) -> None:
    pytest.importorskip("transformers")
    student = Path(__file__).parents[1] / "examples" / "tiny-gemma" / "student"
    controls = {"few": {"from": "weak", "tokens_of": "strong"}}
    (matched,) = book.build(tokens=str(student), controls=controls)["few"].matched
    assert matched["by"] == f"tokens of {student}"
    assert 0 < abs(matched["got"] - matched["wanted"]) + 1 < 20 < matched["wanted"]
    with pytest.raises(InputError, match=r"^dataset.tokens: .*nowhere: no tokenizer there") as refused:
        book.build(tokens=str(book.root / "nowhere"), controls=controls)
    assert "\n" not in str(refused.value)


def test_the_papers_factorial_of_coverage_and_diversity_is_three_lines_of_a_run_file(book: Book) -> None:
    """arXiv 2408.16737 Fig 9: one sample; many sampled and one kept; many sampled and all kept."""
    built = book.build(
        controls={
            "low-low": {"from": "weak", "draws": 1},
            "high-low": {"from": "weak", "per_problem": 1},
            "same-problems": {"from": "weak", "problems_of": "strong", "per_problem": 1},
            "as-drawn": {"from": "weak", "draws_of": "strong"},
        }
    )
    assert (built["low-low"].problems, built["low-low"].rows) == (2, 2)
    assert (built["high-low"].problems, built["high-low"].rows) == (12, 12)
    assert (built["weak"].problems, built["weak"].rows) == (12, 42)
    assert set(book.per_problem("same-problems")) == set(book.per_problem("strong"))
    assert {row["idx"] for row in book.rows("as-drawn")} == {0, 1}


def test_human_solutions_and_a_mixture_are_controls_like_any_other(book: Book) -> None:
    built = book.build(controls={"human": {"from": "gold"}, "both": {"from": ["weak", "strong"]}})
    assert [row["completion"][0]["content"] for row in book.rows("human")] == [
        p.solution for p in book.problems.values()
    ]
    assert "Human solutions (control human)" in book.card("human")
    assert "as right as their source" in book.card("human")
    assert "Correct" not in book.card("human")
    assert "People wrote the solutions; no draw was paid for." in book.card("human")
    assert built["both"].rows == built["weak"].rows + built["strong"].rows
    assert book.per_problem("both")["p00"] == 8


def test_every_dataset_says_what_was_held_equal(book: Book) -> None:
    """Trap 22: number-matched results contradict cost-matched ones, so none goes without its label."""
    built = book.build(
        controls={
            "rows": {"from": "weak", "rows_of": "strong"},
            "tokens": {"from": "weak", "tokens_of": "strong"},
            "draws": {"from": "weak", "draws_of": "strong"},
            "one": {"from": "weak", "per_problem": 1, "problems_of": "strong"},
            "human": {"from": "gold"},
        }
    )
    said = {name: summary.matching for name, summary in built.items()}
    assert said["weak"] == said["strong"] == "cost: equal money spent"
    assert said["rows"] == "rows: as many as strong (18 against 18)"
    assert said["tokens"].startswith("characters: as many as strong (")
    assert said["draws"] == "draws: as many per problem as strong (2)"
    assert said["one"] == "diversity: at most 1 per problem; coverage: the problems of strong (9 of its 9)"
    assert said["human"] == "nothing: all that was kept of gold"
    for name, words in said.items():
        assert f"matched by {words}." in book.card(name)
        header = yaml.safe_load(book.card(name).split("---\n")[1])["pricematch"]
        assert header["matching"] == words


def test_a_control_that_cannot_be_matched_is_skipped_and_says_so(book: Book) -> None:
    built = book.build(controls={"more": {"from": "strong", "rows_of": "weak"}})
    assert built["more"].skipped == "18 rows are fewer than the 42 of weak: match weak to it instead"
    assert [path.name for path in (book.root / "more").iterdir()] == ["summary.json"]
    unlucky = {k: p for k, p in book.problems.items() if p.id >= "p09"}
    built = book.build(problems=unlucky, controls={"few": {"from": "weak", "rows_of": "strong"}})
    assert built["strong"].skipped == "no correct draw"
    assert built["few"].skipped == "strong, to which it is matched, was skipped: no correct draw"


def test_an_arm_whose_draws_differ_by_problem_has_no_number_to_match(book: Book) -> None:
    uneven = {**book.arms, "strong": [dataset.Drawn(book.arms["strong"][0].row)]}
    with pytest.raises(InputError, match=r"^dataset.controls.c.draws_of: strong has no one number of draws"):
        book.build(uneven, controls={"c": {"from": "weak", "draws_of": "strong"}})


def test_an_arm_may_be_drawn_in_several_parts(book: Book) -> None:
    mixed = {"both": [*book.arms["weak"], dataset.Drawn(book.arms["strong"][0].row, 1)]}
    assert book.build(mixed)["both"].rows == 42 + 9
    assert {(r["arm"], r["model"]) for r in book.rows("both")} == {
        ("weak", "weak-model"),
        ("strong", "strong-model"),
    }


# -- held out


def test_held_out_problems_are_never_trained_on_not_even_as_human_solutions(book: Book) -> None:
    """Trap 25."""
    validation = frozenset(p.sha for p in book.problems.values() if p.id in ("p01", "p03"))
    book.build(
        include_gold=True, held_out={"finetune.validation": validation}, controls={"human": {"from": "gold"}}
    )
    for name in ("weak", "strong", "human"):
        assert not {"p01", "p03"} & set(book.per_problem(name))
    removed = [json.loads(line) for line in (book.root / "weak" / "removed.jsonl").open()]
    assert [(r["problem"], r["why"], r["source"], r["rows"]) for r in removed] == [
        ("p01", "held out", "finetune.validation", 5),
        ("p03", "held out", "finetune.validation", 3),
    ]


def test_contaminated_problems_and_solutions_are_removed_and_listed_with_their_evidence(
    book: Book, tmp_path: Path
) -> None:
    leaked = "A shop sells pens for two dollars and books for nine dollars. What do three pens cost?"
    questions = tmp_path / "test.jsonl"
    questions.write_text(
        json.dumps({"idx": 7, "question": leaked}) + "\n" + json.dumps({"question": "what is 2+2"}) + "\n"
    )
    row = book.ledger.add_arm("leaky", "m", "imported", {}, "leaky")
    book.ledger.import_draws(
        row,
        [(k, i, f"{leaked if i else 'Well.'} The answer is 1.", None) for k in book.keys[:3] for i in (0, 1)],
    )
    book.judge(row, MATH, lambda p, i: True)
    book.build({"leaky": [dataset.Drawn(row)]}, decontaminate=[str(questions)])
    assert {(r["problem"], r["idx"]) for r in book.rows("leaky")} == {("p00", 0), ("p01", 0)}
    removed = [json.loads(line) for line in (book.root / "leaky" / "removed.jsonl").open()]
    assert [(r["problem"], r["why"], r["how"], r["id"], r["rows"]) for r in removed] == [
        ("p02", "contaminated", "exact", "2", 2),
        ("p00", "contaminated", "n-grams", "7", 1),
        ("p01", "contaminated", "n-grams", "7", 1),
    ]
    assert removed[1]["words"] == "a shop sells pens for two dollars and"
    assert "3 overlaps, 4 rows removed" in book.card("leaky")
    again = book.build(
        {"leaky": [dataset.Drawn(row)]}, decontaminate=[str(questions)], controls={"c": {"from": "leaky"}}
    )
    assert again["c"].rows == again["leaky"].rows == 2


def test_near_duplicates_within_a_problem_are_removed_and_name_the_one_that_stays(book: Book) -> None:
    summary = book.build(near_duplicates=0.9)["weak"]
    assert summary.dropped is not None
    removed = [json.loads(line) for line in (book.root / "weak" / "removed.jsonl").open()]
    assert len(removed) == summary.dropped["near duplicate"] > 0
    stays = {row["draw"] for row in book.rows("weak")}
    assert all(r["of"] in stays and r["draw"] not in stays for r in removed)


def test_when_nothing_is_left_the_reason_is_one_line(book: Book) -> None:
    everything = frozenset(p.sha for p in book.problems.values())
    summary = book.build(held_out={"evaluate.problems": everything})["weak"]
    assert summary.skipped == "nothing is left of 42 rows: 42 held out or contaminated"


def test_a_check_that_finds_nothing_leaves_an_empty_list_and_not_none(book: Book) -> None:
    book.build(decontaminate="builtin:word-problems:test")
    assert (book.root / "weak" / "removed.jsonl").read_text() == ""
    assert "Checked against builtin:word-problems:test: 0 overlaps" in book.card("weak")
    book.build()
    assert not (book.root / "weak" / "removed.jsonl").exists()
    assert "Not checked against any test set" in book.card("weak")


def test_a_test_set_that_cannot_be_read_is_one_line(book: Book, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.jsonl: no such file"):
        book.build(decontaminate=[str(tmp_path / "nowhere.jsonl")])
    (tmp_path / "odd.jsonl").write_text('{"idx": 1}\n')
    with pytest.raises(InputError, match=r"^dataset.decontaminate: .*odd.jsonl line 1: no question"):
        book.build(decontaminate=[str(tmp_path / "odd.jsonl")])


# -- the run file


RUN = {
    "name": "r",
    "problems": {"source": "builtin:word-problems"},
    "models": {m: {"provider": "imported", "model": m} for m in ("weak", "strong")},
    "budget": {"draws": 1, "match": "samples"},
}


def run(**settings: Any) -> spec.Run:
    return validated(Path("r.yaml"), {**RUN, "dataset": settings})


def test_the_controls_in_an_example_that_wait_for_their_comment_sign_to_go_are_valid() -> None:
    file = Path(__file__).parents[1] / "examples" / "paper" / "math-high.yaml"
    text, uncommented = re.subn(r"(?m)^    # (wc-[\w-]+: )", r"    \1", file.read_text())
    made = validated(file, yaml.safe_load(text))
    assert uncommented == 4
    assert made.datasets()[-4:] == ["wc-low-low", "wc-high-low", "wc-on-problems-of-se", "wc-token-matched"]


def test_a_run_knows_its_datasets_arms_first_and_loads_again_as_it_was_written() -> None:
    made = run(
        controls={"few": {"from": "weak", "rows_of": "strong"}, "fewer": {"from": "weak", "rows_of": "few"}}
    )
    assert made.datasets() == ["weak", "strong", "few", "fewer"]
    assert validated(Path("r.yaml"), yaml.safe_load(dump(made))) == made


@pytest.mark.parametrize(
    ("control", "said"),
    [
        ({"from": "week"}, r"dataset.controls.c.from: 'week' .*did you mean 'weak'\?"),
        ({"from": "weak", "rows_of": "later"}, r"dataset.controls.c.rows_of: 'later'"),
        ({"from": "weak", "draws_of": "c"}, r"dataset.controls.c.draws_of: 'c'"),
        ({"from": "weak", "rows_of": "strong", "tokens_of": "strong"}, "give rows_of or tokens_of, not both"),
        ({"form": "weak"}, r"unknown key 'form': did you mean 'from'\?"),
        ({}, "missing"),
    ],
)
def test_a_control_that_names_nothing_is_one_line_with_the_nearest_name(
    control: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError, match=said) as refused:
        run(controls={"c": control})
    assert "\n" not in str(refused.value)


def test_a_control_cannot_have_the_name_of_an_arm() -> None:
    with pytest.raises(InputError, match="an arm has that name"):
        run(controls={"weak": {"from": "strong"}})
    with pytest.raises(ValidationError):
        spec.Dataset(controls={"../up": {"from": "weak"}})
