"""Tables, lists and drawings of structures, as people and databases write them."""

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest
from rdkit import Chem

from specvae.annotation.library.compounds import read_excluded, read_truth
from specvae.errors import InputError
from specvae.molecules import sd_files, structures
from specvae.molecules.candidates import CandidateSet, read_candidates
from specvae.molecules.molecule import (
    KEY_OF_ANOTHER,
    KEY_OF_SEVERAL,
    KEYS_THAT_DIFFER,
    Molecule,
    parse_molecule,
)
from specvae.molecules.standard import INCHI_INSTEAD
from specvae.molecules.structure_files import NO_HEADER, NO_NAMES, read_cells
from specvae.molecules.structures import parse_rows, read_molecules, read_rows, with_own_keys
from specvae.molecules.text_tables import INCHI_JOINED, NAMES_AGAIN, Cells, column_meaning
from specvae.report import ReadReport, Reason
from specvae.spectra.lines import decode

ETHANOL = "LFQSCWFLJHTTHZ-UHFFFAOYSA-N"
Write = Callable[..., Path]


@pytest.mark.parametrize(
    "content",
    [
        "smiles,name\nCCO,a\nCO,b\n",
        "smiles\tname\nCCO\ta\nCO\tb\n",
        "smiles;name\nCCO;a\nCO;b\n",
        "smiles,name\r\nCCO,a\r\nCO,b\r\n",
        "\ufeffsmiles,name\nCCO,a\nCO,b\n",
        '\n\n"smiles","name"\n"CCO","a"\n\n,,\n"CO","b"',
        "smiles,name,extra\nCCO,a\nCO,b,c,d,e\n",
        " SMILES , Name \n CCO , a \n CO , b \n",
        'inchi,name\n"InChI=1S/C2H6O/c1-2-3/h3H,2H2,1H3",a\n"InChI=1S/CH4O/c1-2/h2H,1H3",b\n',
        'smiles,inchi,name\nCCO,,a\n,"InChI=1S/CH4O/c1-2/h2H,1H3",b\n',
    ],
)
@pytest.mark.parametrize("compressed", [False, True])
def test_dialects(write: Write, content: str, compressed: bool) -> None:
    raw = content.encode()
    path = write(gzip.compress(raw) if compressed else raw, "c.csv.gz" if compressed else "c.csv")
    found = read_candidates(path)
    assert found.smiles.tolist() == ["CCO", "CO"]
    assert found.name.tolist() == ["a", "b"]


def test_one_column(write: Write) -> None:
    assert read_candidates(write("smiles\nCCO\n")).smiles.tolist() == ["CCO"]


def test_one_column_whose_cells_end_with_a_line_end(write: Write) -> None:
    """So do the lines of a file that a list of SMILES was made of."""
    report = ReadReport(strict=True)
    found = read_candidates(write('smiles\n"CCO\n"\n"CO\r\n"\nCCN\n'), report)
    assert found.smiles.tolist() == ["CCO", "CO", "CCN"]
    assert report.notes == {}


def test_names_and_identifiers_as_windows_writes_them(write: Write) -> None:
    """A file of queries in the same encoding has the same identifiers."""
    table = "query_id,smiles,name\nProbe é 1,CCO,“caf\xe9” • ½\n".encode("cp1252")
    found = read_candidates(write(table))
    assert found.name.tolist() == ["“café” • ½"]
    assert decode("Probe é 1".encode("cp1252")) == "Probe é 1"
    assert len(found.for_query("Probe é 1")) == 1


CAFFEINE, ISOCAFFEINE = "Cn1cnc2c1c(=O)n(C)c(=O)n2C", "Cn1cnc2c1n(C)c(=O)n(C)c2=O"


KEY = "RYYVLZVUVIJVGH-UHFFFAOYSA-N"  # of caffeine


@pytest.mark.parametrize("key", [KEY, KEY[:14]])
def test_a_key_of_several_structures_is_not_trusted(write: Write, key: str) -> None:
    """As where a spreadsheet filled it down its column: they would be one candidate."""
    rows = f"caf,{CAFFEINE},{key}\niso,{ISOCAFFEINE},{key}\nethanol,CCO,\n"
    report = ReadReport()
    found = read_candidates(write(f"name,smiles,inchikey\n{rows}"), report)
    assert found.deduplicate().name.tolist() == ["caf", "iso", "ethanol"]
    assert found.first_block[0] == KEY[:14] != found.first_block[1]
    assert report.notes == {KEY_OF_SEVERAL: 2}
    assert [KEY_OF_SEVERAL in molecule.notes for molecule in found.molecules] == [True, True, False]


@pytest.mark.parametrize("key", [KEY, KEY[:14]])
def test_a_key_of_one_structure_in_several_forms_is_trusted(write: Write, key: str) -> None:
    rows = "".join(
        f"{smiles},{key}\n"
        for smiles in ("C[C@H](N)C(=O)O", "C[C@@H](N)C(=O)O", "CC([NH3+])C(=O)[O-]", "CC(N)C(=O)O")
    )
    report = ReadReport()
    found = read_candidates(write(f"smiles,inchikey\n{rows}"), report)
    assert found.first_block.tolist() == [key[:14]] * 4
    assert not report.notes


@pytest.mark.parametrize(
    "column",
    ["ConnectivitySMILES", "AbsoluteSMILES", "PUBCHEM_CONNECTIVITY_SMILES"],
)
def test_columns_of_pubchem_since_2025(write: Write, column: str) -> None:
    assert read_candidates(write(f"CID,{column}\n702,CCO\n")).smiles.tolist() == ["CCO"]


def test_of_two_columns_the_one_that_says_something(write: Write) -> None:
    rows = "CCO,,-,ethanol\n,CO,b,\nN/A,CN,c,N/A\n"
    found = read_candidates(write(f"SMILES,canonical_smiles,name,compound_name\n{rows}"))
    assert found.smiles.tolist() == ["CCO", "CO", "CN"]
    assert found.name.tolist() == ["ethanol", "b", "c"]


@pytest.mark.parametrize("name", ["c.csv", "c.psv"])
def test_cells_between_bars(write: Write, name: str) -> None:
    """As MetFrag's local databases have them."""
    table = "MonoisotopicMass|InChI|Identifier\n46.04|InChI=1S/C2H6O/c1-2-3/h3H,2H2,1H3|P_07\n"
    found = read_candidates(write(table, name))
    assert (found.id.tolist(), found.molecules[0].smiles) == (["P_07"], "CCO")


