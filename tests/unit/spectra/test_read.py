"""Sound files of every format and dialect, and what must come out of them."""

import gzip
import os
import threading
import tracemalloc
from pathlib import Path

import pytest
from spectra_files import (
    mgf_record,
    msp_record,
    mzml_file,
    mzml_scan,
    mzxml_file,
    mzxml_scan,
    read_bytes,
)

from specvae.report import ReadReport, Reason
from specvae.spectra.read import read_spectra

MONA = (
    "Name: Ethanol\nSynon: $:00in-source\nDB#: XX000001\nInChIKey: LFQSCWFLJHTTHZ-UHFFFAOYSA-N\n"
    "Precursor_type: [M+H]+\nSpectrum_type: MS2\nPrecursorMZ: 47.0491\n"
    "Instrument_type: LC-ESI-QTOF\nInstrument: Q, Maker\nIon_mode: P\nCollision_energy: 30 (NCE)\n"
    'Formula: C2H6O\nComments: "SMILES=CCO" "author=A. "Bob" B" "retention time=1.5 min"'
    ' "computed SMILES=OCC" "InChI=InChI=1S/C2H6O/c1-2-3/h3H,2H2,1H3"\n'
    "Num Peaks: 2\n29.0386 10\n47.0491 99.9\n\n\n"
)


def test_mona(tmp_path: Path) -> None:
    (spectrum,), skips, report = read_bytes(tmp_path, "x.msp", MONA)
    assert skips == []
    assert report.n_read == 1
    assert spectrum.mz.tolist() == [29.0386, 47.0491]
    assert spectrum.intensity.tolist() == [10.0, 99.9]
    expected = {
        "query_id": "XX000001",
        "name": "Ethanol",
        "precursor_mz": 47.0491,
        "adduct": "[M+H]+",
        "charge": 1,
        "ion_mode": "positive",
        "ms_level": 2,
        "collision_energy": None,
        "normalized_collision_energy": 30.0,
        "collision_energy_text": "30 (NCE)",
        "retention_time": 90.0,
        "instrument": "Q, Maker",
        "instrument_type": "LC-ESI-QTOF",
        "smiles": "CCO",
        "inchi": "InChI=1S/C2H6O/c1-2-3/h3H,2H2,1H3",
        "inchikey": "LFQSCWFLJHTTHZ-UHFFFAOYSA-N",
        "formula": "C2H6O",
        "path": str(tmp_path / "x.msp"),
        "line": 1,
    }
    assert {key: getattr(spectrum, key) for key in expected} == expected
    assert spectrum.metadata["Synon"] == "$:00in-source"
    assert 'author=A. "Bob" B' in spectrum.metadata["Comments"]


def test_riken_and_matchms_begin_with_other_keys_than_name(tmp_path: Path) -> None:
    record = (
        "INCHIKEY: LFQSCWFLJHTTHZ-UHFFFAOYSA-N\nSMILES: CCO\nNAME: {}\nPRECURSORMZ: 47.0491\n"
        "PRECURSORTYPE: [M-H]-\nIONMODE: negative\nCOLLISIONENERGY: 20\nMSLEVEL: 2\n"
        "RETENTIONTIME: 2\nNUM PEAKS: 1\n29.0386    10.0\n"
    )
    # Also without the blank line between the two.
    for gap in ("\n", ""):
        content = f"{record.format('a')}{gap}{record.format('b')}"
        spectra, skips, _ = read_bytes(tmp_path, "x.msp", content)
        assert skips == []
        assert [s.name for s in spectra] == ["a", "b"]
        assert {s.adduct for s in spectra} == {"[M-H]-"}
        assert {s.collision_energy for s in spectra} == {20.0}
        assert {s.retention_time for s in spectra} == {120.0}


