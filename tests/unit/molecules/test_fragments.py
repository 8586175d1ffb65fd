"""Fragments against an enumeration that cuts bonds in RDKit and looks at what falls apart."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem.rdMolDescriptors import CalcExactMolWt

from specvae.errors import StructureError
from specvae.masses import HYDROGEN_MASS
from specvae.molecules.breaking import break_large
from specvae.molecules.breaking_small import break_into_fragments
from specvae.molecules.fragments import N_DESCRIPTORS, FragmentTable
from specvae.molecules.graph import ATOM_CLASSES, BOND_CLASSES, OrderedGraph

FLAVANONE = "O=C1CC(c2ccccc2)Oc2ccccc12"


def pieces(mol: Chem.Mol, atoms: frozenset[int], cut: tuple[int, ...]) -> list[frozenset[int]]:
    """Return the connected parts of some atoms without the cut bonds and all bonds that leave."""
    leaving = [
        bond.GetIdx()
        for bond in mol.GetBonds()
        if (bond.GetBeginAtomIdx() in atoms) != (bond.GetEndAtomIdx() in atoms)
    ]
    broken = {*leaving, *cut}
    rest = Chem.FragmentOnBonds(mol, sorted(broken), addDummies=False) if broken else mol
    parts = (frozenset(part) for part in Chem.GetMolFrags(rest))
    return [part for part in parts if part <= atoms]


def brute_force(mol: Chem.Mol, n_steps: int) -> dict[frozenset[int], int]:
    """Return the atoms of each fragment with the fewest steps that lead to it."""
    known = {frozenset(range(mol.GetNumAtoms())): 0}
    level = list(known)
    for step in range(1, n_steps + 1):
        found: list[frozenset[int]] = []
        for whole in level:
            inner = [
                bond.GetIdx()
                for bond in mol.GetBonds()
                if bond.GetBeginAtomIdx() in whole and bond.GetEndAtomIdx() in whole
            ]
            for cut in [*combinations(inner, 1), *combinations(inner, 2)]:
                parts = pieces(mol, whole, cut)
                across = all(
                    (mol.GetBondWithIdx(b).GetBeginAtomIdx() in parts[0])
                    != (mol.GetBondWithIdx(b).GetEndAtomIdx() in parts[0])
                    for b in cut
                )
                if len(parts) == 2 and across:
                    found += [part for part in parts if part not in known]
                    known.update({part: step for part in parts if part not in known})
        level = found
    return known


def cut_off(beside: dict[int, list[int]], piece: int) -> Iterator[int]:
    """Yield what one step cuts off a piece, as sets of bits, in the order of a walk.

    It is depth first, lowest atom first; bonds that the same ring closures span divide the piece.
    """
    order: list[int] = []
    span: dict[int, set[tuple[int, int]]] = {}
    below: dict[int, int] = {}

    def meet(a: int, parent: int) -> None:
        order.append(a)
        span[a], below[a] = set(), 1 << a
        for b in sorted(beside[a]):
            if b == parent or not piece >> b & 1:
                continue
            if b not in span:
                meet(b, a)
                below[a] |= below[b]
                span[a] ^= span[b]
            elif order.index(b) < order.index(a):
                span[a] ^= {(a, b)}
                span[b] ^= {(a, b)}

    meet(next(a for a in beside if piece >> a & 1), -1)
    for k, a in enumerate(order[1:], 1):
        if len(span[a]) < 2:
            yield below[a]
        for b in order[k + 1 :] if span[a] else []:
            if span[b] == span[a]:
                yield below[a] & ~below[b]


def in_order(table: FragmentTable, n_steps: int, most: int) -> list[int]:
    """Return the fragments of a molecule as sets of bits, in the order in which they are found."""
    bonds = table.graph.bonds.tolist()
    beside: dict[int, list[int]] = {a: [] for a in range(len(table.atom_order))}
    for a, b, *_ in bonds:
        beside[a].append(b)
        beside[b].append(a)

    def energy(atoms: int) -> int:
        return sum(bond[4] for bond in bonds if (atoms >> bond[0] ^ atoms >> bond[1]) & 1)

    found = {(1 << len(beside)) - 1: None}
    level = list(found)
    for _ in range(n_steps):
        known = len(found)
        for piece in sorted(level, key=energy):
            for side in cut_off(beside, piece):
                found.setdefault(side)
                found.setdefault(piece & ~side)
        level = list(found)[known:]
    return list(found)[:most]


@pytest.mark.parametrize(
    "smiles",
    [
        "COc1ccc(CC2NCCc3cc(O)c(OC)cc23)cc1",
        "C1CC2CCC1C2C(=O)NCC[N+](C)(C)C",
        "C12C3C4C1C5C2C3C45",
        "O=C([O-])c1ccccc1.[Cu+2].O=C([O-])c1ccccc1",
        "NCC(=O)" + "NCC(=O)" * 16 + "O",  # more atoms than a word has bits
    ],
)
def test_fragments_are_found_in_the_order_of_the_walk(smiles: str) -> None:
    """The cap keeps the first, so that the order is part of a score."""
    table = FragmentTable.of(smiles, n_steps=2, max_fragments=500)
    masks = [sum(int(word) << 64 * w for w, word in enumerate(row)) for row in table.masks]
    assert masks == in_order(table, 2, 500)


def atom_sets(table: FragmentTable) -> dict[frozenset[int], int]:
    return {
        frozenset(table.atom_indices(i)): int(step) for i, step in enumerate(table.steps.tolist())
    }


def test_a_complex_breaks_into_ligands_and_metal() -> None:
    """Written in pieces, it is held together by contacts of the metal with its ligands."""
    table = FragmentTable.of("[cH-]1cccc1.[cH-]1cccc1.[Fe+2]")
    iron, ring = 55.9349375, 5 * (12.0 + 1.00782503207)
    for mass in (iron, ring, iron + ring, iron + 2 * ring):
        assert np.abs(table.masses - mass).min() < 1e-4
    same = FragmentTable.of("[Fe+2].c1ccc[cH-]1.c1cc[cH-]c1")
    assert np.array_equal(table.masses, same.masses)


@pytest.mark.parametrize(
    ("smiles", "n_steps"),
    [
        ("C", 3),
        ("CCO", 3),
        ("CC(C)(C)O", 3),
        ("C1CC1", 3),
        ("Cc1ccccc1", 2),
        ("c1ccc2[nH]ccc2c1", 2),
        ("C1CC2CCC1C2", 2),  # norbornane: bridged rings
        ("C12C3C4C1C5C2C3C45", 1),  # cubane: no two bonds hold it together
        ("CC(=O)Oc1ccccc1C(=O)O", 2),
    ],
)
def test_all_fragments_of_so_many_steps_are_found(smiles: str, n_steps: int) -> None:
    mol = Chem.MolFromSmiles(smiles)
    table = FragmentTable.of(mol, n_steps=n_steps, max_fragments=100_000)
    assert len(table) == len(np.unique(table.masks, axis=0))
    assert atom_sets(table) == brute_force(mol, n_steps)


def test_ethanol_by_hand() -> None:
    table = FragmentTable.of("CCO")
    carbon, oxygen, hydrogen = 12.0, 15.99491461957, HYDROGEN_MASS
    by_atoms = {table.atom_indices(i): i for i in range(len(table))}
    assert set(by_atoms) == {(0,), (1,), (2,), (0, 1), (1, 2), (0, 1, 2)}
    middle, ethyl = by_atoms[1,], by_atoms[0, 1]
    assert table.steps[[middle, ethyl]].tolist() == [2, 1]
    assert table.energies[[middle, ethyl]].tolist() == [346 + 358, 358]
    assert table.n_hydrogens[[middle, ethyl]].tolist() == [2, 5]
    assert table.masses[by_atoms[1, 2]] == pytest.approx(carbon + oxygen + 3 * hydrogen, abs=1e-6)
    assert table.composition(by_atoms[1, 2]) == {"C": 1, "O": 1, "H": 3}


def test_masses_are_those_of_rdkit() -> None:
    mol = Chem.MolFromSmiles("COc1cc(Cl)c(S(=O)(=O)N[C@@H](C)P(C)(C)=O)cc1Br")
    table = FragmentTable.of(mol)
    for i in range(0, len(table), 7):
        # RDKit has no name for a fragment with open valences: atoms by atoms, then.
        part = Chem.RWMol()
        for index in table.atom_indices(i):
            atom = Chem.Atom(mol.GetAtomWithIdx(index).GetAtomicNum())
            atom.SetNoImplicit(True)
            atom.SetNumExplicitHs(mol.GetAtomWithIdx(index).GetTotalNumHs())
            part.AddAtom(atom)
        part.UpdatePropertyCache(strict=False)
        assert table.masses[i] == pytest.approx(CalcExactMolWt(part), abs=2e-6)


def test_open_valences_are_the_orders_of_the_bonds_cut() -> None:
    mol = Chem.MolFromSmiles("CC=O")
    table = FragmentTable.of(mol)
    valences = {table.atom_indices(i): int(v) for i, v in enumerate(table.valences)}
    assert valences == {(0, 1, 2): 0, (0,): 1, (1, 2): 1, (2,): 2, (0, 1): 2, (1,): 3}


@pytest.mark.parametrize("max_fragments", [1, 2, 7, 60, 2000])
def test_small_molecules_break_as_those_of_any_size_do(max_fragments: int) -> None:
    smiles = (
        "C",
        "CO",
        "C1CC1",
        "C12C3C4C1C5C2C3C45",
        "CC(C)(C)c1ccc2c(c1)[nH]c1ccccc12",
        "OC1C(O)C2OC(C1O)OCC1OC(O2)C(O)C(O)C1O",
        "N1C2CCC1CC2OC(=O)C(CO)c1ccccc1",
        "C" * 64,
        FLAVANONE,
    )
    for text in smiles:
        graph = OrderedGraph.of(Chem.MolFromSmiles(text)).graph
        for n_steps in range(4):
            masks, steps = break_into_fragments(graph, n_steps, max_fragments)
            wanted, wanted_steps = break_large(graph, n_steps, max_fragments)
            np.testing.assert_array_equal(masks, wanted)
            np.testing.assert_array_equal(steps, wanted_steps)


@pytest.mark.parametrize("max_fragments", [2, 100, 2000])
def test_the_order_of_the_atoms_makes_no_difference(max_fragments: int) -> None:
    smiles = "COc1ccc(CC2NCCc3cc(O)c(OC)cc23)cc1"
    mol = Chem.MolFromSmiles(smiles)
    shuffled = Chem.RenumberAtoms(mol, np.random.default_rng(0).permutation(22).tolist())
    a, b = (FragmentTable.of(m, max_fragments=max_fragments) for m in (mol, shuffled))
    assert np.array_equal(a.masses, b.masses)
    assert np.array_equal(np.unique(a.descriptors(), axis=0), np.unique(b.descriptors(), axis=0))
    symbols = [
        sorted(m.GetAtomWithIdx(i).GetSymbol() for i in t.atom_indices(1))
        for m, t in ((mol, a), (shuffled, b))
    ]
    assert symbols[0] == symbols[1]


def test_stereo_isomers_have_the_same_fragments() -> None:
    a, b = (FragmentTable.of(f"C[{x}H](N)C(=O)N1CCCC1") for x in ("C@", "C@@"))
    assert np.array_equal(a.masks, b.masks)
    assert np.array_equal(a.masses, b.masses)


def test_the_cap_keeps_what_costs_least() -> None:
    full = FragmentTable.of(FLAVANONE, max_fragments=100_000)
    first = FragmentTable.of(FLAVANONE, max_fragments=300)
    assert len(first) == 300 < len(full)
    assert set(atom_sets(first).items()) <= set(atom_sets(full).items())
    # All of one step come first.
    assert (first.steps == 1).sum() == (full.steps == 1).sum()
    assert len(FragmentTable.of(FLAVANONE, max_fragments=1)) == 1


def test_more_atoms_than_a_word_has_bits() -> None:
    mol = Chem.MolFromSmiles("N" + "C" * 140 + "O")
    table = FragmentTable.of(mol, n_steps=1)
    assert table.masks.shape == (1 + 2 * 141, 3)
    assert {table.atom_indices(i) for i in range(len(table))} == {
        tuple(range(142)),
        *(tuple(range(n)) for n in range(1, 142)),
        *(tuple(range(n, 142)) for n in range(1, 142)),
    }
    assert table.masses[0] == pytest.approx(CalcExactMolWt(mol), abs=1e-5)


def test_single_atom() -> None:
    table = FragmentTable.of("O")
    assert len(table) == 1
    assert table.masses[0] == pytest.approx(15.9949146 + 2 * HYDROGEN_MASS, abs=1e-6)
    assert table.descriptors().shape == (1, N_DESCRIPTORS)


def test_salts_and_ions() -> None:
    assert np.array_equal(
        FragmentTable.of("CC(=O)[O-].[Na+]").masses, FragmentTable.of("CC(=O)O").masses
    )
    choline = FragmentTable.of("C[N+](C)(C)CCO")
    # C5H14NO with all electrons.
    assert choline.masses[0] == pytest.approx(104.107539, abs=1e-5)
    with pytest.raises(StructureError, match="cannot be parsed"):
        FragmentTable.of("C1CC")


def test_descriptors_of_benzyl_in_benzyl_alcohol() -> None:
    table = FragmentTable.of("OCc1ccccc1")
    (benzyl,) = (i for i in range(len(table)) if table.atom_indices(i) == tuple(range(1, 8)))
    row = table.descriptors()[benzyl]
    n = len(ATOM_CLASSES)
    inside, outside, cut = row[:n], row[n : 2 * n], row[2 * n : 2 * n + len(BOND_CLASSES)]
    assert inside.tolist() == np.eye(n)[ATOM_CLASSES.index("C beside heteroatom")].tolist()
    assert outside.tolist() == np.eye(n)[ATOM_CLASSES.index("other O")].tolist()
    assert cut.tolist() == np.eye(len(BOND_CLASSES))[BOND_CLASSES.index("single")].tolist()
    has, lacks = np.split(row[2 * n + len(BOND_CLASSES) :][: 2 * n], 2)
    assert has[ATOM_CLASSES.index("aromatic C")] == pytest.approx(np.log(7))
    assert lacks[ATOM_CLASSES.index("other O")] == pytest.approx(np.log(2))
    # Hydrogens kept and lost, share, rings, steps, valences, odd, charge, atoms lost, size.
    assert row[-14:] == pytest.approx(
        [np.log(8), np.log(2), 7 / 8, 1, 1, 0, 0, 1, 1, 0, 1, 0, 0, np.log(8)]
    )


def test_tables_cannot_be_changed() -> None:
    table = FragmentTable.of("CCO")
    with pytest.raises(ValueError, match="read-only"):
        table.masses[0] = 0.0
