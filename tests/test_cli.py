"""The command line: a user's mistakes are one line and an exit code, never a traceback."""

import json
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from toolkit import cli

ROOT = Path(__file__).parent.parent
WORLD = """
name: little
answer: "The answer is $answer."
models:
  small: {ability: {a: 0.7, b: 0.9}, tokens: {mean: 70, sd: 20}, price: {input: 0.1, output: 0.1}, params: 9e9}
  large: {ability: {a: 0.9, b: 0.6}, tokens: {mean: 70, sd: 20}, price: {input: 0.3, output: 0.3}, params: 27e9}
"""
Cli = Callable[..., tuple[int, str, str]]


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
def simulated(tmp_path: Path) -> dict[str, Any]:
    """A run of two simulated models; dump it with `write`."""
    (tmp_path / "world.yaml").write_text(WORLD)
    return {
        "name": "little",
        "problems": {"source": "builtin:word-problems", "limit": 20},
        "decoding": {"temperature": 0.7, "max_tokens": 300},
        "models": {
            "cheap": {"provider": "simulated", "model": "small", "world": "world.yaml"},
            "strong": {"provider": "simulated", "model": "large", "world": "world.yaml"},
        },
        "budget": {"usd": 0.02, "match": "price", "cap_usd": 0.05},
    }


def write(tmp_path: Path, content: dict[str, Any] | str) -> Path:
    path = tmp_path / "run-file.yaml"
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return path


def assert_one_line(said: tuple[int, str, str], code: int, *words: str) -> None:
    assert said[0] == code
    progress = ("sample: ", "pilot: ")  # a slow machine shows how far it is
    lines = [line for line in said[2].strip().splitlines() if not line.startswith(progress)]
    assert len(lines) == 1, said[2]
    assert "Traceback" not in said[2]
    for word in words:
        assert word in lines[0]


# -- bad input


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"budgett": {"usd": 1}}, ["budgett", "budget"]),
        ({"budget": {"usd": -1, "match": "price"}}, ["budget.usd", "greater than 0"]),
        ({"budget": {"usd": 1e-9, "match": "price"}}, ["budget", "cannot afford one draw"]),
        ({"budget": {"usd": 1, "match": "guesswork"}}, ["budget.match", "price"]),
        ({"budget": {"match": "price"}}, ["exactly one of usd, flops and draws"]),
        ({"problems": {"source": "nowhere.jsonl"}}, ["nowhere.jsonl", "no such file"]),
        ({"judge": {"model": "cheap"}}, ["judge.model"]),
        ({"prompt": "no-such-prompt"}, ["prompt", "gsm8k"]),
    ],
)
def test_a_wrong_key_or_value_is_one_line_that_names_it(
    run: Cli, simulated: dict[str, Any], tmp_path: Path, change: dict[str, Any], words: list[str]
) -> None:
    assert_one_line(run("plan", str(write(tmp_path, simulated | change))), 2, *words)


@pytest.mark.parametrize(
    ("text", "words"), [("", ["empty"]), ("a: [1,", ["not YAML"]), ("- 1\n- 2\n", ["not a mapping"])]
)
def test_a_run_file_that_is_none_is_one_line(run: Cli, tmp_path: Path, text: str, words: list[str]) -> None:
    assert_one_line(run("plan", str(write(tmp_path, text))), 2, "run-file.yaml", *words)


def test_a_missing_run_file_is_one_line(run: Cli) -> None:
    assert_one_line(run("run", "not-there.yaml"), 2, "not-there.yaml", "no such file")


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ('{"question": "1?", "answer": "1"}\n{"question": \n', ["line 2", "not JSON"]),
        (
            '{"id": 1, "question": "a?", "answer": "1"}\n{"id": 1, "question": "b?", "answer": "2"}\n',
            ["line 2", "line 1", "'1'"],
        ),
    ],
)
def test_a_malformed_problem_file_is_one_line_with_its_number(
    run: Cli, simulated: dict[str, Any], tmp_path: Path, rows: str, words: list[str]
) -> None:
    (tmp_path / "p.jsonl").write_text(rows)
    file = write(tmp_path, simulated | {"problems": {"source": "p.jsonl"}})
    assert_one_line(run("plan", str(file)), 2, "p.jsonl", *words)


