"""Methods of ranking a laboratory's queries with the library of all others."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from specvae.annotation.evidence.analogues import ANALOGUE_BINS, AnalogueIndex
from specvae.annotation.evidence.fingerprint import log_likelihoods
from specvae.annotation.evidence.fragment_score import SCORERS_FILE, standard_scorers
from specvae.annotation.evidence.pool import Evidence, EvidencePool
from specvae.annotation.evidence.remembered import ANALOGUE_FINGERPRINT
from specvae.annotation.ranking.annotator import Annotator
from specvae.cli.console import Console
from specvae.molecules.candidates import CandidateSet
from specvae.molecules.fingerprint import FingerprintCache, fingerprints, get_layout
from specvae.spectra.spectrum import Spectrum
from specvae_bench.laboratories.records import Records, cached_arrays
from specvae_bench.retrieval.lookups import TOLERANCE_DA, frequency_logits

EVERYTHING = "everything"
"""The program's own ranking without a network: analogues, fragments and own spectra."""

OWN_COSINE, OWN_MODIFIED, OWN_ENTROPY = (
    "own spectra, our cosine",
    "own spectra, modified cosine",
    "own spectra, spectral entropy",
)
LIBRARY_SEARCHES = (OWN_COSINE, OWN_MODIFIED, OWN_ENTROPY)

Scores = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ListedQuery:
    """A query with its candidates and what of them does not depend on the library.

    Attributes
    ----------
    spectrum, candidates
        The query, and one structure for each first block.
    packed
        Fingerprints in the layout of `EvidencePool`, uint8 (n_candidates, n_bytes).
    fragment_scores
        float64 (n_candidates,).
    predicted
        Model -> log-likelihoods of the candidates' fingerprints, float64 (n_candidates,).
    """

    spectrum: Spectrum
    candidates: CandidateSet
    packed: NDArray[np.uint8]
    fragment_scores: Scores
    predicted: Mapping[str, Scores]

    def cut(self, kept: NDArray[np.int64]) -> ListedQuery:
        """Return the query with some of its candidates."""
        return ListedQuery(
            self.spectrum,
            self.candidates.select(kept),
            self.packed[kept],
            self.fragment_scores[kept],
            {name: scores[kept] for name, scores in self.predicted.items()},
        )


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
    """

    def __init__(
        self,
        records: Records,
        rows: NDArray[np.int64],
        packed: NDArray[np.uint8],
    ) -> None:
        self._records = records
        self.pool = pool_of(records, rows, packed)
        self._blind = frequency_logits(self.pool.fingerprints, ANALOGUE_FINGERPRINT)
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

    def evidence(self, query: ListedQuery) -> Iterator[tuple[str, Evidence]]:
        """Yield the program's own rankings: the evidence without a network, and with each model.

        It assumes that half of the queries are known, until it is settled for a run.
        """
        yield EVERYTHING, self._weigh(query, np.zeros(len(query.candidates)))
        for name, predicted in query.predicted.items():
            yield f"{name}, everything", self._weigh(query, predicted)

    def _weigh(self, query: ListedQuery, predicted: Scores) -> Evidence:
        return self.pool.weigh(
            query.spectrum,
            query.candidates,
            query.packed,
            predicted,
            fragment_scores=query.fragment_scores,
        )

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


def pool_of(records: Records, rows: NDArray[np.int64], packed: NDArray[np.uint8]) -> EvidencePool:
    """Return the program's evidence with some of the records as its library."""
    kept, compound = np.unique(records.compound[rows], return_inverse=True)
    return EvidencePool(
        AnalogueIndex(
            records.encoded.select(rows),
            compound.astype(np.int64),
            ANALOGUE_BINS,
            records.signs[rows],
        ),
        records.first_blocks[kept].tolist(),
        records.smiles[kept].tolist(),
        packed[kept],
        standard_scorers(),
    )


