"""Atoms, bonds and rings read from RDKit's binary form of many molecules, in compiled code.

`specvae.molecules.binary_form` says what stands where in it. The kind of an atom follows from its
bytes there, how many atoms it is bound to, how many rings it is in, and the size of the smallest of
them: three words in all, by which kinds that were met are found in a table.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from specvae.molecules.binary_form import (
    AROMATIC,
    BEFORE_BONDS,
    FIRST_ATOM,
    MOST_ATOMS,
    N_ATOMS,
    N_BONDS,
)
from specvae.molecules.binary_steps import bond_at, end_of_atom, has_head, is_before_rings
from specvae.molecules.compiling import ZERO, compiled, inner
from specvae.molecules.topology import Taken

_WORDS = 3  # of a key
_DEGREE, _N_RINGS, _SMALLEST = range(21, 24)  # bytes of a key
_PADDING = 64  # bytes behind the last molecule: no atom or bond is longer
_BOND_KEYS = 256 * 4

# What ends a call, and where `_read_all` notes what it did: molecules, atoms, bonds, rings and
# members of rings so far; then the atom or bond that is not known, and what is known of it.
_DONE, _FOREIGN, _NEW_ATOM, _NEW_BOND = range(4)
_MOLECULES, _ATOMS, _BONDS, _N_RING, _MEMBERS, _WHICH, _AROUND, _RING = range(8)


class _Kinds(NamedTuple):
    """Kinds of atoms and bonds.

    Parameters
    ----------
    keys
        Of atoms, uint64 (n, 3), each at the first free place from its digest on.
    values
        Their kinds, -1 where a place is free, and invariants; int64 (n, 2).
    bonds
        Kinds of bonds by type, and whether they are aromatic and in a ring; -1 for none, int32.
    """

    keys: NDArray[np.uint64]
    values: NDArray[np.int64]
    bonds: NDArray[np.int32]


class _Read(NamedTuple):
    """Room for what is read, one molecule after the other; `Taken` says what it is.

    Parameters
    ----------
    counts
        int64 (n_molecules, 4).
    atoms
        Kinds and invariants, int64 (n, 2).
    bonds
        int32 (n, 3).
    sizes
        int64 (n,).
    members
        int32 (n, 2).
    """

    counts: NDArray[np.int64]
    atoms: NDArray[np.int64]
    bonds: NDArray[np.int32]
    sizes: NDArray[np.int64]
    members: NDArray[np.int32]


class _Known:
    """Kinds that were met.

    Attributes
    ----------
    kinds
        Those of atoms and bonds.
    """

    def __init__(self, n: int = 1 << 12) -> None:
        self.n_atoms = 0
        self.kinds = _with_room(n, np.full(_BOND_KEYS, -1, np.int32))

    def add(self, key: NDArray[np.uint64], kind: int, invariant: int) -> None:
        """Remember the kind of an atom."""
        keys, values, bonds = self.kinds
        if 2 * self.n_atoms >= len(keys):
            is_used = values[:, 0] >= 0
            self.kinds = _with_room(2 * len(keys), bonds)
            for one, value in zip(keys[is_used], values[is_used], strict=True):
                self._put(one, value)
        self.n_atoms += 1
        self._put(key, np.array([kind, invariant]))

    def _put(self, key: NDArray[np.uint64], value: NDArray[np.int64]) -> None:
        place = _place(key, self.kinds.keys, self.kinds.values)
        self.kinds.keys[place], self.kinds.values[place] = key, value


def _with_room(n: int, bonds: NDArray[np.int32]) -> _Kinds:
    return _Kinds(np.zeros((n, _WORDS), np.uint64), np.full((n, 2), -1, np.int64), bonds)


@cache
def _known() -> _Known:
    return _Known()


def read(
    binaries: Sequence[bytes],
    learn_atom: Callable[[int, int, int, int], tuple[int, int]],
    learn_bond: Callable[[int, bool, bool], int],
) -> Taken:
    """Return what there is of molecules, of those before the first that must be asked for.

    So it is with another version of RDKit, queries, drawn hydrogens, and more than 255 atoms.

    Parameters
    ----------
    binaries
        What ``mol.ToBinary()`` gives.
    learn_atom
        Returns kind and invariant of an atom that was not met yet, given the number of the
        molecule, that of the atom, how many rings it is in, and the size of the smallest.
    learn_bond
        Returns the kind of a bond, given its type and whether it is aromatic and in a ring.
    """
    known = _known()
    data = np.frombuffer(b"".join([*binaries, bytes(_PADDING)]), np.uint8)
    begins = np.cumsum([0, *map(len, binaries)])
    n, n_bytes = len(binaries), len(data)
    found = _Read(
        np.zeros((n, 4), np.int64),
        np.empty((n_bytes // 6, 2), np.int64),
        np.empty((n_bytes // 3, 3), np.int32),
        np.empty(n_bytes // 5, np.int64),
        np.empty((n_bytes, 2), np.int32),
    )
    room = np.empty((MOST_ATOMS, 5), np.int64)
    state = np.zeros(8, np.int64)
    key = np.zeros(_WORDS, np.uint64)
    while True:
        said = _read_all(data, begins, known.kinds, found, room, state, key)
        if said == _NEW_ATOM:
            place = state[_MOLECULES], state[_WHICH], state[_AROUND], state[_RING]
            known.add(key, *learn_atom(*map(int, place)))
        elif said == _NEW_BOND:
            which = int(state[_WHICH])
            known.kinds.bonds[which] = learn_bond(which >> 2, which & 2 != 0, which & 1 != 0)
        else:
            break
    done = state[_MOLECULES]
    atoms = found.atoms[: state[_ATOMS]]
    return Taken(
        found.counts[:done],
        np.ones(done, np.bool_),
        atoms[:, 0].astype(np.int32),
        atoms[:, 1].copy(),
        found.bonds[: state[_BONDS]],
        found.sizes[: state[_N_RING]],
        found.members[: state[_MEMBERS]],
    )


@compiled
def _place(key: NDArray[np.uint64], keys: NDArray[np.uint64], values: NDArray[np.int64]) -> int:
    """Return where a key stands, or the free place where it may stand."""
    mixed = key[0] * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(29)) ^ key[1]) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(32)) ^ key[2]) * np.uint64(0x94D049BB133111EB)
    place = np.int64((mixed >> np.uint64(33)) & np.uint64(len(keys) - 1))
    while values[place, 0] >= 0 and not (
        keys[place, 0] == key[0] and keys[place, 1] == key[1] and keys[place, 2] == key[2]
    ):
        place = (place + 1) & (len(keys) - 1)
    return place  # type: ignore[return-value]


@inner
def _number(data: NDArray[np.uint8], at: int) -> int:
    number = ZERO
    for k in range(3):
        number += (ZERO + data[at + k]) << 8 * k
    return number


# Columns of the room for one molecule: where an atom's bytes begin, its degree, number of rings
# and smallest ring, and an atom of the same component.
_AT, _N_BOUND, _N_IN, _LEAST, _PART = range(5)


@inner
def _scan_atoms(data: NDArray[np.uint8], at: int, n: int, room: NDArray[np.int64]) -> int:
    """Note where atoms begin; return where they end, -1 if one is not as it is known to be."""
    for a in range(n):
        room[a, _AT], room[a, _PART] = at, a
        room[a, _N_BOUND] = room[a, _N_IN] = room[a, _LEAST] = 0
        end = end_of_atom(data, at)
        if end < 0 or data[at] == 1:  # a drawn hydrogen counts as one of its neighbour's
            return -1
        at = end
    room[n, _AT] = at
    return at


@inner
def _scan_bonds(
    data: NDArray[np.uint8], at: int, bonds: NDArray[np.int32], room: NDArray[np.int64]
) -> tuple[int, int]:
    """Fill in bonds with four times their type, and 2 if aromatic; return where they end.

    And how many bonds join what was not joined before. The end is -1 if one is not known.
    """
    n_joined = ZERO
    for b in range(len(bonds)):
        bond_type, flags, end = bond_at(data, at)
        if end < 0:
            return end, n_joined
        one, other = ZERO + data[at], ZERO + data[at + 1]
        at = end
        bonds[b, 0], bonds[b, 1] = min(one, other), max(one, other)
        bonds[b, 2] = 4 * bond_type + (2 if flags & AROMATIC else 0)
        room[one, _N_BOUND] += 1
        room[other, _N_BOUND] += 1
        while room[one, _PART] != one:
            one = room[one, _PART]
        while room[other, _PART] != other:
            other = room[other, _PART]
        if one != other:
            room[one, _PART] = other
            n_joined += 1
    return at, n_joined


@inner
def _scan_rings(
    data: NDArray[np.uint8],
    at: int,
    bonds: NDArray[np.int32],
    sizes: NDArray[np.int64],
    members: NDArray[np.int32],
    room: NDArray[np.int64],
) -> tuple[int, int]:
    """Fill in rings, with numbers of bonds in the place of their kinds; mark bonds in rings.

    Returns how many rings there are, -1 where one is none, and how many members.
    """
    n = ZERO
    n_rings = _number(data, at)
    at += 4
    for ring in range(n_rings):
        size = ZERO + data[at]
        sizes[ring] = size
        before = ZERO + data[at + size]
        for k in range(1, size + 1):
            a = ZERO + data[at + k]
            room[a, _N_IN] += 1
            if room[a, _LEAST] == 0 or size < room[a, _LEAST]:
                room[a, _LEAST] = size
            one, other = min(a, before), max(a, before)
            b = ZERO
            while b < len(bonds) and (bonds[b, 0] != one or bonds[b, 1] != other):
                b += 1
            if b == len(bonds):
                return ZERO - 1, n
            bonds[b, 2] |= 1
            members[n, 0], members[n, 1] = a, b
            before = a
            n += 1
        at += size + 1
    return n_rings, n


@inner
def _fill_key(
    data: NDArray[np.uint8], a: int, room: NDArray[np.int64], key: NDArray[np.uint64]
) -> None:
    for word in range(_WORDS):
        key[word] = 0
    at = room[a, _AT]
    for k in range(room[a + 1, _AT] - at):
        key[k >> 3] |= np.uint64(data[at + k]) << np.uint64(8 * (k & 7))
    around = room[a, _N_BOUND] | room[a, _N_IN] << 8 | room[a, _LEAST] << 16
    key[_WORDS - 1] |= np.uint64(around) << np.uint64(8 * (_DEGREE & 7))


@compiled
def _read_all(  # noqa: C901 (calls of functions that take many arrays are dear)
    data: NDArray[np.uint8],
    begins: NDArray[np.int64],
    kinds: _Kinds,
    found: _Read,
    room: NDArray[np.int64],
    state: NDArray[np.int64],
    key: NDArray[np.uint64],
) -> int:
    """Read molecules from where `state` says on, as far as they and their atoms are known."""
    # A field of a named tuple takes longer than an array.
    keys, values, bond_values = kinds
    counts, atoms, bonds, sizes, members = found
    for molecule in range(state[_MOLECULES], len(counts)):
        begin = begins[molecule]
        if begins[molecule + 1] - begin < FIRST_ATOM or not has_head(data, begin):
            return _FOREIGN
        n_atoms, n_bonds = _number(data, begin + N_ATOMS), _number(data, begin + N_BONDS)
        if n_atoms >= len(room):
            return _FOREIGN
        end = _scan_atoms(data, begin + FIRST_ATOM, n_atoms, room)
        if end < 0 or data[end] != BEFORE_BONDS:
            return _FOREIGN
        own = bonds[state[_BONDS] : state[_BONDS] + n_bonds]
        end, n_joined = _scan_bonds(data, end + 1, own, room)
        if end < 0 or not is_before_rings(data[end]):
            return _FOREIGN
        first = state[_MEMBERS]
        n_rings, n_members = _scan_rings(
            data, end + 1, own, sizes[state[_N_RING] :], members[first:], room
        )
        if n_rings < 0:
            return _FOREIGN
        for a in range(n_atoms):
            _fill_key(data, a, room, key)
            place = _place(key, keys, values)
            if values[place, 0] < 0:
                state[_WHICH], state[_AROUND], state[_RING] = a, room[a, _N_IN], room[a, _LEAST]
                return _NEW_ATOM
            for column in range(2):
                atoms[state[_ATOMS] + a, column] = values[place, column]
        for b in range(n_bonds):
            kind = bond_values[own[b, 2]]
            if kind < 0:
                state[_WHICH] = own[b, 2]
                return _NEW_BOND
            own[b, 2] = kind
        for k in range(n_members):
            members[first + k, 1] = own[members[first + k, 1], 2]
        counts[molecule, 0], counts[molecule, 1] = n_atoms, n_bonds
        counts[molecule, 2], counts[molecule, 3] = n_rings, n_atoms - n_joined
        state[_MOLECULES] += 1
        state[_ATOMS] += n_atoms
        state[_BONDS] += n_bonds
        state[_N_RING] += n_rings
        state[_MEMBERS] += n_members
    return _DONE
