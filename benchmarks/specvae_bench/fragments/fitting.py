"""How the weights of a fragment score are learned: its compounds win against others of their mass.

All weights maximise the probability of the truth among structures of the same mass.
"""

from __future__ import annotations

import copy
import hashlib
import json
import math
import multiprocessing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from specvae.annotation.evidence.fragment_peaks import Peaks
from specvae.annotation.evidence.fragment_score import FragmentScorer
from specvae.annotation.evidence.surroundings import PREFIX
from specvae.errors import TrainingError
from specvae.molecules.fragments import FragmentTable
from specvae.molecules.graph import OrderedGraph
from specvae.molecules.workers import LocalEngine, kept_processes, usable_cores
from specvae.vae.checkpoint import write_tensors
from specvae_bench.fragments.network import FragmentNetwork
from specvae_bench.fragments.rows import Batch

_PART = 2  # examples that a process is given at a time: sums do not depend on how many there are
_WARM_UP = 0.15  # share of the steps in which the rate rises
_LARGEST_GRADIENT = 2.0
_STATE_KEY = "fit"
_DESCRIPTION = ("centre", "spread", "hidden.", PREFIX)  # names of what networks share


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
    n_passes, batch_size, learning_rate, weight_decay
        Passes over the examples, examples per step, and Adam's settings. The rate rises to this
        value and falls to 0 along a cosine; what is learned of surroundings does not decay.
    n_spectra, n_others
        Spectra and false structures that are drawn of an example in each pass.
    weight
        What the score is multiplied by where it is added to what else is known of the structures.
    """

    n_hidden: int = 32
    n_states: int = 32
    dropout: float = 0.1
    n_passes: int = 8
    batch_size: int = 8
    learning_rate: float = 3e-3
    weight_decay: float = 1e-4
    n_spectra: int = 2
    n_others: int = 8
    weight: float = 1.0


class Example(NamedTuple):
    """Spectra of one compound, and the structures of it and of others of its mass.

    Parameters
    ----------
    spectra
        One at least.
    molecules
        The compound itself first, then at least one other.
    beside
        What else is known of them, float32 (n_spectra, n_molecules), nats: the score is learned
        beside it. None: nothing.
    """

    spectra: Sequence[Peaks]
    molecules: Sequence[OrderedGraph]
    beside: NDArray[np.float32] | None = None

    def taking(self, spectra: Sequence[int], molecules: Sequence[int]) -> Example:
        """Return some of the spectra and molecules, by their places."""
        return Example(
            [self.spectra[i] for i in spectra],
            [self.molecules[i] for i in molecules],
            None if self.beside is None else self.beside[np.ix_(spectra, molecules)],
        )


class Pass(NamedTuple):
    """What a pass over the examples came to.

    Parameters
    ----------
    number
        How many there have been.
    losses
        By ion mode: mean of -log of the truth's probability in learning, nats.
    scorers
        By ion mode: the score as it is then.
    """

    number: int
    losses: dict[str, float]
    scorers: dict[str, FragmentScorer]


def fit_scorer(
    examples: Sequence[Example],
    settings: FragmentFit | None = None,
    *,
    seed: int = 0,
    start: FragmentScorer | None = None,
    n_jobs: int | None = 1,
) -> FragmentScorer:
    """Fit the score of one ion mode; see `fit_together`."""
    given = {} if start is None else {"one": start}
    return fit_together({"one": examples}, settings, seed=seed, start=given, n_jobs=n_jobs)["one"]


def fit_together(
    examples: Mapping[str, Sequence[Example]],
    settings: FragmentFit | None = None,
    *,
    seed: int = 0,
    start: Mapping[str, FragmentScorer] | None = None,
    n_jobs: int | None = 1,
    state: Path | None = None,
    on_pass: Callable[[Pass], None] | None = None,
) -> dict[str, FragmentScorer]:
    """Fit scores of one or several ion modes: each compound is to rank above others of its mass.

    The scores of several ion modes describe structures by the same weights, so that each learns
    from the compounds of all; what they make of a description is their own (`_share`). The result
    depends neither on the number of processes nor on interruptions.

    Parameters
    ----------
    examples
        By ion mode, what is learned from; those without a spectrum with peaks or a second structure
        are not.
    settings
        How.
    seed
        Of first weights and draws.
    start
        Scores by ion mode whose weights are the first ones; their sizes count, not those of
        `settings`. Those that do not share their description begin as the first of them.
    n_jobs
        Processes; None for one per core.
    state
        File that is written after each pass, and that a fit goes on from if it is there. Nothing
        here removes it.
    on_pass
        Called after each pass.

    Raises
    ------
    TrainingError
        If no example of an ion mode has a spectrum with peaks and a second structure, or `state` is
        of another fit.
    """
    settings = settings or FragmentFit()
    usable = {mode: _usable(of_mode) for mode, of_mode in examples.items()}
    networks = _first_networks(usable, settings, seed, start or {})
    first = "" if not start else _digest(t.numpy().tobytes() for t in _tensors(networks).values())
    digest = _digest(part for mode in usable for part in _contents(usable[mode]))
    run = _Run(networks, _optimiser(networks, settings), settings, seed, first, digest)
    if state is not None and state.exists():
        run.load(state)
    n_workers = min(n_jobs or usable_cores(), -(-settings.batch_size // _PART))
    engine = LocalEngine(n_workers, "fit the fragment score")
    with kept_processes():
        while run.n_done < settings.n_passes:
            losses = run.one_pass(usable, engine)
            if state is not None:
                run.save(state)
            if on_pass is not None:
                on_pass(Pass(run.n_done, losses, _scorers(networks)))
    return _scorers(networks)


def mean_scorer(scorers: Sequence[FragmentScorer]) -> FragmentScorer:
    """Return the score whose weights are the means of those of others.

    The compounds that it was fitted to are those of all.

    Raises
    ------
    TrainingError
        If they are of different sizes.
    """
    arrays = [scorer.to_arrays() for scorer in scorers]
    for other in arrays[1:]:
        for name in sorted(arrays[0].keys() | other.keys()):
            shapes = [
                of_one[name].shape if name in of_one else "none" for of_one in (arrays[0], other)
            ]
            if shapes[0] != shapes[1]:
                raise TrainingError(
                    f"fragment scores of different sizes have no mean: {name} has shape "
                    f"{shapes[0]} and {shapes[1]}"
                )
    means = {name: np.mean([one[name] for one in arrays], axis=0) for name in arrays[0]}
    scorer = FragmentScorer.from_arrays({n: mean.astype(np.float32) for n, mean in means.items()})
    return scorer.having_learned_from(*(one.learned_from for one in scorers))


def judge(
    scorer: FragmentScorer, examples: Sequence[Example], weight: float = 1.0
) -> tuple[float, float]:
    """Return the share of spectra whose compound is first, and the mean of -log of its probability.

    Of equal scores each is first as often as the others. Spectra without peaks count. `weight` is
    that of `FragmentFit`.
    """
    hits, nats = [], []
    for example in examples:
        tables = [FragmentTable.of_graph(molecule) for molecule in example.molecules]
        for row, peaks in enumerate(example.spectra):
            scores = weight * scorer.scores(peaks, tables)
            if example.beside is not None:
                scores = scores + example.beside[row]
            hits.append(float(scores[0] == scores.max()) / int((scores == scores.max()).sum()))
            nats.append(float(np.logaddexp.reduce(scores) - scores[0]))
    return float(np.mean(hits)), float(np.mean(nats))


class _Task(NamedTuple):
    """Some drawn examples of a step, and the weights of the network."""

    arrays: Mapping[str, NDArray[np.float32]]
    dropout: float
    weight: float
    seed: int
    examples: Sequence[Example]


class _Batch(NamedTuple):
    """The examples of a step, by their places among those of their ion mode."""

    mode: str
    places: NDArray[np.int64]


@dataclass
class _Run:
    """A fit as far as it has come."""

    networks: nn.ModuleDict
    optimiser: torch.optim.Adam
    settings: FragmentFit
    seed: int
    start: str
    examples: str
    n_done: int = 0

    def one_pass(
        self, examples: Mapping[str, Sequence[Example]], engine: LocalEngine
    ) -> dict[str, float]:
        """Learn from each example once; return the mean loss of each ion mode."""
        # Each pass has a seed of its own, so that one goes on after it without a generator's state.
        rng = np.random.default_rng([self.seed, self.n_done])
        batches = [
            _Batch(mode, places)
            for mode, of_mode in examples.items()
            for places in np.array_split(
                rng.permutation(len(of_mode)), -(-len(of_mode) // self.settings.batch_size)
            )
        ]
        if len(examples) > 1:
            batches = [batches[i] for i in rng.permutation(len(batches)).tolist()]
        losses: dict[str, list[float]] = {mode: [] for mode in examples}
        for k, (mode, places) in enumerate(batches):
            drawn = [_draw(examples[mode][i], self.settings, rng) for i in places]
            step = self.n_done * len(batches) + k
            rate = _rate(self.settings, step, self.settings.n_passes * len(batches))
            losses[mode].append(self._step(mode, drawn, rate, rng, engine))
        self.n_done += 1
        return {mode: float(np.mean(of_mode)) for mode, of_mode in losses.items()}

    def _step(
        self,
        mode: str,
        drawn: Sequence[Example],
        rate: float,
        rng: np.random.Generator,
        engine: LocalEngine,
    ) -> float:
        network = self.networks[mode]
        parameters = list(network.parameters())
        self.optimiser.zero_grad()
        total = 0.0
        n_spectra = sum(len(example.spectra) for example in drawn)
        for loss, gradients in engine.in_order(_gradients, self._tasks(network, drawn, rng)):
            total += loss / n_spectra
            for parameter, gradient in zip(parameters, gradients, strict=True):
                of_part = torch.from_numpy(gradient) / n_spectra
                parameter.grad = of_part if parameter.grad is None else parameter.grad + of_part
        nn.utils.clip_grad_norm_(parameters, _LARGEST_GRADIENT)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.step()
        return total

    def _tasks(
        self, network: nn.Module, drawn: Sequence[Example], rng: np.random.Generator
    ) -> Iterator[_Task]:
        arrays = _arrays(network)
        seeds = rng.integers(2**62, size=len(drawn)).tolist()
        for first in range(0, len(drawn), _PART):
            part = drawn[first : first + _PART]
            yield _Task(arrays, self.settings.dropout, self.settings.weight, seeds[first], part)

    def _description(self) -> dict[str, Any]:
        return {
            "settings": asdict(self.settings),
            "seed": self.seed,
            "start": self.start,
            "examples": self.examples,
        }

    def save(self, path: Path) -> None:
        """Write all that the next pass depends on."""
        tensors = {f"networks/{name}": t for name, t in _tensors(self.networks).items()}
        for number, parameter in enumerate(self.networks.parameters()):
            slots = self.optimiser.state[parameter]
            tensors |= {f"optimiser/{number}/{name}": slots[name] for name in slots}
        text = json.dumps({"run": self._description(), "passes": self.n_done})
        write_tensors(path, tensors, {_STATE_KEY: text})

    def load(self, path: Path) -> None:
        """Go on from a file that `save` wrote.

        Raises
        ------
        TrainingError
            If it is of another fit, or no such file.
        """
        try:
            with safe_open(path, framework="pt") as stream:
                found = json.loads((stream.metadata() or {})[_STATE_KEY])
                # Copies: Windows replaces no file, by the next state, that tensors lie in.
                tensors = {name: stream.get_tensor(name).clone() for name in stream.keys()}  # noqa: SIM118
            for name, now in self._description().items():
                if found["run"][name] != now:
                    other = f"{'another' if name in ('seed', 'start') else 'other'} {name}"
                    raise TrainingError(
                        f"{path}: state of a fit with {other}; remove it to start anew"
                    )
            for name, held in _tensors(self.networks).items():
                held.copy_(tensors[f"networks/{name}"])
            for number, parameter in enumerate(self.networks.parameters()):
                self.optimiser.state[parameter] = _under(f"optimiser/{number}/", tensors)
            self.n_done = int(found["passes"])
        except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
            raise TrainingError(
                f"{path}: not the state of a fit, or a damaged one; remove it to start anew"
            ) from error


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}


def _tensors(networks: nn.ModuleDict) -> dict[str, Tensor]:
    """Return all weights and constants, those that are shared once."""
    held = [*networks.named_parameters(), *networks.named_buffers()]
    return {name: value.detach() for name, value in held}


def _arrays(network: nn.Module) -> dict[str, NDArray[np.float32]]:
    return {name: value.detach().numpy() for name, value in network.state_dict().items()}


def _scorers(networks: nn.ModuleDict) -> dict[str, FragmentScorer]:
    arrays = {mode: _arrays(network) for mode, network in networks.items()}
    return {
        mode: FragmentScorer.from_arrays({name: array.copy() for name, array in of_mode.items()})
        for mode, of_mode in arrays.items()
    }


def _usable(examples: Sequence[Example]) -> list[Example]:
    """Return the examples that can be learned from, without spectra that have no peaks."""
    usable = [
        example.taking(
            [place for place, peaks in enumerate(example.spectra) if len(peaks.mz)],
            range(len(example.molecules)),
        )
        for example in examples
        if len(example.molecules) > 1 and any(len(p.mz) for p in example.spectra)
    ]
    if not usable:
        raise TrainingError(
            "no compound to learn fragmentation from: each needs a spectrum with peaks and "
            "another structure of its mass"
        )
    return usable


def _first_networks(
    examples: Mapping[str, Sequence[Example]],
    settings: FragmentFit,
    seed: int,
    start: Mapping[str, FragmentScorer],
) -> nn.ModuleDict:
    """Return the networks that a fit begins with, which share how structures are described."""
    modes = list(examples)
    if start:
        alike = len({_digest(_description_of(start[mode])) for mode in modes}) == 1
        first = {m: FragmentNetwork.of_scorer(start[m if alike else modes[0]]) for m in modes}
    else:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = FragmentNetwork(settings.n_hidden, settings.n_states)
        _standardise(network, [example for mode in modes for example in examples[mode]])
        first = {mode: copy.deepcopy(network) for mode in modes}
    for mode in modes[1:]:
        _share(first[modes[0]], first[mode])
    return nn.ModuleDict(first)


def _share(first: FragmentNetwork, other: FragmentNetwork) -> None:
    """Let another network describe structures by the weights of the first."""
    other.centre, other.spread = first.centre, first.spread
    other.hidden, other.surroundings = first.hidden, first.surroundings


def _description_of(scorer: FragmentScorer) -> Iterator[bytes]:
    for name, array in scorer.to_arrays().items():
        if name.startswith(_DESCRIPTION):
            yield array.tobytes()


def _digest(parts: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def _contents(examples: Sequence[Example]) -> Iterator[bytes]:
    """Yield everything that examples consist of."""
    for example in examples:
        for peaks in example.spectra:
            yield peaks.mz.tobytes()
            yield peaks.intensity.tobytes()
            yield np.array([peaks.precursor_mz, peaks.sign]).tobytes()
        for molecule in example.molecules:
            yield molecule.to_bytes()
        if example.beside is not None:
            yield example.beside.tobytes()


def _standardise(network: FragmentNetwork, examples: Sequence[Example]) -> None:
    """Take means and spreads of the descriptors from a hundred compounds."""
    every = max(1, len(examples) // 100)
    tables = [FragmentTable.of_graph(example.molecules[0]) for example in examples[::every]]
    sample = np.concatenate([table.descriptors() for table in tables])
    network.centre.copy_(torch.from_numpy(sample.mean(axis=0)))
    network.spread.copy_(torch.from_numpy(sample.std(axis=0) + 0.05))


def _optimiser(networks: nn.ModuleDict, settings: FragmentFit) -> torch.optim.Adam:
    named = [(name.partition(".")[2], p) for name, p in networks.named_parameters()]
    own = [p for name, p in named if name.startswith(PREFIX)]
    others = [p for name, p in named if not name.startswith(PREFIX)]
    groups = [(others, settings.weight_decay), (own, 0.0)]
    return torch.optim.Adam(
        [{"params": params, "weight_decay": decay} for params, decay in groups if params],
        settings.learning_rate,
    )


def _rate(settings: FragmentFit, step: int, n_steps: int) -> float:
    """Return the learning rate of a step: it rises along a cosine, and falls along another."""
    n_rising = _WARM_UP * n_steps
    if step < n_rising:
        risen = (step + 1) / (n_rising + 1)
        return settings.learning_rate * (1 - math.cos(math.pi * risen)) / 2
    fallen = (step - n_rising) / (n_steps - n_rising)
    return settings.learning_rate * (1 + math.cos(math.pi * fallen)) / 2


def _draw(example: Example, settings: FragmentFit, rng: np.random.Generator) -> Example:
    """Return an example with some of its spectra and of its false structures."""
    return example.taking(
        rng.permutation(len(example.spectra))[: settings.n_spectra].tolist(),
        [0, *(1 + rng.permutation(len(example.molecules) - 1)[: settings.n_others]).tolist()],
    )


def _gradients(task: _Task) -> tuple[float, list[NDArray[np.float32]]]:
    """Return the sum of the losses of a task's spectra, and its gradient by each parameter."""
    states = task.arrays.get(f"{PREFIX}atom.bias")
    n_states = None if states is None else len(states)
    network = _network(len(task.arrays["hidden.bias"]), n_states, task.dropout)
    network.load_state_dict({name: torch.from_numpy(a) for name, a in task.arrays.items()})
    network.zero_grad()
    lists = [
        (example.spectra, [FragmentTable.of_graph(molecule) for molecule in example.molecules])
        for example in task.examples
    ]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(task.seed)
        loss = total_loss(network, Batch.of(lists), task.weight, _beside(task.examples))
    loss.backward()  # type: ignore[no-untyped-call]
    gradients = [parameter.grad for parameter in network.parameters()]
    return loss.item(), [grad.numpy() for grad in gradients if grad is not None]


def _beside(examples: Sequence[Example]) -> list[Tensor | None]:
    """Return what else is known of the candidates of each query."""
    return [
        None if example.beside is None else torch.from_numpy(example.beside[row])
        for example in examples
        for row in range(len(example.spectra))
    ]


def total_loss(
    network: FragmentNetwork,
    batch: Batch,
    weight: float = 1.0,
    beside: Sequence[Tensor | None] | None = None,
) -> Tensor:
    """Return the sum over queries of -log of the probability of the first candidate, nats.

    The probabilities are in proportion to ``exp(weight * score + beside)``; `beside` has a tensor
    (n_candidates,) for each query, None for zeros.
    """
    losses = []
    for number, scores in enumerate(network(batch)):
        also = None if beside is None else beside[number]
        together = weight * scores if also is None else weight * scores + also
        losses.append(-torch.log_softmax(together, 0)[0])
    return torch.stack(losses).sum()


@lru_cache(maxsize=1)
def _network(n_hidden: int, n_states: int | None, dropout: float) -> FragmentNetwork:
    if multiprocessing.parent_process() is not None:
        torch.set_num_threads(1)
    return FragmentNetwork(n_hidden, n_states, dropout).train()
