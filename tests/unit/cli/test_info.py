from __future__ import annotations

import io
import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from specvae.annotation.evidence.weighted import SCALE
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
