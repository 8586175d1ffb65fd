from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from annotation_examples import spectrum_of, tiny_annotator
from evidence_examples import weighted
from numpy.typing import NDArray

from specvae.annotation.evaluation.hits import TruthRank
from specvae.annotation.evidence.analogues import ANALOGUE_BINS
from specvae.annotation.evidence.defaults import EVIDENCE_KINDS, defaults
from specvae.annotation.evidence.list_features import LIST_FEATURES
from specvae.annotation.evidence.listwise import fit_listwise, refit_listwise
from specvae.annotation.evidence.pool import EvidencePool
from specvae.annotation.evidence.remembered import ANALOGUE_FINGERPRINT
from specvae.annotation.evidence.weighted import fit_weights
from specvae.annotation.library.library import Library
from specvae.annotation.ranking.annotator import Annotator
from specvae.annotation.ranking.candidates import CandidateSource
from specvae.annotation.ranking.probability import default_probability
from specvae.annotation.training import calibrate as module
from specvae.annotation.training.calibrate import calibrate
from specvae.molecules.fingerprint import fingerprints, get_layout
from specvae.molecules.molecule import parse_molecule
from specvae.report import ReadReport
from specvae.spectra.binning import BinLayout

ALCOHOLS = ["CCCCO", "CCC(C)O", "CC(C)CO", "CCOCC", "CCCOC", "CC(C)OC"]
ACIDS = ["CCCC(=O)O", "CC(C)C(=O)O", "CCOC(C)=O", "COC(=O)CC", "CCCOC=O"]


def _lists(
    n: int, wanted: Sequence[float], seed: int = 0
) -> tuple[list[NDArray[np.float64]], list[int]]:
    """Return evidence of n lists, and truths drawn from the softmax of a weighted sum of it."""
    rng = np.random.default_rng(seed)
    raw, truth = [], []
    for _ in range(n):
        of_query = rng.normal(size=(8, len(EVIDENCE_KINDS)))
        scores = of_query @ np.array(wanted)
        p = np.exp(scores - scores.max())
        raw.append(of_query)
        truth.append(int(rng.choice(8, p=p / p.sum())))
    return raw, truth


def test_weights_are_found_that_made_the_truths() -> None:
    wanted = (0.5, 1.5, 0.0, 1.0, 0.3)
    raw, truth = _lists(3000, wanted)
    found = fit_listwise(raw, truth, np.ones(len(raw)), n_positive=len(wanted))
    np.testing.assert_allclose(found, wanted, atol=0.12)


def test_what_misleads_gets_no_weight() -> None:
    rng = np.random.default_rng(1)
    raw = [rng.normal(size=(5, len(EVIDENCE_KINDS))) for _ in range(200)]
    truth = [int(of_query[:, 1].argmin()) for of_query in raw]
    assert fit_listwise(raw, truth, np.ones(200), n_positive=len(EVIDENCE_KINDS))[1] < 0.02


def test_refitted_weights_are_as_near_the_earlier_ones_as_these_are_trusted() -> None:
    wanted, earlier = (0.5, 1.5, 0.6, 1.0, 0.3), (1.0,) * 5
    raw, truth = _lists(2000, wanted)

    def refitted(strength: float) -> NDArray[np.float64]:
        found = refit_listwise(raw, truth, np.ones(len(raw)), earlier, [strength] * 5)
        return np.array(found)

    np.testing.assert_allclose(refitted(0.0), wanted, atol=0.12)
    np.testing.assert_allclose(refitted(1e6), earlier, atol=0.01)
    distances = [np.abs(refitted(strength) - 1.0) for strength in (0.0, 100.0, 1000.0)]
    assert (distances[0] > distances[1]).all()
    assert (distances[1] > distances[2]).all()


