"""Small made-up folders of captions and image features, in the format of the CUB benchmark.

A bird has one word from each list of ATTRIBUTES. Its captions are sentences of these words, and its
features are a fixed random vector for each word, summed, with noise.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from specvae_bench.paper.captions import (
    CAPTIONS_PER_IMAGE,
    N_FEATURES,
    TEST_CAPTIONS,
    TEST_FEATURES,
    TRAIN_CAPTIONS,
    TRAIN_FEATURES,
)

_COLOURS = ("red", "blue", "green", "yellow", "black", "white", "brown", "grey")
ATTRIBUTES = {
    "size": ("tiny", "small", "plump", "large", "huge", "slender"),
    "crown": _COLOURS,
    "belly": tuple(f"{colour}ish" for colour in _COLOURS),
    "bill": ("short", "long", "curved", "hooked", "flat", "pointed", "blunt", "thick"),
    "pattern": ("striped", "spotted", "plain", "mottled", "barred", "scaled"),
    "place": ("lake", "forest", "meadow", "desert", "shore", "mountain", "garden", "marsh"),
}
TEMPLATES = (
    "This {size} bird has a {crown} crown and a {bill} bill.",
    "A {pattern} bird from the {place}, with a {belly} belly.",
    "the bird is {size}, its belly is {belly} and its crown is {crown}",
    "a bird with a {bill} beak and {pattern} wings near the {place}.",
    "{crown} head, {belly} breast, {pattern} wings, {bill} beak; a {size} bird of the {place}",
)


def bird_captions(birds: NDArray[np.int64], rng: np.random.Generator) -> list[str]:
    """Return ten captions for each bird; `birds` (n, 6) are indices into the attributes' words."""
    lines: list[str] = []
    for bird in birds:
        chosen = dict(zip(ATTRIBUTES, bird.tolist(), strict=True))
        words = {name: ATTRIBUTES[name][index] for name, index in chosen.items()}
        drawn = rng.integers(len(TEMPLATES), size=CAPTIONS_PER_IMAGE)
        lines.extend(TEMPLATES[template].format(**words) for template in drawn)
    return lines


def bird_features(
    birds: NDArray[np.int64], rng: np.random.Generator, noise: float
) -> NDArray[np.float32]:
    """Return features (n, 2048) of birds: a sum of fixed vectors, with Gaussian noise."""
    fixed = np.random.default_rng(20).normal
    tables = [fixed(size=(len(words), N_FEATURES)) for words in ATTRIBUTES.values()]
    signal = sum(table[column] for table, column in zip(tables, birds.T, strict=True))
    return np.asarray(signal + noise * rng.normal(size=(len(birds), N_FEATURES)), np.float32)


def write_captions(
    folder: Path, n_train: int = 200, n_test: int = 60, noise: float = 0.1, seed: int = 0
) -> Path:
    """Write the four files for `n_train` and `n_test` images, and return the folder."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    for n, text, features in (
        (n_train, TRAIN_CAPTIONS, TRAIN_FEATURES),
        (n_test, TEST_CAPTIONS, TEST_FEATURES),
    ):
        sizes = [len(words) for words in ATTRIBUTES.values()]
        birds = rng.integers(sizes, size=(n, len(sizes)))
        lines = bird_captions(birds, rng)
        (folder / text).write_text("\n".join(lines) + "\n", encoding="utf-8")
        np.save(folder / features, bird_features(birds, rng, noise))
    return folder
