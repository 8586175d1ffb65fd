"""Settings of a training run: presets, TOML files, ``key=value`` overrides.

Settings are grouped in frozen dataclasses; a key is written ``group.name``, for instance
``optim.learning_rate``. The defaults of the dataclasses are the preset ``small``.
"""

from __future__ import annotations

import dataclasses
import json
import math
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from specvae.errors import ConfigError, InputError, nearest
from specvae.settings import flatten
from specvae.vae.kinds import MODEL_KINDS

PRESETS = ("small", "paper")


@dataclass(frozen=True)
class ModelSettings:
    """Networks of both modalities; a tuple lists the widths of hidden layers, input side first."""

    kind: str = "svae"
    n_latent: int = 128
    spectrum_encoder: tuple[int, ...] = (256, 512)
    spectrum_decoder: tuple[int, ...] = (128,)
    fingerprint_encoder: tuple[int, ...] = (512, 512)
    fingerprint_decoder: tuple[int, ...] = (512,)
    batch_norm: bool = False
    fingerprint_batch_norm: bool = False
    dropout: float = 0.3
    input_dropout: float = 0.2
    variance: Literal["logvar", "softplus_var", "softplus_sd"] = "logvar"
    initial_logvar: float = -2.0
    start_at_means: bool = True
    prior_expert: bool = True
    share_body: bool = False


@dataclass(frozen=True)
class InputSettings:
    """What the spectrum encoder is shown beside the bins, and how peaks are tidied.

    `fine_bin_width` (Th, 0 for none) adds the peaks and losses once more in finer steps. A column
    behind the bins is only used if at least `min_column_count` training spectra fill it. Peaks
    below `min_relative_intensity`, all but the `max_peaks` highest (0: all are kept), and those
    more than 1.5 Th above the precursor are left out.
    """

    neutral_losses: bool = True
    fine_bin_width: float = 0.02
    min_column_count: int = 3
    precursor: bool = True
    collision_energy: bool = True
    adduct: bool = True
    instrument_type: bool = True
    min_relative_intensity: float = 0.001
    max_peaks: int = 200
    drop_above_precursor: bool = True


@dataclass(frozen=True)
class ObjectiveSettings:
    """Weights of the terms of the loss; the paper's are 1, 1, 1, no warm-up and 0.

    `path_weight` is on the log-likelihood of the fingerprint along the path that annotation uses,
    spectrum -> q(z | spectrum) -> fingerprint; `beta` on every KL, reached after
    `beta_warmup_epochs`. `n_samples` codes are drawn for each expectation; they are the K of the
    importance-weighted bounds of the ``mmvae`` kinds.
    """

    spectrum_weight: float = 0.1
    fingerprint_weight: float = 1.0
    beta: float = 0.2
    beta_warmup_epochs: float = 3.0
    path_weight: float = 1.0
    n_samples: int = 1


@dataclass(frozen=True)
class OptimSettings:
    """The optimiser's course.

    `compound_balance` says how far much-measured compounds are held back: a spectrum of a compound
    with n spectra is drawn in proportion to n ** -compound_balance, so 0 draws all spectra and 1
    all compounds equally often. `epochs` 0 stands for `automatic_epochs`.
    """

    epochs: int = 0
    batch_size: int = 256
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    clip_norm: float = 0.0
    schedule: Literal["constant", "cosine", "onecycle"] = "cosine"
    warmup: float = 0.03
    weight_averaging: float = 0.995
    compound_balance: float = 0.5
    amp: bool = False


@dataclass(frozen=True)
class SplitSettings:
    """Shares of compounds (InChIKey first blocks) held out of training."""

    validation: float = 0.1
    test: float = 0.0


@dataclass(frozen=True)
class FilterSettings:
    """Which library spectra are learned from; an empty tuple or string lets everything pass."""

    ion_mode: Literal["", "positive", "negative"] = ""
    adducts: tuple[str, ...] = ()
    instrument_types: tuple[str, ...] = ()
    min_peaks: int = 1
    mass_tolerance_ppm: float = 20.0


@dataclass(frozen=True)
class EvidenceSettings:
    """What candidates are ranked by beside their predicted fingerprint.

    With `library` on, the trained folder keeps the library's spectra: candidates are also judged by
    their likeness to compounds with like spectra, and by the fragments that they can break into.
    """

    library: bool = True


