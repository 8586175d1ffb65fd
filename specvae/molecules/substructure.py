"""Test many substructures on a molecule: exact, and faster than asking RDKit for each.

Most patterns can be ruled out, and many decided, by counting short paths. A pattern that holds two
paths ``C-C-O`` can only match a molecule in which at least two paths fit ``C-C-O``, because a
substructure match maps distinct paths to distinct paths. What an atom of a pattern asks for depends
on an atom's kind alone (`specvae.molecules.topology`), as long as it asks for no environment, so
the answers are kept as bits: what a path fits is what all its atoms and bonds have in common.
The remaining patterns, and the environments that they ask for, are searched for in compiled code,
atom by atom. RDKit is asked about patterns that go beyond that: of several pieces, or with
chirality; and about all that remain where there are too few molecules to compile for.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from rdkit import Chem

from specvae.molecules.kept_code import WorthCompiling
from specvae.molecules.topology import Topologies

# Queries that depend on an atom's kind alone: elements, H, X, D and v counts, charge and rings.
# Environments ($) and chirality (@) do not.
_LOCAL_ATOM = re.compile(r"!?(?:#\d+|[HXDvRr]\d*|Br|Cl|Si|[BCNOPSFIARacnops*]|[+-]\d*)", re.ASCII)
_NO_TEXT = "-,:"  # what a bond without text asks for
_LOCAL_BOND = re.compile(r"[-=#:~@,;&!]*", re.ASCII)

LONGEST_PATH = 4  # atoms
MOST_ATOMS = 32  # of a pattern that is searched for
UNSETTLED = 2
_DECIDED, _NOT_SEARCHED = 0, -1  # in place of the number of a pattern's atoms
# Columns of the tables of `Searches`.
N_ATOMS, LEAST, IS_ROUND, FIRST_ATOM, FIRST_CONDITION = range(5)
STAR, BESIDE, BOND, FROM_FIRST, FIRST_CLOSURE = range(5)
QUESTION, FIRST_ARM = range(2)
ENVIRONMENT, FIRST_TERM = range(2)
# Compiling the search, once for all, takes some five seconds, so it must save at least some of one;
# loading it takes a third of one, and it saves two milliseconds a molecule.
_is_worth_searching = WorthCompiling(
    "molecules/substructure_search._search_each", 1_000, few_if_kept=150
)
# To look into the patterns takes as long as to ask RDKit about some hundred molecules.
_FEWEST_MOLECULES = 16
# First atoms of a search, in this order: those that fewest atoms of a molecule fit.
_COMMON_ATOMS = ("[#6]", "C", "c", "*", "[!#1]")
WORD_BITS = 64

Path = tuple[tuple[str, ...], tuple[str, ...]]
Neighbours = list[list[tuple[int, int]]]


def _split(text: str, separator: str) -> list[str]:
    """Split at a separator outside of parentheses, as they stand around environments."""
    parts = [""]
    depth = 0
    for character in text:
        depth += (character == "(") - (character == ")")
        if character == separator and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return parts


def _clauses(text: str) -> list[list[list[str]]]:
    """Return what an atom's SMARTS asks for: all clauses, of each one choice, of it all terms.

    SMARTS binds ``&`` before ``,`` before ``;``.
    """
    inner = text[1:-1] if text.startswith("[") else text
    return [
        [_split(choice, "&") for choice in _split(clause, ",")] for clause in _split(inner, ";")
    ]


@cache
def _local_part(text: str) -> tuple[str, bool]:
    """Return the part of an atom's SMARTS that is local, and whether that is all of it.

    What is dropped is always one side of an "and", so that the part asks for less than the whole.
    """
    kept = []
    exact = True
    for choices in _clauses(text):
        if all(_LOCAL_ATOM.fullmatch(term) for choice in choices for term in choice):
            kept.append(",".join(map("&".join, choices)))
            continue
        exact = False
        if len(choices) == 1:
            local = [term for term in choices[0] if _LOCAL_ATOM.fullmatch(term)]
            kept += ["&".join(local)] if local else []
    return (f"[{';'.join(kept)}]" if kept else "*"), exact


def _bond_texts(pattern: Chem.Mol) -> list[str]:
    """Return what the bonds of a pattern ask for as SMARTS.

    A bond of a ring is only found in a ring: a search that knows it ends sooner, around a ring of
    eight atoms after a tenth of the steps.
    """
    Chem.FastFindRings(pattern)
    # RDKit's type stubs ask for the bond a second time.
    texts = [bond.GetSmarts() for bond in pattern.GetBonds()]  # type: ignore[call-arg]
    return [
        f"{text or _NO_TEXT};@" if bond.IsInRing() and _LOCAL_BOND.fullmatch(text) else text
        for text, bond in zip(texts, pattern.GetBonds(), strict=True)
    ]


def _neighbours(n_atoms: int, bonds: Iterable[tuple[int, int]]) -> Neighbours:
    """Return for each atom its neighbours as (atom index, bond index)."""
    neighbours: Neighbours = [[] for _ in range(n_atoms)]
    for b, (i, j) in enumerate(bonds):
        neighbours[i].append((j, b))
        neighbours[j].append((i, b))
    return neighbours


def _neighbours_in(pattern: Chem.Mol) -> Neighbours:
    bonds = ((b.GetBeginAtomIdx(), b.GetEndAtomIdx()) for b in pattern.GetBonds())
    return _neighbours(pattern.GetNumAtoms(), bonds)


def _paths(neighbours: Neighbours) -> Iterator[tuple[int, ...]]:
    """Yield every simple path of 2 to 4 atoms once, as atom, bond, atom, bond, ... indices."""
    for j, around in enumerate(neighbours):
        for (i, a), (k, b) in combinations(around, 2):
            yield i, a, j, b, k
        for k, b in around:
            if j < k:
                yield j, b, k
                for i, a in around:
                    if i != k:
                        for m, c in neighbours[k]:
                            if m not in (j, i):
                                yield i, a, j, b, k, c, m


class SubstructureMatcher:
    """A fixed list of substructure patterns, all tested on some molecules at a time.

    Parameters
    ----------
    patterns
        RDKit query molecules.
    least
        How many matches, as sets of atoms, are wanted of each; None: one.

    Notes
    -----
    `matches` equals ``[len(mol.GetSubstructMatches(p)) >= n for p, n in zip(patterns, least)]``.
    """

    def __init__(self, patterns: Sequence[Chem.Mol], least: Sequence[int] | None = None) -> None:
        wanted = list(least) if least is not None else [1] * len(patterns)
        # A pattern of several environments has a match where one of them has. What is named by
        # several patterns is tested once.
        number: dict[tuple[str, int], int] = {}
        self._patterns: list[Chem.Mol] = []
        parts: list[list[int]] = []
        for pattern, n in zip(patterns, wanted, strict=True):
            parts.append([])
            for part in _alternatives(pattern) if n == 1 else [pattern]:
                named = Chem.MolToSmarts(part), n
                if named not in number:
                    number[named] = len(number)
                    self._patterns.append(part)
                parts[-1].append(number[named])
        self._least = [n for _, n in number]
        self._parts = np.array([part for each in parts for part in each], np.intp)
        self._first_part = np.cumsum([0, *map(len, parts)])[:-1]
        self._n_tested = 0

    @cached_property
    def _plan(self) -> _Plan:
        """What is asked of paths, and how patterns are searched for."""
        questions = _Questions()
        searches: list[_Search] = []
        required: list[Counter[Path]] = []
        for pattern, n in zip(self._patterns, self._least, strict=True):
            paths = _pattern_paths(pattern)
            steps: list[_Step] | None = []
            if not _is_path(pattern) or (n > 1 and pattern.GetNumAtoms() > 2):
                steps = questions.steps(pattern)
            elif n > 1:
                # Each atom or bond is a match of its own; three atoms of a ring are three paths.
                paths[max(paths, key=_path_order)] = n
            searches.append(_Search(steps, n, _is_round(pattern)))
            required.append(paths)
        searches += [_Search(steps, 1) for steps in questions.environments]
        required += questions.environment_paths
        features = sorted({path for paths in required for path in paths}, key=_path_order)
        for of_atoms, of_bonds in features:
            for text in of_atoms:
                questions.atoms.setdefault(text, len(questions.atoms))
            for text in of_bonds:
                questions.bonds.setdefault(text, len(questions.bonds))
        rows = _Rows.of(features, questions)
        atoms = _Answers(
            [Chem.MolFromSmarts(text).GetAtomWithIdx(0) for text in questions.atoms], rows.atoms
        )
        bonds = _Answers(
            [Chem.MolFromSmarts(f"*{text}*").GetBondWithIdx(0) for text in questions.bonds],
            rows.bonds,
        )
        conditions = [rows.conditions(paths) for paths in required]
        found = questions.searches(searches, conditions)
        return _Plan(len(self._patterns), rows, atoms, bonds, found)

    def __len__(self) -> int:
        return len(self._first_part)

    def matches(self, molecules: Topologies) -> NDArray[np.bool_]:
        """Return whether molecules have patterns often enough, (n_molecules, n_patterns)."""
        if not len(self):
            return np.zeros((len(molecules), 0), np.bool_)
        self._n_tested += len(molecules)
        is_searched = _is_worth_searching(len(molecules))
        if self._n_tested <= _FEWEST_MOLECULES:
            found = np.full((len(molecules), len(self._patterns)), UNSETTLED, np.uint8)
        else:
            self._plan.learn(molecules)
            found = self._plan.search(molecules) if is_searched else self._plan.count(molecules)
        for row, i in np.argwhere(found == UNSETTLED).tolist():
            mol, pattern, least = molecules.mol(row), self._patterns[i], self._least[i]
            found[row, i] = (
                mol.HasSubstructMatch(pattern)
                if least == 1
                else len(mol.GetSubstructMatches(pattern)) >= least
            )
        return np.logical_or.reduceat(found[:, self._parts] == 1, self._first_part, axis=1)


class Answers(NamedTuple):
    """What each kind of atoms and of bonds fits.

    Parameters
    ----------
    places
        See `_Rows`.
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


