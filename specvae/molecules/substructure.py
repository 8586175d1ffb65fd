"""Test many substructures on a molecule: exact, and faster than asking RDKit for each.

Most patterns can be ruled out, and many decided, by counting short paths. A pattern that holds two
paths ``C-C-O`` can only match a molecule in which at least two paths fit ``C-C-O``, because a
substructure match maps distinct paths to distinct paths. Whether an atom fits an atom of a pattern
depends on a few of its properties alone (as long as the pattern's atom asks for no ring and no
environment), so the answers are remembered by those properties and the work that is left for a
molecule is looking up and adding. RDKit is asked about the remaining patterns only.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from rdkit import Chem

# Queries that depend on the atom's own properties alone: elements, H, X, D and v counts and charge.
# Rings (R, r, x), environments ($) and chirality (@) do not.
_LOCAL_ATOM = re.compile(r"!?(?:#\d+|[HXDv]\d*|Br|Cl|Si|[BCNOPSFIAacnops*]|[+-]\d*)", re.ASCII)
_LOCAL_BOND = re.compile(r"[-=#:~,;&!]*", re.ASCII)

_LONGEST_PATH = 4  # atoms
_MEMO_LIMIT = 200_000

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
        self._patterns = list(patterns)
        self._least = list(least) if least is not None else [1] * len(self._patterns)
        required = [_pattern_paths(pattern) for pattern in self._patterns]
        is_path = [_is_local_path(pattern) for pattern in self._patterns]
        for i, (pattern, n) in enumerate(zip(self._patterns, self._least, strict=True)):
            if n > 1 and is_path[i]:
                # Each atom or bond is a match of its own; three atoms of a ring are three paths.
                is_path[i] = pattern.GetNumAtoms() <= 2
                if is_path[i]:
                    required[i][max(required[i], key=_path_order)] = n
        self._decided = np.array(is_path, dtype=bool)
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
        self._bond_ids: dict[tuple[int, bool], int] = {}
        self._bond_fits: list[NDArray[np.bool_]] = []
        self._memo: dict[tuple[int, ...], NDArray[np.intp]] = {}

    def __len__(self) -> int:
        return len(self._patterns)

    def matches(self, mol: Chem.Mol) -> NDArray[np.bool_]:
        """Return for each pattern whether the molecule has it often enough; (n_patterns,)."""
        possible = self._possible(mol)
        for i in np.flatnonzero(possible & ~self._decided).tolist():
            pattern, least = self._patterns[i], self._least[i]
            if least == 1:
                possible[i] = mol.HasSubstructMatch(pattern)
            else:
                possible[i] = len(mol.GetSubstructMatches(pattern)) >= least
        return possible

    def _possible(self, mol: Chem.Mol) -> NDArray[np.bool_]:
        """Return which patterns have all their paths in the molecule, often enough."""
        # By number: RDKit's sequences are several times slower.
        atoms = [self._atom_id(mol.GetAtomWithIdx(i)) for i in range(mol.GetNumAtoms())]
        bonds = [self._bond_id(mol.GetBondWithIdx(i)) for i in range(mol.GetNumBonds())]
        memo = self._memo
        if len(memo) > _MEMO_LIMIT:
            memo.clear()
        found = []
        keys: list[tuple[int, ...]] = [(a,) for a in atoms]
        for path in _paths(_neighbours(mol)):
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
        )
        known = self._atom_ids.get(signature)
        if known is None:
            known = self._atom_ids[signature] = len(self._atom_fits)
            self._atom_fits.append(np.array([q.Match(atom) for q in self._atom_queries], bool))
        return known

    def _bond_id(self, bond: Chem.Bond) -> int:
        signature = (int(bond.GetBondType()), bond.GetIsAromatic())
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


def _path_order(path: Path) -> tuple[int, Path]:
    return len(path[0]), path


def _is_local_path(pattern: Chem.Mol) -> bool:
    """Return whether a pattern is one counted path, so that a single such path is a match."""
    n_atoms = pattern.GetNumAtoms()
    return (
        0 < n_atoms <= _LONGEST_PATH
        and pattern.GetNumBonds() == n_atoms - 1
        and all(atom.GetDegree() <= 2 for atom in pattern.GetAtoms())
        and len(Chem.GetMolFrags(pattern)) == 1
        and all(_local_part(atom.GetSmarts())[1] for atom in pattern.GetAtoms())
        and all(_LOCAL_BOND.fullmatch(_bond_text(bond)) for bond in pattern.GetBonds())
    )


def _pattern_paths(pattern: Chem.Mol) -> Counter[Path]:
    """Return the local parts of all paths of a pattern with their counts."""
    atoms = [_local_part(atom.GetSmarts())[0] for atom in pattern.GetAtoms()]
    bonds = [_bond_text(bond) for bond in pattern.GetBonds()]
    # A bond that asks for more than its own type (a ring, a direction) may be any bond here.
    bonds = [text if _LOCAL_BOND.fullmatch(text) else "~" for text in bonds]
    found: Counter[Path] = Counter(((text,), ()) for text in atoms)
    for path in _paths(_neighbours(pattern)):
        forward = tuple(atoms[i] for i in path[::2]), tuple(bonds[b] for b in path[1::2])
        backward = forward[0][::-1], forward[1][::-1]
        found[min(forward, backward)] += 1
    return found
