"""Plain InChI read as SMILES in compiled code.

Lists of candidates often give structures as InChI. To make a molecule of one, InChI's library takes
several times as long as RDKit does for a SMILES. A *plain* InChI has layers of connections,
hydrogens and stereochemistry only, no charges but those of nitro groups, and usual valences. What
it says is a graph of atoms with a number of hydrogens at each, and groups of atoms that share some.
Here double bonds are set so that every atom has its valence, with the hydrogens of each group in
any place, and the result is written as a SMILES: the caller gets the groups with it, and puts their
hydrogens in their places.

Whatever else there might be is left to RDKit: where double bonds could be set in another way that
is another structure, with rings that cannot be told by their shortest ones, with stereochemistry of
other atoms than saturated carbons and C=C outside rings. A test compares what is read here with
what RDKit makes of the same InChI.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from specvae.molecules.bit_sets import SET_SIZE, lowest_of, size_of
from specvae.molecules.compiling import ZERO, compiled, inner
from specvae.molecules.double_bonds import find_rings, place_hydrogens, set_double
from specvae.molecules.inchi_layers import read_layers
from specvae.molecules.sketch import (
    CARBON,
    N_ATOMS,
    N_GROUPS,
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
)
from specvae.molecules.sketch_smiles import LONGEST, write_smiles

_MOST_SITES = 14  # of a group
_LARGEST_RING = 8  # RDKit finds aromatic rings within larger ones in some orders of atoms only


class PlainForm(NamedTuple):
    """The structure of an InChI.

    Parameters
    ----------
    smiles
        With the hydrogens that atoms share in any place.
    sharing
        The sets of these atoms, which count from 0 in the order of the SMILES.
    """

    smiles: str
    sharing: list[frozenset[int]]


def read_plain(texts: Sequence[str], most_atoms: int) -> list[PlainForm | None]:
    """Return the structures of plain InChI, None for each that RDKit must be asked about.

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
    out = np.empty(len(texts) * SET_SIZE * LONGEST, np.uint8)
    ends = np.zeros(len(texts) + 1, np.int64)
    group = np.zeros((len(texts), SET_SIZE), np.uint8)
    _read_all(data, begins, min(most_atoms, SET_SIZE), empty_sketch(), out, ends, group)
    written = out[: ends[-1]].tobytes().decode()
    n_sets = group.max(axis=1, initial=0).tolist()
    return [
        PlainForm(
            written[begin:end],
            [frozenset(np.flatnonzero(group[k] == n + 1).tolist()) for n in range(n_sets[k])],
        )
        if end > begin
        else None
        for k, (begin, end) in enumerate(pairwise(ends.tolist()))
    ]


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
        a = lowest_of(sites)
        sites &= sites - 1
        common &= sketch.around[a]
        if sketch.number[a] == OXYGEN and sketch.degree[a] == 1:
            oxygens |= 1 << a
        elif sketch.number[a] != NITROGEN:
            return ZERO
    if common == 0:
        return ZERO
    centre = lowest_of(common)
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
        one = lowest_of(sites)
        are_alike = True
        while waiting != 0:
            a = lowest_of(waiting)
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
                sketch.missing[lowest_of(sites)] = 1
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
        a = lowest_of(waiting)
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
        a = lowest_of(sites)
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
                beside |= sketch.around[lowest_of(near)]
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
            b = lowest_of(waiting)
            waiting &= waiting - 1
            if sketch.number[b] == OXYGEN and sketch.degree[b] == 1 and sketch.missing[b] == 1:
                ends |= 1 << b
        n_ends = size_of(ends)
        if element == NITROGEN and sketch.degree[a] == 3 and is_bare and n_ends == 2:
            numbers[NITRO] |= 1 << a
            sketch.missing[a] = 1
            _join(a, lowest_of(ends), sketch)
            other = lowest_of(ends & (ends - 1))
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
                _join(a, lowest_of(ends), sketch)
                ends &= ends - 1
        elif element == PHOSPHORUS:
            if sketch.degree[a] == 4 and is_bare and n_ends == 1:
                sketch.missing[a] = 1
                _join(a, lowest_of(ends), sketch)
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
                b = lowest_of(waiting)
                waiting &= waiting - 1
                if sketch.missing[b] > 0 or mobile >> b & 1:
                    others |= 1 << b
            n_others = size_of(others)
            if n_others == 0 or n_others > 2 or others & mobile:
                return False
            one = lowest_of(others)
            if n_others == 1:
                if sketch.missing[one] < 2:
                    return False
                sketch.triple[a] |= 1 << one
                sketch.triple[one] |= 1 << a
                sketch.missing[a] = sketch.missing[one] = 0
                has_changed = True
            else:
                other = lowest_of(others & (others - 1))
                if sketch.missing[one] == 1 and sketch.missing[other] == 1:
                    _join(a, one, sketch)
                    _join(a, other, sketch)
                    has_changed = True
    return n_left == 0


@inner
def _find_usual_rings(sketch: Sketch) -> bool:
    """Find the rings; return whether there is no choice of them and none is large."""
    # Which rings RDKit takes depends on the order of the atoms, where there is a choice.
    if not find_rings(sketch):
        return False
    largest = ZERO
    for k in range(sketch.numbers[N_RINGS]):
        largest = max(largest, size_of(sketch.rings[k]))
    return largest <= _LARGEST_RING


@inner
def _lacking_one(sketch: Sketch) -> int:
    """Return the set of the atoms that lack one bond."""
    atoms = ZERO
    for a in range(sketch.numbers[N_ATOMS]):
        if sketch.missing[a] == 1:
            atoms |= 1 << a
    return atoms


@inner
def _read(data: NDArray[np.uint8], at: int, end: int, most: int, sketch: Sketch) -> bool:
    """Fill in the double and triple bonds of an InChI; return whether it is a plain one."""
    if not read_layers(data, at, end, most, sketch):
        return False
    if not _place_sure(sketch) or not _place_oxides(sketch):
        return False
    sites = ZERO
    for group in range(sketch.numbers[N_GROUPS]):
        sites |= sketch.group[group]
    if not _place_triple(sites, sketch):
        return False
    needed = _lacking_one(sketch)
    if not _find_usual_rings(sketch):
        return False
    if sites != 0:
        if _is_thiophene_at(sites, sketch):
            return False
        more = place_hydrogens(needed, sketch)
        if more < 0:
            return False
        needed |= more
    return set_double(needed, sketch) and _has_usual_stereo(sketch)


@inner
def _note_groups(sketch: Sketch, group: NDArray[np.uint8]) -> None:
    """Note of each atom of the SMILES which of the sets that share hydrogens it is in, from 1."""
    for k in range(sketch.numbers[N_GROUPS]):
        sites = sketch.group[k]
        while sites != 0:
            group[sketch.place[lowest_of(sites)]] = k + 1
            sites &= sites - 1


@compiled
def _read_all(
    data: NDArray[np.uint8],
    begins: NDArray[np.int64],
    most_atoms: int,
    sketch: Sketch,
    out: NDArray[np.uint8],
    ends: NDArray[np.int64],
    group: NDArray[np.uint8],
) -> None:
    """Write the SMILES of texts one behind the other; see `read_plain`."""
    at = ZERO
    for k in range(len(begins) - 1):
        if _read(data, begins[k], begins[k + 1], most_atoms, sketch):
            behind = write_smiles(at, sketch, out)
            if behind > 0:
                at = behind
                _note_groups(sketch, group[k])
        ends[k + 1] = at
