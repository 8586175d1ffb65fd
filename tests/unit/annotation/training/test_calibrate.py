from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from annotation_examples import spectrum_of, tiny_annotator

from specvae.annotation.evidence.analogues import ANALOGUE_BINS
from specvae.annotation.evidence.list_features import LIST_FEATURES
from specvae.annotation.evidence.pool import EVIDENCE_KINDS, EvidencePool, fit_weights
from specvae.annotation.evidence.remembered import ANALOGUE_FINGERPRINT
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


def test_weights_are_found_that_made_the_truths() -> None:
    """Truths are drawn from the softmax of a weighted sum: its weights come back."""
    rng = np.random.default_rng(0)
    wanted = np.array([0.5, 1.5, 0.0, 1.0])
    raw, truth = [], []
    for _ in range(3000):
        of_query = rng.normal(size=(8, len(EVIDENCE_KINDS)))
        scores = of_query @ wanted
        p = np.exp(scores - scores.max())
        raw.append(of_query)
        truth.append(int(rng.choice(8, p=p / p.sum())))
    found = fit_weights(raw, truth, np.ones(len(raw)))
    assert list(found) == list(EVIDENCE_KINDS)
    np.testing.assert_allclose(list(found.values()), wanted, atol=0.12)
    assert found["library"] == 1.0


def test_what_misleads_gets_no_weight() -> None:
    rng = np.random.default_rng(1)
    raw = [rng.normal(size=(5, len(EVIDENCE_KINDS))) for _ in range(200)]
    truth = [int(of_query[:, 1].argmin()) for of_query in raw]
    assert fit_weights(raw, truth, np.ones(200))["analogues"] < 0.02


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


def test_the_default_is_of_the_same_features() -> None:
    assert default_probability().feature_names == LIST_FEATURES
