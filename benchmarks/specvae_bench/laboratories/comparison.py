"""All laboratories' queries, ranked by all methods: the science of `bench laboratories`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from specvae.annotation.evidence.fragment_score import SCORERS_FILE, read_scorers
from specvae.annotation.evidence.remembered import ANALOGUE_FINGERPRINT
from specvae.annotation.evidence.weighted import Evidence
from specvae.annotation.ranking.annotator import Annotator
from specvae.annotation.ranking.probability import default_probability
from specvae.annotation.ranking.result import ListScores
from specvae.annotation.ranking.run_scoring import RunScoring
from specvae.cli.console import Console
from specvae.counting import counted
from specvae.errors import InputError
from specvae.files import sha256_of
from specvae.molecules.candidates import CandidateSet
from specvae_bench.files import digests, made_by
from specvae_bench.laboratories.folds import (
    FITTING,
    HALF,
    KINDS,
    REPORTING,
    choose_queries,
    fold_query,
    runs_of,
)
from specvae_bench.laboratories.lists import long_lists
from specvae_bench.laboratories.methods import (
    WITHOUT_ERRORS,
    WITHOUT_TIMES,
    ListedQuery,
    Memory,
    Scores,
    list_candidates,
    packed_fingerprints,
)
from specvae_bench.laboratories.records import Records, read_records, read_structures
from specvae_bench.laboratories.reliability import LISTED, LISTS, STRUCK, Promises, struck
from specvae_bench.laboratories.report import Run, figures
from specvae_bench.laboratories.retention import Structures, learn_index, times_of


@dataclass(frozen=True)
class Plan:
    """What is compared; see the options of the command.

    `excluded` are first blocks of compounds that are no queries.
    """

    spectra: tuple[Path, ...]
    structures: tuple[Path, ...]
    by: str
    groups: tuple[str, ...]
    adducts: tuple[str, ...]
    instruments: tuple[str, ...]
    n_each: int
    ppm: float
    seed: int
    excluded: frozenset[str] = frozenset()
    fragment_score: Path = SCORERS_FILE


@dataclass(frozen=True, eq=False)
class Fold:
    """One laboratory's queries."""

    group: str
    queries: Sequence[ListedQuery]

    @property
    def kinds(self) -> list[str]:
        """Of the queries, see `specvae_bench.laboratories.folds.KINDS`."""
        return [query.kind for query in self.queries]


def read_folds(
    plan: Plan,
    records: Records,
    structures: CandidateSet,
    models: Mapping[str, Annotator],
    jobs: int | None,
    console: Console,
    only: frozenset[str] | None = None,
) -> list[Fold]:
    """Return the queries of each laboratory with their candidates; see `choose_queries`.

    Raises
    ------
    InputError
        If a laboratory has no query, or none of its queries has a candidate.
    """
    folds = []
    for group in plan.groups:
        chosen = choose_queries(
            records,
            group,
            plan.adducts,
            plan.instruments,
            plan.n_each,
            plan.seed,
            only,
            plan.excluded,
        )
        queries = [fold_query(records, *row, structures, plan.ppm) for row in chosen]
        if not any(len(query.candidates) for query in queries):
            raise InputError(
                f"{plan.structures[0]}: no structure within {plan.ppm:g} ppm of any query of "
                f"{group!r}"
            )
        listed = list_candidates(queries, models, jobs, console, fragment_score=plan.fragment_score)
        folds.append(Fold(group, listed))
        n_absent = sum(query.place is None for query in queries)
        missed = f"; no table holds the truth of {n_absent:,}, which count as missed"
        console.log(f"{group}: {counted(len(queries), 'queries')}{missed if n_absent else ''}")
    return folds


