"""Every figure of a page as files beside it: SVG that stands alone, its numbers as CSV, and PNG where that can be drawn."""

import csv
import importlib
import importlib.util
import re
from collections.abc import Iterable
from pathlib import Path

from toolkit.report import forms
from toolkit.report.blocks import Figure, Section

ZOOM = 2  # pixels of a PNG for one of the SVG


def write(folder: Path, sections: Iterable[Section]) -> list[Path]:
    """NAME.svg and NAME.csv of each figure; NAME.png too where the package resvg_py is installed."""
    folder.mkdir(parents=True, exist_ok=True)
    return [path for section in sections for figure in section.figures for path in _written(folder, figure)]


def _written(folder: Path, figure: Figure) -> list[Path]:
    name = re.sub(r"[^A-Za-z0-9._-]", "_", figure.name)
    drawn, numbers = folder / f"{name}.svg", folder / f"{name}.csv"
    svg = forms.render("figure.svg.j2", figure=figure).strip() + "\n"
    drawn.write_text(svg, encoding="utf-8")
    with numbers.open("w", encoding="utf-8", newline="") as out:
        rows = csv.writer(out)
        rows.writerow(figure.columns)
        rows.writerows(figure.numbers)
    return [drawn, numbers, *_png(folder / f"{name}.png", svg)]


def _png(path: Path, svg: str) -> list[Path]:
    if importlib.util.find_spec("resvg_py") is None:
        return []
    path.write_bytes(bytes(importlib.import_module("resvg_py").svg_to_bytes(svg_string=svg, zoom=ZOOM)))
    return [path]
