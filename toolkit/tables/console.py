"""The console all tables are printed on."""

import json
import sys
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

WIDTH = 140  # where the output is not a terminal
console = Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH)


def table_of(title: str, *columns: str) -> Table:
    """An empty table with these columns."""
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def print_json(content: Any) -> None:
    """The same as JSON on stdout."""
    print(json.dumps(content, indent=1))
