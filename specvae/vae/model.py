"""The multimodal VAE: posterior given any subset of its modalities, and likelihoods.

One class for all kinds. Kutuzova et al., "Multimodal Variational Autoencoders for Semi-Supervised
Learning: In Defense of Product-of-Experts", gives the formulas for two modalities (eqs 3-5, 11-13)
and for more (eqs 29-38); other kinds name their source where they are defined.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import cast

import torch
import torch.nn.functional as F  # noqa: N812 (the customary name)
from torch import Tensor, nn

from specvae.errors import ConfigError
from specvae.vae.config import Modality, ModelConfig
from specvae.vae.distributions import (
    Bernoulli,
    Categorical,
    Gaussian,
    Laplace,
    Likelihood,
    Posterior,
    SparseGaussian,
    at_least_float32,
    standard_normal,
)
from specvae.vae.networks import (
    Input,
    SparseRows,
    decoder_body,
)
from specvae.vae.posteriors import POSTERIORS, Batches, Encodings


class Decoder(nn.Module):
    """Latent codes to the likelihood of one modality."""

    def __init__(self, modality: Modality, n_latent: int) -> None:
        super().__init__()
        self.modality = modality
        self.body = decoder_body(n_latent, modality.decoder)
        width = self.body.n_outputs
        self.output: nn.Module
        if modality.likelihood == "categorical":
            if width % modality.n_features:
                raise ConfigError(
                    f"modality {modality.name}: the decoder gives {width} numbers, wanted a "
                    f"multiple of its {modality.n_features} tokens"
                )
            self.output = nn.Linear(width // modality.n_features, modality.n_classes)
        elif modality.decoder.convolutions:
            if width != modality.n_features:
                raise ConfigError(
                    f"modality {modality.name}: the decoder's convolutions give {width} numbers, "
                    f"wanted {modality.n_features}"
                )
            self.output = nn.Identity()
        else:
            self.output = nn.Linear(width, modality.n_features)

    @torch.no_grad()
    def start_at(self, mean: Tensor) -> None:
        """Set the last layer's bias so that an untrained decoder gives `mean`, (n_features,).

        Raises
        ------
        ConfigError
            If the last layer has no bias for each feature.
        """
        if not isinstance(self.output, nn.Linear) or self.modality.n_classes:
            raise ConfigError(
                f"modality {self.modality.name}: its decoder has no bias for each feature"
            )
        if self.modality.likelihood == "bernoulli":
            mean = torch.logit(mean, eps=1e-3)
        self.output.bias.copy_(mean)

    def forward(self, z: Tensor) -> Likelihood:
        """Return p(x | z) for z (..., batch, n_latent)."""
        modality, hidden = self.modality, self.body(z)
        if modality.likelihood == "categorical":
            places = hidden.unflatten(-1, (modality.n_features, -1))
            return Categorical(at_least_float32(self.output(places)), modality.ignored_class)
        if modality.likelihood == "gaussian" and modality.sparse:
            layer = cast(nn.Linear, self.output)
            if hidden.is_cuda:
                # A GPU computes all outputs faster than it gathers rows of the weight. Not in
                # bfloat16, whose rounding exceeds the height of most peaks.
                with torch.autocast("cuda", enabled=False):
                    mean = F.linear(hidden.to(layer.weight.dtype), layer.weight, layer.bias)
                return Gaussian(mean, modality.scale)
            return SparseGaussian.from_layer(hidden, layer.weight, layer.bias, modality.scale)
        values = at_least_float32(self.output(hidden))
        if modality.likelihood == "bernoulli":
            return Bernoulli(values)
        if modality.likelihood == "laplace":
            return Laplace(values, modality.scale)
        return Gaussian(values, modality.scale)


class MultimodalVAE(nn.Module):
    """Variational autoencoder over named modalities.

    Parameters
    ----------
    config
        Modalities, latent size, posterior kind.

    Examples
    --------
    >>> import torch
    >>> layers = NetworkConfig(hidden=(16,))
    >>> config = ModelConfig(
    ...     modalities=(
    ...         Modality("image", 8, layers, layers),
    ...         Modality("sound", 5, layers, layers, likelihood="gaussian"),
    ...     ),
    ...     n_latent=2,
    ... )
    >>> model = MultimodalVAE(config)
    >>> q = model.posterior({"image": torch.rand(3, 8)})
    >>> tuple(q.mean.shape)
    (3, 2)
    >>> tuple(model.likelihood(q.mean, "sound").mean.shape)
    (3, 5)
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.posteriors = POSTERIORS[config.posterior](config)
        self.decoders = nn.ModuleDict(
            {modality.name: Decoder(modality, config.n_latent) for modality in config.modalities}
        )

    @property
    def n_parameters(self) -> int:
        """Number of trainable parameters in all networks."""
        return sum(parameter.numel() for parameter in self.parameters())

    def modality(self, name: str) -> Modality:
        """Return the modality called `name`.

        Raises
        ------
        ConfigError
            If there is none.
        """
        for modality in self.config.modalities:
            if modality.name == name:
                return modality
        raise ConfigError(f"no modality '{name}'; the model has {', '.join(self.config.names)}")

    def start_at(self, means: Mapping[str, Tensor]) -> None:
        """Set untrained decoders to the mean of the data, by modality name: (n_features,)."""
        for name, mean in means.items():
            self.modality(name)
            cast(Decoder, self.decoders[name]).start_at(mean)

    def encode(self, x: Mapping[str, Input]) -> Encodings:
        """Return the encodings of a batch, which are computed when they are first needed.

        Parameters
        ----------
        x
            By modality name: (batch, n_features + n_context), dense or sparse.

        Raises
        ------
        ConfigError
            If a modality is unknown or has another number of columns.
        """
        return self.encode_together({"": x})[""]

    def encode_together(self, batches: Mapping[str, Mapping[str, Input]]) -> dict[str, Encodings]:
        """Return the encodings of several batches, which may differ in size and modalities.

        The same as :meth:`encode` of each, but a network that treats rows one by one (without batch
        normalisation) reads the dense rows of all of them in one call, which a GPU does in the time
        of one.

        Parameters
        ----------
        batches
            By any name: what :meth:`encode` takes.

        Raises
        ------
        ConfigError
            As :meth:`encode`.
        """
        for x in batches.values():
            for name, value in x.items():
                modality = self.modality(name)
                wanted = modality.n_features + modality.n_context
                found = value.n_columns if isinstance(value, SparseRows) else value.shape[-1]
                if found != wanted:
                    raise ConfigError(f"modality {name}: found {found} columns, wanted {wanted}")
        together = Batches(tuple(batches.values()))
        return {
            name: Encodings(self.posteriors, together, place) for place, name in enumerate(batches)
        }

    def posterior(self, x: Mapping[str, Input], given: Collection[str] | None = None) -> Posterior:
        """Return q(z | x_given), (batch, n_latent); `given` defaults to every modality in `x`."""
        return self.encode(x).posterior(given)

    def sample_prior(self, n_samples: int, generator: torch.Generator | None = None) -> Tensor:
        """Return codes drawn from N(0, I), (n_samples, n_latent)."""
        like = next(self.parameters()).new_empty((n_samples, self.config.n_latent))
        return standard_normal(like).sample(1, generator)[0]

    def generate(
        self,
        x: Mapping[str, Input],
        target: str,
        given: Collection[str] | None = None,
        n_samples: int = 1,
        generator: torch.Generator | None = None,
    ) -> Likelihood:
        """Return p(x_target | z) for z drawn from q(z | x_given): conditional generation.

        Parameters
        ----------
        x
            By modality name: (batch, columns).
        target
            Any modality, given or not.
        given
            Defaults to every modality in `x`.
        n_samples
            Codes for each example: the likelihood has shape (n_samples, batch, n_features).
        generator
            Source of the codes; None: torch's global one.
        """
        z = self.posterior(x, given).sample(n_samples, generator)
        return self.likelihood(z, target)

    def likelihood(self, z: Tensor, name: str) -> Likelihood:
        """Return p(x_name | z) for z (..., batch, n_latent)."""
        self.modality(name)
        return cast(Likelihood, self.decoders[name](z))
