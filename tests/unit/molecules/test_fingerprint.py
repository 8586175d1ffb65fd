import csv
import pickle
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from rdkit import Chem
from rdkit.Chem import rdFingerprintGenerator, rdMolDescriptors
from shared_data import shared

from specvae.errors import ConfigError, StructureError
from specvae.molecules import fingerprint as module
from specvae.molecules.blocks import get_block
from specvae.molecules.fingerprint import (
    LAYOUT_NAMES,
    FingerprintCache,
    FingerprintLayout,
    all_fingerprints,
    compute_all,
    fingerprints,
    get_layout,
    unpack,
)
from specvae.molecules.molecule import Molecule, parse_molecule

SMILES = [
    "CCO",
    "CN1C=NC2=C1C(=O)N(C(=O)N2C)C",
    "CC(C)Cc1ccc(cc1)C(C)C(=O)O",
    "OCC1OC(O)C(O)C(O)C1O",
    "C[N+](C)(C)CC(=O)[O-]",
    "NS(=O)(=O)c1cc(C(=O)NCc2ccco2)c(Cl)cc1NC=O",
]


@pytest.mark.parametrize("name", LAYOUT_NAMES)
def test_a_bit_is_found_in_the_molecule_that_has_it(name: str) -> None:
    """Each bit that is no count has its atoms, and only where it is set."""
    layout = get_layout(name)
    mol = Chem.MolFromSmiles(SMILES[5])
    set_bits = np.flatnonzero(bits_of(layout, SMILES[5]))
    n_found = 0
    for bit in set_bits[:200].tolist():
        places = layout.places(bit, mol)
        n_found += bool(places)
        assert all(0 <= atom < mol.GetNumAtoms() for atoms in places for atom in atoms)
    assert n_found > 0.6 * len(set_bits[:200])
    absent = np.flatnonzero(bits_of(layout, SMILES[5]) == 0)
    morgan = [bit for bit in absent.tolist() if layout.columns[bit][0] == "morgan"]
    assert not any(layout.places(bit, mol) for bit in morgan[:50])


def test_a_folded_bit_has_the_environment_of_the_molecule_at_hand() -> None:
    layout = get_layout("morgan4096")
    mol = Chem.MolFromSmiles("CCO")
    found = {
        Chem.MolFragmentToSmiles(mol, list(layout.places(bit, mol)[0]))
        for bit in np.flatnonzero(bits_of(layout, "CCO")).tolist()
    }
    assert found == {"C", "O", "CC", "CO", "CCO"}
    assert layout.title(7) == "Morgan environment 7"


def bits_of(layout: FingerprintLayout, smiles: str) -> NDArray[np.uint8]:
    bits: NDArray[np.uint8] = unpack(layout.compute([smiles]), layout.n_bits)[0]
    return bits


