from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from annotation_examples import ASPIRIN, CAFFEINE, candidates, spectrum_of
from evidence_examples import evidence_of
from numpy.typing import NDArray
from rdkit import Chem

from specvae.annotation.evidence.analogues import ANALOGUE_BINS, AnalogueIndex
from specvae.annotation.evidence.checkpoint import from_companions, to_companions
from specvae.annotation.evidence.defaults import EVIDENCE_KINDS
from specvae.annotation.evidence.fragment_score import standard_scorers
from specvae.annotation.evidence.other_mode import in_other_mode
from specvae.annotation.evidence.own_spectra import DEFAULT_SHARES, KnownShares
from specvae.annotation.evidence.pool import EvidencePool
from specvae.annotation.evidence.remembered import ANALOGUE_FINGERPRINT
from specvae.annotation.evidence.weighted import BEHIND, Evidence
from specvae.annotation.library.header import StoredEvidence
from specvae.annotation.library.labels import SpectrumLabel
from specvae.annotation.library.library import Library
from specvae.errors import StructureError
from specvae.molecules.candidates import CandidateSet
from specvae.molecules.fingerprint import fingerprints, get_layout
from specvae.molecules.graph import OrderedGraph
from specvae.molecules.molecule import parse_molecule
from specvae.report import ReadReport
from specvae.settings import from_json, to_json
from specvae.spectra.binning import BinLayout
from specvae.spectra.spectrum import LOWEST_SCALE, MAX_MZ, Spectrum

THEOPHYLLINE = "Cn1c2nc[nH]c2c(=O)n(C)c1=O"
THEOBROMINE = "Cn1cnc2c1c(=O)[nH]c(=O)n2C"
PHENACETIN = "CCOc1ccc(NC(C)=O)cc1"


LIBRARY = (
    spectrum_of(CAFFEINE, 110.0713, 138.0662, 195.0877),
    spectrum_of(CAFFEINE, 69.0447, 83.0604, 110.0713),
    spectrum_of(THEOPHYLLINE, 69.0447, 96.0556, 124.0505),
    spectrum_of(ASPIRIN, 121.0284, 163.039),
    spectrum_of(PHENACETIN, 110.06, 138.0913),
)


@pytest.fixture(scope="module")
def library() -> Library:
    layout = BinLayout(max_mz=300.0)
    return Library.from_spectra(LIBRARY, layout, ReadReport(), peaks=ANALOGUE_BINS)


@pytest.fixture(scope="module")
def pool(library: Library) -> EvidencePool:
    packed = fingerprints(
        [m.smiles for m in library.molecules], get_layout(ANALOGUE_FINGERPRINT), n_jobs=1
    )
    return EvidencePool.from_library(library, np.arange(len(library)), packed)


def weigh(pool: EvidencePool, query: Spectrum, found: CandidateSet) -> Evidence:
    packed = fingerprints(list(found.smiles), pool.layout, n_jobs=1)
    return evidence_of(pool, query, found, packed, np.arange(len(found), dtype=np.float64))


def test_the_score_is_the_weighted_sum_of_the_evidence(pool: EvidencePool) -> None:
    found = candidates(THEOPHYLLINE, THEOBROMINE, CAFFEINE)
    query = spectrum_of(THEOBROMINE, 110.0713, 138.0662, 181.072)
    result = weigh(pool, query, found)
    np.testing.assert_allclose(result.scores, result.parts.sum(axis=1), atol=1e-12)
    np.testing.assert_allclose(
        result.parts[:, EVIDENCE_KINDS.index("fingerprint")],
        pool.weights["fingerprint"] * np.arange(3.0),
    )
    nothing = replace(pool, weights=dict.fromkeys(EVIDENCE_KINDS, 0.0))
    odds = DEFAULT_SHARES.same_mode_odds  # of the two that the library knows
    np.testing.assert_array_equal(weigh(nothing, query, found).scores, [odds, 0.0, odds])


def test_analogues_come_with_their_likeness_nearest_first(pool: EvidencePool) -> None:
    query = spectrum_of(THEOBROMINE, 110.0713, 138.0662, 195.0877)
    result = weigh(pool, query, candidates(THEOBROMINE))
    nearest = result.analogues[0]
    assert nearest.first_block == parse_molecule(CAFFEINE).first_block
    # The spectrum that it was found by, of the two that caffeine has.
    assert pool.library.index.peaks(nearest.row).mz == pytest.approx(
        [110.07, 138.07, 195.09], abs=0.01
    )
    cosines = [analogue.cosine for analogue in result.analogues]
    assert cosines == sorted(cosines, reverse=True)
    assert all(cosine > 0 for cosine in cosines)


def test_a_measured_candidate_has_no_vote_for_itself(pool: EvidencePool) -> None:
    """Caffeine is nearest to the query; of the others only theophylline was measured."""
    query = spectrum_of(THEOBROMINE, 110.0713, 138.0662, 181.072)
    found = candidates(CAFFEINE, THEOBROMINE)
    votes = weigh(pool, query, found).parts[:, EVIDENCE_KINDS.index("analogues")]
    assert votes[1] > votes[0]


