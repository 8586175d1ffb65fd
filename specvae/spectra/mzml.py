"""mzML: fragment spectra only, scan by scan.

It is read with the standard library's XML parser, which opens no other file and no network address.
Every scan is decoded by itself, so that a broken scan does not affect the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from xml.etree.ElementTree import Element

import numpy as np

from specvae.masses import ISOTOPE_STEP
from specvae.report import ReadReport, Reason
from specvae.spectra.fields import SAME_MZ
from specvae.spectra.notes import Note
from specvae.spectra.numpress import decode_linear, decode_pic, decode_slof
from specvae.spectra.scans import (
    SRM_OF_FILTER,
    WIDEST_WINDOW,
    Numbers,
    Scan,
    charge_of_ion,
    from_base64,
    from_bytes,
    of_declared_length,
    one_polarity,
    parse_number,
    plain_number,
    polarity_of_filter,
    read_scans,
    unzip,
)
from specvae.spectra.spectrum import MAX_MZ, Spectrum
from specvae.spectra.values import RejectedRecordError
from specvae.spectra.xml_scans import children, find, tag_of


def read_mzml(path: Path, report: ReadReport) -> Iterator[Spectrum]:
    """Yield the fragment spectra (MS level 2 and up) of an mzML file.

    Survey scans are counted as MS_LEVEL; UV spectra and the like as OTHER_SPECTRUM. A place where
    the XML is broken or cut off counts as one TRUNCATED record.
    """
    groups: dict[str, Element] = {}
    return read_scans(path, report, "spectrum", groups, lambda scan: _mzml_scan(scan, groups))


_MS_LEVEL = "MS:1000511"
_MS1_SPECTRUM = "MS:1000579"
_POSITIVE, _NEGATIVE = "MS:1000130", "MS:1000129"
_CENTROID, _PROFILE = "MS:1000127", "MS:1000128"
_FILTER = "MS:1000512"
# Scan start time; elution time; retention time; local retention time.
_TIMES = ("MS:1000016", "MS:1000826", "MS:1000894", "MS:1000895")
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
    # Of mzML 0.99 and 1.0.
    "MS:1000038": "minute",
    "MS:1000039": "second",
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
        return None if text is None else parse_number(text, accession)

    def unit(self, accession: str) -> str:
        """Return the name of a term's unit."""
        term = self._values.get(accession)
        if term is None:
            return ""
        named = term.get("unitName", "").lower().removesuffix("s")  # some write "seconds"
        return _UNITS.get(term.get("unitAccession", ""), named)