def test_the_header_of_an_smi_file(write: Write) -> None:
    report = ReadReport()
    found = read_candidates(write("canonical_smiles name\nCCO a\n", "c.smi"), report)
    assert (found.name.tolist(), report.skips) == (["a"], [])


def test_the_first_cause_where_nothing_can_be_used(write: Write) -> None:
    report = ReadReport()
    assert not len(read_candidates(write("CHEMBL545\tCCO\nCHEMBL14688\tCO\n", "c.smi"), report))
    assert report.nothing_read("candidates") == (
        "0 candidates read, 2 skipped: structure cannot be parsed (2); "
        "line 1: SMILES cannot be parsed: CHEMBL545 (syntax)"
    )


def test_bad_structures_are_counted_with_place(write: Write) -> None:
    path = write("smiles,id\nCCO,good\nc1cc,broken\n,empty\n*C,wild\nCO,also good\n")
    report = ReadReport()
    found = read_candidates(path, report)
    assert found.id.tolist() == ["good", "also good"]
    assert report.n_read == 2
    assert [(s.line, s.record, s.reason) for s in report.skips] == [
        (3, "broken", Reason.BAD_STRUCTURE),
        (4, "empty", Reason.BAD_STRUCTURE),
        (5, "wild", Reason.BAD_STRUCTURE),
    ]
    with pytest.raises(InputError, match=r"candidates\.csv:3: broken: structure cannot be parsed"):
        read_candidates(path, ReadReport(strict=True))


def test_salt_is_noted_and_its_given_key_is_not_trusted(write: Write) -> None:
    salt = "A" * 14 + "-UHFFFAOYSA-N"
    report = ReadReport()
    found = read_candidates(write(f"smiles,inchikey\nCCO.Cl,{salt}\nCO,{salt}\n"), report)
    assert found.first_block.tolist() == [ETHANOL[:14], "A" * 14]
    assert found.inchikey.tolist() == [ETHANOL, salt]
    assert found.exact_mass[0] == pytest.approx(46.0418648, abs=1e-6)
    assert sum(report.notes.values()) == 1


def test_first_block_alone_is_completed_and_nonsense_replaced(write: Write) -> None:
    found = read_candidates(write(f"smiles,inchikey14\nCCO,{ETHANOL[:14]}\nCO,n/a\n"))
    assert found.first_block.tolist() == [ETHANOL[:14], parse_molecule("CO").first_block]
    assert found.inchikey.tolist() == [ETHANOL, parse_molecule("CO").inchikey]


@pytest.mark.parametrize(
    ("content", "name", "said"),
    [
        (b"", "c.csv", "the file is empty"),
        (b" \n\n", "c.csv", "the file is empty"),
        (b"\x89HDF\r\n\x1a\n\0\0\0\0", "c.csv", "not a text file"),
        (
            gzip.compress(b"smiles\n" + b"CCO\n" * 9999, mtime=0)[:60],
            "c.csv.gz",
            "damaged or cut off",
        ),
        (b"\x1f\x8bnot gzip at all", "c.csv.gz", "damaged or cut off"),
        (b"structure,mass\nCCO,46\n", "c.csv", "no column smiles or inchi among the columns str"),
        (b"BEGIN IONS\nTITLE=x\nEND IONS\n", "c.csv", "no column smiles or inchi"),
        (b"smiles\nCCO\n", "c.dat", "not known by its suffix"),
    ],
)
def test_unusable_files_are_one_line(write: Write, content: bytes, name: str, said: str) -> None:
    path = write(content, name)
    with pytest.raises(InputError) as caught:
        read_candidates(path)
    assert said in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def named_smiles(path: Path, report: ReadReport) -> list[tuple[str, str]]:
    return [(name, molecule.smiles) for name, molecule in read_molecules(path, report)]


def test_smi_files(write: Write) -> None:
    path = write("# made by hand\nCCO ethanol, absolute\nCO\tmethanol\n\nCOC\nc1cc bad\n", "x.smi")
    report = ReadReport()
    assert named_smiles(path, report) == [
        ("ethanol, absolute", "CCO"),
        ("methanol", "CO"),
        ("x.smi#5", "COC"),
    ]
    assert [(s.line, s.record) for s in report.skips] == [(6, "bad")]
    named = write("SMILES name\nCCO a\n", "y.smi")
    assert named_smiles(named, ReadReport()) == [("a", "CCO")]
    packed = write(gzip.compress(b"OCC a\n"), "z.smi.gz")
    (only,) = read_molecules(packed, ReadReport())
    assert only == ("a", parse_molecule("CCO"))


def test_structure_without_inchikey_is_skipped_and_counted(write: Write) -> None:
    path = write("CCO a\nc1ccccc1->C b\n", "x.smi")
    report = ReadReport()
    assert named_smiles(path, report) == [("a", "CCO")]
    assert (report.n_read, len(report.skips)) == (1, 1)


def test_a_row_that_ends_early_has_the_structure_of_another_column(write: Write) -> None:
    path = write("canonical_smiles,x,isomeric_smiles\nCO,1,C[2H]\nCCO\n", "x.csv")
    assert read_candidates(path).smiles.tolist() == ["C[2H]", "CCO"]


def test_a_divided_smiles_in_an_smi_file_is_skipped_and_counted(write: Write) -> None:
    report = ReadReport()
    text = "CC (C)O\nCCO (S)-x\nCCO (PCB) y\nCC =CO z\nCCO | COC\nCCO | x\nCCO CCCP\nCC(=O) OC\n"
    names = [name for name, _ in named_smiles(write(text, "x.smi"), report)]
    assert names == ["(S)-x", "(PCB) y", "| x", "CCCP"]
    assert [skip.line for skip in report.skips] == [1, 4, 5, 8]


def test_molecules_are_named_by_id_then_name_then_line(write: Write) -> None:
    path = write("smiles,id,name\nCCO,i,n\nCO,,n\nCOC,,\n")
    names = [name for name, _ in read_molecules(path, ReadReport())]
    assert names == ["i", "n", "candidates.csv#4"]


