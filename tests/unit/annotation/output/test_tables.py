import csv
import io
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from mztab_rules import MANDATORY, MzTab, violations

from specvae.annotation.evidence.items import Analogue
from specvae.annotation.evidence.library_match import LibraryMatch
from specvae.annotation.library.query import Assumptions, Query
from specvae.annotation.output.cells import harmless
from specvae.annotation.output.tables import (
    FORMATS,
    SUMMARY_COLUMNS,
    write_annotations,
    write_summary,
)
from specvae.annotation.ranking.result import (
    COLUMNS,
    TERM_COLUMNS,
    Annotation,
    Answer,
    Cause,
    QueryResult,
    Refusal,
    Unranked,
)
from specvae.cli.outputs import TABLE_FORMATS
from specvae.errors import ConfigError
from specvae.molecules.molecule import Molecule
from specvae.spectra.adducts import KNOWN_ADDUCTS
from specvae.spectra.spectrum import Spectrum

PROVENANCE = {"model": "specvae-model/model.safetensors", "candidates": "cands.csv"}
CAFFEINE = ("Cn1c(=O)c2c(ncn2C)n(C)c1=O", "RYYVLZVUVIJVGH-UHFFFAOYSA-N", "caffeine")
ISOCAFFEINE = ("Cn1cnc2c1c(=O)n(C)c(=O)n2C", "LPHGQDQBBGAPDZ-UHFFFAOYSA-N", "")


def spectrum(query_id: str, path: str = "queries.mgf", **fields: object) -> Spectrum:
    values: dict[str, object] = {
        "precursor_mz": 195.0877, "adduct": "[M+H]+", "line": 12, "ordinal": 4,
    }  # fmt: skip
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
    return Answer(Query.assign_ion(found), rows, len(rows))


def unranked(query_id: str, status: str, precursor_mz: float | None = None) -> Unranked:
    found = spectrum(query_id, precursor_mz=precursor_mz)
    query = None if precursor_mz is None else Query.assign_ion(found)
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
        "", "", "", "3", *[""] * 16,
    ]  # fmt: skip
    assert rows[3] == ["q2", "", "", "", "", "", "", "0", "", "", "no precursor m/z", *[""] * 20]
    assert len(rows) == 4


def test_the_status_joins_what_was_decided() -> None:
    assumed = Query.assign_ion(spectrum("q", adduct=None, ion_mode="positive"))
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
    odds = ("log_odds_known", "log_odds_in_list", "window_share")
    assert [tuple(record) for record in records] == [(*COLUMNS, *odds)] * 3
    assert records[0]["score"] == -1.5
    assert records[0]["rank"] == 1
    assert records[0]["probability"] is None
    assert records[2]["rank"] is None
    assert records[2]["status"] == "no candidates within 10 ppm"


MATCH = LibraryMatch("MSBNK-1", "[M+H]+", 0.91, 7, is_clear=True, row=3, name="Coffein")
ANALOGUES = (
    Analogue("YAPQBXQYLJRXSA", "Cn1cnc2c1c(=O)[nH]c(=O)n2C", 0.6543219, 8, "theobromine"),
    Analogue("ZFXYFBGIUFBOJW", "Cn1c(=O)c2[nH]cnc2n(C)c1=O", 0.5, 9),
)


def reached() -> Answer:
    """Return a query with a candidate that the library knows, of an ion with retention time."""
    found = spectrum("q", retention_time=61.5, metadata={"FEATURE_ID": "17"})
    row = replace(
        annotation(1, 6.25),
        formula="C8H10N4O2",
        id="HMDB1",
        exact_mass=194.08037556,
        terms=(-0.5, 1.25, 2.0, 3.5, 0.75, 0.25, -0.125),
        leading="library",
        match=MATCH,
    )
    other = replace(
        annotation(2, -1.0, ISOCAFFEINE), leading="fragments", terms=(0.0,) * len(TERM_COLUMNS)
    )
    return replace(
        answer(found, row, other), log_odds_known=2.5, log_odds_in_list=-0.5, analogues=ANALOGUES
    )


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
        "nearness_nats": "0.75",
        "retention_nats": "0.25",
        "mass_nats": "-0.125",
        "candidate_id": "HMDB1",
        "formula": "C8H10N4O2",
        "error_ppm": "0.24598",
        "retention_time": "61.5",
        "feature_id": "17",
        "library_name": "Coffein",
        "analogue": "theobromine",
        "analogue_cosine": "0.654322",
        "library_adduct": "[M+H]+",
    }
    assert (second["evidence"], second["library_match"], second["level"]) == ("fragments", "", "3")


