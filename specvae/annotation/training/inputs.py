"""The input of a training run: every file is opened and checked before a long step begins."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from specvae.annotation.evidence.analogues import ANALOGUE_BINS
from specvae.annotation.library.compounds import read_excluded, unread_exclusions
from specvae.annotation.library.filter import SpectrumFilter, canonical_adducts
from specvae.annotation.library.library import Library, encode_unpaired_spectra, reject_compound
from specvae.annotation.library.pairs import read_many, read_pairs
from specvae.annotation.ranking.candidates import CandidateSource
from specvae.annotation.training.calibrate import PPM
from specvae.annotation.training.networks import bin_layout
from specvae.annotation.training.run_files import TrainFiles, require_files
from specvae.annotation.training.settings import TrainConfig
from specvae.annotation.training.validation import MAX_SPECTRA_PER_COMPOUND, few_per_group
from specvae.errors import ConfigError, InputError
from specvae.molecules.candidate_pool import CandidatePool
from specvae.molecules.fingerprint import FingerprintLayout, cached_fingerprints
from specvae.molecules.molecule import blocks_of_salt
from specvae.molecules.structures import read_molecules, read_rows
from specvae.progress import Progress, Silence
from specvae.report import ReadReport
from specvae.sources import is_pool
from specvae.spectra.binning import BinLayout
from specvae.spectra.read import read_spectra
from specvae.spectra.sparse import SparseMatrix
from specvae.spectra.spectrum import Spectrum
from specvae.vae.kinds import MODEL_KINDS

POOL_ROWS = 8192


@dataclass(frozen=True, eq=False)
class TrainInputs:
    """The data that was read.

    Attributes
    ----------
    library
        Spectra with structures, in all columns of the layout of bins.
    folds
        InChIKey first block -> ``train``, ``val`` or ``test``.
    rows
        Spectra of the library by fold, int64.
    packed
        Fingerprints of the library's molecules, uint8 (n_molecules, n_bytes).
    unpaired_spectra
        More spectra, in the same columns.
    unpaired_packed
        Fingerprints of more structures, uint8 (n, n_bytes).
    wanted
        Which spectra of the library are used for training.
    """

    library: Library
    folds: Mapping[str, str]
    rows: Mapping[str, NDArray[np.int64]]
    packed: NDArray[np.uint8]
    unpaired_spectra: SparseMatrix
    unpaired_packed: NDArray[np.uint8]
    wanted: SpectrumFilter


def require_usable(
    config: TrainConfig, files: TrainFiles, layout: FingerprintLayout, report: ReadReport
) -> AbstractContextManager[CandidateSource | None]:
    """Open each file that a run reads late, and check that it is of the right kind.

    Rows of the structures that cannot be used are counted in `report`.

    Returns
    -------
    The structures among which weights and probabilities are fitted, open; None if not given.

    Raises
    ------
    ConfigError
        If a file has no use under these settings.
    InputError
        If a file is missing or of another kind, or a pool has another fingerprint layout.
    """
    _require_pairs_alone(config, files)
    if files.structures is not None and not config.evidence.library:
        raise ConfigError(
            f"{files.structures}: --structures is for fitting the weights of all evidence, which "
            "evidence.library = false turns off"
        )
    require_files(files)
    for path in (*files.spectra, *files.unpaired_spectra):
        read_spectra(path, ReadReport())  # looks at the file, and reads when it is iterated
    for path in files.unpaired_molecules:
        if is_pool(path):
            CandidatePool.open(path, layout).close()
        elif next(iter(read_rows(path, report := ReadReport())), None) is None:
            raise InputError(f"{path}: no usable structure ({report.nothing_read('structures')})")
    if files.structures is None:
        return nullcontext()
    return CandidateSource(files.structures, layout, PPM, report)


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
    for found, is_asked in asked.items():
        if is_asked:
            raise ConfigError(
                f"model kind {kind} learns from pairs only; found {found} (other kinds: "
                f"{', '.join(n for n, other in MODEL_KINDS.items() if other.learns_from_unpaired)})"
            )


def read_inputs(
    config: TrainConfig,
    files: TrainFiles,
    layout: FingerprintLayout,
    report: ReadReport,
    *,
    clock: Callable[[str], AbstractContextManager[None]],
    n_jobs: int | None,
    progress: Progress,
) -> TrainInputs:
    """Read all files, and compute the fingerprints of their structures.

    Parameters
    ----------
    config, files
        Of the run.
    layout
        Of the fingerprints.
    report
        Gets what is skipped.
    clock
        Entered with the name of each step: ``read``, ``fingerprints``.
    n_jobs
        Processes that compute fingerprints; None for one per core.
    progress
        Where progress is shown.

    Raises
    ------
    InputError
        If a file cannot be used, or has nothing to learn from.
    ConfigError
        If an adduct is unknown.
    """
    bins = bin_layout(config)
    with clock("read"):
        wanted = _read_spectrum_filter(config, files, report, progress)
        library = _read_library(config, files, bins, wanted, report, progress)
        folds, rows = _choose_folds(library, config, progress)
        held_out = frozenset(block for block, fold in folds.items() if fold != "train")
        unpaired_spectra = _read_unpaired_spectra(files, bins, wanted, held_out, report)
    with clock("fingerprints"):
        packed = cached_fingerprints(library.molecules, layout, n_jobs, progress)
        unpaired_packed = _read_unpaired_molecules(
            files, layout, (wanted.excluded, held_out), report, n_jobs, progress
        )
    return TrainInputs(
        library=library,
        folds=folds,
        rows=rows,
        packed=packed,
        unpaired_spectra=unpaired_spectra,
        unpaired_packed=unpaired_packed,
        wanted=wanted,
    )


def _read_spectrum_filter(
    config: TrainConfig, files: TrainFiles, report: ReadReport, progress: Progress
) -> SpectrumFilter:
    """Return which spectra are used for training, by the settings and the exclusion files.

    Raises
    ------
    InputError
        If an exclusion file cannot be used.
    ConfigError
        If an adduct is unknown.
    """
    # A report of its own: the totals of the run are of spectra to learn from.
    exclusions = ReadReport(strict=report.strict)
    excluded = read_excluded(files.exclude, exclusions)
    report.skips.extend(skip for skip in exclusions.skips if skip.reason.is_malformed)
    if unread := unread_exclusions(exclusions):
        progress.log(unread)
    return SpectrumFilter(
        ion_mode=config.filter.ion_mode or None,
        adducts=canonical_adducts(config.filter.adducts),
        instrument_types=config.filter.instrument_types,
        min_peaks=config.filter.min_peaks,
        mass_tolerance_ppm=config.filter.mass_tolerance_ppm,
        excluded=excluded,
    )


def _read_library(
    config: TrainConfig,
    files: TrainFiles,
    bins: BinLayout,
    wanted: SpectrumFilter,
    report: ReadReport,
    progress: Progress,
) -> Library:
    """Return the spectra with structures.

    Raises
    ------
    InputError
        If a file cannot be used, or none of them has a spectrum to learn from.
    """
    pairs = read_pairs(files.spectra, wanted, report, progress, "reading spectra")
    library = Library.from_pairs(pairs, bins, ANALOGUE_BINS if config.evidence.library else None)
    if not len(library):
        names = ", ".join(str(path) for path in files.spectra)
        raise InputError(f"{names}: no spectrum to learn from ({report.summary()})")
    progress.log(report.kept(len(library), len(library.molecules)))
    return library


def _choose_folds(
    library: Library, config: TrainConfig, progress: Progress
) -> tuple[dict[str, str], dict[str, NDArray[np.int64]]]:
    """Return the fold of each first block, and the library's rows by fold, each int64 (n,)."""
    folds = library.folds(config.split.validation, config.split.test, config.seed)
    rows = library.split(folds)
    if not len(rows["train"]):
        progress.log("too few compounds for a validation fold: all are trained on")
        folds = dict.fromkeys(folds, "train")
        rows = library.split(folds)
    return folds, rows


