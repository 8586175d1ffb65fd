"""mzML and mzXML: fragment spectra only, scan by scan.

Both are read with the standard library's XML parser, which opens no other file and no network
address. Every scan is decoded by itself, so that a broken scan does not affect the others.
"""

from __future__ import annotations

import binascii
import re
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from xml.etree.ElementTree import Element, ParseError

import numpy as np
from numpy.typing import NDArray

from specvae.compression import DECOMPRESSION_ERRORS
from specvae.errors import printable
from specvae.limits import limits
from specvae.masses import ISOTOPE_STEP
from specvae.report import ReadReport, Reason
from specvae.spectra.build import Style, make_spectrum
from specvae.spectra.fields import SAME_MZ, Record
from specvae.spectra.lines import open_bytes
from specvae.spectra.notes import Note
from specvae.spectra.numpress import decode_linear, decode_pic, decode_slof
from specvae.spectra.spectrum import Spectrum
from specvae.spectra.values import RejectedRecordError, parse_ion_mode, shown
from specvae.spectra.xml_scans import children, find, scan_elements, tag_of

MZML_STYLE = Style(id_fields=("title",), name_fields=(), seconds_per_rt_unit=1.0)

Numbers = NDArray[np.float64]


def read_mzml(path: Path, report: ReadReport) -> Iterator[Spectrum]:
    """Yield the fragment spectra (MS level 2 and up) of an mzML file.

    Survey scans are counted as MS_LEVEL; UV spectra and the like as OTHER_SPECTRUM. A place where
    the XML is broken or cut off counts as one TRUNCATED record.
    """
    groups: dict[str, Element] = {}
    return _read(path, report, "spectrum", groups, lambda scan: _mzml_scan(scan, groups))


def read_mzxml(path: Path, report: ReadReport) -> Iterator[Spectrum]:
    """Yield the fragment spectra of an mzXML file, as `read_mzml` does."""
    return _read(path, report, "scan", {}, _mzxml_scan)


class _Scan(NamedTuple):
    """The description of a scan; its peaks are decoded when they are needed."""

    fields: dict[str, str]
    notes: tuple[str, ...]
    is_other: bool  # no mass spectrum of fragments, such as a UV spectrum
    peaks: Callable[[], tuple[Numbers, Numbers]]


def _read(
    path: Path,
    report: ReadReport,
    tag: str,
    groups: dict[str, Element],
    read: Callable[[Element], _Scan],
) -> Iterator[Spectrum]:
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
            name = printable(stated) or f"{path.name}#{index}"
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
                    yield make_spectrum(record, mz, intensity, MZML_STYLE, name, place, limits())
            except RejectedRecordError as error:
                # Runs have scans in which nothing was measured.
                is_sound = error.reason is Reason.NO_PEAKS
                report.skip(str(path), index, name, error.reason, error.detail, is_sound=is_sound)


# --------------------------------------------------------------------------- mzML

_MS_LEVEL = "MS:1000511"
_MS1_SPECTRUM = "MS:1000579"
_POSITIVE, _NEGATIVE = "MS:1000130", "MS:1000129"
_CENTROID, _PROFILE = "MS:1000127", "MS:1000128"
_START_TIME, _FILTER = "MS:1000016", "MS:1000512"
_TARGET, _LOWER, _UPPER = "MS:1000827", "MS:1000828", "MS:1000829"
_SELECTED_MZ = ("MS:1000744", "MS:1000040")  # the second is that of mzML 1.0
_CHARGE, _POSSIBLE_CHARGE = "MS:1000041", "MS:1000633"
_ENERGY, _PERCENT = "MS:1000045", "MS:1000138"
_RAMP_START, _RAMP_END = "MS:1002013", "MS:1002014"
_MZ_ARRAY, _INTENSITY_ARRAY, _WAVELENGTH_ARRAY = "MS:1000514", "MS:1000515", "MS:1000617"
_OTHER_SPECTRA = frozenset(
    {
        "MS:1000325",  # constant neutral gain spectrum
        "MS:1000326",  # constant neutral loss spectrum
        "MS:1000341",  # precursor ion spectrum
        "MS:1000620",  # PDA spectrum
        "MS:1000804",  # electromagnetic radiation spectrum
        "MS:1000805",  # emission spectrum
        "MS:1000806",  # absorption spectrum
        "MS:1000928",  # calibration spectrum, such as that of a lock mass
    }
)
_SELECTED_REACTIONS = ("MS:1000581", "MS:1000583")  # CRM and SRM spectrum
_SRM_OF_FILTER = re.compile(r"\b(?:SRM|CRM) ms", re.IGNORECASE)
_TYPES: Mapping[str, str] = {
    "MS:1000519": "<i4",
    "MS:1000521": "<f4",
    "MS:1000522": "<i8",
    "MS:1000523": "<f8",
}
_ZLIB = "MS:1000574"
_NUMPRESS: Mapping[str, tuple[Callable[[bytes], Numbers], bool]] = {
    "MS:1002312": (decode_linear, False),
    "MS:1002313": (decode_pic, False),
    "MS:1002314": (decode_slof, False),
    "MS:1002746": (decode_linear, True),
    "MS:1002747": (decode_pic, True),
    "MS:1002748": (decode_slof, True),
}
"""MS-Numpress by its term: the decoder, and whether the data are compressed by zlib too."""