class _Rows:
    """Where the paths of patterns stand in rows of bits.

    Attributes
    ----------
    places
        By length in atoms: number of the first path, words for the paths of this length, where
        the words for the first atom and for the first bond begin; int64 (`LONGEST_PATH` + 1, 4).
    atoms, bonds
        Which question each bit of a row for atoms, or bonds, stands for; -1 for none.
    n_features
        Number of paths, with what fills words up.
    """

    def __init__(
        self,
        places: NDArray[np.int64],
        atoms: NDArray[np.intp],
        bonds: NDArray[np.intp],
        number: Mapping[Path, int],
    ) -> None:
        self.places, self.atoms, self.bonds = places, atoms, bonds
        self.n_features = int(places[:, 1].sum()) * WORD_BITS
        self._number = number

    @classmethod
    def of(cls, features: Sequence[Path], questions: _Questions) -> _Rows:
        """Return the rows for distinct paths."""
        places = np.zeros((LONGEST_PATH + 1, 4), np.int64)
        rows: tuple[list[int], list[int]] = [], []
        number: dict[Path, int] = {}
        first = 0
        for length in range(1, LONGEST_PATH + 1):
            chosen = [path for path in features if len(path[0]) == length]
            n_words = -(-len(chosen) // WORD_BITS)
            places[length] = first, n_words, *(len(row) // WORD_BITS for row in rows)
            number |= {path: first + i for i, path in enumerate(chosen)}
            first += n_words * WORD_BITS
            filling = [-1] * (n_words * WORD_BITS - len(chosen))
            for place in range(length):
                rows[0].extend([questions.atoms[atoms[place]] for atoms, _ in chosen] + filling)
            for place in range(length - 1):
                rows[1].extend([questions.bonds[bonds[place]] for _, bonds in chosen] + filling)
        return cls(places, np.array(rows[0], np.intp), np.array(rows[1], np.intp), number)

    def conditions(self, paths: Counter[Path]) -> list[tuple[int, int]]:
        """Return numbers of paths and how many there must be, long and thus rare ones first."""
        return sorted(((self._number[path], n) for path, n in paths.items()), reverse=True)


class _Answers:
    """What the kinds of atoms, or of bonds, that were met so far fit; see `Answers`."""

    def __init__(
        self, queries: Sequence[Chem.QueryAtom | Chem.QueryBond], asked: NDArray[np.intp]
    ) -> None:
        self._queries = queries
        self._asked = asked
        self._is_known = np.zeros(0, np.bool_)
        self.fits = np.zeros((0, len(queries)), np.uint8)
        self.rows = np.zeros((0, len(asked) // WORD_BITS), np.int64)

    def unknown(self, kinds: NDArray[np.int32]) -> list[int]:
        """Return the places of kinds that must be learnt, each kind once."""
        n_lacking = int(kinds.max(initial=-1)) + 1 - len(self._is_known)
        if n_lacking <= 0 and self._is_known[kinds].all():
            return []
        if n_lacking > 0:
            n_lacking += len(self._is_known)  # so that tables seldom grow
            self._is_known = np.append(self._is_known, np.zeros(n_lacking, np.bool_))
            for name in ("fits", "rows"):
                table = getattr(self, name)
                fresh = np.zeros((n_lacking, table.shape[1]), table.dtype)
                setattr(self, name, np.concatenate([table, fresh]))
        lacking = np.flatnonzero(~self._is_known[kinds])
        found: list[int] = np.sort(
            lacking[np.unique(kinds[lacking], return_index=True)[1]]
        ).tolist()
        return found

    def learn(self, kind: int, example: Chem.Atom | Chem.Bond) -> None:
        """Ask RDKit what a kind fits."""
        fits = np.array([*(query.Match(example) for query in self._queries), False])
        self.fits[kind] = fits[:-1]
        self.rows[kind] = np.packbits(fits[self._asked], bitorder="little").view(np.int64)
        self._is_known[kind] = True


@dataclass(frozen=True)
class _Plan:
    """How the patterns of a matcher are tested.

    Attributes
    ----------
    n_patterns
        How many there are.
    rows
        Which bits stand for which paths.
    atoms, bonds
        What is known of the kinds that were met.
    searches
        What is searched for, and what must be there before.
    """

    n_patterns: int
    rows: _Rows
    atoms: _Answers
    bonds: _Answers
    searches: Searches

    def learn(self, molecules: Topologies) -> None:
        """Ask RDKit about kinds that were not met before."""
        atoms, bonds = molecules.taken.atoms, molecules.taken.bonds[:, 2]
        for place in self.atoms.unknown(atoms):
            self.atoms.learn(int(atoms[place]), molecules.atom_at(place))
        for place in self.bonds.unknown(bonds):
            self.bonds.learn(int(bonds[place]), molecules.bond_at(place))

    def search(self, molecules: Topologies) -> NDArray[np.uint8]:
        """Return whether molecules have patterns: 0 no, 1 yes, 2 not settled; (n, n_patterns)."""
        # Here, since a process that tests few molecules needs no compiled code.
        from specvae.molecules.substructure_search import search_all

        found = np.empty((len(molecules), self.n_patterns), np.uint8)
        answers = Answers(
            self.rows.places, self.atoms.fits, self.atoms.rows, self.bonds.fits, self.bonds.rows
        )
        search_all(molecules, answers, self.searches, found)
        return found

    def count(self, molecules: Topologies) -> NDArray[np.uint8]:
        """Return the same as far as paths say it."""
        asked = self.searches
        n = self.n_patterns
        is_decided = np.where(asked.units[:n, N_ATOMS] == _DECIDED, 1, UNSETTLED)
        found = np.empty((len(molecules), n), np.uint8)
        atoms = np.split(molecules.taken.atoms, molecules.first_atoms[1:-1])
        bonds = np.split(molecules.taken.bonds, molecules.first_bonds[1:-1])
        for row, drawn in enumerate(zip(atoms, bonds, strict=True)):
            counts = self._count_paths(*drawn)
            is_there = counts[asked.conditions[:, 0]] >= asked.conditions[:, 1]
            possible = np.logical_and.reduceat(is_there, asked.units[:-1, FIRST_CONDITION])[:n]
            found[row] = is_decided * possible
        return found

    def _count_paths(self, atoms: NDArray[np.int32], bonds: NDArray[np.int32]) -> NDArray[np.int64]:
        """Return how many paths of a molecule fit each path of patterns."""
        neighbours = _neighbours(len(atoms), bonds[:, :2].tolist())
        paths: dict[int, list[tuple[int, ...]]] = {1: [(i,) for i in range(len(neighbours))]}
        for path in _paths(neighbours):
            paths.setdefault(len(path) // 2 + 1, []).append(path)
        counts = np.zeros(self.rows.n_features, np.int64)
        for length, found in paths.items():
            rows = np.array(found, np.intp)
            kinds = atoms[rows[:, ::2]], bonds[rows[:, 1::2], 2]
            fitting = self._fitting(*kinds) | self._fitting(*(each[:, ::-1] for each in kinds))
            first, n_words, _, _ = self.rows.places[length]
            bits = np.unpackbits(fitting.view(np.uint8), axis=1, bitorder="little")
            counts[first : first + n_words * WORD_BITS] = bits.sum(axis=0, dtype=np.int64)
        return counts

    def _fitting(self, atoms: NDArray[np.int32], bonds: NDArray[np.int32]) -> NDArray[np.int64]:
        """Return as bits which paths of patterns some paths of a molecule fit, in one direction.

        Takes the kinds of their atoms and bonds, (n_paths, length) and (n_paths, length - 1).
        """
        _, n_words, *begins = self.rows.places[atoms.shape[1]].tolist()
        fitting = np.full((len(atoms), n_words), -1, np.int64)
        for kinds, answers, begin in zip(
            (atoms, bonds), (self.atoms, self.bonds), begins, strict=True
        ):
            for place, kind in enumerate(kinds.T):
                start = begin + place * n_words
                fitting &= answers.rows[kind, start : start + n_words]
        return fitting


class _Star(NamedTuple):
    """What an atom of a pattern must fit (`_Questions.atom`), and what must be around it.

    That is what a bond and the atom behind it must fit, and how many of this kind there are.
    """

    question: int
    arms: tuple[tuple[int, int, int], ...]


class _Step(NamedTuple):
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


class _Search(NamedTuple):
    """Steps of a search, None if RDKit must search, and how many matches are wanted.

    And whether the pattern is a ring of equal atoms and bonds: any of its atoms may be the first.
    """

    steps: list[_Step] | None
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


class _Questions:
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
        self.environments: list[list[_Step]] = []
        self.environment_paths: list[Counter[Path]] = []
        # Each either the number of an environment or terms, which ask for earlier ones.
        self._composed: list[int | list[_Term]] = []
        self._known: dict[str, int | None] = {}

    def steps(self, pattern: Chem.Mol, root: int | None = None) -> list[_Step] | None:
        """Return how a pattern is searched for, None if it cannot be."""
        if not 0 < pattern.GetNumAtoms() <= MOST_ATOMS or len(Chem.GetMolFrags(pattern)) > 1:
            return None
        bond_texts = _bond_texts(pattern)
        if not all(map(_LOCAL_BOND.fullmatch, bond_texts)):
            return None
        texts = [atom.GetSmarts() for atom in pattern.GetAtoms()]
        asked = [self.atom(text) for text in texts]
        bonds = [self.bonds.setdefault(text, len(self.bonds)) for text in bond_texts]
        local = [_local_part(text)[0] for text in texts]
        questions = [question for question in asked if question is not None]
        if len(questions) < len(asked):
            return None
        steps: list[_Step] = []
        place: dict[int, int] = {}
        neighbours = _neighbours_in(pattern)
        distances = Chem.GetDistanceMatrix(pattern)
        for atom, bound in _order(local, neighbours, root):
            (beside, by), *others = [(place[j], bonds[b]) for j, b in bound] or [(0, 0)]
            arms = Counter((questions[j], bonds[b]) for j, b in neighbours[atom])
            star = _Star(questions[atom], tuple(sorted((*arm, n) for arm, n in arms.items())))
            place[atom] = len(steps)
            first = next(iter(place))
            steps.append(_Step(star, beside, by, int(distances[first, atom]), others))
        return steps

    def atom(self, text: str) -> int | None:
        """Return the number of an atom's SMARTS, None if it asks for what cannot be told.

        Those that are composed of others have -1, -2, ... as long as not all are known.
        """
        local, is_all = _local_part(text)
        if is_all:
            return self.atoms.setdefault(local, len(self.atoms))
        if text not in self._known:
            self._known[text] = self._compose(text)
        return self._known[text]

    def _compose(self, text: str) -> int | None:
        terms: list[_Term] = []
        for choices in _clauses(text):
            for choice in choices:
                for term in choice:
                    is_wanted = not term.startswith("!") or bool(_LOCAL_ATOM.fullmatch(term))
                    question = self._term(term if is_wanted else term[1:])
                    if question is None:
                        return None
                    terms.append(_Term(question, is_wanted, 0))
                terms[-1] = terms[-1]._replace(end=1)
            terms[-1] = terms[-1]._replace(end=2)
        self._composed.append(terms)
        return -len(self._composed)

    def _term(self, term: str) -> int | None:
        if _LOCAL_ATOM.fullmatch(term):
            # [H1] alone would be a hydrogen atom.
            return self.atom(f"[*&{term}]")
        if not term.startswith("$(") or _split(term, ")")[1:] != [""]:
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
        self.environment_paths.append(_pattern_paths(pattern))
        return -len(self._composed)

    def searches(
        self, searches: Sequence[_Search], conditions: Sequence[Sequence[tuple[int, int]]]
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


def _order(
    texts: Sequence[str], neighbours: Neighbours, root: int | None = None
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


def _path_order(path: Path) -> tuple[int, Path]:
    return len(path[0]), path


def _alternatives(pattern: Chem.Mol) -> list[Chem.Mol]:
    """Return the environments, of which an atom has one if it fits a pattern of one atom.

    Any other pattern is returned as it is.
    """
    text = pattern.GetAtomWithIdx(0).GetSmarts() if pattern.GetNumAtoms() == 1 else ""
    parts = _split(text[1:-1], ",")
    if not all(part.startswith("$(") and _split(part, ")")[1:] == [""] for part in parts):
        return [pattern]
    found = [Chem.MolFromSmarts(part[2:-1]) for part in parts]
    return found if all(found) else [pattern]


def _is_round(pattern: Chem.Mol) -> bool:
    """Return whether a pattern is a ring of equal atoms and bonds."""
    return (
        len({atom.GetSmarts() for atom in pattern.GetAtoms()}) == 1
        and len(set(_bond_texts(pattern))) == 1
        and all(atom.GetDegree() == 2 for atom in pattern.GetAtoms())
        and len(Chem.GetMolFrags(pattern)) == 1
    )


def _is_path(pattern: Chem.Mol) -> bool:
    """Return whether a pattern is one counted path, so that a single such path is a match."""
    n_atoms = pattern.GetNumAtoms()
    return (
        0 < n_atoms <= LONGEST_PATH
        and pattern.GetNumBonds() == n_atoms - 1
        and len(Chem.GetMolFrags(pattern)) == 1
        and all(atom.GetDegree() <= 2 for atom in pattern.GetAtoms())
        and all(_local_part(atom.GetSmarts())[1] for atom in pattern.GetAtoms())
        and all(map(_LOCAL_BOND.fullmatch, _bond_texts(pattern)))
    )


def _pattern_paths(pattern: Chem.Mol) -> Counter[Path]:
    """Return the local parts of all paths of a pattern with their counts."""
    atoms = [_local_part(atom.GetSmarts())[0] for atom in pattern.GetAtoms()]
    bonds = _bond_texts(pattern)
    # A bond that asks for more than its own type (a direction) may be any bond here.
    bonds = [text if _LOCAL_BOND.fullmatch(text) else "~" for text in bonds]
    found: Counter[Path] = Counter(((text,), ()) for text in atoms)
    for path in _paths(_neighbours_in(pattern)):
        forward = tuple(atoms[i] for i in path[::2]), tuple(bonds[b] for b in path[1::2])
        backward = forward[0][::-1], forward[1][::-1]
        found[min(forward, backward)] += 1
    return found
