from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from annotation_examples import tiny_annotator
from ranking_examples import QUERY

from specvae.annotation.library.query import Query
from specvae.annotation.ranking.annotator import Annotator
from specvae.annotation.ranking.present import present
from specvae.annotation.ranking.result import (
    Answer,
    Cause,
    ListProbabilities,
    Ranked,
    Refusal,
    Unranked,
)
from specvae.molecules.candidates import CandidateSet


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPECVAE_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def annotator() -> Annotator:
    return tiny_annotator()


def scored(scores: list[float]) -> Ranked:
    n = len(scores)
    # Listed against the order of their keys.
    keys = [f"{chr(ord('Z') - i) * 14}-UHFFFAOYSA-N" for i in range(n)]
    strings = [np.array(values, dtype=object) for values in (["C"] * n, keys, [""] * n)]
    candidates = CandidateSet(
        strings[0], np.full(n, 16.0), inchikey=strings[1], name=strings[2], id=strings[2]
    )
    return Ranked(
        Query.settle(QUERY), candidates, np.zeros((n, 512), np.uint8), np.array(scores),
        blind_scores=np.zeros(n), logits=np.zeros(4096),
    )  # fmt: skip


def test_what_was_decided_about_a_structure_is_said(annotator: Annotator) -> None:
    one = scored([-1.0, -2.0])
    one.candidates.smiles[:] = ["CC(=O)[O-].CC(=O)[O-].[Zn+2]", "C"]
    answer = present(annotator, one, None)
    assert isinstance(answer, Answer)
    assert [a.remarks for a in answer.annotations] == [("metal taken off: Zn",), ()]


@pytest.mark.parametrize(
    ("top", "ranks", "first_letters"),
    [
        (None, [1, 4, 4, 4, 5], "XVYZW"),
        (2, [1, 4], "XV"),
        (9, [1, 4, 4, 4, 5], "XVYZW"),
    ],
)
def test_ties_share_the_worst_rank_and_stand_in_order_of_keys(
    annotator: Annotator, top: int | None, ranks: list[int], first_letters: str
) -> None:
    answer = present(annotator, scored([-2.0, -2.0, -1.0, -3.0, -2.0]), top)
    assert isinstance(answer, Answer)
    rows = answer.annotations
    assert [row.rank for row in rows] == ranks
    assert "".join(row.inchikey[0] for row in rows) == first_letters
    assert answer.n_candidates == 5
    assert [row.score for row in rows] == [-1.0, -2.0, -2.0, -2.0, -3.0][: len(rows)]


def test_probabilities_are_those_of_the_shown_candidates(annotator: Annotator) -> None:
    chances = ListProbabilities(np.array([0.2, 0.5, 0.3]), 1.5)
    answer = present(annotator, replace(scored([-2.0, -1.0, -1.5]), probabilities=chances), 2)
    assert isinstance(answer, Answer)
    assert [row.probability for row in answer.annotations] == [0.5, 0.3]
    assert answer.log_odds_in_list == 1.5


def test_a_query_that_is_not_ranked_stays_as_it_is(annotator: Annotator) -> None:
    unranked = Unranked("q", Refusal(Cause.NO_PRECURSOR), Query.settle(QUERY))
    assert present(annotator, unranked, 10) is unranked
