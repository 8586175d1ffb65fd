"""Output files of commands: written whole, never over an input or over each other."""

from __future__ import annotations

import os
import re
import sys
import tempfile
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TextIO, cast

import click

from specvae.cli.console import Console, TerminalText
from specvae.compression import COMPRESSED_SUFFIXES
from specvae.errors import InputError
from specvae.files import atomic_text, is_foreign
from specvae.report import SKIP_COLUMNS, ReadReport
from specvae.sources import descriptor_of, no_such_file

if TYPE_CHECKING:
    from specvae.annotation.library.query import Query

CONFIG_PATH = "specvae.config_path"
"""Key of a click context's ``meta``: the path that ``--config`` names, if any."""

TABLE_FORMATS = ("csv", "tsv", "jsonl", "mztab")
"""Formats of a ranked table; each is also the suffix of its files."""
FIGURE_FORMATS = ("png", "pdf", "svg")
_TEXTS = frozenset((*TABLE_FORMATS, "json", "txt"))

# Suffixes that name a format: a file of another format with such a name would seem broken.
_PROMISING = frozenset((
    "csv", "tsv", "jsonl", "json", "mztab", "parquet", "feather", "h5", "hdf5", "npy", "npz", "pkl",
    "xlsx", "xls", "ods", "db", "sqlite", "zip", "gz", "bz2", "xz", "zst", "html", "htm", "xml",
    "pdf", "png", "svg", "eps", "jpg", "jpeg", "tif", "tiff", "gif", "webp",
))  # fmt: skip

Paths = Mapping[str, Path | Iterable[Path] | None]


@contextmanager
def text_output(path: Path | None) -> Iterator[TextIO]:
    """Open `path` for text that appears whole or not at all; None, ``-`` and its device are stdout.

    On a terminal, control characters are escaped: names come from files.
    """
    if path is None or is_stdout(path):
        yield cast("TextIO", TerminalText(sys.stdout)) if sys.stdout.isatty() else sys.stdout
        sys.stdout.flush()
        return
    require_writable(path)
    with atomic_text(path) as stream:
        yield stream


def require_writable(path: Path) -> None:
    """Fail at once, before the work, if `path` cannot become a file.

    Its folder is made, and removed when the command ends with nothing in it.

    Raises
    ------
    InputError
        If it is a folder, or its folder cannot be written to.
    """
    if path.is_dir():
        raise InputError(_IS_DIRECTORY.format(path))
    if path.exists() and not path.is_file():
        return  # a device or a pipe
    if path.exists() and descriptor_of(path) is not None:
        raise InputError(f"{path}: leads to a file that is open already; wanted its name, or -")
    made = [folder for folder in (path.parent, *path.parent.parents) if not folder.exists()]
    context = click.get_current_context(silent=True)
    if made and context is not None:
        context.call_on_close(partial(_remove_empty, made))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror})") from None


def _remove_empty(folders: Sequence[Path]) -> None:
    """Remove empty folders, each within the next one."""
    for folder in folders:
        with suppress(OSError):
            folder.rmdir()


def require_paths(inputs: Paths, outputs: Paths, *, must_exist: bool = True) -> None:
    """Fail before seconds of imports if a file cannot be read or written, or would be replaced.

    An output must be neither an input, under whatever name or link, nor another output. The file
    of ``--config`` is an input of every command. A file that a command writes beside its output,
    which the user did not name, replaces only such a file of an earlier run.

    Parameters
    ----------
    inputs, outputs
        Files by their names in messages (``QUERIES``, ``--report``): a path, several, or None
        for an option that is not given. ``-`` and devices are no files.
    must_exist
        Whether a missing input fails here; False if its reader gives a better message.

    Raises
    ------
    InputError
        Naming the input that is missing, the output that cannot be written, or both files; or the
        file beside an output that no run has written.
    """
    context = click.get_current_context(silent=True)
    config = context.meta.get(CONFIG_PATH) if context is not None else None
    read = [*_files(inputs), *_files({"--config": config})]
    written = _files(outputs)
    for number, (name, path) in enumerate(written):
        for other, taken in read:
            if _is_same(path, taken):
                raise InputError(
                    f"{path}: is what {name} writes and what {other} reads; an output never "
                    "replaces an input"
                )
        for other, taken in written[:number]:
            if _is_same(path, taken):
                raise InputError(
                    f"{path}: is what both {other} and {name} write; wanted a name for each"
                )
    for _, path in _files(inputs) if must_exist else ():
        if not path.exists():
            raise InputError(f"{path}: {no_such_file(path)}")
    for name, path in written:
        if not name.startswith("-"):  # no option names it
            _require_own(path)
        require_writable(path)


def _require_own(path: Path) -> None:
    """Raise an InputError if a file beside an output exists and is not of an earlier run."""
    if is_foreign(path, _OWN_HEAD):
        raise InputError(
            f"{path}: is no file that an earlier run has written, and would be replaced; wanted "
            "another name for the output, or that file elsewhere"
        )


# A list of skips, or the record of how an output was made.
_OWN_HEAD = re.compile(rb'^%s\s|"program":\s*"specvae ' % ",".join(SKIP_COLUMNS).encode())


