"""Double bonds of a molecule of which is known how many each atom needs, in compiled code.

Some atoms share hydrogens (`Sketch.group`): these are put in any place that leaves the others their
double bonds.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from specvae.molecules.bit_sets import lowest_of, size_of
from specvae.molecules.compiling import ZERO, inner
from specvae.molecules.sketch import (
    MOST_RINGS,
    MOST_TRIES,
    N_ATOMS,
    N_BONDS,
    N_GROUPS,
    N_RINGS,
    Sketch,
)


@inner
def _match(
    needed: int, bonds: NDArray[np.int64], partner: NDArray[np.int64], sketch: Sketch
) -> bool:
    """Find a partner for each of some atoms among them; return whether there is one for all.

    `bonds` has the set of atoms that each one may be joined to. `partner` is filled in; where it
    fails, with anything.
    """
    search = sketch.search
    depth = ZERO
    left = needed
    n_steps = ZERO
    is_back = False
    while True:
        if not is_back:
            if left == 0:
                return True
            # The atom with the fewest choices: mostly there is one, or none.
            one = ZERO
            fewest = ZERO + 99
            waiting = left
            while waiting != 0 and fewest > 1:
                a = lowest_of(waiting)
                waiting &= waiting - 1
                n = size_of(bonds[a] & left)
                if n < fewest:
                    one, fewest = a, n
            search[depth, 0] = one
            search[depth, 1] = bonds[one] & left
            search[depth, 2] = left
        n_steps += 1
        if n_steps > MOST_TRIES:
            return False
        if search[depth, 1] == 0:
            if depth == 0:
                return False
            depth -= 1
            is_back = True
            continue
        one = search[depth, 0]
        other = lowest_of(search[depth, 1])
        search[depth, 1] &= search[depth, 1] - 1
        partner[one] = other
        partner[other] = one
        left = search[depth, 2] & ~(1 << one) & ~(1 << other)
        depth += 1
        is_back = False


@inner
def find_rings(sketch: Sketch) -> bool:  # noqa: C901 (a search, layer by layer)
    """Find the shortest rings of each bond; return whether these are all rings, and no more."""
    n_atoms = sketch.numbers[N_ATOMS]
    n_rings = ZERO
    layers = sketch.search
    for a in range(n_atoms):
        if sketch.degree[a] < 2:
            continue
        others = sketch.around[a] >> (a + 1) << (a + 1)
        while others != 0:
            b = lowest_of(others)
            others &= others - 1
            layers[0, 0] = 1 << a
            seen = ZERO + (1 << a)
            depth = ZERO
            while layers[depth, 0] != 0 and not seen >> b & 1:
                ahead = ZERO
                waiting = layers[depth, 0]
                while waiting != 0:
                    c = lowest_of(waiting)
                    waiting &= waiting - 1
                    ahead |= sketch.around[c]
                if depth == 0:
                    ahead &= ~(1 << b)
                depth += 1
                layers[depth, 0] = ahead & ~seen
                seen |= ahead
            if not seen >> b & 1:
                continue
            # Of several that are as short, two: by the lowest and by the highest atoms.
            for side in range(2):
                ring = ZERO + (1 << b)
                at = b
                for back in range(depth - 1, -1, -1):
                    before = sketch.around[at] & layers[back, 0]
                    while side == 1 and before & (before - 1):
                        before &= before - 1
                    at = lowest_of(before)
                    ring |= 1 << at
                is_new = True
                for k in range(n_rings):
                    is_new = is_new and sketch.rings[k] != ring
                if is_new:
                    if n_rings == MOST_RINGS:
                        return False
                    sketch.rings[n_rings] = ring
                    n_rings += 1
    sketch.numbers[N_RINGS] = n_rings
    return bool(n_rings == sketch.numbers[N_BONDS] - n_atoms + 1)


@inner
def is_joined(sketch: Sketch) -> bool:
    """Return whether all atoms are of one component."""
    found = ZERO + 1
    waiting = ZERO + 1
    while waiting != 0:
        fresh = sketch.around[lowest_of(waiting)] & ~found
        waiting = (waiting & (waiting - 1)) | fresh
        found |= fresh
    return bool(size_of(found) == sketch.numbers[N_ATOMS])


@inner
def _reached(a: int, links: NDArray[np.int64]) -> int:
    """Return the set of atoms that an atom is linked to, itself among them."""
    found = ZERO + (1 << a)
    waiting = found
    while waiting != 0:
        fresh = links[lowest_of(waiting)] & ~found
        waiting = (waiting & (waiting - 1)) | fresh
        found |= fresh
    return found


@inner
def _unlink(a: int, b: int, links: NDArray[np.int64]) -> None:
    links[a] &= ~(1 << b)
    links[b] &= ~(1 << a)


@inner
def _set_pair(a: int, b: int, links: NDArray[np.int64], sketch: Sketch) -> None:
    """Set a double bond that is in all structures."""
    sketch.partner[a], sketch.partner[b] = b, a
    for one in (a, b):
        waiting = links[one]
        while waiting != 0:
            _unlink(one, lowest_of(waiting), links)
            waiting &= waiting - 1


@inner
def _set_sure(needed: int, links: NDArray[np.int64], sketch: Sketch) -> int:
    """Set double bonds that are in all structures; return what is left, -1 where there is none.

    An atom with one neighbour has its double bond there. A bond that alone holds two parts together
    is double if they have odd numbers of atoms, else single.
    """
    left = needed
    has_changed = True
    while has_changed:
        has_changed = False
        waiting = left
        while waiting != 0:
            a = lowest_of(waiting)
            waiting &= waiting - 1
            others = links[a]
            if others == 0:
                return ZERO - 1
            if others & (others - 1) == 0:
                b = lowest_of(others)
                _set_pair(a, b, links, sketch)
                left &= ~(1 << a) & ~(1 << b)
                waiting &= left
                has_changed = True
        if has_changed:
            continue
        waiting = left
        while waiting != 0 and not has_changed:
            a = lowest_of(waiting)
            waiting &= waiting - 1
            others = links[a] >> a << a
            while others != 0 and not has_changed:
                b = lowest_of(others)
                others &= others - 1
                _unlink(a, b, links)
                side = _reached(a, links)
                if side >> b & 1:
                    links[a] |= 1 << b
                    links[b] |= 1 << a
                else:
                    has_changed = True
                    if size_of(side) & 1:
                        _set_pair(a, b, links, sketch)
                        left &= ~(1 << a) & ~(1 << b)
    return left


@inner
def set_double(needed: int, sketch: Sketch) -> bool:
    """Set the double bonds of all atoms that need one; return whether others are no other molecule.

    So it is where all that may be set in another way are bonds of aromatic rings of six.
    """
    links = sketch.links
    for a in range(sketch.numbers[N_ATOMS]):
        sketch.partner[a] = -1
        links[a] = sketch.around[a] & needed if needed >> a & 1 else ZERO
    left = _set_sure(needed, links, sketch)
    if left < 0:
        return False
    for a in range(sketch.numbers[N_ATOMS] if left else ZERO):
        in_sixes = ZERO
        for k in range(sketch.numbers[N_RINGS]):
            ring = sketch.rings[k]
            if ring >> a & 1 and ring & ~left == 0 and size_of(ring) == 6:
                in_sixes |= ring & sketch.around[a]
        if left >> a & 1 and links[a] & ~in_sixes:
            return False
    if not _match(left, links, sketch.partner, sketch):
        return False
    waiting = needed
    while waiting != 0:
        a = lowest_of(waiting)
        waiting &= waiting - 1
        sketch.double[a] |= 1 << sketch.partner[a]
    return True


@inner
def _next_choice(chosen: int) -> int:
    """Return the next set of as many places, as numbers ascend (HAKMEM, item 175)."""
    lowest = chosen & -chosen
    ripple = chosen + lowest
    return ripple | (((chosen ^ ripple) >> 2) // lowest)


@inner
def _placed(choice: int, sites: int) -> int:
    """Return those of a set of sites whose places in it are chosen."""
    found = ZERO
    while choice != 0:
        site = sites & -sites
        sites &= sites - 1
        if choice & 1:
            found |= site
        choice >>= 1
    return found


@inner
def place_hydrogens(needed: int, sketch: Sketch) -> int:
    """Put the hydrogens that atoms share somewhere; return those of these atoms without one.

    They need a double bond, as all atoms of `needed` do. -1 where no place leaves each its own.
    """
    n_groups = sketch.numbers[N_GROUPS]
    choices = sketch.choices
    for group in range(n_groups):
        choices[group] = (1 << sketch.group_free[group]) - 1
    for _ in range(MOST_TRIES):
        double = ZERO
        for group in range(n_groups):
            sites = sketch.group[group]
            double |= sites & ~_placed(choices[group], sites)
        if _match(needed | double, sketch.around, sketch.partner, sketch):
            return double
        group = ZERO
        while group < n_groups:
            following = _next_choice(choices[group]) if choices[group] else ZERO + (1 << 62)
            if following < 1 << size_of(sketch.group[group]):
                choices[group] = following
                break
            choices[group] = (1 << sketch.group_free[group]) - 1
            group += 1
        if group == n_groups:
            break
    return ZERO - 1