def test_a_measured_candidate_is_judged_by_its_own_spectra(pool: EvidencePool) -> None:
    library_term = EVIDENCE_KINDS.index("library")
    found = candidates(CAFFEINE, THEOBROMINE)
    same = weigh(pool, spectrum_of(CAFFEINE, 110.0713, 138.0662, 195.0877), found)
    assert same.parts[0, library_term] > 3.0
    other = weigh(pool, spectrum_of(CAFFEINE, 55.0, 57.0, 83.0604, 91.0), found)
    assert other.parts[0, library_term] < same.parts[0, library_term] - 1.5
    assert same.parts[1, library_term] == other.parts[1, library_term] == 0.0


def test_the_library_says_by_which_features_it_recognises_a_compound(pool: EvidencePool) -> None:
    """They are what weights are fitted to: of the query's ion mode, and of the other one."""
    found = candidates(CAFFEINE, THEOPHYLLINE, THEOBROMINE)
    packed = fingerprints(list(found.smiles), pool.layout, n_jobs=1)
    peaks = (110.0713, 138.0662, 195.0877)
    for query, is_here in (
        (spectrum_of(CAFFEINE, *peaks), True),
        (other_mode(CAFFEINE, *peaks), False),
    ):
        said = pool.library.ask(query, found, packed, pool.own_spectra, pool.other_mode)
        same, other = said.own_features
        np.testing.assert_array_equal(same.any(axis=1), [is_here, is_here, False])
        np.testing.assert_array_equal(other.any(axis=1), [not is_here, not is_here, False])
        ratios = pool.own_spectra(same) + pool.other_mode(other)
        np.testing.assert_array_equal(said.ratios, ratios)


def test_fragments_tell_isomers_apart(pool: EvidencePool) -> None:
    """The ethyl ether loses ethene and ketene; the ester and the other isomer do not give both."""
    query = spectrum_of(PHENACETIN, 110.06, 138.0913, 180.1019)
    found = candidates("CCOC(=O)c1ccc(NC)cc1", PHENACETIN, "CCCOC(=O)Nc1ccccc1")
    fragments = weigh(pool, query, found).parts[:, EVIDENCE_KINDS.index("fragments")]
    assert fragments.argmax() == 1


