"""The measure that picks the best epoch: retrieval of held-out compounds among decoys."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from specvae.annotation.evaluation.hits import (
    TruthRank,
    expected_hits,
    random_hits,
    rank_of_truth,
    reciprocal_ranks,
)
from specvae.annotation.evidence.fingerprint import bit_logits, log_likelihoods
from specvae.annotation.library.header import ValidationFigures
from specvae.annotation.library.library import Library
from specvae.annotation.library.tensors import empty_spectrum, sparse_rows
from specvae.spectra.binning import BinLayout
from specvae.vae.model import MultimodalVAE

N_DECOYS = 31
MAX_SPECTRA_PER_COMPOUND = 3
MAX_QUERIES = 1500


class RetrievalValidation:
    """Ranks each validation compound against the structures of the library nearest in mass.

    The decoys are the `N_DECOYS` compounds of the library, of whatever fold, whose exact masses are
    nearest: a library is too small for a list within a few ppm. Few spectra are taken of each
    compound, so that no much-measured compound rules the choice.

    Parameters
    ----------
    library
        All spectra.
    rows
        Rows of the validation fold.
    fingerprints
        Packed fingerprints of `library.molecules`, uint8 (n_molecules, n_bytes).
    bins
        Layout of the spectra, for the empty spectrum of the blind control.
    seed
        Of the choice of spectra.

    Attributes
    ----------
    spectra
        The validation spectra that were chosen, encoded.
    """

    def __init__(
        self,
        library: Library,
        rows: NDArray[np.int64],
        fingerprints: NDArray[np.uint8],
        bins: BinLayout,
        seed: int,
    ) -> None:
        rows = few_per_group(rows, library.compound[rows], MAX_SPECTRA_PER_COMPOUND, seed)
        rows = np.sort(rows[:MAX_QUERIES])
        self.compounds = library.compound[rows]
        self.spectra = sparse_rows(library.spectra).rows(torch.from_numpy(rows))
        self._blind = empty_spectrum(bins)
        self._fingerprints = fingerprints
        self._blocks = [molecule.first_block for molecule in library.molecules]
        masses = np.array([molecule.exact_mass for molecule in library.molecules])
        self._candidates = {
            int(compound): _nearest(masses, int(compound), N_DECOYS)
            for compound in np.unique(self.compounds)
        }

    def __len__(self) -> int:
        return len(self.compounds)

    def ranks(self, model: MultimodalVAE, device: torch.device) -> list[TruthRank]:
        """Return the rank of the truth of each validation spectrum."""
        return self.ranks_of(bit_logits(model, self.spectra, device))

    def mean_reciprocal_rank(self, model: MultimodalVAE, device: torch.device) -> float:
        """Return the mean expected reciprocal rank: steadier than hit@1 on few compounds."""
        return float(reciprocal_ranks(self.ranks(model, device)).mean())

    def figures(self, model: MultimodalVAE, device: torch.device) -> ValidationFigures:
        """Return the validation figures that are stored in the checkpoint."""
        ranks = self.ranks(model, device)
        blind_logits = bit_logits(model, self._blind, device)
        blind = self.ranks_of(np.repeat(blind_logits, len(self), axis=0))
        return ValidationFigures(
            n_queries=len(ranks),
            n_compounds=len(self._candidates),
            n_candidates=max(rank.n_candidates for rank in ranks),
            hit_at_1=float(expected_hits(ranks, 1).mean()),
            hit_at_5=float(expected_hits(ranks, 5).mean()),
            mrr=float(reciprocal_ranks(ranks).mean()),
            random_hit_at_1=float(random_hits(ranks, 1).mean()),
            blind_hit_at_1=float(expected_hits(blind, 1).mean()),
        )

    def ranks_of(self, logits: NDArray[np.float64]) -> list[TruthRank]:
        """Return the ranks of the truths of `spectra`, by predicted logits (n_spectra, n_bits)."""
        ranks: list[TruthRank | None] = [None] * len(self)
        for compound, candidates in self._candidates.items():
            members = np.flatnonzero(self.compounds == compound)
            scores = log_likelihoods(self._fingerprints[candidates], logits[members])
            for member, row in zip(members, scores, strict=True):
                # The truth is its own nearest neighbour: candidate 0.
                ranks[member] = rank_of_truth(self._blocks[compound], row, 0)
        return [rank for rank in ranks if rank is not None]


def few_per_group(
    rows: NDArray[np.int64], groups: NDArray[np.int64], most: int, seed: int
) -> NDArray[np.int64]:
    """Return at most `most` of the `rows` of each group, drawn and ordered at random.

    `rows` and their `groups` are int64 (n_rows,).
    """
    order = np.random.default_rng(seed).permutation(len(rows))
    taken: dict[int, int] = {}
    kept: list[int] = []
    for position in order:
        group = int(groups[position])
        if taken.get(group, 0) < most:
            taken[group] = taken.get(group, 0) + 1
            kept.append(int(position))
    return rows[np.asarray(kept, dtype=np.int64)]


def _nearest(masses: NDArray[np.float64], compound: int, n: int) -> NDArray[np.int64]:
    """Return the compound itself, then the `n` nearest others in mass."""
    distance = np.abs(masses - masses[compound])
    distance[compound] = -1.0
    return np.argsort(distance, kind="stable")[: n + 1]
