"""More ways to write the fields of a record: each is read rightly, or refused and said."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from spectra_files import mgf_record, msp_record, read_bytes

from specvae.report import Reason
from specvae.spectra.adducts import parse_adduct
from specvae.spectra.build import sort_structures
from specvae.spectra.keys import stated


@pytest.mark.parametrize(
    "text", ["[0.5M+H]+", "1.5M+H", "[M+1.5H]+", "[M+H]1.5+", "[M+Fe-2H]", "-H2O", "+ - +"]
)
def test_a_half_and_what_has_no_certain_charge_are_no_species(text: str) -> None:
    """``[0.5M+H]+`` was taken for five molecules, and ``[M+Fe-2H]`` for an anion of two charges."""
    assert parse_adduct(text) is None


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("MH+", "[M+H]+"),
        ("[MH]+", "[M+H]+"),
        ("[MH2]2+", "[M+2H]2+"),
        ("[MNa]+", "[M+Na]+"),
        ("[M+H+]", "[M+H]+"),
        ("[M+H+]+", "[M+H]+"),
        ("[M+NH4+]+", "[M+NH4]+"),
        ("[M+Na+H]2+", "[M+H+Na]2+"),
        ("[M+Cl-]-", "[M+Cl]-"),
        ("[M+HCOO-]", "[M+HCOO]-"),
        ("[M+2Na+-H]+", "[M+2Na-H]+"),
        ("[M.+]", "[M]+"),
        ("[Cat]+", "[M]+"),
        ("[Cat-H2O]+", "[M-H2O]+"),
        ("(M+H)+[-H2O]", "[M+H-H2O]+"),
        ("[M+H]+(-H2O)", "[M+H-H2O]+"),
        ("[M+H]\u200b+", "[M+H]+"),
        ("[M+formate]-", "[M+HCOO]-"),
        ("[M+Acetate]-", "[M+CH3COO]-"),
        ("[M+FA]-", "[M+HCOO]-"),
        ("[M+HAc]-", "[M+CH3COO]-"),
        ("[M+TFA]-", "[M+CF3COO]-"),
        ("[M+HCOOH+H]+", "[M+H+HCOOH]+"),
        ("[M+7Li]+", "[M+Li]+"),
        ("[M+35Cl]-", "[M+Cl]-"),
        ("[M+79Br]-", "[M+Br]-"),
        ("[M+Fe(III)-2H]+", "[M+Fe-2H]+"),
        ("[M+Fe3+-2H+]+", "[M+Fe-2H]+"),
        ("M+Fe3+-2H+", "[M+Fe-2H]+"),
        ("[M+Fe3+-2H]", "[M+Fe-2H]+"),
        ("[2M+Ca2+-H]+", "[2M+Ca-H]+"),
        ("[M+Mg2+]2+", "[M+Mg]2+"),
        ("M+Ca2+", "[M+Ca]2+"),
        ("[M+Na2-H]+", "[M+2Na-H]+"),
        ("M+2H2+", "[M+2H]2+"),
        ("M + 2H 2+", "[M+2H]2+"),
        ("M+2Na 2+", "[M+2Na]2+"),
        ("M-3H3-", "[M-3H]3-"),
        ("[M+2H2+]", "[M+2H]2+"),
        ("[M+H-2H2]+", "[M+H-2H2]+"),
        ("M+H +", "[M+H]+"),
        ("-H2O+H", "[M+H-H2O]+"),
        ("+FA-H", "[M+HCOO]-"),
        ("-e", "[M]+"),
        ("[M+H]1.0+", "[M+H]+"),
        ("[M+Cu(I)]+", "[M+Cu]+"),
        ("M+H[1+]", "[M+H]+"),
        ("[M+H][1+]", "[M+H]+"),
        ("M+2H[2+]", "[M+2H]2+"),
        ("M-H[-]", "[M-H]-"),
        ("M+Na (+)", "[M+Na]+"),
        ("[(M+NH3)+H]+", "[M+NH4]+"),
        ("[(M+CH3COOH)-H]-", "[M+CH3COO]-"),
        ("[M-Me]-", "[M-CH3]-"),
        ("[M+AcO]-", "[M+CH3COO]-"),
        ("[M+Si(CH3)3]+", "[M+C3H9Si]+"),
        ("[M+H-(CH3)3SiOH]+", "[M+H-C3H10OSi]+"),
        ("[M+H-2(CH3)3SiOH]+", "[M+H-2C3H10OSi]+"),
        ("[M+(CH3)2CO+H]+", "[M+H+C3H6O]+"),
        ("[M+Ca(OH)]+", "[M+CaHO]+"),
        ("[M+H-H2O*2]+", "[M+H-2H2O]+"),
        ("[M+H-H2O\u00d72]+", "[M+H-2H2O]+"),
        ("[M+H-2*H2O]+", "[M+H-2H2O]+"),
    ],
)
def test_spellings_of_ion_species(text: str, name: str) -> None:
    found = parse_adduct(text)
    wanted = parse_adduct(name)
    assert found is not None
    assert wanted is not None
    assert (found.name, found.charge) == (wanted.name, wanted.charge)
    assert found.mass_shift == pytest.approx(wanted.mass_shift, abs=1e-12)


@pytest.mark.parametrize(
    "text",
    ["[M+13C+H]+", "[M+H+37Cl]+", "[M+81Br]-", "[M+6Li]+", "[MH]-", "[M+H+1]+", "Category"],
)
def test_isotopes_and_nonsense_are_no_ion_species(text: str) -> None:
    """``+13C`` is a label and not 13 atoms of carbon."""
    assert parse_adduct(text) is None


_MENTIONED = "ion species taken from name or comment"


@pytest.mark.parametrize(
    ("lines", "ion", "note"),
    [
        (["TITLE=lysoPC 16:0; [M+Na]+; lysoPC(16:0/0:0)"], "[M+Na]+", True),
        (["NAME=Malyngamide C M+Na", "CHARGE=1"], "[M+Na]+", True),
        (["NAME=PG(16:0/18:2); [M-H]- C40H74O10P1 M-H", "IONMODE=Negative"], "[M-H]-", True),
        (["NAME=x [M-H]-", "CHARGE=1"], "[M-H]-", True),
        (["COMPOUND_NAME=Caffeine - 20.0 eV [M+NH4]+", "CHARGE=1+"], "[M+NH4]+", True),
        (["NAME=x [M+2H]2+"], "[M+2H]2+", True),
        (["TITLE=Cpd 1: x; (M+Na)+; 5.2 min"], "[M+Na]+", True),
        (["NAME=x (M-2H)2-"], "[M-2H]2-", True),
        (["NAME=x (M-H)-form"], None, False),
        (["NAME=x-M (nor-)+", "IONMODE=Positive"], None, False),
        # What the record states in a field counts for more.
        (["NAME=x M+Na", "ADDUCT=M+K"], "[M+K]+", False),
        (["NAME=x M+Na", "ADDUCT=[M+?]+"], None, False),
        (["NAME=x [M-H]-", "IONMODE=Positive"], None, False),
        (["NAME=x M+2H", "CHARGE=1+"], None, False),
        # Two of them, or what only looks like one.
        (["NAME=x [M+H]+ and [M+Na]+", "IONMODE=Positive"], None, False),
        (["NAME=alpha-M-idontknow", "IONMODE=Positive"], None, False),
        (["NAME=Compound -idontknow31773", "IONMODE=Positive"], None, False),
        (["NAME=x [M+Zz]+", "IONMODE=Positive"], None, False),
    ],
)
def test_an_ion_species_in_a_name(
    tmp_path: Path, lines: list[str], ion: str | None, note: bool
) -> None:
    content = f"BEGIN IONS\nPEPMASS=500.1\n{chr(10).join(lines)}\n60.25 100\nEND IONS\n"
    (spectrum,), _, report = read_bytes(tmp_path, "x.mgf", content)
    assert spectrum.adduct == ion
    assert report.notes[_MENTIONED] == note
    assert (f"{_MENTIONED} ({ion})" in spectrum.notes) == note


def test_an_ion_species_in_a_comment(tmp_path: Path) -> None:
    comment = "Comment: Parent=181.07 Mz_exact=181.07 ; CerP 32:1; [M+K]+; C32H64NO6P"
    (spectrum,), _, _ = read_bytes(tmp_path, "x.msp", msp_record("a", comment))
    assert (spectrum.adduct, spectrum.notes) == ("[M+K]+", (f"{_MENTIONED} ([M+K]+)",))


def test_the_feature_in_a_comment_of_progenesis(tmp_path: Path) -> None:
    """Its time in minutes and its m/z are stated nowhere else."""
    record = msp_record("a", "Comment: 0.75_236.11305m/z").replace("PrecursorMZ: 181.07\n", "")
    (spectrum,), _, _ = read_bytes(tmp_path, "x.msp", record)
    assert (spectrum.precursor_mz, spectrum.retention_time) == (236.11305, 45.0)
    assert spectrum.notes == ("precursor m/z taken from the comment (236.11305)",)
    (spectrum,), _, _ = read_bytes(tmp_path, "x.msp", msp_record("a", "Comment: 0.75_236.1m/z"))
    assert (spectrum.precursor_mz, spectrum.notes) == (181.07, ())
    # "n" is the mass of a neutral molecule.
    (spectrum,), _, _ = read_bytes(tmp_path, "x.msp", record.replace("m/z", "n"))
    assert (spectrum.precursor_mz, spectrum.retention_time) == (None, 45.0)


def test_names_as_windows_writes_them(tmp_path: Path) -> None:
    content = msp_record("“Caféine” • ½").encode("cp1252")
    (spectrum,), _, _ = read_bytes(tmp_path, "x.msp", content)
    assert spectrum.query_id == "“Caféine” • ½"


@pytest.mark.parametrize(("name", "record"), [("x.msp", msp_record), ("x.mgf", mgf_record)])
def test_the_end_of_file_of_dos(tmp_path: Path, name: str, record: Callable[[str], str]) -> None:
    content = f"{record('a')}\n\x1a{record('b')}\x1a"
    spectra, skips, _ = read_bytes(tmp_path, name, content)
    assert ([s.query_id for s in spectra], skips) == (["a", "b"], [])


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("195.0877 [M+Na]+", "[M+Na]+"),
        ("195.0877 1000 [M+Na]+ 1+", "[M+Na]+"),
        ("195.0877 [M + Na]+", "[M+Na]+"),
        ("195.0877, M+Na", "[M+Na]+"),
        ("195.0877 ([M-H]-)", "[M-H]-"),
        ("195.0877 (M+Na)+", "[M+Na]+"),
        ("[M+Na]+ 195.0877", "[M+Na]+"),
        ("195.0877 [M+Xy]+", "[M+Xy]+"),  # not known, which the status says
        ("195.0877 MS2", None),
    ],
)
def test_an_ion_species_beside_the_precursor(text: str, name: str | None, tmp_path: Path) -> None:
    for file_name, content in (
        ("x.mgf", mgf_record("a").replace("PEPMASS=181.07", f"PEPMASS={text}")),
        ("x.msp", msp_record("a").replace("PrecursorMZ: 181.07", f"PrecursorMZ: {text}")),
    ):
        (spectrum,), _, _ = read_bytes(tmp_path, file_name, content)
        assert (spectrum.precursor_mz, spectrum.adduct) == (195.0877, name)
        assert spectrum.notes == ()


@pytest.mark.parametrize(
    ("line", "others", "charge"),
    [
        ("195.0877 NaN 2+", "", 2),
        ("195.0877 NA 1-", "", -1),
        ("195.0877 None 2+", "CHARGE=1+", 2),
        ("195.0877 -1", "", -1),
        ("195.0877 -1", "CHARGE=0", -1),
        ("195.0877 -1", "IONMODE=N/A", -1),  # none of these says what the ion mode is
        ("195.0877 -1", "IONMODE=ESI", -1),
        ("195.0877 -1", "ADDUCT=1", -1),
        # The placeholder for an intensity that is not known, as all else shows.
        ("195.0877 -1", "NAME=Caffeine [M+H]+", 1),
        ("195.0877 -1", "CHARGE=1+", 1),
        ("195.0877 -1", "CHARGE=2", 2),
        ("195.0877 1000 -1", "CHARGE=1+", -1),
    ],
)
def test_a_charge_behind_an_intensity_that_is_no_number(
    line: str, others: str, charge: int, tmp_path: Path
) -> None:
    content = f"BEGIN IONS\nTITLE=a\nPEPMASS={line}\n{others}\n50.1 10\nEND IONS\n"
    (spectrum,), skips, _ = read_bytes(tmp_path, "x.mgf", content)
    assert (spectrum.precursor_mz, spectrum.charge, skips) == (195.0877, charge, [])


def test_a_field_of_the_ion_species_goes_before_one_beside_the_precursor(tmp_path: Path) -> None:
    line = "PEPMASS=195.0877 [M+H]+\nADDUCT=[M+Na]+"
    content = mgf_record("a").replace("PEPMASS=181.07", line)
    (spectrum,), _, _ = read_bytes(tmp_path, "x.mgf", content)
    assert spectrum.adduct == "[M+Na]+"
    assert spectrum.notes == ("first of several ion species taken ([M+Na]+, [M+H]+)",)


@pytest.mark.parametrize("lines", ["ADDUCT=yes\nION=[M+Na]+", "ION=[M+Na]+\nADDUCT=yes"])
def test_what_is_no_ion_species_hides_none(tmp_path: Path, lines: str) -> None:
    content = mgf_record("a").replace("PEPMASS=181.07", f"PEPMASS=195.0877\n{lines}")
    (spectrum,), _, _ = read_bytes(tmp_path, "x.mgf", content)
    assert (spectrum.adduct, spectrum.notes) == ("[M+Na]+", ())


def test_a_second_number_is_an_intensity_in_pepmass_alone(tmp_path: Path) -> None:
    line = "195.0877 391.2"
    content = mgf_record("a").replace("PEPMASS=181.07", f"PEPMASS={line}")
    (spectrum,), _, _ = read_bytes(tmp_path, "x.mgf", content)
    assert (spectrum.precursor_mz, spectrum.notes) == (195.0877, ())
    content = msp_record("a").replace("PrecursorMZ: 181.07", f"PrecursorMZ: {line}")
    (spectrum,), _, _ = read_bytes(tmp_path, "x.msp", content)
    assert spectrum.precursor_mz == 195.0877
    assert spectrum.notes == (f"first of several precursors taken ({line})",)


def test_an_isolation_window_alone(tmp_path: Path) -> None:
    content = mgf_record("a").replace("PEPMASS=181.07", "isolationWindowTargetMz=181.07")
    (spectrum,), _, _ = read_bytes(tmp_path, "x.mgf", content)
    assert spectrum.precursor_mz == 181.07
    (note,) = spectrum.notes
    assert note.startswith("isolation window's target taken as precursor m/z")
    content = mgf_record("a", "isolationWindowTargetMz=999")
    (spectrum,), _, _ = read_bytes(tmp_path, "x.mgf", content)
    assert (spectrum.precursor_mz, spectrum.notes) == (181.07, ())


def test_a_survey_scan_whose_level_is_a_decimal_is_none(tmp_path: Path) -> None:
    """R and pandas write whole numbers as 1.0."""
    spectra, skips, _ = read_bytes(tmp_path, "x.mgf", mgf_record("a", "MSLEVEL=1.0"))
    assert spectra == []
    assert [skip.reason for skip in skips] == [Reason.MS_LEVEL]


INCHI = "1S/C2H6O/c1-2-3/h3H,2H2,1H3"


@pytest.mark.parametrize(
    "text",
    [f"'InChI={INCHI}'", f"InChI: {INCHI}", f"InChI = {INCHI}", INCHI[1:], INCHI[3:], INCHI[2:]],
)
def test_damaged_heads_of_inchis(text: str) -> None:
    assert sort_structures({"inchi": text}) == (None, f"InChI={INCHI}", None)


@pytest.mark.parametrize("key", ["canonical_smiles", "Isomeric SMILES", "structure_smiles"])
def test_keys_of_smiles(tmp_path: Path, key: str) -> None:
    (spectrum,), _, _ = read_bytes(tmp_path, "x.msp", msp_record("a", f"{key}: CCO"))
    assert spectrum.smiles == "CCO"


@pytest.mark.parametrize("key", ["INCHIKEY_SMILES", "InChIKey14", "Standard InChIKey"])
def test_keys_of_inchikeys(tmp_path: Path, key: str) -> None:
    lines = f"{key}: LFQSCWFLJHTTHZ-UHFFFAOYSA-N"
    (spectrum,), _, _ = read_bytes(tmp_path, "x.msp", msp_record("a", lines))
    assert spectrum.first_block == "LFQSCWFLJHTTHZ"


# --------------------------------------------------------------------------- borders of MSP records


@pytest.mark.parametrize(
    "record",
    [
        "Name: a\nPrecursorMZ: 181.07\nNum Peaks: 2\n\n50.5 10\n60.25 100\nSMILES: CCO\n",
        "Name: a\nPrecursorMZ: 181.07\n\nSMILES: CCO\nNum Peaks: 2\n50.5 10\n60.25 100\n",
        "Name: a\nPrecursorMZ: 181.07\nNum Peaks: 2\nSMILES: CCO\n\n50.5 10\n60.25 100\n",
        "Name: a\nSMILES: CCO\nPrecursorMZ: 181.07\nNum Peaks: 2\nSMILES: CCO\n50.5 10\n60.25 100",
        "Name: a\nPrecursorMZ: 181.07\nNum Peaks: 2\n50.5 10\nSMILES: CCO\n60.25 100\n",
        "Name: a\nPrecursorMZ: 181.07\nSMILES: CCO\nNum Peaks: 2.0\n{50.5 10}\n[60.25,100]\n",
    ],
)
@pytest.mark.parametrize("gap", ["\n", ""])
def test_blank_lines_and_late_fields(tmp_path: Path, record: str, gap: str) -> None:
    content = record + gap + record.replace("Name: a", "Name: b")
    spectra, skips, _ = read_bytes(tmp_path, "x.msp", content)
    assert skips == []
    assert [spectrum.query_id for spectrum in spectra] == ["a", "b"]
    for spectrum in spectra:
        assert (spectrum.precursor_mz, spectrum.smiles) == (181.07, "CCO")
        assert spectrum.mz.tolist() == [50.5, 60.25]


@pytest.mark.parametrize("head", ["Name: a\n", "PrecursorMZ: 99\nFormula: C\n", "Num Peaks: 3\n"])
def test_a_record_without_peaks_takes_nothing_from_the_next(tmp_path: Path, head: str) -> None:
    spectra, skips, _ = read_bytes(tmp_path, "x.msp", f"{head}\n{msp_record('b', 'SMILES: CCO')}")
    assert [(spectrum.query_id, spectrum.precursor_mz) for spectrum in spectra] == [("b", 181.07)]
    assert len(skips) == 1


@pytest.mark.parametrize(
    "line", ["END IONSBEGIN IONS", "END IONS BEGIN IONS", "end ions\tbegin ions"]
)
def test_files_joined_without_a_line_end_between_them(tmp_path: Path, line: str) -> None:
    """All of the second record was taken for peaks of the first."""
    content = mgf_record("a").removesuffix("END IONS\n") + mgf_record("b").replace(
        "BEGIN IONS", line
    )
    spectra, skips, _ = read_bytes(tmp_path, "x.mgf", content + mgf_record("c"))
    assert ([s.query_id for s in spectra], skips) == (["a", "b", "c"], [])


@pytest.mark.parametrize(
    ("begin", "end"),
    [
        ("BEGIN IONS TITLE=b", "END IONS"),
        ("begin ions\tTITLE=b", "end ions"),
        ("BEGIN IONS 2\nTITLE=b", "END IONS # of 3"),
        ("BEGIN IONS: TITLE=b", "END IONS;"),
        ("BEGIN IONS 2 of 3\nTITLE=b", "END IONS"),
        ("BEGIN IONS TITLE: b", "END IONS"),
        ("BEGIN_IONS\nTITLE=b", "END_IONS"),
        ("BEGIN  IONS\nTITLE=b", "END  IONS"),
    ],
)
@pytest.mark.parametrize("last", ["\n", " "])
def test_what_stands_beside_the_borders_of_a_record(
    tmp_path: Path, begin: str, end: str, last: str
) -> None:
    record = f"{begin}\nPEPMASS=181.07\n50.5 10\n60.25 1{last}{end}\n"
    if last == " " and "#" in end:
        record = record.replace(" # of 3", "")
    spectra, skips, _ = read_bytes(
        tmp_path,
        "x.mgf",
        mgf_record("a")
        + record
        + mgf_record("c")
        + record.replace("=b", "=d").replace(": b", ": d"),
    )
    assert ([s.query_id for s in spectra], skips) == (["a", "b", "c", "d"], [])
    assert {tuple(s.mz.tolist()) for s in spectra} == {(50.5, 60.25)}


def test_fields_and_a_peak_on_the_line_of_begin_ions(tmp_path: Path) -> None:
    text = "BEGIN IONS TITLE=scan=5 of b PEPMASS=181.07 CHARGE=1+\n50.5 10\nEND IONS\n"
    text += "BEGIN IONS 40.5 3\nTITLE=c\nPEPMASS=181.07\n50.5 10\nEND IONS BEGIN IONS TITLE=d\n"
    text += "PEPMASS=181.07\n50.5 10\nEND IONS\n"
    (b, c, d), skips, _ = read_bytes(tmp_path, "x.mgf", text)
    assert (b.query_id, b.precursor_mz, b.charge) == ("scan=5 of b", 181.07, 1)
    assert (c.query_id, c.mz.tolist()) == ("c", [40.5, 50.5])
    assert (d.query_id, skips) == ("d", [])


def test_begin_ions_with_a_field_ends_a_record_without_end_ions(tmp_path: Path) -> None:
    """The line was a field of the record before, and the next one was lost in it."""
    text = mgf_record("a").removesuffix("END IONS\n") + mgf_record("b").replace(
        "BEGIN IONS\n", "BEGIN IONS "
    )
    (b,), skips, _ = read_bytes(tmp_path, "x.mgf", text)
    assert (b.query_id, b.n_peaks) == ("b", 2)
    assert [(s.line, s.record, s.detail) for s in skips] == [(1, "a", "END IONS is missing")]


def test_two_fields_of_the_ion_species_that_differ(tmp_path: Path) -> None:
    content = mgf_record("a", "ION=[M+Na]+", "ADDUCT=[M+H]+") + mgf_record(
        "b", "ION=[M-H2O+H]+", "ADDUCT=[M+H-H2O]+"
    )
    (a, b), _, _ = read_bytes(tmp_path, "x.mgf", content)
    assert a.notes == ("first of several ion species taken ([M+Na]+, [M+H]+)",)
    assert (a.adduct, b.notes) == ("[M+Na]+", ())


@pytest.mark.parametrize(
    ("lines", "note"),
    [
        (("IONMODE=positive", "POLARITY=negative"), "ion modes taken (positive, negative)"),
        (("IONIZATION=ESI-", "IONMODE=P"), "ion modes taken (P, ESI-)"),
        (("CHARGE=1+", "PRECURSOR_CHARGE=2+"), "charges taken (1+, 2+)"),
        (("CHARGE=1+", "CHARGE=1-"), "charges taken (1+, 1-)"),
        (("MSLEVEL=2", "MSTYPE=MS3"), "MS levels taken (2, MS3)"),
    ],
)
def test_two_lines_of_a_record_that_contradict_each_other(
    tmp_path: Path, lines: tuple[str, ...], note: str
) -> None:
    """The second was passed over without a word."""
    (of_mgf,), _, _ = read_bytes(tmp_path, "x.mgf", mgf_record("a", *lines))
    head = [line.replace("=", ": ") for line in lines]
    record = msp_record("a").replace("Num Peaks", "\n".join([*head, "Num Peaks"]))
    (of_msp,), _, _ = read_bytes(tmp_path, "x.msp", record)
    for spectrum in (of_mgf, of_msp):
        assert spectrum.notes[0] == f"first of several {note}"


@pytest.mark.parametrize(
    "lines",
    [
        ("IONMODE=positive", "POLARITY=+", "IONIZATION=ESI+"),
        ("IONMODE=NSI", "POLARITY=positive"),
        ("CHARGE=1", "PRECURSOR_CHARGE=1+"),
        ("CHARGE=0", "CHARGE=1+"),
        ("CHARGE=2+ and 3+", "CHARGE=1+"),
    ],
)
def test_lines_of_a_record_that_agree_or_of_which_one_says_something(
    tmp_path: Path, lines: tuple[str, ...]
) -> None:
    (spectrum,), _, _ = read_bytes(tmp_path, "x.mgf", mgf_record("a", *lines))
    assert (spectrum.ion_mode, spectrum.notes) == ("positive", ())


def test_a_species_in_the_name_that_the_ion_mode_contradicts(tmp_path: Path) -> None:
    """The ion mode counts, and the name was passed over without a word."""
    content = mgf_record("a", "NAME=Caffeine [M-H]-", "IONMODE=positive")
    (spectrum,), _, _ = read_bytes(tmp_path, "x.mgf", content)
    assert (spectrum.adduct, spectrum.ion_mode) == (None, "positive")
    assert spectrum.notes == (
        "ion species in name or comment contradicts charge or ion mode ([M-H]-)",
    )


@pytest.mark.parametrize(
    ("charge", "mode", "name", "adduct"),
    [
        # GNPS has "M+H", positive and 1- of one lipid.
        ("1-", "positive", "PC 16:0 M+H", "[M+H]+"),
        ("1+", "negative", "PC 16:0 M+H", "[M+H]+"),
        ("1+", "negative", "citrate [M-H]-", "[M-H]-"),
        # Nothing agrees with the name, or not in the number of charges.
        ("1-", "negative", "PC 16:0 M+H", None),
        ("1-", "", "PC 16:0 M+H", None),
        ("1", "negative", "PC 16:0 M+H", None),
        ("2+", "negative", "PC 16:0 M+H", None),
    ],
)
def test_a_species_in_the_name_decides_between_charge_and_ion_mode(
    tmp_path: Path, charge: str, mode: str, name: str, adduct: str | None
) -> None:
    lines = (f"NAME={name}", f"CHARGE={charge}", f"IONMODE={mode}")
    (spectrum,), _, _ = read_bytes(tmp_path, "x.mgf", mgf_record("a", *lines))
    assert spectrum.adduct == adduct
    assert spectrum.notes


@pytest.mark.parametrize(
    ("text", "mode", "adduct"),
    [
        ("positive", "positive", None),
        ("ESI-", "negative", None),
        ("Negative ion mode", "negative", None),
        ("-", None, None),  # no species
        ("[M-H]-", "negative", "[M-H]-"),
        ("sodiated", None, "sodiated"),
    ],
)
def test_an_ion_mode_in_the_field_for_the_ion_species(
    tmp_path: Path, text: str, mode: str | None, adduct: str | None
) -> None:
    for name, content in (
        ("x.mgf", mgf_record("a", f"ION={text}")),
        ("x.msp", msp_record("a", f"Precursor_type: {text}")),
    ):
        (spectrum,), _, _ = read_bytes(tmp_path, name, content)
        assert (spectrum.ion_mode, spectrum.adduct, spectrum.notes) == (mode, adduct, ())


def test_an_ion_mode_that_the_comment_contradicts(tmp_path: Path) -> None:
    lines = 'Ion_mode: P\nComments: "ionization mode=negative" "ms level=MS2"\nNum Peaks'
    content = msp_record("a").replace("Num Peaks", lines)
    (spectrum,), _, _ = read_bytes(tmp_path, "x.msp", content)
    assert spectrum.notes == ("first of several ion modes taken (P, negative)",)


def test_a_record_goes_before_a_line_for_all_however_its_key_is_spelled(tmp_path: Path) -> None:
    content = "IONMODE=positive\nCHARGE=1+\n" + mgf_record("a", "POLARITY=negative", "Charge=1-")
    (spectrum,), _, _ = read_bytes(tmp_path, "x.mgf", content)
    assert (spectrum.ion_mode, spectrum.charge, spectrum.notes) == ("negative", -1, ())


@pytest.mark.parametrize(
    ("value", "notes"),
    [
        ("121,25", ("retention time not understood (121,25)",)),
        ("-1", ()),
        ("N/A min", ()),
        ("n.d.", ()),
        ("121.25", ()),
    ],
)
def test_a_retention_time_that_cannot_be_read_is_noted(
    tmp_path: Path, value: str, notes: tuple[str, ...]
) -> None:
    content = mgf_record("a", "IONMODE=positive", f"RTINSECONDS={value}")
    (spectrum,), _, _ = read_bytes(tmp_path, "x.mgf", content)
    assert (spectrum.notes, spectrum.retention_time) == (
        notes,
        121.25 if value == "121.25" else None,
    )


@pytest.mark.parametrize(
    ("lines", "seconds", "notes"),
    [
        (("RETENTIONTIME: 12.5",), 750.0, ()),
        (("RETENTIONTIME: 127.4 min",), 7644.0, ()),
        (("RT (min): 127.4",), 7644.0, ()),
        (
            ("RETENTIONTIME: 127.4",),
            7644.0,
            ("retention time without a unit taken as minutes (127.4)",),
        ),
        (("RETENTIONTIME: 127.4", "COMMENT: Exported from msPurity purityA object"), 127.4, ()),
    ],
)
def test_the_unit_of_a_retention_time_in_msp(
    tmp_path: Path, lines: tuple[str, ...], seconds: float, notes: tuple[str, ...]
) -> None:
    """msPurity writes seconds; others write minutes, of which a hundred are many."""
    record = msp_record("a").replace("Num Peaks", "\n".join([*lines, "Num Peaks"]))
    (spectrum,), _, _ = read_bytes(tmp_path, "x.msp", record)
    assert spectrum.retention_time == pytest.approx(seconds)
    assert spectrum.notes == notes


@pytest.mark.parametrize(
    ("line", "seconds", "is_noted"),
    [
        ("RT=12.5", 12.5, True),
        ("RETENTION_TIME=12.5", 12.5, True),
        ("RETENTIONTIME=12.5 s", 12.5, False),
        ("RETENTIONTIME=12.5_min", 750.0, False),
        ("RTINSECONDS=12.5", 12.5, False),
        ("RT=750", 750.0, False),
    ],
)
def test_the_unit_of_a_retention_time_in_mgf(
    tmp_path: Path, line: str, seconds: float, is_noted: bool
) -> None:
    content = mgf_record("a", "CHARGE=1+", line)
    (spectrum,), _, _ = read_bytes(tmp_path, "x.mgf", content)
    assert spectrum.retention_time == pytest.approx(seconds)
    note = "retention time without a unit taken as seconds (12.5)"
    assert spectrum.notes == (note,) * is_noted


def test_a_value_of_mgf_that_goes_on_in_the_next_line(tmp_path: Path) -> None:
    """Such a line was taken for a peak that cannot be read."""
    content = "".join(
        mgf_record("a", "NAME=caffeine,", line, "CHARGE=1+") + mgf_record("b")
        for line in ("a purine", "trimethylated\nand more")
    )
    spectra, skips, _ = read_bytes(tmp_path, "x.mgf", content)
    assert not skips
    assert [spectrum.name for spectrum in spectra] == [
        "caffeine, a purine",
        None,
        "caffeine, trimethylated and more",
        None,
    ]
    assert all(spectrum.mz.size == spectra[0].mz.size for spectrum in spectra)


def test_words_below_a_number_or_among_the_peaks_of_mgf_are_told(tmp_path: Path) -> None:
    for content in (
        mgf_record("a", "CHARGE=1+", "words"),
        mgf_record("a").replace("END IONS", "words\nEND IONS"),
    ):
        spectra, skips, _ = read_bytes(tmp_path, "x.mgf", content)
        assert not spectra
        assert [skip.reason for skip in skips] == [Reason.BAD_PEAK]
    headed = mgf_record("a", "NAME=caffeine", "m/z intensity")
    (spectrum,), _, _ = read_bytes(tmp_path, "x.mgf", headed)
    assert spectrum.name == "caffeine"


def test_numbers_as_numpy_shows_them(tmp_path: Path) -> None:
    """As matchms writes them: such charges cost their records, and times were lost."""
    lines = (
        "CHARGE=np.int64(-1)",
        "RTINSECONDS=np.float64(121.25)",
        "MSLEVEL=np.int64(2)",
        "IONMODE=np.str_('negative')",
        "PEAK_COMMENTS={np.float64(50.5): 'a'}",
    )
    content = mgf_record("a", *lines).replace(
        "PEPMASS=", "PEPMASS=(np.float64(353.0878), None)\nX="
    )
    (spectrum,), _, _ = read_bytes(tmp_path, "x.mgf", content)
    assert (spectrum.precursor_mz, spectrum.charge) == (353.0878, -1)
    assert (spectrum.ion_mode, spectrum.ms_level, spectrum.notes) == ("negative", 2, ())
    assert spectrum.retention_time == 121.25
    assert spectrum.metadata["PEAK_COMMENTS"] == "{np.float64(50.5): 'a'}"


def test_the_three_energies_of_cfm_id(tmp_path: Path) -> None:
    content = "".join(
        msp_record(name).replace("Num Peaks", f"{line}\nIon_mode: -ve\nNum Peaks")
        for name, line in (("a", "Comment: Energy1"), ("b", "Collision_energy: energy2"))
    )
    (first, second), _, _ = read_bytes(tmp_path, "x.msp", content)
    assert (first.collision_energy, first.ion_mode) == (20.0, "negative")
    assert (second.collision_energy, second.ion_mode) == (40.0, "negative")


def test_blank_lines_between_the_peaks_of_msp(tmp_path: Path) -> None:
    """Each line behind a blank one was a nameless record, and the first had lost its peaks."""
    file = msp_record("a") + "\n" + msp_record("b") + "\n"
    for content in (
        file.replace("\n", "\n\n"),
        file.replace("\n60.25", "\n \n60.25"),
        file.replace("\n60.25", "\n\n\n#\n60.25", 1),
    ):
        spectra, skips, _ = read_bytes(tmp_path, "x.msp", content)
        assert [spectrum.query_id for spectrum in spectra] == ["a", "b"]
        assert not skips


def test_a_record_of_msp_with_too_few_peaks_harms_none_behind_a_blank_line(tmp_path: Path) -> None:
    short = re.sub(r"Num Peaks: \d+", "Num Peaks: 9", msp_record("a"))
    behind = "Comment: x\n" + msp_record("b") + "\n"
    spectra, skips, _ = read_bytes(tmp_path, "x.msp", short + "\n" + behind + msp_record("c"))
    assert [spectrum.query_id for spectrum in spectra] == ["b", "c"]
    assert spectra[0].metadata["Comment"] == "x"
    assert [skip.reason for skip in skips] == [Reason.PEAK_COUNT_MISMATCH]


@pytest.mark.parametrize("rule", ["//", "---", "=====", "***", "__", "\n-----\n"])
def test_lines_drawn_between_records_of_msp(tmp_path: Path, rule: str) -> None:
    content = f"{rule}\n{msp_record('a')}{rule}\n{msp_record('b')}{rule}\n"
    spectra, skips, _ = read_bytes(tmp_path, "x.msp", content)
    assert [spectrum.query_id for spectrum in spectra] == ["a", "b"]
    assert not skips


@pytest.mark.parametrize("gap", ["", "\n", "\n\n"])
def test_msp_files_joined_without_a_line_end_between_them(tmp_path: Path, gap: str) -> None:
    """The second record lost its name, and the first its last peak."""
    content = msp_record("a").rstrip() + gap + msp_record("b") + "\n"
    swapped = "PrecursorMZ: 181.07\nName: c\nNum Peaks: 2\n50.5 10\n60.25 100\n"
    spectra, skips, _ = read_bytes(tmp_path, "x.msp", content.rstrip() + gap + swapped)
    assert ([s.query_id for s in spectra], skips) == (["a", "b", "c"], [])
    assert {s.n_peaks for s in spectra} == {2}


def test_an_annotation_with_a_colon_is_no_field(tmp_path: Path) -> None:
    content = msp_record("a").replace("60.25 100", "60.25 100 b2:1/5ppm 3H: x")
    (spectrum,), skips, _ = read_bytes(tmp_path, "x.msp", content)
    assert (spectrum.n_peaks, skips) == (2, [])


@pytest.mark.parametrize(
    ("line", "attribute", "value"),
    [
        ("RT (min)=2", "retention_time", 120.0),
        ("ENERGY=30", "collision_energy", 30.0),
        ("Retention Time [sec]=72", "retention_time", 72.0),
        ("RETENTION_TIME_MINUTES=2", "retention_time", 120.0),
        ("PRECURSOR_CHARGE=2+", "charge", 2),
        ("Charge state=3+", "charge", 3),
        ("ION_POLARITY=negative", "ion_mode", "negative"),
        ("IONIZATION=ESI-", "ion_mode", "negative"),
        ("MODE=neg", "ion_mode", "negative"),
        ("IONIZATION=[M+Na]+", "adduct", "[M+Na]+"),
        ("PRECURSOR_ION=[M+Na]+", "adduct", "[M+Na]+"),
        ("Collision energy (eV)=25", "collision_energy", 25.0),
        ("NCE=30", "normalized_collision_energy", 30.0),
        ("NORMALIZED_COLLISION_ENERGY=30%", "normalized_collision_energy", 30.0),
        ("Collision energy (%)=30", "normalized_collision_energy", 30.0),
    ],
)
def test_keys_of_other_programs(
    tmp_path: Path, line: str, attribute: str, value: str | float
) -> None:
    (spectrum,), _, _ = read_bytes(tmp_path, "x.mgf", mgf_record("a", line))
    assert (getattr(spectrum, attribute), spectrum.notes) == (value, ())


def test_a_feature_names_its_spectrum_where_no_title_does(tmp_path: Path) -> None:
    record = mgf_record("a", "FEATURE=12", "SCANS=7").replace("TITLE=a\n", "")
    (spectrum,), _, _ = read_bytes(tmp_path, "x.mgf", record)
    assert (spectrum.query_id, spectrum.metadata["FEATURE"]) == ("12", "12")


@pytest.mark.parametrize("key", ["PRECURSOR", "PRECURSOR_MASS", "Parent ion", "Precursor m/z (Da)"])
def test_keys_of_the_precursor(tmp_path: Path, key: str) -> None:
    record = mgf_record("a").replace("PEPMASS=181.07", f"{key}=181.07")
    (spectrum,), _, _ = read_bytes(tmp_path, "x.mgf", record)
    assert spectrum.precursor_mz == 181.07


def test_what_a_key_of_several_meanings_says_and_nobody_understands(tmp_path: Path) -> None:
    lines = ("IONIZATION=ESI", "MODE=0", "IONMODE=positive", "PRECURSOR_ION=base peak")
    (spectrum,), _, _ = read_bytes(tmp_path, "x.mgf", mgf_record("a", *lines))
    assert (spectrum.ion_mode, spectrum.precursor_mz, spectrum.notes) == ("positive", 181.07, ())
    said = {"TITLE": "a", "IONIZATION": "ESI", "MODE": "0", "PRECURSOR_ION": "base peak"}
    assert spectrum.metadata == said


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("TITLE", "a"),
        ("Compound name", "caffeine"),
        ("PEPMASS", "181.07"),
        ("RTINSECONDS", "12.0"),
        ("SAMPLE", "x"),
        ("NOTHING", None),
    ],
)
def test_what_spectra_are_merged_by_may_be_any_field(
    tmp_path: Path, field: str, value: str | None
) -> None:
    """`--merge-by TITLE` said that no query states a title."""
    lines = ("COMPOUND_NAME=caffeine", "RTINSECONDS=12", "SAMPLE=x")
    (spectrum,), _, _ = read_bytes(tmp_path, "x.mgf", mgf_record("a", *lines))
    assert stated(spectrum, field) == value


def test_two_keys_of_several_meanings(tmp_path: Path) -> None:
    lines = ("IONIZATION=ESI", "MODE=negative", "PRECURSOR_ION=[M-H]-", "PRECURSOR_MASS=181.07")
    record = mgf_record("a", *lines).replace("PEPMASS=181.07", "PEPMASS=0")
    (spectrum,), _, _ = read_bytes(tmp_path, "x.mgf", record)
    assert (spectrum.ion_mode, spectrum.adduct) == ("negative", "[M-H]-")
    assert spectrum.precursor_mz == 181.07


def test_energies_in_two_keys(tmp_path: Path) -> None:
    lines = ("COLLISION_ENERGY=25 eV", "NCE=30"), ("COLLISION_ENERGY=30", "NCE=30")
    content = mgf_record("a", *lines[0]) + mgf_record("b", *lines[1])
    spectra, _, _ = read_bytes(tmp_path, "x.mgf", content)
    assert [(s.collision_energy, s.normalized_collision_energy) for s in spectra] == [
        (25.0, 30.0),
        (None, 30.0),
    ]


@pytest.mark.parametrize(
    ("text", "ev", "nce", "is_noted"),
    [
        ("10 eV 20 eV", 15.0, None, True),
        ("20,40", 30.0, None, True),
        ("[20.0, 45.0, 70.0]", 45.0, None, True),
        ("HCD 20,30,40 %", None, 30.0, True),
        ("10V/30V", 20.0, None, True),
        ("20 eV, 20 eV", 20.0, None, False),
        ("20-40 eV", 30.0, None, False),
        ("NCE 20-30-40%", None, 30.0, False),
        ("20,30,40% (stepped)", None, 30.0, False),
        ("Ramp 5-45 V", 25.0, None, False),
        ("CE 20 NCE 35", 20.0, 35.0, False),
        ("CE=35;CES=15", 35.0, None, False),
        ("15 or 30", None, None, False),
    ],
)
def test_the_mean_of_listed_energies_is_noted(
    tmp_path: Path, text: str, ev: float | None, nce: float | None, is_noted: bool
) -> None:
    """A spectrum of steps or a ramp has one energy, their mean; of a list it may be any."""
    content = mgf_record("a", f"COLLISION_ENERGY={text}")
    (spectrum,), _, _ = read_bytes(tmp_path, "x.mgf", content)
    assert spectrum.collision_energy == (None if ev is None else pytest.approx(ev))
    assert spectrum.normalized_collision_energy == (None if nce is None else pytest.approx(nce))
    wanted = f"mean of several collision energies taken ({text})"
    assert spectrum.notes == ((wanted,) if is_noted else ())


def test_tags_that_nist_writes_as_synonyms(tmp_path: Path) -> None:
    tags = ("$:00MS2", "$:03[M-H]-", "$:04180.0666", "$:0515", "$:06Q-TOF", "$:11N", "a name")
    record = msp_record("a", *(f"Synon: {tag}" for tag in tags)).replace(
        "PrecursorMZ: 181.07\n", ""
    )
    (spectrum,), _, _ = read_bytes(tmp_path, "x.msp", record)
    assert (spectrum.precursor_mz, spectrum.adduct, spectrum.ms_level) == (180.0666, "[M-H]-", 2)
    assert (spectrum.collision_energy, spectrum.instrument_type) == (15.0, "Q-TOF")
    assert spectrum.notes == ()
    assert "a name" in spectrum.metadata["Synon"]


@pytest.mark.parametrize("text", ["M-H20-H", "[M-H20-H]-"])
def test_water_with_a_zero(text: str) -> None:
    ion = parse_adduct(text)
    assert ion is not None
    assert ion.name == "[M-H-H2O]-"


@pytest.mark.parametrize(("name", "record"), [("x.msp", msp_record), ("x.mgf", mgf_record)])
def test_peaks_of_intensity_0_are_none(
    tmp_path: Path, name: str, record: Callable[[str], str]
) -> None:
    more = record("a").replace("Num Peaks: 2", "Num Peaks: 4")
    more = more.replace("60.25 100\n", "55.1 0\n60.25 100\n61.0 0.0\n")
    (spectrum,), _, _ = read_bytes(tmp_path, name, more)
    assert (spectrum.mz.tolist(), spectrum.intensity.tolist()) == ([50.5, 60.25], [10.0, 100.0])


def test_columns_of_numbers_behind_the_peaks_of_an_msp_record(tmp_path: Path) -> None:
    """As many lines as peaks are declared, and numbers that make no ascending m/z of pairs."""
    record = msp_record("a").replace("10\n60.25 100\n", "10 2 0.5\n60.25 100 3 0.1\n")
    pairs = msp_record("b").replace("10\n60.25 100\n", "10 60.25 100\n70 1 80 2\n")
    spectra, skips, _ = read_bytes(tmp_path, "x.msp", record + "\n" + pairs)
    assert [s.mz.tolist() for s in spectra] == [[50.5, 60.25]]
    assert [(s.record, s.reason) for s in skips] == [("b", Reason.PEAK_COUNT_MISMATCH)]


def test_a_comma_and_a_blank_between_the_numbers_of_an_mgf_peak(tmp_path: Path) -> None:
    record = mgf_record("a", peaks="50.5, 10\n60.25, 100\n")
    (spectrum,), _, _ = read_bytes(tmp_path, "x.mgf", record)
    assert spectrum.mz.tolist() == [50.5, 60.25]


@pytest.mark.parametrize(
    ("peaks", "heights"),
    [
        ("50.5 6\n60.25 100\n50.5 4\n", [10.0, 100.0]),
        # Of two ion mobilities, as msconvert combines their scans.
        ("50.5 5\n50.50000001 5\n60.25 100\n", [10.0, 100.0]),
        ("50.5 1e100\n50.5 9.9e99\n60.25 1e100\n", [1.0, pytest.approx(1 / 1.99)]),
    ],
)
def test_peaks_of_one_mz_are_added_up(tmp_path: Path, peaks: str, heights: list[float]) -> None:
    (spectrum,), _, _ = read_bytes(tmp_path, "x.mgf", mgf_record("a", peaks=peaks))
    assert (spectrum.mz.tolist(), spectrum.intensity.tolist()) == ([50.5, 60.25], heights)
    assert spectrum.notes == ("peaks of one m/z added up (1 of 3 peaks)",)


def test_peaks_that_are_listed_twice_count_once(tmp_path: Path) -> None:
    """RMassBank wrote a peak again for each of its annotations."""
    peaks = "50.5 5\n50.5 5\n50.5 5\n60.25 100\n60.25 100\n70 3\n"
    (spectrum,), _, _ = read_bytes(tmp_path, "x.mgf", mgf_record("a", peaks=peaks))
    assert (spectrum.mz.tolist(), spectrum.intensity.tolist()) == ([50.5, 60.25, 70], [5, 100, 3])
    assert spectrum.notes == ("peaks listed more than once counted once (3 of 6 peaks)",)


def test_equal_heights_among_joined_scans_are_added_up(tmp_path: Path) -> None:
    """Where others of the same record differ, scans were joined."""
    peaks = "50.5 5\n50.5 5\n60.25 99\n60.25 1\n"
    (spectrum,), _, _ = read_bytes(tmp_path, "x.mgf", mgf_record("a", peaks=peaks))
    assert spectrum.intensity.tolist() == [10.0, 100.0]
    assert spectrum.notes == ("peaks of one m/z added up (2 of 4 peaks)",)


@pytest.mark.parametrize("name", ["x.mgf", "x.msp"])
def test_peaks_of_an_intensity_below_0_are_left_out(tmp_path: Path, name: str) -> None:
    """Programs that subtract a baseline leave some."""
    peaks = "50.5 10\n55 -3\n60.25 100\n"
    record = mgf_record("a", peaks=peaks) if name == "x.mgf" else f"Name: a\nNum Peaks: 3\n{peaks}"
    (spectrum,), skips, _ = read_bytes(tmp_path, name, record)
    assert (spectrum.mz.tolist(), skips) == ([50.5, 60.25], [])
    assert spectrum.notes == ("peaks of intensity below 0 left out (1 of 3 peaks)",)


EXCHANGED = "m/z and intensities may stand in each other's place"
HEIGHTS = (36.8, 7.1, 100.0, 2.5, 50.25, 9.0)
MZ = (59.0491, 77.0386, 95.0491, 110.0713, 138.0662, 195.0877)


@pytest.mark.parametrize(
    ("columns", "is_noted"),
    [
        ((HEIGHTS, MZ), True),  # intensities in percent
        (([5321.0625 * height for height in HEIGHTS], MZ), True),  # counts
        ((MZ, HEIGHTS), False),
        ((sorted(HEIGHTS), MZ), False),  # both rise: not certain
        ((MZ[::-1], [x + 0.0625 for x in sorted(HEIGHTS)]), False),  # sorted by intensity
        ((HEIGHTS, [2 * x for x in MZ]), False),  # beyond the precursor
        ((HEIGHTS[:4], MZ[:4]), False),  # few
    ],
)
def test_intensities_in_the_place_of_mz_are_noted(
    tmp_path: Path, columns: tuple[Sequence[float], Sequence[float]], is_noted: bool
) -> None:
    """The spectrum was ranked as any other."""
    peaks = "".join(f"{first} {second}\n" for first, second in zip(*columns, strict=True))
    record = mgf_record("a", peaks=peaks).replace("PEPMASS=181.07", "PEPMASS=195.0877")
    (spectrum,), skips, _ = read_bytes(tmp_path, "x.mgf", record)
    assert skips == []
    assert any(note.startswith(EXCHANGED) for note in spectrum.notes) == is_noted


def test_points_of_a_profile_below_0(tmp_path: Path) -> None:
    """They are no gap: its peaks are picked as those of a profile."""
    mz = 60 + 0.002 * np.arange(60)
    heights = 100 * np.exp(-((mz - 60.05) ** 2) / 0.00003) - 0.5
    peaks = "".join(f"{x:.4f} {y:.3f}\n" for x, y in zip(mz, heights, strict=True))
    (spectrum,), _, _ = read_bytes(tmp_path, "x.mgf", mgf_record("a", peaks=peaks))
    assert spectrum.mz.tolist() == [pytest.approx(60.05, abs=0.001)]
    assert "peaks of intensity below 0 left out" in spectrum.notes[0]


@pytest.mark.parametrize(
    ("charge", "more", "mode"),
    [
        ("-", "", "negative"),
        ("+", "", "positive"),
        ("-", "IONMODE=positive\n", "positive"),
        ("-", "ADDUCT=[M+H]+\n", "positive"),
        ("-", "FORMULA=-\n", None),
        ("N/A", "", None),
    ],
)
def test_a_sign_as_the_charge_is_the_ion_mode(
    tmp_path: Path, charge: str, more: str, mode: str | None
) -> None:
    record = f"BEGIN IONS\nTITLE=a\nPEPMASS=195.0877\nCHARGE={charge}\n{more}60 1\nEND IONS\n"
    (spectrum,), _, _ = read_bytes(tmp_path, "x.mgf", record)
    assert (spectrum.ion_mode, spectrum.notes) == (mode, ())


@pytest.mark.parametrize(
    ("lines", "mz", "adduct", "charge"),
    [
        ("TITLE=a b=1 CHARGE=2+\nPEPMASS=195.0877 CHARGE=1-", 195.0877, None, -1),
        ("PEPMASS=217.0696 99.5 RTINSECONDS=5 ION=[M+Na]+", 217.0696, "[M+Na]+", 1),
        ("CHARGE=1+, PEPMASS=195.0877", 195.0877, None, 1),
    ],
)
def test_several_fields_on_a_line_of_mgf(
    tmp_path: Path, lines: str, mz: float, adduct: str | None, charge: int
) -> None:
    """SIRIUS 5 read such files; those behind the first were lost."""
    (spectrum,), _, _ = read_bytes(tmp_path, "x.mgf", f"BEGIN IONS\n{lines}\n60 1\nEND IONS\n")
    assert (spectrum.precursor_mz, spectrum.adduct, spectrum.charge) == (mz, adduct, charge)
    assert spectrum.notes == ()


@pytest.mark.parametrize("key", ["ADDUCT_NAME", "Adduct ion", "precursor_adduct", "ADDUCTS"])
@pytest.mark.parametrize(("text", "adduct"), [("M+Na", "[M+Na]+"), ("[M+H]+, [M+Na]+", None)])
def test_other_names_of_the_ion_species(
    tmp_path: Path, key: str, text: str, adduct: str | None
) -> None:
    """A list names those that may be."""
    record = f"BEGIN IONS\nPEPMASS=195.0877\n{key}={text}\nCHARGE=1+\n60.5 1\nEND IONS\n"
    (spectrum,), _, _ = read_bytes(tmp_path, "x.mgf", record)
    assert (spectrum.adduct, spectrum.charge) == (adduct, 1)


@pytest.mark.parametrize("line", ["1/K0=0.8529", "_ROW_ID=7", "[meta]=1", "2nd_key = x"])
def test_keys_of_mgf_that_begin_with_no_letter(tmp_path: Path, line: str) -> None:
    """MSFragger and Bruker's programs write ion mobilities so."""
    record = f"BEGIN IONS\nPEPMASS=195.0877\n{line}\nCHARGE=1+\n60.5 1 a=b\nEND IONS\n"
    (spectrum,), skips, _ = read_bytes(tmp_path, "x.mgf", record)
    assert (spectrum.mz.tolist(), spectrum.charge, skips) == ([60.5], 1, [])


