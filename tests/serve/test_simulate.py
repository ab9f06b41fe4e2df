"""The simulated provider: what it knows, what it answers, what it bills, and its face over HTTP."""

import json
import re
from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from mpmath import betainc

from toolkit.errors import InputError, Kind, ProviderError
from toolkit.serve.beta import quantile
from toolkit.serve.known import Known
from toolkit.serve.openai_format import Tally
from toolkit.serve.simulate import create_app
from toolkit.serve.worked import wrong_answers
from toolkit.serve.world import World, WorldSpec, load_world
from toolkit.types import Finish, Message, Problem, Request

ROOT = Path(__file__).parents[2]
WORLDS = sorted((ROOT / "examples" / "worlds").glob("*.yaml"))
APPLES = Problem(
    "apples", "Kim has 12 apples and buys 30 more. How many has she?", "42", "12 + 30 = 42 apples."
)
ROOTS = Problem("roots", r"Find $\sin^2 60^\circ$.", r"\frac{3}{4}", r"We have $\sin 60^\circ = \sqrt{3}/2$.")
PEARS = Problem(
    "pears", "Lou had 90 pears and sold 31 of them. How many are left?", "59", "90 - 31 = 59 pears."
)
PROBLEMS = (APPLES, ROOTS, PEARS)
SHOTS = f"Q: {APPLES.question}\nA: The answer is 42.\n\nQ: {ROOTS.question}\nA: The answer is 3/4.\n\n"


def spec(**changes: Any) -> WorldSpec:
    model = {
        "ability": {"a": 0.302, "b": 0.832},
        "false_positive_rate": 0.24,
        "tokens": {"mean": 250, "sd": 60},
        "price": {"input": "0.123457", "output": 0.3},
        **changes.pop("model", {}),
    }
    return WorldSpec.model_validate({"name": "test", "models": {"m": model, "other": model}, **changes})


def sure(**changes: Any) -> dict[str, Any]:
    """A model that is right in all but one draw in a million."""
    return {"ability": {"a": 1000, "b": 0.001}, "false_positive_rate": 0.0, **changes}


def hopeless(**changes: Any) -> dict[str, Any]:
    return {"ability": {"a": 0.001, "b": 1000}, **changes}


def ask(question: str = APPLES.question, **changes: Any) -> Request:
    return Request(**{"model": "m", "messages": (Message("user", question),), "seed": 7, **changes})


def texts(world: World, request: Request) -> list[str]:
    return [choice.text for choice in world.answer(request).choices]


def tail(text: str) -> str:
    return text.rpartition("The answer is ")[2].removesuffix(".")


# --- ability -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("a", "b"), [(0.318, 0.659), (0.893, 0.272), (2.0, 5.0), (30.0, 3.0), (1000.0, 900.0)]
)
def test_beta_quantiles_invert_the_incomplete_beta_function(a: float, b: float) -> None:
    u = np.array([1e-6, 0.01, 0.3, 0.5, 0.9, 0.999])
    x = quantile(u, a, b)
    nudge = 1e-6
    for chance, at in zip(u, x, strict=True):
        below = float(betainc(a, b, 0, max(0.0, at - nudge), regularized=True))
        above = float(betainc(a, b, 0, min(1.0, at + nudge), regularized=True))
        assert below <= chance <= above


def test_beta_quantiles_with_a_closed_form() -> None:
    u = np.linspace(0.001, 0.999, 50)
    assert np.allclose(quantile(u, 0.5, 0.5), np.sin(np.pi * u / 2) ** 2, atol=1e-9)
    assert np.allclose(quantile(u, 0.25, 1.0), u**4, atol=1e-9)


def many(count: int) -> list[Problem]:
    return [Problem(f"p{i}", f"What is {i} plus {i + 1}, Ada asks?", str(2 * i + 1)) for i in range(count)]


