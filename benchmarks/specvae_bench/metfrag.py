"""MetFrag's score over our own fragments, which the fragment score is measured beside."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from specvae.annotation.evidence.fragment_peaks import Peaks, match_peaks
from specvae.molecules.fragments import FragmentTable

# Exponents and their source: doi:10.1186/s13321-016-0115-9.
_MZ_POWER = 1.84
_INTENSITY_POWER = 0.59
_ENERGY_POWER = 0.47


def metfrag_scores(peaks: Peaks, tables: Sequence[FragmentTable]) -> NDArray[np.float64]:
    """Return MetFrag's fragmenter score of each candidate, float64 (n_candidates,).

    ``sum_p mz_p^1.84 I_p^0.59 / E_p^0.47`` over the explained peaks but the molecule's own, where
    ``E_p`` is the least sum of enthalpies of the bonds cut (kJ/mol) among the fragments at the peak
    (doi:10.1186/s13321-016-0115-9).
    """
    scores = np.zeros(len(tables))
    worth = peaks.mz**_MZ_POWER * peaks.intensity**_INTENSITY_POWER
    for i, table in enumerate(tables):
        found = match_peaks(table, peaks)
        broken = table.steps[found.fragment] > 0
        energies = np.full(len(peaks.mz), np.inf)
        np.minimum.at(energies, found.peak[broken], table.energies[found.fragment[broken]])
        scores[i] = (worth / energies**_ENERGY_POWER).sum()
    return scores
