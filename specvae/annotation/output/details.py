"""What a report shows of one query when it is opened, as compact JSON values.

The page draws it: see ``page/report.js``, which names the same keys.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from specvae.annotation.evidence.ion_formation import ion_formation
from specvae.annotation.evidence.isotopes import lighter_isotopes
from specvae.annotation.evidence.items import BitEvidence, LibrarySpectrum, PeakEvidence
from specvae.annotation.evidence.library_match import LEAST_COSINE
from specvae.annotation.evidence.low_resolution import nominal
from specvae.annotation.library.query import NO_FRAGMENTS, Query
from specvae.annotation.output.cells import error_ppm, remarks_on
from specvae.annotation.output.drawing import Drawings, drawn_atoms, drawn_smiles
from specvae.annotation.ranking.result import (
    LEADING_EVIDENCE,
    TERMS,
    Annotation,
    Answer,
    QueryResult,
    Unranked,
    is_left_out,
)
from specvae.counting import counted
from specvae.errors import StructureError
from specvae.molecules.molecule import Molecule
from specvae.molecules.tautomers import may_be_tautomers
from specvae.spectra.adducts import Adduct

N_LISTED = 25
"""Candidates listed for one query."""

N_STICKS = 200
"""Peaks drawn of one spectrum, the highest."""

LEAST_DIFFERENCE = 0.05
"""Nats: a term that differs by less between two candidates is shown as without effect."""

TERM_NAMES = {
    "fingerprint": "predicted fingerprint",
    "analogues": "similar compounds of the library",
    "fragments": "fragments",
    "library": "own library spectra",
    "nearness": "nearness to the library",
    "retention": "retention time",
    "mass": "error of precursor m/z",
}
"""What the report calls the terms of a score."""

WHOLE_NAME = "how readily it stays whole"
"""The report's name of the term of fragments for a query without fragments."""

ADDUCT_NAME = "how likely the adduct is"
"""The report's name of the part of the score from adducts' shares, where several were tried."""

MASS_NAME = "whether its mass is the query's"
"""The report's name of the penalty on a candidate of quite another mass."""

FORMATION_NAME = "how readily it becomes the ion"
"""The report's name of the part for ion species that a structure's functional groups form."""

COUNTS_NAME = "how well known it is (--counts)"
"""The report's name of the part from counts of references."""

_N_COMPARED = 3  # candidates behind the first that may be its tautomers
_NOTED_LEAD = 0.5  # nats
_FAR = 50.0  # nats: more than evidence comes to
_N_BITS = 8
_N_PLACES = 4  # of one bit that are marked
_CARBON_13 = "\N{SUPERSCRIPT ONE}\N{SUPERSCRIPT THREE}C"


def details(result: QueryResult, drawings: Drawings, n_drawn: int) -> dict[str, Any]:
    """Return what is shown of a query when it is opened.

    Parameters
    ----------
    result
        The outcome of the query.
    drawings
        Where structures are drawn once for the whole page.
    n_drawn
        Candidates that are drawn; the first and the one that it is compared with always are.
    """
    shown: dict[str, Any] = {"id": result.query_id}
    if result.query is not None:
        drawn = _drawn(result.query, result)
        shown["facts"] = facts(result)
        shown["query"] = _sticks(drawn)
    if isinstance(result, Unranked):
        shown["why"] = f"{'Left out' if is_left_out(result) else 'Not ranked'}: {result.refusal}."
        shown["near"] = _analogues(result, drawings)
        return shown
    explanation = result.explanation
    shown["why"] = why_first(result)
    shown["candidates"] = [
        _candidate(result, annotation, drawings, is_drawn=place < n_drawn)
        for place, annotation in enumerate(result.annotations[:N_LISTED])
    ]
    shown["below"] = result.n_candidates - min(len(result.annotations), N_LISTED)
    shown["near"] = _analogues(result, drawings)
    if explanation is None:
        return shown
    first, second = result.annotations[0], explanation.second
    drawn = _drawn(result.query, result)
    shown["terms"] = _terms(first, second, result.query)
    shown["first"] = _explained(first, explanation.peaks, drawn, drawings)
    if second is not None:
        shown["rival"] = _candidate(result, second, drawings, is_drawn=True)
        shown["second"] = _explained(second, explanation.second_peaks, drawn, drawings)
        shown["bits"] = [
            _bit(bit, first if bit.first_has_it else second, drawings)
            for bit in explanation.bits[:_N_BITS]
        ]
    if explanation.library is not None:
        shown["library"] = _library(explanation.library, result, drawings)
    return shown


