"""The kinds of evidence, and the weights that come with the program.

Without torch, RDKit and numba, so that `specvae info` is quick.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from specvae.annotation.evidence.own_spectra import OwnSpectraRatio
from specvae.annotation.library.header import StoredEvidence

EVIDENCE_KINDS = ("fingerprint", "analogues", "fragments", "library", "nearness")
"""The kinds of evidence; columns of `Evidence.raw` are in this order."""

DEFAULTS_FILE = Path(__file__).with_name("evidence.json")
"""Weights, fitted by ``specvae bench laboratories --fit``: see docs/research.md."""

SCALE = "nats with nearness"
"""The scale of weights, as named in a checkpoint. Weights of another scale, or of none, hold for
evidence as earlier versions computed it, and are replaced by the defaults. In these versions,
nearness to the library did not count ("nats of both ion modes"), spectra of the other ion mode were
no evidence ("nats of a mixture"), analogues were the logarithm of other votes ("nats"), and before
that all evidence was standardised over each list (no name)."""


class Defaults(NamedTuple):
    """Weights and coefficients that were fitted once and come with the program.

    Parameters
    ----------
    weights
        By kind of evidence. The weight of the library's evidence is 1, as its coefficients are
        fitted themselves.
    own_spectra, other_mode
        Coefficients of the evidence of own spectra: for spectra of the query's ion mode, and for
        spectra of the other ion mode of candidates that have no others.
    """

    weights: Mapping[str, float]
    own_spectra: OwnSpectraRatio
    other_mode: OwnSpectraRatio


@lru_cache(maxsize=1)
def defaults() -> Defaults:
    """Return the weights that come with the program; see `DEFAULTS_FILE`."""
    stored = json.loads(DEFAULTS_FILE.read_text(encoding="utf-8"))
    ratios = (OwnSpectraRatio(**stored[name]) for name in ("own_spectra", "other_mode"))
    return Defaults(stored["weights"], *ratios)


def is_outdated(stored: StoredEvidence) -> bool:
    """Return whether weights and probabilities are for evidence as earlier versions computed it.

    The library's spectra can still be used; see `SCALE`.
    """
    return stored.scale != SCALE
