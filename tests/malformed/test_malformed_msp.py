"""One malformed MSP record between two sound ones: it is named, its neighbours survive."""

from pathlib import Path

import pytest
from spectra_files import msp_record, read_bytes

from specvae.errors import InputError
from specvae.report import ReadReport, Reason
from specvae.spectra.read import read_spectra

HEAD = "Name: bad\nPrecursorMZ: 181.07\n"
PEAKS = "50.5 10\n60.25 100\n"

KINDS: dict[str, tuple[str, Reason, str]] = {
    "num_peaks_zero": (f"{HEAD}Num Peaks: 0\n", Reason.NO_PEAKS, ""),
    "all_intensities_zero": (f"{HEAD}Num Peaks: 1\n50 0\n", Reason.NO_PEAKS, "every intensity"),
    "too_few_peaks": (f"{HEAD}Num Peaks: 3\n{PEAKS}", Reason.PEAK_COUNT_MISMATCH, "3 declared, 2"),
    "too_many_peaks": (f"{HEAD}Num Peaks: 1\n{PEAKS}", Reason.PEAK_COUNT_MISMATCH, "1 declared, 2"),
    "zero_declared_two_there": (
        f"{HEAD}Num Peaks: 0\n{PEAKS}",
        Reason.PEAK_COUNT_MISMATCH,
        "0 declared, 2",
    ),
    "no_num_peaks": (f"{HEAD}{PEAKS}", Reason.PEAK_COUNT_MISMATCH, "no Num Peaks line"),
    "header_alone": (HEAD, Reason.PEAK_COUNT_MISMATCH, "no Num Peaks line"),
    "num_peaks_text": (f"{HEAD}Num Peaks: two\n{PEAKS}", Reason.BAD_FIELD, "'two'"),
    "peak_is_text": (f"{HEAD}Num Peaks: 2\n50.5 10\nabc def\n", Reason.BAD_PEAK, "abc def"),
    "peak_without_intensity": (f"{HEAD}Num Peaks: 2\n50.5 10\n60\n", Reason.BAD_PEAK, "'60'"),
    "numbers_shifted": (f"{HEAD}Num Peaks: 2\n50.5 10 60.25\n100\n", Reason.BAD_PEAK, "'100'"),
    "peak_nan": (f"{HEAD}Num Peaks: 2\n50.5 10\n60.25 nan\n", Reason.BAD_PEAK, "nan"),
    "peak_infinite": (f"{HEAD}Num Peaks: 2\n50.5 10\n60.25 1e999\n", Reason.BAD_PEAK, "inf"),
    "peaks_negative": (f"{HEAD}Num Peaks: 2\n50.5 -10\n60.25 -3\n", Reason.NO_PEAKS, "above 0"),
    "peak_underscore": (f"{HEAD}Num Peaks: 2\n50.5 10\n60.25 1_0\n", Reason.BAD_PEAK, "1_0"),
    "mz_zero": (f"{HEAD}Num Peaks: 2\n0 10\n60.25 3\n", Reason.BAD_PEAK, "m/z 0"),
    "precursor_text": (
        f"Name: bad\nPrecursorMZ: about 181\nNum Peaks: 2\n{PEAKS}",
        Reason.BAD_PRECURSOR,
        "about 181",
    ),
    "precursor_negative": (
        f"Name: bad\nPrecursorMZ: -181\nNum Peaks: 2\n{PEAKS}",
        Reason.BAD_PRECURSOR,
        "-181",
    ),
    "charge_unreadable": (
        f"{HEAD}Charge: one\nNum Peaks: 2\n{PEAKS}",
        Reason.BAD_CHARGE,
        "'one'",
    ),
    "nul_in_header": (f"{HEAD}Synon: \0\nNum Peaks: 2\n{PEAKS}", Reason.BAD_ENCODING, "header"),
    "nul_in_peaks": (f"{HEAD}Num Peaks: 2\n50.5 10\n60\0 1\n", Reason.BAD_ENCODING, "peaks"),
}


