"""Molecules: from SMILES or InChI to a standard structure, its keys, formula and exact mass.

What is done with a structure, always in this order:

1. A salt that is written with a bond to its metal (``CC(=O)O[Na]``) is the same as one of ions: the
   bonds of metals that have none but single ones to oxygen, sulfur, halogens and, of counter-ions,
   nitrogen are broken. Several components (a salt, a hydrate): the largest organic one is kept.
   Largest means most heavy atoms, then highest mass, then the last canonical SMILES in alphabetic
   order; a component without carbon is only kept when none has carbon. `Molecule.n_components` says
   how many there were. A metal complex (heme, ferrocene, cisplatin) is kept whole and as it is
   charged, although databases write it in pieces; from a metal salt (zinc acetate) the metal is
   taken off.
2. Charges that protons can balance are neutralised: acetate becomes acetic acid, an ammonium ion
   the amine, a zwitterion the neutral form. What cannot be neutralised stays: choline remains a
   cation, betaine an inner salt.
3. Mobile hydrogens are put in one place: an imidic acid becomes the amide
   (`specvae.molecules.mobile_hydrogens`).
4. Labels of the most common isotope, such as [12C] and [35Cl], are dropped. Other isotopes and
   radicals are left as written.

The result is written as SMILES and read again where it was changed: whatever is stored must parse.

`exact_mass` is the sum of the masses of the atoms with all their electrons, also for an ion that
stays charged: choline is 104.1075 Da, and its [M]+ is found an electron mass below that.
"""

from __future__ import annotations

import re
import signal
import struct
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import NamedTuple

from rdkit import Chem, rdBase
from rdkit.Chem.MolStandardize import rdMolStandardize
from rdkit.Chem.rdMolDescriptors import CalcExactMolWt, CalcMolFormula

from specvae.errors import StructureError
from specvae.limits import limits
from specvae.masses import ELECTRON_MASS
from specvae.molecules.mobile_hydrogens import may_be_elsewhere, settle_hydrogens

STANDARD_VERSION = 4
"""Rises when the same text would give another structure: 2 since mobile hydrogens are settled, 3
since metal complexes are kept whole, 4 since salts may be written with bonds to their metal."""

COMPLEX_KEPT = "metal complex kept whole"

INCHI_INSTEAD = "InChI taken where the SMILES cannot be parsed"
INCHI_OF_ANOTHER = "InChI of another formula, SMILES taken"

KEY_OF_SEVERAL = "InChIKey of several structures, computed instead"
KEYS_THAT_DIFFER = "InChIKeys of one structure that differ, computed instead"
KEY_OF_ANOTHER = "InChIKeys of other structures, computed instead"

_LONGEST_SHOWN = 60

_MASSES_KEPT = 100_000

FIRST_BLOCK = 14
"""Letters of an InChIKey that stand for connectivity: its first block."""


