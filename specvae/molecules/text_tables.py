"""Tables of text, plain or compressed: their lines, columns and cells."""

from __future__ import annotations

import csv
import io
import itertools
import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple, TextIO

from rdkit import Chem

from specvae.compression import DECOMPRESSION_ERRORS, open_decompressed
from specvae.errors import InputError
from specvae.limits import limits
from specvae.molecules.quiet import quiet_rdkit
from specvae.molecules.structure_text import LINE_END, is_of_polymer, is_smiles, says_nothing
from specvae.report import ReadReport
from specvae.sources import no_such_file, stand_in
from specvae.text_encoding import AS_WINDOWS_TEXT, utf_16_of

CONTROL = re.compile(r"[\x00-\x1f\x7f]")
DELIMITERS = ",\t;|"
# A quoted cell may hold line breaks, but a mark that is never closed must not swallow the file.
_LONGEST_CELL = 50  # lines
_ZIP = b"PK\x03\x04"
# By field of `Cells`: column names without punctuation, of those that are there the first is taken.
# They are ours, then those of PubChem (tables, SD files), COCONUT, HMDB, FooDB, MetFrag, MS-FINDER,
# GNPS, LOTUS, NPAtlas, SwissLipids, NORMAN and CompTox, whose MS-ready structures lack salts and
# stereochemistry.
COLUMNS: Mapping[str, tuple[str, ...]] = {
    "smiles": (
        "smiles", "isomericsmiles", "smilesisomeric", "isosmiles", "canonicalsmiles",
        "smilescanonical", "pubchemsmiles", "pubchemopeneyeisosmiles", "pubchemopeneyecansmiles",
        "uniquesmiles", "absolutesmiles", "pubchemabsolutesmiles", "connectivitysmiles",
        "pubchemconnectivitysmiles", "structuresmiles", "compoundsmiles", "moldbsmiles",
        "msreadysmiles", "qsarreadysmiles", "smilesstring",
    ),
    "inchi": (
        "inchi", "standardinchi", "stdinchi", "pubchemiupacinchi", "inchiidentifier", "inchistring",
        "inchicode", "structureinchi", "compoundinchi", "moldbinchi",
    ),
    "inchikey": (
        "inchikey", "inchikey14", "firstblock", "inchikeyfirstblock", "standardinchikey",
        "stdinchikey", "pubchemiupacinchikey", "structureinchikey", "compoundinchikey",
        "moldbinchikey", "inchikey2d", "inchikey1", "shortinchikey", "inchikeyblock1",
    ),
    "name": (
        "name", "compoundname", "compoundnames", "cmpdname", "genericname", "commonname",
        "preferredname", "chebiname", "structurenametraditional", "title", "pubchemiupacname",
        "systematicname", "iupacname", "chemicalname", "trivialname", "substancename", "compound",
        "substance", "metabolitename", "metabolite", "analyte", "metaboliteidentification",
        "refmetname",
    ),
    "id": (
        "id", "dtxsid", "identifier", "candidateid", "coconutid", "accession", "databaseid",
        "databaseidentifier", "hmdbid", "cid", "compoundcid", "pubchemcid", "pubchemcompoundcid",
        "pubchemids", "npaid", "lmid", "chemblid", "chebiid", "drugbankid", "zincid",
        "normansusdatid", "susdatid", "lipidid", "spectrumid", "structurewikidata", "compoundid",
        "publicid",
    ),
    "query_id": ("queryid",),
}  # fmt: skip
_FIELD_OF = {word: field for field, words in COLUMNS.items() for word in words}
_NOT_LETTERS = re.compile(r"[^a-z0-9]+")
PLAIN_NAME = re.compile(r"[\w .()/-]{1,40}")
_ASIDE = re.compile(r"\(.*?\)|\[.*?\]")  # of a column's name: ``SMILES (pH 7.3)``
# Characters. Each bracket that nothing closes is looked for to the end of the name.
_LONGEST_COLUMN = 200


class Cells(NamedTuple):
    """What a row states, as text."""

    smiles: str = ""
    inchi: str = ""
    inchikey: str = ""
    name: str = ""
    id: str = ""
    query_id: str = ""


def record_of(cells: Cells) -> str:
    """Return the name of a row in a list of skipped ones."""
    smiles, inchi, _, name, id_, query_id = cells
    return id_ or name or query_id or smiles[:40] or inchi[:40] or "row"


