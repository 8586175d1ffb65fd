"""Structures that were parsed are kept on disk, and are the same when they are read."""

import errno
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from rdkit import rdBase

from specvae.errors import StructureError
from specvae.limits import changed_limits
from specvae.molecules import entry_store, structure_cache, structures
from specvae.molecules.candidates import read_candidates
from specvae.molecules.entry_store import EntryStore, digest
from specvae.molecules.molecule import Molecule
from specvae.molecules.parsing import parse_together
from specvae.molecules.standard import STANDARD_VERSION
from specvae.molecules.structure_cache import StructureCache
from specvae.molecules.structures import parse_texts
from specvae.report import ReadReport

Texts = list[tuple[str, str]]

READ_AS = (7, 19, "2026.03.5", "8cdfc7de8df50094")
"""STANDARD_VERSION, READING_VERSION, RDKit's, and what `MANY_TEXTS` are read as by these."""

MANY_TEXTS = [
    *((smiles, "") for smiles in (
        "C", "c1ccccc1O", "CC(=O)O[Na]", "CC(=O)[O-].[Na+]", "C[N+](C)(C)CCO",
        "[NH3+]CC(=O)[O-]", "C[N+](C)(C)CC(=O)[O-]", "CC(O)=N", "Oc1ccccn1", "c1c[nH]c(N)n1",
        "NC(=N)NCC", "O=c1cc[nH]cc1", "CS(=O)C", "C[S+](C)[O-]", "C[N+](=O)[O-]", "[12CH4]",
        "[13CH4]", "C[13CH3]", "[2H]C", "[CH3]", "CC.CCC.O", "Cl.NCCO",
        "CC(=O)[O-].[Zn+2].CC(=O)[O-]", "[Fe+2].c1ccc[cH-]1.c1ccc[cH-]1", "N[Pt](N)(Cl)Cl",
        "[Na]OC(=O)C", "C/C=C/C", "C[C@H](N)C(=O)O", "OC[C@@H](O)C=O", "F/C=C(/F)Cl",
        "CCO ethanol", "'CCO'", "\u201cCCO\u201d", "CCO |c:1|", "CC |Sg:n:0:n:ht|", "C C O",
        "CC (O)C", "CCC(O)=O CC=O", "[N+H3]CC", r"C\/C=C\\C",
        "[CH3:1][OH:2]", "*CC", "C~C", "[#6]", "C[C]", "[13C]C",
        "CC(=O) OC", "c1ccccc1:c", "CC:O", "[C-]#[O+]", "xx", "C(C", "C(C)(C)(C)(C)C", "", "N/A",
        "-", "UHFFFAOYSA-N", "[Hg](C)C", "CB(O)O", "OP(=O)(O)O", "CC#N", "C1CC1",
        "C12C3C4C1C5C2C3C45", "SMILES=CCO", "InChI=CCO",
    )),
    ("", "InChI=1S/2CH4O/c2*1-2/h2*2H,1H3"),
    ("", "InChI=1S/C5H13NO4S/c1-6(2,3)4-5-10-11(7,8)9/h4-5H2,1-3H3"),
    ("C[C]1[C](C)CC[C]1O", ""),
    ("C[S+2](C)([O-])[O-]", ""),
    ("", "InChI=1S/4CH3.Sn/h4*1H3;"),
    ("[D]C", ""),
    ("[NH3]->[Pt](<-[NH3])(Cl)Cl", ""),
    ("", "InChI=1S/C6H7NO/c1-7-4-2-6(8)3-5-7/h2-5H,1H3/p+1"),
    ("C[N+](C)(C)C(CC(=O)[O-])C(=O)O", ""),
    ("O=[n+]1ccn([O-])cc1", ""),
    ("CO[P+]([O-])(O)O", ""),
    ("CC[N-][N+]#N", ""),
    ("C[P+](O)(O)[S-]", ""),
    ("", "InChI=1S/CH4/h1H4"),
    ("", "1S/CH4O/c1-2/h2H,1H3"),
    ("", "InChI=1S/C2H4O2/c1-2(3)4/h1H3,(H,3,4)"),
    ("", "InChI=1S/C2H4O2/c1-2(3)4/h1H3,(H,3,4)/p-1"),
    ("", "InChI=1S/C3H7NO2/c1-2(4)3(5)6/h2H,4H2,1H3,(H,5,6)/t2-/m0/s1"),
    ("", "InChI=1S/broken"),
    ("OCCO |Sg:n:1,2:n", ""),
    ("CCO |^1:1|", ""),
    ("CCO |^1:7|", ""),
    ("", "InChI=1S/C3H7NO2/c1-4-2-3(5)6"),
    ("", "InChI=1S/CH4/h1H4 InChI=1S/CH4O/c1-2/h2H,1H3"),
    ("C(C", "InChI=1S/CH4/h1H4"),
    ("CCO", "InChI=1S/CH4/h1H4"),
    ("CCO", "InChI=1S/C2H6O/c1-2-3/h3H,2H2,1H3"),
]  # fmt: skip

