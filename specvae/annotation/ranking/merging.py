"""Several spectra of one feature: which belong together, and what they say together.

The spectra of a feature, of several collision energies as a rule, are scored one by one against the
same candidates, and their evidence is merged: the mean of what predicted fingerprints, analogues
and fragments say, and the best own spectrum of the library. The spectra are of one molecule and not
independent of each other, so that sums would promise too much.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from specvae.annotation.evidence.defaults import EVIDENCE_KINDS
from specvae.annotation.evidence.items import Analogue
from specvae.annotation.evidence.library_match import OwnSpectra
from specvae.annotation.evidence.weighted import Evidence
from specvae.annotation.library.query import Query
from specvae.annotation.ranking.result import (
    N_ANALOGUES,
    ListScores,
    Ranked,
    Unranked,
    absentee_remark,
)
from specvae.masses import is_near
from specvae.spectra.keys import stated

_FRAGMENTS, _LIBRARY = map(EVIDENCE_KINDS.index, ("fragments", "library"))
_LONGEST_LIST = 3

MERGED = "merged with"
"""How the remark begins that names the other spectra of a feature."""


def group_by(
    records: Sequence[Query | Unranked], field: str, ppm: float
) -> list[list[Query | Unranked]]:
    """Return records grouped by feature, features in the order of their first records.

    Records of one feature state the same value in the field, the same ion, ion mode and MS level,
    and precursors within `ppm` of the first one's. A record without the field is a feature of its
    own.
    """
    groups: list[list[Query | Unranked]] = []
    found: dict[tuple[object, ...], list[tuple[Query, list[Query | Unranked]]]] = {}
    for record in records:
        value = stated(record.spectrum, field) if isinstance(record, Query) else None
        if isinstance(record, Unranked) or not value:
            groups.append([record])
            continue
        record = replace(record, feature_id=value)
        key = (value, record.adduct, record.ion_mode, record.spectrum.ms_level)
        for first, group in found.get(key, ()):
            if _is_near(first.precursor_mz, record.precursor_mz, ppm):
                group.append(record)
                break
        else:
            groups.append([record])
            found.setdefault(key, []).append((record, groups[-1]))
    return groups


def listed_as(
    groups: Iterable[Sequence[Query | Unranked]], is_listed: Callable[[Query], bool]
) -> dict[str, Query]:
    """Return, by identifier of a query, the query of its feature whose candidates it takes.

    It is the first query of the feature for which candidates are listed, else the first one.
    """
    found: dict[str, Query] = {}
    for group in groups:
        queries = [record for record in group if isinstance(record, Query)]
        if len(queries) > 1:
            shared = next(filter(is_listed, queries), queries[0])
            found |= dict.fromkeys((query.query_id for query in queries), shared)
    return found


def merge_outcomes(
    outcomes: Iterator[Ranked | Unranked], groups: Iterable[Sequence[Query | Unranked]]
) -> Iterator[list[Ranked | Unranked]]:
    """Yield the outcome of each feature, and one for each reason why spectra were not ranked.

    Parameters
    ----------
    outcomes
        Of the records of all groups, one group after the other.
    groups
        See `group_by`.
    """
    for group in groups:
        found = [next(outcomes) for _ in group]
        ranked = [outcome for outcome in found if isinstance(outcome, Ranked)]
        together: list[Ranked | Unranked] = [merged(ranked)] if ranked else []
        unranked = [outcome for outcome in found if isinstance(outcome, Unranked)]
        yield [*together, *_merged_unranked(unranked)]


def _merged_unranked(outcomes: Iterable[Unranked]) -> Iterator[Unranked]:
    by_reason: dict[str, list[Unranked]] = {}
    for outcome in outcomes:
        by_reason.setdefault(str(outcome.refusal), []).append(outcome)
    for first, *others in by_reason.values():
        queries = [one.query for one in (first, *others) if one.query is not None]
        if not others:
            yield first
            continue
        query = _merged_query(queries)
        analogues = _nearest_of((first, *others))[:N_ANALOGUES]
        remarks = query.remarks if first.remarks else query.remarks[-1:]
        remarks = (*remarks, *absentee_remark(query, analogues))
        yield replace(first, query=query, remarks=remarks, analogues=analogues)


def _nearest_of(found: Iterable[Evidence | Unranked]) -> tuple[Analogue, ...]:
    """Return the library's compounds that any of some spectra is like, each once."""
    nearest: dict[str, Analogue] = {}
    for analogue in sorted((a for each in found for a in each.analogues), key=lambda a: -a.cosine):
        nearest.setdefault(analogue.first_block, analogue)
    return tuple(nearest.values())


