"""Which candidates are ranked, beside those of a query's mass: by formula, elements, compound."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from rdkit import Chem
from rdkit.Chem.rdMolDescriptors import CalcMolFormula

from specvae.annotation.library.compounds import read_excluded
from specvae.errors import ConfigError
from specvae.masses import ISOTOPE_MASSES, atoms_of_formula
from specvae.molecules.candidates import CandidateSet
from specvae.molecules.molecule import blocks_of_salt
from specvae.report import ReadReport

_TERMS = re.compile(r"(?:[A-Z][a-z]?\d*)+")
# "[C6H5O7]3-", "C6H5O7 3-", "C6H5O7-3": a number behind a blank is no more of oxygen.
_OF_ION = re.compile(r"\[(.+)\]\s*\d*[+-]\d*|(.+?)(?:(?<=\d)\s+\d+)?\s*[+-]\d*")
# Users who allow hydrogen mean deuterium and tritium too.
_OTHER_NAMES = {"D": "H", "T": "H"}


@dataclass(frozen=True, slots=True)
class Restriction:
    """Conditions that candidates must meet.

    Attributes
    ----------
    formula
        Number of atoms by element; None: any.
    elements
        Candidates have no others; None: any.
    excluded
        First blocks of compounds that are left out.
    """

    formula: tuple[tuple[str, int], ...] | None = None
    elements: frozenset[str] | None = None
    excluded: frozenset[str] = frozenset()

    @classmethod
    def of(
        cls,
        formula: str | None = None,
        elements: str | None = None,
        exclude: Iterable[Path] = (),
        report: ReadReport | None = None,
    ) -> Restriction:
        """Return what a user asks for: ``C9H8O4``, ``CHNOPS``, files that name compounds.

        Records of these files that cannot be read are counted in `report`.

        Raises
        ------
        ConfigError
            If a text is no formula, or holds what is no element.
        InputError
            See `specvae.annotation.library.compounds.read_excluded`.
        """
        return cls(
            None if formula is None else _parsed("formula", formula),
            None if elements is None else frozenset(n for n, _ in _parsed("elements", elements)),
            read_excluded(exclude, report),
        )

    def __str__(self) -> str:
        """Return the options that state the conditions: ``--formula and --exclude``."""
        asked = {
            "--formula": self.formula is not None,
            "--elements": self.elements is not None,
            "--exclude": bool(self.excluded),
        }
        return " and ".join(option for option, is_asked in asked.items() if is_asked)

    def select(self, candidates: CandidateSet) -> CandidateSet:
        """Return the candidates that meet the conditions, in their order."""
        kept = np.ones(len(candidates), np.bool_)
        if self.excluded:
            structures = zip(candidates.first_block, candidates.smiles, strict=True)
            kept &= [not self._excludes(block, smiles) for block, smiles in structures]
        if self.formula is not None or self.elements is not None:
            kept &= [self._allows(formula) for formula in candidates.formula]
        return candidates if kept.all() else candidates.select(np.flatnonzero(kept))

    def allows(self, first_block: str, smiles: str) -> bool:
        """Return whether a compound meets the conditions."""
        if self._excludes(first_block, smiles):
            return False
        if self.formula is None and self.elements is None:
            return True
        return self._allows(CalcMolFormula(Chem.MolFromSmiles(smiles)))

    def _excludes(self, first_block: str, smiles: str) -> bool:
        """Return whether a structure, or the salt that it is written as, is to be left out."""
        if first_block in self.excluded:
            return True
        return bool(self.excluded) and not self.excluded.isdisjoint(blocks_of_salt(smiles))

    def _allows(self, formula: str) -> bool:
        found = _counted(formula)
        if self.formula is not None and found != self.formula:
            return False
        return self.elements is None or all(name in self.elements for name, _ in found)


def _parsed(option: str, given: str) -> tuple[tuple[str, int], ...]:
    # Beside symbols and numbers a formula may have a charge, which is ignored, and blanks; a list
    # of symbols may have separators. Two formulas are refused, and so are numbers in a list.
    charged = _OF_ION.fullmatch(given.strip())
    dropped = r"\s" if option == "formula" else r"[\s,;]"
    text = re.sub(dropped, "", given if charged is None else charged[1] or charged[2])
    found = _counted(text)
    unknown = [name for name, _ in found if name not in ISOTOPE_MASSES]
    is_of_terms = _TERMS.fullmatch(text) is not None
    if option == "elements" and any(map(str.isdigit, text)):
        is_of_terms = False
    if not found or unknown or not is_of_terms:
        wanted = "one like 'C9H8O4'" if option == "formula" else "symbols like 'CHNOPSCl'"
        raise ConfigError(f"{option}: found {given!r}, wanted {wanted}")
    return found


@lru_cache(maxsize=1 << 16)
def _counted(formula: str) -> tuple[tuple[str, int], ...]:
    """Return the atoms of a formula by element, in alphabetic order; its charge is left out."""
    counts: Counter[str] = Counter()
    for name, number in atoms_of_formula(formula).items():
        counts[_OTHER_NAMES.get(name, name)] += number
    return tuple(sorted(counts.items()))
