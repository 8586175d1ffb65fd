"""Sums of numbers over the bits that are set in packed fingerprints.

The numbers are rounded to multiples of one step, and whole numbers are added: a sum is the same in
any order, on any processor and whatever other fingerprints there are.

What several bits add is looked up in a table, for many fingerprints at once where the processor has
registers for it (`bits_of_words`, `bits_of_half_bytes`). Other processors add up one fingerprint
after the other; so does every one for short lists, which do not repay the seconds that it takes to
compile the rest.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from specvae.annotation.evidence.bits_of_half_bytes import BITS_OF_HALF_BYTES
from specvae.annotation.evidence.bits_of_words import BITS_OF_WORDS
from specvae.annotation.evidence.registers import Lookup, processor_has
from specvae.molecules.compiling import compiled_with

_WAYS = (BITS_OF_WORDS, BITS_OF_HALF_BYTES)  # the quickest first
_LARGEST = 2**30 - 4  # that a part can add, in steps; rounding of six bits can add three
_TINY = np.finfo(np.float64).tiny
FEWEST_ROWS = 4096  # that are looked up in registers
PIECE = 16_384  # rows that are read from memory once for all predictions

_N = TypeVar("_N", np.float64, np.int64)
_ONE, _FOUR, _FIFTEEN, _SIXTEEN, _32 = (np.uint64(n) for n in (1, 4, 15, 16, 32))


def bit_sums(packed: NDArray[np.uint8], numbers: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return sums of numbers over the set bits of each fingerprint.

    Equal fingerprints have equal sums. Each bit adds an error of up to half a step; a step is 2^-30
    of the largest difference that bits which are looked up together can make (up to six), at most
    384 nats for a trained model of 2149 bits and 106 spectra. There the errors of 214,000 sums were
    9e-7 nats in the mean (root mean square) and 6e-6 nats at most; logits of 80, in single
    precision, are as exact as 4e-6.

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
    whole = [_whole_numbers(np.ascontiguousarray(row).tobytes(), n_bytes) for row in numbers]
    lookup = quickest_lookup() if n_bytes and n_rows >= FEWEST_ROWS else None
    planes: list[NDArray[Any]] = []
    n_together = 0  # rows
    if lookup is not None:
        planes = [lookup.planes(_tables(one.of_bits, lookup.parts)) for one in whole]
        # Not the last ones: bytes after those that are looked up are read too.
        n_together = (n_rows - -(-lookup.n_bytes // n_bytes)) // lookup.n_rows * lookup.n_rows
    found = np.empty((len(whole), n_rows))
    for start in range(0, n_rows, PIECE):
        end = min(start + PIECE, n_rows)
        n_first = max(0, min(end, n_together) - start)
        rest = flat[(start + n_first) * n_bytes :]
        for n, one in enumerate(whole):
            totals = np.full(end - start, one.offset, np.int64)
            if lookup is not None and n_first:
                lookup.add(flat, n_bytes, start * n_bytes, planes[n], totals[:n_first])
            _add_up(rest, np.uint64(n_bytes), one.half_bytes, totals[n_first:])
            np.multiply(totals, one.step, out=found[n, start:end])
    return found


@lru_cache(maxsize=1)
def quickest_lookup() -> Lookup | None:
    """Return the quickest way of looking up that the processor has registers for."""
    return next((way for way in _WAYS if processor_has(way.feature)), None)


class _WholeNumbers(NamedTuple):
    """What each bit adds, in steps.

    Attributes
    ----------
    of_bits
        int64 (8 * n_bytes,).
    step
        The step.
    offset
        The least sum that there can be. Tables have what is added to it.
    half_bytes
        The tables of each half byte, uint32 (n_halves * 16,).
    """

    of_bits: NDArray[np.int64]
    step: float
    offset: int
    half_bytes: NDArray[np.uint32]


# Each query's candidates are also compared with what the model predicts without a spectrum.
@lru_cache(maxsize=2)
def _whole_numbers(numbers: bytes, n_bytes: int) -> _WholeNumbers:
    """Return one prediction's numbers in steps; `numbers` are the bytes of float64 (n_bits,)."""
    padded = np.zeros(8 * n_bytes)
    padded[: len(numbers) // 8] = np.frombuffer(numbers)
    sizes = [part.sum(axis=1) for way in _WAYS for part in _parts(np.abs(padded), way.parts)]
    reach = float(np.concatenate(sizes).max(initial=0.0))
    step, of_bits = np.nan, np.zeros(8 * n_bytes, np.int64)
    if np.isfinite(reach):
        step = max(reach / _LARGEST, _TINY)
        of_bits = np.rint(padded / step).astype(np.int64)
    (half_bytes,) = _tables(of_bits, (4,))
    return _WholeNumbers(
        of_bits,
        step,
        int(np.minimum(of_bits, 0).sum()),
        half_bytes.astype(np.uint32).reshape(-1),
    )


def _parts(of_bits: NDArray[_N], parts: tuple[int, ...]) -> list[NDArray[_N]]:
    """Return for each part the numbers of its bits, (n, bits); 0 after the last bit."""
    n_bits = sum(parts)
    padded = np.zeros(-(-len(of_bits) // n_bits) * n_bits, of_bits.dtype)
    padded[: len(of_bits)] = of_bits
    return np.split(padded.reshape(-1, n_bits), np.cumsum(parts)[:-1], axis=1)


def _tables(of_bits: NDArray[np.int64], parts: tuple[int, ...]) -> list[NDArray[np.int64]]:
    """Return for each part what each value of its bits adds to the least, int64 (n, 2^bits)."""
    tables = []
    for part in _parts(of_bits, parts):
        table = np.zeros((len(part), 2 ** part.shape[1]), np.int64)
        for bit in range(part.shape[1]):
            n = 2**bit
            table[:, n : 2 * n] = table[:, :n] + part[:, bit, np.newaxis]
        tables.append(np.asarray(table - np.minimum(part, 0).sum(axis=1, keepdims=True)))
    return tables


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
