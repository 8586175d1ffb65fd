"""`specvae bench retrieval`: methods of ranking, all on the same queries and candidates."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from specvae.cli.console import Console, verbosity
from specvae.cli.defaults import settings_options
from specvae.cli.options import INPUT, device_option, jobs_option, model_file
from specvae.cli.outputs import require_writable
from specvae_bench.folds.options import FoldFiles, fold_options
from specvae_bench.retrieval.methods import ALL, METHODS, Options, chosen_methods, listing


@click.command(epilog=f"\b\nMethods:\n{listing()}")
@fold_options
@click.option("--model", "models", type=INPUT, multiple=True, help="Trained model (repeatable).")
@click.option(
    "--method",
    "methods",
    type=click.Choice([*METHODS, ALL]),
    multiple=True,
    metavar="NAME",
    help="Compare this method of the list below, or 'all' (repeatable).  [default: those that "
    "train nothing]",
)
@click.option(
    "--steps",
    type=click.IntRange(min=1),
    default=Options().steps,
    show_default=True,
    help="Of training, in batches of 256 spectra, for the methods that train.",
)
@click.option("--title", default=None, help="Of the plot.  [default: the folder's name]")
@jobs_option
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Of intervals and training.",
)
@click.option("-o", "--output", type=INPUT, default=Path("retrieval"), show_default=True)
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

    DATA is a folder as 'bench holdout --structures' writes it, or of a contest as 'bench casmi2017'
    takes it. Methods: those of the list below, and each model, blind, alone and together with the
    sum of 30. All of it twice: among all candidates, and among those of the truth's formula.
    --ion-mode and --adduct select queries too. Compounds of the fold are never in the library.

    Writes retrieval.json, table.md, topk.png, topk-formula.png and falloff.png.

    \b
    Example:
      specvae bench holdout --spectra mona.msp --structures structures.tsv -o fold
      specvae train --spectra mona.msp --exclude fold/truth.csv -o svae
      specvae bench retrieval --data fold --spectra mona.msp --model svae
      specvae bench retrieval --data fold --spectra mona.msp --method all
    """
    paths = {path.name or str(path): model_file(path) for path in models}
    if len(paths) < len(models):
        raise click.UsageError("two models have the same folder name; rename one")
    require_writable(output / "retrieval.json")

    from specvae.files import atomic_text
    from specvae_bench.files import write_result
    from specvae_bench.folds.fold import read_fold
    from specvae_bench.retrieval.comparison import Comparison
    from specvae_bench.retrieval.falloff import falloff, nearest_likeness
    from specvae_bench.retrieval.report import (
        TRACKS,
        best_peer,
        draw,
        figures,
        markdown_tables,
        paired,
    )

    console = Console()
    chosen = chosen_methods(methods)
    if not methods and len(chosen) < len([m for m in METHODS.values() if not m.trains]):
        console.log("note: matchms is not installed; its similarities are left out")
    fold = read_fold(files, output, console)
    comparison = Comparison(fold.problems, fold.known, jobs, console)
    comparison.steps["reading the library"] = fold.reading_seconds
    options = Options(steps, seed, device)
    for name in chosen:
        METHODS[name].add(comparison, options)
    peers = comparison.methods
    described = {name: comparison.add_model(name, path, device) for name, path in paths.items()}
    ranks = {track: comparison.ranks(track) for track in TRACKS}
    tracks = {track: figures(comparison, found, seed) for track, found in ranks.items()}
    differences: dict[str, dict[str, Any]] = {}
    for track, found in ranks.items():
        rival = best_peer(tracks[track], peers)
        differences[track] = {"best_peer": paired(found, rival, seed)}
        if described:
            differences[track]["first_model"] = paired(found, next(iter(described)), seed)
    result: dict[str, Any] = {
        "command": "specvae bench retrieval",
        "date": time.strftime("%Y-%m-%d"),
        **fold.described,
        "methods": chosen,
        "training_steps": steps,
        "models": described,
        "ppm": files.ppm,
        "seed": seed,
        "seconds": comparison.steps,
        "tracks": tracks,
        "paired": differences,
        "falloff": falloff(nearest_likeness(fold.problems, fold.known), ranks),
    }
    draw(result, output, title or files.data.name)
    write_result(output / "retrieval.json", result)
    table = markdown_tables(result)
    with atomic_text(output / "table.md") as stream:
        stream.write(table)
    click.echo(table, nl=False)
