"""The ranked table as a file: CSV, TSV, JSON lines or mzTab-M."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TextIO

from specvae.annotation.output.cells import Cell, harmless, one_line, rounded, rows
from specvae.annotation.output.mztab import write_mztab
from specvae.annotation.ranking.result import COLUMNS, Answer, QueryResult
from specvae.errors import ConfigError

FORMATS = ("csv", "tsv", "jsonl", "mztab")
_DELIMITERS = {"csv": ",", "tsv": "\t"}

# Column of the summary, by its name in SIRIUS' table, -> column of the ranked table.
_COLUMN_OF = {
    "structurePerIdRank": "rank",
    "molecularFormula": "formula",
    "ionMass": "precursor_mz",
    "retentionTimeInSeconds": "retention_time",
    "mappingFeatureId": "feature_id",
}
FILE_COLUMN = "file"
"""Last column of a table of several files: the file that a query is of."""

SUMMARY_COLUMNS = (
    "query_id",
    "structurePerIdRank",
    "molecularFormula",
    "adduct",
    "InChIkey2D",
    "name",
    "smiles",
    "ionMass",
    "retentionTimeInSeconds",
    "mappingFeatureId",
    "score",
    "lead_nats",
    "probability",
    "n_candidates",
    "evidence",
    "library_match",
    "library_cosine",
    "level",
    "error_ppm",
    "candidate_id",
    "status",
    "library_name",
    "analogue",
    "analogue_cosine",
    "library_adduct",
)
"""Columns of the table with one row for each query."""


def write_annotations(
    results: Iterable[QueryResult],
    stream: TextIO,
    format: str,  # noqa: A002 - the option's name
    *,
    provenance: Mapping[str, str],
    files: Iterable[str] | None = None,
) -> None:
    """Write all rows of all queries, in the given order.

    Rows of ``csv``, ``tsv`` and ``jsonl`` are written as they come; ``mztab`` keeps its sections in
    temporary files, because its header names the spectrum files that the rows come from. Memory
    does not grow with the number of queries in either case.

    Parameters
    ----------
    results
        One entry per query.
    stream
        Text stream, opened with ``newline=""`` if it is a file.
    format
        One of `FORMATS`.
    provenance
        What made the result (model, digests, options), as text. Written by ``mztab`` only, as
        software settings; its key ``candidates``, if there, is taken as the path of the candidate
        file. The other formats hold the contract's columns and nothing else.
    files
        The file that each query is of, for a last column ``file``; None leaves it out. ``mztab``
        names the files anyway.

    Raises
    ------
    ConfigError
        If the format is unknown.
    """
    if format in _DELIMITERS:
        columns = COLUMNS if files is None else (*COLUMNS, FILE_COLUMN)
        _write_rows(all_rows(results, files), columns, stream, _DELIMITERS[format])
    elif format == "jsonl":
        _write_json_lines(results, stream, files)
    elif format == "mztab":
        write_mztab(results, stream, provenance)
    else:
        raise ConfigError(f"format is {format!r}, wanted one of {', '.join(FORMATS)}")


def write_summary(
    results: Iterable[QueryResult],
    stream: TextIO,
    format: str,  # noqa: A002 - the option's name
    files: Iterable[str] | None = None,
) -> None:
    """Write one row for each query: its best candidate, or why it has none.

    Where a column means the same as one of SIRIUS' ``structure_identifications.tsv``, it has its
    name. JSON lines also list the library's compounds with like spectra, under ``analogues``.

    Parameters
    ----------
    results
        One entry per query.
    stream
        Text stream, opened with ``newline=""`` if it is a file.
    format
        ``csv``, ``tsv`` or ``jsonl``.
    files
        As in `write_annotations`.

    Raises
    ------
    ConfigError
        If the format is another one.
    """
    columns = SUMMARY_COLUMNS if files is None else (*SUMMARY_COLUMNS, FILE_COLUMN)
    paired = _paired(results, files)
    if format in _DELIMITERS:
        summaries = (_summary(result, file) for result, file in paired)
        _write_rows(summaries, columns, stream, _DELIMITERS[format])
    elif format == "jsonl":
        for result, file in paired:
            row = {**_summary(result, file), "analogues": _analogues(result)}
            stream.write(json.dumps(row, ensure_ascii=False) + "\n")
    else:
        raise ConfigError(f"a summary cannot be {format}, wanted csv, tsv or jsonl")


def _analogues(result: QueryResult) -> list[dict[str, Cell]]:
    """Return the compounds of the library with similar spectra, the nearest first."""
    return [
        {
            "name": analogue.name or None,
            "inchikey14": analogue.first_block,
            "smiles": analogue.smiles,
            "cosine": rounded(analogue.cosine),
            "is_unlisted": analogue.is_unlisted,
        }
        for analogue in result.analogues
    ]


def _summary(result: QueryResult, file: str | None) -> dict[str, Cell]:
    best = next(rows(result))
    own: dict[str, Cell] = {}
    if isinstance(result, Answer):
        own["InChIkey2D"] = result.annotations[0].first_block
        # The list may be longer than what is shown; the second is unknown if one is shown.
        if len(result.annotations) > 1:
            first, second = result.annotations[:2]
            own["lead_nats"] = rounded(first.score - second.score)
    row = {
        column: own.get(column, best.get(_COLUMN_OF.get(column, column)))
        for column in SUMMARY_COLUMNS
    }
    return row if file is None else {**row, FILE_COLUMN: file}


def _write_rows(
    cells: Iterable[Mapping[str, Cell]], columns: Sequence[str], stream: TextIO, delimiter: str
) -> None:
    # Most readers of TSV split at every tab and newline, quoted or not.
    clean = one_line if delimiter == "\t" else str
    writer = csv.writer(stream, delimiter=delimiter, lineterminator="\n")
    writer.writerow(columns)
    for row in cells:
        writer.writerow(["" if value is None else clean(harmless(value)) for value in row.values()])


def _paired(
    results: Iterable[QueryResult], files: Iterable[str] | None
) -> Iterator[tuple[QueryResult, str | None]]:
    if files is None:
        return ((result, None) for result in results)
    return zip(results, files, strict=True)


def all_rows(
    results: Iterable[QueryResult], files: Iterable[str] | None
) -> Iterator[dict[str, Cell]]:
    """Yield the rows of a table, with the file of each query where there are several."""
    for result, file in _paired(results, files):
        for row in rows(result):
            yield row if file is None else {**row, FILE_COLUMN: file}


def _write_json_lines(
    results: Iterable[QueryResult], stream: TextIO, files: Iterable[str] | None
) -> None:
    for result, file in _paired(results, files):
        # A query's log odds for the shares of the whole run, for users who join several runs.
        answer = result if isinstance(result, Answer) else None
        odds = {
            "log_odds_known": None if answer is None else answer.log_odds_known,
            "log_odds_in_list": None if answer is None else answer.log_odds_in_list,
            "window_share": None if answer is None else answer.window_share,
        }
        named = {} if file is None else {FILE_COLUMN: file}
        stream.writelines(
            json.dumps({**row, **odds, **named}, ensure_ascii=False) + "\n" for row in rows(result)
        )
