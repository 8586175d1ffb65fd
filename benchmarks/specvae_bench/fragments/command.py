"""`specvae bench fragments`: fit the weights of the fragment score."""

from __future__ import annotations

from pathlib import Path

import click

from specvae.cli.console import Console, verbosity
from specvae.cli.defaults import settings_options
from specvae.cli.options import library_filter_options
from specvae_bench.options import (
    exclude_option,
    library_option,
    output_option,
    ppm_option,
    require_results,
    seed_option,
    structures_option,
)


@click.command()
@library_option
@structures_option("Table or pool with structures of like mass (repeatable).")
@library_filter_options
@exclude_option
@click.option(
    "--compounds",
    type=click.IntRange(min=1),
    default=2000,
    show_default=True,
    help="Largest number of compounds.",
)
@click.option(
    "--decoys",
    type=click.IntRange(min=1),
    default=16,
    show_default=True,
    help="Other structures for each compound.",
)
@ppm_option
@seed_option("Seed of draws and of fitting.")
@output_option("fragment_score.safetensors", "File of the weights.")
@settings_options
@verbosity
def fragments(
    spectra: tuple[Path, ...],
    structures: tuple[Path, ...],
    ion_mode: str | None,
    adducts: tuple[str, ...],
    instrument_types: tuple[str, ...],
    exclude: tuple[Path, ...],
    compounds: int,
    decoys: int,
    ppm: float,
    seed: int,
    output: Path,
) -> None:
    """Fit the weights of the fragment score, for each ion mode.

    A few spectra of each compound are used; the weights are fitted so that the compound's structure
    scores higher than others of its mass. The file that comes with the program,
    specvae/annotation/evidence/fragment_score.safetensors, was made by this command
    ('specvae docs research'); models are trained with it.

    \b
    Example:
      specvae bench fragments --spectra mona.msp --structures structures.tsv -o weights.safetensors
    """
    require_results(output)

    from specvae.annotation.library.compounds import read_excluded
    from specvae.annotation.library.filter import SpectrumFilter, canonical_adducts
    from specvae_bench.fragments.fitting import Draws, fit_scorers, write_scorers

    console = Console()
    wanted = SpectrumFilter(
        ion_mode=ion_mode,
        adducts=canonical_adducts(adducts),
        instrument_types=instrument_types,
        excluded=read_excluded(exclude),
    )
    draws = Draws(compounds, decoys, ppm, seed)
    scorers = fit_scorers(spectra, structures, wanted, draws, console)
    write_scorers(scorers, output)
    console.log(f"{output}: {', '.join(scorers)}")
