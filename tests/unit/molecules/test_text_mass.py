"""Masses by the text alone: they hold RDKit's, and whoever trusts them loses no candidate."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from shared_data import shared

from specvae.annotation.library.query import Query
from specvae.annotation.ranking.candidates import CandidateSource
from specvae.annotation.ranking.result import Refusal
from specvae.errors import InputError
from specvae.limits import VARIABLE
from specvae.molecules import structures
from specvae.molecules.candidates import NOT_PARSED, CandidateSet, read_candidates
from specvae.molecules.fingerprint import get_layout
from specvae.molecules.mass_screen import MassScreen
from specvae.molecules.molecule import Molecule
from specvae.molecules.structure_files import read_cells
from specvae.molecules.text_mass import text_masses
from specvae.report import ReadReport, Reason
from specvae.spectra.adducts import parse_adduct
from specvae.spectra.spectrum import Spectrum

NEUTRAL = """
C CCO C#N C=C=C FC(F)(F)Br ClCCI OB(O)c1ccccc1 C[Si](C)(C)C [SiH4] N[C@@H](C)C(=O)O F/C=C\\F
C/C(=C/C)/C C1CC1 C%10CC%10 C=1CCCC=1 C1=CCCC=1 C1CC2CC1CC2 C12C3C4C1C5C2C3C45 c1ccccc1
Cn1cnc2c1c(=O)n(C)c(=O)n2C c1cc[nH]c1 c1ccsc1 c1ccoc1 c1cc[se]c1 O=c1cc[nH]cc1 S=c1cccco1
c1ccc2c(c1)-c1ccccc1-2 c1ccccc1-c1ccccc1 c1ccccc1c1ccccc1 c1ccn2cncc2c1 [cH]1[cH][cH][cH][cH][cH]1
CS CSC CS(C)=O CS(=O)(=O)N CS=O CSS(C)(=O)=O FS(F)(F)(F)(F)F OS(=O)(=O)O CP CP(C)(C)=O CP(=O)O
COP(=O)(O)OC OP(O)(O)=O FP(F)(F)(F)F C[Se]C C[SeH] CN(C)C CC#N CN=C=S N=C(N)N OC=N Oc1ccccn1
c1nc[nH]c1 NN=Nc1ccccc1 B [H]C([H])([H])[H] [H]O[H] [CH3] C[CH]C [C]#CC#N C(C)(C(C)(C))C
[CH3][CH2][OH] n1ccccc1 c1ccc(cc1)C#N O=C1C=CC(=O)C=C1 [O]O CC(=O)OO C1=CC=CN1 [NH2][NH2]
"""
CHARGED = """
CC(=O)[O-] C[NH3+] C[N+](C)(C)C C[N+](C)(C)CC(=O)[O-] [NH3+]CC(=O)[O-] C[N+](=O)[O-] CN=[N+]=[N-]
C[N+]#[C-] C[N+](C)(C)[O-] C[S+](C)[O-] C[S+](C)C C[P+](C)(C)C c1cc[nH+]cc1 c1cc[n+]([O-])cc1
C[n+]1ccccc1 [O-]c1ccccc1 [o+]1ccccc1 [O-]P(=O)([O-])[O-] [O-2] [O--] [NH4+] [N+2] [CH2-]C=O
C=[NH+]C [O-][N+](=O)c1ccc([O-])cc1 [NH3+]CCC[NH2+]CC(=O)[O-] N#[N+]c1ccccc1 C[NH+](C)[O-]
[O-]S(=O)(=O)c1ccccc1 [S-]C#N C[N-]S(=O)(=O)C [OH+]=C(C)C [O-]C1=CC=[NH+]C=C1 [NH2+]=C(N)N
[O-]C1=C[N+](C)=NO1 [CH-]=C [H][N+]([H])([H])C [SH2+]C [O+]#[C-]
CC[N-][N+]#N C[CH-][N+]#N C[P+](C)(C)[N-]C C[P+](O)(O)[S-] C[S+](C)[N-]C C[S+2](C)([O-])[O-]
"""
INCHI = """
InChI=1S/C2H6O/c1-2-3/h3H,2H2,1H3 InChI=1/C3H7Br/c1-2-3-4/h2-3H2,1H3 InChI=1S/CH4/h1H4
InChI=1S/CH3NO2/c1-2(3)4/h1H3 InChI=1S/C3H9NO/c1-4(2,3)5/h1-3H3 InChI=1S/C2H6OS/c1-4(2)3/h1-2H3
InChI=1S/C5H11NO2/c1-6(2,3)4-5(7)8/h4H2,1-3H3 InChI=1S/C2H5NO2/c3-1-2(4)5/h1,3H2,(H,4,5)
InChI=1S/C7H6/c1-7-5-3-2-4-6-7/h1-6H InChI=1S/HN3/c1-3-2/h1H
InChI=1S/CH5O3P/c1-5(2,3)4/h1H3,(H2,2,3,4)
"""
NOT_CLEAR = """
CCO.O [Na+].[Cl-] [13CH4] [2H]C [H+] [HH] [Na]C C[Zn]C C[As](C)C *CC [*]C C~C C$C C:C "CCO"
[CH3:1]C [B-](C)(C)C CN(=O)=O C=N#N OCl(=O)(=O)=O CI(=O)=O CP(=S)=S c1cccn1C(C C1CC CC) (C)C C= =C
C==C C((C)C)C C()C C11 C%1C C%(10)CC%(10) C=1CC#1 C[C@TH1](F)(Cl)Br n cc C12=C3 pyridine caffeine
[ [C [C@ [CH [C+ [] [Xx] C% CC\xe9 [Cl-] [NH]=[Si+] F(F)F C(C)(C)(C)(C)C [N](C)(C)(C)=O no N/A None
O=n1ccccc1 o1(C)cccc1
C[CH+]C c1cc[c+]cc1 C[CH2+2] CC=[O InChI=1S/ InChI=1S/C2H6O.ClH/c1-2-3;/h3H,2H2,1H3;1H
InChI=1S/2CH4/h2*1H4 InChI=1S/CH4/h1H4/i1+1 InChI=1S/C10H10.Fe/c1-2 InChI=1S/CH4/p+ InChI=1S/C0H4
InChI=2S/CH4/h1H4 InChI=1S/p+1 InChI=1S/BH3/h1H3 InChI=1S/CH4/f InChI=1S/C999999/c1
InChI=1S/C2000H4000/c1 InChI=1S/C2H4O2/c1-2(3)4/h1H3,(H,3,4)/p-1 InChI=1S/CH3/h1H3 InChI=
InChI=1S/C5H14NO/c1-6(2,3)4-5-7/h7H,4-5H2,1-3H3/q+1 InChI=1S/CHNaO2/c2-1-3/h1H
"""


def exact_mass(text: str) -> float:
    return Molecule.parse(text).exact_mass


@pytest.mark.parametrize("text", NEUTRAL.split())
def test_a_smiles_without_charges_has_its_mass(text: str) -> None:
    found = text_masses([text])
    assert found.lightest == pytest.approx(exact_mass(text), abs=1e-6)
    assert found.n_further == 0


@pytest.mark.parametrize("text", [*CHARGED.split(), *INCHI.split()])
def test_one_of_the_masses_is_that_after_standardisation(text: str) -> None:
    found = text_masses([text])
    masses, rows = found.each()
    assert len(rows) == found.n_further + 1 > 1
    assert np.abs(masses - exact_mass(text)).min() < 1e-6


@pytest.mark.parametrize("text", ["", "CCO ethanol", "CCO |$;;$|", "C\nC", *NOT_CLEAR.split()])
def test_what_is_not_clear_has_no_mass(text: str) -> None:
    assert np.isnan(text_masses([text]).lightest).all()


def test_each_text_has_its_own_masses() -> None:
    texts = ["C", "", "CC(=O)[O-]", "[Na]", "InChI=1S/CH4/h1H4", "CCé", "CCO"]
    found = text_masses(texts)
    assert np.isnan(found.lightest).tolist() == [False, True, False, True, False, True, False]
    assert found.n_further.tolist() == [0, 0, 1, 0, 2, 0, 0]
    assert found.each()[1].tolist() == [0, 1, 2, 2, 3, 4, 4, 4, 5, 6]
    for row, text in enumerate(texts):
        np.testing.assert_array_equal(found.lightest[row], text_masses([text]).lightest[0])
    assert len(text_masses([]).lightest) == 0
    assert np.isnan(text_masses(["C\nC", "C"]).lightest).all()


def test_what_is_beyond_a_limit_is_left_to_the_parser(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "structure_atoms=4")
    assert np.isnan(text_masses(["CCCC", "CCCCC"]).lightest).tolist() == [False, True]


@pytest.fixture
def long_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take tables of two rows for long ones."""
    monkeypatch.setattr(structures, "WORTH_SCREENING", 2)
    monkeypatch.setattr(structures, "BATCH", 2)


ROWS = """smiles\tinchi\tname
CCO\t\tethanol
c1cccc1\t\tno such ring
CC(=O)[O-]\t\tacetate
[Na+].CC(=O)[O-]\t\ta salt
COC\t\tether
CCCCCC\tInChI=1S/C2H6O/c1-2-3/h3H,2H2,1H3\twhich of them
\t\tnothing
n/a\tInChI=1S/C2H6O/c1-2-3/h3H,2H2,1H3\tby its InChI
"""


def screen(*texts: str, ppm: float = 10.0) -> MassScreen:
    return MassScreen(map(exact_mass, texts), ppm)


@pytest.mark.usefixtures("long_tables")
def test_rows_without_a_wanted_mass_are_not_parsed_but_counted(tmp_path: Path) -> None:
    (tmp_path / "t.tsv").write_text(ROWS)
    alcohols, report = screen("CCO"), ReadReport()
    found = read_candidates(tmp_path / "t.tsv", report, 1, None, alcohols)
    assert found.name.tolist() == ["ethanol", "a salt", "ether", "which of them", "by its InChI"]
    assert alcohols.n_left_out == report.notes[NOT_PARSED] == 2
    assert report.n_read == 7
    assert [skip.reason for skip in report.skips] == [Reason.BAD_STRUCTURE]
    acids = screen("CC(=O)O")
    found = read_candidates(tmp_path / "t.tsv", ReadReport(), 1, None, acids)
    assert found.name.tolist() == ["acetate", "a salt", "by its InChI"]


def test_all_rows_of_a_short_table_are_parsed(tmp_path: Path) -> None:
    (tmp_path / "t.tsv").write_text(ROWS)
    report = ReadReport()
    found = read_candidates(tmp_path / "t.tsv", report, 1, None, screen("CCCCCCCC"))
    assert len(found) == 6
    assert report.n_read == 6
    assert len(report.skips) == 2
    assert NOT_PARSED not in report.notes


@pytest.mark.usefixtures("long_tables")
@pytest.mark.parametrize("first_named", [0, 1, 5])
def test_a_table_that_names_queries_is_read_as_a_whole(tmp_path: Path, first_named: int) -> None:
    rows = "".join(f"{'q' if n >= first_named else ''}\t{'C' * (n + 1)}\n" for n in range(8))
    (tmp_path / "t.tsv").write_text("query_id\tsmiles\n" + rows)
    reports = ReadReport(), ReadReport()
    report, plain = reports
    for each in reports:
        each.note("before")
    found = read_candidates(tmp_path / "t.tsv", report, 1, None, screen("CC"))
    expected = read_candidates(tmp_path / "t.tsv", plain)
    assert found.smiles.tolist() == expected.smiles.tolist()
    assert report == plain
    assert len(found) == 8 - first_named


@pytest.mark.usefixtures("long_tables")
def test_the_limit_of_rows_holds_for_those_that_are_not_parsed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, "table_rows=5")
    (tmp_path / "t.tsv").write_text("smiles\n" + "CCO\n" * 9)
    with pytest.raises(InputError, match=r"more than 5 structures \(table_rows\)"):
        read_candidates(tmp_path / "t.tsv", ReadReport(), 1, None, screen("C"))


@pytest.mark.usefixtures("long_tables")
def test_the_nearest_row_may_be_one_that_is_not_parsed() -> None:
    rows = screen("O")
    texts = [("CCO", ""), ("CCC", ""), ("c1cccc1", ""), ("CC(=O)[O-]", ""), ("COC", "")]
    assert not rows.wanted(texts[:3]).any()
    assert not rows.wanted(texts[3:]).any()
    assert rows.n_left_out == 5
    ethanol, acid = exact_mass("CCO"), exact_mass("CC(=O)O")
    assert rows.nearest(ethanol + 0.25, np.inf) == pytest.approx(0.25)
    assert rows.nearest(ethanol + 0.25, 0.125) == 0.125
    assert rows.nearest(acid - 0.5, np.inf) == pytest.approx(0.5)
    # Not of the anion, nor of what cannot be parsed.
    assert rows.nearest(acid - exact_mass("[H]"), np.inf) == pytest.approx(exact_mass("[H]"))
    assert rows.nearest(66.0, np.inf) == pytest.approx(66.0 - acid)


def test_windows_that_overlap_are_one() -> None:
    rows = MassScreen([100.0, 500.0, 100.0005, 46.0418648], 10.0)
    wanted = rows.wanted([("CCO", ""), ("CCCCCCC", ""), ("CCC", "")])
    assert wanted.tolist() == [True, False, False]
    assert not MassScreen([], 10.0).wanted([("CCO", "")]).any()


def query(mass: float) -> Query:
    ion = parse_adduct("[M+H]+")
    assert ion is not None
    mz = mass + 195.0877 - ion.neutral_mass(195.0877)
    return Query.assign_ion(
        Spectrum(
            mz=np.array([50.0]),
            intensity=np.array([1.0]),
            query_id="q",
            precursor_mz=mz,
            adduct="[M+H]+",
        )
    )


@pytest.mark.usefixtures("long_tables")
def test_queries_have_the_same_candidates_and_refusals(tmp_path: Path) -> None:
    (tmp_path / "t.tsv").write_text(ROWS)
    layout = get_layout("morgan4096")
    masses = [exact_mass(text) for text in ("CCO", "CCCCCC", "CC(=O)O", "CCCC")]
    queries = [query(mass) for mass in (*masses, masses[0] + 0.4, masses[2] - 0.2, 1.0, 900.0)]
    plain = CandidateSource(tmp_path / "t.tsv", layout, 10.0, ReadReport())
    for asked in (queries, queries[4:]):
        report = ReadReport()
        source = CandidateSource(tmp_path / "t.tsv", layout, 10.0, report, queries=asked)
        assert report.notes[NOT_PARSED] > 0
        for each in asked:
            found, expected = source.find(each), plain.find(each)
            if isinstance(expected, Refusal):
                assert isinstance(found, Refusal)
                assert str(found) == str(expected)
                assert found.nearest_ppm == pytest.approx(expected.nearest_ppm)
            else:
                assert isinstance(found, CandidateSet)
                assert found.smiles.tolist() == expected.smiles.tolist()


@pytest.mark.usefixtures("long_tables")
def test_a_strict_run_parses_all_rows(tmp_path: Path) -> None:
    (tmp_path / "t.tsv").write_text(ROWS)
    with pytest.raises(InputError, match="no such ring"):
        CandidateSource(
            tmp_path / "t.tsv", get_layout("morgan4096"), 10.0, ReadReport(strict=True), queries=[]
        )


@pytest.mark.parametrize(
    "name",
    ["structures/structures.tsv.gz", "structures/extra.tsv.gz", "impact/candidates.csv.gz"],
)
def test_real_structures_have_one_of_the_masses(name: str) -> None:
    cells = (cells for _, cells in read_cells(shared(name), ReadReport()))
    texts = [each.smiles or each.inchi for each in islice(cells, 200, None, 400)]
    found = text_masses(texts)
    masses, rows = found.each()
    exact = np.array([exact_mass(text) for text in texts])
    distance = np.full(len(texts), np.inf)
    np.fmin.at(distance, rows, np.abs(masses - exact[rows]))
    is_clear = ~np.isnan(found.lightest)
    assert is_clear.mean() > 0.98
    assert distance[is_clear].max() < 1e-6
