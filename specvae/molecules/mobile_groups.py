"""Places of mobile hydrogens where InChI says which atoms share them, in compiled code.

The steps are those of `specvae.molecules.mobile_hydrogens`, with the same costs. Here it is known
which groups InChI finds in a molecule: where those rules find others, nothing is decided.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from specvae.molecules.bit_sets import lowest_of, size_of
from specvae.molecules.compiling import ZERO, inner
from specvae.molecules.double_bonds import match
from specvae.molecules.mobile_hydrogens import COSTS
from specvae.molecules.sketch import (
    BLOCKED,
    CARBON,
    IN_RINGS,
    IS_CERTAIN,
    MOST_TRIES,
    N_ATOMS,
    N_GROUPS,
    N_RINGS,
    NITRO,
    NITRO_OXYGENS,
    NITROGEN,
    OXYGEN,
    SITES,
    SULFUR,
    VALENCES,
    Sketch,
)

# Costs of hydrogens, in whole tenths.
(
    _OXYGEN_HYDROGEN,
    _SULFUR_HYDROGEN,
    _SIX_RING_HYDROGEN,
    _FIVE_RING_HYDROGEN,
    _BESIDE_FUSION,
    _BESIDE_CARBONYL,
    _TWO_NEIGHBOURS,
    _IMINE_ON_RING,
    _SUBSTITUTED_IMINE,
    _RING_IMINE,
    _ACCEPTOR_IMINE,
) = (round(10 * cost) for cost in COSTS)

_MOST_CERTAIN = 4  # sites of a group, of which InChI need not be asked


@inner
def _find_sites(sketch: Sketch) -> None:
    """Find the sites, the partner of each atom, and what is blocked."""
    sites = blocked = ZERO
    numbers = sketch.numbers
    for a in range(numbers[N_ATOMS]):
        sketch.mobile[a] = 0
        n_double = size_of(sketch.double[a])
        if n_double == 1:
            sketch.partner[a] = lowest_of(sketch.double[a])
        elif n_double > 1:
            sketch.partner[a] = -1
        if n_double > 1 or sketch.triple[a] != 0:
            blocked |= 1 << a
            continue
        element = sketch.number[a]
        is_element = element in (NITROGEN, OXYGEN, SULFUR)
        if is_element and sketch.degree[a] < VALENCES[element]:
            sites |= 1 << a
    charged = numbers[NITRO] | numbers[NITRO_OXYGENS]
    numbers[SITES], numbers[BLOCKED] = sites & ~charged, blocked


@inner
def _connect(a: int, b: int, sketch: Sketch) -> None:
    sketch.mobile[a] |= 1 << b
    sketch.mobile[b] |= 1 << a


@inner
def _is_conjugated(a: int, sketch: Sketch) -> bool:
    numbers = sketch.numbers
    if numbers[BLOCKED] >> a & 1:
        return False
    if sketch.partner[a] >= 0 or numbers[SITES] >> a & 1:
        return True
    element = sketch.number[a]
    is_neutral = not (numbers[NITRO] | numbers[NITRO_OXYGENS]) >> a & 1
    return is_neutral and element in (NITROGEN, OXYGEN, SULFUR)


@inner
def _add_system(system: int, chosen: int, sketch: Sketch) -> None:
    """Add the rings of a system, a set of rings in `chosen`, and what is bound to them."""
    sites = sketch.numbers[SITES]
    sketch.numbers[IN_RINGS] |= system
    for k in range(sketch.numbers[N_RINGS]):
        if not chosen >> k & 1:
            continue
        ring = sketch.rings[k]
        is_six = size_of(ring) == 6
        waiting = ring
        while waiting != 0:
            a = lowest_of(waiting)
            waiting &= waiting - 1
            beside = sketch.around[a] & ring
            sketch.mobile[a] |= beside
            if is_six:  # the atom on the other side, too
                across = ring & ~beside & ~(1 << a)
                near = beside
                while near != 0:
                    across &= ~sketch.around[lowest_of(near)]
                    near &= near - 1
                beside |= across
            if beside & sites and not sites >> a & 1:
                bound = sketch.around[a] & sites & ~system
                while bound != 0:
                    _connect(a, lowest_of(bound), sketch)
                    bound &= bound - 1


@inner
def _add_rings(sketch: Sketch) -> None:
    """Add conjugated rings with a site, rings fused to them, and what is bound."""
    numbers = sketch.numbers
    numbers[IN_RINGS] = 0
    left = ZERO
    for k in range(numbers[N_RINGS]):
        size = size_of(sketch.rings[k])
        is_chosen = size == 5 or size == 6
        waiting = sketch.rings[k]
        while waiting != 0 and is_chosen:
            is_chosen = _is_conjugated(lowest_of(waiting), sketch)
            waiting &= waiting - 1
        if is_chosen:
            left |= 1 << k
    while left != 0:
        chosen = left & -left
        left &= ~chosen
        system = sketch.rings[lowest_of(chosen)]
        has_grown = True
        while has_grown:
            has_grown = False
            waiting = left
            while waiting != 0:
                k = lowest_of(waiting)
                waiting &= waiting - 1
                # Fused to one of the rings: two atoms of a system may be of different ones.
                others = chosen
                while others != 0:
                    shared = sketch.rings[k] & sketch.rings[lowest_of(others)]
                    others &= others - 1
                    if shared & (shared - 1):
                        chosen |= 1 << k
                        left &= ~(1 << k)
                        system |= sketch.rings[k]
                        has_grown = True
                        others = ZERO
        if system & numbers[SITES]:
            _add_system(system, chosen, sketch)


@inner
def _add_centres(sketch: Sketch) -> None:
    """Add carbons and nitrogens that are double-bonded to one site and bound to another."""
    numbers = sketch.numbers
    sites = numbers[SITES]
    waiting = sites
    while waiting != 0:
        centre = sketch.partner[lowest_of(waiting)]
        waiting &= waiting - 1
        if centre < 0 or (numbers[IN_RINGS] | numbers[BLOCKED] | numbers[NITRO]) >> centre & 1:
            continue
        if sketch.number[centre] != CARBON and sketch.number[centre] != NITROGEN:
            continue
        bound = sketch.around[centre] & sites
        if bound & (bound - 1):
            while bound != 0:
                _connect(centre, lowest_of(bound), sketch)
                bound &= bound - 1


@inner
def _close(sketch: Sketch) -> int:
    """Leave out atoms whose double bond leads outside or that cannot have one; return the rest."""
    atoms = ZERO
    for a in range(sketch.numbers[N_ATOMS]):
        if sketch.mobile[a] != 0:
            atoms |= 1 << a
    has_changed = True
    while has_changed:
        has_changed = False
        waiting = atoms
        while waiting != 0:
            a = lowest_of(waiting)
            waiting &= waiting - 1
            sketch.mobile[a] &= atoms
            partner = sketch.partner[a]
            if partner >= 0:
                is_lost = not sketch.mobile[a] >> partner & 1
            else:
                is_lost = not sketch.numbers[SITES] >> a & 1
            if is_lost or sketch.mobile[a] == 0:
                atoms &= ~(1 << a)
                sketch.mobile[a] = 0
                has_changed = True
    return atoms


@inner
def _n_rings_of(a: int, size: int, sketch: Sketch) -> int:
    """Return how many rings, of a size or of any for 0, an atom is in."""
    n = ZERO
    for k in range(sketch.numbers[N_RINGS]):
        if sketch.rings[k] >> a & 1 and (size == 0 or size_of(sketch.rings[k]) == size):
            n += 1
    return n


@inner
def _cost(site: int, sites: int, sketch: Sketch) -> int:
    """Return what a hydrogen costs at a site of a group, minus what a double bond there does."""
    element = sketch.number[site]
    if element != NITROGEN:
        return _OXYGEN_HYDROGEN if element == OXYGEN else _SULFUR_HYDROGEN
    in_rings = sketch.numbers[IN_RINGS]
    near = sketch.around[site]
    beside_carbonyl = ZERO
    is_fused = False
    is_on_ring = near & in_rings != 0
    draws = False
    while near != 0:
        a = lowest_of(near)
        near &= near - 1
        beyond = sketch.around[a] & sites
        has_other = False
        while beyond != 0:
            has_other = has_other or sketch.number[lowest_of(beyond)] != NITROGEN
            beyond &= beyond - 1
        beside_carbonyl += has_other
        is_fused = is_fused or _n_rings_of(a, ZERO, sketch) > 1
        double = sketch.double[a]
        if sketch.partner[a] >= 0:
            double |= 1 << sketch.partner[a]
        double &= ~(1 << site)
        is_acceptor = sketch.triple[a] != 0 or double & (double - 1) != 0
        draws = draws or is_acceptor or sketch.numbers[NITRO] >> a & 1 != 0
    if in_rings >> site & 1:
        cost = _BESIDE_CARBONYL * beside_carbonyl
        if _n_rings_of(site, ZERO + 5, sketch) == 0:
            return cost + _SIX_RING_HYDROGEN
        return cost + _FIVE_RING_HYDROGEN + (_BESIDE_FUSION if is_fused else 0)
    cost = _IMINE_ON_RING if is_on_ring else 0
    if _n_rings_of(site, ZERO, sketch) > 0:
        cost += _RING_IMINE
    elif sketch.degree[site] > 1:
        cost += _SUBSTITUTED_IMINE
    if draws:
        cost += _ACCEPTOR_IMINE
    return -cost


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
def _mixed(number: int) -> int:
    """Return a number that is another one for each that is given, and looks random."""
    number = (number ^ (number >> 29)) * 0x1F58476D1CE4E5B9
    return number ^ (number >> 32)


@inner
def _are_alike(one: int, other: int, sketch: Sketch) -> bool:
    """Return whether sets of sites differ in one site each, which have the same surroundings."""
    one_site, other_site = one & ~other, other & ~one
    if size_of(one) != 1 or one_site & (one_site - 1) or other_site & (other_site - 1):
        return False
    n_atoms = sketch.numbers[N_ATOMS]
    for a in range(n_atoms):
        said = sketch.number[a] + (sketch.hydrogens[a] << 8) + (sketch.degree[a] << 16)
        sketch.search[a, 0] = _mixed(said)
    for _ in range(n_atoms // 2 + 1):
        for a in range(n_atoms):
            said = 3 * sketch.search[a, 0]
            near = sketch.around[a]
            while near != 0:
                said += _mixed(sketch.search[lowest_of(near), 0])
                near &= near - 1
            sketch.search[a, 1] = _mixed(said)
        for a in range(n_atoms):
            sketch.search[a, 0] = sketch.search[a, 1]
    return bool(sketch.search[lowest_of(one_site), 0] == sketch.search[lowest_of(other_site), 0])


@inner
def _best(atoms: int, sites: int, n_free: int, sketch: Sketch) -> int:
    """Return the sites of a group that have no double bond where hydrogens cost least.

    -1 where there is no such place, or two are the best.
    """
    n_sites = size_of(sites)
    if n_free == 0 or n_free == n_sites:
        return ZERO + (sites if n_free else 0)
    waiting = sites
    for k in range(n_sites):
        sketch.costs[k] = _cost(lowest_of(waiting), sites, sketch)
        waiting &= waiting - 1
    best = ZERO - 1
    least = ZERO
    is_tied = False
    choice = ZERO + (1 << n_free) - 1
    while choice < 1 << n_sites:
        free = _placed(choice, sites)
        cost = ZERO
        pairs = ZERO
        waiting = free
        left = choice
        while waiting != 0:
            cost += sketch.costs[lowest_of(left)]
            pairs += size_of(sketch.mobile[lowest_of(waiting)] & free)
            left &= left - 1
            waiting &= waiting - 1
        cost += _TWO_NEIGHBOURS * (pairs // 2)
        if (best < 0 or cost <= least) and match(
            atoms & ~free, sketch.mobile, sketch.spare, sketch
        ):
            if best < 0 or cost < least:
                best, least = free, cost
                is_tied = False
            else:
                is_tied = is_tied or not _are_alike(best, free, sketch)
        choice = _next_choice(choice)
    return ZERO - 1 if is_tied else best


@inner
def _place_somewhere(needed: int, free: NDArray[np.int64], sketch: Sketch) -> bool:
    """Set double bonds with the hydrogens of groups in any place; return whether there is one.

    `free` gets the sites of each group without double bonds.
    """
    numbers = sketch.numbers
    n_groups = numbers[N_GROUPS]
    for group in range(n_groups):
        sketch.choices[group] = (1 << sketch.group_free[group]) - 1
    for _ in range(MOST_TRIES):
        all_needed = needed
        for group in range(n_groups):
            free[group] = _placed(sketch.choices[group], sketch.group[group])
            all_needed |= sketch.group[group] & ~free[group]
        for a in range(numbers[N_ATOMS]):
            sketch.partner[a] = -1
        if match(all_needed, sketch.around, sketch.partner, sketch):
            return True
        group = ZERO
        while group < n_groups:
            choice = sketch.choices[group]
            following = _next_choice(choice) if choice else ZERO + (1 << 62)
            if following < 1 << size_of(sketch.group[group]):
                sketch.choices[group] = following
                break
            sketch.choices[group] = (1 << sketch.group_free[group]) - 1
            group += 1
        if group == n_groups:
            return False
    return False


@inner
def _leads_outside(atoms: int, sketch: Sketch) -> bool:
    """Return whether a ring of a group has an atom whose double bond leads outside.

    The form that InChI's library gives of such a group may be one that is not looked at.
    """
    for k in range(sketch.numbers[N_RINGS]):
        ring = sketch.rings[k]
        shared = ring & atoms
        others = ring & ~atoms & sketch.numbers[IN_RINGS]
        while others != 0 and shared & (shared - 1):
            partner = sketch.partner[lowest_of(others)]
            others &= others - 1
            if partner >= 0 and not ring >> partner & 1:
                return True
    return False


@inner
def _is_certain(atoms: int, sites: int, sketch: Sketch) -> bool:
    """Return whether a group's hydrogens are mobile for InChI too, whatever is around it.

    Of up to four sites they always were: InChI's library said the same of each of 38,878 structures
    that are not of the kind below, of 428,000 structures that were looked at.
    """
    if size_of(sites) <= _MOST_CERTAIN:
        return True
    if sketch.numbers[NITRO] != 0 or size_of(atoms & ~sites) != 1:
        return False
    n_sites = size_of(sites)
    n_oxygen = ZERO
    while sites != 0:
        a = lowest_of(sites)
        sites &= sites - 1
        n_oxygen += sketch.number[a] == OXYGEN
        if size_of(sketch.mobile[a]) != 1:
            return False
    return not 1 < n_oxygen < n_sites


@inner
def place_mobile(needed: int, sketch: Sketch) -> int:  # noqa: C901 (one group after the other)
    """Return the sites of all groups that get a double bond, -1 where that is not sure.

    `needed` are the atoms that must have one.
    """
    numbers = sketch.numbers
    n_groups = numbers[N_GROUPS]
    free = sketch.free
    if not _place_somewhere(needed, free, sketch):
        return ZERO - 1
    _find_sites(sketch)
    _add_rings(sketch)
    _add_centres(sketch)
    left = _close(sketch)
    all_sites = ZERO
    for group in range(n_groups):
        all_sites |= sketch.group[group]
    n_found = ZERO
    double = ZERO
    while left != 0:
        atoms = left & -left
        waiting = atoms
        while waiting != 0:
            fresh = sketch.mobile[lowest_of(waiting)] & ~atoms
            waiting = (waiting & (waiting - 1)) | fresh
            atoms |= fresh
        left &= ~atoms
        sites = atoms & numbers[SITES]
        if not sites & all_sites:
            continue
        for group in range(n_groups):
            if sketch.group[group] == sites:
                best = _best(atoms, sites, sketch.group_free[group], sketch)
                if best < 0:
                    return ZERO - 1
                double |= sites & ~best
                n_found += 1
                if not _is_certain(atoms, sites, sketch):
                    numbers[IS_CERTAIN] = 0
        if sites & ~all_sites or _leads_outside(atoms, sketch):
            return ZERO - 1
    return double if n_found == n_groups else ZERO - 1
