"""Tables whose rows list several structures."""

import time
from pathlib import Path

import pytest

from specvae.annotation.library.compounds import read_excluded
from specvae.molecules.structures import read_rows
from specvae.molecules.wide_tables import IN_ONE_CELL, MERGED, WIDE, WIDE_INCHI
from specvae.report import ReadReport

ETHANOL, ETHER = "LFQSCWFLJHTTHZ-UHFFFAOYSA-N", "LCGLNKUTAGEVQW-UHFFFAOYSA-N"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        # As MS-FINDER writes its results, before and after its columns had numbers.
        (
            f"name\tInChIKey\tSMILES\tScore\tInChIKey\tSMILES\na\t{ETHANOL}\tCCO\t9\t{ETHER}\tCOC\n",
            [(2, "CCO", ETHANOL, "a"), (2, "COC", ETHER, "a")],
        ),
        (
            (
                f"name,InChIKey 1,SMILES 1,InChIKey 2,SMILES 2\na,{ETHANOL},CCO,{ETHER},COC\n"
                f"b,{ETHANOL},CCO,,\nc,,,{ETHER},COC\n"
            ),
            [
                (2, "CCO", ETHANOL, "a"),
                (2, "COC", ETHER, "a"),
                (3, "CCO", ETHANOL, "b"),
                (4, "COC", ETHER, "c"),
            ],
        ),
        (
            "File,Structure rank 1,SMILES 1,Structure rank 2,SMILES 2\nq,a,CCO,b,COC\n",
            [(2, "CCO", "", "a"), (2, "COC", "", "b")],
        ),
        # Without the empty cells at the end of a row.
        (
            "File,SMILES 1,SMILES 2,Structure rank 1,Structure rank 2\nq,CCO,COC,a\nr,CCC\n",
            [(2, "CCO", "", "a"), (2, "COC", "", ""), (3, "CCC", "", "")],
        ),
        (  # the other column that may name it
            "Title,SMILES 1,SMILES 2,Structure rank 1,Structure rank 2\nq,CCO,COC,a\nr,CCC\n",
            [(2, "CCO", "", "a"), (2, "COC", "", "q"), (3, "CCC", "", "r")],
        ),
        ("name,SMILES,SMILES,SMILES\na,CCO,COC\n", [(2, "CCO", "", "a"), (2, "COC", "", "a")]),
        # Keys that may be of either.
        (f"SMILES,SMILES,InChIKey\nCCO,COC,{ETHANOL}\n", [(2, "CCO", "", ""), (2, "COC", "", "")]),
    ],
)
def test_each_structure_of_a_row_is_one(
    tmp_path: Path, text: str, found: list[tuple[int, str, str, str]]
) -> None:
    path = tmp_path / "x.csv"
    path.write_text(text, encoding="utf-8")
    report = ReadReport(strict=True)
    rows = list(read_rows(path, report))
    assert [(row.line, row.smiles, row.molecule.given_key, row.name) for row in rows] == found
    assert report.notes == {WIDE: 1}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("canonical_smiles,isomeric_smiles\nCCO,C[C@H](O)F\n", ["C[C@H](O)F"]),  # one compound
        ("smiles,smiles_2\nCCO,COC\n", ["CCO"]),
    ],
)
def test_other_columns_of_smiles_are_as_before(tmp_path: Path, text: str, found: list[str]) -> None:
    path = tmp_path / "x.csv"
    path.write_text(text, encoding="utf-8")
    report = ReadReport(strict=True)
    assert [row.smiles for row in read_rows(path, report)] == found
    assert WIDE not in report.notes


