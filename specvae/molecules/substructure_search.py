"""Patterns searched for in molecules, atom by atom, in compiled code.

Sets of a molecule's atoms are bits of words: what may be the next atom of a pattern is what several
sets have in common.
"""

from __future__ import annotations

from typing import NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from specvae.molecules.bit_sets import lowest_bit, popcount, unsigned
from specvae.molecules.compiling import ZERO, compiled_with, inner_with
from specvae.molecules.search_plan import (
    BESIDE,
    BOND,
    ENVIRONMENT,
    FIRST_ARM,
    FIRST_ATOM,
    FIRST_CLOSURE,
    FIRST_CONDITION,
    FIRST_TERM,
    FROM_FIRST,
    IS_ROUND,
    LEAST,
    MOST_ATOMS,
    N_ATOMS,
    QUESTION,
    STAR,
    UNSETTLED,
    WORD_BITS,
    Answers,
    Searches,
)
from specvae.molecules.smarts import LONGEST_PATH
from specvae.molecules.topology import Topologies

_MOST_STEPS = 20_000  # of a search; beyond, it is not settled
# Compiled functions are compiled anew for a literal -1.
_NONE = cast("int", np.int64(-1))
_ONE = cast("int", np.int64(1))

# They make no arrays and keep none, so that references need not be counted: that takes a sixth of
# the search, and much of the compiler's time.
_inner = inner_with(_nrt=False)
# A call hands some twenty arrays on, which takes longer than one of these does.
_within = inner_with(_nrt=False, forceinline=True)


class _Target(NamedTuple):
    """A molecule that is searched, and room for a search.

    Parameters
    ----------
    starts
        Where the neighbours of each atom begin in the following, int32 (n_atoms + 1,).
    around
        Neighbours and the kinds of the bonds to them, int32 (2 n_bonds, 2).
    path
        Kinds of atom, bond, atom, bond, ... of a path, int32 (2 `LONGEST_PATH`,).
    counts
        How many paths fit each path of patterns, int32 (n_features,).
    found
        Of each atom of a pattern that is found the place in the molecule, and the neighbour that is
        tried next, int32 (`MOST_ATOMS`, 2).
    is_used
        Which atoms are in a path, uint8 (n_atoms,).
    fits
        Sets of atoms that fit each question, int64 (n_questions, n_words).
    beside
        Neighbours of each atom by a bond that fits each question, int64 (n_atoms, n_questions of
        bonds, n_words).
    near
        Atoms that are at most so many bonds away from each atom, int64 (n_atoms, n_bonds + 1,
        n_words).
    stars
        Atoms that fit each star, int64 (n_stars, n_words).
    has_star
        Whether `stars` says it yet, uint8 (n_stars,).
    waiting
        Atoms that may still have the place of each atom of a pattern, int64 (`MOST_ATOMS`,
        n_words).
    sets
        Atoms that are used, and those of each match, int64 (n_matches + 1, n_words).
    """

    starts: NDArray[np.int32]
    around: NDArray[np.int32]
    path: NDArray[np.int32]
    counts: NDArray[np.int32]
    found: NDArray[np.int32]
    is_used: NDArray[np.uint8]
    fits: NDArray[np.int64]
    beside: NDArray[np.int64]
    near: NDArray[np.int64]
    stars: NDArray[np.int64]
    has_star: NDArray[np.uint8]
    waiting: NDArray[np.int64]
    sets: NDArray[np.int64]


_USED = 0  # the first row of `_Target.sets`


