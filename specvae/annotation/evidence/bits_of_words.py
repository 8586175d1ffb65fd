"""Words of 16 bits of 128 fingerprints looked up together, on a processor with AVX-512.

A word is looked up in three parts, of 5, 5 and 6 bits. The numbers of such a table stay in one
register or two, and 32 of them, of 16 bits, are looked up at once (``vpermw``, ``vpermi2w``, which
see the lowest bits of a place alone). They are the same bits of 32 fingerprints, so the rows are
transposed first. The numbers of `bit_sums` have 30 bits: they are divided into three planes of 10
bits, each with its own tables, and 64 of them could be added before their sum needs more than two
bytes. 32 bytes of a row have 48.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
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
_GROUPS = 4  # registers that use a table while it is there
_ROWS = _LANES * _GROUPS
_WORDS = 16  # of a row that are transposed together
_PARTS = (5, 5, 6)  # bits of a word
_REGISTERS = (1, 1, 2)  # that hold a table of each part
_PLANE_BITS = 10
_PLANES = 3
_TABLES = _LANES * sum(_REGISTERS) * _PLANES  # numbers of the tables of a word

_REGISTER = ir.VectorType(ir.IntType(16), _LANES)
_EIGHT = ir.VectorType(ir.IntType(16), 8)


def _planes(tables: list[NDArray[np.int64]]) -> NDArray[np.uint16]:
    """Return what `_add` needs of tables: for each word and in it each part, those of the planes.

    They begin where a line of memory does, since each register would be read from two otherwise.
    """
    shifts = _PLANE_BITS * np.arange(_PLANES)[:, np.newaxis]
    of_parts = [table[:, np.newaxis] >> shifts & 2**_PLANE_BITS - 1 for table in tables]
    of_words = np.concatenate([part.reshape(len(part), -1) for part in of_parts], axis=1)
    n = -(-len(of_words) // _WORDS) * _WORDS * _TABLES
    room = np.zeros(n + LINE // 2, np.uint16)
    first = -room.ctypes.data % LINE // 2
    planes = room[first : first + n]
    planes[: of_words.size] = of_words.reshape(-1)
    return planes


@intrinsic
def _transpose(_: Any, packed: Any, place: Any, n_bytes: Any, words: Any, to: Any) -> Typed:
    """``_transpose(packed, place, n_bytes, words, to)``: 16 bytes of 32 rows of `n_bytes`.

    For each of the eight words, 32 words are written, one for each row, with room for those of the
    other groups in between.
    """

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        packed, place, n_bytes, words, to = arguments(context, builder, signature, args)
        whole = place.type

        def rows(n: int) -> Any:
            """Return rows n, n + 8, n + 16 and n + 24."""
            starts = [builder.add(place, builder.mul(n_bytes, whole(n + 8 * k))) for k in range(4)]
            parts = [load(builder, packed, start, _EIGHT) for start in starts]
            low, high = (shuffled(builder, parts[k], parts[k + 1], range(16)) for k in (0, 2))
            return shuffled(builder, low, high, range(_LANES))

        for n, column in enumerate(transposed(builder, [rows(n) for n in range(8)])):
            store(builder, column, words, builder.add(to, whole(n * _ROWS)))
        return context.get_dummy_value()

    return types.void(packed, place, n_bytes, words, to), code


@intrinsic
def _look_up(
    _: Any, words: Any, tables: Any, table: Any, sums: Any, packed: Any, soon: Any
) -> Typed:
    """``_look_up(words, tables, table, sums, packed, soon)``: what 16 words of 128 rows add.

    For each plane, and in it for each row, a sum of 16 bits is written. Meanwhile as many bytes of
    `packed` are fetched from `soon` on.
    """

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        words, tables, table, sums, packed, soon = arguments(context, builder, signature, args)
        whole = table.type
        look_up = ("llvm.x86.avx512.permvar.hi.512", "llvm.x86.avx512.vpermi2var.hi.512")
        found = [
            cgutils.alloca_once_value(builder, _REGISTER([0] * _LANES))  # type: ignore[no-untyped-call]
            for _ in range(_PLANES * _GROUPS)
        ]
        # A loop: written out, the compiler would keep more in hand than there are registers.
        with cgutils.for_range(builder, whole(_WORDS)) as loop:
            lines = builder.add(soon, builder.mul(loop.index, whole(2 * _ROWS)))
            for n in range(0, 2 * _ROWS, LINE):
                fetch(builder, packed, builder.add(lines, whole(n)))
            word = builder.mul(loop.index, whole(_ROWS))
            at = builder.add(table, builder.mul(loop.index, whole(_TABLES)))
            shift = 0
            for n_bits, n_registers in zip(_PARTS, _REGISTERS, strict=True):
                of_planes = []
                for _ in range(_PLANES):
                    places = [builder.add(at, whole(n * _LANES)) for n in range(n_registers)]
                    of_planes.append([load(builder, tables, each, _REGISTER) for each in places])
                    at = builder.add(at, whole(n_registers * _LANES))
                for group in range(_GROUPS):
                    of_rows = builder.add(word, whole(group * _LANES))
                    bits = load(builder, words, of_rows, _REGISTER)
                    bits = builder.lshr(bits, _REGISTER([shift] * _LANES))
                    for plane, (low, *high) in enumerate(of_planes):
                        values = call(builder, look_up[len(high)], _REGISTER, low, bits, *high)
                        to = found[plane * _GROUPS + group]
                        builder.store(builder.add(builder.load(to), values), to)
                shift += n_bits
        for n, each in enumerate(found):
            store(builder, builder.load(each), sums, whole(n * _LANES))
        return context.get_dummy_value()

    return types.void(words, tables, table, sums, packed, soon), code


@compiled_with(nogil=True)
def _add(
    packed: NDArray[np.uint8],
    n_bytes: int,
    place: int,
    tables: NDArray[np.uint16],
    totals: NDArray[np.int64],
) -> None:  # pragma: no cover (compiled)
    words = np.empty(_WORDS * _ROWS, np.uint16)
    sums = np.empty(_PLANES * _ROWS, np.uint16)
    n_columns = len(tables) // (_WORDS * _TABLES)
    for row in range(0, len(totals), _ROWS):
        here = totals[row : row + _ROWS]
        for column in range(n_columns):
            start = place + row * n_bytes + column * 2 * _WORDS
            for group in range(_GROUPS):
                for eight in range(0, _WORDS, 8):
                    to = eight * _ROWS + group * _LANES
                    _transpose(packed, start + 2 * eight, n_bytes, words, to)
                start += _LANES * n_bytes
            soon = place + (row + _ROWS) * n_bytes + column * 2 * _WORDS * _ROWS
            _look_up(words, tables, column * _WORDS * _TABLES, sums, packed, soon)
            for n in range(_ROWS):
                low, middle, high = sums[n], sums[n + _ROWS], sums[n + 2 * _ROWS]
                here[n] += (
                    np.int64(low)
                    + (np.int64(middle) << _PLANE_BITS)
                    + (np.int64(high) << 2 * _PLANE_BITS)
                )


BITS_OF_WORDS = Lookup("avx512bw", _PARTS, _ROWS, 2 * _WORDS, _planes, _add)
