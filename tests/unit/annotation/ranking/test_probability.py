from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from specvae.annotation.ranking.probability import (
    SCORE_FEATURES,
    ProbabilityModel,
    default_probability,
    in_list_probability,
    score_features,
)
from specvae.errors import ConfigError

N = len(SCORE_FEATURES)


def plain(log_temperature: float = 0.0, log_odds: float = 0.0) -> ProbabilityModel:
    """Return a model that looks at no feature."""
    none = (0.0,) * N
    return ProbabilityModel((), none, (1.0,) * N, (log_temperature, *none), (log_odds, *none))


def probabilities(
    model: ProbabilityModel,
    scores: list[NDArray[np.float64]],
    share: float,
    features: NDArray[np.float64] | None = None,
) -> list[NDArray[np.float64]]:
    """Return each candidate's probability, per list (n_candidates,), at a share of lists."""
    held = in_list_probability(model.log_odds_in_list(scores, features), share)
    given = model.given_in_list(scores, features)
    return [q * chances for q, chances in zip(held, given, strict=True)]


def logit(share: float) -> float:
    return float(np.log(share) - np.log1p(-share))


@pytest.mark.parametrize("n", [1, 2, 7, 100])
def test_equal_scores_share_equally_with_the_chance_that_none_is_right(n: int) -> None:
    (p,) = probabilities(plain(log_odds=logit(0.8)), [np.full(n, -12.5)], 0.5)
    assert len(set(p.tolist())) == 1
    np.testing.assert_allclose(p, 0.8 / n, rtol=1e-12)


def test_a_sure_list_gives_the_softmax_and_an_empty_share_gives_nothing() -> None:
    scores = np.array([1.0, 3.0, 2.0])
    softmax = np.exp(2 * scores) / np.exp(2 * scores).sum()
    model = plain(log_temperature=float(np.log(2.0)), log_odds=-3.0)
    np.testing.assert_allclose(probabilities(model, [scores], 1.0)[0], softmax, rtol=1e-12)
    assert not probabilities(model, [scores], 0.0)[0].any()


def test_probabilities_are_a_softmax_with_one_more_outcome() -> None:
    scores, share = np.array([0.3, -1.0, 2.2, 2.2]), 0.7
    model = plain(log_temperature=float(np.log(1.5)), log_odds=0.4)
    e = np.exp(1.5 * scores)
    u = np.log(e.sum()) - 0.4 - logit(share)
    (p,) = probabilities(model, [scores], share)
    np.testing.assert_allclose(p, e / (e.sum() + np.exp(u)), rtol=1e-12)


def test_zero_of_the_scores_does_not_matter_even_far_away() -> None:
    scores = np.array([0.0, -2.0, 5.0])
    model = replace(plain(), in_list=(0.1, 0.2, 0.3, 0.4, 0.5))
    close, far = probabilities(model, [scores, scores - 1024.0], 0.6)
    np.testing.assert_allclose(close, far, rtol=1e-12)


def test_score_features_in_closed_form() -> None:
    rows = score_features([np.array([3.0]), np.array([1.0, 1.0, 4.0]), np.array([0.0, 50.0])])
    np.testing.assert_allclose(
        rows,
        [
            [0.0, 0.0, 6.0, 0.0],
            [np.log(3), np.log1p(2 * np.exp(-3.0)), 3.0, 2.0],
            [np.log(2), 0.0, 6.0, 25.0],
        ],
        atol=1e-12,
    )


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 0.9, 1.0])
def test_share_is_recovered_from_unlabelled_lists(share: float) -> None:
    # Two normal densities of unit variance, two apart: their log ratio is 2 x, exactly.
    rng = np.random.default_rng(3)
    n = 4000
    held = np.arange(n) < share * n
    log_odds = 2.0 * (rng.normal(size=n) + np.where(held, 1.0, -1.0))
    estimate = plain().estimate_share(log_odds)
    assert estimate == pytest.approx(share, abs=0.025)


def test_share_is_the_fixed_point_of_em() -> None:
    rng = np.random.default_rng(0)
    log_odds = rng.normal(size=50)
    model = replace(plain(), default_share=0.8, share_strength=5.0)
    r = 0.5
    for _ in range(5000):
        r = (in_list_probability(log_odds, r).sum() + 4.0) / 55.0
    assert model.estimate_share(log_odds) == pytest.approx(r, abs=1e-9)