def test_shares_of_right_and_of_unsound_draws_are_the_worlds() -> None:
    world = World(spec(), many(1000))
    drawn = [world.draws("m", i, seed=1, n=20) for i in range(1000)]
    correct = np.concatenate([d.correct for d in drawn])
    sound = np.concatenate([d.sound for d in drawn])
    assert correct.mean() == pytest.approx(0.302 / (0.302 + 0.832), abs=0.01)
    assert 1 - sound.sum() / correct.sum() == pytest.approx(0.24, abs=0.02)
    assert not np.any(sound & ~correct)


def test_coverage_follows_the_beta_binomial_curve() -> None:
    world = World(spec(), many(1000))
    solved = np.array([world.draws("m", i, seed=2, n=30).correct for i in range(1000)])
    for k in (3, 10, 30):
        misses = np.prod([(0.832 + i) / (0.302 + 0.832 + i) for i in range(k)])
        assert solved[:, :k].any(axis=1).mean() == pytest.approx(1 - misses, abs=0.03)


def test_models_agree_on_what_is_hard_unless_told_otherwise() -> None:
    problems = many(50)
    shared, apart = World(spec(), problems), World(spec(shared_difficulty=False), problems)
    assert np.array_equal(shared.ability("m"), shared.ability("other"))
    assert not np.array_equal(apart.ability("m"), apart.ability("other"))
    assert np.array_equal(np.sort(apart.ability("m")), np.sort(apart.ability("other")))


def test_token_lengths_have_the_given_mean_and_spread() -> None:
    world = World(spec(), many(200))
    lengths = np.concatenate([world.draws("m", i, seed=3, n=50).visible for i in range(200)])
    assert lengths.mean() == pytest.approx(250, abs=3)
    assert lengths.std() == pytest.approx(60, abs=3)


# --- words ---------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_text_in_any_world_object() -> None:
    one, two = World(spec(), PROBLEMS), World(spec(), PROBLEMS)
    one.answer(ask(PEARS.question, seed=None))
    assert one.answer(ask(n=5)).choices == two.answer(ask(n=5)).choices


@pytest.mark.parametrize("change", [{"seed": 8}, {"model": "other"}])
def test_another_seed_or_model_gives_another_text(change: dict[str, Any]) -> None:
    world = World(spec(), PROBLEMS)
    assert texts(world, ask(n=5)) != texts(world, ask(n=5, **change))


def test_another_world_seed_gives_another_text() -> None:
    assert texts(World(spec(seed=1), PROBLEMS), ask(n=5)) != texts(World(spec(), PROBLEMS), ask(n=5))


def test_a_choice_depends_on_its_index_and_not_on_n() -> None:
    world = World(spec(), PROBLEMS)
    assert texts(world, ask(n=30))[:4] == texts(world, ask(n=4))
    assert len(set(texts(world, ask(n=4)))) == 4


def test_without_a_seed_each_request_draws_anew_and_a_restart_repeats_them() -> None:
    def two_requests() -> list[list[str]]:
        world = World(spec(), PROBLEMS)
        return [texts(world, ask(n=3, seed=None)) for _ in range(2)]

    first, again = two_requests(), two_requests()
    assert first[0] != first[1]
    assert first == again


def test_draws_are_distinct_after_whitespace_normalisation() -> None:
    world = World(spec(), PROBLEMS)
    drawn = [
        " ".join(t.split())
        for p in PROBLEMS
        for s in range(10)
        for t in texts(world, ask(p.question, n=30, seed=s))
    ]
    assert len(set(drawn)) >= 0.999 * len(drawn)


def test_a_right_draw_ends_in_the_gold_written_as_a_person_would() -> None:
    world = World(spec(model=sure()), PROBLEMS)
    assert all(t.endswith("The answer is 42.") for t in texts(world, ask(n=20)))
    assert all(t.endswith(r"The answer is $\frac{3}{4}$.") for t in texts(world, ask(ROOTS.question, n=20)))
    minerva = spec(model=sure(), answer="The final answer is $$$answer$$. I hope it is correct.")
    text = texts(World(minerva, PROBLEMS), ask(ROOTS.question))[0]
    assert text.endswith(r"The final answer is $\frac{3}{4}$. I hope it is correct.")