# Asking for these is several times faster than a loop over the atoms in Python.
_WILDCARD = Chem.MolFromSmarts("[#0]")
_CHARGED = Chem.MolFromSmarts("[!+0]")
_SULFOXIDE = Chem.MolFromSmarts("[#16X3+,#34X3+]-[OX1-]")
_EMPTY_TEXTS = frozenset(
    {"", "-", "--", ".", "?", "0", "[]", "\\n", "#n/a", "#name?", "n/a", "na", "n.a.", "n.d."}
    | {"nan", "none", "(none)", "null", "unknown", "undefined", "missing", "not available"}
    | {"no structure"}
)
_KEY = re.compile(r"[A-Z]{14}-[A-Z]{10}-[A-Z]")
# What word processors and web pages make of a text: other quotation marks, dashes and blanks, and
# characters that are not seen.
_TYPOGRAPHY = {
    **dict.fromkeys(map(ord, "\u201c\u201d\u201e\u00ab\u00bb"), '"'),
    **dict.fromkeys(map(ord, "\u2018\u2019\u201a\u02bc"), "'"),
    **dict.fromkeys(map(ord, "\u2010\u2011\u2012\u2013\u2014\u2212\ufe63\uff0d"), "-"),
    **dict.fromkeys(map(ord, "\u00ad\u200b\u200c\u200d\u200e\u200f\u2060\ufeff"), None),
}
_INCHI = re.compile(r"(?:InChI[=:])+(?=1S?/)|(?=1S?/)", re.IGNORECASE)
_MARK_OF_SMILES = re.compile(r"^(?:(?:InChI|SMILES)[=:])+(?!/|1S?/)(?=.)", re.IGNORECASE)
# Metals that are counter-ions rather than the centre of a complex; these and non-metals.
_COUNTER_IONS = frozenset({3, 11, 19, 37, 55, 20, 38, 56})
_NO_COMPLEX = _COUNTER_IONS | frozenset(
    {1, 2, 5, 6, 7, 8, 9, 10, 14, 15, 16, 17, 18, 33, 34, 35, 36, 52, 53, 54, 85}
)
# Metals whose bonds to oxygen and sulfur are written in salts, but are none there; of others, such
# as tin and mercury, they are bonds.
_IN_SALTS = _COUNTER_IONS | frozenset({12, 13, *range(21, 31), 47, 48})
_IN_SALTS_TEXT = re.compile(
    r"\[\d*(?:Li|Na|K|Rb|Cs|Mg|Ca|Sr|Ba|Al|Sc|Ti|V|Cr|Mn|Fe|Co|Ni|Cu|Zn|Ag|Cd)(?![a-z])"
)
_ACID_DEGREES = {8: 2, 16: 2, 34: 2, 9: 1, 17: 1, 35: 1, 53: 1}
# Ions of these are complexes wherever they are met, ions of others where two nitrogens or carbons
# bear their negative charges for them (porphyrins, cyclopentadienyls, cyanides, carbonyls), or one
# beside three imines (corrins).
_ALWAYS_COMPLEX = frozenset({43, 44, 45, 46, 75, 76, 77, 78, 79, *range(57, 72)})
_LIGAND_CHARGE = Chem.MolFromSmarts("[$([#6-,#7-]);!$([#6,#7]~[+]),$([#6-]#[#8+])]")
_IMINE = Chem.MolFromSmarts("[NX2;R]=[#6]")
_FORMULA_OF_INCHI = re.compile(r"1S?/([A-Za-z0-9]+)(?:/|$)")  # of one component
_ATOMS_OF_FORMULA = re.compile(r"([A-Z][a-z]?)(\d*)")
_NUMBERS = struct.Struct("<dhHI")  # exact mass, charge, number of components, length of the texts
_LABEL = re.compile(r"\[\d|/i")  # of an isotope, in SMILES or InChI
_ATOM_CLASS = re.compile(r":\d+\]")  # numbers that tell the atoms of a reaction
_ATOM_BY_NUMBER = re.compile(r"\[\d*#\d")
_BARE_CARBON = re.compile(r"\[\d*C\]")
# Parts of ChemAxon's extension that leave the atoms open: repeating units and other polymers, a
# link that may be repeated, and a bond to one of several atoms.
_OPEN_PART = re.compile(
    r"\|(?:[^|]*,)?(?:Sg:(?:n|any|mon|mer|co|xl|mod|grf|alt|ran|blk):|LN:|m:)[^|]*\|"
)


