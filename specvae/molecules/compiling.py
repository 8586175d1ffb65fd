"""How functions over arrays are compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, cast

import numpy as np
from numba import njit

_P = ParamSpec("_P")
_R = TypeVar("_R")


def compiled_with(
    **options: Any,  # noqa: ANN401 (those of numba.njit)
) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]:
    """Return what compiles a function over arrays, once for all processes to come.

    Where neither the program's folder nor the user's can be written to, as in a container that runs
    as another user, each process compiles for itself.

    A new user waits for the compiler, so the code is written to be compiled fast. Loops over single
    numbers compile in a tenth of the time of sums, copies and sorts of arrays. What one function
    calls is optimised again within it: steps of a calculation are called from Python one by one,
    and share no more than small functions (`inner`). Each new pair of a function of numpy and the
    type of its arrays is compiled too.
    """

    def compile_(function: Callable[_P, _R]) -> Callable[_P, _R]:
        # No entry for C, which nobody calls and which takes a twentieth of the compiler's time.
        all_options: dict[str, Any] = {"no_cfunc_wrapper": True} | options
        try:
            return cast("Callable[_P, _R]", njit(cache=True, **all_options)(function))
        except RuntimeError:  # "no locator available"
            return cast("Callable[_P, _R]", njit(**all_options)(function))

    return compile_


def compiled(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Compile a function over arrays; see `compiled_with`."""
    return compiled_with()(function)


ZERO: int = cast("int", np.int64(0))
"""Where a number that compiled functions hand on begins: each is compiled anew for a literal 0."""


def inner_with(
    **options: Any,  # noqa: ANN401 (those of numba.njit)
) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]:
    """Return what compiles a function that only compiled functions call.

    It has no entry for Python, and is kept with those that call it.
    """

    def compile_(function: Callable[_P, _R]) -> Callable[_P, _R]:
        all_options: dict[str, Any] = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
        return cast("Callable[_P, _R]", njit(**all_options | options)(function))

    return compile_


def inner(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Compile a function that only compiled functions call; see `inner_with`."""
    return inner_with()(function)
