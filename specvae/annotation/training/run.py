"""Train a model on a library: read, fingerprint, split, fit, validate, calibrate, write."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import Tensor

from specvae import __version__
from specvae.annotation.evidence.checkpoint import to_companions
from specvae.annotation.evidence.fragment_score import (
    FragmentScorer,
    read_scorers,
    standard_scorers,
)
from specvae.annotation.evidence.pool import EvidencePool
from specvae.annotation.evidence.remembered import ANALOGUE_FINGERPRINT
from specvae.annotation.library.header import (
    AnnotatorHeader,
    LayoutIdentity,
    RunSettings,
    ValidationFigures,
)
from specvae.annotation.output.plots import plot_training
from specvae.annotation.ranking.annotator import Annotator
from specvae.annotation.ranking.candidates import CandidateSource
from specvae.annotation.ranking.probability import default_probability
from specvae.annotation.training.calibrate import (
    FEWEST_COMPOUNDS,
    PPM,
    Calibration,
    calibrate,
)
from specvae.annotation.training.inputs import (
    TrainInputs,
    read_inputs,
    require_usable,
    spectra_of,
)
from specvae.annotation.training.networks import objective_config, optim_config
from specvae.annotation.training.prepared import PreparedModel, prepare
from specvae.annotation.training.record import (
    EpochLog,
    file_digests,
    finished_header,
    provenance,
    write_failure,
    write_record,
)
from specvae.annotation.training.run_files import (
    MODEL_FILE,
    PLOT_FILE,
    STATE_FILE,
    TrainFiles,
    require_free,
)
from specvae.annotation.training.settings import TrainConfig, flat_settings
from specvae.annotation.training.streams import (
    choose_pairs,
)
from specvae.counting import counted
from specvae.errors import Interrupted, SpecvaeError, TrainingError
from specvae.files import exclusive
from specvae.interruption import STOPPING, interruptible
from specvae.molecules.fingerprint import FingerprintLayout, cached_fingerprints, get_layout
from specvae.progress import Progress, Silence
from specvae.report import ReadReport
from specvae.settings import from_json
from specvae.vae.checkpoint import save_checkpoint
from specvae.vae.device import pick_device, seeded
from specvae.vae.parallel import (
    ALONE,
    Processes,
    joined,
    local_device,
    meeting_place,
    started_by_torchrun,
)
from specvae.vae.state import History, StateFile
from specvae.vae.training import fit


def train(
    config: TrainConfig,
    files: TrainFiles,
    *,
    device: str = "auto",
    resume: bool = False,
    force: bool = False,
    state_every: float = 300.0,
    keep_state: bool = False,
    strict: bool = False,
    n_jobs: int | None = None,
    progress: Progress | None = None,
) -> AnnotatorHeader:
    """Train a model and write its folder; see the module's docstring for the steps.

    Every input is opened and checked before the training begins. The model is written when it is
    trained, and once more when weights of evidence and probabilities are fitted. If torchrun
    started several processes, each reads the files and takes a part of every batch, and the first
    one writes.

    Parameters
    ----------
    config
        All settings.
    files
        What is read and the folder that is written: ``model.safetensors``, ``epochs.jsonl``,
        ``split.csv``, ``skipped.csv``, ``training.png``.
    device
        ``auto``, ``cpu`` or ``cuda``.
    resume
        Go on from the state in the folder; the weights end up the same as those of a run that was
        never interrupted. A run that has finished is left as it is.
    force
        Replace a model that is in the folder.
    state_every
        Seconds between two writings of the state for resuming, at least; 0: after each epoch. It is
        also written after the last epoch.
    keep_state
        Keep that state when the run has finished.
    strict
        Make the first malformed record an error.
    n_jobs
        Processes that compute fingerprints; None for one per core.
    progress
        Where progress is shown.

    Returns
    -------
    The checkpoint's header.

    Raises
    ------
    InputError
        If the folder holds a model and neither `resume` nor `force` is given, a file cannot be
        used, or the library has no usable spectrum.
    ConfigError, TrainingError
        If settings do not fit, or training or calibration breaks down.
    """
    progress = progress or Silence()
    require_free(files.output, resume=resume, force=force)
    layout = get_layout(config.fingerprint)
    torch_device = local_device(pick_device(device))
    of_structures = ReadReport(strict=strict)
    opened = require_usable(config, files, layout, of_structures)
    if (n_others := started_by_torchrun().n - 1) > 0:
        progress.log(f"waiting for {counted(n_others, 'other processes')} at {meeting_place()}")
    with opened as structures, joined(torch_device) as processes:
        if resume and (header := finished_header(config, files)) is not None:
            progress.log(f"{files.output / MODEL_FILE}: this training has finished already")
            return header
        state = StateFile(files.output / STATE_FILE, state_every)
        if state.path.exists() and not resume:
            progress.log("note: the state of an earlier run is not used; --resume goes on from it")
        if resume and not state.path.exists():
            progress.log(f"note: {files.output} has no state to resume from: training begins anew")
        if of_structures.skips or of_structures.notes:
            progress.log(f"structures: {of_structures.summary('structures')}")
        # Nothing is written before all processes have looked at the folder.
        processes.wait()
        own_folder = _folder_of(processes, files)
        with own_folder as own_files, seeded(config.seed, torch_device):
            run = _Run(config, own_files, layout, torch_device, n_jobs, progress, processes)
            inputs = run.read(strict)
            trained = run.fit(inputs, state, resume)
            if not processes.is_first:
                return run.header(inputs, trained)
            header = run.finish(inputs, trained, structures)
    if not keep_state:
        state.path.unlink(missing_ok=True)
    return header


@contextmanager
def _folder_of(processes: Processes, files: TrainFiles) -> Iterator[TrainFiles]:
    """Yield the files of a process: all but the first one write to a temporary folder.

    Two runs in one folder would leave the model of one beside the epochs and folds of the other.
    """
    if processes.is_first:
        with exclusive(files.output, f"{files.output}: another process is training in this folder"):
            yield files
        return
    with TemporaryDirectory(prefix="specvae-") as folder:
        yield replace(files, output=Path(folder))


@dataclass(frozen=True, eq=False)
class _TrainedModel(PreparedModel):
    """A model whose training has ended, with the weights of the best epoch.

    Attributes
    ----------
    history
        Of the run.
    epochs
        The record of the epochs.
    """

    history: History
    epochs: EpochLog


@dataclass(eq=False)
class _Run:
    """One training run, step by step."""

    config: TrainConfig
    files: TrainFiles
    layout: FingerprintLayout
    device: torch.device
    n_jobs: int | None
    progress: Progress
    processes: Processes = ALONE
    report: ReadReport = field(default_factory=ReadReport)
    digests: list[tuple[str, str]] = field(default_factory=list)
    scorers: Mapping[str, FragmentScorer] = field(default_factory=standard_scorers)
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def clock(self, step: str) -> Iterator[None]:
        """Add the seconds that pass inside to those of a step."""
        start = time.perf_counter()
        yield
        took = time.perf_counter() - start
        self.seconds[step] = round(self.seconds.get(step, 0.0) + took, 2)

    def read(self, strict: bool) -> TrainInputs:
        """Read all files, and compute the fingerprints of their structures."""
        self.report = ReadReport(strict=strict)
        try:
            with self.clock("read"):
                self.digests = file_digests(self.files)
                if self.files.fragment_score is not None:
                    self.scorers = standard_scorers() | read_scorers(self.files.fragment_score)
            return read_inputs(
                self.config,
                self.files,
                self.layout,
                self.report,
                clock=self.clock,
                n_jobs=self.n_jobs,
                progress=self.progress,
            )
        except SpecvaeError:
            write_failure(self.files.output, self.report)
            raise

    def fit(self, inputs: TrainInputs, state: StateFile, resume: bool) -> _TrainedModel:
        """Train the model on what was read.

        Raises
        ------
        Interrupted
            If the user asked for an end before the last epoch.
        """
        files, progress = self.files, self.progress
        ready, data = prepare(self.config, inputs, self.layout, self.device, progress)
        config = ready.config
        settings = flat_settings(self.config)
        del settings["optim.epochs"]  # a run at a constant rate may be given more
        validation = ready.validation

        def record() -> None:
            write_record(files.output, self.report, inputs.folds)

        # A run that is refused, such as one that cannot be resumed, must not replace the record of
        # the model in the folder. So the folder is changed after the first epoch only.
        epochs = EpochLog(files.output, config.optim.epochs, progress, record)
        with interruptible(lambda: progress.log(STOPPING)) as is_asked_to_stop:
            history = fit(
                ready.model,
                data,
                optim_config(config),
                objective_config(config),
                validate=(
                    (lambda m: validation.mean_reciprocal_rank(m, self.device))
                    if validation
                    else None
                ),
                on_epoch=epochs,
                state=replace(state, settings=settings),
                on_step=lambda epoch, step, n_steps: progress.progress(
                    f"epoch {epoch}, step", step, n_steps
                ),
                resume=resume,
                device=self.device,
                stop=is_asked_to_stop,
                processes=self.processes,
            )
        if (n_done := len(history.epochs)) < config.optim.epochs:
            raise Interrupted(
                f"stopped after epoch {n_done} of {config.optim.epochs}; --resume goes on with it"
            )
        record()
        epochs.finish(history)
        # Summed over the epochs, so that those before a resumption count too.
        self.seconds["training"] = round(
            sum(record.seconds + record.validation_seconds for record in history.epochs), 2
        )
        return _TrainedModel(
            config, ready.model, ready.bins, ready.pairs, validation, history, epochs
        )

    def finish(
        self, inputs: TrainInputs, trained: _TrainedModel, structures: CandidateSource | None
    ) -> AnnotatorHeader:
        """Write the model, calibrate it, and write it again; return its header.

        Raises
        ------
        TrainingError
            If the model is written but cannot be calibrated.
        """
        path = self.files.output / MODEL_FILE
        with self.clock("validation"):
            figures = (
                trained.validation.figures(trained.model, self.device)
                if trained.validation
                else None
            )
        header = self.header(inputs, trained, figures)
        pool = trained_pool = None
        with self.clock("evidence"):
            if inputs.library.peaks is not None:
                pool, trained_pool = self._memory(inputs, trained)
        written = self._save(trained, header, pool, None)
        plot_training(trained.epochs.records, self.files.output / PLOT_FILE)
        if figures:
            self.progress.log(f"best epoch {trained.history.best.epoch}: validation {figures}")
            if figures.doubt:
                self.progress.log(figures.doubt)
        if structures is None or pool is None or trained_pool is None:
            return written
        annotator = Annotator(trained.model, header, self.device, trained_pool)
        with self.clock("calibration"):
            try:
                calibration = self._calibrate(annotator, inputs, structures)
            except SpecvaeError as error:
                raise TrainingError(
                    f"{path}: the model is written, but its weights of evidence and probabilities "
                    f"are the shipped ones, as fitting them failed ({error}); the same command "
                    "with --resume fits them without training again"
                ) from error
        if calibration is None:
            return written
        return self._save(trained, header, pool, calibration)

    def header(
        self, inputs: TrainInputs, trained: _TrainedModel, figures: ValidationFigures | None = None
    ) -> AnnotatorHeader:
        """Return the header of the checkpoint."""
        origin = provenance(inputs, self.digests, self.report, self.files.output)
        return AnnotatorHeader(
            program=f"specvae {__version__}",
            config=from_json(RunSettings, trained.config.to_json()),
            seed=self.config.seed,
            bins=trained.bins,
            fingerprint=LayoutIdentity.of(self.layout),
            best_epoch=trained.history.best.epoch,
            validation=figures,
            seconds=self.seconds,
            provenance=replace(origin, n_pairs=len(trained.pairs), device=str(self.device)),
            compounds={
                fold: tuple(sorted(b for b, where in inputs.folds.items() if where == fold))
                for fold in ("train", "val")
            },
        )

    def _memory(
        self, inputs: TrainInputs, trained: _TrainedModel
    ) -> tuple[EvidencePool, EvidencePool]:
        """Return the library that the model stores, and the same without validation compounds.

        The library is the pairs that keep their structures. Of the validation fold, which serves
        to choose the epoch and to calibrate, the same share is stored.
        """
        library, config = inputs.library, self.config
        layout = get_layout(ANALOGUE_FINGERPRINT)
        packed = cached_fingerprints(library.molecules, layout, self.n_jobs, self.progress)
        rows = trained.pairs
        if len(inputs.rows["val"]):
            kept = choose_pairs(inputs.rows["val"], config.supervision, "none", config.seed).paired
            rows = np.union1d(rows, kept)
        return (
            EvidencePool.from_library(library, rows, packed, self.scorers),
            EvidencePool.from_library(library, trained.pairs, packed, self.scorers),
        )

    def _save(
        self,
        trained: _TrainedModel,
        header: AnnotatorHeader,
        pool: EvidencePool | None,
        calibration: Calibration | None,
    ) -> AnnotatorHeader:
        """Write the model; return its header, with its library and calibration."""
        companions: dict[str, Tensor] = {}
        # The remaining steps take time, too.
        header = replace(header, seconds=dict(self.seconds))
        if pool is not None:
            probability = default_probability()
            if calibration is not None:
                pool = replace(pool, weights=calibration.weights)
                probability = calibration.probability
                header = replace(header, calibration=calibration.figures)
            stored, companions = to_companions(pool)
            header = replace(header, probability=probability.to_json(), evidence=stored)
        save_checkpoint(self.files.output / MODEL_FILE, trained.model, header, companions)
        return header

    def _calibrate(
        self, annotator: Annotator, inputs: TrainInputs, structures: CandidateSource
    ) -> Calibration | None:
        """Fit weights and probabilities to validation compounds, which `annotator` has not seen."""
        assert self.files.structures is not None
        name = self.files.structures.name
        library = inputs.library
        held_out = {library.molecules[i].first_block for i in library.compound[inputs.rows["val"]]}
        calibration = calibrate(
            annotator,
            *spectra_of(held_out, self.files, inputs.wanted, self.config.seed),
            structures,
            n_jobs=self.n_jobs,
            progress=self.progress,
        )
        if calibration is None:
            self.progress.log(
                f"warning: fewer than {FEWEST_COMPOUNDS} validation compounds are among the "
                f"structures of {name}, or none of them beside others of its mass: weights and "
                "probabilities are the shipped ones"
            )
            return None
        figures = replace(calibration.figures, structures=name)
        self.progress.log(
            f"weights and probabilities fitted to {counted(figures.n_queries, 'spectra')} of "
            f"{counted(figures.n_compounds, 'validation compounds')}: hit@1 {figures.hit_at_1:.1%} "
            f"(in-sample) among the structures within {PPM:g} ppm"
        )
        return replace(calibration, figures=figures)
