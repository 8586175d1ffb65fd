from __future__ import annotations

from pathlib import Path

import pytest

from specvae.annotation.training.settings import (
    TrainConfig,
    automatic_epochs,
    flat_settings,
    override,
    parse_assignments,
    preset_config,
    read_config_file,
)
from specvae.errors import ConfigError, InputError
from specvae.vae.kinds import MODEL_KINDS


@pytest.mark.parametrize("kind", MODEL_KINDS)
@pytest.mark.parametrize("preset", ["small", "paper"])
def test_presets_survive_json(preset: str, kind: str) -> None:
    config = preset_config(preset, kind)
    assert override(TrainConfig(), flat_settings(config)) == config
    assert config.preset == preset
    assert config.model.kind == kind


def test_paper_preset_is_the_paper() -> None:
    config = preset_config("paper", "svae")
    assert config.model.spectrum_encoder == (10000, 5000, 2048)
    assert config.model.spectrum_decoder == (3000, 5000, 10000)
    assert config.model.fingerprint_encoder == (1024, 1000)
    assert config.model.fingerprint_decoder == (500, 1024)
    assert config.model.n_latent == 300
    assert config.objective.path_weight == 0.0
    assert config.objective.spectrum_weight == 1.0
    assert config.fingerprint == "svae2149"
    assert not any(
        (
            config.inputs.neutral_losses,
            config.inputs.precursor,
            config.inputs.collision_energy,
            config.inputs.instrument_type,
            config.inputs.adduct,
        )
    )


def test_presets_of_the_kinds() -> None:
    for preset in ("small", "paper"):
        configs = {kind: preset_config(preset, kind) for kind in MODEL_KINDS}
        samples = {kind: config.objective.n_samples for kind, config in configs.items()}
        assert {kind for kind, n in samples.items() if n > 1} == {"mmvae", "mmvae-iwae"}
        # A kind that cannot use unpaired samples must not be given any by default.
        assert configs["jmvae"].unpaired_pool == "rest"
        pools = {kind for kind, config in configs.items() if config.unpaired_pool == "all"}
        if preset == "small":
            assert pools == {"svae-star", "vaevae", "vaevae-a", "bridged"}
        else:
            assert pools == set(MODEL_KINDS) - {"jmvae"}
            variances = {kind: config.model.variance for kind, config in configs.items()}
            assert variances == {
                kind: "softplus_var"
                if kind in ("svae", "svae-star", "vaevae-a", "mvae")
                else "softplus_sd"
                for kind in MODEL_KINDS
            }


def test_unknown_key_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"'optim.learning_rates'.*'optim.learning_rate'"):
        override(TrainConfig(), {"optim.learning_rates": 0.1})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("seed", -1),
        ("optim.epochs", "many"),
        ("optim.epochs", -1),
        ("optim.epochs", True),
        ("optim.learning_rate", -1.0),
        ("model.variance", "var"),
        ("model.kind", "svea"),
        ("split.validation", 0.0),
        ("split.validation", 1.0),
        ("supervision", 0.0),
        ("model.dropout", 1.0),
        ("objective.beta", -0.5),
        ("objective.n_samples", 0),
        ("model.spectrum_encoder", [512, 0]),
    ],
)
def test_senseless_value_is_one_line(key: str, value: object) -> None:
    with pytest.raises(ConfigError) as caught:
        override(TrainConfig(), {key: value})
    assert "\n" not in str(caught.value)


def test_assignments_are_toml_or_bare_text() -> None:
    values = parse_assignments(
        ["optim.learning_rate=3e-4", "model.spectrum_encoder=[64, 32]", "model.kind=vaevae"]
    )
    config = override(TrainConfig(), values)
    assert config.optim.learning_rate == 3e-4
    assert config.model.spectrum_encoder == (64, 32)
    assert config.model.kind == "vaevae"
    with pytest.raises(ConfigError, match="wanted key=value"):
        parse_assignments(["optim.epochs"])


def test_integer_passes_for_a_float_and_scalar_for_a_tuple() -> None:
    config = override(TrainConfig(), {"objective.beta": 2, "filter.adducts": "[M+H]+"})
    assert config.objective.beta == 2.0
    assert config.filter.adducts == ("[M+H]+",)


def test_small_libraries_are_seen_more_often() -> None:
    assert automatic_epochs(45_000, 256) == 15
    assert automatic_epochs(1_000_000, 256) == 15
    assert automatic_epochs(10_000, 256) == 50
    assert automatic_epochs(10, 256) == 100


def test_config_file(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text('seed = 7\n[optim]\nepochs = 3\n[model]\nkind = "vaevae"\n', encoding="utf-8")
    config = override(TrainConfig(), read_config_file(path))
    assert (config.seed, config.optim.epochs, config.model.kind) == (7, 3, "vaevae")
    path.write_text("epochs == 3", encoding="utf-8")
    with pytest.raises(InputError, match="not a TOML file"):
        read_config_file(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_config_file(tmp_path / "absent.toml")
