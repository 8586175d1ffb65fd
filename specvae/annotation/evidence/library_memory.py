"""The library spectra of a pool, and their evidence for a query's candidates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from specvae.annotation.evidence.analogues import (
    AnalogueIndex,
    Likeness,
    unit_rows,
)
from specvae.annotation.evidence.items import Analogue
from specvae.annotation.evidence.library_match import CLEAR_COSINE, OwnSpectra
from specvae.annotation.evidence.low_resolution import NOMINAL_RATIO
from specvae.annotation.evidence.nearness import nearness
from specvae.annotation.evidence.other_mode import OTHER_MODE, in_other_mode
from specvae.annotation.evidence.own_spectra import (
    OwnFeatures,
    OwnSpectraRatio,
    nominal_features,
    own_spectra_features,
    unseen_ratios,
)
from specvae.annotation.evidence.remembered import ANALOGUE_FINGERPRINT, RememberedSpectra
from specvae.annotation.evidence.votes import (
    EVIDENCE_RULE,
    OTHER_MODE_RULE,
    AnalogueRule,
    analogue_scores,
    density_ratios,
    words,
)
from specvae.errors import ConfigError
from specvae.masses import is_near
from specvae.molecules.candidates import CandidateSet
from specvae.molecules.fingerprint import FingerprintLayout, get_layout
from specvae.molecules.molecule import exact_mass_of_smiles
from specvae.spectra.adducts import Adduct, parse_adduct
from specvae.spectra.sparse import SparseMatrix
from specvae.spectra.spectrum import Spectrum


class Absence(NamedTuple):
    """Whether a compound that is none of a query's candidates may be the query's.

    Parameters
    ----------
    is_unlisted, is_other_ion
        As in `Analogue`.
    """

    is_unlisted: bool = False
    is_other_ion: bool = False


MayBe = Callable[[str, str, str], Absence]
"""Function of a compound's first block, its SMILES, and the ion species of its spectrum if that is
clearly similar to the query, else an empty text."""

_SAME_PPM = 10.0

_SAME_VALUE = 1e-3  # of a peak in two copies of one spectrum, whose digits may be rounded


class _LookUp(NamedTuple):
    """The evidence of the library's spectra of one ion mode for a query's candidates.

    Parameters
    ----------
    compared
        The query as it would look in this ion mode; None if it cannot be compared.
    likeness
        Of the library.
    nearest
        int64 (k,): the compounds that vote, places in `Likeness.compounds`.
    own
        int64 (n_candidates,): the compound that a candidate is, or -1, as for candidates with
        spectra of the query's own mode in the look-up of the other one.
    votes
        float64 (n_candidates,).
    fits
        bool (n_candidates,): which candidates are not of quite another mass, and count.
    """

    compared: Spectrum | None
    likeness: Likeness
    nearest: NDArray[np.int64]
    own: NDArray[np.int64]
    votes: NDArray[np.float64]
    fits: NDArray[np.bool_]

    def own_features(self, analogues: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the features of own spectra, given the evidence of analogues (nats)."""
        return own_spectra_features(self.likeness.compounds, self.own, analogues, self.fits)


class LibraryEvidence(NamedTuple):
    """The evidence of the library for a query's candidates.

    Parameters
    ----------
    measured, elsewhere, own, analogues
        As in `Evidence`.
    densities, ratios
        Evidence of analogues and of own spectra, float64 (n_candidates,), nats.
    nearness
        Of the candidates to the library's compounds, float64 (n_candidates,), nats.
    own_features
        Features from which the ratios are computed. Those of the other ion mode are 0 without such
        spectra; all are 0 where spectra are compared by nominal masses.
    """

    measured: NDArray[np.bool_]
    elsewhere: NDArray[np.bool_]
    densities: NDArray[np.float64]
    ratios: NDArray[np.float64]
    nearness: NDArray[np.float64]
    own: OwnSpectra
    analogues: tuple[Analogue, ...]
    own_features: OwnFeatures

    @property
    def known(self) -> NDArray[np.bool_]:
        """Which candidates it has spectra of, of either ion mode, bool (n_candidates,)."""
        return self.measured | self.elsewhere