_OTHER_COMPRESSIONS: Mapping[str, str] = {
    "MS:1003088": "truncation and zlib",
    "MS:1003089": "truncation, delta prediction and zlib",
    "MS:1003090": "truncation, linear prediction and zlib",
    "MS:1003780": "zstd",
    "MS:1003781": "byte-shuffled zstd",
    "MS:1003782": "dictionary-encoded zstd",
    "MS:1003783": "MS-Numpress linear and zstd",
    "MS:1003784": "MS-Numpress slof and zstd",
    "MS:1003785": "MS-Numpress pic and zstd",
}


_IN_ANOTHER_FILE = ("IMS:1000101", "IMS:1000102")  # external data, external offset
_OTHER_FILE = (
    "its numbers stand in another file (imzML's .ibd), which is not read; write the spectra as mzML"
)

_UNITS = {
    "UO:0000010": "second",
    "UO:0000028": "millisecond",
    "UO:0000031": "minute",
    "UO:0000032": "hour",
    "UO:0000187": "percent",
}


class _Terms:
    """The terms of a controlled vocabulary that an element holds, also by reference to a group."""

    def __init__(self, element: Element | None, groups: Mapping[str, Element]) -> None:
        self._values: dict[str, Element] = {}
        self._all: list[Element] = []
        for child in element if element is not None else ():
            tag = tag_of(child)
            if tag == "cvParam":
                self._all.append(child)
            elif tag == "referenceableParamGroupRef":
                self._all += children(groups.get(child.get("ref", "")), "cvParam")
        for term in self._all:
            self._values.setdefault(term.get("accession", ""), term)

    def __contains__(self, accession: str) -> bool:
        return accession in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def text(self, accession: str) -> str | None:
        """Return a term's value, None if the term is missing or empty."""
        term = self._values.get(accession)
        return None if term is None else term.get("value", "").strip() or None

    def texts(self, accession: str) -> list[str]:
        """Return the values of a term that may occur several times."""
        values = [t.get("value", "").strip() for t in self._all if t.get("accession") == accession]
        return [value for value in values if value]

    def number(self, accession: str) -> float | None:
        """Return a term's value as a number, None if the term is missing."""
        text = self.text(accession)
        return None if text is None else _number(text, accession)

    def unit(self, accession: str) -> str:
        """Return the name of a term's unit."""
        term = self._values.get(accession)
        if term is None:
            return ""
        named = term.get("unitName", "").lower().removesuffix("s")  # some write "seconds"
        return _UNITS.get(term.get("unitAccession", ""), named)


def _number(text: str, quantity: str) -> float:
    try:
        return float(text)
    except ValueError:
        detail = f"{quantity} is {shown(text)}, wanted a number"
        raise RejectedRecordError(Reason.BAD_FIELD, detail) from None


