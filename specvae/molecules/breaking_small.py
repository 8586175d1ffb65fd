"""Breaking a molecule of up to 64 atoms and bonds, as nearly all are, in compiled code.

The walk, the cuts and their order are those of `specvae.molecules.breaking`, and a test compares
the fragments. Here a set of atoms is one number that stays in a register, and what may be cut off
is listed before it is looked up: a branch that the processor cannot foretell takes it longer than
either way.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from specvae.molecules.bit_sets import lowest_bit, unsigned
from specvae.molecules.breaking import (
    CHUNK,
    CHUNK_SETS,
    COST,
    PARENT,
    QUEUE,
    break_large,
    fill_cut_sets,
    n_slots,
    queue_by_cost,
)
from specvae.molecules.compiling import ZERO, compiled, inner
from specvae.molecules.graph import ENTHALPY, Graph

MOST = 64
"""Atoms, and bonds, that a set of one word has bits for."""

_ONE, _NONE = np.uint64(1), np.uint64(0)
_HASH, _HASH_SHIFT = np.uint64(0x9E3779B97F4A7C15), np.uint64(33)


class _Room(NamedTuple):
    """Room for breaking a molecule.

    Parameters
    ----------
    adjacency
        For the set of each atom's neighbours, 0 at first, uint64 (n_atoms,).
    cut_sets
        As `fill_cut_sets` fills it, 0 at first.
    of_atoms
        For what a walk finds of each atom: parent, label, below; and the last two by its order,
        uint64 (5, n_atoms).
    order
        For the atoms of a walk, int64 (n_atoms,).
    cuts, sides
        For what is cut off a piece, and what has to be looked up of it.
    numbers
        See `COST`, int32 (max_fragments, 3).
    slots
        For a hash table of sets of atoms, 0 at first.
    """

    adjacency: NDArray[np.uint64]
    cut_sets: NDArray[np.uint64]
    of_atoms: NDArray[np.uint64]
    order: NDArray[np.int64]
    cuts: NDArray[np.uint64]
    sides: NDArray[np.uint64]
    numbers: NDArray[np.int32]
    slots: NDArray[np.uint64]

    @classmethod
    def for_fragments(cls, n_atoms: int, max_fragments: int) -> _Room:
        """Make room here, as the compiler would take longer for it."""
        # Two atoms make one pair at most, and what is no cut is overwritten by the next.
        most_cuts = n_atoms * (n_atoms + 1) // 2 + 1
        return cls(
            np.zeros(n_atoms, np.uint64),
            np.zeros((-(-n_atoms // CHUNK), CHUNK_SETS), np.uint64),
            np.empty((5, n_atoms), np.uint64),
            np.empty(n_atoms, np.int64),
            np.empty(most_cuts, np.uint64),
            np.empty(2 * most_cuts, np.uint64),
            np.empty((max_fragments, 3), np.int32),
            np.zeros(n_slots(max_fragments), np.uint64),
        )


@inner
def _walk(
    whole: np.uint64,
    adjacency: NDArray[np.uint64],
    parent: NDArray[np.uint64],
    label: NDArray[np.uint64],
    below: NDArray[np.uint64],
    order: NDArray[np.int64],
) -> int:
    """Walk through a piece depth first; return its number of atoms. See `breaking._walk`.

    The first atom is its own parent.
    """
    root = unsigned(lowest_bit(whole))
    unmet = whole & (whole - _ONE)
    parent[root], label[root], below[root] = root, _NONE, _ONE << root
    order[0] = root
    n_seen = ZERO + 1
    closing = _ONE
    a = root
    while True:
        ahead = adjacency[a] & unmet
        if ahead == _NONE:
            if a == root:
                return n_seen
            # All that lies behind this atom is known.
            above = parent[a]
            label[above] ^= label[a]
            below[above] |= below[a]
            a = above
            continue
        b = unsigned(lowest_bit(ahead))
        bit = _ONE << b
        unmet ^= bit
        order[unsigned(n_seen)] = b
        n_seen += 1
        parent[b], below[b] = a, bit
        # Neighbours that were met before it are further up the tree: a ring is closed.
        met = adjacency[b] & whole & ~unmet & ~(_ONE << a)
        own = _NONE
        while met != _NONE:
            label[unsigned(lowest_bit(met))] ^= closing
            own ^= closing
            closing <<= _ONE
            met &= met - _ONE
        label[b] = own
        a = b


@inner
def _list_cuts(
    n_seen: int,
    order: NDArray[np.int64],
    label: NDArray[np.uint64],
    below: NDArray[np.uint64],
    labels: NDArray[np.uint64],
    parts: NDArray[np.uint64],
    cuts: NDArray[np.uint64],
) -> int:
    """List what one cut of a bridge, or two of a ring, takes off a piece; return their number.

    `labels` and `parts` are room for what the walk found, in its order.
    """
    for k in range(1, n_seen):
        a = unsigned(order[unsigned(k)])
        labels[unsigned(k)], parts[unsigned(k)] = label[a], below[a]
    n = ZERO
    for k in range(1, n_seen):
        own, part = labels[unsigned(k)], parts[unsigned(k)]
        # The bond above the atom alone, or with the only ring closure that spans it.
        cuts[unsigned(n)] = part
        n += own & (own - _ONE) == _NONE
        if own != _NONE:
            for m in range(k + 1, n_seen):
                cuts[unsigned(n)] = part & ~parts[unsigned(m)]
                n += labels[unsigned(m)] == own
    return n


@inner
def _list_sides(
    n_cuts: int,
    whole: np.uint64,
    touched: np.uint64,
    cuts: NDArray[np.uint64],
    sides: NDArray[np.uint64],
) -> int:
    """List both sides of each cut that have any of the atoms `touched`; return their number."""
    n = ZERO
    for k in range(n_cuts):
        cut = cuts[unsigned(k)]
        rest = whole & ~cut
        sides[unsigned(n)] = cut
        n += cut & touched != _NONE
        sides[unsigned(n)] = rest
        n += rest & touched != _NONE
    return n


@inner
def _touched(
    whole: np.uint64, before: int, masks: NDArray[np.uint64], adjacency: NDArray[np.uint64]
) -> np.uint64:
    """Return what `breaking._find_open_atoms` finds: atoms that the last cut went through."""
    if before < 0:
        return whole
    lost = masks[before] & ~whole
    touched = _NONE
    while lost != _NONE:
        touched |= adjacency[unsigned(lowest_bit(lost))]
        lost &= lost - _ONE
    return touched & whole


@inner
def _add(
    n_sides: int,
    parent: int,
    sides: NDArray[np.uint64],
    masks: NDArray[np.uint64],
    numbers: NDArray[np.int32],
    slots: NDArray[np.uint64],
    count: int,
) -> int:
    """Add sets that are not known yet to the first `count`, while there is room.

    Returns the number of all. `slots` is a hash table of those that are known, 0 for none.
    """
    last = np.uint64(len(slots) - 1)
    for k in range(n_sides):
        side = sides[unsigned(k)]
        slot = side * _HASH >> _HASH_SHIFT & last
        found = slots[slot]
        while found != side and found != _NONE:
            slot = slot + _ONE & last
            found = slots[slot]
        if found == side:
            continue
        if count == len(masks):
            return count
        slots[slot] = side
        masks[unsigned(count)] = side
        numbers[unsigned(count), PARENT] = parent
        count += 1
    return count


@inner
def _cost(mask: np.uint64, sets: NDArray[np.uint64], bonds: NDArray[np.int16]) -> int:
    """Return the sum of the enthalpies of the bonds cut."""
    word = _NONE
    for k in range(len(sets)):
        word ^= sets[unsigned(k), mask & np.uint64(CHUNK_SETS - 1)]
        mask >>= np.uint64(CHUNK)
    cost = ZERO
    while word != _NONE:
        cost += bonds[unsigned(lowest_bit(word)), ENTHALPY]
        word &= word - _ONE
    return cost


@compiled
def _break_small(
    bonds: NDArray[np.int16],
    n_steps: int,
    masks: NDArray[np.uint64],
    steps: NDArray[np.uint8],
    room: _Room,
) -> int:
    """Fill in the sets of atoms and steps of all fragments, and return their number."""
    # A field of a named tuple takes longer than an array.
    adjacency, sets, of_atoms, order, cuts, sides, numbers, slots = room
    for i in range(len(bonds)):
        for end in range(2):
            adjacency[bonds[i, end]] |= _ONE << np.uint64(bonds[i, 1 - end])
    fill_cut_sets(ZERO + 1, bonds, sets)
    masks[0] = ~_NONE >> np.uint64(MOST - len(adjacency))
    steps[0] = 0
    numbers[0, COST], numbers[0, PARENT] = 0, -1
    parent, label, below = of_atoms[0], of_atoms[1], of_atoms[2]
    labels, parts = of_atoms[3], of_atoms[4]
    start, end = ZERO, ZERO + 1
    for step in range(n_steps):
        queue_by_cost(numbers, start, end)
        count = end
        for i in range(start, end):
            piece = numbers[i, QUEUE]
            whole = masks[piece]
            n_seen = _walk(whole, adjacency, parent, label, below, order)
            n = _list_cuts(n_seen, order, label, below, labels, parts, cuts)
            touched = _touched(whole, numbers[piece, PARENT], masks, adjacency)
            n = _list_sides(n, whole, touched, cuts, sides)
            count = _add(n, piece, sides, masks, numbers, slots, count)
            if count == len(masks):
                break
        for f in range(end, count):
            steps[f] = step + 1
            if step + 1 < n_steps:
                numbers[f, COST] = _cost(masks[f], sets, bonds)
        start, end = end, count
    return end


def break_into_fragments(
    graph: Graph, n_steps: int, max_fragments: int
) -> tuple[NDArray[np.uint64], NDArray[np.uint8]]:
    """Return the sets of atoms and the steps of a molecule's fragments: see `FragmentTable`.

    Parameters
    ----------
    graph
        The molecule.
    n_steps, max_fragments
        As in `FragmentTable.of`.

    Returns
    -------
    uint64 (n_fragments, n_words), and uint8 (n_fragments,).
    """
    n_atoms = len(graph.atoms)
    if not 0 < n_atoms <= MOST or len(graph.bonds) > MOST:
        return break_large(graph, n_steps, max_fragments)
    masks = np.empty(max_fragments, np.uint64)
    steps = np.empty(max_fragments, np.uint8)
    room = _Room.for_fragments(n_atoms, max_fragments)
    n = _break_small(graph.bonds, n_steps, masks, steps, room)
    return masks[:n, None].copy(), steps[:n].copy()
