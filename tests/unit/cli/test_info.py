from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from specvae.annotation.evidence.defaults import SCALE
from specvae.annotation.library.header import CalibrationFigures, FileRead, StoredEvidence
from specvae.cli.info import _counts, _evidence_lines, _files, info
from specvae.spectra.binning import BinLayout

EVIDENCE = StoredEvidence(
    BinLayout(), "morgan4096", "", {"fragments": 1.4}, ("A" * 14,), ("C",), SCALE
)
FITTED = CalibrationFigures(1200, 400, 10.0, 0.25, 0.5, "pool.h5")


@pytest.mark.parametrize(
    ("fitted", "wanted"),
    [
        (None, ("the shipped calibration, fitted to other models", "[M+H]+ spectra", "only")),
        (
            FITTED,
            ("this model's own calibration", "400 validation compounds among pool.h5", "in-sample"),
        ),
    ],
)
def test_info_says_whose_the_calibration_is(
    fitted: CalibrationFigures | None, wanted: tuple[str, ...]
) -> None:
    lines = dict(_evidence_lines(EVIDENCE, fitted))
    assert lines["ranks by"].startswith("fragments 1.4 (weights of the evidence")
    for text in wanted:
        assert text in lines["probabilities"]


def test_info_says_what_ranks_where_the_model_s_own_weights_are_of_evidence_of_before() -> None:
    lines = dict(_evidence_lines(replace(EVIDENCE, scale="nats"), FITTED))
    assert lines["ranks by"].startswith("fingerprint ")
    assert "1.4" not in lines["ranks by"]
    # Nats of thousands of bits have a small weight, which is not 0.00.
    assert not lines["ranks by"].startswith("fingerprint 0,")
    assert "fingerprint 0.00," not in lines["ranks by"]
    assert "by the shipped calibration; this model's own was fitted to" in lines["probabilities"]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_long_lists_are_cut_to_one_screen(
    demo_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = {f"[M+{n}H]+": n for n in range(1, 40)}
    assert _counts(many).startswith("[M+39H]+ 39, [M+38H]+ 38")
    assert _counts(many).endswith("34 others 595")
    assert _counts({f"[M+{n}H]+": n for n in range(1, 7)}).endswith(", [M+1H]+ 1")
    files = [FileRead(f"{n}.msp", "0" * 64) for n in range(9)]
    assert list(_files(files))[-1] == ("", "and 6 more")
    assert len(list(_files(files))) == 4

    monkeypatch.setattr(shutil, "get_terminal_size", lambda: os.terminal_size((100, 40)))
    shown = Terminal()
    monkeypatch.setattr(sys, "stdout", shown)
    info.main([str(demo_model)], standalone_mode=False)
    lines = shown.getvalue().splitlines()
    assert max(map(len, lines)) <= 100
    assert len(lines) < 40


def test_without_a_terminal_each_value_is_one_line(demo_model: Path) -> None:
    lines = CliRunner().invoke(info, [str(demo_model)]).stdout.splitlines()
    names = [line[:15].strip() for line in lines]
    assert names[:3] == ["file", "format", "weights"]
    assert len(names) == len(set(names)) + names.count("file read") - 1


DEMO = Path(__file__).parents[3] / "data" / "demo"
HEAVY = ("torch", "rdkit", "numba", "pandas", "scipy")


def run_without(modules: Sequence[str], *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process where some modules cannot be imported."""
    script = (
        f"import sys; sys.modules.update(dict.fromkeys({modules!r})); "
        "from specvae.cli.main import main; main()"
    )
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_what_a_model_is_and_what_is_missing_is_said_without_heavy_libraries(
    demo_model: Path, tmp_path: Path
) -> None:
    """They take seconds to import."""
    shown = run_without(HEAVY, "info", demo_model)
    assert "\nranks by       fingerprint " in shown.stdout, shown.stderr
    queries, candidates = tmp_path / "none.mgf", tmp_path / "none.csv"
    refused = run_without(
        HEAVY, "annotate", queries, "--candidates", candidates, "--model", demo_model
    )
    assert refused.stderr == f"specvae: {queries}: no such file\n"
    assert refused.returncode == 1
    library = DEMO / "library.msp"
    (tmp_path / "model.safetensors").touch()
    refused = run_without(HEAVY, "train", "--spectra", library, "-o", tmp_path)
    assert "there is a model already" in refused.stderr
    refused = run_without(HEAVY, "train", "--spectra", queries, "-o", tmp_path / "new")
    assert refused.stderr == f"specvae: {queries}: no such file (--spectra)\n"
    refused = run_without(
        HEAVY, "train", "--spectra", library, "-o", tmp_path / "new", "--set", "optim.epoch=3"
    )
    assert "epochs" in refused.stderr
