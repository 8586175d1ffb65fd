"""Molecules: a standard structure (`specvae.molecules.standard`), its keys, formula and exact mass.

`exact_mass` is the sum of the masses of the atoms with all their electrons, also for an ion that
stays charged: choline is 104.1075 Da, and its [M]+ is found an electron mass below that.
"""

from __future__ import annotations

import contextlib
import re
import struct
from collections.abc import Sequence
from functools import lru_cache

from rdkit import Chem
from rdkit.Chem.rdMolDescriptors import CalcExactMolWt, CalcMolFormula

from specvae.errors import StructureError
from specvae.masses import ELECTRON_MASS
from specvae.molecules.quiet import quiet_rdkit
from specvae.molecules.standard import standard_form
from specvae.molecules.structure_text import shown

KEY_OF_SEVERAL = "InChIKey of several structures, computed instead"
KEYS_THAT_DIFFER = "InChIKeys of one structure that differ, computed instead"
KEY_OF_ANOTHER = "InChIKeys of other structures, computed instead"
_MASSES_KEPT = 100_000
_TERM = re.compile(r"([A-Z][a-z]?)(\d*)")  # of a formula

FIRST_BLOCK = 14
"""Letters of an InChIKey that stand for connectivity: its first block."""

_NUMBERS = struct.Struct("<dhHI")  # exact mass, charge, number of components, length of the texts


class Molecule:
    """One structure after standardisation.

    It is parsed once: values that later steps need are computed from it when they are first used.
    RDKit's molecule is kept in binary form, some 400 bytes, as the object itself takes kilobytes
    and a table of candidates has hundreds of thousands. Molecules are equal if their SMILES are.

    Parameters
    ----------
    mol
        As `standard_form` has it.
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
        Decisions while it was parsed.
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
        """Parse one structure; see `standard_form` for its errors, and the class for `inchikey`.

        `read` is RDKit's molecule of a SMILES that `is_usual`, if it is known.
        """
        found = standard_form(smiles, inchi, read)
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
        # Making the object again takes a third of the time.
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
        texts = (self.written, self._smiles or "", "\n".join(self.notes))
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
    def identity(self) -> str | bytes:
        """A key that no other structure has: its SMILES if that is known, else its binary form.

        The binary form differs if the atoms are in another order, but computing SMILES takes a
        third of the time of fingerprints.
        """
        return self._binary if self._smiles is None else self._smiles

    @property
    def text(self) -> str:
        """The SMILES that it was written as, else the canonical one."""
        return self.written or self.smiles

    @property
    def inchikey(self) -> str:
        """Standard InChIKey, 27 characters; what was given where InChI knows none."""
        if self._inchikey is None:
            with quiet_rdkit():
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


def fragment_smiles(mol: Chem.Mol, atoms: Sequence[int]) -> str:
    """Return some of a molecule's atoms, with the bonds between them, as SMILES."""
    with quiet_rdkit():
        text: str = Chem.MolFragmentToSmiles(mol, list(atoms))
    return text


def exact_mass_of(mol: Chem.Mol) -> float:
    """Return the monoisotopic mass in Da of all atoms with all their electrons."""
    # RDKit leaves out the electrons that a cation lacks.
    return float(CalcExactMolWt(mol)) + ELECTRON_MASS * Chem.GetFormalCharge(mol)


@lru_cache(maxsize=_MASSES_KEPT)
def exact_mass_of_smiles(smiles: str) -> float:
    """Return the exact mass of a SMILES that can be parsed; results are cached."""
    return exact_mass_of(Chem.MolFromSmiles(smiles))


@lru_cache(maxsize=_MASSES_KEPT)
def average_mass_of_formula(formula: str) -> float:
    """Return the average mass of a formula in Da, over the natural isotopes."""
    weight = Chem.GetPeriodicTable().GetAtomicWeight
    return sum(weight(name) * int(number or 1) for name, number in _TERM.findall(formula))


@lru_cache(maxsize=1 << 17)
def blocks_of_inchi(inchi: str | None) -> frozenset[str]:
    """Return the InChIKey first block of a standard InChI, none for any other text.

    For a salt the first block of the structure without its counter-ions is returned too, as others
    identify the salt by it.
    """
    if inchi is None or not inchi.startswith("InChI=1S/"):
        return frozenset()
    with quiet_rdkit():
        key: str = Chem.InchiToInchiKey(inchi) or ""  # type: ignore[no-untyped-call]
    blocks = {key[:FIRST_BLOCK]} - {""}
    if "." in inchi.split("/")[1]:
        with contextlib.suppress(StructureError):
            blocks.add(parse_molecule(inchi=inchi).first_block)
    return frozenset(blocks)


@lru_cache(maxsize=1 << 12)
def blocks_of_salt(smiles: str | None) -> frozenset[str]:
    """Return the InChIKey first block of a salt as it is written, counter-ions included.

    None of a structure of one component, or that cannot be parsed.
    """
    if smiles is None or "." not in smiles:
        return frozenset()
    with quiet_rdkit():
        mol = Chem.MolFromSmiles(smiles)
        key: str = "" if mol is None else Chem.MolToInchiKey(mol)  # type: ignore[no-untyped-call]
    return frozenset({key[:FIRST_BLOCK]} - {""})


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
        raise StructureError(f"no InChIKey can be computed for {shown(smiles or inchi or '')}")
    return molecule
