"""`specvae check`: what is said of files of spectra and of candidates."""

from __future__ import annotations

import gzip
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result
from conftest import run_specvae
from rdkit import Chem
from spectra_files import mgf_record

from specvae.cli import options
from specvae.cli.check import check
from specvae.errors import InputError


def run(*files: Path, stdin: str | None = None) -> Result:
    return CliRunner().invoke(check, [str(file) for file in files], input=stdin)


def lines(result: Result) -> dict[str, str]:
    """Return the lines by their names; the continued ones belong to the line above."""
    found: dict[str, str] = {}
    name = ""
    for line in result.stdout.splitlines():
        name = line[:16].strip() or name
        found[name] = f"{found[name]}\n{line[16:]}" if name in found else line[16:]
    return found


@pytest.mark.parametrize(
    ("features", "said"),
    [
        ((1, 1, 2), "2, 1 with several spectra (annotate --merge-by)"),
        ((1, 2, 3), "3"),
        ((), None),
    ],
)
def test_features_are_counted(tmp_path: Path, features: tuple[int, ...], said: str | None) -> None:
    path = tmp_path / "x.mgf"
    records = [mgf_record("a", f"FEATURE_ID={feature}") for feature in features]
    path.write_text("".join([*records, mgf_record("none")]))
    assert lines(run(path)).get("features") == said


def test_spectra(tmp_path: Path) -> None:
    path = tmp_path / "x.mgf.gz"
    records = [
        mgf_record("a", "ADDUCT=[M+H]+", "COLLISION_ENERGY=20 eV", "RTINSECONDS=5", "SMILES=CCO"),
        mgf_record("b", "CHARGE=1-", "ION=[M+?]-", "COLLISION_ENERGY=35 NCE", "MSLEVEL=2"),
        mgf_record("c", "ADDUCT=[X+Y]+", "PEPMASS=99.0877"),
        mgf_record("d").replace("PEPMASS=181.07", "PEPMASS="),
        mgf_record("e", "MSLEVEL=1"),
        mgf_record("f", peaks=""),
    ]
    path.write_bytes(gzip.compress("".join(records).encode()))
    result = run(path)
    assert result.exit_code == 0
    found = lines(result)
    assert found["file"] == str(path)
    assert (found["format"], found["spectra"]) == ("MGF", "4")
    assert found["precursor m/z"] == "two decimals or fewer: 3; not stated: 1"
    assert found["ion species"] == (
        "[M+H]+: 1; not stated, taken as [M-H]-: 1; [X+Y]+ (cannot be read): 1; "
        "not stated, nor an ion mode: 1"
    )
    assert found["ion mode"] == "not stated: 2; positive: 1; negative: 1"
    assert found["MS level"] == "not stated: 3; 2: 1"
    assert found["energy"] == "not stated: 2; eV: 1; percent (normalised): 1"
    assert found["retention time"] == "1 stated"
    assert found["structure"] == "none: 3; SMILES: 1"
    assert found["peaks"] == "median 2, from 2 to 2"
    assert found["notes"].splitlines() == [
        "ion species stated as unknown (1)",
        "first of several precursors taken (1)",
    ]
    assert found["left out"].splitlines() == [
        "not MS level 2 (1)",
        "  line 35, e: MS level 1",
        "no peaks (1)",
        "  line 42, f",
    ]
    examples = found["examples"].splitlines()
    assert len(examples) == 3
    assert examples[0] == "a; m/z 181.0700; [M+H]+; positive; 2 peaks, highest at 60.2500"
    assert examples[1].endswith("ion species stated as unknown ([M+?]-)")


def test_structures_that_ms_dial_suggests_are_told(tmp_path: Path) -> None:
    record = "NAME: {}\nSMILES: CCO\nNum Peaks: 1\n50 1\n\n"
    path = tmp_path / "x.msp"
    path.write_text("".join(map(record.format, ("no MS2: a", "low score: b", "c"))))
    assert lines(run(path))["structure"] == "suggested by MS-DIAL, in no library: 2; SMILES: 1"


