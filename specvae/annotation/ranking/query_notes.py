"""Notes on the queries that a run has read, in words for the user."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from operator import or_
from pathlib import Path

from specvae.annotation.library.query import Query
from specvae.annotation.ranking.merging import group_by
from specvae.annotation.ranking.result import Unranked
from specvae.counting import counted
from specvae.masses import ppm_width
from specvae.spectra.adducts import Adduct
from specvae.spectra.keys import FEATURE_FIELDS, stated


def note_on_shared_names(
    groups: Sequence[Sequence[Query | Unranked]], numbers: Sequence[tuple[int, int]]
) -> str:
    """Return a note on queries of several files that share a name, "" if there are none."""
    files: dict[str, set[int]] = {}
    for group, (number, _) in zip(groups, numbers, strict=True):
        for query in group:
            files.setdefault(query.query_id, set()).add(number)
    shared = [name for name, found in files.items() if len(found) > 1]
    if not shared:
        return ""
    names = counted(len(shared), "names are", "name is")
    return (
        f"{names} of queries in several files, such as {shared[0]!r}: candidates that are listed "
        "for a name are those of each"
    )


def note_on_queries_in_library(queries: Path) -> str:
    """Return the warning on a file that is both the queries and the library."""
    return (
        f"warning: {queries} is both queries and --library: each spectrum is recognised by itself"
    )


def note_on_assumed_adduct(
    assumed: Adduct | None, groups: Sequence[Sequence[Query | Unranked]]
) -> str:
    """Return a note on queries that cannot be of the adduct that the user assumes, "" if none.

    Such queries state no adduct, but an ion mode or charge that is not that of the assumed one.
    """
    if assumed is None:
        return ""
    queries = [one for group in groups for one in group if isinstance(one, Query)]
    taken = [one.ion for one in queries if one.is_ion_assumed]
    n_others = sum(ion != assumed for ion in taken)
    if not n_others:
        return ""
    return (
        f"note: of {counted(len(taken), 'queries')} without an adduct, {n_others:,} state another "
        f"ion mode or charge than that of --assume-adduct {assumed.name}: the status says what "
        "they are taken as"
    )


def note_on_features(field: str, groups: Sequence[Sequence[Query | Unranked]]) -> str:
    """Return a note on spectra that are merged, as they agree in a field."""
    queries = [one for group in groups for one in group if isinstance(one, Query)]
    if queries and not any(stated(query.spectrum, field) for query in queries):
        named = [
            name
            for name in (*FEATURE_FIELDS, "SCANS")
            if any(stated(query.spectrum, name) for query in queries)
        ]
        known = f"; they state {', '.join(named)}" if named else ""
        return (
            f"note: no query states {field!r} (--merge-by), so that none are of one feature{known}"
        )
    several = [group for group in groups if len(group) > 1]
    if not several:
        return f"no two spectra are of one feature (by {field}): each has an answer of its own"
    spectra = counted(sum(map(len, several)), "spectra")
    return f"features with several spectra (by {field}): {len(several):,}, of {spectra}"


_OF_ONE_PEAK = 30.0  # s


def note_on_unmerged(files: Sequence[Sequence[Query | Unranked]], ppm: float) -> str:
    """Return a note on spectra that seem to be of one feature and are not merged, "" if none do.

    They agree in a field that names features; or else most of a run follow another spectrum of
    their precursor m/z, within `ppm`.

    Parameters
    ----------
    files
        The records of each file.
    ppm
        Largest difference of precursor m/z of one feature.
    """
    for field in (*FEATURE_FIELDS, "SCANS"):
        several: list[int] = []
        for records in files:
            several += _sizes_of_features(records, field, ppm)
        if several:
            return (
                f"note: features ({field}) with several spectra: {len(several):,}, of "
                f"{sum(several):,} spectra; --merge-by {field} gives one answer for each feature"
            )
    n_spectra = sum(map(len, files))
    n_again = sum(_n_of_one_peak(records, ppm) for records in files)
    if 2 * n_again <= n_spectra:
        return ""
    return (
        f"note: {n_again:,} of {n_spectra:,} spectra have the precursor m/z of another within "
        f"{_OF_ONE_PEAK:.0f} s: MZmine and MS-DIAL export features, of which --merge-by "
        "FEATURE_ID gives one answer each"
    )


def _sizes_of_features(records: Sequence[Query | Unranked], field: str, ppm: float) -> list[int]:
    """Return how many spectra each feature of a file has, those of one left out.

    A value that stands for many precursors, such as SCANS=1 of a library, names no feature.
    """
    n_groups: Counter[str] = Counter()
    sizes = []
    for first, *others in group_by(records, field, ppm):
        if isinstance(first, Query) and (value := stated(first.spectrum, field)):
            n_groups[value] += 1
            sizes.append(1 + len(others))
    if 2 * len(n_groups) < len(sizes):
        return []
    return [size for size in sizes if size > 1]


def _n_of_one_peak(records: Sequence[Query | Unranked], ppm: float) -> int:
    """Return of how many spectra the next one of their m/z follows soon, or the last did."""
    times: dict[int, list[float]] = {}
    for query in records:
        if isinstance(query, Query) and query.precursor_mz and query.spectrum.retention_time:
            place = int(math.log(query.precursor_mz) / math.log1p(ppm_width(1.0, ppm)))
            times.setdefault(place, []).append(query.spectrum.retention_time)
    n = 0
    for of_mz in times.values():
        of_mz.sort()
        is_soon = [b - a <= _OF_ONE_PEAK for a, b in pairwise(of_mz)]
        n += sum(map(or_, [False, *is_soon], [*is_soon, False]))
    return n
