from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import pytest
from conftest import DEMO, run_specvae
from specvae_bench.retrieval.methods import METHODS

LOOK_UPS = [
    f"{kind}, {layout}"
    for layout in ("mixed2149", "morgan4096")
    for kind in ("one nearest", "sum of 30")
]
CONTROLS = ["random", "blind, mixed2149", "blind, morgan4096"]
INSTALLED = [name for name, method in METHODS.items() if method.is_installed]
PEERS = [
    f"{name.replace('-', ' ')}, {rule}"
    for name in ("modified-cosine", "spectral-entropy")
    for rule in ("one nearest", "sum of 30")
    if name in INSTALLED
] + [
    "fragments, MetFrag",
    "fragments, learned",
    "plain network",
    "fingerprint FFN",
    "DeepSets",
    "contrastive",
]


@pytest.fixture(scope="module")
def model(full_model: Path) -> Path:
    """Return the model with all its evidence: its rows are compared too."""
    return full_model


@pytest.fixture(scope="module")
def compared(
    model: Path, library: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, str]:
    """Compare all methods on the demo queries; return the folder and what was said on stderr."""
    output = tmp_path_factory.mktemp("retrieval")
    done = run_specvae(
        "bench", "retrieval", "--data", DEMO, "--spectra", library, "--model", model,
        "--ion-mode", "positive", "--adduct", "[M+H]+", "--jobs", 1, "-o", output,
        "--steps", 2, *(part for name in INSTALLED for part in ("--method", name)),
    )  # fmt: skip
    assert done.stdout == (output / "table.md").read_text()
    return output, done.stderr


def test_every_method_has_figures_in_both_tracks(compared: tuple[Path, str], model: Path) -> None:
    output, log = compared
    result = json.loads((output / "retrieval.json").read_text())
    name = model.name
    models = [f"{name}, blind", name, f"{name}, everything", f"{name} + analogues"]
    methods = [*CONTROLS, *LOOK_UPS, *PEERS, *models]
    assert set(result["tracks"]) == {"mass", "formula"}
    n_truths = len(list(csv.DictReader((DEMO / "truth.csv").open())))
    for figures in result["tracks"].values():
        assert list(figures) == methods
        for of_method in figures.values():
            assert of_method["n_queries"] == of_method["n_ranked"] == n_truths
            assert of_method["n_truth_absent"] == 0
            assert of_method["top_k"][0] == pytest.approx(of_method["hit_at_1"])
            assert of_method["top_k"][99] == pytest.approx(1.0)
            low, high = of_method["hit_at_1_ci95"]
            assert low <= of_method["hit_at_1"] <= high
            worst, best = of_method["hit_at_1_worst"], of_method["hit_at_1_best"]
            assert worst <= of_method["hit_at_1"] <= best
            assert of_method["seconds"] >= 0.0
        assert figures["random"]["hit_at_1_worst"] < figures["random"]["hit_at_1_best"] == 1.0
    # Spectra of compounds like the query's must tell more than their frequencies do.
    mass = result["tracks"]["mass"]
    assert mass["sum of 30, mixed2149"]["mrr"] > mass["blind, mixed2149"]["mrr"]
    assert result["fold"]["n_queries"] == n_truths
    assert set(result["fold"]["files"]) == {"queries.mgf", "truth.csv", "candidates.csv"}
    assert re.fullmatch("[0-9a-f]{64}", result["fold"]["sha256"])
    assert result["models"][name]["n_truth_in_training"] == 0
    assert result["library"]["adducts"] == ["[M+H]+"]
    assert result["versions"]["specvae"]
    assert {"reading the library", "training DeepSets"} <= set(result["seconds"])
    assert result["training_steps"] == 2
    assert "library: " in log


def test_the_model_ranks_as_evaluate_says(
    compared: tuple[Path, str], model: Path, tmp_path: Path
) -> None:
    methods = json.loads((compared[0] / "retrieval.json").read_text())["tracks"]["mass"]
    for rank_by, row in (("everything", f"{model.name}, everything"), ("fingerprint", model.name)):
        path = tmp_path / f"{rank_by}.json"
        run_specvae(
            "evaluate", DEMO / "queries.mgf", "--candidates", DEMO / "candidates.csv",
            "--truth", DEMO / "truth.csv", "--model", model, "--json", path, "--rank-by", rank_by,
        )  # fmt: skip
        expected = json.loads(path.read_text())
        for key in ("hit_at_1", "hit_at_1_ci95", "hit_at_5", "mrr", "median_rank"):
            assert methods[row][key] == expected[key]
        assert methods[row]["candidates_median"] == expected["candidates_median"]
    assert methods[f"{model.name}, blind"]["hit_at_1"] == expected["blind_hit_at_1"]
    assert methods["random"]["hit_at_1"] == pytest.approx(expected["random_hit_at_1"])


