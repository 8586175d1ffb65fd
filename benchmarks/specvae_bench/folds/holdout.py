"""`specvae bench holdout`: a fold of a library's compounds as queries with their truth."""

from __future__ import annotations

from pathlib import Path

import click

from specvae.cli.console import Console, verbosity
from specvae.cli.defaults import settings_options
from specvae.cli.help import Command
from specvae.cli.options import INPUT, NumberRange, WholeRange, library_filter_options
from specvae.counting import counted
from specvae_bench.options import (
    contaminated_option,
    exclude_option,
    library_option,
    output_option,
    ppm_option,
    require_results_folder,
    seed_option,
)

FILES = ("queries.mgf", "truth.csv", "holdout.json", "candidates.csv")


@click.command(cls=Command)
@library_option
@click.option(
    "--share",
    type=NumberRange(min=0.0, min_open=True, max=1.0),
    default=0.1,
    show_default=True,
    help="Share of compounds held out.",
)
@click.option(
    "--max-spectra",
    type=WholeRange(min=1),
    default=3,
    show_default=True,
    help="Largest number of spectra of one compound.",
)
@contaminated_option(
    "Share of the queries that get noise and peaks of another compound, as raw spectra have."
)
@library_filter_options
@exclude_option
@click.option(
    "--structures",
    type=INPUT,
    default=None,
    help="Also write candidates.csv: the structures of this table within --ppm of each query. "
    "Without it, that of an earlier run is removed.",
)
@ppm_option
@seed_option("Seed of the choice of compounds.")
@output_option("holdout", "Folder for the fold.")
@settings_options
@verbosity
def holdout(
    spectra: tuple[Path, ...],
    share: float,
    max_spectra: int,
    contaminated: float,
    ion_mode: str | None,
    adducts: tuple[str, ...],
    instrument_types: tuple[str, ...],
    exclude: tuple[Path, ...],
    structures: Path | None,
    ppm: float,
    seed: int,
    output: Path,
) -> None:
    """Hold out a fold of a library's compounds: queries, their truth, and the fold's digest.

    A compound's fold depends only on its InChIKey first block and the seed, so the same compounds
    are held out of every library. Writes queries.mgf (without structures), truth.csv, which
    'specvae train --exclude' reads too, and holdout.json.

    \b
    Example:
      specvae bench holdout --spectra mona.msp --structures structures.tsv -o fold
      specvae train --spectra mona.msp --exclude fold/truth.csv
      specvae evaluate fold/queries.mgf --candidates fold/candidates.csv --truth fold/truth.csv
    """
    require_results_folder(output, FILES)

    from specvae.annotation.library.compounds import read_excluded
    from specvae.annotation.library.filter import SpectrumFilter, canonical_adducts
    from specvae.report import ReadReport
    from specvae_bench.files import digests
    from specvae_bench.folds.held_out import hold_out, write_candidates, write_fold

    console = Console()
    report = ReadReport()
    wanted = SpectrumFilter(
        ion_mode=ion_mode,
        adducts=canonical_adducts(adducts),
        instrument_types=instrument_types,
        excluded=read_excluded(exclude),
    )
    held = hold_out(
        spectra, wanted, share, max_spectra, seed, report, console, contaminated=contaminated
    )
    sources = list(spectra)
    listed = output / "candidates.csv"
    if structures is not None:
        n_candidates = write_candidates(structures, held.spectra, ppm, listed)
        sources.append(structures)
        console.log(f"{counted(n_candidates, 'candidates')} within {ppm:g} ppm")
    elif listed.exists():
        listed.unlink()  # of other queries, by an earlier run
        console.log(f"{listed}: removed, it was of the fold before; --structures writes it anew")
    settings = {
        "share": share,
        "seed": seed,
        "max_spectra": max_spectra,
        "contaminated": contaminated,
        "ion_mode": ion_mode,
        "adducts": sorted(wanted.adducts),
        "instrument_types": list(instrument_types),
        "excluded": digests(exclude),
        "ppm": None if structures is None else ppm,
    }
    write_fold(held, output, sources, settings)
    console.log(report.summary())
    click.echo(
        f"{counted(len(held.queries), 'queries')} of {counted(held.n_compounds, 'compounds')} in "
        f"{output}"
    )
