"""Files that name compounds: which ones to leave out of training, and which one each query is."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from specvae.annotation.library.pairs import FITTING_COMPONENT, StructureParser
from specvae.compression import uncompressed_name
from specvae.counting import counted
from specvae.errors import InputError, StructureError
from specvae.molecules.mixtures import without_larger_counter_ion
from specvae.molecules.molecule import FIRST_BLOCK, blocks_of_inchi, parse_molecule
from specvae.molecules.structure_text import says_nothing
from specvae.molecules.structures import read_rows
from specvae.molecules.text_tables import column_meaning, is_cut_inchi, open_text, read_table
from specvae.molecules.wide_tables import one_structure_each
from specvae.report import ReadReport, Reason
from specvae.spectra.doubts import decoy_of, suggestion_of
from specvae.spectra.read import read_spectra

_KEY = re.compile(r"(?:InChIKey\s*[=:]\s*)?([A-Z]{14})(?:-[A-Z]{10}-[A-Z])?(?=$|[\s,;|-])")
_WHOLE_KEYS = re.compile(r"(?<![A-Za-z])([A-Z]{14})-[A-Z]{10}-[A-Z](?![A-Za-z])", re.IGNORECASE)
_ONE_KEY = r"[A-Z]{14}(?:-[A-Z]{10}-[A-Z])?"
_SEVERAL_KEYS = re.compile(rf"{_ONE_KEY}(?:[\s,;|]+{_ONE_KEY})+")
_ATOMS = set("BCFHINOPS")
BLOCK_COLUMNS = ("inchikey", "smiles", "inchi")
_KEY_COLUMNS = "inchikey14, first_block, inchikey, smiles, inchi"
_SPECTRUM_SUFFIXES = ("mgf", "msp", "mat", "mzml", "mzxml")
_LIST_SUFFIXES = ("txt", "smi", "smiles", "ism")
_DRAWING_SUFFIXES = ("sdf", "sd", "mol")


def read_excluded(paths: Iterable[Path], report: ReadReport | None = None) -> frozenset[str]:
    """Return the InChIKey first blocks that stand in exclusion files.

    A ``.csv`` or ``.tsv`` gives them in a column ``inchikey14``, ``first_block``, ``inchikey``,
    ``smiles`` or ``inchi``; a ``.txt`` or ``.smi`` InChIKeys, a first block or a SMILES a line; an
    SD file its structures; a file of spectra by their structures or InChIKeys. Where a row has a
    key and a structure, both are excluded, as one compound too many does less harm than one too
    few. Malformed records of a file of spectra are counted in `report`; a spectrum that states
    neither structure nor key names no compound.

    Raises
    ------
    InputError
        If a file cannot be read, names no compound at all, or has a row without a readable
        compound: an exclusion that quietly misses a compound would let it into training. In a
        strict report also at the first malformed record.
    """
    report = report if report is not None else ReadReport()
    blocks: set[str] = set()
    for path in paths:
        found = _blocks_of_file(path, report)
        if not found:
            raise InputError(
                f"{path}: no compound found to exclude; wanted InChIKeys, first blocks or SMILES"
            )
        blocks |= found
    return frozenset(blocks)


SALT_KEY = "InChIKey of a salt, that of the structure without its counter-ion taken"

ANSWERS_AS_TRUTHS = "a table of answers: figures say how often others agree, not who is right"
_OF_ANSWERS = {"rank", "structureperidrank", "score", "probability"}  # two of them are enough

DECOY_TRUTH = "structure of a decoy, which is no truth"
SUGGESTED_TRUTH = "structure suggested, not matched by its spectrum, which is no truth"

FEWEST_ATOMS = 4
"""Heavy atoms of a component that may be what was measured, and no solvent or mineral acid."""
LONGEST_SALT = 1000
"""In characters; a longer list of components is a mixture, or worse."""

KEY_BEFORE_STRUCTURE = "InChIKey and structure disagree, the InChIKey taken"
SMILES_BEFORE_INCHI = "SMILES and InChI disagree, the SMILES taken"


def read_truth(path: Path, report: ReadReport | None = None) -> dict[str, str]:
    """Return query_id -> InChIKey first block of the right structure.

    The CSV has a column ``query_id`` and one of ``inchikey14``, ``first_block``, ``inchikey``,
    ``smiles`` or ``inchi``. If the key and the structure of a row disagree, the key counts, except
    for salts, whose key no candidate has. If a SMILES and an InChI disagree, the SMILES counts.
    `report` gets a note of each case, and of a table of answers by this program or SIRIUS, which
    is no truth. A file of spectra gives the structures or InChIKeys that its records state; a
    record that states neither has no truth.

    Raises
    ------
    InputError
        If the file or a column is missing, a row has no readable compound, or two rows of one query
        disagree.
    """
    report = report if report is not None else ReadReport()
    if _suffix(path) in _SPECTRUM_SUFFIXES:
        truth = dict(_truths_of_spectra(path, report))
        if not truth:
            raise InputError(f"{path}: no truth found; wanted spectra that state a structure")
        return truth
    truth = {}
    is_of_answers = False
    for line, row in compound_rows(path, report, required="query_id"):
        is_of_answers = len(_OF_ANSWERS & row.keys()) > 1
        query_id = row.get("query_id", "")
        if not query_id:
            raise InputError(f"{path}:{line}: empty query_id")
        for block in _truths_of_row(path, line, row, report):
            if truth.setdefault(query_id, block) != block:
                raise InputError(
                    f"{path}:{line}: query {query_id!r} has two truths, {truth[query_id]} and "
                    f"{block}"
                )
    if not truth:
        raise InputError(f"{path}: no truth found; wanted rows below the header")
    if is_of_answers:
        report.note(ANSWERS_AS_TRUTHS)
    return truth


def _truths_of_spectra(path: Path, report: ReadReport) -> Iterator[tuple[str, str]]:
    """Yield query_id and first block of each spectrum that states a structure or a key."""
    parse = StructureParser()
    # Unreadable records are reported when the same file is read for its queries.
    for spectrum in read_spectra(path, ReadReport()):
        if (spectrum.smiles or spectrum.inchi or spectrum.first_block) and suggestion_of(spectrum):
            report.note(SUGGESTED_TRUTH)
            continue
        if (spectrum.smiles or spectrum.inchi or spectrum.first_block) and decoy_of(spectrum):
            report.note(DECOY_TRUTH)
            continue
        block = ""
        if spectrum.smiles or spectrum.inchi:
            with contextlib.suppress(StructureError):
                block = parse(spectrum).first_block
                if (part := parse.component(spectrum)) is not None:
                    report.note(FITTING_COMPONENT)
                    yield spectrum.query_id, part.first_block
                    continue
        key = spectrum.first_block or block
        if block and key != block:
            key = _preferred_block(key, block, spectrum.smiles or "", spectrum.inchi or "", report)
        elif block and not spectrum.first_block and spectrum.smiles:
            of_inchi = blocks_of_inchi(spectrum.inchi)
            if of_inchi and block not in of_inchi:
                report.note(SMILES_BEFORE_INCHI)
        if key:
            yield spectrum.query_id, key


def _suffix(path: Path) -> str:
    return uncompressed_name(path).rpartition(".")[2]


def _truths_of_row(
    path: Path, line: int, row: Mapping[str, str], report: ReadReport
) -> Sequence[str]:
    """Return the first blocks that a row gives as the truth: one, unless it has several keys."""
    block, *others = _blocks_of_row(path, line, row)
    keys = [*_blocks_of_line(path, line, text, "inchikey")] if (text := _key_cell(row)) else []
    if len(set(keys)) > 1:
        return keys
    if not others or block in others:
        if keys and others and others[0] != block:
            report.note(KEY_BEFORE_STRUCTURE)  # key and InChI agree, against the SMILES
        return (block,)
    if says_nothing(row.get("inchikey", "")):
        report.note(SMILES_BEFORE_INCHI)
        return (block,)
    return (
        _preferred_block(block, others[0], row.get("smiles", ""), row.get("inchi", ""), report),
    )


def _key_cell(row: Mapping[str, str]) -> str:
    text = row.get("inchikey", "")
    is_keys = _WHOLE_KEYS.search(text) or _SEVERAL_KEYS.fullmatch(text)
    return text if is_keys is not None else ""


def _preferred_block(key: str, structure: str, smiles: str, inchi: str, report: ReadReport) -> str:
    """Return the first block that counts if those of a key and a structure disagree."""
    is_salt = _is_salt(smiles, inchi)
    report.note(SALT_KEY if is_salt else KEY_BEFORE_STRUCTURE)
    return structure if is_salt else key


def _is_salt(smiles: str, inchi: str) -> bool:
    return "." in smiles or "." in inchi.partition("/c")[0]


def _blocks_of_file(path: Path, report: ReadReport) -> set[str]:
    suffix = _suffix(path)
    if suffix in _SPECTRUM_SUFFIXES:
        return _blocks_of_spectra(path, report)
    if suffix in _DRAWING_SUFFIXES:
        # A record that cannot be read would be missed quietly.
        found = set()
        for row in read_rows(path, ReadReport(strict=True)):
            found |= {row.molecule.given_key[:FIRST_BLOCK], row.molecule.with_key("").first_block}
            found.update(_components(row.smiles))
        return found - {""}
    if suffix in _LIST_SUFFIXES:
        with open_text(path) as stream:
            lines = [line.strip() for line in stream]
        if lines[0].startswith("ACCESSION:"):
            return _blocks_of_spectra(path, report)
        return {
            block
            for n, text in enumerate(lines, start=1)
            if text
            and not text.startswith("#")
            and not (n == 1 and column_meaning(text.split()[0]))
            for block in (*_blocks_of_line(path, n, text), *_further_blocks(text))
        }
    return {
        block
        for line, row in compound_rows(path, report)
        for block in (*_blocks_of_row(path, line, row), *_further_blocks(row.get("smiles", "")))
    }


def _further_blocks(text: str) -> Iterator[str]:
    """Yield further first blocks that a text names, beside that of the structure it begins with.

    They are those of the structure's components, and of a text behind a blank that can be read as
    a structure. It may be a name, but one compound too many does less harm than one too few.
    """
    smiles, *others = text.split() or [""]
    yield from _components(smiles)
    for word in others:
        with contextlib.suppress(StructureError):
            if "C" in word.upper():
                yield parse_molecule(smiles=word).first_block


def _components(smiles: str) -> Iterator[str]:
    """Yield the first blocks of the components of a salt, as any of them may have been measured.

    The largest component may be the counter-ion, as in choline tartrate.
    """
    if "." not in smiles or len(smiles) > LONGEST_SALT:
        return
    for part in dict.fromkeys(smiles.strip("\"'").split(".")):
        with contextlib.suppress(StructureError):
            molecule = parse_molecule(smiles=part)
            elements = [atom.GetSymbol() for atom in molecule.mol.GetAtoms()]
            if "C" in elements and len(elements) >= FEWEST_ATOMS:
                yield molecule.first_block


def _blocks_of_spectra(path: Path, report: ReadReport) -> set[str]:
    parse = StructureParser()
    blocks: set[str] = set()
    for spectrum in read_spectra(path, report, every_level=True):
        # If key, SMILES and InChI disagree, the compounds of all three are left out.
        found = {spectrum.first_block or "", *_components(spectrum.smiles or "")}
        found |= blocks_of_inchi(spectrum.inchi)
        if spectrum.smiles or spectrum.inchi:
            try:
                found.add(parse(spectrum).first_block)
            except StructureError as error:
                found.update(_blocks_of_list(spectrum.smiles or ""))
                if not found - {""}:
                    name, line = spectrum.query_id, spectrum.line
                    report.leave_out(str(path), line, name, Reason.BAD_STRUCTURE, str(error))
        blocks |= found
    return blocks - {""}


def _blocks_of_list(text: str) -> list[str]:
    """Return the first blocks of structures that semicolons or bars divide, if all can be read."""
    try:
        return [parse_molecule(smiles=one).first_block for one in re.split("[;|]", text)]
    except StructureError:
        return []


def unread_exclusions(report: ReadReport) -> str:
    """Return a line on records of exclusion files that could not be read, "" if all were."""
    lost = [skip for skip in report.skips if skip.reason.is_malformed]
    if not lost:
        return ""
    records = counted(len(lost), "unreadable records")
    return (
        f"warning: {records} of exclusion files, whose compounds are not left out unless another "
        f"record names them (first: {lost[0]})"
    )


def _blocks_of_line(path: Path, line: int, text: str, column: str = "") -> Iterable[str]:
    """Return the first blocks that a text names: of all InChIKeys, else of its first structure."""
    if _SEVERAL_KEYS.fullmatch(bare := text.strip("\"'")):
        return [key[:FIRST_BLOCK] for key in re.findall(_ONE_KEY, bare)]
    keys = _WHOLE_KEYS.findall(text)
    return map(str.upper, keys) if keys else (_block_of_text(path, line, text, column),)


def _blocks_of_row(path: Path, line: int, row: Mapping[str, str]) -> Iterator[str]:
    """Yield the first blocks that the cells of a row name, the key's before the structures'."""
    errors = []
    n_found = 0
    for column in BLOCK_COLUMNS:
        text = row.get(column, "")
        if says_nothing(text):
            continue
        try:
            found = list(_blocks_of_line(path, line, text, column))
        except InputError as error:
            errors.append(error)
            continue
        n_found += len(found)
        yield from found
    if not n_found:
        raise (
            errors[0]
            if errors
            else InputError(f"{path}:{line}: no compound; wanted one of {_KEY_COLUMNS}")
        )


def blocks_as_candidate(path: Path, line: int, row: Mapping[str, str]) -> list[str]:
    """Return the first blocks that a row's compound has as a candidate.

    They are the one of its key, if it has a key, and for a salt also the one of the structure
    without counter-ions.

    Raises
    ------
    InputError
        If it names no compound.
    """
    found = _blocks_of_row(path, line, row)
    is_salt = _is_salt(row.get("smiles", ""), row.get("inchi", ""))
    return list(found) if is_salt else [next(found)]


def _block_of_text(path: Path, line: int, text: str, column: str) -> str:
    """Return the first block that a text states, or that its structure has.

    A chain such as CCCCCCCCCCCCCN has the shape of a first block: letters that are all atoms are
    taken as one only in a column of keys.
    """
    text = text.strip("\"'")
    found = _KEY.match(text)
    is_key_column = column == "inchikey"
    if found and column != "smiles" and (is_key_column or set(found[1]) - _ATOMS):
        return found[1]
    try:
        if column == "inchi" or text.startswith("InChI="):
            return parse_molecule(inchi=text).first_block
        return parse_molecule(smiles=without_larger_counter_ion(text)).first_block
    except StructureError as error:
        raise InputError(
            f"{path}:{line}: {error}; wanted an InChIKey, its first block or a structure"
        ) from None


def compound_rows(
    path: Path,
    report: ReadReport,
    required: str | None = None,
    *,
    is_every_cell_named: bool = False,
) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield line number and row, by column names in lower case.

    Columns of keys and structures are called ``inchikey``, ``smiles`` and ``inchi``.

    Raises
    ------
    InputError
        If the file cannot be read, or has none of these columns, or not the `required` one; if
        `is_every_cell_named`, also if a row has more cells than there are columns.
    """
    with open_text(path) as stream:
        names, rows = one_structure_each(*read_table(stream, report), report)
        # If two columns have one meaning, the first one that is not empty counts.
        fields = [column_meaning(name) or name for name in names]
        if not set(fields) & set(BLOCK_COLUMNS) or (required and required not in fields):
            wanted = (
                f"{required} and one of {_KEY_COLUMNS}" if required else f"one of {_KEY_COLUMNS}"
            )
            shown = ", ".join(name[:20] for name in names[:8]) or "none"
            raise InputError(f"{path}:1: found columns {shown}; wanted {wanted}")
        for line, cells in rows:
            row: dict[str, str] = {}
            has_more, is_cut = any(cells[len(fields) :]), any(map(is_cut_inchi, cells))
            if has_more and (is_every_cell_named or is_cut):
                unquoted = "an InChI" if is_cut else "a cell"
                raise InputError(
                    f"{path}:{line}: found {len(cells)} cells, wanted {len(fields)} as in the "
                    f"header: quotation marks are missing around {unquoted}"
                )
            for field, cell in zip(fields, cells, strict=False):
                if says_nothing(row.get(field, "")):
                    row[field] = cell
                elif field == "inchikey" and _are_keys_of_two(row[field], cell):
                    row[field] = f"{row[field]}; {cell}"  # both are excluded, neither is a truth
            yield line, row


def _are_keys_of_two(key: str, other: str) -> bool:
    """Whether two cells are InChIKeys or first blocks of two compounds."""
    one, two = _KEY.fullmatch(key), _KEY.fullmatch(other)
    return one is not None and two is not None and one[1] != two[1]
