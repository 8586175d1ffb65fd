"""Profile spectra: recognised, and turned into lists of peaks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_WIDEST_STEP = 0.15  # Th between two points of one peak; ion traps sample every 0.07 to 0.12
_UNEVEN_STEPS = 2.6  # the longest of three neighbouring steps over the shortest, within a peak
_FEWEST_POINTS = 5  # of a peak
_FOOT_HEIGHT = 0.7  # of its highest point, above which the ends of a row do not lie
_SHARE = 0.7  # of the points that stand in such peaks where the spectrum is a profile
_SHALLOWEST = 0.9  # a valley that is higher, relative to the lower of both tops, divides no peaks

# If few ions are counted, a peak has several tops, and points without ions are missing.
_GAPS = 6.5  # the longest of three neighbouring steps over the shortest, within such a peak
_GRID_ERROR = 0.25  # of the usual step, between a longer one and a multiple of it
_ON_GRID = 0.8  # of the steps within peaks that are such multiples
_NOISY_SHARE = 0.3  # of the points in such peaks; ions that came alone make up the rest,
_FEWEST_NOISY = 20  # and so many points at least
_BLUR = 2.0  # points: standard deviation of the Gaussian that smooths them,
_REACH = 8  # and how far it reaches
_SIDE_WEIGHTS = np.concatenate(
    [[0.0], np.cumsum(np.exp(-0.5 * np.square(np.arange(1, _REACH + 1) / _BLUR)))]
)  # of the first points on one side, added up

Numbers = NDArray[np.float64]


def is_profile(mz: Numbers, intensity: Numbers) -> bool:
    """Return whether points (n,), sorted by m/z, trace out peaks rather than list them.

    In a profile most points stand in rows of at least `_FEWEST_POINTS` that are evenly spaced and
    rise and fall: a row ends lower than its highest point, and has at most one top for four points.
    A noisy profile is smoothed before this test; the points of its rows lie on a grid with gaps.
    """
    if mz.size < _FEWEST_POINTS:
        return False
    steps = mz[1:] - mz[:-1]  # half the time of np.diff, and most spectra end here
    # Several peaks of one m/z are no step of a profile.
    if np.count_nonzero((steps > 0.0) & (steps < _WIDEST_STEP)) < _SHARE * mz.size:
        return False
    return _is_clear(mz, intensity) or _is_noisy(mz, intensity)


def centroid(mz: Numbers, intensity: Numbers) -> tuple[Numbers, Numbers]:
    """Return m/z (k,) and height (k,) of the peaks of a profile, sorted by m/z.

    A peak is a local maximum between valleys. Its place and height are those of the parabola
    through the logarithms of three points, which is exact for a Gaussian peak. A noisy profile is
    smoothed first.
    """
    borders = _borders(mz)
    if mz.size and not _is_clear(mz, intensity) and _is_noisy(mz, intensity):
        borders = _borders(mz, _GAPS)
        intensity = _smoothed(mz, intensity, borders)
    tops = _tops(intensity, borders)
    places, heights = mz[tops], intensity[tops]
    before, after = _neighbours(intensity, borders)
    has_both = np.flatnonzero((before[tops] > 0) & (after[tops] > 0))
    steps = np.diff(mz)
    has_both = has_both[(steps[tops[has_both] - 1] > 0.0) & (steps[tops[has_both]] > 0.0)]
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


def _is_clear(mz: Numbers, intensity: Numbers) -> bool:
    """Return whether most points stand in rows that rise and fall as peaks do."""
    return bool(_n_in_hills(intensity, _borders(mz)) >= _SHARE * mz.size)


def _n_in_hills(intensity: Numbers, borders: NDArray[np.int64]) -> int:
    """Return how many points stand in rows that rise and fall as peaks do."""
    begins, ends = borders[:-1], borders[1:]
    n_points = ends - begins
    feet = np.maximum(intensity[begins], intensity[ends - 1])
    is_hill = feet < _FOOT_HEIGHT * np.maximum.reduceat(intensity, begins)
    rows = np.searchsorted(borders, _tops(intensity, borders), side="right") - 1
    n_tops = np.bincount(rows, minlength=n_points.size)
    is_peak = is_hill & (n_points >= np.maximum(_FEWEST_POINTS, 4 * n_tops))
    return int(n_points[is_peak].sum())


def _is_noisy(mz: Numbers, intensity: Numbers) -> bool:
    """Return whether many points are in such rows after smoothing."""
    borders = _borders(mz, _GAPS)
    rows = _rows(borders)
    is_within = rows[1:] == rows[:-1]
    multiples = (np.diff(mz) / _usual_steps(mz, borders)[rows[1:]])[is_within]
    nearest = np.maximum(np.round(multiples), 1.0)  # two points of one m/z are no step
    is_on_grid = np.abs(multiples - nearest) <= _GRID_ERROR
    if np.count_nonzero(is_on_grid) < _ON_GRID * is_on_grid.size:
        return False
    # A plateau is no hill because nothing is known beyond its ends.
    heights = _smoothed(mz, intensity, borders) / _share_within(mz, borders)
    return _n_in_hills(heights, borders) >= max(_FEWEST_NOISY, _NOISY_SHARE * mz.size)


def _rows(borders: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the number of each point's row, (n,)."""
    return np.arange(borders.size - 1).repeat(np.diff(borders))