def test_a_wrong_draw_shows_the_gold_nowhere() -> None:
    world = World(spec(model=hopeless()), PROBLEMS)
    drawn = texts(world, ask(n=60))
    assert not any(re.search(r"\b42\b", text) for text in drawn)
    assert len({tail(text) for text in drawn}) > 3


def test_an_unsound_draw_has_a_false_equation_and_a_sound_one_has_none() -> None:
    world = World(spec(model=sure(false_positive_rate=0.5)), PROBLEMS)
    truth = world.draws("m", 2, seed=7, n=40)
    for text, sound in zip(texts(world, ask(PEARS.question, n=40)), truth.sound, strict=True):
        left, right, result = re.findall(r"(\d+) - (\d+) = (\d+)", text)[0]
        assert text.endswith("The answer is 59.")
        assert (int(left) - int(right) == int(result)) == sound
    assert 5 < truth.sound.sum() < 35


GOLDS = ["0", "7", "-3", "1,200", "3.50", r"\frac{3}{4}", r"-\frac12", "5/8", r"\dfrac{1}{2}", "1", "2.0"]
WORDY = [
    r"2\sqrt{3}",
    "(3,4)",
    r"\text{(A)}",
    r"\pi",
    r"5\text{ cm}^2",
    r"[1,\infty)",
    "x^2+1",
    r"\text{even}",
    "0",
]


@pytest.mark.parametrize("gold", GOLDS)
def test_wrong_answers_differ_from_the_gold_by_value(gold: str) -> None:
    wrong = wrong_answers(gold)
    assert len(wrong) >= 2
    assert all(_number(answer) != _number(gold) for answer in wrong)


@pytest.mark.parametrize("gold", WORDY)
def test_wrong_answers_to_an_expression_are_other_expressions(gold: str) -> None:
    wrong = wrong_answers(gold)
    assert len(wrong) >= 2
    assert gold not in wrong
    assert len(set(wrong)) == len(wrong)


def _number(text: str) -> Fraction:
    plain = text.replace(",", "")
    latex = re.fullmatch(r"(-?)\\[dt]?frac\{?(\d+?)\}?\{?(\d+)\}?", plain)
    return Fraction(f"{latex[1]}{latex[2]}/{latex[3]}") if latex else Fraction(plain)


# --- limits of a request -------------------------------------------------------------------------


def test_a_truncated_draw_has_no_answer_and_costs_max_tokens() -> None:
    world = World(spec(model=sure(tokens={"mean": 200, "sd": 5})), PROBLEMS)
    reply = world.answer(ask(n=10, max_tokens=150))
    assert reply.usage is not None
    assert reply.usage.output == 10 * 150
    assert {c.finish for c in reply.choices} == {Finish.LENGTH}
    assert not any("The answer is" in c.text or "42" in c.text for c in reply.choices)


def test_a_stop_string_ends_the_text_before_it() -> None:
    world = World(spec(model=sure()), PROBLEMS)
    whole, cut = texts(world, ask())[0], texts(world, ask(stop=("The answer", "\n\n")))[0]
    assert whole == f"{cut}The answer is 42."


def test_thinking_counts_in_max_tokens_and_can_be_switched_off() -> None:
    world = World(spec(model=sure(thinking={"mean": 100}, tokens={"mean": 50})), PROBLEMS)

    def used(**limits: int) -> tuple[int, int]:
        usage = world.answer(ask(**limits)).usage
        assert usage is not None
        return usage.thinking, usage.output

    assert used() == (100, 50)
    assert used(thinking=0) == (0, 50)
    assert used(thinking=60) == (60, 50)
    assert used(max_tokens=120) == (100, 20)