def test_candidates(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("query_id,smiles,name\nq1,CCO,ethanol\nq2,C,\nq2,C1CC,broken\n")
    result = run(path)
    assert result.exit_code == 0
    found = lines(result)
    assert (found["format"], found["candidates"]) == ("table of candidates", "2")
    assert found["exact mass"] == "from 16.0313 to 46.0419 Da"
    assert found["query_id"] == "2 queries have candidates of their own"
    assert found["name"] == "1 stated"
    assert found["left out"].startswith("structure cannot be parsed (1)\n  line 4, broken")
    assert found["examples"].splitlines() == ["CCO ethanol", "C"]


def test_the_columns_of_candidates_that_are_used_and_not(tmp_path: Path) -> None:
    """A column of names that is not known was passed over without a word."""
    table = tmp_path / "x.csv"
    table.write_text("Query;SMILES;Canonical SMILES;Trivial Name;LogP;Cmpd\nq;;CCO;ethanol;1;a\n")
    found = lines(run(table))
    assert found["columns used"] == (
        "smiles from smiles, else canonical_smiles; name from trivial_name"
    )
    assert found["not used"] == "query, logp, cmpd"
    wide = tmp_path / "wide.csv"
    wide.write_text(f"smiles,{','.join(f'c{n}' for n in range(25))}\nCCO{',1' * 25}\n")
    found = lines(run(wide))
    assert found["columns used"] == "smiles"
    assert found["not used"].endswith("c18, c19 and 5 more")
    drawing = Chem.MolToMolBlock(Chem.MolFromSmiles("CCO"))
    record = f"{drawing}> <GENERIC_NAME>\nethanol\n\n> <query_id>\nq\n\n> <LogP>\n1\n\n$$$$\n"
    (tmp_path / "x.sdf").write_text(record, encoding="utf-8")
    found = lines(run(tmp_path / "x.sdf"))
    assert found["columns used"] == "name from GENERIC_NAME; query_id"
    assert found["not used"] == "LogP"
    (tmp_path / "x.smi").write_text("CCO ethanol\n", encoding="utf-8")
    assert not {"columns used", "not used"} & set(lines(run(tmp_path / "x.smi")))


def test_a_file_that_cannot_be_used_costs_no_other(tmp_path: Path) -> None:
    good = tmp_path / "x.mgf"
    good.write_text(mgf_record("a"))
    result = run(tmp_path / "none.mgf", good)
    assert result.exit_code == 1
    assert "none.mgf: no such file" in result.stderr
    assert lines(result)["spectra"] == "1"


def test_a_file_that_cannot_be_used_is_told_by_the_exit_code(tmp_path: Path) -> None:
    assert "nowhere.mgf" in run_specvae("check", tmp_path / "nowhere.mgf", code=1).stderr


def test_truths_and_sd_files(tmp_path: Path) -> None:
    truth = tmp_path / "truth.csv"
    truth.write_text(
        "query_id,inchikey14\nq1,RYYVLZVUVIJVGH\nq2,RYYVLZVUVIJVGH\n", encoding="utf-8"
    )
    drawing = Chem.MolToMolBlock(Chem.MolFromSmiles("CCO"))
    (tmp_path / "x.sdf").write_text(f"{drawing}\n$$$$\n", encoding="utf-8")
    done = CliRunner().invoke(check, [str(truth), str(tmp_path / "x.sdf")])
    assert done.exit_code == 0, done.output
    assert (
        "table of truths, for evaluate --truth\nqueries         2\ncompounds       1" in done.output
    )
    assert "candidates      1\n" in done.output


def test_a_file_of_which_nothing_can_be_used_is_told_by_the_exit_code(tmp_path: Path) -> None:
    """`annotate` refuses both; here they were as good as any."""
    queries = tmp_path / "q.mgf"
    queries.write_text(mgf_record("a", peaks="50,5 10\n"))
    table = tmp_path / "c.csv"
    table.write_text("smiles,name\nC1CC,x\n")
    for path, line in (
        (queries, "no usable spectrum (0 spectra read, 1 skipped: a peak is not two finite"),
        (table, "no usable candidate (0 candidates read, 1 skipped: structure cannot be"),
    ):
        result = run(path)
        assert result.exit_code == 1
        assert f"specvae: {path}: {line}" in result.stderr
        assert lines(result)["left out"]  # it is shown why


def test_long_names_and_structures_are_shortened(tmp_path: Path) -> None:
    table = tmp_path / "c.csv"
    table.write_text(f"smiles,name\n{'C' * 900},{'n' * 900}\n{'C' * 1001},x\n", encoding="utf-8")
    queries = tmp_path / "q.mgf"
    queries.write_text(f"BEGIN IONS\nTITLE={'t' * 900}\n50 1\nEND IONS\n", encoding="utf-8")
    done = CliRunner().invoke(check, [str(table), str(queries)])
    assert max(map(len, done.output.splitlines())) < 250


def test_every_kind_of_table_that_is_read_is_described(tmp_path: Path) -> None:
    for suffix, text in (
        (".psv", "SMILES|Identifier\nCCO|1\n"),
        (".tab", "smiles\tname\nCCO\ta\n"),
    ):
        path = tmp_path / f"c{suffix}"
        path.write_text(text, encoding="utf-8")
        assert lines(run(path))["candidates"] == "1"
    path = tmp_path / "c.mol"
    path.write_text(Chem.MolToMolBlock(Chem.MolFromSmiles("CCO")), encoding="utf-8")
    assert lines(run(path))["candidates"] == "1"


@pytest.mark.parametrize("again", ["-", "/dev/stdin", "/dev/fd/0"])
def test_stdin_is_for_one_input(again: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A redirected file could be read twice, unlike a pipe, but is not queries and candidates."""
    monkeypatch.setattr(options, "rewindable", lambda path, _suffix: path)
    context = click.Context(check)
    assert options.INPUT_FILE.convert("-", None, context) == Path("/dev/stdin")
    with pytest.raises(InputError, match=r"^stdin: was read already, .* wanted one input -$"):
        options.INPUT_TABLE.convert(again, None, context)
    assert options.INPUT_FILE.convert(again, None, click.Context(check))
