"""Test many substructures on a molecule: exact, and faster than asking RDKit for each.

Most patterns can be ruled out, and many decided, by counting short paths. A pattern that holds two
paths ``C-C-O`` can only match a molecule in which at least two paths fit ``C-C-O``, because a
substructure match maps distinct paths to distinct paths. Whether an atom fits an atom of a pattern
depends on its kind only (`specvae.molecules.topology`), unless the pattern has an environment. So
the answers are kept as bits: a path fits if all its atoms and bonds do.
The remaining patterns, and the environments that they ask for, are searched for in compiled code,
atom by atom. RDKit is asked about patterns that go beyond that: of several pieces, or with
chirality; and about all that remain where there are too few molecules to compile for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from rdkit import Chem

from specvae.molecules.kept_code import WorthCompiling
from specvae.molecules.search_plan import (
    DECIDED,
    FIRST_CONDITION,
    N_ATOMS,
    UNSETTLED,
    WORD_BITS,
    Answers,
    Questions,
    Search,
    Searches,
    Step,
)
from specvae.molecules.smarts import (
    LONGEST_PATH,
    Path,
    alternatives,
    is_path,
    is_round,
    neighbours_of,
    path_order,
    pattern_paths,
    simple_paths,
)
from specvae.molecules.topology import Topologies

# Compiling the search, once for all, takes some five seconds, so it must save at least some of one;
# loading it takes a third of one, and it saves two milliseconds a molecule.
_is_worth_searching = WorthCompiling(
    "molecules/substructure_search._search_each", 1_000, few_if_kept=150
)
# To look into the patterns takes as long as to ask RDKit about some hundred molecules.
FEWEST_MOLECULES = 16


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
            for part in alternatives(pattern) if n == 1 else [pattern]:
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
        questions = Questions()
        searches: list[Search] = []
        required: list[Counter[Path]] = []
        for pattern, n in zip(self._patterns, self._least, strict=True):
            paths = pattern_paths(pattern)
            steps: list[Step] | None = []
            if not is_path(pattern) or (n > 1 and pattern.GetNumAtoms() > 2):
                steps = questions.steps(pattern)
            elif n > 1:
                # Each atom or bond is a separate match; three atoms of a ring are three paths.
                paths[max(paths, key=path_order)] = n
            searches.append(Search(steps, n, is_round(pattern)))
            required.append(paths)
        searches += [Search(steps, 1) for steps in questions.environments]
        required += questions.environment_paths
        features = sorted({path for paths in required for path in paths}, key=path_order)
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
        if self._n_tested <= FEWEST_MOLECULES:
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


class _Rows:
    """Where the paths of patterns stand in rows of bits.

    Attributes
    ----------
    places
        As in `Answers`.
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
    def of(cls, features: Sequence[Path], questions: Questions) -> _Rows:
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
        is_decided = np.where(asked.units[:n, N_ATOMS] == DECIDED, 1, UNSETTLED)
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
        neighbours = neighbours_of(len(atoms), bonds[:, :2].tolist())
        paths: dict[int, list[tuple[int, ...]]] = {1: [(i,) for i in range(len(neighbours))]}
        for path in simple_paths(neighbours):
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
