"""What speaks for a candidate beside its predicted fingerprint, and how it is weighed.

A candidate's score is a log-linear pool, a product of experts over the candidates of a query:

    score(c) = sum over experts e of w_e x_e(c)

with the experts

``fingerprint``
    log-likelihood of the candidate's fingerprint under the model's prediction (the cross entropy);
``analogues``
    votes of the library's compounds with like spectra for candidates of like structure
    (`specvae.annotation.evidence.analogues`), none for itself;
``fragments``
    log-odds that the query's peaks are the candidate's fragments
    (`specvae.annotation.evidence.fragment_score`);
``library``
    for a candidate that the library has spectra of: how they agree with the query.

The first three are standardised over the candidates of a query, since their spread differs
between spectra for reasons that have nothing to do with the candidates. The exponential of the
score, divided by its sum, is a distribution over the candidates.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file
from torch import Tensor

from specvae.annotation.evidence.analogues import (
    ANALOGUE_BINS,
    AnalogueIndex,
    AnalogueRule,
    analogue_scores,
)
from specvae.annotation.evidence.fingerprint import standardised
from specvae.annotation.evidence.fragment_score import FragmentScorer, Peaks, explain
from specvae.annotation.evidence.items import Analogue, PeakEvidence
from specvae.annotation.evidence.minimise import minimise
from specvae.annotation.library.library import Library
from specvae.molecules.candidates import CandidateSet
from specvae.molecules.fingerprint import FingerprintLayout, get_layout
from specvae.molecules.fragments import FragmentTable
from specvae.spectra.binning import ION_MODES, BinLayout
from specvae.spectra.spectrum import Spectrum

EXPERTS = ("fingerprint", "analogues", "fragments", "library")

# Fitted on compounds of MassBank that the network and the library had not seen, though the fragment
# scorer had, each among all structures within 10 ppm: see docs/research.md. The library's term is a
# log-likelihood ratio as it stands.
DEFAULT_WEIGHTS: Mapping[str, float] = {
    "fingerprint": 0.4,
    "analogues": 0.8,
    "fragments": 1.4,
    "library": 1.0,
}

# Analogues are compared by atom environments, whose likeness falls off faster with each change of
# the structure than that of the bits that can be predicted from a spectrum.
ANALOGUE_FINGERPRINT = "morgan4096"

# log p(cosine | same compound) - log p(cosine | another of its mass), measured between spectra of
# different instrument types (docs/research.md), is close to a line between two ends.
_MATCH_SLOPE = 4.5
_MATCH_ZERO = 0.63
_MATCH_RANGE = (-1.7, 1.7)

SCORERS_FILE = Path(__file__).with_name("fragment_score.safetensors")
"""Weights fitted to MassBank's compounds by ``specvae bench fragments``; docs/research.md."""

_TABLES_KEPT = 512
_PEAKS_SHOWN = 12
_WEIGHT_PENALTY = 1e-3
_FEWEST_VOTES = 1e-3


