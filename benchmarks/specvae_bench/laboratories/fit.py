"""`bench laboratories --fit`: weights of evidence and probabilities, fitted to laboratories."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from specvae.annotation.evidence.defaults import EVIDENCE_KINDS, defaults
from specvae.annotation.evidence.known_share import within_limits
from specvae.annotation.evidence.list_features import LIST_FEATURES, feature_row
from specvae.annotation.evidence.listwise import fit_listwise
from specvae.annotation.evidence.own_spectra import (
    DEFAULT_SHARES,
    UNKNOWN_SHARES,
    KnownShares,
    OwnFeatures,
    OwnSpectraRatio,
)
from specvae.annotation.evidence.remembered import ANALOGUE_FINGERPRINT
from specvae.annotation.evidence.weighted import Evidence
from specvae.annotation.ranking.annotator import Annotator
from specvae.annotation.ranking.probability import ProbabilityModel, default_probability
from specvae.cli.console import Console
from specvae.counting import counted
from specvae.errors import InputError
from specvae_bench.evidence import compare
from specvae_bench.laboratories.comparison import Fold, Plan, read_folds
from specvae_bench.laboratories.folds import KNOWN, OTHER_ION, UNKNOWN
from specvae_bench.laboratories.methods import ListedQuery, Memory, packed_fingerprints
from specvae_bench.laboratories.records import Records, read_records, read_structures

_REMOVED = "removed"
"""Kind of a query whose compound is known, ranked with a library without that compound."""

_ELSEWHERE = "other ion mode only"
"""The same, with a library without the compound's spectra of the query's ion mode."""

# Known and unknown compounds count the same; those that are half known are few. Known compounds
# that are removed stand for unknown ones too: there are more of them, with nearer analogues.
_SHARES = {KNOWN: 0.36, OTHER_ION: 0.1, _ELSEWHERE: 0.14, UNKNOWN: 0.2, _REMOVED: 0.2}
_LIBRARY = EVIDENCE_KINDS.index("library")
_NO_LIMIT = 1_000_000  # queries of a laboratory

# What runs of such compounds show, as far as they show anything.
_RUNS = {
    KNOWN: KnownShares(0.98, 0.01),
    OTHER_ION: DEFAULT_SHARES,
    _ELSEWHERE: KnownShares(0.01, 0.98),
    UNKNOWN: UNKNOWN_SHARES,
    _REMOVED: UNKNOWN_SHARES,
}


class _Ratios(NamedTuple):
    """The ratios of `OwnFeatures`."""

    same_mode: OwnSpectraRatio
    other_mode: OwnSpectraRatio


class _Example(NamedTuple):
    """A query of the fit.

    Parameters
    ----------
    query, place, kind
        The query, the place of its truth, and one of the kinds of `_SHARES`.
    evidence, own_features
        For its candidates, and features of their own spectra.
    without
        Both for its candidates without the truth.
    """

    query: ListedQuery
    place: int
    kind: str
    evidence: Evidence
    own_features: OwnFeatures
    without: tuple[Evidence, OwnFeatures]


def fit(
    plan: Plan, model: Path | None, jobs: int | None, device: str, console: Console
) -> dict[str, dict[str, Any]]:
    """Return the contents of ``evidence.json`` and of ``probability.json``.

    The weights of analogues, fragments and nearness and the coefficients of own spectra maximise
    the probability of the truths of all queries of the plan, without a network. A known compound
    counts a second time as an unknown one, with a library without it, and, where the library has
    its spectra of the other ion mode, a third time with these alone. The probabilities are fitted
    to the same queries, half of whose lists lack their truth. With a model, the fingerprint's
    weight is fitted to the compounds that it was validated on, which it has not learned from.

    Parameters
    ----------
    plan
        Laboratories, and how their queries are chosen.
    model
        Trained model; None keeps the fingerprint's weight as it is.
    jobs, device, console
        Processes that compute fingerprints, where the model computes, where progress is shown.

    Raises
    ------
    InputError
        If a file cannot be used, or a laboratory has no query.
    """
    records = read_records(plan.spectra, plan.by, console)
    structures = read_structures(plan.structures, console)
    packed = packed_fingerprints(records.smiles.tolist(), ANALOGUE_FINGERPRINT, jobs, console)
    folds = read_folds(plan, records, structures, {}, jobs, console)
    examples = _examples(records, packed, folds, None)
    weights, ratios = _fit_library(examples)
    probability = _fit_probability(examples, weights, ratios)
    if model is not None:
        annotator = Annotator.load(model, device)
        name = model.name
        unseen = frozenset(annotator.header.compounds.get("val", ()))
        wide = replace(plan, n_each=_NO_LIMIT)
        folds = read_folds(wide, records, structures, {name: annotator}, jobs, console, unseen)
        examples = _examples(records, packed, folds, name)
        console.log(f"fingerprint: {counted(len(examples), 'queries')}")
        weights = {**weights, "fingerprint": _fit_fingerprint(examples, weights, ratios)}
    evidence = {
        "weights": {kind: _rounded(weights[kind]) for kind in EVIDENCE_KINDS},
        **{
            name: {feature: _rounded(value) for feature, value in asdict(ratio).items()}
            for name, ratio in zip(("own_spectra", "other_mode"), ratios, strict=True)
        },
    }
    return {"evidence.json": evidence, "probability.json": probability.to_json()}


def _examples(
    records: Records,
    packed: NDArray[np.uint8],
    folds: Sequence[Fold],
    model: str | None,
) -> list[_Example]:
    """Return the queries whose truth is among their candidates, and which are not alone."""
    examples = []
    for fold in folds:
        memory = Memory(records, np.flatnonzero(records.group != fold.group), packed)
        for query in fold.queries:
            place, shorter = query.place, query.without_truth()
            if place is None or shorter is None:
                continue
            mode = query.spectrum.ion_mode
            libraries: list[tuple[str, str, str | None]] = [(query.kind, "", None)]
            if query.kind == KNOWN:
                libraries += [(_REMOVED, query.truth, None), (_ELSEWHERE, query.truth, mode)]
            for as_kind, removed, of_mode in libraries:
                whole, without = (
                    _weighed(memory, each, model, removed, of_mode) for each in (query, shorter)
                )
                if as_kind != _ELSEWHERE or whole[0].elsewhere[place]:
                    examples.append(_Example(query, place, as_kind, *whole, without))
    if not examples:
        raise InputError("no query to fit to has its truth and another structure as candidates")
    return examples


def _weighed(
    memory: Memory, query: ListedQuery, model: str | None, removed: str, ion_mode: str | None
) -> tuple[Evidence, OwnFeatures]:
    """Return the evidence, and features of own spectra.

    The library is without the compound `removed`, or without its spectra of an ion mode.
    """
    pool = memory.pool.without(removed, ion_mode)
    predicted = query.predicted[model] if model else np.zeros(len(query.candidates))
    compared = compare(pool, query.spectrum, query.candidates, query.packed, predicted)
    return pool.evidence(compared, query.fragment_scores), compared.library.own_features


def _rounded(value: float) -> float:
    """Return a number with four significant digits: a weight of log-likelihoods may be small."""
    return float(f"{value:.4g}")


def _shares(examples: Sequence[_Example]) -> NDArray[np.float64]:
    counts = {kind: sum(e.kind == kind for e in examples) for kind in _SHARES}
    return np.array([_SHARES[e.kind] / counts[e.kind] for e in examples])


def _fit_library(examples: Sequence[_Example]) -> tuple[dict[str, float], _Ratios]:
    kinds = ("analogues", "fragments", "nearness")
    columns = [EVIDENCE_KINDS.index(kind) for kind in kinds]
    shares = _shares(examples)
    known = _shares_of(examples, shares)
    fitted = fit_listwise(
        [np.concatenate([e.evidence.raw[:, columns], *e.own_features], axis=1) for e in examples],
        [e.place for e in examples],
        shares,
        # Ratios are to hold where all kinds of compounds are equally likely.
        fixed=[
            known.odds(e.evidence.measured, e.evidence.elsewhere) + _of_nominal(e.evidence)
            for e in examples
        ],
        n_positive=len(kinds),
    )
    names = [f.name for f in fields(OwnSpectraRatio)]
    of_ratios = np.reshape(fitted[len(kinds) :], (2, len(names))).tolist()
    ratios = (OwnSpectraRatio(**dict(zip(names, found, strict=True))) for found in of_ratios)
    weights = {**defaults().weights, **dict(zip(kinds, fitted, strict=False)), "library": 1.0}
    return weights, _Ratios(*ratios)


def _shares_of(examples: Sequence[_Example], shares: NDArray[np.float64]) -> KnownShares:
    """Return the shares of the examples whose truth the library knows."""
    of_same, of_other = (
        float(shares[[getattr(e.evidence, name)[e.place] for e in examples]].sum() / shares.sum())
        for name in ("measured", "elsewhere")
    )
    return within_limits(of_same, of_other)


def _raw(evidence: Evidence, own_features: OwnFeatures, ratios: _Ratios) -> NDArray[np.float64]:
    raw = evidence.raw.copy()
    raw[:, _LIBRARY] = _of_nominal(evidence)
    for ratio, features in zip(ratios, own_features, strict=True):
        raw[:, _LIBRARY] += ratio(features)
    return raw


def _of_nominal(evidence: Evidence) -> NDArray[np.float64]:
    """Return the evidence of own spectra that were compared by nominal masses: it is not fitted."""
    is_nominal = evidence.own is not None and evidence.own.is_nominal
    return np.where(is_nominal, evidence.raw[:, _LIBRARY], 0.0)


def _fit_fingerprint(
    examples: Sequence[_Example], weights: Mapping[str, float], ratios: _Ratios
) -> float:
    column = EVIDENCE_KINDS.index("fingerprint")
    others = np.array([0.0 if kind == "fingerprint" else weights[kind] for kind in EVIDENCE_KINDS])
    raw = [e.evidence.raw[:, [column]] for e in examples]
    # The search begins at a weight of 1, which must be of the right order: log-likelihoods of
    # thousands of bits differ by hundreds of nats.
    spread = float(np.mean([values.std() for values in raw])) or 1.0
    (weight,) = fit_listwise(
        [values / spread for values in raw],
        [e.place for e in examples],
        _shares(examples),
        fixed=[_raw(e.evidence, e.own_features, ratios) @ others for e in examples],
        n_positive=1,
    )
    return weight / spread


def _fit_probability(
    examples: Sequence[_Example], weights: Mapping[str, float], ratios: _Ratios
) -> ProbabilityModel:
    lists: list[tuple[Evidence, int | None, int, float]] = []
    for example, share in zip(examples, _shares(examples).tolist(), strict=True):
        n_peaks = example.query.spectrum.n_compared
        whole = example.evidence, example.own_features
        # As in a mixture, and as in a run of compounds of this kind alone.
        for known in (DEFAULT_SHARES, _RUNS[example.kind]):
            for (found, own_features), place in (
                (whole, example.place),
                (example.without, None),
            ):
                evidence = Evidence(
                    _raw(found, own_features, ratios),
                    weights,
                    found.measured,
                    analogues=found.analogues,
                    shares=known,
                    elsewhere=found.elsewhere,
                )
                lists.append((evidence, place, n_peaks, share))
    fitted = ProbabilityModel.fit(
        [evidence.scores for evidence, *_ in lists],
        [place for _, place, *_ in lists],
        np.array([share for *_, share in lists]),
        np.array(
            [feature_row(evidence, n_peaks, LIST_FEATURES) for evidence, _, n_peaks, _ in lists]
        ),
        LIST_FEATURES,
    )
    # Those of short lists are fitted apart: see `short_lists`.
    return replace(fitted, short_lists=default_probability().short_lists)
