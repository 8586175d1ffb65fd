"""The library spectrum that a candidate was recognised by."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from annotation_examples import ASPIRIN, CAFFEINE, candidates, spectrum_of
from evidence_examples import evidence_of, weighted

from specvae.annotation.evidence.analogues import ANALOGUE_BINS
from specvae.annotation.evidence.checkpoint import from_companions, to_companions
from specvae.annotation.evidence.defaults import EVIDENCE_KINDS
from specvae.annotation.evidence.library_match import LibraryMatch, OwnSpectra
from specvae.annotation.evidence.pool import EvidencePool
from specvae.annotation.evidence.remembered import ANALOGUE_FINGERPRINT
from specvae.annotation.evidence.weighted import Evidence
from specvae.annotation.library.library import Library
from specvae.molecules.fingerprint import fingerprints, get_layout
from specvae.molecules.molecule import parse_molecule
from specvae.report import ReadReport
from specvae.spectra.notes import Note
from specvae.spectra.spectrum import Spectrum

THEOPHYLLINE = "Cn1c2nc[nH]c2c(=O)n(C)c1=O"
PEAKS = (69.0447, 83.0604, 110.0713, 138.0662)
POOR = replace(spectrum_of(CAFFEINE, 42.0338, 55.0291, 138.0662), query_id="poor")
GOOD = replace(spectrum_of(CAFFEINE, *PEAKS), query_id="good\tone")
MINUS = replace(
    spectrum_of(CAFFEINE, *PEAKS), query_id="minus", adduct="[M-H]-", ion_mode="negative"
)


def pool_of(*spectra: Spectrum) -> EvidencePool:
    library = Library.from_pairs(
        [(s, parse_molecule(s.smiles)) for s in spectra], peaks=ANALOGUE_BINS
    )
    packed = fingerprints(library.molecules, get_layout(ANALOGUE_FINGERPRINT), n_jobs=1)
    return EvidencePool.from_library(library, np.arange(len(library)), packed)


def weigh(pool: EvidencePool, query: Spectrum, *smiles: str) -> Evidence:
    found = candidates(*smiles)
    packed = fingerprints(list(found.smiles), pool.layout, n_jobs=1)
    return evidence_of(pool, query, found, packed, np.zeros(len(found)))


def match(pool: EvidencePool, query: Spectrum, *smiles: str, place: int = 0) -> LibraryMatch | None:
    own = weigh(pool, query, *smiles).own
    assert own is not None
    return own.match(pool.library.index, query, place)


QUERY = spectrum_of(CAFFEINE, *PEAKS)


def test_the_best_spectrum_of_the_ion_mode_is_named() -> None:
    pool = pool_of(spectrum_of(ASPIRIN, 121.0284), POOR, MINUS, GOOD)
    found = match(pool, QUERY, CAFFEINE, THEOPHYLLINE)
    assert found is not None
    assert (found.query_id, found.adduct, found.n_shared) == ("good\tone", "[M+H]+", 4)
    assert found.cosine == pytest.approx(1.0, abs=1e-6)
    assert (found.is_clear, found.level) == (True, "2a")
    assert match(pool, QUERY, CAFFEINE, THEOPHYLLINE, place=1) is None
    negative = replace(QUERY, adduct="[M-H]-", ion_mode="negative")
    other = match(pool, negative, CAFFEINE)
    assert other is not None
    assert other.query_id == "minus"


@pytest.mark.parametrize(
    ("remembered", "query"),
    [
        (POOR, QUERY),  # low cosine
        (replace(GOOD, adduct="[M+Na]+"), QUERY),  # another ion
        (replace(GOOD, adduct=None, ion_mode=None), QUERY),  # perhaps of the other ion mode
        (replace(GOOD, notes=(Note.PREDICTED.about("in-silico QTOF"),)), QUERY),
        (replace(GOOD, name="caffeine (tentative)"), QUERY),
        (spectrum_of(CAFFEINE, *PEAKS[:2]), spectrum_of(CAFFEINE, *PEAKS[:2])),  # few peaks
    ],
)
def test_a_match_that_is_not_clear_stays_tentative(remembered: Spectrum, query: Spectrum) -> None:
    found = match(pool_of(remembered), query, CAFFEINE)
    assert found is not None
    assert found.level == "3"


def test_a_checkpoint_keeps_which_spectra_are_predicted() -> None:
    predicted = replace(GOOD, name="", notes=(Note.PREDICTED.about("CFM-ID"),))
    stored, tensors = to_companions(pool_of(predicted, POOR))
    again = match(from_companions(stored, tensors), QUERY, CAFFEINE)
    assert again is not None
    assert (again.query_id, again.name, again.level) == ("good one", "", "3")


def test_a_match_as_good_as_that_of_an_isomer_is_not_clear() -> None:
    isomer = replace(spectrum_of(THEOPHYLLINE, *PEAKS), precursor_mz=GOOD.precursor_mz)
    pool = pool_of(GOOD, isomer)
    alone = match(pool, QUERY, CAFFEINE)
    beside = match(pool, QUERY, CAFFEINE, THEOPHYLLINE)
    assert alone is not None
    assert beside is not None
    assert (alone.level, beside.level) == ("2a", "3")
    # A candidate of quite another mass is no rival.
    own = weigh(pool, QUERY, CAFFEINE, THEOPHYLLINE).own
    assert own is not None
    for fits, level in (([True, True], "3"), ([True, False], "2a")):
        found = own.match(pool.library.index, QUERY, 0, fits=np.array(fits))
        assert found is not None
        assert found.level == level


def test_a_checkpoint_keeps_names_and_one_without_them_loads() -> None:
    pool = pool_of(spectrum_of(ASPIRIN, 121.0284), POOR, GOOD)
    stored, tensors = to_companions(pool)
    again = match(from_companions(stored, tensors), QUERY, CAFFEINE)
    assert again is not None
    assert (again.query_id, again.adduct) == ("good one", "[M+H]+")
    del tensors["index.labels"]
    nameless = match(from_companions(stored, tensors), QUERY, CAFFEINE)
    assert nameless is not None
    assert (nameless.query_id, nameless.adduct) == ("", "")
    assert nameless.cosine == again.cosine


def test_the_library_says_what_an_analogue_is_called() -> None:
    named = replace(GOOD, name="  caffeine\nanhydrous ")
    pool = pool_of(named, spectrum_of(ASPIRIN, 121.0284), POOR)
    stored, tensors = to_companions(pool)
    for each in (pool, from_companions(stored, tensors)):
        nearest = weigh(each, QUERY, THEOPHYLLINE).analogues[0]
        assert (nearest.first_block, nearest.name) == ("RYYVLZVUVIJVGH", "caffeine anhydrous")
    # A model that was written before names were kept has two parts in a label, not three.
    assert bytes(to_companions(pool_of(GOOD))[1]["index.labels"]).decode() == "good one\t[M+H]+"
    old = from_companions(*to_companions(pool_of(GOOD, spectrum_of(ASPIRIN, 121.0284))))
    assert weigh(old, QUERY, THEOPHYLLINE).analogues[0].name == ""


def test_names_that_are_not_as_many_as_spectra_are_refused() -> None:
    stored, tensors = to_companions(pool_of(POOR, GOOD))
    tensors["index.labels"] = tensors["index.labels"][:4]
    with pytest.raises(ValueError, match="names and spectra"):
        from_companions(stored, tensors)


def test_remembered_peaks_are_those_of_the_spectrum_by_bins() -> None:
    pool = pool_of(spectrum_of(ASPIRIN, 121.0284), POOR, GOOD)
    own = weigh(pool, QUERY, CAFFEINE).own
    assert own is not None
    peaks = pool.library.index.peaks(int(own.row[0]))
    np.testing.assert_allclose(peaks.mz, PEAKS, atol=peaks.bin_width)
    np.testing.assert_allclose(peaks.relative_intensity, GOOD.relative_intensity, rtol=1e-4)


def test_the_kind_that_raises_a_candidate_most_leads() -> None:
    raw = np.array([[0, 1, 0, 0, 0], [0, 0, 5, 3, 0], [0, 0, 0, 0, 9.0], [0, 0, 0, 0, 0]])
    weights = dict.fromkeys(EVIDENCE_KINDS, 1.0)
    found = weighted(raw, weights, np.array([False, True, False, False]))
    assert found.leading_kinds() == ["analogues", "fragments", None, None]
    lone = weighted(np.array([[-3.0, 1.0, 2.0, 0.5, 7.0]]), weights, np.array([True]))
    assert lone.leading_kinds() == ["library"]
    for cosine, kinds in ((0.2, ["library"]), (0.1, [None]), (0.0, [None])):
        own = OwnSpectra(np.array([0]), np.array([cosine]), np.array([0]), np.array([False]))
        few = weighted(np.array([[0, 0, 0, 3.0, 0]]), weights, np.array([True]), own=own)
        assert few.leading_kinds() == kinds


def test_a_library_read_from_spectra_has_their_names() -> None:
    library = Library.from_spectra([POOR, GOOD], ANALOGUE_BINS, ReadReport())
    assert [label.query_id for label in library.labels] == ["poor", "good\tone"]


def test_the_best_of_a_hundred_spectra_of_a_feature() -> None:
    found = [
        OwnSpectra(
            np.array([n, -1]),
            np.array([0.5 + 0.001 * (n % 70), 0.0]),
            np.array([n, 0]),
            np.array([False, False]),
        )
        for n in range(100)
    ]
    best = OwnSpectra.best(found)
    assert (best.row.tolist(), best.n_shared.tolist()) == ([69, -1], [69, 0])
    assert best.cosine.tolist() == pytest.approx([0.569, 0.0])


@pytest.mark.parametrize("order", [1, -1])
def test_a_match_that_may_be_clear_goes_before_one_of_the_precursor(order: int) -> None:
    """Merged with spectra of low energy, features lost level 2a: their precursor is like itself."""
    columns = [(0.95, 1, False), (0.8, 5, False), (0.69, 9, False), (0.99, 9, True)]
    found = [
        OwnSpectra(np.array([row]), np.array([cosine]), np.array([n_shared]), np.array([nominal]))
        for row, (cosine, n_shared, nominal) in enumerate(columns)
    ]
    assert OwnSpectra.best(found[::order]).row.tolist() == [1]
    assert OwnSpectra.best([found[0], *found[2:]][::order]).row.tolist() == [0]


def test_a_spectrum_that_agrees_in_nothing_goes_before_none() -> None:
    """The first query of a feature cannot be compared with spectra of the other ion mode."""
    second = OwnSpectra(np.array([4]), np.zeros(1), np.zeros(1, np.int64), np.zeros(1, np.bool_))
    for found in ([OwnSpectra.none(1), second], [second, OwnSpectra.none(1)]):
        assert OwnSpectra.best(found).row.tolist() == [4]
