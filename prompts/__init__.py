"""Prompt texts, one file each, with `$name` placeholders. A literal dollar is written `$$`."""

from importlib.resources import files
from pathlib import Path
from string import Template


def load(name: str) -> Template:
    """The prompt called `name` in this package, or the text file at that path.

    Raises LookupError naming what exists.
    """
    shipped = files(__name__).joinpath(f"{name}.md")
    source = shipped if shipped.is_file() else Path(name)
    if not source.is_file():
        known = sorted(
            f.name.removesuffix(".md") for f in files(__name__).iterdir() if f.name.endswith(".md")
        )
        raise LookupError(f"no prompt {name!r}: give one of {', '.join(known)}, or a path to a text file")
    return Template(source.read_text(encoding="utf-8").rstrip("\n"))


def render(template: Template, **values: str) -> str:
    """The prompt with every placeholder filled; a missing name is a LookupError naming it."""
    try:
        return template.substitute(values)
    except KeyError as missing:
        raise LookupError(f"the prompt wants ${missing.args[0]}, which problems do not have") from None
