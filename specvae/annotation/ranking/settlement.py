"""What the queries of a run tell together, and the scores and probabilities that follow from it.

Two numbers are of a run, not of a query: the share of queries whose compound the library knows,
and the share of lists that hold their truth. Either is estimated once, from all queries.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from specvae.annotation.evidence.known_share import (
    DEFAULT_SHARE,
    log_odds_known,
    share_of_known,
    within_limits,
)
from specvae.annotation.evidence.list_features import feature_row
from specvae.annotation.ranking.probability import ProbabilityModel
from specvae.annotation.ranking.result import ListProbabilities, ListScores


@dataclass(frozen=True)
class Settlement:
    """What turns the evidence of a run's queries into their final scores and probabilities.

    Attributes
    ----------
    weights
        By kind of evidence; None for a model that ranks by the predicted fingerprint alone.
    probability
        None unless the model is calibrated.
    """

    weights: Mapping[str, float] | None
    probability: ProbabilityModel | None

    def share_of_known(self, lists: Iterable[ListScores], given: float | None = None) -> float:
        """Return the share of queries whose compound the library knows, from all of a run.

        `given` is taken in its place, so that a query does not depend on the others of its run.
        """
        if given is not None:
            return within_limits(given)
        if self.weights is None:
            return DEFAULT_SHARE
        return share_of_known(each.evidence for each in lists if each.evidence is not None)

    def settle(self, lists: ListScores, share: float) -> ListScores:
        """Return a query's scores for the share of known compounds that the run shows."""
        return lists if self.weights is None else lists.settled(self.weights, share)

    def probabilities(self, lists: ListScores) -> ListProbabilities | None:
        """Return what settled scores say of each candidate, and of the list."""
        if self.probability is None:
            return None
        evidence = lists.evidence
        names = self.probability.feature_names
        features = [] if evidence is None else feature_row(evidence, lists.n_peaks, names)
        row = np.array([features], dtype=np.float64)
        (given,) = self.probability.given_in_list([lists.scores], row)
        (log_odds,) = self.probability.log_odds_in_list([lists.scores], row)
        return ListProbabilities(given, float(log_odds))


def log_odds_of(lists: ListScores) -> float | None:
    """Return the log odds that the truth is a measured candidate, at a share of one half.

    None where that is not asked: see `log_odds_known`.
    """
    return None if lists.evidence is None else log_odds_known(lists.evidence)
