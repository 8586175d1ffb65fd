"""A model before its training: its columns, its networks, its data, what picks the best epoch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from specvae.annotation.library.library import Library
from specvae.annotation.training.inputs import TrainInputs
from specvae.annotation.training.networks import bin_layout, model_config
from specvae.annotation.training.settings import TrainConfig, automatic_epochs
from specvae.annotation.training.streams import (
    choose_pairs,
    frequent_columns,
    training_data,
    training_means,
)
from specvae.annotation.training.validation import N_DECOYS, RetrievalValidation
from specvae.counting import counted
from specvae.molecules.fingerprint import FingerprintLayout
from specvae.progress import Progress
from specvae.spectra.binning import BinLayout
from specvae.vae.data import TrainingData
from specvae.vae.model import MultimodalVAE


@dataclass(frozen=True, eq=False)
class PreparedModel:
    """A model before its training.

    Attributes
    ----------
    config
        Settings, with the number of epochs.
    model
        With its first weights.
    bins
        The columns that it reads.
    pairs
        int64, ascending: rows of the training fold that kept their structures.
    validation
        What picks the best epoch, if anything.
    """

    config: TrainConfig
    model: MultimodalVAE
    bins: BinLayout
    pairs: NDArray[np.int64]
    validation: RetrievalValidation | None


def prepare(
    config: TrainConfig,
    inputs: TrainInputs,
    layout: FingerprintLayout,
    device: torch.device,
    progress: Progress,
) -> tuple[PreparedModel, TrainingData]:
    """Return an untrained model on a device, with its training data.

    Its first weights are drawn by the global generator of torch.

    Parameters
    ----------
    config
        Settings; 0 epochs are computed from the data.
    inputs
        What was read.
    layout
        Of the fingerprints.
    device, progress
        Where the model is, and where it is described.
    """
    packed, rows = inputs.packed, inputs.rows
    chosen = choose_pairs(rows["train"], config.supervision, config.unpaired_pool, config.seed)
    bins = frequent_columns(
        bin_layout(config), inputs.library, chosen.seen, config.inputs.min_column_count
    )
    library = replace(inputs.library, spectra=bins.narrow(inputs.library.spectra))
    validation = _validation(config, library, rows, packed, bins, progress)
    model = MultimodalVAE(model_config(config, bins, layout)).to(device)
    if config.model.start_at_means:
        model.start_at(training_means(library, chosen.seen, packed, bins, layout))
    progress.log(
        f"{config.model.kind}, preset {config.preset}: {model.n_parameters:,} parameters "
        f"on {device}"
    )
    data = training_data(
        library,
        chosen.paired,
        packed,
        layout,
        spectra=chosen.pool,
        structures=chosen.pool,
        unpaired_spectra=bins.narrow(inputs.unpaired_spectra),
        unpaired_packed=inputs.unpaired_packed,
        compound_balance=config.optim.compound_balance,
    )
    return PreparedModel(_with_epochs(config, data), model, bins, chosen.paired, validation), data


def _validation(
    config: TrainConfig,
    library: Library,
    rows: Mapping[str, NDArray[np.int64]],
    packed: NDArray[np.uint8],
    bins: BinLayout,
    progress: Progress,
) -> RetrievalValidation | None:
    """Return what picks the best epoch, None without a validation fold."""
    compounds = {fold: len(np.unique(library.compound[rows[fold]])) for fold in rows}
    progress.log(
        f"training on {counted(len(rows['train']), 'spectra')} of "
        f"{counted(compounds['train'], 'compounds')}, "
        f"validating on {len(rows['val']):,} of {compounds['val']:,}; MRR is the mean "
        f"reciprocal rank of the right structure among {N_DECOYS + 1} of like mass"
    )
    if not len(rows["val"]):
        progress.log("no compound fell into the validation fold: the last epoch is kept")
        return None
    return RetrievalValidation(library, rows["val"], packed, bins, config.seed)


def _with_epochs(config: TrainConfig, data: TrainingData) -> TrainConfig:
    """Return settings with a number of epochs: as configured, or computed from the data."""
    if config.optim.epochs:
        return config
    # An epoch is a pass over the largest stream, which may be a pool of molecules.
    largest = max(len(source) for source in data.streams().values())
    n_epochs = automatic_epochs(largest, config.optim.batch_size)
    return replace(config, optim=replace(config.optim, epochs=n_epochs))
