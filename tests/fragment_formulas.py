"""The fragment score of one query's candidates as its formulas stand, with gradients by torch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from specvae_bench.fragments.network import FragmentNetwork
from torch import Tensor

from specvae.annotation.evidence.fragment_peaks import (
    SHIFTS,
    Peaks,
    composition,
    has_subformula,
    possible,
)
from specvae.annotation.evidence.fragment_score import HEIGHT_EDGES, PLACE_EDGES, condition_of
from specvae.annotation.evidence.surroundings import atom_features
from specvae.masses import ELECTRON_MASS, HYDROGEN_MASS
from specvae.molecules.fragments import FragmentTable


def weights_of(network: FragmentNetwork, table: FragmentTable, peaks: Peaks) -> Tensor:
    """Return exp(u) of each ion, (n_fragments, n_shifts), by the table of descriptors."""
    condition = torch.from_numpy(condition_of(peaks))
    rows = (torch.from_numpy(table.descriptors()) - network.centre) / network.spread
    hidden = network.hidden(rows) + network.hidden_condition(condition)
    direct = network.direct(rows) + network.shift_condition(condition)
    if network.surroundings is not None:
        added = _of_cuts(network, table)
        n_hidden = len(network.hidden.bias)
        hidden = hidden + added[:, :n_hidden]
        direct = direct + added[:, n_hidden:]
    u = direct + network.output(torch.relu(hidden))
    return torch.exp(12 * torch.tanh(u / 12))


def _of_cuts(network: FragmentNetwork, table: FragmentTable) -> Tensor:
    """Return what the surroundings of the cuts of each fragment add."""
    learned, bonds = network.surroundings, table.graph.bonds
    assert learned is not None
    kept = torch.from_numpy(np.concatenate([bonds[:, 0], bonds[:, 1]]).astype(np.int64))
    lost = torch.from_numpy(np.concatenate([bonds[:, 1], bonds[:, 0]]).astype(np.int64))
    kind = torch.from_numpy(np.concatenate([bonds[:, 2]] * 2).astype(np.int64))
    states = torch.relu(learned.atom(torch.from_numpy(atom_features(table.graph))))
    for own, message, bond in zip(learned.own, learned.message, learned.bond, strict=True):
        said = torch.relu(message(states[lost]) + bond(kind))
        states = states + torch.relu(
            own(states) + torch.zeros_like(states).index_add(0, kept, said)
        )
    ends = learned.kept(states[kept]) + learned.lost(states[lost]) + learned.cut(kind)
    rows = learned.output(torch.relu(ends))
    bits = np.unpackbits(table.masks.view(np.uint8), axis=1, bitorder="little").astype(bool)
    is_cut = torch.from_numpy(bits[:, kept.numpy()] & ~bits[:, lost.numpy()])
    return torch.mm(is_cut.float(), rows)


def scores_of(network: FragmentNetwork, tables: Sequence[FragmentTable], peaks: Peaks) -> Tensor:
    """Return the scores of the candidates of one query, (n_candidates,)."""
    condition = torch.from_numpy(condition_of(peaks))
    heights = np.searchsorted(HEIGHT_EDGES, peaks.intensity)
    places = np.searchsorted(PLACE_EDGES, peaks.mz / peaks.precursor_mz)
    roots = torch.from_numpy(np.sqrt(peaks.intensity)).float()
    weight = roots * torch.exp(network.peak_weight[heights, places])
    weight = weight / weight.sum()
    number = torch.exp(-(weight * torch.log(weight)).sum())
    widths = np.maximum(0.003, 10e-6 * peaks.mz)
    scores = []
    for table in tables:
        weights = weights_of(network, table, peaks)
        neutral = table.masses[:, None] + (SHIFTS + peaks.sign) * HYDROGEN_MASS
        can_be = possible(table, peaks.sign)
        counted = torch.from_numpy(can_be & (neutral > peaks.mz[0] - 0.5))
        mz = neutral - peaks.sign * ELECTRON_MASS
        agrees = can_be[None] & (np.abs(peaks.mz[:, None, None] - mz) <= widths[:, None, None])
        explained = (weights * torch.from_numpy(agrees)).sum((1, 2))
        total = (weights * counted).sum()
        part = has_subformula(composition(table.graph), peaks).astype(np.int64)
        background = network.background[part, heights]
        background = background + network.background_condition(condition)[part]
        odds = torch.log(explained + torch.exp(background)) - network.share * torch.log(total)
        scores.append((odds * weight).sum() * torch.sqrt(number) * torch.exp(network.scale))
    return torch.stack(scores)
