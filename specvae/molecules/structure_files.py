"""Files of structures: CSV, TSV, SMI and SDF, plain or compressed, as the text of their rows."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

from rdkit import Chem

from specvae.compression import COMPRESSED_SUFFIXES, uncompressed_name
from specvae.errors import InputError, StructureError
from specvae.molecules.quiet import quiet_rdkit
from specvae.molecules.standard import (
    heavy_atoms,
    heavy_atoms_of_inchi,
    is_divided,
    is_smiles,
    leaves_atoms_open,
    says_nothing,
    standard_form,
)
from specvae.molecules.text_tables import (
    COLUMNS,
    CONTROL,
    DELIMITERS,
    PLAIN_NAME,
    Lines,
    begins_inchi,
    column_meaning,
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
_SDF_NAME = re.compile(r">.*?<([^>]*)>")
_SDF_SUFFIXES = (".sdf", ".sd", ".mol")
_SMI_SUFFIXES = (".smi", ".smiles", ".ism")
_TABLE_SUFFIXES = (".csv", ".tsv", ".tab", ".txt", ".psv")
_OF_DRAWINGS = re.compile(r".*V[23]000\s*")  # the fourth line of an SD file
# What else tables come in, by suffix, and what to do with it.
_OTHER_FILES = {
    **dict.fromkeys((".xlsx", ".xlsm", ".xls", ".ods"), "a workbook: save its sheet as CSV"),
    **dict.fromkeys((".zip", ".7z"), "an archive: unpack it, or use gzip, bzip2 or xz"),
    **dict.fromkeys((".json", ".jsonl", ".parquet", ".feather"), "no table of text: write a CSV"),
}
_LONGEST_RECORD = 100_000  # lines of a record of an SD file
_LONGEST_DRAWING = 5_000  # lines: atoms and bonds
_SHORTEST_STRUCTURE = 5  # letters: the SMILES CONC may be the name of a column
_EXTENSION = re.compile(r"\|[^|]*\|\s*")  # ChemAxon's, behind a SMILES
# Columns that may name queries. Rows are of one query only where the column is called query_id.
# "query_id_x" is what pandas makes of it where tables are joined.
_OF_QUERIES = re.compile(
    r"query(?:name|title|id.*)?|(?:mapping)?featureid|scan(?:number)?"
    r"|(?:spectrum|challenge)(?:name)?|spectrumtitle"
)


class Cells(NamedTuple):
    """What a row states, as text."""

    smiles: str = ""
    inchi: str = ""
    inchikey: str = ""
    name: str = ""
    id: str = ""
    query_id: str = ""


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
        if kind == "sdf" or (len(head) > 3 and kind == "table" and _OF_DRAWINGS.fullmatch(head[3])):
            yield from _sdf_cells(path, lines, report)
        elif kind == "smi":
            yield from _smi_cells(lines)
        else:
            yield from _table_cells(path, lines, report)


def record_of(cells: Cells) -> str:
    """Return what a row is called in a list of skipped ones."""
    smiles, inchi, _, name, id_, query_id = cells
    return id_ or name or query_id or smiles[:40] or inchi[:40] or "row"


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
            if leaves_atoms_open(name) or is_divided((smiles, *name.split(maxsplit=2))):
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
    """Yield what the rows of a table say, given where its columns are (`_find_columns`)."""
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
    """Return what takes the cells of a row: of each field the first that says something."""
    if any(len(places) > 1 for places in columns):
        return lambda row: Cells._make(_first_stated([row[i] for i in p]) for p in columns)
    chosen = itemgetter(*(place for (place,) in columns))
    return lambda row: Cells._make(chosen(row))


def _first_stated(texts: Sequence[str]) -> str:
    """Return the first text that says something, else the first."""
    return next((text for text in texts if not says_nothing(text)), texts[0])


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


class _Unnamed(NamedTuple):
    """Columns without names: what divides them, how many they are, and where each field is."""

    delimiter: str
    n_columns: int
    places: list[list[int]]


def _unnamed_columns(lines: Sequence[str]) -> _Unnamed | None:
    """Return the columns of a table without names, None where it is not certain what they are.

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
            return _Unnamed(delimiter, n_columns, [found.get(field, [-1]) for field in COLUMNS])
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


