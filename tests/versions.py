"""Install the wheel beside the oldest or the newest versions that it admits, and use it.

Not part of ``make test``, as it downloads what it installs. ``make test-versions`` does both; run
it before a release and now and then, since others' releases break programs.

    python tests/versions.py lowest
    python tests/versions.py newest --with torch==2.13.0
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
import venv
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DEMO = ROOT / "data" / "demo"

# What a user does on the first day: every format that is written, every library that is used.
COMMANDS = """
specvae doctor
specvae demo -o first-look
specvae check library.msp
specvae train --spectra library.msp --structures candidates.csv --epochs 1 -o model \\
  --set model.spectrum_encoder=[64] --set model.fingerprint_encoder=[64]
specvae info model
specvae pool build candidates.csv -o pool.h5
specvae annotate queries.mgf --candidates pool.h5 --model model -o ranked.csv \\
  --report report.html --summary summary.jsonl
specvae annotate queries.mgf --candidates candidates.csv --model model -o ranked.mztab
specvae evaluate queries.mgf --candidates candidates.csv --truth truth.csv --model model \\
  --json figures.json --plot topk.png
specvae predict queries.mgf --model model -o bits.csv
specvae embed queries.mgf --model model -o latent.parquet
specvae embed queries.mgf --model model -o latent.h5
specvae package-model model -o model.zip --licence CC0
specvae docs faq
"""
PYTHON = """
import importlib, pkgutil, sys
import specvae
for found in pkgutil.walk_packages(specvae.__path__, "specvae."):
    # What needs an extra is left out.
    if found.name not in ("specvae.similarity", "specvae.cli.forms", "specvae.cli.serving"):
        importlib.import_module(found.name)
table = specvae.load("model").annotate("queries.mgf", "candidates.csv", n_jobs=1)
assert len(table) and table["score"].notna().any()
"""


def lowest_versions(project: Path = ROOT / "pyproject.toml") -> dict[str, str]:
    """Return the oldest version that each requirement of the wheel admits."""
    listed = tomllib.loads(project.read_text(encoding="utf-8"))["project"]["dependencies"]
    found = {}
    for text in listed:
        match = re.fullmatch(r"([\w.-]+)>=([\w.]+)(?:,<[\w.]+)?", text)
        if match is None:
            raise ValueError(f"{text}: wanted NAME>=VERSION")
        found[match[1]] = match[2]
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Install and use; return 0 if all went well."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("which", choices=["lowest", "newest"])
    parser.add_argument(
        "--with", action="append", default=[], dest="pins", metavar="NAME==VERSION",
        help="a version to take in place of that bound (repeatable)",
    )  # fmt: skip
    options = parser.parse_args(arguments)
    wanted = lowest_versions() if options.which == "lowest" else {}
    wanted |= dict(pin.split("==") for pin in options.pins)
    folder = Path(tempfile.mkdtemp(prefix="specvae-versions-"))
    try:
        return _try(folder, [f"{name}=={version}" for name, version in wanted.items()])
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _try(folder: Path, pins: Sequence[str]) -> int:
    source = folder / "source"
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info", ".*", "build", "results", "tests")
    shutil.copytree(ROOT, source, ignore=ignored)
    (folder / "constraints.txt").write_text("\n".join(pins) + "\n", encoding="utf-8")
    venv.create(folder / "env", with_pip=True)
    programs = folder / "env" / ("Scripts" if os.name == "nt" else "bin")
    pip = [str(programs / "python"), "-m", "pip", "--disable-pip-version-check", "--no-input"]
    constrained = ["-q", "-c", str(folder / "constraints.txt")]
    subprocess.run([*pip, "wheel", "-q", "--no-deps", "-w", str(folder), str(source)], check=True)
    (wheel,) = folder.glob("specvae-*.whl")
    subprocess.run([*pip, "install", *constrained, str(wheel)], check=True)
    subprocess.run([*pip, "check"], check=True)
    subprocess.run([*pip, "freeze"], check=True)
    work = folder / "work"
    shutil.copytree(DEMO, work)
    failed = 0
    used = ["python", "-W", "error::DeprecationWarning:specvae", "-c", PYTHON]
    lines = COMMANDS.replace("\\\n", "").strip().splitlines()
    for command in [*map(str.split, lines), used]:
        done = subprocess.run(
            [programs / command[0], *command[1:]], cwd=work, capture_output=True, text=True,
            check=False, env={**os.environ, "SPECVAE_CACHE": str(folder / "cache")},
        )  # fmt: skip
        name = " ".join(command[:3])
        sys.stdout.write(f"{'FAILED' if done.returncode else 'ok    '} {name}\n")
        if done.returncode:
            failed += 1
            sys.stdout.write(done.stderr)
        sys.stdout.flush()
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
