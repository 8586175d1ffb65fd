from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from annotation_examples import tiny_annotator
from evidence_examples import weighted
from ranking_examples import QUERY

from specvae.annotation.evidence.defaults import EVIDENCE_KINDS
from specvae.annotation.evidence.known_share import shares_at
from specvae.annotation.evidence.mass_error import MassError
from specvae.annotation.evidence.retention import Elution, RetentionLine
from specvae.annotation.evidence.weighted import Evidence, RunTerms
from specvae.annotation.library.query import Query
from specvae.annotation.ranking import present
from specvae.annotation.ranking.annotator import Annotator
from specvae.annotation.ranking.present import draft
from specvae.annotation.ranking.probability import (
    SCORE_FEATURES,
    ProbabilityModel,
    default_probability,
)
from specvae.annotation.ranking.result import (
    Answer,
    ListScores,
    Ranked,
)
from specvae.annotation.ranking.run_scoring import RunScoring, RunState
from specvae.molecules.candidates import CandidateSet
from specvae.molecules.molecule import Molecule

WEIGHTS = dict.fromkeys(EVIDENCE_KINDS, 1.0)
N = len(SCORE_FEATURES)
FLAT = ProbabilityModel((), (0.0,) * N, (1.0,) * N, (0.0,) * (N + 1), (0.0,) * (N + 1))


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
        Query.assign_ion(QUERY), candidates, np.zeros((n, 512), np.uint8),
        ListScores(np.array(scores), 2), blind_scores=np.zeros(n), logits=np.zeros(4096),
    )  # fmt: skip


def evidence(library: list[float], measured: list[bool]) -> Evidence:
    """Return evidence of own spectra alone, at the default shares."""
    raw = np.zeros((len(library), len(EVIDENCE_KINDS)))
    raw[:, EVIDENCE_KINDS.index("library")] = library
    return weighted(raw, WEIGHTS, np.array(measured))


def test_a_stated_share_is_not_divided_where_the_library_has_one_ion_mode() -> None:
    """A positive library and --known 0.5 took a fifth of the known compounds for its negative."""
    nothing, some = np.zeros(2, np.bool_), np.array([True, False])
    raw = np.zeros((2, len(EVIDENCE_KINDS)))
    here, there, none = (
        ListScores.of(found, 2)
        for found in (
            weighted(raw, WEIGHTS, measured, elsewhere=elsewhere)
            for measured, elsewhere in ((some, nothing), (nothing, some), (nothing, nothing))
        )
    )
    both = RunScoring(WEIGHTS, None)
    one = replace(both, has_both_modes=False)
    for lists in (here, there, none):
        assert both.of_run([lists], 0.5).shares_for(lists) == pytest.approx((0.4, 0.1))
        assert one.of_run([lists], (0.4, 0.1)).shares_for(lists) == (0.4, 0.1)
    assert one.of_run([here], 0.5).shares_for(here) == (0.5, 0.005)
    assert one.of_run([there], 0.5).shares_for(there) == (0.005, 0.5)
    # The odds of a known compound are what is stated, whatever the ion mode of its spectra.
    for lists in (here, there):
        final = one.final_scores(lists, one.of_run([lists], 0.8))
        assert final.scores[0] - final.scores[1] == pytest.approx(np.log(0.8 / 0.2), abs=0.05)


def test_lists_without_their_truth_do_not_make_the_listed_compounds_look_unknown() -> None:
    """Half of a run's known compounds were not listed, and the share of known ones was halved."""
    listed, other = (
        ListScores.of(found, 9)
        for found in (evidence([6.0, 0.0], [True, False]), evidence([-6.0, 0.0], [True, False]))
    )
    lists = [listed] * 30 + [other] * 30
    # A list holds the truth if a candidate's own spectra say so.
    by_own_spectra = replace(
        FLAT,
        feature_names=("own_spectra",),
        centre=(0.0,) * (N + 1),
        scale=(*(1.0,) * N, 2.0),
        log_temperature=(0.0,) * (N + 2),
        in_list=(*(0.0,) * (N + 1), 2.0),
    )
    scoring = RunScoring(WEIGHTS, by_own_spectra)
    assert scoring.of_run(lists).known.known > 0.95
    # All lists hold the truth: nothing shows it, or the user says so.
    for none, in_list in ((RunScoring(WEIGHTS, None), None), (scoring, 1.0)):
        assert none.of_run(lists, in_list=in_list).known.known == pytest.approx(0.46, abs=0.03)
    # The same if masses are rounded, so that hardly any list holds the truth.
    rounded = [replace(other, window_share=1e-6)] * 30
    assert RunScoring(WEIGHTS, FLAT).of_run([listed] * 30 + rounded).known.known > 0.95


def shown(annotator: Annotator, ranked: Ranked, top: int | None, share: float = 0.5) -> Answer:
    scoring = replace(annotator.run_scoring, weights=WEIGHTS)
    return draft(annotator, ranked, top).answer(scoring, RunState(shares_at(share)), annotator)


