import ast
from pathlib import Path

import h5py
import numpy as np
import pytest
from pool_files import write_pool

from specvae.annotation.ranking.candidates import CandidateSource
from specvae.errors import InputError
from specvae.molecules import candidate_pool
from specvae.molecules.candidate_pool import CandidatePool
from specvae.molecules.candidates import read_candidates
from specvae.molecules.fingerprint import FingerprintLayout, get_layout
from specvae.molecules.molecule import parse_molecule
from specvae.progress import Silence
from specvae.report import ReadReport

ALKANOLS = [f"{'C' * n}O" for n in range(1, 9)]
ETHERS = [f"{'C' * n}OC" for n in range(1, 8)]
LAYOUT = get_layout("morgan4096")


@pytest.fixture(scope="module")
def structures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pool") / "structures.csv"
    rows = [f"{smiles},n{i},{i}" for i, smiles in enumerate([*ETHERS, *ALKANOLS])]
    # Stereoisomers, of which the first is kept, a salt of what is there already, and a bad row.
    added = ["C[C@H](N)C(=O)O,l,l", "C[C@@H](N)C(=O)O,d,d", "CCO.Cl,salt,s", "c1cc,bad,b"]
    path.write_text("\n".join(["smiles,name,id", *rows, *added]) + "\n")
    return path


@pytest.fixture(scope="module")
def pool_path(structures: Path) -> Path:
    path = structures.with_name("pool.h5")
    report = ReadReport()
    assert write_pool(structures, LAYOUT, path, report=report) == 16
    assert len(report.skips) == 1
    return path


def test_pool_holds_what_the_table_holds(pool_path: Path, structures: Path) -> None:
    table = read_candidates(structures)
    with CandidatePool.open(pool_path, LAYOUT) as pool:
        assert len(pool) == 16
        assert (np.diff(pool.exact_mass) >= 0).all()
        everything = pool.slice(0, len(pool))
    assert set(everything.name) == set(table.name) - {"d", "salt"}
    for i, smiles in enumerate(everything.smiles):
        molecule = parse_molecule(smiles)
        assert everything.inchikey[i] == molecule.inchikey
        assert everything.first_block[i] == molecule.first_block
        assert everything.exact_mass[i] == molecule.exact_mass
    np.testing.assert_array_equal(everything.packed, LAYOUT.compute(list(everything.smiles)))


@pytest.mark.parametrize("far", [0, 3, 1024])
def test_rows_far_apart_are_read_in_the_order_asked_for(
    pool_path: Path, monkeypatch: pytest.MonkeyPatch, far: int
) -> None:
    """Those between two mass windows are not read."""
    monkeypatch.setattr(candidate_pool, "FAR_ROWS", far)
    with CandidatePool.open(pool_path, LAYOUT) as pool:
        everything = pool.slice(0, len(pool)).packed
        for rows in ([12, 13, 2, 1, 15], [4], []):
            chosen = np.array(rows, np.int64)
            np.testing.assert_array_equal(pool.packed(LAYOUT, chosen), everything[chosen])


@pytest.mark.parametrize("ppm", [0.0, 1.0, 10.0, 1e5, 1e7])
def test_within_equals_brute_force(pool_path: Path, ppm: float) -> None:
    rng = np.random.default_rng(0)
    with CandidatePool.open(pool_path) as pool:
        everything = pool.slice(0, len(pool))
        masses = [*pool.exact_mass, *rng.uniform(10, 200, 20)]
        for mass in masses:
            found = pool.within(mass, ppm)
            assert pool.n_within(mass, ppm) == len(found)
            within = np.abs(everything.exact_mass - mass) <= mass * ppm * 1e-6
            assert found.smiles.tolist() == everything.smiles[within].tolist()
            assert found.packed.shape == (within.sum(), LAYOUT.n_bytes)