class Molecule:
    """One structure after standardisation.

    It is parsed once: whatever a later step needs is computed from it when first asked for. RDKit's
    molecule is kept in binary form, some 400 bytes, as the object itself takes kilobytes and a
    table of candidates has hundreds of thousands. Molecules are equal if their SMILES are.

    Parameters
    ----------
    mol
        As `standard_mol` returns it.
    n_components
        Number of components in the structure as given; above 1 for salts and hydrates, 1 for a
        metal complex, which is kept whole.
    inchikey
        A key or first block that is trusted instead of being computed, which is the slowest step.
    exact_mass
        Monoisotopic mass in Da with all electrons; None to compute it. Labelled atoms count with
        their isotope's mass.
    written
        The SMILES that was parsed, "" where it was an InChI.
    notes
        What was decided while it was parsed.
    """

    __slots__ = (
        "_binary",
        "_formula",
        "_given_key",
        "_inchikey",
        "_smiles",
        "charge",
        "exact_mass",
        "n_components",
        "notes",
        "written",
    )

    def __init__(
        self,
        mol: Chem.Mol,
        *,
        n_components: int = 1,
        inchikey: str = "",
        exact_mass: float | None = None,
        written: str = "",
        notes: tuple[str, ...] = (),
    ) -> None:
        self._binary: bytes = mol.ToBinary()
        self._given_key = inchikey
        self._inchikey: str | None = inchikey if len(inchikey) > FIRST_BLOCK else None
        self._smiles: str | None = None
        self._formula: str | None = None
        self.exact_mass = exact_mass_of(mol) if exact_mass is None else exact_mass
        self.charge = Chem.GetFormalCharge(mol)
        self.n_components = n_components
        self.written = written
        self.notes = notes

    @classmethod
    def parse(
        cls,
        smiles: str | None = None,
        inchi: str | None = None,
        *,
        inchikey: str = "",
        read: Chem.Mol | None = None,
    ) -> Molecule:
        """Parse one structure; see `standard_mol` for its errors, and the class for `inchikey`.

        `read` is what RDKit reads of a SMILES that `is_usual`, if that is known.
        """
        found = _standardised(smiles, inchi, read)
        molecule = cls(
            found.mol,
            n_components=found.n_components,
            inchikey=inchikey,
            written=found.written,
            notes=found.notes,
        )
        molecule.keep("smiles", found.mol)
        return molecule

    def keep(self, name: str, mol: Chem.Mol) -> None:
        """Compute ``"smiles"`` or ``"formula"`` while RDKit's object is there."""
        # To make it again takes a third as long.
        if name == "smiles":
            self._smiles = Chem.MolToSmiles(mol)
        else:
            self._formula = CalcMolFormula(mol)

    def with_key(self, inchikey: str) -> Molecule:
        """Return the same structure with another trusted key or first block; "" for none."""
        same = Molecule.__new__(Molecule)  # `copy` takes five times as long
        for name in Molecule.__slots__:
            setattr(same, name, getattr(self, name))
        same._given_key = inchikey
        same._inchikey = inchikey if len(inchikey) > FIRST_BLOCK else None
        return same

    def with_own_key(self, note: str) -> Molecule:
        """Return the same structure with a key that is computed, for which a note says why."""
        same = self.with_key("")
        same.notes = (*self.notes, note)
        return same

    def to_bytes(self) -> bytes:
        """Return the structure, without a trusted key, as `from_bytes` reads it."""
        smiles = self._smiles or "" if self.written else self.smiles
        texts = (self.written, smiles, "\n".join(self.notes))
        encoded = "\0".join(texts).encode()
        numbers = _NUMBERS.pack(self.exact_mass, self.charge, self.n_components, len(encoded))
        return numbers + encoded + self._binary

    @classmethod
    def from_bytes(cls, data: bytes) -> Molecule:
        """Return the structure that `to_bytes` gave."""
        exact_mass, charge, n_components, n_encoded = _NUMBERS.unpack_from(data)
        end = _NUMBERS.size + n_encoded
        written, smiles, notes = data[_NUMBERS.size : end].decode().split("\0")
        found = cls.__new__(cls)
        found._binary = data[end:]
        found._given_key, found._inchikey, found._formula = "", None, None
        found._smiles = smiles or None
        found.exact_mass, found.charge, found.n_components = exact_mass, charge, n_components
        found.written = written
        found.notes = tuple(notes.split("\n")) if notes else ()
        return found

    @property
    def binary(self) -> bytes:
        """RDKit's molecule in its binary form."""
        return self._binary

    @property
    def mol(self) -> Chem.Mol:
        """RDKit's molecule, a new object each time: it may be changed."""
        return Chem.Mol(self._binary)  # type: ignore[call-overload, no-any-return]

    @property
    def given_key(self) -> str:
        """The trusted key or first block, "" if there is none."""
        return self._given_key

    @property
    def knows_smiles(self) -> bool:
        """Whether its canonical SMILES need not be computed any more."""
        return self._smiles is not None

    @property
    def smiles(self) -> str:
        """Canonical SMILES with stereochemistry and isotopes."""
        if self._smiles is None:
            self._smiles = Chem.MolToSmiles(self.mol)
        return self._smiles

    @property
    def inchikey(self) -> str:
        """Standard InChIKey, 27 characters; what was given where InChI knows none."""
        if self._inchikey is None:
            with rdBase.BlockLogs():
                computed: str = Chem.MolToInchiKey(self.mol)  # type: ignore[no-untyped-call]
            self._inchikey = computed or self._given_key
        return self._inchikey

    @property
    def first_block(self) -> str:
        """The 14 characters of the InChIKey that encode connectivity."""
        return (self._given_key or self.inchikey)[:FIRST_BLOCK]

    @property
    def formula(self) -> str:
        """Formula in Hill order, with the charge appended where one stays (``C5H14NO+``)."""
        if self._formula is None:
            self._formula = CalcMolFormula(self.mol)
        return self._formula

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Molecule) and self.smiles == other.smiles

    def __hash__(self) -> int:
        return hash(self.smiles)

    def __repr__(self) -> str:
        return f"Molecule({self.smiles!r})"


