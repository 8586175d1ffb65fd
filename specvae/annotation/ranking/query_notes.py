"""Notes on the queries that a run has read, in words for the user."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from specvae.annotation.library.query import Query
from specvae.annotation.ranking.result import Unranked
from specvae.counting import counted
from specvae.spectra.adducts import Adduct
from specvae.spectra.keys import stated


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


def note_on_features(field: str | None, groups: Sequence[Sequence[Query | Unranked]]) -> str:
    """Return a note on spectra of one feature: those that agree in a field, by default FEATURE_ID.

    It is "" if no field is given and no feature has several spectra.
    """
    queries = [one for group in groups for one in group if isinstance(one, Query)]
    if (
        field is not None
        and queries
        and not any(stated(query.spectrum, field) for query in queries)
    ):
        return f"note: no query states {field!r} (--merge-by), so that none are of one feature"
    several = [group for group in groups if len(group) > 1]
    n_spectra = sum(map(len, several))
    if field is None and several:
        return (
            f"note: features (FEATURE_ID) with several spectra: {len(several):,}, of {n_spectra:,} "
            "spectra; --merge-by FEATURE_ID gives one answer for each feature"
        )
    if field is None:
        return ""
    if not several:
        return f"no two spectra are of one feature (by {field}): each has an answer of its own"
    spectra = counted(n_spectra, "spectra")
    return f"features with several spectra (by {field}): {len(several):,}, of {spectra}"
