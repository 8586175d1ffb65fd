"""The evidence for a query's candidates, pooled into one score.

A candidate's score is a weighted sum of five terms, the kinds of evidence (a log-linear pool):

    score(c) = sum over kinds k of w_k x_k(c)

``fingerprint``
    log-likelihood of the candidate's fingerprint under the model's prediction (the cross entropy);
``analogues``
    log-density of the candidate's structure around the library's compounds with similar spectra,
    which vote for it (`specvae.annotation.evidence.votes`), except for itself;
``fragments``
    log-odds that the query's peaks are the candidate's fragments
    (`specvae.annotation.evidence.fragment_score`);
``library``
    for a candidate that the library has spectra of: how they agree with the query
    (`specvae.annotation.evidence.own_spectra`);
``nearness``
    how near the candidate is to the library's compounds, independently of the query
    (`specvae.annotation.evidence.nearness`).

Each is in nats and means the same in a list of five and of five thousand candidates: none is
standardised over the list at hand. The weights were fitted once (`defaults`). The evidence of the
library assumes that half of a run's queries are compounds that it knows (`DEFAULT_SHARES`);
`Evidence.at_shares` computes it for the shares that are estimated from the run. Two terms are added
where enough queries show them (`RunTerms`): of retention times
(`specvae.annotation.evidence.retention`), and of errors of precursor m/z
(`specvae.annotation.evidence.mass_error`). The exponential of the score, divided by its sum, is a
distribution over the candidates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

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

BEHIND = -100.0
"""Prior of a candidate of quite another mass, nats: more than all evidence together.

