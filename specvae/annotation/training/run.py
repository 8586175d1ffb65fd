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
from numpy.typing import NDArray
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
from specvae.annotation.library.filter import SpectrumFilter
from specvae.annotation.library.header import (
    AnnotatorHeader,
    LayoutIdentity,
    RunSettings,
    ValidationFigures,
)
from specvae.annotation.library.library import Library
from specvae.annotation.library.pairs import read_pairs
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
    choose_folds,
    read_library,
    read_spectrum_filter,
    read_unpaired_molecules,
    read_unpaired_spectra,
    require_usable,
)
from specvae.annotation.training.networks import (
    bin_layout,
    model_config,
    objective_config,
    optim_config,
)
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
from specvae.annotation.training.settings import TrainConfig, automatic_epochs, flat_settings
from specvae.annotation.training.streams import (
    choose_pairs,
    frequent_columns,
    training_data,
    training_means,
)
from specvae.annotation.training.validation import (
    MAX_SPECTRA_PER_COMPOUND,
    N_DECOYS,
    RetrievalValidation,
    few_per_group,
)
from specvae.counting import counted
from specvae.errors import Interrupted, SpecvaeError, TrainingError
from specvae.files import exclusive
from specvae.interruption import STOPPING, interruptible
from specvae.molecules.fingerprint import FingerprintLayout, cached_fingerprints, get_layout
from specvae.progress import Progress, Silence
from specvae.report import ReadReport
from specvae.settings import from_json
from specvae.spectra.binning import BinLayout
from specvae.spectra.spectrum import Spectrum
from specvae.vae.checkpoint import save_checkpoint
from specvae.vae.data import TrainingData
from specvae.vae.device import pick_device, seeded
from specvae.vae.model import MultimodalVAE
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
class _PreparedModel:
    """A model before its training.

    Attributes
    ----------
    config
        Settings, with the number of epochs.
    model
        With its first weights.
    bins
        The columns that it reads.
    pairs
        int64, ascending: rows of the training fold that kept their structures.
    validation
        What picks the best epoch, if anything.
    """

    config: TrainConfig
    model: MultimodalVAE
    bins: BinLayout
    pairs: NDArray[np.int64]
    validation: RetrievalValidation | None


