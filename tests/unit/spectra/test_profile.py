"""Profile spectra are recognised and become peak lists."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from spectra_files import mgf_record, mzml_file, mzml_scan, read_bytes

from specvae.spectra.profile import centroid, is_profile

PLACES = np.array([69.0447, 83.0604, 110.0713, 138.0662, 195.0877])
HEIGHTS = np.array([90.0, 170.0, 410.0, 620.0, 1000.0])

Points = tuple[NDArray[np.float64], NDArray[np.float64]]


def profile(step: float, width: float, floor: float = 0.0) -> Points:
    """Return Gaussian peaks of a full width at half maximum, sampled where they rise above 1 %."""
    sigma = width / 2.3548
    rows = []
    for place, height in zip(PLACES, HEIGHTS, strict=True):
        x = np.arange(place - 3 * sigma, place + 3 * sigma, step)
        rows.append((x, height * np.exp(-((x - place) ** 2) / 2 / sigma**2) + floor))
    mz, intensity = (np.concatenate(parts) for parts in zip(*rows, strict=True))
    return mz, intensity


@pytest.mark.parametrize(
    ("step", "width"), [(0.001, 0.004), (0.002, 0.006), (0.006, 0.018), (0.0833, 0.4)]
)
def test_gaussian_peaks_come_back_with_place_and_height(step: float, width: float) -> None:
    mz, intensity = profile(step, width)
    assert is_profile(mz, intensity)
    found_mz, found = centroid(mz, intensity)
    assert found_mz == pytest.approx(PLACES, abs=1e-6)
    assert found == pytest.approx(HEIGHTS, rel=1e-6)


def test_noise_on_top_makes_no_peaks() -> None:
    rng = np.random.default_rng(0)
    mz, intensity = profile(0.001, 0.008)
    noisy = intensity * rng.uniform(0.98, 1.02, intensity.size)
    assert is_profile(mz, noisy)
    found_mz, _ = centroid(mz, noisy)
    assert found_mz == pytest.approx(PLACES, abs=2e-3)


def counted_ions(seed: int) -> Points:
    """Return a profile of few ions: points without one are left out, and some ions come alone."""
    rng = np.random.default_rng(seed)
    rows = []
    for place, height in zip(PLACES, HEIGHTS, strict=True):
        step = 2e-4 * np.sqrt(place)  # as a time of flight is sampled
        x = place + step * np.arange(-14, 15)
        rows.append(
            (x, rng.poisson(height / 70 * np.exp(-((x - place) ** 2) / 2 / (4 * step) ** 2)))
        )
    lone = np.sort(rng.uniform(50, 200, 8))
    mz = np.concatenate([lone, *(x for x, _ in rows)])
    ions = np.concatenate([np.ones(8), *(counts for _, counts in rows)])
    order = np.argsort(mz)
    mz, ions = np.round(mz[order], 4), ions[order]
    return mz[ions > 0], 20.0 * ions[ions > 0]


@pytest.mark.parametrize("seed", range(8))
def test_few_ions_counted_make_a_profile(seed: int) -> None:
    mz, intensity = counted_ions(seed)
    assert is_profile(mz, intensity)
    found_mz, found = centroid(mz, intensity)
    assert len(found_mz) < 0.4 * mz.size
    for place in PLACES[3:]:
        near = np.abs(found_mz - place) < 0.04
        assert found_mz[near][np.argmax(found[near])] == pytest.approx(place, abs=6e-3)


def test_points_of_one_mz_are_no_profile() -> None:
    rng = np.random.default_rng(0)
    mz = np.sort(np.repeat(rng.uniform(50, 300, 20), 6))
    assert not is_profile(mz, rng.uniform(1, 100, mz.size))
    assert not is_profile(np.full(100, 5.0), np.ones(100))


@pytest.mark.filterwarnings("error")
def test_points_of_one_mz_within_a_profile_are_no_parabola() -> None:
    mz, intensity = profile(0.001, 0.004)
    top = int(np.argmax(intensity))
    doubled = np.insert(mz, top, mz[top]), np.insert(intensity, top, intensity[top] / 2)
    found_mz, found = centroid(*doubled)
    assert np.isfinite(found_mz).all()
    assert np.isfinite(found).all()
    near = int(np.argmin(np.abs(found_mz - mz[top])))
    assert (found_mz[near], found[near]) == (mz[top], intensity[top])
    level = centroid(np.full(100, 5.0), np.ones(100))
    assert (level[0].tolist(), level[1].tolist()) == ([5.0], [1.0])


@pytest.mark.parametrize("seed", range(5))
def test_dense_peaks_without_a_grid_are_no_profile(seed: int) -> None:
    rng = np.random.default_rng(seed)
    mz = np.sort(np.concatenate([place + rng.normal(0, 0.02, 25) for place in PLACES]))
    assert not is_profile(mz, rng.exponential(100, mz.size))


def test_two_peaks_of_one_row_are_kept_apart() -> None:
    x = np.arange(100.0, 100.2, 0.005)
    y = np.exp(-(((x - 100.06) / 0.015) ** 2)) + 0.5 * np.exp(-(((x - 100.13) / 0.015) ** 2))
    found_mz, found = centroid(x, y)
    assert found_mz == pytest.approx([100.06, 100.13], abs=2e-4)
    assert found == pytest.approx([1.0, 0.5], rel=1e-2)


@pytest.mark.parametrize(
    ("mz", "intensity"),
    [
        (PLACES, HEIGHTS),
        (np.array([100.0, 100.01]), np.array([1.0, 2.0])),
        (50 + np.arange(200) * 1.0, np.ones(200)),
        # close, but not evenly spaced
        (
            100 + np.cumsum(np.tile([0.001, 0.02, 0.004], 20)),
            np.tile([1.0, 5.0, 3.0, 2.0, 1.0], 12),
        ),
        # evenly spaced, but no hills
        (100 + np.arange(60) * 0.01, np.tile([1.0, 9.0], 30)),
        (100 + np.arange(30) * 0.001, np.arange(30) + 1.0),
    ],
)
def test_peak_lists_are_no_profiles(
    mz: NDArray[np.float64], intensity: NDArray[np.float64]
) -> None:
    assert not is_profile(mz, intensity)


def peaks_point_by_point(mz: list[float], heights: list[float]) -> list[tuple[float, float]]:
    """Return m/z and height of the peaks of one row of points, found one after the other."""
    tops: list[int] = []
    for at, height in enumerate(heights):
        before, after = ([-1.0, *heights][at], [*heights, -1.0][at + 1])
        if height <= 0 or before >= height or after > height:
            continue
        valley = min(heights[tops[-1] : at]) if tops else 0.0
        if tops and valley > 0.9 * min(heights[tops[-1]], height):
            tops[-1] = at if height > heights[tops[-1]] else tops[-1]
        else:
            tops.append(at)
    peaks = []
    for top in tops:
        apex = mz[top], heights[top]
        if 0 < top < len(mz) - 1 and min(heights[top - 1 : top + 2]) > 0:
            around = [mz[top - 1] - mz[top], 0.0, mz[top + 1] - mz[top]]
            logarithms = np.log(np.array(heights[top - 1 : top + 2]) / heights[top])
            a, b, _ = np.polyfit(around, logarithms, 2)
            offset = np.clip(-b / (2 * a), around[0], around[2])
            apex = mz[top] + offset, heights[top] * np.exp(a * offset**2 + b * offset)
        peaks.append(apex)
    return peaks


@pytest.mark.parametrize("seed", range(5))
def test_peaks_are_those_found_point_by_point(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows, expected = [], []
    for place in (100.0, 150.0, 200.0):
        n = int(rng.integers(5, 60))
        mz = place + np.cumsum(rng.uniform(0.006, 0.0145, n))  # no grid, or it would be smoothed
        heights = np.round(np.abs(rng.normal(size=n)) * rng.choice([3, 1000])) + rng.choice([0, 40])
        rows.append((mz, heights))
        expected += peaks_point_by_point(mz.tolist(), heights.tolist())
    found = centroid(*(np.concatenate(column) for column in zip(*rows, strict=True)))
    assert np.column_stack(found) == pytest.approx(np.array(expected), rel=1e-9)


def test_profile_in_mgf_is_centroided_and_said(tmp_path: Path) -> None:
    mz, intensity = profile(0.002, 0.006)
    peaks = "".join(f"{x!r} {y!r}\n" for x, y in zip(mz.tolist(), intensity.tolist(), strict=True))
    (spectrum,), skips, report = read_bytes(tmp_path, "x.mgf", mgf_record("a", peaks=peaks))
    assert skips == []
    assert spectrum.mz == pytest.approx(PLACES, abs=1e-6)
    assert spectrum.notes == (f"profile centroided ({mz.size} points, 5 peaks)",)
    assert report.notes == {"profile centroided": 1}


def test_profile_that_is_stated_in_mzml(tmp_path: Path) -> None:
    stated = '<cvParam accession="MS:1000128" value=""/><scanList'
    scans = [
        mzml_scan(0, 2, *(part.tolist() for part in profile(0.006, 0.018)), negative=False),
        mzml_scan(1, 2, PLACES.tolist(), HEIGHTS.tolist(), negative=False),
    ]
    content = mzml_file([scan.replace("<scanList", stated) for scan in scans])
    spectra, _, _ = read_bytes(tmp_path, "x.mzML", content)
    assert [s.n_peaks for s in spectra] == [5, 5]
    assert [len(s.notes) for s in spectra] == [1, 1]
    assert spectra[1].notes == ("stated to be a profile, points taken as peaks",)
