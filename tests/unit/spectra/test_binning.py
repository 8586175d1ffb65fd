import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from bin_meanings import meaning

from specvae.errors import ConfigError
from specvae.spectra.binning import BinLayout
from specvae.spectra.sparse import SparseVector
from specvae.spectra.spectrum import Spectrum

ALL = BinLayout(
    neutral_losses=True,
    precursor=True,
    collision_energy=True,
    adduct=True,
    instrument_type=True,
    ion_mode=True,
)


def spectrum(mz: list[float], intensity: list[float], **values: Any) -> Spectrum:  # noqa: ANN401
    return Spectrum(mz=np.array(mz), intensity=np.array(intensity), query_id="x", **values)


def as_dict(vector: SparseVector) -> dict[int, float]:
    return dict(zip(vector.columns.tolist(), vector.values.tolist(), strict=True))


def described(layout: BinLayout, vector: SparseVector) -> dict[str, float]:
    return {meaning(layout, column): value for column, value in as_dict(vector).items()}


def test_the_default_is_the_published_one() -> None:
    layout = BinLayout()
    assert (layout.n_bins, layout.n_columns) == (11000, 11000)
    vector = layout.encode(spectrum([100.02, 100.08, 250.0], [100.0, 300.0, 400.0]))
    assert vector.columns.dtype == np.int32
    assert vector.values.dtype == np.float32
    # Base peak 100: 25 + 75 in one bin, 100 in the other; then log(1 + x).
    assert as_dict(vector) == pytest.approx({1000: np.log(101), 2500: np.log(101)})


def test_borders_of_bins() -> None:
    # Decimal numbers on a border belong to the bin above it, whatever binary rounding makes of it.
    borders = [i / 10 for i in range(1, 11000)]
    vector = BinLayout().encode(spectrum(borders, [1.0] * len(borders)))
    assert vector.columns.tolist() == list(range(1, 11000))
    edge = spectrum([1099.99, 1100.0, 1500.0], [1.0, 1.0, 1.0])
    assert BinLayout().encode(edge).columns.tolist() == [10999]


def test_peaks_of_no_intensity_have_no_column() -> None:
    assert BinLayout().encode(spectrum([50.0, 60.0], [0.0, 1.0])).columns.tolist() == [600]


def test_peaks_are_tidied_up_before_the_base_peak_is_set() -> None:
    dirty = spectrum([50.0, 60.0, 70.0, 300.0], [1.0, 8.0, 10.0, 50.0], precursor_mz=200.0)
    layout = BinLayout(drop_above_precursor=True)
    assert as_dict(layout.encode(dirty)) == pytest.approx(
        {500: np.log(11), 600: np.log(81), 700: np.log(101)}
    )
    assert replace(layout, min_relative_intensity=0.2).encode(dirty).columns.tolist() == [600, 700]
    assert replace(layout, max_peaks=1).encode(dirty).columns.tolist() == [700]
    # Without a precursor nothing can lie above it.
    unknown = replace(dirty, precursor_mz=None)
    assert layout.encode(unknown).columns.tolist() == [500, 600, 700, 3000]


def test_fragments_of_a_doubly_charged_ion_may_lie_above_it() -> None:
    layout = BinLayout(drop_above_precursor=True)
    doubly = spectrum([72.0, 150.0, 300.0], [1.0, 2.0, 4.0], precursor_mz=98.0475)
    doubly = replace(doubly, adduct="[M+2H]2+")  # M is 194.0804, so [M+H]+ 195.0877
    assert layout.encode(doubly).columns.tolist() == [720, 1500]
    assert layout.encode(replace(doubly, adduct="[M+H]+")).columns.tolist() == [720]
    # Models that were trained without those peaks go on without them.
    assert replace(layout, version=1).encode(doubly).columns.tolist() == [720]


def test_a_spectrum_whose_peaks_are_all_dropped_is_empty() -> None:
    above = spectrum([300.0], [1.0], precursor_mz=200.0)
    assert BinLayout(drop_above_precursor=True).encode(above).columns.size == 0


def test_neutral_losses() -> None:
    layout = BinLayout(neutral_losses=True, max_loss=200.0)
    assert layout.n_columns == 11000 + 2000
    vector = layout.encode(spectrum([82.01, 99.96, 105.0], [50.0, 100.0, 50.0], precursor_mz=100.0))
    assert as_dict(vector) == pytest.approx(
        {
            820: np.log(51),
            999: np.log(101),
            1050: np.log(51),
            11000: np.log(101),  # a loss of 0.04; the peak above the precursor has none
            11180: np.log(51),  # 17.99
        }
    )
    assert meaning(layout, 11000) == "neutral loss of 0 to 0.05 Da"
    assert meaning(layout, 11180) == "neutral loss of 17.95 to 18.05 Da"
    blind = layout.encode(spectrum([82.01], [50.0]))
    assert blind.columns.tolist() == [820]


