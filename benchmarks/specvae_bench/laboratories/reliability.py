"""Whether probabilities keep what they promise on runs of known, unknown and mixed compounds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from specvae.annotation.evaluation.hits import expected_hits, rank_of_truth
from specvae.annotation.evaluation.reliability import summarise_probabilities
from specvae.annotation.ranking.probability import default_probability, in_list_probability
from specvae.annotation.ranking.result import ListScores
from specvae.annotation.ranking.run_scoring import RunScoring

LISTED, STRUCK = "all truths listed", "half of the truths struck"
LISTS = (LISTED, STRUCK)
"""The lists as they are, and the same where every other truth is taken out."""


@dataclass(frozen=True)
class Promises:
    """Probabilities of the best candidates of queries, and what came of them.

    Attributes
    ----------
    probability
        Of each query's best candidate.
    right
        Whether it is the truth; 1/m among m of equal score.
    outcome
        Probability of what turned out to be true, "not listed" included.
    share_in_list, share_known
        What each run estimated, in the order of the runs.
    line_variance
        Of each run: the share of the variance of its retention times that indices of its candidates
        leave; None where times say nothing.
    """

    probability: list[float] = field(default_factory=list)
    right: list[float] = field(default_factory=list)
    outcome: list[float] = field(default_factory=list)
    share_in_list: list[float] = field(default_factory=list)
    share_known: list[float] = field(default_factory=list)
    line_variance: list[float | None] = field(default_factory=list)

    def add(
        self,
        lists: Sequence[ListScores],
        places: Sequence[int | None],
        weights: Mapping[str, float],
    ) -> None:
        """Add the queries of a run, with what it shows and the program's probabilities.

        Parameters
        ----------
        lists
            Of each query, at a share of known compounds of one half.
        places
            Index of the truth among the candidates; None where it is absent.
        weights
            Of the kinds of evidence.
        """
        model = default_probability()
        scoring = RunScoring(weights, model)
        of_run = scoring.of_run(lists)
        final = [scoring.final_scores(of_query, of_run) for of_query in lists]
        found = [scoring.probabilities(of_query) for of_query in final]
        log_odds = np.array([of_query.log_odds_in_list for of_query in found if of_query])
        share = model.estimate_share(log_odds)
        held = in_list_probability(log_odds, share).tolist()
        self.share_known.append(of_run.known.known)
        self.share_in_list.append(share)
        self.line_variance.append(None if of_run.line is None else of_run.line.variance)
        for of_query, given, q, place in zip(final, found, held, places, strict=True):
            assert given is not None, "the model of probabilities is there"
            best = float(q * given.given_in_list.max())
            rank = rank_of_truth("", of_query.scores, place)
            self.probability.append(best)
            self.right.append(float(expected_hits([rank], 1)[0]))
            self.outcome.append(1.0 - q if place is None else float(q * given.given_in_list[place]))

    def figures(self) -> dict[str, Any]:
        """Return the figures as JSON values; see `summarise_probabilities`."""
        values = (self.probability, self.right, self.outcome)
        p, y, outcome = (np.array(column) for column in values)
        summary = summarise_probabilities(p, y, outcome)
        kept = ("n_with_probability", "ece", "brier", "log_loss", "mean_probability", "reliability")
        return {
            **{name: summary[name] for name in kept},
            "hit_at_1": float(np.mean(self.right)) if self.right else float("nan"),
            "share_in_list": self.share_in_list,
            "share_known": self.share_known,
            "line_variance": self.line_variance,
        }


def struck(kinds: Sequence[str], seed: int, group: str) -> frozenset[int]:
    """Return the queries of a laboratory whose truth is struck: every other one of each kind."""
    rng = np.random.default_rng([seed, 1, *group.encode()])
    chosen: set[int] = set()
    for kind in dict.fromkeys(kinds):
        of_kind = [n for n, found in enumerate(kinds) if found == kind]
        chosen.update(rng.permutation(of_kind)[::2].tolist())
    return frozenset(chosen)