def list_candidates(
    spectra: Sequence[Spectrum],
    candidates: Sequence[CandidateSet],
    models: Mapping[str, Annotator],
    jobs: int | None,
    console: Console,
) -> list[ListedQuery]:
    """Return queries with what does not depend on the library; fragments from the cache.

    Parameters
    ----------
    spectra, candidates
        The queries.
    models
        Name -> trained model.
    jobs, console
        Processes that compute fingerprints, and where progress is shown.
    """
    packed = _packed(candidates, ANALOGUE_FINGERPRINT, jobs, console)
    fragments = _fragment_scores(spectra, candidates, console)
    predicted: list[dict[str, Scores]] = [{} for _ in spectra]
    for name, model in models.items():
        logits = model.predict(spectra)
        for place, (of_query, bits) in enumerate(
            zip(logits, _packed(candidates, model.layout.name, jobs, console), strict=True)
        ):
            predicted[place][name] = log_likelihoods(bits, of_query)
    return [
        ListedQuery(*row)
        for row in zip(spectra, candidates, packed, fragments, predicted, strict=True)
    ]


def _fragment_scores(
    spectra: Sequence[Spectrum],
    candidates: Sequence[CandidateSet],
    console: Console,
) -> list[Scores]:
    pool = EvidencePool(
        # No library is needed for them, but a pool has one.
        AnalogueIndex(ANALOGUE_BINS.encode_many(spectra[:1]), np.zeros(1, np.int64), ANALOGUE_BINS),
        [""],
        [""],
        np.zeros((1, 1), np.uint8),
        standard_scorers(),
    )

    scores = []
    for n_done, (spectrum, found) in enumerate(zip(spectra, candidates, strict=True), start=1):
        # Each query has a file of its own: minutes of work survive an interruption.
        peaks = {"mz": spectrum.mz.tolist(), "intensity": spectrum.intensity.tolist()}
        settings = {
            **peaks,
            "precursor_mz": spectrum.precursor_mz,
            "adduct": spectrum.adduct,
            "smiles": list(found.smiles),
        }
        compute = partial(_fragments_of, pool, spectrum, found)
        scores.append(cached_arrays("fragments", [SCORERS_FILE], settings, compute)["scores"])
        console.progress("breaking candidates", n_done, len(spectra))
    return scores


def _fragments_of(
    pool: EvidencePool, spectrum: Spectrum, candidates: CandidateSet
) -> dict[str, NDArray[Any]]:
    return {"scores": pool.fragment_scores(spectrum, candidates)}


def _packed(
    candidates: Sequence[CandidateSet], layout: str, jobs: int | None, console: Console
) -> list[NDArray[np.uint8]]:
    distinct = list(dict.fromkeys(text for found in candidates for text in found.smiles))
    rows = {text: row for row, text in enumerate(distinct)}
    table = packed_fingerprints(distinct, layout, jobs, console)
    return [table[[rows[text] for text in found.smiles]] for found in candidates]


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
    from matchms import Spectrum as Peer
    from matchms.similarity import FlashSimilarity

    similarity = FlashSimilarity(
        score_type=score_type, matching_mode=matching_mode, tolerance=TOLERANCE_DA
    )

    def converted(spectrum: Spectrum) -> Peer:
        return Peer(
            mz=spectrum.mz,
            intensities=spectrum.intensity,
            metadata={"precursor_mz": spectrum.precursor_mz},
            metadata_harmonization=False,
        )

    def likeness(query: Spectrum, spectra: Sequence[Spectrum]) -> Scores:
        # It draws progress bars on stderr, unasked.
        with contextlib.redirect_stderr(io.StringIO()):
            matrix = similarity.matrix(
                [converted(query)], [converted(spectrum) for spectrum in spectra], n_jobs=1
            )
        return np.asarray(np.nan_to_num(np.asarray(matrix, dtype=np.float64))[0])

    return likeness
