from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from annotation_examples import tiny_annotator, tiny_config
from ranking_examples import QUERY

from specvae.annotation.evidence.fragments import Peaks
from specvae.annotation.ranking.annotator import Annotator
from specvae.annotation.ranking.probability import ProbabilityModel
from specvae.annotation.training.networks import bin_layout
from specvae.errors import CheckpointError
from specvae.vae.checkpoint import save_checkpoint


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPECVAE_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def annotator() -> Annotator:
    return tiny_annotator()


def test_a_query_without_ion_mode_is_explained_in_the_mode_that_the_model_knows() -> None:
    """Its fragments are scored and shown as the negative ions that its status names."""
    query = tiny_annotator(("negative",)).settle(
        replace(QUERY, adduct=None, ion_mode=None, precursor_mz=193.0731)
    )
    assert query.remarks == ("adduct taken as [M-H]-",)
    assert Peaks.of(query.spectrum).sign == -1


def test_the_loudest_bits_are_what_the_spectrum_moved(annotator: Annotator) -> None:
    logits = annotator.blind_logits.copy()
    logits[7] += 5.0
    logits[11] -= 2.0
    bits = np.zeros(4096, np.uint8)
    bits[7] = 1
    loudest = annotator.loudest_bits(logits, np.packbits(bits, bitorder="little"))
    assert {(e.bit, e.present) for e in loudest[:2]} == {(7, True), (11, False)}
    assert loudest[0].probability == pytest.approx(1 / (1 + np.exp(-logits[loudest[0].bit])))


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
    with pytest.raises(CheckpointError, match=r"found the features \('f',\), wanted \(\)"):
        Annotator(good.model, replace(good.header, probability=stored), torch.device("cpu"))


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
