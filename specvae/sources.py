"""Files that a user names: what is missing or stands in their place, and pipes, read but once."""

from __future__ import annotations

import os
import re
import shutil
import stat
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from specvae.errors import InputError, nearest
from specvae.files import temporary_folder

_SOURCES: dict[str, str] = {}
"""Stored copy of what a pipe brought, or of what is in memory -> what the user calls it."""
_DEVICES = (("/", "dev"), ("/", "proc"))  # where the files are that a process has open
_MOST_NAMES = 1000  # of a folder, that are compared with a missing one
_LIKE_NAME = 0.75  # from 0 to 1: how like it must be
_WEB_PAGE = re.compile(rb"\s*<(?:!DOCTYPE )?html\b", re.IGNORECASE)
STDIN = Path("/dev/stdin")
READ_ALREADY = "{}: was read already, as it can be but once; wanted one input -"
_STANDARD = ("stdin", "stdout", "stderr")
_DESCRIPTOR = re.compile(
    rf"(?:/dev/(?P<name>{'|'.join(_STANDARD)})|(?:/dev|/proc/(?:thread-)?self)/fd/(?P<number>\d{{1,9}}))"
)


def no_such_file(path: Path) -> str:
    """Return what is said of a missing file; with the name in its folder that is most like it."""
    if path.is_symlink():
        return f"is a link to {path.readlink()}, which is not there"
    try:
        others = islice(path.parent.iterdir(), _MOST_NAMES)
        names = [other.name for other in others if other.name != path.name]
    except OSError:
        names = []
    alike = nearest(path.name, names, _LIKE_NAME)
    return f"no such file; did you mean {path.with_name(alike)}?" if alike else "no such file"


def stand_in(head: bytes) -> str:
    """Return what stands in a file's place, and what to do, by its first bytes; "" if it is itself.

    A download that failed leaves a web page, and a copy of a repository without Git LFS a pointer.
    """
    if _WEB_PAGE.match(head) is not None:
        return "is a web page: fetch the file itself"
    if head.startswith(b"version https://git-lfs"):
        return "is a pointer of Git LFS: fetch the file itself ('git lfs pull')"
    return ""


def is_pool(path: Path) -> bool:
    """Return whether a file of structures is a pool (HDF5) and no table, by its name."""
    return path.suffix.lower() in (".h5", ".hdf5")


def descriptor_of(path: Path) -> int | None:
    """Return the number of the open file that a path such as ``/dev/stdout`` stands for, if any."""
    found = _DESCRIPTOR.fullmatch(str(path))
    if found is None:
        return None
    return _STANDARD.index(found["name"]) if found["name"] else int(found["number"])


def from_home(path: Path) -> Path:
    """Return a path with the user's home in place of ``~``; the same where ``~`` is there itself.

    Shells put it there only where a word begins with ``~`` and is not quoted.
    """
    if not path.parts or not path.parts[0].startswith("~") or os.path.lexists(path.parts[0]):
        return path
    try:
        return path.expanduser()
    except RuntimeError:  # no such user, or one without a home
        return path


def require_distinct(paths: Iterable[Path], kind: str) -> None:
    """Fail if a file is there twice, under whatever names; `kind` says what files they are.

    Raises
    ------
    InputError
        Naming the second.
    """
    seen = set()
    for path in paths:
        place = os.path.realpath(path)  # which takes links that go in a circle, too
        if place in seen:
            raise InputError(f"{path}: is there twice among the {kind}")
        seen.add(place)


