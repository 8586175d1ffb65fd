"""Profile spectra: recognised, and turned into lists of peaks."""

from __future__ import annotations

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
    if mz.size < _FEWEST_POINTS:
        return False
    steps = mz[1:] - mz[:-1]  # half the time of np.diff, and most spectra end here
    if np.count_nonzero(steps < _WIDEST_STEP) < _SHARE * mz.size:
        return False
    borders = _borders(mz)
    begins, ends = borders[:-1], borders[1:]
    n_points = ends - begins
    feet = np.maximum(intensity[begins], intensity[ends - 1])
    is_hill = feet < _FOOT_HEIGHT * np.maximum.reduceat(intensity, begins)
    rows = np.searchsorted(borders, _tops(intensity, borders), side="right") - 1
    n_tops = np.bincount(rows, minlength=n_points.size)
    is_peak = is_hill & (n_points >= np.maximum(_FEWEST_POINTS, 4 * n_tops))
    return bool(n_points[is_peak].sum() >= _SHARE * mz.size)


def centroid(mz: Numbers, intensity: Numbers) -> tuple[Numbers, Numbers]:
    """Return m/z (k,) and height (k,) of the peaks of a profile, sorted by m/z.

    A peak is a highest point that valleys part from its neighbours. Its place and height are those
    of the parabola through the logarithms of three points, which is exact for a Gaussian peak.
    """
    borders = _borders(mz)
    tops = _tops(intensity, borders)
    places, heights = mz[tops], intensity[tops]
    before, after = _neighbours(intensity, borders)
    has_both = np.flatnonzero((before[tops] > 0) & (after[tops] > 0))
    inner = tops[has_both]
    # y = a x^2 + b x goes through (0, 0), the top; its apex lies at -b / 2a.
    lowest, highest = mz[inner - 1] - mz[inner], mz[inner + 1] - mz[inner]
    left = np.log(before[inner] / intensity[inner]) / lowest
    right = np.log(after[inner] / intensity[inner]) / highest
    a = (right - left) / (highest - lowest)
    b = left - a * lowest
    has_apex = ~(a >= 0)
    a, b = a[has_apex], b[has_apex]
    offset = np.clip(-b / (2 * a), lowest[has_apex], highest[has_apex])
    places[has_both[has_apex]] += offset
    heights[has_both[has_apex]] *= np.exp(a * np.float_power(offset, 2) + b * offset)
    return places, heights


def _borders(mz: Numbers) -> NDArray[np.int64]:
    """Return where rows of evenly spaced points begin, and the number of points at the end."""
    steps = np.diff(mz)
    # A point stands in a row with the next one if their step is like the shorter one beside it.
    padded = np.concatenate([[np.inf], steps, [np.inf]])
    beside = np.minimum(padded[:-2], padded[2:])
    is_border = (steps > _WIDEST_STEP) | (steps > _UNEVEN_STEPS * beside)
    return np.concatenate([[0], np.flatnonzero(is_border) + 1, [mz.size]])


def _neighbours(intensity: Numbers, borders: NDArray[np.int64]) -> tuple[Numbers, Numbers]:
    """Return the heights before and behind each point of its row, -1 where there is none."""
    before, after = np.roll(intensity, 1), np.roll(intensity, -1)
    before[borders[:-1]] = after[borders[1:] - 1] = -1.0
    return before, after


def _tops(intensity: Numbers, borders: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the places of the peaks in rows of points."""
    before, after = _neighbours(intensity, borders)
    found = np.flatnonzero((intensity > before) & (intensity >= after) & (intensity > 0))
    rows = np.searchsorted(borders, found, side="right")
    valleys = np.minimum.reduceat(intensity, found)  # from each to the next
    kept: list[int] = []
    kept_row, kept_height, lowest = -1, 0.0, 0.0  # of the last, and the lowest point behind it
    columns = (column.tolist() for column in (found, rows, intensity[found], valleys))
    for place, row, height, valley in zip(*columns, strict=True):
        if row == kept_row and lowest > _SHALLOWEST * min(kept_height, height):
            if height <= kept_height:
                lowest = min(lowest, valley)
                continue
            kept.pop()
        kept.append(place)
        kept_row, kept_height, lowest = row, height, valley
    return np.array(kept, dtype=np.int64)
