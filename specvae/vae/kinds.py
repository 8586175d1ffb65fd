"""The model family by name: which posteriors go with which objective (without torch)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

PosteriorKind = Literal[
    "product", "product_own", "joint", "joint_full", "mixture", "mixture_of_products", "bridge"
]
LossKind = Literal["new", "vaevae", "jmvae", "mvae", "mvtcae", "elbo", "iwae", "dreg"]


@dataclass(frozen=True, slots=True)
class Kind:
    """A member of the family.

    Attributes
    ----------
    posterior
        See :class:`~specvae.vae.config.ModelConfig`.
    loss
        See :class:`~specvae.vae.config.ObjectiveConfig`.
    learns_from_unpaired
        Whether the objective has terms for examples of which one modality was observed.
    n_samples
        Default number of codes for each expectation.
    """

    posterior: PosteriorKind
    loss: LossKind
    learns_from_unpaired: bool = True
    n_samples: int = 1


MODEL_KINDS: Mapping[str, Kind] = {
    "svae": Kind("product", "new"),
    "svae-star": Kind("product", "vaevae"),
    "vaevae": Kind("joint", "vaevae"),
    "vaevae-star": Kind("joint", "new"),
    "vaevae-a": Kind("product_own", "vaevae"),
    "jmvae": Kind("joint_full", "jmvae", learns_from_unpaired=False),
    "mvae": Kind("product_own", "mvae"),
    "mmvae": Kind("mixture", "dreg", n_samples=10),
    "mmvae-iwae": Kind("mixture", "iwae", n_samples=10),
    "mopoe": Kind("mixture_of_products", "elbo"),
    "mvtcae": Kind("product_own", "mvtcae", learns_from_unpaired=False),
    "bridged": Kind("bridge", "vaevae"),
}
