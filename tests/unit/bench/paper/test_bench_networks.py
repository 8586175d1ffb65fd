"""The paper's networks have the sizes of appendix A, as far as its tables can be built."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from specvae_bench.paper.experiments import (
    Experiment,
    cub_captions,
    dense,
    mnist_captions,
    mnist_colour,
    mnist_split,
    mnist_split_3,
    mnist_svhn,
)

from specvae.vae.config import ObjectiveConfig
from specvae.vae.kinds import MODEL_KINDS
from specvae.vae.model import MultimodalVAE
from specvae.vae.objective import loss


def captions() -> Experiment:
    return cub_captions(1590)


def small_captions() -> Experiment:
    return cub_captions(30)


def small_sentences() -> Experiment:
    return mnist_captions(30)


def model(experiment: Experiment, kind: str) -> MultimodalVAE:
    with torch.device("meta"):
        return MultimodalVAE(experiment.model_config(kind))


def small_split() -> Experiment:
    return dense(mnist_split())


def n_numbers(*modules: torch.nn.Module) -> int:
    return sum(parameter.numel() for module in modules for parameter in module.parameters())


def subset_sizes(vae: MultimodalVAE) -> dict[str, int]:
    """Numbers behind the posterior of each subset: bodies, the layer that joins them, head."""
    nets = vae.posteriors
    sizes = {}
    for key in nets.heads:
        bodies = [nets.bodies[f"{name}->{key}"] for name in key.split("+")]
        joins = [vae.get_submodule(f"posteriors.joins.{key}")] if len(bodies) > 1 else []
        sizes[key] = n_numbers(*bodies, *joins, nets.heads[key])
    return sizes


@pytest.mark.parametrize(
    ("experiment", "encoders", "decoders"),
    [
        (mnist_split, {"top": 1_115_776, "bottom": 1_115_776, "top+bottom": 2_165_376},
         {"top": 208_645, "bottom": 208_645}),
        (mnist_split_3,
         {
             **dict.fromkeys(("top", "middle", "bottom"), 1_115_776),
             **dict.fromkeys(("top+middle", "top+bottom", "middle+bottom"), 2_165_376),
             "top+middle+bottom": 3_214_976,
         },
         dict.fromkeys(("top", "middle", "bottom"), 169_445)),
        (mnist_svhn, {"mnist": 330_040, "svhn": 247_560, "mnist+svhn": 1_331_240},
         {"mnist": 322_784, "svhn": 206_563}),
        # The head of the text encoder has biases; the published one's two convolutions have none.
        (captions, {"image": 2_787_200, "text": 762_048 + 128, "image+text": 4_500_032},
         {"image": 2_772_736, "text": 632_566}),
        (small_split, {"top": 208_528, "bottom": 208_528, "top+bottom": 790_176},
         {"top": 183_192, "bottom": 183_192}),
    ],
)  # fmt: skip
def test_networks_have_the_sizes_of_the_appendix(
    experiment: Callable[[], Experiment], encoders: dict[str, int], decoders: dict[str, int]
) -> None:
    vae = model(experiment(), "vaevae")
    assert subset_sizes(vae) == encoders
    assert {name: n_numbers(decoder) for name, decoder in vae.decoders.items()} == decoders
    assert vae.n_parameters == sum(encoders.values()) + sum(decoders.values())
    # A product has the single networks, once for each modality that they speak for.
    names = list(decoders)
    svae = model(experiment(), "svae")
    singles = sum(encoders[name] for name in names)
    assert svae.n_parameters == len(names) * singles + sum(decoders.values())


def test_encoders_of_the_split_experiments_in_all() -> None:
    # The paper's totals: 4.46 and 4.40 million for two parts, 10.04 and 13.06 for three.
    sizes = [
        n_numbers(model(experiment, kind).posteriors)
        for experiment in (mnist_split(), mnist_split_3())
        for kind in ("svae", "vaevae")
    ]
    assert sizes == [4_463_104, 4_396_928, 10_041_984, 13_058_432]


def test_stand_ins_have_the_networks_of_what_they_stand_for() -> None:
    svhn, colour = mnist_svhn(), mnist_colour()
    assert [m.encoder for m in colour.modalities] == [m.encoder for m in svhn.modalities]
    assert n_numbers(model(colour, "svae")) == n_numbers(model(svhn, "svae"))
    ours, theirs = mnist_captions(70).modalities[1], cub_captions(70).modalities[1]
    assert ours == theirs
    assert mnist_captions(70).modalities[0].encoder == svhn.modalities[0].encoder


@pytest.mark.parametrize("kind", MODEL_KINDS)
@pytest.mark.parametrize(
    "experiment",
    [mnist_split, mnist_split_3, small_split, mnist_svhn, small_captions, small_sentences],
)
def test_each_kind_takes_a_batch_of_each_experiment(
    experiment: Callable[[], Experiment], kind: str
) -> None:
    chosen = experiment()
    torch.manual_seed(0)
    vae = MultimodalVAE(chosen.model_config(kind))
    x = {
        modality.name: torch.randint(0, modality.n_classes, (3, modality.n_features))
        if modality.n_classes
        else torch.rand(3, modality.n_features)
        for modality in chosen.modalities
    }
    objective = ObjectiveConfig(MODEL_KINDS[kind].loss, chosen.modality_weights)
    terms = loss(vae, x, {}, objective)
    assert bool(terms.total.isfinite())
    z = vae.eval().posterior(x, [chosen.modalities[0].name]).mean
    assert z.shape == (3, chosen.n_latent)
    for modality in chosen.modalities:
        mean = vae.likelihood(z, modality.name).mean
        assert mean.shape[:2] == (3, modality.n_features)
