"""Digit images: MNIST and SVHN files, the parts that are modalities, and pairing by class."""

from __future__ import annotations

import gzip
import hashlib
import math
import zlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from specvae.errors import InputError
from specvae_bench.paper.mat5 import read_mat5

_N_CLASSES = 10
_MNIST_SIZE = 28
_SVHN_SIZE = 32
_GZIP_MAGIC = b"\x1f\x8b"
# The third byte of an idx file's magic number is the type, 8 for unsigned bytes, the fourth the
# number of dimensions: http://yann.lecun.com/exdb/mnist/
_IDX_UINT8 = 0x0800


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Labelled images of one size.

    Parameters
    ----------
    pixels
        (n, channels, height, width) uint8, 0 is black.
    labels
        (n,) int64, the digit 0..9.
    """

    pixels: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def floats(self, index: Tensor | slice = slice(None)) -> Tensor:
        """Return the chosen images as (n, channels, height, width) float32 in [0, 1]."""
        return unit_floats(self.pixels[index])

    def take(self, index: Tensor | slice) -> ImageSet:
        """Return the chosen images with their labels."""
        return ImageSet(self.pixels[index], self.labels[index])

    @cached_property
    def sha256(self) -> str:
        """Digest of the shape, the pixels and the labels; the way they were stored is left out."""
        digest = hashlib.sha256(f"{tuple(self.pixels.shape)}\n".encode())
        digest.update(np.ascontiguousarray(self.pixels.cpu().numpy()).data)
        digest.update(self.labels.cpu().numpy().astype("<i8").tobytes())
        return digest.hexdigest()


def unit_floats(pixels: Tensor) -> Tensor:
    """Return uint8 pixels as float32 in [0, 1]; floating point pixels are taken as such already."""
    return pixels if pixels.is_floating_point() else pixels.float().div_(255.0)


def read_mnist(folder: Path) -> tuple[ImageSet, ImageSet]:
    """Return the training and the test images of MNIST's four idx files, plain or gzip.

    Parameters
    ----------
    folder
        Holds ``train-images-idx3-ubyte``, ``train-labels-idx1-ubyte``, ``t10k-images-idx3-ubyte``
        and ``t10k-labels-idx1-ubyte``, each with or without ``.gz``.

    Returns
    -------
    tuple[ImageSet, ImageSet]
        Pixels (n, 1, 28, 28).

    Raises
    ------
    InputError
        If a file is missing, foreign, truncated, or does not fit its partner.
    """
    return _read_mnist_pair(folder, "train"), _read_mnist_pair(folder, "t10k")


def _read_mnist_pair(folder: Path, prefix: str) -> ImageSet:
    images_path = _find_idx(folder, f"{prefix}-images-idx3-ubyte")
    labels_path = _find_idx(folder, f"{prefix}-labels-idx1-ubyte")
    images = _read_idx(images_path, 3)
    labels = _read_idx(labels_path, 1)
    size = images.shape[1:]
    if size != (_MNIST_SIZE, _MNIST_SIZE):
        raise InputError(f"{images_path}: images of {size[0]} x {size[1]} pixels, wanted 28 x 28")
    if len(images) != len(labels):
        raise InputError(
            f"{labels_path}: {len(labels):,} labels, but {images_path.name} has "
            f"{len(images):,} images"
        )
    _require_labels(labels_path, labels, 0)
    return ImageSet(torch.from_numpy(images[:, None]), torch.from_numpy(labels.astype(np.int64)))


def _find_idx(folder: Path, name: str) -> Path:
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return path
    raise InputError(f"{folder}: neither {name} nor {name}.gz is there")


def _read_idx(path: Path, n_dims: int) -> NDArray[np.uint8]:
    """Return the bytes of an idx file as an array of `n_dims` dimensions."""
    try:
        content = path.read_bytes()
        if content.startswith(_GZIP_MAGIC):
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: cannot be read: {error}") from None
    n_header = 4 * (1 + n_dims)
    if len(content) < n_header:
        raise InputError(f"{path}: {len(content)} bytes, wanted an idx header of {n_header}")
    magic, *shape = (int(value) for value in np.frombuffer(content, ">u4", 1 + n_dims))
    if magic != _IDX_UINT8 + n_dims:
        raise InputError(f"{path}: magic number {magic}, wanted {_IDX_UINT8 + n_dims}")
    wanted = math.prod(shape)
    found = len(content) - n_header
    if found != wanted:
        raise InputError(
            f"{path}: {found:,} bytes after the header, which declares "
            f"{' x '.join(str(length) for length in shape)} = {wanted:,}"
        )
    if not shape[0]:
        raise InputError(f"{path}: holds nothing")
    return np.frombuffer(content, np.uint8, offset=n_header).reshape(shape).copy()


def read_svhn(folder: Path) -> tuple[ImageSet, ImageSet]:
    """Return the training and the test images of the Street View House Numbers, cropped digits.

    Parameters
    ----------
    folder
        Holds ``train_32x32.mat`` and ``test_32x32.mat``: MATLAB 5 files with X (32, 32, 3, n)
        uint8 and y (n, 1), where 10 stands for the digit 0. Netzer et al., "Reading Digits in
        Natural Images with Unsupervised Feature Learning", 2011.

    Returns
    -------
    tuple[ImageSet, ImageSet]
        Pixels (n, 3, 32, 32).

    Raises
    ------
    InputError
        If a file is missing, foreign or truncated, or its arrays have other shapes.
    """
    return _read_svhn_file(folder / "train_32x32.mat"), _read_svhn_file(folder / "test_32x32.mat")


def _read_svhn_file(path: Path) -> ImageSet:
    arrays = read_mat5(path, ("X", "y"))
    x, y = arrays["X"], arrays["y"]
    if x.ndim != 4 or x.shape[:3] != (_SVHN_SIZE, _SVHN_SIZE, 3) or x.dtype != np.uint8:
        raise InputError(f"{path}: X is {x.dtype} of shape {x.shape}, wanted uint8 (32, 32, 3, n)")
    n = x.shape[3]
    if not n:
        raise InputError(f"{path}: holds nothing")
    if y.size != n:
        raise InputError(f"{path}: y is {y.dtype} of shape {y.shape}, wanted {n:,} labels")
    _require_labels(path, y.reshape(-1), 1)
    pixels = np.ascontiguousarray(x.transpose(3, 2, 0, 1))
    labels = y.reshape(-1).astype(np.int64) % _N_CLASSES
    return ImageSet(torch.from_numpy(pixels), torch.from_numpy(labels))


def _require_labels(path: Path, labels: NDArray[np.generic], first: int) -> None:
    """Refuse labels other than the ten from `first`."""
    wrong = np.flatnonzero(~np.isin(labels, np.arange(first, first + _N_CLASSES)))
    if len(wrong):
        at = int(wrong[0])
        raise InputError(
            f"{path}: label {labels[at]} of image {at + 1}, wanted {first} to "
            f"{first + _N_CLASSES - 1}"
        )


def halves(pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Return the upper and the lower half of each image.

    Parameters
    ----------
    pixels
        (n, 1, 28, 28), uint8 or float in [0, 1].

    Returns
    -------
    tuple[Tensor, Tensor]
        Two of (n, 392), of the same dtype: 1 x 14 x 28 pixels, row by row.
    """
    top, bottom = _bands(pixels, 2, 14)
    return top, bottom


