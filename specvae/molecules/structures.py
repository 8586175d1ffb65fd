"""Files of structures: CSV, TSV, SMI and SDF, plain or compressed, read row by row."""

from __future__ import annotations

import codecs
import csv
import io
import itertools
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, TextIO

from rdkit import Chem

from specvae.errors import InputError, StructureError
from specvae.files import AS_WINDOWS_TEXT
from specvae.limits import limits
from specvae.molecules.molecule import (
    KEY_OF_ANOTHER,
    KEY_OF_SEVERAL,
    KEYS_THAT_DIFFER,
    Molecule,
    quiet_rdkit,
    says_nothing,
)
from specvae.molecules.structure_cache import StructureCache
from specvae.molecules.workers import in_order, n_waiting, usable_cores
from specvae.packed import PACKED_SUFFIXES, UNPACKING_ERRORS, open_unpacked, unpacked_name
from specvae.report import ReadReport, Reason

if TYPE_CHECKING:  # processes that parse need no Numba
    from specvae.molecules.text_mass import MassScreen

_INCHIKEY = re.compile(r"[A-Z]{14}(?:-[A-Z]{10}-[A-Z])?")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
# PubChem's CID-SMILES and CID-InChI-Key.
_CID_LINE = re.compile(r"(?P<cid>\d+)\t(?P<text>[^\t]+)(?:\t(?P<key>[A-Z]{14}-[A-Z]{10}-[A-Z]))?")
_SDF_NAME = re.compile(r">.*?<([^>]*)>")
_SDF_SUFFIXES = (".sdf", ".sd", ".mol")
_SMI_SUFFIXES = (".smi", ".smiles", ".ism")
_TABLE_SUFFIXES = (".csv", ".tsv", ".tab", ".txt", ".psv")
_DELIMITERS = ",\t;|"
_OF_DRAWINGS = re.compile(r".*V[23]000\s*")  # the fourth line of an SD file
# What else tables come in, by suffix, and what to do with it.
_OTHER_FILES = {
    **dict.fromkeys((".xlsx", ".xlsm", ".xls", ".ods"), "a workbook: save its sheet as CSV"),
    **dict.fromkeys((".zip", ".7z", ".zst"), "an archive: unpack it, or use gzip, bzip2 or xz"),
    **dict.fromkeys((".json", ".jsonl", ".parquet", ".feather"), "no table of text: write a CSV"),
}
# A quoted cell may hold line breaks, but a mark that is never closed must not swallow the file.
_LONGEST_CELL = 50  # lines
_LONGEST_RECORD = 100_000  # lines of a record of an SD file
_LONGEST_DRAWING = 5_000  # lines: atoms and bonds
_SHORTEST_STRUCTURE = 5  # letters: the SMILES CONC may be the name of a column
_ZIP = b"PK\x03\x04"
_EXTENSION = re.compile(r"\|[^|]*\|\s*")  # ChemAxon's, behind a SMILES

