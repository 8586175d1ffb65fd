"""Read spectra from a file of any known format."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from specvae.errors import InputError
from specvae.report import ReadReport
from specvae.sources import rewindable
from specvae.spectra.lines import LineSource, sniff_format
from specvae.spectra.massbank import read_massbank
from specvae.spectra.mgf import read_mgf
from specvae.spectra.msp import read_msp
from specvae.spectra.mzml import read_mzml
from specvae.spectra.mzxml import read_mzxml
from specvae.spectra.notes import note_kind
from specvae.spectra.spectrum import Spectrum


def read_spectra(
    path: Path | str, report: ReadReport, *, every_level: bool = False
) -> Iterator[Spectrum]:
    """Yield the spectra of an MSP, MGF, mzML, mzXML or MassBank file, compressed or not.

    One record at a time is in memory. A malformed record is skipped and counted in `report` with
    its place; its neighbours survive. The file is inspected by the call itself, so that a wrong
    file fails before the first spectrum is requested.

    Parameters
    ----------
    path
        The file; its content decides the format and must not contradict its suffix. A pipe is
        stored in a temporary file first.
    report
        Counts what is read and what is skipped.
    every_level
        Also yield records of MS level 1, which are counted as `Reason.MS_LEVEL` otherwise (never
        those of mzML and mzXML), and those that are deprecated, otherwise `Reason.DEPRECATED`.

    Returns
    -------
    iterator of Spectrum
        In file order, each with a `query_id` of its own.

    Raises
    ------
    InputError
        If the file is missing, a directory, empty, of another kind, or holds not one record; in a
        strict report also at the first malformed record.
    """
    path = rewindable(Path(path))
    kind = sniff_format(path)
    if kind == "mzml":
        spectra = read_mzml(path, report)
    elif kind == "mzxml":
        spectra = read_mzxml(path, report)
    else:
        read = _TEXT_READERS[kind]
        spectra = read(LineSource(path), report, every_level=every_level)
    return _counted(path, with_unique_ids(spectra), report)


_TEXT_READERS = {"msp": read_msp, "mgf": read_mgf, "massbank": read_massbank}


def _counted(path: Path, spectra: Iterable[Spectrum], report: ReadReport) -> Iterator[Spectrum]:
    n_skipped = len(report.skips)
    n_read = 0
    for spectrum in spectra:
        n_read += 1
        report.n_read += 1
        for note in spectrum.notes:
            report.note(note_kind(note))
        yield spectrum
    if n_read == 0 and len(report.skips) == n_skipped:
        raise InputError(f"{path}: holds no spectrum")


def with_unique_ids(spectra: Iterable[Spectrum]) -> Iterator[Spectrum]:
    """Yield the spectra, the second of the same `query_id` as ``ID#2``, the third as ``ID#3``.

    Only the identifiers are remembered.
    """
    counts: dict[str, int] = {}
    for spectrum in spectra:
        wanted = spectrum.query_id
        query_id = wanted
        n = counts.get(wanted, 0)
        while query_id in counts:
            n += 1
            query_id = f"{wanted}#{n}" if n > 1 else wanted
        counts[wanted] = max(n, 1)
        counts.setdefault(query_id, 1)
        yield spectrum if query_id == wanted else replace(spectrum, query_id=query_id)
