"""Spectra as the arrays that `bench gpu` takes along; needs rdkit, and no GPU."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from specvae.annotation.library.compounds import read_excluded
from specvae.annotation.library.filter import SpectrumFilter, canonical_adducts
from specvae.annotation.library.library import Library
from specvae.annotation.library.pairs import read_pairs
from specvae.annotation.library.tensors import sparse_rows
from specvae.annotation.training.networks import (
    bin_layout,
    model_config,
    objective_config,
    optim_config,
)
from specvae.annotation.training.settings import preset_config
from specvae.annotation.training.validation import (
    MAX_QUERIES,
    MAX_SPECTRA_PER_COMPOUND,
    N_DECOYS,
    few_per_group,
)
from specvae.cli.console import Console
from specvae.errors import InputError
from specvae.files import sha256_of
from specvae.molecules.fingerprint import (
    FingerprintLayout,
    cached_fingerprints,
    get_layout,
)
from specvae.report import ReadReport
from specvae.spectra.binning import BinLayout
from specvae.spectra.read import read_spectra
from specvae.vae.data import PackedBits
from specvae.vae.networks import SparseRows
from specvae_bench.files import digests
from specvae_bench.gpu.prepared import PreparedData, write_prepared

KINDS = ("svae", "vaevae")
_PRESET = "paper"
_SEED = 0
_VALIDATION = 0.1


def prepare(
    spectra: Sequence[Path],
    folds: Sequence[Path],
    exclude: Sequence[Path],
    *,
    ion_mode: str | None,
    adducts: Sequence[str],
    instrument_types: Sequence[str],
    output: Path,
    console: Console,
) -> PreparedData:
    """Encode a library for the networks of the preset ``paper`` and write it to `output`.

    Parameters
    ----------
    spectra
        The library.
    folds
        Folders with ``queries.mgf`` and ``truth.csv``. Their compounds are kept out of the library;
        their queries go along, to be ranked afterwards.
    exclude
        More compounds to keep out.
    ion_mode, adducts, instrument_types
        Of the library's spectra.

    Raises
    ------
    InputError
        If a file cannot be used or no spectrum is left.
    """
    config = preset_config(_PRESET, KINDS[0])
    bins, layout = bin_layout(config), get_layout(config.fingerprint)
    kept_out = [*(fold / "truth.csv" for fold in folds), *exclude]
    wanted = SpectrumFilter(
        ion_mode=ion_mode,
        adducts=canonical_adducts(tuple(adducts)),
        instrument_types=tuple(instrument_types),
        excluded=read_excluded(kept_out),
    )
    library = _read_library(spectra, bins, wanted, console)
    smiles = [molecule.smiles for molecule in library.molecules]
    packed = cached_fingerprints(smiles, layout, None, console)
    train, val = _training_and_validation(library)
    if not len(val) or not len(train):
        raise InputError(f"{spectra[0]}: too few compounds for a training and a validation fold")
    prepared = PreparedData(
        sparse_rows(library.spectra),
        torch.from_numpy(library.compound),
        PackedBits(torch.from_numpy(packed), layout.n_bits),
        torch.from_numpy(train),
        torch.from_numpy(val),
        torch.from_numpy(_nearest_by_mass(library, val)),
        {fold.name: _encoded_queries(fold, bins) for fold in folds},
        {
            "kinds": {kind: _settings_of_kind(kind, bins, layout) for kind in KINDS},
            "fingerprint": layout.name,
            "seed": _SEED,
            "files": digests(spectra),
            "kept_out": [
                {"name": f"{path.parent.name}/{path.name}", "sha256": sha256_of(path)}
                for path in kept_out
            ],
            "queries": {fold.name: sha256_of(fold / "queries.mgf") for fold in folds},
        },
    )
    write_prepared(output, prepared)
    return prepared


def _read_library(
    paths: Sequence[Path], bins: BinLayout, wanted: SpectrumFilter, console: Console
) -> Library:
    report = ReadReport()
    pairs = read_pairs(paths, wanted, report, console, "reading spectra")
    library = Library.from_pairs(pairs, bins)
    console.log(report.kept(len(library), len(library.molecules)))
    if not len(library):
        raise InputError(f"{paths[0]}: no spectrum to learn from ({report.summary()})")
    return library


def _training_and_validation(library: Library) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the spectra that are learned from and those that pick the best epoch."""
    rows = library.split(library.folds(_VALIDATION, 0.0, _SEED))
    val = few_per_group(rows["val"], library.compound[rows["val"]], MAX_SPECTRA_PER_COMPOUND, _SEED)
    return rows["train"], np.sort(val[:MAX_QUERIES])


def _nearest_by_mass(library: Library, spectra: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return each spectrum's compound and the compounds nearest to it in mass, (n, N_DECOYS + 1).

    The spectrum's own compound is the first; a library of fewer compounds has fewer columns.
    """
    masses = np.array([molecule.exact_mass for molecule in library.molecules])
    nearest = []
    for compound in library.compound[spectra].tolist():
        distance = np.abs(masses - masses[compound])
        distance[compound] = -1.0
        nearest.append(np.argsort(distance, kind="stable")[: N_DECOYS + 1])
    return np.stack(nearest)


def _encoded_queries(fold: Path, bins: BinLayout) -> SparseRows:
    queries = list(read_spectra(fold / "queries.mgf", ReadReport()))
    return sparse_rows(bins.encode_many(queries))


def _settings_of_kind(kind: str, bins: BinLayout, layout: FingerprintLayout) -> dict[str, Any]:
    config = preset_config(_PRESET, kind)
    return {
        "config": config.to_json(),
        "model": model_config(config, bins, layout).to_json(),
        "objective": objective_config(config).to_json(),
        "optim": optim_config(config).to_json(),
    }