def test_json_lines_keep_what_a_query_says_of_the_run() -> None:
    record = json.loads(written([reached()], "jsonl").splitlines()[0])
    assert (record["log_odds_known"], record["log_odds_in_list"]) == (2.5, -0.5)
    assert record["window_share"] == 1.0


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
    assert tuple(first) == (*SUMMARY_COLUMNS, "analogues")
    assert first["lead_nats"] == 1.75
    assert first["analogues"] == []


def test_compounds_with_like_spectra_have_their_names() -> None:
    unnamed = replace(reached(), analogues=ANALOGUES[1:])
    refused = replace(unranked("q2", "no candidates"), analogues=ANALOGUES)
    rows = list(csv.DictReader(io.StringIO(summary([reached(), unnamed, refused], "csv"))))
    # A compound without a name is called by its first block.
    assert [row["analogue"] for row in rows] == ["theobromine", "ZFXYFBGIUFBOJW", "theobromine"]
    assert rows[0]["library_name"] == "Coffein"
    listed = json.loads(summary([reached()], "jsonl"))["analogues"]
    assert listed[0] == {
        "name": "theobromine", "inchikey14": "YAPQBXQYLJRXSA", "cosine": 0.654322,
        "smiles": "Cn1cnc2c1c(=O)[nH]c(=O)n2C", "is_unlisted": False,
    }  # fmt: skip
    assert listed[1]["name"] is None
    line = mztab([reached()]).rows["SML"][0]
    assert (line["opt_global_analogue"], line["opt_global_analogue_cosine"]) == (
        "theobromine", "0.654322",
    )  # fmt: skip


def test_a_summary_is_no_mztab() -> None:
    with pytest.raises(ConfigError, match="csv, tsv or jsonl"):
        summary([ranked()], "mztab")


def test_an_unknown_format_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="'xlsx', wanted one of csv, tsv, jsonl, mztab"):
        written([], "xlsx")


def test_commands_offer_the_formats_that_are_written() -> None:
    # Each has its own list, as commands list theirs without loading what writes tables.
    assert TABLE_FORMATS == FORMATS


@pytest.mark.parametrize("format", FORMATS)
def test_no_query_makes_an_empty_table(format: str) -> None:  # noqa: A002
    text = written([], format)
    assert not any(line.startswith(("q", "SML", "SMF", "SME\t")) for line in text.splitlines()[1:])


# --- mzTab-M --------------------------------------------------------------------------------------


def mztab(results: Sequence[QueryResult]) -> MzTab:
    """Return the file of some results, which no rule of the standard has anything against."""
    text = written(results, "mztab")
    assert violations(text) == []
    return MzTab(text)


def test_mztab_tells_what_is_said_of_a_candidate_alone() -> None:
    salt = replace(annotation(1, -1.0), remarks=("metal taken off: Zn",))
    heavy = replace(annotation(2, -2.0, ISOCAFFEINE), exact_mass=300.0)
    coarse = LibraryMatch("old", "[M+H]+", 0.9, 5, is_clear=False, row=0, is_nominal=True)
    known = replace(annotation(3, -3.0, ISOCAFFEINE), match=coarse)
    file = mztab([answer(spectrum("q"), salt, heavy, known)])
    assert [row["opt_global_status"] for row in file.rows["SME"]] == [
        "ok; metal taken off: Zn",
        "ok; its mass does not fit the precursor m/z (-351,884 ppm)",
        "ok; library spectrum compared by nominal masses, as one of the two is of low resolution",
    ]
    assert file.rows["SML"][0]["opt_global_status"] == "ok"


def test_mztab_states_the_formula_of_a_cation_without_its_charge() -> None:
    smiles = "C[N+](C)(C)CCO"
    choline = replace(annotation(1, -1.0), smiles=smiles, molecule=Molecule.parse(smiles))
    measured = replace(spectrum("q"), precursor_mz=104.107, adduct="[M]+")
    file = mztab([answer(measured, choline)])
    assert [file.rows[section][0]["chemical_formula"] for section in ("SML", "SME")] == [
        "C5H14NO"
    ] * 2


