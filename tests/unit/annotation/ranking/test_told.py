"""What a run says: in which order, and what is left for those who ask for more."""

from __future__ import annotations

from specvae.annotation.ranking.told import Told

TOLD = Told(("5 read",), ("4 of 5 ranked",), ("try --ppm 20",), ("off by 0.7 ppm",))


def test_what_asks_for_something_comes_last_under_its_heading() -> None:
    assert list(TOLD.shown()) == ["5 read", "4 of 5 ranked", "worth a look:", "- try --ppm 20"]
    assert list(TOLD.shown(with_details=True))[2:4] == ["off by 0.7 ppm", "worth a look:"]
    assert list(Told(found=("all ranked",)).shown()) == ["all ranked"]


def test_no_line_is_lost_where_runs_are_told_together() -> None:
    notes = Told.of_notes(["3 spectra added", "warning: read twice", "note: no field"])
    assert notes == Told(("3 spectra added",), advice=("warning: read twice", "note: no field"))
    assert sorted((TOLD + notes).lines) == sorted([*TOLD.lines, *notes.lines])
    assert TOLD.each(str.upper).lines == [line.upper() for line in TOLD.lines]
