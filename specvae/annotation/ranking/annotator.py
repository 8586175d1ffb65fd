"""Rank the candidates of query spectra with a trained model."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

from specvae.annotation.evidence.fingerprint import (
    bit_logits,
    fingerprint_means,
    log_likelihoods,
    spectrum_means,
)
from specvae.annotation.evidence.items import Analogue, BitEvidence, PeakEvidence
from specvae.annotation.evidence.list_features import LIST_FEATURES, list_features
from specvae.annotation.evidence.memory import from_companions
from specvae.annotation.evidence.pool import Evidence, EvidencePool
from specvae.annotation.library.filter import canonical_adducts
from specvae.annotation.library.query import Assumptions, Query
from specvae.annotation.library.tensors import empty_spectrum, sparse_rows
from specvae.annotation.ranking.probability import ProbabilityModel
from specvae.annotation.ranking.result import Annotation, QueryResult
from specvae.errors import CheckpointError, ConfigError, InputError
from specvae.molecules.candidates import CandidatePool, CandidateSet, read_candidates
from specvae.molecules.fingerprint import (
    FingerprintCache,
    FingerprintLayout,
    fingerprints,
    get_layout,
    unpack,
)
from specvae.progress import Progress, Silence
from specvae.report import ReadReport, Skip
from specvae.spectra.binning import BinLayout
from specvae.spectra.read import read_spectra
from specvae.spectra.spectrum import Spectrum
from specvae.vae.checkpoint import load_checkpoint, load_companions
from specvae.vae.device import pick_device
from specvae.vae.model import MultimodalVAE

_CHUNK = 256
_N_EVIDENCE = 12
_N_ANALOGUES = 3


@dataclass(frozen=True, slots=True)
class QueryFilter:
    """Which queries are ranked; an empty collection or None lets everything pass."""

    ion_mode: str | None = None
    adducts: frozenset[str] = frozenset()

    @classmethod
    def of(cls, ion_mode: str | None, adducts: Iterable[str]) -> QueryFilter:
        """Return a filter; adducts in any spelling.

        Raises
        ------
        ConfigError
            If an adduct is unknown.
        """
        return cls(ion_mode, canonical_adducts(adducts))

    def reject(self, query: Query) -> str | None:
        """Return why a query is left out, or None if it is ranked."""
        if self.ion_mode and query.ion_mode != self.ion_mode:
            return f"left out: ion mode {query.ion_mode or 'unknown'}"
        if self.adducts and query.adduct not in self.adducts:
            return f"left out: adduct {query.adduct or 'unknown'}"
        return None


@dataclass(frozen=True, slots=True)
class RankedQuery:
    """A query with its candidates, in the candidates' own order, and their scores.

    Attributes
    ----------
    query_id
        Unique within the query file.
    query
        The spectrum; None for a record that could not be read.
    adduct
        Stated or assumed adduct, or None.
    status
        As in the output; ``ok...`` if the query could be ranked.
    candidates
        One per InChIKey first block; None if there is nothing to rank.
    packed
        Their fingerprints, uint8 (n_candidates, n_bytes).
    scores
        float64 (n_candidates,), nats; empty if there is nothing to rank.
    blind_scores
        The same for a spectrum in which nothing was measured.
    logits
        float64 (n_bits,) predicted for the query; empty if there is nothing to rank.
    evidence
        All kinds of evidence for the candidates; None for a model that ranks by the predicted
        fingerprint alone.
    is_filtered
        Left out by the user's filter rather than for a defect.
    given_in_list
        float64 (n_candidates,), the candidates' probabilities if the list is sure to hold the
        truth; empty unless the model is calibrated.
    log_odds_in_list
        Log odds that the list holds the truth, at a share of one half of all lists; None unless
        the model is calibrated.
    """

    query_id: str
    query: Spectrum | None
    adduct: str | None
    status: str
    candidates: CandidateSet | None = None
    packed: NDArray[np.uint8] = field(default_factory=lambda: np.empty((0, 0), np.uint8))
    scores: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    blind_scores: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    logits: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    evidence: Evidence | None = None
    is_filtered: bool = False
    given_in_list: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    log_odds_in_list: float | None = None


class Annotator:
    """A trained model with the layouts that its inputs and outputs need.

    Parameters
    ----------
    model, header
        As `load_checkpoint` returns them.
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
        header: dict[str, Any],
        device: torch.device,
        evidence_pool: EvidencePool | None = None,
    ) -> None:
        self.evidence_pool = evidence_pool
        self.model = model.to(device).eval()
        self.header = header
        self.device = device
        self.layout = _checked_layout(header["fingerprint"])
        self.bins = BinLayout.from_json(header["bins"])
        # Probabilities hold for the scores that they were fitted to: those of all evidence.
        whole = evidence_pool is not None or "experts" not in header
        features = LIST_FEATURES if evidence_pool is not None else ()
        stored = header.get("probability") if whole else None
        self.probability = _probability_model(stored, features)
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
        model, header = load_checkpoint(path, torch_device)
        for key in ("bins", "fingerprint", "config", "provenance", "compounds"):
            if key not in header:
                raise CheckpointError(
                    f"{path}: no {key!r} in the header: a specvae model, but not of spectra"
                )
        pool = None
        if not fingerprint_only and "experts" in header:
            stored, companions = header["experts"], load_companions(path)
            try:
                pool = from_companions(stored, companions)
                _require_probe(pool.layout, stored["probe_sha256"])
            except (KeyError, TypeError, ValueError, ConfigError) as error:
                raise CheckpointError(
                    f"{path}: the evidence in the header makes no sense: {error!r}"
                ) from None
        return cls(model, header, torch_device, pool)

    @property
    def training_compounds(self) -> frozenset[str]:
        """InChIKey first blocks of the compounds that trained or chose the model."""
        return frozenset(b for blocks in self.header["compounds"].values() for b in blocks)

    def settle(self, spectrum: Spectrum, assumed: Assumptions | None = None) -> Query:
        """Return a spectrum as a query.

        One that states no ion mode is taken to be of the one that the model knows, if it knows one
        only and the user assumes none.
        """
        known = [mode for mode in self.header["provenance"]["ion_modes"] if mode != "unknown"]
        query = Query.settle(spectrum, (assumed or Assumptions()).or_only(known))
        if known and query.ion_mode is not None and query.ion_mode not in known:
            untrained = f"the model was not trained on {query.ion_mode} ion mode"
            return replace(query, remarks=(*query.remarks, untrained))
        return query

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

    def evidence(
        self, logits: NDArray[np.float64], packed: NDArray[np.uint8]
    ) -> tuple[BitEvidence, ...]:
        """Return the bits that tell the candidate `packed` (n_bytes,) best from a blind guess.

        Bits are ordered by how far the spectrum moved the candidate's log-likelihood: the
        difference of the bit's term under the prediction and under the blind prediction.
        """
        bits = unpack(packed[np.newaxis], self.layout.n_bits)[0].astype(bool)

        def terms(of: NDArray[np.float64]) -> NDArray[np.float64]:
            return np.asarray(-np.logaddexp(0.0, np.where(bits, -of, of)))

        gain = np.abs(terms(logits) - terms(self.blind_logits))
        order = np.argsort(-gain, kind="stable")[:_N_EVIDENCE]
        probabilities = 1.0 / (1.0 + np.exp(-logits))
        return tuple(
            BitEvidence(
                int(bit), self.layout.meaning(int(bit)), float(probabilities[bit]), bool(bits[bit])
            )
            for bit in order
        )


