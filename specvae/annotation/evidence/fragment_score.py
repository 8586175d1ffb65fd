"""A score of candidates by their fragments that is learned from explained peaks.

A small network gives every ion, that is a fragment with a number of hydrogens gained or lost, a
weight ``exp(u)``: from the atoms and bonds at its cuts and their surroundings, from what it keeps
and lacks, and from how far the spectrum as a whole is broken down. The log-odds of a peak are

    log(exp(b) + sum over ions at the peak of exp(u)) - g log(sum over all ions of exp(u)),

with a background ``b`` for peaks that no fragment explains, which differs where a part of the
formula has the peak's mass. The score is their sum, weighted by the peaks' heights: a candidate
gains by likely fragments that are seen, and loses by those that are not. All weights maximise the
probability of the truth among structures of the same mass.

The ions of a metal's adduct, such as [M+Na]+, are taken with and without the metal in place of a
hydrogen, each with the weight of the same ion without it times `METAL_SHARE`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file

from specvae.annotation.evidence.fragment_peaks import (
    MAX_PEAKS,
    SHIFTS,
    Composition,
    Matches,
    Peaks,
    composition,
    has_subformula,
)
from specvae.annotation.evidence.ion_weights import Joined, Layers, Windows, add_weights
from specvae.annotation.evidence.surroundings import PREFIX, surroundings_shapes
from specvae.errors import CheckpointError, InputError
from specvae.molecules.fragments import N_DESCRIPTORS, FragmentTable
from specvae.spectra.binning import ION_MODES
from specvae.vae.header import COMPANION

SCORERS_FILE = Path(__file__).with_name("fragment_score.safetensors")
"""Weights fitted to MassBank's compounds by ``specvae bench fragments``; docs/research.md."""

HEIGHT_EDGES = np.array([0.01, 0.05, 0.25])
"""Between classes of relative intensity."""

PLACE_EDGES = np.array([0.35, 0.7])
"""Between classes of m/z over precursor m/z."""

N_CONDITIONS = 8
"""Numbers that `condition_of` returns."""

METAL_SHARE = 0.2
"""What weights of ions of a metal's adduct are multiplied by; docs/research.md, section 33."""

_DECIMALS = 4
_LEARNED_FROM = "learned_from"
_PREFIX = "fragments."
_WANTED = "wanted one by 'specvae bench fragments', or a model"


