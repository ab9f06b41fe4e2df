import asyncio
import csv
import json
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from toolkit import audit
from toolkit.audit import Key
from toolkit.errors import InputError
from toolkit.ledger import Intent, Ledger, Settlement
from toolkit.types import Choice, Finish, Outcome, Problem, Verdict

VERIFIER = ("math", "test")
PROCESSBENCH = Path(__file__).parents[2] / "shared/data/false_positives/processbench_gsm8k.json"


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(tmp_path / "ledger.sqlite") as made:
        yield made


def add(ledger: Ledger, arm: str, problems: Sequence[Problem], texts: Sequence[Sequence[str]]) -> int:
    """An arm whose draws of problem i are texts[i]; those that start with "-" are incorrect."""
    row = ledger.add_arm(arm, "m", "p", {}, arm)

    async def ask() -> None:
        for problem, drawn in zip(ledger.add_problems(problems), texts, strict=True):
            if drawn:
                attempt = await ledger.reserve(Intent(row, problem, 0, len(drawn), 0))
                choices = [Choice(text, Finish.STOP) for text in drawn]
                await ledger.settle(attempt, Settlement(choices, None, 0))

    asyncio.run(ask())
    verdicts = [
        (d.id, "4", Verdict(Outcome.INCORRECT if d.text.startswith("-") else Outcome.CORRECT, "4", "n"))
        for d in ledger.draws([row])
    ]
    ledger.add_verdicts(*VERIFIER, verdicts)
    return row


def questions(n: int, level: str | None = None) -> list[Problem]:
    return [Problem(f"{level}{i}", f"question {level} {i}", "4", level=level) for i in range(n)]


def sampled(ledger: Ledger, arms: dict[str, int], size: int, seed: int = 0) -> Key:
    ids = [i for (i,) in ledger.rows("SELECT id FROM problem")]
    rows = {name: [row] for name, row in arms.items()}
    return audit.sample(ledger, rows, ids, verifier=VERIFIER, size=size, seed=seed)


def test_easy_problems_with_many_correct_draws_do_not_fill_the_sample(ledger: Ledger) -> None:
    easy, hard = questions(10, "easy"), questions(10, "hard")
    texts = [["ok"] * 30] * 10 + [["ok"]] * 10
    key = sampled(ledger, {"cheap": add(ledger, "cheap", easy + hard, texts)}, 20)
    assert Counter(i.stratum for i in key.items) == {"easy": 10, "hard": 10}
    assert max(Counter(i.problem for i in key.items).values()) == 1
    assert key.strata == {"cheap": {"easy": 300, "hard": 10}}


def test_weights_add_up_to_the_retained_solutions(ledger: Ledger) -> None:
    texts = [["ok"] * n for n in (1, 2, 3, 5, 8, 13)]
    row = add(ledger, "cheap", questions(6), texts)
    for size in (3, 6, 10, 32):
        totals = [
            sum(i.weight for i in sampled(ledger, {"cheap": row}, size, seed).items) for seed in range(300)
        ]
        assert np.mean(totals) == pytest.approx(32, rel=0.06)


def test_the_rate_is_of_all_retained_solutions_though_the_sample_is_not_proportional(ledger: Ledger) -> None:
    # easy problems: 8 draws each, none flawed; hard ones: one draw each, all flawed. 10 of 90 are flawed
    texts = [["sound"] * 8] * 10 + [["flawed"]] * 10
    row = add(ledger, "cheap", questions(10, "easy") + questions(10, "hard"), texts)
    key = sampled(ledger, {"cheap": row}, 20)
    got = audit.conclude(key, truth(ledger, key))["models"]["cheap"]
    assert got["false_positive_rate"]["value"] == pytest.approx(10 / 90)
    assert got["human"]["flawed"] / got["human"]["labels"] == 0.5  # what plain counting would have said
    assert got["per_problem"]["value"] == pytest.approx(0.5)
    assert got["by_level"]["hard"]["value"] == 1


def truth(ledger: Ledger, key: Key) -> dict[int, bool]:
    texts = dict(ledger.rows("SELECT draw, text FROM draw_text"))
    return {i.draw: "flawed" not in texts[i.draw] for i in key.items}


def test_labels_missing_in_a_level_leave_its_weight_to_the_others_there(ledger: Ledger) -> None:
    texts = [["sound"]] * 10 + [["flawed"]] * 10
    row = add(ledger, "cheap", questions(10, "easy") + questions(10, "hard"), texts)
    key = sampled(ledger, {"cheap": row}, 20)
    labels = truth(ledger, key)
    for item in [i for i in key.items if i.stratum == "hard"][:8]:
        del labels[item.draw]
    got = audit.conclude(key, labels)["models"]["cheap"]
    assert got["false_positive_rate"]["value"] == pytest.approx(0.5)


