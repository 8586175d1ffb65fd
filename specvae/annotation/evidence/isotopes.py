"""Peaks that may be carbon isotopes of other peaks, where the precursor's were selected with it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from specvae.masses import ISOTOPE_STEP, ppm_width

_TOLERANCE_PPM, _TOLERANCE_DA = 3.0, 0.002  # a hydrogen is 0.0045 Da heavier than the step
_SHARE = 0.0108  # of carbon
_LIGHTEST_CARBON = 12.0  # Da for each of a molecule's carbons, at the least
_SLACK = 0.02  # of the lighter peak's height


def lighter_isotopes(mz: NDArray[np.float64], intensity: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the peak that each peak may be the 13C isotope of, int64 (n_peaks,); -1 for none.

    The two peaks differ by the mass difference of 13C and 12C. The lighter peak must be so high
    that the isotope peak of an ion made of carbon only would be as high as this peak.

    Parameters
    ----------
    mz, intensity
        float64 (n_peaks,), of ions of one charge, ascending by m/z.
    """
    found = np.full(len(mz), -1, np.int64)
    widths = np.maximum(_TOLERANCE_DA, ppm_width(mz, _TOLERANCE_PPM))
    first = np.searchsorted(mz, mz - ISOTOPE_STEP - widths)
    end = np.searchsorted(mz, mz - ISOTOPE_STEP + widths, side="right")
    for peak in np.flatnonzero(end > first).tolist():
        lighter = int(first[peak] + np.argmax(intensity[first[peak] : end[peak]]))
        highest = (_SHARE * mz[lighter] / _LIGHTEST_CARBON + _SLACK) * intensity[lighter]
        if intensity[peak] <= highest:
            found[peak] = lighter
    return found
