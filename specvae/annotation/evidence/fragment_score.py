"""Peaks explained by the fragments of a candidate, and a score that is learned from explanations.

Two scores of a candidate, given the peaks of a query:

`metfrag_scores` is that of MetFrag: each explained peak counts by its m/z and height, divided by
the strength of the bonds that its fragment costs.

`FragmentScorer` is fitted to compounds with known spectra. A small network gives every ion, that is
a fragment with a number of hydrogens gained or lost, a weight ``exp(u)``: from the atoms and bonds
at its cuts, from what it keeps and lacks, and from how far the spectrum as a whole is broken down.
The log-odds of a peak are

    log(exp(b) + sum over ions at the peak of exp(u)) - g log(sum over all ions of exp(u)),

with background ``b`` for what no fragment explains, which is another one where a part of the
formula has the peak's mass. The score is their sum, weighted by the peaks' heights: a candidate
gains by likely fragments that are seen, and loses by those that are not. The weights of everything
maximise the probability of the truth among structures of the same mass.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from rdkit import Chem
from torch import Tensor, nn

from specvae.errors import CheckpointError, TrainingError
from specvae.masses import ELECTRON_MASS, ISOTOPE_MASSES, hill_formula
from specvae.molecules.fragments import N_DESCRIPTORS, FragmentTable, compiled
from specvae.spectra.spectrum import Spectrum

SHIFTS = np.arange(-4, 3)
"""Hydrogens that an ion has more than the protonated or deprotonated fragment."""

TOLERANCE_PPM = 10.0
TOLERANCE_DA = 0.003
MAX_PEAKS = 60

# Exponents and their source: doi:10.1186/s13321-016-0115-9.
METFRAG_MZ_POWER = 1.84
METFRAG_INTENSITY_POWER = 0.59
METFRAG_ENERGY_POWER = 0.47

_HYDROGEN = ISOTOPE_MASSES["H"]
_MAX_SUBFORMULAS = 200_000
_HEIGHTS = np.array([0.01, 0.05, 0.25])  # borders between classes of relative intensity
_PLACES = np.array([0.35, 0.7])  # borders between classes of m/z over precursor m/z
_LIMIT = 12.0  # of |u|
_N_CONDITIONS = 8
_TABLES_AT_ONCE = 64
_DECIMALS = 4


class Peaks(NamedTuple):
    """What is explained: the highest peaks of a spectrum.

    Parameters
    ----------
    mz
        float64 (n_peaks,), Th, ascending.
    intensity
        float64 (n_peaks,), the highest at 1.
    precursor_mz
        Th; where it is not known, the highest m/z of a peak.
    sign
        1 for positive, -1 for negative ions.
    """

    mz: NDArray[np.float64]
    intensity: NDArray[np.float64]
    precursor_mz: float
    sign: int = 1

    @property
    def ion_mode(self) -> str:
        """``positive`` or ``negative``."""
        return "positive" if self.sign > 0 else "negative"

    @classmethod
    def of(cls, spectrum: Spectrum, max_peaks: int = MAX_PEAKS) -> Self:
        """Take a spectrum's highest peaks; see `highest`.

        Of an ion with several charges the precursor is taken as it would be with one: its
        fragments with fewer charges lie above it.
        """
        ion, precursor_mz = spectrum.ion, spectrum.precursor_mz
        sign = -1 if ion is not None and ion.charge < 0 else 1
        if ion is not None and precursor_mz is not None and abs(ion.charge) > 1:
            precursor_mz = float(_ion_mz(np.array(ion.neutral_mass(precursor_mz)), 0, sign))
        return cls.highest(
            spectrum.mz, spectrum.intensity, precursor_mz, sign=sign, max_peaks=max_peaks
        )

    @classmethod
    def highest(
        cls,
        mz: NDArray[np.float64],
        intensity: NDArray[np.float64],
        precursor_mz: float | None = None,
        *,
        sign: int = 1,
        max_peaks: int = MAX_PEAKS,
    ) -> Self:
        """Take the highest of ascending peaks, without those beyond the precursor.

        No peak may be left; every candidate then has the same score.
        """
        if precursor_mz is None:
            precursor_mz = float(mz.max(initial=0.0))
        kept = (intensity > 0) & (mz <= precursor_mz + 0.5)
        mz, intensity = mz[kept], intensity[kept]
        top = np.sort(np.argsort(-intensity, kind="stable")[:max_peaks])
        mz, intensity = mz[top], intensity[top]
        return cls(mz, intensity / intensity.max(initial=1e-300), precursor_mz, sign)


class Matches(NamedTuple):
    """Pairs of a peak and an ion of a fragment that agree in mass, by ascending peak.

    Parameters
    ----------
    peak, fragment
        int64 (n_matches,): indices of both.
    shift
        int64 (n_matches,): index into `SHIFTS`.
    """

    peak: NDArray[np.int64]
    fragment: NDArray[np.int64]
    shift: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Explanation:
    """The likeliest ion at a peak.

    Attributes
    ----------
    mz, intensity
        Of the peak: Th, and relative to the highest.
    fragment
        Index into the table; its `FragmentTable.atom_indices` are the atoms that are kept.
    shift
        Hydrogens beyond the protonated or deprotonated fragment.
    formula
        Of the ion, in Hill order, with its sign: ``C7H7+``.
    error
        m/z of the peak less that of the ion, Th.
    gain
        By how many nats the peak's explanations raise its log-odds over the background; NaN where
        no score was learned.
    """

    mz: float
    intensity: float
    fragment: int
    shift: int
    formula: str
    error: float
    gain: float


def match_peaks(
    table: FragmentTable,
    peaks: Peaks,
    *,
    tolerance_ppm: float = TOLERANCE_PPM,
    tolerance_da: float = TOLERANCE_DA,
) -> Matches:
    """Find the ions of a molecule's fragments at the peaks.

    An ion is a fragment with one proton more (positive) or fewer (negative ions) and with some of
    `SHIFTS`: never with fewer than no hydrogens, nor with more than its cut bonds leave room for.
    A peak and an ion agree within the larger of both tolerances.
    """
    return Matches(
        *_match(
            table.masses,
            table.n_hydrogens,
            table.valences,
            peaks.mz,
            peaks.sign,
            tolerance_ppm * 1e-6,
            float(tolerance_da),  # an integer would have it compiled again
        )
    )


@compiled
def _match(
    masses: NDArray[np.float64],
    hydrogens: NDArray[np.int16],
    valences: NDArray[np.uint8],
    mz: NDArray[np.float64],
    sign: int,
    relative: float,
    absolute: float,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    room = 256
    n = 0
    out = np.empty((3, room), np.int64)
    for p in range(len(mz)):
        width = max(absolute, relative * mz[p])
        for s in range(len(SHIFTS)):
            gained = SHIFTS[s] + sign
            neutral = mz[p] + sign * ELECTRON_MASS - gained * _HYDROGEN
            f = np.searchsorted(masses, neutral - width)
            while f < len(masses) and masses[f] <= neutral + width:
                if SHIFTS[s] <= valences[f] and hydrogens[f] + gained >= 0:
                    if n == room:
                        room *= 2
                        more = np.empty((3, room), np.int64)
                        more[:, :n] = out
                        out = more
                    out[0, n] = p
                    out[1, n] = f
                    out[2, n] = s
                    n += 1
                f += 1
    return out[0, :n].copy(), out[1, :n].copy(), out[2, :n].copy()


def possible(table: FragmentTable, sign: int) -> NDArray[np.bool_]:
    """Return which shift each fragment can have, bool (n_fragments, len(SHIFTS))."""
    shifts = SHIFTS[None, :]
    return np.asarray(
        (shifts <= table.valences[:, None]) & (table.n_hydrogens[:, None] + shifts + sign >= 0)
    )


def has_subformula(
    table: FragmentTable,
    peaks: Peaks,
    *,
    tolerance_ppm: float = TOLERANCE_PPM,
    tolerance_da: float = TOLERANCE_DA,
) -> NDArray[np.bool_]:
    """Return which peaks some part of the molecule's formula has the mass of, bool (n_peaks,)."""
    heavy, hydrogens = _subformulas(table)
    widths = np.maximum(tolerance_da, tolerance_ppm * 1e-6 * peaks.mz)
    # One hydrogen more than the molecule: its protonated form.
    return np.asarray(
        _fits(heavy, hydrogens + 1, peaks.mz + peaks.sign * ELECTRON_MASS, widths), np.bool_
    )


