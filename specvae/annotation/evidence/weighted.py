"""The evidence for a query's candidates, pooled into one score.

A candidate's score is a weighted sum of five terms, the kinds of evidence (a log-linear pool):

    score(c) = sum over kinds k of w_k x_k(c)

``fingerprint``
    log-likelihood of the candidate's fingerprint under the model's prediction (the cross entropy);
``analogues``
    log-density of the candidate's structure around the library's compounds with like spectra, which
    vote for it (`specvae.annotation.evidence.votes`), none for itself;
``fragments``
    log-odds that the query's peaks are the candidate's fragments
    (`specvae.annotation.evidence.fragment_score`);
``library``
    for a candidate that the library has spectra of: how they agree with the query
    (`specvae.annotation.evidence.own_spectra`);
``nearness``
    how near the candidate is to the library's compounds, whatever the query
    (`specvae.annotation.evidence.nearness`).

Each is in nats and means the same in a list of five and of five thousand candidates: none is
standardised over the list at hand. The weights were fitted once (`defaults`). What the library
says assumes that half of a run's queries are compounds that it knows (`DEFAULT_SHARES`);
`Evidence.at_shares` takes the shares that the run itself shows. Where queries state their retention
times, that of the run is added too (`specvae.annotation.evidence.retention`). The exponential of
the score, divided by its sum, is a distribution over the candidates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from specvae.annotation.evidence.defaults import EVIDENCE_KINDS, defaults
from specvae.annotation.evidence.items import Analogue
from specvae.annotation.evidence.library_match import LEAST_COSINE, OwnSpectra
from specvae.annotation.evidence.listwise import refit_listwise
from specvae.annotation.evidence.own_spectra import (
    DEFAULT_SHARES,
    KnownShares,
)
from specvae.annotation.evidence.retention import Elution

_FRAGMENTS = EVIDENCE_KINDS.index("fragments")

# How far a user's own weights keep to those that come with the program: by 1 / sqrt(strength) of
# them, as a standard deviation. The number was chosen on the fitting laboratories
# (docs/research.md). The fingerprint's weight is of another network, and says little of this one.
_STRENGTH = {"fingerprint": 1.0, "analogues": 300.0, "fragments": 300.0, "nearness": 300.0}


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """The evidence for the candidates of one query.

    Attributes
    ----------
    raw
        float64 (n_candidates, n_kinds), not weighted, columns in the order of `EVIDENCE_KINDS`.
    parts
        The same, weighted; that of the library with what the shares of known compounds add.
    scores
        float64 (n_candidates,): the sum of the parts and of the prior, in nats.
    measured
        bool (n_candidates,): which candidates the library has spectra of that may be of the query's
        ion mode.
    elsewhere
        bool (n_candidates,): which others it has spectra of the other ion mode of.
    analogues
        The nearest compounds of the library, the nearest first.
    own
        The candidates' own library spectra; None if they were not looked up.
    shares
        Shares of known compounds among a run's queries that the scores assume.
    prior
        float64 (n_candidates,): what is added to the sum of the parts, nats; None: nothing.
    elution
        The query's retention time and its candidates'; None for a query without one.
    retention
        float64 (n_candidates,): evidence of the retention time, nats, which is added too; None
        until the run's times are known, or where they say nothing.
    guessed
        float64 (n_candidates,): fragment scores, guessed for candidates that were not broken, as
        probabilities take them; in `raw` these stand below all others. None if all were broken.
    """

    raw: NDArray[np.float64]
    parts: NDArray[np.float64]
    scores: NDArray[np.float64]
    measured: NDArray[np.bool_]
    elsewhere: NDArray[np.bool_]
    analogues: tuple[Analogue, ...] = ()
    own: OwnSpectra | None = None
    shares: KnownShares = DEFAULT_SHARES
    prior: NDArray[np.float64] | None = None
    elution: Elution | None = None
    retention: NDArray[np.float64] | None = None
    guessed: NDArray[np.float64] | None = None

    @classmethod
    def from_raw(
        cls,
        raw: NDArray[np.float64],
        weights: Mapping[str, float],
        measured: NDArray[np.bool_],
        *,
        elsewhere: NDArray[np.bool_] | None = None,
        analogues: tuple[Analogue, ...] = (),
        own: OwnSpectra | None = None,
        shares: KnownShares = DEFAULT_SHARES,
        prior: NDArray[np.float64] | None = None,
        elution: Elution | None = None,
        guessed: NDArray[np.float64] | None = None,
    ) -> Evidence:
        """Weight the `raw` evidence for all candidates of a query.

        Attributes as above; no candidate has spectra of the other ion mode only if `elsewhere` is
        None.
        """
        if elsewhere is None:
            elsewhere = np.zeros(len(raw), np.bool_)
        parts, scores = _pooled(raw, weights, shares.odds(measured, elsewhere), (prior,))
        return cls(
            raw,
            parts,
            scores,
            measured,
            elsewhere,
            analogues=analogues,
            own=own,
            shares=shares,
            prior=prior,
            elution=elution,
            guessed=guessed,
        )

    def at_shares(
        self,
        weights: Mapping[str, float],
        shares: KnownShares,
        retention: NDArray[np.float64] | None = None,
    ) -> Evidence:
        """Return the same evidence for what a run shows.

        That is its shares of known compounds, and the evidence of the query's retention time.
        """
        odds = shares.odds(self.measured, self.elsewhere)
        parts, scores = _pooled(self.raw, weights, odds, (self.prior, retention))
        return replace(self, parts=parts, scores=scores, shares=shares, retention=retention)

    @property
    def is_guessed(self) -> NDArray[np.bool_]:
        """Which candidates' fragment scores are guessed, bool (n_candidates,)."""
        if self.guessed is None:
            return np.zeros(len(self.raw), np.bool_)
        return np.asarray(self.guessed != self.raw[:, _FRAGMENTS])

    def as_guessed(self, weights: Mapping[str, float]) -> Evidence:
        """Return the same evidence as probabilities take it."""
        if self.guessed is None:
            return self
        raw = self.raw.copy()
        raw[:, _FRAGMENTS] = self.guessed
        return replace(self, raw=raw, guessed=None).at_shares(weights, self.shares, self.retention)

    @property
    def known(self) -> NDArray[np.bool_]:
        """Which candidates the library has spectra of, of either ion mode, bool (n_candidates,)."""
        return self.measured | self.elsewhere

    def leading_kinds(self) -> list[str | None]:
        """Return the kind of evidence that raises each candidate most, None where none does.

        A term counts by how far it lies above its median over the list; that of the library by how
        far it lies above 0, which candidates without own spectra have, at the shares of known
        compounds that are assumed; a spectrum that is hardly like the query is no match
        (`LEAST_COSINE`). Of equal ones the first of library, fragments, analogues, fingerprint.
        Nearness is known before the query is, and shows nothing of it.
        """
        library, last = EVIDENCE_KINDS.index("library"), EVIDENCE_KINDS.index("nearness")
        rise = (self.parts - np.median(self.parts, axis=0))[:, :last]
        rise[:, library] = self.parts[:, library]
        if self.own is not None:
            # What a share adds is no match, nor that a candidate is one of few that were measured.
            rise[(self.own.row < 0) | (self.own.cosine < LEAST_COSINE), library] = 0.0
        # The first of equal ones is taken, so that the order is turned round.
        best = last - 1 - np.argmax(rise[:, ::-1], axis=1)
        highest = rise.max(axis=1)
        return [
            EVIDENCE_KINDS[kind] if high > 0.0 else None
            for kind, high in zip(best.tolist(), highest.tolist(), strict=True)
        ]


