"""`bench laboratories --fit`: weights of evidence and probabilities, fitted to laboratories."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from specvae.annotation.evidence.known_share import DEFAULT_SHARE, within_limits
from specvae.annotation.evidence.list_features import LIST_FEATURES, feature_row
from specvae.annotation.evidence.listwise import fit_listwise
from specvae.annotation.evidence.own_spectra import OwnSpectraRatio, own_spectra_features
from specvae.annotation.evidence.pool import EVIDENCE_KINDS, Evidence, defaults
from specvae.annotation.evidence.remembered import ANALOGUE_FINGERPRINT
from specvae.annotation.ranking.annotator import Annotator
from specvae.annotation.ranking.probability import ProbabilityModel
from specvae.cli.console import Console
from specvae.errors import InputError
from specvae_bench.laboratories.comparison import Fold, Plan, read_folds
from specvae_bench.laboratories.folds import KNOWN, OTHER_ION, UNKNOWN
from specvae_bench.laboratories.methods import ListedQuery, Memory, packed_fingerprints
from specvae_bench.laboratories.records import Records, read_records, read_structures

_REMOVED = "removed"
"""Kind of a query whose compound is known, ranked with a library without that compound."""

# Known and unknown compounds count the same; those that are half known are few. Known compounds
# that are removed stand for unknown ones too: there are more of them, with nearer analogues.
_SHARES = {KNOWN: 0.45, OTHER_ION: 0.1, UNKNOWN: 0.225, _REMOVED: 0.225}
_NO_LIMIT = 1_000_000  # queries of a laboratory


class _Example(NamedTuple):
    """A query of the fit.

    Parameters
    ----------
    query, place, kind
        The query, the place of its truth, and one of `KINDS` or `_REMOVED`.
    evidence, own_features
        For its candidates, and features of their own spectra.
    without
        Both for its candidates without the truth.
    """

    query: ListedQuery
    place: int
    kind: str
    evidence: Evidence
    own_features: NDArray[np.float64]
    without: tuple[Evidence, NDArray[np.float64]]


def fit(
    plan: Plan, model: Path | None, jobs: int | None, device: str, console: Console
) -> dict[str, dict[str, Any]]:
    """Return the contents of ``evidence.json`` and of ``probability.json``.

    The weights of analogues and fragments and the coefficients of own spectra maximise the
    probability of the truths of all queries of the plan, without a network. A known compound counts
    a second time as an unknown one, with a library without it. The probabilities are
    fitted to the same queries, half of whose lists lack their truth. With a model, the
    fingerprint's weight is fitted to the compounds that it was validated on, which it has not
    learned from.

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
    weights, own_spectra = _fit_library(examples)
    probability = _fit_probability(examples, weights, own_spectra)
    if model is not None:
        annotator = Annotator.load(model, device)
        name = model.name
        unseen = frozenset(annotator.header.compounds.get("val", ()))
        wide = replace(plan, n_each=_NO_LIMIT)
        folds = read_folds(wide, records, structures, {name: annotator}, jobs, console, unseen)
        examples = _examples(records, packed, folds, name)
        console.log(f"fingerprint: {len(examples):,} queries")
        weights = {**weights, "fingerprint": _fit_fingerprint(examples, weights, own_spectra)}
    evidence = {
        "weights": {kind: _rounded(weights[kind]) for kind in EVIDENCE_KINDS},
        "own_spectra": {name: _rounded(value) for name, value in asdict(own_spectra).items()},
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
        for query, kind, place, truth in zip(
            fold.queries, fold.kinds, fold.places, fold.truths, strict=True
        ):
            if place is None or len(query.candidates) < 2:
                continue
            shorter = query.cut(np.delete(np.arange(len(query.candidates)), place))
            for as_kind, removed in ((kind, ""), (_REMOVED, truth)):
                if as_kind != _REMOVED or kind == KNOWN:
                    lists = (_weighed(memory, each, model, removed) for each in (query, shorter))
                    whole, without = lists
                    examples.append(_Example(query, place, as_kind, *whole, without))
    if not examples:
        raise InputError("no query to fit to has its truth and another structure as candidates")
    return examples


def _weighed(
    memory: Memory, query: ListedQuery, model: str | None, removed: str
) -> tuple[Evidence, NDArray[np.float64]]:
    """Return the evidence with a library without the compound `removed`, and own features."""
    found = dict(memory.evidence(query, removed=removed))
    evidence = found[f"{model}, everything" if model else next(iter(found))]
    pool = memory.pool.without(removed)
    cosines = next(pool.index.cosines([query.spectrum]))
    own = pool.own_compounds(query.spectrum, query.candidates)
    analogues = evidence.raw[:, EVIDENCE_KINDS.index("analogues")]
    return evidence, own_spectra_features(cosines, own, analogues)


def _rounded(value: float) -> float:
    """Return a number with four significant digits: a weight of log-likelihoods may be small."""
    return float(f"{value:.4g}")


def _shares(examples: Sequence[_Example]) -> NDArray[np.float64]:
    counts = {kind: sum(e.kind == kind for e in examples) for kind in _SHARES}
    return np.array([_SHARES[e.kind] / counts[e.kind] for e in examples])


def _fit_library(examples: Sequence[_Example]) -> tuple[dict[str, float], OwnSpectraRatio]:
    kinds = ("analogues", "fragments")
    columns = [EVIDENCE_KINDS.index(kind) for kind in kinds]
    fitted = fit_listwise(
        [np.concatenate([e.evidence.raw[:, columns], e.own_features], axis=1) for e in examples],
        [e.place for e in examples],
        _shares(examples),
        n_positive=len(kinds),
    )
    own = dict(zip([f.name for f in fields(OwnSpectraRatio)], fitted[len(kinds) :], strict=True))
    weights = {**defaults().weights, **dict(zip(kinds, fitted, strict=False)), "library": 1.0}
    return weights, OwnSpectraRatio(**own)


def _raw(
    evidence: Evidence, own_features: NDArray[np.float64], own_spectra: OwnSpectraRatio
) -> NDArray[np.float64]:
    raw = evidence.raw.copy()
    raw[:, EVIDENCE_KINDS.index("library")] = own_spectra(own_features)
    return raw


def _fit_fingerprint(
    examples: Sequence[_Example], weights: Mapping[str, float], own_spectra: OwnSpectraRatio
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
        fixed=[_raw(e.evidence, e.own_features, own_spectra) @ others for e in examples],
        n_positive=1,
    )
    return weight / spread


def _fit_probability(
    examples: Sequence[_Example], weights: Mapping[str, float], own_spectra: OwnSpectraRatio
) -> ProbabilityModel:
    lists: list[tuple[Evidence, int | None, int, float]] = []
    for example, share in zip(examples, _shares(examples).tolist(), strict=True):
        n_peaks = example.query.spectrum.n_peaks
        whole = example.evidence, example.own_features
        # As in a mixture, and as in a run of compounds of this kind alone.
        for known in (DEFAULT_SHARE, within_limits(1.0 if example.kind == KNOWN else 0.0)):
            for (found, own_features), place in (
                (whole, example.place),
                (example.without, None),
            ):
                evidence = Evidence.from_raw(
                    _raw(found, own_features, own_spectra),
                    weights,
                    found.measured,
                    found.analogues,
                    known,
                )
                lists.append((evidence, place, n_peaks, share))
    return ProbabilityModel.fit(
        [evidence.scores for evidence, *_ in lists],
        [place for _, place, *_ in lists],
        np.array([share for *_, share in lists]),
        np.array(
            [feature_row(evidence, n_peaks, LIST_FEATURES) for evidence, _, n_peaks, _ in lists]
        ),
        LIST_FEATURES,
    )
