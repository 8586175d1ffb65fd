"""Spectra as the arrays that `bench gpu` takes along; needs rdkit, and no GPU."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from specvae.annotation.library.compounds import read_excluded
from specvae.annotation.library.filter import SpectrumFilter, canonical_adducts
from specvae.annotation.library.library import Library, read_many
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
from specvae.molecules.fingerprint import FingerprintCache, fingerprints, get_layout
from specvae.report import ReadReport
from specvae.spectra.read import read_spectra
from specvae.vae.data import PackedBits
from specvae_bench.gpu.prepared import Prepared, write_prepared

KINDS = ("svae", "vaevae")
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
    jobs: int | None = None,
    preset: str = "paper",
    seed: int = 0,
) -> Prepared:
    """Encode a library for the preset's networks and write it to `output`.

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
    config = preset_config(preset, KINDS[0])
    bins, layout = bin_layout(config), get_layout(config.fingerprint)
    truths = [fold / "truth.csv" for fold in folds]
    wanted = SpectrumFilter(
        ion_mode=ion_mode,
        adducts=canonical_adducts(tuple(adducts)),
        instrument_types=tuple(instrument_types),
        excluded=read_excluded((*truths, *exclude)),
    )
    report = ReadReport()
    library = Library.from_spectra(
        read_many(spectra, report),
        bins,
        report,
        wanted,
        lambda n: console.progress("reading spectra", n),
    )
    console.log(f"{report.summary()}; kept {len(library):,} of {len(library.molecules):,}")
    if not len(library):
        raise InputError(f"{spectra[0]}: no spectrum to learn from ({report.summary()})")
    packed = fingerprints(
        [molecule.smiles for molecule in library.molecules],
        layout,
        FingerprintCache(),
        jobs,
        lambda done, total: console.progress("computing fingerprints", done, total),
    )
    rows = library.split(library.folds(_VALIDATION, 0.0, seed))
    val = few_per_group(rows["val"], library.compound[rows["val"]], MAX_SPECTRA_PER_COMPOUND, seed)
    val = np.sort(val[:MAX_QUERIES])
    if not len(val) or not len(rows["train"]):
        raise InputError(f"{spectra[0]}: too few compounds for a training and a validation fold")
    masses = np.array([molecule.exact_mass for molecule in library.molecules])
    nearest = []
    for compound in library.compound[val].tolist():
        distance = np.abs(masses - masses[compound])
        distance[compound] = -1.0
        nearest.append(np.argsort(distance, kind="stable")[: N_DECOYS + 1])
    queries = {}
    for fold in folds:
        of_fold = list(read_spectra(fold / "queries.mgf", ReadReport()))
        queries[fold.name] = sparse_rows(bins.encode_many(of_fold))
    kinds = {}
    for kind in KINDS:
        of_kind = preset_config(preset, kind)
        kinds[kind] = {
            "config": of_kind.to_json(),
            "model": model_config(of_kind, bins, layout).to_json(),
            "objective": objective_config(of_kind).to_json(),
            "optim": optim_config(of_kind).to_json(),
        }
    prepared = Prepared(
        sparse_rows(library.spectra),
        torch.from_numpy(library.compound),
        PackedBits(torch.from_numpy(packed), layout.n_bits),
        torch.from_numpy(rows["train"]),
        torch.from_numpy(val),
        torch.from_numpy(np.stack(nearest)),
        queries,
        {
            "kinds": kinds,
            "fingerprint": layout.name,
            "seed": seed,
            "files": [{"name": path.name, "sha256": sha256_of(path)} for path in spectra],
            "kept_out": [
                {"name": f"{path.parent.name}/{path.name}", "sha256": sha256_of(path)}
                for path in [*truths, *exclude]
            ],
            "queries": {fold.name: sha256_of(fold / "queries.mgf") for fold in folds},
        },
    )
    write_prepared(output, prepared)
    return prepared