@pytest.mark.parametrize("suffix", ["csv", "tsv"])
def test_a_stray_quotation_mark_swallows_no_rows(write: Write, suffix: str) -> None:
    separator = "," if suffix == "csv" else "\t"
    rows = [
        ["smiles", "name", "id"],
        ["CCO", '"ethanol', "1"],
        ["CO", '5"-methanol', "2"],
        ["CCC", '"a quoted\nname, in ""two"" lines"', "3"],
        ["CCN", '"amine" of ethyl', "4"],
        *([f"C{'C' * n}Cl", "chloride", str(n)] for n in range(5, 80)),
    ]
    report = ReadReport()
    text = "\n".join(separator.join(row) for row in rows) + "\n"
    found = read_candidates(write(text, f"c.{suffix}"), report)
    assert len(found) == 79
    assert found.name[:2].tolist() == ['"ethanol', '5"-methanol']
    assert found.name[2].split() == ["a", "quoted", "name,", "in", '"two"', "lines"]
    assert found.id.tolist() == [str(n) for n in range(1, 80)]
    assert report.skips == []
    assert report.notes["stray quotation mark taken as a character"] == 2


@pytest.mark.parametrize("smiles", ["N/A", "-", "NA", "null", "c1cc", "CC(", "*CC"])
def test_an_inchi_stands_in_for_a_smiles_that_says_nothing(write: Write, smiles: str) -> None:
    inchi = "InChI=1S/C2H6O/c1-2-3/h3H,2H2,1H3"
    report = ReadReport()
    found = read_candidates(write(f'SMILES,InChI\n{smiles},"{inchi}"\n'), report)
    assert found.smiles.tolist() == ["CCO"]
    noted = {} if smiles in ("N/A", "-", "NA", "null") else {INCHI_INSTEAD: 1}
    assert report.notes == noted


@pytest.mark.parametrize(
    "cells",
    [
        '"InChI=1S/C2H6O/c1-2-3/h3H,2H2,1H3",',
        ',"1S/C2H6O/c1-2-3/h3H,2H2,1H3"',
        ',"InChI=InChI=1S/C2H6O/c1-2-3/h3H,2H2,1H3"',
        ",CCO",
        "CCO,LFQSCWFLJHTTHZ-UHFFFAOYSA-N",
    ],
)
def test_a_structure_is_told_by_its_shape(write: Write, cells: str) -> None:
    assert read_candidates(write(f"smiles,inchi\n{cells}\n")).smiles.tolist() == ["CCO"]


def test_extended_smiles_are_shown_without_their_tail(write: Write) -> None:
    rows = ["CCO |c:1|", "CCN ethylamine", "CC* |$;;R1$|", "CC[C@H](N)O |broken"]
    report = ReadReport()
    found = read_candidates(write("smiles\n" + "\n".join(rows) + "\n"), report)
    assert found.smiles.tolist() == ["CCO", "CCN", "CC[C@H](N)O"]
    assert [skip.reason for skip in report.skips] == [Reason.BAD_STRUCTURE]


def test_a_long_cell_and_other_column_names(write: Write) -> None:
    for name in ("canonical_smiles", "Canonical SMILES", "Smiles", "isomeric_smiles"):
        found = read_candidates(write(f"{name},synonyms\nCCO,{'x|' * 100_000}\nCO,y\n"))
        assert found.smiles.tolist() == ["CCO", "CO"]
    inchi = "InChI=1S/CH4O/c1-2/h2H,1H3"
    assert read_candidates(write(f'INCHI\n"{inchi}"\n')).smiles.tolist() == ["CO"]
    assert read_candidates(write(f'standard_inchi\n"{inchi}"\n')).smiles.tolist() == ["CO"]


@pytest.mark.parametrize("name", ["x.csv", "x.tsv", "x.txt"])
def test_a_file_of_control_characters_is_no_table(write: Write, name: str) -> None:
    with pytest.raises(InputError, match="no column smiles or inchi"):
        read_candidates(write("\x1f\n", name))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_utf_16(write: Write, encoding: str) -> None:
    text = "smiles,name\nCCO,Äthanol\n"
    mark = "" if encoding == "utf-16" else "\ufeff"
    assert read_candidates(write((mark + text).encode(encoding))).name.tolist() == ["Äthanol"]
    assert read_candidates(write(text.encode(encoding))).name.tolist() == ["Äthanol"]


def test_a_metal_that_is_taken_off_is_said(write: Write) -> None:
    report = ReadReport()
    copper = "[Cu+2].NCC(=O)[O-].NCC(=O)[O-]"
    read_candidates(write(f"smiles\n{copper}\nCC(=O)[O-].[Na+]\nCCO\n"), report)
    assert report.notes == {
        "metal taken off: Cu": 1,
        "largest organic component of several kept": 1,
    }


def test_control_characters_of_a_name_are_blanks(write: Write) -> None:
    found = read_candidates(write("smiles,name\nCCO,a\x07b\x1b[31mc\n"))
    assert found.name.tolist() == ["a b [31mc"]


@pytest.mark.parametrize("smiles", ["C" * 10_001, "C" * 1_001, "(" * 9_000, "[Na+]." * 1_500 + "C"])
def test_structures_that_are_too_large_are_skipped(write: Write, smiles: str) -> None:
    report = ReadReport()
    found = read_candidates(write(f"smiles\n{smiles}\nCCO\n"), report)
    assert found.smiles.tolist() == ["CCO"]
    assert [skip.reason for skip in report.skips] == [Reason.BAD_STRUCTURE]


def test_what_is_stored_must_parse_again(write: Write) -> None:
    """A neutralised cyclopentadienyl was read, and ended the run in the fragmenter."""
    report = ReadReport()
    found = read_candidates(write("smiles\nOCCN(CC1=CCC=C1)C[c-]1cccc1.[K+]\nCCO\n"), report)
    for smiles, molecule in zip(found.smiles, found.molecules, strict=True):
        assert Chem.MolFromSmiles(smiles) is not None
        assert Chem.MolFromSmiles(molecule.smiles) is not None
    assert len(found) + len(report.skips) == 2