def _mzml_scan(element: Element, groups: Mapping[str, Element]) -> _Scan:
    terms = _Terms(element, groups)
    arrays = [
        (_Terms(array, groups), array)
        for array in children(find(element, "binaryDataArrayList"), "binaryDataArray")
    ]
    is_other = any(term in _OTHER_SPECTRA for term in terms) or any(
        _WAVELENGTH_ARRAY in array for array, _ in arrays
    )
    precursors = children(find(element, "precursorList"), "precursor")
    level = terms.text(_MS_LEVEL) or ("1" if _MS1_SPECTRUM in terms else None)
    first_scan = _Terms(find(element, "scanList", "scan"), groups)
    filter_line = first_scan.text(_FILTER) or terms.text(_FILTER)
    fields = {
        "ms_level": level,
        "ion_mode": _mode_of(terms) or _mode_of(first_scan) or _of_filter(filter_line),
        "profile": "profile" if _PROFILE in terms and _CENTROID not in terms else None,
        "retention_time": _mzml_time(first_scan),
        "filter_line": filter_line,
    }
    notes: tuple[str, ...] = ()
    if precursors and not is_other and level != "1":
        found, notes = _mzml_precursor(precursors, groups, fields["ion_mode"])
        fields |= found
    if any(term in terms for term in _SELECTED_REACTIONS) or _SRM_OF_FILTER.search(
        filter_line or ""
    ):
        notes = (*notes, Note.FEW_REACTIONS)
    # An array may state a length of its own.
    own = {array.get("arrayLength", "") for terms, array in arrays if _is_of_peaks(terms)}
    n_declared = (own.pop() if len(own) == 1 else "") or element.get("defaultArrayLength", "")

    def peaks() -> tuple[Numbers, Numbers]:
        if any(term in array for array, _ in arrays for term in _IN_ANOTHER_FILE):
            raise RejectedRecordError(Reason.BAD_ENCODING, _OTHER_FILE)
        mz = _mzml_array(arrays, _MZ_ARRAY)
        intensity = _mzml_array(arrays, _INTENSITY_ARRAY)
        return _counted(mz, intensity, n_declared)

    return _Scan({k: v for k, v in fields.items() if v is not None}, notes, is_other, peaks)


def _is_of_peaks(array: _Terms) -> bool:
    return _MZ_ARRAY in array or _INTENSITY_ARRAY in array


def _mode_of(terms: _Terms) -> str | None:
    return _polarity(_POSITIVE in terms, _NEGATIVE in terms)


def _polarity(positive: bool, negative: bool) -> str | None:
    if positive == negative:
        return None
    return "positive" if positive else "negative"


# "FTMS - p ESI d Full ms2 252.11@hcd35.00 [50.00-270.00]", as Thermo's instruments write.
_FILTER_SIGN = re.compile(r"\s*[A-Za-z]*MS\s+(?:\{[^}]*\}\s+)?([+-])\s")


def _of_filter(line: str | None) -> str | None:
    """Return the ion mode of a filter line, None if it states none."""
    found = _FILTER_SIGN.match(line or "")
    return None if found is None else _polarity(found[1] == "+", found[1] == "-")


def _mzml_time(terms: _Terms) -> str | None:
    """Return the start time of a scan with its unit, None if it states none."""
    time = terms.text(_START_TIME)
    unit = _UNITS_OF_TIME.get(terms.unit(_START_TIME), "min")
    return None if time is None else f"{time} {unit}"


_UNITS_OF_TIME = {"second": "s", "millisecond": "ms", "hour": "h"}


