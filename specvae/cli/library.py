"""`specvae library`."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from specvae.cli.console import Console, echo, verbosity
from specvae.cli.defaults import settings_options
from specvae.cli.help import Group
from specvae.cli.options import INPUT, INPUT_FILE, jobs_option, strict_option
from specvae.cli.outputs import (
    TABLE_FORMATS,
    is_stdout,
    require_paths,
    skips_path,
    suffix_format,
    text_output,
    write_skips,
)
from specvae.counting import counted
from specvae.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


@click.group(cls=Group)
def library() -> None:
    """Build and inspect libraries: encoded spectra of known compounds for --library.

    \b
    Example:
      specvae library build standards.msp -o standards.h5
      specvae annotate query.mgf --candidates cands.csv --library standards.h5
    """


@library.command(short_help="Encode the spectra of files into one file.")
@click.argument("spectra", type=INPUT_FILE, nargs=-1, required=True)
@click.option("-o", "--output", type=INPUT, default=Path("library.h5"), show_default=True)
@jobs_option
@strict_option
@settings_options
@verbosity
def build(spectra: tuple[Path, ...], output: Path, jobs: int | None, strict: bool) -> None:
    """Encode the spectra of .msp, .mgf, .mzML, .mzXML or MassBank files, also .gz, .bz2 or .xz.

    A spectrum is used if it is of MS level 2 and has a structure that fits its precursor m/z, or
    that gives it, where it is rounded or missing. The others are counted, and listed beside the
    output.

    \b
    Example:
      specvae library build monday.msp tuesday.mgf -o standards.h5
    """
    require_paths(
        {"SPECTRA": spectra}, {"--output": output, "its list of skips": skips_path(output)}
    )

    from specvae.annotation.evidence.remembered import RememberedSpectra
    from specvae.report import ReadReport

    if output.suffix != ".h5":
        raise click.UsageError(f"{output}: wanted a name that ends in .h5")
    console, report = Console(), ReadReport(strict=strict)
    remembered = RememberedSpectra.read_spectra(spectra, report, n_jobs=jobs, progress=console)
    remembered.write(output, spectra, report)
    write_skips(output, report)
    console.log(report.kept(len(remembered)))
    click.echo(
        f"{counted(len(remembered), 'spectra')} of "
        f"{counted(len(remembered.first_blocks), 'compounds')} in {output}"
    )


@library.command(short_help="List the structures of files as a table.")
@click.argument("spectra", type=INPUT_FILE, nargs=-1, required=True)
@click.option("-o", "--output", type=INPUT, default=Path("structures.csv"), show_default=True)
@strict_option
@settings_options
@verbosity
def structures(spectra: tuple[Path, ...], output: Path, strict: bool) -> None:
    """List the compounds of .msp, .mgf, .mzML, .mzXML or MassBank files as a table of candidates.

    One row for each InChIKey first block, with its first SMILES and name. Spectra are used as
    'specvae library build' uses them.

    \b
    Example:
      specvae library structures mona.msp -o structures.csv
      specvae annotate query.mgf --candidates structures.csv
    """
    require_paths(
        {"SPECTRA": spectra}, {"--output": output, "its list of skips": skips_path(output)}
    )
    if suffix_format(output, TABLE_FORMATS) != "csv":
        raise click.UsageError(f"{output}: wanted a name that ends in .csv")

    from specvae.annotation.library.filter import SpectrumFilter
    from specvae.annotation.library.pairs import read_pairs
    from specvae.report import ReadReport

    console, report = Console(), ReadReport(strict=strict)
    compounds: dict[str, tuple[str, str, str]] = {}
    n_kept = 0
    pairs = read_pairs(spectra, SpectrumFilter(), report, console, "reading")
    for spectrum, molecule in pairs:
        n_kept += 1
        row = (molecule.smiles, molecule.inchikey, spectrum.name or "")
        if not compounds.setdefault(molecule.first_block, row)[2]:
            compounds[molecule.first_block] = row  # a name after all
    if not compounds:
        raise InputError(f"{spectra[0]}: no usable structure ({report.nothing_read()})")
    with text_output(output) as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(("smiles", "inchikey", "name"))
        writer.writerows(compounds.values())
    write_skips(output, report)
    console.log(report.kept(n_kept))
    found = counted(len(compounds), "structures")
    if is_stdout(output):
        console.log(found)
    else:
        click.echo(f"{found} in {output}")


@library.command()
@click.argument("path", metavar="LIBRARY", type=INPUT)
@click.option("--json", "as_json", is_flag=True, help="Print the same as JSON.")
@settings_options
@verbosity
def info(path: Path, as_json: bool) -> None:
    """Show what a library holds, by ion mode and adduct.

    \b
    Example:
      specvae library info standards.h5
    """
    from specvae.annotation.evidence.remembered import describe_library

    described = describe_library(path)
    if as_json:
        click.echo(json.dumps(described, indent=2))
        return
    for name, text in _lines(path, described):
        echo(f"{name:<15}{text}")


def _lines(path: Path, described: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "file", f"{path}, sha256 {described['sha256']}"
    yield "format", f"{described['format_version']}, written by {described['program']}"
    compounds = counted(described["n_compounds"], "compounds")
    yield "holds", f"{counted(described['n_spectra'], 'spectra')} of {compounds}"
    for name, key in (("ion modes", "ion_modes"), ("adducts", "adducts")):
        yield name, ", ".join(f"{word}: {n:,}" for word, n in described[key].items())
    for source in described["sources"]:
        yield "file read", f"{source['file']}, sha256 {source['sha256'][:12]}..."
    yield "skipped", counted(described["n_skipped"], "records")
    yield "fingerprint", f"{described['fingerprint']} version {described['fingerprint_version']}"
