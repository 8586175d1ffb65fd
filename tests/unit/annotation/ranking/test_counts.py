"""Counts of references as evidence: read from a table, added to the scores of candidates."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from annotation_examples import ASPIRIN, CAFFEINE, candidates, spectrum_of, tiny_annotator

from specvae.annotation.output.cells import Cell, rows
from specvae.annotation.output.details import (
    ADDUCT_NAME,
    COUNTS_NAME,
    FORMATION_NAME,
    MASS_NAME,
    why_first,
)
from specvae.annotation.ranking import counts
from specvae.annotation.ranking.counts import Counts
from specvae.annotation.ranking.options import RunOptions
from specvae.annotation.ranking.result import TERMS, Answer
from specvae.annotation.ranking.run import RankingRun
from specvae.errors import ConfigError, InputError
from specvae.molecules import workers
from specvae.sources import called_source

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


def test_counts_from_a_pipe_are_called_by_its_name(table: Path) -> None:
    with called_source(table, "/dev/fd/63"):
        assert "of /dev/fd/63 (pubmed_count)" in Counts.read(table, ["PubMed_Count"]).summary


def test_several_processes_read_the_same_counts(
    table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = Counts.read(table, ["PubMed_Count"])
    monkeypatch.setattr(counts, "WORTH_PROCESSES", 5)
    monkeypatch.setattr(counts, "BATCH", 2)
    started: list[int] = []
    several = workers.in_order

    def counting(function: Any, batches: Any, n: int, purpose: str) -> Any:  # noqa: ANN401
        started.append(n)
        return several(function, batches, n, purpose)

    monkeypatch.setattr(counts, "in_order", counting)
    assert Counts.read(table, ["PubMed_Count"], n_jobs=2) == alone
    assert started == [2]


def test_counts_are_read_by_first_block(table: Path) -> None:
    counts = Counts.read(table, ["PubMed_Count"])
    assert counts.by_block == {
        "ZFXYFBGIUFBOJW": 12345.0,
        "YAPQBXQYLJRXSA": 99.0,
        "QUNWUDVFRNGTCO": 0.0,
    }
    assert counts.summary == (
        f"counts: 3 compounds of {table} (pubmed_count); one of n is (1 + n)^0.5 as likely as one "
        "of none; rows without a count taken as 0 (1); rows that name no compound left out (1, "
        "first in line 5)"
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
        (("smiles,n", "CCO,1"), ("m",), "1: no column m; found smiles, n$"),
        (
            (f"smiles{',x' * 20},PubMed_Count", "CCO"),
            ("PubMedCount",),
            r"no column pubmedcount; found .*, x, \.\.\.; the nearest is pubmed_count$",
        ),
        (("smiles,count", "CCO,3", "CCN,many"), (), "3: count is 'many', wanted a whole number"),
        (("smiles,count", "CCO,-3"), (), "2: count is '-3', wanted a whole number from 0"),
        # A thousand and more where a point divides thousands.
        (("smiles;count", "CCO;1.234"), (), "2: count is '1.234', wanted a whole number"),
        (("smiles,count", "CCO,1e300"), (), "2: count is '1e300', wanted .* to 1,000,000,000,000"),
        # A comma of a number or a name that is not in quotation marks moves the counts.
        (("smiles,count,name", "CCO,1,234,x"), (), "2: found 4 cells, wanted 3 .* around a cell"),
        (("smiles,count", "CCO,", "CCN,NA"), (), "no count found in count$"),
        (("smiles,heavy_atom_count", "CCO,3"), (), "1: found no column of counts"),
        (("smiles,PubMed_ID", "CCO,12345"), (), "1: found no column of counts"),
        (("smiles,country", "CCO,7"), (), "1: found no column of counts"),
        (("smiles,CID,count", "CCO,702,3"), ("CID",), "1: column cid is the id, wanted one of"),
        (("smiles,count", "?,3"), (), "no compound found"),
        (("compound,count", "x,3"), (), "1: found columns compound, count; wanted one of inchikey"),
    ],
)
def test_what_is_no_table_of_counts_is_told(
    tmp_path: Path, lines: tuple[str, ...], columns: tuple[str, ...], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        Counts.read(written(tmp_path / "counts.csv", *lines), columns)


@pytest.mark.parametrize("suffix", [".sdf", ".SMI", ".h5"])
def test_a_file_of_structures_is_no_table_of_counts(tmp_path: Path, suffix: str) -> None:
    path = written(tmp_path / f"c{suffix}", "smiles,count", "CCO,3")
    with pytest.raises(InputError, match="a file of structures; wanted a CSV or TSV with counts"):
        Counts.read(path)


def test_the_cells_of_a_spreadsheet_are_read(tmp_path: Path) -> None:
    path = tmp_path / "counts.csv"
    path.write_bytes('\ufeffSMILES;"PubMed Count"\r\nCCO;"1 234"\r\nCCN;0\r\nCCC;5\r\n'.encode())
    counts = Counts.read(path)
    assert sorted(counts.by_block.values()) == [0.0, 5.0, 1234.0]
    assert "without a count" not in counts.summary
    one = Counts.read(written(path, "smiles,count", "CCO,1"))
    assert one.summary.startswith("counts: 1 compound of")


@pytest.mark.parametrize("columns", ["InChIKey,smiles,count", "InChIKey,inchi,count"])
def test_salts_count_as_the_candidates_that_they_are(tmp_path: Path, columns: str) -> None:
    key, structure = "HDJBTCAJIMNXEW-UHFFFAOYSA-N", "CN1CCCC1c1cccnc1.Cl"
    if "inchi," in columns:
        structure = (
            "InChI=1S/C10H14N2.ClH/c1-12-7-3-5-10(12)9-4-2-6-11-8-9;/h2,4,6,8,10H,3,5,7H2,1H3;1H"
        )
    counts = Counts.read(written(tmp_path / "counts.csv", columns, f'{key},"{structure}",40'))
    (block,) = candidates("CN1CCCC1c1cccnc1").first_block
    assert counts.by_block == {"HDJBTCAJIMNXEW": 40.0, block: 40.0}


@pytest.mark.parametrize("weight", [0.0, -1.0, 3.1, float("nan"), float("inf")])
def test_a_weight_is_a_number_above_0(weight: float) -> None:
    with pytest.raises(ConfigError, match=r"counts_weight: .* above 0 and at most 3$"):
        RunOptions(candidates=Path("c.csv"), counts=Path("n.csv"), counts_weight=weight)


def test_columns_and_a_weight_without_a_file_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"counts_columns: found n, wanted a file"):
        RunOptions(candidates=Path("c.csv"), counts_columns=("n",))
    with pytest.raises(ConfigError, match=r"counts_weight: found 1\.0, wanted a file"):
        RunOptions(candidates=Path("c.csv"), counts_weight=1.0)


def answers(listed: Path, **options: object) -> list[Answer]:
    run = RankingRun(
        tiny_annotator(("positive",)),
        RunOptions(candidates=listed, n_jobs=1, **options),  # type: ignore[arg-type]
    )
    query = spectrum_of(THEOBROMINE, 110.0713, 138.0662, 181.072)
    results = run.results([query]).results
    return [result for result in results if isinstance(result, Answer)]


def ranked(listed: Path, **options: object) -> list[dict[str, Cell]]:
    return [row for answer in answers(listed, **options) for row in rows(answer)]


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
    (without,) = answers(listed)
    assert "which alone is ranked by" in why_first(without)
    (answer,) = answers(listed, counts=table, counts_columns=("PubMed_Count",))
    assert f"by the predicted fingerprint and {COUNTS_NAME}, and nothing else" in why_first(answer)
    nats = Counts.read(table, ["PubMed_Count"]).nats(
        candidates(*(a.smiles for a in answer.annotations))
    )
    assert [a.counts for a in answer.annotations] == pytest.approx(nats.tolist())


@pytest.mark.parametrize("adduct", [None, "[M+H]+"])
def test_counts_are_a_term_of_their_own_in_the_report(
    tmp_path: Path, table: Path, adduct: str | None
) -> None:
    listed = written(tmp_path / "c.csv", "smiles", THEOPHYLLINE, THEOBROMINE, PARAXANTHINE)
    (answer,) = answers(listed, counts=table, counts_columns=("PubMed_Count",), counts_weight=3.0)
    # As ranked by all evidence, of which none says anything; the adduct, or how readily the
    # candidate forms the ion, takes a nat and a half.
    shares = 0.0, -1.5
    nats = 40.0, -20.0
    first, second = (
        replace(each, terms=(0.0,) * len(TERMS), counts=n, score=n + share, adduct=adduct)
        for each, n, share in zip(answer.annotations[:2], nats, shares, strict=True)
    )
    said = why_first(replace(answer, annotations=(first, second), explanation=None))
    rest = FORMATION_NAME if adduct is None else ADDUCT_NAME
    assert f": {COUNTS_NAME} +60.00, {rest} +1.50. Without effect: " in said
    assert MASS_NAME not in said