def test_a_mode_without_a_scorer_is_not_judged_by_fragments(
    pool: EvidencePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(_mol: Chem.Mol, _binary: bytes) -> OrderedGraph:
        raise StructureError("it cannot be broken into fragments")

    monkeypatch.setattr(OrderedGraph, "of", never)
    query = spectrum_of(PHENACETIN, 110.06, 138.0913)
    result = weigh(replace(pool, scorers={}), query, candidates(PHENACETIN, ASPIRIN))
    np.testing.assert_array_equal(result.parts[:, EVIDENCE_KINDS.index("fragments")], 0.0)
    assert replace(pool, scorers={}).explain(query, parse_molecule(PHENACETIN)) == ()


def test_a_spectrum_that_says_nothing_leaves_the_fingerprint(pool: EvidencePool) -> None:
    """Its one peak lies above the precursor."""
    query = spectrum_of(THEOBROMINE, 900.0)
    result = weigh(pool, query, candidates("Cn1cnc2c1c(=O)n(C)c(=O)[nH]2", THEOBROMINE))
    what_is_left = [EVIDENCE_KINDS.index(kind) for kind in ("fingerprint", "nearness")]
    np.testing.assert_allclose(
        np.diff(result.scores), np.diff(result.parts[:, what_is_left].sum(axis=1))
    )
    assert result.scores.argmax() == 1
    assert result.analogues == ()


def test_a_precursor_alone_is_like_no_spectrum(pool: EvidencePool, library: Library) -> None:
    """Caffeine's own spectrum has the same precursor, as any isomer's would have."""
    mz = library.molecules[0].exact_mass + 1.00727646
    query = spectrum_of(CAFFEINE, mz)
    isomers = ("Cn1cnc2c1c(=O)n(CC)c(=O)[nH]2", "CCn1cnc2c1c(=O)n(C)c(=O)[nH]2")
    found = candidates(CAFFEINE, *isomers)
    result = weigh(pool, query, found)
    columns = dict(zip(EVIDENCE_KINDS, result.raw.T, strict=True))
    assert result.analogues == ()
    np.testing.assert_array_equal(columns["analogues"], 0.0)
    # A known compound is the one that was measured, an unknown one either of the others.
    np.testing.assert_allclose(columns["library"], [np.log(3 / 2), 0.0, 0.0])
    assert result.measured.tolist() == [True, False, False]
    assert result.own is not None
    assert result.own.match(pool.library.index, query, 0) is None
    assert "library match" not in {kind for kind in result.leading_kinds() if kind}
    # A weight for predictions from fragments does not make that of an empty spectrum sure.
    heavy = replace(pool, weights={**pool.weights, "fingerprint": 1.0})
    np.testing.assert_allclose(weigh(heavy, query, found).scores - 2.0, result.scores, atol=0.01)


def test_a_library_spectrum_of_a_precursor_alone_says_nothing() -> None:
    """It would be like any query with a high precursor peak."""
    bare = spectrum_of(THEOBROMINE, parse_molecule(THEOBROMINE).exact_mass + 1.00727646)
    library = Library.from_spectra(
        [*LIBRARY, bare], BinLayout(max_mz=300.0), ReadReport(), peaks=ANALOGUE_BINS
    )
    packed = fingerprints(
        [m.smiles for m in library.molecules], get_layout(ANALOGUE_FINGERPRINT), n_jobs=1
    )
    pool = EvidencePool.from_library(library, np.arange(len(library)), packed)
    assert bare.precursor_mz is not None
    query = spectrum_of(THEOPHYLLINE, 69.0447, bare.precursor_mz)
    found = candidates(THEOPHYLLINE, THEOBROMINE)
    result = weigh(pool, query, found)
    blocks = {one.first_block for one in result.analogues}
    assert parse_molecule(THEOBROMINE).first_block not in blocks
    assert result.own is not None
    assert result.own.row.tolist()[1] == -1
    assert result.measured.tolist() == [True, False]
    without = replace(pool, library=pool.library.without(library.molecules[-1].first_block))
    nearness = EVIDENCE_KINDS.index("nearness")
    np.testing.assert_array_equal(
        np.delete(result.parts, nearness, axis=1),
        np.delete(weigh(without, query, found).parts, nearness, axis=1),
    )


def test_a_compound_is_no_match_that_is_not_listed_if_one_that_is_listed_is_nearer(
    pool: EvidencePool,
) -> None:
    """Theophylline has the query's mass, and the library a spectrum of it."""
    peaks = (69.0447, 96.0556, 124.0505)
    for query, is_unlisted in (
        (spectrum_of(THEOPHYLLINE, *peaks), True),
        (spectrum_of(THEOBROMINE, 69.0447, 83.0604, 110.0713), False),
    ):
        result = weigh(pool, query, candidates(CAFFEINE, THEOBROMINE))
        found = {one.first_block: one.is_unlisted for one in result.analogues}
        assert found[parse_molecule(THEOPHYLLINE).first_block] == is_unlisted


def negative(smiles: str, *mz: float) -> Spectrum:
    spectrum = spectrum_of(smiles, *mz)
    return replace(spectrum, adduct="[M-H]-", ion_mode="negative", charge=-1)


TWO_PROTONS = 2 * 1.00727646688  # Th


def other_mode(smiles: str, *mz: float) -> Spectrum:
    """Return the negative spectrum whose fragments are those of a positive one."""
    found = negative(smiles, *(peak - TWO_PROTONS for peak in mz))
    assert found.precursor_mz is not None
    return replace(found, precursor_mz=found.precursor_mz - TWO_PROTONS)


def test_a_compound_measured_in_the_other_ion_mode_is_recognised(pool: EvidencePool) -> None:
    """Caffeine's spectra are positive: they are compared with a negative query two protons off."""
    library_term = EVIDENCE_KINDS.index("library")
    assert not pool.library.has_both_modes
    found = candidates(CAFFEINE, THEOBROMINE)
    like, unlike = (
        weigh(pool, query, found)
        for query in (
            other_mode(CAFFEINE, 110.0713, 138.0662, 195.0877),
            other_mode(CAFFEINE, 55.0, 61.0, 87.0),
        )
    )
    for result in (like, unlike):
        assert result.measured.tolist() == [False, False]
        assert result.elsewhere.tolist() == [True, False]
        assert result.known.tolist() == [True, False]
        assert result.raw[1, library_term] == 0.0
        assert result.own is not None
        assert result.own.row[1] == -1
    assert like.raw[0, library_term] > unlike.raw[0, library_term] + 1.0
    assert like.own is not None
    assert like.own.cosine[0] == pytest.approx(1.0, abs=1e-3)
    match = like.own.match(
        pool.library.index, other_mode(CAFFEINE, 110.0713, 138.0662, 195.0877), 0
    )
    assert match is not None
    # It tells of what ion the spectrum is, and is a hint only, however like it is.
    assert (match.adduct, match.n_shared, match.level) == ("[M+H]+", 3, "3")
    assert match.shift == pytest.approx(-TWO_PROTONS)
    assert like.own.match(pool.library.index, negative(CAFFEINE, 55.0), 1) is None
    # What the library has in the query's own mode goes before.
    here = weigh(pool, spectrum_of(CAFFEINE, 110.0713, 138.0662, 195.0877), found)
    assert not here.elsewhere.any()


def test_analogues_of_the_other_ion_mode_vote_but_are_not_shown(pool: EvidencePool) -> None:
    column = EVIDENCE_KINDS.index("analogues")
    found = candidates(THEOBROMINE, "CCO")
    query = other_mode(THEOBROMINE, 110.0713, 138.0662, 195.0877)
    result = weigh(pool, query, found)
    assert result.raw[0, column] > 1.0
    assert result.raw[0, column] > result.raw[1, column]
    assert result.analogues == ()
    without = weigh(pool.without(parse_molecule(CAFFEINE).first_block), query, found)
    assert without.raw[0, column] < result.raw[0, column]


def test_a_hidden_mode_of_a_compound_leaves_the_other(pool: EvidencePool) -> None:
    block = parse_molecule(CAFFEINE).first_block
    found = candidates(CAFFEINE, THEOBROMINE)
    query = spectrum_of(CAFFEINE, 110.0713, 138.0662, 195.0877)
    assert weigh(pool, query, found).measured[0]
    assert not weigh(pool.without(block, "positive"), query, found).known[0]
    assert weigh(pool.without(block, "negative"), query, found).measured[0]


@pytest.mark.parametrize(
    "changes",
    [
        {"adduct": "[M-2H]2-", "charge": -2},
        # Its fragment lies above where [M+H]+ is.
        {"adduct": "[M+CH3COO]-", "precursor_mz": 253.094, "mz": [220.0]},
    ],
)
def test_a_query_that_the_other_mode_cannot_be_compared_with_knows_what_was_measured(
    pool: EvidencePool, changes: dict[str, object]
) -> None:
    """As for a precursor alone, the numbers of candidates and the shares decide."""
    query = replace(negative(CAFFEINE, 55.0), **changes)  # type: ignore[arg-type]
    assert query.has_fragments
    found = weigh(pool, query, candidates(CAFFEINE, THEOBROMINE, "CCO"))
    assert found.elsewhere.tolist() == [True, False, False]
    np.testing.assert_allclose(
        found.raw[:, EVIDENCE_KINDS.index("library")], [np.log(3 / 2), 0.0, 0.0]
    )
    np.testing.assert_array_equal(found.raw[:, EVIDENCE_KINDS.index("analogues")], 0.0)
    assert found.own is not None
    assert found.own.row.tolist() == [-1, -1, -1]


@pytest.mark.parametrize("peaks", [(110.0713, 138.0662, 195.0877), (195.0877,)])
def test_what_may_be_noise_or_is_beyond_the_ion_counts_nowhere(
    pool: EvidencePool, peaks: tuple[float, ...]
) -> None:
    """Noise beside a precursor alone had a library match, analogues and fragments."""
    query = spectrum_of(CAFFEINE, *peaks)
    found = candidates(CAFFEINE, THEOBROMINE, ASPIRIN, "CCO")
    noise = np.array([42.0338, 55.0178, 69.0447, 83.0604, 109.0634, 180.0642])
    faint = np.append(query.intensity, np.full(len(noise), 9e-4 * query.intensity.max()))
    mz = np.append(query.mz, noise)
    mz, intensity = np.append(mz[np.argsort(mz)], 300.0), np.append(faint[np.argsort(mz)], 1e6)
    noisy = replace(query, mz=mz, intensity=intensity)
    clean, other = weigh(pool, query, found), weigh(pool, noisy, found)
    np.testing.assert_array_equal(other.raw, clean.raw)
    assert [each.cosine for each in other.analogues] == [each.cosine for each in clean.analogues]
    assert noisy.has_fragments == query.has_fragments
    assert noisy.n_compared == len(peaks)


def test_peaks_that_the_other_mode_has_no_place_for_are_left_out() -> None:
    """Below two protons, above the highest m/z, and what is left is too low to be a spectrum."""
    query = spectrum_of(CAFFEINE, 1.5, 110.0713)
    moved = in_other_mode(query)
    assert moved is not None
    np.testing.assert_allclose(moved.mz, [110.0713 - TWO_PROTONS])
    high = replace(negative(CAFFEINE, 110.0713, MAX_MZ - 1.0), precursor_mz=MAX_MZ)
    moved = in_other_mode(high)
    assert moved is not None
    np.testing.assert_allclose(moved.mz, [110.0713 + TWO_PROTONS])
    low = replace(query, intensity=np.array([1.0, LOWEST_SCALE / 10.0]))
    assert in_other_mode(low) is None
    assert in_other_mode(spectrum_of(CAFFEINE, 1.5)) is None
    assert in_other_mode(replace(query, adduct="[M+?]2+", charge=2)) is None


def test_a_spectrum_of_an_unknown_mode_counts_once(pool: EvidencePool, library: Library) -> None:
    """It is compared as one of the query's mode, and not with the query two protons off too."""
    column = EVIDENCE_KINDS.index("analogues")
    signs = np.array([1, 1, 1, -1, 1], np.int8)  # aspirin is of negative ions
    signs[:2] = 0  # caffeine
    assert library.peaks is not None
    index = AnalogueIndex(library.peaks, library.compound, ANALOGUE_BINS, signs)
    remembered = replace(pool, library=replace(pool.library, index=index))
    query = spectrum_of(THEOBROMINE, 110.0713, 138.0662)
    moved = spectrum_of(THEOBROMINE, *(mz + TWO_PROTONS for mz in (110.0713, 138.0662)))
    found = candidates(THEOBROMINE)
    assert weigh(remembered, query, found).raw[0, column] > 1.0
    assert weigh(remembered, moved, found).raw[0, column] < 0.1


def test_the_match_of_a_candidate_is_a_spectrum_that_was_compared(pool: EvidencePool) -> None:
    """The negative query agrees with no spectrum, of which a positive one is the first."""
    both = pool.library.index.extended(
        ANALOGUE_BINS.encode_many([negative(CAFFEINE, 60.0)]),
        np.zeros(1, np.int64),
        np.array([-1], np.int8),
        [SpectrumLabel("negative", "[M-H]-")],
    )
    query = negative(CAFFEINE, 75.0, 91.0)
    found = weigh(
        replace(pool, library=replace(pool.library, index=both)), query, candidates(CAFFEINE, "CCO")
    )
    assert found.measured.tolist() == [True, False]
    assert found.own is not None
    match = found.own.match(both, query, 0)
    assert match is not None
    assert (match.query_id, match.cosine, match.shift) == ("negative", 0.0, 0.0)


def test_evidence_means_the_same_in_a_long_list(pool: EvidencePool) -> None:
    """What speaks for one candidate and against another does not depend on all the others."""
    query = spectrum_of(THEOBROMINE, 110.0713, 138.0662, 181.072)
    short = weigh(pool, query, candidates(THEOPHYLLINE, THEOBROMINE))
    many = candidates(THEOPHYLLINE, THEOBROMINE, "CCO", "CCCO", "CCN", "CCCN")
    long = weigh(pool, query, many)
    for kind in ("analogues", "fragments"):
        column = EVIDENCE_KINDS.index(kind)
        np.testing.assert_allclose(short.raw[:, column], long.raw[:2, column])


def test_a_listed_compound_votes_for_others_by_what_its_spectra_leave_open(
    pool: EvidencePool,
) -> None:
    """A measured compound that fits the query entirely must not be outvoted by its isomers."""
    votes = EVIDENCE_KINDS.index("analogues")
    query = spectrum_of(THEOPHYLLINE, 69.0447, 96.0556, 124.0505)
    alone = weigh(pool, query, candidates(THEOBROMINE))
    beside = weigh(pool, query, candidates(THEOBROMINE, THEOPHYLLINE))
    assert beside.raw[0, votes] < alone.raw[0, votes]
    assert beside.scores[1] > beside.scores[0]


def test_the_share_of_known_compounds_moves_measured_candidates_only(pool: EvidencePool) -> None:
    query = spectrum_of(THEOBROMINE, 110.0713, 138.0662, 181.072)
    half = weigh(pool, query, candidates(THEOPHYLLINE, THEOBROMINE))
    few = half.at_shares(KnownShares(0.08, 0.02))
    moved = np.log(0.08 / 0.9) - np.log(0.4 / 0.5)
    np.testing.assert_allclose(few.scores - half.scores, [moved, 0.0], atol=1e-12)
    assert half.measured.tolist() == [True, False]
    # A candidate that was measured in the other ion mode only moves by the other share.
    found = candidates(THEOPHYLLINE, "CCO")
    half = weigh(pool, other_mode(THEOPHYLLINE, 69.0447, 96.0556, 124.0505), found)
    few = half.at_shares(KnownShares(0.3, 0.05))
    moved = np.log(0.05 / 0.65) - np.log(0.1 / 0.5)
    np.testing.assert_allclose(few.scores - half.scores, [moved, 0.0], atol=1e-12)


def test_a_library_stored_without_ion_modes_only_speaks_for_candidates(
    pool: EvidencePool,
) -> None:
    """Its spectra may be of the other ion mode; the weights of then are replaced by today's."""
    header, tensors = to_companions(pool)
    del tensors["index.signs"]
    weights = {"fingerprint": 0.4, "analogues": 0.8, "fragments": 1.4, "library": 1.0}
    old = from_companions(replace(header, scale="", own_spectra={}, weights=weights), tensors)
    assert old.weights == pool.weights
    found = candidates(CAFFEINE, THEOBROMINE)
    library_term = EVIDENCE_KINDS.index("library")
    for peaks in ((55.0, 57.0, 83.0604, 91.0), (110.0713, 138.0662, 195.0877)):
        ratios = weigh(old, spectrum_of(CAFFEINE, *peaks), found).raw[:, library_term]
        assert ratios[0] >= 0.0
        assert ratios[1] == 0.0


def test_weights_of_evidence_as_it_was_computed_before_are_replaced(pool: EvidencePool) -> None:
    """Analogues were the logarithm of other votes: a weight of then means something else."""
    # Weights hold for the fragment score beside which they were fitted: that of then goes, too.
    other = {"positive": pool.scorers["negative"]}
    stored, tensors = to_companions(replace(pool, scorers=other))
    query = spectrum_of(THEOBROMINE, 110.0713, 138.0662, 181.072)
    found = candidates(THEOPHYLLINE, THEOBROMINE, CAFFEINE)
    kept = weigh(from_companions(stored, tensors), query, found)
    assert not np.array_equal(kept.parts, weigh(pool, query, found).parts)
    weights = {"fingerprint": 0.1, "analogues": 1.9, "fragments": 0.8, "library": 1.0}
    own = {"constant": 1.1, "cosine": 1.2, "margin": 0.2, "best_hit": 0.6, "scarcity": 0.5}
    old = from_companions(replace(stored, scale="nats", weights=weights, own_spectra=own), tensors)
    assert (old.weights, old.own_spectra) == (pool.weights, pool.own_spectra)
    assert old.other_mode == pool.other_mode
    np.testing.assert_array_equal(weigh(old, query, found).parts, weigh(pool, query, found).parts)


def test_a_pool_without_a_compound_is_one_that_never_had_it(
    pool: EvidencePool, library: Library
) -> None:
    caffeine = parse_molecule(CAFFEINE).first_block
    blocks = [library.molecules[n].first_block for n in library.compound.tolist()]
    rows = np.flatnonzero([block != caffeine for block in blocks])
    packed = fingerprints([m.smiles for m in library.molecules], pool.layout, n_jobs=1)
    never = EvidencePool.from_library(library, rows, packed)
    query = spectrum_of(CAFFEINE, 110.0713, 138.0662, 195.0877)
    found = candidates(CAFFEINE, THEOBROMINE, THEOPHYLLINE)
    ours, theirs = (weigh(each, query, found) for each in (pool.without(caffeine), never))
    assert weigh(pool, query, found).measured.tolist() == [True, False, True]
    assert ours.measured.tolist() == theirs.measured.tolist() == [False, False, True]
    np.testing.assert_allclose(ours.raw, theirs.raw, atol=1e-6)
    assert pool.without("AAAAAAAAAAAAAA") is pool


def test_evidence_of_analogues_is_the_same_in_a_longer_list(pool: EvidencePool) -> None:
    query = spectrum_of(THEOBROMINE, 110.0713, 138.0662, 181.072)
    short = weigh(pool, query, candidates(THEOBROMINE, "Cn1c(=O)[nH]c(=O)c2[nH]cnc21"))
    decoys = ("CCOC(=O)c1ccc(NC)cc1", "CCCOC(=O)Nc1ccccc1", "C1CCCCC1")
    long = weigh(pool, query, candidates(THEOBROMINE, "Cn1c(=O)[nH]c(=O)c2[nH]cnc21", *decoys))
    np.testing.assert_array_equal(long.raw[:2], short.raw)


def test_analogues_count_for_less_where_there_are_own_spectra(pool: EvidencePool) -> None:
    assert pool.own_spectra.analogues < 0.0


def test_a_checkpoint_keeps_the_evidence(pool: EvidencePool) -> None:
    stored, tensors = to_companions(pool)
    text = json.dumps(to_json(stored))
    again = from_companions(from_json(StoredEvidence, json.loads(text)), tensors)
    query = spectrum_of(THEOBROMINE, 110.0713, 138.0662, 181.072)
    found = candidates(THEOPHYLLINE, THEOBROMINE, CAFFEINE)
    np.testing.assert_array_equal(weigh(again, query, found).parts, weigh(pool, query, found).parts)


def test_earlier_models_know_what_the_shipped_fragment_score_was_fitted_to(
    pool: EvidencePool,
) -> None:
    """The score of a user's own, which does not say it, is not taken for the shipped one."""
    stored, tensors = to_companions(pool)
    without = {name: t for name, t in tensors.items() if not name.endswith(".learned_from")}
    assert len(without) == len(tensors) - 2
    shipped = standard_scorers()["positive"]
    again = from_companions(stored, without).scorers["positive"]
    assert len(shipped.learned_from)
    np.testing.assert_array_equal(again.learned_from, shipped.learned_from)
    name = "fragments.positive.background"
    other = from_companions(stored, {**without, name: without[name] + 1.0}).scorers["positive"]
    assert not len(other.learned_from)


@pytest.mark.parametrize(
    ("time", "counts"),
    [(61.5, True), (0.0, False), (-1.0, False), (float("nan"), False), (None, False)],
)
def test_a_query_with_a_retention_time_has_its_candidates_indices(
    pool: EvidencePool, time: float | None, counts: bool
) -> None:
    found = candidates(CAFFEINE, THEOPHYLLINE)
    query = replace(LIBRARY[0], retention_time=time)
    of_query = weigh(pool, query, found).elution
    assert (of_query is not None) is counts
    assert weigh(replace(pool, retention=None), query, found).elution is None


def test_both_ion_modes_have_a_scorer() -> None:
    assert set(standard_scorers()) == {"positive", "negative"}


def test_peaks_are_explained_by_the_candidates_fragments(pool: EvidencePool) -> None:
    query = spectrum_of(PHENACETIN, 110.06, 138.0913, 150.5, 180.1019)
    explained = pool.explain(query, parse_molecule(PHENACETIN))
    formulas = {round(peak.mz, 4): peak.formula for peak in explained}
    assert formulas == {110.06: "C6H8NO+", 138.0913: "C8H12NO+", 180.1019: "C10H14NO2+"}
    assert all(abs(peak.error_ppm) < 10 for peak in explained)
    mol = parse_molecule(PHENACETIN).mol
    for peak in explained:
        elements = [mol.GetAtomWithIdx(atom).GetSymbol() for atom in peak.atoms]
        assert f"C{elements.count('C')}H" in peak.formula


def test_noise_is_not_explained(pool: EvidencePool) -> None:
    assert pool.explain(spectrum_of(PHENACETIN, 900.0), parse_molecule(PHENACETIN)) == ()


@pytest.mark.parametrize(("mz", "is_shown"), [(110.0609, True), (110.0620, False)])
def test_a_fragment_far_off_in_mass_is_no_explanation(
    pool: EvidencePool, mz: float, is_shown: bool
) -> None:
    """It may be within the score's tolerance of 3 mTh, but no reader would believe it."""
    query = spectrum_of(PHENACETIN, mz, 138.0913, 180.1019)
    explained = pool.explain(query, parse_molecule(PHENACETIN))
    assert (round(mz, 4) in {round(peak.mz, 4) for peak in explained}) == is_shown


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weights": {}}, f"^'{EVIDENCE_KINDS[0]}'$"),
        ({"weights": dict.fromkeys(EVIDENCE_KINDS, float("nan"))}, "a weight is not finite"),
        ({"smiles": ()}, "compounds and fingerprints differ in number"),
        ({"first_blocks": ()}, "compounds and fingerprints differ in number"),
    ],
)
def test_evidence_that_makes_no_sense_is_refused(
    pool: EvidencePool, change: dict[str, object], message: str
) -> None:
    stored, tensors = to_companions(pool)
    with pytest.raises((KeyError, ValueError), match=message):
        from_companions(replace(stored, **change), tensors)  # type: ignore[arg-type]


