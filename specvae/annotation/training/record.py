"""The files of a training run's folder beside the model, and the record of each epoch."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from specvae.annotation.library.folds import write_split
from specvae.annotation.library.header import AnnotatorHeader, FileRead, Provenance
from specvae.annotation.training.inputs import TrainInputs
from specvae.annotation.training.run_files import (
    EPOCHS_FILE,
    MODEL_FILE,
    SKIPPED_FILE,
    SPLIT_FILE,
    STATE_FILE,
    TrainFiles,
)
from specvae.annotation.training.settings import TrainConfig, flat_settings
from specvae.errors import ConfigError, TrainingError
from specvae.files import atomic_text, sha256_of
from specvae.progress import Progress
from specvae.report import ReadReport
from specvae.settings import from_json, to_json
from specvae.vae.state import WHY_NO_MORE_EPOCHS, EpochRecord, History


def finished_header(config: TrainConfig, files: TrainFiles) -> AnnotatorHeader | None:
    """Return the header of the model in the folder if its training has finished as asked for.

    Returns
    -------
    The header, if there is a model and no state to go on from; None if there is no model, or there
    is a state.

    Raises
    ------
    TrainingError
        If the model was trained with other settings or files, which the message names.
    """
    model = files.output / MODEL_FILE
    if not model.exists() or (files.output / STATE_FILE).exists():
        return None
    header = AnnotatorHeader.read(model)
    if found := _differences(header, config, files):
        is_constant = config.optim.schedule == "constant" and not config.optim.warmup
        is_fixed = found.startswith("optim.epochs ") and not is_constant
        why = WHY_NO_MORE_EPOCHS if is_fixed else " (a run with --keep-state keeps its state)"
        raise TrainingError(
            f"{model}: finished with {found}, and there is no state to go on from; --force trains "
            f"anew{why}"
        )
    return header


def _differences(header: AnnotatorHeader, config: TrainConfig, files: TrainFiles) -> str:
    """Return how a finished run differs from the one that is asked for; "" if it does not."""
    try:
        then = from_json(TrainConfig, to_json(header.config))
    except ConfigError:
        return "settings that cannot be read"
    if not config.optim.epochs:
        then = replace(then, optim=replace(then.optim, epochs=0))
    before, after = flat_settings(then), flat_settings(config)
    for key, value in after.items():
        if before[key] != value:
            return f"{key} {json.dumps(before[key])} (now {json.dumps(value)})"
    trained_on = [(file.name, file.sha256) for file in header.provenance.files]
    return "" if trained_on == file_digests(files) else "other files"


def file_digests(files: TrainFiles) -> list[tuple[str, str]]:
    """Return name and SHA-256 of each file that a run reads."""
    return [(path.name, sha256_of(path)) for paths in files.inputs.values() for path in paths]


def write_record(folder: Path, report: ReadReport, folds: Mapping[str, str]) -> None:
    """Write what was skipped (even if nothing was: an older list would mislead) and the folds."""
    report.write_csv(folder / SKIPPED_FILE)
    write_split(folder / SPLIT_FILE, folds)


def write_failure(folder: Path, report: ReadReport) -> None:
    """Write the list of skipped records of a run that failed while reading: it may explain why.

    If the folder holds a model, its list is not replaced. A folder is not made for this list alone.
    """
    path = folder / SKIPPED_FILE
    if not (folder / MODEL_FILE).exists() and (report.skips or path.exists()):
        report.write_csv(path)


class EpochLog:
    """Keeps ``epochs.jsonl`` complete after every epoch and reports the epoch.

    Parameters
    ----------
    folder
        Of the run.
    n_epochs
        The number of epochs of the run.
    progress
        Gets a line for each epoch.
    on_first
        Called before the first line is written: until an epoch has ended, the folder still belongs
        to the run before.
    """

    def __init__(
        self, folder: Path, n_epochs: int, progress: Progress, on_first: Callable[[], None]
    ) -> None:
        self.records: list[Mapping[str, Any]] = []
        self._on_first = on_first
        self._path = folder / EPOCHS_FILE
        self._n_epochs = n_epochs
        self._progress = progress

    def __call__(self, record: EpochRecord) -> None:
        """Record an epoch that has ended."""
        if not self.records:
            self._on_first()
        if record.epoch > 1 and not self.records and self._path.exists():
            # In a resumed run the file has the earlier epochs already.
            lines = self._path.read_text(encoding="utf-8").splitlines()
            self.records = [json.loads(line) for line in lines[: record.epoch - 1]]
        self.records.append(_epoch_entry(record))
        self._write()
        measured = "" if record.validation is None else f", validation MRR {record.validation:.4f}"
        self._progress.log(
            f"epoch {record.epoch}/{self._n_epochs}: loss {record.total:.2f}{measured}, "
            f"{record.seconds:.1f} s"
        )

    def finish(self, history: History) -> None:
        """Write all epochs: a run killed at the wrong moment lacks one, a finished one has none."""
        self.records = [_epoch_entry(record) for record in history.epochs]
        self._write()

    def _write(self) -> None:
        with atomic_text(self._path) as stream:
            stream.writelines(json.dumps(record) + "\n" for record in self.records)


def _epoch_entry(record: EpochRecord) -> dict[str, Any]:
    """Return an epoch as a flat line of ``epochs.jsonl``."""
    return {
        "epoch": record.epoch,
        "loss": record.total,
        "validation": record.validation,
        "best": record.best,
        "learning_rate": record.learning_rate,
        "gradient_norm": record.gradient_norm,
        "seconds": record.seconds,
        "validation_seconds": record.validation_seconds,
        **{f"part/{name}": value for name, value in record.parts.items()},
    }


def provenance(
    inputs: TrainInputs, digests: list[tuple[str, str]], report: ReadReport, folder: Path
) -> Provenance:
    """Return the provenance of a model."""
    library = inputs.library
    return Provenance(
        files=tuple(FileRead(name, digest) for name, digest in digests),
        n_spectra=len(library),
        n_compounds=len(library.molecules),
        n_spectra_by_fold={fold: len(rows) for fold, rows in inputs.rows.items()},
        ion_modes=dict(library.ion_modes.most_common()),
        adducts=dict(library.adducts.most_common()),
        licences=dict(library.licences.most_common()),
        skipped={reason.name: n for reason, n in report.counts.most_common()},
        split_sha256=sha256_of(folder / SPLIT_FILE),
        versions={
            "python": platform.python_version(),
            **{name: version(name) for name in ("numpy", "rdkit", "scikit-fingerprints", "torch")},
        },
    )