def says_nothing(text: str) -> bool:
    """Return whether a cell of a table stands for no value, such as ``N/A`` or ``-``."""
    return text.strip().lower() in _EMPTY_TEXTS


def fragment_smiles(mol: Chem.Mol, atoms: Sequence[int]) -> str:
    """Return some of a molecule's atoms, with the bonds between them, as SMILES."""
    with quiet_rdkit():
        text: str = Chem.MolFragmentToSmiles(mol, list(atoms))
    return text


class _Quiet(threading.local):
    """Whether this thread is within `quiet_rdkit`."""

    is_entered = False


_quiet = _Quiet()


@contextmanager
def quiet_rdkit() -> Iterator[None]:
    """Keep RDKit's log lines off stderr, and Ctrl-C in Python's hands (`take_interrupts`).

    Entering and leaving takes a tenth of what parsing a small molecule does: those who deal with
    many enter it once for some of them. Within another one it does nothing.
    """
    if _quiet.is_entered:
        yield
        return
    _quiet.is_entered = True
    try:
        with rdBase.BlockLogs():
            yield
    finally:
        _quiet.is_entered = False
        take_interrupts()


def take_interrupts() -> None:
    """Take SIGINT back from RDKit; in another thread than the main one, do nothing.

    A substructure search of RDKit 2026.03 leaves RDKit's own handler of SIGINT behind, which
    swallows the first Ctrl-C for the rest of the process's life. Only the main thread may put
    Python's in its place again.
    """
    handler = signal.getsignal(signal.SIGINT)
    if handler is not None and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, handler)


