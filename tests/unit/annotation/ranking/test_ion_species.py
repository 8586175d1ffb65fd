"""Queries that state no adduct, with candidates of several."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from annotation_examples import ASPIRIN, CAFFEINE, tiny_annotator
from evidence_examples import weighted
from pool_files import write_pool
from ranking_examples import mgf, ranked, said, table

from specvae.annotation.evidence.defaults import EVIDENCE_KINDS
from specvae.annotation.evidence.ion_formation import FORMATION
from specvae.annotation.evidence.own_spectra import KnownShares
from specvae.annotation.library.ion_shares import COMMON_SPECIES, log_shares, parse_species
from specvae.annotation.library.query import Assumptions
from specvae.annotation.output.cells import rows
from specvae.annotation.output.parts import outcome_from_json, outcome_to_json
from specvae.annotation.ranking.annotator import Annotator
from specvae.annotation.ranking.candidates import CandidateSource
from specvae.annotation.ranking.present import Draft, draft
from specvae.annotation.ranking.result import Cause, Ranked, Unranked
from specvae.annotation.ranking.run_scoring import RunState
from specvae.errors import ConfigError
from specvae.molecules.fingerprint import get_layout
from specvae.report import ReadReport

HEAVIER = "NCC=CCNC(=O)c1nc(C)n(O)n1"
"""Caffeine and ammonia: its [M+H]+ has the mass of caffeine's [M+NH4]+."""

PEAKS = "138.066 10\n110.071 20"


@pytest.fixture(scope="module")
def annotator() -> Annotator:
    return tiny_annotator()


def source_of(tmp_path: Path, kind: str) -> CandidateSource:
    text = f"smiles\n{CAFFEINE}\n{HEAVIER}\n{ASPIRIN}\n"
    source = table(tmp_path / "c.csv", text)
    if kind == "table":
        return source
    layout = get_layout("morgan4096")
    write_pool(tmp_path / "c.csv", layout, tmp_path / "c.h5")
    return CandidateSource(tmp_path / "c.h5", layout, 10.0, ReadReport())


@pytest.mark.parametrize("kind", ["table", "pool"])
def test_each_candidate_has_the_adduct_of_its_mass(
    tmp_path: Path, annotator: Annotator, kind: str
) -> None:
    queries = mgf(tmp_path / "q.mgf", f"TITLE=a\nPEPMASS=212.1142\nIONMODE=positive\n{PEAKS}")
    tried = Assumptions.parse(tried="[M+NH4]+,[M+H]+")
    with source_of(tmp_path, kind) as source:
        (found,) = ranked(annotator, queries, source, assumed=tried)
        assert isinstance(found, Ranked)
        assert said(found) == "ok; adduct not stated, tried [M+H]+, [M+NH4]+"
        answer = draft(annotator, found, None).answer(annotator.run_scoring, RunState())
        cells = {str(row["formula"]): row for row in rows(answer)}
        shares = dict(zip(("C8H13N5O2", "C8H10N4O2"), log_shares(tried.tried), strict=True))
        assert cells.keys() == shares.keys()
        for formula, adduct in (("C8H13N5O2", "[M+H]+"), ("C8H10N4O2", "[M+NH4]+")):
            stated = f"TITLE=a\nPEPMASS=212.1142\nADDUCT={adduct}\n{PEAKS}"
            (alone,) = ranked(annotator, mgf(tmp_path / "s.mgf", stated), source)
            assert isinstance(alone, Ranked)
            row = cells[formula]
            assert (row["adduct"], row["n_candidates"]) == (adduct, 2)
            assert abs(float(row["error_ppm"] or 9.0)) < 3.0
            formation = FORMATION.get(adduct)
            typical = formation.typical if formation else 0.0
            expected = float(alone.scores[0]) + shares[formula] + typical
            assert float(row["score"] or 0.0) == pytest.approx(expected, abs=1e-5)


def test_parts_keep_the_adducts(tmp_path: Path, annotator: Annotator) -> None:
    queries = mgf(tmp_path / "q.mgf", f"TITLE=a\nPEPMASS=212.1142\n{PEAKS}")
    with source_of(tmp_path, "table") as source:
        (found,) = ranked(annotator, queries, source, assumed=Assumptions.parse(tried="common"))
    assert isinstance(found, Ranked)
    made = draft(annotator, found, None, explained=False)
    again = outcome_from_json(json.loads(json.dumps(outcome_to_json(made))), None)
    assert isinstance(again, Draft)
    scoring, run = annotator.run_scoring, RunState()
    assert [*rows(again.answer(scoring, run))] == [*rows(made.answer(scoring, run))]


