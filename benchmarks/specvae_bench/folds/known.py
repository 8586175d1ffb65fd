"""The library of a fold with its peaks, for methods that do not read our bins."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from specvae.annotation.library.filter import SpectrumFilter
from specvae.annotation.library.library import Library
from specvae.annotation.library.pairs import read_many, usable_pairs
from specvae.cli.console import Console
from specvae.errors import InputError
from specvae.report import ReadReport


def read_known(
    paths: Sequence[Path], wanted: SpectrumFilter, report: ReadReport, console: Console
) -> Library:
    """Read the spectra of files that pass a filter and state a structure that fits.

    Raises
    ------
    InputError
        If there is none.
    """
    known = Library.from_pairs(
        usable_pairs(
            read_many(paths, report),
            wanted,
            report,
            lambda n: console.progress("reading the library", n),
        ),
        keep_records=True,
    )
    console.log(f"library: {report.summary()}")
    if not len(known):
        raise InputError(f"{paths[0]}: no library spectrum is left ({report.summary()})")
    return known
