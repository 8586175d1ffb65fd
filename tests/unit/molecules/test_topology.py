from collections.abc import Iterator

import numpy as np
import pytest
from rdkit import Chem

from specvae.molecules import topology_reader
from specvae.molecules.kept_code import compiling
from specvae.molecules.topology import AtomKind, BondKind, Topologies, atom_kinds, bond_kinds

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


@pytest.fixture(params=[True, False], autouse=True)
def is_read(request: pytest.FixtureRequest) -> Iterator[bool]:
    """Read molecules from their binary form, or ask RDKit for each atom, as for few molecules."""
    with compiling(request.param):
        yield bool(request.param)


def test_kinds_are_what_rdkit_says_of_each_atom_and_bond() -> None:
    mols = [Chem.MolFromSmiles(smiles) for smiles in MOLECULES]
    molecules = Topologies([mol if i % 2 else mol.ToBinary() for i, mol in enumerate(mols)])
    taken = molecules.taken
    found = [AtomKind(*kind) for kind in atom_kinds()[taken.atoms].tolist()]
    assert found == [
        AtomKind(
            atom.GetAtomicNum(),
            atom.GetIsAromatic(),
            atom.GetTotalNumHs(True),
            atom.GetDegree(),
            atom.GetTotalDegree(),
            atom.GetFormalCharge(),
            atom.GetTotalValence(),
            mol.GetRingInfo().NumAtomRings(atom.GetIdx()),
            mol.GetRingInfo().MinAtomRingSize(atom.GetIdx()),
        )
        for mol in mols
        for atom in mol.GetAtoms()
    ]
    place = 0
    for mol, counts in zip(mols, taken.counts.tolist(), strict=True):
        rings = mol.GetRingInfo()
        parts = len(Chem.GetMolFrags(mol))
        assert counts == [mol.GetNumAtoms(), mol.GetNumBonds(), rings.NumRings(), parts]
        for bond in mol.GetBonds():
            *ends, kind = taken.bonds[place].tolist()
            assert ends == sorted((bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()))
            wanted = BondKind(int(bond.GetBondType()), bond.GetIsAromatic(), bond.IsInRing())
            assert BondKind(*bond_kinds()[kind].tolist()) == wanted
            assert molecules.bond_at(place).GetIdx() == bond.GetIdx()
            place += 1
    assert [molecules.atom_at(i).GetAtomicNum() for i in range(len(found))] == [
        kind.number for kind in found
    ]


def test_rings_are_those_of_rdkit() -> None:
    mols = [Chem.MolFromSmiles(smiles) for smiles in MOLECULES]
    rings = Topologies(mols).rings
    expected = []
    for owner, mol in enumerate(mols):
        for atoms, bonds in zip(
            mol.GetRingInfo().AtomRings(), mol.GetRingInfo().BondRings(), strict=True
        ):
            around = [mol.GetBondWithIdx(bond) for bond in bonds]
            numbers = {mol.GetAtomWithIdx(atom).GetAtomicNum() for atom in atoms}
            expected.append(
                (
                    owner,
                    len(atoms),
                    all(bond.GetIsAromatic() for bond in around),
                    all(bond.GetBondType() == Chem.BondType.SINGLE for bond in around),
                    numbers == {6},
                    7 in numbers,
                    bool(numbers - {1, 6}),
                )
            )
    found = zip(
        rings.owner.tolist(),
        rings.size.tolist(),
        rings.is_aromatic.tolist(),
        rings.is_saturated.tolist(),
        rings.has_carbon_only.tolist(),
        rings.has_nitrogen.tolist(),
        rings.has_other.tolist(),
        strict=True,
    )
    assert list(found) == expected


def test_molecules_without_bonds_or_rings() -> None:
    molecules = Topologies([Chem.MolFromSmiles("C"), Chem.MolFromSmiles("CC")])
    assert molecules.taken.bonds.tolist()[0][:2] == [0, 1]
    assert molecules.taken.atoms.dtype == molecules.taken.bonds.dtype == np.int32
    assert len(molecules.rings.size) == 0
    assert Topologies([Chem.MolFromSmiles("C")]).taken.bonds.shape == (0, 3)


def test_what_rdkit_must_be_asked_stands_among_the_others(is_read: bool) -> None:
    mols = [Chem.MolFromSmiles(smiles) for smiles in ("CCO", "C" * 300, "[H][H]", "c1ccccc1")]
    taken = Topologies(mols).taken
    assert taken.counts[:, 0].tolist() == [3, 300, 2, 6]
    assert taken.is_read.tolist() == [is_read, False, False, is_read]


def test_more_kinds_than_there_is_room_for_first(monkeypatch: pytest.MonkeyPatch) -> None:
    known = topology_reader._Known(4)
    monkeypatch.setattr(topology_reader, "_known", lambda: known)
    mols = [Chem.MolFromSmiles(smiles) for smiles in MOLECULES]
    expected = Topologies(mols).taken
    for found, wanted in zip(Topologies(mols).taken, expected, strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_digests_tell_structures_apart_and_not_orders() -> None:
    rng = np.random.default_rng(1)
    texts = [*MOLECULES, "CC(=O)Nc1ccc2cc[nH]c2c1", "CC(=O)Nc1cccc2[nH]ccc12", "CCCO", "CC(C)O"]
    mols = [Chem.MolFromSmiles(text) for text in texts]
    others = [
        Chem.MolFromSmiles(
            Chem.MolToSmiles(
                Chem.RenumberAtoms(mol, rng.permutation(mol.GetNumAtoms()).tolist()),
                canonical=False,
            )
        )
        for mol in mols
    ]
    digests = Topologies([mol.ToBinary() for mol in mols]).digests
    assert digests.tolist() == Topologies([mol.ToBinary() for mol in others]).digests.tolist()
    assert len(set(digests.tolist())) == len(mols)
    flat = Topologies([Chem.MolFromSmiles(text) for text in ("C[C@H](N)O", "C[C@@H](N)O")])
    assert len(set(flat.digests.tolist())) == 1
