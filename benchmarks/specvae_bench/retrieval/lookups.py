"""Methods that train nothing: chance, bit frequencies, and library compounds with like spectra."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from specvae.annotation.evidence.analogues import ANALOGUE_BINS, AnalogueIndex
from specvae.annotation.evidence.fingerprint import log_likelihoods
from specvae.annotation.evidence.votes import AnalogueRule, analogue_scores
from specvae.annotation.library.library import Library
from specvae.molecules.fingerprint import get_layout, unpack
from specvae.spectra.spectrum import Spectrum
from specvae_bench.peer_similarity import PeerSimilarity
from specvae_bench.retrieval.comparison import Comparison
from specvae_bench.retrieval.methods import LAYOUTS, Options

RULES = {
    "one nearest": AnalogueRule(10, 1.0, 1.0, "max"),
    "sum of 30": AnalogueRule(),
}
N_NEAREST = max(rule.n_nearest for rule in RULES.values())
# A batch of queries against a library of 100,000 spectra takes some 200 MB.
_QUERIES_AT_ONCE = 256


class Neighbours(NamedTuple):
    """The library compounds with the most similar spectra to each query, the nearest first.

    Parameters
    ----------
    compound
        int64 (n_queries, k): indices into the library's molecules.
    cosine
        float32 (n_queries, k): from 0 to 1, descending.
    """

    compound: NDArray[np.int64]
    cosine: NDArray[np.float32]


def add_random(comparison: Comparison, options: Options) -> None:
    """Add the order of chance: all candidates tie, and ties count as expected."""
    comparison.add("random", (np.zeros(p.n_candidates) for p in comparison.problems))


def add_blind(comparison: Comparison, options: Options) -> None:
    """Add the likelihood of candidates under the library's bit frequencies, without a spectrum."""
    for layout in LAYOUTS:
        logits = frequency_logits(comparison.known_packed(layout), layout)
        comparison.add(
            f"blind, {layout}",
            (log_likelihoods(packed, logits) for packed in comparison.packed(layout)),
        )


def add_analogues(comparison: Comparison, options: Options) -> None:
    """Add the votes of compounds whose peaks and neutral losses are similar, by our cosine."""
    known = comparison.known
    start = time.perf_counter()
    index = AnalogueIndex(ANALOGUE_BINS.encode_many(known.records), known.compound, ANALOGUE_BINS)
    n = len(comparison.problems)

    def cosines() -> Iterator[NDArray[np.float32]]:
        for n_done, of_query in enumerate(index.cosines(comparison.queries), start=1):
            comparison.console.progress("looking for analogues", n_done, n)
            yield of_query

    nearest = _nearest(cosines(), index.compounds, n)
    seconds = time.perf_counter() - start
    comparison.steps["looking for analogues"] = round(seconds, 2)
    for layout in LAYOUTS:
        names = {f"{rule}, {layout}": rule for rule in RULES}
        _add_votes(comparison, names, nearest, layout, seconds)


def add_modified_cosine(comparison: Comparison, options: Options) -> None:
    """Add the votes of compounds with similar spectra, by matchms' modified cosine."""
    _add_matchms(comparison, "modified cosine", "cosine", "hybrid")


def add_spectral_entropy(comparison: Comparison, options: Options) -> None:
    """Add the votes of compounds with similar spectra, by spectral entropy.

    doi:10.1038/s41592-021-01331-z, computed by matchms.
    """
    _add_matchms(comparison, "spectral entropy", "spectral_entropy", "fragment")


def frequency_logits(packed: NDArray[np.uint8], layout: str) -> NDArray[np.float64]:
    """Return the logit of each bit's frequency in fingerprints (n, n_bytes), float64 (n_bits,).

    Half a molecule is added to either side, so that a bit that was never seen stays possible.
    """
    n_on = unpack(packed, get_layout(layout).n_bits).sum(axis=0, dtype=np.float64)
    return np.asarray(np.log(n_on + 0.5) - np.log(len(packed) - n_on + 0.5))


def matchms_neighbours(
    known: Library, queries: Sequence[Spectrum], score_type: str, matching_mode: str
) -> Neighbours:
    """Return the compounds that a matchms similarity puts nearest to each query.

    Parameters
    ----------
    known
        The library.
    queries
        Compared with every spectrum of it.
    score_type, matching_mode
        Of `PeerSimilarity`.
    """
    similarity = PeerSimilarity(score_type, matching_mode)

    def likeness() -> Iterator[NDArray[np.float64]]:
        library = similarity.converted(known.records)
        for start in range(0, len(queries), _QUERIES_AT_ONCE):
            batch = similarity.converted(queries[start : start + _QUERIES_AT_ONCE])
            for row in similarity.matrix(batch, library):
                yield best_of_compounds(known.compound, row)

    return _nearest(likeness(), np.arange(len(known.molecules)), len(queries))


def _nearest(
    likeness: Iterable[NDArray[np.floating]], compounds: NDArray[np.int64], n_queries: int
) -> Neighbours:
    """Return the nearest `compounds` by how like each query they are, (n_compounds,) for each."""
    k = min(N_NEAREST, len(compounds))
    compound = np.empty((n_queries, k), dtype=np.int64)
    cosine = np.empty((n_queries, k), dtype=np.float32)
    for i, of_query in enumerate(likeness):
        nearest = np.argsort(-of_query, kind="stable")[:k]
        compound[i] = compounds[nearest]
        cosine[i] = np.clip(of_query[nearest], 0.0, 1.0)
    return Neighbours(compound, cosine)


def best_of_compounds(
    compound: NDArray[np.int64], likeness: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the largest value of each compound, (n_compounds,).

    Parameters
    ----------
    compound
        int64 (n_spectra,): the compound of each spectrum.
    likeness
        A value of each spectrum (n_spectra,).
    """
    best = np.full(int(compound.max()) + 1, -np.inf)
    np.maximum.at(best, compound, likeness)
    return best


def _add_matchms(comparison: Comparison, name: str, score_type: str, matching_mode: str) -> None:
    start = time.perf_counter()
    nearest = matchms_neighbours(comparison.known, comparison.queries, score_type, matching_mode)
    seconds = time.perf_counter() - start
    comparison.steps[f"looking for analogues, {name}"] = round(seconds, 2)
    names = {f"{name}, {rule}": rule for rule in RULES}
    _add_votes(comparison, names, nearest, "morgan4096", seconds)


def _add_votes(
    comparison: Comparison,
    names: Mapping[str, str],
    nearest: Neighbours,
    layout: str,
    seconds: float,
) -> None:
    """Add the rules of `names`, which has each one's name as a method."""
    known = comparison.known_packed(layout)
    table = comparison.packed(layout)
    for name, rule in names.items():
        votes = (
            analogue_scores(likeness, known[compounds], packed, RULES[rule])
            for compounds, likeness, packed in zip(*nearest, table, strict=True)
        )
        comparison.add(name, votes, seconds)
