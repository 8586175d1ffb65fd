import csv
import io
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from specvae.annotation.evidence.library_match import LibraryMatch
from specvae.annotation.library.query import Query
from specvae.annotation.output.cells import harmless
from specvae.annotation.output.tables import (
    FORMATS,
    SUMMARY_COLUMNS,
    write_annotations,
    write_summary,
)
from specvae.annotation.ranking.result import (
    COLUMNS,
    Annotation,
    Answer,
    Cause,
    QueryResult,
    Refusal,
    Unranked,
)
from specvae.errors import ConfigError
from specvae.spectra.adducts import KNOWN_ADDUCTS
from specvae.spectra.spectrum import Spectrum

PROVENANCE = {"model": "specvae-model/model.safetensors", "candidates": "cands.csv"}
CAFFEINE = ("Cn1c(=O)c2c(ncn2C)n(C)c1=O", "RYYVLZVUVIJVGH-UHFFFAOYSA-N", "caffeine")
ISOCAFFEINE = ("Cn1cnc2c1c(=O)n(C)c(=O)n2C", "LPHGQDQBBGAPDZ-UHFFFAOYSA-N", "")


def spectrum(query_id: str, path: str = "queries.mgf", **fields: object) -> Spectrum:
    values: dict[str, object] = {"precursor_mz": 195.0877, "adduct": "[M+H]+", "line": 12}
    return Spectrum(
        mz=np.array([110.0713, 138.0662]),
        intensity=np.array([20.0, 100.0]),
        query_id=query_id,
        path=path,
        **(values | fields),  # type: ignore[arg-type]
    )


def annotation(
    rank: int,
    score: float,
    structure: tuple[str, str, str] = CAFFEINE,
    probability: float | None = None,
) -> Annotation:
    smiles, inchikey, name = structure
    return Annotation(rank, smiles, inchikey, name, score, probability)


def answer(found: Spectrum, *rows: Annotation) -> Answer:
    return Answer(Query.settle(found), rows, len(rows))


def unranked(query_id: str, status: str, precursor_mz: float | None = None) -> Unranked:
    found = spectrum(query_id, precursor_mz=precursor_mz)
    query = None if precursor_mz is None else Query.settle(found)
    return Unranked(query_id, Refusal(Cause.NO_PRECURSOR, status), query)


def ranked(query_id: str = "q1", **fields: object) -> Answer:
    found = spectrum(query_id, **fields)  # type: ignore[arg-type]
    return answer(found, annotation(1, -1.5), annotation(2, -3.25, ISOCAFFEINE))


def written(results: Sequence[QueryResult], format: str) -> str:  # noqa: A002
    stream = io.StringIO(newline="")
    write_annotations(results, stream, format, provenance=PROVENANCE)
    return stream.getvalue()


# --- CSV, TSV, JSON lines -------------------------------------------------------------------------


@pytest.mark.parametrize(("format", "delimiter"), [("csv", ","), ("tsv", "\t")])
def test_delimited_rows_have_the_contract_columns(format: str, delimiter: str) -> None:  # noqa: A002
    text = written([ranked(), unranked("q2", "no precursor m/z")], format)
    rows = list(csv.reader(io.StringIO(text), delimiter=delimiter))
    assert tuple(rows[0]) == COLUMNS
    assert rows[1] == [
        "q1", "1", *CAFFEINE, "-1.5", "", "2", "195.0877", "[M+H]+", "ok",
        "", "", "", "3", *[""] * 9,
    ]  # fmt: skip
    assert rows[3] == ["q2", "", "", "", "", "", "", "0", "", "", "no precursor m/z", *[""] * 13]
    assert len(rows) == 4


