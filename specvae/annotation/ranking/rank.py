"""Ranking: queries with their candidates, a thousand at a time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, groupby
from time import monotonic
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from specvae.annotation.evidence.fingerprint import log_likelihoods
from specvae.annotation.evidence.ion_formation import formation_of_candidates
from specvae.annotation.evidence.mass_error import mass_errors
from specvae.annotation.evidence.pool import Comparison, EvidencePool, UnusableCandidatesError
from specvae.annotation.evidence.weighted import BEHIND, Evidence, fitting
from specvae.annotation.library.ion_shares import log_shares
from specvae.annotation.library.query import Query
from specvae.annotation.ranking.annotator import Annotator
from specvae.annotation.ranking.candidates import CandidateSource
from specvae.annotation.ranking.queries import QueryFilter
from specvae.annotation.ranking.result import (
    N_ANALOGUES,
    Cause,
    ListScores,
    Ranked,
    Refusal,
    Unranked,
    absentee_remark,
)
from specvae.counting import counted
from specvae.molecules.candidates import CandidateSet
from specvae.molecules.fingerprint import FingerprintLayout
from specvae.progress import Progress, Silence
from specvae.spectra.spectrum import Spectrum

MOST_QUERIES = 1024  # ranked together, so that shared candidates are fragmented once
MOST_CANDIDATES = 100_000  # of queries that are ranked together: each takes some kilobytes
# Nats, in the place of `BEHIND` where fingerprints count alone: their likelihoods, which no weight
# makes smaller, differ by thousands.
_BEHIND_LIKELIHOODS = -1e6
_WITHOUT_CANDIDATES = (Cause.NONE_WITHIN, Cause.NONE_LIKE_THAT)
_FIRST_SHARE = 1 / 16  # of these, in the first step of a run whose speed is not known yet


class _ListedQuery(NamedTuple):
    """A query and the candidates that it has."""

    query: Query
    candidates: CandidateSet


def rank_spectra(
    annotator: Annotator,
    records: Sequence[Query | Unranked],
    source: CandidateSource,
    wanted: QueryFilter,
    *,
    listed_as: Mapping[str, Query] | None = None,
    rescore: int | None = None,
    step_seconds: float | None = None,
    n_jobs: int | None = None,
    progress: Progress | None = None,
) -> Iterator[Ranked | Unranked]:
    """Rank the candidates of each query, in order; records that are `Unranked` stay so.

    Scores assume that the library knows half of the queries' compounds. The share that the run
    itself shows is known at its end only: see `specvae.annotation.ranking.run_scoring`. Candidates
    and fingerprints are held for a thousand queries at a time.

    Parameters
    ----------
    annotator
        The model.
    records
        Queries, and what could not be read: see `read_queries`.
    source
        Where candidates come from.
    wanted
        Which queries are ranked.
    listed_as
        By identifier of a query, another query whose candidates it takes: one of the same feature,
        whose spectra must be neighbours in `records`.
    rescore
        See `EvidencePool.compare`.
    step_seconds
        About how often outcomes are yielded; None where that does not matter.
    n_jobs
        Processes that compute fingerprints; None for one per core.
    progress
        Where progress is shown.
    """
    progress = progress or Silence()
    sharing = listed_as or {}
    # All spectra of a feature at once take much memory, and are needed with `rescore` alone.
    together = sharing if rescore is not None else {}
    features = {query_id: shared.query_id for query_id, shared in together.items()}
    ranker = _Ranker(annotator, source, rescore, features, n_jobs, progress)
    n_done = 0
    found = (
        [_listed(record, source, wanted, sharing) for record in of_feature]
        for of_feature in _by_feature(records, features)
    )
    for chunk in _chunks(found, step_seconds):
        if annotator.evidence_pool is not None:
            chunk = _with_structures(chunk, source, n_jobs)
        listed = [record for record in chunk if isinstance(record, _ListedQuery)]
        try:
            ranked = iter(ranker.rank(listed))
        except UnusableCandidatesError:
            chunk = [_with_fragments(record, annotator) for record in chunk]
            listed = [record for record in chunk if isinstance(record, _ListedQuery)]
            ranked = iter(ranker.rank(listed))
        for record in chunk:
            if isinstance(record, Unranked):
                yield ranker.with_analogues(record)
            else:
                yield next(ranked)
            n_done += 1
            progress.progress("ranking queries", n_done, len(records))


def _by_feature(
    records: Sequence[Query | Unranked], features: Mapping[str, str]
) -> Iterator[list[Query | Unranked]]:
    """Yield the records of each feature together (see `_Ranker`), and all others one by one."""
    numbered = enumerate(records)
    for _, pairs in groupby(numbered, lambda pair: features.get(pair[1].query_id) or pair[0]):
        yield [record for _, record in pairs]


def _chunks(
    features: Iterable[Sequence[_ListedQuery | Unranked]], seconds: float | None
) -> Iterator[list[_ListedQuery | Unranked]]:
    """Yield queries that are ranked together: many, but not more than fit in memory.

    The spectra of a feature stay together. If `seconds` is given, a chunk has about as many queries
    as can be ranked in that time, at the speed of the chunk before.
    """
    chunk: list[_ListedQuery | Unranked] = []
    n_candidates, full, start = 0, 1.0 if seconds is None else _FIRST_SHARE, monotonic()
    for of_feature in features:
        chunk += of_feature
        n_candidates += sum(
            len(one.candidates) for one in of_feature if isinstance(one, _ListedQuery)
        )
        share = max(len(chunk) / MOST_QUERIES, n_candidates / MOST_CANDIDATES)
        if share >= full:
            yield chunk
            if seconds is not None:
                took = max(monotonic() - start, 1e-3)
                full, start = min(1.0, share * seconds / took), monotonic()
            chunk, n_candidates = [], 0
    if chunk:
        yield chunk


def _listed(
    record: Query | Unranked,
    source: CandidateSource,
    wanted: QueryFilter,
    listed_as: Mapping[str, Query],
) -> _ListedQuery | Unranked:
    """Return a query with its candidates, or why it has none."""
    if isinstance(record, Unranked):
        return record
    refusal = wanted.reject(record)
    if refusal is not None:
        return Unranked(record.query_id, refusal, record)
    listed = listed_as.get(record.query_id, record)
    found = source.find(listed)
    record = replace(record, fit=source.fit(listed, found))
    if doubts := tuple(source.doubts(listed)):
        record = replace(record, remarks=(*record.remarks, *doubts))
    if isinstance(found, Refusal):
        return Unranked(record.query_id, found, record, record.remarks)
    if found.ion is None:
        return _ListedQuery(record.likeliest(), found)
    return _ListedQuery(replace(record, others=listed.others), found)


def _with_structures(
    chunk: Sequence[_ListedQuery | Unranked], source: CandidateSource, n_jobs: int | None
) -> list[_ListedQuery | Unranked]:
    """Leave out candidates that cannot be parsed, and say so: evidence needs the structures."""
    sets = [record.candidates for record in chunk if isinstance(record, _ListedQuery)]
    usable = iter(source.usable(sets, n_jobs))
    remark = "candidates left out whose structure cannot be parsed"
    return [
        record if isinstance(record, Unranked) else _without(record, *next(usable), remark)
        for record in chunk
    ]


def _with_fragments(
    record: _ListedQuery | Unranked, annotator: Annotator
) -> _ListedQuery | Unranked:
    """Leave out candidates that cannot be broken into fragments, and say so."""
    if isinstance(record, Unranked) or annotator.evidence_pool is None:
        return record
    lost = annotator.evidence_pool.unbreakable(record.candidates)
    kept = record.candidates.select(np.delete(np.arange(len(record.candidates)), lost))
    remark = "candidates left out whose structure cannot be broken into fragments"
    return _without(record, kept, len(lost), remark)


def _without(
    record: _ListedQuery, kept: CandidateSet, n_lost: int, remark: str
) -> _ListedQuery | Unranked:
    query = record.query
    if not n_lost:
        return record
    if not len(kept):
        return Unranked(query.query_id, Refusal(Cause.NONE_USABLE), query, query.remarks)
    return _ListedQuery(replace(query, remarks=(*query.remarks, f"{remark}: {n_lost:,}")), kept)


class _PredictedQuery(NamedTuple):
    """A query, its candidates, and what the predicted fingerprint says of them.

    Parameters
    ----------
    query, candidates
        As listed.
    packed
        Fingerprints in the model's layout, uint8 (n_candidates, n_bytes).
    logits
        What the model predicts of the query as its likeliest ion, float64 (n_bits,).
    likelihoods
        Of the fingerprints, float64 (2, n_candidates), nats: as predicted, and without a spectrum.
    prior
        float64 (n_candidates,), nats: see `_prior`.
    counts
        The part of the prior that counts of references make up; None if there are none.
    window_share
        As in `ListScores`.
    mass_errors
        As in `Evidence`.
    """

    query: Query
    candidates: CandidateSet
    packed: NDArray[np.uint8]
    logits: NDArray[np.float64]
    likelihoods: NDArray[np.float64]
    prior: NDArray[np.float64] | None
    counts: NDArray[np.float64] | None
    window_share: float
    mass_errors: NDArray[np.float64] | None

    def ranked(self, evidence: Evidence | None, remarks: tuple[str, ...]) -> Ranked:
        """Return it ranked by all evidence, or by the fingerprint alone."""
        scores, blind_scores = self.likelihoods
        if self.prior is not None:
            fits = fitting(self.prior, len(scores))
            prior = np.where(fits, self.prior, _BEHIND_LIKELIHOODS)
            scores, blind_scores = scores + prior, blind_scores + prior
        return Ranked(
            replace(self.query, remarks=(*self.query.remarks, *remarks)),
            self.candidates,
            self.packed,
            ListScores(
                scores if evidence is None else evidence.scores,
                self.query.spectrum.n_compared,
                evidence,
                self.window_share,
            ),
            blind_scores,
            self.logits,
            self.counts,
        )


@dataclass(frozen=True)
class _Ranker:
    """Ranks queries together: one prediction of the model, one table of fingerprints.

    Attributes as the parameters of `rank_spectra`, and `features`: by identifier of a query, the
    identifier of the query whose candidates it takes.
    """

    annotator: Annotator
    source: CandidateSource
    rescore: int | None
    features: Mapping[str, str]
    n_jobs: int | None
    progress: Progress

    def rank(self, listed: Sequence[_ListedQuery]) -> list[Ranked]:
        """Return queries ranked, in order.

        Raises
        ------
        UnusableCandidatesError
            If some of the structures cannot be broken into fragments.
        """
        pool = self.annotator.evidence_pool
        sets = [candidates for _, candidates in listed]
        if pool is None:
            (packed,) = self._packed(sets, [self.annotator.layout])
            return [one.ranked(None, ()) for one in self._predicted(listed, packed)]
        packed, bits = self._packed(sets, [self.annotator.layout, pool.layout])
        with ExitStack() as working:
            fragments = None
            if self.rescore is None:
                # Other processes break the candidates while this one sees to all other evidence.
                breaking = self._breaking(pool, listed, sets)
                fragments = working.enter_context(breaking)
            predicted = self._predicted(listed, packed)
            compared = [
                pool.compare(
                    one.query.spectrum,
                    one.candidates,
                    of_query,
                    one.likelihoods[0],
                    rescore=self.rescore,
                    prior=one.prior,
                    may_be=partial(self.source.may_be, one.query),
                    mass_errors=one.mass_errors,
                )
                for one, of_query in zip(predicted, bits, strict=True)
            ]
            if fragments is None:
                compared = _broken_alike(
                    compared, [self.features.get(one.query.query_id) for one in listed]
                )
                best = [of_query.broken for of_query in compared]
                fragments = working.enter_context(self._breaking(pool, listed, best))
            evidence = map(pool.evidence, compared, fragments())
            return [
                one.ranked(of_query, self._cascade_remarks(pool, one))
                for one, of_query in zip(predicted, evidence, strict=True)
            ]

    def with_analogues(self, record: Unranked) -> Unranked:
        """Return a query that has no candidates with the library's compounds that it is like.

        They say whether the library knows what the candidates lack.
        """
        pool, query = self.annotator.evidence_pool, record.query
        if pool is None or query is None or record.refusal.cause not in _WITHOUT_CANDIDATES:
            return record
        may_be = partial(self.source.may_be, query)
        found = pool.library.analogues(query.spectrum, may_be, N_ANALOGUES)
        remarks = (*record.remarks, *absentee_remark(query, found))
        return replace(record, remarks=remarks, analogues=found)

    def _packed(
        self, sets: Sequence[CandidateSet], layouts: Sequence[FingerprintLayout]
    ) -> list[list[NDArray[np.uint8]]]:
        return self.source.packed(sets, layouts, self.n_jobs, self.progress)

    def _breaking(
        self, pool: EvidencePool, listed: Sequence[_ListedQuery], broken: Sequence[CandidateSet]
    ) -> AbstractContextManager[Callable[[], list[NDArray[np.float64]]]]:
        lists = [
            (_spectra(query, candidates), found, _fitting(query, candidates))
            for (query, candidates), found in zip(listed, broken, strict=True)
        ]
        return pool.scoring(lists, self.n_jobs, self.progress, self.source.graphs)

    def _predicted(
        self, listed: Sequence[_ListedQuery], tables: Sequence[NDArray[np.uint8]]
    ) -> list[_PredictedQuery]:
        """Return what the predicted fingerprints say; `tables` are those of the candidates."""
        blind, references = self.annotator.blind_logits, self.source.counts
        counts = [
            None if references is None else references.nats(candidates) for _, candidates in listed
        ]
        return [
            _PredictedQuery(
                query=query,
                candidates=candidates,
                packed=packed,
                logits=logits[0],
                likelihoods=_likelihoods(packed, logits, blind, candidates.ion),
                prior=_prior(query, candidates, self.annotator.evidence_pool, of_counts),
                counts=of_counts,
                window_share=self.source.window_share(query) * _any_fits(query, candidates),
                mass_errors=mass_errors(query.precursor_mz, query.ions, candidates),
            )
            for (query, candidates), packed, logits, of_counts in zip(
                listed, tables, _predictions(self.annotator, listed), counts, strict=True
            )
        ]

    def _cascade_remarks(self, pool: EvidencePool, one: _PredictedQuery) -> tuple[str, ...]:
        """Return the remark on candidates that are not broken into fragments, if there are any."""
        n_fitting = int(fitting(one.prior, len(one.candidates)).sum())
        if self.rescore is None or n_fitting <= self.rescore:
            return ()
        if not pool.has_fragments(one.query.spectrum):
            return ()
        return (f"fragments compared for the best {counted(self.rescore, 'candidates')} only",)


def _broken_alike(compared: list[Comparison], features: Sequence[str | None]) -> list[Comparison]:
    """Return comparisons in which all spectra of a feature have the same candidates broken.

    Fragment scores of one spectrum could not be merged with guessed ones of another.
    """
    places: dict[str, list[int]] = defaultdict(list)
    for place, (one, feature) in enumerate(zip(compared, features, strict=True)):
        if feature is not None and not one.is_broken.all():
            places[feature].append(place)
    alike = list(compared)
    for of_feature in places.values():
        broken = set(chain.from_iterable(compared[n].broken.first_block for n in of_feature))
        for n in of_feature:
            chosen = np.array([block in broken for block in compared[n].candidates.first_block])
            alike[n] = replace(compared[n], is_broken=chosen)
    return alike


def _predictions(annotator: Annotator, listed: Sequence[_ListedQuery]) -> list[NDArray[np.float64]]:
    """Return what the model predicts of each query, (n_ions, n_bits), a row for each ion species.

    They do not depend on what other queries there are.
    """
    if not listed:
        return []
    each = [_spectra(query, candidates) for query, candidates in listed]
    spectra = list(chain.from_iterable(each))
    predictions = annotator.predict(spectra)
    return np.split(predictions, np.cumsum([len(of_query) for of_query in each])[:-1])


def _spectra(query: Query, candidates: CandidateSet) -> list[Spectrum]:
    """Return a query's spectrum as that of each ion species that its candidates are of."""
    if candidates.ion is None:
        return [query.spectrum]
    return [query.spectrum_of(ion) for ion in query.ions]


