"""Common parts of readers of text files: the lines of a record, their limits, skipped records."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from specvae.limits import Limits
from specvae.report import ReadReport, Reason
from specvae.spectra.fields import Record
from specvae.spectra.lines import decode
from specvae.spectra.notes import Note
from specvae.spectra.peaks import Peaks, parse_peaks, without_commas
from specvae.spectra.spectrum import Spectrum
from specvae.spectra.values import RejectedRecordError


@dataclass(slots=True)
class RecordLines:
    """The lines of one record.

    Attributes
    ----------
    line
        Number of the first, 1-based.
    header
        Lines that are no peaks.
    peaks
        Lines of peaks.
    is_too_large
        Whether there were more than the limits allow; some were dropped.
    """

    line: int
    header: list[bytes] = field(default_factory=list)
    peaks: list[bytes] = field(default_factory=list)
    is_too_large: bool = False

    def keep_small(self, most: Limits) -> None:
        """Drop the lines of a record that has too many."""
        if len(self.peaks) > most.record_peaks or len(self.header) > most.record_fields:
            self.is_too_large = True
            self.peaks.clear()
            del self.header[100:]

    def require_sound(self, most: Limits, n_fields: int | None = None) -> None:
        """Reject a record beyond the limits, or with NUL bytes in its header.

        Parameters
        ----------
        most
            The limits.
        n_fields
            Number of lines that are no peaks, if the header does not hold them.

        Raises
        ------
        RejectedRecordError
            With ``TOO_LARGE`` or ``BAD_ENCODING``.
        """
        if self.is_too_large or (n_fields or len(self.header)) > most.record_fields:
            detail = (
                f"more than {most.record_peaks:,} peaks (record_peaks) or "
                f"{most.record_fields:,} other lines (record_fields)"
            )
            raise RejectedRecordError(Reason.TOO_LARGE, detail)
        if b"\0" in b" ".join(self.header):
            raise RejectedRecordError(Reason.BAD_ENCODING, "NUL bytes in the header")


_COMMA_FIELDS = ("precursor_mz", "rt_seconds", "rt_minutes", "retention_time")
_DECIMAL_COMMA = re.compile(r"(?<![\d.,])(\d+),(?=\d+(?![\d.,]))")


def with_peaks(
    lines: RecordLines, record: Record, read: Callable[[], Peaks], n_declared: int | None = None
) -> tuple[Peaks, Record]:
    """Return the peaks of a record and its fields, which may be written with decimal commas.

    Parameters
    ----------
    lines, record
        The lines of the record, and its fields as they are written.
    read
        Reads the peaks of lines without decimal commas.
    n_declared
        How many peaks there must be for commas to be decimal; None: any number.

    Raises
    ------
    RejectedRecordError
        If the peaks cannot be read with decimal commas either.
    """
    try:
        return read(), record
    except RejectedRecordError:
        may_have_commas = n_declared in (None, len(lines.peaks))
        found = _with_decimal_points(lines, record) if may_have_commas else None
        if found is None:
            raise
        return found


def _with_decimal_points(lines: RecordLines, record: Record) -> tuple[Peaks, Record] | None:
    """Return peaks and fields of a record that is written with decimal commas, None if it is not.

    The peaks show whether commas in its fields are decimal.
    """
    fields = record.fields
    plain = without_commas(lines.peaks, fields.get("precursor_mz"))
    if plain is None:
        return None
    changed = {
        name: _DECIMAL_COMMA.sub(r"\1.", fields[name]) for name in _COMMA_FIELDS if name in fields
    }
    note = Note.DECIMAL_COMMAS.about(decode(lines.peaks[0]))
    corrected = record._replace(fields={**fields, **changed}, notes=(*record.notes, note))
    return parse_peaks(plain, many_per_line=False), corrected


def read_or_skip(
    record: Record,
    read: Callable[[], Spectrum],
    report: ReadReport,
    place: tuple[str, int, str],
    *,
    every_level: bool,
) -> Spectrum | None:
    """Return the spectrum of a record; None, and an entry in `report`, if it is skipped.

    Parameters
    ----------
    record
        The fields of the record.
    read
        Makes the spectrum, or raises a RejectedRecordError.
    report
        Counts skipped records.
    place
        Path, line and identifier of the record.
    every_level
        Whether spectra of MS level 1 are read too, and records that are deprecated.
    """
    if record.deprecated is not None and not every_level:
        report.skip(*place, Reason.DEPRECATED, record.deprecated)
        return None
    if record.is_survey and not every_level:
        report.skip(*place, Reason.MS_LEVEL, "MS level 1")
        return None
    try:
        return read()
    except RejectedRecordError as error:
        report.skip(*place, error.reason, error.detail)
        return None
