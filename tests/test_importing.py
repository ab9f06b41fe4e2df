"""Generations made elsewhere, in small files of the documented formats."""

import gzip
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pytest

from toolkit import config, importing
from toolkit.errors import InputError
from toolkit.importing.formats import ZSTANDARD, recognise
from toolkit.importing.records import shares
from toolkit.job import Job
from toolkit.types import Usage

QUESTIONS = {"q-0": "What is 1 + 1?", "q-1": "What is\n2 + 2?", "2": "What is 3 + 3?"}
Bring = Callable[..., importing.Brought]


@pytest.fixture
def job(tmp_path: Path) -> Job:
    source = tmp_path / "problems.jsonl"
    source.write_text(
        "".join(json.dumps({"id": k, "question": q, "answer": "4"}) + "\n" for k, q in QUESTIONS.items())
    )
    run = config.validated(source, importing.new_run(tmp_path / "x.jsonl", "mine", str(source)))
    return Job(run, tmp_path / "run")


def lines(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def drawn(job: Job) -> dict[str, list[str]]:
    """Texts by problem, in the order of their indices."""
    found: dict[str, list[str]] = {}
    with job.reader() as reader:
        for key, text in reader.rows(
            "SELECT p.key, t.text FROM draw d JOIN draw_text t ON t.draw=d.id JOIN problem p ON p.id=d.problem "
            "ORDER BY p.key, d.idx"
        ):
            found.setdefault(key, []).append(text)
    return found


def tokens(job: Job) -> list[tuple[int | None, ...]]:
    with job.reader() as reader:
        return list(reader.rows("SELECT prompt, cached, output, thinking FROM attempt ORDER BY id"))


# -- OpenAI's batches


def batch_row(custom_id: str, *texts: str, **more: Any) -> dict[str, Any]:
    body = {
        "object": "chat.completion",
        "choices": [
            {"index": i, "message": {"role": "assistant", "content": t}} for i, t in enumerate(texts)
        ],
        "usage": {
            "prompt_tokens": 20,
            "completion_tokens": 9,
            "prompt_tokens_details": {"cached_tokens": 5},
            "completion_tokens_details": {"reasoning_tokens": 4},
        },
    }
    response = {"status_code": 200, "request_id": "r", "body": body}
    return {"id": "batch_req_1", "custom_id": custom_id, "response": response, "error": None} | more


def test_a_batch_output_finds_its_problems_by_custom_id_with_or_without_a_draw_number(
    job: Job, tmp_path: Path
) -> None:
    rows = [
        batch_row("q-1-7", "b"),
        batch_row("q-0", "a1", "a2"),
        batch_row("q-1#1", "c"),
        batch_row("q-9", "d"),
    ]
    brought = importing.bring_in(job, lines(tmp_path / "out.jsonl", rows), "mine")
    assert brought == importing.Brought(new=4, known=0, problems=2, unmatched=1)
    assert drawn(job) == {"q-0": ["a1", "a2"], "q-1": ["b", "c"]}


def test_an_id_that_ends_in_a_number_is_not_mistaken_for_a_draw_number(job: Job, tmp_path: Path) -> None:
    importing.bring_in(job, lines(tmp_path / "out.jsonl", [batch_row("q-1", "x")]), "mine")
    assert drawn(job) == {"q-1": ["x"]}


def test_the_usage_of_a_row_with_several_answers_is_counted_once(job: Job, tmp_path: Path) -> None:
    importing.bring_in(job, lines(tmp_path / "out.jsonl", [batch_row("q-0", "a1", "a2")]), "mine")
    assert tokens(job) == [(20, 5, 3, 2), (0, 0, 2, 2)]
    assert shares(Usage(9, 8), 3) == [Usage(9, 3), Usage(0, 3), Usage(0, 2)]


def test_failed_requests_of_a_batch_are_counted_and_bring_no_draw(job: Job, tmp_path: Path) -> None:
    rows = [
        batch_row("q-0", "fine"),
        batch_row("q-1", response={"status_code": 500, "body": {"error": {"message": "no"}}}),
        batch_row("2", response=None, error={"code": "batch_expired", "message": "late"}),
    ]
    brought = importing.bring_in(job, lines(tmp_path / "out.jsonl", rows), "mine")
    assert (brought.new, brought.failed, brought.unmatched) == (1, 2, 0)


def test_a_batch_of_raw_completions_or_of_the_responses_api_is_read(job: Job, tmp_path: Path) -> None:
    raw = batch_row("q-0")
    raw["response"]["body"]["choices"] = [{"text": "raw", "index": 0}]
    new = batch_row("q-1")
    new["response"]["body"] = {
        "object": "response",
        "output": [
            {"type": "reasoning", "summary": []},
            {"type": "message", "content": [{"type": "output_text", "text": "answered"}]},
        ],
        "usage": {"input_tokens": 7, "output_tokens": 6, "output_tokens_details": {"reasoning_tokens": 4}},
    }
    importing.bring_in(job, lines(tmp_path / "out.jsonl", [raw, new]), "mine")
    assert drawn(job) == {"q-0": ["raw"], "q-1": ["answered"]}
    assert tokens(job)[1] == (7, 0, 2, 4)


# -- lm-evaluation-harness


def harness_row(doc_id: int, doc: dict[str, Any], texts: list[str], **more: Any) -> dict[str, Any]:
    return {
        "doc_id": doc_id,
        "doc": doc,
        "target": "4",
        "arguments": {
            "gen_args_0": {"arg_0": f"Q: before\nA: 0\n\nQ: {doc.get('question', '')}\nA:", "arg_1": {}}
        },
        "resps": [texts],
        "filtered_resps": ["4"],
        "filter": "strict-match",
        "doc_hash": "h",
        "prompt_hash": "h",
        "target_hash": "h",
        "exact_match": 1.0,
    } | more


def test_harness_samples_are_found_by_the_questions_text_and_not_by_their_position(
    job: Job, tmp_path: Path
) -> None:
    rows = [
        harness_row(2, {"question": "What is 1 + 1?", "answer": "#### 2"}, ["a", "b"]),
        harness_row(0, {"question": "What is 2  + 2?"}, ["c"]),
        harness_row(2, {"question": "What is 9 + 9?"}, ["d"]),  # the run has a problem "2", but another one
    ]
    brought = importing.bring_in(job, lines(tmp_path / "samples_gsm8k.jsonl", rows), "mine")
    assert drawn(job) == {"q-0": ["a", "b"], "q-1": ["c"]}
    assert brought.unmatched == 1


def test_a_position_counts_where_the_prompt_contains_that_problems_question(job: Job, tmp_path: Path) -> None:
    chat = json.dumps([{"role": "user", "content": "Please: What is 3 + 3? Think."}])
    row = harness_row(2, {"body": "?"}, ["six"], arguments={"gen_args_0": {"arg_0": [chat]}})
    importing.bring_in(job, lines(tmp_path / "s.jsonl", [row]), "mine")
    assert drawn(job) == {"2": ["six"]}


def test_one_answer_logged_under_two_filters_is_one_draw(job: Job, tmp_path: Path) -> None:
    doc = {"question": "What is 1 + 1?"}
    rows = [harness_row(0, doc, ["a"], filter=name) for name in ("strict-match", "flexible-extract")]
    assert importing.bring_in(job, lines(tmp_path / "s.jsonl", rows), "mine").new == 1


def test_multiple_choice_samples_are_refused_in_one_line(job: Job, tmp_path: Path) -> None:
    row = harness_row(0, {"question": "What is 1 + 1?"}, [], resps=[[[-3.0, False]], [[-4.0, False]]])
    with pytest.raises(InputError, match=r"line 1: resps holds no generated text.*not multiple choice$"):
        importing.bring_in(job, lines(tmp_path / "s.jsonl", [row]), "mine")


# -- inspect


def sample(id: Any, input: Any, *texts: Any, epoch: int = 1, **more: Any) -> dict[str, Any]:
    choices = [{"message": {"role": "assistant", "content": t}, "stop_reason": "stop"} for t in texts]
    usage = {"input_tokens": 11, "output_tokens": 9, "total_tokens": 20, "reasoning_tokens": 3}
    output = {"model": "m", "choices": choices, "completion": "", "usage": usage}
    return {"id": id, "epoch": epoch, "input": input, "target": "4", "messages": [], "output": output} | more


def log(samples: list[dict[str, Any]]) -> dict[str, Any]:
    return {"version": 2, "status": "success", "eval": {"task": "t", "model": "m"}, "samples": samples}


SAMPLES = [
    sample(1, "What is 1 + 1?", "a"),
    sample(2, [{"role": "system", "content": "s"}, {"role": "user", "content": "What is 2 + 2?"}], "b"),
    sample(3, "What is 3 + 3?", [{"type": "reasoning", "reasoning": "hm"}, {"type": "text", "text": "c"}]),
    sample(1, "What is 1 + 1?", "d", epoch=2),
    sample("q-0", "What is 8 + 8?", "no"),
    sample(1, "What is 1 + 1?", epoch=3, error={"message": "failed"}),
]


def test_an_inspect_log_is_read_from_json_and_from_its_zip_alike(job: Job, tmp_path: Path) -> None:
    (tmp_path / "log.json").write_text(json.dumps(log(SAMPLES), indent=2))
    with zipfile.ZipFile(tmp_path / "log.eval", "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("header.json", json.dumps({"version": 2, "status": "success"}))
        for s in reversed(SAMPLES):
            packed.writestr(f"samples/{s['id']}_epoch_{s['epoch']}.json", json.dumps(s))
    brought = importing.bring_in(job, tmp_path / "log.json", "mine")
    assert brought == importing.Brought(new=4, known=0, problems=3, unmatched=1, failed=1)
    assert drawn(job) == {"q-0": ["a", "d"], "q-1": ["b"], "2": ["c"]}
    assert tokens(job)[0] == (11, 0, 6, 3)
    again = importing.bring_in(job, tmp_path / "log.eval", "mine")
    assert (again.new, again.known, again.failed) == (0, 4, 1)


def test_a_log_packed_by_zstandard_is_read_too(job: Job, tmp_path: Path) -> None:
    """As inspect_ai has written .eval files since it depends on zipfile-zstd. Here only the zip's directory says so."""
    file = tmp_path / "new.eval"
    with zipfile.ZipFile(file, "w") as packed:
        for s in SAMPLES[:3]:
            text = json.dumps(s).encode()
            packed.writestr(
                name := f"samples/{s['id']}_epoch_1.json", pyarrow.compress(text, "zstd", asbytes=True)
            )
            packed.getinfo(name).compress_type, packed.getinfo(name).file_size = ZSTANDARD, len(text)
    assert importing.bring_in(job, file, "mine").new == 3
    assert drawn(job) == {"q-0": ["a"], "q-1": ["b"], "2": ["c"]}
    with zipfile.ZipFile(file, "a") as packed:
        packed.writestr("samples/9_epoch_1.json", b"no frame")
        packed.getinfo("samples/9_epoch_1.json").compress_type = ZSTANDARD
    with pytest.raises(
        InputError, match=r"new.eval: samples/9_epoch_1.json cannot be read \(.*inspect log convert"
    ):
        importing.bring_in(job, file, "mine")


def test_a_log_without_samples_is_one_line(job: Job, tmp_path: Path) -> None:
    (tmp_path / "head.json").write_text(json.dumps(log([]) | {"samples": None}, indent=1))
    with pytest.raises(InputError, match="no samples in it: give the whole log"):
        importing.bring_in(job, tmp_path / "head.json", "mine")
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as packed:
        packed.writestr("readme", "hello")
    with pytest.raises(InputError, match="a zip without samples/"):
        importing.bring_in(job, tmp_path / "other.zip", "mine")


# -- our own rows, and all of them


def test_rows_can_be_chosen_by_a_value(job: Job, tmp_path: Path) -> None:
    rows = [{"id": "q-0", "model": m, "shots": s, "response": f"{m}{s}"} for m in "ab" for s in (0, 5)]
    importing.bring_in(job, lines(tmp_path / "r.jsonl", rows), "mine", where={"model": "b", "shots": "5"})
    assert drawn(job) == {"q-0": ["b5"]}


def test_answers_of_several_models_in_one_arm_are_not_brought_in_unsaid(job: Job, tmp_path: Path) -> None:
    rows = [{"id": "q-0", "model": m, "response": m} for m in "aab"]
    said = importing.bring_in(job, lines(tmp_path / "r.jsonl", rows), "mine").told("p")
    assert (
        said
        == "3 new draws to 1 problems, unpriced, of 2 models together: --where model=NAME takes those of one"
    )


def test_a_mistake_in_the_last_line_brings_in_nothing(job: Job, tmp_path: Path) -> None:
    rows = [{"id": "q-0", "response": "a"}] * 3 + [{"id": "q-1", "response": 5}]
    with pytest.raises(InputError, match="line 4: no answer text"):
        importing.bring_in(job, lines(tmp_path / "r.jsonl", rows), "mine")
    assert not (job.directory / "ledger.sqlite").exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            '{"custom_id": "q-0", "response": {}, "doc_id": 1, "resps": [["a"]]}',
            "openai-batch and lm-eval both fit",
        ),
        ('{"custom_id": "q-0", "error": {}, "id": "q-0", "output": "a"}', "jsonl and openai-batch both fit"),
        ('{"results": {"gsm8k": {"exact_match": 0.5}}}', "no known format"),
        ('[{"id": "q-0", "response": "a"}]', "no known format"),
        ("id,response\nq-0,a", "not JSON"),
        ("", "not JSON"),
    ],
)
def test_a_file_of_no_format_or_of_two_is_one_line_that_names_the_mend(
    tmp_path: Path, content: str, said: str
) -> None:
    (tmp_path / "f").write_text(content)
    with pytest.raises(InputError, match=said) as refused:
        recognise(tmp_path / "f")
    assert "\n" not in str(refused.value)
    assert "--format" in str(refused.value) or "jsonl" in str(refused.value)


