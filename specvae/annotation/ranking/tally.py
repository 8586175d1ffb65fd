"""How many queries were ranked, and why the others were not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from specvae.annotation.evidence.items import Analogue
from specvae.annotation.evidence.library_match import CLEAR_COSINE
from specvae.annotation.evidence.list_features import clear_absentee
from specvae.annotation.library.query import Query, has_coarse_precursor
from specvae.annotation.ranking.merging import remark_kind
from specvae.annotation.ranking.present import Draft
from specvae.annotation.ranking.result import Answer, Cause, Ranked, Refusal, Unranked
from specvae.counting import counted
from specvae.masses import deviation_ppm, is_near
from specvae.molecules.molecule import exact_mass_of_smiles

_FARTHEST_PPM = 50.0  # beyond, a compound with a similar spectrum mostly has another formula

Counted = TypeVar("Counted", Ranked | Unranked, Draft | Unranked, Answer | Unranked)


@dataclass(slots=True)
class Tally:
    """How many queries were ranked, and why the others were not.

    Attributes
    ----------
    n_queries, n_ranked
        Records of the file, those that could not be read included, and ranked ones among them.
    causes
        Queries that were not ranked by cause.
    reasons
        The same in words: `Refusal.counted_as`.
    remarks
        Ranked queries by what was assumed of them; the notes of the reader are counted by a
        `ReadReport`.
    nearest_ppm
        For each query without candidates of its mass, how far the nearest candidate is.
    n_assumed
        Queries without candidates of their mass whose adduct was assumed, as they state none.
    n_taken
        Ranked queries by mass whose adduct was assumed likewise.
    n_coarse
        Queries without candidates of their mass whose precursor m/z is as coarse as their peaks.
    unlisted
        Queries that the table of candidates does not name.
    listed_ids
        Some queries that the table does name.
    n_precursors, n_rough
        Queries with a precursor m/z, and those of them with two decimals or fewer.
    n_neutral, n_only_neutral, n_only_ion
        Queries whose precursor m/z is the mass of a candidate itself; those of them whose ion has
        the mass of no candidate; and queries whose ion has the mass of a candidate, but whose
        precursor m/z has not.
    n_cations, n_of_charges, n_bared
        Queries whose precursor m/z is that of a cation of one charge among the candidates that is
        not ranked; of a cation of several charges; and, in negative ion mode, of a cation without
        two protons.
    repeats
        By precursor m/z (to 0.1 mTh): how many queries with a retention time there are, and their
        first and last time in seconds.
    as_others
        By ion species or isotope: how many queries without candidates would have some as that.
    n_absent
        Queries whose nearest spectrum of the library is clearly like them, and of a compound of
        their mass that is none of their candidates.
    absent
        The first of these, that compound and the likeness.
    errors_ppm
        Of queries whose nearest spectrum of the library is clearly like them: the precursor
        m/z minus that of the compound's ion, if that is near, in ppm of the latter.
    ppm
        Within how many of a query's mass candidates were looked for; None if that is not known.
    states_adduct
        Whether the user says what queries without an adduct are, or may be.
    """

    n_queries: int = 0
    n_ranked: int = 0
    causes: Counter[Cause] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    remarks: Counter[str] = field(default_factory=Counter)
    nearest_ppm: list[float] = field(default_factory=list)
    n_assumed: int = 0
    n_taken: int = 0
    n_coarse: int = 0
    unlisted: list[str] = field(default_factory=list)
    listed_ids: tuple[str, ...] = ()
    n_precursors: int = 0
    n_rough: int = 0
    n_neutral: int = 0
    n_only_neutral: int = 0
    n_only_ion: int = 0
    n_cations: int = 0
    n_of_charges: int = 0
    n_bared: int = 0
    repeats: dict[float, tuple[int, float, float]] = field(default_factory=dict)
    as_others: Counter[str] = field(default_factory=Counter)
    n_absent: int = 0
    absent: tuple[str, str, float] | None = None
    errors_ppm: list[float] = field(default_factory=list)
    ppm: float | None = None
    states_adduct: bool = False

    def counting(self, outcomes: Iterable[Counted]) -> Iterator[Counted]:
        """Yield the outcomes as they come, each counted."""
        for outcome in outcomes:
            self.n_queries += 1
            self._count_precursor(outcome.query)
            if isinstance(outcome, Unranked):
                self._count_refusal(outcome.query_id, outcome.refusal)
                self._count_analogues(outcome.query, outcome.analogues)
                is_by_mass = outcome.refusal.cause is Cause.NONE_WITHIN
                self.n_assumed += is_by_mass and _is_of_one_of_several(outcome.query)
                self.n_coarse += is_by_mass and _is_coarse(outcome.query)
            else:
                self.n_ranked += 1
                self.n_taken += _is_of_one_of_several(outcome.query)
                self.remarks.update(map(remark_kind, outcome.query.assumed))
                self._count_analogues(outcome.query, outcome.analogues)
            yield outcome

    def _count_precursor(self, query: Query | None) -> None:
        if query is not None and query.precursor_mz is not None:
            self.n_precursors += 1
            self.n_rough += round(query.precursor_mz, 2) == query.precursor_mz
            if (time := query.spectrum.retention_time) is not None:
                mz = round(query.precursor_mz, 4)
                n, first, last = self.repeats.get(mz, (0, time, time))
                self.repeats[mz] = n + 1, min(first, time), max(last, time)
        if query is not None and query.fit is not None:
            self.n_neutral += query.fit.as_neutral
            self.n_only_neutral += query.fit.as_neutral and not query.fit.as_ion
            self.n_only_ion += query.fit.as_ion and not query.fit.as_neutral
            is_open = query.is_ion_assumed or bool(query.others) or not query.fit.as_ion
            if query.fit.as_cation and is_open and query.ion is not None:
                self.n_cations += query.ion.charge == 1
                self.n_of_charges += query.ion.charge > 1
                self.n_bared += query.ion.charge < 0
            self.as_others.update(query.fit.as_others)

    def _count_analogues(self, query: Query | None, analogues: Sequence[Analogue]) -> None:
        if query is not None:
            self._count_absent(query, analogues)
            self._count_error(query, analogues)

    def _count_absent(self, query: Query, analogues: Sequence[Analogue]) -> None:
        if (absentee := clear_absentee(analogues)) is None:
            return
        self.n_absent += 1
        if self.absent is None:
            self.absent = query.query_id, absentee.title, absentee.cosine

    def _count_error(self, query: Query, analogues: Sequence[Analogue]) -> None:
        mz, ion = query.precursor_mz, query.ion
        if mz is None or ion is None or not analogues or analogues[0].cosine < CLEAR_COSINE:
            return
        expected = ion.precursor_mz(exact_mass_of_smiles(analogues[0].smiles))
        if is_near(mz, expected, _FARTHEST_PPM):
            self.errors_ppm.append(deviation_ppm(mz, expected))

    def _count_refusal(self, query_id: str, refusal: Refusal) -> None:
        self.causes[refusal.cause] += 1
        self.reasons[refusal.counted_as] += 1
        if refusal.nearest_ppm is not None:
            self.nearest_ppm.append(refusal.nearest_ppm)
        if refusal.cause is Cause.NOT_LISTED:
            self.unlisted.append(query_id)

    def __str__(self) -> str:
        ranked = f"{self.n_ranked:,} of {counted(self.n_queries, 'queries')} ranked"
        if not self.reasons:
            return ranked
        reasons = ", ".join(f"{reason} ({n:,})" for reason, n in self.reasons.most_common())
        return f"{ranked}; not ranked: {reasons}"


def _is_of_one_of_several(query: Query | None) -> bool:
    """Return whether a query's ion was assumed, and is of one charge as most adducts are."""
    if query is None or query.ion is None:
        return False
    return query.is_ion_assumed and abs(query.ion.charge) == 1


def _is_coarse(query: Query | None) -> bool:
    return query is not None and has_coarse_precursor(query.spectrum)
