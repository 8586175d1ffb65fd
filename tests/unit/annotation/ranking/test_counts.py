"""Counts of references as evidence: read from a table, added to the scores of candidates."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from annotation_examples import ASPIRIN, CAFFEINE, candidates, spectrum_of, tiny_annotator

from specvae.annotation.output.cells import Cell, rows
from specvae.annotation.output.details import (
    COUNTS_NAME,
    FORMATION_NAME,
    MASS_NAME,
    name_of_rest,
)
from specvae.annotation.ranking.counts import Counts
from specvae.annotation.ranking.options import RunOptions
from specvae.annotation.ranking.run import RankingRun
from specvae.errors import ConfigError, InputError

THEOPHYLLINE = "Cn1c2nc[nH]c2c(=O)n(C)c1=O"
THEOBROMINE = "Cn1cnc2c1c(=O)[nH]c(=O)n2C"
PARAXANTHINE = "Cn1cnc2c1c(=O)n(C)c(=O)[nH]2"


def written(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Return a table as databases give it: keys or structures, thousands with commas, gaps."""
    return written(
        tmp_path / "counts.csv",
        "InChIKey,SMILES,Name,PubMed_Count,Patent_Count",
        f'ZFXYFBGIUFBOJW-UHFFFAOYSA-N,{THEOPHYLLINE},theophylline,"12,345",0',
        f",{THEOBROMINE},theobromine,99,900",
        f",{PARAXANTHINE},paraxanthine,,NA",
        ",not a structure,?,3,3",
        f",{THEOBROMINE},theobromine again,7,7",
    )


def test_counts_are_read_by_first_block(table: Path) -> None:
    counts = Counts.read(table, ["PubMed_Count"])
    assert counts.by_block == {
        "ZFXYFBGIUFBOJW": 12345.0,
        "YAPQBXQYLJRXSA": 99.0,
        "QUNWUDVFRNGTCO": 0.0,
    }
    assert counts.said == (
        f"counts: 3 compounds of {table} (pubmed_count); one of n is (1 + n)^0.5 as likely as one "
        "of none; rows without a count taken as 0 (1); rows that name no compound left out (1)"
    )
    both = Counts.read(table, ["patent_count", "PubMed_Count"])
    assert both.by_block["YAPQBXQYLJRXSA"] == 999.0


def test_nats_are_the_logarithm_of_a_prior(table: Path) -> None:
    found = candidates(THEOPHYLLINE, THEOBROMINE, PARAXANTHINE, CAFFEINE)
    nats = Counts.read(table, ["PubMed_Count"], 1.0).nats(found)
    weights = np.array([12346.0, 100.0, 1.0, 1.0])
    assert nats == pytest.approx(np.log(weights / weights.mean()))
    # What is said of the list as a whole does not change.
    assert np.exp(nats).mean() == pytest.approx(1.0)
    half = Counts.read(table, ["PubMed_Count"]).nats(found)
    assert half[0] - half[1] == pytest.approx(0.5 * np.log(123.46))


@pytest.mark.parametrize(
    ("lines", "columns", "message"),
    [
        (("smiles,name", "CCO,x"), (), r"1: found no column of counts \(columns: smiles, name\)"),
        (
            ("smiles,PubMed Count,Patents", "CCO,1,2"),
            (),
            "1: found several columns of counts, pubmed_count, patents .*wanted --counts-column",
        ),
        (("smiles,n", "CCO,1"), ("m",), "1: no column m; found smiles, n"),
        (("smiles,count", "CCO,3", "CCN,many"), (), "3: count is 'many', wanted a number of 0"),
        (("smiles,count", "CCO,-3"), (), "2: count is '-3', wanted a number of 0 or more"),
        (("smiles,count", "?,3"), (), "no compound found"),
        (("compound,count", "x,3"), (), "1: found columns compound, count; wanted one of inchikey"),
    ],
)
def test_what_is_no_table_of_counts_is_told(
    tmp_path: Path, lines: tuple[str, ...], columns: tuple[str, ...], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        Counts.read(written(tmp_path / "counts.csv", *lines), columns)


@pytest.mark.parametrize("weight", [0.0, -1.0, float("nan"), float("inf")])
def test_a_weight_is_a_number_above_0(weight: float) -> None:
    with pytest.raises(ConfigError, match="counts_weight"):
        RunOptions(candidates=Path("c.csv"), counts_weight=weight)


def test_columns_without_a_file_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"counts_columns: found n, wanted a file"):
        RunOptions(candidates=Path("c.csv"), counts_columns=("n",))


def ranked(listed: Path, **options: object) -> list[dict[str, Cell]]:
    run = RankingRun(
        tiny_annotator(("positive",)),
        RunOptions(candidates=listed, n_jobs=1, **options),  # type: ignore[arg-type]
    )
    query = spectrum_of(THEOBROMINE, 110.0713, 138.0662, 181.072)
    return [row for result in run.results([query]).results for row in rows(result)]


def test_a_run_prefers_what_is_well_known(tmp_path: Path, table: Path) -> None:
    smiles = (THEOPHYLLINE, THEOBROMINE, PARAXANTHINE, ASPIRIN)
    listed = written(tmp_path / "c.csv", "smiles", *smiles)
    before = {row["inchikey"]: row["score"] for row in ranked(listed)}
    for weight in (1.0, 3.0):
        options = {"counts": table, "counts_columns": ("PubMed_Count",), "counts_weight": weight}
        found = ranked(listed, **options)
        nats = Counts.read(table, ["PubMed_Count"], weight).nats(
            candidates(*(str(row["smiles"]) for row in found))
        )
        added = [float(str(row["score"])) - float(str(before[row["inchikey"]])) for row in found]
        assert added == pytest.approx(nats.tolist(), abs=2e-3)
    assert found[0]["inchikey"] == "ZFXYFBGIUFBOJW-UHFFFAOYSA-N"


def test_the_report_calls_it_by_its_name(tmp_path: Path, table: Path) -> None:
    listed = written(tmp_path / "c.csv", "smiles", THEOPHYLLINE, THEOBROMINE, PARAXANTHINE)
    assert name_of_rest(-4.0, 0.0) == FORMATION_NAME
    assert name_of_rest(-100.0, 0.0) == MASS_NAME
    found = ranked(listed, counts=table, counts_columns=("PubMed_Count",))
    before = {row["inchikey"]: row["score"] for row in ranked(listed)}
    added = [float(str(row["score"])) - float(str(before[row["inchikey"]])) for row in found]
    assert name_of_rest(*added[:2]) == COUNTS_NAME
