"""Patterns searched for in a molecule, atom by atom, in compiled code."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from specvae.molecules.graph import compiled, inner
from specvae.molecules.lanes import lowest_bit
from specvae.molecules.substructure import (
    LONGEST_PATH,
    MOST_ATOMS,
    UNSETTLED,
    WORD_BITS,
    Answers,
    Searches,
)

_MOST_STEPS = 20_000  # of a search; beyond, it is not settled
_FITS_NOT, _FITS = 1, 2


class _Target(NamedTuple):
    """A molecule that is searched, and room for a search.

    Parameters
    ----------
    starts
        Where the neighbours of each atom begin in the following, int32 (n_atoms + 1,).
    around
        Neighbours and the kinds of the bonds to them, int32 (2 n_bonds, 2).
    counts
        How many paths fit each path of patterns, int32 (n_features,).
    fits
        Whether each atom fits each question, uint8 (n_atoms, n_questions).
    bond_fits
        Whether each kind of bonds does.
    stars
        Whether each atom fits each star: 0 not known yet, 1 no, 2 yes; uint8 (n_atoms, n_stars).
    place
        Of each atom of a pattern that is found, in the molecule, int32 (`MOST_ATOMS`,).
    following
        The neighbour that is tried next, int32 (`MOST_ATOMS`,).
    is_used
        Which atoms are found, bool (n_atoms,).
    sets
        The atoms of each match, bool (n_matches, n_atoms).
    """

    starts: NDArray[np.int32]
    around: NDArray[np.int32]
    counts: NDArray[np.int32]
    fits: NDArray[np.uint8]
    bond_fits: NDArray[np.uint8]
    stars: NDArray[np.uint8]
    place: NDArray[np.int32]
    following: NDArray[np.int32]
    is_used: NDArray[np.bool_]
    sets: NDArray[np.bool_]


@compiled
def search_all(  # noqa: C901 (calls of compiled functions that hand on many arrays are dear)
    atoms: NDArray[np.int32],
    bonds: NDArray[np.int32],
    answers: Answers,
    searches: Searches,
    found: NDArray[np.uint8],
) -> None:  # pragma: no cover (compiled)
    """Say of each pattern whether a molecule has it: 0 no, 1 yes, 2 not settled.

    Takes the kinds of its atoms, and its bonds as `specvae.molecules.topology.Topology` has them.
    """
    n, n_composed = len(atoms), len(searches.environment)
    n_questions, n_words = answers.atom_fits.shape[1], 0
    for length in range(1, LONGEST_PATH + 1):
        n_words += answers.places[length, 1]
    target = _Target(
        np.zeros(n + 1, np.int32),
        np.zeros((2 * len(bonds), 2), np.int32),
        np.zeros(n_words * WORD_BITS, np.int32),
        np.zeros((n, n_questions + n_composed), np.uint8),
        answers.bond_fits,
        np.zeros((n, len(searches.query)), np.uint8),
        np.zeros(MOST_ATOMS, np.int32),
        np.zeros(MOST_ATOMS, np.int32),
        np.zeros(n, np.bool_),
        np.zeros((searches.most, n), np.bool_),
    )
    _fill_neighbours(bonds, target.starts, target.around)
    _count_all(atoms, target.starts, target.around, answers, target.counts)
    for a in range(n):
        for q in range(n_questions):
            target.fits[a, q] = answers.atom_fits[atoms[a], q]
    first_condition, conditions = searches.first_condition, searches.conditions
    # In the order in which they ask for each other. Where one is not settled, no pattern is.
    is_settled = True
    for row in range(n_composed):
        unit = searches.environment[row]
        if unit >= 0 and _is_possible(unit, first_condition, conditions, target.counts):
            is_settled &= _search(unit, n_questions + row, searches, target) != UNSETTLED
        elif unit < 0:
            for a in range(n):
                target.fits[a, n_questions + row] = _is_true(row, a, searches, target.fits)
    for unit in range(searches.n_patterns):
        size = searches.n_atoms[unit]
        if not _is_possible(unit, first_condition, conditions, target.counts):
            found[unit] = 0
        elif size == 0:
            found[unit] = 1
        elif size < 0 or not is_settled:
            found[unit] = UNSETTLED
        else:
            found[unit] = _search(unit, -1, searches, target)


@inner
def _search(
    unit: int, column: int, searches: Searches, target: _Target
) -> int:  # pragma: no cover (compiled)
    """Search for a pattern, or for an environment of each atom, whose column is filled in then."""
    least = searches.least[unit]
    star = searches.star[searches.first[unit]]
    n_matches, n_steps = 0, 0
    for root in range(len(target.is_used)):
        if n_matches < least and target.stars[root, star] == 0:
            _ask_star(root, star, searches, target)
        if n_matches < least and target.stars[root, star] == _FITS:
            target.place[0] = root
            target.is_used[root] = True
            n_matches, n_steps = _grow(unit, searches, target, n_matches, n_steps)
            if column >= 0:
                target.fits[root, column] = n_matches
                n_matches = 0
    if n_matches < least and n_steps > _MOST_STEPS:
        return UNSETTLED
    return 1 if n_matches >= least else 0


@inner
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


@inner
def _count_all(
    atoms: NDArray[np.int32],
    starts: NDArray[np.int32],
    around: NDArray[np.int32],
    answers: Answers,
    counts: NDArray[np.int32],
) -> None:  # pragma: no cover (compiled)
    """Count for each path of patterns the paths of a molecule that fit it."""
    path = np.zeros(2 * LONGEST_PATH, np.int32)  # kinds of atom, bond, atom, bond, ...
    for j in range(len(atoms)):
        path[0] = atoms[j]
        _count(1, path, answers, counts)
        for y in range(starts[j], starts[j + 1]):
            k = around[y, 0]
            for x in range(starts[j], y):
                path[0], path[1] = atoms[around[x, 0]], around[x, 1]
                path[2], path[3], path[4] = atoms[j], around[y, 1], atoms[k]
                _count(3, path, answers, counts)
            if j > k:
                continue
            path[0], path[1], path[2] = atoms[j], around[y, 1], atoms[k]
            _count(2, path, answers, counts)
            for x in range(starts[j], starts[j + 1]):
                i = around[x, 0]
                for z in range(starts[k], starts[k + 1]):
                    m = around[z, 0]
                    if i != k and m != j and m != i:
                        path[0], path[1], path[2] = atoms[i], around[x, 1], atoms[j]
                        path[3], path[4] = around[y, 1], atoms[k]
                        path[5], path[6] = around[z, 1], atoms[m]
                        _count(4, path, answers, counts)


@inner
def _count(
    length: int, path: NDArray[np.int32], answers: Answers, counts: NDArray[np.int32]
) -> None:  # pragma: no cover (compiled)
    """Add one to all that a path fits, in one direction or the other."""
    n_words = answers.places[length, 1]
    last = length - 1
    for w in range(n_words):
        forth = back = np.int64(-1)
        at = answers.places[length, 2] + w
        for k in range(length):
            forth &= answers.atom_rows[path[2 * k], at]
            back &= answers.atom_rows[path[2 * (last - k)], at]
            at += n_words
        at = answers.places[length, 3] + w
        for k in range(last):
            forth &= answers.bond_rows[path[2 * k + 1], at]
            back &= answers.bond_rows[path[2 * (last - k) - 1], at]
            at += n_words
        word = forth | back
        begin = answers.places[length, 0] + w * WORD_BITS
        while word != 0:
            counts[begin + lowest_bit(word)] += 1
            word &= word - 1


@inner
def _is_possible(
    unit: int,
    first_condition: NDArray[np.int32],
    conditions: NDArray[np.int32],
    counts: NDArray[np.int32],
) -> bool:  # pragma: no cover (compiled)
    """Return whether a molecule has all paths of a pattern, often enough."""
    for c in range(first_condition[unit], first_condition[unit + 1]):
        if counts[conditions[c, 0]] < conditions[c, 1]:
            return False
    return True


@inner
def _is_true(
    row: int, a: int, searches: Searches, fits: NDArray[np.uint8]
) -> bool:  # pragma: no cover (compiled)
    """Return whether an atom fits a question by its terms: one choice of each clause."""
    is_clause_true = False
    is_choice_true = True
    for t in range(searches.first_term[row], searches.first_term[row + 1]):
        if (fits[a, searches.term_query[t]] != 0) != (searches.term[t, 0] != 0):
            is_choice_true = False
        if searches.term[t, 1] > 0:
            is_clause_true = is_clause_true or is_choice_true
            is_choice_true = True
        if searches.term[t, 1] == 2:
            if not is_clause_true:
                return False
            is_clause_true = False
    return True


@inner
def _grow(  # noqa: C901 (see above)
    unit: int, searches: Searches, target: _Target, n_matches: int, n_steps: int
) -> tuple[int, int]:  # pragma: no cover (compiled)
    """Find all further atoms of a pattern whose first one has its place, until there is enough.

    Returns how many matches there are, with those of other first atoms, and steps were taken.
    """
    begin, n, least = searches.first[unit], searches.n_atoms[unit], searches.least[unit]
    depth = 1
    if n > 1:
        target.following[1] = target.starts[target.place[0]]
    while depth > 0 and n_matches < least and n_steps <= _MOST_STEPS:
        p = begin + depth
        fits = False
        if depth == n:
            n_matches += _add_set(n, target, n_matches, least)
        else:
            end = target.starts[target.place[searches.beside[p]] + 1]
            while target.following[depth] < end and not fits:
                a = target.around[target.following[depth], 0]
                kind = target.around[target.following[depth], 1]
                target.following[depth] += 1
                n_steps += 1
                if target.is_used[a] or not target.bond_fits[kind, searches.bond[p]]:
                    continue
                if target.stars[a, searches.star[p]] == 0:
                    _ask_star(a, searches.star[p], searches, target)
                fits = target.stars[a, searches.star[p]] == _FITS
                if fits and searches.closing[p] < searches.closing[p + 1]:
                    fits = _closes(p, a, searches, target)
                if fits:
                    target.place[depth] = a
                    target.is_used[a] = True
        if fits:
            depth += 1
            if depth < n:
                target.following[depth] = target.starts[target.place[searches.beside[p + 1]]]
        else:
            depth -= 1
            target.is_used[target.place[depth]] = False
    for i in range(depth):
        target.is_used[target.place[i]] = False
    return n_matches, n_steps


@inner
def _closes(
    p: int, a: int, searches: Searches, target: _Target
) -> bool:  # pragma: no cover (compiled)
    """Return whether an atom has the further bonds of a pattern's atom to earlier ones."""
    for k in range(searches.closing[p], searches.closing[p + 1]):
        is_closed = False
        for m in range(target.starts[a], target.starts[a + 1]):
            if target.around[m, 0] == target.place[searches.closures[k, 0]]:
                is_closed = target.bond_fits[target.around[m, 1], searches.closures[k, 1]] != 0
        if not is_closed:
            return False
    return True


