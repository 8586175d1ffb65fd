from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from specvae.annotation.evidence.mass_error import (
    FEWEST_QUERIES,
    LARGEST,
    MassError,
    mass_errors,
)
from specvae.molecules.candidates import CandidateSet
from specvae.spectra.adducts import Adduct, parse_adduct

Lists = list[NDArray[np.float64]]


def ion(name: str) -> Adduct:
    found = parse_adduct(name)
    assert found is not None
    return found


def candidates(*masses: float, ions: list[int] | None = None) -> CandidateSet:
    text = np.full(len(masses), "C", dtype=object)
    return CandidateSet(
        text,
        np.array(masses),
        inchikey=text,
        name=text,
        id=text,
        ion=None if ions is None else np.array(ions),
    )


def run(n: int, mean: float, deviation: float, listed: float = 1.0) -> tuple[Lists, Lists]:
    """Return errors and scores; the first candidate of each list is right if it is listed."""
    rng = np.random.default_rng(3)
    errors, scores = [], []
    for _ in range(n):
        of_list = rng.uniform(-10.0, 10.0, 6)
        if rng.random() < listed:
            of_list[0] = rng.normal(mean, deviation)
        errors.append(of_list)
        scores.append(np.array([1.0, 0, 0, 0, 0, 0]))
    return errors, scores


def test_errors_are_above_the_candidates_ions() -> None:
    mz = ion("[M+H]+").precursor_mz(200.1234) * (1.0 + 5e-6)
    found = mass_errors(mz, [ion("[M+H]+")], candidates(200.1234, 200.1234 * (1.0 + 5e-6)))
    assert found == pytest.approx([5.0, 0.0], abs=0.03)


def test_each_candidate_is_compared_as_its_own_ion() -> None:
    both = [ion("[M+H]+"), ion("[M+Na]+")]
    mz = both[1].precursor_mz(150.05431)
    assert round(mz, 2) != mz
    lighter = both[0].neutral_mass(mz)
    assert mass_errors(mz, both, candidates(150.05431, lighter, ions=[1, 0])) == pytest.approx(
        [0.0, 0.0]
    )


def test_isomers_have_equal_errors_whatever_the_last_digit() -> None:
    mass = 0.1 + 0.2 + 200.0
    found = mass_errors(201.30731, [ion("[M+H]+")], candidates(mass, 200.3, mass + 1e-12))
    assert found is not None
    assert len(set(found)) == 1


@pytest.mark.parametrize("mz", [None, 201.0, 201.3, 201.31])
def test_an_m_z_that_is_missing_or_rounded_has_no_errors(mz: float | None) -> None:
    assert mass_errors(mz, [ion("[M+H]+")], candidates(200.3)) is None
    assert mass_errors(201.3073, [], candidates(200.3)) is None


@pytest.mark.parametrize(("mean", "deviation"), [(0.0, 0.5), (4.0, 1.0), (-2.0, 2.0)])
@pytest.mark.parametrize("listed", [1.0, 0.6])
def test_a_run_shows_its_error_without_its_truths(
    mean: float, deviation: float, listed: float
) -> None:
    errors, scores = run(400, mean, deviation, listed)
    fit = MassError.fit(errors, scores)
    assert fit is not None
    assert fit.mean == pytest.approx(mean, abs=0.3)
    # Of lists without the truth, some have a wrong candidate near it.
    assert fit.deviation == pytest.approx(deviation, rel=0.25, abs=0.2 if listed == 1.0 else 0.5)
    assert (fit.outliers > 0.1) == (listed < 1.0)
    assert fit.n_queries == 400
    assert f" ppm, give or take {fit.deviation:.1f}," in fit.summary()


def test_a_mean_of_nearly_nothing_has_no_sign() -> None:
    assert (
        "of 30 queries are off by 0.0 ppm, give or take 1.0"
        in MassError(-0.01, 1.0, 0.05, 30).summary()
    )


def test_the_evidence_is_a_ratio_of_likelihoods() -> None:
    fit = MassError(mean=1.0, deviation=2.0, outliers=0.1, n_queries=50)
    x = np.array([1.0, 2.0, -1.0, 5.0])
    density = 0.9 * np.exp(-((x - 1.0) ** 2) / 8.0) / np.sqrt(8.0 * np.pi) + 0.1 / 20.0
    assert fit.evidence(x) == pytest.approx(np.log(density / density[0]))
    # Without a candidate of the run's error, those that are nearest to it are at 0.
    assert fit.evidence(x[1:]) == pytest.approx(np.log(density[1:] / density[1]))


def test_no_candidate_loses_more_than_the_limit() -> None:
    fit = MassError(mean=0.0, deviation=0.3, outliers=0.01, n_queries=50)
    assert fit.evidence(np.array([0.0, 1e6])).tolist() == [0.0, -LARGEST]
    assert fit.evidence(np.array([1e6, 1e6])).tolist() == [0.0, 0.0]
    assert fit.evidence(np.array([9.0])).tolist() == [0.0]


def test_few_queries_show_nothing() -> None:
    errors, scores = run(FEWEST_QUERIES, 0.0, 1.0)
    assert MassError.fit(errors, scores) is not None
    assert MassError.fit(errors[1:], scores[1:]) is None


def test_the_fit_is_of_queries_and_not_of_candidates() -> None:
    """Nor do the heights of scores matter."""
    errors, scores = run(60, 2.0, 1.0)
    fit = MassError.fit(errors, scores)
    assert fit is not None
    doubled, higher = list(errors), list(scores)
    for n in range(0, 60, 3):
        doubled[n], higher[n] = np.tile(errors[n], 2), np.tile(scores[n], 2) + 900.0
    other = MassError.fit(doubled, higher)
    assert other is not None
    assert other.mean == pytest.approx(fit.mean)
    assert other.deviation == pytest.approx(fit.deviation)
    assert other.outliers == pytest.approx(fit.outliers)


def test_queries_of_quite_another_mass_leave_the_fit_where_it_is() -> None:
    errors, scores = run(60, 2.0, 1.0)
    fit = MassError.fit(errors, scores)
    wrong = MassError.fit([*errors, np.array([4e5, -3e5])], [*scores, np.zeros(2)])
    assert fit is not None
    assert wrong is not None
    assert wrong.mean == pytest.approx(fit.mean, abs=0.05)
    assert wrong.deviation == pytest.approx(fit.deviation, abs=0.05)


def test_a_run_that_is_of_other_masses_altogether_moves_nothing() -> None:
    errors = [np.array([4e5, 3e5])] * 30
    fit = MassError.fit(errors, [np.zeros(2)] * 30)
    assert fit is not None
    assert fit.evidence(errors[0]).tolist() == [0.0, 0.0]