def test_scores_do_not_jump_with_the_error_of_the_instrument(pool: EvidencePool) -> None:
    found = candidates(THEOPHYLLINE, THEOBROMINE, CAFFEINE)
    query = spectrum_of(THEOBROMINE, 69.0447, 96.0556, 110.0713, 138.0662, 181.072)
    precursor_mz = query.precursor_mz
    assert precursor_mz is not None

    def scores(ppm: float, precursor_error: float = 0.0) -> NDArray[np.float64]:
        mz = query.mz * (1 + 1e-6 * ppm)
        mz[-1] = precursor_mz + precursor_error
        return weigh(pool, replace(query, mz=mz), found).scores

    exact = scores(0.0)
    # The precursor's own peak a rounding error above its stated m/z is the loss of nothing, still.
    np.testing.assert_allclose(scores(0.0, 1e-6), exact, atol=1e-3)
    np.testing.assert_allclose(scores(0.0, -1e-6), exact, atol=1e-3)
    for ppm in (-1.0, -0.1, 0.1, 1.0):
        np.testing.assert_allclose(scores(ppm, ppm * 1e-4), exact, atol=0.15 * abs(ppm) + 1e-3)


def test_a_cascade_breaks_the_best_and_the_measured_only(pool: EvidencePool) -> None:
    others = ("Cc1nc2c(c(=O)[nH]1)ncn2C", "CC(C)Cc1ccc(C)cc1", "CCCCOC(=O)c1ccccc1", "NCCCCC(N)CO")
    found = candidates(THEOPHYLLINE, *others, CAFFEINE)
    packed = fingerprints(list(found.smiles), pool.layout, n_jobs=1)
    query = spectrum_of("CCO", 110.0713, 138.0662, 181.072)
    best_first = np.array([-9000.0, 0.0, -30.0, -60.0, -90.0, -9000.0])
    whole = evidence_of(pool, query, found, packed, best_first)
    only = replace(pool, weights={**pool.weights, "analogues": 0.0})
    part = evidence_of(only, query, found, packed, best_first, rescore=2)
    # The first and the last are the worst, but the library has spectra of them.
    assert whole.measured.tolist() == [True, *[False] * 4, True]
    chosen = np.array([True, True, True, False, False, True])
    compared = only.compare(query, found, packed, best_first, rescore=2)
    assert compared.broken.smiles.tolist() == found.smiles[chosen].tolist()
    place = EVIDENCE_KINDS.index("fragments")
    np.testing.assert_array_equal(part.raw[chosen, place], whole.raw[chosen, place])
    assert part.scores[~chosen].max() < part.scores[chosen].min()
    assert np.all(np.diff(part.scores[~chosen]) < 0)
    assert part.guessed is not None
    assert (part.guessed != part.raw[:, place]).tolist() == (~chosen).tolist()
    assert part.guessed[~chosen].min() > part.raw[~chosen, place].max()
    everything = evidence_of(pool, query, found, packed, best_first, rescore=6)
    np.testing.assert_array_equal(everything.scores, whole.scores)
    assert everything.guessed is None


