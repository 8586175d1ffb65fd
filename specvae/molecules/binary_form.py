"""Atoms, bonds and rings of a molecule, read from RDKit's binary form.

RDKit takes a third of a microsecond for each property of an atom or a bond. Its binary form gives
all of them in one call. An atom's bytes there hold all that RDKit knows of it but its place, so
that properties of atoms need to be computed only once for each distinct sequence of bytes.
"""

from __future__ import annotations

from typing import NamedTuple

HEAD = bytes.fromhex("efbeadde 00000000 10000000 03000000 00000000")
"""How the binary form begins: format 16.3.0."""

# Where numbers stand, and what before the bonds.
N_ATOMS, N_BONDS, FIRST_ATOM = 20, 24, 30
_ATOMS, BEFORE_BONDS = b"\x80\x01", 0x0B  # before the atoms and before the bonds
RINGS = (0x42, 0x14, 0x44)  # before the rings: by how they were found
MOST_ATOMS = 255  # indices of more take four bytes

# Behind an atom's element and flags stands which of its properties follow, charge to radical in one
# byte each, then a mass number in four.
_LENGTHS = [6 + (low >> 1).bit_count() for low in range(256)]
USUAL_FLAGS = 0x60  # aromatic, no implicit hydrogens
_USUAL_PROPERTIES = 0x1FE

# Of a bond: aromatic, conjugated, not single, with a direction, with stereochemistry.
USUAL_BOND = 0x6E
_KIND, TYPE, DIRECTION, STEREO = 0x60, 0x08, 0x04, 0x02
AROMATIC, CONJUGATED = 0x40, 0x20
SINGLE = 1  # as `Chem.BondType` numbers them

_sound: set[bytes] = set()


class Records(NamedTuple):
    """The contents of the binary form of a molecule.

    Parameters
    ----------
    atoms
        The bytes of each atom: element, charge, chirality, hybridization, hydrogens, valence,
        radical, mass number, and whether it is aromatic.
    bonds
        Both atoms, the type as RDKit numbers it, and the flags `AROMATIC` and `CONJUGATED`.
    rings
        The atoms of each ring, in their order around it.
    """

    atoms: list[bytes]
    bonds: list[tuple[int, int, int, int]]
    rings: list[bytes]


def records_of(binary: bytes) -> Records | None:
    """Parse the result of ``mol.ToBinary()``; None if it is not of the known form.

    The form differs for other versions of RDKit, queries, and more than 255 atoms.
    """
    n_atoms = int.from_bytes(binary[N_ATOMS:N_BONDS], "little")
    n_bonds = int.from_bytes(binary[N_BONDS : FIRST_ATOM - 2], "little")
    if not binary.startswith(HEAD) or n_atoms > MOST_ATOMS:
        return None
    try:
        atoms, at = _atoms(binary, FIRST_ATOM, n_atoms)
        if binary[FIRST_ATOM - 2 : FIRST_ATOM] != _ATOMS or binary[at] != BEFORE_BONDS:
            return None
        bonds, at = _bonds(binary, at + 1, n_bonds)
        return Records(atoms, bonds, _rings(binary, at + 1)) if binary[at] in RINGS else None
    except (_UnknownError, IndexError):
        return None


class _UnknownError(Exception):
    """The binary form holds something unknown."""


def _atoms(binary: bytes, at: int, n: int) -> tuple[list[bytes], int]:
    """Return the bytes of atoms that begin at a place, and where they end."""
    found: list[bytes] = []
    for _ in range(n):
        end = at + _LENGTHS[binary[at + 2]] + 4 * (binary[at + 3] & 1)
        atom = binary[at:end]
        if atom not in _sound:
            _require_sound(atom)
        found.append(atom)
        at = end
    return found, at


def _bonds(binary: bytes, at: int, n: int) -> tuple[list[tuple[int, int, int, int]], int]:
    """Return bonds that begin at a place, as `Records` has them, and where they end."""
    found: list[tuple[int, int, int, int]] = []
    for _ in range(n):
        one, other, flags = binary[at], binary[at + 1], binary[at + 2]
        if flags & ~USUAL_BOND:
            raise _UnknownError
        at += 3
        bond_type = SINGLE
        if flags & TYPE:
            bond_type = binary[at]
            at += 1
        if flags & DIRECTION:
            at += 1
        if flags & STEREO:
            at += 2 + binary[at + 1]  # which, and the atoms that say so
        found.append((one, other, bond_type, flags & _KIND))
    return found, at


def _rings(binary: bytes, at: int) -> list[bytes]:
    found: list[bytes] = []
    for _ in range(int.from_bytes(binary[at : at + 4], "little")):
        end = at + 5 + binary[at + 4]
        found.append(binary[at + 5 : end])
        at = end - 4
    return found


def _require_sound(atom: bytes) -> None:
    """Store the bytes of an atom if they are of the known form."""
    flags, properties = atom[1], int.from_bytes(atom[2:6], "little")
    if flags & ~USUAL_FLAGS or properties & ~_USUAL_PROPERTIES:
        raise _UnknownError
    _sound.add(atom)
