"""Patterns as searches: orders in which their atoms are found, and what is asked, as arrays."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from rdkit import Chem

from specvae.molecules.smarts import (
    LOCAL_ATOM,
    LOCAL_BOND,
    Neighbours,
    Path,
    clauses_of,
    local_part,
    neighbours_in,
    pattern_paths,
    split_outside,
    texts_of_bonds,
)

MOST_ATOMS = 32
"""Of a pattern that is searched for."""

UNSETTLED = 2
"""In place of whether a molecule has a pattern: RDKit is to be asked."""

DECIDED, _NOT_SEARCHED = 0, -1
"""In place of the number of a pattern's atoms: where paths decide, where RDKit must search."""

WORD_BITS = 64

# Columns of the tables of `Searches`.
N_ATOMS, LEAST, IS_ROUND, FIRST_ATOM, FIRST_CONDITION = range(5)
STAR, BESIDE, BOND, FROM_FIRST, FIRST_CLOSURE = range(5)
QUESTION, FIRST_ARM = range(2)
ENVIRONMENT, FIRST_TERM = range(2)

# First atoms of a search, in this order: those that fewest atoms of a molecule fit.
_COMMON_ATOMS = ("[#6]", "C", "c", "*", "[!#1]")


class Answers(NamedTuple):
    """What each kind of atoms and of bonds fits.

    Parameters
    ----------
    places
        By length of paths in atoms: number of the first path, words for the paths of this length,
        where the words for the first atom and for the first bond begin; int64
        (`LONGEST_PATH` + 1, 4).
    atom_fits, bond_fits
        Whether it fits each question, uint8 (n_kinds, n_questions).
    atom_rows, bond_rows
        Which paths it fits at each of their places, as bits, int64 (n_kinds, n_words).
    """

    places: NDArray[np.int64]
    atom_fits: NDArray[np.uint8]
    atom_rows: NDArray[np.int64]
    bond_fits: NDArray[np.uint8]
    bond_rows: NDArray[np.int64]


class Searches(NamedTuple):
    """Patterns, then environments, as orders in which their atoms are found.

    A column `FIRST_...` says where a row's part of the next table begins. Such a table has one row
    more, with the end of the last part. Few tables, as each is handed on in several registers.

    Parameters
    ----------
    n_patterns
        How many are patterns.
    most
        How many matches are wanted of one at most.
    units
        `N_ATOMS` of each pattern and environment, 0 where paths decide, -1 where RDKit must search;
        `LEAST`, how many matches are wanted; `IS_ROUND`, whether it is a ring of equal atoms and
        bonds; `FIRST_ATOM`; `FIRST_CONDITION`; int32 (n + 1, 5).
    conditions
        The number of a path, and how many there must be, int32 (n_conditions, 2).
    atoms
        The `STAR` of each atom: what it and its neighbours must fit; `BESIDE`, the place in the
        order of an earlier atom that it is bound to; `BOND`, what the bond must fit; `FROM_FIRST`,
        how many bonds it is away from the first atom; `FIRST_CLOSURE`, of its bonds to other
        earlier atoms; int32 (n_all_atoms + 1, 5).
    closures
        Of each such bond: the earlier atom's place, what the bond must fit, int32 (n_closures, 2).
    stars
        `QUESTION`, what the atom in the middle of each star must fit; `FIRST_ARM`; int32
        (n_stars + 1, 2).
    arms
        What the atom of an arm and the bond to it must fit, and how many such arms there must be,
        int32 (n_arms, 3).
    composed
        Of each question that is composed of others: `ENVIRONMENT`, the search that answers it, -1
        where terms do; `FIRST_TERM`; int32 (n_composed + 1, 2).
    terms
        What each asks for, whether it is wanted, and what ends with it (`_Term`), int32
        (n_terms, 3).
    """

    n_patterns: int
    most: int
    units: NDArray[np.int32]
    conditions: NDArray[np.int32]
    atoms: NDArray[np.int32]
    closures: NDArray[np.int32]
    stars: NDArray[np.int32]
    arms: NDArray[np.int32]
    composed: NDArray[np.int32]
    terms: NDArray[np.int32]


class _Star(NamedTuple):
    """What an atom of a pattern must fit (`Questions.atom`), and what must be around it.

    That is what a bond and the atom behind it must fit, and how many of this kind there are.
    """

    question: int
    arms: tuple[tuple[int, int, int], ...]


