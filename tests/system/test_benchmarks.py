from __future__ import annotations

import csv
import gzip
import json
import zipfile
from pathlib import Path

import pytest
from conftest import SMALL, run_specvae
from shared_data import shared
from specvae_bench.folds import topk
from specvae_bench.folds.contest import prepare

from specvae.annotation.training.settings import TrainConfig, preset_config
from specvae.errors import InputError
from specvae.report import ReadReport
from specvae.settings import override, parse_assignments
from specvae.spectra.read import read_spectra

CAFFEINE = "Cn1cnc2c1c(=O)n(C)c(=O)n2C"
THEOPHYLLINE = "Cn1c2nc[nH]c2c(=O)n(C)c1=O"
ASPIRIN = "CC(=O)Oc1ccccc1C(=O)O"

RAW = (
    "NAME={name}-msms.mgf\n# Splash: x\nSOURCE_INSTRUMENT=LC-ESI-QTOF\nBEGIN IONS \n"
    "PEPMASS={pepmass}\nRTINSECONDS=-1\nCHARGE=1+\nTITLE=Scan Number: 1\nSCANS=1\n"
    "110.0713\t12.0\n138.0662\t100.0\nEND IONS \n"
)


@pytest.fixture
def contest(tmp_path: Path) -> Path:
    """Write a contest's own files: an MGF and a candidate CSV per challenge, and solutions."""
    folder = tmp_path / "contest"
    folder.mkdir()
    with zipfile.ZipFile(folder / "raw_mgf.zip", "w") as archive:
        archive.writestr("challenge-001-msms.mgf", RAW.format(name="challenge-001", pepmass=""))
        archive.writestr(
            "challenge-002-msms.mgf", RAW.format(name="challenge-002", pepmass="181.0495")
        )
        archive.writestr(
            "challenge-003-msms.mgf", RAW.format(name="challenge-003", pepmass="179.0350")
        )
    (folder / "solutions.csv").write_text(
        ",Challenge,InChIkey,SMILES,ION_MODE,PRECURSOR_MZ\n"
        f"1,challenge-001,RYYVLZVUVIJVGH-UHFFFAOYSA-N,{CAFFEINE},POSITIVE,195.1\n"
        f"2,challenge-002,BSYNRYMUTXBXSQ-UHFFFAOYSA-N,{ASPIRIN}, POSITIVE,181.0\n"
        f"3,challenge-003,BSYNRYMUTXBXSQ-UHFFFAOYSA-N,{ASPIRIN},NEGATIVE,179.0\n"
    )
    (folder / "candidates").mkdir()
    for number, smiles in ((1, CAFFEINE), (2, ASPIRIN), (3, ASPIRIN)):
        (folder / "candidates" / f"challenge-{number:03d}.csv").write_text(
            f"Identifier,SMILES\n1,{THEOPHYLLINE}\n2,{smiles}\n"
        )
    return folder