def test_mztab_names_the_ion_by_which_the_best_candidate_has_its_mass() -> None:
    tried = Assumptions.parse(tried="[M+H]+,[M+Na]+")
    query = Query.assign_ion(spectrum("q", adduct=None, ion_mode="positive"), tried)
    best = replace(annotation(1, -1.0), adduct="[M+Na]+")
    other = replace(annotation(2, -2.0, ISOCAFFEINE), adduct="[M+H]+")
    file = mztab([Answer(query, (best, other), 2)])
    assert file.rows["SML"][0]["adduct_ions"] == "[M+Na]+"
    assert file.rows["SMF"][0]["adduct_ion"] == "[M+Na]+"
    assert [row["adduct_ion"] for row in file.rows["SME"]] == ["[M+Na]+", "[M+H]+"]


def test_mztab_has_the_level_and_the_match() -> None:
    file = mztab([reached()])
    assert file.rows["SML"][0]["reliability"] == "2a"
    first, second = file.rows["SME"]
    assert first["opt_global_evidence"] == "library match"
    assert first["opt_global_library_match"] == "MSBNK-1"
    assert first["opt_global_library_name"] == "Coffein"
    assert first["opt_global_level"] == "2a"
    # The candidate's own identifier, where its file has one.
    assert first["database_identifier"] == "candidate:HMDB1"
    assert second["database_identifier"] == f"candidate:{ISOCAFFEINE[1]}"
    assert first["opt_global_library_nats"] == "3.5"
    assert (second["opt_global_library_match"], second["opt_global_level"]) == ("null", "3")
    tied = reached()
    tied = replace(tied, annotations=tuple(replace(a, score=1.0) for a in tied.annotations))
    assert mztab([tied]).rows["SML"][0]["reliability"] == "3"


def test_mztab_has_all_sections_columns_and_mandatory_metadata_in_order() -> None:
    file = mztab([ranked(), unranked("q2", "no precursor m/z")])
    assert list(file.headers) == ["SMH", "SFH", "SEH"]
    keys = [key for key, _ in file.metadata]
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
    assert first["spectra_ref"] == "ms_run[1]:index=3"
    assert first["id_confidence_measure[1]"] == "-1.5"
    assert first["id_confidence_measure[2]"] == "null"
    assert [row["rank"] for row in file.rows["SME"]] == ["1", "2"]
    assert file.rows["SME"][1]["chemical_name"] == "null"
    merged = replace(ranked().query, merged=("b", "c"), merged_ordinals=(5, 9))
    (row, _) = mztab([replace(ranked(), query=merged)]).rows["SME"]
    assert row["spectra_ref"] == "ms_run[1]:index=3|ms_run[1]:index=4|ms_run[1]:index=8"


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


@pytest.mark.parametrize("fields", [{"precursor_mz": None}, {"adduct": "[M+?]"}])
def test_mztab_tells_which_candidates_it_has_no_place_for(fields: dict[str, object]) -> None:
    """They are listed for the query, which states no m/z or ion; those below the first got lost."""
    salt = replace(annotation(1, -1.0), remarks=("listed as a salt",))
    rows = (salt, annotation(2, -2.0, ISOCAFFEINE), annotation(3, -3.0, ISOCAFFEINE))
    query = spectrum("q", **fields)  # type: ignore[arg-type]
    file = mztab([answer(query, *rows)])
    assert file.rows["SMF"] == file.rows["SME"] == []
    said = file.rows["SML"][0]["opt_global_status"].split("; ")
    assert said[0] == "ok"
    assert said[-2:] == [
        "listed as a salt",
        "2 candidates of lower rank left out, as mzTab-M wants an ion and its m/z",
    ]
    status = mztab([answer(query, rows[1])]).rows["SML"][0]["opt_global_status"]
    assert "left out" not in status
    assert "salt" not in mztab([answer(spectrum("q"), *rows)]).rows["SML"][0]["opt_global_status"]


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
    assert [row["spectra_ref"] for row in file.rows["SME"]][-1] == "ms_run[2]:index=3"


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


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("a.mzML", "mzML"), ("a.mzXML", "ISB mzXML"), ("a.mgf.gz", "Mascot MGF"),
        ("a.msp", "NIST MSP"), ("a.other", None),
    ],
)  # fmt: skip
def test_mztab_says_what_files_are_and_how_their_spectra_are_named(
    path: str, kind: str | None
) -> None:
    keys = mztab([ranked(path=path)]).keys
    assert ("ms_run[1]-format" in keys) == (kind is not None)
    if kind is not None:
        assert f", {kind} format, ]" in keys["ms_run[1]-format"]
        assert "multiple peak list nativeID format" in keys["ms_run[1]-id_format"]