def test_in_a_cascade_the_formulas_of_all_candidates_count(pool: EvidencePool) -> None:
    """A fragment score is the same as without the cascade."""
    found = candidates("CCCCOC(=O)c1ccccc1", "CC(C)Cc1ccc(C)cc1", "CCSC(CC)C(N)CO")
    packed = np.zeros((3, pool.layout.n_bytes), np.uint8)
    query = spectrum_of("CCCCOC(=O)c1ccccc1", 61.0106, 105.0335, 123.0441)  # C2H5S+
    whole = evidence_of(pool, query, found, packed, np.zeros(3))
    part = evidence_of(pool, query, found, packed, np.array([0.0, -100.0, -100.0]), rescore=1)
    place = EVIDENCE_KINDS.index("fragments")
    assert part.raw[0, place] == whole.raw[0, place]
    first = candidates(found.smiles[0])
    alone = evidence_of(pool, query, first, packed[:1], np.zeros(1))
    assert part.raw[0, place] != alone.raw[0, place]


def test_a_cascade_parts_no_candidates_that_tie(pool: EvidencePool) -> None:
    found = candidates("CC(C)Cc1ccc(C)cc1", "CCCCOC(=O)c1ccccc1", "NCCCCC(N)CO")
    packed = np.zeros((3, pool.layout.n_bytes), np.uint8)
    query = spectrum_of("CCO", 110.0713, 138.0662)
    scores = np.array([0.0, -1.0, 0.0])
    one = evidence_of(pool, query, found, packed, scores, rescore=1)
    two = evidence_of(pool, query, found, packed, scores, rescore=2)
    np.testing.assert_array_equal(one.scores, two.scores)


