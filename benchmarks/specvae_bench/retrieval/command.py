"""`specvae bench retrieval`: methods of ranking, all on the same queries and candidates."""

from __future__ import annotations

from pathlib import Path

import click

from specvae.cli.console import Console, verbosity
from specvae.cli.defaults import settings_options
from specvae.cli.help import Choice, Command
from specvae.cli.options import WholeRange, device_option, jobs_option
from specvae_bench.folds.options import FoldFiles, fold_options
from specvae_bench.options import (
    model_files,
    models_option,
    output_option,
    require_results_folder,
    seed_option,
    title_option,
)
from specvae_bench.retrieval.methods import ALL, METHODS, Options, chosen_methods, listing

FILES = ("retrieval.json", "table.md", "topk.png", "topk-formula.png", "falloff.png")


@click.command(cls=Command, epilog=f"\b\nMethods:\n{listing()}")
@fold_options
@models_option("Trained model (repeatable).")
@click.option(
    "--method",
    "methods",
    type=Choice([*METHODS, ALL]),
    multiple=True,
    metavar="NAME",
    help="Compare this method of the list below, or 'all' (repeatable).  [default: those that "
    "train nothing]",
)
@click.option(
    "--steps",
    type=WholeRange(min=1),
    default=Options().steps,
    show_default=True,
    help="Steps of training, in batches of 256 spectra, for the methods that train.",
)
@title_option
@jobs_option
@seed_option("Seed of intervals and training.")
@output_option("retrieval", "Folder for figures and plots.")
@device_option
@settings_options
@verbosity
def retrieval(
    files: FoldFiles,
    models: tuple[Path, ...],
    methods: tuple[str, ...],
    steps: int,
    title: str | None,
    jobs: int | None,
    seed: int,
    output: Path,
    device: str,
) -> None:
    """Compare methods of ranking on the same queries and candidates.

    --data is a folder that 'bench holdout --structures' has written, or a contest's folder as for
    'bench casmi2017'. The methods are those of the list below and each model: blind, by its
    predicted fingerprint, by everything that 'annotate' ranks by, and by the fingerprint together
    with the sum of 30 of the analogues. Each ranks twice: among all candidates, and among those
    with the truth's formula. --ion-mode and --adduct also select queries. Compounds of the fold are
    never in the library; a model that has learned from them is warned of.

    Writes retrieval.json, table.md, topk.png, topk-formula.png and falloff.png.

    \b
    Example:
      specvae bench holdout --spectra mona.msp --structures structures.tsv -o fold
      specvae train --spectra mona.msp --exclude fold/truth.csv -o svae
      specvae bench retrieval --data fold --spectra mona.msp --model svae
      specvae bench retrieval --data fold --spectra mona.msp --method all
    """
    require_results_folder(output, FILES)
    paths = model_files(models)

    from specvae_bench.files import made_by, write_result, write_tables
    from specvae_bench.retrieval.report import draw, markdown_tables
    from specvae_bench.retrieval.run import compare

    console = Console()
    chosen = chosen_methods(methods)
    if not methods and len(chosen) < len([m for m in METHODS.values() if not m.trains]):
        console.log("note: matchms is not installed; its similarities are left out")
    options = Options(steps, seed, device)
    result = {
        **made_by("retrieval"),
        **compare(files, chosen, paths, options, jobs, output, console),
    }
    write_result(output / "retrieval.json", result)
    draw(result, output, title or files.data.name)
    write_tables(output, markdown_tables(result))