def _mzml_scan(element: Element, groups: Mapping[str, Element]) -> Scan:
    terms = _Terms(element, groups)
    arrays = [
        (_Terms(array, groups), array)
        for array in children(find(element, "binaryDataArrayList"), "binaryDataArray")
    ]
    is_other = any(term in _OTHER_SPECTRA for term in terms) or any(
        _WAVELENGTH_ARRAY in array for array, _ in arrays
    )
    # mzML 1.0 describes a spectrum in an element of its own, with one scan.
    described = find(element, "spectrumDescription")
    about = element if described is None else described
    precursors = children(find(about, "precursorList"), "precursor")
    level = terms.text(_MS_LEVEL) or ("1" if _MS1_SPECTRUM in terms else None)
    scan = find(element, "scanList", "scan") if described is None else find(about, "scan")
    first_scan = _Terms(scan, groups)
    filter_line = first_scan.text(_FILTER) or terms.text(_FILTER)
    fields = {
        "ms_level": level,
        "ion_mode": _mode_of(terms) or _mode_of(first_scan) or polarity_of_filter(filter_line),
        "profile": "profile" if _is_profile(terms, _Terms(described, groups)) else None,
        "retention_time": _mzml_time(first_scan),
        "filter_line": filter_line,
    }
    notes: tuple[str, ...] = ()
    if precursors and not is_other and level != "1":
        found, notes = _mzml_precursor(precursors, groups, fields["ion_mode"])
        fields |= found
    if any(term in terms for term in _SELECTED_REACTIONS) or SRM_OF_FILTER.search(
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
        return of_declared_length(mz, intensity, n_declared)

    return Scan({k: v for k, v in fields.items() if v is not None}, notes, is_other, peaks)


def _is_profile(*parts: _Terms) -> bool:
    return any(_PROFILE in terms for terms in parts) and not any(
        _CENTROID in terms for terms in parts
    )


def _is_of_peaks(array: _Terms) -> bool:
    return _MZ_ARRAY in array or _INTENSITY_ARRAY in array


def _mode_of(terms: _Terms) -> str | None:
    return one_polarity(_POSITIVE in terms, _NEGATIVE in terms)


def _mzml_time(terms: _Terms) -> str | None:
    """Return the retention time of a scan with its unit, None if it states none."""
    for term in _TIMES:
        if (time := terms.text(term)) is not None:
            return f"{time} {_UNITS_OF_TIME.get(terms.unit(term), 'min')}"
    return None


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
    stated = [(number, ion) for ion in ions if (number := _selected_mz(ion)) is not None]
    chosen = [(mass, ion) for mass, ion in stated if _as_mz(mass) is not None]
    masses = [mass for mass, _ in chosen]
    windows = [_Terms(find(precursor, "isolationWindow"), groups) for precursor in precursors]
    window = windows[0]
    notes: list[str] = []
    mz = masses[0] if masses else None
    isolated = masses or [each for one in windows if (each := _as_mz(one.number(_TARGET)))]
    if any(abs(mass - isolated[0]) > SAME_MZ for mass in isolated):
        notes.append(Note.FIRST_PRECURSOR.about(", ".join(f"{mass:g}" for mass in isolated)))
    target = _as_mz(window.number(_TARGET))
    width = _width(target, window) if target else 0.0
    if width > WIDEST_WINDOW and (mz is None or abs(mz - (target or 0.0)) <= SAME_MZ):
        notes.append(Note.WIDE_WINDOW.about(f"{width:g} Th around {target:g}"))
        mz = target = None
    if target and (mz is None or not _is_inside(mz, target, window)):
        found = "no selected ion" if mz is None else f"selected ion {mz:g} lies outside"
        notes.append(Note.WINDOW_TARGET.about(found))
        mz = target
    elif target and mz is not None and _is_isotope_below(mz, target, chosen[0][1].text(_CHARGE)):
        notes.append(Note.ISOTOPE_OF_TARGET.about(f"{mz:g}, {target:g}"))
    if mz is None and stated and not chosen:
        mz = stated[0][0]  # no m/z, which is told
    same = [ion for mass, ion in chosen if abs(mass - masses[0]) <= SAME_MZ] or ions[:1]
    fields = {
        "precursor_mz": None if mz is None else repr(mz),
        "charge": charge_of_ion(
            [text for ion in same if (text := ion.text(_CHARGE))],
            [text for ion in same for text in ion.texts(_POSSIBLE_CHARGE)],
            ion_mode,
        ),
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
        return f"{plain_number(percent)} NCE"
    unit = "NCE" if "percent" in map(activation.unit, (_ENERGY, _RAMP_START)) else "eV"
    if energy is not None:
        return f"{plain_number(energy)} {unit}"
    start, end = activation.text(_RAMP_START), activation.text(_RAMP_END)
    return (
        None
        if start is None or end is None
        else f"ramp {plain_number(start)}-{plain_number(end)} {unit}"
    )


def _as_mz(number: float | None) -> float | None:
    """Return a number that can be an m/z; None for 0, NaN and others that writers have for none."""
    return number if number is not None and 0.0 < number <= MAX_MZ else None


def _selected_mz(ion: _Terms) -> float | None:
    for name in _SELECTED_MZ:
        words = (ion.text(name) or "").split()
        # Some writers put the intensity behind it.
        text = words[0] if len(words) == 2 else " ".join(words)
        if words and (mz := parse_number(text, name)):
            return mz
    return None


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


def _mzml_array(arrays: list[tuple[_Terms, Element]], kind: str) -> Numbers:
    for terms, array in arrays:
        if kind in terms:
            text = find(array, "binary")
            return _mzml_numbers(terms, "" if text is None else text.text or "")
    return np.empty(0)


def _mzml_numbers(terms: _Terms, text: str) -> Numbers:
    data = from_base64(text)
    for accession, (decode, is_zipped) in _NUMPRESS.items():
        if accession in terms:
            try:
                return decode(unzip(data) if is_zipped else data) if data else np.empty(0)
            except ValueError as error:
                raise RejectedRecordError(Reason.BAD_ENCODING, str(error)) from None
    for accession, name in _OTHER_COMPRESSIONS.items():
        if accession in terms:
            detail = f"the compression {name} is not supported; write the file with zlib or none"
            raise RejectedRecordError(Reason.BAD_ENCODING, detail)
    types = [kind for accession, kind in _TYPES.items() if accession in terms]
    if len(types) != 1:
        raise RejectedRecordError(Reason.BAD_ENCODING, "an array does not say its type of numbers")
    return from_bytes(unzip(data) if _ZLIB in terms else data, types[0])