@dataclass(frozen=True, eq=False)
class LibraryMemory:
    """Spectra of known compounds that are remembered, and the compounds' structures.

    Attributes
    ----------
    index
        The spectra; its compounds' numbers are indices into the following.
    first_blocks, smiles
        The compounds.
    fingerprints
        Of the compounds, packed, uint8 (n_compounds, n_bytes), in the layout `fingerprint`.
    fingerprint
        Layout by which analogues and candidates are compared.
    """

    index: AnalogueIndex
    first_blocks: Sequence[str]
    smiles: Sequence[str]
    fingerprints: NDArray[np.uint8]
    fingerprint: str = ANALOGUE_FINGERPRINT

    @classmethod
    def of(cls, remembered: RememberedSpectra) -> LibraryMemory:
        """Return a memory of these spectra."""
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
        )

    @property
    def layout(self) -> FingerprintLayout:
        """Layout by which analogues and candidates are compared."""
        return get_layout(self.fingerprint)

    def forgetting(self) -> LibraryMemory:
        """Return a memory of nothing, encoded alike."""
        return replace(
            self,
            index=AnalogueIndex.empty(self.index.bins),
            first_blocks=[],
            smiles=[],
            fingerprints=self.fingerprints[:0],
        )

    def without(self, first_block: str, ion_mode: str | None = None) -> LibraryMemory:
        """Return the same memory without the spectra of a compound.

        If `ion_mode` is given, only spectra of this mode are left out.
        """
        number = self._places.get(first_block)
        if number is None:
            return self
        return replace(self, index=self.index.hiding(number, ion_mode))

    def remembering(self, added: RememberedSpectra) -> tuple[LibraryMemory, int]:
        """Return a memory of more spectra too, and how many of them it had already.

        Spectra of one compound whose peaks agree are one.

        Raises
        ------
        ConfigError
            If they are encoded in another way than this memory's.
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

    def ask(
        self,
        query: Spectrum,
        candidates: CandidateSet,
        packed: NDArray[np.uint8],
        own_spectra: OwnSpectraRatio,
        other_mode: OwnSpectraRatio,
        may_be: MayBe | None = None,
        fits: NDArray[np.bool_] | None = None,
    ) -> LibraryEvidence:
        """Return the evidence of spectra of both ion modes for a query's candidates.

        Parameters
        ----------
        query
            A spectrum. One without fragments (`Spectrum.has_fragments`) has no analogues and no
            library match; for it, and for one that cannot be compared in the other ion mode
            (`in_other_mode`), it still counts which candidates have spectra.
        candidates, packed
            The candidates, and their fingerprints in `layout`, uint8 (n_candidates, n_bytes).
        own_spectra, other_mode
            As in `Defaults`.
        may_be
            Whether the query may be of a compound that is no candidate; None: if it has its mass.
        fits
            bool (n_candidates,): which candidates are not of quite another mass; None: all. Others
            count neither as measured nor as listed.
        """
        numbers = self._numbers(candidates)
        fits = np.ones(len(numbers), np.bool_) if fits is None else fits
        here = self._look_up(self.compared_with(query), query, numbers, packed, EVIDENCE_RULE, fits)
        measured = here.own >= 0
        there = self._look_up_other_mode(query, numbers, packed, measured, fits)
        elsewhere = there.own >= 0
        unseen = unseen_ratios(measured, elsewhere, fits=fits)
        densities = density_ratios(here.votes + there.votes)
        if here.compared is None:
            own, ratios = OwnSpectra.none(len(candidates)), unseen
            features = here.own_features(densities)
        else:
            own, ratios, features = self._own_spectra(here, query, densities, own_spectra)
        of_other_mode = np.zeros_like(features)
        if there.compared is not None:
            of_other_mode = there.own_features(densities)
            ratios += other_mode(of_other_mode)
            found = OwnSpectra.find(self.index, there.compared, there.likeness, there.own)
            own = own.filled_by(found)
        else:
            ratios = np.where(elsewhere, unseen, ratios)
        return LibraryEvidence(
            measured=measured,
            elsewhere=elsewhere,
            densities=densities,
            ratios=ratios,
            nearness=nearness(packed, self._remembered, numbers),
            own=own,
            analogues=self._analogues(here, may_be or partial(has_mass_of, query), numbers[fits]),
            own_features=OwnFeatures(features, of_other_mode),
        )

    def analogues(self, query: Spectrum, may_be: MayBe | None, n: int) -> tuple[Analogue, ...]:
        """Return the `n` compounds that are most like a query without candidates; as `ask` does."""
        if not query.has_fragments:
            return ()
        index, none = self.compared_with(query), np.empty(0, np.int64)
        likeness = index.likeness(query)
        nearest = np.argsort(-likeness.compounds, kind="stable")[:n]
        found = _LookUp(query, likeness, nearest, none, np.empty(0), np.empty(0, np.bool_))
        return self._analogues(found, may_be or partial(has_mass_of, query), none)

    def measured_as(self, candidates: CandidateSet, ion: Adduct) -> NDArray[np.bool_]:
        """Return which candidates have a spectrum of this ion species, bool (n_candidates,)."""
        numbers = self._numbers(candidates)
        if not len(self.index):
            return np.zeros(len(numbers), np.bool_)
        return (numbers >= 0) & self.index.measured_as(ion)[numbers]

    def compared_with(self, query: Spectrum) -> AnalogueIndex:
        """Return the spectra that can be evidence for a query.

        Spectra that show nothing but their precursor are left out for a query with fragments, as
        they are similar to any spectrum with a high precursor peak.
        """
        return self._with_fragments if query.has_fragments else self.index

    def _look_up(
        self,
        index: AnalogueIndex,
        query: Spectrum,
        numbers: NDArray[np.int64],
        packed: NDArray[np.uint8],
        rule: AnalogueRule,
        fits: NDArray[np.bool_],
    ) -> _LookUp:
        """Compare a query, if it has fragments, with an index's spectra of its ion mode.

        The candidates are the library's compounds of these `numbers`, or -1.
        """
        # Spectra that show only a precursor are similar for all molecules.
        compared = query if query.has_fragments else None
        likeness = index.no_likeness() if compared is None else index.likeness(compared)
        nearest = np.argsort(-likeness.compounds, kind="stable")[: rule.n_nearest]
        compounds = index.compounds[nearest]
        own = _comparable(index, numbers, query.ion_mode)
        votes = analogue_scores(
            likeness.compounds[nearest],
            self.fingerprints[compounds],
            packed,
            rule,
            own=own[:, np.newaxis] == compounds,
            listed=np.isin(compounds, own[fits]),
        )
        return _LookUp(compared, likeness, nearest, own, votes, fits)

    def _look_up_other_mode(
        self,
        query: Spectrum,
        numbers: NDArray[np.int64],
        packed: NDArray[np.uint8],
        measured: NDArray[np.bool_],
        fits: NDArray[np.bool_],
    ) -> _LookUp:
        """Compare a query with the spectra of the other ion mode, as it would look there.

        Candidates that are `measured`, (n_candidates,), in the query's ion mode have none here.
        """
        own = np.full(len(numbers), -1, np.int64)
        if self._knows_other_mode(query):
            # Spectra of an unknown ion mode are compared as ones of the query's, and but once.
            known = self.compared_with(query).of_known_modes()
            other = OTHER_MODE[query.ion_mode or ""]
            own = np.where(measured, own, _comparable(known, numbers, other))
            moved = in_other_mode(query) if query.has_fragments else None
            if moved is not None and moved.has_fragments:
                found = self._look_up(known, moved, numbers, packed, OTHER_MODE_RULE, fits)
                return found._replace(own=own)
        none = np.empty(0, np.int64)
        votes = np.zeros(len(numbers))
        return _LookUp(None, self.index.no_likeness(), none, own, votes, fits)

    def _own_spectra(
        self,
        here: _LookUp,
        query: Spectrum,
        analogues: NDArray[np.float64],
        ratio: OwnSpectraRatio,
    ) -> tuple[OwnSpectra, NDArray[np.float64], NDArray[np.float64]]:
        """Return the candidates' spectra of a query's ion mode, their ratios and their features.

        `analogues` is their evidence, float64 (n_candidates,), nats.
        """
        features = here.own_features(analogues)
        accurate = OwnSpectra.find(self.index, query, here.likeness, here.own)
        # With spectra of low resolution, differing accurate masses are no evidence.
        index = self.compared_with(query)
        nominal = OwnSpectra.find_nominal(index, query, here.likeness, here.own)
        best_accurate = float(accurate.cosine[here.fits & ~nominal.is_nominal].max(initial=0.0))
        of_nominal = NOMINAL_RATIO(nominal_features(features, nominal.cosine, best_accurate))
        ratios = np.where(nominal.is_nominal, of_nominal, ratio(features))
        features[nominal.is_nominal] = 0.0
        if not self.index.knows_ion_modes:
            # Spectra of an unknown ion mode may be of the other: a difference says nothing then.
            ratios = np.maximum(ratios, 0.0)
        return nominal.filled_by(accurate), ratios, features

    def _analogues(
        self, found: _LookUp, may_be: MayBe, numbers: NDArray[np.int64]
    ) -> tuple[Analogue, ...]:
        """Return the compounds that vote.

        The candidates are the library's compounds of these `numbers`, or -1.
        """
        compounds = self.index.compounds[found.nearest]
        cosines = found.likeness.compounds
        own = found.own[found.fits]
        nearest_own = float(cosines[own[own >= 0]].max(initial=0.0))
        return tuple(
            self._analogue(
                compound, cosine, row, None if is_listed or cosine < nearest_own else may_be
            )
            for compound, cosine, row, is_listed in zip(
                compounds.tolist(),
                cosines[found.nearest].tolist(),
                self.index.best_rows(found.likeness, found.nearest).tolist(),
                np.isin(compounds, numbers).tolist(),
                strict=True,
            )
            if cosine > 0.0
        )

    def _analogue(self, compound: int, cosine: float, row: int, may_be: MayBe | None) -> Analogue:
        """Return an analogue; `may_be` is None if one that is listed is the likelier compound."""
        label = self.index.label(row)
        block, smiles = self.first_blocks[compound], self.smiles[compound]
        name, adduct = (label.name, label.adduct) if label else ("", "")
        # Ions of one m/z are mostly of several molecules: only a clear likeness tells of one.
        species = adduct if cosine >= CLEAR_COSINE else ""
        absence = Absence() if may_be is None else may_be(block, smiles, species)
        return Analogue(block, smiles, cosine, row, name, *absence, adduct)

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
            known[row] = any((np.abs(ours - o) <= _SAME_VALUE).all() for o in others)
            if not known[row]:
                others.append(ours)
        return known

    def _numbers(self, candidates: CandidateSet) -> NDArray[np.int64]:
        """Return the library's number of each candidate, or -1, int64 (n_candidates,)."""
        place = self._places
        return np.array([place.get(block, -1) for block in candidates.first_block], np.int64)

    def _knows_other_mode(self, query: Spectrum) -> bool:
        return OTHER_MODE.get(query.ion_mode or "") in self._modes

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
    def _remembered(self) -> NDArray[np.uint64]:
        """Fingerprints of the compounds as words, once for all queries.

        They have no bit where all spectra of a compound are hidden.
        """
        if not len(self.index):
            return words(self.fingerprints[:0])
        has_spectra = self.index.comparable(None)
        return np.where(has_spectra[:, np.newaxis], words(self.fingerprints), np.uint64(0))

    @cached_property
    def _with_fragments(self) -> AnalogueIndex:
        return self.index.with_fragments()


