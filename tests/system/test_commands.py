from __future__ import annotations

import csv
import gzip
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from io import StringIO
from itertools import zip_longest
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from conftest import DEMO, SMALL, run_process, run_specvae
from mztab_rules import MzTab, violations

from specvae.annotation.library.header import AnnotatorHeader
from specvae.annotation.ranking.result import COLUMNS
from specvae.cli.main import BENCHMARKS, COMMANDS
from specvae.files import sha256_of
from specvae.molecules import structures

QUERIES, CANDIDATES, TRUTH = DEMO / "queries.mgf", DEMO / "candidates.csv", DEMO / "truth.csv"


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(StringIO(text)))


def groups(rows: list[dict[str, str]]) -> Iterator[tuple[str, list[dict[str, str]]]]:
    names = dict.fromkeys(row["query_id"] for row in rows)
    for name in names:
        yield name, [row for row in rows if row["query_id"] == name]


def annotated(
    few: Path,
    model: Path,
    *options: object,
    queries: Path | None = None,
    candidates: Path | None = None,
    code: int = 0,
) -> subprocess.CompletedProcess[str]:
    """Annotate the few queries with their candidates, or other files in their place."""
    return run_specvae(
        "annotate", queries or few / "queries.mgf",
        "--candidates", candidates or few / "candidates.csv", "--model", model, *options, code=code,
    )  # fmt: skip


def first_spectra(n: int, folder: Path) -> Path:
    """Write the first `n` spectra of the demo library, three of each compound."""
    records = (DEMO / "library.msp").read_text().split("\n\n")[:n]
    (folder / "library.msp").write_text("\n\n".join([*records, ""]))
    return folder / "library.msp"


def test_train_writes_its_record(model: Path) -> None:
    for name in ("model.safetensors", "epochs.jsonl", "split.csv", "skipped.csv", "training.png"):
        assert (model / name).stat().st_size > 0
    epochs = [json.loads(line) for line in (model / "epochs.jsonl").read_text().splitlines()]
    assert [epoch["epoch"] for epoch in epochs] == list(range(1, 6))
    assert epochs[-1]["loss"] < epochs[0]["loss"]
    folds = Counter(row["fold"] for row in rows_of((model / "split.csv").read_text()))
    assert folds["train"] > 5 * folds["val"] > 0
    header = AnnotatorHeader.read(model / "model.safetensors")
    assert header.provenance.n_spectra > 2000
    assert header.validation is not None
    assert header.validation.hit_at_1 > 3 * header.validation.random_hit_at_1