Molecules of different masses break into different numbers of fragments, so that their scores cannot
be compared. Such a candidate ranks behind all others, and counts for nothing else.
"""

_FRAGMENTS, _LIBRARY = EVIDENCE_KINDS.index("fragments"), EVIDENCE_KINDS.index("library")

# How far a user's own weights keep to those that come with the program: by 1 / sqrt(strength) of
# them, as a standard deviation. The number was chosen on the fitting laboratories
# (docs/research.md). The fingerprint's weight is of another network, and says little of this one.
_STRENGTH = {"fingerprint": 1.0, "analogues": 300.0, "fragments": 300.0, "nearness": 300.0}


@dataclass(frozen=True, slots=True, eq=False)
class RunTerms:
    """The terms of a query's scores that depend on what all queries of a run show together.

    Attributes
    ----------
    retention
        float64 (n_candidates,), nats: evidence of the retention time. None if the query states
        none, or the run's line is not fitted.
    mass
        float64 (n_candidates,), nats: evidence of the error of precursor m/z. None if that is not
        accurate, or the run's errors are not fitted.
    """

    retention: NDArray[np.float64] | None = None
    mass: NDArray[np.float64] | None = None

    def __bool__(self) -> bool:
        return self.retention is not None or self.mass is not None

    def select(self, rows: NDArray[np.int64]) -> RunTerms:
        """Return the same for some of the candidates, int64 (n_rows,)."""
        return RunTerms(_selected(self.retention, rows), _selected(self.mass, rows))


NO_TERMS = RunTerms()
"""Of a run that shows nothing."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """The evidence for the candidates of one query.

    Attributes
    ----------
    raw
        float64 (n_candidates, n_kinds), not weighted, columns in the order of `EVIDENCE_KINDS`.
    weights
        By kind of evidence.
    measured
        bool (n_candidates,): which candidates the library has spectra of that may be of the query's
        ion mode.
    elsewhere
        bool (n_candidates,): which other candidates have spectra of the other ion mode only.
    analogues
        The nearest compounds of the library, the nearest first.
    own
        The candidates' own library spectra; None if they were not looked up.
    shares
        Shares of known compounds among a run's queries that the scores assume.
    prior
        float64 (n_candidates,): a term that is added to the scores, nats; None: 0.
    elution
        The query's retention time and its candidates'; None for a query without one.
    mass_errors
        float64 (n_candidates,): the query's precursor m/z minus those of the candidates' ions, ppm.
        None if it is not accurate.
    of_run
        What is added from the run, once that is estimated.
    guessed
        float64 (n_candidates,): fragment scores for the probabilities, with guesses for candidates
        that were not broken; in `raw` these are below all others. None if all were broken.
    """

    raw: NDArray[np.float64]
    weights: Mapping[str, float]
    measured: NDArray[np.bool_]
    elsewhere: NDArray[np.bool_]
    analogues: tuple[Analogue, ...] = ()
    own: OwnSpectra | None = None
    shares: KnownShares = DEFAULT_SHARES
    prior: NDArray[np.float64] | None = None
    elution: Elution | None = None
    mass_errors: NDArray[np.float64] | None = None
    of_run: RunTerms = NO_TERMS
    guessed: NDArray[np.float64] | None = None

    @cached_property
    def parts(self) -> NDArray[np.float64]:
        """The weighted evidence, float64 (n_candidates, n_kinds).

        The library's part includes the term of the shares of known compounds.
        """
        parts = self.raw * np.array([self.weights[kind] for kind in EVIDENCE_KINDS])
        parts[:, _LIBRARY] += self.shares.odds(self.measured, self.elsewhere)
        return np.asarray(parts)

    @cached_property
    def scores(self) -> NDArray[np.float64]:
        """Sums of the parts, the prior and the terms of the run, float64 (n_candidates,), nats."""
        # Column by column, whatever the number of rows: equal candidates must tie exactly.
        scores = self.parts[:, 0].copy()
        for of_kind in self.parts.T[1:]:
            scores += of_kind
        for added in (self.prior, self.of_run.retention, self.of_run.mass):
            if added is not None:
                scores += added
        return np.asarray(scores)

    def at_shares(self, shares: KnownShares, of_run: RunTerms = NO_TERMS) -> Evidence:
        """Return the evidence at other shares of known compounds, and with the terms of a run."""
        return replace(self, shares=shares, of_run=of_run)

    @property
    def fits(self) -> NDArray[np.bool_]:
        """Which candidates are not of quite another mass, bool (n_candidates,)."""
        return fitting(self.prior, len(self.raw))

    def select(self, rows: NDArray[np.int64]) -> Evidence:
        """Return the same for some of the candidates, int64 (n_rows,)."""
        return replace(
            self,
            raw=self.raw[rows],
            measured=self.measured[rows],
            elsewhere=self.elsewhere[rows],
            own=None if self.own is None else self.own.select(rows),
            prior=_selected(self.prior, rows),
            elution=None if self.elution is None else self.elution.select(rows),
            mass_errors=_selected(self.mass_errors, rows),
            of_run=self.of_run.select(rows),
            guessed=_selected(self.guessed, rows),
        )

    def as_guessed(self) -> Evidence:
        """Return the same evidence with guessed fragment scores, for probabilities."""
        if self.guessed is None:
            return self
        raw = self.raw.copy()
        raw[:, _FRAGMENTS] = self.guessed
        return replace(self, raw=raw, guessed=None)

    @property
    def known(self) -> NDArray[np.bool_]:
        """Which candidates the library has spectra of, of either ion mode, bool (n_candidates,)."""
        return self.measured | self.elsewhere

    def leading_kinds(self) -> list[str | None]:
        """Return the kind of evidence that raises each candidate most, None if none does.

        Terms are compared by their excess over the median of the list, of the candidates that are
        not of quite another mass. The term of the library is compared with 0, the value of
        candidates without own spectra, at the assumed shares of known compounds; a spectrum below
        `LEAST_COSINE` is no match. Of equal kinds the first of library, fragments, analogues,
        fingerprint is returned. Nearness does not depend on the query, and is never returned.
        """
        last = EVIDENCE_KINDS.index("nearness")
        rise = (self.parts - np.median(self.parts[self.fits], axis=0))[:, :last]
        rise[:, _LIBRARY] = self.parts[:, _LIBRARY]
        if self.own is not None:
            # What a share adds is no match, nor that a candidate is one of few that were measured.
            rise[(self.own.row < 0) | (self.own.cosine < LEAST_COSINE), _LIBRARY] = 0.0
        # The first of equal ones is taken, so that the order is turned round.
        best = last - 1 - np.argmax(rise[:, ::-1], axis=1)
        highest = rise.max(axis=1)
        return [
            EVIDENCE_KINDS[kind] if high > 0.0 else None
            for kind, high in zip(best.tolist(), highest.tolist(), strict=True)
        ]


def fitting(prior: NDArray[np.float64] | None, n_candidates: int) -> NDArray[np.bool_]:
    """Return which candidates are not `BEHIND` by their prior, nats, bool (n_candidates,)."""
    if prior is None:
        return np.ones(n_candidates, np.bool_)
    # No other term of a prior is so large.
    return np.asarray(prior > 0.8 * BEHIND)


def _selected(
    values: NDArray[np.float64] | None, rows: NDArray[np.int64]
) -> NDArray[np.float64] | None:
    return None if values is None else values[rows]


def fit_weights(
    evidence: Sequence[Evidence], truth: Sequence[int], shares: NDArray[np.float64]
) -> dict[str, float]:
    """Return weights of the kinds of evidence, fitted to a user's own compounds without spectra.

    They make the truths likely and stay near the weights of the program: compounds without library
    spectra do not show the value of analogues and fragments beside own spectra. The library's
    weight stays at 1. See `refit_listwise`.

    Parameters
    ----------
    evidence
        Per query, at the shares of known compounds that it assumes.
    truth
        Index of the truth per query.
    shares
        float64 (n_queries,): weight of each query; their sum is the number of compounds.
    """
    fitted = refit_listwise(
        [np.delete(of_query.raw, _LIBRARY, axis=1) for of_query in evidence],
        truth,
        shares,
        [defaults().weights[kind] for kind in _STRENGTH],
        list(_STRENGTH.values()),
        fixed=[of_query.parts[:, _LIBRARY] for of_query in evidence],
    )
    found = {**dict(zip(_STRENGTH, fitted, strict=True)), "library": 1.0}
    return {kind: found[kind] for kind in EVIDENCE_KINDS}