def _shown(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST_SHOWN else f"{text[: _LONGEST_SHOWN - 3]}..."


def _component_order(component: Chem.Mol) -> tuple[bool, int, float, str]:
    has_carbon = any(atom.GetAtomicNum() == 6 for atom in component.GetAtoms())
    return (
        has_carbon,
        component.GetNumHeavyAtoms(),
        CalcExactMolWt(component),
        Chem.MolToSmiles(component),
    )


class _StandardForm(NamedTuple):
    mol: Chem.Mol
    n_components: int
    written: str
    notes: tuple[str, ...]


def standard_mol(smiles: str | None = None, inchi: str | None = None) -> tuple[Chem.Mol, int]:
    """Parse and standardise one structure; return RDKit's molecule and the number of components.

    Everything in this package that computes on a structure starts here, so that a salt and its
    parent have one mass and one fingerprint. The shape of the two texts shows which is a SMILES and
    which an InChI. The SMILES is used where it can be parsed, else the InChI.

    Raises
    ------
    StructureError
        If no text is given or none can be parsed, a wildcard atom leaves the mass open, or the
        structure is too large.
    """
    found = _standardised(smiles, inchi)
    return found.mol, found.n_components


def _standardised(
    smiles: str | None, inchi: str | None, read: Chem.Mol | None = None
) -> _StandardForm:
    texts = _texts(smiles, inchi)
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
        return _StandardForm(mol, n_components, written, notes)
    assert first_error is not None
    raise first_error


def _texts(smiles: str | None, inchi: str | None) -> list[tuple[str, str]]:
    """Return kind and text of what may be the structure, SMILES first."""
    found = []
    for text in (smiles or "", inchi or ""):
        words = (
            (text if text.isascii() else text.translate(_TYPOGRAPHY)).strip().strip("\"'").split()
        )
        if not words or says_nothing(text) or _KEY.fullmatch(words[0]):
            continue
        # GNPS has SMILES behind the mark of an InChI.
        words[0] = _MARK_OF_SMILES.sub("", words[0])
        shape = _INCHI.match(words[0])
        if shape:
            found.append(("InChI", f"InChI={words[0][shape.end() :]}"))
        else:
            # Behind a blank stands a name, or ChemAxon's extension, which names no other atoms
            # unless it leaves them open.
            behind = " ".join(words[1:])
            is_more = leaves_atoms_open(behind) or _goes_on(words)
            found.append(("SMILES", words[0] + f" {behind}" * is_more))
    return sorted(found, key=lambda pair: pair[0] != "SMILES")


def notes_beside(mol: Chem.Mol, inchi: str) -> tuple[str, ...]:
    """Return what is said of a structure of one component beside whose SMILES an InChI stands.

    Their heavy atoms are compared, which takes some microseconds: hydrogens may differ by protons.
    """
    shape = _INCHI.match(inchi)
    stated = _FORMULA_OF_INCHI.match(inchi, shape.end()) if shape is not None else None
    if stated is None or _heavy_atoms(stated[1]) == _heavy_atoms(CalcMolFormula(mol)):
        return ()
    return (INCHI_OF_ANOTHER,)


def _heavy_atoms(formula: str) -> dict[str, str]:
    atoms = dict(_ATOMS_OF_FORMULA.findall(formula))
    return {element: n for element, n in atoms.items() if element not in ("H", "D", "T")}


@lru_cache(maxsize=1 << 17)
def block_of_inchi(inchi: str | None) -> str:
    """Return the InChIKey first block of a standard InChI, "" of any other text."""
    if inchi is None or not inchi.startswith("InChI=1S/"):
        return ""
    with rdBase.BlockLogs():
        key: str = Chem.InchiToInchiKey(inchi) or ""  # type: ignore[no-untyped-call]
    return key[:FIRST_BLOCK]


_WITH_BONDS = re.compile(r"[A-Za-z0-9@+\-.%/\\\]]*[()=#\[][A-Za-z0-9@+\-()=#%/\\\[\].]*")


def _goes_on(words: Sequence[str]) -> bool:
    """Whether what stands behind a SMILES is another, or the rest of it, and no name."""
    if len(words) > 2 and all(len(word) < 3 for word in words):
        return True  # "C C O": blanks between all atoms
    if len(words) < 2 or _WITH_BONDS.fullmatch(words[1]) is None:
        return False
    with quiet_rdkit():
        return Chem.MolFromSmiles(words[1]) is not None


def leaves_atoms_open(extension: str) -> bool:
    """Whether ChemAxon's extension of a SMILES (``|...|``) says that its atoms are not all known.

    Such are repeating units (``Sg:n``), links of several lengths (``LN``), and bonds to one of
    several atoms (``m``). Labels, stereochemistry and the like change no mass.
    """
    return _OPEN_PART.match(extension) is not None


# A SMILES of one component without labels and metals of salts, not in quotation marks and the like.
_USUAL = re.compile(r"[A-Za-z0-9@+\-()=#%/\\\[\]:]+")
_IS_SPECIAL = re.compile(
    rf"{_LABEL.pattern}|{_IN_SALTS_TEXT.pattern}|:|{_ATOM_BY_NUMBER.pattern}"
    rf"|{_BARE_CARBON.pattern}"
)


def is_usual(text: str) -> bool:
    """Return whether a text, if it is a SMILES, is one of which only atoms need be looked at."""
    return (
        _USUAL.fullmatch(text) is not None
        and _IS_SPECIAL.search(text) is None
        and _KEY.fullmatch(text) is None
    )


def is_standard(mol: Chem.Mol) -> bool:
    """Return whether a molecule, of a text that `is_usual`, is in standard form already."""
    return not (
        mol.HasSubstructMatch(_WILDCARD) or mol.HasSubstructMatch(_CHARGED) or may_be_elsewhere(mol)
    )


def _standard(
    kind: str, text: str, read: Chem.Mol | None = None
) -> tuple[Chem.Mol, int, tuple[str, ...]]:
    mol = parsed = _parsed(kind, text, read)
    n_components, is_complex = 1, False
    notes: tuple[str, ...] = ()
    # Text search first: splitting every molecule to find one component takes longer.
    if _IN_SALTS_TEXT.search(text) is not None:
        mol = _as_ions(mol)
    if "." in text or mol is not parsed:
        components = Chem.GetMolFrags(mol, asMols=True)
        if is_complex := _is_complex(mol, components):
            notes = (COMPLEX_KEPT,)
        n_components = 1 if is_complex else len(components)
        if n_components > 1:
            mol = max(components, key=_component_order)
            notes = _notes_of_lost([part for part in components if part is not mol])
    if mol.HasSubstructMatch(_WILDCARD):
        raise StructureError(f"{kind} holds a wildcard atom: {_shown(text)}")
    if _LABEL.search(text):
        mol = _read_again(_without_common_labels(mol), text)
    # The charges of a complex are balanced by each other, not by protons.
    if not is_complex and mol.HasSubstructMatch(_CHARGED):
        for sulfur, oxygen in mol.GetSubstructMatches(_SULFOXIDE):
            _join_charges(mol, sulfur, oxygen)
        # Hydrogen counts changed: rings and aromaticity must be perceived anew, as if the
        # neutral form had been written.
        mol = _read_again(rdMolStandardize.Uncharger().uncharge(mol), text)
    settled = settle_hydrogens(mol, text if kind == "InChI" and mol is parsed else "")
    return (mol if settled is mol else _read_again(settled, text)), n_components, notes


def _parsed(kind: str, text: str, read: Chem.Mol | None = None) -> Chem.Mol:
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
            f"(structure_components): {_shown(text)}"
        )
    if kind == "SMILES" and " " in text:
        what = (
            "SMILES whose atoms are not all known (repeating unit, link or bond to one of several "
            "atoms)"
            if "|" in text
            else "SMILES with a second one behind a blank, or a divided one"
        )
        raise StructureError(f"{what}: {_shown(text)}")
    mol = read
    if mol is None:
        mol = Chem.MolFromSmiles(text) if kind == "SMILES" else Chem.MolFromInchi(text)  # type: ignore[no-untyped-call]
    if mol is None:
        raise StructureError(f"{kind} cannot be parsed: {_shown(text)}{_cause(text, kind)}")
    if mol.GetNumAtoms() == 0:
        raise StructureError(f"{kind} has no atoms: {_shown(text)}")
    if mol.GetNumAtoms() > most.structure_atoms:
        raise StructureError(
            f"{mol.GetNumAtoms():,} atoms, at most {most.structure_atoms:,} (structure_atoms): "
            f"{_shown(text)}"
        )
    if kind == "SMILES":
        _require_all_stated(mol, text)
        if _ATOM_CLASS.search(text):
            return _without_classes(mol, text)
    return mol


