"""Steps through RDKit's binary form of a molecule, for compiled functions.

`specvae.molecules.binary_form` says what stands where in it. What is not as it is known to be there
is left to RDKit.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from specvae.molecules.binary_form import (
    DIRECTION,
    HEAD,
    RINGS,
    SINGLE,
    STEREO,
    TYPE,
    USUAL_BOND,
    USUAL_FLAGS,
)
from specvae.molecules.compiling import ZERO, inner

_HEAD = np.frombuffer(HEAD, np.uint8)


@inner
def has_head(data: NDArray[np.uint8], at: int) -> bool:
    """Return whether the molecule whose bytes begin at a place is of the known format."""
    n_same = 0
    for k in range(len(_HEAD)):
        n_same += data[at + k] == _HEAD[k]
    return n_same == len(_HEAD)


@inner
def is_before_rings(mark: int) -> bool:
    """Return whether a byte is one of those that stand before the rings."""
    return bool(mark == RINGS[0] or mark == RINGS[1] or mark == RINGS[2])


@inner
def end_of_atom(data: NDArray[np.uint8], at: int) -> int:
    """Return where an atom's bytes end, -1 where they are not as they are known to be."""
    low, high = data[at + 2], data[at + 3]
    is_odd = data[at + 1] & ~USUAL_FLAGS or low & 1 or high > 1
    if is_odd or data[at + 4] or data[at + 5]:
        return -1
    at += 6
    for bit in range(1, 8):
        at += low >> bit & 1
    return int(at + 4 * high)


@inner
def bond_at(data: NDArray[np.uint8], at: int) -> tuple[int, int, int]:
    """Return a bond's type and flags, and where its bytes end, -1 where they are not known."""
    flags = ZERO + data[at + 2]
    bond_type = ZERO + SINGLE
    at += 3
    if flags & TYPE:
        bond_type = ZERO + data[at]
        at += 1
    if flags & DIRECTION:
        at += 1
    if flags & STEREO:
        at += 2 + data[at + 1]
    return bond_type, flags, at if flags & ~USUAL_BOND == 0 else ZERO - 1