@pytest.mark.parametrize(
    ("name", "n_bits", "blocks"),
    [
        (
            "svae2149",
            2149,
            (
                ("laggner", 0, 130),
                ("pubchem", 130, 637),
                ("klekota_roth", 637, 1971),
                ("functional_groups", 1971, 2011),
                ("maccs", 2011, 2149),
            ),
        ),
        ("morgan4096", 4096, (("morgan", 0, 4096),)),
        ("mixed2149", 2149, (("maccs", 0, 166), ("pubchem", 166, 1047), ("morgan", 1047, 2149))),
    ],
)
def test_layout(name: str, n_bits: int, blocks: tuple[tuple[str, int, int], ...]) -> None:
    layout = get_layout(name)
    assert (layout.name, layout.n_bits, layout.blocks) == (name, n_bits, blocks)
    assert layout.n_bytes == -(-n_bits // 8)
    assert len(set(layout.columns)) == n_bits
    # Within a block the order of the source is kept.
    for _, start, stop in blocks:
        indices = [index for _, index in layout.columns[start:stop]]
        assert indices == sorted(indices)
    assert get_layout(name) is layout


@pytest.mark.parametrize("name", LAYOUT_NAMES)
def test_every_bit_has_a_meaning(name: str) -> None:
    layout = get_layout(name)
    meanings = [layout.meaning(bit) for bit in range(layout.n_bits)]
    assert all(meaning.strip() and "\n" not in meaning for meaning in meanings)
    assert len(set(meanings)) > 0.95 * len(meanings)
    with pytest.raises(IndexError, match=name):
        layout.meaning(layout.n_bits)
    with pytest.raises(IndexError):
        layout.meaning(-1)


def test_meanings_name_counts_keys_patterns_and_environments() -> None:
    assert get_block("pubchem").meaning(0) == "H >= 4"
    assert get_block("maccs").meaning(83) == "MACCS key 84: [NH2]"
    assert "more than" in get_block("maccs").meaning(139)
    assert get_block("functional_groups").meaning(0).startswith("cation: [")
    assert "radius 2, folded index 1; most often " in get_layout("morgan4096").meaning(1)


@pytest.mark.parametrize(("typed", "nearest"), [("svae", "svae2149"), ("morgan", "morgan4096")])
def test_unknown_layout_names_the_nearest(typed: str, nearest: str) -> None:
    with pytest.raises(ConfigError, match=f"did you mean {nearest}"):
        get_layout(typed)


def test_probe_differs_between_layouts_and_is_stable() -> None:
    probes = {get_layout(name).probe_sha256 for name in LAYOUT_NAMES}
    assert len(probes) == len(LAYOUT_NAMES)
    layout = get_layout("morgan4096")
    again = FingerprintLayout(layout.name, layout.version, layout.columns)
    assert again.probe_sha256 == layout.probe_sha256
    fewer = FingerprintLayout(layout.name, layout.version, layout.columns[::-1])
    assert fewer.probe_sha256 != layout.probe_sha256


def test_layout_travels_to_other_processes() -> None:
    layout = get_layout("svae2149")
    layout.compute(["CCO"])
    received = pickle.loads(pickle.dumps(layout))
    assert received.columns == layout.columns
    np.testing.assert_array_equal(received.compute(SMILES), layout.compute(SMILES))


def test_morgan_is_rdkit_s() -> None:
    generator = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=4096)
    for smiles in SMILES:
        expected = generator.GetFingerprintAsNumPy(Chem.MolFromSmiles(smiles))
        np.testing.assert_array_equal(bits_of(get_layout("morgan4096"), smiles), expected)


def test_maccs_is_rdkit_s() -> None:
    layout = FingerprintLayout("maccs", 1, tuple(("maccs", i) for i in range(166)))
    for smiles in SMILES:
        keys = rdMolDescriptors.GetMACCSKeysFingerprint(Chem.MolFromSmiles(smiles))
        np.testing.assert_array_equal(bits_of(layout, smiles), list(keys)[1:])


def test_packing_puts_bit_0_lowest_in_byte_0() -> None:
    packed = np.array([[0b0000_0001, 0b0000_0010]], dtype=np.uint8)
    assert np.flatnonzero(unpack(packed, 16)[0]).tolist() == [0, 9]
    assert unpack(packed, 12).shape == (1, 12)
    layout = get_layout("svae2149")
    bits = bits_of(layout, SMILES[1])
    np.testing.assert_array_equal(
        np.packbits(bits, bitorder="little"), layout.compute([SMILES[1]])[0]
    )


def test_salt_and_parent_have_one_fingerprint() -> None:
    layout = get_layout("svae2149")
    np.testing.assert_array_equal(*layout.compute(["CCCC(=O)[O-].[Na+]", "CCCC(=O)O"]))


def pubchem(smiles: str) -> set[str]:
    block = get_block("pubchem")
    layout = FingerprintLayout("pubchem", 1, tuple(("pubchem", i) for i in range(block.n_bits)))
    return {block.meaning(int(i)) for i in np.flatnonzero(bits_of(layout, smiles))}


def test_pubchem_counts_elements_and_rings() -> None:
    caffeine = pubchem("CN1C=NC2=C1C(=O)N(C(=O)N2C)C")
    assert {"H >= 8", "C >= 8", "N >= 4", "O >= 2"} <= caffeine
    assert not {"H >= 16", "C >= 16", "N >= 8", "O >= 4"} & caffeine
    assert {">= 2 aromatic rings", ">= 2 hetero-aromatic rings"} <= caffeine
    assert ">= 3 aromatic rings" not in caffeine
    benzene = pubchem("c1ccccc1")
    assert ">= 1 saturated or aromatic carbon-only ring size 6" in benzene
    assert ">= 1 aromatic ring" in benzene
    assert (
        not {
            ">= 2 aromatic rings",
            ">= 1 hetero-aromatic ring",
            ">= 1 saturated or aromatic heteroatom-containing ring size 6",
        }
        & benzene
    )
    # The hydrogen of pyrrole's nitrogen is written out, and counts.
    assert "H >= 4" in pubchem("c1cc[nH]c1C")
    cyclohexene = pubchem("C1=CCCCC1")
    assert ">= 1 unsaturated non-aromatic carbon-only ring size 6" in cyclohexene
    assert ">= 1 saturated or aromatic carbon-only ring size 6" not in cyclohexene