def test_the_status_joins_what_was_decided() -> None:
    assumed = Query.settle(spectrum("q", adduct=None, ion_mode="positive"))
    answers: list[QueryResult] = [
        Answer(assumed, (annotation(1, -1.0),), 1),
        Unranked("q", Refusal(Cause.NOT_LISTED), assumed, (*assumed.remarks, "a; b")),
        Unranked("x", Refusal(Cause.UNREADABLE, "unreadable record: no peaks")),
    ]
    assert [row["status"] for row in csv.DictReader(io.StringIO(written(answers, "csv")))] == [
        "ok; adduct taken as [M+H]+",
        "no candidates for this query_id; adduct taken as [M+H]+; a; b",
        "unreadable record: no peaks",
    ]


def test_the_status_says_what_was_decided_about_a_structure() -> None:
    remarks = ("metal taken off: Zn",)
    found = answer(spectrum("q"), replace(annotation(1, -1.0), remarks=remarks), annotation(2, -2))
    assert [row["status"] for row in csv.DictReader(io.StringIO(written([found], "csv")))] == [
        "ok; metal taken off: Zn",
        "ok",
    ]


def test_json_lines_hold_null_for_what_is_unknown() -> None:
    records = [
        json.loads(line)
        for line in written(
            [ranked(), unranked("q2", "no candidates within 10 ppm")], "jsonl"
        ).splitlines()
    ]
    odds = ("log_odds_known", "log_odds_in_list")
    assert [tuple(record) for record in records] == [(*COLUMNS, *odds)] * 3
    assert records[0]["score"] == -1.5
    assert records[0]["rank"] == 1
    assert records[0]["probability"] is None
    assert records[2]["rank"] is None
    assert records[2]["status"] == "no candidates within 10 ppm"


MATCH = LibraryMatch("MSBNK-1", "[M+H]+", 0.91, 7, is_clear=True, row=3)


def reached() -> Answer:
    """Return a query with a candidate that the library knows, of an ion with retention time."""
    found = spectrum("q", retention_time=61.5, metadata={"FEATURE_ID": "17"})
    row = replace(
        annotation(1, 6.25),
        formula="C8H10N4O2",
        id="HMDB1",
        exact_mass=194.08037556,
        terms=(-0.5, 1.25, 2.0, 3.5),
        leading="library",
        match=MATCH,
    )
    other = replace(annotation(2, -1.0, ISOCAFFEINE), leading="fragments", terms=(0.0,) * 4)
    return replace(answer(found, row, other), log_odds_known=2.5, log_odds_in_list=-0.5)


def test_rows_say_how_an_annotation_was_reached() -> None:
    first, second = csv.DictReader(io.StringIO(written([reached()], "csv")))
    assert {column: first[column] for column in COLUMNS[COLUMNS.index("status") + 1 :]} == {
        "evidence": "library match",
        "library_match": "MSBNK-1",
        "library_cosine": "0.91",
        "level": "2a",
        "fingerprint_nats": "-0.5",
        "analogues_nats": "1.25",
        "fragments_nats": "2.0",
        "library_nats": "3.5",
        "candidate_id": "HMDB1",
        "formula": "C8H10N4O2",
        "error_ppm": "0.24598",
        "retention_time": "61.5",
        "feature_id": "17",
    }
    assert (second["evidence"], second["library_match"], second["level"]) == ("fragments", "", "3")


def test_json_lines_keep_what_a_query_says_of_the_run() -> None:
    record = json.loads(written([reached()], "jsonl").splitlines()[0])
    assert (record["log_odds_known"], record["log_odds_in_list"]) == (2.5, -0.5)


def test_scores_keep_their_order_where_six_digits_would_tie_them() -> None:
    close = (-1234.567891, -1234.567892)
    rows = (annotation(rank, score) for rank, score in enumerate(close, start=1))
    text = written([answer(spectrum("q"), *rows)], "csv")
    scores = [row["score"] for row in csv.DictReader(io.StringIO(text))]
    assert scores == ["-1234.567891", "-1234.567892"]


def test_numpy_scores_are_written_as_plain_numbers() -> None:
    row = annotation(1, np.float32(-0.5))  # type: ignore[arg-type]
    results = [answer(spectrum("q"), row)]
    assert next(csv.DictReader(io.StringIO(written(results, "csv"))))["score"] == "-0.5"
    assert json.loads(written(results, "jsonl"))["score"] == -0.5


