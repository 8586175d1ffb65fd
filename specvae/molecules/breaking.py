"""Breaking a molecule into fragments, in compiled code (`specvae.molecules.fragments`).

This is for molecules of any size; `specvae.molecules.breaking_small` is for those of few atoms.

One depth-first walk finds all cuts of a piece. Every bond that closes a ring gets a bit of its own,
and a bond of the walk's tree the exclusive or of the bits of the ring closures that span it: a tree
bond with no bit is a bridge, and two bonds with equal bits divide the piece when both are cut
(Pritchard and Thurimella, doi:10.1145/2000807.2000814).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from specvae.molecules.bit_sets import lowest_bit
from specvae.molecules.compiling import ZERO, compiled, inner
from specvae.molecules.graph import ENTHALPY, Graph

COST, PARENT, QUEUE = 0, 1, 2
"""Columns of numbers of each fragment: sum of the enthalpies of the bonds cut; the fragment that it
was cut off, -1 for the molecule; the fragment that is broken at this place in turn."""

_MAX_CLOSURES = 63  # ring closures that have a bit of their own in a word

CHUNK = 4
"""Atoms whose sets are tabled together: sums over a set of atoms are looked up chunk by chunk."""

CHUNK_SETS = 1 << CHUNK


@inner
def chunk_of(masks: NDArray[np.uint64], fragment: int, k: int) -> int:
    """Return which of the atoms of one chunk a fragment has, as a number below `CHUNK_SETS`."""
    word = masks[fragment, k * CHUNK >> 6] >> np.uint64(k * CHUNK & 63)
    return int(word & np.uint64(CHUNK_SETS - 1))


@inner
def _cut_word(
    n_words: int, w: int, fragment: int, masks: NDArray[np.uint64], sets: NDArray[np.uint64]
) -> np.uint64:
    """Return one word of the set of bonds that a fragment's atoms are cut off at."""
    word = np.uint64(0)
    for k in range(len(sets)):
        word ^= sets[k, chunk_of(masks, fragment, k) * n_words + w]
    return word


@inner
def _cost(
    n_words: int,
    fragment: int,
    masks: NDArray[np.uint64],
    sets: NDArray[np.uint64],
    bonds: NDArray[np.int16],
) -> int:
    """Return the sum of the enthalpies of the bonds cut."""
    cost = 0
    for w in range(n_words):
        word = _cut_word(n_words, w, fragment, masks, sets)
        while word != np.uint64(0):
            cost += bonds[64 * w + lowest_bit(word), ENTHALPY]
            word &= word - np.uint64(1)
    return cost


@inner
def _next_atom(
    n_words: int, a: int, adjacency: NDArray[np.uint64], unmet: NDArray[np.uint64]
) -> int:
    """Return the lowest neighbour of an atom that was not met yet, -1 if there is none."""
    for w in range(n_words):
        ahead = adjacency[a, w] & unmet[w]
        if ahead != np.uint64(0):
            return int(64 * w + lowest_bit(ahead))
    return -1


@inner
def _close_rings(
    n_words: int,
    a: int,
    b: int,
    whole: NDArray[np.uint64],
    adjacency: NDArray[np.uint64],
    unmet: NDArray[np.uint64],
    label: NDArray[np.uint64],
    n_closures: int,
) -> int:
    """Give each bond that closes a ring at atom b, just met from a, a bit; return their number.

    Neighbours that were met before it, but for a, are further up the tree.
    """
    one = np.uint64(1)
    label[b] = 0
    for w in range(n_words):
        met = adjacency[b, w] & whole[w] & ~unmet[w]
        if w == a >> 6:
            met &= ~(one << np.uint64(a & 63))
        while met != np.uint64(0):
            bit = one << np.uint64(n_closures & 63)
            label[64 * w + lowest_bit(met)] ^= bit
            label[b] ^= bit
            n_closures += 1
            met &= met - one
    return n_closures


@inner
def _walk(
    n_words: int,
    whole: NDArray[np.uint64],
    adjacency: NDArray[np.uint64],
    unmet: NDArray[np.uint64],
    parent: NDArray[np.int64],
    label: NDArray[np.uint64],
    below: NDArray[np.uint64],
    preorder: NDArray[np.int64],
) -> int:
    """Walk through a piece depth first; return its number of atoms, 0 with too many rings.

    Fills, in place, the atoms as they are met (`preorder`), and for each of them its parent, the
    ring closures that span the bond to the parent (`label`, a bit each) and the atoms that this
    bond leads to (`below`). Of an atom's neighbours the lowest is met first.
    """
    one = np.uint64(1)
    root = ZERO
    for w in range(n_words - 1, -1, -1):
        unmet[w] = whole[w]
        if whole[w] != np.uint64(0):
            root = 64 * w + lowest_bit(whole[w])
    unmet[root >> 6] ^= one << np.uint64(root & 63)
    parent[root] = -1
    label[root] = 0
    for w in range(n_words):
        below[root, w] = 0
    below[root, root >> 6] = one << np.uint64(root & 63)
    preorder[0] = root
    n_seen = 1
    n_closures = ZERO
    a = root
    while a >= 0:
        b = _next_atom(n_words, a, adjacency, unmet)
        if b < 0:
            # All that lies behind this atom is known.
            above = parent[a]
            if above >= 0:
                label[above] ^= label[a]
                for w in range(n_words):
                    below[above, w] |= below[a, w]
            a = above
            continue
        bit = one << np.uint64(b & 63)
        unmet[b >> 6] ^= bit
        preorder[n_seen] = b
        n_seen += 1
        parent[b] = a
        for w in range(n_words):
            below[b, w] = 0
        below[b, b >> 6] = bit
        n_closures = _close_rings(n_words, a, b, whole, adjacency, unmet, label, n_closures)
        a = b
    return n_seen if n_closures <= _MAX_CLOSURES else 0


