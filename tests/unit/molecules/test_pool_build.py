"""Pools that are built in pieces, gone on with, added to, and read."""

from __future__ import annotations

import gzip
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path

import h5py
import numpy as np
import pytest
from click.testing import CliRunner
from pool_files import write_pool

from specvae.cli.pool import pool as pool_command
from specvae.errors import InputError, Interrupted
from specvae.files import exclusive
from specvae.molecules import pool_build, pool_pieces
from specvae.molecules.candidate_pool import CandidatePool
from specvae.molecules.candidates import CandidateSet
from specvae.molecules.fingerprint import FingerprintLayout, get_layout
from specvae.molecules.molecule import KEY_OF_SEVERAL, Molecule
from specvae.molecules.pool_file import PoolFile
from specvae.molecules.pool_format import _digest, digest_of_whole
from specvae.molecules.sd_files import DRAWING_INSTEAD, DRAWING_OF_ANOTHER
from specvae.molecules.standard import STANDARD_VERSION
from specvae.molecules.structures import read_rows
from specvae.report import ReadReport, Reason

LAYOUT = get_layout("morgan4096")
ROWS = [(f"{'C' * (i % 9 + 1)}{'O' * (i // 9)}N", f"n{i}", f"i{i}") for i in range(63)]
TABLE = "smiles,name,id\n" + "\n".join(map(",".join, ROWS)) + "\nC[C@H](N)C(=O)O,l,l1\n"
# A stereoisomer of what came long before, a row that is there already, and one that is none.
TAIL = "C[C@@H](N)C(=O)O,d,d1\nc1cc,bad,b\nCN,again,i0\n"


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_build, "PIECE_ROWS", 10)
    monkeypatch.setattr(pool_pieces, "PIECES_OF_RUN", 3)
    monkeypatch.setattr(pool_build, "MERGED_ROWS", 7)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "structures.csv"
    path.write_text(TABLE + TAIL, encoding="utf-8")
    return path


def build(table: Path, output: Path, *layouts: FingerprintLayout, append: bool = False) -> int:
    return write_pool(table, layouts or LAYOUT, output, append=append)