NASTY = 'a\tb\nc\r"d",\u2028e|f'


def test_a_row_of_tsv_stays_one_line_whatever_a_name_holds() -> None:
    row = annotation(1, -1.0, ("C", "KEY", NASTY))
    lines = written([answer(spectrum(NASTY), row)], "tsv").splitlines()
    assert len(lines) == 2
    # Split naively, as most readers of TSV do.
    assert len(lines[1].split("\t")) == len(COLUMNS)


@pytest.mark.parametrize("format", ["csv", "jsonl"])
def test_a_nasty_name_comes_back_unchanged(format: str) -> None:  # noqa: A002
    row = annotation(1, -1.0, ("C", "KEY", NASTY))
    text = written([answer(spectrum("q"), row)], format)
    if format == "csv":
        record = next(csv.DictReader(io.StringIO(text, newline="")))
    else:
        record = json.loads(text)
    assert record["name"] == NASTY


@pytest.mark.parametrize("format", ["csv", "tsv", "jsonl"])
def test_rows_are_written_as_they_come(format: str) -> None:  # noqa: A002
    stream = io.StringIO(newline="")
    seen = []

    def results() -> Iterator[QueryResult]:
        for i in range(3):
            yield ranked(f"q{i}")
            seen.append(f"q{i}" in stream.getvalue())

    write_annotations(results(), stream, format, provenance={})
    assert seen == [True] * 3


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ("=1+1", "'=1+1"),
        ("+cmd|' /C calc'!A0", "'+cmd|' /C calc'!A0"),
        ("-2+3", "'-2+3"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t=1"),
        ("-5", "-5"),
        ("+1.5e-3", "+1.5e-3"),
        ("(-)-menthol", "(-)-menthol"),
        ("[M+H]+", "[M+H]+"),
        (-1.5, "-1.5"),
    ],
)
def test_no_text_of_a_cell_is_a_formula(value: str | float, wanted: str) -> None:
    assert harmless(value) == wanted


@pytest.mark.parametrize("format", ["csv", "tsv"])
def test_names_and_identifiers_are_no_formulas(format: str) -> None:  # noqa: A002
    text = written([answer(spectrum("=A1"), annotation(1, -1.5, (*CAFFEINE[:2], "@x")))], format)
    row = next(csv.DictReader(io.StringIO(text), delimiter="\t" if format == "tsv" else ","))
    assert (row["query_id"], row["name"], row["score"]) == ("'=A1", "'@x", "-1.5")
    unchanged = json.loads(written([ranked("=A1")], "jsonl").splitlines()[0])
    assert unchanged["query_id"] == "=A1"


def summary(results: Sequence[QueryResult], format: str) -> str:  # noqa: A002
    stream = io.StringIO(newline="")
    write_summary(results, stream, format)
    return stream.getvalue()


def test_the_summary_has_one_row_for_each_query() -> None:
    found: list[QueryResult] = [
        ranked(),
        unranked("q2", "no precursor m/z"),
        answer(spectrum("q3"), annotation(1, 2.0)),
    ]
    rows = list(csv.DictReader(io.StringIO(summary(found, "tsv")), delimiter="\t"))
    assert tuple(rows[0]) == SUMMARY_COLUMNS
    assert [row["query_id"] for row in rows] == ["q1", "q2", "q3"]
    wanted = {
        "structurePerIdRank": "1",
        "InChIkey2D": "RYYVLZVUVIJVGH",
        "smiles": CAFFEINE[0],
        "name": "caffeine",
        "adduct": "[M+H]+",
        "ionMass": "195.0877",
        "score": "-1.5",
        "lead_nats": "1.75",
        "n_candidates": "2",
        "status": "ok",
    }
    assert {key: rows[0][key] for key in wanted} == wanted
    assert rows[1]["status"] == "no precursor m/z"
    assert rows[1]["InChIkey2D"] == rows[1]["lead_nats"] == rows[2]["lead_nats"] == ""
    first = json.loads(summary(found, "jsonl").splitlines()[0])
    assert tuple(first) == SUMMARY_COLUMNS
    assert first["lead_nats"] == 1.75


