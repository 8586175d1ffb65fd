from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from specvae.annotation.evidence.fragment_peaks import Peaks
from specvae.annotation.library.query import (
    ABOVE_PRECURSOR,
    COARSE_PEAKS,
    ELECTRON_IONISATION,
    FAINT_FRAGMENTS,
    HALF,
    NO_FRAGMENTS,
    UNSEEN_FRAGMENTS,
    Assumptions,
    Query,
)
from specvae.errors import ConfigError
from specvae.spectra.spectrum import Spectrum

UNNAMED = Spectrum(
    mz=np.array([42.0106, 111.0087]),
    intensity=np.array([10.0, 100.0]),
    query_id="q",
    precursor_mz=191.0197,
)


@pytest.mark.parametrize(
    ("stated", "assumed", "adduct", "ion_mode", "remarks"),
    [
        # What the record states counts whatever is assumed.
        ({"adduct": "[M+Na]+"}, ("[M+K]+", None), "[M+Na]+", "positive", ()),
        ({"adduct": "[M-H]-", "ion_mode": "negative"}, ("[M+H]+", None), "[M-H]-", "negative", ()),
        ({"adduct": "[M+Zz]+"}, ("[M+H]+", None), "[M+Zz]+", "positive", ()),
        ({}, (None, None), None, None, ()),
        # An adduct alone gives the ion mode too.
        ({}, ("M+Na", None), "[M+Na]+", "positive", ("adduct taken as [M+Na]+",)),
        ({}, (None, "negative"), "[M-H]-", "negative", ("adduct taken as [M-H]-",)),
        ({}, ("[M+Cl]-", "negative"), "[M+Cl]-", "negative", ("adduct taken as [M+Cl]-",)),
        ({"ion_mode": "negative"}, ("[M+H]+", None), "[M-H]-", "negative",
         ("adduct taken as [M-H]-",)),
        ({"ion_mode": "positive", "charge": 2}, ("[M+Na]+", None), "[M+2H]2+", "positive",
         ("adduct taken as [M+2H]2+",)),
        ({"ion_mode": "positive", "charge": 1}, ("[M+Na]+", None), "[M+Na]+", "positive",
         ("adduct taken as [M+Na]+",)),
        # A species whose sign is not in its name.
        ({"adduct": "M"}, (None, "negative"), "[M]-", "negative", ("ion mode taken as negative",)),
    ],
)  # fmt: skip
def test_what_is_stated_comes_before_what_is_assumed(
    stated: dict[str, object],
    assumed: tuple[str | None, str | None],
    adduct: str | None,
    ion_mode: str | None,
    remarks: tuple[str, ...],
) -> None:
    spectrum = replace(UNNAMED, **stated)  # type: ignore[arg-type]
    query = Query.assign_ion(spectrum, Assumptions.parse(*assumed))
    assert (query.adduct, query.ion_mode, query.remarks) == (adduct, ion_mode, remarks)
    # Whatever looks at the spectrum sees the same ion.
    assert query.spectrum.ion == query.ion
    assert query.spectrum.ion_mode == ion_mode


def test_notes_of_the_reader_come_first() -> None:
    noted = replace(UNNAMED, ion_mode="positive", notes=("first of several precursors",))
    assert Query.assign_ion(noted).remarks == (
        "first of several precursors",
        "adduct taken as [M+H]+",
    )


def test_neutral_mass_is_of_the_ion_that_is_assumed() -> None:
    assert Query.assign_ion(UNNAMED).neutral_mass is None
    citric_acid = Query.assign_ion(UNNAMED, Assumptions(ion_mode="negative"))
    assert citric_acid.neutral_mass == pytest.approx(192.0270, abs=1e-4)
    unmeasured = replace(UNNAMED, precursor_mz=None)
    assert Query.assign_ion(unmeasured, Assumptions(ion_mode="negative")).neutral_mass is None


def test_fragments_have_the_sign_of_the_ion_that_is_assumed() -> None:
    query = Query.assign_ion(UNNAMED, Assumptions(ion_mode="negative"))
    assert Peaks.of(query.spectrum).ion_mode == "negative"


