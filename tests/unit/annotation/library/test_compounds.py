from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from specvae.annotation.library.compounds import (
    ANSWERS_AS_TRUTHS,
    DECOY_TRUTH,
    KEY_BEFORE_STRUCTURE,
    SALT_KEY,
    SMILES_BEFORE_INCHI,
    SUGGESTED_TRUTH,
    read_excluded,
    read_truth,
    unread_exclusions,
)
from specvae.annotation.library.pairs import FITTING_COMPONENT
from specvae.errors import InputError
from specvae.molecules.text_tables import INCHI_JOINED
from specvae.report import ReadReport

CAFFEINE = "RYYVLZVUVIJVGH"
ASPIRIN = "BSYNRYMUTXBXSQ"
ETHANOL = "LFQSCWFLJHTTHZ"
KEY = f"{CAFFEINE}-UHFFFAOYSA-N"


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("keys.csv", f"query_id,inchikey14\nq1,{CAFFEINE}\nq2,{ASPIRIN}\n"),
        ("full.tsv", f"InChIKey\tname\n{CAFFEINE}-UHFFFAOYSA-N\tx\n{ASPIRIN}-UHFFFAOYSA-N\ty\n"),
        ("smiles.csv", "id,SMILES\n1,Cn1cnc2c1c(=O)n(C)c(=O)n2C\n2,CC(=O)Oc1ccccc1C(=O)O\n"),
        ("list.txt", f"{CAFFEINE}\n\n{ASPIRIN}-UHFFFAOYSA-N\n"),
        ("smiles.txt", "Cn1cnc2c1c(=O)n(C)c(=O)n2C caffeine\nCC(=O)Oc1ccccc1C(=O)O aspirin\n"),
        (
            "spectra.mgf",
            (
                "BEGIN IONS\nTITLE=a\nPEPMASS=195.0877\nCHARGE=1+\n"
                "SMILES=Cn1cnc2c1c(=O)n(C)c(=O)n2C\n138.066 10\nEND IONS\n"
                f"BEGIN IONS\nTITLE=b\nPEPMASS=181.05\nINCHIKEY={ASPIRIN}-UHFFFAOYSA-N\n"
                "121.03 5\nEND IONS\n"
            ),
        ),
        (
            "headed.smi",
            "canonical_smiles name\nCn1cnc2c1c(=O)n(C)c(=O)n2C a\nCC(=O)Oc1ccccc1C(=O)O b\n",
        ),
        (
            "drawings.sdf",
            "".join(
                f"x\n\n\n  0  0  0  0  0  0  0  0  0  0999 V2000\nM  END\n> <SMILES>\n{s}\n\n$$$$\n"
                for s in ("Cn1cnc2c1c(=O)n(C)c(=O)n2C", "CC(=O)Oc1ccccc1C(=O)O")
            ),
        ),
    ],
)
def test_every_kind_of_exclusion_file(tmp_path: Path, name: str, text: str) -> None:
    assert read_excluded([written(tmp_path / name, text)]) == {CAFFEINE, ASPIRIN}


