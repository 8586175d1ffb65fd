"""Eight float32 numbers at a time, for compiled functions.

A loop that Numba compiles adds rows of a table up in memory. With these functions the sums stay in
the processor's registers. On a processor that adds only four numbers at once, LLVM makes two
operations of each.

All of them are for use in compiled functions only. An array must be C-contiguous, and a place in it
counts from its beginning, whatever its shape.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.core.datamodel.models import PrimitiveModel
from numba.extending import register_model

from specvae.molecules.compiling import Typed, intrinsic

N_LANES = 8

_VECTOR = ir.VectorType(ir.FloatType(), N_LANES)
_FLOAT_BYTES = 4
_FMULADD = f"llvm.fmuladd.v{N_LANES}f32"  # in one step where the processor can
_FLOOR = f"llvm.floor.v{N_LANES}f32"

# Of `exponentials`: log 2 is the sum of two numbers, the first with few digits.
_LOG2_E, _LOG_2_HIGH, _LOG_2_LOW = 1.44269504088896341, 0.693359375, -2.12194440e-4
_EXP = (
    1.9875691500e-4,
    1.3981999507e-3,
    8.3334519073e-3,
    4.1665795894e-2,
    1.6666665459e-1,
    0.5,
)
_EXPONENT_OF_ONE, _EXPONENT_PLACE = 127, 23  # of a float32


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


@intrinsic
def load(_: Any, array: Any, place: Any) -> Typed:  # noqa: ANN401
    """``load(array, place)``: eight numbers of a float32 array."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:  # noqa: ANN401
        loaded = builder.load(_pointer(context, builder, signature, args))
        loaded.align = _FLOAT_BYTES
        return loaded

    return _LANES(array, place), code


@intrinsic
def store(_: Any, array: Any, place: Any, lanes: Any) -> Typed:  # noqa: ANN401
    """``store(array, place, lanes)``: write them to a float32 array."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:  # noqa: ANN401
        stored = builder.store(args[2], _pointer(context, builder, signature, args))
        stored.align = _FLOAT_BYTES
        return context.get_dummy_value()

    return types.void(array, place, lanes), code


@intrinsic
def zeros(_: Any) -> Typed:  # noqa: ANN401
    """``zeros()``: eight times 0."""

    def code(_context: Any, _builder: Any, _signature: Any, _args: Any) -> Any:  # noqa: ANN401
        return ir.Constant(_VECTOR, [0.0] * N_LANES)

    return _LANES(), code


@intrinsic
def add(_: Any, one: Any, other: Any) -> Typed:  # noqa: ANN401
    """``add(one, other)``: the sums."""

    def code(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:  # noqa: ANN401
        return builder.fadd(args[0], args[1])

    return _LANES(one, other), code


@intrinsic
def add_times(_: Any, total: Any, factor: Any, lanes: Any) -> Typed:  # noqa: ANN401
    """``add_times(total, factor, lanes)``: ``total + factor * lanes`` with one factor for all."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:  # noqa: ANN401
        single = context.cast(builder, args[1], signature.args[1], types.float32)
        of_three = ir.FunctionType(_VECTOR, [_VECTOR, _VECTOR, _VECTOR])
        function = cgutils.get_or_insert_function(builder.module, of_three, _FMULADD)  # type: ignore[no-untyped-call]
        return builder.call(function, [_spread(builder, single), args[2], args[0]])

    return _LANES(total, factor, lanes), code


@intrinsic
def times(_: Any, one: Any, other: Any) -> Typed:  # noqa: ANN401
    """``times(one, other)``: the products."""

    def code(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:  # noqa: ANN401
        return builder.fmul(args[0], args[1])

    return _LANES(one, other), code


@intrinsic
def rectified(_: Any, lanes: Any) -> Typed:  # noqa: ANN401
    """``rectified(lanes)``: 0 where they are below 0."""

    def code(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:  # noqa: ANN401
        nothing = ir.Constant(_VECTOR, [0.0] * N_LANES)
        return builder.select(builder.fcmp_ordered(">", args[0], nothing), args[0], nothing)

    return _LANES(lanes), code


@intrinsic
def spread(_: Any, value: Any) -> Typed:  # noqa: ANN401
    """``spread(value)``: a number in each of the lanes."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:  # noqa: ANN401
        single = context.cast(builder, args[0], signature.args[0], types.float32)
        return _spread(builder, single)

    return _LANES(value), code


@intrinsic
def quotient(_: Any, one: Any, other: Any) -> Typed:  # noqa: ANN401
    """``quotient(one, other)``: the quotients; no error where a divisor is 0."""

    def code(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:  # noqa: ANN401
        return builder.fdiv(args[0], args[1])

    return _LANES(one, other), code


@intrinsic
def within(_: Any, lanes: Any, most: Any) -> Typed:  # noqa: ANN401
    """``within(lanes, most)``: no more than `most`, no less than ``-most``, a float32 above 0."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:  # noqa: ANN401
        high = _spread(builder, context.cast(builder, args[1], signature.args[1], types.float32))
        low = builder.fsub(ir.Constant(_VECTOR, [0.0] * N_LANES), high)
        lanes = builder.select(builder.fcmp_ordered("<", args[0], high), args[0], high)
        return builder.select(builder.fcmp_ordered(">", lanes, low), lanes, low)

    return _LANES(lanes, most), code


@intrinsic
def exponentials(_: Any, lanes: Any) -> Typed:  # noqa: ANN401
    """``exponentials(lanes)``: of numbers between -80 and 80, right to 1e-7.

    ``2^n exp(r)``, where r is at most half of log 2 and its exponential a polynomial (that of
    Cephes, S. L. Moshier).
    """

    def code(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:  # noqa: ANN401
        integers = ir.VectorType(ir.IntType(32), N_LANES)
        module, x = builder.module, args[0]
        get = cgutils.get_or_insert_function
        of_three = ir.FunctionType(_VECTOR, [_VECTOR, _VECTOR, _VECTOR])
        add_product = get(module, of_three, _FMULADD)  # type: ignore[no-untyped-call]
        floor = get(module, ir.FunctionType(_VECTOR, [_VECTOR]), _FLOOR)  # type: ignore[no-untyped-call]

        def constant(value: float) -> Any:  # noqa: ANN401
            return ir.Constant(_VECTOR, [float(np.float32(value))] * N_LANES)

        def plus(total: Any, one: Any, other: Any) -> Any:  # noqa: ANN401
            return builder.call(add_product, [one, other, total])

        power = builder.call(floor, [plus(constant(0.5), x, constant(_LOG2_E))])
        r = plus(x, power, constant(-_LOG_2_HIGH))
        r = plus(r, power, constant(-_LOG_2_LOW))
        total = constant(_EXP[0])
        for factor in _EXP[1:]:
            total = plus(constant(factor), r, total)
        total = builder.fadd(plus(r, builder.fmul(r, r), total), constant(1.0))
        exponent = builder.add(
            builder.fptosi(power, integers), ir.Constant(integers, [_EXPONENT_OF_ONE] * N_LANES)
        )
        exponent = builder.shl(exponent, ir.Constant(integers, [_EXPONENT_PLACE] * N_LANES))
        return builder.fmul(total, builder.bitcast(exponent, _VECTOR))

    return _LANES(lanes), code
