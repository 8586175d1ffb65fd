"""The evidence in a checkpoint: the library's spectra and compounds, and the weights."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict

import torch
from torch import Tensor

from specvae.annotation.evidence.analogues import AnalogueIndex
from specvae.annotation.evidence.defaults import EVIDENCE_KINDS, SCALE, defaults, is_outdated
from specvae.annotation.evidence.fragment_score import (
    arrays_under,
    scorer_arrays,
    scorers_from_arrays,
    standard_scorers,
    with_compounds_known,
)
from specvae.annotation.evidence.library_memory import LibraryMemory
from specvae.annotation.evidence.own_spectra import OwnSpectraRatio
from specvae.annotation.evidence.pool import EvidencePool
from specvae.annotation.evidence.remembered import ANALOGUE_FINGERPRINT
from specvae.annotation.evidence.retention import standard_index
from specvae.annotation.library.header import StoredEvidence


def to_companions(pool: EvidencePool) -> tuple[StoredEvidence, dict[str, Tensor]]:
    """Return the data of a pool for a checkpoint: a part of its header, and tensors."""
    stored = StoredEvidence(
        bins=pool.library.index.bins,
        fingerprint=pool.library.fingerprint,
        probe_sha256=pool.layout.probe_sha256,
        weights=dict(pool.weights),
        first_blocks=tuple(pool.library.first_blocks),
        smiles=tuple(pool.library.smiles),
        scale=SCALE,
        own_spectra=asdict(pool.own_spectra),
        other_mode=asdict(pool.other_mode),
    )
    arrays = {
        **{f"index.{name}": array for name, array in pool.library.index.to_arrays().items()},
        **scorer_arrays(pool.scorers),
        "fingerprints": pool.library.fingerprints,
    }
    return stored, {name: torch.from_numpy(array) for name, array in arrays.items()}


def from_companions(stored: StoredEvidence, companions: Mapping[str, Tensor]) -> EvidencePool:
    """Return the pool that `to_companions` described.

    Raises
    ------
    ValueError
        If a weight or coefficient is no finite number, or the compounds are not as many as their
        fingerprints.
    KeyError, TypeError
        If a weight, a coefficient or a tensor is missing.
    """
    arrays = {name: tensor.numpy() for name, tensor in companions.items()}
    weights, own_spectra, other_mode = defaults()
    # Weights hold for the fragment score that they were fitted beside.
    scorers = standard_scorers()
    if not is_outdated(stored):
        scorers = with_compounds_known(scorers_from_arrays(arrays))
        weights = {kind: stored.weights[kind] for kind in EVIDENCE_KINDS}
        own_spectra = OwnSpectraRatio(**stored.own_spectra)
        other_mode = OwnSpectraRatio(**stored.other_mode)
    coefficients = (*asdict(own_spectra).values(), *asdict(other_mode).values())
    if not all(map(math.isfinite, (*weights.values(), *coefficients))):
        raise ValueError("a weight is not finite")
    if {len(stored.first_blocks), len(stored.smiles)} != {len(arrays["fingerprints"])}:
        raise ValueError("compounds and fingerprints differ in number")
    library = LibraryMemory(
        AnalogueIndex.from_arrays(arrays_under("index.", arrays), stored.bins),
        stored.first_blocks,
        stored.smiles,
        arrays["fingerprints"],
        stored.fingerprint,
    )
    return EvidencePool(
        library,
        scorers,
        weights,
        own_spectra,
        other_mode,
        standard_index() if stored.fingerprint == ANALOGUE_FINGERPRINT else None,
    )
