"""The evidence for a query's candidates, pooled into one score.

A candidate's score is a weighted sum of four kinds of evidence (a log-linear pool):

    score(c) = sum over kinds k of w_k x_k(c)

``fingerprint``
    log-likelihood of the candidate's fingerprint under the model's prediction (the cross entropy);
``analogues``
    votes of the library's compounds with like spectra for candidates of like structure
    (`specvae.annotation.evidence.analogues`), none for itself;
``fragments``
    log-odds that the query's peaks are the candidate's fragments
    (`specvae.annotation.evidence.fragment_score`);
``library``
    for a candidate that the library has spectra of: how they agree with the query
    (`specvae.annotation.evidence.own_spectra`).

The first three are standardised over the candidates of a query, since their spread differs
between spectra for reasons that have nothing to do with the candidates. The exponential of the
score, divided by its sum, is a distribution over the candidates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from specvae.annotation.evidence.analogues import (
    ANALOGUE_BINS,
    AnalogueIndex,
    AnalogueRule,
    analogue_scores,
)
from specvae.annotation.evidence.fingerprint import standardised
from specvae.annotation.evidence.fragment_score import FragmentScorer, standard_scorers
from specvae.annotation.evidence.fragments import Peaks, explain
from specvae.annotation.evidence.items import Analogue, PeakEvidence
from specvae.annotation.evidence.minimise import minimise
from specvae.annotation.evidence.own_spectra import own_spectra_ratios
from specvae.annotation.library.library import Library
from specvae.molecules.candidates import CandidateSet
from specvae.molecules.fingerprint import FingerprintLayout, get_layout
from specvae.molecules.fragments import FragmentTable
from specvae.molecules.molecule import Molecule
from specvae.spectra.spectrum import Spectrum

EVIDENCE_KINDS = ("fingerprint", "analogues", "fragments", "library")
"""The kinds of evidence; columns of `Evidence.raw` are in this order."""

# Fitted on compounds of MassBank that the network and the library had not seen, though the fragment
# scorer had, each among all structures within 10 ppm: see docs/research.md. The library's term is a
# log-likelihood ratio already.
DEFAULT_WEIGHTS: Mapping[str, float] = {
    "fingerprint": 0.4,
    "analogues": 0.8,
    "fragments": 1.4,
    "library": 1.0,
}

# Analogues are compared by atom environments, whose likeness falls off faster with each change of
# the structure than that of the bits that can be predicted from a spectrum.
ANALOGUE_FINGERPRINT = "morgan4096"

_TABLES_KEPT = 512
_PEAKS_SHOWN = 12
_WEIGHT_PENALTY = 1e-3


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """The evidence for the candidates of one query.

    Attributes
    ----------
    raw
        float64 (n_candidates, n_kinds), neither standardised nor weighted, columns in the order
        of `EVIDENCE_KINDS`.
    parts
        The same, both standardised and weighted.
    scores
        float64 (n_candidates,): the sum of the parts, in nats.
    analogues
        The nearest compounds of the library, the nearest first.
    """

    raw: NDArray[np.float64]
    parts: NDArray[np.float64]
    scores: NDArray[np.float64]
    analogues: tuple[Analogue, ...] = ()

    @classmethod
    def from_raw(
        cls,
        raw: NDArray[np.float64],
        weights: Mapping[str, float],
        analogues: tuple[Analogue, ...] = (),
    ) -> Evidence:
        """Weight the `raw` evidence for all candidates of a query."""
        parts = standardised_columns(raw) * np.array([weights[kind] for kind in EVIDENCE_KINDS])
        # Column by column, whatever the number of rows: equal candidates must tie exactly.
        return cls(raw, parts, parts[:, 0] + parts[:, 1] + parts[:, 2] + parts[:, 3], analogues)


@dataclass(frozen=True, eq=False)
class EvidencePool:
    """All that candidates are judged by: the library's spectra, fragment scorers and weights.

    Attributes
    ----------
    index
        Spectra of the library; its compounds' numbers are indices into the following.
    first_blocks, smiles
        The compounds.
    fingerprints
        Of the compounds, packed, uint8 (n_compounds, n_bytes), in the layout `fingerprint`.
    scorers
        Of fragments, by ion mode; in a mode without one there is no evidence of fragments.
    weights
        By kind of evidence.
    fingerprint
        Layout by which analogues and candidates are compared.
    """

    index: AnalogueIndex
    first_blocks: Sequence[str]
    smiles: Sequence[str]
    fingerprints: NDArray[np.uint8]
    scorers: Mapping[str, FragmentScorer]
    weights: Mapping[str, float] = field(default_factory=lambda: dict(DEFAULT_WEIGHTS))
    fingerprint: str = ANALOGUE_FINGERPRINT

    @classmethod
    def from_library(
        cls, library: Library, rows: NDArray[np.int64], fingerprints: NDArray[np.uint8]
    ) -> EvidencePool:
        """Return a pool that remembers some spectra of a library.

        Parameters
        ----------
        library
            With `Library.peaks`.
        rows
            int64 (n,): the spectra that are remembered.
        fingerprints
            Packed fingerprints of `library.molecules` in the layout `ANALOGUE_FINGERPRINT`.
        """
        assert library.peaks is not None
        kept, compound = np.unique(library.compound[rows], return_inverse=True)
        return cls(
            AnalogueIndex(library.peaks.select(rows), compound.astype(np.int64), ANALOGUE_BINS),
            [library.molecules[i].first_block for i in kept],
            [library.molecules[i].smiles for i in kept],
            fingerprints[kept],
            standard_scorers(),
        )

    @property
    def layout(self) -> FingerprintLayout:
        """Layout by which analogues and candidates are compared."""
        return get_layout(self.fingerprint)

    def weigh(
        self,
        query: Spectrum,
        candidates: CandidateSet,
        packed: NDArray[np.uint8],
        log_likelihoods: NDArray[np.float64],
        *,
        fragment_scores: NDArray[np.float64] | None = None,
    ) -> Evidence:
        """Return the evidence for a query's candidates.

        Parameters
        ----------
        query
            A spectrum.
        candidates
            At least one, each first block once.
        packed
            Their fingerprints in `layout`, uint8 (n_candidates, n_bytes).
        log_likelihoods
            Of their predicted fingerprints, float64 (n_candidates,), nats.
        fragment_scores
            What `fragment_scores` returns for them, if it is known already; None computes it.
        """
        if fragment_scores is None:
            fragment_scores = self.fragment_scores(query, candidates)
        cosines = next(self.index.cosines([query]))
        rule = AnalogueRule()
        nearest = np.argsort(-cosines, kind="stable")[: rule.n_nearest]
        compounds = self.index.compounds[nearest]
        place = self._places
        known = np.array([place.get(block, -1) for block in candidates.first_block])
        votes = analogue_scores(
            cosines[nearest],
            self.fingerprints[compounds],
            packed,
            rule,
            own=known[:, np.newaxis] == compounds,
        )
        columns = {
            "fingerprint": log_likelihoods,
            "analogues": votes,
            "fragments": fragment_scores,
            "library": own_spectra_ratios(cosines, known),
        }
        return Evidence.from_raw(
            np.stack([columns[kind] for kind in EVIDENCE_KINDS], axis=1),
            self.weights,
            tuple(
                Analogue(self.first_blocks[i], self.smiles[i], float(cosines[n]))
                for i, n in zip(compounds.tolist(), nearest.tolist(), strict=True)
                if cosines[n] > 0.0
            ),
        )

    def explain(self, query: Spectrum, molecule: Molecule) -> tuple[PeakEvidence, ...]:
        """Return the peaks that a candidate's fragments explain best, by m/z."""
        peaks = Peaks.of(query)
        scorer = self.scorers.get(peaks.ion_mode)
        if scorer is None:
            return ()
        found = [e for e in explain(_fragment_table(molecule), peaks, scorer) if e is not None]
        found = sorted(found, key=lambda e: -e.gain * e.intensity**0.5)[:_PEAKS_SHOWN]
        return tuple(
            PeakEvidence(e.mz, e.intensity, e.formula, 1e6 * e.error / (e.mz - e.error), e.gain)
            for e in sorted(found, key=lambda e: e.mz)
        )

    def fragment_scores(self, query: Spectrum, candidates: CandidateSet) -> NDArray[np.float64]:
        """Return the fragment score of each candidate, float64 (n_candidates,), nats.

        It does not depend on the library. 0 in an ion mode without a scorer.
        """
        peaks = Peaks.of(query)
        scorer = self.scorers.get(peaks.ion_mode)
        if scorer is None:
            return np.zeros(len(candidates))
        return scorer.scores(peaks, map(_fragment_table, candidates.molecules))

    @cached_property
    def _places(self) -> dict[str, int]:
        return {block: number for number, block in enumerate(self.first_blocks)}


