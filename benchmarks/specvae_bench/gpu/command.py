"""`specvae bench gpu`: everything that wants a GPU, within a time."""

from __future__ import annotations

import json
import math
import multiprocessing
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from specvae.cli.console import Console, verbosity
from specvae.cli.defaults import settings_options
from specvae.cli.help import Choice, Command
from specvae.cli.options import INPUT, NumberRange, WholeRange, library_filter_options
from specvae.counting import counted
from specvae.errors import ConfigError, InputError, TrainingError
from specvae_bench.options import (
    exclude_option,
    require_own_names,
    require_results,
    require_results_folder,
)

if TYPE_CHECKING:
    from specvae_bench.gpu.plan import Plan

# A step stops by itself at its limit; so many seconds later it is ended by force.
_SECONDS_TO_STOP = 40.0
# Below this, no step is worth its start.
_FEWEST_SECONDS = 8.0


@click.command(cls=Command)
@click.option(
    "--budget",
    type=NumberRange(min=0.0, min_open=True),
    default=600.0,
    show_default=True,
    help="Seconds for all steps together.",
)
@click.option(
    "--device",
    type=Choice(["cuda", "cpu"]),
    default="cuda",
    show_default=True,
    help="Device that is measured; cpu is for a trial.",
)
@click.option("--data", type=INPUT, default=None, help="Folder of MNIST's four files.")
@click.option(
    "--prepared", type=INPUT, default=None, help="File of encoded spectra, made by --prepare."
)
@click.option(
    "-o",
    "--output",
    type=INPUT,
    required=True,
    help="Folder of the results; of --prepare, a file.",
)
@click.option(
    "--step",
    "steps",
    multiple=True,
    metavar="NAME[+NAME][=SECONDS]",
    help="Only this step (repeatable), with a limit of its own; steps on digits joined by + run "
    "side by side.  [default: all, in order, but those that lack --data or --prepared]",
)
@click.option("--again", is_flag=True, help="Also run steps that are done.")
@click.option(
    "--keep-state",
    is_flag=True,
    help="Keep the state of the networks on spectra, gigabytes, so that they can go on.",
)
@click.option("--amp", is_flag=True, help="Train on spectra with products in bfloat16.")
@click.option(
    "--kind",
    "kinds",
    multiple=True,
    metavar="[STEP:]KIND",
    help="Train only this model kind on digits, in all steps or one (repeatable).  [default: all, "
    "side by side]",
)
@click.option(
    "--epochs",
    type=WholeRange(min=1),
    default=None,
    help="Epochs of each training, for a trial.",
)
@click.option("--limit", type=WholeRange(min=1), default=None, help="Examples to use, for a trial.")
@click.option("--oracle-epochs", type=WholeRange(min=1), default=None, help="Epochs of the oracle.")
@click.option(
    "--prepare", "preparing", is_flag=True, help="Write the file of encoded spectra; needs rdkit."
)
@click.option(
    "--finish",
    "finishing",
    is_flag=True,
    help="Rank the folds' candidates by what was predicted, for queries of --ion-mode, else of "
    "positive ions; needs rdkit.",
)
@click.option("--spectra", type=INPUT, multiple=True, help="Library to prepare (repeatable).")
@click.option(
    "--fold",
    "folds",
    type=INPUT,
    multiple=True,
    help="Folder of queries, truth and candidates, kept out of the library (repeatable).",
)
@exclude_option
@library_filter_options
@settings_options
@verbosity
def gpu(
    budget: float,
    device: str,
    data: Path | None,
    prepared: Path | None,
    output: Path,
    steps: tuple[str, ...],
    again: bool,
    keep_state: bool,
    amp: bool,
    kinds: tuple[str, ...],
    epochs: int | None,
    limit: int | None,
    oracle_epochs: int | None,
    preparing: bool,
    finishing: bool,
    spectra: tuple[Path, ...],
    folds: tuple[Path, ...],
    exclude: tuple[Path, ...],
    ion_mode: str | None,
    adducts: tuple[str, ...],
    instrument_types: tuple[str, ...],
) -> None:
    """Measure on a GPU within a time limit: equality with the CPU, speed, the paper's runs.

    Needs no more than torch, numpy, h5py, click, safetensors and matplotlib. Each step has a limit
    and a file of its own in the folder; a second call continues where the first stopped. The exit
    code is 1 if a step ended in an error, not if time ran out.

    \b
    Example:
      specvae bench gpu --prepare --spectra lib.msp --fold fold --adduct "[M+H]+" -o spectra.npz
      specvae bench gpu --budget 600 --data mnist --prepared spectra.npz -o gpu
      specvae bench gpu --finish --fold fold -o gpu
    """
    console = Console()
    if preparing or finishing:
        require_own_names(folds, "folds")
    if preparing:
        if not spectra:
            raise click.UsageError("--prepare needs a library, --spectra")
        require_results(output)
        from specvae_bench.gpu.prepare import prepare

        made = prepare(
            spectra, folds, exclude, ion_mode=ion_mode, adducts=adducts,
            instrument_types=instrument_types, output=output, console=console,
        )  # fmt: skip
        size = output.stat().st_size / 1e6
        click.echo(f"{output}: {counted(len(made.train), 'spectra')} to learn from, {size:.1f} MB")
        return
    if finishing:
        if not folds:
            raise click.UsageError("--finish needs the folds that went along, --fold")
        require_results_folder(output, ["hits.md", *(f"hits-{fold.name}.json" for fold in folds)])
        from specvae_bench.gpu.finish import finish

        click.echo(finish(output, folds, console, ion_mode or "positive"), nl=False)
        return
    limits = _limits(steps)
    from specvae.vae.device import pick_device
    from specvae_bench.gpu.plan import Plan
    from specvae_bench.gpu.steps import parts, require_kinds

    try:
        require_kinds(kinds)
    except ConfigError as error:
        raise click.UsageError(f"--kind {error}") from None
    require_results_folder(output, [f"{part}.json" for name in limits for part in parts(name)])

    plan = Plan(
        output, device, data, prepared, epochs, limit, oracle_epochs, keep_state, amp, kinds
    )
    pick_device(device)  # if there is none, that is said at once
    if not again:
        _require_alike(plan, limits)
    output.mkdir(parents=True, exist_ok=True)
    failed = run_all(plan, budget, limits, again, console)
    if failed:
        raise TrainingError(f"{output}: not done for an error: {', '.join(failed)}; see above")