def test_a_row_without_a_structure_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("name,smiles,smiles\na,,\nb,CCO,\n", encoding="utf-8")
    report = ReadReport()
    assert [row.name for row in read_rows(path, report)] == ["b"]
    assert [(skip.line, skip.record) for skip in report.skips] == [(2, "a")]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        # As MetaboLights' tables of metabolites have it.
        (
            f"id\tsmiles\tinchikey\tname\nC1|C2\tCCO|COC\t{ETHANOL}|{ETHER}\ta|b\n",
            [("CCO", ETHANOL, "a", "C1"), ("COC", ETHER, "b", "C2")],
        ),
        (
            f"smiles\tinchikey\tname\nCCO; COC\t{ETHANOL}\tx\n",
            [("CCO", "", "x", ""), ("COC", "", "x", "")],
        ),
        (
            "inchi\tname\nInChI=1S/C2H6O/c1-2-3/h3H,2H2,1H3|InChI=1S/C2H6O/c1-3-2/h1-2H3\ta\n",
            [("CCO", "", "a", ""), ("COC", "", "a", "")],
        ),
        ("smiles\nCCO | COC | CCC\n", [(s, "", "", "") for s in ("CCO", "COC", "CCC")]),
        ("smiles\tname\nCCO |c:1|\ta;b\n", [("CCO", "", "a;b", "")]),
        # mzTab-M has a place for each identification, also without a structure.
        ("smiles\tname\tid\nCCO|null\ta|b\tA|B\n", [("CCO", "", "a", "A")]),
        (
            f"smiles\tinchikey\tname\nnull|CCO|COC\tnull|{ETHANOL}|{ETHER}\tx|a|b\n",
            [("CCO", ETHANOL, "a", ""), ("COC", ETHER, "b", "")],
        ),
        (
            "smiles\tinchi\tname\nnull|null\tnull|InChI=1S/C2H6O/c1-2-3/h3H,2H2,1H3\tx|a\n",
            [("CCO", "", "a", "")],
        ),
        ("smiles\tname\nnull|null\ta|b\n", []),
        ("smiles\tname\nCCO|\ta\n", []),
        ("smiles\tname\nCCO|xx\ta\n", []),
    ],
)
def test_each_structure_of_a_cell_is_one(
    tmp_path: Path, text: str, found: list[tuple[str, str, str, str]]
) -> None:
    path = tmp_path / "x.tsv"
    path.write_text(text, encoding="utf-8")
    report = ReadReport()
    rows = list(read_rows(path, report))
    assert [(r.smiles, r.molecule.given_key, r.name, r.id) for r in rows] == found
    assert report.notes.get(IN_ONE_CELL, 0) == (len(found) > 1)
    assert len(report.skips) == (not found)


@pytest.mark.parametrize(
    ("ids", "found"),
    [
        (("q1", "", "", "q2", ""), ["q1", "q1", "q1", "q2", "q2"]),
        (("q1", "", ""), ["q1", "q1", "q1"]),
        (("q1", "", "", "q2", "q2"), ["q1", "", "", "q2", "q2"]),  # each row names its query
        (("q1", "q2", "q3", "", "q4"), ["q1", "q2", "q3", "", "q4"]),  # one was forgotten
        (("", "q1", "", ""), ["", "q1", "", ""]),
        (("", "", ""), ["", "", ""]),
    ],
)
def test_queries_of_merged_cells(tmp_path: Path, ids: tuple[str, ...], found: list[str]) -> None:
    path = tmp_path / "x.csv"
    chains = ("C" * (n + 2) for n in range(len(ids)))
    rows = "".join(f"{query_id},{chain}\n" for query_id, chain in zip(ids, chains, strict=True))
    path.write_text(f"query_id,smiles\n{rows}", encoding="utf-8")
    report = ReadReport(strict=True)
    assert [row.query_id for row in read_rows(path, report)] == found
    n_filled = sum(one != other for one, other in zip(ids, found, strict=True))
    assert report.notes.get(MERGED, 0) == n_filled