def facts(result: QueryResult) -> list[str]:
    """Return what is known of a query's ion and acquisition, and how many candidates it has.

    Of a feature whose spectra were merged, that spectrum counts which is drawn.
    """
    found: list[str] = []
    if result.query is not None:
        query = _drawn(result.query, result)
        spectrum = query.spectrum
        if query.merged:
            n = 1 + len(query.merged)
            found.append(f"{spectrum.query_id}, one of the feature's {n:,} spectra")
        if query.precursor_mz is not None:
            found.append(f"precursor m/z {query.precursor_mz:.4f}")
        best = result.annotations[0].adduct if isinstance(result, Answer) else None
        if adduct := best or query.adduct:
            found.append(adduct)
        if spectrum.name and spectrum.name != spectrum.query_id:
            found.append(spectrum.name)
        if spectrum.collision_energy is not None:
            found.append(f"{spectrum.collision_energy:g} eV")
        elif spectrum.normalized_collision_energy is not None:
            found.append(f"{spectrum.normalized_collision_energy:g} % normalized energy")
        if spectrum.retention_time is not None:
            found.append(f"{spectrum.retention_time:.1f} s")
        found.append(counted(spectrum.n_peaks, "peaks"))
    found.append(counted(result.n_candidates, "candidates"))
    return found


def _drawn(query: Query, result: QueryResult) -> Query:
    """Return a query with that of its spectra which is drawn."""
    if isinstance(result, Unranked) or result.explanation is None:
        return query
    return replace(query, spectrum=result.explanation.spectrum or query.spectrum)


def signed(value: float) -> str:
    """Return nats with their sign, and a typographic minus."""
    return f"{value:+.2f}".replace("-", "\N{MINUS SIGN}")


def why_first(answer: Answer) -> str:
    """Return a sentence or two on why the first candidate ranks above the second."""
    first = answer.annotations[0]
    n_tied = sum(a.score == first.score for a in answer.annotations)
    if n_tied > 1:
        return (
            f"{n_tied} candidates tie for the first place: nothing that was looked at tells them "
            "apart."
        )
    second = _second(answer)
    if second is None:
        return "The only candidate of this query: it is compared with nothing."
    gap = first.score - second.score
    name = second.name or second.inchikey or second.smiles
    lead = f"Ahead of {name} by {gap:.2f} nats"
    if not first.terms or not second.terms:
        if others := _beside_fingerprint(first, second, answer.query):
            named = " and ".join(("the predicted fingerprint", *others))
            return f"{lead}, by {named}, and nothing else."
        return f"{lead}, by the predicted fingerprint, which alone is ranked by."
    terms = _parts(first, second, answer.query)
    moved = {name: a - b for name, a, b in terms if abs(a - b) >= LEAST_DIFFERENCE}
    moves = ", ".join(
        f"{name} {signed(value)}"
        for name, value in sorted(moved.items(), key=lambda item: -abs(item[1]))
    )
    silent = [name for name, _, _ in terms if name not in moved]
    sentence = (
        f"{lead}: {moves}." if moves else f"{lead}: every kind of evidence moves it by little."
    )
    if silent and moves:
        sentence += f" Without effect: {', '.join(silent)}."
    sentence += _if_hardly_alike(first, moved.get(TERM_NAMES["library"], 0.0))
    return sentence + _if_tautomers(answer)


def _beside_fingerprint(first: Annotation, second: Annotation, query: Query) -> list[str]:
    """Return further differences of two candidates that are ranked by the fingerprint."""
    others = [] if first.counts is None else [COUNTS_NAME]
    if first.adduct is not None:
        return [*others, ADDUCT_NAME]
    masses = [one.exact_mass for one in (first, second) if one.exact_mass is not None]
    if query.may_have(np.array(masses)).tolist() == [True, False]:
        return [*others, MASS_NAME]
    if query.ion and _differ_in_formation(first, second, query.ion):
        return [*others, FORMATION_NAME]
    return others


def _if_tautomers(answer: Answer) -> str:
    """Return a sentence if the next candidates may be the first one in another form."""
    first, *others = answer.annotations[: 1 + _N_COMPARED]
    if not others and (second := _second(answer)) is not None:
        others = [second]
    same = [other for other in others if _may_be_tautomers(first, other)]
    if not same:
        return ""
    ranks = " and ".join(str(other.rank) for other in same)
    who = f"Rank {ranks} may be a tautomer" if len(same) == 1 else f"Ranks {ranks} may be tautomers"
    chances = [each.probability for each in (first, *same) if each.probability is not None]
    together = (
        f": together they have {100 * sum(chances):.0f} %" if len(chances) > len(same) else ""
    )
    return f" {who} of the first{together}."


def _may_be_tautomers(first: Annotation, other: Annotation) -> bool:
    if first.molecule is None or other.molecule is None or first.formula != other.formula:
        return False
    return may_be_tautomers(first.molecule.mol, other.molecule.mol)