def first_stated(texts: Sequence[str]) -> str:
    """Return the first text that is not empty, else the first one."""
    return next((text for text in texts if not says_nothing(text)), texts[0])


class _ShortLines(io.TextIOWrapper):
    """Text that is read line by line; too long lines and too many empty ones are refused.

    A small gzip file can expand to either.
    """

    def __init__(self, stream: BinaryIO, path: Path, encoding: str) -> None:
        errors = "replace" if encoding.startswith("utf-16") else AS_WINDOWS_TEXT
        super().__init__(stream, encoding=encoding, errors=errors, newline="")
        self._path = path
        self._n_lines = self._n_empty = 0
        self._limits = limits()

    def __next__(self) -> str:  # type: ignore[override]  # bytes is of the base of all streams
        most = self._limits.table_line
        line = self.readline(most)
        if not line:
            raise StopIteration
        self._n_lines += 1
        if len(line) == most and not line.endswith(("\n", "\r")):
            raise InputError(
                f"{self._path}:{self._n_lines}: found a line of more than {most:,} characters "
                "(table_line), wanted one structure in each"
            )
        self._n_empty = 0 if len(line) > 2 or line.strip() else self._n_empty + 1
        if self._n_empty > self._limits.table_gap:
            raise InputError(
                f"{self._path}:{self._n_lines}: found more than {self._limits.table_gap:,} empty "
                "lines (table_gap), wanted one structure in each"
            )
        return line


@contextmanager
def open_text(path: Path) -> Iterator[TextIO]:
    """Open a text file for reading, unpacked if it is compressed, without a byte order mark.

    Raises
    ------
    InputError
        If it is missing, a folder, empty, binary, or its compression is damaged; when it is read
        line by line, also if a line is longer, or empty lines are more, than `Limits` allow.
    """
    try:
        with open_decompressed(path) as stream:
            start = stream.read(4096)
        if not start.strip():
            raise InputError(f"{path}: the file is empty")
        if other := stand_in(start):
            raise InputError(f"{path}: {other}")
        if start.startswith(_ZIP):
            raise InputError(f"{path}: an Excel workbook or zip archive; CSV, TSV or SMI is wanted")
        encoding = utf_16_of(start)
        if b"\0" in start and not encoding:
            raise InputError(f"{path}: not a text file; CSV, TSV or SMI is wanted")
        encoding = encoding or "utf-8-sig"
        with open_decompressed(path) as stream:
            yield _ShortLines(stream, path, encoding)
    except FileNotFoundError:
        raise InputError(f"{path}: {no_such_file(path)}") from None
    except IsADirectoryError:
        raise InputError(f"{path}: a folder, where a file is wanted") from None
    except DECOMPRESSION_ERRORS:
        raise InputError(f"{path}: the compressed file is damaged or cut off") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None


# Lists of synonyms exceed the 131,072 characters that Python's reader takes for a cell.
csv.field_size_limit(1 << 28)


def is_inchi(text: str) -> bool:
    """Return whether a text is an InChI that RDKit can read; of a polymer it is none."""
    if is_of_polymer(text):
        return False
    with quiet_rdkit():
        return Chem.MolFromInchi(text) is not None  # type: ignore[no-untyped-call]


def read_table(
    stream: Iterable[str], report: ReadReport | None = None
) -> tuple[list[str], Iterator[tuple[int, list[str]]]]:
    """Return the column names and the rows of a table, each with its last line, counted from 1.

    Cells are separated by commas, tabs, semicolons or bars: whichever divides the header into most
    names that are known, else whichever it has most of. They are stripped, and control characters
    in them are blanks. Rows without any text are left out. A quotation mark that is never closed is
    a character, and is noted; so is an InChI without quotation marks, whose cells are joined, and a
    line before the names of columns, such as a title.
    """
    lines = Lines(stream)
    header_line = lines.first_of_table(report).lstrip("#")
    delimiter = _delimiter_of(header_line)
    names = _names(header_line, delimiter)
    rows = _with_whole_inchi(
        table_rows(lines, delimiter, len(names), report), names, delimiter, report
    )
    head = list(itertools.islice(rows, 2))
    if head and all(
        len(row) == len(names) + 1 and row[0] == str(number) and row[-1]
        for number, (_, row) in enumerate(head, start=1)
    ):
        names.insert(0, "")  # R numbers the rows, without a name for the column
    return names, _under_names(itertools.chain(head, rows), names, report)


