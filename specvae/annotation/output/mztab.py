"""The ranked table as mzTab-M 2.0.0-M.

https://github.com/HUPO-PSI/mzTab, doi:10.1021/acs.analchem.8b04310
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from specvae import __version__
from specvae.annotation.library.query import Query
from specvae.annotation.output.cells import (
    one_line,
    reached_by,
    remarks_on,
    rounded,
    status_of,
    status_with,
)
from specvae.annotation.ranking.result import TERM_COLUMNS, Annotation, Answer, QueryResult
from specvae.compression import uncompressed_name
from specvae.counting import counted
from specvae.errors import StructureError
from specvae.molecules.molecule import Molecule, parse_molecule
from specvae.sources import is_stored_copy
from specvae.spectra.adducts import Adduct

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
    "opt_global_analogue",
    "opt_global_analogue_cosine",
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
_SME_TAIL = (
    "opt_global_inchikey",
    "opt_global_candidate_id",
    "opt_global_evidence",
    "opt_global_library_match",
    "opt_global_library_cosine",
    "opt_global_level",
    "opt_global_library_name",
    *(f"opt_global_{column}" for column in TERM_COLUMNS),
    "opt_global_library_adduct",
    "opt_global_status",
)
_DESCRIPTION = (
    "Candidates of each spectrum, ranked by the weighted sum of the evidence: the log-likelihood "
    "of their fingerprints under the prediction from the spectrum and, where the columns of their "
    "terms are filled, analogues, fragments, own library spectra and nearness to the library. "
    "Nothing was quantified."
)
_PREFIX = "candidate"
_FILE_FORMATS = {
    ".mzml": "[MS, MS:1000584, mzML format, ]",
    ".mzxml": "[MS, MS:1000566, ISB mzXML format, ]",
    ".mgf": "[MS, MS:1001062, Mascot MGF format, ]",
    ".msp": "[, , NIST MSP format, ]",
    ".txt": "[, , MassBank record, ]",
}
# Spectra are named by their place in the file, from 0.
_BY_PLACE = "[MS, MS:1000774, multiple peak list nativeID format, ]"
_SCORE = "[, , specvae score in nats (higher is better), ]"
_PROBABILITY = "[, , specvae probability (higher is better), ]"
_NO_QUANTITY = "[, , no quantification, ]"
_SOFTWARE = f"[, , specvae, {__version__}]"
_POLARITY = {
    "positive": "[MS, MS:1000130, positive scan, ]",
    "negative": "[MS, MS:1000129, negative scan, ]",
}
# Level of MS:1002955 of an exact mass without a candidate.
_EXACT_MASS = "5"


def write_mztab(
    results: Iterable[QueryResult], stream: TextIO, provenance: Mapping[str, str]
) -> None:
    """Write all queries; parameters as in `specvae.annotation.output.tables.write_annotations`.

    The metadata is written last although it comes first, as it lists the files that rows name: the
    sections wait in temporary files.
    """
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
            ranked = result.annotations if isinstance(result, Answer) else ()
            ids = range(n_evidence + 1, n_evidence + 1 + len(ranked))
            query = result.query
            # A feature needs an ion and its m/z, neither of which may be null.
            ion = query.ion if query is not None and query.precursor_mz is not None else None
            if query is not None and ion is not None:
                ions = [query.ion_named(annotation.adduct) or ion for annotation in ranked]
                features.write(_line(_feature(number, ids, query, [*ions, ion][0])))
            if isinstance(result, Answer) and ion is not None:
                for sme_id, annotation, of_own in zip(ids, ranked, ions, strict=True):
                    evidence.write(_line(_evidence(sme_id, result, annotation, of_own, run)))
                n_evidence = ids.stop - 1
            small_molecules.write(_line(_small_molecule(number, result, ion is not None)))
        stream.writelines(_metadata(runs, provenance))
        _copy(small_molecules, stream, ("SMH", "SML"), (_SML_HEAD, _SML_TAIL), len(runs))
        _copy(features, stream, ("SFH", "SMF"), (_SMF_HEAD, ()), len(runs))
        _copy(evidence, stream, ("SEH", "SME"), (_SME, _SME_TAIL), 0)


def _copy(
    section: TextIO,
    stream: TextIO,
    prefixes: tuple[str, str],
    columns: tuple[tuple[str, ...], tuple[str, ...]],
    n_assays: int,
) -> None:
    """Write a section's header and its waiting lines, an abundance of null for each assay."""
    (of_header, of_line), (head, tail) = prefixes, columns
    assays = [f"abundance_assay[{i}]" for i in range(1, n_assays + 1)]
    stream.write("\n" + _line([of_header, *head, *assays, *tail]))
    section.seek(0)
    nulls = ["null"] * n_assays
    for line in section:
        cells = line.rstrip("\n").split("\t")
        stream.write(_line([of_line, *cells[: len(head)], *nulls, *cells[len(head) :]]))


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
        if query is None or not query.spectrum.path:
            return 1
        path = query.spectrum.path
        number = self.numbers.setdefault(path, len(self.numbers) + 1)
        if query.ion_mode:
            self.polarities.setdefault(path, set()).add(query.ion_mode)
        return number

    def metadata(self) -> Iterator[tuple[str, str]]:
        """Yield the lines that describe the files."""
        for path, number in self.numbers.items():
            # The content of a pipe has no place.
            location = "null" if is_stored_copy(path) else Path(path).absolute().as_uri()
            yield f"ms_run[{number}]-location", location
            kind = Path(uncompressed_name(path)).suffix
            if kind in _FILE_FORMATS and location != "null":
                yield f"ms_run[{number}]-format", _FILE_FORMATS[kind]
                yield f"ms_run[{number}]-id_format", _BY_PLACE
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
    ranked = result.annotations if isinstance(result, Answer) else ()
    best = [a for a in ranked if a.score == ranked[0].score]
    ion = result.query.ion if result.query is not None else None
    if best and result.query is not None:
        ion = result.query.ion_named(best[0].adduct)
    molecules = [_molecule(a) for a in best]
    # Candidates that tie are identified no better than the worst of them.
    level = max((a.level for a in best), default=None)
    reliability = level or (_EXACT_MASS if has_feature else None)
    nearest = result.analogues[0] if result.analogues else None
    return [
        number,
        number if has_feature else None,
        _bars(_identifier(a) for a in best),
        _bars(m and _atoms(m) for m in molecules),
        _bars(a.smiles for a in best),
        None,
        _bars(a.name for a in best),
        None,
        _bars(m and rounded(m.exact_mass) for m in molecules),
        ion.name if ion is not None and best else None,
        reliability,
        _best_measure(best),
        _best_value(best),
        None,
        None,
        result.query_id,
        result.n_candidates,
        status_of(result) if has_feature else _status_alone(result, best),
        nearest.title if nearest is not None else None,
        rounded(nearest.cosine) if nearest is not None else None,
    ]


