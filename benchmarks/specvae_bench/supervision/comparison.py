"""The trainings of a plan, carried out one after the other, and what they reach together."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from specvae.cli.console import Console
from specvae.errors import InputError
from specvae.files import json_ready
from specvae_bench.files import digests, write_result
from specvae_bench.folds.fold import Fold, read_fold
from specvae_bench.folds.options import FoldFiles
from specvae_bench.retrieval.comparison import Comparison
from specvae_bench.retrieval.methods import Options
from specvae_bench.supervision.plan import Run
from specvae_bench.supervision.report import gains, with_figures
from specvae_bench.supervision.trainings import carry_out, gather

_RUNS = "runs"


@dataclass(frozen=True)
class Settings:
    """What all trainings have in common.

    Attributes
    ----------
    molecules
        Files of structures without spectra.
    n_molecules
        How many of them are drawn.
    steps
        Of each training.
    seed
        Of draws, training and intervals.
    amp
        Matrix products in bfloat16.
    device, n_jobs
        Where it is computed.
    """

    molecules: tuple[Path, ...]
    n_molecules: int
    steps: int
    seed: int
    amp: bool = False
    device: str = "auto"
    n_jobs: int | None = None

    def described(self, fold: Fold, ppm: float) -> dict[str, Any]:
        """Return what decides on a training's result, as JSON values."""
        structures = digests(self.molecules)
        return {
            **fold.described,
            "unpaired_molecules": {"files": structures, "n_wanted": self.n_molecules},
            "steps": self.steps,
            "amp": self.amp,
            "ppm": ppm,
            "seed": self.seed,
        }


def compare(
    files: FoldFiles, runs: Sequence[Run], settings: Settings, output: Path, console: Console
) -> dict[str, Any]:
    """Carry out the trainings that a folder lacks; return the figures of all that stand in it.

    Each training is written to ``runs/NAME.json`` in `output` when it has finished.

    Raises
    ------
    InputError
        If a file cannot be used, or a training in the folder was made with other settings.
    """
    fold = read_fold(files, output, console)
    described = settings.described(fold, files.ppm)
    folder = output / _RUNS
    done = finished(folder, described)
    if not done.keys() >= set(runs):
        _carry_out_all(fold, runs, settings, described, folder, console)
        done = finished(folder, described)
    return {
        **described,
        "gains": gains(list(done.values()), settings.seed),
        "runs": [_without_queries(record) for record in done.values()],
    }


def _carry_out_all(
    fold: Fold,
    runs: Sequence[Run],
    settings: Settings,
    described: Mapping[str, Any],
    folder: Path,
    console: Console,
) -> None:
    comparison = Comparison(fold.problems, fold.known, settings.n_jobs, console)
    material = gather(
        fold,
        settings.molecules,
        settings.n_molecules,
        comparison,
        settings.seed,
        settings.n_jobs,
    )
    options = Options(settings.steps, settings.seed, settings.device)
    for number, run in enumerate(runs, start=1):
        path = folder / f"{run.name}.json"
        if path.exists():  # from a call before, or from one beside this
            continue
        outcome = carry_out(run, material, options, amp=settings.amp)
        record = with_figures(run, outcome.ranks, outcome.described, settings.seed)
        write_result(path, {"settings": described, "run": record})
        console.log(
            f"{number}/{len(runs)} {run.name}: hit@1 {record['hit_at_1']:.1%}, validation MRR "
            f"{record['validation_mrr']:.3f}, {record['seconds']:.0f} s"
        )


def finished(folder: Path, settings: Mapping[str, Any]) -> dict[Run, dict[str, Any]]:
    """Return the records of the finished trainings in a folder.

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
