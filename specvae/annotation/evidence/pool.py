"""The evidence for a query's candidates, pooled into one score.

A candidate's score is a weighted sum of four kinds of evidence (a log-linear pool):

    score(c) = sum over kinds k of w_k x_k(c)

``fingerprint``
    log-likelihood of the candidate's fingerprint under the model's prediction (the cross entropy);
``analogues``
    log-density of the candidate's structure around the library's compounds with like spectra, which
    vote for it (`specvae.annotation.evidence.votes`), none for itself;
``fragments``
    log-odds that the query's peaks are the candidate's fragments
    (`specvae.annotation.evidence.fragment_score`);
``library``
    for a candidate that the library has spectra of: how they agree with the query
    (`specvae.annotation.evidence.own_spectra`).

Each is in nats and means the same in a list of five and of five thousand candidates: none is
standardised over the list at hand. The weights were fitted once (`DEFAULTS_FILE`). What the library
says assumes that half of a run's queries are compounds that it knows (`DEFAULT_SHARES`);
`Evidence.settled` takes the shares that the run itself shows. Where queries state their retention
times, that of the run is added too (`specvae.annotation.evidence.retention`). The exponential of
the score, divided by its sum, is a distribution over the candidates.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from specvae.annotation.evidence.analogues import AnalogueIndex, Likeness, in_other_mode, unit_rows
from specvae.annotation.evidence.fragment_lists import FragmentList, scoring
from specvae.annotation.evidence.fragment_score import FragmentScorer, standard_scorers
from specvae.annotation.evidence.fragments import Peaks, explain
from specvae.annotation.evidence.items import Analogue, PeakEvidence
from specvae.annotation.evidence.library_match import OwnSpectra
from specvae.annotation.evidence.listwise import refit_listwise
from specvae.annotation.evidence.own_spectra import (
    DEFAULT_SHARES,
    KnownShares,
    OwnSpectraRatio,
    own_spectra_features,
    unseen_ratios,
)
from specvae.annotation.evidence.remembered import ANALOGUE_FINGERPRINT, RememberedSpectra
from specvae.annotation.evidence.retention import Elution, RetentionIndex, standard_index
from specvae.annotation.evidence.votes import (
    EVIDENCE_RULE,
    OTHER_MODE_RULE,
    AnalogueRule,
    analogue_scores,
    density_ratios,
)
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

EVIDENCE_KINDS = ("fingerprint", "analogues", "fragments", "library")
"""The kinds of evidence; columns of `Evidence.raw` are in this order."""

DEFAULTS_FILE = Path(__file__).with_name("evidence.json")
"""Weights, fitted by ``specvae bench laboratories --fit``: see docs/research.md."""

SCALE = "nats of both ion modes"
"""Of the weights in a checkpoint. Those of another scale, or of none, are of evidence as it was
computed then, and are replaced by the defaults: spectra of the other ion mode once said nothing
("nats of a mixture"), analogues were the logarithm of other votes ("nats"), and before that all
evidence was standardised over each list (no name)."""

# How far a user's own weights keep to those that come with the program: by 1 / sqrt(strength) of
# them, as a standard deviation. The number was chosen on the fitting laboratories
# (docs/research.md). The fingerprint's weight is of another network, and says little of this one.
_STRENGTH = {"fingerprint": 1.0, "analogues": 300.0, "fragments": 300.0}

_TABLES_KEPT = 512
_SAME_VALUE = 1e-3  # of a peak in two copies of one spectrum, whose digits may be rounded
# Ions farther from a peak are no explanation that a reader would accept, whatever is scored.
_FAR_PPM, _FAR_DA = 10.0, 0.001
_BELOW = 1e-6  # nats, so that rounding makes no ties


class Defaults(NamedTuple):
    """What was fitted once.

    Parameters
    ----------
    weights
        By kind of evidence; that of the library is 1, as its coefficients are fitted themselves.
    own_spectra, other_mode
        Coefficients of the evidence of own spectra: of those of the query's ion mode, and of those
        of the other one where a candidate has no other.
    """

    weights: Mapping[str, float]
    own_spectra: OwnSpectraRatio
    other_mode: OwnSpectraRatio


@lru_cache(maxsize=1)
def defaults() -> Defaults:
    """Return the weights that come with the program; see `DEFAULTS_FILE`."""
    stored = json.loads(DEFAULTS_FILE.read_text(encoding="utf-8"))
    ratios = (OwnSpectraRatio(**stored[name]) for name in ("own_spectra", "other_mode"))
    return Defaults(stored["weights"], *ratios)


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

    def only(self, kept: NDArray[np.bool_]) -> _LookUp:
        """Return the same as if no other candidate had spectra of its own."""
        return self._replace(own=np.where(kept, self.own, -1))

    def own_features(self, analogues: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the features of own spectra, given the evidence of analogues (nats)."""
        return own_spectra_features(self.likeness.compounds, self.own, analogues)