TEXTS = [
    ("CCO", ""),
    ("C[C@H](N)C(=O)[O-].[Na+]", ""),
    ("", "InChI=1S/CH4O/c1-2/h2H,1H3"),
    ("OC1=NC=CC=C1", ""),
    ("C[N+](C)(C)CCO", ""),
    ("[13CH4]", ""),
]


@pytest.fixture(autouse=True)
def every_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entry_store, "FEWEST_ENTRIES", 1)


def kept(folder: Path, texts: Sequence[tuple[str, str]] = TEXTS) -> list[Molecule]:
    parsed = [Molecule.parse(*pair) for pair in texts]
    cache = StructureCache(folder)
    cache.put(texts, parsed)
    cache.save()
    return parsed


def parts(folder: Path) -> list[Path]:
    return sorted(folder.rglob("part-*.bin"))


def test_no_process_is_started_for_what_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(structures, "WORTH_PROCESSES", 2)
    monkeypatch.setattr(structures, "BATCH", 2)
    asked: list[int] = []

    def here(
        function: Callable[[Texts], object], batches: Iterable[Texts], n: int, purpose: str
    ) -> Iterator[object]:
        asked.append(n)
        return map(function, batches)

    monkeypatch.setattr(structures, "in_order", here)
    (tmp_path / "c.csv").write_text("smiles\n" + "".join(f"{'C' * n}\n" for n in range(1, 10)))
    for _ in range(2):
        assert len(read_candidates(tmp_path / "c.csv", None, 2, StructureCache(tmp_path))) == 9
    assert asked == [2]


def test_what_is_read_is_what_was_parsed(tmp_path: Path) -> None:
    parsed = kept(tmp_path)
    found = StructureCache(tmp_path).lookup([("CCCO", ""), *TEXTS, TEXTS[0]])
    assert found[0] is None
    for one, wanted in zip(found[1:], [*parsed, parsed[0]], strict=True):
        assert one is not None
        for name in ("smiles", "inchikey", "first_block", "formula", "exact_mass", "charge"):
            assert getattr(one, name) == getattr(wanted, name)
        for name in ("n_components", "written", "notes", "given_key"):
            assert getattr(one, name) == getattr(wanted, name)
        assert one.mol.ToBinary() == wanted.mol.ToBinary()
        assert one.to_bytes() == wanted.to_bytes()


def test_a_table_is_parsed_once_and_reads_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(structures, "BATCH", 3)
    table = tmp_path / "c.csv"
    key = "LFQSCWFLJHTTHZ-UHFFFAOYSA-N"
    rows = [f'"{smiles}","{inchi}",{key if smiles == "CCO" else ""}' for smiles, inchi in TEXTS]
    rows = [*rows[:3], "C1CC,,", *rows, "CCO,,", *rows]
    table.write_text("smiles,inchi,inchikey\n" + "\n".join(rows) + "\n", encoding="utf-8")

    def read(cache: StructureCache | None) -> tuple[list[tuple[object, ...]], ReadReport]:
        report = ReadReport()
        found = read_candidates(table, report, 1, cache)
        columns = (found.smiles, found.exact_mass, found.inchikey, found.formula)
        return list(zip(*map(list, columns), strict=True)), report

    wanted, said = read(None)
    first = StructureCache(tmp_path)
    assert read(first) == (wanted, said)
    assert len(parts(tmp_path)) == 1
    parsed: list[str] = []

    def counted(texts: Sequence[tuple[str, str]]) -> list[Molecule | str]:
        parsed.extend(smiles for smiles, _ in texts)
        return parse_together(texts)

    monkeypatch.setattr(structures, "parse_together", counted)
    assert read(StructureCache(tmp_path)) == (wanted, said)
    assert parsed == ["C1CC"]  # what is no structure is not kept
    assert len(parts(tmp_path)) == 1


def test_texts_are_looked_up(tmp_path: Path) -> None:
    smiles = [text for text, _ in TEXTS if text]
    wanted = parse_texts([*smiles, "C1CC"], 1, StructureCache(tmp_path))
    assert isinstance(wanted[-1], str)
    assert parse_texts([*smiles, "C1CC"], 1, StructureCache(tmp_path)) == wanted
    assert len(parts(tmp_path)) == 1


@pytest.mark.usefixtures("as_on_windows")
def test_damage_is_parsed_again(tmp_path: Path) -> None:
    kept(tmp_path)
    (part,) = parts(tmp_path)
    content = bytearray(part.read_bytes())
    content[-1] ^= 1
    part.write_bytes(content)
    found = StructureCache(tmp_path).lookup(TEXTS)
    assert sum(one is None for one in found) == 1
    for broken in (content[:-1], content[:40], b"", b"x" * 200):
        part.write_bytes(broken)
        assert StructureCache(tmp_path).lookup(TEXTS) == [None] * len(TEXTS)
        assert not part.exists()


