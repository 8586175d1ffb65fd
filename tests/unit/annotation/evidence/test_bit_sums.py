"""Sums over the set bits of packed fingerprints, as whole numbers."""

from __future__ import annotations

import numpy as np
import pytest

from specvae.annotation.evidence import bit_sums as module
from specvae.annotation.evidence.bit_sums import bit_sums
from specvae.annotation.evidence.bits_of_half_bytes import BITS_OF_HALF_BYTES
from specvae.annotation.evidence.bits_of_words import BITS_OF_WORDS
from specvae.annotation.evidence.registers import Lookup, processor_has
from specvae.molecules.fingerprint import unpack

WAYS = [
    pytest.param(
        way,
        id=way.feature,
        marks=pytest.mark.skipif(
            not processor_has(way.feature), reason=f"this processor has no {way.feature}"
        ),
    )
    for way in (BITS_OF_WORDS, BITS_OF_HALF_BYTES)
]


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Lookup:
    """Have even short lists looked up in registers, in each way that there are registers for."""
    found: Lookup = request.param
    monkeypatch.setattr(module, "FEWEST_ROWS", 1)
    monkeypatch.setattr(module, "quickest_lookup", lambda: found)
    return found


def made_up(n_rows: int, n_bits: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(n_bits)
    packed = rng.integers(0, 256, (n_rows, -(-n_bits // 8)), dtype=np.uint8)
    return packed, rng.normal(0.0, 4.0, (2, n_bits))


def plainly(packed: np.ndarray, numbers: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """Return the sums as a processor without such registers adds them."""
    with monkeypatch.context() as patch:
        patch.setattr(module, "quickest_lookup", lambda: None)
        return bit_sums(packed, numbers)


@pytest.mark.parametrize("n_bits", [1, 8, 127, 128, 129, 256, 257, 2149, 4096, 9001])
def test_registers_give_the_sums_of_the_plain_loop(
    n_bits: int, way: Lookup, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed, numbers = made_up(400, n_bits)
    monkeypatch.setattr(module, "PIECE", 2 * way.n_rows)
    for n_rows in (1, 63, 64, 65, 128, 129, 257, 400):
        rows = packed[:n_rows]
        wanted = plainly(rows, numbers, monkeypatch)
        np.testing.assert_array_equal(bit_sums(rows, numbers), wanted)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("numbers", [np.full((1, 4096), 1.0), np.full((1, 4096), -3.0)])
def test_sums_of_the_largest_numbers_do_not_overflow(
    numbers: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = np.full((130, 512), 255, np.uint8)
    np.testing.assert_allclose(bit_sums(packed, numbers), 4096 * numbers[0, 0], rtol=1e-8)
    np.testing.assert_array_equal(bit_sums(packed, numbers), plainly(packed, numbers, monkeypatch))


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("first", range(16))
def test_large_numbers_at_any_place_do_not_overflow(
    first: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = np.full((1, 256), 1e-3)
    numbers[0, first : first + 4] = 1e6  # bits that one way looks up together, and another does not
    packed = np.full((300, 32), 255, np.uint8)
    sums = bit_sums(packed, numbers)
    np.testing.assert_array_equal(sums, plainly(packed, numbers, monkeypatch))
    np.testing.assert_allclose(sums, numbers.sum(), rtol=1e-7)


@pytest.mark.parametrize("n_rows", [40, 5000])
def test_the_error_is_within_its_bound(n_rows: int) -> None:
    packed, numbers = made_up(n_rows, 2149)
    exact = numbers @ unpack(packed, 2149).astype(np.float64).T
    error = np.abs(bit_sums(packed, numbers) - exact)
    words = np.pad(np.abs(numbers), ((0, 0), (0, 11))).reshape(2, -1, 16)
    step = np.add.reduceat(words, [0, 5, 10], axis=2).max(axis=(1, 2)) / 2**30
    assert (error.max(axis=1) < 2149 * step).all()
    assert np.sqrt((error**2).mean()) < 5e-7


@pytest.mark.parametrize("n_rows", [3, 3000])
def test_a_number_that_is_not_finite_spoils_its_row_alone(n_rows: int) -> None:
    packed, numbers = made_up(n_rows, 65)
    wanted = bit_sums(packed, numbers)
    for wrong in (np.nan, np.inf, -np.inf):
        spoiled = numbers.copy()
        spoiled[0, 7] = wrong
        found = bit_sums(packed, spoiled)
        assert np.isnan(found[0]).all()
        np.testing.assert_array_equal(found[1], wanted[1])


def test_nothing_adds_up_to_nothing() -> None:
    assert bit_sums(np.empty((0, 9), np.uint8), np.ones((2, 70))).shape == (2, 0)
    assert bit_sums(np.empty((3, 0), np.uint8), np.ones((2, 0))).tolist() == [[0.0] * 3] * 2
    assert bit_sums(np.full((3, 9), 255, np.uint8), np.zeros((1, 70))).tolist() == [[0.0] * 3]
    assert bit_sums(np.full((3, 9), 255, np.uint8), np.ones((0, 70))).shape == (0, 3)


def test_columns_of_a_wider_table_are_added_up() -> None:
    packed, numbers = made_up(30, 2149)
    wider = np.concatenate([packed, packed], axis=1)
    np.testing.assert_array_equal(bit_sums(wider[:, :269], numbers), bit_sums(packed, numbers))
