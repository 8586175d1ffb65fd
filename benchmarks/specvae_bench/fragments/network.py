"""How the weights of `FragmentScorer` are learned: its formulas once more, with gradients.

All weights maximise the probability of the truth among structures of the same mass. Written as the
formulas stand, this is also what the scorer's single pass over the fragments is compared with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
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
    TOLERANCE_DA,
    TOLERANCE_PPM,
    Peaks,
    composition,
    has_subformula,
)
from specvae.annotation.evidence.ion_weights import LIMIT
from specvae.annotation.evidence.surroundings import (
    N_ATOM_FEATURES,
    N_ROUNDS,
    PREFIX,
    atom_features,
)
from specvae.errors import TrainingError
from specvae.masses import ELECTRON_MASS, HYDROGEN_MASS
from specvae.molecules.fragments import N_DESCRIPTORS, FragmentTable
from specvae.molecules.graph import ATOM_CLASSES, BOND_CLASSES, Graph, compiled

_CUT = 2 * len(ATOM_CLASSES) + len(BOND_CLASSES)  # descriptors of the bonds cut come first
_VALENCES = _CUT + 2 * len(ATOM_CLASSES) + 7
_SPREAD_OF_EMBEDDINGS = 0.3


@dataclass(frozen=True)
class FragmentFit:
    """How a `FragmentScorer` is fitted.

    Attributes
    ----------
    n_hidden
        Width of the network that weighs fragments.
    n_states
        Numbers that describe an atom in its surroundings.
    dropout
        Share of these that are left out at random in learning.
    n_epochs, batch_size, learning_rate, weight_decay
        Passes over the examples, examples per step, and Adam's settings; what is learned of
        surroundings does not decay.
    n_spectra, n_others
        Spectra and false structures that are drawn of an example in each pass.
    """

    n_hidden: int = 32
    n_states: int = 32
    dropout: float = 0.1
    n_epochs: int = 8
    batch_size: int = 8
    learning_rate: float = 3e-3
    weight_decay: float = 1e-4
    n_spectra: int = 2
    n_others: int = 8


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


@dataclass(frozen=True, eq=False)
class Pieces:
    """What is learned from a molecule's fragments, in few bytes: it is kept for all of a fit.

    Attributes
    ----------
    graph
        The molecule.
    masses
        float64 (n_fragments,), Da.
    n_atoms, n_hydrogens, rings, valences, steps, charges
        int16 (n_fragments,), as in `FragmentTable.descriptors`.
    kept
        Atoms of each class that a fragment has, uint8 (n_fragments, n_classes).
    n_cuts
        Bonds that each fragment is cut off at, int64 (n_fragments,).
    cuts
        These, one fragment's after the other's, int16: twice the index of the bond, and one more
        where its second atom is kept.
    """

    graph: Graph
    masses: NDArray[np.float64]
    n_atoms: NDArray[np.int16]
    n_hydrogens: NDArray[np.int16]
    rings: NDArray[np.int16]
    valences: NDArray[np.int16]
    steps: NDArray[np.int16]
    charges: NDArray[np.int16]
    kept: NDArray[np.uint8]
    n_cuts: NDArray[np.int64]
    cuts: NDArray[np.int16]

    def __len__(self) -> int:
        return len(self.masses)

    @classmethod
    def of(cls, table: FragmentTable) -> Self:
        """Describe the fragments of a table, in its order."""
        graph = table.graph
        atoms, bonds = graph.atoms, graph.bonds
        bits = np.unpackbits(table.masks.view(np.uint8), axis=1, bitorder="little")
        member = bits[:, : len(atoms)].astype(np.float32)
        first, second = member[:, bonds[:, 0]], member[:, bonds[:, 1]]
        fragment, bond = np.nonzero(first != second)
        n_atoms = member.sum(axis=1)

        def small(values: NDArray[np.generic]) -> NDArray[np.int16]:
            rounded: NDArray[np.int16] = np.rint(values).astype(np.int16)
            return rounded

        return cls(
            graph,
            np.round(member.astype(np.float64) @ (graph.masses + atoms[:, 1] * HYDROGEN_MASS), 7),
            small(n_atoms),
            small(member @ atoms[:, 1].astype(np.float32)),
            small((first * second).sum(axis=1) - n_atoms + 1),
            small((first != second) @ bonds[:, 3].astype(np.float32)),
            table.steps.astype(np.int16),
            small(member @ atoms[:, 3].astype(np.float32)),
            (member @ np.eye(len(ATOM_CLASSES), dtype=np.float32)[atoms[:, 2]]).astype(np.uint8),
            np.bincount(fragment, minlength=len(member)),
            (2 * bond + (second[fragment, bond] > 0)).astype(np.int16),
        )

    def descriptors(self) -> NDArray[np.float32]:
        """Return the columns of `FragmentTable.descriptors` from `_CUT` on, valences left at 0."""
        atoms = self.graph.atoms
        all_atoms = np.bincount(atoms[:, 2], minlength=len(ATOM_CLASSES))
        lost = len(atoms) - self.n_atoms
        columns = [
            # Of 8 bits, numpy takes logarithms of 16.
            np.log1p(self.kept, dtype=np.float32),
            np.log1p(all_atoms - self.kept, dtype=np.float32),
            np.log1p(self.n_hydrogens, dtype=np.float32),
            np.log1p(atoms[:, 1].sum() - self.n_hydrogens, dtype=np.float32),
            self.n_atoms / len(atoms),
            self.rings,
            *(self.steps == step for step in (1, 2)),
            self.steps >= 3,
            np.zeros(len(self)),
            self.valences % 2,
            self.charges,
            *(lost == n for n in (1, 2, 3)),
            np.full(len(self), np.log(len(atoms))),
        ]
        return np.column_stack(columns).astype(np.float32)


@compiled
def _match(
    masses: NDArray[np.float64],
    n_hydrogens: NDArray[np.int16],
    valences: NDArray[np.int16],
    mz: NDArray[np.float64],
    widths: NDArray[np.float64],
    sign: int,
    counted: NDArray[np.bool_],
    ions: NDArray[np.int64],
    peaks: NDArray[np.int64],
) -> int:
    """Find ions at peaks, and those within the scan; return how many of the former there are.

    Fills in `counted` (n_fragments, n_shifts); ions (fragment and shift in one number) and peaks as
    far as there is room.
    """
    n_shifts = counted.shape[1]
    n_found = 0
    widest = 0.0
    for p in range(len(mz)):
        widest = max(widest, widths[p])
    for f in range(len(masses)):
        for s in range(n_shifts):
            shift = s + SHIFTS[0]
            if shift > valences[f] or n_hydrogens[f] + shift + sign < 0:
                continue
            ion = masses[f] + (shift + sign) * HYDROGEN_MASS
            # What is lighter than the first peak may have been outside the scan.
            counted[f, s] = ion > mz[0] - 0.5
            ion -= sign * ELECTRON_MASS
            p = np.searchsorted(mz, ion - widest)
            while p < len(mz) and mz[p] <= ion + widest:
                if abs(mz[p] - ion) <= widths[p]:
                    if n_found < len(ions):
                        ions[n_found] = f * n_shifts + s
                        peaks[n_found] = p
                    n_found += 1
                p += 1
    return n_found


def _matches(
    pieces: Pieces, query: Peaks
) -> tuple[NDArray[np.bool_], NDArray[np.int64], NDArray[np.int64]]:
    """Return which ions lie within the scan, and the ions and peaks that agree in mass."""
    counted = np.zeros((len(pieces), len(SHIFTS)), np.bool_)
    widths = np.maximum(TOLERANCE_DA, TOLERANCE_PPM * 1e-6 * query.mz)
    room = 1 << 12
    while True:
        ions, peaks = np.empty(room, np.int64), np.empty(room, np.int64)
        n_found = _match(
            pieces.masses,
            pieces.n_hydrogens,
            pieces.valences,
            query.mz,
            widths,
            query.sign,
            counted,
            ions,
            peaks,
        )
        if n_found <= room:
            return counted, ions[:n_found], peaks[:n_found]
        room = n_found


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

    def forward(self, features: Tensor, kept: Tensor, lost: Tensor, kind: Tensor) -> Tensor:
        """Return what each cut adds, (2 n_bonds, n_outputs), from both atoms and class of each."""
        states = torch.relu(self.atom(features))
        for own, message, bond in zip(self.own, self.message, self.bond, strict=True):
            said = torch.relu(message(states)[lost] + bond(kind))
            taken = torch.zeros_like(states).index_add(0, kept, said)
            states = states + torch.relu(own(states) + taken)
        states = self.dropout(states)
        ends = self.kept(states)[kept] + self.lost(states)[lost] + self.cut(kind)
        return self.output(torch.relu(ends))  # type: ignore[no-any-return]


class FragmentNetwork(nn.Module):
    """All that is learned. The forward pass scores the candidates of one query."""

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

    def prepare(self, molecules: Sequence[Pieces]) -> tuple[Tensor, Tensor]:
        """Return the parts of hidden layer and weights that no spectrum changes."""
        n_hidden = len(self.hidden.bias)
        weight = torch.cat([self.hidden.weight, self.direct.weight])
        bias = torch.cat([self.hidden.bias, self.direct.bias])
        by_column = weight.t() / self.spread[:, None]
        bias = bias - self.centre[:_CUT] @ by_column[:_CUT]
        raw = torch.from_numpy(np.concatenate([pieces.descriptors() for pieces in molecules]))
        dense = (raw - self.centre[_CUT:]) / self.spread[_CUT:]
        cuts, first = [], 0
        for pieces in molecules:
            cuts.append(pieces.cuts.astype(np.int64) + 2 * first)
            first += len(pieces.graph.bonds)
        n_cuts = np.concatenate([pieces.n_cuts for pieces in molecules])
        summed = nn.functional.embedding_bag(
            torch.from_numpy(np.concatenate(cuts)),
            self._cut_rows([pieces.graph for pieces in molecules], by_column),
            torch.from_numpy(np.cumsum(n_cuts) - n_cuts),
            mode="sum",
        )
        sums = torch.addmm(bias, dense, weight.t()[_CUT:]) + summed
        return sums[:, :n_hidden], sums[:, n_hidden:]

    def _cut_rows(self, graphs: Sequence[Graph], by_column: Tensor) -> Tensor:
        """Return what each cut adds to both layers, (2 n_bonds, n_hidden + n_shifts)."""
        first = np.cumsum([0, *(len(graph.atoms) for graph in graphs)])
        bonds = np.concatenate([graph.bonds for graph in graphs]).astype(np.int64)
        ends = np.concatenate(
            [graph.bonds[:, :2] + start for graph, start in zip(graphs, first, strict=False)]
        ).astype(np.int64)
        kept = torch.from_numpy(ends.ravel())
        lost = torch.from_numpy(ends[:, ::-1].ravel())
        kind = torch.from_numpy(np.repeat(bonds[:, 2], 2))
        order = torch.from_numpy(np.repeat(bonds[:, 3], 2).astype(np.float32))
        of_atom = torch.from_numpy(
            np.concatenate([graph.atoms[:, 2] for graph in graphs]).astype(np.int64)
        )
        n_classes = len(ATOM_CLASSES)
        rows = by_column[of_atom[kept]] + by_column[n_classes + of_atom[lost]]
        rows = rows + by_column[2 * n_classes + kind] + order[:, None] * by_column[_VALENCES]
        if self.surroundings is None:
            return rows
        features = torch.from_numpy(np.concatenate([atom_features(graph) for graph in graphs]))
        added: Tensor = self.surroundings(features, kept, lost, kind)
        return rows + added

    def weights(self, prepared: tuple[Tensor, Tensor], condition: Tensor) -> Tensor:
        """Return exp(u), (n_fragments, n_shifts)."""
        hidden, direct = prepared
        u = direct + self.output(torch.relu(hidden + self.hidden_condition(condition)))
        u = u + self.shift_condition(condition)
        return torch.exp(LIMIT * torch.tanh(u / LIMIT))

    def log_odds(
        self, prepared: tuple[Tensor, Tensor], molecules: Sequence[Pieces], peaks: Peaks
    ) -> Tensor:
        """Return the log-odds of the peaks under each molecule, (n_molecules, n_peaks)."""
        n, n_molecules = len(peaks.mz), len(molecules)
        condition = torch.from_numpy(condition_of(peaks))
        weights = self.weights(prepared, condition)
        found = [_matches(pieces, peaks) for pieces in molecules]
        sizes = [len(pieces) for pieces in molecules]
        owner = torch.from_numpy(np.repeat(np.arange(n_molecules), sizes))
        counted = torch.from_numpy(np.concatenate([counted for counted, _, _ in found]))
        total = torch.zeros(n_molecules).index_add(0, owner, (weights * counted).sum(1))
        starts = (np.cumsum(sizes) - sizes) * len(SHIFTS)
        ion = np.concatenate([ions + at for (_, ions, _), at in zip(found, starts, strict=True)])
        cell = np.concatenate([at + i * n for i, (_, _, at) in enumerate(found)])
        explained = torch.zeros(n_molecules * n).index_add(
            0, torch.from_numpy(cell), weights.reshape(-1)[torch.from_numpy(ion)]
        )
        kinds = [composition(pieces.graph) for pieces in molecules]
        has_part = {of_one: has_subformula(of_one, peaks) for of_one in dict.fromkeys(kinds)}
        part = torch.from_numpy(np.stack([has_part[of_one] for of_one in kinds]).astype(int))
        height = torch.from_numpy(np.searchsorted(HEIGHT_EDGES, peaks.intensity))
        background = self.background[part, height] + self.background_condition(condition)[part]
        odds = torch.log(explained.reshape(n_molecules, n) + torch.exp(background))
        return odds - self.share * torch.log(total + 1e-6)[:, None]

    def forward(
        self, prepared: tuple[Tensor, Tensor], molecules: Sequence[Pieces], peaks: Peaks
    ) -> Tensor:
        """Return the scores of one query's candidates, (n_molecules,)."""
        odds = self.log_odds(prepared, molecules, peaks)
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
        states = arrays.get(f"{PREFIX}atom.bias")
        network = cls(len(arrays["hidden.bias"]), None if states is None else len(states))
        network.load_state_dict({name: torch.tensor(array) for name, array in arrays.items()})
        return network.eval()


