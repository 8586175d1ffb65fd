"""Sums of numbers over the bits that are set in packed fingerprints.

The numbers are rounded to multiples of one step, and whole numbers are added: a sum is the same in
any order, on any processor and whatever other fingerprints there are.

What half a byte adds is looked up in a table of 16 numbers. A processor with AVX2 keeps such a
table in a register and looks 32 bytes up at once (``vpshufb``). They are the same half byte of 32
fingerprints, so the rows of 32 fingerprints are transposed first. A register's numbers have 8 bits,
ours 30: they are divided into five planes of 6 bits, each with its own table. Four of them are
added before their sum needs more than a byte, and 1,024 before it needs more than two. Other
processors add the same numbers one by one; so does every one for short lists, which do not repay
the seconds that it takes to compile the rest.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from specvae.annotation.evidence.registers import (
    COLUMNS,
    FETCHED,
    GROUPS,
    HALVES,
    LANES,
    TABLES,
    add_looked_up,
    fetch,
    has_registers,
    transpose,
)
from specvae.molecules.compiling import compiled_with

_PLANE_BITS = 6
_PLANES = 5
_LARGEST = 2 ** (_PLANE_BITS * _PLANES) - 2  # difference of two numbers; rounding can add 1
_TINY = np.finfo(np.float64).tiny

_TOGETHER = LANES * GROUPS  # rows
_MOST_COLUMNS = 512 // COLUMNS  # whose sums fit in two bytes
_FEWEST_ROWS = 4096  # that are looked up in registers
_PIECE = 256 * _TOGETHER  # rows that are read from memory once for all predictions

_ONE, _FOUR, _FIFTEEN, _SIXTEEN, _32 = (np.uint64(n) for n in (1, 4, 15, 16, 32))


def bit_sums(packed: NDArray[np.uint8], numbers: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return sums of numbers over the set bits of each fingerprint.

    Equal fingerprints have equal sums. Each half byte adds an error of up to half a step; a step is
    2^-30 of the largest difference that one half byte can make, at most 222 nats for a trained
    model of 2149 bits and 106 spectra. There the errors of 212,000 sums were 3e-7 nats in the mean
    (root mean square) and 2.3e-6 nats at most; logits of 80, in single precision, are less exact.

    Parameters
    ----------
    packed
        Fingerprints, uint8 (n_rows, n_bytes), little-endian bits.
    numbers
        float64 (n_predictions, n_bits).

    Returns
    -------
    float64 (n_predictions, n_rows); not a number where a prediction has numbers that are not
    finite.
    """
    n_rows, n_bytes = packed.shape
    flat = np.ascontiguousarray(packed).reshape(-1)
    tables = [_tables(np.ascontiguousarray(row).tobytes(), n_bytes) for row in numbers]
    planes: list[NDArray[np.uint8]] = []
    n_together = 0  # rows
    if n_bytes and n_rows >= _FEWEST_ROWS and has_registers():
        planes = [_planes(one.sums, n_bytes) for one in tables]
        # Not the last ones: up to 15 bytes after those that are looked up are read too.
        n_together = (n_rows - -(-COLUMNS // n_bytes)) // _TOGETHER * _TOGETHER
    found = np.empty((len(tables), n_rows))
    for start in range(0, n_rows, _PIECE):
        end = min(start + _PIECE, n_rows)
        n_first = max(0, min(end, n_together) - start)
        rest = flat[(start + n_first) * n_bytes :]
        for n, (sums, step, offset) in enumerate(tables):
            totals = np.full(end - start, offset, np.int64)
            if n_first:
                _look_up(flat, n_bytes, start * n_bytes, planes[n], totals[:n_first])
            _add_up(rest, np.uint64(n_bytes), sums, totals[n_first:])
            np.multiply(totals, step, out=found[n, start:end])
    return found


class _Tables(NamedTuple):
    """What each value of each half byte adds.

    Attributes
    ----------
    sums
        uint32 (n_halves * 16,), from 0 to 2^30 - 1, in steps.
    step
        The step.
    offset
        What is to be added to each fingerprint's sum, in steps.
    """

    sums: NDArray[np.uint32]
    step: float
    offset: int


# Each query's candidates are also compared with what the model predicts without a spectrum.
@lru_cache(maxsize=2)
def _tables(numbers: bytes, n_bytes: int) -> _Tables:
    """Return the tables of one prediction; `numbers` are the bytes of float64 (n_bits,)."""
    padded = np.zeros(8 * n_bytes)
    padded[: len(numbers) // 8] = np.frombuffer(numbers)
    fours = padded.reshape(-1, 4)
    sums = np.zeros((len(fours), 16))
    for bit in range(4):
        n = 2**bit
        sums[:, n : 2 * n] = sums[:, :n] + fours[:, bit, np.newaxis]
    reach = float(np.abs(fours).sum(axis=1).max(initial=0.0))
    if not np.isfinite(reach):
        return _Tables(np.zeros(sums.size, np.uint32), np.nan, 0)
    step = max(reach / _LARGEST, _TINY)
    whole = np.rint(sums / step).astype(np.int64)
    least = whole.min(axis=1, keepdims=True)
    return _Tables((whole - least).astype(np.uint32).reshape(-1), step, int(least.sum()))


@compiled_with(nogil=True)
def _add_up(
    packed: NDArray[np.uint8],
    n_bytes: np.uint64,
    tables: NDArray[np.uint32],
    totals: NDArray[np.int64],
) -> None:  # pragma: no cover (compiled)
    """Add to each fingerprint's total what its half bytes add.

    Places are unsigned: a signed one might be counted from the end, which takes longer.
    """
    row, n_rows, start = np.uint64(0), np.uint64(len(totals)), np.uint64(0)
    while row < n_rows:
        low = high = np.uint64(0)
        byte, table = np.uint64(0), np.uint64(0)
        while byte < n_bytes:
            value = np.uint64(packed[start + byte])
            low += tables[table + (value & _FIFTEEN)]
            high += tables[table + _SIXTEEN + (value >> _FOUR)]
            table += _32
            byte += _ONE
        totals[row] += np.int64(low + high)
        start += n_bytes
        row += _ONE


def _planes(tables: NDArray[np.uint32], n_bytes: int) -> NDArray[np.uint8]:
    """Return the tables of each plane, uint8, those of 16 bytes after the other."""
    n_columns = -(-n_bytes // COLUMNS)
    padded = np.zeros(n_columns * TABLES, np.uint32)
    padded[: len(tables)] = tables
    shifts = _PLANE_BITS * np.arange(_PLANES, dtype=np.uint32)[:, np.newaxis]
    planes = padded.reshape(n_columns, 1, TABLES) >> shifts & 2**_PLANE_BITS - 1
    return np.asarray(planes.astype(np.uint8).reshape(-1))


@compiled_with(nogil=True)
def _look_up(
    packed: NDArray[np.uint8],
    n_bytes: int,
    place: int,
    tables: NDArray[np.uint8],
    totals: NDArray[np.int64],
) -> None:  # pragma: no cover (compiled)
    """Add up as `_add_up` does, for a multiple of 64 fingerprints from a place on."""
    halves = np.empty(GROUPS * HALVES * LANES, np.uint8)
    words = np.empty(_PLANES * GROUPS * LANES, np.uint16)
    n_columns = len(tables) // (_PLANES * TABLES)
    for row in range(0, len(totals), _TOGETHER):
        for first in range(0, n_columns, _MOST_COLUMNS):
            for n in range(len(words)):
                words[n] = 0
            for column in range(first, min(first + _MOST_COLUMNS, n_columns)):
                fetch(packed, place + (row + _TOGETHER) * n_bytes + column * FETCHED)
                for group in range(GROUPS):
                    start = place + (row + group * LANES) * n_bytes + column * COLUMNS
                    transpose(packed, start, n_bytes, halves, group * HALVES * LANES)
                for plane in range(_PLANES):
                    table = (column * _PLANES + plane) * TABLES
                    add_looked_up(halves, tables, table, words, plane * _TOGETHER)
            for n in range(_PLANES * GROUPS):  # the words of a plane and 32 rows
                plane, to = n // GROUPS, row + n % GROUPS * LANES
                for word in range(16):
                    both = np.int64(words[n * LANES + word])
                    second = np.int64(words[n * LANES + 16 + word])
                    one = (both - (second << 8)) & 0xFFFF
                    totals[to + 2 * word] += one << (_PLANE_BITS * plane)
                    totals[to + 2 * word + 1] += second << (_PLANE_BITS * plane)
