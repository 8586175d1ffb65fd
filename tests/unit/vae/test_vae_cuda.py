"""The same numbers on a GPU as on the CPU; skipped where there is no GPU."""

from __future__ import annotations

import copy

import pytest
import torch
from specvae_bench.gpu import equality
from vae_examples import gaussian, random_rows, small_model, small_source

from specvae.vae.config import Modality, ModelConfig, ObjectiveConfig, OptimConfig
from specvae.vae.data import TrainingData
from specvae.vae.kinds import MODEL_KINDS
from specvae.vae.model import MultimodalVAE
from specvae.vae.networks import NetworkConfig
from specvae.vae.objective import loss
from specvae.vae.training import fit

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU")


@pytest.mark.parametrize("posterior", ["product", "joint"])
def test_posteriors_likelihoods_and_gradients_agree(posterior: str) -> None:
    layers = NetworkConfig(hidden=(32,))
    config = ModelConfig(
        (
            Modality("s", 200, layers, layers, likelihood="gaussian", n_context=20, sparse=True),
            Modality("f", 60, layers, layers),
        ),
        n_latent=8,
        posterior=posterior,  # type: ignore[arg-type]
    )
    torch.manual_seed(0)
    here = MultimodalVAE(config).eval()
    there = copy.deepcopy(here).cuda()
    spectra, bits = random_rows(16, 220), (torch.rand(16, 60) > 0.5).float()
    for given in (["s"], ["f"], ["s", "f"]):
        ours = gaussian(here, {"s": spectra, "f": bits}, given)
        theirs = gaussian(there, {"s": spectra.to("cuda"), "f": bits.cuda()}, given)
        torch.testing.assert_close(theirs.mean.cpu(), ours.mean, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(theirs.logvar.cpu(), ours.logvar, rtol=1e-4, atol=1e-5)
        for name, x in (("s", spectra.first_columns(200)), ("f", bits)):
            wanted = here.likelihood(ours.mean, name).log_prob(x)
            found = there.likelihood(ours.mean.cuda(), name).log_prob(x.to("cuda"))
            torch.testing.assert_close(found.cpu(), wanted, rtol=1e-4, atol=1e-3)
            wanted.sum().backward(retain_graph=True)  # type: ignore[no-untyped-call]
            found.sum().backward(retain_graph=True)  # type: ignore[no-untyped-call]
    for name, parameter in here.named_parameters():
        if parameter.grad is not None and name.startswith("decoders"):
            found_grad = there.get_parameter(name).grad
            assert found_grad is not None
            torch.testing.assert_close(found_grad.cpu(), parameter.grad, rtol=1e-3, atol=1e-3)


def test_training_runs_and_reaches_the_cpu_s_loss() -> None:
    optim = OptimConfig(epochs=30, batch_size=16, learning_rate=3e-3)
    reached = {}
    for device in ("cpu", "cuda"):
        model = small_model()
        history = fit(
            model, TrainingData(small_source(64)), optim, ObjectiveConfig(), device=device
        )
        reached[device] = history.epochs[-1].total
    # Samples of z differ between devices: the losses agree within their noise.
    assert reached["cuda"] == pytest.approx(reached["cpu"], rel=0.1)


def test_bfloat16_loss_is_close() -> None:
    model = small_model().cuda().eval()
    batch = {name: x.to("cuda") for name, x in small_source(64).batch(torch.arange(64)).items()}
    generator = torch.Generator("cuda")
    losses = []
    for enabled in (False, True):
        generator.manual_seed(1)
        with torch.autocast("cuda", torch.bfloat16, enabled=enabled):
            terms = loss(model, batch, {}, ObjectiveConfig(), generator=generator)
        losses.append(terms.total.item())
    assert losses[1] == pytest.approx(losses[0], rel=0.02)


@pytest.mark.parametrize("kind", list(MODEL_KINDS))
@pytest.mark.parametrize("name", list(equality.EXPERIMENTS))
def test_losses_and_every_gradient_agree(name: str, kind: str) -> None:
    found = equality.compare(equality.EXPERIMENTS[name](), kind, torch.device("cuda"))
    assert found["loss"] < 1e-5
    # Where the sign of a unit flips by rounding, a gradient of the captions' networks jumps.
    assert found["gradient"] < (1e-2 if name == "cub-captions" else 1e-4)
    assert found["tf32_loss"] < 1e-4
    assert found["bf16_loss"] < 1e-3


@pytest.mark.parametrize("kind", ["svae", "vaevae"])
@pytest.mark.parametrize("name", ["spectra", "mnist-split"])
def test_recorded_and_resumed_runs_end_like_plain_ones(name: str, kind: str) -> None:
    found = equality.compare_runs(equality.EXPERIMENTS[name](), kind, torch.device("cuda"))
    assert found["notes"] == ["training step recorded as a CUDA graph"]
    # Convolutions add up in no fixed order: two plain runs differ too, at times by a thousandth.
    allowed = 1e-2 * found["moved"] if name == "mnist-split" else 0.0
    assert found["recorded"] <= allowed
    assert found["resumed"] <= allowed
