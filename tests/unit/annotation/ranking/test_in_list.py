from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from specvae.annotation.evidence.items import Analogue
from specvae.annotation.evidence.short_lists import ShortListOdds
from specvae.annotation.library.query import Query
from specvae.annotation.ranking.in_list import (
    dependence_lines,
    final_probabilities,
    keep_probable,
    summary_lines,
)
from specvae.annotation.ranking.probability import SCORE_FEATURES, ProbabilityModel
from specvae.annotation.ranking.result import (
    Annotation,
    Answer,
    Cause,
    Explanation,
    QueryResult,
    Refusal,
    Unranked,
)
from specvae.spectra.spectrum import Spectrum

N = len(SCORE_FEATURES)
NONE = (0.0,) * N
MODEL = ProbabilityModel((), NONE, (1.0,) * N, (0.0, *NONE), (0.0, *NONE))
EXPLANATION = Explanation()


QUERY = Query.assign_ion(
    Spectrum(
        mz=np.array([50.0]),
        intensity=np.array([1.0]),
        query_id="q",
        precursor_mz=100.0,
        ion_mode="positive",
    )
)
UNRANKED = Unranked("u", Refusal(Cause.NO_PRECURSOR))


def result(*given: float, log_odds: float = 0.0) -> Answer:
    rows = tuple(Annotation(i + 1, "C", "K", "", -float(i), p) for i, p in enumerate(given))
    return Answer(QUERY, rows, len(given), explanation=EXPLANATION, log_odds_in_list=log_odds)


def probabilities(result: QueryResult) -> list[float | None]:
    assert isinstance(result, Answer)
    return [row.probability for row in result.annotations]


def test_share_scales_all_candidates_of_a_list_alike() -> None:
    results, share = final_probabilities(MODEL, [result(0.6, 0.4), UNRANKED], 0.5)
    assert share == 0.5
    assert probabilities(results[0]) == pytest.approx([0.3, 0.2])
    assert results[1] is UNRANKED
    surer = result(0.6, 0.4, log_odds=float(np.log(3.0)))
    assert probabilities(final_probabilities(MODEL, [surer], 0.5)[0][0]) == pytest.approx(
        [0.45, 0.3]
    )
    assert probabilities(final_probabilities(MODEL, [surer], 1.0)[0][0]) == pytest.approx(
        [0.6, 0.4]
    )


def test_a_list_of_quite_other_masses_has_no_probability_and_is_told() -> None:
    wrong = replace(result(0.6, 0.4, log_odds=5.0), window_share=0.0)
    found, share = final_probabilities(MODEL, [wrong, result(1.0)], 1.0)
    assert probabilities(found[0]) == [0.0, 0.0]
    told = summary_lines(MODEL, found, share, False, None)
    (line,) = told.advice
    assert line.startswith("1 list has no candidate of the mass of its query, such as 'q',")
    assert not summary_lines(MODEL, found[1:], share, False, None).advice


def test_a_list_by_a_rounded_mass_mostly_lacks_its_truth() -> None:
    """It says nothing of the run's share, of which it has a part."""
    rough = replace(result(0.6, 0.4, log_odds=5.0), window_share=0.02)
    accurate = [result(0.6, 0.4, log_odds=-1.0) for _ in range(30)]
    alone, share = final_probabilities(MODEL, accurate, None)
    beside, same = final_probabilities(MODEL, [rough, *accurate], None)
    assert same == share
    assert probabilities(beside[1]) == probabilities(alone[0])
    held = np.exp(5.0) * 0.02 * share / (1.0 - 0.02 * share)
    expected = held / (1.0 + held)
    assert probabilities(beside[0]) == pytest.approx([0.6 * expected, 0.4 * expected])
    told = summary_lines(MODEL, [*beside, *[rough] * 100], same, True, None)
    assert "(estimated from 30 queries; " in told.details[0]
    assert "fewer than 100 queries are ranked by an accurate precursor m/z, " in told.advice[0]
    # All of a run alone: the default share.
    assert final_probabilities(MODEL, [rough], None)[1] == pytest.approx(MODEL.default_share)


