"""`specvae bench supervision`: retrieval against the share of pairs, with and without unpaired."""

from __future__ import annotations

from pathlib import Path

import click

from specvae.cli.console import Console, verbosity
from specvae.cli.defaults import settings_options
from specvae.cli.help import Choice, Command
from specvae.cli.options import INPUT, NumberRange, WholeRange, device_option, jobs_option
from specvae_bench.folds.options import FoldFiles, fold_options
from specvae_bench.options import output_option, require_results_folder, seed_option, title_option
from specvae_bench.supervision.plan import LEARNERS, LEVELS, UNPAIRED, listing, planned

RESULT = "supervision.json"
FILES = (RESULT, "table.md", "supervision.png")


@click.command(cls=Command, epilog=f"\b\nLearners:\n{listing()}")
@fold_options
@click.option(
    "--unpaired-molecules",
    "molecules",
    type=INPUT,
    multiple=True,
    help="Structures without spectra: .smi .csv .tsv (repeatable).",
)
@click.option(
    "--n-molecules",
    type=WholeRange(min=1),
    default=40_000,
    show_default=True,
    help="How many of them are drawn.",
)
@click.option(
    "--learner",
    "learners",
    type=Choice(list(LEARNERS)),
    multiple=True,
    metavar="NAME",
    help="Train this one of the list below (repeatable).  [default: all]",
)
@click.option(
    "--level",
    "levels",
    type=NumberRange(min=0.0, min_open=True, max=1.0),
    multiple=True,
    help="Share of the pairs that keep their structure (repeatable).  "
    f"[default: {' '.join(f'{level:g}' for level in LEVELS)}]",
)
@click.option(
    "--unpaired",
    type=Choice(UNPAIRED),
    multiple=True,
    help="What is learned from beside the pairs (repeatable): spectra of the other pairs, "
    "structures of --unpaired-molecules.  [default: none and both; without structures none and "
    "spectra]",
)
@click.option(
    "--steps",
    type=WholeRange(min=1),
    default=500,
    show_default=True,
    help="Steps of each training, in batches of at most 256 of each kind of example.",
)
@click.option("--amp", is_flag=True, help="Matrix products in bfloat16; not of plain-network.")
@title_option
@jobs_option
@seed_option("Seed of draws, training and intervals.")
@output_option("supervision", "Folder for the trainings and their summary.")
@device_option
@settings_options
@verbosity
def supervision(
    files: FoldFiles,
    molecules: tuple[Path, ...],
    n_molecules: int,
    learners: tuple[str, ...],
    levels: tuple[float, ...],
    unpaired: tuple[str, ...],
    steps: int,
    amp: bool,
    title: str | None,
    jobs: int | None,
    seed: int,
    output: Path,
    device: str,
) -> None:
    """Train with few pairs, with and without unpaired examples, and rank.

    --data is a folder that 'bench holdout --structures' has written. Only a share of the library's
    pairs keep their structures. The spectra of the others, and structures without spectra, are
    used as unpaired examples or left out. All trainings take the same number of steps and rank by
    the predicted fingerprint alone. Each is validated up to five times, and the best weights are
    kept; validation compounds keep their structures at all levels.

    Writes runs/NAME.json for each training, and supervision.json, table.md and supervision.png for
    all trainings in the folder. A finished training is not repeated, so the command can be stopped
    and run again, with more learners or levels too, and several of them can run at once.

    \b
    Example:
      specvae bench supervision --data fold --spectra mona.msp \\
          --unpaired-molecules structures.tsv -o supervision
    """
    require_results_folder(output, FILES)

    unpaired = unpaired or (("none", "both") if molecules else ("none", "spectra"))
    if not molecules and {"molecules", "both"} & set(unpaired):
        raise click.UsageError(
            "--unpaired molecules and both need --unpaired-molecules: a file of structures"
        )
    runs = planned(
        [name for name in LEARNERS if name in (learners or LEARNERS)], levels or LEVELS, unpaired
    )
    if not runs:
        raise click.UsageError(
            "nothing to train: plain-network learns from pairs only, and at level 1 no other "
            "spectra are left"
        )

    from specvae_bench.files import made_by, write_result, write_tables
    from specvae_bench.supervision.comparison import Settings, compare
    from specvae_bench.supervision.report import draw, markdown_table

    settings = Settings(molecules, n_molecules, steps, seed, amp, device, jobs)
    result = {
        **made_by("supervision"),
        **compare(files, runs, settings, output, Console()),
    }
    write_result(output / RESULT, result)
    draw(result["runs"], output / "supervision.png", title or files.data.name)
    write_tables(output, markdown_table(result))
