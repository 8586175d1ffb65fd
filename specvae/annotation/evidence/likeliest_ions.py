"""The likeliest ion of a molecule's fragments at each peak of a spectrum."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from specvae.annotation.evidence.fragment_peaks import SHIFTS, Peaks, match_peaks
from specvae.annotation.evidence.fragment_score import FragmentScorer
from specvae.masses import ELECTRON_MASS, HYDROGEN_MASS, hill_formula
from specvae.molecules.fragments import FragmentTable


@dataclass(frozen=True, slots=True)
class FragmentIon:
    """The likeliest ion at a peak.

    Attributes
    ----------
    mz
        Of the peak, Th.
    fragment
        Index into the table; its `FragmentTable.atom_indices` are the atoms that are kept.
    formula
        Of the ion, in Hill order, with its sign: ``C7H7+``.
    error
        m/z of the peak minus that of the ion, Th.
    gain
        By how many nats the peak's explanations raise its log-odds over the background.
    """

    mz: float
    fragment: int
    formula: str
    error: float
    gain: float


def likeliest_ions(
    table: FragmentTable, peaks: Peaks, scorer: FragmentScorer
) -> list[FragmentIon | None]:
    """Return the likeliest ion at each peak, None where no fragment has its mass."""
    found = match_peaks(table, peaks)
    weights, gains = scorer.weigh(table, peaks, found)
    order = np.lexsort((-weights, found.peak))
    explained, first = np.unique(found.peak[order], return_index=True)
    explanations: list[FragmentIon | None] = [None] * len(peaks.mz)
    for peak, match in zip(explained.tolist(), order[first].tolist(), strict=True):
        fragment, gained = int(found.fragment[match]), int(SHIFTS[found.shift[match]]) + peaks.sign
        counts = table.composition(fragment)
        n_metals = int(found.metals[match])
        counts["H"] += gained - n_metals
        if n_metals:
            counts[peaks.metal] = counts.get(peaks.metal, 0) + n_metals
        as_hydrogens = float(peaks.without_metal(n_metals).mz[peak])
        ion_mz = float(table.masses[fragment]) + gained * HYDROGEN_MASS - peaks.sign * ELECTRON_MASS
        explanations[peak] = FragmentIon(
            mz=float(peaks.mz[peak]),
            fragment=fragment,
            formula=hill_formula(counts) + ("+" if peaks.sign > 0 else "-"),
            error=as_hydrogens - ion_mz,
            gain=float(gains[peak]),
        )
    return explanations
