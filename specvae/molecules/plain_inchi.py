"""Plain InChI read in compiled code: as SMILES, with mobile hydrogens in their places.

Lists of candidates often give structures as InChI. To make a molecule of one, InChI's library takes
several times as long as RDKit does for a SMILES, and `specvae.molecules.mobile_hydrogens` then asks
about each atom. A *plain* InChI has layers of connections, hydrogens and stereochemistry only, no
charges but those of nitro groups, and usual valences. What it says is a graph of atoms with a
number of hydrogens at each, and groups of atoms that share some: these groups are InChI's own, so
that nothing must be asked about them. Here double bonds are set so that every atom has its valence,
the hydrogens of each group are put where `mobile_hydrogens` puts them, by the same costs, and the
result is written as a SMILES.

Whatever else there might be is left to RDKit: where double bonds could be set in another way that
is another structure, where two places of hydrogens cost the same, where a group is another one by
the rules of `mobile_hydrogens`, with rings that cannot be told by their shortest ones, with
stereochemistry of other atoms than saturated carbons and C=C outside rings. A test compares what is
read here with what RDKit and `mobile_hydrogens` make of the same InChI.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from specvae.molecules.compiling import ZERO, compiled, inner
from specvae.molecules.double_bonds import find_rings, is_joined, set_double
from specvae.molecules.mobile_groups import place_mobile
from specvae.molecules.sketch import (
    CARBON,
    IS_CERTAIN,
    LETTERS,
    MOST_ATOMS,
    MOST_GROUPS,
    N_ATOMS,
    N_BONDS,
    N_GROUPS,
    N_HYDROGENS,
    N_RINGS,
    NITRO,
    NITRO_OXYGENS,
    NITROGEN,
    OXYGEN,
    PHOSPHORUS,
    SULFUR,
    VALENCES,
    Sketch,
    empty_sketch,
    first,
    size_of,
)
from specvae.molecules.sketch_smiles import LONGEST, write_smiles

_BEGIN = np.frombuffer(b"InChI=1S/", np.uint8)
_MOST_SITES = 14  # of a group
_LARGEST_RING = 8  # RDKit finds aromatic rings within larger ones in some orders of atoms only


def read_plain(texts: Sequence[str], most_atoms: int) -> list[tuple[str, bool]]:
    """Return the structures of plain InChI as SMILES; "" for each that RDKit must be asked about.

    And whether it is certain that it has that InChI: the places of hydrogens of large groups may
    be those of another compound by InChI's rules, so that it must be computed.

    Parameters
    ----------
    texts
        InChI, or any other texts.
    most_atoms
        Larger ones are left to RDKit, too.
    """
    encoded = [text.encode("ascii", "replace") for text in texts]
    data = np.frombuffer(b"".join([*encoded, bytes(2)]), np.uint8)
    begins = np.cumsum([0, *map(len, encoded)])
    out = np.empty(len(texts) * MOST_ATOMS * LONGEST, np.uint8)
    ends = np.zeros(len(texts) + 1, np.int64)
    is_certain = np.zeros(len(texts), np.bool_)
    _read_all(data, begins, min(most_atoms, MOST_ATOMS), empty_sketch(), out, ends, is_certain)
    written = out[: ends[-1]].tobytes().decode()
    bounds = zip(pairwise(ends.tolist()), is_certain.tolist(), strict=True)
    return [(written[begin:end], certain) for (begin, end), certain in bounds]


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
                a = first(waiting)
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
def _has_usual_stereo(sketch: Sketch) -> bool:
    """Return whether all stereochemistry is of saturated carbons and of C=C outside rings."""
    for a in range(sketch.numbers[N_ATOMS]):
        if sketch.parity[a] != 0:
            n_bound = sketch.degree[a] + sketch.hydrogens[a]
            if sketch.number[a] != CARBON or n_bound != 4 or sketch.hydrogens[a] > 1:
                return False
        others = sketch.same_side[a] | sketch.other_side[a]
        if others == 0:
            continue
        is_single = others & (others - 1) == 0 and sketch.double[a] == others
        is_element = sketch.number[a] == CARBON or sketch.number[a] == NITROGEN
        if not is_single or not is_element or sketch.degree[a] < 2:
            return False
        for k in range(sketch.numbers[N_RINGS]):
            if sketch.rings[k] >> a & 1 and sketch.rings[k] & others:
                return False
    return True


@inner
def _oxygens_of_sulfur(sites: int, sketch: Sketch) -> int:
    """Return the oxygens beside nitrogens that share a sulfur with four bonds, else none."""
    oxygens = ZERO
    common = ZERO - 1
    while sites != 0:
        a = first(sites)
        sites &= sites - 1
        common &= sketch.around[a]
        if sketch.number[a] == OXYGEN and sketch.degree[a] == 1:
            oxygens |= 1 << a
        elif sketch.number[a] != NITROGEN:
            return ZERO
    if common == 0:
        return ZERO
    centre = first(common)
    is_sulfur = sketch.number[centre] == SULFUR and sketch.degree[centre] == 4
    return oxygens if is_sulfur else ZERO


@inner
def _place_sure(sketch: Sketch) -> bool:  # noqa: C901 (one group after the other)
    """Set what bonds each atom lacks, and hydrogens of groups in which all places are alike.

    Such are the oxygens of an acid. What is left are groups whose hydrogens may be in one place or
    another; their `group_free` is the number of atoms without double bonds. Returns whether all
    valences are usual ones.
    """
    numbers = sketch.numbers
    n_atoms = numbers[N_ATOMS]
    for a in range(n_atoms):
        sketch.missing[a] = VALENCES[sketch.number[a]] - sketch.degree[a] - sketch.hydrogens[a]
    seen = ZERO
    left = ZERO
    for group in range(numbers[N_GROUPS]):
        sites = sketch.group[group]
        if sites & seen:
            return False
        seen |= sites
        n_double = -sketch.group_free[group]
        waiting = sites
        one = first(sites)
        are_alike = True
        while waiting != 0:
            a = first(waiting)
            waiting &= waiting - 1
            element = sketch.number[a]
            if element != NITROGEN and element != OXYGEN and element != SULFUR:
                return False
            if sketch.missing[a] < 1 or sketch.hydrogens[a] > 0:
                return False
            n_double += sketch.missing[a]
            are_alike = are_alike and element == sketch.number[one] and sketch.degree[a] == 1
            are_alike = are_alike and sketch.around[a] == sketch.around[one]
            sketch.missing[a] = 0
        n_sites = size_of(sites)
        if n_double < 0 or n_double > n_sites or n_sites > _MOST_SITES:
            return False
        if not are_alike and n_double == 2 and numbers[N_GROUPS] == 1:
            # Of a sulfonamide: the hydrogens are at the nitrogen. Beside other groups InChI's
            # library may put them elsewhere.
            oxygens = _oxygens_of_sulfur(sites, sketch)
            are_alike = size_of(oxygens) == 2
            sites = oxygens if are_alike else sites
        if are_alike:
            for _ in range(n_double):
                sketch.missing[first(sites)] = 1
                sites &= sites - 1
        else:
            sketch.group[left] = sites
            sketch.group_free[left] = n_sites - n_double
            left += 1
    numbers[N_GROUPS] = left
    return True


@inner
def _join(a: int, b: int, sketch: Sketch) -> None:
    """Set a double bond."""
    sketch.double[a] |= 1 << b
    sketch.double[b] |= 1 << a
    sketch.missing[a] -= 1
    sketch.missing[b] -= 1


@inner
def _lacking(atoms: int, sketch: Sketch) -> int:
    """Return those of some atoms that lack a double bond, or may."""
    waiting = atoms
    while waiting != 0:
        a = first(waiting)
        waiting &= waiting - 1
        if sketch.missing[a] == 0:
            atoms &= ~(1 << a)
    return atoms


@inner
def _is_thiophene_at(sites: int, sketch: Sketch) -> bool:
    """Return whether two bonds from an oxygen there is a carbon of a thiophene, beside its sulfur.

    InChI's library gives some of these back with double bonds at the sulfur.
    """
    oxygens = ZERO
    while sites != 0:
        a = first(sites)
        sites &= sites - 1
        if sketch.number[a] == OXYGEN:
            oxygens |= 1 << a
    for a in range(sketch.numbers[N_ATOMS]):
        if sketch.number[a] != SULFUR or sketch.degree[a] != 2:
            continue
        beside = _lacking(sketch.around[a], sketch)
        if beside & (beside - 1) == 0:
            continue
        for _ in range(2):
            near = beside
            while near != 0:
                beside |= sketch.around[first(near)]
                near &= near - 1
        if beside & oxygens:
            return True
    return False


@inner
def _place_oxides(sketch: Sketch) -> bool:  # noqa: C901 (one kind after the other)
    """Set double bonds to oxygens of nitro groups, sulfoxides, sulfones and phosphates.

    Returns whether all valences are usual ones then.
    """
    numbers = sketch.numbers
    for a in range(numbers[N_ATOMS]):
        element = sketch.number[a]
        is_bare = sketch.hydrogens[a] == 0
        ends = ZERO  # =O at it
        waiting = sketch.around[a]
        while waiting != 0:
            b = first(waiting)
            waiting &= waiting - 1
            if sketch.number[b] == OXYGEN and sketch.degree[b] == 1 and sketch.missing[b] == 1:
                ends |= 1 << b
        n_ends = size_of(ends)
        if element == NITROGEN and sketch.degree[a] == 3 and is_bare and n_ends == 2:
            numbers[NITRO] |= 1 << a
            sketch.missing[a] = 1
            _join(a, first(ends), sketch)
            other = first(ends & (ends - 1))
            sketch.missing[other] = 0
            numbers[NITRO_OXYGENS] |= 1 << other
        elif element == SULFUR and sketch.degree[a] > 2:
            n = sketch.degree[a] - 2
            if n > 2 or not is_bare or n_ends != n:
                return False
            # Another double bond could be set to it instead of that to an oxygen.
            if n == 1 and size_of(_lacking(sketch.around[a], sketch)) > 2:
                return False
            sketch.missing[a] = n
            while ends != 0:
                _join(a, first(ends), sketch)
                ends &= ends - 1
        elif element == PHOSPHORUS:
            if sketch.degree[a] == 4 and is_bare and n_ends == 1:
                sketch.missing[a] = 1
                _join(a, first(ends), sketch)
            elif sketch.missing[a] != 0:
                return False
    for a in range(numbers[N_ATOMS]):
        if sketch.missing[a] < 0 or sketch.missing[a] > 2:
            return False
    return True


@inner
def _place_triple(mobile: int, sketch: Sketch) -> bool:
    """Set triple and cumulated bonds; return whether there is but one way.

    `mobile` are atoms that may have a double bond or not.
    """
    has_changed = True
    n_left = ZERO
    while has_changed:
        has_changed = False
        n_left = ZERO
        for a in range(sketch.numbers[N_ATOMS]):
            if sketch.missing[a] < 2:
                continue
            n_left += 1
            others = ZERO
            waiting = sketch.around[a]
            while waiting != 0:
                b = first(waiting)
                waiting &= waiting - 1
                if sketch.missing[b] > 0 or mobile >> b & 1:
                    others |= 1 << b
            n_others = size_of(others)
            if n_others == 0 or n_others > 2 or others & mobile:
                return False
            one = first(others)
            if n_others == 1:
                if sketch.missing[one] < 2:
                    return False
                sketch.triple[a] |= 1 << one
                sketch.triple[one] |= 1 << a
                sketch.missing[a] = sketch.missing[one] = 0
                has_changed = True
            else:
                other = first(others & (others - 1))
                if sketch.missing[one] == 1 and sketch.missing[other] == 1:
                    _join(a, one, sketch)
                    _join(a, other, sketch)
                    has_changed = True
    return n_left == 0


@inner
def _read(  # noqa: C901 (one layer after the other)
    data: NDArray[np.uint8], at: int, end: int, most: int, sketch: Sketch
) -> bool:
    """Fill in the double and triple bonds of an InChI; return whether it is a plain one."""
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
    sketch.numbers[IS_CERTAIN] = 1
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
    if not _read_stereo(data, behind, end, sketch):
        return False
    if not _place_sure(sketch) or not _place_oxides(sketch):
        return False
    sites = ZERO
    for group in range(sketch.numbers[N_GROUPS]):
        sites |= sketch.group[group]
    if not _place_triple(sites, sketch):
        return False
    needed = ZERO
    for a in range(sketch.numbers[N_ATOMS]):
        if sketch.missing[a] == 1:
            needed |= 1 << a
    # Which rings RDKit takes depends on the order of the atoms, where there is a choice.
    if not find_rings(sketch):
        return False
    for k in range(sketch.numbers[N_RINGS]):
        if size_of(sketch.rings[k]) > _LARGEST_RING:
            return False
    if sites != 0:
        if _is_thiophene_at(sites, sketch):
            return False
        more = place_mobile(needed, sketch)
        if more < 0:
            return False
        needed |= more
    return set_double(needed, sketch) and _has_usual_stereo(sketch)


@compiled
def _read_all(
    data: NDArray[np.uint8],
    begins: NDArray[np.int64],
    most_atoms: int,
    sketch: Sketch,
    out: NDArray[np.uint8],
    ends: NDArray[np.int64],
    is_certain: NDArray[np.bool_],
) -> None:
    """Write the SMILES of texts one behind the other; see `smiles_of`."""
    at = ZERO
    for k in range(len(begins) - 1):
        if _read(data, begins[k], begins[k + 1], most_atoms, sketch):
            behind = write_smiles(at, sketch, out)
            is_certain[k] = sketch.numbers[IS_CERTAIN] != 0
            at = behind if behind > 0 else at
        ends[k + 1] = at
