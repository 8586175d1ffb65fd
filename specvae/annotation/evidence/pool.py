"""What candidates are judged by: the library's spectra, fragment scores, and their weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from specvae.annotation.evidence.analogues import (
    OTHER_MODE,
    AnalogueIndex,
    Likeness,
    in_other_mode,
    unit_rows,
)
from specvae.annotation.evidence.fragment_lists import FragmentList, scoring
from specvae.annotation.evidence.fragment_score import FragmentScorer, standard_scorers
from specvae.annotation.evidence.fragments import Peaks, explain
from specvae.annotation.evidence.items import Analogue, PeakEvidence
from specvae.annotation.evidence.library_match import OwnSpectra
from specvae.annotation.evidence.nearness import nearness
from specvae.annotation.evidence.own_spectra import (
    DEFAULT_SHARES,
    OwnSpectraRatio,
    own_spectra_features,
    unseen_ratios,
)
from specvae.annotation.evidence.remembered import ANALOGUE_FINGERPRINT, RememberedSpectra
from specvae.annotation.evidence.retention import Elution, RetentionIndex, standard_index
from specvae.annotation.evidence.unbroken import guessed_scores
from specvae.annotation.evidence.votes import (
    EVIDENCE_RULE,
    OTHER_MODE_RULE,
    AnalogueRule,
    analogue_scores,
    density_ratios,
)
from specvae.annotation.evidence.weighted import EVIDENCE_KINDS, Evidence, defaults
from specvae.annotation.library.library import Library
from specvae.errors import ConfigError, StructureError
from specvae.molecules.candidates import CandidateSet
from specvae.molecules.fingerprint import FingerprintLayout, get_layout
from specvae.molecules.fragments import FragmentTable
from specvae.molecules.graph_cache import GraphCache
from specvae.molecules.molecule import Molecule
from specvae.progress import Progress, Silence
from specvae.spectra.sparse import SparseMatrix
from specvae.spectra.spectrum import Spectrum

_TABLES_KEPT = 512

_SAME_VALUE = 1e-3  # of a peak in two copies of one spectrum, whose digits may be rounded

# Ions farther from a peak are no explanation that a reader would accept, whatever is scored.
_FAR_PPM, _FAR_DA = 10.0, 0.001

_BELOW = 1e-6  # nats, so that rounding makes no ties


class _LookUp(NamedTuple):
    """What the library's spectra of one ion mode say of a query's candidates.

    Parameters
    ----------
    likeness
        Of the library.
    nearest
        int64 (k,): the compounds that vote, places in `Likeness.compounds`.
    own
        int64 (n_candidates,): the compound that a candidate is, or -1.
    votes
        float64 (n_candidates,).
    """

    likeness: Likeness
    nearest: NDArray[np.int64]
    own: NDArray[np.int64]
    votes: NDArray[np.float64]

    def own_features(
        self, own: NDArray[np.int64], analogues: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return the features of own spectra, given the evidence of analogues (nats).

        `own` is as above, with -1 for candidates that other spectra speak for too.
        """
        return own_spectra_features(self.likeness.compounds, own, analogues)


class _LibrarySays(NamedTuple):
    """What the library says of a query's candidates.

    Parameters
    ----------
    measured, elsewhere, own, analogues
        As in `Evidence`.
    densities, ratios
        Evidence of analogues and of own spectra, float64 (n_candidates,), nats.
    nearness
        Of the candidates to the library's compounds, float64 (n_candidates,), nats.
    """

    measured: NDArray[np.bool_]
    elsewhere: NDArray[np.bool_]
    densities: NDArray[np.float64]
    ratios: NDArray[np.float64]
    nearness: NDArray[np.float64]
    own: OwnSpectra
    analogues: tuple[Analogue, ...]


