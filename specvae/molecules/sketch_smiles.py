"""A molecule written as SMILES in compiled code."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from specvae.molecules.compiling import ZERO, inner
from specvae.molecules.sketch import LETTERS, N_ATOMS, NITRO, NITRO_OXYGENS, Sketch, first

LONGEST = 20
"""Letters of an atom with its bonds, at most."""


@inner
def _write_bond(a: int, b: int, at: int, sketch: Sketch, out: NDArray[np.uint8]) -> int:
    """Write the order of a bond; return where it ends."""
    if sketch.double[a] >> b & 1:
        out[at] = 61  # "="
    elif sketch.triple[a] >> b & 1:
        out[at] = 35  # "#"
    else:
        return at
    return at + 1


@inner
def _write_atom(  # noqa: C901 (one letter after the other)
    a: int, at: int, sketch: Sketch, out: NDArray[np.uint8]
) -> int:
    """Write an atom, and the numbers of bonds that close rings; return where it ends.

    `Sketch.spare` has the atoms of each bond that is open: 64 times one, and the other, or -1.
    """
    charged = (sketch.numbers[NITRO] | sketch.numbers[NITRO_OXYGENS]) >> a & 1
    if charged:
        out[at] = 91  # "["
        at += 1
    for k in range(len(LETTERS)):
        if LETTERS[k, 2] == sketch.number[a]:
            for letter in range(2):
                if LETTERS[k, letter]:
                    out[at] = LETTERS[k, letter]
                    at += 1
    if charged:
        out[at] = 43 if sketch.numbers[NITRO] >> a & 1 else 45  # "+", "-"
        out[at + 1] = 93
        at += 2
    # Its bonds that are none of the tree.
    others = sketch.around[a] & ~sketch.mobile[a]
    while others != 0:
        b = first(others)
        others &= others - 1
        pair = 64 * min(a, b) + max(a, b)
        number = ZERO - 1
        for k in range(len(sketch.spare)):
            if sketch.spare[k] == pair:
                number = k
        if number >= 0:
            sketch.spare[number] = -1
        else:
            number = ZERO
            while sketch.spare[number] >= 0:
                number += 1
            sketch.spare[number] = pair
            at = _write_bond(a, b, at, sketch, out)
        number += 1
        if number > 9:
            out[at] = 37  # "%"
            out[at + 1] = 48 + number // 10
            at += 2
        out[at] = 48 + number % 10
        at += 1
    return at


@inner
def write_smiles(at: int, sketch: Sketch, out: NDArray[np.uint8]) -> int:
    """Write a molecule as SMILES at a place; return where it ends.

    `Sketch.mobile` gets the neighbours of each atom in the tree that is written; `partner` the one
    before, -1 for the first; `choices` the atoms of a branch.
    """
    n_atoms = sketch.numbers[N_ATOMS]
    children = sketch.missing
    before = sketch.partner
    for a in range(n_atoms):
        children[a] = sketch.mobile[a] = 0
        sketch.spare[a] = -1
    seen = ZERO + 1
    before[0] = -1
    a = ZERO
    while a >= 0:
        ahead = sketch.around[a] & ~seen
        if ahead == 0:
            a = before[a]
            continue
        b = first(ahead)
        seen |= 1 << b
        before[b] = a
        children[a] |= 1 << b
        sketch.mobile[a] |= 1 << b
        sketch.mobile[b] |= 1 << a
        a = b
    for k in range(len(sketch.spare)):
        sketch.spare[k] = -1
    branches = ZERO
    at = _write_atom(ZERO, at, sketch, out)
    a = ZERO
    while a >= 0:
        ahead = children[a]
        if ahead == 0:
            if branches >> a & 1:
                out[at] = 41  # ")"
                at += 1
            a = before[a]
            continue
        b = first(ahead)
        children[a] = ahead & (ahead - 1)
        if children[a] != 0:
            branches |= 1 << b
            out[at] = 40
            at += 1
        at = _write_bond(a, b, at, sketch, out)
        at = _write_atom(b, at, sketch, out)
        a = b
    return at
