"""Files of structures: CSV, TSV, SMI and SDF, plain or compressed, as the text of their rows."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

from specvae.compression import COMPRESSED_SUFFIXES, uncompressed_name
from specvae.errors import InputError
from specvae.molecules.sd_files import begins_with_drawing, sd_cells
from specvae.molecules.structure_text import changes_atoms, is_divided, is_smiles, leaves_atoms_open
from specvae.molecules.text_tables import (
    COLUMNS,
    DELIMITERS,
    PLAIN_NAME,
    Cells,
    Lines,
    begins_inchi,
    column_meaning,
    first_stated,
    is_cut_inchi,
    is_inchi,
    is_preface,
    open_text,
    plain_word,
    read_table,
    table_rows,
)
from specvae.molecules.wide_tables import one_cell_each, one_structure_each, with_merged_ids
from specvae.report import ReadReport, Reason

INCHIKEY = re.compile(r"[A-Z]{14}(?:-[A-Z]{10}-[A-Z])?")
# PubChem's CID-SMILES and CID-InChI-Key.
_CID_LINE = re.compile(r"(?P<cid>\d+)\t(?P<text>[^\t]+)(?:\t(?P<key>[A-Z]{14}-[A-Z]{10}-[A-Z]))?")
_SDF_SUFFIXES = (".sdf", ".sd", ".mol")
_SMI_SUFFIXES = (".smi", ".smiles", ".ism")
_TABLE_SUFFIXES = (".csv", ".tsv", ".tab", ".txt", ".psv")
# Other formats of tables by suffix, with advice.
_OTHER_FILES = {
    **dict.fromkeys((".xlsx", ".xlsm", ".xls", ".ods"), "a workbook: save its sheet as CSV"),
    **dict.fromkeys((".zip", ".7z"), "an archive: unpack it, or use gzip, bzip2 or xz"),
    **dict.fromkeys((".json", ".jsonl", ".parquet", ".feather"), "no table of text: write a CSV"),
}
_SHORTEST_STRUCTURE = 5  # letters: the SMILES CONC may be the name of a column
_EXTENSION = re.compile(r"\|[^|]*\|\s*")  # ChemAxon's, behind a SMILES
# Columns that may name queries. Rows are of one query only where the column is called query_id.
# "query_id_x" is what pandas makes of it where tables are joined.
_OF_QUERIES = re.compile(
    r"query(?:name|title|id.*)?|(?:mapping)?featureid|scan(?:number)?"
    r"|(?:spectrum|challenge)(?:name)?|spectrumtitle"
)


def read_cells(path: Path, report: ReadReport) -> Iterator[tuple[int, Cells]]:
    """Yield line and cells of each row of a file of structures, before any is parsed.

    Parameters
    ----------
    path
        See `read_rows`, also for errors.
    report
        Where it is noted how a row was read.
    """
    kind = _kind_of(path)
    with open_text(path) as stream:
        head = list(itertools.islice(stream, 4))
        lines = itertools.chain(head, stream)
        # What a pipe brings has no suffix.
        if kind == "sdf" or (kind == "table" and begins_with_drawing(head)):
            yield from sd_cells(path, lines, report)
        elif kind == "smi":
            yield from _smi_cells(lines)
        else:
            yield from _table_cells(path, lines, report)


def _kind_of(path: Path) -> str:
    """Return ``smi``, ``sdf`` or ``table``, by the file's name.

    PubChem's lists of all compounds have no suffix: ``CID-SMILES.gz``.
    """
    name = uncompressed_name(path)
    if name.endswith(_SMI_SUFFIXES):
        return "smi"
    if name.endswith(_SDF_SUFFIXES):
        return "sdf"
    if name.endswith(_TABLE_SUFFIXES) or name.startswith("cid-"):
        return "table"
    if path.is_dir():
        raise InputError(f"{path}: a folder, where a file is wanted")
    wanted = ", ".join((*_SMI_SUFFIXES[:1], *_TABLE_SUFFIXES[:2], *_SDF_SUFFIXES[:1]))
    also = ", ".join(COMPRESSED_SUFFIXES)
    found = _OTHER_FILES.get(path.suffix.lower(), "not known by its suffix")
    raise InputError(f"{path}: {found}; {wanted} (also {also}) are wanted")


def _smi_cells(stream: Iterable[str]) -> Iterator[tuple[int, Cells]]:
    may_be_header = True
    for number, line in enumerate(stream, start=1):
        smiles, _, name = line.strip().replace("\t", " ").partition(" ")
        if not smiles or smiles.startswith("#"):
            continue
        if not (may_be_header and column_meaning(smiles) == "smiles"):
            name = name.strip()
            is_more = leaves_atoms_open(name) or changes_atoms(name)
            if is_more or is_divided((smiles, *name.split(maxsplit=2))):
                smiles = f"{smiles} {name}"
            yield number, Cells(smiles, name=_EXTENSION.sub("", name, count=1))
        may_be_header = False


def _table_cells(
    path: Path, stream: Iterator[str], report: ReadReport
) -> Iterator[tuple[int, Cells]]:
    first_line, n_before = "", 0
    for first_line in stream:
        if not is_preface(first_line):
            break
        n_before += 1
    # Rows keep their numbers.
    lines = itertools.chain(itertools.repeat("\n", n_before), [first_line], stream)
    if _cells_without_header(first_line):
        yield from _pubchem_cells(lines)
        return
    if _is_list(first_line):
        if not column_meaning(first_line.split()[0]):
            report.note(NO_HEADER)
        yield from _smi_cells(lines)
        return
    begun = [first_line, *itertools.islice(stream, _LOOKED_AT - 1)]
    lines = itertools.chain(itertools.repeat("\n", n_before), begun, stream)
    if (unnamed := _unnamed_columns(begun)) is not None:
        report.note(NO_NAMES)
        rows = table_rows(Lines(lines), unnamed.delimiter, unnamed.n_columns, report)
        yield from _cells_of_rows(path, unnamed.n_columns, rows, unnamed.places, report)
        return
    header, rows = one_structure_each(*read_table(lines, report), report)
    columns = _find_columns(path, header, report, first_line)
    cells = _cells_of_rows(path, len(header), rows, columns, report)
    yield from one_cell_each(with_merged_ids(cells, report), report)


def _pubchem_cells(lines: Iterable[str]) -> Iterator[tuple[int, Cells]]:
    """Yield a list of PubChem: CID, then SMILES, or InChI and InChIKey; no names of columns."""
    for number, line in enumerate(lines, start=1):
        if line.strip():
            yield number, _cells_without_header(line) or Cells(line.strip())


def _cells_of_rows(
    path: Path,
    n_columns: int,
    rows: Iterator[tuple[int, list[str]]],
    columns: Sequence[Sequence[int]],
    report: ReadReport,
) -> Iterator[tuple[int, Cells]]:
    """Yield the cells of the rows of a table, given its columns (`_find_columns`)."""
    place = [found[0] for found in columns]
    first = min(i for i in place[:2] if i >= 0)
    cells_of = _chosen_from(columns)
    for number, row in rows:
        if len(row) == n_columns:
            row.append("")  # the place of absent columns, -1
            yield number, cells_of(row)
            continue
        if len(row) > n_columns and any(row[n_columns:]):
            if first > 0 or place[-1] > 0 or is_cut_inchi(row[first]):
                # The cells behind the odd separator are not those of their columns.
                detail = (
                    f"found {len(row)} cells, wanted {n_columns} as in the header: quotation "
                    "marks are missing around a cell"
                )
                record = " ".join(row)[:40]
                report.skip(str(path), number, record, Reason.BAD_STRUCTURE, detail)
                continue
            report.note("row with more cells than the header has")
        row = row[:n_columns]
        yield number, cells_of(row + [""] * (n_columns - len(row) + 1))


def _chosen_from(columns: Sequence[Sequence[int]]) -> Callable[[Sequence[str]], Cells]:
    """Return a function from a row to its cells: for each field the first one that is not empty."""
    if any(len(places) > 1 for places in columns):
        return lambda row: Cells._make(first_stated([row[i] for i in p]) for p in columns)
    chosen = itemgetter(*(place for (place,) in columns))
    return lambda row: Cells._make(chosen(row))


def _cells_without_header(line: str) -> Cells | None:
    """Return the cells of a line of PubChem's lists; None for any other."""
    found = _CID_LINE.fullmatch(line.strip())
    if found is None:
        return None
    text, key = found["text"], found["key"] or ""
    if text.startswith("InChI="):
        return Cells(inchi=text, inchikey=key, id=found["cid"])
    return Cells(text, inchikey=key, id=found["cid"])