def test_candidates_near_the_library_s_compounds_gain_whatever_the_spectrum(
    pool: EvidencePool,
) -> None:
    column = EVIDENCE_KINDS.index("nearness")
    found = candidates(CAFFEINE, THEOBROMINE, "CCCCCCCCCCCC(=O)OCC")
    queries = spectrum_of(CAFFEINE, 110.0713), spectrum_of(CAFFEINE, 900.0)
    one, other = (weigh(pool, query, found).raw[:, column] for query in queries)
    np.testing.assert_array_equal(one, other)
    assert one[1] > one[2]
    # Without caffeine, theobromine has one neighbour less, and caffeine the same as before.
    block = parse_molecule(CAFFEINE).first_block
    hidden = weigh(pool.without(block), queries[0], found).raw[:, column]
    assert hidden[1] < one[1]
    assert hidden[0] == one[0]
    forgotten = weigh(pool.forgetting(), queries[0], found).raw[:, column]
    np.testing.assert_array_equal(forgotten, 0.0)


def test_analogues_of_the_query_s_mass_are_listed_or_not(pool: EvidencePool) -> None:
    """Caffeine is measured, and a candidate or not."""
    query = spectrum_of(CAFFEINE, 110.0713, 138.0662, 195.0877)
    block = parse_molecule(CAFFEINE).first_block

    def unlisted(*smiles: str) -> list[str]:
        found = weigh(pool, query, candidates(*smiles))
        return [each.first_block for each in found.analogues if each.is_unlisted]

    assert unlisted(CAFFEINE, THEOBROMINE) == []
    # Of the other compounds with like spectra, none has caffeine's mass.
    assert unlisted(THEOBROMINE) == [block]
    other = replace(query, precursor_mz=300.0)
    found = weigh(pool, other, candidates(THEOBROMINE))
    assert not any(each.is_unlisted for each in found.analogues)