def test_exclusion_files_add_up_and_may_be_compressed(tmp_path: Path) -> None:
    path = tmp_path / "more.csv.gz"
    path.write_bytes(gzip.compress(f"inchikey14\n{ETHANOL}\n".encode()))
    first = written(tmp_path / "first.txt", f"{CAFFEINE}\n")
    assert read_excluded([first, path]) == {CAFFEINE, ETHANOL}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("empty.csv", "", "the file is empty"),
        ("header.csv", "inchikey14\n", "no compound found"),
        ("other.csv", "compound\ncaffeine\n", "wanted one of inchikey14"),
        ("bad.txt", f"{CAFFEINE}\nnot a compound\n", r"bad\.txt:2"),
        ("hole.csv", f"query_id,inchikey14\nq1,{CAFFEINE}\nq2,\n", r"hole\.csv:3"),
        ("hole.sdf", "x\n\n\nM  END\n$$$$\n", r"hole\.sdf:1"),
    ],
)
def test_exclusion_that_would_miss_a_compound_is_an_error(
    tmp_path: Path, name: str, text: str, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        read_excluded([written(tmp_path / name, text)])


def test_a_chain_is_no_key(tmp_path: Path) -> None:
    # Fourteen capital letters, as a first block has: tridecylamine and tetradecane.
    amine, alkane = "ABVVEAHYODGCLZ", "BGHCVCJVXZWKCC"
    texts = {
        "a.csv": "smiles\nCCCCCCCCCCCCCN\nCCCCCCCCCCCCCC\n",
        "a.txt": "CCCCCCCCCCCCCN\nCCCCCCCCCCCCCC tetradecane\n",
    }
    for name, text in texts.items():
        assert read_excluded([written(tmp_path / name, text)]) == {amine, alkane}


def test_damaged_compression_and_endless_cells_are_one_line(tmp_path: Path) -> None:
    data = bytearray(gzip.compress(f"inchikey14\n{CAFFEINE}\n".encode() * 500))
    data[12:60] = bytes(48)
    (tmp_path / "x.csv.gz").write_bytes(bytes(data))
    with pytest.raises(InputError, match=r"x\.csv\.gz: the compressed file is damaged"):
        read_excluded([tmp_path / "x.csv.gz"])
    endless = written(tmp_path / "x.csv", f'inchikey14\n{CAFFEINE}\n"{"x" * 200_000}\n')
    with pytest.raises(InputError, match=r"x\.csv:3: SMILES of 200,000 characters, at most 10,000"):
        read_excluded([endless])


def test_truth(tmp_path: Path) -> None:
    path = written(tmp_path / "t.csv", f"query_id,smiles,inchikey14\na,CCO,\nb,,{CAFFEINE}\n")
    assert read_truth(path) == {"a": ETHANOL, "b": CAFFEINE}
    # The same compound in both columns.
    both = written(tmp_path / "b.csv", f"query_id,inchikey,inchikey14\na,{KEY},{CAFFEINE}\n")
    assert read_truth(both) == {"a": CAFFEINE}
    assert read_excluded([both]) == {CAFFEINE}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"inchikey14\n{CAFFEINE}\n", "wanted query_id"),
        ("query_id,inchikey14\n", "no truth found"),
        (f"query_id,inchikey14\na,{CAFFEINE}\na,{ASPIRIN}\n", "two truths"),
        (f"query_id,inchikey14\na,{CAFFEINE}; {ASPIRIN}\n", "two truths"),
        (f"query_id,inchikey\na,{KEY};{ASPIRIN}-UHFFFAOYSA-N\n", "two truths"),
        (f"query_id,inchikey,inchikey14\na,{KEY},{ASPIRIN}\n", "two truths"),
        (f"query_id,inchikey14\n,{CAFFEINE}\n", "empty query_id"),
        ("query_id,smiles\na,C1CC\n", r"t\.csv:2"),
    ],
)
def test_unusable_truth_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read_truth(written(tmp_path / "t.csv", text))
    assert "\n" not in str(caught.value)


def test_binary_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(bytes(range(256)))
    with pytest.raises(InputError, match=r"x\.csv: not a text file; CSV, TSV or SMI is wanted"):
        read_excluded([path])
    with pytest.raises(InputError, match="no such file"):
        read_truth(tmp_path / "absent.csv")


def test_spectra_of_every_ms_level_name_excluded_compounds(tmp_path: Path) -> None:
    text = (
        f"BEGIN IONS\nMSLEVEL=1\nINCHIKEY={CAFFEINE}-UHFFFAOYSA-N\n138.066 10\nEND IONS\n"
        f"BEGIN IONS\nMSLEVEL=2\nINCHIAUX={ASPIRIN}-UHFFFAOYSA-N\n121.03 5\nEND IONS\n"
    )
    assert read_excluded([written(tmp_path / "x.mgf", text)]) == {CAFFEINE, ASPIRIN}