@pytest.mark.parametrize(
    "header",
    [
        "CompoundName,CanonicalSMILES,Identifier",  # MetFrag
        "PREFERRED_NAME,MS_READY_SMILES,DTXSID",  # CompTox
        "cmpdname,isosmiles,cid",  # PubChem
        "Common Name,SMILES (Canonical),Compound ID",
        "name,structure_smiles,id",  # LOTUS
        "structure_nameTraditional,structure_smiles,structure_wikidata",  # LOTUS, frozen
        "compound_names,compound_smiles,npaid",  # NPAtlas
        "Title,SMILES,Database ID",  # MS-FINDER
        "name,smiles,pubchemids",  # SIRIUS
        "Compound_Name,Smiles,SpectrumID",  # GNPS
        "Name,SMILES,Norman_SusDat_ID",
        "Name,SMILES (pH7.3),Lipid ID",  # SwissLipids
        "name,smiles,candidate_id",  # our own results
        "Systematic Name,SMILES,LM_ID",  # LIPID MAPS
        "Compound,SMILES,ID",  # of a spreadsheet
        "Chemical Name,SMILES,ID",
        '"name","smiles","id"',
    ],
)
def test_columns_as_databases_call_them(write: Write, header: str) -> None:
    found = read_candidates(write(f"{header}\nethanol,CCO,17\n"))
    assert (found.smiles[0], found.name[0], found.id[0]) == ("CCO", "ethanol", "17")


def test_brackets_of_a_long_name_are_no_aside() -> None:
    """Those that nothing closes would be looked for to the end, as often as there are any."""
    assert column_meaning(f"SMILES ({'a' * 100})") == "smiles"
    assert column_meaning(f"SMILES ({'a' * 1000})") == ""
    assert column_meaning("x" + "(" * 1_000_000) == ""  # minutes, one by one


def test_keys_and_inchis_as_databases_call_them(write: Write) -> None:
    inchi = "InChI=1S/C2H6O/c1-2-3/h3H,2H2,1H3"
    found = read_candidates(write(f'StdInChI,StdInChIKey\n"{inchi}",{ETHANOL}\n'))
    assert found.molecules[0].given_key == ETHANOL


@pytest.mark.parametrize(
    "text",
    [
        "sep=;\nsmiles;name\nCCO;a\nCCN;b\n",  # Excel
        "# exported today\n\nsmiles,name\nCCO,a\nCCN,b\n",
        "#smiles\tname\nCCO\ta\nCCN\tb\n",
        '"smiles","name"\n"1","CCO","a"\n"2","CCN","b"\n',  # R's write.csv with row names
    ],
)
def test_what_stands_around_a_table(write: Write, text: str) -> None:
    report = ReadReport()
    found = read_candidates(write(text), report)
    assert found.smiles.tolist() == ["CCO", "CCN"]
    assert found.name.tolist() == ["a", "b"]
    assert report.skips == []


def test_a_cell_that_lacks_its_quotation_marks_is_no_other_structure(write: Write) -> None:
    """``vitamin B, C`` would make methane of the row, and the name its end."""
    report = ReadReport()
    found = read_candidates(write("name,smiles\nvitamin B, C,CCO\nok,CCN\nend,CCC,\n"), report)
    assert found.smiles.tolist() == ["CCN", "CCC"]
    assert [skip.line for skip in report.skips] == [2]
    assert "found 3 cells, wanted 2" in report.skips[0].detail


def test_cells_beyond_the_header_are_noted(write: Write) -> None:
    report = ReadReport()
    found = read_candidates(write("smiles,name\nCCO,a, b\n"), report)
    assert found.smiles.tolist() == ["CCO"]
    assert report.notes == {"row with more cells than the header has": 1}


def test_two_stray_quotation_marks_swallow_no_rows(write: Write) -> None:
    report = ReadReport()
    found = read_candidates(write('name,smiles\n"a,CCO\nb,CCN\nc",CCC\nd,CCCC\n'), report)
    assert found.smiles.tolist() == ["CCO", "CCN", "CCC", "CCCC"]
    assert report.notes


@pytest.mark.parametrize("text", ["n.a.", "#N/A", "\\N", "(none)", "No structure", "0", "missing"])
def test_more_words_for_no_structure(write: Write, text: str) -> None:
    report = ReadReport()
    inchi = "InChI=1S/C2H6O/c1-2-3/h3H,2H2,1H3"
    found = read_candidates(write(f'smiles,inchi\n{text},"{inchi}"\n'), report)
    assert found.smiles.tolist() == ["CCO"]
    assert not report.notes


def test_names_behind_extended_smiles_in_smi_files(write: Write) -> None:
    found = read_candidates(write("CCO |$;;$| ethanol\nC[C@H](N)O |&1:1|\tx y\n", "x.smi"))
    assert found.name.tolist() == ["ethanol", "x y"]


def test_a_workbook_is_told(write: Write) -> None:
    with pytest.raises(InputError, match="an Excel workbook or zip archive"):
        read_candidates(write(b"PK\x03\x04" + b"\0" * 100))


def test_an_accession_comes_before_a_number_of_its_own(write: Write) -> None:
    found = read_candidates(write("compound_id,npaid,smiles\n7,NPA1,CCO\n"))
    assert found.id.tolist() == ["NPA1"]


@pytest.mark.parametrize("mark", ["|", ";"])
def test_a_column_s_name_may_hold_other_separators(write: Write, mark: str) -> None:
    found = read_candidates(write(f"smiles,{mark.join('abcdef')}\nCCO,x\n"))
    assert found.smiles.tolist() == ["CCO"]


def test_the_one_column_that_speaks_of_smiles_is_taken_and_noted(write: Write) -> None:
    report = ReadReport()
    found = read_candidates(write("RDKit_SMILES,x\nCCO,CCN\n"), report)
    assert found.smiles.tolist() == ["CCO"]
    assert report.notes == {"column rdkit_smiles taken for smiles": 1}
    with pytest.raises(InputError, match="no column smiles or inchi among"):
        read_candidates(write("product_smiles,reactant_smiles\nCCO,CCN\n"))


@pytest.mark.parametrize("name", ["list.txt", "list.csv", "list.tsv"])
@pytest.mark.parametrize(
    "text",
    ["CCO\n\nCCN amine\n", "InChI=1S/C2H6O/c1-2-3/h3H,2H2,1H3\nInChI=1S/C2H7N/c1-2-3/h2-3H2,1H3"],
)
def test_a_list_without_names_of_columns(write: Write, name: str, text: str) -> None:
    report = ReadReport()
    found = read_candidates(write(text, name), report)
    assert [molecule.smiles for molecule in found.molecules] == ["CCO", "CCN"]
    assert report.notes == {NO_HEADER: 1}


