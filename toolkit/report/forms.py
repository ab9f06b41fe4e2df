"""Templates and how a text may enter them: escaped, with characters that hide or reorder made visible."""

import os
import re
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from toolkit.report import charts, figures

_INVISIBLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]"
)


def render(template: str, **values: Any) -> str:
    """A page, or a part of one, with the look all pages share."""
    return str(_world().get_template(template).render(values))


def save(path: Path, text: str) -> Path:
    """Whole or not at all."""
    draft = path.with_name(f"{path.name}.tmp")
    draft.write_text(text, encoding="utf-8")
    os.replace(draft, path)
    return path


def source(name: str) -> str:
    return files("toolkit.report").joinpath(name).read_text(encoding="utf-8")


def where(directory: Path) -> str:
    """The directory as a person here would type it; only its name where it lies elsewhere."""
    whole = directory.resolve()
    return whole.relative_to(Path.cwd()).as_posix() if whole.is_relative_to(Path.cwd()) else whole.name


def visible(text: Any) -> Any:
    """The text with characters that hide, reorder or break a page replaced by their names."""
    if isinstance(text, str) and not isinstance(text, Markup):
        return _INVISIBLE.sub(lambda m: f"⟨U+{ord(m[0]):04X}⟩", text.replace("\r\n", "\n"))
    return text


@cache
def _world() -> Environment:
    world = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        finalize=visible,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=FunctionLoader(source),
    )
    world.globals |= {"fig": figures, "markers": charts.MARKERS, "style": Markup(source("style.css"))}
    return world
