"""MSP files: the dialects of NIST, MoNA, MassBank, MS-DIAL/RIKEN, Golm and matchms."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

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
from specvae.spectra.peaks import parse_peaks
from specvae.spectra.spectrum import Spectrum

MSP_STYLE = Style(id_fields=("db", "name"), name_fields=("name",), seconds_per_rt_unit=60.0)


@lru_cache(maxsize=4096)
def _field_of(key: bytes) -> str | None:
    return field_of(decode(key))


class _Block(NamedTuple):
    """The lines of one record."""

    line: int  # of its first line, 1-based
    header: list[bytes]
    peaks: list[bytes]
    at_end: bool  # ended by the end of the file


def _blocks(source: LineSource) -> Iterator[_Block]:
    """Cut a file into records.

    A record ends at a blank line, or where a ``Key:`` line follows its peaks, or its name comes a
    second time. The declared number of peaks plays no part, so that a wrong one harms no neighbour.
    """
    header: list[bytes] = []
    peaks: list[bytes] = []
    start = 1
    in_peaks = has_name = False
    for number, raw in enumerate(source, 1):
        if in_peaks and raw[:1].isdigit():
            peaks.append(raw)
            continue
        line = raw.strip()
        if not line or line.startswith(b"#"):
            if not line and (header or peaks):
                yield _Block(start, header, peaks, at_end=False)
                header, peaks, in_peaks, has_name = [], [], False, False
            continue
        key, colon, _ = line.partition(b":")
        if not colon or not line[:1].isalpha():
            is_peak = in_peaks or not header or line[:1].isdigit()
            if not (header or peaks):
                start = number
            (peaks if is_peak else header).append(line)
            continue
        # Only these two keys matter here, and every spelling of them begins with n.
        field = _field_of(key) if line[:1] in b"nN" else None
        if in_peaks or peaks or (field == "name" and has_name):
            yield _Block(start, header, peaks, at_end=False)
            header, peaks, in_peaks, has_name = [], [], False, False
        if not header:
            start = number
        header.append(line)
        in_peaks = field == "n_peaks"
        has_name = has_name or field == "name"
    if header or peaks:
        yield _Block(start, header, peaks, at_end=True)


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
        mz, intensity = parse_peaks(block.peaks, many_per_line=True)
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