def _require_all_stated(mol: Chem.Mol, text: str) -> None:
    """Raise StructureError for a SMILES that is a pattern: RDKit reads some, with a wrong mass."""
    if ("~" in text or ":" in text) and any(map(_has_no_order, mol.GetBonds())):
        raise StructureError(f"SMILES holds a bond of no order: {_shown(text)}")
    if _ATOM_BY_NUMBER.search(text) and any(a.GetNumRadicalElectrons() for a in mol.GetAtoms()):
        raise StructureError(
            f"SMILES names atoms by number, without their hydrogens: {_shown(text)}"
        )
    if _BARE_CARBON.search(text) and any(
        atom.GetAtomicNum() == _CARBON and atom.GetNumRadicalElectrons() > _MOST_OPEN
        for atom in mol.GetAtoms()
    ):
        # "[13C]C" and SELFIES: in brackets, hydrogens must be written.
        raise StructureError(f"SMILES holds a carbon without its hydrogens: {_shown(text)}")


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


def _as_ions(mol: Chem.Mol) -> Chem.Mol:
    """Return a salt that is written with bonds to its metal as one of ions, or else the same."""
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


def _is_complex(mol: Chem.Mol, components: Sequence[Chem.Mol]) -> bool:
    """Whether components belong together as the metal and the ligands of a complex."""
    metals = {number for part in components for number in _metals(part)}
    if len(components) < 2 or not metals:
        return False
    n_charges = len(mol.GetSubstructMatches(_LIGAND_CHARGE))
    is_corrin = n_charges == 1 and len(mol.GetSubstructMatches(_IMINE)) > 2
    return n_charges > 1 or is_corrin or bool(metals & _ALWAYS_COMPLEX)


