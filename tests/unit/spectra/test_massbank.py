"""MassBank records, alone and one after the other."""

from pathlib import Path

import pytest
from spectra_files import read_bytes

from specvae.report import ReadReport, Reason
from specvae.spectra.read import read_spectra

RECORD = """ACCESSION: MSBNK-Nowhere-XX000001
RECORD_TITLE: Ethanol; LC-ESI-QTOF; MS2; 30 eV; [M+H]+
DATE: 2026.01.01
COMMENT: CONFIDENCE a=b precursor m/z=99
CH$NAME: Ethanol
CH$NAME: Ethyl alcohol
CH$FORMULA: C2H6O
CH$EXACT_MASS: 46.0419
CH$SMILES: CCO
CH$IUPAC: InChI=1S/C2H6O/c1-2-3/h3H,2H2,1H3
CH$LINK: CAS 64-17-5
CH$LINK: INCHIKEY LFQSCWFLJHTTHZ-UHFFFAOYSA-N
AC$INSTRUMENT: Q, Maker
AC$INSTRUMENT_TYPE: LC-ESI-QTOF
AC$MASS_SPECTROMETRY: MS_TYPE MS2
AC$MASS_SPECTROMETRY: ION_MODE POSITIVE
AC$MASS_SPECTROMETRY: COLLISION_ENERGY 30 eV
AC$CHROMATOGRAPHY: RETENTION_TIME 1.5 min
MS$FOCUSED_ION: BASE_PEAK 47.0491
MS$FOCUSED_ION: PRECURSOR_M/Z 47.0491
MS$FOCUSED_ION: PRECURSOR_TYPE [M+H]+
PK$SPLASH: splash10-0000-0000000000-00000000000000000000
PK$ANNOTATION: m/z tentative_formula mass error(ppm)
  29.0386 C2H5+ 29.0386 0.1
PK$NUM_PEAK: 2
PK$PEAK: m/z int. rel.int.
  29.0386 10.5 105
  47.0491 99.9 999
//
"""


def test_every_field(tmp_path: Path) -> None:
    (spectrum,), skips, _ = read_bytes(tmp_path, "x.txt", RECORD)
    assert skips == []
    expected = {
        "query_id": "MSBNK-Nowhere-XX000001",
        "name": "Ethanol",
        "precursor_mz": 47.0491,
        "adduct": "[M+H]+",
        "ion_mode": "positive",
        "ms_level": 2,
        "collision_energy": 30.0,
        "retention_time": 90.0,
        "instrument": "Q, Maker",
        "instrument_type": "LC-ESI-QTOF",
        "smiles": "CCO",
        "inchi": "InChI=1S/C2H6O/c1-2-3/h3H,2H2,1H3",
        "inchikey": "LFQSCWFLJHTTHZ-UHFFFAOYSA-N",
        "formula": "C2H6O",
        "line": 1,
        "notes": (),
    }
    assert {key: getattr(spectrum, key) for key in expected} == expected
    assert spectrum.mz.tolist() == [29.0386, 47.0491]
    assert spectrum.intensity.tolist() == [10.5, 99.9]
    assert spectrum.metadata["CAS"] == "64-17-5"


def test_records_one_after_the_other_and_one_broken(tmp_path: Path) -> None:
    def numbered(n: int) -> str:
        return RECORD.replace("XX000001", f"XX{n}")

    broken = [
        (numbered(2).replace("NUM_PEAK: 2", "NUM_PEAK: 3"), Reason.PEAK_COUNT_MISMATCH),
        (numbered(3).replace("//\n", ""), Reason.TRUNCATED),
        (numbered(4).replace("PK$NUM_PEAK: 2\n", ""), Reason.BAD_FIELD),
        (numbered(5).replace("MS_TYPE MS2", "MS_TYPE MS"), Reason.MS_LEVEL),
    ]
    content = numbered(1) + "".join(record for record, _ in broken) + numbered(6)
    spectra, skips, _ = read_bytes(tmp_path, "x.txt", content)
    assert [s.query_id[-3:] for s in spectra] == ["XX1", "XX6"]
    assert [s.reason for s in skips] == [reason for _, reason in broken]
    assert [s.line for s in skips] == [30, 59, 87, 115]