def test_blocks_are_those_of_scikit_fingerprints() -> None:
    from skfp.fingerprints import (
        KlekotaRothFingerprint,
        LaggnerFingerprint,
        PubChemFingerprint,
    )

    for name, theirs, first in (
        ("laggner", LaggnerFingerprint(), 0),
        ("klekota_roth", KlekotaRothFingerprint(), 0),
        ("pubchem", PubChemFingerprint(), 263),  # counts before that differ on purpose
    ):
        n_bits = get_block(name).n_bits
        layout = FingerprintLayout(name, 1, tuple((name, i) for i in range(n_bits)))
        ours = unpack(layout.compute(SMILES), n_bits)
        np.testing.assert_array_equal(ours[:, first:], theirs.transform(SMILES)[:, first:])


def test_skfp_and_torch_are_not_imported_by_computing() -> None:
    import subprocess

    code = (
        "import sys; from specvae.molecules.fingerprint import get_layout;"
        "get_layout('svae2149').compute(['CCO']);"
        "print([m for m in ('torch', 'skfp', 'sklearn', 'pandas') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_published_fingerprints_agree() -> None:
    layout = get_layout("svae2149")
    csv.field_size_limit(sys.maxsize)
    with shared("svae_paper/test.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    published = np.array([[c == "1" for c in row["fp_short"] if c in "01"] for row in rows])
    computed = unpack(layout.compute([row["SMILES"] for row in rows]), layout.n_bits)
    same = published == (computed == 1)
    differ = {name: int((~same[:, start:stop]).sum()) for name, start, stop in layout.blocks}
    at_most = {
        "laggner": 2,
        "pubchem": 131,
        "klekota_roth": 39,
        "functional_groups": 2,
        "maccs": 162,
    }
    assert {name: n for name, n in differ.items() if n > at_most[name]} == {}
    is_own = np.zeros(layout.n_bits, dtype=bool)
    is_own[1971:2011] = True
    assert same[:, ~is_own].mean() >= 0.998
    # The agreement is with these molecules, not with molecules at large.
    assert (published[::-1] == (computed == 1))[:, ~is_own].mean() < 0.95


def test_of_a_layout_that_all_processes_have_its_name_is_sent() -> None:
    layout = get_layout("mixed2149")
    sent = pickle.dumps(layout)
    assert len(sent) < 200
    assert pickle.loads(sent) is layout is module.in_this_process(layout)
    own = FingerprintLayout("mixed2149", 1, layout.columns[:3])
    assert module.in_this_process(pickle.loads(pickle.dumps(own))).columns == own.columns


class Counting:
    """Counts the molecules whose fingerprints are computed, and says of which layouts."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.computed: list[str] = []
        self.layouts: list[tuple[str, ...]] = []

        def counted(
            layouts: Sequence[FingerprintLayout], molecules: Sequence[Molecule]
        ) -> list[NDArray[np.uint8]]:
            self.computed += [molecule.smiles for molecule in molecules]
            self.layouts += [tuple(layout.name for layout in layouts)] * len(molecules)
            return compute_all(layouts, molecules)

        monkeypatch.setattr(module, "compute_all", counted)


def test_fingerprints_computes_each_molecule_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout = get_layout("morgan4096")
    assert layout.probe_sha256
    counting = Counting(monkeypatch)
    wanted = [*SMILES, SMILES[0], SMILES[3]]
    steps: list[tuple[int, int]] = []
    first = fingerprints(
        wanted,
        layout,
        FingerprintCache(tmp_path),
        progress=lambda n, total: steps.append((n, total)),
    )
    assert counting.computed == [parse_molecule(smiles).smiles for smiles in SMILES]
    assert steps[-1] == (6, 6)
    np.testing.assert_array_equal(first[0], first[6])
    again = fingerprints(wanted[::-1], layout, FingerprintCache(tmp_path))
    assert len(counting.computed) == 6
    np.testing.assert_array_equal(again[::-1], first)
    one_more = fingerprints([*wanted, "CCC"], layout, FingerprintCache(tmp_path))
    assert counting.computed[6:] == ["CCC"]
    assert one_more.shape == (9, 512)


def test_layouts_do_not_share_cached_fingerprints(tmp_path: Path) -> None:
    cache = FingerprintCache(tmp_path)
    morgan, paper = get_layout("morgan4096"), get_layout("svae2149")
    fingerprints(SMILES, morgan, cache)
    np.testing.assert_array_equal(fingerprints(SMILES, paper, cache), paper.compute(SMILES))


def test_layouts_are_computed_together_where_they_are_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = FingerprintCache(tmp_path)
    morgan, mixed = get_layout("morgan4096"), get_layout("mixed2149")
    assert mixed.probe_sha256
    fingerprints(SMILES[:2], morgan, cache)
    counting = Counting(monkeypatch)
    found = all_fingerprints([*SMILES, SMILES[0]], [morgan, mixed], cache)
    assert counting.layouts == [("morgan4096", "mixed2149")] * 4 + [("mixed2149",)] * 2
    for layout, table in zip((morgan, mixed), found, strict=True):
        np.testing.assert_array_equal(table, compute_all([layout], [*SMILES, SMILES[0]])[0])
    all_fingerprints(SMILES, [mixed, morgan], cache)
    assert len(counting.computed) == len(SMILES)


def test_no_molecules() -> None:
    layout = get_layout("morgan4096")
    assert fingerprints([], layout).shape == (0, layout.n_bytes)


def test_structure_is_computed_once_in_whatever_spelling(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout = get_layout("morgan4096")
    assert layout.probe_sha256
    counting = Counting(monkeypatch)
    table = fingerprints(["OCC", "CCO", "CO", "CCO.Cl"], layout, FingerprintCache(tmp_path))
    assert counting.computed == ["CCO", "CO"]
    np.testing.assert_array_equal(table[0], table[1])
    np.testing.assert_array_equal(table[0], table[3])
    other = fingerprints(["C(O)C", "OC"], layout, FingerprintCache(tmp_path))
    assert counting.computed == ["CCO", "CO"]
    np.testing.assert_array_equal(other, table[1:3])


def test_bad_molecule_is_named_before_anything_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    counting = Counting(monkeypatch)
    with pytest.raises(StructureError, match="c1cc"):
        fingerprints([*SMILES, "c1cc"], get_layout("morgan4096"))
    assert counting.computed == []


def test_interrupted_work_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK", 2)
    layout = get_layout("morgan4096")

    def stop(done: int, total: int) -> None:
        if done >= 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fingerprints(SMILES, layout, FingerprintCache(tmp_path), progress=stop)
    counting = Counting(monkeypatch)
    fingerprints(SMILES, layout, FingerprintCache(tmp_path))
    assert counting.computed == [parse_molecule(smiles).smiles for smiles in SMILES[4:]]


def test_parallel_equals_serial(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WORTH_A_PROCESS", 1)
    monkeypatch.setattr(module, "CHUNK", 3)
    layout = get_layout("svae2149")
    smiles = [*SMILES, *(f"{'C' * n}O" for n in range(2, 9))]
    parallel = fingerprints(smiles, layout, n_jobs=2)
    np.testing.assert_array_equal(parallel, layout.compute(smiles))


ENDLESS = """
import multiprocessing

from specvae.molecules import fingerprint as module
from specvae.molecules.fingerprint import fingerprints, get_layout

if __name__ == "__main__":
    module._WORTH_A_PROCESS = module._CHUNK = 1
    smiles = [f"{'C' * (n // 50 + 1)}O{'C' * (n % 50 + 1)}N" for n in range(2500)]


    def show(done: int, total: int) -> None:
        if done:
            print(multiprocessing.active_children()[0].pid, flush=True)

    fingerprints(smiles, get_layout("morgan4096"), n_jobs=2, progress=show)
"""


def _is_running(process: Path) -> bool:
    try:
        # What nobody has collected yet stays as a zombie.
        return (process / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="asks /proc who is alive")
def test_workers_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    import subprocess
    import time

    script = tmp_path / "endless.py"
    script.write_text(ENDLESS)
    with subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        worker = Path("/proc") / parent.stdout.readline().strip()
        assert _is_running(worker)
        parent.kill()
    deadline = time.monotonic() + 30
    while _is_running(worker):
        assert time.monotonic() < deadline, "a worker outlives its parent"
        time.sleep(0.05)
