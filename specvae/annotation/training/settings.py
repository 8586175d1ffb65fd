"""Settings of a training run: presets, TOML files, ``key=value`` overrides.

Settings are grouped in frozen dataclasses; a key is written ``group.name``, for instance
``optim.learning_rate``. The defaults of the dataclasses are the preset ``small``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, cast

from specvae.errors import ConfigError
from specvae.settings import (
    Count,
    Fraction,
    OneOf,
    Positive,
    Range,
    Share,
    Weight,
    earlier_key,
    flatten,
    require_choice,
    require_ranges,
    to_json,
)
from specvae.vae.kinds import MODEL_KINDS, Kind

PRESETS = ("small", "paper")

_NARROWEST_BIN = 0.001  # Th
_Widths = tuple[Count, ...]


@dataclass(frozen=True)
class ModelSettings:
    """Networks of both modalities; a tuple lists the widths of hidden layers, input side first."""

    kind: Annotated[str, OneOf(tuple(MODEL_KINDS))] = "svae"
    n_latent: Count = 128
    spectrum_encoder: _Widths = (256, 512)
    spectrum_decoder: _Widths = (128,)
    fingerprint_encoder: _Widths = (512, 512)
    fingerprint_decoder: _Widths = (512,)
    batch_norm: bool = False
    fingerprint_batch_norm: bool = False
    dropout: Share = 0.3
    input_dropout: Share = 0.2
    filled_columns: Annotated[int, Range(0, note="0 for all")] = 128
    variance: Literal["logvar", "softplus_var", "softplus_sd"] = "logvar"
    initial_logvar: float = -2.0
    start_at_means: bool = True
    prior_expert: bool = True
    share_body: bool = False


@dataclass(frozen=True)
class InputSettings:
    """Further inputs of the spectrum encoder, and how peaks are filtered.

    `fine_bin_width` (Th, 0 for none) adds peaks and losses in finer bins. A peak within
    `soft_edge` (Th) of a border is in both bins, so that small errors of m/z have small effects. A
    column beside the plain bins is only used if at least `min_column_count` training spectra fill
    it. Peaks below `min_relative_intensity`, all but the `max_peaks` highest (0: all are kept), and
    those more than 1.5 Th above the precursor are left out.
    """

    neutral_losses: bool = True
    fine_bin_width: Annotated[float, Range(0.0, note="0 for none")] = 0.02
    soft_edge: Weight = 0.002
    min_column_count: Annotated[int, Range(0)] = 3
    precursor: bool = True
    collision_energy: bool = True
    adduct: bool = True
    instrument_type: bool = True
    min_relative_intensity: Share = 0.001
    max_peaks: Annotated[int, Range(0, note="0 for all")] = 200
    drop_above_precursor: bool = True


@dataclass(frozen=True)
class ObjectiveSettings:
    """Weights of the terms of the loss; the paper's are 1, 1, 1, no warm-up and 0.

    `path_weight` is on the log-likelihood of the fingerprint along the path that annotation uses,
    spectrum -> q(z | spectrum) -> fingerprint; `beta` on every KL, reached after
    `beta_warmup_epochs`. `n_samples` codes are drawn for each expectation; they are the K of the
    importance-weighted bounds of the ``mmvae`` kinds.
    """

    spectrum_weight: Weight = 0.1
    fingerprint_weight: Weight = 1.0
    beta: Weight = 0.2
    beta_warmup_epochs: Weight = 3.0
    path_weight: Weight = 1.0
    n_samples: Count = 1


@dataclass(frozen=True)
class OptimSettings:
    """Settings of the optimisation.

    `compound_balance` reduces the weight of compounds with many spectra: a spectrum of a compound
    with n spectra is drawn in proportion to n ** -compound_balance, so 0 draws all spectra and 1
    all compounds equally often. `epochs` 0 stands for `automatic_epochs`.
    """

    epochs: Annotated[int, Range(0, note="0 for as many as it takes")] = 0
    batch_size: Annotated[int, Range(2)] = 256
    learning_rate: Positive = 1e-3
    weight_decay: Weight = 0.0
    clip_norm: Annotated[float, Range(0.0, note="0 for no clipping")] = 0.0
    schedule: Literal["constant", "cosine", "onecycle"] = "cosine"
    warmup: Share = 0.03
    weight_averaging: Annotated[float, Range(0.0, 1.0, open_high=True, note="0 for none")] = 0.995
    compound_balance: Annotated[float, Range(0.0, 1.0)] = 0.5
    amp: bool = False


@dataclass(frozen=True)
class SplitSettings:
    """Shares of compounds (InChIKey first blocks) held out of training."""

    validation: Fraction = 0.1
    test: Share = 0.0


@dataclass(frozen=True)
class FilterSettings:
    """Which library spectra are used for training; an empty tuple or string lets all pass."""

    ion_mode: Literal["", "positive", "negative"] = ""
    adducts: tuple[str, ...] = ()
    instrument_types: tuple[str, ...] = ()
    min_peaks: Count = 1
    mass_tolerance_ppm: Positive = 20.0


@dataclass(frozen=True)
class EvidenceSettings:
    """Evidence by which candidates are ranked, beside the predicted fingerprint.

    With `library` on, the model stores the library's spectra: candidates are also ranked by their
    similarity to compounds with similar spectra, and by their possible fragments.
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
    seed: Annotated[int, Range(0, 2**63 - 1)] = 0
    fingerprint: str = "mixed2149"
    supervision: Annotated[float, Range(0.0, 1.0, open_low=True)] = 1.0
    unpaired_pool: Literal["rest", "all", "none"] = "rest"
    model: ModelSettings = field(default_factory=ModelSettings)
    inputs: InputSettings = field(default_factory=InputSettings)
    objective: ObjectiveSettings = field(default_factory=ObjectiveSettings)
    optim: OptimSettings = field(default_factory=OptimSettings)
    split: SplitSettings = field(default_factory=SplitSettings)
    filter: FilterSettings = field(default_factory=FilterSettings)
    evidence: EvidenceSettings = field(
        default_factory=EvidenceSettings, metadata=earlier_key("experts")
    )

    def __post_init__(self) -> None:
        require_ranges(self)
        if self.model.initial_logvar and self.model.variance != "logvar":
            raise ConfigError(
                f"model.initial_logvar: found {self.model.initial_logvar:g}, wanted 0 unless "
                "model.variance is logvar"
            )
        if self.split.validation + self.split.test >= 1.0:
            raise ConfigError("split.validation and split.test: wanted a sum below 1")
        if 0.0 < self.inputs.fine_bin_width < _NARROWEST_BIN:
            raise ConfigError(
                f"inputs.fine_bin_width: found {self.inputs.fine_bin_width:g}, wanted "
                f"{_NARROWEST_BIN:g} Th or more (0 for none)"
            )

    def to_json(self) -> dict[str, Any]:
        """Return the settings as JSON-ready nested dictionaries."""
        return cast(dict[str, Any], to_json(self))


