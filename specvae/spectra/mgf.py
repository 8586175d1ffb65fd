"""MGF files: Mascot's format as GNPS, CASMI, MetFrag, MZmine, SIRIUS and matchms write it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial

from specvae.limits import Limits
from specvae.report import ReadReport, Reason
from specvae.spectra.build import Style, identify, make_spectrum
from specvae.spectra.fields import Record, collect
from specvae.spectra.keys import field_of
from specvae.spectra.lines import LineSource, decode
from specvae.spectra.peaks import Peaks, names_columns, parse_peaks
from specvae.spectra.records import RecordLines, read_or_skip, with_peaks
from specvae.spectra.spectrum import Spectrum
from specvae.spectra.values import RejectedRecordError, parse_count

MGF_STYLE = Style(
    id_fields=(
        "title",
        "feature_id",
        "spectrum_id",
        "compound_name",
        "name",
        "peak_id",
        "scans",
    ),
    name_fields=("compound_name", "name"),
    seconds_per_rt_unit=1.0,
)
_PLAIN_FIELD = re.compile(rb"(?!(?i:BEGIN|END)[ \t_-]*(?i:IONS(?:\b|BEGIN)))[A-Za-z][^:=]*+=")
_BORDER = re.compile(rb"(BEGIN|END)[ \t_-]*IONS(?=\b|BEGIN)", re.IGNORECASE)
_ENDS_PEAKS = re.compile(rb"(?<=[ \t;,])END[ \t_-]*IONS[ \t;]*$", re.IGNORECASE)
_TWO_NUMBERS = re.compile(rb"[\d.]+[\s,;]+[\d.]")
_UPPER_KEY = re.compile(rb"[ \t]+(?=[A-Z][A-Z_]{1,30}=)")
_OTHER_KEY = re.compile(rb"(?=[^\s=]*[A-Za-z])[^\s=]++[ \t]*+=")  # "1/K0=0.85" (MSFragger)
# Fields whose values are no free text, so that what follows behind a blank may be another field.
_OF_ONE_VALUE = frozenset(
    {"precursor_mz", "charge", "ms_level", "ion_mode", "adduct", "rt_seconds", "rt_minutes"}
)
_COMMENT_MARKS = (b"#", b";", b"!", b"/")


@dataclass(slots=True)
class _MgfLines(RecordLines):
    """The lines between BEGIN IONS and END IONS, and the ``KEY=value`` lines before them."""

    inherited: list[bytes] = field(default_factory=list)
    fault: str = ""  # why the record is incomplete

    def add(self, line: bytes) -> None:
        """Add a field, a peak, or the rest of a value that began in the line above."""
        pair = _as_pair(line)
        if pair is not None or self._goes_on(line):
            self.header.append(pair or line)
        else:
            self.peaks.append(line)

    def _goes_on(self, line: bytes) -> bool:
        if self.peaks or not self.header or not line[:1].isalpha() or names_columns(line):
            return False
        return field_of(decode(self.header[-1].partition(b"=")[0])) not in _OF_ONE_VALUE


class _Cutter:
    """Cuts the lines of a file into records, one line at a time.

    ``KEY=value`` lines before the first record are defaults for all; those between two records
    belong to the second (a concatenation of files that each have such a head).
    """

    def __init__(self) -> None:
        self.open: _MgfLines | None = None  # the record that is open
        self._stray: _MgfLines | None = None  # peaks outside any record
        self._defaults: list[bytes] | None = None
        self._before: list[bytes] = []

    def take(self, number: int, line: bytes) -> _MgfLines | None:
        """Take a line that may be neither peak nor field; return the record that it ends."""
        if not line or line.startswith(_COMMENT_MARKS):
            return None
        word = line.upper() if len(line) < 24 else line
        if word == b"BEGIN IONS":
            return self._begin(number)
        if word == b"END IONS":
            return self._end(number)
        if (border := _BORDER.match(line)) is not None:
            rest = line[border.end() :].strip(b" \t:;,.")
            if border[1].upper() == b"BEGIN":
                ended = self._begin(number)
                self._take_rest(number, rest)
                return ended
            begins = (next_one := _BORDER.match(rest)) is not None and next_one[1][:1] in b"Bb"
            if begins or not rest or rest.startswith(_COMMENT_MARKS):
                ended = self._end(number)
                if begins:
                    # Two files were joined of which the first had no line end behind its last line.
                    self.take(number, rest)
                return ended
        if self.open is not None:
            self.open.add(line)
        elif b"=" in line:
            self._before.append(line)
        else:
            self._stray = self._stray or _MgfLines(number, fault="BEGIN IONS is missing")
        return None

    def _take_rest(self, number: int, rest: bytes) -> None:
        """Take what stands behind BEGIN IONS in its line: fields, each with its key, or a peak."""
        if _as_pair(rest) is None and _TWO_NUMBERS.match(rest) is None:
            return  # "2 of 300", or a remark
        if self.open is not None and _ENDS_PEAKS.search(rest) is not None:
            # Where its fields end and its peaks begin cannot be told.
            self.open.fault = "BEGIN IONS and END IONS stand on one line"
        for part in _UPPER_KEY.split(rest):
            if _BORDER.match(part) is None:
                self.take(number, part)

    def _begin(self, number: int) -> _MgfLines | None:
        ended = self.finish("END IONS is missing")
        if self._defaults is None:
            self._defaults, self._before = self._before, []
        self.open = _MgfLines(number, inherited=[*self._defaults, *self._before])
        self._before = []
        return ended

    def _end(self, number: int) -> _MgfLines:
        ended = self.open or self._stray or _MgfLines(number, fault="BEGIN IONS is missing")
        if self.open is None:
            ended.header, self._before = self._before, []
        self.open = self._stray = None
        return ended

    def finish(self, fault: str) -> _MgfLines | None:
        """Return the open record, marked as incomplete because of `fault`."""
        ended = self.open or self._stray
        if self.open is not None:
            peaks = self.open.peaks
            if peaks and (end := _ENDS_PEAKS.search(peaks[-1])) is not None:
                peaks[-1] = peaks[-1][: end.start()]  # it stands behind the last peak
            elif not self.open.fault:
                self.open.fault = fault
        self.open = self._stray = None
        return ended


def _as_pair(line: bytes) -> bytes | None:
    """Return ``key=value`` if a line is one, or is ``key: value`` or a known key alone."""
    if not line[:1].isalpha():
        return line if _OTHER_KEY.match(line) is not None else None
    key, _, value = line.partition(b":")
    if b"=" not in key and field_of(decode(key)) is not None:
        return key + b"=" + value
    return line if b"=" in line else None


def _records(source: LineSource) -> Iterator[_MgfLines]:
    """Cut a file into records."""
    cutter = _Cutter()
    number = 0
    begin = 0  # what had been read when the last record ended
    for text in source.texts():
        if text.isspace():
            number += text.count(b"\n")
            source.require_short(begin, number)
            continue
        for number, line in enumerate(text.splitlines(), number + 1):  # noqa: B020
            if cutter.open is not None and line[:1].isdigit():
                cutter.open.peaks.append(line)
            elif cutter.open is not None and _PLAIN_FIELD.match(line) is not None:
                cutter.open.header.append(line.strip())
            elif (lines := cutter.take(number, line.strip())) is not None:
                yield lines
                begin = source.n_bytes
        if cutter.open is not None:
            cutter.open.keep_small(source.limits)
        source.require_short(begin, number)
    if (lines := cutter.finish("the file ends before END IONS")) is not None:
        yield lines


def _pairs(lines: list[bytes]) -> list[tuple[str, str]]:
    pairs: list[tuple[str, str]] = []
    for line in decode(b"\n".join(lines)).split("\n"):
        key, equals, value = line.partition("=")
        if equals:
            pairs.append((key.strip(), value.strip()))
        elif pairs:  # it goes on with the value above it
            pairs[-1] = (pairs[-1][0], f"{pairs[-1][1]} {line}")
    if any("=" in value for _, value in pairs):
        pairs = [one for pair in pairs for one in _taken_apart(*pair)]
    return pairs


_ANOTHER_KEY = re.compile(r"[\s,;]+(?=[A-Za-z][A-Za-z_]{1,30}=)")


def _taken_apart(key: str, value: str) -> list[tuple[str, str]]:
    """Return the fields of a line that holds several: ``PEPMASS=195.0877 CHARGE=1+``."""
    if "=" not in value or field_of(key) not in _OF_ONE_VALUE:
        return [(key, value)]
    first, *others = _ANOTHER_KEY.split(value)
    split = [other.partition("=") for other in others]
    if not all(field_of(name) is not None for name, _, _ in split):
        return [(key, value)]
    return [(key, first), *((name, text.strip()) for name, _, text in split)]


def _record(lines: _MgfLines) -> Record:
    own = _pairs(lines.header)
    if not lines.inherited:
        return collect(own)
    # A line of the record overrules a default of the file, in whatever spelling of the key.
    stated = {field_of(key) or key for key, _ in own}
    inherited = {
        key: value for key, value in _pairs(lines.inherited) if (field_of(key) or key) not in stated
    }
    return collect([*own, *inherited.items()])


def _peaks(lines: _MgfLines) -> Peaks:
    """Return the peaks of a record; a line that begins with a digit may be a field among them."""
    try:
        return parse_peaks(lines.peaks, many_per_line=False)
    except RejectedRecordError:
        peaks = [line for line in lines.peaks if _OTHER_KEY.match(line) is None]
        if len(peaks) == len(lines.peaks):
            raise
        return parse_peaks(peaks, many_per_line=False)


def _spectrum(
    lines: _MgfLines, record: Record, query_id: str, path: str, ordinal: int, most: Limits
) -> Spectrum:
    lines.require_sound(most)
    if lines.fault:
        raise RejectedRecordError(Reason.TRUNCATED, lines.fault)
    (mz, intensity), record = with_peaks(lines, record, partial(_peaks, lines))
    declared = record.fields.get("n_peaks")
    if declared is not None and parse_count(declared) not in (None, mz.size):
        raise RejectedRecordError(
            Reason.PEAK_COUNT_MISMATCH, f"{declared} declared, {mz.size} found"
        )
    place = path, lines.line, ordinal
    return make_spectrum(record, mz, intensity, MGF_STYLE, query_id, place, most)


def read_mgf(
    source: LineSource, report: ReadReport, *, every_level: bool = False
) -> Iterator[Spectrum]:
    """Yield the spectra of an MGF file; malformed records are skipped and counted.

    So are spectra of MS level 1, unless `every_level`.
    """
    path = str(source.path)
    last: _MgfLines | None = None
    for ordinal, lines in enumerate(_records(source), 1):
        last = lines
        record = _record(lines)
        query_id = identify(record, MGF_STYLE, source.path.name, ordinal)
        spectrum = read_or_skip(
            record,
            partial(_spectrum, lines, record, query_id, path, ordinal, source.limits),
            report,
            (path, lines.line, query_id),
            every_level=every_level,
        )
        if spectrum is not None:
            yield spectrum
    if source.truncated and (last is None or not last.fault):
        line = last.line if last else 1
        report.skip(path, line, "end of file", Reason.TRUNCATED, "compressed file is cut off")
