"""A folder appears whole or not at all."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def folder(target: Path) -> Iterator[Path]:
    """An empty folder to fill; it takes the target's name, and its place, when the block ends well.

    One writer per target at a time. What an interrupted writer left behind is removed by the next.
    """
    partial, old = (target.with_name(f".{target.name}.{word}") for word in ("partial", "old"))
    for leftover in (partial, old):
        shutil.rmtree(leftover, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    if target.exists():  # rename(2) replaces only an empty folder
        target.rename(old)
    partial.rename(target)
    shutil.rmtree(old, ignore_errors=True)
