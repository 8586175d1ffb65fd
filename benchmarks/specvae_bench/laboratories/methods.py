"""Methods of ranking a laboratory's queries with the library of all others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from specvae.annotation.evaluation.hits import TruthRank, rank_of_truth
from specvae.annotation.evidence.analogues import ANALOGUE_BINS, AnalogueIndex
from specvae.annotation.evidence.fingerprint import log_likelihoods
from specvae.annotation.evidence.fragment_lists import FragmentList
from specvae.annotation.evidence.fragment_peaks import Peaks
from specvae.annotation.evidence.fragment_score import (
    SCORERS_FILE,
    FragmentScorer,
    read_scorers,
    standard_scorers,
)
from specvae.annotation.evidence.library_memory import LibraryMemory
from specvae.annotation.evidence.pool import EvidencePool
from specvae.annotation.evidence.remembered import ANALOGUE_FINGERPRINT
from specvae.annotation.evidence.retention import RetentionIndex
from specvae.annotation.evidence.weighted import Evidence
from specvae.annotation.ranking.annotator import Annotator
from specvae.cli.console import Console
from specvae.molecules.candidates import CandidateSet
from specvae.molecules.fingerprint import FingerprintCache, fingerprints, get_layout
from specvae.molecules.fragments import FragmentTable
from specvae.spectra.spectrum import Spectrum
from specvae_bench.evidence import compare
from specvae_bench.laboratories.folds import FoldQuery
from specvae_bench.laboratories.records import Records, cached_arrays
from specvae_bench.metfrag import metfrag_scores
from specvae_bench.peer_similarity import PeerSimilarity
from specvae_bench.retrieval.lookups import frequency_logits

EVERYTHING = "everything"
"""The program's own ranking without a network: analogues, fragments and own spectra."""

WITHOUT_TIMES = "without retention times"
"""What is added to a method's name where it ignores when its queries left the column."""

WITHOUT_ERRORS = "without errors of precursor m/z"
"""What is added to a method's name where it ignores what its queries' m/z are off by."""

OWN_COSINE, OWN_MODIFIED, OWN_ENTROPY = (
    "own spectra, our cosine",
    "own spectra, modified cosine",
    "own spectra, spectral entropy",
)

Scores = NDArray[np.float64]

_TABLES_AT_ONCE = 256


@dataclass(frozen=True, eq=False)
class ListedQuery(FoldQuery):
    """A query with its candidates and what of them does not depend on the library.

    Attributes
    ----------
    packed
        Fingerprints in the layout of `EvidencePool`, uint8 (n_candidates, n_bytes).
    fragment_scores
        float64 (n_candidates,).
    predicted
        Model -> log-likelihoods of the candidates' fingerprints, float64 (n_candidates,).
    metfrag
        MetFrag's scores by our own fragments, float64 (n_candidates,); None if not asked for.
    """

    packed: NDArray[np.uint8]
    fragment_scores: Scores
    predicted: Mapping[str, Scores]
    metfrag: Scores | None = None

    def cut(self, kept: NDArray[np.int64]) -> ListedQuery:
        """Return the query with some of its candidates, rows (n,)."""
        places = [] if self.place is None else np.flatnonzero(kept == self.place).tolist()
        return replace(
            self,
            candidates=self.candidates.select(kept),
            place=places[0] if places else None,
            packed=self.packed[kept],
            fragment_scores=self.fragment_scores[kept],
            predicted={name: scores[kept] for name, scores in self.predicted.items()},
            metfrag=None if self.metfrag is None else self.metfrag[kept],
        )

    def without_truth(self) -> ListedQuery | None:
        """Return the query without its truth; None if that is not listed, or nothing else is."""
        n = len(self.candidates)
        if self.place is None or n < 2:
            return None
        return self.cut(np.delete(np.arange(n), self.place))

    def rank(self, scores: Scores) -> TruthRank:
        """Return where the truth stands by `scores`, (n_candidates,)."""
        return rank_of_truth(self.truth, scores, self.place)


