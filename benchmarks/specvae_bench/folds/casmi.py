"""`specvae bench casmi2017`: figure 11 D, the share of challenges with the truth in the top k."""

from __future__ import annotations

from pathlib import Path

import click

from specvae.cli.console import Console, verbosity
from specvae.cli.defaults import settings_options
from specvae.cli.help import Choice, Command
from specvae.cli.options import INPUT, WholeRange, device_option, jobs_option, rank_by_option
from specvae_bench.options import (
    model_files,
    models_option,
    output_option,
    require_results_folder,
    require_unused,
    seed_option,
)

# Options of the models that are trained where none is given.
_OF_TRAINING = ("spectra", "preset", "fingerprint", "epochs", "exclude")
FILES = ("result.json", "table.md", "topk.png")


@click.command(cls=Command)
@click.option("--data", type=INPUT, required=True, help="Folder of the contest's files.")
@models_option("Trained model (repeatable); without it, SVAE and VAEVAE are trained.")
@click.option(
    "--spectra",
    type=INPUT,
    multiple=True,
    help="Library to train on where no model is given (repeatable).",
)
@click.option(
    "--preset",
    type=Choice(["small", "paper"]),
    default="small",
    show_default=True,
    help="Preset of the models to train.",
)
@click.option(
    "--fingerprint", default=None, metavar="LAYOUT", help="Layout of the models to train."
)
@click.option(
    "--epochs", type=WholeRange(min=1), default=None, help="Epochs of the models to train."
)
@click.option(
    "--ion-mode",
    type=Choice(["positive", "negative"]),
    default="positive",
    show_default=True,
    help="Challenges of this ion mode.",
)
@rank_by_option
@click.option(
    "--exclude",
    type=INPUT,
    multiple=True,
    help="Compounds, beside the contest's, that models trained here do not learn from "
    "(repeatable).",
)
@click.option(
    "--title", default=None, help="Title of the plot.  [default: the contest, and the ion mode]"
)
@jobs_option
@seed_option("Seed of training and intervals.")
@output_option("casmi2017", "Folder for models, figures and merged files.")
@device_option
@settings_options
@verbosity
def casmi2017(
    data: Path,
    models: tuple[Path, ...],
    spectra: tuple[Path, ...],
    preset: str,
    fingerprint: str | None,
    epochs: int | None,
    ion_mode: str,
    rank_by: str,
    exclude: tuple[Path, ...],
    title: str | None,
    jobs: int | None,
    seed: int,
    output: Path,
    device: str,
) -> None:
    """Rank the candidates of CASMI 2017's challenges: figure 11 D of Kutuzova et al.

    DATA is a folder with the merged files (queries.mgf, candidates.csv, truth.csv or
    solutions.csv) or with the contest's own: one MGF per challenge, loose, in raw_mgf/ or in
    raw_mgf.zip, solutions.csv, and one candidate CSV per challenge, loose or in candidates/. An
    empty precursor is filled from the solutions, the ion mode is theirs. The 2016 contest's files
    work too. Models trained here never see a compound of the contest.

    Writes result.json, table.md and topk.png, and the merged queries, candidates and truth.

    \b
    Example:
      specvae bench casmi2017 --data casmi/2017 --spectra mona.msp -o fig11d
      specvae bench casmi2017 --data casmi/2017 --model svae --model vaevae -o fig11d
    """
    if not models and not spectra:
        raise click.UsageError("name trained models with --model, or a library with --spectra")
    require_results_folder(output, FILES)
    if models:
        require_unused(_OF_TRAINING, "is for models that are trained here, not for a --model")
    paths = model_files(models)

    from specvae_bench.files import made_by, write_result, write_tables
    from specvae_bench.folds import topk
    from specvae_bench.folds.contest import prepare

    console = Console()
    compute = topk.Compute(device, jobs, seed, fingerprint_only=rank_by == "fingerprint")
    challenges = prepare(data, output, console.log)
    if not paths:
        trainings = topk.Trainings(spectra, exclude, preset, fingerprint, epochs)
        paths = topk.train_models(trainings, challenges, ion_mode, output, compute, console)
    found = topk.compare(paths, challenges, ion_mode, compute, console)
    n_ranked = found.pop("n")
    result = {
        **made_by("casmi2017"),
        "ion_mode": ion_mode,
        "rank_by": rank_by,
        "seed": seed,
        **found,
    }
    write_result(output / "result.json", result)
    topk.draw(found, output / "topk.png", title or f"CASMI challenges, {ion_mode} mode", n_ranked)
    write_tables(output, topk.markdown_table(found["models"]))
