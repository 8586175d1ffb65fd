"""Lists of contest length: hit@1 with more and less of the library, and by length of the list."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from specvae.annotation.evaluation.hits import TruthRank, rank_of_truth
from specvae.annotation.evidence.known_share import settle
from specvae.annotation.evidence.pool import Evidence
from specvae.annotation.library.compounds import read_truth
from specvae.annotation.ranking.annotator import Annotator
from specvae.cli.console import Console
from specvae.errors import InputError
from specvae.molecules.candidates import CandidateSet, read_candidates
from specvae.report import ReadReport
from specvae.spectra.read import read_spectra
from specvae.spectra.spectrum import Spectrum
from specvae_bench.laboratories.methods import ListedQuery, Memory, list_candidates
from specvae_bench.laboratories.records import Records, cached_arrays, candidate_set
from specvae_bench.laboratories.report import without_controls

LENGTHS = (30, 100, 300, None)
"""Candidates that a list is cut to, the truth among them; None for all."""

# A query and a library spectrum are one record if their peaks agree this closely.
_SAME_MZ = 1e-3  # Th
_SAME_INTENSITY = 1e-2  # of the highest peak


def long_lists(
    folder: Path,
    records: Records,
    packed: NDArray[np.uint8],
    models: Mapping[str, Annotator],
    seed: int,
    jobs: int | None,
    console: Console,
) -> dict[str, Any]:
    """Return figures by library, length and method.

    The libraries: all records; those that are no query themselves; those of groups that no query is
    from; those of other compounds than the queries'.

    Parameters
    ----------
    folder
        ``queries.mgf``, ``truth.csv``, and ``candidates.csv`` or ``candidates.csv.gz``.
    records, packed
        All spectra, and the fingerprints of their compounds.
    models
        Name -> trained model.
    seed
        Of the candidates that shorter lists are cut to, and of the intervals.
    jobs, console
        Processes that compute fingerprints, and where progress is shown.

    Raises
    ------
    InputError
        If a file is missing or cannot be used.
    """
    spectra, truths, candidates = _read(folder, console)
    queries = [
        _Query(listed, truth, _place(listed.candidates, truth), seed + number)
        for number, (listed, truth) in enumerate(
            zip(list_candidates(spectra, candidates, models, jobs, console), truths, strict=True)
        )
    ]
    own = own_records(records, spectra, truths)
    libraries = _libraries(records, own, truths)
    figures: dict[str, dict[str, dict[str, Any]]] = {}
    for name, rows in libraries.items():
        memory = Memory(records, rows, packed)
        figures[name] = {}
        for length in LENGTHS:
            cut = [query.cut(length) for query in queries]
            label = str(length or "all")
            ranks = _ranks(memory, cut, partial(console.progress, f"{name}, {label}"))
            figures[name][label] = {
                method: without_controls(found, seed) for method, found in ranks.items()
            }
    return {
        "name": folder.name,
        "n_queries": len(spectra),
        "candidates_median": float(np.median([len(found) for found in candidates])),
        "n_own_records": len(own),
        "n_library_spectra": {name: len(rows) for name, rows in libraries.items()},
        "libraries": figures,
    }


@dataclass(frozen=True, eq=False)
class _Query:
    """A query with its candidates.

    Attributes
    ----------
    listed, truth
        The query; first block of its compound.
    place
        Row of the truth among the candidates; None if it is not there.
    seed
        Of the order in which other candidates are left out.
    """

    listed: ListedQuery
    truth: str
    place: int | None
    seed: int

    def cut(self, length: int | None) -> _Query:
        """Return the query with `length` candidates, the truth among them; None: all."""
        if length is None:
            return self
        kept = _kept(len(self.listed.candidates), self.place, length, self.seed)
        place = None if self.place is None else int(np.searchsorted(kept, self.place))
        return replace(self, listed=self.listed.cut(kept), place=place)

    def rank(self, scores: NDArray[np.float64]) -> TruthRank:
        """Return where the truth stands by `scores`, (n_candidates,)."""
        return rank_of_truth(self.truth, scores, self.place)


def _libraries(
    records: Records, own: NDArray[np.int64], truths: Sequence[str]
) -> dict[str, NDArray[np.int64]]:
    """Return the rows of each library; `own` are the rows that are queries themselves."""
    every = np.arange(len(records))
    of_compound = np.isin(records.first_blocks[records.compound], truths)
    return {
        "whole library": every,
        "without own records": np.setdiff1d(every, own),
        "other laboratories": np.flatnonzero(~np.isin(records.group, records.group[own])),
        "without their compounds": np.flatnonzero(~of_compound),
    }


def _ranks(
    memory: Memory, queries: Sequence[_Query], progress: Callable[[int, int], None]
) -> dict[str, list[TruthRank]]:
    """Return where each method ranks the truths of all queries."""
    ranks: dict[str, list[TruthRank]] = {}
    evidence: dict[str, list[Evidence]] = {}
    for n_done, query in enumerate(queries, start=1):
        for method, scores in memory.scores(query.listed):
            ranks.setdefault(method, []).append(query.rank(scores))
        for method, pooled in memory.evidence(query.listed):
            evidence.setdefault(method, []).append(pooled)
        progress(n_done, len(queries))
    # The program's own scores depend on the share of known compounds, which all queries tell.
    for method, pooled_of_all in evidence.items():
        settled = settle(pooled_of_all, memory.pool.weights)
        ranks[method] = [
            query.rank(each.scores) for query, each in zip(queries, settled, strict=True)
        ]
    return ranks


def own_records(
    records: Records, spectra: Sequence[Spectrum], truths: Sequence[str]
) -> NDArray[np.int64]:
    """Return the rows of the records that are the queries themselves, ascending.

    They are of the truth's compound and have the query's peaks.
    """
    blocks = records.first_blocks[records.compound]
    rows = []
    for spectrum, truth in zip(spectra, truths, strict=True):
        for row in np.flatnonzero(blocks == truth).tolist():
            first, end = records.offsets[row : row + 2]
            mz, intensity = records.mz[first:end], records.intensity[first:end]
            if (
                len(mz) == spectrum.n_peaks
                and np.allclose(mz, spectrum.mz, rtol=0.0, atol=_SAME_MZ)
                and np.allclose(
                    intensity / intensity.max(),
                    spectrum.relative_intensity,
                    rtol=0.0,
                    atol=_SAME_INTENSITY,
                )
            ):
                rows.append(row)
    return np.unique(np.array(rows, dtype=np.int64))


def _read(folder: Path, console: Console) -> tuple[list[Spectrum], list[str], list[CandidateSet]]:
    table = next(
        (
            folder / name
            for name in ("candidates.csv", "candidates.csv.gz")
            if (folder / name).is_file()
        ),
        None,
    )
    if table is None:
        raise InputError(f"{folder}: no candidates.csv or candidates.csv.gz in it")
    console.log(f"reading {table}")

    def build() -> Mapping[str, NDArray[Any]]:
        found = read_candidates(table)
        if found.query_id is None:
            raise InputError(f"{table}: no column query_id")
        return {
            "smiles": np.array(found.smiles.tolist()),
            "mass": found.exact_mass,
            "block": np.array(found.first_block.tolist()),
            "query_id": np.array(found.query_id.tolist()),
        }

    arrays = cached_arrays("lists", [table], {}, build)
    every = candidate_set(arrays)
    truth = read_truth(folder / "truth.csv")
    queries = folder / "queries.mgf"
    spectra, truths, candidates = [], [], []
    for spectrum in read_spectra(queries, ReadReport()):
        found = every.for_query(spectrum.query_id).deduplicate(spectrum.neutral_mass)
        if spectrum.query_id in truth and len(found):
            spectra.append(spectrum)
            truths.append(truth[spectrum.query_id])
            candidates.append(found)
    if not spectra:
        raise InputError(f"{queries}: no query has a truth and candidates")
    return spectra, truths, candidates


def _place(candidates: CandidateSet, truth: str) -> int | None:
    places = np.flatnonzero(np.asarray(candidates.first_block) == truth)
    return int(places[0]) if len(places) else None


def _kept(n: int, place: int | None, length: int, seed: int) -> NDArray[np.int64]:
    """Return the indices (ascending) of the candidates that are kept; the shorter in the longer."""
    others = np.random.default_rng(seed).permutation([i for i in range(n) if i != place])
    if place is None:
        return np.sort(others[:length]).astype(np.int64)
    return np.sort(np.append(others[: length - 1], place)).astype(np.int64)
