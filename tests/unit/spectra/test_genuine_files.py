"""Genuine files of others: how many spectra come out of each, and why the others do not."""

import zipfile
from collections import Counter
from pathlib import Path

import pytest
from shared_data import shared

from specvae.errors import InputError
from specvae.report import ReadReport, Reason
from specvae.spectra.read import read_spectra
from specvae.spectra.spectrum import Spectrum


def read(path: Path) -> tuple[list[Spectrum], ReadReport]:
    report = ReadReport()
    return list(read_spectra(path, report)), report


# Not one record of these is malformed. Told for each file: spectra, those with a precursor m/z
# (mass spectra of EI have none), those with a structure, and peaks above 0 in all.
MONA = {
    "MoNA-export-GC-MS-first10.msp": (10, 0, 10, 494),
    "comments_with_quotes.msp": (1, 0, 0, 248),
    "edge_golm.msp": (1, 0, 0, 26),
    "gnps_100_spectra.mgf": (100, 100, 100, 13077),
    "golm.msp": (3, 0, 1, 163),
    "massbank_five_spectra.msp": (5, 5, 5, 41),
    "minimona.msp": (30, 29, 8, 754),
    "multiline_semicolon.msp": (2, 0, 0, 22),
    "pesticides.mgf": (76, 76, 76, 4721),
    "rcx_gc-ei_ms_20201028_perylene.msp": (1, 1, 1, 19),
    "riken_style_five_spectra.msp": (5, 5, 5, 41),
    "small-export-LipidBlast.msp": (5, 5, 5, 28),
    "spectrum2.msp": (2, 2, 2, 111),
    "testdata.mgf": (30, 30, 30, 902),
}


@pytest.mark.parametrize("name", MONA)
def test_every_record_comes_out(name: str) -> None:
    report = ReadReport()
    spectra = list(read_spectra(shared(f"mona/{name}"), report, every_level=True))
    assert report.skips == []
    assert (
        len(spectra),
        sum(s.precursor_mz is not None for s in spectra),
        sum(s.smiles is not None or s.inchi is not None for s in spectra),
        sum(s.n_peaks for s in spectra),
    ) == MONA[name]
    assert report.n_read == len(spectra)
    assert len({s.query_id for s in spectra}) == len(spectra)


def test_json_is_refused_in_one_line() -> None:
    with pytest.raises(InputError, match=r"gnps_spectra\.json: looks like JSON"):
        read(shared("mona/gnps_spectra.json"))


def test_tab_indented_peaks_of_mona() -> None:
    spectra, _ = read(shared("mona/minimona.msp"))
    assert spectra[0].query_id == "MoNA000010"
    assert spectra[0].mz[[0, -1]].tolist() == [140.0537, 721.3204]
    assert spectra[4].collision_energy == 35.0  # written as -35 eV


def test_quoted_comments_of_lipidblast() -> None:
    spectra, _ = read(shared("mona/small-export-LipidBlast.msp"))
    assert spectra[0].smiles == "CCCC(=O)OC(CC(O)=O)C[N+](C)(C)C"
    assert spectra[0].collision_energy == 45.0
    assert spectra[0].retention_time == pytest.approx(30.6)


def test_notes_on_records_of_gnps() -> None:
    """Names say which species these ions are, also where two charges contradict the ion mode."""
    spectra, report = read(shared("mona/testdata.mgf"))
    assert report.notes == {
        "charge overruled by ion species": 2,
        "ion species taken from name or comment": 30,
    }
    assert Counter(s.ion_mode for s in spectra)["negative"] > 2
    (oleoyl,) = (s for s in spectra if s.name == '"1,2-Dioleoyl-rac-glycerol" M+NH4')
    assert oleoyl.adduct == "[M+NH4]+"


@pytest.mark.parametrize(
    ("name", "n_surveys"), [("MoNA-export-GC-MS-first10.msp", 10), ("spectrum2.msp", 1)]
)
def test_spectra_of_ms_level_1_are_left_out_and_counted(name: str, n_surveys: int) -> None:
    spectra, report = read(shared(f"mona/{name}"))
    assert report.counts == {Reason.MS_LEVEL: n_surveys}
    assert len(spectra) == MONA[name][0] - n_surveys


@pytest.mark.parametrize(
    ("name", "n", "modes"),
    [
        ("2016/queries.mgf", 208, {"positive": 127, "negative": 81}),
        ("2016/training.mgf", 312, {"positive": 254, "negative": 58}),
        ("2017/queries.mgf", 243, {"positive": 147, "negative": 96}),
    ],
)
def test_casmi(name: str, n: int, modes: dict[str, int]) -> None:
    spectra, report = read(shared(f"casmi/{name}"))
    assert report.skips == []
    assert len(spectra) == n
    assert Counter(s.ion_mode for s in spectra) == modes
    assert all(s.neutral_mass is not None for s in spectra)
    # The files carry the neutral mass too, which for [M]+ is not the cation's own mass.
    for s in (s for s in spectra if s.adduct in ("[M+H]+", "[M-H]-")):
        assert s.neutral_mass == pytest.approx(float(s.metadata["PARENT_MASS"]), abs=2e-3)


# In the raw files of 2016 every charge is 1+, whatever the ion mode was; in 2017 it is genuine.
@pytest.mark.parametrize(
    ("year", "n", "n_precursors", "charges"),
    [("2016", 208, 208, {1: 208}), ("2017", 243, 198, {1: 146, -1: 97})],
)
def test_raw_casmi_files(
    tmp_path: Path, year: str, n: int, n_precursors: int, charges: dict[int, int]
) -> None:
    with zipfile.ZipFile(shared(f"casmi/{year}/raw_mgf.zip")) as archive:
        archive.extractall(tmp_path)
    spectra: list[Spectrum] = []
    for path in sorted(tmp_path.rglob("*.mgf")):
        (spectrum,), report = read(path)
        assert report.skips == []
        assert spectrum.name is not None
        assert spectrum.name.removesuffix(".mgf") == path.stem
        spectra.append(spectrum)
    assert len(spectra) == n
    # Empty PEPMASS= is no fault of the record: it is read without a precursor m/z.
    assert sum(s.precursor_mz is not None for s in spectra) == n_precursors
    assert Counter(s.charge for s in spectra) == charges


def test_massbank_head() -> None:
    path = shared("massbank/massbank_2025.05.1.msp.gz")
    report = ReadReport()
    spectra = [s for s, _ in zip(read_spectra(path, report), range(3000), strict=False)]
    assert report.skips == []
    assert all(s.query_id and s.instrument_type and s.ion_mode for s in spectra)
    assert sum(s.smiles is not None for s in spectra) > 2900
    assert sum(s.retention_time is not None for s in spectra) > 1000
