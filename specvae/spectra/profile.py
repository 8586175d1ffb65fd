"""Profile spectra: recognised, and turned into lists of peaks."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

_WIDEST_STEP = 0.15  # Th between two points of one peak; ion traps sample every 0.07 to 0.12
_UNEVEN_STEPS = 2.6  # the longest of three neighbouring steps over the shortest, within a peak
_FEWEST_POINTS = 5  # of a peak
_FOOT_HEIGHT = 0.7  # of its highest point, above which the ends of a row do not lie
_SHARE = 0.7  # of the points that stand in such peaks where the spectrum is a profile
_SHALLOWEST = 0.9  # a valley higher than this part of its lower bank divides no peaks

Numbers = NDArray[np.float64]


def is_profile(mz: Numbers, intensity: Numbers) -> bool:
    """Return whether points (n,), sorted by m/z, trace out peaks rather than list them.

    In a profile most points stand in rows of at least `_FEWEST_POINTS` that are evenly spaced and
    rise and fall: a row ends lower than its highest point, and has a top for every four or more.
    """
    steps = np.diff(mz)
    if np.count_nonzero(steps < _WIDEST_STEP) < _SHARE * mz.size or mz.size < _FEWEST_POINTS:
        return False
    borders = _borders(mz)
    n_in_peaks = 0
    for begin, end in pairwise(borders.tolist()):
        heights = intensity[begin:end]
        is_hill = max(heights[0], heights[-1]) < _FOOT_HEIGHT * heights.max()
        if is_hill and heights.size >= max(_FEWEST_POINTS, 4 * _tops(heights).size):
            n_in_peaks += heights.size
    return n_in_peaks >= _SHARE * mz.size


def centroid(mz: Numbers, intensity: Numbers) -> tuple[Numbers, Numbers]:
    """Return m/z (k,) and height (k,) of the peaks of a profile, sorted by m/z.

    A peak is a highest point that valleys part from its neighbours. Its place and height are those
    of the parabola through the logarithms of three points, which is exact for a Gaussian peak.
    """
    borders = _borders(mz)
    peaks = [
        _apex(mz[begin:end], intensity[begin:end], int(top))
        for begin, end in pairwise(borders.tolist())
        for top in _tops(intensity[begin:end])
    ]
    table = np.array(peaks, dtype=np.float64).reshape(-1, 2)
    return table[:, 0], table[:, 1]


def _borders(mz: Numbers) -> NDArray[np.int64]:
    """Return where rows of evenly spaced points begin, and the number of points at the end."""
    steps = np.diff(mz)
    # A point stands in a row with the next one if their step is like the shorter one beside it.
    padded = np.concatenate([[np.inf], steps, [np.inf]])
    beside = np.minimum(padded[:-2], padded[2:])
    is_border = (steps > _WIDEST_STEP) | (steps > _UNEVEN_STEPS * beside)
    return np.concatenate([[0], np.flatnonzero(is_border) + 1, [mz.size]])


def _tops(heights: Numbers) -> NDArray[np.int64]:
    """Return the places of the peaks of a row of points."""
    padded = np.concatenate([[-1.0], heights, [-1.0]])
    tops = np.flatnonzero(
        (padded[1:-1] > padded[:-2]) & (padded[1:-1] >= padded[2:]) & (heights > 0)
    ).tolist()
    kept: list[int] = []
    for top in tops:
        if kept:
            valley = heights[kept[-1] : top].min()
            lower = min(heights[kept[-1]], heights[top])
            if valley > _SHALLOWEST * lower:
                if heights[top] > heights[kept[-1]]:
                    kept[-1] = top
                continue
        kept.append(top)
    return np.array(kept, dtype=np.int64)


def _apex(mz: Numbers, heights: Numbers, top: int) -> tuple[float, float]:
    around = slice(top - 1, top + 2)
    if not 0 < top < heights.size - 1 or not (heights[around] > 0).all():
        return float(mz[top]), float(heights[top])
    x = mz[around] - mz[top]
    y = np.log(heights[around] / heights[top])
    # y = a x^2 + b x goes through (0, 0); its apex lies at -b / 2a.
    left, right = y[0] / x[0], y[2] / x[2]
    a = (right - left) / (x[2] - x[0])
    b = left - a * x[0]
    if a >= 0:
        return float(mz[top]), float(heights[top])
    place = float(np.clip(-b / (2 * a), x[0], x[2]))
    return float(mz[top] + place), float(heights[top] * np.exp(a * place**2 + b * place))
