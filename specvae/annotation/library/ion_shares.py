"""How often ions are of each species, for queries that do not state theirs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from specvae.errors import ConfigError
from specvae.spectra.adducts import Adduct, parse_adduct

COMMON = "common"
"""The word for the species in `COMMON_SPECIES`."""

COMMON_SPECIES = ("[M+H]+", "[M+Na]+", "[M+NH4]+", "[M+K]+", "[M-H]-", "[M+Cl]-", "[M+HCOO]-")

IONS_OF_CATIONS = ("[M]+", "[M]2+", "[M-2H]-")
"""Species of molecules that are cations themselves; other molecules would form radicals."""

COUNTS: Mapping[str, int] = {
    "[M+H]+": 4851,
    "[M]+": 409,
    "[M+Na]+": 205,
    "[M+H-H2O]+": 70,
    "[M+NH4]+": 45,
    "[M+K]+": 9,
    "[M+H-NH3]+": 7,
    "[M+H-2H2O]+": 6,
    "[M+Li]+": 3,
    "[2M+H]+": 3,
    "[M-H]-": 3671,
    "[M+CH3COO]-": 471,
    "[M+HCOO]-": 190,
    "[M]-": 17,
    "[M-2H]-": 30,
    "[M-CH3]-": 10,
    "[M+Cl]-": 8,
    "[M+K-2H]-": 3,
    "[2M-H]-": 2,
    "[M-H-CO2]-": 2,
}
"""Compounds with MS2 spectra of a species in MassBank 2025.05.1."""

_OF_OTHERS = 1  # compounds, for a species that is not in the table


def parse_species(text: str) -> tuple[Adduct, ...]:
    """Return the ion species of a list like ``[M+H]+,[M+Na]+``, or those of ``common``.

    The most frequent comes first.

    Raises
    ------
    ConfigError
        If one is unknown, or has several charges: spectra of these are read otherwise.
    """
    names = COMMON_SPECIES if text.strip().lower() == COMMON else text.split(",")
    found: dict[str, Adduct] = {}
    for name in names:
        ion = parse_adduct(name.strip())
        if ion is None:
            raise ConfigError(
                f"adduct {name.strip()!r} is unknown; wanted some like '[M+H]+,[M+Na]+', "
                f"or {COMMON!r}"
            )
        if abs(ion.charge) != 1:
            raise ConfigError(f"adduct {ion.name} has several charges; wanted some with one")
        found.setdefault(ion.name, ion)
    # Sorting is stable: of equally frequent ones the first named stays first.
    return tuple(sorted(found.values(), key=lambda ion: -_count(ion)))


def log_shares(ions: Sequence[Adduct]) -> NDArray[np.float64]:
    """Return the logarithm of the share of each species among some, float64 (n,)."""
    counts = np.array([_count(ion) for ion in ions], np.float64)
    return np.asarray(np.log(counts / counts.sum()))


def _count(ion: Adduct) -> int:
    return COUNTS.get(ion.name, _OF_OTHERS)