def test_what_was_decided_about_a_structure_is_said(annotator: Annotator) -> None:
    one = scored([-1.0, -2.0])
    one.candidates.smiles[:] = ["CC(=O)[O-].CC(=O)[O-].[Zn+2]", "C"]
    answer = shown(annotator, one, None)
    assert [a.remarks for a in answer.annotations] == [("metal taken off: Zn",), ()]


def test_the_best_candidate_says_that_its_key_is_another_structure_s(annotator: Annotator) -> None:
    one = scored([-1.0, -2.0])
    keys = ("LFQSCWFLJHTTHZ-UHFFFAOYSA-N", "OKKJLVBELUTLKV-UHFFFAOYSA-N")  # ethanol, methanol
    for smiles, said in (("CO", True), ("CCO", False)):
        one.candidates.smiles[:] = [smiles, "C"]
        one.candidates.inchikey[:] = keys
        best, other = shown(annotator, one, None).annotations
        remark = f"its InChIKey is another structure's ({keys[0][:14]}, computed {keys[1][:14]})"
        assert best.remarks == ((remark,) if said else ())
        assert other.remarks == ()  # only the best is looked at


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
    answer = shown(annotator, scored([-2.0, -2.0, -1.0, -3.0, -2.0]), top)
    rows = answer.annotations
    assert [row.rank for row in rows] == ranks
    assert "".join(row.inchikey[0] for row in rows) == first_letters
    assert answer.n_candidates == 5
    assert [row.score for row in rows] == [-1.0, -2.0, -2.0, -2.0, -3.0][: len(rows)]


def test_probabilities_are_those_of_the_shown_candidates(annotator: Annotator) -> None:
    scoring = replace(annotator.run_scoring, probability=FLAT)
    ranked = scored([-2.0, -1.0, -1.5])
    answer = draft(annotator, ranked, 2).answer(scoring, RunState())
    chances = scoring.probabilities(ranked.list_scores)
    assert chances is not None
    expected = chances.given_in_list[[1, 2]].tolist()
    assert [row.probability for row in answer.annotations] == expected
    assert answer.log_odds_in_list == chances.log_odds_in_list


@pytest.mark.parametrize("is_timed", [True, False])
def test_what_the_run_adds_does_not_say_whether_the_truth_is_listed(
    annotator: Annotator, is_timed: bool
) -> None:
    found = weighted(
        np.column_stack([[1.0, 0.5, 0.0], np.zeros((3, len(EVIDENCE_KINDS) - 1))]),
        WEIGHTS,
        np.zeros(3, np.bool_),
        elution=Elution(300.0, np.array([3.0, 0.0, 0.0])),
        mass_errors=np.array([9.0, 0.5, 0.0]),
    )
    listed = ListScores.of(found, 2)
    scoring = replace(annotator.run_scoring, weights=WEIGHTS, probability=default_probability())
    line = RetentionLine(300.0, 60.0, 0.0, 1.0, 0.2, 0.05, 50)
    shown = RunState(line=line) if is_timed else RunState(mass_error=MassError(0.5, 0.4, 0.05, 50))
    of_run, alone = (
        scoring.probabilities(scoring.final_scores(listed, state)) for state in (shown, RunState())
    )
    assert of_run is not None
    assert alone is not None
    assert of_run.log_odds_in_list == alone.log_odds_in_list
    assert np.argmax(of_run.given_in_list) == 1
    assert np.argmax(alone.given_in_list) == 0


@pytest.mark.parametrize("top", [1, 2, None])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.5, 0.7, 0.98])
def test_a_draft_gives_what_final_scores_give(
    annotator: Annotator, top: int | None, share: float
) -> None:
    """However the share moves measured candidates, those that come to the top were kept."""
    found = evidence([3.0, 0.0, -1.0, 0.0, 3.0, 0.0], [True, False, True, False, False, False])
    raw = found.raw.copy()
    raw[:, 0] += np.array([0.0, 2.0, 0.0, 2.0, 0.0, 1.0])
    elsewhere = np.array([False, False, False, False, True, True])
    found = weighted(raw, WEIGHTS, found.measured, elsewhere=elsewhere)
    listed = ListScores.of(found, 2)
    ranked = replace(scored([0.0] * 6), list_scores=listed)
    answer = shown(annotator, ranked, top, share)
    final = listed.at_shares(shares_at(share))
    order = np.lexsort((ranked.candidates.first_block, -final.scores))[:top]
    keys = ranked.candidates.inchikey[order].tolist()
    assert [row.inchikey for row in answer.annotations] == keys
    assert [row.score for row in answer.annotations] == final.scores[order].tolist()
    worst = [(final.scores >= score).sum() for score in final.scores[order]]
    assert [row.rank for row in answer.annotations] == worst


