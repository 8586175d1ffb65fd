"""The ranked table as a file: CSV, TSV, JSON lines or mzTab-M."""

from __future__ import annotations

import csv
import json
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from specvae import __version__
from specvae.annotation.ranking.result import COLUMNS, Annotation, QueryResult
from specvae.errors import ConfigError, StructureError
from specvae.molecules.molecule import Molecule, parse_molecule
from specvae.spectra.adducts import Adduct, parse_adduct

FORMATS = ("csv", "tsv", "jsonl", "mztab")

# Six decimals keep the order of scores that differ by as little as single-precision scores can.
_DECIMALS = 6


def write_annotations(
    results: Iterable[QueryResult],
    stream: TextIO,
    format: str,  # noqa: A002 - the option's name
    *,
    provenance: Mapping[str, str],
) -> None:
    """Write all rows of all queries, in the given order.

    Rows of ``csv``, ``tsv`` and ``jsonl`` are written as they come; ``mztab`` keeps its sections in
    temporary files, because its header names the spectrum files that the rows come from. Memory
    does not grow with the number of queries in either case.

    Parameters
    ----------
    results
        One entry per query.
    stream
        Text stream, opened with ``newline=""`` if it is a file.
    format
        One of `FORMATS`.
    provenance
        What made the result (model, digests, options), as text. Written by ``mztab`` only, as
        software settings; its key ``candidates``, if there, is taken as the path of the candidate
        file. The other formats hold the contract's columns and nothing else.

    Raises
    ------
    ConfigError
        If the format is unknown.
    """
    if format == "csv":
        _write_delimited(results, stream, ",")
    elif format == "tsv":
        _write_delimited(results, stream, "\t")
    elif format == "jsonl":
        _write_json_lines(results, stream)
    elif format == "mztab":
        _write_mztab(results, stream, provenance)
    else:
        raise ConfigError(f"format is {format!r}, wanted one of {', '.join(FORMATS)}")


def _rows(results: Iterable[QueryResult]) -> Iterator[dict[str, str | int | float | None]]:
    for result in results:
        for annotation in result.annotations:
            row = {column: getattr(annotation, column) for column in COLUMNS}
            for column in ("score", "probability", "precursor_mz"):
                if row[column] is not None:
                    row[column] = _rounded(row[column])
            yield row


def _rounded(value: float) -> float:
    # float() turns a numpy scalar, whose repr names its type, into a plain number.
    # Adding zero turns -0.0, which rounding can make, into 0.0.
    return round(float(value), _DECIMALS) + 0.0


