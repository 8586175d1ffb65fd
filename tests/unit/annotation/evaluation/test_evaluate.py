from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from annotation_examples import tiny_annotator

from specvae.annotation.evaluation.evaluate import evaluate
from specvae.annotation.evidence.analogues import AnalogueIndex
from specvae.annotation.evidence.fragment_score import (
    FragmentScorer,
    block_digests,
    standard_scorers,
)
from specvae.annotation.evidence.library_memory import LibraryMemory
from specvae.annotation.evidence.pool import EvidencePool
from specvae.annotation.library.query import Query
from specvae.annotation.ranking.probability import ProbabilityModel
from specvae.annotation.ranking.result import Cause, ListScores, Ranked, Refusal, Unranked
from specvae.molecules.candidates import CandidateSet
from specvae.spectra.spectrum import Spectrum

CAFFEINE, ASPIRIN, ETHANOL = "RYYVLZVUVIJVGH", "BSYNRYMUTXBXSQ", "LFQSCWFLJHTTHZ"


def query_of(query_id: str, ion_mode: str | None = None) -> Query:
    spectrum = Spectrum(
        mz=np.array([50.0]), intensity=np.array([1.0]), query_id=query_id, ion_mode=ion_mode
    )
    return Query.assign_ion(spectrum)


def ranked_query(
    query_id: str, scores: dict[str, float], blind: float = 0.0, smiles: tuple[str, ...] = ()
) -> Ranked:
    n = len(scores)
    empty = np.array([""] * n, dtype=object)
    candidates = CandidateSet(
        np.array(smiles, dtype=object) if smiles else empty, np.zeros(n),
        inchikey=np.array(list(scores), dtype=object), name=empty, id=empty,
    )  # fmt: skip
    return Ranked(
        query_of(query_id), candidates, np.zeros((n, 1), np.uint8),
        ListScores(np.array(list(scores.values())), 1), np.full(n, blind), np.zeros(8),
    )  # fmt: skip


def test_a_number_is_the_query_of_that_number() -> None:
    """A spreadsheet writes the query 1 as 1.0."""
    ranked = [ranked_query(name, {CAFFEINE: -1.0}) for name in ("1", "2.0", "x", "y1.0")]
    truth = {"1.0": CAFFEINE, "2": CAFFEINE, "y1": CAFFEINE}
    found = evaluate(tiny_annotator(), iter(ranked), truth)
    assert found.query_ids == ("1", "2.0")
    assert found.unknown_queries == ("x", "y1.0")
    assert found.missing_queries == ("y1",)


def test_the_truth_of_another_query_is_not_that_of_an_other_spelling() -> None:
    """The query 05 had the truth of the query 5."""
    ranked = [ranked_query(name, {CAFFEINE: -1.0}) for name in ("05", "5", "07", "05#2", "5#2")]
    found = evaluate(tiny_annotator(), iter(ranked), {"5": CAFFEINE, "7": CAFFEINE})
    assert found.query_ids == ("5", "07", "5#2")
    assert found.unknown_queries == ("05", "05#2")
    assert found.missing_queries == ()


def test_the_second_spectrum_of_a_name_has_the_truth_of_the_name() -> None:
    ranked = [ranked_query(name, {CAFFEINE: -1.0}) for name in ("a", "a#2", "b#2", "7#2", "c#1")]
    truth = {"a": CAFFEINE, "b": CAFFEINE, "b#2": ETHANOL, "7.0": CAFFEINE, "c": CAFFEINE}
    found = evaluate(tiny_annotator(), iter(ranked), truth)
    assert found.query_ids == ("a", "a#2", "b#2", "7#2")
    assert [rank.n_candidates for rank in found.ranks] == [1] * 4
    assert [rank.n_better for rank in found.ranks] == [0] * 4
    assert found.figures(seed=0)["n_truth_absent"] == 1  # that of b#2
    assert found.unknown_queries == ("c#1",)
    assert found.missing_queries == ("b", "c")


