"""All evidence for the candidates of one query, for tests of its parts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from specvae.annotation.evidence.pool import EvidencePool
from specvae.annotation.evidence.weighted import Evidence
from specvae.molecules.candidates import CandidateSet
from specvae.spectra.spectrum import Spectrum


def evidence_of(
    pool: EvidencePool,
    query: Spectrum,
    found: CandidateSet,
    packed: NDArray[np.uint8],
    log_likelihoods: NDArray[np.float64],
    rescore: int | None = None,
) -> Evidence:
    compared = pool.compare(query, found, packed, log_likelihoods, rescore=rescore)
    with pool.scoring([([query], compared.broken, found)]) as scores:
        return pool.evidence(compared, scores()[0])
