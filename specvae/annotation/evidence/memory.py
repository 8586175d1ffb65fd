"""What a checkpoint keeps of the evidence: the library's spectra and compounds, and the weights."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from specvae.annotation.evidence.analogues import AnalogueIndex
from specvae.annotation.evidence.fragment_score import (
    arrays_under,
    scorer_arrays,
    scorers_from_arrays,
)
from specvae.annotation.evidence.pool import EVIDENCE_KINDS, EvidencePool
from specvae.spectra.binning import BinLayout


def to_companions(pool: EvidencePool) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return what a checkpoint keeps of a pool: JSON values for its header, and tensors."""
    header = {
        "bins": pool.index.bins.to_json(),
        "fingerprint": pool.fingerprint,
        "probe_sha256": pool.layout.probe_sha256,
        "weights": dict(pool.weights),
        "first_blocks": list(pool.first_blocks),
        "smiles": list(pool.smiles),
    }
    arrays = {
        **{f"index.{name}": array for name, array in pool.index.to_arrays().items()},
        **scorer_arrays(pool.scorers),
        "fingerprints": pool.fingerprints,
    }
    return header, {name: torch.from_numpy(array) for name, array in arrays.items()}


def from_companions(header: Mapping[str, Any], companions: Mapping[str, Tensor]) -> EvidencePool:
    """Return the pool that `to_companions` described.

    Raises
    ------
    ValueError
        If a weight is no finite number, or the compounds are not as many as their fingerprints.
    KeyError, TypeError
        If a part is missing or of another kind.
    """
    arrays = {name: tensor.numpy() for name, tensor in companions.items()}
    if not all(math.isfinite(header["weights"][kind]) for kind in EVIDENCE_KINDS):
        raise ValueError("a weight is not finite")
    if {len(header["first_blocks"]), len(header["smiles"])} != {len(arrays["fingerprints"])}:
        raise ValueError("compounds and fingerprints differ in number")
    return EvidencePool(
        AnalogueIndex.from_arrays(
            arrays_under("index.", arrays), BinLayout.from_json(header["bins"])
        ),
        header["first_blocks"],
        header["smiles"],
        arrays["fingerprints"],
        scorers_from_arrays(arrays),
        header["weights"],
        header["fingerprint"],
    )
