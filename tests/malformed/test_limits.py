"""Files without end are refused, and records beyond every measure skipped, in little memory."""

import gzip
import tracemalloc
from pathlib import Path

import pytest
from spectra_files import mgf_record, msp_record, read_bytes

from specvae.errors import InputError
from specvae.report import ReadReport, Reason
from specvae.spectra.read import read_spectra


@pytest.fixture
def small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits that tests reach at once."""
    small = "line_bytes=50000,record_bytes=100000,record_peaks=1000,record_fields=100"
    monkeypatch.setenv("SPECVAE_LIMITS", small)


HEADS = {
    "mgf": "BEGIN IONS\nTITLE=long\nPEPMASS=181.07\n",
    "msp": "Name: long\nPrecursorMZ: 181.07\nNum Peaks: 2\n",
    "txt": "ACCESSION: long\nRECORD_TITLE: long\nPK$NUM_PEAK: 2\nPK$PEAK: m/z int. rel.int.\n",
}
ENDLESS = {
    "one_line": "1",
    "newlines": "\n",
    "peaks": "1 1\n",
    "indented_peaks": "  1 1 1\n",
    "fields": "abc=1\n",
    "pairs": "abc: 1\n",
    "words": "word\n",
}


@pytest.mark.usefixtures("small_limits")
@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("kind", HEADS)
@pytest.mark.parametrize("endless", ENDLESS)
def test_files_without_end(tmp_path: Path, kind: str, endless: str, compressed: bool) -> None:
    content = HEADS[kind] + ENDLESS[endless] * (600_000 // len(ENDLESS[endless]))
    path = tmp_path / f"x.{kind}"
    data = content.encode()
    path.write_bytes(gzip.compress(data, 1) if compressed else data)
    report = ReadReport()
    tracemalloc.start()
    with pytest.raises(InputError, match=r"wanted a file of spectra$") as caught:
        list(read_spectra(path, report))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(str(caught.value)) < 300
    assert peak < 5e6


@pytest.mark.usefixtures("small_limits")
@pytest.mark.parametrize("kind", ["mgf", "msp"])
@pytest.mark.parametrize("limit", ["peaks", "fields"])
def test_a_record_beyond_the_limits_costs_no_other(tmp_path: Path, kind: str, limit: str) -> None:
    sign = "=" if kind == "mgf" else ": "
    make = mgf_record if kind == "mgf" else msp_record
    if limit == "fields":
        bad = make("bad", *(f"a{i}{sign}1" for i in range(5000)))
    elif kind == "mgf":
        bad = mgf_record("bad", peaks="50 1\n" * 10_000)
    else:
        bad = "Name: bad\nNum Peaks: 10000\n" + "50 1\n" * 10_000
    content = "\n".join([make("before"), bad, make("after")])
    spectra, skips, _ = read_bytes(tmp_path, f"x.{kind}", content)
    assert [s.query_id for s in spectra] == ["before", "after"]
    assert [(s.record, s.reason) for s in skips] == [("bad", Reason.TOO_LARGE)]


ABSURD = {
    "num_peaks": f"Num Peaks: {'9' * 5000}",
    "charge": f"Charge: {'9' * 5000}+",
    "charge_of_three_digits": "Charge: 999+",
    "precursor": f"PrecursorMZ: {'9' * 5000}",
    "precursor_1e12": "PrecursorMZ: 1e12",
}


@pytest.mark.parametrize("kind", ABSURD)
def test_numbers_of_thousands_of_digits(tmp_path: Path, kind: str) -> None:
    line = ABSURD[kind]
    bad = f"Name: bad\n{line}\nNum Peaks: 1\n50 1\n"
    if kind == "num_peaks":
        bad = f"Name: bad\n{line}\n50 1\n"
    content = f"{msp_record('before')}\n{bad}\n{msp_record('after')}"
    spectra, skips, _ = read_bytes(tmp_path, "x.msp", content)
    assert [s.query_id for s in spectra] == ["before", "after"]
    assert [s.record for s in skips] == ["bad"]
    assert len(str(skips[0])) < 400


@pytest.mark.parametrize(
    "line",
    [
        f"Retention time: {'9' * 5000}",
        f"Collision_energy: {'9' * 5000} eV",
        f"Collision_energy: {'9' * 400}",
        f"Precursor_type: [M+{'9' * 5000}H]+",
        f"Precursor_type: [{'9' * 400}M+H]+",
        f"Precursor_type: {'[M+H]+/' * 10_000}",
        f"MSLEVEL: {'2' * 5000}",
        f"Ion_mode: {'p' * 5000}",
    ],
)
def test_absurd_values_that_are_not_needed(tmp_path: Path, line: str) -> None:
    (spectrum,), skips, _ = read_bytes(tmp_path, "x.msp", msp_record("a", line))
    assert skips == []
    assert (spectrum.retention_time, spectrum.collision_energy) == (None, None)
    assert spectrum.neutral_mass is None or 0 < spectrum.neutral_mass < 1e6
    assert all(len(note) < 200 for note in spectrum.notes)


@pytest.mark.parametrize("peak", ["1e12 1", "1e6 1e999", f"{'9' * 5000} 1", f"5 {'9' * 5000}"])
def test_peaks_beyond_every_measure(tmp_path: Path, peak: str) -> None:
    _, skips, _ = read_bytes(tmp_path, "x.mgf", mgf_record("a", peaks=f"50 1\n{peak}\n"))
    assert [s.reason for s in skips] == [Reason.BAD_PEAK]
    assert len(skips[0].detail) < 120


def test_nul_and_escapes_in_a_name(tmp_path: Path) -> None:
    _, skips, _ = read_bytes(tmp_path, "x.msp", msp_record("a\0\x1b[2Jb"))
    assert [(s.record, s.reason) for s in skips] == [("a\ufffd\ufffd[2Jb", Reason.BAD_ENCODING)]
