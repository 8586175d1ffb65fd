"""Tables in Markdown, for reports and for the pages in docs/."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def table(columns: Sequence[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a table: its heading, then a line for each row, each with a line feed at its end."""
    lines = [_line(columns), "|---" * len(columns) + "|", *map(_line, rows)]
    return "".join(f"{line}\n" for line in lines)


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def percent(figures: Mapping[str, Any], name: str, sign: str = "") -> str:
    """Return the share `name` in percent, its interval `name`_ci95 behind it.

    With ``sign`` "+", numbers above 0 have a sign too: for differences.
    """
    low, high = figures[f"{name}_ci95"]
    mean = f"{100 * figures[name]:{sign}.1f}"
    return f"{mean} [{100 * low:{sign}.1f}, {100 * high:{sign}.1f}]"