def _sdf_cells(
    path: Path, stream: Iterable[str], report: ReadReport
) -> Iterator[tuple[int, Cells]]:
    """Yield the records of an SD file, each with its first line.

    A structure that is stated as SMILES or InChI among the data is taken before the drawing, which
    states stereochemistry less clearly. Where ``$$$$`` is missing between two records, the data
    between their drawings belong to the first, and the second is skipped.
    """
    begin, record, drawings = 1, list[str](), list[int]()

    def cells() -> Iterator[tuple[int, Cells]]:
        _set_head(record)
        found = _cells_of_record(record, report)
        if not (reason := _why_open(record) or _why_unread(record, found)):
            yield begin, found
        else:
            report.skip(str(path), begin, record_of(found), Reason.BAD_STRUCTURE, reason)

    for number, line in enumerate(stream, start=1):
        if line.startswith("$$$$"):
            yield from cells()
            begin, record, drawings = number + 1, [], []
            continue
        if line.startswith("M  END"):
            drawings.append(number)
            if len(drawings) > 1:
                detail = "a second drawing in one record: $$$$ is missing before it"
                report.skip(str(path), number, "record", Reason.BAD_STRUCTURE, detail)
        record.append(line.rstrip("\r\n"))
        if len(record) > _LONGEST_RECORD:
            raise InputError(
                f"{path}:{begin}: found more than {_LONGEST_RECORD:,} lines without the end of "
                "a record, $$$$"
            )
    if any(line.strip() for line in record):
        yield from cells()


def _set_head(record: list[str]) -> None:
    """Give a record the three lines before its counts that it has to have.

    Where files were joined, blank lines may stand before it, and editors drop those of its head.
    """
    place = next((n for n, line in enumerate(record[:12]) if _OF_DRAWINGS.fullmatch(line)), -1)
    n_above = place - _HEAD_LINES
    if place < 0 or n_above == 0:
        return
    if n_above > 0 and not any(line.strip() for line in record[:n_above]):
        del record[:n_above]
    elif n_above < 0:
        # The line of its program, which is below its title, begins with blanks.
        begin = place if record[0][:1].strip() and place > 0 else 0
        record[begin:begin] = [""] * -n_above


# Groups and links of a drawing that repeat, open ends, and labels that stand for any group.
_OPEN_LINE = re.compile(
    r"(?:M  STY.*\s|M  V30 \d+ )(?:SRU|MON|MER|COP|CRO|MOD|GRA|ANY)\b|M  (?:LIN|APO)\b"
    r"|M  V30 (?:LINKNODE=|\d+ .* ATTCHPT=)",
    re.IGNORECASE,
)
_RESIDUE_LABEL = re.compile(r"R\d{0,2}[#'\"]*")
# Groups that a label may stand for where editors draw one atom; labels such as CH3 or C12 add none.
_GROUP_LABEL = re.compile(
    r"Ph|Et|Ar|Alk|Cy|Hal|(?:[nist]-?)?(?:Pr|Bu)|Bn|Bz|Ac|Boc|Cbz|Fmoc|T[sf]|Ms|TMS|TES|TIPS"
    r"|TBD?[MP]?S|O(?:Me|Et|Ac|Bn|Ph|Ts|Ms|Tf|CF3|PO3H2|SO3H)|(?:Me|Et|Ac|Bn|Ph)O|NO2|O2N|CN|NC"
    r"|CF3|F3C|CCl3|Cl3C|CO[O2](?:H|Me|Et)|(?:H|Me|Et)O(?:O|2)C|CHO|OHC|SO3H|HO3S|SO2Me|PO3H2|N3"
    r"|NHAc|AcHN|N(?:Me|Et)2|Me2N|NHMe|MeHN|SMe|MeS|CONH2|H2NOC|NC[SO]|Glc|Gal|Man|Rha|Xyl|Ara"
)


