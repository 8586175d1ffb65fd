"""Inner salts with several acid groups: which group has the charge, in all spellings.

Databases, and InChI as RDKit reads it, deprotonate either acid of glutarylcarnitine. The strongest
acid is taken here: sulfonic acids and sulfates, then phosphates, then carboxylic acids; of equal
ones that which is nearest to the positive charge, as most databases write them.
"""

from __future__ import annotations

from rdkit import Chem

_ANION = Chem.MolFromSmarts("[OX1,SX1;-;!$([-]~[+])]")
_CATION = Chem.MolFromSmarts("[+;!$([+]~[-])]")
_ACIDS = tuple(  # strongest first; an oxygen, and the atom that it is bound to
    map(
        Chem.MolFromSmarts,
        (
            "[OX2h1,OX1-]-[#16](=O)=O",
            "[OX2h1,OX1-]-[#15]=[O,S]",
            "[OX2h1,OX1-]-[CX3]=O",
        ),
    )
)


def is_inner_salt(mol: Chem.Mol) -> bool:
    """Return whether a neutral molecule in standard form has a cation and the anion of an acid."""
    if Chem.GetFormalCharge(mol):
        return False
    return bool(mol.HasSubstructMatch(_ANION) and mol.HasSubstructMatch(_CATION))


def with_its_strongest_acid(mol: Chem.Mol) -> Chem.Mol:
    """Return an inner salt whose negative charges are at its strongest acids.

    Parameters
    ----------
    mol
        A molecule whose charges balance each other, as far as protons can balance them.

    Returns
    -------
    Chem.Mol
        With the same atoms, hydrogens and charges; the same molecule if that is so already.
    """
    anions = {place for (place,) in mol.GetSubstructMatches(_ANION)}
    cations = [place for (place,) in mol.GetSubstructMatches(_CATION)]
    acids = [
        (strength, oxygen, centre)
        for strength, acid in enumerate(_ACIDS)
        for oxygen, centre, *_ in mol.GetSubstructMatches(acid)
    ]
    if not anions or not cations or anions.issuperset(oxygen for _, oxygen, _ in acids):
        return mol
    bound = Chem.RWMol(mol)
    for place in anions:
        _set(bound.GetAtomWithIdx(place), charge=0, hydrogens=1)
    Chem.SanitizeMol(bound)
    ranks = list(Chem.CanonicalRankAtoms(bound, breakTies=False, includeChirality=False))
    order = list(Chem.CanonicalRankAtoms(bound))  # of atoms that only stereochemistry tells apart
    distances = Chem.GetDistanceMatrix(bound)

    def rank(acid: tuple[int, int, int]) -> tuple[float, ...]:
        strength, oxygen, _ = acid
        distance = min(distances[oxygen][cation] for cation in cations)
        return strength, distance, ranks[oxygen], order[oxygen]

    chosen: dict[int, int] = {}  # centre -> oxygen: a second charge of one group comes last
    for _, oxygen, centre in sorted(acids, key=rank):
        chosen.setdefault(centre, oxygen)
    places = list(chosen.values())[: len(anions)]
    if len(places) < len(anions) or set(places) == anions:
        return mol
    for place in places:
        _set(bound.GetAtomWithIdx(place), charge=-1, hydrogens=0)
    Chem.SanitizeMol(bound)
    return bound.GetMol()


def _set(atom: Chem.Atom, *, charge: int, hydrogens: int) -> None:
    atom.SetFormalCharge(charge)
    atom.SetNumExplicitHs(hydrogens)
