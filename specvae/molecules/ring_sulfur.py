"""Sulfur with two double bonds in a ring, where others write two single ones.

2,1,3-Benzothiadiazole is written with ``N=S=N`` by some, and the InChI of a thiophene may come back
with ``C1=S=CC=C1``. InChI has one text for both, but bits and fragments differ.
"""

from __future__ import annotations

from itertools import pairwise

from rdkit import Chem

_TWO_DOUBLE = Chem.MolFromSmarts("[#16X2v4,#34X2v4;R;+0](=*)=*")


def has_two_double_bonds(mol: Chem.Mol) -> bool:
    """Return whether a sulfur of a ring has two double bonds and no other."""
    return mol.HasSubstructMatch(_TWO_DOUBLE)


def with_single_bonds(mol: Chem.Mol) -> Chem.Mol:
    """Return the molecule with single bonds at such sulfurs, if its other atoms can have theirs.

    Parameters
    ----------
    mol
        Sanitised; it is not changed.

    Returns
    -------
    Chem.Mol
        The same molecule if there is none.
    """
    for sulfur, one, other in mol.GetSubstructMatches(_TWO_DOUBLE):
        changed = _with_path_shifted(mol, sulfur, one, other)
        if changed is not None:
            mol = changed
    return mol


def _with_path_shifted(mol: Chem.Mol, sulfur: int, one: int, other: int) -> Chem.Mol | None:
    """Return the molecule with single bonds at a sulfur; None if it has no such form.

    Both neighbours lose a double bond. They get another by shifting those of a path between them
    on which single and double bonds take turns.
    """
    kekule = Chem.RWMol(mol)
    Chem.Kekulize(kekule, clearAromaticFlags=True)
    path = _alternating_path(kekule, sulfur, one, other)
    if path is None:
        return None
    for end in (one, other):
        kekule.GetBondBetweenAtoms(sulfur, end).SetBondType(Chem.BondType.SINGLE)
    for step, (a, b) in enumerate(pairwise(path)):
        bond = kekule.GetBondBetweenAtoms(a, b)
        bond.SetBondType(Chem.BondType.SINGLE if step % 2 else Chem.BondType.DOUBLE)
        bond.SetStereo(Chem.BondStereo.STEREONONE)
    changed = kekule.GetMol()
    try:
        Chem.SanitizeMol(changed)
    except Chem.MolSanitizeException:
        return None
    return changed


def _alternating_path(mol: Chem.RWMol, sulfur: int, one: int, other: int) -> list[int] | None:
    """Return the shortest path around a sulfur that begins and ends with a single bond."""
    waiting = [[one]]
    seen = {(one, 0)}
    for path in waiting:  # it grows meanwhile
        is_single = len(path) % 2 == 1
        wanted = Chem.BondType.SINGLE if is_single else Chem.BondType.DOUBLE
        for bond in mol.GetAtomWithIdx(path[-1]).GetBonds():
            atom = bond.GetOtherAtomIdx(path[-1])
            if bond.GetBondType() != wanted or atom == sulfur or atom in path:
                continue
            if atom == other and is_single:
                return [*path, atom]
            state = (atom, len(path) % 2)
            if bond.IsInRing() and state not in seen:
                seen.add(state)
                waiting.append([*path, atom])
    return None
