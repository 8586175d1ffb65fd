"""The rules of mzTab-M 2.0.0-M that a file can be held to without a vocabulary server.

From the specification (HUPO-PSI/mzTab, version 2.0 for metabolomics, sections 5 and 6): sections
and their order, mandatory metadata, columns and their order, what may be null, the types of cells,
identifiers that are unique and refer to what is there, and vocabularies that are declared.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator

MANDATORY = (
    "mzTab-version", "mzTab-ID", "software[1]", "quantification_method", "ms_run[1]-location",
    "assay[1]", "assay[1]-ms_run_ref", "study_variable[1]", "study_variable[1]-assay_refs",
    "study_variable[1]-description", "cv[1]-label", "cv[1]-full_name", "cv[1]-version",
    "cv[1]-uri", "database[1]", "database[1]-prefix", "database[1]-version", "database[1]-uri",
    "small_molecule-quantification_unit", "small_molecule_feature-quantification_unit",
    "id_confidence_measure[1]",
)  # fmt: skip
# What each numbered thing needs beside its own line, if it has one.
_PARTS = {
    "ms_run": ("-location",),
    "assay": ("", "-ms_run_ref"),
    "study_variable": ("", "-assay_refs", "-description"),
    "cv": ("-label", "-full_name", "-version", "-uri"),
    "database": ("", "-prefix", "-version", "-uri"),
    "software": ("",),
    "id_confidence_measure": ("",),
}
SECTIONS = {"SMH": "SML", "SFH": "SMF", "SEH": "SME"}
# Columns in their order; those that are repeated are filled in by `_columns`.
_BEFORE = {
    "SMH": "SML_ID SMF_ID_REFS database_identifier chemical_formula smiles inchi chemical_name uri "
    "theoretical_neutral_mass adduct_ions reliability best_id_confidence_measure "
    "best_id_confidence_value",
    "SFH": "SMF_ID SME_ID_REFS SME_ID_REF_ambiguity_code adduct_ion isotopomer exp_mass_to_charge "
    "charge retention_time_in_seconds retention_time_in_seconds_start "
    "retention_time_in_seconds_end",
    "SEH": "SME_ID evidence_input_id database_identifier chemical_formula smiles inchi "
    "chemical_name uri derivatized_form adduct_ion exp_mass_to_charge charge "
    "theoretical_mass_to_charge spectra_ref identification_method ms_level",
}
_NOT_NULL = {
    "SML": ("SML_ID",),
    "SMF": ("SMF_ID", "exp_mass_to_charge", "charge"),
    "SME": (
        "SME_ID", "evidence_input_id", "exp_mass_to_charge", "charge", "theoretical_mass_to_charge",
        "spectra_ref", "identification_method", "ms_level", "rank",
    ),
}  # fmt: skip
_NUMBER = r"-?\d+(\.\d+)?([eE][+-]?\d+)?"
_PARAMETER = r'\[[^,\[\]]*, [^,\[\]]*, ("[^"]*"|[^,"\[\]]*), ("[^"]*"|[^,"\[\]]*)\]'
_ADDUCT = r"\[\d*M([+-][\w\d]+)*\]\d*[+-]"
_FORMULA = r"([A-Z][a-z]?\d*)+"
_TYPES = {
    "SML_ID": r"[1-9]\d*", "SMF_ID": r"[1-9]\d*", "SME_ID": r"[1-9]\d*", "rank": r"[1-9]\d*",
    "charge": r"[1-9]\d*", "SME_ID_REF_ambiguity_code": "[123]", "exp_mass_to_charge": _NUMBER,
    "theoretical_mass_to_charge": _NUMBER, "retention_time_in_seconds": _NUMBER,
    "best_id_confidence_value": _NUMBER, "best_id_confidence_measure": _PARAMETER,
    "identification_method": _PARAMETER, "ms_level": _PARAMETER, "adduct_ion": _ADDUCT,
    "reliability": r"\d[a-e]?", "SMF_ID_REFS": r"\d+(\|\d+)*", "SME_ID_REFS": r"\d+(\|\d+)*",
    "spectra_ref": r"ms_run\[\d+\]:[^|]+(\|ms_run\[\d+\]:[^|]+)*",
    "adduct_ions": rf"{_ADDUCT}(\|{_ADDUCT})*",
    "chemical_formula": rf"({_FORMULA}|null)(\|({_FORMULA}|null))*",
    "theoretical_neutral_mass": rf"({_NUMBER}|null)(\|({_NUMBER}|null))*",
}  # fmt: skip
# Cells of a summary that list alternatives, one for each.
_ALTERNATIVES = (
    "database_identifier", "chemical_formula", "smiles", "chemical_name",
    "theoretical_neutral_mass",
)  # fmt: skip


class MzTab:
    """A file as its lines say, with what is wrong with the lines."""

    def __init__(self, text: str) -> None:
        self.metadata: list[tuple[str, str]] = []
        self.headers: dict[str, list[str]] = {}
        self.rows: dict[str, list[dict[str, str]]] = {name: [] for name in SECTIONS.values()}
        self.faults: list[str] = []
        order = ["MTD", *(name for pair in SECTIONS.items() for name in pair)]
        last = 0
        if "\r" in text or not text.endswith("\n"):
            self.faults.append("lines do not all end with a line feed")
        for number, line in enumerate(text.split("\n"), start=1):
            prefix, *cells = line.split("\t")
            if not line or prefix == "COM":
                continue
            if prefix not in order:
                self.faults.append(f"line {number}: prefix {prefix!r}")
                continue
            if order.index(prefix) < last:
                self.faults.append(f"line {number}: {prefix} after {order[last]}")
            last = max(last, order.index(prefix))
            if any(not cell or cell != cell.strip() for cell in cells):
                self.faults.append(f"line {number}: a cell is empty or has blanks around it")
            self._take(number, prefix, cells)

    def _take(self, number: int, prefix: str, cells: list[str]) -> None:
        if prefix == "MTD":
            if len(cells) != 2:
                self.faults.append(f"line {number}: {len(cells)} cells of metadata")
            else:
                self.metadata.append((cells[0], cells[1]))
        elif prefix in SECTIONS:
            if prefix in self.headers:
                self.faults.append(f"line {number}: a second {prefix}")
            self.headers[prefix] = cells
        else:
            header = self.headers.get({v: k for k, v in SECTIONS.items()}[prefix], [])
            if len(cells) != len(header):
                self.faults.append(f"line {number}: {len(cells)} cells, {len(header)} columns")
            else:
                self.rows[prefix].append(dict(zip(header, cells, strict=True)))

    @property
    def keys(self) -> dict[str, str]:
        return dict(self.metadata)

    def numbers(self, kind: str) -> list[int]:
        """Return the numbers of what is declared of a kind, such as ``assay``."""
        found = (re.match(rf"{re.escape(kind)}\[(\d+)\]", key) for key in self.keys)
        return sorted({int(match[1]) for match in found if match})


def violations(text: str) -> list[str]:
    """Return what is wrong with a file, by the rules of mzTab-M."""
    file = MzTab(text)
    rules: tuple[Callable[[MzTab], Iterator[str]], ...] = (
        _metadata, _runs, _vocabularies, _headers, _cells, _references, _declared, _confidence,
    )  # fmt: skip
    return [*file.faults, *(fault for rule in rules for fault in rule(file))]


def _metadata(file: MzTab) -> Iterator[str]:
    keys = [key for key, _ in file.metadata]
    yield from (f"{key} is there twice" for key, n in Counter(keys).items() if n > 1)
    yield from (f"{key} is missing" for key in MANDATORY if key not in keys)
    for kind, parts in _PARTS.items():
        numbers = file.numbers(kind)
        if numbers != list(range(1, len(numbers) + 1)):
            yield f"{kind}: numbers are {numbers}, wanted 1, 2, ..."
        for number in numbers:
            for part in parts:
                if f"{kind}[{number}]{part}" not in keys:
                    yield f"{kind}[{number}]{part} is missing"
    if not re.fullmatch(r"2\.\d\.\d-M", file.keys.get("mzTab-version", "")):
        yield "mzTab-version is not 2.x.x-M"
    yield from _values(file)


def _values(file: MzTab) -> Iterator[str]:
    for key, value in file.metadata:
        if key.startswith(("software", "quantification", "id_confidence")) and not (
            "-setting" in key or re.fullmatch(_PARAMETER, value)
        ):
            yield f"{key}: {value} is no parameter"
        if key.endswith(("quantification_unit", "identification_reliability")) and not re.fullmatch(
            _PARAMETER, value
        ):
            yield f"{key}: {value} is no parameter"
        if key.endswith(("-uri", "-location")) and value != "null" and "://" not in value:
            yield f"{key}: {value} is no address"


def _runs(file: MzTab) -> Iterator[str]:
    for number in file.numbers("ms_run"):
        run = f"ms_run[{number}]"
        if (f"{run}-format" in file.keys) != (f"{run}-id_format" in file.keys):
            yield f"{run}: format and id_format go together"
        for key, value in file.metadata:
            if key.startswith(f"{run}-scan_polarity") and not re.fullmatch(
                r"\[MS, MS:10001(29|30), (positive|negative) scan, \]", value
            ):
                yield f"{key}: {value} is no polarity"
    runs = {f"ms_run[{n}]" for n in file.numbers("ms_run")}
    assays = {f"assay[{n}]" for n in file.numbers("assay")}
    for key, value in file.metadata:
        known = runs if key.endswith("-ms_run_ref") else assays
        if key.endswith(("-ms_run_ref", "-assay_refs")) and not set(value.split("|")) <= known:
            yield f"{key}: {value} is not declared"


def _vocabularies(file: MzTab) -> Iterator[str]:
    declared = {value for key, value in file.metadata if re.fullmatch(r"cv\[\d+\]-label", key)}
    cells = [value for _, value in file.metadata]
    cells += [cell for rows in file.rows.values() for row in rows for cell in row.values()]
    used = {found[1] for cell in cells for found in re.finditer(r"\[(\w+), \w+:\w+, ", cell)}
    yield from (f"vocabulary {label} is not declared" for label in sorted(used - declared))


def _columns(file: MzTab, prefix: str) -> list[str]:
    assays = [f"abundance_assay[{n}]" for n in file.numbers("assay")]
    variables = file.numbers("study_variable")
    repeated = {
        "SMH": [
            *assays,
            *(f"abundance_study_variable[{n}]" for n in variables),
            *(f"abundance_variation_study_variable[{n}]" for n in variables),
        ],
        "SFH": assays,
        "SEH": [
            *(f"id_confidence_measure[{n}]" for n in file.numbers("id_confidence_measure")),
            "rank",
        ],
    }
    return [*_BEFORE[prefix].split(), *repeated[prefix]]


def _headers(file: MzTab) -> Iterator[str]:
    if "SMH" not in file.headers:
        yield "the section of small molecules is missing"
    for prefix, found in file.headers.items():
        wanted = _columns(file, prefix)
        if found[: len(wanted)] != wanted:
            yield f"{prefix}: columns are {found[: len(wanted)]}, wanted {wanted}"
        for name in found[len(wanted) :]:
            if not re.fullmatch(r"opt_(global|(assay|study_variable|ms_run)\[\d+\])_\w+", name):
                yield f"{prefix}: {name} is no optional column"
        if len(set(found)) != len(found):
            yield f"{prefix}: a column is there twice"


def _cells(file: MzTab) -> Iterator[str]:
    for section, rows in file.rows.items():
        for number, row in enumerate(rows, start=1):
            place = f"{section} {number}"
            for column in _NOT_NULL[section]:
                if row.get(column, "null") == "null":
                    yield f"{place}: {column} is null"
            for column, pattern in _TYPES.items():
                value = row.get(column, "null")
                if value != "null" and not re.fullmatch(pattern, value):
                    yield f"{place}: {column} is {value}"
            if section == "SML":
                shown = [row[column] for column in _ALTERNATIVES if row[column] != "null"]
                if len({cell.count("|") for cell in shown}) > 1:
                    yield f"{place}: alternatives differ in number"


def _references(file: MzTab) -> Iterator[str]:
    ids = {}
    for section, rows in file.rows.items():
        listed = [row[f"{section}_ID"] for row in rows]
        ids[section] = set(listed)
        if len(ids[section]) != len(listed):
            yield f"{section}: an identifier is there twice"
    for section, column, target in (
        ("SML", "SMF_ID_REFS", "SMF"), ("SMF", "SME_ID_REFS", "SME"),
    ):  # fmt: skip
        referred = {
            name
            for row in file.rows[section]
            if row[column] != "null"
            for name in row[column].split("|")
        }
        yield from (f"{section}: no {target} {name}" for name in sorted(referred - ids[target]))
        yield from (f"{target} {name}: nothing refers to it" for name in ids[target] - referred)
    for row in file.rows["SMF"]:
        is_several = "|" in row["SME_ID_REFS"]
        if is_several != (row["SME_ID_REF_ambiguity_code"] != "null"):
            yield f"SMF {row['SMF_ID']}: ambiguity code of {row['SME_ID_REFS']}"


def _declared(file: MzTab) -> Iterator[str]:
    runs = set(file.numbers("ms_run"))
    prefixes = {v for k, v in file.metadata if re.fullmatch(r"database\[\d+\]-prefix", k)}
    for section, rows in file.rows.items():
        for row in rows:
            for name in re.findall(r"ms_run\[(\d+)\]", row.get("spectra_ref", "")):
                if int(name) not in runs:
                    yield f"{section}: ms_run[{name}] is not declared"
            for name in row.get("database_identifier", "null").split("|"):
                if name != "null" and name.partition(":")[0] not in prefixes:
                    yield f"{section}: {name} is of no declared database"


def _confidence(file: MzTab) -> Iterator[str]:
    measures = {v for k, v in file.metadata if re.fullmatch(r"id_confidence_measure\[\d+\]", k)}
    for row in file.rows["SML"]:
        measure, value = row["best_id_confidence_measure"], row["best_id_confidence_value"]
        if (measure == "null") != (value == "null"):
            yield f"SML {row['SML_ID']}: best confidence has a measure or a value only"
        if measure not in (*measures, "null"):
            yield f"SML {row['SML_ID']}: {measure} is not declared"
    # Evidence for one input is ranked from 1.
    best: dict[str, int] = {}
    for row in file.rows["SME"]:
        key = row["evidence_input_id"]
        best[key] = min(best.get(key, 10**9), int(row["rank"]) if row["rank"].isdigit() else 10**9)
    yield from (f"SME: {key} has no rank" for key, rank in best.items() if rank == 10**9)
