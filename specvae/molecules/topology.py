"""Properties of molecules' atoms, bonds and rings that fingerprints need, taken from RDKit once.

Atoms of the same *kind* have the same element, charge, neighbours and rings. Molecules have a few
hundred kinds of atoms in all, so that each kind is tested once. If there are many molecules,
compiled code reads them from RDKit's binary form (`specvae.molecules.topology_reader`), and RDKit
is queried for new kinds only.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property, lru_cache, partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from rdkit import Chem
from rdkit.Chem.rdMolDescriptors import GetConnectivityInvariants

from specvae.molecules.kept_code import WorthCompiling

# To compile the reader takes some two seconds, once for all; it saves a fifth of a millisecond a
# molecule.
_is_worth_reading = WorthCompiling("molecules/topology_reader._read_all", 10_000, few_if_kept=150)
_WORD = 0xFFFFFFFF
_SINGLE = int(Chem.BondType.SINGLE)
_HYDROGEN, _CARBON, _NITROGEN = 1, 6, 7


class AtomKind(NamedTuple):
    """A kind of atoms; `n_hydrogens` counts all hydrogens, `degree` the neighbours drawn."""

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
    """A kind of bonds; the type is RDKit's as a number."""

    type: int
    is_aromatic: bool
    is_in_ring: bool


@dataclass
class _Kinds:
    """All kinds that were met in this process, in that order."""

    atoms: dict[AtomKind, int] = field(default_factory=dict)
    bonds: dict[BondKind, int] = field(default_factory=dict)

    def atom(self, kind: AtomKind) -> int:
        return self.atoms.setdefault(kind, len(self.atoms))

    def bond(self, kind: BondKind) -> int:
        return self.bonds.setdefault(kind, len(self.bonds))


@cache
def _kinds() -> _Kinds:
    return _Kinds()


class Taken(NamedTuple):
    """The topology of some molecules, one after the other; atoms count from 0 in each.

    Parameters
    ----------
    counts
        Atoms, bonds, rings and components of each, int64 (n_molecules, 4).
    is_read
        Whether it was read from the binary form, and has `invariants`; (n_molecules,).
    atoms
        Numbers of the atoms' kinds, int32 (n_atoms,).
    invariants
        RDKit's numbers of atoms that Morgan environments begin with, int64 (n_atoms,).
    bonds
        Both atoms of each bond, the lower one first, and its kind, int32 (n_bonds, 3).
    ring_sizes
        Of the symmetrised smallest set of rings, int64 (n_rings,).
    members
        The atoms of each ring in their order around it, and for each the kind of its bond to the
        one before, which is the last one for the first; int32 (n_members, 2).
    """

    counts: NDArray[np.int64]
    is_read: NDArray[np.bool_]
    atoms: NDArray[np.int32]
    invariants: NDArray[np.int64]
    bonds: NDArray[np.int32]
    ring_sizes: NDArray[np.int64]
    members: NDArray[np.int32]


