"""Train a model on a library: read, fingerprint, split, fit, validate, write."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from specvae import __version__
from specvae.annotation.evidence.analogues import ANALOGUE_BINS
from specvae.annotation.evidence.memory import to_companions
from specvae.annotation.evidence.pool import ANALOGUE_FINGERPRINT, EvidencePool
from specvae.annotation.library.compounds import read_excluded
from specvae.annotation.library.filter import SpectrumFilter, canonical_adducts
from specvae.annotation.library.folds import write_split
from specvae.annotation.library.library import (
    Library,
    encode_unpaired_spectra,
    read_many,
    reject_compound,
    usable_pairs,
)
from specvae.annotation.output.plots import plot_training
from specvae.annotation.ranking.annotator import Annotator
from specvae.annotation.training.calibrate import (
    FEWEST_COMPOUNDS,
    PPM,
    calibrate,
    default_probability,
)
from specvae.annotation.training.networks import (
    bin_layout,
    model_config,
    objective_config,
    optim_config,
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
    RetrievalValidation,
    few_per_group,
)
from specvae.errors import ConfigError, InputError, SpecvaeError
from specvae.files import atomic_text, sha256_of
from specvae.molecules.candidates import CandidatePool
from specvae.molecules.fingerprint import (
    FingerprintCache,
    FingerprintLayout,
    fingerprints,
    get_layout,
)
from specvae.molecules.structures import read_molecules
from specvae.progress import Progress, Silence
from specvae.report import ReadReport
from specvae.spectra.binning import BinLayout
from specvae.spectra.spectrum import Spectrum
from specvae.vae.checkpoint import save_checkpoint
from specvae.vae.device import pick_device
from specvae.vae.kinds import MODEL_KINDS
from specvae.vae.model import MultimodalVAE
from specvae.vae.training import EpochRecord, History, StateFile, fit

MODEL_FILE = "model.safetensors"
STATE_FILE = "training-state.safetensors"
_POOL_ROWS = 8192


@dataclass(frozen=True)
class TrainFiles:
    """The files of a training run."""

    spectra: tuple[Path, ...]
    output: Path
    unpaired_spectra: tuple[Path, ...] = ()
    unpaired_molecules: tuple[Path, ...] = ()
    exclude: tuple[Path, ...] = ()
    structures: Path | None = None


def train(
    config: TrainConfig,
    files: TrainFiles,
    *,
    device: str = "auto",
    resume: bool = False,
    state_every: float = 300.0,
    keep_state: bool = False,
    strict: bool = False,
    n_jobs: int | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Train a model and write its folder; see the module's docstring for the steps.

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
        Go on from the last finished epoch in the folder; the weights end up the same as those of
        a run that was never broken off.
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
        Told what is going on.

    Returns
    -------
    The checkpoint's header.

    Raises
    ------
    InputError
        If a file cannot be used or nothing in the library can be learned from.
    ConfigError, TrainingError
        If settings do not fit, or training breaks down.
    """
    progress = progress or Silence()
    clock = _Clock()
    if files.output.exists() and not files.output.is_dir():
        raise InputError(f"{files.output}: is a file, wanted a folder to write")
    _require_pairs_alone(config, files)
    torch_device = pick_device(device)
    torch.manual_seed(config.seed)
    layout = get_layout(config.fingerprint)
    bins = bin_layout(config)
    report = ReadReport(strict=strict)
    try:
        wanted = _spectrum_filter(config, files, report, progress)
        with clock("read"):
            peaks = ANALOGUE_BINS if config.experts.library else None
            library = _read_library(files, bins, peaks, wanted, report, progress)
            folds = library.folds(config.split.validation, config.split.test, config.seed)
            rows = library.split(folds)
            if not len(rows["train"]):
                progress.log("too few compounds for a validation fold: all are trained on")
                folds = dict.fromkeys(folds, "train")
                rows = library.split(folds)
            held_out = frozenset(block for block, fold in folds.items() if fold != "train")
            unpaired_spectra = encode_unpaired_spectra(
                read_many(files.unpaired_spectra, report), bins, report, wanted, held_out
            )
        with clock("fingerprints"):
            packed, unpaired_packed = _fingerprints(
                files, library, layout, (wanted.excluded, held_out), report, n_jobs, progress
            )
    except SpecvaeError:
        # What was skipped says why a run failed, but a model that is there keeps its own record.
        if report.skips and not (files.output / MODEL_FILE).exists():
            report.write_csv(files.output / "skipped.csv")
        raise
    chosen = choose_pairs(rows["train"], config.supervision, config.unpaired_pool, config.seed)
    bins = frequent_columns(bins, library, chosen.seen, config.inputs.min_column_count)
    library = replace(library, spectra=bins.narrow(library.spectra))
    unpaired_spectra = bins.narrow(unpaired_spectra)
    validation = None
    if len(rows["val"]):
        validation = RetrievalValidation(library, rows["val"], packed, bins, config.seed)
    else:
        progress.log("no compound fell into the validation fold: the last epoch is kept")
    progress.log(
        f"training on {len(rows['train']):,} spectra of "
        f"{len(np.unique(library.compound[rows['train']])):,} compounds, validating on "
        f"{len(rows['val']):,} of {len(np.unique(library.compound[rows['val']])):,}"
    )

    model = MultimodalVAE(model_config(config, bins, layout)).to(torch_device)
    if config.model.start_at_means:
        model.start_at(training_means(library, chosen.seen, packed, bins, layout))
    progress.log(
        f"{config.model.kind}, preset {config.preset}: {model.n_parameters:,} parameters "
        f"on {torch_device}"
    )
    data = training_data(
        library,
        chosen.paired,
        packed,
        layout,
        spectra=chosen.pool,
        structures=chosen.pool,
        unpaired_spectra=unpaired_spectra,
        unpaired_packed=unpaired_packed,
        compound_balance=config.optim.compound_balance,
    )
    if not config.optim.epochs:
        # An epoch is a pass over the largest stream, which may be a pool of unpaired molecules.
        largest = max(len(source) for source in data.streams().values())
        n_epochs = automatic_epochs(largest, config.optim.batch_size)
        config = replace(config, optim=replace(config.optim, epochs=n_epochs))

    def write_record() -> None:
        report.write_csv(files.output / "skipped.csv")
        write_split(files.output / "split.csv", folds)

    # A run that is refused, say because it cannot be resumed, leaves the record of the model that
    # is there alone: the first epoch is when the folder becomes this run's.
    epochs = _EpochLog(files.output, config.optim.epochs, progress, write_record)
    settings = flat_settings(config)
    del settings["optim.epochs"]  # a run at a constant rate may be given more
    state = StateFile(files.output / STATE_FILE, state_every, settings)
    history = fit(
        model,
        data,
        optim_config(config),
        objective_config(config),
        validate=(
            (lambda m: validation.mean_reciprocal_rank(m, torch_device)) if validation else None
        ),
        on_epoch=epochs,
        state=state,
        on_step=lambda epoch, step, of: progress.progress(f"epoch {epoch}, step", step, of),
        resume=resume,
        device=torch_device,
    )
    write_record()
    epochs.finish(history)
    # Summed over the epochs, so that those before a resumption count too.
    clock.seconds["training"] = round(
        sum(record.seconds + record.validation_seconds for record in history.epochs), 2
    )
    with clock("validation"):
        figures = validation.figures(model, torch_device) if validation else {}
    header = {
        "program": f"specvae {__version__}",
        "config": config.to_json(),
        "seed": config.seed,
        "bins": bins.to_json(),
        "fingerprint": {
            "name": layout.name,
            "version": layout.version,
            "n_bits": layout.n_bits,
            "probe_sha256": layout.probe_sha256,
        },
        "best_epoch": history.best.epoch,
        "validation": figures,
        "seconds": clock.seconds,
        "provenance": _provenance(files, library, rows, report, torch_device),
        "compounds": {
            fold: sorted(block for block, where in folds.items() if where == fold)
            for fold in ("train", "val")
        },
    }
    with clock("evidence"):
        companions = _add_evidence(
            header, model, library, rows, files, wanted, torch_device, n_jobs, progress
        )
    save_checkpoint(files.output / MODEL_FILE, model, header, companions)
    plot_training(epochs.records, files.output / "training.png")
    if figures:
        progress.log(
            f"best epoch {history.best.epoch}: validation hit@1 {figures['hit_at_1']:.1%} among "
            f"{figures['n_candidates']} structures of like mass (random "
            f"{figures['random_hit_at_1']:.1%}, blind {figures['blind_hit_at_1']:.1%})"
        )
    _put_away(state, keep_state)
    return header