def test_the_interval_of_a_share_is_that_of_known_outcomes_where_these_are_certain() -> None:
    """Certain log odds are counts: the posterior is a Beta distribution."""
    odds = np.array([60.0] * 30 + [-60.0] * 70)
    low, high = replace(plain(), share_strength=3.0).share_interval(odds)
    drawn = np.random.default_rng(0).beta(30 + 2.7 + 1, 70 + 0.3 + 1, 200_000)
    assert (low, high) == pytest.approx(np.quantile(drawn, [0.025, 0.975]).tolist(), abs=0.004)


def test_what_says_nothing_leaves_the_interval_wide() -> None:
    model = replace(plain(), share_strength=3.0)
    low, high = model.share_interval(np.zeros(1000))
    assert high - low > 0.5
    assert model.share_interval(np.empty(0)) == (low, high)


def test_few_queries_hardly_move_the_share() -> None:
    assert plain().estimate_share(np.empty(0)) == pytest.approx(0.9)
    assert plain().estimate_share(np.array([-1.0])) == pytest.approx(0.9, abs=0.1)
    assert plain().estimate_share(np.full(1000, -1.0)) < 0.1


def simulated(
    n: int, seed: int
) -> tuple[list[NDArray[np.float64]], list[int | None], NDArray[np.float64]]:
    """Return lists whose truth follows softmax(2.5 s), and which hold it by a feature f.

    The log odds that a list holds its truth are 0.5 + 1.5 f.
    """
    rng = np.random.default_rng(seed)
    scores = [rng.normal(size=k) for k in rng.integers(1, 12, size=n)]
    feature = rng.normal(size=n)
    truth: list[int | None] = []
    for s, f in zip(scores, feature, strict=True):
        p = np.exp(2.5 * s) / np.exp(2.5 * s).sum()
        is_held = rng.random() < 1 / (1 + np.exp(-0.5 - 1.5 * f))
        truth.append(int(rng.choice(len(s), p=p)) if is_held else None)
    return scores, truth, feature[:, np.newaxis]


def test_fit_recovers_temperature_and_log_odds() -> None:
    scores, truth, feature = simulated(6000, 1)
    model = ProbabilityModel.fit(scores, truth, np.ones(len(scores)), feature, ("f",))
    held = np.array([place is not None for place in truth])
    z = (np.array([1.0]) - model.centre[-1]) / model.scale[-1]
    assert np.exp(model.log_temperature[0]) == pytest.approx(2.5, rel=0.1)
    assert np.abs(model.log_temperature[1:]).max() < 0.1
    # The fit is at even odds, whatever the share of lists that hold their truth.
    slope = model.in_list[-1] / model.scale[-1]
    assert slope == pytest.approx(1.5, abs=0.15)
    assert model.in_list[0] + model.in_list[-1] * z[0] == pytest.approx(
        2.0 - logit(held.mean()), abs=0.2
    )
    assert np.abs(model.in_list[1:-1]).max() < 0.2


def test_probabilities_come_true_on_lists_that_were_not_fitted() -> None:
    scores, truth, feature = simulated(4000, 2)
    model = ProbabilityModel.fit(scores, truth, np.ones(len(scores)), feature, ("f",))
    fresh, answers, extra = simulated(4000, 7)
    held = np.array([place is not None for place in answers])
    share = model.estimate_share(model.log_odds_in_list(fresh, extra))
    assert share == pytest.approx(held.mean(), abs=0.05)
    p = probabilities(model, fresh, share, extra)
    best = [int(q.argmax()) for q in p]
    promised = np.array([q.max() for q in p])
    right = np.array([b == a for b, a in zip(best, answers, strict=True)])
    for chosen in (promised < 0.3, (promised >= 0.3) & (promised < 0.7), promised >= 0.7):
        assert chosen.sum() > 300
        assert promised[chosen].mean() == pytest.approx(right[chosen].mean(), abs=0.04)