def test_a_long_line_among_the_peaks_is_one_bad_record(tmp_path: Path) -> None:
    """Whether it is a field took the square of its length: an hour for a million letters."""
    good = "BEGIN IONS\nTITLE=good\nPEPMASS=195.0877\n110.07 1\nEND IONS\n"
    bad = good.replace("110.07 1", f"110.07 1\n1{'a' * 1_000_000} 5")
    (spectrum,), skips, _ = read_bytes(tmp_path, "x.mgf", bad + good)
    assert (spectrum.n_peaks, len(skips)) == (1, 1)


def test_a_key_of_msp_that_begins_with_a_digit(tmp_path: Path) -> None:
    record = "Name: a\nPrecursorMZ: 195.0877\n1/K0: 0.85\nNum Peaks: 1\n60.5:1\n"
    (spectrum,), skips, _ = read_bytes(tmp_path, "x.msp", record)
    assert (spectrum.mz.tolist(), spectrum.precursor_mz, skips) == ([60.5], 195.0877, [])


def test_a_charge_with_two_signs(tmp_path: Path) -> None:
    """OpenMS wrote every negative charge so."""
    record = "BEGIN IONS\nPEPMASS=193.0731\nCHARGE=-1+\n60 1\nEND IONS\n"
    (spectrum,), _, _ = read_bytes(tmp_path, "x.mgf", record)
    assert (spectrum.charge, spectrum.ion_mode) == (-1, "negative")
    assert spectrum.notes == ("charge with two signs, the one in front taken (-1+)",)