@pytest.mark.parametrize(
    ("lines", "mz", "intensity"),
    [
        ("50.5 10\n60 20\n", [50.5, 60], [10, 20]),
        ("\t50.5 10\n\t60\t20\n", [50.5, 60], [10, 20]),
        ("50.5   10  \n60 20\t\n", [50.5, 60], [10, 20]),
        ("50.5 10; 60 20;\n", [50.5, 60], [10, 20]),
        ("  50.5  10;   60   20\n", [50.5, 60], [10, 20]),
        ("50.5 10, 60 20\n", [50.5, 60], [10, 20]),
        ("50.5:10 60:20 \n", [50.5, 60], [10, 20]),
        ("50.5 10 60 20\n", [50.5, 60], [10, 20]),
        ('50.5\t10\t"b; C2H4, 1.2 ppm"\n60\t20\n', [50.5, 60], [10, 20]),
        ("50.5 10 C2H4+ 1.2 ppm\n60 20 3\n", [50.5, 60], [10, 20]),
        ("50.5 10 y3;b2 12.5\n60 20 [C5H8]+ ; 0.5ppm\n", [50.5, 60], [10, 20]),
        ("50.5 10 a; 60 20 b\n", [50.5, 60], [10, 20]),
        ("50.5 1e1\n60 2.0E+1\n", [50.5, 60], [10, 20]),
        ("60 20\n50.5 10\n", [50.5, 60], [10, 20]),
        ("60 20\n60 10\n", [60], [30]),
    ],
)
def test_ways_to_write_peaks_in_msp(
    tmp_path: Path, lines: str, mz: list[float], intensity: list[float]
) -> None:
    content = f"Name: a\nNum Peaks: 2\n{lines}\n{msp_record('b')}"
    spectra, skips, _ = read_bytes(tmp_path, "x.msp", content)
    assert skips == []
    assert spectra[0].mz.tolist() == mz
    assert spectra[0].intensity.tolist() == intensity
    assert spectra[1].query_id == "b"


def test_records_without_name_are_called_by_file_and_number(tmp_path: Path) -> None:
    content = "Num Peaks: 1\n50 1\n\nName: b\nNum Peaks: 1\n50 1\n\nMW: 9\nNum Peaks: 1\n50 1\n"
    spectra, skips, _ = read_bytes(tmp_path, "x.msp", content)
    assert skips == []
    assert [s.query_id for s in spectra] == ["x.msp#1", "b", "x.msp#3"]
    assert [s.name for s in spectra] == [None, "b", None]
    assert [s.line for s in spectra] == [1, 4, 8]


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("\n", "\r\n").encode(),
        lambda text: text.replace("\n", "\r\r\n").encode(),
        lambda text: text.replace("\n", "\r").encode(),
        lambda text: b"\xef\xbb\xbf" + text.encode(),
        lambda text: text.rstrip("\n").encode(),
        lambda text: gzip.compress(text.encode()),
    ],
    ids=["crlf", "crcrlf", "cr", "bom", "no_last_line_end", "gzip_without_suffix"],
)
@pytest.mark.parametrize("kind", ["msp", "mgf"])
def test_line_ends_and_marks(tmp_path: Path, kind: str, change) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
    make = msp_record if kind == "msp" else mgf_record
    content = change(f"{make('a')}\n{make('b')}")
    spectra, skips, _ = read_bytes(tmp_path, f"x.{kind}", content)
    assert skips == []
    assert [s.query_id for s in spectra] == ["a", "b"]
    assert [s.mz.tolist() for s in spectra] == [[50.5, 60.25]] * 2


@pytest.mark.parametrize("encoding", ["latin-1", "utf-8"])
def test_names_beyond_ascii(tmp_path: Path, encoding: str) -> None:
    content = f"{msp_record('Säure')}\n{msp_record('b')}".encode(encoding)
    spectra, skips, _ = read_bytes(tmp_path, "x.msp", content)
    assert skips == []
    assert [s.name for s in spectra] == ["Säure", "b"]


@pytest.mark.parametrize("end", ["\r\n", "\r\r\n"])
def test_lines_across_the_borders_of_chunks(tmp_path: Path, end: str) -> None:
    # Over 1 MB, so that many chunks end inside a line or between CR and LF.
    n = 3000
    lines = "".join(f"{50 + i / 1000:.3f} {i + 1}{end}" for i in range(30))
    content = "".join(f"Name: {i}{end}Num Peaks: 30{end}{lines}{end}" for i in range(n))
    spectra, skips, _ = read_bytes(tmp_path, "x.msp", content)
    assert skips == []
    assert [s.query_id for s in spectra] == [str(i) for i in range(n)]
    assert {s.intensity.sum() for s in spectra} == {465.0}