@dataclass(frozen=True)
class TrainConfig:
    """All settings of a training run.

    `supervision` is the share of pairs kept paired. The samples that stream unpaired are the rest
    of the pairs (`unpaired_pool` "rest"), all of them ("all", as in the authors' code) or none
    ("none": what supervision leaves over is not learned from), and whatever unpaired files are
    given.
    """

    preset: Literal["small", "paper"] = "small"
    seed: int = 0
    fingerprint: str = "mixed2149"
    supervision: float = 1.0
    unpaired_pool: Literal["rest", "all", "none"] = "rest"
    model: ModelSettings = field(default_factory=ModelSettings)
    inputs: InputSettings = field(default_factory=InputSettings)
    objective: ObjectiveSettings = field(default_factory=ObjectiveSettings)
    optim: OptimSettings = field(default_factory=OptimSettings)
    split: SplitSettings = field(default_factory=SplitSettings)
    filter: FilterSettings = field(default_factory=FilterSettings)
    experts: EvidenceSettings = field(default_factory=EvidenceSettings)

    def to_json(self) -> dict[str, Any]:
        """Return the settings as JSON-ready nested dictionaries."""
        nested: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        return nested


def preset_config(preset: str, kind: str) -> TrainConfig:
    """Return a preset's settings for a model kind.

    ``paper`` has the networks of tables A.8 and A.9 of Kutuzova et al., their learning rate and
    batch size as in the authors' code, no input beside the bins and no term beside the paper's.

    Raises
    ------
    ConfigError
        If preset or kind is unknown.
    """
    _require_choice("preset", preset, PRESETS)
    _require_choice("model.kind", kind, tuple(MODEL_KINDS))
    of = MODEL_KINDS[kind]
    if preset == "small":
        # VAEVAE's objective trains the single posteriors' own bounds on unpaired samples only, so
        # it needs them even where everything is paired; the others have such terms on pairs.
        pool: Literal["rest", "all"] = "all" if of.loss == "vaevae" else "rest"
        return TrainConfig(
            unpaired_pool=pool,
            model=ModelSettings(kind=kind),
            objective=ObjectiveSettings(n_samples=of.n_samples),
        )
    # Where experts are only ever multiplied, 1/scale was their precision in the authors' code.
    multiplied = of.posterior in ("product", "product_own")
    return TrainConfig(
        preset="paper",
        fingerprint="svae2149",
        unpaired_pool="all" if of.learns_from_unpaired else "rest",
        model=ModelSettings(
            kind=kind,
            n_latent=300,
            spectrum_encoder=(10000, 5000, 2048),
            spectrum_decoder=(3000, 5000, 10000),
            fingerprint_encoder=(1024, 1000),
            fingerprint_decoder=(500, 1024),
            batch_norm=True,
            dropout=0.0,
            input_dropout=0.0,
            initial_logvar=0.0,
            start_at_means=False,
            variance="softplus_var" if multiplied else "softplus_sd",
        ),
        inputs=InputSettings(
            neutral_losses=False,
            fine_bin_width=0.0,
            min_column_count=0,
            precursor=False,
            collision_energy=False,
            adduct=False,
            instrument_type=False,
            min_relative_intensity=0.0,
            max_peaks=0,
            drop_above_precursor=False,
        ),
        objective=ObjectiveSettings(
            spectrum_weight=1.0,
            beta=1.0,
            beta_warmup_epochs=0.0,
            path_weight=0.0,
            n_samples=of.n_samples,
        ),
        optim=OptimSettings(
            epochs=140,
            batch_size=250,
            learning_rate=1e-4,
            schedule="constant",
            warmup=0.0,
            weight_averaging=0.0,
            compound_balance=0.0,
        ),
        experts=EvidenceSettings(library=False),
    )


def automatic_epochs(n_pairs: int, batch_size: int) -> int:
    """Return passes for some 2,000 steps, but at least 15 and at most 100.

    Validation retrieval levels off at about 2,000 steps of 256 on libraries of some ten thousand
    spectra; a small library needs more passes to get there, a large one is seen 15 times.
    """
    return min(max(math.ceil(2000 / math.ceil(n_pairs / batch_size)), 15), 100)


def read_config_file(path: Path) -> dict[str, Any]:
    """Read a TOML file of settings into flat ``group.name`` keys.

    Raises
    ------
    InputError
        If the file is absent or is not TOML.
    """
    try:
        with path.open("rb") as stream:
            nested = tomllib.load(stream)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a TOML file ({error})") from None
    return flatten(nested)