class UnusableCandidatesError(StructureError):
    """Some candidates cannot be broken into fragments: see `EvidencePool.unbreakable`."""


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """The evidence for the candidates of one query.

    Attributes
    ----------
    raw
        float64 (n_candidates, n_kinds), not weighted, columns in the order of `EVIDENCE_KINDS`.
    parts
        The same, weighted; that of the library with what the shares of known compounds add.
    scores
        float64 (n_candidates,): the sum of the parts and of the prior, in nats.
    measured
        bool (n_candidates,): which candidates the library has spectra of that may be of the query's
        ion mode.
    elsewhere
        bool (n_candidates,): which others it has spectra of the other ion mode of.
    analogues
        The nearest compounds of the library, the nearest first.
    own
        The candidates' own library spectra; None if they were not looked up.
    shares
        Shares of known compounds among a run's queries that the scores assume.
    prior
        float64 (n_candidates,): what is added to the sum of the parts, nats; None: nothing.
    elution
        The query's retention time and its candidates'; None for a query without one.
    retention
        float64 (n_candidates,): evidence of the retention time, nats, which is added too; None
        until the run's times are known, or where they say nothing.
    """

    raw: NDArray[np.float64]
    parts: NDArray[np.float64]
    scores: NDArray[np.float64]
    measured: NDArray[np.bool_]
    elsewhere: NDArray[np.bool_]
    analogues: tuple[Analogue, ...] = ()
    own: OwnSpectra | None = None
    shares: KnownShares = DEFAULT_SHARES
    prior: NDArray[np.float64] | None = None
    elution: Elution | None = None
    retention: NDArray[np.float64] | None = None

    @classmethod
    def from_raw(
        cls,
        raw: NDArray[np.float64],
        weights: Mapping[str, float],
        measured: NDArray[np.bool_],
        analogues: tuple[Analogue, ...] = (),
        shares: KnownShares = DEFAULT_SHARES,
        own: OwnSpectra | None = None,
        prior: NDArray[np.float64] | None = None,
        elution: Elution | None = None,
        retention: NDArray[np.float64] | None = None,
        elsewhere: NDArray[np.bool_] | None = None,
    ) -> Evidence:
        """Weight the `raw` evidence for all candidates of a query.

        Attributes as above; no candidate has spectra of the other ion mode only if `elsewhere` is
        None.
        """
        if elsewhere is None:
            elsewhere = np.zeros(len(raw), np.bool_)
        parts = raw * np.array([weights[kind] for kind in EVIDENCE_KINDS])
        library = EVIDENCE_KINDS.index("library")
        parts[measured, library] += shares.same_mode_odds
        parts[elsewhere, library] += shares.other_mode_odds
        # Column by column, whatever the number of rows: equal candidates must tie exactly.
        scores = parts[:, 0] + parts[:, 1] + parts[:, 2] + parts[:, 3]
        for added in (prior, retention):
            if added is not None:
                scores = scores + added
        return cls(
            raw,
            parts,
            scores,
            measured,
            elsewhere,
            analogues,
            own,
            shares,
            prior,
            elution,
            retention,
        )

    def settled(
        self,
        weights: Mapping[str, float],
        shares: KnownShares,
        retention: NDArray[np.float64] | None = None,
    ) -> Evidence:
        """Return the same evidence for what a run shows.

        That is its shares of known compounds, and the evidence of the query's retention time.
        """
        return Evidence.from_raw(
            self.raw,
            weights,
            self.measured,
            self.analogues,
            shares,
            self.own,
            self.prior,
            self.elution,
            retention,
            self.elsewhere,
        )

    @property
    def known(self) -> NDArray[np.bool_]:
        """Which candidates the library has spectra of, of either ion mode, bool (n_candidates,)."""
        return self.measured | self.elsewhere

    def leading_kinds(self) -> list[str | None]:
        """Return the kind of evidence that raises each candidate most, None where none does.

        A term counts by how far it lies above its median over the list; that of the library by how
        far it lies above 0, which candidates without own spectra have, at the shares of known
        compounds that are assumed. Of equal ones the first of library, fragments, analogues,
        fingerprint.
        """
        library = EVIDENCE_KINDS.index("library")
        rise = self.parts - np.median(self.parts, axis=0)
        rise[:, library] = self.parts[:, library]
        if self.own is not None:
            rise[self.own.row < 0, library] = 0.0  # what a share adds is no match
        # The first of equal ones is taken, so that the order is turned round.
        best = len(EVIDENCE_KINDS) - 1 - np.argmax(rise[:, ::-1], axis=1)
        highest = rise.max(axis=1)
        return [
            EVIDENCE_KINDS[kind] if high > 0.0 else None
            for kind, high in zip(best.tolist(), highest.tolist(), strict=True)
        ]


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
        and its predicted fingerprint, which is that of an empty spectrum, counts for little.
        """
        # Two spectra of a precursor alone are alike whatever their molecules are.
        tells = query.has_fragments
        here = self._look_up(query, candidates, packed, EVIDENCE_RULE, tells=tells)
        flipped = in_other_mode(query) if self.index.knows_ion_modes else None
        there = None
        if flipped is not None:
            there = self._look_up(flipped, candidates, packed, OTHER_MODE_RULE, tells=tells)
        densities = density_ratios(here.votes if there is None else here.votes + there.votes)
        ratios = self.own_spectra(here.own_features(densities))
        if not self.index.knows_ion_modes:
            # Spectra of an unknown ion mode may be of the other: a difference says nothing then.
            ratios = np.maximum(ratios, 0.0)
        own = OwnSpectra.find(self.index, query, here.likeness, here.own)
        elsewhere = np.zeros(len(candidates), np.bool_)
        if there is not None and flipped is not None:
            there = there.only(here.own < 0)
            elsewhere = there.own >= 0
            ratios += self.other_mode(there.own_features(densities))
            own = own.filled_by(OwnSpectra.find(self.index, flipped, there.likeness, there.own))
        if not tells:
            own, ratios = OwnSpectra.none(len(candidates)), unseen_ratios(here.own >= 0, elsewhere)
        columns = {
            "fingerprint": log_likelihoods if tells else self._of_no_fragments(log_likelihoods),
            "analogues": densities,
            "fragments": np.zeros(len(candidates)),
            "library": ratios,
        }
        others = np.zeros(len(candidates)) if prior is None else prior.copy()
        for kind in EVIDENCE_KINDS:
            others += self.weights[kind] * columns[kind]
        others[here.own >= 0] += DEFAULT_SHARES.same_mode_odds
        others[elsewhere] += DEFAULT_SHARES.other_mode_odds
        is_broken = np.ones(len(candidates), np.bool_)
        if rescore is not None and rescore < len(candidates) and self.has_fragments(query):
            # Of candidates that tie at the border, all are compared.
            border = -np.partition(-others, rescore - 1)[rescore - 1]
            is_broken = (here.own >= 0) | elsewhere | (others >= border)
        return Comparison(
            candidates,
            columns,
            others,
            is_broken,
            here.own >= 0,
            elsewhere,
            self._analogues(here),
            own,
            prior,
            self._elution(query, candidates, packed),
        )

    def _look_up(
        self,
        query: Spectrum,
        candidates: CandidateSet,
        packed: NDArray[np.uint8],
        rule: AnalogueRule,
        *,
        tells: bool,
    ) -> _LookUp:
        """Compare a query with the library's spectra of its ion mode, if it `tells` anything."""
        likeness = self.index.likeness(query) if tells else self.index.no_likeness()
        nearest = np.argsort(-likeness.compounds, kind="stable")[: rule.n_nearest]
        compounds = self.index.compounds[nearest]
        own = self.own_compounds(query, candidates)
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
        )

    def _analogue(self, compound: int, cosine: float, row: int) -> Analogue:
        label = self.index.label(row)
        name = label.name if label else ""
        return Analogue(self.first_blocks[compound], self.smiles[compound], cosine, row, name)

    def own_compounds(self, query: Spectrum, candidates: CandidateSet) -> NDArray[np.int64]:
        """Return the library's number of each candidate, int64 (n_candidates,).

        It is -1 where the library has no spectrum that may be of the query's ion mode.
        """
        place = self._places
        if not place:
            return np.full(len(candidates), -1, np.int64)
        own = np.array([place.get(block, -1) for block in candidates.first_block], np.int64)
        comparable = self.index.comparable(query.ion_mode)
        return np.where((own >= 0) & comparable[own], own, -1)

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