class Memory:
    """A library for one fold, and the scores that methods give with it.

    Parameters
    ----------
    records
        All spectra.
    rows
        int64 (n,): those that are remembered.
    packed
        Fingerprints of the records' compounds, uint8 (n_compounds, n_bytes).
    retention
        Index by which retention times become evidence; None: they are ignored.
    """

    def __init__(
        self,
        records: Records,
        rows: NDArray[np.int64],
        packed: NDArray[np.uint8],
        retention: RetentionIndex | None = None,
    ) -> None:
        self._records = records
        self.pool = pool_of(records, rows, packed, retention)
        self._blind = frequency_logits(self.pool.library.fingerprints, ANALOGUE_FINGERPRINT)
        order = np.argsort(records.compound[rows], kind="stable")
        compounds, starts = np.unique(records.compound[rows][order], return_index=True)
        self._rows_of = {
            str(records.first_blocks[compound]): of_compound
            for compound, of_compound in zip(
                compounds.tolist(), np.split(rows[order], starts[1:]), strict=True
            )
        }

    def scores(self, query: ListedQuery) -> Iterator[tuple[str, Scores]]:
        """Yield each method that pools no evidence, with its scores, float64 (n_candidates,)."""
        n = len(query.candidates)
        yield "random", np.zeros(n)
        yield "blind", log_likelihoods(query.packed, self._blind)
        yield from self._library_searches(query)
        for name, predicted in query.predicted.items():
            yield f"{name}, fingerprint", predicted

    def evidence(
        self,
        query: ListedQuery,
        rescore: int | None = None,
    ) -> Iterator[tuple[str, Evidence]]:
        """Yield the program's own rankings: the evidence without a network, and with each model.

        It assumes that half of the queries are known, until the share of a run is estimated.
        `rescore` is that of `EvidencePool.compare`.
        """
        yield EVERYTHING, _weigh(self.pool, query, np.zeros(len(query.candidates)), rescore)
        for name, predicted in query.predicted.items():
            yield f"{name}, everything", _weigh(self.pool, query, predicted, rescore)

    def _library_searches(self, query: ListedQuery) -> Iterator[tuple[str, Scores]]:
        """Yield the best likeness of each candidate's own spectra of the query's ion mode.

        Candidates without any are at 0, below every spectrum that shares a peak.
        """
        records = self._records
        mode = query.spectrum.ion_mode or ""
        owner: list[int] = []
        rows: list[int] = []
        for place, block in enumerate(query.candidates.first_block):
            own = self._rows_of.get(block)
            if own is not None:
                kept = own[records.ion_mode[own] == mode]
                owner.extend([place] * len(kept))
                rows.extend(kept.tolist())
        spectra = [records.spectrum(row) for row in rows]
        for name, likeness in (
            (OWN_COSINE, _our_cosines),
            (OWN_MODIFIED, _matchms("cosine", "hybrid")),
            (OWN_ENTROPY, _matchms("spectral_entropy", "fragment")),
        ):
            scores = np.zeros(len(query.candidates))
            if rows:
                np.maximum.at(scores, np.array(owner), likeness(query.spectrum, spectra))
            yield name, scores


def _weigh(
    pool: EvidencePool, query: ListedQuery, predicted: Scores, rescore: int | None
) -> Evidence:
    compared = compare(pool, query.spectrum, query.candidates, query.packed, predicted, rescore)
    return pool.evidence(compared, query.fragment_scores[compared.is_broken])


def pool_of(
    records: Records,
    rows: NDArray[np.int64],
    packed: NDArray[np.uint8],
    retention: RetentionIndex | None,
) -> EvidencePool:
    """Return the program's evidence with some of the records as its library.

    The index of retention that comes with the program is no part of it: it was fitted to these
    records, whichever they are.
    """
    kept, compound = np.unique(records.compound[rows], return_inverse=True)
    index = AnalogueIndex(
        records.encoded.select(rows),
        compound.astype(np.int64),
        ANALOGUE_BINS,
        records.signs[rows],
    )
    memory = LibraryMemory(
        index, records.first_blocks[kept].tolist(), records.smiles[kept].tolist(), packed[kept]
    )
    return EvidencePool(memory, standard_scorers(), retention=retention)


def list_candidates(
    queries: Sequence[FoldQuery],
    models: Mapping[str, Annotator],
    jobs: int | None,
    console: Console,
    *,
    metfrag: bool = False,
    fragment_score: Path = SCORERS_FILE,
) -> list[ListedQuery]:
    """Return queries with what does not depend on the library; fragments from the cache.

    Parameters
    ----------
    queries
        The queries with their candidates.
    models
        Name -> trained model.
    jobs, console
        Processes that compute fingerprints, and where progress is shown.
    metfrag
        Whether MetFrag's scores are wanted too.
    fragment_score
        File of the weights of the fragment score.

    Raises
    ------
    InputError
        If `fragment_score` cannot be used.
    """
    packed = _packed(queries, ANALOGUE_FINGERPRINT, jobs, console)
    fragments = _fragment_scores(queries, metfrag, fragment_score, console)
    predicted: list[dict[str, Scores]] = [{} for _ in queries]
    for name, model in models.items():
        logits = model.predict([query.spectrum for query in queries])
        of_model = _packed(queries, model.layout.name, jobs, console)
        for of_query, row, bits in zip(predicted, logits, of_model, strict=True):
            of_query[name] = log_likelihoods(bits, row)
    return [
        ListedQuery(
            **vars(query),
            packed=bits,
            fragment_scores=scores["scores"],
            predicted=of_models,
            metfrag=scores.get("metfrag"),
        )
        for query, bits, scores, of_models in zip(
            queries, packed, fragments, predicted, strict=True
        )
    ]