def test_the_second_candidate_of_an_explanation_has_the_probability_of_its_row() -> None:
    answer = result(0.6, 0.4)
    explained = replace(answer, explanation=Explanation(second=answer.annotations[1]))
    (final,), _ = final_probabilities(MODEL, [explained], 0.5)
    assert isinstance(final, Answer)
    assert final.explanation is not None
    assert final.explanation.second == final.annotations[1]
    assert final.annotations[1].probability == pytest.approx(0.2)


def test_share_is_estimated_from_all_queries() -> None:
    sure, hopeless = result(1.0, log_odds=8.0), result(1.0, log_odds=-8.0)
    _, high = final_probabilities(MODEL, [sure] * 150 + [hopeless] * 50, None)
    _, low = final_probabilities(MODEL, [sure] * 50 + [hopeless] * 150, None)
    assert high == pytest.approx(0.75, abs=0.02)
    assert low == pytest.approx(0.31, abs=0.02)  # the default of 0.9 counts for 20 queries


def test_improbable_candidates_are_left_out() -> None:
    kept = keep_probable(result(0.5, 0.3, 0.1), 0.3)
    assert isinstance(kept, Answer)
    assert probabilities(kept) == [0.5, 0.3]
    assert kept.explanation is EXPLANATION
    assert keep_probable(UNRANKED, 0.5) is UNRANKED


def test_a_best_probability_below_the_least_is_shown_below_it() -> None:
    for best, shown in ((0.9866, "0.987"), (0.98999999, "0.98999999")):
        dropped = keep_probable(result(best, 0.01), 0.99)
        assert isinstance(dropped, Unranked)
        assert str(dropped.refusal) == f"no candidate reaches probability 0.99 (best {shown})"


def test_query_without_a_probable_candidate_says_so() -> None:
    dropped = keep_probable(result(0.312, 0.2), 0.5)
    assert isinstance(dropped, Unranked)
    assert dropped.refusal.cause is Cause.IMPROBABLE
    assert str(dropped.refusal) == "no candidate reaches probability 0.5 (best 0.31)"
    # What was said of the query is said still.
    assert dropped.remarks == ("adduct taken as [M+H]+",)
    assert (dropped.query_id, dropped.n_candidates, dropped.query) == ("q", 2, QUERY)
    absentee = Analogue("A" * 14, "C", 0.9, name="caffeine", is_unlisted=True)
    dropped = keep_probable(replace(result(0.3), analogues=(absentee,)), 0.5)
    assert isinstance(dropped, Unranked)
    assert dropped.remarks[1].startswith("clearly like 'caffeine' of the library")


def test_what_would_keep_probabilities_fixed_is_said() -> None:
    assert dependence_lines({}) == []
    (line,) = dependence_lines({"--in-list": (0.91234,), "--known": (0.3, 0.2)})
    assert line.startswith("probabilities depend on the other queries of the file")
    assert line.endswith(": --in-list 0.912 --known 0.3,0.2 keep them fixed")
    (line,) = dependence_lines({}, timed=True)
    assert line.endswith("file, by their retention times: --no-retention-times keeps them fixed")
    (line,) = dependence_lines({"--known": (0.4, 0.1)}, timed=True)
    assert line.endswith(
        ", by the shares that they show and by their retention times: "
        "--known 0.4,0.1 --no-retention-times keep them fixed"
    )
    (line,) = dependence_lines({}, weighed=True)
    assert line.endswith(", by errors of their precursor m/z: --no-mass-errors keeps them fixed")
    (line,) = dependence_lines({"--in-list": (0.5,)}, timed=True, weighed=True)
    assert line.endswith(
        ", by the shares that they show, by their retention times and by errors of their "
        "precursor m/z: --in-list 0.5 --no-retention-times --no-mass-errors keep them fixed"
    )


