"""MSP files: the dialects of NIST, MoNA, MassBank, MS-DIAL, MS-FINDER, Golm, mzVault, matchms."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from itertools import compress

from specvae.limits import Limits
from specvae.report import ReadReport, Reason
from specvae.spectra.build import Style, identify, make_spectrum
from specvae.spectra.fields import Record, collect_lines
from specvae.spectra.keys import field_of, untagged
from specvae.spectra.lines import LineSource, decode
from specvae.spectra.peaks import Peaks, parse_peaks, parse_regular
from specvae.spectra.records import RecordLines, read_or_skip, with_peaks
from specvae.spectra.spectrum import Spectrum
from specvae.spectra.values import RejectedRecordError, parse_count, shown

MSP_STYLE = Style(
    id_fields=("db", "name", "record_title", "peak_id", "scans"),
    name_fields=("name",),
    seconds_per_rt_unit=60.0,
)
_BLANKS = " \t\v\f"


@dataclass(slots=True)
class _MspLines(RecordLines):
    """The lines of one record, or its fields and peaks if they were read together."""

    columns: tuple[tuple[str, ...], list[str]] | None = None  # keys and values, for `header`
    parsed: Peaks | None = None  # instead of `peaks`
    at_end: bool = False  # ended by the end of the file
    has_name: bool = False
    in_peaks: bool = False  # the line with the number of peaks has been read
    n_declared: int | None = None  # what that line says
    declares_none: bool = False  # a line says that there are none
    is_waiting: bool = False  # a blank line has been read, and nothing behind it
    _stated: dict[bytes, set[bytes]] = field(default_factory=dict)
    _n_stated: int = 0  # lines of `header` that are in `_stated`

    def stated(self, key: bytes) -> set[bytes]:
        """Return the values that the header states for a key, as its lines have them.

        Each line is looked at once: a header may go on for a long time.
        """
        for line in self.header[self._n_stated :]:
            before, colon, value = line.partition(b":")
            if colon:
                self._stated.setdefault(before.strip(), set()).add(value.strip())
        self._n_stated = len(self.header)
        return self._stated.get(key, set())


class _Cutter:
    """Cuts lines into records.

    A record ends at a blank line behind its peaks, or where its name comes a second time, or, once
    its peaks have begun, a field that has been there already. The declared number of peaks is no
    border, so that a wrong one harms no neighbour; but peaks behind a blank line belong to the
    record above if it has fewer than declared. Other fields behind the number of peaks belong
    to the record, unless no peak is declared.
    """

    def __init__(self) -> None:
        self.open: _MspLines | None = None  # the record that is open
        self.n_peaks_key = b"Num Peaks"  # as the file spelled it last

    def take(self, text: bytes, number: int) -> Iterator[_MspLines]:
        """Take whole lines, the first of the given number; yield the records that they end."""
        for n, raw in enumerate(text.splitlines(), number):
            line = raw
            if self.open is not None and self.open.in_peaks and raw[:1].isdigit():
                end = _begin_of_field(raw) if b":" in raw else len(raw)
                self.open.peaks.append(raw[:end])  # what most lines are
                self.open.is_waiting = False
                if end == len(raw):
                    continue
                line = raw[end:]
            line = line.strip()
            if _RULE.fullmatch(line) is not None:
                line = b""
            if self.open is not None and _ends(self.open, line):
                yield self.open
                self.open = None
            if self.open is not None:
                self.open.is_waiting = not line
            if line and not line.startswith(b"#"):
                self.open = self.open or _MspLines(n)
                self._add(self.open, line)

    def _add(self, lines: _MspLines, line: bytes) -> None:
        """Put a line where it belongs."""
        if not (_is_pair(line) or (not lines.in_peaks and _OTHER_KEY.match(line) is not None)):
            is_peak = lines.in_peaks or not lines.header or line[:1].isdigit()
            (lines.peaks if is_peak else lines.header).append(line)
            return
        lines.header.append(line)
        name = _field(line)
        lines.has_name = lines.has_name or name == "name"
        if name == "n_peaks":
            lines.in_peaks = True
            lines.n_declared = parse_count(decode(line.partition(b":")[2]))
            lines.declares_none = lines.declares_none or lines.n_declared == 0
            if line.isascii():
                self.n_peaks_key = line.partition(b":")[0]


_RULE = re.compile(rb"([-=*_~/+])\1+")  # a line drawn between records, "//" or "-----"
_FIELD_BEHIND = re.compile(rb"(?<=\d)[A-Za-z][A-Za-z_# ]{1,20}(?=:)")


def _begin_of_field(line: bytes) -> int:
    """Return the place where a field begins behind a peak, or the line's end if none does.

    This happens where two files were joined and the first one lacked its last line end.
    """
    found = _FIELD_BEHIND.search(line)
    return found.start() if found is not None and field_of(decode(found[0])) else len(line)


_OTHER_KEY = re.compile(rb"\d[^\s:]*[A-Za-z][^\s:]*[ \t]*:")  # "1/K0: 0.85"


def _is_pair(line: bytes) -> bool:
    return line[:1].isalpha() and b":" in line


def _field(line: bytes) -> str | None:
    # Only two keys matter to the borders, and every spelling of them begins with n.
    return field_of(decode(line.partition(b":")[0])) if line[:1] in b"nN" else None


def _ends(lines: _MspLines, line: bytes) -> bool:
    """Whether a record is over before a line."""
    if not line:
        # Some writers leave a line blank between the fields and the peaks. Behind fewer peaks than
        # are declared, others may follow, as where each line has a blank one behind it.
        n_peaks = len(lines.peaks)
        return lines.declares_none or (n_peaks > 0 and n_peaks >= (lines.n_declared or 0))
    if lines.peaks and lines.is_waiting and _is_pair(line):
        return True
    has_body = bool(lines.peaks) or lines.in_peaks or lines.is_waiting
    if not _is_pair(line) or not (has_body or lines.has_name):
        return False
    if _field(line) == "name":
        return True
    if not has_body:
        return False
    key, _, value = line.partition(b":")
    stated = lines.stated(key.strip())
    # What is said once more between the number of peaks and the first peak begins no record.
    is_repeated = value.strip() in stated and not lines.peaks and not lines.is_waiting
    return lines.declares_none or (bool(stated) and not is_repeated)


def _records(source: LineSource) -> Iterator[_MspLines]:
    """Cut a file into records: regular ones at blank lines, all others line by line."""
    cutter = _Cutter()
    number = 1  # of the next line
    begin = 0  # what had been read when the last record ended
    for text in map(_without_terms, source.texts()):
        if text.isspace() and (cutter.open is None or cutter.open.is_waiting):
            number += text.count(b"\n")
            source.require_short(begin, number)
            continue
        *paragraphs, rest = text.split(b"\n\n")
        for paragraph in paragraphs:
            lines = None
            if cutter.open is None:
                lines = _regular_record(paragraph, number, cutter.n_peaks_key)
            if lines is not None:
                yield lines
            else:
                yield from cutter.take(paragraph + b"\n\n", number)
            begin = source.n_bytes
            number += paragraph.count(b"\n") + 2
        for lines in cutter.take(rest, number):
            yield lines
            begin = source.n_bytes
        number += rest.count(b"\n")
        if cutter.open is not None:
            cutter.open.keep_small(source.limits)
        source.require_short(begin, number)
    if cutter.open is not None:
        cutter.open.at_end = not cutter.open.is_waiting
        yield cutter.open


# mzVault's "MS:1009003|Name = Caffeine", "MS:1000130|Positive scan" and "Precursor_type = M+H".
_TERM = b"MS:1"
_OF_A_TERM = re.compile(
    rb"^(?:MS:\d{7}\|(?:(Positive|Negative) scan|([^=|\n]+?))|(Precursor_type))[ \t]*"
    rb"(?:=[ \t]*(.*))?$",
    re.MULTILINE,
)


def _without_terms(text: bytes) -> bytes:
    """Return lines with ``Key: value`` in the place of mzVault's terms of a vocabulary."""
    return _OF_A_TERM.sub(_plain_line, text) if _TERM in text else text


