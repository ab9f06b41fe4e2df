"""Run files: every mistake is one line with file, key and mend; what is resolved reads back the same."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml

from toolkit import config
from toolkit.errors import InputError
from toolkit.spec import Decoding, Model, Run

EXAMPLES = sorted((Path(__file__).parents[1] / "examples").glob("*.yaml"))
BASE: dict[str, Any] = {
    "name": "r",
    "problems": {"source": "builtin:word-problems"},
    "decoding": {"temperature": 0.7, "top_k": 3, "max_tokens": 64},
    "models": {
        "cheap": {"provider": "openai_compatible", "model": "a", "base_url": "http://a/v1"},
        "strong": {"provider": "openai_compatible", "model": "b", "base_url": "http://b/v1"},
    },
    "budget": {"usd": 5},
}


def written(folder: Path, changes: dict[str, Any] | None = None, text: str | None = None) -> Path:
    """A run file: the base with `changes` by dotted key (None removes), or a text as it is."""
    data = yaml.safe_load(yaml.safe_dump(BASE))
    for path, value in (changes or {}).items():
        *sections, last = path.split(".")
        here = data
        for section in sections:
            here = here.setdefault(section, {})
        here[last] = value
        if value is None:
            del here[last]
    file = folder / "run-file.yaml"
    file.write_text(yaml.safe_dump(data) if text is None else text, encoding="utf-8")
    return file


def loaded(folder: Path, changes: dict[str, Any] | None = None, *overrides: str) -> Run:
    return config.load(written(folder, changes), overrides)[0]


def mistake(file: Path, *overrides: str) -> str:
    with pytest.raises(InputError) as error:
        config.load(file, overrides)
    message = str(error.value)
    assert "\n" not in message
    return message


# --- mistakes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"bugdet": {}}, ["bugdet", "'budget'"]),
        ({"models.cheap.thinking": 0}, ["cheap", "thinking is not honoured", "leave it out"]),
        (
            {"models.cheap": {"provider": "gemini", "model": "gemini-2.5-flash", "api": "completions"}},
            ["cheap", "completions", "leave it out"],
        ),
        ({"zzz": 1}, ["zzz", "known keys: name, seed"]),
        ({"budget.match_": "price"}, ["budget", "match_", "'match'"]),
        ({"models.cheap.decoding": {"temprature": 1}}, ["models.cheap.decoding", "'temperature'"]),
        ({"name": None}, ["name", "missing"]),
        ({"budget": None}, ["budget", "missing"]),
        ({"models": None}, ["models", "missing"]),
        ({"models": {}}, ["models", "at least 1"]),
        ({"name": "a/b"}, ["name", "pattern", "'a/b'"]),
        ({"name": "../up"}, ["name", "pattern"]),
        ({"budget.usd": -5}, ["budget.usd", "greater than 0", "-5"]),
        ({"budget.usd": 0}, ["budget.usd", "greater than 0"]),
        ({"budget.draws": 3}, ["budget", "exactly one of usd, flops and draws", "usd and draws"]),
        ({"budget": {"match": "price"}}, ["budget", "exactly one", "none of them"]),
        ({"budget": {"flops": float("inf")}}, ["budget.flops", "finite"]),
        ({"budget.match": "money"}, ["budget.match", "'price', 'flops' or 'samples'", "'money'"]),
        ({"arms": {"x": ["weak"]}}, ["'x'", "'weak'", "models does not have"]),
        ({"models.cheap.base_url": None}, ["models.cheap", "base_url", "https://api.openai.com/v1"]),
        ({"models.cheap.base_url": "localhost:8000/v1"}, ["models.cheap", "base_url", "http://"]),
        ({"models.cheap.provider": "simulated"}, ["models.cheap", "world"]),
        ({"models.cheap.provider": "opnai"}, ["models.cheap.provider", "'openai_compatible'", "'opnai'"]),
        ({"models.cheap.price": {"input": 1}}, ["models.cheap.price.output", "missing"]),
        ({"models.cheap.price": {"input": 1, "output": "0.1234567"}}, ["models.cheap.price.output", "6"]),
        ({"models.cheap.params": 0}, ["models.cheap.params", "greater than 0"]),
        ({"models.cheap.params": "many"}, ["models.cheap.params"]),
        ({"models.cheap.params": "2.5"}, ["models.cheap.params"]),
        ({"decoding.temperature": 2.5}, ["decoding.temperature", "less than or equal to 2", "2.5"]),
        ({"decoding.top_k": 0}, ["decoding.top_k", "greater than 0"]),
        ({"problems.limit": 0}, ["problems.limit", "greater than 0"]),
        ({"problems": "gsm8k"}, ["problems", "dictionary"]),
        ({"models.cheap": ["x"]}, ["models.cheap", "dictionary"]),
    ],
    ids=str,
)
def test_a_mistake_is_one_line_with_file_key_and_mend(
    tmp_path: Path, changes: dict[str, Any], words: list[str]
) -> None:
    file = written(tmp_path, changes)
    message = mistake(file)
    assert message.startswith(f"{file}: ")
    for word in words:
        assert word in message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["empty", "name, problems, models and budget"]),
        ("# only a comment\n", ["empty"]),
        ("- a\n- b\n", ["list", "not a mapping"]),
        ("just text", ["str", "not a mapping"]),
        ("name: a\nmodels: [\n", ["line 3", "not YAML"]),
        ("name: a\n  b: c\n", ["line 2", "not YAML"]),
        ("name: !!python/object:os.system x\n", ["line 1", "not YAML"]),
        ("name: a\ndate: 2026-02-30\n", ["not YAML", "day is out of range", "quotes"]),
        ("name: \x07\n", ["not YAML"]),
    ],
)
def test_what_is_no_run_file_is_said_with_its_line(tmp_path: Path, text: str, words: list[str]) -> None:
    file = written(tmp_path, text=text)
    message = mistake(file)
    assert message.startswith(str(file))
    for word in words:
        assert word in message


def test_a_missing_file_is_named_with_what_to_give(tmp_path: Path) -> None:
    assert "nowhere.yaml: no such file: give a run file" in mistake(tmp_path / "nowhere.yaml")


def test_a_folder_that_is_no_run_directory_is_said(tmp_path: Path) -> None:
    assert str(tmp_path / "run.yaml") in mistake(tmp_path)


def test_a_file_that_is_no_text_is_said(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_bytes(b"\xff\xfe\x00name")
    assert "cannot be read as text" in mistake(file)


def test_several_mistakes_are_counted(tmp_path: Path) -> None:
    changes = {"budget.match": "x", "seed": "x", "decoding.top_k": "x"}
    assert mistake(written(tmp_path, changes)).endswith("(and 2 more)")


# --- values --------------------------------------------------------------------------------------


def test_a_date_need_not_be_quoted(tmp_path: Path) -> None:
    text = written(tmp_path, {"models.cheap.price": {"input": 1, "output": 2}}).read_text()
    file = written(tmp_path, text=text.replace("output: 2", "output: 2\n      date: 2026-11-21"))
    price = config.load(file)[0].models["cheap"].price
    assert price is not None
    assert price.date == "2026-11-21"


def test_prices_are_read_as_they_are_written(tmp_path: Path) -> None:
    price = loaded(tmp_path, {"models.cheap.price": {"input": 0.043296, "output": 0.1}}).models["cheap"].price
    assert price is not None
    assert (price.input, price.output) == (Decimal("0.043296"), Decimal("0.1"))


@pytest.mark.parametrize(
    ("params", "active"),
    [
        (27, 27),
        ("27e9", 27 * 10**9),
        ({"total": "47e9", "active": "13e9"}, 13 * 10**9),
        ({"total": 5}, 5),
        (None, None),
    ],
)
def test_params_are_a_count_or_a_total_with_its_active_part(params: Any, active: int | None) -> None:
    assert Model(provider="checkpoint", model="m", params=params).active_params == active


def test_the_cap_is_the_budget_unless_given(tmp_path: Path) -> None:
    assert loaded(tmp_path).budget.cap == 5
    assert loaded(tmp_path, {"budget.cap_usd": 7}).budget.cap == 7
    assert loaded(tmp_path, {"budget": {"draws": 3}}).budget.cap is None


def test_without_arms_there_is_one_per_model(tmp_path: Path) -> None:
    assert loaded(tmp_path).members() == {"cheap": ("cheap",), "strong": ("strong",)}
    assert loaded(tmp_path, {"arms": {"wc": ["cheap"]}}).members() == {"wc": ("cheap",)}


def test_an_arm_of_several_models_is_drawn_in_parts_that_share_its_budget(tmp_path: Path) -> None:
    run = loaded(
        tmp_path, {"arms": {"wc": ["cheap"], "both": {"models": ["cheap", "strong"], "weights": [3, 1]}}}
    )
    assert run.parts() == {
        "wc": ("wc", "cheap"),
        "both/cheap": ("both", "cheap"),
        "both/strong": ("both", "strong"),
    }
    assert [run.weight("both", m) for m in ("cheap", "strong")] == [0.75, 0.25]
    assert run.weight("wc", "cheap") == 1


def test_a_policy_is_the_budgets_unless_the_arm_has_its_own(tmp_path: Path) -> None:
    own = {"models": ["cheap", "strong"], "policy": "cascade"}
    run = loaded(tmp_path, {"arms": {"plain": ["cheap"], "first": own}})
    assert [run.policy_of(arm).name for arm in ("plain", "first")] == ["uniform", "cascade"]


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"arms": {"one": {"models": ["cheap"], "policy": "cascade"}}}, "a cascade needs two models"),
        ({"budget.policy": "mix"}, "needs a pilot: set budget.pilot"),
        ({"budget.policy": "until_correct", "budget.match": "samples"}, "set budget.match to price"),
        ({"arms": {"both": {"models": ["cheap", "strong"], "weights": [1]}}}, "1 weights for 2 models"),
        ({"arms": {"twice": ["cheap", "cheap"]}}, "a model stands twice"),
        (
            {"models.cheap.gpu": {"usd_per_hour": 2}, "models.cheap.price": {"input": 1, "output": 2}},
            "not both",
        ),
    ],
    ids=str,
)
def test_a_layout_that_cannot_be_drawn_is_refused_with_a_line(
    tmp_path: Path, changes: dict[str, Any], line: str
) -> None:
    assert line in mistake(written(tmp_path, changes))


def test_a_models_own_decoding_wins_key_by_key() -> None:
    run = Decoding(temperature=0.7, top_k=3, max_tokens=64)
    assert Decoding().over(run) == run
    assert Decoding(temperature=1.0).over(run) == Decoding(temperature=1.0, top_k=3, max_tokens=64)
    assert Decoding(top_k=None).over(run) == Decoding(temperature=0.7, max_tokens=64)  # null: not sent
    assert Decoding(temperature=0.0).over(run).temperature == 0


# --- overrides -----------------------------------------------------------------------------------


def test_an_override_reaches_any_depth_and_is_read_as_yaml(tmp_path: Path) -> None:
    run = loaded(
        tmp_path,
        None,
        "seed=7",
        "models.cheap.decoding.temperature=1.5",
        "models.cheap.extra={a: [1, x]}",
        "decoding.stop=['=', \"\\n\"]",
        "problems.limit=",
    )
    assert run.seed == 7
    assert run.models["cheap"].decoding.temperature == 1.5
    assert run.models["cheap"].extra == {"a": [1, "x"]}
    assert run.decoding.stop == ("=", "\n")
    assert run.problems.limit is None


def test_an_override_makes_the_sections_it_needs(tmp_path: Path) -> None:
    run = loaded(
        tmp_path, None, "models.cheap.price.input=1", "models.cheap.price.output=2", "report.samples=3"
    )
    assert run.models["cheap"].price is not None
    assert run.models["cheap"].price.output == 2
    assert run.report.samples == 3


def test_an_override_fills_a_section_left_empty(tmp_path: Path) -> None:
    file = written(tmp_path, text=written(tmp_path).read_text() + "finetune:\n")
    run = config.load(file, ["finetune.steps=5"])[0]
    assert run.finetune is not None
    assert run.finetune.steps == 5


def test_the_last_override_wins(tmp_path: Path) -> None:
    assert loaded(tmp_path, None, "seed=1", "seed=2").seed == 2


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("seed", ["--set seed", "a.b=value"]),
        ("=3", ["--set =3", "a.b=value"]),
        ("a..b=3", ["a.b=value"]),
        ("name.first=x", ["name is not a section"]),
        ("seed=[", ["not YAML"]),
        ("seed=2026-02-30", ["not YAML"]),
        ("decoding.temprature=1", ["decoding", "'temperature'"]),
        ("models.cheap.price.input=1", ["models.cheap.price.output", "missing"]),
    ],
)
def test_a_wrong_override_is_one_line(tmp_path: Path, override: str, words: list[str]) -> None:
    message = mistake(written(tmp_path), override)
    for word in words:
        assert word in message


# --- resolved ------------------------------------------------------------------------------------


RICH = {
    "arms": {"wc": ["cheap"], "se": ["strong"]},
    "models.cheap.price": {"input": 0.1, "output": "0.4", "date": "2026-11-21"},
    "models.cheap.params": {"total": 9, "active": 3},
    "models.strong.params": 27,
    "models.cheap.limits": {"requests_per_minute": 60},
    "models.cheap.expect": {"output": 250},
    "models.cheap.extra": {"user": "é", "nested": {"a": None, "b": [1]}},
    "models.cheap.decoding": {"temperature": 1.0, "top_k": None, "stop": ["\n\n"]},
    "finetune": {"learning_rate": 1e-6},
    "evaluate": {"draws": 2, "decoding": {"temperature": 0}},
    "students": {"s": {"model": "x/y"}},
}


def test_a_resolved_run_reads_back_the_same(tmp_path: Path) -> None:
    run = loaded(tmp_path, RICH)
    (tmp_path / config.RESOLVED).write_text(config.dump(run), encoding="utf-8")
    again, home = config.load(tmp_path)
    assert again == run
    assert home == tmp_path
    for model in run.models:
        assert again.decoding_of(model) == run.decoding_of(model)
    assert run.decoding_of("cheap").top_k is None
    assert run.decoding_of("strong").top_k == 3
    assert config.dump(again) == config.dump(run)


def test_a_run_file_runs_in_runs_name_unless_told_otherwise(tmp_path: Path) -> None:
    file = written(tmp_path)
    assert config.load(file)[1] == Path("runs/r")
    assert config.load(file, out=tmp_path / "x")[1] == tmp_path / "x"


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.stem)
def test_an_example_is_a_valid_run_file_and_reads_back_the_same(path: Path, tmp_path: Path) -> None:
    run = config.load(path)[0]
    (tmp_path / config.RESOLVED).write_text(config.dump(run), encoding="utf-8")
    assert config.load(tmp_path)[0] == run
    for model in run.models.values():
        assert model.world is None or Path(model.world).is_file()


def test_there_are_examples() -> None:
    assert "quickstart" in {path.stem for path in EXAMPLES}


# --- paths ---------------------------------------------------------------------------------------


def test_paths_are_looked_for_beside_the_run_file_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    beside, working = tmp_path / "beside", tmp_path / "working"
    for folder in (beside, working):
        (folder / "weights").mkdir(parents=True)
        for name in ("q.jsonl", "w.yaml", "p.md"):
            (folder / name).write_text("x")
    (working / "only-here.md").write_text("x")
    monkeypatch.chdir(working)
    changes = {
        "problems.source": "q.jsonl",
        "prompt": "p.md",
        "models.cheap": {"provider": "simulated", "model": "weights", "world": "w.yaml"},
        "models.strong": {"provider": "checkpoint", "model": "weights"},
        "students": {"s": {"model": "weights"}},
        "evaluate": {"problems": {"source": "q.jsonl"}},
    }
    run = loaded(beside, changes)
    assert run.problems.source == str(beside / "q.jsonl")
    assert run.prompt == str(beside / "p.md")
    assert run.models["cheap"].world == str(beside / "w.yaml")
    assert run.models["cheap"].model == "weights"  # a name in a world, not a folder
    assert run.models["strong"].model == run.students["s"].model == str(beside / "weights")
    assert run.evaluate is not None
    assert run.evaluate.problems.source == str(beside / "q.jsonl")
    assert loaded(beside, {"prompt": "only-here.md"}).prompt == str(working / "only-here.md")
    overridden = loaded(beside, changes, "problems.source=q.jsonl")
    assert overridden.problems.source == str(working / "q.jsonl")


def test_names_that_are_no_paths_stay_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("gsm8k", "openai/gsm8k"):  # folders of that name are not meant
        (tmp_path / folder).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    run = loaded(tmp_path, {"prompt": "gsm8k", "problems.source": "openai/gsm8k"})
    assert (run.prompt, run.problems.source) == ("gsm8k", "openai/gsm8k")


def test_a_key_of_a_section_in_its_short_form_can_be_set() -> None:
    data: dict[str, Any] = {"budget": {"usd": 1, "pilot": 3, "policy": "mix"}}
    config._set(data, "budget.pilot.draws=2")
    config._set(data, "budget.policy.rounds=4")
    assert data["budget"] == {"usd": 1, "pilot": {"draws": 2}, "policy": {"name": "mix", "rounds": 4}}