# By field of `Cells`: column names without punctuation, of those that are there the first is taken.
# They are ours, then those of PubChem (tables, SD files), COCONUT, HMDB, FooDB, MetFrag, MS-FINDER,
# GNPS, LOTUS, NPAtlas, SwissLipids, NORMAN and CompTox, whose MS-ready structures lack salts and
# stereochemistry.
_COLUMNS: Mapping[str, tuple[str, ...]] = {
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
        "systematicname", "iupacname",
    ),
    "id": (
        "id", "identifier", "candidateid", "coconutid", "accession", "databaseid",
        "hmdbid", "cid", "compoundcid", "pubchemcid", "pubchemcompoundcid", "dtxsid", "npaid",
        "lmid", "chemblid", "chebiid", "drugbankid", "zincid", "normansusdatid", "susdatid",
        "lipidid", "spectrumid", "structurewikidata", "compoundid", "publicid",
    ),
    "query_id": ("queryid",),
}  # fmt: skip
# Columns that may name queries. Rows are of one query only where the column is called query_id.
_OF_QUERIES = (
    "query", "queryname", "querytitle", "featureid", "mappingfeatureid", "scan", "scannumber",
    "spectrum", "spectrumname", "spectrumtitle", "challenge", "challengename",
)  # fmt: skip
_FIELD_OF = {word: field for field, words in _COLUMNS.items() for word in words}
_NOT_LETTERS = re.compile(r"[^a-z0-9]+")
_PLAIN_NAME = re.compile(r"[\w .()/-]{1,40}")
_ASIDE = re.compile(r"\(.*?\)|\[.*?\]")  # of a column's name: ``SMILES (pH 7.3)``
# Characters. Each bracket that nothing closes is looked for to the end of the name.
_LONGEST_COLUMN = 200
_BATCH = 1000
_PARSED_QUIETLY = 16  # so long, some hundredths of a second, Ctrl-C may have to wait
_KEYS_COMPUTED = 30  # at most, of a table: each takes half a millisecond
_FEWEST_WRONG = 3  # keys, for a column that is wrong rather than a row
_MOST_KNOWN = 50_000  # texts of structures that are remembered while a table is read
# Starting a process costs as much as parsing some thousand structures, but later work has it too.
_WORTH_PROCESSES = 5_000
# All rows of a shorter table are parsed, and what is wrong with any of them is reported.
_WORTH_SCREENING = 10_000


class Cells(NamedTuple):
    """What a row states, as text."""

    smiles: str = ""
    inchi: str = ""
    inchikey: str = ""
    name: str = ""
    id: str = ""
    query_id: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """One usable structure of a file.

    Attributes
    ----------
    line
        Where it stands, counted from 1.
    smiles
        As written, without what stands behind a blank; from the InChI where that was used.
    molecule
        The structure, with the key or first block that the row gives.
    """

    line: int
    smiles: str
    molecule: Molecule
    name: str
    id: str
    query_id: str


class _ShortLines(io.TextIOWrapper):
    """Text whose lines are read one by one, and refused where one has no end in sight.

    So are endless empty lines. Both are what a small gzip file can be blown up to.
    """

    def __init__(self, stream: BinaryIO, path: Path, encoding: str) -> None:
        errors = "replace" if encoding == "utf-16" else AS_WINDOWS_TEXT
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
        with open_unpacked(path) as stream:
            start = stream.read(4096)
        if not start.strip():
            raise InputError(f"{path}: the file is empty")
        if start.startswith(_ZIP):
            raise InputError(f"{path}: an Excel workbook or zip archive; CSV, TSV or SMI is wanted")
        is_utf16 = start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        if b"\0" in start and not is_utf16:
            raise InputError(f"{path}: not a text file; CSV, TSV or SMI is wanted")
        encoding = "utf-16" if is_utf16 else "utf-8-sig"
        with open_unpacked(path) as stream:
            yield _ShortLines(stream, path, encoding)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise InputError(f"{path}: a folder, where a file is wanted") from None
    except UNPACKING_ERRORS:
        raise InputError(f"{path}: the compressed file is damaged or cut off") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None


def read_rows(
    path: Path,
    report: ReadReport,
    n_jobs: int | None = 1,
    cache: StructureCache | None = None,
    screen: MassScreen | None = None,
) -> Iterator[Row]:
    """Yield the usable structures of a CSV, TSV, SMI or SDF file in order.

    A table needs a column ``smiles`` or ``inchi``; ``inchikey`` (or ``inchikey14``), ``name``,
    ``id`` and ``query_id`` are used where they are there, in any case and order, others ignored.
    Databases' names for them are known (see `column_meaning`); PubChem's ``CID-SMILES`` has no
    names of columns. A given key is trusted, except for a structure of several components, of which
    one is kept. In an SMI file a line is a SMILES, then a name.

    Parameters
    ----------
    path
        The file.
    report
        Where rows without a usable structure are counted.
    n_jobs
        Processes that parse a long file, None for one per core; see
        `specvae.molecules.workers.processes`.
    cache
        Where structures are looked up and kept; None for no cache.
    screen
        Leaves out rows of a long file (10,000 rows and more) before they are parsed, and remembers
        them; rows with a ``query_id`` never. None: all rows are parsed.

    Raises
    ------
    InputError
        If the file is not of this kind; in a strict report also at the first bad structure.
    SpecvaeError
        If the system ends one of the processes.
    """
    cells = read_cells(path, report)
    if screen is not None:
        cells = _screened(cells, screen)
    for (line, row), molecule in _parsed(cells, n_jobs, cache):
        if isinstance(molecule, str):
            report.skip(str(path), line, record_of(row), Reason.BAD_STRUCTURE, molecule)
            continue
        for note in molecule.notes:
            report.note(note)
        report.n_read += 1
        written = molecule.written or molecule.smiles
        yield Row(line, written, molecule, row.name, row.id, row.query_id)


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