def test_a_truth_may_be_the_key_of_a_salt() -> None:
    """A table of standards has the key of the hydrochloride; the candidate is ranked without."""
    salt, smiles = "VDHPYBVMFNLZQG", ("CCO.Cl", "CN1C=NC2=C1C(=O)N(C(=O)N2C)C.Cl")
    ranked = ranked_query("q", {ETHANOL: -1.0, CAFFEINE: -2.0}, smiles=smiles)
    found = evaluate(tiny_annotator(), iter([ranked]), {"q": salt})
    assert [rank.n_better for rank in found.ranks] == [1]
    assert found.trained_on == {"q": CAFFEINE}
    assert found.figures(seed=0)["n_truth_absent"] == 0


def test_each_query_is_counted_once_in_its_place() -> None:
    ranked: list[Ranked | Unranked] = [
        ranked_query("first", {CAFFEINE: -1.0, ETHANOL: -2.0}),
        ranked_query("second", {CAFFEINE: -1.0, ASPIRIN: -2.0}),
        ranked_query("absent", {CAFFEINE: -1.0}),
        Unranked("unrankable", Refusal(Cause.NO_PRECURSOR)),
        Unranked("filtered", Refusal(Cause.ION_MODE, "left out: ion mode negative")),
        ranked_query("no truth", {CAFFEINE: -1.0}),
    ]
    truth = {
        "first": CAFFEINE,
        "second": ASPIRIN,
        "absent": ETHANOL,
        "unrankable": ETHANOL,
        "filtered": CAFFEINE,
        "elsewhere": CAFFEINE,
    }
    found = evaluate(tiny_annotator(), iter(ranked), truth)
    assert found.query_ids == ("first", "second", "absent", "unrankable")
    assert [(r.n_better, r.n_tied, r.n_candidates) for r in found.ranks] == [
        (0, 1, 2),
        (1, 1, 2),
        (0, 0, 1),
        (0, 0, 0),
    ]
    # An empty spectrum scores these candidates alike.
    assert [(r.n_better, r.n_tied) for r in found.blind] == [(0, 2), (0, 2), (0, 0), (0, 0)]
    assert found.unknown_queries == ("no truth",)
    assert found.missing_queries == ("elsewhere",)
    assert found.trained_on == {"first": CAFFEINE, "second": ASPIRIN}
    assert found.in_library == {}
    figures = found.figures(seed=0)
    assert figures["n_queries"] == 4
    assert figures["n_ranked"] == 3
    assert figures["n_truth_absent"] == 2
    assert figures["n_molecules"] == 3
    assert figures["hit_at_1"] == figures["hit_at_1_worst"] == figures["hit_at_1_best"] == 0.25
    assert figures["mrr"] == pytest.approx((1 + 0.5) / 4)
    assert figures["blind_hit_at_1"] == pytest.approx((0.5 + 0.5) / 4)
    assert figures["random_hit_at_1"] == pytest.approx((0.5 + 0.5) / 4)
    assert figures["n_truth_in_training"] == 2
    assert figures["n_truth_without_query"] == 1


def test_truths_that_the_fragment_score_was_fitted_to_are_counted() -> None:
    """Those of the query's ion mode, and only where that score counts."""
    digests = block_digests([CAFFEINE])
    assert len(digests) == 1
    positive = FragmentScorer(standard_scorers()["positive"].to_arrays(), digests)
    negative = FragmentScorer(standard_scorers()["negative"].to_arrays())
    pool = EvidencePool(
        LibraryMemory(AnalogueIndex.empty(), [], [], np.empty((0, 512), np.uint8)),
        {"positive": positive, "negative": negative},
    )
    ranked = [
        replace(ranked_query(name, {CAFFEINE: 0.0, ASPIRIN: 1.0}), query=query_of(name, mode))
        for name, mode in (("known", "positive"), ("other mode", "negative"), ("new", "positive"))
    ]
    truth = {"known": CAFFEINE, "other mode": CAFFEINE, "new": ASPIRIN}
    annotator = tiny_annotator()
    for evidence, expected, n_untraced in (
        (pool, {"known": CAFFEINE}, 1),
        (replace(pool, weights={**pool.weights, "fragments": 0.0}), {}, 0),
        (None, {}, 0),
    ):
        annotator.evidence_pool = evidence
        found = evaluate(annotator, iter(ranked), truth)
        assert (found.in_fragment_score, found.n_untraced) == (expected, n_untraced)
        assert found.figures(seed=0)["n_truth_in_fragment_score"] == len(expected)


