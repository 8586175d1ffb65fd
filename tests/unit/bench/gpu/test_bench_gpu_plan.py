"""What a call of `bench gpu` was given."""

from __future__ import annotations

import json
import re
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import SimpleNamespace

import click
import pytest
from specvae_bench.files import write_result
from specvae_bench.gpu import digits
from specvae_bench.gpu.command import gpu, run_all
from specvae_bench.gpu.plan import Plan, Result
from specvae_bench.gpu.report import is_gpu_folder
from specvae_bench.gpu.steps import STEPS, require_kinds, run_step

from specvae.cli.console import Console
from specvae.errors import ConfigError, InputError, TrainingError


def test_a_kind_is_of_all_steps_or_of_one() -> None:
    plan = Plan(Path("gpu"), "cpu", kinds=("svae", "mnist-split:svae-star", "mnist-split:vaevae"))
    assert plan.kinds_of("mnist-split") == ("svae-star", "vaevae")
    assert plan.kinds_of("supervision") == ("svae",)
    assert Plan(Path("gpu"), "cpu", kinds=("mnist-split:svae",)).kinds_of("supervision") == ()


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("svea", "^svea: kinds that are trained there are svae, "),
        ("mnist-spilt:svae", "^mnist-spilt:svae: steps on digits are mnist-split, "),
        ("equality:svae", "steps on digits are"),
        ("mnist-split-3:mmvae", "kinds that are trained there are svae, vaevae$"),
    ],
)
def test_kinds_that_no_step_trains_are_told(kind: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        require_kinds(["svae", "mnist-colour:mmvae", kind])


def test_a_step_is_done_for_the_kinds_that_it_was_done_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def said(*kinds: str, found: list[str]) -> str:
        path = tmp_path / "mnist-split-3.json"
        path.write_text(json.dumps({"done": True, "kinds": found}))
        # There is no time for what is not done.
        plan = Plan(tmp_path, "cpu", tmp_path, kinds=kinds)
        caplog.clear()
        with caplog.at_level("INFO", logger="specvae"):
            run_all(plan, 1.0, {"mnist-split-3": 9.0}, again=False, console=Console())
        return caplog.text

    assert "done before" in said(found=[])
    assert "done before" in said("svae", found=[])
    assert "done before" in said("svae", found=["svae", "vaevae"])
    assert "no time left" in said("vaevae", found=["svae"])
    assert "no time left" in said(found=["svae"])
    assert "mnist-split-3: left out, it trains no mmvae" in said("mmvae", found=[])


def test_a_trial_is_no_result_of_a_longer_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_result(
        tmp_path / "mnist-split-3.json", {"done": True, "trial": {"epochs": 2, "limit": 100}}
    )

    def call(*options: str) -> str:
        caplog.clear()
        given = ["--device", "cpu", "--data", str(tmp_path), "-o", str(tmp_path), "--budget", "1"]
        with caplog.at_level("INFO", logger="specvae"):
            gpu.main([*given, "--step", "mnist-split-3", *options], standalone_mode=False)
        return caplog.text

    assert "done before" in call("--limit", "100", "--epochs", "2")
    assert "done before" in call("--limit", "100", "--epochs", "1")
    assert "no time left" in call("--limit", "100", "--epochs", "3")
    assert "no time left" in call("--limit", "100")
    with pytest.raises(InputError, match=r"mnist-split-3\.json: of a trial, --limit 100; wanted"):
        call()
    with pytest.raises(InputError, match="of a trial, --limit 100"):
        call("--limit", "200")
    assert "no time left" in call("--again")


def test_a_step_that_fails_is_told_in_one_line_and_by_the_exit_code(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "prepared.npz").write_text("no archive")
    given = ["--device", "cpu", "--prepared", str(tmp_path / "prepared.npz"), "--step", "speed"]
    with pytest.raises(TrainingError, match="not done for an error: speed; see above"):
        gpu.main([*given, "-o", str(tmp_path / "gpu"), "--budget", "90"], standalone_mode=False)
    wanted = "prepared.npz: no archive of arrays, wanted a file of 'bench gpu --prepare'"
    assert re.search(f"speed: not done after .* s: .*/{wanted}\n", caplog.text)


def test_damaged_predictions_are_named(tmp_path: Path) -> None:
    (tmp_path / "spectra-svae.logits.npz").write_bytes(b"PK\x03\x04 cut off")
    (tmp_path / "fold").mkdir()
    with pytest.raises(InputError, match=r"spectra-svae\.logits\.npz: damaged, or not of 'bench"):
        gpu.main(
            ["--finish", "--fold", str(tmp_path / "fold"), "-o", str(tmp_path)],
            standalone_mode=False,
        )
    with pytest.raises(click.UsageError, match="--finish needs the folds"):
        gpu.main(["--finish", "-o", str(tmp_path)], standalone_mode=False)


def test_an_interrupted_call_ends_its_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[BaseProcess] = []

    def interrupted(process: BaseProcess, timeout: float | None = None) -> None:
        started.append(process)
        monkeypatch.undo()
        raise KeyboardInterrupt

    monkeypatch.setattr(BaseProcess, "join", interrupted)
    plan = Plan(tmp_path, "cpu", limit=20)
    with pytest.raises(KeyboardInterrupt):
        run_all(plan, 100.0, {"equality": 50.0}, again=False, console=Console())
    assert not started[0].is_alive()


def test_a_joined_step_that_cannot_begin_leaves_the_others_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing_to_do(plan: Plan, trainings: object, result: Result) -> object:
        if result.values["step"] == "mnist-colour":
            raise InputError("no such data")
        return SimpleNamespace(runs=[], close=lambda notes: result.write(done=True))

    monkeypatch.setattr(digits, "_Board", nothing_to_do)
    plan = Plan(tmp_path, "cpu", tmp_path)
    run_step("mnist-split-3+mnist-colour", plan, 60.0)
    found = {path.stem: json.loads(path.read_text()) for path in tmp_path.glob("*.json")}
    assert found["mnist-split-3"]["done"]
    assert "error" not in found["mnist-split-3"]
    assert not found["mnist-colour"]["done"]
    assert found["mnist-colour"]["error"] == "no such data"
    run_step("mnist-colour", plan, 60.0)  # whose traceback would say no more


@pytest.mark.parametrize("step", [name for name in STEPS if name != "supervision"])
def test_a_folder_of_one_step_can_be_reported(tmp_path: Path, step: str) -> None:
    assert not is_gpu_folder(tmp_path)
    path = tmp_path / f"{step}.json"
    path.write_text('{"command": "specvae bench speed", "date": "2026-11-29"}')
    assert not is_gpu_folder(tmp_path)
    path.write_text('{"device": {"name": "cpu"}, "date": "2026-11-29"}')
    assert is_gpu_folder(tmp_path)
    path.write_text('{"device": ')
    with pytest.raises(InputError, match=f"{step}.json: cannot be read as JSON"):
        is_gpu_folder(tmp_path)
