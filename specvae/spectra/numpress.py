"""MS-Numpress: the three packings of number arrays that mzML files may hold.

Teleman et al., *Numerical compression schemes for proteomics mass spectrometry data*, Mol. Cell.
Proteomics 13 (2014) 1537, doi:10.1074/mcp.O114.037879. All three are read, none is written.
"""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray

_SCALE_BYTES = 8  # bytes of the scale with which linear and slof data begin
_SIGN = 1 << 31


def decode_linear(data: bytes) -> NDArray[np.float64]:
    """Return numbers (n,) that were stored as the errors of a linear extrapolation (m/z).

    Two whole numbers begin, and the k-th error e_k follows: x_k = 2 x_(k-1) - x_(k-2) + e_k, all
    divided by the scale of the head.

    Raises
    ------
    ValueError
        If the data end inside a number, or the scale is no positive number.
    """
    scale = _scale(data)
    if len(data) not in (8, 12) and len(data) < 16:
        raise ValueError(f"{len(data)} bytes are no MS-Numpress linear data")
    first = np.frombuffer(data[_SCALE_BYTES : min(len(data), 16)], dtype="<u4").astype(np.int64)
    errors = np.array(_whole_numbers(data[16:]), dtype=np.int64)
    if not errors.size:
        return first / scale
    # The errors are second differences: sums of sums give the numbers back, in whole numbers.
    steps = np.cumsum(np.concatenate([first[1:] - first[:1], errors]))
    numbers: NDArray[np.float64] = np.concatenate([first[:1], first[0] + np.cumsum(steps)]) / scale
    return numbers


def decode_pic(data: bytes) -> NDArray[np.float64]:
    """Return numbers (n,) that were rounded to whole ones (ion counts).

    Raises
    ------
    ValueError
        If the data end inside a number.
    """
    return np.array(_whole_numbers(data), dtype=np.float64)


def decode_slof(data: bytes) -> NDArray[np.float64]:
    """Return numbers (n,) that were stored as short logarithms: x = exp(k / scale) - 1.

    Raises
    ------
    ValueError
        If the data end inside a number, or the scale is no positive number.
    """
    scale = _scale(data)
    return np.expm1(np.frombuffer(data[_SCALE_BYTES:], dtype="<u2") / scale)


def _scale(data: bytes) -> float:
    if len(data) < _SCALE_BYTES:
        raise ValueError(f"{len(data)} bytes are no MS-Numpress data")
    scale: float = struct.unpack(">d", data[:_SCALE_BYTES])[0]
    if not 0 < scale < float("inf"):
        raise ValueError(f"MS-Numpress data have the scale {scale}")
    return scale


def _whole_numbers(data: bytes) -> list[int]:
    """Return the signed 32-bit numbers of a row of half bytes.

    The first half byte of a number says how many of its eight half bytes are left out as zeros (0
    to 8) or, less 8, as ones; the others follow, the lowest first. A last half byte of 0 fills up.
    """
    halves = data.hex()
    numbers: list[int] = []
    place, end = 0, len(halves)
    while place < end:
        head = int(halves[place], 16)
        place += 1
        if place == end and head == 0:
            break
        n_left_out, number = (head, 0) if head <= 8 else (head - 8, 0xFFFFFFFF)
        n = 8 - n_left_out
        if place + n > end:
            raise ValueError("MS-Numpress data end inside a number")
        if n:
            low = int(halves[place : place + n][::-1], 16)
            number = (number >> 4 * n << 4 * n) | low
            place += n
        numbers.append(number - (1 << 32) if number & _SIGN else number)
    return numbers
