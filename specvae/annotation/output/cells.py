"""The cells of the tables: rows of queries, their status, numbers and lines of text."""

from __future__ import annotations

import re
from collections.abc import Iterator

from specvae.annotation.library.query import Query
from specvae.annotation.ranking.result import (
    COLUMNS,
    LEADING_EVIDENCE,
    TERM_COLUMNS,
    Annotation,
    Answer,
    QueryResult,
    Unranked,
)
from specvae.masses import deviation_ppm, ppm_width

# Six decimals keep the order of scores that differ by as little as single-precision scores can.
_DECIMALS = 6

_BEGINS_FORMULA = ("=", "+", "-", "@")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")

Cell = str | int | float | None


def rows(result: QueryResult) -> Iterator[dict[str, Cell]]:
    """Yield the rows of a query by `COLUMNS`: one per candidate, or one that says why none is."""
    query, status = result.query, status_of(result)
    shared: dict[str, Cell] = {
        "query_id": result.query_id,
        "n_candidates": result.n_candidates,
        "precursor_mz": rounded(query.precursor_mz) if query is not None else None,
        "adduct": query.adduct if query is not None else None,
        "status": status,
        "retention_time": rounded(query.spectrum.retention_time) if query is not None else None,
        "feature_id": query.feature_id if query is not None else None,
        **_nearest(result),
    }
    if isinstance(result, Unranked):
        unnamed: dict[str, Cell] = {"smiles": "", "inchikey": "", "name": ""}
        yield {column: (shared | unnamed).get(column) for column in COLUMNS}
        return
    for annotation in result.annotations:
        own: dict[str, Cell] = {
            "rank": annotation.rank,
            "smiles": annotation.smiles,
            "inchikey": annotation.inchikey,
            "name": annotation.name,
            "score": rounded(annotation.score),
            "probability": rounded(annotation.probability),
            "status": status_with(result, annotation),
            **reached_by(annotation),
            "candidate_id": annotation.id,
            "formula": annotation.formula,
            "adduct": annotation.adduct or shared["adduct"],
            "error_ppm": rounded(error_ppm(result.query, annotation)),
        }
        yield {column: (shared | own).get(column) for column in COLUMNS}


def _nearest(result: QueryResult) -> dict[str, Cell]:
    """Return the cells of the library's compound whose spectrum is most like the query."""
    if not result.analogues:
        return {}
    nearest = result.analogues[0]
    return {"analogue": nearest.title, "analogue_cosine": rounded(nearest.cosine)}


def reached_by(annotation: Annotation) -> dict[str, Cell]:
    """Return the cells with the evidence of an annotation."""
    match = annotation.match
    return {
        "evidence": LEADING_EVIDENCE[annotation.leading] if annotation.leading else None,
        "library_match": match.query_id if match is not None else None,
        "library_cosine": rounded(match.cosine) if match is not None else None,
        "library_name": (match.name or None) if match is not None else None,
        "library_adduct": (match.adduct or None) if match is not None else None,
        "level": annotation.level,
        **dict(zip(TERM_COLUMNS, map(rounded, annotation.terms), strict=False)),
    }


def error_ppm(query: Query, annotation: Annotation) -> float | None:
    """Return the query's precursor m/z minus the candidate's, in ppm of the latter."""
    ion = query.ion_named(annotation.adduct)
    if ion is None or query.precursor_mz is None or annotation.exact_mass is None:
        return None
    return deviation_ppm(query.precursor_mz, ion.precursor_mz(annotation.exact_mass))


_LARGEST_ERROR_PPM = 100.0
_LARGEST_ERROR_TH = (
    0.02  # of a precursor m/z that was rounded to two decimals, and measured roughly
)


BY_NOMINAL = "library spectrum compared by nominal masses, as one of the two is of low resolution"
"""The remark on a candidate whose library match has a cosine of nominal masses."""


def remarks_on(query: Query, annotation: Annotation) -> tuple[str, ...]:
    """Return the remarks on one candidate: on its structure, its key, its match, its mass."""
    is_nominal = annotation.match is not None and annotation.match.is_nominal
    return (
        *annotation.remarks,
        *((BY_NOMINAL,) if is_nominal else ()),
        *_misfit(query, error_ppm(query, annotation)),
    )


def _misfit(query: Query, error: float | None) -> tuple[str, ...]:
    """Return the remark on a candidate that is listed for the query and has another mass."""
    if error is None or query.precursor_mz is None or abs(error) <= _LARGEST_ERROR_PPM:
        return ()
    if ppm_width(query.precursor_mz, abs(error)) <= _LARGEST_ERROR_TH:
        return ()
    return (f"its mass does not fit the precursor m/z ({error:,.0f} ppm)",)


def status_of(result: QueryResult) -> str:
    """Return ``ok`` or why a query is not ranked, then each decision on what was ranked."""
    first = str(result.refusal) if isinstance(result, Unranked) else "ok"
    return "; ".join((first, *result.remarks))


def status_with(result: Answer, annotation: Annotation) -> str:
    """Return the status of a query, with the remarks on one of its candidates."""
    return "; ".join((status_of(result), *remarks_on(result.query, annotation)))


def rounded(value: float | None) -> float | None:
    """Return a number as it is written; None stays None."""
    # float() turns a numpy scalar, whose repr names its type, into a plain number.
    # Adding zero turns -0.0, which rounding can make, into 0.0.
    return None if value is None else round(float(value), _DECIMALS) + 0.0


def harmless(value: object) -> str:
    """Return text that a spreadsheet does not take for a formula.

    Text that begins with ``=``, ``+``, ``-`` or ``@``, or with a tab or line break before one, gets
    an apostrophe in front. A number stays as it is.
    """
    text = str(value)
    if not isinstance(value, str) or not text.lstrip().startswith(_BEGINS_FORMULA):
        return text
    return text if _NUMBER.fullmatch(text) else f"'{text}"


def one_line(value: object) -> str:
    """Return text without tabs and line breaks."""
    return re.sub(r"[\t\r\n\v\f\x1c-\x1e\x85\u2028\u2029]+", " ", str(value))
