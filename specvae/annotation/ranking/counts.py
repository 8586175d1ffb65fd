"""How often compounds are referred to, as evidence of its own: a table that the user gives."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from specvae.annotation.library.compounds import BLOCK_COLUMNS, blocks_as_candidate, compound_rows
from specvae.annotation.ranking.options import DEFAULT_COUNTS_WEIGHT
from specvae.counting import counted
from specvae.errors import InputError, nearest
from specvae.molecules.candidates import CandidateSet
from specvae.molecules.quiet import each_quietly
from specvae.molecules.structure_text import says_nothing, shown
from specvae.molecules.text_tables import column_meaning, open_text, plain_word, read_table
from specvae.molecules.workers import in_order, usable_cores
from specvae.report import ReadReport
from specvae.sources import name_of_source

UNREAD = "rows that name no compound left out"
NO_COUNT = "rows without a count taken as 0"

# Names of columns of counts of references. Columns of counts of atoms or rings, and of identifiers
# of references, must not match.
_OF_COUNTS = re.compile(
    r"counts?|.*(?:pubmed|patent|reference|article|publication|literature|datasource|citation).*"
    r"(?<!id)(?<!ids)(?<!doi)(?<!dois)(?<!year)(?<!date)(?<!title)(?<!name)(?<!url)"
)
_THOUSANDS = re.compile(r"\d{1,3}(?:[, \u00a0\u202f]\d{3})+")
_MOST = 10**12
BATCH = 500
WORTH_PROCESSES = 5_000  # rows; of fewer, a process would begin too late to help
_LIKE_NAME = 0.5
_OF_STRUCTURES = (".sdf", ".sd", ".mol", ".smi", ".smiles", ".ism", ".h5")


@dataclass(frozen=True, slots=True)
class Counts:
    r"""Numbers of references, patents or the like, by compound.

    A compound of n of them is :math:`(1 + n)^w` times as likely as one of none, before its
    spectrum is seen; in nats, relative to the mean over a query's candidates,

    .. math:: w \ln(1 + n_c) - \ln \frac{1}{C} \sum_{c'} (1 + n_{c'})^w .

    Attributes
    ----------
    by_block
        By InChIKey first block; a compound that is not there has 0.
    weight
        w.
    summary
        What was read, as a line for the user.
    """

    by_block: Mapping[str, float]
    weight: float = DEFAULT_COUNTS_WEIGHT
    summary: str = ""

    @classmethod
    def read(
        cls,
        path: Path,
        columns: Sequence[str] = (),
        weight: float = DEFAULT_COUNTS_WEIGHT,
        n_jobs: int | None = 1,
    ) -> Self:
        """Return the counts of a table of compounds.

        Parameters
        ----------
        path
            A CSV or TSV with a column of InChIKeys, first blocks, SMILES or InChI. Of several
            rows of one first block, such as stereoisomers, the largest count is taken.
        columns
            Columns of counts, which are added up. If empty, the only column that is named like
            one.
        weight
            w.
        n_jobs
            Processes that parse many structures, of rows without a key; None for one per core.

        Raises
        ------
        InputError
            If the file or a column is missing, a cell is no count, or no row names a compound.
        """
        report = ReadReport()
        names = _columns(path, columns)
        found: dict[str, float] = {}
        has_counts, first_unread = False, 0
        for row in _with_blocks(_rows(path, names, report), path, n_jobs):
            if not row.blocks:
                report.note(UNREAD)
                first_unread = first_unread or row.line
                continue
            if row.n is None:
                report.note(NO_COUNT)
            has_counts |= row.n is not None
            for block in row.blocks:
                found[block] = max(found.get(block, 0.0), row.n or 0.0)
        if not found:
            raise InputError(f"{path}: no compound found; wanted InChIKeys, first blocks or SMILES")
        if not has_counts:
            raise InputError(f"{path}: no count found in {' or '.join(names)}")
        first = {UNREAD: f", first in line {first_unread}"}
        noted = "".join(
            f"; {note} ({n:,}{first.get(note, '')})" for note, n in report.notes.items()
        )
        summary = (
            f"counts: {counted(len(found), 'compounds')} of {name_of_source(path)} "
            f"({' + '.join(names)}); one of n is (1 + n)^{weight:g} as likely as one of none{noted}"
        )
        return cls(found, weight, summary)

    def nats(self, candidates: CandidateSet) -> NDArray[np.float64]:
        """Return the evidence of the counts for a query's candidates, (n_candidates,), in nats."""
        blocks = candidates.first_block
        counts = np.array([self.by_block.get(block, 0.0) for block in blocks], np.float64)
        logs = self.weight * np.log1p(counts)
        return np.asarray(logs - np.log(np.mean(np.exp(logs - logs.max()))) - logs.max())