def test_weights_count_like_copies() -> None:
    scores, truth, feature = simulated(200, 4)
    weights = np.where(np.arange(200) < 50, 2.0, 1.0)
    weighted = ProbabilityModel.fit(scores, truth, weights, feature, ("f",))
    copied = ProbabilityModel.fit(
        scores + scores[:50],
        truth + truth[:50],
        np.ones(250),
        np.concatenate([feature, feature[:50]]),
        ("f",),
    )
    np.testing.assert_allclose(weighted.in_list, copied.in_list, atol=1e-4)
    np.testing.assert_allclose(weighted.log_temperature, copied.log_temperature, atol=1e-4)


def test_fit_wants_lists_of_both_kinds() -> None:
    with pytest.raises(ValueError, match="hold their truth and lists that do not"):
        ProbabilityModel.fit([np.zeros(2)], [0], np.ones(1))


def test_features_of_another_number_are_refused() -> None:
    with pytest.raises(ValueError, match=r"shape \(1, 2\), wanted \(1, 0\)"):
        plain().given_in_list([np.zeros(3)], np.zeros((1, 2)))


def test_json_round_trip_and_unknown_key() -> None:
    scores, truth, feature = simulated(100, 5)
    model = ProbabilityModel.fit(scores, truth, np.ones(100), feature, ("f",))
    stored = json.loads(json.dumps(model.to_json()))
    assert ProbabilityModel.from_json(stored) == model
    with pytest.raises(ConfigError, match="unknown key 'temprature'"):
        ProbabilityModel.from_json({**stored, "temprature": 1.0})
    with pytest.raises(ConfigError, match=r"probability\.scale: found 0 numbers, wanted 5"):
        ProbabilityModel.from_json({**stored, "scale": []})


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("centre", [0.0, float("nan"), 0.0, 0.0], r"probability\.centre\[1\]: found nan"),
        ("scale", [1.0, 0.0, 1.0, 1.0], r"probability\.scale: found 0\.0, wanted numbers above 0"),
        ("default_share", 1.0, r"probability\.default_share: found 1\.0, wanted a share between"),
        ("share_strength", 0.0, r"probability\.share_strength: found 0\.0, wanted a number above"),
    ],
)
def test_stored_numbers_without_sense_are_refused(key: str, value: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ProbabilityModel.from_json({**plain().to_json(), key: value})


def test_a_list_unlike_all_that_were_learned_from_is_not_followed_beyond_three_deviations() -> None:
    model = replace(plain(), in_list=(0.0, 1.0, 0.0, 0.0, 0.0))
    n = [round(np.exp(3)), 10**4, 10**5]
    odds = model.log_odds_in_list([np.zeros(of_list) for of_list in n])
    np.testing.assert_allclose(odds, [np.log(n[0]), 3.0, 3.0], rtol=1e-12)


def test_lists_that_hardly_tell_leave_the_share_near_the_default() -> None:
    """A hundred lists of unknown compounds, all of which look a little as if they lacked it."""
    share = default_probability().estimate_share(np.full(100, -0.2))
    assert share > 0.6
    assert default_probability().estimate_share(np.full(100, -3.0)) < 0.3


def test_recalibration_is_of_the_temperature_alone() -> None:
    """Lists of unknown compounds do not change what is said of lists that lack their truth."""
    rng = np.random.default_rng(5)
    scores = [2.0 * rng.normal(size=4) for _ in range(400)]
    # The truth is drawn by the softmax of half the scores; every third list lacks it.
    drawn = [int(rng.choice(4, p=np.exp(s / 2) / np.exp(s / 2).sum())) for s in scores]
    truth = [None if n % 3 == 0 else place for n, place in enumerate(drawn)]
    zeros = (0.0,) * N
    shipped = ProbabilityModel(
        ("known",), (0.0,) * (N + 1), (1.0,) * (N + 1), (0.3, *zeros, 0.3), (0.1, *zeros, 0.7)
    )
    features = np.full((400, 1), -2.0)
    found = shipped.recalibrated(scores, truth, np.ones(400), features)
    assert found.in_list == shipped.in_list
    assert found.log_temperature[1:] == shipped.log_temperature[1:]
    # exp(0.3 - 2 * 0.3 + log c) = 1 / 2
    assert found.log_temperature[0] - 0.3 == pytest.approx(0.3 - np.log(2.0), abs=0.15)
    with pytest.raises(ValueError, match="wanted"):
        shipped.recalibrated(scores, truth, np.ones(400), features[:, :0])