@inner
def _ask_star(
    a: int, star: int, searches: Searches, target: _Target
) -> None:  # pragma: no cover (compiled)
    """Find out whether an atom fits the middle of a star, and has enough neighbours for each arm.

    To call a function with so many arrays takes longer than to look up what is known.
    """
    fits = target.fits[a, searches.query[star]] != 0
    arm = searches.first_arm[star]
    while fits and arm < searches.first_arm[star + 1]:
        lacking = searches.arms[arm, 2]
        for m in range(target.starts[a], target.starts[a + 1]):
            if target.fits[target.around[m, 0], searches.arms[arm, 0]] != 0:
                lacking -= target.bond_fits[target.around[m, 1], searches.arms[arm, 1]] != 0
        fits = lacking <= 0
        arm += 1
    target.stars[a, star] = _FITS if fits else _FITS_NOT


@inner
def _add_set(
    n: int, target: _Target, n_matches: int, least: int
) -> int:  # pragma: no cover (compiled)
    """Keep the atoms of a match; return 1 if they are those of no earlier one, else 0."""
    if least == 1:
        return 1
    for row in range(n_matches):
        n_same = 0
        for i in range(n):
            n_same += target.sets[row, target.place[i]]
        if n_same == n:
            return 0
    for a in range(target.sets.shape[1]):
        target.sets[n_matches, a] = False
    for i in range(n):
        target.sets[n_matches, target.place[i]] = True
    return 1
