"""Calibration after training: weights of evidence and probabilities for validation compounds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from specvae.annotation.evaluation.hits import expected_hits, rank_of_truth
from specvae.annotation.evidence.known_share import shares_of_known
from specvae.annotation.evidence.list_features import feature_row
from specvae.annotation.evidence.own_spectra import KnownShares
from specvae.annotation.evidence.weighted import Evidence, fit_weights
from specvae.annotation.library.header import CalibrationFigures
from specvae.annotation.ranking.annotator import Annotator
from specvae.annotation.ranking.candidates import CandidateSource
from specvae.annotation.ranking.probability import ProbabilityModel, default_probability
from specvae.annotation.ranking.queries import QueryFilter
from specvae.annotation.ranking.rank import rank_spectra
from specvae.annotation.ranking.result import Ranked, Unranked
from specvae.progress import Progress
from specvae.spectra.spectrum import Spectrum

PPM = 10.0
FEWEST_COMPOUNDS = 30


@dataclass(frozen=True)
class Calibration:
    """The result of a calibration.

    Attributes
    ----------
    weights
        By kind of evidence.
    probability
        Model of the candidates' probabilities.
    figures
        Figures on the fit, as stored in the checkpoint.
    """

    weights: Mapping[str, float]
    probability: ProbabilityModel
    figures: CalibrationFigures


def calibrate(
    annotator: Annotator,
    queries: Sequence[Spectrum],
    blocks: Sequence[str],
    source: CandidateSource,
    *,
    n_jobs: int | None = None,
    progress: Progress | None = None,
) -> Calibration | None:
    """Fit weights and probabilities to compounds that the model was not trained on.

    Parameters
    ----------
    annotator
        With an evidence pool that remembers none of the compounds.
    queries
        Their spectra.
    blocks
        InChIKey first block of each query.
    source
        The structures among which they are ranked.
    n_jobs, progress
        See `rank_spectra`.

    Returns
    -------
    None, if fewer than `FEWEST_COMPOUNDS` compounds have their structure among their candidates, or
    none of them has another candidate.
    """
    with_ions = [annotator.assign_ion(spectrum) for spectrum in queries]
    ranked = rank_spectra(
        annotator, with_ions, source, QueryFilter(), n_jobs=n_jobs, progress=progress
    )
    lists = list(_with_truth(blocks, ranked))
    counts = Counter(each.block for each in lists)
    if len(counts) < FEWEST_COMPOUNDS or all(len(each.evidence.scores) == 1 for each in lists):
        return None
    assert annotator.evidence_pool is not None
    shares = [1.0 / counts[each.block] for each in lists]
    weights = fit_weights(
        [each.evidence for each in lists], [each.place for each in lists], np.array(shares)
    )
    shares_known = _shares_of_known([each.ranked for each in lists], weights)
    final_lists = [_at_shares(each, weights, shares_known) for each in lists]
    ranks = [
        rank_of_truth(each.block, evidence.scores, each.place)
        for each, evidence in zip(lists, final_lists, strict=True)
    ]
    figures = CalibrationFigures(
        n_queries=len(lists),
        n_compounds=len(counts),
        ppm=source.ppm,
        hit_at_1=float(expected_hits(ranks, 1).mean()),
        hit_at_5=float(expected_hits(ranks, 5).mean()),
    )
    return Calibration(weights, _fitted_probability(lists, final_lists, shares), figures)


class _CalibrationQuery(NamedTuple):
    """A ranked query whose compound, of this first block, is the candidate at `place`."""

    block: str
    ranked: Ranked
    place: int

    @property
    def evidence(self) -> Evidence:
        """The evidence for its candidates, at the default shares of known compounds."""
        assert self.ranked.evidence is not None
        return self.ranked.evidence


def _with_truth(
    blocks: Sequence[str], ranked: Iterable[Ranked | Unranked]
) -> Iterator[_CalibrationQuery]:
    for block, found in zip(blocks, ranked, strict=True):
        if isinstance(found, Unranked):
            continue
        places = np.flatnonzero(np.asarray(found.candidates.first_block) == block)
        if len(places):
            yield _CalibrationQuery(block, found, int(places[0]))


def _at_shares(
    listed: _CalibrationQuery, weights: Mapping[str, float], shares: KnownShares
) -> Evidence:
    """Return a list's evidence under fitted weights and shares of known compounds."""
    return replace(listed.evidence, weights=weights, shares=shares)


def _fitted_probability(
    lists: Sequence[_CalibrationQuery], evidence: Sequence[Evidence], shares: Sequence[float]
) -> ProbabilityModel:
    # None of these compounds is in the library, so that they do not show what the features mean.
    default = default_probability()
    names = default.feature_names
    n_peaks = [each.ranked.query.spectrum.n_compared for each in lists]
    return default.recalibrated(
        [found.scores for found in evidence],
        [each.place for each in lists],
        np.array(shares),
        np.array([feature_row(e, n, names) for e, n in zip(evidence, n_peaks, strict=True)]),
    )


def _shares_of_known(ranked: Sequence[Ranked], weights: Mapping[str, float]) -> KnownShares:
    pooled = (query.evidence for query in ranked if query.evidence is not None)
    return shares_of_known(replace(e, weights=weights) for e in pooled)