def _usual_steps(mz: Numbers, borders: NDArray[np.int64]) -> Numbers:
    """Return the median step of each row, infinite for a point that stands alone."""
    rows, n_steps = _rows(borders), np.diff(borders) - 1
    is_within = rows[1:] == rows[:-1]
    steps = np.diff(mz)[is_within]
    ascending = steps[np.lexsort((steps, rows[1:][is_within]))]
    middles = np.cumsum(n_steps) - 1 - n_steps // 2
    usual = np.full(n_steps.size, np.inf)
    usual[n_steps > 0] = ascending[middles[n_steps > 0]]
    usual[usual == 0.0] = 1e-9  # two points may have one m/z
    return usual


def _smoothed(mz: Numbers, intensity: Numbers, borders: NDArray[np.int64]) -> Numbers:
    """Return heights smoothed along the rows; missing points of a row count as 0."""
    rows = _rows(borders)
    width = _BLUR * _usual_steps(mz, borders)[rows]
    out = intensity.copy()
    for apart in range(1, _REACH + 1):
        is_one_row = rows[apart:] == rows[:-apart]
        distance = (mz[apart:] - mz[:-apart]) / width[apart:]
        weights = np.where(is_one_row, np.exp(-0.5 * np.square(distance)), 0.0)
        out[apart:] += weights * intensity[:-apart]
        out[:-apart] += weights * intensity[apart:]
    smoothed: Numbers = out / (1.0 + 2.0 * _SIDE_WEIGHTS[-1])
    return smoothed


def _share_within(mz: Numbers, borders: NDArray[np.int64]) -> Numbers:
    """Return the share of the smoothing weights of a point that is within the ends of its row."""
    rows, usual = _rows(borders), _usual_steps(mz, borders)
    reached = np.arange(_REACH + 1)
    behind = np.interp((mz - mz[borders[:-1]][rows]) / usual[rows], reached, _SIDE_WEIGHTS)
    ahead = np.interp((mz[borders[1:] - 1][rows] - mz) / usual[rows], reached, _SIDE_WEIGHTS)
    return np.asarray((1.0 + behind + ahead) / (1.0 + 2.0 * _SIDE_WEIGHTS[-1]))


def _borders(mz: Numbers, uneven: float = _UNEVEN_STEPS) -> NDArray[np.int64]:
    """Return where rows of evenly spaced points begin, and the number of points at the end.

    `uneven` is the longest of three neighbouring steps over the shortest.
    """
    steps = np.diff(mz)
    # A point stands in a row with the next one if their step is like the shorter one beside it.
    padded = np.concatenate([[np.inf], steps, [np.inf]])
    beside = np.minimum(padded[:-2], padded[2:])
    is_border = (steps > _WIDEST_STEP) | (steps > uneven * beside)
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
