"""Names of queries in tables: other spellings of them, and those that a spreadsheet changed."""

import pytest

from specvae.molecules.query_ids import by_form, changed_by_spreadsheet, listed_as


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


@pytest.mark.parametrize(
    ("query_id", "names", "queries", "found"),
    [
        ("05", ["5"], ["05"], "5"),
        ("05", ["5"], ["05", "5"], None),
        ("05", ["05", "5"], ["05", "5"], "05"),
        ("05#2", ["5"], ["05", "05#2", "5"], None),
        ("5#2", ["5"], ["5", "5#2"], "5"),
        ("5#2", ["5.0"], ["5", "5#2"], "5.0"),
        ("scan=7", ["7"], ["scan=7"], "7"),
        ("scan=7", ["7"], ["scan=7", "7"], None),
        ("38\u00b2", ["382"], ["38\u00b2", "382"], None),
    ],
)
def test_what_is_the_name_of_another_query_is_no_other_spelling(
    query_id: str, names: list[str], queries: list[str], found: str | None
) -> None:
    """The query 05 had the candidates that are listed for the query 5."""
    assert listed_as(query_id, names, by_form(names), frozenset(queries)) == found
