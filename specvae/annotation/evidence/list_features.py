"""Features of a list of candidates from which the chance that it holds the truth is computed."""

from __future__ import annotations

import numpy as np

from specvae.annotation.evidence.pool import EVIDENCE_KINDS, Evidence

LIST_FEATURES = (
    "nearest_cosine",
    "best_votes",
    "best_fragments",
    "fragments_lead",
    "best_fingerprint",
    "n_peaks",
)
"""Names of what `list_features` returns."""


def list_features(evidence: Evidence, n_peaks: int) -> list[float]:
    """Return the features of one query's list, in the order of `LIST_FEATURES`.

    They are the cosine of the nearest analogue; the logarithm of the most votes that a candidate
    has; the highest log-odds of fragments, and those of the first-ranked candidate minus the
    median; the highest log-likelihood of a fingerprint; the logarithm of the number of peaks.

    Parameters
    ----------
    evidence
        For the candidates, at least one.
    n_peaks
        Number of peaks of the query.
    """
    columns = dict(zip(EVIDENCE_KINDS, evidence.raw.T, strict=True))
    fragments = columns["fragments"]
    first = evidence.scores == evidence.scores.max()
    return [
        evidence.analogues[0].cosine if evidence.analogues else 0.0,
        float(columns["analogues"].max()),
        float(fragments.max()),
        float(fragments[first].mean() - np.median(fragments)),
        float(columns["fingerprint"].max()),
        float(np.log(n_peaks)),
    ]
