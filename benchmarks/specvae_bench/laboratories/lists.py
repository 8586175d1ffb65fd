"""Lists of contest length: hits with more and less of the library, and by length of the list."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from specvae.annotation.evaluation.evaluate import place_of_truth
from specvae.annotation.evaluation.hits import TruthRank
from specvae.annotation.evidence.defaults import EVIDENCE_KINDS
from specvae.annotation.evidence.weighted import Evidence
from specvae.annotation.library.compounds import read_truth
from specvae.annotation.ranking.annotator import Annotator
from specvae.annotation.ranking.probability import default_probability
from specvae.annotation.ranking.result import ListScores
from specvae.annotation.ranking.run_scoring import RunScoring
from specvae.cli.console import Console
from specvae.counting import counted
from specvae.errors import InputError
from specvae.molecules.candidates import read_candidates
from specvae.molecules.query_ids import by_form, listed_as
from specvae.report import ReadReport
from specvae.spectra.read import read_spectra
from specvae.spectra.spectrum import Spectrum
from specvae_bench.laboratories.folds import FoldQuery
from specvae_bench.laboratories.methods import EVERYTHING, ListedQuery, Memory, list_candidates
from specvae_bench.laboratories.records import Records, cached_arrays, candidate_set
from specvae_bench.laboratories.report import without_controls

LENGTHS = (30, 100, 300, None)
"""Candidates that a list is cut to, the truth among them; None for all."""

RESCORED = (10, 30, 100, 300, 1000)
"""How many of the best candidates by other evidence have their fragments compared, in turn."""

ANALOGUES, FRAGMENTS, METFRAG = (
    "analogues alone",
    "fragments alone",
    "fragments, MetFrag's score by our fragments",
)

# A query and a library spectrum are one record if their peaks agree this closely.
_SAME_MZ = 1e-3  # Th
_SAME_INTENSITY = 1e-2  # of the highest peak


def long_lists(
    folder: Path,
    records: Records,
    packed: NDArray[np.uint8],
    models: Mapping[str, Annotator],
    seed: int,
    fragment_score: Path,
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
    fragment_score
        File of the weights of the fragment score.
    jobs, console
        Processes that compute fingerprints, and where progress is shown.

    Raises
    ------
    InputError
        If a file is missing or cannot be used.
    """
    found, n_without = read_lists(folder, console)
    spectra, truths = [query.spectrum for query in found], [query.truth for query in found]
    queries = list_candidates(
        found, models, jobs, console, metfrag=True, fragment_score=fragment_score
    )
    own = own_records(records, spectra, truths)
    libraries = _libraries(records, own, truths)
    figures: dict[str, dict[str, dict[str, Any]]] = {}
    rescored: dict[str, dict[str, dict[str, Any]]] = {}
    for name, rows in libraries.items():
        memory = Memory(records, rows, packed)
        whole = [dict(memory.scores(query)) for query in queries]
        figures[name], rescored[name] = {}, {}
        for length in LENGTHS:
            label = str(length or "all")
            progress = partial(console.progress, f"{name}, {label}")
            ranks = _ranks(memory, queries, whole, length, seed, progress)
            figures[name][label] = {
                method: without_controls(found, seed) for method, found in ranks.items()
            }
        for n in RESCORED:
            ranks = _pooled_ranks(memory, queries, n)
            rescored[name][str(n)] = {
                method: without_controls(found, seed) for method, found in ranks.items()
            }
    return {
        "name": folder.name,
        "n_queries": len(spectra),
        "n_without_candidates": n_without,
        "candidates_median": float(np.median([len(query.candidates) for query in queries])),
        "n_own_records": len(own),
        "n_library_spectra": {name: len(rows) for name, rows in libraries.items()},
        "libraries": figures,
        "rescored": rescored,
    }


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
    memory: Memory,
    queries: Sequence[ListedQuery],
    whole: Sequence[Mapping[str, NDArray[np.float64]]],
    length: int | None,
    seed: int,
    progress: Callable[[int, int], None],
) -> dict[str, list[TruthRank]]:
    """Return where each method ranks the truths of all queries, in lists of `length`.

    `whole` are the scores of all candidates of each query by methods that pool no evidence; `seed`
    is of the order in which candidates are left out.
    """
    ranks: dict[str, list[TruthRank]] = {}
    evidence: dict[str, list[Evidence]] = {}
    shorter = []
    for number, (query, scores_of) in enumerate(zip(queries, whole, strict=True)):
        kept = _kept(query, length, seed + number)
        cut = query.cut(kept)
        shorter.append(cut)
        for method, pooled in memory.evidence(cut):
            evidence.setdefault(method, []).append(pooled)
        raw = evidence[EVERYTHING][-1].raw
        alone = {
            ANALOGUES: raw[:, EVIDENCE_KINDS.index("analogues")],
            FRAGMENTS: raw[:, EVIDENCE_KINDS.index("fragments")],
        }
        if cut.metfrag is not None:
            alone[METFRAG] = cut.metfrag
        for method, scores in scores_of.items():
            ranks.setdefault(method, []).append(cut.rank(scores[kept]))
        for method, scores in alone.items():
            ranks.setdefault(method, []).append(cut.rank(scores))
        progress(number + 1, len(queries))
    return {**ranks, **_final_ranks(memory, shorter, evidence)}