def _put_away(state: StateFile, keep: bool) -> None:
    if not keep:
        state.path.unlink(missing_ok=True)


def _require_pairs_alone(config: TrainConfig, files: TrainFiles) -> None:
    """Raise a ConfigError if a model kind that cannot use unpaired samples is to have some."""
    kind = config.model.kind
    if MODEL_KINDS[kind].learns_from_unpaired:
        return
    asked = {
        "unpaired spectra": bool(files.unpaired_spectra),
        "unpaired molecules": bool(files.unpaired_molecules),
        f"supervision {config.supervision:g}, wanted 1": config.supervision < 1.0,
        "unpaired_pool 'all', wanted 'rest'": config.unpaired_pool == "all",
    }
    for what, is_asked in asked.items():
        if is_asked:
            raise ConfigError(
                f"model kind {kind} learns from pairs only; found {what} (other kinds: "
                f"{', '.join(name for name in MODEL_KINDS if name != kind)})"
            )


class _Clock:
    """Seconds that each step took."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, step: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[step] = round(time.perf_counter() - start, 2)


class _EpochLog:
    """Keeps ``epochs.jsonl`` whole after every epoch and says how it went."""

    def __init__(
        self, output: Path, n_epochs: int, progress: Progress, on_first: Callable[[], None]
    ) -> None:
        self.records: list[Mapping[str, Any]] = []
        self._on_first = on_first
        self._path = output / "epochs.jsonl"
        self._n_epochs = n_epochs
        self._progress = progress

    def __call__(self, record: EpochRecord) -> None:
        if not self.records:
            self._on_first()
        if record.epoch > 1 and not self.records and self._path.exists():
            # A resumed run: the epochs before it stand in the file already.
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


def _read_library(
    files: TrainFiles,
    bins: BinLayout,
    peaks: BinLayout | None,
    wanted: SpectrumFilter,
    report: ReadReport,
    progress: Progress,
) -> Library:
    library = Library.from_spectra(
        read_many(files.spectra, report),
        bins,
        report,
        wanted,
        lambda n: progress.progress("reading spectra", n),
        peaks,
    )
    progress.log(
        f"{report.summary()}; kept {len(library):,} spectra of {len(library.molecules):,} compounds"
    )
    if not len(library):
        names = ", ".join(str(path) for path in files.spectra)
        raise InputError(f"{names}: no spectrum to learn from ({report.summary()})")
    return library


def _add_evidence(
    header: dict[str, Any],
    model: MultimodalVAE,
    library: Library,
    rows: Mapping[str, NDArray[np.int64]],
    files: TrainFiles,
    wanted: SpectrumFilter,
    device: torch.device,
    n_jobs: int | None,
    progress: Progress,
) -> dict[str, Tensor]:
    """Put what candidates are ranked by beside the model into the header, and return its tensors.

    Weights and probabilities are fitted with the validation fold's compounds out of memory;
    afterwards those serve as memory like all others.
    """
    if library.peaks is None:
        return {}
    packed = fingerprints(
        [molecule.smiles for molecule in library.molecules],
        get_layout(ANALOGUE_FINGERPRINT),
        FingerprintCache(),
        n_jobs,
        lambda done, total: progress.progress("computing fingerprints", done, total),
    )
    remembered = np.sort(np.concatenate([rows["train"], rows["val"]]))
    pool = EvidencePool.from_library(library, remembered, packed)
    calibration = None
    if files.structures is not None and len(rows["val"]):
        held_out = {library.molecules[i].first_block for i in library.compound[rows["val"]]}
        trained_pool = EvidencePool.from_library(library, rows["train"], packed)
        calibration = calibrate(
            Annotator(model, header, device, trained_pool),
            *_spectra_of(held_out, files, wanted, header["seed"]),
            files.structures,
            n_jobs=n_jobs,
            progress=progress,
        )
        if calibration is None:
            progress.log(
                f"warning: fewer than {FEWEST_COMPOUNDS} validation compounds are among the "
                f"structures of {files.structures.name}: weights and probabilities keep their "
                "defaults"
            )
    if calibration is None:
        header["probability"] = default_probability().to_json()
        header["calibration"] = None
    else:
        pool = replace(pool, weights=calibration.weights)
        header["probability"] = calibration.probability.to_json()
        header["calibration"] = calibration.figures
        progress.log(
            f"weights and probabilities fitted to {calibration.figures['n_queries']:,} spectra of "
            f"{calibration.figures['n_compounds']:,} validation compounds: hit@1 "
            f"{calibration.figures['hit_at_1']:.1%} among the structures within {PPM:g} ppm"
        )
    header["experts"], tensors = to_companions(pool)
    return tensors


def _spectra_of(
    blocks: set[str], files: TrainFiles, wanted: SpectrumFilter, seed: int
) -> tuple[list[Spectrum], list[str]]:
    """Return some spectra of each of these compounds, and their first blocks.

    They are read once more: the library keeps its spectra encoded only.
    """
    report = ReadReport()
    found = [
        (spectrum, molecule.first_block)
        for spectrum, molecule in usable_pairs(read_many(files.spectra, report), wanted, report)
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


def _spectrum_filter(
    config: TrainConfig, files: TrainFiles, report: ReadReport, progress: Progress
) -> SpectrumFilter:
    # A report of its own: the totals of the run are of spectra to learn from.
    of_exclusions = ReadReport(strict=report.strict)
    excluded = read_excluded(files.exclude, of_exclusions)
    lost = [skip for skip in of_exclusions.skips if skip.reason.is_malformed]
    report.skips.extend(lost)
    if lost:
        progress.log(
            f"warning: {len(lost):,} unreadable records of exclusion files; their compounds are "
            f"learned from unless another record names them (first: {lost[0]})"
        )
    return SpectrumFilter(
        ion_mode=config.filter.ion_mode or None,
        adducts=canonical_adducts(config.filter.adducts),
        instrument_types=config.filter.instrument_types,
        min_peaks=config.filter.min_peaks,
        mass_tolerance_ppm=config.filter.mass_tolerance_ppm,
        excluded=excluded,
    )


def _fingerprints(
    files: TrainFiles,
    library: Library,
    layout: FingerprintLayout,
    left_out: tuple[frozenset[str], frozenset[str]],
    report: ReadReport,
    n_jobs: int | None,
    progress: Progress,
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return packed fingerprints of the library's molecules and of the unpaired ones.

    Of the unpaired, compounds in `left_out` (first blocks that are excluded, and held out) are
    skipped and counted.
    """
    cache = FingerprintCache()

    def show(done: int, total: int) -> None:
        progress.progress("computing fingerprints", done, total)

    packed = fingerprints(
        [molecule.smiles for molecule in library.molecules], layout, cache, n_jobs, show
    )
    parts: list[NDArray[np.uint8]] = []
    for path in files.unpaired_molecules:
        if path.suffix == ".h5":
            parts.extend(_of_pool(path, layout, left_out, report))
            continue
        smiles = []
        for name, molecule in read_molecules(path, report):
            rejected = reject_compound([molecule.first_block], *left_out)
            if rejected is None:
                smiles.append(molecule.smiles)
            else:
                report.skip(str(path), 0, name, *rejected)
        parts.append(fingerprints(smiles, layout, cache, n_jobs, show))
    empty = np.empty((0, packed.shape[1]), dtype=np.uint8)
    return packed, np.concatenate([empty, *parts])