def _require_alike(plan: Plan, names: Iterable[str]) -> None:
    """Refuse a folder whose results are of other examples, or of training with other products.

    Raises
    ------
    InputError
        Naming the result.
    """
    from specvae_bench.gpu.steps import parts

    for part in dict.fromkeys(part for name in names for part in parts(name)):
        path = plan.output / f"{part}.json"
        found = _read(path)
        limit = found.get("trial", {}).get("limit", plan.limit)
        if limit != plan.limit:
            whose = "of all examples" if limit is None else f"of a trial, --limit {limit}"
            raise InputError(f"{path}: {whose}; wanted another folder (-o), or --again")
        if "n_training_spectra" in found and found["optim"]["amp"] != plan.bfloat16:
            whose = "without" if plan.bfloat16 else "with"
            raise InputError(f"{path}: {whose} --amp; wanted another folder (-o), or --again")


def _limits(steps: Sequence[str]) -> dict[str, float]:
    """Return step -> its limit in seconds, of all steps if none is named."""
    from specvae_bench.gpu.steps import STEPS, parts

    limits = {}
    for text in steps:
        name, _, seconds = text.partition("=")
        try:
            default = sum(STEPS[part].seconds for part in parts(name))
        except ConfigError as error:
            raise click.UsageError(f"--step {error}") from None
        try:
            limits[name] = float(seconds) if seconds else default
        except ValueError:
            raise click.UsageError(f"--step {text}: {seconds!r} is no number") from None
        if not 0.0 < limits[name] < math.inf:
            raise click.UsageError(f"--step {text}: wanted a finite number of seconds above 0")
    return limits or {name: step.seconds for name, step in STEPS.items()}


