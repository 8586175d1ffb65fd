"""A molecule written as SMILES in compiled code.

Some fields of a `Sketch` have other meanings here: `links` are the neighbours of each atom in the
tree that is written, `partner` the one before, -1 for the first, `missing` those behind; `choices`
is the mark of its bond to the one before: 1 for ``/``, 2 for its mirror image, 0 for none.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from specvae.molecules.bit_sets import lowest_of, size_of
from specvae.molecules.compiling import ZERO, inner
from specvae.molecules.sketch import LETTERS, N_ATOMS, NITRO, NITRO_OXYGENS, Sketch

LONGEST = 20
"""Letters of an atom with its bonds, at most."""


@inner
def _write_bond(a: int, b: int, at: int, sketch: Sketch, out: NDArray[np.uint8]) -> int:
    """Write the order of a bond; return where it ends."""
    mark = sketch.choices[b] if sketch.partner[b] == a else ZERO
    if sketch.double[a] >> b & 1:
        out[at] = 61  # "="
    elif sketch.triple[a] >> b & 1:
        out[at] = 35  # "#"
    elif mark != 0:
        out[at] = 47 if mark == 1 else 92
    else:
        return at
    return at + 1


@inner
def _is_clockwise(a: int, sketch: Sketch) -> bool:
    """Return whether the neighbours of a stereocentre follow each other clockwise in the text.

    InChI says whether they do by rising numbers, a hydrogen first.
    """
    before = sketch.partner[a]
    others = sketch.around[a] & ~sketch.links[a]
    behind = sketch.missing[a]
    # Pairs that stand the other way round than by their numbers.
    n = ZERO
    if before >= 0:
        n += size_of((others | behind) & ((1 << before) - 1)) + sketch.hydrogens[a]
    while others != 0:
        n += size_of(behind & ((1 << lowest_of(others)) - 1))
        others &= others - 1
    return bool((n & 1 == 0) == (sketch.parity[a] == 2))


@inner
def _side(a: int, b: int, sketch: Sketch) -> int:
    """Return on which side of an atom a neighbour is by the mark between, 0 for none."""
    side = ZERO
    if sketch.partner[b] == a:
        side += sketch.choices[b]
    elif sketch.partner[a] == b and sketch.choices[a] != 0:
        side += 3 - sketch.choices[a]
    return side


@inner
def _side_of_highest(a: int, sketch: Sketch) -> int:
    """Return on which side of a double bond the highest neighbour of one end is.

    0 where no bond there is marked, -1 where marks contradict each other.
    """
    near = sketch.around[a] & ~sketch.double[a]
    found = ZERO
    while near != 0:
        b = lowest_of(near)
        near &= near - 1
        side = _side(a, b, sketch)
        if side == 0:
            continue
        if near != 0:  # not the highest
            side = 3 - side
        if found != 0 and found != side:
            return ZERO - 1
        found = side
    return found


@inner
def _to_mark(a: int, sketch: Sketch) -> int:
    """Return the neighbour of an end of a double bond to which a bond is marked, -1 for none.

    One that has no double bond, else one at which nothing is marked: a mark says something of both
    ends of its bond.
    """
    near = sketch.around[a] & ~sketch.double[a] & sketch.links[a]
    best = ZERO - 1
    least = ZERO + 3
    while near != 0:
        b = lowest_of(near)
        near &= near - 1
        worth = ZERO
        if sketch.double[b] != 0:
            worth += 1 if _side_of_highest(b, sketch) == 0 else 2
        if worth < least:
            best, least = b, worth
    return best


@inner
def _put(a: int, b: int, side: int, sketch: Sketch) -> None:
    """Mark a bond of the tree so that a neighbour is on a side of an atom."""
    if sketch.partner[b] == a:
        sketch.choices[b] = side
    else:
        sketch.choices[a] = 3 - side


@inner
def _side_among(a: int, b: int, side: int, sketch: Sketch) -> int:
    """Return the side of a neighbour if the highest one is on `side`, or the other way round."""
    is_highest = (sketch.around[a] & ~sketch.double[a]) >> (b + 1) == 0
    return ZERO + side if is_highest else 3 - side


@inner
def _mark(a: int, side: int, sketch: Sketch) -> bool:
    """Mark a bond so that the highest neighbour is on a side; return whether that was possible.

    With marks at the neighbour there is but one way to do it, which may be another one.
    """
    b = _to_mark(a, sketch)
    if b < 0:
        return False
    said = ZERO
    if sketch.double[b] != 0:
        said += _side_of_highest(b, sketch)
    if said != 0:
        _put(b, a, _side_among(b, a, said, sketch), sketch)
    else:
        _put(a, b, _side_among(a, b, side, sketch), sketch)
    return True


@inner
def _mark_double_bond(a: int, b: int, sketch: Sketch) -> bool:
    """Mark bonds at a double bond, those of one end first; return whether it was possible."""
    if _side_of_highest(a, sketch) == 0 and not _mark(a, ZERO + 1, sketch):
        return False
    one = _side_of_highest(a, sketch)
    wanted = one if sketch.same_side[a] >> b & 1 else 3 - one
    return _side_of_highest(b, sketch) != 0 or _mark(b, wanted, sketch)


@inner
def _has_right_marks(sketch: Sketch) -> bool:
    """Return whether marks say of each double bond what they should, and nothing of others."""
    for a in range(sketch.numbers[N_ATOMS]):
        others = sketch.double[a]
        while others != 0:
            b = lowest_of(others)
            others &= others - 1
            one, other = _side_of_highest(a, sketch), _side_of_highest(b, sketch)
            if sketch.same_side[a] >> b & 1:
                is_right = one > 0 and one == other
            elif sketch.other_side[a] >> b & 1:
                is_right = one > 0 and other > 0 and one != other
            else:
                is_right = one == 0 or other == 0
            if not is_right:
                return False
    return True


@inner
def _mark_double_bonds(sketch: Sketch) -> bool:
    """Mark bonds so that double bonds are as they should be; return whether it was possible."""
    left = ZERO
    for a in range(sketch.numbers[N_ATOMS]):
        if sketch.same_side[a] | sketch.other_side[a]:
            left |= 1 << a
    if left == 0:
        return True
    while left != 0:
        a = lowest_of(left)
        waiting = left
        while waiting != 0:
            b = lowest_of(waiting)
            waiting &= waiting - 1
            a = b if sketch.place[b] < sketch.place[a] else a
        b = lowest_of(sketch.same_side[a] | sketch.other_side[a])
        left &= ~(1 << a | 1 << b)
        if not _mark_double_bond(a, b, sketch):
            return False
    # Marks may say something of other double bonds, too.
    return _has_right_marks(sketch)


@inner
def _write_atom(  # noqa: C901 (one letter after the other)
    a: int, at: int, sketch: Sketch, out: NDArray[np.uint8]
) -> int:
    """Write an atom, and the numbers of bonds that close rings; return where it ends.

    `Sketch.open_bonds` has the atoms of each bond that is open: 64 times one, and the other, or -1.
    """
    charged = (sketch.numbers[NITRO] | sketch.numbers[NITRO_OXYGENS]) >> a & 1
    if charged or sketch.parity[a] != 0:
        out[at] = 91  # "["
        at += 1
    for k in range(len(LETTERS)):
        if LETTERS[k, 2] == sketch.number[a]:
            for letter in range(2):
                if LETTERS[k, letter]:
                    out[at] = LETTERS[k, letter]
                    at += 1
    if sketch.parity[a] != 0:
        out[at] = 64  # "@"
        at += 1
        if _is_clockwise(a, sketch):
            out[at] = 64
            at += 1
        if sketch.hydrogens[a] != 0:
            out[at] = 72
            at += 1
        out[at] = 93
        at += 1
    if charged:
        out[at] = 43 if sketch.numbers[NITRO] >> a & 1 else 45  # "+", "-"
        out[at + 1] = 93
        at += 2
    # Its bonds that are none of the tree.
    others = sketch.around[a] & ~sketch.links[a]
    while others != 0:
        b = lowest_of(others)
        others &= others - 1
        pair = 64 * min(a, b) + max(a, b)
        number = ZERO - 1
        for k in range(len(sketch.open_bonds)):
            if sketch.open_bonds[k] == pair:
                number = k
        if number >= 0:
            sketch.open_bonds[number] = -1
        else:
            number = ZERO
            while sketch.open_bonds[number] >= 0:
                number += 1
            sketch.open_bonds[number] = pair
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
    """Write a molecule as SMILES at a place; return where it ends, -1 if it cannot be written."""
    n_atoms = sketch.numbers[N_ATOMS]
    children = sketch.missing
    before = sketch.partner
    for a in range(n_atoms):
        children[a] = sketch.links[a] = 0
        sketch.choices[a] = sketch.place[a] = 0
    seen = ZERO + 1
    before[0] = -1
    n_seen = ZERO + 1
    a = ZERO
    while a >= 0:
        ahead = sketch.around[a] & ~seen
        if ahead == 0:
            a = before[a]
            continue
        b = lowest_of(ahead)
        seen |= 1 << b
        before[b] = a
        sketch.place[b] = n_seen
        n_seen += 1
        children[a] |= 1 << b
        sketch.links[a] |= 1 << b
        sketch.links[b] |= 1 << a
        a = b
    for k in range(len(sketch.open_bonds)):
        sketch.open_bonds[k] = -1
    if not _mark_double_bonds(sketch):
        return ZERO - 1
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
        b = lowest_of(ahead)
        children[a] = ahead & (ahead - 1)
        if children[a] != 0:
            branches |= 1 << b
            out[at] = 40
            at += 1
        at = _write_bond(a, b, at, sketch, out)
        at = _write_atom(b, at, sketch, out)
        a = b
    return at
