from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast, get_type_hints

import pytest

from specvae.annotation.training.settings import (
    TrainConfig,
    automatic_epochs,
    flat_settings,
    preset_config,
)
from specvae.errors import ConfigError, InputError
from specvae.settings import Range, from_json, override, parse_assignments, read_toml
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
    assert config.model.filled_columns == 0  # its layers start as torch's own
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
        assert {configs[kind].unpaired_pool for kind in ("jmvae", "mvtcae")} == {"rest"}
        pools = {kind for kind, config in configs.items() if config.unpaired_pool == "all"}
        if preset == "small":
            assert pools == {"svae-star", "vaevae", "vaevae-a", "bridged"}
        else:
            assert pools == set(MODEL_KINDS) - {"jmvae", "mvtcae"}
            variances = {kind: config.model.variance for kind, config in configs.items()}
            assert variances == {
                kind: "softplus_var"
                if kind in ("svae", "svae-star", "vaevae-a", "mvae", "mopoe", "mvtcae")
                else "softplus_sd"
                for kind in MODEL_KINDS
            }


@pytest.mark.parametrize("key", ["optim.learning_rates", "OPTIM.LEARNING_RATE"])
def test_unknown_key_names_the_nearest(key: str) -> None:
    with pytest.raises(ConfigError, match=f"'{key}'.*'optim.learning_rate'"):
        override(TrainConfig(), {key: 0.1})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("seed", -1),
        ("seed", 2**64),
        ("optim.epochs", "many"),
        ("optim.epochs", -1),
        ("optim.epochs", True),
        ("optim.learning_rate", -1.0),
        ("optim.learning_rate", 10**400),
        ("model.variance", "var"),
        ("model.kind", "svea"),
        ("split.validation", 0.0),
        ("split.validation", 1.0),
        ("supervision", 0.0),
        ("model.dropout", 1.0),
        ("objective.beta", -0.5),
        ("objective.n_samples", 0),
        ("model.spectrum_encoder", [512, 0]),
        ("model.spectrum_encoder", -(10**5000)),
        ("inputs.fine_bin_width", 1e-9),
        ("fingerprint", ["x" * 100_000]),
        ("x" * 100_000, 1),
        ("model", 3),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else type(value).__name__,
)
def test_senseless_value_is_one_line(key: str, value: object) -> None:
    with pytest.raises(ConfigError) as caught:
        override(TrainConfig(), {key: value})
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


def float_settings(kind: type[Any], prefix: str = "") -> Iterator[str]:
    """Yield the keys of all settings that are a number with decimals."""
    for name, hint in get_type_hints(kind).items():
        if dataclasses.is_dataclass(hint):
            yield from float_settings(cast("type[Any]", hint), f"{prefix}{name}.")
        elif hint is float:
            yield prefix + name


FLOAT_SETTINGS = list(float_settings(TrainConfig))


def test_all_float_settings_are_found() -> None:
    flat = flat_settings(TrainConfig())
    assert set(FLOAT_SETTINGS) == {key for key, value in flat.items() if type(value) is float}
    assert {"filter.mass_tolerance_ppm", "objective.beta", "optim.learning_rate"} < set(
        FLOAT_SETTINGS
    )


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
@pytest.mark.parametrize("key", FLOAT_SETTINGS)
def test_numbers_that_are_not_finite_are_refused(key: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f"{key}.*finite"):
        override(TrainConfig(), {key: value})
    # Settings that are put together in Python are checked too.
    group, _, name = key.rpartition(".")
    config = TrainConfig()
    change: dict[str, Any] = {name: value}
    if group:
        change = {group: dataclasses.replace(getattr(config, group), **change)}
    with pytest.raises(ConfigError, match=f"{key}.*finite"):
        dataclasses.replace(config, **change)


def test_settings_are_changed_together() -> None:
    values = {"model.variance": "softplus_sd", "model.initial_logvar": 0.0}
    for ordered in (values, dict(reversed(values.items()))):
        assert override(TrainConfig(), ordered).model.variance == "softplus_sd"
    with pytest.raises(ConfigError, match=r"model\.initial_logvar"):
        override(TrainConfig(), {"model.variance": "softplus_sd"})
    with pytest.raises(ConfigError, match="sum below 1"):
        override(TrainConfig(), {"split.validation": 0.5, "split.test": 0.5})


