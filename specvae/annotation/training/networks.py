"""The networks, objective and optimiser that a run's settings ask for.

Four groups of settings have a counterpart below: ``model``, ``inputs``, ``objective`` and ``optim``
are what a user writes in TOML, `ModelConfig`, `BinLayout`, `ObjectiveConfig` and `OptimConfig` are
what the libraries take. They are two types each because they say different things:

- A user names two modalities, a spectrum and a fingerprint (``spectrum_weight``); a model has any
  number, under any names (``modality_weights``), with the sizes that the data give.
- The defaults of the settings are a preset tuned for annotation; those of the libraries are plain.
- Settings hold what no optimiser knows (``compound_balance``, 0 epochs for `automatic_epochs`), and
  the libraries what no user sets here (``patience``, the columns that training spectra fill).
- TOML has no null, so "none" is 0 there and None here. This module alone translates between them.

Their ranges are the same types, from `specvae.settings`.
"""

from __future__ import annotations

from specvae.annotation.library.tensors import ANNOTATION_PATH, FINGERPRINT, SPECTRUM
from specvae.annotation.training.settings import TrainConfig
from specvae.molecules.fingerprint import FingerprintLayout
from specvae.spectra.binning import BinLayout
from specvae.vae.config import Modality, ModelConfig, ObjectiveConfig, OptimConfig
from specvae.vae.kinds import MODEL_KINDS
from specvae.vae.networks import NetworkConfig


def bin_layout(config: TrainConfig) -> BinLayout:
    """Return the spectrum columns of a run, before the rarely filled ones are dropped."""
    inputs = config.inputs
    return BinLayout(
        fine_bin_width=inputs.fine_bin_width or None,
        neutral_losses=inputs.neutral_losses,
        soft_edge=inputs.soft_edge,
        precursor=inputs.precursor,
        collision_energy=inputs.collision_energy,
        adduct=inputs.adduct,
        instrument_type=inputs.instrument_type,
        min_relative_intensity=inputs.min_relative_intensity,
        max_peaks=inputs.max_peaks or None,
        drop_above_precursor=inputs.drop_above_precursor,
    )


def model_config(
    config: TrainConfig, bins: BinLayout, fingerprint: FingerprintLayout
) -> ModelConfig:
    """Return the model of a run: a Gaussian spectrum and a Bernoulli fingerprint modality."""
    settings = config.model
    dropout, norm = settings.dropout, settings.batch_norm
    fingerprint_norm = settings.fingerprint_batch_norm
    return ModelConfig(
        modalities=(
            Modality(
                SPECTRUM,
                n_features=bins.n_bins,
                n_context=bins.n_columns - bins.n_bins,
                likelihood="gaussian",
                encoder=NetworkConfig(
                    hidden=settings.spectrum_encoder,
                    batch_norm=norm,
                    dropout=dropout,
                    input_dropout=settings.input_dropout,
                    filled_columns=settings.filled_columns,
                ),
                decoder=NetworkConfig(hidden=settings.spectrum_decoder, batch_norm=norm),
                sparse=True,
            ),
            Modality(
                FINGERPRINT,
                n_features=fingerprint.n_bits,
                likelihood="bernoulli",
                encoder=NetworkConfig(
                    hidden=settings.fingerprint_encoder,
                    batch_norm=fingerprint_norm,
                    dropout=dropout,
                ),
                decoder=NetworkConfig(
                    hidden=settings.fingerprint_decoder, batch_norm=fingerprint_norm
                ),
            ),
        ),
        n_latent=settings.n_latent,
        posterior=MODEL_KINDS[settings.kind].posterior,
        prior_expert=settings.prior_expert,
        variance=settings.variance,
        share_body=settings.share_body,
        initial_logvar=settings.initial_logvar,
    )


def objective_config(config: TrainConfig) -> ObjectiveConfig:
    """Return the objective of a run."""
    weights = config.objective
    return ObjectiveConfig(
        loss=MODEL_KINDS[config.model.kind].loss,
        modality_weights={
            SPECTRUM: weights.spectrum_weight,
            FINGERPRINT: weights.fingerprint_weight,
        },
        beta=weights.beta,
        beta_warmup_epochs=weights.beta_warmup_epochs,
        path_weights={ANNOTATION_PATH: weights.path_weight} if weights.path_weight else {},
        n_samples=weights.n_samples,
    )


def optim_config(config: TrainConfig) -> OptimConfig:
    """Return the optimiser's settings of a run."""
    optim = config.optim
    return OptimConfig(
        epochs=optim.epochs,
        batch_size=optim.batch_size,
        learning_rate=optim.learning_rate,
        weight_decay=optim.weight_decay,
        clip_norm=optim.clip_norm or None,
        schedule=optim.schedule,
        warmup=optim.warmup,
        seed=config.seed,
        weight_averaging=optim.weight_averaging or None,
        amp=optim.amp,
    )
