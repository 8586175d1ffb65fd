"""How many queries were ranked, and why the others were not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from statistics import median
from typing import TypeVar

from specvae.annotation.evidence.items import Analogue
from specvae.annotation.evidence.library_match import CLEAR_COSINE
from specvae.annotation.evidence.list_features import clear_absentee
from specvae.annotation.library.query import AVERAGE, ISOTOPE, Query, has_coarse_precursor
from specvae.annotation.ranking.features import remark_kind
from specvae.annotation.ranking.present import Draft
from specvae.annotation.ranking.result import Answer, Cause, Ranked, Refusal, Unranked, quoted
from specvae.counting import counted
from specvae.masses import is_near
from specvae.molecules.molecule import exact_mass_of_smiles

_TOLERANCES = (5, 10, 20, 50, 100)  # ppm, that an instrument may need
_FARTHEST_PPM = 50.0  # farther, a compound of like spectrum is mostly one of another formula
_SPREAD_PPM = 5.0  # of errors that have one cause
_FEWEST_ERRORS = 3
_FEWEST_REPEATS = 10  # of a precursor m/z in a run
_LONGER_THAN_A_PEAK = 120.0  # s

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
        How far the nearest candidate is from each query without one of its mass.
    n_assumed
        Of these, those whose adduct was assumed as they state none.
    n_coarse
        And those whose precursor m/z is as coarse as their peaks.
    unlisted
        Queries that the table of candidates does not name.
    listed_ids
        Some that it does name.
    n_precursors, n_rough
        Queries with a precursor m/z, and those of them with two decimals or fewer.
    n_neutral, n_only_neutral, n_only_ion
        Those whose precursor m/z is the mass of a candidate itself, those of them whose ion has the
        mass of none, and those where it is the other way round.
    n_cations, n_of_charges, n_bared
        Those whose precursor m/z is that of a cation among the candidates that is not ranked, the
        same of several charges, and those of negative mode whose m/z is that of such a cation
        without two protons.
    repeats
        Those that state a retention time, by their precursor m/z (to 0.1 mTh): how many, and their
        first and last time in seconds.
    as_others
        How many of those without candidates would have some as another ion species or isotope.
    n_absent
        Ranked queries whose nearest spectrum of the library is clearly like them, and of a compound
        of their mass that is none of their candidates.
    absent
        The first of these, that compound and the likeness.
    errors_ppm
        Of ranked queries whose nearest spectrum of the library is clearly like them: the precursor
        m/z minus that of the compound's ion, if that is near, in ppm of the latter.
    ppm
        Within how many of a query's mass candidates were looked for; None if that is not known.
    """

    n_queries: int = 0
    n_ranked: int = 0
    causes: Counter[Cause] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    remarks: Counter[str] = field(default_factory=Counter)
    nearest_ppm: list[float] = field(default_factory=list)
    n_assumed: int = 0
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

    def counting(self, outcomes: Iterable[Counted]) -> Iterator[Counted]:
        """Yield the outcomes as they come, each counted."""
        for outcome in outcomes:
            self.n_queries += 1
            self._count_precursor(outcome.query)
            if isinstance(outcome, Unranked):
                self._count_refusal(outcome.query_id, outcome.refusal)
                is_by_mass = outcome.refusal.cause is Cause.NONE_WITHIN
                self.n_assumed += is_by_mass and _is_of_one_of_several(outcome.query)
                self.n_coarse += is_by_mass and _is_coarse(outcome.query)
            else:
                self.n_ranked += 1
                self.remarks.update(map(remark_kind, outcome.query.assumed))
                self._count_absent(outcome.query, outcome.analogues)
                self._count_error(outcome.query, outcome.analogues)
            yield outcome

    def advice(self) -> list[str]:
        """Return what would help queries that have no good answer, a line for each kind."""
        lines = []
        if self.absent is not None:
            query_id, compound, cosine = self.absent
            whose = "its" if self.n_absent == 1 else "their"
            lines.append(
                f"{_queries(self.n_absent)} clearly like a compound of the library whose ion has "
                f"{whose} m/z and which is not among {whose} candidates, as {whose} status says: "
                f"such as {quoted(query_id)}, like "
                f"{quoted(compound)} (cosine {cosine:.2f}): candidates may lack the right one"
            )
        lines += self._advice_on_errors()
        lines += self._advice_on_windows()
        if 2 * self.n_neutral > self.n_precursors and self.n_only_neutral > 4 * self.n_only_ion:
            lines.append(
                f"the precursor m/z of {self._share(self.n_neutral)} is the "
                "mass of a candidate itself, not of its ion: if the file states masses of "
                "molecules there, replace them by the m/z of the ions"
            )
        lines += self._advice_on_cations()
        if self.nearest_ppm:
            lines.append(self._advice_on_masses())
            lines += self._advice_on_species()
        if self.n_assumed:
            one = self.n_assumed == 1
            lines.append(
                f"{self.n_assumed:,} of these {'states' if one else 'state'} no adduct: "
                "--try-adducts common ranks candidates of several"
            )
        if self.unlisted and self.listed_ids:
            called = _quoted(islice(dict.fromkeys(self.unlisted), 3))
            lines.append(
                f"{_queries(len(self.unlisted))} not named in the candidates' column query_id: "
                f"queries are called {called}, there {_quoted(self.listed_ids)}"
            )
        if n := self.causes[Cause.NO_ION]:
            lines.append(
                f"{n:,} without polarity: state it with --assume-ion-mode positive or "
                "--assume-adduct '[M+H]+'"
            )
        if n := self.causes[Cause.UNKNOWN_ADDUCT]:
            lines.append(
                f"{n:,} with an adduct that cannot be read, which the status names: correct it in "
                "the file, or leave it out there and use --assume-adduct"
            )
        return lines

    def _advice_on_cations(self) -> list[str]:
        lines = []
        if self.n_cations:
            lines.append(
                f"the precursor m/z of {self._share(self.n_cations)} is that "
                "of a candidate that is listed as a cation, and not ranked: --try-adducts "
                "'[M+H]+,[M]+' ranks both where a query states no adduct; acids among them, such "
                "as carnitine, are found as [M+H]+ where they are listed as inner salts"
            )
        if self.n_of_charges:
            lines.append(
                f"the precursor m/z of {self._share(self.n_of_charges)} is "
                "that of a candidate that is listed as a cation of several charges, and not "
                "ranked: if that is the ion, state it in the file, such as [M]2+, or by "
                "--assume-adduct"
            )
        if self.n_bared:
            lines.append(
                f"the precursor m/z of {self._share(self.n_bared)} is that "
                "of a candidate that is listed as a cation, such as an anthocyanin, without two "
                "protons, and not ranked: --try-adducts '[M-H]-,[M-2H]-' ranks both where a query "
                "states no adduct"
            )
        return lines

    def _advice_on_masses(self) -> str:
        middle = median(self.nearest_ppm)
        n = len(self.nearest_ppm)
        found = (
            f"{n:,} without candidates of {'its' if n == 1 else 'their'} mass; nearest: "
            f"{'' if n == 1 else 'median '}{float(f'{middle:.3g}'):,.10g} ppm"
        )
        if 2 * self.n_coarse > n:
            coarse = (
                "its precursor m/z is as coarse as its"
                if n == 1
                else "most precursor m/z are as coarse as their"
            )
            return (
                f"{found}: {coarse} peaks, and may be off by tenths of a Th: state "
                "exact ones, as formula and ion species give them"
            )
        wider = next((ppm for ppm in _TOLERANCES if ppm >= middle), None)
        if self.n_rough:
            found += (
                f", and {self.n_rough:,} of {self.n_precursors:,} precursors have two decimals or "
                "fewer"
            )
        if wider is None:
            return f"{found}: the compounds are not listed, or the ion species is another"
        if 2 * self.n_rough > self.n_precursors:
            return f"{found}: try --ppm {wider}"
        # Exact masses that are far from all candidates are mostly those of other formulas.
        return (
            f"{found}: the compounds are not listed, or, if precursors are off by so much, try "
            f"--ppm {wider}"
        )

    def _advice_on_species(self) -> list[str]:
        """Return as what most queries without candidates would have some, if one thing stands out.

        Long lists have candidates of about any mass, as any species.
        """
        (name, n), (_, n_next) = [*self.as_others.most_common(2), ("", 0), ("", 0)][:2]
        if 2 * n <= len(self.nearest_ppm) or n <= 2 * n_next:
            return []
        if name == ISOTOPE:
            found = (
                f"{'is' if n == 1 else 'are'} at {name} of a candidate's ion, one neutron above it"
            )
            advice = "replace such precursors by the monoisotopic m/z"
        elif name == AVERAGE:
            has = "has" if n == 1 else "have"
            found = f"{has} the average mass of a candidate's ion, over all isotopes, as m/z"
            advice = "replace such precursors by the monoisotopic m/z"
        else:
            found = f"would have candidates as {name}"
            advice = "if that is the ion, state it in the file"
        return [f"{n:,} of these {found}: {advice}"]

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
            self.errors_ppm.append(1e6 * (mz - expected) / expected)

    def _advice_on_windows(self) -> list[str]:
        """Return what is said where m/z come back all through a run, as middles of windows do."""
        again = {
            mz: (n, first, last)
            for mz, (n, first, last) in self.repeats.items()
            if n >= _FEWEST_REPEATS and last - first > _LONGER_THAN_A_PEAK
        }
        total = sum(n for n, _, _ in again.values())
        if 2 * total <= self.n_precursors:
            return []
        mz, (n, first, last) = max(again.items(), key=lambda item: item[1][0])
        which = "one precursor m/z" if len(again) == 1 else f"one of {len(again):,} precursor m/z"
        line = (
            f"{self._share(total)} state {which} all through the run, such "
            f"as {mz:.10g} in {n:,} from {first / 60:.1f} to {last / 60:.1f} min: if no precursor "
            "was selected (DIA, SWATH, MSE), this is the middle of a window, and answers mean "
            "nothing: take spectra apart by ion first"
        )
        return [line]

    def _advice_on_errors(self) -> list[str]:
        """Return what helps if the library shows all precursor m/z to be off, by more than ppm."""
        if self.ppm is None or self.listed_ids or not self.errors_ppm:
            return []
        error = median(self.errors_ppm)
        agree = [e for e in self.errors_ppm if abs(e - error) <= _SPREAD_PPM]
        wider = next((ppm for ppm in _TOLERANCES if ppm > abs(error)), None)
        is_shown = len(agree) >= _FEWEST_ERRORS and 2 * len(agree) > len(self.errors_ppm)
        if abs(error) <= self.ppm or wider is None or not is_shown:
            return []
        side = "above" if error > 0 else "below"
        found = (
            f"the precursor m/z of {len(agree):,} queries is some {abs(error):.0f} ppm {side} that "
            "of compounds of the library that they are clearly like, farther than --ppm "
            f"{self.ppm:g}"
        )
        return [f"{found}: correct the m/z of the file, or try --ppm {wider}"]

    def _share(self, n: int) -> str:
        return f"{n:,} of {counted(self.n_precursors, 'queries')}"

    def _count_refusal(self, query_id: str, refusal: Refusal) -> None:
        self.causes[refusal.cause] += 1
        self.reasons[refusal.counted_as] += 1
        if refusal.nearest_ppm is not None:
            self.nearest_ppm.append(refusal.nearest_ppm)
        if refusal.cause is Cause.NOT_LISTED:
            self.unlisted.append(query_id)

    def summary(self) -> list[str]:
        """Return how many queries were ranked, why the others were not, and what would help."""
        lines = [str(self)]
        lines += [f"{remark}: {n:,} of the ranked" for remark, n in self.remarks.most_common()]
        return [*lines, *self.advice()]

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


def _queries(n: int) -> str:
    return counted(n, "queries are", "query is")


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(map(quoted, names))