# As an earlier program wrote them, into a header and by its user into a file.
OLD_HEADER = {
    "preset": "small", "seed": 7, "fingerprint": "morgan4096", "supervision": 0.5,
    "model": {
        "kind": "vaevae", "n_latent": 4, "spectrum_encoder": [8], "fingerprint_decoder": [8, 9],
        "prior_expert": False,
    },
    "inputs": {"fine_bin_width": 0.0, "max_peaks": 0},
    "optim": {"epochs": 2, "clip_norm": 0.0, "weight_averaging": 0.0},
    "filter": {"ion_mode": "positive", "adducts": ["[M+H]+"], "mass_tolerance_ppm": 20},
    "experts": {"library": False},
}  # fmt: skip
OLD_TOML = """
preset = "small"
seed = 7
fingerprint = "morgan4096"
supervision = 0.5
[model]
kind = "vaevae"
n_latent = 4
spectrum_encoder = [8]
fingerprint_decoder = [8, 9]
prior_expert = false
[inputs]
fine_bin_width = 0
max_peaks = 0
[optim]
epochs = 2
clip_norm = 0.0
weight_averaging = 0.0
[filter]
ion_mode = "positive"
adducts = "[M+H]+"
mass_tolerance_ppm = 20
[experts]
library = false
"""


def test_settings_as_an_editor_on_windows_writes_them(tmp_path: Path) -> None:
    text = '\ufeff[filter]\r\nion_mode = "positive"\r\n'
    (tmp_path / "run.toml").write_bytes(text.encode())
    assert read_toml(tmp_path / "run.toml") == {"filter.ion_mode": "positive"}


def test_keys_written_before_stay_readable(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text(OLD_TOML, encoding="utf-8")
    from_toml = override(TrainConfig(), read_toml(tmp_path / "run.toml"))
    from_header = from_json(TrainConfig, OLD_HEADER)
    assert from_toml == from_header
    assert from_header.model.spectrum_encoder == (8,)
    assert (from_header.evidence.library, from_header.inputs.max_peaks) == (False, 0)
    assert from_json(TrainConfig, json.loads(json.dumps(from_header.to_json()))) == from_header
    assert "evidence" in from_header.to_json()
    assert not override(TrainConfig(), {"experts.library": False}).evidence.library
    with pytest.raises(ConfigError, match=r"unknown setting 'experts\.librarry'"):
        override(TrainConfig(), {"experts.librarry": False})


@pytest.mark.parametrize(
    "text",
    ["x = " + "[" * 100_000, f"x = {'9' * 5000}", 'x = "' + "y" * 300_000, "a.b = 1\na = 2\n"],
    ids=["deep", "many digits", "long", "twice"],
)
def test_a_file_that_is_no_toml_is_one_short_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "bad.toml").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match="not a TOML file") as caught:
        read_toml(tmp_path / "bad.toml")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300 + len(str(tmp_path))


def test_ranges_say_what_is_wanted() -> None:
    texts = {
        "0 or more": Range(0.0),
        "above 0 and at most 1": Range(0.0, 1.0, open_low=True),
        "0 or more and below 1 (0 for none)": Range(0.0, 1.0, open_high=True, note="0 for none"),
    }
    assert {text: str(wanted) for text, wanted in texts.items()} == {text: text for text in texts}
    assert 0.0 in Range(0.0)
    assert 0.0 not in Range(0.0, open_low=True)
    assert 1.0 in Range(0.0, 1.0)
    assert 1.0 not in Range(0.0, 1.0, open_high=True)
    assert math.nan not in Range()


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
    config = override(TrainConfig(), read_toml(path))
    assert (config.seed, config.optim.epochs, config.model.kind) == (7, 3, "vaevae")
    path.write_text("epochs == 3", encoding="utf-8")
    with pytest.raises(InputError, match="not a TOML file"):
        read_toml(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_toml(tmp_path / "absent.toml")