@pytest.mark.parametrize("error", [-0.001, -1e-6, 0.0, 1e-6, 0.001])
def test_the_precursors_own_peak_is_a_loss_of_0(error: float) -> None:
    layout = BinLayout(bin_width=0.02, neutral_losses=True, max_loss=200.0)
    vector = layout.encode(spectrum([100.003 + error], [1.0], precursor_mz=100.003))
    assert layout.n_bins in vector.columns
    # Models that were trained without it go on without it.
    old = replace(layout, version=2).encode(spectrum([100.004], [1.0], precursor_mz=100.003))
    assert old.columns.tolist() == [5000]


def test_a_peak_at_a_soft_border_is_in_both_bins() -> None:
    layout = BinLayout(bin_width=0.02, soft_edge=0.002)

    def shares(mz: float) -> dict[int, float]:
        # Of look-ups: fourth roots of intensities.
        found = as_dict(layout.encode(spectrum([mz], [1.0])))
        return {column: float((np.expm1(value) / 100) ** 0.25) for column, value in found.items()}

    assert shares(100.01) == pytest.approx({5000: 1.0})
    assert shares(100.021) == pytest.approx({5000: 0.3827, 5001: 0.9239}, abs=1e-4)
    assert shares(100.02) == pytest.approx({5000: 0.7071, 5001: 0.7071}, abs=1e-4)
    assert shares(100.019) == pytest.approx({5000: 0.9239, 5001: 0.3827}, abs=1e-4)


def test_soft_borders_of_the_precursor() -> None:
    layout = BinLayout(precursor=True, soft_edge=0.002)

    def of(mz: float) -> dict[str, float]:
        found = described(layout, layout.encode(spectrum([50.05], [1.0], precursor_mz=mz)))
        return {name: value for name, value in found.items() if "precursor" in name}

    assert of(181.07) == {
        "precursor m/z 181 to 182": 1.0,
        "fractional part of precursor m/z 0.06 to 0.08": 1.0,
    }
    assert of(181.999) == pytest.approx(
        {
            "precursor m/z 181 to 182": 0.9239,
            "precursor m/z 182 to 183": 0.3827,
            "fractional part of precursor m/z 0.98 to 1.00": 0.9239,
            "fractional part of precursor m/z 0.00 to 0.02": 0.3827,
        },
        abs=1e-4,
    )


def test_a_small_error_changes_no_value_by_a_jump() -> None:
    layout = replace(ALL, fine_bin_width=0.02, soft_edge=0.002)
    rng = np.random.default_rng(5)
    mz = np.sort(rng.uniform(40, 500, 200))
    mz[:50] = np.round(mz[:50], 2)  # on the borders
    mz = np.sort(mz)

    def dense(ppm: float) -> np.ndarray[Any, Any]:
        shifted = (mz * (1 + ppm * 1e-6)).tolist()
        vector = layout.encode(
            spectrum(shifted, [1.0] * 200, precursor_mz=500.0 * (1 + ppm * 1e-6))
        )
        row = np.zeros(layout.n_columns)
        row[vector.columns] = vector.values
        return row

    largest = [np.abs(dense(-ppm) - dense(0.0)).max() for ppm in (0.01, 0.1, 1.0)]
    # The change goes with the error; a hard border changes a value by log(101) at once.
    assert largest[0] < 0.1 * largest[2] < 0.1 * np.log(101)
    assert largest[0] < 0.2 * largest[1]
    layout = replace(layout, soft_edge=0.0)
    assert np.abs(dense(-0.01) - dense(0.0)).max() > 1.0


def test_conditions() -> None:
    known = spectrum(
        [50.0],
        [1.0],
        precursor_mz=181.0707,
        collision_energy=35.0,
        adduct="[M+H]+",
        instrument_type="LC-ESI-QTOF",
        ion_mode="positive",
    )
    assert described(ALL, ALL.encode(known)) == pytest.approx(
        {
            "peak at m/z 50 to 50.1": np.log(101),
            "neutral loss of 131.05 to 131.15 Da": np.log(101),
            "precursor m/z 181 to 182": 1.0,
            "fractional part of precursor m/z 0.06 to 0.08": 1.0,
            "collision energy in eV / 100": 0.35,
            "collision energy 30 to 40": 1.0,
            "adduct: [M+H]+": 1.0,
            "instrument_type: LC-ESI-QTOF": 1.0,
            "ion_mode: positive": 1.0,
        }
    )
    other = spectrum(
        [50.0],
        [1.0],
        precursor_mz=2000.5,
        normalized_collision_energy=3000.0,
        adduct="[M+Xx]+",
        instrument_type="GC-EI",
        ion_mode="negative",
    )
    found = described(ALL, ALL.encode(other))
    assert {key: value for key, value in found.items() if "peak" not in key} == pytest.approx(
        {
            "precursor m/z above 1100": 1.0,
            "fractional part of precursor m/z 0.50 to 0.52": 1.0,
            "NCE / 100": 2.0,
            "NCE 150 and above": 1.0,
            "adduct: another or not known": 1.0,
            "instrument_type: another or not known": 1.0,
            "ion_mode: negative": 1.0,
        }
    )