@pytest.mark.parametrize(
    ("record", "adduct", "status"),
    [
        ("PEPMASS=195.0877\nADDUCT=[M+H]+", "[M+H]+", "ok"),
        ("PEPMASS=195.0877\nCHARGE=1+", "[M+H]+", "ok; adduct not stated, tried [M+H]+, [M+Na]+"),
        # Two charges agree with none of them: it is taken as it would be without.
        ("PEPMASS=98.0475\nCHARGE=2+", "[M+2H]2+", "ok; adduct taken as [M+2H]2+"),
        ("PEPMASS=193.0731\nIONMODE=negative", "[M-H]-", "ok; adduct taken as [M-H]-"),
    ],
)
def test_what_a_record_states_comes_first(
    tmp_path: Path, record: str, adduct: str, status: str
) -> None:
    annotator = tiny_annotator(("positive", "negative"))
    queries = mgf(tmp_path / "q.mgf", f"TITLE=a\n{record}\n{PEAKS}")
    with source_of(tmp_path, "table") as source:
        tried = Assumptions.parse(tried="[M+H]+,[M+Na]+,[M-H]-")
        (found,) = ranked(annotator, queries, source, assumed=tried)
    assert found.query is not None
    assert (found.query.adduct, said(found)) == (adduct, status)


def test_the_likeliest_is_taken_where_candidates_are_listed(
    tmp_path: Path, annotator: Annotator
) -> None:
    queries = mgf(tmp_path / "q.mgf", f"TITLE=a\nPEPMASS=195.0877\n{PEAKS}")
    source = table(tmp_path / "c.csv", f"query_id,smiles\na,{CAFFEINE}\na,{ASPIRIN}\n")
    (found,) = ranked(annotator, queries, source, assumed=Assumptions.parse(tried="common"))
    assert said(found) == "ok; adduct taken as [M+H]+"


def test_no_candidate_of_any(tmp_path: Path, annotator: Annotator) -> None:
    # A molecule of [M+K]+ would weigh less than nothing.
    queries = mgf(tmp_path / "q.mgf", f"TITLE=a\nPEPMASS=30.05\n{PEAKS}")
    with source_of(tmp_path, "table") as source:
        (found,) = ranked(annotator, queries, source, assumed=Assumptions.parse(tried="common"))
    assert isinstance(found, Unranked)
    assert found.refusal.cause is Cause.NONE_WITHIN


def test_species_are_named_in_any_order_and_the_most_frequent_comes_first() -> None:
    names = [ion.name for ion in parse_species("M+K, [M+H]1+,M+K")]
    assert names == ["[M+H]+", "[M+K]+"]
    common = parse_species("common")
    assert {ion.name for ion in common} == set(COMMON_SPECIES)
    shares = np.exp(log_shares(common))
    assert shares.sum() == pytest.approx(1.0)
    assert (np.diff(shares) <= 0.0).all()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"tried": "[M+H]+,nonsense"}, "adduct 'nonsense' is unknown"),
        ({"tried": "[M+2H]2+"}, "has several charges"),
        ({"tried": "[M+H]+", "ion_mode": "negative"}, "is of negative ion mode"),
        ({"tried": "[M+H]+", "adduct": "[M+Na]+"}, "exclude each other"),
    ],
)
def test_species_that_cannot_be_tried(arguments: dict[str, str], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        Assumptions.parse(**arguments)


def test_the_prior_stays_when_the_share_of_known_compounds_is_estimated() -> None:
    weights = dict.fromkeys(EVIDENCE_KINDS, 1.0)
    raw = np.arange(2.0 * len(EVIDENCE_KINDS)).reshape(2, -1)
    prior = np.log([0.75, 0.25])
    found = weighted(raw, weights, np.array([True, False]), prior=prior)
    assert found.scores == pytest.approx(raw.sum(axis=1) + prior + [np.log(0.8), 0.0])
    final = found.at_shares(KnownShares(0.8, 0.1))
    assert final.scores - found.scores == pytest.approx([np.log(8.0 / 0.8), 0.0])
