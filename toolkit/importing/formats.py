"""The formats generations come in, told apart by their content.

=============  ==================================================================================================
jsonl          our own rows: an id or a question, an answer text or a list of them
openai-batch   the output file of a batch of OpenAI's API: `custom_id`, `response.body`, `error`
               (BatchRequestOutput in OpenAI's OpenAPI description 2.3.0, read at docs.rs/openai-struct, 2026-11-21)
lm-eval        samples_*.jsonl of lm-evaluation-harness with --log_samples: `doc_id`, `doc`, `arguments`, `resps`
               (lm_eval/loggers/evaluation_tracker.py at 034ab036, read 2026-11-21)
inspect        a log of inspect_ai, .json or .eval, a zip of samples/ID_epoch_N.json, deflated or zstandard
               (src/inspect_ai/log/_recorders/eval.py at 00e215b6, model/_model_output.py at 071c8bdf, read 2026-11-21;
               logs written by 0.3.285 are read)
=============  ==================================================================================================
"""

import gzip
import json
import re
import struct
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from toolkit import problems as questions
from toolkit.errors import InputError
from toolkit.importing.readers import ID_KEYS, READ, TEXT_KEYS
from toolkit.importing.records import Record, first

Row = tuple[str, Mapping[str, Any]]  # place, content

ZSTANDARD = 93  # a method of APPNOTE.TXT 6.3.8 that zipfile knows from Python 3.14 on
LOCAL_LENGTHS = (
    26  # offset of the lengths of name and extra field in a member's local header, same source 4.3.7
)

_EPOCH = re.compile(r"_epoch_(\d+)\.json$")


# -- telling them apart


def recognise(file: Path) -> str:
    """The name of the file's format. Raises InputError where none fits, or several do."""
    with file.open("rb") as raw:
        beginning = raw.read(4)
    if beginning.startswith(b"PK"):
        return "inspect"
    with _text(file) as lines:
        line = next((line for line in lines if line.strip()), "")
    try:
        row = json.loads(line)
    except ValueError:  # one JSON value over many lines, or no JSON at all
        row = _whole(file)
    if not isinstance(row, Mapping):
        raise InputError(f"{file}: no known format: {_mend()}")
    fits = [name for name, fit in FITS.items() if fit(row)]
    if len(fits) == 1:
        return fits[0]
    if not fits:
        raise InputError(f"{file}: no known format: {_mend()}")
    raise InputError(f"{file}: {' and '.join(fits)} both fit: say which with --format")


def _mend() -> str:
    return f"give {', '.join(FITS)}; a row of jsonl has one of {', '.join(TEXT_KEYS)}, and a problem's id or question"


def _is_batch(row: Mapping[str, Any]) -> bool:
    answered = isinstance(row.get("response"), Mapping) or row.get("response", 0) is None
    return "custom_id" in row and (answered or isinstance(row.get("error"), Mapping))


def _is_harness(row: Mapping[str, Any]) -> bool:
    return "doc_id" in row and ("resps" in row or "filtered_resps" in row)


def _is_inspect(row: Mapping[str, Any]) -> bool:
    return isinstance(row.get("eval"), Mapping) and "status" in row


def _is_plain(row: Mapping[str, Any]) -> bool:
    answers = [row[key] for key in TEXT_KEYS if isinstance(row.get(key), str | list)]
    named = first(row, (*ID_KEYS, *questions.QUESTION_KEYS)) is not None
    return bool(answers) and named


FITS: Mapping[str, Callable[[Mapping[str, Any]], bool]] = {
    "jsonl": _is_plain,
    "openai-batch": _is_batch,
    "lm-eval": _is_harness,
    "inspect": _is_inspect,
}


# -- reading them


def records(file: Path, format: str | None, where: Mapping[str, str]) -> Iterator[Record]:
    """What the file holds, row by row. `where`: only rows that have these values under these keys."""
    if not file.is_file():
        raise InputError(f"{file}: no such file: give a file of generations")
    if format is not None and format not in FITS:
        raise InputError(f"--format {format}: no such format: give one of {', '.join(FITS)}")
    name = format or recognise(file)
    rows = _samples(file) if name == "inspect" else questions.file_rows(file)
    chosen: Iterator[Row] = (
        r for r in rows if all(str(r[1].get(key)) == value for key, value in where.items())
    )
    if name == "lm-eval":
        chosen = _one_filter(chosen)
    return (READ[name](place, row) for place, row in chosen)


def _one_filter(rows: Iterator[Row]) -> Iterator[Row]:
    """A task with several filters logs each answer once per filter: they are the same draws."""
    chosen: str | None = None
    for place, row in rows:
        name = str(row.get("filter"))
        chosen = chosen or name
        if name == chosen:
            yield place, row


# -- files


def _samples(file: Path) -> Iterator[Row]:
    """A log's samples, in order; of a .eval file one at a time."""
    if zipfile.is_zipfile(file):
        yield from _zipped(file)
        return
    log = _whole(file)
    samples = log.get("samples") if isinstance(log, Mapping) else None
    if not isinstance(samples, list):
        raise InputError(f"{file}: no samples in it: give the whole log of inspect, not its header")
    for number, sample in enumerate(samples, 1):
        yield f"{file} sample {number}", sample


def _zipped(file: Path) -> Iterator[Row]:
    with zipfile.ZipFile(file) as log:
        names = [name for name in log.namelist() if name.startswith("samples/") and _EPOCH.search(name)]
        if not names:
            raise InputError(f"{file}: a zip without samples/: give a .eval log of inspect")
        for name in sorted(names, key=lambda name: int(_EPOCH.search(name)[1])):  # type: ignore[index]
            try:
                yield f"{file} {name}", json.loads(_unpacked(log, name))
            except (NotImplementedError, zipfile.BadZipFile, OSError, ValueError) as error:
                raise InputError(
                    f"{file}: {name} cannot be read ({error}): write it anew with `inspect log convert --to json`"
                ) from None


def _unpacked(log: zipfile.ZipFile, name: str) -> bytes:
    member = log.getinfo(name)
    if member.compress_type != ZSTANDARD:
        return log.read(name)
    import pyarrow  # type: ignore[import-untyped]  # comes with datasets

    with Path(str(log.filename)).open("rb") as raw:
        raw.seek(
            member.header_offset + LOCAL_LENGTHS
        )  # where the local header says how long the rest of it is
        lengths = raw.read(4)
        raw.seek(sum(struct.unpack("<HH", lengths)), 1)
        packed = raw.read(member.compress_size)
    return bytes(pyarrow.decompress(packed, member.file_size, codec="zstd", asbytes=True))


def _whole(file: Path) -> Any:
    try:
        with _text(file) as text:
            return json.load(text)
    except (ValueError, OSError) as error:
        shown = str(error).splitlines()[0]
        raise InputError(f"{file}: not JSON ({shown}): {_mend()}") from None


def _text(file: Path) -> IO[str]:
    with file.open("rb") as raw:
        packed = raw.read(2) == b"\x1f\x8b"
    if packed:
        return gzip.open(file, "rt", encoding="utf-8-sig", errors="replace")
    return file.open(encoding="utf-8-sig", errors="replace")
