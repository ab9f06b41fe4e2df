"""The server of local checkpoints, on the smallest one of the repository."""

import asyncio
import json
from pathlib import Path

import httpx
import pytest

pytest.importorskip("torch")

import torch
from transformers import AutoTokenizer

import prompts
from toolkit import word_problems
from toolkit.serve.batch import choose, row_of
from toolkit.serve.checkpoint import create_app
from toolkit.serve.openai_format import Tally
from toolkit.types import Request

WC = Path(__file__).parents[2] / "examples" / "tiny-gemma" / "wc"
CONTEXT = 2048
QUESTIONS = [
    prompts.render(prompts.load("word-problems"), question=p.question)
    for p in word_problems.generate("validation", limit=6)
]


@pytest.fixture(scope="module")
def tally():
    return Tally()


@pytest.fixture(scope="module")
def app(tally):
    return create_app({"wc": WC}, tally, {"wc": (100, 500)})


def ask(app, *bodies, path="/v1/chat/completions"):
    """The answers to requests that are in flight together."""

    async def all_at_once():
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
            return await asyncio.gather(*(client.post(path, json=body, timeout=60) for body in bodies))

    return asyncio.run(all_at_once())


def chat(question=0, **decoding):
    messages = [{"role": "user", "content": QUESTIONS[question]}]
    return {"model": "wc", "messages": messages, "max_tokens": 120, **decoding}


def texts(answer):
    assert answer.status_code == 200, answer.text
    return [choice["message"]["content"] for choice in answer.json()["choices"]]


def test_a_seed_reproduces_its_texts_and_another_seed_does_not(app):
    first, again, other = (texts(ask(app, chat(seed=s, n=6))[0]) for s in (7, 7, 8))
    assert first == again
    assert first != other


def test_choices_of_one_request_differ_and_more_choices_keep_the_first(app):
    few, many = (texts(ask(app, chat(seed=1, n=n))[0]) for n in (3, 8))
    assert len(set(many)) > 1
    assert many[:3] == few


def test_unseeded_requests_differ(app):
    first, second = ask(app, chat(n=4), chat(n=4))
    assert texts(first) != texts(second)


def test_company_does_not_change_a_rows_text(app):
    bodies = [chat(i, seed=i, n=5, top_k=3 if i % 2 else None, temperature=1.0) for i in range(6)]
    together = [texts(answer) for answer in ask(app, *bodies)]
    alone = [texts(ask(app, body)[0]) for body in bodies]
    assert together == alone


def test_rows_that_join_late_keep_their_texts(app):
    early, late = [chat(i % 6, seed=i, n=40) for i in range(5)], chat(5, seed=99, n=3)
    assert texts(ask(app, *early, late)[-1]) == texts(ask(app, late)[0])


def test_temperature_0_is_greedy_and_so_is_top_k_1(app):
    cold, narrow = ask(app, chat(temperature=0, n=2), chat(temperature=1.5, top_k=1, n=2))
    assert len({*texts(cold), *texts(narrow)}) == 1


def test_a_stop_string_ends_the_text_before_it(app):
    whole, cut = ask(app, chat(temperature=0), chat(temperature=0, stop=["answer is"]))
    assert texts(cut)[0] == texts(whole)[0].split("answer is")[0]
    assert cut.json()["choices"][0]["finish_reason"] == "stop"
    assert cut.json()["usage"]["completion_tokens"] < whole.json()["usage"]["completion_tokens"]


def test_max_tokens_ends_with_length(app):
    answer = ask(app, chat(max_tokens=5, n=3))[0].json()
    assert [choice["finish_reason"] for choice in answer["choices"]] == ["length"] * 3
    assert answer["usage"]["completion_tokens"] == 15


