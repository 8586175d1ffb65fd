"""``--config`` and ``--set``: other defaults of a command's options."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import click

from specvae.cli.options import INPUT, Decorated, add_options
from specvae.cli.outputs import CONFIG_PATH
from specvae.errors import ConfigError, nearest
from specvae.settings import parse_assignments, read_toml, shortened


def settings_options(function: Decorated) -> Decorated:
    """Add ``--config`` and ``--set``, which give a command's options other defaults.

    A key is the long name of an option without its dashes. The command line overrides ``--set``,
    and ``--set`` overrides the file.
    """

    def remember(ctx: click.Context, param: click.Parameter, value: object) -> None:
        values: dict[str, Any] = {}
        if param.name == "config_file" and value is not None:
            values = read_toml(cast("Path", value))
            ctx.meta[CONFIG_PATH] = value
        elif param.name == "assignments":
            values = parse_assignments(cast("tuple[str, ...]", value))
        given = ctx.meta.setdefault("specvae.settings", {})
        try:
            given[param.name] = option_defaults(ctx.command, values)
        except ConfigError as error:
            if param.name != "config_file":
                raise
            raise ConfigError(f"{value}: {error}") from error
        ctx.default_map = {**given.get("config_file", {}), **given.get("assignments", {})}

    return add_options(
        click.option(
            "--config",
            "config_file",
            type=INPUT,
            is_eager=True,
            expose_value=False,
            callback=remember,
            help="TOML file of options by their names without dashes; --set and the command line "
            "override it.",
        ),
        click.option(
            "--set",
            "assignments",
            multiple=True,
            metavar="KEY=VALUE",
            is_eager=True,
            expose_value=False,
            callback=remember,
            help="Set one option by its name without dashes (repeatable).",
        ),
    )(function)


def option_defaults(command: click.Command, values: dict[str, Any]) -> dict[str, Any]:
    """Return values by parameter name, as the text that the command line would give."""
    names = {
        long.removeprefix("--"): param
        for param in command.params
        if isinstance(param, click.Option) and (param.expose_value or param.name == "limit")
        for long in param.opts
        if long.startswith("--")
    }
    defaults: dict[str, Any] = {}
    for key, value in values.items():
        param = names.get(key.replace("_", "-"))
        if param is None or param.name is None:
            known = (
                f"the nearest known one is {nearest(key, names)!r}" if names else "there is none"
            )
            raise ConfigError(f"unknown setting {shortened(key)}; {known}")
        if param.is_flag:
            defaults[param.name] = value
            continue
        parts = [_as_typed(key, one) for one in (value if isinstance(value, list) else [value])]
        if param.multiple:
            defaults[param.name] = parts
        else:
            defaults[param.name] = ",".join(parts)
    return defaults


def _as_typed(key: str, value: object) -> str:
    """Return a value as text of the command line."""
    if isinstance(value, bool | list | dict):
        found = str(value).lower() if isinstance(value, bool) else f"a {type(value).__name__}"
        raise ConfigError(
            f"setting {shortened(key)} is {found}, wanted a text or number, as for --{key} on the "
            "command line"
        )
    text = str(value)
    if any(character < " " for character in text):
        # "C:\temp\new.csv" holds a tab and a line end.
        raise ConfigError(
            f"setting {shortened(key)} holds a control character: {text!r}; TOML reads \\t and "
            "\\n as such between double quotes: write paths with / or between single quotes"
        )
    return text