def test_table_and_plots_are_written(compared: tuple[Path, str], model: Path) -> None:
    output, _ = compared
    table = (output / "table.md").read_text()
    assert table.count(f"| {model.name} + analogues |") == 3
    assert "**All candidates**: 48 queries of 48 compounds" in table
    widths = {line.count("|") for line in table.splitlines() if line.startswith("|")}
    assert widths == {9}
    for name in ("topk.png", "topk-formula.png", "falloff.png"):
        assert (output / name).read_bytes().startswith(b"\x89PNG")


def test_differences_and_likeness_are_told_of_every_method(
    compared: tuple[Path, str], model: Path
) -> None:
    result = json.loads((compared[0] / "retrieval.json").read_text())
    for track, figures in result["tracks"].items():
        rivals = {name: figures[name]["hit_at_1"] for name in (*LOOK_UPS, *PEERS)}
        peer = result["paired"][track]["best_peer"]
        assert rivals[peer["reference"]] == max(rivals.values())
        assert result["paired"][track]["first_model"]["reference"] == model.name
        own = figures[model.name]["hit_at_1"] - rivals[peer["reference"]]
        assert peer["differences"][model.name]["hit_at_1"] == pytest.approx(own)
        # All queries have a truth here, so the bins share them out.
        n_queries = result["falloff"]["n_queries"]
        assert sum(n_queries) == result["fold"]["n_queries"]
        for name, shares in result["falloff"]["hit_at_1"][track].items():
            hits = sum(n * share for n, share in zip(n_queries, shares, strict=True) if n)
            assert hits / sum(n_queries) == pytest.approx(figures[name]["hit_at_1"])


def test_compounds_of_the_fold_are_never_in_the_library(library: Path, tmp_path: Path) -> None:
    fold, output = tmp_path / "fold", tmp_path / "out"
    select = ("--adduct", "[M+H]+")
    run_specvae(
        "bench", "holdout", "--spectra", library, "--share", 0.1, *select,
        "--structures", DEMO / "candidates.csv", "-o", fold,
    )  # fmt: skip
    held = json.loads((fold / "holdout.json").read_text())
    left_out = tmp_path / "more.txt"
    left_out.write_text("CN1C=NC2=C1C(=O)N(C(=O)N2C)C\n")
    run_specvae(
        "bench", "retrieval", "--data", fold, "--spectra", library, *select,
        "--exclude", left_out, "--jobs", 1, "-o", output, "--method", "random", "--method", "blind",
        "--method", "analogues",
    )  # fmt: skip
    result = json.loads((output / "retrieval.json").read_text())
    found = result["library"]
    n_excluded = found["skipped"]["compound is in an exclusion file"]
    whole = library.read_text().lower().count("num peaks: ")
    assert n_excluded > held["n_queries"]
    assert found["n_spectra"] + sum(found["skipped"].values()) == whole
    assert [file["name"] for file in found["excluded"]] == ["more.txt"]
    assert result["models"] == {}
    assert list(result["tracks"]["mass"]) == [*CONTROLS, *LOOK_UPS]
    # The truths are in the library: had they stayed there, they would all be found.
    assert result["tracks"]["mass"]["sum of 30, morgan4096"]["hit_at_1"] < 1.0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"--data": "nowhere"}, "nowhere: no such folder"),
        ({"--spectra": "nothing.msp"}, "nothing.msp"),
        ({"--model": "no-model"}, "no-model: no such file"),
        ({"--ion-mode": "negative"}, "no query is left that has a truth"),
        ({"--instrument-type": "EI-B"}, "no library spectrum is left"),
        ({"--exclude": "absent.csv"}, "absent.csv"),
    ],
)
def test_mistakes_are_told_in_one_line(
    tmp_path: Path, changes: dict[str, str], message: str
) -> None:
    options = {"--data": str(DEMO), "--spectra": str(DEMO / "library.msp"), **changes}
    given = [part for option in options.items() for part in option]
    done = run_specvae("bench", "retrieval", *given, "-o", "out", cwd=tmp_path, code=1)
    assert message in done.stderr.splitlines()[-1]
    assert not (tmp_path / "out" / "retrieval.json").exists()


def test_two_models_of_one_name_are_refused(model: Path, tmp_path: Path) -> None:
    done = run_specvae(
        "bench", "retrieval", "--data", DEMO, "--spectra", DEMO / "library.msp", "--model", model,
        "--model", model, "-o", tmp_path / "out", code=2,
    )  # fmt: skip
    assert "two models have the same folder name" in done.stderr
