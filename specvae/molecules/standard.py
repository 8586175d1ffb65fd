"""From SMILES or InChI to a standard structure.

The steps of standardisation, always in this order:

1. A salt that is written with a bond to its metal (``CC(=O)O[Na]``) is the same as one of ions: the
   bonds of metals that have none but single ones to oxygen, sulfur, halogens and, of counter-ions,
   nitrogen are broken, and so are dative bonds (``[NH3]->[Pt]``). Several components (a salt, a
   hydrate): the largest organic one is kept. Largest means most heavy atoms, then highest mass,
   then the last canonical SMILES in alphabetic order; a component without carbon is only kept when
   none has carbon. `Molecule.n_components` says how many there were. A metal complex (heme,
   ferrocene, cisplatin) is kept whole and as it is charged, although databases write it in pieces;
   from a metal salt (zinc acetate) the metal is taken off.
2. Labels of the most common isotope, such as [12C] and [35Cl], are dropped. Other isotopes and
   radicals are left as written.
3. Two charges that others write as a double bond become one: a sulfoxide, a phosphine oxide, an
   azide. But for a metal complex, as the next step.
4. Charges that protons can balance are neutralised: acetate becomes acetic acid, an ammonium ion
   the amine, a zwitterion the neutral form. What cannot be neutralised stays: choline remains a
   cation, betaine an inner salt, whose strongest acid has the charge. That of a conjugated cation
   is put at one place (`specvae.molecules.cation_charges`).
5. Sulfur in a ring gets single bonds where it was written with two double ones
   (`specvae.molecules.ring_sulfur`).
6. Mobile hydrogens are put in one place: an imidic acid becomes the amide
   (`specvae.molecules.mobile_hydrogens`), and so are those of acids of sulfur and phosphorus
   (`specvae.molecules.acid_hydrogens`) and of hydrazones of rings
   (`specvae.molecules.hydrazones`).

The result is written as SMILES and read again where it was changed: whatever is stored must parse.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from rdkit import Chem
from rdkit.Chem.MolStandardize import rdMolStandardize
from rdkit.Chem.rdMolDescriptors import CalcExactMolWt

from specvae.errors import StructureError
from specvae.limits import limits
from specvae.molecules.acid_hydrogens import may_be_at_another_atom, place_acid_hydrogens
from specvae.molecules.cation_charges import with_charges_in_place
from specvae.molecules.conjugated_cations import (
    with_aromatic_charge,
    with_azo_groups,
    with_oxides,
)
from specvae.molecules.hydrazones import may_be_hydrazone, with_hydrazones
from specvae.molecules.inner_salts import with_its_strongest_acid
from specvae.molecules.metals import (
    MAY_HAVE_METAL_BONDS,
    is_complex,
    metals_of,
    without_bonds_to_metals,
)
from specvae.molecules.mobile_hydrogens import may_be_elsewhere, place_hydrogens
from specvae.molecules.quiet import quiet_rdkit
from specvae.molecules.ring_sulfur import has_two_double_bonds, with_single_bonds
from specvae.molecules.structure_text import (
    WHOLE_INCHIKEY,
    changes_atoms,
    heavy_atoms,
    heavy_atoms_of_inchi,
    is_of_polymer,
    leaves_atoms_open,
    shown,
    texts_of,
)

STANDARD_VERSION = 7
"""The version is raised when the same text would give another structure: 2 since mobile hydrogens
are placed, 3 since metal complexes are kept whole, 4 since salts may be written with bonds to their
metal, 5 since charges of conjugated cations and hydrogens of acids of sulfur and phosphorus, of
tropolones and of hydrazones are placed, 6 since carbocations stay cations, 7 since labels and
stereochemistry decide ties, and acids of inner salts follow the charges of conjugated cations."""

COMPLEX_KEPT = "metal complex kept whole"
INCHI_INSTEAD = "InChI taken where the SMILES cannot be parsed"
INCHI_OF_ANOTHER = "InChI of another formula, SMILES taken"

# Asking for these is several times faster than a loop over the atoms in Python.
_WILDCARD = Chem.MolFromSmarts("[#0]")
_CHARGED = Chem.MolFromSmarts("[!+0]")
_AROMATIC_ANION = Chem.MolFromSmarts("[c-]")  # is aromatic no longer when it has a proton
# Two charges that are usually written as a double bond, as in sulfoxides and iodylbenzene.
_CHARGED_PAIR = Chem.MolFromSmarts(
    "[#16X3+,#34X3+,#52X3+,#16X4+,#16X4+2,#15X4+,#33X4+,#51X4+,#53X2+,#53X3+2]-[OX1-,SX1-,NX2-]"
)
_OPENED_AZIDE = Chem.MolFromSmarts("[#7X2-,#6-]-[NX2+]#[NX1+0]")  # or diazo compound
_LABEL = re.compile(r"\[\d|/i")  # of an isotope, in SMILES or InChI
_ATOM_CLASS = re.compile(r":\d+\]")  # numbers that tell the atoms of a reaction
_ATOM_BY_NUMBER = re.compile(r"\[\d*#\d")
_BARE_CARBON = re.compile(r"\[\d*C@{0,2}\]")
_BARE_STEREOCENTRE = re.compile(r"\[\d*C@{1,2}\]")
# Components of one formula, of which InChI writes the number alone: "1S/2C2H6O/...".
_SEVERAL_ALIKE = re.compile(r"InChI=1S?/\d")
_PROTON = Chem.MolFromSmarts("[#1;+;X0]")
_PROTONS_OF_INCHI = re.compile(r"/p\+(\d{1,4})")
_MOST_PROTONS = 4  # of cations whose charges are looked for
_LONE_ANION = Chem.MolFromSmarts("[O,S,N;-1;!$([*-]~[+])]")
_HIGH_SULFUR = Chem.MolFromSmarts("[S-](=[OX1])(=[OX1])=[OX1]")
_MASS_DIGITS = 6  # the last ones depend on the order of the atoms


def component_order(component: Chem.Mol) -> tuple[bool, int, float, str]:
    """Return by what components are ordered: the last one is kept."""
    has_carbon = any(atom.GetAtomicNum() == 6 for atom in component.GetAtoms())
    return (
        has_carbon,
        component.GetNumHeavyAtoms(),
        round(CalcExactMolWt(component), _MASS_DIGITS),
        Chem.MolToSmiles(component),
    )


class StandardForm(NamedTuple):
    """A structure in standard form.

    Parameters
    ----------
    mol
        RDKit's molecule.
    n_components
        Number of components in the structure as given, 1 for a metal complex.
    written
        The SMILES that was parsed, "" where it was an InChI.
    notes
        Decisions in words.
    """

    mol: Chem.Mol
    n_components: int
    written: str
    notes: tuple[str, ...]


def standard_form(
    smiles: str | None = None, inchi: str | None = None, read: Chem.Mol | None = None
) -> StandardForm:
    """Parse and standardise one structure.

    Everything in this package that computes on a structure starts here, so that a salt and its
    parent have one mass and one fingerprint. The shape of the two texts shows which is a SMILES and
    which an InChI. The SMILES is used where it can be parsed, else the InChI.

    Parameters
    ----------
    smiles, inchi
        The structure.
    read
        RDKit's molecule of a SMILES that `is_usual`, if it is known.

    Raises
    ------
    StructureError
        If no text is given or none can be parsed, a wildcard atom leaves the mass open, or the
        structure is too large.
    """
    texts = texts_of(smiles, inchi)
    if not texts:
        raise StructureError("no structure given: a SMILES or an InChI is wanted")
    first_error: StructureError | None = None
    for kind, text in texts:
        try:
            with quiet_rdkit():
                mol, n_components, notes = _standard(kind, text, read)
        except StructureError as error:
            first_error = first_error or error
            read = None  # it is of the first text
            continue
        written = text if kind == "SMILES" else ""
        if first_error is not None:
            notes = (*notes, INCHI_INSTEAD)
        elif len(texts) > 1 and n_components == 1:
            notes = (*notes, *notes_beside(mol, texts[1][1]))
        return StandardForm(mol, n_components, written, notes)
    assert first_error is not None
    raise first_error


def notes_beside(mol: Chem.Mol, inchi: str) -> tuple[str, ...]:
    """Return the note if a SMILES of one component and the InChI beside it disagree.

    Their heavy atoms are compared, which takes some microseconds: hydrogens may differ by protons.
    """
    stated = heavy_atoms_of_inchi(inchi)
    return (INCHI_OF_ANOTHER,) if stated and stated != heavy_atoms(mol) else ()


# A SMILES of one component without labels and metals of salts, not in quotation marks and the like.
_USUAL = re.compile(r"[A-Za-z0-9@+\-()=#%/\\\[\]:]+")
_IS_SPECIAL = re.compile(
    rf"{_LABEL.pattern}|:|{_ATOM_BY_NUMBER.pattern}|{_BARE_CARBON.pattern}"
    rf"|{MAY_HAVE_METAL_BONDS.pattern}"
)
_MAY_HAVE_ACID = re.compile(r"[PSps]")  # of phosphorus, sulfur, selenium or arsenic
_FEWEST_NITROGENS = 3  # of a ring's N=N and an amine; other rings `may_be_elsewhere` looks at


def is_usual(text: str) -> bool:
    """Return whether a text, if it is a SMILES, is one of which only atoms need be looked at."""
    return (
        _USUAL.fullmatch(text) is not None
        and _IS_SPECIAL.search(text) is None
        and WHOLE_INCHIKEY.fullmatch(text) is None
    )


def is_standard(mol: Chem.Mol, text: str) -> bool:
    """Return whether a molecule, of a SMILES that `is_usual`, is in standard form already."""
    return not (
        mol.HasSubstructMatch(_WILDCARD)
        or mol.HasSubstructMatch(_CHARGED)
        or may_be_elsewhere(mol)
        or (
            # Text search first, as for most molecules it is enough.
            _MAY_HAVE_ACID.search(text) is not None
            and (may_be_at_another_atom(mol) or has_two_double_bonds(mol))
        )
        or (text.upper().count("N") >= _FEWEST_NITROGENS and may_be_hydrazone(mol))
    )


def _standard(kind: str, text: str, read: Chem.Mol | None) -> tuple[Chem.Mol, int, tuple[str, ...]]:
    mol = parsed = _parsed(kind, text, read)
    n_components, whole = 1, False
    notes: tuple[str, ...] = ()
    mol = without_bonds_to_metals(mol, kind, text)
    # Text search first: splitting every molecule to find one component takes longer.
    if "." in text or mol is not parsed or _SEVERAL_ALIKE.match(text) is not None:
        components = Chem.GetMolFrags(mol, asMols=True)
        if whole := is_complex(mol, components):
            notes = (COMPLEX_KEPT,)
        n_components = 1 if whole else len(components)
        if n_components > 1:
            mol = max(components, key=component_order)
            lost = [part for part in components if part is not mol]
            notes = _notes_of_lost(lost)
            if kind == "InChI" and any(map(metals_of, lost)) and _has_unpaired(mol):
                # Standard InChI leaves out bonds to metals, as those of tin to carbon.
                raise StructureError(
                    f"InChI does not say how its metal is bound; a SMILES does: {shown(text)}"
                )
    if mol.HasSubstructMatch(_WILDCARD):
        raise StructureError(f"{kind} holds a wildcard atom: {shown(text)}")
    if _LABEL.search(text):
        mol = _read_again(_without_common_labels(mol), text)
    # The charges of a complex are balanced by each other, not by protons.
    if not whole and mol.HasSubstructMatch(_CHARGED):
        mol = _with_charges_in_place(_neutralised(mol, text), text)
    given = mol
    mol = with_hydrazones(place_acid_hydrogens(with_single_bonds(mol)))
    placed = place_hydrogens(mol, text if kind == "InChI" and mol is parsed else "")
    if placed is given:
        return given, n_components, notes
    placed = _read_again(placed, text)
    if not whole and placed.HasSubstructMatch(_CHARGED):  # a new amine may take the charge
        placed = _with_charges_in_place(placed, text)
    return placed, n_components, notes


def _neutralised(mol: Chem.Mol, text: str) -> Chem.Mol:
    """Return a molecule without charges that double bonds or protons can balance."""
    mol = with_oxides(mol)
    _write_double_bonds(mol)
    # Hydrogen counts changed: rings and aromaticity must be perceived anew, as if the
    # neutral form had been written.
    if mol.HasSubstructMatch(_AROMATIC_ANION):
        Chem.Kekulize(mol, clearAromaticFlags=True)
    # No hydride is added to a carbocation, or taken from a borohydride.
    return _read_again(rdMolStandardize.Uncharger(protonationOnly=True).uncharge(mol), text)


def _with_charges_in_place(mol: Chem.Mol, text: str) -> Chem.Mol:
    """Return a molecule with its charges in their places: first cations, near which acids lie."""
    placed = with_its_strongest_acid(with_charges_in_place(mol))
    return mol if placed is mol else _read_again(placed, text)


def _parsed(kind: str, text: str, read: Chem.Mol | None) -> Chem.Mol:
    # RDKit takes seconds and gigabytes for long texts and many components.
    most = limits()
    if len(text) > most.structure_characters:
        raise StructureError(
            f"{kind} of {len(text):,} characters, at most {most.structure_characters:,} "
            "(structure_characters)"
        )
    n_components = 1 + text.count(".")
    if n_components > most.structure_components:
        raise StructureError(
            f"{n_components:,} components, at most {most.structure_components:,} "
            f"(structure_components): {shown(text)}"
        )
    _require_one_whole(kind, text)
    mol = read
    if mol is None:
        mol = Chem.MolFromSmiles(text) if kind == "SMILES" else _of_inchi(text)
    if mol is None:
        raise StructureError(f"{kind} cannot be parsed: {shown(text)}{_cause(text, kind)}")
    if mol.GetNumAtoms() == 0:
        raise StructureError(f"{kind} has no atoms: {shown(text)}")
    if mol.GetNumAtoms() > most.structure_atoms:
        raise StructureError(
            f"{mol.GetNumAtoms():,} atoms, at most {most.structure_atoms:,} (structure_atoms): "
            f"{shown(text)}"
        )
    if kind == "SMILES":
        _require_all_stated(mol, text)
        if _ATOM_CLASS.search(text):
            return _without_classes(mol, text)
    return mol


_HAS_HYDROGEN = re.compile(r"(?!\d*H(?:$|\.))[^.]*H(?![a-z])")  # more than an atom of it


def _require_one_whole(kind: str, text: str) -> None:
    """Raise StructureError for several structures, a divided one, and an InChI that lost its end.

    RDKit reads an InChI that is cut off before its hydrogens as one without hydrogens.
    """
    if kind == "InChI":
        if " " in text:
            raise StructureError(f"several InChI, where one is wanted: {shown(text)}")
        if is_of_polymer(text):
            raise StructureError(f"InChI of a polymer, or with open ends (/z, Zz): {shown(text)}")
        formula = text.partition("/")[2].partition("/")[0]
        if "/h" not in text and any(map(_HAS_HYDROGEN.match, formula.split("."))):
            raise StructureError(f"InChI is cut off, its hydrogens (/h) are missing: {shown(text)}")
    elif " " in text:
        behind = text.partition(" ")[2]
        if changes_atoms(behind) and not leaves_atoms_open(behind):
            found = "SMILES with an extension of radicals or bonds that cannot be read"
        elif "|" in text.replace(" | ", " "):
            found = (
                "SMILES whose atoms are not all known (repeating unit, link or bond to one of "
                "several atoms)"
            )
        else:
            found = "SMILES with a second one behind a blank, or a divided one"
        raise StructureError(f"{found}: {shown(text)}")


def _of_inchi(text: str) -> Chem.Mol | None:
    """Return the molecule of an InChI, None if it cannot be parsed."""
    mol: Chem.Mol | None = Chem.MolFromInchi(text)  # type: ignore[no-untyped-call]
    if mol is None:
        return _with_sulfate(text)
    protons = _PROTONS_OF_INCHI.search(text)
    if protons is None:
        is_as_stated = "/q" in text or Chem.GetFormalCharge(mol) == 0
        return mol if is_as_stated else with_azo_groups(mol)
    if mol.HasSubstructMatch(_PROTON):
        return _with_protons(mol)
    for _ in range(min(int(protons[1]), _MOST_PROTONS)):
        mol = with_aromatic_charge(mol)
    return mol


def _with_protons(mol: Chem.Mol) -> Chem.Mol:
    """Return a molecule with lone protons moved to its anions, as RDKit splits some acids.

    A proton without such a place is left out.
    """
    n_protons = len(mol.GetSubstructMatches(_PROTON))
    bound = Chem.RWMol(Chem.DeleteSubstructs(mol, _PROTON))
    for place in [place for (place,) in bound.GetSubstructMatches(_LONE_ANION)][:n_protons]:
        atom = bound.GetAtomWithIdx(place)
        atom.SetFormalCharge(0)
        atom.SetNumExplicitHs(atom.GetNumExplicitHs() + 1)
    Chem.SanitizeMol(bound)
    return bound.GetMol()


def _with_sulfate(text: str) -> Chem.Mol | None:
    """Return an inner salt of a sulfate, such as choline sulfate, None if it is none.

    RDKit puts the negative charge of such an InChI on sulfur, where it finds too many bonds.
    """
    mol = Chem.MolFromInchi(text, sanitize=False, removeHs=False)  # type: ignore[no-untyped-call]
    if mol is None or not (found := mol.GetSubstructMatches(_HIGH_SULFUR)):
        return None
    for sulfur, oxygen, *_ in found:
        mol.GetBondBetweenAtoms(sulfur, oxygen).SetBondType(Chem.BondType.SINGLE)
        mol.GetAtomWithIdx(sulfur).SetFormalCharge(0)
        mol.GetAtomWithIdx(oxygen).SetFormalCharge(-1)
    try:
        Chem.SanitizeMol(mol)
        return Chem.RemoveHs(mol)
    except (Chem.MolSanitizeException, RuntimeError):
        return None


def _require_all_stated(mol: Chem.Mol, text: str) -> None:
    """Raise StructureError for a SMILES that is a pattern: RDKit reads some, with a wrong mass."""
    if ("~" in text or ":" in text) and any(map(_has_no_order, mol.GetBonds())):
        raise StructureError(f"SMILES holds a bond of no order: {shown(text)}")
    if _ATOM_BY_NUMBER.search(text) and any(a.GetNumRadicalElectrons() for a in mol.GetAtoms()):
        raise StructureError(
            f"SMILES names atoms by number, without their hydrogens: {shown(text)}"
        )
    if _BARE_CARBON.search(text) and _lacks_hydrogens(mol, text):
        # "[13C]C" and SELFIES: in brackets, hydrogens must be written.
        raise StructureError(f"SMILES holds a carbon without its hydrogens: {shown(text)}")


def _lacks_hydrogens(mol: Chem.Mol, text: str) -> bool:
    """Whether carbons have open valences that no molecule has: more than two at one, or two at two.

    One unpaired electron may be meant, as in trityl, but not at a stereocentre (``[C@]`` for
    ``[C@H]``).
    """
    bare = [
        atom
        for atom in mol.GetAtoms()
        if atom.GetAtomicNum() == _CARBON
        and atom.GetNumRadicalElectrons()
        and not atom.GetTotalNumHs()
    ]
    unpaired = [atom for atom in bare if atom.GetNumRadicalElectrons() == 1]
    return (
        len(unpaired) > 1
        or any(atom.GetNumRadicalElectrons() > _MOST_OPEN for atom in bare)
        or (len(unpaired) > 0 and _BARE_STEREOCENTRE.search(text) is not None)
    )


def _has_no_order(bond: Chem.Bond) -> bool:
    """Whether a bond is of any order, or aromatic outside of rings."""
    kind = bond.GetBondType()
    return kind in _NO_ORDERS or (kind is Chem.BondType.AROMATIC and not bond.IsInRing())


_CARBON = 6
_MOST_OPEN = 2  # valences of a carbon that is meant so: those of carbenes and carbon monoxide
_NO_ORDERS = (Chem.BondType.UNSPECIFIED, Chem.BondType.ZERO, Chem.BondType.OTHER)


def _without_classes(mol: Chem.Mol, text: str) -> Chem.Mol:
    """Return the molecule without the numbers of its atoms, which would order them."""
    plain = Chem.Mol(mol)
    for atom in plain.GetAtoms():
        atom.SetAtomMapNum(0)
    return _read_again(plain, text)


def _has_unpaired(component: Chem.Mol) -> bool:
    return any(atom.GetNumRadicalElectrons() for atom in component.GetAtoms())


def _notes_of_lost(components: Sequence[Chem.Mol]) -> tuple[str, ...]:
    """Return the notes on components that are left out."""
    metals = {number for component in components for number in metals_of(component)}
    if metals:
        table = Chem.GetPeriodicTable()
        symbols = sorted(table.GetElementSymbol(number) for number in metals)
        return (f"metal taken off: {', '.join(symbols)}",)
    return ("largest organic component of several kept",)


def _read_again(mol: Chem.Mol, text: str) -> Chem.Mol:
    again = Chem.MolFromSmiles(Chem.MolToSmiles(mol))
    if again is None:
        raise StructureError(f"its neutral form has no valid SMILES: {shown(text)}")
    return again


def _write_double_bonds(mol: Chem.Mol) -> None:
    """Replace pairs of charges by double bonds, where some writers use charges."""
    for centre, other in mol.GetSubstructMatches(_CHARGED_PAIR):
        _join_charges(mol, centre, other)
    for first, middle, last in mol.GetSubstructMatches(_OPENED_AZIDE):
        _close_azide(mol, first, middle, last)


def _join_charges(mol: Chem.Mol, positive: int, negative: int) -> None:
    """Write a double bond for two charges, where charges are left, as at a sulfone's second."""
    if mol.GetAtomWithIdx(positive).GetFormalCharge() < 1:
        return
    mol.GetBondBetweenAtoms(positive, negative).SetBondType(Chem.BondType.DOUBLE)
    for place, change in ((positive, -1), (negative, 1)):
        atom = mol.GetAtomWithIdx(place)
        atom.SetFormalCharge(atom.GetFormalCharge() + change)


