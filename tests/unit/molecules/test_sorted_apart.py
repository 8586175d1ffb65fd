"""Tables whose columns were sorted apart from each other."""

from pathlib import Path

import pytest
from rdkit import Chem
from rdkit.Chem.rdMolDescriptors import CalcMolFormula

from specvae.annotation.library.compounds import read_truth
from specvae.molecules.candidates import read_candidates
from specvae.molecules.sorted_apart import FORMULAS_OF_OTHERS
from specvae.report import ReadReport

SMILES = [
    *(f"{'C' * n}O" for n in range(1, 9)),
    *(f"{'C' * n}N" for n in range(1, 9)),
    *(f"{'C' * n}C(=O)[O-].[Na+]" for n in range(1, 5)),
]


def formulas(smiles: list[str]) -> list[str]:
    return [CalcMolFormula(Chem.MolFromSmiles(one)) for one in smiles]


def notes_on(path: Path, smiles: list[str], stated: list[str], name: str = "formula") -> list[str]:
    rows = zip(smiles, stated, strict=True)
    lines = [f"{n},{one},{formula}" for n, (one, formula) in enumerate(rows)]
    path.write_text("\n".join([f"query_id,smiles,{name}", *lines, ""]), encoding="utf-8")
    report, of_truth = ReadReport(), ReadReport()
    read_candidates(path, report)
    read_truth(path, of_truth)
    assert (FORMULAS_OF_OTHERS in report.notes) == (FORMULAS_OF_OTHERS in of_truth.notes)
    return [note for note in report.notes if note == FORMULAS_OF_OTHERS]


def test_formulas_of_other_rows_are_noted(tmp_path: Path) -> None:
    found = formulas(SMILES)[::-1]
    assert notes_on(tmp_path / "t.csv", SMILES, found) == [FORMULAS_OF_OTHERS]
    assert notes_on(tmp_path / "t.csv", SMILES, found, "Molecular Formula") == [FORMULAS_OF_OTHERS]


@pytest.mark.parametrize(
    "stated",
    [
        formulas(SMILES),
        [one.split(".")[0] for one in formulas(SMILES)],
        # Of what is kept of salts, of ions, and what is none.
        formulas([one.replace("[O-].[Na+]", "O") for one in SMILES]),
        [f"[{one}]+" for one in formulas([one.replace("[O-].[Na+]", "O") for one in SMILES])],
        ["n/a"] * len(SMILES),
        ["C6H12O6", "C7H8", *formulas(SMILES)[2:]],
    ],
)
def test_formulas_as_databases_write_them(tmp_path: Path, stated: list[str]) -> None:
    assert not notes_on(tmp_path / "t.csv", SMILES, stated)


def test_a_few_rows_tell_nothing(tmp_path: Path) -> None:
    assert not notes_on(tmp_path / "t.csv", SMILES[:9], formulas(SMILES)[:9][::-1])
