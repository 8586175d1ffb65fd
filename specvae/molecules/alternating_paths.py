"""Ways along bonds of a molecule that are single and double in turn, as double bonds may shift."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from itertools import pairwise

from rdkit import Chem

SINGLE, DOUBLE = Chem.BondType.SINGLE, Chem.BondType.DOUBLE
_OTHER_ORDER = {SINGLE: DOUBLE, DOUBLE: SINGLE}


def without_aromatic_bonds(mol: Chem.Mol) -> Chem.RWMol:
    """Return a copy of a sanitised molecule with single and double bonds alone."""
    drawn = Chem.RWMol(mol)
    Chem.Kekulize(drawn, clearAromaticFlags=True)
    return drawn


def sanitised(drawn: Chem.RWMol) -> Chem.Mol | None:
    """Return a molecule as RDKit perceives it, None if it is none; `drawn` is changed."""
    try:
        Chem.SanitizeMol(drawn)
    except Chem.MolSanitizeException:
        return None
    return drawn.GetMol()


def alternating_paths(
    mol: Chem.Mol,
    start: int,
    first: Chem.BondType,
    last: Chem.BondType,
    ends: Callable[[Chem.Atom], bool],
) -> dict[int, list[int]]:
    """Return the atoms of the shortest way to each end, by the end; the nearest end is the first.

    Parameters
    ----------
    mol
        Without aromatic bonds.
    start
        Where the ways begin.
    first, last
        Orders of their first and last bonds.
    ends
        Whether a way may lead to an atom.
    """
    ways = deque([([start], first)])
    seen = {(start, first)}
    found: dict[int, list[int]] = {}
    while ways:
        way, order = ways.popleft()
        for bond in mol.GetAtomWithIdx(way[-1]).GetBonds():
            place = bond.GetOtherAtomIdx(way[-1])
            if bond.GetBondType() is not order or place in way:
                continue
            if order is last and ends(mol.GetAtomWithIdx(place)):
                found.setdefault(place, [*way, place])
            state = place, _OTHER_ORDER[order]
            if state not in seen:
                seen.add(state)
                ways.append(([*way, place], state[1]))
    return found


def shift(mol: Chem.RWMol, path: list[int]) -> None:
    """Write single bonds for the double ones of a path, and the other way round."""
    for one, other in pairwise(path):
        bond = mol.GetBondBetweenAtoms(one, other)
        bond.SetBondType(_OTHER_ORDER[bond.GetBondType()])
        bond.SetStereo(Chem.BondStereo.STEREONONE)