def test_gnps_mgf(tmp_path: Path) -> None:
    content = (
        "BEGIN IONS\nPEPMASS=981.54\nCHARGE=1+\nMSLEVEL=2\nSOURCE_INSTRUMENT=LC-ESI-QTOF\n"
        "IONMODE=negative\nNAME=Thing M-H\nSMILES=N/A\nINCHI=\"InChI=1S/CH4/h1H4\"\n"
        "SPECTRUMID=CCMS1\nSCANS=7\nADDUCT=[M-H]-\n289.2 0.01 \n295.5 0.02 \nEND IONS\n"
    )  # fmt: skip
    (spectrum,), _, report = read_bytes(tmp_path, "x.mgf", content)
    assert spectrum.query_id == "CCMS1"
    assert spectrum.name == "Thing M-H"
    assert (spectrum.adduct, spectrum.charge, spectrum.ion_mode) == ("[M-H]-", -1, "negative")
    assert spectrum.ms_level == 2
    assert spectrum.instrument_type == "LC-ESI-QTOF"
    assert spectrum.smiles is None
    assert spectrum.inchi == "InChI=1S/CH4/h1H4"
    assert spectrum.metadata == {"SCANS": "7", "SPECTRUMID": "CCMS1"}
    assert spectrum.notes == ("charge overruled by ion species (1+, [M-H]-)",)
    assert report.notes == {"charge overruled by ion species": 1}
    assert report.summary().endswith("read with a note: charge overruled by ion species (1)")


def test_identifiers_of_mgf_in_their_order(tmp_path: Path) -> None:
    keys = ["TITLE", "FEATURE_ID", "SPECTRUMID", "COMPOUND_NAME", "NAME", "PEAKID", "SCANS"]
    records = []
    for i in range(len(keys) + 1):
        lines = "".join(f"{key}={key.lower()}\n" for key in reversed(keys[i:]))
        records.append(f"BEGIN IONS\n{lines}50 1\nEND IONS\n")
    spectra, _, _ = read_bytes(tmp_path, "x.mgf", "".join(records))
    assert [s.query_id for s in spectra] == [*(key.lower() for key in keys), "x.mgf#8"]


def test_duplicate_identifiers_are_numbered(tmp_path: Path) -> None:
    content = "".join(mgf_record(name) for name in ["a", "a", "b", "a#2", "a", "b"])
    spectra, _, _ = read_bytes(tmp_path, "x.mgf", content)
    assert [s.query_id for s in spectra] == ["a", "a#2", "b", "a#2#2", "a#3", "b#2"]


def test_mgf_precursor_with_intensity_and_without(tmp_path: Path) -> None:
    record = "BEGIN IONS\nPEPMASS={}\n50 1\nEND IONS\n"
    content = "".join(record.format(t) for t in ["70.04 31836872", "", "70.04\t5 2+", "0"])
    spectra, skips, _ = read_bytes(tmp_path, "x.mgf", content)
    assert skips == []
    assert [s.precursor_mz for s in spectra] == [70.04, None, 70.04, None]


def test_mgf_heads_outside_records(tmp_path: Path) -> None:
    content = (
        "CHARGE=1-\nCOM=whole file\n"
        + mgf_record("a")
        + "SOURCE_INSTRUMENT=LC-ESI-QFT\n"
        + mgf_record("b", "CHARGE=2-")
        + mgf_record("c")
    )
    spectra, _, _ = read_bytes(tmp_path, "x.mgf", content)
    assert [s.charge for s in spectra] == [-1, -2, -1]
    assert [s.instrument_type for s in spectra] == [None, "LC-ESI-QFT", None]
    assert {s.metadata["COM"] for s in spectra} == {"whole file"}


def test_mgf_peaks_with_charges_and_without_title(tmp_path: Path) -> None:
    content = "BEGIN IONS\nRTINSECONDS=12.5\n50.5\t10\t1+\n60 20 1 7\nEND IONS\n"
    (spectrum,), _, _ = read_bytes(tmp_path, "x.mgf", content)
    assert spectrum.mz.tolist() == [50.5, 60.0]
    assert spectrum.intensity.tolist() == [10.0, 20.0]
    assert spectrum.retention_time == 12.5
    assert spectrum.query_id == "x.mgf#1"


def test_msn_precursors_keep_the_ion_of_the_intact_molecule(tmp_path: Path) -> None:
    content = (
        "Name: a\nSpectrum_type: MS3\nPrecursorMZ: 866.59/792.13\n"
        "Precursor_type: [M+CH3COO]-/[M-CH3]-\nIon_mode: N\nNum Peaks: 1\n50 1\n"
    )
    (spectrum,), _, report = read_bytes(tmp_path, "x.msp", content)
    assert (spectrum.precursor_mz, spectrum.adduct) == (866.59, "[M+CH3COO]-")
    assert spectrum.ms_level == 3
    assert "first of several precursors taken (866.59/792.13)" in spectrum.notes
    assert report.notes == {
        "first of several precursors taken": 1,
        "first of several ion species taken": 1,
    }