class Topologies:
    """Atoms, bonds and rings of some molecules, taken from RDKit when first asked for.

    Parameters
    ----------
    molecules
        RDKit's molecules, sanitised, or their binary forms. They must not be changed later.
    """

    def __init__(self, molecules: Sequence[Chem.Mol | bytes]) -> None:
        self._given = list(molecules)

    def __len__(self) -> int:
        return len(self._given)

    def mol(self, row: int) -> Chem.Mol:
        """Return one of RDKit's molecules, which is made only when it is asked for."""
        given = self._given[row]
        if isinstance(given, bytes):
            given = self._given[row] = Chem.Mol(given)  # type: ignore[arg-type]
        return given

    @cached_property
    def taken(self) -> Taken:
        """The topology of all molecules."""
        if not _is_worth_reading(len(self)):
            pieces = [_asked(self.mol(row)) for row in range(len(self))]
        else:
            pieces = list(self._read())
        if len(pieces) == 1:
            return pieces[0]
        return Taken(*map(np.concatenate, zip(*pieces, strict=True)))

    def _read(self) -> Iterator[Taken]:
        # Here, since a process that takes few molecules needs no compiled code.
        from specvae.molecules.topology_reader import read

        binaries = [each if isinstance(each, bytes) else each.ToBinary() for each in self._given]
        done = 0
        while done < len(self):
            found = read(binaries[done:], partial(self._learn_atom, done), self._learn_bond)
            if len(found.counts):
                yield found
            done += len(found.counts)
            if done < len(self):
                yield _asked(self.mol(done))
                done += 1

    def _learn_atom(
        self, first: int, row: int, atom: int, n_rings: int, smallest: int
    ) -> tuple[int, int]:
        """Return the kind of an atom that was not met yet, and its invariant."""
        mol = self.mol(first + row)
        kind = _kinds().atom(_kind_of(mol.GetAtomWithIdx(atom), n_rings, smallest))
        return kind, GetConnectivityInvariants(mol)[atom] & _WORD

    def _learn_bond(self, bond_type: int, is_aromatic: bool, is_in_ring: bool) -> int:
        return _kinds().bond(BondKind(bond_type, is_aromatic, is_in_ring))

    @cached_property
    def first_atoms(self) -> NDArray[np.int64]:
        """Where the atoms of each molecule begin, and where the last ones end, int64 (n + 1,)."""
        return _starts(self.taken.counts[:, 0])

    @cached_property
    def first_bonds(self) -> NDArray[np.int64]:
        """Where the bonds of each molecule begin, and where the last ones end, int64 (n + 1,)."""
        return _starts(self.taken.counts[:, 1])

    @cached_property
    def atom_owners(self) -> NDArray[np.intp]:
        """The molecule of each atom, (n_atoms,)."""
        return np.repeat(np.arange(len(self)), self.taken.counts[:, 0])

    @cached_property
    def rings(self) -> Rings:
        """The rings of all of them."""
        taken = self.taken
        owner = np.repeat(np.arange(len(self)), taken.counts[:, 2])
        begins = np.repeat(self.first_atoms[owner], taken.ring_sizes)
        numbers = atom_kinds()[taken.atoms[begins + taken.members[:, 0]], 0]
        types, is_aromatic, _ = bond_kinds()[taken.members[:, 1]].T
        facts = (
            is_aromatic == 0,
            types != _SINGLE,
            numbers != _CARBON,
            numbers == _NITROGEN,
            (numbers != _CARBON) & (numbers != _HYDROGEN),
        )
        starts = _starts(taken.ring_sizes)[:-1]
        a, s, c, n, o = (np.logical_or.reduceat(each, starts) for each in facts)
        return Rings(owner, taken.ring_sizes, ~a, ~s, ~c, n, o)

    @cached_property
    def digests(self) -> NDArray[np.uint64]:
        """A number for each molecule that is the same for the same structure, (n_molecules,).

        It does not depend on the order of atoms, stereochemistry or isotopes. Other structures
        hardly ever have the same number, unless their atoms have the same surroundings.
        """
        taken, first = self.taken, self.first_atoms[:-1]
        kinds = atom_kinds()[:, _OF_STRUCTURE].astype(np.uint64)
        state = _mixed(kinds @ _WEIGHTS)[taken.atoms]
        one, other = (taken.bonds[:, :2] + np.repeat(first, taken.counts[:, 1])[:, None]).T
        weight = _mixed(bond_kinds()[:, 0].astype(np.uint64))[taken.bonds[:, 2]]
        for _ in range(_ROUNDS):
            received = np.zeros_like(state)
            np.add.at(received, one, state[other] * weight)
            np.add.at(received, other, state[one] * weight)
            state = _mixed(_WEIGHTS[0] * state + received)
        found: NDArray[np.uint64] = np.add.reduceat(state, first)
        return found

    @cached_property
    def typed_bonds(self) -> NDArray[np.int32]:
        """Both atoms of each bond and its type as RDKit numbers it, int32 (n_bonds, 3)."""
        typed = self.taken.bonds.copy()
        typed[:, 2] = bond_kinds()[typed[:, 2], 0]
        return typed

    def atom_at(self, place: int) -> Chem.Atom:
        """Return the atom at a place among all atoms."""
        row = int(self.atom_owners[place])
        return self.mol(row).GetAtomWithIdx(place - int(self.first_atoms[row]))

    def bond_at(self, place: int) -> Chem.Bond:
        """Return the bond at a place among all bonds."""
        row = int(np.searchsorted(self.first_bonds, place, "right")) - 1
        return self.mol(row).GetBondBetweenAtoms(*self.taken.bonds[place, :2].tolist())


