"""Atoms and bonds as RDKit draws them: taken from its binary form in compiled code, else asked for.

RDKit needs a third of a microsecond for each question about an atom or a bond; its binary form
(`specvae.molecules.binary_form`) is one for all.
"""

from __future__ import annotations

from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from rdkit import Chem, rdBase

from specvae.molecules.binary_form import (
    AROMATIC,
    BEFORE_BONDS,
    CONJUGATED,
    FIRST_ATOM,
    MOST_ATOMS,
    N_ATOMS,
    N_BONDS,
)
from specvae.molecules.binary_steps import bond_at, end_of_atom, has_head, is_before_rings
from specvae.molecules.bit_sets import SET_SIZE
from specvae.molecules.compiling import ZERO, compiled, inner
from specvae.molecules.kekule import FIRST_VERSION, N_ROWS, pair_atoms
from specvae.molecules.kept_code import WorthCompiling

_HIGHEST_ORDER = 3  # of usual bonds, whose types are their orders
_LONGEST = 17  # bytes of an atom; more than this follow on the last bond
_SP3 = int(Chem.HybridizationType.SP3)
_AROMATIC_TYPE = int(Chem.BondType.AROMATIC)

# To compile what sets double bonds takes a second, once for all; it saves some hundredths of a
# millisecond a molecule.
_worth_setting = WorthCompiling("molecules/drawn.set_kekule", 5_000)

ELEMENT, HYDROGENS, ATOM_CLASS, CHARGE = range(4)
"""Columns of the atoms of `Drawn` and of `Graph` (`specvae.molecules.graph`)."""

ISOTOPE, VALENCE, SATURATED, HIGHEST, IS_AROMATIC, RADICAL = range(6)
"""Columns of `Drawn.marks`: mass number of labelled atoms, else 0; twice the sum of the orders of
bonds in a Kekule structure; whether RDKit takes it for sp3, which becomes whether it is saturated;
twice the highest order of its bonds; whether one of them is aromatic; electrons that are
unpaired."""

TWICE, KEKULE_SHIFT, KEKULE_BITS, IS_CONJUGATED = 0x0F, 4, 0x0F, 0x100
"""What `Drawn.between` holds of a bond."""

TWICE_AROMATIC = 3
"""Twice the order of an aromatic bond."""


class Drawn(NamedTuple):
    """What RDKit says of a molecule with a Kekule structure, and room for what follows from it.

    Parameters
    ----------
    atoms
        Atomic number, hydrogens, 0 in the place of a class, formal charge: int16 (n_atoms, 4).
    marks
        More of the atoms, int32 (n_atoms, 6): see `ISOTOPE`.
    between
        Bonds between atoms, int16 (n_atoms, n_atoms): twice the order, 3 if aromatic and 1 if there
        is none; from the fifth bit on that of the Kekule structure; `IS_CONJUGATED`.
    """

    atoms: NDArray[np.int16]
    marks: NDArray[np.int32]
    between: NDArray[np.int16]

    @classmethod
    def empty(cls, n: int) -> Self:
        """Return room for `n` atoms."""
        return cls(
            np.zeros((n, 4), np.int16), np.zeros((n, 6), np.int32), np.zeros((n, n), np.int16)
        )

    @classmethod
    def read(
        cls, binary: bytes, n_bonds: int, places: NDArray[np.int16]
    ) -> tuple[Self | None, bool]:
        """Return what a molecule's binary form says, and whether the molecule is one component.

        None where not all of it is known, or where it is not sure where double bonds are.

        Parameters
        ----------
        binary
            The molecule in binary form.
        n_bonds
            How many bonds it has.
        places
            int16 (n_atoms,): the place of each of its atoms in the arrays. Which of several Kekule
            structures is set depends on them.
        """
        drawn = cls.empty(len(places))
        data = np.frombuffer(binary, np.uint8)
        end, n_open, is_joined = read_binary(data, n_bonds, places, *drawn)
        is_read = end > 0
        if is_read and n_open:
            is_read = may_set_kekule() and set_kekule(data, end, places, *drawn)
        return drawn if is_read else None, is_joined

    @classmethod
    def asked(cls, mol: Chem.Mol) -> Self:
        """Ask RDKit for each atom and bond of a molecule."""
        found = cls.empty(mol.GetNumAtoms())
        orders = Chem.GetAdjacencyMatrix(mol, useBO=True, force=True)
        for a, atom in enumerate(mol.GetAtoms()):
            found.atoms[a] = atom.GetAtomicNum(), atom.GetTotalNumHs(), 0, atom.GetFormalCharge()
            is_sp3 = atom.GetHybridization() == Chem.HybridizationType.SP3
            found.marks[a, :3] = atom.GetIsotope(), 2 * orders[a].sum(), is_sp3
        # Dative bonds stand there once.
        for one, other in np.argwhere(Chem.GetAdjacencyMatrix(mol, force=True)).tolist():
            bond, order = mol.GetBondBetweenAtoms(one, other), orders[one, other]
            twice = TWICE_AROMATIC if bond.GetIsAromatic() else max(1, int(2 * order))
            is_conjugated = IS_CONJUGATED * bond.GetIsConjugated()
            found.between[one, other] = twice + (int(order) << KEKULE_SHIFT) + is_conjugated
        return found


