from __future__ import annotations

import numpy as np
import pytest
import torch
from annotation_examples import tiny_config
from bin_meanings import meaning

from specvae.annotation.library.tensors import (
    ANNOTATION_PATH,
    FINGERPRINT,
    SPECTRUM,
    empty_spectrum,
    sparse_rows,
)
from specvae.annotation.training.networks import (
    bin_layout,
    model_config,
    objective_config,
    optim_config,
)
from specvae.annotation.training.settings import preset_config
from specvae.errors import ConfigError
from specvae.molecules.fingerprint import get_layout
from specvae.settings import override
from specvae.spectra.spectrum import Spectrum
from specvae.vae.device import pick_device
from specvae.vae.kinds import MODEL_KINDS
from specvae.vae.model import MultimodalVAE


@pytest.mark.parametrize("kind", MODEL_KINDS)
def test_paper_preset_has_the_bins_and_nothing_beside(kind: str) -> None:
    config = preset_config("paper", kind)
    bins = bin_layout(config)
    assert bins.n_bins == bins.n_columns == 11_000
    model = model_config(config, bins, get_layout("svae2149"))
    sizes = {m.name: (m.n_features, m.n_context, m.likelihood) for m in model.modalities}
    assert sizes == {SPECTRUM: (11_000, 0, "gaussian"), FINGERPRINT: (2149, 0, "bernoulli")}
    assert model.n_latent == 300
    assert model.posterior == MODEL_KINDS[kind].posterior
    objective = objective_config(config)
    assert objective.loss == MODEL_KINDS[kind].loss
    assert objective.path_weights == {}
    optim = optim_config(config)
    assert (optim.clip_norm, optim.weight_averaging) == (None, None)


def test_paper_preset_has_the_paper_s_half_billion_parameters() -> None:
    config = preset_config("paper", "svae")
    with torch.device("meta"):
        model = MultimodalVAE(model_config(config, bin_layout(config), get_layout("svae2149")))
    # Tables A.8 and A.9 by hand, two encoders and a decoder of each modality; batch normalisation
    # has two numbers a unit.
    encoder = 11000 * 10000 + 10000 * 5000 + 5000 * 2048 + 2048 * 600 + 3 * (17048) + 600
    decoder = 300 * 3000 + 3000 * 5000 + 5000 * 10000 + 10000 * 11000 + 3 * 18000 + 11000
    bits_encoder = 2149 * 1024 + 1024 * 1000 + 1000 * 600 + 1024 + 1000 + 600
    bits_decoder = 300 * 500 + 500 * 1024 + 1024 * 2149 + 500 + 1024 + 2149
    assert model.n_parameters == 2 * (encoder + bits_encoder) + decoder + bits_decoder
    assert round(model.n_parameters / 1e6) == 530


def test_context_is_read_but_not_reconstructed() -> None:
    config = override(preset_config("small", "svae"), {"fingerprint": "morgan4096"})
    bins = bin_layout(config)
    spectrum, fingerprint = model_config(config, bins, get_layout("morgan4096")).modalities
    assert spectrum.n_features == 11_000
    assert spectrum.n_features + spectrum.n_context == bins.n_columns > 11_000
    assert (fingerprint.n_features, fingerprint.n_context) == (4096, 0)
    assert objective_config(config).path_weights == {ANNOTATION_PATH: 1.0}


def test_seed_and_schedule_reach_the_optimiser() -> None:
    config = tiny_config(seed=9, optim__epochs=4, optim__clip_norm=2.0)
    optim = optim_config(config)
    assert (optim.seed, optim.epochs, optim.clip_norm, optim.batch_size) == (9, 4, 2.0, 8)
    assert optim.weight_averaging == config.optim.weight_averaging > 0


def test_encoded_spectra_are_shared_not_copied() -> None:
    bins = bin_layout(tiny_config())
    spectrum = Spectrum(mz=np.array([50.0]), intensity=np.array([3.0]), query_id="q")
    matrix = bins.encode_many([spectrum, spectrum])
    rows = sparse_rows(matrix)
    assert len(rows) == 2
    matrix.values[0] = 42.0
    assert rows.values[0] == 42.0


def test_empty_spectrum_has_no_peak_and_knows_nothing() -> None:
    config = tiny_config()
    bins = bin_layout(config)
    rows = empty_spectrum(bins)
    assert len(rows) == 1
    columns = rows.columns.tolist()
    assert columns
    assert min(columns) >= bins.n_bins
    assert all("not known" in meaning(bins, column) for column in columns)
    model = MultimodalVAE(model_config(config, bins, get_layout("morgan4096"))).eval()
    assert model.posterior({SPECTRUM: rows}).mean.shape == (1, 4)


def test_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pick_device("auto") == pick_device("cpu") == torch.device("cpu")
    assert pick_device("cpu:1").type == "cpu"
    with pytest.raises(ConfigError, match="--device cuda"):
        pick_device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert pick_device("auto") == torch.device("cuda")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert pick_device("cuda:1") == torch.device("cuda", 1)
    with pytest.raises(ConfigError, match="device 'cuda:2': found 2 CUDA GPUs, counted from 0"):
        pick_device("cuda:2")
    for name in ("meta", "xla", "CPU"):
        with pytest.raises(ConfigError, match=f"device '{name}': wanted auto, cpu or cuda"):
            pick_device(name)
