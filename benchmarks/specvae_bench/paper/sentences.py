"""Sentences about MNIST's digits: a stand-in for captions of photographs.

A sentence names six things of a picture: its digit, and how thick, how slanted, how large it is and
where it stands (column and row). All but the digit are measured from the pixels, so that the same
measures say of a decoded picture whether it shows what a sentence tells. In a sentence each thing
has words of its own, so that it can be read back from a decoded sentence too, however broken.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from specvae_bench.paper.captions import EOS, N_TOKENS, PAD, SPECIAL_WORDS, Vocabulary
from specvae_bench.paper.images import ImageSet, unit_floats

Tokens = NDArray[np.int64]

_MOVES = 4  # pixels between the digit and the edge of MNIST's frame
_CHUNK = 500  # pictures measured at once: their arrays fit the processor's cache


@dataclass(frozen=True)
class Attribute:
    """Something that a sentence says.

    Attributes
    ----------
    words
        For each value the words that stand for it; no word stands for two things.
    limits
        The measure from which on each value but the first holds; of the digit, none.
    """

    words: tuple[tuple[str, ...], ...]
    limits: tuple[float, ...] = ()


# The limits of thickness, slant and size cut MNIST's training digits into thirds, rounded.
ATTRIBUTES: Mapping[str, Attribute] = {
    "digit": Attribute(
        tuple(
            (word,)
            for word in (
                "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine",
            )
        )
    ),
    "thickness": Attribute(
        (("thin", "fine", "slender"), ("medium", "regular"), ("thick", "bold", "heavy")),
        (1.8, 2.2),
    ),
    "slant": Attribute(
        (("backward", "reclining"), ("upright", "straight"), ("forward", "slanted")), (0.0, 0.24)
    ),
    "size": Attribute(
        (("small", "little"), ("middling", "average"), ("large", "big")), (40.0, 50.0)
    ),
    "column": Attribute((("left",), ("centre",), ("right",)), (-2.0, 2.0)),
    "row": Attribute((("top", "upper"), ("middle",), ("bottom", "lower")), (-2.0, 2.0)),
}  # fmt: skip

TEMPLATES = (
    "a {thickness} {digit} , {slant} and {size} , at the {row} {column} .",
    "the {digit} is drawn with {thickness} strokes ; {size} , {slant} , in the {row} {column} .",
    "someone wrote a {size} {slant} {digit} in {thickness} lines , {row} {column} .",
    "in the {row} {column} of the frame there is a {slant} , {thickness} , {size} number {digit} .",
    "this is a handwritten {digit} : {size} , {thickness} , {slant} , {row} and {column} .",
    "{row} {column} : you see a {size} figure , {digit} , {thickness} and {slant} .",
)


@dataclass(frozen=True, eq=False)
class DescribedDigits:
    """Digits, what there is to say of them, and a sentence about each.

    Parameters
    ----------
    images
        (n, 1, 28, 28).
    values
        (n, 6), int64, as `described` gives them.
    tokens
        (n, 32), int64, indices into `VOCABULARY`.
    """

    images: ImageSet
    values: Tensor
    tokens: Tensor

    def __len__(self) -> int:
        return len(self.images)

    @classmethod
    def about(cls, digits: ImageSet, seed: int = 0) -> DescribedDigits:
        """Return the digits moved by `moved`, and sentences about them; the seed is of both."""
        images = moved(digits, seed)
        values = described(images.pixels, images.labels)
        return cls(images, values, torch.from_numpy(to_sentences(values, seed)))

    def take(self, index: Tensor | slice) -> DescribedDigits:
        """Return the chosen digits with their sentences."""
        return DescribedDigits(self.images.take(index), self.values[index], self.tokens[index])

    @property
    def sha256(self) -> str:
        """Digest of the digits and the sentences."""
        tokens = np.ascontiguousarray(self.tokens.numpy().astype("<i8"))
        return hashlib.sha256(self.images.sha256.encode() + tokens.tobytes()).hexdigest()


def _slot(word: str) -> str | None:
    return word[1:-1] if word.startswith("{") else None


def _vocabulary() -> Vocabulary:
    filling = (word for text in TEMPLATES for word in text.split() if _slot(word) is None)
    telling = (word for each in ATTRIBUTES.values() for words in each.words for word in words)
    return Vocabulary((*SPECIAL_WORDS, *dict.fromkeys(chain(telling, filling))))


VOCABULARY = _vocabulary()


def moved(images: ImageSet, seed: int = 0) -> ImageSet:
    """Return each digit moved towards one of nine places of its frame, by up to four pixels.

    MNIST's digits are all centred; nothing could be said of their places.

    Parameters
    ----------
    images
        (n, 1, 28, 28). What leaves the frame is lost, what enters it is black.
    seed
        Of the places.
    """
    n, _, height, width = images.pixels.shape
    rng = np.random.default_rng(seed)
    by = 4 * rng.integers(-1, 2, (2, n)) + rng.integers(-1, 2, (2, n))
    shift = torch.from_numpy(_MOVES - np.clip(by, -_MOVES, _MOVES))
    padded = torch.nn.functional.pad(images.pixels, (_MOVES,) * 4)
    rows = shift[0][:, None] + torch.arange(height)
    columns = shift[1][:, None] + torch.arange(width)
    image = torch.arange(n)[:, None, None]
    found = padded[:, 0][image, rows[:, :, None], columns[:, None, :]]
    return ImageSet(found[:, None], images.labels)


def measured(pixels: Tensor) -> dict[str, Tensor]:
    """Return what can be measured of pictures: float64, (n,) each.

    With m the sum of the grey levels, moments about the centre of mass (x to the right, y down):

    ============= ==================================================================================
    ``thickness`` 2 m / (sum of the absolute differences of neighbours), about a stroke's width in
                  pixels; blurring a stroke leaves the divisor as it is
    ``slant``     -(moment of x y) / (moment of y y): pixels to the right for each pixel upwards
    ``size``      mean squared distance from the centre of mass, in square pixels
    ``column``    centre of mass, in pixels to the right of the frame's
    ``row``       centre of mass, in pixels below the frame's
    ============= ==================================================================================

    Of a black picture, all are 0.

    Parameters
    ----------
    pixels
        (n, 1, 28, 28), uint8 or float in [0, 1]; rounded to 255 levels, so that sums are exact.
    """
    parts = [_measured(part) for part in torch.split(pixels, _CHUNK)]
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def _measured(pixels: Tensor) -> dict[str, Tensor]:
    levels = (unit_floats(pixels[:, 0].cpu()) * 255.0).round().to(torch.int16)
    _, height, width = levels.shape
    y, x = torch.arange(height), torch.arange(width)
    by_row, by_column = levels.sum(2), levels.sum(1)
    mass = by_row.sum(1)
    safe = mass.clamp(min=1).double()

    def mean(weights: Tensor, place: Tensor) -> Tensor:
        return (weights * place).sum(1) / safe

    centre_x, centre_y = mean(by_column, x), mean(by_row, y)
    var_x = mean(by_column, x * x) - centre_x**2
    var_y = mean(by_row, y * y) - centre_y**2
    covariance = mean((levels * x).sum(2), y) - centre_x * centre_y
    framed = torch.nn.functional.pad(levels, (1, 1, 1, 1))
    edges = framed.diff(dim=1).abs().sum((1, 2)) + framed.diff(dim=2).abs().sum((1, 2))
    found = {
        "thickness": 2.0 * mass / edges.clamp(min=1).double(),
        "slant": -covariance / var_y.clamp(min=1e-9),
        "size": var_x + var_y,
        "column": centre_x - (width - 1) / 2,
        "row": centre_y - (height - 1) / 2,
    }
    return {name: torch.where(mass > 0, value, 0.0) for name, value in found.items()}


def described(pixels: Tensor, digits: Tensor) -> Tensor:
    """Return the value of each attribute, int64 (n, 6), in the order of `ATTRIBUTES`.

    Parameters
    ----------
    pixels
        As `measured` takes them.
    digits
        (n,), which digit each picture shows.
    """
    measures = measured(pixels)
    values = [
        torch.bucketize(measures[name], torch.tensor(each.limits, dtype=torch.float64), right=True)
        if each.limits
        else digits.cpu()
        for name, each in ATTRIBUTES.items()
    ]
    return torch.stack(values, 1)


def to_sentences(values: Tensor, seed: int = 0) -> Tokens:
    """Return a sentence for each row of attributes, as tokens of `VOCABULARY`, (n, 32).

    Parameters
    ----------
    values
        (n, 6), as `described` gives them.
    seed
        Of the choice between ways of saying it.
    """
    rng = np.random.default_rng(seed)
    n = len(values)
    index = {word: token for token, word in enumerate(VOCABULARY.words)}
    slots = {}
    for column, (name, each) in enumerate(ATTRIBUTES.items()):
        sizes = np.array([len(words) for words in each.words])
        table = np.full((len(sizes), sizes.max()), PAD)
        for row, synonyms in enumerate(each.words):
            table[row, : len(synonyms)] = [index[word] for word in synonyms]
        value = values[:, column].numpy()
        slots[name] = table[value, rng.integers(0, sizes[value])]
    tokens = np.full((n, N_TOKENS), PAD, np.int64)
    template_of = rng.integers(0, len(TEMPLATES), n)
    for number, text in enumerate(TEMPLATES):
        rows = np.flatnonzero(template_of == number)
        words = text.split()
        for place, word in enumerate(words):
            slot = _slot(word)
            tokens[rows, place] = index[word] if slot is None else slots[slot][rows]
        tokens[rows, len(words)] = EOS
    return tokens


def read_back(tokens: Tensor) -> Tensor:
    """Return what sentences say of each attribute, int64 (n, 6); -1: nothing, or two things.

    Parameters
    ----------
    tokens
        (n, 32), indices into `VOCABULARY`; words behind the first ``<eos>`` do not count.
    """
    tokens = tokens.cpu()
    after_end = (tokens == EOS).cumsum(1) > 0
    index = {word: token for token, word in enumerate(VOCABULARY.words)}
    columns = []
    for each in ATTRIBUTES.values():
        value_of = torch.full((len(VOCABULARY),), -1)
        for value, words in enumerate(each.words):
            value_of[[index[word] for word in words]] = value
        found = value_of[tokens].masked_fill(after_end, -1)
        highest = found.amax(1)
        lowest = found.masked_fill(found < 0, len(each.words)).amin(1)
        columns.append(torch.where(highest == lowest, highest, -1))
    return torch.stack(columns, 1)
