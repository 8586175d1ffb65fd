"""The chance that a candidate is right, including that the truth is not in the list.

Two questions are answered apart. Given that the list holds the truth, candidate i is it with
``softmax(t s)_i``, where s are the scores of the list and t is a temperature. Whether the list
holds the truth has log odds that are linear in features of the list, ``o = b + w . z``. With the
share r of lists that hold their truth as prior,

    p_i = sigma(o + logit r) softmax(t s)_i = exp(t s_i) / (sum_j exp(t s_j) + exp(u)),
    u = log sum_j exp(t s_j) - o - logit r,

a softmax over the candidates and one more outcome, "none of these", of utility u. In this form
the probabilities do not depend on where the scores of a list have their zero.

The share r differs between users: who draws candidates from a small table misses the truth more
often. The share is a prior, so it can be estimated from unlabelled queries (Saerens et al. 2002,
doi:10.1162/089976602753284446), and changing it shifts all log odds by the same number.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from specvae.annotation.evidence.list_features import gap, lead
from specvae.annotation.evidence.minimise import minimise
from specvae.annotation.evidence.odds import log_odds_of, logistic
from specvae.annotation.evidence.short_lists import ShortListOdds
from specvae.annotation.evidence.weighted import Evidence
from specvae.errors import ConfigError
from specvae.settings import from_json, to_json

Floats = NDArray[np.float64]

# Features that are computed from the scores alone; a caller's own features come after them.
SCORE_FEATURES = ("log_n_candidates", "log_competitors", "gap", "lead")

SHARE_STRENGTH = 20.0
"""Number of queries of known outcome that the default share of lists with truth counts for.