@pytest.mark.parametrize(
    ("text", "mz"), [("195,0877", 195.0877), ("195,0877 5", 195.0877), ("281,2013306", None)]
)
def test_a_precursor_with_a_decimal_comma(tmp_path: Path, text: str, mz: float | None) -> None:
    record = f"BEGIN IONS\nPEPMASS={text}\nCHARGE=1+\n60.5 1\nEND IONS\n"
    spectra, skips, _ = read_bytes(tmp_path, "x.mgf", record)
    assert [spectrum.precursor_mz for spectrum in spectra] == ([] if mz is None else [mz])
    if mz is None:
        assert "wanted a decimal point" in skips[0].detail
    else:
        assert "decimal commas read as points" in spectra[0].notes[0]


@pytest.mark.parametrize(
    ("name", "record"),
    [
        ("x.msp", "Name: a\nPrecursorMZ: 195,0877\nRT: 5,5\nNum Peaks: 2\n69,5 12,5\n83,25 9\n"),
        # A fraction that begins with a zero is none of an intensity.
        ("x.msp", "Name: a\nPrecursorMZ: 195.0877\nRT: 5,5\nNum Peaks: 2\n69,5 12,5\n83,025 9\n"),
        (
            "x.mgf",
            "BEGIN IONS\nPEPMASS=195,0877 9,5 1+\nRTINSECONDS=330,0\n69,5;12,5\n83,25\t9\nEND IONS",
        ),
    ],
)
def test_decimal_commas(tmp_path: Path, name: str, record: str) -> None:
    """mzVault writes numbers as the computer's language does."""
    (spectrum,), skips, _ = read_bytes(tmp_path, name, record)
    assert (spectrum.precursor_mz, spectrum.retention_time, skips) == (195.0877, 330.0, [])
    assert spectrum.mz[0] == 69.5
    assert spectrum.intensity.tolist() == [12.5, 9]
    assert "decimal commas read as points" in spectrum.notes[0]