def compare(
    plan: Plan,
    models: Mapping[str, Path],
    lists: Path | None,
    jobs: int | None,
    device: str,
    console: Console,
) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """Return the result as JSON values, and the identifier and first block of each query.

    Parameters
    ----------
    plan
        What is compared.
    models
        Name -> checkpoint.
    lists
        Folder of long lists, see `long_lists`; None for none.
    jobs, device, console
        Processes that compute fingerprints, where models compute, where progress is shown.

    Raises
    ------
    InputError
        If a file cannot be used, or a laboratory has no query or no candidate.
    """
    seconds: dict[str, float] = {}
    start = time.perf_counter()
    records = read_records(plan.spectra, plan.by, console)
    structures = read_structures(plan.structures, console)
    annotators = {name: Annotator.load(path, device) for name, path in models.items()}
    packed = packed_fingerprints(records.smiles.tolist(), ANALOGUE_FINGERPRINT, jobs, console)
    seconds["reading"] = time.perf_counter() - start
    start = time.perf_counter()
    folds = read_folds(plan, records, structures, annotators, jobs, console)
    seconds["candidates and fragments"] = time.perf_counter() - start
    start = time.perf_counter()
    runs = rank_folds(records, packed, folds, plan.seed, console)
    seconds["ranking"] = time.perf_counter() - start
    candidates = [len(query.candidates) for fold in folds for query in fold.queries]
    result = {
        **made_by("laboratories"),
        **_described(plan),
        "files": digests((*plan.spectra, *plan.structures)),
        "fragment_score_sha256": sha256_of(plan.fragment_score),
        "n_truth_in_fragment_score": _n_learned(plan.fragment_score, folds, console),
        "fitting": list(FITTING),
        "reporting": list(REPORTING),
        "n_library_spectra": len(records),
        "n_library_compounds": len(records.smiles),
        "n_queries_with_times": {
            fold.group: sum(query.spectrum.retention_time is not None for query in fold.queries)
            for fold in folds
        },
        "candidates_median": float(np.median(candidates)),
        "candidates_mean": float(np.mean(candidates)),
        "models": {
            name: {"weights_sha256": annotator.header.weights_sha256}
            for name, annotator in annotators.items()
        },
        "kinds": figures(runs, plan.seed),
    }
    if lists is not None:
        start = time.perf_counter()
        result["lists"] = long_lists(
            lists, records, packed, annotators, plan.seed, plan.fragment_score, jobs, console
        )
        seconds["long lists"] = time.perf_counter() - start
    result["seconds"] = {name: round(value, 1) for name, value in seconds.items()}
    truths = [(query.spectrum.query_id, query.truth) for fold in folds for query in fold.queries]
    return result, truths


def _n_learned(score: Path, folds: Sequence[Fold], console: Console) -> int | None:
    """Return of how many queries the fragment score was fitted to the truth, and say so.

    None where the score does not say what it was fitted to.
    """
    scorers = read_scorers(score)
    pairs = [
        (scorers.get(query.spectrum.ion_mode or ""), query.truth)
        for fold in folds
        for query in fold.queries
    ]
    known = [(scorer, truth) for scorer, truth in pairs if scorer is not None]
    if not all(len(scorer.learned_from) for scorer, _ in known):
        console.log("note: the fragment score does not keep which compounds it was fitted to")
        return None
    n_learned = sum(scorer.has_learned_from(truth) for scorer, truth in known)
    if n_learned:
        console.log(
            f"note: the fragment score was fitted to the truth of {n_learned:,} of "
            f"{counted(len(pairs), 'queries')}, which flatters its figures"
        )
    return n_learned