def test_what_cannot_be_opened_now_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept(tmp_path)
    (part,) = parts(tmp_path)

    def refused(*_: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as patched:
        patched.setattr(np, "memmap", refused)
        assert StructureCache(tmp_path).lookup(TEXTS) == [None] * len(TEXTS)
    assert part.exists()
    assert None not in StructureCache(tmp_path).lookup(TEXTS)


def test_parts_that_another_process_removes_cost_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept(tmp_path)
    (part,) = parts(tmp_path)
    gone = part.with_name("part-gone.bin")
    glob = Path.glob
    monkeypatch.setattr(Path, "glob", lambda *asked: [gone, *glob(*asked)])
    assert None not in StructureCache(tmp_path).lookup(TEXTS)
    monkeypatch.setattr(entry_store, "MOST_ENTRIES", 1)
    kept(tmp_path, TEXTS[:1])
    monkeypatch.undo()
    assert len(parts(tmp_path)) == 1


def test_other_limits_have_a_cache_of_their_own(tmp_path: Path) -> None:
    kept(tmp_path)
    with changed_limits(["structure_atoms=2"]):
        assert StructureCache(tmp_path).lookup(TEXTS) == [None] * len(TEXTS)


def test_the_oldest_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entry_store, "MOST_ENTRIES", 4)
    kept(tmp_path, TEXTS[:2])
    os.utime(parts(tmp_path)[0], (1.0, 1.0))
    kept(tmp_path, TEXTS[2:4])  # opening the cache is a use of its parts
    assert len(parts(tmp_path)) == 2
    for age, path in enumerate(parts(tmp_path), start=1):
        os.utime(path, (age, age))
    oldest = parts(tmp_path)[0]
    store = EntryStore(tmp_path / "elsewhere", "structures")
    store.directory = oldest.parent
    for text in TEXTS[4:]:
        store.put(digest(text[0]), b"of another structure")
    store.save()
    assert len(parts(tmp_path)) == 2
    assert not oldest.exists()


def test_many_small_parts_are_joined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is an open file, of which a process may have 256 on macOS."""
    monkeypatch.setattr(entry_store, "FEWEST_ENTRIES", 1)
    n = entry_store.MOST_PARTS
    keys = [digest(str(number)) for number in range(3 * n)]

    def put(key: bytes) -> None:
        store = EntryStore(tmp_path / "none", "kind")  # which opens nothing
        store.directory = tmp_path
        store.put(key, b"of " + key)
        store.save()

    with monkeypatch.context() as patched:
        patched.setattr(entry_store, "MOST_PARTS", 10 * n)  # as by an earlier version
        for key in keys[:-2]:
            put(key)
        broken = sorted(tmp_path.glob("part-*.bin"))[0]
        broken.write_bytes(broken.read_bytes()[:-1])
    assert len(list(tmp_path.iterdir())) == len(keys) - 2
    assert len(EntryStore(tmp_path, "kind")._parts) <= n
    monkeypatch.setattr(entry_store, "MOST_UNSAVED", 20)  # joined at a time, at least
    for key in keys[-2:]:
        put(key)
        assert len(list(tmp_path.glob("part-*.bin"))) <= n
    found = EntryStore(tmp_path, "kind").lookup(keys)
    assert len(found) == len(keys) - 1
    assert all(entry == b"of " + keys[row] for row, entry in found.items())


def test_parts_that_are_open_elsewhere_are_not_joined_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on Windows."""
    monkeypatch.setattr(entry_store, "FEWEST_ENTRIES", 1)
    monkeypatch.setattr(entry_store, "MOST_PARTS", 2)

    def refused(path: Path, *, missing_ok: bool = False) -> None:
        raise PermissionError(path, missing_ok)

    keys = [digest(str(number)) for number in range(4)]
    with monkeypatch.context() as patched:
        unlink = Path.unlink
        patched.setattr(
            Path,
            "unlink",
            lambda path, **how: (unlink if "tmp" in path.name else refused)(path, **how),
        )
        for key in keys:
            store = EntryStore(tmp_path, "kind")
            store.put(key, key)
            store.save()
    monkeypatch.setattr(entry_store, "MOST_PARTS", 100)
    assert EntryStore(tmp_path, "kind").lookup(keys) == dict(enumerate(keys))


def test_few_structures_are_not_worth_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(entry_store, "FEWEST_ENTRIES", len(TEXTS) + 1)
    kept(tmp_path)
    assert not parts(tmp_path)


def test_a_folder_that_takes_no_files_keeps_nothing(tmp_path: Path) -> None:
    (tmp_path / "structures").write_text("no folder", encoding="utf-8")
    kept(tmp_path)
    assert StructureCache(tmp_path).lookup(TEXTS) == [None] * len(TEXTS)


def test_what_is_kept_is_of_this_version() -> None:
    """A user's cache outlives the program: what an earlier version read must not be taken.

    If this fails because texts are read otherwise, raise `READING_VERSION`, or `STANDARD_VERSION`
    where pools hold other structures too, and write down what is found now.
    """
    found = hashlib.sha256()
    for pair in MANY_TEXTS:
        try:
            found.update(Molecule.parse(*pair).to_bytes())
        except StructureError:
            found.update(b"refused")
    if rdBase.rdkitVersion != READ_AS[2]:
        pytest.skip(f"written down for RDKit {READ_AS[2]}")
    versions = STANDARD_VERSION, structure_cache.READING_VERSION, rdBase.rdkitVersion
    assert (*versions, found.hexdigest()[:16]) == READ_AS