@inner
def _take_cut(
    n_words: int,
    a: int,
    b: int,
    label: NDArray[np.uint64],
    below: NDArray[np.uint64],
    cut: NDArray[np.uint64],
) -> bool:
    """Write what is cut off at the bonds above two atoms, the second met later; False if nothing.

    With the same atom twice, it is the bond above it alone if that is a bridge, else that bond and
    the only ring closure that spans it.
    """
    if a == b:
        if label[a] & (label[a] - np.uint64(1)) != np.uint64(0):
            return False
    elif label[a] != label[b]:
        return False
    for w in range(n_words):
        cut[w] = below[a, w] if a == b else below[a, w] & ~below[b, w]
    return True


@inner
def _add_both(
    n_words: int,
    cut: NDArray[np.uint64],
    whole: NDArray[np.uint64],
    side: NDArray[np.uint64],
    open_atoms: NDArray[np.uint64],
    parent: int,
    masks: NDArray[np.uint64],
    numbers: NDArray[np.int32],
    slots: NDArray[np.int32],
    count: int,
) -> int:
    """Add what is cut off a piece, and what is left, to the first `count` rows of `masks`.

    Returns the number of rows then; one more than there are if there was no room. A side without
    any of the `open_atoms` is known; see `_find_open_atoms`. The hash table `slots` has the row of
    each set, -1 for none; `side` is room for one set.
    """
    for part in range(2):
        h = np.uint64(0)
        touched = np.uint64(0)
        for w in range(n_words):
            side[w] = whole[w] & ~cut[w] if part else cut[w]
            h = (h ^ side[w]) * np.uint64(0x9E3779B97F4A7C15)
            touched |= side[w] & open_atoms[w]
        if touched == np.uint64(0):
            continue
        slot = np.int64(h >> np.uint64(33)) & (len(slots) - 1)
        is_known = False
        while slots[slot] >= 0 and not is_known:
            is_known = True
            for w in range(n_words):
                is_known = is_known and masks[slots[slot], w] == side[w]
            slot = slot if is_known else (slot + 1) & (len(slots) - 1)
        if is_known:
            continue
        if count == len(masks):
            return count + 1
        slots[slot] = count
        for w in range(n_words):
            masks[count, w] = side[w]
        numbers[count, PARENT] = parent
        count += 1
    return count


@inner
def _find_open_atoms(
    n_words: int,
    whole: NDArray[np.uint64],
    parent: int,
    masks: NDArray[np.uint64],
    adjacency: NDArray[np.uint64],
    n_seen: int,
    preorder: NDArray[np.int64],
    open_atoms: NDArray[np.uint64],
) -> None:
    """Find the atoms of a piece that the last cut which led to it went through.

    What is cut off without any of them is cut off the piece before that cut too, at the same bonds,
    and was found there. All atoms count as such where there was no cut.
    """
    for w in range(n_words):
        open_atoms[w] = whole[w] if parent < 0 else np.uint64(0)
    for k in range(n_seen if parent >= 0 else 0):
        a = preorder[k]
        for w in range(n_words):
            if adjacency[a, w] & masks[parent, w] & ~whole[w] != np.uint64(0):
                open_atoms[a >> 6] |= np.uint64(1) << np.uint64(a & 63)


@inner
def _break(
    n_words: int,
    start: int,
    end: int,
    adjacency: NDArray[np.uint64],
    masks: NDArray[np.uint64],
    numbers: NDArray[np.int32],
    slots: NDArray[np.int32],
) -> int:
    """Break the pieces queued from `start` to `end` by one step; return the number of all then.

    What is new goes behind the first `end` rows of `masks`, until they are full.
    """
    n_atoms = len(adjacency)
    whole = np.empty(n_words, np.uint64)
    side = np.empty(n_words, np.uint64)
    cut = np.empty(n_words, np.uint64)
    unmet = np.empty(n_words, np.uint64)
    open_atoms = np.empty(n_words, np.uint64)
    parent = np.empty(n_atoms, np.int64)
    label = np.empty(n_atoms, np.uint64)
    below = np.empty(adjacency.shape, np.uint64)
    preorder = np.empty(n_atoms, np.int64)
    count = end
    for i in range(start, end):
        piece = numbers[i, QUEUE]
        for w in range(n_words):
            whole[w] = masks[piece, w]
        n_seen = _walk(n_words, whole, adjacency, unmet, parent, label, below, preorder)
        before = numbers[piece, PARENT]
        _find_open_atoms(n_words, whole, before, masks, adjacency, n_seen, preorder, open_atoms)
        for k in range(1, n_seen):
            a = preorder[k]
            for m in range(k, n_seen if label[a] != np.uint64(0) else k + 1):
                if _take_cut(n_words, a, preorder[m], label, below, cut):
                    count = _add_both(
                        n_words, cut, whole, side, open_atoms, piece, masks, numbers, slots, count
                    )
                    if count > len(masks):
                        return len(masks)
    return count