@pytest.mark.parametrize(
    ("column", "lines", "found"),
    [
        ("smiles", ("CC(=O)Oc1cccc", "c1C(=O)O"), ["CC(=O)Oc1ccccc1C(=O)O"]),  # one that goes on
        ("smiles", ("CCO", "ethanol"), ["CCO"]),
        ("smiles", ("CCO", "CCN"), []),  # one or two
        ("smiles", ("C#N", "F"), ["C#N", "F"]),  # two, as nitrogen has no further bond
        ("smiles", ("CCO", ""), ["CCO"]),
        (
            "inchi",
            ("InChI=1S/CH4O/c1-2/h2H,1H3", "InChI=1S/C2H6O/c1-2-3/h3H,2H2,1H3"),
            ["CO", "CCO"],
        ),
        ("inchi", ("InChI=1S/C2H6O/c1-2-3", "/h3H,2H2,1H3"), ["CCO"]),
    ],
)
def test_structures_on_several_lines_of_a_cell(
    tmp_path: Path, column: str, lines: tuple[str, ...], found: list[str]
) -> None:
    """None is taken for the first line alone; spreadsheets break lines in cells."""
    path = tmp_path / "t.csv"
    text = "\n".join(lines)
    path.write_text(f'name,{column}\n"a\nb","{text}"\n', encoding="utf-8")
    report = ReadReport()
    assert [(row.molecule.smiles, row.name) for row in read_rows(path, report)] == [
        (smiles, "a b") for smiles in found
    ]
    assert any(skip.record == "a b" for skip in report.skips) == (not found)


@pytest.mark.parametrize("mark", ["|", " | ", " ", "; ", ", "])
def test_each_inchi_of_a_cell_is_one(tmp_path: Path, mark: str) -> None:
    path = tmp_path / "t.csv"
    cell = mark.join(("InChI=1S/CH4O/c1-2/h2H,1H3", "InChI=1S/C2H6O/c1-2-3/h3H,2H2,1H3"))
    path.write_text(f'inchi,name\n"{cell}",a\n', encoding="utf-8")
    report = ReadReport()
    assert [row.molecule.smiles for row in read_rows(path, report)] == ["CO", "CCO"]
    assert report.notes[IN_ONE_CELL] == 1


def test_blanks_behind_an_inchi_take_no_time(tmp_path: Path) -> None:
    path = tmp_path / "t.tsv"
    blanks = " " * 30_000
    inchi = f"InChI=1S/CH4/h1H4{blanks}x InChI=1S/CH4O/c1-2/h2H,1H3"
    path.write_text(f"inchi\tname\n{inchi}\ta\n")
    start = time.process_time()
    assert [row.molecule.smiles for row in read_rows(path, ReadReport())] == ["C", "CO"]
    assert time.process_time() - start < 5.0  # where their number squared counts, 10 and more


@pytest.mark.parametrize(
    ("text", "found"),
    [
        # What pandas and R make of two columns of one name.
        (
            f"SMILES,InChIKey,SMILES.1,InChIKey.1,n\nCCO,{ETHANOL},COC,{ETHER},a\n",
            [("CCO", ETHANOL), ("COC", ETHER)],
        ),
        ("SMILES,SMILES.1,SMILES.2\nCCO,,COC\n", [("CCO", ""), ("COC", "")]),
        ("n,SMILES.1\na,CCO\n", [("CCO", "")]),
        ("SMILES,score,score.1\nCCO,1,2\n", [("CCO", "")]),
    ],
)
def test_second_columns_as_programs_rename_them(
    tmp_path: Path, text: str, found: list[tuple[str, str]]
) -> None:
    path = tmp_path / "t.csv"
    path.write_text(text, encoding="utf-8")
    rows = list(read_rows(path, ReadReport()))
    assert [(row.molecule.smiles, row.molecule.given_key) for row in rows] == found


@pytest.mark.parametrize(
    "names", [("InChI", "InChI"), ("InChI", "InChI.1"), ("InChI 1", "InChI 2")]
)
def test_several_columns_of_inchi(tmp_path: Path, names: tuple[str, str]) -> None:
    path = tmp_path / "t.tsv"
    cells = ("InChI=1S/CH4O/c1-2/h2H,1H3", "InChI=1S/C2H6O/c1-2-3/h3H,2H2,1H3")
    path.write_text("".join("\t".join(row) + "\n" for row in (names, cells)), encoding="utf-8")
    report = ReadReport()
    assert [row.molecule.smiles for row in read_rows(path, report)] == ["CO", "CCO"]
    assert report.notes == {WIDE_INCHI: 1}
    assert len(read_excluded([path])) == 2