def _screened(rows: Iterator[tuple[int, Cells]], screen: MassScreen) -> Iterator[tuple[int, Cells]]:
    """Yield the rows of a long file that must be parsed, and all of a short one."""
    head = list(itertools.islice(rows, _WORTH_SCREENING))
    if len(head) < _WORTH_SCREENING:
        yield from head
        return
    most = limits().table_rows  # as many as may be remembered
    rows = itertools.chain(head, rows)
    while screen.n_left_out <= most and (taken := list(itertools.islice(rows, _BATCH))):
        unnamed = [row for row in taken if not row[1].query_id]
        wanted = screen.wanted([row[1][:2] for row in unnamed]).tolist()
        left_out = {row[0] for row, is_wanted in zip(unnamed, wanted, strict=True) if not is_wanted}
        yield from (row for row in taken if row[0] not in left_out)


class _Shared:
    """What all rows that say the same have in common, once it is known."""

    __slots__ = ("_keyed", "found")

    def __init__(self, found: Molecule | str = "") -> None:
        self.found = found
        self._keyed: dict[str, Molecule] = {}

    def molecule(self, cells: Cells) -> Molecule | str:
        """Return a row's molecule, one object for all rows with the same key; or why it has none.

        What is computed of it later is computed once.
        """
        if isinstance(self.found, str):
            return self.found
        if cells.inchikey not in self._keyed:
            self._keyed[cells.inchikey] = trusting(self.found, cells)
        return self._keyed[cells.inchikey]


class _Batch(NamedTuple):
    """Some rows, and of those that must be parsed each said but once."""

    rows: list[tuple[tuple[int, Cells], _Shared]]
    texts: list[tuple[str, str]]
    fresh: list[_Shared]

    def filled(
        self, parsed: Sequence[Molecule | str] = ()
    ) -> Iterator[tuple[tuple[int, Cells], Molecule | str]]:
        """Yield the rows, given what `texts` say."""
        for one, molecule in zip(self.fresh, parsed, strict=True):
            one.found = molecule
        for row, one in self.rows:
            yield row, one.molecule(row[1])


def _parsed(
    rows: Iterator[tuple[int, Cells]], n_jobs: int | None, cache: StructureCache | None
) -> Iterator[tuple[tuple[int, Cells], Molecule | str]]:
    """Yield rows with their molecules, or why a row has none.

    Lists of candidates name many structures once for each query: these are parsed once.
    """
    waiting: deque[_Batch] = deque()

    def unparsed() -> Iterator[list[tuple[str, str]]]:
        for batch in _batches(rows, cache):
            waiting.append(batch)
            if batch.texts:
                yield batch.texts

    # Behind the last, nothing: for batches that need none.
    for parsed in itertools.chain(_parse_batches(unparsed(), n_jobs), [None]):
        while waiting and not waiting[0].texts:
            yield from waiting.popleft().filled()
        if parsed is not None:
            batch = waiting.popleft()
            if cache is not None:
                cache.put(batch.texts, parsed)
            yield from batch.filled(parsed)
    if cache is not None:
        cache.save()


