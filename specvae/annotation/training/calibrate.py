"""What is fitted to validation compounds after training: weights of evidence, probabilities."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from specvae.annotation.evaluation.hits import expected_hits, rank_of_truth
from specvae.annotation.evidence.known_share import DEFAULT_SHARE, share_of_known
from specvae.annotation.evidence.list_features import feature_row
from specvae.annotation.evidence.pool import Evidence, fit_weights
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
    """What was fitted.

    Attributes
    ----------
    weights
        By kind of evidence.
    probability
        Model of the candidates' probabilities.
    figures
        What it was fitted to, as JSON values.
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
    """Fit weights and probabilities to compounds that were not learned from.

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
    settled = [annotator.settle(spectrum) for spectrum in queries]
    ranked = rank_spectra(
        annotator, settled, source, QueryFilter(), n_jobs=n_jobs, progress=progress
    )
    lists = list(_with_truth(blocks, ranked))
    counts = Counter(each.block for each in lists)
    if len(counts) < FEWEST_COMPOUNDS or all(len(each.raw) == 1 for each in lists):
        return None
    assert annotator.evidence_pool is not None
    shares = [1.0 / counts[each.block] for each in lists]
    weights = fit_weights(
        [each.raw for each in lists], [each.place for each in lists], np.array(shares)
    )
    known = _known_share([each.ranked for each in lists], weights)
    examples = [
        example
        for each, share in zip(lists, shares, strict=True)
        for example in _examples(each, share, weights, known)
    ]
    whole = [example.evidence for example in examples if example.place is not None]
    ranks = [
        rank_of_truth(each.block, evidence.scores, each.place)
        for each, evidence in zip(lists, whole, strict=True)
    ]
    figures = CalibrationFigures(
        n_queries=len(lists),
        n_compounds=len(counts),
        ppm=source.ppm,
        hit_at_1=float(expected_hits(ranks, 1).mean()),
        hit_at_5=float(expected_hits(ranks, 5).mean()),
    )
    return Calibration(weights, _fitted_probability(examples), figures)


class _Listed(NamedTuple):
    """A ranked query whose compound, of this first block, is the candidate at `place`."""

    block: str
    ranked: Ranked
    place: int

    @property
    def raw(self) -> NDArray[np.float64]:
        """What is known of each candidate, before it is weighted."""
        assert self.ranked.evidence is not None
        return self.ranked.evidence.raw


class _Example(NamedTuple):
    """A list that probabilities are fitted to; `place` is None where the truth was left out."""

    evidence: Evidence
    place: int | None
    n_peaks: int
    share: float


def _with_truth(blocks: Sequence[str], ranked: Iterable[Ranked | Unranked]) -> Iterator[_Listed]:
    for block, found in zip(blocks, ranked, strict=True):
        if isinstance(found, Unranked):
            continue
        places = np.flatnonzero(np.asarray(found.candidates.first_block) == block)
        if len(places):
            yield _Listed(block, found, int(places[0]))


def _examples(
    listed: _Listed, share: float, weights: Mapping[str, float], known: float
) -> Iterator[_Example]:
    """Yield a query's list, and the same without the truth if anything is left of it."""
    ranked, raw, place = listed.ranked, listed.raw, listed.place
    assert ranked.evidence is not None
    analogues, n_peaks = ranked.evidence.analogues, ranked.query.spectrum.n_peaks
    measured = ranked.evidence.measured
    whole = Evidence.from_raw(raw, weights, measured, analogues, known)
    yield _Example(whole, place, n_peaks, share)
    if len(raw) > 1:
        rest, measured = np.delete(raw, place, axis=0), np.delete(measured, place)
        without = Evidence.from_raw(rest, weights, measured, analogues, known)
        yield _Example(without, None, n_peaks, share)


def _fitted_probability(examples: Sequence[_Example]) -> ProbabilityModel:
    # None of these compounds is in the library, and they are few: what the features mean stays.
    default = default_probability()
    names = default.feature_names
    return default.recalibrated(
        [example.evidence.scores for example in examples],
        [example.place for example in examples],
        np.array([example.share for example in examples]),
        np.array([feature_row(each.evidence, each.n_peaks, names) for each in examples]),
    )


def _known_share(ranked: Sequence[Ranked], weights: Mapping[str, float]) -> float:
    pooled = (query.evidence for query in ranked if query.evidence is not None)
    return share_of_known(e.settled(weights, DEFAULT_SHARE) for e in pooled)
