"""How functions over arrays are compiled."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Iterator
from contextlib import suppress
from types import CodeType, ModuleType
from typing import Any, ParamSpec, TypeVar, cast

import numpy as np

from specvae.errors import ConfigError

try:
    from numba import config, extending, njit
except ValueError as error:  # NUMBA_NUM_THREADS=0
    raise ConfigError(f"numba cannot be used, by its environment variables: {error}") from None
if getattr(config, "DISABLE_JIT", False):
    raise ConfigError("NUMBA_DISABLE_JIT is set; wanted it unset: functions must be compiled")

_P = ParamSpec("_P")
_R = TypeVar("_R")

Typed = tuple[Any, Callable[..., Any]]
"""What an `intrinsic` returns: a signature of Numba's types, and what writes the code."""

# Called with other arguments than those that it decorates: those of the signature.
intrinsic: Callable[[Callable[..., Typed]], Any] = extending.intrinsic
"""Makes a function whose code is written by hand."""


def compiled_with(
    **options: Any,  # noqa: ANN401 (those of numba.njit)
) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]:
    """Return what compiles a function over arrays, once for all processes to come.

    Where neither the program's folder nor the user's can be written to, as in a container that runs
    as another user, each process compiles for itself; so it does where the disk is full.

    A new user waits for the compiler, so the code is written to be compiled fast. Loops over single
    numbers compile in a tenth of the time of sums, copies and sorts of arrays. What one function
    calls is optimised again within it: steps of a calculation are called from Python one by one,
    and share no more than small functions (`inner`). Each new pair of a function of numpy and the
    type of its arrays is compiled too.

    Numba keeps machine code by the name of a function and the text of its module alone, but what it
    calls from other modules is in that code as well. So that an upgrade never runs code that was
    made of an earlier version of these, the name is given `ingredients`. All that a function calls
    must therefore be defined before it.
    """

    def compile_(function: Callable[_P, _R]) -> Callable[_P, _R]:
        # No entry for C, which nobody calls and which takes a twentieth of the compiler's time.
        all_options: dict[str, Any] = {"no_cfunc_wrapper": True} | options
        function.__qualname__ += f"-{ingredients(function)}"
        try:
            made = njit(cache=True, **all_options)(function)
        except RuntimeError:  # "no locator available"
            return cast("Callable[_P, _R]", njit(**all_options)(function))
        _keep_if_possible(made)
        return cast("Callable[_P, _R]", made)

    return compile_


def _keep_if_possible(made: Any) -> None:  # noqa: ANN401 (numba's dispatcher)
    """Let a function be used all the same that cannot be kept, or whose kept code is damaged.

    A disk may be full, and files without content after the power failed.
    """
    cache = getattr(made, "_cache", None)
    save, load = getattr(cache, "save_overload", None), getattr(cache, "load_overload", None)
    if cache is None or save is None or load is None:
        return

    def save_if_possible(signature: object, data: object) -> None:
        with suppress(OSError):
            save(signature, data)

    def load_if_sound(signature: object, context: object) -> object:
        try:
            return load(signature, context)
        except Exception:  # whatever pickle, and what it calls, raise for damaged data
            with suppress(Exception):
                cache.flush()
            return None

    cache.save_overload, cache.load_overload = save_if_possible, load_if_sound


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


def ingredients(function: Callable[..., Any]) -> str:
    """Return a digest of all that a function's machine code is made of.

    That is the bytecode of the function and of all that it calls, in whatever module, with the
    options that these are compiled with, and the values of the module's names that it reads.
    Modules count by their names: numba itself tells its own versions apart.
    """
    digest = hashlib.blake2b(digest_size=6)
    waiting: list[Any] = [function]
    seen: set[Any] = set()
    while waiting:
        value = inspect.unwrap(waiting.pop())
        if value in seen:
            continue
        seen.add(value)
        digest.update(repr(value.__defaults__).encode())
        names = set()
        for code in _codes(value.__code__):
            names |= set(code.co_names)
            constants = [_text(it) for it in code.co_consts if not isinstance(it, CodeType)]
            digest.update(code.co_code + repr((code.co_names, constants)).encode())
        for name in sorted(names & value.__globals__.keys()):
            found = value.__globals__[name]
            is_code = hasattr(inspect.unwrap(found), "__code__")
            digest.update(f"{name}={_options(found) if is_code else _text(found)}".encode())
            waiting += [found] * is_code
    return digest.hexdigest()


def _codes(code: CodeType) -> Iterator[CodeType]:
    """Yield the bytecode of a function and of those defined within it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _options(function: Any) -> str:  # noqa: ANN401 (numba's)
    """Return what a function is compiled with, "" for one that is run as Python."""
    options = getattr(function, "targetoptions", {})
    return "".join(f"{name}={_text(options[name])} " for name in sorted(options))


def _text(value: object) -> str:
    """Return what tells a value from others, the same in each process."""
    if isinstance(value, np.ndarray):
        return f"{value.dtype}{value.shape}{value.tobytes().hex()}"
    if isinstance(value, ModuleType):
        return value.__name__
    if isinstance(value, set | frozenset):
        return repr(sorted(value))
    return f"{value!r}{getattr(value, '_fields', '')}"  # those of a named tuple
