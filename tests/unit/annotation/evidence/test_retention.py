from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from specvae.annotation.evidence.remembered import ANALOGUE_FINGERPRINT
from specvae.annotation.evidence.retention import (
    COMPOSITION,
    FEWEST_QUERIES,
    LARGEST,
    Elution,
    RetentionIndex,
    RetentionLine,
    composition_of,
    standard_index,
)
from specvae.molecules.fingerprint import fingerprints, get_layout
from specvae.molecules.molecule import Molecule


def indices(*smiles: str) -> list[float]:
    molecules = [Molecule.parse(text) for text in smiles]
    packed = fingerprints(molecules, get_layout(ANALOGUE_FINGERPRINT), n_jobs=1)
    return [*map(float, standard_index().of(packed, [m.formula for m in molecules]))]


def run(
    n: int, slope: float, noise: float = 0.3, n_candidates: int = 8
) -> tuple[list[Elution], list[NDArray[np.float64]]]:
    """Return elutions and scores; the first candidate of each list is the right one."""
    rng = np.random.default_rng(1)
    x = [rng.normal(size=n_candidates) for _ in range(n)]
    elutions = [Elution(300.0 + 60.0 * (slope * of[0] + noise * rng.normal()), of) for of in x]
    scores = [np.concatenate([[1.0], np.zeros(n_candidates - 1)]) for _ in range(n)]
    return elutions, scores


def test_atoms_of_a_formula_are_counted() -> None:
    found = dict(zip(COMPOSITION, composition_of("C8H8BrClF2N2O2S"), strict=True))
    assert found == {
        "C": 8, "H": 8, "N": 2, "O": 2, "S": 1, "P": 0, "F": 2, "halogens": 4,
        "unsaturation": 4.0, "log_carbons": pytest.approx(np.log(9)), "root_polar": 2.0,
    }  # fmt: skip


def test_oily_compounds_leave_the_column_last() -> None:
    glucose, caffeine, carbamazepine, palmitic = indices(
        "OCC1OC(O)C(O)C(O)C1O", "Cn1cnc2c1c(=O)n(C)c(=O)n2C", "NC(=O)N1c2ccccc2C=Cc2ccccc21",
        "CCCCCCCCCCCCCCCC(=O)O",
    )  # fmt: skip
    assert glucose < caffeine < carbamazepine < palmitic


def test_equal_structures_have_equal_indices() -> None:
    many = indices(*["c1ccccc1O", "CCO", "Oc1ccccc1"] * 7)
    assert len(set(many)) == 2
    assert indices("CCO") == many[1:2]


def test_an_index_is_what_its_weights_say() -> None:
    bits = np.arange(16.0) - 8.0
    index = RetentionIndex(bits, np.arange(len(COMPOSITION)) / 10.0)
    packed = np.array([[0b101, 0], [0, 0b10000000]], np.uint8)
    water = sum(n * w for n, w in zip(composition_of("H2O"), index.composition, strict=True))
    assert index.of(packed, ["H2O", "H2O"]) == pytest.approx([-14.0 + water, 7.0 + water])


@pytest.mark.parametrize("slope", [1.0, -1.0])
def test_a_line_is_found_without_knowing_which_candidates_are_right(slope: float) -> None:
    elutions, scores = run(100, slope)
    line = RetentionLine.fit(elutions, scores)
    assert line is not None
    assert line.slope * line.deviation == pytest.approx(60.0 * slope, rel=0.2)
    assert line.variance < 0.3
    evidence = np.array([line.evidence(each) for each in elutions])
    assert evidence[:, 0].mean() > evidence[:, 1:].mean() + 0.5
    assert np.abs(evidence).max() <= LARGEST


def test_evidence_does_not_depend_on_the_unit_of_time() -> None:
    elutions, scores = run(40, 1.0)
    minutes = [Elution(each.time / 60.0, each.index) for each in elutions]
    one, other = RetentionLine.fit(elutions, scores), RetentionLine.fit(minutes, scores)
    assert one is not None
    assert other is not None
    assert one.evidence(elutions[3]) == pytest.approx(other.evidence(minutes[3]))


def test_a_line_is_of_queries_and_not_of_candidates() -> None:
    """Nor do the heights of scores and the zero of the index matter."""
    elutions, scores = run(40, 1.0)
    line = RetentionLine.fit(elutions, scores)
    assert line is not None
    doubled, higher, moved = list(elutions), list(scores), list(scores)
    for n in range(0, 40, 3):
        doubled[n] = Elution(elutions[n].time, np.tile(elutions[n].index, 2))
        higher[n] = np.tile(scores[n], 2)
        moved[n] = scores[n] + (-900.0, 900.0)[n % 2]
    shifted = [Elution(each.time, each.index + 7.0) for each in elutions]
    for changed, of_scores in ((doubled, higher), (elutions, moved), (shifted, scores)):
        other = RetentionLine.fit(changed, of_scores)
        assert other is not None
        for n in (0, 1):
            found = other.evidence(changed[n])[: len(scores[n])]
            assert found == pytest.approx(line.evidence(elutions[n]), abs=1e-9)


def test_times_that_follow_nothing_say_little() -> None:
    elutions, scores = run(200, 0.0, noise=1.0)
    line = RetentionLine.fit(elutions, scores)
    assert line is not None
    assert abs(line.slope) < 0.3
    assert line.variance > 0.6
    evidence = np.array([line.evidence(each) for each in elutions])
    assert np.abs(evidence).mean() < 0.15


@pytest.mark.parametrize("slip", [60.0 * 300.0, 1e9])
def test_a_slip_among_the_times_changes_little(slip: float) -> None:
    elutions, scores = run(100, 1.0)
    slipped = Elution(slip, elutions[0].index)
    line = RetentionLine.fit(elutions, scores)
    wrong = RetentionLine.fit([slipped, *elutions[1:]], scores)
    assert line is not None
    assert wrong is not None
    assert wrong.slope * wrong.deviation == pytest.approx(line.slope * line.deviation, rel=0.1)
    for each in elutions[1:]:
        assert wrong.evidence(each) == pytest.approx(line.evidence(each), abs=0.5)
    assert not wrong.evidence(slipped).any()
    assert wrong.n_queries == 99


def test_few_queries_and_equal_times_make_no_line() -> None:
    elutions, scores = run(FEWEST_QUERIES, 1.0)
    assert RetentionLine.fit(elutions, scores) is not None
    assert RetentionLine.fit(elutions[1:], scores[1:]) is None
    # Of twenty of the second, the mean is another number.
    for time in (60.0, 264.1):
        assert RetentionLine.fit([Elution(time, each.index) for each in elutions], scores) is None
    elutions, scores = run(400, 1.0)
    times = [300.0] * 399 + [1e9]
    equal = [Elution(time, each.index) for time, each in zip(times, elutions, strict=True)]
    assert RetentionLine.fit(equal, scores) is None
    assert RetentionLine.fit([], []) is None


def test_what_a_line_explains_is_said() -> None:
    line = RetentionLine(300.0, 60.0, 0.0, 0.8, 0.36, 0.05, 100)
    assert line.summary().startswith(
        "retention times: those of 100 queries follow their candidates' structures by 64% of"
    )
