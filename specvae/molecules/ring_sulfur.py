"""Sulfur with two double bonds in a ring, where others write two single ones.

2,1,3-Benzothiadiazole is written with ``N=S=N`` by some, and the InChI of a thiophene may come back
with ``C1=S=CC=C1``. InChI has one text for both, but bits and fragments differ.
"""

from __future__ import annotations

from rdkit import Chem

from specvae.molecules.alternating_paths import (
    SINGLE,
    alternating_paths,
    sanitised,
    shift,
    without_aromatic_bonds,
)

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

    Both neighbours lose a double bond. They get another by shifting those of a path between them.
    """
    drawn = without_aromatic_bonds(mol)
    paths = alternating_paths(drawn, one, SINGLE, SINGLE, lambda atom: atom.GetIdx() == other)
    path = paths.get(other)
    if path is None or sulfur in path:
        return None
    shift(drawn, path)
    for end in (one, other):
        drawn.GetBondBetweenAtoms(sulfur, end).SetBondType(SINGLE)
    return sanitised(drawn)
