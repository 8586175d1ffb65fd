"""Open spectrum files as bytes or lines, compressed or not, in constant memory."""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, cast

from specvae.compression import (
    DECOMPRESSION_ERRORS,
    compression_of,
    open_decompressed,
    uncompressed_name,
)
from specvae.errors import CONTROLS, InputError
from specvae.limits import limits
from specvae.sources import no_such_file, stand_in
from specvae.text_encoding import AS_WINDOWS_TEXT, utf_16_of

_HEAD_BYTES = 1 << 16
_CHUNK_BYTES = 1 << 16
_ARCHIVES = {
    b"PK\x03\x04": "a zip archive",
    b"7z\xbc\xaf": "a 7z archive",
    b"\x89HDF": "an HDF5 file",
    b"CDF\x01": "a netCDF file",
    b"CDF\x02": "a netCDF file",
    b"SQLite format 3\0": "an SQLite database",
    # Instruments' own.
    b"\x01\xa1F\0i\0n\0n\0": "a raw file of Thermo; write mzML, as by msconvert",
    b"\xd0\xcf\x11\xe0": "a file of Sciex, Shimadzu or old Excel; write mzML, as by msconvert",
}
_XML_ENCODING = re.compile(rb"(<\?xml[^>]*encoding=[\"'])utf-?16", re.IGNORECASE)
_TAR_PLACE = slice(257, 262)  # where a tar archive names its kind
_MSP_LINE = re.compile(
    rb"^[ \t]*(?:num[ _]?peaks|name)[ \t]*:|^MS:\d{7}\|(?:name|number of peaks)[ \t]*=",
    re.IGNORECASE | re.MULTILINE,
)
_TAGGED_MSP_LINE = re.compile(rb"^PK\$NUM_PEAK:", re.MULTILINE)
_MARK = b"\xef\xbb\xbf"  # a byte order mark
_END_OF_FILE = b"\x1a"  # of DOS, which joins files with it
_MGF_LINE = re.compile(rb"^[ \t]*BEGIN IONS", re.IGNORECASE | re.MULTILINE)
_XML_ROOT = re.compile(rb"<(?:[A-Za-z_][\w.-]*:)?(mzML|mzXML|msRun)")  # with any prefix
_TELLING_BYTES = 4096  # of other formats
_LINES_OF_TABLES = (
    rb"(?:[^\n]*\n){0,5}?[^\n]*"
    rb"(?:\bmzs\b[^\n]*\bintensities\b|MS/?MS spectrum|Alignment ID|row m/z)"
)
# Other formats by their first bytes: their name in messages, and advice for their users.
_OTHER_FORMATS = (
    (rb"<(?:mzSpecLib|mzlib)\b", "is an mzSpecLib library", "write it as MSP"),
    (rb"(?:<[?!][^>]*>\s*)*<mzData\b", "is mzData, neither mzML nor mzXML", "use msconvert"),
    (rb"(?:<[?!][^>]*>\s*)*<CEF\b", "is Agilent's CEF, neither mzML nor mzXML", "export MGF"),
    (rb"<", "is XML but neither mzML nor mzXML", ""),
    (rb">\s*(?:compound|parentmass|formula|ionization)\b", "is a SIRIUS .ms file", "write MGF"),
    (rb"(?:H\t[^\n]*\n)*S\t\d+\t\d+\t", "is an .ms2 file", "write MGF, as by msconvert"),
    (rb"(?:#[^\n]*\n)*energy0\b", "is CFM-ID's list of peaks", "let it write MSP or MGF"),
    (rb"##TITLE *=", "is JCAMP-DX", "write MSP or MGF"),
    (rb"MTD\tmzTab", "is mzTab, which has no peaks", "take the spectra that it names"),
    (rb"[{\[]", "looks like JSON", "take the MSP or MGF that libraries offer beside it"),
    (_LINES_OF_TABLES, "is a table of spectra or features", "export MSP or MGF"),
)
_WANTED_FORMATS = "wanted MSP, MGF, mzML, mzXML or MassBank records"


