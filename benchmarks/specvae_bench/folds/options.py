"""Options of the comparisons that rank on a fold and learn from a library; light, for --help."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import click

from specvae.cli.options import INPUT, add_options, library_filter_options
from specvae_bench.options import exclude_option, library_option, ppm_option


@dataclass(frozen=True)
class FoldFiles:
    """What is read, and what of it passes.

    Attributes
    ----------
    data
        Folder with queries, truth and candidates, as `contest.prepare` takes it.
    spectra
        The library.
    exclude
        Files of compounds to keep out of it beside the fold's own.
    ion_mode, adducts, instrument_types
        Of the library's spectra; the first two select queries too.
    ppm
        Mass window, where candidates have no query_id.
    """

    data: Path
    spectra: tuple[Path, ...]
    exclude: tuple[Path, ...]
    ion_mode: str | None
    adducts: tuple[str, ...]
    instrument_types: tuple[str, ...]
    ppm: float


def fold_options(function: Callable[..., None]) -> Callable[..., None]:
    """Add the options of `FoldFiles` to a command, which gets them as `files`."""

    @functools.wraps(function)
    def gathered(*arguments: Any, **options: Any) -> None:  # noqa: ANN401 (whatever click passes)
        files = FoldFiles(**{field.name: options.pop(field.name) for field in fields(FoldFiles)})
        function(*arguments, files=files, **options)

    return add_options(
        click.option(
            "--data",
            type=INPUT,
            required=True,
            help="Folder with queries, truth and candidates.",
        ),
        library_option,
        library_filter_options,
        exclude_option,
        ppm_option,
    )(gathered)
