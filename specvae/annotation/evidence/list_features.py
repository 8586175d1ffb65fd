"""Features of a list of candidates from which the chance that it holds the truth is computed.

Informative features differ between compounds that the library knows and all others. If the compound
is known, its own spectra are similar to the query, or spectra of a compound that is not listed are
more similar. For other compounds there are only analogues and fragments, which hardly tell. So some
features are weighted by the chance `k` that the truth is a measured candidate, in either ion mode,
if it is listed at all (the softmax of the scores, summed over these), and some by 1 - k.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from specvae.annotation.evidence.defaults import EVIDENCE_KINDS
from specvae.annotation.evidence.items import Analogue
from specvae.annotation.evidence.library_match import CLEAR_COSINE
from specvae.annotation.evidence.odds import log_odds_of
from specvae.annotation.evidence.weighted import Evidence

LARGEST_GAP = 6.0
"""Nats; larger gaps count as this one, and so does the gap of a single candidate."""

LIST_FEATURES = (
    "nearest_cosine",
    "best_votes",
    "best_fragments",
    "fragments_lead",
    "best_fingerprint",
    "n_peaks",
    "known",
    "own_spectra",
    "known_own_spectra",
    "known_nearest_cosine",
    "known_gap",
    "known_lead",
    "known_fragments",
    "unknown_nearest_cosine",
    "unknown_votes",
    "unknown_fragments",
    "unknown_fragments_lead",
    "share",
    "unknown_share",
    "nearest_share",
    "unlisted_match",
)
"""Names of what `list_features` returns."""


def list_features(evidence: Evidence, n_peaks: int) -> dict[str, float]:
    """Return the features of one query's list, by the names of `LIST_FEATURES`.

    The first six are the cosine of the nearest analogue; the most evidence of analogues that a
    candidate has; the highest log-odds of fragments, and those of the first-ranked candidate minus
    the median; the highest log-likelihood of a fingerprint; the logarithm of the number of peaks.

    ``known`` is k; ``own_spectra`` is the highest ratio of own spectra (0 where no candidate is
    measured); ``share`` is the log odds of the share of known compounds that the scores assume. The
    others are products: with k (``known_``) of the above, of the gap and the lead of the scores,
    and of the first candidate's fragments; with 1 - k (``unknown_``) of the above, of the first
    candidate's analogues and fragments and of the latter minus the median; and of the share and the
    nearest cosine. ``unlisted_match`` is the cosine of the nearest analogue that has the query's
    mass and is no candidate (`Analogue.is_unlisted`; 0: none): the library may know the query's
    compound, and the list not.

    Parameters
    ----------
    evidence
        For the candidates, at least one.
    n_peaks
        Number of peaks of the query that are compared (`Spectrum.n_compared`).
    """
    columns = dict(zip(EVIDENCE_KINDS, evidence.raw.T, strict=True))
    fragments, votes = columns["fragments"], columns["analogues"]
    scores, measured = evidence.scores, evidence.known
    first = scores == scores.max()
    nearest = evidence.analogues[0].cosine if evidence.analogues else 0.0
    first_fragments = float(fragments[first].mean())
    fragments_lead = first_fragments - float(np.median(fragments))
    chances = np.exp(scores - scores.max())
    known = float(chances[measured].sum() / chances.sum())
    own_spectra = float(columns["library"][measured].max()) if measured.any() else 0.0
    unlisted = unlisted_match(evidence.analogues)
    share = float(log_odds_of(evidence.shares.known))
    return {
        "nearest_cosine": nearest,
        "best_votes": float(votes.max()),
        "best_fragments": float(fragments.max()),
        "fragments_lead": fragments_lead,
        "best_fingerprint": float(columns["fingerprint"].max()),
        "n_peaks": float(np.log(n_peaks)),
        "known": known,
        "own_spectra": own_spectra,
        "known_own_spectra": known * own_spectra,
        "known_nearest_cosine": known * nearest,
        "known_gap": known * gap(scores),
        "known_lead": known * lead(scores),
        "known_fragments": known * first_fragments,
        "unknown_nearest_cosine": (1.0 - known) * nearest,
        "unknown_votes": (1.0 - known) * float(votes[first].mean()),
        "unknown_fragments": (1.0 - known) * first_fragments,
        "unknown_fragments_lead": (1.0 - known) * fragments_lead,
        "share": share,
        "unknown_share": (1.0 - known) * share,
        "nearest_share": nearest * share,
        "unlisted_match": 0.0 if unlisted is None else unlisted.cosine,
    }


def unlisted_match(analogues: Sequence[Analogue]) -> Analogue | None:
    """Return the nearest analogue that may be the query's compound and is not listed, if any.

    If the query states an ion species, the analogue must be possible as that species.
    """
    absent = (each for each in analogues if each.is_unlisted and not each.is_other_ion)
    return max(absent, key=lambda each: each.cosine, default=None)


def clear_absentee(analogues: Sequence[Analogue]) -> Analogue | None:
    """Return the nearest analogue if it is clearly like the query, may be it and is not listed."""
    nearest = analogues[0] if analogues else None
    if nearest is None or not nearest.is_unlisted or nearest.cosine < CLEAR_COSINE:
        return None
    return nearest


def feature_row(evidence: Evidence, n_peaks: int, names: Sequence[str]) -> list[float]:
    """Return the features of these names; a model fitted earlier knows fewer of them."""
    found = list_features(evidence, n_peaks)
    return [found[name] for name in names]


def gap(scores: NDArray[np.float64]) -> float:
    """Return the best of some scores (n,) less the second, at most `LARGEST_GAP`, nats.

    A single score has that gap too.
    """
    if len(scores) == 1:
        return LARGEST_GAP
    second, best = np.partition(scores, -2)[-2:].tolist()
    return float(min(best - second, LARGEST_GAP))


def lead(scores: NDArray[np.float64]) -> float:
    """Return the best of some scores (n,) less their mean, nats."""
    return float(scores.max() - scores.mean())
