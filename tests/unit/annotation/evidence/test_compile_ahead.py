"""Compiling beside other work, in a first run."""

from __future__ import annotations

import subprocess
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from specvae.annotation.evidence import compile_ahead
from specvae.annotation.evidence.fragment_peaks import Peaks
from specvae.annotation.evidence.fragment_score import standard_scorers
from specvae.molecules.fragments import FragmentTable


def _function(name: str) -> Any:  # noqa: ANN401 (numba's dispatcher)
    module, _, function = name.replace("/", ".").rpartition(".")
    return getattr(import_module(f"specvae.{module}"), function)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the parts for which processes are asked; each ends at once."""
    parts: list[str] = []

    class Ended:
        def __init__(self, command: list[str], **_: object) -> None:
            parts.append(command[-1])

        def wait(self) -> int:
            return 1  # a process that fails changes nothing

    monkeypatch.setattr(subprocess, "Popen", Ended)
    monkeypatch.setattr(compile_ahead, "usable_cores", lambda: 2)
    return parts


def _use() -> None:
    peaks = Peaks(np.array([27.02, 45.03, 60.02]), np.array([0.1, 1.0, 0.5]), 89.06)
    table = FragmentTable.of("CC(C)CN")
    standard_scorers()["positive"].scores(peaks, [table])


def test_what_is_compiled_ahead_is_what_ranking_calls() -> None:
    """No function is compiled anew for arrays of another type than those of a real molecule."""
    _use()
    functions = {part: _function(name) for part, name in compile_ahead.PARTS.items()}
    known = {part: list(function.signatures) for part, function in functions.items()}
    for part in compile_ahead.PARTS:
        compile_ahead.compile_part(part)
    assert {part: list(function.signatures) for part, function in functions.items()} == known


def test_a_first_run_starts_a_process_for_each_part(
    started: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    assert compile_ahead.missing() == list(compile_ahead.PARTS)
    said: list[str] = []
    compile_ahead.start(said.append)
    compile_ahead.start(said.append)
    assert started == list(compile_ahead.PARTS)
    assert len(said) == 1
    assert "functions are compiled now" in said[0]
    compile_ahead.wait()
    compile_ahead.start(said.append)
    assert started == 2 * list(compile_ahead.PARTS)
    compile_ahead.wait()


def test_a_later_run_starts_none(
    started: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    for name in compile_ahead.PARTS.values():
        # As numba calls its files: folder of the module, module, function, line, Python.
        file = tmp_path / "module_0a1b2c" / f"{Path(name).name}-515.py311.nbi"
        file.parent.mkdir(exist_ok=True)
        file.touch()
    assert compile_ahead.missing() == []
    said: list[str] = []
    compile_ahead.start(said.append)
    assert started == said == []


def test_numba_keeps_them_where_they_are_looked_for(
    started: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _use()
    monkeypatch.setattr(compile_ahead, "usable_cores", lambda: 2)
    compile_ahead.start(print)
    assert started == []


def test_one_core_has_nothing_beside_its_work(
    started: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(compile_ahead, "usable_cores", lambda: 1)
    compile_ahead.start(print)
    assert started == []


def test_what_cannot_be_kept_is_not_compiled_twice(
    started: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "not" / "there"))
    monkeypatch.setattr("os.access", lambda *_: False)
    compile_ahead.start(print)
    assert started == []
