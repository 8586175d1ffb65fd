import numpy as np
import pytest
from rdkit import Chem

from specvae.molecules import topology as topology_module
from specvae.molecules.topology import AtomKind, Topology

MOLECULES = [
    "C",
    "[He]",
    "[H][H]",
    "[2H]C([2H])O",
    "[13CH3]C",
    "CC(=O)Nc1ccc2[nH]ccc2c1",
    "Cn1c2ccccc2c2c1nc1ccccc1n2",
    "O=[N+]([O-])c1ccccc1",
    "C[N](C)(C)->O",
    "c1ccn(->O)cc1",
    "c1ccn(->[Pt])cc1",
    "C~C",
    "[CH2]C",
    "[O-]C=C[P+](C)(C)C",
    "O=[Fe]=O",
    "CC[Hg]C",
    "[Na+].[Cl-]",
    "C12C3C4C1C5C2C3C45",
    "C1CCC2(CC1)CC2C#N",
    "C1" + "C" * 20 + "1",
    "OB1OB(O)OB(O)O1",
    "C[Si](C)(C)OS(=O)(=O)C(F)(Cl)I",
    "CCO" * 50,
]


@pytest.mark.parametrize("is_read", [True, False])
@pytest.mark.parametrize("smiles", MOLECULES)
def test_kinds_are_what_rdkit_says_of_each_atom_and_bond(
    smiles: str, is_read: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not is_read:  # as with another version of RDKit
        monkeypatch.setattr(topology_module, "records_of", lambda _: None)
    mol = Chem.MolFromSmiles(smiles)
    topology = Topology(mol)
    rings = mol.GetRingInfo()
    assert topology.atom_kinds == [
        AtomKind(
            atom.GetAtomicNum(),
            atom.GetIsAromatic(),
            atom.GetTotalNumHs(True),
            atom.GetDegree(),
            atom.GetTotalDegree(),
            atom.GetFormalCharge(),
            atom.GetTotalValence(),
            rings.NumAtomRings(atom.GetIdx()),
            rings.MinAtomRingSize(atom.GetIdx()),
        )
        for atom in mol.GetAtoms()
    ]
    numbers = {(i, j): kind for i, j, kind in topology.bonds.tolist()}
    by_number: dict[int, tuple[int, bool, bool]] = {}
    for bond in mol.GetBonds():
        i, j = sorted((bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()))
        kind = int(bond.GetBondType()), bond.GetIsAromatic(), bond.IsInRing()
        assert by_number.setdefault(numbers.pop((i, j)), kind) == kind
    assert not numbers
    assert len(set(by_number.values())) == len(by_number)
    for ring, kinds in zip(topology.rings, topology.ring_bond_kinds, strict=True):
        assert len(ring) == len(kinds)
        assert all(kind.is_in_ring for kind in kinds)


def test_one_atom_has_no_bonds() -> None:
    topology = Topology(Chem.MolFromSmiles("C"))
    assert topology.bonds.shape == (0, 3)
    assert topology.atoms.dtype == topology.bonds.dtype == np.int32


@pytest.mark.parametrize("is_read", [True, False])
@pytest.mark.parametrize("smiles", MOLECULES)
def test_components_are_counted(
    smiles: str, is_read: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not is_read:
        monkeypatch.setattr(topology_module, "records_of", lambda _: None)
    mol = Chem.MolFromSmiles(smiles)
    assert Topology(mol).n_components == len(Chem.GetMolFrags(mol))
    assert Topology(mol.ToBinary()).n_components == Topology(mol).n_components