class CandidateSource:
    """Where queries' candidates come from: a CSV or TSV, or a pool.

    A context manager: leaving it closes the pool's file.

    Parameters
    ----------
    path
        A table of structures, or a pool (``.h5``).
    layout
        Fingerprint layout of the model that ranks.
    ppm
        Largest distance of a candidate's exact mass from the query's neutral mass.
    report
        Where unusable rows are counted.

    Raises
    ------
    InputError
        If the file cannot be used, or holds no candidate.
    """

    def __init__(
        self, path: Path, layout: FingerprintLayout, ppm: float, report: ReadReport
    ) -> None:
        self.ppm = ppm
        self._layout = layout
        self._cache = FingerprintCache()
        self._pool = CandidatePool.open(path, layout) if path.suffix == ".h5" else None
        self._table = None if self._pool else read_candidates(path, report)
        if self._table is not None and not len(self._table):
            raise InputError(f"{path}: no usable candidate ({report.summary('candidates')})")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the pool's file, if there is one."""
        if self._pool is not None:
            self._pool.close()

    def find(self, query: Query) -> CandidateSet | str:
        """Return a query's candidates, one per first block, or why there are none."""
        if query.spectrum.ms_level not in (2, None):
            return f"MS level {query.spectrum.ms_level}, wanted 2"
        mass = query.neutral_mass
        if self._table is not None and self._table.has_query_ids:
            found = self._table.for_query(query.query_id)
            return found.deduplicate(mass) if len(found) else "no candidates for this query_id"
        if query.precursor_mz is None:
            return "no precursor m/z"
        if mass is None:
            return f"unknown adduct {query.adduct}" if query.adduct else "no adduct and no ion mode"
        source = self._pool if self._pool is not None else self._table
        assert source is not None
        found = source.within(mass, self.ppm)
        return found.deduplicate() if len(found) else f"no candidates within {self.ppm:g} ppm"

    def packed(
        self,
        sets: Sequence[CandidateSet],
        n_jobs: int | None,
        progress: Progress,
        layout: FingerprintLayout | None = None,
    ) -> list[NDArray[np.uint8]]:
        """Return packed fingerprints of several sets; each structure is computed once.

        `layout` is another one than the source's own, if any.
        """
        if self._pool is not None and layout is None:
            return [candidates.packed for candidates in sets]
        distinct = list(dict.fromkeys(s for candidates in sets for s in candidates.smiles))
        rows = {smiles: row for row, smiles in enumerate(distinct)}
        table = fingerprints(
            distinct,
            layout or self._layout,
            self._cache,
            n_jobs,
            lambda done, total: progress.progress("computing fingerprints", done, total),
        )
        return [table[[rows[smiles] for smiles in c.smiles]] for c in sets]