NO_HEADER = "no names of columns, read as a list of structures"


def _is_list(line: str) -> bool:
    """Return whether the first line of a file is a structure, and a name behind a blank or none.

    So is ``smiles name``, which names what blanks divide.
    """
    text, *others = line.split() or [""]
    if text.startswith("InChI="):
        return "\t" not in line and is_inchi(text)  # not with further cells behind a comma
    if any(mark in line for mark in DELIMITERS):
        return False
    meanings = set(map(column_meaning, others))
    is_plain = bool(PLAIN_NAME.fullmatch(text.lstrip("#")))
    if is_plain and column_meaning(text) == "smiles" and not column_meaning(line):
        return meanings <= {"", "name", "id"}
    return _is_structure(text) and "smiles" not in meanings  # no header, as is "NO SMILES"


NO_NAMES = "no names of columns, told by what stands in them"
_LOOKED_AT = 30  # rows, to tell columns without names


class _UnnamedColumns(NamedTuple):
    """Columns without names: their separator, their number, and the place of each field."""

    delimiter: str
    n_columns: int
    places: list[list[int]]


def _unnamed_columns(lines: Sequence[str]) -> _UnnamedColumns | None:
    """Return the columns of a table without names, None if their meaning is not certain.

    One of them holds a structure in each row, one may hold InChIKeys, and one other names, each of
    one structure: the same name in several rows may be that of a query.
    """
    if any(map(column_meaning, re.split(f"[{DELIMITERS}]", lines[0]))):
        return None
    for delimiter in DELIMITERS:
        table = [row for _, row in table_rows(Lines(lines), delimiter, 2, None)]
        n_columns = len(table[0]) if table else 0
        if not 1 < n_columns < 4 or any(len(row) != n_columns for row in table):
            continue
        kinds = [_kind_of_column(column) for column in zip(*table, strict=True)]
        found = {kind: [kinds.index(kind)] for kind in kinds if kinds.count(kind) == 1}
        is_certain = len(found) == n_columns and "" not in found
        if is_certain and ("smiles" in found) != ("inchi" in found):
            return _UnnamedColumns(
                delimiter, n_columns, [found.get(field, [-1]) for field in COLUMNS]
            )
    return None


