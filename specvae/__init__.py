"""Annotate tandem mass spectra with molecular structures, offline, from your own library.

>>> import specvae
>>> model = specvae.load("my-model")  # doctest: +SKIP
>>> table = model.annotate("query.mgf", "cands.csv", ppm=10)  # doctest: +SKIP

The names in ``__all__`` are imported when they are first asked for: ``import specvae`` loads
neither torch nor rdkit.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from specvae.face import (
        Model,
        annotate,
        from_matchms,
        load,
        read_spectra,
        to_matchms,
        train,
    )

__version__ = "0.1.0"

__all__ = [
    "Model",
    "__version__",
    "annotate",
    "from_matchms",
    "load",
    "read_spectra",
    "to_matchms",
    "train",
]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'specvae' has no attribute {name!r}")
    value: object = getattr(import_module("specvae.face"), name)
    globals()[name] = value  # asked for once
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