def open_bytes(path: Path) -> BinaryIO:
    """Open a file for reading bytes, decompressed whatever the file is called.

    UTF-16, which Windows' shell writes into files, is read as UTF-8.

    Raises
    ------
    InputError
        If the file is missing, a directory, or may not be read.
    """
    try:
        stream = cast("io.BufferedReader", open_decompressed(path))
    except FileNotFoundError:
        raise InputError(f"{path}: {no_such_file(path)}") from None
    except IsADirectoryError:
        raise InputError(f"{path}: is a directory, wanted a file of spectra") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    with suppress(*DECOMPRESSION_ERRORS):  # these occur again when the file is read
        if encoding := utf_16_of(stream.peek(16)):
            return io.BufferedReader(_AsUtf8(stream, encoding), _CHUNK_BYTES)
    return stream


class _AsUtf8(io.RawIOBase):
    """UTF-16 text as UTF-8; what cannot be decoded becomes U+FFFD.

    Half a character at the end is left out.
    """

    def __init__(self, stream: BinaryIO, encoding: str) -> None:
        super().__init__()
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder(encoding)("replace")
        self._waiting = b""
        self._is_begun = self._is_done = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # as its base calls it
        while not self._waiting and not self._is_done:
            data = read_piece(self._stream)
            self._is_done = not data
            self._waiting = self._decoder.decode(data).encode()
            if not self._is_begun:
                self._waiting = _XML_ENCODING.sub(rb"\1utf-8", self._waiting, count=1)
            self._is_begun = True
        given, self._waiting = self._waiting[: len(buffer)], self._waiting[len(buffer) :]
        buffer[: len(given)] = given
        return len(given)

    def close(self) -> None:
        self._stream.close()
        super().close()


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
            while len(head) < _HEAD_BYTES and (piece := read_piece(stream, _HEAD_BYTES)):
                head += piece
        except DECOMPRESSION_ERRORS:
            truncated = True
    if not head.strip() and not truncated:
        raise InputError(f"{path}: is empty")
    return head, truncated


def read_piece(stream: BinaryIO, size: int = _CHUNK_BYTES) -> bytes:
    """Return some bytes of a stream, none at its end."""
    # Unlike read(), read1() hands over what it has before the error of a stream that is cut off.
    return cast(io.BufferedReader, stream).read1(size)


def sniff_format(path: Path) -> str:
    """Return the format by content: ``msp``, ``mgf``, ``mzml``, ``mzxml`` or ``massbank``.

    Raises
    ------
    InputError
        If the content is none of them, or another one than the suffix says.
    """
    suffix = uncompressed_name(path).rpartition(".")[2]
    head, truncated = read_head(path)
    found = _format_of(path, head)
    if found is None and truncated:
        raise InputError(f"{path}: is cut off before its first spectrum")
    if found is None:
        if suffix not in ("msp", "mgf"):
            raise InputError(f"{path}: is no file of spectra, {_WANTED_FORMATS}")
        wanted = "BEGIN IONS" if suffix == "mgf" else "Name: or Num Peaks:"
        raise InputError(f"{path}: no line reads {wanted}, so this is no {suffix.upper()} file")
    if suffix in ("msp", "mgf", "mzml", "mzxml") and suffix != found:
        wanted = "txt" if found == "massbank" else found
        raise InputError(
            f"{path}: its content is {found}, its name says {suffix}; rename it to *.{wanted}"
        )
    return found


def _format_of(path: Path, head: bytes) -> str | None:
    _refuse_archives(path, head)
    text = head.removeprefix(_MARK).lstrip()
    if other := stand_in(text):
        raise InputError(f"{path}: {other}")
    if text.startswith(b"<"):
        return _xml_format_of(path, text)
    if text.startswith(b"ACCESSION:") and b"RECORD_TITLE:" in text:
        return "massbank"
    if _MGF_LINE.search(text):
        return "mgf"
    if _MSP_LINE.search(text) or (
        # msPurity writes MSP with MassBank's tags alone.
        b"ACCESSION:" not in text and _TAGGED_MSP_LINE.search(text)
    ):
        return "msp"
    if b"\0" in text:
        raise InputError(f"{path}: is a binary file, {_WANTED_FORMATS}")
    if other := _other_format(text):
        raise InputError(f"{path}: {other}")
    return None


def _other_format(text: bytes) -> str:
    """Return the name of another format of spectra, with advice; "" if the format is unknown."""
    for pattern, kind, advice in _OTHER_FORMATS:
        if re.match(pattern, text[:_TELLING_BYTES], re.IGNORECASE) is not None:
            return f"{kind}, {_WANTED_FORMATS}" + (f": {advice}" if advice else "")
    return ""