def _why_unread(record: Sequence[str], cells: Cells) -> str:
    """Return why a record with a drawing has no structure, "" if it has one or no drawing."""
    is_drawn = len(record) > _HEAD_LINES and _OF_DRAWINGS.fullmatch(record[_HEAD_LINES])
    if not is_drawn or not (says_nothing(cells.smiles) and says_nothing(cells.inchi)):
        return ""
    with quiet_rdkit():
        mol = Chem.MolFromMolBlock(_block(record), sanitize=False)
        problems = () if mol is None else Chem.DetectChemistryProblems(mol)
    if mol is not None and not mol.GetNumAtoms():
        return "the drawing has no atoms"
    if group := _undrawn_group(record):
        return f"the drawing labels an atom as a group that is not drawn: {group}"
    cause = problems[0].Message() if problems else "its counts, atoms or bonds"
    return f"the drawing cannot be read ({cause})"


_HEAD_LINES = 3  # of a drawing, before its counts


def _why_open(record: Sequence[str]) -> str:
    """Return why the atoms of a drawing are not all known, "" if they are."""
    before = ""
    for line in record[:_LONGEST_DRAWING]:
        if line.startswith("M  END"):
            break
        if _OPEN_LINE.match(line):
            return f"the drawing has a repeating unit or link, or an open end ({line.strip()})"
        if before.startswith("A  ") and _RESIDUE_LABEL.fullmatch(line.strip()):
            return f"the drawing labels an atom as a residue: {line.strip()}"
        before = line
    return ""


def _undrawn_group(lines: Sequence[str]) -> str:
    """Return a group that a drawing labels an atom as, and does not draw; "" if there is none."""
    labels = (
        label.strip()
        for before, label in itertools.pairwise(lines)
        if before.startswith(("A  ", "G  "))
    )
    return next((label for label in labels if _GROUP_LABEL.fullmatch(label)), "")


def _data_of_record(record: Sequence[str], end: int, report: ReadReport) -> dict[str, str]:
    """Return the data behind a drawing, whose last line is `end`: first line by plain name.

    A structure that is longer than a line of the format is put together.
    """
    data: dict[str, str] = {}
    lines_of: dict[str, list[str]] = {}
    name = last = ""
    for line in record[end + 1 :]:
        text = CONTROL.sub(" ", line).strip()
        if found := _SDF_NAME.match(line):
            name, last = plain_word(found[1]), ""
            report.columns.setdefault(found[1], _USES_OF_DATA.get(name, ""))
        elif not text:
            last = ""  # the item ends
        elif name and name not in data:
            data[name] = last = text
        elif len(last) >= _WRAPPED and _USES_OF_DATA.get(name) in ("smiles", "inchi"):
            lines_of.setdefault(name, [data[name]]).append(text)
            last = text
    for name, lines in lines_of.items():
        whole = "".join(lines)
        if _is_wrapped(record[: end + 1], _USES_OF_DATA[name], data[name], whole):
            data[name] = whole
    return data


