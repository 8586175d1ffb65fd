"""Evidence of a candidate's own spectra: how those that the library has of it agree with the query.

The evidence is a log-likelihood ratio in nats, of the query being of the candidate and not of a
compound that the library has no spectrum of. It is linear in the features of
`own_spectra_features`; the coefficients were fitted to laboratories whose spectra the library did
not have (docs/research.md). Spectra of the query's ion mode are compared with the query as it is.
Of candidates that have spectra of the other ion mode only, these are compared with the query as it
would look there (`specvae.annotation.evidence.other_mode`), by other coefficients. A
candidate without any spectrum has a ratio of exactly 0.

The spectra of a compound and of its analogues are partly redundant, so that the evidence of
analogues counts less where there are own spectra: by the coefficient ``analogues``.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from specvae.annotation.evidence.odds import log_odds_of

# Cosines closer to 0 or 1 than this count as this close.
_EDGE = 1e-3
_GOOD = 0.7  # cosine of a good match by accurate masses


class KnownShares(NamedTuple):
    """Shares of a run's queries whose compound the library knows.

    Parameters
    ----------
    same_mode
        By spectra of the query's ion mode.
    other_mode
        By spectra of the other ion mode only.
    """

    same_mode: float
    other_mode: float

    @property
    def known(self) -> float:
        """Share of queries whose compound the library knows, by either ion mode."""
        return self.same_mode + self.other_mode

    def odds(
        self, measured: NDArray[np.bool_], elsewhere: NDArray[np.bool_]
    ) -> NDArray[np.float64]:
        """Return what the shares add to each candidate's score, float64 (n_candidates,), nats.

        Parameters
        ----------
        measured, elsewhere
            bool (n_candidates,): which candidates have spectra of the query's ion mode, and which
            of the other one only.
        """
        odds = np.where(measured, self.same_mode_odds, 0.0)
        return np.where(elsewhere, self.other_mode_odds, odds)

    @property
    def same_mode_odds(self) -> float:
        """What the share adds to the score of a candidate with spectra of the same mode, nats."""
        return math.log(self.same_mode) - math.log1p(-self.known)

    @property
    def other_mode_odds(self) -> float:
        """What it adds to the score of a candidate with spectra of the other mode only, nats."""
        return math.log(self.other_mode) - math.log1p(-self.known)


StatedShares = float | tuple[float, float]
"""A share of known compounds as a user states it: in all, or those of `KnownShares`."""

DEFAULT_SHARES = KnownShares(0.4, 0.1)
"""The default: the library knows half of the compounds."""

UNKNOWN_SHARES = KnownShares(0.008, 0.002)
"""The shares that a run of compounds unknown to the library shows."""


@dataclass(frozen=True)
class OwnSpectraRatio:
    """Coefficients (nats) of the features of `own_spectra_features`, in their order.

    Attributes
    ----------
    constant
        Of every measured candidate.
    cosine
        For each unit of the cosine.
    margin
        For each unit by which the log odds of the cosine exceed the best other compound's.
    best_hit
        Of the compound that is nearest of the whole library.
    scarcity
        For each unit of the logarithm of unmeasured to measured candidates of the list: where few
        candidates were measured, a known compound is one of few.
    analogues
        For each nat of the evidence of analogues.
    """

    constant: float
    cosine: float
    margin: float
    best_hit: float
    scarcity: float
    analogues: float = 0.0

    def __call__(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the ratio of each candidate, float64 (n_candidates,), nats."""
        # Term by term, whatever the number of rows: equal candidates must tie exactly.
        ratios = np.zeros(len(features))
        for column, coefficient in zip(features.T, asdict(self).values(), strict=True):
            ratios += coefficient * column
        return ratios


class OwnFeatures(NamedTuple):
    """Features of the candidates' own spectra (`own_spectra_features`), float64 (n_candidates, 6).

    Parameters
    ----------
    same_mode, other_mode
        Of spectra of the query's ion mode, and of the other one.
    """

    same_mode: NDArray[np.float64]
    other_mode: NDArray[np.float64]


