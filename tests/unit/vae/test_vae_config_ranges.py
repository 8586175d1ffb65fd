"""Configurations that are built in Python refuse what a file of settings may not hold either."""

from __future__ import annotations

import dataclasses
import math
import typing
from collections.abc import Mapping
from typing import Any, cast

import pytest

from specvae.errors import ConfigError
from specvae.vae.config import Modality, ModelConfig, ObjectiveConfig, OptimConfig
from specvae.vae.networks import NetworkConfig

NETWORK = NetworkConfig((3,))
MODALITY = Modality("a", 4, NETWORK, NETWORK, "gaussian")
CONFIGS: tuple[Any, ...] = (
    OptimConfig(epochs=1, batch_size=1, learning_rate=0.1),
    ObjectiveConfig(),
    NETWORK,
    MODALITY,
    ModelConfig((MODALITY,), 2),
)
MAY_BE_NEGATIVE = {"initial_logvar"}


def holds_floats(hint: object) -> bool:
    return hint is float or any(holds_floats(argument) for argument in typing.get_args(hint))


FLOATS = [
    (config, name, hint)
    for config in CONFIGS
    for name, hint in typing.get_type_hints(type(config)).items()
    if holds_floats(hint)
]
IDS = [f"{type(config).__name__}.{name}" for config, name, _ in FLOATS]


def changed(config: object, name: str, hint: object, value: float) -> None:
    is_mapping = typing.get_origin(hint) is Mapping
    dataclasses.replace(cast(Any, config), **{name: {"a->a": value} if is_mapping else value})


def test_all_float_fields_are_found() -> None:
    assert {
        "OptimConfig.learning_rate",
        "OptimConfig.clip_norm",
        "ObjectiveConfig.beta",
        "ObjectiveConfig.path_weights",
        "NetworkConfig.dropout",
        "Modality.scale",
        "ModelConfig.initial_logvar",
    } < set(IDS)


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
@pytest.mark.parametrize(("config", "name", "hint"), FLOATS, ids=IDS)
def test_numbers_that_are_not_finite_are_refused(
    config: object, name: str, hint: object, value: float
) -> None:
    with pytest.raises(ConfigError, match=f"{name}.*finite"):
        changed(config, name, hint, value)


@pytest.mark.parametrize(("config", "name", "hint"), FLOATS, ids=IDS)
def test_negative_numbers_are_refused(config: object, name: str, hint: object) -> None:
    if name in MAY_BE_NEGATIVE:
        changed(config, name, hint, -0.5)
        return
    with pytest.raises(ConfigError, match=rf"{name}.*found -0\.5, wanted"):
        changed(config, name, hint, -0.5)


def test_a_choice_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"schedule: found 'cosin'.*nearest is 'cosine'"):
        OptimConfig(1, 1, 0.1, schedule="cosin")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"loss: found 'vaeva'.*nearest is 'vaevae'"):
        ObjectiveConfig("vaeva")  # type: ignore[arg-type]


def test_a_network_within_a_model_is_named_by_its_place() -> None:
    data = ModelConfig((MODALITY,), 2).to_json()
    data["modalities"][0]["encoder"]["dropout"] = 1.5
    with pytest.raises(ConfigError, match=r"modalities\[0\]\.encoder\.dropout: found 1\.5"):
        ModelConfig.from_json(data)
