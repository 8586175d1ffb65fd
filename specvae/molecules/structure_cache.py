"""Parsed structures stored on disk, so that a table that is read again is not parsed again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rdkit import rdBase

from specvae.limits import limits
from specvae.molecules.entry_store import EntryStore, default_cache_directory, digest
from specvae.molecules.molecule import Molecule
from specvae.molecules.standard import STANDARD_VERSION

READING_VERSION = 19
"""Rises when texts are read otherwise while pools stay as they are: 2 since atom classes do not
order the atoms, and patterns and repeating units are refused; 3 since SMILES that go on behind a
blank and carbons in brackets without their hydrogens are refused, and an InChI of another formula
is noted; 4 since InChI of several components of one formula are taken apart; 5 since sulfones
and phosphine oxides are not left with charges; 6 since InChI of organometallic
compounds are refused; 7 since azides, thiophosphates and their like are not left with charges;
8 since dative bonds are left out; 9 since pyridinium ions keep their charge as InChI, too; 10 since
the strongest acid of an inner salt has its charge; 11 since dioxides of diazines, and phenols of
quaternary amines as InChI, have one form; 12 since SMILES that go on behind a blank with a branch
or a bond are refused; 13 since lists of SMILES with blanks around their marks are; 14 since
several InChI, and one that is cut off before its hydrogens, are; 15 since ChemAxon's extensions
that leave atoms open and lack their end are; 16 since SMILES that end with a
branch and go on behind a blank are; 17 since ChemAxon's extensions of radicals and bonds count,
InChI of polymers are refused and those called `1B` are read; 18 since extensions that change atoms
beyond the last are refused; 19 since escaped bonds and hydrogens behind a charge are read."""

Texts = tuple[str, str]
"""SMILES and InChI as a table has them, "" for none."""


class StructureCache:
    """Parsed structures by the texts that they were parsed from.

    Parameters
    ----------
    directory
        Where it lies; None for `default_cache_directory`; see `EntryStore`.
    """

    def __init__(self, directory: Path | None = None) -> None:
        most = limits()
        # Other versions, or other limits, may take another text for a structure.
        name = (
            f"s{STANDARD_VERSION}-t{READING_VERSION}-rdkit{rdBase.rdkitVersion}-"
            f"{most.structure_characters}-{most.structure_components}-{most.structure_atoms}"
        )
        folder = directory or default_cache_directory()
        self._store = EntryStore(folder / "structures" / name, "structures")

    def lookup(self, texts: Sequence[Texts]) -> list[Molecule | None]:
        """Return the structures of some texts, without trusted keys; None where none is stored."""
        found: list[Molecule | None] = [None] * len(texts)
        for row, entry in self._store.lookup(map(_key, texts)).items():
            found[row] = Molecule.from_bytes(entry)
        return found

    def put(self, texts: Sequence[Texts], molecules: Sequence[Molecule | str]) -> None:
        """Keep structures; texts that have none are left out."""
        for pair, molecule in zip(texts, molecules, strict=True):
            if isinstance(molecule, Molecule):
                self._store.put(_key(pair), molecule.to_bytes())

    def save(self) -> None:
        """Write what was put in, if it is worth a file."""
        self._store.save()


def _key(texts: Texts) -> bytes:
    return digest("\0".join(texts))