def test_probabilities_are_those_of_the_best_and_of_what_was_true() -> None:
    """Half of all lists would have odds of 3; the temperature is that of doubled scores."""
    nothing = (0.0,) * 4
    annotator = tiny_annotator()
    annotator.probability = ProbabilityModel(
        (), nothing, (1.0,) * 4, (np.log(2.0), *nothing), (np.log(3.0), *nothing)
    )
    rounded = ranked_query("rounded", {CAFFEINE: 0.0, ASPIRIN: -1.0})
    rounded = replace(rounded, list_scores=replace(rounded.list_scores, window_share=0.25))
    ranked: list[Ranked | Unranked] = [
        ranked_query("right", {CAFFEINE: 0.0, ASPIRIN: -1.0}),
        ranked_query("wrong", {CAFFEINE: 0.0, ASPIRIN: -0.5}),
        ranked_query("tied", {CAFFEINE: 0.0, ASPIRIN: 0.0}),
        ranked_query("absent", {CAFFEINE: 0.0, ASPIRIN: -1.0}),
        rounded,
        Unranked("unranked", Refusal(Cause.NO_PRECURSOR)),
        ranked_query("no truth", {CAFFEINE: 0.0}),
    ]
    truth = dict.fromkeys(("right", "rounded", "unranked"), CAFFEINE) | {"absent": ETHANOL}
    truth |= dict.fromkeys(("wrong", "tied"), ASPIRIN)
    found = evaluate(annotator, iter(ranked), truth, in_list=0.6).probabilities
    assert found is not None
    # sigma(log 3 + logit r) for r = 0.6, and for a quarter of it.
    held, of_rounded = 3 * 0.6 / (3 * 0.6 + 0.4), 3 * 0.15 / (3 * 0.15 + 0.85)
    clear, close = 1 / (1 + np.exp(-2.0)), 1 / (1 + np.exp(-1.0))
    order = ["right", "wrong", "tied", "absent", "rounded"]
    best = [held * clear, held * close, held / 2, held * clear, of_rounded * clear]
    outcome = [held * clear, held * (1 - close), held / 2, 1 - held, of_rounded * clear]
    assert dict(zip(order, found.best, strict=True)) == pytest.approx(
        dict(zip(order, best, strict=True))
    )
    assert found.right.tolist() == [1.0, 0.0, 0.5, 0.0, 1.0]
    assert found.outcome.tolist() == pytest.approx(outcome)
    assert found.molecules == tuple(truth[name] for name in order)
    assert (found.share_in_list, found.share_is_estimated) == (0.6, False)


def test_the_share_of_lists_is_estimated_from_all_by_an_accurate_mass() -> None:
    """Those without a truth count; lists that surely hold theirs show a share of 1."""
    nothing = (0.0,) * 4
    annotator = tiny_annotator()
    annotator.probability = ProbabilityModel(
        (), nothing, (1.0,) * 4, (0.0, *nothing), (60.0, *nothing), 0.9, 20.0
    )
    ranked = [ranked_query(name, {CAFFEINE: 0.0}) for name in "abcde"]
    rounded = replace(ranked[4].list_scores, window_share=0.5)
    ranked[4] = replace(ranked[4], list_scores=rounded)
    found = evaluate(annotator, iter(ranked), {"a": CAFFEINE, "e": CAFFEINE}).probabilities
    assert found is not None
    assert found.share_is_estimated
    assert found.share_in_list == pytest.approx((4 + 20 * 0.9) / (4 + 20))


def test_spectra_of_a_feature_with_different_truths_are_told() -> None:
    def feature(query_id: str, *merged: str) -> Ranked:
        one = ranked_query(query_id, {CAFFEINE: -1.0})
        return replace(one, query=replace(one.query, merged=merged))

    truth = {"a": CAFFEINE, "b": CAFFEINE, "d": ASPIRIN, "e": CAFFEINE}
    features = [feature("a", "b"), feature("c", "d"), feature("e", "d")]
    found = evaluate(tiny_annotator(), iter(features), truth)
    assert found.contradicted == ("e",)
    assert [rank.molecule for rank in found.ranks] == [CAFFEINE, ASPIRIN, CAFFEINE]
    assert found.missing_queries == ()