def rewindable(path: Path, suffix: str = "") -> Path:
    """Return a path whose file can be read more than once: the path itself, or a copy.

    What a pipe or a terminal brings (``/dev/stdin``, ``/dev/fd/63``, a named pipe) can be read once
    only, but the format is found by reading the beginning first. It is stored in a temporary file
    of the same name with `suffix` (HDF5: that of a pool), which is removed at the end of the
    program. Where the suffix decides the kind of file, ``/dev/stdin`` into which a shell redirects
    a file is that file; if it has no suffix, or no name any more, it is stored as a pipe's content
    is; so it is where only the process itself can read it: on Windows, of another user's file
    (``sudo -u me ... < FILE``), and of a socket. macOS and the BSDs open no file anew by such a
    name: it is stored, too.

    Raises
    ------
    InputError
        If it is a pipe that another input of this run was read from, or stdin is closed.
    """
    own_stdin = path == STDIN and not os.access(path, os.R_OK)
    try:
        mode = stat.S_IFIFO if own_stdin else path.stat().st_mode
    except OSError:
        return path  # whoever opens it says what is wrong
    if stat.S_ISREG(mode) and suffix and not path.suffix and path.parts[:2] in _DEVICES:
        redirected = path.resolve()
        if redirected.suffix and redirected.is_file():
            return redirected
    elif stat.S_ISDIR(mode) or (stat.S_ISREG(mode) and descriptor_of(path.resolve()) is None):
        return path
    called = "stdin" if path == STDIN else str(path)
    with _opened(path, is_only_ours=own_stdin, is_socket=stat.S_ISSOCK(mode)) as source:
        if stat.S_ISCHR(mode) and not source.isatty():
            return path  # /dev/null
        folder = temporary_folder()
        name = f"fd{path.name}" if path.name.isdecimal() else path.name
        copy = folder / (name if path.suffix else f"{name}{suffix}")
        with copy.open("wb") as target:
            shutil.copyfileobj(source, target, 1 << 20)
            is_empty = target.tell() == 0
        if not path.suffix and _is_hdf5(copy):  # of a pool or library
            copy = copy.rename(copy.with_suffix(".h5"))
    if is_empty and called in tuple(_SOURCES.values()):
        raise InputError(READ_ALREADY.format(called))
    _SOURCES[str(copy)] = called
    return copy


def _is_hdf5(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(len(_HDF5)) == _HDF5


_HDF5 = b"\x89HDF\r\n\x1a\n"


@contextmanager
def _opened(path: Path, *, is_only_ours: bool, is_socket: bool) -> Iterator[BinaryIO]:
    """Open what brings its content once; `is_only_ours` is stdin that has no name for us."""
    number = descriptor_of(path)
    if is_only_ours:
        source = None if sys.stdin is None else getattr(sys.stdin, "buffer", None)
        if source is None:
            raise InputError("stdin: is closed, wanted a file or a pipe")
        yield source
    elif is_socket and number is not None:  # it has a name, by which it cannot be opened
        with os.fdopen(os.dup(number), "rb") as stream:
            yield stream
    else:
        with path.open("rb") as stream:
            yield stream


def is_stored_copy(path: Path | str) -> bool:
    """Return whether a file is but the copy of what a pipe brought; see `rewindable`."""
    return str(path) in _SOURCES


def name_of_source(path: Path | str) -> str:
    """Return what the user calls a file: ``stdin`` or the pipe's name for a stored copy."""
    return _SOURCES.get(str(path), str(path))


@contextmanager
def called_source(copy: Path, called: str) -> Iterator[None]:
    """Let messages call a temporary file within as the user calls what is stored in it."""
    _SOURCES[str(copy)] = called
    try:
        yield
    finally:
        del _SOURCES[str(copy)]


def with_sources(text: str) -> str:
    """Return a text for the user with the names of pipes in place of those of their copies."""
    for copy, called in tuple(_SOURCES.items()):
        text = text.replace(copy, called)
    return text


class Stamps:
    """Sizes and times of files when they are about to be read, to be compared when they were.

    Parameters
    ----------
    paths
        The files; what is no file is left out.
    """

    def __init__(self, paths: Iterable[Path]) -> None:
        self._stamps = {path: stamp for path in paths if (stamp := _stamp(path)) is not None}

    def changes(self) -> list[str]:
        """Return a line on each file that was written to since; its digest is of what it is now."""
        return [
            f"warning: {name_of_source(path)} was changed while it was read: what was ranked is of "
            "what stood there then, its digest of what stands there now"
            for path, stamp in self._stamps.items()
            if _stamp(path) != stamp
        ]


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return (found.st_size, found.st_mtime_ns) if stat.S_ISREG(found.st_mode) else None
