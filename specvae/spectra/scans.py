"""What mzML and mzXML share: scans that are read each by itself, and their arrays of numbers."""

from __future__ import annotations

import binascii
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple
from xml.etree.ElementTree import Element, ParseError

import numpy as np
from numpy.typing import NDArray

from specvae.compression import DECOMPRESSION_ERRORS
from specvae.errors import printable
from specvae.limits import limits
from specvae.report import ReadReport, Reason
from specvae.spectra.build import Style, make_spectrum
from specvae.spectra.fields import Record
from specvae.spectra.lines import open_bytes
from specvae.spectra.spectrum import Spectrum
from specvae.spectra.values import RejectedRecordError, shown
from specvae.spectra.xml_scans import scan_elements

_STYLE = Style(id_fields=("title",), name_fields=(), seconds_per_rt_unit=1.0)

Numbers = NDArray[np.float64]

SRM_OF_FILTER = re.compile(r"\b(?:SRM|CRM) ms", re.IGNORECASE)

WIDEST_WINDOW = 12.0
"""Th; instruments that select precursors isolate windows of up to about 10 Th. Wider windows hold
many ions (DIA, SWATH, MSE), and their middle is not the m/z of an ion."""


class Scan(NamedTuple):
    """The description of a scan; its peaks are decoded when they are needed."""

    fields: dict[str, str]
    notes: tuple[str, ...]
    is_other: bool  # no mass spectrum of fragments, such as a UV spectrum
    peaks: Callable[[], tuple[Numbers, Numbers]]


def read_scans(
    path: Path,
    report: ReadReport,
    tag: str,
    groups: dict[str, Element],
    read: Callable[[Element], Scan],
) -> Iterator[Spectrum]:
    """Yield the fragment spectra of a file; what is skipped is counted in `report`.

    Parameters
    ----------
    path
        The file.
    report
        Where scans that are skipped are counted.
    tag
        The element of a scan.
    groups
        Filled with the file's groups of terms, by their names.
    read
        Returns what the element of a scan says.
    """
    index = 0
    with open_bytes(path) as stream:
        scans = scan_elements(path, stream, tag, groups)
        while True:
            try:
                index, element, fault = next(scans)
            except StopIteration:
                return
            except (ParseError, LookupError, ValueError, *DECOMPRESSION_ERRORS) as error:
                # The parser raises the second and third for encodings that it does not know.
                index += 1
                detail = f"{error} after {index - 1} scans; the rest of the file is not read"
                report.skip(str(path), index, f"{path.name}#{index}", Reason.TRUNCATED, detail)
                return
            stated = "" if element is None else element.get("id") or element.get("num") or ""
            name = printable(stated).strip() or f"{path.name}#{index}"
            if fault or element is None:
                detail = f"{fault}; the file is read on from the next scan"
                report.skip(str(path), index, name, Reason.TRUNCATED, detail)
                continue
            try:
                scan = read(element)
                if scan.is_other:
                    report.skip(str(path), index, name, Reason.OTHER_SPECTRUM)
                elif scan.fields.get("ms_level") == "1":
                    report.skip(str(path), index, name, Reason.MS_LEVEL, "MS level 1")
                else:
                    record = Record(scan.fields, {}, scan.notes)
                    mz, intensity = scan.peaks()
                    place = str(path), index, index
                    yield make_spectrum(record, mz, intensity, _STYLE, name, place, limits())
            except RejectedRecordError as error:
                # Runs have scans in which nothing was measured.
                is_sound = error.reason is Reason.NO_PEAKS
                report.skip(str(path), index, name, error.reason, error.detail, is_sound=is_sound)


def parse_number(text: str, quantity: str) -> float:
    """Return a number, or reject the record, which states it as a `quantity`."""
    try:
        return float(text)
    except ValueError:
        detail = f"{quantity} is {shown(text)}, wanted a number"
        raise RejectedRecordError(Reason.BAD_FIELD, detail) from None