@dataclass(frozen=True, slots=True, eq=False)
class Weighed:
    """What the experts say about the candidates of a query.

    Attributes
    ----------
    raw
        float64 (n_candidates, n_experts), neither standardised nor weighed, columns in the order
        of `EXPERTS`.
    parts
        The same, both standardised and weighed.
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
    def of(
        cls,
        raw: NDArray[np.float64],
        weights: Mapping[str, float],
        analogues: tuple[Analogue, ...] = (),
    ) -> Weighed:
        """Weigh what the experts say, `raw`, about all candidates of a query."""
        parts = standardised_columns(raw) * np.array([weights[name] for name in EXPERTS])
        # Column by column, whatever the number of rows: equal candidates must tie exactly.
        return cls(raw, parts, parts[:, 0] + parts[:, 1] + parts[:, 2] + parts[:, 3], analogues)


@dataclass(frozen=True, eq=False)
class Experts:
    """The experts beside the predicted fingerprint.

    Attributes
    ----------
    index
        Spectra of the library; its compounds' numbers are indices into the following.
    first_blocks, smiles
        The compounds.
    fingerprints
        Of the compounds, packed, uint8 (n_compounds, n_bytes), in the layout `fingerprint`.
    scorers
        Of fragments, by ion mode; a mode without one is not judged by fragments.
    weights
        Of the experts.
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
    def of_library(
        cls, library: Library, rows: NDArray[np.int64], fingerprints: NDArray[np.uint8]
    ) -> Experts:
        """Return the experts that remember some spectra of a library.

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
    ) -> Weighed:
        """Return what the experts say about a query's candidates.

        Parameters
        ----------
        query
            A spectrum.
        candidates
            One at least, each first block once.
        packed
            Their fingerprints in `layout`, uint8 (n_candidates, n_bytes).
        log_likelihoods
            Of their predicted fingerprints, float64 (n_candidates,), nats.
        """
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
            "fragments": self._fragments(query, candidates),
            "library": _match(cosines, known),
        }
        return Weighed.of(
            np.stack([columns[name] for name in EXPERTS], axis=1),
            self.weights,
            tuple(
                Analogue(self.first_blocks[i], self.smiles[i], float(cosines[n]))
                for i, n in zip(compounds.tolist(), nearest.tolist(), strict=True)
                if cosines[n] > 0.0
            ),
        )

    def explain(self, query: Spectrum, smiles: str) -> tuple[PeakEvidence, ...]:
        """Return the peaks that a candidate's fragments explain best, by m/z."""
        peaks = Peaks.of(query)
        scorer = self.scorers.get(peaks.ion_mode)
        if scorer is None:
            return ()
        found = [e for e in explain(_fragments_of(smiles), peaks, scorer) if e is not None]
        found = sorted(found, key=lambda e: -e.gain * e.intensity**0.5)[:_PEAKS_SHOWN]
        return tuple(
            PeakEvidence(e.mz, e.intensity, e.formula, 1e6 * e.error / (e.mz - e.error), e.gain)
            for e in sorted(found, key=lambda e: e.mz)
        )

    def _fragments(self, query: Spectrum, candidates: CandidateSet) -> NDArray[np.float64]:
        peaks = Peaks.of(query)
        scorer = self.scorers.get(peaks.ion_mode)
        if scorer is None:
            return np.zeros(len(candidates))
        return scorer.scores(peaks, map(_fragments_of, candidates.smiles))

    @cached_property
    def _places(self) -> dict[str, int]:
        return {block: number for number, block in enumerate(self.first_blocks)}

    def to_companions(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Return what a checkpoint keeps: JSON values for its header, and tensors."""
        header = {
            "bins": self.index.bins.to_json(),
            "fingerprint": self.fingerprint,
            "probe_sha256": self.layout.probe_sha256,
            "weights": dict(self.weights),
            "first_blocks": list(self.first_blocks),
            "smiles": list(self.smiles),
        }
        arrays = {
            **{f"index.{name}": array for name, array in self.index.to_arrays().items()},
            **scorer_arrays(self.scorers),
            "fingerprints": self.fingerprints,
        }
        return header, {name: torch.from_numpy(array) for name, array in arrays.items()}

    @classmethod
    def from_companions(
        cls, header: Mapping[str, Any], companions: Mapping[str, Tensor]
    ) -> Experts:
        """Return the experts that `to_companions` described.

        Raises
        ------
        ValueError
            If a weight is no finite number, or the compounds are not as many as their fingerprints.
        KeyError, TypeError
            If a part is missing or of another kind.
        """
        arrays = {name: tensor.numpy() for name, tensor in companions.items()}
        if not all(math.isfinite(header["weights"][name]) for name in EXPERTS):
            raise ValueError("a weight is not finite")
        if {len(header["first_blocks"]), len(header["smiles"])} != {len(arrays["fingerprints"])}:
            raise ValueError("compounds and fingerprints differ in number")
        return cls(
            AnalogueIndex.from_arrays(_part(arrays, "index."), BinLayout.from_json(header["bins"])),
            header["first_blocks"],
            header["smiles"],
            arrays["fingerprints"],
            scorers_of(arrays),
            header["weights"],
            header["fingerprint"],
        )


def standardised_columns(raw: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return what the experts say, (n_candidates, n_experts), on scales that can be added.

    All columns but the library's, whose ratios are in nats already, are standardised.
    """
    columns = [
        column if name == "library" else standardised(column)
        for name, column in zip(EXPERTS, raw.T, strict=True)
    ]
    return np.stack(columns, axis=1)


LIST_FEATURES = (
    "nearest_cosine",
    "best_votes",
    "best_fragments",
    "fragments_lead",
    "best_fingerprint",
    "n_peaks",
)
"""What is told of a list of candidates beside its scores; see `list_features`."""


def list_features(weighed: Weighed, n_peaks: int) -> list[float]:
    """Return what may tell whether a list holds its truth, by `LIST_FEATURES`.

    The cosine of the nearest analogue; the logarithm of the most votes that a candidate has; the
    highest log-odds of fragments, and those of the first-ranked candidate less the median; the
    highest log-likelihood of a fingerprint; the logarithm of the number of peaks.

    Parameters
    ----------
    weighed
        The candidates, one at least.
    n_peaks
        Of the query.
    """
    columns = dict(zip(EXPERTS, weighed.raw.T, strict=True))
    fragments = columns["fragments"]
    first = weighed.scores == weighed.scores.max()
    return [
        weighed.analogues[0].cosine if weighed.analogues else 0.0,
        float(np.log(columns["analogues"].max() + _FEWEST_VOTES)),
        float(fragments.max()),
        float(fragments[first].mean() - np.median(fragments)),
        float(columns["fingerprint"].max()),
        float(np.log(n_peaks)),
    ]


def fit_weights(
    raw: Sequence[NDArray[np.float64]], truth: Sequence[int], shares: NDArray[np.float64]
) -> dict[str, float]:
    """Return the experts' weights that make the truths likeliest.

    Maximises ``sum_q shares_q log softmax(sum_e w_e x_e)[truth_q]`` over weights of 0 or more, with
    a small quadratic penalty. The library's weight stays at 1: of compounds held out it has no
    spectra, so that they cannot say what those are worth.

    Parameters
    ----------
    raw
        Per query, float64 (n_candidates, n_experts) as `Weighed.raw`.
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

    roots = minimise(loss, torch.ones(len(EXPERTS) - 1, dtype=torch.double))
    fitted = weights(torch.tensor(roots, dtype=torch.double))
    return dict(zip(EXPERTS, fitted.tolist(), strict=True))


def scorer_arrays(scorers: Mapping[str, FragmentScorer]) -> dict[str, NDArray[np.float32]]:
    """Return the weights of fragment scorers by ion mode as arrays by name."""
    return {
        f"fragments.{ion_mode}.{name}": array
        for ion_mode, scorer in scorers.items()
        for name, array in scorer.to_arrays().items()
    }


def scorers_of(arrays: Mapping[str, NDArray[Any]]) -> dict[str, FragmentScorer]:
    """Return the fragment scorers that `scorer_arrays` described; other arrays may be there too."""
    found = {mode: _part(arrays, f"fragments.{mode}.") for mode in ION_MODES}
    return {mode: FragmentScorer.from_arrays(part) for mode, part in found.items() if part}


@lru_cache(maxsize=1)
def standard_scorers() -> dict[str, FragmentScorer]:
    """Return the fragment scorers that come with the program; see `SCORERS_FILE`."""
    return scorers_of(load_file(SCORERS_FILE))


def _part(arrays: Mapping[str, NDArray[Any]], prefix: str) -> dict[str, NDArray[Any]]:
    """Return the arrays whose names begin with `prefix`, without it."""
    return {
        name.removeprefix(prefix): array
        for name, array in arrays.items()
        if name.startswith(prefix)
    }


@lru_cache(maxsize=_TABLES_KEPT)
def _fragments_of(smiles: str) -> FragmentTable:
    return FragmentTable.of(smiles)


def _match(cosines: NDArray[np.float32], known: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the log-likelihood ratios (n,) of candidates by their own spectra; 0 without any."""
    ratios = np.clip(
        _MATCH_SLOPE * (cosines[known].astype(np.float64) - _MATCH_ZERO), *_MATCH_RANGE
    )
    return np.where(known >= 0, ratios, 0.0)
