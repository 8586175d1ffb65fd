"""Morgan environments in compiled code, folded to the bits that RDKit's generator sets.

Each atom begins with an invariant; in each round it takes up those of its neighbours with the types
of the bonds to them (doi:10.1021/ci100050t). An environment, a set of bonds, counts once: that of
an earlier round, or of the lowest number in the same one. Numbers are combined as in RDKit's
MorganGenerator.cpp, 32 bits wide, so that the bits are the same.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from specvae.molecules.compiling import ZERO, compiled, inner
from specvae.molecules.topology import Topologies

_WORD_BITS = 63  # bonds that are marked in a word, the sign apart
_ALL = 0xFFFFFFFF
_GOLDEN = 0x9E3779B9
_NONE = -1
# Columns of what is known of an atom.
_NOW, _NEXT, _IS_DONE = range(3)


def environments(molecules: Topologies, radius: int, n_bits: int) -> NDArray[np.bool_]:
    """Return which folded environments molecules have, (n_molecules, n_bits).

    Those of molecules that were not read from their binary form (`Taken.is_read`) are not known.

    Parameters
    ----------
    molecules
        Some molecules.
    radius
        Number of rounds.
    n_bits
        Length of the fingerprint.
    """
    taken = molecules.taken
    bits = np.zeros((len(molecules), n_bits), np.uint8)
    bits[molecules.atom_owners, taken.invariants % n_bits] = 1
    atoms = np.zeros((len(taken.atoms), 3), np.int64)
    atoms[:, _NOW] = taken.invariants
    n, most_bonds = (int(column.max(initial=0)) for column in taken.counts[:, :2].T)
    sets = np.zeros((3, max(n, 1) * max(radius, 1), most_bonds // _WORD_BITS + 1), np.int64)
    _set_all(
        molecules.first_atoms, molecules.first_bonds, atoms, molecules.typed_bonds, sets, radius,
        bits,
    )  # fmt: skip
    return bits.view(np.bool_)


@inner
def _combined(seed: int, value: int) -> int:
    return seed ^ ((value + _GOLDEN + (seed << 6) + (seed >> 2)) & _ALL)


@inner
def _grown(a: int, layer: int, atoms: NDArray[np.int64], bonds: NDArray[np.int32]) -> int:
    """Return the number of an atom with its neighbours, in the order of their types and numbers."""
    number = _combined(layer, atoms[a, _NOW])
    last_type = last_value = last_bond = ZERO + _NONE
    while True:
        found = ZERO + _NONE
        next_type = next_value = ZERO
        for b in range(len(bonds)):
            if bonds[b, 0] != a and bonds[b, 1] != a:
                continue
            kind = ZERO + bonds[b, 2]
            value = atoms[bonds[b, 0] + bonds[b, 1] - a, _NOW]
            if kind < last_type or (
                kind == last_type
                and (value < last_value or (value == last_value and b <= last_bond))
            ):
                continue
            if found < 0 or kind < next_type or (kind == next_type and value < next_value):
                found, next_type, next_value = b, kind, value
        if found < 0:
            return number
        number = _combined(number, _combined(_combined(ZERO, next_type), next_value))
        last_type, last_value, last_bond = next_type, next_value, found


@inner
def _is_same(one: NDArray[np.int64], other: NDArray[np.int64]) -> bool:
    for word in range(len(one)):  # noqa: SIM110 (a loop compiles faster)
        if one[word] != other[word]:
            return False
    return True


@inner
def _is_new(a: int, n_seen: int, atoms: NDArray[np.int64], sets: NDArray[np.int64]) -> bool:
    """Return whether an atom's environment is one of its own; see the module."""
    for k in range(n_seen):
        if _is_same(sets[2, k], sets[1, a]):
            return False
    number = atoms[a, _NEXT]
    for b in range(len(atoms)):
        other = atoms[b, _NEXT]
        is_before = 0 <= other < number or (other == number and b < a)
        if is_before and _is_same(sets[1, b], sets[1, a]):
            return False
    return True


@inner
def _grow(
    layer: int, atoms: NDArray[np.int64], bonds: NDArray[np.int32], sets: NDArray[np.int64]
) -> None:
    """Fill in the environments of atoms after a round, with their numbers; -1 for none."""
    for a in range(len(atoms)):
        atoms[a, _NEXT] = _NONE
        for word in range(sets.shape[2]):
            sets[1, a, word] = sets[0, a, word]
    for b in range(len(bonds)):
        for side in range(2):
            a, other = bonds[b, side], bonds[b, 1 - side]
            for word in range(sets.shape[2]):
                sets[1, a, word] |= sets[0, other, word]
            sets[1, a, b // _WORD_BITS] |= np.int64(1) << (b % _WORD_BITS)
            if not atoms[a, _IS_DONE] and atoms[a, _NEXT] < 0:
                atoms[a, _NEXT] = _grown(a, layer, atoms, bonds)


@inner
def _set_environments(
    atoms: NDArray[np.int64],
    bonds: NDArray[np.int32],
    sets: NDArray[np.int64],
    radius: int,
    bits: NDArray[np.uint8],
) -> None:
    """Set the bits of all environments.

    Takes room for sets of bonds: of the atoms before and after a round, and those that were seen.
    """
    n_seen = ZERO
    for layer in range(radius):
        _grow(layer, atoms, bonds, sets)
        n_before = n_seen
        for a in range(len(atoms)):
            if atoms[a, _NEXT] >= 0 and not _is_new(a, n_before, atoms, sets):
                atoms[a, _IS_DONE] = 1
            elif atoms[a, _NEXT] >= 0:
                bits[atoms[a, _NEXT] % len(bits)] = 1
                for word in range(sets.shape[2]):
                    sets[2, n_seen, word] = sets[1, a, word]
                n_seen += 1
        for a in range(len(atoms)):
            atoms[a, _NOW] = atoms[a, _NEXT] if atoms[a, _NEXT] >= 0 else 0
            for word in range(sets.shape[2]):
                sets[0, a, word] = sets[1, a, word]


@compiled
def _set_all(
    first_atoms: NDArray[np.int64],
    first_bonds: NDArray[np.int64],
    atoms: NDArray[np.int64],
    bonds: NDArray[np.int32],
    sets: NDArray[np.int64],
    radius: int,
    bits: NDArray[np.uint8],
) -> None:
    """Set the bits of all environments of each molecule; see `_set_environments`."""
    for m in range(len(bits)):
        for a in range(first_atoms[m + 1] - first_atoms[m]):
            for word in range(sets.shape[2]):
                sets[0, a, word] = 0
        _set_environments(
            atoms[first_atoms[m] : first_atoms[m + 1]],
            bonds[first_bonds[m] : first_bonds[m + 1]],
            sets,
            radius,
            bits[m],
        )
