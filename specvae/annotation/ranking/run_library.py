"""The library of a run: the model's own spectra and those of further files; the nearest of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from specvae.annotation.evidence.remembered import read_library
from specvae.annotation.ranking.annotator import Annotator
from specvae.counting import counted
from specvae.errors import ConfigError
from specvae.molecules.fingerprint import fingerprints, unpack
from specvae.progress import Progress
from specvae.report import ReadReport
from specvae.spectra.spectrum import Spectrum


def with_library(
    annotator: Annotator,
    files: Sequence[Path],
    report: ReadReport,
    *,
    use_own: bool,
    n_jobs: int | None = None,
    progress: Progress,
) -> tuple[Annotator, tuple[str, ...]]:
    """Return the model with the library of this run, and lines on it for the user.

    Parameters
    ----------
    annotator
        The model.
    files
        Files of spectra, plain or encoded (``.h5``), that are added to the model's own library.
    report
        Where spectra that are not used are counted.
    use_own
        Whether the model's own library counts.
    n_jobs, progress
        Processes that compute fingerprints, and where progress is shown.

    Raises
    ------
    InputError
        If a file cannot be used.
    ConfigError
        If the model cannot use a library, or not this one.
    """
    pool = annotator.evidence_pool
    if pool is None:
        if files:
            raise ConfigError(
                "the model ranks by the predicted fingerprint alone, which needs no library"
            )
        return annotator, ()
    notes = []
    if not use_own:
        pool = pool.forgetting()
        notes.append("library: the model's own is not used")
    bins = pool.library.index.bins
    for added in read_library(files, report, bins=bins, n_jobs=n_jobs, progress=progress):
        n_before = len(pool.library.first_blocks)
        pool, n_known = pool.remembering(added)
        notes.append(
            f"library: {counted(len(added) - n_known, 'spectra')} added "
            f"({counted(n_known, 'more are', 'more is')} remembered already), "
            f"{counted(len(pool.library.first_blocks) - n_before, 'compounds')} new; "
            f"{counted(len(pool.library.index), 'spectra')} of "
            f"{counted(len(pool.library.first_blocks), 'compounds')} in all"
        )
    return annotator.with_evidence(pool), tuple(notes)


@dataclass(frozen=True, slots=True, eq=False)
class NearestSpectrum:
    """The library spectrum that is most like a query, and the compound that it is of.

    Attributes
    ----------
    query_id
        What the spectrum is called; empty in models that did not keep it.
    cosine
        Likeness of the spectra, from 0 to 1.
    bits
        bool (n_bits,): the compound's fingerprint in the layout of the model.
    """

    query_id: str
    cosine: float
    bits: NDArray[np.bool_]


def nearest_in_library(
    annotator: Annotator, spectra: Sequence[Spectrum]
) -> list[NearestSpectrum | None]:
    """Return the nearest remembered spectrum of each query's ion mode, of whatever mass.

    None where nothing is remembered, nothing shares a peak or a neutral loss with the query, or the
    query has no fragments (`Spectrum.has_fragments`).
    """
    pool = annotator.evidence_pool
    if pool is None or not len(pool.library.index):
        return [None] * len(spectra)
    found: list[tuple[int, float, str] | None] = []
    for spectrum in spectra:
        if not spectrum.has_fragments:
            found.append(None)
            continue
        index = pool.library.compared_with(spectrum)
        likeness = index.likeness(spectrum)
        best = int(np.argmax(likeness.compounds))
        if not likeness.compounds[best] > 0.0:
            found.append(None)
            continue
        label = index.label(int(index.best_rows(likeness, np.array([best]))[0]))
        compound = int(index.compounds[best])
        found.append((compound, float(likeness.compounds[best]), label.query_id if label else ""))
    smiles = [pool.library.smiles[each[0]] for each in found if each is not None]
    packed = iter(fingerprints(smiles, annotator.layout, n_jobs=1) if smiles else ())
    return [
        None
        if each is None
        else NearestSpectrum(
            each[2],
            each[1],
            unpack(next(packed)[np.newaxis], annotator.layout.n_bits)[0].astype(np.bool_),
        )
        for each in found
    ]
