"""The scripts of docs/scale.md: what can be run without a cluster is run, the rest is looked at."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
from conftest import DEMO, run_specvae

from specvae.cli.annotate import annotate
from specvae.cli.merge import merge
from specvae.cli.train import train

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "scale.md").read_text(encoding="utf-8")


def script(language: str, containing: str = "") -> str:
    blocks = re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.M | re.S)
    (found,) = (block for block in blocks if containing in block)
    return str(found)


def test_the_array_job_gives_the_table_of_one_run(tmp_path: Path, demo_model: Path) -> None:
    text = script("bash")
    assert len([line for line in text.splitlines() if line.strip()]) == 12
    (tmp_path / "annotate.sbatch").write_text(text, encoding="utf-8")
    records = (DEMO / "queries.mgf").read_text(encoding="utf-8").split("\n\n")[:12]
    (tmp_path / "q.mgf").write_text("\n\n".join(records) + "\n\n", encoding="utf-8")
    structures = (DEMO / "candidates.csv").read_text(encoding="utf-8").splitlines(keepends=True)
    candidates = tmp_path / "candidates.csv"
    candidates.write_text("".join(structures[:300]), encoding="utf-8")
    (tmp_path / "specvae").write_text(
        f'#!/bin/sh\nexec "{sys.executable}" -m specvae.cli.main "$@"\n'
    )
    (tmp_path / "specvae").chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "QUERIES": "q.mgf",
        "CANDIDATES": str(candidates),
        "MODEL": str(demo_model),
        "SLURM_ARRAY_TASK_COUNT": "2",
    }

    def submit(task: str) -> None:
        done = subprocess.run(
            ["bash", "annotate.sbatch"], cwd=tmp_path, capture_output=True, text=True, check=False,
            env={**environment, "SLURM_ARRAY_TASK_ID": task},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr

    submit("2")
    submit("1")
    made = {path: path.stat().st_mtime_ns for path in (tmp_path / "parts").glob("*.jsonl")}
    submit("1")  # what is there is not done again
    assert len(made) == 2
    assert made == {path: path.stat().st_mtime_ns for path in made}
    run_specvae("merge", *sorted(made), "-o", "ranked.csv", cwd=tmp_path)
    files = ("--candidates", candidates, "--model", demo_model)
    run_specvae("annotate", "q.mgf", *files, "-o", "one.csv", cwd=tmp_path)
    assert (tmp_path / "ranked.csv").read_bytes() == (tmp_path / "one.csv").read_bytes()


def options_in(text: str) -> set[str]:
    return set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", text))


def options_of(command: click.Command) -> set[str]:
    return {name for parameter in command.params for name in parameter.opts}


def test_the_nextflow_script_has_the_structure_of_one() -> None:
    text = script("nextflow")
    for opening, closing in ("{}", "()", "[]"):
        assert text.count(opening) == text.count(closing)
    assert text.count('"""') == 4
    for process in re.findall(r"^process \w+ \{\n(.*?)^\}", text, re.M | re.S):
        names = [name for name in ("input:", "output:", "script:") if name in process]
        assert names == ["input:", "output:", "script:"]
    ranked, merged = re.findall(r'"""\n(.*?)"""', text, re.S)
    assert options_in(ranked) <= options_of(annotate)
    assert "-o" in ranked
    assert options_in(merged) <= options_of(merge)
    assert re.search(r"workflow \{.*ANNOTATE\(.*MERGE\(ANNOTATE\.out\.collect\(\)\)", text, re.S)


@pytest.mark.parametrize("cluster", ["SLURMCluster", "PBSCluster", "KubeCluster"])
def test_the_scripts_of_dask_are_short_and_name_options_that_there_are(cluster: str) -> None:
    text = script("python", cluster)
    compile(text, "docs/scale.md", "exec")
    assert len([line for line in text.splitlines() if line.strip()]) <= 10
    assert options_in(text) <= options_of(annotate)


def test_the_command_of_torchrun_names_options_that_there_are() -> None:
    (line,) = re.findall(r"^torchrun .*$", PAGE, re.M)
    assert options_in(line.partition("specvae train")[2]) <= options_of(train)