def merged(members: Sequence[Ranked]) -> Ranked:
    """Merge the evidence of several spectra for the candidates that all of them have.

    The query is the first spectrum; its status says which others were merged with it.
    """
    first, *others = members
    if not others:
        return first
    blocks = set(first.candidates.first_block)
    for other in others:
        blocks &= set(other.candidates.first_block)
    # A spectrum without fragments says nothing beside others, and would weaken what they say.
    telling = [m for m in members if m.query.spectrum.has_fragments] or members
    # The same candidates in the same order for each member: one may have lost some on the way.
    kept = [_rows_of(m, blocks) for m in telling]
    evidence = [m.evidence for m in telling if m.evidence is not None]
    n_peaks = max(m.list_scores.n_peaks for m in members)
    if evidence:
        pooled = _merged_evidence(evidence, kept)
        lists = ListScores.of(pooled, n_peaks, first.list_scores.window_share)
    else:
        scores = [m.scores[rows] for m, rows in zip(telling, kept, strict=True)]
        window_share = first.list_scores.window_share
        lists = ListScores(np.mean(scores, axis=0), n_peaks, window_share=window_share)
    return Ranked(
        _merged_query([m.query for m in members]),
        first.candidates.select(rows := _rows_of(first, blocks)),
        first.packed[rows],
        lists,
        first.blind_scores[rows],
        np.mean([m.logits for m in telling], axis=0),
        None if first.counts is None else first.counts[rows],
        tuple(m.query.spectrum for m in members),
    )


def _rows_of(member: Ranked, blocks: Collection[str]) -> NDArray[np.intp]:
    return np.flatnonzero([block in blocks for block in member.candidates.first_block])


def _merged_query(queries: Sequence[Query]) -> Query:
    first = queries[0]
    names = [query.query_id for query in queries[1:]]
    shown = ", ".join(names[:_LONGEST_LIST])
    if len(names) > _LONGEST_LIST:
        shown += f" and {len(names) - _LONGEST_LIST:,} more"
    note = f"{MERGED} {shown}"
    spectrum = replace(first.spectrum, notes=(*first.spectrum.notes, note))
    return replace(
        first,
        spectrum=spectrum,
        remarks=(*_merged_remarks(queries), note),
        merged=tuple(names),
        merged_ordinals=tuple(query.spectrum.ordinal for query in queries[1:]),
    )


def _merged_remarks(queries: Sequence[Query]) -> list[str]:
    """Return the remarks on several spectra, each with its number of spectra unless on all."""
    counts = Counter(remark for query in queries for remark in dict.fromkeys(query.remarks))
    n_all = len(queries)
    return [r if n == n_all else f"{r} ({n} of {n_all} spectra)" for r, n in counts.items()]


_OF_SPECTRA = re.compile(r" \(\d+ of \d+ spectra\)$")


def remark_kind(remark: str) -> str:
    """Return a remark without the number of spectra of the feature, so that it can be counted."""
    return _OF_SPECTRA.sub("", remark)


def one_of(outcomes: Sequence[Ranked | Unranked]) -> Ranked | Unranked:
    """Return the outcome of a feature: its merged ranking, or why it could not be ranked.

    Its query names the other spectra, including those that could not be ranked.
    """
    first, *others = outcomes
    if first.query is None or not others:
        return first
    names = list(first.query.merged)
    for other in others:
        names += (other.query_id, *(() if other.query is None else other.query.merged))
    return replace(first, query=replace(first.query, merged=tuple(names)))


def _merged_evidence(evidence: Sequence[Evidence], kept: Sequence[NDArray[np.int64]]) -> Evidence:
    pairs = list(zip(evidence, kept, strict=True))
    raw = np.stack([e.raw[rows] for e, rows in pairs])
    pooled = raw.mean(axis=0)
    pooled[:, _LIBRARY] = raw[:, :, _LIBRARY].max(axis=0)
    own = [e.own.select(rows) for e, rows in pairs if e.own is not None]
    measured = np.any([e.measured[rows] for e, rows in pairs], axis=0)
    return Evidence(
        pooled,
        evidence[0].weights,
        measured,
        analogues=_nearest_of(evidence),
        own=OwnSpectra.best(own) if own else None,
        prior=_merged_prior(pairs),
        # Spectra of a feature are of one time, and of one ion.
        elution=next((e.elution.select(rows) for e, rows in pairs if e.elution is not None), None),
        mass_errors=_merged_errors(pairs),
        elsewhere=np.any([e.elsewhere[rows] for e, rows in pairs], axis=0) & ~measured,
        guessed=_merged_guesses(pairs),
    )


def _merged_prior(
    pairs: Sequence[tuple[Evidence, NDArray[np.int64]]],
) -> NDArray[np.float64] | None:
    if all(evidence.prior is None for evidence, _ in pairs):
        return None
    each = [np.zeros(len(rows)) if e.prior is None else e.prior[rows] for e, rows in pairs]
    return np.asarray(np.mean(each, axis=0))


def _merged_errors(
    pairs: Sequence[tuple[Evidence, NDArray[np.int64]]],
) -> NDArray[np.float64] | None:
    each = [e.mass_errors[rows] for e, rows in pairs if e.mass_errors is not None]
    return np.asarray(np.mean(each, axis=0)) if each else None


def _merged_guesses(
    pairs: Sequence[tuple[Evidence, NDArray[np.int64]]],
) -> NDArray[np.float64] | None:
    if all(evidence.guessed is None for evidence, _ in pairs):
        return None
    each = [
        (evidence.raw[:, _FRAGMENTS] if evidence.guessed is None else evidence.guessed)[rows]
        for evidence, rows in pairs
    ]
    return np.asarray(np.mean(each, axis=0))


def _is_near(one: float | None, other: float | None, ppm: float) -> bool:
    if one is None or other is None:
        return one is other
    return is_near(other, one, ppm)