def _pooled_ranks(
    memory: Memory, queries: Sequence[ListedQuery], rescore: int
) -> dict[str, list[TruthRank]]:
    """Return where all evidence ranks the truths, if only so many fragments are compared."""
    evidence: dict[str, list[Evidence]] = {}
    for query in queries:
        for method, pooled in memory.evidence(query, rescore):
            evidence.setdefault(method, []).append(pooled)
    return _final_ranks(memory, queries, evidence)


def _final_ranks(
    memory: Memory, queries: Sequence[ListedQuery], evidence: Mapping[str, Sequence[Evidence]]
) -> dict[str, list[TruthRank]]:
    # The program's own scores depend on what all queries tell together.
    scoring = RunScoring(memory.pool.weights, default_probability())
    ranks = {}
    for method, of_all in evidence.items():
        lists = {
            number: ListScores.of(each, query.spectrum.n_compared)
            for number, (query, each) in enumerate(zip(queries, of_all, strict=True))
        }
        scores = scoring.scores_of_run(lists)
        ranks[method] = [query.rank(scores[number]) for number, query in enumerate(queries)]
    return ranks


def own_records(
    records: Records, spectra: Sequence[Spectrum], truths: Sequence[str]
) -> NDArray[np.int64]:
    """Return the rows of the records that are the queries themselves, int64 (n,), ascending.

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


def read_lists(folder: Path, console: Console) -> tuple[list[FoldQuery], int]:
    """Return the queries with a truth and candidates, and how many have no candidates."""
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
    path = folder / "queries.mgf"
    forms, report = by_form(truth), ReadReport()
    queries, n_without = [], 0
    for spectrum in read_spectra(path, report):
        name = listed_as(spectrum.query_id, truth, forms)
        if name is None:
            continue
        found = every.for_query(spectrum.query_id).deduplicate(spectrum.neutral_mass)
        if len(found):
            place, block = place_of_truth(found, truth[name])
            queries.append(FoldQuery("", spectrum, block, found, place))
        else:
            n_without += 1
    console.log(f"queries: {report.summary()}")
    if n_without:
        console.log(
            f"warning: {folder.name}: {counted(n_without, 'queries')} left out, with a truth but "
            "no candidates"
        )
    if not queries:
        raise InputError(f"{path}: no query has a truth and candidates")
    return queries, n_without


def _kept(query: ListedQuery, length: int | None, seed: int) -> NDArray[np.int64]:
    """Return the rows (ascending) of `length` candidates, the truth among them; None: of all.

    Those of a shorter list are in the longer ones.
    """
    n, place = len(query.candidates), query.place
    if length is None:
        return np.arange(n)
    others = np.random.default_rng(seed).permutation([i for i in range(n) if i != place])
    if place is None:
        return np.sort(others[:length]).astype(np.int64)
    return np.sort(np.append(others[: length - 1], place)).astype(np.int64)
