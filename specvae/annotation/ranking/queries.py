"""The queries of a file, and which of them are ranked."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from specvae.annotation.library.filter import canonical_adducts
from specvae.annotation.library.query import Query
from specvae.annotation.ranking.result import Cause, Refusal, Unranked
from specvae.report import ReadReport, Skip
from specvae.spectra.read import read_spectra
from specvae.spectra.spectrum import Spectrum


@dataclass(frozen=True, slots=True)
class QueryFilter:
    """Which queries are ranked; an empty collection or None lets everything pass."""

    ion_mode: str | None = None
    adducts: frozenset[str] = frozenset()

    @classmethod
    def of(cls, ion_mode: str | None, adducts: Iterable[str]) -> QueryFilter:
        """Return a filter; adducts in any spelling.

        Raises
        ------
        ConfigError
            If an adduct is unknown.
        """
        return cls(ion_mode, canonical_adducts(adducts))

    def reject(self, query: Query) -> Refusal | None:
        """Return why a query is left out, or None if it is ranked."""
        if self.ion_mode and query.ion_mode != self.ion_mode:
            found = query.ion_mode or "unknown"
            return Refusal(Cause.ION_MODE, f"left out: ion mode {found}")
        if self.adducts and query.adduct not in self.adducts:
            return Refusal(Cause.ADDUCT, f"left out: adduct {query.adduct or 'unknown'}")
        return None


def read_queries(
    path: Path, report: ReadReport, assign_ion: Callable[[Spectrum], Query]
) -> list[Query | Unranked]:
    """Return every record of a file, in its order.

    A record that cannot be read is included as `Unranked`, with the reason, under an identifier
    that no query has.

    Parameters
    ----------
    path
        A file of spectra.
    report
        Counts what is read and what is skipped.
    assign_ion
        Decides which ion a spectrum is of.

    Raises
    ------
    InputError
        If the file cannot be used.
    """
    before = len(report.skips)
    queries = [assign_ion(spectrum) for spectrum in read_spectra(path, report)]
    # A survey scan of an mzML run is not a query.
    skips = [skip for skip in report.skips[before:] if not skip.reason.is_other_scan]
    unread = deque(_unread(skips, {query.query_id for query in queries}))
    records: list[Query | Unranked] = []
    for query in queries:
        while unread and unread[0][0] < query.spectrum.line:
            records.append(unread.popleft()[1])
        records.append(query)
    return [*records, *(record for _, record in unread)]


def queries_at_hand(
    spectra: Iterable[Spectrum | Skip], assign_ion: Callable[[Spectrum], Query]
) -> list[Query | Unranked]:
    """Return every spectrum in memory, in its order; as `read_queries` does."""
    given = list(spectra)
    skips = [one for one in given if isinstance(one, Skip)]
    unread = _unread(skips, {one.query_id for one in given if isinstance(one, Spectrum)})
    return [assign_ion(one) if isinstance(one, Spectrum) else next(unread)[1] for one in given]


def _unread(skips: Iterable[Skip], taken: set[str]) -> Iterator[tuple[int, Unranked]]:
    """Yield line and row of each unreadable record, under an identifier that is not `taken`."""
    numbers: dict[str, int] = {}  # last number of each name, which thousands of records may share
    for skip in skips:
        query_id, n = skip.record, numbers.get(skip.record, 1)
        while query_id in taken:
            n += 1
            query_id = f"{skip.record}#{n}"
        numbers[skip.record] = n
        taken.add(query_id)
        detail = f" ({skip.detail})" if skip.detail else ""
        refusal = Refusal(Cause.UNREADABLE, f"unreadable record: {skip.reason}{detail}")
        yield skip.line, Unranked(query_id, refusal)