class Step(NamedTuple):
    """How the next atom of a pattern is found.

    Attributes
    ----------
    star
        What it and its neighbours must fit.
    beside, bond
        The place in the order of an earlier atom that it is bound to, and what the bond must fit.
    from_first
        Its distance from the first atom, in bonds of the pattern.
    closures
        Of its further bonds to earlier atoms the same.
    """

    star: _Star
    beside: int
    bond: int
    from_first: int
    closures: list[tuple[int, int]]


class Search(NamedTuple):
    """Steps of a search, None if RDKit must search, and how many matches are wanted.

    And whether the pattern is a ring of equal atoms and bonds: any of its atoms may be the first.
    """

    steps: list[Step] | None
    least: int
    is_round: bool = False


class _Term(NamedTuple):
    """A part of what is asked of an atom.

    Attributes
    ----------
    question
        What it must fit, or must not.
    is_wanted
        Whether it must.
    end
        What ends with it: 1 a choice, 2 also a clause, of which one choice must be true.
    """

    question: int
    is_wanted: bool
    end: int


class Questions:
    """What patterns ask of single atoms and bonds, numbered.

    Attributes
    ----------
    atoms, bonds
        Number by SMARTS of those that kinds decide.
    environments, environment_paths
        Searches for environments, beginning with the atom that has it, and the paths in them.
    """

    def __init__(self) -> None:
        self.atoms: dict[str, int] = {}
        self.bonds: dict[str, int] = {}
        self.environments: list[list[Step]] = []
        self.environment_paths: list[Counter[Path]] = []
        # Each either the number of an environment or terms, which ask for earlier ones.
        self._composed: list[int | list[_Term]] = []
        self._known: dict[str, int | None] = {}

    def steps(self, pattern: Chem.Mol, root: int | None = None) -> list[Step] | None:
        """Return how a pattern is searched for, None if it cannot be."""
        if not 0 < pattern.GetNumAtoms() <= MOST_ATOMS or len(Chem.GetMolFrags(pattern)) > 1:
            return None
        bond_texts = texts_of_bonds(pattern)
        if not all(map(LOCAL_BOND.fullmatch, bond_texts)):
            return None
        texts = [atom.GetSmarts() for atom in pattern.GetAtoms()]
        asked = [self.atom(text) for text in texts]
        bonds = [self.bonds.setdefault(text, len(self.bonds)) for text in bond_texts]
        local = [local_part(text)[0] for text in texts]
        questions = [question for question in asked if question is not None]
        if len(questions) < len(asked):
            return None
        steps: list[Step] = []
        place: dict[int, int] = {}
        neighbours = neighbours_in(pattern)
        distances = Chem.GetDistanceMatrix(pattern)
        for atom, bound in _order(local, neighbours, root):
            (beside, bond), *others = [(place[j], bonds[b]) for j, b in bound] or [(0, 0)]
            arms = Counter((questions[j], bonds[b]) for j, b in neighbours[atom])
            star = _Star(questions[atom], tuple(sorted((*arm, n) for arm, n in arms.items())))
            place[atom] = len(steps)
            first = next(iter(place))
            steps.append(Step(star, beside, bond, int(distances[first, atom]), others))
        return steps

    def atom(self, text: str) -> int | None:
        """Return the number of an atom's SMARTS, None if it asks for what cannot be told.

        Those that are composed of others have -1, -2, ... as long as not all are known.
        """
        local, is_all = local_part(text)
        if is_all:
            return self.atoms.setdefault(local, len(self.atoms))
        if text not in self._known:
            self._known[text] = self._compose(text)
        return self._known[text]

    def _compose(self, text: str) -> int | None:
        terms: list[_Term] = []
        for choices in clauses_of(text):
            for choice in choices:
                for term in choice:
                    is_wanted = not term.startswith("!") or bool(LOCAL_ATOM.fullmatch(term))
                    question = self._term(term if is_wanted else term[1:])
                    if question is None:
                        return None
                    terms.append(_Term(question, is_wanted, 0))
                terms[-1] = terms[-1]._replace(end=1)
            terms[-1] = terms[-1]._replace(end=2)
        self._composed.append(terms)
        return -len(self._composed)

    def _term(self, term: str) -> int | None:
        if LOCAL_ATOM.fullmatch(term):
            # [H1] alone would be a hydrogen atom.
            return self.atom(f"[*&{term}]")
        if not term.startswith("$(") or split_outside(term, ")")[1:] != [""]:
            return None
        if term not in self._known:
            self._known[term] = self._environment(Chem.MolFromSmarts(term[2:-1]))
        return self._known[term]

    def _environment(self, pattern: Chem.Mol | None) -> int | None:
        steps = None if pattern is None else self.steps(pattern, 0)
        if pattern is None or steps is None:
            return None
        self._composed.append(len(self.environments))
        self.environments.append(steps)
        self.environment_paths.append(pattern_paths(pattern))
        return -len(self._composed)

    def searches(
        self, searches: Sequence[Search], conditions: Sequence[Sequence[tuple[int, int]]]
    ) -> Searches:
        """Return searches, those for environments last, and what composed questions ask as arrays.

        Takes also which paths there must be for each.
        """
        n_patterns = len(searches) - len(self.environments)
        steps = [step for search in searches for step in search.steps or []]
        terms = [() if isinstance(each, int) else each for each in self._composed]
        stars = list(dict.fromkeys(step.star for step in steps))
        number = {star: i for i, star in enumerate(stars)}
        arms = _table((arm for star in stars for arm in star.arms), 3)
        arms[:, 0] = self._resolved(arms[:, 0])
        asked = _table((term for each in terms for term in each), 3)
        asked[:, 0] = self._resolved(asked[:, 0])
        return Searches(
            n_patterns,
            max((search.least for search in searches), default=1),
            _columns(
                [_NOT_SEARCHED if each.steps is None else len(each.steps) for each in searches],
                [search.least for search in searches],
                [search.is_round for search in searches],
                _starts([len(search.steps or []) for search in searches]),
                _starts(list(map(len, conditions))),
            ),
            _table((pair for each in conditions for pair in each), 2),
            _columns(
                [number[step.star] for step in steps],
                [step.beside for step in steps],
                [step.bond for step in steps],
                [step.from_first for step in steps],
                _starts([len(step.closures) for step in steps]),
            ),
            _table((pair for step in steps for pair in step.closures), 2),
            _columns(
                self._resolved([star.question for star in stars]),
                _starts([len(star.arms) for star in stars]),
            ),
            arms,
            _columns(
                [n_patterns + each if isinstance(each, int) else -1 for each in self._composed],
                _starts(list(map(len, terms))),
            ),
            asked,
        )

    def _resolved(self, asked: Sequence[int] | NDArray[np.int32]) -> NDArray[np.int32]:
        """Return final numbers, in which what is composed follows on what kinds decide."""
        numbers = np.array(asked, np.int32)
        return np.where(numbers < 0, len(self.atoms) - 1 - numbers, numbers)


