"""Exact masses of isotopes and of the electron, each with its source.

Isotopes: NIST, *Atomic Weights and Isotopic Compositions*, version 4.1, whose masses are those of
the atomic mass evaluation AME2012 (doi:10.1088/1674-1137/36/12/003). For every element the most
abundant isotope is meant, as in a monoisotopic mass. Electron: CODATA 2022
(doi:10.1103/RevModPhys.97.025002).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeVar

_Masses = TypeVar("_Masses")  # a number, or an array of them

ELECTRON_MASS = 5.485799090441e-4
"""Mass of the electron in Da."""

ISOTOPE_MASSES: Mapping[str, float] = {
    "H": 1.00782503223,
    "D": 2.01410177812,
    "Li": 7.0160034366,
    "Be": 9.012183065,
    "B": 11.00930536,
    "C": 12.0,
    "N": 14.00307400443,
    "O": 15.99491461957,
    "F": 18.99840316273,
    "Na": 22.9897692820,
    "Mg": 23.985041697,
    "Al": 26.98153853,
    "Si": 27.97692653465,
    "P": 30.97376199842,
    "S": 31.9720711744,
    "Cl": 34.968852682,
    "K": 38.9637064864,
    "Ca": 39.962590863,
    "Ti": 47.94794198,
    "V": 50.94395704,
    "Cr": 51.94050623,
    "Mn": 54.93804391,
    "Fe": 55.93493633,
    "Co": 58.93319429,
    "Ni": 57.93534241,
    "Cu": 62.92959772,
    "Zn": 63.92914201,
    "Ga": 68.9255735,
    "Ge": 73.921177761,
    "As": 74.92159457,
    "Se": 79.9165218,
    "Br": 78.9183376,
    "Rb": 84.9117897379,
    "Sr": 87.9056125,
    "Mo": 97.90540482,
    "Ag": 106.9050916,
    "Cd": 113.90336509,
    "Sn": 119.90220163,
    "Sb": 120.9038120,
    "I": 126.9044719,
    "Cs": 132.9054519610,
    "Ba": 137.90524700,
    "Pt": 194.9647917,
    "Au": 196.96656879,
    "Hg": 201.97064340,
    "Pb": 207.9766525,
    "Bi": 208.9803991,
}
"""Mass in Da of each element's most abundant isotope; ``D`` is deuterium."""

HYDROGEN_MASS = ISOTOPE_MASSES["H"]
"""Mass of the hydrogen atom in Da."""

ISOTOPE_STEP = 1.00335484
"""From 12C to 13C in Da."""

_FORMULA = re.compile(r"([A-Z][a-z]?)(\d*)")


def parse_formula(formula: str) -> dict[str, int]:
    """Return the number of atoms of each element in a plain formula such as ``C6H12O6``.

    Raises
    ------
    ValueError
        If the text is no formula, has no atoms (``H0``), or names an element that is not in
        `ISOTOPE_MASSES`.
    """
    counts: dict[str, int] = {}
    end = 0
    for match in _FORMULA.finditer(formula):
        element, digits = match.groups()
        if match.start() != end or element not in ISOTOPE_MASSES:
            break
        end = match.end()
        counts[element] = counts.get(element, 0) + (int(digits) if digits else 1)
    if not any(counts.values()) or end != len(formula):
        raise ValueError(f"{formula!r} is not a molecular formula")
    return counts


def atoms_of_formula(formula: str) -> dict[str, int]:
    """Return the number of atoms of each element in a formula, whatever else stands in it.

    Such is the charge of ``C5H14NO+``. What is no formula is not noticed: see `parse_formula`.
    """
    counts: dict[str, int] = {}
    for element, digits in _FORMULA.findall(formula):
        counts[element] = counts.get(element, 0) + int(digits or 1)
    return counts


def composition_mass(composition: Mapping[str, int]) -> float:
    """Return the mass in Da of a neutral composition; counts may be negative."""
    return sum(ISOTOPE_MASSES[element] * n for element, n in composition.items())


def formula_mass(formula: str) -> float:
    """Return the monoisotopic mass in Da of a neutral formula such as ``C6H12O6``.

    Raises
    ------
    ValueError
        If the text is no formula.
    """
    return composition_mass(parse_formula(formula))


def hill_formula(composition: Mapping[str, int]) -> str:
    """Return a composition in Hill order: C, H, then the rest by alphabet (all so without C)."""
    first = ["C", "H"] if composition.get("C") else []
    rest = sorted(element for element in composition if element not in first)
    parts = ((element, composition.get(element, 0)) for element in (*first, *rest))
    return "".join(f"{element}{n if n != 1 else ''}" for element, n in parts if n)


def deviation_ppm(mass: _Masses, expected: _Masses) -> _Masses:
    """Return how far a mass or m/z is above the expected one, in ppm of the latter."""
    found: Any = mass  # this module does without numpy, in whose types it could be said
    deviation: _Masses = 1e6 * (found - expected) / expected
    return deviation


def ppm_width(mass: _Masses, ppm: float) -> _Masses:
    """Return so many ppm of a mass or m/z, in its unit."""
    masses: Any = mass
    width: _Masses = ppm * 1e-6 * abs(masses)
    return width


def is_near(mass: float, wanted: float, ppm: float) -> bool:
    """Return whether a mass or m/z is within some ppm of another one."""
    return abs(mass - wanted) <= ppm_width(wanted, ppm)