def test_rows_without_a_querys_mass_change_no_answer(
    few: Path, full_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = ["CCO", "CC(=O)[O-]", "c1cccc1", "CCCCCCCCCCCCCCCCCCCC", "[Na+].[O-]c1ccccc1", "C1CC"]
    head, *rows = (few / "candidates.csv").read_text().splitlines(keepends=True)
    added = [f"{text}{',' * head.count(',')}\n" for text in texts * 3]
    mixed = [row for pair in zip_longest(added, rows, fillvalue="") for row in pair]
    candidates, queries = tmp_path / "candidates.csv", tmp_path / "queries.mgf"
    candidates.write_text(head + "".join(mixed))
    # One query has no candidate, and the nearest row is one that is not parsed.
    lonely = "BEGIN IONS\nTITLE=lonely\nPEPMASS=47.05\nCHARGE=1+\n30.1 1\n31.1 9\nEND IONS\n"
    queries.write_text((few / "queries.mgf").read_text() + lonely)
    found = []
    for name, least in (("all", 10_000), ("screened", 2)):
        monkeypatch.setattr(structures, "WORTH_SCREENING", least)
        done = annotated(
            few, full_model, "--summary", tmp_path / f"{name}-queries.csv",
            "-o", tmp_path / f"{name}.csv", queries=queries, candidates=candidates,
        )  # fmt: skip
        made = json.loads((tmp_path / f"{name}.csv.json").read_text())
        figures = run_specvae(
            "evaluate", few / "queries.mgf", "--candidates", candidates, "--model", full_model,
            "--truth", few / "truth.csv",
        ).stdout  # fmt: skip
        (said,) = (line for line in made["summary"] if line.startswith("candidates: "))
        lines = [line for line in made["summary"] if line != said]
        assert said in done.stderr
        assert ("not parsed" in said) == (name == "screened")
        tables = [(tmp_path / f"{name}{end}.csv").read_bytes() for end in ("", "-queries")]
        found.append((tables, lines, figures))
    assert found[0] == found[1]
    assert "without candidates of its mass; nearest: 18.7 ppm" in " ".join(found[0][1])
    assert "not parsed (12)" in said


def test_annotate_ranks_every_query(full_model: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    done = run_specvae(
        "annotate", QUERIES, "--candidates", CANDIDATES, "--model", full_model, "--top", "all",
        "--report", report,
    )  # fmt: skip
    rows = rows_of(done.stdout)
    assert tuple(rows[0]) == COLUMNS
    n_queries = QUERIES.read_text().count("BEGIN IONS")
    ranked = dict(groups(rows))
    assert len(ranked) == n_queries
    for of_query in ranked.values():
        scores = [float(row["score"]) for row in of_query]
        assert scores == sorted(scores, reverse=True)
        assert {row["n_candidates"] for row in of_query} == {str(len(of_query))}
        assert len({row["inchikey"][:14] for row in of_query}) == len(of_query)
        for row in of_query:
            # Equal scores share the worst rank of their group.
            assert int(row["rank"]) == sum(score >= float(row["score"]) for score in scores)
            assert row["status"] == "ok"
            assert 0.0 <= float(row["probability"]) <= 1.0
        assert sum(float(row["probability"]) for row in of_query) <= 1.0 + 1e-4
    page = report.read_text(encoding="utf-8")
    assert page.count('type="application/json" id="d') == n_queries + 1  # and the drawings
    for part in ('"why":"', '"first":{', '"second":{', '"library":{'):
        assert part in page
    for digest in (sha256_of(QUERIES), sha256_of(CANDIDATES)):
        assert digest in page


def test_both_shares_given_make_a_query_independent_of_the_others(
    full_model: Path, tmp_path: Path
) -> None:
    few = tmp_path / "few.mgf"
    records = QUERIES.read_text().split("END IONS\n")
    few.write_text("END IONS\n".join(records[:3]) + "END IONS\n")
    shares = ("--in-list", "0.8", "--known", "0.1")

    def probabilities(queries: Path, *options: str) -> dict[tuple[str, str], str]:
        done = run_specvae(
            "annotate", queries, "--candidates", CANDIDATES, "--model", full_model, "-v", *options
        )
        assert ("depend on the other queries" in done.stderr) != bool(options)
        rows = rows_of(done.stdout)
        return {(r["query_id"], r["inchikey"]): f"{r['score']} {r['probability']}" for r in rows}

    alone = probabilities(few, *shares)
    assert len({query for query, _ in alone}) == 3
    assert alone.items() <= probabilities(QUERIES, *shares).items()
    assert not probabilities(few).items() <= probabilities(QUERIES).items()


def test_structures_calibrate_the_model(full_model: Path) -> None:
    text = run_specvae("info", full_model).stdout
    assert "validation compounds among candidates.csv" in text
    header = json.loads(run_specvae("info", full_model, "--json").stdout)
    assert header["calibration"]["n_compounds"] >= 30
    assert header["calibration"]["hit_at_1"] > 0.5
    assert header["experts"]["weights"]["library"] == 1.0


def test_a_model_that_ranks_by_fingerprint_has_no_probabilities(model: Path, few: Path) -> None:
    done = annotated(few, model)
    assert {row["probability"] for row in rows_of(done.stdout)} == {""}


def test_evaluate_agrees_with_annotate(model: Path, tmp_path: Path) -> None:
    figures_path, plot = tmp_path / "figures.json", tmp_path / "plot.png"
    done = run_specvae(
        "evaluate", QUERIES, "--candidates", CANDIDATES, "--truth", TRUTH, "--model", model,
        "--json", figures_path, "--plot", plot,
    )  # fmt: skip
    figures = json.loads(figures_path.read_text())
    annotated = run_specvae(
        "annotate", QUERIES, "--candidates", CANDIDATES, "--model", model, "--top", "all"
    )
    truth = {row["query_id"]: row["inchikey14"] for row in rows_of(TRUTH.read_text())}
    ranks = [
        int(row["rank"])
        for row in rows_of(annotated.stdout)
        if row["inchikey"][:14] == truth[row["query_id"]]
    ]
    assert figures["n_queries"] == figures["n_ranked"] == len(truth) == len(ranks)
    assert figures["hit_at_1_worst"] == pytest.approx(np.mean([rank == 1 for rank in ranks]))
    assert figures["hit_at_1_worst"] <= figures["hit_at_1"] <= figures["hit_at_1_best"]
    assert figures["hit_at_1"] > 2 * figures["random_hit_at_1"]
    assert figures["hit_at_1"] > figures["blind_hit_at_1"]
    assert figures["n_truth_in_training"] == 0
    assert len(figures["files"]["queries"]["sha256"]) == 64
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert "hit_at_1" in done.stdout
    assert "warning" not in done.stderr


def test_training_on_the_truth_is_told(model: Path, few: Path, tmp_path: Path) -> None:
    block = AnnotatorHeader.read(model / "model.safetensors").compounds["train"][0]
    query = rows_of(TRUTH.read_text())[0]["query_id"]
    truth = tmp_path / "truth.csv"
    truth.write_text(f"query_id,inchikey14\n{query},{block}\n")
    done = run_specvae(
        "evaluate", few / "queries.mgf", "--candidates", few / "candidates.csv", "--truth", truth,
        "--model", model,
    )  # fmt: skip
    assert "warning" in done.stderr
    assert block in done.stderr
    assert "1 of 1 query" in done.stderr


def test_candidates_by_query_id_and_unrankable_queries(model: Path, tmp_path: Path) -> None:
    queries = tmp_path / "queries.mgf"
    queries.write_text(
        "BEGIN IONS\nTITLE=listed\nPEPMASS=\nIONMODE=positive\n138.066 10\nEND IONS\n\n"
        "BEGIN IONS\nTITLE=unlisted\nPEPMASS=195.0877\nIONMODE=positive\n138.066 10\nEND IONS\n\n"
        "BEGIN IONS\nTITLE=broken\nPEPMASS=195.0877\n138.066 x\nEND IONS\n"
    )
    candidates = tmp_path / "candidates.csv"
    candidates.write_text(
        "query_id,smiles,name\nlisted,Cn1cnc2c1c(=O)n(C)c(=O)n2C,caffeine\nlisted,CCO,ethanol\n"
        "listed,OCC,ethanol again\nlisted,C1CC,broken ring\n"
    )
    output = tmp_path / "out.csv"
    run_specvae("annotate", queries, "--candidates", candidates, "--model", model, "-o", output)
    rows = dict(groups(rows_of(output.read_text())))
    assert list(rows) == ["listed", "unlisted", "broken"]
    assert {row["n_candidates"] for row in rows["listed"]} == {"2"}
    assert rows["listed"][0]["status"] == "ok; adduct taken as [M+H]+"
    assert rows["unlisted"][0]["rank"] == ""
    status = rows["unlisted"][0]["status"]
    assert status == "no candidates for this query_id; adduct taken as [M+H]+"
    assert "unreadable record" in rows["broken"][0]["status"]
    skipped = (tmp_path / "out.skipped.csv").read_text()
    assert "BAD_PEAK" in skipped
    assert "BAD_STRUCTURE" in skipped


def test_mass_matching_needs_precursor_and_candidates(model: Path, tmp_path: Path) -> None:
    queries = tmp_path / "q.mgf"
    queries.write_text(
        "BEGIN IONS\nTITLE=a\nPEPMASS=\nADDUCT=[M+H]+\n138.066 10\nEND IONS\n"
        "BEGIN IONS\nTITLE=b\nPEPMASS=999.9123\nADDUCT=[M+H]+\n138.066 10\nEND IONS\n"
        "BEGIN IONS\nTITLE=c\nPEPMASS=195.0877\nADDUCT=[M-H]-\n138.066 10\nEND IONS\n"
    )
    done = run_specvae(
        "annotate", queries, "--candidates", CANDIDATES, "--model", model,
        "--ion-mode", "positive", "--ppm", 5, code=1,
    )  # fmt: skip
    # The rows are there, and the last line says why there is nothing else.
    assert done.stderr.splitlines()[-1] == (
        f"specvae: {queries}: 0 of 3 queries ranked; not ranked: no precursor m/z (1), "
        "no candidates within 5 ppm (1), left out by ion mode (1)"
    )
    status = {row["query_id"]: row["status"] for row in rows_of(done.stdout)}
    assert status == {
        "a": "no precursor m/z",
        "b": "no candidates within 5 ppm",
        "c": "left out: ion mode negative",
    }


@pytest.mark.parametrize("output_format", ["tsv", "jsonl", "mztab"])
def test_formats_hold_the_same_ranking(model: Path, few: Path, output_format: str) -> None:
    common = (few, model, "--top", 1)
    first = {row["query_id"]: row["inchikey"] for row in rows_of(annotated(*common).stdout)}
    text = annotated(*common, "--format", output_format).stdout
    if output_format == "tsv":
        found = {
            r["query_id"]: r["inchikey"] for r in csv.DictReader(StringIO(text), delimiter="\t")
        }
        assert found == first
    elif output_format == "jsonl":
        records = [json.loads(line) for line in text.splitlines()]
        assert {r["query_id"]: r["inchikey"] for r in records} == first
    else:
        assert text.startswith("MTD\tmzTab-version\t2.0")
        assert violations(text) == []
        rows = MzTab(text).rows
        assert [row["opt_global_query_id"] for row in rows["SML"]] == list(first)
        found = {row["evidence_input_id"]: row["opt_global_inchikey"] for row in rows["SME"]}
        assert found == {query_id: key for query_id, key in first.items() if key}


def test_report_is_one_page(model: Path, few: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    annotated(few, model, "-o", tmp_path / "x.csv", "--report", report)
    page = report.read_text()
    assert page.lstrip().lower().startswith("<!doctype html>")
    for query in rows_of((few / "truth.csv").read_text()):
        assert query["query_id"] in page


def test_pool_gives_the_ranking_of_its_table(model: Path, few: Path, tmp_path: Path) -> None:
    pool = tmp_path / "pool.h5"
    run_specvae("pool", "build", few / "candidates.csv", "-o", pool, "--fingerprint", "mixed2149")
    info = run_specvae("pool", "info", pool).stdout
    assert "\nfingerprint    mixed2149 version 1, 2,149 bits\n" in info
    assert "\nfile read      candidates.csv, sha256 " in info
    described = json.loads(run_specvae("pool", "info", pool, "--json").stdout)
    low, high = described["mass_range"]
    assert f"holds          {described['n_structures']} structures from {low:.4f} to" in info
    assert low < high
    by_table, by_pool = (
        rows_of(annotated(few, model, "--top", "all", candidates=source).stdout)
        for source in (few / "candidates.csv", pool)
    )
    key = [(row["query_id"], row["rank"], row["inchikey"]) for row in by_table]
    assert sorted(key) == sorted((row["query_id"], row["rank"], row["inchikey"]) for row in by_pool)


def test_scores_are_the_log_likelihoods_of_predicted_bits(model: Path, few: Path) -> None:
    """The score by fingerprint is minus the cross entropy, as two other commands tell its parts."""
    queries, candidates = few / "queries.mgf", few / "candidates.csv"
    predicted: dict[str, dict[int, float]] = {}
    for row in rows_of(run_specvae("predict", queries, "--model", model).stdout):
        odds = predicted.setdefault(row["query_id"], {})
        odds[int(row["bit"])] = float(row["log_odds"])
        assert 1.0 / (1.0 + np.exp(-odds[int(row["bit"])])) == pytest.approx(
            float(row["probability"]), abs=1e-6
        )
    layout = AnnotatorHeader.read(model / "model.safetensors").fingerprint.name
    listed = run_specvae("fingerprint", candidates, "--fingerprint", layout).stdout
    bits = {row["inchikey"]: row["fingerprint"] for row in rows_of(listed)}
    ranked = run_specvae(
        "annotate", queries, "--candidates", candidates, "--model", model,
        "--rank-by", "fingerprint", "--top", "all",
    )  # fmt: skip
    rows = [row for row in rows_of(ranked.stdout) if row["rank"]]
    assert rows
    for row in rows:
        odds = predicted[row["query_id"]]
        logits = np.array([odds[bit] for bit in range(len(odds))])
        has = np.array([bit == "1" for bit in bits[row["inchikey"]]])
        score = float((has * logits - np.logaddexp(0.0, logits)).sum())
        assert score == pytest.approx(float(row["score"]), abs=1e-3)


def test_predict_embed_fingerprint(model: Path, few: Path, tmp_path: Path) -> None:
    queries = few / "queries.mgf"
    bits = rows_of(run_specvae("predict", queries, "--model", model).stdout)
    n_bits = AnnotatorHeader.read(model / "model.safetensors").fingerprint.n_bits
    n_queries = queries.read_text().count("BEGIN IONS")
    assert len(bits) == n_bits * n_queries
    assert all(0.0 <= float(row["probability"]) <= 1.0 and row["meaning"] for row in bits)
    likely = rows_of(
        run_specvae("predict", queries, "--model", model, "--min-probability", 0.9).stdout
    )
    assert len(likely) == sum(float(row["probability"]) >= 0.9 for row in bits)

    latent = tmp_path / "latent.h5"
    run_specvae("embed", queries, "--model", model, "-o", latent)
    with h5py.File(latent) as file:
        vectors, ids = file["latent"][:], file["id"][:]
    parquet = tmp_path / "latent.parquet"
    run_specvae("embed", queries, "--model", model, "-o", parquet)
    table = pd.read_parquet(parquet)
    np.testing.assert_allclose(table.drop(columns="id").to_numpy(), vectors)
    assert [name.decode() for name in ids] == table["id"].tolist()

    smiles = tmp_path / "x.smi"
    smiles.write_text("CCO ethanol\nCn1cnc2c1c(=O)n(C)c(=O)n2C caffeine\n")
    run_specvae("embed", "--molecules", smiles, "--model", model, "-o", tmp_path / "m.h5")
    with h5py.File(tmp_path / "m.h5") as file:
        assert file["latent"].shape == (2, vectors.shape[1])
        assert [name.decode() for name in file["id"][:]] == ["ethanol", "caffeine"]

    text = run_specvae("fingerprint", smiles, "--fingerprint", "morgan4096").stdout
    rows = rows_of(text)
    assert [len(row["fingerprint"]) for row in rows] == [4096, 4096]
    packed = tmp_path / "x.h5"
    run_specvae("fingerprint", smiles, "--fingerprint", "morgan4096", "-o", packed)
    with h5py.File(packed) as file:
        unpacked = np.unpackbits(file["fingerprint"][:], axis=1, bitorder="little")[:, :4096]
    assert ["".join(map(str, row)) for row in unpacked] == [row["fingerprint"] for row in rows]


def test_info(model: Path) -> None:
    text = run_specvae("info", model).stdout
    for piece in ("svae", "mixed2149", "library.msp", "hit@1", "seed 1"):
        assert piece in text
    header = json.loads(run_specvae("info", model, "--json").stdout)
    assert header["seed"] == 1


def test_compressed_input_gives_the_same(model: Path, few: Path, tmp_path: Path) -> None:
    zipped = tmp_path / "queries.mgf.gz"
    zipped.write_bytes(gzip.compress((few / "queries.mgf").read_bytes()))
    found = annotated(few, model, queries=zipped)
    assert found.stdout == annotated(few, model).stdout


def test_same_seed_same_weights(tmp_path: Path) -> None:
    library = first_spectra(150, tmp_path)
    digests = []
    # Once after other commands, once in a process of its own.
    for name, run in (("a", run_specvae), ("b", run_process)):
        run(
            "train", "--spectra", library, "-o", tmp_path / name, "--epochs", 1, "--jobs", 1,
            *SMALL,
        )  # fmt: skip
        digests.append(AnnotatorHeader.read(tmp_path / name / "model.safetensors").weights_sha256)
    assert digests[0] == digests[1]


def test_a_finished_model_keeps_its_record_when_a_run_is_refused(tmp_path: Path) -> None:
    library, folder = first_spectra(120, tmp_path), tmp_path / "m"
    start = ("train", "--spectra", library, "-o", folder, "--epochs", 2, "--keep-state", *SMALL)
    run_specvae(*start)
    names = ("split.csv", "skipped.csv", "epochs.jsonl", "training.png")
    record = {name: (folder / name).read_bytes() for name in names}
    refused = run_specvae(*start, "--seed", 5, "--resume", code=1)
    assert "resume" in refused.stderr
    run_specvae(*start, "--ion-mode", "negative", "--force", code=1)
    assert {name: (folder / name).read_bytes() for name in names} == record
    # Nothing is left to do, and the record stays whole.
    run_specvae(*start, "--resume")
    assert (folder / "epochs.jsonl").read_bytes() == record["epochs.jsonl"]
    assert (folder / "split.csv").read_bytes() == record["split.csv"]
    curves = len(record["training.png"])
    assert abs((folder / "training.png").stat().st_size - curves) < 0.05 * curves


def test_exclude_and_supervision(few: Path, tmp_path: Path) -> None:
    library, folder = first_spectra(300, tmp_path), tmp_path / "m"
    excluded = tmp_path / "exclude.txt"
    excluded.write_text("RYYVLZVUVIJVGH\n")
    run_specvae(
        "train", "--spectra", library, "-o", folder, "--epochs", 1, "--exclude", excluded,
        "--supervision", 0.5, "--unpaired-spectra", few / "queries.mgf",
        "--unpaired-molecules", few / "candidates.csv", "--model-kind", "vaevae",
        "--fingerprint", "morgan4096", *SMALL,
    )  # fmt: skip
    header = AnnotatorHeader.read(folder / "model.safetensors")
    everything = {block for blocks in header.compounds.values() for block in blocks}
    assert "RYYVLZVUVIJVGH" not in everything
    assert header.provenance.skipped["EXCLUDED"] > 0
    assert header.config.supervision == 0.5
    assert "RYYVLZVUVIJVGH" not in (folder / "split.csv").read_text()
    parts = json.loads((folder / "epochs.jsonl").read_text().splitlines()[0])
    assert any("unpaired" in name for name in parts)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("annotate", "absent.mgf", "--candidates", CANDIDATES), 1, "absent.mgf"),
        (("annotate", QUERIES, "--candidates", "absent.csv"), 1, "absent.csv"),
        (("annotate", QUERIES), 2, "--candidates"),
        (("annotate", QUERIES, "--candidates", CANDIDATES, "--ppm", "nan"), 2, "finite number"),
        (
            (
                "evaluate",
                QUERIES,
                "--candidates",
                CANDIDATES,
                "--truth",
                TRUTH,
                "--ion-mode",
                "negative",
            ),
            1,
            "--ion-mode",
        ),
        (("annotat", QUERIES), 2, "Did you mean 'annotate'?"),
        (("train", "--spectra", "absent.msp", "-o", "m"), 1, "absent.msp"),
        (("train", "--spectra", QUERIES, "-o", "m"), 1, "no structure"),
        (
            ("train", "--spectra", DEMO / "library.msp", "--set", "optim.epoch=3"),
            1,
            "optim.epochs",
        ),
        (
            ("train", "--spectra", DEMO / "library.msp", "--fingerprint", "svae2148"),
            1,
            "svae2149",
        ),
        (("train", "--spectra", DEMO / "library.msp", "--adduct", "[M+Zz]+"), 1, "[M+Zz]+"),
        (("info", QUERIES), 1, "queries.mgf"),
        (("pool", "info", CANDIDATES), 1, "candidates.csv"),
    ],
)
def test_mistakes_are_one_line(
    model: Path, tmp_path: Path, arguments: tuple[object, ...], code: int, message: str
) -> None:
    if arguments[0] in ("annotate", "evaluate"):
        arguments = (*arguments, "--model", model)
    done = run_specvae(*arguments, cwd=tmp_path, code=code)
    assert message in done.stderr
    if code == 1:
        lines = [line for line in done.stderr.splitlines() if line.startswith("specvae: ")]
        assert len(lines) == 1