def _mzml_precursor(
    precursors: list[Element], groups: Mapping[str, Element], ion_mode: str | None
) -> tuple[dict[str, str | None], tuple[str, ...]]:
    """Return the fields that the precursors of a scan state, and notes on decisions."""
    activation = _Terms(find(precursors[0], "activation"), groups)
    ions = [
        _Terms(ion, groups)
        for precursor in precursors
        for ion in children(find(precursor, "selectedIonList"), "selectedIon")
    ]
    masses = [mass for ion in ions if (mass := _selected_mz(ion))]
    windows = [_Terms(find(precursor, "isolationWindow"), groups) for precursor in precursors]
    window = windows[0]
    notes: list[str] = []
    mz = masses[0] if masses else None
    isolated = masses or [each for one in windows if (each := one.number(_TARGET))]
    if any(abs(mass - isolated[0]) > SAME_MZ for mass in isolated):
        notes.append(Note.FIRST_PRECURSOR.about(", ".join(f"{mass:g}" for mass in isolated)))
    target = window.number(_TARGET)
    width = _width(target, window) if target else 0.0
    if width > _WIDEST_WINDOW and (mz is None or abs(mz - (target or 0.0)) <= SAME_MZ):
        notes.append(Note.WIDE_WINDOW.about(f"{width:g} Th around {target:g}"))
        mz = target = None
    if target and (mz is None or not _is_inside(mz, target, window)):
        found = "no selected ion" if mz is None else f"selected ion {mz:g} lies outside"
        notes.append(Note.WINDOW_TARGET.about(found))
        mz = target
    elif target and mz is not None and _is_isotope_below(mz, target, ions[0].text(_CHARGE)):
        notes.append(Note.ISOTOPE_OF_TARGET.about(f"{mz:g}, {target:g}"))
    fields = {
        "precursor_mz": None if mz is None else repr(mz),
        "charge": _charge(ions[0].text(_CHARGE), ions[0].texts(_POSSIBLE_CHARGE), ion_mode)
        if ions
        else None,
        "collision_energy": _mzml_energy(activation),
        "fragmentation": next((name for term, name in _NO_COLLISIONS if term in activation), None),
    }
    return fields, tuple(notes)


# Kinds of activation other than collisions and heat.
_NO_COLLISIONS = (
    ("MS:1000250", "ECD"),
    ("MS:1000435", "photodissociation"),
    ("MS:1000598", "ETD"),
    ("MS:1002631", "EThcD"),
    ("MS:1003182", "ETciD"),
    ("MS:1003246", "UVPD"),
    ("MS:1003247", "NETD"),
    ("MS:1003294", "EAD"),
)


def _mzml_energy(activation: _Terms) -> str | None:
    """Return the collision energy of an activation with its unit, None if it states none."""
    percent, energy = activation.text(_PERCENT), activation.text(_ENERGY)
    if percent is not None:
        return f"{_plain(percent)} NCE"
    unit = "NCE" if "percent" in map(activation.unit, (_ENERGY, _RAMP_START)) else "eV"
    if energy is not None:
        return f"{_plain(energy)} {unit}"
    start, end = activation.text(_RAMP_START), activation.text(_RAMP_END)
    return None if start is None or end is None else f"ramp {_plain(start)}-{_plain(end)} {unit}"


def _plain(text: str) -> str:
    """Return a number in its shortest form; other text is returned as it is."""
    try:
        return f"{float(text):g}"
    except ValueError:
        return text


def _selected_mz(ion: _Terms) -> float | None:
    for name in _SELECTED_MZ:
        words = (ion.text(name) or "").split()
        # Some writers put the intensity behind it.
        if words and (mz := _number(words[0] if len(words) == 2 else " ".join(words), name)):
            return mz
    return None


_WIDEST_WINDOW = 12.0
"""Th; instruments that select precursors isolate windows of up to about 10 Th. Wider windows hold
many ions (DIA, SWATH, MSE), and their middle is not the m/z of an ion."""


def _distances(window: _Terms) -> tuple[float, float]:
    """Return how far an isolation window reaches below and above its target, zeros if unknown."""
    lower, upper = window.number(_LOWER) or 0.0, window.number(_UPPER) or 0.0
    return (lower, upper) if lower >= 0.0 and upper >= 0.0 else (0.0, 0.0)


def _width(target: float, window: _Terms) -> float:
    """Return the width of an isolation window."""
    lower, upper = _distances(window)
    # Proteome Discoverer writes the borders themselves in the place of their distances.
    return upper - lower if 0.0 < lower <= target <= upper else lower + upper


def _is_inside(mz: float, target: float, window: _Terms) -> bool:
    lower, upper = _distances(window)
    if lower == upper == 0.0:
        # A window of unknown width; the first isotope of an isolated ion is at most a few Th away.
        lower = upper = 3.0
    return target - lower - SAME_MZ <= mz <= target + upper + SAME_MZ


