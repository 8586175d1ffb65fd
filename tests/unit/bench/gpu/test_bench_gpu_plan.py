"""What a call of `bench gpu` was given."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from specvae_bench.gpu import digits
from specvae_bench.gpu.command import run_all
from specvae_bench.gpu.plan import Plan, Result
from specvae_bench.gpu.report import is_gpu_folder
from specvae_bench.gpu.steps import STEPS, require_kinds, run_step

from specvae.cli.console import Console
from specvae.errors import ConfigError, InputError


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
    assert "no such data" in found["mnist-colour"]["error"]
    with pytest.raises(InputError):
        run_step("mnist-colour", plan, 60.0)


@pytest.mark.parametrize("step", [name for name in STEPS if name != "supervision"])
def test_a_folder_of_one_step_can_be_reported(tmp_path: Path, step: str) -> None:
    assert not is_gpu_folder(tmp_path)
    (tmp_path / f"{step}.json").write_text("{}")
    assert is_gpu_folder(tmp_path)