def _comparable(
    index: AnalogueIndex, numbers: NDArray[np.int64], ion_mode: str | None
) -> NDArray[np.int64]:
    """Return the `numbers` of compounds that have spectra that may be of an ion mode, else -1."""
    if not len(index):
        return np.full(len(numbers), -1, np.int64)
    return np.where((numbers >= 0) & index.comparable(ion_mode)[numbers], numbers, -1)


def has_mass_of(query: Spectrum, _first_block: str, smiles: str, _adduct: str) -> Absence:
    """Return whether a compound has a query's neutral mass, within 10 ppm."""
    mass = query.neutral_mass
    return Absence(mass is not None and is_near(exact_mass_of_smiles(smiles), mass, _SAME_PPM))


def has_mz_of(query: Spectrum, smiles: str, adduct: str, ppm: float) -> bool:
    """Return whether an ion of a compound has a query's precursor m/z and ion mode.

    The ion species of a query is often an assumption: if a similar library spectrum is of another
    ion of this m/z, the query is probably of that ion, too.
    """
    ion, mz = parse_adduct(adduct), query.precursor_mz
    return (
        ion is not None
        and mz is not None
        and ion.ion_mode == query.ion_mode
        and is_near(ion.precursor_mz(exact_mass_of_smiles(smiles)), mz, ppm)
    )
