"""Configuration dataclasses to JSON and back; an unknown key is an error that names the nearest."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal, TypeVar

from specvae.errors import ConfigError, nearest

T = TypeVar("T")


def to_json(config: Any) -> Any:  # noqa: ANN401 (any JSON value)
    """Return a configuration as JSON values: dataclasses as dicts, tuples as lists."""
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        return {f.name: to_json(getattr(config, f.name)) for f in dataclasses.fields(config)}
    if isinstance(config, Mapping):
        return {key: to_json(value) for key, value in config.items()}
    if isinstance(config, list | tuple):
        return [to_json(item) for item in config]
    return config


def from_json(kind: type[T], data: object, place: str = "") -> T:
    """Build the dataclass `kind` from JSON values.

    Parameters
    ----------
    kind
        A dataclass whose fields are numbers, text, tuples, mappings or such dataclasses.
    data
        What ``json.loads`` returned.
    place
        Where the value stands, for the message: ``modalities[0].encoder``.

    Raises
    ------
    ConfigError
        If a key is unknown (the nearest known one is named) or missing, or a value has the wrong
        type.
    """
    where = f"{place}: " if place else ""
    if not isinstance(data, Mapping):
        raise ConfigError(f"{where}wanted a table of {kind.__name__}, found {data!r}")
    hints = typing.get_type_hints(kind)
    fields = {f.name: f for f in dataclasses.fields(typing.cast(Any, kind))}
    for key in data:
        if key not in fields:
            near = nearest(key, fields)
            raise ConfigError(f"{where}unknown key '{key}'; the nearest known one is '{near}'")
    for name, field in fields.items():
        optional = (field.default, field.default_factory) != (dataclasses.MISSING,) * 2
        if name not in data and not optional:
            raise ConfigError(f"{where}key '{name}' is missing")
    prefix = f"{place}." if place else ""
    values = {key: _value(hints[key], data[key], prefix + key) for key in data}
    return kind(**values)


def flatten(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested tables as one, with keys such as ``optim.learning_rate``."""
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def _value(hint: Any, value: Any, place: str) -> Any:  # noqa: ANN401 (driven by annotations)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if dataclasses.is_dataclass(hint):
        return from_json(typing.cast(type[Any], hint), value, place)
    if origin in (typing.Union, types.UnionType):
        inner = next(argument for argument in arguments if argument is not type(None))
        return None if value is None else _value(inner, value, place)
    if origin is Literal:
        if value not in arguments:
            raise ConfigError(f"{place}: found {value!r}, wanted one of {', '.join(arguments)}")
        return value
    if origin is tuple and isinstance(value, list | tuple):
        return tuple(_value(arguments[0], v, f"{place}[{i}]") for i, v in enumerate(value))
    if origin is Mapping and isinstance(value, Mapping):
        return {key: _value(arguments[1], v, f"{place}.{key}") for key, v in value.items()}
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            raise ConfigError(f"{place}: found a number that is too large") from None
    if isinstance(hint, type) and type(value) is hint:
        return value
    wanted = getattr(hint, "__name__", str(hint))
    raise ConfigError(f"{place}: found {value!r}, wanted {wanted}")
