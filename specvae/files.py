"""Files that appear whole or not at all, folders of one process alone, and digests of files."""

from __future__ import annotations

import atexit
import errno
import hashlib
import math
import os
import re
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

from specvae.errors import InputError
from specvae.interruption import undisturbed


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
    _TEMPORARY.add(made)
    return made


def remove_temporary_folder(folder: Path) -> None:
    """Remove a folder that `temporary_folder` made, before the end of the program."""
    shutil.rmtree(folder, ignore_errors=True)
    _TEMPORARY.discard(folder)


_TEMPORARY: set[Path] = set()


@atexit.register
def _remove_temporary_folders() -> None:
    for folder in tuple(_TEMPORARY):
        remove_temporary_folder(folder)


def require_current_folder() -> None:
    """Refuse to go on where the current folder is gone: torch ends the process there.

    Raises
    ------
    InputError
        If it is.
    """
    try:
        Path.cwd()
    except OSError as error:
        raise InputError(
            f"the current folder cannot be used ({error.strerror}): it may have been removed; "
            "wanted one that is there (cd)"
        ) from None


NO_ROOM = (errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC))
"""Numbers of the errors of a full disk, or of a file that may be no larger."""

# HDF5 puts the error of the system into a text of its own, and h5py raises it as this or that.
_HDF5_CAUSE = re.compile(r"errno = (\d+), error message = '([^']*)'")


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
        with undisturbed():
            temporary.unlink(missing_ok=True)


@contextmanager
def folder_beside(path: Path) -> Iterator[Path]:
    """Yield an empty folder beside a file, which is removed with what is in it.

    It is for libraries that give names of their own to what they have not finished: those of a
    process that was killed could not be told from others' files.
    """
    _remove_abandoned(path.parent)
    folder = _temporary_beside(path.with_name(f"{path.name}.parts"))
    folder.mkdir()
    try:
        yield folder
    finally:
        with undisturbed():
            shutil.rmtree(folder, ignore_errors=True)


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
        if error.filename is None and error.errno in NO_ROOM:
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
                    try:
                        with undisturbed():
                            _remove_lock(lock)  # before somebody else can take it
                    except BaseException:  # of a second signal, which came just before
                        if _is_still(lock, stream):
                            _remove_lock(lock)
                        raise
    finally:
        if not _IS_POSIX:
            _remove_lock(lock)  # no file that is open can be removed, nor can another's be


LOCK = ".specvae.lock"
"""The file by which a folder is kept for one process; see `exclusive`. A name of no user's file."""

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
                if file.is_dir() and not file.is_symlink():  # see `folder_beside`
                    shutil.rmtree(file, ignore_errors=True)
                else:
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


def is_foreign(path: Path, own: re.Pattern[bytes]) -> bool:
    """Return whether a file has content that does not begin as a file of this program does.

    Parameters
    ----------
    path
        The file. One that is missing or blank is not foreign.
    own
        What is found in the first 200 bytes of a file that this program has written.
    """
    if not path.is_file():
        return False
    with path.open("rb") as stream:
        head = stream.read(200)
    return bool(head.strip()) and own.search(head) is None


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