def _if_hardly_alike(first: Annotation, lead: float) -> str:
    """Return a sentence if the first candidate leads only because the library has spectra of it.

    `lead` is its lead by own library spectra, in nats.
    """
    match = first.match
    if match is None or match.cosine >= LEAST_COSINE or lead < _NOTED_LEAD:
        return ""
    return (
        " Its library spectra are hardly like the query "
        f"(cosine {match.cosine:.2f}): what counts is that the library has it."
    )


def _second(answer: Answer) -> Annotation | None:
    if answer.explanation is not None:
        return answer.explanation.second
    return answer.annotations[1] if len(answer.annotations) > 1 else None


def _sticks(query: Query) -> dict[str, Any]:
    spectrum = query.spectrum
    mz, height = _highest(spectrum.mz, spectrum.relative_intensity)
    return {"mz": mz, "height": height, "precursor": _rounded(query.precursor_mz, 4)}


def _highest(
    mz: NDArray[np.float64], relative: NDArray[np.float64]
) -> tuple[list[float], list[float]]:
    """Return m/z (Th) and heights (percent of the highest) of the peaks that are drawn, by m/z."""
    kept = np.sort(np.argsort(-relative, kind="stable")[:N_STICKS])
    # Not by numpy, which rounds ties in another way than `round`: peaks are found by their m/z.
    return [round(at, 4) for at in mz[kept].tolist()], np.round(100 * relative[kept], 1).tolist()


def _candidate(
    answer: Answer, annotation: Annotation, drawings: Drawings, *, is_drawn: bool
) -> dict[str, Any]:
    values = {
        "rank": annotation.rank,
        "name": annotation.name,
        "key": annotation.inchikey,
        "smiles": annotation.smiles,
        "formula": annotation.formula,
        "ppm": _rounded(error_ppm(answer.query, annotation), 2),
        "score": _rounded(annotation.score, 2),
        "gap": _rounded(annotation.score - answer.annotations[0].score, 2),
        "p": _rounded(annotation.probability, 6),
        "level": annotation.level,
        "evidence": LEADING_EVIDENCE[annotation.leading] if annotation.leading else None,
        "cosine": None if annotation.match is None else _rounded(annotation.match.cosine, 2),
        "id": annotation.id,
        "adduct": annotation.adduct,
        "remarks": list(remarks_on(answer.query, annotation)),
    }
    number = drawings.number(drawn_smiles(annotation)) if is_drawn else None
    kept = {key: value for key, value in values.items() if value not in (None, "", [])}
    if number is not None:
        kept["drawing"] = number
        del kept["smiles"]
    return kept


def _terms(first: Annotation, second: Annotation | None, query: Query) -> list[list[Any]]:
    """Return a row for each term: name, terms of both in nats, whether it had an effect."""
    if second is None or not second.terms:
        alone = _parts(first, first, query)
        return [[name, round(ours, 4), None, False] for name, ours, _ in alone]
    return [
        [name, round(ours, 4), round(theirs, 4), abs(ours - theirs) >= LEAST_DIFFERENCE]
        for name, ours, theirs in _parts(first, second, query)
    ]


def _parts(first: Annotation, second: Annotation, query: Query) -> list[tuple[str, float, float]]:
    """Return name and size (nats) of the terms that make up two scores.

    The terms of the run, counts of references and adducts' shares are included if they count. So
    are the penalties on a candidate of quite another mass, or one that hardly forms the ion.
    """
    if not first.terms:
        return []
    names = TERM_NAMES
    if NO_FRAGMENTS in query.remarks:  # of several spectra, on all of them
        names = TERM_NAMES | {"fragments": WHOLE_NAME}
    parts = [
        (names[term], ours, theirs)
        for term, ours, theirs in zip(TERMS, first.terms, second.terms, strict=True)
        if term not in ("retention", "mass") or ours != 0.0 or theirs != 0.0
    ]
    if first.counts is not None:
        parts.append((COUNTS_NAME, first.counts, second.counts or 0.0))
    ours, theirs = (one.score - sum(one.terms) - (one.counts or 0.0) for one in (first, second))
    if first.adduct is not None:
        parts.append((ADDUCT_NAME, ours, theirs))
    elif max(abs(ours), abs(theirs)) >= LEAST_DIFFERENCE:
        parts.append((MASS_NAME if abs(ours - theirs) > _FAR else FORMATION_NAME, ours, theirs))
    return parts


def _differ_in_formation(first: Annotation, second: Annotation, ion: Adduct) -> bool:
    try:
        both = [one.molecule or Molecule.parse(one.smiles) for one in (first, second)]
    except StructureError:  # of a file that was written elsewhere
        return False
    return bool(np.ptp(ion_formation(both, ion)))


