"""Charges whose place InChI leaves open: of pyridinium and similar ions, and diazine dioxides.

The InChI of 4-hydroxy-1-methylpyridinium is that of 1-methyl-4-pyridone and a proton (``/p+1``),
and that of a 4-aminopyridinium an imine's. RDKit puts the proton on the nitrogen that bears three
carbons, on the imine or on an aniline (ethidium), or has an oxime as nitroso compound
(pralidoxime), where it would be taken for one that was added to a neutral compound.
Databases write these compounds with an aromatic nitrogen that keeps its charge, and so does
`with_aromatic_charge`. Likewise it has pyrazine dioxide as ``O=[n+]1ccn([O-])cc1``; `with_oxides`
writes ``[O-][n+]1cc[n+]([O-])cc1``.
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

# A nitrogen that bears three heavy atoms and a proton, an iminium ion, and an enol, as that of
# 4-hydroxybenzoic esters of choline.
_PROTONATED = Chem.MolFromSmarts("[NX4;+;H1;R]")
_IMINIUM = Chem.MolFromSmarts("[NX3;+;!H0]=[#6]")
_ENOL = Chem.MolFromSmarts("[OX2H]-[C]=[C;R]")
_OXIME = Chem.MolFromSmarts("[OX2h1;+]=[#7]")
# Where RDKit puts the proton of an imine's or oxime's cation (an aniline, the nitrogen), and where
# it belongs.
_ELSEWHERE = tuple(
    map(
        Chem.MolFromSmarts,
        (
            "[$([NX4;+;!h0;!R]-c)].[$([NX2;+0;!R]=[#6;R]);!$(N~[!#6;!#1])]",
            "[NX3;+;h1;$(N~[#6;!R])]=[OX1;+0]",
        ),
    )
)
# Groups that would sooner take a proton, such as an aliphatic amine, and that would sooner lose it.
_AMINE = Chem.MolFromSmarts("[$([NX3]),$([NX4+;!H0]);!$(N=*);!$(N*=*);!$(N~[!#6;!#1]);!$(N-c)]")
_AROMATIC_NH = Chem.MolFromSmarts("[nH]")
_OXO = Chem.MolFromSmarts("[OX1;+0]=[#7X3;+;R]")
_UNPAIRED = Chem.MolFromSmarts("[#7X2v2;+0]")
_CHARGED_AMIDE = Chem.MolFromSmarts("[NX1,NX2;-]-[#6]=[OX2h1;+]")


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
    protonated = _with_proton_at_double_bond(mol)
    starts = [
        start
        for pattern in (_PROTONATED, _IMINIUM, _OXIME, _ENOL)
        for start, *_ in protonated.GetSubstructMatches(pattern)
    ]
    if not starts:
        return mol
    drawn = without_aromatic_bonds(protonated)
    for start in starts:
        atom = drawn.GetAtomWithIdx(start)
        has_double_bond = atom.GetFormalCharge() == 1 and atom.GetTotalDegree() < 4
        if has_double_bond:
            paths = alternating_paths(drawn, start, DOUBLE, SINGLE, _is_tertiary)
        else:
            paths = alternating_paths(drawn, start, SINGLE, DOUBLE, _is_ketone)
        path = next(iter(paths.values()), None)
        moved = _moved(drawn, path) if path else None
        if moved is not None:
            return moved
    return mol


def _with_proton_at_double_bond(mol: Chem.Mol) -> Chem.Mol:
    """Return a molecule whose proton is at an imine or oxime in place of those of `_ELSEWHERE`."""
    found = next(filter(None, map(mol.GetSubstructMatch, _ELSEWHERE)), None)
    if found is None:
        return mol
    moved = Chem.RWMol(mol)
    for place, change in ((found[0], -1), (found[1], 1)):
        atom = moved.GetAtomWithIdx(place)
        atom.SetNumExplicitHs(atom.GetTotalNumHs() + change)
        atom.SetNoImplicit(True)
        atom.SetFormalCharge(atom.GetFormalCharge() + change)
    Chem.SanitizeMol(moved)
    return moved.GetMol()


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


def with_oxides(mol: Chem.Mol) -> Chem.Mol:
    """Return a dioxide of a diazine with a charge at each nitrogen and oxygen, or else the same."""
    starts = [start for start, _ in mol.GetSubstructMatches(_OXO)]
    if not starts:
        return mol
    drawn = without_aromatic_bonds(mol)
    for start in starts:
        paths = alternating_paths(drawn, start, DOUBLE, SINGLE, _is_oxide)
        path = next(iter(paths.values()), None)
        if path is None:
            continue
        shift(drawn, path)
        drawn.GetAtomWithIdx(path[0]).SetFormalCharge(-1)
        drawn.GetAtomWithIdx(path[-1]).SetFormalCharge(1)
    Chem.SanitizeMol(drawn)
    return drawn.GetMol()


def with_azo_groups(mol: Chem.Mol) -> Chem.Mol:
    """Return a molecule with azo groups, where RDKit lost an electron of an azo N-oxide's InChI.

    It reads that of 4-phenylazopyridine oxide as ``[N](c1ccccc1)N=C1C=C[N+](=O)C=C1``.
    """
    drawn = without_aromatic_bonds(mol)
    for (start,) in mol.GetSubstructMatches(_UNPAIRED):
        paths = alternating_paths(drawn, start, SINGLE, DOUBLE, _is_of_oxoammonium)
        path = next(iter(paths.values()), None)
        if path is not None:
            shift(drawn, path)
            drawn.GetAtomWithIdx(start).SetNumRadicalElectrons(0)
            drawn.GetAtomWithIdx(path[-1]).SetFormalCharge(-1)
    found = sanitised(drawn)
    return mol if found is None else found


def _is_of_oxoammonium(atom: Chem.Atom) -> bool:
    """Whether an atom is an uncharged oxygen at a charged nitrogen."""
    is_plain = atom.GetSymbol() == "O" and atom.GetFormalCharge() == 0 and atom.GetDegree() == 1
    return is_plain and atom.GetNeighbors()[0].GetFormalCharge() == 1


def _is_tertiary(atom: Chem.Atom) -> bool:
    """Whether an atom is an uncharged nitrogen of a ring, without hydrogens."""
    is_plain = atom.GetSymbol() == "N" and atom.GetFormalCharge() == 0
    return is_plain and atom.GetDegree() == 3 and atom.IsInRing()


def _is_ketone(atom: Chem.Atom) -> bool:
    """Return whether an atom is a carbonyl oxygen, but not that of an amide or ester."""
    is_plain = atom.GetSymbol() == "O" and atom.GetFormalCharge() == 0
    return is_plain and atom.GetDegree() == 1 and not _is_of_acid(atom)


def _is_oxide(atom: Chem.Atom) -> bool:
    """Whether an atom is an uncharged nitrogen that bears a charged oxygen."""
    charges = [other.GetFormalCharge() for other in atom.GetNeighbors() if other.GetDegree() == 1]
    return _is_tertiary(atom) and charges == [-1]


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
    shift(moved, path)
    start, end = (moved.GetAtomWithIdx(place) for place in (path[0], path[-1]))
    if end.GetSymbol() == "N":
        start.SetFormalCharge(0)
        end.SetFormalCharge(1)
        site = end
    else:
        start.SetNoImplicit(True)
        start.SetNumExplicitHs(0)
        end.SetNumExplicitHs(1)
        site = start if start.GetSymbol() == "N" else moved.GetAtomWithIdx(path[2])
    if site.GetSymbol() == "N" and any(map(_bears_oxygen, site.GetNeighbors())):
        return None  # an amide's, as in cytidine
    place, found = site.GetIdx(), sanitised(moved)
    if found is None or found.HasSubstructMatch(_AROMATIC_NH):
        return None
    return found if found.GetAtomWithIdx(place).GetIsAromatic() else None