def test_a_model_of_one_ion_mode_decides_where_nothing_else_does() -> None:
    nothing = Assumptions()
    assert nothing.or_only(["negative", "unknown"]).ion_mode == "negative"
    assert nothing.or_only(["negative", "positive"]).ion_mode is None
    assert nothing.or_only([]).ion_mode is None
    assert Assumptions.parse("[M+H]+").or_only(["negative"]).ion_mode == "positive"


def test_assumptions_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"'\[M\+Zz\]\+' is unknown"):
        Assumptions.parse("[M+Zz]+")
    with pytest.raises(ConfigError, match=r"\[M\+H\]\+ is of positive ion mode, but negative"):
        Assumptions.parse("[M+H]+", "negative")


@pytest.mark.parametrize(
    ("mz", "adduct", "is_said"),
    [
        ([191.0197], "[M-H]-", True),
        ([191.0197, 400.5], "[M-H]-", True),
        ([190.9, 400.5], "[M-H]-", True),
        ([190.0119, 191.0197], "[M-H]-", False),
        # A fragment of one charge lies above the precursor of two.
        ([200.1], "[M+2H]2+", False),
        ([400.5], "[M+2H]2+", True),
    ],
)
def test_a_spectrum_without_fragments_is_said(mz: list[float], adduct: str, is_said: bool) -> None:
    spectrum = replace(
        UNNAMED, mz=np.array(mz), intensity=np.ones(len(mz)), adduct=adduct, ion_mode=None
    )
    assert (NO_FRAGMENTS in Query.assign_ion(spectrum).remarks) == is_said


def test_without_a_precursor_nothing_is_said_of_fragments() -> None:
    assert Query.assign_ion(replace(UNNAMED, precursor_mz=None, adduct="[M-H]-")).remarks == ()


@pytest.mark.parametrize(
    ("fields", "is_said"),
    [
        ({"instrument_type": "GC-EI-TOF"}, True),
        ({"metadata": {"IONIZATION": "EI+"}}, True),
        ({"metadata": {"ionization": "Electron ionization"}}, True),
        ({"instrument_type": "LC-ESI-QTOF", "metadata": {"IONIZATION": "ESI"}}, False),
        ({"instrument_type": "GC-EI-QQ", "ms_level": 2}, False),  # a precursor was selected
        ({}, False),
    ],
)
def test_a_spectrum_of_electron_ionisation_says_so(
    fields: dict[str, object], is_said: bool
) -> None:
    query = Query.assign_ion(replace(UNNAMED, adduct="[M]+", **fields))  # type: ignore[arg-type]
    assert (ELECTRON_IONISATION in query.remarks) == is_said


@pytest.mark.parametrize(
    ("mz", "adduct", "remarks"),
    [
        ((42.0106, 111.0087), "[M-H]-", ()),
        ((42.0, 111.1), "[M-H]-", (COARSE_PEAKS,)),
        ((42.0, 111.15), "[M-H]-", ()),
        ((111.1,), "[M-H]-", ()),  # one peak may end in zeros by chance
        ((42.0106, 353.0878), "[M-H]-", (ABOVE_PRECURSOR,)),
        ((42.0106, 353.0878), "[M-2H]2-", ()),
        ((42.0106, 194.0231), "[M-H]-", ()),  # an isotope of the precursor
    ],
)
def test_peaks_that_cannot_be_of_the_precursor_or_are_coarse(
    mz: tuple[float, ...], adduct: str, remarks: tuple[str, ...]
) -> None:
    heights = np.array([10.0, 100.0])[-len(mz) :]
    spectrum = replace(UNNAMED, mz=np.array(mz), intensity=heights, adduct=adduct)
    assert Query.assign_ion(spectrum).remarks == remarks


