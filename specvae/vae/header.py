"""The JSON header of a checkpoint, read without torch.

A checkpoint is a safetensors file: 8 bytes, the little-endian length of a JSON table, then that
table, then the tensors. The table's ``__metadata__`` maps ``specvae`` to our own header as text.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, cast

from specvae import settings
from specvae.errors import CheckpointError, ConfigError
from specvae.sources import no_such_file

FORMAT_VERSION = 2
METADATA_KEY = "specvae"
COMPANION = "companion."
"""Prefix of the names of tensors in a checkpoint that are not weights of its model."""

_DIGEST_KEY = "header_sha256"


@dataclass(frozen=True)
class Header:
    """The header of a checkpoint, with all that holds for any model.

    Programs with further entries extend it: see ``AnnotatorHeader``.

    Attributes
    ----------
    model
        The model's configuration as JSON values (``ModelConfig.to_json()``). The writer of a
        checkpoint sets it, and the digests and the version below.
    objective, optim
        Settings of its training, likewise; None if unknown.
    seed
        Of the training.
    program
        Name and version of the program that wrote it.
    weights_sha256
        Digest of the weights (``specvae.vae.checkpoint.weights_sha256``).
    companions_sha256
        Digest of the tensors beside the weights; None: there are none.
    format_version
        Of the file.
    others
        Keys that are not known here, kept as they are.
    """

    model: Mapping[str, Any] = field(default_factory=dict)
    objective: Mapping[str, Any] | None = None
    optim: Mapping[str, Any] | None = None
    seed: int | None = None
    program: str | None = None
    weights_sha256: str = ""
    companions_sha256: str | None = None
    format_version: int = FORMAT_VERSION
    others: Mapping[str, Any] = settings.unknown_keys()

    def to_json(self) -> dict[str, Any]:
        """Return the header as JSON values; what is None is left out."""
        return cast(dict[str, Any], settings.to_json(self))

    @classmethod
    def from_json(cls, data: object) -> Self:
        """Build from JSON values of the present format version.

        Raises
        ------
        ConfigError
            If a key is missing or a value has the wrong type.
        """
        return settings.from_json(cls, data)


def _tables(value: object) -> list[dict[str, Any]]:
    """Return the tables in a list, whatever else there is."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _drop_network_kinds(header: dict[str, Any]) -> dict[str, Any]:
    """Migrate version 1, which named a kind for each network, although there was only one kind."""
    for model in _tables([header.get("model")]):
        for modality in _tables(model.get("modalities")):
            for network in _tables([modality.get("encoder"), modality.get("decoder")]):
                network.pop("kind", None)
    return header


# Version n to the function that turns a header of version n into one of version n + 1.
MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {1: _drop_network_kinds}

_MAX_TABLE_BYTES = 100_000_000  # the limit of the safetensors format


def migrate(header: dict[str, Any], path: Path) -> dict[str, Any]:
    """Return `header` brought to the present format version.

    Raises
    ------
    CheckpointError
        If its version is missing, or newer than this program knows, or too old.
    """
    version = header.get("format_version")
    if type(version) is not int or version < 1:
        raise CheckpointError(f"{path}: format_version is {version!r}, wanted a positive number")
    if version > FORMAT_VERSION:
        raise CheckpointError(
            f"{path}: written by a newer specvae (format {version}); this one reads up to format "
            f"{FORMAT_VERSION}"
        )
    while version < FORMAT_VERSION:
        header = MIGRATIONS[version](header)
        version += 1
        header["format_version"] = version
    return header


def signed_text(header: Mapping[str, Any]) -> str:
    """Return a header as JSON, with a key that holds the SHA-256 of all others."""
    return json.dumps({**header, _DIGEST_KEY: _sha256(header)}, allow_nan=False)


def _sha256(header: Mapping[str, Any]) -> str:
    # Parsing this text and writing the result gives the same text again.
    return hashlib.sha256(json.dumps(header).encode()).hexdigest()


def read_table(path: Path) -> tuple[dict[str, Any], int]:
    """Return the JSON table of a safetensors file and the offset at which the tensors begin.

    Raises
    ------
    CheckpointError
        If the file cannot be read, is no safetensors file, or is shorter than its table says.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as stream:
            start = stream.read(8)
            if len(start) < 8:
                raise CheckpointError(
                    f"{path}: truncated or no checkpoint: {size} bytes, wanted at least 8"
                )
            (length,) = struct.unpack("<Q", start)
            # The table of a safetensors file begins with a brace; text read as a length is huge.
            first = stream.read(1)
            if start.startswith(b"PK\x03\x04"):
                raise CheckpointError(
                    f"{path}: not a specvae checkpoint, but an archive; a packed model is unpacked "
                    "first, as 'specvae download model' does"
                )
            if length > _MAX_TABLE_BYTES or (first and first != b"{"):
                raise CheckpointError(f"{path}: not a specvae checkpoint (no safetensors file)")
            if size < 8 + length:
                raise CheckpointError(
                    f"{path}: truncated: {size} bytes, wanted {8 + length} for the header alone"
                )
            text = first + stream.read(length - 1) if length else b""
    except FileNotFoundError:
        raise CheckpointError(f"{path}: {no_such_file(path)}") from None
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror or error}") from None
    try:
        table = json.loads(text)
        ends = [entry["data_offsets"][1] for key, entry in table.items() if key != "__metadata__"]
        wanted = 8 + length + int(max(ends, default=0))
    except (
        ValueError, AttributeError, KeyError, IndexError, TypeError, OverflowError, RecursionError,
    ):  # fmt: skip
        message = f"{path}: not a specvae checkpoint (unreadable safetensors header)"
        raise CheckpointError(message) from None
    if size < wanted:
        raise CheckpointError(f"{path}: truncated: {size} bytes, wanted {wanted}")
    return table, 8 + length


def read_header(path: Path) -> Header:
    """Return the header of a checkpoint, migrated to the present format version.

    Parameters
    ----------
    path
        A file that ``specvae.vae.checkpoint.save_checkpoint`` wrote.

    Raises
    ------
    CheckpointError
        If the file is missing, truncated, foreign, or of a newer format, or its header has a part
        of the wrong type.
    """
    path = Path(path)
    table, _ = read_table(path)
    metadata = table.get("__metadata__")
    text = metadata.get(METADATA_KEY) if isinstance(metadata, dict) else None
    if not isinstance(metadata, dict) or not isinstance(text, str):
        raise CheckpointError(
            f"{path}: a safetensors file of another program: metadata key '{METADATA_KEY}' is "
            "missing"
        )
    try:
        header = json.loads(text)
    except (ValueError, RecursionError):
        header = None
    if not isinstance(header, dict):
        raise CheckpointError(f"{path}: metadata key '{METADATA_KEY}' is no JSON table")
    # Files of earlier versions have no digest of the header.
    recorded = header.pop(_DIGEST_KEY, None)
    if recorded is not None and recorded != _sha256(header):
        raise CheckpointError(f"{path}: damaged: the header differs from its recorded SHA-256")
    try:
        return Header.from_json(migrate(header, path))
    except ConfigError as error:
        raise CheckpointError(f"{path}: header: {error}") from None