def test_a_summary_is_no_mztab() -> None:
    with pytest.raises(ConfigError, match="csv, tsv or jsonl"):
        summary([ranked()], "mztab")


def test_an_unknown_format_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="'xlsx', wanted one of csv, tsv, jsonl, mztab"):
        written([], "xlsx")


@pytest.mark.parametrize("format", FORMATS)
def test_no_query_makes_an_empty_table(format: str) -> None:  # noqa: A002
    text = written([], format)
    assert not any(line.startswith(("q", "SML", "SMF", "SME\t")) for line in text.splitlines()[1:])


# --- mzTab-M --------------------------------------------------------------------------------------

# Column names of the specification 2.0.0-M, sections 6.3 to 6.5, in its order.
STANDARD = {
    "SMH": "SML_ID SMF_ID_REFS database_identifier chemical_formula smiles inchi chemical_name uri "
    "theoretical_neutral_mass adduct_ions reliability best_id_confidence_measure "
    "best_id_confidence_value abundance_assay[1] abundance_study_variable[1] "
    "abundance_variation_study_variable[1]",
    "SFH": "SMF_ID SME_ID_REFS SME_ID_REF_ambiguity_code adduct_ion isotopomer exp_mass_to_charge "
    "charge retention_time_in_seconds retention_time_in_seconds_start "
    "retention_time_in_seconds_end abundance_assay[1]",
    "SEH": "SME_ID evidence_input_id database_identifier chemical_formula smiles inchi "
    "chemical_name uri derivatized_form adduct_ion exp_mass_to_charge charge "
    "theoretical_mass_to_charge spectra_ref identification_method ms_level "
    "id_confidence_measure[1] id_confidence_measure[2] rank",
}
MANDATORY = (
    "mzTab-version", "mzTab-ID", "software[1]", "quantification_method", "ms_run[1]-location",
    "assay[1]", "assay[1]-ms_run_ref", "study_variable[1]", "study_variable[1]-assay_refs",
    "study_variable[1]-description", "cv[1]-label", "cv[1]-full_name", "cv[1]-version",
    "cv[1]-uri", "database[1]", "database[1]-prefix", "database[1]-version", "database[1]-uri",
    "small_molecule-quantification_unit", "small_molecule_feature-quantification_unit",
    "id_confidence_measure[1]",
)  # fmt: skip
NOT_NULLABLE = {
    "SML": ("SML_ID",),
    "SMF": ("SMF_ID", "exp_mass_to_charge", "charge"),
    "SME": (
        "SME_ID", "evidence_input_id", "exp_mass_to_charge", "charge", "theoretical_mass_to_charge",
        "spectra_ref", "identification_method", "ms_level", "rank",
    ),
}  # fmt: skip
PARAMETER = re.compile(r'\[[^,\[\]]*, [^,\[\]]*, ("[^"]*"|[^,"\[\]]*), [^,\[\]]*\]')


class MzTab:
    """A file, read as strictly as the specification words it."""

    def __init__(self, text: str) -> None:
        self.metadata: list[tuple[str, str]] = []
        self.headers: dict[str, list[str]] = {}
        self.rows: dict[str, list[dict[str, str]]] = {"SML": [], "SMF": [], "SME": []}
        for line in filter(None, text.split("\n")):
            prefix, *cells = line.split("\t")
            if prefix == "MTD":
                key, value = cells
                self.metadata.append((key, value))
            elif prefix in STANDARD:
                assert prefix not in self.headers
                self.headers[prefix] = cells
            else:
                header = self.headers[{"SML": "SMH", "SMF": "SFH", "SME": "SEH"}[prefix]]
                assert len(cells) == len(header)
                assert all(cells)
                assert all(cell == cell.strip() for cell in cells)
                self.rows[prefix].append(dict(zip(header, cells, strict=True)))

    @property
    def keys(self) -> dict[str, str]:
        return dict(self.metadata)


