"""Spectra of matchms, to and from ours."""

from __future__ import annotations

from dataclasses import fields
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from specvae.errors import ConfigError, InputError
from specvae.spectra.exchange import from_matchms, to_matchms
from specvae.spectra.spectrum import Spectrum

CAFFEINE = Spectrum(
    mz=np.array([110.0713, 138.0662]),
    intensity=np.array([20.0, 100.0]),
    query_id="q1",
    name="caffeine",
    precursor_mz=195.0877,
    adduct="[M+H]+",
    charge=1,
    ion_mode="positive",
    ms_level=2,
    collision_energy=20.0,
    collision_energy_text="20 eV",
    retention_time=61.5,
    instrument="TTOF",
    instrument_type="LC-ESI-QTOF",
    smiles="Cn1cnc2c1c(=O)n(C)c(=O)n2C",
    inchikey="RYYVLZVUVIJVGH-UHFFFAOYSA-N",
    formula="C8H10N4O2",
    metadata={"LICENSE": "CC BY", "FEATURE_ID": "7"},
)


def likeness(**metadata: object) -> SimpleNamespace:
    """Return what a spectrum of matchms has: peaks and metadata."""
    peaks = SimpleNamespace(mz=np.array([50.0, 60.0]), intensities=np.array([0.5, 1.0]))
    return SimpleNamespace(peaks=peaks, metadata=dict(metadata))


def test_there_and_back_again() -> None:
    pytest.importorskip("matchms", reason="matchms is not installed")
    again = from_matchms(to_matchms(CAFFEINE))
    for field in fields(Spectrum):
        if field.name in ("mz", "intensity", "path", "line", "metadata", "query_id"):
            continue
        assert getattr(again, field.name) == getattr(CAFFEINE, field.name), field.name
    assert np.array_equal(again.mz, CAFFEINE.mz)
    assert np.allclose(again.relative_intensity, CAFFEINE.relative_intensity)
    assert again.licence == "CC BY"


def test_metadata_of_matchms_are_understood() -> None:
    found = from_matchms(
        likeness(precursor_mz=181.07, charge=0, ionmode="negative", retention_time=12.5, title="t")
    )
    assert (found.query_id, found.precursor_mz, found.retention_time) == ("t", 181.07, 12.5)
    assert (found.ion_mode, found.charge, found.adduct) == ("negative", None, None)
    assert from_matchms(likeness(ionmode="n/a"), 3).query_id == "matchms#3"


@pytest.mark.parametrize(
    ("metadata", "found"),
    [
        ({"precursor_mz": np.float32(181.07), "charge": np.int64(-1)}, (181.07, -1, None)),
        ({"precursor_mz": np.array(181.07), "ms_level": np.int64(1)}, (181.07, None, 1)),
        ({"pepmass": (181.07, 1200.0), "charge": [1]}, (181.07, 1, None)),  # as pyteomics reads
        ({"pepmass": (181.07, None), "charge": np.array([-1])}, (181.07, -1, None)),
        ({"pepmass": [181.07], "peak_comments": {50.0: "x"}}, (181.07, None, None)),
    ],
)
def test_numbers_of_numpy_and_lists_are_read(
    metadata: dict[str, object], found: tuple[float, int | None, int | None]
) -> None:
    """They were left out, so that a negative ion was taken for a positive one."""
    spectrum = from_matchms(likeness(**metadata))
    assert spectrum.precursor_mz == pytest.approx(found[0])
    assert (spectrum.charge, spectrum.ms_level) == found[1:]


@pytest.mark.parametrize("other", ["CCO", {"mz": [1.0]}, None])
def test_something_else_is_refused(other: Any) -> None:  # noqa: ANN401
    with pytest.raises(InputError, match=r"spectrum 2: found .*, wanted a Spectrum"):
        from_matchms(other, 2)


def test_a_spectrum_without_peaks_is_refused_by_name() -> None:
    empty = likeness(title="nothing")
    empty.peaks.mz = empty.peaks.intensities = np.empty(0)
    with pytest.raises(InputError, match="nothing"):
        from_matchms(empty)


def test_arguments_of_another_type_are_one_line() -> None:
    with pytest.raises(ConfigError, match="ordinal: found '2', wanted a whole number"):
        from_matchms(likeness(), "2")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="spectrum: found list, wanted a Spectrum of specvae"):
        to_matchms([CAFFEINE])  # type: ignore[arg-type]
