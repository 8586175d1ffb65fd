"""Files of spectra in folders, as users name both."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from specvae.compression import uncompressed_name
from specvae.counting import counted
from specvae.errors import InputError
from specvae.sources import require_distinct
from specvae.spectra.lines import read_head, sniff_format

_SPECTRA = (".msp", ".mgf", ".mzml", ".mzxml")
"""Suffixes of files of spectra in a folder, in lower case and without compression."""
_MAY_BE_SPECTRA = (".mat", ".txt")
"""Suffixes of files that are taken if their content is spectra, as of MS-FINDER and MassBank."""


def spectra_files(paths: Sequence[Path], log: Callable[[str], None]) -> tuple[Path, ...]:
    """Return files of spectra; a folder is replaced by the files in it and below, sorted by name.

    Empty files of a folder, which programs write for runs without fragment spectra, are left out
    with a line to `log`; so are files that are no spectra.

    Raises
    ------
    InputError
        If a folder has none, or a file is there twice.
    """
    found: list[Path] = []
    for path in paths:
        if not path.is_dir():
            found.append(path)
            continue
        shown = [f for f in path.rglob("*") if not f.name.startswith(".") and f.is_file()]
        inside = sorted(filter(_is_spectra, shown))
        if not inside:
            if (maker := _maker_of(shown)) is not None:
                raise InputError(
                    f"{path}: holds raw data of {maker}, wanted {', '.join(_SPECTRA)}: "
                    "write mzML, as by msconvert"
                )
            raise InputError(
                f"{path}: no file {', '.join(_SPECTRA)} in this folder or below, and none of "
                "MS-FINDER or MassBank; name other files"
            )
        if others := sorted({*shown} - {*inside}):
            further = f" and {counted(len(others) - 1, 'other files')}" if len(others) > 1 else ""
            log(f"note: {others[0]}{further}: no spectra by name or content")
        filled = [file for file in inside if file.stat().st_size]
        if not filled:
            raise InputError(f"{path}: all files of spectra in it are empty, as {inside[0].name}")
        for file in inside:
            if file not in filled:
                log(f"note: {file}: is empty and left out")
        found += filled
    require_distinct(found, "files of queries")
    return tuple(found)


_FILES_OF_INSTRUMENTS = {
    "Agilent": re.compile(r"(?:MSScan|MSPeak|MSProfile)\.bin", re.IGNORECASE),
    "Bruker": re.compile(r"analysis\.(?:tdf|tsf|baf|yep)", re.IGNORECASE),
    "Waters": re.compile(r"_FUNC\d+\.DAT", re.IGNORECASE),
}


def _maker_of(files: Iterable[Path]) -> str | None:
    """Return whose instrument wrote the files of a folder as its raw data, None if none is known.

    These makers keep a run in a folder, called ``x.d`` or ``x.raw``.
    """
    names = [file.name for file in files]
    for maker, pattern in _FILES_OF_INSTRUMENTS.items():
        if any(map(pattern.fullmatch, names)):
            return maker
    return None


_N_PEAKS = re.compile(rb"num(?:ber of)?[ _]?peak", re.IGNORECASE)


def _is_spectra(path: Path) -> bool:
    name = uncompressed_name(path)
    if not name.endswith(_MAY_BE_SPECTRA):
        return name.endswith(_SPECTRA)
    with suppress(InputError):  # it is none
        # Files of settings and notes may have a line "Name: ...", too.
        is_msp = sniff_format(path) == "msp"
        return not is_msp or _N_PEAKS.search(read_head(path)[0]) is not None
    return False
