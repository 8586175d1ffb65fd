"""The annotator: a trained model with all that ranking needs of it."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from specvae.annotation.evidence.checkpoint import from_companions
from specvae.annotation.evidence.defaults import is_outdated
from specvae.annotation.evidence.fingerprint import (
    bit_logits,
    fingerprint_means,
    spectrum_means,
)
from specvae.annotation.evidence.items import BitEvidence
from specvae.annotation.evidence.list_features import LIST_FEATURES
from specvae.annotation.evidence.odds import logistic
from specvae.annotation.evidence.pool import EvidencePool
from specvae.annotation.library.header import AnnotatorHeader, LayoutIdentity
from specvae.annotation.library.query import Assumptions, Query
from specvae.annotation.library.tensors import empty_spectrum, sparse_rows
from specvae.annotation.ranking.probability import ProbabilityModel, default_probability
from specvae.annotation.ranking.run_scoring import RunScoring
from specvae.counting import counted
from specvae.errors import CheckpointError, ConfigError
from specvae.molecules.fingerprint import (
    FingerprintLayout,
    get_layout,
    unpack,
)
from specvae.molecules.molecule import Molecule, fragment_smiles
from specvae.spectra.spectrum import Spectrum
from specvae.vae.checkpoint import load_checkpoint, load_companions
from specvae.vae.device import pick_device
from specvae.vae.model import MultimodalVAE

LEAST_DIFFERENCE = 0.02
"""Nats; bits that change a difference of scores by less are not shown."""

_N_BITS = 12


class Annotator:
    """A trained model with the layouts that its inputs and outputs need.

    Parameters
    ----------
    model, header
        What a checkpoint holds.
    device
        Where the model computes.
    evidence_pool
        The evidence beside predicted fingerprints; None to rank by these alone.

    Raises
    ------
    CheckpointError
        If this machine computes other fingerprints than the ones the model was trained on, or the
        header's calibration makes no sense.
    """

    def __init__(
        self,
        model: MultimodalVAE,
        header: AnnotatorHeader,
        device: torch.device,
        evidence_pool: EvidencePool | None = None,
    ) -> None:
        self.evidence_pool = evidence_pool
        self.model = model.to(device).eval()
        self.header = header
        self.device = device
        self.layout = _checked_layout(header.fingerprint)
        self.bins = header.bins
        # Probabilities hold for the scores that they were fitted to: those of all evidence.
        whole = evidence_pool is not None or header.evidence is None
        features = LIST_FEATURES if evidence_pool is not None else ()
        stored = header.probability if whole else None
        self.probability = _probability_model(stored, features)
        self._is_outdated = header.evidence is not None and is_outdated(header.evidence)
        if stored is not None and self._is_outdated:
            self.probability = default_probability()
        self.blind_logits: NDArray[np.float64] = bit_logits(
            model, empty_spectrum(self.bins), device
        )[0]

    @classmethod
    def load(cls, path: Path, device: str = "auto", *, fingerprint_only: bool = False) -> Annotator:
        """Load a checkpoint file.

        Parameters
        ----------
        path, device
            The file, and where the model is to compute.
        fingerprint_only
            Rank candidates by the likelihood of their fingerprints alone.

        Raises
        ------
        CheckpointError
            If the file is not a whole checkpoint of this program.
        """
        torch_device = pick_device(device)
        model, general = load_checkpoint(path, torch_device)
        header = AnnotatorHeader.of_model(general, path)
        pool = None
        if not fingerprint_only and header.evidence is not None:
            companions = load_companions(path)
            try:
                pool = from_companions(header.evidence, companions)
                _require_same(pool.layout, probe_sha256=header.evidence.probe_sha256)
            except (KeyError, TypeError, ValueError, ConfigError) as error:
                raise CheckpointError(
                    f"{path}: the evidence in the header makes no sense: {error!r}"
                ) from None
        return cls(model, header, torch_device, pool)

    def with_evidence(self, pool: EvidencePool) -> Annotator:
        """Return the same model with other evidence beside predicted fingerprints."""
        changed = copy(self)
        changed.evidence_pool = pool
        return changed

    def ignoring_retention_times(self) -> Annotator:
        """Return the same model, which makes no use of queries' retention times."""
        pool = self.evidence_pool
        return self if pool is None else self.with_evidence(replace(pool, retention=None))

    def ignoring_mass_errors(self) -> Annotator:
        """Return the same model, which makes no use of errors of queries' precursor m/z."""
        pool = self.evidence_pool
        if pool is None:
            return self
        return self.with_evidence(replace(pool, uses_mass_errors=False))

    def ignoring_nearness(self) -> Annotator:
        """Return the same model without the evidence of nearness to the library's compounds."""
        pool = self.evidence_pool
        if pool is None:
            return self
        return self.with_evidence(replace(pool, weights={**pool.weights, "nearness": 0.0}))

    @property
    def calibration_source(self) -> str:
        """What the probabilities were fitted to, as a phrase.

        Few models have a calibration of their own; the others use the one of the program.
        """
        fitted = self.header.calibration
        if fitted is not None and self._is_outdated:
            return (
                "by the calibration that comes with specvae: this model's own was fitted to "
                "evidence as it was computed before (train it anew for one of its own)"
            )
        if fitted is None:
            return (
                "by the calibration that comes with specvae, fitted to other models and [M+H]+ "
                "spectra of MassBank only ('train --structures' fits this model's own)"
            )
        return (
            f"by this model's own calibration, fitted to {counted(fitted.n_queries, 'spectra')} of "
            f"{counted(fitted.n_compounds, 'validation compounds')}"
        )

    @property
    def run_scoring(self) -> RunScoring:
        """What turns the evidence of a run's queries into final scores and probabilities."""
        pool = self.evidence_pool
        if pool is None:
            return RunScoring(None, self.probability)
        return RunScoring(pool.weights, self.probability, pool.library.has_both_modes)

    @property
    def training_compounds(self) -> frozenset[str]:
        """InChIKey first blocks of the compounds that trained or chose the model."""
        return frozenset(b for blocks in self.header.compounds.values() for b in blocks)

    def assign_ion(self, spectrum: Spectrum, assumed: Assumptions | None = None) -> Query:
        """Return a spectrum as a query.

        If neither the spectrum nor the user states an ion mode, and the model was trained on one
        ion mode only, that ion mode is assumed.
        """
        known = [mode for mode in self.header.provenance.ion_modes if mode != "unknown"]
        query = Query.assign_ion(spectrum, (assumed or Assumptions()).or_only(known))
        untrained = None
        if known and query.ion_mode is not None and query.ion_mode not in known:
            untrained = f"{query.ion_mode} ion mode"
        elif len(query.ions) == 1 and self.header.provenance.adducts:
            name = query.ions[0].name
            untrained = None if name in self.header.provenance.adducts else name
        if untrained is None:
            return query
        return replace(query, remarks=(*query.remarks, f"the model was not trained on {untrained}"))

    def predict(self, spectra: Sequence[Spectrum]) -> NDArray[np.float64]:
        """Return the logit of every fingerprint bit, float64 (n_spectra, n_bits)."""
        encoded = sparse_rows(self.bins.encode_many(spectra))
        return bit_logits(self.model, encoded, self.device)

    def embed(self, spectra: Sequence[Spectrum]) -> NDArray[np.float32]:
        """Return latent means of spectra, float32 (n_spectra, n_latent)."""
        encoded = sparse_rows(self.bins.encode_many(spectra))
        return spectrum_means(self.model, encoded, self.device)

    def embed_fingerprints(self, packed: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return latent means of molecules, float32 (n, n_latent), from packed fingerprints."""
        return fingerprint_means(self.model, unpack(packed, self.layout.n_bits), self.device)

    def telling_bits(
        self,
        logits: NDArray[np.floating[Any]],
        packed: tuple[NDArray[np.uint8], NDArray[np.uint8]],
        molecules: tuple[Molecule, Molecule],
    ) -> tuple[BitEvidence, ...]:
        """Return the bits in which two candidates differ, those that matter most first.

        The log-likelihoods of a set bit and of the same bit not set differ by its logit. Its
        effect on the score is the logit times the weight of fingerprints. Bits with an effect of
        less than `LEAST_DIFFERENCE` nats are left out.

        Parameters
        ----------
        logits
            Predicted, (n_bits,).
        packed
            Fingerprints of both candidates, (n_bytes,) each.
        molecules
            The candidates.
        """
        both = unpack(np.stack(packed), self.layout.n_bits).astype(np.int8)
        weight = 1.0 if self.evidence_pool is None else self.evidence_pool.weights["fingerprint"]
        gains = weight * logits.astype(np.float64) * (both[0] - both[1])
        order = np.argsort(-np.abs(gains), kind="stable")[:_N_BITS]
        found = []
        for bit in order[np.abs(gains[order]) >= LEAST_DIFFERENCE].tolist():
            first_has_it = bool(both[0, bit])
            mol = molecules[0 if first_has_it else 1].mol
            places = self.layout.places(bit, mol)
            found.append(
                BitEvidence(
                    bit,
                    self.layout.title(bit),
                    float(logistic(logits[bit])),
                    first_has_it,
                    float(gains[bit]),
                    fragment_smiles(mol, places[0]) if places else "",
                    tuple(places),
                )
            )
        return tuple(found)


def _require_same(layout: FingerprintLayout, **stored: object) -> None:
    mismatch = layout.mismatch(**stored)
    if mismatch is not None:
        raise CheckpointError(
            f"fingerprint {layout.name}: {mismatch} in the model; install the versions that "
            "'specvae info' lists"
        )


def _probability_model(stored: object, wanted: tuple[str, ...]) -> ProbabilityModel | None:
    if stored is None:
        return None
    try:
        model = ProbabilityModel.from_json(stored)
    except ConfigError as error:
        raise CheckpointError(f"calibration in the model's header: {error}") from None
    # One that was fitted earlier knows fewer of them.
    unknown = tuple(name for name in model.feature_names if name not in wanted)
    if unknown:
        raise CheckpointError(
            f"calibration in the model's header: found the features {unknown}, wanted some of "
            f"{wanted}"
        )
    if model.short_lists is None and wanted:
        # It was fitted before short lists had odds of their own, which do not depend on it.
        return replace(model, short_lists=default_probability().short_lists)
    return model


def _checked_layout(stored: LayoutIdentity) -> FingerprintLayout:
    layout = get_layout(stored.name)
    _require_same(
        layout, version=stored.version, n_bits=stored.n_bits, probe_sha256=stored.probe_sha256
    )
    return layout
