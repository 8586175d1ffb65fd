"""Beside MZmine and feature-based networks: rows that join by the number of the feature.

The files are made here as MZmine 3 and 4 export them for GNPS and for SIRIUS: a table with a column
``row ID``, and an MGF file whose records have ``FEATURE_ID``.
"""

from __future__ import annotations

import re
from io import StringIO
from pathlib import Path

import pandas as pd
import pytest
from conftest import SHIPPED, run_specvae
from mztab_rules import MzTab, violations

N_FEATURES = 4


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    """Write a feature table and an MGF of the first demo queries; return their folder."""
    records = (SHIPPED / "queries.mgf").read_text(encoding="utf-8").split("BEGIN IONS\n")[1:]
    lines, table = [], []
    # Numbers of features need not begin at 1, nor have all of them a spectrum.
    for number, record in enumerate(records[:N_FEATURES], start=11):
        mz = re.findall(r"^PEPMASS=(\S+)", record, re.M)[0]
        peaks = re.findall(r"^\d.*$", record, re.M)
        for collision in (20, 40):
            lines += [
                "BEGIN IONS", f"FEATURE_ID={number}", f"PEPMASS={mz}", f"SCANS={number}",
                f"RTINSECONDS={60.5 + number}", "CHARGE=1+", "MSLEVEL=2", "ION=[M+H]+",
                f"COLLISION_ENERGY={collision}", f"Num peaks={len(peaks)}", *peaks, "END IONS", "",
            ]  # fmt: skip
        table.append((number, mz, 1.0 + number / 60, "1e5", "2e5"))
    table.append((15, "500.1234", 9.0, "0", "3e4"))
    (tmp_path / "features.mgf").write_text("\n".join(lines), encoding="utf-8")
    columns = ["row ID", "row m/z", "row retention time", "a.mzML Peak area", "b.mzML Peak area"]
    pd.DataFrame(table, columns=columns).to_csv(tmp_path / "features_quant.csv", index=False)
    return tmp_path


def test_a_summary_joins_the_feature_table(exported: Path, demo_model: Path) -> None:
    run_specvae(
        "annotate", exported / "features.mgf", "--candidates", SHIPPED / "candidates.csv",
        "--model", demo_model, "--merge-by", "FEATURE_ID", "-o", exported / "ranked.csv",
        "--summary", exported / "summary.tsv",
    )  # fmt: skip
    quantities = pd.read_csv(exported / "features_quant.csv")
    summary = pd.read_csv(exported / "summary.tsv", sep="\t")
    joined = quantities.merge(summary, left_on="row ID", right_on="mappingFeatureId", how="left")
    assert len(joined) == N_FEATURES + 1  # each feature once, none lost
    annotated = joined[joined["row ID"] < 15]
    assert annotated["smiles"].notna().all()
    assert annotated["retentionTimeInSeconds"].tolist() == [71.5, 72.5, 73.5, 74.5]
    assert (annotated["ionMass"] - annotated["row m/z"]).abs().max() < 1e-4
    assert joined[joined["row ID"] == 15]["smiles"].isna().all()
    # Cytoscape takes one row a node: the key is a number without decimals, and unique.
    keys = (exported / "summary.tsv").read_text().splitlines()
    place = keys[0].split("\t").index("mappingFeatureId")
    assert [line.split("\t")[place] for line in keys[1:]] == ["11", "12", "13", "14"]


def test_each_spectrum_has_the_number_of_its_feature(exported: Path, demo_model: Path) -> None:
    text = run_specvae(
        "annotate", exported / "features.mgf", "--candidates", SHIPPED / "candidates.csv",
        "--model", demo_model, "--top", 1,
    ).stdout  # fmt: skip
    table = pd.read_csv(StringIO(text))
    assert table["feature_id"].tolist() == [n for n in range(11, 15) for _ in range(2)]
    assert table["query_id"].tolist()[:3] == ["11", "11#2", "12"]


def test_mztab_of_features_breaks_no_rule(exported: Path, demo_model: Path) -> None:
    text = run_specvae(
        "annotate", exported / "features.mgf", "--candidates", SHIPPED / "candidates.csv",
        "--model", demo_model, "--merge-by", "FEATURE_ID", "--format", "mztab",
    ).stdout  # fmt: skip
    assert violations(text) == []
    file = MzTab(text)
    assert [row["opt_global_query_id"] for row in file.rows["SML"]] == ["11", "12", "13", "14"]
    first = {row["evidence_input_id"]: row["spectra_ref"] for row in reversed(file.rows["SME"])}
    assert first["12"] == "ms_run[1]:index=2|ms_run[1]:index=3"
    assert "probability" in file.rows["SML"][0]["best_id_confidence_measure"]
    assert file.rows["SMF"][0]["retention_time_in_seconds"] == "71.5"