def parse_assignments(assignments: Iterable[str]) -> dict[str, Any]:
    """Parse ``key=value`` texts; a value is TOML, or a bare string if it is not.

    Raises
    ------
    ConfigError
        If a text has no ``=``.
    """
    values: dict[str, Any] = {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals or not key.strip():
            raise ConfigError(f"--set {assignment}: wanted key=value")
        try:
            value = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            value = text.strip()
        values[key.strip()] = value
    return values


def override(config: TrainConfig, values: Mapping[str, Any]) -> TrainConfig:
    """Return `config` with flat ``group.name`` keys replaced.

    Raises
    ------
    ConfigError
        If a key is unknown (the message names the nearest), or a value has the wrong type or lies
        outside its range.
    """
    known = flatten(dataclasses.asdict(config))
    for key, value in values.items():
        if key not in known:
            near = nearest(key, known)
            raise ConfigError(f"unknown setting {key!r}; the nearest known one is {near!r}")
        group, _, name = key.rpartition(".")
        owner = getattr(config, group) if group else config
        checked = _coerce(key, value, get_type_hints(type(owner))[name])
        change: dict[str, Any] = {name: checked}
        if group:
            change = {group: dataclasses.replace(owner, **change)}
        config = dataclasses.replace(config, **change)
    _require_ranges(config)
    return config


def flat_settings(config: TrainConfig) -> dict[str, Any]:
    """Return the settings under flat ``group.name`` keys, as JSON values."""
    return flatten(config.to_json())


def _coerce(key: str, value: Any, wanted: Any) -> Any:  # noqa: ANN401
    """Return `value` as the type `wanted`, or raise a ConfigError."""
    if get_origin(wanted) is tuple:
        items = value if isinstance(value, (list, tuple)) else [value]
        return tuple(_coerce(key, item, get_args(wanted)[0]) for item in items)
    if get_origin(wanted) is Literal:
        _require_choice(key, value, get_args(wanted))
        return value
    if wanted is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not wanted:
        raise ConfigError(f"setting {key!r}: found {value!r}, wanted a {wanted.__name__}")
    return value


def _require_choice(key: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ConfigError(
            f"setting {key!r}: found {value!r}, wanted one of {', '.join(map(repr, choices))}; "
            f"the nearest is {nearest(value, choices)!r}"
        )


def _require_ranges(config: TrainConfig) -> None:
    model, optim, split = config.model, config.optim, config.split
    _require_choice("model.kind", model.kind, tuple(MODEL_KINDS))
    widths = (
        *model.spectrum_encoder,
        *model.spectrum_decoder,
        *model.fingerprint_encoder,
        *model.fingerprint_decoder,
    )
    checks = {
        "seed": (config.seed >= 0, "0 or more"),
        "supervision": (0.0 < config.supervision <= 1.0, "above 0 and at most 1"),
        "model.n_latent": (model.n_latent >= 1, "at least 1"),
        "model.*_encoder and model.*_decoder": (all(w >= 1 for w in widths), "widths of 1 or more"),
        "model.dropout": (0.0 <= model.dropout < 1.0, "from 0 up to, not including, 1"),
        "model.input_dropout": (0.0 <= model.input_dropout < 1.0, "from 0 up to, not including, 1"),
        "objective.*": (
            min(dataclasses.astuple(config.objective)) >= 0.0,
            "weights of 0 or more",
        ),
        "objective.n_samples": (config.objective.n_samples >= 1, "at least 1"),
        "optim.epochs": (optim.epochs >= 0, "1 or more, or 0 for as many as it takes"),
        "optim.batch_size": (optim.batch_size >= 2, "at least 2"),
        "optim.learning_rate": (optim.learning_rate > 0.0, "above 0"),
        "optim.weight_decay": (optim.weight_decay >= 0.0, "0 or more"),
        "optim.clip_norm": (optim.clip_norm >= 0.0, "0 (no clipping) or more"),
        "optim.warmup": (0.0 <= optim.warmup < 1.0, "a share of the run, from 0 to below 1"),
        "optim.weight_averaging": (0.0 <= optim.weight_averaging < 1.0, "from 0 (off) to below 1"),
        "optim.compound_balance": (0.0 <= optim.compound_balance <= 1.0, "from 0 to 1"),
        "model.initial_logvar": (
            model.initial_logvar == 0.0 or model.variance == "logvar",
            "0 unless model.variance is logvar",
        ),
        "split.validation and split.test": (
            split.validation > 0.0 and split.test >= 0.0 and split.validation + split.test < 1.0,
            "shares whose sum is below 1, the first above 0",
        ),
        "inputs.fine_bin_width": (config.inputs.fine_bin_width >= 0.0, "0 (none) or more"),
        "inputs.max_peaks": (config.inputs.max_peaks >= 0, "0 (all) or more"),
        "inputs.min_column_count": (config.inputs.min_column_count >= 0, "0 or more"),
        "inputs.min_relative_intensity": (
            0.0 <= config.inputs.min_relative_intensity < 1.0,
            "from 0 up to, not including, 1",
        ),
        "filter.min_peaks": (config.filter.min_peaks >= 1, "at least 1"),
        "filter.mass_tolerance_ppm": (config.filter.mass_tolerance_ppm > 0.0, "above 0"),
    }
    for key, (holds, wanted) in checks.items():
        if not holds:
            raise ConfigError(f"setting {key!r} is out of range: wanted {wanted}")