NAMES_AGAIN = "names of columns in a later row, as where tables were joined"


def _under_names(
    rows: Iterator[tuple[int, list[str]]], names: Sequence[str], report: ReadReport | None
) -> Iterator[tuple[int, list[str]]]:
    """Yield rows, their cells in the order of the first names also behind names in another order.

    Such names occur inside a file where tables were joined.
    """
    in_order = sorted(names)
    places: list[int] = []
    for number, row in rows:
        if row[0].lower().replace(" ", "_") in names and row[0]:
            words = [cell.strip("\"'").lower().replace(" ", "_") for cell in row]
            if sorted(words) == in_order:
                places = [] if words == names else _places(names, words)
                if report is not None:
                    report.note(NAMES_AGAIN)
                continue
        if places:
            row = [row[place] if place < len(row) else "" for place in places] + row[len(places) :]
        yield number, row


def _places(names: Sequence[str], words: Sequence[str]) -> list[int]:
    """Return where each of some names stands in another order; of the same names, each its own."""
    here, there = (sorted(range(len(row)), key=row.__getitem__) for row in (names, words))
    return [place for _, place in sorted(zip(here, there, strict=True))]


INCHI_JOINED = "InChI without quotation marks, its cells joined"


def _with_whole_inchi(
    rows: Iterator[tuple[int, list[str]]],
    names: Sequence[str],
    delimiter: str,
    report: ReadReport | None,
) -> Iterator[tuple[int, list[str]]]:
    """Yield rows, with one cell where an InChI without quotation marks became several.

    Its commas divide it. Cells are joined where that gives an InChI, and so are those of an
    extension of a SMILES.
    """
    words = map(plain_word, names)
    places = [n for n, word in enumerate(words) if "inchi" in word and "key" not in word]
    n_columns = len(names)
    for number, row in rows:
        if len(row) > n_columns and delimiter == ",":
            row = _with_whole_extensions(row)
        if len(row) > n_columns and any(map(begins_inchi, row)):
            whole = _joined(row, n_columns, places, delimiter)
            if whole is not None:
                row = whole
                if report is not None:
                    report.note(INCHI_JOINED)
        yield number, row


def _with_whole_extensions(row: Sequence[str]) -> list[str]:
    """Return a row with one cell where ChemAxon's extension of a SMILES became several.

    Its commas divide it: ``OCCO |Sg:n:1`` and ``2:n:ht|``.
    """
    cells: list[str] = []
    is_open = False
    for n, cell in enumerate(row):
        ends = cell.count("|") % 2 == 1
        if is_open:
            cells[-1] += f",{cell}"
        else:
            cells.append(cell)
            ends = ends and " |" in cell and any("|" in other for other in row[n + 1 :])
        is_open = is_open != ends
    return cells


def begins_inchi(cell: str) -> bool:
    """Return whether a cell begins as an InChI, in quotation marks or not."""
    return cell.lstrip("\"'").startswith("InChI=")


def is_cut_inchi(cell: str) -> bool:
    """Return whether a cell begins as an InChI and is none."""
    return begins_inchi(cell) and not is_inchi(cell.strip("\"'"))


def _joined(
    row: list[str], n_columns: int, places: Sequence[int], delimiter: str
) -> list[str] | None:
    """Return a row with whole InChI, None where it is not certain which cells are theirs."""

    def one_cell(start: int, n_cells: int) -> str | None:
        text = delimiter.join(row[start : start + n_cells]).strip("\"'")
        return text if n_cells > 1 and start + n_cells <= len(row) and is_inchi(text) else None

    starts = [n for n, cell in enumerate(row) if begins_inchi(cell)]
    if len(starts) == 1:
        # All cells too many are its, or some are another's that also lacks its marks.
        (start,) = starts
        for n_cells in range(len(row) - n_columns + 1, 1, -1):
            if (text := one_cell(start, n_cells)) is not None:
                return [*row[:start], text, *row[start + n_cells :]]
        return None
    if len(starts) != len(places) or starts[0] != places[0]:
        return None
    whole, end = row[: starts[0]], [*places[1:], n_columns]
    for start, following, place, end_place in zip(
        starts, [*starts[1:], len(row)], places, end, strict=True
    ):
        n_cells = following - start - (end_place - place) + 1
        text = row[start] if n_cells == 1 else one_cell(start, n_cells)
        if text is None:
            return None
        whole += [text, *row[start + n_cells : following]]
    return whole