def test_casmi_takes_the_contests_own_files(contest: Path, model: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    run_specvae(
        "bench", "casmi2017", "--data", contest, "--model", model, "-o", output, "--jobs", 1
    )
    queries = {s.query_id: s for s in read_spectra(output / "queries.mgf", ReadReport())}
    assert list(queries) == ["challenge-001", "challenge-002", "challenge-003"]
    # An empty precursor comes from the solutions, a stated one stays.
    assert queries["challenge-001"].precursor_mz == 195.1
    assert queries["challenge-002"].precursor_mz == 181.0495
    assert queries["challenge-003"].ion_mode == "negative"
    result = json.loads((output / "result.json").read_text())
    (figures,) = result["models"].values()
    assert figures["n_queries"] == figures["n_ranked"] == 2
    assert len(figures["top_k"]) == 100
    assert figures["top_k"][1] == 1.0
    assert (output / "topk.png").read_bytes().startswith(b"\x89PNG")
    assert (output / "table.md").read_text().count("\n") == 3


def test_casmi_by_the_fingerprint_alone(contest: Path, model: Path, tmp_path: Path) -> None:
    out, figures = tmp_path / "out", tmp_path / "figures.json"
    by = ("--model", model, "--rank-by", "fingerprint")
    run_specvae("bench", "casmi2017", "--data", contest, *by, "-o", out)
    run_specvae(
        "evaluate", out / "queries.mgf", "--candidates", out / "candidates.csv",
        "--truth", out / "truth.csv", "--ion-mode", "positive", *by, "--json", figures,
    )  # fmt: skip
    result, expected = (json.loads(path.read_text()) for path in (out / "result.json", figures))
    assert result["rank_by"] == "fingerprint"
    (found,) = result["models"].values()
    for name in ("n_ranked", "hit_at_1", "mrr", "mrr_ci95"):
        assert found[name] == expected[name], name


def test_casmi_merged_and_loose_files_rank_alike(
    contest: Path, model: Path, tmp_path: Path
) -> None:
    first, merged, second = tmp_path / "first", tmp_path / "merged", tmp_path / "second"
    run_specvae("bench", "casmi2017", "--data", contest, "--model", model, "-o", first)
    merged.mkdir()
    for name in ("queries.mgf", "truth.csv"):
        (merged / name).write_bytes((first / name).read_bytes())
    (merged / "candidates.csv.gz").write_bytes(
        gzip.compress((first / "candidates.csv").read_bytes())
    )
    run_specvae("bench", "casmi2017", "--data", merged, "--model", model, "-o", second)
    results = [json.loads((f / "result.json").read_text())["models"] for f in (first, second)]
    for result in results:
        for figures in result.values():
            del figures["seconds"]
    assert results[0] == results[1]


def test_casmi_trains_svae_and_vaevae_without_the_contests_compounds(
    library: Path, few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def small(preset: str, kind: str) -> TrainConfig:
        return override(preset_config(preset, kind), parse_assignments(SMALL[1::2]))

    monkeypatch.setattr(topk, "preset_config", small)
    folder, output = tmp_path / "data", tmp_path / "out"
    folder.mkdir()
    for name in ("queries.mgf", "truth.csv", "candidates.csv"):
        (folder / name).write_bytes((few / name).read_bytes())
    answers = {row["inchikey14"] for row in csv.DictReader((few / "truth.csv").open())}
    # The library names one answer, which must be kept out of training.
    kept_out = "RYYVLZVUVIJVGH"
    with (folder / "truth.csv").open("a") as stream:
        stream.write(f"another,{kept_out}\n")
    run_specvae(
        "bench", "casmi2017", "--data", folder, "--spectra", library,
        "--epochs", 1, "--fingerprint", "morgan4096", "--jobs", 1, "-o", output,
    )  # fmt: skip
    result = json.loads((output / "result.json").read_text())
    assert set(result["models"]) == {"svae", "vaevae"}
    for kind in ("svae", "vaevae"):
        split = (output / kind / "split.csv").read_text()
        assert kept_out not in split
        assert not any(block in split for block in answers)
    other = run_specvae(
        "bench", "casmi2017", "--data", folder, "--spectra", library,
        "--epochs", 2, "--fingerprint", "morgan4096", "--jobs", 1, "-o", output, code=1,
    )  # fmt: skip
    assert "finished with optim.epochs 1 (now 2)" in other.stderr
    assert "-o names another folder" in other.stderr
    assert "--force" not in other.stderr


def test_casmi_tells_what_is_not_ranked_and_refuses_what_is_not_used(
    few: Path, model: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    for name in ("queries.mgf", "truth.csv", "candidates.csv"):
        (folder / name).write_bytes((few / name).read_bytes())
    with (folder / "truth.csv").open("a") as stream:
        stream.write("another,RYYVLZVUVIJVGH\n")
    with (folder / "candidates.csv").open("a") as stream:
        stream.write("C(C\n")
    with (folder / "queries.mgf").open("a") as stream:
        stream.write("BEGIN IONS\nTITLE=empty\nPEPMASS=100\nEND IONS\n")
    line = ("bench", "casmi2017", "--data", folder, "--model", model, "--jobs", 1)
    done = run_specvae(*line, "-o", tmp_path / "out")
    assert "queries: 12 spectra read, 1 skipped: no peaks (1)" in done.stderr
    assert "1 skipped: structure cannot be parsed (1)" in done.stderr
    assert "note: 1 truth has no query and is not evaluated" in done.stderr
    refused = run_specvae(*line, "--exclude", folder / "truth.csv", code=2)
    assert "--exclude is for models that are trained here, not for a --model" in refused.stderr


@pytest.mark.parametrize(
    ("remove", "message"),
    [("solutions.csv", "solutions.csv"), ("raw_mgf.zip", "MGF"), ("candidates", "CSV")],
)
def test_casmi_names_what_is_missing(
    contest: Path, model: Path, tmp_path: Path, remove: str, message: str
) -> None:
    target = contest / remove
    target.rename(tmp_path / "elsewhere")
    done = run_specvae(
        "bench", "casmi2017", "--data", contest, "--model", model, "-o", tmp_path / "o", code=1
    )
    assert message in done.stderr


@pytest.mark.parametrize(
    ("found", "spoilt", "message"),
    [
        (" POSITIVE,181.0", ",181.0", "challenge-002: ion_mode is ''"),
        ("POSITIVE,195.1", "POSITIVE,about 195", "challenge-001: precursor_mz is 'about 195'"),
    ],
)
def test_casmi_does_not_guess_at_solutions(
    contest: Path, tmp_path: Path, found: str, spoilt: str, message: str
) -> None:
    path = contest / "solutions.csv"
    text = path.read_text()
    assert text.count(found) == 1
    path.write_text(text.replace(found, spoilt))
    with pytest.raises(InputError, match=message):
        prepare(contest, tmp_path / "o", print)


@pytest.mark.parametrize("year", ["2016", "2017"])
def test_real_contest_files_merge_to_the_merged_truth(year: str, tmp_path: Path) -> None:
    from specvae_bench.folds.contest import prepare

    folder = tmp_path / "data"
    folder.mkdir()
    for name in ("raw_mgf.zip", "solutions.csv", "candidates.csv.gz"):
        (folder / name).symlink_to(shared(f"casmi/{year}/{name}"))
    found = prepare(folder, tmp_path / "out", print)
    with shared(f"casmi/{year}/truth.csv").open() as stream:
        truth = {row["query_id"]: row for row in csv.DictReader(stream)}
    with found.truth.open() as stream:
        ours = {row["query_id"]: row for row in csv.DictReader(stream)}
    assert ours == truth
    queries = list(read_spectra(found.queries, ReadReport(strict=True)))
    assert [q.query_id for q in queries] == list(truth)
    assert all(query.precursor_mz for query in queries)
    assert [q.ion_mode for q in queries] == [row["ion_mode"] for row in truth.values()]


def test_holdout_keeps_structures_out_of_queries(library: Path, tmp_path: Path) -> None:
    output = tmp_path / "fold"
    done = run_specvae(
        "bench", "holdout", "--spectra", library, "--share", 0.2, "--max-spectra", 2,
        "-o", output, "--adduct", "[M+H]+",
    )  # fmt: skip
    record = json.loads((output / "holdout.json").read_text())
    queries = list(read_spectra(output / "queries.mgf", ReadReport(strict=True)))
    truth = {r["query_id"]: r["inchikey14"] for r in csv.DictReader((output / "truth.csv").open())}
    assert [query.query_id for query in queries] == list(truth)
    assert len(queries) == record["n_queries"] == 2 * record["n_compounds"]
    assert record["n_compounds"] == len(set(truth.values()))
    for query in queries:
        assert query.smiles is query.inchi is query.inchikey is query.formula is None
        assert query.collision_energy is not None
        assert query.instrument_type == "simulated"
    # Low and high energies are both among the queries of a compound.
    assert len({query.collision_energy for query in queries}) > 1
    assert f"{record['n_queries']:,} queries" in done.stdout
    again = tmp_path / "again"
    run_specvae(
        "bench", "holdout", "--spectra", library, "--share", 0.2, "--max-spectra", 2,
        "-o", again,
    )  # fmt: skip
    assert (again / "truth.csv").read_bytes() == (output / "truth.csv").read_bytes()


def test_speed_reports_ratios(library: Path, tmp_path: Path) -> None:
    output = tmp_path / "speed.json"
    parts = (
        "start",
        "read_msp",
        "sparse_layer",
        "fingerprints",
        "fragments",
        "comparisons",
        "pools",
    )
    chosen = [argument for part in parts for argument in ("--part", part)]
    chosen += ["--pool-rows", "800", "--pool-queries", "5", "--pool-ppm", "10", "--pool-ppm", "200"]
    structures = tmp_path / "structures.csv"
    structures.write_text("smiles\nCC(=O)Nc1ccc(O)cc1\nOCC1OC(O)C(O)C(O)C1O\n")
    files = ("--spectra", library, "--structures", structures)
    run_specvae("bench", "speed", *files, *chosen, "--repeats", 1, "-o", output)
    result = json.loads(output.read_text())
    assert result["read_msp"]["specvae"]["n_spectra"] == library.read_text().count("Num Peaks: ")
    assert result["sparse_layer"]["dense_over_sparse"] > 0
    assert result["start"]["help_over_click"] > 0
    assert result["fingerprints"]["n_structures"] == 2
    assert result["fingerprints"]["morgan4096_per_second"] > 0
    assert result["fragments"]["candidate_ms"] > 0
    assert result["fragments"]["largest_difference"] < 1e-4
    assert result["threads"] == 1
    assert 0 < result["comparisons"]["share_of_reading"] < 1
    (made,), (searched, wide) = result["pools"]["made"], result["pools"]["searched"]
    assert (made["rows"], searched["rows"], searched["queries"]) == (800, 800, 5)
    assert searched["peak_mib"] > 0
    assert (wide["ppm"], wide["queries"]) == (200.0, 300)
    assert output.with_suffix(".png").stat().st_size > 0


def test_speed_refuses_what_it_cannot_measure(library: Path, tmp_path: Path) -> None:
    def refused(*options: object, code: int = 1) -> str:
        return run_specvae("bench", "speed", *options, "-o", tmp_path / "s.json", code=code).stderr

    read = ("--part", "read_msp", "--spectra")
    (tmp_path / "bad.msp.gz").write_bytes(gzip.compress(library.read_bytes())[:200])
    assert "bad.msp.gz: cannot be decompressed (" in refused(*read, tmp_path / "bad.msp.gz")
    (tmp_path / "table.csv").write_text("smiles\nCCO\n")
    wanted = f"specvae: {tmp_path}/table.csv: no line reads Name: or Num Peaks:"
    assert wanted in refused(*read, tmp_path / "table.csv")
    missing = refused("--part", "fragments", "--candidates", tmp_path / "none.csv")
    assert f"{tmp_path}/none.csv: no such file" in missing
    usage = refused("--part", "start", "--mnist", tmp_path, code=2)
    assert "--mnist is for --part epochs, which is not measured" in usage
    (tmp_path / "s.png").write_text("mine")
    foreign = refused("--part", "pools", "--pool-rows", 100)
    assert f"{tmp_path}/s.png: is no result of an earlier run, and would be replaced" in foreign
    assert not (tmp_path / "s.json").exists()
