"""All evidence for the candidates of one query, for tests of its parts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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


def weighted(
    raw: NDArray[np.float64],
    weights: Mapping[str, float],
    measured: NDArray[np.bool_],
    elsewhere: NDArray[np.bool_] | None = None,
    **others: Any,  # noqa: ANN401 (those of Evidence)
) -> Evidence:
    """Return evidence of which no candidate has spectra of the other ion mode alone."""
    nobody = np.zeros(len(raw), np.bool_)
    return Evidence(raw, weights, measured, nobody if elsewhere is None else elsewhere, **others)