def test_own_compounds_that_nobody_knows_do_not_cost_the_known_ones() -> None:
    """Where fragments alone find the truths, a fit to these alone would outweigh own spectra."""
    rng = np.random.default_rng(2)
    raw = [rng.normal(size=(6, len(EVIDENCE_KINDS))) for _ in range(100)]
    for of_query in raw:
        of_query[:, EVIDENCE_KINDS.index("library")] = 0.0
    truth = [int(of_query[:, 2].argmax()) for of_query in raw]
    own = dict(zip(EVIDENCE_KINDS, fit_listwise(raw, truth, np.ones(100)), strict=True))
    nobody = np.zeros(6, np.bool_)
    evidence = [weighted(of_query, defaults().weights, nobody) for of_query in raw]
    found = fit_weights(evidence, truth, np.ones(100))
    assert list(found) == list(EVIDENCE_KINDS)
    assert found["library"] == 1.0
    # A known compound, whose spectra the library has, and an isomer that explains more peaks.
    known = np.array([[0.0, 0.0, -3.0, 3.2, 0.0], [0.0] * 5])
    measured = np.array([True, False])

    def first(weights: Mapping[str, float]) -> int:
        return int(weighted(known, weights, measured).scores.argmax())

    assert first(defaults().weights) == first(found) == 0
    assert first({**own, "library": 1.0}) == 1
    assert found["fragments"] > defaults().weights["fragments"]


def test_a_user_s_weights_are_fitted_at_the_shares_by_which_candidates_are_ranked() -> None:
    """Candidates of the other ion mode start lower by their share: that is not for fragments."""
    rng = np.random.default_rng(4)
    weights = defaults().weights
    library = EVIDENCE_KINDS.index("library")
    elsewhere = np.array([True, True, False, False, False, False])
    evidence, truth = [], []
    for _ in range(4000):
        raw = rng.normal(size=(6, len(EVIDENCE_KINDS)))
        raw[:, [0, library]] = 0.0
        found = weighted(raw, weights, np.zeros(6, np.bool_), elsewhere=elsewhere)
        chances = np.exp(found.scores - found.scores.max())
        truth.append(int(rng.choice(6, p=chances / chances.sum())))
        evidence.append(found)
    fitted = fit_weights(evidence, truth, np.ones(len(truth)))
    for kind in ("analogues", "fragments"):
        assert fitted[kind] == pytest.approx(weights[kind], rel=0.05)


@pytest.fixture
def annotator() -> Annotator:
    library = Library.from_spectra(
        [spectrum_of("CCCCCO", 43.05, 71.08), spectrum_of("CCCCC(=O)O", 57.07, 85.06)],
        BinLayout(max_mz=300.0),
        ReadReport(),
        peaks=ANALOGUE_BINS,
    )
    annotator = tiny_annotator()
    packed = fingerprints(
        [m.smiles for m in library.molecules], get_layout(ANALOGUE_FINGERPRINT), n_jobs=1
    )
    annotator.evidence_pool = EvidencePool.from_library(library, np.arange(2), packed)
    return annotator


def test_calibration_is_of_the_compounds_held_out(
    annotator: Annotator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    structures = tmp_path / "structures.csv"
    structures.write_text("smiles\n" + "\n".join(ALCOHOLS + ACIDS[:-1]) + "\n", encoding="utf-8")
    queries = [spectrum_of(smiles, 43.05, 57.07) for smiles in ALCOHOLS + ACIDS]
    blocks = [parse_molecule(smiles).first_block for smiles in ALCOHOLS + ACIDS]
    source = CandidateSource(structures, annotator.layout, 10.0, ReadReport())
    assert calibrate(annotator, queries, blocks, source, n_jobs=1) is None
    monkeypatch.setattr(module, "FEWEST_COMPOUNDS", 5)
    found = calibrate(annotator, queries, blocks, source, n_jobs=1)
    assert found is not None
    # The last acid is not among the structures.
    assert found.figures.n_queries == found.figures.n_compounds == 10
    assert set(found.weights) == set(EVIDENCE_KINDS)
    assert found.probability.feature_names == LIST_FEATURES
    # Unknown compounds alone do not show which lists hold their truth.
    assert found.probability.in_list == default_probability().in_list
    places = iter(range(10))
    monkeypatch.setattr(
        module, "rank_of_truth", lambda block, *_: TruthRank(block, next(places), 1, 12)
    )
    again = calibrate(annotator, queries, blocks, source, n_jobs=1)
    assert again is not None
    assert (again.figures.hit_at_1, again.figures.hit_at_5) == (0.1, 0.5)


def test_the_default_is_of_the_same_features() -> None:
    assert default_probability().feature_names == LIST_FEATURES
