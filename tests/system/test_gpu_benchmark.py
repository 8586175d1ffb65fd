"""`bench gpu` on the CPU: spectra are prepared, every step runs on little, and hits are counted."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import run_specvae
from image_files import draw_nothing, narrow_judges, write_mnist
from specvae_bench.gpu.plan import Plan
from specvae_bench.gpu.prepared import read_prepared, write_prepared
from specvae_bench.gpu.steps import STEPS, run_step

from specvae.errors import InputError
from specvae.molecules.molecule import parse_molecule
from specvae.vae.model import MultimodalVAE


@pytest.fixture(scope="module")
def prepared(library: Path, few: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("prepared") / "spectra.npz"
    done = run_specvae("bench", "gpu", "--prepare", "--spectra", library, "--fold", few, "-o", path)
    assert "spectra to learn from" in done.stdout
    # The paper's networks have half a billion weights; these have some thousands.
    found = read_prepared(path)
    meta: dict[str, Any] = json.loads(json.dumps(found.meta))
    for kind in meta["kinds"].values():
        kind["optim"]["batch_size"] = 8
        for modality in kind["model"]["modalities"]:
            modality["encoder"]["hidden"] = modality["decoder"]["hidden"] = [6]
    write_prepared(path, replace(found, meta=meta))
    return path


def result(output: Path, step: str) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((output / f"{step}.json").read_text())
    return values


def test_prepared_spectra_come_back_as_they_were(prepared: Path, tmp_path: Path) -> None:
    found = read_prepared(prepared)
    copy = tmp_path / "copy.npz"
    write_prepared(copy, found)
    again = read_prepared(copy)
    rows = torch.arange(len(found.spectra))
    assert torch.equal(again.spectra.to_dense(), found.spectra.to_dense())
    assert torch.equal(again.fingerprints.table, found.fingerprints.table)
    assert torch.equal(again.candidates, found.candidates)
    assert again.meta == found.meta
    # Nobody is learned from and validated on, and each truth is the first of its candidates.
    train, val = found.compound[found.train], found.compound[found.val]
    assert not set(train.tolist()) & set(val.tolist())
    assert torch.equal(found.candidates[:, 0], val)
    assert len(rows) == len(found.train) + int(torch.isin(found.compound, val).sum())
    prepared.with_name("broken.npz").write_bytes(prepared.read_bytes()[:500])
    with pytest.raises(InputError, match="not a file of 'bench gpu --prepare'"):
        read_prepared(prepared.with_name("broken.npz"))


def test_the_validation_rank_counts_ties_as_expected(prepared: Path) -> None:
    found = read_prepared(prepared)

    same = replace(found, candidates=found.candidates[:, :1].expand(-1, 4))
    config, _, _ = found.configs("svae")
    model = MultimodalVAE(config).eval()
    # Four candidates with the truth's fingerprint: each of the ranks 1 to 4 is as likely.
    wanted = (1 + 1 / 2 + 1 / 3 + 1 / 4) / 4
    assert same.mean_reciprocal_rank(model) == pytest.approx(wanted)
    assert 0.0 < found.mean_reciprocal_rank(model) <= 1.0


def test_every_step_runs_on_little_and_hits_are_counted(
    prepared: Path, few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    narrow_judges(monkeypatch)
    draw_nothing(monkeypatch)
    write_mnist(tmp_path / "mnist")
    output = tmp_path / "gpu"
    output.mkdir()
    plan = Plan(output, "cpu", tmp_path / "mnist", prepared, epochs=1, limit=20, oracle_epochs=1)
    for name in STEPS:
        if name != "annotate":
            run_step(name, plan, 600.0)
        else:  # in a process of its own, as all are
            run_specvae(
                "bench", "gpu", "--device", "cpu", "--limit", 10, "--prepared", prepared,
                "--step", "annotate=200", "-o", output,
            )  # fmt: skip
        found = result(output, name)
        assert found["done"], (name, found)
        assert not found.get("failures"), (name, found)
    equal = result(output, "equality")
    assert equal["runs"]["spectra/svae"]["recorded"] == 0.0
    assert all(batch["gradient"] < 1e-4 for batch in equal["batches"].values())
    assert set(result(output, "mnist-split")["runs"]) >= {"svae/supervision-1/seed-0"}
    again = run_specvae(
        "bench", "gpu", "--device", "cpu", "--prepared", prepared, "--step", "annotate",
        "--limit", 10, "-o", output,
    )  # fmt: skip
    assert "annotate: done before" in again.stderr
    # Steps on digits can run side by side.
    joined = ("mnist-split-rest", "mnist-split-3")
    for name in joined:
        (output / f"{name}.json").unlink()
    run_step("+".join(joined), plan, 600.0)
    assert all(result(output, name)["done"] for name in joined)
    assert all(result(output, name)["step"] == name for name in joined)
    again = run_specvae(
        "bench", "gpu", "--device", "cpu", "--data", tmp_path / "mnist", "--step",
        "+".join(joined), "--limit", 20, "--epochs", 1, "-o", output,
    )  # fmt: skip
    assert all(f"{name}: done before" in again.stderr for name in joined)
    run_specvae("bench", "report", output)
    run_specvae("bench", "report", output)  # its own tables are no hindrance
    tables = (output / "tables.md").read_text()
    for title in (
        "The same numbers", "A training step", "Training on spectra", "mnist-split-3",
        "mnist-colour",
    ):  # fmt: skip
        assert title in tables
    assert "| run | epochs | joint | joint-digit | image->text |" in tables
    assert "| svae/supervision-1 | 1 of 1 | top |" in tables
    done = run_specvae("bench", "gpu", "--finish", "--fold", few, "-o", output)
    assert done.stdout.count("| spectra-svae |") == done.stdout.count("| spectra-vaevae |") == 1
    hits = json.loads((output / f"hits-{few.name}.json").read_text())["models"]["spectra-svae"]
    assert 0.0 <= hits["hit_at_1"] <= hits["hit_at_20"] <= 1.0
    assert np.all(np.diff(hits["top_k"]) >= 0.0)
    # A query without candidates counts as missed.
    shorter = tmp_path / "shorter" / few.name
    shorter.mkdir(parents=True)
    for name in ("queries.mgf", "truth.csv"):
        (shorter / name).write_bytes((few / name).read_bytes())
    head, *rows = (few / "candidates.csv").read_text().splitlines(keepends=True)
    masses = [parse_molecule(row.split(",")[0]).exact_mass for row in rows]
    others = [row for row, mass in zip(rows, masses, strict=True) if abs(mass - masses[0]) > 0.01]
    (shorter / "candidates.csv").write_text(head + "".join(others))
    run_specvae("bench", "gpu", "--finish", "--fold", shorter, "-o", output)
    fewer = json.loads((output / f"hits-{few.name}.json").read_text())["models"]["spectra-svae"]
    assert fewer["n_queries"] == hits["n_queries"] == 12
    assert fewer["n_ranked"] < hits["n_ranked"]


def test_what_a_step_needs_is_said(tmp_path: Path) -> None:
    done = run_specvae("bench", "gpu", "--device", "cpu", "--step", "speed", "-o", tmp_path)
    assert "speed: left out, it needs --prepared" in done.stderr
    refused = run_specvae("bench", "gpu", "--step", "sped", "-o", tmp_path, code=2)
    assert "--step sped: there are equality" in refused.stderr
    refused = run_specvae("bench", "gpu", "--step", "equality+mnist-split", "-o", tmp_path, code=2)
    assert "equality runs alone; only steps on digits run side by side" in refused.stderr


BLOCKED = """
import sys
from importlib import import_module

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in sys.argv[1].split(","):
            raise ImportError(f"{name} is blocked")

sys.meta_path.insert(0, Absent())
for name in sys.argv[2:]:
    import_module(name)
"""


def test_what_a_gpu_needs_is_torch_and_little_else() -> None:
    absent = "rdkit,pyteomics,pandas,skfp,numba,lxml,matchms,scipy,sklearn,gensim,multivae"
    modules = (
        "specvae.cli.main", "specvae.vae.training", "specvae.vae.estimate",
        "specvae.vae.checkpoint", "specvae_bench.paper.commands", "specvae_bench.paper.runs",
        "specvae_bench.paper.tasks", "specvae_bench.paper.text_tasks",
        "specvae_bench.paper.report", "specvae_bench.gpu.command", "specvae_bench.gpu.steps",
    )  # fmt: skip
    subprocess.run([sys.executable, "-c", BLOCKED, absent, *modules], check=True)