SMILES = "Cn1cnc2c1c(=O)n(C)c(=O)n2C"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", f"Standard InChIKey\nInChIKey={KEY}\n"),
        ("a.csv", f"StdInChIKey,name\n{KEY.lower()},x\n"),
        ("a.csv", f"CanonicalSMILES\n{SMILES}\n"),
        ("a.csv", f"inchikey,smiles\nN/A,{SMILES}\n"),
        ("a.csv", f"inchikey14,inchikey\n,{KEY}\n"),
        ("a.txt", f"InChIKey\n# those of the contest\nInChIKey={KEY}\n"),
        ("a.txt", f"{CAFFEINE} caffeine\n"),
        ("a.smi", f"{SMILES} caffeine\n"),
        ("a.mgf", f"BEGIN IONS\nPEPMASS=195.08\nINCHIAUX=InChIKey={KEY}\n50 1\nEND IONS\n"),
        ("a.msp", f"Name: x\nInChIKey_smiles: {KEY}\nNum Peaks: 1\n50 1\n"),
        ("a.mat", f"NAME: x\nINCHIKEY: {KEY}\nMSTYPE: MS1\nNum Peaks: 1\n50 1\n"),
        (
            "a.txt",
            (
                f"ACCESSION: X\nRECORD_TITLE: x\nCH$LINK: INCHIKEY {KEY}\nPK$NUM_PEAK: 1\n"
                "PK$PEAK: m/z\n  50 1 1\n//\n"
            ),
        ),
    ],
)
def test_every_spelling_of_a_compound(tmp_path: Path, name: str, text: str) -> None:
    assert read_excluded([written(tmp_path / name, text)]) == {CAFFEINE}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.txt", f"{KEY}, {ASPIRIN}-UHFFFAOYSA-N\n"),
        ("a.csv", f"inchikey\n{KEY}; {ASPIRIN}-UHFFFAOYSA-N\n"),
        ("a.txt", f"{CAFFEINE} {ASPIRIN}\n"),
        ("a.csv", f"inchikey14\n{ASPIRIN}|{KEY}\n"),
        ("a.csv", f"inchikey,first_block\n{KEY},{ASPIRIN}\n"),
        # A key and a structure that disagree: better one compound too many.
        ("a.csv", f"inchikey,smiles\n{ASPIRIN}-UHFFFAOYSA-N,{SMILES}\n"),
    ],
)
def test_all_compounds_of_a_row_are_excluded(tmp_path: Path, name: str, text: str) -> None:
    assert read_excluded([written(tmp_path / name, text)]) == {CAFFEINE, ASPIRIN}


def test_truths_under_other_names_of_their_columns(tmp_path: Path) -> None:
    path = written(tmp_path / "truth.csv", f"Query ID,InChIKey (first block)\nq1,{CAFFEINE}\n")
    assert read_truth(path) == {"q1": CAFFEINE}


@pytest.mark.parametrize("cell", ["'", "''", "'\"'"])
def test_quotation_marks_alone_are_no_compound(tmp_path: Path, cell: str) -> None:
    with pytest.raises(InputError, match=r"truth\.csv:2"):
        read_truth(written(tmp_path / "truth.csv", f"query_id\tinchikey14\nq1\t{cell}\n"))


def test_truths_whose_key_and_structure_disagree_are_noted(tmp_path: Path) -> None:
    """No candidate has the key of a salt: candidates are without their counter-ions."""
    rows = (
        f"a,{CAFFEINE}-UHFFFAOYSA-N,Cn1cnc2c1c(=O)n(C)c(=O)n2C\n"
        "b,VFVMDMSCXCMRMV-UHFFFAOYSA-N,CC(=O)Oc1ccccc1C(=O)O.Cl\n"
        f"c,{ETHANOL}-UHFFFAOYSA-N,CC(=O)Oc1ccccc1C(=O)O\n"
    )
    report = ReadReport()
    path = written(tmp_path / "t.csv", f"query_id,inchikey,smiles\n{rows}")
    assert read_truth(path, report) == {"a": CAFFEINE, "b": ASPIRIN, "c": ETHANOL}
    assert report.notes == {SALT_KEY: 1, KEY_BEFORE_STRUCTURE: 1}