def search_all(
    molecules: Topologies, answers: Answers, searches: Searches, found: NDArray[np.uint8]
) -> None:
    """Say whether molecules have patterns: 0 no, 1 yes, 2 not settled; (n, n_patterns)."""
    taken = molecules.taken
    n, n_bonds = (int(column.max(initial=0)) for column in taken.counts[:, :2].T)
    n_words = n // WORD_BITS + 1
    n_questions = answers.atom_fits.shape[1] + len(searches.composed) - 1
    n_stars = len(searches.stars) - 1
    farthest = int(searches.atoms[:, FROM_FIRST].max(initial=0))
    # Made here: each kind of array that compiled code makes takes as long to compile as a function.
    target = _Target(
        np.empty(n + 1, np.int32),
        np.empty((2 * n_bonds, 2), np.int32),
        np.empty(2 * LONGEST_PATH, np.int32),
        np.empty(int(answers.places[:, 1].sum()) * WORD_BITS, np.int32),
        np.zeros((MOST_ATOMS, 2), np.int32),
        np.zeros(n, np.uint8),
        np.empty((n_questions, n_words), np.int64),
        np.empty((n, answers.bond_fits.shape[1], n_words), np.int64),
        np.empty((n, farthest + 1, n_words), np.int64),
        np.empty((n_stars, n_words), np.int64),
        np.empty(n_stars, np.uint8),
        np.empty((MOST_ATOMS, n_words), np.int64),
        np.empty((searches.most + 1, n_words), np.int64),
    )
    _search_each(
        molecules.first_atoms, molecules.first_bonds, taken.atoms, taken.bonds, answers, searches,
        target, found,
    )  # fmt: skip


@_inner
def _fill_neighbours(
    bonds: NDArray[np.int32], starts: NDArray[np.int32], around: NDArray[np.int32]
) -> None:  # pragma: no cover (compiled)
    """Fill in where each atom's neighbours begin, and neighbours with the kinds of bonds."""
    for b in range(len(bonds)):
        starts[bonds[b, 0]] += 1
        starts[bonds[b, 1]] += 1
    total = 0
    for a in range(len(starts)):
        total += starts[a]
        starts[a] = total  # the end, from which is counted down
    for b in range(len(bonds)):
        for side in range(2):
            a = bonds[b, side]
            starts[a] -= 1
            around[starts[a], 0] = bonds[b, 1 - side]
            around[starts[a], 1] = bonds[b, 2]


@_within
def _add(a: int, atoms: NDArray[np.int64]) -> None:  # pragma: no cover (compiled)
    """Add an atom to a set."""
    atoms[unsigned(a >> 6)] |= _ONE << (a & 63)


@_inner
def _fill_sets(  # noqa: C901 (calls of functions that take many arrays are dear)
    atoms: NDArray[np.int32], answers: Answers, target: _Target
) -> None:  # pragma: no cover (compiled)
    """Fill in what fits the questions that kinds decide, and what is beside and near each atom."""
    n, n_words = len(atoms), target.fits.shape[1]
    beside, near = target.beside, target.near
    for q in range(target.fits.shape[0]):
        for w in range(n_words):
            target.fits[q, w] = 0
    for a in range(n):
        for q in range(answers.atom_fits.shape[1]):
            target.fits[q, a >> 6] |= np.int64(answers.atom_fits[atoms[a], q]) << (a & 63)
        for w in range(n_words):
            near[a, 0, w] = 0
            for q in range(beside.shape[1]):
                beside[a, q, w] = 0
        _add(a, near[a, 0])
        for m in range(target.starts[a], target.starts[a + 1]):
            b, kind = ZERO + target.around[m, 0], target.around[m, 1]
            for q in range(beside.shape[1]):
                beside[a, q, b >> 6] |= np.int64(answers.bond_fits[kind, q]) << (b & 63)
    for k in range(1, near.shape[1]):
        for a in range(n):
            for w in range(n_words):
                near[a, k, w] = near[a, k - 1, w]
                for m in range(target.starts[a], target.starts[a + 1]):
                    near[a, k, w] |= near[target.around[m, 0], k - 1, w]