@dataclass(frozen=True)
class Rings:
    """The rings of some molecules: what counts of them ask for, each (n_rings,).

    Attributes
    ----------
    owner
        The molecule that it is of.
    size
        Number of atoms.
    is_aromatic, is_saturated
        Whether all of its bonds are aromatic, or single.
    has_carbon_only, has_nitrogen, has_other
        Whether its atoms are all carbon; whether one is nitrogen; one neither carbon nor hydrogen.
    """

    owner: NDArray[np.intp]
    size: NDArray[np.int64]
    is_aromatic: NDArray[np.bool_]
    is_saturated: NDArray[np.bool_]
    has_carbon_only: NDArray[np.bool_]
    has_nitrogen: NDArray[np.bool_]
    has_other: NDArray[np.bool_]


# What of a kind of atom is the same in whatever order a structure is written: none of its rings.
_OF_STRUCTURE = [
    AtomKind._fields.index(name) for name in ("number", "n_hydrogens", "degree", "charge")
]
_WEIGHTS = np.array([3, 5003, 700_001, 90_000_049], np.uint64)
_ROUNDS = 3  # to atoms at this distance


def _mixed(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return pseudo-random numbers, a distinct one for each given number."""
    numbers = (numbers ^ (numbers >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
    return numbers ^ (numbers >> np.uint64(32))


def _starts(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    starts = np.zeros(len(counts) + 1, np.int64)
    np.cumsum(counts, out=starts[1:])
    return starts


def atom_kinds() -> NDArray[np.int64]:
    """Return what atoms of each kind have in common, as `AtomKind`, int64 (n_kinds, 9)."""
    return _atom_table(len(_kinds().atoms))


def bond_kinds() -> NDArray[np.int64]:
    """Return what bonds of each kind have in common, as `BondKind`, int64 (n_kinds, 3)."""
    return _bond_table(len(_kinds().bonds))


@lru_cache(maxsize=1)
def _atom_table(_: int) -> NDArray[np.int64]:
    return np.array(list(_kinds().atoms), np.int64).reshape(-1, len(AtomKind._fields))


@lru_cache(maxsize=1)
def _bond_table(_: int) -> NDArray[np.int64]:
    return np.array(list(_kinds().bonds), np.int64).reshape(-1, len(BondKind._fields))


def is_quick(n: int) -> bool:
    """Return whether `n` molecules more are read in compiled code in this process."""
    return _is_worth_reading.would_be(n)


def _asked(mol: Chem.Mol) -> Taken:
    """Return the topology of any molecule, by querying RDKit for each atom and bond."""
    kinds = _kinds()
    rings = mol.GetRingInfo()
    atoms = [
        kinds.atom(
            _kind_of(atom, rings.NumAtomRings(atom.GetIdx()), rings.MinAtomRingSize(atom.GetIdx()))
        )
        for atom in mol.GetAtoms()
    ]
    bonds: dict[tuple[int, int], int] = {}
    for bond in mol.GetBonds():
        i, j = sorted((bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()))
        kind = BondKind(int(bond.GetBondType()), bond.GetIsAromatic(), bond.IsInRing())
        bonds[i, j] = kinds.bond(kind)
    members = [
        (atom, bonds[min(atom, ring[place - 1]), max(atom, ring[place - 1])])
        for ring in rings.AtomRings()
        for place, atom in enumerate(ring)
    ]
    n_components = len(Chem.GetMolFrags(mol))
    return Taken(
        np.array([[len(atoms), len(bonds), rings.NumRings(), n_components]]),
        np.zeros(1, np.bool_),
        np.array(atoms, np.int32),
        np.zeros(len(atoms), np.int64),
        np.array([(*pair, kind) for pair, kind in bonds.items()], np.int32).reshape(-1, 3),
        np.array([len(ring) for ring in rings.AtomRings()], np.int64),
        np.array(members, np.int32).reshape(-1, 2),
    )


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
