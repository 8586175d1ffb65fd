"""Files of structures: CSV, TSV and SMI, plain or gzip-compressed, read row by row."""

from __future__ import annotations

import csv
import gzip
import io
import re
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from specvae.errors import InputError, StructureError
from specvae.molecules.molecule import Molecule
from specvae.report import ReadReport, Reason

_GZIP_MAGIC = b"\x1f\x8b"
_INCHIKEY = re.compile(r"[A-Z]{14}(?:-[A-Z]{10}-[A-Z])?")
_SMI_SUFFIXES = (".smi", ".smiles", ".ism")
_TABLE_SUFFIXES = (".csv", ".tsv", ".tab", ".txt")
# A quoted cell may hold line breaks, but one that is never closed swallows the rest of the file.
_LONGEST_CELL = 50  # lines


@dataclass(frozen=True, slots=True)
class Row:
    """One usable structure of a file.

    Attributes
    ----------
    line
        Where it stands, counted from 1.
    smiles
        As written; from InChI where no SMILES is given.
    molecule
        The structure, with the key or first block that the row gives.
    """

    line: int
    smiles: str
    molecule: Molecule
    name: str
    id: str
    query_id: str


@contextmanager
def open_text(path: Path) -> Iterator[TextIO]:
    """Open a text file for reading, unpacked if it is gzip-compressed, without a byte order mark.

    Raises
    ------
    InputError
        If it is missing, a folder, empty, binary, or its compression is damaged.
    """
    try:
        with path.open("rb") as raw:
            packed = raw.read(2) == _GZIP_MAGIC
        with gzip.open(path, "rb") if packed else path.open("rb") as stream:
            start = stream.read(4096)
        if not start.strip():
            raise InputError(f"{path}: the file is empty")
        if b"\0" in start:
            raise InputError(f"{path}: not a text file; CSV, TSV or SMI is wanted")
        with gzip.open(path, "rb") if packed else path.open("rb") as stream:
            yield io.TextIOWrapper(stream, encoding="utf-8-sig", errors="replace", newline="")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise InputError(f"{path}: a folder, where a file is wanted") from None
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise InputError(f"{path}: the gzip file is damaged or cut off") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None


def read_rows(path: Path, report: ReadReport) -> Iterator[Row]:
    """Yield the usable structures of a CSV, TSV or SMI file in order.

    A table needs a column ``smiles`` or ``inchi``; ``inchikey`` (or ``inchikey14``), ``name``,
    ``id`` and ``query_id`` are used where they are there, in any case and order, others ignored.
    A given key is trusted, except for a structure of several components, of which one is kept. In
    an SMI file a line is a SMILES, then a name.

    Raises
    ------
    InputError
        If the file is not of this kind; in a strict report also at the first bad structure.
    """
    with open_text(path) as stream:
        cells = _smi_cells(stream) if _is_smi(path) else _table_cells(path, stream)
        for line, (smiles, inchi, inchikey, name, id_, query_id) in cells:
            try:
                molecule = Molecule.parse(smiles, inchi)
            except StructureError as error:
                record = id_ or name or query_id or smiles[:40] or inchi[:40] or "row"
                report.skip(str(path), line, record, Reason.BAD_STRUCTURE, str(error))
                continue
            if molecule.n_components > 1:
                report.note("largest organic component of several kept")
            elif _INCHIKEY.fullmatch(inchikey):
                molecule = molecule.with_key(inchikey)
            report.n_read += 1
            yield Row(line, smiles or molecule.smiles, molecule, name, id_, query_id)


def read_molecules(path: Path, report: ReadReport) -> Iterator[tuple[str, Molecule]]:
    """Yield name and molecule of each usable structure of a CSV, TSV or SMI file.

    The name is the row's ``id``, else its ``name``, else ``FILE#N`` with the line's number.

    Raises
    ------
    InputError
        See `read_rows`.
    """
    for row in read_rows(path, report):
        name = row.id or row.name or f"{path.name}#{row.line}"
        molecule = row.molecule.with_key("")
        if molecule.inchikey:
            yield name, molecule
        else:
            report.n_read -= 1
            report.skip(
                str(path),
                row.line,
                name,
                Reason.BAD_STRUCTURE,
                "no InChIKey can be computed for it",
            )


Cells = tuple[str, str, str, str, str, str]


def _is_smi(path: Path) -> bool:
    name = path.name.lower().removesuffix(".gz")
    if name.endswith(_SMI_SUFFIXES):
        return True
    if name.endswith(_TABLE_SUFFIXES):
        return False
    wanted = ", ".join((*_SMI_SUFFIXES[:1], *_TABLE_SUFFIXES[:2]))
    raise InputError(f"{path}: not known by its suffix; {wanted} (also .gz) are wanted")


def _smi_cells(stream: TextIO) -> Iterator[tuple[int, Cells]]:
    for number, line in enumerate(stream, start=1):
        smiles, _, name = line.strip().replace("\t", " ").partition(" ")
        is_header = number == 1 and smiles.lower() == "smiles"
        if smiles and not smiles.startswith("#") and not is_header:
            yield number, (smiles, "", "", name.strip(), "", "")


def _table_cells(path: Path, stream: TextIO) -> Iterator[tuple[int, Cells]]:
    header_line = ""
    for header_line in stream:
        if header_line.strip():
            break
    delimiter = max(",\t;", key=header_line.count)
    header = next(csv.reader([header_line], delimiter=delimiter))
    place = _find_columns(path, header)
    # The header is line 1 but for blank lines above it, which nobody counts.
    reader = csv.reader(stream, delimiter=delimiter)
    previous = 0
    try:
        for row in reader:
            if reader.line_num - previous > _LONGEST_CELL:
                raise InputError(f"{path}:{previous + 2}: a quotation mark is never closed")
            previous = reader.line_num
            if any(cell.strip() for cell in row):
                cells = [row[i].strip() if 0 <= i < len(row) else "" for i in place]
                yield reader.line_num + 1, tuple(cells)  # type: ignore[misc]
    except csv.Error as error:
        raise InputError(f"{path}:{reader.line_num + 1}: not a table: {error}") from None


def _find_columns(path: Path, header: Sequence[str]) -> list[int]:
    """Return where smiles, inchi, inchikey, name, id and query_id stand, -1 for absent."""
    found = [name.strip().lower().replace(" ", "_") for name in header]

    def place(*names: str) -> int:
        return next((found.index(name) for name in names if name in found), -1)

    columns = [
        place("smiles"),
        place("inchi"),
        place("inchikey", "inchikey14", "first_block"),
        place("name"),
        place("id"),
        place("query_id"),
    ]
    if columns[0] < 0 and columns[1] < 0:
        shown = ", ".join(name.strip()[:20] for name in header[:8])
        raise InputError(f"{path}: no column smiles or inchi among the columns {shown}")
    return columns
