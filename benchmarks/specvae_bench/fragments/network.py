"""How the weights of `FragmentScorer` are learned: its formulas once more, with gradients.

All weights maximise the probability of the truth among structures of the same mass. Written as the
formulas stand, this is also what the scorer's single pass over the fragments is compared with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from specvae.annotation.evidence.fragment_score import (
    HEIGHT_EDGES,
    N_CONDITIONS,
    PLACE_EDGES,
    FragmentScorer,
    condition_of,
)
from specvae.annotation.evidence.fragments import (
    SHIFTS,
    Peaks,
    composition,
    has_subformula,
    match_peaks,
    possible,
)
from specvae.annotation.evidence.ion_weights import LIMIT
from specvae.errors import TrainingError
from specvae.masses import HYDROGEN_MASS
from specvae.molecules.fragments import N_DESCRIPTORS, FragmentTable


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


class FragmentNetwork(nn.Module):
    """All that is learned. The forward pass scores the candidates of one query."""

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
        self.hidden_condition = nn.Linear(N_CONDITIONS, n_hidden, bias=False)
        self.shift_condition = nn.Linear(N_CONDITIONS, n_shifts, bias=False)
        self.background_condition = nn.Linear(N_CONDITIONS, 2)
        self.background = nn.Parameter(torch.zeros(2, len(HEIGHT_EDGES) + 1))
        self.peak_weight = nn.Parameter(torch.zeros(len(HEIGHT_EDGES) + 1, len(PLACE_EDGES) + 1))
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
        return torch.exp(LIMIT * torch.tanh(u / LIMIT))

    def log_odds(
        self, prepared: tuple[Tensor, Tensor], tables: Sequence[FragmentTable], peaks: Peaks
    ) -> tuple[Tensor, Tensor]:
        """Return log-odds (n_tables, n_peaks) and the background within them, same shape."""
        n = len(peaks.mz)
        condition = torch.from_numpy(condition_of(peaks))
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
        part = torch.from_numpy(
            np.stack([has_subformula(composition(t), peaks) for t in tables]).astype(int)
        )
        height = torch.from_numpy(np.searchsorted(HEIGHT_EDGES, peaks.intensity))
        background = self.background[part, height] + self.background_condition(condition)[part]
        odds = torch.log(explained.reshape(len(tables), n) + torch.exp(background))
        return odds - self.share * torch.log(total + 1e-6)[:, None], background

    def forward(
        self, prepared: tuple[Tensor, Tensor], tables: Sequence[FragmentTable], peaks: Peaks
    ) -> Tensor:
        """Return the scores of one query's candidates, (n_tables,)."""
        odds, _ = self.log_odds(prepared, tables, peaks)
        place = np.searchsorted(PLACE_EDGES, peaks.mz / peaks.precursor_mz)
        learned = self.peak_weight[np.searchsorted(HEIGHT_EDGES, peaks.intensity), place]
        weight = torch.from_numpy(np.sqrt(peaks.intensity).astype(np.float32)) * torch.exp(learned)
        weight = weight / weight.sum()
        # Many peaks of like height say more than one, though not as much more as they are.
        number = torch.exp(-(weight * torch.log(weight + 1e-12)).sum())
        return (odds * weight).sum(1) * torch.sqrt(number) * torch.exp(self.scale)

    @classmethod
    def of_scorer(cls, scorer: FragmentScorer) -> FragmentNetwork:
        """Return the network that a scorer's weights are of."""
        arrays = scorer.to_arrays()
        network = cls(len(arrays["hidden.bias"]))
        network.load_state_dict({name: torch.tensor(array) for name, array in arrays.items()})
        return network.eval()


def fit_scorer(
    examples: Sequence[Example], settings: FragmentFit | None = None, *, seed: int = 0
) -> FragmentScorer:
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
        network = FragmentNetwork(settings.n_hidden)
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
    learned = {name: value.detach().numpy() for name, value in network.state_dict().items()}
    return FragmentScorer.from_arrays({name: array.copy() for name, array in learned.items()})


def _drawn(example: Example, settings: FragmentFit, rng: np.random.Generator) -> Example:
    """Return an example with some of its spectra and of its false structures."""
    truth, *others = example.tables
    return Example(
        [example.spectra[i] for i in rng.permutation(len(example.spectra))[: settings.n_spectra]],
        [truth, *(others[i] for i in rng.permutation(len(others))[: settings.n_others])],
    )


def _loss(network: FragmentNetwork, examples: Sequence[Example]) -> Tensor:
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
