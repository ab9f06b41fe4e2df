"""Run files: YAML in, a resolved `Run` out, and every mistake one line naming file, key and mend."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from toolkit.errors import InputError
from toolkit.spec import Run

RESOLVED = "run.yaml"  # in a run directory


def load(source: Path, overrides: Iterable[str] = (), out: Path | None = None) -> tuple[Run, Path]:
    """The run of a run file or a run directory, and its directory.

    `overrides` are `a.b=c`, the value in YAML. Paths are looked for beside the run file, then in the
    working directory; those of overrides the other way round.
    """
    file = source / RESOLVED if source.is_dir() else source
    data = _read(file)
    for override in overrides:
        _set(data, override)
    run = validated(file, _with_paths(data, file.parent, _overridden(overrides)))
    home = source if source.is_dir() else Path("runs") / run.name
    return run, out or home


def dump(run: Run) -> str:
    """The resolved run as YAML; loading it gives the same run."""
    data = run.model_dump(mode="json", exclude_none=True)
    for name, model in run.models.items():  # here null means "not sent", whatever the run's default is
        data["models"][name]["decoding"] = model.decoding.model_dump(mode="json", exclude_unset=True)
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True)


def _read(file: Path) -> dict[str, Any]:
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(
            f"{file}: no such file: give a run file (examples/*.yaml) or a run directory"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: cannot be read as text ({error})") from None
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" line {mark.line + 1}" if mark else ""
        raise InputError(
            f"{file}{where}: not YAML ({getattr(error, 'problem', None) or 'unreadable'})"
        ) from None
    except ValueError as error:  # what looks like a date and is none, e.g. 2026-02-30
        raise InputError(f"{file}: not YAML ({error}): put quotes around what is not a date") from None
    if data is None:
        raise InputError(
            f"{file}: the file is empty: a run file needs at least name, problems, models and budget"
        )
    if not isinstance(data, dict):
        raise InputError(f"{file}: a {type(data).__name__}, not a mapping: a run file is `key: value` lines")
    return data


SHORT = {"pilot": "draws", "policy": "name"}  # sections that may be written as this key's value alone


def _set(data: dict[str, Any], override: str) -> None:
    path, equals, text = override.partition("=")
    keys = path.strip().split(".")
    if not equals or not all(keys):
        raise InputError(f"--set {override}: write --set a.b=value")
    here = data
    for key in keys[:-1]:
        if here.get(key) is None:
            here[key] = {}
        elif key in SHORT and not isinstance(here[key], dict):
            here[key] = {SHORT[key]: here[key]}
        if not isinstance(here[key], dict):
            raise InputError(f"--set {override}: {key} is not a section")
        here = here[key]
    try:
        here[keys[-1]] = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError):
        raise InputError(f"--set {override}: the value is not YAML") from None


def _overridden(overrides: Iterable[str]) -> frozenset[str]:
    return frozenset(o.partition("=")[0].strip() for o in overrides)


def validated(file: Path, data: dict[str, Any], overrides: Iterable[str] = ()) -> Run:
    """The data as a Run, overrides applied. Raises InputError with the first mistake."""
    for override in overrides:
        _set(data, override)
    try:
        return Run.model_validate(data)
    except ValidationError as error:
        raise InputError(_one_line(file, error)) from None


def _one_line(file: Path, error: ValidationError) -> str:
    """The first mistake; how many more there are."""
    mistakes = error.errors(include_url=False)
    first = mistakes[0]
    key = ".".join(str(part) for part in first["loc"] if not _is_type_name(part))
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "missing":
        key, message = key, "missing: every run file needs it"
    given = first.get("input")
    shown = (
        f" (not {given!r})" if isinstance(given, str | int | float) and first["type"] != "value_error" else ""
    )
    more = f" (and {len(mistakes) - 1} more)" if len(mistakes) > 1 else ""
    return f"{file}: {key + ': ' if key else ''}{message}{shown}{more}"


def _is_type_name(part: int | str) -> bool:
    """Branches of a union show up in pydantic's locations as type names."""
    return part in ("Params", "int")


def _with_paths(data: dict[str, Any], beside: Path, overridden: frozenset[str]) -> dict[str, Any]:
    """The same data with every path that exists made absolute, so that a run directory stands alone."""

    def found(value: Any, key: str) -> Any:
        if not isinstance(value, str) or not value:
            return value
        places = [beside / value, Path(value)]
        if key in overridden:
            places.reverse()
        # A folder that happens to be called like a prompt or a hub data set is not meant.
        fits = Path.is_dir if key.endswith(".model") else Path.is_file
        return next((str(p.resolve()) for p in places if fits(p)), value)

    def section(where: Any, prefix: str, *names: str) -> None:
        if isinstance(where, dict):
            for name in names:
                if name in where:
                    where[name] = found(where[name], f"{prefix}{name}")

    section(data, "", "prompt")
    section(data.get("problems"), "problems.", "source")
    if isinstance(evaluate := data.get("evaluate"), dict):
        section(evaluate.get("problems"), "evaluate.problems.", "source")
    if isinstance(judge := data.get("judge"), dict):
        section(judge, "judge.", "prompt")
        section(judge.get("model"), "judge.model.", "world")
    for kind in ("models", "students"):
        members = data.get(kind)
        for name, member in members.items() if isinstance(members, dict) else ():
            names = ("world", "model") if member_is_local(kind, member) else ("world",)
            section(member, f"{kind}.{name}.", *names)
    return data


def member_is_local(kind: str, member: Any) -> bool:
    """Whether `model` may be a folder: a served checkpoint, or a student."""
    return kind == "students" or (
        isinstance(member, dict) and member.get("provider") in ("checkpoint", "vllm")
    )