def _order(
    texts: Sequence[str], neighbours: Neighbours, root: int | None
) -> Iterator[tuple[int, list[tuple[int, int]]]]:
    """Yield a connected pattern's atoms, rare ones first, and the earlier ones it is bound to.

    Texts are what kinds decide of what the atoms ask for. A root is the first in any case.
    """

    def rarity(atom: int) -> tuple[bool, int]:
        return texts[atom] in _COMMON_ATOMS, -len(neighbours[atom])

    done: set[int] = set()
    reached = {min(range(len(texts)), key=rarity) if root is None else root}
    while reached:
        # Those with most bonds to earlier atoms first: they exclude most.
        atom = min(
            reached, key=lambda i: (-sum(j in done for j, _ in neighbours[i]), *rarity(i), i)
        )
        yield atom, [(j, b) for j, b in neighbours[atom] if j in done]
        done.add(atom)
        reached = (reached | {j for j, _ in neighbours[atom]}) - done


def _starts(lengths: Sequence[int]) -> NDArray[np.int32]:
    return np.cumsum([0, *lengths]).astype(np.int32)


def _table(rows: Iterable[tuple[int, ...]], width: int) -> NDArray[np.int32]:
    return np.array(list(rows), np.int32).reshape(-1, width)


def _columns(*columns: Sequence[int] | NDArray[np.int32]) -> NDArray[np.int32]:
    """Return columns side by side, of which the last one is longer by one."""
    table = np.zeros((len(columns[-1]), len(columns)), np.int32)
    for number, column in enumerate(columns):
        table[: len(column), number] = column
    return table