ETHANOL_INCHI = "InChI=1S/C2H6O/c1-2-3/h3H,2H2,1H3"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("t.csv", f'query_id,inchikey,smiles,inchi\nq,,{SMILES},"{ETHANOL_INCHI}"\n'),
        ("t.mgf", f"BEGIN IONS\nTITLE=q\nSMILES={SMILES}\nINCHI={ETHANOL_INCHI}\n50 1\nEND IONS\n"),
    ],
)
def test_truths_whose_smiles_and_inchi_disagree_are_noted(
    tmp_path: Path, name: str, text: str
) -> None:
    report = ReadReport()
    path = written(tmp_path / name, text)
    assert read_truth(path, report) == {"q": CAFFEINE}
    assert report.notes == {SMILES_BEFORE_INCHI: 1}
    assert read_excluded([path]) == {CAFFEINE, ETHANOL}


@pytest.mark.parametrize("nothing", ["#N/A", "n.a.", "--", " undefined "])
def test_what_says_nothing_in_tables_of_candidates_says_nothing_of_truths(
    tmp_path: Path, nothing: str
) -> None:
    path = tmp_path / "truth.csv"
    table = f"query_id,inchikey,first_block,smiles\nq,{nothing},LFQSCWFLJHTTHZ,{nothing}\n"
    path.write_text(table, encoding="utf-8")
    report = ReadReport()
    assert read_truth(path, report) == {"q": "LFQSCWFLJHTTHZ"}
    assert not report.notes


def test_a_key_and_an_inchi_against_the_smiles_are_noted(tmp_path: Path) -> None:
    row = f'q,{ETHANOL}-UHFFFAOYSA-N,{SMILES},"{ETHANOL_INCHI}"'
    report = ReadReport()
    path = written(tmp_path / "t.csv", f"query_id,inchikey,smiles,inchi\n{row}\n")
    assert read_truth(path, report) == {"q": ETHANOL}
    assert report.notes == {KEY_BEFORE_STRUCTURE: 1}


@pytest.mark.parametrize("key", [f"{ETHANOL}-UHFFFAOYSA-N", ETHANOL])
def test_a_key_alone_beside_empty_columns_is_the_truth(tmp_path: Path, key: str) -> None:
    report = ReadReport()
    path = written(tmp_path / "t.csv", f"query_id,inchikey,smiles,inchi\nq,{key},,\n")
    assert read_truth(path, report) == {"q": ETHANOL}
    assert report.notes == {}


@pytest.mark.parametrize(
    ("columns", "noted"),
    [
        ("query_id,rank,inchikey,score,probability", True),
        ("query_id,structurePerIdRank,InChIkey2D,score", True),
        ("query_id,difficulty,inchikey,score", False),
    ],
)
def test_a_table_of_answers_is_noted(tmp_path: Path, columns: str, noted: bool) -> None:
    """One run's best candidates taken for truths, every other run that finds them looks right."""
    path = written(tmp_path / "x.csv", f"{columns}\nq,1,{CAFFEINE},0.5\n")
    report = ReadReport()
    assert read_truth(path, report) == {"q": CAFFEINE}
    assert report.notes[ANSWERS_AS_TRUTHS] == int(noted)


def test_truths_that_the_spectra_state_themselves(tmp_path: Path) -> None:
    def record(*fields: str) -> str:
        return "\n".join(("BEGIN IONS", "TITLE=q", *fields, "50 1", "END IONS", ""))

    text = (
        record("SMILES=CCO")
        + record(f"INCHIKEY={CAFFEINE}-UHFFFAOYSA-N")
        + record("PEPMASS=100")
        + record("SMILES=CCO.Cl", f"INCHIKEY={ASPIRIN}-UHFFFAOYSA-N")
        + record("SMILES=CCO", f"INCHIKEY={ASPIRIN}-UHFFFAOYSA-N")
    )
    report = ReadReport()
    found = read_truth(written(tmp_path / "t.mgf", text), report)
    assert found == {"q": ETHANOL, "q#2": CAFFEINE, "q#4": ETHANOL, "q#5": ASPIRIN}
    assert report.notes == {SALT_KEY: 1, KEY_BEFORE_STRUCTURE: 1}
    with pytest.raises(InputError, match="no truth found; wanted spectra that state a structure"):
        read_truth(written(tmp_path / "n.mgf", record("PEPMASS=100")))


