"""Bits of words, against Python's."""

from __future__ import annotations

import numpy as np
import pytest

from specvae.molecules.bit_sets import SET_SIZE, lowest_bit, lowest_of, popcount, size_of
from specvae.molecules.compiling import compiled


@compiled
def _bits(word: np.uint64) -> tuple[int, int]:
    return popcount(word), lowest_bit(word)


@compiled
def _of_set(numbers: int) -> tuple[int, int]:
    return size_of(numbers), lowest_of(numbers)


@pytest.mark.parametrize("word", [1, 40, 2**63, 2**64 - 1, 0xF0F000])
def test_bits_of_a_word(word: int) -> None:
    assert _bits(np.uint64(word)) == (word.bit_count(), (word & -word).bit_length() - 1)


def test_a_word_without_bits() -> None:
    assert _bits(np.uint64(0)) == (0, 64)


@pytest.mark.parametrize("numbers", [{0}, {3, 5}, {SET_SIZE - 1}, set(range(SET_SIZE))])
def test_a_set_of_numbers(numbers: set[int]) -> None:
    assert _of_set(sum(1 << number for number in numbers)) == (len(numbers), min(numbers))
