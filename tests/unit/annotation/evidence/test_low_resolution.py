"""Spectra of low resolution beside accurate ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from annotation_examples import CAFFEINE, candidates, spectrum_of
from evidence_examples import evidence_of

from specvae.annotation.evidence.analogues import ANALOGUE_BINS
from specvae.annotation.evidence.defaults import EVIDENCE_KINDS
from specvae.annotation.evidence.library_match import OwnSpectra
from specvae.annotation.evidence.low_resolution import (
    NOMINAL_RATIO,
    PeakLists,
    nominal,
    nominal_cosines,
)
from specvae.annotation.evidence.own_spectra import DEFAULT_SHARES
from specvae.annotation.evidence.pool import EvidencePool
from specvae.annotation.evidence.remembered import ANALOGUE_FINGERPRINT
from specvae.annotation.evidence.weighted import Evidence
from specvae.annotation.library.library import Library
from specvae.molecules.fingerprint import fingerprints, get_layout
from specvae.molecules.molecule import parse_molecule
from specvae.spectra.spectrum import Spectrum

# Isomers of caffeine.
ISOCAFFEINE, ENPROFYLLINE = "Cn1cnc2c(=O)n(C)c(=O)n(C)c12", "CCCn1c(=O)[nH]c(=O)c2[nH]cnc21"
PEAKS = (42.0338, 55.0291, 69.0447, 83.0604, 110.0713, 138.0662)
QUERY = spectrum_of(CAFFEINE, *PEAKS)


def rounded(spectrum: Spectrum, *, step: float = 1.0, error: float = 0.0) -> Spectrum:
    """Return a spectrum as an instrument of low resolution measures it."""
    mz = np.round((spectrum.mz + error) / step) * step
    return replace(spectrum, mz=mz, query_id="rounded")


def pool_of(*spectra: Spectrum) -> EvidencePool:
    library = Library.from_pairs(
        [(s, parse_molecule(s.smiles)) for s in spectra], peaks=ANALOGUE_BINS
    )
    packed = fingerprints(library.molecules, get_layout(ANALOGUE_FINGERPRINT), n_jobs=1)
    return EvidencePool.from_library(library, np.arange(len(library)), packed, {})


def weigh(pool: EvidencePool, query: Spectrum, *smiles: str) -> tuple[Evidence, OwnSpectra]:
    found = candidates(*smiles)
    packed = fingerprints(list(found.smiles), pool.layout, n_jobs=1)
    evidence = evidence_of(pool, query, found, packed, np.zeros(len(found)))
    assert evidence.own is not None
    return evidence, evidence.own


@pytest.mark.parametrize(
    ("mz", "expected"),
    [(138.0662, 138), (138.0, 138), (138.4, 138), (137.7, 138), (759.5783, 759), (79.957, 80)],
)
def test_the_nominal_mass_allows_for_the_defect_of_organic_ions(mz: float, expected: int) -> None:
    assert nominal(np.array([mz])).tolist() == [expected]


def peaks(*spectra: dict[float, float]) -> PeakLists:
    counts = [len(spectrum) for spectrum in spectra]
    return PeakLists(
        np.concatenate([[0], np.cumsum(counts)]),
        np.array([mz for spectrum in spectra for mz in spectrum]),
        np.array([height for spectrum in spectra for height in spectrum.values()]),
    )


def test_cosines_are_of_what_is_summed_by_nominal_mass() -> None:
    query = peaks({50.1: 9.0, 50.3: 16.0, 71.0: 1.0})  # roots: 5, 1
    others = peaks({50.0: 16.0, 90.0: 9.0}, {}, {71.3: 4.0, 50.0: 100.0}, {200.0: 1.0})
    cosines, shared = nominal_cosines(query, others, 0.5)
    norm = np.sqrt(26.0)
    expected = [5 * 4 / (norm * 5), 0.0, (5 * 10 + 1 * 2) / (norm * np.sqrt(104.0)), 0.0]
    np.testing.assert_allclose(cosines, expected, rtol=1e-12)
    assert shared.tolist() == [1, 0, 2, 0]
    nothing = nominal_cosines(peaks({}), others, 0.5)
    assert (nothing[0].tolist(), nothing[1].tolist()) == ([0.0] * 4, [0] * 4)


@pytest.mark.parametrize(
    "low",
    [rounded(QUERY), rounded(QUERY, step=0.1, error=0.2), rounded(QUERY, step=0.01, error=0.23)],
)
@pytest.mark.parametrize("is_query", [False, True])
def test_a_known_compound_is_recognised_at_low_resolution(low: Spectrum, is_query: bool) -> None:
    remembered, query = (QUERY, low) if is_query else (low, QUERY)
    pool = pool_of(remembered, replace(spectrum_of(ENPROFYLLINE, 99.1, 153.03), query_id="other"))
    evidence, own = weigh(pool, query, ISOCAFFEINE, CAFFEINE)
    assert own.is_nominal.tolist() == [False, True]
    assert own.cosine[1] > 0.95
    library = evidence.parts[:, 3]
    assert library[0] == 0.0
    # 2 candidates, one of them measured: the scarcity is 0.
    ratio = NOMINAL_RATIO.constant + NOMINAL_RATIO.cosine * own.cosine[1]
    assert library[1] == pytest.approx(ratio + DEFAULT_SHARES.same_mode_odds, abs=1e-6)
    match = own.match(pool.library.index, query, 1)
    assert match is not None
    assert (match.is_nominal, match.level, match.n_shared) == (True, "3", len(PEAKS))


@pytest.mark.parametrize("is_query", [False, True])
def test_heights_count_alike_on_both_sides(is_query: bool) -> None:
    steep = replace(QUERY, intensity=np.array([100.0, 40.0, 15.0, 6.0, 2.5, 1.0]))
    remembered, query = (steep, rounded(steep)) if is_query else (rounded(steep), steep)
    pool = pool_of(remembered, replace(spectrum_of(ENPROFYLLINE, 99.1, 153.03), query_id="other"))
    _, own = weigh(pool, query, CAFFEINE)
    assert own.is_nominal.tolist() == [True]
    assert own.cosine[0] == pytest.approx(1.0, abs=2e-3)


def test_accurate_spectra_are_compared_as_before() -> None:
    """An isomer with an accurate spectrum shares accurate peaks, or no nominal ones either."""
    half = spectrum_of(ISOCAFFEINE, *PEAKS[:3], 91.01, 120.02)
    unlike = spectrum_of(ENPROFYLLINE, 67.03, 97.05, 151.1)
    pool = pool_of(QUERY, half, unlike)
    evidence, own = weigh(pool, QUERY, CAFFEINE, ISOCAFFEINE, ENPROFYLLINE)
    assert not own.is_nominal.any()
    assert own.cosine[0] == pytest.approx(1.0, abs=1e-6)
    assert evidence.parts[0, 3] > evidence.parts[1, 3] > evidence.parts[2, 3]
    assert evidence.parts[2, 3] < 0.0


def test_an_accurate_spectrum_of_the_same_compound_goes_first() -> None:
    pool = pool_of(rounded(QUERY), QUERY)
    _, own = weigh(pool, QUERY, CAFFEINE, ISOCAFFEINE)
    match = own.match(pool.library.index, QUERY, 0)
    assert match is not None
    assert (match.is_nominal, match.level) == (False, "2a")
    assert match.query_id != "rounded"


@pytest.mark.parametrize(("n_alike", "margin"), [(6, 1.0), (3, 0.0)])
def test_nominal_masses_count_less_beside_a_good_accurate_match(
    n_alike: int, margin: float
) -> None:
    accurate = spectrum_of(ISOCAFFEINE, *PEAKS[:n_alike], *(91.01, 120.02, 131.04)[n_alike // 2 :])
    _, alone = weigh(pool_of(rounded(QUERY)), QUERY, CAFFEINE, ISOCAFFEINE)
    evidence, own = weigh(pool_of(rounded(QUERY), accurate), QUERY, CAFFEINE, ISOCAFFEINE)
    assert own.is_nominal.tolist() == [True, False]
    assert own.cosine[0] == alone.cosine[0]
    is_good = own.cosine[1] > 0.7
    assert is_good == bool(margin)
    best = min(own.cosine[1], 0.999)
    excess = np.log(best / (1.0 - best)) - np.log(0.7 / 0.3)
    ratio = (
        NOMINAL_RATIO.constant
        + NOMINAL_RATIO.cosine * own.cosine[0]
        - margin * NOMINAL_RATIO.margin * excess
        + NOMINAL_RATIO.scarcity * np.log(1.0 / 3.0)
    )
    expected = ratio + DEFAULT_SHARES.same_mode_odds
    assert evidence.parts[0, 3] == pytest.approx(expected, abs=1e-5)
    assert not is_good or evidence.parts[1, 3] > evidence.parts[0, 3]
    # It says nothing of a candidate without spectra.
    beside, _ = weigh(pool_of(rounded(QUERY), accurate), QUERY, CAFFEINE, ISOCAFFEINE, ENPROFYLLINE)
    assert beside.parts[2, 3] == 0.0


def test_spectra_of_the_other_ion_mode_are_not_compared_by_nominal_masses() -> None:
    negative = replace(rounded(QUERY), adduct="[M-H]-", ion_mode="negative")
    pool = pool_of(negative, replace(rounded(QUERY), mz=rounded(QUERY).mz + 1.0))
    _, own = weigh(pool, QUERY, CAFFEINE, ISOCAFFEINE)
    assert not own.is_nominal.any()


def test_a_difference_of_nominal_masses_says_nothing_where_ion_modes_are_unknown() -> None:
    little = spectrum_of(CAFFEINE, 97.4, 110.4, 121.4, 138.3, 149.4, 163.4)
    for mode, is_against in (("positive", True), (None, False)):
        measured = replace(little, adduct=None, ion_mode=mode)
        evidence, own = weigh(pool_of(measured), QUERY, CAFFEINE, ISOCAFFEINE)
        assert own.is_nominal.tolist() == [True, False]
        assert own.cosine[0] < 0.4
        assert (evidence.raw[0, EVIDENCE_KINDS.index("library")] < 0.0) == is_against


def test_of_several_queries_accurate_masses_go_before_nominal_ones() -> None:
    nominal_one = OwnSpectra(np.array([1]), np.array([0.9]), np.array([5]), np.array([True]))
    accurate = OwnSpectra(np.array([2]), np.array([0.4]), np.array([3]), np.array([False]))
    none = OwnSpectra.none(1)
    assert OwnSpectra.best([nominal_one, accurate, none]).row.tolist() == [2]
    assert OwnSpectra.best([none, nominal_one]).row.tolist() == [1]


def test_compounds_spectra_are_found_without_hidden_ones_and_those_of_the_other_mode() -> None:
    negative = replace(QUERY, adduct="[M-H]-", ion_mode="negative")
    index = pool_of(QUERY, negative, spectrum_of(ENPROFYLLINE, 97.05), QUERY).library.index
    both = np.array([1, 0])
    rows, number = index.rows_of_compounds(both, None)
    assert number.tolist() == [0, 1, 1, 1]
    assert sorted(rows.tolist()) == [0, 1, 2, 3]
    rows, number = index.rows_of_compounds(both, "positive")
    assert number.tolist() == [0, 1, 1]
    assert index.hiding(0).rows_of_compounds(both, None)[1].tolist() == [0]
    none = index.rows_of_compounds(np.empty(0, np.int64), None)
    assert (len(none[0]), len(none[1])) == (0, 0)