def rank_queries(
    annotator: Annotator,
    path: Path,
    source: CandidateSource,
    wanted: QueryFilter,
    report: ReadReport,
    *,
    assumed: Assumptions | None = None,
    n_jobs: int | None = None,
    progress: Progress | None = None,
) -> Iterator[RankedQuery]:
    """Rank the candidates of every query of a file; records come out in file order.

    A record that cannot be read, or has no candidates, comes out too, with its reason as status.
    Candidates and fingerprints are held for a few hundred queries at a time.
    """
    progress = progress or Silence()
    before = len(report.skips)
    queries = [annotator.settle(spectrum, assumed) for spectrum in read_spectra(path, report)]
    # A survey scan of an mzML run is no query that somebody waits for.
    skips = [skip for skip in report.skips[before:] if not skip.reason.is_other_scan]
    unread = deque(_unread(skips, {query.query_id for query in queries}))
    ranked = rank_spectra(annotator, queries, source, wanted, n_jobs=n_jobs, progress=progress)
    for query, record in zip(queries, ranked, strict=True):
        while unread and unread[0][0] < query.spectrum.line:
            yield unread.popleft()[1]
        yield record
    for _, record in unread:
        yield record


def rank_spectra(
    annotator: Annotator,
    queries: Sequence[Query],
    source: CandidateSource,
    wanted: QueryFilter,
    *,
    n_jobs: int | None = None,
    progress: Progress | None = None,
) -> Iterator[RankedQuery]:
    """Rank the candidates of each query, in order; see `rank_queries`."""
    progress = progress or Silence()
    n_done = 0
    for start in range(0, len(queries), _CHUNK):
        chunk = [_prepare(query, source, wanted) for query in queries[start : start + _CHUNK]]
        rankable = [item for item in chunk if isinstance(item.found, CandidateSet)]
        sets = [item.candidates for item in rankable]
        tables = source.packed(sets, n_jobs, progress)
        logits = annotator.predict([item.query.spectrum for item in rankable])
        compared: Sequence[NDArray[np.uint8] | None] = [None] * len(rankable)
        if annotator.evidence_pool is not None:
            compared = source.packed(sets, n_jobs, progress, annotator.evidence_pool.layout)
        predicted = {
            id(item): of_item
            for item, *of_item in zip(rankable, tables, logits, compared, strict=True)
        }
        for item in chunk:
            yield _ranked(annotator, item, *predicted.get(id(item), (None, None, None)))
            n_done += 1
            progress.progress("ranking queries", n_done, len(queries))


def to_result(annotator: Annotator, ranked: RankedQuery, top: int | None) -> QueryResult:
    """Return the output rows of a ranked query: the `top` best candidates (None: all).

    Probabilities take it for sure that the list holds the truth; what all queries say of that is
    for `specvae.annotation.ranking.in_list.settle_share` to add.
    """
    precursor_mz = ranked.query.precursor_mz if ranked.query else None
    if ranked.candidates is None:
        row = Annotation(
            ranked.query_id, None, "", "", "", None, None, 0, precursor_mz, ranked.adduct,
            ranked.status,
        )  # fmt: skip
        return QueryResult(ranked.query, (row,))
    candidates, scores = ranked.candidates, ranked.scores
    # Ties are shown in order of InChIKey, whose first blocks are distinct: the order in which
    # candidates were listed must not decide which of them the user sees first.
    order = np.lexsort((candidates.first_block, -scores))
    ordered = scores[order]
    ranks = np.searchsorted(-ordered, -ordered, side="right")[:top]
    shown = candidates.select(order[:top])
    calibrated = ranked.log_odds_in_list is not None
    rows = tuple(
        Annotation(
            query_id=ranked.query_id,
            rank=int(rank),
            smiles=shown.smiles[i],
            inchikey=shown.inchikey[i],
            name=shown.name[i],
            score=float(ordered[i]),
            probability=float(ranked.given_in_list[order[i]]) if calibrated else None,
            n_candidates=len(scores),
            precursor_mz=precursor_mz,
            adduct=ranked.adduct,
            status=ranked.status,
        )
        for i, rank in enumerate(ranks)
    )
    evidence = annotator.evidence(ranked.logits, ranked.packed[order[0]])
    analogues: tuple[Analogue, ...] = ()
    peaks: tuple[PeakEvidence, ...] = ()
    pool = annotator.evidence_pool
    if pool is not None and ranked.evidence is not None and ranked.query is not None:
        analogues = ranked.evidence.analogues[:_N_ANALOGUES]
        peaks = pool.explain(ranked.query, candidates.smiles[order[0]])
    return QueryResult(ranked.query, rows, evidence, analogues, peaks, ranked.log_odds_in_list)


