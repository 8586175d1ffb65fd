"""Single items of evidence that a report shows: bits, analogues, peaks, a library spectrum."""

from __future__ import annotations

from dataclasses import dataclass

from specvae.annotation.evidence.analogues import RememberedPeaks


@dataclass(frozen=True, slots=True)
class BitEvidence:
    """A predicted bit that one of the first two candidates has, and its effect on their scores.

    Attributes
    ----------
    bit
        Index in the fingerprint.
    title
        What the bit is called: its name, its SMARTS, or the number of a Morgan environment.
    probability
        Predicted chance that the bit is set.
    first_has_it
        Whether the first candidate has it, and not the second.
    gain
        Nats by which it raises the first candidate's score over the second's; negative if it lowers
        it.
    fragment
        The first place's atoms as SMILES; empty where the bit is a count.
    places
        Atoms of each part of the candidate that has it, as indices into its molecule.
    """

    bit: int
    title: str
    probability: float
    first_has_it: bool
    gain: float
    fragment: str = ""
    places: tuple[tuple[int, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class Analogue:
    """A compound of the library whose spectrum is similar to a query.

    Attributes
    ----------
    first_block, smiles
        The compound.
    cosine
        Likeness of the spectra, from 0 to 1.
    row
        The spectrum's row of the library; -1 where it was not kept.
    name
        What the library calls the compound; empty in models that did not keep it.
    is_unlisted
        Whether the compound may be the query's but is not among the candidates: it has the query's
        mass and meets the user's conditions, and no candidate has own spectra nearer to the query.
    is_other_ion
        Whether it may be the query's compound only if the ion species that the query states is
        wrong: the compound's ion of another species has the query's m/z. Probabilities trust the
        stated species.
    adduct
        The ion species of its spectrum; empty in models that did not keep it.
    """

    first_block: str
    smiles: str
    cosine: float
    row: int = -1
    name: str = ""
    is_unlisted: bool = False
    is_other_ion: bool = False
    adduct: str = ""

    @property
    def title(self) -> str:
        """The name of the compound as shown, or its first block if it has no name."""
        return self.name or self.first_block


@dataclass(frozen=True, slots=True)
class PeakEvidence:
    """A peak of the query as a fragment of a candidate.

    Attributes
    ----------
    mz
        Th.
    formula
        Of the likeliest ion, in Hill order, with its sign.
    error_ppm
        m/z of the peak minus the ion's, in parts per million of the ion's.
    gain
        By how many nats the candidate's fragments raise the log-odds of the peak.
    atoms
        Of the fragment, ascending indices into the candidate's molecule.
    """

    mz: float
    formula: str
    error_ppm: float
    gain: float
    atoms: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class LibrarySpectrum:
    """The library spectrum that a query is shown against.

    Attributes
    ----------
    query_id, adduct
        Its identifier and ion species; empty in models that do not store them.
    smiles, first_block
        The compound.
    cosine
        Likeness of the spectra, from 0 to 1.
    n_shared
        Peaks that both have.
    is_own
        Whether the spectrum is of the first candidate; else it is of the nearest analogue.
    peaks
        As far as they are remembered, moved by `shift`.
    name
        What the library calls the compound; empty in models that did not keep it.
    shift
        As in `LibraryMatch`.
    is_nominal
        As in `LibraryMatch`: of cosine and number of peaks.
    """

    query_id: str
    adduct: str
    smiles: str
    first_block: str
    cosine: float
    n_shared: int
    is_own: bool
    peaks: RememberedPeaks
    name: str = ""
    shift: float = 0.0
    is_nominal: bool = False
