"""The processor's registers, for compiled functions: what the ways to look up in them share.

All of these are for use in compiled functions only. Arrays are C-contiguous, and a place counts
from the beginning of one. What an array of bytes has beside its rows must be readable: 16 bytes are
read at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.core.registry import cpu_target
from numpy.typing import NDArray

LINE = 64  # bytes that memory gives at once
_I32 = ir.IntType(32)


class Lookup(NamedTuple):
    """A way to look up what bits of many fingerprints add.

    Attributes
    ----------
    feature
        What the processor must have.
    parts
        Numbers of bits that are looked up together, of one part after the other, again and again.
    n_rows
        Fingerprints that are looked up together.
    n_bytes
        Bytes of a fingerprint that are read together, so that some after its end are read too.
    planes
        Called with a table for each of the parts, int64 (n, 2^bits), of numbers from 0 to 2^30 - 1.
        Returns what `add` needs of them.
    add
        Called with bytes of fingerprints, the bytes of one, the place where the first one begins,
        what `planes` returned, and totals, int64 (n,), a multiple of `n_rows`. It adds to each
        total what the tables have for the bits of a fingerprint.
    """

    feature: str
    parts: tuple[int, ...]
    n_rows: int
    n_bytes: int
    planes: Callable[[list[NDArray[np.int64]]], NDArray[Any]]
    add: Callable[[NDArray[np.uint8], int, int, NDArray[Any], NDArray[np.int64]], None]


@lru_cache(maxsize=2)
def processor_has(feature: str) -> bool:
    """Return whether the processor that is compiled for has a feature, as LLVM names it."""
    *_, features = cpu_target.target_context.codegen().magic_tuple()
    return f"+{feature}" in features.split(",")


def fetch(builder: Any, packed: Any, place: Any) -> None:
    """Ask the memory for a line of an array, which is needed soon.

    It comes as far as the second cache: the first one is full of tables. Many requests at once are
    slower than a few now and then.
    """
    to_read_into_second_cache = [_I32(0), _I32(2), _I32(1)]
    at = builder.gep(packed, [place])
    call(builder, "llvm.prefetch.p0", ir.VoidType(), at, *to_read_into_second_cache)


def call(builder: Any, name: str, result: Any, *values: Any) -> Any:
    """Return what one of LLVM's functions, most of which are single instructions, gives."""
    kind = ir.FunctionType(result, [value.type for value in values])
    function = cgutils.get_or_insert_function(builder.module, kind, name)  # type: ignore[no-untyped-call]
    return builder.call(function, values)


def arguments(context: Any, builder: Any, signature: Any, args: Any) -> Iterator[Any]:
    """Yield a pointer for each array, and a whole number for each other argument."""
    for kind, argument in zip(signature.args, args, strict=True):
        if isinstance(kind, types.Array):
            yield context.make_array(kind)(context, builder, argument).data
        else:
            yield context.cast(builder, argument, kind, types.intp)


def load(builder: Any, pointer: Any, place: Any, kind: Any) -> Any:
    """Return what an array has from a place on, as a register of a kind."""
    loaded = builder.load(builder.bitcast(builder.gep(pointer, [place]), kind.as_pointer()))
    loaded.align = 1
    return loaded


def store(builder: Any, value: Any, pointer: Any, place: Any) -> None:
    """Write a register into an array from a place on."""
    to = builder.bitcast(builder.gep(pointer, [place]), value.type.as_pointer())
    builder.store(value, to).align = 1


def shuffled(builder: Any, one: Any, other: Any, order: Sequence[int]) -> Any:
    """Return numbers of two registers, by their places in both."""
    places = ir.Constant(ir.VectorType(_I32, len(order)), list(order))
    return builder.shuffle_vector(one, other, places)


def transposed(builder: Any, registers: list[Any]) -> list[Any]:
    """Return n registers whose parts of n numbers, 16 bytes each, are transposed together.

    That is, number j of part k of register i becomes number i of part k of register j. A round
    moves the highest bit of the number of a register behind the bits of the place in a part; when
    both have changed places, all is done.
    """
    n, width = len(registers), registers[0].type.count
    halfway = [
        [
            part + place + source
            for part in range(0, width, n)
            for place in range(first, first + n // 2)
            for source in (0, width)
        ]
        for first in (0, n // 2)
    ]
    for _ in range(n.bit_length() - 1):
        registers = [
            shuffled(builder, one, other, order)
            for one, other in zip(registers[: n // 2], registers[n // 2 :], strict=True)
            for order in halfway
        ]
    return registers