def _subformulas(table: FragmentTable) -> tuple[NDArray[np.float64], int]:
    """Return the masses of all selections of heavy atoms, ascending, and the hydrogens."""
    numbers, counts = np.unique(table.atoms[:, 0], return_counts=True)
    periodic = Chem.GetPeriodicTable()
    masses = np.zeros(1)
    for number, count in zip(numbers, counts, strict=True):
        own = periodic.GetMostCommonIsotopeMass(int(number))
        steps = np.arange(count + 1) * own
        masses = (masses[:, None] + steps).ravel()[:_MAX_SUBFORMULAS]
    return np.sort(masses), int(table.atoms[:, 1].sum())


@compiled
def _fits(
    heavy: NDArray[np.float64],
    hydrogens: int,
    masses: NDArray[np.float64],
    widths: NDArray[np.float64],
) -> NDArray[np.bool_]:
    out = np.zeros(len(masses), np.bool_)
    for p in range(len(masses)):
        h = 0
        while h <= hydrogens and not out[p]:
            wanted = masses[p] - h * _HYDROGEN
            at = np.searchsorted(heavy, wanted - widths[p])
            out[p] = at < len(heavy) and heavy[at] <= wanted + widths[p]
            h += 1
    return out


def metfrag_scores(
    peaks: Peaks,
    tables: Sequence[FragmentTable],
    *,
    tolerance_ppm: float = TOLERANCE_PPM,
    tolerance_da: float = TOLERANCE_DA,
) -> NDArray[np.float64]:
    """Return MetFrag's fragmenter score of each candidate, float64 (n_candidates,).

    ``sum_p mz_p^1.84 I_p^0.59 / E_p^0.47`` over the explained peaks but the molecule's own, where
    ``E_p`` is the least sum of enthalpies of the bonds cut (kJ/mol) among the fragments at the peak
    (doi:10.1186/s13321-016-0115-9).
    """
    scores = np.zeros(len(tables))
    worth = peaks.mz**METFRAG_MZ_POWER * peaks.intensity**METFRAG_INTENSITY_POWER
    for i, table in enumerate(tables):
        found = match_peaks(table, peaks, tolerance_ppm=tolerance_ppm, tolerance_da=tolerance_da)
        broken = table.steps[found.fragment] > 0
        energies = np.full(len(peaks.mz), np.inf)
        np.minimum.at(energies, found.peak[broken], table.energies[found.fragment[broken]])
        scores[i] = (worth / energies**METFRAG_ENERGY_POWER).sum()
    return scores


