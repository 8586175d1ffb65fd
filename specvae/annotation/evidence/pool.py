"""The evidence pool: the library's spectra, fragment scorers, and their weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from specvae.annotation.evidence.defaults import EVIDENCE_KINDS, defaults
from specvae.annotation.evidence.fragment_lists import FragmentList, scoring
from specvae.annotation.evidence.fragment_peaks import Peaks
from specvae.annotation.evidence.fragment_score import FragmentScorer, standard_scorers
from specvae.annotation.evidence.items import PeakEvidence
from specvae.annotation.evidence.library_memory import LibraryEvidence, LibraryMemory, MayBe
from specvae.annotation.evidence.likeliest_ions import likeliest_ions
from specvae.annotation.evidence.own_spectra import (
    DEFAULT_SHARES,
    OwnSpectraRatio,
)
from specvae.annotation.evidence.remembered import RememberedSpectra
from specvae.annotation.evidence.retention import Elution, RetentionIndex, standard_index
from specvae.annotation.evidence.unbroken import guessed_scores
from specvae.annotation.evidence.weighted import Evidence, fitting
from specvae.annotation.library.library import Library
from specvae.errors import StructureError
from specvae.masses import deviation_ppm, ppm_width
from specvae.molecules.candidates import CandidateSet
from specvae.molecules.fingerprint import FingerprintLayout
from specvae.molecules.fragments import FragmentTable
from specvae.molecules.graph_cache import GraphCache
from specvae.molecules.molecule import Molecule
from specvae.progress import Progress, Silence
from specvae.spectra.spectrum import Spectrum

_TABLES_KEPT = 512

# Ions farther from a peak are not shown as its explanation, although they are scored.
_FAR_PPM, _FAR_DA = 10.0, 0.001

_BELOW = 1e-6  # nats, so that rounding makes no ties


class UnusableCandidatesError(StructureError):
    """Some candidates cannot be broken into fragments: see `EvidencePool.unbreakable`."""


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """A query's candidates with all evidence but that of fragments.

    Attributes
    ----------
    candidates
        All of them.
    library
        What the library says of them.
    columns
        Evidence by kind, not weighted, float64 (n_candidates,); 0 for fragments.
    others
        float64 (n_candidates,): their weighted sum, at the default shares of known compounds, and
        the prior, nats.
    is_broken
        bool (n_candidates,): whose fragments are compared with the query.
    prior, elution, mass_errors
        As in `Evidence`.
    """

    candidates: CandidateSet
    library: LibraryEvidence
    columns: Mapping[str, NDArray[np.float64]]
    others: NDArray[np.float64]
    is_broken: NDArray[np.bool_]
    prior: NDArray[np.float64] | None
    elution: Elution | None
    mass_errors: NDArray[np.float64] | None

    @property
    def broken(self) -> CandidateSet:
        """The candidates whose fragments are compared with the query."""
        if self.is_broken.all():
            return self.candidates
        return self.candidates.select(np.flatnonzero(self.is_broken))


@dataclass(frozen=True, eq=False)
class EvidencePool:
    """All evidence by which candidates are ranked: library spectra, fragment scorers, weights.

    Attributes
    ----------
    library
        The spectra that are remembered, and their compounds.
    scorers
        Of fragments, by ion mode; in a mode without one there is no evidence of fragments.
    weights
        By kind of evidence.
    own_spectra, other_mode
        As in `Defaults`.
    retention
        Retention index of structures, by fingerprints of the library's layout; None: retention
        times are not used.
    uses_mass_errors
        Whether errors of precursor m/z are used.
    """

    library: LibraryMemory
    scorers: Mapping[str, FragmentScorer]
    weights: Mapping[str, float] = field(default_factory=lambda: dict(defaults().weights))
    own_spectra: OwnSpectraRatio = field(default_factory=lambda: defaults().own_spectra)
    other_mode: OwnSpectraRatio = field(default_factory=lambda: defaults().other_mode)
    retention: RetentionIndex | None = field(default_factory=standard_index)
    uses_mass_errors: bool = True

    @classmethod
    def from_library(
        cls,
        library: Library,
        rows: NDArray[np.int64],
        fingerprints: NDArray[np.uint8],
        scorers: Mapping[str, FragmentScorer] | None = None,
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
        scorers
            Of fragments, by ion mode; None for those that come with the program.
        """
        remembered = RememberedSpectra.from_library(library, rows, fingerprints)
        return cls(LibraryMemory.of(remembered), standard_scorers() if scorers is None else scorers)

    def forgetting(self) -> EvidencePool:
        """Return the same pool without its library."""
        return replace(self, library=self.library.forgetting())

    def without(self, first_block: str, ion_mode: str | None = None) -> EvidencePool:
        """Return the same pool as if it remembered no spectrum of a compound.

        With an `ion_mode`, none of this mode.
        """
        library = self.library.without(first_block, ion_mode)
        return self if library is self.library else replace(self, library=library)

    def remembering(self, added: RememberedSpectra) -> tuple[EvidencePool, int]:
        """Return a pool that remembers more spectra, and how many of them it remembered already.

        See `LibraryMemory.remembering`.
        """
        library, n_known = self.library.remembering(added)
        return replace(self, library=library), n_known

    @property
    def layout(self) -> FingerprintLayout:
        """Layout by which analogues and candidates are compared."""
        return self.library.layout

    def compare(
        self,
        query: Spectrum,
        candidates: CandidateSet,
        packed: NDArray[np.uint8],
        log_likelihoods: NDArray[np.float64],
        *,
        rescore: int | None = None,
        prior: NDArray[np.float64] | None = None,
        may_be: MayBe | None = None,
        mass_errors: NDArray[np.float64] | None = None,
    ) -> Comparison:
        """Return all evidence for a query's candidates but that of fragments.

        `evidence` adds the rest, so that the candidates of many queries can be broken together. A
        spectrum without fragments (`Spectrum.has_fragments`) has no analogues and no library match,
        and its predicted fingerprint, which is that of an empty spectrum, counts for little. Of one
        that cannot be compared in the other ion mode (`in_other_mode`), it still counts which
        candidates have spectra there, as it does for a precursor alone.

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
        rescore
            Only so many candidates, the best by all other evidence, and those with own spectra are
            broken into fragments, none of quite another mass; None: all. The others keep their
            order below them.
        prior, mass_errors
            As in `Evidence`.
        may_be
            As in `LibraryMemory.ask`.
        """
        fits = fitting(prior, len(candidates))
        of_library = self.library.ask(
            query,
            candidates,
            packed,
            self.own_spectra,
            self.other_mode,
            may_be,
            fits,
        )
        columns = {
            "fingerprint": (
                log_likelihoods if query.has_fragments else self._of_no_fragments(log_likelihoods)
            ),
            "analogues": of_library.densities,
            "fragments": np.zeros(len(candidates)),
            "library": of_library.ratios,
            "nearness": of_library.nearness,
        }
        others = np.zeros(len(candidates)) if prior is None else prior.copy()
        for kind in EVIDENCE_KINDS:
            others += self.weights[kind] * columns[kind]
        others += DEFAULT_SHARES.odds(of_library.measured, of_library.elsewhere)
        is_broken = np.ones(len(candidates), np.bool_)
        if rescore is not None and rescore < len(candidates) and self.has_fragments(query):
            # Of candidates that tie at the border, all are compared.
            n_best = min(rescore, int(fits.sum()))
            border = -np.partition(-others[fits], n_best - 1)[n_best - 1]
            is_broken = fits & (of_library.known | (others >= border))
        return Comparison(
            candidates=candidates,
            library=of_library,
            columns=columns,
            others=others,
            is_broken=is_broken,
            prior=prior,
            elution=self._elution(query, candidates, packed),
            mass_errors=mass_errors if self.uses_mass_errors else None,
        )

    def _of_no_fragments(self, log_likelihoods: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the evidence of a prediction from an empty spectrum, which favours common bits.

        A weight that was fitted to this model's spectra holds for predictions from fragments. Here
        the weight of the program is taken if it is smaller.
        """
        weight = self.weights["fingerprint"]
        share = min(1.0, defaults().weights["fingerprint"] / weight) if weight > 0.0 else 1.0
        best = log_likelihoods.max()
        return np.asarray(best + share * (log_likelihoods - best))

    def _elution(
        self, query: Spectrum, candidates: CandidateSet, packed: NDArray[np.uint8]
    ) -> Elution | None:
        # Programs without a time write 0; spectra that were made in Python have -1 or no number.
        time = query.retention_time or 0.0
        if self.retention is None or not 0.0 < time < math.inf:
            return None
        return Elution(time, self.retention.of(packed, candidates.formula.tolist()))

    def evidence(self, compared: Comparison, fragment_scores: NDArray[np.float64]) -> Evidence:
        """Return the whole evidence.

        `fragment_scores` are those of `Comparison.broken`, float64 (n_broken,), nats.
        """
        columns = {**compared.columns, "fragments": self._cascade(compared, fragment_scores)}
        return Evidence(
            np.stack([columns[kind] for kind in EVIDENCE_KINDS], axis=1),
            self.weights,
            compared.library.measured,
            analogues=compared.library.analogues,
            own=compared.library.own,
            prior=compared.prior,
            elution=compared.elution,
            mass_errors=compared.mass_errors,
            elsewhere=compared.library.elsewhere,
            guessed=self._guessed(compared, fragment_scores),
        )

    def _guessed(
        self, compared: Comparison, found: NDArray[np.float64]
    ) -> NDArray[np.float64] | None:
        """Return fragment scores of which some are guessed, None if all are known."""
        if compared.is_broken.all():
            return None
        weight = self.weights["fragments"]
        return guessed_scores(
            compared.others, compared.is_broken, compared.library.known, found, weight
        )

    def explain(self, query: Spectrum, molecule: Molecule) -> tuple[PeakEvidence, ...]:
        """Return the peaks that a candidate's fragments explain, by m/z.

        They raise the log-odds of the peak, and lie within 10 ppm or 1 mTh of it. By how much is as
        in a list of this candidate alone: other formulas may let more peaks count.
        """
        scorer = self.scorers.get(Peaks.of(query).ion_mode)
        if scorer is None:
            return ()
        peaks = FragmentList.of(query, [molecule]).peaks
        if not len(peaks.mz):
            return ()
        table = _fragment_table(molecule)
        return tuple(
            PeakEvidence(
                e.mz,
                e.formula,
                deviation_ppm(e.mz, e.mz - e.error),
                e.gain,
                table.atom_indices(e.fragment),
            )
            for e in likeliest_ions(table, peaks, scorer)
            if e is not None
            and e.gain > 0.0
            and abs(e.error) <= max(_FAR_DA, ppm_width(e.mz, _FAR_PPM))
        )

    @contextmanager
    def scoring(
        self,
        lists: Sequence[tuple[Sequence[Spectrum], CandidateSet, CandidateSet]],
        n_jobs: int | None = 1,
        progress: Progress | None = None,
        cache: GraphCache | None = None,
    ) -> Iterator[Callable[[], list[NDArray[np.float64]]]]:
        """Give a function that returns the fragment scores of several queries' candidates.

        Each of `lists` is a query as each ion species that its candidates are of, the candidates,
        and those whose formulas say which peaks count. The scores, float64 (n_candidates,) for
        each, in nats, do not depend on the library; they are 0 in an ion mode without a scorer.

        Each molecule is broken once, by `n_jobs` processes (None: one per core), which start at
        once; `cache` keeps the graphs of molecules for later runs.

        Raises
        ------
        UnusableCandidatesError
            If some of the structures cannot be broken into fragments.
        """
        progress = progress or Silence()
        of_ions = [self._fragment_lists(*one) for one in lists]
        try:
            with scoring(
                self.scorers,
                list(chain.from_iterable(of_ions)),
                n_jobs,
                lambda done, total: progress.progress("breaking candidates", done, total),
                cache,
            ) as scores:
                yield lambda: _joined(iter(scores()), [found for _, found, _ in lists], of_ions)
        except StructureError as error:
            raise UnusableCandidatesError(str(error)) from None

    def _fragment_lists(
        self, spectra: Sequence[Spectrum], found: CandidateSet, listed: CandidateSet
    ) -> list[FragmentList]:
        """Return a list for each ion species of a query."""
        ions = range(len(spectra))
        molecules = [list(found.molecules[_are_of(ion, found)]) for ion in ions]
        if not self.has_fragments(spectra[0]):
            return [FragmentList(Peaks.of(spectra[ion]), molecules[ion]) for ion in ions]
        count = [list(listed.molecules[_are_of(ion, listed)]) for ion in ions]
        return FragmentList.of_ions(spectra, molecules, count)

    def has_fragments(self, query: Spectrum) -> bool:
        """Return whether fragments are evidence for a query of this ion mode."""
        return Peaks.of(query).ion_mode in self.scorers

    def _cascade(self, compared: Comparison, found: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the fragment scores of all candidates, given those of the ones that are broken.

        All others get the same score, which ranks them below the broken ones and keeps their order.
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


def _are_of(ion: int, candidates: CandidateSet) -> NDArray[np.bool_]:
    """Return which candidates have the mass of a query as one of its ion species."""
    if candidates.ion is None:
        return np.ones(len(candidates), np.bool_)
    return np.asarray(candidates.ion == ion)


def _joined(
    scores: Iterator[NDArray[np.float64]],
    sets: Sequence[CandidateSet],
    of_ions: Sequence[Sequence[FragmentList]],
) -> list[NDArray[np.float64]]:
    """Return the scores of each query's candidates, given those of each of its ion species."""
    joined = []
    for candidates, lists in zip(sets, of_ions, strict=True):
        together = np.zeros(len(candidates))
        for ion in range(len(lists)):
            together[_are_of(ion, candidates)] = next(scores)
        joined.append(together)
    return joined


@lru_cache(maxsize=_TABLES_KEPT)
def _fragment_table(molecule: Molecule) -> FragmentTable:
    return FragmentTable.of(molecule)
