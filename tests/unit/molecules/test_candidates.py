"""Candidates of queries: by name or by mass, one for each compound."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pool_files import write_pool
from rdkit import Chem
from shared_data import shared

from specvae.errors import InputError, SpecvaeError
from specvae.molecules import structures
from specvae.molecules.candidate_pool import CandidatePool
from specvae.molecules.candidates import CandidateSet, read_candidates
from specvae.molecules.fingerprint import get_layout
from specvae.molecules.molecule import (
    Molecule,
    parse_molecule,
)
from specvae.report import ReadReport, Reason

ETHANOL = "LFQSCWFLJHTTHZ-UHFFFAOYSA-N"
Write = Callable[..., Path]


def test_columns_in_any_case_and_order(write: Write) -> None:
    path = write(f"Name,other,ID,InChIKey,SMILES\nethanol,x,e1,{ETHANOL},OCC\nmethanol,y,m1,,CO\n")
    found = read_candidates(path)
    assert found.smiles.tolist() == ["OCC", "CO"]
    assert found.name.tolist() == ["ethanol", "methanol"]
    assert found.id.tolist() == ["e1", "m1"]
    assert found.inchikey.tolist() == [ETHANOL, parse_molecule("CO").inchikey]
    assert found.first_block.tolist() == [ETHANOL[:14], parse_molecule("CO").first_block]
    np.testing.assert_allclose(found.exact_mass, [46.0418648, 32.0262148], atol=1e-6)
    assert not found.has_query_ids
    assert len(found) == 2


def test_names_of_queries_that_look_the_same_are_the_same(write: Write) -> None:
    """Composed and decomposed accents, and blanks that spreadsheets and editors change."""
    rows = "".join(
        f"{name},CCO\n"
        for name in ("Probe \xe9", "a\xa0b", "c  d", "plain", "x", "Plain", "y\u200b", "12\ufeff")
    )
    found = read_candidates(write(f"query_id,smiles\n{rows}"))
    same = ("Probe e\u0301", "a b", "c d", "plain", "Plain", "x#2", "Probe e\u0301#2")
    for name in (*same, "y", "12", "12.0", "pla\u200bin"):
        assert len(found.for_query(name)) == 1, name
    assert not len(found.for_query("PLAIN"))


def test_the_second_spectrum_of_a_name_has_the_candidates_of_the_name(write: Write) -> None:
    found = read_candidates(write("query_id,smiles\na,CCO\nb,CO\nb#2,CN\n7.0,CC\n"))
    listed = {name: found.for_query(name).smiles.tolist() for name in ("a#2", "b#2", "b#3", "7#2")}
    assert listed == {"a#2": ["CCO"], "b#2": ["CN"], "b#3": ["CO"], "7#2": ["CC"]}
    assert not len(found.for_query("a#1"))


@pytest.mark.parametrize(
    ("query_id", "listed"),
    [
        ("controllerType=0 controllerNumber=1 scan=7", True),
        ("scan=7", True),
        ("scanId=7", True),
        ('run.7.7.1 File:"run.raw", NativeID:"controllerType=0 controllerNumber=1 scan=7"', True),
        ("controllerType=0 controllerNumber=1 scan=17", False),
        ("controllerType=5 controllerNumber=1 scan=7", False),
        ("function=2 process=0 scan=7", False),
    ],
)
@pytest.mark.parametrize("name", ["7", "7.0"])
def test_a_scan_may_be_listed_by_its_number(
    write: Write, query_id: str, listed: bool, name: str
) -> None:
    found = read_candidates(write(f"query_id,smiles\n{name},CCO\n8,CO\n"))
    assert found.for_query(query_id).smiles.tolist() == ["CCO"] * listed


def test_a_title_of_msconvert_may_be_listed_by_its_beginning(write: Write) -> None:
    found = read_candidates(write("query_id,smiles\nrun.7.7.1,CCO\n"))
    title = 'run.7.7.1 File:"run.raw", NativeID:"controllerType=0 controllerNumber=1 scan=7"'
    assert len(found.for_query(title)) == 1


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_candidates(tmp_path / "none.csv")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(InputError, match="a folder"):
        read_candidates(tmp_path / "folder.csv")


def test_rows_of_one_query(write: Write) -> None:
    found = read_candidates(write("query_id,smiles\nq1,CCO\nq2,CO\nq1,COC\n"))
    assert found.has_query_ids
    assert found.for_query("q1").smiles.tolist() == ["CCO", "COC"]
    assert found.for_query("q2").smiles.tolist() == ["CO"]
    assert len(found.for_query("q3")) == 0
    everything = read_candidates(write("smiles\nCCO\nCO\n"))
    assert len(everything.for_query("q1")) == 2


def test_within_includes_both_limits_and_keeps_file_order(write: Write) -> None:
    found = read_candidates(write("smiles\nCCCO\nCCO\nCC(C)O\nCO\nCOC\n"))
    mass = parse_molecule("CCO").exact_mass
    assert found.within(mass, 10).smiles.tolist() == ["CCO", "COC"]
    assert found.within(mass, 0).smiles.tolist() == ["CCO", "COC"]
    assert found.within(mass * (1 + 9.99e-6), 10).smiles.tolist() == ["CCO", "COC"]
    assert len(found.within(mass * (1 + 10.01e-6), 10)) == 0
    assert (found.n_within(mass, 0), found.n_within(mass * (1 + 10.01e-6), 10)) == (2, 0)
    assert found.within(parse_molecule("CCCO").exact_mass, 5).smiles.tolist() == ["CCCO", "CC(C)O"]
    assert len(found.within(1e6, 10)) == 0


def test_stereoisomers_are_one_candidate_the_first_one(write: Write) -> None:
    found = read_candidates(
        write("smiles,name\nC[C@H](N)C(=O)O,first\nCCO,x\nC[C@@H](N)C(=O)O,b\nCC(N)C(=O)O,c\n")
    )
    assert found.deduplicate().name.tolist() == ["first", "x"]
    unlike = found.deduplicate()
    assert unlike.deduplicate() is unlike


@pytest.mark.parametrize("order", [["[2H]C([2H])([2H])O", "CO"], ["CO", "[2H]C([2H])([2H])O"]])
def test_of_isotopologues_the_one_of_the_query_s_mass_is_kept(
    write: Write, order: list[str]
) -> None:
    found = read_candidates(write("smiles\n" + "".join(f"{smiles}\n" for smiles in [*order, "O"])))
    assert found.first_block[0] == found.first_block[1]
    for smiles in order:
        mass = parse_molecule(smiles).exact_mass
        assert found.deduplicate(mass * (1 + 5e-6)).smiles.tolist() == [smiles, "O"]
    assert found.deduplicate().smiles.tolist() == [order[0], "O"]


def test_candidates_of_a_table_have_no_fingerprints(write: Write) -> None:
    with pytest.raises(SpecvaeError, match="no fingerprints"):
        _ = read_candidates(write("smiles\nCCO\n")).packed


def test_keys_are_computed_only_of_the_rows_asked_for(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    methanol = parse_molecule("CO")
    to_key = Chem.MolToInchiKey

    def counted(mol: Chem.Mol) -> str:
        asked.append(Chem.MolToSmiles(mol))
        return str(to_key(mol))  # type: ignore[no-untyped-call]

    monkeypatch.setattr(Chem, "MolToInchiKey", counted)
    found = read_candidates(write("smiles\nCCCO\nCCO\nCO\nCOC\n"))
    within = found.within(methanol.exact_mass, 10)
    assert asked == []
    assert within.inchikey.tolist() == [methanol.inchikey]
    assert asked == ["CO"]
    assert within.select(np.array([0])).inchikey.tolist() == within.inchikey.tolist()
    assert asked == ["CO"]


def test_contest_candidates() -> None:
    report = ReadReport()
    found = read_candidates(shared("casmi/2016/candidates.csv.gz"), report)
    assert found.has_query_ids
    assert report.n_read == len(found) > 1000
    one = found.for_query(found.query_id[0] if found.query_id is not None else "")
    assert isinstance(one, CandidateSet)
    # Every candidate of a query lies within 10 ppm of one mass.
    assert np.ptp(one.exact_mass) / one.exact_mass.mean() < 25e-6


def test_structures_without_key_are_told_apart_by_smiles() -> None:
    def column(*values: object) -> np.ndarray:
        found = np.empty(len(values), dtype=object)
        found[:] = values
        return found

    # Wildcards, for which there is no InChI, stand for structures on which it gives up.
    smiles = column("C*", "N*", "C*", "CCO", "OCC")
    molecules = column(*(Molecule(Chem.MolFromSmiles(text), exact_mass=0.0) for text in smiles))
    empty = column("", "", "", "", "")
    candidates = CandidateSet(
        smiles, np.zeros(5), inchikey=empty, name=empty, id=empty, molecules=molecules
    )
    assert candidates.deduplicate().smiles.tolist() == ["C*", "N*", "CCO"]


def test_row_without_query_id_among_rows_with_one_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "c.csv"
    path.write_text("query_id,smiles,name\na,CCO,one\n,CCN,lost\nb,CCC,two\n")
    report = ReadReport()
    candidates = read_candidates(path, report)
    assert candidates.name.tolist() == ["one", "two"]
    assert report.n_read == 2
    assert [(s.line, s.record, s.reason) for s in report.skips] == [(3, "lost", Reason.BAD_FIELD)]


def test_a_number_is_the_query_of_that_number(write: Write) -> None:
    found = read_candidates(write("query_id,smiles\n1.0,CCO\n2.00,CO\nx1.0,CCC\n"))
    assert found.for_query("1").smiles.tolist() == ["CCO"]
    assert found.for_query("2.0").smiles.tolist() == ["CO"]
    assert not len(found.for_query("x1"))


def test_processes_read_a_table_as_one_does(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [f"{'C' * (1 + n % 9)}O,q{n % 3},{n}" for n in range(40)]
    rows[7], rows[23] = "C1CC,q1,broken", "[Na+].CC(=O)[O-],q2,salt"
    path = write("smiles,query_id,id\n" + "\n".join(rows) + "\n")
    alone, together = ReadReport(), ReadReport()
    expected = read_candidates(path, alone, 1)
    monkeypatch.setattr(structures, "WORTH_PROCESSES", 3)
    monkeypatch.setattr(structures, "BATCH", 6)
    found = read_candidates(path, together, 2)
    for name in ("smiles", "exact_mass", "id", "query_id", "molecules", "first_block"):
        assert getattr(found, name).tolist() == getattr(expected, name).tolist()
    assert (together.skips, together.notes, together.n_read) == (
        alone.skips,
        alone.notes,
        alone.n_read,
    )
    assert len(together.skips) == 1


def test_names_of_queries_as_our_own_table_writes_them(write: Write) -> None:
    """With an apostrophe before what a spreadsheet would take for a formula."""
    rows = "".join(f"'{name},CCO\n" for name in ("=1+1", "@a", "-b", "+c"))
    found = read_candidates(write(f"query_id,smiles\n{rows}'d,CCN\n"))
    for name in ("=1+1", "@a", "-b", "+c", "'=1+1", "'d"):
        assert len(found.for_query(name)) == 1
    assert len(found.for_query("d")) == 0


def test_a_compound_of_several_rows_has_the_identifiers_of_all(
    write: Write, tmp_path: Path
) -> None:
    """As in a pool: two databases in one table name the same compounds."""
    text = "smiles,name,id\nOCC,,HMDB1\nCCN,amine,HMDB2\nCCO,ethanol,CID7\nOCC,x,CID7\n"
    text += "[13CH3]CO,labelled,CID8\n"
    found = read_candidates(write(text)).deduplicate(46.0419)
    assert found.smiles.tolist() == ["OCC", "CCN"]
    assert found.name.tolist() == ["ethanol", "amine"]
    assert found.id.tolist() == ["HMDB1; CID7", "HMDB2"]
    write_pool(write(text), get_layout("morgan4096"), tmp_path / "p.h5", report=ReadReport())
    with CandidatePool.open(tmp_path / "p.h5") as pool:
        row = pool.within(46.0419, 10.0)
        assert (row.name.tolist(), row.id.tolist()) == (["ethanol"], ["HMDB1; CID7"])


def test_a_row_with_a_cell_too_many_is_a_candidate_of_no_other_query(write: Write) -> None:
    report = ReadReport()
    text = "smiles,name,query_id\nCCO,ethanol, pure,q1\nCO,methanol,q1\n"
    found = read_candidates(write(text), report)
    assert found.query_id is not None
    assert (found.name.tolist(), found.query_id.tolist()) == (["methanol"], ["q1"])
    assert "quotation marks are missing" in report.skips[0].detail


def test_a_column_that_may_name_queries_is_noted(write: Write) -> None:
    """Its rows are candidates of any query, by mass, which its author may not expect."""
    report = ReadReport()
    assert not read_candidates(write("Feature_ID,smiles\n7,CCO\n"), report).has_query_ids
    assert list(report.notes) == [
        "column feature_id not used: only query_id says whose candidates rows are"
    ]
    report = ReadReport()
    assert not read_candidates(write("query_id_x,smiles\nq,CCO\n"), report).has_query_ids
    assert list(report.notes) == [
        "column query_id_x not used: only query_id says whose candidates rows are"
    ]
    report = ReadReport()
    assert read_candidates(write("query_id,feature_id,smiles\nq,7,CCO\n"), report).has_query_ids
    assert not report.notes
