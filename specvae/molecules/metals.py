"""Metals of a structure: which are bound, and which are ions that belong to a salt or a complex."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from rdkit import Chem

# Metals that are counter-ions rather than the centre of a complex; these and non-metals.
_COUNTER_IONS = frozenset({3, 11, 19, 37, 55, 20, 38, 56})
_NO_COMPLEX = _COUNTER_IONS | frozenset(
    {0, 1, 2, 5, 6, 7, 8, 9, 10, 14, 15, 16, 17, 18, 33, 34, 35, 36, 52, 53, 54, 85}
)

# Metals whose bonds to oxygen and sulfur are written in salts, but are none there; of others, such
# as tin and mercury, they are bonds.
_IN_SALTS = _COUNTER_IONS | frozenset({12, 13, *range(21, 31), 47, 48})
_IN_SALTS_TEXT = re.compile(
    r"\[\d*(?:Li|Na|K|Rb|Cs|Mg|Ca|Sr|Ba|Al|Sc|Ti|V|Cr|Mn|Fe|Co|Ni|Cu|Zn|Ag|Cd)(?![a-z])"
)
_METALS = frozenset(range(3, 104)) - _NO_COMPLEX | _COUNTER_IONS
# A dative bond, or an element of which RDKit makes one.
_MAY_BE_DATIVE = re.compile(
    r"->|<-|\[\d*(?!Cl|Br|Si|Se|As|Te)(?:[A-Z][a-z]|[VYWU](?![a-z]))"  # metals
)
MAY_HAVE_METAL_BONDS = re.compile(f"{_IN_SALTS_TEXT.pattern}|{_MAY_BE_DATIVE.pattern}")
"""Found in every SMILES with a bond that `without_bonds_to_metals` takes away."""

_DATIVE = Chem.MolFromSmarts("[*]->[*]")
_ACID_DEGREES = {8: 2, 16: 2, 34: 2, 9: 1, 17: 1, 35: 1, 53: 1}

# Ions of these metals are always taken as complexes. Ions of others are if two nitrogens or
# carbons bear the negative charges (porphyrins, cyclopentadienyls, cyanides, carbonyls), or one
# beside three imines (corrins).
_ALWAYS_COMPLEX = frozenset({43, 44, 45, 46, 75, 76, 77, 78, 79, *range(57, 72)})
_LIGAND_CHARGE = Chem.MolFromSmarts("[$([#6-,#7-]);!$([#6,#7]~[+]),$([#6-]#[#8+])]")
_IMINE = Chem.MolFromSmarts("[NX2;R]=[#6]")


def without_bonds_to_metals(mol: Chem.Mol, kind: str, text: str) -> Chem.Mol:
    """Return a structure without bonds to metals that others write as ions or in pieces.

    These are the bonds of salts, and dative bonds, of which InChI knows none.

    Parameters
    ----------
    mol
        As it was read; itself is returned where it has no such bond.
    kind, text
        ``SMILES`` or ``InChI``, and what was read: a search in it is quicker than one in `mol`.
    """
    if kind == "SMILES" and _MAY_BE_DATIVE.search(text) is not None:
        mol = _without_dative_bonds(mol)
    return mol if _IN_SALTS_TEXT.search(text) is None else _as_ions(mol)


def is_complex(mol: Chem.Mol, components: Sequence[Chem.Mol]) -> bool:
    """Whether components belong together as the metal and the ligands of a complex."""
    metals = {number for part in components for number in metals_of(part)}
    if len(components) < 2 or not metals:
        return False
    n_charges = len(mol.GetSubstructMatches(_LIGAND_CHARGE))
    is_corrin = n_charges == 1 and len(mol.GetSubstructMatches(_IMINE)) > 2
    return n_charges > 1 or is_corrin or bool(metals & _ALWAYS_COMPLEX)


def metals_of(component: Chem.Mol) -> set[int]:
    """Return the atomic numbers of the metals but for those that are mere counter-ions."""
    return {atom.GetAtomicNum() for atom in component.GetAtoms()} - _NO_COMPLEX


def _without_dative_bonds(mol: Chem.Mol) -> Chem.Mol:
    """Return a complex of a metal as databases write it in pieces, or else the same molecule.

    InChI knows no dative bonds, and others write ``N.N.Cl[Pt]Cl`` for ``[NH3]->[Pt]``.
    """
    bonds = [
        bond
        for bond in mol.GetSubstructMatches(_DATIVE)
        if any(mol.GetAtomWithIdx(place).GetAtomicNum() in _METALS for place in bond)
    ]
    if not bonds:
        return mol
    pieces = Chem.RWMol(mol)
    for bond in bonds:
        pieces.RemoveBond(*bond)
    Chem.SanitizeMol(pieces)
    return pieces.GetMol()


def _as_ions(mol: Chem.Mol) -> Chem.Mol:
    """Return a salt that is written with bonds to its metal as ions, or else the same molecule."""
    bonds = []
    for atom in mol.GetAtoms():
        number = atom.GetAtomicNum()
        if number not in _IN_SALTS:
            continue
        degrees = {**_ACID_DEGREES, 7: 3} if number in _COUNTER_IONS else _ACID_DEGREES
        of_atom = atom.GetBonds()
        if all(
            bond.GetBondType() is Chem.BondType.SINGLE
            and _may_be_anion(bond.GetOtherAtom(atom), degrees)
            for bond in of_atom
        ):
            bonds += [(atom.GetIdx(), bond.GetOtherAtomIdx(atom.GetIdx())) for bond in of_atom]
    if not bonds:
        return mol
    ions = Chem.RWMol(mol)
    for metal, acid in bonds:
        ions.RemoveBond(metal, acid)
        for place, charge in ((metal, 1), (acid, -1)):
            atom = ions.GetAtomWithIdx(place)
            atom.SetFormalCharge(atom.GetFormalCharge() + charge)
    Chem.SanitizeMol(ions)
    return ions.GetMol()


def _may_be_anion(atom: Chem.Atom, degrees: Mapping[int, int]) -> bool:
    """Whether an atom is one of an acid, and gives no lone pair to the metal that it is bound to.

    `degrees` has the most neighbours of such atoms by element.
    """
    most = degrees.get(atom.GetAtomicNum(), 0)
    return atom.GetFormalCharge() == 0 and atom.GetTotalDegree() <= most