def one_polarity(positive: bool, negative: bool) -> str | None:
    """Return the ion mode that is stated, None if both or none are."""
    if positive == negative:
        return None
    return "positive" if positive else "negative"


# "FTMS - p ESI d Full ms2 252.11@hcd35.00 [50.00-270.00]", as Thermo's instruments write.
_FILTER_SIGN = re.compile(r"\s*[A-Za-z]*MS\s+(?:\{[^}]*\}\s+)?([+-])\s")


def polarity_of_filter(line: str | None) -> str | None:
    """Return the ion mode of a filter line, None if it states none."""
    found = _FILTER_SIGN.match(line or "")
    return None if found is None else one_polarity(found[1] == "+", found[1] == "-")


def plain_number(text: str) -> str:
    """Return a number in its shortest form; other text is returned as it is."""
    try:
        return f"{float(text):g}"
    except ValueError:
        return text


def charge_of_ion(
    stated: Sequence[str], possible: Sequence[str], ion_mode: str | None
) -> str | None:
    """Return the charge of a precursor, or its possible charges, with signs.

    Parameters
    ----------
    stated
        Its charge, as often as the scan lists the ion: some writers list it once for each charge
        that it may have.
    possible
        Charges that it may have, which count where none is stated.
    ion_mode
        The signs of charges that have none.
    """
    known = [text for text in stated if text.strip("+-0")] or possible
    signed = dict.fromkeys(_signed(text, ion_mode) for text in known)
    return " or ".join(signed) or next(iter(stated), None)


def _signed(charge: str, ion_mode: str | None) -> str:
    """Return a charge with the sign of the ion mode, which many writers leave out of negative ones.

    A minus sign stays, to be compared with the ion mode.
    """
    if ion_mode is None or charge.startswith("-"):
        return charge
    return f"{charge.strip('+-')}{'-' if ion_mode == 'negative' else '+'}"


def from_base64(text: str) -> bytes:
    """Return the bytes of a text in base64, or reject the record."""
    try:
        return binascii.a2b_base64("".join(text.split()), strict_mode=True) if text else b""
    except (binascii.Error, ValueError) as error:
        raise RejectedRecordError(Reason.BAD_ENCODING, f"no base64: {error}") from None


def unzip(data: bytes) -> bytes:
    """Return bytes that were compressed by zlib, or reject the record."""
    stream = zlib.decompressobj()
    try:
        most = limits().record_peaks
        numbers = stream.decompress(data, 8 * most + 1) if data else b""
    except zlib.error as error:
        raise RejectedRecordError(Reason.BAD_ENCODING, f"zlib: {error}") from None
    if data and not stream.eof:
        if len(numbers) > 8 * most:
            raise RejectedRecordError(Reason.TOO_LARGE, f"more than {most:,} peaks (record_peaks)")
        raise RejectedRecordError(Reason.BAD_ENCODING, "zlib: the data are cut off")
    return numbers


def from_bytes(data: bytes, kind: str) -> Numbers:
    """Return numbers of a type of numpy's, such as ``<f4``, or reject the record."""
    size = np.dtype(kind).itemsize
    if len(data) % size:
        detail = f"{len(data)} bytes are no whole number of {8 * size}-bit numbers"
        raise RejectedRecordError(Reason.BAD_ENCODING, detail)
    return np.frombuffer(data, dtype=kind).astype(np.float64)


def of_declared_length(mz: Numbers, intensity: Numbers, n_declared: str) -> tuple[Numbers, Numbers]:
    """Return both columns of a spectrum, or reject it if they have not the declared length."""
    if mz.size != intensity.size:
        detail = f"{mz.size} m/z values, {intensity.size} intensities"
        raise RejectedRecordError(Reason.PEAK_COUNT_MISMATCH, detail)
    if n_declared.strip("0") and n_declared != str(mz.size):
        detail = f"{shown(n_declared)} declared, {mz.size} found"
        raise RejectedRecordError(Reason.PEAK_COUNT_MISMATCH, detail)
    return mz, intensity
