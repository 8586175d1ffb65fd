"""Networks and training settings of the paper's image and text experiments.

Kutuzova et al., "Multimodal Variational Autoencoders for Semi-Supervised Learning: In Defense of
Product-of-Experts", appendix A. Where its tables cannot be built (the Split decoders, the text
encoder), the shapes are those of the published code; docs/benchmarks.md lists every difference.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from specvae.vae.config import Modality, ModelConfig, Variance
from specvae.vae.kinds import MODEL_KINDS
from specvae.vae.networks import ConvLayer, NetworkConfig
from specvae_bench.paper.captions import N_FEATURES, N_TOKENS, PAD

TOP, MIDDLE, BOTTOM = "top", "middle", "bottom"
MNIST, SVHN, COLOUR = "mnist", "svhn", "colour"
IMAGE, TEXT = "image", "text"

_WORD_WIDTH = 128


@dataclass(frozen=True)
class Experiment:
    """What the paper fixes of an experiment; a run adds kind, supervision and seed.

    Attributes
    ----------
    name
        As ``specvae bench`` calls it.
    modalities
        Their networks and likelihoods.
    n_latent
        Dimensions of z.
    batch_size, epochs, learning_rate
        Of each stream; Adam with torch's other defaults.
    joint_hidden
        Width of the layer that joins the bodies of joint networks; 0: none.
    modality_weights
        Of the reconstructions; 1 where not given.
    learning_rates
        By model kind, where the paper gives another than `learning_rate`.
    """

    name: str
    modalities: tuple[Modality, ...]
    n_latent: int
    batch_size: int
    epochs: int
    learning_rate: float
    joint_hidden: int
    modality_weights: Mapping[str, float] = field(default_factory=dict)
    learning_rates: Mapping[str, float] = field(default_factory=dict)

    def model_config(
        self, kind: str, prior_expert: bool = True, variance: Variance | None = None
    ) -> ModelConfig:
        """Return the model of a kind.

        Parameters
        ----------
        kind
            One of :data:`~specvae.vae.kinds.MODEL_KINDS`.
        prior_expert
            Multiply N(0, I) into products, as the published code does and the paper's eq 3 does
            not.
        variance
            None: as the published code, ``softplus_var`` for the experts of a product (it takes
            1 / scale for the precision) and ``softplus_sd`` elsewhere.
        """
        posterior = MODEL_KINDS[kind].posterior
        is_product = posterior in ("product", "product_own", "mixture_of_products")
        return ModelConfig(
            modalities=self.modalities,
            n_latent=self.n_latent,
            posterior=posterior,
            prior_expert=prior_expert,
            variance=variance or ("softplus_var" if is_product else "softplus_sd"),
            joint_hidden=self.joint_hidden,
        )


def _by_two(
    channels: int, bias: bool = False, batch_norm: bool = False, activation: bool = True
) -> ConvLayer:
    """Return a layer that halves height and width, or, in a decoder, doubles them."""
    return ConvLayer(
        channels, (4, 4), (2, 2), (1, 1), bias=bias, batch_norm=batch_norm, activation=activation
    )


def _part(name: str, height: int, decoder: tuple[ConvLayer, ...]) -> Modality:
    """Return a band of a digit, `height` x 28, with the encoders of tables A.2 and A.7."""
    convolutions = (_by_two(64), _by_two(128), _by_two(256))
    shape = (1, height, 28)
    return Modality(
        name,
        n_features=height * 28,
        encoder=NetworkConfig((512,), convolutions=convolutions, shape=shape),
        joint_encoder=NetworkConfig((), convolutions=convolutions, shape=shape),
        decoder=NetworkConfig((512, 112), convolutions=decoder, shape=(112, 1, 1)),
    )


def _bands(
    name: str, parts: tuple[str, ...], height: int, epochs: int, decoder: tuple[ConvLayer, ...]
) -> Experiment:
    """Return an experiment on digits cut into `parts`, each `height` rows high."""
    return Experiment(
        name,
        tuple(_part(part, height, decoder) for part in parts),
        n_latent=64,
        batch_size=100,
        epochs=epochs,
        learning_rate=2e-4,
        joint_hidden=512,
    )


def mnist_split() -> Experiment:
    """Return MNIST-Split (table A.2): the upper and the lower half of a digit."""
    decoder = (
        ConvLayer(56, (3, 5), (2, 2), bias=True),
        ConvLayer(28, (3, 5), (2, 2), bias=True),
        ConvLayer(1, (2, 4), (2, 2), bias=True, activation=False),
    )
    return _bands("mnist-split", (TOP, BOTTOM), height=14, epochs=200, decoder=decoder)


def mnist_split_3() -> Experiment:
    """Return MNIST-Split-3 (table A.7): three bands of nine rows."""
    decoder = (
        ConvLayer(56, (2, 5), (2, 2), bias=True),
        ConvLayer(28, (2, 5), (2, 2), bias=True),
        ConvLayer(1, (2, 4), (2, 2), output_padding=(1, 0), bias=True, activation=False),
    )
    return _bands("mnist-split-3", (TOP, MIDDLE, BOTTOM), height=9, epochs=50, decoder=decoder)


def dense(experiment: Experiment) -> Experiment:
    """Return an experiment on bands of digits with one hidden layer of 400 units everywhere.

    A step takes a processor some tenth of the time of the paper's convolutions. The learning rate
    is five times the paper's, for short runs.
    """
    hidden = NetworkConfig((400,))
    parts = tuple(
        replace(part, encoder=hidden, joint_encoder=None, decoder=hidden)
        for part in experiment.modalities
    )
    return replace(
        experiment,
        name=f"{experiment.name}-dense",
        modalities=parts,
        epochs=50,
        learning_rate=1e-3,
    )


# Two convolutions over all that is left, one for each half of the head, are one linear layer.
_DIGITS = NetworkConfig((400,))


def _digit_pairs(name: str, second: str) -> Experiment:
    """Return an experiment on MNIST's digits and digits in colour (tables A.3 and A.4)."""
    shape = (3, 32, 32)
    stem = (_by_two(32, bias=True), _by_two(64, bias=True), _by_two(128, bias=True))
    colours = Modality(
        second,
        n_features=3 * 32 * 32,
        encoder=NetworkConfig((), convolutions=stem, shape=shape),
        joint_encoder=NetworkConfig(
            (),
            convolutions=(*stem, ConvLayer(400, (4, 4), bias=True, activation=False)),
            shape=shape,
        ),
        decoder=NetworkConfig(
            (),
            convolutions=(
                ConvLayer(128, (4, 4), bias=True),
                _by_two(64, bias=True),
                _by_two(32, bias=True),
                _by_two(3, bias=True, activation=False),
            ),
            shape=(20, 1, 1),
        ),
    )
    return Experiment(
        name,
        (Modality(MNIST, n_features=784, encoder=_DIGITS, decoder=_DIGITS), colours),
        n_latent=20,
        batch_size=256,
        epochs=50,
        learning_rate=1e-4,
        joint_hidden=0,
        learning_rates={"vaevae": 1e-3, "vaevae-star": 1e-3},
    )


