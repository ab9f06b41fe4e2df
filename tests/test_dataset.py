import dataclasses
import json
import socket
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

import pytest
import yaml

import prompts
from toolkit import dataset, spec
from toolkit.cost import price as priced
from toolkit.cost import price_row
from toolkit.errors import InputError
from toolkit.ledger import Intent, Ledger, Settlement
from toolkit.types import Choice, Finish, Outcome, Problem, Usage, Verdict

PROMPT = Template("Solve it. Cost is $$1.\n$question")
VERIFIER = ("math", "3")
PRICE = spec.Price(input="0.3", output="2.5", date="2026-11-20", source="vendor's page")
HALF = {"value": 0.5, "low": 0.4, "high": 0.6}
FACTS = {
    "match": "price",
    "source": "builtin:word-problems train",
    "licence": "Apache-2.0",
    "terms": "https://vendor.example/terms",
    "metrics": {
        "cheap": {
            "draws": 12,
            "problems": 3,
            "planned": 4,
            "coverage": {"1": HALF, "4": HALF | {"value": 0.55}},
            "diversity": {"4": {"unique_per_solved": {"value": 2, "low": 1.5, "high": 2.5}}},
            "curve": [{"k": 1}],
            "false_positive_rate": None,
        }
    },
}


@dataclass
class World:
    ledger: Ledger
    arm: int
    problems: dict[int, Problem]
    root: Path

    @property
    def directory(self) -> Path:
        return self.root / "cheap"

    def material(self, **more: Any) -> dataset.Material:
        fields = {f.name: more.pop(f.name) for f in dataclasses.fields(dataset.Material) if f.name in more}
        known = {"verifier": VERIFIER, "problems": self.problems, "spec": spec.Dataset(**more)}
        return dataset.Material(reader=self.ledger, prompt=PROMPT, **(known | fields))

    def build_all(
        self, arms: dict[str, list[dataset.Part]] | None = None, **more: Any
    ) -> dict[str, dataset.Summary]:
        """Every dataset; keys of the run file's `dataset`, or fields of Material, as keywords."""
        arms = {"cheap": [dataset.Drawn(self.arm)]} if arms is None else arms
        built = dataset.build(self.material(**more), arms, self.root, lambda _: FACTS)
        return {summary.arm: summary for summary in built}

    def build(self, draws: int | None = None, **more: Any) -> dataset.Summary:
        return self.build_all({"cheap": [dataset.Drawn(self.arm, draws)]}, **more)["cheap"]

    def rows(self, name: str = "cheap") -> list[dict[str, Any]]:
        from datasets import load_from_disk

        return list(load_from_disk(str(self.root / name)))


# problem, idx, text, outcome, norm_sha
DRAWS = (
    (1, 0, " 2 + 2 = 4. The answer is 4.\nQ: What is 9 + 9? The answer is 18.", Outcome.CORRECT, "a"),
    (1, 1, "2 + 2 = 5. The answer is 5.", Outcome.INCORRECT, "b"),
    (1, 2, "2 + 2 is 4. The answer is 4.", Outcome.CORRECT, "c"),
    (1, 3, "2  + 2 is 4. The answer is 4.", Outcome.CORRECT, "c"),
    (0, 0, "Nothing.", Outcome.UNPARSABLE, "d"),
    (0, 1, "1 + 1 = 2. The answer is 2.", Outcome.CORRECT, "e"),
    (2, 0, "3 + 3 = 7. The answer is 7.", Outcome.TIMEOUT, "f"),
)


@pytest.fixture
async def world(tmp_path: Path) -> World:
    questions = ["What is 1 + 1?", "What is $2 + $2?", "What is 3 + 3?"]
    problems = [Problem(f"p{i}", q, str(2 * i + 2)) for i, q in enumerate(questions)]
    ledger = Ledger(tmp_path / "ledger.sqlite")
    arm = ledger.add_arm("cheap", "flash", "openai_compatible", {"temperature": 0.7, "top_k": 3}, "sha")
    keys = ledger.add_problems(problems)
    row = ledger.add_price(price_row("flash", priced(PRICE)))
    verdicts = []
    for problem, idx, text, outcome, norm_sha in DRAWS:
        attempt = await ledger.reserve(Intent(arm, keys[problem], idx, 1, 10**9, price_id=row))
        usage = Usage(prompt=10, output=20)
        cost = priced(PRICE).cost(usage)
        await ledger.settle(attempt, Settlement([Choice(text, Finish.STOP)], usage, cost))
        (draw,) = next(ledger.rows("SELECT id FROM draw WHERE attempt=?", (attempt,)))
        verdicts.append((draw, "4", Verdict(outcome, None, norm_sha)))
    ledger.add_verdicts(*VERIFIER, verdicts)
    ledger.add_verdicts("math", "2", [(d, g, Verdict(Outcome.CORRECT, None, "z")) for d, g, _ in verdicts])
    return World(ledger, arm, dict(zip(keys, problems, strict=True)), tmp_path / "dataset")


