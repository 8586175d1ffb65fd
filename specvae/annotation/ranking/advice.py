"""Advice on queries that have no good answer, in words for the user."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from statistics import median

from specvae.annotation.library.query import AVERAGE, ISOTOPE
from specvae.annotation.ranking.result import Cause, quoted
from specvae.annotation.ranking.tally import Tally
from specvae.annotation.ranking.told import Told
from specvae.counting import counted
from specvae.molecules.query_ids import changed_by_spreadsheet

_TOLERANCES = (5, 10, 20, 50, 100)  # ppm, that an instrument may need
_SPREAD_PPM = 5.0  # of errors that have one cause
_FEWEST_ERRORS = 3
_FEWEST_REPEATS = 10  # of a precursor m/z in a run
_LONGER_THAN_A_PEAK = 120.0  # s
_FEWEST_TAKEN = 10
_MUCH = 0.1  # of the ranked queries
_ROUGH_SHARE = 0.25  # of m/z of three decimals a tenth end with 0


def told_of(tally: Tally) -> Told:
    """Return how many queries were ranked, why the others were not, and what would help."""
    remarks = (f"{remark}: {n:,} of the ranked" for remark, n in tally.remarks.most_common())
    return Told(found=(str(tally), *remarks), advice=tuple(advice_on(tally)))


def advice_on(tally: Tally) -> list[str]:
    """Return what would help queries that have no good answer, a line for each kind."""
    lines = []
    if tally.absent is not None:
        query_id, compound, cosine = tally.absent
        whose = "its" if tally.n_absent == 1 else "their"
        lines.append(
            f"{_queries(tally.n_absent)} clearly like a compound of the library that is not among "
            f"{whose} candidates, as {whose} status says: such as {quoted(query_id)}, like "
            f"{quoted(compound)} (cosine {cosine:.2f})"
        )
    lines += _advice_on_errors(tally)
    lines += _advice_on_windows(tally)
    if 2 * tally.n_neutral > tally.n_precursors and tally.n_only_neutral > 4 * tally.n_only_ion:
        lines.append(
            f"the precursor m/z of {_share(tally, tally.n_neutral)} is the "
            "mass of a candidate itself, not of its ion: if the file states masses of "
            "molecules there, replace them by the m/z of the ions"
        )
    lines += _advice_on_cations(tally)
    if tally.nearest_ppm:
        lines.append(_advice_on_masses(tally))
        lines += _advice_on_species(tally)
    lines += _advice_on_adducts(tally)
    if tally.unlisted and tally.listed_ids:
        called = _quoted(islice(dict.fromkeys(tally.unlisted), 3))
        lines.append(
            f"{_queries(len(tally.unlisted))} not named in the candidates' column query_id: "
            f"queries are called {called}, there {_quoted(tally.listed_ids)}"
            f"{changed_by_spreadsheet(tally.listed_ids)}"
        )
    if n := tally.causes[Cause.NO_ION]:
        lines.append(
            f"{n:,} without polarity: state it with --assume-ion-mode positive or "
            "--assume-adduct '[M+H]+'"
        )
    if n := tally.causes[Cause.UNKNOWN_ADDUCT]:
        lines.append(
            f"{n:,} with an adduct that cannot be read, which the status names: correct it in "
            "the file, or leave it out there and use --assume-adduct"
        )
    return lines


def _advice_on_adducts(tally: Tally) -> list[str]:
    """Return advice where queries state no adduct, of which one was taken."""
    if tally.n_assumed:
        state = "states" if tally.n_assumed == 1 else "state"
        found = f"{tally.n_assumed:,} of these {state} no adduct"
    elif (
        tally.n_taken >= max(_FEWEST_TAKEN, _MUCH * tally.n_ranked)
        and not tally.states_adduct
        and not tally.listed_ids
    ):
        found = f"{tally.n_taken:,} of the ranked queries state no adduct"
    else:
        return []
    return [f"{found}: --try-adducts common ranks candidates of several"]


def _shown_error(tally: Tally) -> tuple[float, int] | None:
    """Return by how many ppm precursor m/z are off, as most like compounds of the library show.

    With it, how many queries agree; None where too few do.
    """
    if not tally.errors_ppm:
        return None
    error = median(tally.errors_ppm)
    n_agree = sum(abs(each - error) <= _SPREAD_PPM for each in tally.errors_ppm)
    is_shown = n_agree >= _FEWEST_ERRORS and 2 * n_agree > len(tally.errors_ppm)
    return (error, n_agree) if is_shown else None


def _advice_on_errors(tally: Tally) -> list[str]:
    """Return advice where the library shows that all precursor m/z are off by more than `ppm`."""
    shown = _shown_error(tally)
    if tally.ppm is None or tally.listed_ids or shown is None:
        return []
    error, n_agree = shown
    wider = next((ppm for ppm in _TOLERANCES if ppm > abs(error)), None)
    if abs(error) <= tally.ppm or wider is None:
        return []
    side = "above" if error > 0 else "below"
    found = (
        f"the precursor m/z of {n_agree:,} queries is some {abs(error):.0f} ppm {side} that "
        "of compounds of the library that they are clearly like, farther than --ppm "
        f"{tally.ppm:g}"
    )
    return [f"{found}: correct the m/z of the file, or try --ppm {wider}"]


def _advice_on_windows(tally: Tally) -> list[str]:
    """Return advice where precursor m/z recur through a whole run, as middles of windows do."""
    again = {
        mz: (n, first, last)
        for mz, (n, first, last) in tally.repeats.items()
        if n >= _FEWEST_REPEATS and last - first > _LONGER_THAN_A_PEAK
    }
    total = sum(n for n, _, _ in again.values())
    if 2 * total <= tally.n_precursors:
        return []
    mz, (n, first, last) = max(again.items(), key=lambda item: item[1][0])
    which = "one precursor m/z" if len(again) == 1 else f"one of {len(again):,} precursor m/z"
    line = (
        f"{_share(tally, total)} state {which} all through the run, such "
        f"as {mz:.10g} in {n:,} from {first / 60:.1f} to {last / 60:.1f} min: if no precursor "
        "was selected (DIA, SWATH, MSE), this is the middle of a window, and answers mean "
        "nothing: take spectra apart by ion first"
    )
    return [line]


def _advice_on_cations(tally: Tally) -> list[str]:
    lines = []
    if tally.n_cations:
        lines.append(
            f"the precursor m/z of {_share(tally, tally.n_cations)} is that "
            "of a candidate that is listed as a cation, and not ranked: --try-adducts "
            "'[M+H]+,[M]+' ranks both where a query states no adduct; acids among them, such "
            "as carnitine, are found as [M+H]+ where they are listed as inner salts"
        )
    if tally.n_of_charges:
        lines.append(
            f"the precursor m/z of {_share(tally, tally.n_of_charges)} is "
            "that of a candidate that is listed as a cation of several charges, and not "
            "ranked: if that is the ion, state it in the file, such as [M]2+, or by "
            "--assume-adduct"
        )
    if tally.n_bared:
        lines.append(
            f"the precursor m/z of {_share(tally, tally.n_bared)} is that "
            "of a candidate that is listed as a cation, such as an anthocyanin, without two "
            "protons, and not ranked: --try-adducts '[M-H]-,[M-2H]-' ranks both where a query "
            "states no adduct"
        )
    return lines


def _advice_on_masses(tally: Tally) -> str:
    middle = median(tally.nearest_ppm)
    n = len(tally.nearest_ppm)
    found = (
        f"{n:,} without candidates of {'its' if n == 1 else 'their'} mass; nearest: "
        f"{'' if n == 1 else 'median '}{float(f'{middle:.3g}'):,.10g} ppm"
    )
    if 2 * tally.n_coarse > n:
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
    shown = _shown_error(tally)
    if shown is not None and tally.ppm is not None and abs(shown[0]) <= tally.ppm:
        return (
            f"{found}: the compounds are not listed, or the ion species is another. The m/z of "
            f"{shown[1]:,} queries agree with compounds of the library, so no wider --ppm"
        )
    if _ROUGH_SHARE * tally.n_precursors <= tally.n_rough:
        found += (
            f", and {tally.n_rough:,} of {tally.n_precursors:,} precursors have two decimals or "
            "fewer"
        )
    if wider is None:
        return f"{found}: the compounds are not listed, or the ion species is another"
    if 2 * tally.n_rough > tally.n_precursors:
        return f"{found}: try --ppm {wider}"
    # Exact masses that are far from all candidates are mostly those of other formulas.
    return (
        f"{found}: the compounds are not listed, or, if precursors are off by so much, try "
        f"--ppm {wider}"
    )


def _advice_on_species(tally: Tally) -> list[str]:
    """Return which other ion species or isotope most queries without candidates seem to be.

    None is returned unless one is far more frequent than the others: long lists have candidates of
    about any mass, as any species.
    """
    (name, n), (_, n_next) = [*tally.as_others.most_common(2), ("", 0), ("", 0)][:2]
    if 2 * n <= len(tally.nearest_ppm) or n <= 2 * n_next:
        return []
    if name == ISOTOPE:
        found = f"{'is' if n == 1 else 'are'} at {name} of a candidate's ion, one neutron above it"
        advice = "replace such precursors by the monoisotopic m/z"
    elif name == AVERAGE:
        has = "has" if n == 1 else "have"
        found = f"{has} the average mass of a candidate's ion, over all isotopes, as m/z"
        advice = "replace such precursors by the monoisotopic m/z"
    else:
        found = f"would have candidates as {name}"
        advice = "if that is the ion, state it in the file"
    return [f"{n:,} of these {found}: {advice}"]


def _share(tally: Tally, n: int) -> str:
    return f"{n:,} of {counted(tally.n_precursors, 'queries')}"


def _queries(n: int) -> str:
    return counted(n, "queries are", "query is")


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(map(quoted, names))
