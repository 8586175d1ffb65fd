"""SD files: the records of a file, each with its drawing and its data, as the text of a row."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from rdkit import Chem

from specvae.errors import InputError, StructureError
from specvae.molecules.mixtures import atoms_of_text
from specvae.molecules.quiet import quiet_rdkit
from specvae.molecules.standard import standard_form
from specvae.molecules.structure_text import heavy_atoms, heavy_atoms_of_inchi, says_nothing
from specvae.molecules.text_tables import (
    COLUMNS,
    CONTROL,
    Cells,
    column_meaning,
    first_stated,
    plain_word,
    record_of,
)
from specvae.report import ReadReport, Reason

DRAWING_INSTEAD = "drawing taken where the SMILES cannot be parsed"
DRAWING_OF_ANOTHER = "drawing of another formula than the SMILES or InChI beside it, which is taken"

_HEAD_LINES = 3  # of a drawing, before its counts
_COUNTS = re.compile(r".*V[23]000\s*")  # the fourth line of an SD file
_DATA_NAME = re.compile(r">.*?<([^>]*)>")
_DRAWN_ATOM = re.compile(r"(?:M  V30 \d+|(?: *-?\d+\.\d+){3}) ([A-Z][a-z]?) ")
LONGEST_RECORD = 100_000  # lines
_LONGEST_DRAWING = 5_000  # lines: atoms and bonds
_WRAPPED = 60  # characters of a line that may go on in the next
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


def begins_with_drawing(lines: Sequence[str]) -> bool:
    """Return whether lines begin with a drawing, as an SD file and each of its records does."""
    return len(lines) > _HEAD_LINES and _COUNTS.fullmatch(lines[_HEAD_LINES]) is not None


def sd_cells(path: Path, stream: Iterable[str], report: ReadReport) -> Iterator[tuple[int, Cells]]:
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
        if len(record) > LONGEST_RECORD:
            raise InputError(
                f"{path}:{begin}: found more than {LONGEST_RECORD:,} lines without the end of "
                "a record, $$$$"
            )
    if any(line.strip() for line in record):
        yield from cells()


def _set_head(record: list[str]) -> None:
    """Make sure that a record has the three lines of its head before its counts.

    Where files were joined, blank lines may precede it, and editors drop blank lines of the head.
    """
    place = next((n for n, line in enumerate(record[:12]) if _COUNTS.fullmatch(line)), -1)
    n_above = place - _HEAD_LINES
    if place < 0 or n_above == 0:
        return
    if n_above > 0 and not any(line.strip() for line in record[:n_above]):
        del record[:n_above]
    elif n_above < 0:
        # The line of its program, which is below its title, begins with blanks.
        begin = place if record[0][:1].strip() and place > 0 else 0
        record[begin:begin] = [""] * -n_above


def _why_unread(record: Sequence[str], cells: Cells) -> str:
    """Return why a record with a drawing has no structure, "" if it has one or no drawing."""
    if not begins_with_drawing(record) or not (
        says_nothing(cells.smiles) and says_nothing(cells.inchi)
    ):
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
    """Return the label of an atom that stands for a group not drawn; "" if there is none."""
    labels = (
        label.strip()
        for before, label in itertools.pairwise(lines)
        if before.startswith(("A  ", "G  "))
    )
    return next((label for label in labels if _GROUP_LABEL.fullmatch(label)), "")


def _data_of_record(record: Sequence[str], end: int, report: ReadReport) -> dict[str, str]:
    """Return the data behind a drawing, whose last line is `end`: first line by plain name.

    The lines of a structure that is longer than a line of the format are joined.
    """
    data: dict[str, str] = {}
    lines_of: dict[str, list[str]] = {}
    name = last = ""
    for line in record[end + 1 :]:
        text = CONTROL.sub(" ", line).strip()
        if found := _DATA_NAME.match(line):
            name, last = plain_word(found[1]), ""
            report.columns.setdefault(found[1], column_meaning(name))
        elif not text:
            last = ""  # the item ends
        elif name and name not in data:
            data[name] = last = text
        elif len(last) >= _WRAPPED and column_meaning(name) in ("smiles", "inchi"):
            lines_of.setdefault(name, [data[name]]).append(text)
            last = text
    for name, lines in lines_of.items():
        whole = "".join(lines)
        if _is_wrapped(record[: end + 1], column_meaning(name), data[name], whole):
            data[name] = whole
    return data


def _cells_of_record(record: Sequence[str], report: ReadReport) -> Cells:
    end = next((n for n, line in enumerate(record) if line.startswith("M  END")), len(record) - 1)
    data = _data_of_record(record, end, report)
    title = CONTROL.sub(" ", record[0]).strip() if record else ""
    stated = {
        field: first_stated([data[name] for name in names if data.get(name)] or [""])
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


def _draws_another(lines: Sequence[str], stated: Mapping[str, str]) -> bool:
    """Whether a drawing has other heavy atoms than the structure stated beside it, salts aside."""
    smiles, inchi = stated["smiles"], stated["inchi"]
    atoms = [found[1] for line in lines if (found := _DRAWN_ATOM.match(line))]
    if not atoms or (says_nothing(smiles) and says_nothing(inchi)):
        return False
    written = [atom.capitalize() for atom in atoms_of_text(smiles)]
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
    """Return the text of a drawing as RDKit reads a structure.

    Behind its head, some editors leave a line blank. Numbers of hydrogens are of queries; atoms
    that state one would lose those that are not drawn.
    """
    kept = (
        _HYDROGENS_OF_QUERY.sub(r"\1  0", line)
        for n, line in enumerate(lines)
        if n <= _HEAD_LINES or line.strip()
    )
    return "\n".join(kept) + "\n"


_HYDROGENS_OF_QUERY = re.compile(
    r"^((?: *-?\d+\.\d+){3} [A-Za-z*#]+ *(?:[ \d-]\d)(?:[ \d]{2}\d){2})[ \d]{2}\d"
)
