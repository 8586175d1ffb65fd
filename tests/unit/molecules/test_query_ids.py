"""Names of queries in tables that a spreadsheet has changed."""

import pytest

from specvae.molecules.query_ids import changed_by_spreadsheet


@pytest.mark.parametrize(
    ("name", "before"),
    [
        ("1-Mar", "MAR1"),
        ("12-Sep", "MAR1"),
        ("Mar-01", "MAR1"),
        ("1.00E+05", "1E5"),
        ("1E+11", "1E5"),
    ],
)
def test_names_that_a_spreadsheet_has_changed_are_told(name: str, before: str) -> None:
    hint = changed_by_spreadsheet(["q1", name])
    assert hint.startswith(f"; {name} is what a spreadsheet makes of a name such as {before}")


@pytest.mark.parametrize("name", ["MAR1", "1E5", "1-March-x", "100000", "Mar", "2.5E-3 M", ""])
def test_other_names_are_not(name: str) -> None:
    assert changed_by_spreadsheet([name]) == ""
