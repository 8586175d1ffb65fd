"""A score of candidates by their fragments that is learned from explained peaks.

A small network gives every ion, that is a fragment with a number of hydrogens gained or lost, a
weight ``exp(u)``: from the atoms and bonds at its cuts, from what it keeps and lacks, and from how
far the spectrum as a whole is broken down. The log-odds of a peak are

    log(exp(b) + sum over ions at the peak of exp(u)) - g log(sum over all ions of exp(u)),

with a background ``b`` for peaks that no fragment explains, which differs where a part of the
formula has the peak's mass. The score is their sum, weighted by the peaks' heights: a candidate
gains by likely fragments that are seen, and loses by those that are not. All weights maximise the
probability of the truth among structures of the same mass.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file
from torch import Tensor, nn

from specvae.annotation.evidence.fragments import (
    MAX_PEAKS,
    SHIFTS,
    Matches,
    Peaks,
    has_subformula,
    match_peaks,
    possible,
)
from specvae.errors import CheckpointError, TrainingError
from specvae.masses import HYDROGEN_MASS
from specvae.molecules.fragments import N_DESCRIPTORS, FragmentTable
from specvae.spectra.binning import ION_MODES

SCORERS_FILE = Path(__file__).with_name("fragment_score.safetensors")
"""Weights fitted to MassBank's compounds by ``specvae bench fragments``; docs/research.md."""

_HEIGHT_EDGES = np.array([0.01, 0.05, 0.25])  # between classes of relative intensity
_PLACE_EDGES = np.array([0.35, 0.7])  # between classes of m/z over precursor m/z
_LIMIT = 12.0  # of |u|
_N_CONDITIONS = 8
_TABLES_AT_ONCE = 64
_DECIMALS = 4


@dataclass(frozen=True)
class FragmentFit:
    """How a `FragmentScorer` is fitted.

    Attributes
    ----------
    n_hidden
        Width of the network that weighs fragments.
    n_epochs, batch_size, learning_rate, weight_decay
        Passes over the examples, examples per step, and Adam's settings.
    n_spectra, n_others
        Spectra and false structures that are drawn of an example in each pass.
    """

    n_hidden: int = 32
    n_epochs: int = 3
    batch_size: int = 6
    learning_rate: float = 3e-3
    weight_decay: float = 1e-4
    n_spectra: int = 2
    n_others: int = 4


class Example(NamedTuple):
    """Spectra of one compound, and the fragments of it and of others of its mass.

    Parameters
    ----------
    spectra
        One at least.
    tables
        The compound itself first, then at least one other.
    """

    spectra: Sequence[Peaks]
    tables: Sequence[FragmentTable]