def _read_unpaired_spectra(
    files: TrainFiles,
    bins: BinLayout,
    wanted: SpectrumFilter,
    held_out: frozenset[str],
    report: ReadReport,
) -> SparseMatrix:
    """Return spectra to learn from without structures; compounds `held_out` are not among them.

    Raises
    ------
    InputError
        If a file cannot be used, or nothing is left of all of them.
    """
    n_skipped = len(report.skips)
    found = encode_unpaired_spectra(
        read_many(files.unpaired_spectra, report), bins, report, wanted, held_out
    )
    if files.unpaired_spectra and len(found.offsets) == 1:
        _refuse_unpaired(files.unpaired_spectra, "spectrum", report, n_skipped)
    return found


def _read_unpaired_molecules(
    files: TrainFiles,
    layout: FingerprintLayout,
    left_out: tuple[frozenset[str], frozenset[str]],
    report: ReadReport,
    n_jobs: int | None,
    progress: Progress,
) -> NDArray[np.uint8]:
    """Return packed fingerprints of structures without spectra, uint8 (n, n_bytes).

    Compounds in `left_out` (first blocks that are excluded, and held out) are skipped and counted.

    Raises
    ------
    InputError
        If a file cannot be used, or nothing is left of all of them.
    """
    n_skipped = len(report.skips)
    parts = [np.empty((0, (layout.n_bits + 7) // 8), dtype=np.uint8)]
    for path in files.unpaired_molecules:
        if is_pool(path):
            parts.extend(_pool_fingerprints(path, layout, left_out, report))
            continue
        molecules = []
        for name, molecule in read_molecules(path, report):
            blocks = [molecule.first_block, *blocks_of_salt(molecule.written)]
            rejected = reject_compound(blocks, *left_out)
            if rejected is None:
                molecules.append(molecule)
            else:
                report.skip(str(path), 0, name, *rejected)
        parts.append(cached_fingerprints(molecules, layout, n_jobs, progress))
    found = np.concatenate(parts)
    if files.unpaired_molecules and not len(found):
        _refuse_unpaired(files.unpaired_molecules, "structure", report, n_skipped)
    return found


def _refuse_unpaired(
    paths: tuple[Path, ...], noun: str, report: ReadReport, n_skipped: int
) -> None:
    skips = ReadReport(skips=report.skips[n_skipped:])
    causes = ", ".join(f"{reason} {n:,}" for reason, n in skips.counts.most_common())
    names = ", ".join(str(path) for path in paths)
    raise InputError(f"{names}: no {noun} to learn from is left ({causes or 'none was read'})")


def _pool_fingerprints(
    path: Path,
    layout: FingerprintLayout,
    left_out: tuple[frozenset[str], frozenset[str]],
    report: ReadReport,
) -> Iterator[NDArray[np.uint8]]:
    """Yield a pool's packed fingerprints in pieces: its texts are never in memory all at once."""
    with CandidatePool.open(path, layout) as pool:
        for start in range(0, len(pool), POOL_ROWS):
            part = pool.slice(start, start + POOL_ROWS)
            keep = np.ones(len(part), dtype=np.bool_)
            for i, block in enumerate(part.first_block):
                rejected = reject_compound([block], *left_out)
                if rejected is not None:
                    keep[i] = False
                    name = part.id[i] or part.name[i] or part.inchikey[i]
                    report.skip(str(path), start + i + 1, name, *rejected)
            yield part.packed[keep]


def spectra_of(
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
