"""Models as safetensors files with a JSON header: no pickle, written whole or not at all."""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from specvae.errors import CheckpointError, ConfigError
from specvae.files import atomic_path, folder_beside
from specvae.vae.config import ModelConfig
from specvae.vae.header import (
    COMPANION,
    FORMAT_VERSION,
    METADATA_KEY,
    Header,
    read_header,
    signed_text,
)
from specvae.vae.model import MultimodalVAE


def weights_sha256(model: torch.nn.Module) -> str:
    """Return the SHA-256 of all weights and buffers: names, shapes, dtypes and values."""
    return tensors_sha256(model.state_dict())


def tensors_sha256(tensors: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of tensors: names, shapes, dtypes and values."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor_bytes(tensor))
    return digest.hexdigest()


def tensor_bytes(tensor: Tensor) -> bytes | memoryview:
    """Return the values of a tensor as bytes, in row-major order."""
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().data


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write a safetensors file that appears whole or not at all.

    Tensors that share memory, which the format refuses, are written once each.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    owned: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in tensors.items():
        value = tensor.detach().cpu().contiguous()
        storage = value.untyped_storage()
        whole = storage.nbytes() == value.numel() * value.element_size()
        owned[name] = value if whole and storage.data_ptr() not in seen else value.clone()
        seen.add(storage.data_ptr())
    with atomic_path(path) as temporary, folder_beside(path) as folder:
        # safetensors makes files for their owner only; a model is read by whoever may read its
        # folder, so it gets the mode that this process gives to new files.
        temporary.touch()
        mode = temporary.stat().st_mode
        written = folder / "tensors"
        try:
            save_file(owned, written, dict(metadata))
        except SafetensorError as error:  # a full disk, for one
            raise OSError(errno.EIO, str(error).splitlines()[0], str(path)) from error
        written.chmod(mode)
        written.replace(temporary)


def save_checkpoint(
    path: Path,
    model: MultimodalVAE,
    header: Header | None = None,
    companions: Mapping[str, Tensor] | None = None,
) -> None:
    """Write a model and a header.

    Parameters
    ----------
    path
        The file to write, ``model.safetensors`` by custom.
    model
        Its weights and configuration are stored.
    header
        Header of the model. Its configuration, format and digests are set here; default: an
        empty header.
    companions
        Further tensors that are used with the model but are not its weights; see
        `load_companions`.
    """
    others = {COMPANION + name: tensor for name, tensor in (companions or {}).items()}
    complete = replace(
        header or Header(),
        format_version=FORMAT_VERSION,
        model=model.config.to_json(),
        weights_sha256=weights_sha256(model),
        companions_sha256=tensors_sha256(others) if others else None,
    )
    text = signed_text(complete.to_json())
    write_tensors(Path(path), {**model.state_dict(), **others}, {METADATA_KEY: text})


def load_checkpoint(path: Path, device: torch.device | str = "cpu") -> tuple[MultimodalVAE, Header]:
    """Return the model of a checkpoint, in evaluation mode, and its header.

    Raises
    ------
    CheckpointError
        If the file is missing, truncated, foreign, damaged or newer, or its weights do not fit
        its own configuration.
    """
    path = Path(path)
    header = read_header(path)
    try:
        config = ModelConfig.from_json(header.model)
    except ConfigError as error:
        raise CheckpointError(f"{path}: model configuration: {error}") from None
    tensors = {
        name: tensor
        for name, tensor in _read_tensors(path).items()
        if not name.startswith(COMPANION)
    }
    try:
        with torch.device("meta"):
            model = MultimodalVAE(config)
    except (TypeError, ValueError, RuntimeError) as error:
        # Sizes beyond what torch can count; its message goes on with where in its code.
        reason = " ".join(str(error).partition("\n")[0].split())[:200]
        raise CheckpointError(f"{path}: model configuration: {reason}") from None
    wanted = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    for name in sorted(wanted.keys() | found.keys()):
        if wanted.get(name) != found.get(name):
            raise CheckpointError(
                f"{path}: tensor {name} has shape {found.get(name, 'none')}, the model "
                f"configuration wants {wanted.get(name, 'none')}"
            )
    # Copies are at addresses that suit vector instructions. In the file's own pages a tensor may
    # begin anywhere, and the last digits of a product would depend on where.
    aligned = {name: tensor.clone() for name, tensor in tensors.items()}
    model.load_state_dict(aligned, assign=True)
    model.requires_grad_(True)
    if weights_sha256(model) != header.weights_sha256:
        raise CheckpointError(f"{path}: damaged: the weights differ from their recorded SHA-256")
    return model.to(device).eval(), header


def load_companions(path: Path) -> dict[str, Tensor]:
    """Return the tensors that were saved with a model beside its weights, by name; maybe none.

    Raises
    ------
    CheckpointError
        If the file cannot be read, or its tensors are not those that the header names.
    """
    path = Path(path)
    header = read_header(path)
    tensors = {
        name: tensor for name, tensor in _read_tensors(path).items() if name.startswith(COMPANION)
    }
    found = tensors_sha256(tensors) if tensors else None
    if found != header.companions_sha256:
        raise CheckpointError(
            f"{path}: damaged: the tensors beside the weights differ from their recorded SHA-256"
        )
    return {name.removeprefix(COMPANION): tensor for name, tensor in tensors.items()}


def _read_tensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise CheckpointError(f"{path}: tensors cannot be read: {reason}") from None