def hosted(url: str, **more: Any) -> dict[str, Any]:
    return {"provider": "openai_compatible", "model": "m", "base_url": url, **more}


def test_a_price_matched_run_without_a_price_does_not_start(
    run: Cli, simulated: dict[str, Any], tmp_path: Path
) -> None:
    file = write(tmp_path, simulated | {"models": {"cheap": hosted("http://127.0.0.1:9/v1")}})
    assert_one_line(run("sample", str(file)), 2, "models.cheap.price", "missing")


def test_a_key_that_is_not_set_is_named(run: Cli, simulated: dict[str, Any], tmp_path: Path) -> None:
    model = hosted("http://127.0.0.1:9/v1", key_env="PRICEMATCH_NO_SUCH_KEY", price={"input": 1, "output": 1})
    file = write(tmp_path, simulated | {"models": {"cheap": model}, "budget": {"draws": 1, "match": "price"}})
    assert_one_line(run("sample", str(file)), 2, "PRICEMATCH_NO_SUCH_KEY")


def test_an_unreachable_server_is_exit_4_and_nothing_counts_as_spent(
    run: Cli, simulated: dict[str, Any], tmp_path: Path
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    model = hosted(f"http://127.0.0.1:{port}/v1", price={"input": 1, "output": 1})
    file = write(
        tmp_path,
        simulated | {"models": {"cheap": model}, "budget": {"draws": 2, "match": "price", "cap_usd": 1}},
    )
    assert_one_line(run("sample", str(file)), 4, "cannot connect")
    code, out, _ = run("status", str(file), "--json")
    status = json.loads(out)
    assert (code, status["spent_usd"], status["uncertain_usd"], status["missing"]) == (0, 0, 0, 40)


@pytest.mark.parametrize("verb", ["sample", "status", "measure"])
def test_a_file_that_is_no_ledger_is_one_line(
    run: Cli, simulated: dict[str, Any], tmp_path: Path, verb: str
) -> None:
    file = str(write(tmp_path, simulated))
    assert run("sample", file)[0] == 0
    (tmp_path / "runs" / "little" / "ledger.sqlite").write_bytes(b"no ledger " * 1000)
    assert_one_line(run(verb, file), 2, "ledger.sqlite", "not a ledger")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_is_one_line_wherever_it_is_noticed(
    run: Cli, simulated: dict[str, Any], tmp_path: Path
) -> None:
    file, directory = str(write(tmp_path, simulated)), tmp_path / "runs" / "little"
    directory.mkdir(parents=True)
    (directory / ".plan.json.tmp").symlink_to("/dev/full")
    assert_one_line(run("plan", file), 3, "No space left on device", "then rerun")


def test_a_run_directory_below_a_file_is_one_line(
    run: Cli, simulated: dict[str, Any], tmp_path: Path
) -> None:
    file = str(write(tmp_path, simulated))
    assert_one_line(run("plan", file, "--out", f"{file}/x"), 3, "Not a directory", "run-file.yaml")


def test_a_wrong_option_is_exit_2(run: Cli) -> None:
    code, _, err = run("plan", "x.yaml", "--no-such-option")
    assert code == 2
    assert "Traceback" not in err


def test_serve_needs_exactly_one_thing_to_serve(run: Cli) -> None:
    assert_one_line(run("serve"), 2, "--simulate", "--checkpoint")
    assert_one_line(run("serve", "--checkpoint", "nowhere"), 2, "nowhere", "config.json")


# -- verbs


def test_plan_json_has_the_promised_names(run: Cli, simulated: dict[str, Any], tmp_path: Path) -> None:
    code, out, _ = run("plan", str(write(tmp_path, simulated)), "--json")
    plan = json.loads(out)
    assert code == 0
    assert {"match", "models", "worst_case_usd", "residual"} <= plan.keys()
    assert plan["models"]["cheap"].keys() >= {"draws_per_problem", "usd", "flops", "usd_per_draw"}
    assert plan["residual"].keys() == {"amount", "unit"}
    assert sum(m["usd"] for m in plan["models"].values()) + plan["residual"]["amount"] == pytest.approx(0.02)


def test_dry_run_prints_a_run_file_that_resolves_to_itself(
    run: Cli, simulated: dict[str, Any], tmp_path: Path
) -> None:
    _, first, _ = run("run", str(write(tmp_path, simulated)), "--dry-run", "--set", "seed=7")
    again = tmp_path / "again.yaml"
    again.write_text(first)
    _, second, _ = run("run", str(again), "--dry-run")
    assert yaml.safe_load(first)["seed"] == 7
    assert first == second
    assert not (tmp_path / "runs").exists()


def test_estimate_asks_nobody_and_writes_nothing(run: Cli, simulated: dict[str, Any], tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    code, out, _ = run("estimate", str(write(tmp_path, simulated)), "--usd", "0.5", "--json")
    assert code == 0
    assert json.loads(out)["budget"] == {"usd": 0.5}
    assert sorted(p for p in tmp_path.rglob("*") if p.name != "run-file.yaml") == before


NOWHERE = "http://127.0.0.1:9/v1"


def test_estimate_needs_no_download_where_the_number_of_problems_is_known(
    run: Cli, simulated: dict[str, Any], tmp_path: Path
) -> None:
    price = {"input": 1, "output": 1}
    models = {"cheap": {"provider": "openai_compatible", "model": "m", "base_url": NOWHERE, "price": price}}
    source = {"source": "openai/gsm8k", "split": "train", "offset": 7000}
    file = write(tmp_path, simulated | {"problems": source, "models": models})
    code, out, err = run("estimate", str(file), "--usd", "1", "--json")
    assert code == 0, err
    found = json.loads(out)
    assert any("was not read: 473 questions" in note for note in found["notes"])
    cheap = found["models"]["cheap"]
    assert cheap["draws"] == 473 * cheap["draws_per_problem"]
    assert cheap["usd"] <= 1 < cheap["usd"] + 473 * cheap["usd_per_draw"]
    assert cheap["prompt_tokens"] > 235 / 4  # the question and what stands around it


def test_estimate_asks_how_many_problems_a_data_set_has_instead_of_downloading_it(
    run: Cli, simulated: dict[str, Any], tmp_path: Path
) -> None:
    file = write(tmp_path, simulated | {"problems": {"source": "nobody/nothing"}})
    assert_one_line(run("estimate", str(file), "--usd", "1"), 2, "nobody/nothing", "problems.limit=N")
    assert run("estimate", str(file), "--usd", "1", "--set", "problems.limit=50")[0] == 0


def test_prices_lists_dated_rows_and_refuses_an_unknown_model(run: Cli) -> None:
    code, out, _ = run("prices", "gemini-1.5-pro", "--json")
    rows = json.loads(out)
    assert code == 0
    assert [r["output"] for r in rows] == [10.5, 5.0]
    assert all(r["date"] for r in rows)
    assert_one_line(run("prices", "gemini-9"), 2, "gemini-9")


def test_every_verb_runs_alone_and_the_page_is_written(
    run: Cli, simulated: dict[str, Any], tmp_path: Path
) -> None:
    file, directory = str(write(tmp_path, simulated)), str(tmp_path / "runs" / "little")
    assert run("sample", file)[0] == 0
    for verb in ("verify", "measure", "dataset", "finetune", "evaluate", "report", "check"):
        code, _, err = run(verb, directory)
        assert (code, "Traceback" in err) == (0, False), (verb, err)
    status = json.loads(run("status", directory, "--json")[1])
    assert status.keys() == {
        "attempts",
        "draws",
        "missing",
        "spent_usd",
        "reserved_usd",
        "uncertain_usd",
        "cap_usd",
    }
    assert (status["missing"], status["reserved_usd"], status["cap_usd"]) == (0, 0, 0.05)
    metrics = json.loads((tmp_path / "runs/little/metrics.json").read_text())
    assert metrics["models"]["cheap"].keys() >= {
        "problems",
        "draws",
        "usd",
        "coverage",
        "diversity",
        "outcomes",
        "false_positive_rate",
    }
    assert metrics["models"]["cheap"]["coverage"]["1"].keys() == {"value", "low", "high"}
    assert metrics["models"]["cheap"]["diversity"]["1"].keys() >= {
        "per_problem",
        "per_solved",
        "unique_per_solved",
    }
    assert "cheap" in (tmp_path / "runs/little/report.html").read_text()


def test_at_the_cap_the_run_is_exit_3_and_status_holds_the_inequality(
    run: Cli, simulated: dict[str, Any], tmp_path: Path
) -> None:
    budget = {"usd": 0.02, "match": "price", "cap_usd": 0.004}
    file = str(write(tmp_path, simulated | {"budget": budget}))
    assert_one_line(run("sample", file), 3, "cap", "missing")
    status = json.loads(run("status", file, "--json")[1])
    billed = (
        sum(
            json.loads(line)["pico"]
            for line in (tmp_path / "runs/little/served.jsonl").read_text().splitlines()
        )
        / 10**12
    )
    assert 0 < billed <= status["spent_usd"] + status["uncertain_usd"] + 1e-9
    assert status["spent_usd"] + status["uncertain_usd"] <= status["cap_usd"]
    assert status["missing"] > 0


def test_an_interrupted_run_goes_on_where_it_stopped(
    run: Cli, simulated: dict[str, Any], tmp_path: Path
) -> None:
    small = str(write(tmp_path, simulated | {"budget": {"draws": 2, "match": "price", "cap_usd": 0.05}}))
    run("sample", small)
    first = json.loads(run("status", small, "--json")[1])
    large = str(write(tmp_path, simulated | {"budget": {"draws": 4, "match": "price", "cap_usd": 0.05}}))
    run("sample", large)
    second = json.loads(run("status", large, "--json")[1])
    served = [json.loads(line) for line in (tmp_path / "runs/little/served.jsonl").read_text().splitlines()]
    assert sum(s["draws"] for s in served) == second["draws"] > first["draws"] > 0


def test_imported_generations_go_through_verify_measure_dataset_and_report(run: Cli, tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_text(
        "".join(
            json.dumps({"id": i, "question": f"What is {i} plus {i}?", "answer": str(2 * i)}) + "\n"
            for i in range(1, 5)
        )
    )
    rows = [
        {"problem_id": i, "response": f"It is {i} + {i} = {2 * i}.\nThe answer is {2 * i if i != 3 else 7}."}
        for i in range(1, 5)
    ]
    rows += [
        {
            "question": "What is 1 plus 1?",
            "response": ["The answer is 2.", "The answer is 3."],
            "usage": {"prompt_tokens": 9, "completion_tokens": 8},
        }
    ]
    rows += [{"problem_id": 99, "response": "The answer is 4."}]
    (tmp_path / "mine.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    code, _, err = run("import", "mine.jsonl", "--arm", "mine", "--problems", "p.jsonl")
    assert code == 0
    assert "6 new draws to 4 problems, unpriced" in err
    assert "1 rows match no problem" in err
    assert "6 were already there" in run("import", "mine.jsonl", "--arm", "mine", "--run", "runs/mine")[2]
    for verb in ("verify", "measure", "dataset", "report"):
        assert run(verb, "runs/mine")[0] == 0, verb
    measured = json.loads((tmp_path / "runs/mine/metrics.json").read_text())["models"]["mine"]
    assert (measured["draws"], measured["usd"], measured["outcomes"]["correct"]) == (6, None, 4)
    assert json.loads((tmp_path / "runs/mine/dataset/mine/summary.json").read_text())["rows"] == 4


def test_an_import_that_matches_nothing_is_one_line(run: Cli, tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_text('{"id": 1, "question": "1?", "answer": "1"}\n')
    (tmp_path / "mine.jsonl").write_text('{"problem_id": 5, "response": "The answer is 4."}\n')
    said = run("import", "mine.jsonl", "--arm", "mine", "--problems", "p.jsonl")
    assert_one_line(said, 2, "mine.jsonl", "no row matches")
    assert_one_line(run("import", "mine.jsonl", "--arm", "mine"), 2, "--problems")


def test_the_format_of_an_import_can_be_said_and_rows_chosen(run: Cli, tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_text('{"id": "q", "question": "1?", "answer": "1"}\n')
    rows = [{"id": "q", "custom_id": "q", "error": {}, "model": m, "output": f"It is {m}"} for m in "ab"]
    (tmp_path / "two.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    asked = ("import", "two.jsonl", "--arm", "mine", "--problems", "p.jsonl")
    assert_one_line(run(*asked), 2, "jsonl and openai-batch both fit", "--format")
    assert not (tmp_path / "runs/two").exists()
    code, _, err = run(*asked, "--format", "jsonl", "--where", "model=b")
    assert code == 0
    assert "import mine: 1 new draws to 1 problems, unpriced\n" in err
    assert_one_line(run(*asked, "--where", "model"), 2, "--where model", "KEY=VALUE")
    failed = run(*asked, "--format", "openai-batch", "--out", "runs/failed")
    assert_one_line(failed, 2, "two.jsonl", "all 2 rows tell of requests that failed")


def test_an_arm_without_a_correct_row_is_skipped_with_a_line_and_never_fatal(
    run: Cli, simulated: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "p.jsonl").write_text(
        "".join(
            json.dumps({"id": i, "question": f"What number am I thinking of, round {i}?", "answer": str(i)})
            + "\n"
            for i in range(3)
        )
    )
    hopeless = WORLD.replace("a: 0.7, b: 0.9", "a: 0.0001, b: 900")
    (tmp_path / "world.yaml").write_text(hopeless)
    file = write(
        tmp_path,
        simulated
        | {"problems": {"source": "p.jsonl"}, "budget": {"draws": 2, "match": "price", "cap_usd": 1}},
    )
    code, _, err = run("run", str(file))
    assert code == 0
    assert "dataset cheap: skipped: no correct draw" in err


def test_ctrl_c_is_one_line_and_exit_130(run: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    from toolkit import tables

    monkeypatch.setattr(tables, "catalog", interrupted)
    assert_one_line(run("prices"), 130, "interrupted", "rerun")


def test_check_says_what_each_model_is_and_costs_less_than_a_cent(
    run: Cli, simulated: dict[str, Any], tmp_path: Path
) -> None:
    file = str(write(tmp_path, simulated))
    code, _, err = run("check", file)
    assert code == 0
    assert "cheap: small answers as small" in err
    assert "honours max_tokens, n, seed, stop, temperature, top_k, top_p" in err
    spent = json.loads(run("status", file, "--json")[1])
    assert 0 < spent["spent_usd"] < 0.01
    assert run("check", file)[0] == 0
    assert json.loads(run("status", file, "--json")[1])["spent_usd"] > spent["spent_usd"]  # it asked again


def test_check_asks_the_other_models_when_one_refuses(
    run: Cli, simulated: dict[str, Any], tmp_path: Path
) -> None:
    gone = hosted("http://127.0.0.1:9/v1", price={"input": 1, "output": 1})
    code, _, err = run(
        "check",
        str(write(tmp_path, simulated | {"models": {"gone": gone, "cheap": simulated["models"]["cheap"]}})),
    )
    assert code == 4
    assert "gone: " in err
    assert "cheap: small answers" in err


def test_a_key_may_stand_in_dotenv_and_is_kept_out_of_everything_written(
    run: Cli, simulated: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text("SIM_TEST_KEY=very-secret-key-4711\n")
    model = hosted("http://127.0.0.1:9/v1", key_env="SIM_TEST_KEY", price={"input": 1, "output": 1})
    file = write(
        tmp_path,
        simulated | {"models": {"cheap": model}, "budget": {"draws": 1, "match": "price", "cap_usd": 1}},
    )
    assert_one_line(run("sample", str(file)), 4, "cannot connect")
    written = b"".join(p.read_bytes() for p in (tmp_path / "runs").rglob("*") if p.is_file())
    assert b"very-secret-key" not in written


def test_check_says_so_when_no_answer_came(run: Cli, simulated: dict[str, Any], tmp_path: Path) -> None:
    file = str(write(tmp_path, simulated))
    assert run("check", file)[0] == 0
    (tmp_path / "world.yaml").write_text(WORLD + "faults: {overloaded: 1.0}\n")
    code, _, err = run("check", file, "--set", "sampling.attempts=1")
    assert code == 3
    assert "no answer came" in err
    assert "answers as" not in err
