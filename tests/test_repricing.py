"""The same draws at other prices: the ledger and metrics.json stay as they are."""

import json
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml

from toolkit import catalog, cli, repricing
from toolkit.errors import InputError
from toolkit.spec import Model, Price

WORLD = """
name: little
answer: "The answer is $answer."
models:
  small: {ability: {a: 0.7, b: 0.9}, tokens: {mean: 70, sd: 20}, price: {input: 0.1, output: 0.4}, max_n: 8}
  large: {ability: {a: 0.9, b: 0.6}, tokens: {mean: 70, sd: 20}, price: {input: 0.3, output: 0.3}, max_n: 8}
"""
Cli = Callable[..., tuple[int, str, str]]


def model(name: str, **facts: Any) -> Model:
    return Model.model_validate({"provider": "gemini", "model": name, **facts})


MODELS = {
    "cheap": model("gemini-1.5-flash", price={"input": 9, "output": 9}),
    "strong": model("gemini-1.5-pro", price={"input": 9, "output": 9}),
}


# --- which prices --------------------------------------------------------------------------------


def test_a_day_means_the_catalogs_prices_of_that_day() -> None:
    asked = repricing.wanted("2024-09-01", MODELS)
    outputs = {key: str(price.output) for key, price in asked.prices.items() if price}
    assert outputs == {"cheap": "0.30", "strong": "10.50"}
    assert "2024-09-01" in asked.by


def test_a_model_without_a_price_stays_unpriced_on_any_day() -> None:
    local = {"local": model("google/gemma-2-9b-it"), **MODELS}
    assert repricing.wanted("2024-09-01", local).prices["local"] is None


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("gemini-2.5-pro", ("models.m", "first price", "2025-06-17", "later day")),
        ("gemini-1.5-flahs", ("models.m", "no price of", "did you mean 'gemini-1.5-flash'?", "file")),
    ],
)
def test_a_day_without_a_price_is_one_line_with_the_mend(name: str, words: tuple[str, ...]) -> None:
    with pytest.raises(InputError) as said:
        repricing.wanted("2024-09-01", {"m": model(name, price={"input": 1, "output": 1})})
    assert all(word in str(said.value) for word in words), said.value
    assert "\n" not in str(said.value)


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("p.yaml", "cheap: {input: 2, output: 3, above: {128000: {input: 4, output: 6}}}"),
        ("p.toml", '[cheap]\ninput = "2"\noutput = "3"\nabove.128000 = { input = "4", output = "6" }'),
        ("p.yaml", "gemini-1.5-flash: {input: 2, output: 3, above: {128000: {input: 4, output: 6}}}"),
    ],
)
def test_a_file_prices_models_by_either_name_and_leaves_the_others(
    tmp_path: Path, file: str, text: str
) -> None:
    (tmp_path / file).write_text(text)
    prices = repricing.wanted(str(tmp_path / file), MODELS).prices
    assert prices["cheap"] is not None
    assert (prices["cheap"].output, prices["cheap"].above[128000].output) == (3, 6)
    assert prices["cheap"].source == str(tmp_path / file)
    assert prices["strong"] == MODELS["strong"].price


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("chaep: {input: 1, output: 1}", ("chaep", "did you mean 'cheap'?")),
        ("cheap: {input: 1}", ("cheap.output", "required")),
        ("cheap: {input: -1, output: 1}", ("cheap.input", "greater than or equal to 0")),
        ("cheap: {input: 1, output: 1, outptu: 1}", ("cheap", "unknown key 'outptu'", "'output'")),
        ("cheap: 3", ("cheap", "dictionary")),
        ("", ("not a mapping",)),
        ("a: [", ("cannot be read",)),
    ],
)
def test_a_wrong_file_of_prices_is_one_line(tmp_path: Path, text: str, words: tuple[str, ...]) -> None:
    file = tmp_path / "p.yaml"
    file.write_text(text)
    with pytest.raises(InputError) as said:
        repricing.wanted(str(file), MODELS)
    assert all(word in str(said.value) for word in ("p.yaml", *words)), said.value
    assert "\n" not in str(said.value)


def test_what_is_neither_a_day_nor_a_file_is_one_line() -> None:
    with pytest.raises(InputError, match=r"2024-13-99: neither a day .* nor a file"):
        repricing.wanted("2024-13-99", MODELS)


