"""RDKit's binary form of a molecule, taken apart."""

import pytest
from rdkit import Chem

from specvae.molecules import binary_form as module
from specvae.molecules.binary_form import AROMATIC, CONJUGATED, records_of

MOLECULES = [
    "C",
    "CC(=O)N[C@@H](C)c1ccccc1",
    "F/C=C(/Cl)Br",
    "C/C=C/C=C\\C",
    "[13CH3][N+](C)(C)CC(=O)[O-]",
    "[CH2]C[235U]",
    "C[S@@](=O)CCC#N",
    "c1ccn(->[Pt])cc1",
    "[Na+].[Cl-]",
    "C12C3C4C1C5C2C3C45",
    "C1" + "C" * 252 + "1",
]


@pytest.mark.parametrize("is_renumbered", [False, True])
@pytest.mark.parametrize("smiles", MOLECULES)
def test_records_say_what_rdkit_says(smiles: str, is_renumbered: bool) -> None:
    mol = Chem.MolFromSmiles(smiles)
    if is_renumbered:
        mol = Chem.RenumberAtoms(mol, [*range(1, mol.GetNumAtoms()), 0])
        Chem.Kekulize(mol, clearAromaticFlags=False)
    found = records_of(mol.ToBinary())
    assert found is not None
    assert [atom[0] for atom in found.atoms] == [atom.GetAtomicNum() for atom in mol.GetAtoms()]
    assert found.bonds == [
        (
            bond.GetBeginAtomIdx(),
            bond.GetEndAtomIdx(),
            int(bond.GetBondType()),
            AROMATIC * bond.GetIsAromatic() + CONJUGATED * bond.GetIsConjugated(),
        )
        for bond in mol.GetBonds()
    ]
    assert [tuple(ring) for ring in found.rings] == list(mol.GetRingInfo().AtomRings())


def test_atoms_with_equal_records_are_equal_to_rdkit() -> None:
    known: dict[bytes, tuple[object, ...]] = {}
    for smiles in MOLECULES:
        mol = Chem.MolFromSmiles(smiles)
        found = records_of(mol.ToBinary())
        assert found is not None
        for record, atom in zip(found.atoms, mol.GetAtoms(), strict=True):
            said = (
                atom.GetFormalCharge(),
                atom.GetIsotope(),
                atom.GetTotalNumHs(),
                atom.GetTotalValence(),
                atom.GetNumRadicalElectrons(),
                atom.GetIsAromatic(),
                atom.GetHybridization(),
                atom.GetChiralTag(),
            )
            assert known.setdefault(record, said) == said
    assert len(set(known.values())) > 20


@pytest.mark.parametrize("smiles", ["C" * 256, "C[*]", "[CH3:1]C"])
def test_what_is_not_known_is_left_to_rdkit(smiles: str) -> None:
    mol = Chem.MolFromSmarts(smiles) if "*" in smiles else Chem.MolFromSmiles(smiles)
    assert records_of(mol.ToBinary()) is None


def test_another_format_is_left_to_rdkit(monkeypatch: pytest.MonkeyPatch) -> None:
    binary = Chem.MolFromSmiles("CCO").ToBinary()
    for length in range(len(binary) - 15):
        assert records_of(binary[:length]) is None
    monkeypatch.setattr(module, "HEAD", b"another version")
    assert records_of(binary) is None
