"""Hydrogens of acids of sulfur and phosphorus, whose double bonds are written in several ways.

A hydrogen of such a group may be at any of its oxygens, sulfurs and nitrogens: benzenesulfonamide
is also written ``N=S(=O)(O)c1ccccc1``, and diethyl thiophosphate ``CCOP(=O)(S)OCC``. InChI takes
both for one compound. Here it is at nitrogen before oxygen and at oxygen before sulfur, as
databases mostly have it.
"""

from __future__ import annotations

from rdkit import Chem

from specvae.molecules.repeated_moves import all_moved

_CENTRE = "[#15,#16,#33,#34;+0]"
# The centre, which few molecules have, the atom with a hydrogen, and the one that is to have it.
# Labelled hydrogens, which are atoms (not ``h``), stay where they are.
_ELSEWHERE = tuple(
    map(
        Chem.MolFromSmarts,
        (
            f"{_CENTRE}(-[OX2h1,SX2h1,SeX2h1;+0])=[NX2;+0]",
            f"{_CENTRE}(-[SX2h1,SeX2h1;+0])=[OX1;+0]",
        ),
    )
)


def may_be_at_another_atom(mol: Chem.Mol) -> bool:
    """Return whether an acid of sulfur or phosphorus has a hydrogen that others write elsewhere."""
    return any(map(mol.HasSubstructMatch, _ELSEWHERE))


def place_acid_hydrogens(mol: Chem.Mol) -> Chem.Mol:
    """Return the molecule with these hydrogens in their places; itself if they are there.

    A form that InChI calls another compound is not taken.

    Parameters
    ----------
    mol
        Sanitised; it is not changed.
    """
    return all_moved(mol, _once_moved)


def _once_moved(mol: Chem.Mol) -> Chem.Mol | None:
    """Return the molecule with one hydrogen moved; None if all are in their places."""
    for pattern in _ELSEWHERE:
        found = mol.GetSubstructMatch(pattern)
        if found:
            centre, donor, acceptor = found
            moved = Chem.RWMol(mol)
            moved.GetBondBetweenAtoms(donor, centre).SetBondType(Chem.BondType.DOUBLE)
            taken = moved.GetBondBetweenAtoms(centre, acceptor)
            taken.SetBondType(Chem.BondType.SINGLE)
            taken.SetStereo(Chem.BondStereo.STEREONONE)
            for place in (donor, acceptor):
                atom = moved.GetAtomWithIdx(place)
                atom.SetNoImplicit(False)
                atom.SetNumExplicitHs(0)
            Chem.SanitizeMol(moved)
            return moved.GetMol()
    return None
