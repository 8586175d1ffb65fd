"""Tables in Markdown, for reports and for the pages in docs/."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate, groupby
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


def in_columns(text: str, width: int, file: str) -> str:
    """Return a text with its tables in columns of even width, as a terminal shows them best.

    Columns beyond its width are left out, and named below the table with the file that has them.
    """
    parts = [
        _laid_out([_cells(line) for line in lines], width, file) if is_table else list(lines)
        for is_table, lines in groupby(text.splitlines(), key=lambda line: line.startswith("|"))
    ]
    return "".join(f"{line}\n" for part in parts for line in part)


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def _laid_out(rows: Sequence[Sequence[str]], width: int, file: str) -> list[str]:
    head, _, *body = rows  # the second row rules off the first
    columns = list(zip(head, *body, strict=True))
    widths = [max(map(len, column)) for column in columns]
    ends = list(accumulate(len(_BETWEEN) + one for one in widths))
    n_shown = max(1, sum(end - len(_BETWEEN) <= width for end in ends))
    lines = [
        _BETWEEN.join(cell.ljust(one) for cell, one in zip(row, widths, strict=False)).rstrip()
        for row in zip(*columns[:n_shown], strict=True)
    ]
    if left_out := head[n_shown:]:
        lines.append(f"({file} also has: {'; '.join(left_out)})")
    return lines


_BETWEEN = "  "
