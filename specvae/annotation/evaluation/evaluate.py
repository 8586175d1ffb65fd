"""Compare ranked candidates with the truth."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from specvae.annotation.evaluation.hits import TruthRank, expected_hits, rank_of_truth, summarise
from specvae.annotation.evaluation.reliability import summarise_probabilities
from specvae.annotation.evidence.own_spectra import StatedShares
from specvae.annotation.ranking.annotator import Annotator
from specvae.annotation.ranking.probability import Floats, ProbabilityModel, in_list_probability
from specvae.annotation.ranking.result import ListScores, Ranked, Unranked
from specvae.annotation.ranking.run_scoring import RunScoring, RunState
from specvae.molecules.candidates import CandidateSet
from specvae.molecules.molecule import blocks_of_salt
from specvae.molecules.query_ids import by_form, listed_as


@dataclass(frozen=True)
class Probabilities:
    """Probabilities of the queries that could be ranked, with the true outcomes.

    Attributes
    ----------
    best
        Of the best candidates, (n,).
    right
        The chance that the best candidate is the truth under random tie-breaking, (n,).
    outcome
        Probability of the truth, or of "not in the list" where it is not, (n,).
    share_in_list
        Share of lists that hold their truth, as estimated or given.
    share_is_estimated
        Whether it was estimated.
    molecules
        InChIKey first blocks of the truths, n.
    """

    best: Floats
    right: Floats
    outcome: Floats
    share_in_list: float
    share_is_estimated: bool
    molecules: tuple[str, ...]

    def figures(self) -> dict[str, Any]:
        """Return measures of calibration and the shares, JSON values by name."""
        return {
            **summarise_probabilities(self.best, self.right, self.outcome, self.molecules),
            "in_list": self.share_in_list,
            "in_list_is_estimated": self.share_is_estimated,
        }


@dataclass(frozen=True)
class Evaluation:
    """The result of an evaluation.

    Attributes
    ----------
    ranks
        The rank of each query's truth.
    blind
        The same for the model given an empty spectrum.
    query_ids
        The queries, in the order of `ranks`.
    unknown_queries
        Queries of the file for which the truth file has no row; they are not evaluated.
    missing_queries
        Rows of the truth file whose query is not in the query file; they are not evaluated.
    trained_on
        query_id -> first block of truths that the model was trained on or chosen by.
    contradicted
        Queries of merged spectra whose truths differ; the truth of the first spectrum counts.
    in_library
        query_id -> first block of other truths whose spectra the library of this run has.
    in_fragment_score
        query_id -> first block of truths that the fragment score of the query's ion mode is known
        to have been fitted to.
    n_untraced
        Queries with a fragment score that does not say what it was fitted to.
    probabilities
        How far the probabilities can be trusted; None unless the model is calibrated and has
        ranked a query.
    run_lines
        What the run adds to scores, as lines for the user.
    """

    query_ids: tuple[str, ...]
    ranks: tuple[TruthRank, ...]
    blind: tuple[TruthRank, ...]
    unknown_queries: tuple[str, ...]
    missing_queries: tuple[str, ...]
    trained_on: Mapping[str, str]
    in_library: Mapping[str, str]
    in_fragment_score: Mapping[str, str] = field(default_factory=dict)
    n_untraced: int = 0
    contradicted: tuple[str, ...] = ()
    probabilities: Probabilities | None = None
    run_lines: tuple[str, ...] = ()

    def figures(self, seed: int) -> dict[str, Any]:
        """Return the figures of the command-line contract; `seed` is of the bootstrap."""
        return {
            **summarise(self.ranks, self.blind, seed=seed),
            "n_without_truth": len(self.unknown_queries),
            "n_truth_without_query": len(self.missing_queries),
            "n_truth_in_training": len(self.trained_on),
            "n_truth_in_library": len(self.in_library),
            "n_truth_in_fragment_score": len(self.in_fragment_score),
            **(self.probabilities.figures() if self.probabilities else {}),
        }


def evaluate(
    annotator: Annotator,
    ranked: Iterable[Ranked | Unranked],
    truth: Mapping[str, str],
    in_list: float | None = None,
    known: StatedShares | None = None,
) -> Evaluation:
    """Find each query's truth among its ranked candidates.

    A query whose truth is not among its candidates, that has none, or that could not be read
    counts as missed. Queries that the user's filter left out are not counted at all. Merged spectra
    are one query, whose truth is that of the first which has one.

    Parameters
    ----------
    annotator
        The model that ranked.
    ranked
        Queries with scored candidates; consumed once.
    truth
        query_id -> InChIKey first block.
    in_list
        Share of lists that hold their truth, for probabilities; None estimates it from all
        queries that are ranked, those without a row in `truth` included.
    known
        Share of queries whose compound the library knows; None estimates it likewise.
    """
    found = _Truths(truth)
    for outcome in ranked:
        found.add(outcome)
    found.leave_to_others()
    scoring = annotator.run_scoring
    run = scoring.of_run(found.lists, known, in_list)
    log_odds = np.array(
        [
            probabilities.log_odds_in_list
            for scores in found.lists
            if scores.window_share >= 1.0
            and (probabilities := scoring.probabilities(scoring.final_scores(scores, run)))
        ]
    )
    ranks, given = found.final_ranks(scoring, run)
    trained = annotator.training_compounds
    pool = annotator.evidence_pool
    added = set() if pool is None else set(pool.library.first_blocks) - set(trained)
    scorers = {} if pool is None or not pool.weights["fragments"] else pool.scorers
    scorer_of = {query.query_id: scorers.get(query.ion_mode) for query in found.queries}
    return Evaluation(
        query_ids=tuple(query.query_id for query in found.queries),
        ranks=tuple(ranks),
        blind=tuple(query.blind for query in found.queries),
        unknown_queries=tuple(found.unknown),
        missing_queries=tuple(query_id for query_id in truth if query_id not in found.seen),
        trained_on={
            query.query_id: query.block for query in found.queries if query.block in trained
        },
        in_library={query.query_id: query.block for query in found.queries if query.block in added},
        in_fragment_score={
            query.query_id: query.block
            for query in found.queries
            if (scorer := scorer_of[query.query_id]) and scorer.has_learned_from(query.block)
        },
        n_untraced=sum(
            scorer is not None and not len(scorer.learned_from) for scorer in scorer_of.values()
        ),
        contradicted=tuple(found.contradicted),
        probabilities=_probabilities(annotator.probability, log_odds, given, in_list),
        run_lines=tuple(run.summaries()),
    )


@dataclass(frozen=True, slots=True)
class _PendingQuery:
    """A query with a truth until the share of known compounds of the run is estimated.

    `scores` is None where it has no candidates, `place` where the truth is not among them, and
    `ion_mode` is empty where it was not ranked. `spectra` are the names of its own.
    """

    query_id: str
    block: str
    scores: ListScores | None
    place: int | None
    blind: TruthRank
    ion_mode: str = ""
    spectra: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Chances:
    """A query's log odds that its list holds the truth, and probabilities if it does."""

    log_odds: float
    window_share: float
    best: float
    truth: float | None
    rank: TruthRank