def _cells_of_record(record: Sequence[str], report: ReadReport) -> Cells:
    end = next((n for n, line in enumerate(record) if line.startswith("M  END")), len(record) - 1)
    data = _data_of_record(record, end, report)
    title = CONTROL.sub(" ", record[0]).strip() if record else ""
    stated = {
        field: _first_stated([data[name] for name in names if data.get(name)] or [""])
        for field, names in COLUMNS.items()
    }
    if says_nothing(stated["inchi"]) and end < _LONGEST_DRAWING:
        with quiet_rdkit():
            if says_nothing(stated["smiles"]):
                stated["smiles"] = _drawn(record[: end + 1]) or stated["smiles"]
            elif Chem.MolFromSmiles(stated["smiles"]) is None and (
                drawn := _drawn(record[: end + 1])
            ):
                stated["smiles"] = drawn
                report.note(DRAWING_INSTEAD)
    if end < _LONGEST_DRAWING and _draws_another(record[: end + 1], stated):
        report.note(DRAWING_OF_ANOTHER)
    # The first line is an identifier in some files and a name in others.
    if not stated["id"]:
        stated["id"] = title
    elif not stated["name"] and title != stated["id"]:
        stated["name"] = title
    return Cells(**stated)


_WRAPPED = 60  # characters of a line that may go on in the next


def _is_wrapped(drawing: Sequence[str], field: str, first: str, whole: str) -> bool:
    """Whether the lines of a structure are one text, and not several structures."""
    of_first, of_whole = ({"smiles": "", "inchi": "", field: text} for text in (first, whole))
    if not _can_be_parsed(**of_whole):
        return False
    is_drawn = any(map(_DRAWN_ATOM.match, drawing))
    return not _can_be_parsed(**of_first) or (
        is_drawn and _draws_another(drawing, of_first) and not _draws_another(drawing, of_whole)
    )


def _can_be_parsed(smiles: str, inchi: str) -> bool:
    try:
        with quiet_rdkit():
            standard_form(smiles, inchi)
    except StructureError:
        return False
    return True


_USES_OF_DATA = {w: f for f, words in COLUMNS.items() for w in words}

DRAWING_INSTEAD = "drawing taken where the SMILES cannot be parsed"
DRAWING_OF_ANOTHER = "drawing of another formula than the SMILES or InChI beside it, which is taken"

_DRAWN_ATOM = re.compile(r"(?:M  V30 \d+|(?: *-?\d+\.\d+){3}) ([A-Z][a-z]?) ")
_ATOM_OF_SMILES = re.compile(r"\[\d*([A-Z][a-z]?|[a-z])[^]]*\]|(Cl|Br|[BCNOPSFIbcnops])")


def _draws_another(lines: Sequence[str], stated: Mapping[str, str]) -> bool:
    """Whether a drawing has other heavy atoms than the structure stated beside it, salts aside."""
    smiles, inchi = stated["smiles"], stated["inchi"]
    atoms = [found[1] for line in lines if (found := _DRAWN_ATOM.match(line))]
    if not atoms or (says_nothing(smiles) and says_nothing(inchi)):
        return False
    written = ["".join(atom).capitalize() for atom in _ATOM_OF_SMILES.findall(smiles)]
    if _counts(atoms) == (_counts(written) if written else heavy_atoms_of_inchi(inchi)):
        return False
    # They may have the same atoms all the same: in another salt, or written in another way.
    try:
        with quiet_rdkit():
            taken, other = standard_form(smiles, inchi), standard_form(_drawn(lines))
    except StructureError:
        return False
    return heavy_atoms(taken.mol) != heavy_atoms(other.mol)


def _counts(atoms: Sequence[str]) -> dict[str, str]:
    """Return how often elements but hydrogen are there, as `heavy_atoms` does."""
    counts = Counter(atom for atom in atoms if atom != "H")
    return {atom: str(n) if n > 1 else "" for atom, n in counts.items()}


def _drawn(lines: Sequence[str]) -> str:
    """Return the SMILES of a drawing, "" if it is none or leaves out atoms."""
    if _undrawn_group(lines):
        return ""
    mol = Chem.MolFromMolBlock(_block(lines))
    return "" if mol is None else Chem.MolToSmiles(mol)


def _block(lines: Sequence[str]) -> str:
    """Return the text of a drawing; behind its head, some editors leave a line blank."""
    kept = (line for n, line in enumerate(lines) if n <= _HEAD_LINES or line.strip())
    return "\n".join(kept) + "\n"


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
