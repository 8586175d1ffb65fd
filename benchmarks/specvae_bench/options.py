"""Options that several benchmarks share; light, for ``--help``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from specvae.cli.options import INPUT, NumberRange, model_file

Decorated = TypeVar("Decorated", bound=Callable[..., Any])


def library_option(function: Decorated) -> Decorated:
    """Add ``--spectra``, which must be given."""
    return click.option(
        "--spectra", type=INPUT, multiple=True, required=True, help="Library (repeatable)."
    )(function)


def exclude_option(function: Decorated) -> Decorated:
    """Add ``--exclude``."""
    return click.option(
        "--exclude",
        type=INPUT,
        multiple=True,
        help="Compounds to keep out of the library (repeatable).",
    )(function)


def ppm_option(function: Decorated) -> Decorated:
    """Add ``--ppm``."""
    return click.option(
        "--ppm",
        type=NumberRange(min=0.0, min_open=True),
        default=10.0,
        show_default=True,
        help="Mass window of candidates.",
    )(function)


def models_option(about: str) -> Callable[[Decorated], Decorated]:
    """Add ``--model``, which may be repeated; the command gets `models`."""
    return click.option("--model", "models", type=INPUT, multiple=True, help=about)


def title_option(function: Decorated) -> Decorated:
    """Add ``--title``."""
    return click.option("--title", default=None, help="Of the plot.  [default: the folder's name]")(
        function
    )


def seed_option(about: str) -> Callable[[Decorated], Decorated]:
    """Add ``--seed``; `about` says what is random."""
    return click.option(
        "--seed", type=click.IntRange(min=0), default=0, show_default=True, help=about
    )


def output_option(default: str, about: str) -> Callable[[Decorated], Decorated]:
    """Add ``--output``; `about` says what is written."""
    return click.option(
        "-o", "--output", type=INPUT, default=Path(default), show_default=True, help=about
    )


def model_files(models: Sequence[Path]) -> dict[str, Path]:
    """Return the checkpoints that ``--model`` names, by the name of their folder.

    Raises
    ------
    InputError
        If one is missing.
    click.UsageError
        If two have the same name.
    """
    paths = {path.name or str(path): model_file(path) for path in models}
    if len(paths) < len(models):
        raise click.UsageError("two models have the same folder name; rename one")
    return paths