@_inner
def _count_all(
    atoms: NDArray[np.int32], answers: Answers, target: _Target
) -> None:  # pragma: no cover (compiled)
    """Count for each path of patterns the paths of a molecule that fit it."""
    starts, around, path, found = target.starts, target.around, target.path, target.found
    for root in range(len(atoms)):
        path[0] = atoms[root]
        found[0, 0], found[0, 1] = root, starts[root]
        target.is_used[root] = 1
        length = ZERO + 1
        is_new = True
        while length > 0:
            last = found[length - 1, 0]
            # Each path is found from both of its ends.
            if is_new and root <= last:
                _count(length, path, answers, target.counts)
            is_new = False
            while not is_new and length < LONGEST_PATH and found[length - 1, 1] < starts[last + 1]:
                beside = found[length - 1, 1]
                found[length - 1, 1] += 1
                a = around[beside, 0]
                if target.is_used[a] == 0:
                    path[2 * length - 1], path[2 * length] = around[beside, 1], atoms[a]
                    found[length, 0], found[length, 1] = a, starts[a]
                    target.is_used[a] = 1
                    is_new = True
            length += 1 if is_new else -1
            if not is_new:
                target.is_used[last] = 0


@_inner
def _count(
    length: int, path: NDArray[np.int32], answers: Answers, counts: NDArray[np.int32]
) -> None:  # pragma: no cover (compiled)
    """Add one to all that a path fits, in one direction or the other."""
    n_words = answers.places[length, 1]
    last = length - 1
    for w in range(n_words):
        forth = back = np.int64(-1)
        at = unsigned(answers.places[length, 2] + w)
        for k in range(length):
            forth &= answers.atom_rows[unsigned(path[unsigned(2 * k)]), at]
            back &= answers.atom_rows[unsigned(path[unsigned(2 * (last - k))]), at]
            at += unsigned(n_words)
        at = unsigned(answers.places[length, 3] + w)
        for k in range(last):
            forth &= answers.bond_rows[unsigned(path[unsigned(2 * k + 1)]), at]
            back &= answers.bond_rows[unsigned(path[unsigned(2 * (last - k) - 1)]), at]
            at += unsigned(n_words)
        word = forth | back
        begin = answers.places[length, 0] + w * WORD_BITS
        while word != 0:
            counts[unsigned(begin + lowest_bit(word))] += 1
            word &= word - 1


@_within
def _is_possible(
    unit: int, searches: Searches, counts: NDArray[np.int32]
) -> bool:  # pragma: no cover (compiled)
    """Return whether a molecule has all paths of a pattern, often enough."""
    units, conditions = searches.units, searches.conditions
    for c in range(
        units[unsigned(unit), FIRST_CONDITION], units[unsigned(unit + 1), FIRST_CONDITION]
    ):
        if counts[unsigned(conditions[unsigned(c), 0])] < conditions[unsigned(c), 1]:
            return False
    return True


@_inner
def _fill_true(
    row: int, question: int, searches: Searches, target: _Target
) -> None:  # pragma: no cover (compiled)
    """Fill in which atoms fit a question by its terms: one choice of each clause."""
    composed, terms, fits = searches.composed, searches.terms, target.fits
    n = len(target.is_used)
    for w in range(fits.shape[1]):
        whole = ZERO - 1
        if n < WORD_BITS * (w + 1):
            whole = (_ONE << max(0, n - WORD_BITS * w)) - 1
        found, clause, choice = whole, ZERO, whole
        for t in range(composed[row, FIRST_TERM], composed[row + 1, FIRST_TERM]):
            asked = fits[terms[t, 0], w]
            choice &= asked if terms[t, 1] != 0 else ~asked
            if terms[t, 2] > 0:
                clause |= choice
                choice = whole
            if terms[t, 2] == 2:
                found &= clause
                clause = ZERO
        fits[question, w] = found


@_within
def _fill_star(star: int, searches: Searches, target: _Target) -> None:  # pragma: no cover
    """Fill in which atoms fit the middle of a star, and have enough neighbours for each arm."""
    stars, arms, found = searches.stars, searches.arms, target.stars
    target.has_star[star] = 1
    for w in range(found.shape[1]):
        found[star, w] = target.fits[stars[star, QUESTION], w]
        left = found[star, w]
        while left != 0:
            a = WORD_BITS * w + lowest_bit(left)
            arm = stars[star, FIRST_ARM]
            fits = True
            while fits and arm < stars[star + 1, FIRST_ARM]:
                n = ZERO
                at, asked = unsigned(a), unsigned(arms[unsigned(arm), 0])
                bond = unsigned(arms[unsigned(arm), 1])
                for v in range(found.shape[1]):
                    both = target.beside[at, bond, unsigned(v)] & target.fits[asked, unsigned(v)]
                    n += np.int64(popcount(np.uint64(both)))  # type: ignore[assignment]
                fits = n >= arms[unsigned(arm), 2]
                arm += 1
            if not fits:
                found[star, w] ^= left & -left
            left &= left - 1


