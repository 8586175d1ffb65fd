from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from annotation_examples import tiny_annotator, tiny_config
from ranking_examples import QUERY
from rdkit import Chem

from specvae.annotation.evidence.analogues import ANALOGUE_BINS, AnalogueIndex
from specvae.annotation.evidence.defaults import SCALE
from specvae.annotation.evidence.fragment_peaks import Peaks
from specvae.annotation.evidence.library_memory import LibraryMemory
from specvae.annotation.evidence.list_features import LIST_FEATURES
from specvae.annotation.evidence.pool import EvidencePool
from specvae.annotation.library.header import CalibrationFigures, StoredEvidence
from specvae.annotation.ranking.annotator import Annotator
from specvae.annotation.ranking.probability import ProbabilityModel, default_probability
from specvae.annotation.training.networks import bin_layout
from specvae.errors import CheckpointError
from specvae.molecules.fingerprint import unpack
from specvae.molecules.molecule import Molecule
from specvae.spectra.binning import BinLayout
from specvae.vae.checkpoint import save_checkpoint


@pytest.fixture(scope="module")
def annotator() -> Annotator:
    return tiny_annotator()


def test_a_query_without_ion_mode_is_explained_in_the_mode_that_the_model_knows() -> None:
    """Its fragments are scored and shown as the negative ions that its status names."""
    query = tiny_annotator(("negative",)).assign_ion(
        replace(QUERY, adduct=None, ion_mode=None, precursor_mz=193.0731)
    )
    assert query.remarks == ("adduct taken as [M-H]-",)
    assert Peaks.of(query.spectrum).sign == -1


def test_bits_that_tell_two_candidates_apart_are_named_by_their_own_atoms(
    annotator: Annotator,
) -> None:
    molecules = Molecule.parse("CCO"), Molecule.parse("CCN")
    packed = annotator.layout.compute(molecules)
    only = unpack(packed, annotator.layout.n_bits)
    first_alone, second_alone, both = (
        np.flatnonzero((only == np.array([[a], [b]])).all(axis=0))
        for a, b in ((1, 0), (0, 1), (1, 1))
    )
    logits = np.zeros(annotator.layout.n_bits)
    logits[first_alone[0]], logits[first_alone[1]], logits[second_alone[0]] = 3.0, -1.0, -2.0
    logits[both[0]] = 9.0  # says the same of both
    found = annotator.telling_bits(logits, (packed[0], packed[1]), molecules)
    assert [(e.bit, e.first_has_it) for e in found] == [
        (first_alone[0], True), (second_alone[0], False), (first_alone[1], True),
    ]  # fmt: skip
    # A bit that is not predicted speaks for the candidate without it.
    assert [e.gain for e in found] == pytest.approx([3.0, 2.0, -1.0])
    assert found[0].probability == pytest.approx(1 / (1 + np.exp(-3.0)))
    for bit in found:
        mol = molecules[0 if bit.first_has_it else 1].mol
        assert bit.places
        assert bit.fragment == Chem.MolFragmentToSmiles(mol, list(bit.places[0]))
        assert bit.title == f"Morgan environment {bit.bit}"


def test_other_fingerprints_are_refused() -> None:
    good = tiny_annotator()
    for key, value in (("probe_sha256", "0" * 64), ("version", 99), ("n_bits", 7)):
        fingerprint = replace(good.header.fingerprint, **{key: value})  # type: ignore[arg-type]
        header = replace(good.header, fingerprint=fingerprint)
        with pytest.raises(CheckpointError, match=key) as caught:
            Annotator(good.model, header, torch.device("cpu"))
        assert "\n" not in str(caught.value)


def test_probabilities_of_other_features_are_refused() -> None:
    good = tiny_annotator()
    numbers = (0.0,) * 5
    stored = ProbabilityModel(("f",), numbers, (1.0,) * 5, (0.0,) * 6, (0.0,) * 6).to_json()
    with pytest.raises(CheckpointError, match=r"found the features \('f',\), wanted some of \(\)"):
        Annotator(good.model, replace(good.header, probability=stored), torch.device("cpu"))


def test_probabilities_that_cannot_be_read_are_refused() -> None:
    good = tiny_annotator()
    with pytest.raises(CheckpointError, match=r"^calibration in the model's header: "):
        Annotator(good.model, replace(good.header, probability={"x": 1}), torch.device("cpu"))


def test_loading_gives_the_same_predictions(tmp_path: Path, annotator: Annotator) -> None:
    path = tmp_path / "model.safetensors"
    save_checkpoint(path, annotator.model, annotator.header)
    loaded = Annotator.load(path, "cpu")
    np.testing.assert_allclose(
        loaded.predict([QUERY]), annotator.predict([QUERY]), rtol=1e-4, atol=1e-6
    )
    assert loaded.bins == annotator.bins
    assert loaded.training_compounds == {"RYYVLZVUVIJVGH", "BSYNRYMUTXBXSQ"}


def test_a_model_of_something_else_is_refused(tmp_path: Path, annotator: Annotator) -> None:
    path = tmp_path / "model.safetensors"
    save_checkpoint(path, annotator.model)
    with pytest.raises(CheckpointError, match="not of spectra"):
        Annotator.load(path, "cpu")


def test_bins_of_the_header_are_those_of_the_model(annotator: Annotator) -> None:
    assert annotator.bins == bin_layout(tiny_config())
    assert annotator.embed([QUERY, QUERY]).shape == (2, 4)


def test_probabilities_of_fewer_features_are_taken_as_they_are() -> None:
    """Models written before the list had features of its library spectra keep their numbers."""
    names = LIST_FEATURES[:6]
    n = 4 + len(names)
    earlier = ProbabilityModel(
        names, (0.0,) * n, (1.0,) * n, (0.0,) * (n + 1), (0.5, *(0.0,) * n), 0.9, 3.0
    )
    nothing = AnalogueIndex.empty(ANALOGUE_BINS)
    pool = EvidencePool(LibraryMemory(nothing, [], [], np.zeros((0, 512), np.uint8)), {})
    good = tiny_annotator()
    header = replace(good.header, probability=earlier.to_json())
    found = Annotator(good.model, header, torch.device("cpu"), pool)
    # But short lists had no odds of their own then.
    shipped = default_probability().short_lists
    assert shipped is not None
    assert found.probability == replace(earlier, short_lists=shipped)


def test_calibration_of_evidence_as_it_was_computed_before_is_not_called_this_model_s_own() -> None:
    tiny = tiny_annotator()
    evidence = StoredEvidence(BinLayout(), "morgan4096", "", {}, (), (), SCALE)
    fitted = CalibrationFigures(1200, 400, 10.0, 0.25, 0.5, "pool.h5")
    header = replace(tiny.header, evidence=evidence, calibration=fitted)
    now = Annotator(tiny.model, header, tiny.device)
    assert now.calibration_source.startswith("by this model's own calibration")
    header = replace(header, evidence=replace(evidence, scale="nats"))
    old = Annotator(tiny.model, header, tiny.device)
    assert "comes with specvae: this model's own was fitted to" in old.calibration_source