class _Truths:
    """Collects the ranks of the truths of queries, as these are ranked.

    Attributes
    ----------
    queries
        Queries that have a truth.
    lists
        Scores of all ranked queries, from which numbers of the run are estimated.
    unknown, contradicted
        As `Evaluation` has them.
    seen
        Rows of the truths that belong to a query.
    """

    def __init__(self, truth: Mapping[str, str]) -> None:
        self._truth = truth
        self._forms = by_form(truth)
        self.queries: list[_PendingQuery] = []
        self.lists: list[ListScores] = []
        self.unknown: list[str] = []
        self.contradicted: list[str] = []
        self.seen: set[str] = set()
        self._spectra: set[str] = set()

    def add(self, outcome: Ranked | Unranked) -> None:
        """Look up the truth of a query, and find it among the candidates."""
        merged = () if outcome.query is None else outcome.query.merged
        spectra = (outcome.query_id, *merged)
        names = self._names(spectra)
        self._spectra.update(spectra)
        self.seen.update(names)
        if isinstance(outcome, Unranked) and outcome.refusal.is_filter:
            return
        if isinstance(outcome, Ranked):
            self.lists.append(outcome.list_scores)
        blocks = list(dict.fromkeys(self._truth[name] for name in names))
        if not blocks:
            self.unknown.append(outcome.query_id)
            return
        if len(blocks) > 1:
            self.contradicted.append(outcome.query_id)
        self.queries.append(replace(_pending(outcome, blocks[0]), spectra=spectra))

    def _names(self, spectra: Iterable[str], others: Container[str] = frozenset()) -> list[str]:
        found = (listed_as(one, self._truth, self._forms, others) for one in spectra)
        return [name for name in found if name is not None]

    def leave_to_others(self) -> None:
        """Take from queries the truths of others, whose names are other spellings of their own.

        This is known when all queries are: ``05`` has the truth of ``5`` unless there is a query 5.
        """
        kept = [query for query in self.queries if self._names(query.spectra, self._spectra)]
        if len(kept) < len(self.queries):
            own = {query.query_id for query in kept}
            self.unknown += [q.query_id for q in self.queries if q.query_id not in own]
            self.queries = kept

    def final_ranks(
        self, scoring: RunScoring, run: RunState
    ) -> tuple[list[TruthRank], list[_Chances]]:
        """Return the rank of each query's truth, and chances where there are probabilities."""
        ranks: list[TruthRank] = []
        given: list[_Chances] = []
        for query in self.queries:
            if query.scores is None:
                ranks.append(query.blind)
                continue
            final = scoring.final_scores(query.scores, run)
            ranks.append(rank_of_truth(query.block, final.scores, query.place))
            if (probabilities := scoring.probabilities(final)) is not None:
                chances = probabilities.given_in_list
                chance = None if query.place is None else float(chances[query.place])
                odds, best = probabilities.log_odds_in_list, float(chances.max())
                given.append(_Chances(odds, final.window_share, best, chance, ranks[-1]))
        return ranks, given