def fit_weights(
    raw: Sequence[NDArray[np.float64]], truth: Sequence[int], shares: NDArray[np.float64]
) -> dict[str, float]:
    """Return weights of the kinds of evidence for a user's own compounds, which are not known.

    They make the truths likely and are near the weights that come with the program: of compounds
    that the library has no spectra of, nobody sees what analogues and fragments are worth beside
    own spectra. The library's weight stays at 1. See `refit_listwise`.

    Parameters
    ----------
    raw
        Per query, float64 (n_candidates, n_kinds) as `Evidence.raw`.
    truth
        Index of the truth per query.
    shares
        float64 (n_queries,): weight of each query; their sum is the number of compounds.
    """
    library = EVIDENCE_KINDS.index("library")
    fitted = refit_listwise(
        [np.delete(of_query, library, axis=1) for of_query in raw],
        truth,
        shares,
        [defaults().weights[kind] for kind in _STRENGTH],
        list(_STRENGTH.values()),
        fixed=[of_query[:, library] for of_query in raw],
    )
    return {**dict(zip(_STRENGTH, fitted, strict=True)), "library": 1.0}


@lru_cache(maxsize=_TABLES_KEPT)
def _fragment_table(molecule: Molecule) -> FragmentTable:
    return FragmentTable.of(molecule)
