"""Are the models compared of one family? The paper's are, and its finding was made there."""

import re
from collections.abc import Iterable

from toolkit.spec import Model

LOCAL = frozenset({"simulated", "checkpoint", "imported"})  # providers whose names say nothing of a family
# The word in a model's name that tells, and the family it tells.
FAMILIES = {
    **{
        name: name
        for name in ("gemini", "gemma", "gpt", "claude", "llama", "qwen", "deepseek", "grok", "phi", "olmo")
    },
    "mistral": "mistral",
    "mixtral": "mistral",
    "ministral": "mistral",
    "o1": "gpt",
    "o3": "gpt",
    "o4": "gpt",
}
_WORD = re.compile(r"[a-z]+[0-9]*")


def family(model: Model) -> str | None:
    """The family a model's name tells of; None where it tells nothing."""
    if model.provider in LOCAL:
        return None
    for word in _WORD.findall(model.model.lower()):
        if found := FAMILIES.get(word) or FAMILIES.get(word.rstrip("0123456789")):
            return found
    return None


def notes(models: Iterable[Model]) -> list[str]:
    """What to say of a comparison across families (arXiv 2408.16737 compares Gemma 2 and Gemini 1.5, each with its own)."""
    by_family: dict[str, str] = {}
    for model in models:
        if found := family(model):
            by_family.setdefault(found, model.shown)
    if len(by_family) < 2:
        return []
    return [
        f"{' and '.join(by_family.values())} are of different families: what the paper found holds between models of "
        "one family and may turn around here; tokens of different tokenizers are no common measure either"
    ]