def _metals(component: Chem.Mol) -> set[int]:
    return {atom.GetAtomicNum() for atom in component.GetAtoms()} - _NO_COMPLEX


def _notes_of_lost(components: Sequence[Chem.Mol]) -> tuple[str, ...]:
    """Return what is said of components that are left out."""
    metals = {number for component in components for number in _metals(component)}
    if metals:
        table = Chem.GetPeriodicTable()
        symbols = sorted(table.GetElementSymbol(number) for number in metals)
        return (f"metal taken off: {', '.join(symbols)}",)
    return ("largest organic component of several kept",)


def _read_again(mol: Chem.Mol, text: str) -> Chem.Mol:
    again = Chem.MolFromSmiles(Chem.MolToSmiles(mol))
    if again is None:
        raise StructureError(f"its neutral form has no valid SMILES: {_shown(text)}")
    return again


def _join_charges(mol: Chem.Mol, positive: int, negative: int) -> None:
    mol.GetBondBetweenAtoms(positive, negative).SetBondType(Chem.BondType.DOUBLE)
    for atom in (positive, negative):
        mol.GetAtomWithIdx(atom).SetFormalCharge(0)


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


def exact_mass_of(mol: Chem.Mol) -> float:
    """Return the monoisotopic mass in Da of all atoms with all their electrons."""
    # RDKit leaves out the electrons that a cation lacks.
    return float(CalcExactMolWt(mol)) + ELECTRON_MASS * Chem.GetFormalCharge(mol)


@lru_cache(maxsize=_MASSES_KEPT)
def exact_mass_of_smiles(smiles: str) -> float:
    """Return the same of a SMILES that can be parsed; those asked for are remembered."""
    return exact_mass_of(Chem.MolFromSmiles(smiles))


def parse_molecule(
    smiles: str | None = None, inchi: str | None = None, *, inchikey: str | None = None
) -> Molecule:
    """Parse one structure.

    Results are remembered per process: libraries name the same compound many times.

    Parameters
    ----------
    smiles, inchi
        The structure; SMILES is used where both are given.
    inchikey
        A key that is trusted instead of being computed, which is the slowest step.

    Raises
    ------
    StructureError
        If the structure cannot be parsed, holds a wildcard atom, or has no InChI.
    """
    return _parse_cached(smiles or None, inchi or None, inchikey or None)


@lru_cache(maxsize=1 << 17)
def _parse_cached(smiles: str | None, inchi: str | None, inchikey: str | None) -> Molecule:
    molecule = Molecule.parse(smiles, inchi, inchikey=inchikey or "")
    if not molecule.inchikey:
        raise StructureError(f"no InChIKey can be computed for {_shown(smiles or inchi or '')}")
    return molecule