def _is_isotope_below(mz: float, target: float, charge: str | None) -> bool:
    """Return whether an ion is below a window's target as a monoisotopic peak is below its isotope.

    The isolated ion may then be the isotope of this ion, or another ion.
    """
    size = (charge or "").strip("+-")
    n_charges = int(size) if size.isdecimal() and 0 < int(size) < 10 else 1
    return abs(target - mz - ISOTOPE_STEP / n_charges) <= SAME_MZ


def _charge(stated: str | None, possible: Sequence[str], ion_mode: str | None) -> str | None:
    """Return the charge of a precursor, or its possible charges, with signs."""
    texts = possible if stated is None or not stated.strip("+-0") else [stated]
    return " or ".join(dict.fromkeys(_signed(text, ion_mode) for text in texts)) or stated


def _signed(charge: str, ion_mode: str | None) -> str:
    """Return a charge with the sign of the ion mode, which many writers leave out of negative ones.

    A minus sign stays, to be compared with the ion mode.
    """
    if ion_mode is None or charge.startswith("-"):
        return charge
    return f"{charge.strip('+-')}{'-' if ion_mode == 'negative' else '+'}"


def _mzml_array(arrays: list[tuple[_Terms, Element]], kind: str) -> Numbers:
    for terms, array in arrays:
        if kind in terms:
            text = find(array, "binary")
            return _mzml_numbers(terms, "" if text is None else text.text or "")
    return np.empty(0)


def _mzml_numbers(terms: _Terms, text: str) -> Numbers:
    data = _from_base64(text)
    for accession, (decode, is_zipped) in _NUMPRESS.items():
        if accession in terms:
            try:
                return decode(_unzip(data) if is_zipped else data) if data else np.empty(0)
            except ValueError as error:
                raise RejectedRecordError(Reason.BAD_ENCODING, str(error)) from None
    for accession, name in _OTHER_COMPRESSIONS.items():
        if accession in terms:
            detail = f"the compression {name} is not supported; write the file with zlib or none"
            raise RejectedRecordError(Reason.BAD_ENCODING, detail)
    types = [kind for accession, kind in _TYPES.items() if accession in terms]
    if len(types) != 1:
        raise RejectedRecordError(Reason.BAD_ENCODING, "an array does not say its type of numbers")
    return _from_bytes(_unzip(data) if _ZLIB in terms else data, types[0])


def _from_base64(text: str) -> bytes:
    try:
        return binascii.a2b_base64("".join(text.split()), strict_mode=True) if text else b""
    except (binascii.Error, ValueError) as error:
        raise RejectedRecordError(Reason.BAD_ENCODING, f"no base64: {error}") from None


def _unzip(data: bytes) -> bytes:
    unzip = zlib.decompressobj()
    try:
        most = limits().record_peaks
        numbers = unzip.decompress(data, 8 * most + 1) if data else b""
    except zlib.error as error:
        raise RejectedRecordError(Reason.BAD_ENCODING, f"zlib: {error}") from None
    if data and not unzip.eof:
        if len(numbers) > 8 * most:
            raise RejectedRecordError(Reason.TOO_LARGE, f"more than {most:,} peaks (record_peaks)")
        raise RejectedRecordError(Reason.BAD_ENCODING, "zlib: the data are cut off")
    return numbers


def _from_bytes(data: bytes, kind: str) -> Numbers:
    size = np.dtype(kind).itemsize
    if len(data) % size:
        detail = f"{len(data)} bytes are no whole number of {8 * size}-bit numbers"
        raise RejectedRecordError(Reason.BAD_ENCODING, detail)
    return np.frombuffer(data, dtype=kind).astype(np.float64)


# --------------------------------------------------------------------------- mzXML

# msconvert's names of precursor-ion and neutral-loss scans, in which the first quadrupole scans.
_OTHER_SCANS = frozenset({"q1", "q3", "calibration"})
_REACTIONS = frozenset({"srm", "crm", "mrm"})


