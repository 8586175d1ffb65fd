"""Graphs against what RDKit says when each atom and bond is asked."""

from __future__ import annotations

import numpy as np
import pytest
from rdkit import Chem

from specvae.molecules import graph as graph_module
from specvae.molecules.fragments import FragmentTable
from specvae.molecules.graph import (
    ATOM_CLASSES,
    BOND_CLASSES,
    Graph,
    OrderedGraph,
    compiled_with,
)

MOLECULES = (
    "CC(=O)C=CC(=O)NC(C)C",
    "Cn1c(=O)c2c(ncn2C)n(C)c1=O",
    "O=S(=O)(NC1CCCCC1)c1ccc([N+](=O)[O-])cc1",
    "C=CC1=CC(C#N)OC1OP(=O)(O)OCC#CC=C",
    "[2H]C([2H])([2H])c1ccccc1-c1ccccc1",
    "C[CH]C=C",
    "FC(Cl)(Br)I",
    "OB(O)c1ccc(N=Nc2ccccc2)cc1",
    "[CH2-]C(C)=O",
    "C",
)


@pytest.mark.parametrize("smiles", MOLECULES)
def test_bonds_are_as_rdkit_has_them(smiles: str) -> None:
    mol = Chem.MolFromSmiles(smiles)
    taken = Graph.take(Chem.Mol(mol))
    found = {(a, b): BOND_CLASSES[kind] for a, b, kind in taken.bonds[:, :3].tolist()}
    assert len(found) == mol.GetNumBonds()
    for bond in mol.GetBonds():
        ends = sorted((bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()))
        order = bond.GetBondTypeAsDouble()
        expected = {1.0: "single", 1.5: "aromatic", 2.0: "double", 3.0: "triple"}[order]
        if bond.IsInRing() and order != 1.5:
            expected = "ring" if order == 1 else "ring, unsaturated"
        elif order == 1 and bond.GetIsConjugated():
            expected = "conjugated"
        assert found[ends[0], ends[1]] == expected


@pytest.mark.parametrize("smiles", MOLECULES)
def test_atoms_are_as_rdkit_has_them(smiles: str) -> None:
    mol = Chem.MolFromSmiles(smiles)
    taken = Graph.take(Chem.Mol(mol))
    table = Chem.GetPeriodicTable()
    for atom, row, mass in zip(mol.GetAtoms(), taken.atoms.tolist(), taken.masses, strict=True):
        number = atom.GetAtomicNum()
        assert row[:2] == [number, atom.GetTotalNumHs()]
        assert row[3] == atom.GetFormalCharge()
        isotope = atom.GetIsotope() or table.GetMostCommonIsotope(number)
        assert mass == pytest.approx(table.GetMassForIsotope(number, isotope))
        if number == 6 and not atom.GetIsAromatic():
            saturated = atom.GetHybridization() == Chem.HybridizationType.SP3
            assert saturated == (ATOM_CLASSES[row[2]] not in ("carbonyl C", "unsaturated C"))


@pytest.mark.parametrize(
    ("smiles", "classes"),
    [
        ("CCC=C", ["saturated C", "C beside unsaturated C", "unsaturated C", "unsaturated C"]),
        ("CC(=O)O", ["C beside unsaturated C", "carbonyl C", "=O", "acylated O"]),
        ("CNC=O", ["C beside heteroatom", "acylated N", "carbonyl C", "=O"]),
        ("CN(C)N", ["C beside heteroatom", "other N", "C beside heteroatom", "other N"]),
        ("CNC", ["C beside heteroatom", "amine N", "C beside heteroatom"]),
        ("COS", ["C beside heteroatom", "other O", "S"]),
        ("Oc1ccccc1", ["aromatic or aryl O", *["aromatic C"] * 6]),
        ("c1ccoc1", ["aromatic C"] * 3 + ["aromatic or aryl O", "aromatic C"]),
        ("CP(Cl)[SiH3]", ["C beside heteroatom", "P", "halogen", "other"]),
    ],
)
def test_classes_of_atoms(smiles: str, classes: list[str]) -> None:
    graph = Graph.take(Chem.MolFromSmiles(smiles))
    assert [ATOM_CLASSES[kind] for kind in graph.atoms[:, 2]] == classes


def test_bonds_have_enthalpies_and_orders_of_one_kekule_structure() -> None:
    graph = Graph.take(Chem.MolFromSmiles("c1ccccc1C(=O)Cl"))
    ring = graph.bonds[:, 2] == BOND_CLASSES.index("aromatic")
    assert np.sort(graph.bonds[ring, 3]).tolist() == [1, 1, 1, 2, 2, 2]
    assert set(graph.bonds[ring, 4].tolist()) == {518}
    others = {tuple(bond) for bond in graph.bonds[~ring, :2].tolist()}
    assert others == {(5, 6), (6, 7), (6, 8)}
    assert sorted(graph.bonds[~ring, 4].tolist()) == [327, 346, 745]


def _bytes_of(smiles: str) -> bytes:
    return OrderedGraph.of(Chem.MolFromSmiles(smiles)).to_bytes()


@pytest.mark.parametrize(
    "smiles",
    [
        *MOLECULES,
        "F/C=C(/Cl)[C@H](C)Br",
        "[235U].[13C-]#[O+]",
        "c1ccc(C2=CC(=O)c3ccccc3O2)cc1",
        "N[C@@H](Cc1c[nH]c2ccccc12)C(=O)O",
    ],
)
def test_rdkit_is_not_asked_for_atoms_of_usual_molecules(
    smiles: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(graph_module, "_read_binary", lambda *_: False)
        expected = _bytes_of(smiles)
    monkeypatch.setattr(graph_module, "_asked", None)
    assert _bytes_of(smiles) == expected


@pytest.mark.parametrize("smiles", ["c1ccn(->O)cc1", "c1ccn(->[Pt])cc1", "C~C", "C" * 256])
def test_rdkit_is_asked_for_unusual_molecules(smiles: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = _bytes_of(smiles)
    assert len(OrderedGraph.from_bytes(found).order) == Chem.MolFromSmiles(smiles).GetNumAtoms()
    monkeypatch.setattr(graph_module, "_asked", None)
    with pytest.raises(TypeError):
        _bytes_of(smiles)


@pytest.mark.parametrize("smiles", [*MOLECULES, "Cl[Pt](Cl)([NH3])[NH3]", "[Zn+2].[O-]C(C)=O"])
def test_a_graph_is_read_as_it_was_written(smiles: str) -> None:
    mol = Chem.MolFromSmiles(smiles)
    taken = OrderedGraph.of(mol)
    found = OrderedGraph.from_bytes(taken.to_bytes())
    pairs = [(taken.order, found.order), (taken.graph.atoms, found.graph.atoms)]
    pairs += [(taken.graph.bonds, found.graph.bonds)]
    np.testing.assert_array_equal(taken.graph.masses, found.graph.masses)
    for one, other in pairs:
        np.testing.assert_array_equal(one, other)
        # Compiled functions are compiled for arrays of these types.
        assert one.dtype == other.dtype
        assert other.flags.aligned
        assert not other.flags.writeable
    table = FragmentTable.of_graph(found)
    np.testing.assert_array_equal(table.masks, FragmentTable.of(mol).masks)
    assert table.ordered.to_bytes() == taken.to_bytes()


def test_functions_compile_where_nothing_can_be_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """A container that runs as another user may have no folder to write to."""
    monkeypatch.setattr("numba.core.caching.CacheImpl._locator_classes", [])

    def twice(number: float) -> float:
        return 2.0 * number

    assert compiled_with(fastmath=True)(twice)(3.0) == 6.0
