"""Files that appear whole or not at all, and digests of files."""

from __future__ import annotations

import atexit
import codecs
import errno
import hashlib
import math
import os
import re
import shutil
import socket
import stat
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from specvae.errors import InputError, nearest

_SOURCES: dict[str, str] = {}
"""Stored copy of what a pipe brought -> what the user calls it."""
_DEVICES = (("/", "dev"), ("/", "proc"))  # where the files are that a process has open
_MOST_NAMES = 1000  # of a folder, that are compared with a missing one
_LIKE_NAME = 0.75  # from 0 to 1: how like it must be


def no_such_file(path: Path) -> str:
    """Return what is said of a missing file; with the name in its folder that is most like it."""
    if path.is_symlink():
        return f"is a link to {path.readlink()}, which is not there"
    try:
        names = [other.name for other in islice(path.parent.iterdir(), _MOST_NAMES)]
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


_WEB_PAGE = re.compile(rb"\s*<(?:!DOCTYPE )?html\b", re.IGNORECASE)


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
    of the same name with `suffix`, which is removed at the end of the program. Where the suffix
    decides the kind of file, ``/dev/stdin`` into which a shell redirects a file is that file; if it
    has no suffix, or no name any more, it is stored as a pipe's content is; so it is where only the
    process itself can read it: on Windows, and of another user's file (``sudo -u me ... < FILE``).

    Raises
    ------
    InputError
        If it is a pipe that another input of this run was read from, or stdin is closed.
    """
    own_stdin = path == _STDIN and not os.access(path, os.R_OK)
    try:
        mode = stat.S_IFIFO if own_stdin else path.stat().st_mode
    except OSError:
        return path  # whoever opens it says what is wrong
    if stat.S_ISREG(mode) and suffix and not path.suffix and path.parts[:2] in _DEVICES:
        redirected = path.resolve()
        if redirected.suffix and redirected.is_file():
            return redirected
    elif stat.S_ISREG(mode) or stat.S_ISDIR(mode):
        return path
    called = "stdin" if path == _STDIN else str(path)
    with _stdin() if own_stdin else path.open("rb") as source:
        if stat.S_ISCHR(mode) and not source.isatty():
            return path  # /dev/null
        folder = temporary_folder()
        name = f"fd{path.name}" if path.name.isdecimal() else path.name
        copy = folder / (name if path.suffix else f"{name}{suffix}")
        with copy.open("wb") as target:
            shutil.copyfileobj(source, target, 1 << 20)
            is_empty = target.tell() == 0
    if is_empty and called in _SOURCES.values():
        raise InputError(f"{called}: was read already, as it can be but once; wanted one input -")
    _SOURCES[str(copy)] = called
    return copy


_STDIN = Path("/dev/stdin")


@contextmanager
def _stdin() -> Iterator[BinaryIO]:
    """Give what the process itself has as stdin."""
    source = None if sys.stdin is None else getattr(sys.stdin, "buffer", None)
    if source is None:
        raise InputError("stdin: is closed, wanted a file or a pipe")
    yield source


def temporary_folder() -> Path:
    """Return a new folder in the system's place for temporary files, removed at the end.

    Those of killed processes of this computer are removed now.
    """
    place = Path(tempfile.gettempdir())
    abandoned = re.compile(rf"specvae-{_host()}-(\d+)-\w+")
    if _IS_POSIX:
        with suppress(OSError):
            for folder in place.iterdir():
                if (found := abandoned.fullmatch(folder.name)) and not _runs(int(found[1])):
                    shutil.rmtree(folder, ignore_errors=True)
    made = Path(tempfile.mkdtemp(prefix=f"specvae-{_host()}-{os.getpid()}-"))
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return made


def is_stored_copy(path: Path | str) -> bool:
    """Return whether a file is but the copy of what a pipe brought; see `rewindable`."""
    return str(path) in _SOURCES


def name_of_source(path: Path | str) -> str:
    """Return what the user calls a file: ``stdin`` or the pipe's name for a stored copy."""
    return _SOURCES.get(str(path), str(path))