def _pooled(
    raw: NDArray[np.float64],
    weights: Mapping[str, float],
    library_odds: NDArray[np.float64],
    added: Sequence[NDArray[np.float64] | None],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return parts (n_candidates, n_kinds) and scores (n_candidates,) of evidence; see `Evidence`.

    `library_odds` (n_candidates,) count with what the library says, what else is `added` with the
    scores alone.
    """
    parts = raw * np.array([weights[kind] for kind in EVIDENCE_KINDS])
    parts[:, EVIDENCE_KINDS.index("library")] += library_odds
    # Column by column, whatever the number of rows: equal candidates must tie exactly.
    scores = parts[:, 0].copy()
    for of_kind in parts.T[1:]:
        scores += of_kind
    for one in added:
        if one is not None:
            scores = scores + one
    return parts, scores


def fit_weights(
    evidence: Sequence[Evidence], truth: Sequence[int], shares: NDArray[np.float64]
) -> dict[str, float]:
    """Return weights of the kinds of evidence for a user's own compounds, which are not known.

    They make the truths likely and are near the weights that come with the program: of compounds
    that the library has no spectra of, nobody sees what analogues and fragments are worth beside
    own spectra. The library's weight stays at 1. See `refit_listwise`.

    Parameters
    ----------
    evidence
        Per query. What the library says is taken at the shares of known compounds that it assumes.
    truth
        Index of the truth per query.
    shares
        float64 (n_queries,): weight of each query; their sum is the number of compounds.
    """
    library = EVIDENCE_KINDS.index("library")
    fitted = refit_listwise(
        [np.delete(of_query.raw, library, axis=1) for of_query in evidence],
        truth,
        shares,
        [defaults().weights[kind] for kind in _STRENGTH],
        list(_STRENGTH.values()),
        fixed=[of_query.parts[:, library] for of_query in evidence],
    )
    found = {**dict(zip(_STRENGTH, fitted, strict=True)), "library": 1.0}
    return {kind: found[kind] for kind in EVIDENCE_KINDS}
