"""32 bytes at a time, for compiled functions: a table of half bytes, looked up and added.

All of these are for use in compiled functions only, on a processor that `has_registers`. Arrays are
C-contiguous, and a place counts from the beginning of one. What an array of bytes has beside its
rows must be readable: 16 bytes are read at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.core.registry import cpu_target
from numba.extending import intrinsic

LANES = 32  # rows of a register
GROUPS = 2  # registers that use a table while it is there
COLUMNS = 16  # bytes of a row that are transposed together
HALVES = 2 * COLUMNS
TABLES = 16 * HALVES  # bytes of the tables of a plane for so many columns
FETCHED = LANES * GROUPS * COLUMNS  # bytes of so many columns of all rows
_LINE = 64  # bytes that memory gives at once

_I32 = ir.IntType(32)
_REGISTER = ir.VectorType(ir.IntType(8), LANES)
_HALF_REGISTER = ir.VectorType(ir.IntType(8), 16)
_WORDS = ir.VectorType(ir.IntType(16), 16)

_Typed = tuple[Any, Callable[..., Any]]
# Called with other arguments than those that the functions below have.
_intrinsic: Callable[[Callable[..., _Typed]], Any] = intrinsic


@lru_cache(maxsize=1)
def has_registers() -> bool:
    """Return whether the processor that is compiled for can look up 32 bytes at once."""
    *_, features = cpu_target.target_context.codegen().magic_tuple()
    return "+avx2" in features.split(",")


@_intrinsic
def fetch(_: Any, packed: Any, place: Any) -> _Typed:  # noqa: ANN401
    """``fetch(packed, place)``: ask the memory for `FETCHED` bytes, which are needed soon."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:  # noqa: ANN401
        packed, place = _arguments(context, builder, signature, args)
        of_fetch = ir.FunctionType(ir.VoidType(), [packed.type, _I32, _I32, _I32])
        fetch = cgutils.get_or_insert_function(builder.module, of_fetch, "llvm.prefetch.p0")  # type: ignore[no-untyped-call]
        for n in range(0, FETCHED, _LINE):
            line = builder.gep(packed, [builder.add(place, place.type(n))])
            builder.call(fetch, [line, _I32(0), _I32(3), _I32(1)])  # to read, into the first cache
        return context.get_dummy_value()

    return types.void(packed, place), code


@_intrinsic
def transpose(_: Any, packed: Any, place: Any, n_bytes: Any, halves: Any, to: Any) -> _Typed:  # noqa: ANN401
    """``transpose(packed, place, n_bytes, halves, to)``: 16 bytes of 32 rows of `n_bytes`.

    For each half of each byte, the lower one first, 32 bytes are written, one for each row.
    """

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:  # noqa: ANN401
        packed, place, n_bytes, halves, to = _arguments(context, builder, signature, args)
        whole = place.type

        def row(n: int) -> Any:  # noqa: ANN401
            start = builder.add(place, builder.mul(n_bytes, whole(n)))
            return _load(builder, packed, start, _HALF_REGISTER)

        columns = [_shuffled(builder, row(n), row(n + 16), range(32)) for n in range(16)]
        # Within each half of a register. A round moves the highest bit of the number of a row
        # behind the bits of the number of a column; after four of them both have changed places.
        halfway = [
            [
                half + n + source
                for half in (0, 16)
                for n in range(first, first + 8)
                for source in (0, 32)
            ]
            for first in (0, 8)
        ]
        for _ in range(4):
            columns = [
                _shuffled(builder, one, other, order)
                for one, other in zip(columns[:8], columns[8:], strict=True)
                for order in halfway
            ]
        for n, column in enumerate(columns):
            low = builder.and_(column, _REGISTER([15] * LANES))
            high = builder.lshr(column, _REGISTER([4] * LANES))
            _store(builder, low, halves, builder.add(to, whole(2 * n * LANES)))
            _store(builder, high, halves, builder.add(to, whole((2 * n + 1) * LANES)))
        return context.get_dummy_value()

    return types.void(packed, place, n_bytes, halves, to), code


@_intrinsic
def add_looked_up(_: Any, halves: Any, tables: Any, table: Any, words: Any, place: Any) -> _Typed:  # noqa: ANN401
    """``add_looked_up(halves, tables, table, words, place)``: what 32 half bytes of 64 rows add.

    Each half byte has a table of 16 numbers below 64. For each 32 rows, 32 words of 16 bits are
    added to: 16 have the sums of two rows, the second one's times 2^8, modulo 2^16, and 16 those of
    the second rows alone.
    """

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:  # noqa: ANN401
        halves, tables, table, words, place = _arguments(context, builder, signature, args)
        whole = place.type
        of_two = ir.FunctionType(_REGISTER, [_REGISTER, _REGISTER])
        look_up = cgutils.get_or_insert_function(builder.module, of_two, "llvm.x86.avx2.pshuf.b")  # type: ignore[no-untyped-call]
        places = [builder.add(place, whole(16 * n)) for n in range(2 * GROUPS)]
        sums = [_load(builder, words, each, _WORDS) for each in places]
        for first in range(0, HALVES, 4):
            fours: list[Any] = [None] * GROUPS
            for n in range(first, first + 4):
                one = _load(builder, tables, builder.add(table, whole(16 * n)), _HALF_REGISTER)
                both = _shuffled(builder, one, one, [*range(16), *range(16)])
                for group in range(GROUPS):
                    half = whole((group * HALVES + n) * LANES)
                    values = _load(builder, halves, half, _REGISTER)
                    found = builder.call(look_up, [both, values])
                    four = fours[group]
                    fours[group] = found if four is None else builder.add(four, found)
            for group, four in enumerate(fours):
                of_two_rows = builder.bitcast(four, _WORDS)
                second = builder.lshr(of_two_rows, _WORDS([8] * 16))
                sums[2 * group] = builder.add(sums[2 * group], of_two_rows)
                sums[2 * group + 1] = builder.add(sums[2 * group + 1], second)
        for each, value in zip(places, sums, strict=True):
            _store(builder, value, words, each)
        return context.get_dummy_value()

    return types.void(halves, tables, table, words, place), code


def _arguments(context: Any, builder: Any, signature: Any, args: Any) -> Iterator[Any]:  # noqa: ANN401
    """Yield a pointer for each array, and a whole number for each other argument."""
    for kind, argument in zip(signature.args, args, strict=True):
        if isinstance(kind, types.Array):
            yield context.make_array(kind)(context, builder, argument).data
        else:
            yield context.cast(builder, argument, kind, types.intp)


def _load(builder: Any, pointer: Any, place: Any, kind: Any) -> Any:  # noqa: ANN401
    loaded = builder.load(builder.bitcast(builder.gep(pointer, [place]), kind.as_pointer()))
    loaded.align = 1
    return loaded


def _store(builder: Any, value: Any, pointer: Any, place: Any) -> None:  # noqa: ANN401
    to = builder.bitcast(builder.gep(pointer, [place]), value.type.as_pointer())
    builder.store(value, to).align = 1


def _shuffled(builder: Any, one: Any, other: Any, order: Sequence[int]) -> Any:  # noqa: ANN401
    """Return 32 bytes of two registers, by their numbers in both."""
    return builder.shuffle_vector(one, other, ir.Constant(ir.VectorType(_I32, 32), list(order)))