def _mzxml_scan(element: Element) -> _Scan:
    precursors = [
        text for child in children(element, "precursorMz") if (text := (child.text or "").strip())
    ]
    polarity = element.get("polarity") or _of_filter(element.get("filterLine"))
    ion_mode = None if polarity is None else parse_ion_mode(polarity)
    first = find(element, "precursorMz")
    stated_width = None if first is None else first.get("windowWideness")
    width = _number(stated_width, "windowWideness") if stated_width else 0.0
    notes: tuple[str, ...] = ()
    if width > _WIDEST_WINDOW and precursors:
        notes = (Note.WIDE_WINDOW.about(f"{width:g} Th around {precursors[0]}"),)
        precursors = []
    scan_type = element.get("scanType", "").strip().lower()
    if scan_type in _REACTIONS or _SRM_OF_FILTER.search(element.get("filterLine", "")):
        notes = (*notes, Note.FEW_REACTIONS)
    energy = element.get("collisionEnergy", "").strip()
    level = element.get("msLevel", "").strip()
    fields = {
        "ms_level": level or None,
        "ion_mode": polarity,
        "profile": "profile" if element.get("centroided") == "0" else None,
        "precursor_mz": ", ".join(dict.fromkeys(precursors)) or None,
        "charge": None if first is None else _mzxml_charge(first, ion_mode),
        "collision_energy": f"{_plain(energy)} eV" if energy else None,
        "rt_seconds": element.get("retentionTime"),
        "filter_line": element.get("filterLine"),
        "fragmentation": None if first is None else first.get("activationMethod"),
    }
    parts = children(element, "peaks")
    return _Scan(
        {key: value for key, value in fields.items() if value is not None},
        notes,
        level == "0" or (level != "1" and scan_type in _OTHER_SCANS),
        lambda: _mzxml_peaks(parts, element.get("peaksCount", "")),
    )


def _mzxml_charge(precursor: Element, ion_mode: str | None) -> str | None:
    possible = precursor.get("possibleCharges", "").replace(",", " ").split()
    return _charge(precursor.get("precursorCharge"), possible, ion_mode)


def _mzxml_peaks(parts: list[Element], n_declared: str) -> tuple[Numbers, Numbers]:
    """Return the peaks of a scan: pairs in one part, or a part for m/z and one for intensity."""
    columns: dict[str, Numbers] = {}
    for part in parts:
        data = _from_base64((part.text or "").strip())
        compression = (part.get("compressionType") or "none").lower()
        if compression not in ("none", "zlib"):
            detail = f"the compression {shown(compression)} is not supported"
            raise RejectedRecordError(Reason.BAD_ENCODING, detail)
        order = "<" if "little" in part.get("byteOrder", "").lower() else ">"
        kind = {"32": f"{order}f4", "64": f"{order}f8"}.get(part.get("precision", "32"))
        if kind is None:
            detail = f"numbers of {shown(part.get('precision', ''))} bits"
            raise RejectedRecordError(Reason.BAD_ENCODING, detail)
        content = part.get("contentType") or part.get("pairOrder") or "m/z-int"
        columns[content] = _from_bytes(_unzip(data) if compression == "zlib" else data, kind)
    mz = columns.get("m/z", np.empty(0))
    intensity = columns.get("intensity", np.empty(0))
    if "m/z-int" in columns:
        pairs = columns["m/z-int"]
        if pairs.size == 2 and not pairs.any() and not n_declared.strip("0"):
            pairs = pairs[:0]  # some writers put one empty pair where there is no peak
        mz, intensity = pairs[0::2], pairs[1::2]
    return _counted(mz, intensity, n_declared)


def _counted(mz: Numbers, intensity: Numbers, n_declared: str) -> tuple[Numbers, Numbers]:
    """Return both columns of a spectrum, if both have the declared length."""
    if mz.size != intensity.size:
        detail = f"{mz.size} m/z values, {intensity.size} intensities"
        raise RejectedRecordError(Reason.PEAK_COUNT_MISMATCH, detail)
    if n_declared.strip("0") and n_declared != str(mz.size):
        detail = f"{shown(n_declared)} declared, {mz.size} found"
        raise RejectedRecordError(Reason.PEAK_COUNT_MISMATCH, detail)
    return mz, intensity
