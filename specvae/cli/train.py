"""`specvae train`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from specvae.cli.console import Console, verbosity
from specvae.cli.help import Choice, Command
from specvae.cli.options import (
    INPUT,
    INPUT_FILE,
    INPUT_TABLE,
    NumberRange,
    WholeRange,
    device_option,
    jobs_option,
    library_filter_options,
    strict_option,
)
from specvae.cli.outputs import require_paths
from specvae.vae.kinds import MODEL_KINDS

if TYPE_CHECKING:
    from specvae.annotation.training.settings import TrainConfig


_SETTINGS = {
    "preset": "preset",
    "fingerprint": "fingerprint",
    "seed": "seed",
    "supervision": "supervision",
    "model_kind": "model.kind",
    "epochs": "optim.epochs",
    "ion_mode": "filter.ion_mode",
    "adducts": "filter.adducts",
    "instrument_types": "filter.instrument_types",
}
"""Settings, by the options that set them."""


@click.command(cls=Command)
@click.option(
    "--spectra",
    type=INPUT_FILE,
    multiple=True,
    required=True,
    help="Spectral library with structures: .msp .mgf .mzML .mzXML or "
    "MassBank records, also compressed (repeatable).",
)
@click.option(
    "-o",
    "--output",
    type=INPUT,
    default=Path("specvae-model"),
    show_default=True,
    help="Folder for the model and the record of its training.",
)
@click.option(
    "--unpaired-spectra",
    type=INPUT_FILE,
    multiple=True,
    help="Spectra without structures to learn from (repeatable).",
)
@click.option(
    "--unpaired-molecules",
    type=INPUT_TABLE,
    multiple=True,
    help="Structures without spectra to learn from: .smi .csv .tsv or a pool .h5 (repeatable).",
)
@click.option(
    "--structures",
    type=INPUT_TABLE,
    default=None,
    help="Table or pool (.h5) of structures like those that you will search. The weights of the "
    "evidence and the probabilities are fitted to validation compounds among them too.  [default: "
    "as fitted to MassBank]",
)
@click.option(
    "--fragment-score",
    type=INPUT,
    default=None,
    metavar="FILE",
    help="Weights of the fragment score that the model keeps, by 'specvae bench fragments'.  "
    "[default: as fitted to MassBank]",
)
@click.option(
    "--model-kind",
    type=Choice(tuple(MODEL_KINDS)),
    default=None,
    help="Posteriors and objective; see 'specvae docs models'.  [default: svae]",
)
@click.option(
    "--preset",
    type=Choice(["small", "paper"]),
    default=None,
    help="small: minutes on a laptop's CPU; paper: the paper's networks, 0.5 billion parameters, "
    "for a GPU.  [default: small]",
)
@click.option(
    "--fingerprint",
    metavar="LAYOUT",
    default=None,
    help="svae2149, morgan4096 or mixed2149.  [default: mixed2149; svae2149 in preset paper]",
)
@library_filter_options
@click.option(
    "--exclude",
    type=INPUT_FILE,
    multiple=True,
    help="Leave out compounds whose InChIKey first block is in this .csv .txt .mgf or .msp "
    "(repeatable).",
)
@click.option(
    "--supervision",
    type=NumberRange(min=0.0, min_open=True, max=1.0),
    default=None,
    help="Share of pairs that stay paired; the others are used as unpaired.  [default: 1.0]",
)
@click.option(
    "--epochs",
    type=WholeRange(min=1),
    default=None,
    help="Passes over the data.  [default: by the size of the library, 15 to 100]",
)
@click.option(
    "--seed",
    type=WholeRange(min=0),
    default=None,
    help="Seed of everything random.  [default: 0]",
)
@click.option(
    "--config",
    "config_file",
    type=INPUT,
    default=None,
    help="TOML file of settings; options and --set override it.",
)
@click.option(
    "--set",
    "assignments",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change one setting, e.g. optim.learning_rate=3e-4 (repeatable); "
    "'specvae docs settings' lists them.",
)
@click.option("--resume", is_flag=True, help="Continue from the state in the folder.")
@click.option("--force", is_flag=True, help="Replace the model in the folder.")
@click.option(
    "--state-every",
    type=NumberRange(min=0.0),
    default=5.0,
    show_default=True,
    metavar="MINUTES",
    help="Shortest time between two writes of the state for --resume; 0: write it after each "
    "epoch. It is always written after the last epoch.",
)
@click.option(
    "--keep-state",
    is_flag=True,
    help="Keep the state when the run has finished, to continue with more epochs, where "
    "optim.schedule is constant and optim.warmup 0: otherwise the learning rate of each epoch "
    "depends on their number.",
)
@jobs_option
@strict_option
@device_option
@verbosity
def train(
    spectra: tuple[Path, ...],
    output: Path,
    unpaired_spectra: tuple[Path, ...],
    unpaired_molecules: tuple[Path, ...],
    structures: Path | None,
    fragment_score: Path | None,
    exclude: tuple[Path, ...],
    config_file: Path | None,
    assignments: tuple[str, ...],
    resume: bool,
    force: bool,
    state_every: float,
    keep_state: bool,
    jobs: int | None,
    strict: bool,
    device: str,
    **options: Any,  # noqa: ANN401 (those of `_SETTINGS`)
) -> None:
    """Train a model on a spectral library.

    Writes to the output folder: model.safetensors, epochs.jsonl, split.csv (InChIKey first block
    and fold), skipped.csv (every record that was not used, with its reason) and training.png.

    \b
    Example:
      specvae train --spectra mona.msp --ion-mode positive --adduct "[M+H]+" \\
          --exclude truth.csv -o specvae-model
      torchrun --nproc-per-node 2 --no-python specvae train --spectra mona.msp
    """
    if resume and force:
        raise click.UsageError("--resume continues a training and --force starts anew.")

    from specvae.annotation.training.run_files import (
        FILES,
        MODEL_FILE,
        SKIPPED_FILE,
        TrainFiles,
        require_files,
        require_free,
    )
    from specvae.progress import Silence

    files = TrainFiles(
        spectra,
        output,
        unpaired_spectra,
        unpaired_molecules,
        exclude,
        structures,
        fragment_score,
    )
    # Checked before hours of work, not after them.
    require_free(output, resume=resume, force=force)
    require_paths(
        {**files.inputs, "--config": config_file},
        {"--output": [output / name for name in FILES]},
        must_exist=False,
    )
    require_files(files)
    config = _config(config_file, assignments, options)

    from specvae.annotation.training.run import train as run
    from specvae.vae.parallel import started_by_torchrun

    # If torchrun started several processes, only one prints.
    is_first = started_by_torchrun().is_first
    progress = Console() if is_first else Silence()
    header = run(
        config,
        files,
        device=device,
        resume=resume,
        force=force,
        state_every=60.0 * state_every,
        keep_state=keep_state,
        strict=strict,
        n_jobs=jobs,
        progress=progress,
    )
    if not is_first:
        return
    if header.provenance.skipped:
        progress.log(f"what was skipped: {output / SKIPPED_FILE}")
    took = ", ".join(f"{step} {seconds:.0f} s" for step, seconds in header.seconds.items())
    progress.log(f"took: {took}")
    click.echo(f"model: {output / MODEL_FILE}")


def _config(
    config_file: Path | None, assignments: Sequence[str], options: Mapping[str, Any]
) -> TrainConfig:
    """Return the settings of a run: those of a file, overridden by options, then by ``--set``."""
    from specvae.annotation.training.settings import preset_config
    from specvae.settings import override, parse_assignments, read_toml

    values = read_toml(config_file) if config_file else {}
    for option, setting in _SETTINGS.items():
        if options[option] not in (None, ()):
            values[setting] = options[option]
    values |= parse_assignments(assignments)
    # The preset is applied first, and some of its settings depend on the kind; both may be set in
    # any of these places.
    start = preset_config(str(values.get("preset", "small")), str(values.get("model.kind", "svae")))
    return override(start, values)
