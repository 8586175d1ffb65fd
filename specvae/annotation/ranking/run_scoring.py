"""Final scores and probabilities of a run's queries, which depend on all of them.

Some numbers belong to a run, not to a query: the shares of queries whose compound the library
knows, the line of their retention times, the errors of their precursor m/z, and the share of lists
that hold their truth. Each is estimated once, from all queries.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from specvae.annotation.evidence.known_share import (
    log_odds_known,
    of_one_kind,
    shares_at,
    shares_of_known,
)
from specvae.annotation.evidence.list_features import feature_row
from specvae.annotation.evidence.mass_error import MassError
from specvae.annotation.evidence.own_spectra import DEFAULT_SHARES, KnownShares, StatedShares
from specvae.annotation.evidence.retention import RetentionLine
from specvae.annotation.evidence.weighted import NO_TERMS, RunTerms
from specvae.annotation.ranking.probability import ProbabilityModel, in_list_probability
from specvae.annotation.ranking.result import ListProbabilities, ListScores


@dataclass(frozen=True)
class RunState:
    """Numbers that are estimated from all queries of a run, and apply to each of them.

    Attributes
    ----------
    known
        Shares of queries whose compound the library knows, of those whose list holds the truth.
    line
        The line of their retention times; None where times are no evidence.
    mass_error
        The errors of their precursor m/z; None where these are no evidence.
    stated
        The share of known compounds, as a user states it, if the library has spectra of one ion
        mode only, so that the share is not divided between two; else None.
    """

    known: KnownShares = DEFAULT_SHARES
    line: RetentionLine | None = None
    mass_error: MassError | None = None
    stated: float | None = None

    def shares_for(self, lists: ListScores) -> KnownShares:
        """Return the shares of known compounds for one query."""
        evidence = lists.fitting().evidence
        if self.stated is None or evidence is None:
            return self.known
        return of_one_kind(self.stated, evidence)

    def terms_for(self, lists: ListScores) -> RunTerms:
        """Return the terms of one query's scores that the run adds."""
        evidence = lists.evidence
        if evidence is None:
            return NO_TERMS
        line, elution = self.line, evidence.elution
        error, errors = self.mass_error, evidence.mass_errors
        return RunTerms(
            None if line is None or elution is None else line.evidence(elution),
            None if error is None or errors is None else error.evidence(errors),
        )

    def summaries(self) -> list[str]:
        """Return what the run adds to scores, as lines for the user."""
        return [each.summary() for each in (self.line, self.mass_error) if each is not None]


