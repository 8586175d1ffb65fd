"""Captions of birds and features of their photographs (CUB-200-2011), read from a folder.

The folder holds what the study of Shi et al. (2019), doi:10.48550/arXiv.1911.03393, works with:

========================== =====================================================================
``text_trainvalclasses.txt`` UTF-8, one caption a line, ten lines an image, in the images' order
``train_features.npy``       float (n_images, 2048): the images' ResNet-101 features, same order
``text_testclasses.txt``     the same for the images of the test classes
``test_features.npy``        the same for the images of the test classes
``train_images.npy``         uint8 (n_images, height, width, 3): the training images themselves,
                             small, for pictures; may be missing
========================== =====================================================================

The training fold is the first pair of files. The second pair is halved by images: the first half
is the validation fold, the rest is the test fold. The study lists images by class, so the halves
share at most the one class that the middle falls into, and no image.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from specvae.errors import InputError

TRAIN_CAPTIONS, TRAIN_FEATURES = "text_trainvalclasses.txt", "train_features.npy"
TRAIN_PICTURES = "train_images.npy"
TEST_CAPTIONS, TEST_FEATURES = "text_testclasses.txt", "test_features.npy"

N_TOKENS = 32
N_FEATURES = 2048
CAPTIONS_PER_IMAGE = 10
MIN_COUNT = 4  # The study keeps words that occur more than three times.

SPECIAL_WORDS = ("<exc>", "<pad>", "<eos>")
EXC, PAD, EOS = range(3)

# A run of letters and digits, with hyphens and apostrophes inside it, or one other character.
_WORD = re.compile(r"\w+(?:[-'\u2019]\w+)*|[^\w\s]")


def split_words(caption: str) -> list[str]:
    """Return a caption's words and punctuation marks, in lower case."""
    return _WORD.findall(caption.lower())


@dataclass(frozen=True)
class Vocabulary:
    """The words that have an index of their own, and captions as rows of indices.

    Parameters
    ----------
    words
        All words by index; the first three are ``<exc>`` (any other word), ``<pad>`` and ``<eos>``.
    """

    words: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.words[:3] != SPECIAL_WORDS:
            raise ValueError(f"the first words are {self.words[:3]}, wanted {SPECIAL_WORDS}")
        if len(set(self.words)) != len(self.words):
            raise ValueError("a word stands twice in the vocabulary")

    def __len__(self) -> int:
        return len(self.words)

    @classmethod
    def from_captions(cls, captions: Iterable[str], min_count: int = MIN_COUNT) -> Vocabulary:
        """Return the words that occur at least `min_count` times, in the order of the text."""
        counts = Counter(word for caption in captions for word in split_words(caption))
        kept = [word for word, n in counts.items() if n >= min_count]
        return cls((*SPECIAL_WORDS, *kept))

    def encode(self, captions: Sequence[str]) -> NDArray[np.int64]:
        """Return tokens, int64 (n, 32): words, cut to 31, then ``<eos>``, then ``<pad>``."""
        index = {word: i for i, word in enumerate(self.words)}
        tokens = np.full((len(captions), N_TOKENS), PAD, dtype=np.int64)
        for row, caption in zip(tokens, captions, strict=True):
            found = [index.get(word, EXC) for word in split_words(caption)[: N_TOKENS - 1]]
            row[: len(found)] = found
            row[len(found)] = EOS
        return tokens

    def decode(self, tokens: NDArray[np.int64]) -> list[str]:
        """Return texts of tokens (n, 32): words up to the first ``<eos>``, without ``<pad>``."""
        texts = []
        for row in tokens.tolist():
            row = row[: row.index(EOS)] if EOS in row else row
            texts.append(" ".join(self.words[token] for token in row if token != PAD))
        return texts

    @property
    def digest(self) -> str:
        """SHA-256 of the words in their order."""
        return hashlib.sha256("\n".join(self.words).encode()).hexdigest()


@dataclass(frozen=True, eq=False)
class CaptionSet:
    """Captions paired with images: several captions each.

    Parameters
    ----------
    tokens
        int64 (n_captions, 32), indices into the vocabulary.
    features
        float32 (n_images, 2048), arbitrary units.
    image_of
        int64 (n_captions,), the row of `features` that a caption describes.
    """

    tokens: NDArray[np.int64]
    features: NDArray[np.float32]
    image_of: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def digest(self) -> str:
        """SHA-256 of the three arrays: shapes and values."""
        digest = hashlib.sha256()
        for array in (self.tokens, self.features, self.image_of):
            digest.update(f"{array.dtype} {array.shape}\n".encode())
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()


