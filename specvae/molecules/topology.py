"""What fingerprints ask of a molecule's atoms, bonds and rings, taken from RDKit once.

Atoms of the same *kind* have the same element, charge, neighbours and rings. Molecules have a few
hundred kinds of atoms in all, so that what a kind is good for is found out once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from rdkit import Chem
from rdkit.Chem.rdMolDescriptors import GetConnectivityInvariants

_USUAL = frozenset({5, 6, 7, 8, 9, 14, 15, 16, 17, 34, 35, 53})
_ORDERS = {
    1.0: Chem.BondType.SINGLE,
    1.5: Chem.BondType.AROMATIC,
    2.0: Chem.BondType.DOUBLE,
    3.0: Chem.BondType.TRIPLE,
}


class AtomKind(NamedTuple):
    """What atoms of a kind have in common; `n_hydrogens` counts all, `degree` the atoms drawn."""

    number: int
    is_aromatic: bool
    n_hydrogens: int
    degree: int
    total_degree: int
    charge: int
    valence: int
    n_rings: int
    smallest_ring: int


class BondKind(NamedTuple):
    """What bonds of a kind have in common; the type is RDKit's as a number."""

    type: int
    is_aromatic: bool
    is_in_ring: bool


_Key = tuple[int, float, int, int]
_Found = tuple[NDArray[np.int32], NDArray[np.int32]]