def thirds(pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the upper, the middle and the lower third of each image; its last row is left out.

    Parameters
    ----------
    pixels
        (n, 1, 28, 28), uint8 or float in [0, 1].

    Returns
    -------
    tuple[Tensor, Tensor, Tensor]
        Three of (n, 252), of the same dtype: 1 x 9 x 28 pixels, row by row.
    """
    top, middle, bottom = _bands(pixels, 3, 9)
    return top, middle, bottom


def _bands(pixels: Tensor, n_bands: int, n_rows: int) -> list[Tensor]:
    kept = pixels[:, :, : n_bands * n_rows]
    return [band.flatten(1) for band in torch.split(kept, n_rows, dim=2)]


def join_halves(top: Tensor, bottom: Tensor) -> Tensor:
    """Return (n, 1, 28, 28) images of two halves (n, 392): the inverse of `halves`."""
    return _joined((top, bottom))


def join_thirds(top: Tensor, middle: Tensor, bottom: Tensor) -> Tensor:
    """Return (n, 1, 28, 28) images of three thirds (n, 252), with a black last row."""
    return _joined((top, middle, bottom))


def _joined(bands: tuple[Tensor, ...]) -> Tensor:
    rows = torch.cat([band.reshape(len(band), 1, -1, _MNIST_SIZE) for band in bands], dim=2)
    return torch.nn.functional.pad(rows, (0, 0, 0, _MNIST_SIZE - rows.shape[2]))


def pair_by_class(
    labels_a: Tensor, labels_b: Tensor, n_pairings: int = 30, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """Pair samples of two sets that show the same class, as the MMVAE study does.

    In each of `n_pairings` rounds the samples of every class c are put in a fresh random order in
    both sets, and the first min(n_a,c, n_b,c) are matched one to one: no sample stands twice in a
    round. That makes n_pairings x sum_c min(n_a,c, n_b,c) pairs; for MNIST and SVHN, 30 rounds of
    56,068 = 1,682,040 for training and 30 of 10,000 = 300,000 for testing.

    Parameters
    ----------
    labels_a, labels_b
        (n_a,) and (n_b,) int64.

    Returns
    -------
    tuple[Tensor, Tensor]
        Indices into the first and the second set, each (n_pairs,) int64, round by round and within
        a round class by class. The same seed gives the same pairs.
    """
    rng = np.random.default_rng(seed)
    classes = np.intersect1d(labels_a.numpy(), labels_b.numpy())
    members = [
        (np.flatnonzero(labels_a.numpy() == label), np.flatnonzero(labels_b.numpy() == label))
        for label in classes
    ]
    index_a: list[NDArray[np.int64]] = []
    index_b: list[NDArray[np.int64]] = []
    for _ in range(n_pairings):
        for in_a, in_b in members:
            n = min(len(in_a), len(in_b))
            index_a.append(rng.permutation(in_a)[:n])
            index_b.append(rng.permutation(in_b)[:n])
    return _concatenated(index_a), _concatenated(index_b)


def _concatenated(parts: list[NDArray[np.int64]]) -> Tensor:
    return torch.from_numpy(np.concatenate([np.empty(0, np.int64), *parts]))
