"""Salts and mixtures in lists of candidates: components that are not the largest."""

from pathlib import Path

import pytest
from pool_files import write_pool
from rdkit import Chem

from specvae.errors import InputError
from specvae.molecules.candidate_pool import CandidatePool
from specvae.molecules.candidates import read_candidates
from specvae.molecules.fingerprint import get_layout
from specvae.molecules.mixtures import ANOTHER_COMPONENT
from specvae.molecules.molecule import parse_molecule
from specvae.report import ReadReport

PYRANTEL = "CN1CCCN=C1C=Cc1cccs1"
PAMOATE = "OC(=O)c1cc2ccccc2c(Cc2c(O)c(cc3ccccc23)C(O)=O)c1O"
SULFAMETHOXAZOLE = "Cc1cc(NS(=O)(=O)c2ccc(N)cc2)no1"
TRIMETHOPRIM = "COc1cc(Cc2cnc(N)nc2N)cc(OC)c1OC"
NICOTINE = "CN1CCCC1c1cccnc1"
TARTRATE = "OC(=O)C(O)C(O)C(O)=O"


def parents(path: Path, report: ReadReport | None = None) -> list[str]:
    try:
        found = read_candidates(path, report)
    except InputError:  # none can be used
        return []
    return [molecule.smiles for molecule in found.molecules]


def canonical(*smiles: str) -> list[str]:
    return [parse_molecule(one).smiles for one in smiles]


@pytest.mark.parametrize(
    ("written", "found"),
    [
        (f"{PYRANTEL}.{PAMOATE}", [PAMOATE, PYRANTEL]),
        ("FC(F)(F)C(=O)[O-].[NH3+]CC(=O)O", ["OC(=O)C(F)(F)F", "NCC(=O)O"]),
        # Both are usual counter-ions.
        ("C[N+](C)(C)CCO.OC(=O)C(O)C(O)C(=O)[O-]", [TARTRATE, "C[N+](C)(C)CCO"]),
        (f"{SULFAMETHOXAZOLE}.{TRIMETHOPRIM}", [TRIMETHOPRIM, SULFAMETHOXAZOLE]),
        # One compound, written in two ways, and two of as many atoms.
        ("OC(=O)CCCCN.NCCCCC(=O)O", ["NCCCCC(=O)O"]),
        ("OC(=O)CCCCN.NCCCCC(=O)[O-].[Na+].NC1CCC1", ["NCCCCC(=O)O", "NC1CCC1"]),
        ("NCCCCCS.NCCCCCF", ["NCCCCCS", "NCCCCCF"]),
        # Nothing else is of interest.
        (f"{NICOTINE}.{TARTRATE}", [NICOTINE]),
        (f"{NICOTINE}.Cl.Cl", [NICOTINE]),
        ("CC(=O)Oc1ccccc1C(=O)[O-].[Na+]", ["CC(=O)Oc1ccccc1C(=O)O"]),
        ("NCC(=O)O.NCC(=O)O.OS(=O)(=O)O", ["NCC(=O)O"]),
        ("CC(=O)Oc1ccccc1C(=O)O.CCO.O", ["CC(=O)Oc1ccccc1C(=O)O"]),
        # Kept whole, and not all of its atoms known.
        ("CCCCN.*CCC", ["CCCCN"]),
        (f"{PYRANTEL}.{PAMOATE}(", []),
    ],
)
def test_components_beside_the_largest(tmp_path: Path, written: str, found: list[str]) -> None:
    path = tmp_path / "t.csv"
    path.write_text(f"smiles,name\n{written},a\nC,b\n", encoding="utf-8")
    report = ReadReport()
    assert parents(path, report) == canonical(*found, "C")
    assert report.notes[ANOTHER_COMPONENT] == max(len(found) - 1, 0)


def test_an_inchi_of_a_salt(tmp_path: Path) -> None:
    path = tmp_path / "t.tsv"
    salt = Chem.MolFromSmiles(f"{PYRANTEL}.{PAMOATE}")
    inchi = Chem.MolToInchi(salt)  # type: ignore[no-untyped-call]
    path.write_text(f"inchi\n{inchi}\n", encoding="utf-8")
    assert sorted(parents(path)) == sorted(canonical(PAMOATE, PYRANTEL))


@pytest.mark.parametrize(
    ("written", "found"),
    [
        (f"{PYRANTEL}.{PAMOATE}", [PAMOATE, PYRANTEL]),
        (f"{SULFAMETHOXAZOLE}.{TRIMETHOPRIM}", [TRIMETHOPRIM]),
    ],
)
def test_a_row_of_a_query_names_one_drug(tmp_path: Path, written: str, found: list[str]) -> None:
    path = tmp_path / "t.csv"
    path.write_text(f"smiles,query_id\n{written},q\n", encoding="utf-8")
    assert parents(path) == canonical(*found)


def test_a_pool_has_each_component(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(f"smiles,id\n{PYRANTEL}.{PAMOATE},P1\n", encoding="utf-8")
    layout = get_layout("svae2149")
    assert write_pool(path, layout, tmp_path / "p.h5") == 2
    with CandidatePool.open(tmp_path / "p.h5", layout) as pool:
        assert pool.within(206.0878, 10.0).id.tolist() == ["P1"]
