"""The fragment score as a network of torch, whose weights are fitted.

Its formulas are those of `specvae.annotation.evidence.fragment_score`, here with gradients and for
many queries at a time.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from specvae.annotation.evidence.fragment_peaks import SHIFTS
from specvae.annotation.evidence.fragment_score import (
    HEIGHT_EDGES,
    N_CONDITIONS,
    PLACE_EDGES,
    FragmentScorer,
)
from specvae.annotation.evidence.surroundings import N_ATOM_FEATURES, N_ROUNDS, PREFIX
from specvae.molecules.fragments import N_DESCRIPTORS
from specvae.molecules.graph import BOND_CLASSES
from specvae_bench.fragments.ion_sums import ion_sums
from specvae_bench.fragments.rows import AtomsAndCuts, Batch

_SPREAD_OF_EMBEDDINGS = 0.3


class Surroundings(nn.Module):
    """`specvae.annotation.evidence.surroundings` once more, with gradients."""

    def __init__(self, n_states: int, n_outputs: int, dropout: float) -> None:
        super().__init__()
        self.atom = nn.Linear(N_ATOM_FEATURES, n_states)
        self.own = nn.ModuleList(nn.Linear(n_states, n_states) for _ in range(N_ROUNDS))
        self.message = nn.ModuleList(
            nn.Linear(n_states, n_states, bias=False) for _ in range(N_ROUNDS)
        )
        self.bond = nn.ModuleList(
            nn.Embedding(len(BOND_CLASSES), n_states) for _ in range(N_ROUNDS)
        )
        self.kept = nn.Linear(n_states, n_states)
        self.lost = nn.Linear(n_states, n_states, bias=False)
        self.cut = nn.Embedding(len(BOND_CLASSES), n_states)
        self.output = nn.Linear(n_states, n_outputs, bias=False)
        self.dropout = nn.Dropout(dropout)
        # What is learned without surroundings comes first.
        nn.init.zeros_(self.output.weight)
        for embedding in (*self.bond, self.cut):
            nn.init.normal_(embedding.weight, std=_SPREAD_OF_EMBEDDINGS)

    def forward(self, atoms_and_cuts: AtomsAndCuts) -> Tensor:
        """Return what each cut adds, (n_cuts, n_outputs)."""
        features, kept, lost, kind, _ = map(torch.from_numpy, atoms_and_cuts)
        states = torch.relu(self.atom(features))
        for own, message, bond in zip(self.own, self.message, self.bond, strict=True):
            said = torch.relu(message(states)[lost] + bond(kind))
            taken = torch.zeros_like(states).index_add(0, kept, said)
            states = states + torch.relu(own(states) + taken)
        states = self.dropout(states)
        ends = self.kept(states)[kept] + self.lost(states)[lost] + self.cut(kind)
        return self.output(torch.relu(ends))  # type: ignore[no-any-return]


class FragmentNetwork(nn.Module):
    """All that is learned. The forward pass scores the candidates of the queries of a batch."""

    centre: Tensor
    spread: Tensor

    def __init__(self, n_hidden: int, n_states: int | None, dropout: float = 0.0) -> None:
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
        self.surroundings = (
            None if n_states is None else Surroundings(n_states, n_hidden + n_shifts, dropout)
        )

    def forward(self, batch: Batch) -> list[Tensor]:
        """Return the scores of the candidates of each query, (n_candidates,)."""
        fragments = batch.fragments
        pair_query = torch.from_numpy(fragments.query)
        conditions = torch.from_numpy(batch.queries.constants)
        totals, explained = ion_sums(
            self._rows(batch),
            self.output.weight,
            self.hidden_condition(conditions),
            self.shift_condition(conditions),
            fragments,
            batch.queries,
        )
        pair, peak, part = (
            torch.from_numpy(of_cell)
            for of_cell in (batch.pair_of_cell, batch.peak_of_cell, batch.part_of_cell)
        )
        heights, places, of_query = (
            torch.from_numpy(of_peak) for of_peak in (batch.heights, batch.places, batch.of_query)
        )
        lifts = self.background_condition(conditions)
        background = self.background[part, heights[peak]] + lifts[pair_query[pair], part]
        odds = torch.log(explained + torch.exp(background))
        odds = odds - (self.share * torch.log(totals + 1e-6))[pair]
        weights = torch.from_numpy(batch.roots) * torch.exp(self.peak_weight[heights, places])
        weights = weights / _sums(weights, of_query, len(conditions))[of_query]
        # Many peaks of like height say more than one, though not as much more as they are.
        entropies = -_sums(weights * torch.log(weights + 1e-12), of_query, len(conditions))
        scores = _sums(odds * weights[peak], pair, len(pair_query))
        scores = scores * torch.exp(entropies / 2 + self.scale)[pair_query]
        return list(torch.split(scores, batch.n_candidates))

    def _rows(self, batch: Batch) -> Tensor:
        """Return what each row gives to both layers, (n_rows, n_hidden + n_shifts)."""
        by_column = torch.cat([self.hidden.weight, self.direct.weight]).t() / self.spread[:, None]
        constant = torch.cat([self.hidden.bias, self.direct.bias]) - self.centre @ by_column
        rows = torch.from_numpy(batch.rows) @ torch.cat([by_column, constant[None]])
        if self.surroundings is None:
            return rows
        added = self.surroundings(batch.atoms_and_cuts)
        return rows.index_add(0, torch.from_numpy(batch.atoms_and_cuts.row), added)

    @classmethod
    def of_scorer(cls, scorer: FragmentScorer) -> FragmentNetwork:
        """Return the network that a scorer's weights are of."""
        arrays = scorer.to_arrays()
        states = arrays.get(f"{PREFIX}atom.bias")
        network = cls(len(arrays["hidden.bias"]), None if states is None else len(states))
        network.load_state_dict({name: torch.tensor(array) for name, array in arrays.items()})
        return network.eval()


def _sums(values: Tensor, group: Tensor, n_groups: int) -> Tensor:
    """Return the sum of the values of each group, (n_groups,)."""
    return torch.zeros(n_groups).index_add(0, group, values)