@pytest.mark.parametrize(
    "text",
    [
        "CCCCCO,a\nCCN,b\n",
        "a\tCCCCCO\nb\tCCN\n",
        "a;AQIXEPGDORPWBJ-UHFFFAOYSA-N;CCCCCO\nb;QUSNBJAOOMFDIB-UHFFFAOYSA-N;CCN\n",
        '"InChI=1S/C5H12O/c1-2-3-4-5-6/h6H,2-5H2,1H3",a\n"InChI=1S/C2H7N/c1-2-3/h2-3H2,1H3",b\n',
    ],
)
def test_columns_without_names_that_can_be_one_thing_only(write: Write, text: str) -> None:
    report = ReadReport()
    found = read_candidates(write(f"# a comment\n{text}"), report)
    assert [molecule.smiles for molecule in found.molecules] == ["CCCCCO", "CCN"]
    assert found.name.tolist() == ["a", "b"]
    assert report.notes == {NO_NAMES: 1}


@pytest.mark.parametrize(
    "text",
    [
        "1,CCCCCO,a\n2,CCN,b\n",  # which is the name?
        "CCCCCO,88.09\nCCN,45.06\n",  # a mass, or an activity
        "CCCCCO,CCCCCN\nCCN,CCO\n",  # which is the structure?
        "a,CCCCCO\na,CCN\n",  # a query that has two candidates?
        "CCCCCO,\nCCN,\n",
        "CCCCCO,a\nCCN\n",
    ],
)
def test_columns_without_names_that_are_not_certain_are_refused(write: Write, text: str) -> None:
    with pytest.raises(InputError, match="first line is a structure; wanted names of columns"):
        read_candidates(write(text))


def test_a_table_without_names_of_columns_is_told(write: Write) -> None:
    for text in ("1,CCCCCO,a\n2,CCN,b\n", "1\ta\tCCCCCO\n2\tb\tCCN\n"):
        with pytest.raises(InputError, match="first line is a structure; wanted names of columns"):
            read_candidates(write(text))


def test_a_drawing_is_known_whatever_the_file_is_called(write: Write) -> None:
    """What comes by a pipe has no suffix, and a single drawing is a MOL file."""
    drawing = Chem.MolToMolBlock(Chem.MolFromSmiles("CCO"))
    for name in ("stdin.csv", "x.txt", "x.mol"):
        assert read_candidates(write(f"a{drawing}", name)).id.tolist() == ["a"]