class _Network(nn.Module):
    """All that is learned. The forward pass scores the candidates of several queries."""

    centre: Tensor
    spread: Tensor

    def __init__(self, n_hidden: int) -> None:
        super().__init__()
        n_shifts = len(SHIFTS)
        self.register_buffer("centre", torch.zeros(N_DESCRIPTORS))
        self.register_buffer("spread", torch.ones(N_DESCRIPTORS))
        self.direct = nn.Linear(N_DESCRIPTORS, n_shifts)
        self.hidden = nn.Linear(N_DESCRIPTORS, n_hidden)
        self.output = nn.Linear(n_hidden, n_shifts, bias=False)
        self.hidden_condition = nn.Linear(_N_CONDITIONS, n_hidden, bias=False)
        self.shift_condition = nn.Linear(_N_CONDITIONS, n_shifts, bias=False)
        self.background_condition = nn.Linear(_N_CONDITIONS, 2)
        self.background = nn.Parameter(torch.zeros(2, len(_HEIGHT_EDGES) + 1))
        self.peak_weight = nn.Parameter(torch.zeros(len(_HEIGHT_EDGES) + 1, len(_PLACE_EDGES) + 1))
        self.share = nn.Parameter(torch.tensor(0.7))  # g
        self.scale = nn.Parameter(torch.tensor(0.0))
        for layer in (self.direct, self.output, self.shift_condition, self.background_condition):
            nn.init.zeros_(layer.weight)
        nn.init.zeros_(self.direct.bias)
        nn.init.zeros_(self.background_condition.bias)

    def prepare(self, tables: Sequence[FragmentTable]) -> tuple[Tensor, Tensor]:
        """Return the parts of hidden layer and weights that no spectrum changes."""
        descriptors = torch.from_numpy(np.concatenate([t.descriptors() for t in tables]))
        x = (descriptors - self.centre) / self.spread
        return self.hidden(x), self.direct(x)

    def weights(self, prepared: tuple[Tensor, Tensor], condition: Tensor) -> Tensor:
        """Return exp(u), (n_fragments, n_shifts)."""
        hidden, direct = prepared
        u = direct + self.output(torch.relu(hidden + self.hidden_condition(condition)))
        u = u + self.shift_condition(condition)
        return torch.exp(_LIMIT * torch.tanh(u / _LIMIT))

    def log_odds(
        self, prepared: tuple[Tensor, Tensor], tables: Sequence[FragmentTable], peaks: Peaks
    ) -> tuple[Tensor, Tensor]:
        """Return log-odds (n_tables, n_peaks) and the background within them, same shape."""
        n = len(peaks.mz)
        condition = torch.from_numpy(_condition(peaks))
        # What is lighter than the first peak may have been outside the scan.
        seen = [
            possible(t, peaks.sign)
            & (t.masses[:, None] + (SHIFTS + peaks.sign) * HYDROGEN_MASS > peaks.mz[0] - 0.5)
            for t in tables
        ]
        weights = self.weights(prepared, condition)
        owner = torch.from_numpy(np.repeat(np.arange(len(tables)), [len(t) for t in tables]))
        counted = (weights * torch.from_numpy(np.concatenate(seen).astype(np.float32))).sum(1)
        total = torch.zeros(len(tables)).index_add(0, owner, counted)
        found = [match_peaks(t, peaks) for t in tables]
        starts = np.cumsum([0, *(len(t) for t in tables)])
        ion = np.concatenate(
            [(m.fragment + s) * len(SHIFTS) + m.shift for m, s in zip(found, starts, strict=False)]
        )
        cell = np.concatenate([m.peak + i * n for i, m in enumerate(found)])
        explained = torch.zeros(len(tables) * n).index_add(
            0, torch.from_numpy(cell), weights.reshape(-1)[torch.from_numpy(ion)]
        )
        part = torch.from_numpy(np.stack([has_subformula(t, peaks) for t in tables]).astype(int))
        height = torch.from_numpy(np.searchsorted(_HEIGHT_EDGES, peaks.intensity))
        background = self.background[part, height] + self.background_condition(condition)[part]
        odds = torch.log(explained.reshape(len(tables), n) + torch.exp(background))
        return odds - self.share * torch.log(total + 1e-6)[:, None], background

    def forward(
        self, prepared: tuple[Tensor, Tensor], tables: Sequence[FragmentTable], peaks: Peaks
    ) -> Tensor:
        """Return the scores of one query's candidates, (n_tables,)."""
        odds, _ = self.log_odds(prepared, tables, peaks)
        place = np.searchsorted(_PLACE_EDGES, peaks.mz / peaks.precursor_mz)
        learned = self.peak_weight[np.searchsorted(_HEIGHT_EDGES, peaks.intensity), place]
        weight = torch.from_numpy(np.sqrt(peaks.intensity).astype(np.float32)) * torch.exp(learned)
        weight = weight / weight.sum()
        # Many peaks of like height say more than one, though not as much more as they are.
        number = torch.exp(-(weight * torch.log(weight + 1e-12)).sum())
        return (odds * weight).sum(1) * torch.sqrt(number) * torch.exp(self.scale)


