"""Our JMVAE, MVAE and MMVAE against multivae's, on equal weights and equal noise."""

from __future__ import annotations

from importlib.util import find_spec

import pytest
import torch
from specvae_bench.paper.multivae_peer import Loop, peer_epoch_seconds, peer_loss, peer_model
from specvae_bench.speed.epochs import epoch_speed
from torch import Tensor

from specvae.errors import ConfigError
from specvae.vae.config import Modality, ModelConfig, ObjectiveConfig, OptimConfig
from specvae.vae.kinds import MODEL_KINDS
from specvae.vae.model import MultimodalVAE
from specvae.vae.networks import NetworkConfig
from specvae.vae.objective import loss

needs_multivae = pytest.mark.skipif(
    find_spec("multivae") is None, reason="multivae (the extra 'peers') is not installed"
)
LAYERS = NetworkConfig(hidden=(7,))


def _model(
    kind: str,
    likelihoods: tuple[str, str] = ("bernoulli", "bernoulli"),
    names: tuple[str, ...] = ("top", "bottom"),
    **options: object,
) -> MultimodalVAE:
    torch.manual_seed(1)
    first, second = likelihoods
    modalities = (
        Modality("top", 6, LAYERS, LAYERS, first, scale=0.7),  # type: ignore[arg-type]
        Modality("bottom", 5, LAYERS, LAYERS, second, scale=0.4),  # type: ignore[arg-type]
    )
    posterior = MODEL_KINDS[kind].posterior
    chosen = tuple(modality for modality in modalities if modality.name in names)
    config = ModelConfig(chosen, 4, posterior=posterior, **options)  # type: ignore[arg-type]
    return MultimodalVAE(config).double()


def _batch() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(2)
    return {
        "top": torch.rand(9, 6, generator=generator, dtype=torch.float64),
        "bottom": torch.rand(9, 5, generator=generator, dtype=torch.float64),
    }


def _gradients(model: MultimodalVAE, value: Tensor) -> dict[str, Tensor]:
    model.zero_grad()
    value.backward()  # type: ignore[no-untyped-call]
    gradients = {}
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, f"{name} has no gradient"
        gradients[name] = parameter.grad.clone()
    return gradients


def _assert_agree(model: MultimodalVAE, objective: ObjectiveConfig, value_too: bool = True) -> None:
    peer = peer_model(model, objective)
    x = {name: value for name, value in _batch().items() if name in model.config.names}
    torch.manual_seed(3)
    ours = loss(model, x, {}, objective).total
    torch.manual_seed(3)
    theirs = peer_loss(peer, x)
    if value_too:
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=0.0)
    gradients = _gradients(model, ours)
    for name, other in _gradients(model, theirs).items():
        assert other.abs().max() > 0.0, name
        torch.testing.assert_close(gradients[name], other, rtol=1e-7, atol=1e-12)


@needs_multivae
@pytest.mark.parametrize(
    ("kind", "n_samples"), [("jmvae", 1), ("mvae", 1), ("mmvae-iwae", 1), ("mmvae-iwae", 5)]
)
def test_objective_and_gradient_agree_with_multivae(kind: str, n_samples: int) -> None:
    _assert_agree(_model(kind), ObjectiveConfig(MODEL_KINDS[kind].loss, n_samples=n_samples))


@needs_multivae
def test_dreg_gradient_of_one_modality_agrees_with_multivae() -> None:
    # Its value is a surrogate; the gradient is what both are about.
    _assert_agree(_model("mmvae", names=("top",)), ObjectiveConfig("dreg", n_samples=4), False)


@needs_multivae
def test_dreg_gradient_of_two_agrees_with_multivae_in_the_decoders_only() -> None:
    # multivae squares the weights, as published, which for a mixture is another gradient.
    model, objective = _model("mmvae"), ObjectiveConfig("dreg", n_samples=4)
    peer = peer_model(model, objective)
    torch.manual_seed(3)
    ours = _gradients(model, loss(model, _batch(), {}, objective).total)
    torch.manual_seed(3)
    theirs = _gradients(model, peer_loss(peer, _batch()))
    for name, gradient in ours.items():
        agree = torch.allclose(gradient, theirs[name], rtol=1e-7, atol=1e-12)
        assert agree == name.startswith("decoders"), name


@needs_multivae
@pytest.mark.parametrize("kind", ["jmvae", "mvae", "mmvae-iwae"])
def test_weights_likelihoods_and_variances_carry_over(kind: str) -> None:
    beta = 1.0 if kind == "mmvae-iwae" else 0.3
    objective = ObjectiveConfig(
        MODEL_KINDS[kind].loss, modality_weights={"top": 2.5}, beta=beta, alpha=0.2
    )
    _assert_agree(_model(kind, ("gaussian", "laplace"), variance="softplus_sd"), objective)


@needs_multivae
def test_peer_trains_our_modules() -> None:
    model = _model("mvae").float()
    objective = ObjectiveConfig("mvae")
    x = {name: value.float() for name, value in _batch().items()}
    optim = OptimConfig(epochs=2, batch_size=4, learning_rate=0.05)
    peer = peer_model(model, objective)
    loops: tuple[Loop, ...] = ("trainer", "raw")
    for loop in loops:
        before = {name: value.clone() for name, value in model.state_dict().items()}
        seconds = peer_epoch_seconds(peer, x, optim, loop)
        assert len(seconds) == 2
        assert all(not torch.equal(before[n], value) for n, value in model.state_dict().items())


@needs_multivae
@pytest.mark.parametrize(
    ("kind", "objective", "lacking"),
    [
        ("svae", ObjectiveConfig("new"), "loss 'new' on posterior 'product'"),
        ("jmvae", ObjectiveConfig("jmvae", n_samples=2), "several samples"),
        ("mmvae", ObjectiveConfig("dreg", beta=0.5), "beta other than 1"),
        ("mvae", ObjectiveConfig("mvae", beta_warmup_epochs=1.0), "beta warm-up"),
    ],
)
def test_what_multivae_lacks_is_refused(
    kind: str, objective: ObjectiveConfig, lacking: str
) -> None:
    with pytest.raises(ConfigError, match=f"multivae has no counterpart: {lacking}"):
        peer_model(_model(kind), objective)


@pytest.mark.skipif(find_spec("multivae") is not None, reason="multivae is installed")
def test_without_multivae_one_line_says_how_to_get_it() -> None:
    with pytest.raises(
        ConfigError, match=r"multivae is not installed; pip install 'specvae\[peers"
    ):
        peer_model(_model("jmvae"), ObjectiveConfig("jmvae"))


def test_epoch_speed_measures_ours_and_the_peer_where_it_is_there() -> None:
    pixels = torch.randint(0, 256, (12, 28, 28), dtype=torch.uint8)
    threads = torch.get_num_threads()
    figures = epoch_speed(1, pixels, n_pairs=12, batch_size=6)
    assert torch.get_num_threads() == threads
    assert figures["data"] == "given images"
    for case in ("jmvae", "mvae", "mmvae-iwae-1", "mmvae-dreg-10"):
        assert figures[case]["specvae_seconds"] > 0.0
        assert ("multivae_trainer_over_specvae" in figures[case]) == (
            find_spec("multivae") is not None
        )
    assert figures["svae"].keys() >= {"specvae_seconds"}
