"""Hydrazones and imines of rings, which others write as amines of a ring in an unlikely state.

For InChI, a hydrogen moves between the nitrogen of a hydrazone and one of its ring. The InChI of a
pyrazolone's hydrazone comes back with ``N=N`` in the ring, and some databases write that of isatin
with a quinoid benzene. The form with fewer of these double bonds is taken.
"""

from __future__ import annotations

from rdkit import Chem

from specvae.molecules.alternating_paths import (
    DOUBLE,
    SINGLE,
    alternating_paths,
    sanitised,
    shift,
    without_aromatic_bonds,
)
from specvae.molecules.repeated_moves import all_moved

_UNLIKELY = tuple(map(Chem.MolFromSmarts, ("[NX2;R]=[NX2;R]", "c=[#6,#7]")))
_OUT_OF_ORDER = Chem.MolFromSmarts("[$([NX2;R;+0]=[NX2;R]),$([NX2;R;+0]=c)]")
# With a hydrogen that is no atom of its own, as labelled ones are (``h``).
_AMINE = Chem.MolFromSmarts("[NX3;!h0;!R;+0]-[#6;R]=[#6;R]")


def may_be_hydrazone(mol: Chem.Mol) -> bool:
    """Return whether a molecule has such a ring and such an amine."""
    return mol.HasSubstructMatch(_OUT_OF_ORDER) and mol.HasSubstructMatch(_AMINE)


def with_hydrazones(mol: Chem.Mol) -> Chem.Mol:
    """Return the molecule with hydrazones and imines in place of such amines; itself without them.

    Parameters
    ----------
    mol
        Sanitised; it is not changed.
    """
    return all_moved(mol, _once_moved) if may_be_hydrazone(mol) else mol


def _once_moved(mol: Chem.Mol) -> Chem.Mol | None:
    acceptors = {place for (place,) in mol.GetSubstructMatches(_OUT_OF_ORDER)}
    drawn = without_aromatic_bonds(mol)
    fewest = _n_unlikely(mol)
    for amine, *_ in mol.GetSubstructMatches(_AMINE):
        paths = alternating_paths(
            drawn, amine, SINGLE, DOUBLE, lambda atom: atom.GetIdx() in acceptors
        )
        for path in paths.values():
            moved = _moved(drawn, path)
            if moved is not None and _n_unlikely(moved) < fewest:
                return moved
    return None


def _moved(mol: Chem.RWMol, path: list[int]) -> Chem.Mol | None:
    """Return a molecule whose hydrogen moved from the begin of a path to its end."""
    moved = Chem.RWMol(mol)
    shift(moved, path)
    for place, change in ((path[0], -1), (path[-1], 1)):
        atom = moved.GetAtomWithIdx(place)
        atom.SetNumExplicitHs(atom.GetTotalNumHs() + change)
        atom.SetNoImplicit(True)
    return sanitised(moved)


def _n_unlikely(mol: Chem.Mol) -> int:
    """Return the number of ``N=N`` in rings and of double bonds that leave an aromatic ring."""
    return sum(len(mol.GetSubstructMatches(pattern)) for pattern in _UNLIKELY)
