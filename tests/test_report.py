"""The page is one safe, complete file, and its words claim no more than its numbers."""

import asyncio
import html.parser
import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from toolkit import report
from toolkit.errors import InputError
from toolkit.ledger import Intent, Ledger, Settlement
from toolkit.report import charts, figures
from toolkit.report.facts import Facts
from toolkit.types import PICO, Choice, Finish, Outcome, Problem, Usage, Verdict

VOID = {"meta", "br", "hr", "img", "link", "input", "circle", "rect", "path", "line", "polygon", "polyline"}
HOSTILE = "<script>alert(1)</script></pre><img src=x onerror=alert(2)>\x00\x1b[31m\u202egnp.exe\u2066"


def x(value: float, half: float = 0.01) -> dict[str, float]:
    return {"value": value, "low": value - half, "high": value + half}


def arm_metrics(
    coverage: dict[str, Any], usd: float | None = 1.5, flops: float | None = 3e15
) -> dict[str, Any]:
    top = max(int(k) for k in coverage)
    return {
        "problems": 200,
        "draws": 200 * top,
        "usd": usd,
        "flops": flops,
        "tokens": {"prompt": 20000, "cached": 0, "output": 200 * top * 120, "thinking": 0},
        "coverage": coverage,
        "diversity": {
            k: {"per_problem": x(1.1), "per_solved": x(3.2, 0.1), "unique_per_solved": x(2.9, 0.1)} for k in coverage
        },
        "outcomes": {
            "correct": 110 * top, "incorrect": 80 * top, "unparsable": 9 * top, "timeout": top, "error": 0,
            "unverified": 0,
        },
        "false_positive_rate": None,
        "usd_per_correct": x(0.0012, 0.0001) if usd else None,
        "flops_per_correct": x(2.2e12, 1e11) if flops else None,
        "truncated": 0.012,
        "curve": [
            {"k": int(k), "usd": usd and usd / 200 * int(k) / top, "flops": flops and flops / 200 * int(k) / top,
             "coverage": c, "diversity": x(1.1)}
            for k, c in coverage.items()
        ],
        "not_estimated": {},
    }  # fmt: skip


RUN = {
    "name": "demo",
    "seed": 7,
    "problems": {"source": "builtin:word-problems", "split": "train", "limit": 200},
    "prompt": "word-problems",
    "decoding": {"temperature": 0.7, "top_k": 3, "max_tokens": 256},
    "models": {
        "cheap": {
            "provider": "openai_compatible", "model": "tiny-wc", "base_url": "http://127.0.0.1:8000/v1",
            "price": {"input": "0.1", "output": "0.4", "date": "2026-11-21", "source": "nominal"},
        },
        "strong": {"provider": "openai_compatible", "model": "tiny-se", "base_url": "http://127.0.0.1:8000/v1"},
    },
    "arms": {"cheap": ["cheap"], "strong": ["strong"]},
    "budget": {"usd": 3.0, "match": "price"},
    "students": {"tiny": {"model": "examples/tiny-gemma/student"}},
    "evaluate": {"draws": 4},
    "report": {"samples": 8},
}  # fmt: skip
PLAN = {
    "match": "price",
    "budget": {"usd": 3.0},
    "problems": 200,
    "models": {
        name: {
            "model": f"tiny-{short}", "draws_per_problem": k, "usd": 1.49, "flops": 2.9e15, "usd_per_draw": 1.49 / 200 / k,
            "flops_per_draw": 1.4e12, "prompt_tokens": 60, "output_tokens": 118.0, "expect_source": "catalog",
        }
        for name, short, k in (("cheap", "wc", 10), ("strong", "se", 4))
    },
    "worst_case_usd": 2.98,
    "residual": {"amount": 0.02, "unit": "usd"},
    "notes": ["tokens per draw are assumed equal for all models"],
}  # fmt: skip
METRICS = {
    "models": {
        "cheap": arm_metrics({"1": x(0.31, 0.03), "2": x(0.43, 0.03), "4": x(0.55, 0.03), "8": x(0.66, 0.03), "10": x(0.707, 0.03)}),
        "strong": arm_metrics({"1": x(0.45, 0.03), "2": x(0.55, 0.03), "4": x(0.62, 0.03)}, 1.48),
    }
}  # fmt: skip
EVALUATION = {
    "problems": 500,
    "source": "builtin:word-problems",
    "split": "test",
    "draws": 4,
    "students": {
        "tiny": {
            "base": x(0.08, 0.02),
            "arms": {"cheap": x(0.31, 0.03), "strong": x(0.29, 0.03)},
            "differences": [{"a": "cheap", "b": "strong", "points": x(0.02, 0.03)}],
            "notes": [],
        }
    },
}


