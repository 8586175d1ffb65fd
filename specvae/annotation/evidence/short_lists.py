"""The chance that a short list holds the truth: of one suspect, or of a few.

A long list of one mass holds many structures that could be right, so that the best of them says
little by itself, but what is missing from it does. In a short list it is the other way round: a
suspect that was not drawn for its spectrum seldom explains it, and most compounds of the query's
mass are not listed anyway. So short lists have log odds of their own, which long ones pass into.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from specvae.annotation.evidence.defaults import EVIDENCE_KINDS
from specvae.annotation.evidence.known_share import known_over_unknown
from specvae.annotation.evidence.list_features import unlisted_match
from specvae.annotation.evidence.odds import logistic
from specvae.annotation.evidence.weighted import Evidence

_ANALOGUES, _FRAGMENTS = map(EVIDENCE_KINDS.index, ("analogues", "fragments"))
_MOST_VOTES = 7.0  # nats; the ranges are those of the lists that were fitted
_FRAGMENT_RANGE = (-25.0, 12.0)
_LOOKS_THE_SAME = 0.5  # cosine; below it a compound of the query's mass says nothing
_LENGTH = 8.0  # candidates


@dataclass(frozen=True)
class ShortListOdds:
    """Log odds that a short list holds the truth, where half of all lists do.

    ``constant + analogues A + fragments P + unlisted max(c - 1/2, 0) + log r_U``: A is the most
    evidence of analogues that a candidate has, P that of fragments of the first one, c the cosine
    of the nearest compound of the query's mass that the library has and the list has not, r_U the
    share of unknown compounds (`KnownShares`). Where all candidates are measured, see
    `short_list_offset`.

    Attributes
    ----------
    constant
        In nats, as the others.
    analogues, fragments
        A nat of evidence.
    unlisted
        A unit of the cosine.
    """

    constant: float
    analogues: float
    fragments: float
    unlisted: float

    def __call__(self, log_odds: float, evidence: Evidence) -> float:
        """Return the log odds of a list, given those by what is fitted to long ones.

        Those of a short list count ``(1 - k) exp(-(n - 1) / 8)``, where n is the number of
        candidates and k the chance that a measured one is right, if any is: a match in the
        library says more than the length of the list.
        """
        weight = short_list_weight(evidence)
        found = short_list_features(evidence) @ (self.analogues, self.fragments, self.unlisted)
        of_short = self.constant + float(found) + short_list_offset(evidence)
        return (1.0 - weight) * log_odds + weight * of_short


def short_list_weight(evidence: Evidence) -> float:
    """Return how much of a list's log odds is that of a short one, 0 to 1."""
    unknown = float(logistic(-known_over_unknown(evidence)))
    return unknown * float(np.exp((1 - len(evidence.scores)) / _LENGTH))


def short_list_features(evidence: Evidence) -> NDArray[np.float64]:
    """Return what the slopes of `ShortListOdds` belong to, float64 (3,)."""
    first = evidence.scores == evidence.scores.max()
    unlisted = unlisted_match(evidence.analogues)
    cosine = 0.0 if unlisted is None else unlisted.cosine
    return np.array(
        [
            min(float(evidence.raw[:, _ANALOGUES].max()), _MOST_VOTES),
            np.clip(evidence.raw[first, _FRAGMENTS].mean(), *_FRAGMENT_RANGE),
            max(cosine - _LOOKS_THE_SAME, 0.0),
        ]
    )


def short_list_offset(evidence: Evidence) -> float:
    """Return what the odds of a short list have beside `ShortListOdds`, nats.

    It is log r_U at the shares of known compounds that the scores assume. In a list of measured
    candidates alone it is log r_U and what their own spectra and the shares say for them
    (`known_over_unknown`): an unknown compound is not listed there.
    """
    offset = float(np.log1p(-evidence.shares.known))
    return offset + known_over_unknown(evidence) if evidence.known.all() else offset
