"""Patterns searched for in a molecule, atom by atom, in compiled code."""

from __future__ import annotations

from typing import NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from specvae.molecules.graph import ZERO, compiled_with, inner_with
from specvae.molecules.lanes import lowest_bit
from specvae.molecules.substructure import (
    BESIDE,
    BOND,
    ENVIRONMENT,
    FIRST_ARM,
    FIRST_ATOM,
    FIRST_CLOSURE,
    FIRST_CONDITION,
    FIRST_TERM,
    LEAST,
    LONGEST_PATH,
    MOST_ATOMS,
    N_ATOMS,
    QUESTION,
    STAR,
    UNSETTLED,
    WORD_BITS,
    Answers,
    Searches,
)

_MOST_STEPS = 20_000  # of a search; beyond, it is not settled
_FITS_NOT, _FITS = 1, 2
# Compiled functions are compiled anew for a literal -1.
_NONE = cast("int", np.int64(-1))

# They make no arrays and keep none, so that references need not be counted: that takes a sixth of
# the search, and much of the compiler's time.
_inner = inner_with(_nrt=False)


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
    fits
        Whether each atom fits each question, uint8 (n_atoms, n_questions).
    stars
        Whether each atom fits each star: 0 not known yet, 1 no, 2 yes; uint8 (n_atoms, n_stars).
    found
        Of each atom of a pattern that is found the place in the molecule, and the neighbour that is
        tried next, int32 (`MOST_ATOMS`, 2).
    is_used
        Which atoms are found, uint8 (n_atoms,).
    sets
        The atoms of each match, uint8 (n_matches, n_atoms).
    """

    starts: NDArray[np.int32]
    around: NDArray[np.int32]
    path: NDArray[np.int32]
    counts: NDArray[np.int32]
    fits: NDArray[np.uint8]
    stars: NDArray[np.uint8]
    found: NDArray[np.int32]
    is_used: NDArray[np.uint8]
    sets: NDArray[np.uint8]


def search_all(
    atoms: NDArray[np.int32],
    bonds: NDArray[np.int32],
    answers: Answers,
    searches: Searches,
    found: NDArray[np.uint8],
) -> None:
    """Say of each pattern whether a molecule has it: 0 no, 1 yes, 2 not settled.

    Takes the kinds of its atoms, and its bonds as `specvae.molecules.topology.Topology` has them.
    """
    n, n_words = len(atoms), int(answers.places[:, 1].sum())
    n_questions = answers.atom_fits.shape[1] + len(searches.composed) - 1
    # Made here: each kind of array that compiled code makes takes as long to compile as a function.
    target = _Target(
        np.zeros(n + 1, np.int32),
        np.zeros((2 * len(bonds), 2), np.int32),
        np.zeros(2 * LONGEST_PATH, np.int32),
        np.zeros(n_words * WORD_BITS, np.int32),
        np.zeros((n, n_questions), np.uint8),
        np.zeros((n, len(searches.stars) - 1), np.uint8),
        np.zeros((MOST_ATOMS, 2), np.int32),
        np.zeros(n, np.uint8),
        np.zeros((searches.most, n), np.uint8),
    )
    _search_all(atoms, bonds, answers, searches, target, found)


@compiled_with(_nrt=False)
def _search_all(  # noqa: C901 (calls of functions that take many arrays are dear)
    atoms: NDArray[np.int32],
    bonds: NDArray[np.int32],
    answers: Answers,
    searches: Searches,
    target: _Target,
    found: NDArray[np.uint8],
) -> None:  # pragma: no cover (compiled)
    _fill_neighbours(bonds, target.starts, target.around)
    _count_all(atoms, answers, target)
    n_questions = answers.atom_fits.shape[1]
    for a in range(len(atoms)):
        for q in range(n_questions):
            target.fits[a, q] = answers.atom_fits[atoms[a], q]
    bond_fits = answers.bond_fits
    # In the order in which they ask for each other. Where one is not settled, no pattern is.
    is_settled = True
    for row in range(len(searches.composed) - 1):
        unit = ZERO + searches.composed[row, ENVIRONMENT]
        if unit >= 0 and _is_possible(unit, searches, target.counts):
            outcome = _search(unit, n_questions + row, searches, bond_fits, target)
            is_settled &= outcome != UNSETTLED
        elif unit < 0:
            for a in range(len(atoms)):
                target.fits[a, n_questions + row] = _is_true(row, a, searches, target.fits)
    for unit in range(searches.n_patterns):
        size = searches.units[unit, N_ATOMS]
        if not _is_possible(unit, searches, target.counts):
            found[unit] = 0
        elif size == 0:
            found[unit] = 1
        elif size < 0 or not is_settled:
            found[unit] = UNSETTLED
        else:
            found[unit] = _search(unit, _NONE, searches, bond_fits, target)


@_inner
def _search(
    unit: int,
    column: int,
    searches: Searches,
    bond_fits: NDArray[np.uint8],
    target: _Target,
) -> int:  # pragma: no cover (compiled)
    """Search for a pattern, or for an environment of each atom, whose column is filled in then."""
    least = searches.units[unit, LEAST]
    star = searches.atoms[searches.units[unit, FIRST_ATOM], STAR]
    n_matches, n_steps = ZERO, ZERO
    for root in range(len(target.is_used)):
        if n_matches < least and target.stars[root, star] == 0:
            _ask_star(root, star, searches, bond_fits, target)
        if n_matches < least and target.stars[root, star] == _FITS:
            target.found[0, 0] = root
            target.is_used[root] = 1
            n_matches, n_steps = _grow(unit, searches, bond_fits, target, n_matches, n_steps)
            if column >= 0:
                target.fits[root, column] = n_matches
                n_matches = ZERO
    if n_matches < least and n_steps > _MOST_STEPS:
        return UNSETTLED
    return 1 if n_matches >= least else 0


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


@_inner
def _is_possible(
    unit: int, searches: Searches, counts: NDArray[np.int32]
) -> bool:  # pragma: no cover (compiled)
    """Return whether a molecule has all paths of a pattern, often enough."""
    units, conditions = searches.units, searches.conditions
    for c in range(units[unit, FIRST_CONDITION], units[unit + 1, FIRST_CONDITION]):
        if counts[conditions[c, 0]] < conditions[c, 1]:
            return False
    return True


@_inner
def _is_true(
    row: int, a: int, searches: Searches, fits: NDArray[np.uint8]
) -> bool:  # pragma: no cover (compiled)
    """Return whether an atom fits a question by its terms: one choice of each clause."""
    composed, terms = searches.composed, searches.terms
    is_clause_true = False
    is_choice_true = True
    for t in range(composed[row, FIRST_TERM], composed[row + 1, FIRST_TERM]):
        if (fits[a, terms[t, 0]] != 0) != (terms[t, 1] != 0):
            is_choice_true = False
        if terms[t, 2] > 0:
            is_clause_true = is_clause_true or is_choice_true
            is_choice_true = True
        if terms[t, 2] == 2:
            if not is_clause_true:
                return False
            is_clause_true = False
    return True


@_inner
def _grow(  # noqa: C901 (see above)
    unit: int,
    searches: Searches,
    bond_fits: NDArray[np.uint8],
    target: _Target,
    n_matches: int,
    n_steps: int,
) -> tuple[int, int]:  # pragma: no cover (compiled)
    """Find all further atoms of a pattern whose first one has its place, until there is enough.

    Returns how many matches there are, with those of other first atoms, and steps were taken.
    """
    begin, n = searches.units[unit, FIRST_ATOM], searches.units[unit, N_ATOMS]
    least = searches.units[unit, LEAST]
    atoms, found = searches.atoms, target.found
    depth = 1
    if n > 1:
        found[1, 1] = target.starts[found[0, 0]]
    while depth > 0 and n_matches < least and n_steps <= _MOST_STEPS:
        p = begin + depth
        fits = False
        if depth == n:
            n_matches += _add_set(n, target, n_matches, least)
        else:
            star, bond = atoms[p, STAR], atoms[p, BOND]
            end = target.starts[found[atoms[p, BESIDE], 0] + 1]
            while found[depth, 1] < end and not fits:
                a = ZERO + target.around[found[depth, 1], 0]
                kind = target.around[found[depth, 1], 1]
                found[depth, 1] += 1
                n_steps += 1
                if target.is_used[a] or not bond_fits[kind, bond]:
                    continue
                if target.stars[a, star] == 0:
                    _ask_star(a, star, searches, bond_fits, target)
                fits = target.stars[a, star] == _FITS and _closes(p, a, searches, bond_fits, target)
                if fits:
                    found[depth, 0] = a
                    target.is_used[a] = 1
        if fits:
            depth += 1
            if depth < n:
                found[depth, 1] = target.starts[found[atoms[p + 1, BESIDE], 0]]
        else:
            depth -= 1
            target.is_used[found[depth, 0]] = 0
    for i in range(depth):
        target.is_used[found[i, 0]] = 0
    return n_matches, n_steps


@_inner
def _closes(
    p: int, a: int, searches: Searches, bond_fits: NDArray[np.uint8], target: _Target
) -> bool:  # pragma: no cover (compiled)
    """Return whether an atom has the further bonds of a pattern's atom to earlier ones."""
    for k in range(searches.atoms[p, FIRST_CLOSURE], searches.atoms[p + 1, FIRST_CLOSURE]):
        is_closed = False
        for m in range(target.starts[a], target.starts[a + 1]):
            if target.around[m, 0] == target.found[searches.closures[k, 0], 0]:
                is_closed = bond_fits[target.around[m, 1], searches.closures[k, 1]] != 0
        if not is_closed:
            return False
    return True