@pytest.mark.parametrize("blank_lines", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_skipped_with_reason_and_place(tmp_path: Path, kind: str, blank_lines: int) -> None:
    record, reason, detail = KINDS[kind]
    gap = "\n" * blank_lines
    content = f"{msp_record('before')}{gap}{record}{gap}{msp_record('after')}"
    spectra, skips, report = read_bytes(tmp_path, "x.msp", content)
    assert [s.query_id for s in spectra] == ["before", "after"]
    assert [s.mz.tolist() for s in spectra] == [[50.5, 60.25]] * 2
    assert [(s.line, s.record, s.reason) for s in skips] == [(6 + blank_lines, "bad", reason)]
    assert detail in skips[0].detail
    assert skips[0].path == str(tmp_path / "x.msp")
    assert report.n_read == 2


@pytest.mark.parametrize("kind", sorted(KINDS.keys() - {"header_alone"}))
def test_the_same_without_blank_lines(tmp_path: Path, kind: str) -> None:
    record, reason, _ = KINDS[kind]
    content = f"{msp_record('before')}{record}{msp_record('after')}"
    spectra, skips, _ = read_bytes(tmp_path, "x.msp", content)
    assert [s.query_id for s in spectra] == ["before", "after"]
    assert [(s.line, s.record, s.reason) for s in skips] == [(6, "bad", reason)]


def test_nothing_leaks_from_a_skipped_record_into_the_next(tmp_path: Path) -> None:
    bad = f"{HEAD}SMILES: CCO\nCharge: 2+\nNum Peaks: 0\n"
    spectra, _, _ = read_bytes(tmp_path, "x.msp", f"{bad}\n{msp_record('after')}")
    assert spectra[0].smiles is None
    assert spectra[0].charge is None


def test_peaks_after_a_stray_blank_line_are_those_of_the_record(tmp_path: Path) -> None:
    content = f"{HEAD}Num Peaks: 2\n\n{PEAKS}\n{msp_record('after')}"
    spectra, skips, _ = read_bytes(tmp_path, "x.msp", content)
    assert [s.query_id for s in spectra] == ["bad", "after"]
    assert [len(s.mz) for s in spectra] == [2, 2]
    assert skips == []


@pytest.mark.parametrize(
    ("tail", "detail"),
    [
        ("Num Peaks: 3\n50.5 10\n60.25 100\n", "3 declared, 2 found"),
        ("Num Peaks: 3\n50.5 10\n60.", "inside a peak"),
        ("Num Peaks: 3\n", "3 declared, 0 found"),
        ("Num Pe", "no Num Peaks line"),
        ("", "no Num Peaks line"),
    ],
)
def test_file_cut_off_inside_the_last_record(tmp_path: Path, tail: str, detail: str) -> None:
    content = f"{msp_record('before')}\n{HEAD}{tail}"
    spectra, skips, _ = read_bytes(tmp_path, "x.msp", content)
    assert [s.query_id for s in spectra] == ["before"]
    assert [(s.line, s.record, s.reason) for s in skips] == [(7, "bad", Reason.TRUNCATED)]
    assert detail in skips[0].detail


def test_an_unreadable_peak_before_the_last_is_no_file_that_was_cut_off(tmp_path: Path) -> None:
    content = f"{msp_record('before')}\n{HEAD}Num Peaks: 3\n50.5 10\nabc def\n60.25 100\n"
    _, (skip,), _ = read_bytes(tmp_path, "x.msp", content)
    assert (skip.line, skip.reason, skip.detail) == (7, Reason.BAD_PEAK, "found 'abc def'")


def test_a_head_alone_takes_nothing_from_the_next_record(tmp_path: Path) -> None:
    content = f"Name: bad\nPrecursorMZ: 100.5\n{msp_record('after')}"
    (spectrum,), skips, _ = read_bytes(tmp_path, "x.msp", content)
    assert (spectrum.query_id, spectrum.precursor_mz) == ("after", 181.07)
    assert [(s.line, s.record, s.reason) for s in skips] == [(1, "bad", Reason.PEAK_COUNT_MISMATCH)]


def test_a_line_without_a_key_continues_the_one_before(tmp_path: Path) -> None:
    content = f"Name: some\nacid\nPrecursorMZ: 181.07\nNum Peaks: 2\n{PEAKS}"
    (spectrum,), skips, _ = read_bytes(tmp_path, "x.msp", content)
    assert (spectrum.name, spectrum.precursor_mz, skips) == ("some acid", 181.07, [])


def test_strict_report_makes_the_first_skip_an_error(tmp_path: Path) -> None:
    path = tmp_path / "x.msp"
    path.write_text(f"{msp_record('before')}\n{HEAD}Num Peaks: 0\n\n{msp_record('after')}")
    spectra = read_spectra(path, ReadReport(strict=True))
    assert next(spectra).query_id == "before"
    with pytest.raises(InputError, match=r"x\.msp:7: bad: no peaks"):
        next(spectra)