def test_the_price_is_billed_exactly() -> None:
    world = World(spec(model={"thinking": {"mean": 30, "sd": 9}}), PROBLEMS)
    turn = world.turn(ask(n=7))
    usage = turn.reply.usage
    assert usage is not None
    assert usage.prompt == -(-len(APPLES.question) // 4)
    assert turn.pico == usage.prompt * 123_457 + (usage.output + usage.thinking) * 300_000


def test_latency_grows_with_the_longest_choice() -> None:
    slow = {"tokens": {"mean": 50}, "latency": {"mean": 0.5, "per_token": 0.01}}
    assert World(spec(model=slow), PROBLEMS).turn(ask(n=3)).seconds == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("change", "kind", "word"), [({"model": "gpt"}, Kind.MODEL, "gpt"), ({"n": 65}, Kind.BAD_REQUEST, "'n'")]
)
def test_what_the_world_lacks_is_refused_unbilled(change: dict[str, Any], kind: Kind, word: str) -> None:
    with pytest.raises(ProviderError, match=word) as refused:
        World(spec(), PROBLEMS).answer(ask(**change))
    assert (refused.value.kind, refused.value.billed, refused.value.retryable) == (kind, "no", False)


# --- finding the problem -------------------------------------------------------------------------


def test_in_a_few_shot_prompt_the_last_known_problem_is_the_one_asked() -> None:
    world = World(spec(model=sure()), PROBLEMS)
    prompt = f"{SHOTS}Q: {PEARS.question}\nA:"
    assert tail(texts(world, ask(prompt))[0]) == "59"
    assert tail(texts(world, Request("m", prompt=prompt, seed=1))[0]) == "59"


def test_a_question_inside_a_longer_one_does_not_hide_it() -> None:
    short, longer = "What is 2 + 2?", "Ann is 9. What is 2 + 2? What is her age?"
    known = Known([short, longer, short])
    assert known.last_in(f"Q: {short}\nQ: {longer}\nA:") == 1
    assert known.last_in(f"Q: {longer}\nQ: {short}\nA:") == 0
    assert known.last_in("Q: What is 2 + 3?") is None


def test_questions_with_the_same_beginning_are_told_apart() -> None:
    questions = ["What is the value of x?", "What is the value of x? Or of y?", "What is the value of z?"]
    known = Known(questions)
    assert [known.last_in(f"<s>{question}</s>") for question in questions] == [0, 1, 2]


def test_an_unknown_problem_is_answered_wrongly_and_marked() -> None:
    turn = World(spec(model=sure()), PROBLEMS).turn(ask("What is 40 + 2?", n=5))
    assert not turn.matched
    assert all(c.finish is Finish.STOP and tail(c.text) != "42" for c in turn.reply.choices)


# --- world files ---------------------------------------------------------------------------------


@pytest.mark.parametrize("path", WORLDS, ids=lambda path: path.stem)
def test_a_shipped_world_loads_and_answers(path: Path) -> None:
    world = World(load_world(path), PROBLEMS)
    for name in world.spec.models:
        reply = world.answer(ask(model=name, n=2))
        assert len(reply.choices) == 2


def test_there_are_shipped_worlds() -> None:
    assert {path.stem for path in WORLDS} >= {"gemma2-math", "gemma2-gsm8k", "word-problems"}


WORLD = """
name: w
models:
  m: {ability: {a: 1, b: 1}, tokens: {mean: 9}, price: {input: 0.1, output: 0.2}}
"""


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("ability", "abilty", ["models.m", "abilty", "'ability'"]),
        ("name: w", "nam: w", ["nam", "'name'"]),
        ("input: 0.1", "input: 0.1234567", ["models.m.price.input", "decimal places"]),
        ("a: 1", "a: 0", ["models.m.ability.a", "greater than 0"]),
        ("name: w", "name: w\nanswer: It is over.", ["answer", "must contain $answer"]),
        ("name: w", "name: [", ["not YAML"]),
    ],
)
def test_a_wrong_world_file_is_one_line_with_file_key_and_mend(
    tmp_path: Path, old: str, new: str, said: Sequence[str]
) -> None:
    path = tmp_path / "w.yaml"
    path.write_text(WORLD.replace(old, new))
    with pytest.raises(InputError) as error:
        load_world(path)
    message = str(error.value)
    assert "\n" not in message
    assert all(word in message for word in [str(path), *said])