def _plain_line(found: re.Match[bytes]) -> bytes:
    mode, key, untagged_key, value = found.groups()
    if mode is not None:
        return b"Ion mode: " + mode
    return b"%b: %b" % (key or untagged_key, value or b"")


def _regular_record(paragraph: bytes, number: int, n_peaks_key: bytes) -> _MspLines | None:
    """Return the record of a regular paragraph, else None.

    A regular paragraph has lines of ``Key: value``, the number of peaks, and as many lines of two
    numbers. `_Cutter` would give the same record line by line, in many times the time.
    """
    header, found, rest = paragraph.partition(b"\n" + n_peaks_key + b":")
    declared, _, peaks = rest.partition(b"\n")
    if not found or b"\0" in header:
        return None
    text = header.lstrip(b"\n")
    raw_keys, colons, values = zip(
        *[line.partition(":") for line in decode(text).split("\n")], strict=True
    )
    keys = _plain_keys(raw_keys) if "" not in colons else None
    parsed = parse_regular(peaks)
    n_peaks = declared.strip()
    if keys is None or parsed is None or n_peaks != b"%d" % parsed[0].size:
        return None
    columns = keys, [*map(str.strip, values), n_peaks.decode()]
    return _MspLines(number + len(header) - len(text), columns=columns, parsed=parsed)


@lru_cache(maxsize=256)
def _plain_keys(raw_keys: tuple[str, ...]) -> tuple[str, ...] | None:
    """Return the keys of a record, given its header; None if a key might begin a new record."""
    if not all(key.isascii() and key.lstrip(_BLANKS)[:1].isalpha() for key in raw_keys):
        return None
    names = [field_of(key) for key in raw_keys]
    if names.count("name") > 1 or "n_peaks" in names:
        return None
    return (*map(str.strip, raw_keys), "Num Peaks")


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