def test_a_format_can_be_forced_and_an_unknown_one_names_the_known(job: Job, tmp_path: Path) -> None:
    both = {"custom_id": "q-0", "error": {}, "id": "q-0", "output": "a"}
    file = lines(tmp_path / "f.jsonl", [both])
    assert importing.bring_in(job, file, "mine", format="jsonl").new == 1
    with pytest.raises(
        InputError, match=r"--format csv: no such format: give one of jsonl, openai-batch, lm-eval, inspect"
    ):
        importing.bring_in(job, file, "mine", format="csv")


def test_real_answers_of_six_models_are_imported_from_a_packed_file(shared: Path, tmp_path: Path) -> None:
    replay = shared / "replay" / "math_test_even.jsonl.gz"
    base = importing.new_run(replay, "gemma-7b", str(shared / "math" / "test_even.jsonl"))
    job = Job(config.validated(replay, base), tmp_path / "run")
    brought = importing.bring_in(job, replay, "gemma-7b", where={"model": "gemma-7b"})
    with gzip.open(replay, "rt") as rows:
        mine = [row for row in map(json.loads, rows) if row["model"] == "gemma-7b"]
    assert brought == importing.Brought(new=len(mine), known=0, problems=2500, unmatched=0, models=1)
    first = next(row["response"] for row in mine if row["idx"] == 0)
    assert drawn(job)["0"][0] == first