def _of_pool(
    path: Path,
    layout: FingerprintLayout,
    left_out: tuple[frozenset[str], frozenset[str]],
    report: ReadReport,
) -> Iterator[NDArray[np.uint8]]:
    """Yield a pool's packed fingerprints in pieces: its texts are never in memory all at once."""
    with CandidatePool.open(path, layout) as pool:
        for start in range(0, len(pool), _POOL_ROWS):
            part = pool.slice(start, start + _POOL_ROWS)
            keep = np.ones(len(part), dtype=np.bool_)
            for i, block in enumerate(part.first_block):
                rejected = reject_compound([block], *left_out)
                if rejected is not None:
                    keep[i] = False
                    name = part.id[i] or part.name[i] or part.inchikey[i]
                    report.skip(str(path), start + i + 1, name, *rejected)
            yield part.packed[keep]


def _provenance(
    files: TrainFiles,
    library: Library,
    rows: Mapping[str, NDArray[np.int64]],
    report: ReadReport,
    device: torch.device,
) -> dict[str, Any]:
    paths = (
        *files.spectra,
        *files.unpaired_spectra,
        *files.unpaired_molecules,
        *files.exclude,
        *((files.structures,) if files.structures else ()),
    )
    return {
        "files": [{"name": path.name, "sha256": sha256_of(path)} for path in paths],
        "n_spectra": len(library),
        "n_compounds": len(library.molecules),
        "n_spectra_by_fold": {fold: len(of_fold) for fold, of_fold in rows.items()},
        "ion_modes": dict(library.ion_modes.most_common()),
        "adducts": dict(library.adducts.most_common()),
        "skipped": {reason.name: n for reason, n in report.counts.most_common()},
        "split_sha256": sha256_of(files.output / "split.csv"),
        "device": str(device),
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("numpy", "rdkit", "scikit-fingerprints", "torch")},
        },
    }