@dataclass
class _Kinds:
    """All kinds that were met in this process.

    Attributes
    ----------
    atoms, bonds
        Kinds in the order in which they were met.
    by_key
        The kind of usual atoms by what RDKit tells of a whole molecule at once: an invariant, the
        sum of the squares of the orders of its bonds, and its rings. None for an unusual atom.
    by_order
        The kind of usual bonds by order and whether they are in a ring.
    """

    atoms: dict[AtomKind, int] = field(default_factory=dict)
    bonds: dict[BondKind, int] = field(default_factory=dict)
    by_key: dict[_Key, int | None] = field(default_factory=dict)
    by_order: dict[tuple[float, bool], int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for order, bond_type in _ORDERS.items():
            for is_in_ring in (False, True):
                kind = BondKind(int(bond_type), order == 1.5, is_in_ring)
                self.by_order[order, is_in_ring] = self.bond(kind)

    def atom(self, kind: AtomKind) -> int:
        return self.atoms.setdefault(kind, len(self.atoms))

    def bond(self, kind: BondKind) -> int:
        return self.bonds.setdefault(kind, len(self.bonds))


@cache
def _kinds() -> _Kinds:
    return _Kinds()


class Topology:
    """Atoms, bonds and rings of a molecule, taken from RDKit when first asked for.

    Parameters
    ----------
    mol
        Sanitised. It must not be changed later.
    """

    def __init__(self, mol: Chem.Mol) -> None:
        self.mol = mol

    @cached_property
    def rings(self) -> Sequence[Sequence[int]]:
        """The atoms of each ring of the symmetrised smallest set, in their order around it."""
        found: Sequence[Sequence[int]] = self.mol.GetRingInfo().AtomRings()
        return found

    @property
    def atoms(self) -> NDArray[np.int32]:
        """Numbers of the atoms' kinds, int32 (n_atoms,)."""
        return self._kinds[0]

    @property
    def bonds(self) -> NDArray[np.int32]:
        """Both atoms of each bond, the lower one first, and its kind, int32 (n_bonds, 3)."""
        return self._kinds[1]

    @cached_property
    def _kinds(self) -> _Found:
        # RDKit needs microseconds to give an atom or a bond, so it is only asked for those of
        # molecules with unusual elements, dative bonds or hydrogens that are drawn.
        around = [[0, 0] for _ in range(self.mol.GetNumAtoms())]
        pairs = set[tuple[int, int]]()
        for ring in self.rings:
            size, previous = len(ring), ring[-1]
            for atom in ring:
                in_rings = around[atom]
                in_rings[0] += 1
                if not in_rings[1] or size < in_rings[1]:
                    in_rings[1] = size
                pairs.add((previous, atom) if previous < atom else (atom, previous))
                previous = atom
        return _usual(self.mol, around, pairs) or _any(self.mol, around)

    @cached_property
    def atom_kinds(self) -> list[AtomKind]:
        """The kind of each atom."""
        numbers = self.atoms.tolist()
        known = list(_kinds().atoms)
        return [known[number] for number in numbers]

    @cached_property
    def ring_bond_kinds(self) -> list[list[BondKind]]:
        """The kinds of the bonds of each ring."""
        bonds = self.bonds.tolist()
        known = list(_kinds().bonds)
        kinds = {(i, j): known[number] for i, j, number in bonds}
        return [
            [kinds[min(i, j), max(i, j)] for i, j in zip(ring, [*ring[1:], ring[0]], strict=True)]
            for ring in self.rings
        ]


def _usual(
    mol: Chem.Mol, around: Sequence[Sequence[int]], ring_pairs: set[tuple[int, int]]
) -> _Found | None:
    """Return atoms and bonds of a molecule in which nothing is unusual, else None.

    Takes for each atom how many rings it is in and the size of the smallest, and the bonds in
    rings.
    """
    kinds = _kinds()
    orders = Chem.GetAdjacencyMatrix(mol, useBO=True, force=True)
    squares = np.einsum("ij,ij->i", orders, orders).tolist()
    atoms: list[int] = []
    for i, (invariant, square, (n_rings, smallest)) in enumerate(
        zip(GetConnectivityInvariants(mol), squares, around, strict=True)
    ):
        key = (invariant, square, n_rings, smallest)
        if key not in kinds.by_key:
            kind = _kind_of(mol.GetAtomWithIdx(i), n_rings, smallest)
            kinds.by_key[key] = kinds.atom(kind) if kind.number in _USUAL else None
        number = kinds.by_key[key]
        if number is None:
            return None
        atoms.append(number)
    i, j = orders.nonzero()
    # Dative bonds stand there once, some others not at all.
    if len(i) != 2 * mol.GetNumBonds():
        return None
    upper = i < j
    i, j = i[upper], j[upper]
    pairs = zip(i.tolist(), j.tolist(), strict=True)
    found = [
        kinds.by_order.get((order, pair in ring_pairs), -1)
        for order, pair in zip(orders[i, j].tolist(), pairs, strict=True)
    ]
    if -1 in found:
        return None
    bonds = np.empty((len(found), 3), np.int32)
    bonds[:, 0], bonds[:, 1], bonds[:, 2] = i, j, found
    return np.array(atoms, np.int32), bonds


def _any(mol: Chem.Mol, around: Sequence[Sequence[int]]) -> _Found:
    """Return atoms and bonds of any molecule."""
    kinds = _kinds()
    atoms = [kinds.atom(_kind_of(mol.GetAtomWithIdx(i), *rings)) for i, rings in enumerate(around)]
    bonds = np.empty((mol.GetNumBonds(), 3), np.int32)
    for row, bond in zip(bonds, mol.GetBonds(), strict=True):
        i, j = sorted((bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()))
        kind = BondKind(int(bond.GetBondType()), bond.GetIsAromatic(), bond.IsInRing())
        row[:] = i, j, kinds.bond(kind)
    return np.array(atoms, np.int32), bonds


def _kind_of(atom: Chem.Atom, n_rings: int, smallest_ring: int) -> AtomKind:
    return AtomKind(
        atom.GetAtomicNum(),
        atom.GetIsAromatic(),
        atom.GetTotalNumHs(True),
        atom.GetDegree(),
        atom.GetTotalDegree(),
        atom.GetFormalCharge(),
        atom.GetTotalValence(),
        n_rings,
        smallest_ring,
    )