@pytest.mark.parametrize("rescore", [1, 3])
def test_what_is_of_quite_another_mass_does_not_decide_what_is_broken(
    pool: EvidencePool, rescore: int
) -> None:
    """It was broken for its own spectra, and what was not broken ranked below it."""
    query = spectrum_of(THEOBROMINE, 110.0713, 138.0662, 163.0614)
    listed = (THEOBROMINE, THEOPHYLLINE, "CCOC(=O)c1ccc(N)cc1", CAFFEINE)
    each = []
    for n, prior in ((3, None), (4, np.array([0.0, 0.0, 0.0, BEHIND]))):
        found = candidates(*listed[:n])
        packed = fingerprints(list(found.smiles), pool.layout, n_jobs=1)
        compared = pool.compare(
            query, found, packed, np.arange(float(n)), rescore=rescore, prior=prior
        )
        with pool.scoring([([query], compared.broken, found.select(np.arange(3)))]) as scores:
            evidence = pool.evidence(compared, scores()[0])
        guessed = (
            evidence.raw[:, EVIDENCE_KINDS.index("fragments")]
            if evidence.guessed is None
            else evidence.guessed
        )
        each.append((compared.broken.smiles.tolist(), evidence.raw[:3], guessed[:3]))
    assert each[0][0] == each[1][0]
    assert len(each[0][0]) >= rescore
    np.testing.assert_array_equal(each[0][1], each[1][1])
    np.testing.assert_array_equal(each[0][2], each[1][2])
