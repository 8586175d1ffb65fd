"""`bench laboratories --fit-short-lists`: whether short lists hold their truth."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from specvae.annotation.evidence.defaults import EVIDENCE_KINDS, defaults
from specvae.annotation.evidence.minimise import minimise
from specvae.annotation.evidence.own_spectra import DEFAULT_SHARES, UNKNOWN_SHARES, KnownShares
from specvae.annotation.evidence.remembered import ANALOGUE_FINGERPRINT
from specvae.annotation.evidence.short_lists import (
    ShortListOdds,
    short_list_features,
    short_list_offset,
    short_list_weight,
)
from specvae.annotation.ranking.probability import ProbabilityModel, default_probability
from specvae.annotation.ranking.result import ListScores
from specvae.annotation.ranking.run_scoring import RunScoring
from specvae.cli.console import Console
from specvae.errors import InputError
from specvae_bench.laboratories.comparison import Plan
from specvae_bench.laboratories.folds import KNOWN, FoldQuery, choose_queries, fold_query
from specvae_bench.laboratories.lists import read_lists
from specvae_bench.laboratories.methods import (
    ListedQuery,
    Memory,
    list_candidates,
    packed_fingerprints,
)
from specvae_bench.laboratories.records import read_records, read_structures

_LENGTHS = (1, 2, 3, 5, 10)
_NEARNESS = EVIDENCE_KINDS.index("nearness")
_PENALTY = 1e-4


class _Row(NamedTuple):
    """A short list.

    Parameters
    ----------
    key
        Compound and number of candidates: lists of one key have one weight together.
    holds
        Whether it holds the truth.
    log_odds
        By the model of long lists.
    weight, features, offset
        See `short_list_weight`, `short_list_features` and `short_list_offset`.
    """

    key: tuple[str, int]
    holds: bool
    log_odds: float
    weight: float
    features: NDArray[np.float64]
    offset: float


def fit_short_lists(
    plan: Plan, folder: Path, jobs: int | None, console: Console
) -> ProbabilityModel:
    """Return the shipped model of probabilities with odds of short lists that are fitted.

    Lists of unknown compounds are those of the folder, cut to 1 to 10 candidates, with their truth
    and without it; the library is without their compounds. Other candidates are drawn by how near
    they are to the library, as suspects are compounds that people measure. These lists count as a
    run of unknown compounds, and as one half of a run whose other half are known compounds. These
    are of the laboratories of the plan, with their truth and without it.

    Parameters
    ----------
    plan
        Laboratories, and how their queries are chosen.
    folder
        With queries.mgf, truth.csv and candidates.csv(.gz), of compounds that neither the fragment
        score nor the weights of evidence were fitted to.
    jobs, console
        Processes that compute fingerprints, and where progress is shown.

    Raises
    ------
    InputError
        If a file cannot be used, or there are no lists to fit to.
    """
    model = replace(default_probability(), short_lists=None)
    rng = np.random.default_rng(plan.seed)
    records = read_records(plan.spectra, plan.by, console)
    packed = packed_fingerprints(records.smiles.tolist(), ANALOGUE_FINGERPRINT, jobs, console)

    queries, _ = read_lists(folder, console)
    unknown = {query.truth for query in queries} | plan.excluded
    memory = Memory(records, records.of_others(unknown), packed)
    lists = list_candidates(_cut(queries, memory, jobs, rng, console), {}, jobs, console)
    alone = _rows(memory, lists, model, UNKNOWN_SHARES)
    mixed = _rows(memory, lists, model, DEFAULT_SHARES)

    structures = read_structures(plan.structures, console)
    known: list[_Row] = []
    for group in plan.groups:
        chosen = choose_queries(
            records, group, plan.adducts, plan.instruments, plan.n_each, plan.seed, None,
            plan.excluded,
        )  # fmt: skip
        of_group = [fold_query(records, *row, structures, plan.ppm) for row in chosen]
        of_group = [query for query in of_group if query.kind == KNOWN]
        memory = Memory(records, np.flatnonzero(records.group != group), packed)
        cut = _cut(of_group, memory, jobs, rng, console)
        listed = list_candidates(cut, {}, jobs, console)
        known += _rows(memory, listed, model, DEFAULT_SHARES)
    if not alone or not known:
        raise InputError(f"{folder}: no short lists of unknown and of known compounds to fit to")
    console.log(f"short lists: {len(alone):,} of unknown compounds, {len(known):,} of known ones")
    return replace(model, short_lists=_fit([(alone, 1.0), (mixed, 0.5), (known, 0.5)]))


def _cut(
    queries: Sequence[FoldQuery],
    memory: Memory,
    jobs: int | None,
    rng: np.random.Generator,
    console: Console,
) -> list[FoldQuery]:
    """Return short lists of queries, each with the truth and without it."""
    found = []
    listed = [query for query in queries if query.place is not None and len(query.candidates) > 1]
    for query in list_candidates(listed, {}, jobs, console):
        place = query.place
        assert place is not None
        ((_, evidence),) = memory.evidence(query)
        chances = np.exp(defaults().weights["nearness"] * evidence.raw[:, _NEARNESS])
        chances[place] = 0.0
        for length in _LENGTHS:
            if length >= len(query.candidates):
                break
            others = rng.choice(len(chances), length, replace=False, p=chances / chances.sum())
            with_truth = np.sort(np.append(others[1:], place))
            at = int(np.searchsorted(with_truth, place))
            for kept, place_in_it in ((with_truth, at), (np.sort(others), None)):
                candidates = query.candidates.select(kept)
                found.append(
                    FoldQuery(query.kind, query.spectrum, query.truth, candidates, place_in_it)
                )
    return found


def _rows(
    memory: Memory, lists: Sequence[ListedQuery], model: ProbabilityModel, shares: KnownShares
) -> list[_Row]:
    """Return what the fit needs of lists at shares of known compounds."""
    scoring = RunScoring(memory.pool.weights, model)
    rows = []
    for query in lists:
        ((_, found),) = memory.evidence(query)
        scores = ListScores.of(found, query.spectrum.n_compared).at_shares(shares)
        probabilities, evidence = scoring.probabilities(scores), scores.evidence
        assert probabilities is not None
        assert evidence is not None
        rows.append(
            _Row(
                (query.truth, len(query.candidates)),
                query.place is not None,
                probabilities.log_odds_in_list,
                short_list_weight(evidence),
                short_list_features(evidence),
                short_list_offset(evidence),
            )
        )
    return rows


def _fit(parts: Sequence[tuple[Sequence[_Row], float]]) -> ShortListOdds:
    """Return the odds of the largest likelihood; each part of the lists has a weight."""
    rows: list[_Row] = []
    shares: list[float] = []
    for part, weight in parts:
        counts = Counter(row.key for row in part)
        shares += [weight / counts[row.key] / len(counts) for row in part]
        rows += part
    share, target, long, blend, offset = (
        torch.tensor(column, dtype=torch.double)
        for column in (
            shares,
            [row.holds for row in rows],
            [row.log_odds for row in rows],
            [row.weight for row in rows],
            [row.offset for row in rows],
        )
    )
    features = torch.from_numpy(np.array([row.features for row in rows]))

    def loss(parameters: Tensor) -> Tensor:
        of_short = parameters[0] + features @ parameters[1:] + offset
        surprise = torch.nn.functional.binary_cross_entropy_with_logits(
            (1.0 - blend) * long + blend * of_short, target, reduction="none"
        )
        return (share * surprise).sum() / share.sum() + _PENALTY * parameters[1:].square().sum()

    fitted = minimise(loss, torch.zeros(1 + features.shape[1], dtype=torch.double))
    return ShortListOdds(*(float(f"{value:.4g}") for value in fitted))