def _close_azide(mol: Chem.Mol, first: int, middle: int, last: int) -> None:
    """Write ``N=[N+]=[N-]`` for ``[N-][N+]#N``."""
    for one in (first, last):
        mol.GetBondBetweenAtoms(one, middle).SetBondType(Chem.BondType.DOUBLE)
    for place, charge in ((first, 0), (last, -1)):
        mol.GetAtomWithIdx(place).SetFormalCharge(charge)


def _without_common_labels(mol: Chem.Mol) -> Chem.Mol:
    """Return the molecule with plain atoms for those labelled as the most common isotope."""
    table = Chem.GetPeriodicTable()
    plain = Chem.Mol(mol)
    for atom in plain.GetAtoms():
        if atom.GetIsotope() == table.GetMostCommonIsotope(atom.GetAtomicNum()):
            atom.SetIsotope(0)
    return Chem.RemoveHs(plain)


def _cause(text: str, kind: str) -> str:
    """Return what is wrong with a SMILES in a few words, as far as RDKit can say."""
    if kind != "SMILES":
        return ""
    mol = Chem.MolFromSmiles(text, sanitize=False)
    if mol is None:
        return " (syntax)"
    problems = Chem.DetectChemistryProblems(mol)
    return f" ({problems[0].Message()})" if problems else ""