def test_only_correct_draws_of_this_verifier_become_rows_in_order(world: World) -> None:
    summary = world.build()
    assert [(r["problem"], r["idx"]) for r in world.rows()] == [("p0", 1), ("p1", 0), ("p1", 2), ("p1", 3)]
    assert {r["verdict"] for r in world.rows()} == {"correct"}
    assert (summary.arm, summary.rows, summary.problems, summary.skipped) == ("cheap", 4, 2, None)
    said = json.loads((world.directory / "summary.json").read_text())
    assert said == json.loads(json.dumps(dataclasses.asdict(summary)))


def test_the_prompt_is_the_text_the_model_was_asked(world: World) -> None:
    world.build()
    asked = {p.id: prompts.render(PROMPT, question=p.question) for p in world.problems.values()}
    assert asked["p1"] == "Solve it. Cost is $1.\nWhat is $2 + $2?"
    for row in world.rows():
        assert row["prompt"] == [{"role": "user", "content": asked[row["problem"]]}]


def test_a_solution_ends_where_the_model_began_a_problem_of_its_own(world: World) -> None:
    world.build()
    texts = {(r["problem"], r["idx"]): r["completion"] for r in world.rows()}
    assert texts["p1", 0] == [{"role": "assistant", "content": "2 + 2 = 4. The answer is 4."}]


def test_neither_the_gold_answer_nor_the_human_solution_is_ever_in_a_prompt(world: World) -> None:
    """Trap 14."""
    for key, problem in list(world.problems.items()):
        world.problems[key] = dataclasses.replace(problem, answer="GOLD", solution="#### GOLD")
    world.build(include_gold=True)
    assert not [row for row in world.rows() if "GOLD" in row["prompt"][0]["content"]]
    assert sum("GOLD" in row["completion"][0]["content"] for row in world.rows()) == 3


def test_every_row_names_its_draw_attempt_price_and_model(world: World) -> None:
    world.build()
    known = {
        r[0]: r
        for r in world.ledger.rows(
            "SELECT d.id, d.idx, d.attempt, a.price_id FROM draw d JOIN attempt a ON a.id=d.attempt"
        )
    }
    for row in world.rows():
        assert known[row["draw"]] == (row["draw"], row["idx"], row["attempt"], row["price_id"])
        assert (row["arm"], row["model"]) == ("cheap", "flash")


def test_parquet_holds_the_same_rows(world: World) -> None:
    import pyarrow.parquet

    world.build()
    assert pyarrow.parquet.read_table(world.directory / "data.parquet").to_pylist() == world.rows()
    assert [json.loads(line) for line in (world.directory / "data.jsonl").open()] == world.rows()


def test_normalised_dedup_keeps_the_first_of_equal_solutions(world: World) -> None:
    world.build(dedup="normalised")
    assert [(r["problem"], r["idx"]) for r in world.rows()] == [("p0", 1), ("p1", 0), ("p1", 2)]


def test_draws_beyond_the_plan_and_problems_outside_the_run_are_left_out(world: World) -> None:
    world.build(draws=1)
    assert [(r["problem"], r["idx"]) for r in world.rows()] == [("p1", 0)]
    del world.problems[min(world.problems)]
    world.build()
    assert {r["problem"] for r in world.rows()} == {"p1"}


def test_an_arm_without_a_correct_draw_is_skipped_and_its_older_rows_are_gone(world: World) -> None:
    world.build()
    unlucky = {key: p for key, p in world.problems.items() if p.id == "p2"}
    summary = world.build(problems=unlucky)
    assert summary.skipped == "no correct draw"
    assert [p.name for p in world.directory.iterdir()] == ["summary.json"]
    assert json.loads((world.directory / "summary.json").read_text())["skipped"] == "no correct draw"


