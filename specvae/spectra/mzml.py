"""mzML and mzXML through pyteomics: fragment spectra only."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from specvae.report import ReadReport, Reason
from specvae.spectra.fields import (
    Record,
    RejectedRecordError,
    Style,
    make_spectrum,
)
from specvae.spectra.lines import TRUNCATION_ERRORS, open_bytes
from specvae.spectra.spectrum import Spectrum

MZML_STYLE = Style(id_fields=("title",), name_fields=(), seconds_per_rt_unit=1.0)


def read_mzml(path: Path, report: ReadReport) -> Iterator[Spectrum]:
    """Yield the fragment spectra (MS level 2 and up) of an mzML file.

    Survey scans are counted as MS_LEVEL; at a damaged or cut-off place the file counts one
    TRUNCATED record and ends.
    """
    with _without_warnings():
        from pyteomics import mzml

    return _read(path, report, lambda stream: mzml.MzML(stream, use_index=False), _mzml_fields)


def read_mzxml(path: Path, report: ReadReport) -> Iterator[Spectrum]:
    """Yield the fragment spectra of an mzXML file, as `read_mzml` does."""
    with _without_warnings():
        from pyteomics import mzxml

    def scans(stream: BinaryIO) -> Iterable[Mapping[str, Any]]:
        # The class's own iteration, and its iterfind("scan"), hold every fragment spectrum back
        # until the next survey scan, and so the whole file where there is none.
        reader = mzxml.MzXML(stream, use_index=False)
        return super(mzxml.MzXML, reader).iterfind("scan")  # type: ignore[no-any-return]

    return _read(path, report, scans, _mzxml_fields)


def _read(
    path: Path,
    report: ReadReport,
    scans_of: Callable[[BinaryIO], Iterable[Mapping[str, Any]]],
    fields_of: Callable[[Mapping[str, Any]], dict[str, str]],
) -> Iterator[Spectrum]:
    from lxml.etree import XMLSyntaxError

    with open_bytes(path) as stream:
        scans = iter(scans_of(stream))
        index = 0
        while True:
            index += 1
            try:
                scan = next(scans, None)
            except (XMLSyntaxError, *TRUNCATION_ERRORS) as error:
                detail = f"{type(error).__name__} after {index - 1} scans"
                report.skip(str(path), index, f"{path.name}#{index}", Reason.TRUNCATED, detail)
                return
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                # pyteomics cannot go on after an error inside a scan.
                detail = f"scan cannot be decoded ({error}); the rest of the file is not read"
                report.skip(str(path), index, f"{path.name}#{index}", Reason.BAD_ENCODING, detail)
                return
            if scan is None:
                return
            fields = fields_of(scan)
            query_id = str(scan.get("id") or scan.get("num") or f"{path.name}#{index}")
            if fields.get("ms_level") == "1":
                report.skip(str(path), index, query_id, Reason.MS_LEVEL)
                continue
            try:
                yield _spectrum(scan, fields, query_id, str(path), index)
            except RejectedRecordError as error:
                report.skip(str(path), index, query_id, error.reason, error.detail)


def _spectrum(
    scan: Mapping[str, Any], fields: dict[str, str], query_id: str, path: str, index: int
) -> Spectrum:
    mz = np.asarray(scan.get("m/z array", ()), dtype=np.float64)
    intensity = np.asarray(scan.get("intensity array", ()), dtype=np.float64)
    if mz.shape != intensity.shape:
        detail = f"{mz.size} m/z values, {intensity.size} intensities"
        raise RejectedRecordError(Reason.PEAK_COUNT_MISMATCH, detail)
    record = Record(fields, {})
    return make_spectrum(record, mz, intensity, MZML_STYLE, query_id, path, index)


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Keep what pyteomics warns of when imported, missing packages that are not used, to itself."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _texts(**values: object) -> dict[str, str]:
    return {key: str(value) for key, value in values.items() if value is not None}


def _seconds(value: object) -> float | None:
    """Return a time in seconds from a number that carries its unit (minutes if it does not)."""
    if value is None:
        return None
    unit = getattr(value, "unit_info", None)
    return float(value) * (1.0 if unit == "second" else 60.0)  # type: ignore[arg-type]


def _signed(charge: object, ion_mode: str | None) -> str | None:
    if charge is None:
        return None
    size = abs(int(charge))  # type: ignore[call-overload]
    return f"{size}{'-' if ion_mode == 'negative' else '+' if ion_mode else ''}"


def _mzml_fields(scan: Mapping[str, Any]) -> dict[str, str]:
    ion_mode = (
        "positive" if "positive scan" in scan else "negative" if "negative scan" in scan else None
    )
    # The last precursor is the ion that this scan's fragments come from.
    precursors = (scan.get("precursorList") or {}).get("precursor") or [{}]
    precursor = precursors[-1]
    ions = (precursor.get("selectedIonList") or {}).get("selectedIon") or [{}]
    activation = precursor.get("activation") or {}
    energy = activation.get("collision energy")
    percent = activation.get("normalized collision energy")
    scans = (scan.get("scanList") or {}).get("scan") or [{}]
    return _texts(
        ms_level=scan.get("ms level"),
        ion_mode=ion_mode,
        precursor_mz=_number(ions[0].get("selected ion m/z")),
        charge=_signed(ions[0].get("charge state"), ion_mode),
        collision_energy=(
            f"{float(percent):g} NCE"
            if percent is not None
            else None
            if energy is None
            else f"{float(energy):g} eV"
        ),
        rt_seconds=_seconds(scans[0].get("scan start time")),
    )


def _mzxml_fields(scan: Mapping[str, Any]) -> dict[str, str]:
    ion_mode = {"+": "positive", "-": "negative"}.get(str(scan.get("polarity")))
    precursors = scan.get("precursorMz") or [{}]
    precursor = precursors[-1]
    energy = scan.get("collisionEnergy")
    return _texts(
        ms_level=scan.get("msLevel"),
        ion_mode=ion_mode,
        precursor_mz=_number(precursor.get("precursorMz")),
        charge=_signed(precursor.get("precursorCharge"), ion_mode),
        collision_energy=None if energy is None else f"{float(energy):g} eV",
        rt_seconds=_seconds(scan.get("retentionTime")),
    )


def _number(value: object) -> str | None:
    # Numbers of pyteomics print with their unit; repr of a float keeps every digit.
    return None if value is None else repr(float(value))  # type: ignore[arg-type]