def fit_scorer(
    examples: Sequence[Example], settings: FragmentFit | None = None, *, seed: int = 0
) -> FragmentScorer:
    """Fit the weights so that each compound ranks above others of its mass.

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
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = FragmentNetwork(settings.n_hidden, settings.n_states, settings.dropout)
        _standardise(network, usable)
        _train(network, _described(usable), settings, np.random.default_rng(seed))
    learned = {name: value.detach().numpy() for name, value in network.state_dict().items()}
    return FragmentScorer.from_arrays({name: array.copy() for name, array in learned.items()})


class _Draw(NamedTuple):
    """An example as it is learned from, or what is drawn of it."""

    spectra: Sequence[Peaks]
    molecules: Sequence[Pieces]


def _described(examples: Sequence[Example]) -> list[_Draw]:
    pieces: dict[int, Pieces] = {}
    for table in (table for example in examples for table in example.tables):
        if id(table) not in pieces:
            pieces[id(table)] = Pieces.of(table)
    return [
        _Draw(example.spectra, [pieces[id(table)] for table in example.tables])
        for example in examples
    ]


def _standardise(network: FragmentNetwork, examples: Sequence[Example]) -> None:
    """Take means and spreads of the descriptors from a hundred compounds."""
    every = max(1, len(examples) // 100)
    # Made anew: a table keeps what it has computed once.
    tables = [example.tables[0] for example in examples[::every]]
    fresh = [FragmentTable(t.masks, t.steps, t.atom_order, t.graph) for t in tables]
    sample = np.concatenate([table.descriptors() for table in fresh])
    network.centre.copy_(torch.from_numpy(sample.mean(axis=0)))
    network.spread.copy_(torch.from_numpy(sample.std(axis=0) + 0.05))


def _train(
    network: FragmentNetwork,
    examples: Sequence[_Draw],
    settings: FragmentFit,
    rng: np.random.Generator,
) -> None:
    own = [p for name, p in network.named_parameters() if name.startswith(PREFIX)]
    others = [p for name, p in network.named_parameters() if not name.startswith(PREFIX)]
    optimiser = torch.optim.Adam(
        [
            {"params": others, "weight_decay": settings.weight_decay},
            {"params": own, "weight_decay": 0.0},
        ],
        settings.learning_rate,
    )
    n_batches = -(-len(examples) // settings.batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser,
        settings.learning_rate,
        total_steps=settings.n_epochs * n_batches + 1,
        pct_start=0.15,
    )
    for _ in range(settings.n_epochs):
        for batch in np.array_split(rng.permutation(len(examples)), n_batches):
            loss = _loss(network, [_draw(examples[i], settings, rng) for i in batch])
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(network.parameters(), 2.0)
            optimiser.step()
            schedule.step()


def _draw(example: _Draw, settings: FragmentFit, rng: np.random.Generator) -> _Draw:
    """Return an example with some of its spectra and of its false structures."""
    truth, *others = example.molecules
    return _Draw(
        [example.spectra[i] for i in rng.permutation(len(example.spectra))[: settings.n_spectra]],
        [truth, *(others[i] for i in rng.permutation(len(others))[: settings.n_others])],
    )


def _loss(network: FragmentNetwork, examples: Sequence[_Draw]) -> Tensor:
    """Return the mean of -log of the truth's probability among its candidates."""
    prepared = network.prepare([pieces for example in examples for pieces in example.molecules])
    start = 0
    losses = []
    for example in examples:
        end = start + sum(len(pieces) for pieces in example.molecules)
        own = (prepared[0][start:end], prepared[1][start:end])
        start = end
        for peaks in example.spectra:
            scores = network(own, example.molecules, peaks)
            losses.append(-torch.log_softmax(scores, 0)[0])
    return torch.stack(losses).mean()
