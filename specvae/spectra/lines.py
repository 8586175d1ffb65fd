"""Open spectrum files as bytes or lines, compressed or not, in constant memory."""

from __future__ import annotations

import gzip
import io
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

from specvae.errors import InputError

_HEAD_BYTES = 1 << 16
_CHUNK_BYTES = 1 << 16
_ARCHIVES = {
    b"PK\x03\x04": "a zip archive",
    b"BZh": "compressed by bzip2",
    b"\xfd7zXZ": "compressed by xz",
    b"\x89HDF": "an HDF5 file",
    b"\xff\xfe": "UTF-16 text",
    b"\xfe\xff": "UTF-16 text",
}
_MSP_LINE = re.compile(rb"^[ \t]*(?:num[ _]?peaks|name)[ \t]*:", re.IGNORECASE | re.MULTILINE)
_MGF_LINE = re.compile(rb"^[ \t]*BEGIN IONS", re.IGNORECASE | re.MULTILINE)
_WANTED = "wanted MSP, MGF, mzML or mzXML"
TRUNCATION_ERRORS = (EOFError, gzip.BadGzipFile, zlib.error)
"""What a gzip stream raises where it is cut off or damaged."""


def open_bytes(path: Path) -> BinaryIO:
    """Open a file for reading bytes, decompressing gzip whatever the file is called.

    Raises
    ------
    InputError
        If the file is missing, a directory, or may not be read.
    """
    try:
        stream = path.open("rb")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise InputError(f"{path}: is a directory, wanted a file of spectra") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    if stream.peek(2)[:2] == b"\x1f\x8b":
        stream.close()
        return cast(BinaryIO, gzip.open(path, "rb"))
    return stream


def read_head(path: Path) -> tuple[bytes, bool]:
    """Return the first 64 KiB of a file, decompressed, and whether it is cut off before them.

    Raises
    ------
    InputError
        If the file cannot be opened or holds nothing.
    """
    head = b""
    truncated = False
    with open_bytes(path) as stream:
        try:
            while len(head) < _HEAD_BYTES and (piece := _read_some(stream, _HEAD_BYTES)):
                head += piece
        except TRUNCATION_ERRORS:
            truncated = True
    if not head.strip() and not truncated:
        raise InputError(f"{path}: is empty")
    return head, truncated


def _read_some(stream: BinaryIO, size: int) -> bytes:
    # Unlike read(), read1() hands over what it has before the error of a cut-off gzip stream.
    return cast(io.BufferedReader, stream).read1(size)


def sniff_format(path: Path) -> str:
    """Tell ``msp``, ``mgf``, ``mzml`` and ``mzxml`` apart by content, and check the suffix.

    Raises
    ------
    InputError
        If the content is none of them, or another one than the suffix says.
    """
    suffix = path.name.lower().removesuffix(".gz").rpartition(".")[2]
    head, truncated = read_head(path)
    found = _format_of(path, head)
    if found is None and truncated:
        raise InputError(f"{path}: is cut off before its first spectrum")
    if found is None:
        if suffix not in ("msp", "mgf"):
            raise InputError(f"{path}: is no file of spectra, {_WANTED}")
        wanted = "BEGIN IONS" if suffix == "mgf" else "Name: or Num Peaks:"
        raise InputError(f"{path}: no line reads {wanted}, so this is no {suffix.upper()} file")
    if suffix in ("msp", "mgf", "mzml", "mzxml") and suffix != found:
        raise InputError(
            f"{path}: its content is {found}, its name says {suffix}; rename it to *.{found}"
        )
    return found


def _format_of(path: Path, head: bytes) -> str | None:
    for magic, kind in _ARCHIVES.items():
        if head.startswith(magic):
            raise InputError(f"{path}: is {kind}, {_WANTED}")
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if text.startswith(b"<"):
        if b"<mzML" in text:
            return "mzml"
        if b"<mzXML" in text or b"<msRun" in text:
            return "mzxml"
        raise InputError(f"{path}: is XML but neither mzML nor mzXML")
    if _MGF_LINE.search(text):
        return "mgf"
    if _MSP_LINE.search(text):
        return "msp"
    if b"\0" in text:
        raise InputError(f"{path}: is a binary file, {_WANTED}")
    if text.startswith((b"{", b"[")):
        raise InputError(f"{path}: looks like JSON, {_WANTED}")
    return None


class LineSource:
    """The lines of a file, without their ends, read piece by piece.

    After the iteration `truncated` tells whether a compressed file ended before its time. Line
    ends may be LF, CRLF or CR; a byte order mark is dropped.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.truncated = False

    def __iter__(self) -> Iterator[bytes]:
        for text in self.texts():
            yield from text.splitlines()

    def texts(self) -> Iterator[bytes]:
        """Yield the text in pieces of whole lines ended by LF; the file's last may lack its end.

        A piece ends after a blank line where the text has any, so that records are not cut.
        """
        with open_bytes(self.path) as stream:
            rest = b""
            first = True
            while chunk := self._next_chunk(stream):
                if first:
                    chunk = chunk.removeprefix(b"\xef\xbb\xbf")
                    first = False
                chunk = rest + chunk
                whole = chunk.removesuffix(b"\r")  # a CR at the end may be half a CRLF
                text = _with_lf(whole)
                blank = text.rfind(b"\n\n")
                end = blank + 2 if blank >= 0 else text.rfind(b"\n") + 1
                rest = text[end:] + chunk[len(whole) :]
                yield text[:end]
            yield _with_lf(rest)

    def _next_chunk(self, stream: BinaryIO) -> bytes:
        try:
            return _read_some(stream, _CHUNK_BYTES)
        except TRUNCATION_ERRORS:
            self.truncated = True
            return b""


def _with_lf(text: bytes) -> bytes:
    return text.replace(b"\r\n", b"\n").replace(b"\r", b"\n") if b"\r" in text else text


def decode(data: bytes) -> str:
    """Return text from UTF-8 bytes, or from Latin-1 where they are no UTF-8."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1")