@inner
def queue_by_cost(numbers: NDArray[np.int32], start: int, end: int) -> None:
    """Put the pieces `start` to `end` into the same places of the queue, the cheapest first."""
    highest = 0
    for f in range(start, end):
        highest = max(highest, numbers[f, COST])
    places = np.zeros(highest + 2, np.int64)
    for f in range(start, end):
        places[numbers[f, COST] + 1] += 1
    for cost in range(highest):
        places[cost + 1] += places[cost]
    for f in range(start, end):
        numbers[start + places[numbers[f, COST]], QUEUE] = f
        places[numbers[f, COST]] += 1


@inner
def fill_cut_sets(n_words: int, bonds: NDArray[np.int16], sets: NDArray[np.uint64]) -> None:
    """Fill in the bonds that lead out of each set of atoms of a chunk, which are 0.

    uint64 (n_chunks, `CHUNK_SETS` n_words). Those of a whole mask are the exclusive or of its
    chunks' sets: a bond with both ends inside is in two of the atoms' sets.
    """
    for i in range(len(bonds)):
        for end in range(2):
            a = bonds[i, end]
            at = (1 << (a % CHUNK)) * n_words + (i >> 6)
            sets[a // CHUNK, at] |= np.uint64(1) << np.uint64(i & 63)
    for k in range(len(sets)):
        for chunk in range(1, CHUNK_SETS):
            rest = chunk & (chunk - 1)  # without its lowest bit
            if rest:
                for w in range(n_words):
                    one, other = (chunk - rest) * n_words + w, rest * n_words + w
                    sets[k, chunk * n_words + w] = sets[k, one] ^ sets[k, other]


@compiled
def _break_in_steps(
    n_words: int,
    bonds: NDArray[np.int16],
    n_steps: int,
    adjacency: NDArray[np.uint64],
    sets: NDArray[np.uint64],
    masks: NDArray[np.uint64],
    steps: NDArray[np.uint8],
    numbers: NDArray[np.int32],
    slots: NDArray[np.int32],
) -> int:
    """Fill in the sets of atoms and steps of all fragments, and return their number.

    All other arrays are room: `adjacency` for the set of each atom's neighbours, 0 at first; `sets`
    as `fill_cut_sets` fills it; `numbers` (len(masks), 3); `slots` for a hash table, -1 at first.
    """
    one = np.uint64(1)
    for i in range(len(bonds)):
        for end in range(2):
            a = bonds[i, end]
            b = bonds[i, 1 - end]
            adjacency[a, b >> 6] |= one << np.uint64(b & 63)
    fill_cut_sets(n_words, bonds, sets)
    for w in range(n_words):
        masks[0, w] = 0
    for a in range(len(adjacency)):
        masks[0, a >> 6] |= one << np.uint64(a & 63)
    steps[0] = 0
    numbers[0, COST] = 0
    numbers[0, PARENT] = -1
    start = ZERO
    end = ZERO + 1
    for step in range(n_steps):
        queue_by_cost(numbers, start, end)
        found = _break(n_words, start, end, adjacency, masks, numbers, slots)
        for f in range(end, found):
            steps[f] = step + 1
            if step + 1 < n_steps:
                numbers[f, COST] = _cost(n_words, f, masks, sets, bonds)
        start = end
        end = found
    return end


def n_slots(max_fragments: int) -> int:
    """Return the places of a hash table of fragments, a power of two: most of them stay empty."""
    return 1 << max(2 * max_fragments - 1, 63).bit_length()


def break_large(
    graph: Graph, n_steps: int, max_fragments: int
) -> tuple[NDArray[np.uint64], NDArray[np.uint8]]:
    """Return the fragments of a molecule of any size; see `breaking_small.break_into_fragments`."""
    n_atoms = len(graph.atoms)
    n_words = max(n_atoms, len(graph.bonds), 1) + 63 >> 6
    masks = np.empty((max_fragments, n_words), np.uint64)
    steps = np.empty(max_fragments, np.uint8)
    # Room is made here, as the compiler would take longer for it.
    n = _break_in_steps(
        n_words,
        graph.bonds,
        n_steps,
        np.zeros((n_atoms, n_words), np.uint64),
        np.zeros((-(-n_atoms // CHUNK), CHUNK_SETS * n_words), np.uint64),
        masks,
        steps,
        np.empty((max_fragments, 3), np.int32),
        np.full(n_slots(max_fragments), -1, np.int32),
    )
    return masks[:n].copy(), steps[:n].copy()