def test_the_empty_spectrum_knows_nothing() -> None:
    assert BinLayout().empty().columns.size == 0
    assert described(ALL, ALL.empty()) == {
        "precursor m/z: not known": 1.0,
        "collision energy: not known": 1.0,
        "adduct: another or not known": 1.0,
        "instrument_type: another or not known": 1.0,
        "ion_mode: another or not known": 1.0,
    }


def test_every_column_has_its_own_meaning() -> None:
    layout = replace(ALL, max_mz=20.0, max_loss=10.0)
    meanings = [meaning(layout, column) for column in range(layout.n_columns)]
    assert len(set(meanings)) == layout.n_columns


@pytest.mark.parametrize("layout", [BinLayout(), ALL, replace(ALL, neutral_losses=False)])
def test_many_at_once_are_as_one_by_one(layout: BinLayout) -> None:
    rng = np.random.default_rng(0)
    spectra = [
        spectrum(
            np.sort(rng.uniform(40, 1200, n)).tolist(),
            rng.uniform(0.01, 1, n).tolist(),
            precursor_mz=float(rng.uniform(100, 1300)) if n % 2 else None,
            collision_energy=10.0 if n % 3 else None,
        )
        for n in rng.integers(1, 30, 5000)
    ]
    matrix = layout.encode_many(spectra)
    assert matrix.offsets.shape == (5001,)
    assert matrix.offsets[-1] == matrix.columns.size == matrix.values.size
    assert matrix.n_columns == layout.n_columns
    for i in (0, 1, 4095, 4096, 4999):
        row = slice(matrix.offsets[i], matrix.offsets[i + 1])
        vector = layout.encode(spectra[i])
        assert matrix.columns[row].tolist() == vector.columns.tolist()
        assert matrix.values[row].tolist() == vector.values.tolist()
        assert (np.diff(vector.columns) > 0).all()


def test_no_spectra_make_no_rows() -> None:
    matrix = ALL.encode_many([])
    assert matrix.offsets.tolist() == [0]
    assert matrix.columns.size == 0


def test_sums_agree_with_a_plain_histogram() -> None:
    rng = np.random.default_rng(1)
    mz, intensity = np.sort(rng.uniform(40, 1099, 500)), rng.uniform(0.1, 1, 500)
    layout = BinLayout(bin_width=1.0)
    dense = np.zeros(layout.n_bins)
    vector = layout.encode(spectrum(mz.tolist(), intensity.tolist()))
    dense[vector.columns] = vector.values
    expected, _ = np.histogram(mz, bins=np.arange(1101), weights=100 * intensity / intensity.max())
    assert dense == pytest.approx(np.log1p(expected), abs=1e-5)


@pytest.mark.parametrize("layout", [BinLayout(), ALL, BinLayout(max_peaks=50, max_loss=300.0)])
def test_json_there_and_back(layout: BinLayout) -> None:
    assert BinLayout.from_json(json.loads(json.dumps(layout.to_json()))) == layout


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"binwidth": 0.1}, "unknown key 'binwidth'; the nearest known one is 'bin_width'"),
        ({"bin_width": 0}, "bin_width must be a positive number, not 0"),
        ({"bin_width": "wide"}, "bin_width: found 'wide', wanted a number"),
        ({"max_mz": float("inf")}, "max_mz: found inf, wanted a finite number"),
        ({"min_relative_intensity": 1.0}, r"must lie in \[0, 1\)"),
        ({"soft_edge": -0.001}, "soft_edge must be at least 0, not -0.001"),
        ({"max_mz": 1e308}, "bins of 0.1 Th up to 1e\\+308 Th, at most 100,000,000"),
        ({"max_peaks": 0}, "max_peaks must be at least 1"),
        ({"version": 99}, "version 99, this program knows 1 to 3"),
        ({"context": [0]}, "context must ascend from"),
        ({"context": [20_001, 20_000]}, "context must ascend from"),
    ],
)
def test_wrong_options_are_refused_in_one_line(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        BinLayout.from_json(change)
    assert "\n" not in str(caught.value)