def test_mztab_takes_the_probability_for_the_best_confidence() -> None:
    rows = (annotation(1, -1.0, probability=0.75), annotation(2, -2.0, ISOCAFFEINE, 0.125))
    sure, unsure = mztab([answer(spectrum("q"), *rows), ranked("q2")]).rows["SML"]
    assert "probability" in sure["best_id_confidence_measure"]
    assert sure["best_id_confidence_value"] == "0.75"
    # A model that is not calibrated has scores only.
    assert "score" in unsure["best_id_confidence_measure"]
    assert unsure["best_id_confidence_value"] == "-1.5"


@pytest.mark.parametrize(
    ("found", "other", "fault"),
    [
        ("MTD\tmzTab-ID\tspecvae-annotations\n", "", "mzTab-ID is missing"),
        ("2.0.0-M", "1.0.0", "mzTab-version"),
        ("assay[1]-ms_run_ref\tms_run[1]", "assay[1]-ms_run_ref\tms_run[2]", "not declared"),
        ("MTD\tms_run[1]-id_format", "MTD\tms_run[1]-hash", "format and id_format go together"),
        ("MTD\tcv[1]-label\tMS", "MTD\tcv[1]-label\tPRIDE", "vocabulary MS is not declared"),
        ("\treliability\t", "\tlevel\t", "SMH: columns are"),
        ("opt_global_query_id", "query_id", "query_id is no optional column"),
        ("SMF\t1\t1|2\t1\t", "SMF\t1\t1|2\tnull\t", "ambiguity code"),
        ("SMF\t1\t1|2\t", "SMF\t1\t1|7\t", "no SME 7"),
        ("SML\t1\t1\t", "SML\t1\tnull\t", "nothing refers to it"),
        ("SME\t2\t", "SME\t1\t", "an identifier is there twice"),
        ("ms_run[1]:index=3", "ms_run[4]:index=3", "ms_run[4] is not declared"),
        ("\tcandidate:", "\tpubchem:", "is of no declared database"),
        ("[M+H]+\t195.0877\t1\t195", "M+H\t195.0877\t1\t195", "adduct_ion is M+H"),
        ("[M+H]+\t195.0877\t1\t195", "[M+H]+\tnull\t1\t195", "exp_mass_to_charge is null"),
        ("[M+H]+\t195.0877\t1\t195", "[M+H]+\t195.0877\t-1\t195", "charge is -1"),
        ("SME\t1\tq1\t", "SME\t1\t\t", "a cell is empty"),
        ("SEH\t", "SXH\t", "prefix 'SXH'"),
        ("\tcaffeine\t", "\tcaffeine|tea\t", "alternatives differ in number"),
        ("[, , specvae score in nats (higher is better), ]\t-1.5", "null\t-1.5",
         "a measure or a value only"),
        ("\n", "\r\n", "line feed"),
    ],
)  # fmt: skip
def test_the_rules_of_mztab_find_what_is_wrong(found: str, other: str, fault: str) -> None:
    text = written([ranked()], "mztab")
    assert violations(text) == []
    assert found in text
    broken = text.replace(found, other, 1) if other != "\r\n" else text.replace(found, other)
    assert any(fault in line for line in violations(broken))


@pytest.mark.parametrize(
    ("precursor_mz", "status"),
    [
        (60.06, "ok"),  # two decimals, and measured roughly
        (60.07, "ok; its mass does not fit the precursor m/z (427 ppm)"),
    ],
)
def test_a_small_m_z_that_was_rounded_fits(precursor_mz: float, status: str) -> None:
    acetamide = replace(annotation(1, -1.0), exact_mass=59.037114)
    measured = replace(spectrum("q1", precursor_mz=precursor_mz), mz=np.array([43.018, 44.013]))
    result = answer(measured, acetamide)
    (row,) = csv.DictReader(io.StringIO(written([result], "csv")))
    assert row["status"] == status


@pytest.mark.parametrize(
    ("precursor_mz", "status"),
    [
        (195.0877, "ok"),
        (195.1, "ok"),  # one decimal
        (217.0696, "ok; its mass does not fit the precursor m/z (112,677 ppm)"),
        (195.12, "ok; its mass does not fit the precursor m/z (166 ppm)"),
    ],
)
def test_a_listed_candidate_of_another_mass_is_not_simply_ok(
    precursor_mz: float, status: str
) -> None:
    found = replace(annotation(1, -1.0), exact_mass=194.0804)
    stream = io.StringIO()
    result = answer(spectrum("q1", precursor_mz=precursor_mz), found)
    write_annotations([result], stream, "csv", provenance=PROVENANCE)
    (row,) = csv.DictReader(io.StringIO(stream.getvalue()))
    assert row["status"] == status