@_within
def _search(
    unit: int, question: int, searches: Searches, target: _Target
) -> int:  # pragma: no cover (compiled)
    """Search for a pattern, or for an environment of each atom: which have it is filled in then."""
    least = searches.units[unit, LEAST]
    begin, end = searches.units[unit, FIRST_ATOM], searches.units[unit + 1, FIRST_ATOM]
    for p in range(begin, end):
        if not target.has_star[searches.atoms[p, STAR]]:
            _fill_star(searches.atoms[p, STAR], searches, target)
    n_matches, n_steps = ZERO, ZERO
    is_round = searches.units[unit, IS_ROUND] != 0
    used = target.sets[_USED]
    for w in range(len(used)):
        used[w] = 0
    for w in range(len(used)):
        left = target.stars[searches.atoms[begin, STAR], w]
        while left != 0 and n_matches < least:
            root = WORD_BITS * w + lowest_bit(left)
            target.found[0, 0] = root
            _add(root, used)
            n_matches, n_steps = _grow(unit, searches, target, n_matches, n_steps)
            if question >= 0:
                if n_matches:
                    _add(root, target.fits[question])
                n_matches = ZERO
            # Of a ring of equal atoms, one that is in none need not be tried again.
            if not is_round or question >= 0 or least > 1:
                used[w] ^= left & -left
            left &= left - 1
    if n_matches < least and n_steps > _MOST_STEPS:
        return UNSETTLED
    return 1 if n_matches >= least else 0


@_within
def _fill_waiting(
    p: int, depth: int, searches: Searches, target: _Target
) -> None:  # pragma: no cover (compiled)
    """Fill in which atoms may have the place of a pattern's next atom."""
    atoms, found, waiting = searches.atoms, target.found, target.waiting
    at = unsigned(p)
    star, bond = unsigned(atoms[at, STAR]), unsigned(atoms[at, BOND])
    middle, far = found[unsigned(atoms[at, BESIDE]), 0], unsigned(atoms[at, FROM_FIRST])
    for w in range(waiting.shape[1]):
        word = unsigned(w)
        may_be = target.beside[unsigned(middle), bond, word] & target.stars[star, word]
        may_be &= ~target.sets[_USED, word] & target.near[unsigned(found[0, 0]), far, word]
        for k in range(atoms[at, FIRST_CLOSURE], atoms[unsigned(p + 1), FIRST_CLOSURE]):
            other = unsigned(found[unsigned(searches.closures[unsigned(k), 0]), 0])
            may_be &= target.beside[other, unsigned(searches.closures[unsigned(k), 1]), word]
        waiting[unsigned(depth), word] = may_be