@pytest.mark.parametrize(
    ("adduct", "precursor", "highest", "said"),
    [
        ("[M+H]+", 389.1680, 195.0877, "[2M+H]+"),  # caffeine's
        (None, 389.1680, 195.0877, "[2M+H]+"),
        ("[M+H]+", 411.1499, 217.0696, "[2M+Na]+"),
        ("[M-H]-", 301.0354, 150.0140, "[2M-H]-"),
        ("[M+H]+", 389.1680, 195.1000, None),
        ("[M+H]+", 389.1680, 389.1680, None),
        ("[2M+H]+", 389.1680, 195.0877, None),
        ("[M+Na]+", 389.1680, 195.0877, None),
        ("[M+H]+", 83.0604, 42.0338, None),  # an imidazole, which falls into halves
    ],
)
def test_ions_that_may_be_of_two_molecules_are_told(
    adduct: str | None, precursor: float, highest: float, said: str | None
) -> None:
    """They were ranked as the ion of a compound of twice the mass, as ``ok``."""
    mode = "negative" if adduct == "[M-H]-" else "positive"
    mz = np.unique([41.1, highest, precursor])
    heights = np.array([5.0, 80.0, 100.0])[: len(mz)]
    spectrum = replace(
        UNNAMED, mz=mz, intensity=heights, precursor_mz=precursor, adduct=adduct, ion_mode=mode
    )
    found = [remark for remark in Query.assign_ion(spectrum).remarks if remark.startswith(HALF)]
    assert found == ([] if said is None else [f"{HALF} {said}"])


@pytest.mark.parametrize(
    ("fragment", "remarks"),
    [
        (0.5, ()),
        (0.49, (FAINT_FRAGMENTS,)),
        (0.1, (FAINT_FRAGMENTS,)),
        (0.099, (UNSEEN_FRAGMENTS,)),
        (1e-30, (UNSEEN_FRAGMENTS,)),
        (500.0, ()),
    ],
)
def test_fragments_that_may_be_noise(fragment: float, remarks: tuple[str, ...]) -> None:
    """Noise beside a precursor is like any library spectrum that is mostly its precursor."""
    precursor = UNNAMED.precursor_mz
    assert precursor is not None
    peaks = np.array([42.0106, precursor, precursor + 1.0034])
    spectrum = replace(
        UNNAMED, mz=peaks, intensity=np.array([fragment, 100.0, 9.0]), adduct="[M-H]-"
    )
    assert Query.assign_ion(spectrum).remarks == remarks
    assert spectrum.has_fragments == (UNSEEN_FRAGMENTS not in remarks)
    # What the ion cannot have formed is not what heights are compared with.
    beyond = replace(
        spectrum, mz=np.append(peaks, 2.0 * precursor), intensity=np.append(spectrum.intensity, 9e9)
    )
    assert beyond.highest_fragment == spectrum.highest_fragment
    alone = replace(spectrum, mz=peaks[1:], intensity=spectrum.intensity[1:])
    assert Query.assign_ion(alone).remarks == (NO_FRAGMENTS,)
    unknown = replace(UNNAMED, mz=peaks, intensity=spectrum.intensity, precursor_mz=None)
    assert unknown.has_fragments
    assert unknown.highest_fragment == 1.0


@pytest.mark.parametrize(
    ("adduct", "mass"),
    [("[M+H]+", 190.0124), ("[M-H]-", 192.0270), ("[M-2H]2-", 384.0540), ("[2M-H]-", 96.0135)],
)
def test_masses_that_a_rounded_precursor_may_stand_for(adduct: str, mass: float) -> None:
    """Two Th either way: of a doubly charged ion 4 Da, of a dimer 1 Da."""
    ion = Query.assign_ion(replace(UNNAMED, adduct=adduct))
    assert ion.neutral_mass == pytest.approx(mass, abs=2e-4)
    reach = 2.0 * {"[M-2H]2-": 2.0, "[2M-H]-": 0.5}.get(adduct, 1.0)
    steps = np.array([-1.01, -0.99, 0.0, 0.99, 1.01])
    assert ion.may_have(mass + reach * steps).tolist() == [False, True, True, True, False]
    unknown = Query.assign_ion(replace(UNNAMED, precursor_mz=None, adduct=adduct))
    assert unknown.may_have(np.array([1.0, 1e4])).all()
