"""mzXML: fragment spectra only, scan by scan, by the standard library's XML parser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from xml.etree.ElementTree import Element

import numpy as np

from specvae.report import ReadReport, Reason
from specvae.spectra.notes import Note
from specvae.spectra.scans import (
    SRM_OF_FILTER,
    WIDEST_WINDOW,
    Numbers,
    Scan,
    charge_of_ion,
    from_base64,
    from_bytes,
    of_declared_length,
    parse_number,
    plain_number,
    polarity_of_filter,
    read_scans,
    unzip,
)
from specvae.spectra.spectrum import Spectrum
from specvae.spectra.values import RejectedRecordError, parse_ion_mode, shown
from specvae.spectra.xml_scans import children, find


def read_mzxml(path: Path, report: ReadReport) -> Iterator[Spectrum]:
    """Yield the fragment spectra of an mzXML file, as `read_mzml` does."""
    return read_scans(path, report, "scan", {}, _mzxml_scan)


# msconvert's names of precursor-ion and neutral-loss scans, in which the first quadrupole scans.
_OTHER_SCANS = frozenset({"q1", "q3", "calibration"})
_REACTIONS = frozenset({"srm", "crm", "mrm"})


def _mzxml_scan(element: Element) -> Scan:
    selected = [
        (text, child)
        for child in children(element, "precursorMz")
        if (text := (child.text or "").strip())
    ]
    precursors = [text for text, _ in selected]
    polarity = element.get("polarity") or polarity_of_filter(element.get("filterLine"))
    ion_mode = None if polarity is None else parse_ion_mode(polarity)
    first = find(element, "precursorMz")
    stated_width = None if first is None else first.get("windowWideness")
    width = parse_number(stated_width, "windowWideness") if stated_width else 0.0
    notes: tuple[str, ...] = ()
    if width > WIDEST_WINDOW and precursors:
        notes = (Note.WIDE_WINDOW.about(f"{width:g} Th around {precursors[0]}"),)
        precursors = []
    scan_type = element.get("scanType", "").strip().lower()
    if scan_type in _REACTIONS or SRM_OF_FILTER.search(element.get("filterLine", "")):
        notes = (*notes, Note.FEW_REACTIONS)
    energy = element.get("collisionEnergy", "").strip()
    level = element.get("msLevel", "").strip()
    fields = {
        "ms_level": level or None,
        "ion_mode": polarity,
        "profile": "profile" if element.get("centroided") == "0" else None,
        "precursor_mz": ", ".join(dict.fromkeys(precursors)) or None,
        "charge": _mzxml_charge(
            [ion for text, ion in selected if text == selected[0][0]], ion_mode
        ),
        "collision_energy": f"{plain_number(energy)} eV" if energy else None,
        "rt_seconds": element.get("retentionTime"),
        "filter_line": element.get("filterLine"),
        "fragmentation": None if first is None else first.get("activationMethod"),
    }
    parts = children(element, "peaks")
    return Scan(
        {key: value for key, value in fields.items() if value is not None},
        notes,
        level == "0" or (level != "1" and scan_type in _OTHER_SCANS),
        lambda: _mzxml_peaks(parts, element.get("peaksCount", "")),
    )


def _mzxml_charge(ions: list[Element], ion_mode: str | None) -> str | None:
    """Return the charge of an ion, or its possible charges; some writers list it once for each."""
    stated = [text for ion in ions if (text := ion.get("precursorCharge"))]
    possible = [
        charge
        for ion in ions
        for charge in ion.get("possibleCharges", "").replace(",", " ").split()
    ]
    return charge_of_ion(stated, possible, ion_mode)


def _mzxml_peaks(parts: list[Element], n_declared: str) -> tuple[Numbers, Numbers]:
    """Return the peaks of a scan: pairs in one part, or a part for m/z and one for intensity."""
    columns: dict[str, Numbers] = {}
    for part in parts:
        data = from_base64((part.text or "").strip())
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
        columns[content] = from_bytes(unzip(data) if compression == "zlib" else data, kind)
    mz = columns.get("m/z", np.empty(0))
    intensity = columns.get("intensity", np.empty(0))
    if "m/z-int" in columns:
        pairs = columns["m/z-int"]
        if pairs.size == 2 and not pairs.any() and not n_declared.strip("0"):
            pairs = pairs[:0]  # some writers put one empty pair where there is no peak
        mz, intensity = pairs[0::2], pairs[1::2]
    return of_declared_length(mz, intensity, n_declared)
