from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from annotation_examples import spectrum_of
from numpy.typing import NDArray

from specvae.annotation.evidence.analogues import ANALOGUE_BINS, AnalogueIndex
from specvae.annotation.evidence.votes import (
    analogue_scores,
)
from specvae.annotation.library.labels import SpectrumLabel
from specvae.errors import InputError
from specvae.spectra.sparse import SparseMatrix
from specvae.spectra.spectrum import Spectrum

PRECURSOR = 400.0


def spectrum(mz: NDArray[np.float64], intensity: NDArray[np.float64]) -> Spectrum:
    order = np.argsort(mz)
    return Spectrum(mz=mz[order], intensity=intensity[order], query_id="s", precursor_mz=PRECURSOR)


def random_spectra(n: int, rng: np.random.Generator, n_peaks: int = 12) -> list[Spectrum]:
    """Return spectra whose peaks come from few places, so that they share many."""
    places = rng.uniform(50.0, 390.0, 40)
    return [
        spectrum(rng.choice(places, n_peaks, replace=False), rng.uniform(1.0, 1000.0, n_peaks))
        for _ in range(n)
    ]


def dense(spectra: list[Spectrum]) -> NDArray[np.float64]:
    """Return spectra as unit vectors of intensity ** 0.25 by the definition, peak by peak."""
    n_bins = 55_000
    table = np.zeros((len(spectra), 2 * n_bins))
    for row, spectrum in zip(table, spectra, strict=True):
        for mz, intensity in zip(spectrum.mz, spectrum.relative_intensity, strict=True):
            row[int(mz / 0.02 + 1e-7)] += 100 * intensity
            row[n_bins + int((PRECURSOR - mz) / 0.02 + 1e-7)] += 100 * intensity
    table = table**0.25
    return np.asarray(table / np.linalg.norm(table, axis=1, keepdims=True))


def index_of(spectra: list[Spectrum], compound: list[int]) -> AnalogueIndex:
    return AnalogueIndex(ANALOGUE_BINS.encode_many(spectra), np.array(compound), ANALOGUE_BINS)


class Nearest(NamedTuple):
    compound: NDArray[np.int64]
    cosine: NDArray[np.float32]


def nearest(index: AnalogueIndex, spectra: list[Spectrum], n: int) -> Nearest:
    """Return the nearest compounds of each spectrum and their cosines, (n_spectra, n) each."""
    cosines = np.array(list(index.cosines(spectra)))
    order = np.argsort(-cosines, axis=1, kind="stable")[:, :n]
    return Nearest(index.compounds[order], np.take_along_axis(cosines, order, axis=1))


def packed(*bits: list[int]) -> NDArray[np.uint8]:
    table = np.zeros((len(bits), 16), dtype=np.uint8)
    for row, on in zip(table, bits, strict=True):
        row[on] = 1
    return np.packbits(table, axis=1, bitorder="little")


def test_nearest_agrees_with_dense_products() -> None:
    rng = np.random.default_rng(0)
    known, queries = random_spectra(60, rng), random_spectra(9, np.random.default_rng(0))
    queries += random_spectra(9, rng)
    # Numbers with gaps, the spectra of a compound scattered over the library.
    compound = rng.integers(0, 25, 60) * 3
    cosines = dense(queries) @ dense(known).T
    numbers = np.unique(compound)
    best = np.stack([cosines[:, compound == number].max(axis=1) for number in numbers], axis=1)
    found = nearest(index_of(known, compound.tolist()), queries, 10)
    expected = -np.sort(-best, axis=1)[:, :10]
    np.testing.assert_allclose(found.cosine, expected, atol=1e-6)
    at = np.searchsorted(numbers, found.compound)
    np.testing.assert_allclose(np.take_along_axis(best, at, axis=1), expected, atol=1e-6)
    assert (numbers[at] == found.compound).all()
    assert found.cosine.dtype == np.float32
    # Each compound once.
    assert all(len(set(row)) == 10 for row in found.compound.tolist())


def test_a_library_spectrum_finds_its_own_compound_at_cosine_1() -> None:
    known = random_spectra(20, np.random.default_rng(1))
    found = nearest(index_of(known, list(range(20))), known, 1)
    assert found.compound[:, 0].tolist() == list(range(20))
    np.testing.assert_allclose(found.cosine, 1.0, atol=1e-6)
    assert found.cosine.max() <= 1.0


def test_equal_spectra_come_in_the_order_of_the_library() -> None:
    one, other = random_spectra(2, np.random.default_rng(2))
    found = nearest(index_of([other, one, one, one], [7, 5, 9, 2]), [one], 4)
    assert found.compound.tolist() == [[2, 5, 9, 7]]
    assert found.cosine[0, 0] == found.cosine[0, 1] == found.cosine[0, 2] > found.cosine[0, 3]


