"""SD files whose records are not as the format has them."""

from pathlib import Path

import pytest
from rdkit import Chem

from specvae.molecules.candidates import read_candidates
from specvae.molecules.sd_files import DRAWING_OF_ANOTHER
from specvae.molecules.structures import read_rows
from specvae.report import ReadReport

CHAIN = "CC(C)CCCC(C)CCCC(C)CCCC(C)CCCC(C)CCCC(C)CCCC(C)CCCCC(=O)OCC(O)COC(C)=O"
INCHI = (
    "InChI=1S/C10H16N5O13P3/c11-8-5-9(13-2-12-8)15(3-14-5)10-7(17)6(16)4(26-10)1-25-30(21,22)"
    "28-31(23,24)27-29(18,19)20/h2-4,6-7,10,16-17H,1H2,(H,21,22)(H,23,24)(H2,11,12,13)(H2,18,19,20)"
)


def record(smiles: str, *data: str, title: str = "a") -> str:
    mol = Chem.MolFromSmiles(smiles)
    mol.SetProp("_Name", title)
    items = "".join(f"> <{item}\n\n" for item in data)
    return f"{Chem.MolToMolBlock(mol)}{items}$$$$\n"


def formulas(path: Path, text: str, report: ReadReport) -> list[tuple[str, str]]:
    path.write_text(text, encoding="utf-8")
    return [(row.molecule.formula, row.id) for row in read_rows(path, report)]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        # A line of a head is missing, or blank lines stand before it, as where files were joined.
        (record("CCO").removeprefix("a\n"), [("C2H6O", "")]),
        (record("CCO").replace("\n\n", "\n", 1), [("C2H6O", "a")]),  # below its program's
        (record("CCO").replace("\n\n", "\n", 1).replace("     RDKit", "RDKit"), [("C2H6O", "a")]),
        (f"\n{record('CCO')}\n\n{record('CCN', title='b')}\n", [("C2H6O", "a"), ("C2H7N", "b")]),
        (f" \n{record('CCO', title='')}", [("C2H6O", "")]),
        (record("CCO", "ID>\n7").replace("\n", "\r\n"), [("C2H6O", "7")]),
    ],
)
def test_heads_that_are_a_line_off(tmp_path: Path, text: str, found: list[tuple[str, str]]) -> None:
    report = ReadReport(strict=True)
    assert formulas(tmp_path / "x.sdf", text, report) == found


@pytest.mark.parametrize(
    ("drawn", "field", "lines", "formula", "n_notes"),
    [
        (CHAIN, "SMILES", (CHAIN[:62], CHAIN[62:]), "C43H84O5", 0),  # the first is one, too
        (CHAIN, "SMILES", (CHAIN[:60], CHAIN[60:66] + CHAIN[66:]), "C43H84O5", 0),
        ("CCO", "INCHI", (INCHI[:70], INCHI[70:140], INCHI[140:]), "C10H16N5O13P3", 1),
        ("CCO", "INCHI", (INCHI, "InChI=1S/CH4O/c1-2/h2H,1H3"), "C10H16N5O13P3", 1),
        (CHAIN, "SMILES", (CHAIN, "CCO"), "C43H84O5", 0),
    ],
)
def test_structures_longer_than_a_line(
    tmp_path: Path, drawn: str, field: str, lines: tuple[str, ...], formula: str, n_notes: int
) -> None:
    report = ReadReport()
    text = record(drawn, f"{field}>\n" + "\n".join(lines), "ID>\n7")
    found = formulas(tmp_path / "x.sdf", text, report)
    assert found == [(formula, "7")]
    assert report.notes.get(DRAWING_OF_ANOTHER, 0) == n_notes


def test_data_of_an_sd_file_may_name_the_query(tmp_path: Path) -> None:
    path = tmp_path / "x.sdf"
    text = record("CCO", "query_id>\nq1") + record("CCN", "Query ID>\nq2") + record("CC")
    path.write_text(text, encoding="utf-8")
    report = ReadReport()
    found = read_candidates(path, report)
    assert found.query_id is not None
    assert found.query_id.tolist() == ["q1", "q2"]
    assert [skip.detail for skip in report.skips] == ["query_id is empty"]


@pytest.mark.parametrize(("smiles", "formula"), [("CCO", "C2H6O"), ("NCCO", "C2H7NO")])
@pytest.mark.parametrize("number", range(1, 6))
def test_numbers_of_hydrogens_are_of_queries(
    tmp_path: Path, number: int, smiles: str, formula: str
) -> None:
    """RDKit takes all hydrogens that are not drawn from atoms that state one."""
    text = record(smiles)
    for element in "CNO":
        text = text.replace(f" {element}   0  0  0  0", f" {element}   0  0  0  {number}")
    report = ReadReport()
    assert formulas(tmp_path / "x.sdf", text, report) == [(formula, "a")]
    assert not report.skips