def test_no_model_says_how_to_get_one(tmp_path: Path) -> None:
    done = run_specvae("annotate", QUERIES, "--candidates", CANDIDATES, cwd=tmp_path, code=1)
    assert "specvae train --spectra" in done.stderr


def test_damaged_model_is_one_line(model: Path, tmp_path: Path) -> None:
    broken = tmp_path / "model.safetensors"
    data = (model / "model.safetensors").read_bytes()
    for damage in (b"", data[:100], data[: len(data) // 2], b"PK\x03\x04" + data):
        broken.write_bytes(damage)
        done = run_specvae(
            "annotate", QUERIES, "--candidates", CANDIDATES, "--model", broken, code=1
        )
        assert done.stderr.startswith("specvae: ")
        assert len(done.stderr.splitlines()) == 1


def test_strict_stops_at_the_first_malformed_record(model: Path, few: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.mgf"
    good = (few / "queries.mgf").read_text()
    bad.write_text(good + "\nBEGIN IONS\nTITLE=x\nPEPMASS=100\n50 a\nEND IONS\n")
    annotated(few, model, queries=bad)
    assert "bad.mgf" in annotated(few, model, "--strict", queries=bad, code=1).stderr


def test_every_command_has_help_with_an_example() -> None:
    for command in (
        *((name,) for name in COMMANDS), *(("bench", name) for name in BENCHMARKS),
        ("pool", "build"), ("pool", "info"), ("library", "build"), ("library", "info"),
    ):  # fmt: skip
        text = run_specvae(*command, "--help").stdout
        # The example has lines of its own.
        assert "\n  Example:\n    specvae " in text, command
        assert f"\n    specvae {' '.join(command)} " in text, command


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="no /dev/full here")
def test_a_full_disk_is_one_line() -> None:
    command = [sys.executable, "-m", "specvae.cli.main", "download", "--list"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == "specvae: stdout: No space left on device\n"


def test_a_reader_that_closes_early_is_no_error(model: Path) -> None:
    command = [sys.executable, "-m", "specvae.cli.main", "predict", str(QUERIES)]
    with subprocess.Popen(
        [*command, "--model", str(model)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        errors = process.stderr.read()
    assert "Traceback" not in errors
    assert "Broken pipe" not in errors


def test_settings_come_from_file_and_set_in_every_command(
    model: Path, few: Path, tmp_path: Path
) -> None:
    config = tmp_path / "run.toml"
    config.write_text(f'model = "{model}"\ntop = 2\nformat = "jsonl"\nadduct = ["[M+H]+"]\n')
    candidates = ("--candidates", few / "candidates.csv")
    common = ("annotate", few / "queries.mgf", *candidates, "--config", config)

    def most_rows(*options: object) -> int:
        text = run_specvae(*common, *options).stdout
        return max(Counter(json.loads(line)["query_id"] for line in text.splitlines()).values())

    assert most_rows() == 2
    assert most_rows("--set", "top=3") == 3
    assert most_rows("--set", "top=3", "--top", 1) == 1
    done = run_specvae(*common, "--set", "tops=3", code=1)
    assert "'tops'" in done.stderr
    assert "'top'" in done.stderr
    assert "unknown setting" in run_specvae("info", model, "--set", "jsn=true", code=1).stderr
    assert run_specvae("info", model, "--set", "json=true").stdout.startswith("{")


def test_evaluation_can_be_written_to_a_file(model: Path, few: Path, tmp_path: Path) -> None:
    output = tmp_path / "figures.txt"
    done = run_specvae(
        "evaluate", few / "queries.mgf", "--candidates", few / "candidates.csv",
        "--truth", few / "truth.csv", "--model", model, "-o", output,
    )  # fmt: skip
    assert done.stdout == ""
    assert "hit_at_1" in output.read_text()


def test_a_library_of_one_compound_trains(tmp_path: Path) -> None:
    done = run_specvae(
        "train", "--spectra", first_spectra(3, tmp_path), "-o", tmp_path / "m", "--epochs", 1,
        "--fingerprint", "morgan4096", *SMALL,
    )  # fmt: skip
    assert "validation" in done.stderr
    assert AnnotatorHeader.read(tmp_path / "m" / "model.safetensors").validation is None
