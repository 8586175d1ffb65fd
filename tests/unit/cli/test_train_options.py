from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from specvae.annotation.training import run as module
from specvae.annotation.training.settings import TrainConfig, preset_config
from specvae.cli import train as command


def config_of(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> TrainConfig:
    """Return the settings that `specvae train` hands on."""
    seen: list[TrainConfig] = []

    def recorded(config: TrainConfig, *args: object, **kwargs: object) -> SimpleNamespace:
        seen.append(config)
        return SimpleNamespace(seconds={}, provenance=SimpleNamespace(skipped={}))

    monkeypatch.setattr(module, "train", recorded)
    spectra = __file__  # any file that is there
    done = CliRunner().invoke(
        command.train, ["--spectra", spectra, *arguments], catch_exceptions=False
    )
    assert done.exit_code == 0, done.output
    return seen[0]


def test_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    assert config_of(monkeypatch) == preset_config("small", "svae")


@pytest.mark.parametrize("way", ["option", "set", "file"])
def test_a_preset_is_the_whole_preset_wherever_it_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, way: str
) -> None:
    path = tmp_path / "settings.toml"
    path.write_text('preset = "paper"\n[model]\nkind = "vaevae"\n')
    arguments = {
        "option": ("--preset", "paper", "--model-kind", "vaevae"),
        "set": ("--set", "preset=paper", "--set", "model.kind=vaevae"),
        "file": ("--config", str(path)),
    }[way]
    assert config_of(monkeypatch, *arguments) == preset_config("paper", "vaevae")


def test_options_beat_the_file_and_assignments_beat_options(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "settings.toml"
    path.write_text('preset = "paper"\nseed = 5\n[optim]\nepochs = 7\nbatch_size = 9\n')
    config = config_of(
        monkeypatch, "--config", str(path), "--preset", "small", "--epochs", "3",
        "--set", "optim.batch_size=11",
    )  # fmt: skip
    assert config.preset == "small"
    assert config.model == preset_config("small", "svae").model
    assert (config.seed, config.optim.epochs, config.optim.batch_size) == (5, 3, 11)


def test_what_would_be_lost_is_refused_before_anything_is_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    for name in ("split.csv", "model.safetensors"):
        (folder / name).write_text("precious")
    monkeypatch.setattr(module, "train", lambda *_, **__: pytest.fail("trained"))

    def refused(*arguments: object) -> BaseException | None:
        done = CliRunner().invoke(
            command.train, ["--spectra", "absent.msp", "-o", str(folder), *map(str, arguments)]
        )
        return done.exception

    assert "there is a model already" in str(refused())
    assert "--exclude reads" in str(refused("--exclude", folder / "split.csv", "--force"))
    assert isinstance(refused("--force", "--resume"), SystemExit)
    assert (folder / "model.safetensors").read_text() == "precious"
