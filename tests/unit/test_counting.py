"""Numbers of things in words."""

from __future__ import annotations

import pytest

from specvae.counting import counted
from specvae.report import ReadReport


@pytest.mark.parametrize(
    ("n", "plural", "text"),
    [
        (0, "queries", "0 queries"),
        (1, "queries", "1 query"),
        (1234, "queries", "1,234 queries"),
        (1, "spectra", "1 spectrum"),
        (1, "unreadable records", "1 unreadable record"),
        (1, "ion species", "1 ion species"),
        (1, "processes", "1 process"),
    ],
)
def test_one_thing_has_a_singular(n: int, plural: str, text: str) -> None:
    assert counted(n, plural) == text


def test_a_verb_goes_with_its_number() -> None:
    assert [counted(n, "queries are", "query is") for n in (1, 2)] == [
        "1 query is",
        "2 queries are",
    ]


def test_spectra_and_compounds_that_are_kept_are_counted_each() -> None:
    said = [ReadReport().kept(n, m) for n, m in ((1, 1), (3, 1), (3, 2))]
    assert [text.partition(" kept")[0].partition(": ")[2] for text in said] == [
        "1 spectrum of 1 compound",
        "3 spectra of 1 compound",
        "3 spectra of 2 compounds",
    ]
