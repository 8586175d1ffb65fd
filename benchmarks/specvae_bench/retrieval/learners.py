"""Networks of others, or plain ones, that learn from the library's spectra to rank candidates.

One loop trains them all: batches of spectra drawn in proportion to n ** -0.5 for a compound with n
of them, as our own models draw them, AdamW, a cosine schedule. Sizes and inputs are those of the
papers as far as a CPU can bear them; each class says where it differs. `bench retrieval` lets none
pick its best epoch.
"""

from __future__ import annotations

import copy
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 (the customary name)
from numpy.typing import NDArray
from torch import Tensor, nn

from specvae.annotation.evidence.fingerprint import log_likelihoods
from specvae.annotation.library.library import Library
from specvae.annotation.library.tensors import sparse_rows
from specvae.annotation.training.networks import bin_layout
from specvae.annotation.training.settings import TrainConfig
from specvae.counting import counted
from specvae.molecules.fingerprint import get_layout, unpack
from specvae.spectra.binning import BinLayout
from specvae.spectra.spectrum import Spectrum
from specvae.vae.adam import AdamW
from specvae.vae.config import OptimConfig
from specvae.vae.device import pick_device
from specvae.vae.networks import Input, SparseLinear, SparseRows
from specvae_bench.retrieval.comparison import Comparison
from specvae_bench.retrieval.methods import Options

BATCH = 256
LEARNING_RATE = 1e-3
WEIGHT_DECAY = 1e-4
COMPOUND_BALANCE = 0.5
_PREDICTED_AT_ONCE = 512