def _is_row(text: str, delimiter: str) -> bool:
    """Return whether lines are one row, whose cells of several lines hold no other cells."""
    try:
        (row,) = csv.reader([text], delimiter=delimiter, strict=True)
    except (csv.Error, ValueError):
        return False
    return not any("\n" in cell and delimiter in cell for cell in row)


LINES_ABOVE = "line above the names of columns left out"
_LONGEST_TITLE = 10  # lines
_OF_STRUCTURES = {"smiles", "inchi", "inchikey"}
_SPEAKS_OF_THEM = re.compile("smiles|inchi", re.IGNORECASE)  # ``rdkit_smiles``


def _meanings(line: str) -> set[str]:
    """Return the meanings of the cells of a line, as names of columns."""
    names = re.split(f"[{DELIMITERS}]", line)
    return {column_meaning(name.strip().strip("\"'")) for name in names} - {""}


def _delimiter_of(header_line: str) -> str:
    def quality(delimiter: str) -> tuple[int, int]:
        known = filter(column_meaning, _names(header_line, delimiter))
        return len(list(known)), header_line.count(delimiter)

    return max(DELIMITERS, key=quality)


def _names(header_line: str, delimiter: str) -> list[str]:
    try:
        names = next(csv.reader([header_line], delimiter=delimiter), [])
    except csv.Error:  # a line ends within a name, by another delimiter
        return []
    return [CONTROL.sub(" ", name).strip().strip("\"'").lower().replace(" ", "_") for name in names]


def is_preface(line: str) -> bool:
    """Whether a line stands before a table's header: blank, a comment, Excel's ``sep=;``."""
    if line.startswith("#"):
        meanings = map(column_meaning, re.split(f"[{DELIMITERS}]", line))
        return not set(meanings) & {"smiles", "inchi", "inchikey", "query_id"}
    return not line.strip() or re.fullmatch(r"sep=.", line.strip()) is not None


def column_meaning(name: str) -> str:
    """Return ``smiles``, ``inchi``, ``inchikey``, ``name``, ``id`` or ``query_id``, "" for none.

    Databases' names for these columns are known, such as ``CanonicalSMILES``, ``isosmiles``,
    ``StdInChIKey``, ``CompoundName`` or ``Identifier``; case, punctuation and what stands in
    brackets do not matter.
    """
    return _FIELD_OF.get(plain_word(name), "")


def plain_word(name: str) -> str:
    """Return a column's name in letters alone, without what is in brackets if that is known."""
    word = _NOT_LETTERS.sub("", name.lower())
    if word in _FIELD_OF or len(name) > _LONGEST_COLUMN or not ("(" in name or "[" in name):
        return word
    bare = _NOT_LETTERS.sub("", _ASIDE.sub("", name.lower()))
    return bare if bare in _FIELD_OF else word


