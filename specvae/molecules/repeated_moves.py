"""Hydrogens and charges that are moved one after the other, as long as InChI agrees."""

from __future__ import annotations

from collections.abc import Callable

from rdkit import Chem

from specvae.molecules.mobile_hydrogens import first_block

_MOST_MOVES = 20  # of a molecule


def all_moved(mol: Chem.Mol, once_moved: Callable[[Chem.Mol], Chem.Mol | None]) -> Chem.Mol:
    """Return a molecule after all moves; itself if there is none, or InChI knows another compound.

    Parameters
    ----------
    mol
        Sanitised; it is not changed.
    once_moved
        Returns the molecule after one move, None if all are made.
    """
    placed = mol
    for _ in range(_MOST_MOVES):
        moved = once_moved(placed)
        if moved is None:
            break
        placed = moved
    if placed is mol or first_block(placed) != first_block(mol):
        return mol
    return placed
