"""The double bonds of aromatic rings, in compiled code.

A ring system has several Kekule structures. As RDKit does (`FIRST_VERSION`), the one is taken that
a search along the bonds comes to first: it begins at the lowest atom, and joins each atom to the
lowest neighbour that lacks a double bond, too. Where atoms are in canonical order, it is the same
structure in whatever order they are written.

Atoms count from 0; sets of atoms are int64 (`specvae.molecules.bit_sets`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from specvae.molecules.bit_sets import lowest_of
from specvae.molecules.compiling import ZERO, inner

FIRST_VERSION = "2026.03"
"""Of RDKit, with the same structures."""

_MOST_RETURNS = 100  # of a search that went wrong

# Rows of the room that `pair_atoms` needs: the partner of each atom, -1 for none; others that it
# might have instead; atoms that wait; those that were met, in order; those that had a choice.
_PARTNER, _OTHERS, _WAITING, _MET, _CHOOSERS = range(5)
N_ROWS = 5
"""Rows of 64 int64 that it needs."""


@inner
def _go_back(n_waiting: int, n_met: int, place: int, room: NDArray[np.int64]) -> int:
    """Let atoms that were met from a place on wait again, before all others; return their set."""
    n_again = n_met - place
    for k in range(n_waiting - 1, -1, -1):
        room[_WAITING, k + n_again] = room[_WAITING, k]
    again = ZERO
    for k in range(n_again):
        a = room[_MET, place + k]
        room[_WAITING, k] = a
        again |= 1 << a
    return again


@inner
def _part(system: int, met: int, room: NDArray[np.int64]) -> int:
    """Take double bonds away of which both atoms are no longer met; return the set of these."""
    parted = ZERO
    left = system & ~met
    while left != 0:
        a = lowest_of(left)
        left &= left - 1
        b = room[_PARTNER, a]
        if b >= 0 and not met >> b & 1:
            room[_PARTNER, a] = room[_PARTNER, b] = -1
            parted |= 1 << a | 1 << b
    return parted


@inner
def pair_atoms(  # noqa: C901 (a search, atom by atom)
    system: int,
    lacking: int,
    around: NDArray[np.int64],
    aromatic: NDArray[np.int64],
    room: NDArray[np.int64],
) -> bool:
    """Find a partner for each atom of a ring system that lacks a double bond.

    Parameters
    ----------
    system
        Aromatic atoms of rings that share bonds.
    lacking
        Those of them that must have a double bond in the system.
    around, aromatic
        Of each atom the neighbours, and those by aromatic bonds, (64,).
    room
        (N_ROWS, 64): the first row gets the partners of the system's atoms, -1 for none. The second
        one must be 0 for them.

    Returns
    -------
    bool
        Whether it was found.
    """
    n_waiting = n_met = n_choosers = n_returns = ZERO
    waiting = met = ZERO
    left = system
    while left != 0:
        room[_PARTNER, lowest_of(left)] = -1
        left &= left - 1
    while met != system:
        if n_waiting > 0:
            a = room[_WAITING, 0]
            n_waiting -= 1
            for k in range(n_waiting):
                room[_WAITING, k] = room[_WAITING, k + 1]
            waiting &= ~(1 << a)
        else:
            a = lowest_of(system & ~met)
        room[_MET, n_met] = a
        n_met += 1
        met |= 1 << a
        others = room[_OTHERS, a]
        is_again = others != 0
        if not is_again:
            near = around[a] & system & ~met
            others = near & lacking & aromatic[a]
            near &= ~waiting
            waiting |= near
            while near != 0:
                room[_WAITING, n_waiting] = lowest_of(near)
                n_waiting += 1
                near &= near - 1
        if not lacking >> a & 1:
            continue
        if others != 0:
            b = lowest_of(others)
            others &= others - 1
            room[_PARTNER, a], room[_PARTNER, b] = b, a
            lacking &= ~(1 << a | 1 << b)
            room[_OTHERS, a] = others
            if is_again and others == 0:
                n_choosers -= 1
            elif others != 0 and not is_again:
                room[_CHOOSERS, n_choosers] = a
                n_choosers += 1
            continue
        # It has none: the last one that had a choice takes its next neighbour.
        if n_choosers == 0 or n_returns == _MOST_RETURNS:
            return False
        n_returns += 1
        place = ZERO
        while room[_MET, place] != room[_CHOOSERS, n_choosers - 1]:
            place += 1
        again = _go_back(n_waiting, n_met, place, room)
        n_waiting += n_met - place
        n_met = place
        waiting |= again
        met &= ~again
        lacking |= _part(system, met, room)
    return True