@dataclass(frozen=True, slots=True, eq=False)
class _Prepared:
    """A query with its candidates, or why it has none."""

    query: Query
    found: CandidateSet | str
    remarks: tuple[str, ...] = ()
    is_filtered: bool = False

    @property
    def candidates(self) -> CandidateSet:
        assert isinstance(self.found, CandidateSet)
        return self.found


def _prepare(query: Query, source: CandidateSource, wanted: QueryFilter) -> _Prepared:
    left_out = wanted.reject(query)
    if left_out is not None:
        return _Prepared(query, left_out, is_filtered=True)
    return _Prepared(query, source.find(query), query.remarks)


def _ranked(
    annotator: Annotator,
    item: _Prepared,
    packed: NDArray[np.uint8] | None,
    logits: NDArray[np.float64] | None,
    compared: NDArray[np.uint8] | None,
) -> RankedQuery:
    if packed is None or logits is None:
        assert isinstance(item.found, str)
        return RankedQuery(
            item.query.query_id,
            item.query.spectrum,
            item.query.adduct,
            "; ".join((item.found, *item.remarks)),
            is_filtered=item.is_filtered,
        )
    scores, blind_scores = log_likelihoods(packed, np.stack([logits, annotator.blind_logits]))
    evidence, features = None, []
    if annotator.evidence_pool is not None and compared is not None:
        evidence = annotator.evidence_pool.weigh(
            item.query.spectrum, item.candidates, compared, scores
        )
        scores = evidence.scores
        features = list_features(evidence, item.query.spectrum.n_peaks)
    given, log_odds = np.empty(0), None
    if annotator.probability is not None:
        of_list = np.array([features], dtype=np.float64)
        (given,) = annotator.probability.given_in_list([scores], of_list)
        log_odds = float(annotator.probability.log_odds_in_list([scores], of_list)[0])
    return RankedQuery(
        item.query.query_id,
        item.query.spectrum,
        item.query.adduct,
        "; ".join(("ok", *item.remarks)),
        item.candidates,
        packed,
        scores,
        blind_scores,
        logits,
        evidence,
        given_in_list=given,
        log_odds_in_list=log_odds,
    )


def _unread(skips: Iterable[Skip], taken: set[str]) -> Iterator[tuple[int, RankedQuery]]:
    """Yield line and row of each unreadable record, under an identifier that is not `taken`."""
    for skip in skips:
        query_id, n = skip.record, 1
        while query_id in taken:
            n += 1
            query_id = f"{skip.record}#{n}"
        taken.add(query_id)
        detail = f" ({skip.detail})" if skip.detail else ""
        status = f"unreadable record: {skip.reason}{detail}"
        yield skip.line, RankedQuery(query_id, None, None, status)


def _require_probe(layout: FingerprintLayout, wanted: str) -> None:
    if layout.probe_sha256 != wanted:
        raise CheckpointError(
            f"fingerprint {layout.name}: probe_sha256 is {layout.probe_sha256} here, but the "
            f"library was stored with {wanted}; install the versions that 'specvae info' lists"
        )


def _probability_model(stored: object, wanted: tuple[str, ...]) -> ProbabilityModel | None:
    if stored is None:
        return None
    try:
        model = ProbabilityModel.from_json(stored)
    except ConfigError as error:
        raise CheckpointError(f"calibration in the model's header: {error}") from None
    if model.feature_names != wanted:
        raise CheckpointError(
            f"calibration in the model's header: found the features {model.feature_names}, "
            f"wanted {wanted}"
        )
    return model


def _checked_layout(stored: dict[str, Any]) -> FingerprintLayout:
    layout = get_layout(stored["name"])
    for key in ("version", "n_bits", "probe_sha256"):
        if getattr(layout, key) != stored[key]:
            raise CheckpointError(
                f"fingerprint {layout.name}: {key} is {getattr(layout, key)} here, but the model "
                f"was trained with {stored[key]}; install the versions that 'specvae info' lists"
            )
    return layout
