"""Digit images: the files of MNIST and SVHN, halves and thirds, pairing by class."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from image_files import MNIST_FILES, digits, element, idx_bytes, mat_array, mat_file
from shared_data import shared
from specvae_bench.paper.images import (
    ImageSet,
    halves,
    join_halves,
    join_thirds,
    pair_by_class,
    read_mnist,
    read_svhn,
    thirds,
    unit_floats,
)

from specvae.errors import InputError


@pytest.fixture
def mnist(tmp_path: Path) -> Path:
    """A folder with 12 training and 5 test images, the test images gzip-compressed."""
    arrays = (
        digits(12, (28, 28)),
        np.arange(12, dtype=np.uint8) % 10,
        digits(5, (28, 28), 1),
        np.array([9, 0, 3, 3, 1], np.uint8),
    )
    for name, array in zip(MNIST_FILES, arrays, strict=True):
        content = idx_bytes(array)
        if name.startswith("t10k"):
            (tmp_path / f"{name}.gz").write_bytes(gzip.compress(content))
        else:
            (tmp_path / name).write_bytes(content)
    return tmp_path


def test_mnist_is_read_plain_and_compressed(mnist: Path) -> None:
    train, test = read_mnist(mnist)
    assert train.pixels.shape == (12, 1, 28, 28)
    assert train.pixels.dtype == torch.uint8
    assert train.labels.dtype == torch.int64
    assert train.labels.tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]
    np.testing.assert_array_equal(train.pixels.numpy()[:, 0], digits(12, (28, 28)))
    np.testing.assert_array_equal(test.pixels.numpy()[:, 0], digits(5, (28, 28), 1))
    assert test.labels.tolist() == [9, 0, 3, 3, 1]


def test_the_digest_is_of_the_data_and_not_of_the_files(mnist: Path) -> None:
    train, test = read_mnist(mnist)
    for name in MNIST_FILES[:2]:
        (mnist / f"{name}.gz").write_bytes(gzip.compress((mnist / name).read_bytes()))
        (mnist / name).unlink()
    assert read_mnist(mnist)[0].sha256 == train.sha256
    assert train.sha256 != test.sha256
    brighter = train.pixels.clone()
    brighter[3, 0, 5, 5] += 1
    relabelled = train.labels.clone()
    relabelled[0] = 7
    assert ImageSet(brighter, train.labels).sha256 != train.sha256
    assert ImageSet(train.pixels, relabelled).sha256 != train.sha256


def test_floats_are_the_bytes_over_255(mnist: Path) -> None:
    train, _ = read_mnist(mnist)
    chosen = train.floats(torch.tensor([4, 2]))
    assert chosen.shape == (2, 1, 28, 28)
    assert chosen.dtype == torch.float32
    torch.testing.assert_close(chosen[1], train.pixels[2] / 255.0)
    assert train.take(slice(3, 5)).labels.tolist() == [3, 4]
    assert unit_floats(chosen) is chosen


def no_file(path: Path) -> None:
    path.unlink()


def bad_magic(path: Path) -> None:
    path.write_bytes(struct.pack(">I", 0x0D03) + path.read_bytes()[4:])


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def too_long(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")


def only_magic(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:4])


def cut_gzip(path: Path) -> None:
    path.write_bytes(gzip.compress(path.read_bytes())[:-20])


def damaged_gzip(path: Path) -> None:
    content = bytearray(gzip.compress(path.read_bytes()))
    content[40] ^= 0xFF
    path.write_bytes(content)


def small_images(path: Path) -> None:
    path.write_bytes(idx_bytes(digits(12, (27, 28))))


def fewer_images(path: Path) -> None:
    path.write_bytes(idx_bytes(digits(11, (28, 28))))


def no_images(path: Path) -> None:
    path.write_bytes(idx_bytes(digits(0, (28, 28))))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (no_file, "neither train-images-idx3-ubyte nor train-images-idx3-ubyte.gz is there"),
        (bad_magic, "magic number 3331, wanted 2051"),
        (cut, "9,308 bytes after the header, which declares 12 x 28 x 28 = 9,408"),
        (too_long, "9,409 bytes after the header, which declares 12 x 28 x 28 = 9,408"),
        (only_magic, "4 bytes, wanted an idx header of 16"),
        (cut_gzip, "cannot be read: Compressed file ended"),
        (damaged_gzip, "cannot be read: "),
        (small_images, "images of 27 x 28 pixels, wanted 28 x 28"),
        (fewer_images, "12 labels, but train-images-idx3-ubyte has 11 images"),
        (no_images, "holds nothing"),
    ],
)
def test_a_spoilt_mnist_file_is_named_in_one_line(
    mnist: Path, spoil: Callable[[Path], None], message: str
) -> None:
    spoil(mnist / MNIST_FILES[0])
    with pytest.raises(InputError) as caught:
        read_mnist(mnist)
    text = str(caught.value)
    assert message in text
    assert text.startswith(str(mnist))
    assert "\n" not in text


def test_a_label_that_is_no_digit_is_refused(mnist: Path) -> None:
    path = mnist / MNIST_FILES[1]
    labels = np.arange(12, dtype=np.uint8) % 10
    labels[7] = 10
    path.write_bytes(idx_bytes(labels))
    with pytest.raises(InputError, match=r"ubyte: label 10 of image 8, wanted 0 to 9$"):
        read_mnist(mnist)


SVHN_PIXELS = digits(32, (32, 3, 7))
SVHN_LABELS = np.array([[10], [1], [9], [5], [10], [2], [3]], np.uint8)
X, Y = mat_array("X", SVHN_PIXELS), mat_array("y", SVHN_LABELS)


@pytest.fixture
def svhn(tmp_path: Path) -> Path:
    """A folder with 7 training and 7 test images."""
    for name in ("train_32x32.mat", "test_32x32.mat"):
        (tmp_path / name).write_bytes(mat_file(X, Y))
    return tmp_path


def test_svhn_is_read_and_its_label_10_is_the_digit_0(svhn: Path) -> None:
    train, test = read_svhn(svhn)
    assert train.pixels.shape == (7, 3, 32, 32)
    assert train.pixels.dtype == torch.uint8
    assert train.labels.tolist() == [0, 1, 9, 5, 0, 2, 3]
    np.testing.assert_array_equal(train.pixels.numpy(), SVHN_PIXELS.transpose(3, 2, 0, 1))
    assert train.sha256 == test.sha256


@pytest.mark.parametrize("compress", [False, True])
def test_svhn_labels_may_be_doubles_and_other_arrays_stand_beside(
    svhn: Path, compress: bool
) -> None:
    labels = mat_array("y", SVHN_LABELS.astype(np.float64), compress=compress)
    other = mat_array("a_long_name", np.zeros((2, 3)), compress=compress)
    pixels = mat_array("X", SVHN_PIXELS, compress=compress)
    (svhn / "train_32x32.mat").write_bytes(mat_file(other, labels, pixels))
    train, test = read_svhn(svhn)
    assert train.sha256 == test.sha256


@pytest.mark.parametrize("compress", [False, True])
def test_svhn_as_another_program_writes_it(svhn: Path, compress: bool) -> None:
    scipy_io = pytest.importorskip("scipy.io")
    expected = read_svhn(svhn)[1].sha256
    scipy_io.savemat(
        svhn / "train_32x32.mat", {"X": SVHN_PIXELS, "y": SVHN_LABELS}, do_compression=compress
    )
    assert read_svhn(svhn)[0].sha256 == expected


WRONG_LABEL = SVHN_LABELS.copy()
WRONG_LABEL[2] = 0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read: No such file"),
        (b"", "a file of another kind, wanted MATLAB 5"),
        (idx_bytes(digits(3, (28, 28))), "a file of another kind, wanted MATLAB 5"),
        (b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM", "a file of MATLAB 7.3, wanted"),
        (mat_file(X, Y)[:5000], "truncated or damaged: 4,864 bytes left of an element of"),
        (mat_file(X)[:-1] + b"?", "truncated or damaged: Error -3 while decompressing data"),
        (mat_file(X, Y)[:-3], "truncated or damaged: "),
        (mat_file(element(14, b""), X), "truncated or damaged: "),
        (mat_file(element(14, element(6, b"") * 3)), "truncated or damaged: "),
        (mat_file(X), "no real numeric array y"),
        (mat_file(mat_array("X", SVHN_PIXELS[:28]), Y), "X is uint8 of shape (28, 32, 3, 7)"),
        (mat_file(mat_array("X", SVHN_PIXELS / 255), Y), "X is float64 of shape (32, 32, 3, 7)"),
        (mat_file(X, mat_array("y", SVHN_LABELS[:6])), "y is uint8 of shape (6, 1), wanted 7"),
        (mat_file(X, mat_array("y", WRONG_LABEL)), "label 0 of image 3, wanted 1 to 10"),
        (
            mat_file(mat_array("X", SVHN_PIXELS[..., :0]), mat_array("y", SVHN_LABELS[:0])),
            "holds nothing",
        ),
    ],
)
def test_a_spoilt_svhn_file_is_named_in_one_line(
    svhn: Path, content: bytes | None, message: str
) -> None:
    path = svhn / "test_32x32.mat"
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_svhn(svhn)
    text = str(caught.value)
    assert text.startswith(f"{path}: {message}")
    assert "\n" not in text


def test_a_file_cut_anywhere_is_an_error_of_input(svhn: Path) -> None:
    content = mat_file(X, Y)
    path = svhn / "train_32x32.mat"
    for n in [*range(0, 160, 3), *range(160, len(content), 1999)]:
        path.write_bytes(content[:n])
        with pytest.raises(InputError):
            read_svhn(svhn)


def test_halves_are_rows_of_the_image_and_join_again() -> None:
    pixels = torch.from_numpy(digits(4, (1, 28, 28)))
    top, bottom = halves(pixels)
    assert top.shape == bottom.shape == (4, 392)
    assert top.dtype == torch.uint8
    assert top[2, 28 * 3 + 5] == pixels[2, 0, 3, 5]
    assert bottom[2, 28 * 3 + 5] == pixels[2, 0, 17, 5]
    assert torch.equal(join_halves(top, bottom), pixels)


def test_thirds_leave_the_last_row_out_and_it_comes_back_black() -> None:
    pixels = torch.from_numpy(digits(4, (1, 28, 28)))
    parts = thirds(pixels)
    assert [part.shape for part in parts] == [(4, 252)] * 3
    assert parts[2][1, 28 * 8 + 27] == pixels[1, 0, 26, 27]
    joined = join_thirds(*parts)
    assert joined.shape == (4, 1, 28, 28)
    assert torch.equal(joined[:, :, :27], pixels[:, :, :27])
    assert not joined[:, :, 27].any()
    # What has been cropped once is kept by going there and back.
    assert all(torch.equal(*pair) for pair in zip(thirds(joined), parts, strict=True))


def labels_of(counts: list[int], seed: int) -> torch.Tensor:
    labels = np.repeat(np.arange(len(counts)), counts)
    return torch.from_numpy(np.random.default_rng(seed).permutation(labels))


def test_pairs_share_their_class_and_no_sample_stands_twice_in_a_round() -> None:
    a, b = labels_of([5, 0, 3, 4], 0), labels_of([2, 6, 7, 4], 1)
    index_a, index_b = pair_by_class(a, b, n_pairings=6, seed=3)
    n_round = 2 + 0 + 3 + 4
    assert index_a.shape == index_b.shape == (6 * n_round,)
    assert index_a.dtype == index_b.dtype == torch.int64
    assert torch.equal(a[index_a], b[index_b])
    for index in (index_a, index_b):
        for rounds in torch.split(index, n_round):
            assert len(set(rounds.tolist())) == n_round
    # Every sample of a shared class is met over the rounds, whichever set has more.
    many_a, _ = pair_by_class(a, b, n_pairings=40)
    assert set(many_a.tolist()) == set(range(len(a)))


def test_pairing_hangs_on_the_seed_and_every_round_is_new() -> None:
    a, b = labels_of([20, 20], 0), labels_of([20, 20], 1)
    first = pair_by_class(a, b, n_pairings=2, seed=1)
    assert all(torch.equal(*x) for x in zip(first, pair_by_class(a, b, 2, 1), strict=True))
    assert not torch.equal(first[0], pair_by_class(a, b, 2, 2)[0])
    assert not torch.equal(first[0][:40], first[0][40:])


def test_sets_without_a_shared_class_make_no_pairs() -> None:
    index_a, index_b = pair_by_class(torch.tensor([0, 1]), torch.tensor([2]))
    assert index_a.shape == index_b.shape == (0,)


def test_mnist_and_svhn_make_the_known_number_of_pairs() -> None:
    # Images of each digit in MNIST's and in SVHN's training set: 60,000 and 73,257.
    mnist = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    svhn = [4948, 13861, 10585, 8497, 7458, 6882, 5727, 5595, 5045, 4659]
    assert (sum(mnist), sum(svhn)) == (60_000, 73_257)
    index_a, index_b = pair_by_class(labels_of(mnist, 0), labels_of(svhn, 1))
    assert len(index_a) == len(index_b) == 1_682_040


def test_the_real_mnist() -> None:
    train, test = read_mnist(shared("mnist"))
    assert train.pixels.shape == (60_000, 1, 28, 28)
    assert test.pixels.shape == (10_000, 1, 28, 28)
    assert torch.bincount(train.labels).tolist() == [
        *(5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949)
    ]
    # The mean grey that is quoted everywhere for MNIST's training images.
    assert float(train.pixels.double().mean()) / 255 == pytest.approx(0.1307, abs=5e-5)
    assert test.labels[:5].tolist() == [7, 2, 1, 0, 4]
