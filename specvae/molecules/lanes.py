"""Eight float32 numbers at a time, for compiled functions.

A loop that Numba compiles adds rows of a table up in memory. With these functions the sums stay in
the processor's registers. On a processor that adds only four numbers at once, LLVM makes two
operations of each. `popcount` and `lowest_bit` are single instructions for which Numba has no name.

All of them are for use in compiled functions only. An array must be C-contiguous, and a place in it
counts from its beginning, whatever its shape.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.core.datamodel.models import PrimitiveModel
from numba.extending import intrinsic, register_model

N_LANES = 8

_VECTOR = ir.VectorType(ir.FloatType(), N_LANES)
_FLOAT_BYTES = 4
_FMULADD = f"llvm.fmuladd.v{N_LANES}f32"  # in one step where the processor can


class _Lanes(types.Type):
    """Numba's type of eight numbers."""

    def __init__(self) -> None:
        super().__init__("Lanes")


@register_model(_Lanes)
class _LanesModel(PrimitiveModel):
    """How LLVM holds them: in one register."""

    def __init__(self, manager: Any, lanes: Any) -> None:  # noqa: ANN401
        super().__init__(manager, lanes, _VECTOR)  # type: ignore[no-untyped-call]


_LANES = _Lanes()

_Typed = tuple[Any, Callable[..., Any]]

# Called with other arguments than those that the functions below have.
_intrinsic: Callable[[Callable[..., _Typed]], Any] = intrinsic


def _pointer(context: Any, builder: Any, signature: Any, args: Sequence[Any]) -> Any:  # noqa: ANN401
    """Return the pointer to eight numbers of an array, the first two of the arguments."""
    array = context.make_array(signature.args[0])(context, builder, args[0])
    place = context.cast(builder, args[1], signature.args[1], types.intp)
    return builder.bitcast(builder.gep(array.data, [place]), _VECTOR.as_pointer())


def _spread(builder: Any, value: Any) -> Any:  # noqa: ANN401
    """Return a float32 in each of the lanes."""
    one = builder.insert_element(
        ir.Constant(_VECTOR, ir.Undefined), value, ir.Constant(ir.IntType(32), 0)
    )
    everywhere = ir.Constant(ir.VectorType(ir.IntType(32), N_LANES), [0] * N_LANES)
    return builder.shuffle_vector(one, ir.Constant(_VECTOR, ir.Undefined), everywhere)


@_intrinsic
def load(_: Any, array: Any, place: Any) -> _Typed:  # noqa: ANN401
    """``load(array, place)``: eight numbers of a float32 array."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:  # noqa: ANN401
        loaded = builder.load(_pointer(context, builder, signature, args))
        loaded.align = _FLOAT_BYTES
        return loaded

    return _LANES(array, place), code


@_intrinsic
def store(_: Any, array: Any, place: Any, lanes: Any) -> _Typed:  # noqa: ANN401
    """``store(array, place, lanes)``: write them to a float32 array."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:  # noqa: ANN401
        stored = builder.store(args[2], _pointer(context, builder, signature, args))
        stored.align = _FLOAT_BYTES
        return context.get_dummy_value()

    return types.void(array, place, lanes), code


@_intrinsic
def zeros(_: Any) -> _Typed:  # noqa: ANN401
    """``zeros()``: eight times 0."""

    def code(_context: Any, _builder: Any, _signature: Any, _args: Any) -> Any:  # noqa: ANN401
        return ir.Constant(_VECTOR, [0.0] * N_LANES)

    return _LANES(), code


@_intrinsic
def add(_: Any, one: Any, other: Any) -> _Typed:  # noqa: ANN401
    """``add(one, other)``: the sums."""

    def code(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:  # noqa: ANN401
        return builder.fadd(args[0], args[1])

    return _LANES(one, other), code


@_intrinsic
def add_times(_: Any, total: Any, factor: Any, lanes: Any) -> _Typed:  # noqa: ANN401
    """``add_times(total, factor, lanes)``: ``total + factor * lanes`` with one factor for all."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:  # noqa: ANN401
        single = context.cast(builder, args[1], signature.args[1], types.float32)
        of_three = ir.FunctionType(_VECTOR, [_VECTOR, _VECTOR, _VECTOR])
        function = cgutils.get_or_insert_function(builder.module, of_three, _FMULADD)  # type: ignore[no-untyped-call]
        return builder.call(function, [_spread(builder, single), args[2], args[0]])

    return _LANES(total, factor, lanes), code


@_intrinsic
def times(_: Any, one: Any, other: Any) -> _Typed:  # noqa: ANN401
    """``times(one, other)``: the products."""

    def code(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:  # noqa: ANN401
        return builder.fmul(args[0], args[1])

    return _LANES(one, other), code


@_intrinsic
def rectified(_: Any, lanes: Any) -> _Typed:  # noqa: ANN401
    """``rectified(lanes)``: 0 where they are below 0."""

    def code(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:  # noqa: ANN401
        nothing = ir.Constant(_VECTOR, [0.0] * N_LANES)
        return builder.select(builder.fcmp_ordered(">", args[0], nothing), args[0], nothing)

    return _LANES(lanes), code


@_intrinsic
def popcount(_: Any, word: Any) -> _Typed:  # noqa: ANN401
    """``popcount(word)``: how many bits of a uint64 are set."""

    def code(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:  # noqa: ANN401
        return builder.ctpop(args[0])

    return types.uint64(word), code


@_intrinsic
def lowest_bit(_: Any, word: Any) -> _Typed:  # noqa: ANN401
    """``lowest_bit(word)``: the place of the lowest bit that is set, 64 for none, int64."""

    def code(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:  # noqa: ANN401
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(word), code
