"""Fingerprints kept on disk, so that none is computed twice.

One folder per layout holds HDF5 parts that are written once, under a temporary name, and never
changed: a process that is killed leaves no half-written part, and several processes may store at
the same time. Many small parts are merged into one. A part that cannot be read is removed, and its
fingerprints are computed again.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import uuid
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from specvae.files import atomic_path

_KEY_BYTES = 16
_MOST_PARTS = 16


def default_cache_directory() -> Path:
    """Return ``$SPECVAE_CACHE``, else ``$XDG_CACHE_HOME/specvae``, else ``~/.cache/specvae``."""
    own = os.environ.get("SPECVAE_CACHE")
    if own:
        return Path(own)
    if named := os.environ.get("XDG_CACHE_HOME"):
        return Path(named) / "specvae"
    try:
        return Path.home() / ".cache" / "specvae"
    except RuntimeError:  # a user without a home, as in a container
        return Path(tempfile.gettempdir()) / "specvae-cache"


def _key(smiles: str) -> bytes:
    return hashlib.blake2b(smiles.encode(), digest_size=_KEY_BYTES).digest()


class FingerprintCache:
    """Packed fingerprints by layout and SMILES.

    Parameters
    ----------
    directory
        Where the cache lies; None for `default_cache_directory`. It is made when first needed. A
        folder that cannot be written to is no error: nothing is kept then.
    """

    def __init__(self, directory: Path | None = None) -> None:
        self.directory = directory or default_cache_directory()
        self._loaded: dict[str, dict[bytes, NDArray[np.uint8]]] = {}
        self._parts: dict[str, set[Path]] = {}

    def lookup(
        self, layout_key: str, smiles: Sequence[str], n_bytes: int
    ) -> dict[str, NDArray[np.uint8]]:
        """Return the fingerprints that are there, by SMILES.

        Parameters
        ----------
        layout_key
            Names the layout, its version and its probe digest.
        smiles
            The molecules wanted, spelled as they were stored.
        n_bytes
            Length of a packed fingerprint.
        """
        known = self._load(layout_key, n_bytes)
        found = ((text, known.get(_key(text))) for text in smiles)
        return {text: bits for text, bits in found if bits is not None}

    def store(self, layout_key: str, smiles: Sequence[str], packed: NDArray[np.uint8]) -> None:
        """Keep fingerprints; `packed` has one row per molecule."""
        if not smiles:
            return
        keys = np.frombuffer(b"".join(map(_key, smiles)), np.uint8).reshape(-1, _KEY_BYTES)
        known = self._loaded.setdefault(layout_key, {})
        known.update(zip((key.tobytes() for key in keys), packed, strict=True))
        folder = self._folder(layout_key)
        with suppress(OSError):
            path = _write_part(folder, keys, packed)
            self._parts.setdefault(layout_key, set()).add(path)
            parts = list(folder.glob("part-*.h5"))
            if len(parts) > _MOST_PARTS:
                self._merge(layout_key, parts, packed.shape[1])

    def _folder(self, layout_key: str) -> Path:
        return self.directory / "fingerprints" / layout_key

    def _load(self, layout_key: str, n_bytes: int) -> dict[bytes, NDArray[np.uint8]]:
        """Read the parts that appeared since the last call."""
        known = self._loaded.setdefault(layout_key, {})
        seen = self._parts.setdefault(layout_key, set())
        for path in self._folder(layout_key).glob("part-*.h5"):
            if path not in seen:
                known.update(_read_part(path, n_bytes))
                seen.add(path)
        return known

    def _merge(self, layout_key: str, parts: Sequence[Path], n_bytes: int) -> None:
        merged: dict[bytes, NDArray[np.uint8]] = {}
        for path in parts:
            merged.update(_read_part(path, n_bytes))
        if not merged:
            return
        keys = np.frombuffer(b"".join(merged), np.uint8).reshape(-1, _KEY_BYTES)
        self._parts[layout_key].add(
            _write_part(self._folder(layout_key), keys, np.stack(list(merged.values())))
        )
        # Another process that merges the same parts only leaves some rows twice.
        for path in parts:
            path.unlink(missing_ok=True)


def _write_part(folder: Path, keys: NDArray[np.uint8], packed: NDArray[np.uint8]) -> Path:
    path = folder / f"part-{uuid.uuid4().hex}.h5"
    with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
        file["key"] = keys
        file.create_dataset("packed", data=packed, compression="gzip", compression_opts=1)
        # A bit flipped on disk would otherwise be served as a fingerprint.
        file.attrs["blake2b"] = _digest(keys, packed)
    return path


def _digest(keys: NDArray[np.uint8], packed: NDArray[np.uint8]) -> str:
    digest = hashlib.blake2b(keys.tobytes(), digest_size=16)
    digest.update(packed.tobytes())
    return digest.hexdigest()


def _read_part(path: Path, n_bytes: int) -> dict[bytes, NDArray[np.uint8]]:
    """Read one part; remove it if it is not sound."""
    try:
        with h5py.File(path, "r") as file:
            keys = file["key"][:]
            packed = file["packed"][:]
            sound = (
                keys.shape[1:] == (_KEY_BYTES,)
                and packed.shape == (len(keys), n_bytes)
                and file.attrs["blake2b"] == _digest(keys, packed)
            )
    except FileNotFoundError:  # merged away by another process
        return {}
    except (OSError, KeyError, AttributeError, TypeError, ValueError):
        sound = False
    if not sound:
        with suppress(OSError):
            path.unlink(missing_ok=True)
        return {}
    return dict(zip((key.tobytes() for key in keys), packed, strict=True))
