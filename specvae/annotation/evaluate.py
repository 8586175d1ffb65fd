"""Compare ranked candidates with the truth."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from specvae.annotation.annotator import Annotator, RankedQuery
from specvae.annotation.metrics import TruthRank, rank_of_truth, summarise


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found.

    Attributes
    ----------
    ranks
        Where each query's truth stands.
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
    """

    query_ids: tuple[str, ...]
    ranks: tuple[TruthRank, ...]
    blind: tuple[TruthRank, ...]
    unknown_queries: tuple[str, ...]
    missing_queries: tuple[str, ...]
    trained_on: Mapping[str, str]

    def figures(self, seed: int) -> dict[str, float | int | list[float]]:
        """Return the figures of the command-line contract; `seed` is of the bootstrap."""
        return {
            **summarise(self.ranks, self.blind, seed=seed),
            "n_without_truth": len(self.unknown_queries),
            "n_truth_without_query": len(self.missing_queries),
            "n_truth_in_training": len(self.trained_on),
        }


def evaluate(
    annotator: Annotator, ranked: Iterable[RankedQuery], truth: Mapping[str, str]
) -> Evaluation:
    """Find each query's truth among its ranked candidates.

    A query whose truth is not among its candidates, that has none, or that could not be read
    counts as missed. Queries that the user's filter left out are not counted at all.

    Parameters
    ----------
    annotator
        The model that ranked.
    ranked
        Queries with scored candidates; consumed once.
    truth
        query_id -> InChIKey first block.
    """
    ids: list[str] = []
    ranks: list[TruthRank] = []
    blind: list[TruthRank] = []
    unknown: list[str] = []
    seen: set[str] = set()
    for query in ranked:
        seen.add(query.query_id)
        if query.is_filtered:
            continue
        block = truth.get(query.query_id)
        if block is None:
            unknown.append(query.query_id)
            continue
        place = _index_of(query, block)
        ids.append(query.query_id)
        ranks.append(rank_of_truth(block, query.scores, place))
        blind.append(rank_of_truth(block, query.blind_scores, place))
    trained = annotator.training_compounds
    return Evaluation(
        tuple(ids),
        tuple(ranks),
        tuple(blind),
        tuple(unknown),
        tuple(query_id for query_id in truth if query_id not in seen),
        {i: truth[i] for i in ids if truth[i] in trained},
    )


def _index_of(query: RankedQuery, block: str) -> int | None:
    if query.candidates is None:
        return None
    places: NDArray[np.int64] = np.flatnonzero(np.asarray(query.candidates.first_block) == block)
    return int(places[0]) if len(places) else None
