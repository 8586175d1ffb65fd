"""Molecules: from SMILES or InChI to a standard structure, its keys, formula and exact mass.

What is done with a structure, always in this order:

1. Several components (a salt, a hydrate): the largest organic one is kept. Largest means most
   heavy atoms, then highest mass, then the last canonical SMILES in alphabetic order; a component
   without carbon is only kept when none has carbon. `Molecule.n_components` says how many there
   were.
2. Charges that protons can balance are neutralised: acetate becomes acetic acid, an ammonium ion
   the amine, a zwitterion the neutral form. What cannot be neutralised stays: choline remains a
   cation, betaine an inner salt.
3. Radicals and isotopes are left as written.

`exact_mass` is the sum of the masses of the atoms with all their electrons, also for an ion that
stays charged: choline is 104.1075 Da, and its [M]+ is found an electron mass below that.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache

from rdkit import Chem, rdBase
from rdkit.Chem.MolStandardize import rdMolStandardize
from rdkit.Chem.rdMolDescriptors import CalcExactMolWt, CalcMolFormula

from specvae.errors import StructureError
from specvae.masses import ELECTRON_MASS

_LONGEST_SHOWN = 60

# Asking for these is several times faster than a loop over the atoms in Python.
_WILDCARD = Chem.MolFromSmarts("[#0]")
_CHARGED = Chem.MolFromSmarts("[!+0]")


@dataclass(frozen=True, slots=True)
class Molecule:
    """One structure after standardisation.

    Attributes
    ----------
    smiles
        Canonical SMILES with stereochemistry and isotopes.
    inchikey
        Standard InChIKey, 27 characters.
    formula
        Formula in Hill order, with the charge appended where one stays (``C5H14NO+``).
    exact_mass
        Monoisotopic mass in Da with all electrons; labelled atoms count with their isotope's mass.
    charge
        Net charge that could not be neutralised.
    n_components
        Number of components in the structure as given; above 1 for salts and hydrates.
    """

    smiles: str
    inchikey: str
    formula: str
    exact_mass: float
    charge: int = 0
    n_components: int = 1

    @property
    def first_block(self) -> str:
        """The 14 characters of the InChIKey that encode connectivity."""
        return self.inchikey[:14]


@contextmanager
def quiet_rdkit() -> Iterator[None]:
    """Keep RDKit's log lines off stderr, and Ctrl-C in Python's hands.

    A substructure search of RDKit 2026.03 leaves RDKit's own handler of SIGINT behind, which
    swallows the first Ctrl-C for the rest of the process's life.
    """
    try:
        with rdBase.BlockLogs():
            yield
    finally:
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


def standard_mol(smiles: str | None = None, inchi: str | None = None) -> tuple[Chem.Mol, int]:
    """Parse and standardise one structure; return RDKit's molecule and the number of components.

    Everything in this package that computes on a structure starts here, so that a salt and its
    parent have one mass and one fingerprint.

    Raises
    ------
    StructureError
        If neither text is given, the text cannot be parsed, or a wildcard atom leaves the mass
        open.
    """
    text = (smiles or inchi or "").strip()
    if not text:
        raise StructureError("no structure given: a SMILES or an InChI is wanted")
    kind = "SMILES" if smiles else "InChI"
    with quiet_rdkit():
        mol = (
            Chem.MolFromSmiles(text) if smiles else Chem.MolFromInchi(text)  # type: ignore[no-untyped-call]
        )
        if mol is None:
            raise StructureError(f"{kind} cannot be parsed: {_shown(text)}{_cause(text, kind)}")
        if mol.GetNumAtoms() == 0:
            raise StructureError(f"{kind} has no atoms: {_shown(text)}")
        n_components = 1
        # Text search first: splitting every molecule to find one component takes longer.
        if "." in text:
            components = Chem.GetMolFrags(mol, asMols=True)
            n_components = len(components)
            if n_components > 1:
                mol = max(components, key=_component_order)
        if mol.HasSubstructMatch(_WILDCARD):
            raise StructureError(f"{kind} holds a wildcard atom: {_shown(text)}")
        if mol.HasSubstructMatch(_CHARGED):
            mol = rdMolStandardize.Uncharger().uncharge(mol)
            # Hydrogen counts changed: rings and aromaticity must be perceived anew, as if the
            # neutral form had been written.
            mol = Chem.MolFromSmiles(Chem.MolToSmiles(mol)) or mol
    return mol, n_components


def _cause(text: str, kind: str) -> str:
    """Return what is wrong with a SMILES in a few words, as far as RDKit can say."""
    if kind != "SMILES":
        return ""
    mol = Chem.MolFromSmiles(text, sanitize=False)
    if mol is None:
        return " (syntax)"
    problems = Chem.DetectChemistryProblems(mol)
    return f" ({problems[0].Message()})" if problems else ""


def exact_mass(mol: Chem.Mol) -> float:
    """Return the monoisotopic mass in Da of all atoms with all their electrons."""
    # RDKit leaves out the electrons that a cation lacks.
    return float(CalcExactMolWt(mol)) + ELECTRON_MASS * Chem.GetFormalCharge(mol)


def canonical_smiles(smiles: str) -> str:
    """Return the canonical SMILES of the standardised structure.

    Raises
    ------
    StructureError
        See `standard_mol`.
    """
    return Chem.MolToSmiles(standard_mol(smiles)[0])


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
    mol, n_components = standard_mol(smiles, inchi)
    with rdBase.BlockLogs():
        key = inchikey or Chem.MolToInchiKey(mol)  # type: ignore[no-untyped-call]
    if not key:
        raise StructureError(f"no InChIKey can be computed for {_shown(smiles or inchi or '')}")
    return Molecule(
        smiles=Chem.MolToSmiles(mol),
        inchikey=key,
        formula=CalcMolFormula(mol),
        exact_mass=exact_mass(mol),
        charge=Chem.GetFormalCharge(mol),
        n_components=n_components,
    )