def mztab(results: Sequence[QueryResult]) -> MzTab:
    return MzTab(written(results, "mztab"))


def test_mztab_has_the_level_and_the_match() -> None:
    file = mztab([reached()])
    assert file.rows["SML"][0]["reliability"] == "2a"
    first, second = file.rows["SME"]
    assert first["opt_global_evidence"] == "library match"
    assert first["opt_global_library_match"] == "MSBNK-1"
    assert first["opt_global_level"] == "2a"
    assert first["opt_global_library_nats"] == "3.5"
    assert (second["opt_global_library_match"], second["opt_global_level"]) == ("null", "3")
    tied = reached()
    tied = replace(tied, annotations=tuple(replace(a, score=1.0) for a in tied.annotations))
    assert mztab([tied]).rows["SML"][0]["reliability"] == "3"


def test_mztab_has_all_sections_columns_and_mandatory_metadata_in_order() -> None:
    file = mztab([ranked(), unranked("q2", "no precursor m/z")])
    assert list(file.headers) == ["SMH", "SFH", "SEH"]
    for prefix, columns in STANDARD.items():
        found = file.headers[prefix]
        n = len(columns.split())
        assert found[:n] == columns.split()
        assert all(re.fullmatch(r"opt_global_[A-Za-z0-9_]+", name) for name in found[n:])
    keys = [key for key, _ in file.metadata]
    assert len(set(keys)) == len(keys)
    positions = [keys.index(key) for key in MANDATORY]
    assert positions == sorted(positions)
    assert file.keys["mzTab-version"] == "2.0.0-M"
    assert file.keys["study_variable[1]"] == "undefined"
    assert file.keys["ms_run[1]-location"] == Path("queries.mgf").absolute().as_uri()
    assert file.keys["ms_run[1]-scan_polarity[1]"] == "[MS, MS:1000130, positive scan, ]"
    assert "model = specvae-model/model.safetensors" in file.keys.values()
    assert file.keys["database[1]-uri"].endswith("/cands.csv")


def test_mztab_ids_refer_to_each_other() -> None:
    file = mztab([ranked("q1"), unranked("q2", "no candidates within 10 ppm", 301.0), ranked("q3")])
    features = {row["SMF_ID"]: row for row in file.rows["SMF"]}
    evidence = {row["SME_ID"]: row for row in file.rows["SME"]}
    assert len(features) == len(file.rows["SMF"]) == 3
    assert len(evidence) == len(file.rows["SME"]) == 4
    referred = []
    for summary in file.rows["SML"]:
        feature = features[summary["SMF_ID_REFS"]]
        if feature["SME_ID_REFS"] == "null":
            assert summary["opt_global_query_id"] == "q2"
            assert feature["SME_ID_REF_ambiguity_code"] == "null"
            continue
        assert feature["SME_ID_REF_ambiguity_code"] == "1"
        for sme_id in feature["SME_ID_REFS"].split("|"):
            assert evidence[sme_id]["evidence_input_id"] == summary["opt_global_query_id"]
            referred.append(sme_id)
    assert sorted(referred) == sorted(evidence)


def test_mztab_evidence_tells_the_candidate_its_masses_and_its_place() -> None:
    file = mztab([ranked()])
    first = file.rows["SME"][0]
    assert first["chemical_formula"] == "C8H10N4O2"
    assert first["chemical_name"] == "caffeine"
    assert first["database_identifier"] == f"candidate:{CAFFEINE[1]}"
    assert first["adduct_ion"] == "[M+H]+"
    assert first["charge"] == "1"
    assert float(first["exp_mass_to_charge"]) == 195.0877
    # 194.080376 Da (C8H10N4O2) and a proton, 1.007276 Da.
    assert float(first["theoretical_mass_to_charge"]) == pytest.approx(195.087652, abs=2e-6)
    assert first["spectra_ref"] == "ms_run[1]:line=12"
    assert first["id_confidence_measure[1]"] == "-1.5"
    assert first["id_confidence_measure[2]"] == "null"
    assert [row["rank"] for row in file.rows["SME"]] == ["1", "2"]
    assert file.rows["SME"][1]["chemical_name"] == "null"
    for section, columns in NOT_NULLABLE.items():
        for row in file.rows[section]:
            assert all(row[column] != "null" for column in columns)