def run_all(
    plan: Plan, budget: float, limits: Mapping[str, float], again: bool, console: Console
) -> list[str]:
    """Run steps one after the other, each in a process of its own, until the time is up.

    Parameters
    ----------
    plan
        What the steps are given.
    budget
        Seconds for all together.
    limits
        Step -> its own limit in seconds.
    again
        Also those that are done.
    console
        Where progress is shown.

    Returns
    -------
    list
        The steps that an error has ended.
    """
    from specvae_bench.gpu.steps import parts, run_step

    failed = []
    end = time.monotonic() + budget
    for wanted, limit in limits.items():
        left = end - time.monotonic()
        name = "+".join(_undone(wanted, plan, again, console))
        if not name:
            continue
        if left - _SECONDS_TO_STOP < _FEWEST_SECONDS:
            console.log(f"{name}: no time left")
        else:
            seconds = min(limit, left - _SECONDS_TO_STOP)
            process = multiprocessing.get_context("spawn").Process(
                target=run_step, args=(name, plan, seconds)
            )
            started = time.monotonic()
            process.start()
            try:
                process.join(seconds + _SECONDS_TO_STOP)
                if process.is_alive():
                    console.log(f"{name}: ended by force")
            finally:  # also where this process is interrupted, which would wait for the other
                _end(process)
            for part in parts(name):
                found = _read(plan.output / f"{part}.json")
                error = found.get("error", "")
                if error:
                    failed.append(part)
                outcome = "done" if found.get("done") else "not done"
                after = f"{time.monotonic() - started:.0f} s"
                console.log(f"{part}: {outcome} after {after}{error and f': {error}'}")
                for line in _summary(part, found):
                    click.echo(line)
    return failed


def _end(process: BaseProcess) -> None:
    """End a process, if it still runs."""
    if process.is_alive():
        process.terminate()
        process.join(3.0)
    if process.is_alive():
        process.kill()
        process.join()


def _undone(wanted: str, plan: Plan, again: bool, console: Console) -> list[str]:
    """Return which of the steps that are joined are to be run, and say why others are not."""
    from specvae_bench.gpu.steps import STEPS, has_kinds, parts

    undone = []
    for part in parts(wanted):
        needed, kinds = STEPS[part].needs, plan.kinds_of(part)
        if needed and getattr(plan, needed) is None:
            console.log(f"{part}: left out, it needs --{needed}")
        elif not has_kinds(part, plan):
            console.log(f"{part}: left out, it trains no {' or '.join(kinds)}")
        elif not again and _is_done(_read(plan.output / f"{part}.json"), kinds, plan.epochs):
            console.log(f"{part}: done before")
        else:
            undone.append(part)
    return undone


def _is_done(found: Mapping[str, Any], kinds: Collection[str], epochs: int | None) -> bool:
    """Whether a step's result has all the epochs and model kinds that are asked for.

    No epochs are those of the step; no kinds named are all.
    """
    if not found.get("done"):
        return False
    done = found.get("trial", {}).get("epochs")
    if done is not None and (epochs is None or epochs > done):
        return False
    trained = found.get("kinds")
    return not trained or (bool(kinds) and set(kinds) <= set(trained))


def _summary(name: str, found: Mapping[str, Any]) -> list[str]:
    """Return a step's figures in few lines."""
    lines = [f"  {name} FAILED {key}: {text}" for key, text in found.get("failures", {}).items()]
    for key in ("batches", "runs", "figures", "tf32", "float32"):
        if isinstance(found.get(key), dict):
            lines += [
                f"  {key} {label}: {_short(figures)}" for label, figures in found[key].items()
            ]
    if found.get("epochs"):
        last = found["epochs"][-1]
        lines.append(f"  {counted(len(found['epochs']), 'epochs')}, last {_short(last)}")
    return [*lines, *(f"  note: {note}" for note in found.get("notes", ()))]


def _short(values: object) -> str:
    if isinstance(values, dict):
        return ", ".join(f"{key} {_short(value)}" for key, value in values.items())
    return f"{values:.4g}" if isinstance(values, float) else str(values)


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
