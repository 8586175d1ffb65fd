"""Queries of one laboratory against the library of all others: known, half known, unknown."""

from __future__ import annotations

import fnmatch
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from specvae.errors import InputError, StructureError
from specvae.molecules.candidates import CandidateSet
from specvae.molecules.standard import standard_form
from specvae.spectra.spectrum import Spectrum
from specvae_bench.laboratories.records import LABORATORY, Records

FITTING = ("BAFG", "RIKEN", "UFZ", "BGC_Munich", "HBM4EU")
"""Laboratories that weights of evidence are fitted to; no figure is reported of them."""

REPORTING = ("Athens_Univ", "Eawag", "LCSB", "EPA", "Washington_State_Univ")
"""Laboratories that figures are reported of; nothing is fitted to them."""

KNOWN, OTHER_ION, UNKNOWN = "known", "other ion only", "unknown"
KINDS = (KNOWN, OTHER_ION, UNKNOWN)
"""What the library has of a query's compound: spectra of the same adduct and ion mode; spectra of
other adducts or of the other ion mode only; none."""

HALF = "half known, half unknown"
"""A mixture of as many known as unknown compounds of each laboratory."""

INSTRUMENTS = ("*QTOF*", "*ITFT*", "*QFT*")
ADDUCTS = ("[M+H]+",)


def default_groups(by: str, is_fit: bool = False) -> tuple[str, ...]:
    """Return the groups whose spectra are queries, where none is named.

    Raises
    ------
    InputError
        If folds are not made by laboratory.
    """
    if by != LABORATORY:
        raise InputError(f"--by {by} needs at least one --group: a value of the field")
    return FITTING if is_fit else REPORTING


@dataclass(frozen=True, eq=False)
class FoldQuery:
    """A spectrum with its candidates.

    Attributes
    ----------
    kind
        One of `KINDS` for a laboratory's query.
    spectrum
        The query.
    truth
        InChIKey first block.
    candidates
        Structures of its mass, one for each first block.
    place
        Index of the truth among them; None if it is absent.
    """

    kind: str
    spectrum: Spectrum
    truth: str
    candidates: CandidateSet
    place: int | None


def choose_queries(
    records: Records,
    group: str,
    adducts: Sequence[str],
    instruments: Sequence[str],
    n_each: int,
    seed: int,
    only: frozenset[str] | None = None,
    excluded: Collection[str] = (),
) -> list[tuple[int, str]]:
    """Return row and kind of a laboratory's queries, one for each compound, ordered by kind, row.

    Parameters
    ----------
    records
        All spectra.
    group
        The laboratory.
    adducts, instruments
        Canonical adducts, and shell patterns of instrument types; a query has one of each.
    n_each
        At most so many queries of each kind, drawn at random.
    seed
        Of the draw.
    only
        First blocks of the compounds that may be queries; None for all.
    excluded
        First blocks of compounds that are no queries.

    Raises
    ------
    InputError
        If there is no query.
    """
    known_types = {
        text
        for text in np.unique(records.instrument_type).tolist()
        if any(fnmatch.fnmatchcase(text.upper(), pattern.upper()) for pattern in instruments)
    }
    usable = np.isin(records.instrument_type, sorted(known_types))
    usable &= np.isin(records.adduct, list(adducts))
    if only is not None:
        usable &= np.isin(records.first_blocks, sorted(only))[records.compound]
    allowed = np.zeros(len(records), np.bool_)
    allowed[records.of_others(excluded)] = True
    usable &= allowed
    ours = records.group == group
    rows = np.flatnonzero(ours & usable)
    if not len(rows):
        raise InputError(
            f"no query of {group!r}: no spectrum of {', '.join(adducts)} measured with "
            f"{', '.join(instruments)}"
            + (", of no excluded compound" if excluded else "")
            + "; --group names others"
        )
    rng = np.random.default_rng([seed, *group.encode()])
    one_each = _one_of_each(rows, records.compound, rng)
    kinds = kinds_of(records, one_each, np.flatnonzero(~ours))
    chosen: list[tuple[int, str]] = []
    for kind in KINDS:
        drawn = np.sort(rng.permutation(one_each[kinds == kind])[:n_each])
        chosen.extend((int(row), kind) for row in drawn)
    return chosen


def runs_of(group: str, kinds: Sequence[str], seed: int) -> dict[str, list[int]]:
    """Return the queries (indices) of each kind, and those of the mixture, which `seed` draws."""
    of_kind = {kind: [n for n, found in enumerate(kinds) if found == kind] for kind in KINDS}
    rng = np.random.default_rng([seed, *group.encode()])
    half = min(len(of_kind[KNOWN]), len(of_kind[UNKNOWN]))
    mixed = [n for kind in (KNOWN, UNKNOWN) for n in rng.permutation(of_kind[kind])[:half].tolist()]
    return {kind: found for kind, found in {**of_kind, HALF: mixed}.items() if found}


def kinds_of(
    records: Records, rows: NDArray[np.int64], library: NDArray[np.int64]
) -> NDArray[np.str_]:
    """Return what the rows `library` hold of each query's compound: one of `KINDS`, (n,)."""
    measured = set(records.compound[library].tolist())
    ions = set(_ions(records, library))
    kinds = [
        KNOWN if ion in ions else OTHER_ION if compound in measured else UNKNOWN
        for compound, ion in zip(records.compound[rows].tolist(), _ions(records, rows), strict=True)
    ]
    return np.array(kinds, dtype=np.str_)


def fold_query(
    records: Records, row: int, kind: str, structures: CandidateSet, ppm: float
) -> FoldQuery:
    """Return a query with the structures within `ppm` of its neutral mass."""
    spectrum = records.spectrum(row)
    truth = str(records.first_blocks[records.compound[row]])
    mass = spectrum.neutral_mass
    assert mass is not None, "records of the library have a precursor and an adduct"
    within = structures.within(mass, ppm).deduplicate()
    found = within.select(np.flatnonzero([_can_be_parsed(text) for text in within.smiles]))
    places = np.flatnonzero(np.asarray(found.first_block) == truth)
    place = int(places[0]) if len(places) else None
    return FoldQuery(kind, spectrum, truth, found, place)


def _can_be_parsed(smiles: str) -> bool:
    # Tables are trusted when they are read; few of their structures are ever candidates.
    try:
        standard_form(smiles)
    except StructureError:
        return False
    return True


def _ions(records: Records, rows: NDArray[np.int64]) -> Iterable[tuple[int, str, str]]:
    return zip(
        records.compound[rows].tolist(),
        records.adduct[rows].tolist(),
        records.ion_mode[rows].tolist(),
        strict=True,
    )


def _one_of_each(
    rows: NDArray[np.int64], compound: NDArray[np.int64], rng: np.random.Generator
) -> NDArray[np.int64]:
    """Return one row of each compound, drawn at random, (n_compounds,)."""
    drawn = rng.permutation(rows)
    _, first = np.unique(compound[drawn], return_index=True)
    return drawn[first]
