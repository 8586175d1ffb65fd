"""What a pattern asks for, read from its SMARTS: single atoms, bonds, and the paths of these.

What an atom of a pattern asks for depends on an atom's kind alone (`specvae.molecules.topology`),
as long as it asks for no environment: that part of it is called local.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import combinations

from rdkit import Chem

# Queries that depend on an atom's kind alone: elements, H, X, D and v counts, charge and rings.
# Environments ($) and chirality (@) do not.
LOCAL_ATOM = re.compile(r"!?(?:#\d+|[HXDvRr]\d*|Br|Cl|Si|[BCNOPSFIARacnops*]|[+-]\d*)", re.ASCII)
_NO_TEXT = "-,:"  # what a bond without text asks for
LOCAL_BOND = re.compile(r"[-=#:~@,;&!]*", re.ASCII)

LONGEST_PATH = 4
"""Atoms of the longest paths that are counted."""

Path = tuple[tuple[str, ...], tuple[str, ...]]
"""What the atoms of a path, and its bonds, ask for."""

Neighbours = list[list[tuple[int, int]]]
"""Of each atom its neighbours, as (atom index, bond index)."""


def split_outside(text: str, separator: str) -> list[str]:
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


def clauses_of(text: str) -> list[list[list[str]]]:
    """Return what an atom's SMARTS asks for: all clauses, of each one choice, of it all terms.

    SMARTS binds ``&`` before ``,`` before ``;``.
    """
    inner = text[1:-1] if text.startswith("[") else text
    return [
        [split_outside(choice, "&") for choice in split_outside(clause, ",")]
        for clause in split_outside(inner, ";")
    ]


@cache
def local_part(text: str) -> tuple[str, bool]:
    """Return the part of an atom's SMARTS that is local, and whether that is all of it.

    What is dropped is always one side of an "and", so that the part asks for less than the whole.
    """
    kept = []
    exact = True
    for choices in clauses_of(text):
        if all(LOCAL_ATOM.fullmatch(term) for choice in choices for term in choice):
            kept.append(",".join(map("&".join, choices)))
            continue
        exact = False
        if len(choices) == 1:
            local = [term for term in choices[0] if LOCAL_ATOM.fullmatch(term)]
            kept += ["&".join(local)] if local else []
    return (f"[{';'.join(kept)}]" if kept else "*"), exact


def texts_of_bonds(pattern: Chem.Mol) -> list[str]:
    """Return what the bonds of a pattern ask for as SMARTS.

    A bond of a ring is only found in a ring: a search that knows it ends sooner, around a ring of
    eight atoms after a tenth of the steps.
    """
    Chem.FastFindRings(pattern)
    # RDKit's type stubs ask for the bond a second time.
    texts = [bond.GetSmarts() for bond in pattern.GetBonds()]  # type: ignore[call-arg]
    return [
        f"{text or _NO_TEXT};@" if bond.IsInRing() and LOCAL_BOND.fullmatch(text) else text
        for text, bond in zip(texts, pattern.GetBonds(), strict=True)
    ]


def neighbours_of(n_atoms: int, bonds: Iterable[tuple[int, int]]) -> Neighbours:
    """Return for each atom its neighbours as (atom index, bond index)."""
    neighbours: Neighbours = [[] for _ in range(n_atoms)]
    for b, (i, j) in enumerate(bonds):
        neighbours[i].append((j, b))
        neighbours[j].append((i, b))
    return neighbours


def neighbours_in(pattern: Chem.Mol) -> Neighbours:
    """Return the same for a pattern."""
    bonds = ((b.GetBeginAtomIdx(), b.GetEndAtomIdx()) for b in pattern.GetBonds())
    return neighbours_of(pattern.GetNumAtoms(), bonds)


def simple_paths(neighbours: Neighbours) -> Iterator[tuple[int, ...]]:
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


def alternatives(pattern: Chem.Mol) -> list[Chem.Mol]:
    """Return the environments, of which an atom has one if it fits a pattern of one atom.

    Any other pattern is returned as it is.
    """
    text = pattern.GetAtomWithIdx(0).GetSmarts() if pattern.GetNumAtoms() == 1 else ""
    parts = split_outside(text[1:-1], ",")
    if not all(part.startswith("$(") and split_outside(part, ")")[1:] == [""] for part in parts):
        return [pattern]
    found = [Chem.MolFromSmarts(part[2:-1]) for part in parts]
    return found if all(found) else [pattern]


def is_round(pattern: Chem.Mol) -> bool:
    """Return whether a pattern is a ring of equal atoms and bonds."""
    return (
        len({atom.GetSmarts() for atom in pattern.GetAtoms()}) == 1
        and len(set(texts_of_bonds(pattern))) == 1
        and all(atom.GetDegree() == 2 for atom in pattern.GetAtoms())
        and len(Chem.GetMolFrags(pattern)) == 1
    )


def is_path(pattern: Chem.Mol) -> bool:
    """Return whether a pattern is one counted path, so that a single such path is a match."""
    n_atoms = pattern.GetNumAtoms()
    return (
        0 < n_atoms <= LONGEST_PATH
        and pattern.GetNumBonds() == n_atoms - 1
        and len(Chem.GetMolFrags(pattern)) == 1
        and all(atom.GetDegree() <= 2 for atom in pattern.GetAtoms())
        and all(local_part(atom.GetSmarts())[1] for atom in pattern.GetAtoms())
        and all(map(LOCAL_BOND.fullmatch, texts_of_bonds(pattern)))
    )


def pattern_paths(pattern: Chem.Mol) -> Counter[Path]:
    """Return the local parts of all paths of a pattern with their counts."""
    atoms = [local_part(atom.GetSmarts())[0] for atom in pattern.GetAtoms()]
    bonds = texts_of_bonds(pattern)
    # A bond that asks for more than its own type (a direction) may be any bond here.
    bonds = [text if LOCAL_BOND.fullmatch(text) else "~" for text in bonds]
    found: Counter[Path] = Counter(((text,), ()) for text in atoms)
    for path in simple_paths(neighbours_in(pattern)):
        forward = tuple(atoms[i] for i in path[::2]), tuple(bonds[b] for b in path[1::2])
        backward = forward[0][::-1], forward[1][::-1]
        found[min(forward, backward)] += 1
    return found


def path_order(path: Path) -> tuple[int, Path]:
    """Return a key to sort paths by: long ones last."""
    return len(path[0]), path