def problems(number: int = 20) -> dict[str, Problem]:
    made = [
        Problem(
            f"train-{i:05}",
            f"Mia has {i + 3} apples and buys {2 * i} more. How many are there?",
            str(3 * i + 3),
        )
        for i in range(number)
    ]
    return {p.id: p for p in made}


def put(directory: Path, name: str, content: Any) -> None:
    path = directory / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(content) if name.endswith(".yaml") else json.dumps(content))


def fill_ledger(
    directory: Path,
    known: dict[str, Problem],
    text: str | None = None,
    arms: tuple[str, ...] = ("cheap", "strong"),
) -> None:
    """Draws of each arm; even ones right. `text` replaces every solution."""
    with Ledger(directory / "ledger.sqlite", clock=lambda: 1_795_000_000.0) as ledger:
        rows = ledger.add_problems(list(known.values()))
        for arm in arms:
            number = ledger.add_arm(
                arm, f"tiny-{arm}", "openai_compatible", {"temperature": 0.7}, f"sha-{arm}"
            )
            ledger.import_draws(
                number,
                [
                    (row, i, text or f"{arm} says: {p.question} The answer is {p.answer}.", Usage(60, 120))
                    for row, p in zip(rows, known.values(), strict=True)
                    for i in range(2)
                ],
            )
            golds = dict(zip(rows, (p.answer for p in known.values()), strict=True))
            drawn = list(ledger.rows("SELECT id, problem, idx FROM draw WHERE arm=?", (number,)))
            ledger.add_verdicts(
                "math",
                "1",
                [
                    (d, golds[p], Verdict(Outcome.INCORRECT if i else Outcome.CORRECT, golds[p], f"{d}"))
                    for d, p, i in drawn
                ],
            )


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    directory = tmp_path / "demo"
    for name, content in (
        ("run.yaml", RUN), ("plan.json", PLAN), ("metrics.json", METRICS), ("evaluation.json", EVALUATION),
    ):  # fmt: skip
        put(directory, name, content)
    for arm in ("cheap", "strong"):
        put(
            directory,
            f"dataset/{arm}/summary.json",
            {"arm": arm, "rows": 1100, "problems": 140, "skipped": None},
        )
        training = {
            "student": "tiny", "arm": arm, "steps": 150, "rows": 1100, "epochs": 4.36, "loss_first": 2.2,
            "loss_last": 0.6, "seconds": 41.2, "skipped": None,
        }  # fmt: skip
        put(directory, f"finetune/tiny/{arm}/training.json", training)
    fill_ledger(directory, problems())
    return directory