@pytest.mark.parametrize("height", [-900.0, 0.0, 900.0])
@pytest.mark.parametrize("top", [1, 2, 3, None])
def test_candidates_that_the_run_brings_to_the_top_were_kept(
    annotator: Annotator, top: int | None, height: float
) -> None:
    """However high all scores are: none below the reach of times and masses is kept."""
    rng, n_others = np.random.default_rng(2), len(EVIDENCE_KINDS) - 1
    found = weighted(
        np.column_stack(
            [height + rng.normal(size=40) - 50.0 * (np.arange(40) > 30), np.zeros((40, n_others))]
        ),
        WEIGHTS,
        np.arange(40) % 3 == 0,
        elution=Elution(400.0, rng.normal(size=40)),
        mass_errors=rng.normal(size=40),
    )
    listed = ListScores.of(found, 2)
    keys = np.array([f"{n:014d}-UHFFFAOYSA-N" for n in range(40)], dtype=object)
    text = np.full(40, "C", dtype=object)
    ranked = replace(
        scored([0.0] * 40),
        candidates=CandidateSet(text, np.full(40, 16.0), inchikey=keys, name=text, id=text),
        packed=np.zeros((40, 512), np.uint8),
        list_scores=listed,
    )
    line = RetentionLine(300.0, 60.0, 0.0, 1.0, 0.2, 0.05, 50)
    error = MassError(0.5, 0.4, 0.05, 50)
    scoring = replace(annotator.run_scoring, weights=WEIGHTS)
    kept = draft(annotator, ranked, top)
    assert (kept.rows.max() > 30) == (top is None)
    answer = kept.answer(scoring, RunState(shares_at(0.3), line, error), annotator)
    assert found.elution is not None
    assert found.mass_errors is not None
    times, masses = line.evidence(found.elution), error.evidence(found.mass_errors)
    final = listed.at_shares(shares_at(0.3), RunTerms(times, masses))
    order = np.argsort(-final.scores, kind="stable")[:top]
    assert [row.inchikey for row in answer.annotations] == keys[order].tolist()
    assert [row.score for row in answer.annotations] == final.scores[order].tolist()
    assert [row.terms[-2] for row in answer.annotations] == times[order].tolist()
    assert [row.terms[-1] for row in answer.annotations] == masses[order].tolist()


def test_only_a_report_is_explained(annotator: Annotator) -> None:
    ranked = scored([-2.0, -1.0])
    assert draft(annotator, ranked, 1, explained=False).explainer is None
    answer = shown(annotator, ranked, 1)
    assert answer.explanation is not None


def test_the_first_is_explained_against_the_second_though_one_is_shown(
    annotator: Annotator,
) -> None:
    ranked = scored([-2.0, -1.0, -1.5])
    answer = shown(annotator, ranked, 1)
    assert len(answer.annotations) == 1
    assert answer.explanation is not None
    assert answer.explanation.second is not None
    assert answer.explanation.second.inchikey == ranked.candidates.inchikey[2]
    assert answer.explanation.second.rank == 2
    lone = shown(annotator, scored([-2.0]), 1)
    assert lone.explanation is not None
    assert lone.explanation.second is None


@pytest.mark.parametrize("drawn", [False, True])
def test_structures_of_a_pool_are_parsed_if_a_table_does_not_have_all(
    annotator: Annotator, monkeypatch: pytest.MonkeyPatch, drawn: bool
) -> None:
    parsed: list[str] = []
    parse = Molecule.parse

    def counted(smiles: str, *, inchikey: str) -> Molecule:
        parsed.append(smiles)
        return parse(smiles, inchikey=inchikey)

    monkeypatch.setattr(Molecule, "parse", counted)
    present._parsed.cache_clear()
    one = scored([-1.0, -2.0, -3.0, -4.0])
    one.candidates.smiles[:] = ["CCO", "OCC", "CCN.Cl", "C("]
    one.candidates.formula = np.array(["C2H6O", "C2H6O", "C2H7N", "CH4"], object)
    keys = one.candidates.inchikey
    keys[1] = keys[1][:14]  # a table of structures may give first blocks only
    found = draft(annotator, one, None, explained=False, drawn=drawn)
    rows = {row.smiles: row for row in found.annotations}
    assert sorted(parsed) == (["C(", "CCN.Cl", "CCO", "OCC"] if drawn else ["CCN.Cl", "OCC"])
    assert {row.smiles: row.formula for row in found.annotations} == dict(
        zip(one.candidates.smiles, one.candidates.formula, strict=True)
    )
    assert rows["OCC"].inchikey == "LFQSCWFLJHTTHZ-UHFFFAOYSA-N"
    assert rows["CCO"].inchikey == keys[0]
    assert rows["CCN.Cl"].remarks == parse("CCN.Cl").notes
    assert (rows["CCO"].molecule is None) is not drawn
    assert rows["C("].molecule is None