def _parse_batches(
    batches: Iterator[list[tuple[str, str]]], n_jobs: int | None
) -> Iterator[list[Molecule | str]]:
    """Return the molecules of each batch, parsed by several processes if there are many texts."""
    n_processes = n_jobs or usable_cores()
    head: list[list[tuple[str, str]]] = []
    n_texts = 0
    worth = _BATCH if n_waiting() else _WORTH_PROCESSES
    while n_processes > 1 and n_texts < worth and (batch := next(batches, None)):
        head.append(batch)
        n_texts += len(batch)
    batches = itertools.chain(head, batches)
    if n_processes > 1 and n_texts >= worth:
        return in_order(_parse_batch, batches, n_processes, "parse structures")
    return map(_parse_batch, batches)


def _batches(rows: Iterator[tuple[int, Cells]], cache: StructureCache | None) -> Iterator[_Batch]:
    known: dict[tuple[str, str], _Shared] = {}
    while taken := list(itertools.islice(rows, _BATCH)):
        texts = list(dict.fromkeys((cells.smiles, cells.inchi) for _, cells in taken))
        texts = [said for said in texts if said not in known]
        kept = cache.lookup(texts) if cache is not None else [None] * len(texts)
        known |= {said: _Shared(one or "") for said, one in zip(texts, kept, strict=True)}
        missing = [said for said, one in zip(texts, kept, strict=True) if one is None]
        yield _Batch(
            [(row, known[row[1].smiles, row[1].inchi]) for row in taken],
            missing,
            [known[said] for said in missing],
        )
        if len(known) > _MOST_KNOWN:
            known.clear()


def _parse_batch(texts: Sequence[tuple[str, str]]) -> list[Molecule | str]:
    """Return molecules of SMILES and InChI, or why there is none."""
    found: list[Molecule | str] = []
    for start in range(0, len(texts), _PARSED_QUIETLY):
        with quiet_rdkit():
            found += [_parse(*pair) for pair in texts[start : start + _PARSED_QUIETLY]]
    return found


def _parse(smiles: str, inchi: str) -> Molecule | str:
    try:
        molecule = Molecule.parse(smiles, inchi)
    except StructureError as error:
        return str(error)
    _ = molecule.smiles  # computed here, where there may be several processes
    return molecule


def trusting(molecule: Molecule, cells: Cells) -> Molecule:
    """Return a row's molecule with the key that the row gives.

    It is not trusted for a structure of several components, of which one is kept.
    """
    if molecule.n_components == 1 and _INCHIKEY.fullmatch(cells.inchikey):
        return molecule.with_key(cells.inchikey)
    return molecule


def with_own_keys(molecules: Sequence[Molecule | str]) -> Sequence[Molecule | str]:
    """Return molecules, those without their given key that stand beside another's structure.

    A key that was filled down a column would make one candidate of all of its rows, and two keys of
    one structure two candidates, which nothing could tell apart. Of a column that was moved or
    sorted without the others most keys are of other structures: some are computed, and where most
    of these disagree, none is trusted. `molecules` has words in the place of those that cannot be
    used.
    """
    keyed = {id(one): one for one in molecules if isinstance(one, Molecule) and one.given_key}
    of_key: dict[str, Molecule] = {}
    shared: set[str] = set()
    for molecule in keyed.values():
        if (key := molecule.given_key) in shared:
            continue
        first = of_key.setdefault(key, molecule)
        if first is not molecule and not _are_one_compound(first, molecule):
            shared.add(key)
    if _are_of_others([one for key, one in of_key.items() if key not in shared]):
        note, wrong = KEY_OF_ANOTHER, list(keyed.values())
    else:
        note, wrong = KEY_OF_SEVERAL, [one for one in keyed.values() if one.given_key in shared]
    instead = {id(one): one.with_own_key(note) for one in wrong}
    instead |= {
        id(one): one.with_own_key(KEYS_THAT_DIFFER)
        for one in _with_several_keys(one for one in keyed.values() if id(one) not in instead)
    }
    if not instead:
        return molecules
    # One object for all rows that say the same: its key is computed once.
    return [instead.get(id(one), one) for one in molecules]


