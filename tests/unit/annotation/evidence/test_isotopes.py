"""Peaks that may be carbon isotopes of others."""

import numpy as np
import pytest

from specvae.annotation.evidence.isotopes import lighter_isotopes


@pytest.mark.parametrize(
    ("mz", "height", "lighter"),
    [
        (301.10336, 20.0, 0),  # C18 has 19 %
        (301.10336, 40.0, -1),  # more carbon than the mass has room for
        (301.10783, 20.0, -1),  # a hydrogen more
        (301.1018, 3.0, 0),  # an error of 5 ppm
        (302.1067, 3.0, -1),
    ],
)
def test_a_carbon_isotope_is_known_by_its_mass_and_height(
    mz: float, height: float, lighter: int
) -> None:
    found = lighter_isotopes(np.array([300.1, mz]), np.array([100.0, height]))
    assert found.tolist() == [-1, lighter]


def test_the_higher_of_two_peaks_is_taken() -> None:
    found = lighter_isotopes(np.array([300.099, 300.1, 301.10336]), np.array([10.0, 100.0, 15.0]))
    assert found.tolist() == [-1, -1, 1]


def test_no_peaks_have_no_isotopes() -> None:
    assert lighter_isotopes(np.array([]), np.array([])).tolist() == []