def _columns(header: list[bytes]) -> tuple[tuple[str, ...], list[str]]:
    pairs = _pairs(header)
    return tuple(key for key, _ in pairs), [value for _, value in pairs]


def _spectrum(
    lines: _MspLines,
    record: Record,
    query_id: str,
    path: str,
    ordinal: int,
    most: Limits,
    *,
    cut: bool,
) -> Spectrum:
    lines.require_sound(most, len(lines.columns[0]) if lines.columns else None)
    if cut:
        raise RejectedRecordError(Reason.TRUNCATED, "the compressed file is cut off")
    declared = record.fields.get("n_peaks")
    if declared is None:
        if lines.at_end and not lines.peaks:
            raise RejectedRecordError(Reason.TRUNCATED, "no Num Peaks line")
        raise RejectedRecordError(Reason.PEAK_COUNT_MISMATCH, "no Num Peaks line")
    n_declared = parse_count(declared)
    if n_declared is None:
        raise RejectedRecordError(Reason.BAD_FIELD, f"Num Peaks is {shown(declared)}")
    read = partial(_peaks, lines, n_declared)
    (mz, intensity), record = with_peaks(lines, record, read, n_declared)
    place = path, lines.line, ordinal
    return make_spectrum(record, mz, intensity, MSP_STYLE, query_id, place, most)


def _peaks(lines: _MspLines, n_declared: int) -> Peaks:
    """Return the peaks of a record, if they are as many as it declares."""
    try:
        mz, intensity = lines.parsed or parse_peaks(lines.peaks, many_per_line=True)
    except RejectedRecordError:
        if lines.at_end and len(lines.peaks) <= n_declared and _all_but_last_read(lines.peaks):
            raise RejectedRecordError(Reason.TRUNCATED, "cut off inside a peak") from None
        raise
    if mz.size != n_declared and len(lines.peaks) == n_declared and (mz[1:] < mz[:-1]).any():
        # A peak on each line, and further columns of numbers that could be read as peaks.
        mz, intensity = parse_peaks(lines.peaks, many_per_line=False)
    if mz.size != n_declared:
        short = lines.at_end and mz.size < n_declared
        reason = Reason.TRUNCATED if short else Reason.PEAK_COUNT_MISMATCH
        raise RejectedRecordError(reason, f"{n_declared} declared, {mz.size} found")
    return mz, intensity


def _all_but_last_read(lines: list[bytes]) -> bool:
    try:
        parse_peaks(lines[:-1], many_per_line=True)
    except RejectedRecordError:
        return False
    return True


class _SharedHead:
    """The fields that several peak lists share (MS-FINDER's .mat has a list for each MS level).

    A list that is preceded only by its level and number of peaks belongs to the fields before it.
    """

    def __init__(self) -> None:
        self._head: tuple[tuple[str, ...], Sequence[str]] = (), ()

    def complete(
        self, keys: tuple[str, ...], values: Sequence[str]
    ) -> tuple[tuple[str, ...], Sequence[str]]:
        """Return keys and values of a record, with the fields that it shares."""
        names = _names(keys)
        if not names <= {"ms_level", "n_peaks"}:
            self._head = keys, values
        elif "ms_level" in names:
            is_own = [field_of(key) not in ("ms_level", "n_peaks") for key in self._head[0]]
            shared = (tuple(compress(column, is_own)) for column in self._head)
            return next(shared) + keys, [*next(shared), *values]
        return keys, values


@lru_cache(maxsize=64)
def _names(keys: tuple[str, ...]) -> frozenset[str | None]:
    return frozenset(map(field_of, keys))


@lru_cache(maxsize=64)
def _have_tags(keys: tuple[str, ...]) -> bool:
    """Return whether keys have tags of MassBank, which some files keep."""
    return any("$" in key for key in keys)


def read_msp(
    source: LineSource, report: ReadReport, *, every_level: bool = False
) -> Iterator[Spectrum]:
    """Yield the spectra of an MSP file; malformed records are skipped and counted.

    So are spectra of MS level 1, unless `every_level`.
    """
    path, file_name = str(source.path), source.path.name
    heads = _SharedHead()
    complete = True
    last_line = 0
    for ordinal, lines in enumerate(_records(source), 1):
        keys, values = heads.complete(*(lines.columns or _columns(lines.header)))
        if _have_tags(keys):
            keys, values = zip(*map(untagged, keys, values), strict=True)
        record = collect_lines(keys, values)
        query_id = identify(record, MSP_STYLE, file_name, ordinal)
        cut = lines.at_end and source.truncated
        complete = not cut
        last_line = lines.line
        spectrum = read_or_skip(
            record,
            partial(_spectrum, lines, record, query_id, path, ordinal, source.limits, cut=cut),
            report,
            (path, lines.line, query_id),
            every_level=every_level or cut,
        )
        if spectrum is not None:
            yield spectrum
    if source.truncated and complete:
        report.skip(path, last_line, "end of file", Reason.TRUNCATED, "compressed file is cut off")