def explain(
    table: FragmentTable,
    peaks: Peaks,
    scorer: FragmentScorer | None = None,
    *,
    tolerance_ppm: float = TOLERANCE_PPM,
    tolerance_da: float = TOLERANCE_DA,
) -> list[Explanation | None]:
    """Return the likeliest ion at each peak, None where no fragment has its mass.

    Parameters
    ----------
    scorer
        What judges likelihood. Without it, it is the ion whose cut bonds are weakest, and among
        equals the one that shifts fewest hydrogens.
    """
    found = match_peaks(table, peaks, tolerance_ppm=tolerance_ppm, tolerance_da=tolerance_da)
    shifts = SHIFTS[found.shift]
    if scorer is None:
        order = np.lexsort((np.abs(shifts), table.energies[found.fragment], found.peak))
        gains = np.full(len(peaks.mz), np.nan)
    else:
        weights, gains = scorer.weigh(table, peaks, found)
        order = np.lexsort((-weights, found.peak))
    explained, first = np.unique(found.peak[order], return_index=True)
    explanations: list[Explanation | None] = [None] * len(peaks.mz)
    for peak, match in zip(explained.tolist(), order[first].tolist(), strict=True):
        fragment, shift = int(found.fragment[match]), int(shifts[match])
        composition = table.composition(fragment)
        composition["H"] += shift + peaks.sign
        explanations[peak] = Explanation(
            mz=float(peaks.mz[peak]),
            intensity=float(peaks.intensity[peak]),
            fragment=fragment,
            shift=shift,
            formula=hill_formula(composition) + ("+" if peaks.sign > 0 else "-"),
            error=float(peaks.mz[peak]) - float(_ion_mz(table.masses[fragment], shift, peaks.sign)),
            gain=float(gains[peak]),
        )
    return explanations


def _ion_mz(mass: NDArray[np.float64], shift: int, sign: int) -> NDArray[np.float64]:
    return np.asarray(mass + (shift + sign) * _HYDROGEN - sign * ELECTRON_MASS)


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
        self.background = nn.Parameter(torch.zeros(2, len(_HEIGHTS) + 1))
        self.peak_weight = nn.Parameter(torch.zeros(len(_HEIGHTS) + 1, len(_PLACES) + 1))
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
            & (t.masses[:, None] + (SHIFTS + peaks.sign) * _HYDROGEN > peaks.mz[0] - 0.5)
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
        height = torch.from_numpy(np.searchsorted(_HEIGHTS, peaks.intensity))
        background = self.background[part, height] + self.background_condition(condition)[part]
        odds = torch.log(explained.reshape(len(tables), n) + torch.exp(background))
        return odds - self.share * torch.log(total + 1e-6)[:, None], background

    def forward(
        self, prepared: tuple[Tensor, Tensor], tables: Sequence[FragmentTable], peaks: Peaks
    ) -> Tensor:
        """Return the scores of one query's candidates, (n_tables,)."""
        odds, _ = self.log_odds(prepared, tables, peaks)
        place = np.searchsorted(_PLACES, peaks.mz / peaks.precursor_mz)
        learned = self.peak_weight[np.searchsorted(_HEIGHTS, peaks.intensity), place]
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
        while some := list(islice(waiting, _TABLES_AT_ONCE)):
            if len(peaks.mz):
                found = self._network(self._network.prepare(some), some, peaks)
                parts.append(found.double().numpy())
            else:
                parts.append(np.zeros(len(some)))
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