Lists of unknown compounds hardly show whether they hold the truth, and what they seem to show
differs between laboratories: with 3, a hundred of them moved the share to anything
(docs/research.md).
"""

# Features farther from the mean of the fitted lists are clipped, as the model is not extrapolated.
_MOST_DEVIATIONS = 3.0
_TEMPERATURE_PENALTY = 1e-2
_IN_LIST_PENALTY = 1e-3
_GRID = 400  # shares that an interval is read off


@dataclass(frozen=True)
class ProbabilityModel:
    """Probabilities from the scores of a list and a few features of it.

    Features are those of `score_features`, then those called `feature_names`, standardised; what
    lies more than 3 standard deviations from the mean, either way, counts as 3.

    Attributes
    ----------
    feature_names
        Of the features that the caller passes, k in number.
    centre, scale
        Mean and standard deviation by which each of the 4 + k features is standardised.
    log_temperature
        Constant and slopes (1 + 4 + k) of log t.
    in_list
        Constant and slopes (1 + 4 + k) of the log odds that a list holds the truth, where half
        of all lists do.
    default_share
        Share of lists that hold their truth where nothing is known.
    share_strength
        Number of queries of known outcome that `default_share` counts for.
    short_lists
        Log odds of short lists, which take evidence: see `of_list`. None: short lists are like long
        ones.
    """

    feature_names: tuple[str, ...]
    centre: tuple[float, ...]
    scale: tuple[float, ...]
    log_temperature: tuple[float, ...]
    in_list: tuple[float, ...]
    default_share: float = 0.9
    share_strength: float = SHARE_STRENGTH
    short_lists: ShortListOdds | None = None

    def __post_init__(self) -> None:
        n = len(SCORE_FEATURES) + len(self.feature_names)
        wanted = {"centre": n, "scale": n, "log_temperature": n + 1, "in_list": n + 1}
        for name, length in wanted.items():
            found = len(getattr(self, name))
            if found != length:
                raise ConfigError(f"probability.{name}: found {found} numbers, wanted {length}")
            if not np.isfinite(getattr(self, name)).all():
                raise ConfigError(f"probability.{name}: found a number that is not finite")
        if min(self.scale) <= 0.0:
            raise ConfigError(f"probability.scale: found {min(self.scale)}, wanted numbers above 0")
        if not 0.0 < self.default_share < 1.0:
            raise ConfigError(
                f"probability.default_share: found {self.default_share}, wanted a share between 0 "
                "and 1"
            )
        if not 0.0 < self.share_strength < np.inf:
            raise ConfigError(
                f"probability.share_strength: found {self.share_strength}, wanted a number above 0"
            )

    @classmethod
    def from_json(cls, data: object) -> ProbabilityModel:
        """Return the model that `to_json` described.

        Raises
        ------
        ConfigError
            If a key is unknown or missing, or a value has the wrong type or length.
        """
        return from_json(cls, data, "probability")

    def to_json(self) -> dict[str, Any]:
        """Return the model as JSON values."""
        values: dict[str, Any] = to_json(self)
        return values

    @classmethod
    def fit(
        cls,
        scores: Sequence[Floats],
        truth: Sequence[int | None],
        weights: Floats,
        features: Floats | None = None,
        feature_names: Sequence[str] = (),
    ) -> ProbabilityModel:
        """Fit on lists that hold the truth and, by custom, the same lists without it.

        Both parts are maximum likelihood with a quadratic penalty on the slopes: the temperature
        on lists that hold the truth, the log odds on all, where either kind of list has half of
        the weight whatever their numbers. Scores and features must come from a model that did
        not see the lists, and features of a list without its truth from that shorter list.

        Parameters
        ----------
        scores
            Per list, float64 (n_candidates,), nats; one candidate at least.
        truth
            Index of the truth per list; None where the list does not hold it.
        weights
            Weight of each list, (n_lists,): 1 / number of lists of that compound gives all
            compounds the same say.
        features
            float64 (n_lists, k); None for k = 0.
        feature_names
            Names of the k features.

        Raises
        ------
        ValueError
            If there is no list of either kind, or a list without candidates.
        """
        held, balanced = _balanced(truth, weights)
        raw = _all_features(scores, features, len(feature_names))
        centre = balanced @ raw
        scale = np.sqrt(balanced @ (raw - centre) ** 2)
        # A feature that never moved says nothing; dividing by 1 leaves it at zero.
        scale = np.where(scale > 1e-9, scale, 1.0)
        z = torch.from_numpy(_standardised(raw, centre, scale))
        temperature_penalties = torch.full(
            (z.shape[1] + 1,), _TEMPERATURE_PENALTY, dtype=torch.double
        )
        in_list_penalties = torch.full((z.shape[1] + 1,), _IN_LIST_PENALTY, dtype=torch.double)
        temperature_penalties[0] = in_list_penalties[0] = 0.0  # the constants are free
        return cls(
            tuple(feature_names),
            tuple(map(float, centre)),
            tuple(map(float, scale)),
            _fit_temperature(scores, truth, z, balanced, temperature_penalties),
            _fit_in_list(z, held, balanced, in_list_penalties),
        )

    def recalibrated(
        self,
        scores: Sequence[Floats],
        truth: Sequence[int | None],
        weights: Floats,
        features: Floats | None = None,
    ) -> ProbabilityModel:
        """Return the model with all temperatures multiplied by a number that fits other lists.

        The number is fitted to the lists that hold their truth. The log odds are not fitted anew:
        compounds that the library does not know hardly show whether a list holds the truth, and a
        small shift of all log odds changes the estimated share of lists by much
        (docs/evaluation.md).

        Parameters as in `fit`; one list at least must hold its truth.
        """
        scaled = self._scaled(scores, features)
        none = torch.empty((len(scaled), 0), dtype=torch.double)
        penalty = torch.full((1,), _TEMPERATURE_PENALTY, dtype=torch.double)
        (log_factor,) = _fit_temperature(scaled, truth, none, weights, penalty)
        constant, *slopes = self.log_temperature
        return replace(self, log_temperature=(constant + log_factor, *slopes))

    def given_in_list(
        self, scores: Sequence[Floats], features: Floats | None = None
    ) -> list[Floats]:
        """Return each candidate's chance if the list is sure to hold the truth, (n_candidates,).

        Equal scores have equal chances. Arguments as in `fit`.
        """
        return [_softmax(scaled) for scaled in self._scaled(scores, features)]

    def log_odds_in_list(self, scores: Sequence[Floats], features: Floats | None = None) -> Floats:
        """Return the log odds (n_lists,) that a list holds the truth, at a share of one half."""
        z = self._standardised(scores, features)
        return np.asarray(self.in_list[0] + z @ np.array(self.in_list[1:]))

    def of_list(self, scores: Floats, features: Floats, evidence: Evidence | None) -> float:
        """Return the log odds that one list holds the truth, at a share of one half.

        Parameters
        ----------
        scores
            float64 (n_candidates,), nats.
        features
            float64 (1, k).
        evidence
            Of the candidates; None where there are scores only.
        """
        log_odds = float(self.log_odds_in_list([scores], features)[0])
        if evidence is None or self.short_lists is None:
            return log_odds
        return self.short_lists(log_odds, evidence)

    def estimate_share(self, log_odds: Floats) -> float:
        """Return the share of lists that hold their truth, from their log odds (n,).

        The fixed point of the EM algorithm of Saerens et al. 2002
        (doi:10.1162/089976602753284446, equation 4), with a Beta prior whose mode is
        `default_share`: ``r = (sum_i sigma(o_i + logit r) + strength * default) / (n + strength)``.
        The posterior is log-concave in r, so there is but one, found by bisection.
        """
        low, high = 0.0, 1.0
        for _ in range(60):
            middle = (low + high) / 2
            expected = self.share_strength * self.default_share
            expected += float(in_list_probability(log_odds, middle).sum())
            if expected > middle * (len(log_odds) + self.share_strength):
                low = middle
            else:
                high = middle
        return (low + high) / 2

    def share_interval(self, log_odds: Floats) -> tuple[float, float]:
        """Return the 95 % credible interval of that share.

        The posterior of the share r is proportional to ``r ^ (strength default)
        (1 - r) ^ (strength (1 - default)) prod_i (1 - r + r exp(o_i))``; its equal-tailed interval
        is read off a grid. It does not account for errors of the log odds.
        """
        steps = (np.arange(_GRID) + 0.5) / _GRID
        default, strength = self.default_share, self.share_strength
        density = np.array(
            [
                strength * (default * np.log(r) + (1.0 - default) * np.log1p(-r))
                + np.logaddexp(np.log1p(-r), np.log(r) + log_odds).sum()
                for r in steps.tolist()
            ]
        )
        below = np.cumsum(np.exp(density - density.max()))
        low, high = np.searchsorted(below, [0.025 * below[-1], 0.975 * below[-1]])
        return float(steps[low]), float(steps[high])

    def _scaled(self, scores: Sequence[Floats], features: Floats | None) -> list[Floats]:
        """Return the scores of each list times its temperature, (n_candidates,)."""
        z = self._standardised(scores, features)
        temperatures = np.exp(self.log_temperature[0] + z @ np.array(self.log_temperature[1:]))
        return [t * s for t, s in zip(temperatures, scores, strict=True)]

    def _standardised(self, scores: Sequence[Floats], features: Floats | None) -> Floats:
        raw = _all_features(scores, features, len(self.feature_names))
        return _standardised(raw, np.array(self.centre), np.array(self.scale))


def in_list_probability(log_odds: Floats, share: float | Floats) -> Floats:
    """Return the chance (n,) that a list holds the truth, ``sigma(log_odds + logit share)``.

    The share is that of the run, or one of each list, (n,).
    """
    return logistic(log_odds + log_odds_of(share))


DEFAULT_FILE = Path(__file__).with_name("probability.json")
"""Fitted by ``specvae bench laboratories --fit``: see docs/research.md."""


def default_probability() -> ProbabilityModel:
    """Return the model that is used where none was fitted; see `DEFAULT_FILE`."""
    return ProbabilityModel.from_json(json.loads(DEFAULT_FILE.read_text(encoding="utf-8")))


def score_features(scores: Sequence[Floats]) -> Floats:
    """Return what the scores alone tell about each list, float64 (n_lists, 4), in nats.

    By `SCORE_FEATURES`: the logarithm of the number of candidates; ``log sum_j exp(s_j - max s)``,
    the logarithm of how many candidates compete with the best; the best score minus the second
    (at most 6, which a lone candidate has too); the best score minus the mean.

    Raises
    ------
    ValueError
        If a list is empty.
    """
    rows = np.empty((len(scores), len(SCORE_FEATURES)))
    for row, s in zip(rows, scores, strict=True):
        row[:] = (np.log(len(s)), np.log(np.exp(s - s.max()).sum()), gap(s), lead(s))
    return rows


def _all_features(scores: Sequence[Floats], features: Floats | None, n_given: int) -> Floats:
    given = np.empty((len(scores), 0)) if features is None else features
    if given.shape != (len(scores), n_given):
        raise ValueError(f"features of shape {given.shape}, wanted {(len(scores), n_given)}")
    return np.concatenate([score_features(scores), given], axis=1)


def _standardised(raw: Floats, centre: Floats, scale: Floats) -> Floats:
    return np.clip((raw - centre) / scale, -_MOST_DEVIATIONS, _MOST_DEVIATIONS)


def _softmax(values: Floats) -> Floats:
    e = np.exp(values - values.max())
    return np.asarray(e / e.sum())


def _balanced(truth: Sequence[int | None], weights: Floats) -> tuple[NDArray[np.bool_], Floats]:
    """Return which lists hold their truth, and weights of sum 1, half of it for either kind."""
    held = np.array([place is not None for place in truth])
    if held.all() or not held.any():
        raise ValueError("wanted lists that hold their truth and lists that do not")
    balanced = np.where(held, weights / weights[held].sum(), weights / weights[~held].sum())
    return held, balanced / balanced.sum()


def _fit_temperature(
    scores: Sequence[Floats],
    truth: Sequence[int | None],
    z: Tensor,
    balanced: Floats,
    penalties: Tensor,
) -> tuple[float, ...]:
    held = [n for n, place in enumerate(truth) if place is not None]
    lists = [scores[n] for n in held]
    weights = torch.from_numpy(balanced[held] / balanced[held].sum())
    z = z[held]
    sizes = torch.tensor([len(s) for s in lists])
    segment = torch.repeat_interleave(torch.arange(len(lists)), sizes)
    # Relative to the best, so that the largest exponent of every list is zero.
    flat = torch.from_numpy(np.concatenate([s - s.max() for s in lists]))
    places = torch.tensor([place for place in truth if place is not None])
    place = torch.cumsum(sizes, 0) - sizes + places

    def loss(parameters: Tensor) -> Tensor:
        scaled = flat * torch.exp(parameters[0] + z @ parameters[1:])[segment]
        total = torch.zeros(len(lists), dtype=torch.double).index_add(0, segment, scaled.exp())
        surprise = total.log() - scaled[place]
        return (weights * surprise).sum() + _held_back(parameters, penalties)

    return minimise(loss, torch.zeros(z.shape[1] + 1, dtype=torch.double))


def _fit_in_list(
    z: Tensor, held: NDArray[np.bool_], balanced: Floats, penalties: Tensor
) -> tuple[float, ...]:
    target, weights = torch.from_numpy(held).double(), torch.from_numpy(balanced)

    def loss(parameters: Tensor) -> Tensor:
        surprise = torch.nn.functional.binary_cross_entropy_with_logits(
            parameters[0] + z @ parameters[1:], target, reduction="none"
        )
        return (weights * surprise).sum() + _held_back(parameters, penalties)

    return minimise(loss, torch.zeros(z.shape[1] + 1, dtype=torch.double))


def _held_back(parameters: Tensor, penalties: Tensor) -> Tensor:
    """Return the quadratic penalty on slopes."""
    return (penalties * parameters.square()).sum()
