"""Settings: dataclasses to JSON and back, their ranges, TOML files and ``key=value`` texts.

A setting is a field of a dataclass. Its type says what it may be: a number, text, a choice
(``Literal``), a tuple, another such dataclass; ``Annotated[float, Range(...)]`` says which values
make sense. A number that is not finite never does. An unknown key is an error that names the
nearest, unless the dataclass has a field that keeps what it does not know; see `unknown_keys`.
"""

from __future__ import annotations

import dataclasses
import math
import tomllib
import types
import typing
from collections.abc import Collection, Hashable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from specvae.errors import ConfigError, InputError, cut, nearest

T = TypeVar("T")

_TYPE_NAMES = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
_UNKNOWN = "keeps unknown keys"
_EARLIER = "earlier name"


def unknown_keys() -> Any:  # noqa: ANN401 (dataclasses.field, too, is any default)
    """Return the default of the field, a mapping, that keeps the keys its dataclass does not know.

    With such a field, what a newer or another program wrote survives reading and writing. Fields
    that are None are not written then: a key that was missing stays missing.
    """
    return dataclasses.field(default_factory=dict, metadata={_UNKNOWN: True})


def earlier_key(name: str) -> dict[str, str]:
    """Return the metadata of a field whose key was `name` once; that key is still read."""
    return {_EARLIER: name}


def _earlier_names(kind: Any) -> dict[str, str]:  # noqa: ANN401 (a dataclass or its instance)
    """Return today's name of each field that had another."""
    fields = dataclasses.fields(kind)
    return {f.metadata[_EARLIER]: f.name for f in fields if _EARLIER in f.metadata}


def _field_of_unknown(kind: Any) -> str | None:  # noqa: ANN401 (a dataclass or its instance)
    return next((f.name for f in dataclasses.fields(kind) if _UNKNOWN in f.metadata), None)


@dataclass(frozen=True, slots=True)
class Range:
    """Which numbers a setting may have.

    Attributes
    ----------
    low, high
        The ends.
    open_low, open_high
        Whether the end itself is left out.
    note
        What a special value means, for the message: ``0 for none``.
    """

    low: float = -math.inf
    high: float = math.inf
    open_low: bool = False
    open_high: bool = False
    note: str = ""

    def __contains__(self, value: float) -> bool:
        above = value > self.low if self.open_low else value >= self.low
        return above and (value < self.high if self.open_high else value <= self.high)

    def __str__(self) -> str:
        ends = []
        if self.low > -math.inf:
            ends.append(f"above {self.low:g}" if self.open_low else f"{self.low:g} or more")
        if self.high < math.inf:
            ends.append(f"below {self.high:g}" if self.open_high else f"at most {self.high:g}")
        text = " and ".join(ends) or "a finite number"
        return f"{text} ({self.note})" if self.note else text


@dataclass(frozen=True, slots=True)
class OneOf:
    """Which texts a setting may have, where they are known only at run time."""

    choices: Collection[str]

    def __contains__(self, value: str) -> bool:
        return value in self.choices

    def __str__(self) -> str:
        return f"one of {', '.join(self.choices)}"


# What many settings are.
Count = Annotated[int, Range(1)]
Positive = Annotated[float, Range(0.0, open_low=True)]
Weight = Annotated[float, Range(0.0)]
Share = Annotated[float, Range(0.0, 1.0, open_high=True)]
Fraction = Annotated[float, Range(0.0, 1.0, open_low=True, open_high=True)]


# --- JSON -----------------------------------------------------------------------------------------


def to_json(config: Any) -> Any:  # noqa: ANN401 (any JSON value)
    """Return a configuration as JSON values: dataclasses as dicts, tuples as lists."""
    if isinstance(config, str):  # tens of thousands of compounds
        return config
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        values = {f.name: to_json(getattr(config, f.name)) for f in dataclasses.fields(config)}
        unknown = _field_of_unknown(config)
        if unknown is None:
            return values
        others = values.pop(unknown)
        return {key: value for key, value in values.items() if value is not None} | others
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
        A dataclass whose fields are numbers, text, tuples, mappings or such dataclasses, or of type
        Any: a JSON value that is not looked into.
    data
        What ``json.loads`` returned.
    place
        Where the value stands, for the message: ``modalities[0].encoder``.

    Raises
    ------
    ConfigError
        If a key is unknown (the nearest known one is named) and `kind` does not keep unknown keys,
        a key is missing, or a value has the wrong type, lies outside its range, or is a number
        that is not finite.
    """
    where = f"{place}: " if place else ""
    if not isinstance(data, Mapping):
        raise ConfigError(f"{where}wanted a table of {kind.__name__}, found {shortened(data)}")
    hints = _hints(typing.cast(Any, kind))
    fields = {f.name: f for f in dataclasses.fields(typing.cast(Any, kind))}
    today = _earlier_names(kind)
    data = {today.get(key) or key: value for key, value in data.items()}
    unknown = _field_of_unknown(kind)
    others: dict[str, Any] = {}
    if unknown is not None:
        del fields[unknown]
        others = {key: value for key, value in data.items() if key not in fields}
    for key in data:
        if key not in fields and key not in others:
            raise ConfigError(
                f"{where}unknown key {shortened(key)}; the nearest known one is "
                f"{nearest(key, fields)!r}"
            )
    for name, field in fields.items():
        optional = (field.default, field.default_factory) != (dataclasses.MISSING,) * 2
        if name not in data and not optional:
            raise ConfigError(f"{where}key '{name}' is missing")
    prefix = f"{place}." if place else ""
    values = {key: _value(hints[key], data[key], prefix + key) for key in data if key in fields}
    return kind(**values, **({unknown: others} if unknown is not None else {}))


def require_ranges(config: Any, place: str = "") -> None:  # noqa: ANN401 (any dataclass)
    """Check the values of a dataclass that was built in Python, as `from_json` checks its own.

    Raises
    ------
    ConfigError
        If a value has the wrong type, lies outside its range, or is a number that is not finite.
    """
    for name, hint in _hints(typing.cast(Any, type(config))).items():
        _value(hint, getattr(config, name), f"{place}{name}")


@cache
def _hints(kind: Hashable) -> dict[str, Any]:
    """Return the types of a dataclass's fields, which take long to be worked out."""
    return typing.get_type_hints(typing.cast(type[Any], kind), include_extras=True)


