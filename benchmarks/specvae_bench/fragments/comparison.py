"""Fragment scores alone on held-out compounds: how well each ranks, and by how much they differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from specvae.annotation.evaluation.hits import (
    TruthRank,
    bootstrap_interval,
    expected_hits,
    rank_of_truth,
)
from specvae.annotation.evidence.fragment_lists import FragmentList, scoring
from specvae.annotation.evidence.fragment_score import read_scorers
from specvae.annotation.library.compounds import read_truth
from specvae.annotation.ranking.queries import QueryFilter
from specvae.cli.console import Console
from specvae.counting import counted
from specvae.errors import InputError
from specvae.molecules.graph_cache import GraphCache
from specvae_bench.files import digests
from specvae_bench.folds.contest import prepare
from specvae_bench.markdown import table
from specvae_bench.retrieval.comparison import Problem, read_problems

_LEVELS = (1, 5, 20)


@dataclass(frozen=True)
class Ranked:
    """What a score makes of the queries of a fold whose truth is among their candidates.

    Attributes
    ----------
    ranks
        Where their truths stand.
    nats
        -log of each truth's probability among its candidates, float64 (n_queries,).
    n_learned
        Of how many queries the score was fitted to spectra of the truth; None: it is not known.
    """

    ranks: Sequence[TruthRank]
    nats: NDArray[np.float64]
    n_learned: int | None


def compare_scores(
    folds: Sequence[Path],
    scores: Sequence[Path],
    wanted: QueryFilter,
    ppm: float,
    seed: int,
    n_jobs: int | None,
    console: Console,
) -> dict[str, Any]:
    """Rank the queries of folds by each fragment score alone.

    Parameters
    ----------
    folds
        Folders with queries, truth and candidates, as `specvae_bench.folds.contest.prepare` takes
        them.
    scores
        Files that `read_scorers` reads.
    wanted
        Which queries are ranked.
    ppm
        Mass window, where candidates have no query_id.
    seed
        Of intervals, which are of 95 % and resample compounds.
    n_jobs
        Processes; None for one per core.
    console
        Where progress is shown.

    Returns
    -------
    Figures of each score on each fold, and of the differences from the first score.

    Raises
    ------
    InputError
        If a file cannot be used, or no query of a fold is left.
    """
    result: dict[str, Any] = {
        "scores": digests(scores),
        "ion_mode": wanted.ion_mode,
        "adducts": sorted(wanted.adducts),
        "ppm": ppm,
        "seed": seed,
        "folds": {},
    }
    for fold in folds:
        problems, n_absent = _problems(fold, wanted, ppm, console)
        if n_absent:
            console.log(
                f"{fold.name}: {n_absent:,} of {counted(len(problems) + n_absent, 'queries')} are "
                "left out, as their truth is not among their candidates"
            )
        ranked = [_ranked(problems, path, n_jobs, console) for path in scores]
        for path, of_score in zip(scores, ranked, strict=True):
            _say_what_was_learned(path.name, fold.name, of_score, console)
        result["folds"][fold.name] = {
            "n_queries": len(problems),
            "n_truth_absent": n_absent,
            "scores": [_figures(one, ranked[0], seed) for one in ranked],
        }
    return result


def table_of(result: Mapping[str, Any]) -> str:
    """Return the figures as a table in Markdown."""
    rows = []
    for fold, found in result["folds"].items():
        for score, figures in zip(result["scores"], found["scores"], strict=True):
            hits = "/".join(f"{100 * figures[f'hit_at_{k}']:.1f}" for k in _LEVELS)
            low, high = figures["nats_gained_ci95"]
            gained = f"{figures['nats_gained']:+.3f} [{low:+.3f}, {high:+.3f}]"
            name = f"{fold} ({found['n_queries']})"
            rows.append((name, score["name"], hits, f"{figures['nats']:.3f}", gained))
    columns = ("queries", "score", "hit@1/5/20", "nats", "nats that it gains on the first")
    return table(columns, rows)


def _problems(
    fold: Path, wanted: QueryFilter, ppm: float, console: Console
) -> tuple[list[Problem], int]:
    """Return the queries whose truth is listed, and how many others have one."""
    with TemporaryDirectory() as merged:
        files = prepare(fold, Path(merged), console.log)
        problems, _ = read_problems(files, read_truth(files.truth), wanted, ppm, console)
    listed = [problem for problem in problems if problem.place is not None]
    if not listed:
        raise InputError(f"{fold}: no query is left whose truth is among its candidates")
    return listed, len(problems) - len(listed)


def _ranked(
    problems: Sequence[Problem], path: Path, n_jobs: int | None, console: Console
) -> Ranked:
    lists = [FragmentList.of(problem.spectrum, problem.molecules) for problem in problems]
    scorers = read_scorers(path)
    for mode in sorted({one.peaks.ion_mode for one in lists} - scorers.keys()):
        raise InputError(f"{path}: no fragment score of {mode} ions, wanted one")

    def show(n_done: int, n_all: int) -> None:
        console.progress(f"breaking candidates, {path.name}", n_done, n_all)

    with scoring(scorers, lists, n_jobs, show, GraphCache()) as wait:
        found = wait()
    places = [problem.place for problem in problems]
    ranks = [
        rank_of_truth(problem.truth, scores, place)
        for problem, scores, place in zip(problems, found, places, strict=True)
    ]
    nats = [
        float(np.logaddexp.reduce(scores) - scores[place])
        for scores, place in zip(found, places, strict=True)
    ]
    used = [scorers[one.peaks.ion_mode] for one in lists]
    n_learned = None
    if all(len(scorer.learned_from) for scorer in used):
        n_learned = sum(
            scorer.has_learned_from(problem.truth)
            for scorer, problem in zip(used, problems, strict=True)
        )
    return Ranked(ranks, np.array(nats), n_learned)


def _say_what_was_learned(score: str, fold: str, ranked: Ranked, console: Console) -> None:
    n = counted(len(ranked.ranks), "queries")
    if ranked.n_learned is None:
        console.log(
            f"note: {score} does not keep which compounds it was fitted to, so it is not known "
            f"whether the truth of the {n} of {fold} is among them"
        )
    elif ranked.n_learned:
        console.log(
            f"warning: {score} was fitted to the truth of {ranked.n_learned:,} of the {n} of "
            f"{fold}; its figures flatter it"
        )


def _figures(one: Ranked, first: Ranked, seed: int) -> dict[str, Any]:
    molecules = [rank.molecule for rank in one.ranks]
    gained = first.nats - one.nats
    return {
        **{f"hit_at_{k}": float(expected_hits(one.ranks, k).mean()) for k in _LEVELS},
        "nats": float(one.nats.mean()),
        "nats_gained": float(gained.mean()),
        "nats_gained_ci95": list(bootstrap_interval(gained, molecules, seed=seed)),
        "n_truth_in_fragment_score": one.n_learned,
    }