def test_usage_counts_the_prompt_once_and_every_choice_with_its_end_token(app):
    tokenizer = AutoTokenizer.from_pretrained(WC)
    body = chat(n=4, seed=3)
    answer = ask(app, body)[0]
    prompt = tokenizer.apply_chat_template(body["messages"], add_generation_prompt=True)["input_ids"]
    written = sum(len(tokenizer(t, add_special_tokens=False).input_ids) + 1 for t in texts(answer))
    usage = answer.json()["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (len(prompt), written)


def test_the_stats_add_up_what_was_billed(app, tally):
    before = tally.as_json()
    usage = [answer.json()["usage"] for answer in ask(app, chat(n=3), chat(1, n=2))]
    after = ask_stats(app)
    assert after["requests"] - before["requests"] == 2
    assert after["draws"] - before["draws"] == 5
    assert after["pico"] - before["pico"] == sum(
        100 * u["prompt_tokens"] + 500 * u["completion_tokens"] for u in usage
    )


def ask_stats(app):
    async def stats():
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app=app), base_url="http://here"
        ) as client:
            return (await client.get("/sim/stats")).json()

    return asyncio.run(stats())


def test_raw_completions_take_the_prompt_as_it_is(app):
    raw = f"<start_of_turn>user\n{QUESTIONS[0]}<end_of_turn>\n<start_of_turn>model\n"
    body = {"model": "wc", "prompt": raw, "temperature": 0, "max_tokens": 120}
    answer = ask(app, body, path="/v1/completions")[0]
    assert answer.json()["choices"][0]["text"] == texts(ask(app, chat(temperature=0))[0])[0]


@pytest.mark.parametrize(
    ("change", "status", "param", "code"),
    [
        ({"presence_penalty": 1.0}, 400, "presence_penalty", None),
        ({"n": 0}, 400, "n", None),
        ({"model": "gpt"}, 404, "model", "model_not_found"),
        (
            {"messages": [{"role": "user", "content": "1" * CONTEXT}]},
            400,
            "messages",
            "context_length_exceeded",
        ),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, 400, "messages", None),
        ({"messages": [{"role": "system", "content": "x"}]}, 400, "messages", None),
    ],
)
def test_what_cannot_be_served_is_refused_by_name(app, change, status, param, code):
    answer = ask(app, chat() | change)[0]
    error = answer.json()["error"]
    assert (answer.status_code, error["param"], error["code"]) == (status, param, code)


def test_the_room_left_in_the_context_bounds_the_answer(app):
    raw = {"model": "wc", "prompt": "7" * (CONTEXT - 10), "max_tokens": 500}
    answer = ask(app, raw, path="/v1/completions")[0]
    usage = answer.json()["usage"]
    assert usage["total_tokens"] <= CONTEXT


def test_draws_follow_the_distribution_within_its_limits():
    weights = torch.tensor([0.5, 0.3, 0.15, 0.05], dtype=torch.float64)
    n = 4000
    noise = (torch.arange(n) + 0.5) / n

    def shares(**decoding):
        rows = [row_of(Request("m", **decoding), seed=0, index=0, budget=1)] * n
        drawn = choose(weights.log().repeat(n, 1), rows, noise.double())
        return (torch.bincount(drawn, minlength=4) / n).tolist()

    assert shares() == pytest.approx([0.5, 0.3, 0.15, 0.05], abs=1e-3)
    assert shares(top_k=2) == pytest.approx([0.625, 0.375, 0, 0], abs=1e-3)
    assert shares(top_p=0.6) == pytest.approx([0.625, 0.375, 0, 0], abs=1e-3)
    assert shares(temperature=0.5) == pytest.approx([0.685, 0.247, 0.062, 0.007], abs=1e-3)
    assert shares(temperature=0) == [1, 0, 0, 0]


@pytest.mark.parametrize("name", ["wc", "se", "student"])
def test_the_tokenizer_of_a_checkpoint_gives_any_text_back(name):
    tokenizer = AutoTokenizer.from_pretrained(WC.parent / name)
    for text in (QUESTIONS[0], " zebra's\n\n  café\t$5,000.50 日本 🙂 ", "<b>x</b>\r\n"):
        ids = tokenizer(text, add_special_tokens=False).input_ids
        assert tokenizer.unk_token_id not in ids
        assert tokenizer.decode(ids) == text


def test_the_strong_checkpoint_costs_two_to_four_times_the_weak_one_and_measures_better():
    weak, strong = (json.loads((WC.parent / name / "recipe.json").read_text()) for name in ("wc", "se"))
    assert 2 <= strong["parameters"] / weak["parameters"] <= 4
    for decoding, measured in weak["pass@1"].items():
        assert measured["high"] < strong["pass@1"][decoding]["low"]