def _refuse_archives(path: Path, head: bytes) -> None:
    for magic, kind in _ARCHIVES.items():
        if head.startswith(magic):
            kind, _, remedy = kind.partition("; ")
            then = f": {remedy}" if remedy else ""
            raise InputError(f"{path}: is {kind}, {_WANTED_FORMATS}{then}")
    if compression := compression_of(head):
        raise InputError(f"{path}: is compressed twice, inside by {compression}; {_WANTED_FORMATS}")
    if head[_TAR_PLACE].startswith(b"ustar"):
        # An archive's blocks hold lines of files, and the first line would be lost.
        raise InputError(f"{path}: is a tar archive, {_WANTED_FORMATS}")


def _xml_format_of(path: Path, text: bytes) -> str:
    found = _XML_ROOT.search(text)
    if found is not None:
        kind = "mzml" if found[1] == b"mzML" else "mzxml"
        if b"<!DOCTYPE" in text[: found.start()]:
            # Neither format has one. In XML it can include other files and grow without limit.
            raise InputError(f"{path}: has a document type declaration, wanted plain {kind}")
        return kind
    raise InputError(f"{path}: {_other_format(text)}")


class LineSource:
    """The lines of a file, read piece by piece.

    While `texts` is read, `n_bytes` is the number of bytes that were yielded; afterwards
    `truncated` tells whether a compressed file is cut off. Line ends may be LF, CRLF or CR. Byte
    order marks and DOS's end of file, which occur inside files that were joined, are dropped.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.truncated = False
        self.limits = limits()
        self.n_bytes = 0

    def texts(self) -> Iterator[bytes]:
        """Yield the text in pieces of whole lines ended by LF; the file's last may lack its end.

        A piece ends after a blank line where the text has any, so that records are not cut.

        Raises
        ------
        InputError
            If a line is longer than the limit `line_bytes`.
        """
        with open_bytes(self.path) as stream:
            rest = b""
            while chunk := self._next_chunk(stream):
                chunk = rest + chunk
                whole = chunk.rstrip(b"\r")  # a CR at the end may be half a CRLF
                text = _with_lf(whole)
                blank = text.rfind(b"\n\n")
                end = blank + 2 if blank >= 0 else text.rfind(b"\n") + 1
                rest = text[end:] + chunk[len(whole) :]
                if len(rest) > self.limits.line_bytes and b"\n" not in rest:
                    raise InputError(
                        f"{self.path}: a line is longer than {self.limits.line_bytes:,} bytes "
                        f"(line_bytes), at byte {self.n_bytes + end:,}; wanted a file of spectra"
                    )
                yield self._handed_out(text[:end])
            yield self._handed_out(_with_lf(rest))

    def require_short(self, begin: int, where: int) -> None:
        """Fail if more than the limit `record_bytes` were handed out since `begin`.

        Raises
        ------
        InputError
            Naming the line `where`.
        """
        if self.n_bytes - begin > self.limits.record_bytes:
            raise InputError(
                f"{self.path}:{where}: {self.limits.record_bytes:,} bytes (record_bytes) without "
                "the end of a record; wanted a file of spectra"
            )

    def _handed_out(self, text: bytes) -> bytes:
        self.n_bytes += len(text)
        for mark in (_MARK, _END_OF_FILE):
            if mark in text:
                text = text.replace(mark, b"")
        return text

    def _next_chunk(self, stream: BinaryIO) -> bytes:
        try:
            return read_piece(stream)
        except DECOMPRESSION_ERRORS:
            self.truncated = True
            return b""


def _with_lf(text: bytes) -> bytes:
    if b"\r" not in text:
        return text
    if b"\r\r\n" in text:  # Windows' programs write CRLF as text once more
        text = text.replace(b"\r\r\n", b"\n")
    return text.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


_TEXT_BYTES = bytes([9, 10, *range(32, 127), *range(160, 256)])


def decode(data: bytes) -> str:
    """Return text from UTF-8 bytes; invalid UTF-8 is read as Windows-1252.

    Control characters, which would move the cursor of a terminal or end a cell of a table, become
    replacement characters.
    """
    text = data.decode("utf-8", AS_WINDOWS_TEXT)
    # Deleting the harmless bytes is faster than a search for the others, which are rare.
    return CONTROLS.sub("\ufffd", text) if data.translate(None, _TEXT_BYTES) else text