def suffix_format(path: Path | None, formats: Sequence[str]) -> str:
    """Return the format that a file's suffix names, or the first of `formats` if it names none.

    Raises
    ------
    InputError
        If the suffix promises a format that is not among `formats`, or if none of these is text
        and the path is ``-``.
    """
    if path is not None and is_stdout(path) and not _TEXTS.intersection(formats):
        raise InputError(f"{path}: is stdout, which takes text; wanted the name of a file")
    suffix = path.suffix.removeprefix(".").lower() if path is not None else ""
    if suffix in _PROMISING.difference(formats):
        wanted = " or ".join(f".{name}" for name in formats)
        raise InputError(
            f"{path}: is not written as .{suffix}; wanted a name that ends in {wanted}"
        )
    return suffix if suffix in formats else formats[0]


def format_of(path: Path | None, chosen: str | None = None) -> str:
    """Return the format of a table: the chosen one, else by the file's suffix, else CSV.

    Raises
    ------
    InputError
        If the suffix promises another format and none was chosen, or compression.
    """
    if chosen is None or (path is not None and path.suffix.lower() in COMPRESSED_SUFFIXES):
        return suffix_format(path, TABLE_FORMATS)
    return chosen


def provenance_path(output: Path | None) -> Path | None:
    """Return the file with the provenance of an output; None beside stdout or a device.

    ``ranked.csv.json`` beside ``ranked.csv``.
    """
    if output is None or _is_stream(output):
        return None
    return _beside(output, f"{output.name}.json")


def unfinished_path(output: Path | None) -> Path | None:
    """Return the path of the journal of a run; None beside stdout or a device."""
    if output is None or _is_stream(output):
        return None
    return _beside(output, f"{output.name}.unfinished")


def skips_path(output: Path | None) -> Path | None:
    """Return the path of the list of skipped records; None beside stdout or a device.

    ``annotations.skipped.csv`` beside ``annotations.csv``; another suffix stays in the name, as
    two outputs may differ in that alone: ``annotations.tsv.skipped.csv``.
    """
    if output is None or _is_stream(output):
        return None
    stem = output.stem if output.suffix == ".csv" else output.name
    return _beside(output, f"{stem}.skipped.csv")


def _beside(output: Path, name: str) -> Path:
    """Return a file beside an output; ``.`` and ``/`` have no name that another could replace."""
    if not output.name:
        raise InputError(_IS_DIRECTORY.format(output))
    return output.with_name(name)


_IS_DIRECTORY = "{}: is a directory, wanted the path of a file to write"


def write_skips(output: Path | None, *reports: ReadReport) -> None:
    """Write the list of skipped records beside an output, in `skips_path`.

    If none was skipped, the list of an earlier run is removed, as it is of other files.
    """
    path = skips_path(output)
    if path is None:
        return
    everything = ReadReport(skips=[skip for report in reports for skip in report.skips])
    if everything.skips:
        everything.write_csv(path)
        Console().log(f"what was skipped: {path}")
    else:
        path.unlink(missing_ok=True)


def _files(named: Paths) -> list[tuple[str, Path]]:
    """Return name and path of each that is a file, or may become one."""
    listed = [
        (name, path)
        for name, paths in named.items()
        for path in ([paths] if isinstance(paths, Path) else paths or ())
    ]
    return [(name, path) for name, path in listed if not _is_stream(path)]


def is_stdout(path: Path | None) -> bool:
    """Return whether a command writes to stdout: its output is no file, ``-`` or the device.

    The device may lead to a file (``-o /dev/stdout >> all.csv``), which must not be replaced.
    """
    return path is None or str(path) == "-" or descriptor_of(path) == 1


def _is_stream(path: Path | None) -> bool:
    """Return whether a path is stdin or stdout, a device or a pipe, which cannot be replaced."""
    if path is None or is_stdout(path):
        return True
    return path.exists() and not path.is_file() and not path.is_dir()


def _is_same(path: Path, other: Path) -> bool:
    if path.exists() and other.exists():
        return path.samefile(other)  # hard links too
    return _place(path) == _place(other)


def _place(path: Path) -> str:
    """Return where a path leads; one text for names that are one file where that is usual."""
    place = os.path.realpath(path)
    if sys.platform in _IGNORING_CASE:
        place = unicodedata.normalize("NFC", place.casefold())
    return place


_IGNORING_CASE = ("darwin", "win32")
"""Systems whose file systems, as a rule, have one file for ``a.csv`` and ``A.csv``."""


def log_remarks(console: Console, queries: Iterable[Query]) -> None:
    """Log the assumptions on spectra that are encoded as queries, each with their number."""
    remarks: Counter[str] = Counter()
    for query in queries:
        remarks.update(query.assumed)
        if query.spectrum.precursor_mz is None:
            remarks["no precursor m/z"] += 1
        if query.spectrum.ms_level not in (None, 2):
            remarks[f"the model was not trained on MS level {query.spectrum.ms_level}"] += 1
    for remark, n in remarks.most_common():
        console.log(f"{remark}: {n:,} of the spectra")
