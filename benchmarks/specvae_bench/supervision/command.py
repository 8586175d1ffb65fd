"""`specvae bench supervision`: retrieval against the share of pairs, with and without unpaired."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from specvae.cli.console import Console, verbosity
from specvae.cli.defaults import settings_options
from specvae.cli.options import INPUT, NumberRange, device_option, jobs_option
from specvae.cli.outputs import require_writable
from specvae.errors import InputError
from specvae.files import json_ready
from specvae_bench.folds.options import FoldFiles, fold_options
from specvae_bench.supervision.plan import LEARNERS, LEVELS, UNPAIRED, Run, listing, planned

RESULT = "supervision.json"
_RUNS = "runs"


@click.command(epilog=f"\b\nLearners:\n{listing()}")
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
    type=click.IntRange(min=1),
    default=40_000,
    show_default=True,
    help="How many of them are drawn.",
)
@click.option(
    "--learner",
    "learners",
    type=click.Choice(list(LEARNERS)),
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
    type=click.Choice(UNPAIRED),
    multiple=True,
    help="What is learned from beside the pairs (repeatable): spectra of the other pairs, "
    "structures of --unpaired-molecules.  [default: none and both; without structures none and "
    "spectra]",
)
@click.option(
    "--steps",
    type=click.IntRange(min=1),
    default=500,
    show_default=True,
    help="Of each training, in batches of at most 256 of each kind of example.",
)
@click.option("--amp", is_flag=True, help="Matrix products in bfloat16; not of plain-network.")
@click.option("--title", default=None, help="Of the plot.  [default: the folder's name]")
@jobs_option
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Of draws, training and intervals.",
)
@click.option(
    "-o",
    "--output",
    type=INPUT,
    default=Path("supervision"),
    show_default=True,
    help="Folder for the trainings and their summary.",
)
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

    --data is a folder as 'bench holdout --structures' writes it. Only a share of the library's
    pairs keep their structures; the spectra of the others, and structures without spectra, are
    learned from unpaired or not at all. All rank by the predicted fingerprint alone, all take the
    same number of steps, and the best of five moments by the validation compounds counts; these
    keep their structures at all levels.

    Writes runs/NAME.json for each training, and supervision.json, table.md and supervision.png
    of all that stand there. What stands there is not trained again: the command can be broken off
    and given again, with more learners or levels too, and run several times at once.

    \b
    Example:
      specvae bench supervision --data fold --spectra mona.msp \\
          --unpaired-molecules structures.tsv -o supervision
    """
    require_writable(output / RESULT)

    from specvae.files import atomic_text, sha256_of
    from specvae_bench.files import write_result
    from specvae_bench.folds.fold import read_fold
    from specvae_bench.retrieval.comparison import Comparison
    from specvae_bench.retrieval.methods import Options
    from specvae_bench.supervision.report import draw, gains, markdown_table, with_figures
    from specvae_bench.supervision.trainings import carry_out, gather

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
    structures = [{"name": path.name, "sha256": sha256_of(path)} for path in molecules]
    console = Console()
    fold = read_fold(files, output, console)
    settings = {
        **fold.described,
        "unpaired_molecules": {"files": structures, "n_wanted": n_molecules},
        "steps": steps,
        "amp": amp,
        "ppm": files.ppm,
        "seed": seed,
    }
    folder = output / _RUNS
    done = _finished(folder, settings)
    if not done.keys() >= set(runs):
        comparison = Comparison(fold.problems, fold.known, jobs, console)
        material = gather(fold, molecules, n_molecules, comparison, seed, jobs)
        options = Options(steps, seed, device)
        for number, run in enumerate(runs, start=1):
            path = folder / f"{run.name}.json"
            if path.exists():
                continue
            outcome = carry_out(run, material, options, amp=amp)
            record = with_figures(run, outcome.ranks, outcome.described, seed)
            write_result(path, {"settings": settings, "run": record})
            console.log(
                f"{number}/{len(runs)} {run.name}: hit@1 {record['hit_at_1']:.1%}, validation MRR "
                f"{record['validation_mrr']:.3f}, {record['seconds']:.0f} s"
            )
        done = _finished(folder, settings)
    result: dict[str, Any] = {
        "command": "specvae bench supervision",
        "date": time.strftime("%Y-%m-%d"),
        **settings,
        "gains": gains(list(done.values()), seed),
        "runs": [_without_queries(record) for record in done.values()],
    }
    write_result(output / RESULT, result)
    draw(result["runs"], output / "supervision.png", title or files.data.name)
    table = markdown_table(result)
    with atomic_text(output / "table.md") as stream:
        stream.write(table)
    click.echo(table, nl=False)


def _finished(folder: Path, settings: Mapping[str, Any]) -> dict[Run, dict[str, Any]]:
    """Return the records of all finished trainings of a folder.

    Raises
    ------
    InputError
        If one was made with other settings, or a file is damaged.
    """
    # As they come back from JSON.
    wanted = json.loads(json.dumps(json_ready(settings)))
    found = {}
    for path in sorted(folder.glob("*.json")):
        try:
            kept = json.loads(path.read_text(encoding="utf-8"))
            other = sorted(key for key in wanted if kept["settings"][key] != wanted[key])
            record = kept["run"]
            run = Run(record["learner"], record["level"], record["unpaired"])
            if run.name != path.stem or not record["queries"]["hit_at_1"]:
                raise ValueError(f"its record is one of {run.name}")
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path}: not a finished training ({error}); remove it") from None
        if other:
            raise InputError(
                f"{path}: made with other values of {', '.join(other)}; remove it, or give another "
                "--output"
            )
        found[run] = record
    return found


def _without_queries(record: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in record.items() if key != "queries"}