def require_choice(place: str, value: object, choices: Collection[str]) -> None:
    """Raise a ConfigError, which names the nearest, unless `value` is one of the choices."""
    if value not in choices:
        raise _refusal(place, value, f"one of {', '.join(choices)}", choices)


def _value(hint: Any, value: Any, place: str) -> Any:  # noqa: ANN401 (driven by annotations)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        checked = _value(arguments[0], value, place)
        for wanted in arguments[1:]:
            if checked not in wanted:
                raise _refusal(place, value, str(wanted), getattr(wanted, "choices", ()))
        return checked
    if origin in (typing.Union, types.UnionType):
        inner = next(argument for argument in arguments if argument is not type(None))
        return None if value is None else _value(inner, value, place)
    if origin is Literal:
        if value not in arguments:
            raise _refusal(place, value, f"one of {', '.join(map(str, arguments))}", arguments)
        return value
    if origin is tuple and isinstance(value, list | tuple):
        return _items(arguments[0], value, place)
    if origin is Mapping and isinstance(value, Mapping):
        return {key: _value(arguments[1], v, f"{place}.{key}") for key, v in value.items()}
    return _plain_value(hint, value, place)


def _items(hint: Any, values: list[Any] | tuple[Any, ...], place: str) -> tuple[Any, ...]:  # noqa: ANN401
    if hint in (int, str) and all(type(value) is hint for value in values):
        return tuple(values)  # thousands of names or columns
    return tuple(_value(hint, value, f"{place}[{i}]") for i, value in enumerate(values))


def _plain_value(hint: Any, value: Any, place: str) -> Any:  # noqa: ANN401 (driven by annotations)
    if hint is Any:
        return value
    if dataclasses.is_dataclass(hint):
        if isinstance(value, typing.cast(type[Any], hint)):
            require_ranges(value, f"{place}.")
            return value
        return from_json(typing.cast(type[Any], hint), value, place)
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        return _finite(value, place)
    if isinstance(hint, type) and type(value) is hint:
        return value
    raise _refusal(place, value, _TYPE_NAMES.get(hint, "a list or table"))


def _finite(value: float, place: str) -> float:
    try:
        number = float(value)
    except OverflowError:
        raise ConfigError(f"{place}: found a number that is too large") from None
    if not math.isfinite(number):
        raise _refusal(place, value, "a finite number")
    return number


def _refusal(
    place: str, value: object, wanted: str, choices: Collection[object] = ()
) -> ConfigError:
    hint = f"; the nearest is {nearest(value, map(str, choices))!r}" if choices else ""
    return ConfigError(f"{place}: found {shortened(value)}, wanted {wanted}{hint}")


def shortened(value: object) -> str:
    """Return a value as a message shows it: on one line, and not a whole page of it."""
    try:
        return cut(repr(value))
    except ValueError:  # an integer of more digits than Python converts
        return "a number that is too large"


# --- Flat keys ------------------------------------------------------------------------------------


def flatten(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested tables as one, with keys such as ``optim.learning_rate``."""
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def override(config: T, values: Mapping[str, Any]) -> T:
    """Return a dataclass with flat ``group.name`` keys replaced; for a tuple, one item will do.

    Raises
    ------
    ConfigError
        If a key is unknown (the message names the nearest), or a value has the wrong type or lies
        outside its range.
    """
    nested = to_json(config)
    known = flatten(nested)
    today = _earlier_names(config)
    for given, value in values.items():
        first, dot, rest = given.partition(".")
        key = today.get(first, first) + dot + rest
        if key not in known:
            raise ConfigError(
                f"unknown setting {shortened(given)}; the nearest known one is "
                f"{nearest(key, known)!r}"
            )
        *groups, name = key.split(".")
        table = nested
        for group in groups:
            table = table[group]
        is_single = isinstance(known[key], list) and not isinstance(value, list | tuple)
        table[name] = [value] if is_single else value
    return from_json(type(config), nested)


# --- Texts ----------------------------------------------------------------------------------------


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file of settings into flat ``group.name`` keys.

    Raises
    ------
    InputError
        If the file is absent or is not TOML.
    """
    try:
        # Editors on Windows put a byte order mark before the text.
        return flatten(tomllib.loads(path.read_text(encoding="utf-8-sig")))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:
        reason = str(error).splitlines()[0][:200]
        raise InputError(f"{path}: not a TOML file ({reason})") from None


def parse_assignments(assignments: Iterable[str], option: str = "--set") -> dict[str, Any]:
    """Parse ``key=value`` texts; a value is TOML, or a bare string if it is not.

    Raises
    ------
    ConfigError
        If a text has no ``=``; the message names the option.
    """
    values: dict[str, Any] = {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals or not key.strip():
            raise ConfigError(f"{option} {shortened(assignment)}: wanted key=value")
        try:
            value = tomllib.loads(f"value = {text}")["value"]
        except (ValueError, RecursionError):
            value = text.strip()
        values[key.strip()] = value
    return values
