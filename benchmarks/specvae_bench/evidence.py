"""The evidence for a query's candidates, as `annotate` gathers it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from specvae.annotation.evidence.ion_formation import formation_of_candidates
from specvae.annotation.evidence.mass_error import mass_errors
from specvae.annotation.evidence.pool import Comparison, EvidencePool
from specvae.molecules.candidates import CandidateSet
from specvae.spectra.spectrum import Spectrum


def compare(
    pool: EvidencePool,
    query: Spectrum,
    candidates: CandidateSet,
    packed: NDArray[np.uint8],
    log_likelihoods: NDArray[np.float64],
    rescore: int | None = None,
) -> Comparison:
    """Return all evidence but that of fragments; see `EvidencePool.compare`."""
    ions = [] if query.ion is None else [query.ion]
    return pool.compare(
        query,
        candidates,
        packed,
        log_likelihoods,
        rescore=rescore,
        prior=formation_of_candidates(candidates, [query.ion], pool.library),
        mass_errors=mass_errors(query.precursor_mz, ions, candidates),
    )