def test_a_query_without_usable_peaks_is_at_cosine_0_and_scores_nothing() -> None:
    known = random_spectra(5, np.random.default_rng(3))
    # Its only peak lies above the precursor, where no fragment can be.
    empty = spectrum(np.array([PRECURSOR + 50.0]), np.array([1.0]))
    found = nearest(index_of([*known, empty], list(range(6))), [empty, known[3]], 3)
    assert found.cosine[0].tolist() == [0.0, 0.0, 0.0]
    assert found.compound[1, 0] == 3
    fingerprints = packed([0, 1], [1, 2], [3])
    scores = analogue_scores(found.cosine[0], fingerprints, packed([0, 1], [5]))
    assert scores.tolist() == [0.0, 0.0]


def test_compounds_keep_the_numbers_of_the_library() -> None:
    known = random_spectra(6, np.random.default_rng(5))
    whole = nearest(index_of(known, [0, 0, 1, 2, 2, 3]), known, 1)
    assert whole.compound[:, 0].tolist() == [0, 0, 1, 2, 2, 3]
    part = index_of([known[5], known[2]], [3, 1])
    assert len(part.compounds) == 2
    found = nearest(part, [known[5], known[2]], 1)
    assert found.compound.tolist() == [[3], [1]]
    np.testing.assert_allclose(found.cosine, 1.0, atol=1e-6)


def test_an_empty_library_is_refused() -> None:
    with pytest.raises(InputError, match="no library spectrum"):
        index_of([], [])


def test_an_extended_index_is_that_of_all_spectra_at_once() -> None:
    rng = np.random.default_rng(0)
    spectra = [
        spectrum_of("CCO", *np.sort(rng.choice(np.arange(50.0, 80.0, 1.7), 4, replace=False)))
        for _ in range(12)
    ]
    compound = rng.integers(0, 5, 12)
    compound[:5] = np.arange(5)
    signs = rng.choice(np.array([-1, 0, 1], np.int8), 12)
    labels = [SpectrumLabel(f"s{i}", "[M+H]+") for i in range(12)]
    encoded = ANALOGUE_BINS.encode_many(spectra)

    def part(rows: slice) -> tuple[SparseMatrix, np.ndarray, np.ndarray, list[SpectrumLabel]]:
        return encoded.select(np.arange(12)[rows]), compound[rows], signs[rows], labels[rows]

    whole = AnalogueIndex(encoded, compound, ANALOGUE_BINS, signs, labels)
    grown = AnalogueIndex.empty()
    for rows in (slice(0, 5), slice(5, 6), slice(6, 12)):
        grown = grown.extended(*part(rows))
    for query in spectra:
        np.testing.assert_array_equal(
            grown.likeness(query).compounds, whole.likeness(query).compounds
        )
        np.testing.assert_array_equal(grown.likeness(query).rows, whole.likeness(query).rows)
    assert [grown.label(i) for i in range(12)] == [whole.label(i) for i in range(12)]
    np.testing.assert_array_equal(grown.compounds, whole.compounds)


def test_an_empty_index_is_like_nothing() -> None:
    index = AnalogueIndex.empty()
    assert len(index) == 0
    assert index.likeness(spectrum_of("CCO", 50.0)).compounds.size == 0
    assert index.comparable("positive").size == 0


@pytest.mark.parametrize(
    ("mz", "adduct"),
    [
        ([195.0877], "[M+H]+"),
        ([195.0877, 196.0911], "[M+H]+"),
        ([195.0879], "[M+H]+"),
        ([138.06, 195.0877], "[M+H]+"),
        ([138.06], "[M+H]+"),
        ([194.08, 195.0877], "[M+H]+"),
        ([195.0877, 301.2], "[M+H]+"),
        ([195.0877], "[M+2H]2+"),
        ([195.0877, 301.2], "[M+2H]2+"),
    ],
)
def test_spectra_of_a_precursor_alone_can_be_left_out(mz: list[float], adduct: str) -> None:
    """What is remembered of a spectrum still shows whether it had fragments."""
    one = Spectrum(
        mz=np.array(mz),
        intensity=np.ones(len(mz)),
        query_id="s",
        precursor_mz=195.0877,
        adduct=adduct,
    )
    other = spectrum_of("CCO", 29.0, 31.0)
    index = index_of([one, other], [0, 1])
    telling = index.with_fragments()
    assert (telling.likeness(one).compounds[0] > 0.0) == one.has_fragments
    assert telling.likeness(other).compounds[1] == pytest.approx(1.0)
    # Compounds and spectra keep their numbers.
    np.testing.assert_array_equal(telling.compounds, index.compounds)
    assert len(telling) == len(index)
    assert telling.comparable(None).tolist() == [one.has_fragments, True]


def test_a_single_peak_of_an_unknown_precursor_may_be_a_fragment() -> None:
    one = Spectrum(mz=np.array([138.06]), intensity=np.ones(1), query_id="s")
    index = index_of([one], [0])
    assert index.with_fragments() is index


def test_hidden_spectra_stay_hidden() -> None:
    known = random_spectra(3, np.random.default_rng(6))
    bare = spectrum(np.array([PRECURSOR]), np.array([1.0]))
    index = index_of([*known, bare], [0, 1, 2, 3]).hiding(1).with_fragments().hiding(0)
    assert index.comparable(None).tolist() == [False, False, True, False]
