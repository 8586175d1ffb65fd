"""`specvae check`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import click

from specvae.cli.console import echo, escaped_line, verbosity
from specvae.cli.defaults import settings_options
from specvae.cli.help import Command
from specvae.cli.options import INPUT_TABLE, limit_option
from specvae.compression import uncompressed_name
from specvae.counting import counted
from specvae.errors import InputError, SpecvaeError, cut
from specvae.report import ReadReport
from specvae.sources import is_pool, with_sources

if TYPE_CHECKING:
    from specvae.spectra.overview import Overview
    from specvae.spectra.spectrum import Spectrum

_TABLES = (
    ".csv", ".tsv", ".tab", ".txt", ".psv", ".smi", ".smiles", ".ism", ".sdf", ".sd", ".mol"
)  # fmt: skip
_FORMATS = {
    "msp": "MSP",
    "mgf": "MGF",
    "mzml": "mzML",
    "mzxml": "mzXML",
    "massbank": "MassBank records",
}
_N_WORDS = 6  # of a counter
_N_SKIPS = 3  # of a reason
_N_COLUMNS = 20

Lines = Iterator[tuple[str, str]]


@click.command(cls=Command)
@click.argument("files", metavar="FILE...", type=INPUT_TABLE, nargs=-1, required=True)
@limit_option
@settings_options
@verbosity
def check(files: tuple[Path, ...]) -> None:
    """Show how files of spectra or candidates are understood, before a long run.

    Spectra: how many, their precursors, ion species and modes, units of energy, MS levels; what was
    decided about records; which were skipped, and why; the first three. Candidates: how many, their
    masses, which columns are used and which not, what was skipped. Truths (query_id and inchikey):
    for how many queries. The exit code is 1 if a file cannot be used.

    \b
    Example:
      specvae check query.mgf candidates.csv
    """
    n_bad = 0
    for number, path in enumerate(files):
        if number:
            click.echo()
        try:
            for name, value in _described(path):
                echo(with_sources(f"{name:<16}{value}".rstrip()))
        except SpecvaeError as error:
            n_bad += 1
            click.echo(f"specvae: {escaped_line(with_sources(str(error)))}", err=True)
    if n_bad:
        raise click.exceptions.Exit(1)


def _described(path: Path) -> Lines:
    from specvae.spectra.lines import sniff_format

    if is_pool(path):
        return _pool(path)
    try:
        kind = sniff_format(path)
    except InputError:
        if not uncompressed_name(path).endswith(_TABLES):
            raise
        return _truths(path) or _candidates(path)
    return _spectra(path, _FORMATS[kind])


def _spectra(path: Path, kind: str) -> Lines:
    from specvae.spectra.overview import Overview
    from specvae.spectra.read import read_spectra

    report = ReadReport()
    overview = Overview.of_spectra(read_spectra(path, report))
    yield "file", str(path)
    yield "format", kind
    yield "spectra", f"{overview.n_spectra:,}"
    if overview.n_spectra:
        yield from _counts(overview)
    yield from _decisions(report)
    for number, spectrum in enumerate(overview.examples):
        yield ("" if number else "examples"), _example(spectrum)
    if not overview.n_spectra:
        raise InputError(f"{path}: no usable spectrum ({report.nothing_read()})")


def _counts(overview: Overview) -> Lines:
    peaks = sorted(overview.n_peaks)
    yield "precursor m/z", _counted(overview.precursors)
    yield "ion species", _counted(overview.ion_species)
    yield "ion mode", _counted(overview.ion_modes)
    yield "MS level", _counted(overview.ms_levels)
    yield "energy", _counted(overview.energies)
    yield "retention time", f"{overview.n_retention_times:,} stated"
    if overview.features:
        several = sum(n > 1 for n in overview.features.values())
        advice = f", {several:,} with several spectra (annotate --merge-by)" if several else ""
        yield "features", f"{len(overview.features):,}{advice}"
    yield "structure", _counted(overview.structures)
    yield "peaks", f"median {peaks[len(peaks) // 2]:,}, from {peaks[0]:,} to {peaks[-1]:,}"


def _counted(counter: Counter[str]) -> str:
    """Return the most frequent words with their numbers, and how many others there are."""
    words = [f"{word}: {n:,}" for word, n in counter.most_common(_N_WORDS)]
    n_others = sum(counter.values()) - sum(n for _, n in counter.most_common(_N_WORDS))
    return "; ".join([*words, f"others: {n_others:,}"] if n_others else words)


def _decisions(report: ReadReport) -> Lines:
    """Yield notes by kind, and skipped records by reason with the first places."""
    for number, (note, n) in enumerate(report.notes.most_common()):
        yield ("" if number else "notes"), f"{note} ({n:,})"
    for number, (reason, n) in enumerate(report.counts.most_common()):
        yield ("" if number else "left out"), f"{reason} ({n:,})"
        skips = (skip for skip in report.skips if skip.reason is reason)
        for skip in islice(skips, _N_SKIPS):
            detail = f": {skip.detail}" if skip.detail else ""
            yield "", f"  line {skip.line:,}, {cut(skip.record)}{detail}"


def _example(spectrum: Spectrum) -> str:
    mz = spectrum.precursor_mz
    ion = spectrum.ion
    base = spectrum.mz[spectrum.intensity.argmax()]
    parts = [
        cut(spectrum.query_id),
        "no precursor m/z" if mz is None else f"m/z {mz:.4f}",
        ion.name if ion else spectrum.adduct or "ion species not known",
        spectrum.ion_mode or "ion mode not known",
        f"{counted(spectrum.n_peaks, 'peaks')}, highest at {base:.4f}",
        *spectrum.notes,
    ]
    return "; ".join(parts)


def _candidates(path: Path) -> Lines:
    from specvae.molecules.candidates import read_candidates

    report = ReadReport()
    found = read_candidates(path, report, None)
    yield "file", str(path)
    yield "format", "table of candidates"
    yield "candidates", f"{len(found):,}"
    if len(found):
        low, high = found.exact_mass.min(), found.exact_mass.max()
        yield "exact mass", f"from {low:.4f} to {high:.4f} Da"
    if found.query_id is not None:
        n_queries = len(set(found.query_id.tolist()))
        own = "query has candidates of its own"
        yield "query_id", counted(n_queries, "queries have candidates of their own", own)
    else:
        yield "query_id", "no such column: candidates are matched by mass"
    for column, texts in (("name", found.name), ("id", found.id)):
        yield column, f"{sum(map(bool, texts.tolist())):,} stated"
    yield from _columns(report)
    yield from _decisions(report)
    yield from _shown(found.smiles[:3].tolist(), found.name[:3].tolist())
    if not len(found):
        raise InputError(f"{path}: no usable candidate ({report.nothing_read('candidates')})")


def _columns(report: ReadReport) -> Lines:
    """Yield the use of each column, and unused columns; nothing for a file without names."""
    used: dict[str, list[str]] = {}
    for name, field in report.columns.items():
        used.setdefault(field, []).append(cut(name) or "(without a name)")
    unused = used.pop("", [])
    if used:
        yield "columns used", "; ".join(_as_use(field, names) for field, names in used.items())
    if unused:
        n_others = len(unused) - _N_COLUMNS
        others = f" and {n_others:,} more" if n_others > 0 else ""
        yield "not used", ", ".join(unused[:_N_COLUMNS]) + others


def _as_use(field: str, names: Sequence[str]) -> str:
    """Return a field and its columns; in each row the first one that is not empty counts."""
    return field if list(names) == [field] else f"{field} from {', else '.join(names)}"


def _shown(smiles: Iterable[str], names: Iterable[str]) -> Lines:
    for number, (text, name) in enumerate(zip(smiles, names, strict=True)):
        yield ("" if number else "examples"), f"{cut(text)} {cut(name)}".strip()


def _truths(path: Path) -> Lines | None:
    """Describe a table of truths, which has a query_id and a key instead of a structure."""
    from specvae.annotation.library.compounds import read_truth
    from specvae.molecules.text_tables import column_meaning, open_text, read_table

    with open_text(path) as stream:
        columns = set(map(column_meaning, read_table(stream)[0]))
    if not {"query_id", "inchikey"} <= columns or columns & {"smiles", "inchi"}:
        return None
    truth = read_truth(path)
    lines = [
        ("file", str(path)),
        ("format", "table of truths, for evaluate --truth"),
        ("queries", f"{len(truth):,}"),
        ("compounds", f"{len(set(truth.values())):,}"),
    ]
    shown = [f"{cut(query)} {block}" for query, block in islice(truth.items(), _N_SKIPS)]
    return iter([*lines, *zip(["examples", "", ""], shown, strict=False)])


def _pool(path: Path) -> Lines:
    from specvae.molecules.candidate_pool import CandidatePool

    with CandidatePool.open(path) as pool:
        yield "file", str(path)
        yield "format", "pool of candidates"
        yield "candidates", f"{len(pool):,}"
        low, high = pool.info()["mass_range"]
        yield "exact mass", f"from {low:.4f} to {high:.4f} Da"
        head = pool.slice(0, 3)
        yield from _shown(head.smiles.tolist(), head.name.tolist())
