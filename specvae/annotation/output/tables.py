"""The ranked table as a file: CSV, TSV, JSON lines or mzTab-M."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping
from typing import TextIO

from specvae.annotation.output.cells import one_line, rows
from specvae.annotation.output.mztab import write_mztab
from specvae.annotation.ranking.result import COLUMNS, Answer, QueryResult
from specvae.errors import ConfigError

FORMATS = ("csv", "tsv", "jsonl", "mztab")


def write_annotations(
    results: Iterable[QueryResult],
    stream: TextIO,
    format: str,  # noqa: A002 - the option's name
    *,
    provenance: Mapping[str, str],
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

    Raises
    ------
    ConfigError
        If the format is unknown.
    """
    if format == "csv":
        _write_delimited(results, stream, ",")
    elif format == "tsv":
        _write_delimited(results, stream, "\t")
    elif format == "jsonl":
        _write_json_lines(results, stream)
    elif format == "mztab":
        write_mztab(results, stream, provenance)
    else:
        raise ConfigError(f"format is {format!r}, wanted one of {', '.join(FORMATS)}")


def _write_delimited(results: Iterable[QueryResult], stream: TextIO, delimiter: str) -> None:
    # Most readers of TSV split at every tab and newline, quoted or not.
    clean = one_line if delimiter == "\t" else str
    writer = csv.writer(stream, delimiter=delimiter, lineterminator="\n")
    writer.writerow(COLUMNS)
    for result in results:
        for row in rows(result):
            writer.writerow(["" if value is None else clean(value) for value in row.values()])


def _write_json_lines(results: Iterable[QueryResult], stream: TextIO) -> None:
    for result in results:
        # What a query says of the shares that are of the whole run, for whoever joins runs.
        odds = {
            "log_odds_known": result.log_odds_known if isinstance(result, Answer) else None,
            "log_odds_in_list": result.log_odds_in_list if isinstance(result, Answer) else None,
        }
        stream.writelines(
            json.dumps({**row, **odds}, ensure_ascii=False) + "\n" for row in rows(result)
        )