@pytest.mark.parametrize("name", ["x.txt", "x.massbank", "x"])
def test_the_content_decides(tmp_path: Path, name: str) -> None:
    spectra, _, _ = read_bytes(tmp_path, name, RECORD)
    assert len(spectra) == 1


def test_deprecated_records_are_left_out_and_counted(tmp_path: Path) -> None:
    """Their content may be wrong: one has a list of peaks as its precursor m/z."""
    deprecated = RECORD.replace("RECORD_TITLE", "DEPRECATED: 2024-11-12 Wrong!\nRECORD_TITLE")
    deprecated = deprecated.replace("PRECURSOR_M/Z 47.0491", "PRECURSOR_M/Z 47 1 35 2 12 4 11 1")
    spectra, skips, _ = read_bytes(tmp_path, "x.txt", RECORD + deprecated)
    assert len(spectra) == 1
    assert [(s.line, s.reason, s.detail) for s in skips] == [
        (30, Reason.DEPRECATED, "2024-11-12 Wrong!")
    ]
    assert not Reason.DEPRECATED.is_malformed
    # As compounds to be kept out of training they count.
    path = tmp_path / "y.txt"
    path.write_text(RECORD.replace("RECORD_TITLE", "DEPRECATED: 2024-11-12 Wrong!\nRECORD_TITLE"))
    assert len(list(read_spectra(path, ReadReport(), every_level=True))) == 1


def test_the_ion_species_of_the_title(tmp_path: Path) -> None:
    record = RECORD.replace("MS$FOCUSED_ION: PRECURSOR_TYPE [M+H]+\n", "")
    record = record.replace("30 eV; [M+H]+", "30 eV; [M+Na]+")
    (spectrum,), _, _ = read_bytes(tmp_path, "x.txt", record)
    assert spectrum.adduct == "[M+Na]+"
    assert spectrum.notes == ("ion species taken from name or comment ([M+Na]+)",)


def test_files_joined_without_a_line_end_between_them(tmp_path: Path) -> None:
    """The second record lost its accession."""
    content = RECORD.rstrip() + RECORD.replace("XX000001", "XX000002")
    spectra, skips, _ = read_bytes(tmp_path, "x.txt", content)
    assert skips == []
    assert [s.query_id for s in spectra] == ["MSBNK-Nowhere-XX000001", "MSBNK-Nowhere-XX000002"]
    assert [s.line for s in spectra] == [1, 29]


def test_peaks_that_lost_their_blanks(tmp_path: Path) -> None:
    plain, _, _ = read_bytes(tmp_path, "x.txt", RECORD)
    head, tag, peaks = RECORD.partition("PK$PEAK:")
    spectra, skips, _ = read_bytes(tmp_path, "y.txt", head + tag + peaks.replace("\n  ", "\n"))
    assert skips == []
    assert spectra[0].mz.tolist() == plain[0].mz.tolist()


@pytest.mark.parametrize(
    ("rows", "intensity"),
    [
        ("  29.0386 N/A 105\n  47.0491 N/A 999", [105.0, 999.0]),
        ("  29.0386 1 105\n  47.0491 1 999", [105.0, 999.0]),
        ("  29.0386 0 105\n  47.0491 0 999", [105.0, 999.0]),
        ("  29.0386 7 999\n  47.0491 7 999", [999.0, 999.0]),
        ("  29.0386 7 a\n  47.0491 7 b", [7.0, 7.0]),
        ("  29.0386 7\n  47.0491 7", [7.0, 7.0]),
    ],
)
def test_relative_intensities_where_the_others_say_nothing(
    tmp_path: Path, rows: str, intensity: list[float]
) -> None:
    text = RECORD.replace("  29.0386 10.5 105\n  47.0491 99.9 999", rows)
    (spectrum,), skips, _ = read_bytes(tmp_path, "x.txt", text)
    assert skips == []
    assert spectrum.intensity.tolist() == intensity