def _pending(outcome: Ranked | Unranked, block: str) -> _PendingQuery:
    """Return a query with the first block of its truth; an unranked query counts as a miss."""
    if isinstance(outcome, Unranked):
        missed = rank_of_truth(block, np.empty(0), None)
        return _PendingQuery(outcome.query_id, block, None, None, missed)
    place, block = place_of_truth(outcome.candidates, block)
    blind = rank_of_truth(block, outcome.blind_scores, place)
    ion_mode = outcome.query.ion_mode or ""
    return _PendingQuery(outcome.query_id, block, outcome.list_scores, place, blind, ion_mode)


def _probabilities(
    model: ProbabilityModel | None, log_odds: Floats, given: list[_Chances], share: float | None
) -> Probabilities | None:
    if model is None or not given:
        return None
    share_in_list = model.estimate_share(log_odds) if share is None else share
    shares = share_in_list * np.array([g.window_share for g in given])
    held = in_list_probability(np.array([g.log_odds for g in given]), shares)
    return Probabilities(
        held * np.array([g.best for g in given]),
        expected_hits([g.rank for g in given], 1),
        np.array(
            [1.0 - q if g.truth is None else q * g.truth for q, g in zip(held, given, strict=True)]
        ),
        share_in_list,
        share is None,
        tuple(g.rank.molecule for g in given),
    )


def place_of_truth(candidates: CandidateSet, block: str) -> tuple[int | None, str]:
    """Return the place of the truth among candidates, and its first block.

    A truth may be the key of a salt, while its candidate is ranked without the counter-ion.
    """
    blocks = list(candidates.first_block)
    if block in blocks:
        return blocks.index(block), block
    for place, smiles in enumerate(candidates.smiles):
        if block in blocks_of_salt(smiles):
            return place, blocks[place]
    return None, block
