"""HDF5 files for writing, in which a full disk or a signal gives an error and no crash."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py

from specvae.interruption import HeldSignals


class WrittenFile:
    """The file that HDF5 writes to; it stores the system's first error instead of raising it.

    If HDF5 cannot write its data, it cannot close its file either, and may later crash the process
    by a segmentation fault. So each write is reported as successful. Data that could not be written
    are kept in memory, to be read back, until the file is closed and the error is raised.

    So it is with Ctrl-C, and other signals, while HDF5 calls a method of this class: it would lose
    the exception and with it what it was about to write, or crash.

    Parameters
    ----------
    path
        The file; an existing one is replaced.
    options
        Those of `h5py.File`.
    """

    def __init__(self, path: Path, **options: Any) -> None:  # noqa: ANN401
        self._stream = path.open("w+b", buffering=0)
        self._error: OSError | None = None
        self._kept: list[tuple[int, bytes]] = []
        self._place = 0
        self._signals = HeldSignals(_CALLED_BY_HDF5)
        try:
            self.file = h5py.File(self, "w", **options)
        except BaseException:
            self._signals.release()
            self._stream.close()
            raise

    def close(self) -> None:
        """Close the file.

        Raises
        ------
        OSError
            If something could not be written.
        """
        try:
            self.file.close()
            self.require_written()
        finally:
            self._signals.release()
            self._stream.close()

    def require_written(self) -> None:
        """Raise the system's error, an OSError, if something could not be written.

        A signal that came since is heeded now; at Ctrl-C it is a KeyboardInterrupt.
        """
        self._signals.deliver()
        if self._error is not None:
            raise self._error

    # The methods of a file that h5py needs.

    def seek(self, place: int, whence: int = os.SEEK_SET) -> int:
        """Move to a position, which may be relative to the end."""
        if whence == os.SEEK_END:
            place += self._size()
        self._place = place
        return place

    def tell(self) -> int:
        """Return the position."""
        return self._place

    def readinto(self, buffer: memoryview) -> int:
        """Read at the position, including data that could not be written."""
        size, first = len(buffer), self._place
        self._stream.seek(first)
        found = self._stream.read(size) or b""
        buffer[:] = found.ljust(size, b"\0")
        for start, data in self._kept:
            low, high = max(first, start), min(first + size, start + len(data))
            if low < high:
                buffer[low - first : high - first] = data[low - start : high - start]
        return size

    def read(self, size: int) -> bytes:
        """Read at the position; h5py recognises a file by this method."""
        data = bytearray(size)
        self.readinto(memoryview(data))
        return bytes(data)

    def write(self, data: memoryview) -> int:
        """Write at the position, or keep data that cannot be written."""
        place, rest = self._place, memoryview(data)
        self._place += len(rest)
        if self._error is None:
            try:
                self._stream.seek(place)
                while len(rest):
                    n = self._stream.write(rest) or 0
                    place, rest = place + n, rest[n:]
            except OSError as error:
                self._error = error
        if len(rest):
            self._kept.append((place, bytes(rest)))
        return len(data)

    def truncate(self, size: int) -> None:
        """Set the size of the file."""
        if self._error is None:
            try:
                self._stream.truncate(size)
            except OSError as error:
                self._error = error

    def flush(self) -> None:
        """Do nothing, as there is no buffer."""

    def _size(self) -> int:
        size = os.fstat(self._stream.fileno()).st_size
        return max([size, *(start + len(data) for start, data in self._kept)])


_CALLED_BY_HDF5 = tuple(
    method.__code__
    for method in (
        WrittenFile.seek,
        WrittenFile.tell,
        WrittenFile.readinto,
        WrittenFile.read,
        WrittenFile.write,
        WrittenFile.truncate,
        WrittenFile.flush,
    )
)


@contextmanager
def written_hdf5(path: Path, **options: Any) -> Iterator[h5py.File]:  # noqa: ANN401
    """Open a new HDF5 file for writing; `options` are those of `h5py.File`.

    Raises
    ------
    OSError
        At the end, if something could not be written.
    """
    written = WrittenFile(path, **options)
    try:
        yield written.file
    finally:
        written.close()
