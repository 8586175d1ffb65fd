"""One malformed MGF record between two sound ones: it is named, its neighbours survive."""

from pathlib import Path

import pytest
from spectra_files import mgf_record, read_bytes

from specvae.report import Reason

KINDS: dict[str, tuple[str, Reason, str]] = {
    "no_peaks": (mgf_record("bad", peaks=""), Reason.NO_PEAKS, ""),
    "all_intensities_zero": (mgf_record("bad", peaks="50 0\n"), Reason.NO_PEAKS, "every"),
    "peak_is_text": (mgf_record("bad", peaks="50 1\nabc\n"), Reason.BAD_PEAK, "'abc'"),
    "peak_without_intensity": (mgf_record("bad", peaks="50\n"), Reason.BAD_PEAK, "'50'"),
    "peak_nan": (mgf_record("bad", peaks="50 nan\n"), Reason.BAD_PEAK, "nan"),
    "count_differs": (
        mgf_record("bad", "Num peaks=3"),
        Reason.PEAK_COUNT_MISMATCH,
        "3 declared, 2 found",
    ),
    "precursor_text": (
        "BEGIN IONS\nTITLE=bad\nPEPMASS=high\n50 1\nEND IONS\n",
        Reason.BAD_PRECURSOR,
        "'high'",
    ),
    "charge_unreadable": (mgf_record("bad", "CHARGE=twice"), Reason.BAD_CHARGE, "'twice'"),
    "end_missing": (
        mgf_record("bad").removesuffix("END IONS\n"),
        Reason.TRUNCATED,
        "END IONS is missing",
    ),
    "on_one_line": (
        mgf_record("bad").replace("\n", " ") + "\n",
        Reason.TRUNCATED,
        "BEGIN IONS and END IONS stand on one line",
    ),
    "nul_in_header": (mgf_record("bad", "NOTE=\0"), Reason.BAD_ENCODING, "header"),
}


@pytest.mark.parametrize("gap", ["", "\n", "# remark\n\n"])
@pytest.mark.parametrize("kind", KINDS)
def test_skipped_with_reason_and_place(tmp_path: Path, kind: str, gap: str) -> None:
    record, reason, detail = KINDS[kind]
    content = f"{mgf_record('before')}{gap}{record}{gap}{mgf_record('after')}"
    spectra, skips, report = read_bytes(tmp_path, "x.mgf", content)
    assert [s.query_id for s in spectra] == ["before", "after"]
    assert [s.mz.tolist() for s in spectra] == [[50.5, 60.25]] * 2
    line = 7 + gap.count("\n")
    assert [(s.line, s.record, s.reason) for s in skips] == [(line, "bad", reason)]
    assert detail in skips[0].detail
    assert report.n_read == 2


def test_begin_missing(tmp_path: Path) -> None:
    bad = mgf_record("bad").removeprefix("BEGIN IONS\n")
    content = f"{mgf_record('before')}\n{bad}\n{mgf_record('after')}"
    spectra, skips, _ = read_bytes(tmp_path, "x.mgf", content)
    assert [s.query_id for s in spectra] == ["before", "after"]
    assert [(s.record, s.reason, s.detail) for s in skips] == [
        ("bad", Reason.TRUNCATED, "BEGIN IONS is missing")
    ]
    assert spectra[1].precursor_mz == 181.07


def test_peaks_outside_records_are_named_by_the_first_of_them(tmp_path: Path) -> None:
    content = f"{mgf_record('before')}\n50.5 10\n60.25 1\nEND IONS\n{mgf_record('after')}"
    spectra, skips, _ = read_bytes(tmp_path, "x.mgf", content)
    assert [s.query_id for s in spectra] == ["before", "after"]
    assert [(s.line, s.detail) for s in skips] == [(8, "BEGIN IONS is missing")]


def test_file_cut_off(tmp_path: Path) -> None:
    content = mgf_record("before") + mgf_record("bad")[:-15]
    spectra, skips, _ = read_bytes(tmp_path, "x.mgf", content)
    assert [s.query_id for s in spectra] == ["before"]
    assert [(s.line, s.record, s.reason) for s in skips] == [(7, "bad", Reason.TRUNCATED)]