def standardised_columns(raw: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return raw evidence, (n_candidates, n_kinds), on scales that can be added.

    All columns but the library's, whose ratios are in nats already, are standardised.
    """
    columns = [
        column if kind == "library" else standardised(column)
        for kind, column in zip(EVIDENCE_KINDS, raw.T, strict=True)
    ]
    return np.stack(columns, axis=1)


def fit_weights(
    raw: Sequence[NDArray[np.float64]], truth: Sequence[int], shares: NDArray[np.float64]
) -> dict[str, float]:
    """Return the weights of the kinds of evidence that make the truths likeliest.

    Maximises ``sum_q shares_q log softmax(sum_k w_k x_k)[truth_q]`` over weights of 0 or more, with
    a small quadratic penalty. The library's weight stays at 1: compounds held out have no spectra
    in the library, so that they cannot say what those are worth.

    Parameters
    ----------
    raw
        Per query, float64 (n_candidates, n_kinds) as `Evidence.raw`.
    truth
        Index of the truth per query.
    shares
        float64 (n_queries,): weight of each query.
    """
    columns = [standardised_columns(of_query) for of_query in raw]
    sizes = torch.tensor([len(of_query) for of_query in columns])
    segment = torch.repeat_interleave(torch.arange(len(columns)), sizes)
    x = torch.from_numpy(np.concatenate(columns))
    place = torch.cumsum(sizes, 0) - sizes + torch.tensor(truth)
    weight = torch.from_numpy(shares / shares.sum())

    def weights(roots: Tensor) -> Tensor:
        # Squares: weights below 0 would only fit noise.
        return torch.cat([roots.square(), torch.ones(1, dtype=torch.double)])

    def loss(roots: Tensor) -> Tensor:
        scores = x @ weights(roots)
        highest = torch.full((len(columns),), -torch.inf, dtype=torch.double)
        highest = highest.scatter_reduce(0, segment, scores.detach(), "amax")
        total = torch.zeros_like(highest).index_add(0, segment, (scores - highest[segment]).exp())
        likely = scores[place] - highest - total.log()
        return -(weight * likely).sum() + _WEIGHT_PENALTY * weights(roots).square().sum()

    roots = minimise(loss, torch.ones(len(EVIDENCE_KINDS) - 1, dtype=torch.double))
    fitted = weights(torch.tensor(roots, dtype=torch.double))
    return dict(zip(EVIDENCE_KINDS, fitted.tolist(), strict=True))


@lru_cache(maxsize=_TABLES_KEPT)
def _fragment_table(molecule: Molecule) -> FragmentTable:
    return FragmentTable.of(molecule)
