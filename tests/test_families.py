"""A comparison across families is said to be one."""

from typing import Any

import pytest

from toolkit import families
from toolkit.spec import Model


def model(name: str, provider: str = "litellm", **more: Any) -> Model:
    return Model.model_validate({"provider": provider, "model": name, **more})


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("gemini-2.5-flash", "gemini"),
        ("models/gemini-1.5-pro", "gemini"),
        ("google/gemma-2-9b-it", "gemma"),
        ("gpt-4.1-mini", "gpt"),
        ("o3-mini", "gpt"),
        ("anthropic/claude-sonnet-4-5", "claude"),
        ("meta-llama/Llama-3.1-8B-Instruct", "llama"),
        ("Qwen/Qwen3-30B-A3B", "qwen"),
        ("Qwen/Qwen2.5-Math-7B", "qwen"),
        ("mistralai/Mixtral-8x7B-v0.1", "mistral"),
        ("deepseek/deepseek-chat", "deepseek"),
        ("my-own-model", None),
    ],
)
def test_a_models_name_tells_its_family(name: str, family: str | None) -> None:
    assert families.family(model(name)) == family


@pytest.mark.parametrize(
    "names",
    [("gemini-2.5-flash", "gemini-2.5-pro"), ("gemini-2.5-flash",), ("gpt-4.1-mini", "somebodys-own"), ()],
)
def test_models_of_one_family_need_no_word(names: tuple[str, ...]) -> None:
    assert families.notes(map(model, names)) == []


@pytest.mark.parametrize(
    "names",
    [("gemini-2.5-flash", "gpt-4.1"), ("gemma-2-9b-it", "gemini-2.5-pro"), ("gpt-4.1", "x", "claude-3")],
)
def test_a_comparison_across_families_is_said_to_be_one(names: tuple[str, ...]) -> None:
    (note,) = families.notes(map(model, names))
    assert names[0] in note
    assert names[-1] in note
    assert "may turn around" in note


def test_simulated_models_are_of_no_family() -> None:
    worlds = [model(name, "simulated", world="w.yaml") for name in ("gemini-sim", "gpt-sim")]
    assert families.notes(worlds) == []