def _likelihoods(
    packed: NDArray[np.uint8],
    predicted: NDArray[np.float64],
    blind: NDArray[np.float64],
    ion: NDArray[np.int64] | None,
) -> NDArray[np.float64]:
    """Return likelihoods of fingerprints as predicted, and without a spectrum, (2, n_candidates).

    Each candidate is compared with the prediction for its own ion species, a row of the logits.
    """
    if ion is None:
        return log_likelihoods(packed, np.stack([predicted[0], blind]))
    scores = np.empty((2, len(packed)))
    for number, of_ion in enumerate(predicted):
        rows = ion == number
        scores[:, rows] = log_likelihoods(packed[rows], np.stack([of_ion, blind]))
    return scores


def _prior(
    query: Query,
    candidates: CandidateSet,
    pool: EvidencePool | None,
    counts: NDArray[np.float64] | None,
) -> NDArray[np.float64] | None:
    """Return the prior of candidates, before the spectrum is seen, (n_candidates,), in nats.

    It is the sum of up to four terms: the logarithm of the share of a candidate's ion species, if
    several were tried; how readily the candidate forms that species; how often it is referred to,
    if the user gives counts; and a penalty that ranks a candidate of quite another mass, which only
    a list for the query can have, below all others. None if no term differs between candidates.
    """
    library = None if pool is None else pool.library
    prior = formation_of_candidates(candidates, query.ions, library)
    if counts is not None:
        prior += counts
    if candidates.ion is not None:
        return log_shares(query.ions)[candidates.ion] + prior
    prior += np.where(_fits(query, candidates), 0.0, BEHIND)
    return prior if np.ptp(prior) else None


def _fitting(query: Query, candidates: CandidateSet) -> CandidateSet:
    """Return the candidates that `_fits`: ions of others' formulas are none of the query's."""
    fits = _fits(query, candidates)
    return candidates if fits.all() else candidates.select(np.flatnonzero(fits))


def _fits(query: Query, candidates: CandidateSet) -> NDArray[np.bool_]:
    """Return which candidates are not of quite another mass than the query, (n_candidates,).

    All, if none has its mass, or if they were looked up by mass as several ion species.
    """
    if not _any_fits(query, candidates):
        return np.ones(len(candidates), np.bool_)
    return _may_be_of(query, candidates)


def _any_fits(query: Query, candidates: CandidateSet) -> bool:
    """Return whether any candidate may have the query's mass; the list holds no truth if none."""
    return bool(_may_be_of(query, candidates).any())


def _may_be_of(query: Query, candidates: CandidateSet) -> NDArray[np.bool_]:
    if candidates.ion is not None:
        return np.ones(len(candidates), np.bool_)
    return query.may_have(candidates.exact_mass)
