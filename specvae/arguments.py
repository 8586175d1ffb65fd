"""Arguments that users give in Python, checked against the annotations of a function.

A wrong one is one line that names the argument, what was found and what is wanted, before anything
is done. Numbers of numpy count as numbers, but neither text nor True does; a path may be a
text or any ``os.PathLike``, and ``~`` in it is the user's home.
"""

from __future__ import annotations

import errno
import inspect
import os
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from functools import cache, wraps
from numbers import Integral, Number, Real
from pathlib import Path
from typing import Any, Literal, ParamSpec, TypeVar

from specvae.errors import ConfigError, InputError
from specvae.settings import shortened
from specvae.sources import from_home

P = ParamSpec("P")
R = TypeVar("R")

_WORDS: Mapping[Any, tuple[str, ...]] = {
    bool: ("True", "False"),
    int: ("a whole number",),
    float: ("a finite number",),
    str: ("text",),
    Mapping: ("a dictionary with text as keys",),
    os.PathLike: ("a path",),
    types.NoneType: ("None",),
}
_SHOWN = (str, bytes, Number, type(None), os.PathLike)
_MOST_SHOWN = 4  # items of a list
_UNFIT = object()


def checked(*apart: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Let a function have only arguments that its annotations allow, as values of Python's types.

    Annotations may be made of bool, int, float, str, None, ``os.PathLike``, ``Literal``, tuples of
    stated lengths, ``Iterable``, ``Mapping`` and classes. The function is given numbers as int or
    float, paths as `Path`, and what is iterable as a tuple, so that it may be looked at twice.

    Parameters
    ----------
    apart
        Arguments that the function checks itself.

    Raises
    ------
    ConfigError
        By the function, on a wrong argument.
    InputError
        Likewise, where a path is wanted.
    """

    def decorated(function: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(function)

        @wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            try:
                given = signature.bind(*args, **kwargs)
            except TypeError:
                return function(*args, **kwargs)  # Python says what is missing or too much
            hints = _hints(function, apart)
            for name, value in given.arguments.items():
                if name in hints:
                    given.arguments[name] = _taken(hints[name], value, name)
            return function(*given.args, **given.kwargs)

        return call

    return decorated


@cache
def _hints(function: Callable[..., Any], apart: tuple[str, ...]) -> dict[str, Any]:
    """Return the types of the arguments, worked out when they are first needed."""
    kinds = inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD
    names = {
        name: parameter.annotation
        for name, parameter in inspect.signature(function).parameters.items()
        if name not in (*apart, "self") and parameter.kind not in kinds
    }
    annotated = types.SimpleNamespace(__annotations__=names)
    return typing.get_type_hints(annotated, getattr(function, "__globals__", {}))


def as_path(value: object, name: str) -> Path:
    """Return a path that a user gives as an argument.

    Raises
    ------
    InputError
        If it is none, is empty or bytes, or no file can be called so.
    """
    return typing.cast("Path", _taken(os.PathLike, value, name))


def is_path(value: object) -> bool:
    """Return whether a value is meant as a path: text, bytes or a path object."""
    return isinstance(value, str | bytes | os.PathLike)


def kind_of(value: object) -> str:
    """Return a value as a message shows it: itself if it is short, else its type."""
    is_short = isinstance(value, list | tuple) and len(value) <= _MOST_SHOWN
    items = value if is_short else (value,)
    is_shown = all(isinstance(item, _SHOWN) for item in typing.cast("Iterable[object]", items))
    return shortened(value) if is_shown else type(value).__name__


def _taken(hint: Any, value: object, name: str) -> Any:  # noqa: ANN401 (driven by annotations)
    members = _members(hint)
    for member in members:
        found = _as(member, value, name)
        if found is not _UNFIT:
            return found
    kinds = {typing.get_origin(member) or member for member in members}
    error = InputError if os.PathLike in kinds else ConfigError
    raise error(f"{name}: found {kind_of(value)}, wanted {_wanted(members)}")


def _members(hint: Any) -> tuple[Any, ...]:  # noqa: ANN401 (an annotation)
    is_union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    members = typing.get_args(hint) if is_union else (hint,)
    # Text stands for a path where there may be one.
    has_path = any((typing.get_origin(m) or m) is os.PathLike for m in members)
    return tuple(m for m in members if not (has_path and m is str))


def _wanted(members: Iterable[Any]) -> str:
    words = dict.fromkeys(word for member in members for word in _words(member))
    *others, last = words
    return f"{', '.join(others)} or {last}" if others else last


def _words(member: Any) -> tuple[str, ...]:  # noqa: ANN401 (an annotation)
    origin, arguments = typing.get_origin(member), typing.get_args(member)
    if origin is Literal:
        return tuple(map(repr, arguments))
    if origin is tuple:
        return ("two of them" if len(arguments) == 2 else f"{len(arguments)} of them",)
    if origin is Iterable:
        return (
            *(word for each in _members(arguments[0]) for word in _words(each)),
            "several of them",
        )
    kind = origin or member
    return _WORDS.get(kind) or (f"a {kind.__name__}",)


def _as(member: Any, value: Any, name: str) -> Any:  # noqa: ANN401 (driven by annotations)
    """Return a value as one of a type, `_UNFIT` if it is none."""
    origin, arguments = typing.get_origin(member), typing.get_args(member)
    kind = origin or member
    if kind in _PLAIN:
        return _PLAIN[kind](value)
    if origin is Literal:
        is_one = isinstance(value, str) and value in arguments
        return str(value) if is_one else _UNFIT
    if origin is tuple:
        if not isinstance(value, list | tuple) or len(value) != len(arguments):
            return _UNFIT
        pairs = zip(arguments, value, strict=True)
        return tuple(_taken(hint, one, f"{name}[{i}]") for i, (hint, one) in enumerate(pairs))
    if origin is Iterable:
        if not isinstance(value, Iterable) or isinstance(value, Mapping) or is_path(value):
            return _UNFIT
        if hasattr(value, "read") or hasattr(value, "columns"):  # of an open file, or a table
            return _UNFIT
        return tuple(
            _taken(arguments[0], one, f"{name}[{i}]") for i, one in enumerate(_items(value))
        )
    return value if isinstance(value, kind) else _UNFIT


def _items(value: Iterable[Any]) -> Iterator[Any]:
    try:
        # A set has another order in each process.
        yield from sorted(value, key=str) if isinstance(value, Set) else value
    except TypeError:  # an array without dimensions
        yield value


def _flag(value: Any) -> Any:  # noqa: ANN401 (of any type)
    # The type of numpy, which is not to be loaded here, is no subclass of bool.
    is_flag = isinstance(value, bool) or type(value).__name__ in ("bool_", "bool")
    return bool(value) if is_flag else _UNFIT


def _whole(value: Any) -> Any:  # noqa: ANN401
    return int(value) if isinstance(value, Integral) and not isinstance(value, bool) else _UNFIT


def _number(value: Any) -> Any:  # noqa: ANN401
    if not isinstance(value, Real) or isinstance(value, bool):
        return _UNFIT
    try:
        number = float(value)
    except OverflowError:
        return _UNFIT
    return number if abs(number) < float("inf") else _UNFIT


def _text(value: Any) -> Any:  # noqa: ANN401
    return str(value) if isinstance(value, str) else _UNFIT


def _path(value: Any) -> Any:  # noqa: ANN401
    text = os.fspath(value) if isinstance(value, str | os.PathLike) else None
    if not isinstance(text, str) or not text or "\0" in text:
        return _UNFIT
    path = from_home(Path(text))
    try:
        os.lstat(path)
    except OSError as error:
        return _UNFIT if error.errno == errno.ENAMETOOLONG else path
    return path


def _mapping(value: Any) -> Any:  # noqa: ANN401
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        return _UNFIT
    return {str(key): _unwrapped(each) for key, each in value.items()}


def _unwrapped(value: Any) -> Any:  # noqa: ANN401
    """Return numbers and arrays of numpy as numbers and lists of Python, and all else itself."""
    if hasattr(value, "dtype") and hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, Mapping):
        return {key: _unwrapped(each) for key, each in value.items()}
    return [_unwrapped(each) for each in value] if isinstance(value, list | tuple) else value


_PLAIN: Mapping[Any, Callable[[Any], Any]] = {
    bool: _flag,
    int: _whole,
    float: _number,
    str: _text,
    types.NoneType: lambda value: None if value is None else _UNFIT,
    os.PathLike: _path,
    Mapping: _mapping,
}
