"""Small files of digits in the exact formats of MNIST and SVHN, and small judges of digits."""

from __future__ import annotations

import gzip
import struct
import zlib
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from specvae_bench.paper import oracles, pictures, tasks, text_tasks

MNIST_FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


def idx_bytes(array: NDArray[np.uint8]) -> bytes:
    head = struct.pack(f">{1 + array.ndim}I", 0x0800 + array.ndim, *array.shape)
    return head + array.tobytes()


def digits(n: int, shape: tuple[int, ...], seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (n, *shape), dtype=np.uint8)


def element(kind: int, data: bytes) -> bytes:
    return struct.pack("<II", kind, len(data)) + data + b"\0" * (-len(data) % 8)


def mat_array(name: str, array: NDArray[np.generic], *, compress: bool = True) -> bytes:
    """An array element of a MATLAB 5 file, after the format's description."""
    array_class, kind = {"|u1": (9, 2), "<f8": (6, 9)}[array.dtype.str]
    short_name = struct.pack("<HH4s", 1, len(name), name.encode())
    body = (
        element(6, struct.pack("<II", array_class, 0))
        + element(5, struct.pack(f"<{array.ndim}i", *array.shape))
        + (short_name if len(name) <= 4 else element(1, name.encode()))
        + element(kind, array.tobytes(order="F"))
    )
    matrix = struct.pack("<II", 14, len(body)) + body
    if not compress:
        return matrix
    packed = zlib.compress(matrix)
    return struct.pack("<II", 15, len(packed)) + packed


def mat_file(*elements: bytes) -> bytes:
    head = b"MATLAB 5.0 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x01IM"
    return head + b"".join(elements)


def shapes(labels: NDArray[np.uint8], size: int, seed: int) -> NDArray[np.uint8]:
    """Pictures of ten kinds, a bright block at a place of each kind's own, with noise."""
    rng = np.random.default_rng(seed)
    pictures = rng.integers(0, 40, (len(labels), size, size), dtype=np.uint8)
    for picture, label in zip(pictures, labels, strict=True):
        row, column = divmod(int(label), 4)
        picture[row * 8 + 2 : row * 8 + 8, column * 6 + 2 : column * 6 + 8] = 240
    return pictures


def write_mnist(folder: Path, n_train: int = 120, n_test: int = 60) -> Path:
    """Write the four idx files of MNIST, compressed; return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for prefix, n, seed in (("train", n_train, 0), ("t10k", n_test, 1)):
        labels = (np.arange(n) % 10).astype(np.uint8)
        for kind, array in (("images-idx3", shapes(labels, 28, seed)), ("labels-idx1", labels)):
            content = gzip.compress(idx_bytes(array), mtime=0)
            (folder / f"{prefix}-{kind}-ubyte.gz").write_bytes(content)
    return folder


def write_svhn(folder: Path, n_train: int = 120, n_test: int = 60) -> Path:
    """Write the two .mat files of SVHN, in which the label 10 is the digit 0; return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for prefix, n, seed in (("train", n_train, 2), ("test", n_test, 3)):
        labels = (np.arange(n) % 10).astype(np.uint8)
        grey = shapes(labels, 32, seed)
        colours = np.stack([grey, grey // 2, 255 - grey], axis=-1)  # (n, 32, 32, 3)
        content = mat_file(
            mat_array("X", np.moveaxis(colours, 0, -1)),
            mat_array("y", np.where(labels == 0, 10, labels).astype(np.uint8)[:, None]),
        )
        (folder / f"{prefix}_32x32.mat").write_bytes(content)
    return folder


def narrow_judges(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the judges of digits a sixteenth of their channels: they take most of a small run."""
    monkeypatch.setattr(oracles, "resnet18", partial(oracles.resnet18, width=4))


def draw_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have runs draw no pictures, which takes as long as their training."""
    for task in (tasks.SplitTask, tasks.DigitPairTask, text_tasks.SentenceTask):
        monkeypatch.setattr(task, "draw", lambda *_: None)
    monkeypatch.setattr(pictures, "draw_epochs", lambda *_: None)