def test_info(pool_path: Path, structures: Path) -> None:
    with CandidatePool.open(pool_path) as pool:
        info = pool.info()
    assert [layout["name"] for layout in info["layouts"]] == ["morgan4096"]
    assert info["n_structures"] == 16
    assert info["n_duplicates"] == 2
    assert info["n_skipped"] == 1
    assert info["layouts"][0]["n_bits"] == 4096
    assert info["layouts"][0]["probe_sha256"] == LAYOUT.probe_sha256
    assert [source["file"] for source in info["sources"]] == [structures.name]
    assert info["mass_range"][0] == pytest.approx(parse_molecule("CO").exact_mass)


class Told(Silence):
    def __init__(self) -> None:
        self.steps: list[tuple[str, int]] = []
        self.lines: list[str] = []

    def log(self, message: str) -> None:
        self.lines.append(message)

    def progress(self, stage: str, done: int, total: int | None = None) -> None:
        self.steps.append((stage, done))


def test_several_files_and_progress(tmp_path: Path) -> None:
    first, second = tmp_path / "a.smi", tmp_path / "b.tsv"
    first.write_text("CCO a\nCO b\n")
    second.write_text("smiles\tid\nOCC\tagain\nCOC\tc\n")
    output, progress = tmp_path / "pool.h5", Told()
    write_pool([first, second], LAYOUT, output, progress=progress)
    assert progress.steps[-1] == ("writing the pool", 3)
    with CandidatePool.open(output, LAYOUT) as pool:
        found = pool.slice(0, 3)
    assert found.smiles.tolist() == ["CO", "CCO", "COC"]
    assert found.name.tolist() == ["b", "a", ""]


def test_nothing_usable_leaves_no_file(tmp_path: Path) -> None:
    path = tmp_path / "a.smi"
    path.write_text("c1cc\n")
    with pytest.raises(InputError, match="no usable structure"):
        write_pool(path, LAYOUT, tmp_path / "pool.h5")
    assert list(tmp_path.iterdir()) == [path]


def refusal(path: Path, layout: FingerprintLayout | None = None) -> str:
    with pytest.raises(InputError) as caught:
        CandidatePool.open(path, layout)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_other_fingerprints_are_refused(pool_path: Path) -> None:
    assert "morgan4096 version 1, but mixed2149" in refusal(pool_path, get_layout("mixed2149"))
    newer = FingerprintLayout(LAYOUT.name, 2, LAYOUT.columns)
    assert "version 2 is wanted" in refusal(pool_path, newer)
    other_bits = FingerprintLayout(LAYOUT.name, LAYOUT.version, LAYOUT.columns[::-1])
    assert "another version of RDKit" in refusal(pool_path, other_bits)