def read_named_rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the rows of a table as column name -> cell, each with its last line; see `read_table`.

    A cell that a row lacks is empty.

    Raises
    ------
    InputError
        See `open_text`.
    """
    with open_text(path) as stream:
        names, rows = read_table(stream)
        for line, row in rows:
            yield line, dict(itertools.zip_longest(names, row[: len(names)], fillvalue=""))


def table_rows(
    lines: Lines, delimiter: str, n_columns: int, report: ReadReport | None
) -> Iterator[tuple[int, list[str]]]:
    """Yield number and cells of each row with any text; `n_columns` tells of stray marks."""
    for line in lines:
        row = line.split(delimiter)
        if '"' in line:
            quoted = lines.quoted(line, delimiter, n_columns)
            if quoted is not None:
                row = quoted
            elif report is not None:
                report.note("stray quotation mark taken as a character")
        # Nearly all lines are printable, and are looked at as a whole; quoted cells take more.
        is_plain = line.replace(delimiter, "").isprintable()
        if not is_plain or ('"' in line and not "".join(row).isprintable()):
            row = [_on_one_line(cell) for cell in row]
        cells = [cell.strip() for cell in row]
        if any(cells):
            yield lines.number, cells


def _on_one_line(cell: str) -> str:
    """Return a cell without control characters, its lines divided by blanks.

    Lines of a structure that goes on are put together, structures on a line each are divided by
    bars. Where the lines may be one or several (``CCO`` above ``CCN``), `LINE_END` stands between
    them, which no structure is read with.
    """
    lines = [CONTROL.sub(" ", line).strip() for line in cell.split("\n")]
    lines = [line for line in lines if line]
    if len(lines) < 2 or any(" " in line for line in lines) or len(cell) > _LONGEST_STRUCTURE:
        return " ".join(lines)
    is_one, are_several = _is_one("".join(lines)), all(map(_is_one, lines))
    if is_one and are_several:
        return f" {LINE_END} ".join(lines)
    return ("" if is_one else " | " if are_several else " ").join(lines)


_LONGEST_STRUCTURE = 10_000  # characters: RDKit takes seconds for longer texts


def _is_one(text: str) -> bool:
    """Return whether a text is one SMILES or InChI."""
    text = text.strip("\"'")
    if begins_inchi(text):
        return text.count("InChI=") == 1 and is_inchi(text)
    return is_smiles(text)


class Lines:
    """Lines of a table with their number; a row may take several of them."""

    def __init__(self, stream: Iterable[str]) -> None:
        self._stream = iter(stream)
        self._waiting: deque[str] = deque()
        self.number = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._waiting.popleft() if self._waiting else next(self._stream)
        self.number += 1
        return line.rstrip("\r\n")

    def first_of_table(self, report: ReadReport | None) -> str:
        """Return the line of the names of columns, "" if there is none.

        What spreadsheets have above it, such as a title or names of groups of columns, is left out:
        a name of a column of structures or keys is known in a later line, and none in those above.
        """
        first = self._whole(next((line for line in self if not is_preface(line)), ""))
        if not first or _meanings(first) & _OF_STRUCTURES or _SPEAKS_OF_THEM.search(first):
            return first
        above = [first]
        for line in map(self._whole, itertools.islice(self, _LONGEST_TITLE)):
            if _meanings(line) & _OF_STRUCTURES:
                if report is not None:
                    report.notes[LINES_ABOVE] += sum(not is_preface(line) for line in above)
                return line
            above.append(line)
        lines = [one for line in above[1:] for one in line.split("\n")]
        self.number -= len(lines)
        self._waiting.extendleft(reversed(lines))
        return first

    def _whole(self, line: str) -> str:
        """Return the line of the names of columns with those that it goes on in.

        Spreadsheets break lines in a name, which stands in quotation marks then.
        """
        taken: list[str] = []
        text = line
        while text.count('"') % 2 == 1 and len(taken) < _LONGEST_TITLE:
            following = next(self, None)
            if following is None:
                break
            taken.append(following)
            text = f"{text}\n{following}"
        if taken and any(_is_row(text, delimiter) for delimiter in DELIMITERS):
            return text
        self.number -= len(taken)
        self._waiting.extendleft(reversed(taken))
        return line

    def quoted(self, line: str, delimiter: str, n_columns: int) -> list[str] | None:
        """Return the cells of a row with quotation marks, None if they are but characters.

        A quoted cell may go on in the next lines. One that is never closed, or closes in the
        middle of another row, is a stray mark: what follows must not be swallowed.
        """
        taken: list[str] = []
        text = line
        while True:
            try:
                (row,) = csv.reader([text], delimiter=delimiter, strict=True)
            except (csv.Error, ValueError):
                row = []
            lines = text.split("\n")
            are_whole = all(len(each.split(delimiter)) == n_columns for each in lines)
            if len(lines) > 1 and n_columns > 1 and are_whole:
                row = []  # whole rows, of which two have a stray mark
            if row and (not taken or len(row) == n_columns):
                self.number += len(taken)
                return row
            if text.count('"') % 2 == 0:  # it is closed, and more lines would not mend it
                self._waiting.extendleft(reversed(taken))
                return None
            following = self._waiting.popleft() if self._waiting else next(self._stream, None)
            if following is not None:
                taken.append(following)
            if following is None or len(taken) > _LONGEST_CELL:
                self._waiting.extendleft(reversed(taken))
                return None
            text = f"{text}\n{following.rstrip(chr(13) + chr(10))}"
