"""The layers of a plain InChI (`specvae.molecules.plain_inchi`), read in compiled code."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from specvae.molecules.bit_sets import lowest_of
from specvae.molecules.compiling import ZERO, inner
from specvae.molecules.double_bonds import is_joined
from specvae.molecules.sketch import (
    LETTERS,
    MOST_GROUPS,
    N_ATOMS,
    N_BONDS,
    N_GROUPS,
    N_HYDROGENS,
    NITRO,
    NITRO_OXYGENS,
    Sketch,
)

_BEGIN = np.frombuffer(b"InChI=1S/", np.uint8)


@inner
def _is_digit(letter: int) -> bool:
    return bool(48 <= letter <= 57)


@inner
def _digits(data: NDArray[np.uint8], at: int, end: int) -> tuple[int, int]:
    """Return a number that begins at a place, -1 for none or a long one, and where it ends."""
    number = ZERO
    begin = at
    while at < end and _is_digit(data[at]) and at < begin + 4:
        number = 10 * number + data[at] - 48
        at += 1
    return (number if at > begin else ZERO - 1), at


@inner
def _count(data: NDArray[np.uint8], at: int, end: int) -> tuple[int, int]:
    """Return how many a letter stands for, 1 if no number follows, and where that ends.

    -1 for a number that would not be written.
    """
    number, behind = _digits(data, at, end)
    if behind == at:
        return ZERO + 1, at
    return (number if number > 1 and data[at] != 48 else ZERO - 1), behind


@inner
def _read_formula(data: NDArray[np.uint8], at: int, end: int, most: int, sketch: Sketch) -> int:
    """Fill in the atoms of a formula; return where it ends, -1 if it is none of usual elements."""
    n = ZERO
    last = ZERO
    sketch.numbers[N_HYDROGENS] = 0
    while at < end and data[at] != 47:  # "/"
        one = ZERO + data[at]
        other = ZERO + data[at + 1] if 97 <= data[at + 1] <= 122 else ZERO
        at += 1 if other == 0 else 2
        count, at = _count(data, at, end)
        # Carbon, then hydrogen where there is carbon, then by their letters.
        place = 256 * one + other
        if place == 256 * 67:
            place = ZERO + 1
        elif place == 256 * 72 and 0 < last < 3:
            place = ZERO + 2
        if count < 0 or place <= last:
            return ZERO - 1
        last = place
        element = ZERO
        for k in range(len(LETTERS)):
            if LETTERS[k, 0] == one and LETTERS[k, 1] == other:
                element = LETTERS[k, 2]
        if one == 72 and other == 0:  # "H"
            sketch.numbers[N_HYDROGENS] = count
            continue
        if element == 0 or n + count > most:
            return ZERO - 1
        for _ in range(count):
            sketch.number[n] = element
            n += 1
    sketch.numbers[N_ATOMS] = n
    return at if n > 1 else ZERO - 1


@inner
def _read_bonds(  # noqa: C901 (one letter after the other)
    data: NDArray[np.uint8], at: int, end: int, sketch: Sketch
) -> int:
    """Fill in the bonds; return where their layer ends, -1 if it is not a plain one."""
    n_atoms = sketch.numbers[N_ATOMS]
    n_bonds = ZERO
    depth = ZERO
    before = ZERO - 1
    while at < end and data[at] != 47:
        letter = data[at]
        if not _is_digit(letter) and not _is_digit(data[at + 1]):
            return ZERO - 1
        if letter == 40:  # "(": what follows is bound to the atom before
            if before < 0 or depth == len(sketch.search):
                return ZERO - 1
            sketch.search[depth, 0] = before
            depth += 1
        elif letter == 44 or letter == 41:  # ",", ")": back to that atom
            if depth == 0:
                return ZERO - 1
            before = sketch.search[depth - 1, 0]
            if letter == 41:
                depth -= 1
        elif letter != 45 or before < 0:  # "-"
            number, at = _digits(data, at, end)
            a = number - 1
            if a < 0 or a >= n_atoms or a == before:
                return ZERO - 1
            if before >= 0:
                if sketch.around[a] >> before & 1:
                    return ZERO - 1
                sketch.around[a] |= 1 << before
                sketch.around[before] |= 1 << a
                sketch.degree[a] += 1
                sketch.degree[before] += 1
                n_bonds += 1
            before = a
            continue
        at += 1
    sketch.numbers[N_BONDS] = n_bonds
    return at if depth == 0 else ZERO - 1


@inner
def _read_hydrogens(  # noqa: C901 (one letter after the other)
    data: NDArray[np.uint8], at: int, end: int, sketch: Sketch
) -> bool:
    """Fill in the layer of hydrogens; return whether it is a plain one.

    Of a group `group_free` is the number of its hydrogens first.
    """
    n_atoms = sketch.numbers[N_ATOMS]
    left = sketch.numbers[N_HYDROGENS]
    waiting = ZERO  # atoms whose number of hydrogens follows
    in_group = False
    while at < end:
        letter = data[at]
        if letter == 40:  # "(H2,3,4)"
            group = sketch.numbers[N_GROUPS]
            if waiting != 0 or in_group or data[at + 1] != 72 or group == MOST_GROUPS:
                return False
            count, at = _count(data, at + 2, end)
            sketch.group_free[group] = count
            left -= count
            sketch.group[group] = 0
            in_group = True
            if count < 0 or at >= end or data[at] != 44:
                return False
        elif letter == 41:
            if not in_group:
                return False
            sketch.group[sketch.numbers[N_GROUPS]] = waiting
            sketch.numbers[N_GROUPS] += 1
            waiting = ZERO
            in_group = False
        elif letter == 72:
            count, at = _count(data, at + 1, end)
            if waiting == 0 or in_group or count < 0:
                return False
            while waiting != 0:
                a = lowest_of(waiting)
                if sketch.hydrogens[a] != 0:
                    return False
                sketch.hydrogens[a] = count
                left -= count
                waiting &= waiting - 1
            continue
        elif letter == 44:
            # Between numbers, or behind "H" and before a number or a group.
            before, behind = data[at - 1], data[at + 1]
            if not (_is_digit(before) or before == 72):
                return False
            if not (_is_digit(behind) or (behind == 40 and not in_group)):
                return False
        else:
            begin, at = _digits(data, at, end)
            last = begin
            if at < end and data[at] == 45:
                last, at = _digits(data, at + 1, end)
            if begin < 1 or last < begin or last > n_atoms:
                return False
            for a in range(begin - 1, last):
                if waiting >> a & 1:
                    return False
                waiting |= 1 << a
            continue
        at += 1
    return left == 0 and waiting == 0 and not in_group


@inner
def _sign(letter: int) -> int:
    """Return 1 for ``-``, 2 for ``+``, 0 for ``?``, and -1 for others."""
    return ZERO + (1 if letter == 45 else 2 if letter == 43 else 0 if letter == 63 else -1)


@inner
def _read_stereo_bonds(data: NDArray[np.uint8], at: int, end: int, sketch: Sketch) -> int:
    """Fill in double bonds such as ``4-3+,6-5-``; return where they end, -1 if one is odd."""
    n_atoms = sketch.numbers[N_ATOMS]
    while True:
        a, at = _digits(data, at, end)
        if at >= end or data[at] != 45:
            return ZERO - 1
        b, at = _digits(data, at + 1, end)
        sign = _sign(data[at]) if at < end else ZERO - 1
        if a < 1 or b < 1 or a > n_atoms or b > n_atoms or sign < 1:
            return ZERO - 1
        sides = sketch.same_side if sign == 1 else sketch.other_side
        sides[a - 1] |= 1 << (b - 1)
        sides[b - 1] |= 1 << (a - 1)
        at += 1
        if at == end or data[at] != 44:  # ","
            return at
        at += 1


@inner
def _read_stereocentres(data: NDArray[np.uint8], at: int, end: int, sketch: Sketch) -> int:
    """Fill in atoms such as ``2-,3+``; return where they end, -1 if one is odd."""
    while True:
        a, at = _digits(data, at, end)
        sign = _sign(data[at]) if at < end else ZERO - 1
        if a < 1 or a > sketch.numbers[N_ATOMS] or sign < 0 or sketch.parity[a - 1] != 0:
            return ZERO - 1
        sketch.parity[a - 1] = sign
        at += 1
        if at == end or data[at] != 44:
            return at
        at += 1


@inner
def _begins(data: NDArray[np.uint8], at: int, end: int, letter: int) -> bool:
    """Return whether a layer begins at a place."""
    return bool(at + 2 < end and data[at] == 47 and data[at + 1] == letter)


@inner
def _read_inversion(data: NDArray[np.uint8], at: int, end: int, sketch: Sketch) -> int:
    """Invert all stereocentres if the layers behind them say so; return their end, or -1.

    They must say that the structure is meant, not one relative to others.
    """
    if not _begins(data, at, end, 109):  # "/m": it is as its mirror image
        return at
    if data[at + 2] == 49:
        for a in range(sketch.numbers[N_ATOMS]):
            if sketch.parity[a] != 0:
                sketch.parity[a] = 3 - sketch.parity[a]
    elif data[at + 2] != 48:
        return ZERO - 1
    is_absolute = _begins(data, at + 3, end, 115) and data[at + 5] == 49  # "/s1"
    return at + 6 if is_absolute else ZERO - 1


@inner
def _read_stereo(data: NDArray[np.uint8], at: int, end: int, sketch: Sketch) -> bool:
    """Fill in the layers of stereochemistry, which are the last; return whether they are usual."""
    if _begins(data, at, end, 98):  # "/b"
        at = _read_stereo_bonds(data, at + 2, end, sketch)
    if at >= 0 and _begins(data, at, end, 116):  # "/t"
        at = _read_stereocentres(data, at + 2, end, sketch)
        if at >= 0:
            at = _read_inversion(data, at, end, sketch)
    return bool(at == end)


@inner
def read_layers(data: NDArray[np.uint8], at: int, end: int, most: int, sketch: Sketch) -> bool:
    """Fill in what the layers of an InChI say; return whether it has none but those of a plain one.

    Parameters
    ----------
    data
        Texts, uint8 (n,).
    at, end
        Where this one stands.
    most
        Atoms, of which there may be so many.
    sketch
        What is filled in; bonds are single ones so far.
    """
    for k in range(len(_BEGIN)):
        if at + k >= end or data[at + k] != _BEGIN[k]:
            return False
    at = _read_formula(data, at + len(_BEGIN), end, most, sketch)
    if at < 0 or at + 1 >= end or data[at + 1] != 99:  # "/c"
        return False
    for a in range(sketch.numbers[N_ATOMS]):
        sketch.around[a] = sketch.degree[a] = sketch.hydrogens[a] = 0
        sketch.double[a] = sketch.triple[a] = 0
        sketch.parity[a] = sketch.same_side[a] = sketch.other_side[a] = 0
    sketch.numbers[N_GROUPS] = sketch.numbers[NITRO] = sketch.numbers[NITRO_OXYGENS] = 0
    at = _read_bonds(data, at + 2, end, sketch)
    if at < 0 or not is_joined(sketch):
        return False
    behind = at
    if _begins(data, at, end, 104):  # "/h"
        at += 2
        behind = at
        while behind < end and data[behind] != 47:
            behind += 1
    if not _read_hydrogens(data, at, behind, sketch):
        return False
    return _read_stereo(data, behind, end, sketch)