def _write_delimited(results: Iterable[QueryResult], stream: TextIO, delimiter: str) -> None:
    # Most readers of TSV split at every tab and newline, quoted or not.
    clean = _one_line if delimiter == "\t" else str
    writer = csv.writer(stream, delimiter=delimiter, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in _rows(results):
        writer.writerow(["" if value is None else clean(value) for value in row.values()])


def _write_json_lines(results: Iterable[QueryResult], stream: TextIO) -> None:
    for row in _rows(results):
        stream.write(json.dumps(row, ensure_ascii=False) + "\n")


def _one_line(value: object) -> str:
    return re.sub(r"[\t\r\n\v\f\x1c-\x1e\x85\u2028\u2029]+", " ", str(value))


# --- mzTab-M 2.0.0-M (https://github.com/HUPO-PSI/mzTab, DOI 10.1021/acs.analchem.8b04310) --------

# Columns before and after those that are repeated per assay, in the order that the standard fixes.
_SML_HEAD = (
    "SML_ID",
    "SMF_ID_REFS",
    "database_identifier",
    "chemical_formula",
    "smiles",
    "inchi",
    "chemical_name",
    "uri",
    "theoretical_neutral_mass",
    "adduct_ions",
    "reliability",
    "best_id_confidence_measure",
    "best_id_confidence_value",
)
_SML_TAIL = (
    "abundance_study_variable[1]",
    "abundance_variation_study_variable[1]",
    "opt_global_query_id",
    "opt_global_n_candidates",
    "opt_global_status",
)
_SMF_HEAD = (
    "SMF_ID",
    "SME_ID_REFS",
    "SME_ID_REF_ambiguity_code",
    "adduct_ion",
    "isotopomer",
    "exp_mass_to_charge",
    "charge",
    "retention_time_in_seconds",
    "retention_time_in_seconds_start",
    "retention_time_in_seconds_end",
)
_SME = (
    "SME_ID",
    "evidence_input_id",
    "database_identifier",
    "chemical_formula",
    "smiles",
    "inchi",
    "chemical_name",
    "uri",
    "derivatized_form",
    "adduct_ion",
    "exp_mass_to_charge",
    "charge",
    "theoretical_mass_to_charge",
    "spectra_ref",
    "identification_method",
    "ms_level",
    "id_confidence_measure[1]",
    "id_confidence_measure[2]",
    "rank",
)
_SME_TAIL = ("opt_global_inchikey",)
_DESCRIPTION = (
    "Candidates of each spectrum, ranked by the log-likelihood of their fingerprints under the "
    "prediction from the spectrum. Nothing was quantified."
)
_PREFIX = "candidate"
_SCORE = "[, , specvae score in nats (higher is better), ]"
_PROBABILITY = "[, , specvae probability (higher is better), ]"
_NO_QUANTITY = "[, , no quantification, ]"
_SOFTWARE = f"[, , specvae, {__version__}]"
_POLARITY = {
    "positive": "[MS, MS:1000130, positive scan, ]",
    "negative": "[MS, MS:1000129, negative scan, ]",
}
# Levels of MS:1002955: a tentative candidate, and an exact mass without one.
_TENTATIVE, _EXACT_MASS = "3", "5"


def _write_mztab(
    results: Iterable[QueryResult], stream: TextIO, provenance: Mapping[str, str]
) -> None:
    """Write the metadata last although it comes first: it lists the files that the rows name."""
    with ExitStack() as stack:
        sections = [
            stack.enter_context(tempfile.TemporaryFile("w+", encoding="utf-8", newline=""))
            for _ in range(3)
        ]
        small_molecules, features, evidence = sections
        runs = _Runs()
        n_evidence = 0
        for number, result in enumerate(results, start=1):
            run = runs.number_of(result)
            ranked = [a for a in result.annotations if a.rank is not None]
            ids = range(n_evidence + 1, n_evidence + 1 + len(ranked))
            ion = _ion(result)
            has_feature = ion is not None and result.annotations[0].precursor_mz is not None
            if ion is not None and has_feature:
                features.write(_line(_feature(number, ids, result, ion)))
                for sme_id, annotation in zip(ids, ranked, strict=True):
                    evidence.write(_line(_evidence(sme_id, annotation, result, ion, run)))
                n_evidence = ids.stop - 1
            small_molecules.write(_line(_small_molecule(number, result, has_feature)))
        stream.writelines(_metadata(runs, provenance))
        # Abundances are a column per assay, known only now, all of them null.
        assays = [f"abundance_assay[{i}]" for i in range(1, len(runs) + 1)]
        for section, header, prefix, head, tail in (
            (small_molecules, "SMH", "SML", _SML_HEAD, _SML_TAIL),
            (features, "SFH", "SMF", _SMF_HEAD, ()),
            (evidence, "SEH", "SME", _SME, _SME_TAIL),
        ):
            repeated = [] if section is evidence else assays
            stream.write("\n" + _line([header, *head, *repeated, *tail]))
            section.seek(0)
            for line in section:
                cells = line.rstrip("\n").split("\t")
                nulls = ["null"] * len(repeated)
                stream.write(_line([prefix, *cells[: len(head)], *nulls, *cells[len(head) :]]))


@dataclass
class _Runs:
    """The files that the spectra come from, each one ``ms_run`` and ``assay`` of a number."""

    numbers: dict[str, int] = field(default_factory=dict)
    polarities: dict[str, set[str]] = field(default_factory=dict)

    def __len__(self) -> int:
        return max(1, len(self.numbers))

    def number_of(self, result: QueryResult) -> int:
        """Return the number (1, 2, …) of the file of this query, and note its polarity."""
        query = result.query
        path = query.path if query is not None else ""
        if not path:
            return 1
        number = self.numbers.setdefault(path, len(self.numbers) + 1)
        ion = _ion(result)
        polarity = (query.ion_mode if query is not None else None) or (ion and ion.ion_mode)
        if polarity:
            self.polarities.setdefault(path, set()).add(polarity)
        return number

    def metadata(self) -> Iterator[tuple[str, str]]:
        """Yield the lines that describe the files."""
        for path, number in self.numbers.items():
            yield f"ms_run[{number}]-location", Path(path).absolute().as_uri()
            for i, polarity in enumerate(sorted(self.polarities.get(path, ()), reverse=True), 1):
                yield f"ms_run[{number}]-scan_polarity[{i}]", _POLARITY[polarity]
        if not self.numbers:
            yield "ms_run[1]-location", "null"


def _metadata(runs: _Runs, provenance: Mapping[str, str]) -> Iterator[str]:
    assays = range(1, len(runs) + 1)
    candidates = provenance.get("candidates")
    pairs = [
        ("mzTab-version", "2.0.0-M"),
        ("mzTab-ID", "specvae-annotations"),
        ("title", "Structures ranked for tandem mass spectra"),
        ("description", _DESCRIPTION),
        ("software[1]", _SOFTWARE),
        *(
            (f"software[1]-setting[{i}]", f"{key} = {value}")
            for i, (key, value) in enumerate(provenance.items(), start=1)
        ),
        ("quantification_method", _NO_QUANTITY),
        *runs.metadata(),
        *(
            pair
            for i in assays
            for pair in ((f"assay[{i}]", f"assay {i}"), (f"assay[{i}]-ms_run_ref", f"ms_run[{i}]"))
        ),
        ("study_variable[1]", "undefined"),
        ("study_variable[1]-assay_refs", "|".join(f"assay[{i}]" for i in assays)),
        ("study_variable[1]-description", "undefined"),
        ("cv[1]-label", "MS"),
        ("cv[1]-full_name", "PSI-MS controlled vocabulary"),
        ("cv[1]-version", "4.1.11"),
        ("cv[1]-uri", "https://raw.githubusercontent.com/HUPO-PSI/psi-ms-CV/master/psi-ms.obo"),
        ("database[1]", "[, , candidate structures, ]"),
        ("database[1]-prefix", _PREFIX),
        ("database[1]-version", "Unknown"),
        ("database[1]-uri", Path(candidates).absolute().as_uri() if candidates else "null"),
        ("small_molecule-quantification_unit", _NO_QUANTITY),
        ("small_molecule_feature-quantification_unit", _NO_QUANTITY),
        (
            "small_molecule-identification_reliability",
            "[MS, MS:1002955, hr-ms compound identification confidence level, ]",
        ),
        ("id_confidence_measure[1]", _SCORE),
        ("id_confidence_measure[2]", _PROBABILITY),
    ]
    for key, value in pairs:
        yield _line(["MTD", key, value])


def _small_molecule(number: int, result: QueryResult, has_feature: bool) -> list[object]:
    """Return the cells of a query's summary: the candidates that share the best score."""
    first = result.annotations[0]
    ion = _ion(result)
    best = [a for a in result.annotations if a.rank is not None and a.score == first.score]
    molecules = [_molecule(a) for a in best]
    reliability = _TENTATIVE if best else _EXACT_MASS if has_feature else None
    return [
        number,
        number if has_feature else None,
        _bars(_identifier(a) for a in best),
        _bars(m and m.formula for m in molecules),
        _bars(a.smiles for a in best),
        None,
        _bars(a.name for a in best),
        None,
        _bars(m and _rounded(m.exact_mass) for m in molecules),
        ion.name if ion is not None and best else None,
        reliability,
        _SCORE if best else None,
        _rounded(first.score) if best and first.score is not None else None,
        None,
        None,
        first.query_id,
        first.n_candidates,
        first.status,
    ]


def _feature(number: int, ids: range, result: QueryResult, ion: Adduct) -> list[object]:
    """Return the cells of a query's ion and of its evidence."""
    query = result.query
    ambiguous = 1 if len(ids) > 1 else None
    return [
        number,
        _bars(ids),
        ambiguous,
        ion.name,
        None,
        _number(result.annotations[0].precursor_mz),
        abs(ion.charge),
        _number(query.retention_time if query is not None else None),
        None,
        None,
    ]


def _evidence(
    number: int, annotation: Annotation, result: QueryResult, ion: Adduct, run: int
) -> list[object]:
    """Return the cells of one ranked candidate."""
    query = result.query
    molecule = _molecule(annotation)
    place = f"ms_run[{run}]:line={query.line}" if query is not None else f"ms_run[{run}]"
    return [
        number,
        annotation.query_id,
        _identifier(annotation),
        molecule and molecule.formula,
        annotation.smiles,
        None,
        annotation.name,
        None,
        None,
        ion.name,
        _number(annotation.precursor_mz),
        abs(ion.charge),
        _number(ion.precursor_mz(molecule.exact_mass)) if molecule else None,
        place,
        _SOFTWARE,
        "[MS, MS:1000511, ms level, 2]",
        _number(annotation.score),
        _number(annotation.probability),
        annotation.rank,
        annotation.inchikey,
    ]


def _identifier(annotation: Annotation) -> str:
    return f"{_PREFIX}:{annotation.inchikey or 'null'}"


def _ion(result: QueryResult) -> Adduct | None:
    adduct = result.annotations[0].adduct
    return parse_adduct(adduct) if adduct else None


def _molecule(annotation: Annotation) -> Molecule | None:
    try:
        return parse_molecule(annotation.smiles, inchikey=annotation.inchikey or None)
    except StructureError:
        return None


def _number(value: float | None) -> float | None:
    return None if value is None else _rounded(value)


def _bars(values: Iterable[object]) -> str | None:
    """Join the alternatives of one cell; a bar within a value would look like another one."""
    return "|".join(_cell(value).replace("|", "/") for value in values) or None


def _cell(value: object) -> str:
    return (_one_line(value).strip() if value is not None else "") or "null"


def _line(cells: Sequence[object]) -> str:
    return "\t".join(map(_cell, cells)) + "\n"
