"""Morgan environments in compiled code against RDKit's generator."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import rdFingerprintGenerator
from shared_data import shared

from specvae.molecules.blocks import MorganBlock
from specvae.molecules.fingerprint import compute_all, get_layout
from specvae.molecules.kept_code import compiling
from specvae.molecules.morgan import environments
from specvae.molecules.text_tables import open_text
from specvae.molecules.topology import Topologies

MOLECULES = [
    "C",
    "[Na+].[Cl-]",
    "CC",
    "CC(C)(C)C",
    "C12C3C4C1C5C2C3C45",
    "[13CH3]C([2H])=O",
    "C/C=C/[C@H](N)C(=O)[O-]",
    "CC(=O)Nc1ccc2[nH]ccc2c1",
    "O=[N+]([O-])c1ccc(S(=O)(=O)C#N)cc1",
    "c1ccn(->[Pt])cc1",
    "C1" + "CCO" * 60 + "1",
    "CC(C)CC(NC(=O)C(CC(=O)O)NC(=O)C(C)N)C(=O)NC(Cc1ccccc1)C(=O)O",
]


@pytest.fixture(autouse=True)
def read() -> Iterator[None]:
    """Read molecules from their binary form from the first one on."""
    with compiling(True):
        yield


@pytest.mark.parametrize("radius", [0, 1, 2, 4])
def test_bits_are_those_of_rdkit(radius: int) -> None:
    mols = [Chem.MolFromSmiles(smiles) for smiles in MOLECULES]
    molecules = Topologies([mol.ToBinary() for mol in mols])
    generator = rdFingerprintGenerator.GetMorganGenerator(radius=radius, fpSize=1024)
    found = environments(molecules, radius, 1024)
    for smiles, mol, is_read, bits in zip(
        MOLECULES, mols, molecules.taken.is_read, found, strict=True
    ):
        assert is_read == ("[2H]" not in smiles)
        if is_read:
            assert np.flatnonzero(bits).tolist() == list(generator.GetFingerprint(mol).GetOnBits())


def test_rdkit_is_not_asked_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    block = MorganBlock()
    taken = Topologies([Chem.MolFromSmiles(MOLECULES[-1])])
    with compiling(False):
        expected = block.compute(taken)
    block.compute(taken)
    monkeypatch.setattr(block, "_generator", None)
    np.testing.assert_array_equal(block.compute(taken), expected)


def test_it_is_left_where_rdkit_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    block = MorganBlock()
    taken = Topologies([Chem.MolFromSmiles("CCO")])
    with compiling(False):
        expected = block.compute(taken)
    monkeypatch.setattr("specvae.molecules.morgan._set_all", lambda *_: None)
    for _ in range(2):
        np.testing.assert_array_equal(block.compute(taken), expected)


def test_fingerprints_of_real_structures_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    with open_text(shared("structures/structures.tsv.gz")) as stream:
        texts = [line.rstrip().split("\t")[-1] for line, _ in zip(stream, range(400), strict=False)]
    layouts = [get_layout("mixed2149"), get_layout("morgan4096")]
    with compiling(False):
        expected = compute_all(layouts, texts[1:])
    made: list[bytes] = []
    mol: Any = Chem.Mol

    def counted(binary: bytes) -> object:
        made.append(binary)
        return mol(binary)

    monkeypatch.setattr(Chem, "Mol", counted)
    for found, wanted in zip(compute_all(layouts, texts[1:]), expected, strict=True):
        np.testing.assert_array_equal(found, wanted)
    # RDKit's object is made for few of them: those with something new, or that is not settled.
    assert len(made) < len(texts) // 2