def preset_config(preset: str, kind: str) -> TrainConfig:
    """Return a preset's settings for a model kind.

    ``paper`` has the networks of tables A.8 and A.9 of Kutuzova et al., their learning rate and
    batch size as in the authors' code, no input beside the bins and no term beside the paper's.

    Raises
    ------
    ConfigError
        If preset or kind is unknown.
    """
    require_choice("preset", preset, PRESETS)
    require_choice("model.kind", kind, tuple(MODEL_KINDS))
    family = MODEL_KINDS[kind]
    if preset == "paper":
        return _paper_config(kind, family)
    # VAEVAE's objective trains the single posteriors' own bounds on unpaired samples only, so it
    # needs them even where everything is paired; the others have such terms on pairs.
    pool: Literal["rest", "all"] = "all" if family.loss == "vaevae" else "rest"
    return TrainConfig(
        unpaired_pool=pool,
        model=ModelSettings(kind=kind),
        objective=ObjectiveSettings(n_samples=family.n_samples),
    )


def _paper_config(kind: str, family: Kind) -> TrainConfig:
    # Where experts are only ever multiplied, 1/scale was their precision in the authors' code.
    multiplied = family.posterior in ("product", "product_own", "mixture_of_products")
    return TrainConfig(
        preset="paper",
        fingerprint="svae2149",
        unpaired_pool="all" if family.learns_from_unpaired else "rest",
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
            filled_columns=0,
            initial_logvar=0.0,
            start_at_means=False,
            variance="softplus_var" if multiplied else "softplus_sd",
        ),
        inputs=InputSettings(
            neutral_losses=False,
            fine_bin_width=0.0,
            soft_edge=0.0,
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
            n_samples=family.n_samples,
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
        evidence=EvidenceSettings(library=False),
    )


def automatic_epochs(n_pairs: int, batch_size: int) -> int:
    """Return passes for some 2,000 steps, but at least 15 and at most 100.

    Validation retrieval levels off at about 2,000 steps of 256 on libraries of some ten thousand
    spectra; a small library needs more passes to get there, a large one is seen 15 times.
    """
    return min(max(math.ceil(2000 / math.ceil(n_pairs / batch_size)), 15), 100)


def flat_settings(config: TrainConfig) -> dict[str, Any]:
    """Return the settings under flat ``group.name`` keys, as JSON values."""
    return flatten(config.to_json())
