"""Folds of compounds: which ones train, choose and test a model."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from specvae.files import atomic_text


def fold_of(first_block: str, validation: float, test: float, seed: int | str) -> str:
    """Return the fold of a compound: ``train``, ``val`` or ``test``.

    The fold depends on the first block and the seed alone (a SHA-256 digest read as a number from 0
    to 1), so a compound stays in its fold when the library grows or is filtered otherwise.
    Independent splits need seeds of different spelling.
    """
    digest = hashlib.sha256(f"{seed}:{first_block}".encode()).digest()
    position = int.from_bytes(digest[:8], "big") / 2**64
    if position < validation:
        return "val"
    return "test" if position < validation + test else "train"


SPLIT_COLUMNS = ("first_block", "fold")
"""Columns of ``split.csv``."""


def write_split(path: Path, folds: Mapping[str, str]) -> None:
    """Write ``first_block,fold`` rows in alphabetical order."""
    with atomic_text(path) as stream:
        stream.write(f"{','.join(SPLIT_COLUMNS)}\n")
        stream.writelines(f"{block},{fold}\n" for block, fold in sorted(folds.items()))