def test_a_missing_world_file_is_named() -> None:
    with pytest.raises(InputError, match=r"nowhere\.yaml"):
        load_world("nowhere.yaml")


def test_prices_are_read_as_they_are_written(tmp_path: Path) -> None:
    path = tmp_path / "w.yaml"
    path.write_text(WORLD)
    assert load_world(path).models["m"].price.output == Decimal("0.2")


# --- over HTTP -----------------------------------------------------------------------------------


def client(world_spec: WorldSpec, tally: Tally, key: str | None = None) -> httpx.AsyncClient:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    transport = httpx.ASGITransport(create_app(World(world_spec, PROBLEMS), tally))
    return httpx.AsyncClient(transport=transport, base_url="http://sim", headers=headers)


def chat(question: str = APPLES.question, **changes: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": question}], "seed": 7, **changes}


async def test_http_answers_are_the_worlds_and_the_tally_is_their_bill() -> None:
    tally = Tally()
    expected = World(spec(), PROBLEMS).turn(ask(n=3))
    async with client(spec(), tally) as http:
        answer = await http.post("/v1/chat/completions", json=chat(n=3))
        await http.post("/v1/completions", json={"model": "other", "prompt": "Who?", "n": 2})
        stats = (await http.get("/sim/stats")).json()
    body = answer.json()
    assert answer.headers["x-request-id"] == body["id"]
    assert [c["message"]["content"] for c in body["choices"]] == [c.text for c in expected.reply.choices]
    assert stats["models"]["m"]["pico"] == expected.pico
    assert stats["models"]["m"]["tokens"]["output"] == body["usage"]["completion_tokens"]
    assert (stats["requests"], stats["draws"], stats["unmatched"]) == (2, 5, 1)
    assert (stats["models"]["m"]["unmatched"], stats["models"]["other"]["unmatched"]) == (0, 1)


@pytest.mark.parametrize(
    ("change", "status", "param", "code"),
    [
        ({"presence_penalty": 1}, 400, "presence_penalty", None),
        ({"n": 65}, 400, "n", None),
        ({"model": "gpt"}, 404, "model", "model_not_found"),
    ],
)
async def test_what_cannot_be_served_is_refused_by_name_and_not_billed(
    change: dict[str, Any], status: int, param: str, code: str | None
) -> None:
    tally = Tally()
    async with client(spec(), tally) as http:
        answer = await http.post("/v1/chat/completions", json=chat(**change))
    error = answer.json()["error"]
    assert (answer.status_code, error["param"], error["code"]) == (status, param, code)
    assert answer.headers["x-request-id"]
    assert tally.as_json()["requests"] == 0


@pytest.mark.parametrize(("key", "status"), [("right", 200), ("wrong", 401), (None, 401)])
async def test_only_the_right_key_is_served(key: str | None, status: int) -> None:
    tally = Tally()
    async with client(spec(key="right"), tally, key) as http:
        answer = await http.post("/v1/chat/completions", json=chat())
        models = await http.get("/v1/models")
        health = await http.get("/health")
    assert (answer.status_code, models.status_code, health.status_code) == (status, status, 200)
    assert tally.as_json()["requests"] == (1 if status == 200 else 0)
    if status == 401:
        assert answer.json()["error"]["code"] == "invalid_api_key"


async def test_models_are_listed() -> None:
    async with client(spec(), Tally()) as http:
        listed = (await http.get("/v1/models")).json()
    assert [model["id"] for model in listed["data"]] == ["m", "other"]


async def test_a_truncated_choice_says_length() -> None:
    async with client(spec(model={"tokens": {"mean": 90}}), Tally()) as http:
        body = (await http.post("/v1/chat/completions", content=json.dumps(chat(max_tokens=20)))).json()
    assert body["choices"][0]["finish_reason"] == "length"
    assert body["usage"]["completion_tokens"] == 20