def test_only_correct_draws_are_audited_and_the_sheet_is_blind(ledger: Ledger, tmp_path: Path) -> None:
    problems = questions(4)
    arms = {
        name: add(ledger, name, problems, [[f"{name[0]} because 2+2=4", "-wrong"]] * 4)
        for name in ("weakling", "strongman")
    }
    key = sampled(ledger, arms, 10)
    page, secret = audit.export(tmp_path / "sheet.csv", key, shown(ledger, key, problems), "audit")
    for path in (tmp_path / "sheet.csv", page):
        text = path.read_text()
        assert not [name for name in arms if name in text]
        assert "wrong" not in text
    rows = list(csv.DictReader((tmp_path / "sheet.csv").open()))
    assert list(rows[0]) == ["id", "problem", "solution", "verdict"]
    assert len(rows) == 8
    assert {row["verdict"] for row in rows} == {""}
    assert Key.load(secret) == key


def shown(ledger: Ledger, key: Key, problems: Sequence[Problem]) -> list[audit.Entry]:
    return audit.entries(ledger, key, dict(zip(ledger.add_problems(problems), problems, strict=True)))


def test_arms_are_shuffled_together_and_the_same_seed_makes_the_same_sheet(ledger: Ledger) -> None:
    arms = {name: add(ledger, name, questions(20), [["ok"]] * 20) for name in ("a", "b")}
    key = sampled(ledger, arms, 20)
    order = [i.arm for i in key.items]
    assert order != sorted(order)
    assert sampled(ledger, arms, 20) == key
    assert sampled(ledger, arms, 20, seed=1) != key


def test_a_larger_sample_holds_the_smaller_one_under_the_same_ids(ledger: Ledger) -> None:
    texts = [["ok"] * n for n in (1, 2, 3, 5, 8, 13)]
    arms = {name: add(ledger, name, questions(6, "easy") + questions(6, "hard"), texts * 2) for name in "ab"}
    chosen = [{(i.id, i.draw) for i in sampled(ledger, arms, size).items} for size in (1, 5, 9, 30, 100)]
    for smaller, larger in pairwise(chosen):
        assert smaller < larger
    assert len(chosen[-1]) == 2 * 2 * 32


def test_what_models_wrote_can_run_neither_in_a_browser_nor_in_a_spreadsheet(
    ledger: Ledger, tmp_path: Path
) -> None:
    problems = questions(2)
    texts = [["=HYPERLINK(1)"], ["</script><script>alert(1)</script><!-- &amp;"]]
    key = sampled(ledger, {"cheap": add(ledger, "cheap", problems, texts)}, 5)
    page, _ = audit.export(tmp_path / "sheet.csv", key, shown(ledger, key, problems), "<b>")
    text = page.read_text()
    assert text.count("</script>") == 2
    assert "<title>&lt;b&gt;</title>" in text
    assert "innerHTML" not in text
    assert "http" not in text.replace("http-equiv", "")
    cells = {row["solution"] for row in csv.DictReader((tmp_path / "sheet.csv").open())}
    assert "'=HYPERLINK(1)" in cells


@pytest.fixture
def key(ledger: Ledger) -> Key:
    return sampled(ledger, {"cheap": add(ledger, "cheap", questions(3), [["ok"]] * 3)}, 3)


def label(path: Path, rows: Sequence[tuple[str, str]], header: str = "id,verdict", sep: str = ",") -> Path:
    path.write_text("\n".join([header, *(sep.join(row) for row in rows)]), encoding="utf-8-sig")
    return path


def test_labels_are_read_back_by_id_whatever_the_spreadsheet_did_to_the_file(
    key: Key, tmp_path: Path
) -> None:
    a, b, c = key.items
    rows = [(c.id, "flawed"), (a.id, "1"), (b.id, " ")]
    expected = {c.draw: False, a.draw: True}
    assert audit.read_labels(label(tmp_path / "a.csv", rows), key) == expected
    assert audit.read_labels(label(tmp_path / "b.csv", rows, "id;verdict", ";"), key) == expected


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([("nobody", "1")], r"a.csv:2: id 'nobody' is not of this audit"),
        ([("0", "yes")], r"a.csv:2: verdict 'yes': write 1 \(sound\), 0 \(flawed\)"),
        ([("0", "1"), ("0", "0")], r"a.csv:3: id .* has two different verdicts"),
        ([("0", "")], r"a.csv: no verdict filled in"),
        ([], r"a.csv: no verdict filled in"),
    ],
)
def test_a_bad_sheet_is_one_line_that_names_the_row(
    key: Key, tmp_path: Path, rows: list[tuple[str, str]], says: str
) -> None:
    given = [(key.items[int(i)].id if i.isdigit() else i, verdict) for i, verdict in rows]
    with pytest.raises(InputError, match=says) as raised:
        audit.read_labels(label(tmp_path / "a.csv", given), key)
    assert "\n" not in str(raised.value)


