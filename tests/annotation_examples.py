"""A tiny untrained annotator and files of spectra, for tests that need no good ranking."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch

from specvae.annotation.library.header import (
    AnnotatorHeader,
    LayoutIdentity,
    Provenance,
    RunSettings,
)
from specvae.annotation.ranking.annotator import Annotator
from specvae.annotation.training.networks import bin_layout, model_config
from specvae.annotation.training.settings import TrainConfig, preset_config
from specvae.molecules.candidates import CandidateSet
from specvae.molecules.fingerprint import get_layout
from specvae.molecules.molecule import parse_molecule
from specvae.settings import from_json, override
from specvae.spectra.adducts import parse_adduct
from specvae.spectra.spectrum import Spectrum
from specvae.vae.model import MultimodalVAE

CAFFEINE = "Cn1cnc2c1c(=O)n(C)c(=O)n2C"
ASPIRIN = "CC(=O)Oc1ccccc1C(=O)O"


def tiny_config(**changes: object) -> TrainConfig:
    """Return settings of a model that trains in a moment; ``group__name`` stands for a key."""
    values: dict[str, object] = {
        "fingerprint": "morgan4096",
        "model.n_latent": 4,
        "model.spectrum_encoder": [8],
        "model.spectrum_decoder": [8],
        "model.fingerprint_encoder": [8],
        "model.fingerprint_decoder": [8],
        "inputs.fine_bin_width": 0.0,
        "inputs.neutral_losses": False,
        "optim.epochs": 1,
        "optim.batch_size": 8,
    }
    values |= {key.replace("__", "."): value for key, value in changes.items()}
    return override(preset_config("small", str(values.get("model.kind", "svae"))), values)


def tiny_annotator(ion_modes: Iterable[str] = ("positive",)) -> Annotator:
    """Return an untrained annotator that claims to know these ion modes."""
    torch.manual_seed(0)
    config = tiny_config()
    bins, layout = bin_layout(config), get_layout(config.fingerprint)
    header = AnnotatorHeader(
        bins=bins,
        fingerprint=LayoutIdentity.of(layout),
        provenance=Provenance(ion_modes=dict.fromkeys(ion_modes, 1)),
        compounds={"train": ("RYYVLZVUVIJVGH",), "val": ("BSYNRYMUTXBXSQ",)},
        config=from_json(RunSettings, config.to_json()),
    )
    return Annotator(MultimodalVAE(model_config(config, bins, layout)), header, torch.device("cpu"))


def write_library(path: Path, smiles: Iterable[str], n_each: int = 2) -> Path:
    """Write an MSP of `n_each` spectra of each structure as [M+H]+, with made-up peaks."""
    ion = parse_adduct("[M+H]+")
    assert ion is not None
    records: list[str] = []
    for number, text in enumerate(smiles):
        molecule = parse_molecule(text)
        mz = ion.precursor_mz(molecule.exact_mass)
        records.extend(
            f"NAME: compound {number}\nDB#: c{number}-{copy}\nPRECURSORMZ: {mz:.4f}\n"
            f"PRECURSORTYPE: [M+H]+\nIONMODE: positive\nSMILES: {text}\n"
            f"Num Peaks: 2\n{20 + number + copy}.05 50\n{mz:.4f} 100\n\n"
            for copy in range(n_each)
        )
    path.write_text("".join(records), encoding="utf-8")
    return path


def spectrum_of(smiles: str, *mz: float) -> Spectrum:
    """Return a spectrum of a structure's [M+H]+ whose peaks fall from 100 to 50."""
    molecule = parse_molecule(smiles)
    return Spectrum(
        mz=np.array(mz),
        intensity=np.linspace(100.0, 50.0, len(mz)),
        query_id=smiles,
        precursor_mz=molecule.exact_mass + 1.00727646,
        adduct="[M+H]+",
        ion_mode="positive",
        ms_level=2,
        smiles=smiles,
    )


def candidates(*smiles: str) -> CandidateSet:
    """Return structures as candidates of any query, without names."""
    molecules = [parse_molecule(s) for s in smiles]
    nothing = np.array([""] * len(smiles), dtype=object)
    return CandidateSet(
        np.array([m.smiles for m in molecules], dtype=object),
        np.array([m.exact_mass for m in molecules]),
        inchikey=np.array([m.inchikey for m in molecules], dtype=object),
        name=nothing,
        id=nothing,
    )