def _condition(peaks: Peaks) -> NDArray[np.float32]:
    """Return numbers that tell how far the precursor is broken down, float32 (_N_CONDITIONS,)."""
    weight = np.sqrt(peaks.intensity)
    weight = weight / weight.sum()
    place = float((weight * np.minimum(peaks.mz / peaks.precursor_mz, 1.0)).sum()) * 2 - 1
    entropy = -float((weight * np.log(weight + 1e-12)).sum())
    return np.array(
        [
            place,
            place**2,
            weight[peaks.mz > peaks.precursor_mz - 0.5].sum(),
            entropy / 3,
            weight[peaks.mz < 120].sum(),
            peaks.mz[0] / 100 - 1,
            peaks.precursor_mz / 300 - 1,
            len(peaks.mz) / MAX_PEAKS,
        ],
        np.float32,
    )


class FragmentScorer:
    """A score of candidates by their fragments, fitted to compounds with known spectra."""

    def __init__(self, network: _Network) -> None:
        self._network = network.eval()

    @classmethod
    def fit(
        cls, examples: Sequence[Example], settings: FragmentFit | None = None, *, seed: int = 0
    ) -> Self:
        """Fit the weights so that each compound is told from others of its mass.

        Raises
        ------
        TrainingError
            If no example has a spectrum with peaks and a second structure.
        """
        settings = settings or FragmentFit()
        usable = [
            example._replace(spectra=[p for p in example.spectra if len(p.mz)])
            for example in examples
            if len(example.tables) > 1 and any(len(p.mz) for p in example.spectra)
        ]
        if not usable:
            raise TrainingError(
                "no compound to learn fragmentation from: each needs a spectrum with peaks and "
                "another structure of its mass"
            )
        rng = np.random.default_rng(seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = _Network(settings.n_hidden)
        every = max(1, len(usable) // 100)
        sample = np.concatenate([e.tables[0].descriptors() for e in usable[::every]])
        network.centre.copy_(torch.from_numpy(sample.mean(axis=0)))
        network.spread.copy_(torch.from_numpy(sample.std(axis=0) + 0.05))
        optimiser = torch.optim.Adam(
            network.parameters(), settings.learning_rate, weight_decay=settings.weight_decay
        )
        n_batches = -(-len(usable) // settings.batch_size)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimiser,
            settings.learning_rate,
            total_steps=settings.n_epochs * n_batches + 1,
            pct_start=0.15,
        )
        for _ in range(settings.n_epochs):
            for batch in np.array_split(rng.permutation(len(usable)), n_batches):
                loss = _loss(network, [_drawn(usable[i], settings, rng) for i in batch])
                optimiser.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                nn.utils.clip_grad_norm_(network.parameters(), 2.0)
                optimiser.step()
                schedule.step()
        return cls(network)

    @torch.inference_mode()
    def scores(self, peaks: Peaks, tables: Iterable[FragmentTable]) -> NDArray[np.float64]:
        """Return the score of each candidate, float64 (n_candidates,), in nats, higher is better.

        Candidates with the same fragments have exactly the same score. The tables are taken a few
        at a time: those of a long list need not be there all at once.
        """
        waiting = iter(tables)
        parts: list[NDArray[np.float64]] = [np.empty(0)]
        while batch := list(islice(waiting, _TABLES_AT_ONCE)):
            if len(peaks.mz):
                found = self._network(self._network.prepare(batch), batch, peaks)
                parts.append(found.double().numpy())
            else:
                parts.append(np.zeros(len(batch)))
        return np.asarray(np.round(np.concatenate(parts), _DECIMALS), dtype=np.float64)

    @torch.inference_mode()
    def weigh(
        self, table: FragmentTable, peaks: Peaks, found: Matches
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the weight exp(u) of each match (n_matches,) and the gain of each peak (n_peaks,).

        The gain is ``log(1 + sum of exp(u) / exp(b))`` in nats.
        """
        if len(peaks.mz) == 0:
            return np.zeros(len(found.peak)), np.zeros(0)
        prepared = self._network.prepare([table])
        weights = self._network.weights(prepared, torch.from_numpy(_condition(peaks))).numpy()
        _, background = self._network.log_odds(prepared, [table], peaks)
        matched = weights[found.fragment, found.shift].astype(np.float64)
        explained = np.bincount(found.peak, weights=matched, minlength=len(peaks.mz))
        return matched, np.log1p(explained / np.exp(background[0].double().numpy()))

    def to_arrays(self) -> dict[str, NDArray[np.float32]]:
        """Return everything that was learned, as arrays by name."""
        return {
            name: value.detach().numpy().copy()
            for name, value in self._network.state_dict().items()
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[np.float32]]) -> Self:
        """Make a scorer of what `to_arrays` returned.

        Raises
        ------
        CheckpointError
            If an array is missing, unknown, or of another shape.
        """
        n_hidden = len(arrays["hidden.bias"]) if "hidden.bias" in arrays else 1
        network = _Network(n_hidden)
        wanted = {name: tuple(value.shape) for name, value in network.state_dict().items()}
        given = {name: value.shape for name, value in arrays.items()}
        for name in sorted(wanted | given):
            if wanted.get(name) != given.get(name):
                raise CheckpointError(
                    f"fragmentation weights: {name} has shape {given.get(name, 'none')}, "
                    f"wanted {wanted.get(name, 'no such array')}"
                )
        network.load_state_dict({name: torch.tensor(value) for name, value in arrays.items()})
        return cls(network)


def _drawn(example: Example, settings: FragmentFit, rng: np.random.Generator) -> Example:
    """Return an example with some of its spectra and of its false structures."""
    truth, *others = example.tables
    return Example(
        [example.spectra[i] for i in rng.permutation(len(example.spectra))[: settings.n_spectra]],
        [truth, *(others[i] for i in rng.permutation(len(others))[: settings.n_others])],
    )


def _loss(network: _Network, examples: Sequence[Example]) -> Tensor:
    """Return the mean of -log of the truth's probability among its candidates."""
    prepared = network.prepare([table for example in examples for table in example.tables])
    start = 0
    losses = []
    for example in examples:
        end = start + sum(len(table) for table in example.tables)
        own = (prepared[0][start:end], prepared[1][start:end])
        start = end
        for peaks in example.spectra:
            scores = network(own, example.tables, peaks)
            losses.append(-torch.log_softmax(scores, 0)[0])
    return torch.stack(losses).mean()


def scorer_arrays(scorers: Mapping[str, FragmentScorer]) -> dict[str, NDArray[np.float32]]:
    """Return the weights of fragment scorers by ion mode as arrays by name."""
    return {
        f"fragments.{ion_mode}.{name}": array
        for ion_mode, scorer in scorers.items()
        for name, array in scorer.to_arrays().items()
    }


def scorers_from_arrays(arrays: Mapping[str, NDArray[Any]]) -> dict[str, FragmentScorer]:
    """Return the fragment scorers that `scorer_arrays` described; other arrays may be there too."""
    found = {mode: arrays_under(f"fragments.{mode}.", arrays) for mode in ION_MODES}
    return {mode: FragmentScorer.from_arrays(part) for mode, part in found.items() if part}


@lru_cache(maxsize=1)
def standard_scorers() -> dict[str, FragmentScorer]:
    """Return the fragment scorers that come with the program; see `SCORERS_FILE`."""
    return scorers_from_arrays(load_file(SCORERS_FILE))


def arrays_under(prefix: str, arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return the arrays whose names begin with `prefix`, without it."""
    return {
        name.removeprefix(prefix): array
        for name, array in arrays.items()
        if name.startswith(prefix)
    }
