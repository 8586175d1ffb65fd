"""How well captions and image features go together: their correlation after a CCA, fitted once.

A caption becomes a vector by the smooth inverse frequency mean of its words' FastText vectors
(Arora, Liang and Ma, ICLR 2017; Bojanowski et al. 2017, doi:10.1162/tacl_a_00051). Canonical
correlation analysis (Hotelling 1936, doi:10.1093/biomet/28.3-4.321) of training images and captions
gives the projections, and the metric is the mean cosine of projected pairs, as in the published
evaluation of Shi et al. (2019), doi:10.48550/arXiv.1911.03393, which that of Kutuzova et al. uses
too. What a cosine is depends on how long the directions are; here they are as long as there: a pair
of directions (w_x, w_y) is one vector of length 1. Projections of different fits give figures that
cannot be compared, so a fit is stored and used again.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from specvae.errors import CheckpointError, ConfigError, InputError
from specvae.vae.checkpoint import write_tensors
from specvae.vae.header import read_table
from specvae_bench.paper.captions import EOS, N_FEATURES, PAD, CaptionSet, Vocabulary

METADATA_KEY = "specvae_bench"
FORMAT = "caption-metric 2"

N_COMPONENTS = 40
SIF_A = 1e-3
RIDGE = 1e-12  # added to the variances in both views

WORD_DIMENSION = 300
WORD_WINDOW = 3
WORD_EPOCHS = 10
# Rows for hashed parts of words. The library's two million would take 2.4 GB, and the words of CUB
# have some ten thousand parts.
WORD_BUCKETS = 1 << 16

Matrix = NDArray[np.float64]

# What <exc>, <pad> and <eos> have in place of word vectors, as in the published evaluation.
_SPECIAL_VALUES = np.array([[-1.0], [0.0], [1.0]])

# Arrays of the metric and their shapes; n stands for words, d for the word dimension, k for
# components.
_SHAPES: dict[str, tuple[int | str, ...]] = {
    "word_vectors": ("n", "d"),
    "word_weights": ("n",),
    "common": ("d",),
    "image_mean": (N_FEATURES,),
    "text_mean": ("d",),
    "image_projection": (N_FEATURES, "k"),
    "text_projection": ("d", "k"),
    "correlations": ("k",),
}


@dataclass(frozen=True)
class Origin:
    """What a metric was fitted on and how."""

    train_sha256: str
    vocabulary_sha256: str
    word_vectors: str
    seed: int
    sif_a: float = SIF_A
    ridge: float = RIDGE


@dataclass(frozen=True, eq=False)
class CaptionMetric:
    """Correlation of captions with image features; all arrays are float64.

    Parameters
    ----------
    word_vectors
        (n_words, dimension); ``<exc>`` has -1 everywhere, ``<pad>`` 0 and ``<eos>`` 1.
    word_weights
        (n_words,), a / (a + frequency); zero for ``<pad>`` and ``<eos>``.
    common
        (dimension,), unit vector: the first principal component of the training captions' means,
        about their mean.
    image_mean, text_mean
        (2048,), (dimension,): means over the training pairs.
    image_projection, text_projection
        (2048, k), (dimension, k): columns are the canonical directions.
    correlations
        (k,), canonical correlations of the training pairs, the highest first.
    origin
        What it was fitted on.
    """

    word_vectors: Matrix
    word_weights: Matrix
    common: Matrix
    image_mean: Matrix
    text_mean: Matrix
    image_projection: Matrix
    text_projection: Matrix
    correlations: Matrix
    origin: Origin

    @classmethod
    def fit(
        cls,
        train: CaptionSet,
        vocabulary: Vocabulary,
        seed: int = 0,
        n_components: int = N_COMPONENTS,
        word_vectors: NDArray[np.floating] | None = None,
    ) -> CaptionMetric:
        """Fit word vectors, their weights and the projections on training pairs.

        Images fewer than a few times their 2048 features are fitted with their noise: the training
        pairs' correlations then say little, those of other pairs are what to look at.

        Parameters
        ----------
        train
            Training captions and images.
        vocabulary
            The words that the tokens stand for.
        seed
            Of the word vectors.
        n_components
            Number of canonical directions k.
        word_vectors
            (n_words, dimension): vectors of the user's own; trained on the captions if None.

        Raises
        ------
        ConfigError
            If word vectors are to be trained and gensim is not installed.
        InputError
            If images or captions span fewer than `n_components` dimensions.
        ValueError
            If `word_vectors` are not one for each word.
        """
        own = word_vectors is not None
        if word_vectors is None:
            word_vectors = train_word_vectors(train.tokens, vocabulary, seed)
        vectors = np.array(word_vectors, dtype=np.float64)
        if vectors.ndim != 2 or len(vectors) != len(vocabulary):
            raise ValueError(f"word vectors of shape {vectors.shape} for {len(vocabulary)} words")
        vectors[: EOS + 1] = _SPECIAL_VALUES
        weights = sif_weights(train.tokens, len(vocabulary))

        means = sif_means(train.tokens, vectors, weights)
        centred = means - means.mean(axis=0)
        common = np.linalg.eigh(centred.T @ centred)[1][:, -1]
        text = means - np.outer(means @ common, common)
        image_mean, text_mean, image_projection, text_projection, correlations = fit_cca(
            train.features.astype(np.float64), text, train.image_of, n_components
        )
        origin = Origin(train.digest, vocabulary.digest, "own" if own else _word_recipe(), seed)
        return cls(
            word_vectors=vectors,
            word_weights=weights,
            common=common,
            image_mean=image_mean,
            text_mean=text_mean,
            image_projection=image_projection,
            text_projection=text_projection,
            correlations=correlations,
            origin=origin,
        )

    def embed(self, tokens: NDArray[np.int64]) -> Matrix:
        """Return caption vectors (n, dimension) of tokens (n, 32)."""
        means = sif_means(tokens, self.word_vectors, self.word_weights)
        return means - np.outer(means @ self.common, self.common)

    def cosines(self, features: NDArray[np.floating], tokens: NDArray[np.int64]) -> Matrix:
        """Return the cosine of each projected pair, (n,); 0 where a projection is nothing.

        Parameters
        ----------
        features
            (n, 2048), image features, measured or generated.
        tokens
            (n, 32), row by row the captions that go with them.
        """
        x = (features - self.image_mean) @ self.image_projection
        y = (self.embed(tokens) - self.text_mean) @ self.text_projection
        length = np.linalg.norm(x, axis=1) * np.linalg.norm(y, axis=1)
        products = np.einsum("nk,nk->n", x, y)
        cosines = np.zeros(len(products))
        np.divide(products, length, out=cosines, where=length != 0)
        return cosines

    def correlation(self, features: NDArray[np.floating], tokens: NDArray[np.int64]) -> float:
        """Return the mean cosine of pairs, mean cos((x - mean_x) W_x, (y - mean_y) W_y).

        Parameters are those of `cosines`; the value lies in [-1, 1].
        """
        return float(self.cosines(features, tokens).mean())

    def require_fitted_on(self, train: CaptionSet, vocabulary: Vocabulary) -> None:
        """Raise unless this metric was fitted on these pairs and words.

        Raises
        ------
        CheckpointError
            If it was fitted on others.
        """
        found = self.origin.train_sha256, self.origin.vocabulary_sha256
        if found != (train.digest, vocabulary.digest):
            raise CheckpointError(
                f"the caption metric was fitted on other captions or images: SHA-256 "
                f"{found[0][:12]}, wanted {train.digest[:12]}"
            )

    def save(self, path: Path) -> None:
        """Write a safetensors file; its metadata say what the metric was fitted on."""
        text = json.dumps({"format": FORMAT, "origin": asdict(self.origin)})
        tensors = {name: torch.from_numpy(getattr(self, name)) for name in _SHAPES}
        write_tensors(Path(path), tensors, {METADATA_KEY: text})

    @classmethod
    def load(cls, path: Path) -> CaptionMetric:
        """Return the metric that `save` wrote; it gives the same figures.

        Raises
        ------
        CheckpointError
            If the file is missing, truncated, foreign, or its arrays do not fit one another.
        """
        path = Path(path)
        table, _ = read_table(path)
        metadata = table.get("__metadata__") or {}
        try:
            header = json.loads(metadata[METADATA_KEY])
            found, origin = header["format"], Origin(**header["origin"])
        except (ValueError, KeyError, TypeError):
            raise CheckpointError(f"{path}: no caption metric") from None
        if found != FORMAT:
            raise CheckpointError(f"{path}: format {found!r}, this program reads {FORMAT!r}")
        try:
            # Copies lie at addresses that vector instructions like: the same digits come out.
            arrays = {name: array.copy() for name, array in load_file(path).items()}
        except (SafetensorError, OSError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise CheckpointError(f"{path}: arrays cannot be read: {reason}") from None
        sizes: dict[str, int] = {}
        for name, shape in _SHAPES.items():
            array = arrays.get(name)
            if array is None or array.dtype != np.float64 or array.ndim != len(shape):
                raise CheckpointError(f"{path}: array {name} is missing or of another kind")
            for axis, size in zip(shape, array.shape, strict=True):
                wanted = axis if isinstance(axis, int) else sizes.setdefault(axis, size)
                if size != wanted:
                    raise CheckpointError(
                        f"{path}: array {name} has shape {array.shape}, wanted {wanted} for {size}"
                    )
        return cls(**{name: arrays[name] for name in _SHAPES}, origin=origin)


def sif_weights(tokens: NDArray[np.int64], n_words: int) -> Matrix:
    """Return a / (a + frequency) for each word, (n_words,), with a = 1e-3.

    The frequency is a word's share of all words in `tokens` (n, 32). ``<exc>`` counts as a word
    that is as frequent as all rare words together; ``<pad>`` and ``<eos>`` have weight 0.
    """
    counts = np.bincount(tokens.ravel(), minlength=n_words).astype(np.float64)
    counts[[PAD, EOS]] = 0.0
    weights: Matrix = SIF_A / (SIF_A + counts / max(counts.sum(), 1.0))
    weights[[PAD, EOS]] = 0.0
    return weights


def sif_means(tokens: NDArray[np.int64], vectors: Matrix, weights: Matrix) -> Matrix:
    """Return the mean of weight times vector over each caption's tokens, (n, dimension).

    A caption ends with its first ``<eos>``, which counts as a token; without one it has all 32.
    """
    ends = tokens == EOS
    behind = np.cumsum(ends, axis=1) - ends > 0
    weighted = vectors * weights[:, None]
    total = np.zeros((len(tokens), vectors.shape[1]))
    for column, is_behind in zip(tokens.T, behind.T, strict=True):
        total += np.where(is_behind[:, None], 0.0, weighted[column])
    total /= (~behind).sum(axis=1)[:, None]
    return total


def fit_cca(
    x: Matrix, y: Matrix, x_of: NDArray[np.int64], n_components: int
) -> tuple[Matrix, Matrix, Matrix, Matrix, Matrix]:
    """Fit a canonical correlation analysis of pairs (x[x_of], y).

    The directions v = (w_x, w_y) solve A v = l B v, where A holds the cross-covariances and B the
    covariances of the views with 1e-12 on their diagonals. The same directions come from the
    singular vectors of the cross-covariance of whitened views, and that is how they are computed:
    B is singular wherever a view has fewer dimensions than columns, and those columns' directions,
    which carry rounding errors only, are left out of the whitening. The views have equal variances
    along a pair of directions, and (w_x, w_y) together has length 1, as an eigenvector v has in the
    published evaluation: the cosines depend on it.

    Parameters
    ----------
    x
        (n_x, d_x), float64; a row may belong to several pairs.
    y
        (n, d_y), float64.
    x_of
        (n,), the row of `x` in each pair.
    n_components
        Number of directions k.

    Returns
    -------
    tuple
        Means (d_x,) and (d_y,), projections (d_x, k) and (d_y, k), correlations (k,).

    Raises
    ------
    InputError
        If a view spans fewer than k dimensions.
    """
    n = len(y)
    uses = np.bincount(x_of, minlength=len(x)).astype(np.float64)
    x_mean, y_mean = uses @ x / n, y.mean(axis=0)
    x, y = x - x_mean, y - y_mean
    # Sums over the pairs of one image first: no copy of its features for each caption.
    y_sums = np.zeros((len(x), y.shape[1]))
    np.add.at(y_sums, x_of, y)
    scale = 1.0 / max(n - 1, 1)
    x_basis = _whitening(scale * (x.T @ (uses[:, None] * x)))
    y_basis = _whitening(scale * (y.T @ y))
    for view, basis in (("image features", x_basis), ("caption vectors", y_basis)):
        if basis.shape[1] < n_components:
            raise InputError(
                f"too few training pairs for {n_components} canonical directions: the {view} of "
                f"{len(x):,} images and {n:,} captions span {basis.shape[1]} dimensions"
            )
    left, correlations, right = np.linalg.svd(
        x_basis.T @ (scale * (x.T @ y_sums)) @ y_basis, full_matrices=False
    )
    w_x, w_y = x_basis @ left[:, :n_components], y_basis @ right[:n_components].T
    lengths = np.sqrt(np.square(w_x).sum(axis=0) + np.square(w_y).sum(axis=0))
    return x_mean, y_mean, w_x / lengths, w_y / lengths, correlations[:n_components].copy()


def _whitening(covariance: Matrix) -> Matrix:
    """Return (d, rank): columns project onto uncorrelated coordinates of unit variance."""
    variances, directions = np.linalg.eigh(covariance)
    # Below this an eigenvalue is a rounding error (the rule of numpy's matrix_rank).
    kept = variances > variances[-1] * len(variances) * np.finfo(np.float64).eps
    return np.asarray(directions[:, kept] / np.sqrt(variances[kept] + RIDGE))


def _word_recipe() -> str:
    from importlib.metadata import version

    return (
        f"gensim {version('gensim')} FastText, CBOW, dimension {WORD_DIMENSION}, "
        f"window {WORD_WINDOW}, epochs {WORD_EPOCHS}"
    )


def train_word_vectors(tokens: NDArray[np.int64], vocabulary: Vocabulary, seed: int) -> Matrix:
    """Return FastText vectors (n_words, 300) of the words of captions; special words have zeros.

    Continuous bag of words with parts of words, window 3, 10 epochs, the library's defaults
    otherwise. Captions are cut at ``<eos>``; ``<exc>`` is left out, as the library itself leaves
    out rare words. One thread, so that equal seeds give equal vectors.

    Parameters
    ----------
    tokens
        (n, 32).
    vocabulary
        The words that the tokens stand for.
    seed
        Of the initial vectors and of sampling.

    Raises
    ------
    ConfigError
        If gensim is not installed.
    """
    try:
        from gensim.models import FastText
    except ModuleNotFoundError:
        raise ConfigError(
            "training word vectors needs the library gensim: pip install 'specvae[bench]'"
        ) from None

    sentences = []
    for row in tokens.tolist():
        end = row.index(EOS) if EOS in row else len(row)
        sentences.append([vocabulary.words[token] for token in row[:end] if token > EOS])
    model = FastText(
        sentences=sentences,
        vector_size=WORD_DIMENSION,
        window=WORD_WINDOW,
        min_count=1,  # Rare words are <exc> already.
        epochs=WORD_EPOCHS,
        bucket=WORD_BUCKETS,
        workers=1,
        seed=seed,
    )
    vectors = np.zeros((len(vocabulary), WORD_DIMENSION))
    vectors[EOS + 1 :] = model.wv[list(vocabulary.words[EOS + 1 :])]
    return vectors
