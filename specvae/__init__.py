"""Annotate tandem mass spectra with molecular structures, offline, from your own library.

>>> import specvae
>>> model = specvae.load("my-model")  # doctest: +SKIP
>>> table = model.annotate("query.mgf", "cands.csv", ppm=10)  # doctest: +SKIP

The names in ``__all__``, and the modules that are documented beside them (``errors``,
``similarity``, ``vae``), are imported when they are first asked for: ``import specvae`` loads
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
    from specvae.spectra.spectrum import Spectrum

__version__ = "0.1.0"

__all__ = [
    "Model",
    "Spectrum",
    "__version__",
    "annotate",
    "from_matchms",
    "load",
    "read_spectra",
    "to_matchms",
    "train",
]

_MODULES = ("errors", "similarity", "vae")


def __getattr__(name: str) -> object:
    if name in _MODULES:
        return import_module(f"specvae.{name}")
    if name not in __all__:
        raise AttributeError(f"module 'specvae' has no attribute {name!r}")
    where = "specvae.spectra.spectrum" if name == "Spectrum" else "specvae.face"
    import_module("specvae.files").require_current_folder()  # torch would end the process
    value: object = getattr(import_module(where), name)
    globals()[name] = value  # asked for once
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