def mnist_svhn() -> Experiment:
    """Return MNIST-SVHN (tables A.3 and A.4): a written digit and one of a house number."""
    return _digit_pairs("mnist-svhn", SVHN)


def mnist_colour() -> Experiment:
    """Return the stand-in for MNIST-SVHN: a written digit, and another of its class in colour.

    All kinds have the higher of the paper's two learning rates: the stand-in is for short runs.
    """
    return replace(_digit_pairs("mnist-colour", COLOUR), learning_rate=1e-3)


def _sentences(n_words: int) -> Modality:
    """Return captions of `n_words` different words (table A.5)."""
    downwards = (
        _by_two(32, batch_norm=True),
        _by_two(64, batch_norm=True),
        _by_two(128, batch_norm=True),
        ConvLayer(128, (1, 4), (1, 2), (0, 1), batch_norm=True),
        ConvLayer(128, (1, 4), (1, 2), (0, 1), batch_norm=True),
    )
    upwards = (
        ConvLayer(128, (4, 4), batch_norm=True),
        ConvLayer(128, (1, 4), (1, 2), (0, 1), batch_norm=True),
        ConvLayer(128, (1, 4), (1, 2), (0, 1), batch_norm=True),
        _by_two(64, batch_norm=True),
        _by_two(32, batch_norm=True),
        _by_two(1),
    )
    return Modality(
        TEXT,
        n_features=N_TOKENS,
        likelihood="categorical",
        n_classes=n_words,
        ignored_class=PAD,
        encoder=NetworkConfig(
            (), convolutions=downwards, shape=(1, N_TOKENS, _WORD_WIDTH), embedding=_WORD_WIDTH
        ),
        decoder=NetworkConfig((), convolutions=upwards, shape=(64, 1, 1)),
    )


def cub_captions(n_words: int) -> Experiment:
    """Return CUB-Captions (tables A.5 and A.6): image features and a caption of `n_words` words."""
    image = Modality(
        IMAGE,
        n_features=N_FEATURES,
        likelihood="laplace",
        scale=0.01,
        encoder=NetworkConfig((1024, 512, 256), activation="elu"),
        decoder=NetworkConfig((256, 512, 1024), activation="elu"),
    )
    return Experiment(
        "cub-captions",
        (image, _sentences(n_words)),
        n_latent=64,
        batch_size=100,
        epochs=200,
        learning_rate=1e-4,
        joint_hidden=512,
        modality_weights={IMAGE: 0.002},
    )


def mnist_captions(n_words: int) -> Experiment:
    """Return the stand-in for CUB-Captions: a written digit, and a sentence about it.

    The digits have MNIST-SVHN's networks, the sentences those of CUB's captions.
    """
    return Experiment(
        "mnist-captions",
        (Modality(IMAGE, n_features=784, encoder=_DIGITS, decoder=_DIGITS), _sentences(n_words)),
        n_latent=64,
        batch_size=100,
        epochs=50,
        learning_rate=1e-3,
        joint_hidden=512,
    )