@pytest.mark.parametrize(
    ("name", "said"),
    [("a.xlsx", "workbook: save"), ("a.csv.zip", "archive: unpack"), ("a.json", "write a CSV")],
)
def test_files_that_are_no_text_say_what_to_do(write: Write, name: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        read_candidates(write("x", name))


@pytest.mark.parametrize(
    ("text", "smiles"),
    [
        ("\u200bCCO", "CCO"),
        ("C\u00adCO", "CCO"),
        ("\u201cCCO\u201d", "CCO"),
        ("\u2018CCO\u2019", "CCO"),
        ("CC[O\u2212].[Na+]", "CC[O-].[Na+]"),
        ("CCO\u00a0x", "CCO"),
    ],
)
def test_what_word_processors_make_of_a_smiles(write: Write, text: str, smiles: str) -> None:
    """The table of results has the SMILES without it, for other programs to read."""
    found = read_candidates(write(f"smiles,name\n{text},a\n"))
    assert found.smiles.tolist() == [smiles]
    assert found.molecules[0].smiles == "CCO"


def test_a_column_of_keys_that_was_moved_is_not_trusted(write: Write) -> None:
    """As where a spreadsheet sorted it without the others; a single wrong key is taken as it is."""
    smiles = [f"{'C' * n}O" for n in range(2, 12)]
    keys = [parse_molecule(text).inchikey for text in smiles]

    def read(keys: list[str]) -> tuple[CandidateSet, ReadReport]:
        report = ReadReport()
        rows = "".join(f"{text},{key}\n" for text, key in zip(smiles, keys, strict=True))
        return read_candidates(write(f"smiles,inchikey\n{rows}"), report), report

    found, report = read([*keys[1:], keys[0]])
    assert found.inchikey.tolist() == keys
    assert report.notes == {KEY_OF_ANOTHER: 10}
    assert all(KEY_OF_ANOTHER in molecule.notes for molecule in found.molecules)
    # Two that were exchanged, and fewer than half.
    for given in (keys, [keys[1], keys[0], *keys[2:]], [*keys[1:5], keys[0], *keys[5:]]):
        found, report = read(given)
        assert found.inchikey.tolist() == given
        assert not report.notes


@pytest.mark.parametrize("columns", ["inchi,name", "name,inchi", "name,inchi,smiles", "inchi"])
def test_an_inchi_without_quotation_marks_is_joined(write: Write, columns: str) -> None:
    values = {"inchi": "InChI=1S/C2H6O/c1-2-3/h3H,2H2,1H3", "name": "ethanol", "smiles": "CCO"}
    row = ",".join(values[name] for name in columns.split(","))
    report = ReadReport()
    found = read_candidates(write(f"{columns}\n{row}\n"), report)
    assert found.molecules[0].smiles == "CCO"
    assert found.name[0] == ("ethanol" if "name" in columns else "")
    assert report.notes == {INCHI_JOINED: 1}
    assert not report.skips


def test_several_inchi_of_a_row_are_joined(write: Write) -> None:
    inchi = "InChI=1S/C2H6O/c1-2-3/h3H,2H2,1H3"
    text = f"id,inchi,name,standard_inchi,mass\n1,{inchi},ethanol,{inchi},46\n"
    found = read_candidates(write(text))
    assert (found.id.tolist(), found.name.tolist()) == (["1"], ["ethanol"])


def test_numbers_before_an_inchi_are_a_column_with_a_name(write: Write) -> None:
    rows = "".join(f"{n},InChI=1S/CH4O/c1-2/h2H,1H3\n" for n in (1, 2))
    found = read_candidates(write(f"id,inchi\n{rows}"))
    assert found.id.tolist() == ["1", "2"]


def test_an_inchi_beside_another_cell_of_too_many_is_not_joined(write: Write) -> None:
    report = ReadReport()
    row = "ethanol,InChI=1S/C2H6O/c1-2-3/h3H,2H2,1H3,alcohol, spirit"
    found = read_candidates(write(f"name,inchi,class\n{row}\nx,CCN,\n"), report)
    assert [molecule.smiles for molecule in found.molecules] == ["CCN"]
    assert "quotation marks are missing around a cell" in report.skips[0].detail


def test_two_keys_of_one_structure_are_not_trusted(write: Write) -> None:
    """They made two candidates of it, which share its probability."""
    other = f"{'A' * 14}-UHFFFAOYSA-N"
    report = ReadReport()
    found = read_candidates(
        write(f"smiles,inchikey\nCCO,{ETHANOL}\nOCC,{other}\nCCN,{'B' * 14}\n"), report
    )
    assert found.first_block.tolist() == [ETHANOL[:14], ETHANOL[:14], "B" * 14]
    assert report.notes == {KEYS_THAT_DIFFER: 2}
    assert len(found.deduplicate()) == 2


def test_the_title_of_a_drawing_has_no_control_characters(write: Write) -> None:
    drawing = Chem.MolToMolBlock(Chem.MolFromSmiles("CCO"))
    found = read_candidates(write(f"a\tb{drawing}$$$$\n", "x.sdf"))
    assert found.id.tolist() == ["a b"]


def test_an_sd_file_without_the_end_of_a_record(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sd_files, "LONGEST_RECORD", 20)
    drawing = Chem.MolToMolBlock(Chem.MolFromSmiles("CCO"))
    with pytest.raises(InputError, match=r"x\.sdf:1: found more than 20 lines without the end"):
        read_candidates(write(drawing + "> <note>\n" + "text\n" * 20, "x.sdf"))


def test_columns_that_blanks_divide(write: Write) -> None:
    report = ReadReport()
    found = read_candidates(write("SMILES  Name\nCCO  ethyl alcohol\n", "x.txt"), report)
    assert (found.smiles.tolist(), found.name.tolist()) == (["CCO"], ["ethyl alcohol"])
    assert not report.notes


@pytest.mark.parametrize("text", ['[{"smiles": "CCO"}]', "<td>smiles</td>", '"a,smiles"'])
def test_what_is_no_name_of_a_column_is_not_taken_for_one(write: Write, text: str) -> None:
    with pytest.raises(InputError, match="no column smiles or inchi among"):
        read_candidates(write(f"{text}\nCCO\n"))


@pytest.mark.parametrize(
    "header", ["smiles query_id", "smiles inchikey", "name smiles", "query_id scan smiles"]
)
def test_columns_that_blanks_divide_and_no_list_has_are_refused(write: Write, header: str) -> None:
    """What names a query would else be the name of a candidate of all queries."""
    with pytest.raises(InputError, match="blanks between the names of columns"):
        read_candidates(write(f"{header}\nCCO q1\n", "x.txt"))


def test_the_name_of_a_column_is_no_structure_beside_one_of_smiles(write: Write) -> None:
    report = ReadReport()
    found = list(read_cells(write("NO SMILES\n1 CCO\n", "x.txt"), report))
    assert [line for line, _ in found] == [2]
    assert NO_HEADER not in report.notes


@pytest.mark.parametrize("header", ["", "smiles name\n"])
def test_a_comment_before_a_list(write: Write, header: str) -> None:
    text = f"# of the laboratory\n\n{header}CCO ethanol\nCCC propane\n"
    found = list(read_cells(write(text, "x.txt"), ReadReport()))
    n_before = 2 + bool(header)
    assert [line for line, _ in found] == [n_before + 1, n_before + 2]
    assert [cells.name for _, cells in found] == ["ethanol", "propane"]


def test_an_inchi_with_further_cells_and_no_names_of_columns(write: Write) -> None:
    with pytest.raises(InputError, match="its first line is a structure; wanted names of columns"):
        read_candidates(write("InChI=1S/CH4O/c1-2/h2H,1H3,methanol\n"))


@pytest.mark.parametrize(
    ("before", "mark", "inchi"),
    [
        ("# made by a program\n", ";", "InChI=1S/C2H4O2.Na/c1-2(3)4;/h1H3,(H,3,4);/q;+1/p-1"),
        ("", ",", "'InChI=1S/C2H6O/c1-2-3/h3H,2H2,1H3'"),
    ],
)
def test_an_inchi_is_joined_by_the_mark_of_its_own_table(
    write: Write, before: str, mark: str, inchi: str
) -> None:
    report = ReadReport()
    found = read_candidates(write(f"{before}id{mark}inchi\n1{mark}{inchi}\n"), report)
    assert (found.id.tolist(), report.notes[INCHI_JOINED]) == (["1"], 1)


TITLE = "Our compounds;;\nexported 2024;;\n\n"


def test_lines_above_the_names_of_columns_are_left_out_and_counted(tmp_path: Path) -> None:
    """A spreadsheet's title made its table one without a structure."""
    path, report = tmp_path / "x.csv", ReadReport()
    path.write_text(f"{TITLE}Name;SMILES;Mass\nethanol;CCO;46,04\n;C1CC;1\n", encoding="utf-8")
    found = read_candidates(path, report)
    assert (found.smiles.tolist(), found.name.tolist()) == (["CCO"], ["ethanol"])
    assert report.notes["line above the names of columns left out"] == 2
    assert [skip.line for skip in report.skips] == [6]
    # Names of groups of columns, of which one is known as the name of a column.
    path.write_text("Compound,,Measured\nname,SMILES,m/z\nethanol,CCO,47.05\n", encoding="utf-8")
    found = read_candidates(path)
    assert (found.smiles.tolist(), found.name.tolist()) == (["CCO"], ["ethanol"])
    path.write_text("name,rdkit_smiles\nethanol,CCO\nsmiles,CCC\n", encoding="utf-8")
    assert read_candidates(path).name.tolist() == ["ethanol", "smiles"]
    path.write_text("Answers,,\nQuery ID,InChIKey,\nq1,RYYVLZVUVIJVGH,\n", encoding="utf-8")
    assert read_truth(path) == {"q1": "RYYVLZVUVIJVGH"}
    path.write_text("Known\n\nName;InChIKey\ncaffeine;RYYVLZVUVIJVGH\n", encoding="utf-8")
    assert read_excluded([path]) == {"RYYVLZVUVIJVGH"}


def test_a_second_column_of_the_same_name_counts_where_the_first_is_empty(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("name,smiles,name,smiles\na,CCO,b,\n,,c,CC\n", encoding="utf-8")
    found = read_candidates(path)
    assert (found.name.tolist(), found.smiles.tolist()) == (["a", "c"], ["CCO", "CC"])


def test_whole_lines_in_quotation_marks_are_named(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text('"smiles,name"\n"CCO,ethanol"\n', encoding="utf-8")
    with pytest.raises(InputError, match=r'quotation marks around whole lines \("smiles,name"\)'):
        read_candidates(path)


def test_what_stands_in_a_row_makes_no_names_of_columns(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("smiles,name\nCCO,ethanol\nC,smiles\nCC,inchi\n", encoding="utf-8")
    assert read_candidates(path).smiles.tolist() == ["CCO", "C", "CC"]
    path.write_text("compound,structure\n" + "a,CCO\n" * 12 + "name,smiles\n", encoding="utf-8")
    with pytest.raises(InputError, match="no column smiles or inchi among the columns compound"):
        read_candidates(path)


def test_two_keys_of_one_structure_are_found_by_digests(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        (smiles, parse_molecule(smiles).first_block) for smiles in ("CCO", "CCN", "COC", "CC(O)=N")
    ]
    rows[1:1] = [("OCC", "A" * 14), ("NC(C)=O", "B" * 14)]
    cells = [Cells(smiles, "", block) for smiles, block in rows]
    found = []
    for is_quick in (False, True):
        monkeypatch.setattr(structures, "is_quick", lambda _, is_quick=is_quick: is_quick)
        molecules = with_own_keys(parse_rows(cells, "formula"))
        found.append([one.notes for one in molecules if isinstance(one, Molecule)])
    assert (
        found[0]
        == found[1]
        == [
            *[(KEYS_THAT_DIFFER,)] * 3,
            *[(), ()],
            (KEYS_THAT_DIFFER,),
        ]
    )
    assert isinstance(molecules[3], Molecule)
    assert not molecules[3].knows_smiles


def _drawing(*properties: str) -> str:
    atoms = "".join(f"    {x}.0000    0.0000    0.0000 {s}   0  0\n" for x, s in enumerate("CCO"))
    lines = ("  1  2  1", "  2  3  1", *properties, "M  END")
    counts = "  3  2  0  0  0  0  0  0  0  0999 V2000"
    return f"a\n\n\n{counts}\n{atoms}" + "".join(f"{line}\n" for line in lines)


@pytest.mark.parametrize(
    ("properties", "message"),
    [
        (("M  STY  2   1 DAT   2 SRU", "M  SAL   2  1   2", "M  SMT   2 n"), "a repeating unit"),
        (("M  LIN  1   2   3   1   3",), "a repeating unit or link"),
        (("M  APO  1   1   1",), "an open end"),
        (("A    1", "R2"), "labels an atom as a residue: R2"),
    ],
)
def test_a_drawing_that_leaves_atoms_open_is_skipped(
    write: Write, properties: tuple[str, ...], message: str
) -> None:
    report = ReadReport()
    text = f"{_drawing(*properties)}> <SMILES>\nCCO\n\n$$$$\n{_drawing()}$$$$\n"
    assert len(read_candidates(write(text, "x.sdf"), report)) == 1
    (skip,) = report.skips
    assert skip.line == 1
    assert message in skip.detail


@pytest.mark.parametrize(
    ("atom", "further", "n_read"),
    [("O", "", 1), ("O ATTCHPT=1", "", 0), ("O", "M  V30 LINKNODE=1 3 2 2 1 2 3\n", 0)],
)
def test_open_ends_and_links_of_the_later_format(
    write: Write, atom: str, further: str, n_read: int
) -> None:
    symbol, _, traits = atom.partition(" ")
    atoms = f"M  V30 1 C 0 0 0 0\nM  V30 2 C 1 0 0 0\nM  V30 3 {symbol} 2 0 0 0 {traits}\n"
    text = (
        "a\n\n\n  0  0  0     0  0            999 V3000\nM  V30 BEGIN CTAB\n"
        f"M  V30 COUNTS 3 2 0 0 0\nM  V30 BEGIN ATOM\n{atoms}M  V30 END ATOM\n"
        "M  V30 BEGIN BOND\nM  V30 1 1 1 2\nM  V30 2 1 2 3\nM  V30 END BOND\n"
        f"{further}M  V30 END CTAB\nM  END\n$$$$\n"
    )
    report = ReadReport()
    read = read_candidates(write(f"{text}{_drawing()}$$$$\n", "x.sdf"), report)
    assert (len(read), len(report.skips)) == (1 + n_read, 1 - n_read)


def test_groups_that_are_drawn_whole_are_read(write: Write) -> None:
    groups = ("M  STY  2   1 MUL   2 SUP", "M  SMT   1 3", "A    1", "H3C")
    found = read_candidates(write(f"{_drawing(*groups)}$$$$\n", "x.sdf"))
    assert found.smiles.tolist() == ["CCO"]


@pytest.mark.parametrize("label", [("A    1", "Ph"), ("G    1   2", "Boc")])
def test_groups_that_a_drawing_only_names(write: Write, label: tuple[str, str]) -> None:
    """An atom was taken for the group, and the mass was wrong."""
    report = ReadReport()
    text = f"{_drawing(*label)}$$$$\n{_drawing(*label)}> <SMILES>\nc1ccccc1CO\n\n$$$$\n"
    found = read_candidates(write(text, "x.sdf"), report)
    assert found.smiles.tolist() == ["c1ccccc1CO"]
    (skip,) = report.skips
    assert skip.detail == f"the drawing labels an atom as a group that is not drawn: {label[1]}"


def test_an_smi_file_keeps_what_leaves_atoms_open(write: Write) -> None:
    report = ReadReport()
    text = "OCCO |Sg:n:1,2:n:ht| PEG\nCCO |&1:1| a\nCCO |^1:0| b\n"
    found = read_candidates(write(text, "x.smi"), report)
    assert found.name.tolist() == ["a", "b"]
    assert found.smiles.tolist() == ["CCO", "[CH2]CO"]
    assert "atoms are not all known" in report.skips[0].detail


@pytest.mark.parametrize(
    ("drawn", "changed", "message"),
    [
        ("  1  2  1", "  1  2  4", "SMILES holds a bond of no order: C:CO"),
        ("  2  3  1", "  2  3  3", "the drawing cannot be read (Explicit valence for atom # 2 O"),
        ("  3  2  0", "  4  2  0", "the drawing cannot be read (its counts, atoms or bonds)"),
    ],
)
def test_why_a_drawing_cannot_be_read(write: Write, drawn: str, changed: str, message: str) -> None:
    report = ReadReport()
    text = f"{_drawing().replace(drawn, changed)}$$$$\n{_drawing()}$$$$\n"
    assert len(read_candidates(write(text, "x.sdf"), report)) == 1
    assert report.skips[0].detail.startswith(message)


def test_a_record_without_atoms(write: Write) -> None:
    report = ReadReport()
    empty = "a\n\n\n  0  0  0  0  0  0  0  0  0  0999 V2000\nM  END\n$$$$\n"
    assert len(read_candidates(write(f"{empty}{_drawing()}$$$$\n", "x.sdf"), report)) == 1
    assert report.skips[0].detail == "the drawing has no atoms"


@pytest.mark.parametrize("header", ["smiles,name", "name,smiles"])
def test_an_extension_of_a_smiles_is_one_cell(write: Write, header: str) -> None:
    """Without quotation marks its commas made several, and a polymer was read as its unit."""
    rows = (("OCCO |Sg:n:1,2:n:ht|", "peg"), ("C[C@H](O)N |&1:1,2,r|", "a"), ("CCO", "b|c"))
    lines = [",".join(row if header.startswith("smiles") else row[::-1]) for row in rows]
    report = ReadReport()
    found = read_candidates(write("\n".join([header, *lines, ""])), report)
    assert found.name.tolist() == ["a", "b|c"]
    assert [(skip.line, skip.record) for skip in report.skips] == [(2, "peg")]
    assert not report.notes


@pytest.mark.parametrize(
    ("header", "n_lines"),
    [
        ('smiles,"Exact\nmass",query_id', 2),
        ('smiles;"Exact\r\nmass";"query\nid"', 3),
        ('"SMILES\n(canonical)",mass,query_id', 2),
        ('A list\n"Canonical\nSMILES"\tmass\tquery_id', 3),
    ],
)
def test_names_of_columns_on_several_lines(write: Write, header: str, n_lines: int) -> None:
    """Columns behind them were not known, so that rows became candidates of any query."""
    (mark,) = set(header) & set(",;\t")
    report = ReadReport()
    row = mark.join(("CCO", "46.04", "q1"))
    (found,) = read_rows(write(f"{header}\n{row}\n"), report)
    assert (found.smiles, found.query_id, found.line) == ("CCO", "q1", n_lines + 1)


@pytest.mark.parametrize("header", ['smiles,"name', 'smiles,5" name'])
def test_a_stray_mark_among_the_names_of_columns_swallows_no_row(write: Write, header: str) -> None:
    found = read_candidates(write(f'{header}\nCCO,x"\nCCN,y\n'))
    assert found.smiles.tolist() == ["CCO", "CCN"]


@pytest.mark.parametrize(
    ("header", "cells", "named"),
    [
        # CompTox' identifiers of a row are its synonyms.
        ("DTXSID,PREFERRED_NAME,SMILES,IDENTIFIER", "D1,ethanol,CCO,x|y", ("D1", "ethanol")),
        (
            "database_identifier,smiles,metabolite_identification",  # MetaboLights
            "CHEBI:1,CCO,ethanol",
            ("CHEBI:1", "ethanol"),
        ),
        ("refmet_name,smiles,Identifier", "ethanol,CCO,7", ("7", "ethanol")),
    ],
)
def test_names_and_identifiers_of_databases(
    write: Write, header: str, cells: str, named: tuple[str, str]
) -> None:
    found = read_candidates(write(f"{header}\n{cells}\n"))
    assert (*found.id, *found.name) == named


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("smiles,name\nCCO,a\nSMILES,Name\nCCN,b\n", [(2, "CCO", "a", ""), (4, "CCN", "b", "")]),
        ("smiles,name\nCCO,a\n\nname,smiles\nb,CCN\n", [(2, "CCO", "a", ""), (5, "CCN", "b", "")]),
        (
            (
                "smiles;name;query_id\nCCO;a;q\nsmiles;query_id;name\nCCN;r;b\n"
                "smiles;name;query_id\nCCC;c;s\n"
            ),
            [(2, "CCO", "a", "q"), (4, "CCN", "b", "r"), (6, "CCC", "c", "s")],
        ),
        ("name,smiles\nname,CCO\nsmiles,CCN\n", [(2, "CCO", "name", ""), (3, "CCN", "smiles", "")]),
    ],
)
def test_names_of_columns_in_a_later_row(
    write: Write, text: str, found: list[tuple[int, str, str, str]]
) -> None:
    """As where tables were joined; cells of another order became other columns'."""
    report = ReadReport()
    rows = read_rows(write(text), report)
    assert [(row.line, row.smiles, row.name, row.query_id) for row in rows] == found
    assert not report.skips
    assert report.notes[NAMES_AGAIN] == text.lower().count("smiles") - (
        1 + text.count("smiles,CCN")
    )


def test_columns_of_one_name_in_another_order_keep_each_structure(write: Write) -> None:
    report = ReadReport()
    text = "smiles,name,smiles\nCCO,a,COC\nname,smiles,smiles\nb,CCN,CNC\n"
    found = [(row.line, row.smiles, row.name) for row in read_rows(write(text), report)]
    assert found == [(2, "CCO", "a"), (2, "COC", "a"), (4, "CCN", "b"), (4, "CNC", "b")]


def test_truths_of_joined_tables(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(
        "query_id,inchikey14\na,LFQSCWFLJHTTHZ\ninchikey14,query_id\nQUSNBJAOOMFDIB,b\n"
    )
    assert read_truth(path) == {"a": "LFQSCWFLJHTTHZ", "b": "QUSNBJAOOMFDIB"}
    assert len(read_excluded([path])) == 2
