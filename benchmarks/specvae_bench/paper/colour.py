"""Digits in colour, made from MNIST: a stand-in for SVHN where that cannot be had.

Each grey digit is drawn anew, 3 x 32 x 32: resized and moved, in one colour on a background of two
tones, between pieces of other digits, under uneven light and with grain. The background's texture
is an enlarged piece of a third digit. These pictures do not imitate house numbers. They share with
them that a digit must be separated from its colour, its ground and its neighbours.

All values follow from the seed and are the same on every machine: positions are whole numbers of
1/64 pixel, so that interpolation is exact in float32.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from specvae_bench.paper.images import ImageSet

SIZE = 32

_SOURCE = 28
_UNIT = 64  # positions are multiples of 1/64 pixel
_CHUNK = 500  # images drawn at once: their arrays fit the processor's cache

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]


def coloured(images: ImageSet, seed: int = 0) -> ImageSet:
    """Return each digit in colour, with its label.

    Parameters
    ----------
    images
        (n, 1, 28, 28).
    seed
        Of sizes, places, colours and neighbours; the same seed gives the same pictures.

    Returns
    -------
    ImageSet
        (n, 3, 32, 32).
    """
    rng = np.random.default_rng(seed)
    grey = images.pixels[:, 0].numpy()
    parts = [
        _drawn(grey, np.arange(start, min(start + _CHUNK, len(grey))), rng)
        for start in range(0, len(grey), _CHUNK)
    ]
    return ImageSet(torch.from_numpy(np.concatenate(parts)), images.labels)


def _drawn(grey: NDArray[np.uint8], rows: Integers, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return the digits `rows` in colour, (len(rows), 3, 32, 32)."""
    n = len(rows)

    def between(low: int, high: int, *shape: int) -> Integers:
        return rng.integers(low, high + 1, (n, *shape))

    # A source pixel is 64 / step pixels wide: 0.8 to 1.2 for digits, three to six for texture.
    step_x, step_y = between(53, 80), between(53, 80)
    shift_x, shift_y = between(-2, 2), between(-2, 2)
    digit = resampled(grey[rows], step_x, step_y, shift_x, shift_y)
    others = rng.integers(0, len(grey), (3, n))
    texture = resampled(
        grey[others[0]],
        between(10, 22),
        between(10, 22),
        between(-12, 12),
        between(-12, 12),
    )
    clutter = np.zeros_like(digit)
    for other, side in zip(others[1:], (-1, 1), strict=True):
        there = between(0, 2)[:, None, None] > 0
        beside = resampled(
            grey[other], step_x, step_y, shift_x + side * between(19, 25), shift_y + between(-2, 2)
        )
        clutter = np.maximum(clutter, there * beside)

    tone = between(0, 255, 3)
    second = (tone + between(-70, 70, 3)).clip(0, 255)
    away = 1 - 2 * (tone.sum(1, keepdims=True) > 3 * 127)
    ink = (tone + away * between(80, 160, 3)).clip(0, 255)
    picture = _over(_plane(tone), _plane(second), texture)
    picture = _over(picture, _plane(ink), clutter)
    picture = _over(picture, _plane(ink), digit)
    ramp = np.arange(SIZE) - SIZE // 2
    light = between(-2, 2)[:, None, None] * ramp[:, None] + between(-2, 2)[:, None, None] * ramp
    picture += light[:, None].astype(np.float32)
    picture += rng.integers(-12, 13, picture.shape, dtype=np.int8)
    return np.rint(np.clip(picture, 0.0, 255.0)).astype(np.uint8)


def _plane(colour: Integers) -> Floats:
    """Return colours (n, 3) as pictures of one pixel, (n, 3, 1, 1)."""
    return colour.astype(np.float32)[:, :, None, None]


def _over(below: Floats, above: Floats, cover: Floats) -> Floats:
    """Return `above` over `below`, as far as `cover` (n, 32, 32) says, from 0 to 1."""
    return below + (above - below) * cover[:, None]


def resampled(
    grey: NDArray[np.uint8],
    step_x: Integers,
    step_y: Integers,
    shift_x: Integers,
    shift_y: Integers,
) -> Floats:
    """Return images resized and moved by bilinear interpolation, (n, 32, 32) in [0, 1].

    Parameters
    ----------
    grey
        (n, 28, 28); black outside.
    step_x, step_y
        (n,), how far a pixel of the result goes in the image, in 1/64 pixel.
    shift_x, shift_y
        (n,), by how many pixels of the result the image's middle is moved right and down.
    """
    # Whole numbers below 2 ** 24 all along: float32 holds them exactly.
    rows, columns = _taps(step_y, shift_y), _taps(step_x, shift_x)
    summed = rows @ grey.astype(np.float32) @ columns.transpose(0, 2, 1)
    return summed / np.float32(255 * _UNIT * _UNIT)


def _taps(step: Integers, shift: Integers) -> Floats:
    """Return how much each source pixel counts for each pixel of the result, (n, 32, 28)."""
    doubled = 2 * np.arange(SIZE) - (SIZE - 1) - 2 * shift[:, None]
    place = (doubled * step[:, None] + _UNIT * (_SOURCE - 1)) // 2
    grid = _UNIT * np.arange(_SOURCE, dtype=np.int16)
    distance = np.abs(place.astype(np.int16)[:, :, None] - grid)
    counts: Floats = np.maximum(_UNIT - distance, 0).astype(np.float32)
    return counts
