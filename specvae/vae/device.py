"""Where a model computes."""

from __future__ import annotations

import torch

from specvae.errors import ConfigError


def pick_device(name: str) -> torch.device:
    """Return the device that ``auto``, ``cpu`` or ``cuda`` stands for.

    Raises
    ------
    ConfigError
        If a GPU is asked for and there is none.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("--device cuda: this machine, or this build of torch, has no CUDA GPU")
    return torch.device(name)
