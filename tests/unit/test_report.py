"""What became of all records: counts of skipped ones and notes, in lines and as a table."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from specvae.errors import InputError
from specvae.report import ReadReport, Reason, Skip


def test_one_record_is_no_plural() -> None:
    assert ReadReport(n_read=1).summary() == "1 spectrum read, 0 skipped"
    assert ReadReport(n_read=2).summary("candidates") == "2 candidates read, 0 skipped"
    assert ReadReport().kept(1) == "1 record: 1 spectrum kept, 0 skipped"


def test_report_counts_by_reason_most_frequent_first() -> None:
    report = ReadReport(n_read=1234)
    report.skip("a.msp", 10, "x", Reason.ADDUCT)
    report.skip("a.msp", 20, "y", Reason.NO_PEAKS)
    report.skip("b.msp", 5, "z", Reason.NO_PEAKS, "0 declared")
    assert report.counts == {Reason.NO_PEAKS: 2, Reason.ADDUCT: 1}
    assert report.summary() == "1,234 spectra read, 3 skipped: no peaks (2), other adduct (1)"
    assert report.kept(1232) == (
        "1,235 records: 1,232 spectra kept, 3 skipped: no peaks (2), other adduct (1)"
    )


def test_notes_of_one_kind_are_told_together() -> None:
    report = ReadReport(n_read=9)
    report.notes.update({"metal taken off: Cu": 4, "a note": 3, "metal taken off: Zn": 1})
    assert report.summary() == (
        "9 spectra read, 0 skipped; read with a note: metal taken off: Cu (4), Zn (1), a note (3)"
    )


def test_a_record_that_is_left_out_after_it_was_read_counts_as_skipped_alone() -> None:
    report = ReadReport(n_read=2)
    report.leave_out("a.msp", 10, "x", Reason.ADDUCT, "[M+K]+")
    assert report.summary() == "1 spectrum read, 1 skipped: other adduct (1)"


def test_report_without_skips_says_so() -> None:
    assert ReadReport(n_read=2).summary() == "2 spectra read, 0 skipped"


def test_strict_report_raises_at_a_malformed_record_only() -> None:
    report = ReadReport(strict=True)
    report.skip("a.msp", 1, "x", Reason.ION_MODE)
    with pytest.raises(InputError, match=r"^a\.msp:7: caffeine: .* \(2 of 3\)$") as caught:
        report.skip("a.msp", 7, "caffeine", Reason.PEAK_COUNT_MISMATCH, "2 of 3")
    assert "\n" not in str(caught.value)
    assert [skip.reason for skip in report.skips] == [Reason.ION_MODE]


def test_skip_names_its_place() -> None:
    assert str(Skip("a.mgf", 3, "q1", Reason.BAD_PEAK)) == (
        "a.mgf:3: q1: a peak is not two finite numbers"
    )


def test_report_csv_has_a_row_for_each_skip(tmp_path: Path) -> None:
    report = ReadReport()
    report.skip("a,b.msp", 3, 'he said "x"', Reason.BAD_FIELD, "line\nbreak")
    report.write_csv(tmp_path / "skipped.csv")
    with (tmp_path / "skipped.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.reader(stream))
    assert rows == [
        ["path", "line", "record", "reason", "detail"],
        ["a,b.msp", "3", 'he said "x"', "BAD_FIELD", "line break"],
    ]


def test_messages_are_one_line_of_bounded_length() -> None:
    assert str(InputError("x.csv:\x1b[2J found\n\0")) == "x.csv:\ufffd[2J found \ufffd"
    assert len(str(InputError("a" * 10**6))) <= 1000
    skip = Skip("x.mgf", 1, "n" * 10**6, Reason.NO_PEAKS)
    assert len(str(skip)) < 200


def test_filters_are_not_malformed_and_broken_records_are() -> None:
    assert Reason.TRUNCATED.is_malformed
    assert Reason.BAD_PEAK.is_malformed
    assert not Reason.EXCLUDED.is_malformed
    assert not Reason.MASS_MISMATCH.is_malformed
