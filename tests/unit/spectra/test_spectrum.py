from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest

from specvae.spectra.spectrum import Spectrum

GLUCOSE = Spectrum(
    mz=np.array([50.0, 60.0]),
    intensity=np.array([2.0, 8.0]),
    query_id="glucose",
    precursor_mz=181.070665,
    adduct="[M+H]+",
    inchikey="WQZGKKKJIJFFOK-GASJEMHNSA-N",
)


def test_derived_values() -> None:
    assert GLUCOSE.n_peaks == 2
    assert GLUCOSE.relative_intensity.tolist() == [0.25, 1.0]
    assert GLUCOSE.neutral_mass == pytest.approx(180.063388, abs=1e-6)
    assert GLUCOSE.first_block == "WQZGKKKJIJFFOK"


def test_neutral_mass_without_ion_species_goes_by_ion_mode() -> None:
    unnamed = replace(GLUCOSE, adduct=None, ion_mode="positive")
    assert unnamed.neutral_mass == pytest.approx(180.063388, abs=1e-6)
    negative = replace(GLUCOSE, adduct=None, ion_mode="negative", precursor_mz=179.056112)
    assert negative.neutral_mass == pytest.approx(180.063388, abs=1e-6)
    assert replace(GLUCOSE, adduct=None).neutral_mass is None
    assert replace(GLUCOSE, precursor_mz=None).neutral_mass is None


def test_several_charges_without_ion_species_are_as_many_protons() -> None:
    doubly = replace(GLUCOSE, adduct=None, ion_mode="positive", charge=2, precursor_mz=91.038970)
    assert doubly.neutral_mass == pytest.approx(180.063388, abs=1e-5)
    minus = replace(GLUCOSE, adduct=None, ion_mode="negative", charge=-2, precursor_mz=89.024418)
    assert minus.neutral_mass == pytest.approx(180.063388, abs=1e-5)


def test_an_ion_species_that_cannot_be_read_is_not_replaced_by_a_guess() -> None:
    assert replace(GLUCOSE, adduct="[MCl37+H]", ion_mode="positive").neutral_mass is None


def test_no_fragment_is_heavier_than_the_ion_with_one_charge() -> None:
    assert GLUCOSE.singly_charged_mz == GLUCOSE.precursor_mz
    doubly = replace(GLUCOSE, adduct="[M+2H]2+", precursor_mz=91.038970)
    assert doubly.singly_charged_mz == pytest.approx(181.070665, abs=1e-5)
    minus = replace(GLUCOSE, adduct="[M-2H]2-", precursor_mz=89.024418)
    assert minus.singly_charged_mz == pytest.approx(179.056112, abs=1e-5)
    four = replace(GLUCOSE, adduct="[4M+2H]2+", precursor_mz=361.134052)
    assert four.singly_charged_mz == four.precursor_mz
    assert replace(doubly, adduct="[M+Zz]2+").singly_charged_mz == doubly.precursor_mz
    assert replace(doubly, precursor_mz=None).singly_charged_mz is None


@pytest.mark.parametrize("inchikey", [None, "", "N/A", "WQZGKKKJ", "WQZGKKKJIJFFOKX-GASJEMHNSA-N"])
def test_first_block_of_what_is_no_inchikey(inchikey: str | None) -> None:
    assert replace(GLUCOSE, inchikey=inchikey).first_block is None


def test_a_spectrum_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        GLUCOSE.name = "sugar"  # type: ignore[misc]
    with pytest.raises(ValueError, match="read-only"):
        GLUCOSE.mz[0] = 1.0
    mine = np.array([50.0, 60.0])
    spectrum = replace(GLUCOSE, mz=mine)
    mine[0] = 1.0
    assert spectrum.mz[0] == 50.0


@pytest.mark.parametrize(
    ("mz", "intensity", "message"),
    [
        ([], [], "no peaks"),
        ([1.0], [1.0, 2.0], "rows of numbers"),
        ([2.0, 1.0], [1.0, 1.0], "ascend"),
        ([1.0, np.nan, 3.0], [1.0, 1.0, 1.0], "ascend"),
        ([np.nan], [1.0], "positive and at most"),
        ([0.0, 1.0], [1.0, 1.0], "positive and at most"),
        ([1.0, np.inf], [1.0, 1.0], "positive and at most"),
        ([1.0, 2.0], [1.0, np.nan], "intensities"),
        ([1.0, 2.0], [1.0, np.inf], "intensities"),
        ([1.0, 2.0], [1.0, -1.0], "intensities"),
        ([1.0, 2.0], [0.0, 0.0], "intensities"),
    ],
)
def test_peaks_are_checked(mz: list[float], intensity: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Spectrum(mz=np.array(mz), intensity=np.array(intensity), query_id="x")


@pytest.mark.parametrize("precursor_mz", [0.0, -1.0, np.nan, np.inf])
def test_precursor_is_checked(precursor_mz: float) -> None:
    with pytest.raises(ValueError, match="precursor"):
        replace(GLUCOSE, precursor_mz=precursor_mz)


@pytest.mark.parametrize(
    ("metadata", "licence"),
    [
        ({"LICENSE": "CC BY-SA"}, "CC BY-SA"),
        ({"Comments": '"SMILES=C" "license=CC BY-NC-SA" "x=1"'}, "CC BY-NC-SA"),
        ({"comment": 'a=1; License="CC0"; b=2'}, "CC0"),
        ({"comment": "license=dl-de/by-2-0; b=2", "Licence": "CC BY"}, "CC BY"),
        ({"comment": "license=dl-de/by-2-0; b=2"}, "dl-de/by-2-0"),
        ({"Comments": "no terms"}, None),
        ({"LICENSE": " "}, None),
    ],
)
def test_licence_of_the_record(metadata: dict[str, str], licence: str | None) -> None:
    assert replace(GLUCOSE, metadata=metadata).licence == licence


@pytest.mark.parametrize(
    ("peaks", "adduct", "expected"),
    [
        ([195.0877], "[M+H]+", False),
        ([195.0877, 196.0911], "[M+H]+", False),
        ([138.06, 195.0877], "[M+H]+", True),
        ([195.0877], "[M+2H]2+", False),
        ([195.0877, 301.2], "[M+2H]2+", True),
        ([195.0877, 400.0], "[M+2H]2+", False),
    ],
)
def test_fragments_lie_below_the_ion_and_are_not_it(
    peaks: list[float], adduct: str, expected: bool
) -> None:
    mz = np.array(peaks)
    spectrum = Spectrum(
        mz=mz, intensity=np.ones(len(mz)), query_id="q", precursor_mz=195.0877, adduct=adduct
    )
    assert spectrum.has_fragments is expected


def test_peaks_are_compared_that_may_be_of_the_ion_and_no_noise() -> None:
    spectrum = Spectrum(
        mz=np.array([80.0, 110.07, 138.06, 195.09, 196.5, 197.0]),
        intensity=np.array([0.0, 0.99, 1.0, 1000.0, 500.0, 2e6]),
        query_id="q",
        precursor_mz=195.09,
        adduct="[M+H]+",
    )
    assert spectrum.is_compared.tolist() == [False, False, True, True, True, False]
    assert spectrum.n_compared == 3
    assert spectrum.has_fragments
    assert spectrum.highest_fragment == 0.001
    doubly = replace(spectrum, adduct="[M+2H]2+")
    assert doubly.is_compared.tolist() == [*[False] * 3, False, False, True]
    unknown = replace(spectrum, precursor_mz=None)
    assert unknown.is_compared.tolist() == [*[False] * 5, True]
    assert replace(spectrum, precursor_mz=60.0).n_compared == 1