def end_before_the_last_step(table: Path, output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> int:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(pool_build, "_write", interrupted)
        with pytest.raises(KeyboardInterrupt):
            build(table, output)


def test_the_command_says_at_ctrl_c_what_is_kept(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "pool.h5"

    def ended_in(step: str) -> BaseException | None:
        def interrupted(*_: object) -> int:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(pool_build, step, interrupted)
            arguments = ["build", str(table), "-o", str(output), "--jobs", "1"]
            return CliRunner().invoke(pool_command, arguments).exception

    assert not isinstance(ended_in("_compute_all"), Interrupted)
    told = ended_in("_write")
    assert isinstance(told, Interrupted)
    assert str(told) == (
        f"interrupted; what is done is kept in {output}.building: the same command goes on from "
        "there"
    )


def everything_in(path: Path) -> CandidateSet:
    with CandidatePool.open(path, LAYOUT) as pool:
        return pool.slice(0, len(pool))


def test_pieces_change_nothing(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert build(table, tmp_path / "pieces.h5") == 64
    monkeypatch.undo()
    assert build(table, tmp_path / "whole.h5") == 64
    assert (tmp_path / "pieces.h5").read_bytes() == (tmp_path / "whole.h5").read_bytes()
    found = everything_in(tmp_path / "whole.h5")
    order = np.argsort([Molecule.parse(smiles).exact_mass for smiles, _, _ in ROWS], kind="stable")
    names = [name for name in found.name.tolist() if name != "l"]
    assert names == [ROWS[row][1] for row in order]
    np.testing.assert_array_equal(found.packed, LAYOUT.compute(found.smiles.tolist()))
    assert found.formula.tolist() == [Molecule.parse(text).formula for text in found.smiles]
    assert not list(tmp_path.glob("*.building"))


def test_identifiers_of_merged_rows_are_kept(table: Path, tmp_path: Path) -> None:
    build(table, tmp_path / "pool.h5")
    found = everything_in(tmp_path / "pool.h5")
    ids = dict(zip(found.name.tolist(), found.id.tolist(), strict=True))
    assert ids["l"] == "l1; d1"
    assert ids["n0"] == "i0"


_KILLED = """
import os, signal, sys
from pathlib import Path
from specvae.molecules import pool_build, pool_pieces
from pool_files import write_pool
from specvae.molecules.fingerprint import get_layout
pool_build.PIECE_ROWS, pool_pieces.PIECES_OF_RUN = 10, 3
add, n = pool_pieces.Spool.add, []
def counted(self, piece):
    add(self, piece)
    n.append(piece)
    if len(n) == 5:
        os.kill(os.getpid(), signal.SIGKILL)
pool_pieces.Spool.add = counted
write_pool(Path(sys.argv[1]), get_layout("morgan4096"), Path(sys.argv[2]))
"""


def test_a_killed_build_goes_on_and_computes_nothing_twice(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "pool.h5"
    paths = os.pathsep.join(sys.path)
    done = subprocess.run(
        [sys.executable, "-c", _KILLED, str(table), str(output)],
        check=False,
        env={**os.environ, "PYTHONPATH": paths},
    )
    assert done.returncode == -signal.SIGKILL
    assert not output.exists()
    compute, n_rows = pool_build._compute, []

    def counted(task: pool_build._Task) -> pool_build._ComputedRows:
        n_rows.append(len(task.cells))
        return compute(task)

    monkeypatch.setattr(pool_build, "_compute", counted)
    report = ReadReport()
    write_pool(table, LAYOUT, output, report=report)
    assert sum(n_rows) == 67 - 50
    assert [skip.record for skip in report.skips] == ["b"]
    build(table, tmp_path / "other.h5")
    assert output.read_bytes() == (tmp_path / "other.h5").read_bytes()


def test_the_beginning_of_another_pool_is_dropped(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "pool.h5"
    end_before_the_last_step(table, output, monkeypatch)
    assert list(tmp_path.glob("pool.h5.building/rows-*.h5"))
    table.write_text("smiles\nCCO\n", encoding="utf-8")
    assert build(table, output) == 1


def test_a_damaged_piece_is_computed_again(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "pool.h5"
    end_before_the_last_step(table, output, monkeypatch)
    first, second, *_ = sorted(tmp_path.glob("pool.h5.building/rows-*.h5"))
    first.write_bytes(first.read_bytes()[:-100])
    with h5py.File(second, "r+") as file:
        file["exact_mass"][0] = 1.0
    build(table, output)
    build(table, tmp_path / "other.h5")
    assert output.read_bytes() == (tmp_path / "other.h5").read_bytes()


def test_one_process_builds_a_pool_and_another_is_refused(table: Path, tmp_path: Path) -> None:
    output = tmp_path / "pool.h5"
    with (
        exclusive(tmp_path / "pool.h5.building", "taken"),
        pytest.raises(InputError, match="another process is building this pool \\(process"),
    ):
        build(table, output)
    assert build(table, output) == 64


def test_several_layouts_in_one_pool(table: Path, tmp_path: Path) -> None:
    output, second = tmp_path / "pool.h5", get_layout("svae2149")
    build(table, output, LAYOUT, second)
    with CandidatePool.open(output, second) as pool:
        found = pool.slice(0, len(pool))
        assert pool.layouts == ("morgan4096", "svae2149")
        assert found.pool_row is not None
        other = pool.packed(LAYOUT, found.pool_row[3:9])
    np.testing.assert_array_equal(found.packed, second.compute(found.smiles.tolist()))
    np.testing.assert_array_equal(other, LAYOUT.compute(found.smiles.tolist())[3:9])
    with pytest.raises(InputError, match="morgan4096 version 1, svae2149 version 1, but mixed2149"):
        CandidatePool.open(output, get_layout("mixed2149"))


def test_adding_to_a_pool_is_building_it_of_all_files(tmp_path: Path) -> None:
    first, second = tmp_path / "a.csv", tmp_path / "b.csv"
    first.write_text(TABLE, encoding="utf-8")
    second.write_text("smiles,name,id\n" + TAIL, encoding="utf-8")
    pool, whole = tmp_path / "pool.h5", tmp_path / "whole.h5"
    build(first, pool)
    assert build(second, pool, append=True) == 64
    write_pool([first, second], LAYOUT, whole)
    assert pool.read_bytes() == whole.read_bytes()


def test_only_a_like_pool_is_added_to(table: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        build(table, tmp_path / "none.h5", append=True)
    build(table, tmp_path / "pool.h5")
    with pytest.raises(InputError, match="are morgan4096, but svae2149 is to be added"):
        build(table, tmp_path / "pool.h5", get_layout("svae2149"), append=True)
    as_second_format(tmp_path / "pool.h5", tmp_path / "old.h5")
    with pytest.raises(InputError, match="of an earlier version: build it again"):
        build(table, tmp_path / "old.h5", append=True)
    assert not list(tmp_path.glob("*.building"))


def as_second_format(pool: Path, path: Path) -> None:
    """Write a pool as it was written when it had one layout."""
    texts = ("inchikey", "smiles", "name", "id")
    with CandidatePool.open(pool) as opened, h5py.File(path, "w", libver="latest") as file:
        found = opened.slice(0, len(opened))
        described = {
            "kind": "specvae candidate pool", "format_version": 2, "layout": LAYOUT.name,
            "layout_version": 1, "n_bits": LAYOUT.n_bits, "probe_sha256": LAYOUT.probe_sha256,
            "standard_version": STANDARD_VERSION, "n_structures": len(found), "sources": "[]",
        }  # fmt: skip
        for key, value in described.items():
            file.attrs[key] = np.bytes_(value.encode()) if isinstance(value, str) else value
        columns = {n: [text.encode() for text in getattr(found, n)] for n in texts}
        file["exact_mass"] = found.exact_mass
        for name, values in columns.items():
            file[f"{name}_end"] = np.array(list(accumulate(map(len, values))), np.uint64)
            file[f"{name}_text"] = np.frombuffer(b"".join(values), np.uint8)
        file["packed"] = found.packed
        sums = [
            _digest(
                [*(v for n in texts for v in columns[n][a : a + 512]),
                 found.packed[a : a + 512].tobytes()]
            ).digest()
            for a in range(0, len(found), 512)
        ]  # fmt: skip
        file["checksum"] = np.array(sums, dtype="V16")
        digest = digest_of_whole(described, found.exact_mass, sums)
        file.attrs["digest"] = np.bytes_(digest)


def test_a_pool_of_the_second_format_is_read(table: Path, tmp_path: Path) -> None:
    build(table, tmp_path / "pool.h5")
    as_second_format(tmp_path / "pool.h5", tmp_path / "old.h5")
    new, old = everything_in(tmp_path / "pool.h5"), everything_in(tmp_path / "old.h5")
    for column in ("smiles", "name", "id", "inchikey", "exact_mass", "packed", "formula"):
        assert getattr(new, column).tolist() == getattr(old, column).tolist()
    with h5py.File(tmp_path / "old.h5", "r+") as file:
        file["packed"][3] = 0
    with pytest.raises(InputError, match="damaged"):
        everything_in(tmp_path / "old.h5")


def test_a_changed_mass_is_noticed_where_it_is_searched(tmp_path: Path) -> None:
    table, path = tmp_path / "x.smi", tmp_path / "x.h5"
    table.write_text(
        "\n".join(f"{'C' * (i % 30)}{'O' * (i // 30)}N x{i}" for i in range(600)), encoding="utf-8"
    )
    assert build(table, path) == 600
    pool = PoolFile(path)
    low, high = pool.exact_mass[100], pool.exact_mass[590]
    pool.close()
    with h5py.File(path, "r+") as file:
        file["exact_mass"][200] = low
    with CandidatePool.open(path) as opened:
        with pytest.raises(InputError, match="the candidate pool is damaged"):
            opened.within(low, 10.0)
        assert len(opened.within(high, 10.0)) > 0
        with pytest.raises(InputError, match="the candidate pool is damaged"):
            opened.check()


MOLBLOCK = """caffeine
  made up

  2  1  0  0  0  0  0  0  0  0999 V2000
    0.0000    0.0000    0.0000 C   0  0
    1.5000    0.0000    0.0000 O   0  0
  1  2  1  0
M  END
"""


def of_databases() -> Iterator[tuple[str, str, tuple[str, str, str]]]:
    key = "LFQSCWFLJHTTHZ-UHFFFAOYSA-N"
    yield "CID-SMILES.gz", "702\tCCO\n", ("CCO", "", "702")
    yield "CID-InChI-Key", f"702\tInChI=1S/C2H6O/c1-2-3/h3H,2H2,1H3\t{key}\n", ("CCO", "", "702")
    yield "pubchem.csv", "cid,cmpdname,isosmiles\n702,Ethanol,CCO\n", ("CCO", "Ethanol", "702")
    yield (
        "coconut.csv",
        f"identifier,canonical_smiles,standard_inchi_key,name\nCNP1,CCO,{key},Ethanol\n",
        ("CCO", "Ethanol", "CNP1"),
    )
    yield (
        "hmdb.csv",
        f"accession,name,smiles,inchikey\nHMDB0000108,Ethanol,CCO,{key}\n",
        ("CCO", "Ethanol", "HMDB0000108"),
    )
    yield (
        "metfrag.csv",
        f"Identifier,CompoundName,SMILES,InChIKey\n702,Ethanol,CCO,{key}\n",
        ("CCO", "Ethanol", "702"),
    )
    yield "a.sdf", f"{MOLBLOCK}> <GENERIC_NAME>\nwood spirit\n\n$$$$\n", (
        "CO", "wood spirit", "caffeine",
    )  # fmt: skip
    yield "b.sdf.gz", f"{MOLBLOCK}>  <SMILES>\nCCO\n\n> <DATABASE_ID>\nX1\n\n$$$$\n", (
        "CCO", "caffeine", "X1",
    )  # fmt: skip


@pytest.mark.parametrize("case", list(of_databases()), ids=lambda case: case[0])
def test_files_of_databases(tmp_path: Path, case: tuple[str, str, tuple[str, str, str]]) -> None:
    name, text, wanted = case
    path = tmp_path / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    report = ReadReport(strict=True)
    write_pool(path, LAYOUT, tmp_path / "pool.h5", report=report)
    found = everything_in(tmp_path / "pool.h5")
    assert (found.smiles[0], found.name[0], found.id[0]) == wanted
    assert report.n_read == 1


def test_a_record_of_an_sd_file_without_structure_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.sdf"
    path.write_text(f"empty\n\n\nM  END\n$$$$\n{MOLBLOCK}$$$$\n", encoding="utf-8")
    report = ReadReport()
    write_pool(path, LAYOUT, tmp_path / "pool.h5", report=report)
    assert [(skip.line, skip.record) for skip in report.skips] == [(1, "empty")]
    assert report.n_read == 1


@pytest.mark.parametrize(
    ("text", "notes"),
    [
        (f"{MOLBLOCK}> <SMILES>\nN/A\n\n> <ID>\na\n\n$$$$\n", {}),
        (f"{MOLBLOCK}> <SMILES>\nCC(\n\n> <ID>\na\n\n$$$$\n", {DRAWING_INSTEAD: 1}),
        # Blank lines before and behind the end of the drawing.
        (MOLBLOCK.replace("M  END", "\nM  END\n") + "> <ID>\na\n\n$$$$\n", {}),
        # LIPID MAPS has a dash for a name that is not known.
        (f"{MOLBLOCK}> <LM_ID>\na\n\n> <NAME>\n-\n\n$$$$\n", {}),
    ],
)
def test_the_drawing_where_the_data_state_no_structure(
    tmp_path: Path, text: str, notes: dict[str, int]
) -> None:
    path = tmp_path / "a.sdf"
    path.write_text(text, encoding="utf-8")
    report = ReadReport(strict=True)
    (row,) = read_rows(path, report)
    assert (row.smiles, row.id) == ("CO", "a")
    assert report.notes == notes


@pytest.mark.parametrize(
    ("stated", "notes"),
    [
        ("> <SMILES>\nCCO", {DRAWING_OF_ANOTHER: 1}),
        ("> <SMILES>\nCN", {DRAWING_OF_ANOTHER: 1}),
        ("> <INCHI>\nInChI=1S/C2H6O/c1-2-3/h3H,2H2,1H3", {DRAWING_OF_ANOTHER: 1}),
        # The same, however it is written; the methanol of a salt.
        *((f"> <{stated}", {}) for stated in (
            "SMILES>\nCO", "SMILES>\n[CH3][OH]", "SMILES>\n[O-]C", "SMILES>\n[H]OC([H])([H])[H]",
            "INCHI>\nInChI=1S/CH4O/c1-2/h2H,1H3", "SMILES>\nCO.Cl", "SMILES>\nC[O-].[Na+]",
        )),
    ],
)  # fmt: skip
def test_a_drawing_of_another_compound_is_told(
    tmp_path: Path, stated: str, notes: dict[str, int]
) -> None:
    path = tmp_path / "a.sdf"
    path.write_text(f"{MOLBLOCK}{stated}\n\n> <ID>\na\n\n$$$$\n", encoding="utf-8")
    report = ReadReport(strict=True)
    (row,) = read_rows(path, report)
    told = {note: n for note, n in report.notes.items() if note == DRAWING_OF_ANOTHER}
    assert (row.id, told) == ("a", notes)


def test_a_drawing_that_has_no_record_of_its_own_is_counted(tmp_path: Path) -> None:
    """Where $$$$ is missing, the second structure was lost without a word."""
    path = tmp_path / "a.sdf"
    whole = f"{MOLBLOCK}> <ID>\na\n\n"
    path.write_text(f"{whole}{whole}$$$$\n{whole}$$$$\n", encoding="utf-8")
    report = ReadReport()
    assert [row.id for row in read_rows(path, report)] == ["a", "a"]
    n_lines = whole.count("\n")
    assert [(skip.line, skip.reason) for skip in report.skips] == [
        (n_lines + MOLBLOCK.count("\n"), Reason.BAD_STRUCTURE)
    ]
    assert "$$$$ is missing" in report.skips[0].detail


def test_a_key_of_several_structures_does_not_join_them(tmp_path: Path) -> None:
    key = "RYYVLZVUVIJVGH-UHFFFAOYSA-N"
    path = tmp_path / "a.csv"
    isomers = ("Cn1cnc2c1c(=O)n(C)c(=O)n2C", "Cn1cnc2c1n(C)c(=O)n(C)c2=O")
    rows = "".join(f"{smiles},{key}\n" for smiles in isomers)
    path.write_text(f"smiles,inchikey\n{rows}", encoding="utf-8")
    report = ReadReport()
    write_pool(path, LAYOUT, tmp_path / "pool.h5", report=report)
    assert sorted(everything_in(tmp_path / "pool.h5").smiles) == sorted(isomers)
    assert report.notes == {KEY_OF_SEVERAL: 2}


def test_that_a_column_of_queries_is_left_out_is_noted(tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text("query_id,smiles\na,CCO\nb,CCO\n,CCN\n", encoding="utf-8")
    report = ReadReport()
    write_pool(table, LAYOUT, tmp_path / "p.h5", report=report)
    assert report.notes == {pool_build.QUERY_ID_LEFT_OUT: 2}


@pytest.mark.parametrize("text", ["x,y\n1,2\n", "smiles\nno structure\n"])
def test_a_refused_input_leaves_no_folder(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.csv").write_text(text, encoding="utf-8")
    with pytest.raises(InputError):
        write_pool(tmp_path / "x.csv", get_layout("morgan4096"), tmp_path / "p.h5")
    assert [path.name for path in tmp_path.iterdir()] == ["x.csv"]
