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

from specvae.molecules.records import AROMATIC, Records, records_of


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


_AtomKey = tuple[bytes, int, int, int]
_BondKey = tuple[int, int, bool]
_Found = tuple[NDArray[np.int32], NDArray[np.int32], list[_AtomKey]]
_WORD = 0xFFFFFFFF


@dataclass
class _Kinds:
    """All kinds that were met in this process.

    Attributes
    ----------
    atoms, bonds
        Kinds in the order in which they were met.
    by_record
        The kind of atoms by their bytes (`specvae.molecules.records`), how many atoms they are
        bound to, how many rings they are in, and the size of the smallest of these.
    by_type
        The kind of bonds by their type and flags there, and whether they are in a ring.
    invariants
        RDKit's number for atoms as in `by_record`.
    """

    atoms: dict[AtomKind, int] = field(default_factory=dict)
    bonds: dict[BondKind, int] = field(default_factory=dict)
    by_record: dict[_AtomKey, int] = field(default_factory=dict)
    by_type: dict[_BondKey, int] = field(default_factory=dict)
    invariants: dict[_AtomKey, int] = field(default_factory=dict)

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
        RDKit's molecule, sanitised, or its binary form. It must not be changed later.
    """

    def __init__(self, mol: Chem.Mol | bytes) -> None:
        self._given = mol

    @cached_property
    def mol(self) -> Chem.Mol:
        """RDKit's molecule, which is made only when it is asked for."""
        given = self._given
        return Chem.Mol(given) if isinstance(given, bytes) else given  # type: ignore[arg-type]

    @cached_property
    def _records(self) -> Records | None:
        """The atoms and bonds in bytes, None where RDKit must be asked for them."""
        given = self._given
        found = records_of(given if isinstance(given, bytes) else given.ToBinary())
        # A drawn hydrogen counts as one of its neighbour's, whose bytes do not know of it.
        return None if found is None or 1 in [atom[0] for atom in found.atoms] else found

    @cached_property
    def rings(self) -> Sequence[Sequence[int]]:
        """The atoms of each ring of the symmetrised smallest set, in their order around it."""
        if self._records is not None:
            return self._records.rings
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
    def n_components(self) -> int:
        """How many molecules it is of."""
        if self._records is None:
            return len(Chem.GetMolFrags(self.mol))
        atoms, bonds, rings = self._records
        # There are at least as many rings as bonds beyond a tree's for each component.
        if len(rings) - len(bonds) + len(atoms) == 1:
            return 1
        part_of = list(range(len(atoms)))
        for one, other, _, _ in bonds:
            first, second = part_of[one], part_of[other]
            if first != second:
                part_of = [first if part == second else part for part in part_of]
        return len(set(part_of))

    @cached_property
    def invariants(self) -> NDArray[np.int64] | None:
        """RDKit's numbers of the atoms that Morgan environments begin with, int64 (n_atoms,).

        None where RDKit must be asked for all of them.
        """
        known, keys = _kinds().invariants, self._kinds[2]
        if any(key not in known for key in keys):
            for key, number in zip(keys, GetConnectivityInvariants(self.mol), strict=True):
                known[key] = number & _WORD
        return np.array([known[key] for key in keys], np.int64) if self._records else None

    @cached_property
    def typed_bonds(self) -> NDArray[np.int32]:
        """Both atoms of each bond and its type as RDKit numbers it, int32 (n_bonds, 3)."""
        types = np.array([kind.type for kind in _kinds().bonds], np.int32)
        typed = self.bonds.copy()
        typed[:, 2] = types[typed[:, 2]]
        return typed

    @cached_property
    def _kinds(self) -> _Found:
        n_atoms = self.mol.GetNumAtoms() if self._records is None else len(self._records.atoms)
        around = [[0, 0] for _ in range(n_atoms)]
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
        if self._records is None:
            return _asked(self.mol, around)
        return _read(self._records, self, around, pairs)

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


def _read(
    records: Records,
    topology: Topology,
    around: Sequence[Sequence[int]],
    ring_pairs: set[tuple[int, int]],
) -> _Found:
    """Return atoms and bonds of a molecule by their records; RDKit is asked for new ones only.

    Takes for each atom how many rings it is in and the size of the smallest, and the bonds in
    rings.
    """
    kinds = _kinds()
    degrees = [0] * len(records.atoms)
    bonds = np.empty((len(records.bonds), 3), np.int32)
    rows: list[tuple[int, int, int]] = []
    for one, other, bond_type, flags in records.bonds:
        degrees[one] += 1
        degrees[other] += 1
        pair = (one, other) if one < other else (other, one)
        key = bond_type, flags & AROMATIC, pair in ring_pairs
        if key not in kinds.by_type:
            kinds.by_type[key] = kinds.bond(BondKind(key[0], key[1] != 0, key[2]))
        rows.append((*pair, kinds.by_type[key]))
    if rows:
        bonds[:] = rows
    atoms: list[int] = []
    keys: list[_AtomKey] = []
    for i, (record, degree, (n_rings, smallest)) in enumerate(
        zip(records.atoms, degrees, around, strict=True)
    ):
        kept = record, degree, n_rings, smallest
        if kept not in kinds.by_record:
            atom = topology.mol.GetAtomWithIdx(i)
            kinds.by_record[kept] = kinds.atom(_kind_of(atom, n_rings, smallest))
        atoms.append(kinds.by_record[kept])
        keys.append(kept)
    return np.array(atoms, np.int32), bonds, keys


def _asked(mol: Chem.Mol, around: Sequence[Sequence[int]]) -> _Found:
    """Return atoms and bonds of any molecule, asking RDKit for each."""
    kinds = _kinds()
    atoms = [kinds.atom(_kind_of(mol.GetAtomWithIdx(i), *rings)) for i, rings in enumerate(around)]
    bonds = np.empty((mol.GetNumBonds(), 3), np.int32)
    for row, bond in zip(bonds, mol.GetBonds(), strict=True):
        i, j = sorted((bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()))
        kind = BondKind(int(bond.GetBondType()), bond.GetIsAromatic(), bond.IsInRing())
        row[:] = i, j, kinds.bond(kind)
    return np.array(atoms, np.int32), bonds, []


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