def condition_of(peaks: Peaks) -> NDArray[np.float32]:
    """Return numbers that say how far the precursor is broken down, float32 (_N_CONDITIONS,)."""
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
    """A score of candidates by their fragments.

    Parameters
    ----------
    arrays
        What was learned, by name, float32: see `shapes`.
    learned_from
        Digests of the first blocks of the compounds that it was fitted to, int64 (n,), ascending;
        none where they are not known.
    """

    def __init__(
        self,
        arrays: Mapping[str, NDArray[np.float32]],
        learned_from: NDArray[np.int64] | None = None,
    ) -> None:
        self.learned_from = np.empty(0, np.int64) if learned_from is None else learned_from
        self._arrays = {name: np.asarray(array, np.float32) for name, array in arrays.items()}
        spread = self._arrays["spread"]
        self._layers = Layers.fold(
            self._arrays["hidden.weight"] / spread,
            self._arrays["direct.weight"] / spread,
            self._arrays["output.weight"],
            {name: array for name, array in self._arrays.items() if name.startswith(PREFIX)},
        )

    def scores(self, peaks: Peaks, tables: Iterable[FragmentTable]) -> NDArray[np.float64]:
        """Return the score of each candidate, float64 (n_candidates,), in nats, higher is better.

        Candidates with the same fragments have exactly the same score. The tables are taken one at
        a time: those of a long list need not be there all at once.
        """
        query = self.of_query(peaks)
        return query.scores([self.explain(table, [query])[0] for table in tables])

    def of_query(self, peaks: Peaks) -> QueryScorer:
        """Return the score of one query's candidates in two steps, one by one and together."""
        return QueryScorer(self._arrays, self._layers, peaks)

    def explain(
        self, table: FragmentTable, queries: Sequence[QueryScorer]
    ) -> list[FragmentExplanation]:
        """Return what a candidate's fragments explain of each query, made by `of_query`."""
        given = [query for query in queries if query.n_peaks]
        nothing = FragmentExplanation(0.0, np.zeros(0), ())
        if not given:
            return [nothing] * len(queries)
        totals, at_peaks = add_weights(table, self._layers, _joined(tuple(given)))
        kinds = composition(table.graph)
        found = iter(zip(totals.tolist(), at_peaks, strict=True))
        return [
            FragmentExplanation(*query.added_up(found), kinds) if query.n_peaks else nothing
            for query in queries
        ]

    def weigh(
        self, table: FragmentTable, peaks: Peaks, found: Matches
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the weight exp(u) of each match (n_matches,) and the gain of each peak (n_peaks,).

        The weights do not include `METAL_SHARE`, which is the same for all ions of a query. The
        gain is ``log(1 + sum of exp(u) / exp(b))`` in nats.
        """
        if len(peaks.mz) == 0:
            return np.zeros(len(found.peak)), np.zeros(0)
        query = self.of_query(peaks)
        weights = np.zeros((len(table), len(SHIFTS)), np.float32)
        sums = add_weights(table, self._layers, _joined((query,)), weights=weights)
        _, explained = query.added_up(zip(*sums, strict=True))
        background = query.background(query.has_part(composition(table.graph)))
        matched = weights[found.fragment, found.shift].astype(np.float64)
        return matched, np.log1p(explained / np.exp(background))

    def has_learned_from(self, first_block: str) -> bool:
        """Return whether the score is known to be fitted to spectra of a compound."""
        return bool(np.isin(block_digest(first_block), self.learned_from))

    def having_learned_from(self, *digests: NDArray[np.int64]) -> Self:
        """Return the same score, recorded as fitted to several sets of compounds.

        The sets are digests, as `learned_from`. If one set is unknown, the result is unknown.
        """
        is_known = all(map(len, digests))
        return type(self)(self._arrays, np.unique(np.concatenate(digests)) if is_known else None)

    def has_weights_of(self, other: FragmentScorer) -> bool:
        """Return whether the weights of two scores are the same numbers."""
        return self._arrays.keys() == other._arrays.keys() and all(
            np.array_equal(array, other._arrays[name]) for name, array in self._arrays.items()
        )

    def to_arrays(self) -> dict[str, NDArray[np.float32]]:
        """Return everything that was learned, as arrays by name; see `shapes`."""
        return {name: array.copy() for name, array in self._arrays.items()}

    @classmethod
    def from_arrays(
        cls,
        arrays: Mapping[str, NDArray[np.float32]],
        learned_from: NDArray[np.int64] | None = None,
    ) -> Self:
        """Make a scorer of what `to_arrays` returned.

        Raises
        ------
        CheckpointError
            If an array is missing, unknown, or of another shape.
        """
        states = arrays.get(f"{PREFIX}atom.bias")
        wanted = shapes(
            len(arrays["hidden.bias"]) if "hidden.bias" in arrays else 1,
            None if states is None else len(states),
        )
        given = {name: value.shape for name, value in arrays.items()}
        for name in sorted(wanted | given):
            if wanted.get(name) != given.get(name):
                raise CheckpointError(
                    f"fragmentation weights: {name} has shape {given.get(name, 'none')}, "
                    f"wanted {wanted.get(name, 'no such array')}"
                )
        return cls(arrays, learned_from)


def block_digest(first_block: str) -> int:
    """Return a number of 64 bits, with a sign, that stands for the first block of an InChIKey."""
    head = hashlib.sha256(first_block.encode("ascii")).digest()[:8]
    return int.from_bytes(head, "little", signed=True)


def block_digests(first_blocks: Iterable[str]) -> NDArray[np.int64]:
    """Return the numbers that stand for first blocks, int64 (n,), ascending, each once."""
    return np.unique(np.fromiter(map(block_digest, first_blocks), np.int64))


def shapes(n_hidden: int, n_states: int | None) -> dict[str, tuple[int, ...]]:
    """Return the shapes of all that is learned, by name.

    ``centre`` and ``spread`` standardise the descriptors; ``direct``, ``hidden`` and ``output`` are
    the network's layers; those that end in ``_condition`` act on `condition_of` the spectrum;
    ``background`` is b by whether a part of the formula fits and by height; ``peak_weight`` the
    logarithm of a peak's weight by height and place; ``share`` is g, ``scale`` the logarithm of
    what the sum is multiplied by. Arrays for the surroundings of cut bonds come last, with
    `n_states` numbers for each atom; None for scores without them.
    """
    n_shifts = len(SHIFTS)
    heights = len(HEIGHT_EDGES) + 1
    surroundings = {} if n_states is None else surroundings_shapes(n_states, n_hidden + n_shifts)
    return {
        "centre": (N_DESCRIPTORS,),
        "spread": (N_DESCRIPTORS,),
        "direct.weight": (n_shifts, N_DESCRIPTORS),
        "direct.bias": (n_shifts,),
        "hidden.weight": (n_hidden, N_DESCRIPTORS),
        "hidden.bias": (n_hidden,),
        "output.weight": (n_shifts, n_hidden),
        "hidden_condition.weight": (n_hidden, N_CONDITIONS),
        "shift_condition.weight": (n_shifts, N_CONDITIONS),
        "background_condition.weight": (2, N_CONDITIONS),
        "background_condition.bias": (2,),
        "background": (2, heights),
        "peak_weight": (heights, len(PLACE_EDGES) + 1),
        "share": (),
        "scale": (),
        **surroundings,
    }


class FragmentExplanation(NamedTuple):
    """How the fragments of a candidate explain a query.

    Parameters
    ----------
    total
        Sum of the weights of all ions.
    at_peaks
        Sum of the weights of the ions at each peak, float64 (n_peaks,).
    kinds
        The candidate's atoms.
    """

    total: float
    at_peaks: NDArray[np.float64]
    kinds: Composition


class QueryScorer:
    """The score of the candidates of one query; see `FragmentScorer.of_query`."""

    def __init__(
        self,
        arrays: Mapping[str, NDArray[np.float32]],
        layers: Layers,
        peaks: Peaks,
    ) -> None:
        self._peaks = peaks
        self._arrays = arrays
        self._parts: dict[Composition, NDArray[np.bool_]] = {}
        self.n_peaks = len(peaks.mz)
        if not self.n_peaks:
            return
        condition = condition_of(peaks)
        self._height = np.searchsorted(HEIGHT_EDGES, peaks.intensity)
        self._levels = (
            arrays["background"]
            + (arrays["background_condition.weight"] @ condition)[:, None]
            + arrays["background_condition.bias"][:, None]
        ).astype(np.float64)
        self.windows = [Windows.of(peaks, n) for n in range(peaks.n_metals + 1)]
        self.constants = layers.constants(
            arrays["hidden.bias"] + arrays["hidden_condition.weight"] @ condition,
            arrays["direct.bias"] + arrays["shift_condition.weight"] @ condition,
            arrays["centre"],
        )
        place = np.searchsorted(PLACE_EDGES, peaks.mz / peaks.precursor_mz)
        weight = np.sqrt(peaks.intensity) * np.exp(arrays["peak_weight"][self._height, place])
        self._peak_weights = weight / weight.sum()
        # Several peaks of similar height tell more than one, but less than in proportion.
        entropy = -(self._peak_weights * np.log(self._peak_weights + 1e-12)).sum()
        self._scale = float(np.exp(entropy / 2 + arrays["scale"]))

    def added_up(
        self, found: Iterator[tuple[float, NDArray[np.float64]]]
    ) -> tuple[float, NDArray[np.float64]]:
        """Return sums of weights of all ions: in total, and at each peak, float64 (n_peaks,).

        The next items of `found` are the sums of ions without the adduct's metal, then of ions with
        one of its atoms, and so on.
        """
        if len(self.windows) == 1:
            return next(found)
        totals, at_peaks = zip(*islice(found, len(self.windows)), strict=True)
        return METAL_SHARE * sum(totals), METAL_SHARE * np.sum(at_peaks, axis=0)

    def scores(self, found: Sequence[FragmentExplanation]) -> NDArray[np.float64]:
        """Return the score of each candidate, float64 (n_candidates,), nats.

        `found` is what each explains; see `FragmentScorer`.
        """
        if not found or not len(self._peaks.mz):
            return np.zeros(len(found))
        explained = np.stack([one.at_peaks for one in found])
        has_part = np.stack([self.has_part(one.kinds) for one in found])
        odds = np.log(explained + np.exp(self.background(has_part)))
        totals = np.array([one.total for one in found])
        odds -= self._arrays["share"] * np.log(totals + 1e-6)[:, None]
        scores = (odds * self._peak_weights).sum(axis=1) * self._scale
        return np.asarray(np.round(scores, _DECIMALS))

    def has_part(self, kinds: Composition) -> NDArray[np.bool_]:
        """Return which peaks a part of a formula fits, bool (n_peaks,)."""
        # Candidates mostly share their formula.
        if kinds not in self._parts:
            self._parts[kinds] = has_subformula(kinds, self._peaks)
        return self._parts[kinds]

    def background(self, has_part: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Return the background b of each peak, float64 (..., n_peaks), as `has_part` is."""
        return np.asarray(self._levels[has_part.astype(int), self._height])


# Molecules of one mass are candidates of the same queries.
@lru_cache(maxsize=64)
def _joined(queries: tuple[QueryScorer, ...]) -> Joined:
    pairs = [(query.constants, windows) for query in queries for windows in query.windows]
    return Joined.of(*zip(*pairs, strict=True))


def scorer_arrays(scorers: Mapping[str, FragmentScorer]) -> dict[str, NDArray[Any]]:
    """Return fragment scorers by ion mode as arrays by name: weights, and digests of compounds."""
    arrays: dict[str, NDArray[Any]] = {}
    for ion_mode, scorer in scorers.items():
        of_one: dict[str, NDArray[Any]] = {**scorer.to_arrays()}
        if len(scorer.learned_from):
            of_one[_LEARNED_FROM] = scorer.learned_from
        arrays |= {f"{_PREFIX}{ion_mode}.{name}": array for name, array in of_one.items()}
    return arrays


def scorers_from_arrays(arrays: Mapping[str, NDArray[Any]]) -> dict[str, FragmentScorer]:
    """Return the fragment scorers that `scorer_arrays` described; other arrays may be there too.

    Raises
    ------
    CheckpointError
        As `FragmentScorer.from_arrays`.
    """
    scorers = {}
    for mode in ION_MODES:
        part = arrays_under(f"{_PREFIX}{mode}.", arrays)
        learned_from = part.pop(_LEARNED_FROM, None)
        if part:
            scorers[mode] = FragmentScorer.from_arrays(part, learned_from)
    return scorers


@lru_cache(maxsize=1)
def standard_scorers() -> dict[str, FragmentScorer]:
    """Return the fragment scorers that come with the program; see `SCORERS_FILE`."""
    return scorers_from_arrays(load_file(SCORERS_FILE))


def with_compounds_known(scorers: Mapping[str, FragmentScorer]) -> dict[str, FragmentScorer]:
    """Return the same scorers; those with the weights of the program have their digests too.

    Models that were trained before digests were stored have the weights only.
    """
    return {
        mode: shipped
        if not len(scorer.learned_from)
        and (shipped := standard_scorers().get(mode)) is not None
        and shipped.has_weights_of(scorer)
        else scorer
        for mode, scorer in scorers.items()
    }


def read_scorers(path: Path) -> dict[str, FragmentScorer]:
    """Read fragment scorers by ion mode from a file of them, or from a model's checkpoint.

    Raises
    ------
    InputError
        If there is no such file, or no fragment score in it.
    CheckpointError
        If the fragment score in it has other arrays than this version's.
    """
    try:
        with safe_open(path, "np") as file:
            names = {name.removeprefix(COMPANION): name for name in file.keys()}  # noqa: SIM118
            wanted = {short: name for short, name in names.items() if short.startswith(_PREFIX)}
            arrays = {short: file.get_tensor(name) for short, name in wanted.items()}
            scorers = with_compounds_known(scorers_from_arrays(arrays))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (SafetensorError, OSError) as error:
        found = str(error).splitlines()[0]
        raise InputError(f"{path}: no file of weights ({found}); {_WANTED}") from None
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None
    if not scorers:
        raise InputError(f"{path}: no fragment score in it; {_WANTED}")
    return scorers


def arrays_under(prefix: str, arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return the arrays whose names begin with `prefix`, without it."""
    return {
        name.removeprefix(prefix): array
        for name, array in arrays.items()
        if name.startswith(prefix)
    }