@inner
def _begins_as_known(data: NDArray[np.uint8], n_atoms: int, n_bonds: int) -> bool:
    """Return whether the binary form of a molecule begins as it is known to."""
    if len(data) < FIRST_ATOM or n_atoms > MOST_ATOMS or not has_head(data, ZERO):
        return False
    is_whole = data[N_BONDS] == n_bonds & 255 and data[N_BONDS + 1] == n_bonds >> 8
    return bool(is_whole and data[N_ATOMS] == n_atoms)


@inner
def _read_atoms(  # noqa: C901 (one byte after the other)
    data: NDArray[np.uint8],
    places: NDArray[np.int16],
    atoms: NDArray[np.int16],
    marks: NDArray[np.int32],
) -> int:
    """Fill in numbers, hydrogens, charges and the like; return where atoms end, -1 if unknown."""
    at = ZERO + FIRST_ATOM
    for k in range(len(atoms)):
        if at + _LONGEST > len(data):
            return -1
        if end_of_atom(data, at) < 0:
            return -1
        a = places[k]
        low = data[at + 2]
        high = data[at + 3]
        atoms[a, ELEMENT] = data[at]
        at += 6
        if low & 2:
            atoms[a, CHARGE] = data[at] - 256 if data[at] > 127 else data[at]
            at += 1
        if low & 4:  # chirality
            at += 1
        marks[a, SATURATED] = 1
        if low & 8:
            marks[a, SATURATED] = data[at] == _SP3
            at += 1
        if low & 16:
            atoms[a, HYDROGENS] += data[at]
            at += 1
        if low & 32:  # valence
            at += 1
        if low & 64:
            atoms[a, HYDROGENS] += data[at]
            at += 1
        if low & 128:
            marks[a, RADICAL] = data[at]
            at += 1
        if high:
            for byte in range(4):
                marks[a, ISOTOPE] += np.int64(data[at + byte]) << 8 * byte
            at += 4
    return at


@inner
def _read_bonds(
    data: NDArray[np.uint8],
    at: int,
    n_bonds: int,
    places: NDArray[np.int16],
    marks: NDArray[np.int32],
    between: NDArray[np.int16],
) -> tuple[int, int]:
    """Fill in bonds, which begin at a place; return where they end, -1 if one is not known.

    And how many are aromatic, and neither single nor double: these count as single.
    """
    n_open = ZERO
    for _ in range(n_bonds):
        if at + _LONGEST > len(data):
            return ZERO - 1, n_open
        one = places[data[at]]
        other = places[data[at + 1]]
        order, flags, at = bond_at(data, at)
        if order == _AROMATIC_TYPE and flags & AROMATIC:
            order = ZERO + 1
            n_open += 1
        if at < 0 or order < 1 or order > _HIGHEST_ORDER:
            return ZERO - 1, n_open
        code = (order << KEKULE_SHIFT) + (TWICE_AROMATIC if flags & AROMATIC else 2 * order)
        if flags & CONJUGATED:
            code += IS_CONJUGATED
        between[one, other] = between[other, one] = code
        marks[one, VALENCE] += 2 * order
        marks[other, VALENCE] += 2 * order
    return at, n_open


@inner
def _is_joined(between: NDArray[np.int16]) -> bool:
    """Return whether all atoms are of one component."""
    n = len(between)
    found = np.zeros(n + 1, np.int64)
    is_found = np.zeros(n + 1, np.bool_)
    is_found[0] = True
    n_found = 1
    k = 0
    while k < n_found:
        a = found[k]
        k += 1
        for b in range(n):
            if between[a, b] and not is_found[b]:
                is_found[b] = True
                found[n_found] = b
                n_found += 1
    return n_found >= n


@inner
def _lacks_double(a: int, atoms: NDArray[np.int16], marks: NDArray[np.int32], n_bound: int) -> int:
    """Return 1 if an aromatic atom lacks a double bond, 0 if not, -1 where that is not sure.

    Its aromatic bonds count as single so far.
    """
    element, charge = atoms[a, ELEMENT], atoms[a, CHARGE]
    n_used = marks[a, VALENCE] // 2 + atoms[a, HYDROGENS]
    if marks[a, RADICAL] != 0:
        return ZERO - 1
    if element == 6 and charge == 0:
        return int(n_used == 3) if n_used > 2 else ZERO - 1
    if element == 7 and charge == 0 and n_used < 4:
        return int(n_used == 2)
    if element == 7 and charge == 1:
        return int(n_used == 3) if n_used > 2 else ZERO - 1
    is_chalcogen = element == 8 or element == 16 or element == 34
    if is_chalcogen and n_bound == 2 and atoms[a, HYDROGENS] == 0:
        if charge == 0 and n_used == 2:
            return ZERO
        if charge == 1 and n_used == 2:
            return ZERO + 1
    return ZERO - 1


