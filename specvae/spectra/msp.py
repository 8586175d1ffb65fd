"""MSP files: the dialects of NIST, MoNA, MassBank, MS-DIAL/RIKEN, Golm and matchms."""

from __future__ import annotations

import string
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache

from specvae.report import ReadReport, Reason
from specvae.spectra.fields import (
    Record,
    RejectedRecordError,
    Style,
    collect,
    field_of,
    identify,
    make_spectrum,
)
from specvae.spectra.lines import LineSource, decode
from specvae.spectra.peaks import Peaks, parse_peaks, parse_regular
from specvae.spectra.spectrum import Spectrum

MSP_STYLE = Style(id_fields=("db", "name"), name_fields=("name",), seconds_per_rt_unit=60.0)


# First letters of keys that cannot be a name or a number of peaks.
_PLAIN_LETTERS = frozenset(letter.encode() for letter in string.ascii_letters if letter not in "nN")


@lru_cache(maxsize=4096)
def _field_of(key: bytes) -> str | None:
    return field_of(decode(key))


@dataclass(slots=True)
class _Block:
    """The lines of one record."""

    line: int = 1  # of its first line, 1-based
    header: list[bytes] = field(default_factory=list)
    peaks: list[bytes] = field(default_factory=list)
    parsed: Peaks | None = None  # instead of the lines of the peaks
    at_end: bool = False  # ended by the end of the file
    has_name: bool = False
    in_peaks: bool = False  # the line with the number of peaks has gone by

    @property
    def is_empty(self) -> bool:
        return not (self.header or self.peaks)


def _blocks(source: LineSource) -> Iterator[_Block]:
    """Cut a file into records.

    A record ends at a blank line, or where a ``Key:`` line follows its peaks, or its name comes a
    second time. The declared number of peaks is no border, so that a wrong one harms no neighbour;
    it is only tried first, because a peak list that agrees with it need not be looked at by line.
    """
    block = _Block()
    in_header = False
    n_before = 1  # number of a chunk's first line
    for lines in source.chunks():
        i = 0
        while i < len(lines):
            line = lines[i].strip()
            number = n_before + i
            i += 1
            if in_header and line[:1] in _PLAIN_LETTERS and b":" in line:
                block.header.append(line)  # the usual case, that changes nothing else
                continue
            if not line or _ends(block, line):
                if not block.is_empty:
                    yield block
                block, in_header = _Block(), False
            if not line or line.startswith(b"#"):
                continue
            if block.is_empty:
                block.line = number
            _add(block, line)
            if block.in_peaks and not block.peaks:
                i += _take_declared(block, line, lines, i)
            in_header = not (block.in_peaks or block.peaks)
        n_before += len(lines)
    if not block.is_empty:
        block.at_end = True
        yield block


def _is_pair(line: bytes) -> bool:
    return line[:1].isalpha() and b":" in line


def _field(line: bytes) -> str | None:
    # Only two keys matter to the borders, and every spelling of them begins with n.
    return _field_of(line.partition(b":")[0]) if line[:1] in b"nN" else None


def _ends(block: _Block, line: bytes) -> bool:
    """Whether the line belongs to the next record already."""
    if not (block.in_peaks or block.peaks or block.has_name) or not _is_pair(line):
        return False
    return block.in_peaks or bool(block.peaks) or _field(line) == "name"


def _add(block: _Block, line: bytes) -> None:
    """Put a line where it belongs."""
    if not _is_pair(line):
        is_peak = block.in_peaks or not block.header or line[:1].isdigit()
        (block.peaks if is_peak else block.header).append(line)
        return
    block.header.append(line)
    name = _field(line)
    block.in_peaks = name == "n_peaks"
    block.has_name = block.has_name or name == "name"


def _take_declared(block: _Block, line: bytes, lines: list[bytes], i: int) -> int:
    """Take as many peak lines as declared, if that is what stands before the next blank line.

    Returns the number of lines taken; 0 leaves it to the search line by line.
    """
    declared = line.partition(b":")[2].strip()
    n = int(declared) if declared.isdigit() else 0
    if n == 0 or i + n >= len(lines) or lines[i + n].strip():
        return 0
    block.parsed = parse_regular(lines[i : i + n])
    return n if block.parsed is not None else 0


def _pairs(header: list[bytes]) -> list[tuple[str, str]]:
    """Return the (key, value) pairs of a header; a line without a key continues the one before."""
    pairs: list[tuple[str, str]] = []
    for line in decode(b"\n".join(header)).split("\n"):
        key, colon, value = line.partition(":")
        if colon:
            pairs.append((key.strip(), value.strip()))
        elif pairs:
            key, value = pairs[-1]
            pairs[-1] = (key, f"{value} {line}")
    return pairs


def _spectrum(block: _Block, record: Record, query_id: str, path: str, cut: bool) -> Spectrum:
    if b"\0" in b" ".join(block.header):
        raise RejectedRecordError(Reason.BAD_ENCODING, "NUL bytes in the header")
    if cut:
        raise RejectedRecordError(Reason.TRUNCATED, "the compressed file is cut off")
    declared = record.fields.get("n_peaks")
    if declared is None:
        if block.at_end and not block.peaks:
            raise RejectedRecordError(Reason.TRUNCATED, "no Num Peaks line")
        raise RejectedRecordError(Reason.PEAK_COUNT_MISMATCH, "no Num Peaks line")
    if not declared.isdecimal():
        raise RejectedRecordError(Reason.BAD_FIELD, f"Num Peaks is {declared!r}")
    n_declared = int(declared)
    try:
        mz, intensity = block.parsed or parse_peaks(block.peaks, many_per_line=True)
    except RejectedRecordError:
        if block.at_end and len(block.peaks) <= n_declared and _all_but_last_read(block.peaks):
            raise RejectedRecordError(Reason.TRUNCATED, "cut off inside a peak") from None
        raise
    if mz.size != n_declared:
        short = block.at_end and mz.size < n_declared
        reason = Reason.TRUNCATED if short else Reason.PEAK_COUNT_MISMATCH
        raise RejectedRecordError(reason, f"{n_declared} declared, {mz.size} found")
    return make_spectrum(record, mz, intensity, MSP_STYLE, query_id, path, block.line)


def _all_but_last_read(lines: list[bytes]) -> bool:
    try:
        parse_peaks(lines[:-1], many_per_line=True)
    except RejectedRecordError:
        return False
    return True


def read_msp(source: LineSource, report: ReadReport) -> Iterator[Spectrum]:
    """Yield the spectra of an MSP file; records that are malformed are skipped and counted."""
    path = str(source.path)
    complete = True
    last_line = 0
    for ordinal, block in enumerate(_blocks(source), 1):
        record = collect(_pairs(block.header))
        query_id = identify(record, MSP_STYLE, source.path.name, ordinal)
        cut = block.at_end and source.truncated
        complete = not cut
        last_line = block.line
        try:
            spectrum = _spectrum(block, record, query_id, path, cut)
        except RejectedRecordError as error:
            report.skip(path, block.line, query_id, error.reason, error.detail)
            continue
        yield spectrum
    if source.truncated and complete:
        report.skip(path, last_line, "end of file", Reason.TRUNCATED, "compressed file is cut off")