def with_sources(text: str) -> str:
    """Return a text for the user with the names of pipes in place of those of their copies."""
    for copy, called in _SOURCES.items():
        text = text.replace(copy, called)
    return text


# HDF5 puts the error of the system into a text of its own, and h5py raises it as this or that.
_NO_ROOM = (errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC))
_HDF5_CAUSE = re.compile(r"errno = (\d+), error message = '([^']*)'")


def is_pool(path: Path) -> bool:
    """Return whether a file of structures is a pool (HDF5) and no table, by its name."""
    return path.suffix.lower() in (".h5", ".hdf5")


def utf_16_of(head: bytes) -> str:
    """Return which UTF-16 a file is by its first bytes, with its mark or without; "" if it is none.

    Without a mark each second byte of its first line is 0, and the others are printable.
    """
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    head = head[:_TELLING_UTF_16]
    for encoding, first, second in (("utf-16-le", 0, 1), ("utf-16-be", 1, 0)):
        letters, zeros = head[first::2], head[second::2]
        if len(letters) > 3 and not any(zeros) and _PLAIN_TEXT.fullmatch(letters) is not None:
            return encoding
    return ""


_TELLING_UTF_16 = 16  # bytes
_PLAIN_TEXT = re.compile(rb"[\t\r\n -~]+")

AS_WINDOWS_TEXT = "specvae.windows-1252"
"""How bytes that are no UTF-8 are decoded, for ``decode`` and ``open``: as Excel and others on
Windows write them, so that names and identifiers of two such files are the same text."""