@_inner
def _ask_star(
    a: int, star: int, searches: Searches, bond_fits: NDArray[np.uint8], target: _Target
) -> None:  # pragma: no cover (compiled)
    """Find out whether an atom fits the middle of a star, and has enough neighbours for each arm.

    To call a function with so many arrays takes longer than to look up what is known.
    """
    stars, arms = searches.stars, searches.arms
    fits = target.fits[a, stars[star, QUESTION]] != 0
    arm = stars[star, FIRST_ARM]
    while fits and arm < stars[star + 1, FIRST_ARM]:
        lacking = arms[arm, 2]
        for m in range(target.starts[a], target.starts[a + 1]):
            if target.fits[target.around[m, 0], arms[arm, 0]] != 0:
                lacking -= bond_fits[target.around[m, 1], arms[arm, 1]] != 0
        fits = lacking <= 0
        arm += 1
    target.stars[a, star] = _FITS if fits else _FITS_NOT


@_inner
def _add_set(
    n: int, target: _Target, n_matches: int, least: int
) -> int:  # pragma: no cover (compiled)
    """Keep the atoms of a match; return 1 if they are those of no earlier one, else 0."""
    if least == 1:
        return 1
    for row in range(n_matches):
        n_same = 0
        for i in range(n):
            n_same += target.sets[row, target.found[i, 0]]
        if n_same == n:
            return 0
    for a in range(target.sets.shape[1]):
        target.sets[n_matches, a] = 0
    for i in range(n):
        target.sets[n_matches, target.found[i, 0]] = 1
    return 1