@dataclass(frozen=True, eq=False)
class Captions:
    """The three folds of a folder, and the vocabulary that the training captions make.

    `pictures` are the training images, uint8 (n_images, height, width, 3), where there are any.
    """

    vocabulary: Vocabulary
    train: CaptionSet
    val: CaptionSet
    test: CaptionSet
    pictures: NDArray[np.uint8] | None = None

    def first(self, n_captions: int) -> Captions:
        """Return the same with only the first captions of each fold."""
        train, val, test = (
            CaptionSet(fold.tokens[:n_captions], fold.features, fold.image_of[:n_captions])
            for fold in (self.train, self.val, self.test)
        )
        return replace(self, train=train, val=val, test=test)


def read_captions(folder: Path) -> Captions:
    """Read a folder laid out as this module says.

    Parameters
    ----------
    folder
        Holds two files of captions and two of features. Words that are rarer in the training
        captions than `MIN_COUNT` become ``<exc>``.

    Raises
    ------
    InputError
        If a file is missing, of another kind or shape, not UTF-8, holds features that are not
        finite, or captions and images do not match in number.
    """
    folder = Path(folder)
    train_lines, train_features = _read_pair(folder / TRAIN_CAPTIONS, folder / TRAIN_FEATURES)
    test_lines, test_features = _read_pair(folder / TEST_CAPTIONS, folder / TEST_FEATURES)
    if len(test_features) < 2:
        raise InputError(
            f"{folder / TEST_FEATURES}: 1 image, wanted at least 2: one for validation, one to test"
        )
    vocabulary = Vocabulary.from_captions(train_lines)
    if len(vocabulary) == len(SPECIAL_WORDS):
        raise InputError(f"{folder / TRAIN_CAPTIONS}: no word occurs {MIN_COUNT} times")
    half = len(test_features) // 2
    cut = half * CAPTIONS_PER_IMAGE
    return Captions(
        vocabulary,
        train=_caption_set(vocabulary, train_lines, train_features),
        val=_caption_set(vocabulary, test_lines[:cut], test_features[:half]),
        test=_caption_set(vocabulary, test_lines[cut:], test_features[half:]),
        pictures=_read_pictures(folder / TRAIN_PICTURES, len(train_features)),
    )


def _caption_set(
    vocabulary: Vocabulary, lines: Sequence[str], features: NDArray[np.float32]
) -> CaptionSet:
    image_of = np.repeat(np.arange(len(features), dtype=np.int64), CAPTIONS_PER_IMAGE)
    return CaptionSet(vocabulary.encode(lines), features, image_of)


def _read_pair(captions: Path, features: Path) -> tuple[list[str], NDArray[np.float32]]:
    lines = [line.strip() for line in _read_text(captions).rstrip().split("\n")]
    rows = _read_features(features)
    if len(lines) != CAPTIONS_PER_IMAGE * len(rows):
        raise InputError(
            f"{captions}: {len(lines):,} captions, wanted {CAPTIONS_PER_IMAGE * len(rows):,}: "
            f"{CAPTIONS_PER_IMAGE} for each of the {len(rows):,} images of {features.name}"
        )
    return lines, rows


def _read_text(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(f"{path}:{line}: not UTF-8 text: {error.reason}") from None


def _read_pictures(path: Path, n_images: int) -> NDArray[np.uint8] | None:
    if not path.exists():
        return None
    found = _load_array(path)
    shape = found.shape
    if found.dtype != np.uint8 or len(shape) != 4 or (shape[0], shape[3]) != (n_images, 3):
        raise InputError(
            f"{path}: {found.dtype} array of shape {shape}, "
            f"wanted uint8 ({n_images}, height, width, 3)"
        )
    return found


def _load_array(path: Path) -> NDArray[Any]:
    try:
        found = np.load(path)
    except (ValueError, EOFError):
        raise InputError(f"{path}: truncated, or no .npy array of numbers") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None
    if not isinstance(found, np.ndarray):
        raise InputError(f"{path}: an archive of arrays, wanted a single .npy array")
    return found


def _read_features(path: Path) -> NDArray[np.float32]:
    found = _load_array(path)
    if found.dtype.kind != "f" or found.ndim != 2 or found.shape[1] != N_FEATURES or not len(found):
        raise InputError(
            f"{path}: {found.dtype} array of shape {found.shape}, "
            f"wanted float32 (n_images, {N_FEATURES})"
        )
    features = np.ascontiguousarray(found, dtype=np.float32)
    finite = np.isfinite(features).all(axis=1)
    if not finite.all():
        raise InputError(
            f"{path}: image {int(finite.argmin()) + 1} has a feature that is no number"
        )
    return features
