from __future__ import annotations

from specvae_bench.markdown import percent, table


def test_a_table_has_a_line_for_each_row() -> None:
    assert table(("a", "b"), [("1", ""), ("2", "3")]) == (
        "| a | b |\n|---|---|\n| 1 |  |\n| 2 | 3 |\n"
    )


def test_a_share_is_in_percent_with_its_interval() -> None:
    figures = {"hit_at_1": 0.125, "hit_at_1_ci95": [-0.05, 0.3]}
    assert percent(figures, "hit_at_1") == "12.5 [-5.0, 30.0]"
    assert percent(figures, "hit_at_1", "+") == "+12.5 [-5.0, +30.0]"