@pytest.mark.parametrize("compressed", [False, True])
def test_mzml(tmp_path: Path, compressed: bool) -> None:
    scans = [
        mzml_scan(0, 1, [50.5], [1.0], negative=False),
        mzml_scan(1, 2, [50.5, 60.25], [1.0, 2.0], negative=False),
        mzml_scan(2, 3, [50.5], [1.0], negative=True),
    ]
    content = mzml_file(scans).encode()
    name = "x.mzML.gz" if compressed else "x.mzML"
    spectra, skips, _ = read_bytes(
        tmp_path, name, gzip.compress(content) if compressed else content
    )
    assert [(s.line, s.record, s.reason) for s in skips] == [(1, "scan=1", Reason.MS_LEVEL)]
    assert [s.query_id for s in spectra] == ["scan=2", "scan=3"]
    first = spectra[0]
    assert first.mz.tolist() == [50.5, 60.25]
    assert first.intensity.tolist() == [1.0, 2.0]
    assert (first.precursor_mz, first.charge, first.ion_mode) == (181.07, 1, "positive")
    assert (first.collision_energy, first.retention_time, first.ms_level) == (20.0, 90.0, 2)
    assert (spectra[1].charge, spectra[1].ion_mode, spectra[1].ms_level) == (-1, "negative", 3)


def test_mzxml(tmp_path: Path) -> None:
    scans = [mzxml_scan(1, 1, [50.5], [1.0]), mzxml_scan(2, 2, [50.5, 60.25], [1.0, 2.0])]
    spectra, skips, _ = read_bytes(tmp_path, "x.mzXML", mzxml_file(scans))
    assert [(s.record, s.reason) for s in skips] == [("1", Reason.MS_LEVEL)]
    (spectrum,) = spectra
    assert spectrum.query_id == "2"
    assert spectrum.mz.tolist() == [50.5, 60.25]
    assert spectrum.intensity.tolist() == [1.0, 2.0]
    assert (spectrum.precursor_mz, spectrum.charge, spectrum.ion_mode) == (181.07, -1, "negative")
    assert (spectrum.collision_energy, spectrum.retention_time) == (20.0, 90.0)


def _peak_memory(path: Path) -> int:
    tracemalloc.start()
    for _ in read_spectra(path, ReadReport()):
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


@pytest.mark.parametrize("kind", ["msp", "mgf", "mzML", "mzXML"])
def test_memory_does_not_grow_with_the_file(tmp_path: Path, kind: str) -> None:
    def content(n: int) -> str:
        if kind == "mzML":
            mz = [50.0 + j for j in range(100)]
            return mzml_file([mzml_scan(i, 2, mz, mz, negative=False) for i in range(n)])
        if kind == "mzXML":
            mz = [50.0 + j for j in range(100)]
            return mzxml_file([mzxml_scan(i, 2, mz, mz) for i in range(n)])
        peaks = "".join(f"{50 + j}.25 {j + 1}\n" for j in range(100))
        if kind == "mgf":
            return "".join(mgf_record(str(i), peaks=peaks) for i in range(n))
        return "".join(f"Name: {i}\nNum Peaks: 100\n{peaks}\n" for i in range(n))

    # The small files are larger than one chunk.
    n = 90 if kind.startswith("mz") else 300
    small, large = tmp_path / f"small.{kind}", tmp_path / f"large.{kind}"
    small.write_text(content(n))
    large.write_text(content(3 * n))
    _peak_memory(small)  # fills the caches
    growth = _peak_memory(large) - _peak_memory(small)
    # What stays is each spectrum's identifier, some 200 bytes; a spectrum takes over 3 kB.
    assert growth < 2 * n * 800


def test_a_pipe_is_read_whole(tmp_path: Path) -> None:
    pipe = tmp_path / "x"
    os.mkfifo(pipe)
    content = "".join(mgf_record(str(i)) for i in range(3000))  # more than a pipe holds
    thread = threading.Thread(target=pipe.write_text, args=(content,), daemon=True)
    thread.start()
    spectra = list(read_spectra(pipe, ReadReport()))
    thread.join()
    assert [s.query_id for s in spectra] == [str(i) for i in range(3000)]


