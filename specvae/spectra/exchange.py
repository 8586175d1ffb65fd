"""Conversion of spectra from and to matchms."""

from __future__ import annotations

from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np

from specvae.arguments import checked
from specvae.errors import InputError
from specvae.limits import limits
from specvae.report import Skip
from specvae.spectra.build import identify, make_spectrum
from specvae.spectra.fields import collect
from specvae.spectra.mgf import MGF_STYLE
from specvae.spectra.spectrum import Spectrum
from specvae.spectra.values import RejectedRecordError

if TYPE_CHECKING:
    import matchms

# Our field -> the key that matchms gives it.
_KEYS = {
    "query_id": "spectrum_id",
    "name": "compound_name",
    "precursor_mz": "precursor_mz",
    "adduct": "adduct",
    "charge": "charge",
    "ion_mode": "ionmode",
    "ms_level": "ms_level",
    "collision_energy_text": "collision_energy",
    "retention_time": "retention_time",
    "instrument": "instrument",
    "instrument_type": "instrument_type",
    "smiles": "smiles",
    "inchi": "inchi",
    "inchikey": "inchikey",
    "formula": "formula",
}
# Values of matchms that stand for an unknown charge, ion mode or text.
_UNKNOWN = ("", "n/a", "0")


@checked("spectrum")
def from_matchms(spectrum: matchms.Spectrum, ordinal: int = 1) -> Spectrum:
    """Return a spectrum of matchms as ours; its metadata are read as those of an MGF record.

    Parameters
    ----------
    spectrum
        With peaks and metadata.
    ordinal
        Names the spectrum where it has no identifier: ``matchms#1``.

    Raises
    ------
    InputError
        If the object is no spectrum of matchms, has no peaks, or an impossible precursor or charge.
    """
    found = read_matchms(spectrum, ordinal)
    if isinstance(found, Skip):
        raise refusal_of(found)
    return found


def refusal_of(skip: Skip) -> InputError:
    """Return the error on a spectrum of matchms that cannot be used."""
    detail = f": {skip.detail}" if skip.detail else ""
    return InputError(f"spectrum {skip.line} ({skip.record}): {skip.reason}{detail}")


def read_matchms(spectrum: matchms.Spectrum, ordinal: int) -> Spectrum | Skip:
    """Return a spectrum of matchms as ours, or why it cannot be used; see `from_matchms`.

    Raises
    ------
    InputError
        If the object is no spectrum of matchms.
    """
    metadata = getattr(spectrum, "metadata", None)
    if not isinstance(metadata, dict) or not hasattr(spectrum, "peaks"):
        raise InputError(
            f"spectrum {ordinal}: found {type(spectrum).__name__}, wanted a Spectrum of specvae or "
            "matchms"
        )
    texts = ((key, _as_text(key, value)) for key, value in metadata.items())
    record = collect((key, text) for key, text in texts if text not in _UNKNOWN)
    query_id = identify(record, MGF_STYLE, "matchms", ordinal)
    mz = np.asarray(spectrum.peaks.mz, np.float64)
    intensity = np.asarray(spectrum.peaks.intensities, np.float64)
    try:
        return make_spectrum(
            record, mz, intensity, MGF_STYLE, query_id, ("matchms", ordinal, 0), limits()
        )
    except RejectedRecordError as error:
        return Skip("matchms", ordinal, query_id, error.reason, error.detail)


def _as_text(key: str, value: object) -> str:
    """Return a value of the metadata as a file of spectra writes it, "" if no file can hold it.

    Values may also be numbers of numpy and, from readers of MGF, ``(195.0877, 1200.0)`` or ``[1]``.
    """
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, list | tuple):
        mark = " " if key.lower() == "pepmass" else ", "  # m/z and intensity
        return mark.join(str(one) for one in value if isinstance(one, str | Real))
    return str(value) if isinstance(value, str | Real) else ""


def to_matchms(spectrum: Spectrum) -> matchms.Spectrum:
    """Return a spectrum for matchms, with its metadata under the keys that matchms uses.

    Raises
    ------
    InputError
        If it is none of ours, or matchms is not installed.
    """
    if not isinstance(spectrum, Spectrum):
        raise InputError(f"spectrum: found {type(spectrum).__name__}, wanted a Spectrum of specvae")
    try:
        import matchms
    except ImportError:
        raise InputError("matchms is not installed: pip install matchms") from None
    named = {key: getattr(spectrum, name) for name, key in _KEYS.items()}
    metadata: dict[str, Any] = {key: value for key, value in named.items() if value is not None}
    others = {key: value for key, value in spectrum.metadata.items() if key.lower() not in metadata}
    return matchms.Spectrum(
        mz=np.array(spectrum.mz), intensities=np.array(spectrum.intensity),
        metadata={**others, **metadata},
    )  # fmt: skip