@_within
def _grow(
    unit: int, searches: Searches, target: _Target, n_matches: int, n_steps: int
) -> tuple[int, int]:  # pragma: no cover (compiled)
    """Find all further atoms of a pattern whose first one has its place, until there is enough.

    Returns how many matches there are, with those of other first atoms, and steps were taken.
    """
    begin, n = searches.units[unit, FIRST_ATOM], searches.units[unit, N_ATOMS]
    least = searches.units[unit, LEAST]
    waiting, used = target.waiting, target.sets[_USED]
    depth = ZERO + 1
    if n > 1:
        _fill_waiting(begin + depth, depth, searches, target)
    else:
        n_matches += _add_set(target, n_matches, least)
    while depth > 0 and depth < n and n_matches < least and n_steps <= _MOST_STEPS:
        w = ZERO
        at = unsigned(depth)
        while w < len(used) and waiting[at, unsigned(w)] == 0:
            w += 1
        if w == len(used):
            depth -= 1
            if depth > 0:
                a = ZERO + target.found[unsigned(depth), 0]
                used[unsigned(a >> 6)] ^= _ONE << (a & 63)
            continue
        left = waiting[at, unsigned(w)]
        a = WORD_BITS * w + lowest_bit(left)
        waiting[at, unsigned(w)] = left & (left - 1)
        n_steps += 1
        target.found[at, 0] = a
        _add(a, used)
        if depth + 1 < n:
            depth += 1
            _fill_waiting(begin + depth, depth, searches, target)
        else:
            n_matches += _add_set(target, n_matches, least)
            used[unsigned(a >> 6)] ^= _ONE << (a & 63)
    for k in range(1, depth if n > 1 else 0):
        a = ZERO + target.found[unsigned(k), 0]
        used[unsigned(a >> 6)] ^= _ONE << (a & 63)
    return n_matches, n_steps


@_within
def _add_set(target: _Target, n_matches: int, least: int) -> int:  # pragma: no cover (compiled)
    """Keep the atoms of a match; return 1 if they are those of no earlier one, else 0."""
    sets = target.sets
    for row in range(1, n_matches + 1 if least > 1 else 1):
        is_same = True
        for w in range(sets.shape[1]):
            is_same &= sets[row, w] == sets[_USED, w]
        if is_same:
            return 0
    for w in range(sets.shape[1]):
        sets[n_matches + 1, w] = sets[_USED, w]
    return 1


@_within
def _search_all(
    atoms: NDArray[np.int32],
    bonds: NDArray[np.int32],
    answers: Answers,
    searches: Searches,
    target: _Target,
    found: NDArray[np.uint8],
) -> None:  # pragma: no cover (compiled)
    """Search a molecule for all patterns."""
    _fill_neighbours(bonds, target.starts, target.around)
    _fill_sets(atoms, answers, target)
    _count_all(atoms, answers, target)
    n_questions = answers.atom_fits.shape[1]
    # In the order in which they ask for each other. Where one is not settled, no pattern is.
    is_settled = True
    for row in range(len(searches.composed) - 1):
        unit = ZERO + searches.composed[row, ENVIRONMENT]
        if unit < 0:
            _fill_true(row, n_questions + row, searches, target)
        elif _is_possible(unit, searches, target.counts):
            outcome = _search(unit, n_questions + row, searches, target)
            is_settled &= outcome != UNSETTLED
    for unit in range(searches.n_patterns):
        size = searches.units[unit, N_ATOMS]
        if not _is_possible(unit, searches, target.counts):
            found[unit] = 0
        elif size == 0:
            found[unit] = 1
        elif size < 0 or not is_settled:
            found[unit] = UNSETTLED
        else:
            found[unit] = _search(unit, _NONE, searches, target)


@compiled_with(_nrt=False)
def _search_each(
    first_atoms: NDArray[np.int64],
    first_bonds: NDArray[np.int64],
    atoms: NDArray[np.int32],
    bonds: NDArray[np.int32],
    answers: Answers,
    searches: Searches,
    target: _Target,
    found: NDArray[np.uint8],
) -> None:  # pragma: no cover (compiled)
    """Search molecules, one after the other, for all patterns."""
    for m in range(len(found)):
        n = first_atoms[m + 1] - first_atoms[m]
        for k in range(n + 1):
            target.starts[k] = 0
        for k in range(len(target.counts)):
            target.counts[k] = 0
        for k in range(len(target.has_star)):
            target.has_star[k] = 0
        _search_all(
            atoms[first_atoms[m] : first_atoms[m + 1]],
            bonds[first_bonds[m] : first_bonds[m + 1]],
            answers,
            searches,
            _Target(
                target.starts[: n + 1],
                target.around,
                target.path,
                target.counts,
                target.found,
                target.is_used[:n],
                target.fits,
                target.beside,
                target.near,
                target.stars,
                target.has_star,
                target.waiting,
                target.sets,
            ),
            found[m],
        )
