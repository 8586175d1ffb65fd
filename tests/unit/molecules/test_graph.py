"""Graphs against what RDKit says when each atom and bond is asked."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from numpy.typing import NDArray
from rdkit import Chem, rdBase

from specvae.molecules import drawn, graphs_together
from specvae.molecules.compiling import compiled_with
from specvae.molecules.fragments import FragmentTable
from specvae.molecules.graph import ATOM_CLASSES, BOND_CLASSES, GRAPH_VERSION, Graph, OrderedGraph
from specvae.molecules.kekule import FIRST_VERSION
from specvae.molecules.kept_code import compiling
from specvae.molecules.molecule import Molecule

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


def _taken(mol: Chem.Mol) -> Graph:
    """Return the graph of a molecule with its atoms in their order."""
    return Graph.take(mol, np.arange(mol.GetNumAtoms(), dtype=np.int16), mol.ToBinary())


@pytest.mark.parametrize("smiles", MOLECULES)
def test_bonds_are_as_rdkit_has_them(smiles: str) -> None:
    mol = Chem.MolFromSmiles(smiles)
    taken = _taken(mol)
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
    taken = _taken(mol)
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
    graph = _taken(Chem.MolFromSmiles(smiles))
    assert [ATOM_CLASSES[kind] for kind in graph.atoms[:, 2]] == classes


def test_bonds_have_enthalpies_and_orders_of_one_kekule_structure() -> None:
    graph = _taken(Chem.MolFromSmiles("c1ccccc1C(=O)Cl"))
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
        patched.setattr(drawn, "read_binary", lambda *_: (-1, 0, True))
        expected = _bytes_of(smiles)
    monkeypatch.setattr(drawn.Drawn, "asked", None)
    assert _bytes_of(smiles) == expected


@pytest.mark.parametrize("smiles", ["c1ccn(->O)cc1", "c1ccn(->[Pt])cc1", "C~C", "C" * 256])
def test_rdkit_is_asked_for_unusual_molecules(smiles: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = _bytes_of(smiles)
    assert len(OrderedGraph.from_bytes(found).order) == Chem.MolFromSmiles(smiles).GetNumAtoms()
    monkeypatch.setattr(drawn.Drawn, "asked", None)
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


RINGS = (
    *(
        "c1({})ccc({})cc1",
        "c1({})ccc2cc({})ccc2c1",
        "c1({})cc2c(cn1)CC1(C2)OC1{}",
        "n1({})ccc({})c1",
    ),
    *(
        "c1({})ccc2c(c1)Cc1cc({})ccc1-2",
        "c1({})cc2ccc3cccc4c3c2c(c1)C(=O)N4{}",
        "c1({})cc(=O)oc({})c1",
    ),
    *(
        "c1({})ccc2cccc-2c({})c1",
        "c1({})cc2cc3cc4ccccc4cc3cc2cc1{}",
        "c1({})cc2c3cccc4cccc(c2nc1{})c34",
    ),
    *("c1({})c[n+](C)cc({})c1", "c1({})c[o+]cc({})c1", "[s+]1cc({})cc({})c1", "c1({})n[nH]nc1{}"),
    *(
        "c1({})sc({})c2ncn(C)c12",
        "c1({})c[se]c({})c1",
        "c1({})c2nc(c({})c3ccc([nH]3)cc3nc(cc4ccc1[nH]4)C=C3)C=C2",
    ),
)
"""Rings of which there are several Kekule structures, and some for which a search goes wrong."""


@pytest.mark.parametrize("ring", RINGS)
@pytest.mark.parametrize("end", ["C", "O", "c1ccc(Br)cc1", "C(=O)c1ccncc1"])
def test_double_bonds_of_rings_are_set_as_rdkit_does(
    ring: str, end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    mol = Chem.MolFromSmiles(ring.format("F", end.replace("1", "9")))
    kekule = Chem.Mol(mol)
    Chem.Kekulize(kekule, clearAromaticFlags=False)
    monkeypatch.setattr(drawn, "may_set_kekule", lambda: True)
    monkeypatch.setattr(Chem, "Kekulize", None)
    n = mol.GetNumAtoms()
    found = {(a, b): order for a, b, _, order, _ in OrderedGraph.of(mol).graph.bonds.tolist()}
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(n).tolist()
        text = Chem.MolToSmiles(Chem.RenumberAtoms(mol, order), canonical=False)
        other = OrderedGraph.of(Chem.MolFromSmiles(text))
        assert {(a, b): order for a, b, _, order, _ in other.graph.bonds.tolist()} == found
    ranks = list(Chem.CanonicalRankAtoms(mol, includeChirality=False))
    valences = np.zeros((2, n))
    for bond in kekule.GetBonds():
        ends = sorted((ranks[bond.GetBeginAtomIdx()], ranks[bond.GetEndAtomIdx()]))
        valences[0, ends] += bond.GetBondTypeAsDouble()
        valences[1, ends] += found[ends[0], ends[1]]
    np.testing.assert_array_equal(*valences)
    if rdBase.rdkitVersion >= FIRST_VERSION:
        for bond in kekule.GetBonds():
            ends = sorted((ranks[bond.GetBeginAtomIdx()], ranks[bond.GetEndAtomIdx()]))
            assert found[ends[0], ends[1]] == bond.GetBondTypeAsDouble()


@pytest.mark.parametrize("smiles", ["c1cc[bH-]cc1", "c1ccpcc1", "c1ccccc1" + "C" * 60])
def test_rdkit_sets_double_bonds_of_unusual_rings(
    smiles: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drawn, "may_set_kekule", lambda: True)
    mol = Chem.MolFromSmiles(smiles)
    bonds = _taken(mol).bonds
    assert np.count_nonzero(bonds[:, 3] == 2) == 3
    assert mol.GetBondWithIdx(0).GetBondType() == Chem.BondType.AROMATIC
    monkeypatch.setattr(Chem, "Kekulize", None)
    with pytest.raises(TypeError):
        _taken(mol)


def test_double_bonds_do_not_depend_on_how_many_molecules_there_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with compiling(True):
        monkeypatch.setattr(rdBase, "rdkitVersion", "2025.09.1")
        assert not drawn.may_set_kekule()
        monkeypatch.setattr(rdBase, "rdkitVersion", "2026.03.1")
        assert drawn.may_set_kekule()


def test_graphs_are_those_of_their_version() -> None:
    """They are kept on disk: if this fails because graphs are others, raise `GRAPH_VERSION`."""
    if rdBase.rdkitVersion != "2026.03.5":
        pytest.skip("written down for RDKit 2026.03.5")
    rings = [ring.format("F", "CC(=O)N") for ring in RINGS]
    found = hashlib.sha256(b"".join(map(_bytes_of, [*MOLECULES, *rings])))
    assert (GRAPH_VERSION, found.hexdigest()[:16]) == (1, "7201cc65db8a1f21")


def test_graphs_that_are_taken_together_are_those_that_are_taken_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    smiles = [
        *MOLECULES,
        "c1ccc2[nH]ccc2c1",
        "O=c1[nH]c(=O)c2ncn([C@@H]3O[C@H](CO)[C@@H](O)[C@H]3O)c2[nH]1",
        "C[n+]1ccc2ccccc2c1",
        "C[N+](C)(C)CC(=O)[O-]",
        "c1ccc2c(c1)ccc1c2ccc2ccccc21",
        "[Na+].[Cl-]",
        "CCO",
    ]
    molecules = [Molecule(Chem.MolFromSmiles(text)) for text in smiles]
    alone = [OrderedGraph.of(one.mol, one.binary).to_bytes() for one in molecules]
    taken_alone: list[Chem.Mol] = []
    take = OrderedGraph.of

    def noted(mol: Chem.Mol, binary: bytes) -> OrderedGraph:
        taken_alone.append(mol)
        return take(mol, binary)

    monkeypatch.setattr(OrderedGraph, "of", noted)
    with compiling(True):
        assert graphs_together.graphs_of(molecules) == alone
    assert graphs_together.graphs_of([]) == []
    if rdBase.rdkitVersion >= FIRST_VERSION:
        others = ["[2H]C([2H])([2H])c1ccccc1-c1ccccc1", "[Na+].[Cl-]"]
        assert [Chem.MolToSmiles(mol) for mol in taken_alone] == [
            Chem.MolToSmiles(Chem.MolFromSmiles(text)) for text in others
        ]


def test_why_a_molecule_cannot_be_broken_stands_in_the_place_of_its_graph(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    molecules = [Molecule(Chem.MolFromSmiles(text)) for text in ("CCO", "CCN")]
    graph = OrderedGraph.of(molecules[0].mol).to_bytes()
    take = Graph.take

    def with_fault(mol: Chem.Mol, places: NDArray[np.int16], binary: bytes) -> Graph:
        if binary == molecules[1].binary:
            raise Chem.KekulizeException("Can't kekulize mol.\n\n")
        return take(mol, places, binary)

    monkeypatch.setattr(Graph, "take", with_fault)
    why = "it cannot be broken into fragments: Can't kekulize mol."
    with compiling(False):
        assert graphs_together.graphs_of(molecules) == [graph, why]