@pytest.mark.parametrize("head", ["smiles,smiles", "SMILES 1,SMILES 2"])
def test_a_table_of_several_structures_in_a_row(tmp_path: Path, head: str) -> None:
    path = written(tmp_path / "x.csv", f"query_id,{head}\nq,CCO,Cn1cnc2c1c(=O)n(C)c(=O)n2C\n")
    assert read_excluded([path]) == {ETHANOL, CAFFEINE}
    with pytest.raises(InputError, match="has two truths"):
        read_truth(path)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("x.csv", "smiles\n{}\n"),
        ("x.csv", "inchikey,smiles\nQWJSAWXRUVVRLH-UHFFFAOYSA-M,{}\n"),
        ("x.smi", "{} choline tartrate\n"),
        ("x.txt", "{}\n"),
        ("x.mgf", "BEGIN IONS\nSMILES={}\n50 1\nEND IONS\n"),
    ],
)
def test_all_components_of_a_salt_are_excluded(tmp_path: Path, name: str, text: str) -> None:
    """The largest was, and the drug that was meant was learned from."""
    salt = "C[N+](C)(C)CCO.OC(C(O)C(=O)[O-])C(=O)O.CCO.[Na+].Cl"
    found = read_excluded([written(tmp_path / name, text.format(salt))])
    assert found >= {"OEYIOHPDSNJKLS", "FEWJPZIEWOKRBE"}
    assert ETHANOL not in found  # a solvent


def test_the_component_of_a_salt_that_a_spectrum_is_of(tmp_path: Path) -> None:
    text = (
        "BEGIN IONS\nTITLE=q\nPEPMASS=104.1070\nADDUCT=[M]+\n"
        "SMILES=C[N+](C)(C)CCO.OC(C(O)C(=O)[O-])C(=O)O\n50 1\nEND IONS\n"
    )
    path = written(tmp_path / "t.mgf", text)
    report = ReadReport()
    assert read_truth(path, report) == {"q": "OEYIOHPDSNJKLS"}
    assert report.notes == {FITTING_COMPONENT: 1}
    assert read_excluded([path]) >= {"OEYIOHPDSNJKLS", "FEWJPZIEWOKRBE"}


def test_structures_that_a_program_suggests_are_no_truths(tmp_path: Path) -> None:
    def record(name: str) -> str:
        return f"NAME: {name}\nSMILES: CCO\nNum Peaks: 1\n50 1\n\n"

    names = ("w/o MS2: a", "no MS2: b", "low score: c", "low score", "low scores: d", "DECOY_e")
    report = ReadReport()
    found = read_truth(written(tmp_path / "t.msp", "".join(map(record, names))), report)
    assert found == {"low score": ETHANOL, "low scores: d": ETHANOL}
    assert report.notes == {SUGGESTED_TRUTH: 3, DECOY_TRUTH: 1}


INCHI = "InChI=1S/C8H10N4O2/c1-10-4-9-6-5(10)7(13)12(3)8(14)11(6)2/h4H,1-3H3"


@pytest.mark.parametrize(
    "table",
    [
        f"query_id,inchi\nq,{INCHI}\n",
        f"inchi,query_id\n{INCHI},q\n",
        f"query_id,inchi,inchikey\nq,{INCHI},{CAFFEINE}\n",
        f"query_id,inchi,standard_inchi,name\nq,{INCHI},{INCHI},caffeine\n",
    ],
)
def test_an_inchi_without_quotation_marks_names_its_compound(tmp_path: Path, table: str) -> None:
    report = ReadReport()
    path = written(tmp_path / "x.csv", table)
    assert read_truth(path, report) == {"q": CAFFEINE[:14]}
    assert report.notes[INCHI_JOINED] == 1
    assert read_excluded([path]) == {CAFFEINE[:14]}


def test_an_inchi_that_lacks_its_end_names_none(tmp_path: Path) -> None:
    table = f"query_id,note,inchikey\nq,{INCHI[:-2]}x,{CAFFEINE}\n"
    path = written(tmp_path / "x.csv", table)
    with pytest.raises(InputError, match=r"x\.csv:2: found 4 cells, wanted 3 as in the header"):
        read_truth(path)


