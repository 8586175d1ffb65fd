"""What is fitted to validation compounds after training: weights of evidence, probabilities."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

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
    lists = []
    held = []
    settled = [annotator.settle(spectrum) for spectrum in queries]
    for block, ranked in zip(
        blocks,
        rank_spectra(annotator, settled, source, QueryFilter(), n_jobs=n_jobs, progress=progress),
        strict=True,
    ):
        if isinstance(ranked, Unranked):
            continue
        found = np.flatnonzero(np.asarray(ranked.candidates.first_block) == block)
        if len(found):
            lists.append((ranked, int(found[0])))
            held.append(block)
    n_compounds = len(set(held))
    if n_compounds < FEWEST_COMPOUNDS or all(len(ranked.scores) == 1 for ranked, _ in lists):
        return None
    assert annotator.evidence_pool is not None
    counts = Counter(held)
    shares = np.array([1.0 / counts[block] for block in held])
    raw = [_raw(ranked) for ranked, _ in lists]
    truth = [place for _, place in lists]
    weights = fit_weights(raw, truth, shares)
    known = _known_share([ranked for ranked, _ in lists], weights)
    full = []
    examples: list[tuple[Evidence, int | None, int, float]] = []
    for (ranked, place), of_query, share in zip(lists, raw, shares.tolist(), strict=True):
        assert ranked.evidence is not None
        analogues, n_peaks = ranked.evidence.analogues, ranked.query.spectrum.n_peaks
        measured = ranked.evidence.measured
        full.append(Evidence.from_raw(of_query, weights, measured, analogues, known))
        examples.append((full[-1], place, n_peaks, share))
        # A list that the truth was alone in has nothing left to judge.
        if len(of_query) > 1:
            without = Evidence.from_raw(
                np.delete(of_query, place, axis=0),
                weights,
                np.delete(measured, place),
                analogues,
                known,
            )
            examples.append((without, None, n_peaks, share))
    # None of these compounds is in the library: what tells of those that are stays as it is.
    default = default_probability()
    names = default.feature_names
    probability = ProbabilityModel.fit(
        [evidence.scores for evidence, *_ in examples],
        [place for _, place, *_ in examples],
        np.array([share for *_, share in examples]),
        np.array([feature_row(evidence, n_peaks, names) for evidence, _, n_peaks, _ in examples]),
        names,
        default,
    )
    ranks = [
        rank_of_truth(block, evidence.scores, place)
        for block, evidence, place in zip(held, full, truth, strict=True)
    ]
    figures = CalibrationFigures(
        n_queries=len(lists),
        n_compounds=n_compounds,
        ppm=source.ppm,
        hit_at_1=float(expected_hits(ranks, 1).mean()),
        hit_at_5=float(expected_hits(ranks, 5).mean()),
    )
    return Calibration(weights, probability, figures)


def _known_share(ranked: Sequence[Ranked], weights: Mapping[str, float]) -> float:
    pooled = (query.evidence for query in ranked if query.evidence is not None)
    return share_of_known(e.settled(weights, DEFAULT_SHARE) for e in pooled)


def _raw(ranked: Ranked) -> NDArray[np.float64]:
    assert ranked.evidence is not None
    return ranked.evidence.raw
