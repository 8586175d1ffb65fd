"""Test many substructures on a molecule: exact, and faster than asking RDKit for each.

Most patterns can be ruled out, and many decided, by counting short paths. A pattern that holds two
paths ``C-C-O`` can only match a molecule in which at least two paths fit ``C-C-O``, because a
substructure match maps distinct paths to distinct paths. Whether an atom fits an atom of a pattern
depends on a few of its properties alone (as long as the pattern's atom asks for no ring's size and
no environment), so the answers are remembered by those properties and the work that is left for a
molecule is looking up and adding. Of the remaining patterns those whose atoms and bonds are all of
this kind are searched for here, atom by atom, in compiled code. RDKit is asked about the others.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from rdkit import Chem

# Queries that depend on the atom's own properties alone: elements, H, X, D and v counts, charge and
# whether it is in a ring. Other questions of rings (R2, r, x), environments ($) and chirality (@)
# do not.
_LOCAL_ATOM = re.compile(r"!?(?:#\d+|[HXDv]\d*|Br|Cl|Si|[BCNOPSFIARacnops*]|[+-]\d*)", re.ASCII)
_LOCAL_BOND = re.compile(r"[-=#:~@,;&!]*", re.ASCII)

_LONGEST_PATH = 4  # atoms
_MEMO_LIMIT = 200_000
MOST_ATOMS = 32  # of a pattern that is searched for
UNSETTLED = 2
# Loading the compiled search takes as long as it saves for so many.
_FEW_MOLECULES = 300
# First atoms of a search, in this order: those that fewest atoms of a molecule fit.
_COMMON_ATOMS = ("[#6]", "C", "c", "*", "[!#1]")

Path = tuple[tuple[str, ...], tuple[str, ...]]


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


def _local_part(text: str) -> tuple[str, bool]:
    """Return the part of an atom's SMARTS that is local, and whether that is all of it.

    SMARTS binds ``&`` before ``,`` before ``;``: what is dropped is always one side of an "and",
    so that the part asks for less than the whole.
    """
    inner = text[1:-1] if text.startswith("[") else text
    kept = []
    exact = True
    for clause in _split(inner, ";"):
        choices = _split(clause, ",")
        terms = [_split(choice, "&") for choice in choices]
        if all(_LOCAL_ATOM.fullmatch(term) for choice in terms for term in choice):
            kept.append(clause)
            continue
        exact = False
        if len(choices) == 1:
            local = [term for term in terms[0] if _LOCAL_ATOM.fullmatch(term)]
            kept += ["&".join(local)] if local else []
    return (f"[{';'.join(kept)}]" if kept else "*"), exact


def _bond_text(bond: Chem.Bond) -> str:
    # RDKit's type stubs ask for the bond a second time.
    return bond.GetSmarts()  # type: ignore[call-arg]


def _neighbours(mol: Chem.Mol) -> list[list[tuple[int, int]]]:
    """Return for each atom its neighbours as (atom index, bond index)."""
    neighbours: list[list[tuple[int, int]]] = [[] for _ in range(mol.GetNumAtoms())]
    for b in range(mol.GetNumBonds()):
        bond = mol.GetBondWithIdx(b)
        i, j = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()
        neighbours[i].append((j, b))
        neighbours[j].append((i, b))
    return neighbours


def _paths(neighbours: list[list[tuple[int, int]]]) -> Iterator[tuple[int, ...]]:
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
    """A fixed list of substructure patterns, all tested on one molecule at a time.

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
        # A pattern of several environments has a match where one of them has.
        parts = [
            _alternatives(pattern) if n == 1 else [pattern]
            for pattern, n in zip(patterns, wanted, strict=True)
        ]
        self._owner = np.repeat(np.arange(len(parts)), list(map(len, parts)))
        self._first_part = np.searchsorted(self._owner, np.arange(len(parts)))
        self._patterns = [pattern for of_one in parts for pattern in of_one]
        self._least = [wanted[owner] for owner in self._owner.tolist()]
        required = [_pattern_paths(pattern) for pattern in self._patterns]
        is_path = [_is_local_path(pattern) for pattern in self._patterns]
        for i, (pattern, n) in enumerate(zip(self._patterns, self._least, strict=True)):
            if n > 1 and is_path[i]:
                # Each atom or bond is a match of its own; three atoms of a ring are three paths.
                is_path[i] = pattern.GetNumAtoms() <= 2
                if is_path[i]:
                    required[i][max(required[i], key=_path_order)] = n
        self._decided = np.array(is_path, dtype=bool)
        is_searched = [
            n == 1 and not decided and _is_local(pattern)
            for pattern, n, decided in zip(self._patterns, self._least, is_path, strict=True)
        ]
        features = sorted({path for paths in required for path in paths}, key=_path_order)
        number = {path: i for i, path in enumerate(features)}
        self._n_features = len(features)
        self._atom_texts = sorted({a for atoms, _ in features for a in atoms})
        self._bond_texts = sorted({b for _, bonds in features for b in bonds})
        self._atom_queries = [Chem.MolFromSmarts(a).GetAtomWithIdx(0) for a in self._atom_texts]
        # A bond without text means single or aromatic.
        self._bond_queries = [
            Chem.MolFromSmarts(f"*{b}*").GetBondWithIdx(0) for b in self._bond_texts
        ]
        atom_number = {a: i for i, a in enumerate(self._atom_texts)}
        bond_number = {b: i for i, b in enumerate(self._bond_texts)}
        self._searches = Searches.of(
            [p if it else None for p, it in zip(self._patterns, is_searched, strict=True)],
            atom_number,
            bond_number,
        )
        # By path length: number of the first feature, atoms (length, n) and bonds (length - 1, n).
        self._by_length: dict[int, tuple[int, NDArray[np.intp], NDArray[np.intp]]] = {}
        for length in range(1, _LONGEST_PATH + 1):
            chosen = [path for path in features if len(path[0]) == length]
            if chosen:
                self._by_length[length] = (
                    number[chosen[0]],
                    np.array([[atom_number[a] for a in p[0]] for p in chosen], dtype=np.intp).T,
                    np.array([[bond_number[b] for b in p[1]] for p in chosen], dtype=np.intp)
                    .reshape(len(chosen), length - 1)
                    .T,
                )
        conditions = sorted({(number[p], n) for paths in required for p, n in paths.items()})
        place = {condition: i for i, condition in enumerate(conditions)}
        self._feature_of = np.array([f for f, _ in conditions], dtype=np.intp)
        self._least_of = np.array([n for _, n in conditions], dtype=np.intp)
        table = np.zeros((len(self._patterns), -(-max(len(conditions), 1) // 64) * 64), bool)
        for row, paths in zip(table, required, strict=True):
            row[[place[number[p], n] for p, n in paths.items()]] = True
        self._width = table.shape[1]
        self._required = np.packbits(table, axis=1).view(np.uint64)

        self._atom_ids: dict[tuple[int, ...], int] = {}
        self._atom_fits: list[NDArray[np.bool_]] = []
        self._bond_ids: dict[tuple[int, bool, bool], int] = {}
        self._bond_fits: list[NDArray[np.bool_]] = []
        self._memo: dict[tuple[int, ...], NDArray[np.intp]] = {}
        self._n_tested = 0

    def __len__(self) -> int:
        return len(self._first_part)

    def matches(self, mol: Chem.Mol) -> NDArray[np.bool_]:
        """Return for each pattern whether the molecule has it often enough; (n_patterns,)."""
        # By number: RDKit's sequences are several times slower.
        atoms = [self._atom_id(mol.GetAtomWithIdx(i)) for i in range(mol.GetNumAtoms())]
        bonds = [self._bond_id(mol.GetBondWithIdx(i)) for i in range(mol.GetNumBonds())]
        neighbours = _neighbours(mol)
        possible = self._possible(atoms, bonds, neighbours)
        open_ = possible & ~self._decided
        self._n_tested += 1
        if self._n_tested > _FEW_MOLECULES and bonds and open_.any():
            self._search(open_, possible, atoms, bonds, neighbours)
        if not len(self):
            return np.zeros(0, np.bool_)
        found: NDArray[np.bool_] = np.logical_or.reduceat(possible & ~open_, self._first_part)
        for i in np.flatnonzero(open_ & ~found[self._owner]).tolist():
            pattern, least = self._patterns[i], self._least[i]
            if found[self._owner[i]]:
                continue
            found[self._owner[i]] = (
                mol.HasSubstructMatch(pattern)
                if least == 1
                else len(mol.GetSubstructMatches(pattern)) >= least
            )
        return found

    def _search(
        self,
        open_: NDArray[np.bool_],
        possible: NDArray[np.bool_],
        atoms: list[int],
        bonds: list[int],
        neighbours: list[list[tuple[int, int]]],
    ) -> None:
        """Search for the open patterns, and close those that are settled by that."""
        wanted = np.flatnonzero(open_ & (self._searches.n_atoms > 0))
        found = np.empty(len(wanted), np.uint8)
        target = Target(
            np.array([self._atom_fits[atom] for atom in atoms]),
            np.array([self._bond_fits[bond] for bond in bonds]),
            np.cumsum([0, *map(len, neighbours)]).astype(np.int32),
            np.array([pair for each in neighbours for pair in each], np.int32),
        )
        # Here, since a process that tests few molecules needs no compiled code.
        from specvae.molecules.substructure_search import search_all

        search_all(wanted, self._searches, target, found)
        settled = found != UNSETTLED
        possible[wanted[settled]] = found[settled] == 1
        open_[wanted[settled]] = False

    def _possible(
        self, atoms: list[int], bonds: list[int], neighbours: list[list[tuple[int, int]]]
    ) -> NDArray[np.bool_]:
        """Return which patterns have all their paths in the molecule, often enough."""
        memo = self._memo
        if len(memo) > _MEMO_LIMIT:
            memo.clear()
        found = []
        keys: list[tuple[int, ...]] = [(a,) for a in atoms]
        for path in _paths(neighbours):
            if len(path) == 3:
                i, a, j = path
                key: tuple[int, ...] = (atoms[i], bonds[a], atoms[j])
            elif len(path) == 5:
                i, a, j, b, k = path
                key = (atoms[i], bonds[a], atoms[j], bonds[b], atoms[k])
            else:
                i, a, j, b, k, c, m = path
                key = (atoms[i], bonds[a], atoms[j], bonds[b], atoms[k], bonds[c], atoms[m])
            keys.append(key)
        for key in keys:
            fitting = memo.get(key)
            if fitting is None:
                fitting = memo[key] = self._fitting(key)
            found.append(fitting)
        counts = np.bincount(np.concatenate(found), minlength=self._n_features)
        missing = np.zeros(self._width, bool)
        missing[: len(self._feature_of)] = counts[self._feature_of] < self._least_of
        lacking = self._required & np.packbits(missing).view(np.uint64)
        return np.asarray(lacking.any(axis=1) == 0)

    def _atom_id(self, atom: Chem.Atom) -> int:
        signature = (
            atom.GetAtomicNum(),
            atom.GetIsAromatic(),
            atom.GetTotalNumHs(True),
            atom.GetDegree(),
            atom.GetTotalDegree(),
            atom.GetFormalCharge(),
            atom.GetIsotope(),
            atom.GetTotalValence(),
            atom.IsInRing(),
        )
        known = self._atom_ids.get(signature)
        if known is None:
            known = self._atom_ids[signature] = len(self._atom_fits)
            self._atom_fits.append(np.array([q.Match(atom) for q in self._atom_queries], bool))
        return known

    def _bond_id(self, bond: Chem.Bond) -> int:
        signature = (int(bond.GetBondType()), bond.GetIsAromatic(), bond.IsInRing())
        known = self._bond_ids.get(signature)
        if known is None:
            known = self._bond_ids[signature] = len(self._bond_fits)
            self._bond_fits.append(np.array([q.Match(bond) for q in self._bond_queries], bool))
        return known

    def _fitting(self, key: tuple[int, ...]) -> NDArray[np.intp]:
        """Return the numbers of the path features that a path fits, in either direction."""
        length = (len(key) + 1) // 2
        if length not in self._by_length:
            return np.zeros(0, np.intp)
        first, atoms, bonds = self._by_length[length]
        fits = np.zeros(atoms.shape[1], bool)
        for direction in (key, key[::-1]):
            one_way: NDArray[np.bool_] = np.ones(atoms.shape[1], bool)
            for wanted, given in zip(atoms, direction[::2], strict=True):
                one_way = one_way & self._atom_fits[given][wanted]
            for wanted, given in zip(bonds, direction[1::2], strict=True):
                one_way = one_way & self._bond_fits[given][wanted]
            fits = fits | one_way
        return np.flatnonzero(fits) + first


class Searches(NamedTuple):
    """Patterns as orders in which their atoms are found, each beside one that was found before.

    Parameters
    ----------
    n_atoms
        Of each pattern, 0 where it is not searched for, int32 (n_patterns,).
    first
        Where each pattern's atoms begin in the following, int32 (n_patterns,).
    query, beside, bond
        Of each atom: what it must fit, the place in the order of an earlier atom that it is bound
        to, and what the bond must fit, int32 (n_all_atoms,).
    closing
        Where the further bonds of each atom to earlier ones begin, int32 (n_all_atoms + 1,).
    closures
        Of each such bond: the earlier atom's place, what the bond must fit, int32 (n_closures, 2).
    """

    n_atoms: NDArray[np.int32]
    first: NDArray[np.int32]
    query: NDArray[np.int32]
    beside: NDArray[np.int32]
    bond: NDArray[np.int32]
    closing: NDArray[np.int32]
    closures: NDArray[np.int32]

    @classmethod
    def of(
        cls,
        patterns: Sequence[Chem.Mol | None],
        atom_number: Mapping[str, int],
        bond_number: Mapping[str, int],
    ) -> Searches:
        """Return the searches for patterns; None for those that are not searched for."""
        n_atoms, first = [], []
        rows: list[tuple[int, int, int]] = []
        closing, closures = [0], list[tuple[int, int]]()
        for pattern in patterns:
            first.append(len(rows))
            n_atoms.append(0 if pattern is None else pattern.GetNumAtoms())
            if pattern is None:
                continue
            texts = [_local_part(atom.GetSmarts())[0] for atom in pattern.GetAtoms()]
            bonds = [bond_number[_bond_text(bond)] for bond in pattern.GetBonds()]
            place: dict[int, int] = {}
            for atom, bound in _order(texts, _neighbours(pattern)):
                (near, by), *others = [(place[j], bonds[b]) for j, b in bound] or [(0, 0)]
                rows.append((atom_number[texts[atom]], near, by))
                closures += others
                closing.append(len(closures))
                place[atom] = len(place)
        query, beside, bond = np.array(rows, np.int32).reshape(-1, 3).T.copy()
        return cls(
            np.array(n_atoms, np.int32),
            np.array(first, np.int32),
            query,
            beside,
            bond,
            np.array(closing, np.int32),
            np.array(closures, np.int32).reshape(-1, 2),
        )


def _order(
    texts: Sequence[str], neighbours: list[list[tuple[int, int]]]
) -> Iterator[tuple[int, list[tuple[int, int]]]]:
    """Yield a connected pattern's atoms, rare ones first, and the earlier ones it is bound to."""

    def rarity(atom: int) -> tuple[bool, int]:
        return texts[atom] in _COMMON_ATOMS, -len(neighbours[atom])

    done: set[int] = set()
    reached = {min(range(len(texts)), key=rarity)}
    while reached:
        # Those with most bonds to earlier atoms first: they exclude most.
        atom = min(
            reached, key=lambda i: (-sum(j in done for j, _ in neighbours[i]), *rarity(i), i)
        )
        yield atom, [(j, b) for j, b in neighbours[atom] if j in done]
        done.add(atom)
        reached = (reached | {j for j, _ in neighbours[atom]}) - done


class Target(NamedTuple):
    """A molecule that is searched.

    Parameters
    ----------
    atom_fits, bond_fits
        What each atom and each bond fits, bool (n_atoms, n_queries), (n_bonds, n_queries).
    starts
        Where the neighbours of each atom begin in the following, int32 (n_atoms + 1,).
    around
        Neighbours and the bonds to them, int32 (2 n_bonds, 2).
    """

    atom_fits: NDArray[np.bool_]
    bond_fits: NDArray[np.bool_]
    starts: NDArray[np.int32]
    around: NDArray[np.int32]


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


def _is_local_path(pattern: Chem.Mol) -> bool:
    """Return whether a pattern is one counted path, so that a single such path is a match."""
    n_atoms = pattern.GetNumAtoms()
    return (
        0 < n_atoms <= _LONGEST_PATH
        and pattern.GetNumBonds() == n_atoms - 1
        and all(atom.GetDegree() <= 2 for atom in pattern.GetAtoms())
        and _is_local_piece(pattern)
    )


def _is_local(pattern: Chem.Mol) -> bool:
    """Return whether a pattern can be searched for: all that it asks for is local."""
    return 1 < pattern.GetNumAtoms() <= MOST_ATOMS and _is_local_piece(pattern)


def _is_local_piece(pattern: Chem.Mol) -> bool:
    """Return whether a pattern is in one piece and asks for local properties only."""
    return (
        len(Chem.GetMolFrags(pattern)) == 1
        and all(_local_part(atom.GetSmarts())[1] for atom in pattern.GetAtoms())
        and all(_LOCAL_BOND.fullmatch(_bond_text(bond)) for bond in pattern.GetBonds())
    )


def _pattern_paths(pattern: Chem.Mol) -> Counter[Path]:
    """Return the local parts of all paths of a pattern with their counts."""
    atoms = [_local_part(atom.GetSmarts())[0] for atom in pattern.GetAtoms()]
    bonds = [_bond_text(bond) for bond in pattern.GetBonds()]
    # A bond that asks for more than its own type (a direction) may be any bond here.
    bonds = [text if _LOCAL_BOND.fullmatch(text) else "~" for text in bonds]
    found: Counter[Path] = Counter(((text,), ()) for text in atoms)
    for path in _paths(_neighbours(pattern)):
        forward = tuple(atoms[i] for i in path[::2]), tuple(bonds[b] for b in path[1::2])
        backward = forward[0][::-1], forward[1][::-1]
        found[min(forward, backward)] += 1
    return found
