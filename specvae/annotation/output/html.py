"""The report: one self-contained HTML file that says why each query's first candidate is first.

The overview is a plain table. The details of a row are JSON in the page, which a script draws when
the row is opened (``page/report.js``), so that a thousand queries are quick to load.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from specvae.annotation.library.query import TAKEN_AS
from specvae.annotation.output.cells import remarks_on, status_of
from specvae.annotation.output.details import N_LISTED, N_STICKS, details
from specvae.annotation.output.drawing import Drawings, drawn_smiles
from specvae.annotation.ranking.in_list import about, best_probabilities, selection_at
from specvae.annotation.ranking.merging import MERGED
from specvae.annotation.ranking.result import (
    LEADING_EVIDENCE,
    Answer,
    QueryResult,
    Unranked,
    is_left_out,
)
from specvae.annotation.ranking.run import MOST_EXPLAINED
from specvae.annotation.ranking.told import Told
from specvae.counting import counted
from specvae.files import atomic_text

__all__ = ["N_DETAILED", "N_DRAWN", "N_DRAWN_IN_ALL", "N_LISTED", "N_STICKS", "write_report"]

# What keeps the report of many queries a file that a browser opens: about 2 kB for a drawing.
N_DRAWN = 5  # candidates drawn for one query,
N_DRAWN_IN_ALL = 2_500  # fewer if that makes more than this in the whole report, but one at least
N_DETAILED = MOST_EXPLAINED  # queries that can be opened; the others stand in the overview only

_THRESHOLDS = (0.0, 0.5, 0.9, 0.95)
_EMPTY_CELL = "\N{EN DASH}"


def write_report(
    results: Sequence[QueryResult],
    path: Path,
    *,
    title: str,
    provenance: Mapping[str, str],
    told: Told | None = None,
    files: Sequence[str] | None = None,
) -> None:
    """Write the report; it needs no network and no other file to be read.

    Parameters
    ----------
    results
        One entry per query, in the order of the file.
    path
        Written whole or not at all.
    title
        Heading of the report.
    provenance
        What made the result (digests, options, versions), listed at the end.
    told
        What the run says of all queries together.
    files
        The file that each query is of; None if all are of one.
    """
    drawings = Drawings()
    n_drawn = max(1, min(N_DRAWN, N_DRAWN_IN_ALL // max(1, len(results))))
    page = _template().generate(
        title=title,
        style=_page_file("report.css"),
        script=_page_file("report.js"),
        facts=_totals(results),
        told=told or Told(),
        unranked=_causes(results),
        selections=_selections(results),
        is_calibrated=bool(len(best_probabilities(results))),
        rows=_rows(results, drawings, files),
        n_queries=len(results),
        n_detailed=N_DETAILED,
        # Made and written one after the other; drawings come last, when all have been asked for.
        details=(_script_json(details(r, drawings, n_drawn)) for r in results[:N_DETAILED]),
        drawings=lambda: _script_json(drawings.to_json()),
        provenance=provenance,
    )
    with atomic_text(path) as stream:
        stream.writelines(page)


def _script_json(value: Any) -> str:  # noqa: ANN401
    """Return JSON in which nothing can end the script element around it."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


@lru_cache(maxsize=1)
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    return environment.from_string(_page_file("report.html"))


def _page_file(name: str) -> str:
    source = resources.files("specvae.annotation.output") / "page" / name
    return source.read_text(encoding="utf-8")


def _totals(results: Sequence[QueryResult]) -> list[str]:
    n_candidates = [r.n_candidates for r in results if isinstance(r, Answer) or is_left_out(r)]
    n_ranked = len(n_candidates)
    facts = [counted(len(results), "queries"), f"{n_ranked:,} ranked"]
    if n_left_out := sum(map(is_left_out, results)):
        facts.append(f"{n_left_out:,} of them left out by probability")
    if n_ranked < len(results):
        facts.append(f"{len(results) - n_ranked:,} not ranked")
    if n_candidates:
        middle = round(float(np.median(n_candidates)))
        facts.append(f"median {counted(middle, 'candidates')} a query")
    levels = Counter(r.annotations[0].level for r in results if isinstance(r, Answer))
    facts += [f"{n:,} at level {level}" for level, n in sorted(levels.items()) if level]
    return facts


