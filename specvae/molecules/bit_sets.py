"""Sets of small numbers, such as the atoms of a molecule, as the bits of a word.

For use in compiled functions only. `popcount` and `lowest_bit` are single instructions for which
Numba has no name, and `unsigned` saves one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types

from specvae.molecules.compiling import Typed, inner, intrinsic

SET_SIZE = 62
"""Numbers, from 0 on, that a set of int64 has room for."""


@intrinsic
def popcount(_: Any, word: Any) -> Typed:  # noqa: ANN401
    """``popcount(word)``: how many bits of a uint64 are set."""

    def code(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:  # noqa: ANN401
        return builder.ctpop(args[0])

    return types.uint64(word), code


@intrinsic
def lowest_bit(_: Any, word: Any) -> Typed:  # noqa: ANN401
    """``lowest_bit(word)``: the place of the lowest bit that is set, 64 for none, int64."""

    def code(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:  # noqa: ANN401
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(word), code


@inner
def unsigned(place: int) -> np.uint64:
    """Return a place in an array as a number that is never counted from the end."""
    return np.uint64(place)


@inner
def lowest_of(numbers: int) -> int:
    """Return the lowest number of a set of int64."""
    return int(lowest_bit(np.uint64(numbers)))


@inner
def size_of(numbers: int) -> int:
    """Return how many numbers a set of int64 has."""
    return int(popcount(np.uint64(numbers)))
