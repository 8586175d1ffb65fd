"""Charges of conjugated cations, which are written at one atom or another: at one place here.

The charge of 1-ethyl-3-methylimidazolium may be written at either nitrogen, and that of rhodamine B
or methylene blue at a nitrogen, or at the oxygen or sulfur of the middle ring, as their InChI come
back. It is one compound, with one InChI. Here the charge is at nitrogen before sulfur, oxygen and
carbon, in an aromatic ring before another ring and that before a chain, and then where canonical
ranks decide.
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
from specvae.molecules.metals import metals_of
from specvae.molecules.mobile_hydrogens import ranks_of
from specvae.molecules.repeated_moves import all_moved

# Without a charge beside it, as nitro groups and ylides have.
_CHARGED = Chem.MolFromSmarts("[#6+,#7+,#8+,#16+,#34+;H0;!$([+]~[-])]")
# Atoms with a lone pair, but not of amides and their kin, nor beside an anion or a nitro group.
_MAY_BE_CHARGED = Chem.MolFromSmarts(
    "[$([#7X3]),$([#8X2]),$([#16X2]),$([#34X2]);+0;H0"
    ";!$([*]-[#6,#15,#16]=[O,S;+0]);!$([*]~[-]);!$([*]-[N+]-[O-])]"
)
_ORDER = {7: 0, 16: 1, 34: 2, 8: 3, 6: 4}  # of elements, the best first

_Cost = tuple[int, bool, bool, int]


def with_charges_in_place(mol: Chem.Mol) -> Chem.Mol:
    """Return a molecule with the charges of conjugated cations in their places.

    Parameters
    ----------
    mol
        Sanitised; it is not changed.

    Returns
    -------
    Chem.Mol
        The same molecule if they are there.
    """
    if not mol.HasSubstructMatch(_CHARGED) or not mol.HasSubstructMatch(_MAY_BE_CHARGED):
        return mol
    if metals_of(mol):
        return mol  # its charges say how the metal is bound
    ranks = _ranks(mol)
    return all_moved(mol, lambda placed: _once_moved(placed, ranks))


def _once_moved(mol: Chem.Mol, ranks: list[int]) -> Chem.Mol | None:
    """Return the molecule with one charge at its best place; None if all are."""
    ends = {place for (place,) in mol.GetSubstructMatches(_MAY_BE_CHARGED)}
    charged = sorted(
        (place for (place,) in mol.GetSubstructMatches(_CHARGED)), key=ranks.__getitem__
    )
    drawn = without_aromatic_bonds(mol)
    for start in charged:
        # A carbon without its fourth bond takes one; all others have a double bond to give.
        first = SINGLE if drawn.GetAtomWithIdx(start).GetSymbol() == "C" else DOUBLE
        best, lowest = None, _cost(mol, start, ranks)
        for path in alternating_paths(
            drawn, start, first, SINGLE, lambda atom: atom.GetIdx() in ends
        ).values():
            moved = _moved(drawn, path)
            cost = lowest if moved is None else _cost(moved, path[-1], ranks)
            if cost < lowest:
                best, lowest = moved, cost
        if best is not None:
            return best
    return None


def _moved(mol: Chem.RWMol, path: list[int]) -> Chem.Mol | None:
    """Return a molecule whose charge moved along a path, None if it is none."""
    moved = Chem.RWMol(mol)
    shift(moved, path)
    for place, charge in ((path[0], 0), (path[-1], 1)):
        moved.GetAtomWithIdx(place).SetFormalCharge(charge)
    return sanitised(moved)


def _cost(mol: Chem.Mol, place: int, ranks: list[int]) -> _Cost:
    atom = mol.GetAtomWithIdx(place)
    return _ORDER[atom.GetAtomicNum()], not atom.GetIsAromatic(), not atom.IsInRing(), ranks[place]


def _ranks(mol: Chem.Mol) -> list[int]:
    """Return canonical ranks of the atoms that do not depend on where charges are written."""
    bare = Chem.RWMol(mol)
    for atom in bare.GetAtoms():
        atom.SetFormalCharge(0)
        atom.SetIsAromatic(False)
        atom.SetNoImplicit(True)
        atom.SetNumExplicitHs(0)  # which only atoms in brackets have
    for bond in bare.GetBonds():
        bond.SetIsAromatic(False)
        bond.SetBondType(SINGLE)
        bond.SetStereo(Chem.BondStereo.STEREONONE)
    return ranks_of(bare)
