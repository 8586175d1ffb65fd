"""Compressed files, decompressed while they are read: gzip, bzip2, xz and, with its extra, zstd."""

from __future__ import annotations

import gzip
import importlib
import io
import re
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol, cast

from specvae.errors import InputError

_CHUNK_BYTES = 1 << 16
_MAGIC_BYTES = 10


class _Kind(NamedTuple):
    name: str
    suffix: str
    magic: re.Pattern[bytes]


_KINDS = (
    _Kind("gzip", ".gz", re.compile(rb"\x1f\x8b")),
    # A text may begin with BZh: the mark of a block, or of the end, follows.
    _Kind("bzip2", ".bz2", re.compile(rb"BZh[1-9](?:1AY&SY|\x17rE8P\x90)")),
    _Kind("xz", ".xz", re.compile(rb"\xfd7zXZ\x00")),
    _Kind("zstd", ".zst", re.compile(rb"\x28\xb5\x2f\xfd")),
)
COMPRESSED_SUFFIXES = tuple(kind.suffix for kind in _KINDS)
"""Suffixes of the compressed files that are read."""

DECOMPRESSION_ERRORS = (EOFError, gzip.BadGzipFile, zlib.error)
"""What a compressed file raises where it is cut off or damaged."""


def uncompressed_name(path: Path | str) -> str:
    """Return a file's name in lower case, without the suffix of its compression."""
    name = Path(path).name.lower()
    suffix = next((suffix for suffix in COMPRESSED_SUFFIXES if name.endswith(suffix)), "")
    return name.removesuffix(suffix)


def compression_of(head: bytes) -> str:
    """Return how the content that begins with some bytes is compressed, "" if it is not."""
    return next((kind.name for kind in _KINDS if kind.magic.match(head)), "")


def open_decompressed(path: Path) -> BinaryIO:
    """Open a file for reading bytes, decompressed whatever the file is called.

    Its bytes raise one of `DECOMPRESSION_ERRORS` where the compression is damaged or cut off; what
    stands before that place is read.

    Raises
    ------
    OSError
        If the file cannot be opened.
    InputError
        If this Python was built without the library for its compression.
    """
    stream = path.open("rb")
    compression = compression_of(stream.peek(_MAGIC_BYTES)[:_MAGIC_BYTES])
    if not compression:
        return stream
    if compression == "gzip":
        stream.close()
        return cast("BinaryIO", gzip.open(path, "rb"))
    try:
        return io.BufferedReader(_DecompressedStream(stream, compression), _CHUNK_BYTES)
    except ImportError:
        stream.close()
        remedy = " (pip install backports.zstd)" if compression == "zstd" else ""
        raise InputError(
            f"{path}: is compressed by {compression}, for which this Python has no library"
            f"{remedy}; unpack it"
        ) from None


class _DecompressedStream(io.RawIOBase):
    """The content of a file that is not of gzip, maybe several streams one after the other.

    Python's own classes pass over whatever follows the first stream and is none, and tell damage by
    errors that reading a disk raises, too.
    """

    def __init__(self, stream: BinaryIO, compression: str) -> None:
        super().__init__()
        self._stream = stream
        self._compression = compression
        self._waiting = b""
        self._new_engine = _engines(compression)
        self._engine = self._new_engine()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # as its base calls it
        data = self._read_some(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._stream.close()
        super().close()

    def _read_some(self, size: int) -> bytes:
        """Return some bytes, `size` at most; none at the end."""
        data = b""
        while not data:
            if self._engine.eof and not self._begin_next():
                break
            if self._engine.needs_input and not self._waiting:
                self._waiting = self._stream.read(_CHUNK_BYTES)
                if not self._waiting:
                    raise EOFError("the compressed file is cut off")
            try:
                data = self._engine.decompress(self._waiting, size)
            except Exception as error:  # OSError, LZMAError, ZstdError; no disk is read here
                raise EOFError(f"the compressed file is damaged: {error}") from None
            self._waiting = b""
        return data

    def _begin_next(self) -> bool:
        """Go to the next stream, behind zeros that fill blocks; return whether there is one."""
        rest = self._engine.unused_data.lstrip(b"\0")
        while len(rest) < _MAGIC_BYTES and (more := self._stream.read(_CHUNK_BYTES)):
            rest = (rest + more).lstrip(b"\0")
        if not rest:
            return False
        if compression_of(rest) != self._compression:
            raise EOFError("the compressed file is damaged: other content behind its end")
        self._waiting, self._engine = rest, self._new_engine()
        return True


class _Engine(Protocol):
    """What decompresses one stream: the classes of Python's bz2, lzma and compression.zstd."""

    @property
    def eof(self) -> bool: ...

    @property
    def needs_input(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, max_length: int) -> bytes: ...


def _engines(compression: str) -> Callable[[], _Engine]:
    """Return what makes an engine for each stream; libraries are loaded where a file needs them.

    Raises
    ------
    ImportError
        If there is none.
    """
    if compression == "bzip2":
        from bz2 import BZ2Decompressor

        return BZ2Decompressor
    if compression == "xz":
        from lzma import FORMAT_XZ, LZMADecompressor

        return lambda: LZMADecompressor(FORMAT_XZ)
    for library in _ZSTD_LIBRARIES:
        try:
            module = importlib.import_module(library)
        except ImportError:
            continue
        return cast("Callable[[], _Engine]", module.ZstdDecompressor)
    raise ImportError(" and ".join(_ZSTD_LIBRARIES))


# Python's own from 3.14 on, and the same for earlier ones (extra zstd).
_ZSTD_LIBRARIES = ("compression.zstd", "backports.zstd")
