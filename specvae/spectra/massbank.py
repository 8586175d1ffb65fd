"""MassBank records (.txt): one or several, each from ``ACCESSION:`` to ``//``.

The format: MassBank consortium, *MassBank Record Format* 2.6.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import numpy as np

from specvae.limits import Limits
from specvae.report import ReadReport, Reason
from specvae.spectra.build import Style, identify, make_spectrum
from specvae.spectra.fields import Record, collect
from specvae.spectra.keys import untagged
from specvae.spectra.lines import LineSource, decode
from specvae.spectra.peaks import Peaks, parse_peaks
from specvae.spectra.records import RecordLines, read_or_skip
from specvae.spectra.spectrum import Spectrum
from specvae.spectra.values import RejectedRecordError, parse_count, shown

MASSBANK_STYLE = Style(id_fields=("accession",), name_fields=("name",), seconds_per_rt_unit=60.0)


@dataclass(slots=True)
class _MassBankLines(RecordLines):
    """The lines of one record."""

    is_whole: bool = False  # ended by ``//``


class _Cutter:
    """Cuts lines into records."""

    def __init__(self) -> None:
        self.open: _MassBankLines | None = None  # the record that is open
        self._in_peaks = False

    def take(self, number: int, line: bytes) -> _MassBankLines | None:
        """Take a line; return the record that it ends, if any."""
        ended = None
        if line.startswith(b"//"):
            ended, self.open = self.open, None
            if ended is not None:
                ended.is_whole = True
            if line[2:].lstrip().startswith(b"ACCESSION:"):
                # Two files were joined of which the first had no line end behind its last line.
                self.take(number, line[2:].lstrip())
            return ended
        if line.startswith(b"ACCESSION:"):
            ended, self.open = self.open, None
        if line.strip():
            self.open = self.open or _MassBankLines(number)
            self._add(self.open, line)
        return ended

    def _add(self, lines: _MassBankLines, line: bytes) -> None:
        if self._in_peaks and line[:1].isdigit():
            lines.peaks.append(line)  # an editor took its blanks
        elif not line[:1].isspace():
            self._in_peaks = line.startswith(b"PK$PEAK:")
            lines.header.append(line)
        elif self._in_peaks:
            lines.peaks.append(line)


def _records(source: LineSource) -> Iterator[_MassBankLines]:
    """Cut a file into records."""
    cutter = _Cutter()
    begin = number = 0
    for text in source.texts():
        if text.isspace():
            number += text.count(b"\n")
            source.require_short(begin, number)
            continue
        for number, line in enumerate(text.splitlines(), number + 1):  # noqa: B020
            if (lines := cutter.take(number, line)) is not None:
                yield lines
                begin = source.n_bytes
        if cutter.open is not None:
            cutter.open.keep_small(source.limits)
        source.require_short(begin, number)
    if cutter.open is not None:
        yield cutter.open


def _pairs(header: list[bytes]) -> Iterator[tuple[str, str]]:
    for line in decode(b"\n".join(header)).split("\n"):
        key, _, value = line.partition(":")
        key, value = untagged(key, value.strip())
        # A comment holds no key=value pairs here.
        yield ("remark" if key == "COMMENT" else key), value


def _peaks(lines: list[bytes]) -> Peaks:
    """Return the peaks of a record, with relative intensities if there are no absolute ones.

    The second of three columns holds absolute intensities. Some records have none: they write
    ``N/A``, or one number for all peaks.
    """
    try:
        mz, intensity = parse_peaks(lines, many_per_line=False)
    except RejectedRecordError:
        if (relative := _relative(lines)) is None:
            raise
        return parse_peaks(relative, many_per_line=False)
    if mz.size > 1 and np.ptp(intensity) == 0 and (relative := _relative(lines)) is not None:
        with suppress(RejectedRecordError):
            return parse_peaks(relative, many_per_line=False)
    return mz, intensity


def _relative(lines: list[bytes]) -> list[bytes] | None:
    """Return m/z and third column of lines of three, None if one has another number of columns."""
    rows = [line.split() for line in lines]
    return [b" ".join((row[0], row[2])) for row in rows] if {*map(len, rows)} == {3} else None


def _spectrum(
    lines: _MassBankLines, record: Record, query_id: str, path: str, ordinal: int, most: Limits
) -> Spectrum:
    lines.require_sound(most)
    if not lines.is_whole:
        raise RejectedRecordError(Reason.TRUNCATED, "// is missing")
    declared = record.fields.get("n_peaks")
    if declared is None or parse_count(declared) is None:
        found = "missing" if declared is None else shown(declared)
        raise RejectedRecordError(Reason.BAD_FIELD, f"PK$NUM_PEAK is {found}")
    mz, intensity = _peaks(lines.peaks)
    if parse_count(declared) != mz.size:
        detail = f"{declared} declared, {mz.size} found"
        raise RejectedRecordError(Reason.PEAK_COUNT_MISMATCH, detail)
    place = path, lines.line, ordinal
    return make_spectrum(record, mz, intensity, MASSBANK_STYLE, query_id, place, most)


def read_massbank(
    source: LineSource, report: ReadReport, *, every_level: bool = False
) -> Iterator[Spectrum]:
    """Yield the spectra of MassBank records; malformed records are skipped and counted.

    So are spectra of MS level 1, unless `every_level`.
    """
    path = str(source.path)
    for ordinal, lines in enumerate(_records(source), 1):
        record = collect(_pairs(lines.header))
        query_id = identify(record, MASSBANK_STYLE, source.path.name, ordinal)
        spectrum = read_or_skip(
            record,
            partial(_spectrum, lines, record, query_id, path, ordinal, source.limits),
            report,
            (path, lines.line, query_id),
            every_level=every_level,
        )
        if spectrum is not None:
            yield spectrum
