"""Tables whose rows list several structures, in a column each or in one cell.

MS-FINDER's results have a column for each, MetaboLights' tables of metabolites a cell for all. And
tables whose cells were merged, so that only the first row of each query names it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import chain, islice, pairwise

from specvae.molecules.sorted_apart import noted_where_sorted_apart
from specvae.molecules.structure_text import is_smiles, says_nothing
from specvae.molecules.text_tables import Cells, column_meaning, plain_word
from specvae.report import ReadReport

WIDE = "several columns of SMILES, each of which holds a structure of its own"
_COPY = re.compile(r"(.+)\.\d{1,3}")
WIDE_INCHI = WIDE.replace("SMILES", "InChI")
_NUMBERED = re.compile(r"(smiles|inchi|inchikey|structurerank)(\d{1,3})")

IN_ONE_CELL = "several structures in a cell, each of which is one"
_BETWEEN = re.compile(r"\s*[|;]\s*")
_BEFORE_INCHI = re.compile(r"(?<=[\s|;,])(?=InChI=)")
_LIST_OF_INCHI = re.compile(r"InChI=.*(?:InChI=|\|)|.*\|\s*InChI=", re.DOTALL).match
_LONGEST_LIST = 10_000  # characters: RDKit takes seconds for longer texts
_EXTENSION = re.compile(r"\s\|(?!\s)[^|]*\|")  # ChemAxon's, behind a SMILES

Rows = Iterator[tuple[int, list[str]]]


def one_structure_each(header: list[str], rows: Rows, report: ReadReport) -> tuple[list[str], Rows]:
    """Return header and rows of a table with a row for each structure.

    Columns of one name, ``SMILES`` and ``SMILES`` (or ``SMILES.1``), or of names with numbers from
    1 on, ``SMILES 1`` and ``SMILES 2``, are of several structures, and so are those of InChI in a
    table without SMILES; the columns of InChIKeys go with them if they are as many. All other cells
    of a row belong to each of its structures. A table with one structure in a row is returned as it
    is.
    """
    rows = noted_where_sorted_apart(header, rows, report)
    words = [*map(plain_word, header)]
    words = [_before_its_copy(name, words) for name in header]
    field = "smiles" if "smiles" in map(column_meaning, words) else "inchi"
    structures = _places(words, field)
    if len(structures) < 2 and field == "inchi":
        field, structures = "smiles", _places(words, "smiles")  # "SMILES 1" is no known name
    if len(structures) < 2:
        return header, rows
    report.note(WIDE if field == "smiles" else WIDE_INCHI)
    keys = _places(words, "inchikey")
    names = _places(words, "structurerank")  # MS-FINDER's column of names
    groups = [structures, *(c if len(c) == len(structures) else [] for c in (keys, names))]
    first = {c[0]: name for c, name in zip(groups, (field, "inchikey", "name"), strict=True) if c}
    others = {*structures, *keys, *names} - first.keys()
    header = [
        "" if place in others else first.get(place, name) for place, name in enumerate(header)
    ]
    return header, _divided(rows, groups, others)


def _before_its_copy(name: str, words: Sequence[str]) -> str:
    """Return the word of a column, which pandas and R call ``SMILES.1`` if it is a second one."""
    found = _COPY.fullmatch(name)
    word = plain_word(name if found is None else found[1])
    return word if found is None or word in words else plain_word(name)


def _places(words: Sequence[str], field: str) -> list[int]:
    """Return where the columns of a field are, by their numbers if their names have some."""
    alike = [place for place, word in enumerate(words) if word == field]
    if alike:
        return alike
    found = {
        int(match[2]): place
        for place, word in enumerate(words)
        if (match := _NUMBERED.fullmatch(word)) is not None and match[1] == field
    }
    is_list = sorted(found) == list(range(1, len(found) + 1))
    return [found[number] for number in sorted(found)] if is_list else []


def _divided(rows: Rows, groups: Sequence[Sequence[int]], others: set[int]) -> Rows:
    structures = groups[0]
    end = max(map(max, filter(None, groups))) + 1
    for number, row in rows:
        row.extend([""] * (end - len(row)))  # cells left out at the end say nothing
        n_found = 0
        for n, place in enumerate(structures):
            if says_nothing(row[place]):
                continue
            n_found += 1
            one = ["" if column in others else cell for column, cell in enumerate(row)]
            for places in groups:
                if places:
                    one[places[0]] = row[places[n]]
            yield number, one
        if not n_found:
            yield number, row


def one_cell_each(
    rows: Iterator[tuple[int, Cells]], report: ReadReport
) -> Iterator[tuple[int, Cells]]:
    """Yield what rows say, each structure by itself where bars or semicolons divide several.

    Their other cells are divided likewise, if they hold as many, and belong to each otherwise; but
    an InChIKey belongs to none. What stands for no structure, as in mzTab's ``CCO|null``, is none.
    """
    for number, cells in rows:
        is_list = "|" in cells.smiles or ";" in cells.smiles or _LIST_OF_INCHI(cells.inchi)
        n_places, parts = _structures(cells.smiles, cells.inchi) if is_list else (0, [])
        if not parts or n_places < 2:
            yield number, cells
            continue
        if len(parts) > 1:
            report.note(IN_ONE_CELL)
        keys, names, ids = map(_BETWEEN.split, (cells.inchikey, cells.name, cells.id))
        for n, smiles, inchi in parts:
            yield (
                number,
                cells._replace(
                    smiles=smiles,
                    inchi=inchi,
                    inchikey=keys[n] if len(keys) == n_places else "",
                    name=names[n] if len(names) == n_places else cells.name,
                    id=ids[n] if len(ids) == n_places else cells.id,
                ),
            )


def _structures(smiles: str, inchi: str) -> tuple[int, list[tuple[int, str, str]]]:
    """Return how many structures two cells have room for, and the place and texts of each.

    Return nothing if they are no lists.
    """
    inchis = _inchis(inchi)
    if len(smiles) > _LONGEST_LIST or _EXTENSION.search(smiles) is not None:
        return 0, []
    texts = _BETWEEN.split(smiles.strip("|; "))
    stated = [n for n, text in enumerate(texts) if not says_nothing(text)]
    if not stated:
        return len(inchis), [(n, "", text) for n, text in enumerate(inchis) if text]
    if not all(is_smiles(texts[n]) for n in stated):
        return 0, []
    beside = inchis if len(inchis) == len(texts) else [""] * len(texts)
    return len(texts), [(n, texts[n], beside[n]) for n in stated]


def _inchis(cell: str) -> list[str]:
    """Return the InChI of a cell of several, "" for each that is not stated."""
    if not _LIST_OF_INCHI(cell):
        return []
    texts = ["" if says_nothing(text) else text.strip() for text in cell.split("|")]
    if all(not text or (text.startswith("InChI=") and " " not in text) for text in texts):
        return texts
    return [text.strip(" \t|;,") for text in _BEFORE_INCHI.split(cell)]


MERGED = "query_id of the row above taken, as where cells were merged"
_LOOKED_AT = 200  # rows


def with_merged_ids(
    rows: Iterator[tuple[int, Cells]], report: ReadReport
) -> Iterator[tuple[int, Cells]]:
    """Yield what rows say, with the query of the row above where cells of ``query_id`` were merged.

    Cells were merged if no two consecutive rows name the same query, and at least as many rows name
    none as name one: in a spreadsheet with merged cells each query is written once, above its
    candidates.
    """
    begun = list(islice(rows, _LOOKED_AT))
    ids = [cells.query_id for _, cells in begun]
    n_empty = ids.count("")
    is_merged = (
        bool(ids and ids[0])
        and n_empty >= len(ids) - n_empty
        and not any(one and one == other for one, other in pairwise(ids))
    )
    if not is_merged:
        yield from chain(begun, rows)
        return
    query_id = ""
    for number, cells in chain(begun, rows):
        if cells.query_id:
            query_id = cells.query_id
            yield number, cells
        else:
            report.note(MERGED)
            yield number, cells._replace(query_id=query_id)