def test_mztab_keeps_queries_that_cannot_be_ranked() -> None:
    file = mztab([unranked("q1", "no precursor m/z"), unranked("q2", "no candidates", 301.5)])
    first, second = file.rows["SML"]
    assert first["opt_global_status"] == "no precursor m/z"
    # Without an m/z there can be no feature: its exp_mass_to_charge must not be null.
    assert first["SMF_ID_REFS"] == "null"
    assert first["reliability"] == "null"
    assert second["opt_global_status"] == "no candidates"
    assert second["reliability"] == "5"
    assert [row["exp_mass_to_charge"] for row in file.rows["SMF"]] == ["301.5"]
    assert file.rows["SME"] == []


def test_mztab_summary_lists_all_candidates_that_tie_for_the_first_place() -> None:
    rows = (
        annotation(2, -1.0),
        annotation(2, -1.0, ISOCAFFEINE),
        annotation(3, -2.0),
    )
    summary = mztab([answer(spectrum("q"), *rows)]).rows["SML"][0]
    assert summary["database_identifier"] == f"candidate:{CAFFEINE[1]}|candidate:{ISOCAFFEINE[1]}"
    assert summary["chemical_name"] == "caffeine|null"
    for column in ("chemical_formula", "smiles", "chemical_name", "theoretical_neutral_mass"):
        assert summary[column].count("|") == 1


def test_mztab_lists_bars_only_between_alternatives() -> None:
    row = annotation(1, -1.0, (CAFFEINE[0], CAFFEINE[1], NASTY))
    assert mztab([answer(spectrum("q"), row)]).rows["SML"][0]["chemical_name"].count("|") == 0


def test_mztab_has_one_run_assay_and_abundance_column_per_file() -> None:
    negative = answer(spectrum("q2", "more.mgf", adduct="[M-H]-"), annotation(1, -1.0))
    file = mztab([ranked(), negative])
    assert file.keys["ms_run[2]-scan_polarity[1]"] == "[MS, MS:1000129, negative scan, ]"
    assert file.keys["assay[2]-ms_run_ref"] == "ms_run[2]"
    assert file.keys["study_variable[1]-assay_refs"] == "assay[1]|assay[2]"
    for prefix in ("SMH", "SFH"):
        assert [c for c in file.headers[prefix] if c.startswith("abundance_assay")] == [
            "abundance_assay[1]", "abundance_assay[2]",
        ]  # fmt: skip
    assert [row["spectra_ref"] for row in file.rows["SME"]][-1] == "ms_run[2]:line=12"


def test_mztab_charges_are_positive_in_both_polarities() -> None:
    def of(adduct: str) -> dict[str, str]:
        row = annotation(1, -1.0)
        return mztab([answer(spectrum("q", adduct=adduct), row)]).rows["SME"][0]

    assert of("[M-2H]2-")["charge"] == "2"
    assert of("[M-2H]2-")["adduct_ion"] == "[M-2H]2-"
    assert float(of("[M+2H]2+")["theoretical_mass_to_charge"]) == pytest.approx(98.047464, abs=2e-6)


@pytest.mark.parametrize("adduct", KNOWN_ADDUCTS)
def test_adduct_names_fit_the_pattern_of_mztab(adduct: str) -> None:
    assert re.fullmatch(r"\[\d*M([+-][\w\d]+)*\]\d*[+-]", adduct)


def test_mztab_parameters_have_four_parts() -> None:
    text = written([ranked()], "mztab")
    parameters = re.findall(r"(?<=\t)\[[^M\t][^\t\n]*\](?=[\t\n])|(?<=\t)\[MS,[^\t\n]*\]", text)
    assert len(parameters) > 8
    assert all(PARAMETER.fullmatch(parameter) for parameter in parameters)