def _fragment_scores(
    queries: Sequence[FoldQuery], metfrag: bool, fragment_score: Path, console: Console
) -> list[dict[str, NDArray[Any]]]:
    scorers = read_scorers(fragment_score)
    scores = []
    for n_done, query in enumerate(queries, start=1):
        # Each query has a file of its own: minutes of work survive an interruption.
        counted = _counted(query)
        mz, intensity, *others = counted
        settings = {
            "peaks": [mz.tolist(), intensity.tolist(), *others],
            "smiles": list(query.candidates.smiles),
        }
        highest = Peaks.of(query.spectrum) if metfrag else None
        if highest is not None:
            settings["all_peaks"] = [part.tolist() for part in highest[:2]]
        build = partial(
            _compared, scorers.get(counted.ion_mode), counted, highest, query.candidates
        )
        kind = "both-fragments" if metfrag else "fragments"
        scores.append(cached_arrays(kind, [fragment_score], settings, build))
        console.progress("breaking candidates", n_done, len(queries))
    return scores


def _counted(query: FoldQuery) -> Peaks:
    """Return the peaks that count in the fragment score, as in `annotate`."""
    # Not all of a long list need be parsed at once: isomers are of one mass.
    candidates = query.candidates
    _, rows = np.unique(np.round(candidates.exact_mass, 6), return_index=True)
    return FragmentList.of(query.spectrum, list(candidates.select(rows).molecules)).peaks


def _compared(
    scorer: FragmentScorer | None, counted: Peaks, highest: Peaks | None, candidates: CandidateSet
) -> dict[str, NDArray[Any]]:
    """Return the fragment score by the peaks that count, and MetFrag's by the highest peaks.

    Each candidate is broken once. Without the highest peaks, MetFrag's score is left out.
    """
    learned, metfrag = [np.empty(0)], [np.empty(0)]
    for start in range(0, len(candidates), _TABLES_AT_ONCE):
        rows = np.arange(start, min(start + _TABLES_AT_ONCE, len(candidates)))
        tables = [FragmentTable.of(molecule) for molecule in candidates.select(rows).molecules]
        learned.append(np.zeros(len(rows)) if scorer is None else scorer.scores(counted, tables))
        if highest is not None:
            metfrag.append(metfrag_scores(highest, tables))
    found = {"scores": np.concatenate(learned)}
    return found if highest is None else {**found, "metfrag": np.concatenate(metfrag)}


def _packed(
    queries: Sequence[FoldQuery], layout: str, jobs: int | None, console: Console
) -> list[NDArray[np.uint8]]:
    distinct = list(dict.fromkeys(text for query in queries for text in query.candidates.smiles))
    rows = {text: row for row, text in enumerate(distinct)}
    table = packed_fingerprints(distinct, layout, jobs, console)
    return [table[[rows[text] for text in query.candidates.smiles]] for query in queries]


def packed_fingerprints(
    smiles: Sequence[str], layout: str, jobs: int | None, console: Console
) -> NDArray[np.uint8]:
    """Return packed fingerprints of molecules, uint8 (n, n_bytes)."""
    return fingerprints(
        smiles,
        get_layout(layout),
        FingerprintCache(),
        jobs,
        lambda done, total: console.progress(f"computing {layout}", done, total),
    )


def _our_cosines(query: Spectrum, spectra: Sequence[Spectrum]) -> Scores:
    numbers = np.arange(len(spectra))
    index = AnalogueIndex(ANALOGUE_BINS.encode_many(spectra), numbers, ANALOGUE_BINS)
    return next(index.cosines([query])).astype(np.float64)


def _matchms(
    score_type: str, matching_mode: str
) -> Callable[[Spectrum, Sequence[Spectrum]], Scores]:
    """Return a similarity of matchms with the settings of `bench retrieval`."""
    similarity = PeerSimilarity(score_type, matching_mode)

    def likeness(query: Spectrum, spectra: Sequence[Spectrum]) -> Scores:
        ours, theirs = similarity.converted([query]), similarity.converted(spectra)
        return similarity.matrix(ours, theirs).ravel()

    return likeness
