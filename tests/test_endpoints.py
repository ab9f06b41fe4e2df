"""What a run file leaves out is filled in from the catalog, and what a model cannot do is refused at once."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from providers.gemini_legacy import GeminiLegacy
from toolkit import arms, catalog, checks, endpoints, sample
from toolkit.errors import InputError
from toolkit.limits import Limiter
from toolkit.spec import Limits, Model, Problems, Run
from toolkit.types import Message, Request
from toolkit.wire import Wire

TINY = Path(__file__).parents[1] / "examples" / "tiny-gemma"


def run(**model: Any) -> Run:
    given = {"provider": "gemini", "model": "gemini-2.5-flash", **model}
    return Run.model_validate(
        {"name": "r", "problems": {}, "models": {"cheap": given}, "budget": {"draws": 1, "match": "samples"}}
    )


def resolved(**model: Any) -> Model:
    return endpoints.resolve(run(**model)).models["cheap"]


def limits(**model: Any) -> Limits:
    found = resolved(**model).limits
    assert found is not None
    return found


# -- tiers


@pytest.mark.parametrize(("tier", "dollars"), [("1", 10), (1, 10), ("2", 50), ("3", 200)])
def test_a_tier_fills_in_the_limits_the_catalog_knows(tier: Any, dollars: float) -> None:
    assert limits(limits={"tier": tier}).usd_per_10_minutes == dollars


def test_a_limit_of_the_run_files_own_wins_over_its_tier() -> None:
    found = limits(limits={"tier": "1", "usd_per_10_minutes": 3, "requests_per_minute": 100})
    assert (found.usd_per_10_minutes, found.requests_per_minute, found.tier) == (3, 100, "1")


def test_without_a_tier_nothing_is_assumed() -> None:
    assert resolved().limits is None
    assert limits(limits={"requests_per_minute": 5}).usd_per_10_minutes is None


def test_a_resolved_run_resolves_to_itself() -> None:
    once = endpoints.resolve(run(limits={"tier": "2", "concurrency": 4}))
    assert endpoints.resolve(once) == once


@pytest.mark.parametrize(
    ("model", "mend"),
    [
        ({"limits": {"tier": "platinum"}}, "give one of 1, 2, 3"),
        (
            {"provider": "vllm", "model": "google/gemma-2-2b-it", "limits": {"tier": "1"}},
            "the catalog knows none: write the limits themselves",
        ),
    ],
)
def test_a_tier_nobody_knows_is_one_line_with_those_that_are(model: dict[str, Any], mend: str) -> None:
    with pytest.raises(InputError) as refused:
        resolved(**model)
    assert str(refused.value).startswith("models.cheap.limits.tier: no tier ")
    assert str(refused.value).endswith(mend)
    assert "\n" not in str(refused.value)


def test_every_tier_has_a_date_and_the_vendors_page() -> None:
    tiers = [tier for entry in catalog.load().values() for tier in entry.tiers.values()]
    assert tiers
    for tier in tiers:
        assert len(tier.date) == len("2026-10-17")
        assert tier.source.startswith("https://")
        assert tier.limits.model_fields_set


def test_models_of_one_key_share_the_dollars_of_their_tier_and_others_do_not() -> None:
    purses: arms.Purses = {}

    def purse(model: str, key: str = "GEMINI_API_KEY") -> object:
        return arms.make_limiter(resolved(model=model, key_env=key, limits={"tier": 1}), purses).spend

    assert purse("gemini-2.5-flash") is purse("gemini-2.5-pro")
    assert purse("gemini-2.5-flash") is not purse("gemini-2.5-flash", "ANOTHER_KEY")


# -- what `check` says of limits


def test_check_tells_each_limit_with_its_origin() -> None:
    model = resolved(limits={"tier": "1", "requests_per_minute": 600})
    limiter = Limiter(model.limits or Limits())
    limiter.learn({"x-ratelimit-limit-tokens": "90000"})
    assert checks.limits(model, limiter) == (
        "600 requests/min (run file), 90,000 tokens/min (said by the server), "
        "$10/10 min (tier 1, read 2026-10-17), as many in flight as it keeps up with"
    )


def test_check_names_the_tiers_the_catalog_knows_where_none_is_set() -> None:
    said = checks.limits(resolved(limits={"concurrency": 4}), Limiter(Limits(concurrency=4)))
    assert said == (
        "4 in flight, the catalog knows those of tiers 1, 2, 3: set limits.tier to your account's"
    )


# -- thinking that cannot be switched off


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ({"model": "gemini-2.5-pro", "thinking": 0}, "this model cannot stop thinking: give 128 to 32768"),
        ({"model": "models/gemini-2.5-pro", "thinking": 0}, "this model cannot stop thinking"),
        ({"model": "gemini/gemini-2.5-pro", "provider": "litellm", "thinking": 0}, "cannot stop thinking"),
        ({"model": "gemini-2.5-flash-lite", "thinking": 100}, "takes 0 or 512 to 24576 tokens"),
        ({"model": "gemini-3-pro-preview", "thinking": 0}, "takes a level"),
    ],
)
def test_thinking_a_model_cannot_do_without_is_refused_before_anything_is_asked(
    model: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError, match=r"^models\.cheap\.thinking: ") as refused:
        resolved(**model)
    assert said in str(refused.value)
    assert "ai.google.dev/gemini-api/docs/thinking, read 2026-11-21" in str(refused.value)


@pytest.mark.parametrize(
    "model",
    [
        {"thinking": 0},
        {"model": "gemini-2.5-pro", "thinking": 128},
        {"model": "gemini-2.5-pro"},
        {"model": "anthropic/claude-sonnet-4-5", "provider": "litellm", "thinking": 0},
    ],
)
def test_thinking_a_model_can_be_given_is_no_mistake(model: dict[str, Any]) -> None:
    assert resolved(**model).thinking == model.get("thinking")


# -- the time a request may take


async def test_adapters_over_an_sdk_are_given_the_runs_own_timeout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GEMINI_API_KEY", "k")
    model = resolved(provider="gemini-legacy")
    async with endpoints.Connections(tmp_path, 7.0)({"cheap": model}, Problems()) as opened:
        provider = opened["cheap"].provider
        assert isinstance(provider, GeminiLegacy)
        assert provider.timeout == 7.0


# -- our own servers


def test_small_checkpoints_alike_but_for_their_folder_share_a_server_on_each_core(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(endpoints.os, "cpu_count", lambda: 2)
    small = {("--checkpoint", f"student/{n}", "--journal", "j"): {"OMP_NUM_THREADS": "1"} for n in "abc"}
    priced = ("--checkpoint", "wc", "--price", "1,1", "--journal", "j")
    large: dict[tuple[str, ...], dict[str, str]] = {
        ("--checkpoint", f"large/{n}", "--journal", "j"): {} for n in "ab"
    }
    world = ("--simulate", "w.yaml", "--journal", "j")
    found = endpoints._together(small | {priced: {"OMP_NUM_THREADS": "1"}} | large | {world: {}})
    assert [[args[1] for args in batch] for batch in found] == [
        ["student/a", "student/c"], ["student/b"], ["wc"], ["large/a"], ["large/b"], ["w.yaml"],
    ]  # fmt: skip
    assert endpoints._merged(found[0]) == [
        "--checkpoint", "student/a", "--checkpoint", "student/c", "--journal", "j",
    ]  # fmt: skip


async def test_checkpoints_of_one_name_that_share_a_server_answer_as_themselves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    from toolkit.serve import checkpoint

    monkeypatch.setattr(endpoints.os, "cpu_count", lambda: 1)
    folders = {who: shutil.copytree(TINY / who, tmp_path / who / "same") for who in ("wc", "se")}
    models = {
        who: Model(provider="checkpoint", model=str(folder), params=50_000) for who, folder in folders.items()
    }
    asked = Request("same", messages=(Message("user", "Tom has 3 apples."),), max_tokens=40, temperature=0.0)
    said = {}
    async with (
        endpoints.Connections(tmp_path)(models, Problems()) as opened,
        Wire(timeout=60) as wire,
    ):
        for who, endpoint in opened.items():
            reply = await sample.asker(endpoint.provider, wire.send)(asked)
            said[who] = reply.choices[0].text
    alone = {}
    for who, folder in folders.items():
        engine = checkpoint.Engine(folder)
        alone[who] = engine.submit(asked).result(60).choices[0].text
        engine.close()
    assert said == alone
    assert said["wc"] != said["se"]
    assert len((tmp_path / "served.jsonl").read_text().splitlines()) == 2