class UnusableCandidatesError(StructureError):
    """Some candidates cannot be broken into fragments: see `EvidencePool.unbreakable`."""


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """A query's candidates with all evidence but that of fragments.

    Attributes
    ----------
    candidates
        All of them.
    columns
        Evidence by kind, not weighted, float64 (n_candidates,); 0 for fragments.
    others
        float64 (n_candidates,): their weighted sum, at the default shares of known compounds, and
        the prior, nats.
    is_broken
        bool (n_candidates,): whose fragments are compared with the query.
    measured, elsewhere, analogues, own, prior, elution
        As in `Evidence`.
    """

    candidates: CandidateSet
    columns: Mapping[str, NDArray[np.float64]]
    others: NDArray[np.float64]
    is_broken: NDArray[np.bool_]
    measured: NDArray[np.bool_]
    elsewhere: NDArray[np.bool_]
    analogues: tuple[Analogue, ...]
    own: OwnSpectra
    prior: NDArray[np.float64] | None
    elution: Elution | None

    @property
    def broken(self) -> CandidateSet:
        """The candidates whose fragments are compared with the query."""
        if self.is_broken.all():
            return self.candidates
        return self.candidates.select(np.flatnonzero(self.is_broken))


@dataclass(frozen=True, eq=False)
class EvidencePool:
    """All that candidates are judged by: the library's spectra, fragment scorers and weights.

    Attributes
    ----------
    index
        Spectra of the library; its compounds' numbers are indices into the following.
    first_blocks, smiles
        The compounds.
    fingerprints
        Of the compounds, packed, uint8 (n_compounds, n_bytes), in the layout `fingerprint`.
    scorers
        Of fragments, by ion mode; in a mode without one there is no evidence of fragments.
    weights
        By kind of evidence.
    own_spectra, other_mode
        As in `Defaults`.
    fingerprint
        Layout by which analogues and candidates are compared.
    retention
        Index of retention of structures, by fingerprints of that layout; None: times say nothing.
    """

    index: AnalogueIndex
    first_blocks: Sequence[str]
    smiles: Sequence[str]
    fingerprints: NDArray[np.uint8]
    scorers: Mapping[str, FragmentScorer]
    weights: Mapping[str, float] = field(default_factory=lambda: dict(defaults().weights))
    own_spectra: OwnSpectraRatio = field(default_factory=lambda: defaults().own_spectra)
    other_mode: OwnSpectraRatio = field(default_factory=lambda: defaults().other_mode)
    fingerprint: str = ANALOGUE_FINGERPRINT
    retention: RetentionIndex | None = field(default_factory=standard_index)

    @classmethod
    def from_library(
        cls, library: Library, rows: NDArray[np.int64], fingerprints: NDArray[np.uint8]
    ) -> EvidencePool:
        """Return a pool that remembers some spectra of a library.

        Parameters
        ----------
        library
            With `Library.peaks`.
        rows
            int64 (n,): the spectra that are remembered.
        fingerprints
            Packed fingerprints of `library.molecules` in the layout `ANALOGUE_FINGERPRINT`.
        """
        remembered = RememberedSpectra.from_library(library, rows, fingerprints)
        return cls(
            AnalogueIndex(
                remembered.spectra,
                remembered.compound,
                remembered.bins,
                remembered.signs,
                remembered.labels,
            ),
            remembered.first_blocks,
            remembered.smiles,
            remembered.fingerprints,
            standard_scorers(),
        )

    def forgetting(self) -> EvidencePool:
        """Return the same pool without its library."""
        return replace(
            self,
            index=AnalogueIndex.empty(self.index.bins),
            first_blocks=[],
            smiles=[],
            fingerprints=self.fingerprints[:0],
        )

    def without(self, first_block: str, ion_mode: str | None = None) -> EvidencePool:
        """Return the same pool as if it remembered no spectrum of a compound.

        With an `ion_mode`, none of this mode.
        """
        number = self._places.get(first_block)
        if number is None:
            return self
        return replace(self, index=self.index.hiding(number, ion_mode))

    def remembering(self, added: RememberedSpectra) -> tuple[EvidencePool, int]:
        """Return a pool that remembers more spectra, and how many of them it remembered already.

        Spectra of one compound whose peaks agree are one.

        Raises
        ------
        ConfigError
            If they are encoded in another way than this pool's.
        """
        if added.bins != self.index.bins or added.fingerprint != self.fingerprint:
            raise ConfigError(
                "the spectra of the library are encoded in another way than the model's: give "
                "--library the spectra themselves (.msp, .mgf, .mzML)"
            )
        places = dict(self._places)
        for block in added.first_blocks:
            places.setdefault(block, len(places))
        number = np.array([places[block] for block in added.first_blocks], np.int64)
        compound = number[added.compound]
        fresh = np.flatnonzero(~self._knows(added.spectra, compound))
        # A compound of which no spectrum is new needs no row of its own.
        kept = np.unique(compound[fresh])
        new = np.array(
            [n for n, block in enumerate(added.first_blocks) if places[block] in kept], np.int64
        )
        new = new[number[new] >= len(self.first_blocks)]
        renumbered = np.arange(len(places))
        renumbered[number[new]] = len(self.first_blocks) + np.arange(len(new))
        index = self.index.extended(
            added.spectra.select(fresh),
            renumbered[compound[fresh]],
            added.signs[fresh],
            [added.labels[row] for row in fresh.tolist()],
        )
        return (
            replace(
                self,
                index=index,
                first_blocks=[*self.first_blocks, *(added.first_blocks[n] for n in new)],
                smiles=[*self.smiles, *(added.smiles[n] for n in new)],
                fingerprints=np.concatenate([self.fingerprints, added.fingerprints[new]]),
            ),
            len(added) - len(fresh),
        )

    def _knows(self, spectra: SparseMatrix, compound: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which of some encoded spectra of compounds are remembered already, (n,)."""
        seen: dict[tuple[int, bytes], list[NDArray[np.float32]]] = {}
        for number, rows in self.index.rows_of(np.unique(compound)).items():
            for columns, values in rows:
                seen.setdefault((number, columns.tobytes()), []).append(values)
        values_of = unit_rows(spectra)
        known = np.zeros(len(compound), np.bool_)
        for row, (start, end) in enumerate(pairwise(spectra.offsets.tolist())):
            key = int(compound[row]), spectra.columns[start:end].tobytes()
            ours = values_of[start:end]
            others = seen.setdefault(key, [])
            known[row] = any(np.allclose(ours, o, rtol=0.0, atol=_SAME_VALUE) for o in others)
            if not known[row]:
                others.append(ours)
        return known

    @property
    def layout(self) -> FingerprintLayout:
        """Layout by which analogues and candidates are compared."""
        return get_layout(self.fingerprint)

    def weigh(
        self,
        query: Spectrum,
        candidates: CandidateSet,
        packed: NDArray[np.uint8],
        log_likelihoods: NDArray[np.float64],
        *,
        fragment_scores: NDArray[np.float64] | None = None,
        rescore: int | None = None,
        prior: NDArray[np.float64] | None = None,
    ) -> Evidence:
        """Return the evidence for a query's candidates.

        Parameters
        ----------
        query
            A spectrum.
        candidates
            At least one, each first block once.
        packed
            Their fingerprints in `layout`, uint8 (n_candidates, n_bytes).
        log_likelihoods
            Of their predicted fingerprints, float64 (n_candidates,), nats.
        fragment_scores
            What `fragment_scores` returns for them, if it is known already; None computes it.
        rescore
            Only so many candidates, the best by all other evidence, and those with own spectra are
            broken into fragments; None: all. The others keep their order below them.
        prior
            As in `Evidence`.

        Raises
        ------
        UnusableCandidatesError
            If some of the structures cannot be broken into fragments.
        """
        compared = self.compare(
            query, candidates, packed, log_likelihoods, rescore=rescore, prior=prior
        )
        if fragment_scores is None:
            fragment_scores = self.fragment_scores(query, compared.broken)
        else:
            fragment_scores = fragment_scores[compared.is_broken]
        return self.evidence(compared, fragment_scores)

    def compare(
        self,
        query: Spectrum,
        candidates: CandidateSet,
        packed: NDArray[np.uint8],
        log_likelihoods: NDArray[np.float64],
        *,
        rescore: int | None = None,
        prior: NDArray[np.float64] | None = None,
    ) -> Comparison:
        """Return all evidence but that of fragments; parameters as of `weigh`.

        `evidence` adds the rest, so that the candidates of many queries can be broken together. A
        spectrum without fragments (`Spectrum.has_fragments`) has no analogues and no library match,
        and its predicted fingerprint, which is that of an empty spectrum, counts for little. Of one
        that cannot be compared in the other ion mode (`in_other_mode`), it still counts which
        candidates have spectra there, as it does for a precursor alone.
        """
        said = self._ask_library(query, candidates, packed)
        columns = {
            "fingerprint": (
                log_likelihoods if query.has_fragments else self._of_no_fragments(log_likelihoods)
            ),
            "analogues": said.densities,
            "fragments": np.zeros(len(candidates)),
            "library": said.ratios,
            "nearness": said.nearness,
        }
        others = np.zeros(len(candidates)) if prior is None else prior.copy()
        for kind in EVIDENCE_KINDS:
            others += self.weights[kind] * columns[kind]
        others += DEFAULT_SHARES.odds(said.measured, said.elsewhere)
        is_broken = np.ones(len(candidates), np.bool_)
        if rescore is not None and rescore < len(candidates) and self.has_fragments(query):
            # Of candidates that tie at the border, all are compared.
            border = -np.partition(-others, rescore - 1)[rescore - 1]
            is_broken = said.measured | said.elsewhere | (others >= border)
        return Comparison(
            candidates,
            columns,
            others,
            is_broken,
            said.measured,
            said.elsewhere,
            said.analogues,
            said.own,
            prior,
            self._elution(query, candidates, packed),
        )

    def _ask_library(
        self, query: Spectrum, candidates: CandidateSet, packed: NDArray[np.uint8]
    ) -> _LibrarySays:
        """Return what the spectra of both ion modes say of a query's candidates."""
        # Two spectra of a precursor alone are alike whatever their molecules are.
        tells = query.has_fragments
        numbers = self._numbers(candidates)
        here = self._look_up(self.index, query, numbers, packed, EVIDENCE_RULE, tells=tells)
        measured = here.own >= 0
        flipped, there, own_there = None, None, np.full(len(candidates), -1, np.int64)
        if self._knows_other_mode(query):
            # Spectra of an unknown ion mode are compared as ones of the query's, and but once.
            index, other = self._of_known_modes, OTHER_MODE[query.ion_mode or ""]
            own_there = np.where(measured, -1, _comparable(index, numbers, other))
            flipped = in_other_mode(query) if tells else None
        if flipped is not None and flipped.has_fragments:
            there = self._look_up(index, flipped, numbers, packed, OTHER_MODE_RULE, tells=True)
        elsewhere = own_there >= 0
        unseen = unseen_ratios(measured, elsewhere)
        densities = density_ratios(here.votes if there is None else here.votes + there.votes)
        ratios = self.own_spectra(here.own_features(here.own, densities))
        if not self.index.knows_ion_modes:
            # Spectra of an unknown ion mode may be of the other: a difference says nothing then.
            ratios = np.maximum(ratios, 0.0)
        own = OwnSpectra.find(self.index, query, here.likeness, here.own)
        if there is not None and flipped is not None:
            ratios += self.other_mode(there.own_features(own_there, densities))
            own = own.filled_by(OwnSpectra.find(self.index, flipped, there.likeness, own_there))
        else:
            ratios = np.where(elsewhere, unseen, ratios)
        if not tells:
            own, ratios = OwnSpectra.none(len(candidates)), unseen
        near = nearness(packed, self._remembered, numbers)
        return _LibrarySays(
            measured, elsewhere, densities, ratios, near, own, self._analogues(here)
        )

    def _look_up(
        self,
        index: AnalogueIndex,
        query: Spectrum,
        numbers: NDArray[np.int64],
        packed: NDArray[np.uint8],
        rule: AnalogueRule,
        *,
        tells: bool,
    ) -> _LookUp:
        """Compare a query with an index's spectra of its ion mode, if it `tells` anything.

        The candidates are the library's compounds of these `numbers`, or -1.
        """
        likeness = index.likeness(query) if tells else index.no_likeness()
        nearest = np.argsort(-likeness.compounds, kind="stable")[: rule.n_nearest]
        compounds = index.compounds[nearest]
        own = _comparable(index, numbers, query.ion_mode)
        votes = analogue_scores(
            likeness.compounds[nearest],
            self.fingerprints[compounds],
            packed,
            rule,
            own=own[:, np.newaxis] == compounds,
            listed=np.isin(compounds, own),
        )
        return _LookUp(likeness, nearest, own, votes)

    def _analogues(self, found: _LookUp) -> tuple[Analogue, ...]:
        compounds = self.index.compounds[found.nearest]
        rows = self.index.best_rows(found.likeness, found.nearest)
        cosines = found.likeness.compounds[found.nearest]
        return tuple(
            self._analogue(compound, cosine, row)
            for compound, cosine, row in zip(
                compounds.tolist(), cosines.tolist(), rows.tolist(), strict=True
            )
            if cosine > 0.0
        )

    def _of_no_fragments(self, log_likelihoods: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return evidence of the prediction from an empty spectrum, which says what is common.

        A weight that was fitted to this model's spectra is for predictions from fragments: their
        differences count by the weight that comes with the program, where that is smaller.
        """
        weight = self.weights["fingerprint"]
        share = min(1.0, defaults().weights["fingerprint"] / weight) if weight > 0.0 else 1.0
        best = log_likelihoods.max()
        return np.asarray(best + share * (log_likelihoods - best))

    def _elution(
        self, query: Spectrum, candidates: CandidateSet, packed: NDArray[np.uint8]
    ) -> Elution | None:
        # Programs that know of none write 0; spectra that were made in Python have -1 or no number.
        time = query.retention_time or 0.0
        if self.retention is None or not 0.0 < time < math.inf:
            return None
        return Elution(time, self.retention.of(packed, candidates.formula.tolist()))

    def evidence(self, compared: Comparison, fragment_scores: NDArray[np.float64]) -> Evidence:
        """Return the whole evidence, given the fragment scores of `Comparison.broken`."""
        columns = {**compared.columns, "fragments": self._cascade(compared, fragment_scores)}
        return Evidence.from_raw(
            np.stack([columns[kind] for kind in EVIDENCE_KINDS], axis=1),
            self.weights,
            compared.measured,
            compared.analogues,
            own=compared.own,
            prior=compared.prior,
            elution=compared.elution,
            elsewhere=compared.elsewhere,
            guessed=self._guessed(compared, fragment_scores),
        )

    def _guessed(
        self, compared: Comparison, found: NDArray[np.float64]
    ) -> NDArray[np.float64] | None:
        """Return fragment scores of which some are guessed, None if all are known."""
        if compared.is_broken.all():
            return None
        is_known = compared.measured | compared.elsewhere
        weight = self.weights["fragments"]
        return guessed_scores(compared.others, compared.is_broken, is_known, found, weight)

    def _analogue(self, compound: int, cosine: float, row: int) -> Analogue:
        label = self.index.label(row)
        name = label.name if label else ""
        return Analogue(self.first_blocks[compound], self.smiles[compound], cosine, row, name)

    def own_compounds(self, query: Spectrum, candidates: CandidateSet) -> NDArray[np.int64]:
        """Return the library's number of each candidate, int64 (n_candidates,).

        It is -1 where the library has no spectrum that may be of the query's ion mode.
        """
        return _comparable(self.index, self._numbers(candidates), query.ion_mode)

    def _numbers(self, candidates: CandidateSet) -> NDArray[np.int64]:
        """Return the library's number of each candidate, or -1, int64 (n_candidates,)."""
        place = self._places
        return np.array([place.get(block, -1) for block in candidates.first_block], np.int64)

    def _knows_other_mode(self, query: Spectrum) -> bool:
        return OTHER_MODE.get(query.ion_mode or "") in self._modes

    def explain(self, query: Spectrum, molecule: Molecule) -> tuple[PeakEvidence, ...]:
        """Return the peaks that a candidate's fragments explain, by m/z.

        They raise the log-odds of the peak, and lie within 10 ppm or 1 mTh of it.
        """
        peaks = Peaks.of(query)
        scorer = self.scorers.get(peaks.ion_mode)
        if scorer is None:
            return ()
        table = _fragment_table(molecule)
        return tuple(
            PeakEvidence(
                e.mz,
                e.intensity,
                e.formula,
                1e6 * e.error / (e.mz - e.error),
                e.gain,
                table.atom_indices(e.fragment),
            )
            for e in explain(table, peaks, scorer)
            if e is not None
            and e.gain > 0.0
            and abs(e.error) <= max(_FAR_DA, _FAR_PPM * 1e-6 * e.mz)
        )

    def fragment_scores(self, query: Spectrum, candidates: CandidateSet) -> NDArray[np.float64]:
        """Return the fragment score of each candidate, float64 (n_candidates,), nats.

        It does not depend on the library. 0 in an ion mode without a scorer.

        Raises
        ------
        UnusableCandidatesError
            If some of the structures cannot be broken into fragments.
        """
        with self.scoring([(query, candidates)]) as scores:
            return scores()[0]

    @contextmanager
    def scoring(
        self,
        lists: Sequence[tuple[Spectrum, CandidateSet]],
        n_jobs: int | None = 1,
        progress: Progress | None = None,
        cache: GraphCache | None = None,
    ) -> Iterator[Callable[[], list[NDArray[np.float64]]]]:
        """Give what returns `fragment_scores` of several queries' candidates.

        Each molecule is broken once. `n_jobs` is the number of processes that do so, None for one
        per core, which begin at once; `cache` keeps the graphs of molecules for later runs.
        """
        progress = progress or Silence()
        try:
            with scoring(
                self.scorers,
                [FragmentList(Peaks.of(query), list(found.molecules)) for query, found in lists],
                n_jobs,
                lambda done, total: progress.progress("breaking candidates", done, total),
                cache,
            ) as scores:
                yield scores
        except StructureError as error:
            raise UnusableCandidatesError(str(error)) from None

    def has_fragments(self, query: Spectrum) -> bool:
        """Return whether fragments are evidence for a query of this ion mode."""
        return Peaks.of(query).ion_mode in self.scorers

    def _cascade(self, compared: Comparison, found: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the fragment scores of all candidates, given those of the ones that are broken.

        All the rest have one score, which leaves them below the best and in their order.
        """
        chosen, others = compared.is_broken, compared.others
        if chosen.all():
            return found
        scores = np.zeros(len(chosen))
        scores[chosen] = found
        weight = self.weights["fragments"]
        lowest = float(found.min())
        if weight > 0.0:
            border = float((others[chosen] + weight * found).min() - others[~chosen].max())
            lowest = min(lowest, border / weight - _BELOW)
        scores[~chosen] = lowest
        return scores

    def unbreakable(self, candidates: CandidateSet) -> list[int]:
        """Return the rows of the candidates that cannot be broken into fragments."""
        rows = []
        for row, molecule in enumerate(candidates.molecules):
            try:
                _fragment_table(molecule)
            except StructureError:
                rows.append(row)
        return rows

    @cached_property
    def _places(self) -> dict[str, int]:
        return {block: number for number, block in enumerate(self.first_blocks)}

    @cached_property
    def _modes(self) -> frozenset[str]:
        """Ion modes that the library is known to have spectra of."""
        return frozenset(filter(self.index.has_mode, OTHER_MODE))

    @property
    def has_both_modes(self) -> bool:
        """Whether the library is known to have spectra of both ion modes."""
        return len(self._modes) == len(OTHER_MODE)

    @cached_property
    def _remembered(self) -> NDArray[np.uint8]:
        """Fingerprints of the compounds; without any bit where all spectra of one are hidden."""
        if not len(self.index):
            return self.fingerprints[:0]
        has_spectra = self.index.comparable(None)
        if has_spectra.all():
            return self.fingerprints
        return np.where(has_spectra[:, np.newaxis], self.fingerprints, np.uint8(0))

    @cached_property
    def _of_known_modes(self) -> AnalogueIndex:
        return self.index.of_known_modes()


def _comparable(
    index: AnalogueIndex, numbers: NDArray[np.int64], ion_mode: str | None
) -> NDArray[np.int64]:
    """Return the `numbers` of compounds that have spectra that may be of an ion mode, else -1."""
    if not len(index):
        return np.full(len(numbers), -1, np.int64)
    return np.where((numbers >= 0) & index.comparable(ion_mode)[numbers], numbers, -1)


@lru_cache(maxsize=_TABLES_KEPT)
def _fragment_table(molecule: Molecule) -> FragmentTable:
    return FragmentTable.of(molecule)