class Page(html.parser.HTMLParser):
    """Tags in order; raises where one is left open or closed twice."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    @property
    def words(self) -> str:
        return re.sub(r"\s+", " ", "".join(self.text))


def page(directory: Path, known: dict[str, Problem] | None = None) -> tuple[str, Page]:
    text = report.write(directory, known, {"pricematch": "0.1.0"}).read_text(encoding="utf-8")
    return text, Page(text)


def two(cheap: dict[str, float], strong: dict[str, float], **more: Any) -> Facts:
    models = {"cheap": arm_metrics({"10": cheap}), "strong": arm_metrics({"4": strong})}
    return Facts("demo", RUN, PLAN, {"models": models, **more})


# -- the page


def test_page_is_well_formed_and_loads_nothing(whole: Path) -> None:
    text, parsed = page(whole, problems())
    assert text.lstrip().startswith("<!DOCTYPE html>")
    assert {"script", "link", "img", "iframe", "object"}.isdisjoint({tag for tag, _ in parsed.tags})
    assert "default-src 'none'" in text
    for tag, attrs in parsed.tags:
        assert not {"src", "srcset", "onclick", "onload"} & attrs.keys()
        assert attrs.get("href") is None or re.match(r"#|report/", str(attrs["href"])), tag
    assert not re.search(r"url\(|@import", text)


def test_every_table_has_a_caption_and_every_plot_a_name(whole: Path) -> None:
    text, parsed = page(whole, problems())
    tags = [tag for tag, _ in parsed.tags]
    assert tags.count("caption") == tags.count("table") > 5
    plots = [attrs for tag, attrs in parsed.tags if tag == "svg"]
    assert plots
    assert all(a["role"] == "img" and f'id="{a["aria-labelledby"]}"' in text for a in plots)


def test_verdict_comes_first_and_is_the_one_the_terminal_prints(whole: Path) -> None:
    _, parsed = page(whole, problems())
    said = report.verdict(whole)
    assert parsed.words.index(said[:60]) < parsed.words.index("Comparison")
    assert "matched by price" in parsed.words


def test_hostile_text_is_shown_and_never_obeyed(whole: Path) -> None:
    (whole / "ledger.sqlite").unlink()
    known = {"train-1": Problem("train-1", f"How many? {HOSTILE}", HOSTILE)}
    fill_ledger(whole, known, HOSTILE)
    text, parsed = page(whole, known)
    assert "<script" not in text
    assert "<img" not in text
    assert text.count("&lt;script&gt;alert(1)&lt;/script&gt;&lt;/pre&gt;") >= 3
    assert "⟨U+0000⟩" in text
    assert "⟨U+202E⟩gnp.exe⟨U+2066⟩" in text
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", text)
    assert "<script>alert(1)</script>" in parsed.words


def test_hostile_names_are_escaped_too(tmp_path: Path) -> None:
    arm = "<b onclick=x>'\""
    put(tmp_path, "metrics.json", {"models": {arm: arm_metrics({"1": x(0.3), "4": x(0.5)})}})
    text, parsed = page(tmp_path)
    assert "<b onclick" not in text
    assert arm in parsed.words


def test_long_text_is_cut_and_the_page_says_so(whole: Path) -> None:
    (whole / "ledger.sqlite").unlink()
    fill_ledger(whole, problems(1), "y" * 100_000)
    text, parsed = page(whole, problems(1))
    assert "Cut here: 6,000 of 100,000 characters are shown." in parsed.words
    assert "y" * 6001 not in text


def test_samples_show_both_arms_of_the_same_problem_right_and_wrong(whole: Path) -> None:
    _, parsed = page(whole, problems())
    words = parsed.words
    assert words.count("cheap says:") == words.count("strong says:") == 4  # report.samples: 8
    assert "cheap: correct, strong: correct" in words
    assert "cheap: incorrect, strong: incorrect" in words
    assert page(whole, problems())[0] == page(whole, problems())[0]


def test_a_question_is_shown_only_for_the_very_problem_that_was_asked(whole: Path) -> None:
    edited = {k: Problem(k, "another text", "1") for k in problems()}
    _, parsed = page(whole, edited)
    assert "another text" not in parsed.words
    assert "text was not at hand" in parsed.words


def test_missing_files_name_the_verb_that_makes_them(tmp_path: Path) -> None:
    directory = tmp_path / "demo"
    put(directory, "run.yaml", RUN)
    _, parsed = page(directory)
    for verb in ("plan", "sample", "measure", "dataset", "finetune", "evaluate"):
        assert f"pricematch {verb} demo" in parsed.words
    assert "No verdict yet" in parsed.words


def test_a_run_without_students_misses_neither_finetuning_nor_evaluation(tmp_path: Path) -> None:
    directory = tmp_path / "demo"
    put(directory, "run.yaml", {k: v for k, v in RUN.items() if k not in ("students", "evaluate")})
    _, parsed = page(directory)
    assert "pricematch finetune" not in parsed.words
    assert "pricematch evaluate" not in parsed.words


def test_no_run_directory_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such run directory"):
        report.write(tmp_path / "nowhere")


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_text("{")
    with pytest.raises(InputError, match=r"metrics\.json"):
        report.write(tmp_path)


def test_unpriced_is_said_and_free_is_zero(tmp_path: Path) -> None:
    models = {"a": arm_metrics({"4": x(0.5)}, usd=None), "b": arm_metrics({"4": x(0.5)}, usd=0)}
    put(tmp_path, "metrics.json", {"models": models})
    rows = report.comparison(tmp_path)
    assert [r["spend"] for r in rows] == ["unpriced", "$0"]
    _, parsed = page(tmp_path)
    assert "unpriced" in parsed.words
    assert "$0 " in parsed.words


async def test_uncertain_money_is_shown_apart_from_settled(tmp_path: Path) -> None:
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        (row,) = ledger.add_problems([Problem("p", "?")])
        arm = ledger.add_arm("cheap", "m", "simulated", {}, "sha")
        paid, lost = await asyncio.gather(
            *(ledger.reserve(Intent(arm, row, i, 1, PICO // 4)) for i in range(2))
        )
        await ledger.settle(paid, Settlement([Choice("one", Finish.STOP)], Usage(1, 1), PICO // 8))
        await ledger.fail(lost, "uncertain", "connection closed")
    _, parsed = page(tmp_path)
    assert re.search(r"Settled\s*\$0\.125", parsed.words)
    assert re.search(r"Uncertain [^$]{0,60}\$0\.25", parsed.words)
    assert "connection closed" in parsed.words


# -- the words


def test_overlapping_intervals_name_no_winner() -> None:
    said = report.verdict(two(x(0.70, 0.03), x(0.66, 0.03)))
    assert "the intervals overlap, so neither is shown to be ahead" in said
    assert "points more" not in said


def test_disjoint_intervals_name_the_winner_and_the_matching() -> None:
    said = report.verdict(two(x(0.707), x(0.647)))
    assert said.startswith(
        "At equal price (10 vs 4 draws per problem), cheap covers 70.7 % [69.7, 71.7] of 200 problems"
    )
    assert "cheap covers 6.0 points more (the intervals do not overlap)" in said
    assert "strong covers 6.0 points more" in report.verdict(two(x(0.647), x(0.707)))


def test_a_paired_difference_decides_before_the_intervals_do() -> None:
    found = {"a": "strong", "b": "cheap", "k_a": 4, "k_b": 10, "points": x(-0.04, 0.02)}
    said = report.verdict(two(x(0.70, 0.03), x(0.66, 0.03), differences=[found]))
    assert "cheap covers 4.0 points [2.0, 6.0] more" in said


def test_a_difference_at_other_draws_is_not_used() -> None:
    found = {"a": "cheap", "b": "strong", "k_a": 1, "k_b": 1, "points": x(-0.14, 0.02)}
    assert "14.0 points" not in report.verdict(two(x(0.70), x(0.60), differences=[found]))


@pytest.mark.parametrize(
    ("difference", "said"),
    [
        (x(0.02, 0.03), "not distinguishable"),
        (x(0.06, 0.03), "cheap’s data teaches 6.0 points [3.0, 9.0] more"),
        (x(-0.06, 0.03), "strong’s data teaches 6.0 points [3.0, 9.0] more"),
    ],
)
def test_students_differ_only_where_the_paired_interval_leaves_out_zero(
    difference: dict[str, float], said: str
) -> None:
    student = {
        **EVALUATION["students"]["tiny"],
        "differences": [{"a": "cheap", "b": "strong", "points": difference}],
    }  # type: ignore[index]
    found = report.verdict(Facts("demo", RUN, PLAN, METRICS, {"students": {"tiny": student}}))
    assert said in found
    assert ("teaches" in found) == (said != "not distinguishable")


def test_unequal_steps_are_said_to_be_unmatched() -> None:
    trainings = {("tiny", "cheap", 0): {"steps": 150}, ("tiny", "strong", 0): {"steps": 90}}
    assert "NOT step-matched" in report.verdict(
        Facts("demo", RUN, PLAN, METRICS, EVALUATION, trainings=trainings)
    )
    trainings[("tiny", "strong", 0)]["steps"] = 150
    assert "after 150 steps each" in report.verdict(
        Facts("demo", RUN, PLAN, METRICS, EVALUATION, trainings=trainings)
    )


def test_an_unfinished_arm_is_compared_at_the_draws_it_has_and_said() -> None:
    metrics = {"models": {"cheap": arm_metrics({"8": x(0.6)}), "strong": arm_metrics({"4": x(0.5)})}}
    assert "cheap at 8 of 10 planned draws" in report.verdict(Facts("demo", RUN, PLAN, metrics))


def test_bills_that_missed_the_match_are_said() -> None:
    models = {"cheap": arm_metrics({"10": x(0.7)}, 1.5), "strong": arm_metrics({"4": x(0.6)}, 1.1)}
    assert "cheap $1.50 and strong $1.10" in report.verdict(Facts("demo", RUN, PLAN, {"models": models}))
    assert "actual spends" not in report.verdict(two(x(0.7), x(0.6)))


def test_comparison_has_a_row_per_arm_and_one_for_the_base(whole: Path) -> None:
    rows = report.comparison(whole)
    assert [r["arm"] for r in rows] == ["cheap", "strong", "base, not finetuned"]
    assert rows[0]["coverage@k"] == "70.7 % [67.7, 73.7] @10"
    assert rows[2]["tiny pass@1"] == "8.0 % [6.0, 10.0]"
    assert len({tuple(r) for r in rows}) == 1


def test_a_student_at_zero_is_explained(whole: Path) -> None:
    zero = {"tiny": {"base": x(0.0, 0.0), "arms": {"cheap": x(0.0, 0.0), "strong": x(0.0, 0.0)}}}
    put(whole, "evaluation.json", {**EVALUATION, "students": zero})
    assert "a tiny student may score 0 on problems far from what it was trained on" in page(whole)[1].words


def test_three_arms_are_compared_in_pairs() -> None:
    models = {
        "a": arm_metrics({"4": x(0.6)}),
        "b": arm_metrics({"4": x(0.5)}),
        "c": arm_metrics({"4": x(0.51)}),
    }
    said = report.verdict(Facts("demo", None, {"match": "samples"}, {"models": models}))
    assert said.startswith("At equal numbers of samples (4 draws per problem each)")
    assert "a against b: a covers 10.0 points more" in said
    assert "b against c: the intervals overlap" in said


def test_the_price_paid_is_shown_per_million_tokens_with_date_and_source(tmp_path: Path) -> None:
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        (row,) = ledger.add_problems([Problem("p", "?")])
        arm = ledger.add_arm("cheap", "m", "openai_compatible", {}, "sha")
        paid = {
            "model": "m",
            "input": 150_000,
            "cached": None,
            "output": 600_000,
            "date": "2026-11-01",
            "source": "vendor",
        }
        price = ledger.add_price(paid)
        asyncio.run(ledger.reserve(Intent(arm, row, 0, 1, PICO, price)))
    put(tmp_path, "metrics.json", {"models": {"cheap": arm_metrics({"1": x(0.5)})}})
    assert "input $0.15, output $0.6 per million tokens (2026-11-01, vendor)" in page(tmp_path)[1].words


@pytest.mark.parametrize(
    ("usd", "axis"), [(1.5, "dollars per problem"), (0, "draws per problem"), (None, "draws per problem")]
)
def test_plot_counts_draws_where_money_says_nothing(tmp_path: Path, usd: float | None, axis: str) -> None:
    models = {a: arm_metrics({"1": x(0.3), "4": x(0.5)}, usd) for a in ("a", "b")}
    put(tmp_path, "metrics.json", {"models": models})
    assert f"against {axis} for k draws" in page(tmp_path)[1].words


# -- figures and charts


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "unpriced"), (0, "$0"), (1234.567, "$1,234.57"), (5, "$5.00"), (0.5, "$0.50"), (0.125, "$0.125"),
        (0.00123, "$0.00123"), (0.0999999, "$0.10"), (1e-9, "$1.00e-09"), (-0.25, "−$0.25"),
    ],
)  # fmt: skip
def test_money_keeps_the_digits_that_matter(value: float | None, said: str) -> None:
    assert figures.usd(value) == said


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "unknown"),
        (0, "0 FLOPs"),
        (1.2e15, "1.2 PFLOPs"),
        (999.9e12, "1 PFLOPs"),
        (3e29, "3.00e+29 FLOPs"),
    ],
)
def test_flops_carry_a_prefix(value: float | None, said: str) -> None:
    assert figures.flops(value) == said


def test_no_negative_zero() -> None:
    assert figures.points({"value": -0.0001, "low": -0.01, "high": 0.01}) == "0.0 points [−1.0, 1.0]"


def test_plot_stays_inside_its_frame_and_labels_do_not_touch() -> None:
    series = [
        charts.Series(
            name, [charts.Point(k * cost, 0.5 + k / 100, 0.45 + k / 100, 0.55 + k / 100) for k in (1, 4, 30)]
        )
        for name, cost in (("a", 0.001), ("b", 0.0010001), ("c", 0.00099))
    ]
    made = charts.chart(series, 350, 300, charts.Axes(figures.usd))
    assert made.log
    assert all(
        made.left <= px <= made.right and made.top <= py <= made.bottom
        for c in made.curves
        for px, py in c.dots
    )
    heights = sorted(c.label_y for c in made.curves)
    assert min(b - a for a, b in pairwise(heights)) >= charts.LINE
    assert len({c.dash for c in made.curves}) == len({c.marker for c in made.curves}) == 3


@pytest.mark.parametrize("points", [[(1, 0.0)], [(1, 0.5), (2, 0.5)], [(1, 1.0), (100, 1.0)]])
def test_flat_and_single_points_can_be_drawn(points: list[tuple[float, float]]) -> None:
    made = charts.chart(
        [charts.Series("a", [charts.Point(px, y, y, y) for px, y in points])], 600, 300, charts.Axes(str)
    )
    assert made.curves[0].dots
    assert len(made.y_ticks) >= 2
