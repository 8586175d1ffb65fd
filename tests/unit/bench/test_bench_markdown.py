from __future__ import annotations

import sys
from pathlib import Path

import pytest
from specvae_bench.files import write_tables
from specvae_bench.markdown import in_columns, percent, table


def test_a_table_has_a_line_for_each_row() -> None:
    assert table(("a", "b"), [("1", ""), ("2", "3")]) == (
        "| a | b |\n|---|---|\n| 1 |  |\n| 2 | 3 |\n"
    )


def test_a_share_is_in_percent_with_its_interval() -> None:
    figures = {"hit_at_1": 0.125, "hit_at_1_ci95": [-0.05, 0.3]}
    assert percent(figures, "hit_at_1") == "12.5 [-5.0, 30.0]"
    assert percent(figures, "hit_at_1", "+") == "+12.5 [-5.0, +30.0]"


TEXT = "**All**: 2.\n\n" + table(
    ("method", "hit@1", "s"), [("chance", "1.0", ""), ("a", "40", "2")]
)


def test_a_terminal_shows_columns() -> None:
    wide = "**All**: 2.\n\nmethod  hit@1  s\nchance  1.0\na       40     2\n"
    assert in_columns(TEXT, 16, "t.md") == wide


@pytest.mark.parametrize("width", [15, 13])
def test_columns_that_do_not_fit_are_named(width: int) -> None:
    shown = "method  hit@1\nchance  1.0\na       40\n(t.md also has: s)\n"
    assert in_columns(TEXT, width, "t.md") == f"**All**: 2.\n\n{shown}"


def test_the_first_column_is_always_shown() -> None:
    shown = "method\nchance\na\n(t.md also has: hit@1; s)\n"
    assert in_columns(TEXT, 12, "t.md").endswith(shown)
    assert in_columns(TEXT, 1, "t.md").endswith(shown)


@pytest.mark.parametrize("is_terminal", [False, True])
def test_tables_are_written_as_markdown_and_shown_in_columns(
    is_terminal: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: is_terminal)
    write_tables(tmp_path, TEXT)
    assert (tmp_path / "table.md").read_text(encoding="utf-8") == TEXT
    assert capsys.readouterr().out == (in_columns(TEXT, 80, "table.md") if is_terminal else TEXT)