def test_summary_tells_what_is_expected_of_the_best_candidates() -> None:
    results: list[QueryResult] = [result(0.9, 0.05), result(0.7), result(0.2), UNRANKED]
    told = summary_lines(MODEL, results, 0.912, True, 0.5)
    (share,) = told.details
    assert share.startswith(
        "lists that hold the right structure: 91.2% (estimated from 3 queries; 95% "
    )
    (doubt,) = told.advice
    assert doubt.startswith(
        "probabilities lean on the assumption that 90% of lists hold the right structure, as "
    )
    assert doubt.endswith("such as --in-list 0.5")
    assert told.found == (
        "best candidates: 3, of which about 1.8 are right; estimated false-discovery rate 40.0%",
        (
            "best candidates of probability 0.5 or more: 2, of which about 1.6 are right; "
            "estimated false-discovery rate 20.0%"
        ),
    )
    many = summary_lines(MODEL, [result(0.9, 0.05)] * 1391, 0.9, True, 0.0)
    assert "1,391, of which about 1,252 are right" in many.found[-1]
    given = summary_lines(MODEL, results, 0.9, False, 0.95)
    assert given.details == ("lists that hold the right structure: 90.0% (as given)",)
    assert given.found[-1] == "best candidates of probability 0.95 or more: none"
    assert not given.advice


@pytest.mark.parametrize(
    ("n", "n_candidates", "known", "said"),
    [
        (99, 9, 0.5, "fewer than 100 queries are ranked"),
        (100, 9, 0.5, None),
        (100, 9, None, None),
        (100, 2, 0.5, "100 of 100 lists have one or two candidates"),
        (99, 1, 0.5, "fewer than 100 queries are ranked, and 99 of 99 lists"),
        (100, 9, 0.03, "the library seems to know only 3% of the compounds"),
        (99, 9, 0.03, "queries are ranked, and the library seems to know only 3%"),
    ],
)
def test_probabilities_that_lean_on_the_prior_say_so(
    n: int, n_candidates: int, known: float | None, said: str | None
) -> None:
    one = replace(result(0.9), n_candidates=n_candidates)
    doubts = summary_lines(MODEL, [one] * n, 0.9, True, None, known).advice
    assert len(doubts) == (said is not None)
    # Short lists show their share where they have odds of their own.
    of_short = replace(MODEL, short_lists=ShortListOdds(0.0, 0.0, 0.0, 0.0))
    others = summary_lines(of_short, [one] * n, 0.9, True, None, known).advice
    assert not any("one or two candidates" in line for line in others)
    assert len(others) == (n < 100 or known == 0.03)
    assert said is None or said in doubts[0]
    # Who states the share leans on nothing.
    assert not summary_lines(MODEL, [one] * n, 0.9, False, None, known).advice


@pytest.mark.parametrize(("n_empty", "is_said"), [(0, False), (11, False), (12, True)])
def test_queries_without_a_candidate_cast_doubt_on_the_lists_of_others(
    n_empty: int, is_said: bool
) -> None:
    empty = replace(UNRANKED, refusal=Refusal(Cause.NONE_WITHIN))
    ranked = replace(result(0.9), n_candidates=9)
    results = [ranked] * 100 + [empty] * n_empty
    lines = summary_lines(MODEL, results, 0.9, True, None, 0.5).advice
    said = f"{n_empty} of {100 + n_empty} queries have no candidate of their mass"
    assert any(said in line for line in lines) == is_said


def test_uncalibrated_rows_are_untouched() -> None:
    rows = tuple(replace(row, probability=None) for row in result(0.5).annotations)
    plain = replace(result(0.5), annotations=rows, log_odds_in_list=None)
    assert keep_probable(plain, 0.9) is plain
    assert final_probabilities(MODEL, [plain], 0.5)[0] == [plain]
