"""Patterns searched for in a molecule, atom by atom, in compiled code."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from specvae.molecules.graph import compiled, inner
from specvae.molecules.substructure import MOST_ATOMS, UNSETTLED, Searches, Target

_MOST_STEPS = 20_000  # of a search; beyond, it is not settled


@compiled
def search_all(
    wanted: NDArray[np.int64], searches: Searches, target: Target, found: NDArray[np.uint8]
) -> None:  # pragma: no cover (compiled)
    """Say of each wanted pattern whether the molecule has it: 0 no, 1 yes, 2 not settled."""
    place = np.zeros(MOST_ATOMS, np.int32)  # of each atom of a pattern, in the molecule
    following = np.zeros(MOST_ATOMS, np.int32)  # neighbour that is tried next
    is_used = np.zeros(len(target.atom_fits), np.bool_)
    for row in range(len(wanted)):
        begin, n = searches.first[wanted[row]], searches.n_atoms[wanted[row]]
        answer, n_steps = 0, 0
        for root in range(len(is_used)):
            if answer == 0 and target.atom_fits[root, searches.query[begin]]:
                place[0] = root
                is_used[root] = True
                answer, n_steps = _grow(
                    begin, n, searches, target, place, following, is_used, n_steps
                )
        found[row] = answer


@inner
def _grow(
    begin: int,
    n: int,
    searches: Searches,
    target: Target,
    place: NDArray[np.int32],
    following: NDArray[np.int32],
    is_used: NDArray[np.bool_],
    n_steps: int,
) -> tuple[int, int]:  # pragma: no cover (compiled)
    """Find all further atoms of a pattern whose first one has its place; answer as above."""
    depth = 1
    following[1] = target.starts[place[0]]
    while 0 < depth < n and n_steps <= _MOST_STEPS:
        p = begin + depth
        end = target.starts[place[searches.beside[p]] + 1]
        fits = False
        while following[depth] < end and not fits:
            a = target.around[following[depth], 0]
            b = target.around[following[depth], 1]
            following[depth] += 1
            n_steps += 1
            fits = not is_used[a] and _fits(p, a, b, searches, target, place)
            if fits:
                place[depth] = a
                is_used[a] = True
        if fits:
            depth += 1
            if depth < n:
                following[depth] = target.starts[place[searches.beside[p + 1]]]
        else:
            depth -= 1
            is_used[place[depth]] = False
    answer = 1 if depth == n else (0 if depth == 0 else UNSETTLED)
    for i in range(depth):
        is_used[place[i]] = False
    return answer, n_steps


@inner
def _fits(
    p: int, a: int, b: int, searches: Searches, target: Target, place: NDArray[np.int32]
) -> bool:  # pragma: no cover (compiled)
    """Return whether an atom, reached by a bond, fits one of a pattern with all its bonds."""
    fits = target.atom_fits[a, searches.query[p]] and target.bond_fits[b, searches.bond[p]]
    k = searches.closing[p]
    while fits and k < searches.closing[p + 1]:
        fits = False
        for m in range(target.starts[a], target.starts[a + 1]):
            if target.around[m, 0] == place[searches.closures[k, 0]]:
                fits = target.bond_fits[target.around[m, 1], searches.closures[k, 1]]
        k += 1
    return bool(fits)