def _explained(
    annotation: Annotation, peaks: Sequence[PeakEvidence], query: Query, drawings: Drawings
) -> dict[str, Any]:
    """Return the peaks that a candidate explains, and its fragments, each once.

    ``peaks`` holds index of the peak among those that are drawn, formula, error (ppm), gain (nats)
    and number of the fragment; ``fragments`` the atoms of each in the drawing.
    """
    places = drawn_atoms(annotation)
    spectrum = query.spectrum
    drawn_mz, _ = _highest(spectrum.mz, spectrum.relative_intensity)
    isotopes = _isotopes(query)
    index = {mz: n for n, mz in enumerate(drawn_mz)}
    fragments: dict[tuple[int, ...], int] = {}
    rows = []
    for peak in peaks:
        stick = index.get(round(peak.mz, 4))
        if stick is None:
            continue
        atoms = _moved(peak.atoms, places)
        number = fragments.setdefault(atoms, len(fragments))
        ion = peak.formula + isotopes.get(round(peak.mz, 4), "")
        rows.append([stick, ion, round(peak.error_ppm, 1), _rounded(peak.gain, 2), number])
    return {
        "drawing": drawings.number(drawn_smiles(annotation)),
        "peaks": rows,
        "fragments": [list(atoms) for atoms in fragments],
    }


def _isotopes(query: Query) -> dict[float, str]:
    """Return the notes on peaks that may be isotopes of others, by m/z."""
    if query.ion is not None and abs(query.ion.charge) > 1:
        return {}
    mz = query.spectrum.mz
    lighter = lighter_isotopes(mz, query.spectrum.intensity)
    return {
        round(float(mz[peak]), 4): f" or {_CARBON_13} of {mz[lighter[peak]]:.4f}"
        for peak in np.flatnonzero(lighter >= 0)
    }


def _bit(bit: BitEvidence, owner: Annotation, drawings: Drawings) -> dict[str, Any]:
    places = drawn_atoms(owner)
    marked = [_moved(atoms, places) for atoms in bit.places[:_N_PLACES]]
    return {
        "title": bit.title,
        "fragment": bit.fragment,
        "n": len(bit.places),
        "p": round(bit.probability, 5),
        "first": bit.first_has_it,
        "gain": round(bit.gain, 2),
        "drawing": drawings.number(drawn_smiles(owner)),
        "atoms": [list(atoms) for atoms in marked],
    }


def _moved(atoms: Sequence[int], places: Mapping[int, int]) -> tuple[int, ...]:
    return tuple(sorted(places[atom] for atom in atoms if atom in places))


def _library(library: LibrarySpectrum, answer: Answer, drawings: Drawings) -> dict[str, Any]:
    mz, height = _highest(library.peaks.mz, library.peaks.relative_intensity)
    shown = {
        "own": library.is_own,
        "id": library.query_id,
        "adduct": library.adduct,
        "name": library.name or _name_of(library.first_block, answer),
        "key": library.first_block,
        "cosine": round(library.cosine, 2),
        "shared": library.n_shared,
        "drawing": drawings.number(library.smiles),
        "mz": mz,
        "height": height,
        "width": library.peaks.bin_width,
        "shift": round(library.shift, 4),
    }
    if library.is_nominal:
        ours = _sticks(_drawn(answer.query, answer))["mz"]
        shown["nominal"] = _of_one_nominal_mass(ours, mz)
    return shown


def _of_one_nominal_mass(ours: Sequence[float], theirs: Sequence[float]) -> list[list[int]]:
    """Return which peaks of either spectrum share a nominal mass with a peak of the other one."""
    masses = [nominal(np.array(mz)) for mz in (ours, theirs)]
    return [
        np.flatnonzero(np.isin(these, others)).tolist()
        for these, others in (masses, reversed(masses))
    ]


def _analogues(result: QueryResult, drawings: Drawings) -> list[dict[str, Any]]:
    return [
        {
            "key": analogue.first_block,
            "name": analogue.name or _name_of(analogue.first_block, result),
            "cosine": round(analogue.cosine, 2),
            "drawing": drawings.number(analogue.smiles),
            "smiles": analogue.smiles,
        }
        for analogue in result.analogues
    ]


def _name_of(first_block: str, result: QueryResult) -> str:
    """Return the name of a compound among the candidates; empty if it is none that are shown."""
    if isinstance(result, Unranked):
        return ""
    return next((a.name for a in result.annotations if a.first_block == first_block), "")


def _rounded(value: float | None, decimals: int) -> float | None:
    return None if value is None or math.isnan(value) else round(float(value), decimals) + 0.0