def _status_alone(result: QueryResult, best: Sequence[Annotation]) -> str:
    """Return the status of a query without a feature, whose candidates have no rows of evidence."""
    texts = [status_of(result)]
    if isinstance(result, Answer):
        texts += dict.fromkeys(remark for one in best for remark in remarks_on(result.query, one))
        if n_left := len(result.annotations) - len(best):
            texts.append(
                f"{counted(n_left, 'candidates')} of lower rank left out, as mzTab-M wants an ion "
                "and its m/z"
            )
    return "; ".join(texts)


def _best_measure(best: Sequence[Annotation]) -> str | None:
    """Return the confidence of the best candidates: the probability, if there is one."""
    if not best:
        return None
    return _SCORE if best[0].probability is None else _PROBABILITY


def _best_value(best: Sequence[Annotation]) -> float | None:
    if not best:
        return None
    first = best[0]
    return rounded(first.score if first.probability is None else first.probability)


def _feature(number: int, ids: range, query: Query, ion: Adduct) -> list[object]:
    """Return the cells of a query's ion and of its evidence."""
    ambiguous = 1 if len(ids) > 1 else None
    return [
        number,
        _bars(ids),
        ambiguous,
        ion.name,
        None,
        rounded(query.precursor_mz),
        abs(ion.charge),
        rounded(query.spectrum.retention_time),
        None,
        None,
    ]


def _evidence(
    number: int, result: Answer, annotation: Annotation, ion: Adduct, run: int
) -> list[object]:
    """Return the cells of one ranked candidate."""
    query = result.query
    molecule, reached = _molecule(annotation), reached_by(annotation)
    return [
        number,
        query.query_id,
        _identifier(annotation),
        molecule and _atoms(molecule),
        annotation.smiles,
        None,
        annotation.name,
        None,
        None,
        ion.name,
        rounded(query.precursor_mz),
        abs(ion.charge),
        rounded(ion.precursor_mz(molecule.exact_mass)) if molecule else None,
        "|".join(
            f"ms_run[{run}]:index={max(0, ordinal - 1)}"
            for ordinal in (query.spectrum.ordinal, *query.merged_ordinals)
        ),
        _SOFTWARE,
        "[MS, MS:1000511, ms level, 2]",
        rounded(annotation.score),
        rounded(annotation.probability),
        annotation.rank,
        annotation.inchikey,
        annotation.id,
        reached["evidence"],
        reached["library_match"],
        reached["library_cosine"],
        reached["level"],
        reached["library_name"],
        *(reached.get(column) for column in TERM_COLUMNS),
        reached["library_adduct"],
        status_with(result, annotation),
    ]


def _identifier(annotation: Annotation) -> str | None:
    """Return the candidate's identifier in its file, else its InChIKey."""
    accession = annotation.id or annotation.inchikey
    return f"{_PREFIX}:{accession}" if accession else None


def _molecule(annotation: Annotation) -> Molecule | None:
    if annotation.molecule is not None:
        return annotation.molecule
    try:
        return parse_molecule(annotation.smiles, inchikey=annotation.inchikey or None)
    except StructureError:
        return None


def _atoms(molecule: Molecule) -> str:
    """Return a formula without its charge, which mzTab-M states in a column of its own."""
    return re.sub(r"[+-]\d*$", "", molecule.formula)


def _bars(values: Iterable[object]) -> str | None:
    """Join the alternatives of one cell; a bar within a value would look like another one."""
    return "|".join(_cell(value).replace("|", "/") for value in values) or None


def _cell(value: object) -> str:
    return (one_line(value).strip() if value is not None else "") or "null"


def _line(cells: Sequence[object]) -> str:
    return "\t".join(map(_cell, cells)) + "\n"
