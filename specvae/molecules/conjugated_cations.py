"""Cations of which InChI does not say where their charge is: pyridinium and its kin.

The InChI of 4-hydroxy-1-methylpyridinium is that of 1-methyl-4-pyridone and a proton (``/p+1``),
and that of a 4-aminopyridinium an imine's. RDKit puts the proton on the nitrogen that bears three
carbons, or on the imine, where it would be taken for one that was added to a neutral compound.
Databases write these compounds with an aromatic nitrogen that keeps its charge, and so does
`with_aromatic_charge`.
"""

from __future__ import annotations

from collections import deque
from itertools import pairwise

from rdkit import Chem

# A nitrogen that bears three heavy atoms and a proton, and an iminium ion.
_PROTONATED = Chem.MolFromSmarts("[NX4;+;H1;R]")
_IMINIUM = Chem.MolFromSmarts("[NX3;+;!H0]=[#6]")
# What would take a proton rather: an aliphatic amine. And what a proton would leave rather.
_AMINE = Chem.MolFromSmarts("[NX3,NX4+;!$(N=*);!$(N*=*);!$(N~[!#6;!#1]);!$(N-c)]")
_AROMATIC_NH = Chem.MolFromSmarts("[nH]")
_CHARGED_AMIDE = Chem.MolFromSmarts("[NX1,NX2;-]-[#6]=[OX2H;+]")
_SINGLE, _DOUBLE = Chem.BondType.SINGLE, Chem.BondType.DOUBLE
_OTHER_ORDER = {_SINGLE: _DOUBLE, _DOUBLE: _SINGLE}


def with_aromatic_charge(mol: Chem.Mol) -> Chem.Mol:
    """Return a cation with its charge at an aromatic nitrogen, where double bonds lead to one.

    Parameters
    ----------
    mol
        As RDKit reads it of an InChI with ``/p+``.

    Returns
    -------
    Chem.Mol
        With the same atoms and charge; the same molecule if there is no such nitrogen, or an amine
        that would rather take the proton.
    """
    mol = _with_plain_amides(mol)
    if mol.HasSubstructMatch(_AMINE):
        return mol
    starts = [*mol.GetSubstructMatches(_PROTONATED), *mol.GetSubstructMatches(_IMINIUM)]
    if not starts:
        return mol
    drawn = Chem.RWMol(mol)
    Chem.Kekulize(drawn, clearAromaticFlags=True)
    for start, *_ in starts:
        path = _path(drawn, start)
        moved = _moved(drawn, path) if path else None
        if moved is not None:
            return moved
    return mol


def _with_plain_amides(mol: Chem.Mol) -> Chem.Mol:
    """Return a molecule with amides where RDKit put charges: ``C([NH-])=[OH+]``."""
    amides = mol.GetSubstructMatches(_CHARGED_AMIDE)
    if not amides:
        return mol
    plain = Chem.RWMol(mol)
    for nitrogen, _, oxygen in amides:
        for place, change in ((nitrogen, 1), (oxygen, -1)):
            atom = plain.GetAtomWithIdx(place)
            atom.SetNumExplicitHs(atom.GetTotalNumHs() + change)
            atom.SetFormalCharge(0)
    Chem.SanitizeMol(plain)
    return plain.GetMol()


def _path(mol: Chem.Mol, start: int) -> list[int] | None:
    """Return the atoms of the shortest way from a charged nitrogen along alternating bonds.

    From an iminium ion it leads to a nitrogen with three neighbours, else to an oxygen with one.
    """
    is_iminium = mol.GetAtomWithIdx(start).GetTotalDegree() == 3  # as `_IMINIUM`
    first = _DOUBLE if is_iminium else _SINGLE
    ways = deque([([start], first)])
    seen = {(start, first)}
    while ways:
        way, order = ways.popleft()
        for bond in mol.GetAtomWithIdx(way[-1]).GetBonds():
            place = bond.GetOtherAtomIdx(way[-1])
            if bond.GetBondType() is not order or place in way:
                continue
            if order is not first and _ends(mol.GetAtomWithIdx(place), is_iminium=is_iminium):
                return [*way, place]
            state = place, _OTHER_ORDER[order]
            if state not in seen:
                seen.add(state)
                ways.append(([*way, place], state[1]))
    return None


def _ends(atom: Chem.Atom, *, is_iminium: bool) -> bool:
    if atom.GetFormalCharge() != 0:
        return False
    if not is_iminium:
        return atom.GetSymbol() == "O" and atom.GetDegree() == 1 and not _is_of_acid(atom)
    return (
        atom.GetSymbol() == "N"
        and atom.GetDegree() == 3  # no hydrogen
        and atom.IsInRing()
    )


def _bears_oxygen(atom: Chem.Atom) -> bool:
    """Whether an atom bears an oxygen or sulfur without other neighbours: C=O, C-OH."""
    neighbours = atom.GetNeighbors()
    return any(other.GetSymbol() in ("O", "S") and other.GetDegree() == 1 for other in neighbours)


def _is_of_acid(oxygen: Chem.Atom) -> bool:
    """Whether an oxygen is that of an amide or ester."""
    (carbon,) = oxygen.GetNeighbors()
    others = [atom for atom in carbon.GetNeighbors() if atom.GetIdx() != oxygen.GetIdx()]
    return carbon.GetSymbol() == "C" and any(atom.GetSymbol() != "C" for atom in others)


def _moved(mol: Chem.Mol, path: list[int]) -> Chem.Mol | None:
    """Return a molecule whose double bonds moved along a path, None if it is no such cation."""
    moved = Chem.RWMol(mol)
    for one, other in pairwise(path):
        bond = moved.GetBondBetweenAtoms(one, other)
        bond.SetBondType(_OTHER_ORDER[bond.GetBondType()])
    start, end = (moved.GetAtomWithIdx(place) for place in (path[0], path[-1]))
    if end.GetSymbol() == "N":
        start.SetFormalCharge(0)
        end.SetFormalCharge(1)
        charged = end
    else:
        start.SetNumExplicitHs(0)
        end.SetNumExplicitHs(1)
        charged = start
    if any(map(_bears_oxygen, charged.GetNeighbors())):
        return None  # an amide's, as in cytidine
    try:
        Chem.SanitizeMol(moved)
    except Chem.MolSanitizeException:
        return None
    is_sound = charged.GetIsAromatic() and not moved.HasSubstructMatch(_AROMATIC_NH)
    return moved.GetMol() if is_sound else None