class _CountedRow(NamedTuple):
    """A row of a table of counts.

    Parameters
    ----------
    line
        Its place.
    n
        Its count, None if it states none.
    cells
        What names its compound.
    blocks
        First blocks of that; empty if there is none, or they are not known yet.
    """

    line: int
    n: float | None
    cells: Mapping[str, str]
    blocks: tuple[str, ...] = ()


def _rows(path: Path, names: Sequence[str], report: ReadReport) -> Iterator[_CountedRow]:
    """Yield the rows of a table, with the sum of the counts in the columns `names`."""
    for line, row in compound_rows(path, report, is_every_cell_named=True):
        numbers = [_number(path, line, name, row.get(name, "")) for name in names]
        stated = [number for number in numbers if number is not None]
        cells = {name: row[name] for name in BLOCK_COLUMNS if name in row}
        yield _CountedRow(line, math.fsum(stated) if stated else None, cells)


def _with_blocks(
    rows: Iterator[_CountedRow], path: Path, n_jobs: int | None
) -> Iterator[_CountedRow]:
    """Yield rows with their first blocks.

    Several processes share a long table, if most of its rows have structures without keys.
    """
    head = list(islice(rows, WORTH_PROCESSES))
    n_parsed = sum(says_nothing(row.cells.get("inchikey", "")) for row in head)
    n_processes = n_jobs or usable_cores()
    rows = chain(head, rows)
    batches = iter(lambda: list(islice(rows, BATCH)), [])
    read = partial(_read_batch, path)
    if n_processes > 1 and n_parsed > WORTH_PROCESSES / 2:
        each = in_order(read, batches, n_processes, "parse structures")
    else:
        each = map(read, batches)
    return chain.from_iterable(each)


def _read_batch(path: Path, rows: Sequence[_CountedRow]) -> list[_CountedRow]:
    return list(each_quietly(partial(_read_row, path), rows))


def _read_row(path: Path, row: _CountedRow) -> _CountedRow:
    with suppress(InputError):
        row = row._replace(blocks=tuple(blocks_as_candidate(path, row.line, row.cells)))
    return row._replace(cells={})


def _columns(path: Path, wanted: Sequence[str]) -> list[str]:
    """Return the columns of a table that hold counts, as its rows call them.

    Raises
    ------
    InputError
        If one is missing, or it is not clear which they are.
    """
    if path.suffix.lower() in _OF_STRUCTURES:
        raise InputError(f"{path}: a file of structures; wanted a CSV or TSV with counts")
    with open_text(path) as stream:
        names, _ = read_table(stream)
    listed = ", ".join(name[:30] for name in names[:12]) or "none"
    if len(names) > 12:
        listed += ", ..."
    words = [word.strip().lower().replace(" ", "_") for word in wanted]
    for word in words:
        if word not in names:
            alike = nearest(word, names, _LIKE_NAME)
            hint = f"; the nearest is {alike}" if alike else ""
            raise InputError(f"{path}:1: no column {word or repr(word)}; found {listed}{hint}")
        if meaning := column_meaning(word):
            raise InputError(f"{path}:1: column {word} is the {meaning}, wanted one of counts")
    found = words or [name for name in names if _OF_COUNTS.fullmatch(plain_word(name))]
    if not words and len(found) != 1:
        which = f"several columns of counts, {', '.join(found)}" if found else "no column of counts"
        raise InputError(f"{path}:1: found {which} (columns: {listed}); wanted --counts-column")
    return list(dict.fromkeys(found))


def _number(path: Path, line: int, name: str, cell: str) -> float | None:
    """Return the count that a cell states, None if it states none."""
    text = cell.strip()
    if says_nothing(text) and text != "0":
        return None
    if _THOUSANDS.fullmatch(text):
        text = re.sub(r"\D", "", text)
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not (0.0 <= number <= _MOST and number.is_integer()):
        raise InputError(
            f"{path}:{line}: {name} is {shown(cell)!r}, wanted a whole number from 0 to {_MOST:,}"
        )
    return number