def test_unusable_files_are_refused(pool_path: Path, tmp_path: Path) -> None:
    whole = pool_path.read_bytes()
    path = tmp_path / "x.h5"
    assert "no such file" in refusal(path)
    path.write_bytes(whole[: len(whole) // 2])
    assert "not a complete HDF5 file" in refusal(path)
    path.write_text("smiles\nCCO\n")
    assert "not a complete HDF5 file" in refusal(path)
    path.write_bytes(b"")
    assert "not a complete HDF5 file" in refusal(path)
    path.unlink()
    with h5py.File(path, "w") as file:
        file["other"] = 1
    assert "no candidate pool" in refusal(path)
    path.write_bytes(whole)
    with h5py.File(path, "r+") as file:
        file.attrs["format_version"] = 99
    assert "pool format 99" in refusal(path)
    path.write_bytes(whole)
    with h5py.File(path, "r+") as file:
        del file["packed_morgan4096"]
    assert "damaged" in refusal(path)


def everything_in(path: Path) -> list[object]:
    """Return all that a pool gives to a ranking, read in two parts."""
    with CandidatePool.open(path, LAYOUT) as pool:
        parts = [pool.slice(0, 600), pool.slice(500, len(pool))]
        masses = pool.exact_mass.tolist()
    columns = ("smiles", "name", "id", "inchikey", "packed")
    return [masses, *(getattr(part, name).tolist() for part in parts for name in columns)]


def as_first_format(pool: Path, path: Path) -> None:
    """Write a pool as it was written before it had checksums."""
    with CandidatePool.open(pool) as opened, h5py.File(path, "w") as file:
        found = opened.slice(0, len(opened))
        dropped = ("digest", "mass_range", "layouts", "n_bytes")
        attributes = {k: v for k, v in opened.info().items() if k not in dropped}
        attributes |= {
            "format_version": 1, "sources": "[]", "layout": LAYOUT.name, "layout_version": 1,
            "n_bits": LAYOUT.n_bits, "probe_sha256": LAYOUT.probe_sha256,
        }  # fmt: skip
        file.attrs.update(attributes)
        file["exact_mass"] = opened.exact_mass
        file["inchikey"] = np.array([key.encode() for key in found.inchikey], dtype="S27")
        for column in ("smiles", "name", "id"):
            values = getattr(found, column).tolist()
            file.create_dataset(column, data=values, dtype=h5py.string_dtype())
        file["packed"] = found.packed


@pytest.fixture(scope="module")
def long_pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a pool of two chunks."""
    path = tmp_path_factory.mktemp("long") / "x.csv"
    rows = (f"{'C' * (i % 30)}{'O' * (i // 30)}N,n{i},{i}" for i in range(30 * 20))
    path.write_text("smiles,name,id\n" + "\n".join(rows) + "\n")
    assert write_pool(path, LAYOUT, path.with_suffix(".h5")) == 600
    return path.with_suffix(".h5")


def test_flipped_bits_never_change_an_answer(long_pool: Path, tmp_path: Path) -> None:
    whole, sound = long_pool.read_bytes(), everything_in(long_pool)
    rng, path = np.random.default_rng(0), tmp_path / "x.h5"
    n_noticed = 0
    for place, bit in zip(rng.integers(0, len(whole), 150), rng.integers(0, 8, 150), strict=True):
        broken = bytearray(whole)
        broken[place] ^= 1 << bit
        path.write_bytes(broken)
        try:
            found = everything_in(path)
        except InputError:
            n_noticed += 1
        else:
            assert found == sound, f"byte {place}, bit {bit}"
    assert n_noticed > 20


def test_changed_columns_are_noticed(long_pool: Path, tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    for column, place, value, row in (
        ("smiles_text", -1, 33, 599), ("name_text", 0, 33, 0), ("id_end", 599, 1, 599),
        ("inchikey_text", 513 * 27, 33, 513), ("packed_morgan4096", 0, np.zeros(512, np.uint8), 0),
    ):  # fmt: skip
        path.write_bytes(long_pool.read_bytes())
        with h5py.File(path, "r+") as file:
            file[column][place % len(file[column])] = value
        with CandidatePool.open(path, LAYOUT) as pool:
            with pytest.raises(InputError, match="the candidate pool is damaged"):
                pool.slice(row, row + 1)
            other = 0 if row >= 512 else 512
            assert len(pool.slice(other, other + 1)) == 1  # a sound chunk can be used


def test_texts_that_end_four_gigabytes_later_are_noticed(long_pool: Path, tmp_path: Path) -> None:
    """Checksums hold four bytes of a text's length, which such an end leaves as they are."""
    path = tmp_path / "x.h5"
    path.write_bytes(long_pool.read_bytes())
    with h5py.File(path, "r+") as file:
        file["id_end"][300] += np.uint64(1 << 32)
    with CandidatePool.open(path, LAYOUT) as pool:
        with pytest.raises(InputError, match="the candidate pool is damaged"):
            pool.slice(300, 301)
        assert pool.slice(599, 600).id.tolist() == ["599"]


def test_texts_other_than_ascii_are_read(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    names = ["β-alanine", "plain", "", "アラニン"]
    rows = (f"{'C' * (i + 1)}N,{name}\n" for i, name in enumerate(names))
    path.write_text("smiles,name\n" + "".join(rows), encoding="utf-8")
    write_pool(path, LAYOUT, path.with_suffix(".h5"))
    with CandidatePool.open(path.with_suffix(".h5"), LAYOUT) as pool:
        assert pool.slice(0, 4).name.tolist() == names
        assert pool.slice(1, 3).name.tolist() == names[1:3]


@pytest.mark.parametrize("change", ["mass", "unsorted", "checksum", "layout", "narrow", "link"])
def test_a_changed_whole_is_refused(long_pool: Path, tmp_path: Path, change: str) -> None:
    path = tmp_path / "x.h5"
    path.write_bytes(long_pool.read_bytes())
    with h5py.File(path, "r+") as file:
        if change == "mass":
            file["first_mass"][0] = 1.0
        elif change == "unsorted":
            file["first_mass"][0] = 1e5
        elif change == "checksum":
            del file["checksum_text"]
        elif change == "layout":
            file.attrs["n_skipped"] = 7
        elif change == "narrow":
            narrow = file["packed_morgan4096"][:, :100]
            del file["packed_morgan4096"]
            file["packed_morgan4096"] = narrow
        else:
            del file["name_text"]
            file["name_text"] = h5py.ExternalLink(str(long_pool), "name_text")
    assert "the candidate pool is damaged" in refusal(path, LAYOUT)


def test_a_pool_of_the_first_format_is_read_and_said_to_have_no_checksums(
    long_pool: Path, tmp_path: Path
) -> None:
    path = tmp_path / "x.h5"
    as_first_format(long_pool, path)
    report = ReadReport()
    with CandidateSource(path, LAYOUT, 10.0, report):
        assert everything_in(path) == everything_in(long_pool)
    assert list(report.notes) == [
        "pool without checksums, whose damage is not noticed: build it again"
    ]


def test_every_pool_that_is_opened_is_closed() -> None:
    """Files of pools stayed open until the program ended."""
    root = Path(__file__).parents[3]
    loose = []
    for path in [*root.glob("specvae/**/*.py"), *root.glob("benchmarks/**/*.py")]:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        kept: set[ast.AST] = {
            call
            for node in ast.walk(tree)
            for call in (
                [item.context_expr for item in node.items] if isinstance(node, ast.With) else []
            )
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Return) and node.value is not None:
                kept.add(node.value)  # the caller closes it
            if isinstance(node, ast.Attribute) and node.attr == "close":
                kept.add(node.value)
            # An exit stack closes it too, and so does what keeps it to be closed itself.
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("enter_context"):
                kept |= set(ast.walk(node))
            if isinstance(node, ast.ClassDef) and node.name in (
                "CandidateSource",
                "PoolSource",
            ):
                kept |= set(ast.walk(node))
        loose += [
            f"{path.name}:{node.lineno}"
            for node in ast.walk(tree)
            if isinstance(node, ast.Call)
            and ast.unparse(node.func) in ("CandidatePool.open", "CandidateSource", "PoolSource")
            and node not in kept
        ]
    assert loose == []


def test_a_pool_says_whether_its_structures_are_as_they_are_now(tmp_path: Path) -> None:
    structures, path = tmp_path / "s.csv", tmp_path / "old.h5"
    structures.write_text("smiles\nCCO\n", encoding="utf-8")
    write_pool(structures, LAYOUT, path)
    with CandidatePool.open(path) as pool:
        assert pool.is_current
    as_first_format(path, tmp_path / "first.h5")
    path = tmp_path / "first.h5"
    with h5py.File(path, "r+") as file:
        del file.attrs["standard_version"]
    with CandidatePool.open(path) as pool:
        assert not pool.is_current
    report = ReadReport()
    with CandidateSource(path, LAYOUT, 10.0, report):
        assert "pool of an earlier version" in next(iter(report.notes))


def test_stored_fingerprints_of_another_kind_are_named() -> None:
    same = {"name": LAYOUT.name, "version": LAYOUT.version, "probe_sha256": LAYOUT.probe_sha256}
    assert LAYOUT.mismatch(**same) is None
    assert LAYOUT.mismatch(n_bits=3) == f"n_bits is {LAYOUT.n_bits} here, but 3 is stored"
