from __future__ import annotations

import json
from pathlib import Path

from conftest import DEMO, run_specvae

SMALL = (
    "bench", "supervision", "--unpaired-molecules", DEMO / "candidates.csv", "--n-molecules", 50,
    "--level", 1, "--level", 0.1, "--learner", "vaevae",
    "--learner", "plain-network", "--jobs", 1,
)  # fmt: skip


def test_few_pairs_are_compared_with_and_without_unpaired_examples(
    library: Path, few: Path, tmp_path: Path
) -> None:
    output = tmp_path / "supervision"
    command = (*SMALL, "--data", few, "--spectra", library, "-o", output)
    done = run_specvae(*command, "--steps", 2)
    assert done.stdout == (output / "table.md").read_text()
    result = json.loads((output / "supervision.json").read_text())
    runs = {(run["learner"], run["level"], run["unpaired"]): run for run in result["runs"]}
    assert len(runs) == 4 + 2
    assert len(result["gains"]) == 2
    full, tenth = runs["vaevae", 1.0, "none"], runs["vaevae", 0.1, "both"]
    assert tenth["n_pairs"] == round(0.1 * full["n_pairs"])
    assert tenth["n_unpaired_spectra"] == full["n_pairs"] - tenth["n_pairs"]
    assert tenth["n_unpaired_molecules"] == 50
    assert runs["plain-network", 0.1, "none"]["n_pairs"] == tenth["n_pairs"]
    for run in runs.values():
        assert run["n_queries"] == run["n_ranked"] == result["fold"]["n_queries"]
        assert 0.0 <= run["hit_at_1_ci95"][0] <= run["hit_at_1"] <= run["hit_at_1_ci95"][1] <= 1.0
        assert run["validation_mrr"] > 0.0
    assert (output / "supervision.png").read_bytes().startswith(b"\x89PNG")
    # Only what is missing is trained again, and it comes out the same.
    kept = output / "runs" / "vaevae-0.1-both.json"
    before = json.loads(kept.read_text())["run"]
    kept.unlink()
    again = run_specvae(*command, "--steps", 2)
    assert again.stdout == done.stdout
    assert again.stderr.count("validation MRR") == 1
    after = json.loads(kept.read_text())["run"]
    assert {**after, "seconds": 0} == {**before, "seconds": 0}
    other = run_specvae(*command, "--steps", 3, code=1)
    assert "made with other values of steps" in other.stderr


def test_molecules_are_asked_for_where_they_are_to_be_learned_from(tmp_path: Path) -> None:
    refused = run_specvae(
        "bench", "supervision", "--data", DEMO, "--spectra", DEMO / "library.msp",
        "--unpaired", "both", "-o", tmp_path / "out", code=2,
    )  # fmt: skip
    assert "need --unpaired-molecules" in refused.stderr
