"""MGF files: Mascot's format as GNPS, CASMI, MetFrag, MZmine, SIRIUS and matchms write it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from specvae.report import ReadReport, Reason
from specvae.spectra.fields import (
    Record,
    RejectedRecordError,
    Style,
    collect,
    given,
    identify,
    make_spectrum,
)
from specvae.spectra.lines import LineSource, decode
from specvae.spectra.peaks import parse_peaks
from specvae.spectra.spectrum import Spectrum

MGF_STYLE = Style(
    id_fields=("title", "feature_id", "spectrum_id", "compound_name", "name"),
    name_fields=("compound_name", "name"),
    seconds_per_rt_unit=1.0,
)
_COMMENT_MARKS = (b"#", b";", b"!", b"/")


@dataclass(slots=True)
class _Block:
    """The lines between BEGIN IONS and END IONS, and what stood before them."""

    line: int
    inherited: list[bytes] = field(default_factory=list)
    header: list[bytes] = field(default_factory=list)
    peaks: list[bytes] = field(default_factory=list)
    fault: str = ""  # why the record is incomplete


def _blocks(source: LineSource) -> Iterator[_Block]:
    """Cut a file into records.

    ``KEY=value`` lines before the first record are defaults for all; those between two records
    belong to the second (a concatenation of files that each have such a head).
    """
    defaults: list[bytes] = []
    before: list[bytes] = []
    block: _Block | None = None
    stray: _Block | None = None
    started = False
    for number, raw in enumerate(source, 1):
        if block is not None and raw[:1].isdigit():
            block.peaks.append(raw)
            continue
        line = raw.strip()
        if not line or line.startswith(_COMMENT_MARKS):
            continue
        word = line.upper() if len(line) < 16 else line
        if word == b"BEGIN IONS":
            if block is not None:
                block.fault = "END IONS is missing"
                yield block
            elif stray is not None:
                yield stray
            if not started:
                defaults, before, started = before, [], True
            block, stray = _Block(number, inherited=[*defaults, *before]), None
            before = []
        elif word == b"END IONS":
            if block is not None:
                yield block
            else:
                stray = stray or _Block(number)
                yield _Block(stray.line, header=before, fault="BEGIN IONS is missing")
                before = []
            block = stray = None
        elif block is None:
            if b"=" in line:
                before.append(line)
            else:
                stray = stray or _Block(number, fault="BEGIN IONS is missing")
        elif b"=" in line and line[:1].isalpha():
            block.header.append(line)
        else:
            block.peaks.append(line)
    if block is not None:
        block.fault = "the file ends before END IONS"
        yield block
    elif stray is not None:
        yield stray


def _pairs(lines: list[bytes]) -> list[tuple[str, str]]:
    split = (line.partition("=") for line in decode(b"\n".join(lines)).split("\n"))
    return [(key.strip(), value.strip()) for key, equals, value in split if equals]


def _record(block: _Block) -> Record:
    own = _pairs(block.header)
    keys = {key for key, _ in own}
    inherited = {key: value for key, value in _pairs(block.inherited) if key not in keys}
    return collect([*own, *inherited.items()])


def _spectrum(block: _Block, record: Record, query_id: str, path: str) -> Spectrum:
    if any(b"\0" in line for line in block.header):
        raise RejectedRecordError(Reason.BAD_ENCODING, "NUL bytes in the header")
    if block.fault:
        raise RejectedRecordError(Reason.TRUNCATED, block.fault)
    mz, intensity = parse_peaks(block.peaks, many_per_line=False)
    declared = given(record.fields.get("n_peaks"))
    if declared is not None and declared.isdecimal() and int(declared) != mz.size:
        raise RejectedRecordError(
            Reason.PEAK_COUNT_MISMATCH, f"{declared} declared, {mz.size} found"
        )
    return make_spectrum(record, mz, intensity, MGF_STYLE, query_id, path, block.line)


def read_mgf(source: LineSource, report: ReadReport) -> Iterator[Spectrum]:
    """Yield the spectra of an MGF file; records that are malformed are skipped and counted."""
    path = str(source.path)
    last: _Block | None = None
    for ordinal, block in enumerate(_blocks(source), 1):
        last = block
        record = _record(block)
        query_id = identify(record, MGF_STYLE, source.path.name, ordinal)
        try:
            spectrum = _spectrum(block, record, query_id, path)
        except RejectedRecordError as error:
            report.skip(path, block.line, query_id, error.reason, error.detail)
            continue
        yield spectrum
    if source.truncated and (last is None or not last.fault):
        line = last.line if last else 1
        report.skip(path, line, "end of file", Reason.TRUNCATED, "compressed file is cut off")
