"""Results of ranking as a report shows them, made by hand."""

from __future__ import annotations

import numpy as np

from specvae.annotation.evidence.analogues import RememberedPeaks
from specvae.annotation.evidence.items import (
    Analogue,
    BitEvidence,
    LibrarySpectrum,
    PeakEvidence,
)
from specvae.annotation.library.query import Query
from specvae.annotation.ranking.result import (
    Annotation,
    Answer,
    Cause,
    Explanation,
    Refusal,
    Unranked,
)
from specvae.molecules.molecule import Molecule
from specvae.spectra.spectrum import Spectrum

CAFFEINE = "Cn1c(=O)c2c(ncn2C)n(C)c1=O"
THEOPHYLLINE = "Cn1c2c(c(=O)n(c1=O)C)[nH]cn2"
NASTY = "</script><img src=x onerror=alert(1)><!--"


def spectrum(query_id: str, n_peaks: int = 4) -> Spectrum:
    return Spectrum(
        mz=np.linspace(60.01, 195.0877, n_peaks),
        intensity=np.linspace(1.0, 100.0, n_peaks),
        query_id=query_id,
        precursor_mz=195.0877,
        adduct="[M+H]+",
        collision_energy=35.0,
        retention_time=61.25,
    )


def result(
    query_id: str = "q1",
    scores: tuple[float, ...] = (-1.0, -3.5),
    *,
    smiles: str = CAFFEINE,
    name: str = "caffeine",
    probability: float | None = None,
    n_candidates: int | None = None,
) -> Answer:
    key = "RYYVLZVUVIJVGH-UHFFFAOYSA-N"
    rows = tuple(
        Annotation(sum(other >= score for other in scores), smiles, key, name, score, probability)
        for score in scores
    )
    query = Query.assign_ion(spectrum(query_id))
    return Answer(query, rows, n_candidates or len(scores))


def explained(name: str = "caffeine") -> Answer:
    """Return two candidates that three kinds of evidence tell apart, of which one peak each."""
    first, second = (
        Annotation(
            n + 1, smiles, key, called, sum(terms), 0.8 / (n + 1), Molecule.parse(smiles),
            terms=terms, leading="library",
        )
        for n, (smiles, key, called, terms) in enumerate(
            (
                (
                    CAFFEINE, "RYYVLZVUVIJVGH-UHFFFAOYSA-N", name,
                    (-2.0, -1.0, -3.0, 4.0, 0.0, 0.0, 0.0),
                ),
                (
                    THEOPHYLLINE, "ZFXYFBGIUFBOJW-UHFFFAOYSA-N", "theophylline",
                    (-2.01, -0.5, -5.0, 0.0, 0.0, 0.0, 0.0),
                ),
            )
        )
    )  # fmt: skip
    query = Query.assign_ion(spectrum("q1"))
    mz = query.spectrum.mz
    both, ours, theirs = (
        PeakEvidence(float(mz[n]), formula, -1.25, 1.5, (0, 1))
        for n, formula in enumerate(("C2H3N+", "C3H5N+", "C4H5N+"))
    )
    peaks = RememberedPeaks(np.array([110.07, 195.08]), np.array([0.2, 1.0]), 0.02)
    return Answer(
        query,
        (first, second),
        2,
        (Analogue("YAPQBXQYLJRXSA", "Cn1cnc2c1c(=O)[nH]c(=O)n2C", 0.83),),
        Explanation(
            second,
            (both, ours),
            (both, theirs),
            (BitEvidence(7, "Morgan environment 7", 0.9, True, 1.2, "CN", ((0, 1),)),),
            LibrarySpectrum(
                "MSBNK-<1>", "[M+H]+", CAFFEINE, "RYYVLZVUVIJVGH", 0.912, 7,
                is_own=True, peaks=peaks,
            ),
        ),
    )  # fmt: skip


def unranked(query_id: str, status: str) -> Unranked:
    return Unranked(query_id, Refusal(Cause.NO_PRECURSOR, status))