def test_draws_that_were_never_judged_are_an_error_of_one_line_and_not_an_empty_dataset(world: World) -> None:
    world.build()
    before = world.rows()
    with pytest.raises(InputError, match=r"no verdict of math 99 .*run `pricematch verify` first$"):
        world.build(verifier=("math", "99"))
    assert world.rows() == before


def test_the_card_states_spend_prices_decoding_verifier_and_matching(world: World) -> None:
    world.build()
    card = (world.directory / "README.md").read_text()
    header = yaml.safe_load(card.split("---\n")[1])["pricematch"]
    cost = len(DRAWS) * (10 * 0.3 + 20 * 2.5) / 10**6
    assert header["spend_usd"] == pytest.approx(cost)
    assert f"${cost:.6f}" in card
    (price,) = header["prices"]
    assert (price["input"], price["output"]) == (0.3, 2.5)
    assert (price["date"], price["source"]) == ("2026-11-20", "vendor's page")
    assert header["decoding"] == {"temperature": 0.7, "top_k": 3}
    assert header["verifier"] == "math 3"
    assert header["match"] == "price"
    assert "matched by cost: equal money spent." in card
    assert "https://vendor.example/terms" in card
    assert (header["metrics"]["cheap"]["k"], header["metrics"]["cheap"]["coverage"]["value"]) == (4, 0.55)
    assert (
        "\n* cheap: 12 draws to 3 problems; coverage@4 55.0 % [40.0, 60.0]; 2.00 [1.50, 2.50] distinct correct "
        "solutions@4 per solved problem; right answers by wrong reasoning: not measured\n" in card
    )


def test_a_price_with_tiers_and_a_fee_per_request_is_quoted_in_dollars(world: World) -> None:
    rates = {"input": 300_000, "cached": 30_000, "output": 2_500_000, "thinking": 2_500_000}
    above = {"128000": {kind: 2 * rate for kind, rate in rates.items()}}
    row = {"model": "m", "date": "2026-01-02", "source": "page", "request": 10**10, "above": above, **rates}
    price = world.ledger.add_price(row)
    with sqlite3.connect(world.ledger.path) as db:
        db.execute("UPDATE attempt SET price_id=?", (price,))
    world.build()
    assert (
        f"flash: input $0.3, cached $0.03, output $2.5, thinking $2.5; prompts above 128,000 tokens: "
        f"input $0.6, cached $0.06, output $5, thinking $5; $0.01 per request (2026-01-02, page; `price_id` {price})"
        in (world.directory / "README.md").read_text()
    )


def test_an_unpriced_arm_says_so_instead_of_zero(world: World) -> None:
    arm = world.ledger.add_arm("given", "elsewhere", "imported", {}, "other")
    world.ledger.import_draws(arm, [(key, 0, "The answer is 2.", None) for key in world.problems])
    draws = [d for (d,) in world.ledger.rows("SELECT id FROM draw WHERE arm=?", (arm,))]
    world.ledger.add_verdicts(*VERIFIER, [(d, "2", Verdict(Outcome.CORRECT, "2", "f")) for d in draws])
    world.build_all({"given": [dataset.Drawn(arm)]})
    card = (world.root / "given" / "README.md").read_text()
    assert yaml.safe_load(card.split("---\n")[1])["pricematch"]["spend_usd"] is None
    assert "cost not priced" in card
    assert [r["price_id"] for r in world.rows("given")] == [None] * 3


def test_a_rebuild_writes_the_same_rows_to_the_byte(world: World) -> None:
    world.build()
    (arrow,) = world.directory.glob("*.arrow")
    before = arrow.read_bytes()
    world.build()
    assert arrow.read_bytes() == before
    assert sorted(p.name for p in world.directory.parent.iterdir()) == ["cheap"]


def test_a_failed_build_leaves_the_older_dataset(world: World) -> None:
    world.build()
    before = world.rows()
    with pytest.raises(sqlite3.ProgrammingError):
        world.build(verifier=("math", object()))
    assert world.rows() == before


def test_building_needs_no_network(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert world.build().rows == 4
