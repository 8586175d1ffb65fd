"""Whether compiled code is kept, asked without importing numba."""

from __future__ import annotations

import os
from pathlib import Path


def places_of(function: str) -> list[Path]:
    """Return the folders in which numba may keep a function, each in a folder of its own.

    It is named by its module's path in this package, without ``.py``, and its own name:
    ``molecules/graph._classify``.
    """
    if folder := os.environ.get("NUMBA_CACHE_DIR"):
        return [Path(folder)]
    caches = ("~/.cache/numba", "~/Library/Caches/numba", "~/AppData/Local/numba/Cache")
    module = Path(__file__).parents[1] / function
    return [module.parent, *(Path(place).expanduser() for place in caches)]


def is_kept(function: str) -> bool:
    """Return whether numba has kept a function.

    What it has may be of other sources or another processor: then it is compiled where it is
    called.
    """
    name = Path(function).name
    return any(any(place.glob(f"*/{name}-*.nbi")) for place in places_of(function))
