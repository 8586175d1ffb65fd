"""Multimodal variational autoencoders: models, objectives, training, checkpoints.

The names in ``__all__`` are the public interface. A name's module, and torch with it, is imported
when the name is first used: ``import specvae.vae`` loads neither.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from specvae.vae.checkpoint import load_checkpoint, load_companions, save_checkpoint
    from specvae.vae.config import Modality, ModelConfig, ObjectiveConfig, OptimConfig
    from specvae.vae.data import BatchSource, TensorSource, TrainingData
    from specvae.vae.device import pick_device
    from specvae.vae.distributions import Likelihood, MixtureOfNormals, Normal, Posterior
    from specvae.vae.estimate import conditional_log_likelihood, log_likelihood
    from specvae.vae.evaluation import LossParts
    from specvae.vae.header import Header, read_header
    from specvae.vae.kinds import MODEL_KINDS, Kind
    from specvae.vae.model import MultimodalVAE
    from specvae.vae.networks import ConvLayer, NetworkConfig, SparseRows
    from specvae.vae.objective import loss
    from specvae.vae.state import EpochRecord, History, StateFile
    from specvae.vae.training import fit

_NAMES = {
    "checkpoint": ("load_checkpoint", "load_companions", "save_checkpoint"),
    "config": ("Modality", "ModelConfig", "ObjectiveConfig", "OptimConfig"),
    "data": ("BatchSource", "TensorSource", "TrainingData"),
    "device": ("pick_device",),
    "distributions": ("Likelihood", "MixtureOfNormals", "Normal", "Posterior"),
    "estimate": ("conditional_log_likelihood", "log_likelihood"),
    "evaluation": ("LossParts",),
    "header": ("Header", "read_header"),
    "kinds": ("MODEL_KINDS", "Kind"),
    "model": ("MultimodalVAE",),
    "networks": ("ConvLayer", "NetworkConfig", "SparseRows"),
    "objective": ("loss",),
    "state": ("EpochRecord", "History", "StateFile"),
    "training": ("fit",),
}
_MODULE_OF = {name: module for module, names in _NAMES.items() for name in names}

__all__ = [
    "MODEL_KINDS",
    "BatchSource",
    "ConvLayer",
    "EpochRecord",
    "Header",
    "History",
    "Kind",
    "Likelihood",
    "LossParts",
    "MixtureOfNormals",
    "Modality",
    "ModelConfig",
    "MultimodalVAE",
    "NetworkConfig",
    "Normal",
    "ObjectiveConfig",
    "OptimConfig",
    "Posterior",
    "SparseRows",
    "StateFile",
    "TensorSource",
    "TrainingData",
    "conditional_log_likelihood",
    "fit",
    "load_checkpoint",
    "load_companions",
    "log_likelihood",
    "loss",
    "pick_device",
    "read_header",
    "save_checkpoint",
]


def __getattr__(name: str) -> object:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'specvae.vae' has no attribute {name!r}")
    value: object = getattr(import_module(f"specvae.vae.{_MODULE_OF[name]}"), name)
    globals()[name] = value  # asked for once
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