def _causes(results: Sequence[QueryResult]) -> list[tuple[str, int]]:
    """Return why queries were not ranked, and how many each, the commonest first."""
    unranked = (r for r in results if isinstance(r, Unranked) and not is_left_out(r))
    return Counter(r.refusal.counted_as for r in unranked).most_common()


def _selections(results: Sequence[QueryResult]) -> list[dict[str, str]]:
    """Return how many first places reach a probability, and how many of those are wrong."""
    p = best_probabilities(results)
    everything = "all that are shown" if any(map(is_left_out, results)) else "all"
    rows = []
    for threshold in _THRESHOLDS if len(p) else ():
        chosen = selection_at(p, threshold)
        false = chosen.estimated_fdr
        rows.append(
            {
                "least": f"{threshold:.0%} or more" if threshold else everything,
                "n": f"{chosen.n_queries:,}",
                "right": about(chosen.n_right),
                "fdr": _EMPTY_CELL if false is None else f"{false:.1%}",
            }
        )
    return rows


@dataclass(frozen=True, slots=True)
class _Row:
    """A row of the overview, as the template shows it; numbers as text, None where unknown."""

    number: int
    query_id: str
    kind: str  # ranked as is, with a remark, or not ranked
    status: str
    n_candidates: int
    file: str = ""
    probability: float | None = None
    drawing: int | None = None
    name: str = ""
    key: str = ""
    smiles: str = ""
    formula: str = ""
    mz: float | None = None
    adduct: str = ""
    retention_time: float | None = None
    evidence: str = ""
    level: str = ""
    gap: float | None = None


def _rows(
    results: Sequence[QueryResult], drawings: Drawings, files: Sequence[str] | None
) -> Iterator[_Row]:
    """Yield the rows of the overview, the most probable first; those without, in file order."""
    numbered = list(enumerate(results, start=1))
    answers = [result for result in results if isinstance(result, Answer)]
    # What holds for each of them is told once, above the rows.
    told = (MERGED, *((TAKEN_AS,) if all(a.query.is_ion_assumed for a in answers) else ()))

    def order(item: tuple[int, QueryResult]) -> tuple[bool, float]:
        result = item[1]
        if isinstance(result, Unranked):
            return True, 0.0
        return False, -(result.annotations[0].probability or 0.0)

    for number, result in sorted(numbered, key=order):
        file = "" if files is None else files[number - 1]
        yield _row(number, result, drawings, file, told)


def _row(
    number: int, result: QueryResult, drawings: Drawings, file: str, told: tuple[str, ...]
) -> _Row:
    """Return a row; remarks that begin with one of `told` are no doubts."""
    query = result.query
    shared: dict[str, Any] = {
        "number": number,
        "query_id": result.query_id,
        "file": file,
        "status": status_of(result),
        "n_candidates": result.n_candidates,
        "mz": query.precursor_mz if query is not None else None,
        "adduct": (query.adduct if query is not None else None) or "",
        "retention_time": query.spectrum.retention_time if query is not None else None,
    }
    if isinstance(result, Unranked):
        return _Row(kind="bad", **shared)
    best = result.annotations[0]
    scores = [annotation.score for annotation in result.annotations[:2]]
    second = None if result.explanation is None else result.explanation.second
    if len(scores) < 2 and second is not None:
        scores.append(second.score)
    is_detailed = number <= N_DETAILED
    remarks = (*result.remarks, *remarks_on(result.query, best))
    doubts = [remark for remark in remarks if not remark.startswith(told)]
    shared["status"] = "; ".join(doubts)
    shared["adduct"] = best.adduct or shared["adduct"]
    return _Row(
        kind="fair" if doubts else "good",
        probability=best.probability,
        drawing=drawings.number(drawn_smiles(best)) if is_detailed else None,
        name=best.name,
        key=best.inchikey,
        smiles="" if best.name or best.inchikey else best.smiles,
        formula=best.formula or "",
        evidence=LEADING_EVIDENCE[best.leading] if best.leading else "",
        level=best.level or "",
        gap=scores[0] - scores[1] if len(scores) > 1 else None,
        **shared,
    )