def _kind_of_column(texts: Sequence[str]) -> str:
    """Return the field of `Cells` that a column without a name must be, "" for none."""
    if all(map(INCHIKEY.fullmatch, texts)):
        return "inchikey"
    if all(map(_is_structure, texts)) and not any(map(is_cut_inchi, texts)):
        return "inchi" if all(map(begins_inchi, texts)) else "smiles"
    is_name = not any(map(_DECIMAL.fullmatch, texts)) and len(set(texts)) == len(texts)
    return "name" if is_name and not any(map(begins_inchi, texts)) else ""


_DECIMAL = re.compile(r"\s*|[-+]?\d*\.\d+(?:[eE][-+]?\d+)?")  # a mass, or nothing


def _is_structure(text: str) -> bool:
    """Return whether a text that may be a column's name is a structure."""
    if not text or column_meaning(text):
        return False
    return text.startswith("InChI=") or is_smiles(text)


def _find_columns(
    path: Path, header: Sequence[str], report: ReadReport, header_line: str
) -> list[list[int]]:
    """Return where smiles, inchi, inchikey, name, id and query_id stand, best first; [-1] if none.

    A row whose best column is empty may have the value in another. Where no name of a structure's
    column is known, the only one that speaks of SMILES, or of InChI, is taken, which is noted.
    """
    words = [plain_word(name) for name in header]
    columns = [
        [n for name in spellings for n, word in enumerate(words) if word == name] or [-1]
        for spellings in COLUMNS.values()
    ]
    inside = set(map(column_meaning, re.split(f"[{DELIMITERS}]", "".join(header[:1])))) - {""}
    if len(header) == 1 and len(inside) > 1:
        raise InputError(
            f"{path}: quotation marks around whole lines ({header_line.strip()[:60]}), which makes "
            "one cell of each; wanted none, or some around each cell"
        )
    if len(header) == 1 and len(set(map(column_meaning, header_line.split())) - {""}) > 1:
        raise InputError(
            f"{path}: blanks between the names of columns ({header_line.strip()[:60]}); wanted "
            "commas or tabs"
        )
    for place, spelling in enumerate(("smiles", "inchi")):
        if columns[0] == columns[1] == [-1]:
            alike = [
                n
                for n, (name, word) in enumerate(zip(header, words, strict=True))
                if spelling in word and "key" not in word and PLAIN_NAME.fullmatch(name)
            ]
            if len(alike) == 1:
                columns[place] = alike
                report.note(f"column {header[alike[0]]} taken for {spelling}")
    if columns[0] == columns[1] == [-1]:
        texts = (text.strip("\"'") for text in re.split(f"[{DELIMITERS} ]", header_line.strip()))
        if any(len(text) >= _SHORTEST_STRUCTURE and _is_structure(text) for text in texts):
            raise InputError(
                f"{path}: its first line is a structure; wanted names of columns before it, such "
                "as smiles,name"
            )
        shown = ", ".join(name[:20] for name in header[:8])
        raise InputError(f"{path}: no column smiles or inchi among the columns {shown}")
    if columns[-1] == [-1] and (
        named := [n for n, w in zip(header, words, strict=True) if _OF_QUERIES.fullmatch(w)]
    ):
        report.note(f"column {named[0]} not used: only query_id says whose candidates rows are")
    uses = {n: f for f, found in zip(COLUMNS, columns, strict=True) for n in found}
    report.columns |= {name: uses.get(n, "") for n, name in enumerate(header)}
    return columns
