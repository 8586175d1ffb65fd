import numpy as np
import pytest

from specvae.annotation.evidence.odds import log_odds_of, logistic


def test_log_odds_and_probabilities_are_inverse() -> None:
    probabilities = np.array([1e-12, 0.1, 0.5, 0.9])
    assert log_odds_of(0.5) == 0.0
    assert log_odds_of(0.9) == pytest.approx(np.log(9.0))
    np.testing.assert_allclose(logistic(log_odds_of(probabilities)), probabilities, rtol=1e-12)


@pytest.mark.filterwarnings("error")
def test_the_ends_are_infinite_and_overflow_nothing() -> None:
    assert log_odds_of(np.array([0.0, 1.0])).tolist() == [-np.inf, np.inf]
    assert logistic(np.array([-np.inf, -1e4, 0.0, 1e4, np.inf])).tolist() == [0, 0, 0.5, 1, 1]
    assert logistic(np.array([-50.0]))[0] == pytest.approx(np.exp(-50.0), rel=1e-12)
    assert logistic(np.array([800.0], np.float32)).dtype == np.float64
