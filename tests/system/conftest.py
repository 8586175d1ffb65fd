"""One small model, trained through the command line, that all system tests share."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

DEMO = Path(__file__).resolve().parents[2] / "data" / "demo"


def run_specvae(
    *arguments: object, cwd: Path | None = None, code: int = 0
) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own; fail unless it exits with `code`."""
    done = subprocess.run(
        [sys.executable, "-m", "specvae.cli.main", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        check=False,
    )
    assert done.returncode == code, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr, done.stderr
    return done


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep the tests' fingerprints out of the user's cache."""
    os.environ["SPECVAE_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory, own_cache: None) -> Path:
    """Return the folder of a model, trained for a few epochs, that ranks by fingerprint alone.

    Most tests are not about what candidates are ranked by, and this takes half the time.
    """
    return _trained(tmp_path_factory, "--set", "experts.library=false")


@pytest.fixture(scope="session")
def full_model(tmp_path_factory: pytest.TempPathFactory, own_cache: None) -> Path:
    """Return the folder of a model, trained for a few epochs, that ranks by all that it knows."""
    return _trained(tmp_path_factory, "--structures", str(DEMO / "candidates.csv"))


def _trained(tmp_path_factory: pytest.TempPathFactory, *options: str) -> Path:
    folder = tmp_path_factory.mktemp("model")
    run_specvae(
        "train", "--spectra", DEMO / "library.msp", "-o", folder, "--epochs", 12, "--seed", 1,
        *options,
    )  # fmt: skip
    return folder