def test_records_know_their_place_among_all_of_the_file(tmp_path: Path) -> None:
    """Those that are skipped count: other programs find a spectrum by that number."""
    bad = "BEGIN IONS\nTITLE=bad\nPEPMASS=100\n50 a\nEND IONS\n"
    text = mgf_record("a") + bad + mgf_record("b")
    spectra, skips, _ = read_bytes(tmp_path, "x.mgf", text)
    assert [spectrum.ordinal for spectrum in spectra] == [1, 3]
    assert len(skips) == 1
    spectra, _, _ = read_bytes(tmp_path, "x.msp", msp_record("a") + msp_record("b"))
    assert [spectrum.ordinal for spectrum in spectra] == [1, 2]
    scans = [mzml_scan(i, i + 1, (50.0,), (1.0,), negative=False) for i in range(2)]
    (spectrum,), _, _ = read_bytes(tmp_path, "x.mzML", mzml_file(scans))
    assert spectrum.ordinal == 2


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("name", ["x.msp", "x.mgf", "x.mzML"])
def test_utf_16_is_read_as_utf_8_is(tmp_path: Path, name: str, packed: bool, encoding: str) -> None:
    text = {
        # More than a piece of what is read at a time, with signs of two, three and four bytes.
        "x.msp": "".join(
            msp_record(f"a{n} µ\N{GREEK SMALL LETTER BETA}\U0001f9ea") for n in range(3000)
        ),
        "x.mgf": "".join(mgf_record(f"a{n} µ") for n in range(3000)),
        "x.mzML": mzml_file([mzml_scan(1, 2, [50.5], [1.0], negative=False)]),
    }[name]
    plain, _, _ = read_bytes(tmp_path, name, text.encode())
    declared = text.replace('encoding="utf-8"', 'encoding="UTF-16"')
    assert (declared != text) == (name == "x.mzML")
    content = ("\ufeff" + declared).encode(encoding)
    found, skips, _ = read_bytes(
        tmp_path, f"{name}.gz" if packed else name, gzip.compress(content, 1) if packed else content
    )
    assert skips == []
    assert [s.query_id for s in found] == [s.query_id for s in plain]
    assert [s.mz.tolist() for s in found] == [s.mz.tolist() for s in plain]


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("name", ["x.msp", "x.mgf"])
def test_utf_16_without_its_mark(tmp_path: Path, name: str, encoding: str) -> None:
    make = msp_record if name == "x.msp" else mgf_record
    found, skips, _ = read_bytes(tmp_path, name, make("a µ").encode(encoding))
    assert skips == []
    assert [s.query_id for s in found] == ["a µ"]


def test_utf_16_that_is_cut_off_loses_what_is_cut_off(tmp_path: Path) -> None:
    text = "".join(mgf_record(f"a{n}") for n in range(3000))
    whole = gzip.compress(text.encode("utf-16"), 1)
    found, skips, _ = read_bytes(tmp_path, "x.mgf.gz", whole[: len(whole) // 2])
    assert 0 < len(found) < 3000
    assert [s.query_id for s in found] == [f"a{n}" for n in range(len(found))]
    assert [skip.reason for skip in skips] == [Reason.TRUNCATED]
    # Half a character at the end is none.
    found, skips, _ = read_bytes(tmp_path, "y.mgf", text.encode("utf-16")[:-1])
    assert len(found) == 3000


@pytest.mark.parametrize(
    ("first", "second", "mz"),
    [
        ("PEPMASS=285,02", "PRECURSOR_MZ=195.0877", 195.0877),
        ("PRECURSOR_MZ=about 3", "PEPMASS=195.0877 10 1+", 195.0877),
        ("PEPMASS=1 2 3 4 5 6 7 8", "PRECURSOR_MZ=195.0877", 195.0877),
        ("PEPMASS=195.0877", "PRECURSOR_MZ=unclear", 195.0877),
        ("PEPMASS=unclear", "PRECURSOR_MZ=0", None),  # neither says what it is
        ("PEPMASS=unclear", "PRECURSOR_MZ=285,02", None),
    ],
)
def test_a_precursor_that_cannot_be_read_gives_way_to_one_that_can(
    tmp_path: Path, first: str, second: str, mz: float | None
) -> None:
    text = mgf_record("a", first, second).replace("PEPMASS=181.07\n", "", 1)
    spectra, skips, _ = read_bytes(tmp_path, "x.mgf", text)
    assert [spectrum.precursor_mz for spectrum in spectra] == ([] if mz is None else [mz])
    assert [skip.reason for skip in skips] == ([Reason.BAD_PRECURSOR] if mz is None else [])