@inner
def _read_systems(
    data: NDArray[np.uint8], at: int, places: NDArray[np.int16], systems: NDArray[np.int64]
) -> int:
    """Fill in sets of the atoms of rings that share bonds; return their number, -1 if too many."""
    n_rings = ZERO
    for k in range(4):
        n_rings += (ZERO + data[at + k]) << 8 * k
    at += 4
    n = ZERO
    for _ in range(n_rings):
        ring = ZERO
        for k in range(1, data[at] + 1):
            ring |= 1 << (ZERO + places[data[at + k]])
        at += data[at] + 1
        # It joins those of which it has two atoms.
        kept = ZERO
        for k in range(n):
            shared = systems[k] & ring
            if shared & (shared - 1):
                ring |= systems[k]
            else:
                systems[kept] = systems[k]
                kept += 1
        if kept == len(systems):
            return ZERO - 1
        systems[kept] = ring
        n = kept + 1
    return n


@inner
def _fill_sets(
    atoms: NDArray[np.int16],
    marks: NDArray[np.int32],
    between: NDArray[np.int16],
    around: NDArray[np.int64],
    aromatic: NDArray[np.int64],
) -> tuple[int, int]:
    """Fill in sets of neighbours; return aromatic atoms, and which lack a double bond or -1."""
    lacking = all_aromatic = ZERO
    for a in range(len(atoms)):
        n_bound = ZERO
        for b in range(len(atoms)):
            if between[a, b]:
                n_bound += 1
                around[a] |= 1 << b
                if between[a, b] & TWICE == TWICE_AROMATIC:
                    aromatic[a] |= 1 << b
        if aromatic[a]:
            all_aromatic |= 1 << a
            lacks = _lacks_double(a, atoms, marks, n_bound)
            if lacks < 0:
                return all_aromatic, lacks
            lacking |= lacks << a
    return all_aromatic, lacking


@compiled
def set_kekule(
    data: NDArray[np.uint8],
    at: int,
    places: NDArray[np.int16],
    atoms: NDArray[np.int16],
    marks: NDArray[np.int32],
    between: NDArray[np.int16],
) -> bool:
    """Set double bonds of aromatic rings, whose mark is at a place; return whether it was sure."""
    if len(atoms) > SET_SIZE or not is_before_rings(data[at]):
        return False
    room = np.zeros((N_ROWS + 3, 64), np.int64)
    around, aromatic, systems = room[N_ROWS], room[N_ROWS + 1], room[N_ROWS + 2]
    all_aromatic, lacking = _fill_sets(atoms, marks, between, around, aromatic)
    n_systems = _read_systems(data, at + 1, places, systems)
    if lacking < 0 or n_systems < 0:
        return False
    for k in range(n_systems):
        system = systems[k] & all_aromatic
        if not pair_atoms(system, lacking & system, around, aromatic, room):
            return False
        all_aromatic &= ~system
        for a in range(len(atoms)):
            b = room[0, a]
            if system >> a & 1 and b >= 0:
                between[a, b] += 1 << KEKULE_SHIFT
                marks[a, VALENCE] += 2
    return bool(all_aromatic == 0)


@compiled
def read_binary(
    data: NDArray[np.uint8],
    n_bonds: int,
    places: NDArray[np.int16],
    atoms: NDArray[np.int16],
    marks: NDArray[np.int32],
    between: NDArray[np.int16],
) -> tuple[int, int, bool]:
    """Fill in what the binary form of RDKit's molecule says; see `Drawn`.

    `places` are those of the atoms in the arrays. Returns where its bonds end, -1 where not all of
    it is known (`specvae.molecules.binary_form` says what stands where); how many of them are
    aromatic ones, which count as single (`set_kekule`); and whether there is one component.
    """
    at = n_open = ZERO - 1
    if _begins_as_known(data, len(atoms), n_bonds):
        at = _read_atoms(data, places, atoms, marks)
    if at > 0 and data[at] == BEFORE_BONDS:
        at, n_open = _read_bonds(data, at + 1, n_bonds, places, marks, between)
    else:
        at = ZERO - 1
    return at, n_open, _is_joined(between)


def may_set_kekule() -> bool:
    """Return whether double bonds of one molecule more are set in compiled code.

    Earlier versions of RDKit set others: a graph must not depend on how many there are.
    """
    return rdBase.rdkitVersion >= FIRST_VERSION and _worth_setting(1)