@dataclass(frozen=True, eq=False)
class _TrainedModel(_PreparedModel):
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
        """Record the seconds that a step takes."""
        start = time.perf_counter()
        yield
        self.seconds[step] = round(time.perf_counter() - start, 2)

    def read(self, strict: bool) -> TrainInputs:
        """Read all files, and compute the fingerprints of their structures."""
        self.report = ReadReport(strict=strict)
        try:
            return self._read()
        except SpecvaeError:
            write_failure(self.files.output, self.report)
            raise

    def _read(self) -> TrainInputs:
        config, files, report, progress = self.config, self.files, self.report, self.progress
        bins = bin_layout(config)
        with self.clock("read"):
            self.digests = file_digests(files)
            if files.fragment_score is not None:
                self.scorers = standard_scorers() | read_scorers(files.fragment_score)
            wanted = read_spectrum_filter(config, files, report, progress)
            library = read_library(config, files, bins, wanted, report, progress)
            folds, rows = choose_folds(library, config, progress)
            held_out = frozenset(block for block, fold in folds.items() if fold != "train")
            unpaired_spectra = read_unpaired_spectra(files, bins, wanted, held_out, report)
        with self.clock("fingerprints"):
            packed = self._fingerprints(library, self.layout)
            unpaired_packed = read_unpaired_molecules(
                files, self.layout, (wanted.excluded, held_out), report, self.n_jobs, progress
            )
        return TrainInputs(library, folds, rows, packed, unpaired_spectra, unpaired_packed, wanted)

    def _fingerprints(self, library: Library, layout: FingerprintLayout) -> NDArray[np.uint8]:
        return cached_fingerprints(library.molecules, layout, self.n_jobs, self.progress)

    def fit(self, inputs: TrainInputs, state: StateFile, resume: bool) -> _TrainedModel:
        """Train the model on what was read.

        Raises
        ------
        Interrupted
            If the user asked for an end before the last epoch.
        """
        files, progress = self.files, self.progress
        ready, data = self._prepare(inputs)
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

    def _prepare(self, inputs: TrainInputs) -> tuple[_PreparedModel, TrainingData]:
        """Return an untrained model with its training data."""
        config = self.config
        packed, rows = inputs.packed, inputs.rows
        chosen = choose_pairs(rows["train"], config.supervision, config.unpaired_pool, config.seed)
        bins = frequent_columns(
            bin_layout(config), inputs.library, chosen.seen, config.inputs.min_column_count
        )
        library = replace(inputs.library, spectra=bins.narrow(inputs.library.spectra))
        validation = self._validation(library, rows, packed, bins)
        model = MultimodalVAE(model_config(config, bins, self.layout)).to(self.device)
        if config.model.start_at_means:
            model.start_at(training_means(library, chosen.seen, packed, bins, self.layout))
        self.progress.log(
            f"{config.model.kind}, preset {config.preset}: {model.n_parameters:,} parameters "
            f"on {self.device}"
        )
        data = training_data(
            library,
            chosen.paired,
            packed,
            self.layout,
            spectra=chosen.pool,
            structures=chosen.pool,
            unpaired_spectra=bins.narrow(inputs.unpaired_spectra),
            unpaired_packed=inputs.unpaired_packed,
            compound_balance=config.optim.compound_balance,
        )
        return _PreparedModel(
            _with_epochs(config, data), model, bins, chosen.paired, validation
        ), data

    def _validation(
        self,
        library: Library,
        rows: Mapping[str, NDArray[np.int64]],
        packed: NDArray[np.uint8],
        bins: BinLayout,
    ) -> RetrievalValidation | None:
        compounds = {fold: len(np.unique(library.compound[rows[fold]])) for fold in rows}
        self.progress.log(
            f"training on {counted(len(rows['train']), 'spectra')} of "
            f"{counted(compounds['train'], 'compounds')}, "
            f"validating on {len(rows['val']):,} of {compounds['val']:,}; MRR is the mean "
            f"reciprocal rank of the right structure among {N_DECOYS + 1} of like mass"
        )
        if not len(rows["val"]):
            self.progress.log("no compound fell into the validation fold: the last epoch is kept")
            return None
        return RetrievalValidation(library, rows["val"], packed, bins, self.config.seed)

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
            self.progress.log(
                f"best epoch {trained.history.best.epoch}: validation hit@1 {figures.hit_at_1:.1%} "
                f"among {counted(figures.n_candidates, 'structures')} of like mass (random "
                f"{figures.random_hit_at_1:.1%}, blind {figures.blind_hit_at_1:.1%})"
            )
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
        packed = self._fingerprints(library, get_layout(ANALOGUE_FINGERPRINT))
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
            *_spectra_of(held_out, self.files, inputs.wanted, self.config.seed),
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


def _with_epochs(config: TrainConfig, data: TrainingData) -> TrainConfig:
    """Return settings with a number of epochs: as configured, or computed from the data."""
    if config.optim.epochs:
        return config
    # An epoch is a pass over the largest stream, which may be a pool of molecules.
    largest = max(len(source) for source in data.streams().values())
    n_epochs = automatic_epochs(largest, config.optim.batch_size)
    return replace(config, optim=replace(config.optim, epochs=n_epochs))


def _spectra_of(
    blocks: set[str], files: TrainFiles, wanted: SpectrumFilter, seed: int
) -> tuple[list[Spectrum], list[str]]:
    """Return some spectra of each of these compounds, and their first blocks.

    They are read once more: the library keeps its spectra encoded only.
    """
    report = ReadReport()
    found = [
        (spectrum, molecule.first_block)
        for spectrum, molecule in read_pairs(files.spectra, wanted, report, Silence())
        if molecule.first_block in blocks
    ]
    number = {block: i for i, block in enumerate(sorted(blocks))}
    kept = few_per_group(
        np.arange(len(found)),
        np.array([number[block] for _, block in found], dtype=np.int64),
        MAX_SPECTRA_PER_COMPOUND,
        seed,
    )
    chosen = [found[i] for i in np.sort(kept)]
    return [spectrum for spectrum, _ in chosen], [block for _, block in chosen]