def own_spectra_features(
    cosines: NDArray[np.float32],
    own: NDArray[np.int64],
    analogues: NDArray[np.float64],
    fits: NDArray[np.bool_] | None = None,
) -> NDArray[np.float64]:
    """Return the features of each candidate's own spectra, float64 (n_candidates, 6).

    The columns are those of `OwnSpectraRatio`; the row of a candidate without own spectra is 0.

    Parameters
    ----------
    cosines
        float32 (n_compounds,): likeness of each library compound's best spectrum to the query.
    own
        int64 (n_candidates,): index into `cosines` of the compound that a candidate is, or -1 for
        one that the library has no comparable spectrum of.
    analogues
        float64 (n_candidates,): the evidence of analogues, nats.
    fits
        bool (n_candidates,): which candidates count as measured or not; None: all.
    """
    measured = own >= 0
    if not measured.any():
        return np.zeros((len(own), 6))
    counted = measured if fits is None else measured[fits]
    n_measured = int(counted.sum())
    cosine = cosines[own].astype(np.float64)
    # The best other compound is the second where the candidate is the best itself.
    order = np.argsort(-cosines, kind="stable")[:2]
    best = float(cosines[order[0]])
    second = float(cosines[order[1]]) if len(order) > 1 else 0.0
    margin = _log_odds(cosine) - _log_odds(np.where(own == order[0], second, best))
    scarcity = np.log((len(counted) - n_measured + 1) / (n_measured + 1))
    features = np.stack(
        [
            np.ones(len(own)),
            cosine,
            margin,
            (margin > 0).astype(np.float64),
            np.full(len(own), scarcity),
            analogues,
        ],
        axis=1,
    )
    return np.where(measured[:, np.newaxis], features, 0.0)


def nominal_features(
    features: NDArray[np.float64], cosines: NDArray[np.float64], best_accurate: float
) -> NDArray[np.float64]:
    """Return features of own spectra that are compared by nominal masses, (n_candidates, 6).

    Parameters
    ----------
    features
        What `own_spectra_features` returned for accurate masses.
    cosines
        float64 (n_candidates,): of nominal masses.
    best_accurate
        Largest cosine by accurate masses among the candidates' own spectra. Where its log odds
        exceed those of a good match, the margin is minus the excess: such a candidate is likelier
        than what agrees by nominal masses.
    """
    changed = features.copy()
    changed[:, 1] = cosines
    log_odds = _log_odds(np.array([best_accurate, _GOOD]))
    changed[:, 2] = min(0.0, float(log_odds[1] - log_odds[0]))
    return np.where(features[:, :1] != 0.0, changed, 0.0)


def unseen_ratios(
    *measured: NDArray[np.bool_], fits: NDArray[np.bool_] | None = None
) -> NDArray[np.float64]:
    """Return the ratio (n_candidates,), nats, for a query that no spectrum can be compared with.

    A known compound is one of the measured candidates then, and an unknown one of the others, each
    of these as likely as the next: the shares of known compounds decide.

    Parameters
    ----------
    measured
        bool (n_candidates,): which candidates have spectra of one ion mode; each in one of these at
        most.
    fits
        As in `own_spectra_features`.
    """
    counted = [one if fits is None else one[fits] for one in measured]
    n_others = int((~np.logical_or.reduce(counted)).sum())
    numbers = [int(one.sum()) for one in counted]
    return sum(
        (
            np.where(one, np.log((n_others + 1) / (n + 1)), 0.0)
            for one, n in zip(measured, numbers, strict=True)
        ),
        start=np.zeros(len(measured[0])),
    )


def _log_odds(cosine: NDArray[np.float64]) -> NDArray[np.float64]:
    return log_odds_of(np.clip(cosine, _EDGE, 1.0 - _EDGE))