def test_a_file_that_is_no_sheet_or_no_key_is_one_line(key: Key, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no column 'verdict'"):
        audit.read_labels(label(tmp_path / "a.csv", [], "id,problem"), key)
    with pytest.raises(InputError, match="no such file"):
        audit.read_labels(tmp_path / "absent.csv", key)
    (tmp_path / "bad.json").write_text("{}")
    with pytest.raises(InputError, match="not an audit's key"):
        Key.load(tmp_path / "bad.json")
    with pytest.raises(InputError, match="no audit here yet"):
        Key.load(tmp_path / "absent.json")


def test_nothing_correct_is_nothing_to_audit(ledger: Ledger) -> None:
    with pytest.raises(InputError, match="no correct draw to audit"):
        sampled(ledger, {"cheap": add(ledger, "cheap", questions(2), [["-"]] * 2)}, 5)


def test_a_judges_labels_are_corrected_by_the_draws_that_people_labelled_too(ledger: Ledger) -> None:
    texts = [["flawed" if i % 4 == 0 else "sound"] for i in range(400)]
    key = sampled(ledger, {"cheap": add(ledger, "cheap", questions(400), texts)}, 400)
    true = truth(ledger, key)
    rng = np.random.default_rng(0)
    judge = {d: sound if rng.random() < 0.9 else not sound for d, sound in true.items()}
    human = dict(list(true.items())[:150])
    got = audit.conclude(key, human, judge)
    arm = got["models"]["cheap"]
    assert arm["from"] == "people and judge"
    assert arm["judge"]["rate"]["value"] > 0.28  # the judge alone is off
    rate, alone = arm["false_positive_rate"], arm["human"]["rate"]
    assert rate["low"] < 0.25 < rate["high"]
    assert rate["high"] - rate["low"] < alone["high"] - alone["low"]
    assert arm["judge"]["corrected"]["low"] < 0.25 < arm["judge"]["corrected"]["high"]
    assert got["judge"]["sensitivity"]["value"] == pytest.approx(0.9, abs=0.1)


def test_a_judge_narrows_the_interval_as_much_as_its_skill_allows(ledger: Ledger) -> None:
    texts = [["flawed" if i % 4 == 0 else "sound"] for i in range(400)]
    key = sampled(ledger, {"cheap": add(ledger, "cheap", questions(400), texts)}, 400)
    true = truth(ledger, key)
    ratios = []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        judge = {d: sound if rng.random() < 0.9 else not sound for d, sound in true.items()}
        human = {int(d): true[int(d)] for d in rng.choice(list(true), 150, replace=False)}
        arm = audit.conclude(key, human, judge)["models"]["cheap"]
        together, alone = arm["false_positive_rate"], arm["human"]["rate"]
        ratios.append((together["high"] - together["low"]) / (alone["high"] - alone["low"]))
    assert (
        np.mean(ratios) < 0.85
    )  # a control variate with this correlation: sqrt(1 - 0.57 x (1 - 150/400)) = 0.80


def test_an_arm_that_people_did_not_label_is_corrected_by_what_they_labelled_of_another(
    ledger: Ledger,
) -> None:
    texts = [["flawed" if i % 4 == 0 else "sound"] for i in range(300)]
    arms = {name: add(ledger, name, questions(300), texts) for name in ("seen", "unseen")}
    key = sampled(ledger, arms, 300)
    true = truth(ledger, key)
    rng = np.random.default_rng(0)
    judge = {d: sound if rng.random() < 0.85 else not sound for d, sound in true.items()}
    human = {i.draw: true[i.draw] for i in key.items if i.arm == "seen"}
    arm = audit.conclude(key, human, judge)["models"]["unseen"]
    assert arm["from"] == "judge, corrected"
    rate = arm["false_positive_rate"]
    assert rate["low"] < 0.25 < rate["high"]
    assert abs(rate["value"] - 0.25) < abs(arm["judge"]["rate"]["value"] - 0.25)


def test_without_people_a_judge_is_not_taken_at_its_word(key: Key) -> None:
    got = audit.conclude(key, {}, {i.draw: True for i in key.items})
    assert got["judge"] is None
    assert got["models"]["cheap"]["false_positive_rate"] is None
    assert got["models"]["cheap"]["judge"]["rate"]["value"] == 0


def test_two_arms_that_cannot_be_told_apart_are_said_to_be_so(ledger: Ledger) -> None:
    arms = {
        name: add(ledger, name, questions(50), [["flawed" if i < n else "sound"] for i in range(50)])
        for name, n in (("weak", 12), ("strong", 8))
    }
    key = sampled(ledger, arms, 50)
    (row,) = audit.conclude(key, truth(ledger, key))["differences"]
    assert row["points"]["value"] == pytest.approx(0.08)
    assert not row["shown"]
    assert row["needed"] > 200
    assert "cannot tell" in row["says"]


@pytest.mark.skipif(not PROCESSBENCH.is_file(), reason=f"no {PROCESSBENCH}: the shared data is not here")
def test_the_human_sheet_reproduces_processbenchs_seven_in_two_hundred(
    ledger: Ledger, tmp_path: Path
) -> None:
    rows: list[dict[str, Any]] = json.loads(PROCESSBENCH.read_text())
    problems = list({r["problem"]: Problem(r["problem"][:60], r["problem"], "?") for r in rows}.values())
    texts: dict[str, list[str]] = {p.question: [] for p in problems}
    flawed = {}
    for r in rows:
        text = "\n\n".join(r["steps"])
        texts[r["problem"]].append(text if r["final_answer_correct"] else f"-{text}")
        flawed[text] = r["label"] != -1
    key = sampled(ledger, {"all": add(ledger, "all", problems, [texts[p.question] for p in problems])}, 1000)
    audit.export(tmp_path / "sheet.csv", key, shown(ledger, key, problems), "audit")
    drawn = dict(ledger.rows("SELECT draw, text FROM draw_text"))
    right = {i.id: "0" if flawed[drawn[i.draw]] else "1" for i in key.items}
    with (tmp_path / "sheet.csv").open() as file:
        given = [(row["id"], right[row["id"]]) for row in csv.DictReader(file)]
    labels = audit.read_labels(label(tmp_path / "labelled.csv", given), key)
    got = audit.conclude(key, labels)["models"]["all"]
    assert got["human"]["labels"] == 200
    assert got["human"]["flawed"] == 7
    assert got["false_positive_rate"]["value"] == pytest.approx(7 / 200)


DOM = """
const fs = require("fs");
const page = fs.readFileSync(process.argv[2], "utf8");
const [, entries] = page.match(/<script id="entries" type="application\\/json">(.*?)<\\/script>/s);
const [, script] = page.match(/<script>\\n(.*?)<\\/script>/s);
const nodes = {}, listeners = {}, stored = {};
const node = (id) => nodes[id] ??= { attributes: {}, setAttribute(k, v) { this.attributes[k] = v; }, addEventListener() {} };
node("entries").textContent = entries;
let exported = null;
globalThis.document = { getElementById: node, addEventListener: (n, f) => { listeners[n] = f; },
  createElement: () => ({ click() {} }) };
globalThis.window = { scrollTo() {} };
Object.defineProperty(globalThis, "localStorage", { value: { getItem: (k) => stored[k] ?? null, setItem: (k, v) => { stored[k] = v; } } });
globalThis.Blob = class { constructor(parts) { exported = parts.join(""); } };
globalThis.URL = { createObjectURL: () => "", revokeObjectURL() {} };
const press = (key) => listeners.keydown({ key, preventDefault() {} });
new Function(script)();
["1", "0", "k", "u", "1", "j"].forEach(press);
new Function(script)();  // opened again: what was labelled is still there
press("e");
fs.writeFileSync(process.argv[3], exported);
"""


@pytest.mark.skipif(
    shutil.which("node") is None, reason="node is not installed: the page's keys are not tried"
)
def test_the_page_labels_by_keyboard_remembers_and_exports_the_sheet(ledger: Ledger, tmp_path: Path) -> None:
    problems = questions(3)
    key = sampled(ledger, {"cheap": add(ledger, "cheap", problems, [['a, "b"\n=c']] * 3)}, 3)
    page, _ = audit.export(tmp_path / "sheet.csv", key, shown(ledger, key, problems), "audit")
    (tmp_path / "dom.js").write_text(DOM)
    subprocess.run(
        ["node", str(tmp_path / "dom.js"), str(page), str(tmp_path / "labelled.csv")], check=True, timeout=30
    )
    first, second, _ = key.items  # 1 on the first, 0 on the second, back, undone, 1 instead
    labels = audit.read_labels(tmp_path / "labelled.csv", key)
    assert labels == {first.draw: True, second.draw: True}