@dataclass(frozen=True)
class RunScoring:
    """What turns the evidence of a run's queries into their final scores and probabilities.

    Attributes
    ----------
    weights
        By kind of evidence; None for a model that ranks by the predicted fingerprint alone.
    probability
        None unless the model is calibrated.
    has_both_modes
        Whether the library has spectra of both ion modes.
    """

    weights: Mapping[str, float] | None
    probability: ProbabilityModel | None
    has_both_modes: bool = True

    def of_run(
        self,
        lists: Sequence[ListScores],
        known: StatedShares | None = None,
        in_list: float | None = None,
    ) -> RunState:
        """Return the numbers that all queries of a run give together.

        Parameters
        ----------
        lists
            Of the queries, in their order.
        known
            The shares of known compounds, if the user states them: results of a query then do not
            depend on the other queries of the run.
        in_list
            The share of lists that hold their truth, if the user states it.
        """
        if self.weights is None:
            return RunState()
        lists = [each.fitting() for each in lists]
        shares = self._shares_of_known(lists, in_list) if known is None else shares_at(known)
        stated = None
        if isinstance(known, float | int) and not self.has_both_modes:
            stated = float(known)
        state = RunState(shares, stated=stated)
        # One query after the other: only the scores of all are kept.
        scored = [
            (each.evidence, each.at_shares(state.shares_for(each)).scores)
            for each in lists
            if each.evidence is not None
            and (each.evidence.elution is not None or each.evidence.mass_errors is not None)
        ]
        timed = [(e.elution, scores) for e, scores in scored if e.elution is not None]
        weighed = [(e.mass_errors, scores) for e, scores in scored if e.mass_errors is not None]
        return replace(
            state,
            line=RetentionLine.fit([e for e, _ in timed], [scores for _, scores in timed]),
            mass_error=MassError.fit([e for e, _ in weighed], [scores for _, scores in weighed]),
        )

    def _shares_of_known(self, lists: Sequence[ListScores], in_list: float | None) -> KnownShares:
        model = self.probability
        pooled = [each.as_guessed() for each in lists if each.evidence is not None]
        windows = np.array([each.window_share for each in pooled])

        def chances_listed(shares: KnownShares) -> NDArray[np.float64]:
            assert model is not None
            at_shares = (each.at_shares(shares) for each in pooled)
            odds = np.array([_log_odds_in_list(model, each) for each in at_shares])
            share = model.estimate_share(odds[windows >= 1.0]) if in_list is None else in_list
            return in_list_probability(odds, share * windows)

        evidence = (e for each in pooled if (e := each.evidence) is not None)
        return shares_of_known(evidence, None if model is None else chances_listed)

    def final_scores(self, lists: ListScores, run: RunState) -> ListScores:
        """Return a query's scores at the shares of the run, with the terms that it adds."""
        return lists.at_shares(run.shares_for(lists), run.terms_for(lists))

    def scores_of_run(self, lists: Mapping[int, ListScores]) -> dict[int, NDArray[np.float64]]:
        """Return the final scores (n_candidates,) of all queries of a run, by their numbers."""
        run = self.of_run(list(lists.values()))
        return {number: self.final_scores(each, run).scores for number, each in lists.items()}

    def log_odds_known(self, lists: ListScores) -> float | None:
        """Return the log odds that the truth is a measured candidate, at the shares of `lists`.

        None where there are none: see `known_share.log_odds_known`.
        """
        evidence = lists.fitting().evidence
        return None if evidence is None else log_odds_known(evidence.as_guessed())

    def probabilities(self, lists: ListScores) -> ListProbabilities | None:
        """Return the probabilities of candidates, and of the list, by their final scores.

        The terms of the run count for the question which candidate of a list is right, but not for
        the question whether any of them is: the model was fitted without them, and in a list
        without the truth some candidate has a fitting time or mass by chance. Fragment scores that
        were not computed are replaced by guesses. A candidate of quite another mass has none.
        """
        model = self.probability
        if model is None:
            return None
        chances = np.zeros(len(lists.scores))
        fits = np.ones(len(chances), np.bool_) if lists.evidence is None else lists.evidence.fits
        ranked = lists.fitting()
        lists = ranked.as_guessed()
        alone, evidence = lists, lists.evidence
        if evidence is not None and evidence.of_run:
            alone = lists.at_shares(evidence.shares)
        (given,) = model.given_in_list([lists.scores], _features(model, alone))
        if lists is not ranked:
            given = _falling(given, ranked.scores)
        chances[fits] = given
        return ListProbabilities(chances, _log_odds_in_list(model, alone))


def _features(model: ProbabilityModel, lists: ListScores) -> NDArray[np.float64]:
    """Return a list's features that a model wants, float64 (1, n_features)."""
    found: list[float] = []
    if lists.evidence is not None:
        found = feature_row(lists.evidence, lists.n_peaks, model.feature_names)
    return np.array([found], dtype=np.float64)


def _log_odds_in_list(model: ProbabilityModel, lists: ListScores) -> float:
    """Return the log odds that a list holds the truth, by scores without the terms of a run."""
    return model.of_list(lists.scores, _features(model, lists), lists.evidence)


def _falling(chances: NDArray[np.float64], scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return chances (n,), lowered where one is above that of a better or an equal score.

    Ranks do not use guesses, and the terms of a run can move candidates that were broken below
    others. But no candidate may be likelier than one that ranks above it.
    """
    ranks, rank = np.unique(-scores, return_inverse=True)
    least = np.full(len(ranks), np.inf)
    np.minimum.at(least, rank, chances)
    return np.minimum.accumulate(least)[rank]