@pytest.mark.parametrize("column", ["InChIkey2D", "InChIKey1", "Short InChIKey"])
def test_first_blocks_as_other_programs_call_them(tmp_path: Path, column: str) -> None:
    """SIRIUS and our own summary, MetFrag, MS-FINDER."""
    table = written(tmp_path / "t.csv", f"query_id,{column}\na,{CAFFEINE}\n")
    assert read_truth(table) == {"a": CAFFEINE}
    assert read_excluded([table]) == {CAFFEINE}


@pytest.mark.parametrize("line", ["OCCO |Sg:n:1,2:n:ht| PEG", "CCO CC(=O)O", "CCO | COC", "C[13C]"])
def test_a_line_that_leaves_a_compound_open_excludes_none_quietly(
    tmp_path: Path, line: str
) -> None:
    with pytest.raises(InputError, match=r"a\.smi:1: SMILES"):
        read_excluded([written(tmp_path / "a.smi", f"{line}\n")])


def test_names_and_harmless_extensions_behind_a_smiles(tmp_path: Path) -> None:
    lines = "CCO ethanol\nCCO |&1:1| a\n"
    assert read_excluded([written(tmp_path / "a.smi", lines)]) == {ETHANOL}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.txt", "CCO CCCCC\n"),
        ("a.smi", "CCO\tCCCCC\tpentane\n"),
        ("a.csv", "smiles,note\nCCO CCCCC,x\n"),
        ("b.txt", f"{ETHANOL} CCCCC\n"),
    ],
)
def test_what_may_be_a_second_structure_is_excluded_too(
    tmp_path: Path, name: str, text: str
) -> None:
    """Behind a blank it may be a name, and better one compound too many."""
    pentane = "OFBQJSOFQDEBGM"
    assert read_excluded([written(tmp_path / name, text)]) == {ETHANOL, pentane}


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        (INCHI.partition("/h")[0], "cut off"),
        (f"{INCHI} InChI=1S/CH4/h1H4", "several InChI"),
        (f"{INCHI}\nInChI=1S/CH4/h1H4", "several InChI"),
    ],
)
def test_an_inchi_that_is_cut_off_or_not_alone_names_no_other_compound(
    tmp_path: Path, cell: str, message: str
) -> None:
    path = written(tmp_path / "x.csv", f'query_id,inchi\nq,"{cell}"\n')
    for read in (read_truth, lambda path: read_excluded([path])):
        with pytest.raises(InputError, match=rf"x\.csv:\d: .*{message}"):
            read(path)


@pytest.mark.parametrize("key", ["", "NHNBCKFZHVNRSD-UHFFFAOYSA-N"])
def test_the_truth_of_a_salt_is_not_its_larger_counter_ion(tmp_path: Path, key: str) -> None:
    """Glycine's trifluoroacetate; its own key, or another salt's, tells no component."""
    text = f"query_id,smiles,inchikey\nq,NCC(=O)O.OC(=O)C(F)(F)F,{key}\n"
    assert read_truth(written(tmp_path / "t.csv", text)) == {"q": "DHMQDGOQFOQNFH"}


def _record(title: str, structure: str, peaks: str = "138.066 10") -> str:
    return f"BEGIN IONS\nTITLE={title}\nPEPMASS=195.09\n{structure}\n{peaks}\nEND IONS\n\n"


def test_records_of_exclusion_files_that_cannot_be_read_are_counted(tmp_path: Path) -> None:
    records = (
        _record("a", "SMILES=CCO"),
        _record("b", "SMILES=C(("),
        _record("c", f"SMILES=C((\nINCHIKEY={KEY}"),
        _record("d", "SMILES=CCCCC|c1ccccc1"),
        _record("e", "SMILES=CCC", peaks="138 ten"),
        _record("f", "COMMENT=none"),
    )
    path, report = written(tmp_path / "x.mgf", "".join(records)), ReadReport()
    assert read_excluded([path], report) == {
        *(ETHANOL, CAFFEINE),
        *("OFBQJSOFQDEBGM", "UHOVQNZJYSORNB"),
    }
    assert [skip.record for skip in report.skips] == ["b", "e"]
    assert "2 unreadable records of exclusion files" in unread_exclusions(report)
    assert not unread_exclusions(ReadReport())
    with pytest.raises(InputError, match=r"x\.mgf:8: b: structure cannot be parsed"):
        read_excluded([path], ReadReport(strict=True))