class Learner(nn.Module, ABC):
    """A network from spectra to what candidates' fingerprints are compared with.

    Parameters
    ----------
    known
        What it learns from.
    packed
        The fingerprints of its compounds, uint8 (n_compounds, n_bytes), by the class's `layout`.
    """

    layout: ClassVar[str] = "morgan4096"

    def __init__(self, known: Library, packed: NDArray[np.uint8]) -> None:
        super().__init__()
        bits = unpack(packed, get_layout(self.layout).n_bits)
        self.register_buffer("bits", torch.from_numpy(bits), persistent=False)

    @property
    def n_bits(self) -> int:
        """Number of bits of a fingerprint."""
        return self.known_bits.shape[1]

    @property
    def known_bits(self) -> Tensor:
        """The fingerprints of the library's compounds, uint8 (n_compounds, n_bits) of 0 and 1."""
        bits = self.bits
        assert isinstance(bits, Tensor)
        return bits

    @abstractmethod
    def encode(self, spectra: Sequence[Spectrum]) -> Input:
        """Return the network's input for spectra, (n_spectra, ...)."""

    @abstractmethod
    def loss(self, predicted: Tensor, compound: Tensor) -> Tensor:
        """Return the mean loss of a batch.

        Parameters
        ----------
        predicted
            (batch, n_outputs), what the network makes of the spectra.
        compound
            int64 (batch,), which compound each spectrum is of.
        """

    def scores(self, predicted: Tensor, packed: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Return the score of each candidate, float64 (n_candidates,).

        The cosine of the prediction and what stands for the candidate. Candidates with the same
        fingerprint get exactly the same score.

        Parameters
        ----------
        predicted
            (n_outputs,), of one query.
        packed
            The candidates' fingerprints, uint8 (n_candidates, n_bytes).
        """
        if not len(packed):
            return np.empty(0)
        distinct, copy_of = np.unique(packed, axis=0, return_inverse=True)
        bits = torch.from_numpy(unpack(distinct, self.n_bits)).to(predicted.device)
        cosines = F.cosine_similarity(self.embed(bits), predicted[np.newaxis], dim=1)
        return np.asarray(cosines.double().cpu().numpy()[copy_of.reshape(-1)])

    def embed(self, bits: Tensor) -> Tensor:
        """Return what stands for molecules, (n, n_outputs), by their fingerprints (n, n_bits)."""
        return bits.float()


class PlainNetwork(Learner):
    """Two hidden layers on the input of the preset `small`, binary cross entropy on the bits.

    The input, the widths of the layers and the dropout are those of our own spectrum encoder, the
    fingerprint too.
    """

    layout = "mixed2149"

    def __init__(self, known: Library, packed: NDArray[np.uint8]) -> None:
        super().__init__(known, packed)
        config = TrainConfig()
        bins = bin_layout(config)
        filled = np.bincount(bins.encode_many(known.records).columns, minlength=bins.n_columns)
        frequent = np.flatnonzero(filled >= config.inputs.min_column_count)
        self.bins = bins.restricted(frequent[frequent >= bins.n_bins])
        first, second = config.model.spectrum_encoder
        self.input_dropout = config.model.input_dropout
        self.first = SparseLinear(self.bins.n_columns, first)
        self.rest = nn.Sequential(
            nn.ReLU(),
            nn.Dropout(config.model.dropout),
            nn.Linear(first, second),
            nn.ReLU(),
            nn.Dropout(config.model.dropout),
            nn.Linear(second, self.n_bits),
        )

    def encode(self, spectra: Sequence[Spectrum]) -> Input:
        """Return peaks and losses in coarse and fine bins, and the measuring conditions."""
        return sparse_rows(self.bins.encode_many(spectra))

    def forward(self, x: SparseRows) -> Tensor:
        """Return the logit of each bit, (batch, n_bits)."""
        values = F.dropout(x.values, self.input_dropout, self.training)
        logits: Tensor = self.rest(
            self.first(SparseRows(x.offsets, x.columns, values, x.n_columns))
        )
        return logits

    def loss(self, predicted: Tensor, compound: Tensor) -> Tensor:
        """Return the binary cross entropy, summed over bits."""
        target = self.known_bits[compound].float()
        total = F.binary_cross_entropy_with_logits(predicted, target, reduction="sum")
        return total / len(predicted)

    def scores(self, predicted: Tensor, packed: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Return the log-likelihood of each candidate's fingerprint, nats."""
        return log_likelihoods(packed, predicted.double().cpu().numpy())


class FingerprintFFN(Learner):
    """MassSpecGym's fingerprint network (arXiv:2410.23326): binned spectrum to Morgan fingerprint.

    Bins of 1 Th up to 1005 Th with intensities relative to the highest peak, two hidden layers of
    512; the loss is 1 - cosine of output and fingerprint, and candidates are ranked by that cosine.
    """

    n_hidden = 512

    def __init__(self, known: Library, packed: NDArray[np.uint8]) -> None:
        super().__init__(known, packed)
        self.bins = BinLayout(bin_width=1.0, max_mz=1005.0)
        self.layers = nn.Sequential(
            nn.Linear(self.bins.n_columns, self.n_hidden),
            nn.ReLU(),
            nn.Linear(self.n_hidden, self.n_hidden),
            nn.ReLU(),
            nn.Linear(self.n_hidden, self.n_bits),
        )

    def encode(self, spectra: Sequence[Spectrum]) -> Input:
        """Return the summed relative intensities of bins."""
        return relative_bins(spectra, self.bins)

    def forward(self, x: SparseRows) -> Tensor:
        """Return what resembles a fingerprint, (batch, n_bits)."""
        predicted: Tensor = self.layers(x.to_dense())
        return predicted

    def loss(self, predicted: Tensor, compound: Tensor) -> Tensor:
        """Return 1 less the mean cosine of prediction and fingerprint."""
        return cosine_loss(predicted, self.known_bits[compound])


class DeepSets(Learner):
    """MassSpecGym's DeepSets (arXiv:2410.23326): a set of peaks to Morgan fingerprint.

    The 60 highest peaks, each as sines and cosines of its m/z at wavelengths from 1 mTh to
    1000 Th, evenly spaced in their logarithm (Voronov et al., arXiv:2207.02980), with its relative
    intensity; a network of two layers on each peak, the sum over peaks, a network of two layers;
    the loss is 1 - cosine. 128 wavelengths where the paper has some hundreds.
    """

    n_peaks = 60
    n_waves = 128
    n_hidden = 512

    def __init__(self, known: Library, packed: NDArray[np.uint8]) -> None:
        super().__init__(known, packed)
        waves = torch.logspace(-3.0, 3.0, self.n_waves, dtype=torch.float64)
        self.register_buffer("frequencies", 1.0 / waves, persistent=False)
        self.of_peak = nn.Sequential(
            nn.Linear(2 * self.n_waves + 1, self.n_hidden),
            nn.ReLU(),
            nn.Linear(self.n_hidden, self.n_hidden),
            nn.ReLU(),
        )
        self.of_set = nn.Sequential(
            nn.Linear(self.n_hidden, self.n_hidden),
            nn.ReLU(),
            nn.Linear(self.n_hidden, self.n_bits),
        )

    def encode(self, spectra: Sequence[Spectrum]) -> Input:
        """Return m/z and relative intensity, float64 (n_spectra, n_peaks, 2), padded with zeros."""
        peaks = np.zeros((len(spectra), self.n_peaks, 2))
        for row, spectrum in zip(peaks, spectra, strict=True):
            highest = np.argsort(-spectrum.intensity, kind="stable")[: self.n_peaks]
            row[: len(highest), 0] = spectrum.mz[highest]
            row[: len(highest), 1] = spectrum.relative_intensity[highest]
        return torch.from_numpy(peaks)

    def forward(self, x: Tensor) -> Tensor:
        """Return what resembles a fingerprint, (batch, n_bits)."""
        batch, place = torch.nonzero(x[:, :, 1] > 0.0, as_tuple=True)
        mz, intensity = x[batch, place].unbind(dim=1)
        # Thousands of turns: single precision would leave nothing of the phase.
        frequencies = self.frequencies
        assert isinstance(frequencies, Tensor)
        phase = (2.0 * math.pi * torch.frac(mz[:, np.newaxis] * frequencies)).float()
        features = torch.cat([phase.sin(), phase.cos(), intensity.float()[:, np.newaxis]], dim=1)
        of_peaks = self.of_peak(features)
        total = of_peaks.new_zeros(len(x), self.n_hidden).index_add(0, batch, of_peaks)
        predicted: Tensor = self.of_set(total)
        return predicted

    def loss(self, predicted: Tensor, compound: Tensor) -> Tensor:
        """Return 1 less the mean cosine of prediction and fingerprint."""
        return cosine_loss(predicted, self.known_bits[compound])


class Contrastive(Learner):
    """The contrastive network of De Waele et al. (arXiv:2602.16507).

    Bins of 0.1 Th up to 1005 Th, three hidden layers with layer normalisation and dropout 0.25, and
    a linear map to 256 dimensions; another linear map takes Morgan fingerprints there. The loss is
    the cross entropy of the truth in a softmax over cosines divided by a temperature. Rivals of the
    truth are the other compounds of the batch and, four for each spectrum, library compounds of
    nearly its mass; in the paper they are candidates of a database. Layers of 512 where the paper
    has 1024.
    """

    n_hidden = 512
    n_shared = 256
    temperature = 0.05
    # Decoys are drawn from so many neighbours on either side in the order of mass.
    n_near = 10
    n_decoys = 4

    def __init__(self, known: Library, packed: NDArray[np.uint8]) -> None:
        super().__init__(known, packed)
        self.bins = BinLayout(bin_width=0.1, max_mz=1005.0)
        mass = np.array([molecule.exact_mass for molecule in known.molecules])
        order = np.argsort(mass, kind="stable")
        self.register_buffer("by_mass", torch.from_numpy(order), persistent=False)
        self.register_buffer("place", torch.from_numpy(np.argsort(order)), persistent=False)
        self.first = SparseLinear(self.bins.n_columns, self.n_hidden)
        self.rest = nn.Sequential(
            *self._after_linear(),
            nn.Linear(self.n_hidden, self.n_hidden),
            *self._after_linear(),
            nn.Linear(self.n_hidden, self.n_hidden),
            *self._after_linear(),
            nn.Linear(self.n_hidden, self.n_shared),
        )
        self.of_fingerprint = nn.Linear(self.n_bits, self.n_shared)

    def encode(self, spectra: Sequence[Spectrum]) -> Input:
        """Return the summed relative intensities of bins."""
        return relative_bins(spectra, self.bins)

    def forward(self, x: SparseRows) -> Tensor:
        """Return points of the shared space, (batch, n_shared)."""
        predicted: Tensor = self.rest(self.first(x))
        return predicted

    def loss(self, predicted: Tensor, compound: Tensor) -> Tensor:
        """Return the mean cross entropy of the truths among batch and decoys."""
        rivals = torch.unique(torch.cat([compound, self._decoys(compound)]))
        left = F.normalize(predicted, dim=1)
        right = F.normalize(self.embed(self.known_bits[rivals]), dim=1)
        return F.cross_entropy(
            left @ right.T / self.temperature, torch.searchsorted(rivals, compound)
        )

    def embed(self, bits: Tensor) -> Tensor:
        """Return the molecules' points of the shared space, (n, n_shared)."""
        points: Tensor = self.of_fingerprint(bits.float())
        return points

    def _decoys(self, compound: Tensor) -> Tensor:
        """Return compounds whose masses are near those of `compound`, (batch * n_decoys,)."""
        by_mass, place = self.by_mass, self.place
        assert isinstance(by_mass, Tensor)
        assert isinstance(place, Tensor)
        steps = torch.randint(-self.n_near, self.n_near + 1, (len(compound), self.n_decoys))
        around = place[compound][:, np.newaxis] + steps.to(compound.device)
        return by_mass[around.clamp(0, len(by_mass) - 1)].flatten()

    def _after_linear(self) -> list[nn.Module]:
        return [nn.GELU(), nn.Dropout(0.25), nn.LayerNorm(self.n_hidden)]


def cosine_loss(predicted: Tensor, bits: Tensor) -> Tensor:
    """Return 1 less the mean cosine of predictions and fingerprints, both (batch, n_bits)."""
    return 1.0 - F.cosine_similarity(predicted, bits.float(), dim=1).mean()


def relative_bins(spectra: Sequence[Spectrum], bins: BinLayout) -> SparseRows:
    """Return the summed intensities of bins relative to the highest peak, not their logarithms."""
    matrix = bins.encode_many(spectra)
    # Layouts store log(1 + x) of intensities x that sum to percent of the base peak.
    relative = (np.expm1(matrix.values) / 100.0).astype(np.float32)
    return sparse_rows(matrix._replace(values=relative))


def train(
    learner: Learner,
    known: Library,
    options: Options,
    comparison: Comparison | None = None,
    *,
    validate: Callable[[Learner], float] | None = None,
    n_checks: int = 1,
) -> float:
    """Train a learner on the library, where its parameters lie.

    Parameters
    ----------
    learner
        Changed in place; afterwards in evaluation mode.
    known
        The spectra.
    options
        Steps and seed.
    comparison
        Where progress is shown; None for nowhere.
    validate
        Higher is better: it is asked in evaluation mode, and the best weights are kept. None: the
        last are.
    n_checks
        How often it is asked, at most: at even distances, the last time at the end.

    Returns
    -------
    The best value; -infinity without `validate`.
    """
    device = next(learner.parameters()).device
    inputs = learner.encode(known.records)
    compound = torch.from_numpy(known.compound)
    weight = (torch.bincount(compound).double() ** -COMPOUND_BALANCE)[compound]
    optimiser = AdamW(learner.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = OptimConfig(1, BATCH, LEARNING_RATE, schedule="cosine")
    checks = {round(options.steps * i / n_checks) for i in range(1, n_checks + 1)}
    best, kept = -math.inf, None
    learner.train()
    for step in range(1, options.steps + 1):
        optimiser.set_rate(schedule.rate_at(step - 1, options.steps))
        rows = torch.multinomial(weight, BATCH, replacement=True)
        predicted = learner(select(inputs, rows).to(device))
        loss = learner.loss(predicted, compound[rows].to(device))
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(learner.parameters(), 1.0)
        optimiser.step()
        if comparison is not None:
            comparison.console.progress(f"training {type(learner).__name__}", step, options.steps)
        if validate is not None and step in checks:
            learner.eval()
            value = validate(learner)
            if value > best:
                best, kept = value, copy.deepcopy(learner.state_dict())
            learner.train()
    if kept is not None:
        learner.load_state_dict(kept)
    learner.eval()
    return best


def predict(learner: Learner, spectra: Sequence[Spectrum]) -> Tensor:
    """Return what a trained learner makes of spectra, (n_spectra, n_outputs)."""
    return predict_encoded(learner, learner.encode(spectra))


@torch.inference_mode()
def predict_encoded(learner: Learner, inputs: Input) -> Tensor:
    """Return what a trained learner makes of its input for spectra, (n_spectra, n_outputs)."""
    device = next(learner.parameters()).device
    parts = torch.split(torch.arange(len(inputs)), _PREDICTED_AT_ONCE)
    return torch.cat([learner(select(inputs, rows).to(device)) for rows in parts])


def select(inputs: Input, rows: Tensor) -> Input:
    """Return rows (int64) of an input."""
    return inputs.rows(rows) if isinstance(inputs, SparseRows) else inputs[rows]


def add_plain_network(comparison: Comparison, options: Options) -> None:
    """Add `PlainNetwork`."""
    _add(comparison, "plain network", PlainNetwork, options)


def add_fingerprint_ffn(comparison: Comparison, options: Options) -> None:
    """Add `FingerprintFFN`."""
    _add(comparison, "fingerprint FFN", FingerprintFFN, options)


def add_deepsets(comparison: Comparison, options: Options) -> None:
    """Add `DeepSets`."""
    _add(comparison, "DeepSets", DeepSets, options)


def add_contrastive(comparison: Comparison, options: Options) -> None:
    """Add `Contrastive`."""
    _add(comparison, "contrastive", Contrastive, options)


def _add(comparison: Comparison, name: str, kind: type[Learner], options: Options) -> None:
    packed = comparison.known_packed(kind.layout)
    table = comparison.packed(kind.layout)
    # Only what is drawn here must depend on the seed, and nothing outside on what is drawn here.
    with comparison.timed(f"training {name}"), torch.random.fork_rng():
        torch.manual_seed(options.seed)
        learner = kind(comparison.known, packed).to(pick_device(options.device))
        train(learner, comparison.known, options, comparison)
    comparison.console.log(
        f"{name}: {counted(options.steps, 'steps')} in {comparison.steps[f'training {name}']:.0f} s"
    )
    start = time.perf_counter()
    with torch.inference_mode():
        predicted = predict(learner, comparison.queries)
        seconds = time.perf_counter() - start
        scored = zip(predicted, table, strict=True)
        comparison.add(name, (learner.scores(of_query, c) for of_query, c in scored), seconds)