# --- a run ---------------------------------------------------------------------------------------


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Cli:
    """Run the command in-process, in an empty folder: (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["pricematch", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return ended.value.code, said.out, said.err

    return call


@pytest.fixture
def sampled(run: Cli, tmp_path: Path) -> Path:
    """A small run, sampled and verified."""
    (tmp_path / "world.yaml").write_text(WORLD)
    simulated = {"provider": "simulated", "world": "world.yaml"}
    content = {
        "name": "little",
        "problems": {"source": "builtin:word-problems", "limit": 10},
        "decoding": {"max_tokens": 300},
        "models": {"cheap": simulated | {"model": "small"}, "strong": simulated | {"model": "large"}},
        "budget": {"usd": 0.005, "match": "price", "cap_usd": 0.02},
        "metrics": {"resamples": 100},
    }
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(content))
    for verb in ("sample", "verify"):
        assert run(verb, "run.yaml")[0] == 0
    return tmp_path / "runs" / "little"


def test_other_prices_leave_the_ledger_and_the_metrics_as_they_are(
    run: Cli, sampled: Path, tmp_path: Path
) -> None:
    assert run("measure", "run.yaml")[0] == 0
    metrics = (sampled / "metrics.json").read_bytes()
    ledger = (sampled / "ledger.sqlite").read_bytes()
    (tmp_path / "p.yaml").write_text("small: {input: 1, output: 4}\nlarge: {input: 0.3, output: 0.3}\n")
    code, out, _ = run("measure", "run.yaml", "--reprice", "p.yaml", "--json")
    assert code == 0
    assert (sampled / "metrics.json").read_bytes() == metrics
    assert (sampled / "ledger.sqlite").read_bytes() == ledger
    paid = json.loads(metrics)["models"]
    other = json.loads((sampled / "metrics.repriced.json").read_text())
    got = other["models"]
    assert got["cheap"]["usd"] == pytest.approx(10 * paid["cheap"]["usd"])
    assert got["cheap"]["usd_per_correct"]["value"] == pytest.approx(
        10 * paid["cheap"]["usd_per_correct"]["value"]
    )
    assert got["strong"]["usd"] == pytest.approx(paid["strong"]["usd"])
    assert got["cheap"]["coverage"] == paid["cheap"]["coverage"]
    assert other["repriced"]["prices"]["cheap"]["output"] == 4
    assert json.loads(out) == json.loads(metrics) | {"repriced": other}


def test_both_moneys_stand_side_by_side_with_what_repricing_does_not_say(
    run: Cli, sampled: Path, tmp_path: Path
) -> None:
    (tmp_path / "p.yaml").write_text("cheap: {input: 0.2, output: 0.8}\n")
    _, out, _ = run("measure", "run.yaml", "--reprice", "p.yaml")
    header = next(line for line in out.splitlines() if "paid/correct" in line)
    assert header.index("paid") < header.index("repriced")
    assert repricing.NOTE in out


def test_a_wrong_day_is_refused_before_anything_is_written(run: Cli, sampled: Path) -> None:
    code, _, err = run("measure", "run.yaml", "--reprice", "2024-09-01")
    assert (code, len(err.strip().splitlines())) == (2, 1)
    assert "models.cheap: the catalog has no price of small" in err
    assert not (sampled / "metrics.json").exists()


def test_the_ledger_recorded_the_whole_price_it_was_run_at(run: Cli, tmp_path: Path) -> None:
    """A tier and a fee of the run file end up in the price row that every attempt names."""
    import sqlite3

    from toolkit import cost

    (tmp_path / "world.yaml").write_text(WORLD)
    price = {"input": 1, "output": 4, "above": {200: {"input": 2, "output": 8}}, "per_request": "0.000001"}
    price |= {"date": "2026-11-01", "source": "a page"}
    content = {
        "name": "priced",
        "problems": {"source": "builtin:word-problems", "limit": 3},
        "decoding": {"max_tokens": 300},
        "models": {
            "cheap": {"provider": "simulated", "model": "small", "world": "world.yaml", "price": price}
        },
        "budget": {"draws": 2, "cap_usd": 1},
    }
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(content))
    assert run("sample", "run.yaml")[0] == 0
    with sqlite3.connect(tmp_path / "runs" / "priced" / "ledger.sqlite") as db:
        ((row,),) = db.execute(
            "SELECT DISTINCT row_json FROM price p JOIN attempt a ON a.price_id=p.id WHERE a.state='settled'"
        )
    assert cost.from_row(json.loads(row)) == cost.price(Price.model_validate(price))


# --- prices --------------------------------------------------------------------------------------


def test_prices_of_a_day_are_the_rows_that_held(run: Cli) -> None:
    _, out, _ = run("prices", "gemini-1.5-pro", "--on", "2024-09-01", "--json")
    (row,) = json.loads(out)
    assert (row["date"], row["output"], row["long prompts"]) == ("2024-05-30", 10.5, ">128000: 7.00/21.00")
    assert run("prices", "--on", "yesterday")[0] == 2


def test_prices_diff_prints_both_sides_and_exits_with_0(run: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def dearer(on: date) -> Callable[[catalog.Entry], Price]:
        return lambda entry: Price(input=99, output=99)  # type: ignore[arg-type]

    monkeypatch.setattr("toolkit.price_check.genai_prices", dearer)
    code, out, _ = run("prices", "diff", "gpt-4.1-nano", "--json")
    assert code == 0
    assert {"model": "gpt-4.1-nano", "field": "input", "ours": "0.1", "theirs": "99"} in json.loads(out)
    assert run("prices", "diff")[0] == 0


@pytest.mark.parametrize("asked", [["gpt-4.1-min"], ["diff", "gpt-4.1-min"]])
def test_an_unknown_model_names_the_nearest(run: Cli, asked: list[str]) -> None:
    code, _, err = run("prices", *asked)
    assert (code, len(err.strip().splitlines())) == (2, 1)
    assert "did you mean 'gpt-4.1-mini'?" in err
