"""Half bytes of 64 fingerprints looked up together, on a processor with AVX2.

A table of 16 numbers stays in a register, and 32 bytes are looked up at once (``vpshufb``). They
are the same half byte of 32 fingerprints, so the rows of 32 fingerprints are transposed first. A
register's numbers have 8 bits, those of `bit_sums` 30: they are divided into five planes of 6 bits,
each with its own table. Four of them are added before their sum needs more than a byte, and 1,024
before it needs more than two.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types
from numpy.typing import NDArray

from specvae.annotation.evidence.registers import (
    LINE,
    Lookup,
    arguments,
    call,
    fetch,
    load,
    shuffled,
    store,
    transposed,
)
from specvae.molecules.compiling import Typed, compiled_with, intrinsic

_LANES = 32  # rows of a register
_GROUPS = 2  # registers that use a table while it is there
_ROWS = _LANES * _GROUPS
_COLUMNS = 16  # bytes of a row that are transposed together
_HALVES = 2 * _COLUMNS
_TABLES = 16 * _HALVES  # bytes of the tables of a plane for so many columns
_PLANE_BITS = 6
_PLANES = 5
_MOST_COLUMNS = 512 // _COLUMNS  # whose sums fit in two bytes

_REGISTER = ir.VectorType(ir.IntType(8), _LANES)
_HALF_REGISTER = ir.VectorType(ir.IntType(8), 16)
_WORDS = ir.VectorType(ir.IntType(16), 16)


def _planes(tables: list[NDArray[np.int64]]) -> NDArray[np.uint8]:
    """Return what `_add` needs of tables: those of each plane, of 16 bytes after the other."""
    (of_halves,) = tables
    n_columns = -(-of_halves.size // _TABLES)
    padded = np.zeros(n_columns * _TABLES, np.int64)
    padded[: of_halves.size] = of_halves.reshape(-1)
    shifts = _PLANE_BITS * np.arange(_PLANES)[:, np.newaxis]
    divided = padded.reshape(n_columns, 1, _TABLES) >> shifts & 2**_PLANE_BITS - 1
    return np.asarray(divided.astype(np.uint8).reshape(-1))


@intrinsic
def _transpose(_: Any, packed: Any, place: Any, n_bytes: Any, halves: Any, to: Any) -> Typed:
    """``_transpose(packed, place, n_bytes, halves, to)``: 16 bytes of 32 rows of `n_bytes`.

    For each half of each byte, the lower one first, 32 bytes are written, one for each row.
    """

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        packed, place, n_bytes, halves, to = arguments(context, builder, signature, args)
        whole = place.type

        def row(n: int) -> Any:
            start = builder.add(place, builder.mul(n_bytes, whole(n)))
            return load(builder, packed, start, _HALF_REGISTER)

        rows = [shuffled(builder, row(n), row(n + 16), range(_LANES)) for n in range(16)]
        for n, column in enumerate(transposed(builder, rows)):
            low = builder.and_(column, _REGISTER([15] * _LANES))
            high = builder.lshr(column, _REGISTER([4] * _LANES))
            store(builder, low, halves, builder.add(to, whole(2 * n * _LANES)))
            store(builder, high, halves, builder.add(to, whole((2 * n + 1) * _LANES)))
        return context.get_dummy_value()

    return types.void(packed, place, n_bytes, halves, to), code


@intrinsic
def _look_up(
    _: Any, halves: Any, tables: Any, table: Any, words: Any, place: Any, packed: Any, soon: Any
) -> Typed:
    """``_look_up(halves, tables, ...)``: what 32 half bytes of 64 rows add.

    Each half byte has a table of 16 numbers below 64. For each 32 rows, 32 words of 16 bits are
    added to: 16 have the sums of two rows, the second one's times 2^8, modulo 2^16, and 16 those of
    the second rows alone. Meanwhile four lines of `packed` are fetched from `soon` on.
    """

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        halves, tables, table, words, place, packed, soon = arguments(
            context, builder, signature, args
        )
        whole = place.type
        places = [builder.add(place, whole(16 * n)) for n in range(2 * _GROUPS)]
        sums = [load(builder, words, each, _WORDS) for each in places]
        for first in range(0, _HALVES, 4):
            if first % 8 == 0:
                fetch(builder, packed, builder.add(soon, whole(first * LINE // 8)))
            fours: list[Any] = [None] * _GROUPS
            for n in range(first, first + 4):
                one = load(builder, tables, builder.add(table, whole(16 * n)), _HALF_REGISTER)
                both = shuffled(builder, one, one, [*range(16), *range(16)])
                for group in range(_GROUPS):
                    half = whole((group * _HALVES + n) * _LANES)
                    values = load(builder, halves, half, _REGISTER)
                    found = call(builder, "llvm.x86.avx2.pshuf.b", _REGISTER, both, values)
                    four = fours[group]
                    fours[group] = found if four is None else builder.add(four, found)
            for group, four in enumerate(fours):
                of_two_rows = builder.bitcast(four, _WORDS)
                second = builder.lshr(of_two_rows, _WORDS([8] * 16))
                sums[2 * group] = builder.add(sums[2 * group], of_two_rows)
                sums[2 * group + 1] = builder.add(sums[2 * group + 1], second)
        for each, value in zip(places, sums, strict=True):
            store(builder, value, words, each)
        return context.get_dummy_value()

    return types.void(halves, tables, table, words, place, packed, soon), code


@compiled_with(nogil=True)
def _add(
    packed: NDArray[np.uint8],
    n_bytes: int,
    place: int,
    tables: NDArray[np.uint8],
    totals: NDArray[np.int64],
) -> None:  # pragma: no cover (compiled)
    halves = np.empty(_GROUPS * _HALVES * _LANES, np.uint8)
    words = np.empty(_PLANES * _GROUPS * _LANES, np.uint16)
    n_columns = len(tables) // (_PLANES * _TABLES)
    for row in range(0, len(totals), _ROWS):
        for first in range(0, n_columns, _MOST_COLUMNS):
            for n in range(len(words)):
                words[n] = 0
            for column in range(first, min(first + _MOST_COLUMNS, n_columns)):
                for group in range(_GROUPS):
                    start = place + (row + group * _LANES) * n_bytes + column * _COLUMNS
                    _transpose(packed, start, n_bytes, halves, group * _HALVES * _LANES)
                soon = place + (row + _ROWS) * n_bytes + column * _ROWS * _COLUMNS
                for plane in range(_PLANES):
                    table = (column * _PLANES + plane) * _TABLES
                    _look_up(halves, tables, table, words, plane * _ROWS, packed, soon)
                    soon += 4 * LINE
            for n in range(_PLANES * _GROUPS):  # the words of a plane and 32 rows
                plane, to = n // _GROUPS, row + n % _GROUPS * _LANES
                for word in range(16):
                    both = np.int64(words[n * _LANES + word])
                    second = np.int64(words[n * _LANES + 16 + word])
                    one = (both - (second << 8)) & 0xFFFF
                    totals[to + 2 * word] += one << (_PLANE_BITS * plane)
                    totals[to + 2 * word + 1] += second << (_PLANE_BITS * plane)


BITS_OF_HALF_BYTES = Lookup("avx2", (4,), _ROWS, _COLUMNS, _planes, _add)