def _windows_characters(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return error.object[error.start : error.end].decode("cp1252", "replace"), error.end


codecs.register_error(AS_WINDOWS_TEXT, _windows_characters)


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` that replaces it on success and vanishes on failure.

    A device or a pipe, such as ``/dev/stdout``, is yielded itself, for nothing may take its place;
    a symbolic link stays, and the file that it points to is replaced. Temporary files of killed
    processes of this computer are removed from the folder.

    Raises
    ------
    OSError
        If it cannot be written; the error names `path`.
    """
    if path.exists() and not path.is_file():
        with naming_full_disk(path):
            yield path
        return
    path = Path(os.path.realpath(path))  # which takes links that go in a circle, too
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(path.parent)
    temporary = _temporary_beside(path)
    try:
        with naming_full_disk(path):
            yield temporary
        temporary.replace(path)
    except (OSError, RuntimeError) as error:
        if found := _HDF5_CAUSE.search(str(error)):
            raise OSError(int(found[1]), found[2], str(path)) from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


def _temporary_beside(path: Path) -> Path:
    """Return where a file is written before it has its name.

    The suffix is kept last: some writers choose the format by it. What would be longer than names
    may be is cut, and told apart by a digest.
    """
    suffix = path.suffix if len(os.fsencode(path.suffix)) <= _LONGEST_SUFFIX else ""
    end = f".{_host()}-{os.getpid()}.tmp{suffix}"
    room = _LONGEST_NAME - len(end) - 1
    stem = path.name.removesuffix(suffix) if suffix else path.name
    if len(os.fsencode(stem)) > room:
        told_apart = hashlib.blake2b(os.fsencode(path.name), digest_size=4).hexdigest()
        while len(os.fsencode(stem)) > room - len(told_apart):
            stem = stem[:-1]
        stem += told_apart
    return path.with_name(f".{stem}{end}")


_LONGEST_NAME = 255  # bytes, in the file systems that are usual
_LONGEST_SUFFIX = 20


@contextmanager
def naming_full_disk(path: Path) -> Iterator[None]:
    """Name the file in the system's error where there is no room to write it.

    Raises
    ------
    OSError
        Whatever is raised within.
    """
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno in _NO_ROOM:
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


@contextmanager
def exclusive(folder: Path, refusal: str) -> Iterator[None]:
    """Keep a folder for this process alone; it is made, and stays if there is something in it.

    The system gives it up when the process ends, however it ends. Where files cannot be locked, as
    on some file systems of clusters, it is nobody's.

    Raises
    ------
    InputError
        With `refusal` and the other's number, if another process has it, and where the folder
        cannot be made or written to.
    """
    lock = folder / LOCK
    try:
        folder.mkdir(parents=True, exist_ok=True)
        stream = lock.open("a+", encoding="utf-8")
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror})") from None
    try:
        with stream:
            # One who has just finished may have removed the file that was opened.
            if not _taken(stream) or not _is_still(lock, stream):
                stream.seek(0)
                other = stream.read().strip()
                raise InputError(f"{refusal}{f' (process {other})' if other else ''}")
            try:
                with naming_full_disk(lock):
                    stream.truncate(0)
                    stream.write(str(os.getpid()))
                    stream.flush()
                yield
            finally:
                if _IS_POSIX:
                    _remove_lock(lock)  # before somebody else can take it
    finally:
        if not _IS_POSIX:
            _remove_lock(lock)  # no file that is open can be removed, nor can another's be


LOCK = "lock"
"""The file by which a folder is kept for one process; see `exclusive`."""

_IS_POSIX = os.name == "posix"


def _remove_lock(lock: Path) -> None:
    with suppress(OSError):
        lock.unlink(missing_ok=True)
        lock.parent.rmdir()  # if it is empty


def _is_still(path: Path, stream: TextIO) -> bool:
    """Return whether an open file is what a path leads to."""
    try:
        return os.path.samestat(path.stat(), os.fstat(stream.fileno()))
    except FileNotFoundError:
        return False


def _taken(stream: TextIO) -> bool:
    """Take the lock of an open file if nobody has it."""
    try:
        if sys.platform == "win32":
            import msvcrt

            # The byte at the file's position is locked, and nobody else can read it: one that the
            # number of the process never reaches.
            os.lseek(stream.fileno(), _LOCKED_BYTE, os.SEEK_SET)
            msvcrt.locking(stream.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno in _NO_LOCKS
    return True


_LOCKED_BYTE = 1 << 20

# What NFS says without its service of locks, and Lustre where it was mounted without them.
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


def _host() -> str:
    """Return what tells apart computers, and containers, whose processes have numbers of their own.

    Containers that use the network of their host have its name, too.
    """
    try:
        numbers = Path("/proc/self/ns/pid").stat().st_ino
    except OSError:
        numbers = _OF_THE_HOST
    within = "" if numbers == _OF_THE_HOST else f"_{numbers}"
    return re.sub(r"[^A-Za-z0-9_]", "_", socket.gethostname())[:40] + within


_OF_THE_HOST = 0xEFFFFFFC
"""The number that Linux gives the processes outside of containers."""


def _remove_abandoned(folder: Path) -> None:
    """Remove the temporary files of `folder` whose process, on this computer, is gone."""
    if not _IS_POSIX:
        return  # elsewhere, signal 0 is not harmless
    name = re.compile(rf"\..*\.{_host()}-(\d+)\.tmp(\.[^.]*)?")
    with suppress(PermissionError):  # others' files, or a folder that must not be listed
        for file in folder.iterdir():
            if (found := name.fullmatch(file.name)) and not _runs(int(found[1])):
                file.unlink(missing_ok=True)


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True  # somebody else's
    return True


@contextmanager
def atomic_text(path: Path) -> Iterator[TextIO]:
    """Open `path` for writing UTF-8 text such that it appears whole or not at all."""
    with (
        atomic_path(path) as temporary,
        # A name may hold what UTF-8 has no code for, half of a surrogate pair.
        temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="") as stream,
    ):
        yield stream


def json_ready(value: Any) -> Any:  # noqa: ANN401
    """Return nested dictionaries and lists with null where JSON has no number: inf and NaN."""
    if isinstance(value, Mapping):
        return {key: json_ready(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [json_ready(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def sha256_of(path: Path) -> str:
    """Return the hexadecimal SHA-256 digest of a file's bytes as stored."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


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