def _with_several_keys(molecules: Iterable[Molecule]) -> list[Molecule]:
    """Return those of which another, of the same structure, has another first block."""
    of_structure: dict[str, list[Molecule]] = {}
    for one in molecules:
        of_structure.setdefault(one.smiles, []).append(one)
    return [
        one
        for same in of_structure.values()
        if len(same) > 1 and len({each.first_block for each in same}) > 1
        for one in same
    ]


def _are_of_others(molecules: Sequence[Molecule]) -> bool:
    """Return whether most given keys are of other structures, by some that are looked at."""
    sample = molecules[:: -(-len(molecules) // _KEYS_COMPUTED) or 1]
    computed = [(one.first_block, one.with_key("").first_block) for one in sample]
    n_wrong = sum(bool(own) and own != given for given, own in computed)
    return n_wrong >= _FEWEST_WRONG and 2 * n_wrong > len(sample)


def _are_one_compound(one: Molecule, other: Molecule) -> bool:
    """Return whether two structures have one first block, computed only where they look unlike."""
    if one.smiles == other.smiles:
        return True
    flat = (Chem.MolToSmiles(each.mol, isomericSmiles=False) for each in (one, other))
    return len(set(flat)) == 1 or one.with_key("").first_block == other.with_key("").first_block


def parse_cells(cells: Cells) -> Molecule | str:
    """Return the structure of a row, with the key that it gives, or why there is none."""
    found = _parse(cells.smiles, cells.inchi)
    return trusting(found, cells) if isinstance(found, Molecule) else found


def parse_texts(
    texts: Sequence[str], n_jobs: int | None = 1, cache: StructureCache | None = None
) -> list[Molecule | str]:
    """Return the structures of some SMILES, without keys, or why there is none.

    Parameters
    ----------
    texts
        SMILES, each once.
    n_jobs
        Processes that parse many; None for one per core.
    cache
        Where structures are looked up and kept; None for no cache.

    Raises
    ------
    SpecvaeError
        If the system ends one of the processes.
    """
    pairs = [(text, "") for text in texts]
    found: list[Molecule | str | None] = list(
        cache.lookup(pairs) if cache is not None else [None] * len(pairs)
    )
    missing = [pair for pair, one in zip(pairs, found, strict=True) if one is None]
    batches = (missing[start : start + _BATCH] for start in range(0, len(missing), _BATCH))
    n_processes = min(n_jobs or usable_cores(), len(missing) // _BATCH)
    parsed: Iterator[list[Molecule | str]]
    if n_processes <= 1 or (len(missing) < _WORTH_PROCESSES and not n_waiting()):
        parsed = map(_parse_batch, batches)
    else:
        parsed = in_order(_parse_batch, batches, n_processes, "parse structures")
    fresh = list(itertools.chain.from_iterable(parsed))
    if cache is not None:
        cache.put(missing, fresh)
        cache.save()
    rest = iter(fresh)
    return [next(rest) if one is None else one for one in found]


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


# Lists of synonyms exceed the 131,072 characters that Python's reader takes for a cell.
csv.field_size_limit(1 << 28)


def _kind_of(path: Path) -> str:
    """Return ``smi``, ``sdf`` or ``table``, by the file's name.

    PubChem's lists of all compounds have no suffix: ``CID-SMILES.gz``.
    """
    name = unpacked_name(path)
    if name.endswith(_SMI_SUFFIXES):
        return "smi"
    if name.endswith(_SDF_SUFFIXES):
        return "sdf"
    if name.endswith(_TABLE_SUFFIXES) or name.startswith("cid-"):
        return "table"
    if path.is_dir():
        raise InputError(f"{path}: a folder, where a file is wanted")
    wanted = ", ".join((*_SMI_SUFFIXES[:1], *_TABLE_SUFFIXES[:2], *_SDF_SUFFIXES[:1]))
    also = ", ".join(PACKED_SUFFIXES)
    found = _OTHER_FILES.get(path.suffix.lower(), "not known by its suffix")
    raise InputError(f"{path}: {found}; {wanted} (also {also}) are wanted")


def _smi_cells(stream: Iterable[str]) -> Iterator[tuple[int, Cells]]:
    may_be_header = True
    for number, line in enumerate(stream, start=1):
        smiles, _, name = line.strip().replace("\t", " ").partition(" ")
        if not smiles or smiles.startswith("#"):
            continue
        if not (may_be_header and column_meaning(smiles) == "smiles"):
            yield number, Cells(smiles, name=_EXTENSION.sub("", name.strip(), count=1))
        may_be_header = False


def _table_cells(
    path: Path, stream: Iterator[str], report: ReadReport
) -> Iterator[tuple[int, Cells]]:
    first_line, n_before = "", 0
    for first_line in stream:
        if not _is_preface(first_line):
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
        rows = _table_rows(_Lines(lines), unnamed.delimiter, unnamed.n_columns, report)
        yield from _cells_of_rows(path, unnamed.n_columns, rows, unnamed.places, report)
        return
    header, rows = read_table(lines, report)
    columns = _find_columns(path, header, report, first_line)
    yield from _cells_of_rows(path, len(header), rows, columns, report)


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
        yield number, Cells(*(row[i] if 0 <= i < len(row) else "" for i in place))


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
        return "\t" not in line and _is_inchi(text)  # not with further cells behind a comma
    if any(mark in line for mark in _DELIMITERS):
        return False
    meanings = set(map(column_meaning, others))
    is_plain = bool(_PLAIN_NAME.fullmatch(text.lstrip("#")))
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
    if any(map(column_meaning, re.split(f"[{_DELIMITERS}]", lines[0]))):
        return None
    for delimiter in _DELIMITERS:
        table = [row for _, row in _table_rows(_Lines(lines), delimiter, 2, None)]
        n_columns = len(table[0])
        if not 1 < n_columns < 4 or any(len(row) != n_columns for row in table):
            continue
        kinds = [_kind_of_column(column) for column in zip(*table, strict=True)]
        found = {kind: [kinds.index(kind)] for kind in kinds if kinds.count(kind) == 1}
        is_certain = len(found) == n_columns and "" not in found
        if is_certain and ("smiles" in found) != ("inchi" in found):
            return _Unnamed(delimiter, n_columns, [found.get(field, [-1]) for field in _COLUMNS])
    return None


def _kind_of_column(texts: Sequence[str]) -> str:
    """Return the field of `Cells` that a column without a name must be, "" for none."""
    if all(map(_INCHIKEY.fullmatch, texts)):
        return "inchikey"
    if all(map(_is_structure, texts)) and not any(map(is_cut_inchi, texts)):
        return "inchi" if all(map(_begins_inchi, texts)) else "smiles"
    is_name = not any(map(_DECIMAL.fullmatch, texts)) and len(set(texts)) == len(texts)
    return "name" if is_name and not any(map(_begins_inchi, texts)) else ""


_DECIMAL = re.compile(r"\s*|[-+]?\d*\.\d+(?:[eE][-+]?\d+)?")  # a mass, or nothing


def _is_inchi(text: str) -> bool:
    with quiet_rdkit():
        return Chem.MolFromInchi(text) is not None  # type: ignore[no-untyped-call]


def _is_structure(text: str) -> bool:
    """Return whether a text that may be a column's name is a structure."""
    if not text or column_meaning(text):
        return False
    with quiet_rdkit():
        return text.startswith("InChI=") or Chem.MolFromSmiles(text) is not None


def _sdf_cells(
    path: Path, stream: Iterable[str], report: ReadReport
) -> Iterator[tuple[int, Cells]]:
    """Yield the records of an SD file, each with its first line.

    A structure that is stated as SMILES or InChI among the data is taken before the drawing, which
    states stereochemistry less clearly. Where ``$$$$`` is missing between two records, the data
    between their drawings belong to the first, and the second is skipped.
    """
    begin, record, drawings = 1, list[str](), list[int]()
    for number, line in enumerate(stream, start=1):
        if line.startswith("$$$$"):
            yield begin, _cells_of_record(record, report)
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
        yield begin, _cells_of_record(record, report)


def _cells_of_record(record: Sequence[str], report: ReadReport) -> Cells:
    data: dict[str, str] = {}
    end = next((n for n, line in enumerate(record) if line.startswith("M  END")), len(record) - 1)
    name = ""
    for line in record[end + 1 :]:
        if found := _SDF_NAME.match(line):
            name = _word(found[1])
        elif name and line.strip():
            data.setdefault(name, _CONTROL.sub(" ", line).strip())
    title = _CONTROL.sub(" ", record[0]).strip() if record else ""
    stated = {
        field: _first_stated([data[name] for name in names if data.get(name)] or [""])
        for field, names in _COLUMNS.items()
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
    # The first line is an identifier in some files and a name in others.
    if not stated["id"]:
        stated["id"] = title
    elif not stated["name"] and title != stated["id"]:
        stated["name"] = title
    return Cells(**{**stated, "query_id": ""})


DRAWING_INSTEAD = "drawing taken where the SMILES cannot be parsed"


def _drawn(lines: Sequence[str]) -> str:
    """Return the SMILES of a drawing, "" if it is none."""
    # Behind the three lines of its head, some editors leave a line blank.
    block = [line for n, line in enumerate(lines) if n < 4 or line.strip()]
    mol = Chem.MolFromMolBlock("\n".join(block) + "\n")
    return "" if mol is None else Chem.MolToSmiles(mol)


def read_table(
    stream: Iterable[str], report: ReadReport | None = None
) -> tuple[list[str], Iterator[tuple[int, list[str]]]]:
    """Return the column names and the rows of a table, each with its last line, counted from 1.

    Cells are separated by commas, tabs, semicolons or bars: whichever divides the header into most
    names that are known, else whichever it has most of. They are stripped, and control characters
    in them are blanks. Rows without any text are left out. A quotation mark that is never closed is
    a character, and is noted; so is an InChI without quotation marks, whose cells are joined.
    """
    lines = _Lines(stream)
    header_line = next((line for line in lines if not _is_preface(line)), "").lstrip("#")
    delimiter = _delimiter_of(header_line)
    names = _names(header_line, delimiter)
    rows = _with_whole_inchi(
        _table_rows(lines, delimiter, len(names), report), names, delimiter, report
    )
    head = list(itertools.islice(rows, 2))
    if head and all(
        len(row) == len(names) + 1 and row[0] == str(number) and row[-1]
        for number, (_, row) in enumerate(head, start=1)
    ):
        names.insert(0, "")  # R numbers the rows, without a name for the column
    return names, itertools.chain(head, rows)


INCHI_JOINED = "InChI without quotation marks, its cells joined"


def _with_whole_inchi(
    rows: Iterator[tuple[int, list[str]]],
    names: Sequence[str],
    delimiter: str,
    report: ReadReport | None,
) -> Iterator[tuple[int, list[str]]]:
    """Yield rows, with one cell where an InChI without quotation marks became several.

    Its commas divide it. Cells are joined where that gives an InChI.
    """
    words = map(_word, names)
    places = [n for n, word in enumerate(words) if "inchi" in word and "key" not in word]
    n_columns = len(names)
    for number, row in rows:
        if len(row) > n_columns and any(map(_begins_inchi, row)):
            whole = _joined(row, n_columns, places, delimiter)
            if whole is not None:
                row = whole
                if report is not None:
                    report.note(INCHI_JOINED)
        yield number, row


def _begins_inchi(cell: str) -> bool:
    return cell.lstrip("\"'").startswith("InChI=")


def is_cut_inchi(cell: str) -> bool:
    """Return whether a cell begins as an InChI and is none."""
    return _begins_inchi(cell) and not _is_inchi(cell.strip("\"'"))


def _joined(
    row: list[str], n_columns: int, places: Sequence[int], delimiter: str
) -> list[str] | None:
    """Return a row with whole InChI, None where it is not certain which cells are theirs."""

    def one_cell(start: int, n_cells: int) -> str | None:
        text = delimiter.join(row[start : start + n_cells]).strip("\"'")
        return text if n_cells > 1 and start + n_cells <= len(row) and _is_inchi(text) else None

    starts = [n for n, cell in enumerate(row) if _begins_inchi(cell)]
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


def _delimiter_of(header_line: str) -> str:
    def quality(delimiter: str) -> tuple[int, int]:
        known = filter(column_meaning, _names(header_line, delimiter))
        return len(list(known)), header_line.count(delimiter)

    return max(_DELIMITERS, key=quality)


def _names(header_line: str, delimiter: str) -> list[str]:
    return [
        name.strip().strip("\"'").lower().replace(" ", "_")
        for name in next(csv.reader([header_line], delimiter=delimiter), [])
    ]


def _is_preface(line: str) -> bool:
    """Whether a line stands before a table's header: blank, a comment, Excel's ``sep=;``."""
    if line.startswith("#"):
        meanings = map(column_meaning, re.split(f"[{_DELIMITERS}]", line))
        return not set(meanings) & {"smiles", "inchi", "inchikey", "query_id"}
    return not line.strip() or re.fullmatch(r"sep=.", line.strip()) is not None


def column_meaning(name: str) -> str:
    """Return ``smiles``, ``inchi``, ``inchikey``, ``name``, ``id`` or ``query_id``, "" for none.

    Databases' names for these columns are known, such as ``CanonicalSMILES``, ``isosmiles``,
    ``StdInChIKey``, ``CompoundName`` or ``Identifier``; case, punctuation and what stands in
    brackets do not matter.
    """
    return _FIELD_OF.get(_word(name), "")


def _word(name: str) -> str:
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


def _table_rows(
    lines: _Lines, delimiter: str, n_columns: int, report: ReadReport | None
) -> Iterator[tuple[int, list[str]]]:
    for line in lines:
        row = line.split(delimiter)
        if '"' in line:
            quoted = lines.quoted(line, delimiter, n_columns)
            if quoted is not None:
                row = quoted
            elif report is not None:
                report.note("stray quotation mark taken as a character")
        # Nearly all lines are printable: they are looked at as a whole.
        if not line.replace(delimiter, "").isprintable() or '"' in line:
            row = [_CONTROL.sub(" ", cell) for cell in row]
        cells = [cell.strip() for cell in row]
        if any(cells):
            yield lines.number, cells


class _Lines:
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
            if len(lines) > 1 and all(len(each.split(delimiter)) == n_columns for each in lines):
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


def _find_columns(
    path: Path, header: Sequence[str], report: ReadReport, header_line: str
) -> list[list[int]]:
    """Return where smiles, inchi, inchikey, name, id and query_id stand, best first; [-1] if none.

    A row whose best column is empty may have the value in another. Where no name of a structure's
    column is known, the only one that speaks of SMILES, or of InChI, is taken, which is noted.
    """
    words = [_word(name) for name in header]
    columns = [
        [words.index(name) for name in spellings if name in words] or [-1]
        for spellings in _COLUMNS.values()
    ]
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
                if spelling in word and "key" not in word and _PLAIN_NAME.fullmatch(name)
            ]
            if len(alike) == 1:
                columns[place] = alike
                report.note(f"column {header[alike[0]]} taken for {spelling}")
    if columns[0] == columns[1] == [-1]:
        texts = (text.strip("\"'") for text in re.split(f"[{_DELIMITERS} ]", header_line.strip()))
        if any(len(text) >= _SHORTEST_STRUCTURE and _is_structure(text) for text in texts):
            raise InputError(
                f"{path}: its first line is a structure; wanted names of columns before it, such "
                "as smiles,name"
            )
        shown = ", ".join(name[:20] for name in header[:8])
        raise InputError(f"{path}: no column smiles or inchi among the columns {shown}")
    if columns[-1] == [-1] and (
        named := [n for n, w in zip(header, words, strict=True) if w in _OF_QUERIES]
    ):
        report.note(f"column {named[0]} not used: only query_id says whose candidates rows are")
    return columns
