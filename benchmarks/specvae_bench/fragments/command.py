"""`specvae bench fragments`: fit the weights of the fragment score."""

from __future__ import annotations

from pathlib import Path

import click

from specvae.cli.console import Console, verbosity
from specvae.cli.defaults import settings_options
from specvae.cli.help import Command
from specvae.cli.options import INPUT, NumberRange, WholeRange, jobs_option, library_filter_options
from specvae_bench.options import (
    contaminated_option,
    exclude_option,
    library_option,
    output_option,
    ppm_option,
    require_results,
    seed_option,
    structures_option,
)


@click.command(cls=Command)
@library_option
@structures_option("Table or pool with structures of like mass (repeatable).")
@library_filter_options
@exclude_option
@click.option(
    "--compounds",
    type=WholeRange(min=1),
    default=None,
    help="Largest number of compounds of each ion mode.  [default: all]",
)
@click.option(
    "--decoys",
    type=WholeRange(min=1),
    default=47,
    show_default=True,
    help="Most other structures for each compound; eight are drawn at a time.",
)
@click.option(
    "--spectra-per-compound",
    type=WholeRange(min=1),
    default=12,
    show_default=True,
    help="Most spectra of each compound; two are drawn at a time.",
)
@ppm_option
@click.option(
    "--start",
    type=INPUT,
    default=None,
    metavar="FILE",
    help="Score to begin from; its ion modes that the library has no spectra of are kept.  "
    "[default: new weights]",
)
@click.option(
    "--passes",
    type=WholeRange(min=1),
    default=8,
    show_default=True,
    help="How often each compound is learned from.",
)
@click.option(
    "--rate",
    type=NumberRange(min=0.0, min_open=True),
    default=0.003,
    show_default=True,
    help="Highest learning rate; 0.002 for more passes after --start.",
)
@click.option(
    "--average",
    type=INPUT,
    multiple=True,
    metavar="FILE",
    help="Write the mean of the new weights and these (repeatable).",
)
@click.option(
    "--validation",
    type=NumberRange(min=0.0, max=0.5),
    default=0.0,
    show_default=True,
    metavar="SHARE",
    help="Share of compounds that are not learned from; hit@1 and nats of their spectra are shown "
    "after each pass.",
)
@contaminated_option(
    "Share of the spectra that are learned from with noise and peaks of another compound, as "
    "raw spectra have."
)
@click.option(
    "--beside-library",
    is_flag=True,
    help="Learn what is left open by all other evidence, with the weights in use: by the library's "
    "analogues, own spectra and nearness, of each compound without its own spectra.",
)
@click.option(
    "--together",
    is_flag=True,
    help="Learn the scores of both ion modes together: structures are described by the same "
    "weights in both, so that each learns from the compounds of the other.",
)
@seed_option("Seed of draws and of fitting.")
@output_option("fragment_score.safetensors", "File of the weights.")
@jobs_option
@settings_options
@verbosity
def fragments(
    spectra: tuple[Path, ...],
    structures: tuple[Path, ...],
    ion_mode: str | None,
    adducts: tuple[str, ...],
    instrument_types: tuple[str, ...],
    exclude: tuple[Path, ...],
    compounds: int | None,
    decoys: int,
    spectra_per_compound: int,
    ppm: float,
    start: Path | None,
    passes: int,
    rate: float,
    average: tuple[Path, ...],
    validation: float,
    contaminated: float,
    beside_library: bool,
    together: bool,
    seed: int,
    output: Path,
    jobs: int | None,
) -> None:
    """Fit the weights of the fragment score, for each ion mode.

    The weights are fitted so that a compound's structure scores higher than others of its mass, by
    a few spectra of each compound. A fit that was stopped goes on after its last whole pass when
    the same command is given again; until it is done, it keeps what it needs beside its output.
    'specvae docs evaluation' has the commands that make specvae/annotation/evidence/
    fragment_score.safetensors, which comes with the program; models are trained with it.

    \b
    Example:
      specvae bench fragments --spectra mona.msp --structures structures.tsv -o weights.safetensors
    """
    from specvae.annotation.library.compounds import read_excluded
    from specvae.annotation.library.filter import SpectrumFilter, canonical_adducts
    from specvae_bench.fragments.examples import Draws
    from specvae_bench.fragments.fitting import FragmentFit
    from specvae_bench.fragments.run import Files, fit_scorers, state_paths

    require_results(output, *state_paths(output).values())
    console = Console()
    wanted = SpectrumFilter(
        ion_mode=ion_mode,
        adducts=canonical_adducts(adducts),
        instrument_types=instrument_types,
        excluded=read_excluded(exclude),
    )
    scorers = fit_scorers(
        Files(spectra, structures, output, start, average, beside_library, together),
        wanted,
        Draws(compounds, decoys, spectra_per_compound, ppm, validation, seed, contaminated),
        FragmentFit(n_passes=passes, learning_rate=rate),
        jobs,
        console,
    )
    console.log(f"{output}: {', '.join(sorted(scorers))}")