def rank_folds(
    records: Records,
    packed: NDArray[np.uint8],
    folds: Sequence[Fold],
    seed: int,
    console: Console,
) -> dict[str, Run]:
    """Return the runs of each kind of query, and of the mixture.

    The queries of one kind and laboratory are one run, which shows its own share of known
    compounds, the line of its retention times, and the errors of its precursor m/z; so is the
    mixture of each laboratory, which `seed` draws. The program's own rankings stand there once more
    without times, where queries have any, and once more without errors.
    """
    runs: dict[str, Run] = {}
    has_times = any(
        query.spectrum.retention_time is not None for fold in folds for query in fold.queries
    )
    for fold in folds:
        memory = memory_of(fold, records, packed, has_times)
        scoring = RunScoring(memory.pool.weights, default_probability())
        scored = _score(fold, memory, struck(fold.kinds, seed, fold.group), console)
        for kind, members in runs_of(fold.group, fold.kinds, seed).items():
            ranked = [n for n in members if len(fold.queries[n].candidates)]
            run = runs.setdefault(kind, Run([], {}, {}))
            final = {}
            for method, evidence in scored.evidence.items():
                cut = scored.cut.get(method, {})
                for name, kept in _variants(method, has_times):
                    whole = {n: _lists(fold, n, kept(evidence[n])) for n in ranked}
                    shorter = {n: _lists(fold, n, kept(cut[n])) for n in ranked if n in cut}
                    final[name] = scoring.scores_of_run(whole)
                    _promise(run, name, fold, whole, shorter, memory.pool.weights)
            run.groups.extend([fold.group] * len(members))
            for method, found in {**scored.scores, **final}.items():
                run.ranks.setdefault(method, []).extend(
                    fold.queries[n].rank(found.get(n, np.empty(0))) for n in members
                )
    return {kind: runs[kind] for kind in (*KINDS, HALF) if kind in runs}


def memory_of(fold: Fold, records: Records, packed: NDArray[np.uint8], has_times: bool) -> Memory:
    """Return all other laboratories as a library, with an index of retention learned from them."""
    rows = np.flatnonzero(records.group != fold.group)
    index = None
    if has_times:
        structures = Structures(packed, records.formulas.tolist())
        index, _ = learn_index(times_of(records, rows), structures)
    return Memory(records, rows, packed, index)


def _variants(method: str, has_times: bool) -> Iterator[tuple[str, Callable[[Evidence], Evidence]]]:
    """Yield names of a method, each with what it keeps of the evidence."""
    yield method, lambda evidence: evidence
    if has_times:
        yield f"{method}, {WITHOUT_TIMES}", lambda evidence: replace(evidence, elution=None)
    yield f"{method}, {WITHOUT_ERRORS}", lambda evidence: replace(evidence, mass_errors=None)


def _lists(fold: Fold, n: int, evidence: Evidence) -> ListScores:
    return ListScores.of(evidence, fold.queries[n].spectrum.n_compared)


class _MethodScores(NamedTuple):
    """Method -> query -> what it gives.

    Scores are of methods that pool no evidence; `cut` is evidence for the candidates without the
    truth, of queries whose truth is struck.
    """

    scores: dict[str, dict[int, Scores]]
    evidence: dict[str, dict[int, Evidence]]
    cut: dict[str, dict[int, Evidence]]


def _score(
    fold: Fold, memory: Memory, without_truth: frozenset[int], console: Console
) -> _MethodScores:
    scored = _MethodScores({}, {}, {})
    numbers = [n for n, query in enumerate(fold.queries) if len(query.candidates)]
    for n_done, n in enumerate(numbers, start=1):
        query = fold.queries[n]
        for method, scores in memory.scores(query):
            scored.scores.setdefault(method, {})[n] = scores
        for method, evidence in memory.evidence(query):
            scored.evidence.setdefault(method, {})[n] = evidence
        if n in without_truth and (shorter := query.without_truth()):
            for method, evidence in memory.evidence(shorter):
                scored.cut.setdefault(method, {})[n] = evidence
        console.progress(f"ranking {fold.group}", n_done, len(numbers))
    return scored


def _promise(
    run: Run,
    method: str,
    fold: Fold,
    whole: Mapping[int, ListScores],
    cut: Mapping[int, ListScores],
    weights: Mapping[str, float],
) -> None:
    """Add what a method promises of a run: with all truths that are listed, and without some."""
    promises = run.promises.setdefault(method, {name: Promises() for name in LISTS})
    for name, shorter in ((LISTED, {}), (STRUCK, cut)):
        promises[name].add(
            [shorter.get(n, each) for n, each in whole.items()],
            [None if n in shorter else fold.queries[n].place for n in whole],
            weights,
        )


def _described(plan: Plan) -> dict[str, Any]:
    described = {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in asdict(plan).items()
    }
    for name in ("spectra", "structures", "excluded", "fragment_score"):
        del described[name]
    return {**described, "n_excluded": len(plan.excluded)}
